/* progress.c: trainer.json. Owns the comparison of a saved run's data and options with those it is to go on with: a
 * cursor means the same place only in the same data, and a schedule must end with the options it began with. */
#include "train/progress.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "model/config_write.h"
#include "text/data.h"

enum { FORMAT = 1, BYTES_MAX = 1 << 20 };

size_t il_trainer_carried(const il_trainer *t) {
    return t->gradient.stateful ? il_data_get_options(t->data)->sequences : 0;
}

/* ---- what a run is made with ---- */

/* "fingerprint" is of the tokens, "files" of what their files say of them, wherever these lie. A checkpoint has the
 * first if all tokens were in memory; a saved one (NULL: none) is described by what it has. */
static il_status describe_data(il_trainer *t, const json_t *saved, json_t **data, il_error *error) {
    const il_data_options *d = il_data_get_options(t->data);
    int usual = !il_data_on_disk(t->data);
    int of_tokens = json_object_get(saved, "fingerprint") || (usual && !json_object_get(saved, "files"));
    char other[33], *hex = of_tokens == usual ? t->data_fingerprint : other;
    *data = NULL;
    if (hex == other || !*hex) IL_TRY(il_data_fingerprint(t->data, of_tokens, hex, error));
    char *mixture = il_data_mixture(t->data);
    if (mixture)
        *data = json_pack("{s:I,s:I,s:I,s:i,s:i,s:I,s:s}", "tokens", (json_int_t)il_data_tokens(t->data), "length",
                          (json_int_t)d->length, "sequences", (json_int_t)d->sequences, "shuffle", d->shuffle, "carry",
                          d->stateful, "seed", (json_int_t)d->seed, of_tokens ? "fingerprint" : "files", hex);
    if (*data && *mixture && json_object_set_new(*data, "mixture", json_string(mixture)) != 0) {
        json_decref(*data);
        *data = NULL;
    }
    free(mixture);
    return *data ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory to describe the data");
}

static json_t *describe_options(const il_trainer *t) {
    const il_trainer_options *o = &t->options;
    return json_pack("{s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "steps", (json_int_t)o->steps, "lr", o->lr,
                     "end_lr", o->end_lr, "warmup", o->warmup, "beta1", o->beta1, "beta2", o->beta2, "eps", o->eps,
                     "weight_decay", o->weight_decay, "clip", o->clip, "inner_lr_start", o->inner_lr_start,
                     "inner_lr_warmup", o->inner_lr_warmup);
}

/* ---- writing ---- */

/* NULL before the first validation. */
static json_t *describe_validation(const il_validation *v) {
    if (isnan(v->best_loss)) return NULL;
    return json_pack("{s:f,s:I,s:I}", "best_loss", v->best_loss, "best_step", (json_int_t)v->best_step, "worse",
                     (json_int_t)v->worse);
}

static json_t *numbers(const double *values, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(array, json_real(values[i]));
    return array;
}

static size_t seen(const il_spikes *s) { return s->seen < IL_SPIKES_WINDOW ? (size_t)s->seen : IL_SPIKES_WINDOW; }

/* NULL unless spikes are skipped. */
static json_t *describe_spikes(const il_trainer *t) {
    const il_spikes *s = &t->spikes;
    if (!t->options.skip_spikes) return NULL;
    return json_pack("{s:I,s:I,s:o,s:o}", "seen", (json_int_t)s->seen, "skipped", (json_int_t)s->skipped, "losses",
                     numbers(s->losses, seen(s)), "norms", numbers(s->norms, seen(s)));
}

