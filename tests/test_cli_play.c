/* test_cli_play.c: a world of films is played by keys, on a terminal and without one. What is drawn is what generate
 * draws by the same actions; the terminal is put back as it was, whatever ends the play. */
#include "support_test.h"

#include "support_cli.h"
#include "support_files.h"

#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { W = 6, H = 4, FRAMES = 3 };
#define SHAPE                                                                                                          \
    "--preset tiny --mixer ttt_linear --set hidden_size=32 --set num_attention_heads=2 "                               \
    "--set intermediate_size=48 --set num_hidden_layers=2 --set taps=6,5,7 --set fast_head_size=16 --set "             \
    "fast_head_lr=4"
#define PLAY "play --model world --fps 10 --keys "

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    char clip[200];
    int n = 0;
    for (int i = 0; i < FRAMES; i++) {
        n += sprintf(clip + n, "P5 %d %d 255\n", W, H);
        for (int k = 0; k < W * H; k++) clip[n++] = (char)((k / W + k % W * i + i) % 4 * 85);
    }
    mkdir("p", 0777);
    support_write("p/clip.pgm", clip, (size_t)n);
    static const char did[] = "- forward back\n";
    support_write("did", did, sizeof did - 1);
    free(support_done("pictures --tokenizer pictures:4 --films --actions did --out f p"));
    char *json = support_text_of("f/pictures.json"), *names = strstr(json, "[\"back\",\"forward\"]");
    assert_non_null(names); /* and three more */
    FILE *file = fopen("world.json", "w");
    assert_non_null(file);
    fprintf(file, "%.*s[\"none\",\"forward\",\"back\",\"left\",\"right\"]%s", (int)(names - json), json, names + 18);
    fclose(file);
    free(json);
    free(support_done("init %s --tokenizer world.json --seed 5 --out world", SHAPE));
    free(support_done("init %s --tokenizer world.json --seed 5 --out begun", SHAPE));
    support_write("begun/start.ppm", clip, (size_t)n);
    free(support_done("pictures --tokenizer pictures:4 --out d p"));
    free(support_done("init %s --tokenizer d/pictures.json --out pictures", SHAPE));
    return 0;
}

/* ---- without a terminal ---- */

static void test_keys(void **state) {
    (void)state;
    free(support_done(PLAY "wa.2sd --out played.y4m"));
    free(support_done("generate --model world --actions forward,left,none,forward,back,right --out drawn.y4m"));
    support_same_files("played.y4m", "drawn.y4m");
    free(support_done(PLAY "wd --from p/clip.pgm --out played.y4m"));
    free(support_done("generate --model world --from p/clip.pgm --actions forward,right --out drawn.y4m"));
    support_same_files("played.y4m", "drawn.y4m");
    free(support_done("play --model begun --fps 10 --keys wd --out begun.y4m"));
    support_same_files("begun.y4m", "drawn.y4m");
    json_t *made = support_json(PLAY "wd --from p/clip.pgm");
    assert_true(support_number(made, "frames") == 2 && support_number(made, "given") == FRAMES);
    assert_true(support_number(made, "state_bytes") > 1000 && support_number(made, "ms_per_frame") > 0);
    json_decref(made);
    free(support_done(PLAY "wqw --out ended.pgm"));
    free(support_done(PLAY "w --out one.pgm"));
    support_same_files("ended.pgm", "one.pgm");
}

/* The frames of a film, [n] of W * H bytes, released by free. */
static char *frames(const char *keys, size_t n) {
    enum { FRAME_BYTES = sizeof "P5\n6 4\n255\n" - 1 + W * H };
    size_t bytes;
    free(support_done(PLAY "'%s' --out film.pgm", keys));
    char *file = support_read("film.pgm", &bytes);
    assert_int_equal(bytes, n * FRAME_BYTES);
    for (size_t i = 0; i < n; i++) memmove(file + i * W * H, file + (i + 1) * FRAME_BYTES - W * H, W * H);
    return file;
}

