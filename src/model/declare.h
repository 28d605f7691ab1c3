/* declare.h: how a model's tensors come into its table: what a mixer calls to name the tensors of its layer. */
#ifndef IL_MODEL_DECLARE_H
#define IL_MODEL_DECLARE_H

#include "model/model.h"

/* Adds tensors until one fails; the first failure stays, and what is declared after it is IL_NONE. */
typedef struct il_declarer {
    il_model *model;
    int layer; /* names begin with "model.layers.LAYER."; -1: with nothing */
    il_status status;
    il_error *error;
} il_declarer;

/* Names are prefix and name together. All return where the tensor lies, in floats. */
size_t il_declare(il_declarer *declarer, il_init init, int rank, const size_t *shape, const char *prefix,
                  const char *name);
size_t il_declare_vector(il_declarer *declarer, il_init init, int n, const char *prefix, const char *name);
/* The weight of an RMS norm; a new one scales by 1. */
il_norm il_declare_norm(il_declarer *declarer, int n, const char *prefix, const char *name);
/* Weights of a dense layer, held as that type. */
il_dense il_declare_dense_as(il_declarer *declarer, il_weight_type type, int out, int in, const char *prefix,
                             const char *name);
/* The same, held as the config says. */
il_dense il_declare_dense(il_declarer *declarer, int out, int in, const char *prefix, const char *name);
/* bias NULL: none. */
il_conv il_declare_conv(il_declarer *declarer, int channels, int taps, const char *prefix, const char *weight,
                        const char *bias);

#endif
