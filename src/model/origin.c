/* origin.c: see origin.h; and a model that is loaded from there. */
#include "model/origin.h"

#include <string.h>

#include "base/error.h"
#include "model/gguf_model.h"
#include "model/jax_model.h"
#include "model/load.h"
#include "tensor/gguf.h"

static const il_load_options usual = {.weights = IL_WEIGHTS_AS_STORED};

void il_load_options_default(il_load_options *options) { *options = usual; }

il_status il_origin_configure(const il_load_options *options, il_config *config, il_error *error) {
    for (size_t i = 0; i < options->n_set; i++) {
        const char *word = options->set[i], *equals = strchr(word, '=');
        char key[64];
        size_t n = equals ? (size_t)(equals - word) : 0;
        if (n == 0 || n >= sizeof key) return il_fail(error, IL_ERR_ARG, "\"%.60s\" is not key=value", word);
        memcpy(key, word, n);
        key[n] = 0;
        IL_TRY(il_config_set(config, key, equals + 1, error));
    }
    return IL_OK;
}

/* The file that is a JAX checkpoint needs to be told more than others. */
il_status il_config_load_as(il_engine *engine, const char *dir, const il_load_options *options, il_config *config,
                            il_error *error) {
    il_config kept;
    if (!options) options = &usual;
    if (il_flax_is(dir)) return il_jax_config_load(&engine->memory, dir, options, config, error);
    IL_TRY(il_config_load(engine, dir, &kept, error));
    IL_TRY(il_origin_configure(options, &kept, error));
    *config = kept;
    return IL_OK;
}

il_status il_origin_open(il_engine *engine, const char *dir, const il_load_options *options, il_origin *origin,
                         il_error *error) {
    il_status status;
    *origin = (il_origin){0};
    if (!options) options = &usual;
    if (options->weights < IL_WEIGHTS_AS_STORED || options->weights > (int)IL_WEIGHTS_INT4)
        return il_fail(error, IL_ERR_ARG, "weights: type %d is unknown", options->weights);
    if (il_gguf_is(dir))
        status = il_gguf_origin_open(engine, dir, options, origin, error);
    else if (il_flax_is(dir))
        status = il_jax_origin_open(engine, dir, options, origin, error);
    else
        status = il_directory_origin_open(engine, dir, options, origin, error);
    if (status == IL_OK && options->weights >= 0) origin->usual = (il_weight_type)options->weights;
    if (status != IL_OK) il_origin_close(origin);
    return status;
}

void il_origin_close(il_origin *origin) {
    il_model_unref(origin->declared);
    if (origin->files) origin->close(origin);
    *origin = (il_origin){0};
}

/* ---- loading ---- */

il_status il_model_load_as(il_engine *engine, const char *dir, const il_load_options *options, il_model **model,
                           il_error *error) {
    il_origin origin;
    *model = NULL;
    IL_TRY(il_origin_open(engine, dir, options, &origin, error));
    il_model *declared = origin.declared;
    origin.declared = NULL;
    il_status status = il_model_fill(declared, origin.path, origin.sources, origin.n, origin.usual, model, error);
    il_origin_close(&origin);
    return status;
}

il_status il_model_load(il_engine *engine, const char *dir, il_model **model, il_error *error) {
    return il_model_load_as(engine, dir, NULL, model, error);
}
