/* state_file.c: state files (.ilstate): saving and restoring a session. Owns the format, its checksum and the check of
 * everything before use; refuses to know what a mixer keeps of a layer.
 *
 * A safetensors file of tensors of F32, and I32 where it says so: only what the future of the sequence depends on, and
 * what rewinding down to the limit needs, so the same history gives the same bytes.
 *
 *     fast_head.current, fast_head.previous    F of a fast head at the start of the open mini-batch and the one before
 *                                              it: [panels, size, 16]; with fast_head_tokens [columns that have a
 *                                              token, size]
 *     fast_head.tokens [columns]               I32: with fast_head_tokens, the tokens of these columns
 *     hidden [n, width]                        final hidden vectors, oldest first
 *     tokens [n]                               with a fast head: the tokens from the rewind limit on
 *     taps.tokens [n]                          I32: with taps, the tokens that are still looked back at
 *     mix, mix.odds, mix.tokens                I32: of a mixed session, all that the mix had learned at the rewind
 *                                              limit, and what it is to learn since
 *
 * and the tensors that the layers' mixers list (mixer_ttt.c, mixer_attention.c): [layers, ...] where all layers are of
 * one kind, else one for each layer, layer.NNN.NAME. A tensor without elements is left out. The checksum is xxh3-128
 * of the metadata and all tensors. */
#include "session/state_file.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/kind.h"
#include "model/fast_head.h"
#include "model/mixer.h"
#include "session/mixed.h"
#include "session/session.h"
#include "tensor/safetensors.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#define XXH_STATIC_LINKING_ONLY /* a hash on the stack */
#include <xxhash.h>

static const char FORMAT[] = "innerloop-state", VERSION[] = "1";

/* ---- what of a state is alive, and how it lies in a file ---- */

typedef enum content {
    FAST,
    FAST_BEFORE,
    OWNERS,
    HIDDEN,
    TOKENS,
    MIX,
    MIX_ODDS,
    MIX_TOKENS,
    TAPPED,
    OF_LAYERS
} content;
static const char *const names[] = {
    "fast_head.current", "fast_head.previous", "fast_head.tokens", "hidden", "tokens", "mix",
    "mix.odds",          "mix.tokens",         "taps.tokens"};

/* What decides which tensors there are, and their shapes. */
typedef struct outline {
    il_extent extent;
    int mixed;
    int owned, owned_before; /* columns of the fast head that have a token, at the start of both mini-batches */
} outline;

/* A tensor of the file. */
typedef struct entry {
    char name[48];
    content content;
    il_kept_tensor kept; /* OF_LAYERS: of the layers from .. to - 1 */
    int from, to;
} entry;

/* In the order of their names, which is that of the file. */
typedef struct plan {
    const il_allocator *memory;
    entry *entries;    /* [n] */
    il_st_item *items; /* [n], without data */
    size_t n;
    void *block; /* both */
} plan;

/* The first position whose column before it is still needed at the rewind limit. */
static uint64_t one_before(uint64_t limit) { return limit ? limit - 1 : 0; }

/* The first position that a tap looks at when the token at the rewind limit is read. */
static uint64_t first_tapped(const il_config *c, uint64_t limit) {
    uint64_t back = (uint64_t)il_config_farthest_tap(c) - 1;
    return limit > back ? limit - back : 0;
}

static void add(plan *p, entry e, int rank, size_t d0, size_t d1, size_t d2, size_t d3) {
    int whole = e.content == OWNERS || (e.content >= MIX && e.content <= TAPPED);
    il_st_item item = {.dtype = whole ? IL_I32 : IL_F32, .rank = rank, .shape = {d0, d1, d2, d3}};
    for (int i = 0; i < rank; i++)
        if (!item.shape[i]) return;
    p->entries[p->n] = e;
    p->items[p->n++] = item;
}

static void add_own(plan *p, content which, int rank, size_t d0, size_t d1, size_t d2) {
    entry e = {.content = which};
    snprintf(e.name, sizeof e.name, "%s", names[which]);
    add(p, e, rank, d0, d1, d2, 0);
}

/* Whether all layers are of one kind, whose tensors then lie together. */
static int is_uniform(const il_model *m) { return !il_config_is_hybrid(&m->config); }

