/* bench_low_precision.c: products with weights of low-precision types beside the fp32 product, same run, same threads.
 * Rounds alternate; printed are each one's best and, against fp32, the median of the paired ratios. bench_low_precision
 * [threads [rounds [m n k]]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/gemm.h"
#include "engine/low_precision.h"
#include "timing.h"

static void nap(void) { nanosleep(&(struct timespec){0, 20 * 1000 * 1000}, NULL); } /* lets spinning threads sleep */

static void *block(size_t bytes) {
    void *x = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!x) exit(1);
    memset(x, 0, bytes);
    return x;
}

static float *numbers(size_t n) {
    float *x = block(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = (float)((i * 2654435761u >> 7) % 2001) / 1000.0f - 1.0f;
    return x;
}

enum { ROUNDS_MAX = 100, TYPES = IL_WEIGHTS_INT4 + 1 };

static void bench(il_engine *engine, int m, int n, int k, int rounds) {
    const double flop = 2.0 * m * n * k;
    int repeat = 1 + (int)((m < 16 ? 5e8 : 4e9) / flop);
    float *a = numbers((size_t)m * (size_t)k), *b = numbers((size_t)k * (size_t)n), *c = numbers((size_t)m * (size_t)n);
    float *packed = numbers(il_packed_floats(n, k));
    void *scratch = block(il_quantized_bytes(m, k));
    double best[TYPES], ratio[TYPES][ROUNDS_MAX];
    il_lp_matrix weights[TYPES];
    engine->kernels->pack(n, k, b, 1, k, packed);
    for (int type = 1; type < TYPES; type++) {
        weights[type] =
            (il_lp_matrix){(il_weight_type)type, n, k, block(il_lp_bytes((il_weight_type)type, (size_t)n, (size_t)k))};
        for (int row = 0; row < n; row++)
            il_lp_put(engine->kernels, &weights[type], (size_t)row, b + (ptrdiff_t)row * k);
    }
    for (int round = -1; round < rounds; round++) { /* round -1 warms up */
        double took[TYPES];
        for (int type = 0; type < TYPES; type++) {
            nap();
            double start = now_s();
            for (int i = 0; i < repeat; i++) {
                if (type == IL_WEIGHTS_F32)
                    il_gemm_packed(engine, m, n, k, (il_matrix){a, k, 1}, packed, c, n, 0);
                else if (type >= IL_WEIGHTS_INT8)
                    il_gemm_quantized(engine, m, a, k, &weights[type], scratch, c, n);
                else
                    il_gemm_bf16(engine, m, n, k, (il_matrix){a, k, 1}, (const void *)weights[type].panels, c, n);
            }
            took[type] = (now_s() - start) / repeat;
            if (round < 1 || took[type] < best[type]) best[type] = took[type];
        }
        if (round < 0) continue;
        for (int type = 0; type < TYPES; type++) ratio[type][round] = took[0] / took[type];
    }
    printf("%6d %6d %6d", m, n, k);
    for (int type = 0; type < TYPES; type++) {
        qsort(ratio[type], (size_t)rounds, sizeof **ratio, compare);
        size_t bytes = type ? il_lp_bytes((il_weight_type)type, (size_t)n, (size_t)k) : 4 * (size_t)n * (size_t)k;
        printf(" | %7.1f %6.1f", flop / best[type] * 1e-9, (double)bytes / best[type] * 1e-9);
        if (type) printf(" %5.2f", ratio[type][rounds / 2]);
    }
    printf("\n");
    fflush(stdout);
    for (int type = 1; type < TYPES; type++) free(weights[type].panels);
    free(a), free(b), free(c), free(packed), free(scratch);
}

int main(int argc, char **argv) {
    static const int shapes[][3] = {{512, 768, 768}, {512, 2048, 768}, {512, 768, 2048}, {256, 256, 256},
                                    {256, 688, 256}, {256, 256, 688},  {64, 768, 768},   {16, 768, 768},
                                    {16, 256, 256},  {6, 768, 768},    {1, 256, 256},    {1, 768, 768},
                                    {1, 4096, 256},  {1, 32000, 768}};
    il_engine_options options;
    il_engine *engine;
    il_engine_options_default(&options);
    options.threads = argc > 1 ? atoi(argv[1]) : 0;
    int rounds = argc > 2 ? atoi(argv[2]) : 7;
    if (rounds < 1 || rounds > ROUNDS_MAX || il_engine_open(&options, &engine, NULL)) return 2;
    if (il_engine_threads(engine) == 1) clock_used = CLOCK_PROCESS_CPUTIME_ID;
    printf("%s, %d threads\n", il_engine_kernels(engine), il_engine_threads(engine));
    printf("     m      n      k");
    for (int type = 0; type < TYPES; type++)
        printf(" | %4s GF/s   GB/s%s", il_weight_type_name((il_weight_type)type), type ? " ratio" : "");
    printf("\n");
    if (argc > 5) bench(engine, atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), rounds);
    for (size_t i = 0; argc <= 5 && i < sizeof shapes / sizeof *shapes; i++)
        bench(engine, shapes[i][0], shapes[i][1], shapes[i][2], rounds);
    il_engine_close(engine);
    return 0;
}
