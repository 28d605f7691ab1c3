/* copier.c: see copier.h. A copy that went wrong goes on behind the wrong token: in tables and logs it is one field
 * that differs. */
#include "mix/copier.h"

enum { MISSES_MAX = 8, AGREED_AGAIN = 16, COMPARED_MAX = 40 };
static const uint32_t run[IL_COPIES] = {10, 4}; /* tokens that find a place */

uint32_t il_mix_hash(uint32_t hash, uint32_t with) {
    hash = (hash + with + 1) * 0x9E3779B1U;
    return hash ^ hash >> 15;
}

static int32_t *slot(const il_copier *c, uint64_t place) {
    return &c->ring[place & (((uint64_t)1 << c->ring_bits) - 1)];
}

int32_t il_copier_back(const il_copier *c, const il_copy_state *r, int k) {
    uint64_t back = (uint64_t)k * (uint64_t)c->sequences;
    return back <= r->at ? *slot(c, r->at - back) : -1;
}

/* Whether the ring still has the token at a place, and some before it. */
static int kept(const il_copier *c, const il_copy_state *r, uint64_t place) {
    uint64_t before = (uint64_t)(COMPARED_MAX + 1) * (uint64_t)c->sequences;
    return place < r->at && r->at - place + before < (uint64_t)1 << c->ring_bits;
}

/* How many tokens before a place are those before the next one. */
static uint32_t agreeing(const il_copier *c, const il_copy_state *r, uint64_t place) {
    uint32_t n = 0;
    uint64_t step = (uint64_t)c->sequences;
    for (uint64_t back = step; n < COMPARED_MAX && back <= place && back <= r->at; n++, back += step) {
        int32_t token = *slot(c, r->at - back);
        if (token < 0 || token != *slot(c, place - back)) break;
    }
    return n;
}

void il_copier_runs(const il_copier *c, const il_copy_state *r, uint32_t *runs) {
    for (int i = 0; i < IL_COPIES; i++) {
        uint32_t hash = 0;
        for (uint32_t k = 1; k <= run[i]; k++) hash = il_mix_hash(hash, (uint32_t)il_copier_back(c, r, (int)k));
        runs[i] = hash >> (32 - c->place_bits);
        __builtin_prefetch(&c->places[i][runs[i]], 1);
    }
}

void il_copier_begin(il_copier *c, il_copy_state *r, const uint32_t *runs, int32_t *next) {
    for (int i = 0; i < IL_COPIES; i++) {
        il_copy *copy = &r->copies[i];
        uint32_t *place = &c->places[i][runs[i]];
        if (copy->at && (copy->misses > MISSES_MAX || !kept(c, r, copy->at))) *copy = (il_copy){0};
        if (*place && copy->length < run[i]) {
            uint64_t found = r->at - ((uint32_t)r->at - *place);
            uint32_t length = kept(c, r, found) ? agreeing(c, r, found) : 0;
            if (length >= run[i]) *copy = (il_copy){.at = found, .length = length};
        }
        *place = (uint32_t)r->at;
        next[i] = copy->at ? *slot(c, copy->at) : -1;
    }
}

void il_copier_end(il_copier *c, il_copy_state *r, int32_t leaf) {
    for (int i = 0; i < IL_COPIES; i++) {
        il_copy *copy = &r->copies[i];
        if (!copy->at) continue;
        if (*slot(c, copy->at) == leaf) {
            copy->length++;
            if (copy->length > AGREED_AGAIN) copy->misses = 0;
        } else {
            copy->length = 0;
            copy->misses++;
        }
        copy->at += (uint64_t)c->sequences;
    }
    *slot(c, r->at) = leaf;
    r->at += (uint64_t)c->sequences;
}
