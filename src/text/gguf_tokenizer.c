/* gguf_tokenizer.c: see gguf_tokenizer.h. Of byte-level BPE ("gpt2") a tokenizer.json is made, as the model had it
 * before it became GGUF, as far as GGUF tells; of Llama's first tokenizers ("llama") a SentencePiece model, whose
 * pieces, scores and types a GGUF file keeps. What is in it is left to the readers of those files to check. */
#include "text/gguf_tokenizer.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "text/bpe.h"
#include "text/pretokenize.h"
#include "text/sentencepiece_model.h"

#define KEY(name) "tokenizer.ggml." name

/* What the metadata say. Tokens have SentencePiece's types in both kinds. */
typedef struct vocabulary {
    const il_gguf *gguf;
    il_gguf_text *tokens; /* [n] */
    unsigned char *types; /* [n] il_sp_type */
    size_t n;
    int64_t bos, eos, unk; /* -1: none */
    int add_bos, add_eos;  /* to a text; -1: not said */
    il_text_buffer *file;
    int short_of_memory;
    il_error *error;
} vocabulary;

static il_status unsupported(const vocabulary *v, const char *key, const char *what) {
    return il_fail(v->error, IL_ERR_UNSUPPORTED, "%s: %s: %.100s is not supported", v->gguf->path, key, what);
}

static il_status bad(const vocabulary *v, const char *key, const char *why) {
    return il_fail(v->error, IL_ERR_FORMAT, "%s: %s: %s", v->gguf->path, key, why);
}

/* ---- what the metadata say ---- */

static il_status find_array(const vocabulary *v, const char *key, const il_gguf_value **value) {
    *value = il_gguf_find(v->gguf, key);
    return !*value || (*value)->is_array ? IL_OK : bad(v, key, "not an array");
}

static il_status read_tokens(vocabulary *v) {
    const il_gguf_value *tokens;
    IL_TRY(find_array(v, KEY("tokens"), &tokens));
    if (!tokens || tokens->type != IL_GGUF_STRING || tokens->n == 0)
        return bad(v, KEY("tokens"), "missing, or not strings");
    v->n = tokens->n;
    v->tokens = il_alloc_raw(v->gguf->allocator, v->n, sizeof *v->tokens);
    v->types = il_alloc_raw(v->gguf->allocator, v->n, 1);
    if (!v->tokens || !v->types)
        return il_fail(v->error, IL_ERR_NOMEM, "%s: out of memory for %zu tokens", v->gguf->path, v->n);
    const unsigned char *at = tokens->data;
    for (size_t i = 0; i < v->n; i++) {
        il_gguf_text text = il_gguf_next_text(&at);
        v->tokens[i] = text;
        for (size_t k = 0, length; k < text.bytes; k += length) {
            length = (size_t)il_utf8_length(text.text + k, text.bytes - k);
            if (!length)
                return il_fail(v->error, IL_ERR_FORMAT, "%s: " KEY("tokens") ": number %zu is not UTF-8", v->gguf->path,
                               i);
        }
    }
    return IL_OK;
}

static il_status read_types(vocabulary *v) {
    const il_gguf_value *types;
    memset(v->types, IL_SP_NORMAL, v->n);
    IL_TRY(find_array(v, KEY("token_type"), &types));
    if (!types) return IL_OK;
    if (!il_gguf_is_integer(types->type) || types->n != v->n)
        return bad(v, KEY("token_type"), "not an integer for each token");
    const unsigned char *at = types->data;
    for (size_t i = 0; i < v->n; i++) {
        int64_t type = il_gguf_next_integer(types->type, &at);
        if (type < IL_SP_NORMAL || type > IL_SP_BYTE)
            return il_fail(v->error, IL_ERR_FORMAT, "%s: " KEY("token_type") ": number %zu is %lld, not 1 to 6",
                           v->gguf->path, i, (long long)type);
        v->types[i] = (unsigned char)type;
    }
    return IL_OK;
}

