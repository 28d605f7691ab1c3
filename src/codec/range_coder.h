/* range_coder.h: integers in place of probabilities: a row of logits as frequencies, and the range coder that
 * writes symbols by them. Owns the coded bytes; knows nothing of tokens, text or files.
 *
 * Frequencies. With p = exp(logit - log_sum_exp), both by the kernels and so the same bits on every machine,
 * symbol i has frequency 1 + floor(p_i 2^30). They are never 0, and their sum is an integer sum, the same in
 * any order. A symbol costs log2(total / frequency) bits: at most (V + 2^30 |error of the sum of p|) / 2^30 /
 * ln 2 more than -log2 p, less than 1e-4 bits a symbol for V ≤ 65536.
 *
 * Coder. low and range are 64-bit, range is kept at 2^56 or more, so that range / total has 24 bits or more
 * and its rounding costs less than 1e-6 bits a symbol. A carry out of low goes back into the bytes already
 * written. */
#ifndef IL_CODEC_RANGE_CODER_H
#define IL_CODEC_RANGE_CODER_H

#include "base/memory.h"
#include "kernels/kernels.h"

/* A symbol's slice [from, from + size) of 0 .. total-1; total < 2^32, size ≥ 1. */
typedef struct il_slice {
    uint32_t from, size, total;
} il_slice;

/* Turns logits [n] into p in place. 0 when they are not finite, or so large (2^22) that their sum means
 * nothing. */
int il_slices_begin(const il_kernels *kernels, int n, float *row);
/* Whether p made with this log-sum-exp can be coded by. */
int il_slices_fit(float lse);
il_slice il_slice_of(int n, const float *p, int symbol);

typedef struct il_encoder {
    uint64_t low, range;
    unsigned char *data; /* [bytes], of allocator */
    size_t bytes, capacity;
    const il_allocator *allocator;
} il_encoder;

/* Owes il_encoder_close. */
void il_encoder_open(const il_allocator *allocator, il_encoder *encoder);
void il_encoder_close(il_encoder *encoder);
/* These return 0 when memory is short. */
int il_encode(il_encoder *encoder, il_slice slice);
/* A bit that is 1 with probability ones / 2^bits; neither certain; bits ≤ 31. */
int il_encode_bit(il_encoder *encoder, int bit, uint32_t ones, int bits);
int il_encode_bits(il_encoder *encoder, uint64_t value, int bits); /* bits 0 .. 64, all values alike */
int il_encode_finish(il_encoder *encoder);                         /* after the last symbol, once */

typedef struct il_decoding {
    uint64_t offset, range; /* offset: what was read, less low */
    const unsigned char *data;
    size_t bytes, at; /* at: bytes taken; past the end zeros are taken, of which a whole code needs 7 */
} il_decoding;

void il_decode_begin(const unsigned char *data, size_t bytes, il_decoding *decoding);
/* The next symbol of a row that il_slices_begin has turned into p, or -1: what was coded is damaged or cut
 * short. */
int il_decode_symbol(il_decoding *decoding, int n, const float *p);
/* The next bit, or -1. */
int il_decode_bit(il_decoding *decoding, uint32_t ones, int bits);
/* The next of `total` equally likely symbols, or -1. */
int64_t il_decode_uniform(il_decoding *decoding, uint32_t total);
int il_decode_bits(il_decoding *decoding, int bits, uint64_t *value); /* 0: damaged */
/* Whether the code ends here, to the byte. */
int il_decode_ended(const il_decoding *decoding);

#endif
