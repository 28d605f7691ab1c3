/* fuzz_gguf.c: any bytes as a GGUF file. What is accepted must hold together: every value and tensor inside the bytes,
 * found by its name, and its elements can be read. The tokenizer, the shape and the side files that its metadata make
 * are read as those of a model directory. */
#include <stdlib.h>
#include <string.h>

#include "model/gguf_config.h"
#include "tensor/gguf.h"
#include "text/gguf_tokenizer.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

static void use_value(const il_gguf *g, const il_gguf_value *v, const uint8_t *end) {
    char *key = strndup(v->key.text, v->key.bytes);
    const unsigned char *at = v->data;
    int64_t count = 0;
    double real = 0;
    int flag = 0;
    il_gguf_text text = {NULL, 0};
    must(key && il_gguf_find(g, key) == v && v->end <= end && (v->is_array || v->n == 1));
    for (size_t i = 0; i < v->n; i++) {
        if (v->type == IL_GGUF_STRING) {
            text = il_gguf_next_text(&at);
            must((const uint8_t *)text.text + text.bytes <= v->end);
        } else if (v->type == IL_GGUF_F32 || v->type == IL_GGUF_F64) {
            il_gguf_next_real(v->type, &at);
        } else {
            il_gguf_next_integer(v->type, &at);
        }
    }
    must(at == v->end);
    int got = (il_gguf_get_count(g, key, INT64_MAX, &count, NULL) == IL_OK) +
              (il_gguf_get_real(g, key, &real, NULL) == IL_OK) + (il_gguf_get_flag(g, key, &flag, NULL) == IL_OK) +
              (il_gguf_get_text(g, key, &text, NULL) == IL_OK);
    must(got <= !v->is_array); /* a negative integer is no count */
    free(key);
}

static void use_tokenizer(const il_gguf *g) {
    il_text_buffer file;
    il_error error = {IL_OK, ""};
    int json;
    if (il_gguf_tokenizer(g, &file, &json, &error) != IL_OK) {
        must(error.message[0]);
    } else if (json) {
        il_pipeline p;
        il_tokenizer_json_read(g->allocator, "fuzz", file.text, file.bytes, &p, &error);
        il_pipeline_free(&p);
    } else {
        il_sp_model model;
        il_sp_model_parse(g->allocator, "fuzz", (unsigned char *)file.text, file.bytes, &model, &error);
        il_sp_model_free(g->allocator, &model);
    }
    il_free(g->allocator, file.text);
}

static void use_config(const il_gguf *g) {
    il_config config;
    il_error error = {IL_OK, ""};
    il_gguf_form form;
    if (il_gguf_config(g, &config, &form, &error) != IL_OK) must(error.message[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    il_allocator allocator = il_allocator_default();
    il_gguf g;
    il_error error = {IL_OK, ""};
    il_status status = il_gguf_parse(&allocator, "fuzz", data, bytes, &g, &error);
    if (status != IL_OK) {
        must(status == error.status && error.message[0] && !g.values && !g.tensors && !g.n_tensors);
        return 0;
    }
    for (size_t i = 0; i < g.n_values; i++) use_value(&g, &g.values[i], data + bytes);
    size_t sum = 0;
    for (size_t i = 0; i < g.n_tensors; i++) {
        const il_gguf_tensor *t = &g.tensors[i];
        must(il_gguf_find_tensor(&g, t->name) == t && il_ggml_name(t->type));
        must(t->data >= data && t->bytes <= (size_t)(data + bytes - t->data));
        sum += t->bytes;
        float *out = il_alloc_raw(&allocator, t->count, sizeof *out);
        must(out != NULL);
        status = il_gguf_read(&g, t, 0, t->count, out, &error);
        must(status == IL_OK || status == IL_ERR_UNSUPPORTED);
        il_free(&allocator, out);
    }
    must(sum <= bytes);
    use_tokenizer(&g);
    use_config(&g);
    il_gguf_close(&g);
    return 0;
}
