/* eval_books.h: texts and who wrote them: a .jsonl or .jsonl.zst file, one object a line with "text", "author" and, if
 * there is one, "title". All texts are held in memory. Knows nothing of tokens or models. */
#ifndef CLI_EVAL_BOOKS_H
#define CLI_EVAL_BOOKS_H

#include "innerloop.h"

typedef struct eval_book {
    char *text; /* [bytes] */
    size_t bytes, author;
    char *title; /* empty when there is none */
} eval_book;

typedef struct eval_books {
    eval_book *books; /* [n], in the order of the file */
    size_t n, capacity;
    char **authors; /* [n_authors], in the order of their first books */
    size_t n_authors;
} eval_books;

/* Close even after a failure. */
il_status eval_books_open(const char *path, eval_books *books, il_error *error);
void eval_books_close(eval_books *books); /* also of zeroed ones */

#endif
