/* msgpack.c: see msgpack.h. */
#include "tensor/msgpack.h"

static size_t left(const il_msgpack *stream) { return (size_t)(stream->end - stream->at); }

/* The next n bytes as a number, the most significant one first, as msgpack has them. */
static int read_number(il_msgpack *stream, size_t n, uint64_t *number) {
    if (left(stream) < n) return 0;
    *number = 0;
    for (size_t i = 0; i < n; i++) *number = *number << 8 | stream->at[i];
    stream->at += n;
    return 1;
}

static int read_integer(il_msgpack *stream, size_t n, int is_signed, il_msgpack_value *value) {
    value->kind = IL_MSGPACK_INTEGER;
    if (!read_number(stream, n, &value->number)) return 0;
    value->negative = is_signed && value->number >> (8 * n - 1);
    if (value->negative && n < 8) value->number |= UINT64_MAX << (8 * n);
    return 1;
}

static int read_data(il_msgpack *stream, il_msgpack_kind kind, uint64_t bytes, il_msgpack_value *value) {
    value->kind = kind;
    if (bytes > left(stream)) return 0;
    value->data = stream->at;
    value->bytes = (size_t)bytes;
    stream->at += bytes;
    return 1;
}

/* length: bytes in which the number of data's bytes is written. */
static int read_long(il_msgpack *stream, il_msgpack_kind kind, size_t length, il_msgpack_value *value) {
    uint64_t bytes;
    return read_number(stream, length, &bytes) && read_data(stream, kind, bytes, value);
}

static int read_ext(il_msgpack *stream, uint64_t bytes, il_msgpack_value *value) {
    return read_number(stream, 1, &value->number) && read_data(stream, IL_MSGPACK_EXT, bytes, value);
}

/* What is listed takes a byte at least; of a pair, two. */
static int read_list(il_msgpack *stream, il_msgpack_kind kind, uint64_t count, il_msgpack_value *value) {
    value->kind = kind;
    value->number = count;
    return count <= left(stream) / (kind == IL_MSGPACK_MAP ? 2 : 1);
}

static int read_long_list(il_msgpack *stream, il_msgpack_kind kind, size_t length, il_msgpack_value *value) {
    uint64_t count;
    return read_number(stream, length, &count) && read_list(stream, kind, count, value);
}

static int read_value(il_msgpack *s, il_msgpack_value *value) {
    uint64_t first, bytes;
    if (!read_number(s, 1, &first)) return 0;
    *value = (il_msgpack_value){.kind = IL_MSGPACK_INTEGER, .number = first};
    if (first < 0x80) return 1;
    if (first < 0x90) return read_list(s, IL_MSGPACK_MAP, first & 15, value);
    if (first < 0xa0) return read_list(s, IL_MSGPACK_ARRAY, first & 15, value);
    if (first < 0xc0) return read_data(s, IL_MSGPACK_TEXT, first & 31, value);
    if (first >= 0xe0) {
        value->number = UINT64_MAX << 8 | first;
        value->negative = 1;
        return 1;
    }
    switch (first) {
    case 0xc0: value->kind = IL_MSGPACK_NIL; return 1;
    case 0xc2:
    case 0xc3:
        value->kind = IL_MSGPACK_BOOL;
        value->number = first & 1;
        return 1;
    case 0xc4:
    case 0xc5:
    case 0xc6: return read_long(s, IL_MSGPACK_BYTES, (size_t)1 << (first - 0xc4), value);
    case 0xc7:
    case 0xc8:
    case 0xc9: return read_number(s, (size_t)1 << (first - 0xc7), &bytes) && read_ext(s, bytes, value);
    case 0xca:
    case 0xcb: return read_data(s, IL_MSGPACK_REAL, (uint64_t)4 << (first - 0xca), value);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf: return read_integer(s, (size_t)1 << (first - 0xcc), 0, value);
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3: return read_integer(s, (size_t)1 << (first - 0xd0), 1, value);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8: return read_ext(s, (uint64_t)1 << (first - 0xd4), value);
    case 0xd9:
    case 0xda:
    case 0xdb: return read_long(s, IL_MSGPACK_TEXT, (size_t)1 << (first - 0xd9), value);
    case 0xdc:
    case 0xdd: return read_long_list(s, IL_MSGPACK_ARRAY, (size_t)2 << (first - 0xdc), value);
    case 0xde:
    case 0xdf: return read_long_list(s, IL_MSGPACK_MAP, (size_t)2 << (first - 0xde), value);
    default: return 0; /* 0xc1 is never used */
    }
}

int il_msgpack_next(il_msgpack *stream, il_msgpack_value *value) {
    const unsigned char *was = stream->at;
    if (read_value(stream, value)) return 1;
    stream->at = was;
    return 0;
}

/* A list that was begun is only a number of values that are still to come, so that no depth costs memory. */
int il_msgpack_skip(il_msgpack *stream) {
    const unsigned char *was = stream->at;
    uint64_t open = 1;
    while (open) {
        il_msgpack_value value;
        if (open > left(stream) || !il_msgpack_next(stream, &value)) {
            stream->at = was;
            return 0;
        }
        open--;
        if (value.kind == IL_MSGPACK_ARRAY) open += value.number;
        if (value.kind == IL_MSGPACK_MAP) open += 2 * value.number;
    }
    return 1;
}
