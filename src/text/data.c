/* data.c: il_data: which tokens stand in which batch. Owns the order of sequences and the cursor; the tokens
 * are corpus.c's.
 *
 * Unless stateful, sequence i is tokens iL .. iL+L. If stateful, a document (from a BOS token or the beginning
 * of a file on) is cut into windows of that form, the documents' windows are laid end to end, and that list
 * is cut into one run for each lane: batch t is the t-th window of every lane. Everything is found from
 * (epoch, batch) alone, so seeking is exact. Data whose batches are given have no tokens of their own: their cursor
 * counts the batches. */
#include "base/error.h"
#include "base/memory.h"
#include "base/philox.h"
#include "engine/engine.h"
#include "text/corpus.h"

#include <inttypes.h>
#include <string.h>

typedef struct document {
    size_t start, windows;
} document;

struct il_data {
    il_allocator memory;
    il_corpus corpus;
    il_data_options options;
    size_t units;          /* what is shuffled: sequences, or if stateful documents that hold a window */
    size_t *order;         /* [units] place -> unit; NULL: file order */
    document *documents;   /* [units], if stateful */
    size_t *first_window;  /* [units+1] place -> windows before it, if stateful */
    uint64_t windows;      /* in an epoch, the dropped remainder included */
    uint64_t batches;      /* in an epoch */
    uint64_t epoch, batch; /* of the next call */
    int32_t *tokens;       /* [sequences, length+1] */
    unsigned char *fresh;  /* [sequences] */
    int given;             /* batches come from il_data_give: 1 none is ready, 2 one is; 0: they come from the corpus */
    int vocab_size;        /* if given */
};

void il_data_options_default(il_data_options *options) {
    *options = (il_data_options){.length = 2048, .sequences = 1, .bos_token = -1};
}

/* ---- the order of an epoch ---- */

/* Uniform in 0 .. bound-1: the high half of a 64-bit random number times bound. */
static size_t draw(uint64_t seed, uint32_t epoch, uint64_t swap, size_t bound) {
    uint32_t r[4];
    il_philox(seed, IL_PURPOSE_SHUFFLE, epoch, swap, r);
    return (size_t)(((unsigned __int128)(r[0] | (uint64_t)r[1] << 32) * bound) >> 64);
}

static void arrange(il_data *d, uint64_t epoch) {
    if (d->order) {
        for (size_t i = 0; i < d->units; i++) d->order[i] = i;
        for (size_t i = d->units; i-- > 1;) { /* Fisher and Yates */
            size_t k = draw(d->options.seed, (uint32_t)epoch, i, i + 1), swap = d->order[i];
            d->order[i] = d->order[k];
            d->order[k] = swap;
        }
    }
    for (size_t i = 0; d->documents && i < d->units; i++)
        d->first_window[i + 1] = d->first_window[i] + d->documents[d->order ? d->order[i] : i].windows;
}

