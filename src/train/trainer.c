/* trainer.c: one step of outer training: a batch, its gradient, clipping, AdamW; and validation. Files are
 * checkpoint.c. */
#include "train/trainer.h"

#include "base/clock.h"
#include "base/error.h"
#include "inner/rules.h"
#include "train/checkpoint.h"
#include "train/schedule.h"
#include <math.h>
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
                                    .inner_lr_warmup = -1};
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

il_status il_trainer_open(il_model *model, il_data *data, const il_trainer_options *options, il_trainer **trainer,
                          il_error *error) {
    *trainer = NULL;
    il_trainer_options o;
    il_trainer_options_default(&model->config, &o);
    if (options) o = *options;
    IL_TRY(check(&o, error));
    const il_data_options *d = il_data_get_options(data);
    if (d->sequences > 1 << 20 || d->length > 1 << 20)
        return il_fail(
            error, IL_ERR_ARG,
            "a batch of %zu sequences of %zu tokens is too large: 1,048,576 sequences and tokens are the most",
            d->sequences, d->length);
    const il_allocator *memory = &model->engine->memory;
    il_trainer *t = il_alloc(memory, 1, sizeof *t);
    if (!t) return il_fail(error, IL_ERR_NOMEM, "no memory for a trainer");
    t->model = il_model_ref(model);
    t->data = data;
    t->options = o;
    t->validation.best_loss = NAN;
    il_gradient_kind kind = o.dtype == IL_WEIGHTS_BF16 ? IL_GRADIENT_BF16 : IL_GRADIENT;
    il_status status =
        il_gradient_open(model, (int)d->sequences, (int)d->length, d->stateful, kind, &t->gradient, error);
    if (status == IL_OK) status = il_optimizer_open(model->engine, model->table.floats, &t->optimizer, error);
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
    il_trainer_unlock(trainer);
    il_optimizer_close(&trainer->optimizer);
    il_gradient_close(&trainer->gradient);
    il_free(&model->engine->memory, trainer);
    il_model_unref(model);
}

uint64_t il_trainer_steps_done(const il_trainer *trainer) { return trainer->done; }

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

il_status il_trainer_step(il_trainer *trainer, il_step *step, il_error *error) {
    il_trainer *t = trainer;
    const il_trainer_options *o = &t->options;
    if (t->done >= o->steps)
        return il_fail(error, IL_ERR_END, "all %llu steps of the schedule are done", (unsigned long long)o->steps);
    double start = il_clock_seconds();
    uint64_t n = t->done + 1;
    il_batch batch;
    IL_TRY(il_data_next(t->data, &batch, error));
    float inner_lr = il_model_is_recurrent(t->model) ? il_schedule_inner_lr(o, t->model->config.ttt_base_lr, n) : 1.0F;
    double loss;
    il_status status =
        il_gradient_batch(&t->gradient, batch.tokens, batch.fresh, (int)batch.sequences, inner_lr, &loss, error);
    double norm = status == IL_OK ? il_optimizer_norm(&t->optimizer, t->gradient.gradient) : 0;
    if (!isfinite(norm)) status = il_gradient_check(&t->gradient, error); /* finite gradients have a finite norm */
    if (status != IL_OK) return at_step(error, status, n);

    double lr = il_schedule_lr(o, n);
    il_optimizer_update(&t->optimizer, o, n, lr, norm >= o->clip ? o->clip / norm : 1, t->gradient.gradient,
                        t->model->weights);
    t->model->version++;
    t->done = n;
    *step = (il_step){.step = n, .loss = loss, .lr = lr, .grad_norm = norm, .tokens = batch.sequences * batch.length};
    step->seconds = il_clock_seconds() - start;
    return IL_OK;
}

il_status il_trainer_eval(il_trainer *trainer, il_data *data, uint64_t max_batches, double *loss, il_error *error) {
    const il_data_options *d = il_data_get_options(data);
    uint64_t batches = il_data_batches_per_epoch(data);
    if (max_batches && max_batches < batches) batches = max_batches;
    if (!batches) return il_fail(error, IL_ERR_ARG, "batches that are given one by one cannot be evaluated on");
    il_cursor start = {0};
    IL_TRY(il_data_seek(data, &start, error));
    il_gradient g;
    IL_TRY(il_gradient_open(trainer->model, (int)d->sequences, (int)d->length, d->stateful, IL_LOSS_ONLY, &g, error));
    double total = 0;
    il_status status = IL_OK;
    for (uint64_t i = 0; i < batches && status == IL_OK; i++) {
        il_batch batch;
        double one = 0;
        status = il_data_next(data, &batch, error);
        if (status == IL_OK)
            status = il_gradient_loss(&g, batch.tokens, batch.fresh, (int)batch.sequences, &one, error);
        total += one;
    }
    il_gradient_close(&g);
    if (status == IL_OK) *loss = total / (double)batches;
    return status == IL_ERR_NONFINITE ? at_step(error, status, trainer->done) : status;
}
