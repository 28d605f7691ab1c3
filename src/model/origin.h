/* origin.h: where a model comes from: its shape and its tensors, in files of whatever kind, before any is read. What is
 * done with them, a model in memory or another file, does not ask which kind. */
#ifndef IL_MODEL_ORIGIN_H
#define IL_MODEL_ORIGIN_H

#include "model/sources.h"

typedef struct il_origin {
    il_model *declared;   /* config.weights: the type in which the sources have the matrices; taken by il_model_fill */
    il_weight_type usual; /* in which they are held when nothing else is asked for */
    const char *path;     /* of all sources together, for messages */
    const il_source *sources; /* [n] */
    size_t n;
    void *files; /* what they lie in */
    void (*close)(struct il_origin *origin);
} il_origin;

/* Looks what lies at dir, and opens it. options NULL: the default. */
il_status il_origin_open(il_engine *engine, const char *dir, const il_load_options *options, il_origin *origin,
                         il_error *error);
/* Of a zeroed one, too. Releases declared unless it was taken, which is said by NULL. */
void il_origin_close(il_origin *origin);
/* What options change of a shape that was read. */
il_status il_origin_configure(const il_load_options *options, il_config *config, il_error *error);

#endif
