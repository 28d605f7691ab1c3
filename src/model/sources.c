/* sources.c: see sources.h. Nothing is allocated for weights before every name, dtype and shape fits. Owns the match
 * between config.json and tensors; refuses tensors that are missing, unknown, misshapen or not finite, by name. */
#include "model/sources.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "model/build.h"

enum {
    PIECE_NUMBERS = 1 << 19,    /* of a tensor that is read at once by a thread; at least a panel */
    RELEASE_BYTES_MIN = 1 << 14 /* fewer are not worth telling the system that they are not needed any more */
};
#define WHERE "%s: tensor %.150s: "

typedef struct filling {
    const il_allocator *memory;
    const char *path;
    il_model *stored, *model; /* the same tensors in the types of the sources, and of the model */
    const il_source **from;   /* [2 table.n]: of every tensor, then of its scales */
    size_t *firsts;           /* [table.n + 1]: pieces before each tensor's */
    float *rows;              /* [threads, longest]: a row each */
    size_t longest;
    atomic_size_t bad; /* lowest tensor that could not be read; SIZE_MAX: none */
} filling;

/* ---- names and shapes ---- */

/* "[48, 1, 4]" */
static const char *shape_text(int rank, const size_t *shape, char text[100]) {
    int n = snprintf(text, 100, "[");
    for (int i = 0; i < rank && n < 80; i++) n += snprintf(text + n, 100 - (size_t)n, "%s%zu", i ? ", " : "", shape[i]);
    snprintf(text + (n < 98 ? n : 98), 2, "]");
    return text;
}

int il_entry_is_quantized(const il_table_entry *entry) {
    return entry->matrix && il_lp_row_scales(entry->type, entry->shape[1]);
}

const il_table_entry *il_source_entry(const il_table *table, const char *name, int *scales) {
    char matrix[sizeof table->entries->name];
    const il_table_entry *entry = il_table_find(table, name);
    size_t n = strlen(name), m = sizeof IL_SCALES - 1;
    *scales = 0;
    if (entry || n <= m || n - m >= sizeof matrix || strcmp(name + n - m, IL_SCALES) != 0) return entry;
    memcpy(matrix, name, n - m);
    matrix[n - m] = 0;
    entry = il_table_find(table, matrix);
    *scales = 1;
    return entry && il_entry_is_quantized(entry) ? entry : NULL;
}

il_weight_type il_sources_type(const il_model *declared, const il_source *sources, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int scales;
        const il_table_entry *entry = il_source_entry(&declared->table, sources[i].name, &scales);
        if (entry && entry->matrix && !sources[i].bf16) return IL_WEIGHTS_F32;
    }
    return IL_WEIGHTS_BF16;
}

/* A quantized matrix has integers, and scales of its rows and groups; all else is of a float type. */
static il_status check_dtype(const il_source *source, const il_table_entry *entry, int scales, il_error *error) {
    if (!source->stored) {
        if (!il_entry_is_quantized(entry)) return IL_OK;
        return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "integers were expected", source->path, source->name_there);
    }
    il_dtype have = source->stored->dtype, need = IL_F32;
    if (il_entry_is_quantized(entry)) {
        if (!scales) need = entry->type == IL_WEIGHTS_INT4 ? IL_U8 : IL_I8;
        if (have == need) return IL_OK;
        return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "dtype %s, where %s must be", source->path, source->name_there,
                       il_dtype_name(have), il_dtype_name(need));
    }
    if (have == IL_F32 || have == IL_BF16 || have == IL_F16) return IL_OK;
    return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "dtype %s, where F32, BF16 or F16 must be", source->path,
                   source->name_there, il_dtype_name(have));
}

static il_status check_source(const il_source *source, const il_table_entry *entry, int scales, il_error *error) {
    char have[100], need[100];
    size_t shape[4];
    IL_TRY(check_dtype(source, entry, scales, error));
    memcpy(shape, entry->shape, sizeof shape);
    if (scales)
        shape[1] = il_lp_row_scales(entry->type, shape[1]);
    else if (entry->type == IL_WEIGHTS_INT4)
        shape[1] = il_lp_row_bytes(entry->type, shape[1]); /* two in a byte */
    int same = source->rank == entry->rank;
    for (int i = 0; same && i < entry->rank; i++) same = source->shape[i] == shape[i];
    if (same) return IL_OK;
    return il_fail(error, IL_ERR_MISMATCH, WHERE "shape %s, but config.json makes it %s", source->path,
                   source->name_there, shape_text(source->rank, source->shape, have),
                   shape_text(entry->rank, shape, need));
}

