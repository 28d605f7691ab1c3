/* gif_file.c: the reader and the writer of GIF, by giflib, a frame at a time. What a frame leaves transparent shows the
 * frame before it, and white where there was none. Of each frame that is written the colours are those that it has. */
#include "media/reading.h"
#include "media/writing.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#ifdef IL_WITH_GIF
#include <gif_lib.h>

static const char *trouble(int code) {
    const char *text = GifErrorString(code);
    return text ? text : "it cannot be read as GIF";
}

/* ---- reading ---- */

typedef struct gif {
    GifFileType *file;
    il_status status;      /* of the source, whose failure giflib only knows as such */
    il_error error;        /* the same */
    unsigned char *canvas; /* [height, width, 3] */
    unsigned char *before; /* the same before the last frame, where that is to be taken away again; else NULL */
    GraphicsControlBlock control;
    int disposal, left, top, width, height; /* of the last frame */
    int changed;
} gif;

static int read_bytes(GifFileType *file, GifByteType *to, int n) {
    il_pictures *p = file->UserData;
    gif *g = p->state;
    size_t done = 0, wanted = n > 0 ? (size_t)n : 0;
    while (done < wanted && g->status == IL_OK) {
        g->status = il_source_need(&p->source, 1, &g->error);
        size_t here = il_source_bytes(&p->source), m = wanted - done < here ? wanted - done : here;
        if (!m) break;
        memcpy(to + done, il_source_data(&p->source), m);
        p->source.from += m;
        done += m;
    }
    return (int)done;
}

static il_status failed(const il_pictures *p, int code, il_error *error) {
    const gif *g = p->state;
    if (g->status != IL_OK) return il_fail(error, g->status, "%s", g->error.message);
    if (code == D_GIF_ERR_NOT_ENOUGH_MEM)
        return il_fail(error, IL_ERR_NOMEM, "%s: no memory to read it", p->source.name);
    return il_fail(error, IL_ERR_FORMAT, "%s: frame %llu: %s", p->source.name, (unsigned long long)p->given,
                   trouble(code));
}

static il_status begin(il_pictures *p, gif *g, il_error *error) {
    int code = 0;
    g->control.TransparentColor = NO_TRANSPARENT_COLOR;
    g->file = DGifOpen(p, read_bytes, &code);
    if (!g->file) return failed(p, code, error);
    int width = g->file->SWidth, height = g->file->SHeight;
    IL_TRY(il_pictures_check_size(p, (uint64_t)width, (uint64_t)height, error));
    size_t bytes = (size_t)width * (size_t)height * 3;
    g->canvas = il_alloc_raw(&p->memory, bytes, 1);
    if (!g->canvas) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for its frames", p->source.name);
    memset(g->canvas, 255, bytes);
    return IL_OK;
}

/* What becomes of the last frame when the next comes. */
static void dispose(il_pictures *p, gif *g) {
    size_t across = (size_t)g->file->SWidth * 3, at = (size_t)g->top * across + (size_t)g->left * 3;
    if (g->disposal == DISPOSE_BACKGROUND)
        for (int i = 0; i < g->height; i++) memset(g->canvas + at + (size_t)i * across, 255, (size_t)g->width * 3);
    if (g->disposal == DISPOSE_BACKGROUND) g->changed = 1;
    if (g->before) {
        il_free(&p->memory, g->canvas);
        g->canvas = g->before;
        g->before = NULL;
    }
    g->disposal = DISPOSAL_UNSPECIFIED;
}

static il_status keep(il_pictures *p, gif *g, il_error *error) {
    size_t bytes = (size_t)g->file->SWidth * (size_t)g->file->SHeight * 3;
    g->before = il_alloc_raw(&p->memory, bytes, 1);
    if (!g->before) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for its frames", p->source.name);
    memcpy(g->before, g->canvas, bytes);
    return IL_OK;
}

