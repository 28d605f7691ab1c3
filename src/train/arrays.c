/* arrays.c: see arrays.h. */
#include "train/arrays.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/shared_file.h"
#include "train/progress.h"

enum { SOME = 1024, NAME_BYTES = sizeof((il_table_entry *)0)->name + 8 };

/* ---- all arrays ---- */

static size_t count_arrays(const il_trainer *t, int carried) {
    return 2 * t->model->table.n + (carried ? il_trainer_carried(t) : 0);
}

/* The name of the i-th, and how many numbers it has. */
static size_t describe(const il_trainer *t, size_t i, char name[NAME_BYTES]) {
    const il_table *table = &t->model->table;
    if (i < 2 * table->n) {
        const il_table_entry *e = &table->entries[i / 2];
        snprintf(name, NAME_BYTES, "%c.%s", i % 2 ? 'v' : 'm', e->name);
        return e->count;
    }
    snprintf(name, NAME_BYTES, "lane.%zu.state", i - 2 * table->n);
    return t->gradient.states[0].block_bytes / sizeof(float);
}

static il_status no_memory(il_error *error) { return il_fail(error, IL_ERR_NOMEM, "no memory for a checkpoint"); }

/* What the file begins with, and how large it is. header is released by il_free. */
static il_status make_header(const il_trainer *t, const char *path, unsigned char **header, size_t *header_bytes,
                             uint64_t *bytes, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    size_t n = count_arrays(t, 1);
    il_st_item *items = il_alloc(memory, n, sizeof *items);
    char(*names)[NAME_BYTES] = il_alloc(memory, n, sizeof *names);
    il_status status = items && names ? IL_OK : no_memory(error);
    *header = NULL;
    *bytes = 0;
    for (size_t i = 0; i < n && status == IL_OK; i++) {
        items[i] = (il_st_item){.name = names[i], .dtype = IL_F32, .rank = 1};
        items[i].shape[0] = describe(t, i, names[i]);
        *bytes += items[i].shape[0] * sizeof(float);
    }
    if (status == IL_OK) status = il_st_header(memory, path, items, n, NULL, 0, header, header_bytes, error);
    if (status == IL_OK) *bytes += *header_bytes;
    il_free(memory, items);
    il_free(memory, names);
    return status;
}

/* ---- this rank's ---- */

/* Numbers from .. from+count-1 of an array, of which this rank has the values. */
typedef struct part {
    size_t array, from, count;
    float *values;
} part;

/* The parts of moments in a run of its own pieces that follow each other: pieces first .. first+n-1 of its list. */
static il_status each_of_run(const il_trainer *t, int first, int n, il_status (*call)(void *context, const part *part),
                             void *context) {
    const il_optimizer *o = &t->optimizer;
    int piece = il_optimizer_piece(o, first);
    size_t begin = (size_t)piece * IL_WEIGHTS_PIECE, end = begin + il_weights_size(o->n, piece, piece + n);
    size_t own = (size_t)first * IL_WEIGHTS_PIECE;
    for (size_t i = 0; i < t->model->table.n; i++) {
        const il_table_entry *e = &t->model->table.entries[i];
        size_t from = e->offset > begin ? e->offset : begin,
               to = e->offset + e->count < end ? e->offset + e->count : end;
        if (from >= to) continue;
        part m = {2 * i, from - e->offset, to - from, o->m + own + (from - begin)};
        part v = {2 * i + 1, from - e->offset, to - from, o->v + own + (from - begin)};
        IL_TRY(call(context, &m));
        IL_TRY(call(context, &v));
    }
    return IL_OK;
}

static il_status each_part(const il_trainer *t, int carried, il_status (*call)(void *context, const part *part),
                           void *context) {
    const il_optimizer *o = &t->optimizer;
    for (int first = 0, n; first < o->n_own; first += n) {
        for (n = 1; first + n < o->n_own && il_optimizer_piece(o, first + n) == il_optimizer_piece(o, first) + n;) n++;
        IL_TRY(each_of_run(t, first, n, call, context));
    }
    for (int i = 0; carried && il_trainer_carried(t) && i < t->own; i++) {
        const il_state *state = &t->gradient.states[i];
        part whole = {2 * t->model->table.n + (size_t)(t->first + i), 0, state->block_bytes / sizeof(float),
                      (float *)state->block};
        IL_TRY(call(context, &whole));
    }
    return IL_OK;
}

