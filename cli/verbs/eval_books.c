/* eval_books.c: see eval_books.h. */
#include "verbs/eval_books.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>

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

static void take(eval_books *b, const il_document *document) {
    b->books = cli_grown(b->books, &b->capacity, b->n + 1, sizeof *b->books);
    eval_book *book = &b->books[b->n++];
    *book = (eval_book){.bytes = document->bytes, .author = author_of(b, document->also[0])};
    book->text = cli_alloc(book->bytes + 1, 1);
    memcpy(book->text, document->text, book->bytes);
    book->title = cli_format("%s", document->also[1] ? document->also[1] : "");
}

il_status eval_books_open(il_engine *engine, const char *path, const il_documents_options *options, eval_books *books,
                          il_error *error) {
    il_documents_options o = *options;
    il_documents *documents;
    il_document document;
    *books = (eval_books){0};
    if (!o.also[0]) o.also[0] = "author";
    o.also[1] = "title";
    il_status status = il_documents_open(engine, path, &o, &documents, error);
    if (status) return status;
    if (il_documents_format(documents) == IL_FORMAT_TEXT)
        status = cli_fail(error, IL_ERR_UNSUPPORTED, "%s: text; books with authors are JSON", path);
    while (!status && !(status = il_documents_next(documents, &document, error))) {
        if (document.also[0])
            take(books, &document);
        else
            status = cli_fail(error, IL_ERR_FORMAT, "%s, document %zu: no string \"%s\" in it (--author-field)", path,
                              books->n + 1, o.also[0]);
    }
    il_documents_close(documents);
    return status == IL_ERR_END ? IL_OK : status;
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
