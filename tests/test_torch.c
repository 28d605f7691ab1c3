/* test_torch.c: the reader of torch's files: tensors of any stride, what is shared, archives and pickles that lie. That
 * it reads what torch writes is in test_checkpoints.c. */
#include "support_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "support_scene.h"
#include "tensor/torch.h"

static il_error error;

/* ---- archives ---- */

enum { ROOM = 1 << 16 };

/* An archive that is being written: its files, and behind them their directory. */
typedef struct archive {
    unsigned char data[ROOM], listed[ROOM];
    size_t n, n_listed, files;
    unsigned method, flags;     /* of the next file */
    size_t more, place, long64; /* added to the size that is said; to the place; all of it is said in long numbers */
} archive;

static void put(unsigned char *at, size_t *n, const void *data, size_t bytes) {
    assert_true(*n + bytes <= ROOM);
    memcpy(at + *n, data, bytes);
    *n += bytes;
}

static void put_number(unsigned char *at, size_t *n, uint64_t x, size_t bytes) {
    uint64_t number[2] = {x, 0};
    put(at, n, number, bytes);
}

static void add_file(archive *a, const char *name, const void *data, size_t bytes) {
    size_t place = a->n + a->place, said = bytes + a->more, length = strlen(name);
    put(a->data, &a->n, "PK\3\4\24\0", 6);
    put_number(a->data, &a->n, a->flags, 2);
    put_number(a->data, &a->n, a->method, 2);
    put_number(a->data, &a->n, 0, 8); /* time, date, checksum */
    put_number(a->data, &a->n, said, 4);
    put_number(a->data, &a->n, said, 4);
    put_number(a->data, &a->n, length, 2);
    put_number(a->data, &a->n, 4, 2);
    put(a->data, &a->n, name, length);
    put(a->data, &a->n, "FB\0\0", 4); /* as torch pads */
    put(a->data, &a->n, data, bytes);
    put(a->listed, &a->n_listed, "PK\1\2\24\0\24\0", 8);
    put_number(a->listed, &a->n_listed, a->flags, 2);
    put_number(a->listed, &a->n_listed, a->method, 2);
    put_number(a->listed, &a->n_listed, 0, 8);
    put_number(a->listed, &a->n_listed, a->long64 ? UINT32_MAX : said, 4);
    put_number(a->listed, &a->n_listed, a->long64 ? UINT32_MAX : said, 4);
    put_number(a->listed, &a->n_listed, length, 2);
    put_number(a->listed, &a->n_listed, a->long64 ? 28 : 0, 2);
    put_number(a->listed, &a->n_listed, 0, 10);
    put_number(a->listed, &a->n_listed, a->long64 ? UINT32_MAX : place, 4);
    put(a->listed, &a->n_listed, name, length);
    if (a->long64) {
        put_number(a->listed, &a->n_listed, 24 << 16 | 1, 4);
        put_number(a->listed, &a->n_listed, said, 8);
        put_number(a->listed, &a->n_listed, said, 8);
        put_number(a->listed, &a->n_listed, place, 8);
    }
    a->files++;
}

/* count: how many files it says there are. */
static void end_archive(archive *a, size_t count) {
    size_t directory = a->n;
    put(a->data, &a->n, a->listed, a->n_listed);
    if (a->long64) {
        size_t record = a->n;
        put(a->data, &a->n, "PK\6\6", 4);
        put_number(a->data, &a->n, 44, 8);
        put_number(a->data, &a->n, 0, 12);
        put_number(a->data, &a->n, count, 8);
        put_number(a->data, &a->n, count, 8);
        put_number(a->data, &a->n, a->n_listed, 8);
        put_number(a->data, &a->n, directory, 8);
        put(a->data, &a->n, "PK\6\7\0\0\0\0", 8);
        put_number(a->data, &a->n, record, 8);
        put_number(a->data, &a->n, 1, 4);
    }
    put(a->data, &a->n, "PK\5\6\0\0\0\0", 8);
    put_number(a->data, &a->n, a->long64 ? UINT16_MAX : count, 2);
    put_number(a->data, &a->n, a->long64 ? UINT16_MAX : count, 2);
    put_number(a->data, &a->n, a->n_listed, 4);
    put_number(a->data, &a->n, a->long64 ? UINT32_MAX : directory, 4);
    put_number(a->data, &a->n, 0, 2);
}

