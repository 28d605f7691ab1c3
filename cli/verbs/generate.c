/* generate.c: `innerloop generate`: continues a prompt. Standard output holds what the model wrote and nothing else but
 * a last line end, so that it can be piped; --json has the exact bytes. The prompt is not repeated. */
#include "bundled_model.h"
#include "command.h"
#include "documents.h"
#include "interrupt.h"
#include "lines.h"
#include "model_choice.h"
#include "output.h"
#include "verbs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECENT = 64, PROMPT_TOKENS = 2048 };

typedef struct generate_options {
    const char *model, *dtype, *prompt, *prompt_file, *load, *save;
    uint64_t tokens_max, top_k, seed;
    double temperature, top_p, min_p, repeat_penalty;
    arg_list stop;
    int mix;
} generate_options;

/* Text on its way out. What could be the beginning of a stop string is held back. */
typedef struct text_outlet {
    const arg_list *stops;
    int stream; /* print as it comes */
    char *text; /* [bytes] everything written; [printed] of it are out */
    size_t bytes, capacity, printed;
    int failure; /* errno of standard output */
} text_outlet;

static void print_to(text_outlet *outlet, size_t end) {
    if (outlet->stream && end > outlet->printed && !outlet->failure) {
        size_t n = end - outlet->printed;
        if (fwrite(outlet->text + outlet->printed, 1, n, stdout) < n || fflush(stdout)) outlet->failure = errno;
    }
    if (end > outlet->printed) outlet->printed = end;
}

/* Adds text; returns 1 when a stop string is complete: the text then ends before it. */
static int put(text_outlet *outlet, const char *text, size_t n) {
    outlet->text = cli_grown(outlet->text, &outlet->capacity, outlet->bytes + n, 1);
    if (n) memcpy(outlet->text + outlet->bytes, text, n);
    outlet->bytes += n;
    size_t stop_at = outlet->bytes, safe = outlet->bytes;
    for (size_t i = 0; i < outlet->stops->n; i++) {
        const char *stop = outlet->stops->items[i];
        size_t length = strlen(stop);
        for (size_t at = outlet->printed; at < stop_at; at++) {
            size_t rest = outlet->bytes - at, shared = rest < length ? rest : length;
            if (memcmp(outlet->text + at, stop, shared)) continue;
            if (shared == length)
                stop_at = at;
            else if (at < safe)
                safe = at;
            break;
        }
    }
    if (stop_at < outlet->bytes) {
        outlet->bytes = stop_at;
        print_to(outlet, stop_at);
        return 1;
    }
    print_to(outlet, safe);
    return 0;
}

/* Tokens that were written, and where the text up to each ends; SIZE_MAX: in the middle of a character. */
typedef struct trace {
    int32_t *tokens; /* [n] */
    size_t *ends;    /* [n] */
    size_t n, capacity;
} trace;

static void trace_add(trace *t, int32_t token, size_t end) {
    size_t tokens = t->capacity;
    t->tokens = cli_grown(t->tokens, &tokens, t->n + 1, sizeof *t->tokens);
    t->ends = cli_grown(t->ends, &t->capacity, t->n + 1, sizeof *t->ends);
    t->tokens[t->n] = token;
    t->ends[t->n++] = end;
}

typedef struct generation {
    cli_command *command;
    const generate_options *options;
    il_model *model;
    il_tokenizer *tokenizer;
    il_session *session;
    int32_t *prompt; /* [n_prompt], BOS included */
    size_t n_prompt;
    int32_t drawn;        /* the last token, while the session has not read it; -1 */
    il_session *prompted; /* with --stop and --save-state: the session after the prompt; else NULL */
    trace written;        /* since then */
    int eos[2];           /* the tokenizer's and the config's; -1: none */
    float *logits;
    char *decoded;
    size_t decoded_capacity;
    il_decoder decoder;
    int32_t recent[RECENT]; /* the last tokens, prompt included */
    size_t n_recent;
    text_outlet outlet;
    json_t *ids;
    uint64_t generated;
    uint64_t evaluated;
    const char *finish; /* "length", "eos", "stop" or "interrupted" */
    double prompt_seconds, seconds;
} generation;

