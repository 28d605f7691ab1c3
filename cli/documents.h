/* documents.h: how files are read, as options of the verbs that read any: --format, --field, --bad-lines, --max-window.
 */
#ifndef CLI_DOCUMENTS_H
#define CLI_DOCUMENTS_H

#include "args.h"
#include "innerloop.h"

typedef struct cli_documents {
    const char *format, *field, *bad_lines; /* NULL: not given */
    uint64_t max_window;                    /* 0: not given */
} cli_documents;

#define CLI_FORMATS_OF_TEXT "{auto,text,jsonl,json}"
#define CLI_FORMATS "{auto,text,jsonl,json,u16,u32,npy,bin}"
/* Four rows of a verb's table. */
#define CLI_DOCUMENTS_OPTIONS(documents, formats)                                                                      \
    ARG("--format", ARG_CHOICE, &(documents).format, formats,                                                          \
        "what the files hold (default auto: what they look like inside)"),                                             \
        ARG("--field", ARG_TEXT, &(documents).field, "NAME", "of JSON: the field that is the text (default text)"),    \
        ARG("--bad-lines", ARG_CHOICE, &(documents).bad_lines, "{stop,skip}",                                          \
            "what happens at a line of JSON that cannot be read (default stop)"),                                      \
        ARG("--max-window", ARG_COUNT, &(documents).max_window, "N",                                                   \
            "read files that zstd --long made with a window of up to 2^N bytes, in as much memory (default 27)",       \
            RANGE(10, 31))
#define CLI_FILE_HELP "text or JSON of any name, also .gz and .zst; - is standard input"

/* What the library is told of them; lives as long as documents. */
il_documents_options cli_documents_options(const cli_documents *documents);
/* The whole text of a file, decompressed, whatever it looks like; released by free. May be empty. */
il_status cli_documents_text(il_engine *engine, const char *path, char **text, size_t *bytes, il_error *error);
/* IL_ERR_ARG when two of the words are "-". */
il_status cli_documents_check(const char *const *words, size_t n, il_error *error);

#endif
