/* train_log.c: see train_log.h. */
#include "verbs/train_log.h"
#include "files.h"
#include "output.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a line ---- */

static double real_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int layers_of(const json_t *inner, const char *key, double *values) {
    const json_t *list = json_object_get(inner, key);
    size_t n = json_array_size(list);
    if (n > TRAIN_LAYERS_MAX) return 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        values[i] = json_is_number(value) ? json_number_value(value) : NAN;
    }
    return (int)n;
}

/* Of a line; 0 when it is none of a log. */
static uint64_t step_of(const json_t *object) {
    const json_t *step = json_object_get(object, "step");
    return json_is_integer(step) && json_integer_value(step) > 0 ? (uint64_t)json_integer_value(step) : 0;
}

int train_log_parse(const char *line, size_t bytes, train_point *p) {
    json_t *object = json_loadb(line, bytes, 0, NULL);
    const json_t *inner = json_object_get(object, "inner");
    uint64_t step = step_of(object);
    if (step) {
        p->step = step;
        p->loss = real_of(object, "loss");
        p->lr = real_of(object, "lr");
        p->grad_norm = real_of(object, "grad_norm");
        p->tokens_per_s = real_of(object, "tokens_per_s");
        p->val_loss = real_of(object, "val_loss");
        p->tokens = real_of(object, "tokens");
        p->seconds = real_of(object, "seconds");
        p->skipped = json_is_true(json_object_get(object, "skipped"));
        p->layers = layers_of(inner, "before", p->before);
        if (layers_of(inner, "after", p->after) != p->layers) p->layers = 0;
    }
    json_decref(object);
    return step > 0;
}

static void set(json_t *object, const char *key, double value) {
    if (!isnan(value)) json_object_set_new(object, key, cli_json_real(value));
}

char *train_log_line(const train_point *p) {
    json_t *object = json_pack("{s:I}", "step", (json_int_t)p->step), *before = json_array(), *after = json_array();
    set(object, "loss", p->loss);
    set(object, "lr", p->lr);
    set(object, "grad_norm", p->grad_norm);
    set(object, "tokens_per_s", p->tokens_per_s);
    set(object, "val_loss", p->val_loss);
    set(object, "tokens", p->tokens);
    set(object, "seconds", p->seconds);
    if (p->skipped) json_object_set_new(object, "skipped", json_true());
    for (int i = 0; i < p->layers; i++) {
        json_array_append_new(before, cli_json_real(p->before[i]));
        json_array_append_new(after, cli_json_real(p->after[i]));
    }
    if (p->layers) json_object_set_new(object, "inner", json_pack("{s:O, s:O}", "before", before, "after", after));
    json_decref(before);
    json_decref(after);
    char *json = json_dumps(object, JSON_COMPACT), *line = json ? cli_format("%s\n", json) : NULL;
    json_decref(object);
    free(json);
    return line;
}

/* ---- a file ---- */

il_status train_log_read(const char *path, void (*take)(void *user, const train_point *point), void *user,
                         il_error *error) {
    train_point *point;
    char *text;
    size_t bytes;
    if (!cli_path_bytes(path)) return IL_OK; /* none, or a pipe */
    il_status status = cli_path_read(path, &text, &bytes, error);
    if (status) return status;
    point = cli_alloc(1, sizeof *point);
    for (char *line = text, *end; (end = memchr(line, '\n', (size_t)(text + bytes - line))); line = end + 1)
        if (train_log_parse(line, (size_t)(end - line), point)) take(user, point);
    free(point);
    free(text);
    return IL_OK;
}

il_status train_log_trim(const char *path, uint64_t done, il_error *error) {
    static const char begins[] = "{\"step\":";
    char *text;
    size_t bytes, kept = 0;
    il_status status = cli_path_read(path, &text, &bytes, error);
    if (status) return status;
    for (char *line = text, *end; line < text + bytes; line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + bytes - line));
        size_t n = (size_t)((end ? end : text + bytes) - line);
        json_t *object = end ? json_loadb(line, n, 0, NULL) : NULL;
        uint64_t step = step_of(object);
        json_decref(object);
        /* a crash may have cut the last line short */
        int is_ours = end ? step > 0 : !memcmp(line, begins, n < sizeof begins - 1 ? n : sizeof begins - 1);
        if (!is_ours) {
            free(text);
            return cli_fail(error, IL_ERR_FORMAT, "%s: not a log of train: --resume --log would empty it", path);
        }
        if (!end) break;
        if (step > done) continue;
        memmove(text + kept, line, n + 1);
        kept += n + 1;
    }
    if (kept < bytes) status = cli_path_write(path, text, kept, error);
    free(text);
    return status;
}
