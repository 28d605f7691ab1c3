/* stored_responses.h: responses that are kept: each is a session, whose note is the response. Response resp_X is
 * session ses_X, which a later response goes on from by a copy, so that it reads nothing again. */
#ifndef SERVER_STORED_RESPONSES_H
#define SERVER_STORED_RESPONSES_H

#include "sessions/session_paths.h"

/* GET and DELETE of /v1/responses/ID: as the functions of session_paths.h. */
int stored_responses_path(const char *path);
session_verb stored_responses_find(const char *method, const char *path, const char **allow, problem *p);
int stored_responses_at(size_t i, const char **method, char *path);
int stored_responses_read(session_request *r, const char *path, problem *p);
int stored_responses_run(const session_context *c, session_request *r, const char *id, problem *p);

/* Whether the session with this id is a response's. A copy of it is not, nor a state with another note. */
int stored_responses_is(const il_session *session, const char *id);

/* What body says by store and previous_response_id of a response's job, whose other fields were read, but not its
 * messages: as session_paths_join. */
int stored_responses_join(const session_context *c, session_request *r, const json_t *body, job *j, problem *p);

#endif
