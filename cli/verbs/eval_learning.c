/* eval_learning.c: see eval_learning.h. */
#include "verbs/eval_learning.h"
#include "mixers.h"
#include "output.h"

#include <math.h>
#include <stdlib.h>

enum { STRIDE = 1024 };

typedef struct eval_learning_sum sum;

void eval_learning_open(eval_learning *learning, const il_model *model, size_t buckets) {
    const il_config *config = il_model_config(model);
    *learning = (eval_learning){.config = config, .buckets = buckets};
    if (cli_mixer_learners(config) > 0) learning->layers = config->layers;
    learning->sums = cli_alloc(buckets * ((size_t)learning->layers + 1), sizeof *learning->sums);
}

void eval_learning_close(eval_learning *learning) {
    free(learning->sums);
    *learning = (eval_learning){0};
}

uint64_t eval_learning_next(uint64_t position) {
    if (position >= STRIDE) return (position / STRIDE + 1) * STRIDE;
    uint64_t next = 1;
    while (next <= position) next *= 2;
    return next;
}

static sum *sum_of(const eval_learning *learning, size_t bucket, int layer) {
    return &learning->sums[bucket * ((size_t)learning->layers + 1) + (size_t)layer];
}

static void take(sum *s, double weight_norm, double change_norm, double loss_before, double loss_after) {
    s->samples++;
    s->weight_norm += weight_norm;
    s->change_norm += change_norm;
    if (isnan(loss_before)) return;
    s->updates++;
    s->inner_loss += loss_before;
    s->inner_drop += loss_before - loss_after;
}

il_status eval_learning_sample(eval_learning *learning, const il_session *session, size_t bucket, il_error *error) {
    il_layer_stats all = {0};
    int learners = cli_mixer_learners(learning->config);
    for (int layer = 0; layer < learning->layers; layer++) {
        il_layer_stats stats;
        if (!cli_mixer_learns(learning->config, layer)) continue;
        il_status status = il_session_layer_stats(session, layer, &stats, error);
        if (status) return status;
        take(sum_of(learning, bucket, layer), stats.weight_norm, stats.change_norm, stats.loss_before,
             stats.loss_after);
        all.weight_norm += stats.weight_norm * stats.weight_norm;
        all.change_norm += stats.change_norm * stats.change_norm;
        all.loss_before += stats.loss_before / learners;
        all.loss_after += stats.loss_after / learners;
    }
    if (learners)
        take(sum_of(learning, bucket, learning->layers), sqrt(all.weight_norm), sqrt(all.change_norm), all.loss_before,
             all.loss_after);
    return IL_OK;
}

eval_learning_means eval_learning_means_of(const eval_learning *learning, size_t bucket, int layer) {
    const sum *s = sum_of(learning, bucket, layer);
    double samples = s->samples ? (double)s->samples : NAN, updates = s->updates ? (double)s->updates : NAN;
    return (eval_learning_means){s->weight_norm / samples, s->change_norm / samples, s->inner_loss / updates,
                                 s->inner_drop / updates};
}

static void describe(eval_learning_means means, json_t *object) {
    json_object_set_new(object, "weight_norm", cli_json_real(means.weight_norm));
    json_object_set_new(object, "change_norm", cli_json_real(means.change_norm));
    json_object_set_new(object, "inner_loss", cli_json_real(means.inner_loss));
    json_object_set_new(object, "inner_drop", cli_json_real(means.inner_drop));
}

void eval_learning_describe(const eval_learning *learning, size_t bucket, json_t *object) {
    json_t *layers = json_array();
    describe(eval_learning_means_of(learning, bucket, learning->layers), object);
    for (int layer = 0; layer < learning->layers; layer++) {
        json_t *one = json_object();
        describe(eval_learning_means_of(learning, bucket, layer), one);
        json_array_append_new(layers, one);
    }
    json_object_set_new(object, "layers", layers);
}
