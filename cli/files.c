/* files.c: prompts, standard input, and whole-or-nothing output files. */
#include "files.h"
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static il_status io_error(il_error *error, const char *path) {
    return cli_fail(error, IL_ERR_IO, "%s: %s", path, strerror(errno));
}

static const char *shown(const char *path) { return strcmp(path, "-") ? path : "standard input"; }

static FILE *open_input(const char *path) { return strcmp(path, "-") ? fopen(path, "rb") : stdin; }

static void close_input(FILE *stream) {
    if (stream && stream != stdin) fclose(stream);
}

il_status cli_path_read(const char *path, char **text, size_t *bytes, il_error *error) {
    size_t capacity = 1 << 16, n = 0, got;
    *text = NULL;
    *bytes = 0;
    FILE *stream = open_input(path);
    if (!stream) return io_error(error, path);
    char *block = cli_alloc(capacity, 1);
    while ((got = fread(block + n, 1, capacity - n - 1, stream)) > 0) {
        n += got;
        if (n < capacity - 1) continue;
        char *larger = realloc(block, capacity *= 2);
        if (!larger) {
            free(block);
            close_input(stream);
            return cli_fail(error, IL_ERR_NOMEM, "%s: no memory for %zu bytes", shown(path), capacity);
        }
        block = larger;
    }
    if (ferror(stream)) {
        il_status status = io_error(error, shown(path));
        free(block);
        close_input(stream);
        return status;
    }
    close_input(stream);
    block[n] = 0;
    *text = block;
    *bytes = n;
    return IL_OK;
}

int cli_path_exists(const char *dir, const char *name) {
    char *path = name ? cli_format("%s/%s", dir, name) : cli_format("%s", dir);
    struct stat info;
    int exists = !stat(path, &info);
    free(path);
    return exists;
}

/* *target, released by free: what a new file at path replaces, which is where its links lead. Refuses devices and
 * pipes, which a rename would destroy. */
static il_status replaced(const char *path, char **target, il_error *error) {
    struct stat info;
    int exists = !stat(path, &info);
    *target = NULL;
    if (exists && !S_ISREG(info.st_mode)) return cli_fail(error, IL_ERR_IO, "%s: not a file", path);
    *target = exists ? realpath(path, NULL) : cli_format("%s", path);
    return *target ? IL_OK : io_error(error, path);
}

il_status cli_path_writable(const char *path, il_error *error) {
    char *target;
    il_status status = replaced(path, &target, error);
    if (status) return status;
    char *slash = strrchr(target, '/'), *folder = slash ? target : ".";
    if (slash) slash[1] = 0;
    if (access(folder, W_OK | X_OK)) status = io_error(error, path);
    free(target);
    return status;
}

uint64_t cli_path_bytes(const char *path) {
    struct stat info;
    return stat(path, &info) ? 0 : (uint64_t)info.st_size;
}

int cli_path_same(const char *one, const char *other) {
    struct stat a, b;
    return !stat(one, &a) && !stat(other, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

il_status cli_file_open(cli_file *file, const char *path, il_error *error) {
    static unsigned turn;
    *file = (cli_file){.path = path};
    il_status status = replaced(path, &file->target, error);
    if (status) return status;
    for (int attempt = 0; attempt < 1000; attempt++) { /* one may be there of a dead process of the same number */
        file->temporary = cli_format("%s.tmp-%ld-%u", file->target, (long)getpid(), turn++);
        int fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 && (file->stream = fdopen(fd, "wb"))) return IL_OK;
        int taken = fd < 0 && errno == EEXIST;
        status = io_error(error, path);
        if (fd >= 0) close(fd);
        if (fd < 0) {
            free(file->temporary); /* not ours to remove */
            file->temporary = NULL;
        }
        if (!taken) break;
    }
    cli_file_abandon(file);
    return status;
}

il_status cli_file_write(cli_file *file, const void *data, size_t bytes, il_error *error) {
    if (!bytes || fwrite(data, 1, bytes, file->stream) == bytes) return IL_OK;
    return io_error(error, file->path);
}

il_status cli_file_finish(cli_file *file, il_error *error) {
    il_status status = IL_OK;
    int failed = ferror(file->stream) || fflush(file->stream) || fsync(fileno(file->stream));
    if (failed) status = io_error(error, file->path);
    if (fclose(file->stream) && !status) status = io_error(error, file->path);
    file->stream = NULL;
    if (!status && rename(file->temporary, file->target)) status = io_error(error, file->path);
    if (status) {
        cli_file_abandon(file);
        return status;
    }
    free(file->temporary);
    free(file->target);
    *file = (cli_file){0};
    return IL_OK;
}

void cli_file_abandon(cli_file *file) {
    if (file->stream) fclose(file->stream);
    if (file->temporary) unlink(file->temporary);
    free(file->temporary);
    free(file->target);
    *file = (cli_file){0};
}

il_status cli_file_begin_npy(cli_file *file, const size_t *shape, int rank, il_error *error) {
    enum { PREFIX = 10, ALIGNMENT = 64 }; /* the format: magic, version, length; then a header padded to 64 */
    char header[256], block[320];
    int n = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < rank; i++)
        n += snprintf(header + n, sizeof header - (size_t)n, "%zu%s", shape[i],
                      i + 1 < rank ? ", "
                      : rank == 1  ? ","
                                   : "");
    n += snprintf(header + n, sizeof header - (size_t)n, "), }");
    size_t total = (PREFIX + (size_t)n + 1 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, length = total - PREFIX;
    memset(block, ' ', sizeof block);
    memcpy(block, "\x93NUMPY\x01\x00", 8);
    block[8] = (char)(length & 0xFF);
    block[9] = (char)(length >> 8);
    memcpy(block + PREFIX, header, (size_t)n);
    block[total - 1] = '\n';
    return cli_file_write(file, block, total, error);
}
