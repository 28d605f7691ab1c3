/* documents.c: see documents.h. */
#include "documents.h"
#include "output.h"

#include <string.h>

il_documents_options cli_documents_options(const cli_documents *documents) {
    il_documents_options options;
    il_documents_options_default(&options);
    for (il_format format = IL_FORMAT_AUTO; documents->format && format <= IL_FORMAT_BIN; format++)
        if (!strcmp(documents->format, il_format_name(format))) options.format = format;
    options.field = documents->field;
    options.skip_bad_lines = documents->bad_lines && !strcmp(documents->bad_lines, "skip");
    options.window_log_max = (int)documents->max_window;
    return options;
}

il_status cli_documents_check(const char *const *words, size_t n, il_error *error) {
    int seen = 0;
    for (size_t i = 0; i < n; i++) seen += !strcmp(words[i], "-");
    return seen < 2 ? IL_OK : cli_fail(error, IL_ERR_ARG, "standard input ('-') can be read only once");
}
