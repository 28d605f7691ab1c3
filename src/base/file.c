/* file.c: whole files, mapped to read, replaced to write. A reader sees the old file or the new one, never a
 * part: bytes go to a temporary file in the same folder that is synced and renamed over the old. Pipes and character
 * devices, which a rename would destroy, are written as they are. Refuses folders and what may not be written. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/temporary.h"

enum {
    BUFFER_BYTES = 1 << 18,
    AROUND_BYTES = 1 << 16 /* Linux maps so much around a page that is looked at, also what was given back before */
};

/* ---- reading ---- */

il_status il_map_open(const char *path, il_map *map, il_error *error) {
    static const unsigned char nothing[1];
    il_status status;
    struct stat info;
    *map = (il_map){nothing, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: a pipe must not hold us up */
    if (fd < 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot open", path);
    if (fstat(fd, &info) != 0) {
        status = il_fail_errno(error, IL_ERR_IO, "%s: cannot inspect", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = il_fail(error, IL_ERR_IO, "%s: %s, not a file", path,
                         S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
    } else if ((uintmax_t)info.st_size > SIZE_MAX) {
        status = il_fail(error, IL_ERR_IO, "%s: larger than this machine's address space", path);
    } else if (info.st_size == 0) {
        status = IL_OK;
    } else {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = il_fail_errno(error, IL_ERR_IO, "%s: cannot map", path);
        } else {
            *map = (il_map){data, (size_t)info.st_size};
            status = IL_OK;
        }
    }
    close(fd);
    return status;
}

void il_map_close(il_map *map) {
    if (map->bytes) munmap((void *)(uintptr_t)map->data, map->bytes);
    *map = (il_map){NULL, 0};
}

void il_map_release(const il_map *map, const unsigned char *data, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), around = AROUND_BYTES + page - 1, from = (size_t)(data - map->data);
    from = (from > around ? from - around : 0) / page * page;
    size_t end = (size_t)(data - map->data) + bytes;
    if (data >= map->data && from < end && end <= map->bytes)
        madvise((void *)(uintptr_t)(map->data + from), end - from, MADV_DONTNEED);
}

/* ---- replacing ---- */

/* What a path leads to. */
typedef struct target {
    int fd;      /* an open one that the path names, else -1 */
    int exists;  /* there is something */
    int streams; /* written as it comes */
    struct stat info;
    char real[PATH_MAX]; /* links followed */
} target;

/* N of /dev/fd/N and the like, else -1. Opening these names would begin a file anew. */
static int descriptor(const char *path) {
    static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/"};
    if (strcmp(path, "/dev/stdout") == 0) return STDOUT_FILENO;
    if (strcmp(path, "/dev/stderr") == 0) return STDERR_FILENO;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        const char *number = path + strlen(folders[i]);
        if (strncmp(path, folders[i], strlen(folders[i])) != 0) continue;
        size_t digits = strspn(number, "0123456789");
        if (digits && digits < 9 && !number[digits]) return atoi(number);
    }
    return -1;
}

/* Leaves of a path the folder that it is in. Two bytes are enough for any. */
static void cut_name(char *path) {
    char *slash = strrchr(path, '/');
    if (slash)
        slash[slash == path] = 0;
    else
        memcpy(path, ".", 2);
}

/* Where the links at path lead, also when there is nothing; 0 with errno when they lead nowhere. */
static int follow(const char *path, char real[PATH_MAX]) {
    enum { LINKS_MAX = 40 };
    char link[PATH_MAX];
    if (realpath(path, real)) return 1;
    if (errno != ENOENT) return 0;
    size_t bytes = strlen(path) + 1;
    errno = ENAMETOOLONG;
    if (bytes > PATH_MAX) return 0;
    memcpy(real, path, bytes);
    for (int links = 0; links <= LINKS_MAX; links++) {
        ssize_t n = readlink(real, link, sizeof link - 1);
        if (n < 0) return 1; /* no link: what is to be made */
        link[n] = 0;
        char *slash = strrchr(real, '/');
        size_t head = link[0] == '/' || !slash ? 0 : (size_t)(slash - real) + 1;
        errno = ENAMETOOLONG;
        if (head + (size_t)n >= PATH_MAX) return 0;
        memcpy(real + head, link, (size_t)n + 1);
    }
    errno = ELOOP;
    return 0;
}

static il_status check_folder(const char *path, const target *to, il_error *error) {
    char folder[PATH_MAX];
    struct stat info;
    memcpy(folder, to->real, strlen(to->real) + 1);
    cut_name(folder);
    if (stat(folder, &info) != 0 && errno == ENOENT)
        return il_fail(error, IL_ERR_IO, "%s: there is no folder %s", path, folder);
    if (strlen(to->real) + IL_TEMPORARY_BYTES >= PATH_MAX)
        errno = ENAMETOOLONG;
    else if (access(folder, W_OK | X_OK) == 0)
        return IL_OK;
    return il_fail_errno(error, IL_ERR_IO, "%s: cannot create", path);
}

static il_status look(const char *path, target *to, il_error *error) {
    *to = (target){.fd = descriptor(path)};
    if (!*path) return il_fail(error, IL_ERR_ARG, "a file needs a name");
    if (to->fd >= 0) {
        int flags = fcntl(to->fd, F_GETFL);
        to->exists = to->streams = 1;
        errno = EBADF;
        if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY) return IL_OK;
        return il_fail_errno(error, IL_ERR_IO, "%s: cannot write", path);
    }
    if (!follow(path, to->real)) return il_fail_errno(error, IL_ERR_IO, "%s: cannot resolve", path);
    to->exists = stat(to->real, &to->info) == 0;
    if (!to->exists && errno != ENOENT) return il_fail_errno(error, IL_ERR_IO, "%s: cannot create", path);
    if (to->exists && S_ISDIR(to->info.st_mode)) return il_fail(error, IL_ERR_IO, "%s: a folder, not a file", path);
    to->streams = to->exists && (S_ISCHR(to->info.st_mode) || S_ISFIFO(to->info.st_mode));
    if (to->exists && !to->streams && !S_ISREG(to->info.st_mode))
        return il_fail(error, IL_ERR_IO, "%s: neither a file nor a pipe", path);
    if (to->exists && access(to->real, W_OK) != 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot write", path);
    return to->streams ? IL_OK : check_folder(path, to, error);
}

/* Opens a file beside path that did not exist before. Until it has the mode of an older one nobody else may open it. */
static il_status open_temporary(il_writer *writer, mode_t mode, il_error *error) {
    char *folder = il_path_parent(writer->allocator, writer->path);
    const char *slash = strrchr(writer->path, '/');
    if (!folder) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", writer->path);
    il_temporary_clean(folder, slash ? slash + 1 : writer->path, NULL);
    il_free(writer->allocator, folder);
    for (int attempt = 0; attempt < 1000; attempt++) { /* one may be there of a dead process of the same number */
        writer->temporary = il_temporary_name(writer->allocator, writer->path);
        if (!writer->temporary) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", writer->path);
        writer->fd = il_file_allowed("open", writer->temporary)
                         ? -1
                         : open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (writer->fd >= 0) {
            writer->watch = il_temporary_watch(writer->temporary, NULL, strlen(writer->temporary));
            il_temporary_hold(writer->fd);
            return IL_OK;
        }
        int why = errno;
        if (why != EEXIST) {
            errno = why;
            il_fail_errno(error, IL_ERR_IO, "%s: cannot create", writer->temporary);
        }
        il_free(writer->allocator, writer->temporary); /* not ours to remove */
        writer->temporary = NULL;
        if (why != EEXIST) return IL_ERR_IO;
    }
    return il_fail(error, IL_ERR_IO, "%s: no name for a temporary file is free", writer->path);
}

/* Permissions do not say all (/proc, a quota): a temporary is made and removed. */
il_status il_writer_check(const char *path, il_error *error) {
    target to;
    il_allocator allocator = il_allocator_default();
    IL_TRY(look(path, &to, error));
    if (to.streams) return IL_OK;
    il_writer writer = {.fd = -1, .allocator = &allocator, .path = il_strdup(&allocator, to.real)};
    il_status status =
        writer.path ? open_temporary(&writer, 0600, error) : il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    il_writer_abandon(&writer);
    return status;
}

static il_status open_stream(il_writer *writer, const target *to, il_error *error) {
    if (to->fd >= 0)
        writer->fd = fcntl(to->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    else
        writer->fd = open(to->real, O_WRONLY | O_CLOEXEC);
    return writer->fd >= 0 ? IL_OK : il_fail_errno(error, IL_ERR_IO, "%s: cannot open", writer->path);
}

il_status il_writer_open(const il_allocator *allocator, const char *path, il_writer *writer, il_error *error) {
    target to;
    *writer = (il_writer){.fd = -1, .allocator = allocator};
    IL_TRY(look(path, &to, error));
    writer->path = il_strdup(allocator, to.streams ? path : to.real);
    writer->buffer = il_alloc_raw(allocator, BUFFER_BYTES, 1);
    if (!writer->path || !writer->buffer) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    if (to.streams) return open_stream(writer, &to, error);
    IL_TRY(open_temporary(writer, to.exists ? 0600 : 0666, error));
    if (to.exists) (void)!fchown(writer->fd, to.info.st_uid, to.info.st_gid); /* most users may not */
    if (to.exists && fchmod(writer->fd, to.info.st_mode & 07777) != 0)
        return il_fail_errno(error, IL_ERR_IO, "%s: cannot set its mode", writer->temporary);
    return IL_OK;
}

static il_status write_all(il_writer *writer, const unsigned char *data, size_t bytes, il_error *error) {
    while (bytes) {
        if (il_file_allowed("write", writer->path))
            return il_fail_errno(error, IL_ERR_IO, "%s: cannot write", writer->path);
        ssize_t done = write(writer->fd, data, bytes < 1u << 30 ? bytes : 1u << 30);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot write", writer->path);
        data += done;
        bytes -= (size_t)done;
    }
    return IL_OK;
}

il_status il_writer_flush(il_writer *writer, il_error *error) {
    size_t bytes = writer->buffered;
    writer->buffered = 0;
    return write_all(writer, writer->buffer, bytes, error);
}

il_status il_writer_write(il_writer *writer, const void *data, size_t bytes, il_error *error) {
    if (bytes > BUFFER_BYTES - writer->buffered) IL_TRY(il_writer_flush(writer, error));
    if (bytes >= BUFFER_BYTES) {
        IL_TRY(write_all(writer, data, bytes, error));
    } else if (bytes) {
        memcpy(writer->buffer + writer->buffered, data, bytes);
        writer->buffered += bytes;
    }
    writer->written += bytes;
    return IL_OK;
}

il_status il_file_write_at(int fd, const char *path, uint64_t at, const void *data, size_t bytes, il_error *error) {
    while (bytes) {
        if (il_file_allowed("write", path)) return il_fail_errno(error, IL_ERR_IO, "%s: cannot write", path);
        ssize_t done = pwrite(fd, data, bytes < 1u << 30 ? bytes : 1u << 30, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot write", path);
        data = (const char *)data + done;
        at += (uint64_t)done;
        bytes -= (size_t)done;
    }
    return IL_OK;
}

il_status il_writer_change(il_writer *writer, uint64_t at, const void *data, size_t bytes, il_error *error) {
    IL_TRY(il_writer_flush(writer, error));
    return il_file_write_at(writer->fd, writer->path, at, data, bytes, error);
}

il_status il_writer_finish(il_writer *writer, il_error *error) {
    IL_TRY(il_writer_flush(writer, error));
    if (writer->temporary && (il_file_allowed("fsync", writer->path) || fsync(writer->fd) != 0))
        return il_fail_errno(error, IL_ERR_IO, "%s: cannot sync", writer->path);
    int fd = writer->fd;
    writer->fd = -1;
    if (close(fd) != 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot close", writer->path);
    if (!writer->temporary) {
        il_writer_abandon(writer); /* only frees */
        return IL_OK;
    }
    if (il_file_allowed("rename", writer->path) || rename(writer->temporary, writer->path) != 0)
        return il_fail_errno(error, IL_ERR_IO, "%s: cannot replace", writer->path);
    il_temporary_unwatch(writer->watch);
    writer->watch = 0;
    char *folder = writer->temporary; /* its name is free, and in memory that is not asked for again */
    writer->temporary = NULL;
    cut_name(folder);
    il_status status = il_dir_sync(folder, error);
    il_free(writer->allocator, folder);
    if (status == IL_OK) il_writer_abandon(writer); /* nothing left to remove: only frees */
    return status;
}

void il_writer_abandon(il_writer *writer) {
    if (writer->fd >= 0) close(writer->fd);
    if (writer->temporary) unlink(writer->temporary);
    il_temporary_unwatch(writer->watch);
    il_free(writer->allocator, writer->temporary);
    il_free(writer->allocator, writer->path);
    il_free(writer->allocator, writer->buffer);
    *writer = (il_writer){.fd = -1, .allocator = writer->allocator};
}

il_status il_file_replace(const il_allocator *allocator, const char *path, const void *data, size_t bytes,
                          il_error *error) {
    il_writer writer;
    il_status status = il_writer_open(allocator, path, &writer, error);
    if (status == IL_OK) status = il_writer_write(&writer, data, bytes, error);
    if (status == IL_OK) status = il_writer_finish(&writer, error);
    if (status != IL_OK) il_writer_abandon(&writer);
    return status;
}

/* ---- folders and names ---- */

static int is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

void il_dir_unmake(const il_allocator *allocator, const char *dir, size_t existed) {
    char *path = il_strdup(allocator, dir);
    if (!path) return;
    for (size_t n = strlen(path); n > existed; n--) {
        if (path[n] && path[n] != '/') continue;
        path[n] = 0;
        if (il_file_allowed("rmdir", path) || (rmdir(path) != 0 && errno != ENOENT)) break;
    }
    il_free(allocator, path);
}

il_status il_dir_make(const il_allocator *allocator, const char *dir, size_t *existed, il_error *error) {
    il_status status = IL_OK;
    size_t before = 0, made = 0;
    if (!*dir) return il_fail(error, IL_ERR_ARG, "a folder needs a name");
    char *path = il_strdup(allocator, dir);
    if (!path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    for (char *end = path + 1; status == IL_OK; end++) {
        if (*end && *end != '/') continue;
        char kept = *end;
        *end = 0;
        int why = il_file_allowed("mkdir", path) || mkdir(path, 0777) != 0 ? errno : 0;
        if (!why) {
            made = 1;
        } else if (!is_folder(path)) { /* is_folder first would race with another maker */
            errno = why;               /* not that of looking */
            status = why == EEXIST ? il_fail(error, IL_ERR_IO, "%s: exists and is not a folder", path)
                                   : il_fail_errno(error, IL_ERR_IO, "%s: cannot make the folder", path);
        }
        if (!made) before = (size_t)(end - path);
        *end = kept;
        if (!kept) break;
    }
    il_free(allocator, path);
    if (status != IL_OK && made) il_dir_unmake(allocator, dir, before);
    if (existed) *existed = before;
    return status;
}

il_status il_dir_sync(const char *dir, il_error *error) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return IL_OK; /* a folder that may be written but not listed */
    int failed =
        (il_file_allowed("fsync", dir) || fsync(fd) != 0) && errno != EINVAL && errno != ENOTSUP && errno != EROFS;
    il_status status = failed ? il_fail_errno(error, IL_ERR_IO, "%s: cannot sync the folder", dir) : IL_OK;
    close(fd);
    return status;
}

char *il_path_parent(const il_allocator *allocator, const char *path) {
    char *parent = il_strdup(allocator, *path ? path : ".");
    if (parent) cut_name(parent);
    return parent;
}

char *il_path_join(const il_allocator *allocator, const char *dir, const char *name) {
    size_t head = strlen(dir), tail = strlen(name);
    int slash = head > 0 && dir[head - 1] != '/';
    char *path = il_alloc_raw(allocator, head + tail + 2, 1);
    if (!path) return NULL;
    memcpy(path, dir, head);
    if (slash) path[head++] = '/';
    memcpy(path + head, name, tail + 1);
    return path;
}

int il_path_exists(const char *path) { return access(path, F_OK) == 0; }

int il_path_is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/* ---- a seam for tests ---- */

int (*il_file_fault)(const char *call, const char *path);

int il_file_allowed(const char *call, const char *path) {
    int why = il_file_fault ? il_file_fault(call, path) : 0;
    if (!why) return 0;
    errno = why;
    return -1;
}
