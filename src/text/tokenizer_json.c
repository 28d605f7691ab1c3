/* tokenizer_json.c: see tokenizer_json.h. The vocabulary and the merges, nearly all of the file, are read where they
 * lie; the small rest is jansson's. What a file may ask for is listed here, by type and by the very text of a pattern:
 * anything else changes what the tokens are, and is refused by its name. Ignored are truncation and padding, which are
 * for batches. Memory is in proportion to the file, and ids are below IL_BPE_VOCAB_MAX. */
#include "text/tokenizer_json.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/json_text.h"

#include <jansson.h>
#include <string.h>

#define MARK "\xE2\x96\x81"

enum { SMALL_MAX = 1 << 23 }; /* bytes of what jansson reads at once */

typedef enum section { ADDED, NORMALIZER, PRE_TOKENIZER, POST_PROCESSOR, DECODER, MODEL, SECTIONS } section;
static const char *const section_names[SECTIONS] = {"added_tokens",   "normalizer", "pre_tokenizer",
                                                    "post_processor", "decoder",    "model"};
typedef enum part {
    TYPE,
    DROPOUT,
    UNK,
    PREFIX,
    SUFFIX,
    FUSE_UNK,
    BYTE_FALLBACK,
    IGNORE_MERGES,
    VOCAB,
    MERGES,
    PARTS
} part;
static const char *const part_names[PARTS] = {"type",
                                              "dropout",
                                              "unk_token",
                                              "continuing_subword_prefix",
                                              "end_of_word_suffix",
                                              "fuse_unk",
                                              "byte_fallback",
                                              "ignore_merges",
                                              "vocab",
                                              "merges"};

typedef struct reader {
    il_json_text json;
    il_pipeline *p;
    il_json_span sections[SECTIONS], parts[PARTS]; /* text NULL: not there */
    il_text_buffer buffer;
    int by_bytes, fallback;
} reader;

static il_status refuse(const reader *r, const char *where, const char *what) {
    return il_fail(r->json.error, IL_ERR_UNSUPPORTED, "%s: %s: %.300s is not supported", r->json.path, where, what);
}

static il_status bad(const reader *r, const char *where, const char *why) {
    return il_fail(r->json.error, IL_ERR_FORMAT, "%s: %s: %s", r->json.path, where, why);
}

static il_status no_memory(const reader *r) {
    return il_fail(r->json.error, IL_ERR_NOMEM, "%s: no memory for the tokenizer", r->json.path);
}

/* ---- small sections, by jansson ---- */

/* A span as an object of jansson's, NULL where it is not there or null. */
static il_status load(const reader *r, const char *where, il_json_span span, json_t **value) {
    json_error_t trouble;
    *value = NULL;
    if (!span.text) return IL_OK;
    if (span.bytes > SMALL_MAX) return bad(r, where, "larger than 8 MiB");
    *value = json_loadb(span.text, span.bytes, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &trouble);
    if (!*value) {
        if (json_error_code(&trouble) == json_error_out_of_memory) return no_memory(r);
        return bad(r, where, trouble.text);
    }
    if (json_is_null(*value)) {
        json_decref(*value);
        *value = NULL;
    }
    return IL_OK;
}

/* 1 where an object's key is a string and this one. */
static int is(const json_t *object, const char *key, const char *what) {
    const json_t *value = json_object_get(object, key);
    size_t bytes = strlen(what);
    return json_string_length(value) == bytes && json_is_string(value) &&
           memcmp(json_string_value(value), what, bytes) == 0;
}

static const char *type_of(const json_t *object) {
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "a value without a type";
}

