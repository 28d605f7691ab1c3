/* support_fault.c: see support_fault.h. */
#include "support_fault.h"

#include "base/file.h"
#include "support_test.h"

#include <signal.h>
#include <sys/wait.h>

static const char *failing;
static int failing_number, number_at;
static long calls, fail_at, kill_at;

static int is_cleaning(const char *call) { return !strcmp(call, "unlink") || !strcmp(call, "rmdir"); }

static int fault(const char *call, const char *path) {
    (void)path;
    if (kill_at && ++calls == kill_at) raise(SIGKILL);
    if (failing && !strcmp(call, failing)) return failing_number;
    if (fail_at && !is_cleaning(call) && ++calls == fail_at) return number_at;
    return 0;
}

void support_fault_on(const char *call, int number) {
    failing = call;
    failing_number = number;
    il_file_fault = fault;
}

void support_fault_fail_at(long n, int number) {
    calls = 0;
    fail_at = n;
    number_at = number;
    il_file_fault = fault;
}

void support_fault_kill_at(long n) {
    calls = 0;
    kill_at = n;
    il_file_fault = fault;
}

long support_fault_calls(void) { return calls; }

void support_fault_end(void) {
    failing = NULL;
    calls = fail_at = kill_at = 0;
    il_file_fault = NULL;
}

int support_fault_killed(pid_t child) {
    int status;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return 1;
    if (!WIFEXITED(status) || WEXITSTATUS(status)) fail_msg("the child ended with %x", status);
    return 0;
}
