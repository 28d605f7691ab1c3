/* test_cli_watch.c: --html and --tensorboard of train: what a run shows of itself, also one that was gone on with. */
#include "support_test.h"

#include "support_cli.h"
#include "support_files.h"
#include "support_text.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RUN                                                                                                            \
    "--data book.txt --steps 8 --warmup 2 --batch-tokens 64 --seq-len 16 --save-every 2 --val val.txt --val-every 3 "

static int begin(void **state) {
    support_command = INNERLOOP;
    if (support_cli_begin(state)) return 1;
    support_seed(5);
    char *text = support_prose(4000);
    support_write("book.txt", text, 3000);
    support_write("val.txt", text + 3000, 300);
    free(text);
    free(support_done("init --preset tiny %s --tokenizer bytes --seed 3 --out m", SUPPORT_SHAPE));
    free(support_done("init --preset tiny --mixer self_attention %s --tokenizer bytes --out att", SUPPORT_COMMON));
    return 0;
}

/* ---- the page ---- */

static void has(const char *text, const char *what) {
    if (!strstr(text, what)) fail_msg("'%s' is not in: %.2000s", what, text);
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

/* The line of the chart with this title: the data of its path; released by free. */
static char *curve(const char *page, const char *title, const char *kind) {
    char wanted[100];
    snprintf(wanted, sizeof wanted, "<figcaption>%s<span>", title);
    const char *at = strstr(page, wanted);
    if (!at) fail_msg("no chart %s", title);
    snprintf(wanted, sizeof wanted, "<path class=\"%s\" d=\"", kind);
    at = strstr(at, wanted);
    assert_non_null(at);
    at += strlen(wanted);
    return strndup(at, strcspn(at, "\""));
}

static void page_alone(void **state) {
    (void)state;
    free(support_done("train --model m --out plain " RUN));
    assert_false(support_exists("plain/history.jsonl"));
    free(support_done("train --model m --out r " RUN "--html 'r<1>.html'"));
    char *page = support_text_of("r<1>.html");
    has(page, "<title>r — step 8</title>");
    has(page, "<span class=\"state done\">done</span>");
    has(page, "step 8 of 8, 100 %");
    has(page, "best validation, step ");
    has(page, "prefers-color-scheme:dark");
    static const char *const titles[] = {"loss", "gradient norm", "learning rate", "tokens/s", "layer 0", "layer 1"};
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++) {
        char *path = curve(page, titles[i], "a");
        assert_int_equal(count(path, "L"), 7);
        free(path);
    }
    char *validation = curve(page, "loss", "b");
    assert_int_equal(count(validation, "L"), 2); /* after steps 3, 6 and 8 */
    free(validation);
    /* nothing from elsewhere, and nothing that runs */
    static const char *const outside[] = {"<script", "src=", "href=", "url(", "@import", "://", "refresh"};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) assert_null(strstr(page, outside[i]));
    assert_int_equal(count(page, "<svg"), count(page, "</svg>"));
    assert_int_equal(count(page, "<figure"), 6);
    free(page);
    /* it changes nothing of the run */
    support_same_files("plain/latest/model.safetensors", "r/latest/model.safetensors");
    support_same_files("plain/latest/trainer.safetensors", "r/latest/trainer.safetensors");

    free(support_done("train --model att --out t " RUN "--html att.html"));
    page = support_text_of("att.html");
    assert_null(strstr(page, "inner loss"));
    has(page, "gradient norm");
    free(page);
    support_refused(2, "--html and --data are the same file", "train --model m --out x " RUN "--html book.txt");
}

/* Goes on from step 4, whatever was made after it. */
static void back_to_4(const char *out) {
    char link[100];
    snprintf(link, sizeof link, "%s/latest", out);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("step-4", link), 0);
}

