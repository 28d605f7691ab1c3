/* generate_pictures.c: see generate_pictures.h. Headers and the rows that begin frames are put by the program, and of
 * the model's predictions only those of pixels count. Picture i is drawn with the seed and i, so that it is the same
 * however many there are; all go through the model side by side. With guidance a picture has two sessions, which read
 * the same pixels: one has read the caption, one the empty caption, and what is drawn from are the logits of the second
 * and so many times what the caption changes in them. */
#include "verbs/generate_pictures.h"

#include "actions.h"
#include "interrupt.h"
#include "output.h"
#include "picture_set.h"
#include "picture_view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOGETHER = 64, FRAMES = 16, FILM_MS = 100 };

typedef struct drawing {
    cli_command *command;
    const generate_picture_options *options;
    il_model *model;
    const il_picture_layout *layout;
    il_sample_options sampling;
    int frozen;
    size_t count, frames, pixels, channels; /* pixels of a picture; of the layout's */
    size_t ways;                            /* sessions of a picture: 1, or 2 with guidance */
    float guidance;
    /* what is given */
    il_session *base[2]; /* [ways]: have read it, with the caption and without */
    int32_t *given;      /* [given_frames, pixels]: of --from */
    size_t given_frames, given_pixels;
    int ms;
    cli_actions actions;
    size_t given_actions; /* of them that belong to given frames, the first left out */
    /* the group of pictures under way */
    size_t first, n;                    /* n ≤ TOGETHER */
    il_session *sessions[2 * TOGETHER]; /* [ways, n] */
    il_feed feeds[2 * TOGETHER];        /* of these sessions */
    float *logits;                      /* [ways, n, vocab_size]: theirs */
    int32_t *tokens;                    /* [n, pixels] of the frame under way */
    /* what is made of it */
    il_picture_format format;
    il_picture_output *output;
    unsigned char *sheet, *scaled, *cell; /* of cells across and down, of one */
    size_t across, down;
    cli_picture_view view;
    cli_progress progress;
    uint64_t drawn, all; /* pixels */
    double seconds;
} drawing;

/* The first OURS are of pictures alone; all others of the verb are of text alone. */
static const char *const taken[] = {"--out",         "--count",  "--from",     "--rows",  "--frames", "--actions",
                                    "--scale",       "--resize", "--guidance", "--model", "--dtype",  "--prompt",
                                    "--temperature", "--top-k",  "--top-p",    "--min-p", "--seed",   "--frozen"};
enum { OURS = 9 };

const char *generate_pictures_given(const arg_spec *spec) {
    for (size_t i = 0; i < OURS; i++)
        if (arg_given(spec, taken[i])) return taken[i];
    return NULL;
}

/* ---- what is asked for ---- */

static il_status wrong(drawing *d, const char *why) {
    d->command->wrong_usage = 1;
    return cli_fail(&d->command->error, IL_ERR_ARG, "%s", why);
}

static il_status check_options(drawing *d) {
    const generate_picture_options *o = d->options;
    il_status status = cli_pictures_options(d->command, taken, COUNT_OF(taken), &d->command->error);
    if (status) return status;
    if (d->layout->films && o->rows) return wrong(d, "--rows is of pictures, and this is a model of films");
    if (!d->layout->films && o->frames) return wrong(d, "--frames is of films, and this is a model of pictures");
    if (!d->layout->films && o->actions) return wrong(d, "--actions is of films, and this is a model of pictures");
    if (o->rows && !o->from) return wrong(d, "--rows goes with --from");
    if (o->resize && !o->from) return wrong(d, "--resize goes with --from");
    if (arg_given(d->command->spec, "--guidance")) {
        if (d->layout->films) return wrong(d, "--guidance is of pictures, and this is a model of films");
        if (!d->layout->captions) return wrong(d, "--guidance is by captions, and this model knows none");
        if (!arg_given(d->command->spec, "--prompt")) return wrong(d, "--guidance goes with --prompt");
    }
    if (d->layout->films && d->count > TOGETHER) return wrong(d, "--count: 64 films are the most");
    return IL_OK;
}

