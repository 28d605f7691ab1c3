/* y4m.c: the reader and the writer of YUV4MPEG2, which ffmpeg pipes. 8 bits a sample, planes 4:2:0, 4:2:2, 4:4:4 or
 * grey. Greys are taken as they are; colours are of BT.601 in its limited range unless XCOLORRANGE=FULL, in integers.
 */
#include "media/reading.h"
#include "media/writing.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX = 256, MS_MAX = 65535 };

typedef struct y4m {
    int begun, width, height, ms, grey, full;
    int across, down; /* pixels that one sample of colour covers */
    void *planes;     /* [room]: of a frame of colours */
    size_t room;
    char line[LINE_MAX];
} y4m;

/* ---- reading ---- */

/* A line without its end; *ended: there was none left. */
static il_status line(il_pictures *p, y4m *y, int *ended, il_error *error) {
    int n = 0, byte;
    for (;; n++) {
        IL_TRY(il_pictures_byte(p, 1, &byte, error));
        *ended = byte < 0 && !n;
        if (*ended) return IL_OK;
        if (byte == '\n') break;
        if (byte <= 0 || n + 1 == LINE_MAX)
            return il_fail(error, IL_ERR_FORMAT, "%s: its header has no end, or one of more than %d bytes",
                           p->source.name, LINE_MAX - 1);
        y->line[n] = (char)byte;
    }
    y->line[n] = 0;
    return IL_OK;
}

/* 1 .. 99,999 in decimal digits, up to `end`; -1: it is something else. */
static int number(const char *text, char end) {
    char *behind;
    if (*text < '0' || *text > '9') return -1;
    long value = strtol(text, &behind, 10);
    return *behind == end && behind - text <= 5 ? (int)value : -1;
}

static il_status planes(il_pictures *p, y4m *y, const char *name, il_error *error) {
    static const struct {
        const char *name;
        int grey, across, down;
    } known[] = {{"420", 0, 2, 2}, {"420jpeg", 0, 2, 2}, {"420mpeg2", 0, 2, 2}, {"420paldv", 0, 2, 2},
                 {"422", 0, 2, 1}, {"444", 0, 1, 1},     {"mono", 1, 1, 1}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i].name) == 0) {
            y->grey = known[i].grey;
            y->across = known[i].across;
            y->down = known[i].down;
            return IL_OK;
        }
    return il_fail(error, IL_ERR_UNSUPPORTED, "%s: y4m of C%.40s; read are 420, 422, 444 and mono of 8 bits",
                   p->source.name, name);
}

/* F30:1: so many frames in so many seconds. */
static int milliseconds(const char *rate) {
    const char *colon = strchr(rate, ':');
    int frames = number(rate, ':'), seconds = colon ? number(colon + 1, 0) : -1;
    if (frames < 1 || seconds < 1) return 0;
    int64_t ms = ((int64_t)seconds * 1000 + frames / 2) / frames;
    return ms > MS_MAX ? MS_MAX : ms < 1 ? 1 : (int)ms;
}

static il_status begin(il_pictures *p, y4m *y, il_error *error) {
    char *rest, *word;
    int ended;
    IL_TRY(line(p, y, &ended, error));
    word = strtok_r(y->line, " ", &rest);
    if (!word || strcmp(word, "YUV4MPEG2") != 0)
        return il_fail(error, IL_ERR_FORMAT, "%s: it does not begin as y4m", p->source.name);
    y->across = y->down = 2;
    while ((word = strtok_r(NULL, " ", &rest))) {
        if (*word == 'W') y->width = number(word + 1, 0);
        if (*word == 'H') y->height = number(word + 1, 0);
        if (*word == 'F') y->ms = milliseconds(word + 1);
        if (*word == 'C') IL_TRY(planes(p, y, word + 1, error));
        if (strcmp(word, "XCOLORRANGE=FULL") == 0) y->full = 1;
    }
    if (y->width < 0) y->width = 0;
    if (y->height < 0) y->height = 0;
    IL_TRY(il_pictures_check_size(p, (uint64_t)y->width, (uint64_t)y->height, error));
    y->begun = 1;
    return IL_OK;
}

static unsigned char clamped(int value) { return (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value); }

/* Luma, and how far both colours are from grey, as red, green and blue; 16 bits behind the point. */
static void to_rgb(const y4m *y, int luma, int blue, int red, unsigned char *rgb) {
    int base = y->full ? luma * 65536 : (luma - 16) * 76309;
    rgb[0] = clamped((base + red * (y->full ? 91881 : 104597) + 32768) >> 16);
    rgb[1] = clamped((base - blue * (y->full ? 22554 : 25675) - red * (y->full ? 46802 : 53279) + 32768) >> 16);
    rgb[2] = clamped((base + blue * (y->full ? 116130 : 132201) + 32768) >> 16);
}

