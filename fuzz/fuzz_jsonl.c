/* fuzz_jsonl.c: any bytes as a file of documents, by every format. Documents of JSON are UTF-8, none come from a file
 * that is refused for having none, and however the bytes arrive the documents are the same. */
#include <stdlib.h>

#include "base/utf8.h"
#include "bytes.h"
#include "innerloop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

typedef struct outcome {
    il_status status;
    uint64_t hash, documents;
} outcome;

static void add(outcome *o, const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) o->hash = (o->hash ^ (unsigned char)text[i]) * 1099511628211u;
}

static outcome read_all(il_engine *engine, const uint8_t *data, size_t bytes, const char *name,
                        il_documents_options options, size_t step, int parts) {
    fuzz_bytes input = {data, bytes, step};
    il_error error = {IL_OK, ""};
    il_documents *documents;
    il_document document;
    outcome o = {.hash = 14695981039346656037u};
    options.read = fuzz_bytes_read;
    options.user = &input;
    o.status = il_documents_open(engine, name, &options, &documents, &error);
    int json = o.status == IL_OK && il_documents_format(documents) != IL_FORMAT_TEXT;
    while (o.status == IL_OK) {
        o.status =
            parts ? il_documents_part(documents, &document, &error) : il_documents_next(documents, &document, &error);
        if (o.status != IL_OK) break;
        for (size_t at = 0; json && at < document.bytes;) {
            int length = il_utf8_length(document.text + at, document.bytes - at);
            must(length > 0);
            at += (size_t)length;
        }
        if (document.begins) o.documents++;
        add(&o, document.text, document.bytes);
        for (int i = 0; i < 2; i++)
            if (document.also[i]) add(&o, document.also[i], strlen(document.also[i]));
    }
    must(o.status == error.status && error.message[0]);
    if (o.status == IL_ERR_END) must(o.documents > 0 || (parts && !json)); /* an empty text */
    il_documents_close(documents);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const struct {
        const char *name;
        il_documents_options options;
    } ways[] = {
        {"fuzz", {.text_bytes_max = 4096, .also = {"author", "title"}}},
        {"fuzz.jsonl", {.text_bytes_max = 4096}},
        {"fuzz.jsonl", {.format = IL_FORMAT_JSONL, .text_bytes_max = 4096, .skip_bad_lines = 1, .bad_lines_max = 2}},
        {"fuzz.json", {.format = IL_FORMAT_JSON, .text_bytes_max = 4096, .skip_bad_lines = 1}},
    };
    static il_engine *engine; /* for the whole run */
    il_engine_options options;
    il_engine_options_default(&options);
    options.threads = 1;
    if (!engine) must(il_engine_open(&options, &engine, NULL) == IL_OK);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        outcome whole = read_all(engine, data, bytes, ways[i].name, ways[i].options, 0, 0);
        outcome pieces = read_all(engine, data, bytes, ways[i].name, ways[i].options, 1 + bytes % 13, 1);
        must(whole.status == pieces.status || (pieces.status == IL_ERR_END && !pieces.documents));
        if (whole.status == IL_ERR_END) must(whole.hash == pieces.hash && whole.documents == pieces.documents);
    }
    return 0;
}
