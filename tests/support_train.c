/* support_train.c: see support_train.h. */
#include "support_train.h"

#include "support_files.h"
#include "support_lively.h"
#include "support_test.h"
#include <stdio.h>

enum { TOKENS = 4000, VOCAB = SUPPORT_TRAIN_VOCAB };

const char *support_train_shard(const char *folder) {
    const char *path = support_path(folder, "tokens.bin");
    int32_t header[256] = {20240520, 1, TOKENS};
    uint16_t tokens[TOKENS];
    tokens[0] = 7;
    for (int i = 1; i < TOKENS; i++) {
        uint32_t r = lively_random(1, (uint64_t)i, 100);
        tokens[i] = (uint16_t)(i % 700 == 0 ? 1 : 2 + (r < 80 ? (uint32_t)tokens[i - 1] * 7 + 3 : r) % (VOCAB - 2));
    }
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(header, sizeof header, 1, file);
    fwrite(tokens, sizeof tokens, 1, file);
    fclose(file);
    return path;
}

double support_train_steps(il_trainer *trainer, int n) {
    il_step step = {0};
    il_error error;
    for (int i = 0; i < n; i++) assert_ok(il_trainer_step(trainer, &step, &error), error);
    return step.loss;
}
