/* gguf.c: see gguf.h. A file is a header, metadata, descriptions of tensors, and their data. The first three are walked
 * once from front to back; what they count must fit in what is left of them before anything is allocated. Refused are
 * arrays of arrays, tensors that overlap, leave a gap or reach past the end, and quantizations nobody knows by name. */
#include "tensor/gguf.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/utf8.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian and mapped as they are");

enum {
    HEADER_BYTES_MAX = 1 << 28, /* of all that is before the data */
    VALUES_MAX = 1 << 16,
    TENSORS_MAX = 1 << 16,
    ELEMENTS_MAX = 1 << 24, /* of an array */
    KEY_BYTES_MAX = 1 << 16,
    VALUE_BYTES_MIN = 8 + 4 + 1, /* of a key's length, a type, a value */
    TENSOR_BYTES_MIN = 8 + 4 + 4 + 8,
    ALIGNMENT = 32,
    ALIGNMENT_MAX = 1 << 20
};
static const char MAGIC[4] = {'G', 'G', 'U', 'F'};

/* Entries and bytes of a block. */
static const struct {
    const char *name;
    unsigned short entries, bytes;
} ggml_types[] = {
    [IL_GGML_F32] = {"F32", 1, 4},
    [IL_GGML_F16] = {"F16", 1, 2},
    [IL_GGML_Q4_0] = {"Q4_0", 32, 18},
    [IL_GGML_Q4_1] = {"Q4_1", 32, 20},
    [6] = {"Q5_0", 32, 22},
    [7] = {"Q5_1", 32, 24},
    [IL_GGML_Q8_0] = {"Q8_0", 32, 34},
    [9] = {"Q8_1", 32, 36},
    [10] = {"Q2_K", 256, 84},
    [11] = {"Q3_K", 256, 110},
    [12] = {"Q4_K", 256, 144},
    [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},
    [15] = {"Q8_K", 256, 292},
    [16] = {"IQ2_XXS", 256, 66},
    [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98},
    [19] = {"IQ1_S", 256, 50},
    [20] = {"IQ4_NL", 32, 18},
    [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},
    [23] = {"IQ4_XS", 256, 136},
    [24] = {"I8", 1, 1},
    [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},
    [27] = {"I64", 1, 8},
    [28] = {"F64", 1, 8},
    [29] = {"IQ1_M", 256, 56},
    [IL_GGML_BF16] = {"BF16", 1, 2},
    [34] = {"TQ1_0", 256, 54},
    [35] = {"TQ2_0", 256, 66},
    [39] = {"MXFP4", 32, 17},
    [40] = {"NVFP4", 64, 36},
};
enum { GGML_TYPES = sizeof ggml_types / sizeof ggml_types[0] };

const char *il_ggml_name(unsigned type) { return type < GGML_TYPES ? ggml_types[type].name : NULL; }

static const unsigned char value_bytes[IL_GGUF_TYPES] = {
    [IL_GGUF_U8] = 1,  [IL_GGUF_I8] = 1,   [IL_GGUF_U16] = 2, [IL_GGUF_I16] = 2, [IL_GGUF_U32] = 4, [IL_GGUF_I32] = 4,
    [IL_GGUF_F32] = 4, [IL_GGUF_BOOL] = 1, [IL_GGUF_U64] = 8, [IL_GGUF_I64] = 8, [IL_GGUF_F64] = 8,
};

/* ---- the walk ---- */

typedef struct walk {
    const char *path;
    const unsigned char *begin, *at, *end; /* end: of the file, or of what a header may be */
    int whole;                             /* end is the file's */
    il_error *error;
} walk;

static il_status cut_short(const walk *w, const char *what) {
    if (!w->whole)
        return il_fail(w->error, IL_ERR_UNSUPPORTED, "%s: metadata of more than 256 MiB are not read", w->path);
    return il_fail(w->error, IL_ERR_FORMAT, "%s: cut short, or damaged: byte %zu: %s reaches past the end", w->path,
                   (size_t)(w->at - w->begin), what);
}

static size_t left(const walk *w) { return (size_t)(w->end - w->at); }

static il_status read_u32(walk *w, const char *what, uint32_t *x) {
    if (left(w) < sizeof *x) return cut_short(w, what);
    memcpy(x, w->at, sizeof *x);
    w->at += sizeof *x;
    return IL_OK;
}

static il_status read_u64(walk *w, const char *what, uint64_t *x) {
    if (left(w) < sizeof *x) return cut_short(w, what);
    memcpy(x, w->at, sizeof *x);
    w->at += sizeof *x;
    return IL_OK;
}

