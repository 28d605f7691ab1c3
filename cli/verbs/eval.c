/* eval.c: `innerloop eval`: loss and perplexity of a model on text, by position, by token, with the controls.
 *
 * Sequence i is tokens [iL, iL+L]: L inputs and L targets from a fresh state. All L+1 tokens are fed, the
 * last one only to be scored: every loss then comes from the same computation, at the price of 1/L more work. */
#include "bundled_model.h"
#include "command.h"
#include "documents.h"
#include "files.h"
#include "interrupt.h"
#include "model_choice.h"
#include "output.h"
#include "safetensors.h"
#include "verbs.h"
#include "verbs/eval_learning.h"
#include "verbs/eval_reading_gain.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FEED_TOKENS = 2048,      /* tokens fed at a time, unless --feed says how many */
    LOGITS_FLOATS = 1 << 24, /* at most, of the logits of so many tokens */
    BUCKETS = 65
};

typedef struct eval_options {
    const char *model, *dtype, *data, *per_token, *logits, *grads;
    uint64_t length, tokens_max, feed;
    int frozen, by_position, reading_gain;
    cli_documents documents;
    eval_gain_options gain;
} eval_options;

typedef struct evaluation {
    cli_command *command;
    const eval_options *options;
    il_model *model;
    il_tokenizer *tokenizer;
    il_data *data;
    const int32_t *tokens; /* [n_tokens]: the whole stream */
    size_t n_tokens, vocabulary, length, sequences, n_feed;
    float *nll, *logits; /* [n_feed], [n_feed, vocabulary] or NULL */
    il_output *per_token, *logits_file;
    /* results */
    double total, totals[BUCKETS]; /* sums of nll; bucket k holds positions 2^(k-1) .. 2^k - 1, bucket 0 position 0 */
    uint64_t counted, counts[BUCKETS];
    eval_learning learning; /* by bucket; with --by-position */
    double gradient_loss, seconds;
    uint64_t bytes;
    int bytes_known;
} evaluation;

static size_t bucket_from(size_t k) { return k ? (size_t)1 << (k - 1) : 0; }

static size_t bucket_of(size_t position) {
    size_t k = 0;
    for (; position; position >>= 1) k++;
    return k;
}

/* How the stream is cut. --max-tokens keeps whole sequences, or a part of the only one. */
static il_status cut(evaluation *e) {
    size_t available = e->n_tokens ? e->n_tokens - 1 : 0;
    if (!available)
        return cli_fail(&e->command->error, IL_ERR_ARG, "%s holds %s; at least 2 are needed", e->options->data,
                        cli_count(e->n_tokens, "token"));
    if (e->options->tokens_max && e->options->tokens_max < available) available = (size_t)e->options->tokens_max;
    e->length = e->options->length && e->options->length < available ? (size_t)e->options->length : available;
    e->sequences = available / e->length;
    e->n_feed = e->length + 1;
    size_t most = FEED_TOKENS;
    if (e->options->logits && LOGITS_FLOATS / e->vocabulary < most) most = LOGITS_FLOATS / e->vocabulary;
    if (!most) most = 1;
    if (e->options->feed) most = e->options->feed < SIZE_MAX / 8 ? (size_t)e->options->feed : SIZE_MAX / 8;
    if (e->n_feed > most) e->n_feed = most;
    return IL_OK;
}

static il_status open_outputs(evaluation *e) {
    il_error *error = &e->command->error;
    size_t shape[3] = {e->sequences, e->length, e->vocabulary};
    il_status status = IL_OK;
    e->nll = cli_alloc(e->n_feed, sizeof *e->nll);
    if (e->options->logits) e->logits = cli_alloc(e->n_feed * e->vocabulary, sizeof *e->logits);
    if (e->options->per_token) {
        status = il_output_open(e->options->per_token, &e->per_token, error);
        if (!status) status = cli_npy_begin(e->per_token, shape, 2, error);
    }
    if (e->options->logits && !status) {
        status = il_output_open(e->options->logits, &e->logits_file, error);
        if (!status) status = cli_npy_begin(e->logits_file, shape, 3, error);
    }
    return status;
}

