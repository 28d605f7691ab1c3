/* cost.h: what the next token costs, by how many were read before it: a model that learns beside a Transformer of the
 * same shape. */
#ifndef SERVER_COST_H
#define SERVER_COST_H

#include "common/text.h"
#include "innerloop.h"

/* {"positions":[…],"model":{"flops":[…],"state_bytes":[…]},"transformer":{…}}; no transformer if none has the shape. */
void cost_print(const il_config *config, text *t);

#endif