static void remember(generation *g, int32_t token) {
    if (g->n_recent == RECENT)
        memmove(g->recent, g->recent + 1, (RECENT - 1) * sizeof *g->recent);
    else
        g->n_recent++;
    g->recent[g->n_recent - 1] = token;
}

/* The tokens of text [bytes], which follows earlier text or begins one. */
static il_status encode(cli_encoder *encoder, const char *text, size_t bytes, int follows, il_error *error) {
    char *line = cli_alloc(1 + bytes, 1);
    line[0] = '\n';
    memcpy(line + 1, text, bytes);
    il_status status = cli_encoder_encode(encoder, line + 1, bytes, follows, error);
    free(line);
    return status;
}

/* The prompt's tokens: a text that begins, with BOS, or one that goes on from what the loaded state has read. */
static il_status make_prompt(generation *g) {
    il_error *error = &g->command->error;
    const il_config *config = il_model_config(g->model);
    const char *prompt = g->options->prompt ? g->options->prompt : "";
    char *text = NULL;
    size_t bytes = strlen(prompt);
    int follows = il_session_position(g->session) > 0;
    cli_encoder encoder;
    il_tokenizer_info info;
    il_status status = IL_OK;
    il_tokenizer_get_info(g->tokenizer, &info);
    cli_encoder_open(&encoder, g->tokenizer);
    if (g->options->prompt_file) {
        status = cli_documents_text(g->command->engine, g->options->prompt_file, &text, &bytes, error);
        prompt = text;
    }
    if (!status && bytes) status = encode(&encoder, prompt, bytes, follows, error);
    free(text);
    if (!status) {
        int bos = follows ? -1 : il_tokenizer_bos(g->tokenizer, config);
        size_t begins = bos >= 0, n = encoder.tokens.n - encoder.skip;
        g->n_prompt = begins + n;
        g->prompt = cli_alloc(g->n_prompt, sizeof *g->prompt);
        if (begins) g->prompt[0] = bos;
        if (n) memcpy(g->prompt + begins, encoder.tokens.ids + encoder.skip, n * sizeof *g->prompt);
        g->decoder = (il_decoder){.form = IL_DECODE_UTF8, .started = follows || n > 0};
        g->eos[0] = info.eos;
        g->eos[1] = config->eos_token;
        if (!g->n_prompt && !follows)
            status = cli_fail(error, IL_ERR_ARG, "the prompt is empty and the tokenizer has no BOS to begin with");
    }
    cli_encoder_close(&encoder);
    return status;
}

static il_status feed(generation *g, const int32_t *tokens, size_t n) {
    if (cli_interrupted()) return cli_fail(&g->command->error, IL_ERR_CANCELLED, "interrupted");
    for (size_t i = n > RECENT ? n - RECENT : 0; i < n; i++) remember(g, tokens[i]);
    return il_session_feed(g->session, tokens, n, NULL, NULL, &g->command->error);
}

static il_status read_prompt(generation *g) {
    cli_progress progress;
    il_status status = IL_OK;
    double started = cli_seconds();
    cli_progress_begin(&progress, g->command->verb, "prompt", 0, g->n_prompt);
    for (size_t at = 0; at < g->n_prompt && !status; at += PROMPT_TOKENS) {
        size_t n = g->n_prompt - at < PROMPT_TOKENS ? g->n_prompt - at : PROMPT_TOKENS;
        status = feed(g, g->prompt + at, n);
        if (!status && g->n_prompt > PROMPT_TOKENS) cli_progress_show(&progress, at + n, "");
    }
    cli_progress_end(&progress);
    g->prompt_seconds = cli_seconds() - started;
    return status;
}