static il_status read_settings(vocabulary *v) {
    int64_t most = (int64_t)v->n - 1;
    v->bos = v->eos = v->unk = -1;
    v->add_bos = v->add_eos = -1;
    IL_TRY(il_gguf_get_count(v->gguf, KEY("bos_token_id"), most, &v->bos, v->error));
    IL_TRY(il_gguf_get_count(v->gguf, KEY("eos_token_id"), most, &v->eos, v->error));
    IL_TRY(il_gguf_get_count(v->gguf, KEY("unknown_token_id"), most, &v->unk, v->error));
    IL_TRY(il_gguf_get_flag(v->gguf, KEY("add_bos_token"), &v->add_bos, v->error));
    return il_gguf_get_flag(v->gguf, KEY("add_eos_token"), &v->add_eos, v->error);
}

/* ---- writing ---- */

static void put(vocabulary *v, const void *text, size_t bytes) {
    if (!v->short_of_memory && !il_text_append(v->gguf->allocator, v->file, text, bytes)) v->short_of_memory = 1;
}

static void put_text(vocabulary *v, const char *text) { put(v, text, strlen(text)); }

/* In quotes. */
static void put_quoted(vocabulary *v, const char *text, size_t bytes) {
    size_t from = 0;
    char escape[8];
    put_text(v, "\"");
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= ' ' && c != '"' && c != '\\') continue;
        put(v, text + from, i - from);
        snprintf(escape, sizeof escape, "\\u%04x", (unsigned)c);
        put_text(v, escape);
        from = i + 1;
    }
    put(v, text + from, bytes - from);
    put_text(v, "\"");
}

static void put_token(vocabulary *v, int64_t id) { put_quoted(v, v->tokens[id].text, v->tokens[id].bytes); }

static void put_number(vocabulary *v, int64_t x) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)x);
    put_text(v, text);
}

/* ---- byte-level BPE ---- */

/* How text is cut into words, by llama.cpp's names for it. What the metadata leave out is as in the tokenizer.json of
 * the models that the names stand for. */
static const struct pre {
    const char *name;
    il_pattern pattern;
    unsigned char digits, nfc, whole_words, add_bos;
} pres[] = {
    {"gpt-2", IL_PATTERN_GPT2, 0, 0, 0, 0},       {"smollm", IL_PATTERN_GPT2, 1, 0, 0, 0},
    {"llama-bpe", IL_PATTERN_LLAMA3, 0, 0, 1, 1}, {"llama3", IL_PATTERN_LLAMA3, 0, 0, 1, 1},
    {"llama-v3", IL_PATTERN_LLAMA3, 0, 0, 1, 1},  {"qwen2", IL_PATTERN_QWEN2, 0, 1, 0, 0},
    {"qwen35", IL_PATTERN_QWEN35, 0, 1, 0, 0},
};
enum { PRES = sizeof pres / sizeof pres[0] };

