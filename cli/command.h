/* command.h: what every verb does first and last. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "args.h"
#include "innerloop.h"

/* The option that says how a loaded model holds its weights. */
#define CLI_DTYPES "{f32,bf16,int8,int4}"
#define CLI_DTYPE(where)                                                                                               \
    ARG("--dtype", ARG_CHOICE, where, CLI_DTYPES, "hold the weights of linear layers in this type (default: as stored)")

/* A verb under way. */
typedef struct cli_command {
    const char *verb;
    arg_spec *spec;
    il_engine *engine;
    il_error error;
    il_error no_tokenizer; /* why cli_command_load_any gave none */
    char *model_dir;       /* of the model that was loaded last; NULL: none was */
    int wrong_usage;       /* the exit status of a failure is 2 */
    const char *dtype;     /* in which type models are loaded, CLI_DTYPE's; NULL, after cli_command_open: as stored */
} cli_command;

/* Checks what the verb reads and writes (places.h), and opens the engine with --threads and the log on stderr. The
 * command must be closed even after a failure. */
il_status cli_command_open(cli_command *command, arg_spec *spec);
/* Closes the engine, releases what arg_parse made and flushes stdout. A failed status is reported; returns
 * the exit status: 0, 1, 2, or that of the signal that stopped the work. */
int cli_command_close(cli_command *command, il_status status);

/* One of CLI_DTYPES. */
il_weight_type cli_dtype(const char *name);
/* The model of a directory, held as --dtype says. */
il_status cli_command_load_model(cli_command *command, const char *dir, il_model **model);
/* The model that --model says (a directory, or the name of a bundled one; NULL: the usual one, bundled_model.h) and its
 * tokenizer. Both are the caller's. Verbs that read a text choose by it first (model_choice.h). */
il_status cli_command_load(cli_command *command, const char *word, il_model **model, il_tokenizer **tokenizer);
/* The same for verbs that may do without a tokenizer: *tokenizer is NULL where the directory has none that can be read,
 * and no_tokenizer says why. */
il_status cli_command_load_any(cli_command *command, const char *word, il_model **model, il_tokenizer **tokenizer);
/* That of a model's directory or file; NULL where it has none that can be read, and no_tokenizer says why. */
il_status cli_command_load_tokenizer(cli_command *command, const char *dir, const il_config *config,
                                     il_tokenizer **tokenizer);
/* Refuses a model of pictures, for verbs that are of texts alone. */
il_status cli_command_needs_text(cli_command *command, const il_tokenizer *tokenizer);
/* il_data_open; where a text comes and there is no tokenizer, the error is no_tokenizer. */
il_status cli_command_data(cli_command *command, const char *const *files, size_t n_files,
                           const il_tokenizer *tokenizer, int vocab_size, const il_data_options *options,
                           il_data **data);
/* --set KEY=VALUE …: keys of config.json. A fast head is bounded (mixers.h) unless fast_head_tokens is one of them. */
il_status cli_command_configure(cli_command *command, const arg_list *set, il_config *config);
/* Once the config is complete: refuses a key of --set that changes nothing in such a model. */
il_status cli_command_check_set(cli_command *command, const arg_list *set, const il_config *config);
/* Replaces a model held as bf16 by the same one held as fp32, which has gradients. Nothing it computes changes. */
il_status cli_command_widen(cli_command *command, il_model **model);

#endif
