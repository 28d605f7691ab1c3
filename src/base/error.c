/* error.c: error text, status names, version. Owns nothing. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Length of the well-formed UTF-8 character at text, 0 when there is none. */
static int character(const unsigned char *text) {
    if (text[0] < 0x80) return 1;
    int length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    if (text[0] < 0xc2 || text[0] > 0xf4) return 0;
    for (int i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80) return 0;
    int overlong = (text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xf0 && text[1] < 0x90);
    int surrogate = text[0] == 0xed && text[1] > 0x9f, too_large = text[0] == 0xf4 && text[1] > 0x8f;
    return overlong || surrogate || too_large ? 0 : length;
}

/* Names in messages come from files, and lines are cut to fit: what is no printable UTF-8 becomes '?'. */
static void make_printable(char *line) {
    unsigned char *at = (unsigned char *)line;
    while (*at) {
        int length = character(at);
        if (length == 0 || *at < 0x20 || *at == 0x7f) *at = '?';
        at += length ? length : 1;
    }
}

static void fill(il_error *error, il_status status, const char *format, va_list args) {
    if (!error) return;
    error->status = status;
    vsnprintf(error->message, sizeof error->message, format, args);
    make_printable(error->message);
}

il_status il_fail(il_error *error, il_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fill(error, status, format, args);
    va_end(args);
    return status;
}

il_status il_fail_errno(il_error *error, il_status status, const char *format, ...) {
    int number = errno;
    va_list args;
    va_start(args, format);
    fill(error, status, format, args);
    va_end(args);
    if (error) {
        size_t used = strlen(error->message);
        char text[128];
        snprintf(error->message + used, sizeof error->message - used, ": %s", strerror_r(number, text, sizeof text));
    }
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
