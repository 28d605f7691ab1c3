/* score.c: `innerloop score`: how surprising is this text to a model that learns while it reads it? Text is
 * taken line by line as it comes, so that a log can be watched; memory is constant. The text is what it would
 * be for eval: BOS first, a line tokenized as what follows a line end. Models of pictures score those
 * (score_pictures.h). */
#include "bundled_model.h"
#include "command.h"
#include "documents.h"
#include "files.h"
#include "interrupt.h"
#include "lines.h"
#include "model_choice.h"
#include "output.h"
#include "peak.h"
#include "verbs.h"
#include "verbs/score_html.h"
#include "verbs/score_pictures.h"
#include "verbs/score_print.h"
#include "verbs/score_quantile.h"
#include "verbs/score_top.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BATCH = 512,       /* tokens after which what has been read is fed */
    FEED_TOKENS = 2048 /* tokens fed at a time, between looks at Ctrl-C */
};

/* What is to be done between tokens. */
enum { LINE_ENDS = -1, PASSAGE_ENDS = -2, TEXT_BEGINS = -3 };

typedef struct score_options {
    const char *model, *dtype, *by, *html, *load, *save;
    double threshold, quantile;
    uint64_t window, learn, top;
    int frozen, mix, relative, only_marked, peak;
    cli_documents documents;
    cli_picture_options pictures;
} score_options;

typedef struct scoring {
    cli_command *command;
    il_model *model;
    il_tokenizer *tokenizer;
    il_session *session;
    const char *save; /* the state at the end, which is the end of a line; NULL: not wanted */
    uint64_t learn;   /* lines that are read and not reported */
    int only_marked;
    size_t window;   /* tokens a session holds at most; 0: no limit */
    int mixed;       /* the session has a mix */
    int32_t *within; /* [position of the session]: its tokens; with a window */
    score_view view;
    score_printer printer;
    score_html html;
    cli_lines lines;   /* in */
    int passage_words; /* the passage under way has a line that is not blank */
    int wrong_usage;   /* this model or state cannot do what was asked for */
    /* what is fed together: tokens, and the events between them */
    int32_t *steps, *tokens; /* [n_steps], [n_tokens] */
    float *nll, *slow;       /* [n_tokens] */
    size_t n_steps, n_tokens, capacity;
    /* out */
    il_decoder shown, exact; /* for the eye; for counting bytes */
    char *decoded, *exactly; /* [decoded_capacity], a token by shown, by exact */
    size_t decoded_capacity;
    double waiting; /* nats, maybe relative, of tokens that have not completed a character */
    int waiting_known;
    score_line line, one;    /* one: a token by itself */
    score_unit passage, all; /* all: what is reported */
    uint64_t position, n_lines, learned_tokens, above;
    score_quantile *quantile; /* NULL: the threshold is fixed */
    score_top top;
    cli_peak *peak; /* NULL: not asked for */
} scoring;

/* ---- units ---- */

static void count(score_unit *unit, double nats, double slow, size_t bytes) {
    unit->tokens++;
    unit->bytes += bytes;
    unit->nats += nats;
    unit->slow += slow;
}

static int learns_only(const scoring *s) { return s->n_lines < s->learn; }

/* Fills in what is known of a unit of kind `by` when it is complete; whether it is to be shown. */
static int settle(scoring *s, score_unit *unit, score_by by) {
    double score = score_of(&s->view, unit, by);
    if (s->quantile && by == s->view.by) s->view.threshold = score_quantile_now(s->quantile);
    unit->mean = score_per_byte(&s->all);
    unit->limit = s->view.threshold;
    unit->above = s->view.has_threshold && score > s->view.threshold;
    if (s->quantile && by == s->view.by) score_quantile_add(s->quantile, score);
    if (learns_only(s)) return 0;
    if (by == s->view.by) s->above += (uint64_t)unit->above;
    return !s->only_marked || by != s->view.by || unit->above;
}

/* Whether a unit that is to be shown is kept for the end instead. */
static int kept(scoring *s, const score_line *line, score_by by, int32_t token) {
    if (!s->top.capacity || by != s->view.by) return 0;
    score_top_add(&s->top, score_of(&s->view, &line->unit, by), line, token);
    return 1;
}

