/* generate.c: `innerloop generate`: continues a prompt. Standard output holds what the model wrote and nothing else but
 * a last line end, so that it can be piped; --json has the exact bytes. The prompt is not repeated. Models of pictures
 * draw (generate_pictures.h). */
#include "bundled_model.h"
#include "command.h"
#include "documents.h"
#include "interrupt.h"
#include "lines.h"
#include "model_choice.h"
#include "output.h"
#include "sampling.h"
#include "verbs.h"
#include "verbs/generate_pictures.h"
#include "writing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_TOKENS = 2048 };

typedef struct generate_options {
    const char *model, *dtype, *prompt, *prompt_file, *load, *save;
    uint64_t tokens_max;
    cli_sampling sampling;
    arg_list stop;
    int mix, frozen;
    generate_picture_options pictures;
} generate_options;

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
    cli_writing writing;
    int started; /* the text goes on from earlier text */
    json_t *ids;
    uint64_t generated;
    uint64_t evaluated;
    const char *finish; /* "length", "eos", "stop" or "interrupted" */
    double prompt_seconds, seconds;
} generation;

/* The prompt's tokens: a text that begins, with BOS, or one that goes on from what the loaded state has read. */
static il_status make_prompt(generation *g) {
    il_error *error = &g->command->error;
    const il_config *config = il_model_config(g->model);
    const char *prompt = g->options->prompt ? g->options->prompt : "";
    char *text = NULL;
    size_t bytes = strlen(prompt);
    int follows = il_session_position(g->session) > 0;
    cli_encoder encoder;
    il_status status = IL_OK;
    cli_encoder_open(&encoder, g->tokenizer);
    if (g->options->prompt_file) {
        status = cli_documents_text(g->command->engine, g->options->prompt_file, &text, &bytes, error);
        prompt = text;
    }
    if (!status && bytes) status = cli_encoder_encode_alone(&encoder, prompt, bytes, follows, error);
    free(text);
    if (!status) {
        int bos = follows ? -1 : il_tokenizer_bos(g->tokenizer, config);
        size_t begins = bos >= 0, n = encoder.tokens.n - encoder.skip;
        g->n_prompt = begins + n;
        g->prompt = cli_alloc(g->n_prompt, sizeof *g->prompt);
        if (begins) g->prompt[0] = bos;
        if (n) memcpy(g->prompt + begins, encoder.tokens.ids + encoder.skip, n * sizeof *g->prompt);
        g->started = follows || n > 0;
        if (!g->n_prompt && !follows)
            status = cli_fail(error, IL_ERR_ARG, "the prompt is empty and the tokenizer has no BOS to begin with");
    }
    cli_encoder_close(&encoder);
    return status;
}

static il_status feed(generation *g, const int32_t *tokens, size_t n) {
    if (cli_interrupted()) return cli_fail(&g->command->error, IL_ERR_CANCELLED, "interrupted");
    cli_writing_remember(&g->writing, tokens, n);
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

static il_status write_text(generation *g) {
    cli_writing *w = &g->writing;
    double started = cli_seconds();
    il_status status = IL_OK;
    cli_writing_begin(w, g->started);
    while (!status && !g->finish && !w->failure && g->generated < g->options->tokens_max) {
        int32_t token;
        status = cli_writing_next(w, g->session, &token, &g->finish, &g->command->error);
        if (status || (g->finish && !strcmp(g->finish, "eos"))) break;
        g->generated++;
        json_array_append_new(g->ids, json_integer(token));
        if (g->finish) break;
        g->drawn = token;
        if (g->generated < g->options->tokens_max) status = feed(g, &token, 1);
        if (!status && g->generated < g->options->tokens_max) g->drawn = -1;
    }
    g->seconds = cli_seconds() - started;
    if (status == IL_ERR_CANCELLED) g->finish = "interrupted";
    if (status && status != IL_ERR_CANCELLED) return status;
    if (!g->finish) g->finish = "length";
    if (strcmp(g->finish, "stop") && cli_writing_end(w)) g->finish = "stop";
    return status;
}

/* The state after all that was printed, so that the next run goes on from there. */
static il_status save(generation *g) {
    il_error *error = &g->command->error;
    il_status status = IL_OK;
    if (!strcmp(g->finish ? g->finish : "", "stop"))
        status = cli_writing_cut(&g->writing, &g->session, &g->prompted, &g->evaluated, error);
    else if (g->drawn >= 0)
        status = il_session_feed(g->session, &g->drawn, 1, NULL, NULL, error);
    return status ? status : il_session_save(g->session, g->options->save, error);
}

static il_status generate(generation *g) {
    cli_command *command = g->command;
    const generate_options *options = g->options;
    il_error *error = &command->error;
    il_session_options fresh = {.mix = options->mix, .frozen = options->frozen};
    il_status status = cli_choose_session(command, options->model, options->load, NULL, NULL, &fresh, &g->model,
                                          &g->tokenizer, &g->session);
    il_generation usual;
    if (!status && il_tokenizer_pictures(g->tokenizer))
        return generate_pictures(command, g->model, g->tokenizer, options->prompt, &options->sampling, options->frozen,
                                 &options->pictures);
    if (!status && generate_pictures_given(command->spec)) {
        command->wrong_usage = 1;
        return cli_fail(error, IL_ERR_ARG, "%s is of pictures, and this is a model of text",
                        generate_pictures_given(command->spec));
    }
    if (!status) status = make_prompt(g);
    if (!status)
        status = il_generation_load(g->tokenizer, il_model_config(g->model), command->model_dir, &usual, error);
    if (status) return status;
    cli_sampling_apply(&options->sampling, command->spec, &usual.sampling);
    cli_writing_open(&g->writing, g->model, g->tokenizer, &usual);
    g->writing.stops = options->stop.items;
    g->writing.n_stops = options->stop.n;
    g->writing.print = command->spec->json ? NULL : cli_print_stdout;
    g->writing.keeps_trace = options->save && options->stop.n;
    cli_interrupt_catch();
    cli_interrupt_cancels(g->session);
    status = read_prompt(g);
    if (!status && g->writing.keeps_trace) status = il_session_fork(g->session, &g->prompted, error);
    if (!status) status = write_text(g);
    cli_interrupt_cancels(NULL);
    if (g->writing.failure) return cli_fail(error, IL_ERR_IO, "standard output: %s", strerror(g->writing.failure));
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
                                 cli_json_text(g->writing.text, g->writing.bytes), "tokens", (json_int_t)g->generated,
                                 "prompt_tokens", (json_int_t)g->n_prompt, "position", (json_int_t)stats.position,
                                 "evaluated", (json_int_t)(g->evaluated + stats.tokens_fed), "seconds",
                                 cli_json_real(g->seconds), "prompt_seconds", cli_json_real(g->prompt_seconds),
                                 "tokens_per_s", cli_json_real(rate), "finish", g->finish, "ids", g->ids));
    } else {
        if (g->writing.bytes && g->writing.text[g->writing.bytes - 1] != '\n') putchar('\n'); /* as text files end */
        fflush(stdout);
        cli_note(command->verb, "%s in %.2f s, %s in %.2f s (%.1f tokens/s), finish: %s",
                 cli_count(g->n_prompt, "prompt token"), g->prompt_seconds, cli_count(g->generated, "token"),
                 g->seconds, rate, g->finish);
    }
    return status;
}