/* Finds the place of every source. */
static il_status claim(filling *f, const il_source *sources, size_t n, il_error *error) {
    const il_table *table = &f->stored->table;
    for (size_t i = 0; i < n; i++) {
        const il_source *source = &sources[i];
        int scales;
        const il_table_entry *entry = il_source_entry(table, source->name, &scales);
        if (!entry)
            return il_fail(error, IL_ERR_MISMATCH, WHERE "a model of this config.json has no such tensor", source->path,
                           source->name_there);
        IL_TRY(check_source(source, entry, scales, error));
        const il_source **place = &f->from[(scales ? table->n : 0) + (size_t)(entry - table->entries)];
        if (*place)
            return il_fail(error, IL_ERR_MISMATCH, WHERE "is %.150s, which is there already", source->path,
                           source->name_there, source->name);
        *place = source;
    }
    return IL_OK;
}

static il_status check_complete(const filling *f, il_error *error) {
    const il_table *table = &f->stored->table;
    for (size_t i = 0; i < table->n; i++) {
        const il_table_entry *entry = &table->entries[i];
        int scales = f->from[i] && il_entry_is_quantized(entry);
        if (f->from[i] && (!scales || f->from[table->n + i])) continue;
        int head = strcmp(entry->name, "lm_head.weight") == 0;
        return il_fail(error, IL_ERR_MISMATCH, "%s: tensor %.150s%s: is missing%s", f->path, entry->name,
                       scales ? IL_SCALES : "", head ? ", and tie_word_embeddings is false" : "");
    }
    return IL_OK;
}

/* ---- numbers ---- */

/* A scale times the largest integer must be a number. Only int4 has an integer to gain by a negative one. */
static int is_scale(il_weight_type type, float x) {
    return fabsf(x) <= FLT_MAX / 128 && (x >= 0 || type == IL_WEIGHTS_INT4);
}

static float float_at(const unsigned char *bytes, size_t i) {
    float x;
    memcpy(&x, bytes + i * sizeof x, sizeof x);
    return x;
}

/* A matrix in integers: where a row of it and of its scales lie. */
typedef struct quantized_row {
    const unsigned char *values, *scales;
    size_t n_scales;
} quantized_row;

static quantized_row quantized_row_at(const filling *f, size_t tensor, size_t row) {
    const il_table_entry *entry = &f->stored->table.entries[tensor];
    quantized_row at = {.n_scales = il_lp_row_scales(entry->type, entry->shape[1])};
    at.values = f->from[tensor]->stored->data + row * il_lp_row_bytes(entry->type, entry->shape[1]);
    at.scales = f->from[f->stored->table.n + tensor]->stored->data + row * at.n_scales * sizeof(float);
    return at;
}

static int scales_are_good(il_weight_type type, const quantized_row *row) {
    int good = 1;
    for (size_t i = 0; i < row->n_scales; i++) good &= is_scale(type, float_at(row->scales, i));
    return good;
}

/* Rows of a tensor as fp32; whether all of them could be read. */
static il_status read_rows(const filling *f, size_t tensor, size_t from, size_t n, float *out, il_error *error) {
    const il_table_entry *entry = &f->stored->table.entries[tensor];
    const il_source *source = f->from[tensor];
    size_t width = entry->count / entry->shape[0];
    if (!source->stored) return source->read(source, from, n, out, error);
    if (!il_entry_is_quantized(entry)) {
        il_st_tensor rows = *source->stored;
        rows.count = n * width;
        rows.bytes = rows.count * il_dtype_bytes(rows.dtype);
        rows.data += from * width * il_dtype_bytes(rows.dtype);
        return il_st_to_f32(&rows, out, error);
    }
    for (size_t row = 0; row < n; row++) {
        quantized_row at = quantized_row_at(f, tensor, from + row);
        for (size_t k = 0; k < width; k++) {
            int integer =
                entry->type == IL_WEIGHTS_INT4 ? (at.values[k / 2] >> k % 2 * 4 & 15) - 8 : (int8_t)at.values[k];
            out[row * width + k] = (float)integer * float_at(at.scales, k / IL_LP_GROUP);
        }
    }
    return IL_OK;
}