static il_status read_text(walk *w, const char *what, il_gguf_text *text) {
    uint64_t bytes = 0;
    IL_TRY(read_u64(w, what, &bytes));
    if (bytes > left(w)) return cut_short(w, what);
    *text = (il_gguf_text){(const char *)w->at, (size_t)bytes};
    w->at += bytes;
    return IL_OK;
}

/* Whether it can be printed and compared as a string of C. */
static int is_plain(il_gguf_text text) {
    for (size_t at = 0, length; at < text.bytes; at += length) {
        length = (size_t)il_utf8_length(text.text + at, text.bytes - at);
        if (!length || !text.text[at]) return 0;
    }
    return text.bytes > 0;
}

static il_status read_count(walk *w, const char *what, size_t least_bytes, size_t most, size_t *count) {
    uint64_t n = 0;
    IL_TRY(read_u64(w, what, &n));
    if (n > most)
        return il_fail(w->error, IL_ERR_UNSUPPORTED, "%s: says it has %llu %s; more than %zu are not read", w->path,
                       (unsigned long long)n, what, most);
    if (n > left(w) / least_bytes)
        return il_fail(w->error, IL_ERR_FORMAT,
                       "%s: cut short, or damaged: says it has %llu %s, but only %zu bytes follow", w->path,
                       (unsigned long long)n, what, left(w));
    *count = (size_t)n;
    return IL_OK;
}

/* ---- metadata ---- */

static il_status bad_value(const walk *w, const il_gguf_value *v, const char *why) {
    return il_fail(w->error, IL_ERR_FORMAT, "%s: %.*s: %s", w->path, (int)(v->key.bytes < 150 ? v->key.bytes : 150),
                   v->key.text, why);
}

static il_status read_elements(walk *w, il_gguf_value *v) {
    il_gguf_text text;
    v->data = w->at;
    if (v->type == IL_GGUF_STRING) {
        for (size_t i = 0; i < v->n; i++) IL_TRY(read_text(w, "a string", &text));
    } else {
        size_t bytes = v->n * value_bytes[v->type]; /* at most ELEMENTS_MAX of 8 */
        if (bytes > left(w)) return cut_short(w, "an array");
        w->at += bytes;
    }
    v->end = w->at;
    for (const unsigned char *at = v->data; v->type == IL_GGUF_BOOL && at < v->end; at++)
        if (*at > 1) return bad_value(w, v, "a truth value that is neither 0 nor 1");
    return IL_OK;
}

static il_status read_type(walk *w, const il_gguf_value *v, il_gguf_type *type) {
    uint32_t number = 0;
    IL_TRY(read_u32(w, "a type", &number));
    if (number >= IL_GGUF_TYPES) return bad_value(w, v, "its type is none that GGUF has");
    *type = (il_gguf_type)number;
    return IL_OK;
}

static il_status read_value(walk *w, il_gguf_value *v) {
    IL_TRY(read_text(w, "a key", &v->key));
    if (v->key.bytes > KEY_BYTES_MAX || !is_plain(v->key))
        return il_fail(w->error, IL_ERR_FORMAT, "%s: byte %zu: a key that is empty, too long or not UTF-8", w->path,
                       (size_t)(w->at - w->begin) - v->key.bytes);
    IL_TRY(read_type(w, v, &v->type));
    v->n = 1;
    if (v->type == IL_GGUF_ARRAY) {
        v->is_array = 1;
        IL_TRY(read_type(w, v, &v->type));
        if (v->type == IL_GGUF_ARRAY)
            return il_fail(w->error, IL_ERR_UNSUPPORTED, "%s: %.*s: an array of arrays is not supported", w->path,
                           (int)(v->key.bytes < 150 ? v->key.bytes : 150), v->key.text);
        IL_TRY(read_count(w, "elements of an array", v->type == IL_GGUF_STRING ? 8 : value_bytes[v->type], ELEMENTS_MAX,
                          &v->n));
    }
    return read_elements(w, v);
}