static void add_layers(plan *p, const il_model *m, const il_extent *extent) {
    int uniform = is_uniform(m), layers = m->config.layers;
    for (int layer = 0; layer < (uniform ? 1 : layers); layer++) {
        il_kept_tensor list[IL_KEPT_TENSORS_MAX];
        int n = m->layers[layer].mixer->tensors(m, layer, extent, list);
        for (int i = 0; i < n; i++) {
            const size_t *d = list[i].shape;
            entry e = {.content = OF_LAYERS, .kept = list[i], .from = layer, .to = uniform ? layers : layer + 1};
            if (uniform)
                snprintf(e.name, sizeof e.name, "%s", list[i].name);
            else
                snprintf(e.name, sizeof e.name, "layer.%03d.%s", layer, list[i].name);
            if (uniform)
                add(p, e, list[i].rank + 1, (size_t)layers, d[0], d[1], d[2]);
            else
                add(p, e, list[i].rank, d[0], d[1], d[2], 0);
        }
    }
}

static void plan_close(plan *p) {
    if (p->memory) il_free(p->memory, p->block);
    *p = (plan){0};
}

/* By name; entries and items go together. */
static void sort(plan *p) {
    for (size_t i = 1; i < p->n; i++)
        for (size_t j = i; j && strcmp(p->entries[j - 1].name, p->entries[j].name) > 0; j--) {
            entry e = p->entries[j];
            il_st_item item = p->items[j];
            p->entries[j] = p->entries[j - 1], p->items[j] = p->items[j - 1];
            p->entries[j - 1] = e, p->items[j - 1] = item;
        }
    for (size_t i = 0; i < p->n; i++) p->items[i].name = p->entries[i].name;
}

static il_status plan_open(const il_model *m, const outline *o, plan *p, il_error *error) {
    const il_config *c = &m->config;
    const il_extent *extent = &o->extent;
    size_t most = OF_LAYERS + IL_KEPT_TENSORS_MAX * (is_uniform(m) ? 1 : (size_t)c->layers);
    *p = (plan){.memory = &m->engine->memory};
    for (il_arena arena = {0};; arena = (il_arena){.base = p->block}) {
        p->entries = il_arena_take(&arena, most, sizeof *p->entries);
        p->items = il_arena_take(&arena, most, sizeof *p->items);
        if (p->block) break;
        p->block = il_alloc(p->memory, arena.used, 1);
        if (!p->block) return il_fail(error, IL_ERR_NOMEM, "no memory for the list of a state's tensors");
    }
    uint64_t position = extent->position, limit = extent->limit;
    int before = limit < position - position % (uint64_t)c->mini_batch, fast = c->fast_head_size && !extent->frozen;
    if (fast) {
        size_t size = (size_t)c->fast_head_size, panels = m->fast_floats / (size * IL_LANES);
        if (c->fast_head_tokens) {
            add_own(p, FAST, 2, (size_t)o->owned, size, 0);
            if (before) add_own(p, FAST_BEFORE, 2, (size_t)o->owned_before, size, 0);
            add_own(p, OWNERS, 1, (size_t)o->owned, 0, 0);
        } else {
            add_own(p, FAST, 3, panels, size, IL_LANES);
            if (before) add_own(p, FAST_BEFORE, 3, panels, size, IL_LANES);
        }
        add_own(p, TOKENS, 1, (size_t)(position - limit), 0, 0);
    }
    if (o->mixed) {
        int depth = il_tree_depth(c->vocab_size);
        add_own(p, MIX, 1, il_mix_learned_bytes(depth, 1, IL_MIXED_TOKENS) / sizeof(int32_t), 0, 0);
        add_own(p, MIX_ODDS, 3, (size_t)(position - limit), (size_t)depth, 2);
        add_own(p, MIX_TOKENS, 1, (size_t)(position - limit), 0, 0);
    }
    if (c->n_taps) add_own(p, TAPPED, 1, (size_t)(position - first_tapped(c, limit)), 0, 0);
    add_own(p, HIDDEN, 2, (size_t)(position - one_before(limit)), (size_t)c->width, 0);
    add_layers(p, m, extent);
    sort(p);
    return IL_OK;
}

/* ---- a tensor as it lies in memory, run by run in the order of the file ---- */

static il_status visit_hidden(const il_state *s, il_visitor *v) {
    for (uint64_t p = one_before(s->oldest); p < s->position; p++)
        IL_TRY(v->visit(v, il_state_hidden(s, p), 1, (size_t)s->model->config.width));
    return IL_OK;
}

