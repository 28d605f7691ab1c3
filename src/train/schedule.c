/* schedule.c: warm-up and cosine, from our own cosine so that every machine has the same rates. */
#include "train/schedule.h"

#include "base/bits.h"
#include "base/maths.h"

double il_schedule_lr(const il_trainer_options *o, uint64_t n) {
    double c = (double)(n - 1), w = o->warmup, steps = (double)o->steps;
    if (c < w) return o->lr * c / w;
    double progress = steps > w ? (c - w) / (steps - w) : 1;
    double sine, cosine, alpha = o->lr > 1e-38 ? o->end_lr / o->lr : 0; /* below that it is none in fp32 */
    il_sincos_d(3.14159265358979323846 * (progress < 1 ? progress : 1), &sine, &cosine);
    return o->lr * ((1 - alpha) * (1 + cosine) / 2 + alpha);
}

float il_schedule_inner_lr(const il_trainer_options *o, double ttt_base_lr, uint64_t n) {
    double w = o->inner_lr_warmup, c = (double)(n - 1), risen = c < w ? c / w : 1;
    double start = o->inner_lr_start * ttt_base_lr;
    if (ttt_base_lr == 0) return 1; /* there is nothing to warm up */
    return il_float_of_bf16(il_bf16_of_float((float)((start + risen * (ttt_base_lr - start)) / ttt_base_lr)));
}
