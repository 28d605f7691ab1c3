/* fuzz_completions.c: any bytes as the body of POST /v1/completions, and with messages in it of POST
 * /v1/chat/completions, with input of POST /v1/responses or
 * /v1/embeddings. What is taken keeps to the limits and answers can
 * be made of it; what is refused says why, in an answer that is JSON. */
#include <stdlib.h>
#include <string.h>

#include "api/answer.h"
#include "api/embeddings.h"
#include "api/responses.h"
#include "grammar/names.h"
#include "grammar/vocabulary.h"
#include "request/chat.h"
#include "request/completions.h"
#include "run/choice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

enum { VOCAB = 258 };
static const completion_limits limits = {.prompt_tokens_max = 64,
                                         .tokens_max = 8,
                                         .n_max = 4,
                                         .tokens_default = 3,
                                         .chat_tokens_default = 4,
                                         .vocab_size = VOCAB};

/* Any tokens, and the answer is text. */
static void make(choice *c) {
    const completion_request *r = c->request;
    float logits[VOCAB];
    for (int i = 0; i < VOCAB; i++) logits[i] = (float)((i * 37) % 101);
    for (size_t i = 0; !c->finish && c->n < (size_t)r->tokens_max; i++)
        choice_add(c, (int32_t)((i * 89 + 32) % VOCAB), logits, VOCAB, 4.0F);
    if (!c->finish) choice_finish(c, "length");
    must(!c->failed && c->safe == c->text.bytes && c->n <= (size_t)r->tokens_max);
    for (size_t at = 0; at < c->text.bytes;) {
        size_t length = text_character(c->text.data + at, c->text.bytes - at);
        must(length > 0 || r->include_stop || r->n_stops > 0); /* a stop string may end within a character */
        at += length ? length : 1;
    }
}

static void answer(const completion_request *r, const names *n, const completion_prompt *prompt) {
    choice c;
    must(choice_open(&c, r, n, prompt, 0));
    make(&c);
    choice_free(&c);
}

/* A response: what is said of the answer is JSON, also in each event. */
static void respond(const json_t *body, const il_chat *chat, const names *n) {
    problem p = {0};
    job *j = calloc(1, sizeof *j);
    text t = {0};
    must(j != NULL);
    j->model = "m";
    memcpy(j->id, "resp-1", 7);
    int taken = responses_parse(body, &limits, j, &p) && responses_prompt(body, chat, &limits, j, &p);
    must(taken == !p.status);
    if (taken) {
        must(job_open_choices(j, n, &p));
        make(j->choices);
        answer_response.piece(j, 0, &t);
        answer_response.usage(j, &t);
        text_add(&t, "", 1);
        for (char *at = t.data; (at = strstr(at, "data: ")); at++) {
            if (at > t.data && at[-1] != '\n') continue; /* part of a text */
            json_t *event = json_loads(at + 6, JSON_DISABLE_EOF_CHECK, NULL);
            must(event != NULL);
            json_decref(event);
        }
        t.bytes = 0;
        answer_response.whole(j, &t);
        json_t *whole = json_loadb(t.data, t.bytes, 0, NULL);
        must(whole != NULL);
        json_decref(whole);
    }
    text_free(&t);
    job_free(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static il_engine *engine; /* these five for the whole run */
    static il_tokenizer *tokenizer;
    static names known;
    static vocabulary pieces;
    static il_chat *chat;
    if (!engine) {
        il_engine_options options;
        il_config config;
        il_engine_options_default(&options);
        options.threads = 1;
        must(il_engine_open(&options, &engine, NULL) == IL_OK);
        must(il_tokenizer_load(engine, "bytes", &tokenizer, NULL) == IL_OK);
        must(il_config_preset("tiny", "ttt_linear", NULL, &config, NULL) == IL_OK);
        config.vocab_size = VOCAB;
        names_open(&known, tokenizer, &config, &(il_generation){.stop = {257}, .n_stops = 1});
        must(vocabulary_open(&pieces, &known));
        known.vocabulary = &pieces;
        must(il_chat_open(tokenizer, &config, "no such folder", "plain", &chat, NULL) == IL_OK);
    }
    problem p = {0};
    completion_request r = {0};
    json_t *body = json_body((const char *)data, bytes, 1000, &p);
    completion_kind kind = body && json_field(body, "messages") ? COMPLETION_CHAT : COMPLETION_TEXT;
    int embeds = body && json_field(body, "encoding_format");
    if (body && !embeds && json_field(body, "input")) {
        respond(body, chat, &known);
        json_decref(body);
        return 0;
    }
    int taken = body && completion_model(body, "m", &p) &&
                (embeds ? embeddings_parse(body, 8, &limits, &r, &p) : completion_parse(body, kind, &limits, &r, &p)) &&
                (kind == COMPLETION_CHAT && !embeds ? chat_prompt(body, chat, &limits, &r, &p)
                                                    : completion_encode(&r, tokenizer, known.bos, &limits, &p));
    must(taken == !p.status);
    if (taken) {
        size_t tokens = 0;
        must(r.n >= 1 && r.n <= limits.n_max && r.tokens_max <= limits.tokens_max && r.tokens_min <= r.tokens_max);
        must(r.n_prompts * (size_t)r.n <= COMPLETION_CHOICES_MAX && r.logprobs <= COMPLETION_TOP_MAX);
        must(strlen(r.ignored) < sizeof r.ignored && !strpbrk(r.ignored, "\r\n"));
        for (size_t i = 0; i < r.n_prompts; i++) {
            tokens += r.prompts[i].tokens.n;
            for (size_t t = 0; t < r.prompts[i].tokens.n; t++)
                must(r.prompts[i].tokens.ids[t] >= 0 && r.prompts[i].tokens.ids[t] < VOCAB);
        }
        must(tokens <= limits.prompt_tokens_max);
        answer(&r, &known, &r.prompts[0]);
    } else {
        text t = {0};
        problem_print(&p, &t);
        json_t *again = json_loadb(t.data, t.bytes, 0, NULL);
        must(again && p.status >= 400 && p.status < 600 && p.message[0]);
        json_decref(again);
        text_free(&t);
    }
    completion_free(&r);
    json_decref(body);
    return 0;
}
