/* train_watch.c: see train_watch.h. The history is OUT/history.jsonl: lines as a log has them, and what the inner loop
 * does with one text, which is the same through the whole run: how far its loss is from 0 before and after its updates,
 * in each layer. */
#include "verbs/train_watch.h"
#include "files.h"
#include "mixers.h"
#include "output.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TEXT_MAX = 1024, LOOKS = 100 };
static const double PAGE_EVERY_S = 2;

/* ---- opening ---- */

static void take_point(void *user, const train_point *point) {
    train_watch *w = user;
    train_page_add(&w->page, point);
    if (!isnan(point->tokens)) w->tokens = point->tokens;
    if (!isnan(point->seconds)) w->seconds = point->seconds;
}

/* The beginning of the text of validation, else of the first sequence: whole mini-batches. */
static il_status take_text(train_watch *w, il_data *data, const il_data *val, il_error *error) {
    const int32_t *tokens = val ? il_data_stream(val) : NULL;
    size_t n = tokens ? (size_t)il_data_tokens(val) : 0, mini_batch = (size_t)il_model_config(w->model)->mini_batch;
    il_cursor start = {0, 0}, here;
    il_batch batch;
    il_status status = IL_OK;
    il_data_tell(data, &here);
    if (!tokens) {
        status = il_data_seek(data, &start, error);
        if (!status) status = il_data_next_part(data, 0, 1, &batch, error);
        if (status) return status;
        tokens = batch.tokens;
        n = batch.length;
    }
    if (n > TEXT_MAX) n = TEXT_MAX;
    n -= mini_batch ? n % mini_batch : 0;
    w->text = cli_alloc(n, sizeof *w->text);
    if (n) memcpy(w->text, tokens, n * sizeof *w->text);
    w->n_text = n;
    return il_data_seek(data, &here, error);
}

static il_status open_history(train_watch *w, il_error *error) {
    const train_options *options = w->options;
    il_status status = IL_OK;
    w->history_path = cli_format("%s/history.jsonl", options->out);
    if (options->resume && cli_path_bytes(w->history_path)) {
        status = train_log_trim(w->history_path, w->first, error);
        if (!status) status = train_log_read(w->history_path, take_point, w, error);
    } else if (options->resume && options->log) { /* it was not watched before */
        status = train_log_read(options->log, take_point, w, error);
    }
    if (status) return status;
    w->history = fopen(w->history_path, options->resume ? "ab" : "wb");
    return w->history ? IL_OK : cli_fail(error, IL_ERR_IO, "%s: %s", w->history_path, strerror(errno));
}

il_status train_watch_open(train_watch *w, const train_options *options, il_model *model, const il_trainer *trainer,
                           il_data *data, const il_data *val, il_error *error) {
    *w = (train_watch){0};
    if (!options->html && !options->tensorboard) return IL_OK;
    w->options = options;
    w->model = model;
    w->first = il_trainer_steps_done(trainer);
    w->look_every = options->steps > LOOKS ? options->steps / LOOKS : 1;
    w->point = cli_alloc(1, sizeof *w->point);
    struct stat info; /* a pipe gets one page, at the end */
    w->replaces = options->html && (stat(options->html, &info) ? errno == ENOENT : S_ISREG(info.st_mode));
    train_page_open(&w->page, options, model, w->first);
    il_status status = cli_mixer_learners(il_model_config(model)) ? take_text(w, data, val, error) : IL_OK;
    if (!status) status = open_history(w, error);
    w->page.skipped = il_trainer_steps_skipped(trainer); /* also before the history begins */
    if (!status && options->tensorboard)
        status = train_tensorboard_open(&w->board, options->tensorboard, w->first + 1, error);
    return status;
}

void train_watch_close(train_watch *w) {
    if (!w->options) return;
    if (w->history) fclose(w->history);
    train_tensorboard_close(&w->board);
    train_page_close(&w->page);
    free(w->history_path);
    free(w->point);
    free(w->text);
    *w = (train_watch){0};
}

/* ---- the inner loop ---- */

