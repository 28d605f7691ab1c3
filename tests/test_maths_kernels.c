/* What the kernels compute: each against its formula in double precision, and each backward kernel against
 * differences of that formula. Run on the best table of this CPU; test_kernels shows that all tables give its
 * bits. */
#include "support_test.h"

#include <math.h>
#include <stdlib.h>

#include "base/maths.h"
#include "support_kernels.h"

static const il_kernels *k;
static int setup(void **unused) {
    (void)unused;
    k = il_kernels_pick(NULL);
    return k == NULL;
}

enum { R = 3, N_MAX = 70, TAPS = 4 }; /* rows of every case */
static const int widths[] = {1, 2, 7, 16, 17, 64, 70};
enum { N_WIDTHS = sizeof widths / sizeof *widths };

static void draw(float *x, int n, uint32_t seed) {
    for (int i = 0; i < n; i++) x[i] = kernel_draw(&seed);
}

/* Units in the last place of want between the two. */
static double ulps(float got, double want) {
    float near = fabsf((float)want);
    double unit = near < 1.18e-38f ? 0x1p-149 : (double)(nextafterf(near, INFINITY) - near);
    return fabs((double)got - want) / unit;
}

static void close_to(const char *what, const float *got, const double *want, int n, double relative) {
    double size = 0;
    for (int i = 0; i < n; i++) size = fmax(size, fabs(want[i]));
    for (int i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= relative * (fabs(want[i]) + 0.1 * size) + 1e-9))
            fail_msg("%s[%d] of %d: %.9g, not %.9g", what, i, n, (double)got[i], want[i]);
}

/* ---- functions of one number ---- */

static double sigmoid_of(double x) { return 1 / (1 + exp(-x)); }
static double gelu_of(double x) { return x * sigmoid_of(2 * 0.7978845608028654 * (x + 0.044715 * x * x * x)); }
static double silu_of(double x) { return x * sigmoid_of(x); }
static double slope(double (*f)(double), double x) {
    double h = 1e-4;
    return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h);
}
static double bend(double (*f)(double), double x) {
    double h = 1e-3;
    return (-f(x + 2 * h) + 16 * f(x + h) - 30 * f(x) + 16 * f(x - h) - f(x - 2 * h)) / (12 * h * h);
}

static void test_exp_ulps(void **unused) {
    (void)unused;
    const float zero = 0;
    double worst = 0, worst_tiny = 0;
    for (int i = 0; i < 200000; i++) {
        float x = -104.0f + 192.7f * (float)i / 200000.0f, y = x;
        k->exp_shift(1, 1, &y, 1, &zero);
        double off = ulps(y, exp((double)x));
        if (x > -87.0f)
            worst = fmax(worst, off);
        else
            worst_tiny = fmax(worst_tiny, off);
    }
    assert_true(worst < 1.0);
    assert_true(worst_tiny < 1.0);
}

