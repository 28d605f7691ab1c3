/* test_folder.c: folders appear whole or not at all, whatever fails and whenever the process is killed; nobody's files
 * are touched; one process at a time. */
#include "support_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/memory.h"
#include "support_alloc.h"
#include "support_fault.h"
#include "support_files.h"

static const char *const names[] = {"weights", "tokenizer", "config", NULL};
static char *place; /* a folder of the test's own */
static char target[4200];
static support_alloc alloc;
static il_error error;

static int set_up(void **state) {
    (void)state;
    support_alloc_begin(&alloc);
    place = support_folder_make();
    snprintf(target, sizeof target, "%s/m", place);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    support_fault_end();
    support_folder_remove(place);
    assert_int_equal(alloc.live, 0);
    return 0;
}

/* Makes target of files that all say `text`; without a tokenizer if that is "bytes". */
static il_status make(const char *text, il_error *why) {
    il_folder folder;
    il_status status = il_folder_open(&alloc.allocator, target, names, 1, &folder, why);
    for (int i = 0; names[i] && status == IL_OK; i++) {
        if (i == 1 && strcmp(text, "bytes") == 0) continue;
        char *path = il_path_join(&alloc.allocator, folder.temporary, names[i]);
        status = path ? il_file_replace(&alloc.allocator, path, text, strlen(text), why)
                      : il_fail(why, IL_ERR_NOMEM, "short");
        il_free(&alloc.allocator, path);
    }
    if (status == IL_OK) status = il_folder_finish(&folder, why);
    if (status != IL_OK) il_folder_abandon(&folder);
    return status;
}

static const char *in_target(const char *name) { return support_path(target, name); }

/* What the folder says: NULL if it is not there or without its last file; the test fails when its files differ. */
static char *says(void) {
    size_t bytes;
    if (!support_exists(in_target("config"))) return NULL;
    char *config = support_read(in_target("config"), &bytes), *other = support_read(in_target("weights"), &bytes);
    assert_string_equal(config, other);
    free(other);
    assert_int_equal(support_exists(in_target("tokenizer")), strcmp(config, "bytes") != 0);
    if (support_exists(in_target("tokenizer"))) {
        other = support_read(in_target("tokenizer"), &bytes);
        assert_string_equal(config, other);
        free(other);
    }
    return config;
}

static void assert_says(const char *text) {
    char *said = says();
    assert_non_null(said);
    assert_string_equal(said, text);
    free(said);
}

static void a_folder_appears_whole(void **state) {
    (void)state;
    il_folder folder;
    snprintf(target, sizeof target, "%s/a/b/m//", place); /* made with its parents */
    assert_ok(il_folder_open(&alloc.allocator, target, names, 1, &folder, &error), error);
    assert_false(support_exists(support_path(place, "a/b/m")));
    il_folder_abandon(&folder);
    il_folder_abandon(&folder);
    assert_int_equal(support_folder_count(place), 0); /* and its parents go with it */
    assert_ok(make("one", &error), error);
    assert_says("one");
    assert_int_equal(support_folder_count(support_path(place, "a/b")), 1);
    assert_int_equal(support_folder_count(target), 3); /* no lock is left */
    assert_fails(il_folder_open(&alloc.allocator, "", names, 1, &folder, &error), IL_ERR_ARG, error, "name");
    il_folder_abandon(&folder);
    assert_fails(il_folder_open(&alloc.allocator, in_target("config"), names, 1, &folder, &error), IL_ERR_IO, error,
                 "not a folder");
    il_folder_abandon(&folder);
}

static void an_older_one_is_exchanged(void **state) {
    (void)state;
    struct stat before, after;
    assert_ok(make("one", &error), error);
    assert_int_equal(chmod(target, 0750), 0);
    assert_int_equal(stat(target, &before), 0);
    assert_ok(make("bytes", &error), error); /* its tokenizer goes */
    assert_says("bytes");
    assert_int_equal(stat(target, &after), 0);
    assert_true(before.st_ino != after.st_ino);
    assert_int_equal(after.st_mode & 0777, 0750);
    assert_int_equal(support_folder_count(place), 1);
    assert_int_equal(symlink("m", support_path(place, "link")), 0);
    snprintf(target, sizeof target, "%s/link", place);
    assert_ok(make("two", &error), error);
    assert_says("two");
    assert_int_equal(lstat(target, &after), 0);
    assert_true(S_ISLNK(after.st_mode));
}

