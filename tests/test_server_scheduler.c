/* test_server_scheduler.c: the scheduler without HTTP: jobs that go on from sessions and keep them, whatever ends them;
 * which tokens can be drawn. The six functions of HTTP that it calls are this file's. */
#include "support_test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/answer.h"
#include "grammar/vocabulary.h"
#include "run/scheduler.h"

#define MODEL FIXTURES "/../../models/any"

/* ---- HTTP ---- */

struct http_exchange {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int looks_until_gone; /* how often it is still there when the scheduler looks; -1: always */
    int status;           /* 0: nothing yet; of a stream that has ended 200 */
    text body;
};

static void exchange_end(http_exchange *e, int status) {
    pthread_mutex_lock(&e->lock);
    e->status = status;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

void http_answer(http_exchange *e, int status, const char *headers, text *body) {
    (void)headers;
    e->body = *body;
    *body = (text){0};
    exchange_end(e, status);
}

void http_begin(http_exchange *e, const char *headers) {
    (void)e;
    (void)headers;
}

size_t http_write(http_exchange *e, const void *data, size_t bytes) {
    text_add(&e->body, data, bytes);
    return 0;
}

void http_end(http_exchange *e) { exchange_end(e, 200); }
size_t http_backlog(http_exchange *e) { return e->body.failed ? 1 : 0; }
int http_gone(http_exchange *e) { return e->looks_until_gone >= 0 && e->looks_until_gone-- == 0; }

/* ---- what serves ---- */

typedef struct fixture {
    il_engine *engine;
    il_model *model;
    il_tokenizer *tokenizer;
    il_generation generation;
    names words;
    work *work;
    scheduler *scheduler;
    completion_limits limits;
} fixture;

static void serve(fixture *f) {
    f->limits = (completion_limits){.prompt_tokens_max = 100000,
                                    .tokens_max = 100000,
                                    .n_max = 8,
                                    .tokens_default = 16,
                                    .vocab_size = il_model_config(f->model)->vocab_size};
    names_open(&f->words, f->tokenizer, il_model_config(f->model), &f->generation);
    f->work = work_start();
    scheduler_options options = {.engine = f->engine,
                                 .model = f->model,
                                 .work = f->work,
                                 .tokens = f->words.vocab_size,
                                 .streams_max = 8,
                                 .queue_max = 8,
                                 .seconds_max = 1000};
    f->scheduler = scheduler_start(&options);
    assert_true(f->work && f->scheduler);
}

static void begin_with(fixture *f) {
    il_error error;
    assert_ok(il_engine_open(NULL, &f->engine, &error), error);
    assert_ok(il_model_load(f->engine, MODEL, &f->model, &error), error);
    assert_ok(il_tokenizer_load(f->engine, "bytes", &f->tokenizer, &error), error);
    serve(f);
}

static void end_with(fixture *f) {
    scheduler_stop(f->scheduler);
    work_stop(f->work);
    scheduler_free(f->scheduler);
    il_tokenizer_close(f->tokenizer);
    il_model_unref(f->model);
    il_engine_close(f->engine);
}

/* What came of a job. */
typedef struct outcome {
    http_exchange exchange;
    problem problem;
    int32_t *tokens; /* [n] of choice 0 */
    size_t n;
    il_session *kept;
    int ended;
} outcome;

static void ended(job *j) {
    outcome *o = j->user;
    o->problem = j->problem;
    o->kept = j->kept;
    j->kept = NULL;
    o->n = j->choices[0].n;
    o->tokens = malloc((o->n + 1) * sizeof *o->tokens);
    assert_non_null(o->tokens);
    memcpy(o->tokens, j->choices[0].tokens, o->n * sizeof *o->tokens);
    o->ended++;
}

static void outcome_free(outcome *o) {
    free(o->tokens);
    text_free(&o->exchange.body);
    il_session_close(o->kept);
}

/* A job of this body; a prompt that is text follows what the session has read. NULL: refused, and the problem is in the
 * outcome. */
static job *submit(fixture *f, const char *body, il_session *from, int keep, int looks, outcome *o) {
    job *j = calloc(1, sizeof *j);
    assert_non_null(j);
    *o = (outcome){.exchange.looks_until_gone = looks};
    pthread_mutex_init(&o->exchange.lock, NULL);
    pthread_cond_init(&o->exchange.changed, NULL);
    *j = (job){.form = &answer_completion,
               .exchange = &o->exchange,
               .model = "m",
               .fingerprint = "f",
               .from = from,
               .keep = keep,
               .ended = ended,
               .user = o};
    json_t *object = json_body(body, strlen(body), 100000, &o->problem);
    if (object && completion_parse(object, COMPLETION_TEXT, &f->limits, &j->request, &o->problem) &&
        completion_encode(&j->request, f->tokenizer, from ? -1 : f->words.bos, &f->limits, &o->problem))
        job_open_choices(j, &f->words, &o->problem);
    json_decref(object);
    if (!o->problem.status && scheduler_submit(f->scheduler, j, &o->problem)) return j;
    job_free(j);
    return NULL;
}

static void wait_for(outcome *o) {
    pthread_mutex_lock(&o->exchange.lock);
    while (!o->exchange.status) pthread_cond_wait(&o->exchange.changed, &o->exchange.lock);
    pthread_mutex_unlock(&o->exchange.lock);
    assert_int_equal(o->ended, 1);
}

static void ask(fixture *f, const char *body, il_session *from, int keep, outcome *o) {
    if (!submit(f, body, from, keep, -1, o)) fail_msg("%s: %s", body, o->problem.message);
    wait_for(o);
    if (o->problem.status) fail_msg("%s: %s", body, o->problem.message);
}

static const char *body_of(outcome *o) {
    text_add(&o->exchange.body, "", 1);
    return o->exchange.body.data;
}

/* The session has read these tokens, and nothing else. */
static void expect_read(const fixture *f, const il_session *session, const int32_t *tokens, size_t n) {
    il_session *other;
    il_error error;
    char a[33], b[33];
    assert_int_equal(il_session_position(session), n);
    assert_ok(il_session_open(f->model, NULL, &other, &error), error);
    assert_ok(il_session_feed(other, tokens, n, NULL, NULL, &error), error);
    assert_ok(il_session_fingerprint(session, a, &error), error);
    assert_ok(il_session_fingerprint(other, b, &error), error);
    assert_string_equal(a, b);
    il_session_close(other);
}

/* ---- sessions ---- */

/* Whatever ends an answer, the session that is kept has read the prompt and all the tokens that were drawn. */
static void kept_sessions_have_read_everything(void **state) {
    static const int32_t prompt[] = {256, 'I', 't', ' ', 'w', 'a', 's', ' ', 'a', ' ', 'd', 'a', 'r', 'k'};
    enum { PROMPT = sizeof prompt / sizeof *prompt };
    static const char *const ends[] = {"\"max_tokens\":40",
                                       "\"max_tokens\":1",
                                       "\"max_tokens\":0",
                                       "\"max_tokens\":40,\"stop\":\"STOP\"",
                                       "\"max_tokens\":40,\"stop_token_ids\":[TOKEN]",
                                       "\"max_tokens\":30,\"stream\":true",
                                       "\"max_tokens\":0,\"echo\":true,\"logprobs\":1"};
    fixture f = {0};
    (void)state;
    begin_with(&f);
    outcome first;
    ask(&f, "{\"prompt\":\"It was a dark\",\"temperature\":0,\"max_tokens\":40}", NULL, 1, &first);
    assert_int_equal(first.n, 40);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char body[400], end[200];
        strcpy(end, ends[i]);
        if (strstr(end, "STOP")) { /* two letters in its middle: it ends with the second, the text before the first */
            memcpy(strstr(end, "STOP"), (char[]){(char)first.tokens[20], (char)first.tokens[21], '"', ' '}, 4);
            *strrchr(end, '"') = ' ';
        }
        if (strstr(end, "TOKEN")) snprintf(strstr(end, "TOKEN"), 12, "%d]", first.tokens[10]);
        snprintf(body, sizeof body, "{\"prompt\":\"It was a dark\",\"temperature\":0,%s}", end);
        outcome o;
        ask(&f, body, NULL, 1, &o);
        int32_t all[PROMPT + 40];
        memcpy(all, prompt, sizeof prompt);
        memcpy(all + PROMPT, o.tokens, o.n * sizeof *o.tokens);
        assert_non_null(o.kept);
        assert_memory_equal(o.tokens, first.tokens, o.n * sizeof *o.tokens);
        expect_read(&f, o.kept, all, PROMPT + o.n);
        outcome_free(&o);
    }
    outcome_free(&first);
    end_with(&f);
}

