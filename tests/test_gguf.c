/* test_gguf.c: GGUF files that are read, and files that are refused. The good one is as PyPI's gguf writes it
 * (fixtures/make_gguf.py). */
#include "support_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "support_gguf.h"
#include "support_scene.h"
#include "tensor/safetensors.h"

static il_error error;

/* ---- reading ---- */

static void metadata_are_read(void **state) {
    (void)state;
    il_gguf g;
    int64_t count = 7;
    double real = 7;
    int flag = 7;
    il_gguf_text text = {NULL, 0};
    assert_ok(il_gguf_open(&scene.alloc.allocator, FIXTURES "/gguf/tiny.gguf", &g, &error), error);
    assert_int_equal(g.version, 3);
    assert_int_equal(g.n_tensors, 20);
    assert_ok(il_gguf_get_text(&g, "general.architecture", &text, &error), error);
    assert_int_equal(text.bytes, 5);
    assert_memory_equal(text.text, "llama", 5);
    assert_ok(il_gguf_get_count(&g, "llama.attention.head_count_kv", 4, &count, &error), error);
    assert_int_equal(count, 2);
    assert_ok(il_gguf_get_real(&g, "llama.rope.freq_base", &real, &error), error);
    assert_true(real == 5000);
    assert_ok(il_gguf_get_flag(&g, "tokenizer.ggml.add_bos_token", &flag, &error), error);
    assert_int_equal(flag, 0);
    assert_ok(il_gguf_get_count(&g, "llama.expert_count", 4, &count, &error), error); /* not there */
    assert_int_equal(count, 2);
    assert_fails(il_gguf_get_count(&g, "llama.attention.head_count", 3, &count, &error), IL_ERR_FORMAT, error,
                 "tiny.gguf: llama.attention.head_count: 4 is not in 0 .. 3");
    assert_fails(il_gguf_get_count(&g, "general.name", 3, &count, &error), IL_ERR_FORMAT, error,
                 "general.name is not an integer");
    assert_fails(il_gguf_get_real(&g, "general.name", &real, &error), IL_ERR_FORMAT, error, "not a floating-point");
    assert_fails(il_gguf_get_flag(&g, "general.name", &flag, &error), IL_ERR_FORMAT, error, "not a truth value");
    assert_fails(il_gguf_get_text(&g, "tokenizer.ggml.tokens", &text, &error), IL_ERR_FORMAT, error, "not a string");
    const il_gguf_value *tokens = il_gguf_find(&g, "tokenizer.ggml.tokens");
    assert_non_null(tokens);
    assert_true(tokens->is_array && tokens->type == IL_GGUF_STRING);
    assert_int_equal(tokens->n, 638);
    const unsigned char *at = tokens->data;
    text = il_gguf_next_text(&at);
    assert_int_equal(text.bytes, 13);
    assert_memory_equal(text.text, "<|endoftext|>", 13);
    assert_null(il_gguf_find(&g, "tokenizer.ggml"));
    il_gguf_close(&g);
}

static void every_type_of_tensor_is_read(void **state) {
    (void)state;
    static const char *const tensors[][2] = {{"Q8_0", "token_embd.weight"},    {"Q4_1", "blk.0.attn_q.weight"},
                                             {"Q4_0", "blk.0.attn_v.weight"},  {"BF16", "blk.0.attn_output.weight"},
                                             {"F16", "blk.0.ffn_gate.weight"}, {"F32", "blk.0.ffn_up.weight"}};
    il_gguf g;
    il_st expect;
    assert_ok(il_gguf_open(&scene.alloc.allocator, FIXTURES "/gguf/tiny.gguf", &g, &error), error);
    assert_ok(il_st_open(&scene.alloc.allocator, FIXTURES "/gguf/expect.safetensors", &expect, &error), error);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[32];
        float rows[2][64], wanted[2][64];
        snprintf(name, sizeof name, "rows.%s", tensors[i][0]);
        const il_st_tensor *want = il_st_find(&expect, name);
        const il_gguf_tensor *t = il_gguf_find_tensor(&g, tensors[i][1]);
        assert_non_null(want);
        assert_non_null(t);
        assert_string_equal(il_ggml_name(t->type), tensors[i][0]);
        assert_int_equal(t->rank, 2);
        size_t n = t->shape[1];
        assert_true(n == want->shape[1] && n <= 64);
        assert_ok(il_gguf_read(&g, t, 0, n, rows[0], &error), error);
        assert_ok(il_gguf_read(&g, t, (t->shape[0] - 1) * n, n, rows[1], &error), error);
        assert_ok(il_st_to_f32(want, wanted[0], &error), error);
        memmove(wanted[1], wanted[0] + n, n * sizeof(float));
        for (int k = 0; k < 2; k++) assert_memory_equal(rows[k], wanted[k], n * sizeof(float));
    }
    assert_null(il_gguf_find_tensor(&g, "output.weight"));
    assert_null(il_gguf_find_tensor(&g, "a name that is longer than any tensor may have in a file of this kind"));
    il_st_close(&expect);
    il_gguf_close(&g);
}

