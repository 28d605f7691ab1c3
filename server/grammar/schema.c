/* schema.c: see schema.h. */
#include "grammar/schema.h"

#include "grammar/disjoint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORDS_MAX = 1024,
    ALTERNATIVES_MAX = 64,       /* of oneOf, and so many oneOf */
    DISJOINT_WORK_MAX = 1 << 20, /* steps to find out whether the alternatives exclude each other */
    LENGTH_MAX = 1000000,
    PATH_MAX_BYTES = 120,
    DEPTH_MAX = 256 /* of schemas within each other, those that are referred to among them */
};

typedef struct compiler {
    grammar *grammar;
    const json_t *root;
    const char *field; /* of the request */
    problem *problem;
    struct {
        const json_t *schema;
        int node;
    } known[GRAMMAR_NODES_MAX]; /* what stands for a schema, so that it may refer to itself */
    size_t n_known;
    struct {
        int node; /* a union whose members must exclude each other */
        char path[PATH_MAX_BYTES];
    } exclusive[ALTERNATIVES_MAX];
    size_t n_exclusive;
    int any, depth;
    char path[PATH_MAX_BYTES]; /* of the schema that is looked at, for messages */
} compiler;

static int compile(compiler *c, const json_t *schema);

static int refuse(compiler *c, const char *keyword, const char *what) {
    char field[64];
    snprintf(field, sizeof field, "%.40s%s%.22s", c->field, keyword ? "." : "", keyword ? keyword : "");
    problem_set(c->problem, 400, "invalid_value", field, "%s: %s%s%s (in the schema, at #%s)", c->field,
                keyword ? keyword : "", keyword ? " " : "", what, c->path);
    return -1;
}

static int add(compiler *c, grammar_kind kind) {
    int node = grammar_add(c->grammar, kind);
    if (node < 0 && c->grammar->n < GRAMMAR_NODES_MAX)
        problem_set(c->problem, 503, "no_memory", NULL, "no memory for the schema now");
    else if (node < 0)
        refuse(c, NULL, "there are too many parts");
    return node;
}

static int join(compiler *c, int node, int member) {
    return member >= 0 && (grammar_add_member(c->grammar, node, member) ||
                           problem_set(c->problem, 503, "no_memory", NULL, "no memory for the schema now"));
}

static int add_word(compiler *c, int node, const char *word, size_t bytes) {
    return grammar_add_word(c->grammar, node, word, bytes) ||
           problem_set(c->problem, 503, "no_memory", NULL, "no memory for the schema now");
}

/* ---- keywords ---- */

/* What binds nothing. */
static const char *const notes[] = {"title",        "description", "default", "examples",        "$schema",
                                    "$id",          "$comment",    "$defs",   "definitions",     "deprecated",
                                    "readOnly",     "writeOnly",   "format",  "contentEncoding", "contentMediaType",
                                    "discriminator"};

/* What binds values of one type. */
enum { OBJECT = 1, ARRAY = 2, STRING = 4, NUMBER = 8, INTEGER = 16, BOOLEAN = 32, NULLS = 64, ALL = 127 - INTEGER };
static const struct {
    const char *name;
    int types;
} binding[] = {{"properties", OBJECT},
               {"required", OBJECT},
               {"additionalProperties", OBJECT},
               {"items", ARRAY},
               {"prefixItems", ARRAY},
               {"minItems", ARRAY},
               {"maxItems", ARRAY},
               {"minLength", STRING},
               {"maxLength", STRING},
               {"pattern", STRING},
               {"minimum", NUMBER},
               {"maximum", NUMBER},
               {"exclusiveMinimum", NUMBER},
               {"exclusiveMaximum", NUMBER},
               {"multipleOf", NUMBER},
               {"$ref", 0},
               {"anyOf", 0},
               {"oneOf", 0},
               {"allOf", 0},
               {"enum", 0},
               {"const", 0}};

static int is_one_of(const char *word, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(word, list[i])) return 1;
    return 0;
}

