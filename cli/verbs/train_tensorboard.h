/* train_tensorboard.h: event files as TensorBoard reads them: records of TFRecord, each a protobuf message `Event`. */
#ifndef CLI_VERBS_TRAIN_TENSORBOARD_H
#define CLI_VERBS_TRAIN_TENSORBOARD_H

#include "innerloop.h"

#include <stdio.h>

typedef struct train_tensorboard {
    FILE *file; /* NULL: none is written */
    char *path;
    unsigned char *values; /* [bytes]: a Summary in the making */
    size_t bytes, capacity;
} train_tensorboard;

/* Begins another event file in dir, which is made if absent. It says that what other files have from step `first` on
 * does not count any more: a run that goes on takes back what it had made after its checkpoint. */
il_status train_tensorboard_open(train_tensorboard *t, const char *dir, uint64_t first, il_error *error);
/* A value of the step that is written next; one that is not finite is left out. */
void train_tensorboard_add(train_tensorboard *t, const char *tag, double value);
/* Writes the values that were added. */
il_status train_tensorboard_write(train_tensorboard *t, uint64_t step, il_error *error);
void train_tensorboard_close(train_tensorboard *t); /* also of a zeroed one */

/* CRC-32C (Castagnoli). */
uint32_t train_crc32c(const void *data, size_t bytes);

#endif
