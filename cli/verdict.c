/* verdict.c: see verdict.h. The thresholds are of docs/checkpoints.md, with what they were measured on. */
#include "verdict.h"
#include "mixers.h"
#include "output.h"
#include "verdict_texts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENTROPY_TOKENS = 64 };
/* A model of floats that takes more memory is judged with its weights as int8, which moves the figures by far less than
 * they must differ to be told apart. */
static const double JUDGED_BYTES = 512 << 20;
/* A text is understood where it takes fewer bits than its bytes would by their frequencies alone, and its tokens fewer
 * than by blind choice from the vocabulary, by these factors. */
#define OF_BYTES_BELOW 0.85
#define OF_CHANCE_BELOW 0.95
/* Rows of a trained embedding differ more in length (cli_scanned). */
#define SPREAD_FROM 2.0
/* Another setting is named if it saves so much of the bits. */
#define BETTER_BY 0.015

typedef struct reading {
    double bits, bytes; /* of all texts */
    size_t best;        /* the text that is understood best */
    struct {
        double bits_per_byte, of_bytes, of_chance; /* over what frequencies of bytes, and blind choice, take */
    } text[16];
} reading;

typedef struct verdict {
    cli_command *command;
    const char *path;
    const cli_scanned *scanned;
    const il_config *config;
    il_weight_type held;           /* how its weights are held while it reads */
    const il_tokenizer *tokenizer; /* of text, or NULL */
    int pictures;                  /* it is a model of pictures */
    reading is;
    double entropy; /* of predictions in the best text, over the most that it can be */
    json_t *object, *layers, *hints, *tried;
} verdict;

/* There is one at a time. */
static il_status load(const verdict *v, const char *word, int transposed, il_model **model, il_error *error) {
    il_load_options options;
    il_load_options_default(&options);
    options.weights = (int)v->held;
    options.set = &word;
    options.n_set = word != NULL;
    options.transposed = transposed;
    return il_model_load_as(v->command->engine, v->path, &options, model, error);
}

/* ---- texts ---- */

static il_status open_text(const verdict *v, il_model *model, size_t text, int frozen, il_session **session,
                           il_tokens *tokens) {
    il_session_options options;
    il_error *error = &v->command->error;
    const char *string = cli_verdict_texts[text].text;
    int32_t bos = il_tokenizer_bos(v->tokenizer, il_model_config(model));
    il_session_options_default(&options);
    options.frozen = frozen;
    il_status status = il_tokenizer_encode(v->tokenizer, string, strlen(string), tokens, error);
    if (!status) status = il_session_open(model, &options, session, error);
    if (!status) status = il_session_feed(*session, &bos, bos >= 0, NULL, NULL, error);
    return status;
}

/* Bits a byte that the frequencies of its bytes come to. */
static double bits_of_frequencies(const char *text) {
    double counts[256] = {0}, n = (double)strlen(text), bits = 0;
    for (const char *c = text; *c; c++) counts[(unsigned char)*c]++;
    for (int i = 0; i < 256; i++)
        if (counts[i] > 0) bits -= counts[i] / n * log2(counts[i] / n);
    return bits;
}

/* Below 1: the text is understood. */
static double understood(const reading *r, size_t text) {
    return fmax(r->text[text].of_bytes / OF_BYTES_BELOW, r->text[text].of_chance / OF_CHANCE_BELOW);
}

/* Reads all texts, each by itself. What is not finite while it reads costs infinitely much. */
static il_status read_texts(const verdict *v, il_model *model, int frozen, reading *r) {
    double chance = log2((double)il_model_config(model)->vocab_size);
    il_status status = IL_OK;
    *r = (reading){.bits = 0};
    for (size_t i = 0; i < cli_verdict_n_texts && !status; i++) {
        il_session *session = NULL;
        il_tokens tokens = {0};
        double bits = 0, bytes = (double)strlen(cli_verdict_texts[i].text);
        size_t counted = 0;
        status = open_text(v, model, i, frozen, &session, &tokens);
        float *nll = cli_alloc(tokens.n + 1, sizeof *nll);
        if (!status) status = il_session_feed(session, tokens.ids, tokens.n, nll, NULL, &v->command->error);
        for (size_t k = 0; k < tokens.n && !status; k++)
            if (!isnan(nll[k])) bits += (double)nll[k] / log(2), counted++;
        if (status == IL_ERR_NONFINITE) {
            status = IL_OK;
            bits = INFINITY;
            counted = 1;
        }
        r->bits += bits;
        r->bytes += bytes;
        r->text[i].bits_per_byte = bits / bytes;
        r->text[i].of_bytes = bits / bytes / bits_of_frequencies(cli_verdict_texts[i].text);
        r->text[i].of_chance = counted ? bits / (double)counted / chance : INFINITY;
        if (understood(r, i) < understood(r, r->best)) r->best = i;
        free(nll);
        il_session_close(session);
        il_tokens_free(&tokens);
    }
    return status;
}

