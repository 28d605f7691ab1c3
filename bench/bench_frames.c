/* bench_frames.c: what an early and a late frame of a film cost, drawn pixel by pixel by one session on one thread.
 *
 *   bench_frames EARLY LATE MODEL…     frame numbers from 6 on; model directories with a pictures.json of films
 *
 * A frame's pixels are levels by a fixed rule: what they are costs nothing. Of the 11 frames around each the median
 * counts. */
#include "innerloop.h"
#include "timing.h"

#include <stdio.h>
#include <stdlib.h>

enum { AROUND = 11 };

static il_error error;

static void must(il_status status) {
    if (!status) return;
    fprintf(stderr, "bench_frames: %s\n", error.message);
    exit(1);
}

static int32_t pixel(const il_picture_layout *layout, int frame, int i) { return (i * 7 + frame * 3) % layout->levels; }

static void put_row(il_session *session, const il_picture_layout *layout) {
    int32_t row[IL_LAYOUT_SIDE_MAX];
    must(il_picture_frame(layout, -1, row, &error));
    must(il_session_feed(session, row, (size_t)il_picture_line(layout), NULL, NULL, &error));
}

/* Pixel by pixel, as it must be drawn. */
static void draw_frame(il_session *session, const il_picture_layout *layout, int frame, float *logits) {
    put_row(session, layout);
    for (int i = 0; i < layout->width * layout->height; i++) {
        int32_t token = pixel(layout, frame, i);
        must(il_session_logits(session, logits, &error));
        must(il_session_feed(session, &token, 1, NULL, NULL, &error));
    }
}

/* The same tokens at once, which is quicker: frames between those that are timed. */
static void read_frame(il_session *session, const il_picture_layout *layout, int frame) {
    put_row(session, layout);
    for (int y = 0; y < layout->height; y++) {
        int32_t row[IL_LAYOUT_SIDE_MAX];
        for (int x = 0; x < layout->width; x++) row[x] = pixel(layout, frame, y * layout->width + x);
        must(il_session_feed(session, row, (size_t)layout->width, NULL, NULL, &error));
    }
}

static double median_around(il_session *session, const il_picture_layout *layout, int *number, int middle,
                            float *logits) {
    double seconds[AROUND];
    for (; *number < middle - AROUND / 2; ++*number) read_frame(session, layout, *number);
    for (int i = 0; i < AROUND; i++, ++*number) {
        double started = now_s();
        draw_frame(session, layout, *number, logits);
        seconds[i] = now_s() - started;
    }
    qsort(seconds, AROUND, sizeof *seconds, compare);
    return seconds[AROUND / 2];
}

static void measure(il_engine *engine, int early_frame, int late_frame, const char *dir) {
    il_model *model;
    il_tokenizer *tokenizer;
    il_session *session;
    il_session_stats early, late;
    must(il_model_load(engine, dir, &model, &error));
    const il_config *config = il_model_config(model);
    must(il_tokenizer_load_for_model(engine, dir, config, &tokenizer, &error));
    const il_picture_layout *layout = il_tokenizer_pictures(tokenizer);
    if (!layout || !layout->films) {
        fprintf(stderr, "bench_frames: %s: no model of films\n", dir);
        exit(1);
    }
    size_t n = (size_t)layout->header_rows * (size_t)il_picture_line(layout);
    int32_t *header = malloc(n * sizeof *header);
    float *logits = malloc((size_t)config->vocab_size * sizeof *logits);
    if (!header || !logits) exit(1);
    must(il_picture_header(layout, "", 0, header, &error));
    must(il_session_open(model, NULL, &session, &error));
    must(il_session_feed(session, header, n, NULL, NULL, &error));
    int number = 1;
    double at_early = median_around(session, layout, &number, early_frame, logits);
    il_session_get_stats(session, &early);
    double at_late = median_around(session, layout, &number, late_frame, logits);
    il_session_get_stats(session, &late);
    printf("| %s | %.2f | %.2f | %.3f | %.1f | %.1f |\n", dir, 1e3 * at_early, 1e3 * at_late, at_late / at_early,
           (double)early.state_bytes / 1e6, (double)late.state_bytes / 1e6);
    fflush(stdout);
    il_session_close(session);
    il_tokenizer_close(tokenizer);
    il_model_unref(model);
    free(header);
    free(logits);
}

int main(int argc, char **argv) {
    int early = argc > 3 ? atoi(argv[1]) : 0, late = argc > 3 ? atoi(argv[2]) : 0;
    if (early <= AROUND / 2 || late < early + AROUND) {
        fprintf(stderr, "usage: bench_frames EARLY LATE MODEL…, from frame %d, %d apart at least\n", AROUND / 2 + 1,
                AROUND);
        return 2;
    }
    il_engine *engine;
    il_engine_options options;
    il_engine_options_default(&options);
    options.threads = 1;
    clock_used = CLOCK_PROCESS_CPUTIME_ID;
    must(il_engine_open(&options, &engine, &error));
    printf("| model | ms for frame %d | for frame %d | ratio | MB after it | MB |\n|---|---|---|---|---|---|\n", early,
           late);
    for (int i = 3; i < argc; i++) measure(engine, early, late, argv[i]);
    il_engine_close(engine);
}