/* --actions, which also says how many frames there are. */
static il_status read_actions(drawing *d) {
    const char *text = d->options->actions;
    if (!text) return IL_OK;
    il_status status = cli_actions_parse(d->layout, "--actions", text, strlen(text), &d->actions, &d->command->error);
    if (!status && !d->actions.n) return wrong(d, "--actions: there is none in it");
    if (!d->options->frames) d->frames = d->actions.n;
    return status;
}

/* For each frame that is drawn there is an action, or for those that are given too, but for the first. */
static il_status match_actions(drawing *d) {
    size_t n = d->actions.n;
    if (!n || n == d->frames) return IL_OK;
    d->given_actions = d->given_frames ? d->given_frames - 1 : 0;
    if (n == d->frames + d->given_actions) return IL_OK;
    return cli_fail(&d->command->error, IL_ERR_ARG, "--actions: %s, for %s that are drawn and %zu given",
                    cli_count(n, "action"), cli_count(d->frames, "frame"), d->given_frames);
}

/* What leads to frame i of those that are drawn, or of those that are given. */
static int drawn_action(const drawing *d, size_t i) {
    return d->actions.n ? d->actions.items[d->given_actions + i] : -1;
}
static int given_action(const drawing *d, size_t i) { return i && d->given_actions ? d->actions.items[i - 1] : -1; }

/* Format and form of the sheet: pictures in a square; films in a square, or where the format holds a single picture,
 * their frames side by side. */
static il_status choose_form(drawing *d) {
    const char *out = d->options->out;
    il_error *error = &d->command->error;
    if (!out && !d->view.columns) return wrong(d, "--out FILE is missing: where pictures go");
    d->format = d->layout->films ? IL_PICTURE_Y4M : IL_PICTURE_PNM;
    if (out && strncmp(out, "/dev/", 5)) {
        il_status status = il_picture_format_of(out, &d->format, error);
        if (status) return status;
    }
    d->across = (size_t)ceil(sqrt((double)d->count));
    d->down = (d->count + d->across - 1) / d->across;
    if (d->layout->films && d->format != IL_PICTURE_GIF && d->format != IL_PICTURE_Y4M) {
        d->across = d->frames;
        d->down = d->count;
    }
    size_t scale = (size_t)d->options->scale, width = d->across * (size_t)d->layout->width * scale,
           height = d->down * (size_t)d->layout->height * scale;
    if (width > IL_PICTURE_SIDE_MAX || height > IL_PICTURE_SIDE_MAX || width * height > IL_PICTURE_PIXELS_MAX)
        return cli_fail(error, IL_ERR_ARG, "%s of %zu by %zu pixels: %d are possible along a side, and %d in all",
                        out ? out : "a sheet", width, height, IL_PICTURE_SIDE_MAX, IL_PICTURE_PIXELS_MAX);
    return IL_OK;
}

static int is_strip(const drawing *d) { return d->layout->films && d->down == d->count && d->across == d->frames; }

/* ---- what is given ---- */

static il_status read_from(drawing *d) {
    const char *path = d->options->from;
    il_error *error = &d->command->error;
    il_pictures *file;
    il_picture picture;
    unsigned char *room = NULL;
    size_t capacity = 0;
    il_status status = il_pictures_open(d->command->engine, path, NULL, NULL, &file, error);
    if (status) return status;
    while (!(status = il_pictures_next(file, &picture, error))) {
        if (picture.ms) d->ms = picture.ms;
        status = cli_picture_fit(d->layout, path, d->options->resize, &picture, &room, error);
        if (!status && d->given_frames && !d->layout->films)
            status = cli_fail(error, IL_ERR_ARG, "%s: several pictures, of which one can be completed", path);
        if (status) break;
        d->given = cli_grown(d->given, &capacity, (d->given_frames + 1) * d->pixels, sizeof *d->given);
        status = il_picture_tokens(d->layout, &picture, d->given + d->given_frames++ * d->pixels, NULL, error);
        if (status) break;
    }
    il_pictures_close(file);
    free(room);
    return status == IL_ERR_END ? IL_OK : status;
}

static il_status feed(drawing *d, il_session *base, const int32_t *tokens, size_t n) {
    if (cli_interrupted()) return cli_fail(&d->command->error, IL_ERR_CANCELLED, "interrupted");
    return il_session_feed(base, tokens, n, NULL, NULL, &d->command->error);
}

