/* sampling.h: how tokens are drawn, as options of the verbs that write: --temperature, --top-k, --top-p, --min-p,
 * --repeat-penalty, --seed. What is not given is the model's own way (il_generation). */
#ifndef CLI_SAMPLING_H
#define CLI_SAMPLING_H

#include "args.h"
#include "innerloop.h"

typedef struct cli_sampling {
    double temperature, top_p, min_p, repeat_penalty;
    uint64_t top_k, seed;
} cli_sampling;

/* Six rows of a verb's table. */
#define CLI_SAMPLING_OPTIONS(sampling)                                                                                 \
    ARG("--temperature", ARG_REAL, &(sampling).temperature, "F",                                                       \
        "how evenly tokens are drawn; 0: always the likeliest token (default 0.8)" CLI_MODELS_OWN, RANGE(0, 100)),     \
        ARG("--top-k", ARG_COUNT, &(sampling).top_k, "N",                                                              \
            "draw from the N likeliest tokens; 0: off (default 40)" CLI_MODELS_OWN, RANGE(0, 1 << 24)),                \
        ARG("--top-p", ARG_REAL, &(sampling).top_p, "F",                                                               \
            "draw from the likeliest tokens that have probability F together; 1: off (default 0.95)" CLI_MODELS_OWN,   \
            RANGE(1e-6, 1)),                                                                                           \
        ARG("--min-p", ARG_REAL, &(sampling).min_p, "F",                                                               \
            "leave out tokens less likely than F times the likeliest one; 0: off (default 0.05)" CLI_MODELS_OWN,       \
            RANGE(0, 1)),                                                                                              \
        ARG("--repeat-penalty", ARG_REAL, &(sampling).repeat_penalty, "F",                                             \
            "make the last 64 tokens less likely; 1: off (default 1)" CLI_MODELS_OWN, RANGE(1e-3, 1e3)),               \
        ARG("--seed", ARG_COUNT, &(sampling).seed, "N",                                                                \
            "seed of the draws: the same seed gives the same text (default 0)", RANGE(0, ARG_SEED_MAX))
#define CLI_MODELS_OWN ", unless the model's generation_config.json says another"

/* Puts what was given on the command line in the place of what options say. */
void cli_sampling_apply(const cli_sampling *sampling, const arg_spec *spec, il_sample_options *options);

#endif
