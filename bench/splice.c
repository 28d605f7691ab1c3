/* splice.c: the splice experiment of docs/reading.md: paragraphs of other authors put into books, and how well a
 * scorer tells them from the book's own.
 *
 *   splice make BOOKS FOLDER [HOST_BYTES HOSTS EVERY]   writes FOLDER/host-N.txt and host-N.labels
 *   splice text BOOKS FILE                              writes all texts end to end, a blank line between
 *   splice rank FOLDER SCORER…    reads host-N.labels and host-N.SCORER.jsonl, which `score --by passage --json` wrote:
 *                                 `relative` counts where the scorer's name has that word, else `bits_per_byte`
 *
 * Editions must not tell: every paragraph is wrapped anew, quotes and dashes are made the plain ones, and only
 * paragraphs of a size count, spliced or not. A line of labels: passage (as score numbers them), 1 or 0, its bytes from
 * and to. */
#include "output.h"
#include "verbs/eval_books.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 72, LEAST = 700, MOST = 1400, WARM_UP = 20000, HOSTS_MAX = 64, RESAMPLES = 1000 };

static _Noreturn void fail(const char *what, const char *why) {
    fprintf(stderr, "splice: %s: %s\n", what, why);
    exit(1);
}

static uint64_t random_state = 1; /* splitmix64: the same everywhere */

static size_t draw(size_t bound) {
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (size_t)((z ^ z >> 31) % bound);
}

/* ---- make ---- */

typedef struct paragraph {
    char *text;               /* [bytes], a blank line behind it included */
    size_t bytes, at, author; /* at: where it began in its book */
} paragraph;

typedef struct paragraphs {
    paragraph *items; /* [n] */
    size_t n, capacity;
} paragraphs;

static void keep(paragraphs *list, paragraph p) {
    if (list->n == list->capacity) {
        size_t capacity = 2 * list->capacity + 64;
        paragraph *items = cli_alloc(capacity, sizeof *items);
        if (list->n) memcpy(items, list->items, list->n * sizeof *items);
        free(list->items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n++] = p;
}

/* The plain form of the character at *text, which is moved on; NULL: as it is, one byte. */
static const char *plain(const char **text, const char *end) {
    static const struct {
        const char *from, *to;
    } forms[] = {{"\xE2\x80\x9C", "\""}, {"\xE2\x80\x9D", "\""}, {"\xE2\x80\x98", "'"},   {"\xE2\x80\x99", "'"},
                 {"\xE2\x80\x94", "--"}, {"\xE2\x80\x93", "-"},  {"\xE2\x80\xA6", "..."}, {"_", ""}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t n = strlen(forms[i].from);
        if ((size_t)(end - *text) < n || memcmp(*text, forms[i].from, n)) continue;
        *text += n;
        return forms[i].to;
    }
    ++*text;
    return NULL;
}

static int is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }

/* from .. end, wrapped and plain. */
static paragraph set(const char *from, const char *end) {
    size_t n = 0, line = 0;
    char *text = cli_alloc((size_t)(end - from) * 2 + 3, 1); /* a dash is 3 bytes and becomes 2 */
    while (from < end) {
        while (from < end && is_space(*from)) from++;
        size_t word = n, columns = 0;
        while (from < end && !is_space(*from)) {
            const char *c = from, *form = plain(&from, end);
            size_t bytes = form ? strlen(form) : 1;
            memcpy(text + n + 1, form ? form : c, bytes); /* a place is left for what parts it from the last word */
            columns += form ? bytes : ((unsigned char)*c & 0xC0) != 0x80;
            n += bytes;
        }
        if (n == word) continue;
        if (!word) {
            memmove(text, text + 1, n);
            line = columns;
            continue;
        }
        int wraps = line + 1 + columns > COLUMNS;
        text[word] = wraps ? '\n' : ' ';
        line = wraps ? columns : line + 1 + columns;
        n++;
    }
    if (!n) {
        free(text);
        return (paragraph){0};
    }
    memcpy(text + n, "\n\n", 2);
    return (paragraph){.text = text, .bytes = n + 2};
}

static paragraphs cut(const eval_book *book) {
    paragraphs list = {0};
    const char *end = book->text + book->bytes, *start = NULL;
    for (const char *line = book->text; line <= end;) {
        const char *stop = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;
        if (!stop) stop = end;
        int blank = 1;
        for (const char *c = line; c < stop; c++) blank &= is_space(*c);
        if (!blank && !start) start = line;
        if (start && (blank || stop == end)) {
            paragraph p = set(start, blank ? line : stop);
            p.at = (size_t)(start - book->text);
            p.author = book->author;
            if (p.text) keep(&list, p);
            start = NULL;
        }
        line = stop + 1;
    }
    return list;
}

