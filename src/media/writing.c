/* writing.c: see writing.h. */
#include "media/writing.h"

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "media/size.h"

#include <string.h>
#include <strings.h>

static const il_picture_writer *const writers[] = {&il_write_png, &il_write_pnm, &il_write_gif, &il_write_y4m};

il_status il_picture_format_of(const char *path, il_picture_format *format, il_error *error) {
    static const struct {
        const char *ending;
        il_picture_format format;
    } known[] = {{".png", IL_PICTURE_PNG}, {".pgm", IL_PICTURE_PNM}, {".ppm", IL_PICTURE_PNM},
                 {".pnm", IL_PICTURE_PNM}, {".gif", IL_PICTURE_GIF}, {".y4m", IL_PICTURE_Y4M}};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        *format = known[i].format;
        if (n > 4 && strcasecmp(path + n - 4, known[i].ending) == 0) return IL_OK;
    }
    return il_fail(error, IL_ERR_ARG, "%s: names of pictures end in .png, .gif, .pgm, .ppm, .pnm or .y4m", path);
}

il_status il_picture_output_open(il_engine *engine, const char *path, il_picture_format format, int ms,
                                 il_picture_output **output, il_error *error) {
    *output = NULL;
    if ((unsigned)format >= sizeof writers / sizeof writers[0] || ms < 1 || ms > 65535)
        return il_fail(error, IL_ERR_ARG, "%s: format %d, %d ms a frame: 1 to 65535 are possible", path, (int)format,
                       ms);
    il_picture_output *o = il_alloc(&engine->memory, 1, sizeof *o);
    if (!o) return il_fail(error, IL_ERR_NOMEM, "%s: no memory to write it", path);
    o->memory = engine->memory;
    o->writer = (il_writer){.fd = -1, .allocator = &o->memory};
    o->format = writers[format];
    o->ms = ms;
    o->path = il_strdup(&o->memory, path);
    il_status status = o->path ? il_writer_open(&o->memory, path, &o->writer, error)
                               : il_fail(error, IL_ERR_NOMEM, "%s: no memory to write it", path);
    if (status == IL_OK) {
        *output = o;
        return IL_OK;
    }
    il_picture_output_abandon(o);
    return status;
}

il_status il_picture_output_put(il_picture_output *o, const il_picture *p, il_error *error) {
    if (!il_picture_size_fits((uint64_t)p->width, (uint64_t)p->height) || (p->channels != 1 && p->channels != 3))
        return il_fail(error, IL_ERR_ARG, "%s: a picture of %d by %d pixels of %d samples", o->path, p->width,
                       p->height, p->channels);
    if (o->first.width &&
        (p->width != o->first.width || p->height != o->first.height || p->channels != o->first.channels))
        return il_fail(error, IL_ERR_ARG, "%s: a picture of another form than the first", o->path);
    IL_TRY(o->format->put(o, p, error));
    o->first = *p;
    o->first.pixels = NULL;
    return IL_OK;
}

static void release(il_picture_output *o) {
    il_allocator memory = o->memory;
    if (o->format->close) o->format->close(o);
    il_free(&memory, o->path);
    il_free(&memory, o);
}

il_status il_picture_output_finish(il_picture_output *o, il_error *error) {
    il_status status =
        o->first.width ? IL_OK : il_fail(error, IL_ERR_ARG, "%s: a file without a picture is none", o->path);
    if (status == IL_OK && o->format->end) status = o->format->end(o, error);
    if (status == IL_OK) status = il_writer_finish(&o->writer, error);
    if (status != IL_OK) il_writer_abandon(&o->writer);
    release(o);
    return status;
}

void il_picture_output_abandon(il_picture_output *o) {
    if (!o) return;
    il_writer_abandon(&o->writer);
    release(o);
}
