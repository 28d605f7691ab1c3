/* zip.c: see zip.h. The directory at the end of an archive says where its files are; what stands before each file must
 * agree with it. Refused are archives of several disks, and directories that files reach into. */
#include "tensor/zip.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they lie");

enum {
    ENTRIES_MAX = 1 << 16,
    END_BYTES = 22, /* of the record at the end, before its comment */
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    LISTED_BYTES = 46, /* of an entry of the directory, before its name */
    LOCAL_BYTES = 30,  /* before a file's own name */
    COMMENT_MAX = 0xffff,
    ENCRYPTED = 1 /* of the flags */
};
static const unsigned char LOCAL[] = {'P', 'K', 3, 4}, LISTED[] = {'P', 'K', 1, 2}, END[] = {'P', 'K', 5, 6},
                           END64[] = {'P', 'K', 6, 6}, LOCATOR[] = {'P', 'K', 6, 7};

typedef struct archive {
    const char *path;
    const unsigned char *data;
    size_t bytes;
    size_t directory, directory_bytes, count; /* as the end says */
    il_error *error;
} archive;

static uint16_t u16_at(const unsigned char *at) {
    uint16_t x;
    memcpy(&x, at, sizeof x);
    return x;
}

static uint32_t u32_at(const unsigned char *at) {
    uint32_t x;
    memcpy(&x, at, sizeof x);
    return x;
}

static uint64_t u64_at(const unsigned char *at) {
    uint64_t x;
    memcpy(&x, at, sizeof x);
    return x;
}

static il_status damaged(const archive *a, const char *what) {
    return il_fail(a->error, IL_ERR_FORMAT, "%s: cut short, or damaged: %s", a->path, what);
}

int il_zip_begins(const void *data, size_t bytes) { return bytes >= 4 && memcmp(data, LOCAL, sizeof LOCAL) == 0; }

/* ---- the end ---- */

/* The record at the end, behind which only its comment is. */
static const unsigned char *find_end(const archive *a) {
    if (a->bytes < END_BYTES) return NULL;
    for (size_t comment = 0; comment <= COMMENT_MAX && comment <= a->bytes - END_BYTES; comment++) {
        const unsigned char *at = a->data + a->bytes - END_BYTES - comment;
        if (memcmp(at, END, sizeof END) == 0 && u16_at(at + 20) == comment) return at;
    }
    return NULL;
}

/* What does not fit in the numbers of `end` stands in a record of its own, which a locator before `end` points to. */
static il_status read_end64(archive *a, const unsigned char *end) {
    size_t before = (size_t)(end - a->data);
    if (before < LOCATOR_BYTES || memcmp(end - LOCATOR_BYTES, LOCATOR, sizeof LOCATOR) != 0)
        return damaged(a, "the long record at its end is missing");
    uint64_t place = u64_at(end - LOCATOR_BYTES + 8);
    if (place > before - LOCATOR_BYTES || before - LOCATOR_BYTES - place < END64_BYTES ||
        memcmp(a->data + place, END64, sizeof END64) != 0)
        return damaged(a, "the long record at its end is not where it should be");
    const unsigned char *record = a->data + place;
    if (u32_at(record + 16) || u32_at(record + 20) || u64_at(record + 24) != u64_at(record + 32))
        return il_fail(a->error, IL_ERR_UNSUPPORTED, "%s: an archive of several disks", a->path);
    a->count = u64_at(record + 32);
    a->directory_bytes = u64_at(record + 40);
    a->directory = u64_at(record + 48);
    if (a->directory > place || a->directory_bytes > place - a->directory)
        return damaged(a, "its directory is not inside it");
    return IL_OK;
}

static il_status read_end(archive *a) {
    const unsigned char *end = find_end(a);
    if (!end) return damaged(a, "there is no directory at its end");
    a->count = u16_at(end + 10);
    a->directory_bytes = u32_at(end + 12);
    a->directory = u32_at(end + 16);
    if (a->count == UINT16_MAX || a->directory_bytes == UINT32_MAX || a->directory == UINT32_MAX)
        return read_end64(a, end);
    if (u16_at(end + 4) || u16_at(end + 6) || u16_at(end + 8) != a->count)
        return il_fail(a->error, IL_ERR_UNSUPPORTED, "%s: an archive of several disks", a->path);
    size_t before = (size_t)(end - a->data);
    if (a->directory > before || a->directory_bytes > before - a->directory)
        return damaged(a, "its directory is not inside it");
    return IL_OK;
}

/* ---- entries ---- */

/* The long numbers of an entry stand in its extra field, those that need it, in this order. */
static int read_extra64(const unsigned char *extra, size_t bytes, uint64_t *sizes[3]) {
    while (bytes >= 4) {
        size_t n = u16_at(extra + 2);
        if (n > bytes - 4) return 0;
        if (u16_at(extra) == 1) {
            const unsigned char *at = extra + 4;
            for (int i = 0; i < 3; i++) {
                if (*sizes[i] != UINT32_MAX) continue;
                if (n < 8) return 0;
                *sizes[i] = u64_at(at);
                at += 8;
                n -= 8;
            }
            return 1;
        }
        extra += 4 + n;
        bytes -= 4 + n;
    }
    return 0;
}

