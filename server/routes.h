/* routes.h: from the path of a request to who answers it. */
#ifndef SERVER_ROUTES_H
#define SERVER_ROUTES_H

#include "net/http.h"

/* Every method and path that is answered, as the OpenAPI file must have them; 0: there are not so many. path [64]. */
int routes_at(size_t i, const char **method, char *path);
/* What http.h calls. */
void routes_on_request(void *context, http_exchange *e);
int routes_on_upload(void *context, http_exchange *e, uint64_t bytes, int *refused);
void routes_on_wake(void *context);

#endif
