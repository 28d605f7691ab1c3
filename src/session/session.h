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

#endif