static uint64_t mini_batch_of(const il_state *s) { return s->position / (uint64_t)s->model->config.mini_batch; }

/* Where columns have tokens, column by column. */
static il_status visit_fast_head(const il_state *s, content which, il_visitor *v) {
    uint64_t m = mini_batch_of(s) - (which == FAST_BEFORE);
    size_t size = (size_t)s->model->config.fast_head_size;
    float *weights = il_state_fast_head(s, m);
    if (!s->fast.owners) return v->visit(v, weights, 1, s->model->fast_floats);
    for (size_t i = 0; i < (size_t)il_fast_head_owned(s, m); i++)
        IL_TRY(v->visit(v, weights + i / IL_LANES * IL_LANES * size + i % IL_LANES, IL_LANES, size));
    return IL_OK;
}

/* Integers, which a visitor copies as it copies floats. */
static il_status visit_owners(const il_state *s, il_visitor *v) {
    return v->visit(v, (void *)s->fast.owners, 1, (size_t)il_fast_head_owned(s, mini_batch_of(s)));
}

/* Numbers below 2^24, which a float holds. */
static il_status visit_tokens(const il_state *s, il_visitor *v) {
    uint64_t ring = 2 * (uint64_t)s->model->config.mini_batch;
    for (uint64_t p = s->oldest; p < s->position; p++) {
        int32_t *at = &s->fast.tokens[p % ring];
        float token = (float)*at;
        IL_TRY(v->visit(v, &token, 1, 1));
        if ((int32_t)token != *at) *at = (int32_t)token; /* saving, in several threads at once, writes nothing */
    }
    return IL_OK;
}

/* Integers, too. */
static il_status visit_mix(const il_state *s, il_mixed *m, content which, il_visitor *v) {
    size_t bytes, depth = (size_t)m->tree.depth;
    void *learned = il_mix_learned(m->before, &bytes);
    if (which == MIX) return v->visit(v, learned, 1, bytes / sizeof(int32_t));
    for (uint64_t p = s->oldest; p < s->position; p++) {
        size_t at = (size_t)(p % m->ring);
        if (which == MIX_TOKENS)
            IL_TRY(v->visit(v, (void *)(m->tokens + at), 1, 1));
        else
            IL_TRY(v->visit(v, (void *)(m->odds + at * depth), 1, 2 * depth));
    }
    return IL_OK;
}

static il_status visit_tapped(const il_state *s, il_visitor *v) {
    for (uint64_t p = first_tapped(&s->model->config, s->oldest); p < s->position; p++)
        IL_TRY(v->visit(v, (void *)(s->tapped + p % (uint64_t)s->ring_tapped), 1, 1));
    return IL_OK;
}

/* s->oldest is the rewind limit. mixed: the session's, NULL without. */
static il_status visit(const il_state *s, il_mixed *mixed, const entry *e, il_visitor *v) {
    switch (e->content) {
    case MIX:
    case MIX_ODDS:
    case MIX_TOKENS: return visit_mix(s, mixed, e->content, v);
    case FAST:
    case FAST_BEFORE: return visit_fast_head(s, e->content, v);
    case OWNERS: return visit_owners(s, v);
    case HIDDEN: return visit_hidden(s, v);
    case TAPPED: return visit_tapped(s, v);
    case TOKENS: return visit_tokens(s, v);
    case OF_LAYERS: break;
    }
    for (int layer = e->from; layer < e->to; layer++)
        IL_TRY(s->model->layers[layer].mixer->visit(s, layer, &e->kept, v));
    return IL_OK;
}

/* ---- checksum: of any state file, whatever its model ---- */

static const char *const keys[] = {"format", "version", "model", "position", "open_rows", "rewind_limit", "frozen"};
enum { KEYS_HASHED = sizeof keys / sizeof *keys, VALUE_BYTES = 40, FINGERPRINT_BYTES = IL_HEX128_BYTES };

static const char NOTE[] = "note"; /* the last of what is hashed, where there is one */

static void hash_metadata(XXH3_state_t *hash, const il_st_pair *pairs, size_t n) {
    for (size_t i = 0; i < n; i++) {
        XXH3_128bits_update(hash, pairs[i].key, strlen(pairs[i].key) + 1);
        XXH3_128bits_update(hash, pairs[i].value, strlen(pairs[i].value) + 1);
    }
}

