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
/* Memory that holds these bytes of it, and some before them, is given back: what is looked at again is read again. */
void il_map_release(const il_map *map, const unsigned char *data, size_t bytes);

/* Atomic replacement: write to a temporary file beside path, then fsync and rename it (finish) or remove it (abandon).
 * Links are followed, also to where nothing is yet, and the mode of what is replaced is kept. What cannot be replaced,
 * a pipe or a character device, is written as it comes; /dev/stdout, /dev/stderr and /dev/fd/N are open files already,
 * and what they are is written from where it stands. After any failed call abandon must still be called; after finish
 * nothing is owed. */
typedef struct il_writer {
    int fd;
    int watch;              /* il_temporary_watch */
    char *path, *temporary; /* where links lead; NULL: written as it comes */
    const il_allocator *allocator;
    unsigned char *buffer;
    size_t buffered;
    uint64_t written; /* bytes so far */
} il_writer;

/* What il_writer_open would refuse, found without a trace: a folder, a name that is too long, what may not be written.
 */
il_status il_writer_check(const char *path, il_error *error);
il_status il_writer_open(const il_allocator *allocator, const char *path, il_writer *writer, il_error *error);
il_status il_writer_write(il_writer *writer, const void *data, size_t bytes, il_error *error);
/* What was written goes where it is written to at once. */
il_status il_writer_flush(il_writer *writer, il_error *error);
/* Puts data in the place of what was written there; of a file, not of what is written as it comes. */
il_status il_writer_change(il_writer *writer, uint64_t at, const void *data, size_t bytes, il_error *error);
il_status il_writer_finish(il_writer *writer, il_error *error);
void il_writer_abandon(il_writer *writer);
/* All of data at this place of an open file; path is for the message. */
il_status il_file_write_at(int fd, const char *path, uint64_t at, const void *data, size_t bytes, il_error *error);

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
int il_path_is_file(const char *path); /* a regular one */

/* ---- a seam for tests ---- */

/* Called before every system call that changes what a disk holds or takes a lock, by the call's name. The errno that it
 * returns, if not 0, is what the call fails with. NULL, always outside tests: none is asked. */
extern int (*il_file_fault)(const char *call, const char *path);
/* 0, or -1 with errno set: `il_file_allowed("rename", path) || rename(…)`. */
int il_file_allowed(const char *call, const char *path);

#endif
