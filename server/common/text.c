/* text.c: see text.h. */
#include "common/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_free(text *t) {
    free(t->data);
    *t = (text){0};
}

static int make_room(text *t, size_t bytes) {
    if (t->failed) return 0;
    if (t->capacity - t->bytes >= bytes) return 1;
    size_t capacity = t->capacity ? t->capacity : 256;
    while (capacity - t->bytes < bytes && capacity <= SIZE_MAX / 4) capacity *= 2;
    char *larger = capacity - t->bytes < bytes ? NULL : realloc(t->data, capacity);
    if (!larger) {
        t->failed = 1;
        return 0;
    }
    t->data = larger;
    t->capacity = capacity;
    return 1;
}

void text_add(text *t, const void *data, size_t bytes) {
    if (!bytes || !make_room(t, bytes)) return;
    memcpy(t->data + t->bytes, data, bytes);
    t->bytes += bytes;
}

void text_say(text *t, const char *words) { text_add(t, words, strlen(words)); }

void text_print(text *t, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int n = vsnprintf(NULL, 0, format, arguments);
    if (n > 0 && make_room(t, (size_t)n + 1)) {
        vsnprintf(t->data + t->bytes, (size_t)n + 1, format, again);
        t->bytes += (size_t)n;
    }
    va_end(again);
    va_end(arguments);
}

size_t text_character(const char *data, size_t bytes) {
    const unsigned char *c = (const unsigned char *)data;
    if (!bytes) return 0;
    if (c[0] < 0x80) return 1;
    size_t n = c[0] >= 0xC2 && c[0] < 0xE0 ? 2 : c[0] >= 0xE0 && c[0] < 0xF0 ? 3 : c[0] >= 0xF0 && c[0] < 0xF5 ? 4 : 0;
    if (!n || n > bytes) return 0;
    for (size_t i = 1; i < n; i++)
        if ((c[i] & 0xC0) != 0x80) return 0;
    if (c[0] == 0xE0 && c[1] < 0xA0) return 0; /* longer than it need be */
    if (c[0] == 0xED && c[1] > 0x9F) return 0; /* half of a pair of UTF-16 */
    if (c[0] == 0xF0 && c[1] < 0x90) return 0;
    if (c[0] == 0xF4 && c[1] > 0x8F) return 0;
    return n;
}

void text_quote(text *t, const char *data, size_t bytes) {
    text_say(t, "\"");
    for (size_t at = 0; at < bytes;) {
        size_t plain = at;
        while (plain < bytes) {
            unsigned char c = (unsigned char)data[plain];
            size_t n = c < 0x20 || c == '"' || c == '\\' || c == 0x7F ? 0 : text_character(data + plain, bytes - plain);
            if (!n) break;
            plain += n;
        }
        text_add(t, data + at, plain - at);
        at = plain;
        if (at == bytes) break;
        unsigned char c = (unsigned char)data[at++];
        if (c == '"' || c == '\\')
            text_print(t, "\\%c", c);
        else if (c == '\n')
            text_say(t, "\\n");
        else if (c < 0x80)
            text_print(t, "\\u%04x", c);
        else
            text_say(t, "\xEF\xBF\xBD");
    }
    text_say(t, "\"");
}

void text_logprob(text *t, float logprob) {
    if (isfinite(logprob))
        text_print(t, "%.9g", (double)logprob);
    else
        text_say(t, "null");
}

void text_drop(text *t, size_t bytes) {
    t->bytes -= bytes;
    if (t->bytes) memmove(t->data, t->data + bytes, t->bytes);
}