/* Which types its keywords speak of, and the one that stands for the whole value, with which no other may stand. */
static int look(compiler *c, const json_t *schema, int *types, const char **whole) {
    const char *keyword, *of_type = json_object_get(schema, "type") ? "type" : NULL;
    json_t *value;
    *types = 0;
    *whole = NULL;
    json_object_foreach((json_t *)(uintptr_t)schema, keyword, value) {
        size_t i = 0, n = sizeof binding / sizeof *binding;
        if (is_one_of(keyword, notes, sizeof notes / sizeof *notes) || !strcmp(keyword, "type")) continue;
        while (i < n && strcmp(keyword, binding[i].name) != 0) i++;
        if (i == n) return refuse(c, keyword, "is not supported");
        *types |= binding[i].types;
        if (binding[i].types) of_type = keyword;
        if (binding[i].types) continue;
        if (*whole) return refuse(c, keyword, "beside another keyword of its kind is not supported");
        *whole = binding[i].name;
    }
    int words = *whole && (!strcmp(*whole, "enum") || !strcmp(*whole, "const"));
    if (*whole && of_type && !(words && !*types)) return refuse(c, *whole, "beside other keywords is not supported");
    return 0;
}

static int type_of(const char *name) {
    static const char *const names[] = {"object", "array", "string", "number", "integer", "boolean", "null"};
    for (int i = 0; name && i < 7; i++)
        if (!strcmp(name, names[i])) return 1 << i;
    return 0;
}

/* Which types `type` allows; ALL without it. -1 after a problem. */
static int parse_types(compiler *c, const json_t *schema) {
    const json_t *type = json_object_get(schema, "type"), *one;
    size_t i;
    int types = 0;
    if (!type) return ALL;
    if (json_is_string(type)) types = type_of(json_string_value(type));
    json_array_foreach(type, i, one) {
        int found = type_of(json_string_value(one));
        if (!found)
            return refuse(c, "type",
                          "must be object, array, string, number, integer, boolean, null, or an array of these");
        types |= found;
    }
    return types ? types
                 : refuse(c, "type",
                          "must be object, array, string, number, integer, boolean, null, or an array of these");
}

static int parse_count(compiler *c, const json_t *schema, const char *keyword, int64_t *count) {
    const json_t *value = json_object_get(schema, keyword);
    if (!value) return 1;
    if (json_whole(value, 0, LENGTH_MAX, count)) return 1;
    refuse(c, keyword, "must be a whole number from 0 to 1000000");
    return 0;
}

/* ---- words ---- */

static int fits_type(const json_t *value, int types) {
    switch (json_typeof(value)) {
    case JSON_OBJECT: return types & OBJECT;
    case JSON_ARRAY: return types & ARRAY;
    case JSON_STRING: return types & STRING;
    case JSON_INTEGER: return types & (NUMBER | INTEGER);
    case JSON_REAL:
        return types & NUMBER || (types & INTEGER && floor(json_real_value(value)) == json_real_value(value));
    case JSON_NULL: return types & NULLS;
    default: return types & BOOLEAN;
    }
}

/* The value as JSON, released by free; NULL after a problem. */
static char *dump(compiler *c, const json_t *value, const char *keyword) {
    char *words = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!words) problem_set(c->problem, 503, "no_memory", NULL, "no memory for the schema now");
    if (words && (strlen(words) > GRAMMAR_WORD_BYTES_MAX || strstr(words, "\\u0000"))) {
        refuse(c, keyword, "has a value that is too long, or with a NUL");
        free(words);
        return NULL;
    }
    return words;
}

static int compile_word(compiler *c, int node, const json_t *value, const char *keyword) {
    char *words = dump(c, value, keyword);
    int added = words && add_word(c, node, words, strlen(words));
    free(words);
    return added;
}

