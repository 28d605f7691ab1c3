/* source.c: see source.h. */
#include "text/source.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

/* ---- the file itself ---- */

static int64_t read_fd(void *user, void *data, size_t bytes) {
    const il_source *s = user;
    for (;;) {
        ssize_t got = read(s->fd, data, bytes);
        if (got >= 0 || errno != EINTR) return got;
    }
}

static il_status open_file(il_source *s, const char *path, il_error *error) {
    struct stat info;
    int is_stdin = strcmp(path, "-") == 0;
    if (is_stdin) s->name = "standard input";
    s->keep_open = is_stdin;
    s->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot open", path);
    if (fstat(s->fd, &info) != 0) return il_fail_errno(error, IL_ERR_IO, "%s: cannot inspect", s->name);
    if (S_ISDIR(info.st_mode)) return il_fail(error, IL_ERR_IO, "%s: a folder, not a file", s->name);
    s->regular = S_ISREG(info.st_mode) && !is_stdin; /* standard input may stand anywhere in its file */
    s->size = s->regular ? (uint64_t)info.st_size : 0;
    return IL_OK;
}

il_status il_source_open(const il_allocator *allocator, const char *path, il_read read, void *user, int window_log,
                         il_source *s, il_error *error) {
    *s = (il_source){.allocator = allocator, .name = path, .read = read, .user = user, .fd = -1};
    s->window_log = window_log ? window_log : IL_WINDOW_LOG;
    if (s->window_log < 10 || s->window_log > IL_WINDOW_LOG_MAX)
        return il_fail(error, IL_ERR_ARG, "a largest window of 2^%d bytes; 10 to %d are possible", window_log,
                       IL_WINDOW_LOG_MAX);
    if (!read) {
        s->read = read_fd;
        s->user = s;
        IL_TRY(open_file(s, path, error));
    }
    s->block = il_alloc_raw(allocator, IL_SOURCE_BLOCK, 1);
    return s->block ? IL_OK : il_fail(error, IL_ERR_NOMEM, "%s: no memory to read it", s->name);
}

il_status il_source_open_raw(const il_allocator *allocator, const char *path, il_source *s, il_error *error) {
    IL_TRY(il_source_open(allocator, path, NULL, NULL, 0, s, error));
    s->begun = 1; /* compression is not looked for */
    return IL_OK;
}

void il_source_close(il_source *s) {
    if (s->fd >= 0 && !s->keep_open) close(s->fd);
    ZSTD_freeDStream(s->zstd);
    if (s->gzip) inflateEnd(s->gzip);
    if (s->allocator) {
        il_free(s->allocator, s->gzip);
        il_free(s->allocator, s->raw);
        il_free(s->allocator, s->block);
    }
    *s = (il_source){.fd = -1};
}

/* One read of the file. */
static il_status read_raw(il_source *s, unsigned char *to, size_t room, size_t *got, il_error *error) {
    int64_t n = s->read(s->user, to, room);
    *got = 0;
    if (n < 0 || (uint64_t)n > room) return il_fail_errno(error, IL_ERR_IO, "%s: cannot read", s->name);
    s->raw_read += (uint64_t)n;
    s->raw_ended = n == 0;
    if (n == 0 && s->raw_read < s->size)
        return il_fail(error, IL_ERR_IO, "%s: became shorter while it was read: %llu of %llu bytes", s->name,
                       (unsigned long long)s->raw_read, (unsigned long long)s->size);
    *got = (size_t)n;
    return IL_OK;
}

/* ---- decompression ---- */

enum { RAW_BLOCK = 1 << 16 };

static il_status decompress_begin(il_source *s, int is_zstd, il_error *error) {
    int failed = !(s->raw = il_alloc_raw(s->allocator, IL_SOURCE_BLOCK + RAW_BLOCK, 1));
    if (!failed && is_zstd) {
        s->zstd = ZSTD_createDStream();
        failed = !s->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, s->window_log));
    } else if (!failed) {
        z_stream *z = il_alloc(s->allocator, 1, sizeof *z);
        failed = !z || inflateInit2(z, 16 + MAX_WBITS) != Z_OK; /* 16: gzip only */
        if (failed)
            il_free(s->allocator, z);
        else
            s->gzip = z;
    }
    if (failed) return il_fail(error, IL_ERR_NOMEM, "%s: no memory to decompress it", s->name);
    s->raw_to = il_source_bytes(s); /* what was read so far is not what is given out */
    memcpy(s->raw, il_source_data(s), s->raw_to);
    s->raw_from = s->from = s->to = 0;
    return IL_OK;
}

static il_status broken(const il_source *s, const char *why, il_error *error) {
    return il_fail(error, IL_ERR_FORMAT, "%s: near compressed byte %llu: %s", s->name,
                   (unsigned long long)(s->raw_read - (s->raw_to - s->raw_from)), why);
}

