/* pictures.c: `innerloop pictures`: token shards from pictures and films, and the tokenizer that they are made with. */
#include "picture_set.h"

#include "command.h"
#include "documents.h"
#include "output.h"
#include "verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARD "pictures"

typedef struct pictures_options {
    const char *tokenizer, *size, *out;
    cli_picture_options reading;
    uint64_t header_rows;
    int by_columns;
} pictures_options;

typedef struct making {
    cli_command *command;
    const pictures_options *options;
    il_tokenizer *tokenizer;
    cli_pictures set;
    int colours; /* of the palette that is to be made; 0: none is */
    int is_new;  /* the tokenizer is one of these pictures' own */
    uint64_t tokens;
} making;

/* "pictures:16" and "palette:32" give 16 and 32; 0 for any other word. */
static int count_of(const char *word, const char *kind) {
    size_t n = strlen(kind);
    char *end;
    if (strncmp(word, kind, n) || word[n] != ':' || word[n + 1] < '0' || word[n + 1] > '9') return 0;
    long count = strtol(word + n + 1, &end, 10);
    return *end || count < 2 || count > IL_LEVELS_MAX ? -1 : (int)count;
}

static il_status wrong(making *m, const char *why) {
    m->command->wrong_usage = 1;
    return cli_fail(&m->command->error, IL_ERR_ARG, "%s", why);
}

static int parse_size(const char *text, il_picture_layout *layout) {
    char end;
    return sscanf(text, "%4dx%4d%c", &layout->width, &layout->height, &end) == 2 && layout->width > 0 &&
           layout->height > 0;
}

/* What is known of the tokenizer before the pictures are. */
static il_status begin(making *m) {
    const pictures_options *o = m->options;
    il_picture_layout *layout = &m->set.layout;
    int greys = count_of(o->tokenizer, "pictures"), colours = count_of(o->tokenizer, "palette");
    if (greys < 0 || colours < 0) return wrong(m, "--tokenizer: 2 to 256 levels or colours are possible");
    m->is_new = greys || colours;
    if (m->is_new) {
        if (o->by_columns && !o->reading.films) return wrong(m, "--by-columns is of films (--films)");
        *layout = (il_picture_layout){.levels = greys,
                                      .films = o->reading.films,
                                      .by_columns = o->by_columns,
                                      .captions = o->reading.captions != 0};
        m->colours = colours;
        m->set.coloured = colours > 0;
        if (o->size && !parse_size(o->size, layout)) return wrong(m, "--size must be of the form WIDTHxHEIGHT");
        return IL_OK;
    }
    if (o->size || o->header_rows || o->by_columns)
        return wrong(m, "--size, --header-rows and --by-columns are of a new tokenizer");
    il_status status = il_tokenizer_load(m->command->engine, o->tokenizer, &m->tokenizer, &m->command->error);
    if (status) return status;
    if (!il_tokenizer_pictures(m->tokenizer)) return wrong(m, "--tokenizer: this one is of text");
    *layout = *il_tokenizer_pictures(m->tokenizer);
    if (o->reading.films && !layout->films) return wrong(m, "--films: this tokenizer is of pictures");
    return IL_OK;
}

/* Colours as entries of the palette, in their place. */
static il_status apply_palette(making *m) {
    cli_pictures *set = &m->set;
    size_t n = (size_t)set->layout.width * (size_t)set->layout.height;
    int32_t *tokens = cli_alloc(n, sizeof *tokens);
    il_status status = IL_OK;
    for (size_t i = 0; i < set->frames && !status; i++) {
        il_picture picture = {set->layout.width, set->layout.height, 3, set->pixels + 3 * n * i, 0, 0, 0};
        status = il_picture_tokens(&set->layout, &picture, tokens, NULL, &m->command->error);
        for (size_t k = 0; k < n && !status; k++) set->pixels[n * i + k] = (unsigned char)tokens[k];
    }
    set->coloured = 0;
    free(tokens);
    return status;
}