/* Whether numbers of bf16 are numbers: an exponent of all ones is none. */
static int all_bf16_finite(const unsigned char *values, size_t n) {
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, values + i * sizeof half, sizeof half);
        bad |= (half & 0x7f80) == 0x7f80;
    }
    return !bad;
}

/* Whether the type that a row was rounded to holds all of it; x is room for it. */
static int holds_row(const filling *f, const il_lp_matrix *matrix, size_t row, float *x) {
    int good = 1;
    if (matrix->type == IL_WEIGHTS_BF16) {
        il_lp_get(matrix, row, x);
        return f->model->engine->kernels->all_finite((size_t)matrix->in, x);
    }
    for (int from = 0; from < matrix->in; from += IL_LP_GROUP)
        good &= is_scale(matrix->type, il_lp_scale(matrix, row, from));
    return good;
}

/* One row of a matrix that is not held as fp32, which is row `at` of `matrix`. */
static int fill_row(const filling *f, size_t tensor, size_t row, const il_lp_matrix *matrix, size_t at, float *x) {
    const il_table_entry *entry = &f->stored->table.entries[tensor];
    const il_st_tensor *stored = f->from[tensor]->stored;
    size_t in = (size_t)matrix->in;
    if (il_entry_is_quantized(entry)) {
        quantized_row there = quantized_row_at(f, tensor, row);
        if (!scales_are_good(entry->type, &there)) return 0;
        if (entry->type == matrix->type) {
            il_lp_put_bytes(matrix, at, there.values, there.scales);
            return 1;
        }
    } else if (matrix->type == IL_WEIGHTS_BF16 && stored && stored->dtype == IL_BF16) {
        const unsigned char *values = stored->data + row * in * sizeof(uint16_t);
        il_lp_put_bytes(matrix, at, values, NULL);
        return all_bf16_finite(values, in);
    }
    if (read_rows(f, tensor, row, 1, x, NULL) != IL_OK || !f->model->engine->kernels->all_finite(in, x)) return 0;
    il_lp_put(f->model->engine->kernels, matrix, at, x);
    return holds_row(f, matrix, at, x);
}

/* Rows from .. from+n-1 of a tensor as fp32, all of which are numbers. */
static int fill_plain(const filling *f, size_t tensor, size_t from, size_t n, float *to) {
    const il_table_entry *entry = &f->stored->table.entries[tensor];
    int good = read_rows(f, tensor, from, n, to, NULL) == IL_OK &&
               f->model->engine->kernels->all_finite(n * (entry->count / entry->shape[0]), to);
    for (size_t row = from; good && il_entry_is_quantized(entry) && row < from + n; row++) {
        quantized_row at = quantized_row_at(f, tensor, row);
        good = scales_are_good(entry->type, &at);
    }
    return good;
}

/* ---- pieces ---- */

/* Of a tensor that is read at once: whole panels of 16 rows, so that no two threads write one. */
static size_t rows_of_piece(const il_table_entry *entry) {
    size_t width = entry->count / entry->shape[0], panels = PIECE_NUMBERS / IL_LANES / width;
    return (panels ? panels : 1) * IL_LANES;
}

/* What has been read of a mapped file need not stay in memory. */
static void release(const filling *f, size_t tensor, size_t from, size_t n) {
    for (int scales = 0; scales < 2; scales++) {
        const il_source *source = f->from[(size_t)scales * f->stored->table.n + tensor];
        if (!source || !source->map || source->scattered) continue;
        const unsigned char *data = source->stored ? source->stored->data : source->data;
        size_t bytes = source->stored ? source->stored->bytes : source->bytes;
        size_t row = bytes / f->stored->table.entries[tensor].shape[0];
        if (n * row >= RELEASE_BYTES_MIN) il_map_release(source->map, data + from * row, n * row);
    }
}

