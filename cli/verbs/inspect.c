/* inspect.c: `innerloop inspect`: what a file or directory holds. Measures nothing. */
#include "bundled_model.h"
#include "command.h"
#include "files.h"
#include "mixers.h"
#include "output.h"
#include "safetensors.h"
#include "verbs.h"
#include "verdict.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FIRST_TOKENS = 16 };

typedef struct inspection {
    cli_command *command;
    const char *path, *tokenizer_path, *model_path;
    int check;      /* a model is tried, too */
    json_t *object; /* what is found, in the order it is printed */
} inspection;

static void set(inspection *in, const char *key, json_t *value) { json_object_set_new(in->object, key, value); }

static json_t *token_or_null(int token) { return token < 0 ? json_null() : json_integer(token); }

/* What the keys of config.json come to, those left out included. */
static json_t *config_object(const il_config *config) {
    json_t *object = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:b, s:o, s:o, s:f, s:f}", "weights",
                               il_weight_type_name(config->weights), "mixer", il_mixer_name(config->mixer),
                               "vocab_size", config->vocab_size, "hidden_size", config->width, "intermediate_size",
                               config->ffn_width, "num_hidden_layers", config->layers, "num_attention_heads",
                               config->heads, "tie_word_embeddings", config->tie_word_embeddings, "bos_token_id",
                               token_or_null(config->bos_token), "eos_token_id", token_or_null(config->eos_token),
                               "rope_theta", config->rope_theta, "rms_norm_eps", config->rms_norm_eps);
    if (config->fast_head_size)
        json_object_update_new(object, json_pack("{s:i, s:f}", "fast_head_size", config->fast_head_size, "fast_head_lr",
                                                 config->fast_head_lr));
    if (config->fast_head_size && config->fast_head_tokens)
        json_object_set_new(object, "fast_head_tokens", json_integer(config->fast_head_tokens));
    if (cli_mixer_learners(config) > 0)
        json_object_set_new(object, "mini_batch_size", json_integer(config->mini_batch));
    if (cli_mixer_is_ttt(config->mixer))
        json_object_update_new(object, json_pack("{s:i, s:b, s:b, s:b, s:f}", "conv_kernel", config->conv_kernel,
                                                 "share_qk", config->share_qk, "use_gate", config->use_gate, "pre_conv",
                                                 config->pre_conv, "ttt_base_lr", config->ttt_base_lr));
    if (cli_mixer_layers(config, IL_MIXER_GATED_DELTA) > 0)
        json_object_update_new(object,
                               json_pack("{s:i, s:i, s:i, s:i, s:i}", "linear_num_key_heads", config->delta_key_heads,
                                         "linear_num_value_heads", config->delta_value_heads, "linear_key_head_dim",
                                         config->delta_key_width, "linear_value_head_dim", config->delta_value_width,
                                         "linear_conv_kernel_dim", config->delta_taps));
    if (config->delta_learned_start) json_object_set_new(object, "linear_learned_start", json_true());
    if (config->n_layer_types) {
        json_t *layers = json_array();
        for (int i = 0; i < config->layers; i++)
            json_array_append_new(layers, json_string(il_mixer_name(il_config_mixer(config, i))));
        json_object_set_new(object, "layer_types", layers);
    }
    return object;
}

static json_t *tokenizer_object(const il_tokenizer *tokenizer) {
    il_tokenizer_info info;
    il_tokenizer_get_info(tokenizer, &info);
    return json_pack("{s:s, s:i, s:i, s:i, s:i}", "kind", info.kind, "vocab_size", info.vocab_size, "bos", info.bos,
                     "eos", info.eos, "unk", info.unk);
}

static json_t *generation_object(const il_generation *generation) {
    const il_sample_options *s = &generation->sampling;
    json_t *stops = json_array();
    for (int i = 0; i < generation->n_stops; i++) json_array_append_new(stops, json_integer(generation->stop[i]));
    return json_pack("{s:f, s:i, s:f, s:f, s:f, s:o}", "temperature", (double)s->temperature, "top_k", s->top_k,
                     "top_p", (double)s->top_p, "min_p", (double)s->min_p, "repeat_penalty", (double)s->repeat_penalty,
                     "stops", stops);
}