static int compare_texts(il_gguf_text a, il_gguf_text b) {
    int order = memcmp(a.text, b.text, a.bytes < b.bytes ? a.bytes : b.bytes);
    return order ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static int by_key(const void *a, const void *b) {
    return compare_texts(((const il_gguf_value *)a)->key, ((const il_gguf_value *)b)->key);
}

static il_status read_values(walk *w, il_gguf *g, size_t n) {
    g->values = il_alloc(g->allocator, n, sizeof *g->values);
    if (!g->values) return il_fail(w->error, IL_ERR_NOMEM, "%s: out of memory for the metadata", w->path);
    for (size_t i = 0; i < n; i++) IL_TRY(read_value(w, &g->values[i]));
    g->n_values = n;
    if (n) qsort(g->values, n, sizeof *g->values, by_key);
    for (size_t i = 1; i < n; i++)
        if (by_key(&g->values[i - 1], &g->values[i]) == 0) return bad_value(w, &g->values[i], "it is there twice");
    return IL_OK;
}

/* ---- tensors ---- */

#define WHERE "%s: tensor %s: "

static il_status read_shape(walk *w, il_gguf_tensor *t) {
    uint32_t rank = 0;
    uint64_t sizes[IL_GGUF_RANK_MAX];
    IL_TRY(read_u32(w, "a tensor's rank", &rank));
    if (rank > IL_GGUF_RANK_MAX)
        return il_fail(w->error, IL_ERR_UNSUPPORTED, WHERE "%u dimensions, more than %d", w->path, t->name, rank,
                       IL_GGUF_RANK_MAX);
    t->rank = (int)rank;
    t->count = 1;
    for (int i = 0; i < t->rank; i++) {
        IL_TRY(read_u64(w, "a tensor's shape", &sizes[i]));
        if (sizes[i] == 0) return il_fail(w->error, IL_ERR_FORMAT, WHERE "a dimension of 0", w->path, t->name);
        if (sizes[i] > SIZE_MAX || __builtin_mul_overflow(t->count, (size_t)sizes[i], &t->count))
            return il_fail(w->error, IL_ERR_FORMAT, WHERE "its shape overflows", w->path, t->name);
        t->shape[t->rank - 1 - i] = (size_t)sizes[i]; /* files have the fastest first */
    }
    return IL_OK;
}

static il_status read_size(walk *w, il_gguf_tensor *t) {
    uint32_t type = 0;
    IL_TRY(read_u32(w, "a tensor's type", &type));
    if (!il_ggml_name(type))
        return il_fail(w->error, IL_ERR_UNSUPPORTED, WHERE "type number %u is none that is known", w->path, t->name,
                       type);
    t->type = type;
    size_t entries = ggml_types[type].entries, row = t->rank ? t->shape[t->rank - 1] : 1;
    if (row % entries)
        return il_fail(w->error, IL_ERR_FORMAT,
                       WHERE "rows of %zu entries are not whole blocks of %s, %zu entries each", w->path, t->name, row,
                       ggml_types[type].name, entries);
    if (__builtin_mul_overflow(t->count / entries, (size_t)ggml_types[type].bytes, &t->bytes))
        return il_fail(w->error, IL_ERR_FORMAT, WHERE "its shape overflows", w->path, t->name);
    return IL_OK;
}

static il_status read_tensor(walk *w, il_gguf_tensor *t, uint64_t *place) {
    il_gguf_text name;
    IL_TRY(read_text(w, "a tensor's name", &name));
    if (name.bytes >= IL_GGUF_NAME_BYTES || !is_plain(name))
        return il_fail(w->error, IL_ERR_FORMAT,
                       "%s: byte %zu: a tensor's name that is empty, not UTF-8 or longer than %d", w->path,
                       (size_t)(w->at - w->begin) - name.bytes, IL_GGUF_NAME_BYTES - 1);
    memcpy(t->name, name.text, name.bytes);
    IL_TRY(read_shape(w, t));
    IL_TRY(read_size(w, t));
    return read_u64(w, "a tensor's place", place);
}

static int by_place(const void *left_tensor, const void *right_tensor) {
    const il_gguf_tensor *a = left_tensor, *b = right_tensor;
    return (a->data > b->data) - (a->data < b->data);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const il_gguf_tensor *)a)->name, ((const il_gguf_tensor *)b)->name);
}

static size_t padded(size_t bytes, size_t alignment) { return (bytes + alignment - 1) / alignment * alignment; }

/* Sorted by place, each begins where the one before it ends, padded. */
static il_status check_places(const walk *w, il_gguf *g, const unsigned char *data, size_t alignment) {
    const unsigned char *end = data;
    if (g->n_tensors) qsort(g->tensors, g->n_tensors, sizeof *g->tensors, by_place);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const il_gguf_tensor *t = &g->tensors[i];
        if (t->data < end)
            return il_fail(w->error, IL_ERR_FORMAT, WHERE "its data overlap those of tensor %s", w->path, t->name,
                           g->tensors[i - 1].name);
        if ((size_t)(t->data - end) >= alignment)
            return il_fail(w->error, IL_ERR_FORMAT, WHERE "a gap of %zu bytes before its data", w->path, t->name,
                           (size_t)(t->data - end));
        end = t->data + t->bytes;
    }
    return IL_OK;
}

