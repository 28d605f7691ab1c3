/* test_gguf_tokenizer.c: tokenizers of GGUF files make the tokens of the files from which the GGUF was made, and what
 * cannot be done so is refused. */
#include "support_test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_engine.h"
#include "support_files.h"
#include "support_gguf.h"
#include "support_scene.h"
#include "support_text.h"
#include "text/gguf_tokenizer.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"

#define FOLDER FIXTURES "/tokenizers"
#define READER FIXTURES "/../../models/reader/tokenizer.model"

static il_error error;

static json_t *read_json(const char *path) {
    json_error_t why;
    json_t *value = json_load_file(path, JSON_ALLOW_NUL, &why);
    if (!value) fail_msg("%s: %s", path, why.text);
    return value;
}

static const char *write_file(support_gguf *file) {
    size_t bytes;
    unsigned char *data = support_gguf_make(file, &bytes);
    const char *path = support_path(scene.folder, "t.gguf");
    support_write(path, data, bytes);
    free(data);
    return path;
}

static il_tokenizer *load_file(support_gguf *file) {
    il_tokenizer *t;
    assert_ok(il_tokenizer_load(scene.engine, write_file(file), &t, &error), error);
    return t;
}

/* ---- byte-level BPE ---- */

typedef struct token {
    const char *text;
    size_t bytes;
    int type;
} token;

static void add_types(support_gguf *file, const token *tokens, size_t n) {
    support_gguf_array(file, "tokenizer.ggml.tokens", IL_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) support_gguf_add_text(file, tokens[i].text, tokens[i].bytes);
    support_gguf_array(file, "tokenizer.ggml.token_type", IL_GGUF_I32, n);
    for (size_t i = 0; i < n; i++) {
        int32_t type = tokens[i].type;
        support_bytes_add(&file->values, &type, sizeof type);
    }
}

/* What llama.cpp's converter makes of a tokenizer.json; ids that nobody has are unused ones. */
static void fill(support_gguf *file, const json_t *root, const char *pre) {
    const json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab"), *value;
    const json_t *added = json_object_get(root, "added_tokens"), *merges = json_object_get(model, "merges");
    enum { MOST = 1000 };
    token tokens[MOST];
    const char *key;
    size_t n = 0, i;
    for (i = 0; i < MOST; i++) tokens[i] = (token){"[PAD]", 5, IL_SP_UNUSED};
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value) {
        size_t id = (size_t)json_integer_value(value);
        assert_true(id < MOST);
        tokens[id] = (token){key, strlen(key), IL_SP_NORMAL};
        if (id >= n) n = id + 1;
    }
    json_array_foreach(added, i, value) {
        const json_t *text = json_object_get(value, "content");
        size_t id = (size_t)json_integer_value(json_object_get(value, "id"));
        assert_true(id < MOST);
        tokens[id] = (token){json_string_value(text), json_string_length(text),
                             json_is_true(json_object_get(value, "special")) ? IL_SP_CONTROL : IL_SP_USER_DEFINED};
        if (id >= n) n = id + 1;
    }
    support_gguf_text(file, "tokenizer.ggml.model", "gpt2");
    support_gguf_text(file, "tokenizer.ggml.pre", pre);
    add_types(file, tokens, n + 2);
    support_gguf_array(file, "tokenizer.ggml.merges", IL_GGUF_STRING, json_array_size(merges));
    json_array_foreach(merges, i, value) {
        char text[200];
        if (json_is_array(value))
            snprintf(text, sizeof text, "%s %s", json_string_value(json_array_get(value, 0)),
                     json_string_value(json_array_get(value, 1)));
        else
            snprintf(text, sizeof text, "%s", json_string_value(value));
        support_gguf_add_text(file, text, strlen(text));
    }
}

