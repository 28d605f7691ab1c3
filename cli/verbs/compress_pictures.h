/* compress_pictures.h: a file that holds a picture, by its pixels. */
#ifndef CLI_VERBS_COMPRESS_PICTURES_H
#define CLI_VERBS_COMPRESS_PICTURES_H

#include "command.h"

/* Reads the one picture of a file's bytes, `from` by name, and codes it. *size: its sides and channels. */
il_status compress_picture(cli_command *command, il_model *model, const il_tokenizer *tokenizer, const char *from,
                           const void *data, size_t bytes, const il_codec_options *options, il_picture *size,
                           il_buffer *output, il_error *error);
/* Writes a picture as the name of `to` says. */
il_status compress_write_picture(cli_command *command, const char *to, const il_picture *picture);

#endif
