/* play.c: `innerloop play`: a world that a model of films has learned, drawn frame by frame as keys are pressed. Every
 * key is an action, which begins the next frame. Space goes on with the same weights frozen, which have read only the
 * last frames, and back. The session after the first frames is kept, and playing begins again with a fork of it. */
#include "verbs.h"

#include "actions.h"
#include "bundled_model.h"
#include "command.h"
#include "interrupt.h"
#include "output.h"
#include "picture_set.h"
#include "picture_view.h"
#include "screen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HISTORY = 8, STATUS_ROWS = 2 };
static const char START[] = "start.ppm"; /* in the model's directory: the frames that playing begins with */
static const char USUAL[] = "maze";      /* the bundled model that is played where none is named */
static const double HELD_S = 0.15;       /* a key counts as held so long after it was seen */

typedef struct play_options {
    const char *model, *dtype, *from, *keys, *out;
    double temperature, min_p;
    uint64_t seed, fps, scale;
    int frozen;
} play_options;

/* One way on: a session, its last frames and how many there are. */
typedef struct course {
    il_session *session; /* has read all of them */
    int32_t *frames;     /* [HISTORY, line + pixels]: what begins it, and the frame; number i at i % HISTORY */
    uint64_t n;          /* frames, given ones included */
} course;

typedef struct playing {
    cli_command *command;
    const play_options *options;
    il_model *model;
    il_tokenizer *tokenizer;
    const il_picture_layout *layout;
    il_sample_options sampling;
    size_t line, pixels, frame; /* frame: tokens of what begins it, and pixels */
    uint64_t given;             /* frames */
    course first, now, other;   /* after the given frames; being played; of the other kind, while that is shown */
    int other_on;
    float *logits;
    unsigned char *shown; /* the last frame's pixels */
    il_picture_output *output;
    /* measured */
    uint64_t drawn;
    double seconds, frame_s, rate; /* of all drawing; of a frame and frames a second, lately */
} playing;

static il_status wrong(playing *p, const char *why) {
    p->command->wrong_usage = 1;
    return cli_fail(&p->command->error, IL_ERR_ARG, "%s", why);
}

/* ---- frames ---- */

static int32_t *frame_at(const playing *p, const course *c, uint64_t i) { return c->frames + i % HISTORY * p->frame; }
static int32_t *pixels_at(const playing *p, const course *c, uint64_t i) { return frame_at(p, c, i) + p->line; }
static course *current(playing *p) { return p->other_on ? &p->other : &p->now; }

static void course_close(course *c) {
    il_session_close(c->session);
    free(c->frames);
    *c = (course){0};
}

static il_status course_fork(const playing *p, const course *from, course *to) {
    course_close(to);
    to->frames = cli_alloc(HISTORY * p->frame, sizeof *to->frames);
    memcpy(to->frames, from->frames, HISTORY * p->frame * sizeof *to->frames);
    to->n = from->n;
    return il_session_fork(from->session, &to->session, &p->command->error);
}

static il_status feed(playing *p, il_session *session, const int32_t *tokens, size_t n) {
    if (cli_interrupted()) return cli_fail(&p->command->error, IL_ERR_CANCELLED, "interrupted");
    return il_session_feed(session, tokens, n, NULL, NULL, &p->command->error);
}

/* A fresh session that has read the header. */
static il_status begin(playing *p, int frozen, il_session **session) {
    il_session_options options = {.frozen = frozen};
    size_t n = (size_t)p->layout->header_rows * p->line;
    int32_t *header = cli_alloc(n, sizeof *header);
    il_status status = il_picture_header(p->layout, "", 0, header, &p->command->error);
    if (!status) status = il_session_open(p->model, &options, session, &p->command->error);
    if (!status) status = feed(p, *session, header, n);
    free(header);
    return status;
}

static il_status see_last(playing *p, const course *c) {
    return c->n ? il_picture_of_tokens(p->layout, pixels_at(p, c, c->n - 1), p->shown, &p->command->error) : IL_OK;
}

