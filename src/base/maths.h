/* maths.h: elementary functions in double from IEEE operations alone, the same bits on every machine. For tables and
 * initialisation; the kernels have their own in single precision. */
#ifndef IL_BASE_MATHS_H
#define IL_BASE_MATHS_H

double il_exp_d(double x);                                /* |relative error| < 1e-15 in -700 .. 700 */
double il_log_d(double x);                                /* x > 0, normal */
void il_sincos_d(double x, double *sine, double *cosine); /* |x| < 1e7; absolute error < 1e-12 */

#endif
