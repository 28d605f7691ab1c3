/* init.c: `innerloop init`: a model directory with fresh weights. */
#include "command.h"
#include "files.h"
#include "mixers.h"
#include "output.h"
#include "verbs.h"

#include <stdio.h>
#include <string.h>

typedef struct init_options {
    const char *preset, *mixer, *layers, *backbone, *tokenizer, *out;
    arg_list set;
    uint64_t seed;
    int force;
} init_options;

/* Preset, then the tokenizer's numbers, then --set, then --layers. *usage is set when the fault is in how the command
 * was called. */
static il_status make_config(cli_command *command, const init_options *options, const il_tokenizer *tokenizer,
                             il_config *config, int *usage) {
    il_tokenizer_info info;
    *usage = 1;
    char mixer[64] = CLI_MIXER_DEFAULT;
    if (options->layers && options->mixer)
        return cli_fail(&command->error, IL_ERR_ARG, "--mixer and --layers exclude each other");
    if (options->layers)
        cli_mixer_of_layers(options->layers, mixer);
    else if (options->mixer)
        snprintf(mixer, sizeof mixer, "%s", options->mixer);
    il_status status = il_config_preset(options->preset, mixer, options->backbone, config, &command->error);
    if (status) return status;
    il_tokenizer_get_info(tokenizer, &info);
    config->vocab_size = info.vocab_size;
    cli_mixer_furnish(config);
    cli_mixer_bound_fast_head(config);
    config->bos_token = info.bos;
    config->eos_token = info.eos;
    config->bytes_tokenizer = !strcmp(info.kind, "bytes");
    if (il_tokenizer_pictures(tokenizer)) config->mini_batch = il_picture_line(il_tokenizer_pictures(tokenizer));
    status = cli_command_configure(command, &options->set, config);
    if (!status && options->layers) status = il_config_set(config, "layer_types", options->layers, &command->error);
    if (!status) status = il_config_check(config, &command->error);
    if (!status) status = cli_command_check_set(command, &options->set, config);
    if (!status && config->vocab_size < info.vocab_size)
        status = cli_fail(&command->error, IL_ERR_ARG, "--set: vocab_size %d is smaller than the tokenizer's %d",
                          config->vocab_size, info.vocab_size);
    if (!status) *usage = 0;
    return status;
}

static il_status make_model(cli_command *command, const init_options *options, const il_tokenizer *tokenizer,
                            const il_config *config) {
    il_model *model = NULL;
    il_status status = il_model_init(command->engine, config, options->seed, &model, &command->error);
    if (!status) status = il_model_save_with(model, tokenizer, options->out, &command->error);
    if (!status) status = il_chat_copy(tokenizer, config, NULL, options->out, &command->error); /* of an older model */
    if (!status) {
        char fingerprint[33];
        il_model_fingerprint(model, fingerprint);
        if (command->spec->json)
            cli_json_print(json_pack("{s:o, s:I, s:i, s:s}", "out", cli_json_string(options->out), "parameters",
                                     (json_int_t)il_model_parameters(model), "vocab_size", config->vocab_size,
                                     "fingerprint", fingerprint));
        else
            printf("%s: %llu parameters, vocabulary %d, fingerprint %s\n", cli_shown(options->out),
                   (unsigned long long)il_model_parameters(model), config->vocab_size, fingerprint);
    }
    il_model_unref(model);
    return status;
}

int verb_init(int argc, char **argv) {
    init_options options = {.tokenizer = "bytes"};
    cli_mixer_choice mixers = cli_mixer_choices(NULL);
    arg_option table[] = {
        ARG("--preset", ARG_CHOICE, &options.preset, "{tiny,small,125m,350m,760m,1b}", "size of the model",
            .required = 1),
        ARG("--out", ARG_TEXT, &options.out, "DIR", "model directory to write", MAKES, .required = 1),
        ARG("--mixer", ARG_CHOICE, &options.mixer, mixers.text,
            "what mixes tokens in each layer (default " CLI_MIXER_DEFAULT ", with a fast head)"),
        ARG("--layers", ARG_TEXT, &options.layers, "NAME,…",
            "mixer of each layer instead; 3*NAME stands for three; a list shorter than the model is repeated"),
        ARG("--backbone", ARG_CHOICE, &options.backbone, "{mamba,transformer}",
            "block around the mixer (default mamba; transformer for self_attention and gated_delta, which have no "
            "other)"),
        ARG("--tokenizer", ARG_TEXT, &options.tokenizer, "{FILE,bytes}",
            "SentencePiece file, tokenizer.json, pictures.json, or bytes (default bytes); it sets vocab_size and the "
            "ids of BOS and EOS, and for pictures the mini-batch",
            READS),
        ARG("--set", ARG_REPEAT, &options.set, "KEY=VALUE", "set a key of config.json; can be repeated"),
        ARG("--seed", ARG_COUNT, &options.seed, "N", "seed of the weights (default 0)", RANGE(0, ARG_SEED_MAX)),
        ARG("--force", ARG_FLAG, &options.force, NULL, "replace the model in DIR if there is one"),
    };
    arg_spec spec = {.verb = "init",
                     .summary = "make a model with fresh weights",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example =
                         "innerloop init --preset tiny --tokenizer bytes --seed 1 --out model\n"
                         "innerloop init --preset tiny --mixer ttt_linear --out as-published\n"
                         "innerloop init --preset small --set num_hidden_layers=4 --out shallow\n"
                         "innerloop init --preset tiny --layers '3*ttt_linear_decay,self_attention' --out hybrid"};
    cli_command command;
    il_config config;
    il_tokenizer *tokenizer = NULL;
    int code, usage = 0;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    il_status status = cli_command_open(&command, &spec);
    if (!status) status = il_tokenizer_load(command.engine, options.tokenizer, &tokenizer, &command.error);
    if (!status) status = make_config(&command, &options, tokenizer, &config, &usage);
    if (!status && !options.force &&
        (cli_path_exists(options.out, "config.json") || cli_path_exists(options.out, "model.safetensors")))
        status = cli_fail(&command.error, IL_ERR_ARG, "%s already holds a model; --force replaces it", options.out);
    if (!status) status = make_model(&command, &options, tokenizer, &config);
    il_tokenizer_close(tokenizer);
    code = cli_command_close(&command, status);
    return usage ? 2 : code;
}