static il_status make_palette(making *m) {
    cli_pictures *set = &m->set;
    il_palette *palette;
    il_status status = il_palette_open(m->command->engine, &palette, &m->command->error);
    if (status) return status;
    size_t n = (size_t)set->layout.width * (size_t)set->layout.height;
    for (size_t i = 0; i < set->frames; i++)
        il_palette_add(palette,
                       &(il_picture){set->layout.width, set->layout.height, 3, set->pixels + 3 * n * i, 0, 0, 0});
    status = il_palette_cut(palette, m->colours, set->layout.colours, &set->layout.levels, &m->command->error);
    set->layout.palette = 1;
    il_palette_close(palette);
    return status;
}

/* As many header rows as the longest caption needs. */
static void choose_header(making *m) {
    il_picture_layout *layout = &m->set.layout;
    size_t line = (size_t)il_picture_line(layout), needed = 1 + (layout->captions ? m->set.longest + 1 : 0);
    layout->header_rows = (int)((needed + line - 1) / line);
    if (m->options->header_rows) layout->header_rows = (int)m->options->header_rows;
}

static il_status finish_tokenizer(making *m) {
    il_status status = m->colours ? make_palette(m) : IL_OK;
    if (!status && m->colours) status = apply_palette(m);
    if (status) return status;
    choose_header(m);
    return il_tokenizer_open_pictures(m->command->engine, &m->set.layout, &m->tokenizer, &m->command->error);
}

/* Appends an item's tokens, and what ends a film, at `at`; returns where they end. */
static int32_t *put_item(making *m, const cli_picture_item *item, int32_t *at, il_status *status) {
    const il_picture_layout *layout = il_tokenizer_pictures(m->tokenizer);
    il_error why;
    il_tokenizer_info info;
    *status = cli_picture_item_tokens(&m->set, layout, item, at, &why);
    if (*status) {
        cli_fail(&m->command->error, *status, "%s: %.400s", cli_shown(item->name), why.message);
        return at;
    }
    il_tokenizer_get_info(m->tokenizer, &info);
    at += cli_picture_item_size(layout, item);
    if (layout->films) *at++ = info.eos;
    return at;
}

static il_status write_shard(making *m) {
    const il_picture_layout *layout = il_tokenizer_pictures(m->tokenizer);
    size_t n = 0;
    for (size_t i = 0; i < m->set.n; i++) n += cli_picture_item_size(layout, &m->set.items[i]) + (layout->films != 0);
    int32_t *tokens = cli_alloc(n, sizeof *tokens), *at = tokens;
    il_status status = IL_OK;
    for (size_t i = 0; i < m->set.n && !status; i++) at = put_item(m, &m->set.items[i], at, &status);
    if (!status)
        status = il_data_write(m->command->engine, m->tokenizer, m->options->out, SHARD, tokens, n, &m->command->error);
    m->tokens = n;
    free(tokens);
    return status;
}

static void report(const making *m, double seconds) {
    const pictures_options *o = m->options;
    const il_picture_layout *layout = il_tokenizer_pictures(m->tokenizer);
    il_tokenizer_info info;
    il_tokenizer_get_info(m->tokenizer, &info);
    if (m->set.left_out)
        cli_note(m->command->verb, "%s not called like a picture: left out", cli_count(m->set.left_out, "file"));
    if (m->command->spec->json) {
        cli_json_print(json_pack("{s:o, s:s, s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:o}", "out",
                                 cli_json_string(o->out), "kind", layout->films ? "films" : "pictures", "items",
                                 (json_int_t)m->set.n, "frames", (json_int_t)m->set.frames, "tokens",
                                 (json_int_t)m->tokens, "width", layout->width, "height", layout->height, "levels",
                                 layout->levels, "header_rows", layout->header_rows, "actions", layout->actions,
                                 "vocab_size", info.vocab_size, "seconds", cli_json_real(seconds)));
        return;
    }
    const char *count = cli_count(m->set.n, layout->films ? "film" : "picture");
    printf("%s/" SHARD ".bin: %s%s%s of %d by %d pixels, %d %s, %s, %.1f s\n", cli_shown(o->out), count,
           layout->films ? ", " : "", layout->films ? cli_count(m->set.frames, "frame") : "", layout->width,
           layout->height, layout->levels, layout->palette ? "colours" : "greys", cli_count(m->tokens, "token"),
           seconds);
    printf("%s/pictures.json: %s of captions, %s%svocabulary %d\n", cli_shown(o->out),
           cli_count((uint64_t)layout->header_rows, "header row"),
           layout->actions ? cli_count((uint64_t)layout->actions, "action") : "", layout->actions ? ", " : "",
           info.vocab_size);
}

