/* split.c: see split.h. The texts are read twice, once to measure and once to write, so that memory is that of the
 * largest text. */
#include "split.h"
#include "documents.h"
#include "files.h"
#include "output.h"
#include "recipe.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

struct cli_input {
    il_engine *engine;
    const char *const *files; /* [n] the caller's */
    size_t n;
    il_documents_options options;
    struct held {
        char *text; /* NULL: read again from the file */
        size_t bytes, at;
    } * held; /* [n] */
};

/* What can be read only once: standard input, a pipe. Of a folder or of nothing, reading says what is wrong. */
static int is_pipe(const char *path) {
    struct stat is;
    return !strcmp(path, "-") || (!stat(path, &is) && !S_ISREG(is.st_mode) && !S_ISDIR(is.st_mode));
}

il_status cli_input_open(il_engine *engine, const char *const *files, size_t n, const il_documents_options *options,
                         cli_input **input, il_error *error) {
    cli_input *in = *input = cli_alloc(1, sizeof *in);
    *in = (cli_input){.engine = engine, .files = files, .n = n, .options = *options};
    in->held = cli_alloc(n, sizeof *in->held);
    il_status status = cli_documents_check(files, n, error);
    for (size_t i = 0; i < n && !status; i++)
        if (is_pipe(files[i])) status = cli_path_read(files[i], &in->held[i].text, &in->held[i].bytes, error);
    return status;
}

void cli_input_close(cli_input *input) {
    if (!input) return;
    for (size_t i = 0; i < input->n; i++) free(input->held[i].text);
    free(input->held);
    free(input);
}

static int64_t read_held(void *user, void *data, size_t bytes) {
    struct held *held = user;
    size_t n = held->bytes - held->at < bytes ? held->bytes - held->at : bytes;
    if (n) memcpy(data, held->text + held->at, n);
    held->at += n;
    return (int64_t)n;
}

/* Hands every document to take, which returns a status. */
static il_status each(cli_input *in, il_status (*take)(void *user, const il_document *document, il_error *error),
                      void *user, il_error *error) {
    il_status status = IL_OK;
    for (size_t i = 0; i < in->n && !status; i++) {
        il_documents_options options = in->options;
        il_documents *documents;
        il_document document;
        if (in->held[i].text) {
            in->held[i].at = 0;
            options.read = read_held;
            options.user = &in->held[i];
        }
        status = il_documents_open(in->engine, in->files[i], &options, &documents, error);
        while (!status && !(status = il_documents_next(documents, &document, error)))
            status = document.bytes ? take(user, &document, error) : IL_OK;
        il_documents_close(documents);
        if (status == IL_ERR_END) status = IL_OK;
    }
    return status;
}

/* ---- measuring ---- */

typedef struct measuring {
    cli_texts *texts;
    XXH3_state_t *hash;
} measuring;

static il_status measure(void *user, const il_document *document, il_error *error) {
    measuring *m = user;
    uint64_t bytes = document->bytes;
    (void)error;
    m->texts->documents++;
    m->texts->bytes += bytes;
    XXH3_128bits_update(m->hash, &bytes, sizeof bytes);
    XXH3_128bits_update(m->hash, document->text, document->bytes);
    return IL_OK;
}

il_status cli_input_measure(cli_input *input, cli_texts *texts, il_error *error) {
    *texts = (cli_texts){0};
    measuring m = {texts, XXH3_createState()};
    if (!m.hash) return cli_fail(error, IL_ERR_NOMEM, "no memory to read the text");
    XXH3_128bits_reset(m.hash);
    il_status status = each(input, measure, &m, error);
    XXH128_hash_t hash = XXH3_128bits_digest(m.hash);
    XXH3_freeState(m.hash);
    snprintf(texts->fingerprint, sizeof texts->fingerprint, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    return status;
}

/* ---- cutting ---- */

typedef struct writing {
    cli_split *split;
    il_output *train, *held_out;
    uint64_t from, to; /* of all bytes: the held-out part begins at the first place from `from` on; `to` is the end */
    uint64_t before;   /* bytes of the documents before this one */
    int replaced;      /* broken UTF-8 that JSON cannot hold */
} writing;

static il_status put(writing *w, int held, const char *text, size_t bytes, il_error *error) {
    il_output *file = held ? w->held_out : w->train;
    if (!bytes) return IL_OK;
    *(held ? &w->split->held_out_bytes : &w->split->train_bytes) += bytes;
    if (!w->split->is_jsonl) return il_output_write(file, text, bytes, error);
    json_t *string = json_stringn(text, bytes);
    if (!string) w->replaced = 1;
    json_t *object = json_pack("{s:o}", "text", string ? string : cli_json_text(text, bytes));
    char *line = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (!line) return cli_fail(error, IL_ERR_NOMEM, "no memory for a text of %zu bytes", bytes);
    il_status status = il_output_write(file, line, strlen(line), error);
    if (!status) status = il_output_write(file, "\n", 1, error);
    free(line);
    return status;
}

/* A document at whose beginning or end there is little of the other part is not cut. */
static il_status write_document(void *user, const il_document *document, il_error *error) {
    writing *w = user;
    size_t n = document->bytes, cut;
    uint64_t little = (w->to - w->from) / 4;
    if (w->from <= w->before)
        cut = 0;
    else if (w->from >= w->before + n)
        cut = n;
    else if (w->before && w->from - w->before <= little)
        cut = 0;
    else if (w->before + n < w->to && w->before + n - w->from <= little)
        cut = n;
    else
        cut = recipe_cut(document->text, n, (size_t)(w->from - w->before), (size_t)little);
    w->before += n;
    il_status status = put(w, 0, document->text, cut, error);
    return status ? status : put(w, 1, document->text + cut, n - cut, error);
}

il_status cli_split_write(cli_input *input, const cli_texts *texts, uint64_t held_out, const char *dir,
                          cli_split *split, il_error *error) {
    const char *ending = texts->documents > 1 ? "jsonl" : "txt";
    *split = (cli_split){.train = cli_format("%s/train.%s", dir, ending),
                         .held_out = cli_format("%s/held-out.%s", dir, ending),
                         .is_jsonl = texts->documents > 1};
    writing w = {.split = split, .from = texts->bytes - held_out, .to = texts->bytes};
    il_status status = il_output_open(split->train, &w.train, error);
    if (!status) status = il_output_open(split->held_out, &w.held_out, error);
    if (!status) status = each(input, write_document, &w, error);
    if (!status && w.before != texts->bytes)
        status = cli_fail(error, IL_ERR_IO, "%s: changed while it was read", input->files[0]);
    il_output **const outputs[] = {&w.train, &w.held_out};
    for (size_t i = 0; i < COUNT_OF(outputs); i++) {
        if (!status)
            status = il_output_finish(*outputs[i], error);
        else
            il_output_abandon(*outputs[i]);
    }
    if (!status && w.replaced) cli_note("train", "bytes that are not UTF-8 became U+FFFD in %s", split->train);
    return status;
}

void cli_split_free(cli_split *split) {
    free(split->train);
    free(split->held_out);
    *split = (cli_split){0};
}