static void test_sigmoid_gelu_silu_softplus(void **unused) {
    (void)unused;
    double worst_sigmoid = 0, worst_gelu = 0, worst_silu = 0, worst_plus = 0;
    for (int i = 0; i <= 40000; i++) {
        float x = -20.0f + 40.0f * (float)i / 40000.0f, one = 1, s, y, dy, y2, dy2, ddy, swish, dx, du;
        float alone, dalone, plus;
        double d = x;
        k->sigmoid(1, &x, &s);
        k->gelu(1, &x, &y);
        k->gelu_grad(1, &x, &y2, &dy);
        k->gelu_grad2(1, &x, &dy2, &ddy);
        k->silu_mul(1, &x, &one, &swish);
        k->silu_mul_back(1, &x, &one, &one, &dx, &du);
        k->silu(1, &x, &alone);
        k->silu_back(1, &x, &one, &dalone);
        k->softplus(1, &x, &plus);
        worst_plus = fmax(worst_plus, ulps(plus, fmax(d, 0) + log1p(exp(-fabs(d)))));
        assert_memory_equal(&alone, &swish, sizeof alone);
        assert_memory_equal(&dalone, &dx, sizeof dalone);
        worst_sigmoid = fmax(worst_sigmoid, ulps(s, sigmoid_of(d)));
        worst_silu = fmax(worst_silu, ulps(swish, silu_of(d)));
        if (x > -3.0f) worst_gelu = fmax(worst_gelu, ulps(y, gelu_of(d)));
        /* The rounding of z = 2u comes out as a relative error of |z| units; below -10 gelu is held at
         * -1e-37. */
        double z = 2 * 0.7978845608028654 * (d + 0.044715 * d * d * d);
        assert_true(fabs((double)y - gelu_of(d)) < 2e-7 * (1 + fabs(z)) * fabs(gelu_of(d)) + 1e-36);
        assert_memory_equal(&y, &y2, sizeof y);
        assert_memory_equal(&dy, &dy2, sizeof dy);
        assert_memory_equal(&du, &swish, sizeof du);
        assert_true(fabs((double)dy - slope(gelu_of, d)) < 5e-7);
        assert_true(fabs((double)ddy - bend(gelu_of, d)) < 1e-6);
        assert_true(fabs((double)dx - slope(silu_of, d)) < 5e-7);
    }
    assert_true(worst_sigmoid < 4);
    assert_true(worst_silu < 4);
    assert_true(worst_plus < 4);
    assert_true(worst_gelu < 16); /* the argument's own rounding, times the slope of exp */
}

static void test_gates(void **unused) {
    (void)unused;
    float x[N_MAX], u[N_MAX], dy[N_MAX], y[N_MAX], dx[N_MAX], du[N_MAX];
    double want[N_MAX], want_dx[N_MAX], want_du[N_MAX];
    draw(x, N_MAX, 1), draw(u, N_MAX, 2), draw(dy, N_MAX, 3);
    for (int which = 0; which < 2; which++) {
        double (*f)(double) = which ? gelu_of : silu_of;
        for (int i = 0; i < N_MAX; i++) {
            want[i] = f((double)x[i]) * (double)u[i];
            want_dx[i] = (double)dy[i] * (double)u[i] * slope(f, (double)x[i]);
            want_du[i] = (double)dy[i] * f((double)x[i]);
        }
        (which ? k->gelu_mul : k->silu_mul)(N_MAX, x, u, y);
        (which ? k->gelu_mul_back : k->silu_mul_back)(N_MAX, x, u, dy, dx, du);
        close_to("gate", y, want, N_MAX, 2e-6);
        close_to("gate dx", dx, want_dx, N_MAX, 2e-6);
        close_to("gate du", du, want_du, N_MAX, 2e-6);
    }
}

static void test_plain(void **unused) {
    (void)unused;
    float a[N_MAX], b[N_MAX], y[N_MAX];
    draw(a, N_MAX, 1), draw(b, N_MAX, 2);
    k->add(N_MAX, a, b, y);
    for (int i = 0; i < N_MAX; i++) assert_true(y[i] == a[i] + b[i]);
    k->mul(N_MAX, a, b, y);
    for (int i = 0; i < N_MAX; i++) assert_true(y[i] == a[i] * b[i]);
    k->scale(N_MAX, 0.3f, a, y);
    for (int i = 0; i < N_MAX; i++) assert_true(y[i] == 0.3f * a[i]);
    memcpy(y, b, sizeof y);
    k->axpy(N_MAX, 0.3f, a, y);
    for (int i = 0; i < N_MAX; i++) assert_true(y[i] == fmaf(0.3f, a[i], b[i]));
    memcpy(y, b, sizeof y);
    k->add_bias(2, 35, a, y, 35);
    for (int i = 0; i < N_MAX; i++) assert_true(y[i] == b[i] + a[i % 35]);
}

