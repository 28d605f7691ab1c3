/* onednn.c: see onednn.h. Debian's oneDNN shares its work by OpenMP, whose thread count is a property of the
 * calling thread: it is set around each run and put back. */
#include "engine/onednn.h"

#include "base/error.h"

#ifdef IL_WITH_ONEDNN
#include <dlfcn.h>
#include <dnnl.h>

typedef struct openmp {
    void (*set_threads)(int); /* NULL: a build without OpenMP, which has one thread */
    int (*get_threads)(void);
} openmp;

static openmp openmp_find(void) {
    openmp found;
    *(void **)&found.set_threads = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    *(void **)&found.get_threads = dlsym(RTLD_DEFAULT, "omp_get_max_threads");
    return found;
}

/* Returns how many there were. */
static int use_threads(const openmp *omp, int threads) {
    if (!omp->set_threads || !omp->get_threads) return 0;
    int before = omp->get_threads();
    if (before != threads) omp->set_threads(threads);
    return before;
}

struct il_onednn {
    il_allocator memory;
    int threads;
    openmp omp;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t plan;
    dnnl_primitive_t product;
    dnnl_memory_t a, b, c;
};

/* b from row-major into the layout the plan wants. */
static dnnl_status_t pack_weights(il_onednn *p, const dnnl_memory_desc_t *plain, const void *b) {
    dnnl_memory_t from = NULL;
    dnnl_primitive_desc_t plan = NULL;
    dnnl_primitive_t reorder = NULL;
    const dnnl_memory_desc_t *packed = dnnl_primitive_desc_query_md(p->plan, dnnl_query_weights_md, 0);
    union {
        const void *in;
        void *out;
    } source = {b}; /* dnnl takes no const */
    dnnl_status_t status = dnnl_memory_create(&from, plain, p->engine, source.out);
    if (!status) status = dnnl_memory_create(&p->b, packed, p->engine, DNNL_MEMORY_ALLOCATE);
    if (!status) status = dnnl_reorder_primitive_desc_create(&plan, plain, p->engine, packed, p->engine, NULL);
    if (!status) status = dnnl_primitive_create(&reorder, plan);
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, p->b}};
    if (!status) status = dnnl_primitive_execute(reorder, p->stream, 2, args);
    if (!status) status = dnnl_stream_wait(p->stream);
    if (reorder) dnnl_primitive_destroy(reorder);
    if (plan) dnnl_primitive_desc_destroy(plan);
    if (from) dnnl_memory_destroy(from);
    return status;
}

il_status il_onednn_open(const il_allocator *memory, int threads, il_onednn_kind kind, int m, int n, int k,
                         const void *a, const void *b, void *c, il_onednn **product, il_error *error) {
    *product = NULL;
    il_onednn *p = il_alloc(memory, 1, sizeof *p);
    if (!p) return il_fail(error, IL_ERR_NOMEM, "out of memory for a oneDNN product");
    p->memory = *memory;
    p->threads = threads;
    p->omp = openmp_find();
    int before = use_threads(&p->omp, threads);
    static const struct {
        const char *name;
        dnnl_data_type_t a, b, c;
    } kinds[] = {[IL_ONEDNN_F32] = {"fp32", dnnl_f32, dnnl_f32, dnnl_f32},
                 [IL_ONEDNN_BF16] = {"bf16", dnnl_bf16, dnnl_bf16, dnnl_f32},
                 [IL_ONEDNN_INT8] = {"int8", dnnl_u8, dnnl_s8, dnnl_s32}};
    dnnl_dims_t left = {m, k}, right = {k, n}, result = {m, n};
    dnnl_memory_desc_t a_desc, any, b_desc, c_desc;
    dnnl_matmul_desc_t desc;
    union {
        const void *in;
        void *out;
    } source = {a};
    dnnl_status_t status = dnnl_engine_create(&p->engine, dnnl_cpu, 0);
    if (!status) status = dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags);
    if (!status) status = dnnl_memory_desc_init_by_tag(&a_desc, 2, left, kinds[kind].a, dnnl_ab);
    if (!status) status = dnnl_memory_desc_init_by_tag(&b_desc, 2, right, kinds[kind].b, dnnl_ab);
    if (!status) status = dnnl_memory_desc_init_by_tag(&any, 2, right, kinds[kind].b, dnnl_format_tag_any);
    if (!status) status = dnnl_memory_desc_init_by_tag(&c_desc, 2, result, kinds[kind].c, dnnl_ab);
    if (!status) status = dnnl_matmul_desc_init(&desc, &a_desc, &any, NULL, &c_desc);
    if (!status) status = dnnl_primitive_desc_create(&p->plan, &desc, NULL, p->engine, NULL);
    if (!status) status = dnnl_primitive_create(&p->product, p->plan);
    if (!status) status = dnnl_memory_create(&p->a, &a_desc, p->engine, source.out);
    if (!status) status = dnnl_memory_create(&p->c, &c_desc, p->engine, c);
    if (!status) status = pack_weights(p, &b_desc, b);
    use_threads(&p->omp, before);
    if (status) {
        il_onednn_close(p);
        return il_fail(error, status == dnnl_out_of_memory ? IL_ERR_NOMEM : IL_ERR_UNSUPPORTED,
                       "oneDNN %s product [%d,%d]x[%d,%d]: status %d", kinds[kind].name, m, k, k, n, (int)status);
    }
    *product = p;
    return IL_OK;
}

