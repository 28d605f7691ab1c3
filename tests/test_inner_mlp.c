/* test_inner_mlp.c: the rule of src/inner/mlp.c against the reference and against itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "inner/rules.h"
#include "support_inner.h"

static void forward(void **state) { (void)state, inner_check_forward(il_rule_of(IL_MIXER_TTT_MLP)); }
static void gradients(void **state) { (void)state, inner_check_gradients(il_rule_of(IL_MIXER_TTT_MLP)); }
static void splits(void **state) { (void)state, inner_check_splits(il_rule_of(IL_MIXER_TTT_MLP)); }
static void kernels(void **state) { (void)state, inner_check_kernels(il_rule_of(IL_MIXER_TTT_MLP)); }
static void garbage(void **state) { (void)state, inner_check_garbage(il_rule_of(IL_MIXER_TTT_MLP)); }
static void carry(void **state) { (void)state, inner_check_state(il_rule_of(IL_MIXER_TTT_MLP)); }
static void statistics(void **state) { (void)state, inner_check_statistics(il_rule_of(IL_MIXER_TTT_MLP)); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward), cmocka_unit_test(gradients), cmocka_unit_test(splits),     cmocka_unit_test(kernels),
        cmocka_unit_test(garbage), cmocka_unit_test(carry),     cmocka_unit_test(statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
