/* test_safetensors.c: files that are read, files that are refused, files that are written. */
#include "support_test.h"

#include <math.h>
#include <stdlib.h>

#include "base/bits.h"
#include "support_files.h"
#include "support_scene.h"
#include "tensor/safetensors.h"

static il_error error;

/* Length, header, data; released by free, so that a read past the end is seen. */
static unsigned char *make_file(const char *header, const void *data, size_t data_bytes, size_t *bytes) {
    uint64_t length = strlen(header);
    *bytes = 8 + length + data_bytes;
    unsigned char *file = malloc(*bytes);
    assert_non_null(file);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, length);
    if (data)
        memcpy(file + 8 + length, data, data_bytes);
    else
        memset(file + 8 + length, 0, data_bytes);
    return file;
}

/* ---- reading ---- */

static void a_good_file_is_read(void **state) {
    (void)state;
    static const char header[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[4,20]},"
                                 "\"__metadata__\":{\"format\":\"pt\",\"two\":\"b\\nc\"},"
                                 "\"a\":{\"data_offsets\":[0,4],\"shape\":[4],\"dtype\":\"I8\"},"
                                 "\"empty\":{\"dtype\":\"I64\",\"shape\":[3,0],\"data_offsets\":[4,4]},"
                                 "\"s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[20,21]}}   ";
    unsigned char data[21] = {1, 2, 3, 0xff};
    const float w[4] = {1, -2, 0.5f, 1e30f};
    memcpy(data + 4, w, sizeof w);
    data[20] = 9;
    size_t bytes;
    unsigned char *file = make_file(header, data, sizeof data, &bytes);
    il_st st;
    assert_ok(il_st_parse(&scene.alloc.allocator, "mem", file, bytes, &st, &error), error);
    assert_int_equal(st.n, 4);
    static const char *order[] = {"a", "empty", "s", "w"};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(st.tensors[i].name, order[i]);
        assert_ptr_equal(il_st_find(&st, order[i]), &st.tensors[i]);
    }
    const il_st_tensor *t = il_st_find(&st, "w");
    assert_int_equal(t->dtype, IL_F32);
    assert_int_equal(t->rank, 2);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->count, 4);
    assert_int_equal(t->bytes, 16);
    float out[4];
    assert_ok(il_st_to_f32(t, out, &error), error);
    assert_memory_equal(out, w, sizeof w);
    t = il_st_find(&st, "empty");
    assert_int_equal(t->count, 0);
    assert_fails(il_st_to_f32(t, out, &error), IL_ERR_UNSUPPORTED, error, "empty");
    t = il_st_find(&st, "s");
    assert_int_equal(t->rank, 0);
    assert_int_equal(t->count, 1);
    assert_int_equal(t->data[0], 9);
    assert_null(il_st_find(&st, "b"));
    assert_null(il_st_find(&st, "__metadata__"));
    assert_string_equal(il_st_meta(&st, "format"), "pt");
    assert_string_equal(il_st_meta(&st, "two"), "b\nc");
    assert_null(il_st_meta(&st, "three"));
    il_st_close(&st);
    il_st_close(&st);
    free(file);
}

static void an_empty_header_is_read(void **state) {
    (void)state;
    size_t bytes;
    unsigned char *file = make_file("{}", NULL, 0, &bytes);
    il_st st;
    assert_ok(il_st_parse(&scene.alloc.allocator, "mem", file, bytes, &st, &error), error);
    assert_int_equal(st.n, 0);
    assert_null(il_st_find(&st, "x"));
    assert_null(il_st_meta(&st, "x"));
    il_st_close(&st);
    free(file);
}

#define T(dtype, shape, offsets) "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(dtype, shape, offsets) "{\"w\":" T(dtype, shape, offsets) "}"
#define F32 "\"F32\""

