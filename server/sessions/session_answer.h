/* session_answer.h: how sessions look, and what is said while one reads. */
#ifndef SERVER_SESSION_ANSWER_H
#define SERVER_SESSION_ANSWER_H

#include "run/job.h"
#include "sessions/store.h"

/* Where a session stands after an answer: {"id":…}. */
void session_answer_position(const char *id, uint64_t position, uint64_t generation, text *t);
/* {"id":…, without the brace that ends it. model: its name. */
void session_answer(const store_record *record, const char *model, text *t);
/* An array with an object for each layer; null where one does not learn. */
void session_answer_layers(const il_session *session, int layers, text *t);

/* The form of a job that feeds a session (job_form), which stood at position `before`. job.session is what
 * session_answer says of it. */
void session_answer_fed(const job *j, text *t);
void session_answer_nothing(job *j, size_t index, text *t);
void session_answer_end(const job *j, text *t);
/* The event of the tokens that it has read since the last one. layers 0: without what they have learned. */
void session_answer_piece(job *j, const il_session *session, uint64_t before, int layers, text *t);

#endif
