/* tokenize.c: `innerloop tokenize`: token shards from text, or with --ids the tokens of each document on standard
 * output. */
#include "command.h"
#include "documents.h"
#include "output.h"
#include "verbs.h"

#include <stdio.h>
#include <string.h>

/* One array for each document of a file, on a line of its own. */
static il_status print_ids(cli_command *command, const char *path, const il_documents_options *reading,
                           const il_tokenizer *tokenizer, unsigned how, uint64_t *tokens) {
    il_documents *documents;
    il_document document;
    il_tokens ids = {0};
    il_status status = il_documents_open(command->engine, path, reading, &documents, &command->error);
    while (!status && !(status = il_documents_next(documents, &document, &command->error))) {
        ids.n = 0;
        status = il_tokenizer_encode_as(tokenizer, how, document.text, document.bytes, &ids, &command->error);
        if (status) break;
        putchar('[');
        for (size_t i = 0; i < ids.n; i++) printf(i ? ",%d" : "%d", ids.ids[i]);
        puts("]");
        *tokens += ids.n;
    }
    if (status == IL_ERR_END) status = IL_OK;
    il_tokens_free(&ids);
    il_documents_close(documents);
    return status;
}

int verb_tokenize(int argc, char **argv) {
    const char *path = NULL, *out = NULL;
    int print = 0, special = 0;
    cli_documents documents = {.usual_max_bad = CLI_MAX_BAD};
    cli_reading shown = {.verb = "tokenize"};
    arg_option table[] = {
        ARG("--tokenizer", ARG_TEXT, &path, "{FILE,bytes}", "SentencePiece file, tokenizer.json, or bytes", READS,
            .required = 1),
        ARG("--out", ARG_TEXT, &out, "DIR", "where the shards go, NAME.bin for each file", MAKES),
        ARG("--ids", ARG_FLAG, &print, NULL, "print a JSON array of the tokens of each document instead"),
        ARG("--special", ARG_FLAG, &special, NULL,
            "with --ids: special tokens that are written out are those tokens, and the tokenizer's BOS comes first"),
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
    cli_documents_watch(&reading, &shown);
    unsigned how = special ? IL_ENCODE_SPECIAL | IL_ENCODE_TEMPLATE : 0;
    il_status status = cli_command_open(&command, &spec);
    if (!status && !print && !out) status = cli_fail(&command.error, IL_ERR_ARG, "either --out or --ids is needed");
    if (!status && print && out) status = cli_fail(&command.error, IL_ERR_ARG, "--out and --ids exclude each other");
    if (!status && special && !print) status = cli_fail(&command.error, IL_ERR_ARG, "--special goes with --ids");
    int usage = status == IL_ERR_ARG;
    if (!status) status = cli_documents_check(spec.operands.items, spec.operands.n, &command.error);
    if (!status) status = il_tokenizer_load(command.engine, path, &tokenizer, &command.error);
    for (size_t i = 0; !status && print && i < spec.operands.n; i++)
        status = print_ids(&command, spec.operands.items[i], &reading, tokenizer, how, &tokens);
    if (!status && !print)
        status = il_data_tokenize(command.engine, spec.operands.items, spec.operands.n, &reading, tokenizer, out,
                                  &tokens, &command.error);
    cli_reading_end(&shown);
    double seconds = cli_seconds() - started;
    if (!status && !print && spec.json)
        cli_json_print(json_pack("{s:o, s:I, s:o}", "out", cli_json_string(out), "tokens", (json_int_t)tokens,
                                 "seconds", cli_json_real(seconds)));
    else if (!status && !print)
        printf("%s: %s, %.1f s\n", cli_shown(out), cli_count(tokens, "token"), seconds);
    il_tokenizer_close(tokenizer);
    code = cli_command_close(&command, status);
    return usage ? 2 : code;
}
