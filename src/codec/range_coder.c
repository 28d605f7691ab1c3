/* range_coder.c: see range_coder.h. */
#include "codec/range_coder.h"

#include "base/frequency.h"

#include <math.h>

enum { OVERRUN = 7, DIGIT_BITS = 16 };
static const uint64_t RANGE_LEAST = (uint64_t)1 << 56;

/* ---- frequencies ---- */

/* At 2^22 the last bit of lse is 1/2: p may be off by e^1/4 together, which still keeps total below 2^32. */
int il_slices_fit(float lse) { return fabsf(lse) < 0x1p22f; }

int il_slices_begin(const il_kernels *kernels, int n, float *row) {
    float lse;
    kernels->log_sum_exp(1, n, row, n, &lse);
    if (!il_slices_fit(lse)) return 0;
    kernels->exp_shift(1, n, row, n, &lse);
    return 1;
}

il_slice il_slice_of(int n, const float *p, int symbol) {
    il_slice slice = {.from = il_frequency_sum(symbol, p), .size = il_frequency(p[symbol])};
    slice.total = slice.from + slice.size + il_frequency_sum(n - symbol - 1, p + symbol + 1);
    return slice;
}

/* ---- encoder ---- */

void il_encoder_open(const il_allocator *allocator, il_encoder *encoder) {
    *encoder = (il_encoder){.range = UINT64_MAX, .allocator = allocator};
}

void il_encoder_close(il_encoder *encoder) {
    if (encoder->data) il_free(encoder->allocator, encoder->data);
    *encoder = (il_encoder){0};
}

static int put_top_byte(il_encoder *e) {
    void *data = e->data;
    if (!il_grow(e->allocator, &data, &e->capacity, e->bytes, e->bytes + 1, 1)) return 0;
    e->data = data;
    e->data[e->bytes++] = (unsigned char)(e->low >> 56);
    e->low <<= 8;
    return 1;
}

/* low + by; the code as a whole stays below 1, so the carry ends inside the bytes written. */
static void raise_low(il_encoder *e, uint64_t by) {
    e->low += by;
    if (e->low >= by) return;
    for (size_t i = e->bytes; i > 0 && ++e->data[i - 1] == 0; i--) {}
}

int il_encode(il_encoder *e, il_slice slice) {
    uint64_t unit = e->range / slice.total;
    raise_low(e, unit * slice.from);
    e->range = unit * slice.size;
    for (; e->range < RANGE_LEAST; e->range <<= 8)
        if (!put_top_byte(e)) return 0;
    return 1;
}

static il_slice slice_of_bit(int bit, uint32_t ones, int bits) {
    uint32_t total = 1U << bits;
    return bit ? (il_slice){0, ones, total} : (il_slice){ones, total - ones, total};
}

int il_encode_bit(il_encoder *e, int bit, uint32_t ones, int bits) {
    return il_encode(e, slice_of_bit(bit, ones, bits));
}

int il_encode_bits(il_encoder *e, uint64_t value, int bits) {
    while (bits > 0) {
        int bits_now = bits < DIGIT_BITS ? bits : DIGIT_BITS;
        bits -= bits_now;
        uint32_t total = 1U << bits_now, digit = (uint32_t)(value >> bits) & (total - 1);
        if (!il_encode(e, (il_slice){digit, 1, total})) return 0;
    }
    return 1;
}

/* The shortest number in low .. low + range - 1: range ≥ 2^56, so one byte, with the zeros that the decoder
 * reads past the end, is enough. */
int il_encode_finish(il_encoder *e) {
    raise_low(e, RANGE_LEAST - 1);
    return put_top_byte(e);
}

/* ---- decoder ---- */

static void take(il_decoding *d) {
    d->offset = d->offset << 8 | (d->at < d->bytes ? d->data[d->at] : 0);
    d->at++;
}

void il_decode_begin(const unsigned char *data, size_t bytes, il_decoding *d) {
    *d = (il_decoding){.range = UINT64_MAX, .data = data, .bytes = bytes};
    for (int i = 0; i < 8; i++) take(d);
}

static int64_t value_below(const il_decoding *d, uint32_t total) {
    if (d->at > d->bytes + OVERRUN) return -1;
    uint64_t value = d->offset / (d->range / total);
    return value < total ? (int64_t)value : -1;
}

static void consume(il_decoding *d, il_slice slice) {
    uint64_t unit = d->range / slice.total;
    d->offset -= unit * slice.from;
    d->range = unit * slice.size;
    for (; d->range < RANGE_LEAST; d->range <<= 8) take(d);
}

int il_decode_bit(il_decoding *d, uint32_t ones, int bits) {
    int64_t value = value_below(d, 1U << bits);
    if (value < 0) return -1;
    int bit = value < (int64_t)ones;
    consume(d, slice_of_bit(bit, ones, bits));
    return bit;
}

int64_t il_decode_uniform(il_decoding *d, uint32_t total) {
    int64_t value = value_below(d, total);
    if (value >= 0) consume(d, (il_slice){(uint32_t)value, 1, total});
    return value;
}

int il_decode_bits(il_decoding *d, int bits, uint64_t *value) {
    *value = 0;
    while (bits > 0) {
        int bits_now = bits < DIGIT_BITS ? bits : DIGIT_BITS;
        bits -= bits_now;
        int64_t digit = il_decode_uniform(d, 1U << bits_now);
        if (digit < 0) return 0;
        *value = *value << bits_now | (uint64_t)digit;
    }
    return 1;
}

int il_decode_symbol(il_decoding *d, int n, const float *p) {
    il_slice slice = {.total = il_frequency_sum(n, p)};
    int64_t value = value_below(d, slice.total);
    if (value < 0) return -1;
    int i = 0;
    for (uint32_t many;
         i + IL_FREQUENCIES <= n && slice.from + (many = il_frequency_sum(IL_FREQUENCIES, p + i)) <= (uint32_t)value;
         i += IL_FREQUENCIES)
        slice.from += many;
    while (slice.from + (slice.size = il_frequency(p[i])) <= (uint32_t)value) {
        slice.from += slice.size;
        i++;
    }
    consume(d, slice);
    return i;
}

int il_decode_ended(const il_decoding *d) { return d->at == d->bytes + OVERRUN; }
