/* score_pictures.c: see score_pictures.h. */
#include "verbs/score_pictures.h"

#include "interrupt.h"
#include "output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOGETHER = 16 }; /* sequences that go through the model side by side */

typedef struct sequence {
    const cli_picture_item *item;
    int32_t *tokens; /* [n] */
    float *nll;      /* [n] */
    size_t n, room, nll_room;
} sequence;

typedef struct scoring {
    cli_command *command;
    il_model *model;
    const il_picture_layout *layout;
    int frozen;
    cli_pictures set;
    size_t header, begins, pixels; /* tokens of the header, of what begins a frame, of a frame */
    sequence sequences[TOGETHER];
    double nats;
    uint64_t done; /* pixels */
    cli_progress progress;
} scoring;

static const char *const ours[] = {"--captions", "--label-names", "--actions", "--resize"};

const char *score_pictures_given(const arg_spec *spec) {
    for (size_t i = 0; i < COUNT_OF(ours); i++)
        if (arg_given(spec, ours[i])) return ours[i];
    return NULL;
}

static il_status fill(scoring *s, sequence *q, const cli_picture_item *item) {
    q->item = item;
    q->n = cli_picture_item_size(s->layout, item);
    q->tokens = cli_grown(q->tokens, &q->room, q->n, sizeof *q->tokens);
    q->nll = cli_grown(q->nll, &q->nll_room, q->n, sizeof *q->nll);
    return cli_picture_item_tokens(&s->set, s->layout, item, q->tokens, &s->command->error);
}

static void print(const scoring *s, size_t index, const sequence *q, size_t frame, double nats) {
    if (!s->command->spec->json) return;
    json_t *object = json_pack("{s:I, s:o, s:o, s:o}", s->begins ? "film" : "picture", (json_int_t)index, "name",
                               cli_json_string(q->item->name), "nats", cli_json_real(nats), "bits_per_pixel",
                               cli_json_real(nats / log(2) / (double)s->pixels));
    if (s->begins) json_object_set_new(object, "frame", json_integer((json_int_t)frame));
    cli_json_print(object);
}

static void count(scoring *s, size_t index, const sequence *q) {
    for (size_t frame = 0; frame < q->item->frames; frame++) {
        const float *nll = q->nll + s->header + frame * (s->begins + s->pixels) + s->begins;
        double nats = 0;
        for (size_t i = 0; i < s->pixels; i++) nats += (double)nll[i];
        print(s, index, q, frame, nats);
        s->nats += nats;
        s->done += s->pixels;
    }
}

/* Items first .. first + n - 1. */
static il_status read_group(scoring *s, size_t first, size_t n) {
    il_error *error = &s->command->error;
    il_session_options options = {.frozen = s->frozen};
    il_session *sessions[TOGETHER] = {NULL};
    il_feed feeds[TOGETHER];
    il_status status = cli_interrupted() ? cli_fail(error, IL_ERR_CANCELLED, "interrupted") : IL_OK;
    for (size_t i = 0; i < n && !status; i++) {
        sequence *q = &s->sequences[i];
        status = fill(s, q, &s->set.items[first + i]);
        if (!status) status = il_session_open(s->model, &options, &sessions[i], error);
        feeds[i] = (il_feed){.session = sessions[i], .tokens = q->tokens, .n = q->n, .nll = q->nll};
    }
    if (!status) cli_interrupt_cancels(sessions[0]);
    if (!status) status = il_feed_many(feeds, n, error);
    cli_interrupt_cancels(NULL);
    for (size_t i = 0; i < n; i++) il_session_close(sessions[i]);
    for (size_t i = 0; i < n && !status; i++) count(s, first + i, &s->sequences[i]);
    return status;
}

static il_status read_all(scoring *s) {
    char detail[64];
    il_status status = IL_OK;
    uint64_t all = (uint64_t)s->set.frames * s->pixels;
    cli_progress_begin(&s->progress, s->command->verb, "pixel", 0, all);
    for (size_t first = 0; first < s->set.n && !status; first += TOGETHER) {
        size_t n = s->set.n - first < TOGETHER ? s->set.n - first : TOGETHER;
        status = read_group(s, first, n);
        double seconds = cli_seconds() - s->progress.started;
        snprintf(detail, sizeof detail, "%.0f pixels/s", seconds > 0 ? (double)s->done / seconds : 0.0);
        if (!status) cli_progress_show(&s->progress, s->done, detail);
    }
    cli_progress_end(&s->progress);
    return status;
}

static void report(const scoring *s) {
    double seconds = cli_seconds() - s->progress.started, bits = s->nats / log(2) / (double)s->done;
    const char *unit = s->begins ? "film" : "picture";
    char model[33];
    il_model_fingerprint(s->model, model);
    if (s->command->spec->json)
        cli_json_print(json_pack("{s:I, s:I, s:I, s:o, s:o, s:b, s:s, s:o}", s->begins ? "films" : "pictures",
                                 (json_int_t)s->set.n, "frames", (json_int_t)s->set.frames, "pixels",
                                 (json_int_t)s->done, "nats", cli_json_real(s->nats), "bits_per_pixel",
                                 cli_json_real(bits), "frozen", s->frozen, "model", model, "seconds",
                                 cli_json_real(seconds)));
    else
        printf("%s, %s: %.4f bits a pixel, %.2f nats a %s%s, %.1f s\n", cli_count(s->set.n, unit),
               cli_count(s->done, "pixel"), bits, s->nats / (double)s->set.frames, s->begins ? "frame" : "picture",
               s->frozen ? ", frozen" : "", seconds);
}

il_status score_pictures(cli_command *command, il_model *model, const il_tokenizer *tokenizer, const char *path,
                         int frozen, const cli_picture_options *options) {
    static const char *const taken[] = {"--model",       "--dtype",   "--frozen", "--captions",
                                        "--label-names", "--actions", "--resize"};
    cli_picture_options reading = *options;
    scoring *s = cli_alloc(1, sizeof *s);
    *s = (scoring){.command = command, .model = model, .layout = il_tokenizer_pictures(tokenizer), .frozen = frozen};
    s->set.layout = *s->layout;
    size_t line = (size_t)il_picture_line(s->layout);
    s->header = (size_t)s->layout->header_rows * line;
    s->begins = s->layout->films ? line : 0;
    s->pixels = (size_t)s->layout->width * (size_t)s->layout->height;
    reading.films = s->layout->films;
    il_status status = cli_pictures_options(command, taken, COUNT_OF(taken), &command->error);
    if (!status && reading.actions && !s->layout->films) {
        command->wrong_usage = 1;
        status = cli_fail(&command->error, IL_ERR_ARG, "--actions is of films, and this is a model of pictures");
    }
    if (!status) status = cli_pictures_read(command->engine, &path, 1, &reading, &s->set, &command->error);
    cli_interrupt_catch();
    if (!status) status = read_all(s);
    if (!status) report(s);
    for (size_t i = 0; i < TOGETHER; i++) {
        free(s->sequences[i].tokens);
        free(s->sequences[i].nll);
    }
    cli_pictures_close(&s->set);
    free(s);
    return status;
}