/* Where a text ends inside a token, what of the token is in it is read as other tokens: the session stands there. */
static void torn_tokens_are_mended(void **state) {
    enum { TOKENS = 80 };
    static const char path[] = FIXTURES "/../../models/reader", prompt[] = "She looked out at the rain, and";
    fixture f = {0};
    il_error error;
    vocabulary v;
    int found = 0;
    (void)state;
    assert_ok(il_engine_open(NULL, &f.engine, &error), error);
    assert_ok(il_model_load(f.engine, path, &f.model, &error), error);
    assert_ok(il_tokenizer_load_for_model(f.engine, path, il_model_config(f.model), &f.tokenizer, &error), error);
    serve(&f);
    assert_true(vocabulary_open(&v, &f.words));
    char body[600], *scratch = malloc(f.words.piece_bytes_max);
    float *logits[2];
    for (int i = 0; i < 2; i++) logits[i] = malloc((size_t)il_model_config(f.model)->vocab_size * sizeof(float));
    assert_true(scratch && logits[0] && logits[1]);
    outcome first;
    f.words.vocabulary = &v;
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"temperature\":0.9,\"max_tokens\":%d,\"ignore_eos\":true}", prompt,
             TOKENS);
    ask(&f, body, NULL, 0, &first);
    for (size_t k = 3; k + 1 < first.n; k++) {
        char stop[100];
        size_t n = names_bytes(&f.words, first.tokens[k], scratch), plain = n > 3 && n < 90;
        for (size_t i = 1; i < n && plain; i++) plain = (scratch[i] | 0x20) >= 'a' && (scratch[i] | 0x20) <= 'z';
        if (!plain) continue;
        int included = found % 2; /* the text ends before the stop string, or behind it and still in the token */
        snprintf(stop, sizeof stop, "%.*s", (int)(n - 2), scratch + 1);
        snprintf(body, sizeof body,
                 "{\"prompt\":\"%s\",\"temperature\":0.9,\"max_tokens\":%d,\"ignore_eos\":true,\"stop\":\"%s\","
                 "\"include_stop_str_in_output\":%s}",
                 prompt, TOKENS, stop, included ? "true" : "false");
        outcome o;
        ask(&f, body, NULL, 1, &o);
        if (o.n == k + 1) { /* it was the first of these letters */
            int32_t spelled[100];
            size_t torn = included ? n - 1 : 1, n_spelled = vocabulary_spell(&v, scratch, torn, spelled);
            il_session *other;
            il_tokens read = {0};
            assert_ok(il_session_open(f.model, NULL, &other, &error), error);
            assert_ok(il_tokenizer_encode(f.tokenizer, prompt, strlen(prompt), &read, &error), error);
            int32_t bos = f.words.bos;
            assert_true(n_spelled > 0 && n_spelled <= torn);
            assert_ok(il_session_feed(other, &bos, bos >= 0, NULL, NULL, &error), error);
            assert_ok(il_session_feed(other, read.ids, read.n, NULL, NULL, &error), error);
            assert_ok(il_session_feed(other, first.tokens, k, NULL, NULL, &error), error);
            assert_ok(il_session_feed(other, spelled, n_spelled, NULL, NULL, &error), error);
            assert_int_equal(il_session_position(o.kept), il_session_position(other));
            assert_ok(il_session_logits(o.kept, logits[0], &error), error);
            assert_ok(il_session_logits(other, logits[1], &error), error);
            assert_memory_equal(logits[0], logits[1], (size_t)il_model_config(f.model)->vocab_size * sizeof(float));
            il_session_close(other);
            il_tokens_free(&read);
            found++;
        }
        outcome_free(&o);
    }
    if (found < 2) fail_msg("only %d words were cut", found);
    outcome_free(&first);
    for (int i = 0; i < 2; i++) free(logits[i]);
    free(scratch);
    end_with(&f);
    vocabulary_close(&v);
}