/* Takes in the losses of n tokens that begin at index `at` of their sequence. */
static il_status count(evaluation *e, const int32_t *tokens, size_t at, size_t n) {
    il_error *error = &e->command->error;
    int bos = il_model_config(e->model)->bos_token;
    il_status status = IL_OK;
    for (size_t i = at ? 0 : 1; i < n; i++) { /* nothing predicts a sequence's first token */
        if (tokens[i] == bos) {
            e->nll[i] = NAN;
            continue;
        }
        size_t k = bucket_of(at + i - 1);
        e->total += e->nll[i];
        e->totals[k] += e->nll[i];
        e->counted++;
        e->counts[k]++;
    }
    size_t first = at ? 0 : 1;
    if (e->options->per_token && n > first)
        status = il_output_write(e->per_token, e->nll + first, (n - first) * sizeof *e->nll, error);
    size_t rows = at + n > e->length ? e->length - at : n; /* what follows the last target is not asked for */
    if (e->options->logits && !status)
        status = il_output_write(e->logits_file, e->logits, rows * e->vocabulary * sizeof *e->logits, error);
    return status;
}

static il_status read_sequence(evaluation *e, size_t index, cli_progress *progress) {
    il_error *error = &e->command->error;
    const int32_t *tokens = e->tokens + index * e->length;
    il_session *session = NULL;
    il_session_options options;
    il_session_options_default(&options);
    options.frozen = e->options->frozen;
    il_status status = il_session_open(e->model, &options, &session, error);
    if (status) return status;
    cli_interrupt_cancels(session);
    for (size_t at = 0, n = 0; at <= e->length && !status; at += n) {
        uint64_t sample = e->learning.layers ? eval_learning_next(at) : UINT64_MAX;
        n = e->length + 1 - at < e->n_feed ? e->length + 1 - at : e->n_feed;
        if (n > sample - at) n = (size_t)(sample - at);
        il_feed feed = {.session = session, .tokens = tokens + at, .n = n, .nll = e->nll, .logits = e->logits};
        status = cli_interrupted() ? cli_fail(error, IL_ERR_CANCELLED, "interrupted") : il_feed_many(&feed, 1, error);
        if (status == IL_ERR_NONFINITE && e->sequences > 1) {
            char why[sizeof error->message];
            memcpy(why, error->message, sizeof why);
            status = cli_fail(error, status, "sequence %zu of %zu: %.450s", index + 1, e->sequences, why);
        }
        if (!status) status = count(e, tokens + at, at, n);
        if (!status && at + n == sample && sample <= e->length) /* the state that predicts target sample - 1 */
            status = eval_learning_sample(&e->learning, session, bucket_of((size_t)sample - 1), error);
        if (status) break;
        char detail[64];
        uint64_t done = (uint64_t)index * e->length + (at + n > e->length ? e->length : at + n);
        snprintf(detail, sizeof detail, "loss %.4f, %.0f tokens/s", e->counted ? e->total / (double)e->counted : 0.0,
                 (double)done / (cli_seconds() - progress->started));
        cli_progress_show(progress, done, detail);
    }
    cli_interrupt_cancels(NULL);
    il_session_close(session);
    return status;
}

static il_status finish(il_output **output, il_error *error) {
    il_output *complete = *output;
    *output = NULL;
    return complete ? il_output_finish(complete, error) : IL_OK;
}

static il_status read_all(evaluation *e) {
    cli_progress progress;
    il_status status = IL_OK;
    cli_progress_begin(&progress, e->command->verb, "token", 0, (uint64_t)e->sequences * e->length);
    for (size_t i = 0; i < e->sequences && !status; i++) status = read_sequence(e, i, &progress);
    cli_progress_end(&progress);
    e->seconds = cli_seconds() - progress.started;
    if (!status) status = finish(&e->per_token, &e->command->error);
    if (!status) status = finish(&e->logits_file, &e->command->error);
    return status;
}

/* Bytes of the text that the scored targets stand for, byte for byte as it was encoded. The targets of all
 * sequences are one run of the stream (a sequence's last target is the next one's first input), so one
 * decoder goes through them. */
