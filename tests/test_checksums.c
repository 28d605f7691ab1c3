/* test_checksums.c: the same bits on every machine. A committed list of checksums of logits, losses, gradients and
 * trained weights; any CPU, compiler or thread count that gives another list breaks the promise of one answer. After a
 * change that is meant to change bits run `build/tests/test_checksums list` and put its lines below. */
#include "support_test.h"

#include "session/session.h"
#include "support_lively.h"
#include "train/gradient.h"
#include "train/optimizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

enum { N = 200, VOCAB = 61, LENGTH = 40, SEQUENCES = 3 };

typedef struct {
    const char *name;
    il_mixer_kind mixer;
    int mini_batch, width, heads;
    int flags; /* share_qk, use_gate, pre_conv, a fast head of 30 tokens: 1, 2, 4, 8 */
    il_weight_type type;
    int fast_head;                           /* size */
    uint64_t logits, nll, gradient, weights; /* gradient and weights 0: not trained */
} entry;

static const entry list[] = {
    {"linear mamba", IL_MIXER_TTT_LINEAR, 16, 48, 3, 7, IL_WEIGHTS_F32, 0, 0x25146ee8e8bbbd52, 0xb385a90231e86a34,
     0x823972323d58836a, 0x3f9bb78afb7edf06},
    {"linear transformer", IL_MIXER_TTT_LINEAR, 7, 60, 2, 0, IL_WEIGHTS_F32, 0, 0xc729e8fd55a4cd55, 0xa8d3d3c140300ac9,
     0x1d874f1e2de98493, 0x4e3e14b2923edb6b},
    {"linear d64", IL_MIXER_TTT_LINEAR, 16, 128, 2, 7, IL_WEIGHTS_F32, 0, 0x3fc4b7e7f3a6b441, 0xc99de00344a49ed5,
     0x5a689eda377f2ffc, 0x798d7421ecd4aa59},
    {"linear decay", IL_MIXER_TTT_LINEAR_DECAY, 16, 48, 3, 7, IL_WEIGHTS_F32, 0, 0x460f0b7e13fb8edb, 0x20a130bdfa2d5978,
     0xe17834774906bdb0, 0xfe5232133226f428},
    {"mlp mamba", IL_MIXER_TTT_MLP, 16, 48, 3, 7, IL_WEIGHTS_F32, 0, 0x8a8bbec8ac37bd7d, 0xe9121318bd9d1a5c,
     0x27ecc8fd98af3b1d, 0xfc9293277b4c7b77},
    {"mlp transformer", IL_MIXER_TTT_MLP, 7, 60, 2, 0, IL_WEIGHTS_F32, 0, 0x0b1c7c770252d3ce, 0x4c32a14c5d0a9537,
     0x3e292d967012ed8a, 0x041c5f2bc7baaf20},
    {"mlp d64", IL_MIXER_TTT_MLP, 16, 128, 2, 7, IL_WEIGHTS_F32, 0, 0x993d933b1f33d112, 0x8794c9379a05060f,
     0x1f62dbab88db28a3, 0x9a161d38f166b42a},
    {"attention", IL_MIXER_SELF_ATTENTION, 16, 48, 3, 0, IL_WEIGHTS_F32, 0, 0xbd47d21e21a19f29, 0xcb84aa0562d8611f,
     0xc1f19566f3086242, 0xc5fbb38f5c872cf5},
    {"attention d64", IL_MIXER_SELF_ATTENTION, 16, 128, 2, 0, IL_WEIGHTS_F32, 0, 0xd40ff225dfe60d46, 0xb6d68817eccb8410,
     0x510d837be3710064, 0xbe672e31e1d62a73},
    {"gated delta", IL_MIXER_GATED_DELTA, 16, 48, 3, 0, IL_WEIGHTS_F32, 0, 0x592f33a16fc35d73, 0x344c3edbcf98cce6,
     0x16cb250e132cd199, 0x35c7027a2d2c20d8},
    {"gated delta d66", IL_MIXER_GATED_DELTA, 7, 132, 2, 0, IL_WEIGHTS_F32, 0, 0x36ecacfaf31b374f, 0x2f9475b74a26f1a0,
     0x9175f380f981bdbb, 0xef49c96adac8199b},
    {"linear mamba bf16", IL_MIXER_TTT_LINEAR, 16, 48, 3, 7, IL_WEIGHTS_BF16, 0, 0xf2004938d32a051b, 0xa7be8b8a94397f34,
     0, 0},
    {"attention bf16", IL_MIXER_SELF_ATTENTION, 16, 48, 3, 0, IL_WEIGHTS_BF16, 0, 0xe4f153e9b3f94e1e,
     0xc28486da074c7de4, 0, 0},
    {"linear mamba int8", IL_MIXER_TTT_LINEAR, 16, 48, 3, 7, IL_WEIGHTS_INT8, 0, 0xe32035b32f51376c, 0x254cec6853024862,
     0, 0},
    {"mlp d66 int8", IL_MIXER_TTT_MLP, 16, 132, 2, 7, IL_WEIGHTS_INT8, 0, 0x739dd9c3784a1a6c, 0xc0819ccbab2772b0, 0, 0},
    {"attention int8", IL_MIXER_SELF_ATTENTION, 16, 48, 3, 0, IL_WEIGHTS_INT8, 0, 0x17e71f527a992327,
     0x5a9ebf36cd3be3f7, 0, 0},
    {"linear mamba int4", IL_MIXER_TTT_LINEAR, 16, 48, 3, 7, IL_WEIGHTS_INT4, 0, 0x161b3bcfb0c0db3a, 0xa1560d3e00257af9,
     0x0000000000000000, 0x0000000000000000},
    {"gated delta int8", IL_MIXER_GATED_DELTA, 16, 48, 3, 0, IL_WEIGHTS_INT8, 0, 0x015f6b0be10ce39f, 0x3365f4360d973415,
     0, 0},
    {"linear fast head", IL_MIXER_TTT_LINEAR, 16, 48, 3, 7, IL_WEIGHTS_F32, 20, 0x95ddd08c007d6f41, 0xe8ab40399c3c77e2,
     0, 0},
    {"linear decay fast head", IL_MIXER_TTT_LINEAR_DECAY, 7, 60, 2, 0, IL_WEIGHTS_F32, 130, 0x52f8e39d0e22cc29,
     0xbf3711793fc7a6ca, 0, 0},
    {"mlp fast head bf16", IL_MIXER_TTT_MLP, 16, 48, 3, 7, IL_WEIGHTS_BF16, 32, 0x3a95b85ff1793d4b, 0x6c893408dad897d4,
     0, 0},
    {"attention fast head int8", IL_MIXER_SELF_ATTENTION, 16, 48, 3, 0, IL_WEIGHTS_INT8, 32, 0x7c61cf7c3e1f9be9,
     0x9dc1bca02beb3652, 0, 0},
    {"linear fast head of 30 tokens", IL_MIXER_TTT_LINEAR, 16, 48, 3, 15, IL_WEIGHTS_F32, 20, 0x81a75a2db771f3ad,
     0xb12cd5639909d0b9, 0, 0},
};
enum { ENTRIES = sizeof list / sizeof *list };

