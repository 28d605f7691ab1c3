/* kernels.h: the table of compute kernels, one instance per instruction set, all giving the same bits.
 *
 * Canonical arithmetic (docs/arithmetic.md): an element of a product is one chain `acc = fma(a[k], b[k], acc)`, k
 * ascending; any other sum over a row is 16 partial sums, element i into lane i mod 16 ascending, then one fixed tree
 * ((l0+l8)+(l4+l12)) …; exp, tanh, … are our own polynomials. Rows of any width: lanes past the end add nothing.
 * Functions here are single-threaded, allocate nothing and keep no state. `ld*` are row strides in floats. Unless a
 * comment says otherwise an output may be the same array as an input of the same shape and stride, and may not overlap
 * otherwise. "+=" marks outputs that are added to: x + (sum), one rounding after the sum is complete, unless the sum is
 * a chain that starts from the old value, marked "chain". */
#ifndef IL_KERNELS_KERNELS_H
#define IL_KERNELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { IL_LANES = 16, IL_CONV_TAPS_MAX = 16, IL_GROUP = 64 /* inputs that share a scale */ };
/* Products of at most so many rows and at least so deep take panel after panel of packed weights and fetch the next
 * meanwhile (products.inc.h); who cuts a product into cache blocks must leave them all columns. */
enum { IL_FEW_ROWS = 32, IL_FEW_DEPTH = 64 };

/* A group of a row as gemm_int8 takes it, whole numbers -127 .. 127: pairs of 16 bits, or, where the CPU multiplies
 * bytes by bytes (il_kernels.int8_bytes), bytes after minus 128 times their sum. */
typedef struct il_int8_pairs {
    int16_t q[IL_GROUP];
} il_int8_pairs;
typedef struct il_int8_bytes {
    int32_t start;
    int8_t q[IL_GROUP];
} il_int8_bytes;
/* A group of a row as gemm_int4 takes it: q of each eight inputs in the order 0 4 1 5 2 6 3 7, that of the bytes in
 * which the matrix has them; start: minus 8 times the sum of the even inputs, of the odd ones. */
typedef struct il_int4_inputs {
    int16_t start[2];
    int8_t q[IL_GROUP];
} il_int4_inputs;

/* Cache blocks: how a big product cuts b for the caches of CPUs with this instruction set: so deep (k) and so many
 * columns wide, which all rows visit before the next. */
typedef struct il_cache_block {
    int depth, columns;
} il_cache_block;
typedef struct il_cache_blocks {
    il_cache_block packed, b_copied, a_copied; /* b packed before; copied on the way; a transposed copied on the way */
    int a_rows;                                /* so many at a time: up to 16 as a panel, more row by row */
} il_cache_blocks;

