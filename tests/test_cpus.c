/* test_cpus.c: how many processors may be used, on systems of any size. */
#include "support_test.h"

#include "base/cpus.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static size_t kernel_bytes; /* of the system's own mask */
static int usable;
static int failure; /* errno; 0: none */

/* As Linux does it: masks that are too short are refused. */
static int made_up(pid_t process, size_t bytes, cpu_set_t *mask) {
    (void)process;
    errno = failure ? failure : EINVAL;
    if (failure || bytes < kernel_bytes) return -1;
    memset(mask, 0, bytes);
    for (int i = 0; i < usable; i++) CPU_SET_S((size_t)(8 * (int)kernel_bytes - 1 - i), bytes, mask);
    return 0;
}

static void systems_of_any_size(void **unused) {
    (void)unused;
    const struct {
        size_t bytes;
        int usable;
    } systems[] = {{8, 1}, {8, 64}, {128, 1024}, {256, 2}, {256, 1025}, {1024, 8192}, {8192, 65536}};
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++) {
        kernel_bytes = systems[i].bytes;
        usable = systems[i].usable;
        assert_int_equal(il_cpus_counted(made_up), usable);
    }
}

/* Neither is an answer: what the system says otherwise. */
static void no_mask(void **unused) {
    (void)unused;
    int online = (int)sysconf(_SC_NPROCESSORS_ONLN);
    kernel_bytes = 1 << 20;
    assert_int_equal(il_cpus_counted(made_up), online);
    failure = ENOSYS;
    assert_int_equal(il_cpus_counted(made_up), online);
    assert_true(il_cpus_usable() >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(systems_of_any_size), cmocka_unit_test(no_mask)};
    return cmocka_run_group_tests_name("cpus", tests, NULL, NULL);
}
