/* convert.c: `innerloop convert`: a model with its weights held in another type, or with another fast head. */
#include "bundled_model.h"
#include "command.h"
#include "files.h"
#include "output.h"
#include "verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct convert_options {
    const char *model, *from, *dtype, *out;
    arg_list set;
    int force;
} convert_options;

static void report(const cli_command *command, const convert_options *options, const il_model *model) {
    char fingerprint[33], *weights = cli_format("%s/model.safetensors", options->out);
    const char *dtype = il_weight_type_name(il_model_config(model)->weights);
    uint64_t bytes = cli_path_bytes(weights);
    il_model_fingerprint(model, fingerprint);
    if (command->spec->json)
        cli_json_print(json_pack("{s:o, s:s, s:I, s:I, s:s}", "out", cli_json_string(options->out), "dtype", dtype,
                                 "parameters", (json_int_t)il_model_parameters(model), "bytes", (json_int_t)bytes,
                                 "fingerprint", fingerprint));
    else
        printf("%s: %llu parameters as %s, %llu bytes, fingerprint %s\n", cli_shown(options->out),
               (unsigned long long)il_model_parameters(model), dtype, (unsigned long long)bytes, fingerprint);
    free(weights);
}

/* With what the model's directory says of chatting and sampling, which is read before anything is written; it may be
 * the one that is written. */
static il_status save(cli_command *command, const il_model *model, const il_tokenizer *tokenizer, const char *out) {
    enum { BYTES_MAX = 1 << 20 };
    static const char name[] = "generation_config.json";
    il_error *error = &command->error;
    char *from = cli_format("%s/%s", command->model_dir, name), *to = cli_format("%s/%s", out, name), *text = NULL;
    size_t bytes;
    il_generation usable;
    il_status status = cli_path_exists(from, NULL) ? cli_file_read(from, BYTES_MAX, &text, &bytes, error) : IL_OK;
    if (!status && tokenizer)
        status = il_generation_load(tokenizer, il_model_config(model), command->model_dir, &usable, error);
    if (!status) status = il_model_save_with(model, tokenizer, out, error);
    if (!status && text) status = cli_path_write(to, text, bytes, error);
    if (!status && tokenizer) status = il_chat_copy(tokenizer, il_model_config(model), command->model_dir, out, error);
    free(text);
    free(from);
    free(to);
    return status;
}

/* --from says what --model must be. */
static il_status check_kind(const convert_options *options, il_error *error) {
    int gguf = options->model && cli_path_is_gguf(options->model);
    if (!strcmp(options->from, "gguf") && !gguf)
        return cli_fail(error, IL_ERR_FORMAT, "--from gguf: %s: not a GGUF file",
                        options->model ? options->model : "the model that is used without --model");
    if (!strcmp(options->from, "directory") && gguf)
        return cli_fail(error, IL_ERR_FORMAT, "--from directory: %s: a GGUF file", options->model);
    return IL_OK;
}

/* *usage: what --set asks for is a config that conversion cannot give. */
static il_status convert(cli_command *command, const convert_options *options, int *usage) {
    il_error *error = &command->error;
    il_model *model = NULL, *converted = NULL;
    il_tokenizer *tokenizer = NULL;
    il_status status = IL_OK;
    if (!options->force &&
        (cli_path_exists(options->out, "config.json") || cli_path_exists(options->out, "model.safetensors")))
        status = cli_fail(error, IL_ERR_ARG, "%s already holds a model; --force replaces it", options->out);
    if (!status) status = check_kind(options, error);
    if (!status) status = cli_command_load_any(command, options->model, &model, &tokenizer);
    if (!status) {
        il_config config = *il_model_config(model);
        status = cli_command_configure(command, &options->set, &config);
        if (!status) status = cli_command_check_set(command, &options->set, &config);
        *usage = status != IL_OK;
        if (!status && !options->set.n)
            converted = il_model_ref(model); /* the type is that which it was loaded in */
        else if (!status)
            *usage = (status = il_model_convert(model, &config, &converted, error)) == IL_ERR_ARG;
    }
    if (!status) status = save(command, converted, tokenizer, options->out);
    if (!status) report(command, options, converted);
    il_tokenizer_close(tokenizer);
    il_model_unref(converted);
    il_model_unref(model);
    return status;
}

int verb_convert(int argc, char **argv) {
    convert_options options = {.from = "auto"};
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", CLI_BUNDLED_MODEL_HELP, READS),
        ARG("--from", ARG_CHOICE, &options.from, "{auto,directory,gguf}",
            "what that is: refused if it is not (default auto: whichever it is)"),
        ARG("--dtype", ARG_CHOICE, &options.dtype, CLI_DTYPES,
            "type in which the weights of linear layers are stored (default: as they are)"),
        ARG("--set", ARG_REPEAT, &options.set, "KEY=VALUE",
            "fast_head_size=N: an output head that goes on learning, with N features (0: none); fast_head_lr=X: its "
            "learning rate; fast_head_tokens=N: it learns the first N different tokens that it reads (0: all; default "
            "8192 if the vocabulary is larger than 32768)"),
        ARG("--out", ARG_TEXT, &options.out, "DIR", "model directory to write", MAKES, .required = 1),
        ARG("--force", ARG_FLAG, &options.force, NULL, "replace the model in the output directory if there is one"),
    };
    arg_spec spec = {.verb = "convert",
                     .summary = "store a model's weights in another type, or give it a fast head; read GGUF",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop convert --model run/latest --dtype bf16 --out small\n"
                                "innerloop convert --from gguf --model model.gguf --out model\n"
                                "innerloop convert --model run/latest --set fast_head_size=32 --out learning"};
    cli_command command;
    int code, usage = 0;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    il_status status = cli_command_open(&command, &spec);
    command.dtype = options.dtype;
    if (!status) status = convert(&command, &options, &usage);
    code = cli_command_close(&command, status);
    return usage ? 2 : code;
}