il_status il_progress_save(il_trainer *t, const char *path, il_error *error) {
    il_cursor cursor;
    char model[33];
    json_t *data;
    il_data_tell(t->data, &cursor);
    il_model_fingerprint(t->model, model);
    IL_TRY(describe_data(t, NULL, &data, error));
    json_t *positions = json_array();
    for (size_t i = 0; i < il_trainer_carried(t); i++)
        json_array_append_new(positions, json_integer((json_int_t)t->positions[i]));
    json_t *root = json_pack("{s:i,s:I,s:I,s:I,s:s,s:I,s:s*,s:s,s:o,s:o,s:o,s:o*,s:o*}", "format", FORMAT, "step",
                             (json_int_t)t->done, "epoch", (json_int_t)cursor.epoch, "batch", (json_int_t)cursor.batch,
                             "dtype", il_weight_type_name(t->options.dtype), "lanes", (json_int_t)t->options.lanes,
                             "frozen", *t->freeze.name ? t->freeze.name : NULL, "model", model, "data", data, "options",
                             describe_options(t), "lane_positions", positions, "validation",
                             describe_validation(&t->validation), "spikes", describe_spikes(t));
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (!text) return il_fail(error, IL_ERR_NOMEM, "no memory for %s", path);
    il_status status = il_file_replace(&t->model->engine->memory, path, text, strlen(text), error);
    free(text);
    return status;
}

il_status il_progress_describe(il_trainer *t, char **text, il_error *error) {
    char model[33], *config = NULL;
    *text = NULL;
    il_model_fingerprint(t->model, model);
    json_t *data;
    IL_TRY(describe_data(t, NULL, &data, error));
    il_status status = il_config_text(&t->model->engine->memory, &t->model->config, &config, error);
    if (status != IL_OK) {
        json_decref(data);
        return status;
    }
    json_t *root =
        json_pack("{s:s,s:o,s:s,s:s,s:s,s:I,s:I,s:b,s:o,s:o}", "version", il_version(), "config",
                  json_loads(config, 0, NULL), "model", model, "dtype", il_weight_type_name(t->options.dtype), "frozen",
                  t->freeze.name, "lanes", (json_int_t)t->options.lanes, "steps done", (json_int_t)t->done,
                  "skip_spikes", t->options.skip_spikes, "data", data, "options", describe_options(t));
    il_free(&t->model->engine->memory, config);
    if (root) *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return *text ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory to describe the run");
}

/* ---- reading ---- */

static il_status read_integer(const json_t *object, const char *path, const char *key, uint64_t *value,
                              il_error *error) {
    const json_t *v = json_object_get(object, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return il_fail(error, IL_ERR_FORMAT, "%s: %s is missing or not an integer", path, key);
    *value = (uint64_t)json_integer_value(v);
    return IL_OK;
}

static il_status read_numbers(const json_t *array, const char *path, const char *key, double *values, size_t n,
                              il_error *error) {
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_number(value))
            return il_fail(error, IL_ERR_FORMAT, "%s: %s[%zu] is missing or not a number", path, key, i);
        values[i] = json_number_value(value);
    }
    return IL_OK;
}

static il_status read_spikes(const json_t *root, const char *path, il_spikes *s, il_error *error) {
    const json_t *spikes = json_object_get(root, "spikes");
    *s = (il_spikes){.seen = 0};
    if (!spikes) return IL_OK;
    IL_TRY(read_integer(spikes, path, "seen", &s->seen, error));
    IL_TRY(read_integer(spikes, path, "skipped", &s->skipped, error));
    IL_TRY(read_numbers(json_object_get(spikes, "losses"), path, "losses", s->losses, seen(s), error));
    return read_numbers(json_object_get(spikes, "norms"), path, "norms", s->norms, seen(s), error);
}

/* What differs, in words, as much as fits. */
typedef struct differences {
    char text[360];
    size_t n;
} differences;

static void add(differences *d, const char *text) {
    int n = snprintf(d->text + d->n, sizeof d->text - d->n, "%s", text);
    d->n = d->n + (size_t)n < sizeof d->text ? d->n + (size_t)n : sizeof d->text - 1;
}

