/* convert.c: `innerloop convert`: a model of whatever files as a model directory, with its weights held in another
 * type, or with another fast head. */
#include "bundled_model.h"
#include "command.h"
#include "files.h"
#include "output.h"
#include "verbs.h"
#include "verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct convert_options {
    const char *model, *from, *to, *tokenizer, *dtype, *out;
    arg_list set;
    int force, transposed, no_check;
} convert_options;

/* A conversion under way. */
typedef struct conversion {
    cli_command *command;
    const convert_options *options;
    char *model; /* the file or directory that is read */
    char *files; /* the folder that the files beside the weights are in; of a GGUF file, that file */
    il_tokenizer *tokenizer;
    il_load_options load;
    char **set; /* [load.n_set] */
} conversion;

static void report(const conversion *c, const il_rewritten *made, json_t *verdict) {
    const char *out = c->options->out, *dtype = il_weight_type_name(made->config.weights);
    char *weights = cli_format("%s/model.safetensors", out);
    uint64_t bytes = cli_path_bytes(weights);
    if (c->command->spec->json) {
        json_t *object =
            json_pack("{s:o, s:s, s:I, s:I, s:s}", "out", cli_json_string(out), "dtype", dtype, "parameters",
                      (json_int_t)made->parameters, "bytes", (json_int_t)bytes, "fingerprint", made->fingerprint);
        if (verdict) json_object_set_new(object, "verdict", verdict);
        cli_json_print(object);
    } else {
        printf("%s: %llu parameters as %s, %llu bytes, fingerprint %s\n", cli_shown(out),
               (unsigned long long)made->parameters, dtype, (unsigned long long)bytes, made->fingerprint);
        if (verdict) cli_verdict_print(verdict);
        json_decref(verdict);
    }
    free(weights);
}

/* ---- what is read ---- */