static void hash_shape(XXH3_state_t *hash, const char *name, int rank, const size_t *shape) {
    XXH3_128bits_update(hash, name, strlen(name) + 1);
    for (int i = 0; i < rank; i++) {
        uint64_t size = shape[i];
        XXH3_128bits_update(hash, &size, sizeof size);
    }
}

static void digest(const XXH3_state_t *hash, char hex[FINGERPRINT_BYTES]) {
    XXH128_hash_t sum = XXH3_128bits_digest(hash);
    il_hex128(sum.high64, sum.low64, hex);
}

/* ---- writing ---- */

typedef struct writing {
    il_visitor visitor;
    float *gathered; /* [most]: a run whose floats do not lie together */
    /* either */
    XXH3_state_t *hash;
    /* or */
    il_write write;
    void *user;
    il_error *error;
} writing;

static il_status put(writing *w, const void *data, size_t bytes) {
    if (w->hash)
        XXH3_128bits_update(w->hash, data, bytes);
    else if (w->write(w->user, data, bytes))
        return il_fail(w->error, IL_ERR_IO, "the state was not taken whole");
    return IL_OK;
}

static il_status write_run(il_visitor *v, float *at, ptrdiff_t stride, size_t n) {
    writing *w = (writing *)v;
    for (size_t i = 0; i < n && stride != 1; i++) w->gathered[i] = at[(ptrdiff_t)i * stride];
    return put(w, stride == 1 ? at : w->gathered, n * sizeof *at);
}

/* A state as it will be written. Its arrays are still the session's, its metadata point into it. */
typedef struct picture {
    il_state state;
    il_mixed *mixed;
    plan plan;
    char model[FINGERPRINT_BYTES], checksum[FINGERPRINT_BYTES], numbers[3][VALUE_BYTES];
    il_st_pair metadata[KEYS_HASHED + 2];
    size_t n_hashed; /* of the metadata; behind them is the checksum */
} picture;

static il_status take_picture(const il_session *session, picture *p, il_error *error) {
    const il_model *m = session->model;
    p->state = session->state;
    p->mixed = session->mixed;
    p->state.oldest = il_state_rewind_limit(&p->state);
    uint64_t position = p->state.position, open = position % (uint64_t)m->config.mini_batch;
    const uint64_t counts[3] = {position, open, p->state.oldest};
    for (int i = 0; i < 3; i++) snprintf(p->numbers[i], VALUE_BYTES, "%llu", (unsigned long long)counts[i]);
    il_model_fingerprint(m, p->model);
    const char *const values[KEYS_HASHED] = {
        FORMAT, VERSION, p->model, p->numbers[0], p->numbers[1], p->numbers[2], p->state.frozen ? "1" : "0"};
    for (size_t i = 0; i < KEYS_HASHED; i++) p->metadata[i] = (il_st_pair){keys[i], values[i]};
    p->n_hashed = KEYS_HASHED;
    if (session->note) p->metadata[p->n_hashed++] = (il_st_pair){NOTE, session->note};
    p->metadata[p->n_hashed] = (il_st_pair){"checksum", p->checksum};
    outline o = {.extent = {position, p->state.oldest, p->state.frozen}, .mixed = p->mixed != NULL};
    if (p->state.fast.owners) {
        o.owned = il_fast_head_owned(&p->state, mini_batch_of(&p->state));
        o.owned_before = il_fast_head_owned(&p->state, mini_batch_of(&p->state) - 1);
    }
    return plan_open(m, &o, &p->plan, error);
}

/* Fills in the checksum. */
static il_status sum_up(picture *p, writing *w) {
    XXH3_state_t hash;
    il_status status = IL_OK;
    XXH3_INITSTATE(&hash);
    XXH3_128bits_reset(&hash);
    hash_metadata(&hash, p->metadata, p->n_hashed);
    w->hash = &hash;
    for (size_t i = 0; i < p->plan.n && !status; i++) {
        const il_st_item *item = &p->plan.items[i];
        hash_shape(&hash, item->name, item->rank, item->shape);
        status = visit(&p->state, p->mixed, &p->plan.entries[i], &w->visitor);
    }
    w->hash = NULL;
    digest(&hash, p->checksum);
    return status;
}