/* Appends to the block what the raw bytes give. */
static il_status step_zstd(il_source *s, il_error *error) {
    ZSTD_inBuffer in = {s->raw, s->raw_to, s->raw_from};
    ZSTD_outBuffer out = {s->block, IL_SOURCE_BLOCK, s->to};
    size_t left = ZSTD_decompressStream(s->zstd, &out, &in);
    int progress = in.pos > s->raw_from || out.pos > s->to;
    s->raw_from = in.pos;
    s->to = out.pos;
    if (ZSTD_isError(left)) {
        switch (ZSTD_getErrorCode(left)) {
        case ZSTD_error_memory_allocation:
            return il_fail(error, IL_ERR_NOMEM, "%s: no memory to decompress it", s->name);
        case ZSTD_error_frameParameter_windowTooLarge:
            return il_fail(
                error, IL_ERR_UNSUPPORTED,
                "%s: made by zstd with a window longer than 2^%d bytes (zstd --long); a larger --max-window, "
                "up to %d, reads it and takes as much memory",
                s->name, s->window_log, IL_WINDOW_LOG_MAX);
        default: return broken(s, ZSTD_getErrorName(left), error);
        }
    }
    if (progress) s->inside = left != 0;
    return IL_OK;
}

static il_status step_gzip(il_source *s, il_error *error) {
    z_stream *z = s->gzip;
    if (!s->inside) { /* another member, or zeros that fill a tape's last block */
        while (s->raw_from < s->raw_to && s->begun > 1 && s->raw[s->raw_from] == 0) s->raw_from++;
        if (s->raw_from == s->raw_to) return IL_OK;
        if (s->begun > 1 && inflateReset(z) != Z_OK) return broken(s, "cannot go on", error);
        s->begun = 2;
        s->inside = 1;
    }
    z->next_in = s->raw + s->raw_from;
    z->avail_in = (uInt)(s->raw_to - s->raw_from);
    z->next_out = s->block + s->to;
    z->avail_out = (uInt)(IL_SOURCE_BLOCK - s->to);
    int result = inflate(z, Z_NO_FLUSH);
    s->raw_from = s->raw_to - z->avail_in;
    s->to = IL_SOURCE_BLOCK - z->avail_out;
    if (result == Z_STREAM_END)
        s->inside = 0;
    else if (result == Z_MEM_ERROR)
        return il_fail(error, IL_ERR_NOMEM, "%s: no memory to decompress it", s->name);
    else if (result != Z_OK && result != Z_BUF_ERROR)
        return broken(s, z->msg ? z->msg : "broken", error);
    return IL_OK;
}

/* Until something comes out, or the end. The decompressors may hold back output although all input is in, so each
 * gets a turn before more is read. */
static il_status decompress(il_source *s, il_error *error) {
    size_t before = s->to;
    while (s->to == before && !s->ended) {
        size_t from = s->raw_from, got;
        if (s->raw_from < s->raw_to || s->inside) IL_TRY(s->zstd ? step_zstd(s, error) : step_gzip(s, error));
        if (s->to > before || s->raw_from > from) continue;
        if (s->raw_from > 0) {
            memmove(s->raw, s->raw + s->raw_from, s->raw_to - s->raw_from);
            s->raw_to -= s->raw_from;
            s->raw_from = 0;
        }
        if (!s->raw_ended) {
            IL_TRY(read_raw(s, s->raw + s->raw_to, IL_SOURCE_BLOCK + RAW_BLOCK - s->raw_to, &got, error));
            s->raw_to += got;
            if (got) continue;
        }
        if (s->inside || s->raw_to > s->raw_from)
            return il_fail(error, IL_ERR_FORMAT, "%s: cut short: it ends inside a compressed frame", s->name);
        s->ended = 1;
    }
    return IL_OK;
}

/* ---- both ---- */

/* 1 zstd, 2 gzip, 0 neither, -1: too few bytes to tell. A skippable frame may stand first. */
static int compression(const unsigned char *p, size_t n) {
    static const unsigned char zstd[] = {0x28, 0xB5, 0x2F, 0xFD}, skippable[] = {0x50, 0x2A, 0x4D, 0x18};
    if (n == 0) return -1;
    if (p[0] == 0x1F) return n < 2 ? -1 : p[1] == 0x8B ? 2 : 0;
    if (memcmp(p, zstd, n < 4 ? n : 4) == 0) return n < 4 ? -1 : 1;
    if ((p[0] & 0xF0) == 0x50 && memcmp(p + 1, skippable + 1, n < 4 ? n - 1 : 3) == 0) return n < 4 ? -1 : 1;
    return 0;
}

il_status il_source_fill(il_source *s, il_error *error) {
    if (s->from > 0) {
        memmove(s->block, s->block + s->from, s->to - s->from);
        s->to -= s->from;
        s->from = 0;
    }
    if (s->ended || s->to == IL_SOURCE_BLOCK) return IL_OK;
    if (s->raw) return decompress(s, error);
    for (int undecided = 1; undecided;) {
        size_t got;
        IL_TRY(read_raw(s, s->block + s->to, IL_SOURCE_BLOCK - s->to, &got, error));
        s->to += got;
        s->ended = s->raw_ended;
        undecided = 0;
        if (s->begun) break;
        int kind = compression(s->block, s->to);
        undecided = kind < 0 && !s->ended;
        if (undecided) continue;
        s->begun = 1;
        if (kind <= 0) break;
        s->ended = 0;
        IL_TRY(decompress_begin(s, kind == 1, error));
        return decompress(s, error);
    }
    return IL_OK;
}

il_status il_source_need(il_source *s, size_t n, il_error *error) {
    while (il_source_bytes(s) < n && !s->ended) IL_TRY(il_source_fill(s, error));
    return IL_OK;
}
