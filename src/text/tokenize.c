/* tokenize.c: see tokenize.h. Text is read into one of two heaps and cut there into spans (il_tokenizer_cut), which are
 * put together to jobs. While threads work on the jobs of one heap, one of them reads the other. How much text comes
 * into a heap and how it is cut changes no token: that is what spans are. */
#include "text/tokenize.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/pool.h"
#include "engine/engine.h"

#include <inttypes.h>
#include <string.h>

enum { HEAP_BYTES_EACH = 1 << 19, HEAP_BYTES_MAX = 16 << 20, JOB_BYTES = 1 << 16, UNCUT = 1 << 20 };

typedef struct span {
    size_t at, bytes;
    int begins; /* a document does */
} span;

typedef struct job {
    size_t first, n; /* spans */
    il_tokens tokens;
    il_status status;
    il_error error;
} job;

typedef struct heap {
    char *text; /* [n]: spans, and from `cut` on what belongs to none yet */
    size_t n, capacity, cut;
    span *spans;
    size_t n_spans, spans_capacity;
    job *jobs;
    size_t n_jobs, jobs_capacity;
} heap;

typedef struct work {
    const il_allocator *memory;
    il_documents *documents;
    const il_tokenizer *tokenizer;
    int bos;
    size_t enough; /* bytes of spans in a heap */
    heap heaps[2], *full, *filling;
    int ended, begins, begun; /* begins: the next span begins a document; begun: there was one */
    size_t least;             /* of uncut text, before it is looked at again */
    uint64_t text_bytes, tokens;
    il_status status; /* of reading */
    il_error error;
} work;

/* ---- reading ---- */

static il_status no_memory(il_error *error) { return il_fail(error, IL_ERR_NOMEM, "no memory to tokenize"); }

static il_status add_text(work *w, heap *h, const char *text, size_t bytes) {
    void *block = h->text;
    int grown = il_grow(w->memory, &block, &h->capacity, h->n, h->n + bytes + 1, 1);
    h->text = block;
    if (!grown) return no_memory(&w->error);
    if (bytes) memcpy(h->text + h->n, text, bytes);
    h->n += bytes;
    return IL_OK;
}

/* The next `bytes` of the heap's text are a span, of a job that is not full yet. */
static il_status add_span(work *w, heap *h, size_t bytes) {
    void *block = h->spans;
    int grown = il_grow(w->memory, &block, &h->spans_capacity, h->n_spans, h->n_spans + 1, sizeof *h->spans);
    h->spans = block;
    if (!grown) return no_memory(&w->error);
    const span *first = h->n_jobs ? &h->spans[h->jobs[h->n_jobs - 1].first] : NULL;
    if (!first || h->cut - first->at >= JOB_BYTES) {
        size_t before = h->jobs_capacity;
        block = h->jobs;
        grown = il_grow(w->memory, &block, &h->jobs_capacity, before, h->n_jobs + 1, sizeof *h->jobs);
        h->jobs = block;
        if (!grown) return no_memory(&w->error);
        if (h->jobs_capacity > before) memset(h->jobs + before, 0, (h->jobs_capacity - before) * sizeof *h->jobs);
        h->jobs[h->n_jobs].first = h->n_spans;
        h->jobs[h->n_jobs++].n = 0;
    }
    h->jobs[h->n_jobs - 1].n++;
    h->spans[h->n_spans++] = (span){h->cut, bytes, w->begins};
    h->cut += bytes;
    w->begins = 0;
    return IL_OK;
}

/* Spans of the heap's uncut text; all of it when the document ends there. */
static il_status cut(work *w, heap *h, int whole) {
    while (h->n - h->cut > w->least) {
        size_t left = h->n - h->cut, bytes = il_tokenizer_cut(w->tokenizer, h->text + h->cut, left);
        /* a text that cannot be cut is not searched through again for every part of it */
        w->least = bytes || left < UNCUT ? 0 : 2 * left;
        if (!bytes) break;
        IL_TRY(add_span(w, h, bytes));
    }
    if (!whole) return IL_OK;
    w->least = 0;
    return h->n > h->cut || w->begins ? add_span(w, h, h->n - h->cut) : IL_OK;
}

static il_status read_some(work *w, heap *h) {
    il_document part;
    int pieces = il_documents_format(w->documents) == IL_FORMAT_TEXT;
    while (h->cut < w->enough) {
        il_status status = il_documents_part(w->documents, &part, &w->error);
        if (status == IL_ERR_END) {
            w->ended = 1;
            return cut(w, h, 1);
        }
        if (status != IL_OK) return status;
        w->begun = 1;
        w->begins |= part.begins;
        w->text_bytes += part.bytes;
        IL_TRY(add_text(w, h, part.text, part.bytes));
        IL_TRY(cut(w, h, !pieces));
    }
    return IL_OK;
}

static void fill(work *w) {
    heap *h = w->filling, *before = w->full;
    h->n = h->cut = h->n_spans = h->n_jobs = 0;
    w->status = add_text(w, h, before->n > before->cut ? before->text + before->cut : "", before->n - before->cut);
    if (w->status == IL_OK) w->status = read_some(w, h);
}

/* ---- encoding ---- */

