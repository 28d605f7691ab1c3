/* completions.c: see completions.h. */
#include "request/completions.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fields that are read here. */
static const char *const known[] = {"model", "messages", "top_logprobs", "prompt", "n", "best_of", "echo", "stream",
                                    "stream_options", "logprobs", "max_tokens", "max_completion_tokens",
                                    "max_output_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p",
                                    "repetition_penalty", "repeat_penalty", "presence_penalty", "frequency_penalty",
                                    "seed", "stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos",
                                    "logit_bias", "add_special_tokens", "return_token_ids", "response_format",
                                    /* what has no effect on an answer */
                                    "session", "keep", "wait", "durable", "user", "metadata", "store", "service_tier",
                                    "prompt_cache_key", "cache_salt", "safety_identifier", "request_id"};

/* Fields that would change an answer, and that this server cannot follow. A number beside one is what changes
 * nothing. */
static const struct {
    const char *name;
    double neutral;
} unsupported[] = {{"suffix", 0},          {"tools", 0},
                   {"functions", 0},       {"audio", 0},
                   {"modalities", 0},      {"json_schema", 0},
                   {"grammar", 0},         {"guided_json", 0},
                   {"guided_regex", 0},    {"guided_choice", 0},
                   {"guided_grammar", 0},  {"structured_outputs", 0},
                   {"prompt_logprobs", 0}, {"prompt_embeds", 0},
                   {"use_beam_search", 0}, {"length_penalty", 1},
                   {"typical_p", 1},       {"tfs_z", 1},
                   {"mirostat", 0},        {"dry_multiplier", 0},
                   {"xtc_probability", 0}, {"allowed_token_ids", 0},
                   {"bad_words", 0},       {"truncate_prompt_tokens", 0}};

void completion_ignored(const json_t *body, const char *const *names, size_t n_names, completion_request *r) {
    const char *name;
    json_t *value;
    size_t used = strlen(r->ignored);
    json_object_foreach((json_t *)(uintptr_t)body, name, value) {
        int is_known = json_is_null(value);
        for (size_t i = 0; i < n_names && !is_known; i++) is_known = !strcmp(name, names[i]);
        for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported && !is_known; i++)
            is_known = !strcmp(name, unsupported[i].name);
        size_t n = strlen(name);
        if (is_known || !n || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") < n ||
            used + n + 2 > sizeof r->ignored)
            continue;
        used += (size_t)snprintf(r->ignored + used, sizeof r->ignored - used, "%s%s", used ? "," : "", name);
    }
}

static int refuse_unsupported(const json_t *body, const completion_request *r, problem *p) {
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        const json_t *value = json_field(body, unsupported[i].name);
        if (!json_says(body, unsupported[i].name)) continue;
        if (json_is_number(value) && json_number_value(value) == unsupported[i].neutral) continue;
        return problem_set(p, 400, "unsupported_parameter", unsupported[i].name, "%s is not supported by this server",
                           unsupported[i].name);
    }
    int64_t best = r->n;
    json_integer_field(body, "best_of", 1, INT32_MAX, &best, p);
    if (best != r->n) problem_set(p, 400, "unsupported_parameter", "best_of", "best_of can only be what n is");
    return !p->status;
}

/* ---- prompts ---- */

int completion_tokens(const json_t *array, const char *field, int vocab_size, size_t tokens_max, il_tokens *tokens,
                      problem *p) {
    static const char own[] = "a client that makes tokens must use this model's tokenizer";
    static const char langchain[] = "OpenAIEmbeddings of LangChain must be made with check_embedding_ctx_length=False";
    size_t n = json_array_size(array);
    if (!n) return problem_set(p, 400, "invalid_value", field, "%s has no token", field);
    if (n > tokens_max)
        return problem_set(p, 400, "context_length_exceeded", field,
                           "%s has %zu tokens, and this server reads at most %zu a request (--max-prompt-tokens)",
                           field, n, tokens_max);
    tokens->ids = malloc(n * sizeof *tokens->ids);
    if (!tokens->ids) return problem_set(p, 503, "no_memory", NULL, "no memory for the prompt now");
    tokens->n = tokens->capacity = n;
    for (size_t i = 0; i < n; i++) {
        int64_t id;
        if (!json_whole(json_array_get(array, i), 0, vocab_size - 1, &id))
            return problem_set(p, 400, "invalid_value", field,
                               "%s: number %zu is not a token of this model, 0 to %d; %s", field, i, vocab_size - 1,
                               strcmp(field, "input") ? own : langchain);
        tokens->ids[i] = (int32_t)id;
    }
    return 1;
}