static void fill_piece(void *context, int item, int worker) {
    filling *f = context;
    const il_table *table = &f->model->table;
    size_t piece = (size_t)item, low = 0, high = table->n;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (f->firsts[middle] <= piece)
            low = middle;
        else
            high = middle;
    }
    const il_table_entry *entry = &table->entries[low];
    size_t rows = rows_of_piece(entry), from = (piece - f->firsts[low]) * rows, width = entry->count / entry->shape[0];
    size_t n = entry->shape[0] - from < rows ? entry->shape[0] - from : rows, lowest = atomic_load(&f->bad);
    int good = 1;
    if (entry->type == IL_WEIGHTS_F32) {
        good = fill_plain(f, low, from, n, f->model->weights + entry->offset + from * width);
    } else {
        il_lp_matrix matrix = il_model_lp(f->model, entry);
        for (size_t row = from; good && row < from + n; row++)
            good = fill_row(f, low, row, &matrix, row, f->rows + (size_t)worker * f->longest);
    }
    release(f, low, from, n);
    while (!good && low < lowest && !atomic_compare_exchange_weak(&f->bad, &lowest, low)) {}
}

/* What is wrong with a tensor: where, and which number. */
static il_status explain(const filling *f, size_t tensor, il_error *error) {
    const il_table_entry *entry = &f->stored->table.entries[tensor];
    const il_source *source = f->from[tensor], *scales = f->from[f->stored->table.n + tensor];
    size_t width = entry->count / entry->shape[0], quantized = scales ? scales->stored->count : 0;
    float *x = f->rows;
    for (size_t i = 0; i < quantized; i++)
        if (!is_scale(entry->type, float_at(scales->stored->data, i)))
            return il_fail(error, IL_ERR_NONFINITE, WHERE "element %zu is %g", scales->path, scales->name_there, i,
                           (double)float_at(scales->stored->data, i));
    for (size_t row = 0; row < entry->shape[0]; row++) {
        IL_TRY(read_rows(f, tensor, row, 1, x, error));
        for (size_t i = 0; i < width; i++)
            if (!isfinite(x[i]))
                return il_fail(error, IL_ERR_NONFINITE, WHERE "element %zu is %g", source->path, source->name_there,
                               row * width + i, (double)x[i]);
    }
    return il_fail(error, IL_ERR_NONFINITE, WHERE "holds a number that %s does not", source->path, source->name_there,
                   il_weight_type_name(f->model->table.entries[tensor].type));
}

/* Room for a row for each thread. */
static il_status make_rows(filling *f, il_error *error) {
    const il_table *table = &f->model->table;
    size_t threads = (size_t)il_pool_threads(f->model->engine->pool);
    for (size_t i = 0; i < table->n; i++) {
        size_t width = table->entries[i].count / table->entries[i].shape[0];
        if (width > f->longest) f->longest = width;
    }
    f->rows = il_alloc_raw(f->memory, threads * f->longest, sizeof *f->rows);
    return f->rows ? IL_OK : il_fail(error, IL_ERR_NOMEM, "%s: out of memory", f->path);
}

static il_status fill(filling *f, il_error *error) {
    const il_table *table = &f->model->table;
    IL_TRY(il_model_allocate(f->model, error));
    for (size_t i = 0; i < table->n; i++) {
        const il_table_entry *entry = &table->entries[i];
        size_t rows = rows_of_piece(entry);
        f->firsts[i + 1] = f->firsts[i] + (entry->shape[0] + rows - 1) / rows;
    }
    IL_TRY(make_rows(f, error));
    atomic_init(&f->bad, SIZE_MAX);
    il_pool_run(f->model->engine->pool, (int)f->firsts[table->n], fill_piece, f);
    size_t bad = atomic_load(&f->bad);
    return bad == SIZE_MAX ? IL_OK : explain(f, bad, error);
}

/* The same tensors, held as the model is to hold them. */
static il_status declare_held(filling *f, il_weight_type weights, il_error *error) {
    il_config config = f->stored->config;
    f->model = f->stored;
    if (config.weights == weights) return IL_OK;
    config.weights = weights;
    return il_model_declare(f->stored->engine, &config, &f->model, error);
}

