/* test_pictures.c: pictures as tokens and back, the files that are read and written, and what is refused of them. */
#include "support_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../fuzz/bytes.h"
#include "support_engine.h"
#include "support_files.h"
#include "text/picture_layout.h"

static support_alloc alloc;
static il_engine *engine;
static il_error error;
static char *folder;

static int begin(void **state) {
    (void)state;
    engine = support_engine(1, &alloc);
    folder = support_folder_make();
    return 0;
}

static int end(void **state) {
    (void)state;
    support_folder_remove(folder);
    support_engine_close(engine, &alloc);
    return 0;
}

static const il_picture_layout clothes = {.width = 4, .height = 3, .levels = 16, .header_rows = 2, .captions = 1};

/* ---- layouts ---- */

static il_status parse(const char *text, il_picture_layout *layout) {
    return il_picture_layout_parse("pictures.json", text, strlen(text), layout, &error);
}

static void test_layouts(void **state) {
    (void)state;
    il_tokenizer *made, *loaded;
    il_tokenizer_info info;
    il_picture_layout layout = clothes;
    il_tokens tokens = {0};
    layout.films = 1;
    layout.actions = 3;
    assert_ok(il_tokenizer_open_pictures(engine, &layout, &made, &error), error);
    assert_ok(il_tokenizer_save(made, folder, &error), error);
    assert_ok(il_tokenizer_load(engine, support_path(folder, "pictures.json"), &loaded, &error), error);
    il_tokenizer_get_info(loaded, &info);
    assert_string_equal(info.kind, "pictures");
    assert_true(info.vocab_size == 16 + 4 + 3 + 256 && info.bos == 16 && info.eos == 17 && info.unk == -1);
    assert_memory_equal(il_tokenizer_pictures(loaded), il_tokenizer_pictures(made), sizeof layout);
    assert_fails(il_tokenizer_encode(loaded, "text", 4, &tokens, &error), IL_ERR_UNSUPPORTED, error,
                 "no tokens for text");
    static const struct {
        int token;
        const char *name;
    } names[] = {{0, "<pixel>"}, {16, "<bos>"}, {17, "<eos>"}, {18, "<eoc>"}, {19, "<frame>"}, {22, "<action>"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *name;
        size_t bytes;
        assert_int_equal(il_tokenizer_token(loaded, names[i].token, &name, &bytes), IL_TOKEN_CONTROL);
        assert_true(bytes == strlen(names[i].name) && !memcmp(name, names[i].name, bytes));
    }
    il_decoder decoder = {0};
    char text[64];
    size_t bytes;
    assert_ok(il_tokenizer_decode(loaded, &decoder, 23 + 'x', text, sizeof text, &bytes, &error), error);
    assert_true(bytes == 1 && text[0] == 'x');
    il_tokenizer_close(made);
    il_tokenizer_close(loaded);
    /* the least vocabulary */
    layout = (il_picture_layout){.width = 1, .height = 1, .levels = 2, .header_rows = 1};
    assert_ok(il_tokenizer_open_pictures(engine, &layout, &made, &error), error);
    il_tokenizer_get_info(made, &info);
    assert_int_equal(info.vocab_size, 6);
    assert_null(il_tokenizer_pictures(made)->colours[0][0] ? "" : NULL);
    assert_int_equal(il_tokenizer_pictures(made)->colours[1][2], 255);
    il_tokenizer_close(made);
}

/* Actions by name: kept in the file, each once, and of all of them or of none. */
static void test_action_names(void **state) {
    (void)state;
    il_picture_layout layout = clothes, again;
    il_tokenizer *made;
    char *text;
    size_t bytes;
    layout.films = 1;
    layout.actions = 2;
    strcpy(layout.action_names[0], "left");
    memcpy(layout.action_names[1], "a-2_\0dirt", 9);
    assert_ok(il_tokenizer_open_pictures(engine, &layout, &made, &error), error);
    assert_ok(il_tokenizer_save(made, folder, &error), error);
    text = support_read(support_path(folder, "pictures.json"), &bytes);
    assert_non_null(strstr(text, "\"actions\": [\"left\",\"a-2_\"]"));
    assert_ok(parse(text, &again), error);
    assert_memory_equal(&again, il_tokenizer_pictures(made), sizeof again);
    free(text);
    il_tokenizer_close(made);
    static const char *const bad[][3] = {{"Left", "right", "action 0"},
                                         {"left", "", "action 1"},
                                         {"left", "9", "action 1"},
                                         {"left", "of-twenty-four-letters--", "action 1"},
                                         {"left", "left", "both called left"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        for (int k = 0; k < 2; k++) memcpy(layout.action_names[k], bad[i][k], strnlen(bad[i][k], 23) + 1);
        assert_fails(il_tokenizer_open_pictures(engine, &layout, &made, &error), IL_ERR_ARG, error, bad[i][2]);
    }
    layout.actions = 65;
    assert_fails(il_tokenizer_open_pictures(engine, &layout, &made, &error), IL_ERR_ARG, error, "64 are possible");
}

/* The order of columns: a picture's tokens, and back, and all that is a row otherwise. */
static void test_columns(void **state) {
    (void)state;
    il_picture_layout again,
        layout = {.width = 3, .height = 2, .levels = 16, .header_rows = 2, .films = 1, .by_columns = 1};
    static const unsigned char pixels[6] = {0, 17, 34, 51, 68, 85};
    static const int32_t columns[6] = {0, 3, 1, 4, 2, 5}, header[4] = {16, 18, 18, 18};
    int32_t tokens[6];
    unsigned char shown[6];
    il_tokenizer *made;
    size_t bytes;
    assert_ok(il_tokenizer_open_pictures(engine, &layout, &made, &error), error);
    assert_ok(il_tokenizer_save(made, folder, &error), error);
    char *text = support_read(support_path(folder, "pictures.json"), &bytes);
    assert_non_null(strstr(text, "\"by_columns\": true"));
    assert_ok(parse(text, &again), error);
    assert_memory_equal(&again, il_tokenizer_pictures(made), sizeof again);
    free(text);
    il_picture picture = {3, 2, 1, pixels, 0, 0, 0};
    assert_ok(il_picture_tokens(&again, &picture, tokens, NULL, &error), error);
    assert_memory_equal(tokens, columns, sizeof columns);
    assert_ok(il_picture_of_tokens(&again, columns, shown, &error), error);
    assert_memory_equal(shown, pixels, sizeof pixels);
    assert_int_equal(il_picture_line(&again), 2);
    assert_ok(il_picture_header(&again, "", 0, tokens, &error), error);
    assert_memory_equal(tokens, header, sizeof header);
    tokens[2] = -1;
    assert_ok(il_picture_frame(&again, -1, tokens, &error), error);
    assert_true(tokens[0] == 19 && tokens[1] == 19 && tokens[2] == -1);
    il_tokenizer_close(made);
    layout.films = 0;
    assert_fails(il_tokenizer_open_pictures(engine, &layout, &made, &error), IL_ERR_ARG, error,
                 "by_columns is of films");
    layout.by_columns = 0;
    assert_int_equal(il_picture_line(&layout), 3);
}

#define HEAD "{\"tokenizer\":\"pictures\",\"width\":4,\"height\":3,"
#define TAIL "\"header_rows\":1,\"captions\":true,\"films\":false,\"actions\":0}"

static void test_layouts_refused(void **state) {
    (void)state;
    il_picture_layout layout;
    assert_ok(parse(HEAD "\"levels\":2,\"palette\":[\"0010ff\",\"ffffff\"]," TAIL, &layout), error);
    assert_true(layout.palette && layout.colours[0][1] == 0x10 && layout.colours[0][2] == 255 && layout.captions);
    static const char *const bad[][2] = {
        {"", "line 1"},
        {"[]", "is not \"pictures\""},
        {"{\"tokenizer\":\"bytes\"}", "is not \"pictures\""},
        {HEAD TAIL, "levels must be an integer"},
        {HEAD "\"levels\":1," TAIL, "levels is 1: 2 to 256"},
        {HEAD "\"levels\":257," TAIL, "levels is 257"},
        {HEAD "\"levels\":99999999999," TAIL, "levels is 99999999999"},
        {HEAD "\"levels\":2.0," TAIL, "levels must be an integer"},
        {HEAD "\"levels\":2,\"levels\":3," TAIL, "duplicate"},
        {HEAD "\"levels\":2,\"colour\":3," TAIL, "colour is not known"},
        {HEAD "\"levels\":2,\"palette\":3," TAIL, "palette must be a list"},
        {HEAD "\"levels\":2,\"palette\":[\"000000\"]," TAIL, "palette has 1 colours"},
        {HEAD "\"levels\":2,\"palette\":[\"000000\",\"FFFFFF\"]," TAIL, "colour 1 is not"},
        {HEAD "\"levels\":2,\"palette\":[\"000000\",\"fffff\"]," TAIL, "colour 1 is not"},
        {"{\"tokenizer\":\"pictures\",\"width\":1025,\"height\":3,\"levels\":2," TAIL, "width is 1025: 1 to 1024"},
        {HEAD "\"levels\":2,\"header_rows\":1,\"captions\":1,\"films\":false,\"actions\":0}", "captions must be true"},
        {HEAD "\"levels\":2,\"header_rows\":1,\"captions\":true,\"films\":false,\"actions\":2}",
         "actions are of films"},
#define FILMS HEAD "\"levels\":2,\"header_rows\":1,\"captions\":false,\"films\":true,\"actions\":"
        {FILMS "[]}", "a list of 1 to 64"},
        {FILMS "[\"\"]}", "action 0"},
        {FILMS "[1]}", "action 0"},
        {FILMS "[\"a\",\"of-twenty-four-letters--\"]}", "action 1"},
        {FILMS "[\"a\",\"b\",\"a\"]}", "both called a"},
        {FILMS "\"a\"}", "actions must be an integer"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(parse(bad[i][0], &layout), strstr(bad[i][1], "not known") ? IL_ERR_UNSUPPORTED : IL_ERR_FORMAT,
                     error, bad[i][1]);
    char *long_text = calloc(1, 70000);
    memset(long_text, ' ', 69999);
    assert_fails(parse(long_text, &layout), IL_ERR_FORMAT, error, "more than 64 KiB");
    free(long_text);
    il_tokenizer *tokenizer;
    layout = clothes;
    layout.header_rows = 0;
    assert_fails(il_tokenizer_open_pictures(engine, &layout, &tokenizer, &error), IL_ERR_ARG, error,
                 "header_rows is 0");
}

/* ---- tokens ---- */

static void test_headers(void **state) {
    (void)state;
    il_picture_layout layout = clothes;
    int32_t tokens[8];
    const int32_t bag[8] = {16, 20 + 'b', 20 + 'a', 20 + 'g', 18, 18, 18, 18},
                  none[8] = {16, 18, 18, 18, 18, 18, 18, 18};
    assert_ok(il_picture_header(&layout, "bag", 3, tokens, &error), error);
    assert_memory_equal(tokens, bag, sizeof bag);
    assert_ok(il_picture_header(&layout, "", 0, tokens, &error), error);
    assert_memory_equal(tokens, none, sizeof none);
    assert_ok(il_picture_header(&layout, "shirts", 6, tokens, &error), error);
    assert_int_equal(tokens[7], 18); /* an EOC always */
    assert_fails(il_picture_header(&layout, "sandals", 7, tokens, &error), IL_ERR_ARG, error, "there is room for 6");
    assert_fails(il_picture_frame(&layout, -1, tokens, &error), IL_ERR_ARG, error, "of films");
    layout.captions = 0;
    assert_fails(il_picture_header(&layout, "x", 1, tokens, &error), IL_ERR_ARG, error, "no captions");
    layout.films = 1;
    layout.actions = 2;
    assert_ok(il_picture_frame(&layout, -1, tokens, &error), error);
    assert_true(tokens[0] == 19 && tokens[3] == 19);
    assert_ok(il_picture_frame(&layout, 1, tokens, &error), error);
    for (int i = 0; i < 4; i++) assert_int_equal(tokens[i], 21);
    assert_fails(il_picture_frame(&layout, 2, tokens, &error), IL_ERR_ARG, error, "action 2");
}

/* Every number of levels: the nearest level, shown as the nearest value, which is that level again. */
static void test_greys(void **state) {
    (void)state;
    unsigned char values[256], shown[256];
    int32_t tokens[256], again[256];
    for (int v = 0; v < 256; v++) values[v] = (unsigned char)v;
    for (int levels = 2; levels <= 256; levels++) {
        il_picture_layout layout = {.width = 256, .height = 1, .levels = levels, .header_rows = 1};
        int exact;
        assert_ok(il_picture_layout_finish("test", &layout, &error), error);
        assert_ok(il_picture_tokens(&layout, &(il_picture){256, 1, 1, values, 0, 0, 0}, tokens, &exact, &error), error);
        assert_int_equal(exact, levels == 256);
        for (int v = 0; v < 256; v++)
            if (tokens[v] != (int32_t)lround(v * (levels - 1) / 255.0)) fail_msg("%d of %d levels", v, levels);
        assert_ok(il_picture_of_tokens(&layout, tokens, shown, &error), error);
        for (int v = 0; v < 256; v++) assert_int_equal(shown[v], lround(tokens[v] * 255.0 / (levels - 1)));
        assert_ok(il_picture_tokens(&layout, &(il_picture){256, 1, 1, shown, 0, 0, 0}, again, &exact, &error), error);
        assert_true(exact && !memcmp(tokens, again, sizeof again));
    }
    il_picture_layout layout = {.width = 2, .height = 1, .levels = 256, .header_rows = 1};
    const unsigned char rgb[6] = {7, 7, 7, 255, 0, 0};
    assert_ok(il_picture_layout_finish("test", &layout, &error), error);
    assert_ok(il_picture_tokens(&layout, &(il_picture){2, 1, 3, rgb, 0, 0, 0}, tokens, NULL, &error), error);
    assert_true(tokens[0] == 7 && tokens[1] == 77);
    assert_fails(il_picture_tokens(&layout, &(il_picture){1, 2, 3, rgb, 0, 0, 0}, tokens, NULL, &error),
                 IL_ERR_MISMATCH, error, "1 by 2 pixels");
    tokens[1] = 256;
    assert_fails(il_picture_of_tokens(&layout, tokens, shown, &error), IL_ERR_ARG, error, "256 is no pixel");
}

static void test_palettes(void **state) {
    (void)state;
    il_palette *palette;
    unsigned char colours[256][3], turned[256][3];
    const unsigned char three[12] = {255, 255, 255, 0, 0, 0, 200, 10, 10, 0, 0, 0};
    il_picture picture = {4, 1, 3, three, 0, 0, 0};
    int found;
    int32_t tokens[4];
    unsigned char back[12];
    assert_ok(il_palette_open(engine, &palette, &error), error);
    assert_fails(il_palette_cut(palette, 8, colours, &found, &error), IL_ERR_ARG, error, "one colour");
    il_palette_add(palette, &picture);
    assert_fails(il_palette_cut(palette, 1, colours, &found, &error), IL_ERR_ARG, error, "2 to 256");
    assert_ok(il_palette_cut(palette, 8, colours, &found, &error), error);
    assert_int_equal(found, 3); /* all there are, from dark to bright */
    il_picture_layout layout = {.width = 4, .height = 1, .levels = 3, .header_rows = 1, .palette = 1};
    memcpy(layout.colours, colours, 9);
    int exact;
    assert_ok(il_picture_tokens(&layout, &picture, tokens, &exact, &error), error);
    assert_true(exact && tokens[0] == 2 && tokens[1] == 0 && tokens[2] == 1);
    assert_ok(il_picture_of_tokens(&layout, tokens, back, &error), error);
    assert_memory_equal(back, three, 12);
    assert_ok(il_palette_cut(palette, 2, colours, &found, &error), error);
    assert_int_equal(found, 2);
    il_palette_close(palette);
    /* a ramp of reds and one of blues: the order of pictures does not matter, and the means are near */
    for (int way = 0; way < 2; way++) {
        assert_ok(il_palette_open(engine, &palette, &error), error);
        for (int i = 0; i < 512; i++) {
            int k = way ? 511 - i : i;
            unsigned char pixel[3] = {(unsigned char)(k < 256 ? k : 0), 0, (unsigned char)(k < 256 ? 0 : k - 256)};
            il_palette_add(palette, &(il_picture){1, 1, 3, pixel, 0, 0, 0});
        }
        assert_ok(il_palette_cut(palette, 16, way ? turned : colours, &found, &error), error);
        assert_int_equal(found, 16);
        il_palette_close(palette);
    }
    assert_memory_equal(colours, turned, (size_t)found * 3);
    layout = (il_picture_layout){.width = 1, .height = 1, .levels = 16, .header_rows = 1, .palette = 1};
    memcpy(layout.colours, colours, 16 * 3);
    for (int k = 0; k < 256; k++) {
        unsigned char pixel[3] = {(unsigned char)k, 0, 0};
        assert_ok(il_picture_tokens(&layout, &(il_picture){1, 1, 3, pixel, 0, 0, 0}, tokens, NULL, &error), error);
        assert_in_range(abs(colours[tokens[0]][0] - k) + colours[tokens[0]][2], 0, 32);
    }
}

static void test_sizes(void **state) {
    (void)state;
    const unsigned char from[16] = {0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150};
    const il_picture picture = {4, 4, 1, from, 0, 0, 0};
    unsigned char to[64];
    assert_ok(il_picture_resize(&picture, 4, 4, to, &error), error);
    assert_memory_equal(to, from, 16);
    assert_ok(il_picture_resize(&picture, 2, 2, to, &error), error);
    assert_memory_equal(to, ((unsigned char[]){25, 45, 105, 125}), 4);
    assert_ok(il_picture_resize(&picture, 1, 1, to, &error), error);
    assert_int_equal(to[0], 75);
    assert_ok(il_picture_resize(&picture, 3, 1, to, &error), error); /* 4/3 of a pixel: (60 + 70/3) / (4/3) ... */
    assert_memory_equal(to, ((unsigned char[]){63, 75, 88}), 3);
    assert_ok(il_picture_resize(&picture, 8, 2, to, &error), error);
    assert_memory_equal(to, ((unsigned char[]){20, 20, 30, 30, 40, 40, 50, 50}), 8);
    assert_fails(il_picture_resize(&picture, 0, 1, to, &error), IL_ERR_ARG, error, "0 by 1");
}

/* ---- files ---- */

/* Opens what stands in memory, given so many bytes at a time. */
static fuzz_bytes input;
static il_status open_bytes(const void *data, size_t bytes, size_t step, il_pictures **pictures) {
    input = (fuzz_bytes){data, bytes, step};
    return il_pictures_open(engine, "test", fuzz_bytes_read, &input, pictures, &error);
}

/* The first failure of reading it all. */
static il_status read_through(const void *data, size_t bytes) {
    il_pictures *pictures;
    il_picture picture;
    il_status status = open_bytes(data, bytes, 0, &pictures);
    while (!status) status = il_pictures_next(pictures, &picture, &error);
    il_pictures_close(pictures);
    return status;
}

#define REFUSED(text, status, message)                                                                                 \
    do {                                                                                                               \
        static const char refused[] = text;                                                                            \
        assert_fails(read_through(refused, sizeof refused - 1), status, error, message);                               \
    } while (0)

/* Text of the pixels of the next picture: "2x1x3 begins: 1 2 3 …". */
static const char *next(il_pictures *pictures) {
    static char text[400];
    il_picture p;
    assert_ok(il_pictures_next(pictures, &p, &error), error);
    int n = sprintf(text, "%dx%dx%d%s:", p.width, p.height, p.channels, p.begins ? " begins" : "");
    for (int i = 0; i < p.width * p.height * p.channels; i++) n += sprintf(text + n, " %d", p.pixels[i]);
    return text;
}

static void test_pnm(void **state) {
    (void)state;
    static const char file[] = "P5 2 1 255\n\1\2P2\n# of greys\n1 2 #\n15\n15 \n 0\nP6\t1 1 255 \7\10\11P3 1 1 3 3 0 1";
    for (size_t step = 0; step < 4; step++) {
        il_pictures *pictures;
        assert_ok(open_bytes(file, sizeof file - 1, step, &pictures), error);
        assert_string_equal(il_pictures_format(pictures), "PNM");
        assert_string_equal(next(pictures), "2x1x1 begins: 1 2");
        assert_string_equal(next(pictures), "1x2x1 begins: 255 0");
        assert_string_equal(next(pictures), "1x1x3 begins: 7 8 9");
        assert_string_equal(next(pictures), "1x1x3 begins: 255 0 85");
        il_picture picture;
        assert_fails(il_pictures_next(pictures, &picture, &error), IL_ERR_END, error, "no more pictures");
        il_pictures_close(pictures);
    }
    REFUSED("", IL_ERR_FORMAT, "the file is empty");
    REFUSED("P4 1 1 1", IL_ERR_UNSUPPORTED, "no picture that can be read");
    REFUSED("hello", IL_ERR_UNSUPPORTED, "known are PNG");
    REFUSED("P5 2 1 255 \1", IL_ERR_FORMAT, "1 bytes too early");
    REFUSED("P5 0 1 255 \1", IL_ERR_FORMAT, "0 by 1 pixels");
    REFUSED("P5 65536 1 255 \1", IL_ERR_FORMAT, "above 65535");
    REFUSED("P5 16385 1 255 \1", IL_ERR_FORMAT, "16385 by 1 pixels");
    REFUSED("P5 16384 16384 255 \1", IL_ERR_FORMAT, "67108864 pixels");
    REFUSED("P5 1 1 256 \1\1", IL_ERR_UNSUPPORTED, "a maximum of 256");
    REFUSED("P5 1 1 0 \1", IL_ERR_UNSUPPORTED, "a maximum of 0");
    REFUSED("P5 1 1 9 \12", IL_ERR_FORMAT, "a sample above");
    REFUSED("P5 1 1 9\12\1 xy", IL_ERR_FORMAT, "picture 1: it does not begin");
    REFUSED("P5 1 1 9x\1", IL_ERR_FORMAT, "no white space");
    REFUSED("P2 1 1 9 x", IL_ERR_FORMAT, "no number");
}

static void test_idx(void **state) {
    (void)state;
    static const char greys[] = "\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\2\1\2\3\4", numbers[] = "\0\0\10\1\0\0\0\2\5\6",
                      colours[] = "\0\0\10\4\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\3\1\2\3",
                      films[] = "\0\0\10\4\0\0\0\2\0\0\0\2\0\0\0\1\0\0\0\1\1\2\3\4",
                      coloured[] = "\0\0\10\5\0\0\0\1\0\0\0\2\0\0\0\1\0\0\0\1\0\0\0\3\1\2\3\4\5\6";
    il_pictures *pictures;
    assert_ok(open_bytes(greys, sizeof greys - 1, 1, &pictures), error);
    assert_string_equal(il_pictures_format(pictures), "IDX");
    assert_string_equal(next(pictures), "2x1x1 begins: 1 2");
    assert_string_equal(next(pictures), "2x1x1 begins: 3 4");
    il_pictures_close(pictures);
    assert_ok(open_bytes(numbers, sizeof numbers - 1, 0, &pictures), error);
    assert_string_equal(next(pictures), "1x1x1 begins: 5");
    il_pictures_close(pictures);
    assert_ok(open_bytes(colours, sizeof colours - 1, 0, &pictures), error);
    assert_string_equal(next(pictures), "1x1x3 begins: 1 2 3");
    il_pictures_close(pictures);
    assert_ok(open_bytes(films, sizeof films - 1, 0, &pictures), error);
    assert_string_equal(next(pictures), "1x1x1 begins: 1");
    assert_string_equal(next(pictures), "1x1x1: 2");
    assert_string_equal(next(pictures), "1x1x1 begins: 3");
    il_pictures_close(pictures);
    assert_ok(open_bytes(coloured, sizeof coloured - 1, 0, &pictures), error);
    assert_string_equal(next(pictures), "1x1x3 begins: 1 2 3");
    assert_string_equal(next(pictures), "1x1x3: 4 5 6");
    il_pictures_close(pictures);
    REFUSED("\0\0\10\5\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\2\1\1", IL_ERR_UNSUPPORTED, "2 bytes a pixel");
    REFUSED("\0\0\10\2\0\0\0\1\0\0\0\1\1", IL_ERR_UNSUPPORTED, "IDX of 2 dimensions");
    REFUSED("\0\0\10\3\0\0\0\1\377\377\377\377\0\0\0\1\1", IL_ERR_FORMAT, "1 by 4294967295");
    REFUSED("\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\1\1", IL_ERR_FORMAT, "1 bytes too early");
    REFUSED("\0\0\10\3\0\0\0\1\0\0\0\1\0\0\0\1\1\2", IL_ERR_FORMAT, "more bytes in it");
    REFUSED("\0\0\10\3\0\0\0\0\0\0\0\1\0\0\0\1", IL_ERR_FORMAT, "no pictures in it");
    REFUSED("\0\0\10\3\0\0", IL_ERR_FORMAT, "it ends inside its header");
}

static void test_y4m(void **state) {
    (void)state;
    static const char grey[] = "YUV4MPEG2 W2 H1 F25:1 Ip Cmono\nFRAME\n\1\2FRAME Ip\n\3\377";
    static const char colours[] = "YUV4MPEG2 W3 H1 C420jpeg\nFRAME\n\20\353\122\200\132\200\360";
    il_pictures *pictures;
    il_picture picture;
    assert_ok(open_bytes(grey, sizeof grey - 1, 1, &pictures), error);
    assert_ok(il_pictures_next(pictures, &picture, &error), error);
    assert_true(picture.ms == 40 && picture.begins && !picture.changed && picture.pixels[1] == 2);
    assert_string_equal(next(pictures), "2x1x1: 3 255");
    il_pictures_close(pictures);
    assert_ok(open_bytes(colours, sizeof colours - 1, 0, &pictures), error); /* black, white, red as it is rounded */
    assert_string_equal(next(pictures), "3x1x3 begins: 0 0 0 255 255 255 255 1 0");
    il_pictures_close(pictures);
    REFUSED("YUV4MPEG2 W2 H1 C420p10\nFRAME\n", IL_ERR_UNSUPPORTED, "y4m of C420p10");
    REFUSED("YUV4MPEG2 W2\nFRAME\n", IL_ERR_FORMAT, "2 by 0 pixels");
    REFUSED("YUV4MPEG2 W99999 H99999\nFRAME\n", IL_ERR_FORMAT, "99999 by 99999");
    REFUSED("YUV4MPEG2 W2 H1 Cmono\nframe\n", IL_ERR_FORMAT, "no FRAME");
    REFUSED("YUV4MPEG2 W2 H1 Cmono\nFRAME\n\1", IL_ERR_FORMAT, "too early");
    REFUSED("YUV4MPEG2 W2 H1 Cmono", IL_ERR_FORMAT, "no end");
    REFUSED("YUV4MPEG2 W2 H1 Cmono\n", IL_ERR_FORMAT, "no pictures");
}

/* ---- what is written is read again ---- */

enum { WIDTH = 5, HEIGHT = 3, SIZE = WIDTH * HEIGHT };

/* Frame i of a few colours. */
static il_picture frame(int channels, int i, unsigned char *pixels) {
    for (int k = 0; k < SIZE * channels; k++)
        pixels[k] = (unsigned char)(((k / channels + i) % 4 * 60 + k % channels) % 256);
    return (il_picture){WIDTH, HEIGHT, channels, pixels, 0, 0, 0};
}

static il_status write_frames(il_engine *on, const char *path, il_picture_format format, int channels, int n) {
    il_picture_output *output;
    unsigned char pixels[SIZE * 3];
    il_status status = il_picture_output_open(on, path, format, 70, &output, &error);
    for (int i = 0; i < n && !status; i++) {
        il_picture picture = frame(channels, i, pixels);
        status = il_picture_output_put(output, &picture, &error);
        if (status) il_picture_output_abandon(output);
    }
    return status ? status : il_picture_output_finish(output, &error);
}

static il_status read_frames(il_engine *on, const char *path, int n) {
    il_pictures *pictures;
    il_picture picture;
    il_status status = il_pictures_open(on, path, NULL, NULL, &pictures, &error);
    for (int i = 0; i < n && !status; i++) status = il_pictures_next(pictures, &picture, &error);
    il_pictures_close(pictures);
    return status;
}

typedef struct form {
    const char *name;
    il_picture_format format;
    int channels, frames, ms;
} form;
static const form forms[] = {{"g.png", IL_PICTURE_PNG, 1, 1, 0},  {"c.png", IL_PICTURE_PNG, 3, 1, 0},
                             {"g.pgm", IL_PICTURE_PNM, 1, 3, 0},  {"c.ppm", IL_PICTURE_PNM, 3, 3, 0},
                             {"c.GIF", IL_PICTURE_GIF, 3, 4, 70}, {"g.y4m", IL_PICTURE_Y4M, 1, 4, 70}};
enum { FORMS = sizeof forms / sizeof forms[0] };

/* Whether this build has the format. */
static int is_built(const char *path, const form *f) {
    il_status status = write_frames(engine, path, f->format, f->channels, f->frames);
    if (status == IL_ERR_UNSUPPORTED && strstr(error.message, "without")) {
        print_message("skipped: %s\n", error.message);
        return 0;
    }
    assert_ok(status, error);
    return 1;
}

static void test_written(void **state) {
    (void)state;
    for (int k = 0; k < FORMS; k++) {
        const char *path = support_path(folder, forms[k].name);
        il_picture_format format;
        il_pictures *pictures;
        il_picture picture;
        unsigned char pixels[SIZE * 3];
        assert_ok(il_picture_format_of(path, &format, &error), error);
        assert_int_equal(format, forms[k].format);
        if (!is_built(path, &forms[k])) continue;
        assert_ok(il_pictures_open(engine, path, NULL, NULL, &pictures, &error), error);
        for (int i = 0; i < forms[k].frames; i++) {
            assert_ok(il_pictures_next(pictures, &picture, &error), error);
            assert_true(picture.width == WIDTH && picture.height == HEIGHT && picture.channels == forms[k].channels);
            assert_true(picture.ms == forms[k].ms && !picture.changed);
            frame(picture.channels, i, pixels);
            assert_memory_equal(picture.pixels, pixels, SIZE * (size_t)picture.channels);
            assert_int_equal(picture.begins, i == 0 || forms[k].format == IL_PICTURE_PNM);
        }
        assert_fails(il_pictures_next(pictures, &picture, &error), IL_ERR_END, error, "no more");
        il_pictures_close(pictures);
        /* cut anywhere, it is refused and not misread; a changed byte is read or refused */
        size_t bytes;
        char *file = support_read(path, &bytes);
        for (size_t n = 0; n < bytes; n++) {
            il_status status = read_through(file, n), expected = n && n < 4 ? IL_ERR_UNSUPPORTED : IL_ERR_FORMAT;
            if (forms[k].format == IL_PICTURE_GIF || (forms[k].format == IL_PICTURE_PNG && n + 16 < bytes))
                assert_int_equal(status, expected);
            file[n] ^= 0x55;
            read_through(file, bytes);
            file[n] ^= 0x55;
        }
        free(file);
    }
    assert_fails(il_picture_format_of("x.jpg", &(il_picture_format){0}, &error), IL_ERR_ARG, error, "end in .png");
    assert_fails(write_frames(engine, support_path(folder, "none.pgm"), IL_PICTURE_PNM, 1, 0), IL_ERR_ARG, error,
                 "without a picture");
    assert_false(support_exists(support_path(folder, "none.pgm")));
}

/* Colours through y4m come back within its rounding. */
static void test_y4m_colours(void **state) {
    (void)state;
    const char *path = support_path(folder, "c.y4m");
    unsigned char pixels[SIZE * 3];
    il_pictures *pictures;
    il_picture picture;
    assert_ok(write_frames(engine, path, IL_PICTURE_Y4M, 3, 2), error);
    assert_ok(il_pictures_open(engine, path, NULL, NULL, &pictures, &error), error);
    for (int i = 0; i < 2; i++) {
        assert_ok(il_pictures_next(pictures, &picture, &error), error);
        frame(3, i, pixels);
        for (int k = 0; k < SIZE * 3; k++) assert_in_range(abs(picture.pixels[k] - pixels[k]), 0, 3);
    }
    il_pictures_close(pictures);
}

static void test_refused_to_write(void **state) {
    (void)state;
    il_picture_output *output;
    unsigned char pixels[600 * 3] = {0};
    il_picture picture = frame(3, 0, pixels);
    const char *path = support_path(folder, "refused.ppm");
    assert_ok(il_picture_output_open(engine, path, IL_PICTURE_PNM, 1, &output, &error), error);
    assert_ok(il_picture_output_put(output, &picture, &error), error);
    picture.width--;
    assert_fails(il_picture_output_put(output, &picture, &error), IL_ERR_ARG, error, "another form");
    il_picture_output_abandon(output);
    assert_false(support_exists(path));
    assert_fails(il_picture_output_open(engine, path, IL_PICTURE_PNM, 0, &output, &error), IL_ERR_ARG, error, "0 ms");
    assert_fails(il_picture_output_open(engine, "/nowhere/x.ppm", IL_PICTURE_PNM, 1, &output, &error), IL_ERR_IO, error,
                 "/nowhere");
    for (int i = 0; i < 600; i++) pixels[3 * i] = (unsigned char)i, pixels[3 * i + 1] = (unsigned char)(i / 256);
    picture = (il_picture){300, 2, 3, pixels, 0, 0, 0};
    assert_ok(il_picture_output_open(engine, path, IL_PICTURE_GIF, 1, &output, &error), error);
    assert_fails(il_picture_output_put(output, &picture, &error), IL_ERR_UNSUPPORTED, error, "GIF");
    il_picture_output_abandon(output);
}

/* A header that promises much is refused, or read no further than there is, before memory is asked for. */
static void test_memory(void **state) {
    (void)state;
    static const char big[] = "P6 16384 4096 255\n", wide[] = "P5 16384 16384 255\n";
    size_t before = atomic_load(&alloc.live_bytes);
    atomic_store(&alloc.peak_bytes, before);
    assert_int_equal(read_through(wide, sizeof wide - 1), IL_ERR_FORMAT);
    assert_true(atomic_load(&alloc.peak_bytes) < before + (1 << 20));
    assert_int_equal(read_through(big, sizeof big - 1), IL_ERR_FORMAT);
}

static il_status attempt(const il_allocator *allocator, void *context, il_error *e) {
    const form *f = context;
    il_engine *own;
    const char *path = support_path(folder, f->name);
    il_status status = support_engine_open(1, allocator, &own, e);
    if (status) return status;
    status = write_frames(own, path, f->format, f->channels, f->frames);
    if (!status) status = read_frames(own, path, f->frames);
    *e = error;
    il_engine_close(own);
    return status;
}

static il_status attempt_tokenizer(const il_allocator *allocator, void *context, il_error *e) {
    il_engine *own;
    il_tokenizer *tokenizer = NULL, *loaded = NULL;
    il_palette *palette = NULL;
    unsigned char colours[2][3];
    int found;
    (void)context;
    il_status status = support_engine_open(1, allocator, &own, e);
    if (status) return status;
    status = il_tokenizer_open_pictures(own, &clothes, &tokenizer, e);
    if (!status) status = il_data_write(own, tokenizer, folder, "s", (int32_t[]){16, 1, 2}, 3, e);
    if (!status) status = il_tokenizer_load(own, support_path(folder, "pictures.json"), &loaded, e);
    if (!status) status = il_palette_open(own, &palette, e);
    if (!status) il_palette_add(palette, &(il_picture){2, 1, 1, (unsigned char[]){1, 2}, 0, 0, 0});
    if (!status) status = il_palette_cut(palette, 2, colours, &found, e);
    il_palette_close(palette);
    il_tokenizer_close(loaded);
    il_tokenizer_close(tokenizer);
    il_engine_close(own);
    return status;
}

static void test_allocations(void **state) {
    (void)state;
    support_alloc own;
    support_alloc_begin(&own);
    for (int k = 0; k < FORMS; k++) {
        form f = forms[k];
        if (is_built(support_path(folder, f.name), &f)) assert_true(support_alloc_fail_each(&own, attempt, &f) > 5);
    }
    assert_true(support_alloc_fail_each(&own, attempt_tokenizer, NULL) > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts),      cmocka_unit_test(test_layouts_refused),
        cmocka_unit_test(test_headers),      cmocka_unit_test(test_greys),
        cmocka_unit_test(test_palettes),     cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_action_names), cmocka_unit_test(test_columns),
        cmocka_unit_test(test_pnm),          cmocka_unit_test(test_idx),
        cmocka_unit_test(test_y4m),          cmocka_unit_test(test_written),
        cmocka_unit_test(test_y4m_colours),  cmocka_unit_test(test_refused_to_write),
        cmocka_unit_test(test_memory),       cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
