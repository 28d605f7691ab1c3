/* error.h: filling an il_error. Owns nothing; the text never leaves the caller's struct. */
#ifndef IL_BASE_ERROR_H
#define IL_BASE_ERROR_H

#include "innerloop.h"

/* Writes the status and the formatted line into error (NULL allowed) and returns the status: `return il_fail(...)`. */
il_status il_fail(il_error *error, il_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* il_fail with ": " and the text of errno (taken on entry) appended. */
il_status il_fail_errno(il_error *error, il_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* `IL_TRY(call)`: returns the status of a failed call from the calling function. */
#define IL_TRY(call)                                                                                                   \
    do {                                                                                                               \
        il_status il_try_status_ = (call);                                                                             \
        if (il_try_status_ != IL_OK) return il_try_status_;                                                            \
    } while (0)

#endif