/* Everything that is known before a number is read. */
static il_status begin(filling *f, il_model *declared, const char *path, const il_source *sources, size_t n,
                       il_weight_type weights, il_error *error) {
    *f = (filling){.memory = &declared->engine->memory, .path = path, .stored = declared};
    f->from = il_alloc(f->memory, 2 * declared->table.n, sizeof *f->from);
    f->firsts = il_alloc(f->memory, declared->table.n + 1, sizeof *f->firsts);
    if (!f->from || !f->firsts) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for %zu tensors", path, n);
    IL_TRY(claim(f, sources, n, error));
    IL_TRY(check_complete(f, error));
    return declare_held(f, weights, error);
}

static void end(filling *f) {
    il_free(f->memory, f->rows);
    il_free(f->memory, f->firsts);
    il_free(f->memory, f->from);
    if (f->model != f->stored) il_model_unref(f->stored);
}

il_status il_model_fill(il_model *declared, const char *path, const il_source *sources, size_t n,
                        il_weight_type weights, il_model **model, il_error *error) {
    filling f;
    *model = NULL;
    il_status status = begin(&f, declared, path, sources, n, weights, error);
    if (status == IL_OK) status = fill(&f, error);
    end(&f);
    if (status == IL_OK)
        *model = f.model;
    else
        il_model_unref(f.model);
    return status;
}

/* ---- some rows at a time ---- */

struct il_rows {
    filling f;
    size_t tensor, from, n; /* that are asked for */
    float *plain;
    const il_lp_matrix *matrix;
    atomic_int good;
};

il_status il_rows_open(il_model *declared, const char *path, const il_source *sources, size_t n, il_weight_type weights,
                       il_rows **rows, il_error *error) {
    il_rows *r = il_alloc(&declared->engine->memory, 1, sizeof *r);
    *rows = r;
    if (!r) {
        il_model_unref(declared);
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    }
    il_status status = begin(&r->f, declared, path, sources, n, weights, error);
    if (status == IL_OK) status = make_rows(&r->f, error);
    if (status == IL_OK) return IL_OK;
    il_rows_close(r);
    *rows = NULL;
    return status;
}

void il_rows_close(il_rows *r) {
    if (!r) return;
    const il_allocator memory = *r->f.memory;
    end(&r->f);
    il_model_unref(r->f.model);
    il_free(&memory, r);
}

const il_model *il_rows_model(const il_rows *r) { return r->f.model; }

static void read_piece(void *context, int item, int worker) {
    il_rows *r = context;
    size_t at = (size_t)item * IL_LANES, n = r->n - at < IL_LANES ? r->n - at : IL_LANES;
    const il_table_entry *entry = &r->f.model->table.entries[r->tensor];
    int good = 1;
    if (!r->matrix)
        good = fill_plain(&r->f, r->tensor, r->from + at, n, r->plain + at * (entry->count / entry->shape[0]));
    for (size_t row = at; good && r->matrix && row < at + n; row++)
        good = fill_row(&r->f, r->tensor, r->from + row, r->matrix, row, r->f.rows + (size_t)worker * r->f.longest);
    if (!good) atomic_store(&r->good, 0);
}

il_status il_rows_read(il_rows *r, size_t tensor, size_t from, size_t n, float *plain, const il_lp_matrix *matrix,
                       il_error *error) {
    r->tensor = tensor;
    r->from = from;
    r->n = n;
    r->plain = plain;
    r->matrix = matrix;
    atomic_init(&r->good, 1);
    il_pool_run(r->f.model->engine->pool, (int)((n + IL_LANES - 1) / IL_LANES), read_piece, r);
    if (!atomic_load(&r->good)) return explain(&r->f, tensor, error);
    release(&r->f, tensor, from, n);
    const il_source *source = r->f.from[tensor];
    if (source->map && source->scattered && from + n == r->f.model->table.entries[tensor].shape[0])
        il_map_release(source->map, source->stored ? source->stored->data : source->data,
                       source->stored ? source->stored->bytes : source->bytes);
    return IL_OK;
}
