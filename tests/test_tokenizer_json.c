/* test_tokenizer_json.c: tokenizer.json of every kind, against what Hugging Face's tokenizers makes of the same texts
 * (fixtures/tokenizers), in parts, of great length, and files that are broken or ask for what there is not. */
#include "support_test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "support_alloc.h"
#include "support_engine.h"
#include "support_files.h"
#include "support_text.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

#define FOLDER FIXTURES "/tokenizers"

static const char *const kinds[] = {"gpt2",   "gpt2_prefix", "smollm2",       "llama3",          "qwen2",
                                    "qwen35", "llama2",      "llama2_across", "metaspace_first", "metaspace_split"};
enum { KINDS = sizeof kinds / sizeof *kinds };

static il_engine *engine;
static il_error error;

static json_t *read_json(const char *name, const char *ending) {
    char path[300];
    json_error_t why;
    snprintf(path, sizeof path, "%s%s", name, ending);
    json_t *value = json_load_file(support_path(FOLDER, path), JSON_ALLOW_NUL, &why);
    if (!value) fail_msg("%s: %s", path, why.text);
    return value;
}

static il_tokenizer *load(const char *name) {
    char file[300];
    il_tokenizer *t;
    snprintf(file, sizeof file, "%s.json", name);
    assert_ok(il_tokenizer_load(engine, support_path(FOLDER, file), &t, &error), error);
    return t;
}

/* ---- against tokenizers ---- */

static void same_ids(const char *kind, const char *what, const json_t *expected, const il_tokens *got, size_t from,
                     const char *text) {
    size_t n = json_array_size(expected);
    int same = got->n - from == n;
    for (size_t i = 0; same && i < n; i++) same = json_integer_value(json_array_get(expected, i)) == got->ids[from + i];
    if (!same) fail_msg("%s, %s: other tokens of \"%s\"", kind, what, text);
}

static void same_text(const char *kind, const il_tokenizer *t, const int32_t *ids, size_t n, const json_t *expected) {
    char *text;
    size_t bytes = support_decode(t, ids, n, IL_DECODE_UTF8, &text);
    if (bytes != json_string_length(expected) || memcmp(text, json_string_value(expected), bytes) != 0)
        fail_msg("%s: decoded to \"%.*s\", not \"%s\"", kind, (int)bytes, text, json_string_value(expected));
    free(text);
}

static void one_kind(const char *kind, const json_t *texts) {
    json_t *cases = read_json(kind, ".cases.json");
    il_tokenizer *t = load(kind);
    il_tokenizer_info info;
    il_tokenizer_get_info(t, &info);
    assert_string_equal(info.kind, "bpe");
    json_t *plain = json_object_get(cases, "plain"), *special = json_object_get(cases, "special");
    json_t *decoded = json_object_get(cases, "decoded"), *lists = json_object_get(cases, "lists");
    assert_int_equal(json_array_size(plain), json_array_size(texts));
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i), *other = json_array_get(special, i);
        const char *chars = json_string_value(text);
        size_t bytes = json_string_length(text);
        il_tokens ids = {0};
        assert_ok(il_tokenizer_encode(t, chars, bytes, &ids, &error), error);
        same_ids(kind, "plain", json_array_get(plain, i), &ids, 0, chars);
        ids.n = 0;
        assert_ok(il_tokenizer_encode_as(t, IL_ENCODE_SPECIAL | IL_ENCODE_TEMPLATE, chars, bytes, &ids, &error), error);
        if (info.bos >= 0) assert_int_equal(ids.ids[0], info.bos);
        if (json_is_null(other))
            same_ids(kind, "special", json_array_get(plain, i), &ids, info.bos >= 0, chars);
        else
            same_ids(kind, "special", other, &ids, 0, chars);
        const json_t *back = json_array_get(decoded, i);
        same_text(kind, t, ids.ids, ids.n, json_is_null(back) ? text : back);
        il_tokens_free(&ids);
    }
    for (size_t i = 0; i < json_array_size(lists); i++) {
        const json_t *list = json_array_get(lists, i);
        int32_t ids[32];
        size_t n = json_array_size(list);
        for (size_t k = 0; k < n; k++) ids[k] = (int32_t)json_integer_value(json_array_get(list, k));
        same_text(kind, t, ids, n, json_array_get(json_object_get(cases, "lists_decoded"), i));
    }
    json_decref(cases);
    il_tokenizer_close(t);
}

