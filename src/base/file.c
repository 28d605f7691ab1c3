/* file.c: whole files, mapped to read, replaced to write. A reader sees the old file or the new one, never a
 * part: bytes go to a temporary file in the same folder that is synced and renamed over the old. Refuses
 * folders, devices and pipes, which a rename would destroy. Links are followed. */
#include "base/file.h"

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

/* Opens a file beside path that did not exist before. */
static il_status open_temporary(il_writer *writer, il_error *error) {
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
                         : open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->fd >= 0) {
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

/* Leaves of a path the folder that it is in. Two bytes are enough for any. */
static void cut_name(char *path) {
    char *slash = strrchr(path, '/');
    if (slash)
        slash[slash == path] = 0;
    else
        memcpy(path, ".", 2);
}

il_status il_writer_finish(il_writer *writer, il_error *error) {
    IL_TRY(flush(writer, error));
    if (il_file_allowed("fsync", writer->path) || fsync(writer->fd) != 0)
        return il_fail_errno(error, IL_ERR_IO, "%s: cannot sync", writer->path);
    int fd = writer->fd;
    writer->fd = -1;
    if (close(fd) != 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot close", writer->path);
    if (il_file_allowed("rename", writer->path) || rename(writer->temporary, writer->path) != 0)
        return il_fail_errno(error, IL_ERR_IO, "%s: cannot replace", writer->path);
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

/* ---- temporaries ---- */

static atomic_uint temporaries; /* names given out */

char *il_temporary_name(const il_allocator *allocator, const char *path) {
    size_t bytes = strlen(path) + 40;
    char *name = il_alloc(allocator, bytes, 1);
    if (name) snprintf(name, bytes, "%s.tmp-%ld-%u", path, (long)getpid(), atomic_fetch_add(&temporaries, 1));
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
    size_t n = strlen(base), some = n && base[n - 1] == '*';
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

/* ---- a seam for tests ---- */

int (*il_file_fault)(const char *call, const char *path);

int il_file_allowed(const char *call, const char *path) {
    int why = il_file_fault ? il_file_fault(call, path) : 0;
    if (!why) return 0;
    errno = why;
    return -1;
}
