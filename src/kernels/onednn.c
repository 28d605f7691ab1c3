/* onednn.c: see onednn.h. Debian's oneDNN shares its work by OpenMP, whose thread count is a property of the
 * calling thread: it is set around each run and put back. */
#include "kernels/onednn.h"

#ifdef IL_WITH_ONEDNN
#include <dlfcn.h>
#include <dnnl.h>

#include "base/error.h"

struct il_onednn {
    il_allocator memory;
    int threads;
    void (*set_threads)(int); /* NULL: a build without OpenMP, which has one thread */
    int (*get_threads)(void);
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t plan;
    dnnl_primitive_t product;
    dnnl_memory_t a, b, c;
};

static int set_threads(const il_onednn *p, int threads) {
    if (!p->set_threads || !p->get_threads) return 0;
    int before = p->get_threads();
    p->set_threads(threads);
    return before;
}

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
    *(void **)&p->set_threads = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    *(void **)&p->get_threads = dlsym(RTLD_DEFAULT, "omp_get_max_threads");
    int before = set_threads(p, threads);
    dnnl_dims_t left = {m, k}, right = {k, n}, result = {m, n};
    dnnl_memory_desc_t a_desc, any, b_desc, c_desc;
    dnnl_matmul_desc_t desc;
    union {
        const void *in;
        void *out;
    } source = {a};
    int narrow = kind == IL_ONEDNN_INT8;
    dnnl_status_t status = dnnl_engine_create(&p->engine, dnnl_cpu, 0);
    if (!status) status = dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags);
    if (!status) status = dnnl_memory_desc_init_by_tag(&a_desc, 2, left, narrow ? dnnl_u8 : dnnl_f32, dnnl_ab);
    if (!status) status = dnnl_memory_desc_init_by_tag(&b_desc, 2, right, narrow ? dnnl_s8 : dnnl_f32, dnnl_ab);
    if (!status)
        status = dnnl_memory_desc_init_by_tag(&any, 2, right, narrow ? dnnl_s8 : dnnl_f32, dnnl_format_tag_any);
    if (!status) status = dnnl_memory_desc_init_by_tag(&c_desc, 2, result, narrow ? dnnl_s32 : dnnl_f32, dnnl_ab);
    if (!status) status = dnnl_matmul_desc_init(&desc, &a_desc, &any, NULL, &c_desc);
    if (!status) status = dnnl_primitive_desc_create(&p->plan, &desc, NULL, p->engine, NULL);
    if (!status) status = dnnl_primitive_create(&p->product, p->plan);
    if (!status) status = dnnl_memory_create(&p->a, &a_desc, p->engine, source.out);
    if (!status) status = dnnl_memory_create(&p->c, &c_desc, p->engine, c);
    if (!status) status = pack_weights(p, &b_desc, b);
    set_threads(p, before);
    if (status) {
        il_onednn_close(p);
        return il_fail(error, status == dnnl_out_of_memory ? IL_ERR_NOMEM : IL_ERR_UNSUPPORTED,
                       "oneDNN %s product [%d,%d]x[%d,%d]: status %d", narrow ? "int8" : "fp32", m, k, k, n,
                       (int)status);
    }
    *product = p;
    return IL_OK;
}

void il_onednn_run(il_onednn *p) {
    int before = set_threads(p, p->threads);
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->b}, {DNNL_ARG_DST, p->c}};
    dnnl_primitive_execute(p->product, p->stream, 3, args);
    dnnl_stream_wait(p->stream);
    set_threads(p, before);
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
#else
typedef int il_onednn_not_built; /* a translation unit must declare something */
#endif