static il_torch torch;

static void expect_refused(const archive *a, il_status status, const char *why) {
    assert_fails(il_torch_parse(&scene.alloc.allocator, "x", a->data, a->n, &torch, &error), status, error, why);
    assert_true(torch.n == 0 && !torch.tensors);
}

/* ---- pickles ---- */

#define TENSOR "ctorch._utils\n_rebuild_tensor_v2\n"
#define STORAGE(key, count) "(X\7\0\0\0storagectorch\nFloatStorage\nU\1" key "U\3cpuK" count "tQ"
/* {"w": a tensor of 2 x 3 numbers of storage 0, of 6} */
#define GOOD "\x80\2}q\0(X\1\0\0\0w" TENSOR "(" STORAGE("0", "\6") "K\0K\2K\3\x86K\3K\1\x86\x89)tRu."

static const float numbers[] = {1, 2, 3, 4, 5, 6};

static void make(archive *a, const char *pickle, size_t bytes) {
    *a = (archive){.n = 0};
    add_file(a, "m/data.pkl", pickle, bytes);
    add_file(a, "m/data/0", numbers, sizeof numbers);
    end_archive(a, 2);
}
#define MAKE(a, pickle) make(a, pickle, sizeof(pickle) - 1)

#define REFUSED(pickle, status, why)                                                                                   \
    do {                                                                                                               \
        archive made;                                                                                                  \
        MAKE(&made, pickle);                                                                                           \
        expect_refused(&made, status, why);                                                                            \
    } while (0)

static void tensors_of_any_stride(void **state) {
    (void)state;
    archive a;
    float out[6];
    MAKE(&a, GOOD);
    assert_ok(il_torch_parse(&scene.alloc.allocator, "x", a.data, a.n, &torch, &error), error);
    assert_int_equal(torch.n, 1);
    assert_string_equal(torch.tensors[0].name, "w");
    assert_true(il_torch_is_whole(&torch, 0) && torch.tensors[0].bytes == sizeof numbers);
    assert_memory_equal(torch.tensors[0].data, numbers, sizeof numbers);
    il_torch_close(&torch);
    /* transposed; one row of three, repeated by a stride of 0; the last two of them; no dimension */
    MAKE(&a, "\x80\2}(X\1\0\0\0w" TENSOR
             "(" STORAGE("0", "\6") "K\0K\3K\2\x86K\1K\3\x86\x89)tR"
                                    "X\1\0\0\0v" TENSOR
                                    "(" STORAGE("0", "\6") "K\3K\2K\3\x86K\0K\1\x86\x89)tR"
                                                           "X\1\0\0\0z" TENSOR "(" STORAGE(
                                                               "0", "\6") "K\4K\2\x85K\1\x85\x89)tR"
                                                                          "X\1\0\0\0s" TENSOR "(" STORAGE(
                                                                              "0", "\6") "K\2))\x89)tRX\1\0\0\0nK\7u.");
    assert_ok(il_torch_parse(&scene.alloc.allocator, "x", a.data, a.n, &torch, &error), error);
    assert_true(torch.n == 4 && torch.skipped == 1);
    static const struct {
        const char *name;
        size_t n;
        float want[6];
        int whole;
    } expected[] = {
        {"s", 1, {3}, 1}, {"v", 6, {4, 5, 6, 4, 5, 6}, 0}, {"w", 6, {1, 4, 2, 5, 3, 6}, 0}, {"z", 2, {5, 6}, 1}};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(torch.tensors[i].name, expected[i].name);
        assert_int_equal(il_torch_find(&torch, expected[i].name), i);
        assert_int_equal(torch.tensors[i].count, expected[i].n);
        assert_int_equal(il_torch_is_whole(&torch, i), expected[i].whole);
        il_torch_read(&torch, i, 0, expected[i].n, out);
        assert_memory_equal(out, expected[i].want, expected[i].n * sizeof *out);
        il_torch_read(&torch, i, expected[i].n - 1, 1, out);
        assert_true(out[0] == expected[i].want[expected[i].n - 1]);
    }
    assert_int_equal(il_torch_find(&torch, "x"), 4);
    il_torch_close(&torch);
}

