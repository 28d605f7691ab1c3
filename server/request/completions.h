/* completions.h: the body of POST /v1/completions, and all but the messages of POST /v1/chat/completions, as a
 * request: every field checked, its text as tokens. Knows no
 * model's state and no HTTP. */
#ifndef SERVER_COMPLETIONS_H
#define SERVER_COMPLETIONS_H

#include "grammar/format.h"
#include "innerloop.h"

enum {
    COMPLETION_PROMPTS_MAX = 2048,
    COMPLETION_CHOICES_MAX = 2048, /* prompts times n */
    COMPLETION_TOP_MAX = 20,
    COMPLETION_STOPS_MAX = 16,
    COMPLETION_STOP_BYTES_MAX = 256,
    COMPLETION_BIASES_MAX = 1024,
    COMPLETION_IGNORED_MAX = 200,
    COMPLETION_SPACE_MAX = 256 /* bytes of each word that keeps a prompt cache apart */
};

/* What a server allows. */
typedef struct completion_limits {
    size_t prompt_tokens_max;                /* of all prompts of a request */
    int tokens_max;                          /* of an answer; who asks for more gets so many */
    int n_max;                               /* choices of one prompt */
    int tokens_default, chat_tokens_default; /* of an answer that says nothing of it */
    int vocab_size;
} completion_limits;

typedef struct completion_stop {
    char bytes[COMPLETION_STOP_BYTES_MAX];
    size_t n;
} completion_stop;

typedef struct completion_bias {
    int32_t token;
    float bias;
} completion_bias;

typedef struct completion_prompt {
    const char *text; /* [bytes], the body's; NULL: it came as tokens */
    size_t bytes;
    il_tokens tokens;
    size_t mark; /* so many of them are likely to come again with others behind them; 0: not known */
} completion_prompt;

typedef struct completion_request {
    const char *field;          /* what the body calls the prompts */
    completion_prompt *prompts; /* [n_prompts] */
    size_t n_prompts;
    int embeds, base64; /* the width of the hidden vectors whose mean is asked for, 0: an answer is; and how it looks */
    int n, echo, stream, usage, usage_always;
    int logprobs; /* -1: none; else so many of the likeliest besides the token */
    int tokens_max, tokens_min;
    il_sample_options sampling;
    grammar *form; /* what an answer must be; NULL: any text */
    float presence_penalty, frequency_penalty;
    completion_bias *biases; /* [n_biases] */
    size_t n_biases;
    completion_stop *stops; /* [n_stops] */
    size_t n_stops;
    int32_t stop_tokens[COMPLETION_STOPS_MAX];
    size_t n_stop_tokens;
    int ignore_eos, include_stop, special, return_tokens;
    int continues; /* set before completion_encode: the prompts follow what a session has read, and may be empty */
    text space;    /* cache_salt and prompt_cache_key: those who differ in it use none of each other's cached prompts */
    char ignored[COMPLETION_IGNORED_MAX]; /* names of fields that mean nothing here, with commas between them */
} completion_request;

typedef enum completion_kind { COMPLETION_TEXT, COMPLETION_CHAT } completion_kind;

/* Reads the fields of body, which must stay until completion_encode. Free the request even after a problem. */
int completion_parse(const json_t *body, completion_kind kind, const completion_limits *limits,
                     completion_request *request, problem *p);
/* Turns the prompts that are text into tokens, with the one that begins a text in front (bos, -1: none) unless the
 * request says otherwise. One may come out empty, which scheduler_submit refuses where nothing stands before it. */
int completion_encode(completion_request *request, const il_tokenizer *tokenizer, int bos,
                      const completion_limits *limits, problem *p);
void completion_free(completion_request *request); /* also of a zeroed one */

/* The body's `model` is one of these names, or is not there. */
int completion_model(const json_t *body, const char *name, problem *p);
/* The prompts that the body has under that name: a string, tokens, or an array of either. */
int completion_prompts(const json_t *body, const char *field, const completion_limits *limits,
                       completion_request *request, problem *p);
/* Notes which fields of the body are none of known [n] and say something. */
void completion_ignored(const json_t *body, const char *const *known, size_t n, completion_request *request);
/* The tokens of a JSON array, which must not be empty. */
int completion_tokens(const json_t *array, const char *field, int vocab_size, size_t tokens_max, il_tokens *tokens,
                      problem *p);

#endif