static il_status colours(il_pictures *p, y4m *y, il_error *error) {
    size_t w = (size_t)y->width, h = (size_t)y->height, across = (size_t)y->across, down = (size_t)y->down;
    size_t cw = (w + across - 1) / across, ch = (h + down - 1) / down, bytes = w * h + 2 * cw * ch;
    if (!il_grow(&p->memory, &y->planes, &y->room, 0, bytes, 1))
        return il_fail(error, IL_ERR_NOMEM, "%s: no memory for a frame", p->source.name);
    IL_TRY(il_pictures_take(p, y->planes, bytes, "a frame", error));
    const unsigned char *luma = y->planes, *blue = luma + w * h, *red = blue + cw * ch;
    unsigned char *rgb = p->pixels;
    for (size_t i = 0; i < h; i++)
        for (size_t k = 0; k < w; k++, rgb += 3) {
            size_t c = i / down * cw + k / across;
            to_rgb(y, luma[i * w + k], blue[c] - 128, red[c] - 128, rgb);
        }
    return IL_OK;
}

static il_status next(il_pictures *p, il_picture *picture, il_error *error) {
    int ended;
    IL_TRY(il_pictures_state(p, sizeof(y4m), error));
    y4m *y = p->state;
    if (!y->begun) IL_TRY(begin(p, y, error));
    IL_TRY(line(p, y, &ended, error));
    if (ended) return IL_ERR_END;
    if (strncmp(y->line, "FRAME", 5) != 0 || (y->line[5] && y->line[5] != ' '))
        return il_fail(error, IL_ERR_FORMAT, "%s: no FRAME where frame %llu must begin", p->source.name,
                       (unsigned long long)p->given);
    IL_TRY(il_pictures_make(p, y->width, y->height, y->grey ? 1 : 3, picture, error));
    picture->begins = !p->given;
    picture->ms = y->ms;
    picture->changed = !y->grey;
    if (!y->grey) return colours(p, y, error);
    return il_pictures_take(p, p->pixels, (size_t)y->width * (size_t)y->height, "a frame", error);
}

static void close_y4m(il_pictures *p) {
    y4m *y = p->state;
    if (y) il_free(&p->memory, y->planes);
}

const il_picture_reader il_read_y4m = {"y4m", next, close_y4m};

/* ---- writing ---- */

/* BT.601, limited range, as to_rgb undoes it; 16 bits behind the point. */
static void to_yuv(const unsigned char *rgb, unsigned char *luma, unsigned char *blue, unsigned char *red) {
    int r = rgb[0], g = rgb[1], b = rgb[2];
    *luma = clamped((16829 * r + 33039 * g + 6416 * b + (16 << 16) + 32768) >> 16);
    *blue = clamped((-9714 * r - 19070 * g + 28784 * b + (128 << 16) + 32768) >> 16);
    *red = clamped((28784 * r - 24103 * g - 4681 * b + (128 << 16) + 32768) >> 16);
}

static il_status put_header(il_picture_output *o, const il_picture *p, il_error *error) {
    char header[128];
    int n = snprintf(header, sizeof header, "YUV4MPEG2 W%d H%d F1000:%d Ip A1:1 C%s\n", p->width, p->height, o->ms,
                     p->channels == 3 ? "444 XCOLORRANGE=LIMITED" : "mono XCOLORRANGE=FULL");
    return il_writer_write(&o->writer, header, (size_t)n, error);
}

static il_status put_colours(il_picture_output *o, const il_picture *p, il_error *error) {
    size_t n = (size_t)p->width * (size_t)p->height;
    if (!o->state) o->state = il_alloc_raw(&o->memory, n, 3);
    unsigned char *planes = o->state;
    if (!planes) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for a frame", o->path);
    for (size_t i = 0; i < n; i++) to_yuv(p->pixels + 3 * i, planes + i, planes + n + i, planes + 2 * n + i);
    return il_writer_write(&o->writer, planes, 3 * n, error);
}

static il_status put(il_picture_output *o, const il_picture *p, il_error *error) {
    static const char frame[] = "FRAME\n";
    if (!o->first.width) IL_TRY(put_header(o, p, error));
    IL_TRY(il_writer_write(&o->writer, frame, sizeof frame - 1, error));
    if (p->channels == 3)
        IL_TRY(put_colours(o, p, error));
    else
        IL_TRY(il_writer_write(&o->writer, p->pixels, il_picture_bytes(p), error));
    return il_writer_flush(&o->writer, error); /* who watches sees each frame when it is made */
}

static void close_output(il_picture_output *o) { il_free(&o->memory, o->state); }

const il_picture_writer il_write_y4m = {put, NULL, close_output};
