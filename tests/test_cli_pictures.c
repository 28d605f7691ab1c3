/* test_cli_pictures.c: pictures and films through the command: shards and captions, drawing, and bits a pixel. What is
 * drawn is the same bytes with any number of threads, instruction set and company. */
#include "support_test.h"

#include "support_cli.h"
#include "support_files.h"

#include <fcntl.h>
#include <math.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { W = 6, H = 4, BOS = 4, EOS = 5, EOC = 6, FRAME = 7 };
#define SHAPE                                                                                                          \
    "--preset tiny --mixer ttt_linear --set hidden_size=32 --set num_attention_heads=2 "                               \
    "--set intermediate_size=48 --set num_hidden_layers=2 --set taps=6,5,7 --set fast_head_size=16 --set "             \
    "fast_head_lr=4"

/* Picture i, of four greys, each an exact level of 4. */
static void picture(int i, unsigned char *pixels) {
    for (int k = 0; k < W * H; k++) pixels[k] = (unsigned char)((k / W + k % W * i + i) % 4 * 85);
}

static void write_picture(const char *path, int i) {
    unsigned char file[100];
    int n = sprintf((char *)file, "P5 %d %d 255\n", W, H);
    picture(i, file + n);
    support_write(path, file, (size_t)n + W * H);
}

/* The tokens of a shard, [*n], released by free. */
static uint16_t *shard(const char *path, size_t *n) {
    size_t bytes;
    char *file = support_read(path, &bytes);
    assert_true(bytes > 1024);
    *n = (bytes - 1024) / 2;
    uint16_t *tokens = malloc(bytes);
    assert_non_null(tokens);
    memcpy(tokens, file + 1024, bytes - 1024);
    free(file);
    return tokens;
}

/* The pixels of a PGM or PPM of that many bytes, which follow its header. */
static const char *pixels_of(const char *file, size_t bytes, size_t n) {
    assert_true(bytes > n && file[0] == 'P');
    return file + bytes - n;
}

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    mkdir("p", 0777);
    mkdir("p/ankle_boot", 0777);
    mkdir("p/bag", 0777);
    write_picture("p/ankle_boot/2.pgm", 1);
    write_picture("p/ankle_boot/10.pgm", 0);
    write_picture("p/bag/one_two.pgm", 2);
    support_write("p/README", "no picture", 10);
    free(support_done("pictures --tokenizer pictures:4 --captions folders --out d p"));
    free(support_done("init %s --tokenizer d/pictures.json --seed 5 --out m", SHAPE));
    free(support_done("pictures --tokenizer pictures:4 --films --out f p"));
    free(support_done("init %s --tokenizer f/pictures.json --seed 5 --out film", SHAPE));
    support_write("did", "- right\n\nleft,\n", 15);
    free(support_done("pictures --tokenizer pictures:4 --films --actions did --out a p"));
    free(support_done("init %s --tokenizer a/pictures.json --seed 5 --out world", SHAPE));
    free(support_done("init --preset tiny " SUPPORT_SHAPE " --mixer ttt_linear --tokenizer bytes --out text"));
    return 0;
}

/* ---- shards ---- */

static void check_item(const uint16_t *tokens, const char *caption, int i) {
    unsigned char pixels[W * H];
    size_t n = strlen(caption);
    picture(i, pixels);
    assert_int_equal(tokens[0], BOS);
    for (size_t k = 0; k < n; k++) assert_int_equal(tokens[1 + k], 8 + caption[k]);
    for (size_t k = n + 1; k < 2 * W; k++) assert_int_equal(tokens[k], EOC);
    for (int k = 0; k < W * H; k++) assert_int_equal(tokens[2 * W + k], pixels[k] / 85);
}

static void check_shard(const char *path, const char *const *captions) {
    static const int order[] = {0, 1, 2}; /* by the bytes of names: "10" before "2" */
    size_t n;
    uint16_t *tokens = shard(path, &n);
    assert_int_equal(n, 3 * (2 + H) * W);
    for (size_t i = 0; i < 3; i++) check_item(tokens + i * (2 + H) * W, captions[i], order[i]);
    free(tokens);
}