/* texts that hold what a GGUF file cannot say, tokens that swallow spaces, are left out. */
static void same_tokens(const il_tokenizer *a, const il_tokenizer *b, const json_t *texts, const char *without) {
    static const unsigned how[] = {0, IL_ENCODE_SPECIAL | IL_ENCODE_TEMPLATE};
    const json_t *text;
    size_t i;
    json_array_foreach(texts, i, text) {
        const char *chars = json_string_value(text);
        size_t bytes = json_string_length(text);
        if (without && strstr(chars, without)) continue;
        for (int k = 0; k < 2; k++) {
            il_tokens one = {0}, other = {0};
            assert_ok(il_tokenizer_encode_as(a, how[k], chars, bytes, &one, &error), error);
            assert_ok(il_tokenizer_encode_as(b, how[k], chars, bytes, &other, &error), error);
            if (one.n != other.n || (one.n && memcmp(one.ids, other.ids, one.n * sizeof *one.ids)))
                fail_msg("other tokens of \"%s\"", chars);
            char *back, *other_back;
            size_t n = support_decode(a, one.ids, one.n, IL_DECODE_UTF8, &back);
            assert_int_equal(n, support_decode(b, one.ids, one.n, IL_DECODE_UTF8, &other_back));
            assert_memory_equal(back, other_back, n);
            free(back);
            free(other_back);
            il_tokens_free(&one);
            il_tokens_free(&other);
        }
    }
}

static void byte_level_tokens_are_those_of_tokenizer_json(void **state) {
    (void)state;
    static const struct {
        const char *name, *pre, *without, *bos, *unk;
    } kinds[] = {{"gpt2", "gpt-2", NULL, NULL, NULL},
                 {"smollm2", "smollm", NULL, NULL, "<|endoftext|>"},
                 {"llama3", "llama-bpe", NULL, "<|begin_of_text|>", NULL},
                 {"llama3", "llama3", NULL, "<|begin_of_text|>", NULL},
                 {"llama3", "llama-v3", NULL, "<|begin_of_text|>", NULL},
                 {"qwen2", "qwen2", "<", NULL, NULL},
                 {"qwen35", "qwen35", NULL, NULL, NULL}};
    json_t *texts = read_json(FOLDER "/texts.json");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[300];
        il_tokenizer *json;
        support_gguf file = {0};
        snprintf(path, sizeof path, FOLDER "/%s.json", kinds[i].name);
        json_t *root = read_json(path);
        assert_ok(il_tokenizer_load(scene.engine, path, &json, &error), error);
        fill(&file, root, kinds[i].pre);
        il_tokenizer_info info, made;
        il_tokenizer_get_info(json, &info);
        if (kinds[i].bos) support_gguf_u32(&file, "tokenizer.ggml.bos_token_id", (uint32_t)info.bos);
        if (kinds[i].unk) support_gguf_u32(&file, "tokenizer.ggml.unknown_token_id", (uint32_t)info.unk);
        il_tokenizer *t = load_file(&file);
        il_tokenizer_get_info(t, &made);
        assert_string_equal(made.kind, "bpe");
        assert_int_equal(made.vocab_size, info.vocab_size);
        assert_int_equal(made.bos, info.bos);
        assert_int_equal(made.unk, info.unk);
        same_tokens(json, t, texts, kinds[i].without);
        il_tokenizer_close(t);
        il_tokenizer_close(json);
        json_decref(root);
    }
    json_decref(texts);
}

/* llama3, with these flags; what stands before and behind a text. */
static void ends_of_text(int add_bos, int add_eos, int bos, int eos) {
    json_t *root = read_json(FOLDER "/llama3.json");
    support_gguf file = {0};
    il_tokenizer_info info;
    fill(&file, root, "llama-bpe");
    support_gguf_u32(&file, "tokenizer.ggml.bos_token_id", 661);
    support_gguf_u32(&file, "tokenizer.ggml.eos_token_id", 662);
    if (add_bos >= 0) support_gguf_flag(&file, "tokenizer.ggml.add_bos_token", add_bos);
    if (add_eos >= 0) support_gguf_flag(&file, "tokenizer.ggml.add_eos_token", add_eos);
    il_tokenizer *t = load_file(&file);
    il_tokenizer_get_info(t, &info);
    assert_int_equal(info.bos, bos);
    assert_int_equal(info.eos, eos);
    il_tokenizer_close(t);
    json_decref(root);
}