/* What a parameter, an ordered dictionary with attributes, and memory of values add. */
static void what_torch_also_writes(void **state) {
    (void)state;
    archive a;
    MAKE(&a, "\x80\2ccollections\nOrderedDict\nq\0)Rq\1(X\1\0\0\0wctorch._utils\n_rebuild_parameter\n" TENSOR
             "(" STORAGE("0", "\6") "K\0\x8a\1\6\x85J\1\0\0\0\x85\x89h\0)\x81tR\x88h\0)R\x87R"
                                    "X\1\0\0\0vh\1u}X\11\0\0\0_metadatah\0)Rsb.");
    expect_refused(&a, IL_ERR_UNSUPPORTED, "its entry v is a dictionary");
    MAKE(&a, "\x80\2ccollections\nOrderedDict\nq\0)Rq\1(X\1\0\0\0wctorch._utils\n_rebuild_parameter\n" TENSOR
             "(" STORAGE("0", "\6") "K\0\x8a\1\6\x85J\1\0\0\0\x85\x89h\0)\x81tR\x88h\0)R\x87R"
                                    "X\1\0\0\0vNu}X\11\0\0\0_metadatah\0)Rsb.");
    assert_ok(il_torch_parse(&scene.alloc.allocator, "x", a.data, a.n, &torch, &error), error);
    assert_true(torch.n == 1 && torch.tensors[0].count == 6 && torch.tensors[0].rank == 1);
    il_torch_close(&torch);
}

static void nothing_is_executed(void **state) {
    (void)state;
    REFUSED("\x80\2cos\nsystem\nX\4\0\0\0true\x85R.", IL_ERR_UNSUPPORTED, "asks for os.system");
    REFUSED("\x80\2c__builtin__\neval\n(X\1\0\0\0"
            "1tR.",
            IL_ERR_UNSUPPORTED, "asks for __builtin__.eval");
    REFUSED("\x80\2(ios\nsystem\n.", IL_ERR_UNSUPPORTED, "the opcode INST");
    REFUSED("\x80\2X\2\0\0\0osX\6\0\0\0system\x93.", IL_ERR_UNSUPPORTED, "the opcode STACK_GLOBAL");
    REFUSED("\x80\2S'x'\n.", IL_ERR_UNSUPPORTED, "the opcode STRING");
    REFUSED("\x80\2}0.", IL_ERR_UNSUPPORTED, "the opcode POP");
    REFUSED("\x80\2}2.", IL_ERR_UNSUPPORTED, "the opcode DUP");
    REFUSED("\x80\2}\x82\1.", IL_ERR_UNSUPPORTED, "the opcode EXT1");
    REFUSED("\x80\2}Pid\n.", IL_ERR_UNSUPPORTED, "the opcode PERSID");
    REFUSED("\x80\4\x95\0\0\0\0\0\0\0\0}.", IL_ERR_UNSUPPORTED, "protocol 4");
    REFUSED("\x80\2\xff.", IL_ERR_FORMAT, "255 is no opcode");
    REFUSED("\x80\2ctorch\nFloatStorage\n)R.", IL_ERR_FORMAT, "a storage that is made");
    REFUSED("\x80\2K\1)R.", IL_ERR_FORMAT, "what is called is no name");
}

