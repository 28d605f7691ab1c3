/* mixers.c: see mixers.h. */
#include "mixers.h"

#include <stdio.h>
#include <string.h>

static int is_ttt(il_mixer_kind mixer) { return strncmp(il_mixer_name(mixer), "ttt_", 4) == 0; }

int cli_mixer_learns(const il_config *config, int layer) { return is_ttt(il_config_mixer(config, layer)); }

int cli_mixer_learners(const il_config *config) {
    int n = 0;
    for (int i = 0; i < config->layers; i++) n += cli_mixer_learns(config, i);
    return n;
}

const char *cli_mixer(int i) {
    for (int ttt = 1; ttt >= 0; ttt--)
        for (int mixer = 0; mixer < il_mixer_count(); mixer++)
            if (is_ttt((il_mixer_kind)mixer) == ttt && i-- == 0) return il_mixer_name((il_mixer_kind)mixer);
    return NULL;
}

cli_mixer_choice cli_mixer_choices(const char *more) {
    cli_mixer_choice choice = {"{"};
    size_t n = 1, room = sizeof choice.text;
    for (int i = 0; cli_mixer(i) && n < room; i++)
        n += (size_t)snprintf(choice.text + n, room - n, "%s%s", i ? "," : "", cli_mixer(i));
    if (n < room) snprintf(choice.text + n, room - n, "%s%s}", more ? "," : "", more ? more : "");
    return choice;
}
