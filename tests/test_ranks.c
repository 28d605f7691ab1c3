/* test_ranks.c: one training run by several processes. Checkpoints are the same files for any number of ranks and in
 * any mixture of them over time; what is sent is what must be; who differs, fails, dies or hangs is named on all of
 * them. The ranks are forked processes, joined by sockets. */
#include "support_test.h"

#include "support_alloc.h"
#include "support_fault.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_ranks.h"
#include "support_train.h"
#include "train/exchange.h"
#include "train/optimizer.h"
#include "train/trainer.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LANES = 8, SEQUENCES = 8, LENGTH = 16, STEPS = 2, VOCAB = SUPPORT_TRAIN_VOCAB };

/* ---- lanes ---- */

static void subtrees_of_lanes(void **unused) {
    (void)unused;
    for (int lanes = 1; lanes <= 64; lanes *= 2)
        for (int ranks = 1; ranks <= lanes; ranks++) {
            il_nodes all = {.n = 0};
            int additions = 0, next = 0;
            for (int r = 0; r < ranks; r++) {
                int from = il_lanes_begin(lanes, ranks, r), to = il_lanes_begin(lanes, ranks, r + 1), most;
                il_nodes own = il_nodes_of(from, to, &most);
                assert_true(to > from && own.n <= most && most <= IL_NODES_MAX);
                if ((ranks & (ranks - 1)) == 0) assert_int_equal(own.n, 1);
                for (int k = 0; k < own.n; k++) {
                    assert_int_equal(own.node[k].first, next);
                    assert_int_equal(own.node[k].first % own.node[k].size, 0);
                    next += own.node[k].size;
                    additions += own.node[k].size - 1 + il_nodes_add(&all, own.node[k]);
                }
            }
            assert_int_equal(all.n, 1);
            assert_int_equal(all.node[0].size, lanes);
            assert_int_equal(additions, lanes - 1);
        }
    int most;
    il_nodes_of(0, 8, &most); /* a counter: not a buffer for each lane */
    assert_int_equal(most, 4);
}

/* ---- sums ---- */

enum { PIECES = 70, FLOATS = (PIECES - 1) * IL_WEIGHTS_PIECE + 12345, SUMS_ROUNDS = 2 };

/* Numbers whose sum depends on the order. */
static float number(int lane, size_t i) {
    uint32_t x = (uint32_t)i * 2654435761u ^ (uint32_t)lane * 40503u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    return ((float)(x & 0xFFFF) - 32768.0F) * (x >> 16 & 1 ? 1.0F : 1e-4F);
}

static float tree(int first, int size, size_t i) {
    return size == 1 ? number(first, i) : tree(first, size / 2, i) + tree(first + size / 2, size / 2, i);
}

static float weight(size_t i) { return (float)(i % 1000003); }

/* In every piece the first and the last numbers count, and some between; the others are 0. */
enum { EVERY = 643 };
static size_t next_of(size_t i) { return (i / EVERY + 1) * EVERY; }

/* Gives out a lane from its end to its beginning, as a backward pass does. */
static void give_lane(il_exchange *x, int lane) {
    float *to = il_exchange_lane(x, lane);
    enum { AT_ONCE = 9 * IL_WEIGHTS_PIECE + 77 };
    for (size_t end = FLOATS, from; end; end = from) {
        from = end > AT_ONCE ? end - AT_ONCE : 0;
        memset(to + from, 0, (end - from) * sizeof *to);
        for (size_t i = from ? next_of(from - 1) : 0; i < end; i = next_of(i)) to[i] = number(lane, i);
        il_exchange_ready(x, from);
    }
    il_exchange_add(x);
}

