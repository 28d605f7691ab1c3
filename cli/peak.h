/* peak.h: how far the worst place of a line stands out from what is usual at such places. What is rare in one field of
 * a long line (a status, a size, a year) is lost in the line's mean; here each token is compared with what tokens cost
 * where it stands. Takes tokens as bytes and bits, whatever the tokenizer; knows nothing of models. Memory is constant,
 * and the same lines give the same scores. */
#ifndef CLI_PEAK_H
#define CLI_PEAK_H

#include <stddef.h>

typedef struct cli_peak cli_peak;

cli_peak *cli_peak_open(void);
void cli_peak_close(cli_peak *peak); /* NULL allowed */

/* The next token of the line under way: its text [bytes] and what it cost, NaN when nothing predicted it. from, to:
 * where it stands in the caller's form of the line, which is only given back. */
void cli_peak_token(cli_peak *peak, const char *text, size_t bytes, double bits, size_t from, size_t to);

typedef struct cli_peak_worst {
    double score;    /* 0 and above; NaN for a line of which nothing was predicted */
    size_t from, to; /* of the window's first token, of its last */
} cli_peak_worst;
/* Ends the line: its score by what was usual before it. Then it counts too. */
cli_peak_worst cli_peak_line(cli_peak *peak);

#endif
