/* format.c: see format.h. */
#include "text/format.h"

#include "base/error.h"
#include "text/json_scan.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

const char *il_format_name(il_format format) {
    static const char *const names[] = {"auto", "text", "jsonl", "json", "u16", "u32", "npy", "bin"};
    return (unsigned)format < sizeof names / sizeof names[0] ? names[format] : "?";
}

/* ---- what is no text ---- */

typedef struct magic {
    const char *bytes;
    size_t n;
    il_format format; /* IL_FORMAT_AUTO: refused */
    const char *what, *instead;
} magic;

#define MAGIC(text) text, sizeof(text) - 1
static const magic magics[] = {
    {MAGIC("\x93NUMPY"), IL_FORMAT_NPY, NULL, NULL},
    {MAGIC("\x88\xD8\x34\x01"), IL_FORMAT_BIN, NULL, NULL}, /* 20240520 */
    {MAGIC("\xA1\xD9\x34\x01"), IL_FORMAT_BIN, NULL, NULL}, /* 20240801 */
    {MAGIC("\xFF\xFE\0\0"), IL_FORMAT_AUTO, "UTF-32 text", "iconv -f UTF-32 -t UTF-8 makes UTF-8 of it"},
    {MAGIC("\0\0\xFE\xFF"), IL_FORMAT_AUTO, "UTF-32 text", "iconv -f UTF-32 -t UTF-8 makes UTF-8 of it"},
    {MAGIC("\xFF\xFE"), IL_FORMAT_AUTO, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 makes UTF-8 of it"},
    {MAGIC("\xFE\xFF"), IL_FORMAT_AUTO, "UTF-16 text", "iconv -f UTF-16 -t UTF-8 makes UTF-8 of it"},
    {MAGIC("%PDF-"), IL_FORMAT_AUTO, "a PDF document", "pdftotext makes text of it"},
    {MAGIC("PK\3\4"), IL_FORMAT_AUTO, "a ZIP archive (as .docx, .xlsx and .epub are)", "unzip it"},
    {MAGIC("\xFD"
           "7zXZ"),
     IL_FORMAT_AUTO, "compressed by xz", "xz -dc gives what is in it"},
    {MAGIC("BZh91AY&SY"), IL_FORMAT_AUTO, "compressed by bzip2", "bzip2 -dc gives what is in it"},
    {MAGIC("\x04\x22\x4D\x18"), IL_FORMAT_AUTO, "compressed by lz4", "lz4 -dc gives what is in it"},
    {MAGIC("7z\xBC\xAF\x27\x1C"), IL_FORMAT_AUTO, "a 7z archive", "unpack it"},
    {MAGIC("PAR1"), IL_FORMAT_AUTO, "a Parquet table", "make JSON lines of it"},
    {MAGIC("ARROW1\0\0"), IL_FORMAT_AUTO, "an Arrow table", "make JSON lines of it"},
    {MAGIC("SQLite format 3\0"), IL_FORMAT_AUTO, "an SQLite database", "make JSON lines of it"},
    {MAGIC("\x7F"
           "ELF"),
     IL_FORMAT_AUTO, "a program", "it holds no text"},
    {MAGIC("\x89PNG\r\n\x1A\n"), IL_FORMAT_AUTO, "a picture", "it holds no text"},
    {MAGIC("\xFF\xD8\xFF"), IL_FORMAT_AUTO, "a picture", "it holds no text"},
};

/* ---- names ---- */

static int ends_with(const char *text, size_t n, const char *end) {
    size_t m = strlen(end);
    return n > m && strncasecmp(text + n - m, end, m) == 0;
}

static size_t without(const char *name, size_t n, const char *const *endings) {
    for (; *endings; endings++)
        if (ends_with(name, n, *endings)) return n - strlen(*endings);
    return n;
}

static const char *const packed[] = {".gz", ".zst", ".zstd", NULL};

size_t il_format_stem(const char *path, const char **base) {
    static const char *const texts[] = {".jsonl", ".ndjson", ".json", ".txt", ".text", ".log", ".md", NULL};
    const char *slash = strrchr(path, '/');
    *base = slash ? slash + 1 : path;
    if (strcmp(path, "-") == 0) *base = "stdin";
    size_t n = without(*base, strlen(*base), packed);
    return without(*base, n, texts);
}

typedef enum named { NAMED_NOTHING, NAMED_JSONL, NAMED_JSON, NAMED_NPY, NAMED_BIN } named;

static named name_says(const char *name) {
    size_t n = without(name, strlen(name), packed);
    if (ends_with(name, n, ".jsonl") || ends_with(name, n, ".ndjson")) return NAMED_JSONL;
    if (ends_with(name, n, ".json")) return NAMED_JSON;
    if (ends_with(name, n, ".npy")) return NAMED_NPY;
    return ends_with(name, n, ".bin") ? NAMED_BIN : NAMED_NOTHING;
}

/* ---- JSON or not ---- */

typedef enum verdict { NO, YES, OPEN, TOO_LONG } verdict; /* OPEN: it goes on after these bytes */

static size_t blanks(const unsigned char *p, size_t n, const char *which) {
    size_t at = 0;
    while (at < n && p[at] && strchr(which, p[at])) at++;
    return at;
}

/* Whether what stands behind a value, p [n], is what it must be: in an array ',' or ']', else nothing. */
static verdict ends_well(const unsigned char *p, size_t n, int whole, int in_array) {
    size_t at = blanks(p, n, in_array ? " \t\r\n" : " \t\r");
    if (in_array && at < n && p[at] == ',') return YES;
    if (in_array && at < n && p[at] == ']') {
        at++;
        if (at < n && blanks(p + at, 1, " \t\r\n")) return YES;
    } else if (in_array && at == n && whole) {
        return NO;
    }
    return at < n ? NO : whole ? YES : OPEN;
}

/* Whether p begins with a whole object that has the field, or in an array a string. *missing: it is an object, without
 * the field. */
static il_status whole_object(const il_allocator *allocator, const unsigned char *p, size_t n, int whole, int in_array,
                              const char *field, verdict *is, int *missing, il_error *error) {
    il_json_scan scan = {.allocator = allocator, .fields = {field}, .bytes_max = SIZE_MAX};
    size_t taken;
    il_json_begin(&scan, in_array);
    il_json_result result = il_json_feed(&scan, (const char *)p, n, &taken);
    *is = result == IL_JSON_MORE ? (whole ? TOO_LONG : OPEN) : NO;
    *missing = 0;
    if (result == IL_JSON_DONE) {
        *is = ends_well(p + taken, n - taken, whole, in_array);
        if (*is == YES && !scan.strings[0].found) *is = NO, *missing = 1;
    }
    il_json_free(&scan);
    return result == IL_JSON_NOMEM ? il_fail(error, IL_ERR_NOMEM, "no memory to look at JSON") : IL_OK;
}

static il_status look_at_object(const il_allocator *allocator, named name, const unsigned char *p, size_t n, int whole,
                                const char *field, il_format *format, il_error *error) {
    const unsigned char *end = memchr(p, '\n', n);
    verdict is;
    int missing;
    if (end) n = (size_t)(end - p);
    IL_TRY(whole_object(allocator, p, n, whole || end, 0, field, &is, &missing, error));
    if (is == OPEN) return IL_OK;
    if (is == TOO_LONG && !end) /* a line longer than can be looked at; a short text that ends inside is none */
        *format = n >= 1 << 16 ? IL_FORMAT_JSONL : IL_FORMAT_TEXT;
    else
        *format = is == YES ? IL_FORMAT_JSONL : IL_FORMAT_TEXT;
    if (name == NAMED_JSON && *format == IL_FORMAT_TEXT) *format = missing ? IL_FORMAT_JSONL : IL_FORMAT_JSON;
    return IL_OK;
}

static il_status look_at_array(const il_allocator *allocator, const unsigned char *p, size_t n, int whole,
                               const char *field, il_format *format, il_error *error) {
    static const char spaces[] = " \t\r\n";
    verdict is = NO;
    int missing;
    size_t at = 1 + blanks(p + 1, n - 1, spaces);
    if (at == n && !whole) return IL_OK;
    if (at < n && (p[at] == '{' || p[at] == '"'))
        IL_TRY(whole_object(allocator, p + at, n - at, whole, 1, field, &is, &missing, error));
    if (is == OPEN) return IL_OK;
    *format = is == YES || (is == TOO_LONG && n >= 1 << 16) ? IL_FORMAT_JSON : IL_FORMAT_TEXT;
    return IL_OK;
}

/* ---- all of it ---- */

il_status il_format_look(const il_allocator *allocator, const char *name, const unsigned char *p, size_t n, int whole,
                         const char *field, il_format *format, il_error *error) {
    named says = name_says(name);
    *format = IL_FORMAT_AUTO;
    for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++) {
        const magic *m = &magics[i];
        if (memcmp(p, m->bytes, n < m->n ? n : m->n) != 0) continue;
        if (n < m->n && !whole) return IL_OK;
        if (n < m->n) continue;
        *format = m->format;
        if (m->format) return IL_OK;
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: %s; %s", name, m->what, m->instead);
    }
    if (says == NAMED_NPY || says == NAMED_BIN) {
        *format = says == NAMED_NPY ? IL_FORMAT_NPY : IL_FORMAT_BIN;
        return IL_OK;
    }
    size_t at = 0;
    for (size_t before = SIZE_MAX; at != before;) { /* marks and blank lines, in any order */
        before = at;
        if (n - at >= 3 && memcmp(p + at, "\xEF\xBB\xBF", 3) == 0) at += 3;
        at += blanks(p + at, n - at, " \t\r\n");
    }
    if (at == n || (n - at < 3 && p[at] == 0xEF)) {
        if (!whole) return IL_OK;
    } else if (p[at] == '{') {
        if (says == NAMED_JSONL) {
            *format = IL_FORMAT_JSONL;
            return IL_OK;
        }
        return look_at_object(allocator, says, p + at, n - at, whole, field, format, error);
    } else if (p[at] == '[' && says != NAMED_JSON) {
        IL_TRY(look_at_array(allocator, p + at, n - at, whole, field, format, error));
        if (says == NAMED_JSONL && *format == IL_FORMAT_TEXT) *format = IL_FORMAT_JSONL;
        return IL_OK;
    }
    *format = says == NAMED_JSONL ? IL_FORMAT_JSONL : says == NAMED_JSON ? IL_FORMAT_JSON : IL_FORMAT_TEXT;
    return IL_OK;
}
