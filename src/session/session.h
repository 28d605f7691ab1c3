/* session.h: what il_session holds: one state, and a flag to stop. The workspace is the model's. */
#ifndef IL_SESSION_SESSION_H
#define IL_SESSION_SESSION_H

#include "model/workspace.h"

/* Tokens that one forward pass takes at most, all sequences together: large enough for the products to run at
 * full speed, small enough for activations to stay near the caches. The bits do not depend on it. */
enum { IL_FEED_CHUNK = 512 };

struct il_session {
    il_model *model; /* a reference */
    il_state state;
    atomic_int cancelled;
    uint64_t tokens_fed;
};

/* Where the distributions themselves go: row `token` of feed `feed` as its softmax p [V], where logits would be, and
 * the log-sum-exp p was made with; p is of use only where that is finite. Called by any thread, for rows in any order,
 * once each, and not before the pass that made them has succeeded. */
typedef struct il_row_sink {
    void (*row)(void *context, size_t feed, size_t token, const float *p, float lse);
    void *context;
} il_row_sink;
/* il_feed_many with a sink (NULL: none) of every row. */
il_status il_feed_read(il_feed *feeds, size_t n, const il_row_sink *sink, il_error *error);

#endif
