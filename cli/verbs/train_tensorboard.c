/* train_tensorboard.c: see train_tensorboard.h.
 *
 * A record is its length (8 bytes), a masked CRC of these, the message, a masked CRC of it. The messages, by the
 * numbers of their fields: Event 1 wall_time (double), 2 step, 3 file_version (string), 5 summary, 7 session_log;
 * Summary 1 value; Summary.Value 1 tag, 2 simple_value (float); SessionLog 1 status (START is 1). */
#include "verbs/train_tensorboard.h"
#include "output.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5, HOST_BYTES = 256 };

uint32_t train_crc32c(const void *data, size_t bytes) {
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = i;
            for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
            table[i] = crc;
        }
    uint32_t crc = ~0u;
    for (size_t i = 0; i < bytes; i++) crc = crc >> 8 ^ table[(crc ^ ((const unsigned char *)data)[i]) & 255];
    return ~crc;
}

static uint32_t masked(const void *data, size_t bytes) {
    uint32_t crc = train_crc32c(data, bytes);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static size_t put_fixed(unsigned char *to, uint64_t value, size_t width) {
    for (size_t i = 0; i < width; i++) to[i] = (unsigned char)(value >> (8 * i));
    return width;
}

static size_t put_varint(unsigned char *to, uint64_t value) {
    size_t n = 0;
    for (; value > 127; value >>= 7) to[n++] = (unsigned char)(value | 128);
    to[n++] = (unsigned char)value;
    return n;
}

static size_t put_key(unsigned char *to, unsigned field, unsigned type) { return put_varint(to, field << 3 | type); }

static size_t put_bytes(unsigned char *to, unsigned field, const void *data, size_t bytes) {
    size_t n = put_key(to, field, BYTES);
    n += put_varint(to + n, bytes);
    memcpy(to + n, data, bytes);
    return n + bytes;
}

static size_t put_double(unsigned char *to, unsigned field, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    size_t n = put_key(to, field, FIXED64);
    return n + put_fixed(to + n, bits, 8);
}

/* An Event whose `field` is a message or string. */
static il_status put_event(train_tensorboard *t, uint64_t step, unsigned field, const void *data, size_t bytes,
                           il_error *error) {
    struct timespec now;
    unsigned char *event = cli_alloc(bytes + 64, 1), head[12], tail[4];
    clock_gettime(CLOCK_REALTIME, &now);
    size_t n = put_double(event, 1, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
    n += put_key(event + n, 2, VARINT);
    n += put_varint(event + n, step);
    n += put_bytes(event + n, field, data, bytes);
    put_fixed(head, n, 8);
    put_fixed(head + 8, masked(head, 8), 4);
    put_fixed(tail, masked(event, n), 4);
    int failed = fwrite(head, 1, sizeof head, t->file) != sizeof head || fwrite(event, 1, n, t->file) != n ||
                 fwrite(tail, 1, sizeof tail, t->file) != sizeof tail || fflush(t->file);
    free(event);
    return failed ? cli_fail(error, IL_ERR_IO, "%s: %s", t->path, strerror(errno)) : IL_OK;
}

/* TensorBoard reads files in the order of their names: the next one's second is above all that are there. */
static long long second_of_next(const char *dir) {
    long long second = (long long)time(NULL), one;
    DIR *handle = opendir(dir);
    for (struct dirent *entry; handle && (entry = readdir(handle));)
        if (sscanf(entry->d_name, "events.out.tfevents.%lld.", &one) == 1 && one >= second && one < 9999999999LL)
            second = one + 1;
    if (handle) closedir(handle);
    return second;
}

static il_status make_folder(const char *dir, il_error *error) {
    char *path = cli_format("%s", dir);
    int failed = 0;
    for (char *slash = path + 1; slash && !failed;) {
        slash = strchr(slash, '/');
        if (slash) *slash = 0;
        failed = mkdir(path, 0777) && errno != EEXIST;
        if (slash) *slash++ = '/';
    }
    free(path);
    return failed ? cli_fail(error, IL_ERR_IO, "%s: cannot make the folder: %s", dir, strerror(errno)) : IL_OK;
}

il_status train_tensorboard_open(train_tensorboard *t, const char *dir, uint64_t first, il_error *error) {
    static const char version[] = "brain.Event:2";
    static const unsigned char start[] = {1 << 3 | VARINT, 1};
    char host[HOST_BYTES] = "";
    *t = (train_tensorboard){0};
    il_status status = make_folder(dir, error);
    if (status) return status;
    if (gethostname(host, sizeof host - 1) || !*host) memcpy(host, "host", 5);
    t->path = cli_format("%s/events.out.tfevents.%010lld.%s", dir, second_of_next(dir), host);
    t->file = fopen(t->path, "wxb");
    if (!t->file) return cli_fail(error, IL_ERR_IO, "%s: %s", t->path, strerror(errno));
    status = put_event(t, 0, 3, version, sizeof version - 1, error);
    if (!status && first > 1) status = put_event(t, first, 7, start, sizeof start, error);
    return status;
}

void train_tensorboard_add(train_tensorboard *t, const char *tag, double value) {
    float single = (float)value;
    uint32_t bits;
    size_t name = strlen(tag), n;
    if (!t->file || !isfinite(single)) return;
    unsigned char *message = cli_alloc(name + 32, 1);
    memcpy(&bits, &single, sizeof bits);
    n = put_bytes(message, 1, tag, name);
    n += put_key(message + n, 2, FIXED32);
    n += put_fixed(message + n, bits, 4);
    t->values = cli_grown(t->values, &t->capacity, t->bytes + n + 16, 1);
    t->bytes += put_bytes(t->values + t->bytes, 1, message, n);
    free(message);
}

il_status train_tensorboard_write(train_tensorboard *t, uint64_t step, il_error *error) {
    size_t bytes = t->bytes;
    t->bytes = 0;
    return t->file && bytes ? put_event(t, step, 5, t->values, bytes, error) : IL_OK;
}

void train_tensorboard_close(train_tensorboard *t) {
    if (t->file) fclose(t->file);
    free(t->values);
    free(t->path);
    *t = (train_tensorboard){0};
}