/* "default", or no name, is what files have whose maker did not know: any guess would cut text wrongly unnoticed. */
static il_status find_pre(const vocabulary *v, const struct pre **pre) {
    il_gguf_text name = {"", 0};
    char text[100], known[200] = "";
    size_t at = 0;
    IL_TRY(il_gguf_get_text(v->gguf, KEY("pre"), &name, v->error));
    for (*pre = pres; *pre < pres + PRES; ++*pre)
        if (strlen((*pre)->name) == name.bytes && memcmp((*pre)->name, name.text, name.bytes) == 0) return IL_OK;
    for (int i = 0; i < PRES && at < sizeof known; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", pres[i].name);
    snprintf(text, sizeof text, "\"%.*s\"", (int)(name.bytes < 80 ? name.bytes : 80), name.text);
    return il_fail(v->error, IL_ERR_UNSUPPORTED, "%s: " KEY("pre") ": %s is not supported, only %s are", v->gguf->path,
                   text, known);
}

static int is_added(const vocabulary *v, size_t id) {
    return v->types[id] == IL_SP_CONTROL || v->types[id] == IL_SP_UNKNOWN || v->types[id] == IL_SP_USER_DEFINED;
}

static void put_added(vocabulary *v) {
    int more = 0;
    put_text(v, "\"added_tokens\":[");
    for (size_t i = 0; i < v->n; i++) {
        if (!is_added(v, i)) continue;
        put_text(v, more++ ? ",{\"id\":" : "{\"id\":");
        put_number(v, (int64_t)i);
        put_text(v, ",\"content\":");
        put_token(v, (int64_t)i);
        put_text(v, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":");
        put_text(v, v->types[i] == IL_SP_USER_DEFINED ? "false}" : "true}");
    }
    put_text(v, "],");
}

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":"

static void put_pre_tokenizer(vocabulary *v, const struct pre *pre) {
    const char *regex = il_pattern_text(pre->pattern);
    put_text(v, pre->nfc ? "\"normalizer\":{\"type\":\"NFC\"}," : "\"normalizer\":null,");
    put_text(v, "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[");
    if (pre->digits) put_text(v, "{\"type\":\"Digits\",\"individual_digits\":true},");
    if (pre->pattern == IL_PATTERN_GPT2) {
        put_text(v, BYTE_LEVEL "true}]},");
        return;
    }
    put_text(v, "{\"type\":\"Split\",\"pattern\":{\"Regex\":");
    put_quoted(v, regex, strlen(regex));
    put_text(v, "},\"behavior\":\"Isolated\",\"invert\":false}," BYTE_LEVEL "false}]},");
}

static void put_special(vocabulary *v, int64_t id) {
    put_text(v, "{\"SpecialToken\":{\"id\":");
    put_token(v, id);
    put_text(v, ",\"type_id\":0}}");
}

static void put_template(vocabulary *v, int64_t bos, int64_t eos) {
    static const char *const texts[] = {"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}",
                                        "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}"};
    const int64_t ids[] = {bos, eos};
    int more = 0;
    put_text(v, "{\"type\":\"TemplateProcessing\"");
    for (int pair = 0; pair < 2; pair++) {
        put_text(v, pair ? ",\"pair\":[" : ",\"single\":[");
        for (int i = 0; i <= pair; i++) {
            if (i) put_text(v, ",");
            if (bos >= 0) put_special(v, bos);
            if (bos >= 0) put_text(v, ",");
            put_text(v, texts[i]);
            if (eos >= 0) put_text(v, ",");
            if (eos >= 0) put_special(v, eos);
        }
        put_text(v, "]");
    }
    put_text(v, ",\"special_tokens\":{");
    for (int i = 0; i < 2; i++) {
        if (ids[i] < 0 || (i && bos == eos)) continue;
        if (more++) put_text(v, ",");
        put_token(v, ids[i]);
        put_text(v, ":{\"id\":");
        put_token(v, ids[i]);
        put_text(v, ",\"ids\":[");
        put_number(v, ids[i]);
        put_text(v, "],\"tokens\":[");
        put_token(v, ids[i]);
        put_text(v, "]}");
    }
    put_text(v, "}}");
}

static void put_post_processor(vocabulary *v, const struct pre *pre) {
    int64_t bos = (v->add_bos < 0 ? pre->add_bos : v->add_bos) ? v->bos : -1, eos = v->add_eos > 0 ? v->eos : -1;
    put_text(v, "\"post_processor\":");
    if (bos >= 0 || eos >= 0)
        put_template(v, bos, eos);
    else
        put_text(v, BYTE_LEVEL "true}");
    put_text(v, ",\"decoder\":" BYTE_LEVEL "true},");
}

/* Added tokens are in it, too: other software gives them ids of its own otherwise. Unused ones have no text. */
static void put_vocabulary(vocabulary *v) {
    int more = 0;
    put_text(v, "\"vocab\":{");
    for (size_t i = 0; i < v->n; i++) {
        if (v->types[i] != IL_SP_NORMAL && !is_added(v, i) && v->unk != (int64_t)i) continue;
        if (more++) put_text(v, ",");
        put_token(v, (int64_t)i);
        put_text(v, ":");
        put_number(v, (int64_t)i);
    }
    put_text(v, "},");
}

static il_status put_merges(vocabulary *v) {
    const il_gguf_value *merges;
    IL_TRY(find_array(v, KEY("merges"), &merges));
    if (!merges || merges->type != IL_GGUF_STRING) return bad(v, KEY("merges"), "missing, or not strings");
    const unsigned char *at = merges->data;
    put_text(v, "\"merges\":[");
    for (size_t i = 0; i < merges->n; i++) {
        il_gguf_text text = il_gguf_next_text(&at);
        if (i) put_text(v, ",");
        put_quoted(v, text.text, text.bytes);
    }
    put_text(v, "]");
    return IL_OK;
}

static il_status write_bpe(vocabulary *v) {
    const struct pre *pre;
    int prefix = 0;
    IL_TRY(find_pre(v, &pre));
    IL_TRY(il_gguf_get_flag(v->gguf, KEY("add_space_prefix"), &prefix, v->error));
    if (prefix) return unsupported(v, KEY("add_space_prefix"), "true with byte-level BPE");
    if (memchr(v->types, IL_SP_BYTE, v->n)) return unsupported(v, KEY("token_type"), "6 (byte) with byte-level BPE");
    put_text(v, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,");
    put_added(v);
    put_pre_tokenizer(v, pre);
    put_post_processor(v, pre);
    put_text(v, "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
    if (v->unk < 0)
        put_text(v, "null");
    else
        put_token(v, v->unk);
    put_text(v, ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,"
                "\"byte_fallback\":false,\"ignore_merges\":");
    put_text(v, pre->whole_words ? "true," : "false,");
    put_vocabulary(v);
    IL_TRY(put_merges(v));
    put_text(v, "}}\n");
    return IL_OK;
}

/* ---- SentencePiece ---- */

/* Fields of protocol buffers; the numbers are those of sentencepiece_model.proto. */
static void put_varint(vocabulary *v, uint64_t x) {
    unsigned char bytes[10];
    size_t n = 0;
    for (; x >= 0x80; x >>= 7) bytes[n++] = (unsigned char)(x | 0x80);
    bytes[n++] = (unsigned char)x;
    put(v, bytes, n);
}

static size_t varint_bytes(uint64_t x) {
    size_t n = 1;
    while (x >>= 7) n++;
    return n;
}

static void put_integer_field(vocabulary *v, unsigned number, uint64_t x) {
    put_varint(v, number << 3);
    put_varint(v, x);
}

static void put_bytes_field(vocabulary *v, unsigned number, const void *data, size_t bytes) {
    put_varint(v, number << 3 | 2);
    put_varint(v, bytes);
    put(v, data, bytes);
}

/* The text of a piece: llama.cpp writes the spaces of pieces that users defined as spaces. */
static void put_piece(vocabulary *v, size_t id, float score) {
    il_gguf_text text = v->tokens[id];
    size_t spaces = 0;
    if (v->types[id] == IL_SP_USER_DEFINED)
        for (size_t i = 0; i < text.bytes; i++) spaces += text.text[i] == ' ';
    size_t bytes = text.bytes + 2 * spaces;
    put_varint(v, 1 << 3 | 2);
    put_varint(v, 1 + varint_bytes(bytes) + bytes + 1 + sizeof score + 2);
    put_varint(v, 1 << 3 | 2);
    put_varint(v, bytes);
    for (size_t i = 0; i < text.bytes && spaces; i++)
        put(v, text.text[i] == ' ' ? "\xE2\x96\x81" : text.text + i, text.text[i] == ' ' ? 3 : 1);
    if (!spaces) put(v, text.text, text.bytes);
    put_varint(v, 2 << 3 | 5);
    put(v, &score, sizeof score);
    put_integer_field(v, 3, v->types[id]);
}

static il_status put_pieces(vocabulary *v) {
    const il_gguf_value *scores;
    IL_TRY(find_array(v, KEY("scores"), &scores));
    if (!scores || scores->type != IL_GGUF_F32 || scores->n != v->n)
        return bad(v, KEY("scores"), "missing, or not a number for each token");
    const unsigned char *at = scores->data;
    for (size_t i = 0; i < v->n; i++) put_piece(v, i, (float)il_gguf_next_real(IL_GGUF_F32, &at));
    return IL_OK;
}

/* The settings of a trainer that readers need: how pieces are merged, and which of them are special. A text without a
 * beginning of its own has the unknown piece for it, which the library does not take for one. */
static il_status write_sentencepiece(vocabulary *v) {
    enum {
        TRAINER = 2,
        NORMALIZER = 3,
        MODEL_TYPE = 3,
        BYTE_FALLBACK = 35,
        UNK_PIECE = 45,
        BOS_PIECE = 46,
        EOS_PIECE = 47
    };
    static const char name[] = "identity";
    const unsigned char *unknown = memchr(v->types, IL_SP_UNKNOWN, v->n);
    int prefix = 1;
    il_text_buffer *file = v->file, trainer = {0}, normalizer = {0};
    if (!unknown) return bad(v, KEY("token_type"), "no token is the unknown one (2)");
    int64_t unk = unknown - v->types;
    int64_t special[] = {unk, v->add_bos && v->bos >= 0 ? v->bos : unk, v->eos >= 0 ? v->eos : unk};
    IL_TRY(il_gguf_get_flag(v->gguf, KEY("add_space_prefix"), &prefix, v->error));
    if (v->add_eos > 0) return unsupported(v, KEY("add_eos_token"), "true with SentencePiece");
    IL_TRY(put_pieces(v));
    v->file = &trainer;
    put_integer_field(v, MODEL_TYPE, 2); /* BPE */
    put_integer_field(v, BYTE_FALLBACK, memchr(v->types, IL_SP_BYTE, v->n) != NULL);
    for (unsigned i = 0; i < 3; i++)
        put_bytes_field(v, UNK_PIECE + i, v->tokens[special[i]].text, v->tokens[special[i]].bytes);
    v->file = &normalizer;
    put_bytes_field(v, 1, name, sizeof name - 1);
    put_integer_field(v, 3, (uint64_t)prefix);
    put_integer_field(v, 4, 0); /* spaces stay */
    put_integer_field(v, 5, 1);
    v->file = file;
    put_bytes_field(v, TRAINER, trainer.text, trainer.bytes);
    put_bytes_field(v, NORMALIZER, normalizer.text, normalizer.bytes);
    il_free(v->gguf->allocator, trainer.text);
    il_free(v->gguf->allocator, normalizer.text);
    return IL_OK;
}

/* ---- both ---- */

static il_status write(vocabulary *v, int *json) {
    il_gguf_text model = {"", 0};
    char text[100];
    IL_TRY(il_gguf_get_text(v->gguf, KEY("model"), &model, v->error));
    snprintf(text, sizeof text, "\"%.*s\"", (int)(model.bytes < 80 ? model.bytes : 80), model.text);
    *json = strcmp(text, "\"gpt2\"") == 0;
    if (!*json && strcmp(text, "\"llama\"") != 0)
        return il_fail(v->error, IL_ERR_UNSUPPORTED,
                       "%s: " KEY("model") ": %s is not supported, only gpt2 and llama are", v->gguf->path, text);
    IL_TRY(read_tokens(v));
    IL_TRY(read_types(v));
    IL_TRY(read_settings(v));
    IL_TRY(*json ? write_bpe(v) : write_sentencepiece(v));
    if (v->short_of_memory) return il_fail(v->error, IL_ERR_NOMEM, "%s: out of memory", v->gguf->path);
    return IL_OK;
}

il_status il_gguf_tokenizer(const il_gguf *gguf, il_text_buffer *file, int *json, il_error *error) {
    vocabulary v = {.gguf = gguf, .file = file, .error = error};
    *file = (il_text_buffer){0};
    il_status status = write(&v, json);
    il_free(gguf->allocator, v.tokens);
    il_free(gguf->allocator, v.types);
    return status;
}
