/* fuzz_state.c: state files of nine small models. The first byte picks the model (0 to 2: TTT-Linear, TTT-MLP,
 * self-attention; + 3: with the checksum put right, which a fuzzer cannot guess; + 6: with a fast head; 12: gated
 * delta, 13: with a fast head; + 2: with the checksum put right; 16: TTT-Linear with a fast head that learns four
 * tokens; 17: with the checksum put right), the others are the file. What is accepted must be written again as a file
 * that is accepted, and read, rewind and go on. */
#include <stdlib.h>
#include <string.h>

#include "session/session.h"
#include "session/state_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

static il_engine *engine;
enum { MODELS = 9 };
static il_model *models[MODELS];

/* Once; lives as long as the process. */
static void begin(void) {
    static const char *const mixers[MODELS] = {"ttt_linear",  "ttt_mlp",     "self_attention",
                                               "ttt_linear",  "ttt_mlp",     "self_attention",
                                               "gated_delta", "gated_delta", "ttt_linear"};
    il_engine_options options;
    if (engine) return;
    il_engine_options_default(&options);
    options.threads = 1;
    must(!il_engine_open(&options, &engine, NULL));
    for (int i = 0; i < MODELS; i++) {
        il_config config;
        must(!il_config_preset("tiny", mixers[i], NULL, &config, NULL));
        config.vocab_size = 20;
        config.width = 8;
        config.heads = 2;
        config.ffn_width = 8;
        config.layers = 1;
        config.mini_batch = 2;
        config.delta_key_heads = 1, config.delta_value_heads = 2;
        config.delta_key_width = 3, config.delta_value_width = 2;
        config.fast_head_size = i < 3 || i == 6 ? 0 : 3;
        config.fast_head_tokens = i == 8 ? 4 : 0;
        must(!il_model_init(engine, &config, 1, &models[i], NULL));
    }
}

/* The checksum of a file in memory, put right in place, if it is far enough in order to have one. */
static void seal(unsigned char *file, size_t bytes) {
    static const char before[] = "\"checksum\":\"";
    char checksum[33];
    il_st st;
    if (il_st_parse(&models[0]->engine->memory, "fuzz", file, bytes, &st, NULL)) return;
    il_status status = il_state_file_checksum("fuzz", &st, checksum, NULL);
    il_st_close(&st);
    unsigned char *at = status ? NULL : memmem(file, bytes, before, sizeof before - 1);
    if (at && (size_t)(file + bytes - at) >= sizeof before - 1 + 32) memcpy(at + sizeof before - 1, checksum, 32);
}

typedef struct sink {
    unsigned char *data;
    size_t bytes;
} sink;

static int take(void *user, const void *data, size_t bytes) {
    sink *s = user;
    s->data = realloc(s->data, s->bytes + bytes);
    must(s->data != NULL);
    memcpy(s->data + s->bytes, data, bytes);
    s->bytes += bytes;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const int32_t tokens[] = {1, 2, 3, 4, 5};
    il_error error = {IL_OK, ""};
    il_session *session, *again;
    begin();
    if (bytes < 1) return 0;
    int kind = data[0] % 18, sealed = kind < 12 ? kind % 6 >= 3 : kind < 16 ? kind >= 14 : kind == 17;
    il_model *model = models[kind < 12 ? kind / 6 * 3 + kind % 3 : kind < 16 ? 6 + kind % 2 : 8];
    size_t n = bytes - 1;
    unsigned char *file = malloc(n ? n : 1);
    must(file != NULL);
    memcpy(file, data + 1, n);
    if (sealed) seal(file, n);
    il_status status = il_session_load_from(model, file, n, &session, &error);
    free(file);
    if (status) {
        must(status == error.status && error.message[0] && !session);
        return 0;
    }
    uint64_t position = il_session_position(session), limit = il_session_rewind_limit(session);
    must(limit <= position);
    sink out = {NULL, 0};
    must(!il_session_write_to(session, take, &out, NULL));
    must(!il_session_load_from(model, out.data, out.bytes, &again, NULL));
    must(il_session_position(again) == position && il_session_rewind_limit(again) == limit);
    free(out.data);
    il_session_close(again);
    il_session_feed(session, tokens, 5, NULL, NULL, NULL); /* its numbers may overflow; that is an error */
    limit = il_session_rewind_limit(session);
    must(!il_session_rewind(session, limit, NULL));
    il_session_feed(session, tokens, 5, NULL, NULL, NULL);
    il_session_close(session);
    return 0;
}