/* The blocks by hand: a scale of 0.5 (and a least of -1), and entries whose places differ. */
static void blocks_are_read_by_their_definition(void **state) {
    (void)state;
    static const uint64_t shape[] = {1, 32};
    unsigned char q8[34] = {0x00, 0x38}, q4[18] = {0x00, 0x38}, q41[20] = {0x00, 0x38, 0x00, 0xbc};
    float out[32];
    size_t bytes;
    q8[2] = 0x80, q8[33] = 3;
    q4[2] = 0xf0, q4[17] = 0x2c;
    q41[4] = 0xf0, q41[19] = 0x2c;
    support_gguf file = {0};
    support_gguf_tensor(&file, "q8", IL_GGML_Q8_0, 2, shape, q8, sizeof q8);
    support_gguf_tensor(&file, "q4", IL_GGML_Q4_0, 2, shape, q4, sizeof q4);
    support_gguf_tensor(&file, "q41", IL_GGML_Q4_1, 2, shape, q41, sizeof q41);
    unsigned char *data = support_gguf_make(&file, &bytes);
    il_gguf g;
    assert_ok(il_gguf_parse(&scene.alloc.allocator, "mem", data, bytes, &g, &error), error);
    assert_ok(il_gguf_read(&g, il_gguf_find_tensor(&g, "q8"), 0, 32, out, &error), error);
    assert_true(out[0] == -64 && out[1] == 0 && out[31] == 1.5f);
    assert_ok(il_gguf_read(&g, il_gguf_find_tensor(&g, "q4"), 0, 32, out, &error), error);
    assert_true(out[0] == -4 && out[16] == 3.5f && out[15] == 2 && out[31] == -3 && out[1] == -4);
    assert_ok(il_gguf_read(&g, il_gguf_find_tensor(&g, "q41"), 0, 32, out, &error), error);
    assert_true(out[0] == -1 && out[16] == 6.5f && out[15] == 5 && out[31] == 0 && out[1] == -1);
    il_gguf_close(&g);
    free(data);
}

/* ---- refusing ---- */

/* All kinds of values and two tensors. */
static void fill(support_gguf *file) {
    static const uint64_t shape[] = {2, 3}, one[] = {32};
    static const float numbers[6] = {1, 2, 3, 4, 5, 6};
    static const unsigned char block[18];
    const int64_t wide = -5;
    const double real = 0.25;
    support_gguf_text(file, "text", "hello");
    support_gguf_u32(file, "number", 9);
    support_gguf_f32(file, "real", 0.5f);
    support_gguf_flag(file, "flag", 1);
    support_gguf_key(file, "wide", IL_GGUF_I64);
    support_bytes_add(&file->values, &wide, sizeof wide);
    support_gguf_key(file, "double", IL_GGUF_F64);
    support_bytes_add(&file->values, &real, sizeof real);
    support_gguf_array(file, "texts", IL_GGUF_STRING, 2);
    support_gguf_add_text(file, "a", 1);
    support_gguf_add_text(file, "", 0);
    support_gguf_array(file, "bytes", IL_GGUF_U8, 3);
    support_bytes_add(&file->values, "xyz", 3);
    support_gguf_array(file, "none", IL_GGUF_STRING, 0);
    support_gguf_tensor(file, "b", IL_GGML_F32, 2, shape, numbers, sizeof numbers);
    support_gguf_tensor(file, "a", IL_GGML_Q4_0, 1, one, block, sizeof block);
}

