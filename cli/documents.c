/* documents.c: see documents.h. */
#include "documents.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>

il_documents_options cli_documents_options(const cli_documents *documents) {
    il_documents_options options;
    il_documents_options_default(&options);
    for (il_format format = IL_FORMAT_AUTO; documents->format && format <= IL_FORMAT_BIN; format++)
        if (!strcmp(documents->format, il_format_name(format))) options.format = format;
    options.field = documents->field;
    options.bad_lines_max = documents->bad_lines || documents->max_bad ? documents->max_bad : documents->usual_max_bad;
    options.skip_bad_lines = options.bad_lines_max || (documents->bad_lines && !strcmp(documents->bad_lines, "skip"));
    options.window_log_max = (int)documents->max_window;
    return options;
}

static void show(void *user, const char *path, uint64_t done, uint64_t total) {
    enum { MB = 1000000 };
    cli_reading *r = user;
    if (path != r->path) {
        cli_reading_end(r);
        r->path = path;
        r->since = cli_seconds();
    }
    if (!total || (!r->shown && (cli_seconds() - r->since < 1 || done >= total))) return;
    if (!r->shown) cli_progress_begin(&r->progress, r->verb, "MB", 0, total / MB + 1);
    if (!r->shown) r->progress.started = r->since;
    r->shown = 1;
    const char *slash = strrchr(path, '/');
    cli_progress_show(&r->progress, done >= total ? total / MB + 1 : done / MB, cli_shown(slash ? slash + 1 : path));
}

void cli_documents_watch(il_documents_options *options, cli_reading *reading) {
    options->progress = show;
    options->progress_user = reading;
}

void cli_reading_end(cli_reading *r) {
    if (r->shown) cli_progress_end(&r->progress);
    r->shown = 0;
    r->path = NULL;
}

il_status cli_documents_text(il_engine *engine, const char *path, char **text, size_t *bytes, il_error *error) {
    il_documents_options options;
    il_documents *documents;
    il_document part;
    size_t capacity = 0;
    *text = NULL;
    *bytes = 0;
    il_documents_options_default(&options);
    options.format = IL_FORMAT_TEXT;
    il_status status = il_documents_open(engine, path, &options, &documents, error);
    while (!status && !(status = il_documents_part(documents, &part, error))) {
        if (*bytes + part.bytes > capacity) {
            capacity = 2 * (*bytes + part.bytes);
            char *larger = realloc(*text, capacity);
            if (!larger) {
                status = cli_fail(error, IL_ERR_NOMEM, "%s: no memory for %zu bytes", path, capacity);
                break;
            }
            *text = larger;
        }
        memcpy(*text + *bytes, part.text, part.bytes);
        *bytes += part.bytes;
    }
    il_documents_close(documents);
    return status == IL_ERR_END ? IL_OK : status;
}

il_status cli_documents_check(const char *const *words, size_t n, il_error *error) {
    int seen = 0;
    for (size_t i = 0; i < n; i++) seen += !strcmp(words[i], "-");
    return seen < 2 ? IL_OK : cli_fail(error, IL_ERR_ARG, "standard input ('-') can be read only once");
}
