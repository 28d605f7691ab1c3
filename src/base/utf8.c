/* utf8.c: see utf8.h. */
#include "base/utf8.h"

/* Total length that a lead byte announces (0: no lead byte) and the range of the byte after it; the rest are
 * 80 .. BF. */
static int announced(unsigned char lead, unsigned char *low, unsigned char *high) {
    *low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    *high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (lead < 0x80) return 1;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/* Length of the character when its first min(length, bytes) bytes are as they must be, else 0. */
static int fits(const char *text, size_t bytes) {
    unsigned char low, high;
    if (bytes == 0) return 0;
    int length = announced((unsigned char)text[0], &low, &high);
    for (int i = 1; i < length && (size_t)i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < low || c > high) return 0;
        low = 0x80, high = 0xBF;
    }
    return length;
}

int il_utf8_length(const char *text, size_t bytes) {
    int length = fits(text, bytes);
    return (size_t)length <= bytes ? length : 0;
}

int il_utf8_unfinished(const char *text, size_t bytes) { return (size_t)fits(text, bytes) > bytes; }

uint32_t il_utf8_decode(const char *text, int length) {
    static const unsigned char lead[] = {0, 0x7F, 0x1F, 0x0F, 0x07}; /* the bits of the first byte that count */
    uint32_t code = (unsigned char)text[0] & lead[length];
    for (int i = 1; i < length; i++) code = code << 6 | ((unsigned char)text[i] & 0x3F);
    return code;
}

size_t il_utf8_encode(uint32_t code, char text[4]) {
    if (code < 0x80) {
        text[0] = (char)code;
        return 1;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    text[0] = (char)((more == 1 ? 0xC0 : more == 2 ? 0xE0 : 0xF0) | code >> (6 * more));
    for (int i = 1; i <= more; i++) text[i] = (char)(0x80 | (code >> (6 * (more - i)) & 63));
    return (size_t)more + 1;
}
