/* tokenize.c: `innerloop tokenize`: token shards from text. */
#include "command.h"
#include "documents.h"
#include "output.h"
#include "verbs.h"

#include <stdio.h>

int verb_tokenize(int argc, char **argv) {
    const char *path = NULL, *out = NULL;
    cli_documents documents = {0};
    arg_option table[] = {
        ARG("--tokenizer", ARG_TEXT, &path, "{FILE,bytes}", "SentencePiece file, or bytes", .required = 1),
        ARG("--out", ARG_TEXT, &out, "DIR", "where the shards go, NAME.bin for each file", .required = 1),
        CLI_DOCUMENTS_OPTIONS(documents, CLI_FORMATS_OF_TEXT),
    };
    arg_spec spec = {.verb = "tokenize",
                     .summary = "turn text into token shards",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .operand = "FILE",
                     .operand_help = CLI_FILE_HELP " (stdin.bin)",
                     .operands_min = 1,
                     .operands_max = SIZE_MAX,
                     .example = "innerloop tokenize --tokenizer tokenizer.model --out shards books.jsonl.zst"};
    cli_command command;
    il_tokenizer *tokenizer = NULL;
    uint64_t tokens = 0;
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    double started = cli_seconds();
    il_documents_options reading = cli_documents_options(&documents);
    il_status status = cli_command_open(&command, &spec);
    if (!status) status = cli_documents_check(spec.operands.items, spec.operands.n, &command.error);
    if (!status) status = il_tokenizer_load(command.engine, path, &tokenizer, &command.error);
    if (!status)
        status = il_data_tokenize(command.engine, spec.operands.items, spec.operands.n, &reading, tokenizer, out,
                                  &tokens, &command.error);
    double seconds = cli_seconds() - started;
    if (!status && spec.json)
        cli_json_print(json_pack("{s:o, s:I, s:o}", "out", cli_json_string(out), "tokens", (json_int_t)tokens,
                                 "seconds", cli_json_real(seconds)));
    else if (!status)
        printf("%s: %llu tokens, %.1f s\n", out, (unsigned long long)tokens, seconds);
    il_tokenizer_close(tokenizer);
    return cli_command_close(&command, status);
}