/* Each is refused with this status and a message that names file and field. */
static const struct {
    const char *header;
    size_t data_bytes;
    il_status status;
    const char *text;
} hostile[] = {
    /* the header as a whole */
    {"", 0, IL_ERR_FORMAT, "begin with {"},
    {"[]", 0, IL_ERR_FORMAT, "begin with {"},
    {" {}", 0, IL_ERR_FORMAT, "begin with {"},
    {"{", 0, IL_ERR_FORMAT, "header, byte"},
    {"{}}", 0, IL_ERR_FORMAT, "header, byte"},
    {"{\"a\xff\":1}", 0, IL_ERR_FORMAT, "header, byte"},
    {"{\"a\\u0000\":{}}", 0, IL_ERR_FORMAT, "header, byte"},
    {"{\"w\":" T(F32, "[1]", "[0,4]") ",\"w\":" T(F32, "[1]", "[0,4]") "}", 4, IL_ERR_FORMAT, "duplicate"},
    {"{\"w\":{\"dtype\":\"F32\",\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, IL_ERR_FORMAT,
     "duplicate"},
    /* metadata */
    {"{\"__metadata__\":[]}", 0, IL_ERR_FORMAT, "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"k\":1}}", 0, IL_ERR_FORMAT, "__metadata__: k is not a string"},
    {"{\"__metadata__\":{\"k\":{\"x\":\"y\"}}}", 0, IL_ERR_FORMAT, "k is not a string"},
    {"{\"__metadata__\":{\"k\":\"a\",\"k\":\"b\"}}", 0, IL_ERR_FORMAT, "duplicate"},
    /* one tensor */
    {"{\"w\":1}", 0, IL_ERR_FORMAT, "tensor w: is not described by an object"},
    {"{\"w\":{}}", 0, IL_ERR_FORMAT, "tensor w: dtype is missing"},
    {ONE("7", "[1]", "[0,4]"), 4, IL_ERR_FORMAT, "tensor w: dtype"},
    {ONE("\"F8_E4M3\"", "[4]", "[0,4]"), 4, IL_ERR_UNSUPPORTED, "tensor w: dtype F8_E4M3"},
    {ONE("\"BOOL\"", "[4]", "[0,4]"), 4, IL_ERR_UNSUPPORTED, "tensor w: dtype BOOL"},
    {ONE("\"f32\"", "[1]", "[0,4]"), 4, IL_ERR_UNSUPPORTED, "tensor w: dtype f32"},
    {ONE("\"\"", "[1]", "[0,4]"), 4, IL_ERR_UNSUPPORTED, "tensor w: dtype"},
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"zip\":1}}", 4, IL_ERR_UNSUPPORTED, "field zip"},
    /* shape */
    {"{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, IL_ERR_FORMAT, "tensor w: shape is missing"},
    {ONE(F32, "4", "[0,4]"), 4, IL_ERR_FORMAT, "tensor w: shape"},
    {ONE(F32, "[-1]", "[0,4]"), 4, IL_ERR_FORMAT, "shape[0]"},
    {ONE(F32, "[1,1.0]", "[0,4]"), 4, IL_ERR_FORMAT, "shape[1]"},
    {ONE(F32, "[\"1\"]", "[0,4]"), 4, IL_ERR_FORMAT, "shape[0]"},
    {ONE(F32, "[null]", "[0,4]"), 4, IL_ERR_FORMAT, "shape[0]"},
    {ONE(F32, "[18446744073709551616]", "[0,4]"), 4, IL_ERR_FORMAT, "header, byte"},
    {ONE(F32, "[4294967296,4294967296]", "[0,4]"), 4, IL_ERR_FORMAT, "shape overflows"},
    {ONE(F32, "[4611686018427387904]", "[0,0]"), 0, IL_ERR_FORMAT, "shape overflows"}, /* × 4 = 2^64 */
    {ONE(F32, "[4294967296,4294967296,0]", "[0,0]"), 0, IL_ERR_FORMAT, "shape overflows"},
    {ONE(F32, "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, IL_ERR_UNSUPPORTED, "9 dimensions"},
    /* offsets */
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, IL_ERR_FORMAT, "data_offsets"},
    {ONE(F32, "[1]", "[0]"), 4, IL_ERR_FORMAT, "data_offsets"},
    {ONE(F32, "[1]", "[0,4,4]"), 4, IL_ERR_FORMAT, "data_offsets"},
    {ONE(F32, "[1]", "{\"0\":4}"), 4, IL_ERR_FORMAT, "data_offsets"},
    {ONE(F32, "[1]", "[0.0,4.0]"), 4, IL_ERR_FORMAT, "data_offsets"},
    {ONE(F32, "[1]", "[-4,0]"), 4, IL_ERR_FORMAT, "data_offsets"},
    {ONE(F32, "[1]", "[4,0]"), 4, IL_ERR_FORMAT, "[4, 0] is not within"},
    {ONE(F32, "[1]", "[0,4]"), 3, IL_ERR_FORMAT, "[0, 4] is not within the 3 bytes"},
    {ONE(F32, "[1]", "[9223372036854775803,9223372036854775807]"), 4, IL_ERR_FORMAT, "is not within"},
    {ONE(F32, "[2]", "[0,4]"), 4, IL_ERR_FORMAT, "spans 4 bytes, shape and dtype need 8"},
    {ONE("\"I8\"", "[1]", "[0,4]"), 4, IL_ERR_FORMAT, "spans 4 bytes, shape and dtype need 1"},
    {ONE(F32, "[0]", "[0,4]"), 4, IL_ERR_FORMAT, "spans 4 bytes, shape and dtype need 0"},
    /* tensors against each other and the file */
    {ONE(F32, "[1]", "[0,4]"), 5, IL_ERR_FORMAT, "1 bytes after the last tensor"},
    {"{}", 1, IL_ERR_FORMAT, "1 bytes after the last tensor"},
    {ONE(F32, "[1]", "[4,8]"), 8, IL_ERR_FORMAT, "tensor w: data_offsets leave a gap of 4 bytes"},
    {"{\"a\":" T(F32, "[2]", "[0,8]") ",\"b\":" T(F32, "[1]", "[4,8]") "}", 8, IL_ERR_FORMAT,
     "tensor b: data_offsets overlap tensor a"},
    {"{\"a\":" T(F32, "[1]", "[0,4]") ",\"b\":" T(F32, "[1]", "[0,4]") "}", 4, IL_ERR_FORMAT, "overlap"},
    {"{\"a\":" T(F32, "[1]", "[0,4]") ",\"b\":" T(F32, "[1]", "[8,12]") "}", 12, IL_ERR_FORMAT, "gap of 4"},
    {"{\"a\":" T(F32, "[0]", "[2,2]") ",\"b\":" T(F32, "[1]", "[0,4]") "}", 4, IL_ERR_FORMAT, "overlap"},
};

static void hostile_headers_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        size_t bytes;
        unsigned char *file = make_file(hostile[i].header, NULL, hostile[i].data_bytes, &bytes);
        il_st st;
        assert_fails(il_st_parse(&scene.alloc.allocator, "dir/model", file, bytes, &st, &error), hostile[i].status,
                     error, hostile[i].text);
        assert_memory_equal(error.message, "dir/model: ", 11);
        assert_int_equal(st.n, 0);
        assert_int_equal(scene.alloc.live, 0);
        il_st_close(&st);
        free(file);
    }
}

