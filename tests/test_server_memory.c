/* test_server_memory.c: every allocation of the server's parts fails in turn, those of the library among them:
 * each time it is a problem of status 503, or done all the same, and nothing is lost. The linker puts this file's
 * functions in place of malloc and its kind. */
#include "support_test.h"

#include <errno.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/answer.h"
#include "api/embeddings.h"
#include "api/responses.h"
#include "grammar/constraint.h"
#include "request/chat.h"
#include "request/tokens.h"
#include "run/cache.h"
#include "sessions/session_answer.h"
#include "sessions/sessions.h"
#include "support_cli.h"

/* ---- malloc ---- */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void __real_free(void *block);
int __real_posix_memalign(void **block, size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void __wrap_free(void *block);
int __wrap_posix_memalign(void **block, size_t alignment, size_t bytes);
char *__wrap_strdup(const char *words);

static atomic_long calls, fail_at, live; /* fail_at 0: none */

static int fails(void) { return atomic_fetch_add(&calls, 1) + 1 == atomic_load(&fail_at); }

static void *count(void *block) {
    if (block) atomic_fetch_add(&live, 1);
    return block;
}

static void *never_fails(size_t bytes) { return count(__real_malloc(bytes)); }

void *__wrap_malloc(size_t bytes) { return fails() ? NULL : count(__real_malloc(bytes)); }
void *__wrap_calloc(size_t n, size_t bytes) { return fails() ? NULL : count(__real_calloc(n, bytes)); }

void *__wrap_realloc(void *block, size_t bytes) {
    if (fails()) return NULL;
    void *moved = __real_realloc(block, bytes);
    return block ? moved : count(moved);
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t bytes) {
    if (fails()) return ENOMEM;
    int status = __real_posix_memalign(block, alignment, bytes);
    if (!status) count(*block);
    return status;
}

void __wrap_free(void *block) {
    if (block) atomic_fetch_sub(&live, 1);
    __real_free(block);
}

char *__wrap_strdup(const char *words) {
    char *copy = __wrap_malloc(strlen(words) + 1);
    return copy ? strcpy(copy, words) : NULL;
}

/* ---- what there is ---- */

static il_engine *engine;
static il_model *model;
static il_tokenizer *tokenizer;
static il_chat *chat;
static vocabulary tokens;
static names words;
static completion_limits limits = {
    .prompt_tokens_max = 1000, .tokens_max = 50, .n_max = 8, .tokens_default = 16, .chat_tokens_default = 16};

static int begin(void **state) {
    static const char dir[] = FIXTURES "/../../models/any";
    il_generation none = {0};
    if (support_cli_begin(state)) return -1;
    json_set_alloc_funcs(never_fails, __wrap_free); /* jansson 2.14 follows a wild pointer where memory is missing */
    il_engine_options options;
    il_engine_options_default(&options);
    options.threads = 1;
    if (il_engine_open(&options, &engine, NULL) || il_model_load(engine, dir, &model, NULL) ||
        il_tokenizer_load(engine, "bytes", &tokenizer, NULL) ||
        il_chat_open(tokenizer, il_model_config(model), dir, "plain", &chat, NULL))
        return -1;
    names_open(&words, tokenizer, il_model_config(model), &none);
    limits.vocab_size = words.vocab_size;
    words.vocabulary = &tokens;
    return !vocabulary_open(&tokens, &words);
}

static int end(void **state) {
    vocabulary_close(&tokens);
    il_chat_close(chat);
    il_tokenizer_close(tokenizer);
    il_model_unref(model);
    il_engine_close(engine);
    return support_cli_end(state);
}

/* Does it again and again, its first, second, … allocation failing, until that is not reached any more. attempt
 * releases what it made, whatever comes of it. */
static void fail_each(const char *what, void (*attempt)(problem *p), long least) {
    long n = 1;
    attempt(&(problem){0}); /* what the engine makes once, and keeps */
    for (;; n++) {
        problem p = {0};
        long before = atomic_load(&live);
        atomic_store(&calls, 0);
        atomic_store(&fail_at, n);
        attempt(&p);
        atomic_store(&fail_at, 0);
        if (atomic_load(&live) != before)
            fail_msg("%s, allocation %ld: %ld are left", what, n, atomic_load(&live) - before);
        if (p.status && p.status != 503) fail_msg("%s, allocation %ld: %d: %s", what, n, p.status, p.message);
        if (atomic_load(&calls) < n) {
            if (p.status) fail_msg("%s: %s", what, p.message);
            break;
        }
    }
    if (n < least) fail_msg("%s: only %ld allocations", what, n);
}

/* ---- attempts ---- */

static json_t *parse(const char *body, problem *p) { return json_body(body, strlen(body), 10000, p); }

static void no_memory(problem *p) { problem_set(p, 503, "no_memory", NULL, "no memory"); }

static void read_completion(problem *p) {
    completion_request r = {0};
    json_t *body =
        parse("{\"prompt\":[\"It was\",[1,2]],\"n\":2,\"stop\":[\"a\",\"b\"],\"stop_token_ids\":[3],"
              "\"logit_bias\":{\"5\":1,\"6\":2},\"cache_salt\":\"s\",\"zebra\":1,\"response_format\":{\"type\":"
              "\"json_object\"}}",
              p);
    if (body && completion_parse(body, COMPLETION_TEXT, &limits, &r, p))
        completion_encode(&r, tokenizer, words.bos, &limits, p);
    completion_free(&r);
    json_decref(body);
}

static void read_chat(problem *p) {
    completion_request r = {0};
    json_t *body =
        parse("{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":[{"
              "\"type\":\"text\",\"text\":\"Who?\"}]}],\"stop\":\"x\"}",
              p);
    if (body && completion_parse(body, COMPLETION_CHAT, &limits, &r, p)) chat_prompt(body, chat, &limits, &r, p);
    completion_free(&r);
    json_decref(body);
}

static void read_tokens(problem *p) {
    text answer = {0};
    json_t *body = parse("{\"prompt\":\"It was\",\"return_token_strs\":true}", p);
    if (body) tokens_tokenize(body, &words, &limits, &answer, p);
    if (!p->status && answer.failed) no_memory(p);
    text_free(&answer);
    json_decref(body);
    body = p->status ? NULL : parse("{\"tokens\":[65,66]}", p);
    if (body) tokens_detokenize(body, &words, &limits, &answer, p);
    if (!p->status && answer.failed) no_memory(p);
    text_free(&answer);
    json_decref(body);
}

static void answer_by_a_schema(problem *p) {
    grammar g = {0};
    json_t *schema =
        parse("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^[a-c]{2}|d$\"},"
              "\"b\":{\"oneOf\":[{\"type\":\"null\"},{\"enum\":[\"x\",\"y\"]}]},\"c\":{\"$ref\":\"#\"}},"
              "\"required\":[\"a\",\"b\"],\"additionalProperties\":{\"type\":\"number\"}}",
              p);
    constraint *c = schema && schema_compile(schema, "f", &g, p) ? constraint_open(&g, &tokens) : NULL;
    if (!c) no_memory(p);
    for (const char *at = "{\"a\":\"abd\",\"b\":null}"; *at && !p->status; at++) {
        const uint64_t *set = constraint_tokens(c);
        if (!set || constraint_read(c, (unsigned char)*at) < 0) no_memory(p);
    }
    if (!p->status) assert_true(constraint_complete(c));
    constraint_close(c);
    grammar_free(&g);
    json_decref(schema);
}

static void order_a_vocabulary(problem *p) {
    vocabulary v;
    if (!vocabulary_open(&v, &words)) no_memory(p);
    vocabulary_close(&v);
}

/* A job whose answers are these letters, and what it looks like. */
static void answer_a_job(problem *p, const job_form *form, const char *body, int kind) {
    static http_exchange *const nobody = NULL;
    job *j = calloc(1, sizeof *j);
    text answer = {0};
    float *logits = calloc((size_t)limits.vocab_size, sizeof *logits);
    json_t *object = parse(body, p);
    if (!j || !logits) no_memory(p);
    if (p->status || !object) goto done;
    j->exchange = nobody;
    j->form = form;
    j->model = "m";
    j->fingerprint = "f";
    strcpy(j->id, "resp-1");
    if (kind == 2) {
        if (responses_parse(object, &limits, j, p)) responses_prompt(object, chat, &limits, j, p);
    } else if (kind == 3) {
        if (embeddings_parse(object, 8, &limits, &j->request, p))
            completion_encode(&j->request, tokenizer, words.bos, &limits, p);
    } else if (completion_parse(object, kind ? COMPLETION_CHAT : COMPLETION_TEXT, &limits, &j->request, p)) {
        if (kind)
            chat_prompt(object, chat, &limits, &j->request, p);
        else
            completion_encode(&j->request, tokenizer, words.bos, &limits, p);
    }
    if (p->status || !job_open_choices(j, &words, p)) goto done;
    for (size_t i = 0; i < j->n_choices && kind < 3; i++) {
        choice *c = &j->choices[i];
        size_t n = (size_t)j->request.n;
        if (i % n && !choice_copy(c, &j->choices[i - i % n])) no_memory(p);
        for (const char *at = "a \xC3\xA9 b"; *at && !p->status && !c->finish; at++) {
            choice_add(c, (unsigned char)*at, logits, limits.vocab_size, 0);
            if (form->piece && j->request.stream) form->piece(j, i, &answer);
        }
        if (!c->finish) choice_finish(c, "length");
        if (c->failed) no_memory(p);
    }
    if (!p->status) form->whole(j, &answer);
    if (!p->status && form->usage) form->usage(j, &answer);
    if (answer.failed) no_memory(p);
done:
    json_decref(object);
    text_free(&answer);
    free(logits);
    job_free(j);
}

static void answer_texts(problem *p) {
    answer_a_job(p, &answer_completion,
                 "{\"prompt\":\"It\",\"n\":2,\"logprobs\":2,\"echo\":true,\"max_tokens\":9,\"return_token_ids\":true,"
                 "\"stream\":true}",
                 0);
}

static void answer_chats(problem *p) {
    answer_a_job(p, &answer_chat,
                 "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"logprobs\":true,\"top_logprobs\":2,"
                 "\"max_tokens\":9,\"stream\":true}",
                 1);
}

static void answer_responses(problem *p) {
    answer_a_job(p, &answer_response,
                 "{\"input\":\"a\",\"instructions\":\"b\",\"metadata\":{\"k\":\"v\"},\"max_output_tokens\":9,"
                 "\"include\":[\"message.output_text.logprobs\"],\"stream\":true}",
                 2);
}

static void embed(problem *p) {
    answer_a_job(p, &embeddings_form, "{\"input\":[\"It was\",\"a\"],\"encoding_format\":\"base64\"}", 3);
}

static il_session *session_of(size_t n, problem *p) {
    static const int32_t read[64] = {65};
    il_session *session;
    if (il_session_open(model, NULL, &session, NULL)) {
        no_memory(p);
        return NULL;
    }
    if (!il_session_feed(session, read, n, NULL, NULL, NULL)) return session;
    no_memory(p);
    il_session_close(session);
    return NULL;
}

/* Nobody is told that a cache has no memory: it keeps less. */
static void keep_in_a_cache(problem *p) {
    static const int32_t read[64] = {65}, others[64] = {65, 0, 0, 1};
    text space = {0};
    cache *c = cache_open(1 << 30);
    if (!c) no_memory(p);
    text_say(&space, "of somebody");
    if (space.failed) no_memory(p);
    il_session *session = p->status ? NULL : session_of(64, p), *found;
    size_t branch;
    if (session) cache_keep(c, &space, read, 64, session);
    if (!p->status) cache_find(c, &space, others, 64, &found, &branch), il_session_close(found);
    if (!p->status) cache_find(c, &space, read, 64, &found, &branch), il_session_close(found);
    cache_close(c);
    text_free(&space);
}

static atomic_int asked_again;

static void ask_again(work_item *item) {
    (void)item;
    atomic_store(&asked_again, 1);
}

/* Waits while the session is being written. */
static int acquire(sessions *s, const char *id, session_call *call, problem *p) {
    for (;;) {
        atomic_store(&asked_again, 0);
        if (sessions_acquire(s, id, call, 1, p)) return 1;
        if (p->status) return 0;
        while (!atomic_load(&asked_again)) usleep(100);
    }
}

/* Sessions in memory, or in a store. */
static void keep_sessions(problem *p, const char *where) {
    sessions_options options = {.model = model, .count_max = 10, .bytes_max = 1 << 30};
    il_error error;
    sessions *s = NULL;
    held *h = NULL;
    session_call call = {.item = {.run = ask_again}, .brief = 1};
    store_record like = {.name = "one"}, record, list[4];
    char id[STORE_ID_BYTES];
    text shown = {0};
    size_t n;
    uint64_t bytes;
    options.work = work_start();
    if (!options.work) no_memory(p);
    if (options.work && where && store_open(where, model, &options.store, &error)) no_memory(p);
    if (!p->status && !(s = sessions_start(&options))) no_memory(p);
    il_session *session = p->status ? NULL : session_of(20, p);
    if (session) h = sessions_create(s, session, &like, p);
    if (h) {
        snprintf(id, sizeof id, "%s", sessions_record(h)->id);
        session_answer(sessions_record(h), "m", &shown);
        if (where) sessions_write(s, h, p);
        int fd = sessions_file(s, h, &bytes, p);
        if (fd >= 0) close(fd);
        sessions_release(s, h);
        problem ignored = {0};
        sessions_get(s, id, "", &record, &ignored);
        sessions_list(s, "", "", list, 4, &n, &ignored);
        if (acquire(s, id, &call, &ignored)) {
            sessions_rename(s, call.held, "two", 0);
            sessions_changed(s, call.held, &ignored);
            sessions_delete(s, call.held, &ignored);
            sessions_release(s, call.held);
        }
    }
    text_free(&shown);
    work_stop(options.work);
    problem lost = {0};
    sessions_stop(s, &lost);
    sessions_free(s);
}

static void keep_in_memory(problem *p) { keep_sessions(p, NULL); }
static void keep_on_disk(problem *p) { keep_sessions(p, "kept"); }

static void every_allocation_may_fail(void **state) {
    static const struct {
        const char *name;
        void (*attempt)(problem *p);
        long least;
    } attempts[] = {{"a completion", read_completion, 5},
                    {"a chat", read_chat, 5},
                    {"tokens", read_tokens, 5},
                    {"a schema", answer_by_a_schema, 5},
                    {"a vocabulary", order_a_vocabulary, 5},
                    {"texts", answer_texts, 5},
                    {"chats", answer_chats, 5},
                    {"responses", answer_responses, 5},
                    {"embeddings", embed, 5},
                    {"a cache", keep_in_a_cache, 5},
                    {"sessions", keep_in_memory, 5},
                    {"stored sessions", keep_on_disk, 5}};
    (void)state;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
        fail_each(attempts[i].name, attempts[i].attempt, attempts[i].least);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, begin, end);
}