/* The same last frames, read by a session of the other kind. */
static il_status switch_over(playing *p) {
    course *o = &p->other;
    uint64_t from = p->now.n < HISTORY ? 0 : p->now.n - HISTORY;
    p->other_on = !p->other_on;
    course_close(o);
    if (!p->other_on) return see_last(p, &p->now);
    o->frames = cli_alloc(HISTORY * p->frame, sizeof *o->frames);
    memcpy(o->frames, p->now.frames, HISTORY * p->frame * sizeof *o->frames);
    o->n = p->now.n;
    il_status status = begin(p, !p->options->frozen, &o->session);
    for (uint64_t i = from; i < o->n && !status; i++) status = feed(p, o->session, frame_at(p, o, i), p->frame);
    return status;
}

static il_status draw_pixels(playing *p, il_session *session, int32_t *pixels) {
    il_error *error = &p->command->error;
    il_status status = IL_OK;
    for (size_t i = 0; i < p->pixels && !status; i++) {
        status = il_session_logits(session, p->logits, error);
        if (!status)
            status = il_sample(&p->sampling, p->logits, p->layout->levels, il_session_position(session), NULL, 0,
                               &pixels[i], error);
        if (!status) status = feed(p, session, &pixels[i], 1);
    }
    return status;
}

static il_status put(playing *p) {
    size_t channels = p->layout->palette ? 3 : 1, scale = (size_t)p->options->scale;
    il_picture picture = {p->layout->width, p->layout->height, (int)channels, p->shown, 0, 0, 0};
    if (!p->output) return IL_OK;
    unsigned char *scaled = cli_alloc(p->pixels * scale * scale, channels);
    il_status status = il_picture_resize(&picture, picture.width * (int)scale, picture.height * (int)scale, scaled,
                                         &p->command->error);
    picture.width *= (int)scale;
    picture.height *= (int)scale;
    picture.pixels = scaled;
    if (!status) status = il_picture_output_put(p->output, &picture, &p->command->error);
    free(scaled);
    return status;
}

/* The next frame, which action (-1: none) leads to. */
static il_status step(playing *p, int action) {
    course *c = current(p);
    int32_t *row = frame_at(p, c, c->n), *pixels = pixels_at(p, c, c->n);
    double started = cli_seconds();
    il_status status = il_picture_frame(p->layout, action, row, &p->command->error);
    if (!status) status = feed(p, c->session, row, p->line);
    if (!status) status = draw_pixels(p, c->session, pixels);
    if (status) return status;
    double took = cli_seconds() - started;
    c->n++;
    p->drawn++;
    p->seconds += took;
    p->frame_s = p->drawn == 1 ? took : 0.9 * p->frame_s + 0.1 * took;
    status = see_last(p, c);
    return status ? status : put(p);
}

static il_status restart(playing *p) {
    p->other_on = 0;
    course_close(&p->other);
    il_status status = course_fork(p, &p->first, &p->now);
    return status ? status : see_last(p, &p->now);
}

/* ---- the beginning ---- */

/* Frames that are given: --from's, or the model's own; or none. */
static il_status read_given(playing *p) {
    course *c = &p->first;
    il_error *error = &p->command->error;
    il_pictures *file = NULL;
    il_picture picture;
    char *path =
        p->options->from ? cli_format("%s", p->options->from) : cli_format("%s/%s", p->command->model_dir, START);
    FILE *there = p->options->from ? NULL : fopen(path, "rb");
    il_status status = IL_OK;
    if (p->options->from || there) {
        status = il_pictures_open(p->command->engine, path, NULL, NULL, &file, error);
        while (!status && !(status = il_pictures_next(file, &picture, error))) {
            status = cli_picture_fit(p->layout, path, 0, &picture, NULL, error);
            if (!status) status = il_picture_tokens(p->layout, &picture, pixels_at(p, c, c->n), NULL, error);
            if (!status) status = il_picture_frame(p->layout, -1, frame_at(p, c, c->n), error);
            if (!status) status = feed(p, c->session, frame_at(p, c, c->n), p->frame);
            if (!status) c->n++;
        }
        if (status == IL_ERR_END) status = IL_OK;
    }
    if (there) fclose(there);
    il_pictures_close(file);
    free(path);
    p->given = c->n;
    return status;
}