static int parse_prompt(const json_t *value, const char *field, const completion_limits *limits, size_t tokens_left,
                        completion_prompt *prompt, problem *p) {
    if (json_is_string(value)) {
        prompt->text = json_string_value(value);
        prompt->bytes = json_string_length(value);
        return 1;
    }
    if (!json_is_array(value))
        return problem_set(p, 400, "invalid_value", field,
                           "%s must be a string, an array of tokens, or an array of such", field);
    return completion_tokens(value, field, limits->vocab_size, tokens_left, &prompt->tokens, p);
}

int completion_prompts(const json_t *body, const char *field, const completion_limits *limits, completion_request *r,
                       problem *p) {
    const json_t *value = json_field(body, field);
    r->field = field;
    if (!value) return problem_set(p, 400, "invalid_value", field, "%s is missing", field);
    int many = json_is_array(value) && json_array_size(value) && !json_is_number(json_array_get(value, 0));
    size_t n = many ? json_array_size(value) : 1, left = limits->prompt_tokens_max;
    if (n > COMPLETION_PROMPTS_MAX)
        return problem_set(p, 400, "invalid_value", field, "%s has %zu texts: at most %d are read", field, n,
                           COMPLETION_PROMPTS_MAX);
    r->prompts = calloc(n, sizeof *r->prompts);
    if (!r->prompts) return problem_set(p, 503, "no_memory", NULL, "no memory for the prompts now");
    r->n_prompts = n;
    for (size_t i = 0; i < n; i++) {
        if (!parse_prompt(many ? json_array_get(value, i) : value, field, limits, left, &r->prompts[i], p)) return 0;
        left -= r->prompts[i].tokens.n;
    }
    return 1;
}

int completion_encode(completion_request *r, const il_tokenizer *tokenizer, int bos, const completion_limits *limits,
                      problem *p) {
    size_t total = 0;
    for (size_t i = 0; i < r->n_prompts; i++) {
        completion_prompt *prompt = &r->prompts[i];
        il_error error;
        il_tokens found = {0};
        if (prompt->text) {
            il_status status =
                il_tokenizer_encode_as(tokenizer, IL_ENCODE_SPECIAL, prompt->text, prompt->bytes, &found, &error);
            size_t begins = r->special && bos >= 0 && !r->continues, n = begins + found.n;
            if (!status) prompt->tokens.ids = malloc((n ? n : 1) * sizeof *prompt->tokens.ids);
            if (!status && prompt->tokens.ids) {
                if (begins) prompt->tokens.ids[0] = bos;
                if (found.n) memcpy(prompt->tokens.ids + begins, found.ids, found.n * sizeof *found.ids);
                prompt->tokens.n = prompt->tokens.capacity = n;
            } else {
                problem_set(p, status && status != IL_ERR_NOMEM ? 400 : 503, "invalid_value", r->field, "%s: %s",
                            r->field, status ? error.message : "no memory for it now");
            }
            il_tokens_free(&found);
            prompt->text = NULL;
        }
        if (p->status) return 0;
        total += prompt->tokens.n;
    }
    if (total > limits->prompt_tokens_max)
        return problem_set(p, 400, "context_length_exceeded", r->field,
                           "%s has %zu tokens, and this server reads at most %zu a request (--max-prompt-tokens)",
                           r->field, total, limits->prompt_tokens_max);
    return 1;
}

/* ---- the other fields ---- */

static int parse_stop(const json_t *value, completion_request *r, problem *p) {
    size_t n = json_string_length(value);
    if (!json_is_string(value) || !n || n > COMPLETION_STOP_BYTES_MAX)
        return problem_set(p, 400, "invalid_value", "stop",
                           "stop must be a string of 1 to %d bytes, or an array of at most %d such",
                           COMPLETION_STOP_BYTES_MAX, COMPLETION_STOPS_MAX);
    completion_stop *stop = &r->stops[r->n_stops++];
    memcpy(stop->bytes, json_string_value(value), n);
    stop->n = n;
    return 1;
}

