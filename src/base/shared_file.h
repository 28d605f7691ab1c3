/* shared_file.h: a file that several processes fill, each its own places. It has its whole size from the beginning, and
 * stands where nobody reads it until all have closed it (folder.h). */
#ifndef IL_BASE_SHARED_FILE_H
#define IL_BASE_SHARED_FILE_H

#include "innerloop.h"

typedef struct il_shared_file {
    int fd;
    const char *path; /* the caller's */
} il_shared_file;

/* Makes the file, of so many bytes, with these at its beginning. */
il_status il_shared_file_make(const char *path, const void *header, size_t header_bytes, uint64_t bytes,
                              il_error *error);
/* Opens it; close is owed. Where a file system takes its time to show what another host has made it waits, a minute. */
il_status il_shared_file_open(const char *path, il_shared_file *file, il_error *error);
il_status il_shared_file_write(const il_shared_file *file, uint64_t at, const void *data, size_t bytes,
                               il_error *error);
/* Syncs what was written, if `status` is that of good work, and closes; returns the first that went wrong. */
il_status il_shared_file_close(il_shared_file *file, il_status status, il_error *error);

#endif
