/* documents.c: il_documents. A text comes in parts, as it is read; JSON a document at a time, the text of each in
 * memory and nothing else of it. */
#include "text/documents.h"

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "text/format.h"
#include "text/json_scan.h"

#include <inttypes.h>
#include <string.h>

#define MARK "\xEF\xBB\xBF" /* U+FEFF, a byte order mark where a line begins */
enum { MARK_BYTES = 3, BAD_LINES_SHOWN = 3 };

typedef enum array { ARRAY_UNKNOWN, ARRAY_FIRST, ARRAY_NEXT, ARRAY_NONE, ARRAY_ENDED } array;

struct il_documents {
    il_engine *engine;
    il_source source;
    il_documents_options options;
    il_format format;
    char *held; /* [n_held] a text in the making */
    size_t n_held, capacity;
    uint64_t documents, bad, first_bad; /* first_bad: its line, from 1 */
    /* text */
    int line_begins, ends_in_cr, crlf_seen, nul_seen;
    /* JSON */
    il_json_scan scan;
    array array;
    uint64_t line, column; /* of the next byte, from 0 */
};

void il_documents_options_default(il_documents_options *options) { *options = (il_documents_options){0}; }

/* ---- opening ---- */

static il_status look(il_documents *d, il_error *error) {
    il_source *s = &d->source;
    while (d->format == IL_FORMAT_AUTO) {
        IL_TRY(il_source_fill(s, error));
        int whole = s->ended || il_source_bytes(s) == IL_SOURCE_BLOCK;
        IL_TRY(il_format_look(&d->engine->memory, s->name, il_source_data(s), il_source_bytes(s), whole,
                              d->options.field, &d->format, error));
    }
    return IL_OK;
}

/* A name that says something else than what was found. */
static void tell(const il_documents *d) {
    const char *name = d->source.name;
    int json = d->format == IL_FORMAT_JSONL || d->format == IL_FORMAT_JSON;
    if (!d->options.format && json && !strcasestr(name, ".json") && !strcasestr(name, ".ndjson"))
        il_log(d->engine, IL_LOG_INFO, "%s: read as JSON%s, the \"%s\" of each object", name,
               d->format == IL_FORMAT_JSONL ? " lines" : "", d->options.field);
}

il_status il_documents_open_any(il_engine *engine, const char *path, const il_documents_options *options,
                                il_documents **documents, il_error *error) {
    il_documents_options o = {0};
    if (options) o = *options;
    if (!o.field) o.field = "text";
    if (!o.text_bytes_max) o.text_bytes_max = IL_DOCUMENT_BYTES_MAX;
    *documents = NULL;
    if ((unsigned)o.format > IL_FORMAT_BIN) return il_fail(error, IL_ERR_ARG, "format %d is unknown", (int)o.format);
    il_documents *d = il_alloc(&engine->memory, 1, sizeof *d);
    if (!d) return il_fail(error, IL_ERR_NOMEM, "%s: no memory to read it", path);
    d->engine = engine;
    d->options = o;
    d->format = o.format;
    d->line_begins = 1;
    d->scan.allocator = &engine->memory;
    d->scan.bytes_max = o.text_bytes_max;
    const char *fields[IL_JSON_FIELDS_MAX] = {o.field, o.also[0], o.also[1]};
    memcpy(d->scan.fields, fields, sizeof fields);
    il_status status = il_source_open(&engine->memory, path, o.read, o.user, o.window_log_max, &d->source, error);
    if (status == IL_OK) status = look(d, error);
    if (status != IL_OK) {
        il_documents_close(d);
        return status;
    }
    tell(d);
    *documents = d;
    return IL_OK;
}

il_status il_documents_open(il_engine *engine, const char *path, const il_documents_options *options,
                            il_documents **documents, il_error *error) {
    IL_TRY(il_documents_open_any(engine, path, options, documents, error));
    if (!il_format_is_tokens((*documents)->format)) return IL_OK;
    il_documents_close(*documents);
    *documents = NULL;
    return il_fail(error, IL_ERR_UNSUPPORTED, "%s: tokens, not text", path);
}

