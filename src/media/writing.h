/* writing.h: il_picture_output inside the library: what the writers of the formats share. */
#ifndef IL_MEDIA_WRITING_H
#define IL_MEDIA_WRITING_H

#include "base/file.h"
#include "innerloop.h"

struct il_picture_output {
    il_allocator memory;
    il_writer writer;
    const struct il_picture_writer *format;
    char *path; /* for messages */
    int ms;
    il_picture first; /* without its pixels; width 0: nothing was put yet */
    void *state;      /* the format's own */
};

typedef struct il_picture_writer {
    il_status (*put)(il_picture_output *output, const il_picture *picture, il_error *error);
    il_status (*end)(il_picture_output *output, il_error *error); /* NULL: nothing is left to write */
    void (*close)(il_picture_output *output);                     /* of state; NULL: there is none */
} il_picture_writer;

extern const il_picture_writer il_write_png, il_write_pnm, il_write_gif, il_write_y4m;

static inline size_t il_picture_bytes(const il_picture *p) {
    return (size_t)p->width * (size_t)p->height * (size_t)p->channels;
}

#endif
