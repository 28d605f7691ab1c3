/* eval_learning.h: what the inner loop does by position in a sequence: norms of the fast weights and the inner loss,
 * sampled at fixed positions, so that how the text is fed changes nothing. Constant memory. */
#ifndef CLI_EVAL_LEARNING_H
#define CLI_EVAL_LEARNING_H

#include "innerloop.h"

#include <jansson.h>

typedef struct eval_learning_means {
    double weight_norm, change_norm; /* L2 of the fast weights, of how far they are from the initial ones; mean */
    double inner_loss, inner_drop;   /* before the last update, and what that took away, mean; NaN: there was none */
} eval_learning_means;

typedef struct eval_learning {
    const il_config *config;
    int layers; /* 0: a model without fast weights; nothing is sampled */
    size_t buckets;
    struct eval_learning_sum {
        double weight_norm, change_norm, inner_loss, inner_drop;
        uint64_t samples, updates; /* updates: samples with an inner loss */
    } * sums; /* [buckets, layers + 1]; the last: norms of all layers together, mean inner loss of a layer */
} eval_learning;

void eval_learning_open(eval_learning *learning, const il_model *model, size_t buckets);
void eval_learning_close(eval_learning *learning); /* also of a zeroed one */
/* The first position after this one at which to sample: powers of two, from 1024 on every 1024th. */
uint64_t eval_learning_next(uint64_t position);
/* Takes a sample into a bucket. */
il_status eval_learning_sample(eval_learning *learning, const il_session *session, size_t bucket, il_error *error);
/* layer = layers: of all that have fast weights. All NaN where nothing was sampled. */
eval_learning_means eval_learning_means_of(const eval_learning *learning, size_t bucket, int layer);
/* Adds weight_norm, change_norm, inner_loss, inner_drop, and layers, an object each with the same; of a layer without
 * fast weights, all null. */
void eval_learning_describe(const eval_learning *learning, size_t bucket, json_t *object);

#endif
