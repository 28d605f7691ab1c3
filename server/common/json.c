/* json.c: see json.h. */
#include "common/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a glance over the bytes of a text of JSON tells, whatever is wrong with it. */
typedef struct glance {
    int depth;      /* the deepest */
    size_t values;  /* at most so many */
    char field[64]; /* the last name at depth 1 up to `until` */
} glance;

static void look(const char *body, size_t bytes, size_t until, glance *g) {
    int depth = 0;
    size_t begin = 0, end = 0; /* of the last string at depth 1 */
    *g = (glance){.values = 1};
    for (size_t at = 0; at < bytes; at++) {
        char c = body[at];
        if (c == '"') {
            size_t from = ++at;
            while (at < bytes && body[at] != '"') at += body[at] == '\\' ? 2 : 1;
            if (depth == 1) begin = from, end = at < bytes ? at : bytes;
        } else if (c == ':' && depth == 1 && at <= until) {
            size_t n = end - begin < sizeof g->field - 1 ? end - begin : sizeof g->field - 1;
            memcpy(g->field, body + begin, n);
            g->field[n] = 0;
        } else if (c == '{' || c == '[') {
            if (++depth > g->depth) g->depth = depth;
            g->values++;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (c == ',' || c == ':') {
            g->values++;
        }
    }
}

json_t *json_body(const char *body, size_t bytes, size_t values_max, problem *p) {
    glance g;
    json_error_t error;
    look(body, bytes, bytes, &g);
    if (!bytes) {
        problem_set(p, 400, "invalid_json", NULL, "the body is empty: it must be a JSON object");
    } else if (g.depth > JSON_DEPTH_MAX) {
        problem_set(p, 400, "invalid_json", NULL, "the body is nested %d deep: at most %d are read", g.depth,
                    JSON_DEPTH_MAX);
    } else if (g.values > values_max) {
        problem_set(p, 400, "invalid_json", NULL, "the body has about %zu values: at most %zu are read", g.values,
                    values_max);
    }
    if (p->status) return NULL;
    json_t *object = json_loadb(body, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (object && json_is_object(object)) return object;
    if (object) {
        problem_set(p, 400, "invalid_json", NULL, "the body is a JSON array: it must be an object");
        json_decref(object);
        return NULL;
    }
    look(body, bytes, error.position > 0 ? (size_t)error.position : 0, &g);
    problem_set(p, 400, "invalid_json", g.field, "the body is not JSON: line %d: %s", error.line, error.text);
    return NULL;
}

const json_t *json_field(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

int json_whole(const json_t *value, int64_t low, int64_t high, int64_t *whole) {
    if (json_is_integer(value)) {
        *whole = json_integer_value(value);
    } else if (json_is_real(value)) {
        double x = json_real_value(value);
        if (floor(x) != x || fabs(x) > 9007199254740992.0) return 0;
        *whole = (int64_t)x;
    } else {
        return 0;
    }
    return *whole >= low && *whole <= high;
}

int json_real_field(const json_t *object, const char *name, double low, double high, double *value, problem *p) {
    const json_t *field = json_field(object, name);
    if (!field) return 1;
    double x = json_number_value(field);
    if (!json_is_number(field) || !(x >= low && x <= high))
        return problem_set(p, 400, "invalid_value", name, "%s must be a number from %g to %g", name, low, high);
    *value = x;
    return 1;
}

int json_integer_field(const json_t *object, const char *name, int64_t low, int64_t high, int64_t *value, problem *p) {
    const json_t *field = json_field(object, name);
    int64_t whole;
    if (!field) return 1;
    if (!json_whole(field, low, high, &whole))
        return problem_set(p, 400, "invalid_value", name, "%s must be an integer from %lld to %lld", name,
                           (long long)low, (long long)high);
    *value = whole;
    return 1;
}

int json_flag_field(const json_t *object, const char *name, int *value, problem *p) {
    const json_t *field = json_field(object, name);
    if (!field) return 1;
    if (!json_is_boolean(field)) return problem_set(p, 400, "invalid_value", name, "%s must be true or false", name);
    *value = json_is_true(field);
    return 1;
}

int json_text_field(const json_t *object, const char *name, const char **words, size_t *bytes, problem *p) {
    const json_t *field = json_field(object, name);
    if (!field) return 1;
    if (!json_is_string(field)) return problem_set(p, 400, "invalid_value", name, "%s must be a string", name);
    *words = json_string_value(field);
    *bytes = json_string_length(field);
    return 1;
}

int json_says(const json_t *object, const char *name) {
    const json_t *field = json_field(object, name);
    if (!field || json_is_false(field)) return 0;
    if (json_is_number(field)) return json_number_value(field) != 0;
    if (json_is_string(field)) return json_string_length(field) > 0;
    if (json_is_array(field)) return json_array_size(field) > 0;
    return !json_is_object(field) || json_object_size(field) > 0;
}