/* A key that is true, false or not there. */
static int flag(const json_t *object, const char *key, int otherwise) {
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

/* The steps of a Sequence, or the one that stands for itself; NULL: none. */
static size_t steps_of(const json_t *object, const char *key, const json_t *steps[], size_t most) {
    const json_t *list = is(object, "type", "Sequence") ? json_object_get(object, key) : NULL;
    size_t n = list ? json_array_size(list) : object != NULL;
    for (size_t i = 0; i < n && i < most; i++) steps[i] = list ? json_array_get(list, i) : object;
    return n;
}

enum { STEPS_MAX = 8 };

/* Replace of one space by U+2581, or the reverse. */
static int replaces(const json_t *step, const char *what, const char *by) {
    return is(step, "type", "Replace") && is(json_object_get(step, "pattern"), "String", what) &&
           is(step, "content", by);
}

static il_status read_normalizer(reader *r, const json_t *object) {
    const json_t *steps[STEPS_MAX];
    il_pipeline *p = r->p;
    size_t n = steps_of(object, "normalizers", steps, STEPS_MAX);
    if (n > STEPS_MAX) return refuse(r, "normalizer", "a sequence of more than 8");
    for (size_t i = 0; i < n; i++) {
        if (is(steps[i], "type", "NFC"))
            p->nfc = 1;
        else if (is(steps[i], "type", "Prepend") && is(steps[i], "prepend", MARK) && !p->prepend)
            p->prepend = 1;
        else if (replaces(steps[i], " ", MARK))
            p->marks_spaces = 1;
        else if (is(steps[i], "type", "Prepend") || is(steps[i], "type", "Replace"))
            return refuse(r, "normalizer", "a Prepend or Replace other than of U+2581");
        else
            return refuse(r, "normalizer", type_of(steps[i]));
    }
    if (p->nfc && (p->prepend || p->marks_spaces)) return refuse(r, "normalizer", "NFC together with U+2581");
    return IL_OK;
}

static il_status add_pattern(reader *r, il_pattern pattern) {
    if (r->p->n_patterns == IL_PATTERNS_MAX) return refuse(r, "pre_tokenizer", "a sequence of more than 4 patterns");
    r->p->patterns[r->p->n_patterns++] = pattern;
    return IL_OK;
}

static il_status read_split(reader *r, const json_t *step) {
    const json_t *regex = json_object_get(json_object_get(step, "pattern"), "Regex");
    il_pattern pattern;
    if (!json_is_string(regex)) return refuse(r, "pre_tokenizer", "a Split that is not by a Regex");
    if (!is(step, "behavior", "Isolated") || flag(step, "invert", 0))
        return refuse(r, "pre_tokenizer", "a Split that is not \"Isolated\"");
    if (!il_pattern_find(json_string_value(regex), json_string_length(regex), &pattern))
        return il_fail(r->json.error, IL_ERR_UNSUPPORTED,
                       "%s: pre_tokenizer: the pattern %.300s is not one of those that are supported", r->json.path,
                       json_string_value(regex));
    return add_pattern(r, pattern);
}

static il_status read_byte_level(reader *r, const json_t *step) {
    if (r->by_bytes) return refuse(r, "pre_tokenizer", "a second ByteLevel");
    r->by_bytes = 1;
    if (flag(step, "add_prefix_space", 1)) {
        if (r->p->n_patterns) return refuse(r, "pre_tokenizer", "ByteLevel with add_prefix_space behind a Split");
        r->p->prefix = IL_PREFIX_ALWAYS;
    }
    return flag(step, "use_regex", 1) ? add_pattern(r, IL_PATTERN_GPT2) : IL_OK;
}

static il_status read_metaspace(reader *r, const json_t *step) {
    il_pipeline *p = r->p;
    const json_t *scheme = json_object_get(step, "prepend_scheme");
    if (p->mark_later || p->n_patterns || r->by_bytes) return refuse(r, "pre_tokenizer", "Metaspace behind others");
    if (!is(step, "replacement", MARK))
        return refuse(r, "pre_tokenizer", "Metaspace with another character than U+2581");
    p->mark_later = 1;
    p->prefix = flag(step, "add_prefix_space", 1) ? IL_PREFIX_ALWAYS : IL_PREFIX_NEVER;
    if (is(step, "prepend_scheme", "first"))
        p->prefix = IL_PREFIX_FIRST;
    else if (is(step, "prepend_scheme", "never"))
        p->prefix = IL_PREFIX_NEVER;
    else if (is(step, "prepend_scheme", "always"))
        p->prefix = IL_PREFIX_ALWAYS;
    else if (scheme)
        return refuse(r, "pre_tokenizer", "Metaspace with a prepend_scheme other than always, first or never");
    return flag(step, "split", 1) ? add_pattern(r, IL_PATTERN_MARK) : IL_OK;
}

static il_status read_pre_tokenizer(reader *r, const json_t *object) {
    const json_t *steps[STEPS_MAX];
    size_t n = steps_of(object, "pretokenizers", steps, STEPS_MAX);
    if (n > STEPS_MAX) return refuse(r, "pre_tokenizer", "a sequence of more than 8");
    for (size_t i = 0; i < n; i++) {
        if (r->by_bytes) return refuse(r, "pre_tokenizer", "a step behind ByteLevel");
        if (is(steps[i], "type", "ByteLevel"))
            IL_TRY(read_byte_level(r, steps[i]));
        else if (is(steps[i], "type", "Metaspace"))
            IL_TRY(read_metaspace(r, steps[i]));
        else if (r->p->mark_later)
            return refuse(r, "pre_tokenizer", "a step behind Metaspace");
        else if (is(steps[i], "type", "Split"))
            IL_TRY(read_split(r, steps[i]));
        else if (is(steps[i], "type", "Digits"))
            IL_TRY(add_pattern(r, flag(steps[i], "individual_digits", 0) ? IL_PATTERN_DIGIT : IL_PATTERN_DIGITS));
        else
            return refuse(r, "pre_tokenizer", type_of(steps[i]));
    }
    il_pipeline *p = r->p;
    if (r->by_bytes && (p->prepend || p->marks_spaces)) return refuse(r, "normalizer", "U+2581 with ByteLevel");
    if (!r->by_bytes && p->n_patterns && !p->mark_later)
        return refuse(r, "pre_tokenizer", "a pattern without ByteLevel");
    if (!r->by_bytes && p->marks_spaces == p->mark_later)
        return refuse(r, "normalizer and pre_tokenizer",
                      "text that is neither ByteLevel nor has U+2581 for its spaces");
    p->bpe.by_characters = !r->by_bytes;
    return IL_OK;
}

/* Either ByteLevel, or Replace, ByteFallback, Fuse and perhaps Strip. */
static il_status read_decoder(reader *r, const json_t *object) {
    const json_t *steps[STEPS_MAX];
    size_t n = steps_of(object, "decoders", steps, STEPS_MAX);
    if (r->by_bytes && n == 1 && is(steps[0], "type", "ByteLevel")) return IL_OK;
    if (r->by_bytes) return refuse(r, "decoder", object ? type_of(object) : "a decoder that is missing");
    int known = (n == 3 || n == 4) && replaces(steps[0], MARK, " ") && is(steps[1], "type", "ByteFallback") &&
                is(steps[2], "type", "Fuse");
    if (known && n == 4) {
        r->p->strips_space = 1;
        known = is(steps[3], "type", "Strip") && is(steps[3], "content", " ") &&
                json_integer_value(json_object_get(steps[3], "start")) == 1 &&
                json_integer_value(json_object_get(steps[3], "stop")) == 0;
    }
    return known ? IL_OK : refuse(r, "decoder", "what is not Replace, ByteFallback, Fuse and Strip of one space");
}

/* ---- the file ---- */

/* The values of an object whose keys have these names; others are passed over. */
static il_status read_spans(reader *r, const char *const *names, int n, il_json_span *spans) {
    il_json_text *j = &r->json;
    il_json_span key, value;
    int more;
    IL_TRY(il_json_enter(j, '{'));
    for (size_t i = 0;; i++) {
        IL_TRY(il_json_next(j, '{', i, &more));
        if (!more) return IL_OK;
        IL_TRY(il_json_read_key(j, &key));
        int known = 0;
        while (known < n && !il_json_equal(key, names[known])) known++;
        if (known < n && spans[known].text) return bad(r, names[known], "it is there twice");
        IL_TRY(il_json_skip(j, &value));
        if (known < n) spans[known] = value;
    }
}

/* Reads from a span of the file on. */
static void go_to(reader *r, il_json_span span) { r->json.at = (size_t)(span.text - r->json.text); }

/* ---- vocabulary ---- */

/* The byte that a letter of ByteLevel stands for; -1: it is none. */
static int byte_of_letter(uint32_t code) {
    if (code < 256) return (code > 32 && code < 127) || (code > 160 && code != 173) ? (int)code : -1;
    code -= 256; /* the others in their order */
    if (code <= 32) return (int)code;
    return code == 33 ? 127 : code <= 66 ? (int)code + 94 : code == 67 ? 173 : -1;
}

/* A token as words are made of it, in r->buffer; *literal: no word is. */
static il_status map_token(reader *r, il_json_span token, int *literal) {
    il_text_buffer *b = &r->buffer;
    b->bytes = 0;
    *literal = token.bytes == 0;
    if (!il_text_append(r->p->memory, b, token.text, token.bytes)) return no_memory(r);
    if (!r->by_bytes) return IL_OK;
    size_t n = 0;
    for (size_t at = 0; at < token.bytes;) {
        int length = il_utf8_length(token.text + at, token.bytes - at);
        int byte = byte_of_letter(il_utf8_decode(token.text + at, length));
        if (byte < 0) *literal = 1;
        if (!*literal) b->text[n++] = (char)byte;
        at += (size_t)length;
    }
    if (*literal)
        memcpy(b->text, token.text, token.bytes);
    else
        b->bytes = n;
    return IL_OK;
}

/* <0xXX> */
static int byte_of_token(const char *text, size_t bytes) {
    static const char digits[] = "0123456789ABCDEF";
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const char *high = memchr(digits, text[3], 16), *low = memchr(digits, text[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

static il_status read_token(reader *r, il_json_span token, uint32_t id) {
    il_bpe *bpe = &r->p->bpe;
    il_text_buffer *b = &r->buffer;
    int literal;
    IL_TRY(map_token(r, token, &literal));
    int byte = bpe->by_characters ? byte_of_token(b->text, b->bytes) : -1;
    if (id < bpe->n && bpe->tokens[id].type != IL_BPE_NONE)
        return il_fail(r->json.error, IL_ERR_FORMAT, "%s: vocab: two tokens have the id %u", r->json.path, id);
    if (!literal && il_bpe_find(bpe, b->text, b->bytes) >= 0)
        return il_fail(r->json.error, IL_ERR_FORMAT, "%s: vocab: the token of id %u is there twice", r->json.path, id);
    if (!il_bpe_add(bpe, id, literal ? IL_BPE_LITERAL : byte >= 0 ? IL_BPE_BYTE : IL_BPE_TEXT, b->text, b->bytes))
        return no_memory(r);
    if (byte >= 0) {
        bpe->tokens[id].value = (unsigned char)byte;
        bpe->byte_ids[byte] = (int)id;
    }
    return IL_OK;
}

static il_status read_vocab(reader *r) {
    il_json_text *j = &r->json;
    il_bpe *bpe = &r->p->bpe;
    il_json_span key;
    int64_t id;
    int more;
    if (!r->parts[VOCAB].text) return bad(r, "model", "the vocabulary (vocab) is missing");
    go_to(r, r->parts[VOCAB]);
    IL_TRY(il_json_enter(j, '{'));
    for (size_t i = 0;; i++) {
        IL_TRY(il_json_next(j, '{', i, &more));
        if (!more) break;
        IL_TRY(il_json_read_key(j, &key));
        IL_TRY(il_json_read_count(j, IL_BPE_VOCAB_MAX - 1, &id));
        IL_TRY(read_token(r, key, (uint32_t)id));
    }
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        if (!bpe->by_characters) bpe->byte_ids[i] = il_bpe_find(bpe, &byte, 1);
        if (bpe->by_characters && bpe->byte_ids[i] < 0)
            return il_fail(j->error, IL_ERR_UNSUPPORTED, "%s: vocab: a vocabulary without <0x%02X> is not supported",
                           j->path, i);
    }
    return IL_OK;
}

/* ---- merges ---- */

static il_status find_part(reader *r, il_json_span text, size_t rank, int *id) {
    int literal;
    IL_TRY(map_token(r, text, &literal));
    *id = literal ? -1 : il_bpe_find(&r->p->bpe, r->buffer.text, r->buffer.bytes);
    if (*id >= 0) return IL_OK;
    return il_fail(r->json.error, IL_ERR_FORMAT, "%s: merges: number %zu is of what is not in the vocabulary",
                   r->json.path, rank);
}

/* "LEFT RIGHT" or ["LEFT", "RIGHT"] */
static il_status read_pair(reader *r, size_t rank, int *left, int *right) {
    il_json_text *j = &r->json;
    il_json_span text;
    int more = 1;
    if (il_json_peek(j) != '[') {
        IL_TRY(il_json_read_string(j, &text));
        const char *space = memchr(text.text, ' ', text.bytes);
        size_t n = space ? (size_t)(space - text.text) : 0;
        if (!space || memchr(space + 1, ' ', text.bytes - n - 1))
            return il_fail(j->error, IL_ERR_FORMAT, "%s: merges: number %zu is not two tokens and a space", j->path,
                           rank);
        IL_TRY(find_part(r, (il_json_span){text.text, n}, rank, left));
        return find_part(r, (il_json_span){space + 1, text.bytes - n - 1}, rank, right);
    }
    IL_TRY(il_json_enter(j, '['));
    for (size_t i = 0; i < 2; i++) {
        IL_TRY(il_json_next(j, '[', i, &more));
        IL_TRY(il_json_read_string(j, &text));
        IL_TRY(find_part(r, text, rank, i ? right : left));
    }
    IL_TRY(il_json_next(j, '[', 2, &more));
    return more ? il_json_fail(j, "a merge of more than two tokens") : IL_OK;
}

static il_status read_merge(reader *r, size_t rank) {
    il_bpe *bpe = &r->p->bpe;
    il_text_buffer *b = &r->buffer;
    int left, right;
    IL_TRY(read_pair(r, rank, &left, &right));
    b->bytes = 0;
    if (!il_text_append(bpe->memory, b, il_bpe_text(bpe, left), bpe->tokens[left].bytes) ||
        !il_text_append(bpe->memory, b, il_bpe_text(bpe, right), bpe->tokens[right].bytes))
        return no_memory(r);
    int id = il_bpe_find(bpe, b->text, b->bytes);
    if (id < 0)
        return il_fail(r->json.error, IL_ERR_FORMAT, "%s: merges: what number %zu makes is not in the vocabulary",
                       r->json.path, rank);
    if (!il_bpe_merge_add(bpe, (uint32_t)left, (uint32_t)right, (uint32_t)rank, (uint32_t)id)) return no_memory(r);
    return IL_OK;
}

static il_status read_merges(reader *r) {
    int more;
    if (!r->parts[MERGES].text) return bad(r, "model", "merges are missing");
    go_to(r, r->parts[MERGES]);
    IL_TRY(il_json_enter(&r->json, '['));
    for (size_t rank = 0;; rank++) {
        IL_TRY(il_json_next(&r->json, '[', rank, &more));
        if (!more) return IL_OK;
        if (rank == IL_BPE_MERGES_MAX) return bad(r, "merges", "more than 8,388,608");
        IL_TRY(read_merge(r, rank));
    }
}

/* ---- model ---- */

/* Whether a part is there and not null, 0, false or "". */
static il_status is_set(reader *r, part which, int *set) {
    json_t *value;
    IL_TRY(load(r, part_names[which], r->parts[which], &value));
    *set = value && !json_is_false(value) && (!json_is_string(value) || json_string_length(value)) &&
           (!json_is_number(value) || json_number_value(value) != 0);
    json_decref(value);
    return IL_OK;
}

static il_status read_unk(reader *r) {
    json_t *value;
    int literal;
    IL_TRY(load(r, "unk_token", r->parts[UNK], &value));
    il_status status = IL_OK;
    if (value) {
        const char *text = json_string_value(value);
        if (!text) status = bad(r, "unk_token", "not a string");
        if (status == IL_OK) status = map_token(r, (il_json_span){text, json_string_length(value)}, &literal);
        if (status == IL_OK) r->p->bpe.unk = literal ? -1 : il_bpe_find(&r->p->bpe, r->buffer.text, r->buffer.bytes);
    }
    json_decref(value);
    return status;
}

/* Finds the parts of the model, too. */
static il_status read_type(reader *r) {
    json_t *type;
    go_to(r, r->sections[MODEL]);
    IL_TRY(read_spans(r, part_names, PARTS, r->parts));
    IL_TRY(load(r, "model", r->parts[TYPE], &type));
    const char *name = json_string_value(type);
    il_status status =
        !type || (name && strcmp(name, "BPE") == 0) ? IL_OK : refuse(r, "model", name ? name : "its type");
    json_decref(type);
    return status;
}

static il_status read_model(reader *r) {
    il_bpe *bpe = &r->p->bpe;
    int set;
    for (part which = DROPOUT; which <= SUFFIX; which++) {
        if (which == UNK) continue;
        IL_TRY(is_set(r, which, &set));
        if (set) return refuse(r, "model", part_names[which]);
    }
    IL_TRY(is_set(r, BYTE_FALLBACK, &set));
    if (set == r->by_bytes)
        return refuse(r, "model",
                      set ? "byte_fallback with ByteLevel" : "a vocabulary of characters without byte_fallback");
    IL_TRY(is_set(r, IGNORE_MERGES, &bpe->ignore_merges));
    IL_TRY(is_set(r, FUSE_UNK, &bpe->fuse_unk));
    IL_TRY(read_vocab(r));
    IL_TRY(read_merges(r));
    return read_unk(r);
}

/* ---- added tokens ---- */

static il_status read_added_token(reader *r, const json_t *object, size_t i) {
    il_pipeline *p = r->p;
    il_bpe *bpe = &p->bpe;
    const json_t *content = json_object_get(object, "content"), *number = json_object_get(object, "id");
    const char *text = json_string_value(content);
    size_t bytes = json_string_length(content);
    json_int_t id = json_integer_value(number);
    int literal, special = flag(object, "special", 0), normalized = flag(object, "normalized", !special);
    if (!text || bytes == 0 || !json_is_integer(number) || id < 0 || id >= IL_BPE_VOCAB_MAX)
        return il_fail(r->json.error, IL_ERR_FORMAT,
                       "%s: added_tokens: number %zu lacks its content or an id of 0 to %d", r->json.path, i,
                       IL_BPE_VOCAB_MAX - 1);
    if (bytes > IL_ADDED_BYTES_MAX) return refuse(r, "added_tokens", "a token of more than 1,024 bytes");
    IL_TRY(map_token(r, (il_json_span){text, bytes}, &literal));
    int known = literal ? -1 : il_bpe_find(bpe, r->buffer.text, r->buffer.bytes);
    const il_bpe_token *there = (size_t)id < bpe->n && bpe->tokens[id].type ? &bpe->tokens[id] : NULL;
    int same = there && (known == (int)id || (there->type == IL_BPE_LITERAL && there->bytes == bytes &&
                                              memcmp(bpe->text + there->at, text, bytes) == 0));
    if ((there && !same) || (known >= 0 && known != (int)id))
        return il_fail(r->json.error, IL_ERR_FORMAT, "%s: added_tokens: id %d of %.80s is not its id in the vocabulary",
                       r->json.path, (int)id, text);
    il_added_token token = {.id = (int)id,
                            .special = (unsigned char)special,
                            .lstrip = (unsigned char)flag(object, "lstrip", 0),
                            .rstrip = (unsigned char)flag(object, "rstrip", 0),
                            .single_word = (unsigned char)flag(object, "single_word", 0)};
    il_added *to = normalized ? &p->normalized : &p->raw;
    if (!(normalized ? il_pipeline_add_normalized(p, text, bytes, token)
                     : il_added_add(p->memory, &p->raw, text, bytes, token)))
        return no_memory(r);
    const il_added_token *added = &to->tokens[to->n - 1]; /* its text is what is found, U+2581 and all */
    if (!there && !il_bpe_add(bpe, (uint32_t)id, IL_BPE_LITERAL, to->contents.text + added->at, added->bytes))
        return no_memory(r);
    if (special) bpe->tokens[id].type = IL_BPE_CONTROL;
    return IL_OK;
}

static il_status read_added(reader *r, const json_t *list) {
    if (list && !json_is_array(list)) return bad(r, "added_tokens", "not an array");
    for (size_t i = 0; i < json_array_size(list); i++) IL_TRY(read_added_token(r, json_array_get(list, i), i));
    if (!il_added_sort(&r->p->raw) || !il_added_sort(&r->p->normalized))
        return bad(r, "added_tokens", "a token is there twice");
    return IL_OK;
}

/* ---- template ---- */

static il_status read_template_token(reader *r, const json_t *object, const json_t *item, int *id) {
    const char *name = json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
    const json_t *ids = json_object_get(json_object_get(json_object_get(object, "special_tokens"), name), "ids");
    if (*id >= 0) return refuse(r, "post_processor", "a template with two tokens before or behind the text");
    if (json_array_size(ids) != 1 || !json_is_integer(json_array_get(ids, 0)))
        return bad(r, "post_processor", "special_tokens does not say one id for each token of the template");
    json_int_t value = json_integer_value(json_array_get(ids, 0));
    if (value < 0 || (size_t)value >= r->p->bpe.n || r->p->bpe.tokens[value].type == IL_BPE_NONE)
        return bad(r, "post_processor", "special_tokens has an id that is not in the vocabulary");
    *id = (int)value;
    return IL_OK;
}

static il_status read_template(reader *r, const json_t *object) {
    const json_t *single = json_object_get(object, "single");
    int texts = 0;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        if (json_object_get(item, "SpecialToken"))
            IL_TRY(read_template_token(r, object, item, texts ? &r->p->eos : &r->p->bos));
        else
            texts += is(json_object_get(item, "Sequence"), "id", "A") ? 1 : 2;
    }
    return texts == 1 ? IL_OK : bad(r, "post_processor", "the template does not have the text once");
}

static il_status read_post_processor(reader *r, const json_t *object) {
    const json_t *steps[STEPS_MAX];
    size_t n = steps_of(object, "processors", steps, STEPS_MAX);
    if (n > STEPS_MAX) return refuse(r, "post_processor", "a sequence of more than 8");
    for (size_t i = 0; i < n; i++) {
        if (is(steps[i], "type", "ByteLevel")) continue; /* trims offsets, which nobody asks for */
        if (!is(steps[i], "type", "TemplateProcessing")) return refuse(r, "post_processor", type_of(steps[i]));
        if (r->p->bos >= 0 || r->p->eos >= 0) return refuse(r, "post_processor", "a second template");
        IL_TRY(read_template(r, steps[i]));
    }
    return IL_OK;
}

/* ---- all ---- */

static il_status read_section(reader *r, section which, il_status (*read)(reader *r, const json_t *object)) {
    json_t *object;
    IL_TRY(load(r, section_names[which], r->sections[which], &object));
    il_status status = read(r, object);
    json_decref(object);
    return status;
}

static il_status read_all(reader *r) {
    IL_TRY(read_spans(r, section_names, SECTIONS, r->sections));
    if (il_json_peek(&r->json) >= 0) return il_json_fail(&r->json, "something behind the object");
    if (!r->sections[MODEL].text) return bad(r, "model", "it is missing");
    IL_TRY(read_type(r)); /* before what goes with a kind of model */
    IL_TRY(read_section(r, NORMALIZER, read_normalizer));
    IL_TRY(read_section(r, PRE_TOKENIZER, read_pre_tokenizer));
    IL_TRY(read_section(r, DECODER, read_decoder));
    IL_TRY(read_model(r));
    IL_TRY(read_section(r, ADDED, read_added));
    IL_TRY(read_section(r, POST_PROCESSOR, read_post_processor));
    if (r->p->bpe.n == 0) return bad(r, "model", "it has no tokens");
    il_pipeline_finish(r->p);
    return IL_OK;
}

il_status il_tokenizer_json_read(const il_allocator *memory, const char *path, const char *text, size_t bytes,
                                 il_pipeline *p, il_error *error) {
    reader r = {.json = {.path = path, .text = text, .bytes = bytes, .memory = memory, .error = error}, .p = p};
    il_pipeline_begin(memory, p);
    if (bytes > IL_TOKENIZER_JSON_MAX)
        return il_fail(error, IL_ERR_FORMAT, "%s: %zu bytes, too large for a tokenizer.json", path, bytes);
    il_status status = read_all(&r);
    il_json_text_free(&r.json);
    il_free(memory, r.buffer.text);
    return status;
}
