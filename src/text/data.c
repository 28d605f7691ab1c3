/* data.c: il_data: which tokens stand in which batch. Owns the order of sequences and the cursor; the tokens
 * are corpus.c's.
 *
 * Unless stateful, sequence i is tokens iL .. iL+L. If stateful, a document (from a BOS token or the beginning
 * of a file on) is cut into windows of that form, the documents' windows are laid end to end, and that list
 * is cut into one run for each lane: batch t is the t-th window of every lane. With weights each source has sequences
 * of its own, and weights.c says which source's how-manieth comes next. Everything is found from (epoch, batch) alone,
 * so seeking is exact, and any part of a batch is what it is in the whole. Data whose batches are given have no tokens
 * of their own: their cursor counts the batches. */
#include "text/data.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/permute.h"
#include "base/philox.h"
#include "engine/engine.h"
#include "text/corpus.h"
#include "text/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { COMPUTED = 2 /* of il_data_options.shuffle */ };

typedef struct document {
    uint64_t start, windows;
} document;

/* A source of data that are mixed by weight. */
typedef struct share {
    uint64_t first, tokens, sequences;
} share;

struct il_data {
    il_allocator memory;
    il_corpus corpus;
    il_data_options options;
    size_t units;           /* what is shuffled: sequences, or if stateful documents that hold a window */
    size_t *order;          /* [units] place -> unit; NULL: file order, or computed */
    document *documents;    /* [units], if stateful */
    uint64_t *first_window; /* [units+1] place -> windows before it, if stateful */
    il_weights weights;     /* n 0: one stream */
    share *shares;          /* [weights.n] */
    uint64_t windows;       /* in an epoch, the dropped remainder included */
    uint64_t batches;       /* in an epoch */
    uint64_t epoch, batch;  /* of the next call */
    int32_t *tokens;        /* [sequences, length+1] */
    unsigned char *fresh;   /* [sequences] */
    int given;      /* batches come from il_data_give: 1 none is ready, 2 one is; 0: they come from the corpus */
    int vocab_size; /* if given */
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

/* Where sequence i of this epoch begins in data that are mixed. */
static uint64_t find_mixed(const il_data *d, uint64_t i) {
    uint64_t count, source = il_weights_at(&d->weights, d->epoch * d->batches * d->options.sequences + i, &count);
    const share *s = &d->shares[source];
    uint64_t place = count % s->sequences;
    if (d->options.shuffle)
        place = il_permute(d->options.seed, (uint32_t)source, count / s->sequences, s->sequences, place);
    return s->first + place * d->options.length;
}

/* The beginning of window w of this epoch; *fresh is 1 when its document begins there. */
static uint64_t find_window(const il_data *d, uint64_t w, unsigned char *fresh) {
    if (!d->documents) {
        *fresh = 1;
        if (d->weights.n) return find_mixed(d, w);
        if (d->options.shuffle == COMPUTED) w = il_permute(d->options.seed, 0, d->epoch, d->units, w);
        return (d->order ? d->order[w] : w) * d->options.length;
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
    uint64_t k = w - d->first_window[low];
    *fresh = k == 0;
    return found->start + k * d->options.length;
}

/* ---- opening ---- */

static il_status no_memory(const il_data_options *o, il_error *error) {
    return il_fail(error, IL_ERR_NOMEM, "no memory for batches of %zu sequences of %zu tokens", o->sequences,
                   o->length);
}

/* The tokens start .. end-1 are a document: it is listed if it holds a window. */
static il_status list(il_data *d, uint64_t start, uint64_t end, size_t *capacity, il_error *error) {
    uint64_t windows = end > start ? (end - start - 1) / d->options.length : 0;
    void *documents = d->documents;
    if (windows == 0) return IL_OK;
    int grown = il_grow(&d->memory, &documents, capacity, d->units, d->units + 1, sizeof *d->documents);
    d->documents = documents;
    if (!grown) return no_memory(&d->options, error);
    d->documents[d->units++] = (document){start, windows};
    d->windows += windows;
    return IL_OK;
}

static il_status list_documents(il_data *d, int bos, il_error *error) {
    il_corpus *c = &d->corpus;
    size_t capacity = 0;
    for (size_t file = 0; file < c->n_files; file++) {
        uint64_t start = c->files[file].first, end = start + c->files[file].tokens;
        for (uint64_t at = start; at < end;) {
            const int32_t *ids;
            size_t n;
            IL_TRY(il_corpus_view(c, at, &ids, &n, error));
            for (size_t i = 0; i < n && bos >= 0; i++) {
                if (ids[i] != bos || at + i == start) continue;
                IL_TRY(list(d, start, at + i, &capacity, error));
                start = at + i;
            }
            at += n;
        }
        IL_TRY(list(d, start, end, &capacity, error));
    }
    return IL_OK;
}

/* The sources of data that are mixed, and their sequences. */
static il_status share_out(il_data *d, const double *weights, il_error *error) {
    const il_corpus *c = &d->corpus;
    IL_TRY(il_weights_open(&d->memory, weights, c->n_files, &d->weights, error));
    d->shares = il_alloc(&d->memory, d->weights.n, sizeof *d->shares);
    if (!d->shares) return no_memory(&d->options, error);
    for (size_t file = 0, source = 0; file < c->n_files; file++) {
        const il_corpus_file *f = &c->files[file];
        if (weights[file] > 0) d->shares[source++].first = f->first;
        d->shares[source - 1].tokens += f->tokens;
    }
    for (size_t i = 0; i < d->weights.n; i++) {
        share *s = &d->shares[i];
        s->sequences = s->tokens ? (s->tokens - 1) / d->options.length : 0;
        if (!s->sequences)
            return il_fail(error, IL_ERR_ARG,
                           "source %zu has %" PRIu64 " tokens, too few for a sequence of %zu and one more", i + 1,
                           s->tokens, d->options.length);
        d->windows += s->sequences;
    }
    return IL_OK;
}

/* Room for a batch. Both numbers are far below what would overflow their product. */
static int open_batch(il_data *d) {
    const il_data_options *o = &d->options;
    d->tokens = il_alloc(&d->memory, o->sequences * (o->length + 1), sizeof *d->tokens);
    d->fresh = il_alloc(&d->memory, o->sequences, 1);
    return d->tokens && d->fresh;
}

static il_status plan(il_data *d, const double *weights, int bos, il_error *error) {
    const il_data_options *o = &d->options;
    uint64_t n = d->corpus.n;
    if (weights) {
        IL_TRY(share_out(d, weights, error));
    } else if (o->stateful) {
        IL_TRY(list_documents(d, bos, error));
    } else {
        d->windows = n ? (n - 1) / o->length : 0;
        d->units = (size_t)d->windows;
    }
    d->batches = d->windows / o->sequences;
    if (d->batches == 0)
        return il_fail(error, IL_ERR_ARG,
                       "%" PRIu64 " tokens%s give %" PRIu64 " sequences of %zu tokens and one more; a batch takes %zu",
                       n, o->stateful ? " in their documents" : "", d->windows, o->length, o->sequences);
    int short_of_memory = 0, table = o->shuffle && o->shuffle != COMPUTED && !weights;
    if (table) short_of_memory |= !(d->order = il_alloc(&d->memory, d->units, sizeof *d->order));
    if (o->stateful)
        short_of_memory |= !(d->first_window = il_alloc(&d->memory, d->units + 1, sizeof *d->first_window));
    if (short_of_memory || !open_batch(d)) return no_memory(o, error); /* n > sequences * length here */
    arrange(d, 0);
    return IL_OK;
}

static il_status check(const il_data_options *o, il_error *error) {
    if (o->shuffle < 0 || o->shuffle > COMPUTED) return il_fail(error, IL_ERR_ARG, "shuffle %d: 0 to 2", o->shuffle);
    if (!o->stateful) return IL_OK;
    if (o->weights)
        return il_fail(
            error, IL_ERR_UNSUPPORTED,
            "sources with weights are read in sequences that each begin afresh: not with a state that goes on");
    if (o->shuffle == COMPUTED)
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       "an order by arithmetic is of sequences that each begin afresh: not with a state that goes on");
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
    d->corpus.allocator = &d->memory;
    d->options = *options;
    d->options.cache_dir = NULL; /* the caller's, needed no longer than this call */
    d->options.weights = NULL;
    d->options.documents = (il_documents_options){0};
    *data = d;
    return IL_OK;
}

il_status il_data_open(il_engine *engine, const char *const *files, size_t n_files, const il_tokenizer *tokenizer,
                       int vocab_size, const il_data_options *options, il_data **data, il_error *error) {
    *data = NULL;
    IL_TRY(check(options, error));
    IL_TRY(begin(engine, vocab_size, options, data, error));
    il_data *d = *data;
    int bos = options->bos_token;
    if (bos < 0 && tokenizer) {
        il_tokenizer_info info;
        il_tokenizer_get_info(tokenizer, &info);
        bos = info.bos;
    }
    il_status status = il_corpus_load(engine, files, n_files, &options->documents, tokenizer, vocab_size,
                                      options->cache_dir, options->memory_max, &d->corpus, error);
    if (status == IL_OK) status = plan(d, options->weights, bos, error);
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
    il_free(&memory, d->shares);
    il_weights_close(&memory, &d->weights);
    il_corpus_free(&memory, &d->corpus);
    il_free(&memory, d);
}

/* ---- reading ---- */

static il_status next_given(il_data *d, size_t first, size_t n, il_batch *batch, il_error *error) {
    if (d->given < 2) return il_fail(error, IL_ERR_END, "no batch was given (il_data_give)");
    d->given = 1;
    d->batch++;
    *batch = (il_batch){d->tokens + first * (d->options.length + 1), d->fresh + first, n, d->options.length};
    return IL_OK;
}

il_status il_data_next_part(il_data *d, size_t first, size_t n, il_batch *batch, il_error *error) {
    size_t length = d->options.length, lanes = d->options.sequences;
    *batch = (il_batch){0};
    if (first > lanes || n > lanes - first)
        return il_fail(error, IL_ERR_ARG, "%zu sequences from %zu on, of a batch of %zu", n, first, lanes);
    if (d->given) return next_given(d, first, n, batch, error);
    if (d->batch == d->batches)
        return il_fail(error, IL_ERR_END, "the data ends after %" PRIu64 " batches", d->batches);
    for (size_t lane = first; lane < first + n; lane++) {
        /* if stateful a lane's windows follow each other, without it a batch's do */
        uint64_t w = d->options.stateful ? lane * d->batches + d->batch : d->batch * lanes + lane;
        uint64_t at = find_window(d, w, &d->fresh[lane]);
        if (d->batch == 0) d->fresh[lane] = 1; /* a lane that begins inside a document */
        IL_TRY(il_corpus_read(&d->corpus, at, length + 1, d->tokens + lane * (length + 1), error));
    }
    if (++d->batch == d->batches && d->options.loop) {
        d->epoch++, d->batch = 0;
        arrange(d, d->epoch);
    }
    *batch = (il_batch){d->tokens + first * (length + 1), d->fresh + first, n, length};
    return IL_OK;
}

il_status il_data_next(il_data *d, il_batch *batch, il_error *error) {
    return il_data_next_part(d, 0, d->options.sequences, batch, error);
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
uint64_t il_data_tokens(const il_data *d) { return d->corpus.n; }
uint64_t il_data_batches_per_epoch(const il_data *d) { return d->batches; }
uint64_t il_data_text_bytes(const il_data *d) { return d->corpus.text_bytes; }
const int32_t *il_data_stream(const il_data *d) { return d->corpus.on_disk ? NULL : d->corpus.tokens.ids; }

/* ---- what a checkpoint remembers ---- */

int il_data_on_disk(const il_data *d) { return d->corpus.on_disk; }

il_status il_data_fingerprint(il_data *d, int of_tokens, char hex[33], il_error *error) {
    return il_corpus_fingerprint(&d->corpus, of_tokens, hex, error);
}

char *il_data_mixture(const il_data *d) { return il_weights_text(&d->weights); }