void il_documents_close(il_documents *d) {
    if (!d) return;
    il_engine *engine = d->engine;
    il_source_close(&d->source);
    il_json_free(&d->scan);
    il_free(&engine->memory, d->held);
    il_free(&engine->memory, d);
}

il_format il_documents_format(const il_documents *d) { return d->format; }
il_source *il_documents_source(il_documents *d) { return &d->source; }
const il_documents_options *il_documents_options_of(const il_documents *d) { return &d->options; }

uint64_t il_documents_skipped(const il_documents *d, uint64_t *first) {
    *first = d->first_bad;
    return d->bad;
}

/* ---- text ---- */

/* Bytes before the first mark at the beginning of a line, and *mark: it is one. What may be the beginning of a mark
 * at the end of data is left for later. */
static size_t before_mark(const char *data, size_t n, int line_begins, int more, int *mark) {
    *mark = 0;
    for (size_t at = 0; at < n;) {
        const char *found = memchr(data + at, MARK[0], n - at);
        if (!found) break;
        size_t here = (size_t)(found - data), rest = n - here;
        at = here + 1;
        if (here ? data[here - 1] != '\n' : !line_begins) continue;
        if (memcmp(found, MARK, rest < MARK_BYTES ? rest : MARK_BYTES) != 0) continue;
        if (rest < MARK_BYTES && !more) continue;
        *mark = rest >= MARK_BYTES;
        return here;
    }
    return n;
}

/* Takes the marks out of a whole text; returns its bytes. */
static size_t without_marks(char *text, size_t bytes) {
    size_t to = 0, at = 0;
    for (int mark = 1, line_begins = 1; mark && at < bytes;) {
        size_t n = before_mark(text + at, bytes - at, line_begins, 0, &mark);
        memmove(text + to, text + at, n);
        to += n;
        at += n + (mark ? MARK_BYTES : 0);
        line_begins = 1; /* behind a mark one still does */
    }
    return to;
}

/* What a user should hear of a text, once. */
static void look_at_text(il_documents *d, const char *data, size_t n) {
    const char *name = d->source.name;
    if (!d->nul_seen && memchr(data, 0, n)) {
        d->nul_seen = 1;
        il_log(d->engine, IL_LOG_WARN, "%s: read as text, but it holds NUL bytes", name);
    }
    for (const char *at = data, *end = data + n, *found; !d->crlf_seen && at < end; at = found + 1) {
        int crlf = d->ends_in_cr && at == data && *at == '\n';
        found = crlf ? at : memchr(at, '\r', (size_t)(end - at));
        if (!found) break;
        if (!crlf && (found + 1 == end || found[1] != '\n')) continue;
        d->crlf_seen = 1;
        il_log(d->engine, IL_LOG_INFO,
               "%s: its lines end in CR LF, and the CRs are read too (tr -d '\\r' removes them)", name);
    }
    d->ends_in_cr = data[n - 1] == '\r';
}

/* The next part of a text; 0 bytes at its end. */
static il_status next_text(il_documents *d, il_document *part, il_error *error) {
    il_source *s = &d->source;
    *part = (il_document){.text = "", .begins = d->documents == 0};
    for (int mark = 1; mark;) {
        IL_TRY(il_source_need(s, 1, error));
        const char *data = (const char *)il_source_data(s);
        size_t all = il_source_bytes(s), n = before_mark(data, all, d->line_begins, !s->ended, &mark);
        if (n == 0 && !mark && all) { /* the beginning of a mark */
            IL_TRY(il_source_need(s, all + 1, error));
            mark = 1;
            continue;
        }
        s->from += n + (mark ? MARK_BYTES : 0);
        if (n == 0) continue;
        d->documents = 1;
        d->line_begins = data[n - 1] == '\n';
        look_at_text(d, data, n);
        part->text = data;
        part->bytes = n;
        return IL_OK;
    }
    return IL_OK;
}