/* Weights are those of il_exp_d, over all its range and at the ends. */
static void test_draw_weights(void **unused) {
    enum { N = 20001 };
    static float x[N], y[N];
    (void)unused;
    for (int i = 0; i < N; i++) x[i] = 3.0f - (float)i * 0.0042f;
    x[1] = -INFINITY, x[2] = -3e38f, x[3] = nextafterf(3.0f, 0.0f);
    for (int variant = 0; variant < 4; variant++) {
        double temperature = variant & 1 ? 0.37 : 1.0, least = variant & 2 ? -3.01 : -80;
        float smallest = variant & 2 ? 0.05f : 0.0f;
        memcpy(y, x, sizeof y);
        k->draw_weights(N, y, 3.0, temperature, least, smallest);
        for (int i = 0; i < N; i++) {
            double quotient = ((double)x[i] - 3.0) / temperature;
            float want = quotient < least ? 0.0f : (float)il_exp_d(quotient);
            if (want < smallest) want = 0;
            assert_memory_equal(&y[i], &want, sizeof want);
        }
    }
}

/* The documented order of every sum, spelt out: 16 lanes, then halves onto halves. */
static void test_sum_order(void **unused) {
    (void)unused;
    float x[N_MAX], y[N_MAX], dot;
    draw(x, N_MAX, 7), draw(y, N_MAX, 8);
    for (int n = 0; n <= N_MAX; n++) {
        float dots[16] = {0};
        double squares[16] = {0};
        for (int i = 0; i < n; i++) {
            dots[i % 16] = fmaf(x[i], y[i], dots[i % 16]);
            squares[i % 16] += (double)x[i] * (double)x[i];
        }
        for (int half = 8; half; half /= 2)
            for (int i = 0; i < half; i++) {
                dots[i] += dots[i + half];
                squares[i] += squares[i + half];
            }
        assert_true(k->sum_squares((size_t)n, x) == squares[0]);
        k->row_dot(1, n, x, n, y, n, &dot);
        assert_true(dot == dots[0]);
    }
}

/* ---- functions of rows, and their gradients by differences ---- */

/* A function in double of named arrays: in[a] has size[a] numbers. */
enum { ARRAYS = 4 };
typedef struct function {
    void (*of)(double *const in[ARRAYS], int n, double *y);
    int size[ARRAYS], n, outputs;
} function;

/* d(sum_i dy_i y_i) / d in[a] into grad [size[a]]. */
static void differences(const function *f, double *const in[ARRAYS], const float *dy, int a, double *grad) {
    double *y = calloc((size_t)f->outputs, sizeof *y);
    assert_non_null(y);
    for (int i = 0; i < f->size[a]; i++) {
        static const double steps[4] = {-2, -1, 1, 2}, weights[4] = {1, -8, 8, -1};
        const double kept = in[a][i], h = 1e-3;
        grad[i] = 0;
        for (int s = 0; s < 4; s++) {
            in[a][i] = kept + steps[s] * h;
            f->of(in, f->n, y);
            double loss = 0;
            for (int j = 0; j < f->outputs; j++) loss += (double)dy[j] * y[j];
            grad[i] += weights[s] * loss / (12 * h);
        }
        in[a][i] = kept;
    }
    free(y);
}

static void widen(double *to, const float *from, int n) {
    for (int i = 0; i < n; i++) to[i] = (double)from[i];
}

/* An eps that hides nothing at n = 1 or 2, where the spread may be small. */
#define EPS 0.05

static void rms_of(double *const in[ARRAYS], int n, double *y) {
    for (int r = 0; r < R; r++) {
        double s = 0;
        for (int i = 0; i < n; i++) s += in[0][r * n + i] * in[0][r * n + i];
        for (int i = 0; i < n; i++) y[r * n + i] = in[1][i] * in[0][r * n + i] / sqrt(s / n + EPS);
    }
}

