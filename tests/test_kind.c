/* test_kind.c: what a file is by its first bytes, where that can be told. */
#include "support_test.h"

#include "base/kind.h"

static void kinds(void **unused) {
    (void)unused;
#define CASE(bytes, kind)                                                                                              \
    { bytes, sizeof bytes - 1, kind }
    static const struct {
        const char *data;
        size_t bytes;
        const char *kind;
    } cases[] = {
        CASE("", NULL),
        CASE("a", "text"),
        CASE("int f() { return 0; }\n", "text"), /* a { in the ninth place */
        CASE("\xC3\xA9t\xC3\xA9\r\n\tx\f", "text"),
        CASE("\xC3", NULL),
        CASE("a\0b", NULL),
        CASE("a\x1b[0m", NULL),
        CASE("ILC\x1a\1", "a file compressed by innerloop"),
        CASE("\x1f\x8b\x08", "data compressed by gzip"),
        CASE("\x28\xb5\x2f\xfd", "data compressed by zstd"),
        CASE("\x93NUMPY\1", "a NumPy array"),
        CASE("\x88\xd8\x34\x01\1", "a token shard"),
        CASE("\xa1\xd9\x34\x01\7", "a token shard"),
        CASE("\x0a\x0e\x0a\x05<unk>", "a SentencePiece tokenizer"),
        CASE("\x0a\x0e\x0a\x05<un", NULL),
        CASE("\x10\0\0\0\0\0\0\0{", IL_KIND_TENSORS),
        CASE("\x10\0\0\0\0\0\0\0", NULL),
        CASE("\x7f"
             "ELF",
             NULL),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *kind = il_kind_of(cases[i].data, cases[i].bytes);
        if (cases[i].kind)
            assert_string_equal(kind ? kind : "nothing", cases[i].kind);
        else
            assert_null(kind);
    }
}

/* A character that is cut in two where looking ends is none the less text. */
static void long_text(void **unused) {
    (void)unused;
    char text[2001] = "a";
    for (size_t i = 1; i < sizeof text; i += 2) memcpy(text + i, "\xC3\xA9", 2);
    assert_string_equal(il_kind_of(text, 601), "text");
    assert_string_equal(il_kind_of(text + 1, 600), "text");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kinds), cmocka_unit_test(long_text)};
    return cmocka_run_group_tests_name("kind", tests, NULL, NULL);
}
