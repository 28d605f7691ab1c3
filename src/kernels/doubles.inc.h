/* doubles.inc.h (included by isa.c): doubles, as many as a vector of the instruction set holds, and their floats; the
 * compiler's own vectors do what few operations need. */
#if defined(__AVX512F__)
enum { DOUBLES = 8 };
#elif defined(__AVX2__)
enum { DOUBLES = 4 };
#else
enum { DOUBLES = 2 };
#endif
typedef double doubles __attribute__((vector_size(8 * DOUBLES)));
typedef float floats __attribute__((vector_size(4 * DOUBLES)));