static double spread(const double *x, int n, double *mean) {
    double s = 0, v = 0;
    for (int i = 0; i < n; i++) s += x[i];
    *mean = s / n;
    for (int i = 0; i < n; i++) v += (x[i] - *mean) * (x[i] - *mean);
    return sqrt(v / n + EPS);
}

static void layer_norm_of(double *const in[ARRAYS], int n, double *y) {
    for (int r = 0; r < R; r++) {
        double mean, s = spread(in[0] + r * n, n, &mean);
        for (int i = 0; i < n; i++) y[r * n + i] = (in[0][r * n + i] - mean) / s * in[1][i] + in[2][i];
    }
}

/* in: z, gamma, beta, target */
static void loss_grad_of(double *const in[ARRAYS], int n, double *y) {
    for (int r = 0; r < R; r++) {
        double mean, s = spread(in[0] + r * n, n, &mean), me = 0, mex = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int i = 0; i < n; i++) {
                double h = (in[0][r * n + i] - mean) / s;
                double e = (h * in[1][i] + in[2][i] - in[3][r * n + i]) * in[1][i];
                if (pass)
                    y[r * n + i] = (e - me - h * mex) / s;
                else
                    me += e / n, mex += e * h / n;
            }
    }
}

enum { CELLS = R * N_MAX };
static float x[CELLS], w[N_MAX], beta[N_MAX], target[CELLS], dy[CELLS], y[CELLS], dx[CELLS], dw[N_MAX], db[N_MAX];
static float xhat[CELLS], e[CELLS], inv_std[R], dt[CELLS], old_w[N_MAX], old_b[N_MAX], old_x[CELLS];
static double X[CELLS], W[N_MAX], B[N_MAX], T[CELLS], want[CELLS];
static double *const inputs[ARRAYS] = {X, W, B, T};

static void draw_all(uint32_t seed) {
    draw(x, CELLS, seed), draw(w, N_MAX, seed + 1), draw(beta, N_MAX, seed + 2), draw(target, CELLS, seed + 3);
    draw(dy, CELLS, seed + 4), draw(old_w, N_MAX, seed + 5), draw(old_b, N_MAX, seed + 6), draw(old_x, CELLS, seed + 7);
    memcpy(dw, old_w, sizeof dw);
    memcpy(db, old_b, sizeof db);
    memcpy(dx, old_x, sizeof dx);
    widen(X, x, CELLS), widen(W, w, N_MAX), widen(B, beta, N_MAX), widen(T, target, CELLS);
}

/* want += old */
static void onto(const float *old, int n) {
    for (int i = 0; i < n; i++) want[i] += (double)old[i];
}

static void test_rms_norm(void **unused) {
    (void)unused;
    for (int c = 0; c < N_WIDTHS; c++) {
        int n = widths[c];
        function f = {rms_of, {R * n, n}, n, R * n};
        for (int add = 0; add < 2; add++) {
            draw_all((uint32_t)n);
            k->rms_norm(R, n, x, n, w, (float)EPS, y, n);
            rms_of(inputs, n, want);
            close_to("rms_norm", y, want, R * n, 2e-6);
            k->rms_norm_back(R, n, x, n, w, (float)EPS, dy, n, dx, n, add, dw);
            differences(&f, inputs, dy, 0, want);
            if (add) onto(old_x, R * n);
            close_to("rms_norm dx", dx, want, R * n, 1e-5);
            differences(&f, inputs, dy, 1, want);
            onto(old_w, n);
            close_to("rms_norm dw", dw, want, n, 1e-5);
        }
    }
}

