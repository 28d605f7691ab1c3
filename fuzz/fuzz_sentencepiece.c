/* fuzz_sentencepiece.c: any bytes as a SentencePiece model. What our reader accepts must not bring the
 * library down, also not when it encodes. */
#include <stdlib.h>

#include "base/memory.h"
#include "text/sentencepiece_model.h"
#include "text/sentencepiece_shim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

static int take(void *context, const int *ids, size_t n) {
    const il_sp_model *model = context;
    for (size_t i = 0; i < n; i++) must(ids[i] >= 0 && ids[i] < model->n);
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char text[] = "hello world, xx\0 42  \xC3\xA9\xE2\x96\x81\xFF hellohello\n";
    il_allocator allocator = il_allocator_default();
    il_sp_model model;
    il_error error = {IL_OK, ""};
    char message[200];
    il_sp *sp = NULL;
    il_status status = il_sp_model_parse(&allocator, "fuzz.model", data, bytes, &model, &error);
    if (status == IL_OK) {
        for (int i = 0; i < model.n; i++) must(model.pieces[i].bytes > 0);
        if (il_sp_open(data, bytes, &sp, message, sizeof message) == IL_SP_OK) {
            il_sp_encode(sp, text, sizeof text, 0, take, &model);
            il_sp_encode(sp, text, 7, 1, take, &model);
        }
        il_sp_close(sp);
    } else {
        must(status == error.status && error.message[0]);
    }
    il_sp_model_free(&allocator, &model);
    return 0;
}
