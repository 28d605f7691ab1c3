/* trainer.c: one step of outer training: a batch, its gradient lane by lane, clipping, AdamW; and validation. Where
 * several ranks share it all of them make each step together, and fail together. Files are checkpoint.c. */
#include "train/trainer.h"

#include "base/clock.h"
#include "base/error.h"
#include "inner/rules.h"
#include "train/checkpoint.h"
#include "train/progress.h"
#include "train/schedule.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void il_trainer_options_default(const il_config *config, il_trainer_options *options) {
    const il_rule *rule = il_rule_of(config->mixer);
    *options = (il_trainer_options){.steps = 1000,
                                    .lr = 3e-3,
                                    .end_lr = 1e-5,
                                    .warmup = -1,
                                    .beta1 = 0.9,
                                    .beta2 = 0.95,
                                    .eps = 1e-8,
                                    .weight_decay = 0.1,
                                    .clip = 1.0,
                                    .inner_lr_start = rule ? rule->inner_lr_start : 1.0,
                                    .inner_lr_warmup = -1,
                                    .lanes = 1};
}

il_status il_trainer_dtype_check(il_weight_type dtype, il_error *error) {
    if (dtype == IL_WEIGHTS_F32) return IL_OK;
    if (dtype == IL_WEIGHTS_BF16) return il_onednn_bf16_check(error);
    return il_fail(error, IL_ERR_ARG, "training multiplies in f32 or bf16, not in %s", il_weight_type_name(dtype));
}

static il_status check(il_trainer_options *o, il_error *error) {
    struct {
        const char *name;
        double value, low, high;
    } ranges[] = {
        {"lr", o->lr, 0, 1e3},
        {"end_lr", o->end_lr, 0, 1e3},
        {"beta1", o->beta1, 0, 0.999999}, /* 1 - beta, in fp32, is still right to 2 % */
        {"beta2", o->beta2, 0, 0.999999},
        {"eps", o->eps, 1e-20, 1}, /* divides what has a second moment too small for fp32, and 0 would be 0/0 */
        {"weight_decay", o->weight_decay, 0, 1e3},
        {"clip", o->clip, 1e-12, 1e15}, /* its square is a number of fp32 */
        {"inner_lr_start", o->inner_lr_start, 0, 1e3}};
    if (!o->steps || o->steps > 1000000000) return il_fail(error, IL_ERR_ARG, "steps must be 1 to 10^9");
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
            return il_fail(error, IL_ERR_ARG, "%s is %g: it must be %g to %g", ranges[i].name, ranges[i].value,
                           ranges[i].low, ranges[i].high);
    double decay = (o->lr > o->end_lr ? o->lr : o->end_lr) * o->weight_decay;
    if (decay > 1)
        return il_fail(error, IL_ERR_ARG,
                       "weight_decay is %g, times the learning rate %g: it must be at most 1, or weights grow by it",
                       o->weight_decay, decay);
    IL_TRY(il_trainer_dtype_check(o->dtype, error));
    if (!isfinite(o->warmup) || !isfinite(o->inner_lr_warmup))
        return il_fail(error, IL_ERR_ARG, "warm-up is not a number");
    if (o->warmup < 0) o->warmup = floor((double)o->steps / 10);
    if (o->inner_lr_warmup < 0) o->inner_lr_warmup = o->warmup;
    return IL_OK;
}

static il_status check_lanes(const il_trainer_options *o, size_t sequences, il_error *error) {
    if (o->lanes < 1 || o->lanes > IL_LANES_MAX || (o->lanes & (o->lanes - 1)))
        return il_fail(error, IL_ERR_ARG, "%d lanes: their number must be a power of two, at most %d", o->lanes,
                       IL_LANES_MAX);
    if (sequences % (size_t)o->lanes)
        return il_fail(error, IL_ERR_ARG, "a batch of %zu sequences cannot be cut into %d equal lanes", sequences,
                       o->lanes);
    return IL_OK;
}

static int sequences_before(const il_trainer *t, int rank) {
    int sequences = (int)il_data_get_options(t->data)->sequences, lanes = t->options.lanes;
    return il_lanes_begin(lanes, t->exchange.size, rank) * (sequences / lanes);
}