static void choose_sampling(playing *p, const il_generation *usual) {
    const arg_spec *spec = p->command->spec;
    p->sampling = usual->sampling;
    if (arg_given(spec, "--temperature")) p->sampling.temperature = (float)p->options->temperature;
    if (arg_given(spec, "--min-p")) p->sampling.min_p = (float)p->options->min_p;
    if (arg_given(spec, "--seed")) p->sampling.seed = p->options->seed;
}

static il_status open_output(playing *p) {
    const char *out = p->options->out;
    il_picture_format format;
    il_error *error = &p->command->error;
    if (!out) return IL_OK;
    il_status status = il_picture_format_of(out, &format, error);
    if (!status && format == IL_PICTURE_PNG) return wrong(p, "--out: a PNG holds one picture; .gif and .y4m are films");
    if (status) return status;
    return il_picture_output_open(p->command->engine, out, format, (int)(1000 / p->options->fps), &p->output, error);
}

static il_status open_world(playing *p) {
    il_error *error = &p->command->error;
    il_generation usual;
    const char *environment = getenv("INNERLOOP_MODEL"), *word = p->options->model;
    if (!word && !(environment && *environment)) word = USUAL;
    il_status status = cli_command_load(p->command, word, &p->model, &p->tokenizer);
    if (status) return status;
    p->layout = il_tokenizer_pictures(p->tokenizer);
    if (!p->layout || !p->layout->films) return wrong(p, "--model: play needs a model of films (docs/pictures.md)");
    status = il_generation_load(p->tokenizer, il_model_config(p->model), p->command->model_dir, &usual, error);
    if (status) return status;
    choose_sampling(p, &usual);
    p->line = (size_t)il_picture_line(p->layout);
    p->pixels = (size_t)p->layout->width * (size_t)p->layout->height;
    p->frame = p->line + p->pixels;
    p->logits = cli_alloc((size_t)il_model_config(p->model)->vocab_size, sizeof *p->logits);
    p->shown = cli_alloc(p->pixels, 3);
    p->first.frames = cli_alloc(HISTORY * p->frame, sizeof *p->first.frames);
    cli_interrupt_catch();
    status = begin(p, p->options->frozen, &p->first.session);
    if (!status) status = read_given(p);
    if (!status) status = restart(p);
    return status ? status : open_output(p);
}

/* ---- keys ---- */

typedef struct binding {
    int key;
    const char *names[3]; /* the first of them that the layout has */
} binding;

static const binding bindings[] = {
    {'w', {"forward", "up"}}, {'s', {"back", "down"}}, {'a', {"left"}}, {'d', {"right"}}, {'.', {"none"}},
};

static int named(const il_picture_layout *layout, const char *name) {
    for (int i = 0; name && i < layout->actions && i < IL_ACTION_NAMES_MAX; i++)
        if (!strcmp(layout->action_names[i], name)) return i;
    return -1;
}

/* What a key does in this world; -1: FRAME, which is no action. 1 to 9 are the actions by number. */
static int action_of(const il_picture_layout *layout, int key) {
    if (key >= CLI_KEY_UP && key <= CLI_KEY_RIGHT) key = "wsad"[key - CLI_KEY_UP];
    if (key >= '1' && key <= '9') return key - '1' < layout->actions ? key - '1' : -1;
    for (size_t i = 0; i < COUNT_OF(bindings); i++)
        for (size_t k = 0; k < 2 && bindings[i].key == key; k++)
            if (named(layout, bindings[i].names[k]) >= 0) return named(layout, bindings[i].names[k]);
    return -1;
}

static int is_action(int key) {
    return (key >= CLI_KEY_UP && key <= CLI_KEY_RIGHT) || (key >= '1' && key <= '9') ||
           (key > 0 && key < 128 && strchr("wsad.", key));
}

