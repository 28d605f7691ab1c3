/* train_tokenizer.c: `innerloop train-tokenizer`: a SentencePiece model from text. */
#include "command.h"
#include "documents.h"
#include "files.h"
#include "output.h"
#include "verbs.h"

#include <stdio.h>

int verb_train_tokenizer(int argc, char **argv) {
    uint64_t vocabulary = 0;
    const char *out = NULL;
    cli_documents documents = {0};
    arg_option table[] = {
        ARG("--vocab", ARG_COUNT, &vocabulary, "N", "size of the vocabulary, less if the text gives fewer pieces",
            RANGE(2, 1 << 24), .required = 1),
        ARG("--out", ARG_TEXT, &out, "FILE", "tokenizer file to write", WRITES, .required = 1),
        CLI_DOCUMENTS_OPTIONS(documents, CLI_FORMATS_OF_TEXT),
    };
    arg_spec spec = {.verb = "train-tokenizer",
                     .summary = "train a SentencePiece tokenizer on text",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .operand = "FILE",
                     .operand_help = CLI_FILE_HELP,
                     .operands_min = 1,
                     .operands_max = SIZE_MAX,
                     .example = "innerloop train-tokenizer --vocab 8000 --out tokenizer.model books.jsonl.zst"};
    cli_command command;
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    double started = cli_seconds();
    il_documents_options reading = cli_documents_options(&documents);
    il_status status = cli_command_open(&command, &spec);
    if (!status) status = cli_documents_check(spec.operands.items, spec.operands.n, &command.error);
    if (!status)
        status = il_tokenizer_train(command.engine, spec.operands.items, spec.operands.n, &reading, (int)vocabulary,
                                    out, &command.error);
    double seconds = cli_seconds() - started;
    il_tokenizer *made = NULL; /* which may have fewer pieces than were asked for; of a pipe nobody can tell */
    int told = !status && cli_path_bytes(out);
    if (told) status = il_tokenizer_load(command.engine, out, &made, &command.error);
    if (told && !status) {
        il_tokenizer_info info;
        il_tokenizer_get_info(made, &info);
        if (spec.json)
            cli_json_print(json_pack("{s:o, s:i, s:o}", "out", cli_json_string(out), "vocab_size", info.vocab_size,
                                     "seconds", cli_json_real(seconds)));
        else
            printf("%s: vocabulary %d, %.1f s\n", cli_shown(out), info.vocab_size, seconds);
    }
    il_tokenizer_close(made);
    return cli_command_close(&command, status);
}