/* Into a new session: header, and the picture's rows or the film's frames. */
static il_status read_given(drawing *d, const char *caption, il_session **base) {
    const il_picture_layout *layout = d->layout;
    il_error *error = &d->command->error;
    size_t line = (size_t)il_picture_line(layout), n = (size_t)layout->header_rows * line;
    int32_t *header = cli_alloc(n, sizeof *header);
    il_session_options options = {.frozen = d->frozen};
    il_status status = il_picture_header(layout, caption, strlen(caption), header, error);
    if (!status) status = il_session_open(d->model, &options, base, error);
    cli_interrupt_catch();
    if (!status) cli_interrupt_cancels(*base);
    if (!status) status = feed(d, *base, header, n);
    for (size_t i = 0; i < d->given_frames && layout->films && !status; i++) {
        status = il_picture_frame(layout, given_action(d, i), header, error);
        if (!status) status = feed(d, *base, header, line);
        if (!status) status = feed(d, *base, d->given + i * d->pixels, d->pixels);
    }
    if (!status && d->given_frames && !layout->films) {
        size_t rows = d->options->rows ? (size_t)d->options->rows : ((size_t)layout->height + 1) / 2;
        if (rows >= (size_t)layout->height)
            status = cli_fail(error, IL_ERR_ARG, "--rows %zu: the picture has %d, and none would be left to draw", rows,
                              layout->height);
        d->given_pixels = rows * (size_t)layout->width;
        if (!status) status = feed(d, *base, d->given, d->given_pixels);
    }
    cli_interrupt_cancels(NULL);
    free(header);
    return status;
}

/* ---- drawing ---- */

/* What is shown meanwhile: the first pictures of the group, as many as fit. */
static void show(drawing *d, int last) {
    if (!d->view.columns) {
        char detail[64];
        double seconds = cli_seconds() - d->progress.started;
        snprintf(detail, sizeof detail, "%.0f pixels/s", seconds > 0 ? (double)d->drawn / seconds : 0.0);
        cli_progress_show(&d->progress, d->drawn, detail);
        return;
    }
    if (!last && !cli_picture_view_due(&d->view)) return;
    size_t width = (size_t)d->layout->width, n = (size_t)d->view.columns / width, row = width * d->channels;
    if (n > d->n) n = d->n;
    unsigned char *strip = cli_alloc(n * d->pixels, d->channels);
    for (size_t i = 0; i < n; i++) {
        if (il_picture_of_tokens(d->layout, d->tokens + i * d->pixels, d->cell, NULL)) continue;
        for (size_t y = 0; y < (size_t)d->layout->height; y++)
            memcpy(strip + (y * n + i) * row, d->cell + y * row, row);
    }
    cli_picture_view_show(&d->view,
                          &(il_picture){(int)(n * width), d->layout->height, (int)d->channels, strip, 0, 0, 0});
    free(strip);
}

static il_status feed_all(drawing *d) {
    if (cli_interrupted()) return cli_fail(&d->command->error, IL_ERR_CANCELLED, "interrupted");
    return il_feed_many(d->feeds, d->ways * d->n, &d->command->error);
}

/* Of picture i of the group: from without the caption to with it, and as far beyond as guidance says. */
static void guide(drawing *d, size_t i) {
    size_t vocab = (size_t)il_model_config(d->model)->vocab_size;
    float *with = d->logits + i * vocab;
    const float *without = d->logits + (d->n + i) * vocab;
    for (int k = 0; k < d->layout->levels; k++) with[k] = without[k] + d->guidance * (with[k] - without[k]);
}

/* Token `at` of each picture of the group, from what was predicted. */
static il_status draw(drawing *d, size_t at) {
    size_t vocab = (size_t)il_model_config(d->model)->vocab_size;
    il_status status = IL_OK;
    for (size_t i = 0; i < d->n && !status; i++) {
        il_sample_options options = d->sampling;
        options.seed += d->first + i;
        if (d->ways == 2) guide(d, i);
        status = il_sample(&options, d->logits + i * vocab, d->layout->levels, il_session_position(d->sessions[i]),
                           NULL, 0, &d->tokens[i * d->pixels + at], &d->command->error);
    }
    d->drawn += d->n;
    return status;
}

