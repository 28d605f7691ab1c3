/* shared_file.c: see shared_file.h. */
#include "base/shared_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

enum { WAIT_US = 100000, WAITS = 600 };

il_status il_shared_file_make(const char *path, const void *header, size_t header_bytes, uint64_t bytes,
                              il_error *error) {
    int fd = il_file_allowed("open", path) ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot create", path);
    il_status status = IL_OK;
    if (il_file_allowed("ftruncate", path) || ftruncate(fd, (off_t)bytes) != 0)
        status = il_fail_errno(error, IL_ERR_IO, "%s: cannot make it %llu bytes long", path, (unsigned long long)bytes);
    if (status == IL_OK) status = il_file_write_at(fd, path, 0, header, header_bytes, error);
    if (close(fd) != 0 && status == IL_OK) status = il_fail_errno(error, IL_ERR_IO, "%s: cannot close", path);
    return status;
}

il_status il_shared_file_open(const char *path, il_shared_file *file, il_error *error) {
    *file = (il_shared_file){.fd = -1, .path = path};
    for (int waits = 0; waits < WAITS; waits++) {
        file->fd = il_file_allowed("open", path) ? -1 : open(path, O_WRONLY | O_CLOEXEC);
        if (file->fd >= 0) return IL_OK;
        if (errno != ENOENT && errno != ESTALE) break;
        usleep(WAIT_US);
    }
    return il_fail_errno(error, IL_ERR_IO, "%s: cannot open what rank 0 has made: all hosts must share its file system",
                         path);
}

il_status il_shared_file_write(const il_shared_file *file, uint64_t at, const void *data, size_t bytes,
                               il_error *error) {
    return il_file_write_at(file->fd, file->path, at, data, bytes, error);
}

il_status il_shared_file_close(il_shared_file *file, il_status status, il_error *error) {
    if (file->fd < 0) return status;
    if (status == IL_OK && (il_file_allowed("fsync", file->path) || fsync(file->fd) != 0))
        status = il_fail_errno(error, IL_ERR_IO, "%s: cannot sync", file->path);
    if (close(file->fd) != 0 && status == IL_OK)
        status = il_fail_errno(error, IL_ERR_IO, "%s: cannot close", file->path);
    file->fd = -1;
    return status;
}
