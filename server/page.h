/* page.h: the web page of the server, whose files are parts of the program. */
#ifndef SERVER_PAGE_H
#define SERVER_PAGE_H

#include "common/text.h"

typedef struct page_file {
    const char *name;
    const unsigned char *data; /* [bytes] */
    size_t bytes;
} page_file;

/* What cmake/embed.cmake makes of server/page/ and docs/openapi.json. */
extern const page_file page_files[];
extern const size_t page_n_files;

/* Headers of all of them: nothing that is not of this server is loaded, run or shown, and no other page frames it. */
#define PAGE_HEADERS                                                                                                   \
    "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"                   \
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "           \
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"

/* Adds the file at "/", "/page/NAME" or "/openapi.json" to t, and returns its lines of headers; NULL: there is none. */
const char *page_find(const char *path, text *t);

#endif
