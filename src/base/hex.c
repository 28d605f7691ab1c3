/* hex.c: see hex.h. */
#include "base/hex.h"

#include <inttypes.h>
#include <stdio.h>

void il_hex128(uint64_t high, uint64_t low, char text[IL_HEX128_BYTES]) {
    snprintf(text, IL_HEX128_BYTES, "%016" PRIx64 "%016" PRIx64, high, low);
}
