/* on_disk.c: see on_disk.h. */
#include "text/on_disk.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AT_ONCE = 1 << 15 /* bytes that are converted at a time */ };

static void note(il_on_disk *f, const struct stat *info) {
    f->size = (uint64_t)info->st_size;
    f->changed[0] = info->st_mtim.tv_sec;
    f->changed[1] = info->st_mtim.tv_nsec;
}

il_status il_on_disk_open(const il_allocator *allocator, const char *path, il_source *source, il_format format,
                          il_on_disk *f, il_error *error) {
    struct stat info;
    *f = (il_on_disk){.allocator = allocator, .fd = -1};
    IL_TRY(il_shard_layout_of(source, format, &f->layout, error));
    if (fstat(source->fd, &info) != 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot inspect", path);
    note(f, &info);
    uint64_t bytes = f->size < f->layout.offset ? 0 : f->size - f->layout.offset, width = f->layout.form.width;
    f->tokens = f->layout.tokens == UINT64_MAX ? bytes / width : f->layout.tokens;
    if (f->layout.tokens == UINT64_MAX && bytes % width)
        return il_fail(error, IL_ERR_FORMAT, "%s: its bytes are not a whole number of tokens of %zu bytes", path,
                       f->layout.form.width);
    if (f->tokens > bytes / width || f->tokens * width != bytes)
        return il_fail(error, IL_ERR_FORMAT, "%s: %llu tokens promised, %llu bytes of tokens there", path,
                       (unsigned long long)f->tokens, (unsigned long long)bytes);
    f->path = il_strdup(allocator, path);
    return f->path ? IL_OK : il_fail(error, IL_ERR_NOMEM, "%s: no memory to read it", path);
}

void il_on_disk_rest(il_on_disk *f) {
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

void il_on_disk_close(il_on_disk *f) {
    if (!f->path) return;
    il_on_disk_rest(f);
    il_free(f->allocator, f->path);
    *f = (il_on_disk){.fd = -1};
}

static il_status wake(il_on_disk *f, int *opened, il_error *error) {
    struct stat info;
    il_on_disk now;
    *opened = 0;
    if (f->fd >= 0) return IL_OK;
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe in its place must not hold us up */
    if (f->fd < 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot open", f->path);
    *opened = 1;
    il_status status = IL_OK;
    if (fstat(f->fd, &info) != 0) {
        status = il_fail_errno(error, IL_ERR_IO, "%s: cannot inspect", f->path);
    } else {
        note(&now, &info);
        if (!S_ISREG(info.st_mode) || now.size != f->size || memcmp(now.changed, f->changed, sizeof now.changed) != 0)
            status = il_fail(error, IL_ERR_IO, "%s: was changed while it was in use", f->path);
    }
    if (status != IL_OK) il_on_disk_rest(f);
    return status;
}

static il_status read_bytes(const il_on_disk *f, uint64_t at, unsigned char *to, size_t bytes, il_error *error) {
    for (size_t have = 0; have < bytes;) {
        if (il_file_allowed("pread", f->path)) return il_fail_errno(error, IL_ERR_IO, "%s: cannot read", f->path);
        ssize_t got = pread(f->fd, to + have, bytes - have, (off_t)(at + have));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot read", f->path);
        if (got == 0) return il_fail(error, IL_ERR_IO, "%s: became shorter while it was in use", f->path);
        have += (size_t)got;
    }
    return IL_OK;
}

il_status il_on_disk_read(il_on_disk *f, uint64_t at, size_t n, int vocab_size, int32_t *ids, int *opened,
                          il_error *error) {
    unsigned char bytes[AT_ONCE];
    size_t width = f->layout.form.width;
    IL_TRY(wake(f, opened, error));
    for (size_t m; n; n -= m, at += m, ids += m) {
        m = n < AT_ONCE / width ? n : AT_ONCE / width;
        IL_TRY(read_bytes(f, f->layout.offset + at * width, bytes, m * width, error));
        IL_TRY(il_shard_convert(f->path, f->layout.form, bytes, m, at, vocab_size, ids, error));
    }
    return IL_OK;
}
