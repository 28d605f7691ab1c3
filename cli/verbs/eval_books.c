/* eval_books.c: see eval_books.h. */
#include "verbs/eval_books.h"
#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { BLOCK = 1 << 17, LINE_BYTES_MAX = 256 << 20 };

typedef struct reader {
    const char *path;
    eval_books *books;
    char *line; /* [n], its end not come yet */
    size_t n, capacity, number;
    il_error *error;
} reader;

static void *grown(void *block, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) return block;
    size_t larger = need + need / 2 + 16;
    void *to = cli_alloc(larger, size);
    if (block) memcpy(to, block, *capacity * size);
    free(block);
    *capacity = larger;
    return to;
}

static size_t author_of(eval_books *b, const char *name) {
    for (size_t i = 0; i < b->n_authors; i++)
        if (!strcmp(b->authors[i], name)) return i;
    char **authors = cli_alloc(b->n_authors + 1, sizeof *authors);
    if (b->n_authors) memcpy(authors, b->authors, b->n_authors * sizeof *authors);
    free(b->authors);
    b->authors = authors;
    b->authors[b->n_authors] = cli_format("%s", name);
    return b->n_authors++;
}

static il_status take_line(reader *r) {
    json_error_t problem;
    size_t blank = 0;
    r->number++;
    while (blank < r->n && strchr(" \t\r", r->line[blank]) && r->line[blank]) blank++;
    if (blank == r->n) return IL_OK;
    json_t *object = json_loadb(r->line, r->n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &problem);
    if (!object)
        return cli_fail(r->error, IL_ERR_FORMAT, "%s, line %zu, byte %d: %s", r->path, r->number, problem.position,
                        problem.text);
    const json_t *text = json_object_get(object, "text"), *author = json_object_get(object, "author"),
                 *title = json_object_get(object, "title");
    il_status status = IL_OK;
    if (!json_is_string(text) || !json_is_string(author)) {
        status = cli_fail(r->error, IL_ERR_FORMAT, "%s, line %zu: not an object with strings \"text\" and \"author\"",
                          r->path, r->number);
    } else {
        eval_books *b = r->books;
        b->books = grown(b->books, &b->capacity, b->n + 1, sizeof *b->books);
        eval_book *book = &b->books[b->n++];
        *book = (eval_book){.bytes = json_string_length(text), .author = author_of(b, json_string_value(author))};
        book->text = cli_alloc(book->bytes + 1, 1);
        memcpy(book->text, json_string_value(text), book->bytes);
        book->title = cli_format("%s", json_is_string(title) ? json_string_value(title) : "");
    }
    json_decref(object);
    return status;
}

static il_status take_bytes(reader *r, const char *data, size_t bytes) {
    il_status status = IL_OK;
    while (bytes && !status) {
        const char *end = memchr(data, '\n', bytes);
        size_t part = end ? (size_t)(end - data) : bytes;
        if (part > LINE_BYTES_MAX - r->n)
            return cli_fail(r->error, IL_ERR_FORMAT, "%s, line %zu: longer than %d bytes", r->path, r->number + 1,
                            LINE_BYTES_MAX);
        r->line = grown(r->line, &r->capacity, r->n + part, 1);
        if (part) memcpy(r->line + r->n, data, part);
        r->n += part;
        if (end) {
            status = take_line(r);
            r->n = 0;
        }
        data += part + (end != NULL);
        bytes -= part + (end != NULL);
    }
    return status;
}

/* What is in `in`, decompressed. *left: not 0 inside a frame. */
static il_status take_frames(reader *r, ZSTD_DStream *stream, ZSTD_inBuffer *in, char *block, size_t *left) {
    ZSTD_outBuffer out = {block, BLOCK, 0};
    il_status status = IL_OK;
    do { /* a full block means that there may be more to come */
        out.pos = 0;
        *left = ZSTD_decompressStream(stream, &out, in);
        if (ZSTD_isError(*left)) return cli_fail(r->error, IL_ERR_FORMAT, "%s: %s", r->path, ZSTD_getErrorName(*left));
        status = take_bytes(r, block, out.pos);
    } while (!status && (in->pos < in->size || out.pos == out.size));
    return status;
}

il_status eval_books_open(const char *path, eval_books *books, il_error *error) {
    reader r = {.path = path, .books = books, .error = error};
    size_t n = strlen(path), got, left = 0;
    int packed = n > 10 && !strcmp(path + n - 10, ".jsonl.zst");
    *books = (eval_books){0};
    if (!packed && !(n > 6 && !strcmp(path + n - 6, ".jsonl")))
        return cli_fail(error, IL_ERR_UNSUPPORTED, "%s: books with authors are .jsonl or .jsonl.zst", path);
    FILE *file = fopen(path, "rb");
    if (!file) return cli_fail(error, IL_ERR_IO, "%s: %s", path, strerror(errno));
    ZSTD_DStream *stream = ZSTD_createDStream();
    char *in = cli_alloc(BLOCK, 1), *out = cli_alloc(BLOCK, 1);
    il_status status = stream ? IL_OK : cli_fail(error, IL_ERR_NOMEM, "%s: no memory to decompress it", path);
    while (!status && (got = fread(in, 1, BLOCK, file)) > 0)
        status = packed ? take_frames(&r, stream, &(ZSTD_inBuffer){in, got, 0}, out, &left) : take_bytes(&r, in, got);
    if (!status && ferror(file)) status = cli_fail(error, IL_ERR_IO, "%s: %s", path, strerror(errno));
    if (!status && left) status = cli_fail(error, IL_ERR_FORMAT, "%s: cut short: it ends inside a frame", path);
    if (!status && r.n) status = take_line(&r);
    if (!status && !books->n) status = cli_fail(error, IL_ERR_FORMAT, "%s: no books in it", path);
    ZSTD_freeDStream(stream);
    free(in);
    free(out);
    free(r.line);
    fclose(file);
    return status;
}

void eval_books_close(eval_books *books) {
    for (size_t i = 0; i < books->n; i++) {
        free(books->books[i].text);
        free(books->books[i].title);
    }
    for (size_t i = 0; i < books->n_authors; i++) free(books->authors[i]);
    free(books->books);
    free(books->authors);
    *books = (eval_books){0};
}
