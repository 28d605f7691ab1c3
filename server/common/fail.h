/* fail.h: errors of what is started once, the server and its store: as the library reports them. */
#ifndef SERVER_FAIL_H
#define SERVER_FAIL_H

#include "innerloop.h"

/* Fills error, which may be NULL. Returns status. */
il_status server_fail(il_error *error, il_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
