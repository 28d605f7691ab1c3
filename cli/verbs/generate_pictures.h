/* generate_pictures.h: pictures and films by a model of them. */
#ifndef CLI_VERBS_GENERATE_PICTURES_H
#define CLI_VERBS_GENERATE_PICTURES_H

#include "command.h"
#include "sampling.h"

typedef struct generate_picture_options {
    const char *out, *from, *actions;
    uint64_t count, rows, frames, scale;
    double guidance;
    int resize;
} generate_picture_options;

/* The rows of a verb's table that are of pictures alone. */
#define GENERATE_PICTURE_OPTIONS(options)                                                                              \
    ARG("--out", ARG_TEXT, &(options).out, "FILE",                                                                     \
        "of a model of pictures: .png, .gif, .pgm, .ppm or .y4m; - is standard output, as PNM or y4m", WRITES),        \
        ARG("--count", ARG_COUNT, &(options).count, "N", "so many pictures or films, on one sheet (default 1)",        \
            RANGE(1, 4096)),                                                                                           \
        ARG("--from", ARG_TEXT, &(options).from, "FILE",                                                               \
            "complete this picture, or go on with this film, of which nothing is written again", READS),               \
        ARG("--rows", ARG_COUNT, &(options).rows, "N", "rows of --from's picture that are given (default half)",       \
            RANGE(1, IL_LAYOUT_SIDE_MAX)),                                                                             \
        ARG("--frames", ARG_COUNT, &(options).frames, "N", "of a model of films: so many frames (default 16)",         \
            RANGE(1, 1e6)),                                                                                            \
        ARG("--actions", ARG_TEXT, &(options).actions, "NAMES",                                                        \
            "of films that are played: what leads to each frame, as 'forward*10,left*3'; with --frames N and --from "  \
            "also "                                                                                                    \
            "to those that are given, the first left out"),                                                            \
        ARG("--scale", ARG_COUNT, &(options).scale, "N", "write each pixel as N by N (default 1)", RANGE(1, 64)),      \
        ARG("--resize", ARG_FLAG, &(options).resize, NULL, "make --from's pictures the size that the model's have"),   \
        ARG("--guidance", ARG_REAL, &(options).guidance, "W",                                                          \
            "draw by W times what the caption changes: above 1 more as it says, and less varied (default 1)",          \
            RANGE(0, 100))

/* Whether one of them was given; its name, or NULL. */
const char *generate_pictures_given(const arg_spec *spec);
/* Draws with model and tokenizer, which are the caller's. Options of the verb that are of text alone are refused. */
il_status generate_pictures(cli_command *command, il_model *model, const il_tokenizer *tokenizer, const char *caption,
                            const cli_sampling *sampling, int frozen, const generate_picture_options *options);

#endif
