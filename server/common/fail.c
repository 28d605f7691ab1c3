/* fail.c: see fail.h. */
#include "common/fail.h"

#include <stdarg.h>
#include <stdio.h>

il_status server_fail(il_error *error, il_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (error) {
        error->status = status;
        vsnprintf(error->message, sizeof error->message, format, arguments);
    }
    va_end(arguments);
    return status;
}