static void count_bytes(evaluation *e) {
    if (!e->tokenizer) return; /* tokens of a model that came without its tokenizer */
    size_t n = e->sequences * e->length + 1, capacity = il_tokenizer_piece_bytes_max(e->tokenizer), bytes;
    int bos = il_model_config(e->model)->bos_token;
    il_decoder decoder = {.form = IL_DECODE_EXACT};
    char *text = cli_alloc(capacity, 1);
    e->bytes_known = 1;
    for (size_t i = 0; i < n && e->bytes_known; i++) {
        if (e->tokens[i] == bos) {
            decoder = (il_decoder){.form = IL_DECODE_EXACT}; /* a document begins */
            continue;
        }
        if (il_tokenizer_decode(e->tokenizer, &decoder, e->tokens[i], text, capacity, &bytes, NULL))
            e->bytes_known = 0; /* a token the tokenizer does not have: a padded vocabulary */
        else if (i)
            e->bytes += bytes;
    }
    free(text);
}

static il_status write_gradient(evaluation *e) {
    il_error *error = &e->command->error;
    size_t row = e->length + 1;
    int32_t *tokens = cli_alloc(e->sequences * row, sizeof *tokens);
    float *gradient = cli_alloc((size_t)il_model_parameters(e->model), sizeof *gradient);
    for (size_t i = 0; i < e->sequences; i++) memcpy(tokens + i * row, e->tokens + i * e->length, row * sizeof *tokens);
    il_status status = il_model_gradient(e->model, tokens, e->sequences, e->length, &e->gradient_loss, gradient, error);
    if (!status) status = cli_safetensors_write(e->options->grads, e->model, gradient, error);
    free(gradient);
    free(tokens);
    return status;
}

static double mean(double total, uint64_t n) { return n ? total / (double)n : NAN; }

static void print_json(const evaluation *e, double nll, double bits_per_byte) {
    json_t *positions = json_array();
    for (size_t k = 0; k < BUCKETS && e->options->by_position; k++) {
        if (!e->counts[k]) continue;
        size_t to = k + 1 < BUCKETS && bucket_from(k + 1) < e->length ? bucket_from(k + 1) : e->length;
        json_t *position =
            json_pack("{s:I, s:I, s:o, s:I}", "from", (json_int_t)bucket_from(k), "to", (json_int_t)to, "nll",
                      cli_json_real(mean(e->totals[k], e->counts[k])), "tokens", (json_int_t)e->counts[k]);
        if (e->learning.layers) eval_learning_describe(&e->learning, k, position);
        json_array_append_new(positions, position);
    }
    json_t *object = json_pack(
        "{s:I, s:o, s:o, s:o, s:o, s:I, s:I, s:b, s:o, s:o}", "tokens", (json_int_t)e->counted, "nll",
        cli_json_real(nll), "ppl", cli_json_real(exp(nll)), "bits_per_byte", cli_json_real(bits_per_byte), "bytes",
        e->bytes_known ? json_integer((json_int_t)e->bytes) : json_null(), "sequences", (json_int_t)e->sequences,
        "seq_len", (json_int_t)e->length, "frozen", e->options->frozen, "seconds", cli_json_real(e->seconds),
        "tokens_per_s", cli_json_real((double)(e->sequences * e->length) / e->seconds));
    if (e->options->grads) json_object_set_new(object, "loss", cli_json_real(e->gradient_loss));
    json_object_set_new(object, "positions", positions);
    cli_json_print(object);
}