static void test_layer_norm(void **unused) {
    (void)unused;
    for (int c = 0; c < N_WIDTHS; c++) {
        int n = widths[c];
        function f = {layer_norm_of, {R * n, n, n}, n, R * n};
        draw_all((uint32_t)n);
        k->layer_norm(R, n, x, n, w, beta, (float)EPS, y, n, xhat, n, inv_std);
        layer_norm_of(inputs, n, want);
        close_to("layer_norm", y, want, R * n, 5e-6);
        k->layer_norm_back(R, n, xhat, n, inv_std, w, dy, n, dx, n, dw, db);
        differences(&f, inputs, dy, 0, want);
        close_to("layer_norm dx", dx, want, R * n, 2e-5);
        differences(&f, inputs, dy, 1, want);
        onto(old_w, n);
        close_to("layer_norm dgamma", dw, want, n, 2e-5);
        differences(&f, inputs, dy, 2, want);
        onto(old_b, n);
        close_to("layer_norm dbeta", db, want, n, 2e-5);
    }
}

static void test_ln_loss_grad(void **unused) {
    (void)unused;
    for (int c = 0; c < N_WIDTHS; c++) {
        int n = widths[c];
        function f = {loss_grad_of, {R * n, n, n, R * n}, n, R * n};
        draw_all((uint32_t)n);
        k->ln_loss_grad(R, n, x, n, target, n, w, beta, (float)EPS, y, n, xhat, e, inv_std);
        loss_grad_of(inputs, n, want);
        close_to("ln_loss_grad", y, want, R * n, 2e-5);
        /* It is the gradient of the inner loss itself: 1/2 |LN(z) - T|². */
        static float error[CELLS];
        static double plain[CELLS];
        function norm = {layer_norm_of, {R * n, n, n}, n, R * n};
        layer_norm_of(inputs, n, plain);
        for (int i = 0; i < R * n; i++) error[i] = (float)(plain[i] - T[i]);
        differences(&norm, inputs, error, 0, want);
        close_to("ln_loss_grad as a gradient", y, want, R * n, 5e-5);

        k->ln_loss_grad_back(R, n, xhat, e, inv_std, n, target, n, w, beta, dy, n, dx, dt, dw, db);
        differences(&f, inputs, dy, 0, want);
        close_to("ln_loss_grad dz", dx, want, R * n, 1e-4);
        differences(&f, inputs, dy, 3, want);
        close_to("ln_loss_grad dtarget", dt, want, R * n, 5e-5);
        differences(&f, inputs, dy, 1, want);
        onto(old_w, n);
        close_to("ln_loss_grad dgamma", dw, want, n, 5e-5);
        differences(&f, inputs, dy, 2, want);
        onto(old_b, n);
        close_to("ln_loss_grad dbeta", db, want, n, 5e-5);
    }
}

/* in: x, w [n,TAPS], bias, history */
static void conv_of(double *const in[ARRAYS], int n, double *out) {
    for (int t = 0; t < R; t++)
        for (int c = 0; c < n; c++) {
            double s = in[2][c];
            for (int tap = 0; tap < TAPS; tap++) {
                int from = t - (TAPS - 1) + tap;
                s += in[1][c * TAPS + tap] * (from >= 0 ? in[0][from * n + c] : in[3][(from + TAPS - 1) * n + c]);
            }
            out[t * n + c] = s;
        }
}

