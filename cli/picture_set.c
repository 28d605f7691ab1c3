/* picture_set.c: see picture_set.h. */
#include "picture_set.h"
#include "documents.h"
#include "output.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { FOLDERS_DEEP = 64 };

typedef struct line {
    const char *name, *caption;
} line;

typedef struct reading {
    il_engine *engine;
    const cli_picture_options *options;
    cli_pictures *set;
    il_error *error;
    char *text;  /* of the file of captions */
    line *lines; /* [n_lines] by name; or none */
    size_t n_lines, lines_room;
    unsigned char *labels; /* [n_labels]; or none */
    size_t n_labels, labels_room;
    const char *still_in; /* folder of the pictures that the last film is made of; NULL: it is none of those */
    char *folder;         /* of it */
    unsigned char *resized;
    int32_t *tokens;
} reading;

/* ---- names ---- */

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The folder that path is in, "" where it names none; released by free. */
static char *folder_of(const char *path) {
    const char *base = base_of(path);
    return cli_format("%.*s", (int)(base - path), path);
}

/* Bytes of a name without what says how it is compressed. */
static size_t bare(const char *name) {
    size_t n = strlen(name);
    if (n > 3 && !strcasecmp(name + n - 3, ".gz")) n -= 3;
    if (n > 4 && !strncasecmp(name + n - 4, ".zst", 4)) n -= 4;
    return n;
}

static int is_picture(const char *name) {
    il_picture_format format;
    size_t n = bare(name);
    char *plain = cli_format("%.*s", (int)n, name);
    int is = !il_picture_format_of(plain, &format, NULL) || (n > 4 && !strcasecmp(plain + n - 4, ".idx")) ||
             strstr(plain, "idx3-ubyte") || strstr(plain, "idx4-ubyte");
    free(plain);
    return is;
}

/* A name as a caption: "ankle_boot.png" is "ankle boot". */
static char *as_caption(const char *name, size_t n) {
    char *caption = cli_format("%.*s", (int)n, name);
    for (char *at = caption; *at; at++)
        if (*at == '_') *at = ' ';
    return caption;
}

static char *caption_of_folder(const char *path) {
    char *folder = folder_of(path);
    size_t n = strlen(folder);
    while (n && folder[n - 1] == '/') folder[--n] = 0;
    char *caption = as_caption(base_of(folder), strlen(base_of(folder)));
    free(folder);
    return caption;
}

