/* eval_reading_gain.c: see eval_reading_gain.h. The method (docs/reading.md):
 *
 * A placement is a target, --next-bytes of a book, and the --read-bytes before it. Placements come in pairs by two
 * authors. Each text is read once, by a session that learns and by one that is frozen; forks of what it left then read
 * its own target (`same`) and its partner's (`other`). `fresh` is the target after nothing. So every reading text
 * serves both conditions, a target's tokens are the same in all, and differences are paired. Targets never overlap.
 * Each pair's mean is one observation: a mean's interval is Student's, over pairs. */
#include "verbs/eval_reading_gain.h"
#include "interrupt.h"
#include "lines.h"
#include "mixers.h"
#include "output.h"
#include "verbs/eval_books.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FEED_TOKENS = 2048, /* tokens fed at a time, between signs of life */
    PARTS = 10          /* of a target, by tokens */
};

typedef enum condition { FRESH, SAME, OTHER, CONDITIONS } condition;
static const char *const condition_names[CONDITIONS] = {"fresh", "same", "other"};

typedef struct placement {
    const eval_book *book;
    size_t read, at, end;               /* the text read is [read, at), the target [at, end) */
    double loss[2][CONDITIONS];         /* bits per byte of the target; [1]: frozen */
    double parts[2][CONDITIONS][PARTS]; /* the same of each part, at the target's mean bytes per token */
} placement;

typedef struct measuring {
    cli_command *command;
    const eval_gain_options *options;
    il_model *model;
    il_tokenizer *tokenizer;
    eval_books books;
    cli_encoder encoder;
    int32_t bos;           /* -1: none */
    placement *placements; /* [n]; 2k and 2k+1 are a pair */
    size_t n, authors;
    float *nll; /* [FEED_TOKENS] */
    cli_progress progress;
    uint64_t done; /* bytes read, targets included */
} measuring;

/* ---- where ---- */

/* A generator of our own (splitmix64), so that a seed names the same placements everywhere. */
static uint64_t draw(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Shuffles items [n] of `size` bytes. */
static void shuffle(void *items, size_t n, size_t size, uint64_t *state) {
    char *base = items, *spare = cli_alloc(size, 1);
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)(draw(state) % i);
        memcpy(spare, base + (i - 1) * size, size);
        memmove(base + (i - 1) * size, base + j * size, size);
        memcpy(base + j * size, spare, size);
    }
    free(spare);
}

/* The first line that begins at `at` or after it, if one does within `reach` bytes; else the first character. */
static size_t line_start(const eval_book *book, size_t at, size_t reach) {
    if (!at || at >= book->bytes) return at ? book->bytes : 0;
    size_t room = book->bytes - at < reach ? book->bytes - at : reach;
    const char *end = memchr(book->text + at - 1, '\n', room);
    if (end) return (size_t)(end - book->text) + 1;
    while (at < book->bytes && ((unsigned char)book->text[at] & 0xC0) == 0x80) at++;
    return at;
}

/* One author's placements: every one that fits, in the order of the books; targets lie side by side. */
static size_t list_slots(const measuring *m, size_t author, placement *slots) {
    size_t n = 0, next = (size_t)m->options->next_bytes, before = (size_t)m->options->read_bytes, reach = next / 4 + 1;
    for (size_t i = 0; i < m->books.n; i++) {
        const eval_book *book = &m->books.books[i];
        if (book->author != author) continue;
        for (size_t at = before; at + next <= book->bytes; at += next, n++) {
            if (!slots) continue;
            slots[n] = (placement){.book = book, .at = line_start(book, at, reach)};
            slots[n].end = line_start(book, at + next, reach);
            slots[n].read = before ? line_start(book, at - before, reach) : slots[n].at;
        }
    }
    return n;
}

typedef struct author_slots {
    placement *slots; /* [n], shuffled; the first `used` are taken */
    size_t n, used, index;
} author_slots;

typedef struct author_pair {
    author_slots *a, *b;
} author_pair;

