/* fuzz_gif.c: any bytes as GIF. */
#include "pictures.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) { return fuzz_pictures(data, bytes, "GIF"); }
