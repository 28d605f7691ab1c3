/* hex.h: hashes of 128 bits as text. */
#ifndef IL_BASE_HEX_H
#define IL_BASE_HEX_H

#include <stdint.h>

enum { IL_HEX128_BYTES = 33 }; /* 32 digits and the NUL */

/* Lower case, the high half first. */
void il_hex128(uint64_t high, uint64_t low, char text[IL_HEX128_BYTES]);

#endif
