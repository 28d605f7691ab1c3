/* temporary.c: names of temporaries, the removal of those that killed processes left, and the list by which a signal
 * handler removes this process's own. Never touches what has another name, another process or a lock. */
#include "base/temporary.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

/* ---- names ---- */

static atomic_uint temporaries; /* names given out */

/* How many bytes of a file's name stand in its temporary's: all, or as many whole characters as leave room. */
static size_t kept(const char *name) {
    size_t n = strlen(name), most = NAME_MAX - IL_TEMPORARY_BYTES;
    if (n <= most) return n;
    for (n = most; n > most - 4 && ((unsigned char)name[n] & 0xC0) == 0x80;) n--;
    return n;
}

char *il_temporary_name(const il_allocator *allocator, const char *path) {
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0, n = folder + kept(path + folder);
    char *name = il_alloc(allocator, n + IL_TEMPORARY_BYTES, 1);
    if (name)
        snprintf(name, n + IL_TEMPORARY_BYTES, "%.*s.tmp-%ld-%u", (int)n, path, (long)getpid(),
                 atomic_fetch_add(&temporaries, 1));
    return name;
}

/* Where locks are not to be had nobody gets one: there temporaries are never removed by others. */
void il_temporary_hold(int fd) { (void)!flock(fd, LOCK_EX | LOCK_NB); }

/* Reads a number without sign; NULL when there is none. */
static const char *read_number(const char *text, unsigned long *number) {
    char *end;
    if (*text < '0' || *text > '9') return NULL;
    errno = 0;
    *number = strtoul(text, &end, 10);
    return errno ? NULL : end;
}

static int parse_temporary(const char *name, const char *base, unsigned long *pid, unsigned long *number) {
    static const char mark[] = ".tmp-";
    size_t n = kept(base), some = n && base[n - 1] == '*';
    if (strncmp(name, base, n - some) != 0) return 0;
    const char *at = some ? strstr(name + n - 1, mark) : name + n;
    if (!at || strncmp(at, mark, sizeof mark - 1) != 0) return 0;
    at = read_number(at + sizeof mark - 1, pid);
    if (!at || *at != '-') return 0;
    at = read_number(at + 1, number);
    return at && !*at;
}

int il_temporary_is(const char *name, const char *base) {
    unsigned long pid, number;
    return parse_temporary(name, base, &pid, &number);
}

/* Whether the process that made it is gone. One of our number whose name we have not given out was made by another. */
static int is_orphan(unsigned long pid, unsigned long number) {
    if (pid == 0 || pid > INT_MAX) return 0;
    if ((long)pid == (long)getpid()) return number >= atomic_load(&temporaries);
    return kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

/* ---- removal ---- */

static int is_one_of(const char *name, const char *const *names) {
    for (; *names; names++)
        if (strcmp(name, *names) == 0 || il_temporary_is(name, *names)) return 1;
    return strcmp(name, IL_LOCK_NAME) == 0;
}

void il_files_remove(int folder, const char *const *names) {
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* read from its beginning */
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        if (fd >= 0) close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(stream));)
        if (is_one_of(entry->d_name, names) && !il_file_allowed("unlink", entry->d_name))
            unlinkat(folder, entry->d_name, 0);
    closedir(stream);
}

static void remove_orphan(int dir, const char *name, const char *const *names) {
    struct stat info;
    if (fstatat(dir, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (S_ISLNK(info.st_mode)) {
        if (!il_file_allowed("unlink", name)) unlinkat(dir, name, 0);
        return;
    }
    if (!S_ISREG(info.st_mode) && !(S_ISDIR(info.st_mode) && names)) return;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        if (S_ISDIR(info.st_mode)) il_files_remove(fd, names);
        if (!il_file_allowed("unlink", name)) unlinkat(dir, name, S_ISDIR(info.st_mode) ? AT_REMOVEDIR : 0);
    }
    close(fd);
}

void il_temporary_clean(const char *dir, const char *base, const char *const *names) {
    unsigned long pid, number;
    DIR *stream = opendir(dir);
    if (!stream) return;
    for (struct dirent *entry; (entry = readdir(stream));)
        if (parse_temporary(entry->d_name, base, &pid, &number) && is_orphan(pid, number))
            remove_orphan(dirfd(stream), entry->d_name, names);
    closedir(stream);
}

/* ---- for a signal handler ---- */

enum { WATCHED_MAX = 16 };
enum { FREE, FILLING, WATCHED };

/* Memory of its own, because a handler may come at any time and in any thread. Once it has begun nothing is filled in
 * any more, so that a name that it reads stays what it is. */
static struct {
    atomic_int state;
    const char *const *names;
    size_t existed;
    char path[PATH_MAX];
} watched[WATCHED_MAX];
static atomic_int ending;

int il_temporary_watch(const char *path, const char *const *names, size_t existed) {
    size_t bytes = strlen(path) + 1;
    for (int i = 0; bytes <= PATH_MAX && i < WATCHED_MAX; i++) {
        int state = FREE;
        if (!atomic_compare_exchange_strong(&watched[i].state, &state, FILLING)) continue;
        while (atomic_load(&ending)) pause();
        watched[i].names = names;
        watched[i].existed = existed;
        memcpy(watched[i].path, path, bytes);
        atomic_store(&watched[i].state, WATCHED);
        return i + 1;
    }
    return 0;
}

void il_temporary_unwatch(int watch) {
    if (watch) atomic_store(&watched[watch - 1].state, FREE);
}

/* Nothing here allocates or locks. */
static void remove_files(const char *folder, const char *const *names) {
    char path[PATH_MAX];
    size_t head = strlen(folder);
    memcpy(path, folder, head);
    path[head++] = '/';
    for (; *names; names++) {
        size_t bytes = strlen(*names) + 1;
        if (head + bytes > sizeof path) continue;
        memcpy(path + head, *names, bytes);
        unlink(path);
    }
}

static void remove_parents(const char *path, size_t existed) {
    char parent[PATH_MAX];
    size_t n = strlen(path);
    memcpy(parent, path, n + 1);
    while (n > existed) {
        while (n > existed && parent[n - 1] != '/') n--;
        while (n > existed && parent[n - 1] == '/') n--;
        parent[n] = 0;
        if (n <= existed || rmdir(parent) != 0) break;
    }
}

void il_temporaries_remove(void) {
    int before = errno;
    atomic_store(&ending, 1);
    for (int pass = 0; pass < 3; pass++) { /* a file may be in a folder, and both in one that was made for them */
        for (int i = 0; i < WATCHED_MAX; i++) {
            const char *path = watched[i].path, *const *names = watched[i].names;
            if (atomic_load(&watched[i].state) != WATCHED) continue;
            if (pass == 0 && !names) unlink(path);
            if (pass == 1 && names) {
                remove_files(path, names);
                rmdir(path);
            }
            if (pass == 2) remove_parents(path, watched[i].existed);
        }
    }
    errno = before;
}
