/* test_error.c: what ends up in an il_error. */
#include "support_test.h"

#include <errno.h>

#include "base/error.h"

static void status_and_text_are_filled(void **state) {
    (void)state;
    il_error error;
    assert_int_equal(il_fail(&error, IL_ERR_FORMAT, "%s: field %d", "file", 7), IL_ERR_FORMAT);
    assert_int_equal(error.status, IL_ERR_FORMAT);
    assert_string_equal(error.message, "file: field 7");
    assert_int_equal(il_fail(NULL, IL_ERR_ARG, "x"), IL_ERR_ARG);
    errno = ENOENT;
    assert_int_equal(il_fail_errno(&error, IL_ERR_IO, "a"), IL_ERR_IO);
    assert_string_equal(error.message, "a: No such file or directory");
    assert_int_equal(il_fail_errno(NULL, IL_ERR_IO, "a"), IL_ERR_IO);
}

static void a_message_is_one_line_of_utf8(void **state) {
    (void)state;
    il_error error;
    static const char *cases[][2] = {
        {"a\nb\tc\x1b[0m\x7f", "a\\x0Ab\\x09c\\x1B[0m\\x7F"},
        {"sch\xc3\xb6n \xe2\x82\xac \xf0\x9f\x98\x80", "sch\xc3\xb6n \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"cut \xe2\x82", "cut \\xE2\\x82"},
        {"\xff\xfe\x80\xc0\xaf", "\\xFF\\xFE\\x80\\xC0\\xAF"},
        {"\xed\xa0\x80 \xe0\x80\x80 \xf0\x80\x80\x80 \xf4\x90\x80\x80",
         "\\xED\\xA0\\x80 \\xE0\\x80\\x80 \\xF0\\x80\\x80\\x80 \\xF4\\x90\\x80\\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        il_fail(&error, IL_ERR_ARG, "%s", cases[i][0]);
        assert_string_equal(error.message, cases[i][1]);
    }
}

/* A path may be longer than a message: what is wrong with it stands at the end and stays. */
static void long_text_loses_its_middle(void **state) {
    (void)state;
    il_error error;
    char text[3901];
    for (size_t i = 0; i < sizeof text - 1; i++) text[i] = "\xe2\x82\xac"[i % 3];
    text[sizeof text - 1] = 0;
    for (int shift = 0; shift < 3; shift++) { /* the cuts fall on each byte of a character */
        errno = EIO;
        il_fail_errno(&error, IL_ERR_IO, "%.*s%s: cannot read", shift, "xxx", text);
        size_t n = strlen(error.message);
        assert_in_range(n, sizeof error.message - 8, sizeof error.message - 1);
        assert_null(strchr(error.message, '\\'));
        assert_non_null(strstr(error.message, "€…€"));
        assert_non_null(strstr(error.message, "€: cannot read: Input/output error"));
    }
    memset(text, 'x', sizeof text - 1);
    il_fail(&error, IL_ERR_ARG, "%.2000s: the end", text);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    assert_memory_equal(error.message, "xxxx", 4);
    assert_non_null(strstr(error.message, "x…x"));
    assert_string_equal(error.message + strlen(error.message) - 10, "x: the end");
    memset(text, '\1', 300); /* what is shown takes more room */
    il_fail(&error, IL_ERR_ARG, "%.300s", text);
    assert_int_equal(strlen(error.message), (sizeof error.message - 1) / 4 * 4);
}

static void every_status_has_a_name(void **state) {
    (void)state;
    for (int a = IL_OK; a <= IL_ERR_END; a++) {
        assert_non_null(il_status_name((il_status)a));
        assert_string_not_equal(il_status_name((il_status)a), "unknown status");
        for (int b = IL_OK; b < a; b++)
            assert_string_not_equal(il_status_name((il_status)a), il_status_name((il_status)b));
    }
    assert_string_equal(il_status_name((il_status)(IL_ERR_END + 1)), "unknown status");
    assert_string_equal(il_version(), "0.1.0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_and_text_are_filled),
        cmocka_unit_test(a_message_is_one_line_of_utf8),
        cmocka_unit_test(long_text_loses_its_middle),
        cmocka_unit_test(every_status_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