void il_onednn_run(il_onednn *p) {
    int before = use_threads(&p->omp, p->threads);
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->b}, {DNNL_ARG_DST, p->c}};
    dnnl_primitive_execute(p->product, p->stream, 3, args);
    dnnl_stream_wait(p->stream);
    use_threads(&p->omp, before);
}

void il_onednn_close(il_onednn *p) {
    if (!p) return;
    if (p->a) dnnl_memory_destroy(p->a);
    if (p->b) dnnl_memory_destroy(p->b);
    if (p->c) dnnl_memory_destroy(p->c);
    if (p->product) dnnl_primitive_destroy(p->product);
    if (p->plan) dnnl_primitive_desc_destroy(p->plan);
    if (p->stream) dnnl_stream_destroy(p->stream);
    if (p->engine) dnnl_engine_destroy(p->engine);
    il_allocator memory = p->memory;
    il_free(&memory, p);
}

/* ---- bfloat16 products of any shape ---- */

struct il_onednn_bf16 {
    il_allocator memory;
    openmp omp;
    dnnl_engine_t engine;
    dnnl_primitive_t products[2][2][2]; /* [a transposed][b transposed][accumulate]: sizes come with every run */
};

/* Of rows and columns with these strides, or of any, transposed or not. */
static dnnl_status_t describe(dnnl_memory_desc_t *desc, dnnl_data_type_t type, int rows, int columns, ptrdiff_t row,
                              ptrdiff_t col) {
    dnnl_dims_t dims = {rows, columns}, strides = {row, col};
    return dnnl_memory_desc_init_by_strides(desc, 2, dims, type, strides);
}

static dnnl_status_t describe_any(dnnl_memory_desc_t *desc, dnnl_data_type_t type, int transposed) {
    const dnnl_dim_t any = DNNL_RUNTIME_DIM_VAL;
    dnnl_dims_t dims = {any, any}, strides = {transposed ? 1 : any, transposed ? any : 1};
    return dnnl_memory_desc_init_by_strides(desc, 2, dims, type, strides);
}

static dnnl_status_t make_product(dnnl_engine_t engine, int a_transposed, int b_transposed, int accumulate,
                                  dnnl_primitive_t *product) {
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t desc;
    dnnl_post_ops_t after = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t plan = NULL;
    dnnl_status_t status = describe_any(&a, dnnl_bf16, a_transposed);
    if (!status) status = describe_any(&b, dnnl_bf16, b_transposed);
    if (!status) status = describe_any(&c, dnnl_f32, 0);
    if (!status) status = dnnl_post_ops_create(&after);
    if (!status && accumulate) status = dnnl_post_ops_append_sum(after, 1.0F);
    if (!status) status = dnnl_primitive_attr_create(&attr);
    if (!status) status = dnnl_primitive_attr_set_post_ops(attr, after);
    /* with a scratchpad of the caller, which is empty, threads share nothing that is written */
    if (!status) status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (!status) status = dnnl_matmul_desc_init(&desc, &a, &b, NULL, &c);
    if (!status) status = dnnl_primitive_desc_create(&plan, &desc, attr, engine, NULL);
    if (!status && dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(plan, dnnl_query_scratchpad_md, 0)))
        status = dnnl_unimplemented;
    if (!status) status = dnnl_primitive_create(product, plan);
    if (plan) dnnl_primitive_desc_destroy(plan);
    if (attr) dnnl_primitive_attr_destroy(attr);
    if (after) dnnl_post_ops_destroy(after);
    return status;
}

