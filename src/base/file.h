/* file.h: reading files whole by mapping them, and replacing files so that a crash leaves the old or the new one. */
#ifndef IL_BASE_FILE_H
#define IL_BASE_FILE_H

#include "innerloop.h"

/* A read-only view of a regular file. bytes may be 0 (data is then not NULL but must not be read). */
typedef struct il_map {
    const unsigned char *data;
    size_t bytes;
} il_map;

/* IL_ERR_IO, naming path, for what cannot be opened or is no regular file (folders, devices). */
il_status il_map_open(const char *path, il_map *map, il_error *error);
void il_map_close(il_map *map);

/* Atomic replacement: write to a temporary file beside path, then fsync and rename it (finish) or remove it (abandon).
 * After any failed call abandon must still be called; after finish nothing is owed. */
typedef struct il_writer {
    int fd;
    char *path, *temporary;
    const il_allocator *allocator;
    unsigned char *buffer;
    size_t buffered;
    uint64_t written; /* bytes so far */
} il_writer;

il_status il_writer_open(const il_allocator *allocator, const char *path, il_writer *writer, il_error *error);
il_status il_writer_write(il_writer *writer, const void *data, size_t bytes, il_error *error);
il_status il_writer_finish(il_writer *writer, il_error *error);
void il_writer_abandon(il_writer *writer);

/* open, write, finish (or abandon) in one. */
il_status il_file_replace(const il_allocator *allocator, const char *path, const void *data, size_t bytes,
                          il_error *error);
/* Makes dir and its missing parents; none of them stays when it fails. *existed (NULL allowed): how many bytes of the
 * name were there before, for il_dir_unmake. */
il_status il_dir_make(const il_allocator *allocator, const char *dir, size_t *existed, il_error *error);
/* Removes what il_dir_make made, as far as it is empty. */
void il_dir_unmake(const il_allocator *allocator, const char *dir, size_t existed);
/* Makes what a folder says last. Some file systems cannot; then there is nothing more to do. */
il_status il_dir_sync(const char *dir, il_error *error);
/* "dir/name" in memory of the allocator; NULL when short. */
char *il_path_join(const il_allocator *allocator, const char *dir, const char *name);
/* The folder that path is in, "." if it names none; NULL when short. */
char *il_path_parent(const il_allocator *allocator, const char *path);
int il_path_exists(const char *path);

/* ---- temporaries: NAME.tmp-PID-N, beside what they will become ---- */

/* A name that this process has not used before; NULL when short. Whoever makes it locks it (il_temporary_hold), so that
 * a process elsewhere that sees no such PID lets it be. */
char *il_temporary_name(const il_allocator *allocator, const char *path);
void il_temporary_hold(int fd);
/* Removes from dir what killed processes left of `base`, or of all names that begin so when it ends in '*': entries
 * called as above whose process is gone and whose lock nobody holds. Of folders only the files in `names` (closed by
 * NULL); `names` NULL: no folders. */
void il_temporary_clean(const char *dir, const char *base, const char *const *names);
/* Whether name is that of a temporary of base. */
int il_temporary_is(const char *name, const char *base);
/* Removes from an open folder the files of these names, closed by NULL, their temporaries, and a lock. */
#define IL_LOCK_NAME ".innerloop-lock"
void il_files_remove(int folder, const char *const *names);

/* ---- a seam for tests ---- */

/* Called before every system call that changes what a disk holds or takes a lock, by the call's name. The errno that it
 * returns, if not 0, is what the call fails with. NULL, always outside tests: none is asked. */
extern int (*il_file_fault)(const char *call, const char *path);
/* 0, or -1 with errno set: `il_file_allowed("rename", path) || rename(…)`. */
int il_file_allowed(const char *call, const char *path);

#endif