static il_status make(making *m) {
    const arg_list *operands = &m->command->spec->operands;
    cli_picture_options reading = m->options->reading;
    double started = cli_seconds();
    il_status status = cli_documents_check(operands->items, operands->n, &m->command->error);
    if (!status) status = begin(m);
    reading.films = m->set.layout.films;
    reading.is_new = m->is_new;
    if (!status && reading.actions && !reading.films) status = wrong(m, "--actions is of films (--films)");
    if (!status)
        status =
            cli_pictures_read(m->command->engine, operands->items, operands->n, &reading, &m->set, &m->command->error);
    if (!status && m->is_new) status = finish_tokenizer(m);
    if (!status) status = write_shard(m);
    if (!status) report(m, cli_seconds() - started);
    return status;
}

int verb_pictures(int argc, char **argv) {
    pictures_options options = {0};
    arg_option table[] = {
        ARG("--tokenizer", ARG_TEXT, &options.tokenizer, "{pictures:N,palette:N,FILE}",
            "N greys, or N colours chosen from the pictures; or the pictures.json of other pictures or of a model",
            READS, .required = 1),
        ARG("--out", ARG_TEXT, &options.out, "DIR", "where pictures.bin and pictures.json go", MAKES, .required = 1),
        ARG("--size", ARG_TEXT, &options.size, "WxH", "pixels of each picture (default: the size of the first)"),
        CLI_PICTURE_OPTIONS(options.reading),
        ARG("--films", ARG_FLAG, &options.reading.films, NULL,
            "a GIF or y4m is one film, and so are the single pictures of a folder"),
        ARG("--by-columns", ARG_FLAG, &options.by_columns, NULL,
            "pixels of films go from left to right by columns, not by rows"),
        ARG("--header-rows", ARG_COUNT, &options.header_rows, "N",
            "rows of tokens before the pixels, for the caption (default: as the longest needs)",
            RANGE(1, IL_HEADER_ROWS_MAX)),
    };
    arg_spec spec = {.verb = "pictures",
                     .summary = "turn pictures and films into token shards",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .operand = "FILE",
                     .operand_help = "PNG, GIF, PGM, PPM, y4m or IDX, also compressed by gzip or zstd, - for standard "
                                     "input; or a folder of such files",
                     .operands_min = 1,
                     .operands_max = SIZE_MAX,
                     .example =
                         "innerloop pictures --tokenizer pictures:16 --out train \\\n"
                         "    --captions train-labels-idx1-ubyte.gz --label-names 't-shirt,trouser' \\\n"
                         "    train-images-idx3-ubyte.gz\n"
                         "innerloop pictures --tokenizer palette:32 --size 24x24 --resize --captions names \\\n"
                         "    --out emoji pngs\n"
                         "innerloop pictures --tokenizer palette:64 --films --actions walks.txt --out walks walks.idx\n"
                         "ffmpeg -v error -i film.mp4 -f yuv4mpegpipe - |\n"
                         "    innerloop pictures --tokenizer palette:64 --size 64x48 --resize --films --out film -"};
    cli_command command;
    making m = {.command = &command, .options = &options};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    il_status status = cli_command_open(&command, &spec);
    if (!status) status = make(&m);
    il_tokenizer_close(m.tokenizer);
    cli_pictures_close(&m.set);
    return cli_command_close(&command, status);
}
