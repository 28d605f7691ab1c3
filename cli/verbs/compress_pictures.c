/* compress_pictures.c: see compress_pictures.h. */
#include "verbs/compress_pictures.h"

#include "output.h"

#include <string.h>

typedef struct memory {
    const char *data;
    size_t left;
} memory;

static int64_t read_memory(void *user, void *to, size_t bytes) {
    memory *m = user;
    size_t n = m->left < bytes ? m->left : bytes;
    if (n) memcpy(to, m->data, n);
    m->data += n;
    m->left -= n;
    return (int64_t)n;
}

il_status compress_picture(cli_command *command, il_model *model, const il_tokenizer *tokenizer, const char *from,
                           const void *data, size_t bytes, const il_codec_options *options, il_picture *size,
                           il_buffer *output, il_error *error) {
    memory m = {data, bytes};
    const char *name = strcmp(from, "-") ? from : "standard input";
    il_pictures *file;
    il_picture picture, more;
    il_error why;
    il_status status = il_pictures_open(command->engine, name, read_memory, &m, &file, error);
    if (status) return status;
    status = il_pictures_next(file, &picture, error);
    if (!status && picture.changed)
        status = cli_fail(error, IL_ERR_UNSUPPORTED,
                          "%s: it is transparent, has more than 8 bits a sample or other colours than red, green and "
                          "blue: not all of it would come back",
                          name);
    if (!status) {
        status = il_picture_compress(model, tokenizer, &picture, options, output, &why);
        if (status) cli_fail(error, status, "%s: %s", name, why.message);
    }
    *size = picture;
    size->pixels = NULL;
    if (!status && il_pictures_next(file, &more, NULL) != IL_ERR_END) {
        il_buffer_free(output);
        status = cli_fail(error, IL_ERR_UNSUPPORTED, "%s: more than one picture, or a damaged one", name);
    }
    il_pictures_close(file);
    return status;
}

il_status compress_write_picture(cli_command *command, const char *to, const il_picture *picture) {
    il_picture_format format = IL_PICTURE_PNM;
    il_picture_output *output;
    il_error *error = &command->error;
    il_status status = strncmp(to, "/dev/", 5) ? il_picture_format_of(to, &format, error) : IL_OK;
    if (!status) status = il_picture_output_open(command->engine, to, format, 1000, &output, error);
    if (status) return status;
    status = il_picture_output_put(output, picture, error);
    if (!status) return il_picture_output_finish(output, error);
    il_picture_output_abandon(output);
    return status;
}
