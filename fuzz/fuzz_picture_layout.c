/* fuzz_picture_layout.c: any bytes as a pictures.json. What is accepted is written and read again as it was, and the
 * tokens of a picture are pixels that give it back. */
#include "pictures.h"

#include "base/memory.h"
#include "text/picture_layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void use(const il_picture_layout *layout) {
    il_allocator memory = il_allocator_default();
    il_picture_layout again;
    char *text;
    size_t bytes;
    fuzz_must(il_picture_layout_text(&memory, layout, &text, &bytes, NULL) == IL_OK);
    fuzz_must(il_picture_layout_is(text, bytes));
    fuzz_must(il_picture_layout_parse("again", text, bytes, &again, NULL) == IL_OK);
    fuzz_must(memcmp(layout, &again, sizeof again) == 0);
    il_free(&memory, text);
    int n = layout->header_rows * il_picture_line(layout);
    int32_t *header = malloc((size_t)n * sizeof *header);
    fuzz_must(header && il_picture_header(layout, "", 0, header, NULL) == IL_OK);
    for (int i = 0; i < n; i++) fuzz_must(header[i] >= layout->levels && header[i] < il_picture_layout_vocab(layout));
    free(header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    il_picture_layout layout;
    il_error error = {IL_OK, ""};
    il_status status = il_picture_layout_parse("fuzz.json", (const char *)data, bytes, &layout, &error);
    il_picture_layout_is((const char *)data, bytes);
    if (status == IL_OK)
        use(&layout);
    else
        fuzz_must(status == error.status && error.message[0]);
    return 0;
}
