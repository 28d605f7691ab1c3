/* data.c: see data.h. */
#include "data.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRAINING_POINTS = 100, FIRST_POSITION = 8 };

static int complain(const char *path, const char *what) {
    fprintf(stderr, "demo_report: %s: %s\n", path, what);
    return -1;
}

/* ---- files ---- */

static char *path_of(const char *dir, const char *name, const char *ending) {
    size_t size = strlen(dir) + strlen(name) + strlen(ending) + 3;
    char *path = malloc(size);
    if (path) snprintf(path, size, "%s/%s%s", dir, name, ending);
    return path;
}

/* A JSON file; complains and returns NULL. The caller's. */
static json_t *load_json(const char *dir, const char *name, const char *ending) {
    json_error_t error;
    char *path = path_of(dir, name, ending);
    json_t *object = path ? json_load_file(path, 0, &error) : NULL;
    if (!path)
        complain(name, "no memory");
    else if (!object)
        complain(path, error.text);
    free(path);
    return object;
}

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static char *string(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return strdup(text ? text : "");
}

static void add(curve *c, double x, double y) {
    if (c->n == CURVE_MAX || !isfinite(x) || !isfinite(y)) return;
    c->x[c->n] = x;
    c->y[c->n++] = y;
}

double curve_at(const curve *c, double x) {
    double y = NAN;
    for (size_t i = 0; i < c->n && c->x[i] <= x; i++) y = c->y[i];
    return y;
}

double curve_last(const curve *c) { return c->n ? c->y[c->n - 1] : NAN; }

/* ---- facts ---- */

static int load_facts(const char *dir, facts *f) {
    char *path = path_of(dir, "facts", ".txt");
    FILE *stream = path ? fopen(path, "rb") : NULL;
    size_t capacity = 0;
    if (!stream) {
        int code = complain(path ? path : "facts.txt", strerror(errno));
        free(path);
        return code;
    }
    ssize_t n = getdelim(&f->text, &capacity, 0, stream);
    fclose(stream);
    if (n <= 0) {
        int code = complain(path, "empty");
        free(path);
        return code;
    }
    free(path);
    char *rest = f->text, *line;
    while ((line = strsep(&rest, "\n")) && f->n < FACTS_MAX) {
        char *equals = strchr(line, '=');
        if (!equals) continue;
        *equals = 0;
        f->keys[f->n] = line;
        f->values[f->n++] = equals + 1;
    }
    return 0;
}

const char *fact_text(const demo *d, const char *key) {
    for (size_t i = 0; i < d->facts.n; i++)
        if (!strcmp(d->facts.keys[i], key)) return d->facts.values[i];
    return "?";
}

double fact_number(const demo *d, const char *key) { return strtod(fact_text(d, key), NULL); }

/* ---- a model's files ---- */

/* The log's losses, averaged over runs of steps so that TRAINING_POINTS are left. */
static int load_training(const demo *d, const char *dir, const char *name, double bits, curve *c) {
    char *path = path_of(dir, name, ".log.jsonl");
    FILE *stream = path ? fopen(path, "rb") : NULL;
    double steps = fact_number(d, "steps"), batch_tokens = fact_number(d, "batch_tokens");
    double run = ceil(steps / TRAINING_POINTS), sum = 0, sum_steps = 0;
    int count = 0, code = 0;
    json_error_t error;
    json_t *line;
    if (!stream) code = complain(path ? path : name, strerror(errno));
    while (stream && (line = json_loadf(stream, JSON_DISABLE_EOF_CHECK, &error))) {
        sum += number(line, "loss");
        sum_steps += number(line, "step");
        json_decref(line);
        if (++count < run) continue;
        add(c, sum_steps / count * batch_tokens / 1e6, sum / count * bits);
        sum = sum_steps = 0;
        count = 0;
    }
    if (stream) fclose(stream);
    if (!code && !c->n) code = complain(path, "no steps");
    free(path);
    return code;
}