/* Beginning again gives the same film, and so does going on after a while with frozen weights. */
static void test_again(void **state) {
    (void)state;
    enum { BYTES = W * H };
    char *film = frames("waw", 3), *again = frames("waraw", 4), *twice = frames("warwaw", 5),
         *back = frames("wa ww w", 5), *frozen = frames(" waw", 3);
    assert_memory_equal(twice + 2 * BYTES, film, 3 * BYTES);
    assert_true(memcmp(again + 2 * BYTES, film, 2 * BYTES) != 0);
    assert_memory_equal(back, film, 2 * BYTES);
    assert_memory_equal(back + 4 * BYTES, film + 2 * BYTES, BYTES);
    assert_true(memcmp(back + 2 * BYTES, film + 2 * BYTES, BYTES) != 0);
    assert_true(memcmp(frozen, film, 3 * BYTES) != 0);
    size_t bytes;
    free(support_done("generate --model world --frozen --actions forward,left,forward --out frozen.y4m"));
    free(support_done(PLAY "waw --frozen --out film.y4m"));
    support_same_files("film.y4m", "frozen.y4m");
    free(support_done(PLAY "' waw' --frozen --out film.y4m"));
    free(support_done("generate --model world --actions forward,left,forward --out frozen.y4m"));
    support_same_files("film.y4m", "frozen.y4m");
    free(film);
    free(again);
    free(twice);
    free(back);
    free(frozen);
    film = support_read("film.y4m", &bytes);
    assert_non_null(strstr(film, " F1000:100 "));
    free(film);
}

/* Both options change what is drawn. */
static void differ(const char *options, const char *other) {
    size_t bytes, n;
    free(support_done("play --model world --keys wwwwww --out one.y4m %s", options));
    free(support_done("play --model world --keys wwwwww --out two.y4m %s", other));
    char *one = support_read("one.y4m", &bytes), *two = support_read("two.y4m", &n);
    if (n == bytes && !memcmp(one, two, n)) fail_msg("\"%s\" and \"%s\" draw the same", options, other);
    free(one);
    free(two);
}

static void test_options(void **state) {
    (void)state;
    differ("", "--temperature 0");
    differ("", "--min-p 0.9");
    differ("", "--seed 1");
    differ("", "--scale 2");
    differ("", "--fps 16");
    differ("--temperature 0", "--temperature 0 --dtype int4");
}

/* Where no model is named it is the one in the box, which begins with a frame of its own. */
static void test_bundled(void **state) {
    (void)state;
    unsetenv("INNERLOOP_MODEL");
    json_t *made = support_json("play --keys w");
    assert_true(support_number(made, "given") == 1 && support_number(made, "frames") == 1);
    assert_true(support_number(made, "width") == 24 && support_number(made, "height") == 18);
    json_decref(made);
    setenv("INNERLOOP_MODEL", "begun", 1);
    made = support_json("play --keys w");
    assert_true(support_number(made, "given") == FRAMES && support_number(made, "width") == W);
    json_decref(made);
    unsetenv("INNERLOOP_MODEL");
}

static void test_misuse(void **state) {
    (void)state;
    support_refused(1, "must be a terminal", "play --model world");
    support_refused(2, "--keys: of w, a, s", PLAY "wx");
    support_refused(2, "a PNG holds one picture", PLAY "w --out x.png");
    support_refused(2, "play needs a model of films", "play --model pictures --keys w");
    support_write("other.pgm", "P5 2 2 255\n\0\377\377\0", 15);
    support_refused(1, "a picture of 2 by 2 pixels, not 6 by 4", "play --model world --keys w --from other.pgm");
    assert_false(support_exists("x.png"));
}

/* ---- on a terminal ---- */

typedef struct terminal {
    int master, slave;
    pid_t child;
    struct termios before;
    char text[1 << 17]; /* [n] what was shown, and a NUL */
    size_t n;
} terminal;

