/* test_machine.c: what the command reads of the system, from made-up files: energy counters, the CPU's name, memory. */
#include "support_test.h"

#include "../cli/bench/energy.c"
#include "../cli/bench/machine.c"
#include "support_files.h"

#include <sys/stat.h>

static char *folder;

static int begin(void **state) {
    (void)state;
    folder = support_folder_make();
    return 0;
}
static int end(void **state) {
    (void)state;
    support_folder_remove(folder);
    return 0;
}

static void put(const char *name, const char *text) { support_write(support_path(folder, name), text, strlen(text)); }

static void put_zone(const char *zone, const char *name, const char *counter, const char *range) {
    char path[128];
    mkdir(support_path(folder, zone), 0777);
    snprintf(path, sizeof path, "%s/name", zone);
    put(path, name);
    snprintf(path, sizeof path, "%s/energy_uj", zone);
    put(path, counter);
    snprintf(path, sizeof path, "%s/max_energy_range_uj", zone);
    if (range) put(path, range);
}

static void assert_joules(energy *e, double joules) {
    double taken = energy_take(e);
    if (!(fabs(taken - joules) < 1e-9)) fail_msg("%.9f J, not %.9f", taken, joules);
}

static void test_energy(void **state) {
    (void)state;
    energy e;
    energy_open(&e, support_path(folder, "none"));
    assert_int_equal(e.n, 0);
    assert_non_null(strstr(e.reason, "none: No such file or directory"));
    assert_true(isnan(energy_take(&e)));

    put("control", "not a zone");
    energy_open(&e, folder);
    assert_int_equal(e.n, 0);
    assert_non_null(strstr(e.reason, "no zone of a package"));

    put_zone("intel-rapl:0", "package-0\n", "1000000\n", "5000000\n");
    put_zone("intel-rapl:0:0", "core\n", "10000000\n", "5000000\n"); /* inside the package */
    put_zone("intel-rapl:0:1", "dram\n", "500000\n", NULL);
    put_zone("intel-rapl:1", "package-1\n", "7\n", "5000000\n");
    put_zone("intel-rapl-mmio:0", "package-0\n", "1000000\n", "5000000\n"); /* the same package */
    energy_open(&e, folder);
    assert_int_equal(e.n, 3);
    assert_string_equal(e.reason, "");
    assert_joules(&e, 0);
    put("intel-rapl:0/energy_uj", "3000000\n");
    put("intel-rapl:0:0/energy_uj", "99000000\n");
    put("intel-rapl:0:1/energy_uj", "1500000\n");
    put("intel-rapl:1/energy_uj", "250007\n");
    put("intel-rapl-mmio:0/energy_uj", "99000000\n");
    assert_joules(&e, 2 + 1 + 0.25);
    assert_joules(&e, 0);
    put("intel-rapl:0/energy_uj", "1000000\n");  /* began again: 3 to 5, and 1 more */
    put("intel-rapl:0:1/energy_uj", "500000\n"); /* the same with no range given: at least what it shows */
    assert_joules(&e, 3 + 0.5);

    put("intel-rapl:1/energy_uj", "many\n");
    assert_true(isnan(energy_take(&e)));
    assert_non_null(strstr(e.reason, "intel-rapl:1/energy_uj: Invalid argument"));
    put("intel-rapl:1/energy_uj", "250008\n");
    assert_true(isnan(energy_take(&e))); /* half a measurement is none */
    put("intel-rapl:0/energy_uj", "");
    energy_open(&e, folder);
    assert_int_equal(e.n, 0);
    assert_non_null(strstr(e.reason, "intel-rapl:0/energy_uj: "));
}

static const char *cpu_name(const char *cpuinfo, const char *model) {
    static char name[256];
    put("cpuinfo", cpuinfo);
    if (model)
        put("model", model);
    else
        remove(support_path(folder, "model"));
    machine_cpu_name(support_path(folder, "cpuinfo"), support_path(folder, "model"), name, sizeof name);
    return name;
}

