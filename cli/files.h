/* files.h: the files the command itself reads and writes: whole ones, "-" for standard input, and the .npy files that
 * eval makes. Files of the library's own formats are the library's. */
#ifndef CLI_FILES_H
#define CLI_FILES_H

#include "args.h"
#include "innerloop.h"

#include <stdio.h>

/* The whole of path ("-": standard input) with a NUL after it, released by free. */
il_status cli_path_read(const char *path, char **text, size_t *bytes, il_error *error);
/* The same of a regular file of at most bytes_max: a pipe is refused, not waited for. */
il_status cli_file_read(const char *path, size_t bytes_max, char **text, size_t *bytes, il_error *error);
int cli_path_exists(const char *dir, const char *name); /* name may be NULL */
/* By how the file begins: GGUF; a checkpoint of the official JAX code. */
int cli_path_is_gguf(const char *path);
int cli_path_is_jax(const char *path);

uint64_t cli_path_bytes(const char *path); /* 0 when there is none */

/* Puts data [bytes] at path, whole or not at all. */
il_status cli_path_write(const char *path, const void *data, size_t bytes, il_error *error);

/* The header of an fp32 array in NumPy's format, version 1.0; the elements follow by il_output_write. */
il_status cli_npy_begin(il_output *output, const size_t *shape, int rank, il_error *error);

#endif