static void test_captions(void **state) {
    (void)state;
    static const char *const folders[] = {"ankle boot", "ankle boot", "bag"}, *const names[] = {"10", "2", "one two"},
                             *const lines[] = {"a, b", "c\"d", ""}, *const labels[] = {"bag", "coat", "bag"},
                             *const numbers[] = {"1", "0", "1"};
    check_shard("d/pictures.bin", folders);
    json_t *made = support_json("pictures --tokenizer d/pictures.json --captions names --out names p");
    assert_true(support_number(made, "items") == 3 && support_number(made, "tokens") == 108);
    assert_true(support_number(made, "levels") == 4 && support_number(made, "vocab_size") == 264);
    assert_true(support_number(made, "header_rows") == 2 && support_number(made, "width") == W);
    json_decref(made);
    check_shard("names/pictures.bin", names);
    support_same_files("names/pictures.json", "d/pictures.json");
    static const char csv[] = "ankle_boot/10.pgm,\"a, b\"\r\n2.pgm,\"c\"\"d\"\n\nbag/one_two.pgm,\n";
    support_write("csv", csv, sizeof csv - 1);
    free(support_done("pictures --tokenizer d/pictures.json --captions csv --out lines p"));
    check_shard("lines/pictures.bin", lines);
    support_write("labels", "\0\0\10\1\0\0\0\3\1\0\1", 11);
    free(support_done("pictures --tokenizer d/pictures.json --captions labels --label-names coat,bag --out l p"));
    check_shard("l/pictures.bin", labels);
    free(support_done("pictures --tokenizer d/pictures.json --captions labels --out l p"));
    check_shard("l/pictures.bin", numbers);
    support_write("csv", "10.pgm,x\n", 9);
    support_refused(1, "csv: no caption for ankle_boot/2.pgm",
                    "pictures --tokenizer pictures:4 --captions csv --out x p");
    support_write("csv", "10.pgm\n", 7);
    support_refused(1, "csv: line 1 is not NAME,CAPTION", "pictures --tokenizer pictures:4 --captions csv --out x p");
    support_write("labels", "\0\0\10\1\0\0\0\2\1\0", 10);
    support_refused(1, "2 labels, and more", "pictures --tokenizer pictures:4 --captions labels --out x p");
    support_write("labels", "\0\0\10\1\0\0\0\4\1\0\1\1", 12);
    support_refused(1, "4 labels for 3", "pictures --tokenizer pictures:4 --captions labels --out x p");
    support_refused(1, "no name for label 1",
                    "pictures --tokenizer pictures:4 --captions labels --label-names a --out x p");
    support_refused(1, "--label-names goes with", "pictures --tokenizer pictures:4 --label-names a --out x p");
    assert_false(support_exists("x"));
}

static void test_header_rows(void **state) {
    (void)state;
    json_t *made = support_json("pictures --tokenizer pictures:4 --captions folders --header-rows 5 --out h p");
    assert_true(support_number(made, "header_rows") == 5 && support_number(made, "tokens") == 3 * 9 * W);
    json_decref(made);
    made = support_json("pictures --tokenizer pictures:4 --out h p");
    assert_true(support_number(made, "header_rows") == 1 && support_number(made, "vocab_size") == 8);
    json_decref(made);
    support_refused(1, "ankle_boot/10.pgm: a caption of 10 bytes",
                    "pictures --tokenizer pictures:4 --captions folders --header-rows 1 --out h p");
    support_refused(1, "no captions", "pictures --tokenizer h/pictures.json --captions names --out x p");
}

static void test_sizes(void **state) {
    (void)state;
    support_write("other.pgm", "P5 2 2 255\n\0\377\377\0", 15);
    support_refused(1, "other.pgm: a picture of 2 by 2 pixels, not 6 by 4; --resize",
                    "pictures --tokenizer pictures:4 --out x p other.pgm");
    json_t *made = support_json("pictures --tokenizer pictures:2 --size 4x2 --resize --out s other.pgm");
    assert_true(support_number(made, "width") == 4 && support_number(made, "height") == 2);
    json_decref(made);
    size_t n;
    uint16_t *tokens = shard("s/pictures.bin", &n);
    static const uint16_t expected[] = {2, 4, 4, 4, 0, 0, 1, 1, 1, 1, 0, 0};
    assert_int_equal(n, 12);
    assert_memory_equal(tokens, expected, sizeof expected);
    free(tokens);
    support_refused(2, "of the form", "pictures --tokenizer pictures:4 --size 4 --out x p");
    support_refused(2, "are of a new tokenizer", "pictures --tokenizer d/pictures.json --size 4x4 --out x p");
    support_refused(2, "2 to 256", "pictures --tokenizer pictures:1 --out x p");
    support_refused(2, "is of text", "pictures --tokenizer bytes --out x p");
    mkdir("empty", 0777);
    support_refused(1, "no pictures in it", "pictures --tokenizer pictures:4 --out x empty");
}

static void test_palette(void **state) {
    (void)state;
    static const char file[] = "P6 2 2 255\n\377\377\377\0\0\0\310\12\12\0\0\0";
    support_write("c.ppm", file, sizeof file - 1);
    json_t *made = support_json("pictures --tokenizer palette:8 --out c c.ppm");
    assert_true(support_number(made, "levels") == 3 && support_number(made, "vocab_size") == 7);
    json_decref(made);
    size_t n;
    uint16_t *tokens = shard("c/pictures.bin", &n);
    static const uint16_t expected[] = {3, 5, 2, 0, 1, 0};
    assert_int_equal(n, 6);
    assert_memory_equal(tokens, expected, sizeof expected);
    free(tokens);
    char *json = support_text_of("c/pictures.json");
    assert_non_null(strstr(json, "\"palette\": [\"000000\",\"c80a0a\",\"ffffff\"]"));
    free(json);
}

