/* sequence.h: one answer while it is made: its session, what that is fed next, and what is made of what comes back. One
 * that has several answers to give to its prompt (`forks`) reads the prompt, and then waits to be copied. */
#ifndef SERVER_SEQUENCE_H
#define SERVER_SEQUENCE_H

#include "run/cache.h"
#include "run/draw.h"
#include "run/job.h"

typedef enum sequence_phase {
    SEQUENCE_READS,  /* more of the prompt than its last token is to be read */
    SEQUENCE_STANDS, /* its session has read all of the prompt: what il_session_logits says is the first prediction */
    SEQUENCE_WRITES, /* `token`, the prompt's last or the answer's, is fed, and the next one drawn */
    SEQUENCE_CLOSES, /* the answer has ended; `token` is fed because the session is kept, or its hidden vector */
    SEQUENCE_MENDS,  /* what a stop string left of a token is fed, in place of that, because the session is kept */
    SEQUENCE_ENDS    /* there is nothing more to do */
} sequence_phase;

typedef struct sequence {
    job *job;
    size_t choice;
    il_session *session;
    const il_tokens *prompt;
    sequence_phase phase;
    size_t fed; /* tokens of the prompt, while it reads */
    int32_t token;
    size_t told;         /* tokens of the answer that were */
    double spoke;        /* when it gave the last of them */
    cache *cache;        /* NULL: it has nothing to do with it */
    size_t branch, mark; /* so many tokens of the prompt are worth keeping a session of; 0: not known */
    int32_t *mending;    /* [n_mending], which it owns */
    size_t n_mending;
    int forks; /* more answers to the same prompt, which will go on from copies of this session */
} sequence;

/* A sequence for the next prompt of the job that has none. 0: there is none, and the job has got a problem. */
int sequence_open(sequence *q, job *j, il_model *model, cache *c, drawer *d);
/* One for the last of the answers that q still has to give besides its own, at the prompt's end. 0: as above. */
int sequence_fork(sequence *q, sequence *copy);
/* Closes the session, or hands it to the job or the cache that keeps it. */
void sequence_close(sequence *q);

/* How many tokens of the prompt it may read at once, while it reads: a session is kept behind them, or it is the
 * prompt's end. */
size_t sequence_piece(const sequence *q);
/* Whether the predictions of its prompt are asked for. */
int sequence_wants_prompt(const sequence *q);
/* What its session was fed gives: the next token from logits [vocab_size], which are changed; or while it reads, with
 * its prompt's predictions asked for, the record of the row-th token that was fed now. Touches only the choice: rows of
 * one sequence, and sequences of one job, may be drawn on several threads at once. 0: a number is not finite. */
int sequence_draw(const sequence *q, size_t row, float *logits, drawer *d);
/* Adds the final hidden vectors [n, embeds] of what its session was fed. */
void sequence_add_hidden(const sequence *q, size_t n, const float *hidden);
/* Moves on by the n tokens that its session was fed, n 0 where it stands, after everything was drawn. */
void sequence_move(sequence *q, size_t n);
void sequence_nonfinite(const sequence *q);

#endif