static void add_value(differences *d, const json_t *value) {
    char text[64];
    if (json_is_string(value))
        snprintf(text, sizeof text, "%.40s", json_string_value(value));
    else if (json_is_number(value))
        snprintf(text, sizeof text, "%.12g", json_number_value(value));
    else
        snprintf(text, sizeof text, "missing");
    add(d, text);
}

/* Adds "KEY was X, is Y"; `prefix` goes before the key. */
static void compare(differences *d, const char *prefix, const char *key, const json_t *saved, const json_t *mine) {
    if (json_is_string(mine) ? json_equal(mine, saved)
                             : json_is_number(saved) && json_number_value(mine) == json_number_value(saved))
        return;
    if (d->n) add(d, "; ");
    add(d, prefix);
    add(d, key);
    add(d, " was ");
    add_value(d, saved);
    add(d, ", is ");
    add_value(d, mine);
}

static void compare_all(differences *d, const char *prefix, const json_t *saved, json_t *mine) {
    const char *key;
    json_t *value;
    json_object_foreach(mine, key, value) compare(d, prefix, key, json_object_get(saved, key), value);
}

/* Checks a run against the trainer. *same_data: the cursor means the same place. */
static il_status check(il_trainer *t, const json_t *root, const char *path, int *same_data, il_error *error) {
    differences d = {.n = 0};
    json_t *saved_data = json_object_get(root, "data"), *saved_options = json_object_get(root, "options"),
           *saved_dtype = json_object_get(root, "dtype"), *saved_lanes = json_object_get(root, "lanes"),
           *saved_frozen = json_object_get(root, "frozen"), *data;
    IL_TRY(describe_data(t, saved_data, &data, error));
    json_t *options = describe_options(t), *dtype, *lanes, *frozen;
    dtype = json_string(il_weight_type_name(t->options.dtype));
    lanes = json_integer(t->options.lanes);
    frozen = json_string(*t->freeze.name ? t->freeze.name : "nothing");
    il_status status = IL_OK;
    if (!data || !options || !dtype || !lanes || !frozen) {
        status = il_fail(error, IL_ERR_NOMEM, "no memory to read %s", path);
    } else {
        if (!saved_options)
            il_log(t->model->engine, IL_LOG_INFO,
                   "%s is older than the record of data and options: they are not compared", path);
        if (!json_object_get(saved_data, "fingerprint") && !json_object_get(saved_data, "files")) {
            json_object_del(data, "fingerprint"); /* from before they were kept */
            json_object_del(data, "files");
        }
        compare_all(&d, "data ", saved_data, data);
        *same_data = d.n == 0;
        if (saved_options) compare_all(&d, "", saved_options, options);
        /* A checkpoint without a dtype is older than the choice: f32. */
        if (saved_dtype || t->options.dtype != IL_WEIGHTS_F32) compare(&d, "", "dtype", saved_dtype, dtype);
        int skipped = json_object_get(root, "spikes") != NULL;
        if (skipped != t->options.skip_spikes) {
            add(&d, d.n ? "; " : "");
            add(&d, skipped ? "spikes were skipped, and are not" : "spikes were not skipped, and are");
        }
        if (saved_lanes || t->options.lanes != 1) compare(&d, "", "lanes", saved_lanes, lanes); /* likewise: one */
        if (saved_frozen || *t->freeze.name) compare(&d, "", "frozen", saved_frozen, frozen);
    }
    if (d.n && !t->options.resume_with_changes)
        status = il_fail(error, IL_ERR_MISMATCH,
                         "%.100s: the run was made differently (resume_with_changes goes on): %s", path, d.text);
    else if (d.n)
        il_log(t->model->engine, IL_LOG_INFO, "resumed with changes: %s%s", d.text,
               *same_data ? "" : "; the data are read from their beginning");
    json_decref(lanes);
    json_decref(frozen);
    json_decref(dtype);
    json_decref(options);
    json_decref(data);
    return status;
}