/* The checkpoint of a folder that the official JAX code wrote; parameters alone are the smaller file. */
static char *find_jax(const char *path) {
    static const char *const names[] = {"streaming_params", "streaming_train_state"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (cli_path_exists(path, names[i])) return cli_format("%s/%s", path, names[i]);
    return cli_format("%s", path);
}

/* Where its files are; --from says what it must be. */
static il_status find_model(conversion *c) {
    const char *from = c->options->from;
    il_error *error = &c->command->error;
    cli_bundled_models models;
    il_status status = cli_bundled_models_find(c->options->model, &models, error);
    if (status) return status;
    const char *dir = models.dirs[0];
    c->model = strcmp(from, "jax") ? cli_format("%s", dir) : find_jax(dir);
    cli_bundled_models_free(&models);
    int gguf = cli_path_is_gguf(c->model), jax = cli_path_is_jax(c->model);
    char *slash = jax ? strrchr(c->model, '/') : NULL;
    c->files = slash ? cli_format("%.*s", (int)(slash - c->model), c->model) : cli_format("%s", jax ? "." : c->model);
    int torch =
        cli_path_exists(c->model, "pytorch_model.bin") || cli_path_exists(c->model, "pytorch_model.bin.index.json");
    int tensors =
        cli_path_exists(c->model, "model.safetensors") || cli_path_exists(c->model, "model.safetensors.index.json");
    if (!strcmp(from, "gguf") && !gguf)
        return cli_fail(error, IL_ERR_FORMAT, "--from gguf: %s: not a GGUF file",
                        c->options->model ? c->model : "the model that is used without --model");
    if (!strcmp(from, "jax") && !jax)
        return cli_fail(error, IL_ERR_FORMAT,
                        "--from jax: %s: neither a checkpoint of the official JAX code nor a folder that holds "
                        "streaming_params or streaming_train_state",
                        c->model);
    if (!strcmp(from, "torch") && (!torch || tensors))
        return cli_fail(error, IL_ERR_FORMAT, "--from torch: %s: %s", c->model,
                        torch ? "holds safetensors too, which are read in its place" : "holds no pytorch_model.bin");
    if (!strcmp(from, "directory") && (gguf || jax))
        return cli_fail(error, IL_ERR_FORMAT, "--from directory: %s: %s", c->model,
                        gguf ? "a GGUF file" : "a checkpoint of the official JAX code");
    return IL_OK;
}

static int is_of_head(const char *word) { return !strncmp(word, "fast_head_", strlen("fast_head_")); }

static void add_set(conversion *c, char *word) {
    c->set[c->load.n_set++] = word;
    c->load.set = (const char *const *)c->set;
}

/* --set: keys of the fast head change the model; others say what its files do not, which only they are asked who say
 * what the files are. *usage: no model can be what is asked for. */
static il_status configure(conversion *c, il_config *config, int *usage) {
    const convert_options *o = c->options;
    il_error *error = &c->command->error;
    arg_list head = {cli_alloc(o->set.n + 1, sizeof *head.items), 0};
    il_status status = IL_OK;
    c->set = cli_alloc(o->set.n + 3, sizeof *c->set);
    for (size_t i = 0; i < o->set.n && !status; i++) {
        const char *word = o->set.items[i];
        if (is_of_head(word) || !strchr(word, '='))
            head.items[head.n++] = word;
        else if (strcmp(o->from, "auto"))
            add_set(c, cli_format("%s", word));
        else
            status = cli_fail(error, IL_ERR_ARG,
                              "--set: %s: without --from, nothing else than the fast head can be set", word);
    }
    *usage = status != IL_OK;
    if (!status) {
        status = il_config_load_as(c->command->engine, c->model, &c->load, config, error);
        *usage = status == IL_ERR_ARG;
    }
    if (!status) {
        status = cli_command_configure(c->command, &head, config);
        if (!status) status = il_config_check(config, error);
        if (!status) status = cli_command_check_set(c->command, &o->set, config);
        *usage = status != IL_OK;
    }
    if (!status && head.n) {
        add_set(c, cli_format("fast_head_size=%d", config->fast_head_size));
        add_set(c, cli_format("fast_head_tokens=%d", config->fast_head_tokens));
        add_set(c, cli_format("fast_head_lr=%.17g", config->fast_head_lr));
    }
    free(head.items);
    return status;
}

/* The one that is named, or the one beside the weights, if any can be read. */
static il_status load_tokenizer(conversion *c, const il_config *config) {
    il_engine *engine = c->command->engine;
    il_error *error = &c->command->error;
    il_tokenizer_info info;
    if (!c->options->tokenizer) return cli_command_load_tokenizer(c->command, c->model, config, &c->tokenizer);
    il_status status = il_tokenizer_load(engine, c->options->tokenizer, &c->tokenizer, error);
    if (status) return status;
    il_tokenizer_get_info(c->tokenizer, &info);
    if (info.vocab_size <= config->vocab_size) return IL_OK;
    return cli_fail(error, IL_ERR_MISMATCH, "--tokenizer %s: it has %d tokens, the model's vocabulary %d",
                    c->options->tokenizer, info.vocab_size, config->vocab_size);
}

/* ---- what is written ---- */

/* Whether a text is read as if a space stood before it, as Llama's tokenizer does. */
static il_status puts_space(const conversion *c, int *space) {
    il_error *error = &c->command->error;
    il_tokens tokens = {0};
    il_decoder decoder = {.started = 1};
    char *text = cli_alloc(il_tokenizer_piece_bytes_max(c->tokenizer), 1);
    size_t bytes = 0;
    il_status status = il_tokenizer_encode(c->tokenizer, "a", 1, &tokens, error);
    if (!status)
        status = il_tokenizer_decode(c->tokenizer, &decoder, tokens.ids[0], text,
                                     il_tokenizer_piece_bytes_max(c->tokenizer), &bytes, error);
    *space = !status && bytes && text[0] == ' ';
    free(text);
    il_tokens_free(&tokens);
    return status;
}

static void set_name(const conversion *c, json_t *object, const char *key, int token) {
    const char *name;
    size_t bytes;
    il_token_kind kind = il_tokenizer_token(c->tokenizer, token, &name, &bytes);
    json_object_set_new(object, key, kind == IL_TOKEN_CONTROL ? json_stringn(name, bytes) : json_null());
}

/* What transformers needs to make the same tokens of a text, where nothing said it: the tokenizer's class, and of
 * SentencePiece what it would take for granted otherwise. Of a tokenizer.json the file itself says all. */
static il_status describe_tokenizer(const conversion *c) {
    const char *out = c->options->out;
    il_tokenizer_info info;
    if (!c->tokenizer || cli_path_exists(out, "tokenizer_config.json")) return IL_OK;
    il_tokenizer_get_info(c->tokenizer, &info);
    if (!strcmp(info.kind, "bytes")) return IL_OK; /* which transformers does not have */
    json_t *object = json_pack("{s:s}", "tokenizer_class", "PreTrainedTokenizerFast");
    il_status status = IL_OK;
    if (!strcmp(info.kind, "sentencepiece")) {
        int space;
        status = puts_space(c, &space);
        json_object_update_new(object, json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "tokenizer_class", "LlamaTokenizer",
                                                 "add_bos_token", info.bos >= 0, "add_eos_token", 0, "add_prefix_space",
                                                 space, "legacy", 1, "clean_up_tokenization_spaces", 0));
        set_name(c, object, "bos_token", info.bos);
        set_name(c, object, "eos_token", info.eos);
    }
    char *text = json_dumps(object, JSON_INDENT(2)), *path = cli_format("%s/tokenizer_config.json", out);
    if (!status) status = cli_path_write(path, text, strlen(text), &c->command->error);
    json_decref(object);
    free(text);
    free(path);
    return status;
}

/* With what the files beside the weights say of chatting and sampling, which is read before anything is written; they
 * may be those that are written. */