static void print_text(const evaluation *e, double nll, double bits_per_byte) {
    printf("tokens          %llu in %s of %zu\n", (unsigned long long)e->counted, cli_count(e->sequences, "sequence"),
           e->length);
    printf("nll             %.6f\n", nll);
    printf("ppl             %.4f\n", exp(nll));
    if (isfinite(bits_per_byte)) printf("bits per byte   %.6f\n", bits_per_byte);
    printf("speed           %.0f tokens/s\n", (double)(e->sequences * e->length) / e->seconds);
    if (e->options->grads) printf("recipe's loss   %.6f\n", e->gradient_loss);
    if (e->options->by_position) printf("\n%12s %12s %12s %12s", "from", "to", "tokens", "nll");
    if (e->learning.layers) printf(" %12s %12s %12s %12s", "weight_norm", "change_norm", "inner_loss", "inner_drop");
    if (e->options->by_position) printf("\n");
    for (size_t k = 0; k < BUCKETS && e->options->by_position; k++) {
        if (!e->counts[k]) continue;
        size_t to = k + 1 < BUCKETS && bucket_from(k + 1) < e->length ? bucket_from(k + 1) : e->length;
        printf("%12zu %12zu %12llu %12.6f", bucket_from(k), to, (unsigned long long)e->counts[k],
               mean(e->totals[k], e->counts[k]));
        if (e->learning.layers) {
            eval_learning_means means = eval_learning_means_of(&e->learning, k, e->learning.layers);
            const double columns[] = {means.weight_norm, means.change_norm, means.inner_loss, means.inner_drop};
            for (size_t i = 0; i < COUNT_OF(columns); i++)
                isnan(columns[i]) ? printf(" %12s", "-") : printf(" %12.6g", columns[i]);
        }
        printf("\n");
    }
}

static il_status evaluate(evaluation *e) {
    cli_command *command = e->command;
    il_data_options data_options;
    il_documents_options documents = cli_documents_options(&e->options->documents);
    char *dir;
    il_status status =
        cli_choose_for_file(command, e->options->model, e->options->data, &documents, e->options->frozen, &dir);
    if (!status) status = cli_command_load_any(command, dir, &e->model, &e->tokenizer);
    free(dir);
    if (!status && e->options->grads) status = cli_command_widen(command, &e->model);
    if (status) return status;
    e->vocabulary = (size_t)il_model_config(e->model)->vocab_size;
    il_data_options_default(&data_options);
    data_options.documents = documents;
    data_options.length = 1; /* only the stream is used; eval cuts it itself */
    data_options.sequences = 1;
    data_options.shuffle = 0;
    data_options.loop = 0;
    status = cli_command_data(command, &e->options->data, 1, e->tokenizer, (int)e->vocabulary, &data_options, &e->data);
    if (status) return status;
    e->tokens = il_data_stream(e->data);
    e->n_tokens = (size_t)il_data_tokens(e->data);
    status = cut(e);
    if (e->options->by_position) eval_learning_open(&e->learning, e->model, BUCKETS);
    if (!status) status = open_outputs(e);
    cli_interrupt_catch();
    if (!status) status = read_all(e);
    if (!status && e->options->grads) status = write_gradient(e);
    if (status) return status;
    count_bytes(e);
    double nll = mean(e->total, e->counted);
    double bits_per_byte = e->bytes_known && e->bytes ? e->total / log(2) / (double)e->bytes : NAN;
    if (command->spec->json)
        print_json(e, nll, bits_per_byte);
    else
        print_text(e, nll, bits_per_byte);
    return IL_OK;
}

/* Options that go with --reading-gain, and those that do not. */
static const char *misuse(const arg_spec *spec, const eval_options *options) {
    static const char *const ours[] = {"--seq-len",     "--max-tokens", "--feed",   "--frozen",
                                       "--by-position", "--per-token",  "--logits", "--grads"};
    static const char *const theirs[] = {"--author-field", "--read-bytes", "--next-bytes", "--placements", "--seed"};
    if (options->grads && options->frozen)
        return "--grads and --frozen exclude each other: the gradient is that of the learning model";
    for (size_t i = 0; options->reading_gain && i < COUNT_OF(ours); i++)
        if (arg_given(spec, ours[i]))
            return "--reading-gain goes with --author-field, --read-bytes, --next-bytes, --placements and --seed only; "
                   "it is always "
                   "measured frozen too";
    for (size_t i = 0; !options->reading_gain && i < COUNT_OF(theirs); i++)
        if (arg_given(spec, theirs[i]))
            return "--author-field, --read-bytes, --next-bytes, --placements and --seed need --reading-gain";
    if (options->gain.placements % 2) return "--placements: an even number is needed, since they come in pairs";
    return NULL;
}