/* Control tokens are those that the file calls special, by the names that it gives them, which are those tokens. */
static void tokens_have_names(void **state) {
    (void)state;
    static const struct {
        const char *kind, *names[4];
    } some[] = {{"qwen35", {"<|im_start|>", "<|im_end|>"}},
                {"llama3", {"<|begin_of_text|>", "<|eot_id|>"}},
                {"llama2", {"<unk>", "<s>", "</s>"}}};
    for (size_t k = 0; k < KINDS; k++) {
        il_tokenizer *t = load(kinds[k]);
        il_tokenizer_info info;
        il_tokens ids = {0};
        int found = 0, expected = 0;
        il_tokenizer_get_info(t, &info);
        for (int id = -1; id <= info.vocab_size; id++) {
            const char *name;
            size_t bytes;
            il_token_kind kind = il_tokenizer_token(t, id, &name, &bytes);
            if (id < 0 || id == info.vocab_size) assert_int_equal(kind, IL_TOKEN_NONE);
            if (kind != IL_TOKEN_CONTROL) {
                assert_true(!name && !bytes);
                continue;
            }
            ids.n = 0;
            assert_ok(il_tokenizer_encode_as(t, IL_ENCODE_SPECIAL, name, bytes, &ids, &error), error);
            assert_true(ids.n == 1 && ids.ids[0] == id);
            for (size_t i = 0; i < sizeof some / sizeof *some; i++)
                for (int n = 0; n < 4 && some[i].names[n] && !strcmp(some[i].kind, kinds[k]); n++)
                    found += strlen(some[i].names[n]) == bytes && !memcmp(name, some[i].names[n], bytes);
        }
        for (size_t i = 0; i < sizeof some / sizeof *some; i++)
            for (int n = 0; n < 4 && some[i].names[n] && !strcmp(some[i].kind, kinds[k]); n++) expected++;
        assert_int_equal(found, expected);
        il_tokens_free(&ids);
        il_tokenizer_close(t);
    }
}

static void as_tokenizers_does(void **state) {
    (void)state;
    json_t *texts = read_json("texts", ".json");
    for (int i = 0; i < KINDS; i++) one_kind(kinds[i], texts);
    json_decref(texts);
}

/* ---- parts and lengths ---- */

/* The fixtures' texts again and again, `bytes` of them, with and without spaces. Released by free. */
static char *long_text(size_t bytes) {
    json_t *texts = read_json("texts", ".json");
    char *out = malloc(bytes);
    assert_non_null(out);
    for (size_t n = 0, i = 0; n < bytes; i++) {
        const json_t *text = json_array_get(texts, support_random((uint32_t)json_array_size(texts)));
        size_t more = json_string_length(text);
        if (more > bytes - n) more = bytes - n;
        memcpy(out + n, json_string_value(text), more);
        n += more;
    }
    json_decref(texts);
    return out;
}

static void parts_of(const il_tokenizer *t, const char *text, size_t bytes, size_t part_max, const il_tokens *whole) {
    il_encoding encoding = {.tokenizer = t};
    il_tokens parts = {0};
    for (int twice = 0; twice < 2; twice++) {
        parts.n = 0;
        for (size_t at = 0, n; at < bytes; at += n) {
            n = 1 + support_random((uint32_t)part_max);
            if (n > bytes - at) n = bytes - at;
            assert_ok(il_encoding_add(&encoding, text + at, n, &parts, &error), error);
        }
        assert_ok(il_encoding_end(&encoding, &parts, &error), error);
        assert_int_equal(parts.n, whole->n);
        assert_memory_equal(parts.ids, whole->ids, whole->n * sizeof *whole->ids);
    }
    il_encoding_free(&encoding);
    il_tokens_free(&parts);
}

