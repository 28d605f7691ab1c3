/* support_test.h: cmocka with the headers it needs, and checks for statuses. Include first in every test. */
#ifndef IL_SUPPORT_TEST_H
#define IL_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "innerloop.h"

/* The call succeeds; the message is shown when it does not. */
#define assert_ok(call, error)                                                                                         \
    do {                                                                                                               \
        il_status support_status_ = (call);                                                                            \
        if (support_status_ != IL_OK) fail_msg("%s: %s: %s", #call, il_status_name(support_status_), (error).message); \
    } while (0)

/* The call fails with this status, in the return value and in error, and the message holds text. */
#define assert_fails(call, expected, error, text)                                                                      \
    do {                                                                                                               \
        memset(&(error), 0, sizeof(error));                                                                            \
        il_status support_status_ = (call);                                                                            \
        if (support_status_ != (expected))                                                                             \
            fail_msg("%s: \"%s\", not \"%s\": %s", #call, il_status_name(support_status_), il_status_name(expected),   \
                     (error).message);                                                                                 \
        assert_int_equal((error).status, expected);                                                                    \
        if (!strstr((error).message, text)) fail_msg("%s: \"%s\" lacks \"%s\"", #call, (error).message, text);         \
    } while (0)

#endif
