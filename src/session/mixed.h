/* mixed.h: a session whose model is mixed with what followed the same tokens before (mix/mix.h). Owns the mix as it was
 * at the session's rewind limit, the tokens since with what the model said of them, and the mix as it is now: so a
 * rewind, and a state file, need the first two. Its tree has the tokens as they are numbered. */
#ifndef IL_SESSION_MIXED_H
#define IL_SESSION_MIXED_H

#include "mix/mix.h"
#include "session/session.h"

/* Sizes the mix: of the last so many tokens it keeps what it can hold, about 5 MB. */
enum { IL_MIXED_TOKENS = 1 << 16 };

typedef struct il_mixed {
    const il_allocator *memory;
    il_tree tree;
    il_mix *before, *now;
    uint64_t limit;        /* how many of the session's tokens `before` has read */
    size_t ring;           /* tokens from the limit on that can be kept: two mini-batches */
    int32_t *tokens;       /* [ring]: that of position p at p mod ring */
    il_odds *odds;         /* [ring, tree.depth]: of their bits; ones of the first UINT32_MAX: nothing predicted it */
    il_odds *fresh;        /* [IL_FEED_CHUNK, tree.depth]: the same of a chunk under way */
    float *row;            /* [vocab]: the model's distribution after row_position tokens */
    uint64_t row_position; /* 0: not known */
    uint32_t *sums;        /* [2 << tree.depth] */
} il_mixed;

il_status il_mixed_open(il_model *model, il_mixed **mixed, il_error *error);
void il_mixed_close(il_mixed *mixed); /* NULL allowed */
void il_mixed_copy(il_mixed *to, const il_mixed *from);
/* il_feed_go_on without a sink, for feeds of which at least one has a mixed session. */
il_status il_mixed_feed(il_feed *feeds, size_t n, il_error *error);
/* Whether the odds that were loaded are of tokens that such a tree can have. */
int il_mixed_sound(const il_session *session);
/* After the session was rewound or loaded: to its position. */
void il_mixed_rewind(il_session *session);
/* Turns the model's logits of what comes next into those of the mix, which are ln p. */
void il_mixed_logits(const il_session *session, float *logits);
size_t il_mixed_bytes(const il_mixed *mixed);

#endif