static int compile_words(compiler *c, const json_t *schema, int types, const char *keyword) {
    const json_t *list = json_object_get(schema, keyword), *value;
    size_t i;
    int node = add(c, GRAMMAR_WORDS), many = !strcmp(keyword, "enum");
    if (node < 0) return -1;
    if (many && (!json_is_array(list) || json_array_size(list) > WORDS_MAX))
        return refuse(c, keyword, "must be an array of at most 1024 values");
    if (!many) return !fits_type(list, types) || compile_word(c, node, list, keyword) ? node : -1;
    json_array_foreach(list, i, value) {
        if (fits_type(value, types) && !compile_word(c, node, value, keyword)) return -1;
    }
    return node;
}

static int constant(compiler *c, const char *const *words, size_t n) {
    int node = add(c, GRAMMAR_WORDS);
    for (size_t i = 0; i < n && node >= 0; i++)
        if (!add_word(c, node, words[i], strlen(words[i]))) return -1;
    return node;
}

/* ---- values of one type ---- */

/* A bound into *bound, if it is tighter; a number whose bounds are none of GRAMMAR_BOUND_MAX is refused. */
static int parse_bound(compiler *c, const json_t *schema, const char *keyword, int open, int fraction, int upper,
                       grammar_node *n) {
    const json_t *value = json_object_get(schema, keyword);
    double x = json_number_value(value);
    if (!value) return 1;
    if (!json_is_number(value) || !(fabs(x) <= (double)GRAMMAR_BOUND_MAX) || (fraction && floor(x) != x)) {
        refuse(c, keyword, fraction ? "can only be a whole number up to 1e15" : "can only be a number up to 1e15");
        return 0;
    }
    int64_t bound = json_is_integer(value) ? (int64_t)json_integer_value(value) : (int64_t)(upper ? floor(x) : ceil(x));
    if (!fraction && open) {
        if (floor(x) == x) bound += upper ? -1 : 1; /* a whole number that is not the bound is at least one away */
        open = 0;
    }
    int64_t *now = upper ? &n->most : &n->least;
    int *now_open = upper ? &n->most_open : &n->least_open;
    if (upper ? bound < *now : bound > *now) {
        *now = bound;
        *now_open = open;
    } else if (bound == *now) {
        *now_open |= open;
    }
    n->bounded = 1;
    return 1;
}

static int compile_number(compiler *c, const json_t *schema, int fraction) {
    int node = add(c, GRAMMAR_NUMBER);
    const json_t *multiple = json_object_get(schema, "multipleOf");
    if (multiple) fraction = 0; /* of a whole number there are only whole multiples */
    grammar_node n = {.kind = GRAMMAR_NUMBER,
                      .rest = -1,
                      .fraction = fraction,
                      .least = -GRAMMAR_UNBOUNDED,
                      .most = GRAMMAR_UNBOUNDED};
    if (node < 0 || !parse_bound(c, schema, "minimum", 0, fraction, 0, &n) ||
        !parse_bound(c, schema, "exclusiveMinimum", 1, fraction, 0, &n) ||
        !parse_bound(c, schema, "maximum", 0, fraction, 1, &n) ||
        !parse_bound(c, schema, "exclusiveMaximum", 1, fraction, 1, &n))
        return -1;
    if (multiple) {
        n.bounded = 1;
        if (!json_whole(multiple, 1, GRAMMAR_BOUND_MAX, &n.multiple))
            return refuse(c, "multipleOf", "can only be a whole number from 1 to 1e15");
    }
    c->grammar->nodes[node] = n;
    return node;
}

/* What must be such a text, so that whoever reads the answer can read it; years from 1000 to 2999, and no 29th of
 * February. */
#define DATE                                                                                                           \
    "[12]\\d{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