static il_status draw_row(il_pictures *p, gif *g, const ColorMapObject *map, unsigned char *row, int at,
                          il_error *error) {
    unsigned char *to = g->canvas + ((size_t)(g->top + at) * (size_t)g->file->SWidth + (size_t)g->left) * 3;
    if (DGifGetLine(g->file, row, g->width) == GIF_ERROR) return failed(p, g->file->Error, error);
    for (int k = 0; k < g->width; k++, to += 3) {
        if (row[k] == g->control.TransparentColor) {
            g->changed |= !p->given;
            continue;
        }
        if (row[k] >= map->ColorCount)
            return il_fail(error, IL_ERR_FORMAT, "%s: frame %llu: colour %d of %d", p->source.name,
                           (unsigned long long)p->given, row[k], map->ColorCount);
        to[0] = map->Colors[row[k]].Red;
        to[1] = map->Colors[row[k]].Green;
        to[2] = map->Colors[row[k]].Blue;
    }
    return IL_OK;
}

static il_status draw(il_pictures *p, gif *g, il_error *error) {
    static const struct {
        int first, step;
    } passes[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}, {0, 1}}; /* the last: not interlaced */
    if (DGifGetImageHeader(g->file) == GIF_ERROR) return failed(p, g->file->Error, error);
    const GifImageDesc *d = &g->file->Image;
    const ColorMapObject *map = d->ColorMap ? d->ColorMap : g->file->SColorMap;
    if (!map) return il_fail(error, IL_ERR_FORMAT, "%s: a frame without colours", p->source.name);
    if (d->Left < 0 || d->Top < 0 || d->Width < 1 || d->Height < 1 || d->Width > g->file->SWidth - d->Left ||
        d->Height > g->file->SHeight - d->Top)
        return il_fail(error, IL_ERR_FORMAT, "%s: frame %llu reaches beyond the picture", p->source.name,
                       (unsigned long long)p->given);
    g->left = d->Left, g->top = d->Top, g->width = d->Width, g->height = d->Height;
    g->changed |= !p->given && (d->Width < g->file->SWidth || d->Height < g->file->SHeight);
    if (g->control.DisposalMode == DISPOSE_PREVIOUS) IL_TRY(keep(p, g, error));
    unsigned char *row = il_alloc_raw(&p->memory, (size_t)g->width, 1);
    il_status status = row ? IL_OK : il_fail(error, IL_ERR_NOMEM, "%s: no memory for a row", p->source.name);
    for (int pass = d->Interlace ? 0 : 4; pass < (d->Interlace ? 4 : 5); pass++)
        for (int i = passes[pass].first; i < g->height && status == IL_OK; i += passes[pass].step)
            status = draw_row(p, g, map, row, i, error);
    il_free(&p->memory, row);
    g->disposal = g->control.DisposalMode;
    return status;
}

/* An extension; only what says how the next frame is drawn counts. */
static il_status extend(il_pictures *p, gif *g, il_error *error) {
    int code;
    GifByteType *block;
    int good = DGifGetExtension(g->file, &code, &block) == GIF_OK;
    for (int first = 1; good && block; first = 0) {
        if (first && code == GRAPHICS_EXT_FUNC_CODE && block[0] == 4) DGifExtensionToGCB(4, block + 1, &g->control);
        good = DGifGetExtensionNext(g->file, &block) == GIF_OK;
    }
    return good ? IL_OK : failed(p, g->file->Error, error);
}

static il_status next(il_pictures *p, il_picture *picture, il_error *error) {
    GifRecordType type;
    IL_TRY(il_pictures_state(p, sizeof(gif), error));
    gif *g = p->state;
    if (!g->file) IL_TRY(begin(p, g, error));
    if (!g->canvas) return failed(p, D_GIF_ERR_READ_FAILED, error); /* it has failed before */
    dispose(p, g);
    do {
        if (DGifGetRecordType(g->file, &type) == GIF_ERROR) return failed(p, g->file->Error, error);
        if (type == TERMINATE_RECORD_TYPE) return IL_ERR_END;
        if (type == EXTENSION_RECORD_TYPE) IL_TRY(extend(p, g, error));
    } while (type != IMAGE_DESC_RECORD_TYPE);
    IL_TRY(draw(p, g, error));
    IL_TRY(il_pictures_make(p, g->file->SWidth, g->file->SHeight, 3, picture, error));
    memcpy(p->pixels, g->canvas, (size_t)picture->width * (size_t)picture->height * 3);
    picture->begins = !p->given;
    picture->changed = g->changed;
    picture->ms = 10 * g->control.DelayTime;
    g->control = (GraphicsControlBlock){.TransparentColor = NO_TRANSPARENT_COLOR};
    return IL_OK;
}

