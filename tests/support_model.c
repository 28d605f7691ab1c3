/* support_model.c: see support_model.h. */
#include "support_model.h"

#include "support_test.h"

#include <math.h>
#include <stdlib.h>

#include "base/bits.h"
#include "model/config_write.h"
#include "support_files.h"

il_config support_config(const char *mixer, const char *backbone) {
    il_config config;
    il_error error;
    assert_ok(il_config_preset("tiny", mixer, backbone, &config, &error), error);
    config.vocab_size = 20;
    config.width = 16;
    config.heads = 2;
    config.ffn_width = 24;
    config.layers = 2;
    config.mini_batch = 4;
    return config;
}

il_model *support_model(il_engine *engine, const il_config *config, uint64_t seed) {
    il_model *model;
    il_error error;
    assert_ok(il_model_init(engine, config, seed, &model, &error), error);
    return model;
}

il_st_item *support_items(const il_model *model) {
    il_st_item *items = calloc(model->table.n, sizeof *items);
    assert_non_null(items);
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *e = &model->table.entries[i];
        items[i] = (il_st_item){.name = e->name, .rank = e->rank, .data = model->weights + e->offset};
        memcpy(items[i].shape, e->shape, sizeof e->shape);
    }
    return items;
}

void support_write_items(const char *dir, const char *name, const il_st_item *items, size_t n) {
    il_allocator memory = il_allocator_default();
    il_error error;
    assert_ok(il_st_write(&memory, support_path(dir, name), items, n, NULL, 0, &error), error);
}

void support_write_config(const char *dir, const il_config *config) {
    il_allocator memory = il_allocator_default();
    il_error error;
    char *text;
    assert_ok(il_config_text(&memory, config, &text, &error), error);
    support_write(support_path(dir, "config.json"), text, strlen(text));
    il_free(&memory, text);
}

uint16_t *support_half(il_dtype dtype, const float *x, size_t n) {
    uint16_t *half = calloc(n ? n : 1, sizeof *half);
    assert_non_null(half);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = il_bits_of_float(x[i]);
        uint32_t exponent = bits >> 23 & 0xff;
        if (dtype == IL_BF16)
            half[i] = (uint16_t)(bits >> 16);
        else if (exponent > 112 && exponent < 143) /* 2^-14 .. 2^15 */
            half[i] = (uint16_t)((bits >> 16 & 0x8000) | (exponent - 112) << 10 | (bits >> 13 & 0x3ff));
        else
            half[i] = (uint16_t)(bits >> 16 & 0x8000); /* too small: zero */
    }
    return half;
}

double support_logits_apart(il_model *model, const char *expected) {
    const il_allocator memory = il_allocator_default();
    il_st expect;
    il_session *session;
    il_error error;
    assert_ok(il_st_open(&memory, expected, &expect, &error), error);
    const il_st_tensor *tokens = il_st_find(&expect, "tokens"), *logits = il_st_find(&expect, "logits");
    assert_true(tokens && logits && tokens->dtype == IL_I32 && logits->rank == 2);
    int32_t *ids = malloc(tokens->bytes);
    float *want = malloc(logits->bytes), *got = malloc(logits->bytes);
    assert_true(ids && want && got);
    memcpy(ids, tokens->data, tokens->bytes);
    assert_ok(il_st_to_f32(logits, want, &error), error);
    assert_int_equal(il_model_config(model)->vocab_size, logits->shape[1]);
    assert_ok(il_session_open(model, NULL, &session, &error), error);
    il_feed feed = {.session = session, .tokens = ids, .n = tokens->count, .logits = got};
    assert_ok(il_feed_many(&feed, 1, &error), error);
    double squares = 0, most = 0;
    for (size_t i = 0; i < logits->count; i++) {
        double difference = fabs((double)got[i] - (double)want[i]);
        squares += (double)want[i] * (double)want[i];
        if (!(difference <= most)) most = difference;
    }
    double rms = sqrt(squares / (double)logits->count);
    il_session_close(session);
    il_st_close(&expect);
    free(ids);
    free(want);
    free(got);
    return most / rms;
}
