/* error.c: error text, status names, version. Owns nothing. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum { LINE_BYTES = 6000, ROOM = sizeof((il_error *)0)->message - 1 };

/* A line that is too long loses its middle: its end says what is wrong. */
static void shorten(char *line) {
    static const char gap[] = "…";
    size_t n = strlen(line), head = ROOM / 2, from = n - (ROOM - head - (sizeof gap - 1));
    if (n <= ROOM) return;
    while (head && ((unsigned char)line[head] & 0xC0) == 0x80) head--;
    while (((unsigned char)line[from] & 0xC0) == 0x80) from++;
    memcpy(line + head, gap, sizeof gap - 1);
    memmove(line + head + sizeof gap - 1, line + from, n - from + 1);
}

/* Names in messages come from outside: a byte that is a control character's or not UTF-8 becomes \\xHH. */
static void make_printable(const char *line, char *message) {
    size_t n = 0, bytes = strlen(line), taken;
    for (size_t i = 0; i < bytes; i += taken) {
        int length = il_utf8_length(line + i, bytes - i), control = (unsigned char)line[i] < 0x20 || line[i] == 0x7f;
        int shown = length && !control;
        taken = length ? (size_t)length : 1;
        if (n + (shown ? taken : 4) > ROOM) break;
        if (shown)
            memcpy(message + n, line + i, taken);
        else
            snprintf(message + n, 5, "\\x%02X", (unsigned char)line[i]);
        n += shown ? taken : 4;
    }
    message[n] = 0;
}

/* number: of the errno whose text is appended; 0: none is. */
static void fill(il_error *error, il_status status, int number, const char *format, va_list args) {
    char line[LINE_BYTES], text[128];
    if (!error) return;
    error->status = status;
    vsnprintf(line, sizeof line - sizeof text, format, args);
    size_t n = strlen(line);
    if (number) snprintf(line + n, sizeof line - n, ": %s", strerror_r(number, text, sizeof text));
    shorten(line);
    make_printable(line, error->message);
}

il_status il_fail(il_error *error, il_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fill(error, status, 0, format, args);
    va_end(args);
    return status;
}

il_status il_fail_errno(il_error *error, il_status status, const char *format, ...) {
    int number = errno;
    va_list args;
    va_start(args, format);
    fill(error, status, number, format, args);
    va_end(args);
    return status;
}

const char *il_status_name(il_status status) {
    switch (status) {
    case IL_OK: return "ok";
    case IL_ERR_ARG: return "bad argument";
    case IL_ERR_NOMEM: return "out of memory";
    case IL_ERR_IO: return "input or output failed";
    case IL_ERR_FORMAT: return "bad format";
    case IL_ERR_UNSUPPORTED: return "unsupported";
    case IL_ERR_MISMATCH: return "mismatch";
    case IL_ERR_NONFINITE: return "non-finite number";
    case IL_ERR_CANCELLED: return "cancelled";
    case IL_ERR_END: return "end of data";
    }
    return "unknown status";
}

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
const char *il_version(void) { return TEXT(IL_VERSION_MAJOR) "." TEXT(IL_VERSION_MINOR) "." TEXT(IL_VERSION_PATCH); }