/* Draws one token and passes its text on; sets finish when it was the last. */
static il_status next_token(generation *g, const il_sample_options *sampling, int32_t *token) {
    il_error *error = &g->command->error;
    size_t bytes;
    il_status status = il_session_logits(g->session, g->logits, error);
    if (!status)
        status = il_sample(sampling, g->logits, il_model_config(g->model)->vocab_size, il_session_position(g->session),
                           g->recent, g->n_recent, token, error);
    if (status) return status;
    if (*token == g->eos[0] || *token == g->eos[1]) {
        g->finish = "eos";
        return IL_OK;
    }
    g->generated++;
    json_array_append_new(g->ids, json_integer(*token));
    il_tokenizer_info info;
    il_tokenizer_get_info(g->tokenizer, &info);
    if (*token < info.vocab_size) { /* an entry of a padded vocabulary stands for no text */
        status = il_tokenizer_decode(g->tokenizer, &g->decoder, *token, g->decoded, g->decoded_capacity, &bytes, error);
        if (!status && put(&g->outlet, g->decoded, bytes)) g->finish = "stop";
    }
    if (!g->finish && g->prompted) trace_add(&g->written, *token, g->decoder.n_pending ? SIZE_MAX : g->outlet.bytes);
    return status;
}

static il_status write_text(generation *g) {
    il_sample_options sampling;
    il_sample_options_default(&sampling);
    sampling.temperature = (float)g->options->temperature;
    sampling.top_k = (int)g->options->top_k;
    sampling.top_p = (float)g->options->top_p;
    sampling.min_p = (float)g->options->min_p;
    sampling.repeat_penalty = (float)g->options->repeat_penalty;
    sampling.seed = g->options->seed;
    double started = cli_seconds();
    il_status status = IL_OK;
    while (!status && !g->finish && !g->outlet.failure && g->generated < g->options->tokens_max) {
        int32_t token;
        status = next_token(g, &sampling, &token);
        if (status || g->finish) break;
        g->drawn = token;
        if (g->generated < g->options->tokens_max) status = feed(g, &token, 1);
        if (!status && g->generated < g->options->tokens_max) g->drawn = -1;
    }
    g->seconds = cli_seconds() - started;
    if (status == IL_ERR_CANCELLED) g->finish = "interrupted";
    if (status && status != IL_ERR_CANCELLED) return status;
    if (!g->finish) g->finish = "length";
    if (strcmp(g->finish, "stop")) { /* nothing more can complete a character or a stop string */
        size_t bytes;
        if (!il_tokenizer_decode(g->tokenizer, &g->decoder, -1, g->decoded, g->decoded_capacity, &bytes, NULL))
            if (put(&g->outlet, g->decoded, bytes)) g->finish = "stop";
        print_to(&g->outlet, g->outlet.bytes);
    }
    return status;
}

/* When a stop string was complete, the session had read what of it came before, and had not read what of the last token
 * belongs to the text: so the text is read again, from the end of the prompt. Tokens that were printed whole are taken
 * as they were drawn. */
static il_status read_printed(generation *g) {
    il_error *error = &g->command->error;
    size_t whole = g->written.n, bytes = g->outlet.bytes;
    while (whole && g->written.ends[whole - 1] > bytes) whole--;
    size_t at = whole ? g->written.ends[whole - 1] : 0;
    if (at == bytes && il_session_position(g->session) - il_session_position(g->prompted) == whole) return IL_OK;
    il_session_stats stats;
    il_session_get_stats(g->session, &stats);
    il_session_close(g->session);
    g->session = g->prompted;
    g->prompted = NULL;
    g->evaluated += stats.tokens_fed;
    il_status status = il_session_feed(g->session, g->written.tokens, whole, NULL, NULL, error);
    if (at == bytes || status) return status;
    cli_encoder encoder;
    cli_encoder_open(&encoder, g->tokenizer);
    status = encode(&encoder, g->outlet.text + at, bytes - at, 1, error);
    if (!status)
        status = il_session_feed(g->session, encoder.tokens.ids + encoder.skip, encoder.tokens.n - encoder.skip, NULL,
                                 NULL, error);
    cli_encoder_close(&encoder);
    return status;
}

