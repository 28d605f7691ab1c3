/* train_memory.c: see train_memory.h. */
#include "verbs/train_memory.h"
#include "bench/machine.h"
#include "output.h"

#include <math.h>
#include <stdlib.h>

uint64_t train_memory_bound(double gigabytes, const il_model *model) {
    if (!isnan(gigabytes)) return (uint64_t)(gigabytes * 1e9);
    uint64_t total, available, allowed = machine_memory_left(MACHINE_CGROUP, MACHINE_CGROUP_ROOT);
    machine_memory(MACHINE_MEMINFO, &total, &available);
    if (!available || allowed < available) available = allowed;
    if (available == UINT64_MAX) return 0; /* nobody knows */
    return available / 20 * 19 + il_model_parameters(model) * sizeof(float);
}

void train_memory_show(const cli_command *command, const il_trainer *trainer, uint64_t bound) {
    il_trainer_memory m;
    il_trainer_get_memory(trainer, &m);
    const double giga = 1e9;
    char *of = bound ? cli_format(" of %.1f", (double)bound / giga) : NULL;
    cli_note(command->verb,
             "memory: %.1f%s GB: weights, gradient and moments %.1f, activations %.1f, which is %.1f kB for "
             "each of the %s of a pass%s",
             (double)(m.weights + m.pass) / giga, of ? of : "", (double)m.weights / giga, (double)m.pass / giga,
             (double)m.pass / (double)m.tokens / 1e3, cli_count(m.tokens, "token"),
             m.recomputes ? ", computed again layer by layer" : "");
    free(of);
}
