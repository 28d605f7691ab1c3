/* compress.c: `innerloop compress` and `innerloop decompress`. Input and output are held in memory; the output file
 * appears only when it is complete and, decompressed, has the right checksum. Models of pictures take those by their
 * pixels (compress_pictures.h). */
#include "bundled_model.h"
#include "command.h"
#include "files.h"
#include "interrupt.h"
#include "model_choice.h"
#include "output.h"
#include "picture_set.h"
#include "verbs.h"
#include "verbs/compress_pictures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct compress_options {
    const char *model, *dtype, *load;
    uint64_t streams;
    int no_mix;
} compress_options;

typedef struct codec_run {
    cli_command *command;
    const compress_options *options;
    const char *from;
    char *input; /* [bytes] */
    size_t bytes;
    il_buffer output;
    il_picture picture; /* width 0: it was text */
    double started;
    cli_progress progress;
    int shown; /* the progress has begun */
} codec_run;

static int show(void *user, uint64_t done, uint64_t total) {
    codec_run *run = user;
    char detail[64];
    if (!run->shown) cli_progress_begin(&run->progress, run->command->verb, "byte", 0, total);
    run->shown = 1;
    double seconds = cli_seconds() - run->progress.started;
    snprintf(detail, sizeof detail, "%.0f bytes/s", seconds > 0 ? (double)done / seconds : 0.0);
    cli_progress_show(&run->progress, done, detail);
    return cli_interrupted();
}

/* What the compressed size tells of input and model. */
static void judge(const char *verb, size_t original, size_t compressed) {
    if (original < 256) return; /* the header alone decides there */
    if (compressed > original)
        cli_note(verb, "the model predicts nothing of this file: it is stored as it is");
    else if (8 * compressed > 3 * original) /* prose takes 1.5 to 2.5 bits a byte */
        cli_note(verb, "this is not the kind of text the model was trained on: xz may make it smaller");
}

static void report_picture(const cli_command *command, const char *path, const il_picture *p, size_t compressed,
                           double seconds) {
    double pixels = (double)p->width * p->height, bits = 8.0 * (double)compressed / pixels;
    if (command->spec->json)
        cli_json_print(json_pack("{s:o, s:i, s:i, s:I, s:o, s:o, s:o}", "out", cli_json_string(path), "width", p->width,
                                 "height", p->height, "compressed_bytes", (json_int_t)compressed, "bits_per_pixel",
                                 cli_json_real(bits), "seconds", cli_json_real(seconds), "pixels_per_s",
                                 cli_json_real(seconds > 0 ? pixels / seconds : NAN)));
    else
        cli_note(command->verb, "%d by %d pixels %s %s (%.3f bits a pixel) in %.2f s", p->width, p->height,
                 command->verb[0] == 'c' ? "to" : "from", cli_count(compressed, "byte"), bits, seconds);
}

static void report(const cli_command *command, const char *path, size_t original, size_t compressed, double seconds) {
    double bits = original ? 8.0 * (double)compressed / (double)original : NAN;
    double rate = seconds > 0 ? (double)original / seconds : NAN;
    if (command->spec->json) {
        cli_json_print(json_pack("{s:o, s:I, s:I, s:o, s:o, s:o}", "out", cli_json_string(path), "bytes",
                                 (json_int_t)original, "compressed_bytes", (json_int_t)compressed, "bits_per_byte",
                                 cli_json_real(bits), "seconds", cli_json_real(seconds), "bytes_per_s",
                                 cli_json_real(rate)));
    } else {
        cli_note(command->verb, "%s %s %zu (%.3f bits per byte) in %.2f s", cli_count(original, "byte"),
                 command->verb[0] == 'c' ? "to" : "from", compressed, original ? bits : 0.0, seconds);
    }
}

static il_status attempt_picture(codec_run *run, il_model *model, il_tokenizer *tokenizer,
                                 const il_codec_options *codec, il_error *error) {
    static const char *const taken[] = {"--model", "--dtype"};
    il_error wrong;
    il_status status = cli_pictures_options(run->command, taken, COUNT_OF(taken), error);
    if (status) return status;
    if (run->command->verb[0] == 'c')
        return compress_picture(run->command, model, tokenizer, run->from, run->input, run->bytes, codec, &run->picture,
                                &run->output, error);
    status =
        il_picture_decompress(model, tokenizer, run->input, run->bytes, codec, &run->picture, &run->output, &wrong);
    return status
               ? cli_fail(error, status, "%s: %s", strcmp(run->from, "-") ? run->from : "standard input", wrong.message)
               : IL_OK;
}

