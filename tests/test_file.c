/* test_file.c: mapping what is there, replacing it whole or not at all. */
#include "support_test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "support_alloc.h"
#include "support_files.h"

static char *folder;
static support_alloc alloc;
static il_error error;

static int set_up(void **state) {
    (void)state;
    support_alloc_begin(&alloc);
    folder = support_folder_make();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    support_folder_remove(folder);
    assert_int_equal(alloc.live, 0);
    return 0;
}

static void assert_holds(const char *path, const char *expected) {
    size_t bytes;
    char *text = support_read(path, &bytes);
    assert_string_equal(text, expected);
    assert_int_equal(bytes, strlen(expected));
    free(text);
}

static int exit_status_of(pid_t child) {
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* ---- mapping ---- */

static void a_file_is_mapped(void **state) {
    (void)state;
    il_map map;
    const char *path = support_path(folder, "a");
    support_write(path, "hello", 5);
    assert_ok(il_map_open(path, &map, &error), error);
    assert_int_equal(map.bytes, 5);
    assert_memory_equal(map.data, "hello", 5);
    il_map_close(&map);
    il_map_close(&map);
}

static void an_empty_file_is_mapped(void **state) {
    (void)state;
    il_map map;
    const char *path = support_path(folder, "a");
    support_write(path, "", 0);
    assert_ok(il_map_open(path, &map, &error), error);
    assert_int_equal(map.bytes, 0);
    assert_non_null(map.data);
    il_map_close(&map);
}

static void what_is_no_file_is_not_mapped(void **state) {
    (void)state;
    il_map map;
    assert_fails(il_map_open(support_path(folder, "missing"), &map, &error), IL_ERR_IO, error, "missing");
    assert_fails(il_map_open(folder, &map, &error), IL_ERR_IO, error, "a folder");
    assert_fails(il_map_open("/dev/null", &map, &error), IL_ERR_IO, error, "device");
    assert_int_equal(mkfifo(support_path(folder, "pipe"), 0600), 0);
    assert_fails(il_map_open(support_path(folder, "pipe"), &map, &error), IL_ERR_IO, error, "pipe");
    assert_fails(il_map_open("", &map, &error), IL_ERR_IO, error, "cannot open");
    il_map_close(&map); /* after a failure nothing is owed, and closing does no harm */
}

static void what_may_not_be_touched_is_an_error(void **state) {
    (void)state;
    const char *path = support_path(folder, "secret");
    support_write(path, "x", 1);
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(folder, 0555), 0);
    pid_t child = fork();
    if (child == 0) {
        il_map map;
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) _exit(3);
        il_status status = il_map_open(path, &map, &error);
        if (status != IL_ERR_IO || !strstr(error.message, "secret: cannot open: Permission denied")) _exit(1);
        status = il_dir_make(&alloc.allocator, support_path(folder, "new/deep"), NULL, &error);
        _exit(status == IL_ERR_IO && strstr(error.message, "new: cannot make the folder: Permission denied") ? 0 : 2);
    }
    int status = exit_status_of(child);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(status, 0);
}

/* ---- replacing ---- */

static void a_file_is_made_and_replaced(void **state) {
    (void)state;
    const char *path = support_path(folder, "a");
    assert_ok(il_file_replace(&alloc.allocator, path, "one", 3, &error), error);
    assert_holds(path, "one");
    assert_ok(il_file_replace(&alloc.allocator, path, "", 0, &error), error);
    assert_holds(path, "");
    assert_ok(il_file_replace(&alloc.allocator, path, "three", 5, &error), error);
    assert_holds(path, "three");
    assert_int_equal(support_folder_count(folder), 1);
}

static void a_bare_name_is_in_the_current_folder(void **state) {
    (void)state;
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    il_status status = il_file_replace(&alloc.allocator, "bare", "x", 1, &error);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(status, IL_OK);
    assert_holds(support_path(folder, "bare"), "x");
}