static int of_size(const paragraph *p) { return p->bytes >= LEAST && p->bytes <= MOST; }

static void release(paragraphs *list) {
    for (size_t i = 0; i < list->n; i++) free(list->items[i].text);
    free(list->items);
}

static FILE *create(const char *folder, int number, const char *kind) {
    char *path = cli_format("%s/host-%d.%s", folder, number, kind);
    FILE *file = fopen(path, "wb");
    if (!file) fail(path, strerror(errno));
    free(path);
    return file;
}

static void finish(FILE *file) {
    if (ferror(file) || fclose(file)) fail("writing", strerror(errno));
}

/* One host: the paragraphs of `own` that begin in from .. to, and about every `every` bytes one of the donors, by
 * another author, each once. */
static void write_host(const char *folder, int number, const paragraphs *own, size_t from, size_t to, size_t every,
                       paragraphs *donors) {
    FILE *text = create(folder, number, "txt"), *labels = create(folder, number, "labels");
    size_t at = 0, passage = 0, next = WARM_UP + draw(every);
    for (size_t i = 0; i < own->n; i++) {
        const paragraph *p = &own->items[i];
        if (p->at < from || p->at >= to) continue;
        if (at >= next) {
            size_t k = 0;
            while (k < donors->n && (!donors->items[k].bytes || donors->items[k].author == p->author)) k++;
            if (k == donors->n) fail(folder, "too few paragraphs by other authors");
            fwrite(donors->items[k].text, 1, donors->items[k].bytes, text);
            fprintf(labels, "%zu 1 %zu %zu\n", ++passage, at, at + donors->items[k].bytes);
            at += donors->items[k].bytes;
            donors->items[k].bytes = 0; /* used */
            next = at + every / 2 + draw(every);
        }
        fwrite(p->text, 1, p->bytes, text);
        passage++;
        if (at >= WARM_UP && of_size(p)) fprintf(labels, "%zu 0 %zu %zu\n", passage, at, at + p->bytes);
        at += p->bytes;
    }
    finish(text);
    finish(labels);
}

static void open_books(const char *path, eval_books *books) {
    il_engine *engine;
    il_error error;
    il_documents_options options;
    il_documents_options_default(&options);
    if (il_engine_open(NULL, &engine, &error) || eval_books_open(engine, path, &options, books, &error))
        fail(path, error.message);
    il_engine_close(engine);
}

/* Of each author the first `hosts` parts of `part` bytes: first parts of its books first. */
static void make(const char *path, const char *folder, size_t part, size_t hosts, size_t every) {
    eval_books books;
    open_books(path, &books);
    paragraphs donors = {0}, *own = cli_alloc(books.n, sizeof *own);
    size_t longest = 0;
    int number = 0;
    for (size_t i = 0; i < books.n; i++) {
        own[i] = cut(&books.books[i]);
        if (books.books[i].bytes > longest) longest = books.books[i].bytes;
        for (size_t k = 0; k < own[i].n && books.books[i].bytes >= part; k++)
            if (of_size(&own[i].items[k])) keep(&donors, own[i].items[k]);
    }
    for (size_t i = donors.n; i > 1; i--) {
        size_t j = draw(i);
        paragraph spare = donors.items[j];
        donors.items[j] = donors.items[i - 1];
        donors.items[i - 1] = spare;
    }
    for (size_t author = 0; author < books.n_authors; author++) {
        size_t taken = 0;
        for (size_t k = 0; k < longest / part; k++)
            for (size_t i = 0; i < books.n && taken < hosts; i++) {
                if (books.books[i].author != author || (k + 1) * part > books.books[i].bytes) continue;
                if (number == HOSTS_MAX) fail(path, "too many hosts");
                write_host(folder, number, &own[i], k * part, (k + 1) * part, every, &donors);
                printf("host-%d: %s, %s, bytes %zu to %zu\n", number++, books.authors[author], books.books[i].title,
                       k * part, (k + 1) * part);
                taken++;
            }
    }
    if (!number) fail(path, "no book is long enough");
    for (size_t i = 0; i < books.n; i++) release(&own[i]);
    free(own);
    free(donors.items); /* their text is the books' */
    eval_books_close(&books);
}

static void join(const char *from, const char *to) {
    eval_books books;
    FILE *file = fopen(to, "wb");
    if (!file) fail(to, strerror(errno));
    open_books(from, &books);
    for (size_t i = 0; i < books.n; i++) fprintf(file, "%s%s", i ? "\n\n" : "", books.books[i].text);
    finish(file);
    eval_books_close(&books);
}