/* The beginning of window w of this epoch; *fresh is 1 when its document begins there. */
static size_t find_window(const il_data *d, uint64_t w, unsigned char *fresh) {
    if (!d->documents) {
        *fresh = 1;
        return (d->order ? d->order[w] : (size_t)w) * d->options.length;
    }
    size_t low = 0, high = d->units; /* first_window[low] <= w < first_window[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (d->first_window[middle] <= w)
            low = middle;
        else
            high = middle;
    }
    const document *found = &d->documents[d->order ? d->order[low] : low];
    size_t k = (size_t)w - d->first_window[low];
    *fresh = k == 0;
    return found->start + k * d->options.length;
}

/* ---- opening ---- */

/* Where the document that begins at `start` ends: at the next BOS or file. */
static size_t document_end(const il_corpus *c, size_t start, int bos, size_t *file) {
    while (*file < c->files && c->starts[*file] <= start) ++*file;
    size_t limit = *file < c->files ? c->starts[*file] : c->tokens.n, end = start + 1;
    while (end < limit && (bos < 0 || c->tokens.ids[end] != bos)) end++;
    return end;
}

/* Lists the documents that hold a window; with documents NULL it only counts them. */
static size_t list_documents(const il_corpus *c, size_t length, int bos, document *documents, uint64_t *windows) {
    size_t n = 0, file = 0;
    *windows = 0;
    for (size_t start = 0, end; start < c->tokens.n; start = end) {
        end = document_end(c, start, bos, &file);
        size_t here = (end - start - 1) / length;
        if (here == 0) continue;
        if (documents) documents[n] = (document){start, here};
        *windows += here;
        n++;
    }
    return n;
}

/* Room for a batch. Both numbers are far below what would overflow their product. */
static int open_batch(il_data *d) {
    const il_data_options *o = &d->options;
    d->tokens = il_alloc(&d->memory, o->sequences * (o->length + 1), sizeof *d->tokens);
    d->fresh = il_alloc(&d->memory, o->sequences, 1);
    return d->tokens && d->fresh;
}

static il_status no_memory(const il_data_options *o, il_error *error) {
    return il_fail(error, IL_ERR_NOMEM, "no memory for batches of %zu sequences of %zu tokens", o->sequences,
                   o->length);
}

static il_status plan(il_data *d, int bos, il_error *error) {
    const il_data_options *o = &d->options;
    const il_corpus *c = &d->corpus;
    size_t n = c->tokens.n;
    if (o->stateful) {
        d->units = list_documents(c, o->length, bos, NULL, &d->windows);
    } else {
        d->units = n ? (n - 1) / o->length : 0;
        d->windows = d->units;
    }
    d->batches = d->windows / o->sequences;
    if (d->batches == 0)
        return il_fail(error, IL_ERR_ARG,
                       "%zu tokens%s give %" PRIu64 " sequences of %zu tokens and one more; a batch takes %zu", n,
                       o->stateful ? " in their documents" : "", d->windows, o->length, o->sequences);
    int short_of_memory = 0;
    if (o->shuffle) short_of_memory |= !(d->order = il_alloc(&d->memory, d->units, sizeof *d->order));
    if (o->stateful) {
        short_of_memory |= !(d->documents = il_alloc(&d->memory, d->units, sizeof *d->documents));
        short_of_memory |= !(d->first_window = il_alloc(&d->memory, d->units + 1, sizeof *d->first_window));
    }
    if (short_of_memory || !open_batch(d)) return no_memory(o, error); /* n > sequences * length here */
    if (o->stateful) list_documents(c, o->length, bos, d->documents, &d->windows);
    arrange(d, 0);
    return IL_OK;
}

/* What both ways of opening begin with. */
static il_status begin(il_engine *engine, int vocab_size, const il_data_options *options, il_data **data,
                       il_error *error) {
    *data = NULL;
    if (options->length == 0 || options->sequences == 0)
        return il_fail(error, IL_ERR_ARG, "length %zu and sequences %zu must be at least 1", options->length,
                       options->sequences);
    if (vocab_size < 1) return il_fail(error, IL_ERR_ARG, "a vocabulary of %d", vocab_size);
    il_data *d = il_alloc(&engine->memory, 1, sizeof *d);
    if (!d) return il_fail(error, IL_ERR_NOMEM, "no memory for a data source");
    d->memory = engine->memory;
    d->options = *options;
    d->options.cache_dir = NULL; /* the caller's, needed no longer than this call */
    d->options.documents = (il_documents_options){0};
    *data = d;
    return IL_OK;
}

il_status il_data_open(il_engine *engine, const char *const *files, size_t n_files, const il_tokenizer *tokenizer,
                       int vocab_size, const il_data_options *options, il_data **data, il_error *error) {
    IL_TRY(begin(engine, vocab_size, options, data, error));
    il_data *d = *data;
    int bos = options->bos_token;
    if (bos < 0 && tokenizer) {
        il_tokenizer_info info;
        il_tokenizer_get_info(tokenizer, &info);
        bos = info.bos;
    }
    il_status status = il_corpus_load(engine, files, n_files, &options->documents, tokenizer, vocab_size,
                                      options->cache_dir, &d->corpus, error);
    if (status == IL_OK) status = plan(d, bos, error);
    if (status != IL_OK) {
        il_data_close(d);
        *data = NULL;
    }
    return status;
}

il_status il_data_open_given(il_engine *engine, int vocab_size, const il_data_options *options, il_data **data,
                             il_error *error) {
    *data = NULL;
    if (options->length > 1 << 20 || options->sequences > 1 << 20)
        return il_fail(error, IL_ERR_ARG, "length %zu and sequences %zu: 1,048,576 are the most", options->length,
                       options->sequences);
    IL_TRY(begin(engine, vocab_size, options, data, error));
    (*data)->given = 1;
    (*data)->vocab_size = vocab_size;
    if (open_batch(*data)) return IL_OK;
    il_data_close(*data);
    *data = NULL;
    return no_memory(options, error);
}

il_status il_data_give(il_data *d, const int32_t *tokens, const unsigned char *fresh, il_error *error) {
    size_t sequences = d->options.sequences, n = sequences * (d->options.length + 1);
    if (!d->given) return il_fail(error, IL_ERR_ARG, "these data are read from files: no batch can be given");
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= d->vocab_size)
            return il_fail(error, IL_ERR_ARG, "token %zu of the batch is %d: ids go from 0 to %d", i, tokens[i],
                           d->vocab_size - 1);
    memcpy(d->tokens, tokens, n * sizeof *tokens);
    for (size_t i = 0; i < sequences; i++) d->fresh[i] = !d->options.stateful || !fresh || fresh[i];
    d->given = 2;
    return IL_OK;
}

