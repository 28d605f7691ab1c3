/* test_server_schema.c: answers of a form, without a server: which documents a schema lets through, byte by byte and by
 * the tokens of a vocabulary; that whatever is drawn satisfies it; and what is refused, by name. */
#include "support_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "grammar/constraint.h"
#include "grammar/format.h"
#include "json_schema.h"

#define READER FIXTURES "/../../models/reader"

static json_t *parse(const char *schema) {
    json_t *value = json_loads(schema, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!value) fail_msg("not JSON: %s", schema);
    return value;
}

/* 1: a document. 0: not, but the beginning of one. -1: not even that. */
static int judge(const grammar *g, const char *document) {
    automaton *a = automaton_open(g);
    assert_non_null(a);
    int read = automaton_read(a, document, strlen(document));
    assert_true(read >= 0);
    int verdict = !read ? -1 : automaton_complete(a, automaton_current(a));
    automaton_close(a);
    return verdict;
}

static void documents_are_told_apart(void **state) {
    static const struct {
        const char *schema, *whole[12], *not [14];
    } cases[] = {
        {"{\"type\":\"string\"}",
         {"\"\"", " \"a\"", "\n\"\xC3\xA9\xF0\x9F\x98\x80\"", "\"\\n\\u00e9\\\"\\/\"", "\"\\uD83d\\ude00\"",
          "\"\x7F\""},
         {"'a'", "\"\n", "\"\\x", "\"\\u0000", "\"\\uDC", "\"\\uD800a", "\"\\uD800\\u00", "\"\xC3(", "\"\xED\xA0",
          "\"\xC0", "\"\xF5", "  \"a\"", "\n \"a\"", "\"a\" "}},
        {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
         {"\"ab\"", "\"a\xC3\xA9\xF0\x9F\x98\x80\"", "\"\\uD83D\\uDE00\\n\""},
         {"\"a\"", "\"abcd", "\"ab\\nd"}},
        {"{\"type\":\"integer\"}",
         {"0", "-7", "123456789012345"},
         {"-0", "01", "1.0", "1e3", "+1", "1234567890123456"}},
        {"{\"type\":\"number\"}", {"0", "-0", "1.5", "-12.25e-07", "1E+9", "0e0"}, {".5", "1e123", "00", "1.5.", "--"}},
        {"{\"type\":\"integer\",\"minimum\":-12,\"exclusiveMaximum\":105}",
         {"-12", "-1", "0", "9", "99", "104"},
         {"-13", "-2x", "105", "1000", "110", "-0", "-120"}},
        {"{\"type\":\"integer\",\"minimum\":1.5,\"maximum\":3.5}", {"2", "3"}, {"1", "4", "20"}},
        {"{\"type\":\"integer\",\"minimum\":700}",
         {"700", "6999", "9999999999999999"},
         {"-", "0", "99999999999999999"}},
        {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}",
         {"0", "1", "0.25", "1.000", "0.0"},
         {"-", "1.1", "2", "10", "1.01", "0.5e"}},
        {"{\"type\":\"number\",\"exclusiveMinimum\":-3,\"exclusiveMaximum\":5}",
         {"-2.999", "4.5", "-0.5", "0", "-2"},
         {"-3", "-3.", "5", "50", "5.0"}},
        {"{\"type\":\"number\",\"exclusiveMinimum\":2}",
         {"2.5", "2.001", "3", "20", "2.00000000000001"},
         {"1", "2.000000000000000", "-", "2e"}},
        {"{\"enum\":[\"a\",\"ab\",1,12,null,[1,{\"k\":true}],\"\\\"\xC3\xA9\"]}",
         {"\"a\"", "\"ab\"", "1", "12", "null", "[1,{\"k\":true}]", "\"\\\"\xC3\xA9\""},
         {"\"abc", "13", "123", "nul ", "[1, "}},
        {"{\"type\":[\"string\",\"null\"],\"enum\":[1,null,\"x\"]}", {"null", "\"x\""}, {"1"}},
        {"{\"const\":{\"a\":1}}", {"{\"a\":1}"}, {"{}", "{ "}},
        {"{\"type\":[\"boolean\",\"null\"]}", {"true", "false", "null"}, {"0", "\""}},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}",
         {"[1]", "[1,2]", "[ 1, 2\n]", "[\n  1,\n  2\n]"},
         {"[]", "[1,]", "[1,2,", "[ \n", "[1,\"", "[,"}},
        {"{\"prefixItems\":[{\"type\":\"null\"},{\"type\":\"boolean\"}],\"items\":false}",
         {"[]", "[null]", "[null,true]"},
         {"[true", "[null,true,", "{", "1"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"null\"}],\"items\":{\"type\":\"string\"},\"minItems\":3}",
         {"[null,\"a\",\"b\"]", "[null,\"a\",\"b\",\"c\",\"d\"]"},
         {"[null,\"a\"]", "[null,null"}},
        {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\\\"c\":{\"type\":\"null\"},\"d\":{}},\"required\":["
         "\"b\\\"c\"]}",
         {"{\"b\\\"c\":null}", "{\"a\":1,\"b\\\"c\":null}", "{ \"a\": 1,\n  \"b\\\"c\": null, \"d\": [{}]}"},
         {"{}", "{\"a\":1}", "{\"d\"", "{\"b\\\"c\":null,\"a\"", "{\"x\"", "{\"a\" :", "{\"b\\\"c\":null,}",
          "{\"a\":\""}},
        {"{\"type\":\"object\",\"properties\":{\"ab\":{\"type\":\"null\"}},\"additionalProperties\":{\"type\":"
         "\"integer\"}}",
         {"{}", "{\"ab\":null}", "{\"ab\":null,\"x\":1,\"\":2}", "{\"a\":1}", "{\"abc\":1}", "{\"b\\n\":1}",
          "{\"x\":1,\"y\":1}"},
         {"{\"ab\":1", "{\"x\":1,\"ab\"", "{\"a\\u", "{\"\\u0061b", "{\"x\":null"}},
        {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}",
         {"{}", "{\"a\":1, \"\\\"\":2}"},
         {"{\"a\":\""}},
        {"{\"type\":\"object\",\"required\":[\"k\",\"k\"]}", {"{\"k\":[]}", "{\"k\":1,\"z\":2}"}, {"{}", "{\"z\""}},
        {"{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"t\":{\"const\":1},\"a\":{\"type\":\"null\"}},\"required\":"
         "[\"t\",\"a\"]},"
         "{\"type\":\"object\",\"properties\":{\"t\":{\"const\":12},\"b\":{\"type\":\"null\"}},\"required\":[\"t\","
         "\"b\"]}]}",
         {"{\"t\":1,\"a\":null}", "{\"t\":12,\"b\":null}"},
         {"{\"t\":12,\"a", "{\"t\":1,\"b", "{\"t\":1}"}},
        {"{\"$defs\":{\"n/~\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":{\"anyOf\":["
         "{\"$ref\":\"#/$defs/n~1~0\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}},\"$ref\":\"#/$defs/"
         "n~1~0\"}",
         {"{\"v\":1,\"next\":null}", "{\"v\":1,\"next\":{\"v\":2,\"next\":null}}"},
         {"{\"v\":1,\"next\":{\"v\":2,\"next\":null}", "{\"v\":1,\"next\":1"}},
        {"{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", {"[]", "[[],[[]]]"}, {"[1", "[[]"}},
        {"{}", {"1", "[{\"a\":[true,null,-1.5e3]}]", "\"x\"", "{\"a\":{}}"}, {"nul", "{a", "[1,", "}"}},
        {"{\"allOf\":[{\"type\":\"null\"}],\"title\":\"t\",\"format\":\"date\",\"default\":3}", {"null"}, {"3"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":false,\"b\":true}}", {"{}", "{\"b\":0}"}, {"{\"a\""}},
        {"{\"type\":\"integer\",\"multipleOf\":7}",
         {"0", "7", "-14", "700", "999999999999994"},
         {"8", "-", "-0", "70.0"}},
        {"{\"type\":\"number\",\"multipleOf\":25,\"minimum\":-60,\"exclusiveMaximum\":125}",
         {"-50", "0", "100"},
         {"-7", "125", "1000", "3", "50.0"}},
        {"{\"oneOf\":[{\"type\":\"null\"},{\"type\":\"integer\",\"maximum\":3},{\"type\":\"number\","
         "\"exclusiveMinimum\":3}"
         ",{\"enum\":[\"a\",\"b\"]},{\"const\":\"c\"}]}",
         {"null", "3", "3.5", "\"a\"", "\"c\""},
         {"\"d\"", "2.5"}},
        {"{\"$defs\":{\"cat\":{\"type\":\"object\",\"properties\":{\"kind\":{\"const\":\"cat\"},\"lives\":{\"type\":"
         "\"integer\"}},\"required\":[\"kind\",\"lives\"]},\"dog\":{\"type\":\"object\",\"properties\":{\"kind\":{"
         "\"const\":\"dog\"},\"of\":{\"$ref\":\"#\"}},\"required\":[\"kind\"]}},\"oneOf\":[{\"$ref\":\"#/$defs/cat\"},"
         "{\"$ref\":\"#/$defs/dog\"}],\"discriminator\":{\"propertyName\":\"kind\"}}",
         {"{\"kind\":\"cat\",\"lives\":9}", "{\"kind\":\"dog\",\"of\":{\"kind\":\"dog\"}}"},
         {"{\"kind\":\"dog\",\"lives", "{\"kind\":\"cow"}},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"a\"]},{\"type\":\"object\","
         "\"properties\":{\"b\":{}},\"additionalProperties\":false}]}",
         {"{\"a\":1}", "{\"b\":1}", "{}"},
         {"{\"a\":1,\"b"}},
        {"{\"oneOf\":[{\"type\":\"array\",\"maxItems\":1},{\"type\":\"array\",\"minItems\":2,\"maxItems\":3}]}",
         {"[]", "[1,2]"},
         {"[1,2,3,4"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *schema = parse(cases[i].schema);
        grammar g = {0};
        problem p = {0};
        if (!schema_compile(schema, "f", &g, &p)) fail_msg("%s: %s", cases[i].schema, p.message);
        for (size_t k = 0; k < 12 && cases[i].whole[k]; k++) {
            json_t *value = json_loads(cases[i].whole[k], JSON_DECODE_ANY, NULL);
            if (judge(&g, cases[i].whole[k]) != 1) fail_msg("%s lacks %s", cases[i].schema, cases[i].whole[k]);
            if (!value || !json_schema_satisfied(schema, schema, value))
                fail_msg("%s is not satisfied by %s", cases[i].schema, cases[i].whole[k]);
            json_decref(value);
        }
        for (size_t k = 0; k < 14 && cases[i].not [k]; k++)
            if (judge(&g, cases[i].not [k]) == 1) fail_msg("%s takes %s", cases[i].schema, cases[i].not [k]);
        grammar_free(&g);
        json_decref(schema);
    }
}

/* Texts that patterns lead to, and those that they do not. */
static void patterns_are_followed(void **state) {
    static const struct {
        const char *pattern, *whole[8], *not [8];
    } cases[] = {
        {"^[a-z]+$", {"a", "abc"}, {"", "A", "a1", "\xC3\xA9"}},
        {"b",
         {"b", "abc",
          "\xC3\xA9"
          "b\xF0\x9F\x98\x80"},
         {"", "ac"}},
        {"^a|b$", {"a", "ax", "xb"}, {"xa", "bx", ""}},
        {"^\\d{3}-\\d{4}$", {"555-1234"}, {"555-123", "5555-1234", "555-12345"}},
        {"^a{2,}$", {"aa", "aaaaa"}, {"a", "aab"}},
        {"^a{0,2}b?$", {"", "a", "aab", "b"}, {"aaa", "bb"}},
        {"^(?:ab|cd)*e$", {"e", "abcde", "cdcde"}, {"ab", "ace"}},
        {"^(?<year>\\d\\d)\\.?$", {"12", "12."}, {"1", "12.."}},
        {"^[^a-y]$", {"z", "A", "\xC3\xA9", "\\n", "\\\"", "\\\\"}, {"a", "zz"}},
        {"^.$", {"x", "\xE2\x82\xAC"}, {"\\n", "\\r", "xx"}},
        {"^\\s\\S$", {" x", "\\tx", "\xC2\xA0x"}, {"xx", "  "}},
        {"^\\w\\W$", {"_-", "9 "}, {"--", "aa"}},
        {"^[\xC3\xA9-\xC3\xAB]+$", {"\xC3\xA9\xC3\xAB"}, {"\xC3\xAC", "e"}},
        {"^\\u00e9\\x41[\\-\\]]$",
         {"\xC3\xA9"
          "A-",
          "\xC3\xA9"
          "A]"},
         {"eA-"}},
        {"^a+?b$", {"ab", "aab"}, {"b"}},
        {"^/$", {"/"}, {"\\/"}}, /* one spelling */
        {"", {"", "anything"}, {"\x01"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *schema = json_pack("{s:s,s:s}", "type", "string", "pattern", cases[i].pattern);
        grammar g = {0};
        problem p = {0};
        if (!schema || !schema_compile(schema, "f", &g, &p)) fail_msg("%s: %s", cases[i].pattern, p.message);
        for (size_t k = 0; k < 16; k++) {
            const char *said = k < 8 ? cases[i].whole[k] : cases[i].not [k - 8];
            char document[64];
            snprintf(document, sizeof document, "\"%s\"", said ? said : "");
            if (said && (judge(&g, document) == 1) != (k < 8)) fail_msg("%s: %s", cases[i].pattern, document);
        }
        grammar_free(&g);
        json_decref(schema);
    }
}

/* Formats that programs read: whatever is drawn can be read, and the rest bind nothing. */
static void formats_are_followed(void **state) {
    static const struct {
        const char *format, *whole[5], *not [6];
    } cases[] = {
        {"date", {"2026-11-30", "1999-02-28"}, {"2026-02-30", "2026-04-31", "2026-13-01", "26-01-01"}},
        {"time", {"23:59:59Z", "00:00:00.5+01:30"}, {"24:00:00Z", "12:60:00Z", "12:00:00"}},
        {"date-time", {"2026-11-30T20:15:00Z"}, {"2026-11-30", "2026-11-30 20:15:00Z"}},
        {"uuid", {"01234567-89ab-cdef-0123-456789abcdef"}, {"0123456789abcdef0123456789abcdef"}},
        {"ipv4", {"127.0.0.1", "255.255.255.255"}, {"256.0.0.1", "1.2.3", "01.2.3.4"}},
        {"hostname", {"anything at all"}, {NULL}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *schema = json_pack("{s:s,s:s}", "type", "string", "format", cases[i].format);
        grammar g = {0};
        problem p = {0};
        char document[64];
        assert_true(schema_compile(schema, "f", &g, &p));
        for (size_t k = 0; k < 5 && cases[i].whole[k]; k++) {
            snprintf(document, sizeof document, "\"%s\"", cases[i].whole[k]);
            if (judge(&g, document) != 1) fail_msg("%s: %s", cases[i].format, document);
        }
        for (size_t k = 0; k < 6 && cases[i].not [k]; k++) {
            snprintf(document, sizeof document, "\"%s\"", cases[i].not [k]);
            if (judge(&g, document) == 1) fail_msg("%s: %s", cases[i].format, document);
        }
        grammar_free(&g);
        json_decref(schema);
    }
}

static void what_is_refused_is_named(void **state) {
    static const struct {
        const char *value, *field, *words;
    } cases[] = {
        {"3", "f", "must be"},
        {"{}", "f", "must be"},
        {"{\"type\":\"xml\"}", "f", "must be"},
        {"{\"type\":\"json_schema\"}", "f", "has no schema"},
        {"{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\"}}", "f", "has no schema"},
        {"[]", "f", "true or false must stand there (in the schema, at #)"},
        {"{\"type\":\"string\",\"pattern\":\"a(?=b)\"}", "f.pattern", "pattern has something that is not supported"},
        {"{\"type\":\"string\",\"pattern\":\"a\\\\bc\"}", "f.pattern", "not supported"},
        {"{\"type\":\"string\",\"pattern\":\"a^b\"}", "f.pattern", "not supported"},
        {"{\"type\":\"string\",\"pattern\":\"(a$)\"}", "f.pattern", "not supported"},
        {"{\"type\":\"string\",\"pattern\":\"(a\"}", "f.pattern", "is not a regular expression"},
        {"{\"type\":\"string\",\"pattern\":\"a)\"}", "f.pattern", "is not a regular expression"},
        {"{\"type\":\"string\",\"pattern\":\"[a\"}", "f.pattern", "is not a regular expression"},
        {"{\"type\":\"string\",\"pattern\":\"[b-a]\"}", "f.pattern", "is not a regular expression"},
        {"{\"type\":\"string\",\"pattern\":\"*a\"}", "f.pattern", "is not a regular expression"},
        {"{\"type\":\"string\",\"pattern\":\"a{3,2}\"}", "f.pattern", "is not a regular expression"},
        {"{\"type\":\"string\",\"pattern\":\"a{600}\"}", "f.pattern", "is too large"},
        {"{\"type\":\"string\",\"pattern\":\"((){999}){999}\"}", "f.pattern", "is too large"},
        {"{\"type\":\"string\",\"pattern\":\"[\\\\x00-\\\\x07]\"}", "f.pattern", "a character that no answer has"},
        {"{\"type\":\"string\",\"pattern\":\"a\",\"maxLength\":3}", "f.pattern", "beside minLength or maxLength"},
        {"{\"type\":\"string\",\"pattern\":3}", "f.pattern", "must be a string"},
        {"{\"properties\":{\"a\":{\"items\":{\"not\":{}}}}}", "f.not", "at #/properties/a/items)"},
        {"{\"oneOf\":[]}", "f.oneOf", "must be an array of schemas"},
        {"{\"oneOf\":[{},{\"type\":\"null\"}]}", "f.oneOf", "one document may satisfy both"},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "f.oneOf", "use anyOf"},
        {"{\"oneOf\":[{\"const\":1},{\"const\":1.0}]}", "f.oneOf", "use anyOf"},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"t\":{\"const\":1}}},{\"type\":\"object\",\"properties\":"
         "{\"t\":{\"const\":2}}}]}",
         "f.oneOf", "required property"},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"a\"]},{\"type\":\"object\","
         "\"properties\":{\"b\":{}}}]}",
         "f.oneOf", "use anyOf"},
        {"{\"properties\":{\"k\":{\"oneOf\":[{\"type\":\"string\"},{\"enum\":[\"a\"]}]}}}", "f.oneOf",
         "at #/properties/k)"},
        {"{\"type\":\"object\",\"minProperties\":1}", "f.minProperties", "not supported"},
        {"{\"type\":\"array\",\"uniqueItems\":true}", "f.uniqueItems", "not supported"},
        {"{\"type\":\"number\",\"multipleOf\":0.5}", "f.multipleOf", "a whole number from 1"},
        {"{\"type\":\"integer\",\"multipleOf\":7,\"minimum\":8,\"maximum\":13}", "f", "no document satisfies"},
        {"{\"type\":\"number\",\"minimum\":0.5}", "f.minimum", "a whole number"},
        {"{\"type\":\"number\",\"maximum\":1e16}", "f.maximum", "up to 1e15"},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":true}", "f.exclusiveMinimum", "a number"},
        {"{\"type\":\"integer\",\"minimum\":3,\"exclusiveMaximum\":3}", "f", "no document satisfies"},
        {"{\"type\":\"string\",\"minLength\":-1}", "f.minLength", "a whole number"},
        {"{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", "f", "no document satisfies"},
        {"{\"type\":\"array\",\"minItems\":2,\"maxItems\":1}", "f", "no document satisfies"},
        {"{\"type\":\"array\",\"minItems\":1,\"items\":false}", "f", "no document satisfies"},
        {"{\"type\":\"list\"}", "f.type", "must be object"},
        {"{\"type\":[]}", "f.type", "must be object"},
        {"{\"enum\":[]}", "f", "no document satisfies"},
        {"{\"enum\":1}", "f.enum", "must be an array"},
        {"{\"const\":\"\\u0000\"}", "f.const", "NUL"},
        {"{\"anyOf\":[]}", "f.anyOf", "must be an array of schemas"},
        {"{\"anyOf\":[false]}", "f", "no document satisfies"},
        {"{\"anyOf\":[{}],\"type\":\"object\"}", "f.anyOf", "beside other keywords"},
        {"{\"anyOf\":[{}],\"$ref\":\"#\"}", "f.$ref", "beside another"},
        {"{\"enum\":[1],\"minimum\":2}", "f.enum", "beside other keywords"},
        {"{\"allOf\":[{},{}]}", "f.allOf", "more than one"},
        {"{\"$ref\":\"#\"}", "f", "no document satisfies"},
        {"{\"$ref\":\"other.json\"}", "f.$ref", "must name a part"},
        {"{\"$ref\":\"#/$defs/a\"}", "f.$ref", "must name a part"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "f",
         "no document satisfies"},
        {"{\"properties\":[]}", "f.properties", "an object of schemas"},
        {"{\"properties\":{\"a\":1}}", "f", "at #/properties/a)"},
        {"{\"required\":[1]}", "f.required", "names"},
        {"{\"required\":[\"a\"],\"additionalProperties\":false}", "f.required", "forbids"},
        {"{\"prefixItems\":{}}", "f.prefixItems", "an array of schemas"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *value = parse(cases[i].value);
        problem p = {0};
        grammar g = {0}, *found = NULL;
        int taken = i < 5 ? format_parse(value, "f", &found, &p) : schema_compile(value, "f", &g, &p);
        if (taken || p.status != 400 || strcmp(p.field, cases[i].field) || !strstr(p.message, cases[i].words))
            fail_msg("%s: %d, %s: %s", cases[i].value, p.status, p.field, p.message);
        assert_null(found);
        grammar_free(&g);
        json_decref(value);
    }
}

/* ---- tokens ---- */

typedef struct fixture {
    il_engine *engine;
    il_tokenizer *tokenizer;
    names words;
    vocabulary vocabulary;
} fixture;

static fixture open_reader(void) {
    fixture f;
    il_config config;
    il_error error;
    assert_ok(il_engine_open(NULL, &f.engine, &error), error);
    assert_ok(il_config_load(f.engine, READER, &config, &error), error);
    assert_ok(il_tokenizer_load_for_model(f.engine, READER, &config, &f.tokenizer, &error), error);
    names_open(&f.words, f.tokenizer, &config, &(il_generation){0});
    assert_true(vocabulary_open(&f.vocabulary, &f.words));
    return f;
}

static void close_reader(fixture *f) {
    vocabulary_close(&f->vocabulary);
    il_tokenizer_close(f->tokenizer);
    il_engine_close(f->engine);
}

static uint32_t next_number(uint32_t *seed) {
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* A schema of any kind, which a document can satisfy. */
static json_t *random_schema(uint32_t *seed, int depth) {
    static const char *const leaves[] = {"{\"type\":\"string\"}",
                                         "{\"type\":\"string\",\"minLength\":1,\"maxLength\":4}",
                                         "{\"type\":\"integer\"}",
                                         "{\"type\":\"integer\",\"minimum\":-37,\"maximum\":1250}",
                                         "{\"type\":\"number\",\"exclusiveMinimum\":-2,\"maximum\":17}",
                                         "{\"type\":[\"boolean\",\"null\"]}",
                                         "{\"enum\":[\"red\",\"reddish\",\"a\\\"b\",17,null]}",
                                         "{\"type\":\"number\"}",
                                         "{\"const\":[1,\"x\"]}",
                                         "{\"type\":\"integer\",\"multipleOf\":12,\"minimum\":-100}",
                                         "{\"type\":\"string\",\"pattern\":\"^([a-c]{2,4}|x+-[0-9]{3})*$\"}",
                                         "{\"type\":\"string\",\"pattern\":\"ab|[x-z]\\\"?$\"}",
                                         "{\"oneOf\":[{\"type\":\"null\"},{\"type\":\"string\",\"maxLength\":3}]}",
                                         "{\"$ref\":\"#/$defs/tree\"}",
                                         "{}"};
    static const char *const keys[] = {"a", "ab", "b", "\xC3\xA9", "a b", "\"", "name"};
    uint32_t kind = next_number(seed) % 5;
    if (!depth || kind < 2) return parse(leaves[next_number(seed) % (sizeof leaves / sizeof *leaves)]);
    json_t *schema = json_object();
    if (kind == 2) {
        json_t *members = json_array();
        for (uint32_t n = 1 + next_number(seed) % 3; n; n--)
            json_array_append_new(members, random_schema(seed, depth - 1));
        json_object_set_new(schema, "anyOf", members);
    } else if (kind == 3) {
        json_object_set_new(schema, "type", json_string("array"));
        json_object_set_new(schema, "items", random_schema(seed, depth - 1));
        json_object_set_new(schema, "minItems", json_integer(next_number(seed) % 3));
        json_object_set_new(schema, "maxItems", json_integer(2 + next_number(seed) % 3));
    } else {
        json_t *properties = json_object(), *required = json_array();
        for (uint32_t n = next_number(seed) % 5; n; n--) {
            const char *name = keys[next_number(seed) % 7];
            json_object_set_new(properties, name, random_schema(seed, depth - 1));
            if (next_number(seed) % 2) json_array_append_new(required, json_string(name));
        }
        json_object_set_new(schema, "type", json_string("object"));
        json_object_set_new(schema, "properties", properties);
        json_object_set_new(schema, "required", required);
        if (next_number(seed) % 3 == 0)
            json_object_set_new(schema, "additionalProperties", random_schema(seed, depth - 1));
    }
    return schema;
}

/* One that may come next, any with the same chance, or one with a quote, brace or bracket, so that an end is found. -1:
 * none. */
static int32_t choose(const fixture *f, const uint64_t *tokens, int ending, uint32_t *seed) {
    int32_t n = (int32_t)f->vocabulary.n, from = (int32_t)(next_number(seed) % (uint32_t)n), any = -1;
    for (int32_t i = 0; i < n; i++) {
        int32_t t = (from + i) % n;
        const char *bytes = f->vocabulary.bytes + f->vocabulary.begin[t];
        if (!(tokens[t / 64] >> t % 64 & 1)) continue;
        if (!ending || (f->vocabulary.begin[t + 1] - f->vocabulary.begin[t] == 1 && strchr("]}\"", bytes[0]))) return t;
        if (any < 0) any = t;
    }
    return any;
}

/* Whatever tokens are drawn, what ends is JSON and satisfies the schema; something may always come; and the tokens are
 * those whose bytes can go on, each looked at alone. */
static void random_documents_satisfy_random_schemas(void **state) {
    enum { SCHEMAS = 300, TOKENS = 400 };
    fixture f = open_reader();
    uint32_t seed = 1;
    int ended = 0;
    (void)state;
    for (int k = 0; k < SCHEMAS; k++) {
        json_t *schema = random_schema(&seed, 3);
        json_object_set_new(schema, "$defs",
                            parse("{\"tree\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},"
                                  "\"of\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/tree\"}}},"
                                  "\"required\":[\"of\"]}}"));
        grammar g = {0};
        problem p = {0};
        text document = {0};
        char *printed = json_dumps(schema, 0);
        if (!schema_compile(schema, "f", &g, &p)) fail_msg("%s: %s", printed, p.message);
        constraint *c = constraint_open(&g, &f.vocabulary);
        assert_non_null(c);
        for (int i = 0; i < TOKENS && !constraint_ended(c); i++) {
            const uint64_t *tokens = constraint_tokens(c);
            assert_non_null(tokens);
            if (i == k % 8) { /* the slow way */
                for (size_t t = 0; t < f.vocabulary.n; t++) {
                    automaton *copy = automaton_open(&g);
                    size_t n = f.vocabulary.begin[t + 1] - f.vocabulary.begin[t];
                    assert_true(copy && automaton_read(copy, document.data, document.bytes) == 1);
                    int taken = n && automaton_read(copy, f.vocabulary.bytes + f.vocabulary.begin[t], n) == 1;
                    automaton_close(copy);
                    if (taken != (int)(tokens[t / 64] >> t % 64 & 1))
                        fail_msg("%s: token %zu after %.*s", printed, t, (int)document.bytes, document.data);
                    t += 12; /* a sample of them, another one each time */
                }
            }
            int32_t token = choose(&f, tokens, i > 8 && next_number(&seed) % 4, &seed);
            if (token < 0 || (constraint_complete(c) && i > 20)) break;
            assert_int_equal(constraint_read(c, token), 1);
            text_add(&document, f.vocabulary.bytes + f.vocabulary.begin[token],
                     f.vocabulary.begin[token + 1] - f.vocabulary.begin[token]);
        }
        if (constraint_complete(c)) {
            json_t *value = json_loadb(document.data, document.bytes, JSON_DECODE_ANY, NULL);
            if (!value || !json_schema_satisfied(schema, schema, value))
                fail_msg("%s: %.*s", printed, (int)document.bytes, document.data);
            json_decref(value);
            ended++;
        }
        constraint_close(c);
        grammar_free(&g);
        free(printed);
        text_free(&document);
        json_decref(schema);
    }
    close_reader(&f);
    if (ended < SCHEMAS * 9 / 10) fail_msg("only %d documents were ended", ended);
}

/* A run through more states than are kept gives the same tokens as one that has just arrived where it is. */
static void forgetting_changes_nothing(void **state) {
    fixture f = open_reader();
    json_t *schema =
        parse("{\"type\":\"array\",\"minItems\":99,\"items\":{\"type\":\"object\",\"properties\":{\"n\":{\"type\":"
              "\"integer\","
              "\"minimum\":-5000,\"maximum\":987654},\"s\":{\"type\":\"string\",\"minLength\":30,\"maxLength\":300}},"
              "\"required\":[\"n\",\"s\"]}}");
    grammar g = {0};
    problem p = {0};
    text document = {0};
    uint32_t seed = 5;
    unsigned cleared = 0;
    (void)state;
    assert_true(schema_compile(schema, "f", &g, &p));
    automaton *a = automaton_open(&g);
    uint64_t *set = malloc(2 * f.vocabulary.words * sizeof *set), *fresh = set + f.vocabulary.words;
    assert_true(a && set);
    for (int i = 0; i < 1500; i++) {
        assert_true(vocabulary_fill(&f.vocabulary, a, set));
        if (automaton_cleared(a) != cleared) {
            cleared = automaton_cleared(a);
            automaton *b = automaton_open(&g);
            assert_true(b && automaton_read(b, document.data, document.bytes) == 1);
            assert_true(vocabulary_fill(&f.vocabulary, b, fresh));
            assert_memory_equal(fresh, set, f.vocabulary.words * sizeof *set);
            automaton_close(b);
        }
        int32_t token = choose(&f, set, next_number(&seed) % 8 == 0, &seed);
        const char *bytes = f.vocabulary.bytes + f.vocabulary.begin[token];
        size_t n = f.vocabulary.begin[token + 1] - f.vocabulary.begin[token];
        text_add(&document, bytes, n);
        assert_int_equal(automaton_read(a, bytes, n), 1);
        if (automaton_ended(a)) break;
    }
    if (cleared < 2) fail_msg("it was cleared %u times", cleared);
    automaton_close(a);
    free(set);
    text_free(&document);
    grammar_free(&g);
    json_decref(schema);
    close_reader(&f);
}

/* Arrays and objects end before they are too deep, and schemas are of bounded size. */
static void depth_and_size_are_bounded(void **state) {
    grammar g = {0};
    problem p = {0};
    char deep[400] = "";
    (void)state;
    json_t *schema = parse("{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}");
    assert_true(schema_compile(schema, "f", &g, &p));
    for (int i = 0; i < GRAMMAR_DEPTH_MAX; i++) strcat(deep, "[");
    assert_int_equal(judge(&g, deep), 0);
    strcat(deep, "[");
    assert_int_equal(judge(&g, deep), -1);
    grammar_free(&g);
    json_decref(schema);

    schema = json_object();
    json_t *properties = json_object();
    for (int i = 0; i <= GRAMMAR_PROPERTIES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        json_object_set_new(properties, name, json_true());
    }
    json_object_set_new(schema, "properties", properties);
    assert_false(schema_compile(schema, "f", &g, &p));
    assert_non_null(strstr(p.message, "more than 256 names"));
    grammar_free(&g);
    json_decref(schema);

    schema = json_object();
    properties = json_array();
    for (int i = 0; i < GRAMMAR_NODES_MAX; i++) json_array_append_new(properties, json_object());
    json_object_set_new(schema, "anyOf", properties);
    p = (problem){0};
    assert_false(schema_compile(schema, "f", &g, &p));
    assert_non_null(strstr(p.message, "too many parts"));
    grammar_free(&g);
    json_decref(schema);
}

/* One that goes on in hundreds of ways at once costs a bounded time, and ends all the same. */
static void wide_schemas_end(void **state) {
    fixture f = open_reader();
    json_t *schema = json_object(), *members = json_array();
    grammar g = {0};
    problem p = {0};
    text document = {0};
    uint32_t seed = 2;
    (void)state;
    for (int i = 0; i < 1500; i++)
        json_array_append_new(members, json_pack("{s:s,s:{s:s,s:i},s:i}", "type", "array", "items", "type", "string",
                                                 "maxLength", 3 + i % 700, "maxItems", 1 + i));
    json_object_set_new(schema, "anyOf", members);
    assert_true(schema_compile(schema, "f", &g, &p));
    constraint *c = constraint_open(&g, &f.vocabulary);
    for (int i = 0; i < 400 && !constraint_ended(c); i++) {
        const uint64_t *tokens = constraint_tokens(c);
        int32_t token = tokens ? choose(&f, tokens, i > 4, &seed) : -1;
        assert_true(token >= 0);
        assert_int_equal(constraint_read(c, token), 1);
        text_add(&document, f.vocabulary.bytes + f.vocabulary.begin[token],
                 f.vocabulary.begin[token + 1] - f.vocabulary.begin[token]);
    }
    json_t *value = json_loadb(document.data, document.bytes, 0, NULL);
    assert_true(constraint_ended(c) && value && json_schema_satisfied(schema, schema, value));
    json_decref(value);
    constraint_close(c);
    text_free(&document);
    grammar_free(&g);
    json_decref(schema);
    close_reader(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_told_apart),
        cmocka_unit_test(patterns_are_followed),
        cmocka_unit_test(formats_are_followed),
        cmocka_unit_test(what_is_refused_is_named),
        cmocka_unit_test(random_documents_satisfy_random_schemas),
        cmocka_unit_test(forgetting_changes_nothing),
        cmocka_unit_test(depth_and_size_are_bounded),
        cmocka_unit_test(wide_schemas_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