static void parts_are_the_whole(void **state) {
    (void)state;
    enum { BYTES = 3 << 19 }; /* more than what is held */
    support_seed(1);
    char *text = long_text(BYTES);
    for (int i = 0; i < KINDS; i++) {
        il_tokenizer *t = load(kinds[i]);
        il_tokens whole = {0};
        assert_ok(il_tokenizer_encode(t, text, BYTES, &whole, &error), error);
        parts_of(t, text, BYTES, 1 << 18, &whole);
        il_tokens_free(&whole);
        il_tokenizer_close(t);
    }
    free(text);
}

/* What is held of a text that can be cut does not grow with it. */
static void parts_are_given_out(void **state) {
    (void)state;
    enum { PART = 1 << 17, PARTS = 28 };
    char *prose = support_prose(PART);
    for (int i = 0; i < KINDS; i++) {
        if (strcmp(kinds[i], "llama2_across") == 0) continue; /* its words have no end */
        if (strcmp(kinds[i], "metaspace_first") == 0) continue;
        il_tokenizer *t = load(kinds[i]);
        il_encoding encoding = {.tokenizer = t};
        il_tokens tokens = {0};
        for (int n = 0; n < PARTS; n++) {
            assert_ok(il_encoding_add(&encoding, prose, PART, &tokens, &error), error);
            if (encoding.n > 3 << 20) fail_msg("%s: %zu bytes are held", kinds[i], encoding.n);
        }
        il_encoding_free(&encoding);
        il_tokens_free(&tokens);
        il_tokenizer_close(t);
    }
    free(prose);
}

/* Half a million bytes without a space: quadratic work would take minutes. */
static void a_word_of_any_length(void **state) {
    (void)state;
    enum { BYTES = 500000 };
    char *text = malloc(BYTES), *back;
    assert_non_null(text);
    support_seed(3);
    for (size_t i = 0; i < BYTES; i++) text[i] = "abcdesti"[support_random(8)];
    for (int i = 0; i < KINDS; i++) {
        il_tokenizer *t = load(kinds[i]);
        il_tokens ids = {0};
        assert_ok(il_tokenizer_encode(t, text, BYTES, &ids, &error), error);
        assert_true(ids.n < BYTES);
        size_t n = support_decode(t, ids.ids, ids.n, IL_DECODE_EXACT, &back), space = back[0] == ' ';
        assert_int_equal(n, BYTES + space); /* one that add_prefix_space put there */
        assert_memory_equal(back + space, text, BYTES);
        free(back);
        il_tokens_free(&ids);
        il_tokenizer_close(t);
    }
    free(text);
}

static void any_bytes_come_back(void **state) {
    (void)state;
    char text[300], *back;
    support_seed(5);
    for (int i = 0; i < KINDS; i++) {
        if (strcmp(kinds[i], "smollm2") == 0) continue; /* lacks two bytes */
        il_tokenizer *t = load(kinds[i]);
        int added = strcmp(kinds[i], "gpt2") && strcmp(kinds[i], "llama3"); /* these have no token that takes spaces */
        for (int round = 0; round < 300; round++) {
            size_t n = support_random_bytes(text, 1 + support_random(299));
            il_tokens ids = {0};
            assert_ok(il_tokenizer_encode(t, text, n, &ids, &error), error);
            size_t m = support_decode(t, ids.ids, ids.n, IL_DECODE_EXACT, &back);
            if (!added) {
                assert_int_equal(m, n);
                assert_memory_equal(back, text, n);
            }
            free(back);
            il_tokens_free(&ids);
        }
        il_tokenizer_close(t);
    }
}

/* ---- NFC ---- */