static il_status read_positions(const il_trainer *t, const json_t *root, const char *path, il_progress *p,
                                il_error *error) {
    const json_t *positions = json_object_get(root, "lane_positions");
    size_t n = il_trainer_carried(t);
    if (json_array_size(positions) != n)
        return il_fail(error, IL_ERR_FORMAT, "%s: lane_positions has %zu entries, expected %zu", path,
                       json_array_size(positions), n);
    if (!n) return IL_OK;
    p->positions = il_alloc(&t->model->engine->memory, n, sizeof *p->positions);
    if (!p->positions) return il_fail(error, IL_ERR_NOMEM, "no memory to read %s", path);
    for (size_t i = 0; i < n; i++) {
        json_int_t position = json_integer_value(json_array_get(positions, i));
        if (position < 0 || position % t->model->config.mini_batch)
            return il_fail(error, IL_ERR_FORMAT, "%s: lane_positions[%zu] is not a multiple of the mini-batch", path,
                           i);
        p->positions[i] = (uint64_t)position;
    }
    return IL_OK;
}

static il_status read_validation(const json_t *root, const char *path, il_validation *v, il_error *error) {
    const json_t *validation = json_object_get(root, "validation"), *loss = json_object_get(validation, "best_loss");
    *v = (il_validation){.best_loss = NAN};
    if (!validation) return IL_OK;
    if (!json_is_number(loss)) return il_fail(error, IL_ERR_FORMAT, "%s: best_loss is missing or not a number", path);
    v->best_loss = json_number_value(loss);
    IL_TRY(read_integer(validation, path, "best_step", &v->best_step, error));
    return read_integer(validation, path, "worse", &v->worse, error);
}

static il_status read_object(il_trainer *t, const json_t *root, const char *path, il_progress *p, il_error *error) {
    uint64_t format = 0;
    int same_data = 0;
    IL_TRY(read_integer(root, path, "format", &format, error));
    if (format != FORMAT)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: format %llu, this build reads %d", path,
                       (unsigned long long)format, FORMAT);
    IL_TRY(read_integer(root, path, "step", &p->step, error));
    IL_TRY(read_integer(root, path, "epoch", &p->cursor.epoch, error));
    IL_TRY(read_integer(root, path, "batch", &p->cursor.batch, error));
    IL_TRY(read_validation(root, path, &p->validation, error));
    IL_TRY(read_spikes(root, path, &p->spikes, error));
    const char *model = json_string_value(json_object_get(root, "model"));
    snprintf(p->model, sizeof p->model, "%s", model ? model : "");
    IL_TRY(check(t, root, path, &same_data, error));
    if (same_data) return read_positions(t, root, path, p, error);
    p->cursor = (il_cursor){0};
    return IL_OK;
}

il_status il_progress_read(il_trainer *t, const char *path, const char *text, size_t bytes, il_progress *progress,
                           il_error *error) {
    json_error_t why;
    *progress = (il_progress){0};
    if (bytes > BYTES_MAX)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: %zu bytes: more than 1 MiB are not read", path, bytes);
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    if (!root && json_error_code(&why) == json_error_out_of_memory)
        return il_fail(error, IL_ERR_NOMEM, "no memory for %s", path);
    if (!root) return il_fail(error, IL_ERR_FORMAT, "%s: line %d: %s", path, why.line, why.text);
    il_status status = read_object(t, root, path, progress, error);
    json_decref(root);
    if (status != IL_OK) il_progress_free(t, progress);
    return status;
}

il_status il_progress_load(il_trainer *t, const char *path, il_progress *progress, il_error *error) {
    il_map map;
    IL_TRY(il_map_open(path, &map, error)); /* no pipe: it does not wait */
    il_status status = il_progress_read(t, path, map.bytes ? (const char *)map.data : "", map.bytes, progress, error);
    il_map_close(&map);
    return status;
}

void il_progress_free(const il_trainer *t, il_progress *progress) {
    il_free(&t->model->engine->memory, progress->positions);
    *progress = (il_progress){0};
}