/* How much of an answer's end a stop string takes back: whole tokens, and the beginnings of characters. */
static void what_stops_take_back(void **state) {
    static const struct {
        const char *stop, *text, *torn;
        int include;
        size_t behind;
    } cases[] = {{"c", "ab", "", 0, 1},
                 {"bc", "a", "", 0, 2},
                 {"\xC3\xA9", "abc", "", 0, 2},
                 {"c\xC3\xA9", "ab", "", 0, 3},
                 {"\xC3\xA9", "abc\xC3\xA9", "", 1, 0}};
    fixture f = {0};
    il_error error;
    (void)state;
    assert_ok(il_engine_open(NULL, &f.engine, &error), error);
    assert_ok(il_model_load(f.engine, MODEL, &f.model, &error), error);
    assert_ok(il_tokenizer_load(f.engine, "bytes", &f.tokenizer, &error), error);
    names_open(&f.words, f.tokenizer, il_model_config(f.model), &f.generation);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const int32_t tokens[] = {'a', 'b', 'c', 0xC3, 0xA9};
        completion_stop stop = {.n = strlen(cases[i].stop)};
        completion_request r = {
            .logprobs = -1, .tokens_max = 9, .stops = &stop, .n_stops = 1, .include_stop = cases[i].include};
        completion_prompt prompt = {0};
        choice c;
        size_t bytes;
        memcpy(stop.bytes, cases[i].stop, stop.n);
        assert_true(choice_open(&c, &r, &f.words, &prompt, 1));
        for (size_t k = 0; k < 5 && !c.finish; k++) choice_add(&c, tokens[k], NULL, 0, 0);
        const char *torn = choice_torn(&c, &bytes);
        assert_string_equal(c.finish, "stop");
        assert_int_equal(c.text.bytes, strlen(cases[i].text));
        assert_memory_equal(c.text.data, cases[i].text, c.text.bytes);
        assert_int_equal(choice_behind(&c), cases[i].behind);
        assert_int_equal(bytes, strlen(cases[i].torn));
        assert_memory_equal(torn, cases[i].torn, bytes);
        choice_free(&c);
    }
    il_tokenizer_close(f.tokenizer);
    il_model_unref(f.model);
    il_engine_close(f.engine);
}