static void pieces_of_any_size_arrive_in_order(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 7, 262143, 1, 262144, 262145, 3, 1000000, 0, 5};
    const char *path = support_path(folder, "big");
    il_writer writer;
    size_t total = 0, bytes;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) total += sizes[i];
    unsigned char *data = malloc(total);
    assert_non_null(data);
    for (size_t i = 0; i < total; i++) data[i] = (unsigned char)(i * 2654435761u >> 13);
    assert_ok(il_writer_open(&alloc.allocator, path, &writer, &error), error);
    size_t at = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_ok(il_writer_write(&writer, data + at, sizes[i], &error), error);
        at += sizes[i];
        assert_int_equal(writer.written, at);
    }
    assert_ok(il_writer_finish(&writer, &error), error);
    char *read = support_read(path, &bytes);
    assert_int_equal(bytes, total);
    assert_memory_equal(read, data, total);
    free(read);
    free(data);
}

static void the_old_file_stays_until_the_end(void **state) {
    (void)state;
    const char *path = support_path(folder, "a");
    il_writer writer;
    support_write(path, "old", 3);
    assert_ok(il_writer_open(&alloc.allocator, path, &writer, &error), error);
    assert_ok(il_writer_write(&writer, "new", 3, &error), error);
    assert_holds(path, "old");
    il_writer_abandon(&writer);
    assert_holds(path, "old");
    assert_int_equal(support_folder_count(folder), 1);
    il_writer_abandon(&writer); /* twice does no harm */
}

static void two_writers_do_not_mix(void **state) {
    (void)state;
    const char *path = support_path(folder, "a");
    il_writer one, two;
    assert_ok(il_writer_open(&alloc.allocator, path, &one, &error), error);
    assert_ok(il_writer_open(&alloc.allocator, path, &two, &error), error);
    assert_ok(il_writer_write(&one, "one", 3, &error), error);
    assert_ok(il_writer_write(&two, "two2", 4, &error), error);
    assert_ok(il_writer_finish(&two, &error), error);
    assert_holds(path, "two2");
    assert_ok(il_writer_finish(&one, &error), error);
    assert_holds(path, "one");
    assert_int_equal(support_folder_count(folder), 1);
}

static void a_full_disk_leaves_the_old_file(void **state) {
    (void)state;
    const char *path = support_path(folder, "a");
    support_write(path, "old", 3);
    pid_t child = fork();
    if (child == 0) {
        static char data[3 << 20];
        struct rlimit limit = {1 << 20, 1 << 20};
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(3);
        if (il_file_replace(&alloc.allocator, path, data, sizeof data, &error) != IL_ERR_IO) _exit(1);
        if (!strstr(error.message, "a: cannot write: File too large")) _exit(2);
        il_writer writer; /* small writes: the refusal comes when the buffer is flushed */
        il_status status = il_writer_open(&alloc.allocator, path, &writer, &error);
        for (int i = 0; status == IL_OK && i < 3000; i++) status = il_writer_write(&writer, data, 1024, &error);
        if (status != IL_ERR_IO) _exit(4);
        il_writer_abandon(&writer);
        _exit(alloc.live == 0 ? 0 : 5);
    }
    assert_int_equal(exit_status_of(child), 0);
    assert_holds(path, "old");
    assert_int_equal(support_folder_count(folder), 1);
}