/* How the model writes, and how it is talked to: the form of its chat template, or why there is none. */
static il_status describe_writing(inspection *in, const char *dir, const il_config *config,
                                  const il_tokenizer *tokenizer) {
    il_generation generation;
    il_chat *chat;
    il_chat_info info = {.thinks = -1};
    il_error why;
    il_status status = il_generation_load(tokenizer, config, dir, &generation, &in->command->error);
    if (status) return status;
    set(in, "generation", generation_object(&generation));
    if (il_chat_open(tokenizer, config, dir, NULL, &chat, &why)) {
        set(in, "chat", json_pack("{s:n, s:o}", "template", "why", cli_json_string(why.message)));
        return IL_OK;
    }
    il_chat_get_info(chat, &info);
    set(in, "chat",
        json_pack("{s:s, s:o, s:o}", "template", il_chat_form_name(info.form), "system", cli_json_string(info.system),
                  "thinks", info.thinks < 0 ? json_null() : json_integer(info.thinks)));
    il_chat_close(chat);
    return IL_OK;
}

/* As the library reads it: no pipe, and not more than it takes. */
static il_status read_progress(inspection *in, const char *path) {
    enum { BYTES_MAX = 1 << 20 };
    il_error *error = &in->command->error;
    char *text;
    size_t bytes;
    json_error_t where;
    il_status status = cli_file_read(path, BYTES_MAX, &text, &bytes, error);
    if (status) return status;
    json_t *trainer = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &where);
    free(text);
    if (!trainer) return cli_fail(error, IL_ERR_FORMAT, "%s: line %d: %s", path, where.line, where.text);
    set(in, "trainer", trainer);
    return IL_OK;
}

/* dir: the model's directory, or its file; a checkpoint is a directory that also has the trainer's files. */
static il_status inspect_model(inspection *in, const char *dir) {
    il_tokenizer *tokenizer = NULL;
    cli_scanned scanned;
    json_t *verdict = NULL;
    const il_config *config = &scanned.found.config;
    il_status status = cli_scan(in->command, dir, &scanned);
    if (!status) status = cli_command_load_tokenizer(in->command, dir, config, &tokenizer);
    int is_checkpoint = cli_path_exists(dir, "trainer.json");
    set(in, "kind", json_string(is_checkpoint ? "checkpoint" : "model"));
    if (is_checkpoint && !status) {
        char *path = cli_format("%s/trainer.json", dir);
        status = read_progress(in, path);
        free(path);
    }
    if (!status) {
        set(in, "config", config_object(config));
        set(in, "parameters", json_integer((json_int_t)scanned.found.parameters));
        set(in, "fingerprint", json_string(scanned.found.fingerprint));
        set(in, "tokenizer", tokenizer ? tokenizer_object(tokenizer) : json_null());
    }
    if (tokenizer && !status) status = describe_writing(in, dir, config, tokenizer);
    if (!status) set(in, "tensors", json_incref(scanned.tensors));
    if (in->check && !status) status = cli_verdict(in->command, dir, &scanned, tokenizer, &verdict);
    if (verdict) set(in, "verdict", verdict);
    il_tokenizer_close(tokenizer);
    cli_scanned_free(&scanned);
    return status;
}

static il_status inspect_tokenizer(inspection *in) {
    il_tokenizer *tokenizer;
    il_status status = il_tokenizer_load(in->command->engine, in->path, &tokenizer, &in->command->error);
    if (status) return status;
    set(in, "kind", json_string("tokenizer"));
    set(in, "tokenizer", tokenizer_object(tokenizer));
    il_tokenizer_close(tokenizer);
    return IL_OK;
}

/* The text of the first tokens, once it is known which tokenizer made them. */
static il_status decode_first(inspection *in, const int32_t *tokens, size_t n) {
    il_error *error = &in->command->error;
    il_tokenizer *tokenizer;
    il_tokenizer_info info;
    il_decoder decoder = {.form = IL_DECODE_UTF8};
    il_status status = il_tokenizer_load(in->command->engine, in->tokenizer_path, &tokenizer, error);
    if (status) return status;
    il_tokenizer_get_info(tokenizer, &info);
    size_t most = il_tokenizer_piece_bytes_max(tokenizer), bytes = 0, got;
    char *text = cli_alloc((n + 1) * most, 1);
    for (size_t i = 0; i <= n && !status; i++) {
        int32_t token = i < n ? tokens[i] : -1;
        if (token >= info.vocab_size)
            status = cli_fail(error, IL_ERR_MISMATCH, "%s: token %zu is %d, but %s has only %d", in->path, i, token,
                              in->tokenizer_path, info.vocab_size);
        else
            status = il_tokenizer_decode(tokenizer, &decoder, token, text + bytes, most, &got, error);
        if (!status) bytes += got;
    }
    if (!status) set(in, "text", cli_json_text(text, bytes));
    free(text);
    il_tokenizer_close(tokenizer);
    return status;
}

