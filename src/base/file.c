/* file.c: whole files, mapped to read, replaced to write. A reader sees the old file or the new one, never a
 * part: bytes go to a temporary file in the same folder that is synced and renamed over the old. Refuses
 * folders, devices and pipes, which a rename would destroy. Links are followed. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

enum { BUFFER_BYTES = 1 << 18 };

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

/* ---- replacing ---- */

/* Opens a file beside path that did not exist before. The name carries process and counter; one left by a
 * dead process of the same number is passed over. */
static il_status open_temporary(il_writer *writer, il_error *error) {
    static atomic_uint counter;
    size_t bytes = strlen(writer->path) + 40;
    writer->temporary = il_alloc(writer->allocator, bytes, 1);
    if (!writer->temporary) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", writer->path);
    for (int attempt = 0; attempt < 1000; attempt++) {
        snprintf(writer->temporary, bytes, "%s.tmp-%ld-%u", writer->path, (long)getpid(),
                 atomic_fetch_add(&counter, 1));
        writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->fd >= 0) return IL_OK;
        if (errno != EEXIST) break;
    }
    il_status status = il_fail_errno(error, IL_ERR_IO, "%s: cannot create", writer->temporary);
    il_free(writer->allocator, writer->temporary); /* not ours to remove */
    writer->temporary = NULL;
    return status;
}

il_status il_writer_open(const il_allocator *allocator, const char *path, il_writer *writer, il_error *error) {
    struct stat info;
    char real[PATH_MAX];
    *writer = (il_writer){.fd = -1, .allocator = allocator};
    if (!*path) return il_fail(error, IL_ERR_ARG, "a file needs a name");
    int exists = stat(path, &info) == 0;
    if (exists && !S_ISREG(info.st_mode))
        return il_fail(error, IL_ERR_IO, "%s: %s, not a file", path,
                       S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
    if (exists && !realpath(path, real)) return il_fail_errno(error, IL_ERR_IO, "%s: cannot resolve", path);
    writer->path = il_strdup(allocator, exists ? real : path);
    writer->buffer = il_alloc_raw(allocator, BUFFER_BYTES, 1);
    if (!writer->path || !writer->buffer) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    IL_TRY(open_temporary(writer, error));
    if (exists && fchmod(writer->fd, info.st_mode & 07777) != 0)
        return il_fail_errno(error, IL_ERR_IO, "%s: cannot set its mode", writer->temporary);
    return IL_OK;
}

static il_status write_all(il_writer *writer, const unsigned char *data, size_t bytes, il_error *error) {
    while (bytes) {
        ssize_t done = write(writer->fd, data, bytes < 1u << 30 ? bytes : 1u << 30);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot write", writer->path);
        data += done;
        bytes -= (size_t)done;
    }
    return IL_OK;
}

static il_status flush(il_writer *writer, il_error *error) {
    size_t bytes = writer->buffered;
    writer->buffered = 0;
    return write_all(writer, writer->buffer, bytes, error);
}

il_status il_writer_write(il_writer *writer, const void *data, size_t bytes, il_error *error) {
    if (bytes > BUFFER_BYTES - writer->buffered) IL_TRY(flush(writer, error));
    if (bytes >= BUFFER_BYTES) {
        IL_TRY(write_all(writer, data, bytes, error));
    } else if (bytes) {
        memcpy(writer->buffer + writer->buffered, data, bytes);
        writer->buffered += bytes;
    }
    writer->written += bytes;
    return IL_OK;
}

/* Makes the rename itself last. Some file systems cannot sync a folder; then there is nothing more to do. */
static il_status sync_folder(const char *path, il_error *error) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= sizeof folder) return IL_OK;
    memcpy(folder, path, length);
    folder[length] = 0;
    int fd = open(slash ? (length ? folder : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return IL_OK; /* a folder that may be written but not listed */
    int failed = fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS;
    il_status status = failed ? il_fail_errno(error, IL_ERR_IO, "%s: cannot sync its folder", path) : IL_OK;
    close(fd);
    return status;
}

il_status il_writer_finish(il_writer *writer, il_error *error) {
    IL_TRY(flush(writer, error));
    if (fsync(writer->fd) != 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot sync", writer->path);
    int fd = writer->fd;
    writer->fd = -1;
    if (close(fd) != 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot close", writer->path);
    if (rename(writer->temporary, writer->path) != 0)
        return il_fail_errno(error, IL_ERR_IO, "%s: cannot replace", writer->path);
    il_free(writer->allocator, writer->temporary);
    writer->temporary = NULL;
    il_status status = sync_folder(writer->path, error);
    if (status == IL_OK) il_writer_abandon(writer); /* nothing left to remove: only frees */
    return status;
}

void il_writer_abandon(il_writer *writer) {
    if (writer->fd >= 0) close(writer->fd);
    if (writer->temporary) unlink(writer->temporary);
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

il_status il_dir_make(const il_allocator *allocator, const char *dir, il_error *error) {
    il_status status = IL_OK;
    if (!*dir) return il_fail(error, IL_ERR_ARG, "a folder needs a name");
    char *path = il_strdup(allocator, dir);
    if (!path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    for (char *end = path + 1; status == IL_OK; end++) {
        if (*end && *end != '/') continue;
        char kept = *end;
        *end = 0;
        int why = mkdir(path, 0777) == 0 ? 0 : errno;
        if (why && !is_folder(path)) { /* is_folder first would race with another maker */
            errno = why;               /* not that of looking */
            status = why == EEXIST ? il_fail(error, IL_ERR_IO, "%s: exists and is no folder", path)
                                   : il_fail_errno(error, IL_ERR_IO, "%s: cannot make the folder", path);
        }
        *end = kept;
        if (!kept) break;
    }
    il_free(allocator, path);
    return status;
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