/* Owes w->visitor.room. */
static il_status begin_writing(const picture *p, writing *w, il_error *error) {
    const il_model *m = p->state.model;
    size_t room = 1 + (size_t)m->config.fast_head_size;
    for (int i = 0; i < m->config.layers; i++) {
        size_t floats = m->layers[i].mixer->room(m, i);
        if (floats > room) room = floats;
    }
    *w = (writing){.visitor = {.visit = write_run}, .error = error};
    w->visitor.room = w->gathered = il_alloc_raw(&m->engine->memory, room, sizeof(float));
    return w->gathered ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory to write a state");
}

il_status il_session_fingerprint(const il_session *session, char hex[33], il_error *error) {
    picture p;
    writing w = {.gathered = NULL};
    il_status status = take_picture(session, &p, error);
    if (!status) status = begin_writing(&p, &w, error);
    if (!status) status = sum_up(&p, &w);
    if (status)
        hex[0] = 0;
    else
        memcpy(hex, p.checksum, sizeof p.checksum);
    il_free(&session->model->engine->memory, w.gathered);
    plan_close(&p.plan);
    return status;
}

il_status il_session_write_to(const il_session *session, il_write write, void *user, il_error *error) {
    const il_allocator *memory = &session->model->engine->memory;
    picture p;
    writing w = {.gathered = NULL};
    unsigned char *header = NULL;
    size_t bytes;
    il_status status = take_picture(session, &p, error);
    if (!status) status = begin_writing(&p, &w, error);
    if (!status) status = sum_up(&p, &w); /* it stands before the data, so the data are gone through twice */
    w.write = write;
    w.user = user;
    if (!status)
        status =
            il_st_header(memory, "state", p.plan.items, p.plan.n, p.metadata, p.n_hashed + 1, &header, &bytes, error);
    if (!status) status = put(&w, header, bytes);
    for (size_t i = 0; i < p.plan.n && !status; i++) status = visit(&p.state, p.mixed, &p.plan.entries[i], &w.visitor);
    il_free(memory, header);
    il_free(memory, w.gathered);
    plan_close(&p.plan);
    return status;
}

typedef struct file_sink {
    il_writer writer;
    il_error *error;
    il_status status;
} file_sink;

static int write_file(void *user, const void *data, size_t bytes) {
    file_sink *f = user;
    f->status = il_writer_write(&f->writer, data, bytes, f->error);
    return f->status != IL_OK;
}

il_status il_session_save(const il_session *session, const char *path, il_error *error) {
    file_sink f = {.error = error};
    il_status status = il_writer_open(&session->model->engine->memory, path, &f.writer, error);
    if (!status) {
        il_error own;
        status = il_session_write_to(session, write_file, &f, &own);
        if (f.status)
            status = f.status; /* error says which file and why */
        else if (status)
            status = il_fail(error, status, "%s: %s", path, own.message);
    }
    if (!status) status = il_writer_finish(&f.writer, error);
    if (status) il_writer_abandon(&f.writer);
    return status;
}

/* ---- reading: everything is checked before a session is made ---- */

typedef struct record {
    const char *path; /* for messages */
    outline o;
} record;

static il_status read_number(const char *path, const il_st *st, const char *key, uint64_t *value, il_error *error) {
    const char *text = il_st_meta(st, key);
    *value = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || c - text > 18)
            return il_fail(error, IL_ERR_FORMAT, "%s: %s is '%.40s', which is not a position", path, key, text);
        *value = 10 * *value + (uint64_t)(*c - '0');
    }
    if (!*text || (*text == '0' && text[1]))
        return il_fail(error, IL_ERR_FORMAT, "%s: %s is '%.40s', which is not a position", path, key, text);
    return IL_OK;
}