/* ---- out: from tokens and their losses to lines and passages ---- */

static void add_cell(scoring *s, size_t bytes) {
    score_line *line = &s->line;
    if (bytes) {
        line->text = cli_grown(line->text, &line->capacity, line->bytes + bytes, 1);
        line->cells = cli_grown(line->cells, &line->cells_capacity, line->n_cells + 1, sizeof *line->cells);
        memcpy(line->text + line->bytes, s->decoded, bytes);
        line->cells[line->n_cells++] = (score_cell){line->bytes, bytes, s->waiting_known ? s->waiting / log(2) : NAN};
        line->bytes += bytes;
        s->waiting = 0;
        s->waiting_known = 0;
    }
}

static il_status take_token(scoring *s, int32_t token, double nll, double slow) {
    il_error *error = &s->command->error;
    size_t bytes, shown, from = s->line.bytes;
    il_status status =
        il_tokenizer_decode(s->tokenizer, &s->exact, token, s->exactly, s->decoded_capacity, &bytes, error);
    if (!status)
        status = il_tokenizer_decode(s->tokenizer, &s->shown, token, s->decoded, s->decoded_capacity, &shown, error);
    if (status) return status;
    score_unit *one = &s->one.unit;
    *one = (score_unit){.index = ++s->position, .first_line = s->n_lines + 1, .nats = NAN};
    s->learned_tokens += (uint64_t)learns_only(s);
    if (!isnan(nll)) {
        one->nats = 0;
        count(one, nll, slow, bytes);
        count(&s->line.unit, nll, slow, bytes);
        count(&s->passage, nll, slow, bytes);
        if (!learns_only(s)) count(&s->all, nll, slow, bytes);
        s->waiting += s->view.relative ? nll - slow : nll;
        s->waiting_known = 1;
    }
    s->one.text = s->decoded;
    s->one.bytes = shown;
    if (settle(s, one, SCORE_BY_TOKEN) && !kept(s, &s->one, SCORE_BY_TOKEN, token))
        score_print_token(&s->printer, one, token, s->decoded, shown);
    if (s->peak) cli_peak_token(s->peak, s->exactly, bytes, score_bits(one), from, from + shown);
    add_cell(s, shown);
    return IL_OK;
}

static il_status end_line(scoring *s) {
    score_line *line = &s->line;
    size_t shown;
    il_status status =
        il_tokenizer_decode(s->tokenizer, &s->shown, -1, s->decoded, s->decoded_capacity, &shown, &s->command->error);
    if (status) return status;
    add_cell(s, shown);
    if (!s->passage.lines++) s->passage.first_line = s->n_lines + 1;
    line->unit.index = line->unit.first_line = s->n_lines + 1;
    line->unit.lines = 1;
    if (s->peak) {
        cli_peak_worst worst = cli_peak_line(s->peak);
        line->unit.peak = worst.score;
        line->worst_from = worst.from;
        line->worst_to = worst.to;
    }
    if (settle(s, &line->unit, SCORE_BY_LINE) && !kept(s, line, SCORE_BY_LINE, -1)) score_print_line(&s->printer, line);
    if (!learns_only(s)) {
        s->all.lines++;
        status = score_html_line(&s->html, line, &s->command->error);
    }
    line->unit = (score_unit){0};
    line->bytes = line->n_cells = 0;
    if (++s->n_lines == s->learn) s->passage = (score_unit){0}; /* what is left of it is one by itself */
    return status;
}

static il_status end_passage(scoring *s) {
    score_line passage = {.unit = s->passage};
    s->passage = (score_unit){0};
    if (!passage.unit.lines) return IL_OK;                    /* the last of its lines was the last to be learned */
    if (!learns_only(s)) passage.unit.index = ++s->all.index; /* of everything: how many passages */
    if (settle(s, &passage.unit, SCORE_BY_PASSAGE) && !kept(s, &passage, SCORE_BY_PASSAGE, -1))
        score_print_passage(&s->printer, &passage.unit);
    return learns_only(s) ? IL_OK : score_html_passage(&s->html, &passage.unit, &s->command->error);
}