typedef struct il_kernels {
    const char *name; /* "portable", "avx2", "avx512", "avx512_vnni", "neon" */
    int int8_bytes;   /* how int8 inputs are held: 0: il_int8_pairs, 1: il_int8_bytes */
    il_cache_blocks cache_blocks;

    /* ---- products ---- */

    /* c [m,n] = a [m,k] · b [k,n]. a(i,k) at a[i*a_row + k*a_col]. b in panels of 16 columns: b(k, 16p+l) at
     * b[p*b_panel + k*b_row + l]; packed: b_row 16, b_panel 16*k; row-major: b_row = ldb, b_panel 16. The last panel is
     * read only up to column n. accumulate: every chain starts from c (chain), else from 0. c must not overlap a or b.
     * b is not cut into cache blocks here: for big products call il_gemm (engine/gemm.h). */
    void (*gemm)(int m, int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_col, const float *b, ptrdiff_t b_row,
                 ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int accumulate);
    /* The same for a few rows of a, with a_col 1, and b [k,n] without gaps, k ≥ 1, which waits in memory and is read
     * once: every part of it is fetched while the one before is multiplied, and the beginning of what is read
     * afterwards, at `next`, with the last one. */
    void (*gemm_read)(int m, int n, int k, const float *a, ptrdiff_t a_row, const float *b, const float *next, float *c,
                      ptrdiff_t ldc, int accumulate);
    /* gemm with b in bfloat16, each number widened before it is multiplied: the bits of gemm on the widened b.
     * Always packed (b_row 16), the last panel padded with zeros and read whole; the 16 columns of a panel in the order
     * 0 8 1 9 … 7 15. */
    void (*gemm_bf16)(int m, int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_col, const uint16_t *b,
                      ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int accumulate);
    /* y [m,n] = keep * x + a [m,k] · b [k,n] (chain from keep * x), k small: fast weights after a mini-batch. x and y
     * have stride ld; y may be x. */
    void (*rank_update)(int m, int n, int k, const float *a, ptrdiff_t lda, const float *b, ptrdiff_t ldb, float keep,
                        const float *x, float *y, ptrdiff_t ld);
    /* y_i [n] += sum_{j <= first+i} c(i,j) g_j (chain), i < m: each row reads its own and all earlier rows of g, and no
     * later one (0·NaN is NaN, and -0 + 0 is +0: zeros in c would not do). g and y have stride ld. */
    void (*lower_product)(int m, int n, int first, const float *c, ptrdiff_t ldc, const float *g, float *y,
                          ptrdiff_t ld);
    /* Rows first .. first+m-1 of u [first+m,n]: u_i = rate_i (u_i + sum_{j < i} c(i,j) u_j) (chain), i ascending, so
     * that each row reads those before it as they are afterwards. c and rate begin with row `first`. Strides may be
     * negative: then u ends in memory where it begins. */
    void (*lower_solve)(int m, int n, int first, const float *c, ptrdiff_t ldc, const float *rate, float *u,
                        ptrdiff_t ld);

    /* ---- products of integers (docs/arithmetic.md), groups = ceil(k / IL_GROUP), k ≥ 1 ---- */
    /* Rows x [m,k] -> whole numbers q [m, groups], of il_int8_pairs or il_int8_bytes, and scale [m, groups]: x is about
     * q * scale. Of the last group as many 16 as k needs are written, zeros behind k. A number that is not finite makes
     * its group's scale NaN. */
    void (*quantize)(int m, int k, const float *x, ptrdiff_t ldx, void *q, float *scale);
    /* c [m,n] from q and scale as above and b in panels of 16 columns, a panel every b_panel bytes: for each group 16
     * float factors, then for each two inputs [16][2] int8_t; the last panel padded to 16, the last group to an even
     * number of inputs. c = fma((float)(sum of a group's integer products), scale * factor, c), from 0, groups
     * ascending. */
    void (*gemm_int8)(int m, int n, int k, const void *q, const float *scale, const unsigned char *b, ptrdiff_t b_panel,
                      float *c, ptrdiff_t ldc);
    /* Weights of 16 groups x [IL_GROUP, 16] -> whole numbers q [IL_GROUP, 16] of -8 .. 7, and scale [16], as
     * docs/arithmetic.md has it. A group that is shorter ends in zeros. Where a number is not finite, or its square too
     * large, the scale is NaN. */
    void (*weights_int4)(const float *x, float *scale, int8_t *q);
    /* Both for int4. */
    void (*quantize_int4)(int m, int k, const float *x, ptrdiff_t ldx, il_int4_inputs *q, float *scale);
    /* b, after the factors: for each eight inputs [16] uint32_t, of an output's eight integers plus 8: input 2j in bits
     * 4j and input 2j+1 in bits 4j+16 and up, j < 4; the last group padded to eight. */
    void (*gemm_int4)(int m, int n, int k, const il_int4_inputs *q, const float *scale, const unsigned char *b,
                      ptrdiff_t b_panel, float *c, ptrdiff_t ldc);

    /* Packs b(k,n) = src[k*src_row + n*src_col] into panels [ceil(n/16)][k][16], the last one padded with zeros. One of
     * the strides must be 1. */
    void (*pack)(int n, int k, const float *src, ptrdiff_t src_row, ptrdiff_t src_col, float *dst);
    /* dst [n,m] = src [m,n] transposed. No overlap. */
    void (*transpose)(int m, int n, const float *src, ptrdiff_t ld_src, float *dst, ptrdiff_t ld_dst);

    /* ---- elementwise, n values ---- */
    void (*add)(size_t n, const float *a, const float *b, float *y); /* y = a + b */
    void (*axpy)(size_t n, float s, const float *x, float *y);       /* y = fma(s, x, y) */
    void (*scale)(size_t n, float s, const float *x, float *y);      /* y = s * x */
    void (*mul)(size_t n, const float *a, const float *b, float *y); /* y = a * b */
    void (*sigmoid)(size_t n, const float *x, float *y);
    void (*gelu)(size_t n, const float *x, float *y); /* tanh form */
    void (*gelu_grad)(size_t n, const float *x, float *y,
                      float *dy); /* y = gelu(x) (NULL: not wanted), dy = gelu'(x) */
    void (*gelu_grad2)(size_t n, const float *x, float *dy, float *ddy);     /* dy = gelu'(x), ddy = gelu''(x) */
    void (*softplus)(size_t n, const float *x, float *y);                    /* y = log(1 + exp(x)) */
    void (*silu)(size_t n, const float *x, float *y);                        /* y = x * sigmoid(x) */
    void (*silu_back)(size_t n, const float *x, const float *dy, float *dx); /* dx = dy * silu'(x); may be dy */
    void (*silu_mul)(size_t n, const float *x, const float *u, float *y);    /* y = silu(x) * u */
    /* Given dy = dL/d(silu(x)*u): dx, du (=, may alias x, u, dy). */
    void (*silu_mul_back)(size_t n, const float *x, const float *u, const float *dy, float *dx, float *du);
    void (*gelu_mul)(size_t n, const float *x, const float *u, float *y); /* y = gelu(x) * u */
    void (*gelu_mul_back)(size_t n, const float *x, const float *u, const float *dy, float *dx, float *du);

    /* ---- rows: [rows, n] ---- */
    /* y[r] += bias, each row. */
    void (*add_bias)(int rows, int n, const float *bias, float *y, ptrdiff_t ld);
    /* y = w * (x * (1 / sqrt(mean(x²) + eps))) */
    void (*rms_norm)(int rows, int n, const float *x, ptrdiff_t ldx, const float *w, float eps, float *y,
                     ptrdiff_t ldy);
    /* dx (+= if add) and dw [n] += over rows ascending (chain over rows). */
    void (*rms_norm_back)(int rows, int n, const float *x, ptrdiff_t ldx, const float *w, float eps, const float *dy,
                          ptrdiff_t ldy, float *dx, ptrdiff_t lddx, int add, float *dw);
    /* xhat = (x - mean) / sqrt(var + eps); y = xhat * gamma + beta. xhat and inv_std [rows] may be NULL. y may alias x,
     * xhat may not alias y. */
    void (*layer_norm)(int rows, int n, const float *x, ptrdiff_t ldx, const float *gamma, const float *beta, float eps,
                       float *y, ptrdiff_t ldy, float *xhat, ptrdiff_t ld_xhat, float *inv_std);
    /* From xhat and inv_std: dx =, dgamma [n] += and dbeta [n] += over rows ascending. dx may alias dy. */
    void (*layer_norm_back)(int rows, int n, const float *xhat, ptrdiff_t ld_xhat, const float *inv_std,
                            const float *gamma, const float *dy, ptrdiff_t ldy, float *dx, ptrdiff_t lddx,
                            float *dgamma, float *dbeta);
    /* The gradient of the inner loss 1/2 |LN(z) - target|² with respect to z, each row (docs/ttt.md):
     *   xhat = (z - mean)/s;  e = (xhat*gamma + beta - target) * gamma;  g = (e - mean(e) - xhat*mean(e*xhat)) / s.
     * g may alias z. xhat, e, inv_std may be NULL (inference); xhat and e have g's stride. */
    void (*ln_loss_grad)(int rows, int n, const float *z, ptrdiff_t ldz, const float *target, ptrdiff_t ld_target,
                         const float *gamma, const float *beta, float eps, float *g, ptrdiff_t ldg, float *xhat,
                         float *e, float *inv_std);
    /* Its backward: given dg, and xhat, e, inv_std from above: dz =, dtarget =, dgamma [n] +=, dbeta [n] += (rows
     * ascending). dz, dtarget have dg's stride; dz may alias dg. */
    void (*ln_loss_grad_back)(int rows, int n, const float *xhat, const float *e, const float *inv_std, ptrdiff_t ld,
                              const float *target, ptrdiff_t ld_target, const float *gamma, const float *beta,
                              const float *dg, ptrdiff_t ldg, float *dz, float *dtarget, float *dgamma, float *dbeta);
    /* Rotates interleaved pairs of each row by row's own angle: (a,b) -> (a cos - b sin, a sin + b cos); cosine and
     * sine [rows, n/2] with stride ld_table. inverse: rotates back (also the backward). In place. */
    void (*rope)(int rows, int n, float *x, ptrdiff_t ldx, const float *cosine, const float *sine, ptrdiff_t ld_table,
                 int inverse);
    /* The same on half-split pairs (x_m, x_{m+n/2}), as Llama files have it. */
    void (*rope_half)(int rows, int n, float *x, ptrdiff_t ldx, const float *cosine, const float *sine,
                      ptrdiff_t ld_table, int inverse);
    /* Depthwise causal convolution: y[t] = bias + sum_{k<taps} w[c,k] * x[t-(taps-1)+k], k ascending from 0 as one
     * chain, bias added after; columns before the first come from history [taps-1, n] (oldest first). x and y do not
     * overlap. w [n, taps] as on disk, taps 1 .. IL_CONV_TAPS_MAX. add: y += instead. */
    void (*conv)(int rows, int n, int taps, const float *x, ptrdiff_t ldx, const float *history, const float *w,
                 const float *bias, float *y, ptrdiff_t ldy, int add);
    /* dx (+= if add), dw [n,taps] +=, dbias [n] += (rows ascending). history as in conv; gradients that fall into it
     * are dropped (a sequence's start, or a cut). dx may be dy, not x. */
    void (*conv_back)(int rows, int n, int taps, const float *x, ptrdiff_t ldx, const float *history, const float *w,
                      const float *dy, ptrdiff_t ldy, float *dx, ptrdiff_t lddx, int add, float *dw, float *dbias);
    /* lse[r] = log(sum(exp(x))), shifted by the largest; n ≥ 1. */
    void (*log_sum_exp)(int rows, int n, const float *x, ptrdiff_t ldx, float *lse);
    /* x = exp(x - lse[r]) in place: softmax rows from log_sum_exp. */
    void (*exp_shift)(int rows, int n, float *x, ptrdiff_t ldx, const float *lse);
    /* What x is worth when a token is drawn, in place: exp((x - top) / temperature), by il_exp_d, rounded to float; 0
     * where that quotient is below `least`, and where the result is below `smallest`. No x is above top; least is -80
     * at least. */
    void (*draw_weights)(int n, float *x, double top, double temperature, double least, float smallest);
    /* The scores of one key block of online softmax: s [rows, n] times `scale`; only the first valid[r] (0 .. n) of a
     * row count, the others become exact 0. m [rows] running maximum (start -inf), l [rows] running sum (start 0):
     * updates both, turns s into exp(s*scale - m_new) and gives correction[r] = exp(m_old - m_new) (1 for rows with
     * valid 0). Here and in softmax_rows what is less than e^-60 is 0. */
    void (*softmax_key_block)(int rows, int n, const int *valid, float scale, float *s, ptrdiff_t lds, float *m,
                              float *l, float *correction);
    /* The same weights once lse[r] = m + log(l) of all key blocks is known: s = exp(s*scale - lse), 0 from valid[r] on.
     */
    void (*softmax_rows)(int rows, int n, const int *valid, float scale, float *s, ptrdiff_t lds, const float *lse);
    /* Gradient of the scores from that of the weights p [rows, n], in place: ds = p (ds - mean[r]) scale. */
    void (*softmax_rows_back)(int rows, int n, float scale, const float *p, ptrdiff_t ldp, const float *mean, float *ds,
                              ptrdiff_t ldds);
    /* Plain dot product by the 16-lane sum, each row: out[r] = sum_i a[r,i]*b[r,i] (fma into lanes). */
    void (*row_dot)(int rows, int n, const float *a, ptrdiff_t lda, const float *b, ptrdiff_t ldb, float *out);
    /* The sum of the squares of n values, in 16 lanes of double (gradient norm). */
    double (*sum_squares)(size_t n, const float *x);
    int (*all_finite)(size_t n, const float *x);

    /* AdamW: g' = g*clip; m = b1*m + (1-b1)*g'; v = b2*v + (1-b2)*g'²; p -= lr*(m*inv_c1 / (sqrt(v*inv_c2) + eps) +
     * wd*p). */
    void (*adamw)(size_t n, float *p, const float *g, float *m, float *v, float clip, float lr, float b1, float b2,
                  float inv_c1, float inv_c2, float eps, float wd);
    void (*f32_to_bf16)(size_t n, const float *x, uint16_t *y); /* rounds to nearest even; NaN stays NaN */
} il_kernels;

extern const il_kernels il_kernels_portable;
#if defined(__x86_64__)
extern const il_kernels il_kernels_avx2;
extern const il_kernels il_kernels_avx512;
extern const il_kernels il_kernels_avx512_vnni; /* and products of bytes */
#elif defined(__aarch64__)
extern const il_kernels il_kernels_neon;
#endif

/* The table of that name if this CPU can run it; NULL name: $IL_CPU if set, else the best. NULL when unknown or not
 * runnable here. */
const il_kernels *il_kernels_pick(const char *name);

#endif