/* Cut in two at any place, a text goes on as if it had not been; so do several answers and several prompts. */
static void answers_go_on_from_sessions(void **state) {
    fixture f = {0};
    il_error error;
    (void)state;
    begin_with(&f);
    static const char drawn[] = "\"temperature\":0.9,\"seed\":5,\"logprobs\":2,\"ignore_eos\":true";
    char body[400];
    snprintf(body, sizeof body, "{\"prompt\":\"The sea\",\"max_tokens\":50,%s}", drawn);
    outcome whole;
    ask(&f, body, NULL, 0, &whole);
    assert_null(whole.kept);
    for (int cut = 1; cut < 50; cut += 23) {
        snprintf(body, sizeof body, "{\"prompt\":\"The sea\",\"max_tokens\":%d,%s}", cut, drawn);
        outcome a;
        ask(&f, body, NULL, 1, &a);
        snprintf(body, sizeof body, "{\"prompt\":\"\",\"max_tokens\":%d,%s}", 50 - cut, drawn);
        outcome b;
        ask(&f, body, a.kept, 1, &b);
        a.kept = NULL;
        assert_int_equal(a.n + b.n, 50);
        assert_memory_equal(a.tokens, whole.tokens, a.n * sizeof *a.tokens);
        assert_memory_equal(b.tokens, whole.tokens + a.n, b.n * sizeof *b.tokens);
        assert_int_equal(il_session_position(b.kept), 8 + 50);
        outcome_free(&a);
        outcome_free(&b);
    }
    /* Nothing to read and nothing to answer: the session comes back as it was. */
    outcome a;
    ask(&f, "{\"prompt\":\"A house by the\",\"max_tokens\":0}", NULL, 1, &a);
    outcome b;
    ask(&f, "{\"prompt\":\"\",\"max_tokens\":0}", a.kept, 1, &b);
    a.kept = NULL;
    assert_int_equal(il_session_position(b.kept), 15);
    /* Two prompts of two answers each, with the log-probabilities of their first tokens. */
    il_session *again;
    assert_ok(il_session_fork(b.kept, &again, &error), error);
    outcome many;
    ask(&f,
        "{\"prompt\":[\" sea\",\" road\"],\"n\":2,\"max_tokens\":9,\"seed\":3,\"echo\":true,"
        "\"logprobs\":1,\"return_token_ids\":true}",
        b.kept, 0, &many);
    b.kept = NULL;
    json_t *got = json_loads(body_of(&many), 0, NULL);
    for (size_t i = 0; i < 4; i++) {
        snprintf(body, sizeof body,
                 "{\"prompt\":\"A house by the "
                 "%s\",\"max_tokens\":9,\"seed\":%zu,\"echo\":true,\"logprobs\":1,\"return_token_ids\":true}",
                 i < 2 ? "sea" : "road", 3 + i % 2);
        outcome one;
        ask(&f, body, NULL, 0, &one);
        json_t *expected = json_loads(body_of(&one), 0, NULL);
        const json_t *x = json_array_get(json_object_get(got, "choices"), i);
        const json_t *y = json_array_get(json_object_get(expected, "choices"), 0);
        assert_true(json_equal(json_object_get(x, "token_ids"), json_object_get(y, "token_ids")));
        x = json_object_get(json_object_get(x, "logprobs"), "token_logprobs");
        y = json_object_get(json_object_get(y, "logprobs"), "token_logprobs");
        size_t n = json_array_size(x), before = json_array_size(y) - n;
        assert_int_equal(before, 15);
        for (size_t k = 0; k < n; k++) assert_true(json_equal(json_array_get(x, k), json_array_get(y, before + k)));
        json_decref(expected);
        outcome_free(&one);
    }
    /* What cannot be is refused, and the session is released with the job. */
    outcome refused;
    assert_null(submit(&f, "{\"prompt\":\"a\",\"n\":2}", again, 1, -1, &refused));
    assert_true(refused.problem.status == 400 && !strcmp(refused.problem.field, "n"));
    assert_null(submit(&f, "{\"prompt\":[\"a\",\"b\"]}", NULL, 1, -1, &refused));
    assert_true(refused.problem.status == 400 && !strcmp(refused.problem.field, "prompt"));
    assert_null(submit(&f, "{\"prompt\":\"\",\"add_special_tokens\":false}", NULL, 0, -1, &refused));
    assert_non_null(strstr(refused.problem.message, "prompt is empty"));
    assert_ok(il_session_open(f.model, &(il_session_options){.mix = 1}, &again, &error), error);
    assert_null(submit(&f, "{\"prompt\":\"a\"}", again, 0, -1, &refused));
    assert_non_null(strstr(refused.problem.message, "a session with a mix"));
    json_decref(got);
    outcome_free(&many);
    outcome_free(&a);
    outcome_free(&b);
    outcome_free(&whole);
    end_with(&f);
}