static il_status inspect_tokens(inspection *in) {
    il_data_options options;
    il_data *data;
    il_data_options_default(&options);
    options.length = 1; /* only the stream is looked at */
    options.sequences = 1;
    options.shuffle = 0;
    options.loop = 0;
    il_status status =
        il_data_open(in->command->engine, &in->path, 1, NULL, 1 << 24, &options, &data, &in->command->error);
    if (status) return status;
    const int32_t *tokens = il_data_stream(data);
    uint64_t n = il_data_tokens(data);
    int32_t largest = -1;
    for (uint64_t i = 0; i < n; i++)
        if (tokens[i] > largest) largest = tokens[i];
    json_t *first = json_array();
    size_t n_first = n < FIRST_TOKENS ? (size_t)n : FIRST_TOKENS;
    for (size_t i = 0; i < n_first; i++) json_array_append_new(first, json_integer(tokens[i]));
    set(in, "kind", json_string("tokens"));
    set(in, "tokens", json_integer((json_int_t)n));
    set(in, "largest", json_integer(largest));
    set(in, "first", first);
    if (in->tokenizer_path) status = decode_first(in, tokens, n_first);
    il_data_close(data);
    return status;
}

/* What the model has learned from what it read, layer by layer; null for a layer without fast weights. */
static il_status describe_layers(inspection *in, const il_model *model, const il_session *session) {
    json_t *layers = json_array();
    il_status status = IL_OK;
    for (int i = 0; i < il_model_config(model)->layers && !status; i++) {
        il_layer_stats stats;
        if (!cli_mixer_learns(il_model_config(model), i)) {
            json_array_append_new(layers, json_null());
            continue;
        }
        status = il_session_layer_stats(session, i, &stats, &in->command->error);
        if (!status)
            json_array_append_new(
                layers, json_pack("{s:o, s:o, s:o, s:o, s:o}", "weight_norm", cli_json_real(stats.weight_norm),
                                  "change_norm", cli_json_real(stats.change_norm), "loss_before",
                                  cli_json_real(stats.loss_before), "loss_after", cli_json_real(stats.loss_after),
                                  "loss_drop", cli_json_real(stats.loss_before - stats.loss_after)));
    }
    set(in, "layers", layers);
    return status;
}

/* What each layer of a state's model has learned; IL_ERR_MISMATCH when it is not this model's. */
static il_status describe_state(inspection *in, const char *dir) {
    il_error *error = &in->command->error;
    il_model *model = NULL;
    il_session *session = NULL;
    il_session_stats stats;
    il_status status = cli_command_load_model(in->command, dir, &model);
    if (!status) status = il_session_load(model, in->path, &session, error);
    if (!status) {
        il_session_get_stats(session, &stats);
        set(in, "position", json_integer((json_int_t)stats.position));
        set(in, "rewind_limit", json_integer((json_int_t)il_session_rewind_limit(session)));
        set(in, "state_bytes", json_integer((json_int_t)stats.state_bytes));
        if (cli_mixer_learners(il_model_config(model)) > 0) status = describe_layers(in, model, session);
    }
    il_session_close(session);
    il_model_unref(model);
    return status;
}

/* With its model a state is checked whole, and what each layer learned is printed; without it only the header is read.
 * The bundled models are tried when none is named. */
static il_status inspect_state(inspection *in) {
    il_error *error = &in->command->error;
    cli_bundled_models models = {0};
    set(in, "kind", json_string("state"));
    il_status status = cli_bundled_models_find(in->model_path, &models, error);
    if (status && !in->model_path) status = IL_OK; /* the header will do */
    for (size_t i = 0; i < models.n; i++) {
        status = describe_state(in, models.dirs[i]);
        if (status != IL_ERR_MISMATCH) break;
        if (!in->model_path) status = IL_OK; /* a different model's */
    }
    cli_bundled_models_free(&models);
    return status ? status : cli_safetensors_describe(in->command->engine, in->path, in->object, error);
}

static il_status inspect_tensors(inspection *in) {
    set(in, "kind", json_string("safetensors"));
    return cli_safetensors_describe(in->command->engine, in->path, in->object, &in->command->error);
}

static il_status inspect_gguf(inspection *in) {
    char *text;
    il_status status = il_gguf_describe(in->command->engine, in->path, &text, &in->command->error);
    if (status) return status;
    json_t *said = json_loads(text, JSON_ALLOW_NUL, NULL);
    set(in, "kind", json_string("gguf"));
    set(in, "bytes", json_integer((json_int_t)cli_path_bytes(in->path)));
    json_object_update(in->object, said);
    json_decref(said);
    free(text);
    return IL_OK;
}