/* With one model; IL_ERR_MISMATCH when input or state were made with another. */
static il_status attempt(void *user, il_model *model, il_tokenizer *tokenizer, il_error *error) {
    codec_run *run = user;
    il_codec_options codec;
    il_session *start = NULL;
    il_error wrong;
    int compressing = run->command->verb[0] == 'c';
    il_codec_options_default(&codec);
    codec.streams = (int)run->options->streams;
    codec.mix = !run->options->no_mix;
    codec.progress = show;
    codec.user = run;
    run->started = cli_seconds();
    if (il_tokenizer_pictures(tokenizer)) {
        il_status status = attempt_picture(run, model, tokenizer, &codec, error);
        if (run->shown) cli_progress_end(&run->progress);
        return status;
    }
    il_status status = run->options->load ? il_session_load(model, run->options->load, &start, error) : IL_OK;
    codec.start = start;
    if (!status) {
        status = (compressing ? il_compress : il_decompress)(model, tokenizer, run->input, run->bytes, &codec,
                                                             &run->output, &wrong);
        if (status)
            cli_fail(error, status, "%s: %s", strcmp(run->from, "-") ? run->from : "standard input", wrong.message);
    }
    if (run->shown) cli_progress_end(&run->progress);
    il_session_close(start);
    return status;
}

/* A file is decompressed, and a state gone on from, with the model that made it. */
static il_status transcode(cli_command *command, const compress_options *options, const char *from, const char *to) {
    codec_run run = {.command = command, .options = options, .from = from};
    il_model *model = NULL;
    il_tokenizer *tokenizer = NULL;
    char *chosen = NULL;
    int compressing = command->verb[0] == 'c';
    il_status status = cli_path_read(from, &run.input, &run.bytes, &command->error);
    if (!status && compressing && !options->load)
        status = cli_choose_to_compress(command, options->model, run.input, run.bytes, &chosen);
    cli_interrupt_catch();
    if (!status) status = cli_choose_by(command, chosen ? chosen : options->model, attempt, &run, &model, &tokenizer);
    double seconds = cli_seconds() - run.started;
    if (!status)
        status = run.picture.pixels ? compress_write_picture(command, to, &run.picture)
                                    : cli_path_write(to, run.output.data, run.output.bytes, &command->error);
    if (!status && run.picture.width)
        report_picture(command, to, &run.picture, compressing ? run.output.bytes : run.bytes, seconds);
    else if (!status && compressing)
        judge(command->verb, run.bytes, run.output.bytes);
    if (!status && !run.picture.width)
        report(command, to, compressing ? run.bytes : run.output.bytes, compressing ? run.output.bytes : run.bytes,
               seconds);
    il_buffer_free(&run.output);
    free(run.input);
    free(chosen);
    il_tokenizer_close(tokenizer);
    il_model_unref(model);
    return status;
}

static int run_verb(arg_spec *spec, const compress_options *options, int argc, char **argv) {
    cli_command command;
    int code;
    spec->operand = "IN OUT";
    spec->operand_help = "files; - is standard input or standard output";
    spec->operands_min = spec->operands_max = 2;
    spec->writes_last = 1;
    if (!arg_parse(spec, argc, argv, &code)) return code;
    il_status status = cli_command_open(&command, spec);
    command.dtype = options->dtype;
    if (!status) status = transcode(&command, options, spec->operands.items[0], spec->operands.items[1]);
    return cli_command_close(&command, status);
}

int verb_compress(int argc, char **argv) {
    compress_options options = {0};
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", CLI_CHOSEN_MODEL_HELP "; decompress needs the same one", READS),
        ARG("--dtype", ARG_CHOICE, &options.dtype, CLI_DTYPES,
            "hold the weights of linear layers in this type (default: as stored); decompress needs the same one"),
        ARG("--load-state", ARG_TEXT, &options.load, "FILE",
            "state from which the text goes on (see read); decompress needs the same one", READS),
        ARG("--streams", ARG_COUNT, &options.streams, "N",
            "cut the input into N streams that are read side by side (default: one for every 96 KiB); with one, "
            "decompress takes several times as long as compress",
            RANGE(1, 64)),
        ARG("--no-mix", ARG_FLAG, &options.no_mix, NULL,
            "the model alone predicts, not also what followed the same words before in this file"),
    };
    arg_spec spec = {.verb = "compress",
                     .summary = "make a file, or a picture, small by what a model predicts of it",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop compress --model model book.txt book.ilc\n"
                                "innerloop compress --model model --streams 8 - - < book.txt > book.ilc\n"
                                "innerloop compress --model model --load-state first.ilstate second.txt second.ilc\n"
                                "innerloop compress --model clothes sheet.png sheet.ilc"};
    return run_verb(&spec, &options, argc, argv);
}

int verb_decompress(int argc, char **argv) {
    compress_options options = {0};
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", CLI_OWN_MODEL_HELP, READS),
        ARG("--dtype", ARG_CHOICE, &options.dtype, CLI_DTYPES,
            "hold the weights of linear layers in this type, as compress did (default: as stored)"),
        ARG("--load-state", ARG_TEXT, &options.load, "FILE", "state that compress went on from, if it did", READS),
    };
    arg_spec spec = {.verb = "decompress",
                     .summary = "give back what compress was given, byte for byte",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop decompress --model model book.ilc book.txt"};
    return run_verb(&spec, &options, argc, argv);
}
