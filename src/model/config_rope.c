/* config_rope.c: see config_rope.h. Refuses other ways to scale, and keys that belong to them. */
#include "model/config_rope.h"

#include <limits.h>
#include <string.h>

#include "base/error.h"
#include "model/config.h"
#include "model/config_keys.h"

static const char SCALING[] = "rope_scaling", PARAMETERS[] = "rope_parameters", THETA[] = "rope_theta",
                  PARTIAL[] = "partial_rotary_factor", POSITIONS[] = "original_max_position_embeddings",
                  TYPE[] = "rope_type", OLD_TYPE[] = "type";

static const char *const names[] = {
    [IL_ROPE_PLAIN] = "default", [IL_ROPE_LINEAR] = "linear", [IL_ROPE_LLAMA3] = "llama3"};
enum { NAMES = sizeof names / sizeof names[0] };

/* That of images' positions says nothing of text. */
static const char *const inner_keys[] = {TYPE,
                                         OLD_TYPE,
                                         THETA,
                                         PARTIAL,
                                         POSITIONS,
                                         "factor",
                                         "low_freq_factor",
                                         "high_freq_factor",
                                         "mrope_section",
                                         "mrope_interleaved"};

const char *il_config_rope_name(il_rope_scaling scaling) { return names[scaling]; }

int il_config_rope_is_key(const char *key) {
    return strcmp(key, SCALING) == 0 || strcmp(key, PARAMETERS) == 0 || strcmp(key, PARTIAL) == 0 ||
           strcmp(key, POSITIONS) == 0;
}

/* rope_scaling where it says something, else rope_parameters; NULL: neither does. */
static il_status choose(const char *path, const json_t *root, const json_t **object, const char **name,
                        il_error *error) {
    const char *const keys[] = {SCALING, PARAMETERS};
    *object = NULL;
    *name = SCALING;
    for (int i = 0; i < 2; i++) {
        const json_t *value = json_object_get(root, keys[i]);
        if (value && !json_is_null(value) && !json_is_object(value))
            return il_fail(error, IL_ERR_FORMAT, IL_WHERE "must be null or an object", IL_WHERE_ARGS(path, keys[i]));
        if (*object || !json_object_size(value)) continue;
        *object = value;
        *name = keys[i];
    }
    return IL_OK;
}

/* What the object has, else what stands beside it; NULL: nothing, or null. */
static const json_t *value_of(const json_t *root, const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value)) value = json_object_get(root, key);
    return json_is_null(value) ? NULL : value;
}

/* value may be NULL: then the number stays, unless it is needed. */
static il_status read_number(const char *path, const char *key, const json_t *value, int needed, double *number,
                             il_error *error) {
    if (!value && !needed) return IL_OK;
    if (!value) return il_fail(error, IL_ERR_FORMAT, IL_WHERE "is missing", IL_WHERE_ARGS(path, key));
    if (!json_is_number(value))
        return il_fail(error, IL_ERR_FORMAT, IL_WHERE "must be a number", IL_WHERE_ARGS(path, key));
    *number = json_number_value(value);
    return IL_OK;
}

static il_status read_type(const char *path, const char *name, const json_t *object, il_rope_scaling *scaling,
                           il_error *error) {
    const json_t *value = json_object_get(object, TYPE);
    const char *key;
    json_t *entry;
    *scaling = IL_ROPE_PLAIN;
    if (!value || json_is_null(value)) value = json_object_get(object, OLD_TYPE);
    if (value && !json_is_null(value)) {
        const char *text = json_string_value(value);
        if (!text)
            return il_fail(error, IL_ERR_FORMAT, IL_WHERE "%s must be a string", IL_WHERE_ARGS(path, name), TYPE);
        int i = 0;
        while (i < NAMES && strcmp(names[i], text) != 0) i++;
        *scaling = (il_rope_scaling)i;
        if (i == NAMES)
            return il_fail(error, IL_ERR_UNSUPPORTED,
                           IL_WHERE "%s \"%.40s\" is not supported (default, linear, llama3)",
                           IL_WHERE_ARGS(path, name), TYPE, text);
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, entry) {
        size_t i = 0, n = sizeof inner_keys / sizeof inner_keys[0];
        while (i < n && strcmp(key, inner_keys[i]) != 0) i++;
        if (i == n && !json_is_null(entry))
            return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "has %.40s, which is not supported",
                           IL_WHERE_ARGS(path, name), key);
    }
    return IL_OK;
}

/* How much of a head is turned. */
static il_status read_part(const char *path, const il_family *family, const json_t *value, il_config *config,
                           il_error *error) {
    double part = family->partial_rotary ? 0.25 : 1;
    IL_TRY(read_number(path, PARTIAL, value, 0, &part, error));
    if (!(part > 0 && part <= 1))
        return il_fail(error, IL_ERR_FORMAT, IL_WHERE "is %g, must be above 0 and at most 1",
                       IL_WHERE_ARGS(path, PARTIAL), part);
    if (part < 1 && !family->partial_rotary && !family->is_own)
        return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "must be 1 in a model of type %s",
                       IL_WHERE_ARGS(path, PARTIAL), family->model_type);
    if (config->heads < 1 || il_config_head_width(config) < 2 || part == 1) {
        config->rotary_width = 0; /* the sizes are refused when all are checked */
        return IL_OK;
    }
    config->rotary_width = (int)(il_config_head_width(config) * part);
    if (config->rotary_width < 2 || config->rotary_width % 2)
        return il_fail(error, IL_ERR_FORMAT, IL_WHERE "is %g, which of %d is not an even number",
                       IL_WHERE_ARGS(path, PARTIAL), part, il_config_head_width(config));
    return IL_OK;
}

/* For how long texts the unscaled frequencies are. */
static il_status read_positions(const char *path, const json_t *value, il_config *config, il_error *error) {
    config->rope_positions = config->max_positions;
    if (!value) return IL_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > INT_MAX)
        return il_fail(error, IL_ERR_FORMAT, IL_WHERE "must be an integer above 0", IL_WHERE_ARGS(path, POSITIONS));
    config->rope_positions = (int)json_integer_value(value);
    return IL_OK;
}

il_status il_config_rope_read(const char *path, const il_family *family, const json_t *root, il_config *config,
                              il_error *error) {
    const json_t *object;
    const char *name;
    IL_TRY(choose(path, root, &object, &name, error));
    IL_TRY(read_type(path, name, object, &config->rope_scaling, error));
    IL_TRY(read_number(path, THETA, value_of(root, object, THETA), 0, &config->rope_theta, error));
    IL_TRY(read_part(path, family, value_of(root, object, PARTIAL), config, error));
    config->rope_factor = config->rope_low_frequency = config->rope_high_frequency = 0;
    config->rope_positions = 0;
    if (config->rope_scaling == IL_ROPE_PLAIN) return IL_OK;
    IL_TRY(read_number(path, "factor", json_object_get(object, "factor"), 1, &config->rope_factor, error));
    if (config->rope_scaling != IL_ROPE_LLAMA3) return IL_OK;
    const json_t *low = json_object_get(object, "low_freq_factor"), *high = json_object_get(object, "high_freq_factor");
    IL_TRY(read_number(path, "low_freq_factor", low, 1, &config->rope_low_frequency, error));
    IL_TRY(read_number(path, "high_freq_factor", high, 1, &config->rope_high_frequency, error));
    return read_positions(path, value_of(root, object, POSITIONS), config, error);
}
