/* clock.h: time that only goes forward. */
#ifndef SERVER_CLOCK_H
#define SERVER_CLOCK_H

double clock_seconds(void);

#endif