static void flags_say_what_begins_and_ends_a_text(void **state) {
    (void)state;
    ends_of_text(-1, -1, 661, -1);
    ends_of_text(0, -1, -1, -1);
    ends_of_text(1, 1, 661, 662);
    ends_of_text(0, 1, -1, 662);
}

/* ---- SentencePiece ---- */

static void pieces_are_those_of_a_sentencepiece_model(void **state) {
    (void)state;
    il_sp_model model;
    support_gguf file = {0};
    size_t bytes;
    char *data = support_read(READER, &bytes);
    assert_ok(il_sp_model_parse(&scene.alloc.allocator, READER, (unsigned char *)data, bytes, &model, &error), error);
    il_tokenizer *original;
    il_tokenizer_info info, made;
    assert_ok(il_tokenizer_load(scene.engine, READER, &original, &error), error);
    il_tokenizer_get_info(original, &info);
    token *tokens = malloc((size_t)model.n * sizeof *tokens);
    assert_non_null(tokens);
    for (int i = 0; i < model.n; i++)
        tokens[i] = (token){model.pieces[i].text, model.pieces[i].bytes, model.pieces[i].type};
    support_gguf_text(&file, "tokenizer.ggml.model", "llama");
    support_gguf_text(&file, "tokenizer.ggml.pre", "default");
    add_types(&file, tokens, (size_t)model.n);
    support_gguf_array(&file, "tokenizer.ggml.scores", IL_GGUF_F32, (uint64_t)model.n);
    for (int i = 0; i < model.n; i++) { /* as its trainer gave them: the earlier merged, the higher */
        float score = tokens[i].type == IL_SP_NORMAL ? -(float)i : 0;
        support_bytes_add(&file.values, &score, sizeof score);
    }
    support_gguf_u32(&file, "tokenizer.ggml.bos_token_id", (uint32_t)info.bos);
    support_gguf_u32(&file, "tokenizer.ggml.eos_token_id", (uint32_t)info.eos);
    support_gguf_u32(&file, "tokenizer.ggml.unknown_token_id", (uint32_t)info.unk);
    support_gguf_flag(&file, "tokenizer.ggml.add_space_prefix", model.add_dummy_prefix);
    il_tokenizer *t = load_file(&file);
    il_tokenizer_get_info(t, &made);
    assert_string_equal(made.kind, "sentencepiece");
    assert_int_equal(made.vocab_size, info.vocab_size);
    assert_int_equal(made.bos, info.bos);
    assert_int_equal(made.eos, info.eos);
    assert_int_equal(made.unk, info.unk);
    json_t *texts = read_json(FOLDER "/texts.json");
    char *prose = support_prose(20000);
    json_array_append_new(texts, json_string(prose));
    const json_t *text;
    size_t i;
    json_array_foreach(texts, i, text) {
        il_tokens one = {0}, other = {0};
        const char *chars = json_string_value(text);
        assert_ok(il_tokenizer_encode(original, chars, json_string_length(text), &one, &error), error);
        assert_ok(il_tokenizer_encode(t, chars, json_string_length(text), &other, &error), error);
        assert_int_equal(one.n, other.n);
        if (one.n) assert_memory_equal(one.ids, other.ids, one.n * sizeof *one.ids);
        il_tokens_free(&one);
        il_tokens_free(&other);
    }
    json_decref(texts);
    free(prose);
    free(tokens);
    free(data);
    il_sp_model_free(&scene.alloc.allocator, &model);
    il_tokenizer_close(t);
    il_tokenizer_close(original);
}

static void add_scores(support_gguf *file, size_t n) {
    support_gguf_array(file, "tokenizer.ggml.scores", IL_GGUF_F32, n);
    for (size_t i = 0; i < n; i++) {
        float score = -(float)i;
        support_bytes_add(&file->values, &score, sizeof score);
    }
}