/* The system calls that were made, by name, with paths below the folder of the test in short. */
static char called[1000];
static int note(const char *call, const char *path) {
    size_t n = strlen(called);
    if (!strcmp(call, "fsync") || !strcmp(call, "rename"))
        snprintf(called + n, sizeof called - n, "%s %s;", call,
                 path + (!strncmp(path, place, strlen(place)) ? strlen(place) : 0));
    return 0;
}

/* Its files, the folder and then the place where it appears. */
static void what_is_published_is_on_the_disk(void **state) {
    (void)state;
    *called = 0;
    il_file_fault = note;
    il_status status = make("one", &error);
    il_file_fault = NULL;
    assert_ok(status, error);
    const char *last = strstr(called, "rename /m;");
    assert_non_null(last);
    assert_string_equal(last, "rename /m;fsync ;");
}

/* Where a folder cannot be exchanged files move into it, and others stay. */
static void an_older_one_is_filled(void **state) {
    (void)state;
    struct stat before, after;
    char kept[4096];
    for (int how = 0; how < 4; how++) {
        assert_ok(make("one", &error), error);
        assert_int_equal(stat(target, &before), 0);
        assert_non_null(getcwd(kept, sizeof kept));
        if (how == 0) support_fault_on("renameat2", EINVAL); /* FUSE, NFS */
        if (how == 1) support_write(in_target("README.md"), "mine", 4);
        if (how == 2) assert_int_equal(mkdir(in_target("notes"), 0755), 0);
        if (how == 3) {
            assert_int_equal(chdir(target), 0);
            snprintf(target, sizeof target, ".");
        }
        il_status status = make("bytes", &error);
        support_fault_end();
        assert_ok(status, error);
        assert_int_equal(chdir(kept), 0);
        snprintf(target, sizeof target, "%s/m", place);
        assert_says("bytes");
        assert_int_equal(stat(target, &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        assert_int_equal(support_folder_count(target), how == 1 ? 3 : how == 2 ? 3 : 2);
        assert_int_equal(support_folder_count(place), 1);
        if (how == 1) assert_int_equal(unlink(in_target("README.md")), 0);
        if (how == 2) assert_int_equal(rmdir(in_target("notes")), 0);
    }
    assert_int_equal(unlink(in_target("weights")), 0);
    assert_int_equal(mkdir(in_target("weights"), 0755), 0);
    assert_fails(make("two", &error), IL_ERR_IO, error, "weights: a folder");
    assert_int_equal(support_folder_count(target), 2); /* before anything was moved */
}

static void what_another_made_meanwhile_stays(void **state) {
    (void)state;
    il_folder folder;
    assert_ok(il_folder_open(&alloc.allocator, target, names, 0, &folder, &error), error);
    assert_ok(make("theirs", &error), error);
    assert_fails(il_folder_finish(&folder, &error), IL_ERR_IO, error, "meanwhile");
    il_folder_abandon(&folder);
    assert_says("theirs");
    assert_int_equal(support_folder_count(place), 1);
}

/* How a folder may be replaced: an exchange is never seen half done. */
enum { NEW, EXCHANGED, FILLED, WAYS };

static void prepare(int way) {
    support_fault_end();
    if (support_exists(target)) support_folder_remove(strdup(target));
    if (way != NEW) assert_ok(make("old", &error), error);
    if (way == FILLED) support_fault_on("renameat2", EINVAL);
}

/* Old or new, or if files are moved in none; never a mixture. */
static int check_after(int way) {
    char *said = says();
    if (!said) {
        assert_true(way == NEW || way == FILLED);
        if (way == NEW) assert_false(support_exists(target));
        return 0;
    }
    int is_new = strcmp(said, "new") == 0;
    assert_true(is_new || (way != NEW && strcmp(said, "old") == 0));
    free(said);
    return is_new;
}

static void killed_at_every_call(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        long n = 1;
        for (;; n++) {
            prepare(way);
            pid_t child = fork();
            if (child == 0) {
                support_fault_kill_at(n);
                _exit(make("new", &error) == IL_OK ? 0 : 1);
            }
            int killed = support_fault_killed(child), made = check_after(way);
            support_fault_end();
            if (!killed) {
                assert_true(made);
                break;
            }
            assert_ok(make("next", &error), error); /* nothing blocks, and nothing stays of it */
            assert_says("next");
            assert_int_equal(support_folder_count(target), 3);
            assert_int_equal(support_folder_count(place), 1);
        }
        assert_true(n > 15);
    }
}

static void failing_at_every_call(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        long n = 1;
        for (;; n++) {
            prepare(way);
            support_fault_fail_at(n, ENOSPC);
            il_status status = make("new", &error);
            int reached = support_fault_calls() >= n, made = check_after(way);
            support_fault_end();
            assert_true(status == IL_OK || (status == IL_ERR_IO && strstr(error.message, "No space left")));
            if (status == IL_OK) assert_true(made);
            assert_int_equal(support_folder_count(place), support_exists(target));
            if (!reached) break;
        }
        assert_true(n > 12);
    }
}