static void test_conv(void **unused) {
    (void)unused;
    static float weight[N_MAX * TAPS], dweight[N_MAX * TAPS], old[N_MAX * TAPS], history[(TAPS - 1) * N_MAX];
    static double W4[N_MAX * TAPS], H[(TAPS - 1) * N_MAX];
    double *const in[ARRAYS] = {X, W4, B, H};
    for (int c = 0; c < N_WIDTHS; c++)
        for (int add = 0; add < 2; add++) {
            int n = widths[c];
            function f = {conv_of, {R * n, n * TAPS, n, (TAPS - 1) * n}, n, R * n};
            draw_all((uint32_t)n);
            draw(weight, n * TAPS, 11), draw(history, (TAPS - 1) * n, 12), draw(old, n * TAPS, 13);
            memcpy(dweight, old, sizeof old);
            memcpy(y, old_x, sizeof y);
            widen(W4, weight, n * TAPS), widen(H, history, (TAPS - 1) * n);
            k->conv(R, n, TAPS, x, n, history, weight, beta, y, n, add);
            conv_of(in, n, want);
            if (add) onto(old_x, R * n);
            close_to("conv", y, want, R * n, 2e-6);
            k->conv_back(R, n, TAPS, x, n, history, weight, dy, n, dx, n, add, dweight, db);
            differences(&f, in, dy, 0, want);
            if (add) onto(old_x, R * n);
            close_to("conv dx", dx, want, R * n, 5e-6);
            static double want_w[N_MAX * TAPS];
            differences(&f, in, dy, 1, want_w);
            for (int i = 0; i < n * TAPS; i++) want_w[i] += (double)old[i];
            close_to("conv dw", dweight, want_w, n * TAPS, 5e-6);
            differences(&f, in, dy, 2, want);
            onto(old_b, n);
            close_to("conv dbias", db, want, n, 5e-6);
        }
}

/* Any cut of the rows into calls: the same bits. */
static void test_cuts(void **unused) {
    (void)unused;
    enum { ROWS = 9, N = 37 };
    static float all[ROWS * N], whole[ROWS * N], parts[ROWS * N], tap[N * TAPS], history[(TAPS - 1) * N];
    static float dws[2][N * TAPS], dbs[2][N], dgs[2][N], out[ROWS * N];
    draw(all, ROWS * N, 1), draw(tap, N * TAPS, 2), draw(history, (TAPS - 1) * N, 3), draw_all(4);
    for (int cut = 0; cut <= ROWS; cut++) {
        memset(dws, 0, sizeof dws), memset(dbs, 0, sizeof dbs), memset(dgs, 0, sizeof dgs);
        k->conv(ROWS, N, TAPS, all, N, history, tap, beta, whole, N, 0);
        float joined[(TAPS - 1 + ROWS) * N];
        memcpy(joined, history, sizeof history);
        memcpy(joined + (TAPS - 1) * N, all, sizeof all);
        k->conv(cut, N, TAPS, all, N, joined, tap, beta, parts, N, 0);
        k->conv(ROWS - cut, N, TAPS, all + cut * N, N, joined + cut * N, tap, beta, parts + cut * N, N, 0);
        assert_memory_equal(whole, parts, sizeof whole);
        k->rms_norm_back(ROWS, N, all, N, w, 1e-6f, whole, N, out, N, 0, dgs[0]);
        k->rms_norm_back(cut, N, all, N, w, 1e-6f, whole, N, out, N, 0, dgs[1]);
        k->rms_norm_back(ROWS - cut, N, all + cut * N, N, w, 1e-6f, whole + cut * N, N, out, N, 0, dgs[1]);
        assert_memory_equal(dgs[0], dgs[1], sizeof dgs[0]);
    }
}

static void test_rope(void **unused) {
    (void)unused;
    enum { N = 38 };
    float a[R * N], b[R * N], halves[R * N], cosine[R * N / 2], sine[R * N / 2];
    double turned[R * N], original[R * N];
    draw(a, R * N, 1);
    for (int i = 0; i < R * N / 2; i++) cosine[i] = cosf(0.3f * (float)i), sine[i] = sinf(0.3f * (float)i);
    for (int r = 0; r < R; r++)
        for (int m = 0; m < N / 2; m++) {
            double p = (double)a[r * N + 2 * m], q = (double)a[r * N + 2 * m + 1];
            double co = (double)cosine[r * N / 2 + m], si = (double)sine[r * N / 2 + m];
            turned[r * N + 2 * m] = p * co - q * si;
            turned[r * N + 2 * m + 1] = p * si + q * co;
            halves[r * N + m] = a[r * N + 2 * m];
            halves[r * N + m + N / 2] = a[r * N + 2 * m + 1];
        }
    memcpy(b, a, sizeof b);
    widen(original, a, R * N);
    k->rope(R, N, b, N, cosine, sine, N / 2, 0);
    close_to("rope", b, turned, R * N, 1e-6);
    k->rope_half(R, N, halves, N, cosine, sine, N / 2, 0);
    for (int r = 0; r < R; r++)
        for (int m = 0; m < N / 2; m++) {
            assert_true(fabs((double)halves[r * N + m] - turned[r * N + 2 * m]) < 1e-6);
            assert_true(fabs((double)halves[r * N + m + N / 2] - turned[r * N + 2 * m + 1]) < 1e-6);
        }
    k->rope(R, N, b, N, cosine, sine, N / 2, 1);
    close_to("rope and back", b, original, R * N, 2e-6);
}

