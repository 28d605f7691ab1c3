/* outputs.h: from the final hidden vectors of a pass to what its feeds ask for: those, logits and losses. */
#ifndef IL_SESSION_OUTPUTS_H
#define IL_SESSION_OUTPUTS_H

#include "session/feed.h"
#include "session/session.h"

/* Sequences that go through one pass together. */
enum { IL_PARTS = 64 };

/* A feed's part of the pass under way: its tokens consumed .. consumed + n - 1. */
typedef struct il_part {
    il_feed *feed;
    size_t n;
    size_t index;            /* of the feed */
    int first;               /* row of its first token in the pass */
    uint64_t start;          /* position of its state before the pass */
    char *undo;              /* a copy for going back there (undo.h); NULL: rewinding is enough */
    const il_row_sink *sink; /* of its rows; NULL: none */
} il_part;

/* Before the pass, which overwrites the hidden vectors before it; and after it, when all its numbers are finite. */
void il_outputs_before(il_model *model, il_workspace *work, const il_part *parts, int n_parts);
void il_outputs_after(il_model *model, il_workspace *work, const il_part *parts, int n_parts);

#endif
