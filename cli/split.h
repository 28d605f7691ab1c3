/* split.h: the texts of files, as one file to learn from and one that is held out: the end, which nothing else sees. */
#ifndef CLI_SPLIT_H
#define CLI_SPLIT_H

#include "innerloop.h"

typedef struct cli_texts {
    uint64_t documents, bytes;
    char fingerprint[33]; /* xxh3-128 of the documents and where they begin */
} cli_texts;

typedef struct cli_input cli_input;
/* Opens the files to be read as often as needed; standard input ("-") is kept in memory. Closed also after a failure.
 */
il_status cli_input_open(il_engine *engine, const char *const *files, size_t n, const il_documents_options *options,
                         cli_input **input, il_error *error);
void cli_input_close(cli_input *input); /* NULL allowed */
/* What they hold. */
il_status cli_input_measure(cli_input *input, cli_texts *texts, il_error *error);

typedef struct cli_split {
    char *train, *held_out; /* paths of what was written, released by cli_split_free: .txt of one text, else .jsonl */
    uint64_t train_bytes, held_out_bytes;
    int is_jsonl;
} cli_split;
/* Writes dir/train.… and dir/held-out.…: of texts, the last held_out bytes or a little less: from where a paragraph, a
 * line or a word begins, or whole documents. */
il_status cli_split_write(cli_input *input, const cli_texts *texts, uint64_t held_out, const char *dir,
                          cli_split *split, il_error *error);
void cli_split_free(cli_split *split);

#endif