/* Parsed, a header takes many times its size: one that is there but large is not read. */
static void large_headers_are_refused(void **state) {
    (void)state;
    static const size_t sizes[] = {(16 << 20) + 1, 17000000};
    il_st st;
    for (size_t i = 0; i < 2; i++) {
        uint64_t length = sizes[i];
        unsigned char *file = malloc(8 + length);
        assert_non_null(file);
        memset(file, ' ', 8 + length);
        memcpy(file, &length, 8);
        file[8] = '{';
        file[7 + length] = '}';
        assert_fails(il_st_parse(&scene.alloc.allocator, "f", file, 8 + length, &st, &error), IL_ERR_UNSUPPORTED, error,
                     "f: header of 17 MB: more than 16 MiB are not read");
        length = 16 << 20;
        memcpy(file, &length, 8);
        file[7 + length] = '}';
        assert_ok(il_st_parse(&scene.alloc.allocator, "f", file, 8 + length, &st, &error), error);
        il_st_close(&st);
        free(file);
    }
}

static void hostile_lengths_are_refused(void **state) {
    (void)state;
    static const struct {
        uint64_t length;
        const char *text;
    } cases[] = {
        {3, "only 2 bytes"},          {100000000, "only 2 bytes"},      {100000001, "only 2 bytes"},
        {UINT64_MAX, "only 2 bytes"}, {UINT64_MAX - 7, "only 2 bytes"}, {(uint64_t)1 << 63, "cut short"},
    };
    unsigned char *file = malloc(10);
    il_st st;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(file, &cases[i].length, 8);
        memcpy(file + 8, "{}", 2);
        assert_fails(il_st_parse(&scene.alloc.allocator, "f", file, 10, &st, &error), IL_ERR_FORMAT, error,
                     cases[i].text);
    }
    free(file);
    for (size_t bytes = 0; bytes < 8; bytes++) {
        file = malloc(bytes + !bytes);
        memset(file, 0, bytes + !bytes);
        assert_fails(il_st_parse(&scene.alloc.allocator, "f", file, bytes, &st, &error), IL_ERR_FORMAT, error,
                     "at least 8 are needed");
        free(file);
    }
}

