/* fuzz_jsonl.c: any bytes as .jsonl and as .jsonl.zst. Documents that come out are UTF-8, and none come from
 * a file that is refused for having none. */
#include <stdlib.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "text/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

static il_status take(void *context, const char *text, size_t bytes, il_error *error) {
    (void)error;
    for (size_t at = 0; at < bytes;) {
        int length = il_utf8_length(text + at, bytes - at);
        must(length > 0);
        at += (size_t)length;
    }
    ++*(int *)context;
    return IL_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char *const names[] = {"fuzz.jsonl", "fuzz.jsonl.zst"};
    il_allocator allocator = il_allocator_default();
    for (int i = 0; i < 2; i++) {
        int documents = 0;
        il_error error = {IL_OK, ""};
        il_status status = il_documents_parse(&allocator, names[i], data, bytes, 4096, take, &documents, &error);
        must(status == IL_OK ? documents > 0 : status == error.status && error.message[0]);
    }
    return 0;
}