il_status il_state_file_checksum(const char *path, const il_st *st, char hex[FINGERPRINT_BYTES], il_error *error) {
    il_st_pair metadata[KEYS_HASHED + 1];
    size_t n_hashed = KEYS_HASHED;
    const char *note = il_st_meta(st, NOTE);
    const char *format = il_st_meta(st, "format");
    if (!format || strcmp(format, FORMAT) != 0)
        return il_fail(error, IL_ERR_FORMAT,
                       "%s: is not a state file but a file of other tensors, as a model's weights are", path);
    for (size_t i = 0; i < KEYS_HASHED; i++) {
        metadata[i] = (il_st_pair){keys[i], il_st_meta(st, keys[i])};
        if (!metadata[i].value) return il_fail(error, IL_ERR_FORMAT, "%s: no %s in its metadata", path, keys[i]);
    }
    if (strcmp(metadata[1].value, VERSION) != 0)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: state format version %.40s, not %s", path, metadata[1].value,
                       VERSION);
    XXH3_state_t hash;
    XXH3_INITSTATE(&hash);
    XXH3_128bits_reset(&hash);
    if (note) metadata[n_hashed++] = (il_st_pair){NOTE, note};
    hash_metadata(&hash, metadata, n_hashed);
    for (size_t i = 0; i < st->n; i++) { /* sorted by name, as they were written */
        const il_st_tensor *t = &st->tensors[i];
        hash_shape(&hash, t->name, t->rank, t->shape);
        XXH3_128bits_update(&hash, t->data, t->bytes);
    }
    digest(&hash, hex);
    return IL_OK;
}

static il_status check_sum(const char *path, const il_st *st, il_error *error) {
    const char *says = il_st_meta(st, "checksum");
    char is[FINGERPRINT_BYTES];
    IL_TRY(il_state_file_checksum(path, st, is, error));
    if (says && strcmp(says, is) == 0) return IL_OK;
    return il_fail(error, IL_ERR_FORMAT, "%s: the file is damaged: its checksum is %s, it says %.40s", path, is,
                   says ? says : "none");
}

/* That it belongs to the model, and that its position, rows and limit go together. */
static il_status check_record(const char *path, const il_st *st, const il_model *model, record *r, il_error *error) {
    char own[FINGERPRINT_BYTES];
    const char *foreign = il_st_meta(st, "model"), *frozen = il_st_meta(st, "frozen");
    uint64_t b = (uint64_t)model->config.mini_batch, open;
    il_model_fingerprint(model, own);
    if (strcmp(foreign, own) != 0)
        return il_fail(error, IL_ERR_MISMATCH, "%s: the state of a different model: %.40s, not %s", path, foreign, own);
    il_extent *e = &r->o.extent;
    IL_TRY(read_number(path, st, "position", &e->position, error));
    IL_TRY(read_number(path, st, "open_rows", &open, error));
    IL_TRY(read_number(path, st, "rewind_limit", &e->limit, error));
    e->frozen = !strcmp(frozen, "1");
    if (!e->frozen && strcmp(frozen, "0") != 0)
        return il_fail(error, IL_ERR_FORMAT, "%s: frozen is '%.40s', not 0 or 1", path, frozen);
    if (open != e->position % b)
        return il_fail(error, IL_ERR_FORMAT, "%s: %llu open rows do not go with position %llu", path,
                       (unsigned long long)open, (unsigned long long)e->position);
    uint64_t now = e->position - open, before = now ? now - b : 0;
    if (e->limit != now && e->limit != before)
        return il_fail(error, IL_ERR_FORMAT, "%s: rewind limit %llu does not go with position %llu", path,
                       (unsigned long long)e->limit, (unsigned long long)e->position);
    return IL_OK;
}

/* What only the tensors themselves say of their number: how many tokens the fast head had learned. Anything else about
 * them is check_tensors'. */
static il_status check_owned(const il_st *st, const il_model *model, record *r, il_error *error) {
    const il_st_tensor *owners = il_st_find(st, names[OWNERS]), *before = il_st_find(st, names[FAST_BEFORE]);
    size_t most = (size_t)model->config.fast_head_tokens, n = owners && owners->rank == 1 ? owners->shape[0] : 0;
    if (!most) return IL_OK;
    if (n > most)
        return il_fail(error, IL_ERR_FORMAT, "%s: tensor %s holds %zu tokens: the model's fast head learns %zu at most",
                       r->path, names[OWNERS], n, most);
    r->o.owned = (int)n;
    if (before && before->rank == 2 && before->shape[0] < n) n = before->shape[0];
    r->o.owned_before = before ? (int)n : 0;
    return IL_OK;
}

static void shape_text(char text[100], int rank, const size_t *shape) {
    size_t n = (size_t)snprintf(text, 100, "[");
    for (int i = 0; i < rank && n < 90; i++) n += (size_t)snprintf(text + n, 100 - n, "%s%zu", i ? "," : "", shape[i]);
    if (n < 99) memcpy(text + n, "]", 2);
}