void il_data_close(il_data *d) {
    if (!d) return;
    il_allocator memory = d->memory;
    il_free(&memory, d->fresh);
    il_free(&memory, d->tokens);
    il_free(&memory, d->first_window);
    il_free(&memory, d->documents);
    il_free(&memory, d->order);
    il_corpus_free(&memory, &d->corpus);
    il_free(&memory, d);
}

/* ---- reading ---- */

static il_status next_given(il_data *d, il_batch *batch, il_error *error) {
    if (d->given < 2) return il_fail(error, IL_ERR_END, "no batch was given (il_data_give)");
    d->given = 1;
    d->batch++;
    *batch = (il_batch){d->tokens, d->fresh, d->options.sequences, d->options.length};
    return IL_OK;
}

il_status il_data_next(il_data *d, il_batch *batch, il_error *error) {
    size_t length = d->options.length, lanes = d->options.sequences;
    *batch = (il_batch){0};
    if (d->given) return next_given(d, batch, error);
    if (d->batch == d->batches)
        return il_fail(error, IL_ERR_END, "the data ends after %" PRIu64 " batches", d->batches);
    for (size_t lane = 0; lane < lanes; lane++) {
        /* if stateful a lane's windows follow each other, without it a batch's do */
        uint64_t w = d->options.stateful ? lane * d->batches + d->batch : d->batch * lanes + lane;
        size_t at = find_window(d, w, &d->fresh[lane]);
        if (d->batch == 0) d->fresh[lane] = 1; /* a lane that begins inside a document */
        memcpy(d->tokens + lane * (length + 1), d->corpus.tokens.ids + at, (length + 1) * sizeof *d->tokens);
    }
    if (++d->batch == d->batches && d->options.loop) {
        d->epoch++, d->batch = 0;
        arrange(d, d->epoch);
    }
    *batch = (il_batch){d->tokens, d->fresh, lanes, length};
    return IL_OK;
}

void il_data_tell(const il_data *d, il_cursor *cursor) { *cursor = (il_cursor){d->epoch, d->batch}; }

il_status il_data_seek(il_data *d, const il_cursor *cursor, il_error *error) {
    if (d->given) {
        d->epoch = cursor->epoch;
        d->batch = cursor->batch;
        return IL_OK;
    }
    uint64_t last = d->options.loop ? d->batches - 1 : d->batches;
    if (cursor->batch > last)
        return il_fail(error, IL_ERR_ARG, "batch %" PRIu64 " of an epoch of %" PRIu64 " batches", cursor->batch,
                       d->batches);
    if (cursor->epoch > UINT32_MAX)
        return il_fail(error, IL_ERR_ARG, "epoch %" PRIu64 " is beyond %u", cursor->epoch, UINT32_MAX);
    if (cursor->epoch != d->epoch) arrange(d, cursor->epoch);
    d->epoch = cursor->epoch;
    d->batch = cursor->batch;
    return IL_OK;
}

const il_data_options *il_data_get_options(const il_data *d) { return &d->options; }
uint64_t il_data_tokens(const il_data *d) { return d->corpus.tokens.n; }
uint64_t il_data_batches_per_epoch(const il_data *d) { return d->batches; }
uint64_t il_data_text_bytes(const il_data *d) { return d->corpus.text_bytes; }
const int32_t *il_data_stream(const il_data *d) { return d->corpus.tokens.ids; }