/* A session that has read the last half of its window, in place of the full one. */
static il_status renew(scoring *s) {
    il_error *error = &s->command->error;
    il_session_options options = {.frozen = s->view.frozen, .mix = s->mixed};
    size_t half = s->window / 2;
    memmove(s->within, s->within + s->window - half, half * sizeof *s->within);
    il_session_close(s->session);
    il_status status = il_session_open(s->model, &options, &s->session, error);
    return status ? status : il_session_feed(s->session, s->within, half, NULL, NULL, error);
}

static il_status feed_session(scoring *s, const int32_t *tokens, size_t n, float *nll, float *slow) {
    il_feed feed = {.session = s->session, .tokens = tokens, .n = n, .nll = nll, .slow_nll = slow};
    return il_feed_many(&feed, 1, &s->command->error);
}

/* nll, slow: [n] or NULL. */
static il_status read_tokens(scoring *s, const int32_t *tokens, size_t n, float *nll, float *slow) {
    if (!s->window) return feed_session(s, tokens, n, nll, slow);
    for (size_t at = 0, part; at < n; at += part) {
        size_t held = (size_t)il_session_position(s->session);
        il_status status = held == s->window ? renew(s) : IL_OK;
        if (status) return status;
        held = (size_t)il_session_position(s->session);
        part = n - at < s->window - held ? n - at : s->window - held;
        memcpy(s->within + held, tokens + at, part * sizeof *tokens);
        status = feed_session(s, tokens + at, part, nll ? nll + at : NULL, slow ? slow + at : NULL);
        if (status) return status;
    }
    return IL_OK;
}

/* Feeds what has been tokenized and prints what it cost. Ctrl-C ends both early, in the middle of a line, unless the
 * state is to be saved. */
static il_status feed(scoring *s) {
    size_t fed = 0, at = 0;
    il_status status = IL_OK;
    while (fed < s->n_tokens && !status && !(fed && !s->save && cli_interrupted())) {
        size_t n = s->n_tokens - fed < FEED_TOKENS ? s->n_tokens - fed : FEED_TOKENS;
        status = read_tokens(s, s->tokens + fed, n, s->nll + fed, s->view.relative ? s->slow + fed : NULL);
        fed += n;
    }
    for (size_t i = 0; i < s->n_steps && !status; i++) {
        if (s->steps[i] >= 0 && at == fed) {
            s->lines.ended = 1;
            s->lines.from = s->lines.to;
            status = end_line(s);
            break;
        }
        switch (s->steps[i]) {
        case LINE_ENDS: status = end_line(s); break;
        case PASSAGE_ENDS: status = end_passage(s); break;
        case TEXT_BEGINS: s->exact.started = s->shown.started = 0; break;
        default:
            status = take_token(s, s->steps[i], (double)s->nll[at], s->view.relative ? (double)s->slow[at] : 0);
            at++;
        }
    }
    s->n_steps = s->n_tokens = 0;
    if (!status && (fflush(stdout) || ferror(stdout)))
        status = cli_fail(&s->command->error, IL_ERR_IO, "standard output: %s", strerror(errno));
    return status;
}

/* ---- in: from bytes to tokens ---- */

static void push(scoring *s, int32_t step) {
    if (s->n_steps == s->capacity) {
        size_t capacity = s->capacity, steps = s->capacity, tokens = s->capacity, slow = s->capacity;
        s->steps = cli_grown(s->steps, &steps, capacity + 1, sizeof *s->steps);
        s->tokens = cli_grown(s->tokens, &tokens, capacity + 1, sizeof *s->tokens);
        s->slow = cli_grown(s->slow, &slow, capacity + 1, sizeof *s->slow);
        s->nll = cli_grown(s->nll, &capacity, capacity + 1, sizeof *s->nll);
        s->capacity = capacity;
    }
    s->steps[s->n_steps++] = step;
    if (step >= 0) s->tokens[s->n_tokens++] = step;
}

