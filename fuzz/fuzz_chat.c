/* fuzz_chat.c: the files beside a model that say how it chats. The first byte says which: 't' a template, 'g'
 * generation_config.json, 'c' config.json's eos_token_id, 'k' tokenizer_config.json. What is accepted must be within
 * bounds, so that it can be sampled by. */
#include <stdlib.h>
#include <string.h>

#include "text/chat_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { VOCAB = 300 };

static void must(int truth) {
    if (!truth) abort();
}

static void check_template(const il_chat_template *t, int has_template) {
    must(t->form >= IL_CHAT_NONE && t->form <= IL_CHAT_LLAMA3 && t->form != IL_CHAT_PLAIN);
    must(t->thinks >= -1 && t->thinks <= 2 && (t->form == IL_CHAT_CHATML || t->thinks == -1));
    must(!t->has_system || (t->form == IL_CHAT_CHATML && *t->system && strlen(t->system) <= IL_CHAT_SYSTEM_MAX));
    must(has_template || t->form == IL_CHAT_NONE);
}

static void check_generation(const il_generation *g) {
    float logits[VOCAB];
    int32_t token;
    must(g->n_stops >= 0 && g->n_stops <= IL_STOPS_MAX);
    for (int i = 0; i < g->n_stops; i++)
        must(g->stop[i] >= (i ? g->stop[i - 1] + 1 : 0) && g->stop[i] < VOCAB && il_generation_stops(g, g->stop[i]));
    for (int i = 0; i < VOCAB; i++) logits[i] = (float)(i % 17);
    must(il_sample(&g->sampling, logits, VOCAB, 1, g->stop, (size_t)g->n_stops, &token, NULL) == IL_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    il_engine *engine;
    il_tokenizer *tokenizer;
    il_chat_files files;
    il_error error = {IL_OK, ""};
    il_status status = IL_OK;
    il_engine_options options;
    if (bytes == 0) return 0;
    const char *text = (const char *)data + 1;
    il_chat_files_begin(&files);
    if (data[0] == 't') {
        files.has_template = 1;
        il_chat_template_read(text, bytes - 1, &files.template);
    } else if (data[0] == 'g') {
        status = il_generation_parse("fuzz", text, bytes - 1, VOCAB, &files, &error);
    } else if (data[0] == 'c') {
        status = il_config_stops_parse("fuzz", text, bytes - 1, VOCAB, &files, &error);
    } else if (data[0] == 'k') {
        il_engine_options_default(&options);
        options.threads = 1;
        must(il_engine_open(&options, &engine, NULL) == IL_OK);
        must(il_tokenizer_load(engine, "bytes", &tokenizer, NULL) == IL_OK);
        status = il_tokenizer_config_parse("fuzz", text, bytes - 1, tokenizer, &files, &error);
        il_tokenizer_close(tokenizer);
        il_engine_close(engine);
    }
    if (status != IL_OK) must(status == error.status && strstr(error.message, "fuzz: ") == error.message);
    check_template(&files.template, files.has_template);
    check_generation(&files.generation);
    return 0;
}