static void encode(const work *w, const heap *h, job *j) {
    j->tokens.n = 0;
    j->status = IL_OK;
    for (size_t i = j->first; i < j->first + j->n && j->status == IL_OK; i++) {
        const span *s = &h->spans[i];
        if (s->begins && w->bos >= 0) {
            if (il_tokens_reserve(w->memory, &j->tokens, 1))
                j->tokens.ids[j->tokens.n++] = w->bos;
            else
                j->status = no_memory(&j->error);
        }
        if (j->status == IL_OK)
            j->status =
                il_tokenizer_encode_span(w->tokenizer, h->text + s->at, s->bytes, s->begins, &j->tokens, &j->error);
    }
}

/* Item 0 reads, which takes longest to be followed by more work; the others are jobs. */
static void run(void *context, int item, int worker) {
    work *w = context;
    (void)worker;
    if (item > 0)
        encode(w, w->full, &w->full->jobs[item - 1]);
    else if (!w->ended)
        fill(w);
}

static il_status pour(work *w, const heap *h, il_tokens *tokens, il_shard_writer *shard, il_error *error) {
    for (size_t i = 0; i < h->n_jobs; i++) {
        const job *j = &h->jobs[i];
        if (j->status != IL_OK) {
            if (error) *error = j->error;
            return j->status;
        }
        w->tokens += j->tokens.n;
        if (shard) IL_TRY(il_shard_writer_add(shard, j->tokens.ids, j->tokens.n, error));
        if (!tokens || !j->tokens.n) continue;
        if (!il_tokens_reserve(w->memory, tokens, j->tokens.n)) return no_memory(error);
        memcpy(tokens->ids + tokens->n, j->tokens.ids, j->tokens.n * sizeof *tokens->ids);
        tokens->n += j->tokens.n;
    }
    return IL_OK;
}

static void tell_progress(const work *w, const char *path) {
    const il_documents_options *options = il_documents_options_of(w->documents);
    const il_source *source = il_documents_source(w->documents);
    if (options->progress) options->progress(options->progress_user, path, source->raw_read, source->size);
}

static il_status work_through(work *w, il_engine *engine, const char *path, il_tokens *tokens, il_shard_writer *shard,
                              il_error *error) {
    fill(w);
    for (;;) {
        heap *h = w->filling;
        if (w->status != IL_OK) {
            if (error) *error = w->error;
            return w->status;
        }
        w->filling = w->full;
        w->full = h;
        if (!h->n_jobs) return IL_OK; /* the end: a heap without spans is filled until it has some */
        int last = w->ended;
        il_pool_run(engine->pool, 1 + (int)h->n_jobs, run, w);
        IL_TRY(pour(w, h, tokens, shard, error));
        tell_progress(w, path);
        if (last) return IL_OK;
    }
}

il_status il_documents_tokenize(il_engine *engine, const char *path, il_documents *documents,
                                const il_tokenizer *tokenizer, il_tokens *tokens, il_shard_writer *shard,
                                uint64_t *text_bytes, il_error *error) {
    il_tokenizer_info info;
    size_t before = tokens ? tokens->n : 0;
    il_tokenizer_get_info(tokenizer, &info);
    work w = {.memory = &engine->memory, .documents = documents, .tokenizer = tokenizer, .bos = info.bos};
    w.full = &w.heaps[0];
    w.filling = &w.heaps[1];
    w.enough = (size_t)il_engine_threads(engine) * HEAP_BYTES_EACH;
    if (w.enough > HEAP_BYTES_MAX) w.enough = HEAP_BYTES_MAX;
    il_status status = work_through(&w, engine, path, tokens, shard, error);
    if (status == IL_OK && !w.begun) status = il_fail(error, IL_ERR_FORMAT, "%s: the file is empty", path);
    if (status != IL_OK && tokens) tokens->n = before;
    if (status == IL_OK)
        il_log(engine, IL_LOG_INFO, "%s: %" PRIu64 " bytes of text, %" PRIu64 " tokens", path, w.text_bytes, w.tokens);
    *text_bytes = w.text_bytes;
    for (int i = 0; i < 2; i++) {
        heap *h = &w.heaps[i];
        for (size_t k = 0; k < h->jobs_capacity; k++) il_tokens_free(&h->jobs[k].tokens);
        il_free(w.memory, h->jobs);
        il_free(w.memory, h->spans);
        il_free(w.memory, h->text);
    }
    return status;
}

il_status il_documents_finish_shard(const il_documents *documents, il_shard_writer *shard, uint64_t text_bytes,
                                    il_error *error) {
    uint64_t first, skipped = il_documents_skipped(documents, &first);
    return il_shard_writer_finish(shard, text_bytes, skipped, first, error);
}

il_status il_documents_shard(il_engine *engine, const char *path, il_documents *documents,
                             const il_tokenizer *tokenizer, const char *out, uint64_t *tokens, uint64_t *text_bytes,
                             il_error *error) {
    il_tokenizer_info info;
    il_shard_writer shard;
    il_tokenizer_get_info(tokenizer, &info);
    il_status status = il_shard_writer_open(&engine->memory, out, info.vocab_size, &shard, error);
    if (status == IL_OK)
        status = il_documents_tokenize(engine, path, documents, tokenizer, NULL, &shard, text_bytes, error);
    *tokens = shard.tokens;
    if (status == IL_OK) status = il_documents_finish_shard(documents, &shard, *text_bytes, error);
    if (status != IL_OK) il_shard_writer_abandon(&shard);
    return status;
}