/* The pixels from `at` on of a frame of each picture; the last are read too where another frame follows. */
static il_status draw_frame(drawing *d, size_t at, int follows) {
    il_error *error = &d->command->error;
    size_t vocab = (size_t)il_model_config(d->model)->vocab_size, width = (size_t)d->layout->width;
    il_status status = IL_OK;
    for (size_t i = 0; i < d->ways * d->n && !status; i++)
        status = il_session_logits(d->sessions[i], d->logits + i * vocab, error);
    for (; at < d->pixels && !status; at++) {
        int ends = at + 1 == d->pixels;
        status = draw(d, at);
        if (at % width + 1 == width && !status) show(d, ends);
        if (status || (ends && !follows)) break;
        for (size_t i = 0; i < d->ways * d->n; i++)
            d->feeds[i] = (il_feed){.session = d->sessions[i],
                                    .tokens = d->tokens + i % d->n * d->pixels + at,
                                    .n = 1,
                                    .logits = ends ? NULL : d->logits + i * vocab};
        status = feed_all(d);
    }
    return status;
}

static il_status begin_frame(drawing *d, size_t frame) {
    size_t line = (size_t)il_picture_line(d->layout);
    int32_t *row = cli_alloc(line, sizeof *row);
    il_status status = il_picture_frame(d->layout, drawn_action(d, frame), row, &d->command->error);
    for (size_t i = 0; i < d->n; i++) d->feeds[i] = (il_feed){.session = d->sessions[i], .tokens = row, .n = line};
    if (!status) status = feed_all(d);
    free(row);
    return status;
}

/* Picture i of the group into a cell of the sheet. */
static il_status place(drawing *d, size_t i, size_t cell) {
    size_t row = (size_t)d->layout->width * d->channels, x = cell % d->across, y = cell / d->across;
    il_status status = il_picture_of_tokens(d->layout, d->tokens + i * d->pixels, d->cell, &d->command->error);
    for (size_t k = 0; k < (size_t)d->layout->height && !status; k++)
        memcpy(d->sheet + ((y * (size_t)d->layout->height + k) * d->across + x) * row, d->cell + k * row, row);
    return status;
}

static il_status put_sheet(drawing *d) {
    il_error *error = &d->command->error;
    int scale = (int)d->options->scale;
    il_picture sheet = {
        (int)d->across * d->layout->width, (int)d->down * d->layout->height, (int)d->channels, d->sheet, 0, 0, 0};
    il_status status = IL_OK;
    if (!d->output) return IL_OK;
    if (scale > 1) {
        status = il_picture_resize(&sheet, sheet.width * scale, sheet.height * scale, d->scaled, error);
        sheet.width *= scale;
        sheet.height *= scale;
        sheet.pixels = d->scaled;
    }
    return status ? status : il_picture_output_put(d->output, &sheet, error);
}

/* Pictures first .. first + n - 1, all their frames. */
static il_status draw_group(drawing *d) {
    il_status status = IL_OK;
    for (size_t i = 0; i < d->ways * d->n && !status; i++)
        status = il_session_fork(d->base[i / d->n], &d->sessions[i], &d->command->error);
    for (size_t i = 0; i < d->n && d->given_pixels; i++)
        memcpy(d->tokens + i * d->pixels, d->given, d->given_pixels * sizeof *d->tokens);
    for (size_t frame = 0; frame < d->frames && !status; frame++) {
        if (d->layout->films) status = begin_frame(d, frame);
        if (!status) status = draw_frame(d, d->given_pixels, frame + 1 < d->frames);
        for (size_t i = 0; i < d->n && !status; i++)
            status = place(d, i, is_strip(d) ? i * d->across + frame : d->first + i);
        if (!status && d->layout->films && !is_strip(d)) status = put_sheet(d);
    }
    for (size_t i = 0; i < d->ways * d->n; i++) {
        il_session_close(d->sessions[i]);
        d->sessions[i] = NULL;
    }
    return status;
}

