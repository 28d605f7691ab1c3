/* files.h: the files the command itself reads and writes: prompts, "-" for standard input, and the .npy and
 * .safetensors files eval makes. Files of the library's own formats are the library's. */
#ifndef CLI_FILES_H
#define CLI_FILES_H

#include "args.h"
#include "innerloop.h"

#include <stdio.h>

/* The whole of path ("-": standard input) with a NUL after it, released by free. */
il_status cli_path_read(const char *path, char **text, size_t *bytes, il_error *error);
int cli_path_exists(const char *dir, const char *name); /* name may be NULL */

/* Whether a file can be put at path, replacing what may be there; IL_ERR_IO when not. */
il_status cli_path_writable(const char *path, il_error *error);
uint64_t cli_path_bytes(const char *path);             /* 0 when there is none */
int cli_path_same(const char *one, const char *other); /* by whatever names and links; 0 when there is none */

/* A file that appears under its name only when it is complete. Links are followed; devices and pipes are refused. */
typedef struct cli_file {
    FILE *stream;
    const char *path;         /* the caller's */
    char *target, *temporary; /* where its links lead; what is renamed to it */
} cli_file;
il_status cli_file_open(cli_file *file, const char *path, il_error *error);
il_status cli_file_write(cli_file *file, const void *data, size_t bytes, il_error *error);
il_status cli_file_finish(cli_file *file, il_error *error); /* after success nothing is owed */
void cli_file_abandon(cli_file *file);                      /* also of a zeroed or finished file */

/* The header of an fp32 array in NumPy's format, version 1.0; the elements follow by cli_file_write. */
il_status cli_file_begin_npy(cli_file *file, const size_t *shape, int rank, il_error *error);

#endif
