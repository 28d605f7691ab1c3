/* size.h: what size a picture may have: of a file that is read or written, and of one that is compressed. */
#ifndef IL_MEDIA_SIZE_H
#define IL_MEDIA_SIZE_H

#include "innerloop.h"

static inline int il_picture_size_fits(uint64_t width, uint64_t height) {
    return width >= 1 && height >= 1 && width <= IL_PICTURE_SIDE_MAX && height <= IL_PICTURE_SIDE_MAX &&
           width * height <= IL_PICTURE_PIXELS_MAX;
}

#endif