static int parse_stops(const json_t *body, const completion_limits *limits, completion_request *r, problem *p) {
    const json_t *stop = json_field(body, "stop"), *ids = json_field(body, "stop_token_ids");
    size_t n = json_is_array(stop) ? json_array_size(stop) : stop ? 1 : 0;
    if (n > COMPLETION_STOPS_MAX)
        return problem_set(p, 400, "invalid_value", "stop", "stop has %zu strings: at most %d are read", n,
                           COMPLETION_STOPS_MAX);
    if (n && !(r->stops = calloc(n, sizeof *r->stops)))
        return problem_set(p, 503, "no_memory", NULL, "no memory for the stop strings now");
    for (size_t i = 0; i < n; i++)
        if (!parse_stop(json_is_array(stop) ? json_array_get(stop, i) : stop, r, p)) return 0;
    size_t n_ids = json_array_size(ids);
    if (ids && (!json_is_array(ids) || n_ids > COMPLETION_STOPS_MAX))
        return problem_set(p, 400, "invalid_value", "stop_token_ids", "stop_token_ids must be an array of at most %d",
                           COMPLETION_STOPS_MAX);
    for (size_t i = 0; i < n_ids; i++) {
        int64_t id;
        if (!json_whole(json_array_get(ids, i), 0, limits->vocab_size - 1, &id))
            return problem_set(p, 400, "invalid_value", "stop_token_ids",
                               "stop_token_ids: tokens of this model go from 0 to %d", limits->vocab_size - 1);
        r->stop_tokens[r->n_stop_tokens++] = (int32_t)id;
    }
    return 1;
}

static int parse_biases(const json_t *body, const completion_limits *limits, completion_request *r, problem *p) {
    const json_t *field = json_field(body, "logit_bias");
    const char *name;
    json_t *value;
    if (!field) return 1;
    if (!json_is_object(field) || json_object_size(field) > COMPLETION_BIASES_MAX)
        return problem_set(p, 400, "invalid_value", "logit_bias",
                           "logit_bias must be an object of at most %d tokens and their biases", COMPLETION_BIASES_MAX);
    if (!json_object_size(field)) return 1;
    r->biases = calloc(json_object_size(field), sizeof *r->biases);
    if (!r->biases) return problem_set(p, 503, "no_memory", NULL, "no memory for logit_bias now");
    json_object_foreach((json_t *)(uintptr_t)field, name, value) {
        char *end;
        long id = name[0] >= '0' && name[0] <= '9' ? strtol(name, &end, 10) : -1;
        double bias = json_number_value(value);
        if (id < 0 || *end || id >= limits->vocab_size)
            return problem_set(p, 400, "invalid_value", "logit_bias",
                               "logit_bias: '%.20s' is not a token of this model, 0 to %d", name,
                               limits->vocab_size - 1);
        if (!json_is_number(value) || !(fabs(bias) <= 100))
            return problem_set(p, 400, "invalid_value", "logit_bias",
                               "logit_bias: the bias of token %ld must be a number from -100 to 100", id);
        r->biases[r->n_biases++] = (completion_bias){(int32_t)id, (float)bias};
    }
    return 1;
}

static void parse_sampling(const json_t *body, const completion_limits *limits, completion_request *r, problem *p) {
    double temperature = 1, top_p = 1, min_p = 0, repeat = 1, presence = 0, frequency = 0;
    int64_t top_k = 0, seed = 0;
    json_real_field(body, "temperature", 0, 100, &temperature, p);
    json_real_field(body, "top_p", 0, 1, &top_p, p);
    json_real_field(body, "min_p", 0, 1, &min_p, p);
    json_integer_field(body, "top_k", -1, INT32_MAX, &top_k, p);
    json_real_field(body, "repeat_penalty", 1e-3, 1e3, &repeat, p);
    json_real_field(body, "repetition_penalty", 1e-3, 1e3, &repeat, p);
    json_real_field(body, "presence_penalty", -2, 2, &presence, p);
    json_real_field(body, "frequency_penalty", -2, 2, &frequency, p);
    json_integer_field(body, "seed", INT64_MIN, INT64_MAX, &seed, p);
    r->sampling = (il_sample_options){.temperature = (float)temperature,
                                      .top_k = top_k < 0 || top_k > limits->vocab_size ? 0 : (int)top_k,
                                      .top_p = top_p < 1e-6 ? 1e-6F : (float)top_p,
                                      .min_p = (float)min_p,
                                      .repeat_penalty = (float)repeat,
                                      .seed = (uint64_t)seed};
    r->presence_penalty = (float)presence;
    r->frequency_penalty = (float)frequency;
}

static void parse_lengths(const json_t *body, completion_kind kind, const completion_limits *limits,
                          completion_request *r, problem *p) {
    static const char *const names[] = {"max_output_tokens", "max_completion_tokens", "max_tokens"};
    int64_t most = kind == COMPLETION_CHAT ? limits->chat_tokens_default : limits->tokens_default, least = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        json_integer_field(body, names[i], 0, INT32_MAX, &most, p);
    r->tokens_max = most < limits->tokens_max ? (int)most : limits->tokens_max;
    json_integer_field(body, "min_tokens", 0, INT32_MAX, &least, p);
    r->tokens_min = least < r->tokens_max ? (int)least : r->tokens_max;
}

