/* server.h: a model served over HTTP: OpenAI's completions, and what clients ask besides. The whole interface of this
 * folder; it prints nothing and ends no process. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "innerloop.h"

typedef struct server server;

typedef struct server_options {
    il_engine *engine;
    il_model *model; /* these five must outlive the server */
    const il_tokenizer *tokenizer;
    const il_chat *chat;             /* NULL: the model has no chat template */
    const il_generation *generation; /* which tokens end a text */
    const char *name;                /* of the model, as clients call it */
    const char *host;                /* a numeric address */
    uint16_t port;                   /* 0: any that is free */
    const char *keys;                /* a text of one API key a line, "#" begins a comment; NULL: none is asked for */
    const char *tls_certificate, *tls_key; /* texts of PEM, both or neither; NULL: no TLS */
    const char *const *origins;            /* [n_origins] whose pages may ask from browsers */
    size_t n_origins;
    int open_to_all;          /* allows an address that others reach without keys */
    const char *const *names; /* [n_names] by which it may be called besides localhost and addresses */
    size_t n_names;
    int streams_max, queue_max; /* answers at once; requests that wait */
    int streams_per_key_max;    /* answers at once of one API key; 0: as many as of all */
    unsigned connections_max;
    size_t body_bytes_max, prompt_tokens_max;
    int tokens_max;                        /* of an answer */
    size_t cache_bytes;                    /* of states that have read the beginnings of prompts; 0: none are kept */
    const char *store;                     /* where sessions are kept; NULL: in memory only */
    uint64_t sessions_max, sessions_bytes; /* sessions at once; bytes of their states in memory */
    double request_seconds;                /* that a request may take */
    unsigned idle_seconds;                 /* that a peer may do nothing */
    /* A line for whoever runs the server: what clients are not told, for it names files. On any thread; NULL: none is
     * written. */
    void (*note)(void *user, const char *message);
    void *user;
} server_options;

void server_options_default(server_options *options);
/* IL_ERR_ARG when the options ask for what must not be, IL_ERR_IO when it cannot listen. */
il_status server_start(const server_options *options, server **started, il_error *error);
uint16_t server_port(const server *s);
/* Takes no new requests, and says whether those it has are all answered. */
int server_drain(server *s);
/* Ends what is left, with an error to each client. IL_ERR_IO when sessions that have changed cannot be written. */
il_status server_stop(server *s, il_error *error); /* NULL allowed, for either */

#endif