static void test_cpu_name(void **state) {
    (void)state;
    assert_string_equal(cpu_name("processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7R13\ncpu MHz\t: 2\n", NULL),
                        "AMD EPYC 7R13");
    static const char two[] = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\n"
                              "processor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\n"
                              "processor\t: 2\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n";
    assert_string_equal(cpu_name(two, NULL), "Cortex-A55 + Cortex-A76");
    assert_string_equal(cpu_name(two, "Board 5"), "Board 5 (Cortex-A55 + Cortex-A76)");
    assert_string_equal(cpu_name("CPU implementer\t: 0x41\nCPU part\t: 0xd47\nCPU part\t: 0xd41\n", NULL),
                        "Cortex-A710 + Cortex-A78");
    assert_string_equal(cpu_name("CPU implementer\t: 0x53\nCPU part\t: 0x001\n", NULL), "AArch64 core 0x53/0x001");
    assert_string_equal(cpu_name("nothing\n", "Board 5\n"), "Board 5");
    assert_string_equal(cpu_name("model name\n", NULL), "unknown");
    char name[16];
    machine_cpu_name("/nowhere", "/nowhere", name, sizeof name);
    assert_string_equal(name, "unknown");
    put("cpuinfo", "model name\t: a name that is much too long\n");
    machine_cpu_name(support_path(folder, "cpuinfo"), "/nowhere", name, sizeof name);
    assert_string_equal(name, "a name that is ");
}

static void test_features(void **state) {
    (void)state;
    char features[64];
    put("cpuinfo", "model name\t: x\nflags\t\t: fpu avx2x sse avx2 fma avx512f\nflags\t\t: sve\n");
    machine_features(support_path(folder, "cpuinfo"), features, sizeof features);
    assert_string_equal(features, "avx2 fma avx512f");
    machine_features(support_path(folder, "cpuinfo"), features, 9);
    assert_string_equal(features, "avx2 fma"); /* whole words only */
    put("cpuinfo", "processor\t: 0\nFeatures\t: fp asimd i8mm\n");
    machine_features(support_path(folder, "cpuinfo"), features, sizeof features);
    assert_string_equal(features, "asimd i8mm");
    machine_features("/nowhere", features, sizeof features);
    assert_string_equal(features, "");
}

static void test_memory(void **state) {
    (void)state;
    uint64_t total, available;
    put("meminfo", "MemTotal:       24556448 kB\nMemFree:  1 kB\nMemAvailable:   21543212 kB\n");
    machine_memory(support_path(folder, "meminfo"), &total, &available);
    assert_true(total == (uint64_t)24556448 << 10 && available == (uint64_t)21543212 << 10);
    machine_memory("/nowhere", &total, &available);
    assert_true(total == 0 && available == 0);
}

/* What the group and those around it leave; files that the kernel would give up again count as free. */
static void test_memory_of_groups(void **state) {
    (void)state;
    char cgroup[512], root[512];
    snprintf(cgroup, sizeof cgroup, "%s", support_path(folder, "cgroup"));
    snprintf(root, sizeof root, "%s", support_path(folder, "groups"));
    mkdir(support_path(folder, "groups"), 0777);
    mkdir(support_path(folder, "groups/job"), 0777);
    mkdir(support_path(folder, "groups/job/step"), 0777);
    assert_true(machine_memory_left("/nowhere", root) == UINT64_MAX);
    put("cgroup", "1:name=systemd:/old\n0::/job/step\n");
    assert_true(machine_memory_left(cgroup, root) == UINT64_MAX);
    put("groups/job/step/memory.max", "max\n");
    put("groups/job/step/memory.current", "700\n");
    put("groups/job/memory.max", "1000\n");
    put("groups/job/memory.current", "900\n");
    assert_true(machine_memory_left(cgroup, root) == 100);
    put("groups/job/memory.stat", "anon 500\nfile 400\nkernel 1\n");
    assert_true(machine_memory_left(cgroup, root) == 500);
    put("groups/job/step/memory.max", "600\n");
    assert_true(machine_memory_left(cgroup, root) == 0);
    put("cgroup", "0::/\n");
    assert_true(machine_memory_left(cgroup, root) == UINT64_MAX);
    put("groups/memory.max", "5000\n");
    put("groups/memory.current", "4000\n");
    assert_true(machine_memory_left(cgroup, root) == 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_energy, begin, end),
        cmocka_unit_test_setup_teardown(test_cpu_name, begin, end),
        cmocka_unit_test_setup_teardown(test_features, begin, end),
        cmocka_unit_test_setup_teardown(test_memory, begin, end),
        cmocka_unit_test_setup_teardown(test_memory_of_groups, begin, end),
    };
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