/* seen [V], zeros: no token twice; NULL: any number of times. */
static il_status check_token_list(const record *r, const il_st_tensor *t, const il_model *model, unsigned char *seen,
                                  il_error *error) {
    for (size_t i = 0; i < t->count; i++) {
        int32_t token;
        memcpy(&token, t->data + i * sizeof token, sizeof token);
        if (token < 0 || token >= model->config.vocab_size)
            return il_fail(error, IL_ERR_FORMAT, "%s: tensor %s holds %d, which is not a token of the model", r->path,
                           t->name, token);
        if (seen && seen[token]++)
            return il_fail(error, IL_ERR_FORMAT, "%s: tensor %s holds %d twice", r->path, t->name, token);
    }
    return IL_OK;
}

static il_status check_owners(const record *r, const il_st_tensor *t, const il_model *model, il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    unsigned char *seen = il_alloc(memory, (size_t)model->config.vocab_size, 1);
    if (!seen) return il_fail(error, IL_ERR_NOMEM, "%s: no memory to check its tokens", r->path);
    il_status status = check_token_list(r, t, model, seen, error);
    il_free(memory, seen);
    return status;
}

/* That it has exactly the tensors of the plan, of these shapes, all numbers finite. */
static il_status check_tensors(const record *r, const il_st *st, const il_model *model, const plan *p,
                               il_error *error) {
    float block[256];
    for (size_t i = 0; i < p->n; i++) {
        const il_st_item *want = &p->items[i];
        const il_st_tensor *t = il_st_find(st, want->name);
        char is[100], must[100];
        if (!t) return il_fail(error, IL_ERR_FORMAT, "%s: tensor %s is missing", r->path, want->name);
        if (t->dtype != want->dtype)
            return il_fail(error, IL_ERR_FORMAT, "%s: tensor %s is %s, not %s", r->path, t->name,
                           il_dtype_name(t->dtype), il_dtype_name(want->dtype));
        if (t->rank != want->rank || memcmp(t->shape, want->shape, (size_t)t->rank * sizeof *t->shape) != 0) {
            shape_text(is, t->rank, t->shape);
            shape_text(must, want->rank, want->shape);
            return il_fail(error, IL_ERR_FORMAT, "%s: tensor %s is %s, not %s", r->path, t->name, is, must);
        }
        if (p->entries[i].content == MIX_TOKENS || p->entries[i].content == TAPPED)
            IL_TRY(check_token_list(r, t, model, NULL, error));
        if (p->entries[i].content == OWNERS) IL_TRY(check_owners(r, t, model, error));
        for (size_t at = 0; t->dtype == IL_F32 && at < t->count;
             at += 256) { /* copied, since a map need not be aligned */
            size_t n = t->count - at < 256 ? t->count - at : 256;
            memcpy(block, t->data + at * sizeof *block, n * sizeof *block);
            if (!model->engine->kernels->all_finite(n, block))
                return il_fail(error, IL_ERR_NONFINITE, "%s: tensor %s holds a number that is not finite", r->path,
                               t->name);
            for (size_t j = 0; j < n && p->entries[i].content == TOKENS; j++)
                if (!(block[j] >= 0 && block[j] < (float)model->config.vocab_size && block[j] == floorf(block[j])))
                    return il_fail(error, IL_ERR_FORMAT,
                                   "%s: tensor tokens holds %g, which is not a token of the model", r->path,
                                   (double)block[j]);
        }
    }
    for (size_t i = 0, j = 0; i < st->n; i++) {
        while (j < p->n && strcmp(p->items[j].name, st->tensors[i].name) < 0) j++;
        if (j == p->n || strcmp(p->items[j].name, st->tensors[i].name) != 0)
            return il_fail(error, IL_ERR_FORMAT, "%s: tensor %.100s does not belong there", r->path,
                           st->tensors[i].name);
    }
    return IL_OK;
}

typedef struct reading {
    il_visitor visitor;
    const unsigned char *data;
} reading;

static il_status read_run(il_visitor *v, float *at, ptrdiff_t stride, size_t n) {
    reading *r = (reading *)v;
    if (stride == 1)
        memcpy(at, r->data, n * sizeof *at);
    else
        for (size_t i = 0; i < n; i++) memcpy(at + (ptrdiff_t)i * stride, r->data + i * sizeof *at, sizeof *at);
    r->data += n * sizeof *at;
    return IL_OK;
}