static void close_gif(il_pictures *p) {
    gif *g = p->state;
    if (!g) return;
    if (g->file) DGifCloseFile(g->file, NULL);
    il_free(&p->memory, g->canvas);
    il_free(&p->memory, g->before);
}

/* ---- writing ---- */

typedef struct colours {
    uint32_t rgb[256]; /* [n], ascending */
    int n;
} colours;

typedef struct writing {
    GifFileType *file;
    il_error error; /* of the writer, whose failure giflib only knows as such */
    colours all;    /* of the first frame; good for those that have no other */
    unsigned char *row;
    int dropped; /* what giflib writes when it is closed goes nowhere */
} writing;

static int write_bytes(GifFileType *file, const GifByteType *from, int n) {
    il_picture_output *o = file->UserData;
    writing *w = o->state;
    if (w->dropped) return n;
    return n > 0 && il_writer_write(&o->writer, from, (size_t)n, &w->error) == IL_OK ? n : 0;
}

static uint32_t colour_at(const il_picture *p, size_t i) {
    const unsigned char *at = p->pixels + i * (size_t)p->channels;
    return (uint32_t)at[0] << 16 | (uint32_t)at[p->channels / 2] << 8 | at[p->channels - 1];
}

/* Where a colour is, or would be. */
static int place(const colours *c, uint32_t rgb) {
    int low = 0, high = c->n;
    while (low < high) {
        int middle = (low + high) / 2;
        if (c->rgb[middle] < rgb)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The colours of a picture; 0: they are too many. */
static int collect(const il_picture *p, colours *c) {
    size_t n = (size_t)p->width * (size_t)p->height;
    c->n = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t rgb = colour_at(p, i);
        int at = place(c, rgb);
        if (at < c->n && c->rgb[at] == rgb) continue;
        if (c->n == 256) return 0;
        memmove(c->rgb + at + 1, c->rgb + at, (size_t)(c->n - at) * sizeof *c->rgb);
        c->rgb[at] = rgb;
        c->n++;
    }
    return 1;
}

static int holds(const colours *all, const colours *some) {
    for (int i = 0; i < some->n; i++) {
        int at = place(all, some->rgb[i]);
        if (at == all->n || all->rgb[at] != some->rgb[i]) return 0;
    }
    return 1;
}

static ColorMapObject *map_of(const colours *c) {
    int room = 2;
    while (room < c->n) room *= 2;
    ColorMapObject *map = GifMakeMapObject(room, NULL);
    for (int i = 0; map && i < c->n; i++)
        map->Colors[i] = (GifColorType){(GifByteType)(c->rgb[i] >> 16), (GifByteType)(c->rgb[i] >> 8 & 255),
                                        (GifByteType)(c->rgb[i] & 255)};
    return map;
}

static il_status refused(const il_picture_output *o, int code, il_error *error) {
    const writing *w = o->state;
    if (w && w->error.message[0]) return il_fail(error, w->error.status, "%s", w->error.message);
    return il_fail(error, IL_ERR_NOMEM, "%s: %s", o->path, trouble(code));
}

/* Screen, colours, and that it begins again at its end. */
static il_status put_screen(il_picture_output *o, writing *w, const il_picture *p, il_error *error) {
    static const unsigned char forever[] = {1, 0, 0};
    int code = 0;
    w->row = il_alloc_raw(&o->memory, (size_t)p->width, 1);
    w->file = w->row ? EGifOpen(o, write_bytes, &code) : NULL;
    ColorMapObject *map = map_of(&w->all);
    int good = w->file && map;
    if (good) EGifSetGifVersion(w->file, true);
    if (good) good = EGifPutScreenDesc(w->file, p->width, p->height, 8, 0, map) == GIF_OK;
    if (good)
        good = EGifPutExtensionLeader(w->file, APPLICATION_EXT_FUNC_CODE) == GIF_OK &&
               EGifPutExtensionBlock(w->file, 11, "NETSCAPE2.0") == GIF_OK &&
               EGifPutExtensionBlock(w->file, sizeof forever, forever) == GIF_OK &&
               EGifPutExtensionTrailer(w->file) == GIF_OK;
    GifFreeMapObject(map);
    return good ? IL_OK : refused(o, w->file ? w->file->Error : code, error);
}

static il_status put_frame(il_picture_output *o, writing *w, const il_picture *p, const colours *own, il_error *error) {
    const colours *used = holds(&w->all, own) ? &w->all : own;
    ColorMapObject *map = used == own ? map_of(own) : NULL;
    GraphicsControlBlock control = {.DisposalMode = DISPOSE_DO_NOT, .DelayTime = (o->ms + 5) / 10};
    GifByteType block[4];
    control.TransparentColor = NO_TRANSPARENT_COLOR;
    EGifGCBToExtension(&control, block);
    int good = (used != own || map) && EGifPutExtension(w->file, GRAPHICS_EXT_FUNC_CODE, 4, block) == GIF_OK &&
               EGifPutImageDesc(w->file, 0, 0, p->width, p->height, false, map) == GIF_OK;
    for (int i = 0; i < p->height && good; i++) {
        for (int k = 0; k < p->width; k++)
            w->row[k] = (unsigned char)place(used, colour_at(p, (size_t)i * (size_t)p->width + (size_t)k));
        good = EGifPutLine(w->file, w->row, p->width) == GIF_OK;
    }
    GifFreeMapObject(map);
    return good ? IL_OK : refused(o, w->file->Error, error);
}

static il_status put(il_picture_output *o, const il_picture *p, il_error *error) {
    colours own;
    if (!collect(p, &own))
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: a frame of more than 256 colours, which GIF cannot have",
                       o->path);
    if (!o->state && !(o->state = il_alloc(&o->memory, 1, sizeof(writing))))
        return il_fail(error, IL_ERR_NOMEM, "%s: no memory to write it", o->path);
    writing *w = o->state;
    if (!w->file) {
        w->all = own;
        IL_TRY(put_screen(o, w, p, error));
    }
    return put_frame(o, w, p, &own, error);
}