static void pickles_that_lie(void **state) {
    (void)state;
    REFUSED("", IL_ERR_FORMAT, "does not begin with a protocol");
    REFUSED("\x80\2}", IL_ERR_FORMAT, "ends without STOP");
    REFUSED("\x80\2.", IL_ERR_FORMAT, "more or less than one value");
    REFUSED("\x80\2}}.", IL_ERR_FORMAT, "more or less than one value");
    REFUSED("\x80\2K\1.", IL_ERR_UNSUPPORTED, "no dictionary of tensors");
    REFUSED("\x80\2X\xff\xff\xff\xffw.", IL_ERR_FORMAT, "a text reaches past its end");
    REFUSED("\x80\2cabc", IL_ERR_FORMAT, "a name reaches past its end");
    REFUSED("\x80\2h\0.", IL_ERR_FORMAT, "never kept");
    REFUSED("\x80\2}r\xff\xff\xff\x7f.", IL_ERR_FORMAT, "not the next one");
    REFUSED("\x80\2q\0.", IL_ERR_FORMAT, "nothing to be kept");
    REFUSED("\x80\2\x8a\x09", IL_ERR_FORMAT, "too long");
    REFUSED("\x80\2t.", IL_ERR_FORMAT, "a tuple without a beginning");
    REFUSED("\x80\2K\1\x87.", IL_ERR_FORMAT, "more values than there are");
    REFUSED("\x80\2}(K\1u.", IL_ERR_FORMAT, "a key without a value");
    REFUSED("\x80\2K\1K\1K\1s.", IL_ERR_FORMAT, "values that go nowhere");
    REFUSED("\x80\2}K\1a.", IL_ERR_FORMAT, "values that go nowhere");
    REFUSED("\x80\2u.", IL_ERR_FORMAT, "values that go nowhere");
    REFUSED("\x80\2K\1K\1b.", IL_ERR_FORMAT, "attributes");
    REFUSED("\x80\2K\1Q.", IL_ERR_FORMAT, "not to a storage");
    REFUSED("\x80\2}K\1K\1s.", IL_ERR_FORMAT, "a key that is no name");
    REFUSED("\x80\2}(X\1\0\0\0w" TENSOR "(" STORAGE("0", "\6") "K\0K\2\x85K\1\x85tRu.", IL_ERR_FORMAT,
            "another number of parts");
    REFUSED("\x80\2}(X\1\0\0\0w" TENSOR "(" STORAGE("0", "\6") "K\0K\2\x85K\1K\1\x86\x89)tRu.", IL_ERR_FORMAT,
            "a place or a shape");
    REFUSED("\x80\2}(X\1\0\0\0w" TENSOR "(" STORAGE("0", "\6") "K\0J\xff\xff\xff\xff\x85K\1\x85\x89)tRu.",
            IL_ERR_FORMAT, "whose shape cannot be");
    /* inside the pickle all is well; the storage is smaller, elsewhere, or of another size */
    REFUSED("\x80\2}(X\1\0\0\0w" TENSOR "(" STORAGE("0", "\6") "K\1K\2K\3\x86K\3K\1\x86\x89)tRu.", IL_ERR_FORMAT,
            "reaches to entry 6 of a storage of 6");
    REFUSED("\x80\2}(X\1\0\0\0w" TENSOR "(" STORAGE("0", "\7") "K\0K\1\x85K\1\x85\x89)tRu.", IL_ERR_FORMAT,
            "has 24 bytes");
    REFUSED("\x80\2}(X\1\0\0\0w" TENSOR "(" STORAGE("1", "\6") "K\0K\1\x85K\1\x85\x89)tRu.", IL_ERR_FORMAT,
            "not in the archive");
    REFUSED("\x80\2}(X\1\0\0\0w" TENSOR
            "(" STORAGE("0", "\6") "K\0\x8a\10\0\0\0\0\0\0\0\x40\x8a\10\0\0\0\0\0\0\0\x40\x86K\1K\1\x86\x89)tRu.",
            IL_ERR_FORMAT, "its shape cannot be");
    REFUSED("\x80\2}(X\1\0\0\0w" TENSOR
            "(" STORAGE("0", "\6") "K\0K\2\x85\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f\x85\x89)tRu.",
            IL_ERR_FORMAT, "reaches to entry");
    REFUSED("\x80\2}(X\1\0\0\0w" TENSOR
            "(" STORAGE("0", "\6") "K\0(K\1K\1K\1K\1K\1K\1K\1K\1K\1t(K\1K\1K\1K\1K\1K\1K\1K\1K\1t"
                                   "\x89)tRu.",
            IL_ERR_UNSUPPORTED, "more than 8 dimensions");
    REFUSED("\x80\2}(X\1\0\0\0w" TENSOR "(" STORAGE("0", "\6") "K\0K\2\x85K\1\x85\x89)tRq\0X\1\0\0\0wh\0u.",
            IL_ERR_FORMAT, "is there twice");
}