/* How much a prediction leaves open on average, over what blind choice does: 1 where all tokens are alike. */
static il_status measure_entropy(verdict *v, il_model *model) {
    size_t vocabulary = (size_t)il_model_config(model)->vocab_size;
    il_session *session = NULL;
    il_tokens tokens = {0};
    il_status status = open_text(v, model, v->is.best, 0, &session, &tokens);
    float *logits = cli_alloc(vocabulary, sizeof *logits);
    double sum = 0;
    size_t n = tokens.n < ENTROPY_TOKENS ? tokens.n : ENTROPY_TOKENS;
    for (size_t i = 0; i < n && !status; i++) {
        status = il_session_feed(session, &tokens.ids[i], 1, NULL, NULL, &v->command->error);
        if (!status) status = il_session_logits(session, logits, &v->command->error);
        if (status) break;
        double all = (double)il_log_sum_exp(v->command->engine, logits, (int)vocabulary), mean = 0;
        for (size_t k = 0; k < vocabulary; k++) mean += exp((double)logits[k] - all) * (double)logits[k];
        sum += all - mean;
    }
    v->entropy = n ? sum / (double)n / log((double)vocabulary) : 1;
    if (status == IL_ERR_NONFINITE) status = IL_OK;
    free(logits);
    il_session_close(session);
    il_tokens_free(&tokens);
    return status;
}

/* What learning does in each layer while the text that is read best is read. */
static il_status look_at_learning(verdict *v, il_model *model) {
    il_session *session = NULL;
    il_tokens tokens = {0};
    if (!cli_mixer_learners(il_model_config(model))) return IL_OK;
    il_status status = open_text(v, model, v->is.best, 0, &session, &tokens);
    if (!status) status = il_session_feed(session, tokens.ids, tokens.n, NULL, NULL, &v->command->error);
    for (int i = 0; i < il_model_config(model)->layers && !status; i++) {
        il_layer_stats stats;
        if (!cli_mixer_learns(il_model_config(model), i)) continue;
        status = il_session_layer_stats(session, i, &stats, &v->command->error);
        if (!status)
            json_object_update_new(json_array_get(v->layers, (size_t)i),
                                   json_pack("{s:o, s:o, s:o}", "change",
                                             cli_json_real(stats.change_norm / stats.weight_norm), "loss_before",
                                             cli_json_real(stats.loss_before), "loss_after",
                                             cli_json_real(stats.loss_after)));
    }
    if (status == IL_ERR_NONFINITE) status = IL_OK;
    il_session_close(session);
    il_tokens_free(&tokens);
    return status;
}

/* ---- what else it may be ---- */

