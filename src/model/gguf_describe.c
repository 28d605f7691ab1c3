/* gguf_describe.c: what a GGUF file says of itself, for people: il_gguf_describe. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/engine.h"
#include "tensor/gguf.h"

enum { SHOWN_MAX = 16 /* elements of an array that are shown */ };

static const char *const type_names[IL_GGUF_TYPES] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                      "bool", "string", "array", "u64", "i64", "f64"};

/* NULL when memory is short, or where a text is not UTF-8. */
static json_t *describe_element(il_gguf_type type, const unsigned char **at) {
    if (type == IL_GGUF_STRING) {
        il_gguf_text text = il_gguf_next_text(at);
        return json_stringn(text.text, text.bytes);
    }
    if (type == IL_GGUF_BOOL) return json_boolean(il_gguf_next_integer(type, at));
    if (il_gguf_is_integer(type)) return json_integer(il_gguf_next_integer(type, at));
    return json_real(il_gguf_next_real(type, at));
}

/* Long arrays by type and number of their elements; what JSON cannot say is null. */
static json_t *describe_value(const il_gguf_value *v) {
    const unsigned char *at = v->data;
    if (!v->is_array) {
        json_t *one = describe_element(v->type, &at);
        return one ? one : json_null();
    }
    if (v->n > SHOWN_MAX) return json_pack("{s:s, s:I}", "type", type_names[v->type], "count", (json_int_t)v->n);
    json_t *list = json_array();
    for (size_t i = 0; i < v->n; i++) {
        json_t *one = describe_element(v->type, &at);
        json_array_append_new(list, one ? one : json_null());
    }
    return list;
}

static json_t *describe(const il_gguf *gguf) {
    json_t *values = json_object(), *tensors = json_array();
    for (size_t i = 0; i < gguf->n_values; i++) {
        const il_gguf_value *v = &gguf->values[i];
        json_object_setn_new(values, v->key.text, v->key.bytes, describe_value(v));
    }
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const il_gguf_tensor *t = &gguf->tensors[i];
        json_t *shape = json_array();
        for (int k = 0; k < t->rank; k++) json_array_append_new(shape, json_integer((json_int_t)t->shape[k]));
        json_array_append_new(
            tensors, json_pack("{s:s, s:s, s:o}", "name", t->name, "dtype", il_ggml_name(t->type), "shape", shape));
    }
    if (json_object_size(values) == gguf->n_values && json_array_size(tensors) == gguf->n_tensors)
        return json_pack("{s:i, s:o, s:o}", "version", (int)gguf->version, "metadata", values, "tensors", tensors);
    json_decref(values); /* memory was short */
    json_decref(tensors);
    return NULL;
}

il_status il_gguf_describe(il_engine *engine, const char *path, char **json, il_error *error) {
    il_gguf gguf;
    *json = NULL;
    IL_TRY(il_gguf_open(&engine->memory, path, &gguf, error));
    json_t *root = describe(&gguf);
    if (root) *json = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    il_gguf_close(&gguf);
    return *json ? IL_OK : il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
}