/* The pieces of a rank: their number, and piece by piece into list if that is not NULL. */
static int pieces_of(const il_exchange *x, int rank, int *list) {
    int n = 0, from, to;
    for (int b = 0; b < x->buckets; b++) {
        il_exchange_part(x, b, rank, &from, &to);
        for (int piece = from; piece < to; piece++, n++)
            if (list) list[n] = piece;
    }
    return n;
}

/* What the ranks tell each other in a step. */
static il_status open_shared(il_trainer *t, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    const il_exchange *x = &t->exchange;
    size_t sequences = il_data_get_options(t->data)->sequences, size = (size_t)x->size;
    t->first = sequences_before(t, x->rank);
    t->own = sequences_before(t, x->rank + 1) - t->first;
    t->at = il_alloc(memory, size + 1, sizeof *t->at);
    t->shared = il_alloc(memory, size + sequences + (size_t)x->pieces, sizeof *t->shared);
    t->squares = il_alloc(memory, (size_t)x->pieces, sizeof *t->squares);
    t->positions = il_alloc(memory, sequences, sizeof *t->positions);
    t->at_sequences = il_alloc(memory, size + 1, sizeof *t->at_sequences);
    if (!t->at || !t->shared || !t->squares || !t->positions || !t->at_sequences)
        return il_fail(error, IL_ERR_NOMEM, "no memory for a trainer");
    for (int rank = 0; rank < x->size; rank++) {
        int numbers = 1 + sequences_before(t, rank + 1) - sequences_before(t, rank);
        numbers += x->size > 1 ? pieces_of(x, rank, NULL) : x->pieces;
        t->at[rank + 1] = t->at[rank] + (size_t)numbers * sizeof(double);
        t->at_sequences[rank + 1] = (size_t)sequences_before(t, rank + 1) * sizeof *t->positions;
    }
    return IL_OK;
}

/* Weights and moments, of which each rank has its share, and the buffers of sums beside the gradient's own. */
static uint64_t weights_bytes(const il_trainer *t) {
    uint64_t bytes = (uint64_t)t->model->table.floats * sizeof(float), size = (uint64_t)il_ranks_size(t->options.ranks);
    uint64_t buffers = 0;
    for (uint64_t n = ((uint64_t)t->options.lanes + size - 1) / size; n > 1; n = (n + 1) / 2) buffers++;
    return bytes * (1 + buffers) + 2 * bytes / size;
}

/* What the bound leaves for gradients; 0: no bound. */
static uint64_t memory_left(const il_trainer *t) {
    uint64_t bound = t->options.memory, taken = weights_bytes(t);
    return !bound ? 0 : bound > taken ? bound - taken : 1;
}

static il_status open_parts(il_trainer *t, il_error *error) {
    const il_data_options *d = il_data_get_options(t->data);
    il_model *model = t->model;
    il_trainer_options *o = &t->options;
    il_gradient_kind kind = o->dtype == IL_WEIGHTS_BF16 ? IL_GRADIENT_BF16 : IL_GRADIENT;
    int size = il_ranks_size(o->ranks), rank = il_ranks_rank(o->ranks), each = (int)d->sequences / o->lanes;
    int own = (il_lanes_begin(o->lanes, size, rank + 1) - il_lanes_begin(o->lanes, size, rank)) * each;
    if (own < 1) own = 1; /* more ranks than lanes, which is refused below */
    IL_TRY(il_freeze_open(model, o->freeze, o->n_freeze, &t->freeze, error));
    o->freeze = NULL; /* the caller's */
    IL_TRY(il_gradient_open_within(model, own, each, (int)d->length, d->stateful, kind, memory_left(t), &t->gradient,
                                   error));
    IL_TRY(il_exchange_open(model->engine, o->ranks, o->lanes, model->table.floats, t->gradient.gradient, &t->exchange,
                            error));
    IL_TRY(il_optimizer_open(model->engine, model->table.floats, size > 1 ? t->exchange.own : NULL, t->exchange.n_own,
                             &t->optimizer, error));
    t->optimizer.freeze = &t->freeze;
    return open_shared(t, error);
}

il_status il_trainer_same(il_trainer *t, il_error *error) {
    char *text;
    il_ranks *ranks = il_trainer_ranks(t);
    if (!ranks) return IL_OK;
    il_status status = il_ranks_agree(ranks, il_progress_describe(t, &text, error), NULL, error);
    if (status == IL_OK) status = il_ranks_compare(ranks, text, error);
    free(text);
    return status;
}