int verb_eval(int argc, char **argv) {
    eval_options options = {.gain = {.read_bytes = 100000, .next_bytes = 20000, .placements = 32, .seed = 1}};
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", CLI_CHOSEN_MODEL_HELP, READS),
        CLI_DTYPE(&options.dtype),
        ARG("--data", ARG_TEXT, &options.data, "FILE", "tokens, or " CLI_FILE_HELP, READS, .required = 1),
        CLI_DOCUMENTS_OPTIONS(options.documents, CLI_FORMATS),
        ARG("--seq-len", ARG_COUNT, &options.length, "L",
            "tokens of a sequence, each from a fresh state (default: the whole file is one)", RANGE(1, 1e15)),
        ARG("--max-tokens", ARG_COUNT, &options.tokens_max, "N",
            "predict at most N tokens, in whole sequences if one fits (default: all)", RANGE(1, 1e15)),
        ARG("--feed", ARG_COUNT, &options.feed, "N", "read N tokens at a time; the results are the same bits",
            RANGE(1, 1e15)),
        ARG("--frozen", ARG_FLAG, &options.frozen, NULL,
            "make no inner update: the control for learning while reading"),
        ARG("--by-position", ARG_FLAG, &options.by_position, NULL,
            "loss by position in the sequence, and what the inner loop does there"),
        ARG("--per-token", ARG_TEXT, &options.per_token, "FILE.npy",
            "write every loss, fp32 [sequences, L], NaN where left out", WRITES),
        ARG("--logits", ARG_TEXT, &options.logits, "FILE.npy", "write all logits, fp32 [sequences, L, vocabulary]",
            WRITES),
        ARG("--grads", ARG_TEXT, &options.grads, "FILE.safetensors",
            "write the gradient of the recipe's loss for every tensor", WRITES),
        ARG("--reading-gain", ARG_FLAG, &options.reading_gain, NULL,
            "how much reading an author lowers the loss on the text that follows; needs JSON that names authors"),
        ARG("--author-field", ARG_TEXT, &options.gain.documents.also[0], "NAME",
            "of it: the field of JSON that names the author (default author)"),
        ARG("--read-bytes", ARG_COUNT, &options.gain.read_bytes, "N",
            "with --reading-gain: bytes read before a target (default 100000)", RANGE(0, 1e12)),
        ARG("--next-bytes", ARG_COUNT, &options.gain.next_bytes, "N",
            "with --reading-gain: bytes of a target (default 20000)", RANGE(16, 1e12)),
        ARG("--placements", ARG_COUNT, &options.gain.placements, "N",
            "with --reading-gain: how many targets, an even number (default 32)", RANGE(4, 100000)),
        ARG("--seed", ARG_COUNT, &options.gain.seed, "N", "with --reading-gain: which targets (default 1)",
            RANGE(0, 1e15)),
    };
    arg_spec spec = {.verb = "eval",
                     .summary = "measure loss and perplexity, also by position",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop eval --model model --data book.txt --seq-len 2048 --by-position\n"
                                "innerloop eval --model model --data book.txt --seq-len 2048 --frozen --json\n"
                                "innerloop eval --model model --data books.jsonl.zst --reading-gain"};
    cli_command command;
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    const char *complaint = misuse(&spec, &options);
    if (complaint) {
        cli_error(spec.verb, "%s", complaint);
        arg_release(&spec);
        return 2;
    }
    il_status status = cli_command_open(&command, &spec);
    command.dtype = options.dtype;
    if (options.reading_gain) {
        options.gain.model = options.model;
        options.gain.data = options.data;
        const char *author = options.gain.documents.also[0];
        options.gain.documents = cli_documents_options(&options.documents);
        options.gain.documents.also[0] = author;
        if (!status) status = eval_reading_gain(&command, &options.gain);
        return cli_command_close(&command, status);
    }
    evaluation *e = cli_alloc(1, sizeof *e);
    e->command = &command;
    e->options = &options;
    if (!status) status = evaluate(e);
    il_output_abandon(e->per_token);
    il_output_abandon(e->logits_file);
    il_data_close(e->data);
    il_tokenizer_close(e->tokenizer);
    il_model_unref(e->model);
    eval_learning_close(&e->learning);
    free(e->nll);
    free(e->logits);
    free(e);
    return cli_command_close(&command, status);
}