static il_status parse_copy(const unsigned char *data, size_t bytes) {
    il_gguf g;
    unsigned char *exact = malloc(bytes ? bytes : 1);
    assert_non_null(exact);
    if (bytes) memcpy(exact, data, bytes);
    memset(&error, 0, sizeof error);
    il_status status = il_gguf_parse(&scene.alloc.allocator, "mem", exact, bytes, &g, &error);
    if (!status) il_gguf_close(&g);
    free(exact);
    return status;
}

static void every_shorter_file_is_refused(void **state) {
    (void)state;
    support_gguf file = {0};
    size_t bytes;
    fill(&file);
    unsigned char *data = support_gguf_make(&file, &bytes);
    assert_ok(parse_copy(data, bytes), error);
    for (size_t n = 0; n < bytes; n++) {
        assert_int_equal(parse_copy(data, n), IL_ERR_FORMAT);
        assert_non_null(strstr(error.message, "mem: "));
    }
    free(data);
}

static void versions(void **state) {
    (void)state;
    for (uint32_t version = 1; version <= 4; version++) {
        support_gguf file = {.version = version};
        size_t bytes;
        fill(&file);
        unsigned char *data = support_gguf_make(&file, &bytes);
        if (version == 2 || version == 3)
            assert_ok(parse_copy(data, bytes), error);
        else
            assert_fails(parse_copy(data, bytes), IL_ERR_UNSUPPORTED, error, "only 2 and 3 are");
        free(data);
    }
    support_gguf file = {.version = 3u << 24};
    size_t bytes;
    unsigned char *data = support_gguf_make(&file, &bytes);
    assert_fails(parse_copy(data, bytes), IL_ERR_UNSUPPORTED, error, "big-endian");
    assert_fails(parse_copy((const unsigned char *)"GGML\3\0\0\0", 8), IL_ERR_FORMAT, error, "not a GGUF file");
    free(data);
}

