/* test_take.c: weights of another model, where they fit: what is taken, what moves on the way, and what is left. */
#include "support_test.h"

#include "model/model.h"
#include "support_lively.h"

#include <stdio.h>
#include <string.h>

enum { WIDTH = 48, HEADS = 3, D = WIDTH / HEADS };

typedef struct fates {
    size_t n[3];
    char last[96]; /* the tensor of the other model that was left last */
} fates;

static void note(void *user, const char *name, il_tensor_fate fate) {
    fates *f = user;
    f->n[fate]++;
    if (fate == IL_TENSOR_LEFT) snprintf(f->last, sizeof f->last, "%s", name);
}

static const float *tensor(const il_model *model, const char *name) {
    const il_table_entry *e = il_table_find(&model->table, name);
    if (!e) fail_msg("no tensor %s", name);
    return model->weights + e->offset;
}

/* Attention turns rows m and m + d/2 of a head of queries and keys, TTT rows 2m and 2m + 1. */
static void a_transformer_becomes_ttt_and_back(void **unused) {
    (void)unused;
    il_error error;
    il_engine *engine = lively_engine(1, NULL);
    il_config attention = lively_config(IL_MIXER_SELF_ATTENTION, 16), ttt = lively_config(IL_MIXER_TTT_LINEAR, 16);
    ttt.share_qk = ttt.use_gate = ttt.pre_conv = 0;
    ttt.layers = 3;
    il_model *from = lively_model(engine, &attention, 1), *to = lively_model(engine, &ttt, 2);
    il_model *back = lively_model(engine, &attention, 3);
    uint64_t version = to->version;
    fates f = {0};
    assert_ok(il_model_take(to, from, note, &f, &error), error);
    assert_true(to->version > version); /* packed weights are stale */
    assert_int_equal(f.n[IL_TENSOR_TAKEN], 2 + 2 * 9);
    assert_int_equal(f.n[IL_TENSOR_TAKEN] + f.n[IL_TENSOR_FRESH], to->table.n);
    assert_int_equal(f.n[IL_TENSOR_LEFT], 0);
    static const char *const same[][2] = {
        {"model.embed_tokens.weight", "model.embed_tokens.weight"},
        {"model.layers.1.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"},
        {"model.layers.1.input_layernorm.weight", "model.layers.1.seq_norm.weight"},
        {"model.layers.0.post_attention_layernorm.weight", "model.layers.0.ffn_norm.weight"},
        {"model.layers.0.self_attn.v_proj.weight", "model.layers.0.seq_modeling_block.v_proj.weight"}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        assert_memory_equal(tensor(from, same[i][0]), tensor(to, same[i][1]),
                            il_table_find(&to->table, same[i][1])->count * sizeof(float));
    const float *halves = tensor(from, "model.layers.1.self_attn.k_proj.weight");
    const float *pairs = tensor(to, "model.layers.1.seq_modeling_block.k_proj.weight");
    for (int h = 0; h < HEADS; h++)
        for (int m = 0; m < D / 2; m++)
            for (int second = 0; second < 2; second++)
                assert_memory_equal(halves + (h * D + m + second * D / 2) * WIDTH,
                                    pairs + (h * D + 2 * m + second) * WIDTH, WIDTH * sizeof(float));
    assert_ok(il_model_take(back, to, NULL, NULL, &error), error);
    assert_memory_equal(back->weights, from->weights, from->table.floats * sizeof(float));
    il_model_unref(back);
    il_model_unref(to);
    il_model_unref(from);
    il_engine_close(engine);
}

/* Another vocabulary and another mini-batch: what depends on them is fresh, and left. Norms that are held as their
 * distance from 1 change their form. */
static void what_does_not_fit(void **unused) {
    (void)unused;
    il_error error;
    il_engine *engine = lively_engine(1, NULL);
    il_config one = lively_config(IL_MIXER_TTT_LINEAR, 16), other = lively_config(IL_MIXER_TTT_LINEAR, 8);
    one.vocab_size++;
    il_model *to = lively_model(engine, &one, 1), *from = lively_model(engine, &other, 2);
    fates f = {0};
    assert_ok(il_model_take(to, from, note, &f, &error), error);
    assert_int_equal(f.n[IL_TENSOR_FRESH], 1 + 2); /* the embedding; token_idx of both layers */
    assert_int_equal(f.n[IL_TENSOR_LEFT], 1 + 2);
    assert_string_equal(f.last, "model.layers.1.seq_modeling_block.learnable_token_idx");
    il_model_unref(to);
    other = lively_config(IL_MIXER_SELF_ATTENTION, 16);
    other.norm_offset = 1;
    to = lively_model(engine, &other, 3);
    assert_ok(il_model_take(to, from, NULL, NULL, &error), error);
    const float *offset = tensor(to, "model.norm.weight"), *scale = tensor(from, "model.norm.weight");
    for (int i = 0; i < WIDTH; i++) assert_true(offset[i] == scale[i] - 1.0F);
    il_model_unref(to);
    other = lively_config(IL_MIXER_TTT_LINEAR, 8);
    other.width = 36;
    other.heads = 2;
    other.mini_batch = 4;
    to = lively_model(engine, &other, 1);
    memset(&f, 0, sizeof f);
    assert_fails(il_model_take(to, from, note, &f, &error), IL_ERR_MISMATCH, error, "same name and shape");
    assert_int_equal(f.n[IL_TENSOR_TAKEN] + f.n[IL_TENSOR_FRESH] + f.n[IL_TENSOR_LEFT], 0);
    il_model_unref(to);
    il_model_unref(from);
    il_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_transformer_becomes_ttt_and_back),
                                       cmocka_unit_test(what_does_not_fit)};
    return cmocka_run_group_tests_name("take", tests, NULL, NULL);
}