static il_status fill(measuring *m, author_slots *authors, size_t n_authors, uint64_t *random) {
    size_t n = 0;
    author_pair *pairs = cli_alloc(n_authors * n_authors, sizeof *pairs);
    for (size_t i = 0; i < n_authors; i++)
        for (size_t j = i + 1; j < n_authors; j++) pairs[n++] = (author_pair){&authors[i], &authors[j]};
    shuffle(pairs, n, sizeof *pairs, random);
    il_status status = IL_OK;
    for (size_t k = 0; k < m->n / 2 && !status; k++) {
        author_pair *pair = &pairs[k % n];
        author_slots *short_of = pair->a->used == pair->a->n ? pair->a : pair->b;
        if (short_of->used == short_of->n) {
            status = cli_fail(&m->command->error, IL_ERR_ARG,
                              "%s: %s has room for %s of %zu bytes with %zu before them; more are needed for "
                              "%zu placements",
                              m->options->data, m->books.authors[short_of->index], cli_count(short_of->n, "target"),
                              (size_t)m->options->next_bytes, (size_t)m->options->read_bytes, m->n);
            break;
        }
        m->placements[2 * k] = pair->a->slots[pair->a->used++];
        m->placements[2 * k + 1] = pair->b->slots[pair->b->used++];
    }
    for (size_t i = 0; i < n_authors; i++) m->authors += authors[i].used > 0;
    free(pairs);
    return status;
}

static il_status choose(measuring *m) {
    uint64_t random = m->options->seed;
    size_t n = 0;
    author_slots *authors = cli_alloc(m->books.n_authors, sizeof *authors);
    for (size_t i = 0; i < m->books.n_authors; i++) {
        author_slots *a = &authors[n];
        *a = (author_slots){.n = list_slots(m, i, NULL), .index = i};
        if (!a->n) continue;
        a->slots = cli_alloc(a->n, sizeof *a->slots);
        list_slots(m, i, a->slots);
        shuffle(a->slots, a->n, sizeof *a->slots, &random);
        n++;
    }
    il_status status = IL_OK;
    m->n = (size_t)m->options->placements;
    m->placements = cli_alloc(m->n, sizeof *m->placements);
    if (n < 2)
        status = cli_fail(&m->command->error, IL_ERR_ARG,
                          "%s: books of %zu bytes or more by at least 2 authors are needed; those in it are by %s",
                          m->options->data, (size_t)(m->options->read_bytes + m->options->next_bytes),
                          cli_count(n, "author"));
    else
        status = fill(m, authors, n, &random);
    for (size_t i = 0; i < n; i++) free(authors[i].slots);
    free(authors);
    return status;
}

/* ---- what it costs ---- */

/* The tokens of text [bytes], which goes on from earlier text, are put into m->encoder. */
static il_status encode(measuring *m, const char *text, size_t bytes, int follows) {
    char *copy = cli_alloc(bytes + 1, 1);
    copy[0] = '\n';
    memcpy(copy + 1, text, bytes);
    il_status status = cli_encoder_encode(&m->encoder, copy + 1, bytes, follows, &m->command->error);
    free(copy);
    return status;
}

/* Feeds what is in m->encoder, which stands for `bytes`; nats [PARTS] (or NULL): loss of each part, without what
 * nothing predicts. */
static il_status feed(measuring *m, il_session *session, size_t bytes, double *nats) {
    il_error *error = &m->command->error;
    const int32_t *tokens = m->encoder.tokens.ids + m->encoder.skip;
    size_t n = m->encoder.tokens.n - m->encoder.skip;
    il_status status = IL_OK;
    cli_interrupt_cancels(session);
    for (size_t at = 0; at < n && !status; at += FEED_TOKENS) {
        size_t n_feed = n - at < FEED_TOKENS ? n - at : FEED_TOKENS;
        if (cli_interrupted())
            status = cli_fail(error, IL_ERR_CANCELLED, "interrupted");
        else
            status = il_session_feed(session, tokens + at, n_feed, nats ? m->nll : NULL, NULL, error);
        /* without a BOS nothing predicts a fresh session's first token: it counts in no condition */
        for (size_t i = m->bos < 0 && !at; nats && !status && i < n_feed; i++)
            nats[(at + i) * PARTS / n] += (double)m->nll[i];
        cli_progress_show(&m->progress, m->done + (uint64_t)((double)bytes * (double)(at + n_feed) / (double)n), "");
    }
    cli_interrupt_cancels(NULL);
    m->done += bytes;
    return status;
}

