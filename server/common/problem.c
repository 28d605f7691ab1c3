/* problem.c: see problem.h. */
#include "common/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int problem_set(problem *p, int status, const char *code, const char *field, const char *format, ...) {
    if (p->status) return 0;
    va_list arguments;
    va_start(arguments, format);
    p->status = status;
    p->code = code;
    snprintf(p->field, sizeof p->field, "%s", field ? field : "");
    vsnprintf(p->message, sizeof p->message, format, arguments);
    va_end(arguments);
    return 0;
}

static const char *type_of(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 409: return "conflict_error";
    case 429: return "rate_limit_error";
    case 500: return "server_error";
    case 503: return "unavailable_error";
    default: return "invalid_request_error";
    }
}

const char *problem_headers(const problem *p) {
    /* What was done, or will be as it is now, is not to be asked for again. */
    if (p->status == 409 || (p->status == 429 && !strcmp(p->code, "sessions_full")) ||
        (p->status == 503 && !strcmp(p->code, "not_written")))
        return "X-Should-Retry: false\r\n";
    return p->status == 503 || p->status == 429 ? "Retry-After: 1\r\n" : "";
}

void problem_print(const problem *p, text *t) {
    text_say(t, "{\"error\":{\"message\":");
    text_quote(t, p->message, strlen(p->message));
    text_print(t, ",\"type\":\"%s\",\"param\":", type_of(p->status));
    if (p->field[0])
        text_quote(t, p->field, strlen(p->field));
    else
        text_say(t, "null");
    text_print(t, ",\"code\":\"%s\"}}", p->code);
}
