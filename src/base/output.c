/* output.c: writers (file.h) for programs that use the library. Memory is the C library's: an output needs no engine.
 */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

struct il_output {
    il_allocator allocator;
    il_writer writer;
};

il_status il_output_check(const char *path, il_error *error) { return il_writer_check(path, error); }

il_status il_output_open(const char *path, il_output **output, il_error *error) {
    il_allocator allocator = il_allocator_default();
    il_output *o = il_alloc(&allocator, 1, sizeof *o);
    *output = NULL;
    if (!o) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    o->allocator = allocator;
    il_status status = il_writer_open(&o->allocator, path, &o->writer, error);
    if (status == IL_OK)
        *output = o;
    else
        il_output_abandon(o);
    return status;
}

il_status il_output_write(il_output *output, const void *data, size_t bytes, il_error *error) {
    return il_writer_write(&output->writer, data, bytes, error);
}

il_status il_output_finish(il_output *output, il_error *error) {
    il_status status = il_writer_finish(&output->writer, error);
    il_output_abandon(output);
    return status;
}

void il_output_abandon(il_output *output) {
    if (!output) return;
    il_allocator allocator = output->allocator;
    il_writer_abandon(&output->writer);
    il_free(&allocator, output);
}