static il_status take_line(scoring *s) {
    const cli_encoder *line = &s->lines.encoder;
    int blank = score_is_blank(s->lines.text, s->lines.bytes);
    if (line->begins) push(s, TEXT_BEGINS);
    for (size_t i = line->skip; i < line->tokens.n; i++) push(s, line->tokens.ids[i]);
    push(s, LINE_ENDS);
    if (!blank) s->passage_words = 1;
    if (blank && s->passage_words) {
        push(s, PASSAGE_ENDS);
        s->passage_words = 0;
    }
    return s->n_tokens >= BATCH ? feed(s) : IL_OK;
}

/* The lines that are complete, or with the end of the input all. Ctrl-C ends it after the batch under way, and a line
 * that is not complete is left out of a state. */
static il_status take_lines(scoring *s) {
    il_status status = IL_OK;
    int stopped = s->lines.ended;
    for (int got = 1; got && !status;) {
        if (cli_interrupted() && (!stopped || s->save)) {
            s->lines.ended = 1;
            break;
        }
        status = cli_lines_next(&s->lines, &got, &s->command->error);
        if (got && !status) status = take_line(s);
    }
    if (!status && s->lines.ended && s->passage_words) push(s, PASSAGE_ENDS);
    return status ? status : feed(s);
}

static il_status read_all(scoring *s) {
    cli_progress progress;
    uint64_t size = cli_lines_size(&s->lines);
    int shows = !isatty(STDOUT_FILENO) && size;
    il_status status = IL_OK;
    if (shows) cli_progress_begin(&progress, s->command->verb, "byte", 0, size);
    while (!s->lines.ended && !status) {
        char detail[64];
        status = cli_lines_fill(&s->lines, &s->command->error);
        if (!status) status = take_lines(s);
        if (!shows || status) continue;
        if (s->all.bytes)
            snprintf(detail, sizeof detail, "%.3f bits per byte", score_per_byte(&s->all));
        else
            strcpy(detail, s->learn ? "learning" : "");
        cli_progress_show(&progress, s->lines.came < size ? s->lines.came : size, detail);
    }
    if (shows) cli_progress_end(&progress);
    return status;
}

/* ---- begin and end ---- */

/* --relative says what the fast head has learned: there must be one, and it must learn. */
static il_status check_relative(scoring *s, const score_options *options, int frozen) {
    il_error *error = &s->command->error;
    if (!il_model_config(s->model)->fast_head_size)
        cli_fail(error, IL_ERR_UNSUPPORTED,
                 "--relative: %s has no fast head (innerloop convert --set fast_head_size=32 gives it one)",
                 options->model ? options->model : "the bundled model");
    else if (frozen)
        cli_fail(error, IL_ERR_UNSUPPORTED, "--relative: %s is frozen and learns nothing", options->load);
    else
        return IL_OK;
    s->wrong_usage = 1;
    return IL_ERR_UNSUPPORTED;
}

static il_status begin(scoring *s, const score_options *options, const char *path) {
    il_error *error = &s->command->error;
    il_session_stats stats;
    il_documents_options documents = cli_documents_options(&options->documents);
    il_session_options fresh = {.frozen = options->frozen, .mix = options->mix};
    il_status status = cli_choose_session(s->command, options->model, options->load, path, &documents, &fresh,
                                          &s->model, &s->tokenizer, &s->session);
    if (status || il_tokenizer_pictures(s->tokenizer)) return status;
    if (score_pictures_given(s->command->spec)) {
        s->wrong_usage = 1;
        return cli_fail(error, IL_ERR_ARG, "%s is of pictures, and this is a model of text",
                        score_pictures_given(s->command->spec));
    }
    il_session_get_stats(s->session, &stats);
    if (options->relative) status = check_relative(s, options, stats.frozen);
    if (status) return status;
    status = cli_lines_open(&s->lines, s->command->engine, path, &documents, s->tokenizer, stats.position > 0, error);
    if (status) return status;
    s->view.name = s->lines.name;
    s->view.frozen = stats.frozen;
    s->mixed = stats.mixed;
    s->exact.started = s->shown.started = stats.position > 0;
    s->window = (size_t)options->window;
    if (s->window) s->within = cli_alloc(s->window, sizeof *s->within);
    il_model_fingerprint(s->model, s->view.model);
    int32_t bos = il_tokenizer_bos(s->tokenizer, il_model_config(s->model));
    if (!stats.position && bos >= 0) status = read_tokens(s, &bos, 1, NULL, NULL);
    s->decoded_capacity = il_tokenizer_piece_bytes_max(s->tokenizer);
    s->decoded = cli_alloc(s->decoded_capacity, 1);
    s->exactly = cli_alloc(s->decoded_capacity, 1);
    s->shown.form = IL_DECODE_UTF8;
    s->exact.form = IL_DECODE_EXACT;
    score_print_begin(&s->printer, &s->view);
    if (options->html) signal(SIGPIPE, SIG_IGN); /* a page that is not finished leaves nothing behind */
    if (!status && options->html) status = score_html_begin(&s->html, &s->view, options->html, error);
    return status;
}

