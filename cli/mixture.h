/* mixture.h: training data as words of a command line: files, folders of them, and weights: "FILE=0.7". */
#ifndef CLI_MIXTURE_H
#define CLI_MIXTURE_H

#include "args.h"

typedef struct cli_mixture {
    double *weights; /* as in il_data_options, one for each file; NULL: none were given */
    char **names;    /* [n] that the list of files now leads to */
    size_t n;
} cli_mixture;

/* Makes of the words of a list the files that they stand for: a folder is all its files, in the order of their names,
 * and "=W" at the end of a word that is no file's name is the weight of what is before it. A complaint, released by
 * free, or NULL. Release with cli_mixture_free, after the list was used, in both cases. */
char *cli_mixture_take(arg_list *words, cli_mixture *mixture);
void cli_mixture_free(cli_mixture *mixture);

#endif