static il_status read_alignment(const il_gguf *g, size_t *alignment, il_error *error) {
    int64_t number = ALIGNMENT;
    IL_TRY(il_gguf_get_count(g, "general.alignment", ALIGNMENT_MAX, &number, error));
    if (number == 0 || (number & (number - 1)))
        return il_fail(error, IL_ERR_FORMAT, "%s: general.alignment: %lld is not a power of two", g->path,
                       (long long)number);
    *alignment = (size_t)number;
    return IL_OK;
}

static il_status read_tensors(walk *w, il_gguf *g, size_t n, const unsigned char *file_end) {
    uint64_t place;
    size_t alignment = 0;
    IL_TRY(read_alignment(g, &alignment, w->error));
    g->tensors = il_alloc(g->allocator, n, sizeof *g->tensors);
    if (!g->tensors) return il_fail(w->error, IL_ERR_NOMEM, "%s: out of memory for %zu tensors", w->path, n);
    const unsigned char *infos = w->at;
    for (size_t i = 0; i < n; i++) { /* once to find where the data begin */
        il_gguf_tensor unread = {.rank = 0};
        IL_TRY(read_tensor(w, &unread, &place));
    }
    size_t begin = padded((size_t)(w->at - w->begin), alignment), bytes = (size_t)(file_end - w->begin);
    const unsigned char *data = w->begin + (begin < bytes ? begin : bytes);
    size_t data_bytes = (size_t)(file_end - data);
    w->at = infos;
    for (size_t i = 0; i < n; i++) {
        il_gguf_tensor *t = &g->tensors[i];
        IL_TRY(read_tensor(w, t, &place));
        if (place % alignment)
            return il_fail(w->error, IL_ERR_FORMAT, WHERE "its place %llu is not a multiple of the alignment %zu",
                           w->path, t->name, (unsigned long long)place, alignment);
        if (place > data_bytes || t->bytes > data_bytes - place)
            return il_fail(w->error, IL_ERR_FORMAT,
                           WHERE "cut short, or damaged: %zu bytes from %llu on are not within the %zu bytes of data",
                           w->path, t->name, t->bytes, (unsigned long long)place, data_bytes);
        t->data = data + place;
    }
    g->n_tensors = n;
    IL_TRY(check_places(w, g, data, alignment));
    if (n) qsort(g->tensors, n, sizeof *g->tensors, by_name);
    for (size_t i = 1; i < n; i++)
        if (by_name(&g->tensors[i - 1], &g->tensors[i]) == 0)
            return il_fail(w->error, IL_ERR_FORMAT, WHERE "it is there twice", w->path, g->tensors[i].name);
    return IL_OK;
}

/* ---- the file ---- */

static il_status read_version(walk *w, unsigned *version) {
    uint32_t number = 0;
    if (!il_gguf_begins(w->at, left(w))) return il_fail(w->error, IL_ERR_FORMAT, "%s: not a GGUF file", w->path);
    w->at += sizeof MAGIC;
    IL_TRY(read_u32(w, "the version", &number));
    if (number && !(number & 0xffff))
        return il_fail(w->error, IL_ERR_UNSUPPORTED, "%s: a big-endian GGUF file is not supported", w->path);
    if (number != 2 && number != 3)
        return il_fail(w->error, IL_ERR_UNSUPPORTED, "%s: GGUF version %u is not supported, only 2 and 3 are", w->path,
                       number);
    *version = number;
    return IL_OK;
}

static il_status read_all(walk *w, il_gguf *g, const unsigned char *file_end) {
    size_t tensors, values;
    IL_TRY(read_version(w, &g->version));
    IL_TRY(read_count(w, "tensors", TENSOR_BYTES_MIN, TENSORS_MAX, &tensors));
    IL_TRY(read_count(w, "metadata", VALUE_BYTES_MIN, VALUES_MAX, &values));
    IL_TRY(read_values(w, g, values));
    return read_tensors(w, g, tensors, file_end);
}