/* The pictures of a folder are the frames of a film; y4m is one by itself. */
static void test_films(void **state) {
    (void)state;
    static const char y4m[] = "YUV4MPEG2 W2 H1 Cmono\nFRAME\n\1\377FRAME\n\377\1";
    size_t n;
    uint16_t *tokens = shard("f/pictures.bin", &n);
    assert_int_equal(n, 2 * (W + 1) + 3 * (1 + H) * W);
    assert_true(tokens[0] == BOS && tokens[W] == FRAME && tokens[2 * W - 1] == FRAME && tokens[W * (2 + H)] == FRAME);
    assert_true(tokens[W + 2 * (1 + H) * W] == EOS && tokens[W + 2 * (1 + H) * W + 1] == BOS && tokens[n - 1] == EOS);
    free(tokens);
    support_run run = support_cli(y4m, "pictures --tokenizer pictures:2 --films --json --out y -");
    assert_int_equal(run.code, 0);
    support_run_free(&run);
    tokens = shard("y/pictures.bin", &n);
    static const uint16_t expected[] = {2, 4, 5, 5, 0, 1, 5, 5, 1, 0, 3};
    assert_int_equal(n, 11);
    assert_memory_equal(tokens, expected, sizeof expected);
    free(tokens);
    support_refused(2, "this tokenizer is of pictures", "pictures --tokenizer d/pictures.json --films --out x p");
}

/* Films by columns are other tokens, and drawn again the same pictures. */
static void test_by_columns(void **state) {
    (void)state;
    size_t n;
    unsigned char pixels[W * H];
    free(support_done("pictures --tokenizer pictures:4 --films --by-columns --out columns p"));
    uint16_t *tokens = shard("columns/pictures.bin", &n);
    assert_int_equal(n, 2 * (H + 1) + 3 * (H + W * H));
    picture(0, pixels);
    assert_true(tokens[0] == BOS && tokens[H - 1] == EOC && tokens[H] == FRAME && tokens[2 * H - 1] == FRAME);
    for (int i = 0; i < W * H; i++) assert_int_equal(tokens[2 * H + i], pixels[i % H * W + i / H] / 85);
    free(tokens);
    free(support_done("init %s --tokenizer columns/pictures.json --seed 5 --out columned", SHAPE));
    json_t *seen = support_json("inspect columned");
    assert_true(support_number(seen, "config.mini_batch_size") == H);
    json_decref(seen);
    free(support_done("generate --model columned --frames 5 --temperature 0 --out whole.y4m"));
    free(support_done("generate --model columned --frames 3 --temperature 0 --out first.y4m"));
    free(support_done("generate --model columned --from first.y4m --frames 2 --temperature 0 --out rest.y4m"));
    size_t rest_bytes, bytes;
    char *whole = support_read("whole.y4m", &bytes), *rest = support_read("rest.y4m", &rest_bytes);
    enum { TWO = 2 * (6 + W * H) };
    assert_memory_equal(whole + bytes - TWO, rest + rest_bytes - TWO, TWO);
    free(whole);
    free(rest);
    json_t *lines = support_scores(NULL, "--model columned p");
    assert_int_equal(json_array_size(lines), 4);
    json_decref(lines);
    support_refused(2, "--by-columns is of films", "pictures --tokenizer pictures:4 --by-columns --out x p");
    support_refused(2, "are of a new tokenizer", "pictures --tokenizer f/pictures.json --by-columns --out x p");
}

