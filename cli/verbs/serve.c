/* serve.c: `innerloop serve`: a model over HTTP (server/), until a signal ends it: what is being answered is finished
 * first. */
#include "bundled_model.h"
#include "command.h"
#include "files.h"
#include "interrupt.h"
#include "output.h"
#include "server.h"
#include "verbs.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 100, KEYS_BYTES_MAX = 1 << 20 /* of a file of keys or of PEM */ };

typedef struct serve_options {
    const char *model, *dtype, *alias, *host, *keys, *template, *tls_certificate, *tls_key, *store;
    arg_list names, origins;
    int open;
    uint64_t port, streams, streams_per_key, queue, connections, body, prompt_tokens, tokens, idle_seconds;
    uint64_t sessions, sessions_bytes, cache;
    double request_seconds, drain_seconds;
} serve_options;

/* The last part of the model's directory, without a slash at its end; released by free. */
static char *model_name(const char *dir) {
    size_t end = strlen(dir);
    while (end > 1 && dir[end - 1] == '/') end--;
    size_t begin = end;
    while (begin && dir[begin - 1] != '/') begin--;
    return cli_format("%.*s", (int)(end - begin), dir + begin);
}

/* What is served; the last four are the verb's to release. */
typedef struct served {
    char *name;
    il_model *model;
    il_tokenizer *tokenizer;
    il_chat *chat; /* NULL: no template */
    il_generation generation;
} served;

static il_status load(cli_command *command, const serve_options *options, served *s) {
    cli_bundled_models models;
    il_error *error = &command->error;
    il_status status = cli_bundled_models_find(options->model, &models, error);
    if (status) return status;
    const char *dir = models.dirs[0];
    s->name = options->alias ? cli_format("%s", options->alias) : model_name(dir);
    status = cli_command_load(command, options->model, &s->model, &s->tokenizer);
    if (!status) status = cli_command_needs_text(command, s->tokenizer);
    const il_config *config = status ? NULL : il_model_config(s->model);
    if (!status) status = il_generation_load(s->tokenizer, config, dir, &s->generation, error);
    if (!status) {
        status = il_chat_open(s->tokenizer, config, dir, options->template, &s->chat, error);
        if (status == IL_ERR_UNSUPPORTED && !options->template) status = IL_OK; /* it has none that is known */
    }
    cli_bundled_models_free(&models);
    return status;
}

static void announce(const cli_command *command, const serve_options *options, const char *name, unsigned port) {
    int v6 = strchr(options->host, ':') != NULL;
    char *url = cli_format("http%s://%s%s%s:%u", options->tls_key ? "s" : "", v6 ? "[" : "", options->host,
                           v6 ? "]" : "", port);
    if (command->spec->json) {
        cli_json_print(json_pack("{s:o, s:o, s:I}", "url", cli_json_string(url), "model", cli_json_string(name), "port",
                                 (json_int_t)port));
        fflush(stdout);
    } else {
        cli_note(command->verb, "%s at %s/v1, its page at %s", cli_shown(name), url, url);
    }
    free(url);
}

/* What the files hold that options name, released by free. */
typedef struct secrets {
    char *keys, *tls_certificate, *tls_key; /* NULL: no such file is named */
} secrets;

static il_status read_secret(const char *path, char **text, il_error *error) {
    size_t bytes;
    return path ? cli_file_read(path, KEYS_BYTES_MAX, text, &bytes, error) : IL_OK;
}

static il_status read_secrets(const serve_options *options, secrets *s, il_error *error) {
    if (!options->tls_certificate != !options->tls_key) {
        snprintf(error->message, sizeof error->message, "--tls-cert and --tls-key go together");
        return error->status = IL_ERR_ARG;
    }
    il_status status = read_secret(options->keys, &s->keys, error);
    if (!status) status = read_secret(options->tls_certificate, &s->tls_certificate, error);
    if (!status) status = read_secret(options->tls_key, &s->tls_key, error);
    return status;
}