static il_status sum_lanes(const il_transport *transport, void *context, il_error *error) {
    int lanes = *(int *)context;
    il_engine_options options;
    il_engine *engine;
    il_ranks *ranks;
    il_exchange x;
    il_engine_options_default(&options);
    options.threads = 1;
    if (il_engine_open(&options, &engine, error)) return IL_ERR_ARG;
    if (il_ranks_open(engine, transport, &ranks, error)) return IL_ERR_ARG;
    float *first = malloc(FLOATS * sizeof *first), *weights = malloc(FLOATS * sizeof *weights);
    if (!first || !weights) return IL_ERR_NOMEM;
    il_status status = il_exchange_open(engine, ranks, lanes, FLOATS, first, &x, error);
    uint64_t before = il_ranks_bytes_sent(ranks);
    for (int round = 0; round < SUMS_ROUNDS && !status; round++) {
        il_exchange_begin(&x);
        x.overlaps = round;
        for (int lane = il_lanes_begin(lanes, x.size, x.rank); lane < il_lanes_begin(lanes, x.size, x.rank + 1); lane++)
            give_lane(&x, lane);
        if (x.size > 1 && (x.early > 0) != x.overlaps)
            status = IL_ERR_ARG; /* some is sent while there is more to compute */
        if (!status) status = il_exchange_finish(&x, error);
        memset(weights, 0, FLOATS * sizeof *weights);
        for (int k = 0; k < x.n_own && !status; k++) {
            size_t begin = (size_t)x.own[k] * IL_WEIGHTS_PIECE, n = il_weights_size(FLOATS, x.own[k], x.own[k] + 1);
            for (size_t i = begin ? next_of(begin - 1) : 0; i < begin + n; i = next_of(i)) {
                weights[i] = weight(i);
                if (first[i] != tree(0, lanes, i)) status = IL_ERR_MISMATCH;
            }
        }
        if (!status) status = il_exchange_weights(&x, weights, error);
        for (size_t i = 0; i < FLOATS && !status; i = next_of(i))
            if (weights[i] != weight(i)) status = IL_ERR_FORMAT;
    }
    if (!status && il_ranks_bytes_sent(ranks) - before != SUMS_ROUNDS * il_exchange_bytes(&x)) status = IL_ERR_END;
    uint64_t all = FLOATS * sizeof(float), own = 0; /* 8P(R-1)/R, as far as pieces can be shared out evenly */
    for (int k = 0; k < x.n_own; k++) own += il_weights_size(FLOATS, x.own[k], x.own[k] + 1) * sizeof(float);
    int size = x.size, even = (size & (size - 1)) == 0;
    if (!status && !even &&
        il_exchange_bytes(&x) != (uint64_t)x.nodes[x.rank].n * (all - own) + own * (uint64_t)(size - 1))
        status = IL_ERR_UNSUPPORTED;
    double ideal = 2.0 * (double)all * (size - 1) / size;
    if (!status && even && fabs((double)il_exchange_bytes(&x) - ideal) > 0.1 * ideal) status = IL_ERR_UNSUPPORTED;
    il_exchange_close(&x);
    il_ranks_close(ranks);
    il_engine_close(engine);
    free(weights);
    free(first);
    return status;
}

