/* mixers.c: see mixers.h. */
#include "mixers.h"

#include <stdio.h>
#include <string.h>

int cli_mixer_is_ttt(il_mixer_kind mixer) { return strncmp(il_mixer_name(mixer), "ttt_", 4) == 0; }

static int attends(il_mixer_kind mixer) {
    return mixer == IL_MIXER_SELF_ATTENTION || mixer == IL_MIXER_SLIDING_ATTENTION;
}

/* TTT, others that learn, attention. */
static int rank(il_mixer_kind mixer) { return cli_mixer_is_ttt(mixer) ? 0 : attends(mixer) ? 2 : 1; }

int cli_mixer_learns(const il_config *config, int layer) { return !attends(il_config_mixer(config, layer)); }

int cli_mixer_layers(const il_config *config, il_mixer_kind mixer) {
    int n = 0;
    for (int i = 0; i < config->layers; i++) n += il_config_mixer(config, i) == mixer;
    return n;
}

int cli_mixer_learners(const il_config *config) {
    int n = 0;
    for (int i = 0; i < config->layers; i++) n += cli_mixer_learns(config, i);
    return n;
}

void cli_mixer_furnish(il_config *config) {
    if (!strcmp(il_mixer_name(config->mixer), CLI_MIXER_DEFAULT)) config->fast_head_size = CLI_FAST_HEAD_SIZE;
}

void cli_mixer_bound_fast_head(il_config *config) {
    if (config->fast_head_size && !config->fast_head_tokens && config->vocab_size > CLI_FAST_HEAD_ALL)
        config->fast_head_tokens = CLI_FAST_HEAD_TOKENS;
}

int cli_mixer_carries(const il_config *config) {
    static const il_mixer_kind published[] = {IL_MIXER_SELF_ATTENTION, IL_MIXER_GATED_DELTA, IL_MIXER_TTT_LINEAR,
                                              IL_MIXER_TTT_MLP};
    for (int i = 0; i < config->layers; i++)
        for (size_t k = 0; k < sizeof published / sizeof *published; k++)
            if (il_config_mixer(config, i) == published[k]) return 0;
    return 1;
}

void cli_mixer_of_layers(const char *layers, char mixer[64]) {
    const char *ttt = strstr(layers, "ttt_");
    if (ttt)
        snprintf(mixer, 64, "%.*s", (int)strcspn(ttt, ","), ttt);
    else
        snprintf(mixer, 64, "%s",
                 strstr(layers, "gated_delta") || strstr(layers, "linear_attention") ? "gated_delta"
                                                                                     : "self_attention");
}

const char *cli_mixer(int i) {
    for (int of = 0; of < 3; of++)
        for (int mixer = 0; mixer < il_mixer_count(); mixer++)
            if (rank((il_mixer_kind)mixer) == of && i-- == 0) return il_mixer_name((il_mixer_kind)mixer);
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
