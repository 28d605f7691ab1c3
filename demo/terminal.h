/* terminal.h: see terminal.c. */
#ifndef DEMO_TERMINAL_H
#define DEMO_TERMINAL_H

#include "data.h"

/* Prints the results to standard output. */
void terminal_print(const demo *d);

#endif