static void nfc_of_what_is_nfc(void **state) {
    (void)state;
    il_allocator memory = il_allocator_default();
    char text[400];
    support_seed(8);
    for (int round = 0; round < 2000; round++) {
        size_t n = round % 2 ? support_random_utf8(text, sizeof text) : support_random_bytes(text, sizeof text);
        il_text_buffer once = {0}, twice = {0};
        assert_true(il_nfc(&memory, text, n, &once));
        assert_true(il_nfc(&memory, once.text, once.bytes, &twice));
        assert_int_equal(once.bytes, twice.bytes);
        assert_memory_equal(once.text, twice.text, once.bytes);
        if (il_nfc_is(text, n)) {
            assert_int_equal(once.bytes, n);
            assert_memory_equal(once.text, text, n);
        }
        il_free(&memory, once.text);
        il_free(&memory, twice.text);
    }
}

/* Marks without an end, in the wrong order. */
static void nfc_of_many_marks(void **state) {
    (void)state;
    enum { PAIRS = 200000 };
    il_allocator memory = il_allocator_default();
    il_text_buffer in = {0}, out = {0};
    assert_true(il_text_append(&memory, &in, "a", 1));
    for (int i = 0; i < PAIRS; i++) assert_true(il_text_append(&memory, &in, "\u0301\u0323", 4));
    assert_true(il_nfc(&memory, in.text, in.bytes, &out));
    assert_int_equal(out.bytes, 3 + 2 * (2 * PAIRS - 1)); /* U+1EA1 and the others */
    assert_memory_equal(out.text, "\u1ea1\u0323\u0323", 7);
    assert_memory_equal(out.text + out.bytes - 4, "\u0301\u0301", 4);
    il_free(&memory, in.text);
    il_free(&memory, out.text);
}

/* ---- files by hand ---- */

typedef struct parts {
    const char *added, *normalizer, *pre_tokenizer, *post_processor, *decoder, *model, *vocab, *merges;
} parts;

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
static const parts good = {
    .added = "[{\"id\":9,\"content\":\"<s>\",\"special\":true,\"normalized\":false}]",
    .normalizer = "null",
    .pre_tokenizer = BYTE_LEVEL,
    .post_processor = "null",
    .decoder = "{\"type\":\"ByteLevel\"}",
    .model = "\"type\":\"BPE\"",
    .vocab = "{\"a\":0,\"b\":1,\"ab\":2,\"\\u0120\":3,\"\\u0120a\":4,\"\\u00e9\":6}",
    .merges = "[\"a b\",[\"\\u0120\",\"a\"]]",
};

/* Loads it from memory. The status. */
static il_status read_parts(const parts *p, il_pipeline *pipeline) {
    static char text[1 << 16];
    il_allocator memory = il_allocator_default();
    static il_allocator kept;
    kept = memory;
    int n = snprintf(text, sizeof text,
                     "{\"version\":\"1.0\",\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,"
                     "\"post_processor\":%s,\"decoder\":%s,\"model\":{%s,\"vocab\":%s,\"merges\":%s}}",
                     p->added, p->normalizer, p->pre_tokenizer, p->post_processor, p->decoder, p->model, p->vocab,
                     p->merges);
    assert_true(n > 0 && (size_t)n < sizeof text);
    memset(&error, 0, sizeof error);
    return il_tokenizer_json_read(&kept, "t.json", text, (size_t)n, pipeline, &error);
}

static void refused(parts p, il_status expected, const char *message) {
    il_pipeline pipeline;
    il_status status = read_parts(&p, &pipeline);
    il_pipeline_free(&pipeline);
    if (status != expected || !strstr(error.message, message) || !strstr(error.message, "t.json"))
        fail_msg("%s: \"%s\", not %s: \"%s\"", il_status_name(status), error.message, il_status_name(expected),
                 message);
}
#define REFUSED(part, text, status, message)                                                                           \
    do {                                                                                                               \
        parts changed = good;                                                                                          \
        changed.part = text;                                                                                           \
        refused(changed, status, message);                                                                             \
    } while (0)

static void a_file_by_hand(void **state) {
    (void)state;
    il_pipeline p;
    il_tokens ids = {0};
    assert_int_equal(read_parts(&good, &p), IL_OK);
    assert_int_equal(p.bpe.n, 10);
    assert_int_equal(p.bpe.tokens[5].type, IL_BPE_NONE);
    assert_true(il_pipeline_encode(&p, "ab a<s>\xE9", 8, 1, 1, &ids));
    assert_int_equal(ids.n, 4);
    assert_memory_equal(ids.ids, ((int32_t[]){2, 4, 9, 6}), 16);
    il_tokens_free(&ids);
    il_pipeline_free(&p);
}

