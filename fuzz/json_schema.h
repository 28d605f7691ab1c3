/* json_schema.h: whether a JSON value satisfies a schema of the subset that the server takes, written apart from it;
 * for fuzzers and tests. What it does not know binds nothing. */
#ifndef IL_FUZZ_JSON_SCHEMA_H
#define IL_FUZZ_JSON_SCHEMA_H

#include <jansson.h>
#include <math.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

static inline int json_schema_satisfied(const json_t *root, const json_t *schema, const json_t *value);

static inline int json_schema_type(const char *type, const json_t *value) {
    if (!strcmp(type, "object")) return json_is_object(value);
    if (!strcmp(type, "array")) return json_is_array(value);
    if (!strcmp(type, "string")) return json_is_string(value);
    if (!strcmp(type, "number")) return json_is_number(value);
    if (!strcmp(type, "boolean")) return json_is_boolean(value);
    if (!strcmp(type, "null")) return json_is_null(value);
    return json_is_number(value) && floor(json_number_value(value)) == json_number_value(value);
}

static inline const json_t *json_schema_named(const json_t *root, const char *reference) {
    for (const char *next = reference + 1; root && *next == '/';) {
        char name[256] = "";
        size_t n = strcspn(++next, "/");
        for (size_t i = 0, k = 0; i < n && k < 255; i++) {
            name[k++] = next[i] != '~' ? next[i] : next[++i] == '0' ? '~' : '/';
            name[k] = 0;
        }
        root = json_is_array(root) ? json_array_get(root, strtoul(name, NULL, 10)) : json_object_get(root, name);
        next += n;
    }
    return root;
}

/* Of patterns only those that POSIX reads in the same way, and of texts those of ASCII. */
static inline int json_schema_pattern(const char *expression, const char *words) {
    regex_t regex;
    if (!expression || expression[strcspn(expression, "\\\n\r.")] || strstr(expression, "(?") ||
        strstr(expression, "[^") || strstr(expression, "[[") || strstr(expression, "??") || strstr(expression, "*?") ||
        strstr(expression, "+?") || strstr(expression, "}?") || strstr(expression, "[]") || strstr(expression, "()") ||
        strstr(expression, "|)"))
        return 1;
    for (const char *at = words; *at; at++)
        if (*at & 0x80) return 1;
    for (const char *at = expression; *at; at++)
        if (*at & 0x80) return 1;
    if (regcomp(&regex, expression, REG_EXTENDED | REG_NOSUB)) return 1;
    int found = !regexec(&regex, words, 0, NULL, 0);
    regfree(&regex);
    return found;
}

static inline int json_schema_string(const json_t *schema, const json_t *value) {
    const char *bytes = json_string_value(value);
    const json_t *least = json_object_get(schema, "minLength"), *most = json_object_get(schema, "maxLength");
    double n = 0;
    for (size_t i = 0; i < json_string_length(value); i++) n += ((unsigned char)bytes[i] & 0xC0) != 0x80;
    return !(least && n < json_number_value(least)) && !(most && n > json_number_value(most)) &&
           json_schema_pattern(json_string_value(json_object_get(schema, "pattern")), bytes);
}

static inline int json_schema_number(const json_t *schema, const json_t *value) {
    const json_t *low = json_object_get(schema, "minimum"), *above = json_object_get(schema, "exclusiveMinimum");
    const json_t *high = json_object_get(schema, "maximum"), *below = json_object_get(schema, "exclusiveMaximum");
    const json_t *multiple = json_object_get(schema, "multipleOf");
    double x = json_number_value(value);
    if (multiple && fmod(x, json_number_value(multiple)) != 0) return 0;
    return !(low && x < json_number_value(low)) && !(above && x <= json_number_value(above)) &&
           !(high && x > json_number_value(high)) && !(below && x >= json_number_value(below));
}

static inline int json_schema_array(const json_t *root, const json_t *schema, const json_t *value) {
    const json_t *first = json_object_get(schema, "prefixItems"), *rest = json_object_get(schema, "items"), *one;
    const json_t *least = json_object_get(schema, "minItems"), *most = json_object_get(schema, "maxItems");
    size_t i, n = json_array_size(value);
    if ((least && (double)n < json_number_value(least)) || (most && (double)n > json_number_value(most))) return 0;
    json_array_foreach(value, i, one) {
        const json_t *of = i < json_array_size(first) ? json_array_get(first, i) : rest;
        if (of && !json_schema_satisfied(root, of, one)) return 0;
    }
    return 1;
}

static inline int json_schema_object(const json_t *root, const json_t *schema, const json_t *value) {
    const json_t *properties = json_object_get(schema, "properties"), *rest, *one;
    const json_t *required = json_object_get(schema, "required");
    const char *name;
    json_t *item;
    size_t i;
    rest = json_object_get(schema, "additionalProperties");
    json_array_foreach(required, i, one) {
        if (!json_object_get(value, json_string_value(one))) return 0;
    }
    json_object_foreach((json_t *)(uintptr_t)value, name, item) {
        const json_t *of = json_object_get(properties, name) ? json_object_get(properties, name) : rest;
        if (of && !json_schema_satisfied(root, of, item)) return 0;
    }
    return 1;
}

static inline int json_schema_satisfied(const json_t *root, const json_t *schema, const json_t *value) {
    const json_t *type = json_object_get(schema, "type"), *reference = json_object_get(schema, "$ref"), *one;
    const json_t *words = json_object_get(schema, "enum"), *word = json_object_get(schema, "const");
    const json_t *any = json_object_get(schema, "anyOf"), *all = json_object_get(schema, "allOf");
    const json_t *exactly = json_object_get(schema, "oneOf");
    size_t i;
    int found = !json_is_array(type);
    if (json_is_boolean(schema)) return json_is_true(schema);
    if (json_is_string(type) && !json_schema_type(json_string_value(type), value)) return 0;
    json_array_foreach(type, i, one) found |= json_schema_type(json_string_value(one), value);
    if (!found || (word && !json_equal(word, value))) return 0;
    found = !words;
    json_array_foreach(words, i, one) found |= json_equal(one, value);
    if (!found) return 0;
    found = !any;
    json_array_foreach(any, i, one) found = found || json_schema_satisfied(root, one, value);
    if (exactly) {
        int times = 0;
        json_array_foreach(exactly, i, one) times += json_schema_satisfied(root, one, value);
        found = found && times == 1;
    }
    json_array_foreach(all, i, one) found = found && json_schema_satisfied(root, one, value);
    if (!found) return 0;
    if (reference && !json_schema_satisfied(root, json_schema_named(root, json_string_value(reference)), value))
        return 0;
    if (json_is_string(value)) return json_schema_string(schema, value);
    if (json_is_number(value)) return json_schema_number(schema, value);
    if (json_is_array(value)) return json_schema_array(root, schema, value);
    return !json_is_object(value) || json_schema_object(root, schema, value);
}

#endif
