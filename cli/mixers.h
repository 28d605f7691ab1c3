/* mixers.h: the library's mixers as choices of the command. */
#ifndef CLI_MIXERS_H
#define CLI_MIXERS_H

#include "innerloop.h"

int cli_mixer_is_ttt(il_mixer_kind mixer);
/* How many layers of a model have a mixer; whether a layer has fast weights, and how many layers do. */
int cli_mixer_layers(const il_config *config, il_mixer_kind mixer);
int cli_mixer_learns(const il_config *config, int layer);
int cli_mixer_learners(const il_config *config);

/* What a new model of ours is made of, and what suits it: a memory that fades, so that the state can be carried on
 * without end, and an output head that learns too (docs/ttt.md). The rules that others have published, and attention,
 * are made and trained as they were published, without either. */
#define CLI_MIXER_DEFAULT "ttt_linear_decay"
enum { CLI_FAST_HEAD_SIZE = 32 };
/* Gives the config of a preset the fast head if its mixer is CLI_MIXER_DEFAULT. */
void cli_mixer_furnish(il_config *config);
/* Over a vocabulary larger than CLI_FAST_HEAD_ALL a fast head learns the first CLI_FAST_HEAD_TOKENS different tokens
 * that it reads, unless the config says how many: a text has no more, and a session is a tenth as large. */
enum { CLI_FAST_HEAD_ALL = 32768, CLI_FAST_HEAD_TOKENS = 8192 };
void cli_mixer_bound_fast_head(il_config *config);
/* Whether the state of such a model may be carried from window to window in training: no layer is of a published rule.
 */
int cli_mixer_carries(const il_config *config);

/* Of a list of layers ("3*NAME,NAME") the mixer whose preset the model takes: its first TTT layer's, else that of the
 * gated delta rule where a layer has it. */
void cli_mixer_of_layers(const char *layers, char mixer[64]);

/* Their names: TTT first, then others that learn while they read; NULL from il_mixer_count on. */
const char *cli_mixer(int i);

/* "{NAME,NAME,…}" of all and of more (NULL: none), as an option shows what it takes. */
typedef struct cli_mixer_choice {
    char text[400];
} cli_mixer_choice;
cli_mixer_choice cli_mixer_choices(const char *more);

#endif