/* Merges whose parts are only made by later ones: each still makes one token of two, so that encoding ends, as
 * tokenizers' does. Only the empty token could lead back to where a merge came from, and is part of none. */
static void merges_that_go_in_circles(void **state) {
    enum { TIMES = 750 };
    (void)state;
    static char text[4 * TIMES + 1];
    parts circles = good;
    il_pipeline p;
    il_tokens ids = {0};
    circles.vocab = "{\"a\":0,\"b\":1,\"ab\":2,\"ba\":3,\"aba\":4,\"bab\":5,\"\":6}";
    circles.merges = "[[\"a\",\"b\"],[\"\",\"a\"]]";
    refused(circles, IL_ERR_FORMAT, "number 1 is of what is not in the vocabulary");
    circles.merges = "[\"ab a\",\"a ba\",\"ba b\",\"a b\",\"b a\"]";
    assert_int_equal(read_parts(&circles, &p), IL_OK);
    assert_true(il_pipeline_encode(&p, "ababab", 6, 1, 1, &ids));
    assert_int_equal(ids.n, 3);
    assert_memory_equal(ids.ids, ((int32_t[]){4, 1, 2}), 12);
    il_tokens_free(&ids);
    for (int i = 0; i < TIMES; i++) memcpy(text + 4 * i, "abab", 5);
    assert_true(il_pipeline_encode(&p, text, 4 * TIMES, 1, 1, &ids));
    assert_int_equal(ids.n, 2 * TIMES);
    for (int i = 0; i < 2 * TIMES; i++) assert_int_equal(ids.ids[i], i % 2 ? 1 : 4);
    il_tokens_free(&ids);
    il_pipeline_free(&p);
    circles.merges = "[\"ab a\",\"a b\",\"ab a\"]"; /* the last place counts */
    assert_int_equal(read_parts(&circles, &p), IL_OK);
    assert_true(il_pipeline_encode(&p, "abab", 4, 1, 1, &ids));
    assert_int_equal(ids.n, 2);
    assert_memory_equal(ids.ids, ((int32_t[]){2, 2}), 8);
    il_tokens_free(&ids);
    il_pipeline_free(&p);
}

