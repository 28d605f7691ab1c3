/* fuzz_train_log.c: any bytes as a line of a run's history. What is accepted is written as a line that is read as the
 * same. */
#include <stdlib.h>
#include <string.h>

#include "verbs/train_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static train_point point, again;
    if (!train_log_parse((const char *)data, bytes, &point)) return 0;
    must(point.step > 0 && point.layers >= 0 && point.layers <= TRAIN_LAYERS_MAX);
    char *line = train_log_line(&point);
    must(line != NULL);
    size_t n = strlen(line);
    must(n > 0 && line[n - 1] == '\n' && train_log_parse(line, n - 1, &again));
    must(again.step == point.step && again.layers == point.layers && again.skipped == point.skipped);
    char *same = train_log_line(&again);
    must(same != NULL && strcmp(line, same) == 0);
    free(same);
    free(line);
    return 0;
}