static il_status open_all(il_trainer *t, il_error *error) {
    const il_data_options *d = il_data_get_options(t->data);
    il_trainer_options *o = &t->options;
    IL_TRY(check(o, error));
    if (d->sequences > 1 << 20 || d->length > 1 << 20)
        return il_fail(
            error, IL_ERR_ARG,
            "a batch of %zu sequences of %zu tokens is too large: 1,048,576 sequences and tokens are the most",
            d->sequences, d->length);
    IL_TRY(check_lanes(o, d->sequences, error));
    t->validation.best_loss = NAN;
    return open_parts(t, error);
}

il_status il_trainer_open(il_model *model, il_data *data, const il_trainer_options *options, il_trainer **trainer,
                          il_error *error) {
    *trainer = NULL;
    il_ranks *ranks = options ? options->ranks : NULL;
    il_trainer *t = il_alloc(&model->engine->memory, 1, sizeof *t);
    il_status status = t ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory for a trainer");
    if (t) {
        t->model = il_model_ref(model);
        t->data = data;
        il_trainer_options_default(&model->config, &t->options);
        if (options) t->options = *options;
        status = open_all(t, error);
    }
    status = il_ranks_agree(ranks, status, NULL, error);
    if (status == IL_OK) status = il_trainer_same(t, error);
    if (status == IL_OK && ranks && t->options.dtype == IL_WEIGHTS_BF16 && t->exchange.rank == 0)
        il_log(model->engine, IL_LOG_WARN,
               "bf16 products are added in an order of oneDNN's: the weights may depend on the number of ranks");
    if (status != IL_OK) {
        il_trainer_close(t);
        return status;
    }
    *trainer = t;
    return IL_OK;
}

void il_trainer_close(il_trainer *trainer) {
    if (!trainer) return;
    il_model *model = trainer->model;
    const il_allocator *memory = &model->engine->memory;
    il_trainer_unlock(trainer);
    il_free(memory, trainer->at_sequences);
    il_free(memory, trainer->positions);
    il_free(memory, trainer->squares);
    il_free(memory, trainer->shared);
    il_free(memory, trainer->at);
    il_optimizer_close(&trainer->optimizer);
    il_exchange_close(&trainer->exchange);
    il_gradient_close(&trainer->gradient);
    il_freeze_close(&trainer->freeze);
    il_free(memory, trainer);
    il_model_unref(model);
}

void il_trainer_get_memory(const il_trainer *trainer, il_trainer_memory *memory) {
    const il_gradient *g = &trainer->gradient;
    uint64_t gradient = (uint64_t)trainer->model->table.floats * sizeof(float);
    *memory = (il_trainer_memory){.weights = weights_bytes(trainer) + gradient + g->pack_bytes,
                                  .pass = g->bytes - gradient - g->pack_bytes,
                                  .tokens = (uint64_t)g->micro * (uint64_t)g->length,
                                  .recomputes = g->tape.recomputes};
}

uint64_t il_trainer_steps_done(const il_trainer *trainer) { return trainer->done; }
uint64_t il_trainer_steps_skipped(const il_trainer *trainer) { return trainer->spikes.skipped; }

void il_trainer_validated(il_trainer *trainer, double loss) {
    il_validation *v = &trainer->validation;
    if (isfinite(loss) && (isnan(v->best_loss) || loss < v->best_loss))
        *v = (il_validation){.best_loss = loss, .best_step = trainer->done};
    else
        v->worse++;
}

void il_trainer_get_validation(const il_trainer *trainer, il_validation *validation) {
    *validation = trainer->validation;
}

/* Puts "step N: " before the message. */
static il_status at_step(il_error *error, il_status status, uint64_t step) {
    if (error) {
        char text[sizeof error->message];
        memcpy(text, error->message, sizeof text);
        il_fail(error, status, "step %llu: %.400s", (unsigned long long)step, text);
    }
    return status;
}

/* ---- a step ---- */

static void passed(void *user, size_t from) { il_exchange_ready(user, from); }