/* Adds the octaves of positions from `least` to below `most`. */
static void add_positions(const json_t *object, double bits, double least, double most, curve *c) {
    size_t i;
    json_t *bucket;
    json_array_foreach(json_object_get(object, "positions"), i, bucket) {
        double from = number(bucket, "from"), to = number(bucket, "to");
        if (from >= least && from < most && to >= 1.9 * from) /* whole octaves only */
            add(c, sqrt(from * to), number(bucket, "nll") * bits);
    }
}

/* bits: from nats per token to bits per byte, from this text's tokens per byte. */
static int load_reading(const demo *d, const char *dir, const char *name, int whole, double *bits, reading *r) {
    double length = fact_number(d, "window"), near = fact_number(d, "near_len");
    json_t *window = load_json(dir, name, ".window.json"), *close = load_json(dir, name, ".near.json"),
           *far = load_json(dir, name, ".far.json"), *all = whole ? load_json(dir, name, ".whole.json") : NULL;
    int code = window && close && far && (all || !whole) ? 0 : -1;
    if (!code) {
        curve late = {.n = 0};
        *bits = number(window, "tokens") / number(window, "bytes") / log(2);
        r->bits_per_byte = number(window, "bits_per_byte");
        r->bits_per_byte_whole = whole ? number(all, "bits_per_byte") : NAN;
        add_positions(window, *bits, length / 2, length, &late);
        r->bits_per_byte_late = curve_last(&late);
        add_positions(close, *bits, FIRST_POSITION, near, &r->positions);
        add_positions(far, *bits, near, INFINITY, &r->positions);
    }
    json_decref(window);
    json_decref(close);
    json_decref(far);
    json_decref(all);
    return code;
}

static int load_latency(const char *dir, const char *name, contender *c) {
    json_t *object = load_json(dir, name, ".latency.json"), *row;
    size_t i;
    json_array_foreach(json_object_get(object, "rows"), i, row) {
        double context = number(row, "context");
        add(&c->write_ms, context, number(row, "write_us") / 1e3);
        add(&c->read_ms, context, number(row, "read_us") / 1e3);
        add(&c->state_mb, context, number(row, "state_bytes") / 1e6);
    }
    json_decref(object);
    return object ? 0 : -1;
}

static int load_contender(const demo *d, const char *dir, const char *name, int is_ttt, contender *c) {
    json_t *made = load_json(dir, name, ".inspect.json"), *trained = load_json(dir, name, ".train.json"),
           *text = load_json(dir, name, ".text.json");
    double bits = NAN;
    int code = made && trained && text ? 0 : -1;
    if (!code) {
        c->parameters = number(made, "parameters");
        c->fingerprint = string(made, "fingerprint");
        c->seconds = number(trained, "seconds");
        c->tokens = number(trained, "tokens");
        c->continuation = string(text, "text");
        code = load_reading(d, dir, name, is_ttt, &bits, &c->learning);
    }
    if (!code && is_ttt) code = load_reading(d, dir, "frozen", 1, &bits, &c->frozen);
    if (!code) code = load_training(d, dir, name, bits, &c->training);
    if (!code) code = load_latency(dir, name, c);
    json_decref(made);
    json_decref(trained);
    json_decref(text);
    return code;
}

int demo_load(const char *dir, demo *d) {
    *d = (demo){.ttt = {.name = "TTT-Linear", .class = "ttt"},
                .transformer = {.name = "Transformer", .class = "transformer"}};
    int code = load_facts(dir, &d->facts);
    if (!code) code = load_contender(d, dir, "ttt", 1, &d->ttt);
    if (!code) code = load_contender(d, dir, "transformer", 0, &d->transformer);
    return code;
}

void demo_free(demo *d) {
    free(d->facts.text);
    free(d->ttt.continuation);
    free(d->ttt.fingerprint);
    free(d->transformer.continuation);
    free(d->transformer.fingerprint);
}