/* ---- rank ---- */

typedef struct host {
    size_t *passages;         /* [n]: of the labels */
    int *spliced;             /* [n] */
    double **scores;          /* [scorers][n] */
    size_t n, *ours, *others; /* [n_ours], [n_others]: indices, of spliced ones and of the rest */
    size_t n_ours, n_others;
} host;

static void read_labels(FILE *file, host *h, size_t scorers) {
    size_t passage, capacity = 0;
    int spliced;
    while (fscanf(file, "%zu %d %*u %*u", &passage, &spliced) == 2) {
        if (h->n == capacity) {
            size_t larger = 2 * capacity + 64;
            size_t *passages = cli_alloc(larger, sizeof *passages);
            int *kinds = cli_alloc(larger, sizeof *kinds);
            if (h->n) memcpy(passages, h->passages, h->n * sizeof *passages);
            if (h->n) memcpy(kinds, h->spliced, h->n * sizeof *kinds);
            free(h->passages);
            free(h->spliced);
            h->passages = passages;
            h->spliced = kinds;
            capacity = larger;
        }
        h->passages[h->n] = passage;
        h->spliced[h->n++] = spliced;
    }
    h->ours = cli_alloc(h->n + 1, sizeof *h->ours);
    h->others = cli_alloc(h->n + 1, sizeof *h->others);
    for (size_t i = 0; i < h->n; i++) *(h->spliced[i] ? &h->ours[h->n_ours++] : &h->others[h->n_others++]) = i;
    h->scores = cli_alloc(scorers, sizeof *h->scores);
}

/* key: what counts as the score. 0: the scorer has no file for this host. */
static int read_scores(const char *path, const char *key, const host *h, double *scores) {
    char *line = NULL;
    size_t capacity = 0, found = 0, i = 0;
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    while (getline(&line, &capacity, file) > 0) { /* passages ascend in both */
        json_t *object = json_loads(line, 0, NULL);
        const json_t *passage = json_object_get(object, "passage");
        while (passage && i < h->n && h->passages[i] < (size_t)json_integer_value(passage)) i++;
        if (passage && i < h->n && h->passages[i] == (size_t)json_integer_value(passage)) {
            const json_t *score = json_object_get(object, key);
            if (!json_is_number(score)) fail(path, "a passage has no such score");
            scores[i] = json_number_value(score);
            found++;
        }
        json_decref(object);
    }
    if (found != h->n) fail(path, "it does not have every passage of the labels");
    free(line);
    fclose(file);
    return 1;
}

