/* fast_head.c: see fast_head.h. */
#include "model/fast_head.h"

#include "base/philox.h"
#include <math.h>
#include <string.h>

enum { WORDS = 4, BITS = 32 * WORDS, DEPTH = 64 /* targets that are packed together */ };

void il_fast_head_projection(int width, int size, float *projection) {
    uint32_t words[WORDS] = {0};
    for (int i = 0; i < width; i++)
        for (int k = 0; k < size; k++) {
            if (k % BITS == 0) il_philox(0, IL_PURPOSE_FAST_HEAD, (uint32_t)i, (uint64_t)(k / BITS), words);
            *projection++ = words[k % BITS / 32] >> k % 32 & 1 ? 1.0f : -1.0f;
        }
}

int il_fast_head_columns(const il_config *c) { return c->fast_head_tokens ? c->fast_head_tokens : c->vocab_size; }

size_t il_fast_head_floats(const il_config *c) {
    return ((size_t)il_fast_head_columns(c) + IL_LANES - 1) / IL_LANES * IL_LANES * (size_t)c->fast_head_size;
}

static int32_t *owned(const il_state *s, uint64_t mini_batch) { return &s->fast.owned[mini_batch & 1]; }

int il_fast_head_owned(const il_state *s, uint64_t mini_batch) {
    return s->fast.owned ? *owned(s, mini_batch) : il_fast_head_columns(&s->model->config);
}

void il_fast_head_features(const il_model *m, int n, const float *hidden, ptrdiff_t ldh, float *features) {
    const il_kernels *k = m->engine->kernels;
    int size = m->config.fast_head_size;
    k->gemm(n, size, m->config.width, hidden, ldh, 1, m->fast_projection, size, IL_LANES, features, size, 0);
    for (float *row = features; n > 0; n--, row += size) {
        float squares;
        k->row_dot(1, size, row, size, row, size, &squares);
        if (squares > 0 && squares < INFINITY)
            k->scale((size_t)size, 1.0f / sqrtf(squares), row, row);
        else
            memset(row, 0, (size_t)size * sizeof *row); /* no direction to learn in */
    }
}

void il_fast_head_add(const il_state *s, uint64_t mini_batch, int n, const float *features, int from, int to,
                      float *logits, float *learned) {
    const il_config *c = &s->model->config;
    const int32_t *token = s->fast.owners;
    ptrdiff_t size = c->fast_head_size, panel = IL_LANES * size, columns = il_fast_head_columns(c);
    float *sums = token ? learned : logits;
    if (to > il_fast_head_owned(s, mini_batch)) to = il_fast_head_owned(s, mini_batch);
    if (from >= to) return;
    for (int row = 0; token && row < n; row++)
        for (int i = from; i < to; i++) learned[row * columns + i] = logits[(ptrdiff_t)row * c->vocab_size + token[i]];
    s->model->engine->kernels->gemm(n, to - from, (int)size, features, size, 1,
                                    il_state_fast_head(s, mini_batch) + from / IL_LANES * panel, IL_LANES, panel,
                                    sums + from, columns, 1);
    for (int row = 0; token && row < n; row++)
        for (int i = from; i < to; i++) logits[(ptrdiff_t)row * c->vocab_size + token[i]] = learned[row * columns + i];
}

void il_fast_head_error(const il_state *s, uint64_t mini_batch, int32_t target, int finite, float *row) {
    const il_config *c = &s->model->config;
    int have = il_fast_head_owned(s, mini_batch), room = il_fast_head_columns(c) - have;
    if (target == c->bos_token || !finite)
        memset(row, 0, (size_t)have * sizeof *row);
    else if (!s->fast.owners)
        row[target] -= 1.0f;
    if (room > c->mini_batch) room = c->mini_batch;
    memset(row + have, 0, (size_t)room * sizeof *row);
}

/* Where a token is among n; n: nowhere. In blocks, which a compiler's vectors compare whole. */
static int find(const int32_t *tokens, int n, int32_t token) {
    enum { BLOCK = 128 };
    int i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        int found = 0;
        for (int j = 0; j < BLOCK; j++) found |= tokens[i + j] == token;
        if (found) break;
    }
    while (i < n && tokens[i] != token) i++;
    return i;
}

void il_fast_head_begin(const il_state *s, uint64_t mini_batch) { *owned(s, mini_batch + 1) = *owned(s, mini_batch); }

void il_fast_head_answer(const il_state *s, uint64_t mini_batch, int32_t target, float *row) {
    int32_t *have = owned(s, mini_batch + 1);
    int column = find(s->fast.owners, *have, target);
    if (column == il_fast_head_columns(&s->model->config)) return; /* all are given away */
    if (column == *have) s->fast.owners[(*have)++] = target;
    row[column] -= 1.0f;
}

/* Panel after panel, copied when its turn comes, so that it is in the first-level cache for the product. The columns
 * behind the last that a token has are 0 in its panel, and nothing in those behind. */
void il_fast_head_learn(const il_state *s, uint64_t mini_batch, int lists, const il_fast_rows *list, int from, int to) {
    const il_kernels *k = s->model->engine->kernels;
    int size = s->model->config.fast_head_size, all = il_fast_head_columns(&s->model->config);
    int before = il_fast_head_owned(s, mini_batch), after = il_fast_head_owned(s, mini_batch + 1);
    size_t panel = (size_t)size * IL_LANES, at = (size_t)(from / IL_LANES) * panel;
    const float *now = il_state_fast_head(s, mini_batch) + at;
    float *next = il_state_fast_head(s, mini_batch + 1) + at, packed[DEPTH * IL_LANES];
    if (to > after) to = after;
    for (int column = from; column < to; column += IL_LANES, now += panel, next += panel) {
        int columns = to - column < IL_LANES ? to - column : IL_LANES;
        if (column < before)
            memcpy(next, now, panel * sizeof *next);
        else
            memset(next, 0, panel * sizeof *next);
        for (int l = 0; l < lists; l++)
            for (int i = 0; i < list[l].n; i += DEPTH) {
                int depth = list[l].n - i < DEPTH ? list[l].n - i : DEPTH;
                k->pack(columns, depth, list[l].errors + (ptrdiff_t)i * all + column, all, 1, packed);
                k->gemm(size, IL_LANES, depth, list[l].steps + (ptrdiff_t)i * size, 1, size, packed, IL_LANES,
                        IL_LANES * depth, next, IL_LANES, 1);
            }
    }
}
