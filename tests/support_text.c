/* support_text.c: see support_text.h. */
#include "support_test.h"

#include "support_text.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t state = 1;

void support_seed(uint64_t seed) { state = seed * 2 + 1; }

uint32_t support_random(uint32_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((state >> 32) * bound) >> 32);
}

static size_t put_character(char *text, uint32_t c) {
    unsigned char *p = (unsigned char *)text;
    if (c < 0x80) {
        p[0] = (unsigned char)c;
        return 1;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (int i = more; i > 0; i--, c >>= 6) p[i] = (unsigned char)(0x80 | (c & 63));
    p[0] = (unsigned char)((more == 1 ? 0xC0 : more == 2 ? 0xE0 : 0xF0) | c);
    return (size_t)more + 1;
}

static uint32_t random_character(void) {
    uint32_t c;
    switch (support_random(9)) {
    case 0: return support_random(0x80); /* controls and NUL too */
    case 1:
    case 2: return 'a' + support_random(26);
    case 3: return ' ';
    case 4: return (unsigned char)"\n\t\r<>0x_"[support_random(8)];
    case 5: return 0x2580 + support_random(8);
    case 6: return 0x80 + support_random(0x780);
    case 7: c = 0x800 + support_random(0xF800); return c >= 0xD800 && c < 0xE000 ? 0xFFFD : c;
    default: return 0x10000 + support_random(0x100000);
    }
}

size_t support_random_utf8(char *text, size_t bytes) {
    size_t n = 0;
    while (n + 4 <= bytes) {
        uint32_t c = random_character();
        uint32_t times = support_random(12) == 0 ? 1 + support_random(5) : 1;
        for (uint32_t i = 0; i < times && n + 4 <= bytes; i++) n += put_character(text + n, c);
    }
    return n;
}

size_t support_random_bytes(char *text, size_t bytes) {
    size_t n = support_random_utf8(text, bytes);
    for (size_t i = 0; i < n; i++)
        if (support_random(6) == 0) text[i] = (char)support_random(256);
    return n;
}

char *support_prose(size_t bytes) {
    static const char *const words[] = {"the", "reader", "of",  "a",    "long", "book",  "learns", "while",
                                        "it",  "reads",  "and", "then", "42",   "écrit", "straße", "naïve"};
    char *text = malloc(bytes + 1);
    size_t n = 0;
    assert_non_null(text);
    while (n < bytes) {
        const char *word = words[support_random(16)];
        size_t length = strlen(word);
        if (n + length + 2 > bytes) {
            text[n++] = '.';
            continue;
        }
        memcpy(text + n, word, length);
        n += length;
        text[n++] = support_random(12) ? ' ' : '\n';
    }
    text[bytes] = 0;
    return text;
}

static void put_bytes(support_spm *m, const void *data, size_t bytes) {
    assert_true(m->bytes + bytes <= sizeof m->data);
    if (bytes) memcpy(m->data + m->bytes, data, bytes);
    m->bytes += bytes;
}

static void put_varint(support_spm *m, uint64_t value) {
    for (; value >= 0x80; value >>= 7) put_bytes(m, &(unsigned char){(unsigned char)(value | 0x80)}, 1);
    put_bytes(m, &(unsigned char){(unsigned char)value}, 1);
}

void support_spm_field(support_spm *m, int number, const void *data, size_t bytes) {
    put_varint(m, (uint64_t)number << 3 | 2);
    put_varint(m, bytes);
    put_bytes(m, data, bytes);
}

void support_spm_piece(support_spm *m, const char *piece, float score, int type) {
    unsigned char body[300];
    size_t length = strlen(piece), n = 0;
    assert_true(length < 128);
    body[n++] = 1 << 3 | 2;
    body[n++] = (unsigned char)length;
    memcpy(body + n, piece, length);
    n += length;
    body[n++] = 2 << 3 | 5;
    memcpy(body + n, &score, 4);
    n += 4;
    body[n++] = 3 << 3;
    body[n++] = (unsigned char)type;
    support_spm_field(m, 1, body, n);
    m->pieces++;
}

void support_spm_begin(support_spm *m, int byte_pieces) {
    m->bytes = 0;
    m->pieces = 0;
    support_spm_piece(m, "<unk>", 0, SUPPORT_UNKNOWN);
    support_spm_piece(m, "<s>", 0, SUPPORT_CONTROL);
    support_spm_piece(m, "</s>", 0, SUPPORT_CONTROL);
    for (int i = 0; byte_pieces && i < 256; i++) {
        char piece[8];
        snprintf(piece, sizeof piece, "<0x%02X>", i);
        support_spm_piece(m, piece, 0, SUPPORT_BYTE);
    }
}

void support_spm_end(support_spm *m, int kind, int byte_fallback, int dummy_prefix, int remove_spaces) {
    unsigned char trainer[] = {3 << 3, (unsigned char)kind, 0x98, 2, (unsigned char)byte_fallback}; /* fields 3, 35 */
    unsigned char normalizer[] = {3 << 3, (unsigned char)dummy_prefix, 4 << 3, (unsigned char)remove_spaces};
    support_spm_field(m, 2, trainer, sizeof trainer);
    support_spm_field(m, 3, normalizer, sizeof normalizer);
}

size_t support_decode(const il_tokenizer *tokenizer, const int32_t *ids, size_t n, il_decode_form form, char **text) {
    size_t room = il_tokenizer_piece_bytes_max(tokenizer), used = 0, bytes;
    il_decoder decoder = {.form = form};
    il_error error = {0};
    *text = malloc((n + 1) * room);
    assert_non_null(*text);
    for (size_t i = 0; i <= n; i++) {
        int32_t token = i < n ? ids[i] : -1;
        assert_ok(il_tokenizer_decode(tokenizer, &decoder, token, *text + used, room, &bytes, &error), error);
        used += bytes;
    }
    return used;
}
