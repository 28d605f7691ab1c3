/* sampling.c: see sampling.h. */
#include "sampling.h"

void cli_sampling_apply(const cli_sampling *s, const arg_spec *spec, il_sample_options *options) {
    if (arg_given(spec, "--temperature")) options->temperature = (float)s->temperature;
    if (arg_given(spec, "--top-k")) options->top_k = (int)s->top_k;
    if (arg_given(spec, "--top-p")) options->top_p = (float)s->top_p;
    if (arg_given(spec, "--min-p")) options->min_p = (float)s->min_p;
    if (arg_given(spec, "--repeat-penalty")) options->repeat_penalty = (float)s->repeat_penalty;
    if (arg_given(spec, "--seed")) options->seed = s->seed;
}