static terminal screen;

static void start(int columns, int rows, const char *name, const char *value) {
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    screen.n = 0;
    assert_int_equal(openpty(&screen.master, &screen.slave, NULL, NULL, &size), 0);
    assert_int_equal(tcgetattr(screen.slave, &screen.before), 0);
    screen.child = fork();
    if (screen.child) return;
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    setenv(name, value, 1);
    setsid();
    for (int fd = 0; fd < 3; fd++)
        if (dup2(screen.slave, fd) < 0) _exit(125);
    execl(INNERLOOP, INNERLOOP, "play", "--model", "world", "--fps", "100", NULL);
    _exit(126);
}

/* Reads what is shown until text is, from here on. */
static void wait_for(const char *text) {
    char *from = screen.text + screen.n;
    *from = 0;
    while (!strstr(from, text)) {
        if (screen.n > sizeof screen.text / 2) { /* only what comes counts */
            memmove(screen.text, screen.text + screen.n - 100, 101);
            screen.n = 100;
            from = screen.text;
        }
        ssize_t got = read(screen.master, screen.text + screen.n, sizeof screen.text - 1 - screen.n);
        if (got <= 0) fail_msg("\"%s\" is not shown", text);
        screen.n += (size_t)got;
        screen.text[screen.n] = 0;
    }
}

static void press(const char *keys) { assert_int_equal(write(screen.master, keys, strlen(keys)), strlen(keys)); }

/* The terminal is as it was, and the command's status is this. */
static void finish(int code) {
    struct termios after;
    wait_for("\033[?25h\033[?1049l");
    assert_int_equal(support_cli_wait(screen.child), code);
    assert_int_equal(tcgetattr(screen.slave, &after), 0);
    assert_int_equal(after.c_lflag, screen.before.c_lflag);
    assert_memory_equal(after.c_cc, screen.before.c_cc, sizeof after.c_cc);
    close(screen.master);
    close(screen.slave);
}

static void test_screen(void **state) {
    (void)state;
    start(80, 24, "A", "b");
    wait_for("\033[?1049h\033[?25l");
    wait_for("\033[38;2;");
    wait_for("frame 2,");
    wait_for("learning");
    press("\033[A\033[1;2D\033OC\033x"); /* arrows, in both forms and with Shift */
    press(" ");
    wait_for("FROZEN");
    wait_for("space goes back");
    press(" ");
    wait_for("learning");
    press("r");
    wait_for("frame 1,");
    press("q");
    finish(0);
    start(4, 24, "A", "b");
    wait_for("too small: the world has 6 by 4");
    press("q");
    finish(0);
}

static void test_signals(void **state) {
    (void)state;
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < 3; i++) {
        start(80, 24, "A", "b");
        wait_for("frame 1,");
        kill(screen.child, signals[i]);
        if (i == 1) kill(screen.child, signals[i]); /* the second one may end it at once */
        finish(128 + signals[i]);
    }
    start(80, 24, "A", "b");
    wait_for("frame 1,");
    press("\003"); /* is no signal here: the terminal is not the one that controls the command */
    press("q");
    finish(0);
}

static void test_no_colours(void **state) {
    (void)state;
    static const char *const set[][3] = {{"NO_COLOR", "1", "$NO_COLOR is set"}, {"TERM", "dumb", "has no colours"}};
    for (size_t i = 0; i < 2; i++) {
        start(80, 24, set[i][0], set[i][1]);
        wait_for(set[i][2]);
        assert_int_equal(support_cli_wait(screen.child), 1);
        assert_null(strstr(screen.text, "\033["));
        close(screen.master);
        close(screen.slave);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),    cmocka_unit_test(test_again),      cmocka_unit_test(test_options),
        cmocka_unit_test(test_bundled), cmocka_unit_test(test_misuse),     cmocka_unit_test(test_screen),
        cmocka_unit_test(test_signals), cmocka_unit_test(test_no_colours),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
