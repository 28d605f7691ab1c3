/* picture_set.h: the pictures and films of files and folders, in order, with their captions, in memory. The order of a
 * folder is that of its names, byte by byte. */
#ifndef CLI_PICTURE_SET_H
#define CLI_PICTURE_SET_H

#include "actions.h"
#include "command.h"
#include "innerloop.h"

typedef struct cli_picture_options {
    const char *captions; /* "folders", "names" or a file; NULL: none */
    const char *labels;   /* names of the numbers of such a file, with commas between them; NULL: the numbers */
    const char *actions;  /* the file of what leads to each frame of films (actions.h); NULL: nothing does */
    int is_new;           /* the layout gets the actions that are in it; else it has them */
    int films;            /* 0: each picture and frame is one by itself */
    int resize;           /* pictures of another size are made that of the layout; else they are refused */
} cli_picture_options;

/* Four rows of a verb's table. */
#define CLI_PICTURE_OPTIONS(options)                                                                                   \
    ARG("--captions", ARG_TEXT, &(options).captions, "{folders,names,FILE}",                                           \
        "captions are the names of folders or files, or stand in a file: IDX labels, or lines NAME,CAPTION", READS),   \
        ARG("--label-names", ARG_TEXT, &(options).labels, "NAME,…", "what the numbers of IDX labels are called"),      \
        ARG("--actions", ARG_TEXT, &(options).actions, "FILE",                                                         \
            "what the player of films did: a line for each film, and in it for each frame the name of the action "     \
            "that "                                                                                                    \
            "led to it, or -",                                                                                         \
            READS),                                                                                                    \
        ARG("--resize", ARG_FLAG, &(options).resize, NULL,                                                             \
            "make pictures of another size the size that they must have")

typedef struct cli_picture_item {
    char *name, *caption; /* caption "": none */
    size_t first, frames; /* of cli_pictures.frames; a picture has one */
} cli_picture_item;

typedef struct cli_pictures {
    il_picture_layout layout; /* width 0: the size of the first picture */
    int coloured;             /* pixels are red, green and blue, as for a palette that is yet to be made; else tokens */
    unsigned char *pixels;    /* [frames, height, width, coloured ? 3 : 1] */
    size_t frames, room;
    cli_picture_item *items;       /* [n] */
    size_t n, items_room, longest; /* longest: bytes of a caption */
    cli_actions actions;           /* of all frames, one behind the other; or none */
    uint64_t left_out;             /* files of folders that are not pictures */
} cli_pictures;

/* Reads what words [n] name; layout and coloured are the caller's. Must be closed even after a failure. */
il_status cli_pictures_read(il_engine *engine, const char *const *words, size_t n, const cli_picture_options *options,
                            cli_pictures *pictures, il_error *error);
void cli_pictures_close(cli_pictures *pictures);
/* The next picture of a file as one of the layout's size: it itself, or what --resize makes of it in *room, which is
 * the caller's to free. */
il_status cli_picture_fit(const il_picture_layout *layout, const char *name, int resize, il_picture *picture,
                          unsigned char **room, il_error *error);
/* How many tokens an item has: header, and frames each with what begins it. */
size_t cli_picture_item_size(const il_picture_layout *layout, const cli_picture_item *item);
/* Those tokens, of a set that is not coloured. A caption that does not fit is an error. */
il_status cli_picture_item_tokens(const cli_pictures *pictures, const il_picture_layout *layout,
                                  const cli_picture_item *item, int32_t *tokens, il_error *error);
/* Wrong usage of a model of pictures where an option is given that is none of names [n]. */
il_status cli_pictures_options(cli_command *command, const char *const *names, size_t n, il_error *error);

#endif
