/* bench_ranks.c: steps of training by several processes, in pairs with and without overlap of sending and computing, of
 * which now one and now the other comes first. Rank 0 prints a line of JSON: medians, the least and the most, and the
 * bytes that it sent in a step. Run by mpirun, or alone with "-" in
 * place of the plugin: bench_ranks PLUGIN.so [preset [steps [sequences [length [lanes [threads]]]]]] */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"
#include "timing.h"
#include "train/trainer.h"

enum { STEPS_MAX = 100 };

static void must(il_status status, const il_error *error) {
    if (!status) return;
    fprintf(stderr, "%s\n", error->message);
    exit(1);
}

static const il_mpi *join(const char *path) {
    il_error error = {0};
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    il_mpi_begin *begin = library ? (il_mpi_begin *)dlsym(library, IL_MPI_BEGIN) : NULL;
    const il_mpi *mpi = begin ? begin(&error) : NULL;
    if (mpi) return mpi;
    fprintf(stderr, "%s: %s\n", path, library ? error.message : dlerror());
    exit(1);
}

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, compare);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* "name":median,"name_least":…,"name_most":…, */
static void put(const char *name, double *x, int n) {
    double middle = median(x, n);
    printf("\"%s\":%.3f,\"%s_least\":%.3f,\"%s_most\":%.3f,", name, middle, name, x[0], name, x[n - 1]);
}

static int number(int argc, char **argv, int i, int otherwise) { return argc > i ? atoi(argv[i]) : otherwise; }

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    const il_mpi *mpi = strcmp(argv[1], "-") ? join(argv[1]) : NULL;
    const char *preset = argc > 2 ? argv[2] : "small";
    int steps = number(argc, argv, 3, 5), sequences = number(argc, argv, 4, 4), length = number(argc, argv, 5, 256);
    il_engine_options options;
    il_trainer_options recipe;
    il_data_options where;
    il_engine *engine;
    il_ranks *ranks = NULL;
    il_config config;
    il_model *model;
    il_data *data;
    il_trainer *trainer;
    il_error error;
    if (steps < 1 || steps > STEPS_MAX || sequences < 1 || length < 1) return 2;
    il_engine_options_default(&options);
    options.threads = number(argc, argv, 7, 1);
    must(il_engine_open(&options, &engine, &error), &error);
    if (mpi) must(il_ranks_open(engine, &mpi->transport, &ranks, &error), &error);
    must(il_config_preset(preset, "ttt_linear", NULL, &config, &error), &error);
    must(il_model_init(engine, &config, 0, &model, &error), &error);
    il_data_options_default(&where);
    where.sequences = (size_t)sequences;
    where.length = (size_t)length;
    must(il_data_open_given(engine, config.vocab_size, &where, &data, &error), &error);
    il_trainer_options_default(&config, &recipe);
    recipe.lanes = number(argc, argv, 6, 2);
    recipe.ranks = ranks;
    must(il_trainer_open(model, data, &recipe, &trainer, &error), &error);
    size_t tokens = (size_t)sequences * (size_t)(length + 1);
    int32_t *batch = malloc(tokens * sizeof *batch);
    if (!batch) return 1;
    for (size_t i = 0; i < tokens; i++) batch[i] = (int32_t)(i * 2654435761u % (uint32_t)config.vocab_size);
    double took[2][STEPS_MAX], ratio[STEPS_MAX];
    uint64_t sent = 0, early = 0;
    for (int i = -1; i < steps; i++) /* -1 warms up */
        for (int k = 0; k < 2; k++) {
            il_step step;
            int overlaps = (k + i) & 1;
            trainer->exchange.overlaps = overlaps;
            must(il_data_give(data, batch, NULL, &error), &error);
            must(il_ranks_agree(ranks, IL_OK, NULL, &error), &error); /* all begin together */
            uint64_t before = il_ranks_bytes_sent(ranks);
            double start = now_s();
            must(il_trainer_step(trainer, &step, &error), &error);
            sent = il_ranks_bytes_sent(ranks) - before;
            early += trainer->exchange.early; /* without overlap none */
            if (i < 0) continue;
            took[overlaps][i] = now_s() - start;
            if (k) ratio[i] = took[0][i] / took[1][i];
        }
    if (!il_ranks_rank(ranks)) {
        printf("{\"ranks\":%d,\"threads\":%d,\"parameters\":%zu,\"tokens\":%d,\"steps\":%d,", il_ranks_size(ranks),
               options.threads, model->table.floats, sequences * length, steps);
        put("seconds", took[1], steps);
        put("seconds_without_overlap", took[0], steps);
        put("ratio", ratio, steps);
        printf("\"tokens_per_s\":%.1f,\"bytes_sent\":%llu,\"bytes_early\":%llu,\"bytes_expected\":%llu}\n",
               sequences * length / median(took[1], steps), (unsigned long long)sent,
               (unsigned long long)early / (unsigned long long)(steps + 1),
               (unsigned long long)il_exchange_bytes(&trainer->exchange));
    }
    fflush(stdout);
    free(batch);
    il_trainer_close(trainer);
    il_data_close(data);
    il_model_unref(model);
    if (mpi) mpi->end(0);
    il_ranks_close(ranks);
    il_engine_close(engine);
    return 0;
}