/* A good file cut anywhere, or with any one byte changed, is refused or still holds together. */
static void damage_is_noticed_or_harmless(void **state) {
    (void)state;
    static const char header[] = "{\"a\":" T(F32, "[1]", "[0,4]") ",\"b\":" T("\"I8\"", "[4]", "[4,8]") "}";
    size_t bytes, refused = 0;
    unsigned char *file = make_file(header, NULL, 8, &bytes);
    il_st st;
    for (size_t cut = 0; cut < bytes; cut++) {
        unsigned char *part = malloc(cut + !cut);
        memcpy(part, file, cut);
        assert_int_equal(il_st_parse(&scene.alloc.allocator, "f", part, cut, &st, &error), IL_ERR_FORMAT);
        free(part);
    }
    for (size_t at = 0; at < bytes - 8; at++)
        for (int bit = 0; bit < 8; bit++) {
            file[at] ^= (unsigned char)(1 << bit);
            if (il_st_parse(&scene.alloc.allocator, "f", file, bytes, &st, &error) == IL_OK) {
                size_t sum = 0;
                for (size_t i = 0; i < st.n; i++) {
                    assert_true(st.tensors[i].data >= file + 8 &&
                                st.tensors[i].data + st.tensors[i].bytes <= file + bytes);
                    assert_int_equal(st.tensors[i].bytes, st.tensors[i].count * il_dtype_bytes(st.tensors[i].dtype));
                    sum += st.tensors[i].bytes;
                }
                assert_int_equal(sum, 8);
                il_st_close(&st);
            } else {
                refused++;
            }
            file[at] ^= (unsigned char)(1 << bit);
        }
    assert_true(refused > 100);
    free(file);
}

static void deep_nesting_is_refused(void **state) {
    (void)state;
    enum { DEPTH = 100000 };
    size_t bytes;
    char *header = malloc(DEPTH + 6);
    memcpy(header, "{\"w\":", 5);
    memset(header + 5, '[', DEPTH);
    header[DEPTH + 5] = 0;
    unsigned char *file = make_file(header, NULL, 0, &bytes);
    il_st st;
    assert_fails(il_st_parse(&scene.alloc.allocator, "f", file, bytes, &st, &error), IL_ERR_FORMAT, error, "header");
    free(file);
    free(header);
}

static void a_long_name_is_cut_in_the_message(void **state) {
    (void)state;
    size_t bytes;
    char *header = malloc(5000);
    memcpy(header, "{\"\\n", 4);
    memset(header + 4, 'n', 4000);
    memcpy(header + 4004, "\":1}", 5);
    unsigned char *file = make_file(header, NULL, 0, &bytes);
    il_st st;
    assert_fails(il_st_parse(&scene.alloc.allocator, "f", file, bytes, &st, &error), IL_ERR_FORMAT, error,
                 "nnn: is not described by an object");
    assert_null(strchr(error.message, '\n'));
    free(file);
    free(header);
}

/* ---- conversion ---- */

static void bf16_becomes_f32(void **state) {
    (void)state;
    static uint16_t half[65536];
    static float out[65536];
    for (uint32_t i = 0; i < 65536; i++) half[i] = (uint16_t)i;
    il_st_tensor t = {.name = "t", .dtype = IL_BF16, .count = 65536, .data = (unsigned char *)half, .bytes = 131072};
    assert_ok(il_st_to_f32(&t, out, &error), error);
    for (uint32_t i = 0; i < 65536; i++) {
        float expected = il_float_of_bits(i << 16);
        assert_memory_equal(&out[i], &expected, 4);
    }
    assert_true(out[0x3f80] == 1.0f && out[0xc000] == -2.0f && isinf(out[0x7f80]) && isnan(out[0x7fc0]));
    assert_true(out[1] == 0x1p-133f && signbit(out[0x8000]) && out[0x8000] == 0);
}