/* The state after all that was printed, so that the next run goes on from there. */
static il_status save(generation *g) {
    il_error *error = &g->command->error;
    il_status status = IL_OK;
    if (!strcmp(g->finish ? g->finish : "", "stop"))
        status = read_printed(g);
    else if (g->drawn >= 0)
        status = il_session_feed(g->session, &g->drawn, 1, NULL, NULL, error);
    return status ? status : il_session_save(g->session, g->options->save, error);
}

static il_status generate(generation *g) {
    cli_command *command = g->command;
    const generate_options *options = g->options;
    il_error *error = &command->error;
    il_session_options fresh = {.mix = options->mix};
    il_status status = cli_choose_session(command, options->model, options->load, NULL, NULL, &fresh, &g->model,
                                          &g->tokenizer, &g->session);
    if (!status) status = make_prompt(g);
    if (status) return status;
    g->logits = cli_alloc((size_t)il_model_config(g->model)->vocab_size, sizeof *g->logits);
    g->decoded_capacity = il_tokenizer_piece_bytes_max(g->tokenizer);
    g->decoded = cli_alloc(g->decoded_capacity, 1);
    g->outlet.stops = &g->options->stop;
    g->outlet.stream = !command->spec->json;
    cli_interrupt_catch();
    cli_interrupt_cancels(g->session);
    status = read_prompt(g);
    if (!status && options->save && options->stop.n) status = il_session_fork(g->session, &g->prompted, error);
    if (!status) status = write_text(g);
    cli_interrupt_cancels(NULL);
    if (g->outlet.failure) return cli_fail(error, IL_ERR_IO, "standard output: %s", strerror(g->outlet.failure));
    if (options->save && (!status || status == IL_ERR_CANCELLED)) {
        il_status saved = save(g);
        if (saved) return saved;
    }
    if (!g->finish) return status;
    il_session_stats stats;
    il_session_get_stats(g->session, &stats);
    double rate = g->seconds > 0 ? (double)g->generated / g->seconds : 0;
    if (command->spec->json) {
        cli_json_print(json_pack("{s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:s, s:O}", "text",
                                 cli_json_text(g->outlet.text, g->outlet.bytes), "tokens", (json_int_t)g->generated,
                                 "prompt_tokens", (json_int_t)g->n_prompt, "position", (json_int_t)stats.position,
                                 "evaluated", (json_int_t)(g->evaluated + stats.tokens_fed), "seconds",
                                 cli_json_real(g->seconds), "prompt_seconds", cli_json_real(g->prompt_seconds),
                                 "tokens_per_s", cli_json_real(rate), "finish", g->finish, "ids", g->ids));
    } else {
        if (g->outlet.bytes && g->outlet.text[g->outlet.bytes - 1] != '\n') putchar('\n'); /* as text files end */
        fflush(stdout);
        cli_note(command->verb, "%s in %.2f s, %s in %.2f s (%.1f tokens/s), finish: %s",
                 cli_count(g->n_prompt, "prompt token"), g->prompt_seconds, cli_count(g->generated, "token"),
                 g->seconds, rate, g->finish);
    }
    return status;
}

static const char *misuse(const generate_options *options) {
    if (!options->prompt && !options->prompt_file && !options->load)
        return "--prompt TEXT or --prompt-file FILE is missing";
    if (options->prompt && options->prompt_file) return "--prompt and --prompt-file exclude each other";
    if (options->load && options->mix)
        return "--load-state and --mix exclude each other: whether a state has a mix was decided when it was read";
    for (size_t i = 0; i < options->stop.n; i++)
        if (!options->stop.items[i][0]) return "--stop: an empty string stops nothing";
    return NULL;
}