il_status il_gguf_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes, il_gguf *gguf,
                        il_error *error) {
    const unsigned char *file = data;
    int whole = bytes <= HEADER_BYTES_MAX;
    walk w = {path, file, file, file + (whole ? bytes : HEADER_BYTES_MAX), whole, error};
    *gguf = (il_gguf){.allocator = allocator};
    gguf->path = il_strdup(allocator, path);
    if (!gguf->path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    il_status status = read_all(&w, gguf, file + bytes);
    if (status != IL_OK) il_gguf_close(gguf);
    return status;
}

int il_gguf_begins(const void *data, size_t bytes) {
    return bytes >= sizeof MAGIC && memcmp(data, MAGIC, sizeof MAGIC) == 0;
}

/* Not mapped: where memory does not suffice for that, the file is one all the same, and opening it says so. */
int il_gguf_is(const char *path) {
    char begins[sizeof MAGIC];
    int fd = il_path_is_file(path) ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0) return 0;
    ssize_t n = read(fd, begins, sizeof begins);
    close(fd);
    return n > 0 && il_gguf_begins(begins, (size_t)n);
}

il_status il_gguf_open(const il_allocator *allocator, const char *path, il_gguf *gguf, il_error *error) {
    il_map map;
    *gguf = (il_gguf){.allocator = allocator};
    IL_TRY(il_map_open(path, &map, error));
    il_status status = il_gguf_parse(allocator, path, map.data, map.bytes, gguf, error);
    if (status == IL_OK)
        gguf->map = map;
    else
        il_map_close(&map);
    return status;
}

void il_gguf_close(il_gguf *gguf) {
    il_free(gguf->allocator, gguf->values);
    il_free(gguf->allocator, gguf->tensors);
    il_free(gguf->allocator, gguf->path);
    il_map_close(&gguf->map);
    *gguf = (il_gguf){.allocator = gguf->allocator};
}

/* ---- what it holds ---- */

const il_gguf_tensor *il_gguf_find_tensor(const il_gguf *gguf, const char *name) {
    il_gguf_tensor key = {.rank = 0};
    size_t bytes = strlen(name);
    if (bytes >= sizeof key.name || !gguf->n_tensors) return NULL;
    memcpy(key.name, name, bytes);
    return bsearch(&key, gguf->tensors, gguf->n_tensors, sizeof *gguf->tensors, by_name);
}

const il_gguf_value *il_gguf_find(const il_gguf *gguf, const char *key) {
    il_gguf_value wanted = {.key = {key, strlen(key)}};
    return gguf->n_values ? bsearch(&wanted, gguf->values, gguf->n_values, sizeof *gguf->values, by_key) : NULL;
}

int il_gguf_is_integer(il_gguf_type type) { return type <= IL_GGUF_I32 || type == IL_GGUF_U64 || type == IL_GGUF_I64; }

il_gguf_text il_gguf_next_text(const unsigned char **at) {
    uint64_t bytes = 0;
    memcpy(&bytes, *at, sizeof bytes);
    il_gguf_text text = {(const char *)*at + sizeof bytes, (size_t)bytes};
    *at += sizeof bytes + bytes;
    return text;
}

int64_t il_gguf_next_integer(il_gguf_type type, const unsigned char **at) {
    size_t bytes = value_bytes[type];
    int is_signed = type == IL_GGUF_I8 || type == IL_GGUF_I16 || type == IL_GGUF_I32 || type == IL_GGUF_I64;
    uint64_t x = 0;
    memcpy(&x, *at, bytes);
    *at += bytes;
    if (is_signed && bytes < 8 && x >> (8 * bytes - 1)) x |= UINT64_MAX << 8 * bytes;
    if (!is_signed && x > INT64_MAX) x = INT64_MAX;
    return (int64_t)x;
}

double il_gguf_next_real(il_gguf_type type, const unsigned char **at) {
    float single;
    double x;
    if (type == IL_GGUF_F32) {
        memcpy(&single, *at, sizeof single);
        *at += sizeof single;
        return (double)single;
    }
    memcpy(&x, *at, sizeof x);
    *at += sizeof x;
    return x;
}

static il_status wrong_kind(const il_gguf *gguf, const char *key, const char *what, il_error *error) {
    return il_fail(error, IL_ERR_FORMAT, "%s: %s is not %s", gguf->path, key, what);
}