/* A few bytes that ask for much: lists in lists, values that are kept and taken again, tuples of tuples of tuples. */
static void bombs_cost_their_bytes(void **state) {
    (void)state;
    enum { BYTES = 60000 };
    static char bomb[BYTES];
    archive a;
    for (int kind = 0; kind < 4; kind++) {
        static const char *const parts[] = {"]", "(", "h\0h\0\x86q\0", "h\0"};
        size_t length = kind == 2 ? 7 : strlen(parts[kind]) + (kind == 3), n = 5;
        memcpy(bomb, "\x80\2}q\0", 5);
        while (n + length < BYTES) {
            memcpy(bomb + n, parts[kind], length);
            n += length;
        }
        bomb[n++] = '.';
        make(&a, bomb, n);
        scene.alloc.peak_bytes = 0;
        expect_refused(&a, IL_ERR_FORMAT, "more or less than one value");
        assert_true(scene.alloc.peak_bytes < 200 * BYTES);
    }
}

static void archives_that_lie(void **state) {
    (void)state;
    archive a;
    il_torch_parse(&scene.alloc.allocator, "x", "", 0, &torch, &error);
    assert_non_null(strstr(error.message, "not a file of torch's"));
    static const char old[] = "\x80\2\x8a\12l\xfc\x9c"
                              "F\xf9 j\xa8P\x19.";
    assert_fails(il_torch_parse(&scene.alloc.allocator, "x", old, sizeof old, &torch, &error), IL_ERR_UNSUPPORTED,
                 error, "before 1.6");
    MAKE(&a, GOOD);
    for (size_t n = 0; n < a.n; n++) { /* cut short anywhere */
        assert_int_not_equal(il_torch_parse(&scene.alloc.allocator, "x", a.data, n, &torch, &error), IL_OK);
    }
    /* deflated, encrypted, larger than it is, elsewhere; no directory of torch's */
    static const struct {
        unsigned method, flags;
        size_t more, place, count;
        const char *why;
    } lies[] = {{8, 0, 0, 0, 2, "are compressed (method 8)"},    {0, 1, 0, 0, 2, "are encrypted"},
                {0, 0, 1 << 20, 0, 2, "reaches past"},           {0, 0, 0, 5, 2, "not where its directory says"},
                {0, 0, 0, 0, 1, "more entries than it says"},    {0, 0, 0, 0, 3, "fewer entries than it says"},
                {0, 0, 0, 0, 9999, "fewer entries than it says"}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        a = (archive){.n = 0};
        add_file(&a, "m/data.pkl", GOOD, sizeof GOOD - 1);
        a.method = lies[i].method;
        a.flags = lies[i].flags;
        a.more = lies[i].more;
        a.place = lies[i].place;
        add_file(&a, "m/data/0", numbers, sizeof numbers);
        end_archive(&a, lies[i].count);
        assert_int_not_equal(il_torch_parse(&scene.alloc.allocator, "x", a.data, a.n, &torch, &error), IL_OK);
        if (!strstr(error.message, lies[i].why)) fail_msg("\"%s\" lacks \"%s\"", error.message, lies[i].why);
    }
    a = (archive){.n = 0};
    add_file(&a, "readme", "x", 1);
    end_archive(&a, 1);
    expect_refused(&a, IL_ERR_FORMAT, "no data.pkl");
    for (int twice = 0; twice < 2; twice++) { /* the same bytes, or the same name, of two files */
        a = (archive){.n = 0};
        add_file(&a, "m/data.pkl", GOOD, sizeof GOOD - 1);
        size_t listed = a.n_listed;
        add_file(&a, "m/data/0", numbers, sizeof numbers);
        if (twice)
            add_file(&a, "m/data/0", numbers, sizeof numbers);
        else
            put(a.listed, &a.n_listed, a.listed + listed, a.n_listed - listed);
        end_archive(&a, 3);
        expect_refused(&a, IL_ERR_FORMAT, twice ? "one name" : "overlap");
    }
    a = (archive){.n = 0};
    add_file(&a, "m/data.pkl", GOOD, sizeof GOOD - 1);
    add_file(&a, "m/data/0", numbers, sizeof numbers);
    add_file(&a, "m/byteorder", "big", 3);
    end_archive(&a, 3);
    expect_refused(&a, IL_ERR_UNSUPPORTED, "byteorder");
    a = (archive){.n = 0};
    add_file(&a, "m/data.pkl", GOOD, sizeof GOOD - 1);
    add_file(&a, "m/constants.pkl", "", 0);
    end_archive(&a, 2);
    expect_refused(&a, IL_ERR_UNSUPPORTED, "TorchScript");
}