static uint64_t checksum(const float *x, size_t n) { return XXH3_64bits(x, n * sizeof *x); }

/* The entry as this engine computes it. */
static entry compute(il_engine *engine, const entry *e, uint64_t piece) {
    entry r = *e;
    il_error error;
    il_config config = lively_config(e->mixer, e->mini_batch);
    config.width = e->width;
    config.heads = e->heads;
    config.delta_key_heads = e->heads;
    config.delta_value_heads = 2 * e->heads;
    config.delta_key_width = e->width / e->heads;
    config.delta_value_width = e->width / e->heads + 3;
    config.share_qk = e->flags & 1;
    config.use_gate = e->flags >> 1 & 1;
    config.pre_conv = e->flags >> 2 & 1;
    il_model *model = lively_model(engine, &config, 21), *held;
    config.weights = e->type;
    config.fast_head_size = e->fast_head;
    config.fast_head_lr = 0.3;
    config.fast_head_tokens = e->flags & 8 ? 30 : 0;
    assert_ok(il_model_convert(model, &config, &held, &error), error);
    il_model_unref(model);
    model = held;
    int32_t tokens[N];
    static float logits[N * VOCAB], nll[N];
    lively_tokens(tokens, N, VOCAB, 8);
    il_session *session;
    assert_ok(il_session_open(model, NULL, &session, &error), error);
    for (size_t at = 0; at < N;) {
        size_t n = N - at < piece ? N - at : piece;
        il_feed feed = {
            .session = session, .tokens = tokens + at, .n = n, .nll = nll + at, .logits = logits + at * VOCAB};
        assert_ok(il_feed_many(&feed, 1, &error), error);
        at += n;
    }
    il_session_close(session);
    r.logits = checksum(logits, N * VOCAB);
    r.nll = checksum(nll + 1, N - 1);
    if (e->type != IL_WEIGHTS_F32 || e->fast_head) {
        il_model_unref(model);
        return r;
    }

    il_gradient gradient;
    il_optimizer optimizer;
    il_trainer_options options;
    il_trainer_options_default(&config, &options);
    assert_ok(il_gradient_open(model, SEQUENCES, LENGTH, 0, IL_GRADIENT, &gradient, &error), error);
    assert_ok(il_optimizer_open(engine, model->table.floats, NULL, 0, &optimizer, &error), error);
    for (uint64_t step = 1; step <= 3; step++) {
        double loss;
        assert_ok(il_gradient_batch(&gradient, tokens, NULL, SEQUENCES, 0.75F, &loss, &error), error);
        if (step == 1) r.gradient = checksum(gradient.gradient, model->table.floats);
        il_optimizer_squares(&optimizer, gradient.gradient);
        double norm = il_optimizer_norm(optimizer.partial, optimizer.n_own);
        il_optimizer_update(&optimizer, &options, step, 1e-3, 1 / norm, gradient.gradient, model->weights);
        model->version++;
    }
    r.weights = checksum(model->weights, model->table.floats);
    il_optimizer_close(&optimizer);
    il_gradient_close(&gradient);
    il_model_unref(model);
    return r;
}