il_status il_gguf_get_count(const il_gguf *gguf, const char *key, int64_t most, int64_t *out, il_error *error) {
    const il_gguf_value *v = il_gguf_find(gguf, key);
    if (!v) return IL_OK;
    if (v->is_array || !il_gguf_is_integer(v->type)) return wrong_kind(gguf, key, "an integer", error);
    const unsigned char *at = v->data;
    int64_t number = il_gguf_next_integer(v->type, &at);
    if (number < 0 || number > most)
        return il_fail(error, IL_ERR_FORMAT, "%s: %s: %lld is not in 0 .. %lld", gguf->path, key, (long long)number,
                       (long long)most);
    *out = number;
    return IL_OK;
}

il_status il_gguf_get_real(const il_gguf *gguf, const char *key, double *out, il_error *error) {
    const il_gguf_value *v = il_gguf_find(gguf, key);
    if (!v) return IL_OK;
    if (v->is_array || (v->type != IL_GGUF_F32 && v->type != IL_GGUF_F64))
        return wrong_kind(gguf, key, "a floating-point number", error);
    const unsigned char *at = v->data;
    *out = il_gguf_next_real(v->type, &at);
    return IL_OK;
}

il_status il_gguf_get_flag(const il_gguf *gguf, const char *key, int *out, il_error *error) {
    const il_gguf_value *v = il_gguf_find(gguf, key);
    if (!v) return IL_OK;
    if (v->is_array || v->type != IL_GGUF_BOOL) return wrong_kind(gguf, key, "a truth value", error);
    *out = *v->data;
    return IL_OK;
}

il_status il_gguf_get_text(const il_gguf *gguf, const char *key, il_gguf_text *out, il_error *error) {
    const il_gguf_value *v = il_gguf_find(gguf, key);
    if (!v) return IL_OK;
    if (v->is_array || v->type != IL_GGUF_STRING) return wrong_kind(gguf, key, "a string", error);
    const unsigned char *at = v->data;
    *out = il_gguf_next_text(&at);
    return IL_OK;
}

/* ---- entries of tensors ---- */

static float half_at(const unsigned char *at) {
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return il_float_of_f16(half);
}

static void read_q8_0(const unsigned char *block, float out[32]) {
    float scale = half_at(block);
    for (int i = 0; i < 32; i++) out[i] = scale * (float)(int8_t)block[2 + i];
}

/* The low halves of 16 bytes are the first 16 entries, the high ones the others. */
static void read_q4_0(const unsigned char *block, float out[32]) {
    float scale = half_at(block);
    for (int i = 0; i < 16; i++) {
        out[i] = scale * (float)((block[2 + i] & 15) - 8);
        out[i + 16] = scale * (float)((block[2 + i] >> 4) - 8);
    }
}

static void read_q4_1(const unsigned char *block, float out[32]) {
    float scale = half_at(block), least = half_at(block + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = (float)(block[4 + i] & 15) * scale + least;
        out[i + 16] = (float)(block[4 + i] >> 4) * scale + least;
    }
}

il_status il_gguf_check_readable(const il_gguf *gguf, const il_gguf_tensor *tensor, il_error *error) {
    switch (tensor->type) {
    case IL_GGML_F32:
    case IL_GGML_F16:
    case IL_GGML_BF16:
    case IL_GGML_Q8_0:
    case IL_GGML_Q4_0:
    case IL_GGML_Q4_1: return IL_OK;
    default:
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       WHERE "type %s is not supported, only F32, F16, BF16, Q8_0, Q4_0 and Q4_1 are", gguf->path,
                       tensor->name, ggml_types[tensor->type].name);
    }
}

il_status il_gguf_read(const il_gguf *gguf, const il_gguf_tensor *tensor, size_t from, size_t n, float *out,
                       il_error *error) {
    size_t entries = ggml_types[tensor->type].entries, step = ggml_types[tensor->type].bytes;
    const unsigned char *block = tensor->data + from / entries * step;
    uint16_t half;
    IL_TRY(il_gguf_check_readable(gguf, tensor, error));
    if (tensor->type == IL_GGML_F32) {
        if (n) memcpy(out, block, n * sizeof *out);
        return IL_OK;
    }
    for (size_t i = 0; i < n; i += entries, block += step) {
        switch (tensor->type) {
        case IL_GGML_F16: out[i] = half_at(block); break;
        case IL_GGML_Q8_0: read_q8_0(block, out + i); break;
        case IL_GGML_Q4_0: read_q4_0(block, out + i); break;
        case IL_GGML_Q4_1: read_q4_1(block, out + i); break;
        default: memcpy(&half, block, sizeof half); out[i] = il_float_of_bf16(half);
        }
    }
    return IL_OK;
}
