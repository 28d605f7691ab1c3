/* sentencepiece_model.c: see sentencepiece_model.h. Field numbers are those of sentencepiece_model.proto. */
#include "text/sentencepiece_model.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <string.h>

enum { MODEL_TYPE_BPE = 2 };
#define SPACE "\xE2\x96\x81" /* U+2581, how the format writes a space */

/* ---- protocol buffers ---- */

typedef struct span {
    const unsigned char *at, *end;
} span;

typedef struct field {
    uint32_t number;
    int wire;
    uint64_t value; /* of a varint or fixed field */
    span body;      /* of a length-delimited field */
} field;

static int read_varint(span *s, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (s->at == s->end) return 0;
        unsigned char c = *s->at++;
        *value |= (uint64_t)(c & 0x7F) << shift;
        if (c < 0x80) return 1;
    }
    return 0;
}

static int read_fixed(span *s, int bytes, uint64_t *value) {
    if (s->end - s->at < bytes) return 0;
    *value = 0;
    for (int i = 0; i < bytes; i++) *value |= (uint64_t)s->at[i] << (8 * i);
    s->at += bytes;
    return 1;
}

/* The next field; 0 when the message is broken. The caller checks for its end. */
static int read_field(span *s, field *f) {
    uint64_t key, size;
    if (!read_varint(s, &key) || key >> 3 == 0 || key >> 3 > 0x1FFFFFFF) return 0;
    f->number = (uint32_t)(key >> 3);
    f->wire = (int)(key & 7);
    f->value = 0;
    f->body = (span){s->at, s->at};
    switch (f->wire) {
    case 0: return read_varint(s, &f->value);
    case 1: return read_fixed(s, 8, &f->value);
    case 5: return read_fixed(s, 4, &f->value);
    case 2:
        if (!read_varint(s, &size) || size > (uint64_t)(s->end - s->at)) return 0;
        f->body = (span){s->at, s->at + size};
        s->at += size;
        return 1;
    default: return 0; /* groups are not part of this format */
    }
}

static size_t span_bytes(span s) { return (size_t)(s.end - s.at); }

/* ---- the parts of a model ---- */

