/* fuzz_schema.c: a JSON Schema, and behind a NUL the choices of bytes: each is the next byte of a document where that
 * may be, else it says which of those that may be comes. A document that is ended so parses and satisfies the schema;
 * no state is a dead end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "grammar/automaton.h"
#include "grammar/schema.h"
#include "json_schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

/* The next byte; -1: there is none, because the document is whole. */
static int choose(automaton *a, uint8_t choice) {
    int found[256], n = 0, state = automaton_current(a);
    for (int c = 0; c < 256; c++) {
        int next = automaton_next(a, state, (unsigned char)c);
        if (next == AUTOMATON_FULL) {
            must(automaton_clear(a));
            state = automaton_current(a);
            next = automaton_next(a, state, (unsigned char)c);
        }
        must(next != AUTOMATON_FULL);
        if (next < 0) continue;
        if (c == choice) return c;
        found[n++] = c;
    }
    must(n > 0 || automaton_ended(a));
    must(!n || !automaton_ended(a));
    return n ? found[choice % n] : -1;
}

static void follow(const json_t *schema, const grammar *g, const uint8_t *choices, size_t n) {
    text document = {0};
    automaton *a = automaton_open(g);
    must(a != NULL);
    for (size_t i = 0; i < n; i++) {
        int c = choose(a, choices[i]);
        if (c < 0) break;
        char byte = (char)c;
        must(automaton_read(a, &byte, 1) == 1);
        text_add(&document, &byte, 1);
    }
    if (automaton_complete(a, automaton_current(a))) {
        json_t *value = json_loadb(document.data, document.bytes, JSON_DECODE_ANY, NULL);
        must(value && json_schema_satisfied(schema, schema, value));
        json_decref(value);
    }
    automaton_close(a);
    text_free(&document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    const uint8_t *end = bytes ? memchr(data, 0, bytes) : NULL;
    size_t n = end ? (size_t)(end - data) : bytes;
    problem p = {0};
    grammar g = {0};
    json_t *schema = json_body((const char *)data, n, 4096, &p);
    if (!schema) return 0;
    int compiled = schema_compile(schema, "response_format", &g, &p);
    must(compiled == !p.status);
    if (compiled)
        follow(schema, &g, data + n + (end != NULL), bytes - n - (end != NULL));
    else
        must(p.status == 400 && p.message[0]);
    grammar_free(&g);
    json_decref(schema);
    return 0;
}