int verb_generate(int argc, char **argv) {
    generate_options options = {.tokens_max = 256};
    il_sample_options sampling;
    il_sample_options_default(&sampling);
    options.temperature = (double)sampling.temperature;
    options.top_k = (uint64_t)sampling.top_k;
    options.top_p = (double)sampling.top_p;
    options.min_p = (double)sampling.min_p;
    options.repeat_penalty = (double)sampling.repeat_penalty;
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", CLI_BUNDLED_MODEL_HELP, READS),
        CLI_DTYPE(&options.dtype),
        ARG("--prompt", ARG_TEXT, &options.prompt, "TEXT", "text to continue; it is not printed again"),
        ARG("--prompt-file", ARG_TEXT, &options.prompt_file, "FILE",
            "read that text from a file, all of it, also a .gz or .zst (- is standard input)", READS),
        ARG("--load-state", ARG_TEXT, &options.load, "FILE", "go on from this state; no prompt is needed then", READS),
        ARG("--save-state", ARG_TEXT, &options.save, "FILE", "save the state after what was printed",
            REPLACES("--load-state")),
        ARG("--max-tokens", ARG_COUNT, &options.tokens_max, "N", "stop after N tokens (default 256)", RANGE(0, 1e15)),
        ARG("--temperature", ARG_REAL, &options.temperature, "F",
            "how evenly tokens are drawn; 0: always the likeliest token (default 0.8)", RANGE(0, 100)),
        ARG("--top-k", ARG_COUNT, &options.top_k, "N", "draw from the N likeliest tokens; 0: off (default 40)",
            RANGE(0, 1 << 24)),
        ARG("--top-p", ARG_REAL, &options.top_p, "F",
            "draw from the likeliest tokens that have probability F together; 1: off (default 0.95)", RANGE(1e-6, 1)),
        ARG("--min-p", ARG_REAL, &options.min_p, "F",
            "leave out tokens less likely than F times the likeliest one; 0: off (default 0.05)", RANGE(0, 1)),
        ARG("--repeat-penalty", ARG_REAL, &options.repeat_penalty, "F",
            "make the last 64 tokens less likely; 1: off (default 1)", RANGE(1e-3, 1e3)),
        ARG("--seed", ARG_COUNT, &options.seed, "N", "seed of the draws: the same seed gives the same text (default 0)",
            RANGE(0, ARG_SEED_MAX)),
        ARG("--stop", ARG_REPEAT, &options.stop, "TEXT", "stop before TEXT, which is not printed; can be repeated"),
        ARG("--mix", ARG_FLAG, &options.mix, NULL,
            "predict also by what followed the same words before: the text goes on as it went before"),
    };
    arg_spec spec = {.verb = "generate",
                     .summary = "continue a prompt",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop generate --model model --prompt 'It was a dark' --max-tokens 100 --seed 7\n"
                                "innerloop generate --model model --prompt-file - --temperature 0 < story.txt"};
    cli_command command;
    generation g = {.command = &command, .options = &options, .drawn = -1, .eos = {-1, -1}};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    const char *complaint = misuse(&options);
    if (complaint) {
        cli_error(spec.verb, "%s (see innerloop generate --help)", complaint);
        arg_release(&spec);
        return 2;
    }
    g.ids = json_array();
    il_status status = cli_command_open(&command, &spec);
    command.dtype = options.dtype;
    if (!status) status = generate(&g);
    il_session_close(g.session);
    il_session_close(g.prompted);
    free(g.written.tokens);
    free(g.written.ends);
    il_tokenizer_close(g.tokenizer);
    il_model_unref(g.model);
    json_decref(g.ids);
    free(g.prompt);
    free(g.logits);
    free(g.decoded);
    free(g.outlet.text);
    return cli_command_close(&command, status);
}