/* Reads the text; the losses of a layer are means over its updates. */
static il_status look(const train_watch *w, train_point *p, il_error *error) {
    const il_config *config = il_model_config(w->model);
    int layers = config->layers < TRAIN_LAYERS_MAX ? config->layers : TRAIN_LAYERS_MAX;
    size_t some = config->mini_batch ? (size_t)config->mini_batch : w->n_text, updates = 0;
    il_session *session;
    for (int i = 0; i < layers; i++) p->before[i] = p->after[i] = cli_mixer_learns(config, i) ? 0 : NAN;
    il_status status = il_session_open(w->model, NULL, &session, error);
    if (status) return status;
    for (size_t at = 0; at + some <= w->n_text && !status; at += some, updates++) {
        status = il_session_feed(session, w->text + at, some, NULL, NULL, error);
        for (int i = 0; i < layers && !status; i++) {
            il_layer_stats stats;
            if (!cli_mixer_learns(config, i)) continue;
            status = il_session_layer_stats(session, i, &stats, error);
            if (!status) p->before[i] += stats.loss_before, p->after[i] += stats.loss_after;
        }
    }
    il_session_close(session);
    for (int i = 0; i < layers && updates; i++) p->before[i] /= (double)updates, p->after[i] /= (double)updates;
    p->layers = updates && !status ? layers : 0;
    return status == IL_ERR_NONFINITE ? IL_OK : status; /* training goes on or says so itself */
}

/* ---- steps ---- */

static il_status write_board(train_watch *w, const train_point *p, il_error *error) {
    char tag[64];
    train_tensorboard *b = &w->board;
    train_tensorboard_add(b, "loss/train", p->loss);
    train_tensorboard_add(b, "loss/validation", p->val_loss);
    train_tensorboard_add(b, "optimizer/gradient_norm", p->grad_norm);
    train_tensorboard_add(b, "optimizer/learning_rate", p->lr);
    if (w->options->skip_spikes) train_tensorboard_add(b, "optimizer/steps_skipped", (double)w->page.skipped);
    train_tensorboard_add(b, "speed/tokens_per_second", p->tokens_per_s);
    for (int i = 0; i < p->layers; i++) {
        snprintf(tag, sizeof tag, "inner_loss_before/layer_%02d", i);
        train_tensorboard_add(b, tag, p->before[i]);
        snprintf(tag, sizeof tag, "inner_loss_after/layer_%02d", i);
        train_tensorboard_add(b, tag, p->after[i]);
    }
    return train_tensorboard_write(b, p->step, error);
}

static il_status write_history(train_watch *w, const train_point *p, il_error *error) {
    char *line = train_log_line(p);
    if (!line) return cli_fail(error, IL_ERR_NOMEM, "no memory for %s", w->history_path);
    int failed = fputs(line, w->history) == EOF || fflush(w->history);
    free(line);
    return failed ? cli_fail(error, IL_ERR_IO, "%s: %s", w->history_path, strerror(errno)) : IL_OK;
}

il_status train_watch_step(train_watch *w, const il_step *step, double val_loss, il_error *error) {
    if (!w->options) return IL_OK;
    train_point *p = w->point;
    int last = step->step == w->options->steps, first = step->step == w->first + 1;
    w->tokens += (double)step->tokens;
    w->seconds += step->seconds;
    p->step = step->step;
    p->loss = step->loss;
    p->lr = step->lr;
    p->grad_norm = step->grad_norm;
    p->tokens_per_s = (double)step->tokens / step->seconds;
    p->val_loss = val_loss;
    p->tokens = w->tokens;
    p->seconds = w->seconds;
    p->skipped = step->skipped;
    p->layers = 0;
    il_status status = IL_OK;
    if (w->n_text && (last || step->step == 1 || step->step % w->look_every == 0)) status = look(w, p, error);
    train_page_add(&w->page, p);
    if (!status) status = write_history(w, p, error);
    if (!status) status = write_board(w, p, error);
    if (status || !w->replaces || (!first && cli_seconds() - w->written < PAGE_EVERY_S)) return status;
    status = train_page_write(&w->page, TRAIN_PAGE_RUNS, error);
    w->written = cli_seconds();
    return status;
}

il_status train_watch_end(train_watch *w, il_status status, int interrupted, il_error *error) {
    il_error unused;
    if (!w->options || !w->options->html) return IL_OK;
    return train_page_write(&w->page,
                            status        ? TRAIN_PAGE_FAILED
                            : interrupted ? TRAIN_PAGE_STOPPED
                                          : TRAIN_PAGE_DONE,
                            error ? error : &unused);
}
