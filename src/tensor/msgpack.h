/* msgpack.h: one value after the other of a msgpack stream in memory. Nothing is copied or allocated, and nothing nests
 * on the stack: a list is its length, and what it holds comes next. Every length is held against the bytes that are
 * left before it is believed. */
#ifndef IL_TENSOR_MSGPACK_H
#define IL_TENSOR_MSGPACK_H

#include <stddef.h>
#include <stdint.h>

typedef enum il_msgpack_kind {
    IL_MSGPACK_NIL,
    IL_MSGPACK_BOOL,    /* number is 0 or 1 */
    IL_MSGPACK_INTEGER, /* number; negative ones too, as two's complement, and `negative` */
    IL_MSGPACK_REAL,    /* of 4 or 8 bytes, which are skipped */
    IL_MSGPACK_TEXT,    /* data [bytes]; any bytes */
    IL_MSGPACK_BYTES,   /* data [bytes] */
    IL_MSGPACK_ARRAY,   /* number of values that follow */
    IL_MSGPACK_MAP,     /* number of pairs that follow */
    IL_MSGPACK_EXT      /* data [bytes] of an application's type, which is in number */
} il_msgpack_kind;

typedef struct il_msgpack_value {
    il_msgpack_kind kind;
    int negative;
    uint64_t number;
    const unsigned char *data;
    size_t bytes;
} il_msgpack_value;

/* What is left to read. */
typedef struct il_msgpack {
    const unsigned char *at, *end;
} il_msgpack;

/* The next value; 0, and `at` stays, where there is none: the stream ends in it, or it is of no known kind. */
int il_msgpack_next(il_msgpack *stream, il_msgpack_value *value);
/* Passes over the next value with all that it holds. */
int il_msgpack_skip(il_msgpack *stream);

#endif
