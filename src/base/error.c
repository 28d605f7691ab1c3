/* error.c: error text, status names, version. Owns nothing. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Names in messages come from files, and lines are cut to fit: what is not printable UTF-8 becomes '?'. */
static void make_printable(char *line) {
    for (char *at = line, *end = line + strlen(line); at < end;) {
        int length = il_utf8_length(at, (size_t)(end - at)), control = (unsigned char)*at < 0x20 || *at == 0x7f;
        if (length == 0 || control) *at = '?';
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