/* The gradients of this rank's lanes, whose sequences batch holds, into what is to be added of them. */
static il_status run_lanes(il_trainer *t, const il_batch *batch, float inner_lr, il_error *error) {
    il_exchange *x = &t->exchange;
    int lanes = t->options.lanes, sequences = (int)il_data_get_options(t->data)->sequences, each = sequences / lanes;
    IL_TRY(il_gradient_begin(&t->gradient, error));
    il_lane lane = {.tokens = batch->tokens,
                    .fresh = batch->fresh,
                    .n = each,
                    .batch = sequences,
                    .inner_lr = inner_lr,
                    .passed = passed,
                    .user = x};
    int end = il_lanes_begin(lanes, x->size, x->rank + 1);
    for (int i = il_lanes_begin(lanes, x->size, x->rank); i < end; i++, lane.first += each) {
        IL_TRY(il_gradient_lane(&t->gradient, &lane, il_exchange_lane(x, i), error));
        il_exchange_add(x);
    }
    return IL_OK;
}

/* Tells everybody how this rank fares, what its sequences' losses are and how large its pieces of the gradient; the
 * loss and the norm are sums in the order of sequences and pieces. Fails on all ranks alike. */
static il_status share(il_trainer *t, il_status status, double *loss, double *norm, il_error *error) {
    const il_exchange *x = &t->exchange;
    char *shared = (char *)t->shared;
    double *mine = (double *)(shared + t->at[x->rank]);
    int failed = 0, from, to;
    *mine++ = (double)status;
    memcpy(mine, t->gradient.losses, (size_t)t->own * sizeof *mine);
    memcpy(mine + t->own, t->optimizer.partial, (size_t)t->optimizer.n_own * sizeof *mine);
    IL_TRY(il_ranks_gather(il_trainer_ranks(t), shared, t->at, error));
    *loss = 0;
    for (int rank = 0; rank < x->size; rank++) {
        const double *his = (const double *)(shared + t->at[rank]);
        failed |= *his++ != 0;
        for (int i = sequences_before(t, rank); i < sequences_before(t, rank + 1); i++) *loss += *his++;
        for (int b = 0; b < x->buckets; b++)
            for (il_exchange_part(x, b, rank, &from, &to); from < to; from++) t->squares[from] = *his++;
        for (int piece = 0; !x->buckets && piece < x->pieces; piece++) t->squares[piece] = *his++;
    }
    *norm = il_optimizer_norm(t->squares, x->pieces);
    return failed ? il_ranks_agree(il_trainer_ranks(t), status, NULL, error) : IL_OK;
}

/* Of what this rank has of a tensor's gradient. */
static int is_finite(const il_trainer *t, const il_table_entry *e) {
    for (int i = 0; i < t->optimizer.n_own; i++) {
        size_t begin = (size_t)il_optimizer_piece(&t->optimizer, i) * IL_WEIGHTS_PIECE, end = begin + IL_WEIGHTS_PIECE;
        if (begin < e->offset) begin = e->offset;
        if (end > e->offset + e->count) end = e->offset + e->count;
        if (begin < end && !t->model->engine->kernels->all_finite(end - begin, t->gradient.gradient + begin)) return 0;
    }
    return 1;
}

/* The gradient is not finite: of which tensor, nearest to the output, whoever has it. */
static il_status blame_gradient(il_trainer *t, il_error *error) {
    const il_table *table = &t->model->table;
    int found = (int)table->n; /* and one more than the tensor */
    while (found && is_finite(t, &table->entries[found - 1])) found--;
    IL_TRY(il_ranks_agree(il_trainer_ranks(t), IL_OK, &found, error));
    if (!found) return IL_OK;
    return il_fail(error, IL_ERR_NONFINITE, "the gradient of %s is not finite", table->entries[found - 1].name);
}

/* The sum of all lanes' gradients, its norm, and the loss. status: of the batch; what went wrong there is told with the
 * rest, where there are several ranks. */
static il_status compute(il_trainer *t, il_status status, const il_batch *batch, float inner_lr, double *loss,
                         double *norm, il_error *error) {
    il_exchange_begin(&t->exchange);
    if (status == IL_OK) status = run_lanes(t, batch, inner_lr, error);
    if (status == IL_OK || t->exchange.size > 1) {
        il_error apart; /* how this rank fares is told below */
        il_status exchanged = il_exchange_finish(&t->exchange, &apart);
        if (exchanged != IL_OK) return il_fail(error, exchanged, "%s", apart.message);
    }
    il_freeze_zero(&t->freeze, t->gradient.gradient);
    il_optimizer_squares(&t->optimizer, t->gradient.gradient);
    IL_TRY(share(t, status, loss, norm, error));
    return isfinite(*norm) ? IL_OK : blame_gradient(t, error);
}