static void print_list(void) {
    static const char *const mixers[] = {"IL_MIXER_SELF_ATTENTION", "IL_MIXER_GATED_DELTA", "IL_MIXER_TTT_LINEAR",
                                         "IL_MIXER_TTT_LINEAR_DECAY", "IL_MIXER_TTT_MLP"};
    static const char *const types[] = {"IL_WEIGHTS_F32", "IL_WEIGHTS_BF16", "IL_WEIGHTS_INT8", "IL_WEIGHTS_INT4"};
    il_engine *engine = lively_engine(1, "portable");
    for (int i = 0; i < ENTRIES; i++) {
        entry r = compute(engine, &list[i], N);
        printf("    {\"%s\", %s, %d, %d, %d, %d, %s, %d, 0x%016llx, 0x%016llx, 0x%016llx, 0x%016llx},\n", r.name,
               mixers[r.mixer], r.mini_batch, r.width, r.heads, r.flags, types[r.type], r.fast_head,
               (unsigned long long)r.logits, (unsigned long long)r.nll, (unsigned long long)r.gradient,
               (unsigned long long)r.weights);
    }
    il_engine_close(engine);
}

static void the_same_bits_on_every_machine(void **unused) {
    (void)unused;
    for (const lively_way *way = lively_ways(); way->threads; way++) {
        il_engine *engine = lively_engine(way->threads, way->kernels);
        for (int i = 0; i < ENTRIES; i++) {
            entry r = compute(engine, &list[i], way->threads > 1 ? 23 : N);
            if (r.logits != list[i].logits || r.nll != list[i].nll || r.gradient != list[i].gradient ||
                r.weights != list[i].weights)
                fail_msg("%s on %s with %d threads: logits %s, nll %s, gradient %s, weights %s", r.name, way->kernels,
                         way->threads, r.logits == list[i].logits ? "same" : "differ",
                         r.nll == list[i].nll ? "same" : "differ", r.gradient == list[i].gradient ? "same" : "differ",
                         r.weights == list[i].weights ? "same" : "differ");
        }
        il_engine_close(engine);
    }
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "list")) {
        print_list();
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_bits_on_every_machine)};
    return cmocka_run_group_tests_name("checksums", tests, NULL, NULL);
}