static il_status draw_all(drawing *d) {
    const generate_picture_options *o = d->options;
    il_error *error = &d->command->error;
    size_t cells = d->across * d->down * d->pixels, scale = (size_t)o->scale;
    il_status status =
        o->out ? il_picture_output_open(d->command->engine, o->out, d->format, d->ms, &d->output, error) : IL_OK;
    if (status) return status;
    d->logits = cli_alloc(d->ways * TOGETHER * (size_t)il_model_config(d->model)->vocab_size, sizeof *d->logits);
    d->tokens = cli_alloc(TOGETHER * d->pixels, sizeof *d->tokens);
    d->cell = cli_alloc(d->pixels, d->channels);
    d->sheet = cli_alloc(cells, d->channels);
    memset(d->sheet, 255, cells * d->channels);
    if (scale > 1) d->scaled = cli_alloc(cells * scale * scale, d->channels);
    d->all = (uint64_t)d->count * d->frames * (d->pixels - d->given_pixels);
    cli_progress_begin(&d->progress, d->command->verb, "pixel", 0, d->all);
    for (d->first = 0; d->first < d->count && !status; d->first += d->n) {
        d->n = d->count - d->first < TOGETHER ? d->count - d->first : TOGETHER;
        status = draw_group(d);
    }
    if (!d->view.columns) cli_progress_end(&d->progress);
    d->seconds = cli_seconds() - d->progress.started;
    if (!status && (!d->layout->films || is_strip(d))) status = put_sheet(d);
    if (!status && d->output) {
        status = il_picture_output_finish(d->output, error);
        d->output = NULL;
    }
    return status;
}

static void report(const drawing *d) {
    const char *out = d->options->out;
    double rate = d->seconds > 0 ? (double)d->drawn / d->seconds : 0;
    if (d->command->spec->json)
        cli_json_print(json_pack("{s:o, s:I, s:I, s:i, s:i, s:I, s:b, s:o, s:o, s:o}", "out", cli_json_string(out),
                                 "count", (json_int_t)d->count, "frames", (json_int_t)d->frames, "width",
                                 d->layout->width, "height", d->layout->height, "pixels", (json_int_t)d->drawn,
                                 "frozen", d->frozen, "guidance", cli_json_real((double)d->guidance), "seconds",
                                 cli_json_real(d->seconds), "pixels_per_s", cli_json_real(rate)));
    else
        cli_note(d->command->verb, "%s%s%s, %s in %.2f s (%.0f pixels/s)",
                 cli_count(d->count, d->layout->films ? "film" : "picture"), d->layout->films ? " of " : "",
                 d->layout->films ? cli_count(d->frames, "frame") : "", cli_count(d->drawn, "pixel"), d->seconds, rate);
}

static void close_drawing(drawing *d) {
    il_picture_output_abandon(d->output);
    for (size_t i = 0; i < d->ways; i++) il_session_close(d->base[i]);
    free(d->given);
    free(d->logits);
    free(d->tokens);
    free(d->cell);
    free(d->sheet);
    free(d->scaled);
    cli_actions_free(&d->actions);
}

il_status generate_pictures(cli_command *command, il_model *model, const il_tokenizer *tokenizer, const char *caption,
                            const cli_sampling *sampling, int frozen, const generate_picture_options *options) {
    const il_picture_layout *layout = il_tokenizer_pictures(tokenizer);
    drawing *d = cli_alloc(1, sizeof *d);
    il_generation usual;
    *d = (drawing){.command = command, .options = options, .model = model, .layout = layout, .frozen = frozen};
    d->count = (size_t)options->count;
    d->frames = !layout->films ? 1 : options->frames ? (size_t)options->frames : FRAMES;
    d->pixels = (size_t)layout->width * (size_t)layout->height;
    d->channels = layout->palette ? 3 : 1;
    d->guidance = (float)options->guidance;
    d->ways = d->guidance != 1 ? 2 : 1;
    d->ms = FILM_MS;
    cli_picture_view_begin(&d->view, layout->width);
    il_status status = check_options(d);
    if (!status) status = read_actions(d);
    if (!status) status = choose_form(d);
    if (!status)
        status = il_generation_load(tokenizer, il_model_config(model), command->model_dir, &usual, &command->error);
    if (!status) {
        d->sampling = usual.sampling;
        cli_sampling_apply(sampling, command->spec, &d->sampling);
        if (options->from) status = read_from(d);
        if (!status) status = match_actions(d);
    }
    if (!status) status = read_given(d, caption ? caption : "", &d->base[0]);
    if (!status && d->ways == 2) status = read_given(d, "", &d->base[1]);
    if (!status) status = draw_all(d);
    if (!status) report(d);
    close_drawing(d);
    free(d);
    return status;
}