/* How often a spliced passage scores higher than one of the same host that is not, ties by half; pick: which ones. */
static double auroc(const host *hosts, size_t n_hosts, size_t scorer, size_t *const *pick) {
    double wins = 0, pairs = 0;
    for (size_t k = 0; k < n_hosts; k++) {
        const host *h = &hosts[k];
        const double *scores = h->scores[scorer];
        const size_t *a = pick ? pick[2 * k] : h->ours, *b = pick ? pick[2 * k + 1] : h->others;
        for (size_t i = 0; i < h->n_ours; i++)
            for (size_t j = 0; j < h->n_others; j++) {
                double x = scores[a[i]], y = scores[b[j]];
                wins += x > y ? 1 : x == y ? 0.5 : 0;
            }
        pairs += (double)(h->n_ours * h->n_others);
    }
    return pairs > 0 ? wins / pairs : NAN;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The middle 95 % of values [RESAMPLES], which are sorted. */
static void interval(double *values, double *low, double *high) {
    qsort(values, RESAMPLES, sizeof *values, ascending);
    *low = values[RESAMPLES * 25 / 1000];
    *high = values[RESAMPLES * 975 / 1000 - 1];
}

static void rank(const char *folder, char **names, size_t scorers) {
    static host hosts[HOSTS_MAX];
    size_t n_hosts = 0, ours = 0, others = 0;
    int *there = cli_alloc(scorers, sizeof *there);
    for (size_t s = 0; s < scorers; s++) there[s] = 1;
    for (; n_hosts < HOSTS_MAX; n_hosts++) {
        char *path = cli_format("%s/host-%zu.labels", folder, n_hosts);
        FILE *file = fopen(path, "rb");
        free(path);
        if (!file) break;
        host *h = &hosts[n_hosts];
        read_labels(file, h, scorers);
        fclose(file);
        for (size_t s = 0; s < scorers; s++) {
            path = cli_format("%s/host-%zu.%s.jsonl", folder, n_hosts, names[s]);
            h->scores[s] = cli_alloc(h->n + 1, sizeof(double));
            there[s] &= read_scores(path, strstr(names[s], "relative") ? "relative" : "bits_per_byte", h, h->scores[s]);
            free(path);
        }
        ours += h->n_ours;
        others += h->n_others;
    }
    if (!n_hosts) fail(folder, "no host-0.labels");
    /* resampled within each host, the same for all scorers */
    double *values = cli_alloc(scorers * RESAMPLES, sizeof *values),
           *differences = cli_alloc(scorers * RESAMPLES, sizeof *differences);
    struct {
        double low, high, less_low, less_high;
    } *bounds = cli_alloc(scorers, sizeof *bounds);
    size_t *pick[2 * HOSTS_MAX];
    for (size_t k = 0; k < n_hosts; k++) {
        pick[2 * k] = cli_alloc(hosts[k].n + 1, sizeof **pick);
        pick[2 * k + 1] = cli_alloc(hosts[k].n + 1, sizeof **pick);
    }
    for (size_t r = 0; r < RESAMPLES; r++) {
        for (size_t k = 0; k < n_hosts; k++) {
            const host *h = &hosts[k];
            for (size_t i = 0; i < h->n_ours; i++) pick[2 * k][i] = h->ours[draw(h->n_ours)];
            for (size_t i = 0; i < h->n_others; i++) pick[2 * k + 1][i] = h->others[draw(h->n_others)];
        }
        for (size_t s = 0; s < scorers; s++)
            if (there[s]) values[s * RESAMPLES + r] = auroc(hosts, n_hosts, s, pick);
    }
    printf("%zu hosts, %zu spliced paragraphs among %zu of the hosts'\n", n_hosts, ours, others);
    printf("%-21s %8s %19s   %s\n", "scorer", "AUROC", "95 % interval", "first scorer's less this one's");
    double first = auroc(hosts, n_hosts, 0, NULL);
    for (size_t s = scorers; s-- > 0;) /* downwards: the first one's values are sorted last */
        if (there[s]) {
            for (size_t r = 0; r < RESAMPLES; r++)
                differences[s * RESAMPLES + r] = values[r] - values[s * RESAMPLES + r];
            interval(values + s * RESAMPLES, &bounds[s].low, &bounds[s].high);
            interval(differences + s * RESAMPLES, &bounds[s].less_low, &bounds[s].less_high);
        }
    for (size_t s = 0; s < scorers; s++) {
        double all = auroc(hosts, n_hosts, s, NULL);
        if (!there[s]) {
            printf("%-21s not run\n", names[s]);
            continue;
        }
        printf("%-21s %8.4f %8.4f .. %7.4f", names[s], all, bounds[s].low, bounds[s].high);
        if (s && there[0]) printf("   %7.4f (%.4f .. %.4f)", first - all, bounds[s].less_low, bounds[s].less_high);
        printf("\n");
    }
    printf("\nby host:\n");
    for (size_t s = 0; s < scorers; s++) {
        if (!there[s]) continue;
        printf("%-21s", names[s]);
        for (size_t k = 0; k < n_hosts; k++) printf(" %8.4f", auroc(&hosts[k], 1, s, NULL));
        printf("\n");
    }
    for (size_t k = 0; k < n_hosts; k++) {
        for (size_t s = 0; s < scorers; s++) free(hosts[k].scores[s]);
        free(hosts[k].scores);
        free(hosts[k].passages);
        free(hosts[k].spliced);
        free(hosts[k].ours);
        free(hosts[k].others);
        free(pick[2 * k]);
        free(pick[2 * k + 1]);
    }
    free(values);
    free(differences);
    free(bounds);
    free(there);
}

static size_t number(const char *text) {
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    if (*end || !n || n > 1 << 30) fail(text, "not an integer above 0");
    return (size_t)n;
}

int main(int argc, char **argv) {
    if (argc >= 4 && argc <= 7 && !strcmp(argv[1], "make")) {
        make(argv[2], argv[3], argc > 4 ? number(argv[4]) : 300000, argc > 5 ? number(argv[5]) : 3,
             argc > 6 ? number(argv[6]) : 12000);
        return 0;
    }
    if (argc == 4 && !strcmp(argv[1], "text")) {
        join(argv[2], argv[3]);
        return 0;
    }
    if (argc >= 4 && !strcmp(argv[1], "rank")) {
        rank(argv[2], argv + 3, (size_t)argc - 3);
        return 0;
    }
    fprintf(stderr,
            "usage: splice make BOOKS FOLDER [HOST_BYTES HOSTS EVERY] | text BOOKS FILE | rank FOLDER SCORER...\n");
    return 2;
}