/* As archives of more than 4 GiB are written, whose numbers must not lie either. */
static void long_archives(void **state) {
    (void)state;
    for (int lie = 0; lie < 3; lie++) {
        archive a = {.long64 = 1};
        add_file(&a, "m/data.pkl", GOOD, sizeof GOOD - 1);
        if (lie == 1) a.more = SIZE_MAX / 2;
        if (lie == 2) a.place = SIZE_MAX / 2;
        add_file(&a, "m/data/0", numbers, sizeof numbers);
        end_archive(&a, 2);
        il_status status = il_torch_parse(&scene.alloc.allocator, "x", a.data, a.n, &torch, &error);
        assert_int_equal(status, lie ? IL_ERR_FORMAT : IL_OK);
        if (!lie) assert_int_equal(torch.n, 1);
        il_torch_close(&torch);
    }
    archive a = {.long64 = 1};
    add_file(&a, "m/data.pkl", GOOD, sizeof GOOD - 1);
    end_archive(&a, (size_t)1 << 40);
    expect_refused(&a, IL_ERR_UNSUPPORTED, "more than 65536 files");
}

static il_status attempt(const il_allocator *allocator, void *context, il_error *why) {
    const archive *a = context;
    il_torch made;
    il_status status = il_torch_parse(allocator, "x", a->data, a->n, &made, why);
    if (!status) il_torch_close(&made);
    return status;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    archive a;
    MAKE(&a, GOOD);
    assert_true(support_alloc_fail_each(&scene.alloc, attempt, &a) > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_of_any_stride),  cmocka_unit_test(what_torch_also_writes),
        cmocka_unit_test(nothing_is_executed),    cmocka_unit_test(pickles_that_lie),
        cmocka_unit_test(bombs_cost_their_bytes), cmocka_unit_test(archives_that_lie),
        cmocka_unit_test(long_archives),          cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, support_scene_begin_memory, support_scene_end_memory);
}