static void f16_becomes_f32(void **state) {
    (void)state;
    static unsigned char bytes[131073]; /* one byte off: data need not be aligned */
    static float out[65536];
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t half = (uint16_t)i;
        memcpy(bytes + 1 + 2 * i, &half, 2);
    }
    il_st_tensor t = {.name = "t", .dtype = IL_F16, .count = 65536, .data = bytes + 1, .bytes = 131072};
    assert_ok(il_st_to_f32(&t, out, &error), error);
    for (uint32_t i = 0; i < 65536; i++) {
        int exponent = (int)(i >> 10 & 31), fraction = (int)(i & 1023);
        assert_int_equal(!!signbit(out[i]), i >> 15);
        if (exponent == 31) {
            assert_true(fraction ? isnan(out[i]) : isinf(out[i]));
            continue;
        }
        double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        assert_true(fabsf(out[i]) == (float)magnitude && (double)(float)magnitude == magnitude);
    }
    assert_true(out[1] == 0x1p-24f && out[0x3c00] == 1.0f && out[0x7bff] == 65504.0f);
}

static void other_types_are_not_converted(void **state) {
    (void)state;
    float out;
    static const il_dtype types[] = {IL_I32, IL_I8, IL_U8, IL_I64, IL_F64};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        il_st_tensor t = {.name = "t", .dtype = types[i], .count = 0, .bytes = 0};
        assert_fails(il_st_to_f32(&t, &out, &error), IL_ERR_UNSUPPORTED, error, il_dtype_name(types[i]));
    }
    static const char *names[] = {"F32", "BF16", "F16", "I32", "I8", "U8", "I64", "F64"};
    static const size_t sizes[] = {4, 2, 2, 4, 1, 1, 8, 8};
    for (int d = IL_F32; d <= IL_F64; d++) {
        assert_string_equal(il_dtype_name((il_dtype)d), names[d]);
        assert_int_equal(il_dtype_bytes((il_dtype)d), sizes[d]);
    }
    assert_int_equal(il_dtype_bytes((il_dtype)99), 0);
    assert_string_equal(il_dtype_name((il_dtype)99), "?");
}

/* ---- writing ---- */

static const float some_floats[6] = {1, 2, 3, -4, 5.5f, 0};
static const int64_t some_longs[2] = {INT64_MIN, 7};
static const il_st_item some_items[] = {
    {"z.weight", IL_F32, 2, {2, 3}, some_floats},
    {"a \"quoted\" \xe2\x82\xac name", IL_I64, 1, {2}, some_longs},
    {"nothing", IL_BF16, 2, {0, 5}, NULL},
    {"scalar", IL_F32, 0, {0}, some_floats + 4},
};
static const il_st_pair some_pairs[] = {{"format", "pt"}, {"text", "line\nline \\ \"x\""}};

static void what_is_written_is_read_back(void **state) {
    (void)state;
    char *folder = support_folder_make(), *path = strdup(support_path(folder, "x.safetensors"));
    assert_ok(il_st_write(&scene.alloc.allocator, path, some_items, 4, some_pairs, 2, &error), error);
    il_st st;
    assert_ok(il_st_open(&scene.alloc.allocator, path, &st, &error), error);
    assert_int_equal(st.n, 4);
    assert_int_equal(st.n_metadata, 2);
    assert_string_equal(il_st_meta(&st, "text"), some_pairs[1].value);
    const unsigned char *end = NULL;
    for (size_t i = 0; i < 4; i++) {
        const il_st_item *item = &some_items[i];
        const il_st_tensor *t = il_st_find(&st, item->name);
        assert_non_null(t);
        assert_int_equal(t->dtype, item->dtype);
        assert_int_equal(t->rank, item->rank);
        assert_memory_equal(t->shape, item->shape, (size_t)item->rank * sizeof(size_t));
        if (t->bytes) assert_memory_equal(t->data, item->data, t->bytes);
        if (end)
            assert_ptr_equal(t->data, end); /* in the order given */
        else
            assert_int_equal((uintptr_t)t->data % 64, 0);
        end = t->data + t->bytes;
    }
    assert_ptr_equal(end, st.map.data + st.map.bytes);
    il_st_close(&st);

    size_t bytes, again_bytes;
    char *first = support_read(path, &bytes), *again;
    assert_ok(il_st_write(&scene.alloc.allocator, path, some_items, 4, some_pairs, 2, &error), error);
    again = support_read(path, &again_bytes);
    assert_int_equal(bytes, again_bytes);
    assert_memory_equal(first, again, bytes);
    assert_int_equal(first[8], '{');
    free(first);
    free(again);

    assert_ok(il_st_write(&scene.alloc.allocator, path, NULL, 0, NULL, 0, &error), error);
    assert_ok(il_st_open(&scene.alloc.allocator, path, &st, &error), error);
    assert_int_equal(st.n + st.n_metadata, 0);
    il_st_close(&st);
    assert_int_equal(support_folder_count(folder), 1);
    support_folder_remove(folder);
    free(path);
}

