/* fuzz_y4m.c: any bytes as y4m. */
#include "pictures.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) { return fuzz_pictures(data, bytes, "y4m"); }