/* What the server says to whoever runs it. */
static void note(void *user, const char *message) { cli_note(user, "%s", message); }

static il_status serve(cli_command *command, const serve_options *options, const served *s, const secrets *secret) {
    server_options with;
    server *running;
    server_options_default(&with);
    with.engine = command->engine;
    with.model = s->model;
    with.tokenizer = s->tokenizer;
    with.chat = s->chat;
    with.generation = &s->generation;
    with.name = s->name;
    with.host = options->host;
    with.port = (uint16_t)options->port;
    with.keys = secret->keys;
    with.tls_certificate = secret->tls_certificate;
    with.tls_key = secret->tls_key;
    with.origins = options->origins.items;
    with.n_origins = options->origins.n;
    with.streams_per_key_max = (int)options->streams_per_key;
    with.open_to_all = options->open;
    with.names = options->names.items;
    with.n_names = options->names.n;
    with.streams_max = (int)options->streams;
    with.queue_max = (int)options->queue;
    with.connections_max = (unsigned)options->connections;
    with.body_bytes_max = options->body;
    with.prompt_tokens_max = options->prompt_tokens;
    with.tokens_max = (int)options->tokens;
    with.store = options->store;
    with.sessions_max = options->sessions;
    with.sessions_bytes = options->sessions_bytes;
    with.cache_bytes = options->cache;
    with.request_seconds = options->request_seconds;
    with.idle_seconds = (unsigned)options->idle_seconds;
    with.note = note;
    with.user = (void *)(uintptr_t)command->verb;
    cli_interrupt_catch();
    il_status status = server_start(&with, &running, &command->error);
    if (status) return status;
    announce(command, options, s->name, server_port(running));
    while (!cli_interrupted()) poll(NULL, 0, LOOK_MS);
    double until = cli_seconds() + options->drain_seconds;
    while (!server_drain(running) && cli_seconds() < until) poll(NULL, 0, LOOK_MS);
    return server_stop(running, &command->error);
}