static void other_kinds_are_refused(void **state) {
    (void)state;
    const il_status no = IL_ERR_UNSUPPORTED;
    REFUSED(model, "\"type\":\"Unigram\"", no, "model: Unigram is not supported");
    parts word_piece = good; /* its normalizer and the rest, which go with it, are not what is missing */
    word_piece.model = "\"type\":\"WordPiece\"";
    word_piece.normalizer = "{\"type\":\"BertNormalizer\"}";
    word_piece.pre_tokenizer = "{\"type\":\"BertPreTokenizer\"}";
    word_piece.decoder = "{\"type\":\"WordPiece\"}";
    refused(word_piece, no, "model: WordPiece is not supported");
    REFUSED(model, "\"type\":\"BPE\",\"dropout\":0.1", no, "dropout");
    REFUSED(model, "\"type\":\"BPE\",\"continuing_subword_prefix\":\"##\"", no, "continuing_subword_prefix");
    REFUSED(model, "\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\"", no, "end_of_word_suffix");
    REFUSED(model, "\"type\":\"BPE\",\"byte_fallback\":true", no, "byte_fallback with ByteLevel");
    REFUSED(normalizer, "{\"type\":\"NFKC\"}", no, "normalizer: NFKC is not supported");
    REFUSED(normalizer, "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Lowercase\"}]}", no,
            "normalizer: Lowercase");
    REFUSED(normalizer, "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"b\"}", no, "Replace");
    REFUSED(normalizer, "{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"}", no, "U+2581 with ByteLevel");
    REFUSED(normalizer, "7", no, "a value without a type");
    REFUSED(pre_tokenizer, "{\"type\":\"BertPreTokenizer\"}", no, "pre_tokenizer: BertPreTokenizer");
    REFUSED(pre_tokenizer, "null", no, "neither ByteLevel");
    REFUSED(pre_tokenizer, "{\"type\":\"Digits\",\"individual_digits\":true}", no, "a pattern without ByteLevel");
    REFUSED(pre_tokenizer,
            "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\d+|x\"},"
            "\"behavior\":\"Isolated\",\"invert\":false}," BYTE_LEVEL "]}",
            no, "the pattern \\d+|x is not one of those");
    REFUSED(pre_tokenizer, "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"Isolated\"}", no,
            "Regex");
    REFUSED(pre_tokenizer, "{\"type\":\"Split\",\"pattern\":{\"Regex\":\" \"},\"behavior\":\"Removed\"}", no,
            "Isolated");
    REFUSED(pre_tokenizer, "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL "," BYTE_LEVEL "]}", no,
            "behind ByteLevel");
    REFUSED(pre_tokenizer,
            "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":\"ByteLevel\","
            "\"add_prefix_space\":true}]}",
            no, "add_prefix_space");
    REFUSED(pre_tokenizer, "{\"type\":\"Metaspace\",\"replacement\":\"_\"}", no, "another character");
    REFUSED(pre_tokenizer, "{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"last\"}", no,
            "prepend_scheme");
    REFUSED(pre_tokenizer, "{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\"}", no, "decoder");
    REFUSED(decoder, "{\"type\":\"WordPiece\"}", no, "decoder: WordPiece");
    REFUSED(decoder, "null", no, "decoder");
    REFUSED(post_processor, "{\"type\":\"BertProcessing\"}", no, "post_processor: BertProcessing");
    REFUSED(post_processor,
            "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"SpecialToken\":"
            "{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[9]}}}",
            no, "two tokens before");
}