static il_status hold(il_documents *d, const char *text, size_t bytes, il_error *error) {
    const il_source *s = &d->source;
    void *block = d->held;
    size_t need = d->n_held + bytes;
    if (s->regular && !s->raw && s->size > need && s->size < SIZE_MAX) need = (size_t)s->size; /* at once */
    int grown = il_grow(&d->engine->memory, &block, &d->capacity, d->n_held, need, 1);
    d->held = block;
    if (!grown) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for %zu bytes of text", s->name, need);
    memcpy(d->held + d->n_held, text, bytes);
    d->n_held += bytes;
    return IL_OK;
}

static il_status whole_text(il_documents *d, il_document *document, il_error *error) {
    il_document part;
    d->n_held = 0;
    do {
        IL_TRY(next_text(d, &part, error));
        if (part.bytes) IL_TRY(hold(d, part.text, part.bytes, error));
    } while (part.bytes);
    *document = (il_document){.text = d->held, .bytes = d->n_held, .begins = 1};
    return d->n_held ? IL_OK : IL_ERR_END;
}

/* ---- JSON ---- */

/* Takes n bytes, counting lines and columns. */
static void take(il_documents *d, size_t n) {
    const char *at = (const char *)il_source_data(&d->source), *end = at + n;
    d->source.from += n;
    for (const char *newline; at < end && (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1) {
        d->line++;
        d->column = 0;
    }
    d->column += (uint64_t)(end - at);
}

/* What is wrong with the object that ends here, at line and column: an error, or skipped with a warning. */
static il_status bad(il_documents *d, uint64_t line, uint64_t column, const char *why, il_error *error) {
    il_error problem;
    il_fail(&problem, IL_ERR_FORMAT, "%s, line %" PRIu64 ", byte %" PRIu64 ": %s", d->source.name, line + 1, column,
            why);
    if (!d->options.skip_bad_lines)
        return il_fail(error, IL_ERR_FORMAT, "%.400s; %" PRIu64 " documents came before it", problem.message,
                       d->documents);
    uint64_t most = d->options.bad_lines_max;
    if (++d->bad == 1) d->first_bad = line + 1;
    if (most && d->bad > most)
        return il_fail(error, IL_ERR_FORMAT,
                       "%.300s; with it more than %" PRIu64 " lines are bad, the first is line %" PRIu64,
                       problem.message, most, d->first_bad);
    if (d->bad <= BAD_LINES_SHOWN) il_log(d->engine, IL_LOG_WARN, "skipped: %s", problem.message);
    return IL_OK;
}

/* 1 when the object that was scanned has its text; else why not. */
static int has_text(const il_documents *d, char why[300]) {
    if (d->scan.strings[0].found) return 1;
    il_error line;
    il_fail(&line, IL_OK, "not an object with a string \"%.60s\"%s%s", d->options.field,
            d->scan.seen[0] ? "; its strings are " : "", d->scan.seen);
    memcpy(why, line.message, 299);
    why[299] = 0;
    return 0;
}

static void give(il_documents *d, il_document *document) {
    il_json_string *strings = d->scan.strings;
    *document = (il_document){.text = strings[0].bytes ? strings[0].text : "", .bytes = strings[0].bytes, .begins = 1};
    for (int i = 0; i < 2; i++) {
        if (!strings[i + 1].found) continue;
        document->also[i] = strings[i + 1].bytes ? strings[i + 1].text : "";
        if (strings[i + 1].bytes) strings[i + 1].text[strings[i + 1].bytes] = 0; /* room was made for it */
    }
    document->bytes = without_marks(strings[0].text, document->bytes);
    d->documents++;
}

static il_status scan_failed(const il_documents *d, il_error *error) {
    return il_fail(error, IL_ERR_NOMEM, "%s, line %" PRIu64 ": no memory for its text", d->source.name, d->line + 1);
}

static size_t spaces(const char *data, size_t n, const char *which) {
    size_t at = 0;
    while (at < n && data[at] && strchr(which, data[at])) at++;
    return at;
}

/* One line. *got: it holds a document. IL_ERR_END after the last. */
static il_status one_line(il_documents *d, int *got, il_error *error) {
    enum { BEFORE, INSIDE, BEHIND, BAD } place = BEFORE;
    il_source *s = &d->source;
    const char *why = NULL;
    uint64_t line = d->line, column = 0;
    char text[300];
    *got = 0;
    il_json_begin(&d->scan, 0);
    IL_TRY(il_source_need(s, MARK_BYTES, error));
    if (il_source_bytes(s) == 0) return IL_ERR_END;
    while (il_source_bytes(s) >= MARK_BYTES && !memcmp(il_source_data(s), MARK, MARK_BYTES)) {
        take(d, MARK_BYTES);
        IL_TRY(il_source_need(s, MARK_BYTES, error));
    }
    for (;;) {
        IL_TRY(il_source_need(s, 1, error));
        const char *data = (const char *)il_source_data(s);
        size_t n = il_source_bytes(s), at = 0;
        const char *end = n ? memchr(data, '\n', n) : NULL;
        if (end) n = (size_t)(end - data);
        if (place == BEFORE) {
            at = spaces(data, n, " \t\r");
            if (at < n) place = INSIDE;
        }
        if (place == INSIDE) {
            size_t taken;
            il_json_result result = il_json_feed(&d->scan, data + at, n - at, &taken);
            at += taken;
            if (result == IL_JSON_NOMEM) return scan_failed(d, error);
            if (result == IL_JSON_DONE) place = BEHIND;
            if (result == IL_JSON_BAD) place = BAD, why = d->scan.why, column = d->column + at;
        }
        if (place == BEHIND) {
            at += spaces(data + at, n - at, " \t\r");
            if (at < n) place = BAD, why = "something stands behind its object", column = d->column + at + 1;
        }
        take(d, n);
        if (!end && !s->ended) continue;
        if (place == INSIDE) place = BAD, why = "the line ends inside its object", column = d->column;
        if (end) take(d, 1);
        break;
    }
    if (place == BEFORE) return IL_OK; /* an empty line */
    if (place == BAD) return bad(d, line, column, why, error);
    if (!has_text(d, text)) return bad(d, line, 1, text, error);
    *got = 1;
    return IL_OK;
}

static il_status next_line(il_documents *d, il_document *document, il_error *error) {
    for (int got = 0; !got;) IL_TRY(one_line(d, &got, error));
    give(d, document);
    return IL_OK;
}

/* The next byte that is no space and no mark, not taken; -1: the end. */
static il_status next_byte(il_documents *d, int *byte, il_error *error) {
    il_source *s = &d->source;
    for (;;) {
        IL_TRY(il_source_need(s, MARK_BYTES, error));
        const char *data = (const char *)il_source_data(s);
        size_t n = il_source_bytes(s), skip = spaces(data, n, " \t\r\n");
        if (n >= MARK_BYTES && !memcmp(data, MARK, MARK_BYTES)) skip = MARK_BYTES;
        if (!skip) {
            *byte = n ? (unsigned char)data[0] : -1;
            return IL_OK;
        }
        take(d, skip);
    }
}

/* Where the next object of a .json begins. */
static il_status find_object(il_documents *d, il_error *error) {
    int c;
    IL_TRY(next_byte(d, &c, error));
    if (d->array == ARRAY_UNKNOWN) {
        d->array = c == '[' ? ARRAY_FIRST : ARRAY_NONE;
        if (c == '[') take(d, 1);
        if (c == '[') IL_TRY(next_byte(d, &c, error));
    }
    int ends = (d->array == ARRAY_FIRST || d->array == ARRAY_NEXT) && c == ']';
    if (ends) {
        take(d, 1);
        d->array = ARRAY_ENDED;
        IL_TRY(next_byte(d, &c, error));
    }
    if (c < 0 && d->array != ARRAY_FIRST && d->array != ARRAY_NEXT) return IL_ERR_END;
    if (d->array == ARRAY_NEXT && c == ',') {
        take(d, 1);
        IL_TRY(next_byte(d, &c, error));
    } else if (d->array == ARRAY_NEXT || d->array == ARRAY_ENDED || c < 0) {
        int skip = d->options.skip_bad_lines; /* there is no next line to go on from */
        d->options.skip_bad_lines = 0;
        il_status status =
            bad(d, d->line, d->column + 1,
                d->array == ARRAY_ENDED ? "something stands behind its array" : "',' or ']' is missing", error);
        d->options.skip_bad_lines = skip;
        return status;
    }
    if (d->array == ARRAY_FIRST) d->array = ARRAY_NEXT;
    return IL_OK;
}

static il_status next_object(il_documents *d, il_document *document, il_error *error) {
    il_source *s = &d->source;
    char text[300];
    for (;;) {
        IL_TRY(find_object(d, error));
        uint64_t line = d->line, column = d->column + 1;
        il_json_result result = IL_JSON_MORE;
        il_json_begin(&d->scan, d->array == ARRAY_NEXT);
        while (result == IL_JSON_MORE) {
            size_t taken;
            IL_TRY(il_source_need(s, 1, error));
            if (il_source_bytes(s) == 0) {
                d->scan.why = "the file ends inside it";
                result = IL_JSON_BAD;
                break;
            }
            result = il_json_feed(&d->scan, (const char *)il_source_data(s), il_source_bytes(s), &taken);
            take(d, taken);
        }
        if (result == IL_JSON_NOMEM) return scan_failed(d, error);
        if (result == IL_JSON_BAD) {
            d->options.skip_bad_lines = 0; /* there is no next line to go on from */
            return bad(d, d->line, d->column, d->scan.why, error);
        }
        if (has_text(d, text)) break;
        IL_TRY(bad(d, line, column, text, error));
    }
    give(d, document);
    return IL_OK;
}

/* ---- both ---- */

static il_status ended(il_documents *d, il_error *error) {
    if (d->bad)
        il_log(d->engine, IL_LOG_WARN,
               "%s: %" PRIu64 " bad lines were skipped, the first is line %" PRIu64 "; %" PRIu64 " documents read",
               d->source.name, d->bad, d->first_bad, d->documents);
    if (d->documents == 0)
        return il_fail(error, IL_ERR_FORMAT, "%s: %s", d->source.name,
                       d->source.raw_read ? "no documents in it" : "the file is empty");
    return il_fail(error, IL_ERR_END, "%s: no more documents", d->source.name);
}

static il_status next_json(il_documents *d, il_document *document, il_error *error) {
    il_status status = d->format == IL_FORMAT_JSONL ? next_line(d, document, error) : next_object(d, document, error);
    return status == IL_ERR_END ? ended(d, error) : status;
}

il_status il_documents_next(il_documents *d, il_document *document, il_error *error) {
    *document = (il_document){.text = ""};
    if (d->format != IL_FORMAT_TEXT) return next_json(d, document, error);
    il_status status = whole_text(d, document, error);
    return status == IL_ERR_END ? ended(d, error) : status;
}

il_status il_documents_part(il_documents *d, il_document *part, il_error *error) {
    *part = (il_document){.text = ""};
    if (d->format != IL_FORMAT_TEXT) return next_json(d, part, error);
    IL_TRY(next_text(d, part, error));
    return part->bytes ? IL_OK : il_fail(error, IL_ERR_END, "%s: no more text", d->source.name);
}