static void test_softmax(void **unused) {
    (void)unused;
    for (int c = 0; c < N_WIDTHS; c++) {
        int n = widths[c];
        float lse[R], p[CELLS];
        draw_all((uint32_t)n);
        for (int i = 0; i < R * n; i++) x[i] *= 10.0f;
        memcpy(p, x, sizeof p);
        k->log_sum_exp(R, n, x, n, lse);
        k->exp_shift(R, n, p, n, lse);
        for (int r = 0; r < R; r++) {
            double s = 0, total = 0;
            for (int i = 0; i < n; i++) s += exp((double)x[r * n + i]);
            assert_true(fabs((double)lse[r] - log(s)) < 2e-6 * (1 + fabs(log(s))));
            for (int i = 0; i < n; i++) {
                assert_true(fabs((double)p[r * n + i] - exp((double)x[r * n + i]) / s) < 3e-6);
                total += (double)p[r * n + i];
            }
            assert_true(fabs(total - 1) < 1e-5);
        }
    }
}

/* Blocks of any width, some rows without any: together the softmax of all that is valid. */
static void test_softmax_key_block(void **unused) {
    (void)unused;
    enum { N = 17, BLOCKS = 3 };
    static const int valid[BLOCKS][R] = {{0, 5, 17}, {9, 17, 0}, {17, 0, 16}};
    float scores[BLOCKS][R * N], s[R * N], m[R], l[R] = {0}, moved[R], sums[R] = {0};
    double total[R] = {0}, weighted[R] = {0};
    for (int r = 0; r < R; r++) m[r] = -INFINITY;
    for (int block = 0; block < BLOCKS; block++) {
        draw(scores[block], R * N, (uint32_t)block + 1);
        for (int i = 0; i < R * N; i++) scores[block][i] *= 8.0f;
        memcpy(s, scores[block], sizeof s);
        k->softmax_key_block(R, N, valid[block], 0.25f, s, N, m, l, moved);
        for (int r = 0; r < R; r++) {
            assert_true(valid[block][r] || moved[r] == 1.0f);
            sums[r] *= moved[r];
            for (int i = 0; i < N; i++) {
                assert_true(i < valid[block][r] || (s[r * N + i] == 0.0f && !signbit(s[r * N + i])));
                sums[r] += s[r * N + i] * (float)(i + block);
                if (i >= valid[block][r]) continue;
                double weight = exp((double)scores[block][r * N + i] * 0.25);
                total[r] += weight;
                weighted[r] += weight * (i + block);
            }
        }
    }
    for (int r = 0; r < R; r++) {
        assert_true(fabs((double)m[r] + log((double)l[r]) - log(total[r])) < 2e-6);
        assert_true(fabs((double)(sums[r] / l[r]) - weighted[r] / total[r]) < 1e-5);
    }
}