static void broken_files_are_refused(void **state) {
    (void)state;
    const il_status bad = IL_ERR_FORMAT;
    REFUSED(vocab, "{\"a\":0,\"b\":0}", bad, "two tokens have the id 0");
    REFUSED(vocab, "{\"a\":0,\"a\":1}", bad, "is there twice");
    REFUSED(vocab, "{\"a\":4194304}", bad, "larger than 4194303");
    REFUSED(vocab, "{\"a\":99999999999999999999999}", bad, "larger than");
    REFUSED(vocab, "{\"a\":-1}", bad, "a number of 0 or more");
    REFUSED(vocab, "{\"a\":1.5}", bad, "not an integer");
    REFUSED(vocab, "{\"a\":01}", bad, "not an integer");
    REFUSED(vocab, "{\"a\":\"b\"}", bad, "a number of 0 or more");
    REFUSED(vocab, "[\"a\"]", bad, "an object is missing");
    REFUSED(vocab, "{\"a\" 1}", bad, "':' is missing");
    REFUSED(vocab, "{\"a\":1 \"b\":2}", bad, "',' or a closing bracket");
    REFUSED(vocab, "{\"a\":1,}", bad, "a string is missing");
    REFUSED(vocab, "{\"\\ud800\":1}", bad, "broken escape");
    REFUSED(vocab, "{\"\\x\":1}", bad, "broken escape");
    REFUSED(vocab, "{\"a\xFF\":1}", bad, "not UTF-8");
    REFUSED(vocab, "{\"a\n\":1}", bad, "control character");
    REFUSED(vocab, "{\"a\":1]", bad, "brackets do not match");
    REFUSED(vocab, "{},\"vocab\":{}", bad, "vocab: it is there twice");
    REFUSED(merges, "[\"a c\"]", bad, "number 0 is of what is not in the vocabulary");
    REFUSED(merges, "[\"a b\",\"b a\"]", bad, "what number 1 makes is not in the vocabulary");
    REFUSED(merges, "[\"ab\"]", bad, "two tokens and a space");
    REFUSED(merges, "[\"a b a\"]", bad, "two tokens and a space");
    REFUSED(merges, "[[\"a\"]]", bad, "a string is missing");
    REFUSED(merges, "[[\"a\",\"b\",\"a\"]]", bad, "more than two");
    REFUSED(merges, "[\" a\"]", bad, "number 0");
    REFUSED(merges, "{}", bad, "an array is missing");
    REFUSED(added, "[{\"id\":0,\"content\":\"<s>\"}]", bad, "id 0 of <s> is not its id");
    REFUSED(added, "[{\"id\":12,\"content\":\"ab\"}]", bad, "id 12 of ab");
    REFUSED(added, "[{\"id\":4194304,\"content\":\"<s>\"}]", bad, "number 0 lacks");
    REFUSED(added, "[{\"id\":9,\"content\":\"\"}]", bad, "number 0 lacks");
    REFUSED(added, "[7]", bad, "number 0 lacks");
    REFUSED(added, "{}", bad, "not an array");
    REFUSED(added, "[{\"id\":9,\"content\":\"<s>\"},{\"id\":10,\"content\":\"<s>\"}]", bad, "there twice");
    REFUSED(added, "[{\"id\":9,\"content\":\"<s>\"},{\"id\":9,\"content\":\"</s>\"}]", bad, "id 9 of </s>");
    REFUSED(added, "[{\"id\":9,\"id\":9,\"content\":\"<s>\"}]", bad, "duplicate");
    REFUSED(post_processor, "{\"type\":\"TemplateProcessing\",\"single\":[]}", bad, "the text once");
    REFUSED(post_processor,
            "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
            "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[77]}}}",
            bad, "not in the vocabulary");
    REFUSED(model, "\"type\":7", IL_ERR_UNSUPPORTED, "its type");

    static char deep[2000];
    memset(deep, '[', 500);
    REFUSED(added, deep, bad, "nested too deeply");
    il_pipeline p;
    il_allocator memory = il_allocator_default();
    static const char *const texts[] = {
        "",
        "{",
        "{}",
        "[]",
        "{\"model\":{}}",
        "{\"model\":{\"vocab\":{}}} x",
        "{\"model\":",
        "{\"a\"",
        "{\"model\":{\"vocab\":{},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"ByteLevel\"},"
        "\"decoder\":{\"type\":\"ByteLevel\"}}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        il_status status = il_tokenizer_json_read(&memory, "t.json", texts[i], strlen(texts[i]), &p, &error);
        assert_true(status == IL_ERR_FORMAT || status == IL_ERR_UNSUPPORTED);
        il_pipeline_free(&p);
    }
}

/* Every beginning of a file is an error, and none is read past its end. */
static void cut_files_are_refused(void **state) {
    (void)state;
    size_t bytes;
    char *text = support_read(support_path(FOLDER, "llama2.json"), &bytes);
    il_allocator memory = il_allocator_default();
    while (bytes && text[bytes - 1] != '}') bytes--;
    for (size_t n = 0; n < bytes; n += 1 + bytes / 300) {
        il_pipeline p;
        char *exact = malloc(n ? n : 1);
        assert_non_null(exact);
        memcpy(exact, text, n);
        assert_fails(il_tokenizer_json_read(&memory, "t.json", exact, n, &p, &error), IL_ERR_FORMAT, error, "t.json");
        il_pipeline_free(&p);
        free(exact);
    }
    free(text);
}

/* ---- memory ---- */

static const char *failing;

static il_status load_and_use(const il_allocator *allocator, void *context, il_error *why) {
    static const char text[] =
        " na\u0131ve e\u0301\u0323 <left> b \u4e00 12345 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    il_engine_options options;
    il_engine *own;
    il_tokenizer *t = NULL;
    il_tokens ids = {0};
    (void)context;
    il_engine_options_default(&options);
    options.threads = 1;
    options.allocator = *allocator;
    il_status status = il_engine_open(&options, &own, why);
    if (status) return status;
    status = il_tokenizer_load(own, failing, &t, why);
    if (!status) {
        status = il_tokenizer_encode(t, text, sizeof text - 1, &ids, why);
        if (status) assert_int_equal(ids.n, 0);
    }
    il_encoding encoding = {.tokenizer = t};
    if (!status) status = il_encoding_add(&encoding, text, sizeof text, &ids, why);
    if (!status) status = il_encoding_end(&encoding, &ids, why);
    if (t) il_encoding_free(&encoding);
    il_tokens_free(&ids);
    il_tokenizer_close(t);
    il_engine_close(own);
    return status;
}

