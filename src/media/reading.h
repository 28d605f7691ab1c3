/* reading.h: il_pictures inside the library: what the readers of the formats share. A reader is one function that gives
 * the next picture; it checks every size before it asks for memory. */
#ifndef IL_MEDIA_READING_H
#define IL_MEDIA_READING_H

#include "innerloop.h"
#include "text/source.h"

struct il_pictures {
    il_allocator memory;
    il_source source;
    const struct il_picture_reader *reader;
    uint64_t given; /* pictures so far */
    void *pixels;   /* [room] of the picture given last */
    size_t room;
    void *state; /* the reader's own, of memory */
};

typedef struct il_picture_reader {
    const char *name;
    /* Fills in all but what is 0. IL_ERR_END, without a message, after the last. */
    il_status (*next)(il_pictures *pictures, il_picture *picture, il_error *error);
    void (*close)(il_pictures *pictures); /* NULL: il_free of state is all */
} il_picture_reader;

extern const il_picture_reader il_read_png, il_read_pnm, il_read_idx, il_read_gif, il_read_y4m;

/* IL_ERR_FORMAT, naming the file, for a size that no picture may have. */
il_status il_pictures_check_size(const il_pictures *pictures, uint64_t width, uint64_t height, il_error *error);
/* Room for the pixels of a picture of a checked size, which `picture` then points to; not zeroed. */
il_status il_pictures_make(il_pictures *pictures, int width, int height, int channels, il_picture *picture,
                           il_error *error);
/* The next n bytes of the file; IL_ERR_FORMAT, saying what they are of, where there are fewer. */
il_status il_pictures_take(il_pictures *pictures, void *to, size_t n, const char *what, il_error *error);
/* The next byte, *byte -1 at the end; with `taken` 0 it is only looked at. */
il_status il_pictures_byte(il_pictures *pictures, int taken, int *byte, il_error *error);
/* state [bytes], zeroed, at the first call. */
il_status il_pictures_state(il_pictures *pictures, size_t bytes, il_error *error);

#endif