#define CLOCK "(?:[01]\\d|2[0-3]):[0-5]\\d"
#define TIME CLOCK ":[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-]" CLOCK ")"
#define BYTE "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
static const struct {
    const char *name, *pattern;
} formats[] = {{"date", "^" DATE "$"},
               {"time", "^" TIME "$"},
               {"date-time", "^" DATE "T" TIME "$"},
               {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
               {"ipv4", "^" BYTE "(?:\\." BYTE "){3}$"}};

static int compile_pattern(compiler *c, const char *words, size_t bytes) {
    const char *why;
    int node = add(c, GRAMMAR_PATTERN);
    if (node < 0) return -1;
    c->grammar->nodes[node].pattern = pattern_compile(words, bytes, &why);
    if (c->grammar->nodes[node].pattern) return node;
    if (why) return refuse(c, "pattern", why);
    problem_set(c->problem, 503, "no_memory", NULL, "no memory for the schema now");
    return -1;
}

static int compile_string(compiler *c, const json_t *schema) {
    const json_t *words = json_object_get(schema, "pattern");
    const char *format = json_string_value(json_object_get(schema, "format"));
    int bounded = json_object_get(schema, "minLength") || json_object_get(schema, "maxLength");
    if (words && bounded) return refuse(c, "pattern", "beside minLength or maxLength is not supported");
    if (words && !json_is_string(words)) return refuse(c, "pattern", "must be a string");
    if (words) return compile_pattern(c, json_string_value(words), json_string_length(words));
    for (size_t i = 0; format && !bounded && i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(format, formats[i].name)) return compile_pattern(c, formats[i].pattern, strlen(formats[i].pattern));
    int node = add(c, GRAMMAR_STRING);
    int64_t least = 0, most = -1;
    if (node < 0 || !parse_count(c, schema, "minLength", &least) || !parse_count(c, schema, "maxLength", &most))
        return -1;
    c->grammar->nodes[node].least = least;
    c->grammar->nodes[node].most = most;
    return node;
}

static int compile_below(compiler *c, const json_t *schema, const char *step, const char *name) {
    size_t n = strlen(c->path);
    snprintf(c->path + n, sizeof c->path - n, "/%s%s%s", step, name ? "/" : "", name ? name : "");
    int node = compile(c, schema);
    if (!c->problem->status) c->path[n] = 0;
    return node;
}

static int compile_array(compiler *c, const json_t *schema) {
    const json_t *first = json_object_get(schema, "prefixItems"), *rest = json_object_get(schema, "items"), *one;
    int64_t least = 0, most = -1;
    size_t i;
    int node = add(c, GRAMMAR_ARRAY);
    if (node < 0 || !parse_count(c, schema, "minItems", &least) || !parse_count(c, schema, "maxItems", &most))
        return -1;
    if (first && !json_is_array(first)) return refuse(c, "prefixItems", "must be an array of schemas");
    json_array_foreach(first, i, one) {
        if (!join(c, node, compile_below(c, one, "prefixItems", NULL))) return -1;
    }
    int further = rest ? compile_below(c, rest, "items", NULL) : c->any;
    if (further < 0) return -1;
    c->grammar->nodes[node].rest = further;
    c->grammar->nodes[node].least = least;
    c->grammar->nodes[node].most = most;
    return node;
}

static int is_required(const json_t *required, const char *name) {
    const json_t *one;
    size_t i;
    json_array_foreach(required, i, one) {
        if (!strcmp(json_string_value(one), name)) return 1;
    }
    return 0;
}

static int add_property(compiler *c, int object, const char *name, int value, int required) {
    json_t *words = json_string(name);
    char *key = words && value >= 0 ? dump(c, words, "properties") : NULL;
    json_decref(words);
    if (value >= 0 && c->grammar->nodes[object].n_properties == GRAMMAR_PROPERTIES_MAX)
        refuse(c, "properties", "has more than 256 names");
    if (!key || c->problem->status) {
        free(key);
        return 0;
    }
    grammar_add_property(c->grammar, object, name, strlen(name), key, strlen(key), value, required);
    free(key);
    return !c->grammar->failed || problem_set(c->problem, 503, "no_memory", NULL, "no memory for the schema now");
}

static int compile_object(compiler *c, const json_t *schema) {
    json_t *properties = json_object_get(schema, "properties"), *value;
    const json_t *required = json_object_get(schema, "required"), *rest, *one;
    const char *name;
    size_t i;
    int node = add(c, GRAMMAR_OBJECT), further = -1;
    if (node < 0) return -1;
    rest = json_object_get(schema, "additionalProperties");
    if (properties && !json_is_object(properties)) return refuse(c, "properties", "must be an object of schemas");
    if (required && (!json_is_array(required) || json_array_size(required) > WORDS_MAX))
        return refuse(c, "required", "must be an array of at most 1024 names");
    json_array_foreach(required, i, one) {
        if (!json_is_string(one) || strlen(json_string_value(one)) != json_string_length(one))
            return refuse(c, "required", "must be an array of names");
    }
    if (rest ? !json_is_false(rest) : !properties) {
        further = rest ? compile_below(c, rest, "additionalProperties", NULL) : c->any;
        if (further < 0) return -1;
    }
    json_object_foreach(properties, name, value) {
        if (!add_property(c, node, name, compile_below(c, value, "properties", name), is_required(required, name)))
            return -1;
    }
    json_array_foreach(required, i, one) { /* names without a schema of their own */
        int known = 0, of_rest = rest ? further : c->any;
        name = json_string_value(one);
        for (size_t k = 0; k < i && !known; k++) known = !strcmp(name, json_string_value(json_array_get(required, k)));
        if (known || json_object_get(properties, name)) continue;
        if (of_rest < 0) return refuse(c, "required", "has a name that additionalProperties forbids");
        if (!add_property(c, node, name, of_rest, 1)) return -1;
    }
    c->grammar->nodes[node].rest = further;
    c->grammar->nodes[node].closed = rest && json_is_false(rest);
    return node;
}

/* ---- values ---- */

static const char *const truths[] = {"true", "false"}, *const nothing[] = {"null"};

static int add_types(compiler *c, int node, const json_t *schema, int types) {
    if (types & OBJECT && !join(c, node, compile_object(c, schema))) return 0;
    if (types & ARRAY && !join(c, node, compile_array(c, schema))) return 0;
    if (types & STRING && !join(c, node, compile_string(c, schema))) return 0;
    if (types & (NUMBER | INTEGER) && !join(c, node, compile_number(c, schema, (types & NUMBER) != 0))) return 0;
    if (types & BOOLEAN && !join(c, node, constant(c, truths, 2))) return 0;
    return !(types & NULLS) || join(c, node, constant(c, nothing, 1));
}

/* The schema that a reference names: "#" and a JSON pointer. NULL: there is none. */
static const json_t *resolve(const json_t *root, const char *reference) {
    const json_t *at = root;
    if (!reference || reference[0] != '#') return NULL;
    for (const char *next = reference + 1; at && *next;) {
        char name[256];
        size_t n = 0;
        if (*next++ != '/') return NULL;
        for (; *next && *next != '/' && n + 1 < sizeof name; next++) {
            int escape = next[0] == '~' && (next[1] == '0' || next[1] == '1');
            name[n++] = escape ? (next[1] == '0' ? '~' : '/') : *next;
            next += escape;
        }
        if (*next && *next != '/') return NULL;
        name[n] = 0;
        at = json_is_array(at) ? json_array_get(at, strtoul(name, NULL, 10)) : json_object_get(at, name);
    }
    return at;
}

/* Its members are looked at when all of them are there. */
static int note_exclusive(compiler *c, int node, size_t members) {
    if (members > ALTERNATIVES_MAX || c->n_exclusive == ALTERNATIVES_MAX) {
        refuse(c, "oneOf", "can stand 64 times, with 64 schemas");
        return 0;
    }
    c->exclusive[c->n_exclusive].node = node;
    memcpy(c->exclusive[c->n_exclusive++].path, c->path, sizeof c->path);
    return 1;
}

/* Whether a document satisfies one schema of each oneOf at most. */
static void check_exclusive(compiler *c) {
    size_t work = DISJOINT_WORK_MAX;
    for (size_t i = 0; i < c->n_exclusive && !c->problem->status; i++) {
        const grammar_node *n = &c->grammar->nodes[c->exclusive[i].node];
        for (size_t k = 1; k < n->n_members; k++)
            for (size_t j = 0; j < k && !c->problem->status; j++) {
                if (disjoint(c->grammar, n->members[j], n->members[k], &work)) continue;
                memcpy(c->path, c->exclusive[i].path, sizeof c->path);
                refuse(c, "oneOf",
                       "has two schemas that one document may satisfy both, as far as can be seen: use anyOf, "
                       "or tell them apart by a required property with a const");
            }
    }
}

static int compile_whole(compiler *c, int node, const json_t *schema, int types, const char *keyword) {
    const json_t *value = json_object_get(schema, keyword), *one;
    size_t i;
    if (!strcmp(keyword, "enum") || !strcmp(keyword, "const"))
        return join(c, node, compile_words(c, schema, types, keyword));
    if (!strcmp(keyword, "$ref")) {
        const json_t *target = resolve(c->root, json_string_value(value));
        if (!target) {
            refuse(c, keyword, "must name a part of the schema, as \"#/$defs/NAME\"");
            return 0;
        }
        return join(c, node, compile(c, target));
    }
    if (!json_is_array(value) || !json_array_size(value)) {
        refuse(c, keyword, "must be an array of schemas");
        return 0;
    }
    if (!strcmp(keyword, "allOf") && json_array_size(value) > 1) {
        refuse(c, keyword, "of more than one schema is not supported");
        return 0;
    }
    if (!strcmp(keyword, "oneOf") && json_array_size(value) > 1 && !note_exclusive(c, node, json_array_size(value)))
        return 0;
    json_array_foreach(value, i, one) {
        if (!join(c, node, compile_below(c, one, keyword, NULL))) return 0;
    }
    return 1;
}

static int compile_new(compiler *c, const json_t *schema, int node) {
    int of_keywords;
    const char *whole;
    int types = parse_types(c, schema);
    if (types < 0 || look(c, schema, &of_keywords, &whole) < 0) return -1;
    if (whole) return compile_whole(c, node, schema, types, whole) ? node : -1;
    if (types == ALL && of_keywords) types = of_keywords;
    return add_types(c, node, schema, types) ? node : -1;
}

/* The node that stands for the schema; -1 after a problem. */
static int compile(compiler *c, const json_t *schema) {
    if (json_is_true(schema)) return c->any;
    for (size_t i = 0; i < c->n_known; i++)
        if (c->known[i].schema == schema) return c->known[i].node;
    int node = add(c, GRAMMAR_UNION);
    if (node < 0 || json_is_false(schema)) return node;
    if (!json_is_object(schema)) return refuse(c, NULL, "an object, true or false must stand there");
    if (c->depth == DEPTH_MAX) return refuse(c, NULL, "too many schemas stand within each other");
    c->known[c->n_known].schema = schema;
    c->known[c->n_known++].node = node; /* there are no more than nodes */
    c->depth++;
    node = compile_new(c, schema, node);
    c->depth--;
    return node;
}

/* Any value, and any object. */
static int compile_any(compiler *c) {
    json_t *empty = json_object();
    c->any = add(c, GRAMMAR_UNION);
    if (!empty) problem_set(c->problem, 503, "no_memory", NULL, "no memory for the schema now");
    if (empty && c->any >= 0) add_types(c, c->any, empty, ALL);
    json_decref(empty);
    return !c->problem->status;
}

static int run(const json_t *schema, const char *field, grammar *g, problem *p) {
    compiler *c = calloc(1, sizeof *c);
    if (!c) return problem_set(p, 503, "no_memory", NULL, "no memory for the schema now");
    c->grammar = g;
    c->root = schema;
    c->field = field;
    c->problem = p;
    g->root = compile_any(c) ? schema ? compile(c, schema) : g->nodes[c->any].members[0] : -1;
    if (!p->status && !grammar_finish(g)) {
        c->path[0] = 0;
        refuse(c, NULL, "no document satisfies it, or only one that is nested more than 64 deep");
    }
    if (!p->status) check_exclusive(c);
    free(c);
    return !p->status;
}

int schema_compile(const json_t *schema, const char *field, grammar *g, problem *p) { return run(schema, field, g, p); }

int schema_any_object(grammar *g, problem *p) { return run(NULL, "response_format", g, p); }