static void parse_stream(const json_t *body, completion_request *r, problem *p) {
    const json_t *options = json_field(body, "stream_options");
    json_flag_field(body, "stream", &r->stream, p);
    if (!options) return;
    if (!json_is_object(options)) {
        problem_set(p, 400, "invalid_value", "stream_options", "stream_options must be an object");
        return;
    }
    json_flag_field(options, "include_usage", &r->usage, p);
    json_flag_field(options, "continuous_usage_stats", &r->usage_always, p);
}

/* How many of the likeliest tokens: a number, or with chats whether and a number. */
static int parse_logprobs(const json_t *body, completion_kind kind, problem *p) {
    int64_t most = -1;
    int wanted = 0;
    if (kind == COMPLETION_TEXT) {
        json_integer_field(body, "logprobs", 0, COMPLETION_TOP_MAX, &most, p);
        return (int)most;
    }
    most = 0;
    json_flag_field(body, "logprobs", &wanted, p);
    json_integer_field(body, "top_logprobs", 0, COMPLETION_TOP_MAX, &most, p);
    if (most && !wanted) problem_set(p, 400, "invalid_value", "top_logprobs", "top_logprobs needs \"logprobs\": true");
    return wanted ? (int)most : -1;
}

/* Each word with its length in front, so that no two pairs of them look alike. */
static void parse_space(const json_t *body, completion_request *r, problem *p) {
    static const char *const names[] = {"cache_salt", "prompt_cache_key"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *word = "";
        size_t bytes = 0;
        if (!json_text_field(body, names[i], &word, &bytes, p)) return;
        if (bytes > COMPLETION_SPACE_MAX)
            problem_set(p, 400, "invalid_value", names[i], "%s can have %d bytes at most", names[i],
                        COMPLETION_SPACE_MAX);
        text_print(&r->space, "%zu:", bytes);
        text_add(&r->space, word, bytes);
    }
    if (r->space.failed) problem_set(p, 503, "no_memory", NULL, "no memory for the request now");
}

int completion_parse(const json_t *body, completion_kind kind, const completion_limits *limits, completion_request *r,
                     problem *p) {
    int64_t n = 1;
    *r = (completion_request){.special = 1};
    json_integer_field(body, "n", 1, limits->n_max, &n, p);
    r->n = (int)n;
    r->logprobs = parse_logprobs(body, kind, p);
    if (kind == COMPLETION_TEXT) json_flag_field(body, "echo", &r->echo, p);
    json_flag_field(body, "ignore_eos", &r->ignore_eos, p);
    json_flag_field(body, "include_stop_str_in_output", &r->include_stop, p);
    json_flag_field(body, "add_special_tokens", &r->special, p);
    json_flag_field(body, "return_token_ids", &r->return_tokens, p);
    parse_stream(body, r, p);
    parse_space(body, r, p);
    parse_lengths(body, kind, limits, r, p);
    parse_sampling(body, limits, r, p);
    if (p->status || !refuse_unsupported(body, r, p) ||
        (kind == COMPLETION_TEXT && !completion_prompts(body, "prompt", limits, r, p)) ||
        !parse_stops(body, limits, r, p) || !parse_biases(body, limits, r, p) ||
        !format_parse(json_field(body, "response_format"), "response_format", &r->form, p))
        return 0;
    if (r->n_prompts * (size_t)r->n > COMPLETION_CHOICES_MAX)
        return problem_set(p, 400, "invalid_value", "n", "n: %zu prompts with %d answers each are more than %d",
                           r->n_prompts, r->n, COMPLETION_CHOICES_MAX);
    completion_ignored(body, known, sizeof known / sizeof *known, r);
    return 1;
}

void completion_free(completion_request *r) {
    for (size_t i = 0; i < r->n_prompts; i++) free(r->prompts[i].tokens.ids);
    free(r->prompts);
    free(r->biases);
    free(r->stops);
    format_free(r->form);
    text_free(&r->space);
    *r = (completion_request){0};
}

int completion_model(const json_t *body, const char *name, problem *p) {
    const char *model = "";
    size_t bytes = 0;
    if (!json_text_field(body, "model", &model, &bytes, p)) return 0;
    if (!bytes || (strlen(name) == bytes && !memcmp(model, name, bytes))) return 1;
    return problem_set(p, 404, "model_not_found", "model", "model '%.*s' is not served here, '%s' is",
                       (int)(bytes < 60 ? bytes : 60), model, name);
}
