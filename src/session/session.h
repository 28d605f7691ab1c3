/* session.h: what il_session holds: one state, and whether a feed is under way. The workspace is the model's. */
#ifndef IL_SESSION_SESSION_H
#define IL_SESSION_SESSION_H

#include "model/workspace.h"

/* Tokens that one forward pass takes at most, all sequences together: large enough for the products to run at
 * full speed, small enough for activations to stay near the caches. The bits do not depend on it. */
enum { IL_FEED_CHUNK = 512 };

/* What a session's own thread is doing, for il_session_cancel: it turns FEEDING into CANCELLED and leaves IDLE alone,
 * so that a feed finds no trace of what was cancelled before it. */
enum { IL_SESSION_IDLE, IL_SESSION_FEEDING, IL_SESSION_CANCELLED };

struct il_session {
    il_model *model; /* a reference */
    il_state state;
    atomic_int activity; /* IL_SESSION_... */
    uint64_t tokens_fed;
    struct il_mixed *mixed; /* mixed.h; NULL: the model alone predicts */
    char *note;             /* NULL: none */
};

/* What the model says without the mix. */
il_status il_session_own_logits(il_session *session, float *logits, il_error *error);

#endif