static il_status end(il_picture_output *o, il_error *error) {
    writing *w = o->state;
    int code = 0, good = EGifCloseFile(w->file, &code) == GIF_OK;
    w->file = NULL;
    return good ? IL_OK : refused(o, code, error);
}

static void close_output(il_picture_output *o) {
    writing *w = o->state;
    if (!w) return;
    w->dropped = 1;
    if (w->file) EGifCloseFile(w->file, NULL);
    il_free(&o->memory, w->row);
    il_free(&o->memory, w);
}

#else

static il_status next(il_pictures *p, il_picture *picture, il_error *error) {
    (void)picture;
    return il_fail(error, IL_ERR_UNSUPPORTED, "%s: GIF: this build is without giflib", p->source.name);
}

static void close_gif(il_pictures *p) { (void)p; }

static il_status put(il_picture_output *o, const il_picture *picture, il_error *error) {
    (void)picture;
    return il_fail(error, IL_ERR_UNSUPPORTED, "%s: GIF: this build is without giflib", o->path);
}

static il_status end(il_picture_output *o, il_error *error) {
    (void)o, (void)error;
    return IL_OK;
}

static void close_output(il_picture_output *o) { (void)o; }

#endif

const il_picture_reader il_read_gif = {"GIF", next, close_gif};
const il_picture_writer il_write_gif = {put, end, close_output};