il_status il_trainer_step(il_trainer *trainer, il_step *step, il_error *error) {
    il_trainer *t = trainer;
    const il_trainer_options *o = &t->options;
    if (t->done >= o->steps)
        return il_fail(error, IL_ERR_END, "all %llu steps of the schedule are done", (unsigned long long)o->steps);
    double start = il_clock_seconds(), loss, norm;
    uint64_t n = t->done + 1;
    il_batch batch;
    il_status status = il_data_next_part(t->data, (size_t)t->first, (size_t)t->own, &batch, error);
    if (status != IL_OK && t->exchange.size == 1) return status;
    float inner_lr = il_model_is_recurrent(t->model) ? il_schedule_inner_lr(o, t->model->config.ttt_base_lr, n) : 1.0F;
    status = compute(t, status, &batch, inner_lr, &loss, &norm, error);
    if (status != IL_OK) return at_step(error, status, n);

    double lr = il_schedule_lr(o, n);
    int skips = o->skip_spikes && il_spikes_see(&t->spikes, loss, norm);
    if (!skips) {
        il_optimizer_update(&t->optimizer, o, n, lr, norm >= o->clip ? o->clip / norm : 1, t->gradient.gradient,
                            t->model->weights);
        t->model->version++;
        IL_TRY(il_exchange_weights(&t->exchange, t->model->weights, error));
    }
    t->done = n;
    *step = (il_step){.step = n, .loss = loss, .lr = lr, .grad_norm = norm};
    step->tokens = il_data_get_options(t->data)->sequences * batch.length;
    step->skipped = skips;
    step->seconds = il_clock_seconds() - start;
    return IL_OK;
}

/* The losses of batches from .. to-1 into losses, which begins with that of batch 0. */
static il_status eval_some(il_trainer *t, il_data *data, uint64_t from, uint64_t to, double *losses, il_error *error) {
    const il_data_options *d = il_data_get_options(data);
    il_cursor start = {.batch = from};
    if (from == to) return IL_OK; /* more ranks than batches */
    IL_TRY(il_data_seek(data, &start, error));
    /* sequences as long as those it learns from need no memory of their own */
    int own = !d->stateful && !t->gradient.stateful && (int)d->length == t->gradient.length &&
              (int)d->sequences <= t->gradient.sequences;
    il_gradient fresh, *g = own ? &t->gradient : &fresh;
    if (!own)
        IL_TRY(il_gradient_open(t->model, (int)d->sequences, (int)d->length, d->stateful, IL_LOSS_ONLY, g, error));
    il_status status = IL_OK;
    for (uint64_t i = from; i < to && status == IL_OK; i++) {
        il_batch batch;
        status = il_data_next(data, &batch, error);
        if (status == IL_OK)
            status = il_gradient_loss(g, batch.tokens, batch.fresh, (int)batch.sequences, &losses[i], error);
    }
    if (!own) il_gradient_close(g);
    return status;
}

il_status il_trainer_eval(il_trainer *trainer, il_data *data, uint64_t max_batches, double *loss, il_error *error) {
    const il_allocator *memory = &trainer->model->engine->memory;
    /* where states are carried on a batch needs the one before it: everybody reads all */
    il_ranks *ranks = il_data_get_options(data)->stateful ? NULL : il_trainer_ranks(trainer);
    uint64_t batches = il_data_batches_per_epoch(data);
    if (max_batches && max_batches < batches) batches = max_batches;
    if (!batches) return il_fail(error, IL_ERR_ARG, "batches that are given one by one cannot be evaluated on");
    double *losses = il_alloc(memory, (size_t)batches, sizeof *losses), total = 0;
    il_status status = losses ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory for a validation");
    if (status == IL_OK)
        status = eval_some(trainer, data, il_ranks_from(ranks, batches, il_ranks_rank(ranks)),
                           il_ranks_from(ranks, batches, il_ranks_rank(ranks) + 1), losses, error);
    status = il_ranks_agree(ranks, status, NULL, error);
    if (status == IL_OK) status = il_ranks_share(ranks, losses, batches, sizeof *losses, error);
    for (uint64_t i = 0; i < batches && status == IL_OK; i++) total += losses[i];
    il_free(memory, losses);
    if (status == IL_OK) *loss = total / (double)batches;
    return status == IL_ERR_NONFINITE ? at_step(error, status, trainer->done) : status;
}