/* What each number of `which` below does to a file; its message must hold the text. */
static void spoil(support_gguf *f, int which) {
    static const uint64_t row[] = {32}, four[] = {4}, odd[] = {2, 33}, zero[] = {3, 0}, huge[] = {UINT64_MAX / 2, 4},
                          wide[] = {UINT64_MAX / 4, 2}, five[] = {1, 1, 1, 1, 1};
    static const float numbers[32];
    static const char long_name[] = "0123456789012345678901234567890123456789012345678901234567890123";
    const uint64_t far = UINT64_MAX - 3;
    switch (which) {
    case 0: f->n_values = UINT64_MAX; break;
    case 1: f->n_tensors = 60000; break;
    case 2: f->n_values = 60000; break;
    case 3: support_gguf_u32(f, "number", 1); break;
    case 4: support_gguf_u32(f, "", 1); break;
    case 5: support_gguf_u32(f, "\xff", 1); break;
    case 6: support_gguf_key(f, "strange", 13); break;
    case 7: support_gguf_array(f, "nested", IL_GGUF_ARRAY, 0); break;
    case 8: support_gguf_array(f, "strange", 99, 0); break;
    case 9: support_gguf_array(f, "liar", IL_GGUF_STRING, 1 << 23); break;
    case 10: support_gguf_array(f, "liar", IL_GGUF_U8, UINT64_MAX); break;
    case 11: support_gguf_flag(f, "flag2", 2); break;
    case 12:
        support_gguf_key(f, "liar", IL_GGUF_STRING);
        support_bytes_add(&f->values, &far, sizeof far);
        break;
    case 13: support_gguf_u32(f, "general.alignment", 33); break;
    case 14: support_gguf_u32(f, "general.alignment", 0); break;
    case 15: support_gguf_u32(f, "general.alignment", 1u << 31); break;
    case 16: support_gguf_text(f, "general.alignment", "32"); break;
    case 17: support_gguf_tensor(f, "a", IL_GGML_F32, 1, row, numbers, sizeof numbers); break;
    case 18: support_gguf_tensor(f, "", IL_GGML_F32, 1, row, numbers, sizeof numbers); break;
    case 19: support_gguf_tensor(f, long_name, IL_GGML_F32, 1, row, numbers, sizeof numbers); break;
    case 20: support_gguf_tensor(f, "five", IL_GGML_F32, 5, five, numbers, 4); break;
    case 21: support_gguf_tensor(f, "zero", IL_GGML_F32, 2, zero, numbers, 0); break;
    case 22: support_gguf_tensor(f, "huge", IL_GGML_F32, 2, huge, numbers, sizeof numbers); break;
    case 23: support_gguf_tensor(f, "wide", IL_GGML_F32, 2, wide, numbers, sizeof numbers); break;
    case 24: support_gguf_tensor(f, "odd", IL_GGML_Q8_0, 2, odd, numbers, sizeof numbers); break;
    case 25: support_gguf_tensor(f, "odd", 4, 1, row, numbers, sizeof numbers); break;
    case 26: support_gguf_tensor(f, "odd", 1000, 1, row, numbers, sizeof numbers); break;
    case 27: support_gguf_info(f, "same", IL_GGML_F32, 1, four, 0); break;
    case 28: support_gguf_info(f, "aside", IL_GGML_F32, 1, row, 8); break;
    case 29: support_gguf_info(f, "behind", IL_GGML_F32, 1, row, 64); break;
    case 30: support_gguf_info(f, "far", IL_GGML_F32, 1, row, UINT64_MAX - 31); break;
    case 31:
        support_bytes_add(&f->data, numbers, sizeof numbers);
        support_gguf_tensor(f, "gap", IL_GGML_F32, 1, row, numbers, sizeof numbers);
        break;
    default: fail();
    }
}

static void bad_files_are_refused(void **state) {
    (void)state;
    static const struct {
        il_status status;
        const char *text;
    } expected[] = {{IL_ERR_UNSUPPORTED, "says it has 18446744073709551615 metadata; more than 65536 are not read"},
                    {IL_ERR_FORMAT, "says it has 60000 tensors, but only"},
                    {IL_ERR_FORMAT, "says it has 60000 metadata, but only"},
                    {IL_ERR_FORMAT, "number: it is there twice"},
                    {IL_ERR_FORMAT, "a key that is empty"},
                    {IL_ERR_FORMAT, "not UTF-8"},
                    {IL_ERR_FORMAT, "strange: its type is none that GGUF has"},
                    {IL_ERR_UNSUPPORTED, "nested: an array of arrays is not supported"},
                    {IL_ERR_FORMAT, "strange: its type"},
                    {IL_ERR_FORMAT, "8388608 elements of an array, but only"},
                    {IL_ERR_UNSUPPORTED, "18446744073709551615 elements of an array; more than"},
                    {IL_ERR_FORMAT, "flag2: a truth value that is neither 0 nor 1"},
                    {IL_ERR_FORMAT, "a string reaches past the end"},
                    {IL_ERR_FORMAT, "general.alignment: 33 is not a power of two"},
                    {IL_ERR_FORMAT, "general.alignment: 0 is not a power of two"},
                    {IL_ERR_FORMAT, "general.alignment: 2147483648 is not in 0 .. 1048576"},
                    {IL_ERR_FORMAT, "general.alignment is not an integer"},
                    {IL_ERR_FORMAT, "tensor a: it is there twice"},
                    {IL_ERR_FORMAT, "a tensor's name that is empty"},
                    {IL_ERR_FORMAT, "longer than 63"},
                    {IL_ERR_UNSUPPORTED, "tensor five: 5 dimensions, more than 4"},
                    {IL_ERR_FORMAT, "tensor zero: a dimension of 0"},
                    {IL_ERR_FORMAT, "tensor huge: its shape overflows"},
                    {IL_ERR_FORMAT, "tensor wide: its shape overflows"},
                    {IL_ERR_FORMAT, "tensor odd: rows of 33 entries are not whole blocks of Q8_0, 32 entries each"},
                    {IL_ERR_UNSUPPORTED, "tensor odd: type number 4 is none that is known"},
                    {IL_ERR_UNSUPPORTED, "tensor odd: type number 1000"},
                    {IL_ERR_FORMAT, "overlap those of tensor"},
                    {IL_ERR_FORMAT, "tensor aside: its place 8 is not a multiple of the alignment 32"},
                    {IL_ERR_FORMAT, "tensor behind: cut short, or damaged: 128 bytes from 64 on"},
                    {IL_ERR_FORMAT, "tensor far: cut short"},
                    {IL_ERR_FORMAT, "tensor gap: a gap of"}};
    for (int i = 0; i < (int)(sizeof expected / sizeof *expected); i++) {
        support_gguf file = {0};
        size_t bytes;
        fill(&file);
        spoil(&file, i);
        unsigned char *data = support_gguf_make(&file, &bytes);
        assert_fails(parse_copy(data, bytes), expected[i].status, error, expected[i].text);
        free(data);
    }
}

