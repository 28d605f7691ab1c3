/* command.c: beginning and end of every verb. */
#include "command.h"
#include "bundled_model.h"
#include "interrupt.h"
#include "mixers.h"
#include "output.h"
#include "places.h"

#include <stdlib.h>
#include <string.h>

il_status cli_command_open(cli_command *command, arg_spec *spec) {
    il_engine_options options;
    *command = (cli_command){.verb = spec->verb, .spec = spec};
    il_status status = cli_places_check(spec, &command->wrong_usage, &command->error);
    if (status) return status;
    il_engine_options_default(&options);
    options.threads = (int)spec->threads;
    options.log = cli_log;
    options.log_user = (void *)(uintptr_t)spec->verb; /* read only */
    return il_engine_open(&options, &command->engine, &command->error);
}

int cli_command_close(cli_command *command, il_status status) {
    int code = !status ? 0 : command->wrong_usage ? 2 : 1;
    il_engine_close(command->engine);
    arg_release(command->spec);
    free(command->model_dir);
    if (cli_interrupted() && (!status || status == IL_ERR_CANCELLED))
        code = cli_interrupted();
    else if (status)
        cli_error(command->verb, "%s", command->error.message);
    return cli_finish_output(command->verb, code);
}

il_weight_type cli_dtype(const char *name) {
    il_weight_type type = IL_WEIGHTS_F32;
    while (strcmp(name, il_weight_type_name(type))) type++; /* the option's choices are these names */
    return type;
}

il_status cli_command_load_model(cli_command *command, const char *dir, il_model **model) {
    il_load_options options;
    il_load_options_default(&options);
    if (command->dtype) options.weights = (int)cli_dtype(command->dtype);
    return il_model_load_as(command->engine, dir, &options, model, &command->error);
}

il_status cli_command_load_tokenizer(cli_command *command, const char *dir, const il_config *config,
                                     il_tokenizer **tokenizer) {
    il_status found = il_tokenizer_load_for_model(command->engine, dir, config, tokenizer, &command->no_tokenizer);
    if (!found || found == IL_ERR_UNSUPPORTED || found == IL_ERR_MISMATCH) return IL_OK;
    command->error = command->no_tokenizer;
    return found;
}

il_status cli_command_load_any(cli_command *command, const char *word, il_model **model, il_tokenizer **tokenizer) {
    cli_bundled_models models;
    *model = NULL;
    *tokenizer = NULL;
    il_status status = cli_bundled_models_find(word, &models, &command->error);
    if (status) return status;
    const char *dir = models.dirs[0];
    status = cli_command_load_model(command, dir, model);
    if (!status) status = cli_command_load_tokenizer(command, dir, il_model_config(*model), tokenizer);
    free(command->model_dir);
    command->model_dir = cli_format("%s", dir);
    cli_bundled_models_free(&models);
    if (status) {
        il_model_unref(*model);
        *model = NULL;
    }
    return status;
}

il_status cli_command_load(cli_command *command, const char *word, il_model **model, il_tokenizer **tokenizer) {
    il_status status = cli_command_load_any(command, word, model, tokenizer);
    if (status || *tokenizer) return status;
    il_model_unref(*model);
    *model = NULL;
    command->error = command->no_tokenizer;
    return command->error.status;
}

il_status cli_command_needs_text(cli_command *command, const il_tokenizer *tokenizer) {
    if (!il_tokenizer_pictures(tokenizer)) return IL_OK;
    return cli_fail(&command->error, IL_ERR_UNSUPPORTED,
                    "%s: a model of pictures, and this is of texts: 'innerloop generate' draws with it, 'innerloop "
                    "score' reads pictures and 'innerloop compress' packs them",
                    command->model_dir);
}

il_status cli_command_data(cli_command *command, const char *const *files, size_t n_files,
                           const il_tokenizer *tokenizer, int vocab_size, const il_data_options *options,
                           il_data **data) {
    il_status status =
        il_data_open(command->engine, files, n_files, tokenizer, vocab_size, options, data, &command->error);
    if (status != IL_ERR_ARG || tokenizer || !strstr(command->error.message, "needs a tokenizer")) return status;
    command->error = command->no_tokenizer;
    return command->error.status;
}

il_status cli_command_configure(cli_command *command, const arg_list *set, il_config *config) {
    il_status status = IL_OK;
    int asks = 0, says = 0; /* for a fast head of some vocabulary; how many tokens it learns */
    for (size_t i = 0; i < set->n && !status; i++) {
        const char *word = set->items[i], *equals = strchr(word, '=');
        if (!equals || equals == word)
            return cli_fail(&command->error, IL_ERR_ARG, "--set: '%s' is not key=value", word);
        char *key = cli_format("%.*s", (int)(equals - word), word);
        status = il_config_set(config, key, equals + 1, &command->error);
        asks |= !strcmp(key, "fast_head_size") || !strcmp(key, "vocab_size");
        says |= !strcmp(key, "fast_head_tokens");
        free(key);
    }
    if (asks && !says) cli_mixer_bound_fast_head(config);
    return status;
}

il_status cli_command_check_set(cli_command *command, const arg_list *set, const il_config *config) {
    il_error *error = &command->error, why;
    for (size_t i = 0; i < set->n; i++) {
        char *key = cli_format("%.*s", (int)strcspn(set->items[i], "="), set->items[i]);
        il_status status = il_config_check_key(config, key, &why);
        free(key);
        if (status) return cli_fail(error, status, "--set: %.450s", why.message);
    }
    return IL_OK;
}

il_status cli_command_widen(cli_command *command, il_model **model) {
    il_model *wide;
    if (il_model_config(*model)->weights != IL_WEIGHTS_BF16) return IL_OK;
    il_config config = *il_model_config(*model);
    config.weights = IL_WEIGHTS_F32;
    il_status status = il_model_convert(*model, &config, &wide, &command->error);
    if (status) return status;
    il_model_unref(*model);
    *model = wide;
    return IL_OK;
}