static void a_killed_writer_leaves_the_old_file(void **state) {
    (void)state;
    const char *path = support_path(folder, "a");
    support_write(path, "old", 3);
    pid_t child = fork();
    if (child == 0) {
        il_writer writer;
        static char data[1 << 20];
        if (il_writer_open(&alloc.allocator, path, &writer, &error) != IL_OK) _exit(1);
        if (il_writer_write(&writer, data, sizeof data, &error) != IL_OK) _exit(2);
        raise(SIGKILL);
    }
    int status = exit_status_of(child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_holds(path, "old");
    assert_ok(il_file_replace(&alloc.allocator, path, "new", 3, &error), error);
    assert_holds(path, "new");
}

static void a_link_to_nothing_leads_to_the_new_file(void **state) {
    (void)state;
    struct stat info;
    const char *link = support_path(folder, "link"), *far = support_path(folder, "far");
    assert_int_equal(mkdir(support_path(folder, "sub"), 0777), 0);
    assert_int_equal(symlink("sub/second", link), 0);
    assert_int_equal(symlink("../real", support_path(folder, "sub/second")), 0);
    assert_ok(il_writer_check(link, &error), error);
    assert_ok(il_file_replace(&alloc.allocator, link, "new", 3, &error), error);
    assert_holds(support_path(folder, "real"), "new");
    assert_true(lstat(link, &info) == 0 && S_ISLNK(info.st_mode));
    assert_int_equal(support_folder_count(folder), 3);
    assert_int_equal(symlink(support_path(folder, "no/where"), far), 0);
    assert_fails(il_writer_check(far, &error), IL_ERR_IO, error, "there is no folder");
    assert_int_equal(symlink("loop", support_path(folder, "loop")), 0);
    assert_fails(il_writer_check(support_path(folder, "loop"), &error), IL_ERR_IO, error, "symbolic links");
}

/* By a user for whom modes count. */
static void what_may_not_be_written_stays(void **state) {
    (void)state;
    const char *path = support_path(folder, "fixed"), *fresh = support_path(folder, "fresh");
    support_write(path, "old", 3);
    assert_int_equal(chmod(path, 0444), 0);
    assert_int_equal(chmod(folder, 0777), 0);
    for (int writable = 0; writable < 2; writable++) {
        pid_t child = fork();
        if (child == 0) {
            if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) _exit(3);
            if (il_writer_check(path, &error) != IL_ERR_IO || !strstr(error.message, "Permission denied")) _exit(1);
            if (il_file_replace(&alloc.allocator, path, "new", 3, &error) != IL_ERR_IO) _exit(2);
            _exit((il_writer_check(fresh, &error) == IL_OK) == !writable ? 0 : 4);
        }
        assert_int_equal(exit_status_of(child), 0);
        assert_holds(path, "old");
        assert_int_equal(support_folder_count(folder), 1);
        assert_int_equal(chmod(folder, writable ? 0755 : 0555), 0);
    }
}

