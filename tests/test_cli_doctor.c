/* test_cli_doctor.c: `innerloop doctor`: that this machine passes, that what it says follows the options and IL_CPU,
 * and that a checksum which is not the expected one is noticed. */
#include "support_test.h"

#include "support_cli.h"
#include "support_files.h"

#include <stdlib.h>

static size_t count(const json_t *object, const char *key) { return json_array_size(json_object_get(object, key)); }

/* A report of a machine on which one model's losses are others; of an older version, without the other models. */
static void write_bent(void) {
    static const char bent[] =
        "{\"checks\": [{\"model\": \"ttt_linear transformer\", \"losses\": \"0123456789abcdef\"}]}";
    support_write("bent.json", bent, sizeof bent - 1);
}

/* The machine as it is, held against that report; its own is kept in there.json. */
static void test_what_differs_is_noticed(void **state) {
    (void)state;
    write_bent();
    support_run run = support_cli(NULL, "doctor --threads 3 --against bent.json --json");
    assert_int_equal(run.code, 1);
    assert_non_null(strstr(run.err, "checks failed, first ttt_linear transformer on portable, 1 thread: losses "));
    assert_non_null(strstr(run.err, "but 0123456789abcdef in bent.json"));
    json_t *object = json_loads(run.out, 0, NULL);
    assert_true(json_is_false(json_object_get(object, "passed")));
    assert_int_equal(support_number(object, "threads"), 3);
    assert_true(support_string(object, "cpu")[0] != 0);
    assert_true(support_number(object, "memory_bytes") > support_number(object, "memory_available_bytes"));
    assert_true(support_number(object, "limits.gflops_kernel") > 0 && support_number(object, "limits.read_gb_s") > 0);
    size_t usable = count(object, "kernels_usable"), n = count(object, "checks"), several = 0, failed = 0;
    int weights[4] = {0}, bundled[4] = {0};
    assert_string_equal(json_string_value(json_array_get(json_object_get(object, "kernels_usable"), 0)), "portable");
    assert_string_equal(json_string_value(json_array_get(json_object_get(object, "kernels_usable"), usable - 1)),
                        support_string(object, "kernels")); /* the best one */
    assert_int_equal(n, usable * 2 * 17);
    for (size_t i = 0; i < n; i++) {
        json_t *check = json_array_get(json_object_get(object, "checks"), i);
        int passed = json_is_true(json_object_get(check, "passed"));
        assert_int_equal(passed, strcmp(support_string(check, "model"), "ttt_linear transformer") != 0);
        failed += !passed;
        assert_int_equal(strlen(support_string(check, "logits")), 16);
        assert_true(json_is_true(json_object_get(check, "written_down")));
        int fast = json_is_true(json_object_get(check, "fast_head")), type = IL_WEIGHTS_F32;
        while (strcmp(support_string(check, "weights"), il_weight_type_name((il_weight_type)type)) != 0) type++;
        weights[type] = 1;
        bundled[type] |= fast && !strncmp(support_string(check, "model"), "ttt_linear_decay", 16);
        assert_int_equal(json_is_null(json_object_get(check, "gradient")), fast || type != IL_WEIGHTS_F32);
        several += support_number(check, "threads") == 3;
    }
    assert_int_equal(several, n / 2);
    assert_int_equal(failed, usable * 2); /* what it computes is what is written down; only the report says otherwise */
    for (int type = 0; type < 4; type++) assert_true(weights[type] && bundled[type]); /* all a model can be held as */
    assert_int_equal(json_dump_file(object, "there.json", 0), 0);
    json_decref(object);
    support_run_free(&run);
}

/* Against its own report it passes, whatever kernels IL_CPU says. */
static void test_passes(void **state) {
    (void)state;
    assert_int_equal(setenv("IL_CPU", "portable", 1), 0);
    char *text = support_done("doctor --against there.json");
    assert_non_null(strstr(text, "self-test  passed"));
    static const char *const said[] = {"kernels    portable, as IL_CPU says\n",
                                       "bits of every other machine in\n",
                                       "ttt_linear_decay mamba, fast head, bf16\n",
                                       "self_attention\n",
                                       "self_attention, grouped heads, int4\n",
                                       "by the kernels portable",
                                       "calls of 23 tokens with 2"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) assert_non_null(strstr(text, said[i]));
    free(text);
    assert_int_equal(setenv("IL_CPU", "abacus", 1), 0);
    support_refused(1, "kernels \"abacus\": unknown", "doctor");
    assert_int_equal(unsetenv("IL_CPU"), 0);
}

static void test_wrong_use(void **state) {
    (void)state;
    support_write("no.json", "{\"rows\": []}", 12);
    support_refused(1, "no.json: not a report of doctor --json", "doctor --against no.json");
    support_write("no.json", "{", 1);
    support_refused(1, "no.json: ", "doctor --against no.json");
    support_refused(1, "nowhere.json: No such file", "doctor --against nowhere.json");
    support_refused(2, "unexpected operand 'x'", "doctor x");
    char *help = support_done("doctor --help");
    assert_non_null(strstr(help, "example:\n  innerloop doctor"));
    free(help);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_differs_is_noticed),
        cmocka_unit_test(test_passes),
        cmocka_unit_test(test_wrong_use),
    };
    unsetenv("IL_CPU"); /* the suite itself may run with it */
    return cmocka_run_group_tests_name("cli doctor", tests, support_cli_begin, support_cli_end);
}
