/* feed.h: feeding sessions and reading every row of the model's distribution on the way. */
#ifndef IL_SESSION_FEED_H
#define IL_SESSION_FEED_H

#include "model/workspace.h"

/* Where the distributions themselves go: row `token` of feed `feed` as its softmax p [V], where logits would be, and
 * the log-sum-exp p was made with; p is of use only where that is finite. Called by any thread, for rows in any order,
 * once each, and not before the pass that made them has succeeded. */
typedef struct il_row_sink {
    void (*row)(void *context, size_t feed, size_t token, const float *p, float lse);
    void *context;
} il_row_sink;

/* il_feed_many with a sink (NULL: none) of every row, which are the model's own: no mix is asked or taught. */
il_status il_feed_read(il_feed *feeds, size_t n, const il_row_sink *sink, il_error *error);
/* The same, n > 0, for feeds that were checked, of sessions whose activity says that they are feeding. */
il_status il_feed_go_on(il_feed *feeds, size_t n, const il_row_sink *sink, il_error *error);
/* il_feed_read, of feeds that were checked, in a workspace of the caller's, who holds the model's lock since
 * il_model_refresh: so several threads read sessions of a model at once, in a workspace each. */
il_status il_feed_aside(il_workspace *work, il_feed *feeds, size_t n, const il_row_sink *sink, il_error *error);
il_status il_feed_check(const il_feed *feeds, size_t n, il_error *error);

#endif