static void nonsense_is_not_written(void **state) {
    (void)state;
    char *folder = support_folder_make(), *path = strdup(support_path(folder, "x"));
    static const struct {
        il_st_item item;
        const char *text;
    } cases[] = {
        {{"__metadata__", IL_F32, 1, {1}, some_floats}, "taken"},
        {{"first", IL_F32, 1, {1}, some_floats}, "taken"},
        {{"\xff", IL_F32, 1, {1}, some_floats}, "UTF-8"},
        {{"w", (il_dtype)99, 1, {1}, some_floats}, "dtype 99"},
        {{"w", IL_F32, 9, {1}, some_floats}, "rank 9"},
        {{"w", IL_F32, -1, {1}, some_floats}, "rank -1"},
        {{"w", IL_F32, 2, {SIZE_MAX, 2}, some_floats}, "overflows"},
        {{"w", IL_I8, 1, {SIZE_MAX - 1}, some_floats}, "overflows"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const il_st_item items[2] = {{"first", IL_F32, 1, {1}, some_floats}, cases[i].item};
        assert_fails(il_st_write(&scene.alloc.allocator, path, items, 2, NULL, 0, &error), IL_ERR_ARG, error,
                     cases[i].text);
    }
    const il_st_pair twice[] = {{"k", "a"}, {"k", "b"}}, bad[] = {{"k", "\xff"}};
    assert_fails(il_st_write(&scene.alloc.allocator, path, NULL, 0, twice, 2, &error), IL_ERR_ARG, error, "twice");
    assert_fails(il_st_write(&scene.alloc.allocator, path, NULL, 0, bad, 1, &error), IL_ERR_ARG, error, "UTF-8");
    assert_int_equal(support_folder_count(folder), 0);
    assert_fails(il_st_write(&scene.alloc.allocator, folder, NULL, 0, NULL, 0, &error), IL_ERR_IO, error, folder);
    il_st st;
    assert_fails(il_st_open(&scene.alloc.allocator, path, &st, &error), IL_ERR_IO, error, path);
    assert_fails(il_st_open(&scene.alloc.allocator, folder, &st, &error), IL_ERR_IO, error, "folder");
    support_write(path, "", 0);
    assert_fails(il_st_open(&scene.alloc.allocator, path, &st, &error), IL_ERR_FORMAT, error, "0 bytes");
    support_folder_remove(folder);
    free(path);
}

static il_status write_and_read(const il_allocator *allocator, void *context, il_error *why) {
    il_st st;
    il_status status = il_st_write(allocator, context, some_items, 4, some_pairs, 2, why);
    if (status != IL_OK) return status;
    status = il_st_open(allocator, context, &st, why);
    il_st_close(&st);
    return status;
}

static void short_memory_is_an_error(void **state) {
    (void)state;
    char *folder = support_folder_make(), *path = strdup(support_path(folder, "x"));
    assert_int_equal(support_alloc_fail_each(&scene.alloc, write_and_read, path), 7);
    assert_int_equal(support_folder_count(folder), 1);
    support_folder_remove(folder);
    free(path);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, support_scene_begin_memory, support_scene_end_memory)
    const struct CMUnitTest tests[] = {
        CASE(a_good_file_is_read),       CASE(an_empty_header_is_read),           CASE(hostile_headers_are_refused),
        CASE(large_headers_are_refused), CASE(hostile_lengths_are_refused),       CASE(damage_is_noticed_or_harmless),
        CASE(deep_nesting_is_refused),   CASE(a_long_name_is_cut_in_the_message), CASE(bf16_becomes_f32),
        CASE(f16_becomes_f32),           CASE(other_types_are_not_converted),     CASE(what_is_written_is_read_back),
        CASE(nonsense_is_not_written),   CASE(short_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