static void failed_allocations(void **state) {
    (void)state;
    static support_alloc alloc;
    static const char *const names[] = {"qwen2.json", "llama2.json", "gpt2_prefix.json"};
    support_alloc_begin(&alloc);
    for (int i = 0; i < 3; i++) {
        failing = support_path(FOLDER, names[i]);
        assert_true(support_alloc_fail_each(&alloc, load_and_use, NULL) > 20);
    }
}

/* ---- folders ---- */

static void saved_with_a_model(void **state) {
    (void)state;
    char *folder = support_folder_make();
    il_tokenizer *t = load("llama3"), *again;
    il_tokenizer_info info;
    il_tokenizer_get_info(t, &info);
    il_config config = {.vocab_size = info.vocab_size + 20, .bos_token = 5};
    assert_ok(il_tokenizer_save(t, folder, &error), error);
    support_same_files(support_path(folder, "tokenizer.json"), support_path(FOLDER, "llama3.json"));
    assert_ok(il_tokenizer_load_for_model(engine, folder, &config, &again, &error), error);
    assert_int_equal(il_tokenizer_bos(again, &config), info.bos);
    il_tokenizer_close(again);
    config.bytes_tokenizer = 1;
    assert_fails(il_tokenizer_load_for_model(engine, folder, &config, &again, &error), IL_ERR_MISMATCH, error,
                 "tokenizer.json is there, but config.json says tokenizer: bytes");
    config.bytes_tokenizer = 0;
    config.vocab_size = info.vocab_size - 1;
    assert_fails(il_tokenizer_load_for_model(engine, folder, &config, &again, &error), IL_ERR_MISMATCH, error,
                 "the bpe tokenizer has");
    assert_int_equal(il_tokenizer_bos(t, &config), info.bos);
    il_tokenizer_close(t);
    t = load("qwen2"); /* puts nothing before a text, and means it */
    assert_int_equal(il_tokenizer_bos(t, &config), -1);
    il_tokenizer_close(t);
    support_folder_remove(folder);
}

static void ways_to_encode(void **state) {
    (void)state;
    il_tokenizer *t;
    il_tokens ids = {0};
    assert_ok(il_tokenizer_load(engine, "bytes", &t, &error), error);
    assert_ok(il_tokenizer_encode_as(t, IL_ENCODE_SPECIAL | IL_ENCODE_TEMPLATE, "a", 1, &ids, &error), error);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.ids[0], 256);
    assert_fails(il_tokenizer_encode_as(t, 4, "a", 1, &ids, &error), IL_ERR_ARG, error, "4 is no way");
    il_tokens_free(&ids);
    il_tokenizer_close(t);
}

static int setup(void **state) {
    (void)state;
    return il_engine_open(NULL, &engine, NULL);
}
static int teardown(void **state) {
    (void)state;
    il_engine_close(engine);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_tokenizers_does),       cmocka_unit_test(parts_are_the_whole),
        cmocka_unit_test(tokens_have_names),        cmocka_unit_test(parts_are_given_out),
        cmocka_unit_test(a_word_of_any_length),     cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(nfc_of_what_is_nfc),       cmocka_unit_test(nfc_of_many_marks),
        cmocka_unit_test(a_file_by_hand),           cmocka_unit_test(other_kinds_are_refused),
        cmocka_unit_test(broken_files_are_refused), cmocka_unit_test(cut_files_are_refused),
        cmocka_unit_test(failed_allocations),       cmocka_unit_test(saved_with_a_model),
        cmocka_unit_test(ways_to_encode),           cmocka_unit_test(merges_that_go_in_circles),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
