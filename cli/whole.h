/* whole.h: the loss of a text that is read from its beginning to its end by one session, as it will be read in use:
 * learning, with the fast head if the model has one. */
#ifndef CLI_WHOLE_H
#define CLI_WHOLE_H

#include "innerloop.h"

typedef struct cli_whole {
    double loss;          /* mean of a target, natural log; targets equal to BOS are left out */
    double bits_per_byte; /* of the text; NaN where its size is not known */
} cli_whole;

/* data: any, of which the stream is read. frozen 1: nothing is learned. */
il_status cli_whole_read(il_model *model, const il_data *data, int frozen, cli_whole *whole, il_error *error);

#endif