static il_status make_new(const il_allocator *allocator, void *context, il_error *why) {
    (void)allocator, (void)context;
    return make("new", why);
}

static void failing_at_every_allocation(void **state) {
    (void)state;
    assert_true(support_alloc_fail_each(&alloc, make_new, NULL) > 15);
    assert_says("new");
    assert_int_equal(support_folder_count(place), 1);
}

/* ---- whose files ---- */

/* The number of a process that is gone. */
static long dead(void) {
    pid_t child = fork();
    if (child == 0) _exit(0);
    assert_false(support_fault_killed(child));
    return (long)child;
}

static void only_what_dead_processes_left_is_removed(void **state) {
    (void)state;
    long gone = dead();
    char name[100];
    const char *const kept[] = {"m.tmp-%ld-x", "m.tmp-%ld",     "m.tmp-%ld-1.txt", "m.tmp--%ld-1",
                                "n.tmp-%ld-1", "m.tmp-%ld- 12", "mm.tmp-%ld-1",    "m.tmp-0%ld"};
    enum { KEPT = sizeof kept / sizeof *kept };
    for (size_t i = 0; i < KEPT; i++) {
        snprintf(name, sizeof name, kept[i], gone);
        support_write(support_path(place, name), "", 0);
    }
    snprintf(name, sizeof name, "m.tmp-%ld-7", (long)getppid()); /* a live one's */
    support_write(support_path(place, name), "", 0);
    snprintf(name, sizeof name, "m.tmp-%ld-8", gone); /* of a process that lives elsewhere: its lock is held */
    int fd = open(support_path(place, name), O_RDWR | O_CREAT, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    snprintf(name, sizeof name, "m.tmp-%ld-9", gone); /* somebody put a file into it */
    assert_int_equal(mkdir(support_path(place, name), 0755), 0);
    support_write(support_path(support_path(place, name), "mine"), "", 0);
    support_write(support_path(support_path(place, name), "weights"), "", 0);
    snprintf(name, sizeof name, "m.tmp-%ld-10", gone);
    assert_int_equal(mkdir(support_path(place, name), 0755), 0);
    support_write(support_path(support_path(place, name), "weights"), "", 0);
    snprintf(name, sizeof name, "m.tmp-%ld-4000000000", (long)getpid()); /* of another life of ours */
    support_write(support_path(place, name), "", 0);
    assert_ok(make("one", &error), error);
    assert_int_equal(support_folder_count(place), KEPT + 3 + 1);
    snprintf(name, sizeof name, "m.tmp-%ld-9", gone);
    assert_int_equal(support_folder_count(support_path(place, name)), 1);
    snprintf(name, sizeof name, "m.tmp-%ld-10", gone);
    assert_false(support_exists(support_path(place, name)));
    close(fd);
}

/* ---- locks ---- */

/* A child that holds the lock of target until it is killed. */
static pid_t hold_elsewhere(void) {
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        il_folder folder;
        if (il_folder_open(&alloc.allocator, target, names, 1, &folder, &error) != IL_OK) _exit(1);
        (void)!write(ready[1], "x", 1);
        for (;;) pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void one_process_at_a_time(void **state) {
    (void)state;
    char holder[300], host[200] = "";
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    for (int exists = 0; exists < 2; exists++) {
        pid_t child = hold_elsewhere();
        snprintf(holder, sizeof holder, "m: is in use by process %ld on %s", (long)child, host);
        assert_fails(make("two", &error), IL_ERR_IO, error, holder);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_true(support_fault_killed(child));
        assert_ok(make("two", &error), error); /* who is dead blocks nobody */
        assert_says("two");
        assert_int_equal(support_folder_count(place), 1);
    }
}

/* Exchanged or filled, folder and files keep their modes, and until then nobody looks in. */
static void modes_are_kept(void **state) {
    (void)state;
    static const char *const files[] = {"weights", "config"};
    struct stat info;
    for (int filled = 0; filled < 2; filled++) {
        assert_ok(make("one", &error), error);
        for (int i = 0; i < 2; i++) assert_int_equal(chmod(support_path(target, files[i]), i ? 0640 : 0600), 0);
        assert_int_equal(chmod(target, 0750), 0);
        if (filled) support_write(support_path(target, "other"), "x", 1);
        il_folder folder;
        assert_ok(il_folder_open(&alloc.allocator, target, names, 1, &folder, &error), error);
        assert_int_equal(stat(folder.temporary, &info), 0);
        assert_int_equal(info.st_mode & 07777, 0700);
        il_folder_abandon(&folder);
        assert_ok(make("two", &error), error);
        assert_says("two");
        for (int i = 0; i < 2; i++) {
            assert_int_equal(stat(support_path(target, files[i]), &info), 0);
            assert_int_equal(info.st_mode & 07777, i ? 0640 : 0600);
        }
        assert_int_equal(stat(target, &info), 0);
        assert_int_equal(info.st_mode & 07777, 0750);
        if (filled) unlink(support_path(target, "other"));
    }
}

/* What a signal handler that ends the process does. */
static void ended_by_a_signal(void **state) {
    (void)state;
    support_write(support_path(place, "kept"), "x", 1);
    for (int there = 0; there < 2; there++) {
        pid_t child = fork();
        if (child == 0) {
            il_folder folder;
            il_writer file;
            il_output *output;
            snprintf(target, sizeof target, there ? "%s/empty" : "%s/a/b/m", place);
            if (there && mkdir(target, 0777) != 0) _exit(9);
            if (il_folder_open(&alloc.allocator, target, names, 1, &folder, &error) != IL_OK) _exit(1);
            support_write(support_path(folder.temporary, "weights"), "w", 1);
            if (il_writer_open(&alloc.allocator, support_path(folder.temporary, "config"), &file, &error) != IL_OK)
                _exit(2);
            if (il_output_open(support_path(place, "kept"), &output, &error) != IL_OK) _exit(3);
            if (il_output_write(output, "new", 3, &error) != IL_OK) _exit(4);
            if (il_output_open(support_path(place, "done"), &output, &error) != IL_OK) _exit(5);
            if (there == 0 && il_output_finish(output, &error) != IL_OK) _exit(6);
            if (there == 0 && support_folder_count(place) != 4) _exit(7);
            il_temporaries_remove();
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(support_folder_count(place), there ? 3 : 2); /* kept, done; the user's own folder, empty */
    }
    size_t bytes;
    char *text = support_read(support_path(place, "kept"), &bytes);
    assert_string_equal(text, "x");
    free(text);
    assert_int_equal(support_folder_count(support_path(place, "empty")), 0);
}

static void a_file_system_without_locks(void **state) {
    (void)state;
    il_lock lock, other;
    const char *path = support_path(place, "lock");
    support_fault_on("flock", ENOLCK);
    assert_ok(il_lock_take(&alloc.allocator, path, "m", &lock, &error), error);
    assert_int_equal(lock.unsupported, ENOLCK);
    assert_ok(il_lock_take(&alloc.allocator, path, "m", &other, &error), error);
    il_lock_release(&lock);
    il_lock_release(&other);
    assert_ok(make("one", &error), error);
    assert_says("one");
    support_fault_end();
    assert_ok(il_lock_take(&alloc.allocator, path, "m", &lock, &error), error);
    assert_int_equal(lock.unsupported, 0);
    assert_fails(il_lock_take(&alloc.allocator, path, "m", &other, &error), IL_ERR_IO, error, "lock lock");
    il_lock_release(&other);
    il_lock_release(&lock);
    il_lock_release(&lock);
    assert_int_equal(symlink("elsewhere", path), 0); /* a lock follows no links */
    assert_fails(il_lock_take(&alloc.allocator, path, "m", &lock, &error), IL_ERR_IO, error, "cannot lock");
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_folder_appears_whole),
        CASE(what_is_published_is_on_the_disk),
        CASE(an_older_one_is_exchanged),
        CASE(an_older_one_is_filled),
        CASE(what_another_made_meanwhile_stays),
        CASE(killed_at_every_call),
        CASE(failing_at_every_call),
        CASE(failing_at_every_allocation),
        CASE(only_what_dead_processes_left_is_removed),
        CASE(one_process_at_a_time),
        CASE(a_file_system_without_locks),
        CASE(modes_are_kept),
        CASE(ended_by_a_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