static il_status open_session(measuring *m, int frozen, int bos, il_session **session) {
    il_session_options options;
    il_session_options_default(&options);
    options.frozen = frozen;
    il_session_close(*session);
    il_status status = il_session_open(m->model, &options, session, &m->command->error);
    if (!status && bos && m->bos >= 0) status = il_session_feed(*session, &m->bos, 1, NULL, NULL, &m->command->error);
    return status;
}

/* What n tokens leave in a frozen session is its open mini-batch and what, layer by layer, mini-batches and
 * convolutions reach back to; keys and values reach back to all. It comes to the same bits from the last of them alone,
 * if those begin a mini-batch: how many may be left out. */
static size_t forgotten(const measuring *m, size_t n) {
    const il_config *c = il_model_config(m->model);
    int taps = c->delta_taps > c->conv_kernel ? c->delta_taps : c->conv_kernel;
    size_t b = (size_t)c->mini_batch, reach = (size_t)c->layers * (b + 2 * (size_t)taps) + b;
    return cli_mixer_learners(c) == c->layers && n > reach ? (n - reach) / b * b : 0;
}

/* The session, which has read BOS only, reads the text before p's target. */
static il_status read_before(measuring *m, const placement *p, int frozen, il_session **session) {
    size_t bytes = p->at - p->read, bos = m->bos >= 0;
    il_status status = encode(m, p->book->text + p->read, bytes, 0);
    size_t left_out = frozen && !status ? forgotten(m, m->encoder.tokens.n - m->encoder.skip + bos) : 0;
    if (left_out) {
        m->encoder.skip += left_out - bos;
        status = open_session(m, frozen, 0, session);
    }
    return status ? status : feed(m, *session, bytes, NULL);
}

/* The loss of p's target after what `from` has read. */
static il_status measure(measuring *m, const il_session *from, placement *p, int frozen, condition which) {
    il_session *session = NULL;
    size_t bytes = p->end - p->at;
    double nats[PARTS] = {0};
    il_status status = il_session_fork(from, &session, &m->command->error);
    if (!status) status = encode(m, p->book->text + p->at, bytes, 1);
    if (!status) status = feed(m, session, bytes, nats);
    for (int i = 0; i < PARTS; i++) {
        double bits_per_byte = nats[i] / log(2) / (double)bytes;
        p->loss[frozen][which] += bits_per_byte;
        p->parts[frozen][which][i] = bits_per_byte * PARTS;
    }
    il_session_close(session);
    return status;
}

static il_status measure_pair(measuring *m, placement *pair, int frozen) {
    il_status status = IL_OK;
    for (int i = 0; i < 2 && !status; i++) {
        placement *own = &pair[i], *partner = &pair[1 - i];
        il_session *session = NULL;
        status = open_session(m, frozen, 1, &session);
        if (!status) status = measure(m, session, own, frozen, FRESH);
        if (!status) status = read_before(m, own, frozen, &session);
        if (!status) status = measure(m, session, own, frozen, SAME);
        if (!status) status = measure(m, session, partner, frozen, OTHER);
        il_session_close(session);
    }
    return status;
}

static il_status measure_all(measuring *m) {
    uint64_t total = 0;
    for (size_t i = 0; i < m->n; i++) {
        const placement *p = &m->placements[i];
        total += 2 * (p->at - p->read) + 2 * CONDITIONS * (p->end - p->at);
    }
    il_status status = IL_OK;
    cli_progress_begin(&m->progress, m->command->verb, "byte", 0, total);
    for (size_t k = 0; k < m->n && !status; k += 2)
        for (int frozen = 0; frozen < 2 && !status; frozen++) status = measure_pair(m, m->placements + k, frozen);
    cli_progress_end(&m->progress);
    return status;
}

/* ---- what it comes to ---- */

typedef struct estimate {
    double mean, half; /* 95 % interval: mean ± half */
    size_t better;     /* placements above 0 */
} estimate;

