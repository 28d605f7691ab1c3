/* lines.c: see lines.h. */
#include "lines.h"
#include "interrupt.h"
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WAIT_MS = 200 }; /* between looks at whether Ctrl-C was pressed */

/* ---- a line as its tokens ---- */

void cli_encoder_open(cli_encoder *encoder, const il_tokenizer *tokenizer) {
    *encoder = (cli_encoder){.tokenizer = tokenizer, .decoded_capacity = il_tokenizer_piece_bytes_max(tokenizer)};
    encoder->decoded = cli_alloc(encoder->decoded_capacity, 1);
}

void cli_encoder_close(cli_encoder *encoder) {
    il_tokens_free(&encoder->tokens);
    free(encoder->decoded);
    *encoder = (cli_encoder){0};
}

/* How many tokens at the front stand for just the line end that was put before a line; 0: none do. */
static size_t line_end_tokens(cli_encoder *e) {
    il_decoder decoder = {.form = IL_DECODE_EXACT};
    for (size_t i = 0, bytes; i < e->tokens.n; i++) {
        if (il_tokenizer_decode(e->tokenizer, &decoder, e->tokens.ids[i], e->decoded, e->decoded_capacity, &bytes,
                                NULL))
            return 0;
        if (bytes) return bytes == 1 && e->decoded[0] == '\n' ? i + 1 : 0;
    }
    return 0;
}

il_status cli_encoder_encode(cli_encoder *e, const char *text, size_t bytes, int follows, il_error *error) {
    e->tokens.n = e->skip = 0;
    e->begins = 0;
    if (follows) {
        il_status status = il_tokenizer_encode(e->tokenizer, text - 1, bytes + 1, &e->tokens, error);
        if (status) return status;
        e->skip = line_end_tokens(e);
        if (e->skip) return IL_OK;
    }
    e->tokens.n = 0;
    e->begins = 1;
    return il_tokenizer_encode(e->tokenizer, text, bytes, &e->tokens, error);
}

il_status cli_encoder_encode_alone(cli_encoder *e, const char *text, size_t bytes, int follows, il_error *error) {
    char *line = cli_alloc(1 + bytes, 1);
    line[0] = '\n';
    memcpy(line + 1, text, bytes);
    il_status status = cli_encoder_encode(e, line + 1, bytes, follows, error);
    free(line);
    return status;
}

/* ---- lines ---- */

/* Waits for bytes, or for Ctrl-C, which ends the file. */
static int64_t read_some(void *user, void *data, size_t bytes) {
    cli_lines *lines = user;
    struct pollfd input = {.fd = lines->fd, .events = POLLIN};
    while (!cli_interrupted()) {
        int ready = poll(&input, 1, WAIT_MS);
        if (!ready || (ready < 0 && errno == EINTR)) continue;
        ssize_t got = read(lines->fd, data, bytes);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got > 0) lines->came += (uint64_t)got;
        return got;
    }
    return 0;
}

il_status cli_lines_open(cli_lines *lines, il_engine *engine, const char *path, const il_documents_options *options,
                         const il_tokenizer *tokenizer, int follows, il_error *error) {
    *lines = (cli_lines){.name = "standard input", .follows = follows, .engine = engine, .options = *options};
    lines->options.read = read_some;
    lines->options.user = lines;
    if (strcmp(path, "-")) {
        lines->name = path;
        lines->fd = open(path, O_RDONLY | O_CLOEXEC);
        if (lines->fd < 0) return cli_fail(error, IL_ERR_IO, "%s: %s", path, strerror(errno));
    }
    lines->input = cli_alloc(1 + CLI_LINE_BYTES_MAX, 1);
    lines->from = lines->to = 1;
    cli_encoder_open(&lines->encoder, tokenizer);
    return IL_OK;
}

void cli_lines_close(cli_lines *lines) {
    if (lines->fd > 0) close(lines->fd);
    cli_encoder_close(&lines->encoder);
    il_documents_close(lines->documents);
    free(lines->input);
    *lines = (cli_lines){0};
}

/* The next part of the file; at its end, or at Ctrl-C, what has come is still taken. */
static il_status next_part(cli_lines *lines, il_error *error) {
    il_status status = IL_OK;
    if (!lines->documents)
        status = il_documents_open(lines->engine, lines->name, &lines->options, &lines->documents, error);
    if (!status) status = il_documents_part(lines->documents, &lines->part, error);
    if (!status) return IL_OK;
    lines->part.bytes = 0;
    lines->ended = status == IL_ERR_END || cli_interrupted();
    return lines->ended ? IL_OK : status;
}

il_status cli_lines_fill(cli_lines *lines, il_error *error) {
    memmove(lines->input + 1, lines->input + lines->from, lines->to - lines->from);
    lines->to = 1 + lines->to - lines->from;
    lines->from = 1;
    if (!lines->part.bytes) {
        il_status status = next_part(lines, error);
        if (status) return status;
        int within = lines->to > 1 && lines->input[lines->to - 1] != '\n';
        if (lines->part.bytes && lines->part.begins && within && lines->to <= CLI_LINE_BYTES_MAX)
            lines->input[lines->to++] = '\n';
    }
    size_t room = 1 + CLI_LINE_BYTES_MAX - lines->to, n = lines->part.bytes < room ? lines->part.bytes : room;
    if (n) memcpy(lines->input + lines->to, lines->part.text, n);
    lines->part.text += n;
    lines->part.bytes -= n;
    lines->to += n;
    return IL_OK;
}

/* Where a line that is too long is cut: after its last whole character. */
static size_t long_line(const char *text, size_t bytes) {
    for (size_t back = 1; back < 4; back++)
        if (((unsigned char)text[bytes - back] & 0xC0) == 0xC0) return bytes - back;
    return bytes;
}

il_status cli_lines_next(cli_lines *lines, int *got, il_error *error) {
    char *text = lines->input + lines->from;
    size_t pending = lines->to - lines->from;
    const char *end = pending ? memchr(text, '\n', pending) : NULL;
    size_t bytes = end ? (size_t)(end - text) + 1 : 0;
    if (!bytes && pending == CLI_LINE_BYTES_MAX) bytes = long_line(text, pending);
    if (!bytes && lines->ended) bytes = pending;
    *got = bytes > 0;
    if (!bytes) return IL_OK;
    text[-1] = '\n'; /* it is the end of a line taken before, or the place kept for it */
    lines->text = text;
    lines->bytes = bytes;
    il_status status = cli_encoder_encode(&lines->encoder, text, bytes, lines->follows, error);
    lines->follows = 1;
    lines->from += bytes;
    lines->taken += bytes;
    return status;
}

uint64_t cli_lines_size(const cli_lines *lines) {
    struct stat info;
    return !fstat(lines->fd, &info) && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
}
