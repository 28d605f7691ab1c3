/* choice.h: one answer while it is being made: its tokens, their text up to a stop string, and how likely each was.
 * Knows no session and no HTTP. */
#ifndef SERVER_CHOICE_H
#define SERVER_CHOICE_H

#include "grammar/constraint.h"
#include "request/completions.h"

enum { CHOICE_ENDS = 64 };

typedef struct choice_record {
    int32_t token;
    float logprob; /* NaN: nothing predicts it */
    size_t offset; /* of its text, in characters */
} choice_record;

typedef struct choice_top {
    int32_t token;
    float logprob;
} choice_top;

typedef struct choice {
    const completion_request *request;
    const names *names;
    int32_t *tokens; /* [n], answered so far */
    size_t n;
    text text;                /* with echo that of the prompt first; the answer's follows, up to a stop string */
    size_t ends[CHOICE_ENDS]; /* of text: where it ended after the last tokens, that of token i at i mod CHOICE_ENDS */
    size_t begin;             /* where the answer's text begins */
    size_t safe, sent;        /* bytes that no stop string can take back any more; bytes that were sent */
    size_t characters;        /* of text */
    il_decoder decoder;
    constraint *constraint; /* of a request with a form; NULL: none */
    char *scratch;          /* [names->piece_bytes_max] */
    choice_record *records; /* [n_records] of logprobs: the prompt's with echo, and the answer's */
    choice_top *tops;       /* [n_records, request->logprobs] from the likeliest on */
    size_t n_records, records_sent, tokens_sent;
    double *sum;        /* [request->embeds], of the prompt's final hidden vectors so far */
    int begun, ended;   /* something was sent; so was its end */
    const char *finish; /* "length" or "stop"; NULL: it goes on */
    int whole;          /* nothing can follow its last token, which is of its text */
    int stop;           /* which stop string ended it; -1: none did */
    int32_t stop_token; /* which of stop_token_ids did; -1 */
    int mended;         /* its session was taken back to where its text ends */
    int failed;         /* for want of memory */
} choice;

/* An answer to the prompt, of which nothing has come. follows: the prompt goes on from earlier text. 0 without memory;
 * free it also then. */
int choice_open(choice *c, const completion_request *request, const names *n, const completion_prompt *prompt,
                int follows);
/* The same answer once more, before any of its tokens has come. */
int choice_copy(choice *copy, const choice *c);
void choice_free(choice *c); /* also of a zeroed one */

/* What may not come next is made as unlikely as a logit can be. */
void choice_forbid(choice *c, float *logits, int vocab_size);
/* Fills a record from the logits that predict its token, the likeliest from those [vocab_size] that can be drawn;
 * log_sum is il_log_sum_exp of all there are. */
void choice_fill(choice *c, size_t record, const float *logits, int vocab_size, float log_sum);
/* The next token. logits predicted it, as in choice_fill; they are looked at only with logprobs. */
void choice_add(choice *c, int32_t token, const float *logits, int vocab_size, float log_sum);
/* Ends it. */
void choice_finish(choice *c, const char *why);
/* How many tokens at its end are not of its text, or not as a whole: the one that stopped it, or those behind a stop
 * string and that in which it begins; 0 too where they are more than CHOICE_ENDS, or it is mended. */
size_t choice_behind(const choice *c);
/* What of its text stands in those tokens: [*bytes] up to its end. */
const char *choice_torn(const choice *c, size_t *bytes);
/* Whether there is something that can be sent. */
int choice_has_news(const choice *c);
/* All there is was sent. */
void choice_sent(choice *c);

#endif