/* The 97.5 % point of Student's distribution: exact for few degrees of freedom, then its expansion in 1 / degrees
 * (Abramowitz and Stegun 26.7.5), good to 1e-3 from 5 on. */
static double student(size_t degrees) {
    static const double few[] = {NAN, 12.7062, 4.3027, 3.1824, 2.7764};
    if (degrees < 5) return few[degrees];
    double z = 1.959963985, n = (double)degrees, z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
    return z + (z3 + z) / (4 * n) + (5 * z5 + 16 * z3 + 3 * z) / (96 * n * n) +
           (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * n * n * n);
}

/* A difference of losses, of each placement: how much less `with` costs than `without`. */
typedef struct difference {
    const char *name, *text;
    int without_frozen, with_frozen;
    condition without, with;
    int of_gains; /* the learner's same over fresh, less the frozen one's */
} difference;

static const difference differences[] = {
    {"same_over_fresh", "same author over nothing", 0, 0, FRESH, SAME, 0},
    {"same_over_other", "same author over another", 0, 0, OTHER, SAME, 0},
    {"other_over_fresh", "another author over nothing", 0, 0, FRESH, OTHER, 0},
    {"frozen_same_over_fresh", "frozen: same over nothing", 1, 1, FRESH, SAME, 0},
    {"frozen_same_over_other", "frozen: same over another", 1, 1, OTHER, SAME, 0},
    {"same_over_frozen", "same author, learning over frozen", 1, 0, SAME, SAME, 0},
    {"gain_over_frozen_gain", "same over nothing, above frozen's", 0, 0, FRESH, SAME, 1},
};

static double value(const placement *p, const difference *d) {
    double gain = p->loss[d->without_frozen][d->without] - p->loss[d->with_frozen][d->with];
    return d->of_gains ? gain - (p->loss[1][d->without] - p->loss[1][d->with]) : gain;
}

static estimate estimate_of(const measuring *m, const difference *d) {
    estimate e = {0};
    size_t pairs = m->n / 2;
    double squares = 0;
    for (size_t i = 0; i < m->n; i++) {
        double x = value(&m->placements[i], d);
        e.mean += x / (double)m->n;
        e.better += x > 0;
    }
    for (size_t k = 0; k < pairs; k++) {
        double x = (value(&m->placements[2 * k], d) + value(&m->placements[2 * k + 1], d)) / 2 - e.mean;
        squares += x * x;
    }
    e.half = student(pairs - 1) * sqrt(squares / (double)(pairs - 1) / (double)pairs);
    return e;
}

static double mean_loss(const measuring *m, int frozen, condition which) {
    double sum = 0;
    for (size_t i = 0; i < m->n; i++) sum += m->placements[i].loss[frozen][which];
    return sum / (double)m->n;
}

static double mean_part(const measuring *m, int frozen, condition which, int part) {
    double sum = 0;
    for (size_t i = 0; i < m->n; i++) sum += m->placements[i].parts[frozen][which][part];
    return sum / (double)m->n;
}

static json_t *losses_json(const double losses[CONDITIONS]) {
    json_t *object = json_object();
    for (int c = 0; c < CONDITIONS; c++) json_object_set_new(object, condition_names[c], cli_json_real(losses[c]));
    return object;
}

