/* clock.h: the monotonic clock. */
#ifndef IL_BASE_CLOCK_H
#define IL_BASE_CLOCK_H

/* Seconds since some fixed moment; only differences mean anything. */
double il_clock_seconds(void);

#endif