static void resumed(void **state) {
    (void)state;
    static const char *const curves[][2] = {{"loss", "a"},          {"loss", "b"},    {"gradient norm", "a"},
                                            {"learning rate", "a"}, {"layer 0", "a"}, {"layer 1", "c"}};
    free(support_done("train --model m --out whole " RUN "--html whole.html"));
    char *whole = support_text_of("whole.html");
    free(support_done("train --model m --out part " RUN "--html part.html"));
    back_to_4("part");
    free(support_done("train --resume --out part " RUN "--html part.html"));
    /* and one that was not watched before, but had a log, which has no looks at the inner loop */
    free(support_done("train --model m --out late " RUN "--log late.jsonl"));
    back_to_4("late");
    free(support_done("train --resume --out late " RUN "--log late.jsonl --html late.html"));
    char *part = support_text_of("part.html"), *late = support_text_of("late.html");
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        char *a = curve(whole, curves[i][0], curves[i][1]), *b = curve(part, curves[i][0], curves[i][1]),
             *c = curve(late, curves[i][0], curves[i][1]);
        assert_string_equal(a, b);
        if (i < 4) assert_string_equal(a, c);
        free(c);
        free(b);
        free(a);
    }
    char *history = support_text_of("part/history.jsonl");
    assert_int_equal(count(history, "\n"), 8);
    for (int step = 1; step <= 8; step++) {
        char begins[30];
        snprintf(begins, sizeof begins, "{\"step\":%d,", step);
        assert_int_equal(count(history, begins), 1);
    }
    free(history);
    free(late);
    free(part);
    free(whole);
}

/* Of a model that is made from a text alone. */
static void new_model(void **state) {
    (void)state;
    char *text = support_prose(12000);
    support_write("own.txt", text, 12000);
    free(text);
    free(support_done("train --minutes 0.01 --out own --html own.html --tensorboard own-tb own.txt"));
    char *page = support_text_of("own.html");
    has(page, "layer 0");
    free(page);
    assert_int_equal(support_folder_count("own-tb"), 1);
}

/* ---- event files ---- */

static uint32_t crc32c(const unsigned char *data, size_t bytes) { /* bit by bit */
    uint32_t crc = ~0u;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
    return ~crc;
}

static uint64_t fixed(const unsigned char *p, int width) {
    uint64_t value = 0;
    for (int i = 0; i < width; i++) value |= (uint64_t)p[i] << (8 * i);
    return value;
}

static void check_crc(const unsigned char *data, size_t bytes, const unsigned char *stored) {
    uint32_t crc = crc32c(data, bytes);
    assert_int_equal(fixed(stored, 4), (uint32_t)((crc >> 15 | crc << 17) + 0xA282EAD8u));
}

/* A field of a message: its number; what is in it (bytes), or its value. Moves *at behind it. */
static int field(const unsigned char **at, const unsigned char *end, const unsigned char **data, uint64_t *value) {
    uint64_t numbers[2] = {0};
    for (int k = 0; k < 2; k++) {
        int type = (int)(numbers[0] & 7);
        if (k == 1 && (type == 1 || type == 5)) {
            numbers[1] = fixed(*at, type == 1 ? 8 : 4);
            *at += type == 1 ? 8 : 4;
            break;
        }
        for (int shift = 0;; shift += 7) {
            unsigned char byte = *(*at)++;
            numbers[k] |= (uint64_t)(byte & 127) << shift;
            if (byte < 128) break;
        }
    }
    *value = numbers[1];
    *data = *at;
    if ((numbers[0] & 7) == 2) *at += numbers[1];
    assert_true(*at <= end);
    return (int)(numbers[0] >> 3);
}