/* A small model without byte pieces: settings, and a piece with a space that a user defined. */
static void settings_of_sentencepiece(void **state) {
    (void)state;
    static const token tokens[] = {{"<unk>", 5, IL_SP_UNKNOWN},    {"<s>", 3, IL_SP_CONTROL},
                                   {"</s>", 4, IL_SP_CONTROL},     {"\xE2\x96\x81", 3, IL_SP_NORMAL},
                                   {"a", 1, IL_SP_NORMAL},         {"b", 1, IL_SP_NORMAL},
                                   {"b b", 3, IL_SP_USER_DEFINED}, {"aa", 2, IL_SP_NORMAL}};
    for (int with = 0; with < 2; with++) {
        support_gguf file = {0};
        il_tokenizer_info info;
        il_tokens ids = {0};
        support_gguf_text(&file, "tokenizer.ggml.model", "llama");
        add_types(&file, tokens, 8);
        add_scores(&file, 8);
        support_gguf_u32(&file, "tokenizer.ggml.bos_token_id", 1);
        support_gguf_u32(&file, "tokenizer.ggml.eos_token_id", 2);
        if (!with) {
            support_gguf_flag(&file, "tokenizer.ggml.add_bos_token", 0);
            support_gguf_flag(&file, "tokenizer.ggml.add_space_prefix", 0);
        }
        il_tokenizer *t = load_file(&file);
        il_tokenizer_get_info(t, &info);
        assert_int_equal(info.bos, with ? 1 : -1);
        assert_int_equal(info.eos, 2);
        assert_int_equal(info.unk, 0);
        assert_ok(il_tokenizer_encode(t, "aab b", 5, &ids, &error), error);
        static const int32_t expected[] = {3, 7, 6};
        assert_int_equal(ids.n, 2 + with);
        assert_memory_equal(ids.ids, expected + !with, ids.n * sizeof *ids.ids);
        il_tokens_free(&ids);
        il_tokenizer_close(t);
    }
}

/* ---- refusing ---- */

static void refuse(support_gguf *file, il_status status, const char *text) {
    il_tokenizer *t;
    assert_fails(il_tokenizer_load(scene.engine, write_file(file), &t, &error), status, error, text);
    assert_null(t);
}

static const token few[] = {{"a", 1, IL_SP_NORMAL}, {"b", 1, IL_SP_NORMAL}, {"ab", 2, IL_SP_NORMAL}};

/* The beginning of a file with those. */
static support_gguf begin(const char *model, const char *pre) {
    support_gguf file = {0};
    support_gguf_text(&file, "tokenizer.ggml.model", model);
    if (pre) support_gguf_text(&file, "tokenizer.ggml.pre", pre);
    add_types(&file, few, 3);
    return file;
}

static void merge(support_gguf *file, const char *text) {
    support_gguf_array(file, "tokenizer.ggml.merges", IL_GGUF_STRING, 1);
    support_gguf_add_text(file, text, strlen(text));
}

