/* png_file.c: the reader and the writer of PNG, by libpng's simplified interface. Pixels are 8 bits a sample, sRGB, as
 * that gives them: transparency is laid on white, 16 bits are rounded, and the picture says that it was changed so. */
#include "media/reading.h"
#include "media/writing.h"

#include "base/error.h"
#include "base/memory.h"

#include <string.h>

#ifdef IL_WITH_PNG
#include <png.h>

enum { FILE_BYTES_MAX = 256 << 20 };

/* ---- reading ---- */

typedef struct file {
    void *bytes; /* [n], compressed as they are */
    size_t n, room;
} file;

/* The whole file, since libpng's simplified interface wants it so. */
static il_status slurp(il_pictures *p, file *f, il_error *error) {
    for (;;) {
        IL_TRY(il_source_need(&p->source, 1, error));
        size_t here = il_source_bytes(&p->source);
        if (!here) return IL_OK;
        if (here > FILE_BYTES_MAX - f->n)
            return il_fail(error, IL_ERR_UNSUPPORTED, "%s: a PNG of more than 256 MiB", p->source.name);
        if (!il_grow(&p->memory, &f->bytes, &f->room, f->n, f->n + here, 1))
            return il_fail(error, IL_ERR_NOMEM, "%s: no memory to read it", p->source.name);
        memcpy((char *)f->bytes + f->n, il_source_data(&p->source), here);
        f->n += here;
        p->source.from += here;
    }
}

static il_status decode(il_pictures *p, const file *f, png_image *image, il_picture *picture, il_error *error) {
    static const png_color white = {255, 255, 255};
    if (!png_image_begin_read_from_memory(image, f->bytes, f->n))
        return il_fail(error, IL_ERR_FORMAT, "%s: %s", p->source.name, image->message);
    IL_TRY(il_pictures_check_size(p, image->width, image->height, error));
    int colours = (image->format & PNG_FORMAT_FLAG_COLOR) != 0;
    picture->begins = 1;
    picture->changed = (image->format & (PNG_FORMAT_FLAG_ALPHA | PNG_FORMAT_FLAG_LINEAR)) != 0;
    image->format = colours ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
    IL_TRY(il_pictures_make(p, (int)image->width, (int)image->height, colours ? 3 : 1, picture, error));
    if (png_image_finish_read(image, &white, p->pixels, 0, NULL)) return IL_OK;
    return il_fail(error, IL_ERR_FORMAT, "%s: %s", p->source.name, image->message);
}

static il_status next(il_pictures *p, il_picture *picture, il_error *error) {
    file f = {0};
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (p->given) return IL_ERR_END;
    il_status status = slurp(p, &f, error);
    if (status == IL_OK) status = decode(p, &f, &image, picture, error);
    png_image_free(&image);
    il_free(&p->memory, f.bytes);
    return status;
}

/* ---- writing ---- */

static il_status put(il_picture_output *o, const il_picture *p, il_error *error) {
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)p->width,
                       .height = (png_uint_32)p->height,
                       .format = p->channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY};
    if (o->first.width) return il_fail(error, IL_ERR_ARG, "%s: a PNG holds one picture", o->path);
    png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
    void *data = il_alloc_raw(&o->memory, bytes, 1);
    il_status status = data ? IL_OK : il_fail(error, IL_ERR_NOMEM, "%s: no memory to write it", o->path);
    if (status == IL_OK && !png_image_write_to_memory(&image, data, &bytes, 0, p->pixels, 0, NULL))
        status = il_fail(error, IL_ERR_NOMEM, "%s: %s", o->path, image.message);
    if (status == IL_OK) status = il_writer_write(&o->writer, data, bytes, error);
    png_image_free(&image);
    il_free(&o->memory, data);
    return status;
}

#else

static il_status next(il_pictures *p, il_picture *picture, il_error *error) {
    (void)picture;
    return il_fail(error, IL_ERR_UNSUPPORTED, "%s: PNG: this build is without libpng", p->source.name);
}

static il_status put(il_picture_output *o, const il_picture *picture, il_error *error) {
    (void)picture;
    return il_fail(error, IL_ERR_UNSUPPORTED, "%s: PNG: this build is without libpng", o->path);
}

#endif

const il_picture_reader il_read_png = {"PNG", next, NULL};
const il_picture_writer il_write_png = {put, NULL, NULL};