static void what_cannot_be_replaced_is_written(void **state) {
    (void)state;
    struct stat info;
    int ends[2], before = dup(STDOUT_FILENO);
    char name[32], read_back[16] = "";
    assert_ok(il_file_replace(&alloc.allocator, "/dev/null", "x", 1, &error), error);
    assert_true(stat("/dev/null", &info) == 0 && S_ISCHR(info.st_mode));
    assert_int_equal(pipe(ends), 0);
    snprintf(name, sizeof name, "/dev/fd/%d", ends[1]);
    assert_ok(il_writer_check(name, &error), error);
    assert_ok(il_file_replace(&alloc.allocator, name, "one", 3, &error), error);
    fflush(stdout);
    assert_int_equal(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
    il_status status = il_file_replace(&alloc.allocator, "/dev/stdout", "two", 3, &error);
    dup2(before, STDOUT_FILENO);
    close(before);
    assert_ok(status, error);
    assert_int_equal(read(ends[0], read_back, 6), 6);
    assert_string_equal(read_back, "onetwo");
    close(ends[0]);
    close(ends[1]);
    assert_fails(il_writer_check(name, &error), IL_ERR_IO, error, "Bad file descriptor");
    const char *path = support_path(folder, "open"); /* goes on where the open file stands */
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs("begun ", file);
    fflush(file);
    snprintf(name, sizeof name, "/dev/fd/%d", fileno(file));
    assert_ok(il_file_replace(&alloc.allocator, name, "gone on", 7, &error), error);
    fclose(file);
    assert_holds(path, "begun gone on");
}

/* The mode is there before anything is written. */
static void nobody_else_reads_what_replaces_a_secret(void **state) {
    (void)state;
    struct stat info;
    const char *path = support_path(folder, "secret");
    il_writer writer;
    support_write(path, "old", 3);
    assert_int_equal(chmod(path, 0600), 0);
    assert_ok(il_writer_open(&alloc.allocator, path, &writer, &error), error);
    assert_int_equal(stat(writer.temporary, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_ok(il_writer_finish(&writer, &error), error);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
}

static void names_that_are_nearly_too_long(void **state) {
    (void)state;
    char name[260];
    for (int wide = 0; wide < 2; wide++) {
        memset(name, 'n', sizeof name);
        for (int i = 0; wide && i < 252; i++) name[i] = "\xe2\x82\xac"[i % 3];
        name[254] = 0;
        const char *path = support_path(folder, name);
        pid_t child = fork(); /* which leaves a temporary behind */
        if (child == 0) {
            il_writer writer;
            _exit(il_writer_open(&alloc.allocator, path, &writer, &error));
        }
        assert_int_equal(exit_status_of(child), 0);
        assert_int_equal(support_folder_count(folder), 1 + wide);
        assert_ok(il_file_replace(&alloc.allocator, path, "new", 3, &error), error);
        assert_holds(path, "new");
        assert_int_equal(support_folder_count(folder), 1 + wide);
    }
    name[254] = 'n';
    name[259] = 0;
    assert_fails(il_writer_check(support_path(folder, name), &error), IL_ERR_IO, error, "File name too long");
}

static void only_files_are_replaced(void **state) {
    (void)state;
    struct stat info;
    assert_fails(il_file_replace(&alloc.allocator, folder, "x", 1, &error), IL_ERR_IO, error, "a folder");
    assert_fails(il_file_replace(&alloc.allocator, "/dev/full", "x", 1, &error), IL_ERR_IO, error, "/dev/full");
    assert_int_equal(stat("/dev/full", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
    assert_fails(il_file_replace(&alloc.allocator, support_path(folder, "no/where"), "x", 1, &error), IL_ERR_IO, error,
                 "no/where");
    support_write(support_path(folder, "file"), "x", 1);
    assert_fails(il_file_replace(&alloc.allocator, support_path(folder, "file/below"), "x", 1, &error), IL_ERR_IO,
                 error, "file/below");
    assert_fails(il_file_replace(&alloc.allocator, "", "x", 1, &error), IL_ERR_ARG, error, "name");
    assert_int_equal(support_folder_count(folder), 1);
}

static void mode_and_link_are_kept(void **state) {
    (void)state;
    struct stat info;
    const char *real = support_path(folder, "real"), *link = support_path(folder, "link");
    support_write(real, "old", 3);
    assert_int_equal(chmod(real, 0640), 0);
    assert_int_equal(symlink("real", link), 0);
    assert_ok(il_file_replace(&alloc.allocator, link, "new", 3, &error), error);
    assert_holds(real, "new");
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(real, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    mode_t mask = umask(027);
    assert_ok(il_file_replace(&alloc.allocator, support_path(folder, "fresh"), "x", 1, &error), error);
    umask(mask);
    assert_int_equal(stat(support_path(folder, "fresh"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
}

static il_status replace(const il_allocator *allocator, void *context, il_error *why) {
    return il_file_replace(allocator, context, "new", 3, why);
}

static void short_memory_leaves_the_old_file(void **state) {
    (void)state;
    char *path = strdup(support_path(folder, "a"));
    support_write(path, "old", 3);
    support_alloc_fail_at(&alloc, 1);
    assert_fails(il_file_replace(&alloc.allocator, path, "new", 3, &error), IL_ERR_NOMEM, error, path);
    assert_holds(path, "old");
    assert_int_equal(support_alloc_fail_each(&alloc, replace, path), 4);
    assert_int_equal(support_folder_count(folder), 1);
    free(path);
}

/* ---- folders and names ---- */

static void folders_are_made_with_parents(void **state) {
    (void)state;
    static const char *names[] = {"a/b/c", "a/b/c", "a//d/", "e", "f///"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct stat info;
        const char *path = support_path(folder, names[i]);
        assert_ok(il_dir_make(&alloc.allocator, path, NULL, &error), error);
        assert_int_equal(stat(path, &info), 0);
        assert_true(S_ISDIR(info.st_mode));
    }
    assert_ok(il_dir_make(&alloc.allocator, "/", NULL, &error), error);
    assert_ok(il_dir_make(&alloc.allocator, ".", NULL, &error), error);
    support_write(support_path(folder, "file"), "x", 1);
    assert_fails(il_dir_make(&alloc.allocator, support_path(folder, "file"), NULL, &error), IL_ERR_IO, error,
                 "not a folder");
    assert_fails(il_dir_make(&alloc.allocator, support_path(folder, "file/x"), NULL, &error), IL_ERR_IO, error, "file");
    assert_fails(il_dir_make(&alloc.allocator, "", NULL, &error), IL_ERR_ARG, error, "name");
    support_alloc_fail_at(&alloc, 1);
    assert_fails(il_dir_make(&alloc.allocator, "x", NULL, &error), IL_ERR_NOMEM, error, "x");
}

/* The system calls that were made, by name, with paths below the folder of the test in short. */
static char called[1000];
static int note(const char *call, const char *path) {
    size_t n = strlen(called);
    if (!strcmp(call, "fsync") || !strcmp(call, "rename"))
        snprintf(called + n, sizeof called - n, "%s %s;", call,
                 path + (!strncmp(path, folder, strlen(folder)) ? strlen(folder) : 0));
    return 0;
}

/* What was written is on the disk before it has its name, and so is the name before success is told. */
static void what_is_published_is_on_the_disk(void **state) {
    (void)state;
    const char *path = support_path(folder, "a");
    *called = 0;
    il_file_fault = note;
    il_status status = il_file_replace(&alloc.allocator, path, "new", 3, &error);
    il_file_fault = NULL;
    assert_ok(status, error);
    assert_string_equal(called, "fsync /a;rename /a;fsync ;");
}

static void paths_are_joined(void **state) {
    (void)state;
    static const char *cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *path = il_path_join(&alloc.allocator, cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        il_free(&alloc.allocator, path);
    }
    support_alloc_fail_at(&alloc, 1);
    assert_null(il_path_join(&alloc.allocator, "a", "b"));
    assert_int_equal(il_path_exists(folder), 1);
    assert_int_equal(il_path_exists(support_path(folder, "missing")), 0);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_file_is_mapped),
        CASE(an_empty_file_is_mapped),
        CASE(what_is_no_file_is_not_mapped),
        CASE(what_may_not_be_touched_is_an_error),
        CASE(a_file_is_made_and_replaced),
        CASE(a_bare_name_is_in_the_current_folder),
        CASE(pieces_of_any_size_arrive_in_order),
        CASE(the_old_file_stays_until_the_end),
        CASE(two_writers_do_not_mix),
        CASE(a_full_disk_leaves_the_old_file),
        CASE(a_killed_writer_leaves_the_old_file),
        CASE(a_link_to_nothing_leads_to_the_new_file),
        CASE(what_may_not_be_written_stays),
        CASE(what_cannot_be_replaced_is_written),
        CASE(nobody_else_reads_what_replaces_a_secret),
        CASE(names_that_are_nearly_too_long),
        CASE(only_files_are_replaced),
        CASE(mode_and_link_are_kept),
        CASE(short_memory_leaves_the_old_file),
        CASE(folders_are_made_with_parents),
        CASE(what_is_published_is_on_the_disk),
        CASE(paths_are_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