/* The header of compressed data. */
static il_status inspect_compressed(inspection *in) {
    il_error *error = &in->command->error;
    char *data;
    size_t bytes;
    il_status status = cli_file_read(in->path, SIZE_MAX, &data, &bytes, error);
    if (status) return status;
    il_compressed_info info;
    il_error why;
    status = il_compressed_get_info(data, bytes, &info, &why);
    free(data);
    if (status) return cli_fail(error, status, "%s: %.450s", in->path, why.message);
    json_t *streams = json_array();
    for (int i = 0; i < info.streams; i++)
        json_array_append_new(streams, json_pack("{s:I, s:I}", "bytes", (json_int_t)info.stream[i].bytes, "coded",
                                                 (json_int_t)info.stream[i].coded));
    set(in, "kind", json_string("compressed"));
    set(in, "version", json_integer(info.version));
    set(in, "mixed", json_boolean(info.mixed));
    if (info.picture) set(in, "picture", json_true());
    set(in, "model", json_string(info.model));
    set(in, "tokenizer", json_string(info.tokenizer));
    set(in, "state", info.state[0] ? json_string(info.state) : json_null());
    set(in, "original_bytes", json_integer((json_int_t)info.bytes));
    set(in, "bytes", json_integer((json_int_t)bytes));
    set(in, "streams", streams);
    return IL_OK;
}

/* What the file says of itself, whatever its name is; NULL: nothing. */
typedef il_status inspect_one(inspection *in);
static inspect_one *by_content(const char *path) {
    unsigned char begins[9] = "";
    if (cli_path_is_gguf(path)) return inspect_gguf;
    FILE *stream = fopen(path, "rb");
    if (!stream) return NULL;
    size_t n = fread(begins, 1, sizeof begins, stream);
    fclose(stream);
    if (n >= 4 && !memcmp(begins, "ILC\x1a", 4)) return inspect_compressed;
    if (n >= 6 && !memcmp(begins, "\x93NUMPY", 6)) return inspect_tokens;
    if (n >= 4 && (!memcmp(begins, "\x88\xd8\x34\x01", 4) || !memcmp(begins, "\xa1\xd9\x34\x01", 4)))
        return inspect_tokens; /* a shard's number, 20240520 or 20240801 */
    if (n == sizeof begins && begins[8] == '{') return cli_safetensors_is_state(path) ? inspect_state : inspect_tensors;
    return NULL;
}

static int ends_in(const char *path, const char *ending) {
    size_t n = strlen(path), m = strlen(ending);
    return n >= m && !strcmp(path + n - m, ending);
}

static il_status inspect(inspection *in) {
    il_error *error = &in->command->error;
    struct stat info;
    if (stat(in->path, &info)) return cli_fail(error, IL_ERR_IO, "%s: no such file or directory", in->path);
    if (S_ISDIR(info.st_mode)) {
        if (cli_path_exists(in->path, "config.json")) return inspect_model(in, in->path);
        if (cli_path_exists(in->path, "latest")) {
            char *latest = cli_format("%s/latest", in->path);
            il_status status = inspect_model(in, latest);
            free(latest);
            return status;
        }
        return cli_fail(error, IL_ERR_FORMAT, "%s holds neither a model (config.json) nor a run (latest)", in->path);
    }
    if (!S_ISREG(info.st_mode)) return cli_fail(error, IL_ERR_IO, "%s: not a file", in->path);
    if (in->check && (cli_path_is_gguf(in->path) || cli_path_is_jax(in->path))) return inspect_model(in, in->path);
    inspect_one *inspect_it = by_content(in->path);
    if (inspect_it) return inspect_it(in);
    if (ends_in(in->path, ".ilc")) return inspect_compressed(in);
    if (ends_in(in->path, ".bin") || ends_in(in->path, ".npy")) return inspect_tokens(in);
    if (ends_in(in->path, ".model") || ends_in(in->path, ".json")) return inspect_tokenizer(in);
    if (ends_in(in->path, ".ilstate")) return inspect_state(in);
    if (ends_in(in->path, ".safetensors")) return inspect_tensors(in);
    return cli_fail(error, IL_ERR_UNSUPPORTED,
                    "%s: neither a directory nor a file whose name ends in .bin or .npy (token shards), .model or "
                    ".json (tokenizers), .safetensors (tensors), .ilstate (states) or .ilc (compressed), nor GGUF",
                    in->path);
}

