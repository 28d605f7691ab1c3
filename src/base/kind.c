/* kind.c: see kind.h. */
#include "base/kind.h"

#include "base/utf8.h"

#include <string.h>

enum { LOOKED_AT = 512 };

/* Whether it begins as text does: whole characters, and no control but those that lines need. */
static int is_text(const char *data, size_t bytes) {
    size_t end = bytes < LOOKED_AT ? bytes : LOOKED_AT;
    for (size_t at = 0; at < end;) {
        unsigned char byte = (unsigned char)data[at];
        int length = il_utf8_length(data + at, bytes - at);
        if (!length || byte == 0x7f || (byte < ' ' && !memchr("\t\n\r\f", byte, 4))) return 0;
        at += (size_t)length;
    }
    return 1;
}

const char *il_kind_of(const void *data, size_t bytes) {
    static const struct {
        size_t at;
        const char *begins;
        size_t bytes;
        const char *kind;
    } kinds[] = {{0, "ILC\x1a", 4, "a file compressed by innerloop"},
                 {0, "GGUF", 4, "a GGUF file"},
                 {0, "\x1f\x8b", 2, "data compressed by gzip"},
                 {0, "\x28\xb5\x2f\xfd", 4, "data compressed by zstd"},
                 {0, "\x93NUMPY", 6, "a NumPy array"},
                 {0, "\x88\xd8\x34\x01", 4, "a token shard"}, /* 20240520 */
                 {0, "\xa1\xd9\x34\x01", 4, "a token shard"}, /* 20240801 */
                 {4, "<unk>", 5, "a SentencePiece tokenizer"},
                 {8, "{", 1, IL_KIND_TENSORS}};
    if (bytes && is_text(data, bytes)) return "text";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (bytes >= kinds[i].at + kinds[i].bytes &&
            !memcmp((const char *)data + kinds[i].at, kinds[i].begins, kinds[i].bytes))
            return kinds[i].kind;
    return NULL;
}
