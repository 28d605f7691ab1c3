/* model_choice.h: loads the model that a verb works with where --model leaves open which of the bundled ones: for a
 * text the one that predicts its beginning in fewer bits, for a state or a compressed file the one that made it. Where
 * one model is named, by --model or by $INNERLOOP_MODEL, it is taken and nothing is tried. */
#ifndef CLI_MODEL_CHOICE_H
#define CLI_MODEL_CHOICE_H

#include "command.h"

enum { CLI_TRIAL_BYTES = 1 << 16 }; /* of the text: what a model is tried on */

/* *dir, released by free, is what cli_command_load takes; word is what --model says, or NULL. The model is that which
 * makes the first CLI_TRIAL_BYTES of the input smaller. As results are exact, so is the choice: the same input has the
 * same model on every machine. Which one it is, and what each costs, is said on stderr. */
il_status cli_choose_to_compress(cli_command *command, const char *word, const char *input, size_t bytes, char **dir);
/* The same by the bits that reading the text of a file costs, without learning if frozen, for which the file is opened
 * a second time. A pipe can be read only once: from there the usual model is taken, and so it is where the file cannot
 * be read as text. */
il_status cli_choose_for_file(cli_command *command, const char *word, const char *path,
                              const il_documents_options *options, int frozen, char **dir);

/* Does the work with a model, or says IL_ERR_MISMATCH when its input was made with another one. */
typedef il_status cli_attempt(void *user, il_model *model, il_tokenizer *tokenizer, il_error *error);
/* The first model with which the attempt is no mismatch; it and its tokenizer are the caller's. */
il_status cli_choose_by(cli_command *command, const char *word, cli_attempt *attempt, void *user, il_model **model,
                        il_tokenizer **tokenizer);

/* Model, tokenizer and session for reading on: those of the state file `load`, or with NULL a session opened by `fresh`
 * of the model for the file at path (NULL: the usual one). */
il_status cli_choose_session(cli_command *command, const char *word, const char *load, const char *path,
                             const il_documents_options *options, const il_session_options *fresh, il_model **model,
                             il_tokenizer **tokenizer, il_session **session);

#endif
