/* verbs.h: the verbs of the command: one file each, in cli/verbs/ (bench: cli/bench/), and their table in verbs.c. */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include "args.h"

/* argv[0] is the verb's name; returns the exit status. Up to arg_parse a verb does nothing but name its options. */
int verb_init(int argc, char **argv);
int verb_train_tokenizer(int argc, char **argv);
int verb_tokenize(int argc, char **argv);
int verb_pictures(int argc, char **argv);
int verb_train(int argc, char **argv);
int verb_eval(int argc, char **argv);
int verb_chat(int argc, char **argv);
int verb_generate(int argc, char **argv);
int verb_play(int argc, char **argv);
int verb_read(int argc, char **argv);
int verb_score(int argc, char **argv);
int verb_compress(int argc, char **argv);
int verb_decompress(int argc, char **argv);
int verb_convert(int argc, char **argv);
int verb_inspect(int argc, char **argv);
int verb_bench(int argc, char **argv);
int verb_doctor(int argc, char **argv);
int verb_serve(int argc, char **argv); /* only where the server is built */

/* Runs argv[0]; complains when it is no verb's name. Returns the exit status. */
int verbs_run(int argc, char **argv);
/* Hands every verb's table of options to `take`, in the order of --help. */
void verbs_list(void (*take)(void *user, const arg_spec *spec), void *user);

#endif