static const char *misuse(const arg_spec *spec, const generate_options *options) {
    if (!options->prompt && !options->prompt_file && !options->load && !generate_pictures_given(spec))
        return "--prompt TEXT or --prompt-file FILE is missing, or --out FILE, which suffices for pictures";
    if (options->prompt && options->prompt_file) return "--prompt and --prompt-file exclude each other";
    if (options->load && options->mix)
        return "--load-state and --mix exclude each other: whether a state has a mix was decided when it was read";
    if (options->load && options->frozen)
        return "--load-state and --frozen exclude each other: whether a state learns was decided when it was read";
    for (size_t i = 0; i < options->stop.n; i++)
        if (!options->stop.items[i][0]) return "--stop: an empty string stops nothing";
    return NULL;
}

int verb_generate(int argc, char **argv) {
    generate_options options = {.tokens_max = 256, .pictures = {.count = 1, .scale = 1, .guidance = 1}};
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", CLI_BUNDLED_MODEL_HELP, READS),
        CLI_DTYPE(&options.dtype),
        ARG("--prompt", ARG_TEXT, &options.prompt, "TEXT",
            "text to continue, which is not printed again; of a model of pictures: the caption"),
        ARG("--prompt-file", ARG_TEXT, &options.prompt_file, "FILE",
            "read that text from a file, all of it, also a .gz or .zst (- is standard input)", READS),
        ARG("--load-state", ARG_TEXT, &options.load, "FILE", "go on from this state; no prompt is needed then", READS),
        ARG("--save-state", ARG_TEXT, &options.save, "FILE", "save the state after what was printed",
            REPLACES("--load-state")),
        ARG("--max-tokens", ARG_COUNT, &options.tokens_max, "N", "stop after N tokens (default 256)", RANGE(0, 1e15)),
        CLI_SAMPLING_OPTIONS(options.sampling),
        ARG("--stop", ARG_REPEAT, &options.stop, "TEXT", "stop before TEXT, which is not printed; can be repeated"),
        ARG("--mix", ARG_FLAG, &options.mix, NULL,
            "predict also by what followed the same words before: the text goes on as it went before"),
        ARG("--frozen", ARG_FLAG, &options.frozen, NULL,
            "make no inner update: the control for learning while reading"),
        GENERATE_PICTURE_OPTIONS(options.pictures),
    };
    arg_spec spec = {.verb = "generate",
                     .summary = "continue a prompt, or draw",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop generate --model model --prompt 'It was a dark' --max-tokens 100 --seed 7\n"
                                "innerloop generate --model model --prompt-file - --temperature 0 < story.txt\n"
                                "innerloop generate --model clothes --prompt 'ankle boot' --count 12 --out boots.png"};
    cli_command command;
    generation g = {.command = &command, .options = &options, .drawn = -1};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    const char *complaint = misuse(&spec, &options);
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
    cli_writing_close(&g.writing);
    il_tokenizer_close(g.tokenizer);
    il_model_unref(g.model);
    json_decref(g.ids);
    free(g.prompt);
    return cli_command_close(&command, status);
}