/* What a key does that is no action. *ends: it ends the play. */
static il_status command_key(playing *p, int key, int *ends) {
    *ends = key == 'q' || key == CLI_KEY_STOP;
    if (key == ' ') return switch_over(p);
    return key == 'r' ? restart(p) : IL_OK;
}

static il_status play_keys(playing *p) {
    il_status status = IL_OK;
    int ends = 0;
    for (const char *key = p->options->keys; *key && !status && !ends; key++)
        status = is_action(*key) ? step(p, action_of(p->layout, *key)) : command_key(p, *key, &ends);
    return status;
}

static il_status check_keys(playing *p) {
    for (const char *key = p->options->keys; key && *key; key++)
        if (!is_action(*key) && !strchr(" rq", *key))
            return wrong(p, "--keys: of w, a, s, d, ., 1 to 9, r, space and q");
    return IL_OK;
}

/* ---- the screen ---- */

static int is_frozen(const playing *p) { return p->options->frozen != p->other_on; }

static void show(playing *p, int columns, int rows) {
    int scale = columns / p->layout->width, tall = 2 * (rows - STATUS_ROWS) / p->layout->height;
    size_t channels = p->layout->palette ? 3 : 1, bytes;
    course *c = current(p);
    il_session_stats stats;
    if (tall < scale) scale = tall;
    printf("\033[H");
    if (scale < 1) {
        printf("The terminal is too small: the world has %d by %d pixels.\033[J", p->layout->width,
               (p->layout->height + 1) / 2 + STATUS_ROWS);
        fflush(stdout);
        return;
    }
    il_picture picture = {p->layout->width, p->layout->height, (int)channels, p->shown, 0, 0, 0};
    unsigned char *scaled = cli_alloc(p->pixels * (size_t)(scale * scale), channels);
    if (!il_picture_resize(&picture, picture.width * scale, picture.height * scale, scaled, NULL)) {
        picture.width *= scale;
        picture.height *= scale;
        picture.pixels = scaled;
        char *text = cli_picture_text(&picture, &bytes);
        fwrite(text, 1, bytes, stdout);
        free(text);
    }
    free(scaled);
    il_session_get_stats(c->session, &stats);
    printf("frame %llu, %.0f a second, %.1f ms each, state %.2f MB, %s\033[K\n", (unsigned long long)(c->n - p->given),
           p->rate, 1e3 * p->frame_s, (double)stats.state_bytes / 1e6, is_frozen(p) ? "FROZEN" : "learning");
    printf("arrows walk, space %s, r begins again, q ends\033[K", p->other_on    ? "goes back"
                                                                  : is_frozen(p) ? "learns"
                                                                                 : "freezes");
    fflush(stdout);
}

/* The key that is acted on until `due`: the last action that came, or one that is still held. */
static il_status wait_for_keys(playing *p, double due, int *held, double *seen, int *ends) {
    il_status status = IL_OK;
    for (int key; !status && !*ends && (key = cli_screen_key(due)) != CLI_KEY_NONE;) {
        if (!is_action(key)) {
            status = command_key(p, key, ends);
            continue;
        }
        *held = key;
        *seen = cli_seconds();
    }
    if (cli_seconds() - *seen > HELD_S) *held = '.';
    return status;
}

static il_status play_screen(playing *p) {
    double every = 1.0 / (double)p->options->fps, due = cli_seconds() + every, seen = 0, before = 0;
    int held = '.', ends = 0, columns = 0, rows = 0;
    il_status status = cli_screen_open(&p->command->error);
    while (!status && !ends) {
        int now_columns, now_rows;
        cli_screen_size(&now_columns, &now_rows);
        if (now_columns != columns || now_rows != rows) printf("\033[2J");
        columns = now_columns;
        rows = now_rows;
        show(p, columns, rows);
        status = wait_for_keys(p, due, &held, &seen, &ends);
        if (status || ends) break;
        status = step(p, action_of(p->layout, held));
        double now = cli_seconds();
        if (before > 0) p->rate = (p->rate > 0 ? 0.9 * p->rate : 0.9 / (now - before)) + 0.1 / (now - before);
        before = now;
        due = due + every > now ? due + every : now;
    }
    cli_screen_close();
    return status;
}

