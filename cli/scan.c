/* scan.c: see scan.h. */
#include "scan.h"
#include "output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct numbers {
    double squares, count, largest;
} numbers;

typedef struct scanning {
    cli_scanned *scanned;
    numbers parts[2 * IL_LAYERS_MAX + 2]; /* of each layer what mixes tokens, and what does not; and of the rest */
    double *norms;                        /* of the embedding's rows, as many as have come */
} scanning;

static void add(numbers *w, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double a = fabs((double)x[i]);
        w->squares += a * a;
        if (a > w->largest) w->largest = a;
    }
    w->count += (double)n;
}

static numbers *part_of(scanning *s, const char *name) {
    int layer = IL_LAYERS_MAX, at = 0;
    if (sscanf(name, "model.layers.%d.%n", &layer, &at) != 1 || !at || layer < 0 || layer >= IL_LAYERS_MAX)
        return &s->parts[(size_t)2 * IL_LAYERS_MAX];
    return &s->parts[2 * layer + !strncmp(name + at, "mlp.", 4)];
}

/* Rows of independent normal numbers have norms that differ by a part 1 / sqrt(2 width) of them. Training makes those
 * of frequent and of rare tokens differ by far more. */
static double spread_of(const double *norms, size_t n, size_t width) {
    double mean = 0, square = 0;
    for (size_t i = 0; i < n; i++) mean += norms[i] / (double)n;
    for (size_t i = 0; i < n; i++) square += (norms[i] - mean) * (norms[i] - mean) / (double)n;
    return mean > 0 ? sqrt(square) / mean * sqrt(2 * (double)width) : 0;
}

static void look_at_embedding(scanning *s, const il_tensor *t, size_t from, size_t n, const float *rows) {
    size_t width = t->count / t->shape[0];
    if (!s->norms) s->norms = cli_alloc(t->shape[0], sizeof *s->norms);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = 0; k < width; k++) sum += (double)rows[i * width + k] * (double)rows[i * width + k];
        s->norms[from + i] = sqrt(sum);
    }
    if (from + n == t->shape[0]) s->scanned->spread = spread_of(s->norms, t->shape[0], width);
}

static int look_at(void *user, size_t index, const il_tensor *t, size_t from, size_t n, const float *rows) {
    scanning *s = user;
    (void)index;
    if (from == 0) {
        json_t *shape = json_array();
        for (int i = 0; i < t->rank; i++) json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
        json_array_append_new(s->scanned->tensors, json_pack("{s:s, s:s, s:o}", "name", t->name, "dtype",
                                                             il_weight_type_name(t->type), "shape", shape));
    }
    add(part_of(s, t->name), rows, n * (t->count / t->shape[0]));
    if (!strcmp(t->name, "model.embed_tokens.weight")) look_at_embedding(s, t, from, n, rows);
    return 0;
}

static double rms_of(const numbers *w) { return w->count > 0 ? sqrt(w->squares / w->count) : 0; }

il_status cli_scan(cli_command *command, const char *dir, cli_scanned *scanned) {
    scanning *s = cli_alloc(1, sizeof *s);
    il_load_options options;
    *scanned = (cli_scanned){.tensors = json_array(), .layers = json_array()};
    *s = (scanning){.scanned = scanned};
    il_load_options_default(&options);
    if (command->dtype) options.weights = (int)cli_dtype(command->dtype);
    il_status status = il_model_scan(command->engine, dir, &options, look_at, s, &scanned->found, &command->error);
    for (int i = 0; i < scanned->found.config.layers && !status; i++) {
        const numbers *mixer = &s->parts[2 * i], *mlp = &s->parts[2 * i + 1];
        json_array_append_new(scanned->layers,
                              json_pack("{s:f, s:f, s:f}", "mixer_rms", rms_of(mixer), "mlp_rms", rms_of(mlp),
                                        "largest", mixer->largest > mlp->largest ? mixer->largest : mlp->largest));
    }
    free(s->norms);
    free(s);
    return status;
}

void cli_scanned_free(cli_scanned *scanned) {
    json_decref(scanned->tensors);
    json_decref(scanned->layers);
    *scanned = (cli_scanned){.tensors = NULL};
}