static il_status score(scoring *s, const score_options *options, const char *path) {
    il_status status = begin(s, options, path);
    if (!status && il_tokenizer_pictures(s->tokenizer))
        return score_pictures(s->command, s->model, s->tokenizer, path, options->frozen, &options->pictures);
    if (status) return status;
    double started = cli_seconds();
    cli_interrupt_catch();
    status = read_all(s);
    score_top_sort(&s->top);
    for (size_t i = 0; i < s->top.n && !status; i++) score_print_entry(&s->printer, &s->top.entries[i]);
    if (!status) status = score_html_end(&s->html, &s->all, s->above, &s->command->error);
    if (!status && s->save) status = il_session_save(s->session, s->save, &s->command->error);
    if (status) return status;
    score_end end = {.above = s->above,
                     .learned = s->n_lines < s->learn ? s->n_lines : s->learn,
                     .learned_tokens = s->learned_tokens,
                     .state = s->save,
                     .position = il_session_position(s->session),
                     .seconds = cli_seconds() - started};
    score_print_end(&s->printer, s->command->verb, &s->all, &end);
    return cli_interrupted() ? IL_ERR_CANCELLED : IL_OK;
}

int verb_score(int argc, char **argv) {
    score_options options = {.by = "line"};
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", CLI_CHOSEN_MODEL_HELP, READS),
        CLI_DTYPE(&options.dtype),
        ARG("--load-state", ARG_TEXT, &options.load, "FILE", "state from which the text goes on (see read)", READS),
        ARG("--save-state", ARG_TEXT, &options.save, "FILE", "state file to write at the end, as read does",
            REPLACES("--load-state")),
        ARG("--learn", ARG_COUNT, &options.learn, "N", "read the first N lines without reporting them (default 0)",
            RANGE(0, 1e15)),
        ARG("--by", ARG_CHOICE, &options.by, "{token,line,passage}",
            "what gets a score; a passage ends at a blank line (default line)"),
        ARG("--peak", ARG_FLAG, &options.peak, NULL,
            "score a line by its worst place, against what is usual at such places: for logs and tables"),
        ARG("--threshold", ARG_REAL, &options.threshold, "X",
            "mark what scores above X: bits of a token, bits per byte of a line or passage, or the peak",
            RANGE(-1e6, 1e6)),
        ARG("--quantile", ARG_REAL, &options.quantile, "Q",
            "mark what scores above this share of what was seen, learned lines included: 0.999 marks about one of a "
            "thousand",
            RANGE(0.01, 0.999999)),
        ARG("--only-marked", ARG_FLAG, &options.only_marked, NULL, "print nothing but what is marked"),
        ARG("--top", ARG_COUNT, &options.top, "K",
            "print only the K that score highest, at the end or at Ctrl-C, the highest first", RANGE(1, 100000)),
        ARG("--html", ARG_TEXT, &options.html, "FILE.html", "write a heat map of the text as a page of its own",
            WRITES),
        CLI_DOCUMENTS_OPTIONS(options.documents, CLI_FORMATS_OF_TEXT),
        ARG("--frozen", ARG_FLAG, &options.frozen, NULL,
            "make no inner update: the control for learning while reading"),
        ARG("--mix", ARG_FLAG, &options.mix, NULL,
            "predict also by what followed the same words before in this text: what repeats itself surprises less"),
        ARG("--relative", ARG_FLAG, &options.relative, NULL,
            "score by what the fast head's learning of this text adds to the bits: above 0, the text does not fit what "
            "came before"),
        ARG("--window", ARG_COUNT, &options.window, "N",
            "hold at most N tokens; when full, begin anew from the last N / 2 (for Transformers; default: no limit)",
            RANGE(2, 1 << 24)),
        CLI_PICTURE_OPTIONS(options.pictures),
    };
    arg_spec spec = {.verb = "score",
                     .summary = "say how surprising a text is, as it comes, or how well pictures are predicted",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .operand = "FILE",
                     .operand_help = CLI_FILE_HELP ", scored line by line as it comes",
                     .operands_min = 1,
                     .operands_max = 1,
                     .json_help = "print a JSON object a line on standard output, one for each token, line or passage",
                     .example = "innerloop score --model model --html book.html book.txt\n"
                                "innerloop score --peak --learn 2000 --top 20 access.log\n"
                                "tail -f log | innerloop score --peak --learn 2000 --quantile 0.999 --only-marked -\n"
                                "innerloop score --by passage --relative --threshold 0 book.txt"};
    cli_command command;
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    const char *wrong =
        options.load && options.frozen
            ? "--load-state and --frozen exclude each other: whether a state is frozen was decided when it was read"
        : options.load && options.mix
            ? "--load-state and --mix exclude each other: whether a state has a mix was decided when it was read"
        : options.load && options.window
            ? "--load-state and --window exclude each other: a state does not hold its tokens"
        : options.relative && options.frozen
            ? "--relative and --frozen exclude each other: a frozen session learns nothing"
        : options.peak && strcmp(options.by, "line") ? "--peak is of lines: it needs --by line"
        : options.peak && options.relative           ? "--peak and --relative exclude each other: a line has one score"
        : options.save && options.window
            ? "--save-state and --window exclude each other: what goes on from a state does not know its tokens"
        : arg_given(&spec, "--threshold") && options.quantile > 0
            ? "--threshold and --quantile exclude each other: a quantile is a threshold"
        : options.only_marked && !arg_given(&spec, "--threshold") && !(options.quantile > 0)
            ? "--only-marked needs --threshold or --quantile, which say what is marked"
        : !options.relative && options.threshold < 0 ? "--threshold: only a --relative score can be below 0"
                                                     : NULL;
    if (wrong) {
        cli_error(spec.verb, "%s", wrong);
        arg_release(&spec);
        return 2;
    }
    scoring *s = cli_alloc(1, sizeof *s);
    s->command = &command;
    s->view = (score_view){.by = options.by[0] == 't'   ? SCORE_BY_TOKEN
                                 : options.by[0] == 'l' ? SCORE_BY_LINE
                                                        : SCORE_BY_PASSAGE,
                           .json = spec.json,
                           .relative = options.relative,
                           .peak = options.peak,
                           .selects = options.only_marked || options.top,
                           .has_threshold = arg_given(&spec, "--threshold") || options.quantile > 0,
                           .threshold = options.threshold,
                           .quantile = options.quantile};
    s->learn = options.learn;
    s->only_marked = options.only_marked;
    if (options.peak) s->peak = cli_peak_open();
    if (options.top) score_top_begin(&s->top, options.top);
    if (options.quantile > 0) {
        s->quantile = cli_alloc(1, sizeof *s->quantile);
        score_quantile_begin(s->quantile, options.quantile);
        s->view.threshold = INFINITY;
    }
    il_status status = cli_command_open(&command, &spec);
    command.dtype = options.dtype;
    s->save = options.save; /* only now: the command gives standard output another name */
    if (!status) status = score(s, &options, spec.operands.items[0]);
    il_output_abandon(s->html.output);
    score_top_close(&s->top);
    cli_peak_close(s->peak);
    free(s->quantile);
    cli_lines_close(&s->lines);
    il_session_close(s->session);
    il_tokenizer_close(s->tokenizer);
    il_model_unref(s->model);
    free(s->within);
    free(s->steps);
    free(s->tokens);
    free(s->nll);
    free(s->slow);
    free(s->decoded);
    free(s->exactly);
    free(s->line.text);
    free(s->line.cells);
    int wrong_usage = s->wrong_usage;
    free(s);
    code = cli_command_close(&command, status);
    return wrong_usage ? 2 : code;
}
