/* eval_books.h: texts and who wrote them: JSON whose objects have a text, an author and, if there is one, a "title".
 * All texts are held in memory. Knows nothing of tokens or models. */
#ifndef CLI_EVAL_BOOKS_H
#define CLI_EVAL_BOOKS_H

#include "innerloop.h"

typedef struct eval_book {
    char *text; /* [bytes] and a NUL */
    size_t bytes, author;
    char *title; /* empty when there is none */
} eval_book;

typedef struct eval_books {
    eval_book *books; /* [n], in the order of the file */
    size_t n, capacity;
    char **authors; /* [n_authors], in the order of their first books */
    size_t n_authors;
} eval_books;

/* options->also[0] is the field that names the author, NULL: "author". Close even after a failure. */
il_status eval_books_open(il_engine *engine, const char *path, const il_documents_options *options, eval_books *books,
                          il_error *error);
void eval_books_close(eval_books *books); /* also of zeroed ones */

#endif
