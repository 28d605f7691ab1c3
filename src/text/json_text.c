/* json_text.c: see json_text.h. */
#include "text/json_text.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <string.h>

enum { DEPTH_MAX = 128 };

il_status il_json_fail(const il_json_text *j, const char *why) {
    return il_fail(j->error, IL_ERR_FORMAT, "%s: at byte %zu: %s", j->path, j->at, why);
}

void il_json_text_free(il_json_text *j) {
    il_free(j->memory, j->unescaped);
    j->unescaped = NULL;
    j->capacity = 0;
}

int il_json_equal(il_json_span a, const char *b) { return strlen(b) == a.bytes && memcmp(a.text, b, a.bytes) == 0; }

int il_json_peek(il_json_text *j) {
    while (j->at < j->bytes) {
        char c = j->text[j->at];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r') return (unsigned char)c;
        j->at++;
    }
    return -1;
}

static il_status take(il_json_text *j, char c, const char *why) {
    if (il_json_peek(j) != c) return il_json_fail(j, why);
    j->at++;
    return IL_OK;
}

il_status il_json_enter(il_json_text *j, char bracket) {
    return take(j, bracket, bracket == '{' ? "an object is missing" : "an array is missing");
}

il_status il_json_next(il_json_text *j, char bracket, size_t i, int *more) {
    char close = bracket == '{' ? '}' : ']';
    int c = il_json_peek(j);
    *more = c != close;
    if (!*more) {
        j->at++;
        return IL_OK;
    }
    return i ? take(j, ',', "',' or a closing bracket is missing") : IL_OK;
}

/* ---- strings ---- */

static int hex4(const char *text) {
    int code = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        code = code << 4 | digit;
    }
    return code;
}

/* The character of an escape at text [bytes], behind its backslash, to out; *taken: its bytes, 0 where it is broken. */
static size_t unescape(const char *text, size_t bytes, char out[4], size_t *taken) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    *taken = 0;
    if (bytes == 0) return 0;
    const char *known = memchr(from, text[0], sizeof from - 1);
    if (known) {
        out[0] = to[known - from];
        *taken = 1;
        return 1;
    }
    if (text[0] != 'u' || bytes < 5) return 0;
    int code = hex4(text + 1), low;
    if (code < 0 || (code >= 0xDC00 && code < 0xE000)) return 0;
    if (code < 0xD800 || code >= 0xE000) {
        *taken = 5;
        return il_utf8_encode((uint32_t)code, out);
    }
    if (bytes < 11 || text[5] != '\\' || text[6] != 'u') return 0;
    low = hex4(text + 7);
    if (low < 0xDC00 || low >= 0xE000) return 0;
    *taken = 11;
    return il_utf8_encode(0x10000 + ((uint32_t)(code - 0xD800) << 10) + (uint32_t)(low - 0xDC00), out);
}

/* text [bytes] is a string without its quotes; no string grows by this. */
static il_status read_escaped(il_json_text *j, const char *text, size_t bytes, il_json_span *string) {
    void *block = j->unescaped;
    int grown = il_grow(j->memory, &block, &j->capacity, 0, bytes, 1);
    j->unescaped = block;
    if (!grown) return il_fail(j->error, IL_ERR_NOMEM, "%s: no memory for a string of %zu bytes", j->path, bytes);
    size_t used = 0, taken;
    for (size_t at = 0; at < bytes; at += taken) {
        char character[4];
        size_t n = 1;
        character[0] = text[at];
        taken = 1;
        if (text[at] == '\\') {
            n = unescape(text + at + 1, bytes - at - 1, character, &taken);
            if (!taken++) return il_json_fail(j, "a broken escape in the string that ends here");
        }
        memcpy(j->unescaped + used, character, n);
        used += n;
    }
    *string = (il_json_span){j->unescaped, used};
    return IL_OK;
}

il_status il_json_read_string(il_json_text *j, il_json_span *string) {
    IL_TRY(take(j, '"', "a string is missing"));
    size_t begins = j->at;
    int escapes = 0;
    while (j->at < j->bytes) {
        unsigned char c = (unsigned char)j->text[j->at];
        if (c == '"') {
            *string = (il_json_span){j->text + begins, j->at++ - begins};
            return escapes ? read_escaped(j, string->text, string->bytes, string) : IL_OK;
        }
        if (c < 32) return il_json_fail(j, "a control character in a string");
        int length = c < 0x80 ? 1 : il_utf8_length(j->text + j->at, j->bytes - j->at);
        if (!length) return il_json_fail(j, "a string is not UTF-8");
        if (c == '\\') {
            escapes = 1;
            if (j->at + 1 < j->bytes && (unsigned char)j->text[j->at + 1] >= 32 && (j->text[j->at + 1] & 0x80) == 0)
                length = 2;
        }
        j->at += (size_t)length;
    }
    return il_json_fail(j, "a string has no end");
}

il_status il_json_read_key(il_json_text *j, il_json_span *key) {
    IL_TRY(il_json_read_string(j, key));
    return take(j, ':', "':' is missing");
}

/* ---- others ---- */

il_status il_json_read_count(il_json_text *j, int64_t most, int64_t *count) {
    int c = il_json_peek(j);
    size_t begins = j->at;
    *count = 0;
    if (c < '0' || c > '9') return il_json_fail(j, "a number of 0 or more is missing");
    while (j->at < j->bytes && j->text[j->at] >= '0' && j->text[j->at] <= '9') {
        *count = 10 * *count + (j->text[j->at] - '0');
        if (*count > most)
            return il_fail(j->error, IL_ERR_FORMAT, "%s: at byte %zu: the number is larger than %lld", j->path, begins,
                           (long long)most);
        j->at++;
    }
    if ((j->at - begins > 1 && c == '0') || (j->at < j->bytes && memchr(".eE", j->text[j->at], 3)))
        return il_json_fail(j, "not an integer");
    return IL_OK;
}

/* Over a string, whatever is in it. */
static il_status skip_string(il_json_text *j) {
    for (j->at++; j->at < j->bytes; j->at++) {
        if (j->text[j->at] == '"') {
            j->at++;
            return IL_OK;
        }
        if (j->text[j->at] == '\\') j->at++;
    }
    j->at = j->bytes;
    return il_json_fail(j, "a string has no end");
}

il_status il_json_skip(il_json_text *j, il_json_span *value) {
    char open[DEPTH_MAX];
    int depth = 0, c = il_json_peek(j);
    size_t begins = j->at;
    if (c < 0 || memchr(",:}]", c, 4)) return il_json_fail(j, "a value is missing");
    do {
        c = il_json_peek(j);
        if (c < 0) return il_json_fail(j, "the file ends inside a value");
        if (c == '"') {
            IL_TRY(skip_string(j));
        } else if (c == '{' || c == '[') {
            if (depth == DEPTH_MAX) return il_json_fail(j, "nested too deeply");
            open[depth++] = (char)c;
            j->at++;
        } else if (c == '}' || c == ']') {
            if (open[depth - 1] != (c == '}' ? '{' : '[')) return il_json_fail(j, "brackets do not match");
            depth--;
            j->at++;
        } else if (depth && (c == ',' || c == ':')) {
            j->at++;
        } else {
            while (j->at < j->bytes && !memchr(" \n\t\r,:{}[]\"", j->text[j->at], 11)) j->at++;
        }
    } while (depth);
    *value = (il_json_span){j->text + begins, j->at - begins};
    return IL_OK;
}