/* ---- writing ---- */

il_status il_arrays_make(const il_trainer *t, const char *path, il_error *error) {
    unsigned char *header;
    size_t header_bytes = 0;
    uint64_t bytes;
    il_status status = make_header(t, path, &header, &header_bytes, &bytes, error);
    if (status == IL_OK) status = il_shared_file_make(path, header, header_bytes, bytes, error);
    il_free(&t->model->engine->memory, header);
    return status;
}

typedef struct filling {
    const il_trainer *trainer;
    const uint64_t *begins; /* of arrays in the file */
    il_shared_file file;
    il_error *error;
} filling;

static il_status fill_part(void *context, const part *p) {
    filling *f = context;
    return il_shared_file_write(&f->file, f->begins[p->array] + p->from * sizeof(float), p->values,
                                p->count * sizeof(float), f->error);
}

il_status il_arrays_fill(const il_trainer *t, const char *path, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    size_t n = count_arrays(t, 1), header_bytes = 0;
    unsigned char *header;
    uint64_t bytes, *begins = il_alloc(memory, n, sizeof *begins);
    char name[NAME_BYTES];
    il_status status = begins ? make_header(t, path, &header, &header_bytes, &bytes, error) : no_memory(error);
    if (status == IL_OK) {
        il_free(memory, header);
        for (size_t i = 0, at = header_bytes; i < n; i++) {
            begins[i] = at;
            at += describe(t, i, name) * sizeof(float);
        }
        filling f = {t, begins, {.fd = -1}, error};
        status = il_shared_file_open(path, &f.file, error);
        if (status == IL_OK) status = each_part(t, 1, fill_part, &f);
        status = il_shared_file_close(&f.file, status, error);
    }
    il_free(memory, begins);
    return status;
}

/* ---- reading ---- */

/* In parts, because a file's numbers may not be aligned. */
static int all_finite(const il_trainer *t, const il_st_tensor *tensor) {
    float some[SOME];
    for (size_t i = 0; i < tensor->count; i += SOME) {
        size_t n = tensor->count - i < SOME ? tensor->count - i : SOME;
        memcpy(some, tensor->data + i * sizeof *some, n * sizeof *some);
        if (!t->model->engine->kernels->all_finite(n, some)) return 0;
    }
    return 1;
}

il_status il_arrays_check(const il_trainer *t, const il_st *st, int carried, const char *path, il_error *error) {
    char name[NAME_BYTES];
    for (size_t i = 0; i < count_arrays(t, carried); i++) {
        size_t count = describe(t, i, name);
        const il_st_tensor *tensor = il_st_find(st, name);
        if (!tensor) return il_fail(error, IL_ERR_FORMAT, "%s: no tensor %s", path, name);
        if (tensor->dtype != IL_F32 || tensor->count != count)
            return il_fail(error, IL_ERR_MISMATCH, "%s: %s has %zu elements of %s, expected %zu of F32", path, name,
                           tensor->count, il_dtype_name(tensor->dtype), count);
        if (i < 2 * t->model->table.n && !all_finite(t, tensor))
            return il_fail(error, IL_ERR_NONFINITE, "%s: %s holds a number that is not finite", path, name);
    }
    return IL_OK;
}

typedef struct taking {
    const il_trainer *trainer;
    const il_st *st;
} taking;

static il_status take_part(void *context, const part *p) {
    const taking *job = context;
    char name[NAME_BYTES];
    describe(job->trainer, p->array, name);
    memcpy(p->values, il_st_find(job->st, name)->data + p->from * sizeof(float), p->count * sizeof(float));
    return IL_OK;
}

void il_arrays_take(il_trainer *t, const il_st *st, int carried) {
    taking job = {t, st};
    each_part(t, carried, take_part, &job);
}