int verb_serve(int argc, char **argv) {
    server_options usual;
    server_options_default(&usual);
    serve_options options = {.host = usual.host,
                             .port = usual.port,
                             .streams = (uint64_t)usual.streams_max,
                             .queue = (uint64_t)usual.queue_max,
                             .connections = usual.connections_max,
                             .body = usual.body_bytes_max,
                             .prompt_tokens = usual.prompt_tokens_max,
                             .tokens = (uint64_t)usual.tokens_max,
                             .sessions = usual.sessions_max,
                             .sessions_bytes = usual.sessions_bytes,
                             .cache = usual.cache_bytes,
                             .request_seconds = usual.request_seconds,
                             .idle_seconds = usual.idle_seconds,
                             .drain_seconds = 30};
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", CLI_BUNDLED_MODEL_HELP, READS),
        CLI_DTYPE(&options.dtype),
        ARG("--alias", ARG_TEXT, &options.alias, "NAME", "what clients call the model (default: its directory's name)"),
        ARG("--host", ARG_TEXT, &options.host, "ADDRESS", "the address to listen at (default 127.0.0.1)"),
        ARG("--port", ARG_COUNT, &options.port, "N", "the port; 0: any that is free, which is printed (default 8080)",
            RANGE(0, 65535)),
        ARG("--api-key-file", ARG_TEXT, &options.keys, "FILE",
            "who asks must send one of these keys, one a line; needed where others reach the address", READS),
        ARG("--open", ARG_FLAG, &options.open, NULL, "let everybody who reaches the address ask without a key"),
        ARG("--allow-host", ARG_REPEAT, &options.names, "NAME",
            "without keys: a name besides localhost under which browsers may ask; can be repeated"),
        ARG("--tls-cert", ARG_TEXT, &options.tls_certificate, "FILE",
            "answer over TLS: the certificate as PEM, then those that lead to its root", READS),
        ARG("--tls-key", ARG_TEXT, &options.tls_key, "FILE", "its private key, as PEM", READS),
        ARG("--cors", ARG_REPEAT, &options.origins, "ORIGIN",
            "pages of this origin may ask from browsers, like https://example.org; can be repeated"),
        ARG("--chat-template", ARG_CHOICE, &options.template, "{plain,chatml,llama2,llama3}",
            "the form of conversations (default: what the model's directory says)"),
        ARG("--max-streams", ARG_COUNT, &options.streams, "N", "answers at once, each with a session (default 64)",
            RANGE(1, 4096)),
        ARG("--max-streams-per-key", ARG_COUNT, &options.streams_per_key, "N",
            "answers at once of one API key; more get 429 (default: --max-streams)", RANGE(1, 4096)),
        ARG("--max-queue", ARG_COUNT, &options.queue, "N", "requests that may wait; more get 503 (default 256)",
            RANGE(1, 1 << 20)),
        ARG("--max-connections", ARG_COUNT, &options.connections, "N", "connections at once (default 512)",
            RANGE(1, 1 << 20)),
        ARG("--max-body", ARG_COUNT, &options.body, "BYTES", "the largest request (default 32 MiB)", RANGE(1, 1 << 30)),
        ARG("--max-prompt-tokens", ARG_COUNT, &options.prompt_tokens, "N",
            "tokens of all prompts of a request (default 262144)", RANGE(1, 1 << 30)),
        ARG("--max-tokens", ARG_COUNT, &options.tokens, "N", "tokens of an answer, whatever is asked (default 4096)",
            RANGE(1, 1 << 24)),
        ARG("--store", ARG_TEXT, &options.store, "DIR",
            "keep sessions in this folder, or in redis://HOST:PORT/N?dir=DIR, so that they outlive the server "
            "(default: in memory only)",
            MAKES),
        ARG("--sessions-max", ARG_COUNT, &options.sessions, "N", "sessions at once (default 1000)", RANGE(1, 1 << 30)),
        ARG("--sessions-bytes", ARG_COUNT, &options.sessions_bytes, "BYTES",
            "of sessions in memory; with --store others wait there (default 1 GiB)", RANGE(1, 1LL << 50)),
        ARG("--cache-bytes", ARG_COUNT, &options.cache, "BYTES",
            "of states that have read the beginnings of prompts, so that these are not read again; 0: none (default 1 "
            "GiB)",
            RANGE(0, 1LL << 50)),
        ARG("--request-seconds", ARG_REAL, &options.request_seconds, "F", "what a request may take (default 600)",
            RANGE(1e-3, 1e9)),
        ARG("--idle-seconds", ARG_COUNT, &options.idle_seconds, "N",
            "a peer that neither sends nor takes anything so long is let go (default 60)", RANGE(1, 86400)),
        ARG("--drain-seconds", ARG_REAL, &options.drain_seconds, "F",
            "at SIGTERM: what is being answered has so long to be finished (default 30)", RANGE(0, 1e9)),
    };
    arg_spec spec = {.verb = "serve",
                     .summary = "answer OpenAI's completions and chats over HTTP",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .json_help = "print one JSON object, with url and port, when it listens",
                     .example = "innerloop serve --model model --port 8080\n"
                                "curl -H 'Content-Type: application/json' -d '{\"prompt\": \"It was\"}' "
                                "http://127.0.0.1:8080/v1/completions"};
    cli_command command;
    served s = {0};
    secrets secret = {0};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    il_status status = cli_command_open(&command, &spec);
    command.dtype = options.dtype;
    if (!status) status = read_secrets(&options, &secret, &command.error);
    if (!status) status = load(&command, &options, &s);
    if (!status) status = serve(&command, &options, &s, &secret);
    if (status == IL_ERR_ARG) command.wrong_usage = 1;
    free(secret.keys);
    free(secret.tls_certificate);
    free(secret.tls_key);
    free(s.name);
    il_chat_close(s.chat);
    il_tokenizer_close(s.tokenizer);
    il_model_unref(s.model);
    return cli_command_close(&command, status);
}