static il_status save(conversion *c, const il_config *config, il_rewritten *made) {
    enum { BYTES_MAX = 1 << 20 };
    static const char name[] = "generation_config.json";
    const char *out = c->options->out;
    il_engine *engine = c->command->engine;
    il_error *error = &c->command->error;
    char *from = cli_format("%s/%s", c->files, name), *to = cli_format("%s/%s", out, name), *text = NULL;
    size_t bytes;
    il_generation usable;
    il_status status = cli_path_exists(from, NULL) ? cli_file_read(from, BYTES_MAX, &text, &bytes, error) : IL_OK;
    if (!status && c->tokenizer) status = il_generation_load(c->tokenizer, config, c->files, &usable, error);
    if (!status) status = il_model_rewrite(engine, c->model, &c->load, c->tokenizer, out, made, error);
    if (!status && text) status = cli_path_write(to, text, bytes, error);
    if (!status && c->tokenizer) status = il_chat_copy(c->tokenizer, config, c->files, out, error);
    if (!status && !strcmp(c->options->to, "hf")) status = describe_tokenizer(c);
    free(text);
    free(from);
    free(to);
    return status;
}

/* Of what was written, as any other verb will read it. */
static il_status check(conversion *c, json_t **verdict) {
    cli_scanned scanned;
    il_status status = cli_scan(c->command, c->options->out, &scanned);
    if (!status) status = cli_verdict(c->command, c->options->out, &scanned, c->tokenizer, verdict);
    cli_scanned_free(&scanned);
    return status;
}

static il_status convert(conversion *c, int *usage) {
    const convert_options *o = c->options;
    il_error *error = &c->command->error;
    il_config config;
    il_rewritten made;
    il_status status = IL_OK;
    if (!o->force && (cli_path_exists(o->out, "config.json") || cli_path_exists(o->out, "model.safetensors")))
        status = cli_fail(error, IL_ERR_ARG, "%s already holds a model; --force replaces it", o->out);
    if (!status) status = find_model(c);
    if (!status) status = configure(c, &config, usage);
    if (!status && !strcmp(o->to, "hf")) {
        if (o->dtype) config.weights = (il_weight_type)c->load.weights;
        status = il_config_check_portable(&config, error);
    }
    if (!status) status = load_tokenizer(c, &config);
    if (!status) status = save(c, &config, &made);
    json_t *verdict = NULL;
    if (!status && !o->no_check) status = check(c, &verdict);
    if (!status) report(c, &made, verdict);
    return status;
}

int verb_convert(int argc, char **argv) {
    convert_options options = {.from = "auto", .to = "directory"};
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", CLI_BUNDLED_MODEL_HELP, READS),
        ARG("--from", ARG_CHOICE, &options.from, "{auto,directory,gguf,jax,torch}",
            "what that is: refused if it is not (default auto: whichever it is); jax: a checkpoint of the official "
            "code, or its folder; torch: a directory with pytorch_model.bin"),
        ARG("--to", ARG_CHOICE, &options.to, "{directory,hf}",
            "hf: only what the official ttt.py or transformers load, too (default directory)"),
        ARG("--tokenizer", ARG_TEXT, &options.tokenizer, "FILE",
            "tokenizer.model or tokenizer.json of the model (default: the one beside its weights)", READS),
        ARG("--dtype", ARG_CHOICE, &options.dtype, CLI_DTYPES,
            "type in which the weights of linear layers are stored (default: as they are)"),
        ARG("--set", ARG_REPEAT, &options.set, "KEY=VALUE",
            "fast_head_size=N: an output head that goes on learning, with N features (0: none); fast_head_lr=X: its "
            "learning rate; fast_head_tokens=N: it learns the first N different tokens that it reads (0: all; default "
            "8192 if the vocabulary is larger than 32768). With --from, any key of config.json that the files leave "
            "unsaid or say wrongly (ttt_base_lr=0.1)"),
        ARG("--transposed", ARG_FLAG, &options.transposed, NULL,
            "the square matrices lie in the files as [in, out], which another conversion has forgotten to transpose"),
        ARG("--no-check", ARG_FLAG, &options.no_check, NULL,
            "do not judge the new model, for which it is loaded (inspect --check does it later)"),
        ARG("--out", ARG_TEXT, &options.out, "DIR", "model directory to write", MAKES, .required = 1),
        ARG("--force", ARG_FLAG, &options.force, NULL, "replace the model in the output directory if there is one"),
    };
    arg_spec spec = {.verb = "convert",
                     .summary = "make a model directory of any model's files, of another type, with a fast head",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example =
                         "innerloop convert --model run/latest --dtype bf16 --out small\n"
                         "innerloop convert --from gguf --model model.gguf --out model\n"
                         "innerloop convert --from jax --model ttt-125m --tokenizer tokenizer.model --out model\n"
                         "innerloop convert --model run/latest --set fast_head_size=32 --out learning"};
    cli_command command;
    int code, usage = 0;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    conversion c = {.command = &command, .options = &options};
    il_load_options_default(&c.load);
    c.load.transposed = options.transposed;
    if (options.dtype) c.load.weights = (int)cli_dtype(options.dtype);
    il_status status = cli_command_open(&command, &spec);
    if (!status) status = convert(&c, &usage);
    il_tokenizer_close(c.tokenizer);
    for (size_t i = 0; i < c.load.n_set; i++) free(c.set[i]);
    free(c.set);
    free(c.model);
    free(c.files);
    code = cli_command_close(&command, status);
    return usage ? 2 : code;
}