static void sums_do_not_depend_on_ranks(void **unused) {
    (void)unused;
    static const int cases[][2] = {{1, 4}, {2, 2}, {3, 4}, {4, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        support_rank ranks[SUPPORT_RANKS_MAX];
        int lanes = cases[i][1];
        support_ranks_run(cases[i][0], sum_lanes, &lanes, ranks);
        for (int r = 0; r < cases[i][0]; r++)
            if (ranks[r].killed || ranks[r].status)
                fail_msg("rank %d of %d: %s %s", r, cases[i][0], il_status_name(ranks[r].status),
                         ranks[r].error.message);
    }
}

/* ---- training ---- */

typedef struct {
    const char *shard, *out;
    il_mixer_kind mixer;
    int lanes, stateful, resumes, guarded;
    int ffn_width; /* 0: a model of two buckets */
    uint64_t until;
    int odd_rank; /* this one is different, in the following way; -1: none */
    enum {
        ODD_LR = 1,
        ODD_SEED,
        ODD_MODEL,
        ODD_LANES,
        ODD_DIES,
        ODD_HANGS,
        ODD_IS_INFINITE,
        ODD_DISK,
        ODD_DIES_SAVING /* at its call `at` of the file system */
    } how;
    long at;
    double expected; /* what validation finds */
} job;

typedef struct {
    il_engine *engine;
    il_ranks *ranks;
    il_model *model;
    il_data *data;
    il_trainer *trainer;
} rank_run;

static il_status open_run(const job *j, const il_transport *transport, rank_run *r, il_error *error) {
    int odd = transport && transport->rank == j->odd_rank ? (int)j->how : 0;
    il_engine_options e;
    il_engine_options_default(&e);
    e.threads = transport && transport->rank == 1 && transport->size == 2 ? 2 : 1;
    e.kernels = transport && transport->rank == 2 && transport->size == 3 ? "portable" : NULL; /* one of another kind */
    if (j->guarded) e.allocator = support_alloc_guarded();
    il_config config = lively_config(j->mixer, 8);
    config.width = 96; /* 18 pieces of weights: two buckets */
    config.heads = 2;
    config.ffn_width = j->ffn_width ? j->ffn_width : 1800;
    config.bos_token = 1;
    il_status status = il_engine_open(&e, &r->engine, error);
    if (!status && transport) status = il_ranks_open(r->engine, transport, &r->ranks, error);
    if (!status) status = il_model_init(r->engine, &config, odd == ODD_MODEL ? 4 : 3, &r->model, error);
    il_data_options d;
    il_data_options_default(&d);
    d.length = LENGTH;
    d.sequences = SEQUENCES;
    d.shuffle = 1;
    d.stateful = j->stateful;
    d.seed = odd == ODD_SEED ? 6 : 5;
    d.loop = 1;
    d.bos_token = 1;
    if (!status) status = il_data_open(r->engine, &j->shard, 1, NULL, VOCAB, &d, &r->data, error);
    il_trainer_options o;
    il_trainer_options_default(&config, &o);
    o.steps = 20;
    o.lr = odd == ODD_LR ? 2e-2 : 1e-2;
    o.warmup = 1;
    o.lanes = odd == ODD_LANES ? 2 * j->lanes : j->lanes;
    o.ranks = r->ranks;
    if (!status) status = il_trainer_open(r->model, r->data, &o, &r->trainer, error);
    return status;
}

static void close_run(rank_run *r) {
    il_trainer_close(r->trainer);
    il_data_close(r->data);
    il_model_unref(r->model);
    il_ranks_close(r->ranks);
    il_engine_close(r->engine);
}

/* Until rank 0 ends. */
static void hang(const il_transport *transport) {
    static char bytes[1 << 16];
    il_transfer t = {.peer = 0, .data = bytes, .bytes = sizeof bytes};
    for (t.done = 1; t.done > 0;) {
        t.done = 0;
        transport->begin(transport->user, &t, NULL);
        while (!t.done) transport->progress(transport->user, 100, NULL);
    }
    _exit(0);
}

static il_status train(const il_transport *transport, void *context, il_error *error) {
    const job *j = context;
    rank_run r = {0};
    il_step step;
    int odd = transport && transport->rank == j->odd_rank ? (int)j->how : 0;
    il_status status = open_run(j, transport, &r, error);
    if (transport && transport->rank) umask(0277); /* rank 0 alone makes files */
    if (!status && j->resumes) status = il_trainer_resume(r.trainer, j->out, error);
    for (int i = 0; !status && !j->stateful && i < r.trainer->gradient.n_states; i++)
        if (r.trainer->gradient.states[i].position) /* nothing was carried */
            status = (error->status = IL_ERR_MISMATCH, snprintf(error->message, 99, "a position"), IL_ERR_MISMATCH);
    while (!status && il_trainer_steps_done(r.trainer) < j->until) {
        if (odd == ODD_DIES && il_trainer_steps_done(r.trainer) == 1) raise(SIGKILL);
        if (odd == ODD_HANGS && il_trainer_steps_done(r.trainer) == 1) hang(transport);
        if (j->how == ODD_HANGS && il_trainer_steps_done(r.trainer) == 1) il_ranks_watch(r.ranks, 0.3);
        if (odd == ODD_IS_INFINITE && il_trainer_steps_done(r.trainer) == 1) {
            r.model->weights[r.model->layers[1].w1.at] = INFINITY; /* of this one alone */
            r.model->version++;
        }
        uint64_t before = il_ranks_bytes_sent(r.ranks);
        status = il_trainer_step(r.trainer, &step, error);
        int size = transport ? transport->size : 1; /* what is told: status, losses, squares */
        uint64_t told = 8 * (1 + (uint64_t)r.trainer->own + (uint64_t)r.trainer->optimizer.n_own);
        uint64_t sent = il_exchange_bytes(&r.trainer->exchange) + (uint64_t)(size - 1) * told;
        if (!status && il_ranks_bytes_sent(r.ranks) - before != sent)
            status = (error->status = IL_ERR_END, snprintf(error->message, 99, "bytes sent"), IL_ERR_END);
        /* the second bucket leaves while the first layer is still to be computed */
        if (!status && size > 1 && !j->ffn_width && !r.trainer->exchange.early)
            status = (error->status = IL_ERR_END, snprintf(error->message, 99, "no overlap"), IL_ERR_END);
    }
    if (odd == ODD_DISK) support_fault_on("write", ENOSPC);
    if (odd == ODD_DIES_SAVING) support_fault_kill_at(j->at);
    if (!status) status = il_trainer_save(r.trainer, NULL, j->out, error);
    close_run(&r);
    return status;
}

static void must_train(int size, job *j) {
    support_rank ranks[SUPPORT_RANKS_MAX];
    j->odd_rank = -1;
    support_ranks_run(size, train, j, ranks);
    int failed = 0;
    for (int r = 0; r < size; r++) {
        if (!ranks[r].killed && !ranks[r].status) continue;
        print_message("rank %d of %d: %s%s\n", r, size, ranks[r].killed ? "killed " : "", ranks[r].error.message);
        failed = 1;
    }
    assert_false(failed);
}

static void same_checkpoints(const char *a, const char *b) {
    static const char *const files[] = {"trainer.json", "trainer.safetensors", "model.safetensors", "config.json",
                                        "generation_config.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char one[4200], other[4200];
        snprintf(one, sizeof one, "%s/latest/%s", a, files[i]);
        snprintf(other, sizeof other, "%s/latest/%s", b, files[i]);
        support_same_files(one, other);
        struct stat his, mine;
        assert_true(stat(one, &his) == 0 && stat(other, &mine) == 0);
        assert_int_equal(his.st_mode, mine.st_mode);
    }
}

/* In one go with each number of ranks, and in parts with different ones, from one process and back to it. */
static void any_number_of_ranks_gives_the_same_files(void **unused) {
    (void)unused;
    static const struct {
        il_mixer_kind mixer;
        int stateful, sizes[7];
    } cases[] = {{IL_MIXER_TTT_LINEAR_DECAY, 1, {2, 3, 5, 8}}, {IL_MIXER_SELF_ATTENTION, 0, {3}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = support_folder_make(), alone[4096], many[4096], mixed[4096];
        snprintf(alone, sizeof alone, "%s/alone", folder);
        snprintf(many, sizeof many, "%s/many", folder);
        snprintf(mixed, sizeof mixed, "%s/mixed", folder);
        job j = {.shard = support_train_shard(folder), .mixer = cases[i].mixer, .stateful = cases[i].stateful};
        j.lanes = LANES;
        j.until = STEPS;
        j.out = alone;
        j.odd_rank = -1;
        il_error error;
        assert_ok(train(NULL, &j, &error), error);
        for (int k = 0; cases[i].sizes[k]; k++) {
            j.out = many;
            must_train(cases[i].sizes[k], &j);
            same_checkpoints(alone, many);
        }
        assert_int_equal(support_folder_count(many), 2); /* step-2, latest: no lock, nothing half-written */
        /* 0: a process of its own; what is read that nobody has written is seen (support_alloc_guarded) */
        static const int chains[][STEPS] = {{5, 3}, {0, 0}};
        j.guarded = 1;
        for (size_t k = 0; k < sizeof chains / sizeof *chains; k++) {
            snprintf(mixed, sizeof mixed, "%s/mixed-%zu", folder, k);
            j.out = mixed;
            j.resumes = 0;
            for (j.until = 1; j.until <= STEPS; j.until++, j.resumes = 1)
                if (chains[k][j.until - 1])
                    must_train(chains[k][j.until - 1], &j);
                else
                    assert_ok(train(NULL, &j, &error), error);
            same_checkpoints(alone, mixed);
        }
        support_folder_remove(folder);
    }
}

/* ---- validation ---- */

enum { VALIDATED = 7 };

/* Opens what it validates on, of as many batches, and does so. */
static il_status evaluate_by(rank_run *r, const job *j, double *loss, il_error *error) {
    il_data_options d;
    il_data *data;
    il_data_options_default(&d);
    d.length = LENGTH;
    d.sequences = 1;
    d.bos_token = 1;
    il_status status = il_data_open(r->engine, &j->shard, 1, NULL, VOCAB, &d, &data, error);
    if (!status) status = il_trainer_eval(r->trainer, data, VALIDATED, loss, error);
    il_data_close(data);
    return status;
}

static il_status evaluate(const il_transport *transport, void *context, il_error *error) {
    const job *j = context;
    rank_run r = {0};
    double loss;
    il_status status = open_run(j, transport, &r, error);
    if (!status && transport->rank == j->odd_rank) {
        r.model->weights[r.model->layers[1].w1.at] = INFINITY;
        r.model->version++;
    }
    uint64_t before = il_ranks_bytes_sent(r.ranks), others = (uint64_t)transport->size - 1;
    uint64_t own =
        il_ranks_from(r.ranks, VALIDATED, transport->rank + 1) - il_ranks_from(r.ranks, VALIDATED, transport->rank);
    if (!status) status = evaluate_by(&r, j, &loss, error);
    if (!status && loss != j->expected) status = IL_ERR_MISMATCH;
    /* how it fares, and its own losses */
    if (!status && il_ranks_bytes_sent(r.ranks) - before != others * (2 * sizeof(int32_t) + own * sizeof(double)))
        status = IL_ERR_END;
    close_run(&r);
    return status;
}

/* Each reads a part of it, none where there are more ranks than batches, and all get the same number. */
static void validation_is_shared(void **unused) {
    (void)unused;
    char *folder = support_folder_make();
    support_rank ranks[SUPPORT_RANKS_MAX];
    il_error error;
    rank_run alone = {0};
    job j = {.shard = support_train_shard(folder), .mixer = IL_MIXER_TTT_LINEAR, .lanes = LANES, .ffn_width = 48};
    j.odd_rank = -1;
    assert_ok(open_run(&j, NULL, &alone, &error), error);
    assert_ok(evaluate_by(&alone, &j, &j.expected, &error), error);
    close_run(&alone);
    for (int size = 1; size <= 8; size += size == 3 ? 5 : 1) {
        support_ranks_run(size, evaluate, &j, ranks);
        for (int r = 0; r < size; r++)
            if (ranks[r].killed || ranks[r].status)
                fail_msg("rank %d of %d: %s %s", r, size, il_status_name(ranks[r].status), ranks[r].error.message);
    }
    j.odd_rank = 1;
    support_ranks_run(3, evaluate, &j, ranks);
    for (int r = 0; r < 3; r++) {
        assert_int_equal(ranks[r].status, IL_ERR_NONFINITE);
        assert_non_null(strstr(ranks[r].error.message, "step 0: rank 1 ("));
        assert_non_null(strstr(ranks[r].error.message, "): the loss of validation is not finite"));
    }
    support_folder_remove(folder);
}

/* One lane is the sums of always; several are another tree. */
static void lanes_are_part_of_the_sum(void **unused) {
    (void)unused;
    char *folder = support_folder_make();
    il_error error;
    job j = {.shard = support_train_shard(folder), .mixer = IL_MIXER_TTT_LINEAR, .odd_rank = -1};
    rank_run one = {0}, eight = {0};
    il_step a, b;
    j.lanes = 1;
    assert_ok(open_run(&j, NULL, &one, &error), error);
    j.lanes = 8;
    assert_ok(open_run(&j, NULL, &eight, &error), error);
    assert_int_equal(eight.trainer->exchange.n_buffers, 4);
    assert_int_equal(one.trainer->gradient.micro, SEQUENCES);
    assert_int_equal(eight.trainer->gradient.micro, SEQUENCES / 8); /* no memory for more at once */
    assert_ok(il_trainer_step(one.trainer, &a, &error), error);
    assert_ok(il_trainer_step(eight.trainer, &b, &error), error);
    assert_true(a.loss == b.loss && a.grad_norm != b.grad_norm && fabs(a.grad_norm / b.grad_norm - 1) < 1e-5);
    char *out = strdup(support_path(folder, "out"));
    assert_ok(il_trainer_save(eight.trainer, NULL, out, &error), error);
    assert_fails(il_trainer_resume(one.trainer, out, &error), IL_ERR_MISMATCH, error, "lanes was 8, is 1");
    il_trainer_options o = one.trainer->options;
    il_trainer *none;
    static const int wrong[][2] = {{3, 0}, {0, 0}, {2048, 0}, {16, 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        o.lanes = wrong[i][0];
        assert_fails(il_trainer_open(one.model, one.data, &o, &none, &error), IL_ERR_ARG, error,
                     wrong[i][1] ? "cannot be cut into 16 equal lanes" : "power of two");
    }
    free(out);
    close_run(&one);
    close_run(&eight);
    support_folder_remove(folder);
}

/* All ranks fail with the same words, which hold these. */
static void must_fail(int size, job *j, il_status status, const char *says, const char *says_too) {
    support_rank ranks[SUPPORT_RANKS_MAX];
    support_ranks_run(size, train, j, ranks);
    for (int r = 0; r < size; r++) {
        if (r == j->odd_rank && (j->how == ODD_DIES || j->how == ODD_HANGS)) continue;
        if (ranks[r].status != status || !strstr(ranks[r].error.message, says) ||
            !strstr(ranks[r].error.message, says_too))
            fail_msg("rank %d: %s: %s", r, il_status_name(ranks[r].status), ranks[r].error.message);
    }
}

static void who_differs_is_named(void **unused) {
    (void)unused;
    char *folder = support_folder_make(), out[4096];
    snprintf(out, sizeof out, "%s/out", folder);
    job j = {.shard = support_train_shard(folder), .out = out, .mixer = IL_MIXER_TTT_LINEAR, .lanes = 4, .until = 2};
    j.odd_rank = 2;
    j.how = ODD_LR;
    must_fail(3, &j, IL_ERR_MISMATCH, "rank 2 (", "lr is 0.02, but 0.01 on rank 0");
    j.how = ODD_SEED;
    must_fail(3, &j, IL_ERR_MISMATCH, "rank 2 (", "seed is 6, but 5 on rank 0");
    j.how = ODD_LANES;
    must_fail(3, &j, IL_ERR_MISMATCH, "rank 2 (", "lanes is 8, but 4 on rank 0");
    j.how = ODD_MODEL;
    j.odd_rank = 1;
    must_fail(2, &j, IL_ERR_MISMATCH, "rank 1 (", "model is ");
    must_fail(5, &j, IL_ERR_ARG, "5 ranks share the work of 4 lanes", "");
    assert_false(support_exists(out));
    support_folder_remove(folder);
}

static void who_dies_or_hangs_is_named(void **unused) {
    (void)unused;
    char *folder = support_folder_make(), out[4096];
    snprintf(out, sizeof out, "%s/out", folder);
    job j = {.shard = support_train_shard(folder), .out = out, .mixer = IL_MIXER_TTT_LINEAR, .lanes = 4, .until = 3};
    for (int size = 2; size <= 3; size++) { /* by halving, and all to all */
        j.odd_rank = 1;
        j.how = ODD_DIES;
        support_rank ranks[SUPPORT_RANKS_MAX];
        support_ranks_run(size, train, &j, ranks);
        assert_true(ranks[1].killed);
        assert_int_equal(ranks[0].status, IL_ERR_IO);
        assert_non_null(strstr(ranks[0].error.message, " is gone"));
        if (size == 2) assert_non_null(strstr(ranks[0].error.message, "rank 1 ("));
    }
    j.how = ODD_HANGS;
    must_fail(2, &j, IL_ERR_IO, "nothing was heard for 0.3 s of rank 1 (", "process ");
    support_folder_remove(folder);
}

/* What goes wrong on one rank is told by all, and the last checkpoint stays. */
static void who_fails_is_named(void **unused) {
    (void)unused;
    char *folder = support_folder_make(), out[4096];
    snprintf(out, sizeof out, "%s/out", folder);
    job j = {.shard = support_train_shard(folder), .out = out, .mixer = IL_MIXER_TTT_LINEAR, .lanes = 4, .until = 1};
    must_train(3, &j);
    j.until = 2;
    j.odd_rank = 1;
    j.how = ODD_IS_INFINITE;
    must_fail(2, &j, IL_ERR_NONFINITE, "step 2: rank 1 (", "): the loss is not finite: layer 1, ");
    must_fail(3, &j, IL_ERR_NONFINITE, "step 2: rank 1 (", "): the loss is not finite: layer 1, ");
    j.how = ODD_DISK;
    for (j.odd_rank = 0; j.odd_rank < 2; j.odd_rank++) {
        char name[20];
        snprintf(name, sizeof name, "rank %d (", j.odd_rank);
        must_fail(2, &j, IL_ERR_IO, name, "cannot write: No space left on device");
        assert_int_equal(support_folder_count(out), 2); /* step-1, latest */
    }
    j.how = 0;
    j.resumes = 1;
    must_train(2, &j);
    support_folder_remove(folder);
}

/* Wherever one of them is killed while they save together, the checkpoint is there whole or not at all, the others say
 * who is gone, and the run goes on to the same files. */
static void killed_while_saving(void **unused) {
    (void)unused;
    char *folder = support_folder_make(), alone[4096], out[4096], latest[4200];
    support_rank ranks[SUPPORT_RANKS_MAX];
    il_error error;
    job j = {.shard = support_train_shard(folder), .mixer = IL_MIXER_TTT_LINEAR_DECAY, .lanes = 4, .until = 1};
    j.ffn_width = 300; /* each rank has pieces of its own */
    j.odd_rank = -1;
    snprintf(alone, sizeof alone, "%s/alone", folder);
    j.out = alone;
    assert_ok(train(NULL, &j, &error), error);
    j.out = out;
    for (int odd = 0; odd < 2; odd++) {
        int killed = 1;
        for (j.at = 1; killed; j.at *= 4) {
            snprintf(out, sizeof out, "%s/out-%d-%ld", folder, odd, j.at);
            snprintf(latest, sizeof latest, "%s/latest", out);
            j.odd_rank = odd;
            j.how = ODD_DIES_SAVING;
            j.resumes = 0;
            support_ranks_run(2, train, &j, ranks);
            killed = ranks[odd].killed;
            assert_false(ranks[!odd].killed);
            for (int r = 0; r < 2; r++) /* who was killed at the very last call is not missed */
                if (!ranks[r].killed && ranks[r].status && !(killed && strstr(ranks[r].error.message, " is gone")))
                    fail_msg("rank %d, call %ld of rank %d: %s", r, j.at, odd, ranks[r].error.message);
            j.resumes = support_exists(latest);
            if (j.resumes) same_checkpoints(alone, out);
            must_train(3, &j);
            same_checkpoints(alone, out);
            assert_in_range(support_folder_count(out), 2, 3); /* step-1, once or twice, latest */
        }
        assert_true(j.at > 16);
    }
    support_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subtrees_of_lanes),          cmocka_unit_test(sums_do_not_depend_on_ranks),
        cmocka_unit_test(lanes_are_part_of_the_sum),  cmocka_unit_test(any_number_of_ranks_gives_the_same_files),
        cmocka_unit_test(who_differs_is_named),       cmocka_unit_test(who_fails_is_named),
        cmocka_unit_test(who_dies_or_hangs_is_named), cmocka_unit_test(validation_is_shared),
        cmocka_unit_test(killed_while_saving),
    };
    return cmocka_run_group_tests_name("ranks", tests, NULL, NULL);
}