static void print_json(const measuring *m) {
    json_t *gains = json_object(), *rows = json_array(), *parts = json_array();
    for (size_t i = 0; i < COUNT_OF(differences); i++) {
        estimate e = estimate_of(m, &differences[i]);
        json_object_set_new(gains, differences[i].name,
                            json_pack("{s:o, s:o, s:o, s:I}", "mean", cli_json_real(e.mean), "low",
                                      cli_json_real(e.mean - e.half), "high", cli_json_real(e.mean + e.half), "better",
                                      (json_int_t)e.better));
    }
    for (size_t i = 0; i < m->n; i++) {
        const placement *p = &m->placements[i];
        json_array_append_new(rows, json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "author",
                                              cli_json_string(m->books.authors[p->book->author]), "title",
                                              cli_json_string(p->book->title), "read_from", (json_int_t)p->read, "from",
                                              (json_int_t)p->at, "to", (json_int_t)p->end, "other", (json_int_t)(i ^ 1),
                                              "living", losses_json(p->loss[0]), "frozen", losses_json(p->loss[1])));
    }
    double means[2][CONDITIONS];
    for (int part = 0; part < PARTS; part++) {
        for (int frozen = 0; frozen < 2; frozen++)
            for (int c = 0; c < CONDITIONS; c++) means[frozen][c] = mean_part(m, frozen, (condition)c, part);
        json_array_append_new(
            parts, json_pack("{s:o, s:o}", "living", losses_json(means[0]), "frozen", losses_json(means[1])));
    }
    for (int frozen = 0; frozen < 2; frozen++)
        for (int c = 0; c < CONDITIONS; c++) means[frozen][c] = mean_loss(m, frozen, (condition)c);
    cli_json_print(json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "read_bytes",
                             (json_int_t)m->options->read_bytes, "next_bytes", (json_int_t)m->options->next_bytes,
                             "placements", (json_int_t)m->n, "authors", (json_int_t)m->authors, "seed",
                             (json_int_t)m->options->seed, "living", losses_json(means[0]), "frozen",
                             losses_json(means[1]), "gains", gains, "parts", parts, "rows", rows, "seconds",
                             cli_json_real(cli_seconds() - m->progress.started)));
}

static void print_text(const measuring *m) {
    printf("%s of %s in %s, after reading %s; %zu authors\n\n", cli_count(m->n, "target"),
           cli_count(m->options->next_bytes, "byte"), cli_count(m->n / 2, "pair"),
           cli_count(m->options->read_bytes, "byte"), m->authors);
    printf("%-34s %10s %10s\n", "bits per byte after", "learning", "frozen");
    static const char *const after[CONDITIONS] = {"  nothing", "  the same author", "  another author"};
    for (int c = 0; c < CONDITIONS; c++)
        printf("%-34s %10.4f %10.4f\n", after[c], mean_loss(m, 0, (condition)c), mean_loss(m, 1, (condition)c));
    printf("\n%-34s %10s %22s %10s\n", "gain, bits per byte", "mean", "95 % interval", "better");
    for (size_t i = 0; i < COUNT_OF(differences); i++) {
        estimate e = estimate_of(m, &differences[i]);
        printf("%-34s %10.4f %10.4f .. %8.4f %6zu/%zu\n", differences[i].text, e.mean, e.mean - e.half, e.mean + e.half,
               e.better, m->n);
    }
    printf("\n%-24s", "gain by tenth of targets");
    for (int part = 0; part < PARTS; part++) printf(" %7d", part + 1);
    printf("\n%-24s", "same author over nothing");
    for (int part = 0; part < PARTS; part++)
        printf(" %7.4f", mean_part(m, 0, FRESH, part) - mean_part(m, 0, SAME, part));
    printf("\n%-24s", "same author over another");
    for (int part = 0; part < PARTS; part++)
        printf(" %7.4f", mean_part(m, 0, OTHER, part) - mean_part(m, 0, SAME, part));
    printf("\n");
}

static il_status run(measuring *m) {
    il_status status =
        eval_books_open(m->command->engine, m->options->data, &m->options->documents, &m->books, &m->command->error);
    if (!status) status = cli_command_load(m->command, m->options->model, &m->model, &m->tokenizer);
    if (!status) status = choose(m);
    if (status) return status;
    m->bos = il_tokenizer_bos(m->tokenizer, il_model_config(m->model));
    m->nll = cli_alloc(FEED_TOKENS, sizeof *m->nll);
    cli_encoder_open(&m->encoder, m->tokenizer);
    cli_interrupt_catch();
    status = measure_all(m);
    if (status) return status;
    if (m->command->spec->json)
        print_json(m);
    else
        print_text(m);
    return IL_OK;
}

il_status eval_reading_gain(cli_command *command, const eval_gain_options *options) {
    measuring m = {.command = command, .options = options};
    il_status status = run(&m);
    cli_encoder_close(&m.encoder);
    eval_books_close(&m.books);
    il_tokenizer_close(m.tokenizer);
    il_model_unref(m.model);
    free(m.placements);
    free(m.nll);
    return status;
}