static char *caption_of_name(const char *path) {
    const char *base = base_of(path), *dot = memchr(base, '.', strlen(base));
    return as_caption(base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

/* ---- captions in files ---- */

static int by_name(const void *a, const void *b) { return strcmp(((const line *)a)->name, ((const line *)b)->name); }

/* The next field of a line, without its quotes, in place. *at: what follows its comma; NULL: it is the last. */
static char *field(char **at) {
    char *text = *at, *from = text, *to = text;
    int quoted = *from == '"';
    if (quoted) from++;
    while (*from && (quoted || *from != ',')) {
        if (quoted && *from == '"' && *++from != '"')
            quoted = 0;
        else
            *to++ = *from++;
    }
    *at = *from == ',' ? from + 1 : NULL;
    *to = 0;
    return text;
}

static il_status read_lines(reading *r, const char *path) {
    size_t bytes, number = 0;
    il_status status = cli_documents_text(r->engine, path, &r->text, &bytes, r->error);
    if (status) return status;
    r->text = cli_grown(r->text, &bytes, bytes + 1, 1);
    for (char *at = r->text, *next; at && *at; at = next) {
        number++;
        size_t n = strcspn(at, "\r\n");
        next = strchr(at, '\n');
        if (next) next++;
        at[n] = 0;
        if (!n) continue;
        r->lines = cli_grown(r->lines, &r->lines_room, r->n_lines + 1, sizeof *r->lines);
        line *l = &r->lines[r->n_lines++];
        char *rest = at;
        l->name = field(&rest);
        l->caption = rest ? field(&rest) : NULL;
        if (!l->caption || rest)
            return cli_fail(r->error, IL_ERR_FORMAT, "%s: line %zu is not NAME,CAPTION", path, number);
    }
    qsort(r->lines, r->n_lines, sizeof *r->lines, by_name);
    return IL_OK;
}

static il_status read_labels(reading *r, il_pictures *file) {
    il_picture picture;
    il_status status;
    while (!(status = il_pictures_next(file, &picture, r->error))) {
        if (picture.width != 1 || picture.height != 1)
            return cli_fail(r->error, IL_ERR_ARG, "%s: pictures, not numbers of what pictures show",
                            r->options->captions);
        r->labels = cli_grown(r->labels, &r->labels_room, r->n_labels + 1, 1);
        r->labels[r->n_labels++] = picture.pixels[0];
    }
    return status == IL_ERR_END ? IL_OK : status;
}

static int is_option(const reading *r, const char *word) {
    return r->options->captions && !strcmp(r->options->captions, word);
}

static il_status read_captions(reading *r) {
    const char *path = r->options->captions;
    il_pictures *file = NULL;
    if (!path || is_option(r, "folders") || is_option(r, "names")) return IL_OK;
    if (strcmp(path, "-")) il_pictures_open(r->engine, path, NULL, NULL, &file, NULL);
    int labels = file && !strcmp(il_pictures_format(file), "IDX");
    il_status status = labels ? read_labels(r, file) : IL_OK;
    il_pictures_close(file);
    return labels ? status : read_lines(r, path);
}

/* Entry `index` of --label-names, or the number itself. */
static il_status name_label(const reading *r, int label, char **caption) {
    const char *at = r->options->labels;
    if (!at) {
        *caption = cli_format("%d", label);
        return IL_OK;
    }
    for (int i = 0; i < label && at; i++) at = (at = strchr(at, ',')) ? at + 1 : NULL;
    if (!at) return cli_fail(r->error, IL_ERR_ARG, "--label-names: there is no name for label %d", label);
    *caption = cli_format("%.*s", (int)strcspn(at, ","), at);
    return IL_OK;
}

static const line *line_of(const reading *r, const char *name) {
    line wanted = {.name = name};
    return r->n_lines ? bsearch(&wanted, r->lines, r->n_lines, sizeof wanted, by_name) : NULL;
}

/* Of the item that begins with a picture of a file; short_name: as it is called within the folder that was given. */
static il_status caption(const reading *r, const char *path, const char *short_name, char **text) {
    if (!r->options->captions)
        *text = cli_format("%s", "");
    else if (is_option(r, "folders"))
        *text = caption_of_folder(path);
    else if (is_option(r, "names"))
        *text = caption_of_name(path);
    else if (r->n_labels && r->set->n < r->n_labels)
        return name_label(r, r->labels[r->set->n], text);
    else if (r->n_labels)
        return cli_fail(r->error, IL_ERR_MISMATCH, "%s: %zu labels, and more pictures", r->options->captions,
                        r->n_labels);
    else {
        const line *found = line_of(r, short_name);
        if (!found) found = line_of(r, base_of(path));
        if (!found)
            return cli_fail(r->error, IL_ERR_MISMATCH, "%s: no caption for %s", r->options->captions,
                            cli_shown(short_name));
        *text = cli_format("%s", found->caption);
    }
    return IL_OK;
}

/* ---- pictures ---- */

il_status cli_picture_fit(const il_picture_layout *layout, const char *name, int resize, il_picture *picture,
                          unsigned char **room, il_error *error) {
    int width = layout->width, height = layout->height;
    if (picture->width == width && picture->height == height) return IL_OK;
    if (!resize)
        return cli_fail(error, IL_ERR_MISMATCH,
                        "%s: a picture of %d by %d pixels, not %d by %d; --resize makes it that", cli_shown(name),
                        picture->width, picture->height, width, height);
    free(*room);
    *room = cli_alloc((size_t)width * (size_t)height, (size_t)picture->channels);
    il_status status = il_picture_resize(picture, width, height, *room, error);
    picture->width = width;
    picture->height = height;
    picture->pixels = *room;
    return status;
}

static size_t frame_bytes(const cli_pictures *set) {
    return (size_t)set->layout.width * (size_t)set->layout.height * (set->coloured ? 3 : 1);
}

/* Its colours, or its tokens, each of which is a byte. */
static il_status keep(reading *r, const il_picture *picture) {
    cli_pictures *set = r->set;
    size_t n = frame_bytes(set), pixels = n / (set->coloured ? 3 : 1), channels = (size_t)picture->channels;
    set->pixels = cli_grown(set->pixels, &set->room, (set->frames + 1) * n, 1);
    unsigned char *to = set->pixels + set->frames++ * n;
    for (size_t i = 0; set->coloured && i < n; i++)
        to[i] = picture->pixels[i / 3 * channels + (channels == 3 ? i % 3 : 0)];
    if (set->coloured) return IL_OK;
    if (!r->tokens) r->tokens = cli_alloc(pixels, sizeof *r->tokens);
    il_status status = il_picture_tokens(&set->layout, picture, r->tokens, NULL, r->error);
    for (size_t i = 0; i < pixels && !status; i++) to[i] = (unsigned char)r->tokens[i];
    return status;
}

static il_status begin_item(reading *r, const char *path, const char *short_name) {
    cli_pictures *set = r->set;
    char *text = NULL;
    il_status status = caption(r, path, short_name, &text);
    if (status) return status;
    set->items = cli_grown(set->items, &set->items_room, set->n + 1, sizeof *set->items);
    set->items[set->n++] =
        (cli_picture_item){.name = cli_format("%s", short_name), .caption = text, .first = set->frames};
    if (strlen(text) > set->longest) set->longest = strlen(text);
    return IL_OK;
}

/* Whether a picture goes on a film that has begun: the next frame of a file's, or the next picture in a folder. */
static int goes_on(reading *r, const char *path, const il_picture *picture, int is_film) {
    if (!r->options->films) return 0;
    if (is_film) {
        r->still_in = NULL;
        return !picture->begins;
    }
    char *folder = folder_of(path);
    int same = r->still_in && !strcmp(folder, r->still_in);
    free(r->folder);
    r->still_in = r->folder = folder;
    return same;
}

static il_status read_file(reading *r, const char *path, const char *short_name) {
    il_pictures *file;
    il_picture picture, first;
    il_status status = il_pictures_open(r->engine, path, NULL, NULL, &file, r->error);
    if (status) return status;
    const char *format = il_pictures_format(file);
    int is_film = !strcmp(format, "GIF") || !strcmp(format, "y4m");
    while (!(status = il_pictures_next(file, &picture, r->error))) {
        il_picture_layout *layout = &r->set->layout;
        if (!layout->width) layout->width = picture.width, layout->height = picture.height;
        if (layout->width > IL_LAYOUT_SIDE_MAX || layout->height > IL_LAYOUT_SIDE_MAX)
            status = cli_fail(r->error, IL_ERR_UNSUPPORTED,
                              "%s: a picture of %d by %d pixels: %d are the most along a side (--size)",
                              cli_shown(short_name), layout->width, layout->height, IL_LAYOUT_SIDE_MAX);
        first = picture;
        is_film |= !picture.begins; /* IDX of films says so by its second frame */
        if (!status) status = cli_picture_fit(layout, short_name, r->options->resize, &picture, &r->resized, r->error);
        if (!status && !goes_on(r, path, &first, is_film)) status = begin_item(r, path, short_name);
        if (!status) status = keep(r, &picture);
        if (status) break;
        r->set->items[r->set->n - 1].frames++;
    }
    il_pictures_close(file);
    return status == IL_ERR_END ? IL_OK : status;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static il_status read_any(reading *r, const char *path, const char *short_name, int deep);

static il_status read_folder(reading *r, const char *path, const char *short_name, int deep) {
    char **names = NULL;
    size_t n = 0, room = 0;
    DIR *dir = deep < FOLDERS_DEEP ? opendir(path) : (errno = ELOOP, NULL);
    if (!dir) return cli_fail(r->error, IL_ERR_IO, "%s: %s", path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        names = cli_grown(names, &room, n + 1, sizeof *names);
        names[n++] = cli_format("%s", entry->d_name);
    }
    closedir(dir);
    if (n) qsort(names, n, sizeof *names, by_bytes);
    il_status status = IL_OK;
    for (size_t i = 0; i < n; i++) {
        char *inner = cli_format("%s/%s", path, names[i]),
             *shorter = cli_format("%s%s%s", short_name, *short_name ? "/" : "", names[i]);
        if (!status) status = read_any(r, inner, shorter, deep + 1);
        free(inner);
        free(shorter);
        free(names[i]);
    }
    free(names);
    return status;
}

/* In a folder only what is called like a picture is one. */
static il_status read_any(reading *r, const char *path, const char *short_name, int deep) {
    struct stat info;
    if (strcmp(path, "-") && !stat(path, &info) && S_ISDIR(info.st_mode))
        return read_folder(r, path, deep ? short_name : "", deep);
    if (deep && !is_picture(path)) {
        r->set->left_out++;
        return IL_OK;
    }
    return read_file(r, path, short_name);
}

/* A line of actions for each film, and in it one for each frame. */
static il_status check_actions(const reading *r) {
    const cli_pictures *set = r->set;
    const cli_actions *a = &set->actions;
    if (a->lines != set->n)
        return cli_fail(r->error, IL_ERR_MISMATCH, "%s: actions of %s, for %s", r->options->actions,
                        cli_count(a->lines, "film"), cli_count(set->n, "film"));
    for (size_t i = 0; i < set->n; i++) {
        size_t n = a->ends[i] - (i ? a->ends[i - 1] : 0);
        if (n != set->items[i].frames)
            return cli_fail(r->error, IL_ERR_MISMATCH, "%s: film %zu has %s, and there are actions for %zu",
                            r->options->actions, i + 1, cli_count(set->items[i].frames, "frame"), n);
    }
    return IL_OK;
}

il_status cli_pictures_read(il_engine *engine, const char *const *words, size_t n, const cli_picture_options *options,
                            cli_pictures *set, il_error *error) {
    reading r = {.engine = engine, .options = options, .set = set, .error = error};
    il_status status = read_captions(&r);
    if (!status && options->labels && !r.n_labels)
        status = cli_fail(error, IL_ERR_ARG, "--label-names goes with --captions of IDX labels");
    if (!status && options->actions)
        status = cli_actions_read(engine, options->actions, options->is_new, &set->layout, &set->actions, error);
    for (size_t i = 0; i < n && !status; i++) {
        char *path = cli_format("%s", words[i]);
        for (size_t end = strlen(path); end > 1 && path[end - 1] == '/';) path[--end] = 0;
        status = read_any(&r, path, base_of(path), 0);
        free(path);
    }
    if (!status && !set->n)
        status = cli_fail(error, IL_ERR_FORMAT,
                          "%s: no pictures in it: names of pictures end in .png, .gif, .pgm, "
                          ".ppm, .y4m or idx3-ubyte, or the same with .gz",
                          words[0]);
    if (!status && r.n_labels > set->n)
        status =
            cli_fail(error, IL_ERR_MISMATCH, "%s: %zu labels for %zu pictures", options->captions, r.n_labels, set->n);
    if (!status && options->actions) status = check_actions(&r);
    free(r.text);
    free(r.lines);
    free(r.labels);
    free(r.folder);
    free(r.resized);
    free(r.tokens);
    return status;
}

void cli_pictures_close(cli_pictures *set) {
    for (size_t i = 0; i < set->n; i++) {
        free(set->items[i].name);
        free(set->items[i].caption);
    }
    cli_actions_free(&set->actions);
    free(set->items);
    free(set->pixels);
    *set = (cli_pictures){0};
}

/* Tokens before the pixels of each frame. */
static size_t frame_head(const il_picture_layout *l) { return l->films ? (size_t)il_picture_line(l) : 0; }

size_t cli_picture_item_size(const il_picture_layout *layout, const cli_picture_item *item) {
    size_t pixels = (size_t)layout->width * (size_t)layout->height;
    return (size_t)(layout->header_rows * il_picture_line(layout)) + item->frames * (frame_head(layout) + pixels);
}

il_status cli_picture_item_tokens(const cli_pictures *set, const il_picture_layout *layout,
                                  const cli_picture_item *item, int32_t *tokens, il_error *error) {
    size_t n = frame_bytes(set);
    il_status status = il_picture_header(layout, item->caption, strlen(item->caption), tokens, error);
    tokens += layout->header_rows * il_picture_line(layout);
    for (size_t i = item->first; i < item->first + item->frames && !status; i++) {
        if (layout->films)
            status = il_picture_frame(layout, set->actions.n ? set->actions.items[i] : -1, tokens, error);
        tokens += frame_head(layout);
        for (size_t k = 0; k < n; k++) *tokens++ = set->pixels[i * n + k];
    }
    return status;
}

il_status cli_pictures_options(cli_command *command, const char *const *names, size_t n, il_error *error) {
    const char *other = arg_given_beside(command->spec, names, n);
    if (!other) return IL_OK;
    command->wrong_usage = 1;
    return cli_fail(error, IL_ERR_ARG, "%s is of text, and this is a model of pictures", other);
}