static il_status restore(il_state *s, il_mixed *mixed, const record *r, const il_st *st, const plan *p,
                         il_error *error) {
    const il_extent *e = &r->o.extent;
    IL_TRY(il_state_reserve(s, e->position, error));
    s->position = e->position;
    s->oldest = e->limit;
    if (s->fast.owners) {
        s->fast.owned[(mini_batch_of(s) + 1) & 1] = r->o.owned_before;
        s->fast.owned[mini_batch_of(s) & 1] = r->o.owned;
    }
    for (size_t i = 0; i < p->n; i++) {
        reading in = {{.visit = read_run}, il_st_find(st, p->items[i].name)->data};
        IL_TRY(visit(s, mixed, &p->entries[i], &in.visitor));
    }
    return IL_OK;
}

/* After the record has been checked. */
static il_status load_tensors(il_model *model, const record *r, const il_st *st, const plan *p, il_session **session,
                              il_error *error) {
    IL_TRY(check_tensors(r, st, model, p, error));
    il_session_options options = {.frozen = r->o.extent.frozen, .mix = r->o.mixed};
    IL_TRY(il_session_open(model, &options, session, error));
    il_mixed *mixed = (*session)->mixed;
    il_status status = restore(&(*session)->state, mixed, r, st, p, error);
    if (!status && mixed) {
        mixed->limit = r->o.extent.limit;
        if (il_mix_sound(mixed->before) && il_mixed_sound(*session))
            il_mixed_rewind(*session);
        else
            status = il_fail(error, IL_ERR_FORMAT, "%s: tensor mix holds what no mix can have learned", r->path);
    }
    if (!status) status = il_session_set_note(*session, il_st_meta(st, NOTE), error);
    if (status) {
        il_session_close(*session);
        *session = NULL;
    }
    return status;
}

static il_status load(il_model *model, const char *path, const il_st *st, il_session **session, il_error *error) {
    record r = {.path = path};
    plan p;
    IL_TRY(check_sum(path, st, error));
    IL_TRY(check_record(path, st, model, &r, error));
    IL_TRY(check_owned(st, model, &r, error));
    r.o.mixed = il_st_find(st, names[MIX]) != NULL;
    il_status status = plan_open(model, &r.o, &p, error);
    if (!status) status = load_tensors(model, &r, st, &p, session, error);
    plan_close(&p);
    return status;
}

/* data [bytes] is the file that messages call path. */
static il_status load_bytes(il_model *model, const char *path, const void *data, size_t bytes, il_session **session,
                            il_error *error) {
    const char *kind = il_kind_of(data, bytes);
    il_st st;
    if (!kind || strcmp(kind, IL_KIND_TENSORS) != 0)
        return il_fail(error, IL_ERR_FORMAT, "%s: is not a state file%s%s", path, kind ? " but " : "",
                       kind    ? kind
                       : bytes ? ""
                               : ": it is empty");
    IL_TRY(il_st_parse(&model->engine->memory, path, data, bytes, &st, error));
    il_status status = load(model, path, &st, session, error);
    il_st_close(&st);
    return status;
}

/* A folder is often one of a model that was meant for another option. */
static il_status refuse_folder(const il_model *model, const char *path, il_error *error) {
    struct stat info;
    if (stat(path, &info) || !S_ISDIR(info.st_mode)) return IL_OK;
    char *config = il_path_join(&model->engine->memory, path, "config.json");
    if (!config) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    int holds_model = il_path_exists(config);
    il_free(&model->engine->memory, config);
    return il_fail(error, IL_ERR_IO, "%s: is not a state file but %s", path,
                   holds_model ? "the folder of a model" : "a folder");
}

il_status il_session_load(il_model *model, const char *path, il_session **session, il_error *error) {
    il_map map;
    *session = NULL;
    IL_TRY(refuse_folder(model, path, error));
    IL_TRY(il_map_open(path, &map, error));
    il_status status = load_bytes(model, path, map.data, map.bytes, session, error);
    il_map_close(&map);
    return status;
}

il_status il_session_load_from(il_model *model, const void *data, size_t bytes, il_session **session, il_error *error) {
    *session = NULL;
    return load_bytes(model, "state", data, bytes, session, error);
}