il_status il_onednn_bf16_check(il_error *error) {
    if ((dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx) return IL_OK;
    return il_fail(error, IL_ERR_UNSUPPORTED, "bf16 products need a CPU with AMX; oneDNN finds none here");
}

il_status il_onednn_bf16_open(const il_allocator *memory, il_onednn_bf16 **products, il_error *error) {
    *products = NULL;
    IL_TRY(il_onednn_bf16_check(error));
    il_onednn_bf16 *p = il_alloc(memory, 1, sizeof *p);
    if (!p) return il_fail(error, IL_ERR_NOMEM, "out of memory for oneDNN's products");
    p->memory = *memory;
    p->omp = openmp_find();
    int before = use_threads(&p->omp, 1);
    dnnl_status_t status = dnnl_engine_create(&p->engine, dnnl_cpu, 0);
    for (int i = 0; i < 8 && !status; i++)
        status = make_product(p->engine, i >> 2, i >> 1 & 1, i & 1, &p->products[i >> 2][i >> 1 & 1][i & 1]);
    use_threads(&p->omp, before);
    if (status) {
        il_onednn_bf16_close(p);
        return il_fail(error, status == dnnl_out_of_memory ? IL_ERR_NOMEM : IL_ERR_UNSUPPORTED,
                       "oneDNN's bf16 product: status %d", (int)status);
    }
    *products = p;
    return IL_OK;
}

il_status il_onednn_bf16_run(const il_onednn_bf16 *p, int m, int n, int k, il_matrix_bf16 a, il_matrix_bf16 b, float *c,
                             ptrdiff_t ldc, int accumulate) {
    dnnl_memory_desc_t a_desc, b_desc, c_desc;
    dnnl_memory_t left = NULL, right = NULL, result = NULL;
    dnnl_stream_t stream = NULL;
    union {
        const void *in;
        void *out;
    } a_data = {a.data}, b_data = {b.data}; /* dnnl takes no const */
    int before = use_threads(&p->omp, 1);
    dnnl_status_t status = dnnl_stream_create(&stream, p->engine, dnnl_stream_default_flags);
    if (!status) status = describe(&a_desc, dnnl_bf16, m, k, a.row, a.col);
    if (!status) status = describe(&b_desc, dnnl_bf16, k, n, b.row, b.col);
    if (!status) status = describe(&c_desc, dnnl_f32, m, n, ldc, 1);
    if (!status) status = dnnl_memory_create(&left, &a_desc, p->engine, a_data.out);
    if (!status) status = dnnl_memory_create(&right, &b_desc, p->engine, b_data.out);
    if (!status) status = dnnl_memory_create(&result, &c_desc, p->engine, c);
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, left}, {DNNL_ARG_WEIGHTS, right}, {DNNL_ARG_DST, result}};
    if (!status) status = dnnl_primitive_execute(p->products[a.col != 1][b.col != 1][accumulate != 0], stream, 3, args);
    if (!status) status = dnnl_stream_wait(stream);
    if (left) dnnl_memory_destroy(left);
    if (right) dnnl_memory_destroy(right);
    if (result) dnnl_memory_destroy(result);
    if (stream) dnnl_stream_destroy(stream);
    use_threads(&p->omp, before);
    return status ? IL_ERR_NOMEM : IL_OK;
}

void il_onednn_bf16_close(il_onednn_bf16 *p) {
    if (!p) return;
    for (int i = 0; i < 8; i++)
        if (p->products[i >> 2][i >> 1 & 1][i & 1]) dnnl_primitive_destroy(p->products[i >> 2][i >> 1 & 1][i & 1]);
    if (p->engine) dnnl_engine_destroy(p->engine);
    il_allocator memory = p->memory;
    il_free(&memory, p);
}
#else
il_status il_onednn_bf16_check(il_error *error) {
    return il_fail(error, IL_ERR_UNSUPPORTED, "bf16 products need a build with oneDNN, and a CPU with AMX");
}

il_status il_onednn_bf16_open(const il_allocator *memory, il_onednn_bf16 **products, il_error *error) {
    (void)memory;
    *products = NULL;
    return il_onednn_bf16_check(error);
}

il_status il_onednn_bf16_run(const il_onednn_bf16 *products, int m, int n, int k, il_matrix_bf16 a, il_matrix_bf16 b,
                             float *c, ptrdiff_t ldc, int accumulate) {
    (void)products, (void)m, (void)n, (void)k, (void)a, (void)b, (void)c, (void)ldc, (void)accumulate;
    return IL_ERR_UNSUPPORTED;
}

void il_onednn_bf16_close(il_onednn_bf16 *products) { (void)products; }
#endif
