/* json.h: the JSON of a request: bounded before it is parsed, and its fields with their types and ranges. Every refusal
 * names the field. A field that is null counts as one that is not there. */
#ifndef SERVER_JSON_H
#define SERVER_JSON_H

#include "common/problem.h"

#include <jansson.h>
#include <stdint.h>

enum { JSON_DEPTH_MAX = 32 };

/* The object that body [bytes] is, released by json_decref; NULL and a problem otherwise. values_max: numbers, strings
 * and so on in it, so that memory is bounded. */
json_t *json_body(const char *body, size_t bytes, size_t values_max, problem *p);

/* NULL when it is absent or null. */
const json_t *json_field(const json_t *object, const char *name);
/* Each leaves *value alone when the field is absent; 0 after a problem. */
int json_real_field(const json_t *object, const char *name, double low, double high, double *value, problem *p);
int json_integer_field(const json_t *object, const char *name, int64_t low, int64_t high, int64_t *value, problem *p);
int json_flag_field(const json_t *object, const char *name, int *value, problem *p);
/* *words lives as long as object. */
int json_text_field(const json_t *object, const char *name, const char **words, size_t *bytes, problem *p);
/* Whether a JSON number is a whole one in low .. high; `16.0` is one too. */
int json_whole(const json_t *value, int64_t low, int64_t high, int64_t *whole);
/* Whether the field says something: not absent, null, false, 0, "", [] or {}. */
int json_says(const json_t *object, const char *name);

#endif