/* An option that says nothing of what was found is a mistake. */
static il_status check_options(inspection *in) {
    static const struct {
        const char *option, *kinds[3], *use;
    } uses[] = {{"--model", {"state"}, "a state"},
                {"--tokenizer", {"tokens"}, "a token shard"},
                {"--dtype", {"state", "model", "checkpoint"}, "a state or the directory of a model"},
                {"--check", {"model", "checkpoint"}, "a model"}};
    const char *kind = json_string_value(json_object_get(in->object, "kind"));
    for (size_t i = 0; i < COUNT_OF(uses); i++) {
        int used = 0;
        for (size_t k = 0; k < COUNT_OF(uses[i].kinds) && uses[i].kinds[k]; k++)
            used |= !strcmp(kind, uses[i].kinds[k]);
        if (used || !arg_given(in->command->spec, uses[i].option)) continue;
        in->command->wrong_usage = 1;
        return cli_fail(&in->command->error, IL_ERR_ARG, "%s: %s is not %s", uses[i].option, in->path, uses[i].use);
    }
    return IL_OK;
}

static void print_value(const json_t *value) {
    if (json_is_string(value)) {
        printf("%s\n", cli_shown(json_string_value(value)));
    } else if (json_is_real(value)) {
        printf("%.9g\n", json_real_value(value)); /* JSON's 17 digits are for programs */
    } else {
        json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
        printf("\n");
    }
}

/* A line a key; objects and lists of tensors as a block. */
static void print_text(json_t *object) {
    const char *key, *inner_key;
    json_t *value, *inner, *number;
    size_t i;
    json_object_foreach(object, key, value) {
        if (!strcmp(key, "verdict")) {
            cli_verdict_print(value);
        } else if (json_is_object(value)) {
            printf("%s\n", key);
            json_object_foreach(value, inner_key, inner) {
                printf("  %-22s ", cli_shown(inner_key));
                print_value(inner);
            }
        } else if (!strcmp(key, "layers")) {
            printf("%-10s %14s %14s %14s %14s %14s\n", "layer", "weight_norm", "change_norm", "loss_before",
                   "loss_after", "loss_drop");
            json_array_foreach(value, i, inner) {
                printf("%-10zu", i);
                json_object_foreach(inner, inner_key, number) {
                    if (json_is_null(number))
                        printf(" %14s", "-");
                    else
                        printf(" %14.6g", json_number_value(number));
                }
                printf("\n");
            }
        } else if (!strcmp(key, "tensors")) {
            printf("%s %zu\n", key, json_array_size(value));
            json_array_foreach(value, i, inner) {
                const json_t *dtype = json_object_get(inner, "dtype");
                printf("  %-64s %s%s", cli_shown(json_string_value(json_object_get(inner, "name"))),
                       dtype ? cli_shown(json_string_value(dtype)) : "", dtype ? " " : "");
                print_value(json_object_get(inner, "shape"));
            }
        } else {
            printf("%-24s ", key);
            print_value(value);
        }
    }
}

int verb_inspect(int argc, char **argv) {
    const char *tokenizer = NULL, *model = NULL, *dtype = NULL;
    int check = 0;
    arg_option table[] = {
        ARG("--check", ARG_FLAG, &check, NULL,
            "of a model: read a few short texts with it, look at its weights, and judge whether it is sane"),
        ARG("--model", ARG_TEXT, &model, "DIR",
            "with a state: check it, and say what each layer has learned (default: the bundled model, if it is the "
            "state's)",
            READS),
        ARG("--dtype", ARG_CHOICE, &dtype, CLI_DTYPES,
            "with a model, or a state: hold the weights of linear layers in this type (default: as stored)"),
        ARG("--tokenizer", ARG_TEXT, &tokenizer, "{FILE,bytes}",
            "with a token shard: also print its first tokens as text", READS),
    };
    arg_spec spec = {.verb = "inspect",
                     .summary = "say what a file or directory holds",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .operand = "PATH",
                     .operand_help = "directory of a model, a checkpoint or a run, or a file: .bin, .npy, .model, "
                                     ".json, .safetensors, .gguf, .ilstate, .ilc",
                     .operands_min = 1,
                     .operands_max = 1,
                     .example = "innerloop inspect model\n"
                                "innerloop inspect --check model\n"
                                "innerloop inspect --tokenizer bytes shards/book.bin"};
    cli_command command;
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    inspection in = {.command = &command,
                     .path = spec.operands.items[0],
                     .tokenizer_path = tokenizer,
                     .model_path = model,
                     .check = check};
    in.object = json_pack("{s:o}", "path", cli_json_string(in.path));
    il_status status = cli_command_open(&command, &spec);
    command.dtype = dtype;
    if (!status) status = inspect(&in);
    if (!status) status = check_options(&in);
    if (!status && spec.json) {
        cli_json_print(in.object);
    } else {
        if (!status) print_text(in.object);
        json_decref(in.object);
    }
    return cli_command_close(&command, status);
}
