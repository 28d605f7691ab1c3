/* bench_gemm.c: the exact product beside oneDNN's packed fp32 product, same run, same threads. Rounds
 * alternate between the two; printed is each one's best and the median of the paired ratios. bench_gemm
 * [threads [rounds [sets]]]: sets of operands that products take in turn; with 1 all but the first find theirs in a
 * cache, with many none does. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/gemm.h"
#include "engine/onednn.h"
#include "timing.h"

static void nap(void) { nanosleep(&(struct timespec){0, 20 * 1000 * 1000}, NULL); } /* lets spinning threads sleep */

static float *numbers(size_t n) {
    float *x = aligned_alloc(64, (n * sizeof *x + 63) / 64 * 64);
    if (!x) exit(1);
    for (size_t i = 0; i < n; i++) x[i] = (float)((i * 2654435761u >> 7) % 2001) / 1000.0f - 1.0f;
    return x;
}

/* oneDNN, il_gemm_packed, il_gemm, il_gemm with a transposed in memory. */
enum { ROUNDS_MAX = 100, SETS_MAX = 40, CONTENDERS = 4 };

typedef struct operands {
    float *a, *b, *c, *packed;
    il_onednn *peer;
} operands;

static operands make(il_engine *engine, int m, int n, int k) {
    operands o = {numbers((size_t)m * (size_t)k), numbers((size_t)k * (size_t)n), numbers((size_t)m * (size_t)n),
                  numbers(il_packed_floats(n, k)), NULL};
    il_error error;
    il_allocator memory = il_allocator_default();
    engine->kernels->pack(n, k, o.b, n, 1, o.packed);
    if (il_onednn_open(&memory, il_engine_threads(engine), IL_ONEDNN_F32, m, n, k, o.a, o.b, o.c, &o.peer, &error)) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    return o;
}

static void end(operands *o) {
    il_onednn_close(o->peer);
    free(o->a), free(o->b), free(o->c), free(o->packed);
}

static void multiply(il_engine *engine, int who, int m, int n, int k, const operands *o) {
    if (who == 0)
        il_onednn_run(o->peer);
    else if (who == 1)
        il_gemm_packed(engine, m, n, k, (il_matrix){o->a, k, 1}, o->packed, o->c, n, 0);
    else if (who == 2)
        il_gemm(engine, m, n, k, (il_matrix){o->a, k, 1}, (il_matrix){o->b, n, 1}, o->c, n, 0);
    else
        il_gemm(engine, m, n, k, (il_matrix){o->a, 1, m}, (il_matrix){o->b, n, 1}, o->c, n, 0);
}

static void bench(il_engine *engine, int m, int n, int k, int rounds, int sets) {
    const double flop = 2.0 * m * n * k;
    int repeat = (int)(4e9 / flop);
    if (repeat < 1) repeat = 1;
    if (m < 16) repeat = 1 + (int)(5e8 / flop);
    if (repeat < sets) repeat = sets;
    operands o[SETS_MAX];
    double best[CONTENDERS], ratio[CONTENDERS][ROUNDS_MAX];
    for (int i = 0; i < sets; i++) o[i] = make(engine, m, n, k);
    for (int who = 0; who < CONTENDERS; who++) best[who] = 1e9;
    for (int round = -1; round < rounds; round++) { /* round -1 warms up */
        double took[CONTENDERS];
        for (int who = 0; who < CONTENDERS; who++) {
            nap();
            double start = now_s();
            for (int i = 0; i < repeat; i++) multiply(engine, who, m, n, k, &o[i % sets]);
            took[who] = (now_s() - start) / repeat;
            if (round >= 0 && took[who] < best[who]) best[who] = took[who];
        }
        if (round < 0) continue;
        for (int who = 1; who < CONTENDERS; who++) ratio[who][round] = took[0] / took[who];
    }
    printf("%6d %6d %6d %8.1f", m, n, k, flop / best[0] * 1e-9);
    for (int who = 1; who < CONTENDERS; who++) {
        qsort(ratio[who], (size_t)rounds, sizeof **ratio, compare);
        printf(" %8.1f %5.2f", flop / best[who] * 1e-9, ratio[who][rounds / 2]);
    }
    printf(" %8.1f\n", (double)n * k * 4 / best[1] * 1e-9);
    fflush(stdout);
    for (int i = 0; i < sets; i++) end(&o[i]);
}

int main(int argc, char **argv) {
    static const int shapes[][3] = {{2048, 768, 768}, {2048, 2048, 768}, {2048, 768, 2048},
                                    {64, 768, 2048},  {64, 768, 768},    {512, 32000, 768},
                                    {16, 768, 768},   {1, 768, 768},     {1, 32000, 768}};
    il_engine_options options;
    il_engine *engine;
    il_engine_options_default(&options);
    options.threads = argc > 1 ? atoi(argv[1]) : 0;
    int rounds = argc > 2 ? atoi(argv[2]) : 7, sets = argc > 3 ? atoi(argv[3]) : 1;
    if (rounds < 1 || rounds > ROUNDS_MAX || sets < 1 || sets > SETS_MAX || il_engine_open(&options, &engine, NULL))
        return 2;
    if (il_engine_threads(engine) == 1) clock_used = CLOCK_PROCESS_CPUTIME_ID;
    printf("%s, %d threads, sets of operands: %d; GFLOP/s\n", il_engine_kernels(engine), il_engine_threads(engine),
           sets);
    printf("     m      n      k   oneDNN   packed ratio    plain ratio  a' plain ratio  GB/s of b\n");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        bench(engine, shapes[i][0], shapes[i][1], shapes[i][2], rounds, sets);
    il_engine_close(engine);
    return 0;
}