static void bad_tokenizers_are_refused(void **state) {
    (void)state;
    support_gguf file = {0};
    refuse(&file, IL_ERR_UNSUPPORTED, "t.gguf: tokenizer.ggml.model: \"\" is not supported, only gpt2 and llama are");
    file = begin("bert", NULL);
    refuse(&file, IL_ERR_UNSUPPORTED, "\"bert\" is not supported");
    file = begin("gpt2", NULL);
    refuse(&file, IL_ERR_UNSUPPORTED, "tokenizer.ggml.pre: \"\" is not supported, only gpt-2, smollm, llama-bpe,");
    file = begin("gpt2", "default");
    refuse(&file, IL_ERR_UNSUPPORTED, "\"default\" is not supported");
    file = begin("gpt2", "gpt-2");
    refuse(&file, IL_ERR_FORMAT, "tokenizer.ggml.merges: missing");
    file = begin("gpt2", "gpt-2");
    merge(&file, "a c");
    refuse(&file, IL_ERR_FORMAT, "merges: number 0 is of what is not in the vocabulary");
    file = begin("gpt2", "gpt-2");
    merge(&file, "a b");
    support_gguf_flag(&file, "tokenizer.ggml.add_space_prefix", 1);
    refuse(&file, IL_ERR_UNSUPPORTED, "add_space_prefix: true with byte-level BPE is not supported");
    file = begin("gpt2", "gpt-2");
    support_gguf_u32(&file, "tokenizer.ggml.bos_token_id", 3);
    refuse(&file, IL_ERR_FORMAT, "tokenizer.ggml.bos_token_id: 3 is not in 0 .. 2");
    file = begin("llama", NULL);
    refuse(&file, IL_ERR_FORMAT, "token_type: no token is the unknown one");
    file = (support_gguf){0};
    support_gguf_text(&file, "tokenizer.ggml.model", "gpt2");
    refuse(&file, IL_ERR_FORMAT, "tokenizer.ggml.tokens: missing, or not strings");
    static const token broken[] = {{"\xff", 1, IL_SP_NORMAL}}, strange[] = {{"a", 1, 7}},
                       byte[] = {{"a", 1, IL_SP_BYTE}}, unknown[] = {{"a", 1, IL_SP_UNKNOWN}},
                       twice[] = {{"a", 1, IL_SP_NORMAL}, {"a", 1, IL_SP_NORMAL}};
    static const struct {
        const token *tokens;
        size_t n;
        const char *model;
        il_status status;
        const char *text;
    } bad[] = {{broken, 1, "gpt2", IL_ERR_FORMAT, "tokenizer.ggml.tokens: number 0 is not UTF-8"},
               {strange, 1, "gpt2", IL_ERR_FORMAT, "tokenizer.ggml.token_type: number 0 is 7, not 1 to 6"},
               {byte, 1, "gpt2", IL_ERR_UNSUPPORTED, "6 (byte) with byte-level BPE is not supported"},
               {twice, 2, "gpt2", IL_ERR_FORMAT, "vocab: the token of id 1 is there twice"},
               {unknown, 1, "llama", IL_ERR_FORMAT, "tokenizer.ggml.scores: missing"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        file = (support_gguf){0};
        support_gguf_text(&file, "tokenizer.ggml.model", bad[i].model);
        support_gguf_text(&file, "tokenizer.ggml.pre", "gpt-2");
        add_types(&file, bad[i].tokens, bad[i].n);
        support_gguf_array(&file, "tokenizer.ggml.merges", IL_GGUF_STRING, 0);
        refuse(&file, bad[i].status, bad[i].text);
    }
    file = (support_gguf){0};
    support_gguf_text(&file, "tokenizer.ggml.model", "llama");
    add_types(&file, unknown, 1);
    add_scores(&file, 1);
    support_gguf_flag(&file, "tokenizer.ggml.add_eos_token", 1);
    refuse(&file, IL_ERR_UNSUPPORTED, "add_eos_token: true with SentencePiece");
}

static il_status load_once(const il_allocator *allocator, void *context, il_error *out) {
    il_engine *own;
    il_tokenizer *t;
    (void)context;
    il_status status = support_engine_open(1, allocator, &own, out);
    if (status) return status;
    status = il_tokenizer_load(own, FIXTURES "/gguf/tiny.gguf", &t, out);
    il_tokenizer_close(t);
    il_engine_close(own);
    return status;
}

static void failed_allocations(void **state) {
    (void)state;
    support_alloc other;
    support_alloc_begin(&other);
    assert_true(support_alloc_fail_each(&other, load_once, NULL) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level_tokens_are_those_of_tokenizer_json),
        cmocka_unit_test(flags_say_what_begins_and_ends_a_text),
        cmocka_unit_test(pieces_are_those_of_a_sentencepiece_model),
        cmocka_unit_test(settings_of_sentencepiece),
        cmocka_unit_test(bad_tokenizers_are_refused),
        cmocka_unit_test(failed_allocations),
    };
    return cmocka_run_group_tests(tests, support_scene_begin, support_scene_end);
}