static void hint(const verdict *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void hint(const verdict *v, const char *format, ...) {
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_array_append_new(v->hints, json_string(text));
}

static double saved(const verdict *v, const reading *other) {
    if (!isfinite(v->is.bits)) return isfinite(other->bits) ? 1 : 0;
    return isfinite(other->bits) ? 1 - other->bits / v->is.bits : -1;
}

static void add_tried(const verdict *v, const char *what, const reading *r) {
    json_array_append_new(v->tried,
                          json_pack("{s:s, s:o}", "what", what, "bits_per_byte", cli_json_real(r->bits / r->bytes)));
}

/* The same files read in another way. A way in which they cannot be read is none. */
static il_status try_way(verdict *v, const char *word, int transposed, reading *r, int *tried) {
    il_model *other;
    il_error why;
    *tried = !load(v, word, transposed, &other, &why);
    if (!*tried) return IL_OK;
    il_status status = read_texts(v, other, 0, r);
    il_model_unref(other);
    if (!status) add_tried(v, word ? word : "square matrices transposed", r);
    return status;
}

static il_status try_rates(verdict *v) {
    static const double rates[] = {1, 0.1};
    const il_config *c = v->config;
    for (size_t i = 0; i < COUNT_OF(rates); i++) {
        char word[40];
        reading r;
        int tried;
        if (c->ttt_base_lr == rates[i]) continue;
        snprintf(word, sizeof word, "ttt_base_lr=%g", rates[i]);
        il_status status = try_way(v, word, 0, &r, &tried);
        if (status) return status;
        if (tried && saved(v, &r) > BETTER_BY)
            hint(
                v,
                "With ttt_base_lr %g in place of %g it takes %.3f bits per byte, not %.3f: that is what it was trained "
                "with, or nearer to it (convert --set %s).",
                rates[i], c->ttt_base_lr, r.bits / r.bytes, v->is.bits / v->is.bytes, word);
    }
    return IL_OK;
}

/* Whether learning while it reads is of use, which a wrong inner learning rate spoils. */
static il_status try_frozen(verdict *v, il_model *model) {
    reading r;
    il_status status = read_texts(v, model, 1, &r);
    if (status) return status;
    add_tried(v, "frozen", &r);
    if (saved(v, &r) > BETTER_BY)
        hint(v,
             "Frozen it takes %.3f bits per byte, learning %.3f: learning while it reads does harm, as with a wrong "
             "ttt_base_lr or with gates and convolutions that do not belong to the weights.",
             r.bits / r.bytes, v->is.bits / v->is.bytes);
    return IL_OK;
}

static il_status try_transposed(verdict *v) {
    reading r;
    int tried;
    il_status status = try_way(v, NULL, 1, &r, &tried);
    if (!status && tried && saved(v, &r) > BETTER_BY)
        hint(v,
             "With its square matrices transposed it takes %.3f bits per byte, not %.3f: a conversion has left them as "
             "[in, out] (convert --transposed).",
             r.bits / r.bytes, v->is.bits / v->is.bytes);
    return status;
}

/* ---- the judgement ---- */

static const char *judge(const verdict *v) {
    int looks_trained = v->scanned->spread >= SPREAD_FROM;
    if (v->pictures) return "of pictures";
    if (!v->tokenizer) return looks_trained ? "no tokenizer" : "looks random";
    if (understood(&v->is, v->is.best) < 1) return "trained";
    return looks_trained ? "tokenizer does not fit" : "looks random";
}

static void explain(const verdict *v, const char *judgement) {
    if (!strcmp(judgement, "no tokenizer"))
        hint(v, "There is no tokenizer that can be read, so that no text can: %.300s",
             v->command->no_tokenizer.message);
    if (v->pictures) hint(v, "It is a model of pictures, which texts say nothing of: score measures it on pictures.");
    if (!strcmp(judgement, "looks random"))
        hint(v, "Its predictions are hardly better than chance, and nothing in its weights looks trained: a fresh "
                "model, or "
                "a file of another one's initial weights.");
    if (!strcmp(judgement, "tokenizer does not fit"))
        hint(v, "Its weights are those of a trained model and it is sure of its predictions, but they are wrong: "
                "mostly the "
                "tokenizer is another model's (--tokenizer), or the model is computed otherwise than it was trained "
                "(share_qk, use_gate, pre_conv, ttt_base_lr, rope_theta).");
}

/* Everything that is found by reading. */
static il_status read_all(verdict *v) {
    il_model *model;
    int learns = cli_mixer_learners(v->config) > 0;
    il_status status = load(v, NULL, 0, &model, &v->command->error);
    if (!status) status = read_texts(v, model, 0, &v->is);
    if (!status) status = measure_entropy(v, model);
    if (!status && learns) status = look_at_learning(v, model);
    if (!status && learns) status = try_frozen(v, model);
    il_model_unref(model);
    if (!status && cli_mixer_is_ttt(v->config->mixer)) status = try_rates(v);
    if (!status) status = try_transposed(v);
    return status;
}

static void describe_reading(const verdict *v) {
    json_t *texts = json_object();
    for (size_t i = 0; i < cli_verdict_n_texts; i++)
        json_object_set_new(texts, cli_verdict_texts[i].language,
                            json_pack("{s:o, s:o, s:o}", "bits_per_byte", cli_json_real(v->is.text[i].bits_per_byte),
                                      "of_bytes", cli_json_real(v->is.text[i].of_bytes), "of_chance",
                                      cli_json_real(v->is.text[i].of_chance)));
    json_object_set_new(v->object, "texts", texts);
    json_object_set_new(v->object, "bits_per_byte", cli_json_real(v->is.bits / v->is.bytes));
    json_object_set_new(v->object, "entropy", cli_json_real(v->entropy));
    json_object_set_new(v->object, "dtype", json_string(il_weight_type_name(v->held)));
}

static il_weight_type type_to_judge(const cli_command *command, const il_rewritten *found) {
    il_weight_type type = found->config.weights;
    double bytes = type == IL_WEIGHTS_F32 ? 4 : type == IL_WEIGHTS_BF16 ? 2 : 0;
    return !command->dtype && bytes * (double)found->parameters > JUDGED_BYTES ? IL_WEIGHTS_INT8 : type;
}

il_status cli_verdict(cli_command *command, const char *path, const cli_scanned *scanned, const il_tokenizer *tokenizer,
                      json_t **made) {
    verdict v = {.command = command, .path = path, .scanned = scanned, .tokenizer = tokenizer};
    v.pictures = tokenizer && il_tokenizer_pictures(tokenizer);
    if (v.pictures) v.tokenizer = tokenizer = NULL;
    v.config = &scanned->found.config;
    v.held = type_to_judge(command, &scanned->found);
    v.object = json_object();
    v.layers = json_deep_copy(scanned->layers);
    v.hints = json_array();
    v.tried = json_array();
    il_status status = tokenizer ? read_all(&v) : IL_OK;
    const char *judgement = judge(&v);
    explain(&v, judgement);
    json_object_set_new(v.object, "judgement", json_string(judgement));
    json_object_set_new(v.object, "embedding_spread", cli_json_real(scanned->spread));
    if (tokenizer) describe_reading(&v);
    json_object_set_new(v.object, "weights", v.layers);
    json_object_set_new(v.object, "tried", v.tried);
    json_object_set_new(v.object, "hints", v.hints);
    *made = v.object;
    if (!status) return IL_OK;
    json_decref(v.object);
    *made = NULL;
    return status;
}

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

void cli_verdict_print(const json_t *v) {
    const char *key;
    json_t *value;
    size_t i;
    printf("judgement  %s\n", json_string_value(json_object_get(v, "judgement")));
    if (json_object_get(v, "texts"))
        printf("  %-12s %14s %14s %14s\n", "text", "bits per byte", "of bytes alone", "of chance");
    json_object_foreach(json_object_get(v, "texts"), key, value)
        printf("  %-12s %14.3f %14.2f %14.2f\n", key, number(value, "bits_per_byte"), number(value, "of_bytes"),
               number(value, "of_chance"));
    if (json_object_get(v, "texts"))
        printf("  %-12s %14.3f   predictions %.2f as flat as blind choice, weights as %s\n", "all",
               number(v, "bits_per_byte"), number(v, "entropy"), json_string_value(json_object_get(v, "dtype")));
    printf("  norms of the embedding's rows differ %.1f times as much as random ones\n", number(v, "embedding_spread"));
    printf("  %-6s %10s %10s %10s %10s %12s %12s\n", "layer", "mixer_rms", "mlp_rms", "largest", "change",
           "loss_before", "loss_after");
    json_array_foreach(json_object_get(v, "weights"), i, value) {
        static const char *const keys[] = {"mixer_rms", "mlp_rms", "largest", "change", "loss_before", "loss_after"};
        printf("  %-6zu", i);
        for (size_t k = 0; k < COUNT_OF(keys); k++) {
            int width = k < 4 ? 10 : 12;
            if (json_is_number(json_object_get(value, keys[k])))
                printf(" %*.4g", width, number(value, keys[k]));
            else
                printf(" %*s", width, "-");
        }
        printf("\n");
    }
    json_array_foreach(json_object_get(v, "tried"), i, value)
        printf("  tried: %-28s %8.3f bits per byte\n", json_string_value(json_object_get(value, "what")),
               number(value, "bits_per_byte"));
    json_array_foreach(json_object_get(v, "hints"), i, value) printf("%s\n", json_string_value(value));
}