/* Who leaves, in the prompt, in the answer or while its last token is read, gets no session, and `ended` is called. */
static void who_leaves_moves_no_session(void **state) {
    fixture f = {0};
    (void)state;
    begin_with(&f);
    for (int looks = 0; looks < 12; looks++) {
        outcome o;
        char body[3000] = "{\"max_tokens\":5,\"ignore_eos\":true,\"stream\":true,\"prompt\":\"";
        for (int i = 0; i < 200; i++) strcat(body, "a word, ");
        strcat(body, "\"}");
        scheduler_stats before, after;
        scheduler_get_stats(f.scheduler, &before);
        assert_non_null(submit(&f, body, NULL, 1, looks, &o));
        wait_for(&o);
        scheduler_get_stats(f.scheduler, &after);
        if (o.problem.status) { /* else it was done by then */
            assert_int_equal(o.problem.status, 499);
            assert_null(o.kept);
        } else {
            assert_int_equal(il_session_position(o.kept), 1601 + 5);
        }
        assert_true(looks || o.problem.status);
        /* A step for every look, and none after the last. */
        if (o.problem.status) assert_true(after.steps - before.steps <= (uint64_t)looks);
        outcome_free(&o);
    }
    outcome o;
    assert_non_null(submit(&f, "{\"prompt\":\"a\",\"max_tokens\":100000,\"ignore_eos\":true}", NULL, 1, -1, &o));
    scheduler_stop(f.scheduler);
    wait_for(&o);
    assert_true(o.problem.status == 503 && !o.kept);
    outcome_free(&o);
    work_stop(f.work);
    scheduler_free(f.scheduler);
    il_tokenizer_close(f.tokenizer);
    il_model_unref(f.model);
    il_engine_close(f.engine);
}

