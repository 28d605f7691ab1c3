/* bench_gemm.c: the exact product beside oneDNN's packed fp32 product, same run, same threads. Rounds
 * alternate between the two; printed is each one's best and the median of the paired ratios. bench_gemm
 * [threads [rounds]] */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/gemm.h"
#include "kernels/onednn.h"
#include "timing.h"

static void nap(void) { nanosleep(&(struct timespec){0, 20 * 1000 * 1000}, NULL); } /* lets spinning threads sleep */

static float *numbers(size_t n) {
    float *x = aligned_alloc(64, (n * sizeof *x + 63) / 64 * 64);
    if (!x) exit(1);
    for (size_t i = 0; i < n; i++) x[i] = (float)((i * 2654435761u >> 7) % 2001) / 1000.0f - 1.0f;
    return x;
}

/* oneDNN, il_gemm_packed, il_gemm, il_gemm with a transposed in memory. */
enum { ROUNDS_MAX = 100, CONTENDERS = 4 };

static void bench(il_engine *engine, int m, int n, int k, int rounds) {
    const double flop = 2.0 * m * n * k;
    int repeat = (int)(4e9 / flop);
    if (repeat < 1) repeat = 1;
    if (m < 16) repeat = 1 + (int)(5e8 / flop);
    float *a = numbers((size_t)m * (size_t)k), *b = numbers((size_t)k * (size_t)n), *c = numbers((size_t)m * (size_t)n);
    float *packed = numbers(il_packed_floats(n, k));
    double best[CONTENDERS], ratio[CONTENDERS][ROUNDS_MAX];
    for (int who = 0; who < CONTENDERS; who++) best[who] = 1e9;
    il_onednn *peer;
    il_error error;
    il_allocator memory = il_allocator_default();
    engine->kernels->pack(n, k, b, n, 1, packed);
    if (il_onednn_open(&memory, il_engine_threads(engine), IL_ONEDNN_F32, m, n, k, a, b, c, &peer, &error)) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    for (int round = -1; round < rounds; round++) { /* round -1 warms up */
        double took[CONTENDERS];
        for (int who = 0; who < CONTENDERS; who++) {
            nap();
            double start = now_s();
            for (int i = 0; i < repeat; i++) {
                if (who == 0)
                    il_onednn_run(peer);
                else if (who == 1)
                    il_gemm_packed(engine, m, n, k, (il_matrix){a, k, 1}, packed, NULL, c, n, 0);
                else if (who == 2)
                    il_gemm(engine, m, n, k, (il_matrix){a, k, 1}, (il_matrix){b, n, 1}, NULL, c, n, 0);
                else
                    il_gemm(engine, m, n, k, (il_matrix){a, 1, m}, (il_matrix){b, n, 1}, NULL, c, n, 0);
            }
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
    il_onednn_close(peer);
    free(a), free(b), free(c), free(packed);
}

int main(int argc, char **argv) {
    static const int shapes[][3] = {{2048, 768, 768}, {2048, 2048, 768}, {2048, 768, 2048},
                                    {64, 768, 2048},  {64, 768, 768},    {512, 32000, 768},
                                    {16, 768, 768},   {1, 768, 768},     {1, 32000, 768}};
    il_engine_options options;
    il_engine *engine;
    il_engine_options_default(&options);
    options.threads = argc > 1 ? atoi(argv[1]) : 0;
    int rounds = argc > 2 ? atoi(argv[2]) : 7;
    if (rounds < 1 || rounds > ROUNDS_MAX || il_engine_open(&options, &engine, NULL)) return 2;
    if (il_engine_threads(engine) == 1) clock_used = CLOCK_PROCESS_CPUTIME_ID;
    printf("%s, %d threads; GFLOP/s\n", il_engine_kernels(engine), il_engine_threads(engine));
    printf("     m      n      k   oneDNN   packed ratio    plain ratio  a' plain ratio  GB/s of b\n");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        bench(engine, shapes[i][0], shapes[i][1], shapes[i][2], rounds);
    il_engine_close(engine);
    return 0;
}
