/* files.c: see files.h. */
#include "files.h"
#include "output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

il_status cli_file_read(const char *path, size_t bytes_max, char **text, size_t *bytes, il_error *error) {
    struct stat info;
    if (stat(path, &info)) return io_error(error, path);
    if (!S_ISREG(info.st_mode)) return cli_fail(error, IL_ERR_IO, "%s: not a file", path);
    if ((uint64_t)info.st_size > bytes_max)
        return cli_fail(error, IL_ERR_UNSUPPORTED, "%s: %lld bytes: more than %zu KiB are not read", path,
                        (long long)info.st_size, bytes_max / 1024);
    return cli_path_read(path, text, bytes, error);
}

il_status cli_path_write(const char *path, const void *data, size_t bytes, il_error *error) {
    il_output *output;
    il_status status = il_output_open(path, &output, error);
    if (status) return status;
    status = il_output_write(output, data, bytes, error);
    if (!status) return il_output_finish(output, error);
    il_output_abandon(output);
    return status;
}

int cli_path_exists(const char *dir, const char *name) {
    char *path = name ? cli_format("%s/%s", dir, name) : cli_format("%s", dir);
    struct stat info;
    int exists = !stat(path, &info);
    free(path);
    return exists;
}

/* The first bytes of a file; 0 where it has fewer, or is none. */
static int first_bytes(const char *path, char *begins, size_t bytes) {
    struct stat info;
    FILE *stream = !stat(path, &info) && S_ISREG(info.st_mode) ? fopen(path, "rb") : NULL;
    if (!stream) return 0;
    size_t n = fread(begins, 1, bytes, stream);
    fclose(stream);
    return n == bytes;
}

int cli_path_is_gguf(const char *path) {
    char begins[4];
    return first_bytes(path, begins, sizeof begins) && !memcmp(begins, "GGUF", sizeof begins);
}

/* A pair of msgpack, of which the first is a list that begins with a short text. */
int cli_path_is_jax(const char *path) {
    char begins[3];
    return first_bytes(path, begins, sizeof begins) && begins[0] == '\x92' && (begins[1] & 0xf0) == 0x90 &&
           (begins[2] & 0xe0) == 0xa0;
}

uint64_t cli_path_bytes(const char *path) {
    struct stat info;
    return stat(path, &info) ? 0 : (uint64_t)info.st_size;
}

il_status cli_npy_begin(il_output *output, const size_t *shape, int rank, il_error *error) {
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
    return il_output_write(output, block, total, error);
}
