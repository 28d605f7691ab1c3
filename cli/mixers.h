/* mixers.h: the library's mixers as choices of the command. */
#ifndef CLI_MIXERS_H
#define CLI_MIXERS_H

#include "innerloop.h"

/* Whether a layer of a model has fast weights, and how many layers do. */
int cli_mixer_learns(const il_config *config, int layer);
int cli_mixer_learners(const il_config *config);

/* Their names, those that learn while they read first; NULL from il_mixer_count on. */
const char *cli_mixer(int i);

/* "{NAME,NAME,…}" of all and of more (NULL: none), as an option shows what it takes. */
typedef struct cli_mixer_choice {
    char text[400];
} cli_mixer_choice;
cli_mixer_choice cli_mixer_choices(const char *more);

#endif
