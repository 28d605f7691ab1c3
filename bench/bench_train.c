/* bench_train.c: a training step with exact products and with bf16's, in turn on the same model. Pairs as they come
 * go to stderr; then the median of each and of the ratios. bench_train [threads [rounds [preset [mixer [tokens]]]]] */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "innerloop.h"
#include "timing.h"

enum { ROUNDS_MAX = 100 };

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, compare);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static void must(il_status status, const il_error *error) {
    if (!status) return;
    fprintf(stderr, "%s\n", error->message);
    exit(1);
}

/* A shard of one sequence, in a file that is gone when it has been read. */
static il_data *made_up(il_engine *engine, int length, int vocabulary) {
    int32_t header[256] = {20240801, 7, length + 1};
    char path[] = "/tmp/bench-train-XXXXXX.bin";
    int fd = mkstemps(path, 4);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!file) exit(1);
    fwrite(header, sizeof header, 1, file);
    for (uint64_t i = 0, x = 1; i <= (uint64_t)length; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        fwrite(&(int32_t){(int32_t)((x >> 33) % (uint64_t)vocabulary)}, sizeof(int32_t), 1, file);
    }
    if (fclose(file)) exit(1);
    il_data_options options;
    il_data *data;
    il_error error;
    il_data_options_default(&options);
    options.length = (size_t)length;
    options.sequences = 1;
    options.loop = 1;
    must(il_data_open(engine, &(const char *){path}, 1, NULL, vocabulary, &options, &data, &error), &error);
    unlink(path);
    return data;
}

int main(int argc, char **argv) {
    const char *preset = argc > 3 ? argv[3] : "125m", *mixer = argc > 4 ? argv[4] : "ttt_linear";
    int rounds = argc > 2 ? atoi(argv[2]) : 5, length = argc > 5 ? atoi(argv[5]) : 2048;
    if (rounds < 1 || rounds > ROUNDS_MAX || length < 1) return 2;
    il_engine_options options;
    il_trainer_options recipe;
    il_engine *engine;
    il_config config;
    il_model *model;
    il_trainer *trainers[2];
    il_error error;
    il_engine_options_default(&options);
    options.threads = argc > 1 ? atoi(argv[1]) : 0;
    must(il_engine_open(&options, &engine, &error), &error);
    must(il_config_preset(preset, mixer, NULL, &config, &error), &error);
    must(il_model_init(engine, &config, 0, &model, &error), &error);
    il_data *data = made_up(engine, length, config.vocab_size);
    il_trainer_options_default(&config, &recipe);
    for (int i = 0; i < 2; i++) {
        recipe.dtype = i ? IL_WEIGHTS_BF16 : IL_WEIGHTS_F32;
        must(il_trainer_open(model, data, &recipe, &trainers[i], &error), &error);
    }
    if (il_engine_threads(engine) == 1) clock_used = CLOCK_PROCESS_CPUTIME_ID;
    double took[2][ROUNDS_MAX], ratio[ROUNDS_MAX];
    for (int round = -1; round < rounds; round++) { /* round -1 warms up */
        for (int i = 0; i < 2; i++) {
            il_step step;
            double start = now_s();
            must(il_trainer_step(trainers[i], &step, &error), &error);
            if (round >= 0) took[i][round] = now_s() - start;
        }
        if (round < 0) continue;
        ratio[round] = took[0][round] / took[1][round];
        fprintf(stderr, "%.2f %.2f\n", took[0][round], took[1][round]);
    }
    double middle = median(ratio, rounds);
    printf(
        "%s, %d threads, %s %s, a step of %d tokens: f32 %.2f s, bf16 %.2f s, ratio %.2f (%.2f .. %.2f), %d rounds\n",
        il_engine_kernels(engine), il_engine_threads(engine), preset, mixer, length, median(took[0], rounds),
        median(took[1], rounds), middle, ratio[0], ratio[rounds - 1], rounds);
    for (int i = 0; i < 2; i++) il_trainer_close(trainers[i]);
    il_data_close(data);
    il_model_unref(model);
    il_engine_close(engine);
    return 0;
}
