/* lock.c: locks on files by flock, which a killed process does not keep. The file holds the holder's name for messages
 * and nothing that is trusted. */
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/temporary.h"

static il_status name_holder(int fd, const char *what, const char *path, il_error *error) {
    char holder[200];
    ssize_t n = pread(fd, holder, sizeof holder - 1, 0);
    holder[n > 0 ? n : 0] = 0;
    holder[strcspn(holder, "\n")] = 0;
    return il_fail(error, IL_ERR_IO, "%.250s: is in use by %s (lock %.150s)", what,
                   *holder ? holder : "another process", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
}

static void sign(int fd) {
    char host[100] = "", holder[200];
    if (gethostname(host, sizeof host - 1) != 0 || !*host) memcpy(host, "this host", 10);
    int n = snprintf(holder, sizeof holder, "process %ld on %s\n", (long)getpid(), host);
    if (ftruncate(fd, 0) == 0) (void)!pwrite(fd, holder, (size_t)n, 0); /* a full disk must not stop a lock */
}

/* Whether path still leads to the open file: who held the lock before may have removed it. */
static int is_at(int fd, const char *path) {
    struct stat open, there;
    return fstat(fd, &open) == 0 && lstat(path, &there) == 0 && open.st_dev == there.st_dev &&
           open.st_ino == there.st_ino;
}

static il_status take(il_lock *lock, const char *what, il_error *error) {
    for (;;) {
        int fd = il_file_allowed("open", lock->path)
                     ? -1
                     : open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (fd < 0) return il_fail_errno(error, IL_ERR_IO, "%.250s: cannot lock", lock->path);
        if (il_file_allowed("flock", lock->path) == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            if (!is_at(fd, lock->path)) {
                close(fd);
                continue;
            }
            sign(fd);
        } else if (errno == EWOULDBLOCK) {
            il_status status = name_holder(fd, what, lock->path, error);
            close(fd);
            return status;
        } else if (errno == EINTR) {
            close(fd);
            continue;
        } else {
            lock->unsupported = errno;
        }
        lock->fd = fd;
        lock->taken = 1;
        if (!lock->unsupported) lock->watch = il_temporary_watch(lock->path, NULL, strlen(lock->path));
        return IL_OK;
    }
}

il_status il_lock_take(const il_allocator *allocator, const char *path, const char *what, il_lock *lock,
                       il_error *error) {
    *lock = (il_lock){.allocator = allocator, .path = il_strdup(allocator, path)};
    if (!lock->path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    il_status status = take(lock, what, error);
    if (status != IL_OK) il_lock_release(lock);
    return status;
}

void il_lock_release(il_lock *lock) {
    if (lock->taken) {
        if (is_at(lock->fd, lock->path) && !il_file_allowed("unlink", lock->path)) unlink(lock->path);
        il_temporary_unwatch(lock->watch);
        close(lock->fd);
    }
    if (lock->path) il_free(lock->allocator, lock->path);
    *lock = (il_lock){0};
}
