/* lines.h: a text taken line by line as it comes, each line as its tokens, so that what is read does not depend on how
 * the text arrives: a file, a pipe, a byte at a time. Memory is constant. Knows nothing of models. */
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include "innerloop.h"

enum { CLI_LINE_BYTES_MAX = 1 << 16 }; /* a longer line counts as several */

/* The tokens of text [bytes]: with `follows` as what follows a line end, else as the beginning of a text. Some
 * tokenizers put a space before every text, which a text that goes on must not get; so it is encoded with a line end
 * before it, whose tokens are dropped. Where the tokenizer joins the two in one token, it is encoded as a beginning
 * (`begins` is set). */
typedef struct cli_encoder {
    const il_tokenizer *tokenizer;
    il_tokens tokens; /* of the last text, with what is dropped */
    size_t skip;      /* tokens dropped */
    int begins;
    char *decoded; /* [decoded_capacity] */
    size_t decoded_capacity;
} cli_encoder;
void cli_encoder_open(cli_encoder *encoder, const il_tokenizer *tokenizer);
void cli_encoder_close(cli_encoder *encoder); /* also of a zeroed one */
/* text[-1] must be a line end when `follows`. */
il_status cli_encoder_encode(cli_encoder *encoder, const char *text, size_t bytes, int follows, il_error *error);
/* The same of any text, of which a copy is made. */
il_status cli_encoder_encode_alone(cli_encoder *encoder, const char *text, size_t bytes, int follows, il_error *error);

typedef struct cli_lines {
    cli_encoder encoder; /* .tokens after .skip: of the line */
    const char *name;    /* of the text */
    const char *text;    /* of the line, [bytes], its line end too */
    size_t bytes;
    uint64_t taken; /* bytes of all lines */
    int ended;      /* nothing comes any more; may be set, to stop */
    int fd, follows;
    uint64_t came; /* bytes of the file, compressed as they may be */
    il_engine *engine;
    il_documents_options options;
    il_documents *documents; /* NULL: nothing was read yet */
    il_document part;        /* its text [bytes] is still to be copied */
    char *input;             /* [1 + CLI_LINE_BYTES_MAX]: a line end, then [from, to) not taken yet */
    size_t from, to;
} cli_lines;

/* path: "-" is standard input. Documents follow one another, each from a line of its own. follows: the first line
 * follows earlier text. Close even after a failure; lines must stay where they are. */
il_status cli_lines_open(cli_lines *lines, il_engine *engine, const char *path, const il_documents_options *options,
                         const il_tokenizer *tokenizer, int follows, il_error *error);
void cli_lines_close(cli_lines *lines); /* also of zeroed ones */
/* Reads what there is, once there is something, or at Ctrl-C ends. */
il_status cli_lines_fill(cli_lines *lines, il_error *error);
/* The next line that is complete, or at the end the rest; *got 0: there is none yet. */
il_status cli_lines_next(cli_lines *lines, int *got, il_error *error);
/* Bytes of the file, 0 when it is not a regular one. */
uint64_t cli_lines_size(const cli_lines *lines);

#endif
