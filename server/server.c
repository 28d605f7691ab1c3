/* server.c: see server.h. Its beginning and its end. */
#include "server.h"

#include "common/fail.h"
#include "common/work.h"
#include "net/access.h"
#include "routes.h"
#include "serving.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    TOKENS_DEFAULT = 16,
    CHAT_TOKENS_DEFAULT = 1024,  /* of an answer, as everywhere */
    BODIES = 4,                  /* as many of the largest bodies are held at once */
    STATE_BYTES_BESIDE = 8 << 20 /* in a state file besides the arrays of the state: its header and a note */
};

void server_options_default(server_options *options) {
    *options = (server_options){.host = "127.0.0.1",
                                .port = 8080,
                                .streams_max = 64,
                                .queue_max = 256,
                                .connections_max = 512,
                                .body_bytes_max = 32 << 20,
                                .prompt_tokens_max = 262144,
                                .cache_bytes = 1 << 30,
                                .tokens_max = 4096,
                                .sessions_max = 1000,
                                .sessions_bytes = 1 << 30,
                                .request_seconds = 600,
                                .idle_seconds = 60};
}

/* Copies what the caller may let go. */
static int copy_strings(server *s, const server_options *o) {
    s->name = strdup(o->name);
    s->keys = o->keys ? strdup(o->keys) : NULL;
    s->names = calloc(o->n_names + 1, sizeof *s->names);
    s->origins = calloc(o->n_origins + 1, sizeof *s->origins);
    s->cors = calloc(o->n_origins + 1, sizeof *s->cors);
    int copied = s->name && s->names && s->origins && s->cors && (s->keys || !o->keys);
    for (size_t i = 0; copied && i < o->n_names; i++) copied = (s->names[i] = strdup(o->names[i])) != NULL;
    for (size_t i = 0; copied && i < o->n_origins; i++)
        copied = (s->origins[i] = strdup(o->origins[i])) != NULL &&
                 asprintf(&s->cors[i],
                          "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\n"
                          "Access-Control-Expose-Headers: ETag, Retry-After, X-Innerloop-Ignored, X-Request-Id\r\n",
                          o->origins[i]) > 0;
    if (copied && o->streams_per_key_max) {
        s->places = calloc(access_keys(o->keys), sizeof *s->places);
        copied = s->places != NULL;
    }
    return copied;
}

static double bytes_per_token(const il_config *config) {
    enum { FAR = 1 << 20 };
    return (il_config_state_bytes_per_token(config, 2 * FAR) - il_config_state_bytes_per_token(config, FAR)) / FAR;
}

/* Of any state that a session here can have: what it is now, and what grows with each token. */
static uint64_t state_bytes_max(const server *s) {
    il_session *session;
    il_session_stats stats = {0};
    if (!il_session_open(s->options.model, NULL, &session, NULL)) il_session_get_stats(session, &stats);
    il_session_close(session);
    return stats.state_bytes + STATE_BYTES_BESIDE +
           (uint64_t)(s->bytes_per_token * (double)s->options.prompt_tokens_max);
}

static il_status start_sessions(server *s, il_error *error) {
    sessions_options with = {.model = s->options.model,
                             .work = s->work,
                             .count_max = s->options.sessions_max,
                             .bytes_max = s->options.sessions_bytes,
                             .note = s->options.note,
                             .user = s->options.user};
    if (s->options.store) {
        il_status status = store_open(s->options.store, s->options.model, &with.store, error);
        if (status) return status;
    }
    s->sessions = sessions_start(&with);
    if (!s->sessions) return server_fail(error, IL_ERR_NOMEM, "no memory or no threads for the server");
    s->session_paths = (session_context){.model = s->options.model,
                                         .tokenizer = s->options.tokenizer,
                                         .words = &s->tokens,
                                         .limits = &s->limits,
                                         .name = s->name,
                                         .fingerprint = s->fingerprint,
                                         .sessions = s->sessions,
                                         .schedule = paths_schedule,
                                         .server = s,
                                         .state_bytes_max = state_bytes_max(s)};
    return IL_OK;
}