/* Where the file itself lies: behind a header of its own, which names it again. */
static il_status find_data(const archive *a, uint64_t place, il_zip_entry *entry) {
    size_t before = a->directory;
    if (place > before || before - place < LOCAL_BYTES || memcmp(a->data + place, LOCAL, sizeof LOCAL) != 0)
        return damaged(a, "a file is not where its directory says");
    const unsigned char *local = a->data + place;
    size_t left = before - (size_t)place - LOCAL_BYTES, name = u16_at(local + 26), extra = u16_at(local + 28);
    if (name != entry->name_bytes || name + extra > left || memcmp(local + LOCAL_BYTES, entry->name, name) != 0 ||
        u16_at(local + 8))
        return damaged(a, "a file is not the one that its directory says");
    entry->data = local + LOCAL_BYTES + name + extra;
    return entry->bytes <= left - name - extra ? IL_OK : damaged(a, "a file reaches past where its directory begins");
}

/* Bytes of the directory that it takes. */
static il_status read_entry(const archive *a, const unsigned char *at, size_t left, il_zip_entry *entry,
                            size_t *taken) {
    if (left < LISTED_BYTES || memcmp(at, LISTED, sizeof LISTED) != 0)
        return damaged(a, "its directory has fewer entries than it says");
    size_t name = u16_at(at + 28), extra = u16_at(at + 30), comment = u16_at(at + 32);
    uint64_t packed = u32_at(at + 20), bytes = u32_at(at + 24), place = u32_at(at + 42);
    *taken = LISTED_BYTES + name + extra + comment;
    if (*taken > left) return damaged(a, "its directory ends in an entry");
    *entry = (il_zip_entry){.name = (const char *)at + LISTED_BYTES, .name_bytes = name};
    if (!name || memchr(entry->name, 0, name)) return damaged(a, "a file has no name");
    if (u16_at(at + 8) & ENCRYPTED)
        return il_fail(a->error, IL_ERR_UNSUPPORTED, "%s: its files are encrypted", a->path);
    if (u16_at(at + 10))
        return il_fail(a->error, IL_ERR_UNSUPPORTED, "%s: its files are compressed (method %u), which torch never does",
                       a->path, (unsigned)u16_at(at + 10));
    if (packed == UINT32_MAX || bytes == UINT32_MAX || place == UINT32_MAX) {
        uint64_t *sizes[] = {&bytes, &packed, &place};
        if (!read_extra64(at + LISTED_BYTES + name, extra, sizes)) return damaged(a, "the size of a file is missing");
    }
    if (packed != bytes) return damaged(a, "a file that is not compressed has two sizes");
    entry->bytes = (size_t)bytes;
    return find_data(a, place, entry);
}

static int by_place(const void *left, const void *right) {
    const il_zip_entry *a = left, *b = right;
    if (a->data != b->data) return a->data < b->data ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes); /* empty ones first */
}

static int compare(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static int by_name(const void *left, const void *right) {
    const il_zip_entry *a = left, *b = right;
    return compare(a->name, a->name_bytes, b->name, b->name_bytes);
}

/* No byte is part of two files, and no name of two. */
static il_status check_apart(const archive *a, il_zip *zip) {
    qsort(zip->entries, zip->n, sizeof *zip->entries, by_place);
    for (size_t i = 1; i < zip->n; i++)
        if (zip->entries[i].data - zip->entries[i - 1].data < (ptrdiff_t)zip->entries[i - 1].bytes)
            return damaged(a, "two of its files overlap");
    qsort(zip->entries, zip->n, sizeof *zip->entries, by_name);
    for (size_t i = 1; i < zip->n; i++)
        if (by_name(&zip->entries[i - 1], &zip->entries[i]) == 0) return damaged(a, "two of its files have one name");
    return IL_OK;
}

static il_status read_directory(const archive *a, il_zip *zip) {
    const unsigned char *at = a->data + a->directory;
    size_t left = a->directory_bytes, taken = 0;
    if (a->count > ENTRIES_MAX)
        return il_fail(a->error, IL_ERR_UNSUPPORTED, "%s: more than %d files", a->path, ENTRIES_MAX);
    if (a->count > left / LISTED_BYTES) return damaged(a, "its directory has fewer entries than it says");
    zip->entries = il_alloc(zip->allocator, a->count, sizeof *zip->entries);
    if (!zip->entries) return il_fail(a->error, IL_ERR_NOMEM, "%s: out of memory", a->path);
    for (zip->n = 0; zip->n < a->count; zip->n++) {
        IL_TRY(read_entry(a, at, left, &zip->entries[zip->n], &taken));
        at += taken;
        left -= taken;
    }
    if (left) return damaged(a, "its directory has more entries than it says");
    return check_apart(a, zip);
}

il_status il_zip_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes, il_zip *zip,
                       il_error *error) {
    archive a = {.path = path, .data = data, .bytes = bytes, .error = error};
    *zip = (il_zip){.allocator = allocator};
    il_status status = read_end(&a);
    if (status == IL_OK) status = read_directory(&a, zip);
    if (status != IL_OK) il_zip_close(zip);
    return status;
}

void il_zip_close(il_zip *zip) {
    if (zip->allocator) il_free(zip->allocator, zip->entries);
    *zip = (il_zip){0};
}

const il_zip_entry *il_zip_find(const il_zip *zip, const char *name) {
    size_t low = 0, high = zip->n, bytes = strlen(name);
    while (low < high) {
        size_t middle = (low + high) / 2;
        const il_zip_entry *entry = &zip->entries[middle];
        int order = compare(entry->name, entry->name_bytes, name, bytes);
        if (order == 0) return entry;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