/* "<0x0A>" -> 10; -1 for anything else. */
static int byte_of(const char *text, size_t bytes) {
    static const char digits[] = "0123456789ABCDEF";
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const char *high = memchr(digits, text[3], 16), *low = memchr(digits, text[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

static int is_utf8(const char *text, size_t bytes) {
    for (size_t at = 0, length; at < bytes; at += length)
        if (!(length = (size_t)il_utf8_length(text + at, bytes - at))) return 0;
    return 1;
}

static const char *parse_piece(span body, il_sp_piece *piece) {
    field f;
    *piece = (il_sp_piece){.type = IL_SP_NORMAL};
    while (body.at < body.end) {
        if (!read_field(&body, &f)) return "broken field";
        if (f.number == 1 && f.wire == 2) {
            piece->text = (const char *)f.body.at;
            if (span_bytes(f.body) > 1 << 16) return "longer than 65536 bytes";
            piece->bytes = (uint32_t)span_bytes(f.body);
        } else if (f.number == 2 && f.wire == 5) {
            if ((f.value & 0x7F800000) == 0x7F800000) return "score is not finite";
        } else if (f.number == 3 && f.wire == 0) {
            if (f.value < IL_SP_NORMAL || f.value > IL_SP_BYTE) return "unknown type";
            piece->type = (unsigned char)f.value;
        } else if (f.number <= 3) {
            return "field of the wrong kind";
        }
    }
    if (piece->bytes == 0) return "empty";
    if (memchr(piece->text, 0, piece->bytes)) return "holds a NUL";
    if (!is_utf8(piece->text, piece->bytes)) return "not UTF-8";
    if (piece->type == IL_SP_BYTE) {
        int value = byte_of(piece->text, piece->bytes);
        if (value < 0) return "not of the form <0xHH>, which a byte piece must be";
        piece->value = (unsigned char)value;
    }
    return NULL;
}

/* ---- the table of character replacements ----
 * u32 size of a double-array trie, its u32 units, then the NUL-terminated strings that its leaves point at.
 * The library follows offsets, leaves and cycles unchecked, and has room for 32 matches along one path. */

typedef struct trie {
    const unsigned char *unit;
    size_t units;
} trie;

enum { TRIE_MATCHES_MAX = 31, TRIE_BUSY = 255 };

static uint32_t load_u32(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t trie_unit(const trie *t, size_t i) { return load_u32(t->unit + 4 * i); }
static int trie_ends_key(uint32_t unit) { return unit >> 8 & 1; }
/* Where the children of unit i stand: the child for byte c at this XOR c. */
static size_t trie_children(size_t i, uint32_t unit) { return i ^ ((size_t)(unit >> 10) << ((unit & 1u << 9) >> 6)); }

/* The most keys that end along one path from the root, walked depth first; an error text for cycles and for
 * too many. */
static const char *check_paths(const il_allocator *allocator, const trie *t) {
    typedef struct step {
        uint32_t node, label;
    } step;
    const char *why = "no memory to check its replacement table";
    size_t depth = 0;
    unsigned char *most = il_alloc(allocator, t->units, 1); /* 0: not seen; else 1 + keys that end at or below */
    step *stack = il_alloc_raw(allocator, t->units, sizeof *stack);
    unsigned char *best = il_alloc_raw(allocator, t->units, 1);
    if (!most || !stack || !best) goto done;
    stack[depth] = (step){0, 0}, best[depth++] = 0, most[0] = TRIE_BUSY;
    while (depth) {
        step *top = &stack[depth - 1];
        uint32_t unit = trie_unit(t, top->node);
        if (top->label == 256) {
            int keys = best[depth - 1] + trie_ends_key(unit);
            why = "its replacement table has too many matches for one text";
            if (keys > TRIE_MATCHES_MAX) goto done;
            most[top->node] = (unsigned char)(1 + keys);
            depth--;
            if (depth && keys > best[depth - 1]) best[depth - 1] = (unsigned char)keys;
            continue;
        }
        uint32_t label = top->label++;
        size_t child = trie_children(top->node, unit) ^ label;
        if ((trie_unit(t, child) & 0x800000FF) != label) continue;
        why = "its replacement table has a cycle";
        if (most[child] == TRIE_BUSY) goto done;
        if (most[child] == 0) {
            most[child] = TRIE_BUSY;
            stack[depth] = (step){(uint32_t)child, 0}, best[depth++] = 0;
        } else if (most[child] - 1 > best[depth - 1]) {
            best[depth - 1] = (unsigned char)(most[child] - 1);
        }
    }
    why = NULL;
done:
    il_free(allocator, best);
    il_free(allocator, stack);
    il_free(allocator, most);
    return why;
}

static const char *check_table(const il_allocator *allocator, span table) {
    static const char outside[] = "its replacement table points outside";
    size_t bytes = span_bytes(table);
    if (bytes <= 4) return "its replacement table is cut short";
    size_t trie_bytes = load_u32(table.at);
    trie t = {table.at + 4, trie_bytes / 4};
    if (trie_bytes >= bytes - 4 || trie_bytes % 4 != 0 || t.units == 0)
        return "its replacement table lies about its size";
    size_t string_bytes = bytes - 4 - trie_bytes;
    if (table.end[-1] != 0) return "its replacement strings have no end";
    if (trie_unit(&t, 0) >> 31) return outside;
    for (size_t i = 0; i < t.units; i++) {
        uint32_t unit = trie_unit(&t, i);
        if (unit >> 31) continue; /* a leaf: a value, never walked through */
        /* a child's byte changes the low 8 bits only */
        size_t children = trie_children(i, unit);
        if ((children | 0xFF) >= t.units) return outside;
        if (trie_ends_key(unit) && (trie_unit(&t, children) & 0x7FFFFFFF) >= string_bytes) return outside;
    }
    return check_paths(allocator, &t);
}

/* normalizer: 1, denormalizer: 0 */
static const char *parse_normalizer(const il_allocator *allocator, span body, int normalizer, il_sp_model *model) {
    field f;
    while (body.at < body.end) {
        if (!read_field(&body, &f)) return "its normalizer is broken";
        if (f.number == 2 && f.wire == 2 && span_bytes(f.body) > 0) {
            const char *why = check_table(allocator, f.body);
            if (why) return why;
            if (!normalizer) return "it rewrites decoded text (denormalizer), which is not supported";
            model->normalizes = 1;
        }
        if (!normalizer || f.wire != 0) continue;
        if (f.number == 3) model->add_dummy_prefix = f.value != 0;
        if (f.number == 4) model->remove_extra_whitespaces = f.value != 0;
        if (f.number == 5) model->escape_whitespaces = f.value != 0;
    }
    return NULL;
}

static const char *parse_trainer(span body, il_sp_model *model) {
    field f;
    while (body.at < body.end) {
        if (!read_field(&body, &f)) return "its trainer settings are broken";
        if (f.number == 3 && f.wire == 0) model->by_words = f.value == MODEL_TYPE_BPE;
        if (f.number == 24 && f.wire == 0) model->treat_whitespace_as_suffix = f.value != 0;
        if (f.number == 35 && f.wire == 0) model->byte_fallback = f.value != 0;
        if (f.number == 44 && f.wire == 2) {
            if (span_bytes(f.body) > 1 << 10) return "its text for unknown pieces is too long";
            model->unk_surface = (const char *)f.body.at;
            model->unk_surface_bytes = span_bytes(f.body);
            if (!is_utf8(model->unk_surface, model->unk_surface_bytes))
                return "its text for unknown pieces is not UTF-8";
        }
    }
    return NULL;
}

/* Settles by_words, so far "is BPE", and apart. */
static void find_words(il_sp_model *model) {
    memset(model->apart, 1, sizeof model->apart);
    model->apart[' '] = 0;
    model->by_words = model->by_words && model->byte_fallback;
    for (int i = 0; i < model->n; i++) {
        const il_sp_piece *p = &model->pieces[i];
        int single = (uint32_t)il_utf8_length(p->text, p->bytes) == p->bytes, spaces_so_far = 1;
        if (single || (p->type != IL_SP_NORMAL && p->type != IL_SP_USER_DEFINED && p->type != IL_SP_UNUSED)) continue;
        for (uint32_t at = 0; at < p->bytes;) {
            int length = il_utf8_length(p->text + at, p->bytes - at);
            int space = length == 3 && memcmp(p->text + at, SPACE, 3) == 0;
            if (length == 1) model->apart[(unsigned char)p->text[at]] = 0;
            if (space && !spaces_so_far) model->by_words = 0;
            spaces_so_far = space;
            at += (uint32_t)length;
        }
    }
}

void il_sp_model_free(const il_allocator *allocator, il_sp_model *model) {
    il_free(allocator, model->pieces);
    model->pieces = NULL;
    model->n = 0;
}

il_status il_sp_model_parse(const il_allocator *allocator, const char *path, const unsigned char *data, size_t bytes,
                            il_sp_model *model, il_error *error) {
    span whole = {data, data + bytes};
    size_t n = 0;
    int unknown = -1, bytes_seen = 0;
    field f;
    *model = (il_sp_model){.space_id = -1,
                           .add_dummy_prefix = 1,
                           .remove_extra_whitespaces = 1,
                           .escape_whitespaces = 1,
                           .unk_surface = " \xE2\x81\x87 ",
                           .unk_surface_bytes = 5};
    for (int i = 0; i < 256; i++) model->byte_ids[i] = -1;

    for (span s = whole; s.at < s.end;) {
        if (!read_field(&s, &f)) return il_fail(error, IL_ERR_FORMAT, "%s: not a SentencePiece model", path);
        if (f.number == 1) n++;
        if (f.number <= 5 && f.wire != 2) return il_fail(error, IL_ERR_FORMAT, "%s: not a SentencePiece model", path);
    }
    if (n == 0) return il_fail(error, IL_ERR_FORMAT, "%s: not a SentencePiece model: it has no pieces", path);
    if (n > IL_SP_VOCAB_MAX)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: %zu pieces, at most %d are supported", path, n, IL_SP_VOCAB_MAX);
    model->pieces = il_alloc(allocator, n, sizeof *model->pieces);
    if (!model->pieces) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for %zu pieces", path, n);

    for (span s = whole; s.at < s.end;) {
        const char *why = NULL;
        read_field(&s, &f);
        if (f.number == 1) {
            il_sp_piece *piece = &model->pieces[model->n];
            why = parse_piece(f.body, piece);
            if (why) return il_fail(error, IL_ERR_FORMAT, "%s: piece %d: %s", path, model->n, why);
            if (piece->type == IL_SP_UNKNOWN) {
                if (unknown >= 0)
                    return il_fail(error, IL_ERR_FORMAT, "%s: pieces %d and %d are both the unknown piece", path,
                                   unknown, model->n);
                unknown = model->n;
            } else if (piece->type == IL_SP_BYTE) {
                bytes_seen += model->byte_ids[piece->value] < 0;
                model->byte_ids[piece->value] = model->n;
            } else if (piece->type != IL_SP_CONTROL && piece->type != IL_SP_UNUSED && piece->bytes == 3 &&
                       memcmp(piece->text, SPACE, 3) == 0) {
                model->space_id = model->n;
            }
            model->n++;
        } else if (f.number == 2) {
            why = parse_trainer(f.body, model);
        } else if (f.number == 3 || f.number == 5) {
            why = parse_normalizer(allocator, f.body, f.number == 3, model);
        }
        if (why) return il_fail(error, IL_ERR_FORMAT, "%s: %s", path, why);
    }
    if (unknown < 0) return il_fail(error, IL_ERR_FORMAT, "%s: it has no unknown piece", path);
    if (model->byte_fallback != (bytes_seen > 0) || (bytes_seen != 0 && bytes_seen != 256))
        return il_fail(error, IL_ERR_FORMAT, "%s: %d byte pieces, byte fallback is %s", path, bytes_seen,
                       model->byte_fallback ? "on, which needs 256" : "off");
    find_words(model);
    return IL_OK;
}
