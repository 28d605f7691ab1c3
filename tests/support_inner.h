/* support_inner.h: checks that every inner rule must pass, whatever its network: against the primal reference
 * in double precision, and bit for bit against itself. One test program a rule calls them. */
#ifndef SUPPORT_INNER_H
#define SUPPORT_INNER_H

#include "inner/rule.h"

/* Outputs and committed weights, element by element, for d in 2 6 16 64 96 and b in 1 3 16 20. */
void inner_check_forward(const il_rule *rule);
/* Every gradient, chained over several mini-batches with a partial last one and without, against central
 * differences of the primal reference: every entry of small arrays, a sample of large ones, and whole arrays
 * along random directions. */
void inner_check_gradients(const il_rule *rule);
/* One row at a time, all at once and random splits give the same bits, rows and carries included. */
void inner_check_splits(const il_rule *rule);
/* Every kernel table this CPU runs gives the same bits, forward and backward. */
void inner_check_kernels(const il_rule *rule);
/* Garbage in unused rows, scratch and outputs changes no bit, nor does a NaN in a later token; nothing is
 * written outside the sizes that the shape declares, nor between the strided rows. */
void inner_check_garbage(const il_rule *rule);
/* A carry begins as the learned weights; its padding is zero. */
void inner_check_state(const il_rule *rule);
/* The inner loss against a plain one in double precision; trimmed rows read as they did. */
void inner_check_statistics(const il_rule *rule);

#endif
