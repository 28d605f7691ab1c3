/* format.c: see format.h. */
#include "grammar/format.h"

#include <stdlib.h>
#include <string.h>

static int no_memory(problem *p) { return problem_set(p, 503, "no_memory", NULL, "no memory for the schema now"); }

/* Completions and chats have the schema in json_schema, Responses beside the type, and llama.cpp's clients with
 * json_object too. */
static const json_t *schema_of(const json_t *value) {
    const json_t *inner = json_field(value, "json_schema");
    return json_object_get(inner ? inner : value, "schema");
}

int format_parse(const json_t *value, const char *field, grammar **found, problem *p) {
    *found = NULL;
    if (!value || json_is_null(value)) return 1;
    const char *type = json_string_value(json_object_get(value, "type"));
    const json_t *schema = schema_of(value);
    if (type && !strcmp(type, "text")) return 1;
    if (!type || (strcmp(type, "json_object") && strcmp(type, "json_schema")))
        return problem_set(
            p, 400, "invalid_value", field,
            "%s must be {\"type\": \"text\"}, {\"type\": \"json_object\"} or {\"type\": \"json_schema\", "
            "…}",
            field);
    if (!schema && !strcmp(type, "json_schema"))
        return problem_set(p, 400, "invalid_value", field, "%s has no schema", field);
    grammar *g = calloc(1, sizeof *g);
    if (!g) return no_memory(p);
    if (schema ? schema_compile(schema, field, g, p) : schema_any_object(g, p)) {
        *found = g;
        return 1;
    }
    format_free(g);
    return 0;
}

void format_free(grammar *g) {
    if (g) grammar_free(g);
    free(g);
}