/* The weights again from the log of their sum, and the gradient of the scores: the softmax's own, in double. */
static void test_softmax_rows(void **unused) {
    (void)unused;
    enum { N = 19 };
    static const int valid[R] = {1, 7, N};
    float scores[R * N], p[R * N], dp[R * N], ds[R * N], lse[R], mean[R];
    draw(scores, R * N, 1), draw(dp, R * N, 2);
    for (int i = 0; i < R * N; i++) scores[i] *= 8.0f;
    double weight[R][N] = {{0}}, along[R] = {0};
    for (int r = 0; r < R; r++) {
        double total = 0;
        for (int i = 0; i < valid[r]; i++) total += weight[r][i] = exp((double)scores[r * N + i] * 0.25);
        for (int i = 0; i < valid[r]; i++) along[r] += (weight[r][i] /= total) * (double)dp[r * N + i];
        lse[r] = (float)log(total), mean[r] = (float)along[r];
    }
    memcpy(p, scores, sizeof p), memcpy(ds, dp, sizeof ds);
    k->softmax_rows(R, N, valid, 0.25f, p, N, lse);
    k->softmax_rows_back(R, N, 0.25f, p, N, mean, ds, N);
    for (int r = 0; r < R; r++)
        for (int i = 0; i < N; i++) {
            double slope = weight[r][i] * ((double)dp[r * N + i] - along[r]) * 0.25;
            assert_true(fabs((double)p[r * N + i] - weight[r][i]) < 2e-6);
            assert_true(fabs((double)ds[r * N + i] - slope) < 2e-6);
            assert_true(i < valid[r] || (p[r * N + i] == 0.0f && ds[r * N + i] == 0.0f));
        }
}

static void test_adamw(void **unused) {
    (void)unused;
    enum { N = 37 };
    float p[N], g[N], m[N], v[N];
    double P[N], M[N], V[N];
    const double clip = 0.5, lr = 3e-3, b1 = 0.9, b2 = 0.95, eps = 1e-8, wd = 0.1;
    draw(p, N, 1), memset(m, 0, sizeof m), memset(v, 0, sizeof v), memset(M, 0, sizeof M), memset(V, 0, sizeof V);
    widen(P, p, N);
    for (int step = 1; step <= 3; step++) {
        draw(g, N, (uint32_t)step + 1);
        double c1 = 1 / (1 - pow(b1, step)), c2 = 1 / (1 - pow(b2, step));
        for (int i = 0; i < N; i++) {
            double grad = (double)g[i] * clip;
            M[i] = b1 * M[i] + (1 - b1) * grad;
            V[i] = b2 * V[i] + (1 - b2) * grad * grad;
            P[i] -= lr * (M[i] * c1 / (sqrt(V[i] * c2) + eps) + wd * P[i]);
        }
        k->adamw(N, p, g, m, v, (float)clip, (float)lr, (float)b1, (float)b2, (float)c1, (float)c2, (float)eps,
                 (float)wd);
        close_to("adamw p", p, P, N, 2e-6);
        close_to("adamw m", m, M, N, 2e-6);
        close_to("adamw v", v, V, N, 2e-6);
    }
}

static void test_finite(void **unused) {
    (void)unused;
    float values[N_MAX];
    for (int n = 0; n <= N_MAX; n++) {
        draw(values, N_MAX, (uint32_t)n);
        if (n < N_MAX) values[n] = NAN; /* past the end */
        if (n > 1) values[0] = 3.4e38f, values[n - 1] = 3.4e38f;
        assert_true(k->all_finite((size_t)n, values));
        for (int at = 0; at < n; at++)
            for (int which = 0; which < 3; which++) {
                float kept = values[at];
                values[at] = which == 0 ? NAN : which == 1 ? INFINITY : -INFINITY;
                assert_false(k->all_finite((size_t)n, values));
                values[at] = kept;
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_ulps),
        cmocka_unit_test(test_draw_weights),
        cmocka_unit_test(test_sigmoid_gelu_silu_softplus),
        cmocka_unit_test(test_gates),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_sum_order),
        cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_ln_loss_grad),
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_softmax_key_block),
        cmocka_unit_test(test_softmax_rows),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_finite),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
