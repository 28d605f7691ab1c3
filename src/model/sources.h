/* sources.h: a model out of tensors that lie somewhere, in a file of whatever kind. Each is read once, in pieces of
 * rows by all threads, straight into the type that the model holds. */
#ifndef IL_MODEL_SOURCES_H
#define IL_MODEL_SOURCES_H

#include "model/model.h"
#include "tensor/safetensors.h"

enum { IL_SOURCE_NAME_BYTES = 112 /* a tensor's name and its scales' */ };

/* A tensor of a file. */
typedef struct il_source {
    char name[IL_SOURCE_NAME_BYTES]; /* as the model's is called */
    const char *path;                /* of the file, for messages */
    const char *name_there;          /* in the file, for messages */
    int rank;
    size_t shape[8];
    int bf16; /* it is of that type there */
    /* As a safetensors file holds it, of any dtype that a model may have; map, which it lies in, may be NULL. Or: */
    const il_st_tensor *stored;
    const il_map *map;
    const unsigned char *data; /* where it lies in map, unless `stored` says it */
    size_t bytes;
    int scattered; /* its rows do not lie one after the other there */
    /* Its rows from .. from+n-1 as fp32; a row is what follows the first index, and of one dimension one number. Called
     * by all threads; the same rows may be asked for again. */
    il_status (*read)(const struct il_source *source, size_t from, size_t n, float *out, il_error *error);
    const void *user;
} il_source;

/* Fills a model of all n sources, of which none is left over. declared: by il_model_declare, its config.weights the
 * type in which the sources have the matrices (quantized ones have their scales beside them, which are called
 * NAME_scale; all others are of any float type); it is used up, also when this fails. weights: how the model holds
 * them. path: of all sources together, for messages. What is missing, unknown, misshapen, there twice or not finite is
 * named. */
il_status il_model_fill(il_model *declared, const char *path, const il_source *sources, size_t n,
                        il_weight_type weights, il_model **model, il_error *error);

/* The same numbers some rows at a time, for what never holds the model: matched, checked and rounded alike. declared is
 * used up, also when this fails. Closed by il_rows_close, before the sources. */
typedef struct il_rows il_rows;
il_status il_rows_open(il_model *declared, const char *path, const il_source *sources, size_t n, il_weight_type weights,
                       il_rows **rows, il_error *error);
void il_rows_close(il_rows *rows); /* NULL allowed */
/* What would be filled, without memory for weights. */
const il_model *il_rows_model(const il_rows *rows);
/* Rows from .. from+n-1 of a tensor of its table, as fp32 in plain, or where it holds the tensor in another type as the
 * rows of a matrix [n] of that type, whose memory is zeroed; the other is NULL. */
il_status il_rows_read(il_rows *rows, size_t tensor, size_t from, size_t n, float *plain, const il_lp_matrix *matrix,
                       il_error *error);

/* How matrices that are of float types in the sources are held when nothing else is asked for: as bf16 where all of
 * them are, else all as fp32. */
il_weight_type il_sources_type(const il_model *declared, const il_source *sources, size_t n);
/* What is called so in a declared model, or with *scales set, the matrix whose scales are; NULL: neither is there. */
const il_table_entry *il_source_entry(const il_table *table, const char *name, int *scales);
/* Whether a matrix is held in integers, which have scales beside them. */
int il_entry_is_quantized(const il_table_entry *entry);
#define IL_SCALES "_scale"

#endif