/* What leads to a frame is the row that begins it. */
static void test_actions(void **state) {
    (void)state;
    enum { LEFT = 8, RIGHT = 9, FILM = (1 + 2 * (1 + H)) * W + 1 };
    size_t n;
    uint16_t *tokens = shard("a/pictures.bin", &n);
    assert_int_equal(n, FILM + (2 + H) * W + 1);
    for (int i = 0; i < W; i++)
        assert_true(tokens[W + i] == FRAME && tokens[W + (1 + H) * W + i] == RIGHT && tokens[FILM + W + i] == LEFT);
    free(tokens);
    char *json = support_text_of("a/pictures.json");
    assert_non_null(strstr(json, "\"actions\": [\"left\",\"right\"]"));
    free(json);
    json_t *made = support_json("pictures --tokenizer a/pictures.json --actions did --out again p");
    assert_true(support_number(made, "actions") == 2 && support_number(made, "vocab_size") == 10);
    json_decref(made);
    support_same_files("a/pictures.bin", "again/pictures.bin");
    static const char *const bad[][2] = {
        {"- up\n-\n", "wrong: line 1: up is no action here; there are - and left, right"},
        {"- -\n", "wrong: actions of 1 film, for 2 films"},
        {"-*3\n-\n", "film 1 has 2 frames, and there are actions for 3"},
        {"left*0\n", "what follows * must be a number from 1 to 1000000"},
        {"left*1000001\n", "what follows *"},
        {"left*\n", "what follows *"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        support_write("wrong", bad[i][0], strlen(bad[i][0]));
        support_refused(1, bad[i][1], "pictures --tokenizer a/pictures.json --actions wrong --out x p");
    }
    support_write("wrong", "- *3\n-\n", 7);
    support_refused(1, "of 1 to 23 bytes", "pictures --tokenizer pictures:4 --films --actions wrong --out x p");
    support_write("wrong", "- Up\n-\n", 7);
    support_refused(1, "a letter first", "pictures --tokenizer pictures:4 --films --actions wrong --out x p");
    support_refused(2, "--actions is of films", "pictures --tokenizer pictures:4 --actions did --out x p");
    support_refused(1, "there are none", "pictures --tokenizer f/pictures.json --actions did --out x p");
    assert_false(support_exists("x"));
    /* score predicts by them */
    json_t *with = support_scores(NULL, "--model world --actions did p"),
           *without = support_scores(NULL, "--model world p");
    assert_true(support_number(json_array_get(with, 0), "nats") == support_number(json_array_get(without, 0), "nats"));
    assert_true(support_number(json_array_get(with, 1), "nats") != support_number(json_array_get(without, 1), "nats"));
    json_decref(with);
    json_decref(without);
    support_refused(2, "--actions is of films", "score --model m --actions did p");
}

/* ---- drawing ---- */

static void test_one_answer(void **state) {
    (void)state;
    static const char *const ways[] = {"--threads 1", "--threads 3"}, *const kernels[] = {"portable", "avx2"};
    size_t bytes, n;
    free(support_done("generate --model m --prompt bag --count 5 --seed 7 --out all.pgm"));
    char *all = support_read("all.pgm", &bytes);
    assert_non_null(strstr(all, "P5\n18 8\n255\n")); /* three across, two down */
    for (size_t i = 0; i < 2; i++) {
        free(support_done("generate --model m --prompt bag --count 5 --seed 7 --out way.pgm %s", ways[i]));
        support_same_files("all.pgm", "way.pgm");
        setenv("IL_CPU", kernels[i], 1);
        support_run run = support_cli(NULL, "generate --model m --prompt bag --count 5 --seed 7 --out way.pgm");
        if (!run.code) support_same_files("all.pgm", "way.pgm"); /* a CPU may be without AVX2 */
        support_run_free(&run);
        unsetenv("IL_CPU");
    }
    const char *sheet = pixels_of(all, bytes, 18 * 8);
    for (int k = 0; k < 18 * 8; k++) assert_int_equal((unsigned char)sheet[k] % 85, 0);
    for (int i = 0; i < 6; i++) { /* each alone, by its seed; white where there is none */
        char *one = NULL;
        free(support_done("generate --model m --prompt bag --seed %d --out one.pgm", 7 + i));
        one = support_read("one.pgm", &n);
        for (int y = 0; y < H && i < 5; y++)
            assert_memory_equal(pixels_of(one, n, W * H) + y * W, sheet + (i / 3 * H + y) * 18 + i % 3 * W, W);
        assert_int_equal((unsigned char)sheet[(H + 1) * 18 + 2 * W], 255);
        free(one);
    }
    free(all);
    free(support_done("generate --model m --prompt coat --count 5 --seed 7 --out coat.pgm"));
    free(support_done("generate --model m --prompt bag --count 5 --seed 7 --temperature 0 --out cold.pgm"));
    free(support_done("generate --model m --prompt bag --count 5 --seed 7 --frozen --out frozen.pgm"));
    char *other[3] = {support_read("coat.pgm", &n), support_read("cold.pgm", &n), support_read("frozen.pgm", &n)};
    all = support_read("all.pgm", &n);
    for (int i = 0; i < 3; i++) {
        assert_true(memcmp(all, other[i], n) != 0);
        free(other[i]);
    }
    free(all);
}

/* W = 1 is what the caption says, 0 what is drawn without one, and nearly 1 nearly the first, also where both sides are
 * put together; beyond it, the same picture in any company and with any number of threads. */
static void test_guidance(void **state) {
    (void)state;
    static const char *const same[][2] = {
        {"--prompt bag", "--prompt bag --guidance 1"},
        {"--prompt bag", "--prompt bag --guidance 1.000001"},
        {"", "--prompt bag --guidance 0"},
        {"--prompt bag --guidance 3 --threads 1", "--prompt bag --guidance 3 --threads 3"}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        free(support_done("generate --model m --count 5 --seed 7 --out a.pgm %s", same[i][0]));
        free(support_done("generate --model m --count 5 --seed 7 --out b.pgm %s", same[i][1]));
        support_same_files("a.pgm", "b.pgm");
    }
    size_t bytes, n;
    char *sheet = support_read("a.pgm", &bytes);
    free(support_done("generate --model m --prompt bag --guidance 3 --seed 10 --out one.pgm"));
    char *one = support_read("one.pgm", &n);
    for (int y = 0; y < H; y++) /* the fourth of the sheet */
        assert_memory_equal(pixels_of(one, n, W * H) + y * W, pixels_of(sheet, bytes, 18 * 8) + (H + y) * 18, W);
    free(one);
    free(support_done("generate --model m --prompt bag --count 5 --seed 7 --out b.pgm"));
    one = support_read("b.pgm", &n);
    assert_true(n == bytes && memcmp(one, sheet, n) != 0);
    free(one);
    free(sheet);
    free(support_done("generate --model m --prompt bag --guidance 3 --from p/bag/one_two.pgm --rows 3 --out a.pgm"));
    unsigned char given[W * H];
    picture(2, given);
    one = support_read("a.pgm", &n);
    assert_memory_equal(pixels_of(one, n, W * H), given, 3 * W);
    free(one);
    json_t *made = support_json("generate --model m --prompt bag --guidance 1.5 --out a.pgm");
    assert_true(support_number(made, "guidance") == 1.5);
    json_decref(made);
    free(support_done("pictures --tokenizer pictures:4 --out plain p"));
    free(support_done("init %s --tokenizer plain/pictures.json --out unnamed", SHAPE));
    support_refused(2, "this model knows none", "generate --model unnamed --prompt bag --guidance 2 --out x.pgm");
    support_refused(2, "a model of films", "generate --model film --prompt bag --guidance 2 --out x.gif");
    support_refused(2, "goes with --prompt", "generate --model m --guidance 2 --out x.pgm");
    support_refused(2, "a model of text", "generate --model text --prompt x --guidance 2");
    support_refused(2, "--guidance", "generate --model m --prompt bag --guidance -1 --out x.pgm");
    support_refused(2, "not a number", "generate --model m --prompt bag --guidance nan --out x.pgm");
    assert_false(support_exists("x.pgm"));
}

static void test_completion(void **state) {
    (void)state;
    size_t bytes;
    unsigned char given[W * H];
    picture(2, given);
    static const char *const options[] = {"", "--rows 3"};
    for (size_t i = 0; i < 2; i++) {
        free(support_done("generate --model m --from p/bag/one_two.pgm --count 2 --seed 1 --out half.pgm %s",
                          options[i]));
        char *file = support_read("half.pgm", &bytes);
        const char *pixels = pixels_of(file, bytes, 2 * W * H);
        int differ = 0;
        for (int y = 0; y < H; y++)
            for (int k = 0; k < 2; k++) {
                int same = !memcmp(pixels + y * 2 * W + k * W, given + y * W, W);
                if (y < (i ? 3 : 2))
                    assert_true(same);
                else
                    differ |= !same;
            }
        assert_true(differ);
        free(file);
    }
    support_write("other.pgm", "P5 2 2 255\n\0\377\377\0", 15);
    support_refused(1, "--resize makes it that", "generate --model m --from other.pgm --out x.pgm");
    free(support_done("generate --model m --from other.pgm --resize --out other-half.pgm"));
    support_refused(1, "none would be left", "generate --model m --from p/bag/one_two.pgm --rows 4 --out x.pgm");
    assert_false(support_exists("x.pgm"));
}

static void test_scale(void **state) {
    (void)state;
    size_t bytes;
    free(support_done("generate --model m --out small.pgm"));
    free(support_done("generate --model m --scale 2 --out large.pgm"));
    char *small = support_read("small.pgm", &bytes);
    const char *from = pixels_of(small, bytes, W * H);
    char *large = support_read("large.pgm", &bytes);
    const char *to = pixels_of(large, bytes, 4 * W * H);
    for (int k = 0; k < 4 * W * H; k++) assert_int_equal(to[k], from[k / (4 * W) * W + k % (2 * W) / 2]);
    free(small);
    free(large);
}

/* A film goes on as if it had never stopped, in every form that it is written in. */
static void test_film(void **state) {
    (void)state;
    enum { HEADER = sizeof "YUV4MPEG2 W6 H4 F1000:100 Ip A1:1 Cmono XCOLORRANGE=FULL\n" - 1, FRAME_BYTES = 6 + W * H };
    size_t bytes, n;
    free(support_done("generate --model film --frames 5 --temperature 0 --out whole.y4m"));
    free(support_done("generate --model film --frames 3 --temperature 0 --out first.y4m"));
    free(support_done("generate --model film --from first.y4m --frames 2 --temperature 0 --out rest.y4m"));
    char *whole = support_read("whole.y4m", &bytes), *rest = support_read("rest.y4m", &n);
    assert_int_equal(bytes, HEADER + 5 * FRAME_BYTES);
    assert_int_equal(n, HEADER + 2 * FRAME_BYTES);
    assert_memory_equal(whole + HEADER + 3 * FRAME_BYTES, rest + HEADER, 2 * FRAME_BYTES);
    free(rest);
    support_run run = support_cli(NULL, "generate --model film --frames 5 --temperature 0 --out -");
    assert_true(run.code == 0 && run.out_bytes == bytes && !memcmp(run.out, whole, bytes));
    support_run_free(&run);
    /* a strip of its frames */
    free(support_done("generate --model film --frames 5 --temperature 0 --out strip.pgm"));
    char *strip = support_read("strip.pgm", &n);
    const char *pixels = pixels_of(strip, n, 5 * W * H);
    for (int i = 0; i < 5 * H; i++)
        assert_memory_equal(pixels + i % H * 5 * W + i / H * W, whole + HEADER + i / H * FRAME_BYTES + 6 + i % H * W,
                            W);
    free(strip);
    free(whole);
}

/* A film that is played goes on by its actions, with those of the frames that are given or without. */
static void test_played(void **state) {
    (void)state;
    enum { HEADER = sizeof "YUV4MPEG2 W6 H4 F1000:100 Ip A1:1 Cmono XCOLORRANGE=FULL\n" - 1, FRAME_BYTES = 6 + W * H };
#define PLAYED "generate --model world --temperature 0 "
    size_t bytes, n;
    free(support_done(PLAYED "--actions -,left*2,right,left --out whole.y4m"));
    free(support_done(PLAYED "--actions '- left left' --out first.y4m"));
    free(support_done(PLAYED "--from first.y4m --frames 2 --actions left*2,right,left --out rest.y4m"));
    free(support_done(PLAYED "--from first.y4m --actions right,left --out unsaid.y4m"));
    char *whole = support_read("whole.y4m", &bytes), *rest = support_read("rest.y4m", &n);
    assert_int_equal(bytes, HEADER + 5 * FRAME_BYTES);
    assert_int_equal(n, HEADER + 2 * FRAME_BYTES);
    assert_memory_equal(whole + HEADER + 3 * FRAME_BYTES, rest + HEADER, 2 * FRAME_BYTES);
    free(whole);
    whole = support_read("unsaid.y4m", &bytes); /* begun by FRAME, what was given is another film */
    assert_int_equal(bytes, n);
    assert_true(memcmp(whole, rest, n) != 0);
    free(whole);
    free(rest);
    free(support_done(PLAYED "--actions -,right*4 --out other.y4m"));
    free(support_done(PLAYED "--actions -,left*4 --out other-way.y4m"));
    whole = support_read("other.y4m", &bytes), rest = support_read("other-way.y4m", &n);
    assert_true(bytes == n && memcmp(whole, rest, n) != 0);
    free(whole);
    free(rest);
    support_refused(1, "--actions: 3 actions, for 4 frames that are drawn and 3 given",
                    PLAYED "--from first.y4m --frames 4 --actions left*3 --out x.y4m");
    support_refused(1, "--actions: jump is no action here", PLAYED "--actions jump --out x.y4m");
    support_refused(1, "there are none", "generate --model film --actions left --out x.y4m");
    support_refused(2, "there is none in it", PLAYED "--actions ' ' --out x.y4m");
    support_refused(2, "--actions is of films", "generate --model m --actions left --out x.pgm");
    assert_false(support_exists("x.y4m"));
}

static void test_formats(void **state) {
    (void)state;
    static const char *const names[] = {"a.png", "a.gif"};
    for (size_t i = 0; i < 2; i++) {
        support_run run = support_cli(NULL, "generate --model film --frames 3 --out %s", names[i]);
        if (run.code)
            assert_non_null(strstr(run.err, "this build is without"));
        else
            free(support_done("pictures --tokenizer pictures:4 --films --out back %s", names[i]));
        support_run_free(&run);
    }
    support_refused(1, "end in .png", "generate --model m --out a.jpg");
    json_t *made = support_json("generate --model m --count 3 --out a.pgm");
    assert_true(support_number(made, "count") == 3 && support_number(made, "pixels") == 3 * W * H);
    json_decref(made);
}

static void test_misuse(void **state) {
    (void)state;

    support_refused(2, "--out is of pictures, and this is a model of text",
                    "generate --model text --prompt x --out y.pgm");
    support_refused(2, "--max-tokens is of text", "generate --model m --max-tokens 3 --out y.pgm");
    support_refused(2, "--frames is of films", "generate --model m --frames 3 --out y.pgm");
    support_refused(2, "--rows is of pictures", "generate --model film --from first.y4m --rows 3 --out y.gif");
    support_refused(2, "--out FILE is missing", "generate --model m --count 3");
    support_refused(2, "--prompt TEXT or", "generate --model m");
    support_refused(2, "--captions is of pictures", "score --model text --captions names csv");
    support_refused(2, "--by is of text", "score --model m --by line p");
    support_refused(1, "room for 10", "generate --model m --prompt 'eleven eleven' --out y.pgm");
    support_refused(1, "no captions", "generate --model film --prompt bag --out y.gif");
    support_refused(1, "no tokens for text", "tokenize --tokenizer d/pictures.json --out t csv");
    assert_false(support_exists("y.pgm"));
}

/* Converting keeps the tokenizer, and the judgement says that texts are nothing to go by. */
static void test_convert(void **state) {
    (void)state;
    json_t *made = support_json("convert --model m --dtype bf16 --out half"), *seen = support_json("inspect --check m");
    assert_string_equal(support_string(made, "verdict.judgement"), "of pictures");
    assert_string_equal(support_string(seen, "verdict.judgement"), "of pictures");
    assert_string_equal(support_string(seen, "tokenizer.kind"), "pictures");
    json_decref(made);
    json_decref(seen);
    support_same_files("half/pictures.json", "m/pictures.json");
    free(support_done("generate --model half --prompt bag --out half.pgm"));
}

/* ---- bits a pixel ---- */

/* The sum over pixels of what eval says of each token. */
static void test_score(void **state) {
    (void)state;
    json_t *lines = support_scores(NULL, "--model m --captions folders p"), *last = json_array_get(lines, 3);
    double nats = 0, sum = 0;
    free(support_done("eval --model m --data d/pictures.bin --seq-len 36 --per-token nll.npy"));
    size_t bytes;
    char *file = support_read("nll.npy", &bytes);
    float nll[2 * 36]; /* the last picture lacks the token behind it */
    memcpy(nll, file + bytes - sizeof nll, sizeof nll);
    free(file);
    for (int i = 0; i < 2; i++) {
        const json_t *line = json_array_get(lines, (size_t)i);
        nats = 0;
        for (int k = 0; k < W * H; k++) nats += (double)nll[36 * i + 2 * W - 1 + k];
        assert_true(support_number(line, "picture") == i && fabs(support_number(line, "nats") - nats) < 1e-9);
        assert_true(fabs(support_number(line, "bits_per_pixel") - nats / log(2) / (W * H)) < 1e-9);
        sum += nats;
    }
    assert_string_equal(support_string(json_array_get(lines, 2), "name"), "bag/one_two.pgm");
    sum += support_number(json_array_get(lines, 2), "nats");
    assert_true(fabs(support_number(last, "nats") - sum) < 1e-9 && support_number(last, "pixels") == 3 * W * H);
    json_t *frozen = support_scores(NULL, "--model m --captions folders --frozen p"),
           *other = support_scores(NULL, "--model m --captions names p");
    assert_true(support_number(json_array_get(frozen, 3), "nats") != support_number(last, "nats"));
    assert_true(support_number(json_array_get(other, 3), "nats") != support_number(last, "nats"));
    json_decref(frozen);
    json_decref(other);
    json_decref(lines);
    lines = support_scores(NULL, "--model film p");
    assert_int_equal(json_array_size(lines), 4);
    assert_true(support_number(json_array_get(lines, 1), "film") == 0 &&
                support_number(json_array_get(lines, 1), "frame") == 1);
    assert_true(support_number(json_array_get(lines, 2), "film") == 1 &&
                support_number(json_array_get(lines, 2), "frame") == 0);
    json_decref(lines);
}

/* ---- pixels made small ---- */

static void test_compress(void **state) {
    (void)state;
    free(support_done("generate --model m --count 4 --seed 3 --out sheet.pgm"));
    free(support_done("compress --model m --threads 1 sheet.pgm sheet.ilc"));
    free(support_done("compress --model m --threads 3 sheet.pgm again.ilc"));
    support_same_files("sheet.ilc", "again.ilc");
    free(support_done("decompress --model m --threads 3 sheet.ilc back.pgm"));
    support_same_files("sheet.pgm", "back.pgm");
    support_run run = support_cli(NULL, "decompress --model m --threads 1 sheet.ilc -");
    size_t bytes;
    char *sheet = support_read("sheet.pgm", &bytes);
    assert_true(run.code == 0 && run.out_bytes == bytes && !memcmp(run.out, sheet, bytes));
    support_run_free(&run);
    /* as many bits as score says of its tiles, and less than a byte more of each */
    free(support_done("generate --model m --seed 3 --out one.pgm"));
    json_t *made = support_json("compress --model m one.pgm one.ilc"),
           *scores = support_scores(NULL, "--model m one.pgm");
    double bits = support_number(json_array_get(scores, 1), "nats") / log(2);
    size_t code;
    free(support_read("one.ilc", &code));
    json_t *head = support_json("inspect one.ilc");
    assert_true(json_is_true(json_object_get(head, "picture")) && support_number(head, "original_bytes") == W * H);
    double coded = json_number_value(json_object_get(json_array_get(json_object_get(head, "streams"), 0), "coded"));
    assert_true(8 * coded < bits + 28 + 72 && 8 * coded > bits / 4);
    assert_true(support_number(made, "width") == W && support_number(made, "compressed_bytes") == (double)code);
    json_decref(head);
    json_decref(made);
    json_decref(scores);
    /* colours that are all greys are these greys */
    FILE *file = fopen("rgb.ppm", "wb");
    assert_non_null(file);
    fprintf(file, "P6 12 8 255\n");
    for (size_t i = bytes - 12 * 8; i < bytes; i++) fprintf(file, "%c%c%c", sheet[i], sheet[i], sheet[i]);
    fclose(file);
    free(support_done("compress --model m rgb.ppm rgb.ilc"));
    support_same_files("rgb.ilc", "sheet.ilc");
    free(sheet);
}

static void test_compress_refused(void **state) {
    (void)state;
    static const char shade[] = "P5 6 4 255\n\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1";
    support_write("shade.pgm", shade, sizeof shade - 1);
    support_refused(1, "shade.pgm: the picture has a pixel that is none of the 4 greys",
                    "compress --model m shade.pgm x");
    support_write("other.pgm", "P5 2 2 255\n\0\377\377\0", 15);
    support_refused(1, "codes those of 6 by 4", "compress --model m other.pgm x");
    support_refused(1, "no picture that can be read", "compress --model m p/README x");
    support_refused(1, "a model of films", "compress --model film p/bag/one_two.pgm x");
    support_refused(2, "--streams is of text", "compress --model m --streams 2 p/bag/one_two.pgm x");
    assert_false(support_exists("x"));
    free(support_done("compress --model m p/bag/one_two.pgm one.ilc"));
    support_refused(1, "end in .png", "decompress --model m one.ilc x");
    size_t bytes;
    char *file = support_read("one.ilc", &bytes);
    file[bytes - 6] ^= 1;
    support_write("bad.ilc", file, bytes);
    support_refused(1, "damaged", "decompress --model m bad.ilc x.pgm");
    free(file);
    free(support_done("init %s --tokenizer d/pictures.json --seed 6 --out other", SHAPE));
    support_refused(1, "compressed with model", "decompress --model other one.ilc x.pgm");

    support_refused(1, "of a picture, not of text", "decompress --model text one.ilc x.pgm");
    free(support_done("compress --model text p/README text.ilc"));
    support_refused(1, "of text, not of a picture", "decompress --model m text.ilc x.pgm");
    assert_false(support_exists("x.pgm"));
}

/* ---- the terminal ---- */

/* What generate writes to a terminal, with an environment variable more. */
static void on_terminal(const char *name, const char *value, char *text, size_t capacity) {
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    int master, slave;
    size_t n = 0;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
    pid_t child = fork();
    if (!child) {
        setenv("TERM", "xterm", 1);
        unsetenv("NO_COLOR");
        setenv(name, value, 1);
        if (dup2(slave, STDERR_FILENO) < 0) _exit(125);
        execl(INNERLOOP, INNERLOOP, "generate", "--model", "m", "--count", "2", NULL);
        _exit(126);
    }
    close(slave);
    for (ssize_t got; n < capacity - 1 && (got = read(master, text + n, capacity - 1 - n)) > 0;) n += (size_t)got;
    text[n] = 0;
    close(master);
    support_cli_wait(child);
}

static void test_terminal(void **state) {
    (void)state;
    static char text[1 << 16];
    size_t bytes;
    free(support_done("generate --model m --count 2 --out two.pgm"));
    char *file = support_read("two.pgm", &bytes);
    int upper = (unsigned char)file[bytes - 2 * W * H], lower = (unsigned char)file[bytes - 2 * W * H + 2 * W];
    char first[100];
    sprintf(first, "\033[38;2;%d;%d;%dm\033[48;2;%d;%d;%dm\xE2\x96\x80", upper, upper, upper, lower, lower, lower);
    free(file);
    on_terminal("A", "b", text, sizeof text);
    assert_non_null(strstr(text, first));
    assert_non_null(strstr(text, "\033[0m")); /* two lines, drawn again in their place */
    assert_non_null(strstr(text, "\033[2A"));
    assert_null(strstr(text, "pixel 48/48"));
    on_terminal("NO_COLOR", "1", text, sizeof text); /* nothing shows the pictures then, so a file must take them */
    assert_null(strstr(text, "\033[38"));
    assert_non_null(strstr(text, "--out FILE is missing"));
    on_terminal("TERM", "dumb", text, sizeof text);
    assert_non_null(strstr(text, "--out FILE is missing"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captions), cmocka_unit_test(test_header_rows),
        cmocka_unit_test(test_sizes),    cmocka_unit_test(test_palette),
        cmocka_unit_test(test_films),    cmocka_unit_test(test_one_answer),
        cmocka_unit_test(test_guidance), cmocka_unit_test(test_completion),
        cmocka_unit_test(test_scale),    cmocka_unit_test(test_film),
        cmocka_unit_test(test_formats),  cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_score),    cmocka_unit_test(test_convert),
        cmocka_unit_test(test_compress), cmocka_unit_test(test_compress_refused),
        cmocka_unit_test(test_terminal), cmocka_unit_test(test_by_columns),
        cmocka_unit_test(test_actions),  cmocka_unit_test(test_played),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
