/* page.c: see page.h. */
#include "page.h"

#include <string.h>

static const char *headers_of(const char *name) {
    static const struct {
        const char *end, *headers;
    } kinds[] = {{".html", PAGE_HEADERS "Content-Type: text/html; charset=utf-8\r\n"},
                 {".css", PAGE_HEADERS "Content-Type: text/css; charset=utf-8\r\n"},
                 {".js", PAGE_HEADERS "Content-Type: text/javascript; charset=utf-8\r\n"},
                 {".svg", PAGE_HEADERS "Content-Type: image/svg+xml\r\n"},
                 {".json", PAGE_HEADERS "Content-Type: application/json\r\n"}};
    const char *end = strrchr(name, '.');
    for (size_t i = 0; end && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(end, kinds[i].end)) return kinds[i].headers;
    return NULL;
}

const char *page_find(const char *path, text *t) {
    static const char folder[] = "/page/";
    const char *name = !strcmp(path, "/") ? "index.html" : path + 1;
    if (!strncmp(path, folder, sizeof folder - 1)) name = path + sizeof folder - 1;
    for (size_t i = 0; i < page_n_files; i++)
        if (!strcmp(page_files[i].name, name)) {
            text_add(t, page_files[i].data, page_files[i].bytes);
            return headers_of(name);
        }
    return NULL;
}