il_status server_start(const server_options *options, server **started, il_error *error) {
    char why[256];
    *started = NULL;
    if (!access_is_address(options->host))
        return server_fail(error, IL_ERR_ARG, "'%s' is not a numeric address", options->host);
    if (options->keys && !access_keys(options->keys))
        return server_fail(error, IL_ERR_ARG, "the file of keys has no key");
    if (!options->keys && !options->open_to_all && !access_is_loopback(options->host))
        return server_fail(
            error, IL_ERR_ARG,
            "%s is an address that others reach: ask them for a key (--api-key-file FILE), or let everybody in "
            "(--open)",
            options->host);
    if (options->streams_per_key_max && !options->keys)
        return server_fail(error, IL_ERR_ARG, "--max-streams-per-key counts by key: give --api-key-file FILE too");
    for (size_t i = 0; i < options->n_origins; i++)
        if (!access_is_origin(options->origins[i]))
            return server_fail(error, IL_ERR_ARG,
                               "'%s' is not an origin: write it as browsers do, 'https://example.org' or "
                               "'http://localhost:3000', without a path",
                               options->origins[i]);
    server *s = calloc(1, sizeof *s);
    if (!s) return server_fail(error, IL_ERR_NOMEM, "no memory for the server");
    s->options = *options;
    if (!copy_strings(s, options)) {
        server_stop(s, NULL);
        return server_fail(error, IL_ERR_NOMEM, "no memory for the server");
    }
    memcpy(s->fingerprint, "il-", 3);
    il_model_fingerprint(options->model, s->fingerprint + 3);
    names_open(&s->tokens, options->tokenizer, il_model_config(options->model), options->generation);
    s->bytes_per_token = bytes_per_token(il_model_config(options->model));
    s->limits = (completion_limits){.prompt_tokens_max = options->prompt_tokens_max,
                                    .tokens_max = options->tokens_max,
                                    .n_max = options->streams_max < 128 ? options->streams_max : 128,
                                    .tokens_default = TOKENS_DEFAULT,
                                    .chat_tokens_default = CHAT_TOKENS_DEFAULT,
                                    .vocab_size = il_model_config(options->model)->vocab_size};
    if (getrandom(&s->instance, sizeof s->instance, 0) != sizeof s->instance) s->instance = (uint64_t)time(NULL);
    if (!vocabulary_open(&s->vocabulary, &s->tokens)) {
        server_stop(s, NULL);
        return server_fail(error, IL_ERR_NOMEM, "no memory for the server");
    }
    s->tokens.vocabulary = &s->vocabulary;
    s->work = work_start();
    scheduler_options scheduling = {.engine = options->engine,
                                    .model = options->model,
                                    .work = s->work,
                                    .tokens = s->tokens.vocab_size,
                                    .streams_max = options->streams_max,
                                    .queue_max = options->queue_max,
                                    .cache_bytes = options->cache_bytes,
                                    .seconds_max = options->request_seconds};
    if (s->work) s->scheduler = scheduler_start(&scheduling);
    if (!s->scheduler) {
        server_stop(s, NULL);
        return server_fail(error, IL_ERR_NOMEM, "no memory or no threads for the server");
    }
    il_status status = start_sessions(s, error);
    if (status) {
        server_stop(s, NULL);
        return status;
    }
    http_options listening = {.host = options->host,
                              .port = options->port,
                              .tls_certificate = options->tls_certificate,
                              .tls_key = options->tls_key,
                              .connections_max = options->connections_max,
                              .body_bytes_max = options->body_bytes_max,
                              .bodies_bytes_max = BODIES * options->body_bytes_max,
                              .idle_seconds = options->idle_seconds,
                              .request = routes_on_request,
                              .upload = routes_on_upload,
                              .wake = routes_on_wake,
                              .user = s};
    if (http_start(&listening, &s->http, why, sizeof why)) {
        server_stop(s, NULL);
        return server_fail(error, IL_ERR_IO, "%s", why);
    }
    *started = s;
    return IL_OK;
}

uint16_t server_port(const server *s) { return http_port(s->http); }

int server_drain(server *s) {
    atomic_store(&s->draining, 1);
    return scheduler_idle(s->scheduler) && !atomic_load(&s->preparing);
}

il_status server_stop(server *s, il_error *error) {
    problem lost = {0};
    if (!s) return IL_OK;
    atomic_store(&s->draining, 1);
    if (s->sessions) sessions_drain(s->sessions);
    while (atomic_load(&s->preparing)) usleep(1000); /* then nothing is submitted any more */
    if (s->scheduler) scheduler_stop(s->scheduler);  /* what it has is handed to the work, or to HTTP */
    work_stop(s->work);
    sessions_stop(s->sessions, &lost); /* what has changed is written */
    http_stop(s->http);
    scheduler_free(s->scheduler); /* of these two HTTP has told until now how they fare */
    sessions_free(s->sessions);
    for (size_t i = 0; s->names && i < s->options.n_names; i++) free(s->names[i]);
    vocabulary_close(&s->vocabulary);
    free(s->names);
    for (size_t i = 0; s->origins && s->cors && i < s->options.n_origins; i++) {
        free(s->origins[i]);
        free(s->cors[i]);
    }
    free(s->origins);
    free(s->cors);
    free(s->places);
    free(s->name);
    free(s->keys);
    free(s);
    if (!lost.status) return IL_OK;
    if (error) {
        error->status = IL_ERR_IO;
        snprintf(error->message, sizeof error->message, "%s", lost.message);
    }
    return IL_ERR_IO;
}
