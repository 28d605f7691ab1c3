/* manual.h: the manual page innerloop(1), made of the verbs' tables of options. */
#ifndef CLI_MANUAL_H
#define CLI_MANUAL_H

#define MANUAL_SUMMARY "train, run and measure language models that learn while they read"

/* Prints the page on standard output, in man's macros. */
void manual_print(void);

#endif