static void other_quantizations_are_refused_by_name(void **state) {
    (void)state;
    static const uint64_t shape[] = {1, 256};
    static const unsigned char block[144];
    float out[256];
    size_t bytes;
    support_gguf file = {0};
    support_gguf_tensor(&file, "w", 12, 2, shape, block, sizeof block);
    unsigned char *data = support_gguf_make(&file, &bytes);
    il_gguf g;
    assert_ok(il_gguf_parse(&scene.alloc.allocator, "mem", data, bytes, &g, &error), error);
    assert_fails(il_gguf_read(&g, &g.tensors[0], 0, 256, out, &error), IL_ERR_UNSUPPORTED, error,
                 "mem: tensor w: type Q4_K is not supported, only F32");
    il_gguf_close(&g);
    free(data);
}

static void files_that_are_not_gguf(void **state) {
    (void)state;
    il_gguf g;
    assert_true(il_gguf_is(FIXTURES "/gguf/tiny.gguf"));
    assert_false(il_gguf_is(FIXTURES "/gguf/expect.safetensors"));
    assert_false(il_gguf_is(FIXTURES "/gguf"));
    assert_false(il_gguf_is(FIXTURES "/gguf/none"));
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    none = (struct rlimit){.rlim_cur = 1, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    int is = il_gguf_is(FIXTURES "/gguf/tiny.gguf");
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_true(is); /* though there was no memory to map it */
    assert_fails(il_gguf_open(&scene.alloc.allocator, FIXTURES "/gguf/none", &g, &error), IL_ERR_IO, error, "none");
    assert_fails(il_gguf_open(&scene.alloc.allocator, FIXTURES "/gguf/meta.json", &g, &error), IL_ERR_FORMAT, error,
                 "meta.json: not a GGUF file");
}

static il_status open_once(const il_allocator *allocator, void *context, il_error *out) {
    il_gguf g;
    (void)context;
    il_status status = il_gguf_open(allocator, FIXTURES "/gguf/tiny.gguf", &g, out);
    if (!status) il_gguf_close(&g);
    return status;
}

static void failed_allocations(void **state) {
    (void)state;
    assert_true(support_alloc_fail_each(&scene.alloc, open_once, NULL) >= 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_are_read),
        cmocka_unit_test(every_type_of_tensor_is_read),
        cmocka_unit_test(blocks_are_read_by_their_definition),
        cmocka_unit_test(every_shorter_file_is_refused),
        cmocka_unit_test(versions),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(other_quantizations_are_refused_by_name),
        cmocka_unit_test(files_that_are_not_gguf),
        cmocka_unit_test(failed_allocations),
    };
    return cmocka_run_group_tests(tests, support_scene_begin_memory, support_scene_end_memory);
}