/* ---- the verb ---- */

static void report(playing *p) {
    il_session_stats stats;
    il_session_get_stats(current(p)->session, &stats);
    double each = p->drawn ? p->seconds / (double)p->drawn : 0;
    if (p->command->spec->json)
        cli_json_print(json_pack("{s:o, s:I, s:I, s:i, s:i, s:I, s:b, s:o, s:o}", "out",
                                 cli_json_string(p->options->out), "frames", (json_int_t)p->drawn, "given",
                                 (json_int_t)p->given, "width", p->layout->width, "height", p->layout->height,
                                 "state_bytes", (json_int_t)stats.state_bytes, "frozen", is_frozen(p), "seconds",
                                 cli_json_real(p->seconds), "ms_per_frame", cli_json_real(1e3 * each)));
    else
        cli_note(p->command->verb, "%s, %.1f ms each, a state of %.2f MB", cli_count(p->drawn, "frame"), 1e3 * each,
                 (double)stats.state_bytes / 1e6);
}

static il_status play(playing *p) {
    il_status status = check_keys(p);
    if (!status) status = open_world(p);
    if (!status) status = p->options->keys ? play_keys(p) : play_screen(p);
    if (!status && p->output) {
        status = il_picture_output_finish(p->output, &p->command->error);
        p->output = NULL;
    }
    if (!status) report(p);
    return status;
}

int verb_play(int argc, char **argv) {
    play_options options = {.fps = 15, .scale = 1};
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR",
            CLI_MODEL_HELP " (default: $INNERLOOP_MODEL, or maze); one of films", READS),
        CLI_DTYPE(&options.dtype),
        ARG("--from", ARG_TEXT, &options.from, "FILE",
            "the frames that playing begins with (default: start.ppm in the model's directory, or none)", READS),
        ARG("--keys", ARG_TEXT, &options.keys, "KEYS",
            "play these keys without a terminal: w, a, s and d for the arrows, . for no key, 1 to 9 for the actions by "
            "number, r, space and q"),
        ARG("--out", ARG_TEXT, &options.out, "FILE", "keep what is drawn, as .gif, .y4m, .pgm or .ppm", WRITES),
        ARG("--scale", ARG_COUNT, &options.scale, "N", "write each pixel as N by N in that file (default 1)",
            RANGE(1, 64)),
        ARG("--fps", ARG_COUNT, &options.fps, "N", "so many frames a second at most (default 15)", RANGE(1, 100)),
        ARG("--temperature", ARG_REAL, &options.temperature, "F",
            "how evenly pixels are drawn; 0: always the likeliest (default 1, unless the model's "
            "generation_config.json "
            "says another)",
            RANGE(0, 100)),
        ARG("--min-p", ARG_REAL, &options.min_p, "F",
            "leave out pixels less likely than F times the likeliest one (default 0, or as that file says)",
            RANGE(0, 1)),
        ARG("--seed", ARG_COUNT, &options.seed, "N", "seed of the draws (default 0)", RANGE(0, ARG_SEED_MAX)),
        ARG("--frozen", ARG_FLAG, &options.frozen, NULL,
            "begin with the weights frozen: the control for learning while playing"),
    };
    arg_spec spec = {.verb = "play",
                     .summary = "walk through a world that a model of films has learned",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop play\n"
                                "innerloop play --keys wwwwwdddd --scale 8 --out walk.gif"};
    cli_command command;
    playing p = {.command = &command, .options = &options};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    il_status status = cli_command_open(&command, &spec);
    command.dtype = options.dtype;
    if (!status) status = play(&p);
    il_picture_output_abandon(p.output);
    course_close(&p.first);
    course_close(&p.now);
    course_close(&p.other);
    free(p.logits);
    free(p.shown);
    il_tokenizer_close(p.tokenizer);
    il_model_unref(p.model);
    return cli_command_close(&command, status);
}