/* The events of a file as text: "version V", "start STEP", "STEP TAG=VALUE"; released by free. */
static char *events_of(const char *path) {
    size_t bytes, n;
    char *file = support_read(path, &bytes), *text;
    FILE *out = open_memstream(&text, &n);
    const unsigned char *p = (const unsigned char *)file, *end = p + bytes, *data, *inside;
    while (p < end) {
        uint64_t length = fixed(p, 8), value, step = 0, v;
        check_crc(p, 8, p + 8);
        p += 12;
        check_crc(p, length, p + length);
        for (const unsigned char *at = p; at < p + length;) {
            int number = field(&at, p + length, &data, &value);
            if (number == 1) {
                double time;
                memcpy(&time, &value, sizeof time);
                assert_true(time > 1.6e9);
            }
            if (number == 2) step = value;
            if (number == 3) fprintf(out, "version %.*s\n", (int)value, (const char *)data);
            if (number == 7) fprintf(out, "start %llu\n", (unsigned long long)step);
            if (number != 5) continue;
            for (const unsigned char *s = data; s < data + value;) {
                uint64_t size;
                assert_int_equal(field(&s, data + value, &inside, &size), 1);
                const unsigned char *tag = NULL, *one;
                uint64_t tag_bytes = 0;
                float number_of = 0;
                for (const unsigned char *q = inside; q < inside + size;) {
                    int which = field(&q, inside + size, &one, &v);
                    if (which == 1) tag = one, tag_bytes = v;
                    if (which == 2) memcpy(&number_of, &(uint32_t){(uint32_t)v}, 4);
                }
                fprintf(out, "%llu %.*s=%.7g\n", (unsigned long long)step, (int)tag_bytes, (const char *)tag,
                        (double)number_of);
            }
        }
        p += length + 4;
    }
    assert_ptr_equal(p, end);
    fclose(out);
    free(file);
    return text;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void event_files(void **state) {
    (void)state;
    assert_int_equal(crc32c((const unsigned char *)"123456789", 9), 0xE3069283);
    free(support_done("train --model m --out e " RUN "--tensorboard tb/e --log e.jsonl"));
    back_to_4("e");
    free(support_done("train --resume --out e " RUN "--tensorboard tb/e --log e.jsonl"));
    char *names[4] = {0}, *texts[2];
    int n = 0;
    DIR *dir = opendir("tb/e");
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) && n < 3;)
        if (entry->d_name[0] != '.') names[n++] = strdup(support_path("tb/e", entry->d_name));
    closedir(dir);
    assert_int_equal(n, 2);
    qsort(names, 2, sizeof *names, by_name); /* as TensorBoard reads them */
    for (int i = 0; i < 2; i++) {
        has(names[i], "/events.out.tfevents.");
        texts[i] = events_of(names[i]);
        assert_ptr_equal(strstr(texts[i], "version brain.Event:2\n"), texts[i]);
    }
    assert_null(strstr(texts[0], "start"));
    has(texts[1], "\nstart 5\n");
    assert_int_equal(count(texts[0], " loss/train="), 8);
    assert_int_equal(count(texts[1], " loss/train="), 4);
    assert_int_equal(count(texts[0], " loss/validation="), 3);
    static const char *const tags[] = {"optimizer/gradient_norm", "optimizer/learning_rate", "speed/tokens_per_second",
                                       "inner_loss_before/layer_00", "inner_loss_after/layer_01"};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) assert_int_equal(count(texts[0], tags[i]), 8);
    /* the values are the log's */
    char *log = support_text_of("e.jsonl"), *line = log;
    for (int step = 1; step <= 8; step++, line = strchr(line, '\n') + 1) {
        json_t *object = json_loadb(line, strcspn(line, "\n"), 0, NULL);
        char wanted[80];
        snprintf(wanted, sizeof wanted, "\n%d loss/train=%.7g\n", step, (double)(float)support_number(object, "loss"));
        has(texts[0], wanted);
        if (step > 4) has(texts[1], wanted);
        json_decref(object);
    }
    free(log);
    for (int i = 0; i < 2; i++) free(texts[i]), free(names[i]);
    support_refused(1, "book.txt/tb", "train --model m --out y " RUN "--tensorboard book.txt/tb");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_alone),
        cmocka_unit_test(resumed),
        cmocka_unit_test(new_model),
        cmocka_unit_test(event_files),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
