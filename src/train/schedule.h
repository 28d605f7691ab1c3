/* schedule.h: learning rates as functions of the update's number n = 1, 2, … and nothing else. */
#ifndef IL_TRAIN_SCHEDULE_H
#define IL_TRAIN_SCHEDULE_H

#include "innerloop.h"

/* Linear warm-up from 0 (the first update has rate 0), then a cosine from lr to end_lr at the last step. */
double il_schedule_lr(const il_trainer_options *options, uint64_t n);
/* Factor on the inner learning rate, rounded to bfloat16 as the official code has it; 1 once warm. */
float il_schedule_inner_lr(const il_trainer_options *options, double ttt_base_lr, uint64_t n);

#endif
