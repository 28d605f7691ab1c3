/* support_files.h: a folder of one's own for a test, and files in it. Every call fails the running test when
 * it cannot. */
#ifndef IL_SUPPORT_FILES_H
#define IL_SUPPORT_FILES_H

#include <stddef.h>

/* Makes an empty folder; returns its path, released by support_folder_remove with all that is in it. */
char *support_folder_make(void);
void support_folder_remove(char *folder);
/* "folder/name" in one of eight buffers that take turns. */
const char *support_path(const char *folder, const char *name);
void support_write(const char *path, const void *data, size_t bytes);
/* The file's bytes and a NUL, released by free. */
char *support_read(const char *path, size_t *bytes);
int support_exists(const char *path);
/* The test fails when their bytes differ. */
void support_same_files(const char *a, const char *b);
/* Entries of a folder, "." and ".." not counted. */
int support_folder_count(const char *folder);

#endif
