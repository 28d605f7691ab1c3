/* fast_plan.c: see fast_plan.h. */
#include "session/fast_plan.h"

uint64_t il_fast_first_row(uint64_t m, uint64_t b) { return m ? m * b - 1 : 0; }

il_fast_group il_fast_group_of(const il_fast_wish *w, uint64_t m) {
    uint64_t end = w->start + w->n, last = il_fast_first_row(m + 1, w->b);
    il_fast_group g = {.mini_batch = m, .first = il_fast_first_row(m, w->b)};
    g.learns = w->learns && (m + 1) * w->b <= end;
    g.keeps = w->learns && !g.learns && w->rows && !w->losses;
    if (!g.learns && !w->losses && !w->rows) return g;
    /* what is not learned from begins with the part: with the row before it, which predicts its first token, for losses
     */
    uint64_t before = w->losses && w->start ? 1 : 0;
    if (!g.learns && g.first + before < w->start) g.first = w->start - before;
    if (last > end) last = end;
    if (!g.learns && !w->rows && last == end) last--; /* what comes next is not known yet */
    if (last > g.first) g.n = (int)(last - g.first);
    if (g.learns && g.first < w->start && !w->losses && w->kept_from <= g.first && w->kept_to == w->start) {
        g.kept = (int)(w->start - g.first) < g.n ? (int)(w->start - g.first) : g.n;
        g.first += (uint64_t)g.kept;
        g.n -= g.kept;
    }
    return g;
}
