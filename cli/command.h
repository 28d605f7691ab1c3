/* command.h: the verbs, and what each of them does first and last. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "args.h"
#include "innerloop.h"

/* Each is one file; argv[0] is the verb's name; returns the exit status. */
int verb_init(int argc, char **argv);
int verb_train_tokenizer(int argc, char **argv);
int verb_tokenize(int argc, char **argv);
int verb_train(int argc, char **argv);
int verb_eval(int argc, char **argv);
int verb_generate(int argc, char **argv);
int verb_read(int argc, char **argv);
int verb_compress(int argc, char **argv);
int verb_decompress(int argc, char **argv);
int verb_score(int argc, char **argv);
int verb_convert(int argc, char **argv);
int verb_inspect(int argc, char **argv);
int verb_bench(int argc, char **argv);
int verb_doctor(int argc, char **argv);

/* A verb under way. */
typedef struct cli_command {
    const char *verb;
    arg_spec *spec;
    il_engine *engine;
    il_error error;
    il_error no_tokenizer; /* why command_model_of_tokens gave none */
} cli_command;

/* Opens the engine with --threads and the log on stderr. The command must be closed even after a failure. */
il_status command_open(cli_command *command, arg_spec *spec);
/* Closes the engine, releases what arg_parse made and flushes stdout. A failed status is reported; returns
 * the exit status: 0, 1, or that of the signal that stopped the work. */
int command_close(cli_command *command, il_status status);

/* The model of a directory (NULL: the one in the box, bundled_model.h) and its tokenizer. Both are the caller's. */
il_status command_model(cli_command *command, const char *dir, il_model **model, il_tokenizer **tokenizer);
/* The same for verbs that also read token files, which need no tokenizer: *tokenizer is NULL where the directory has
 * none that can be read, and command_data says so when a text comes. */
il_status command_model_of_tokens(cli_command *command, const char *dir, il_model **model, il_tokenizer **tokenizer);
il_status command_data(cli_command *command, const char *const *files, size_t n_files, const il_tokenizer *tokenizer,
                       int vocab_size, const il_data_options *options, il_data **data);
/* --set KEY=VALUE …: keys of config.json. */
il_status command_set(cli_command *command, const arg_list *set, il_config *config);
/* Replaces a model held as bf16 by the same one held as fp32, which has gradients. Nothing it computes changes. */
il_status command_widen(cli_command *command, il_model **model);

#endif