/* Entries beyond the tokenizer's vocabulary, which pad the model's, are never drawn or named, however likely. */
static void padding_is_not_drawn(void **state) {
    enum { TEXT = 258, ALL = 320 };
    fixture f = {0};
    il_config config;
    il_error error;
    (void)state;
    assert_ok(il_engine_open(NULL, &f.engine, &error), error);
    assert_ok(il_config_preset("tiny", "ttt_linear", NULL, &config, &error), error);
    config.vocab_size = ALL;
    assert_ok(il_model_init(f.engine, &config, 1, &f.model, &error), error);
    assert_ok(il_tokenizer_load(f.engine, "bytes", &f.tokenizer, &error), error);
    serve(&f);
    for (int greedy = 0; greedy < 2; greedy++) {
        char body[300];
        snprintf(body, sizeof body,
                 "{\"prompt\":[1,300,319],\"max_tokens\":150,\"temperature\":%d,\"top_k\":-1,\"logprobs\":3,\"ignore_"
                 "eos\":true,"
                 "\"repetition_penalty\":1.1,\"logit_bias\":{\"310\":50}}",
                 greedy ? 0 : 2);
        outcome o;
        ask(&f, body, NULL, 0, &o);
        assert_int_equal(o.n, 150);
        for (size_t i = 0; i < o.n; i++) assert_true(o.tokens[i] < TEXT);
        for (int id = TEXT; id < ALL; id++) {
            char name[20];
            snprintf(name, sizeof name, "token_id:%d\"", id);
            assert_null(strstr(body_of(&o), name));
        }
        outcome_free(&o);
    }
    end_with(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_sessions_have_read_everything),
        cmocka_unit_test(torn_tokens_are_mended),
        cmocka_unit_test(what_stops_take_back),
        cmocka_unit_test(answers_go_on_from_sessions),
        cmocka_unit_test(who_leaves_moves_no_session),
        cmocka_unit_test(padding_is_not_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
