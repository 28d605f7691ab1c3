/* documents.h: how files are read, as options of the verbs that read any: --format, --field, --bad-lines, --max-bad,
 * --max-window; and how far reading has come. */
#ifndef CLI_DOCUMENTS_H
#define CLI_DOCUMENTS_H

#include "args.h"
#include "output.h"

typedef struct cli_documents {
    const char *format, *field, *bad_lines; /* NULL: not given */
    uint64_t max_window;                    /* 0: not given */
    uint64_t max_bad;                       /* 0: not given */
    uint64_t usual_max_bad;                 /* of the verb, where neither --bad-lines nor --max-bad is given; 0: none */
} cli_documents;

#define CLI_FORMATS_OF_TEXT "{auto,text,jsonl,json}"
#define CLI_FORMATS "{auto,text,jsonl,json,u16,u32,npy,bin}"
#define CLI_MAX_BAD 100 /* usual_max_bad of the verbs that read texts by the million */
/* Five rows of a verb's table. */
#define CLI_DOCUMENTS_OPTIONS(documents, formats)                                                                      \
    ARG("--format", ARG_CHOICE, &(documents).format, formats,                                                          \
        "what the files hold (default auto: what they look like inside)"),                                             \
        ARG("--field", ARG_TEXT, &(documents).field, "NAME", "of JSON: the field that is the text (default text)"),    \
        ARG("--bad-lines", ARG_CHOICE, &(documents).bad_lines, "{stop,skip}",                                          \
            "what happens at a line of JSON that cannot be read (default stop, but see --max-bad)"),                   \
        ARG("--max-bad", ARG_COUNT, &(documents).max_bad, "N",                                                         \
            "skip so many such lines in a file, and stop at one more (train, tokenize: default 100)", RANGE(1, 1e15)), \
        ARG("--max-window", ARG_COUNT, &(documents).max_window, "N",                                                   \
            "read files that zstd --long made with a window of up to 2^N bytes, in as much memory (default 27)",       \
            RANGE(10, 31))
#define CLI_FILE_HELP "text or JSON of any name, also .gz and .zst; - is standard input"

/* What the library is told of them; lives as long as documents. */
il_documents_options cli_documents_options(const cli_documents *documents);
/* What shows on a terminal, or in lines, how far a file has been tokenized, if that takes longer than a second. Zeroed
 * but for the verb at first. */
typedef struct cli_reading {
    const char *verb, *path;
    double since;
    int shown;
    cli_progress progress;
} cli_reading;
void cli_documents_watch(il_documents_options *options, cli_reading *reading);
void cli_reading_end(cli_reading *reading);
/* The whole text of a file, decompressed, whatever it looks like; released by free. May be empty. */
il_status cli_documents_text(il_engine *engine, const char *path, char **text, size_t *bytes, il_error *error);
/* IL_ERR_ARG when two of the words are "-". */
il_status cli_documents_check(const char *const *words, size_t n, il_error *error);

#endif
