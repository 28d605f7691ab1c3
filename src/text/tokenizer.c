/* tokenizer.c: il_tokenizer. Four kinds: "bytes"; "sentencepiece", whose encoding is libsentencepiece's and whose
 * decoding is ours, a piece at a time; "bpe", which a tokenizer.json describes and pipeline.h does; and "pictures",
 * which has a layout (picture_layout.h) and no tokens for text.
 *
 * A SentencePiece model is *plain* when it rewrites nothing (no replacement table, no removed spaces, spaces
 * written as U+2581). Plain models, Llama's and ours among them, are made lossless here: what the library
 * could not give back goes around it as byte pieces, namely broken UTF-8, U+2581 itself (which the format
 * confuses with a space) and spaces of a model without a piece for them. Long texts are cut into chunks, at a
 * space after 64 KiB where no piece can reach across; only a run of 1 MiB without any space is cut through.
 * Other models get the whole text as it is and lose what they lose. */
#include "text/tokenizer.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "tensor/gguf.h"
#include "text/gguf_tokenizer.h"
#include "text/picture_layout.h"
#include "text/pipeline.h"
#include "text/sentencepiece_model.h"
#include "text/sentencepiece_shim.h"
#include "text/tokenizer_json.h"

#include <string.h>
#include <xxhash.h>

#define FILE_NAME "tokenizer.model"
#define JSON_NAME "tokenizer.json"
#define SPACE "\xE2\x96\x81"

enum {
    SPAN_SOFT = 64 << 10, /* bytes after which the next good place is used */
    SPAN_HARD = 1 << 20,
    LOOK_AHEAD = 8, /* bytes behind a chunk that may decide where it ends, and then some */
    MODEL_BYTES_MAX = 1 << 30,
    PIECE_BYTES_MIN = 16 /* room for a flush of broken bytes, and then some */
};

struct il_tokenizer {
    il_allocator memory;
    il_tokenizer_info info;
    char fingerprint[33];
    size_t piece_bytes_max;
    unsigned char *file; /* [file_bytes], NULL for bytes */
    size_t file_bytes;
    il_pipeline *pipeline;       /* kind bpe, else NULL */
    il_picture_layout *pictures; /* kind pictures, else NULL */
    /* kind sentencepiece, else NULL and zero */
    il_sp_model model; /* points into file */
    il_sp *sp;
    int plain;
};

/* ---- load, save, close ---- */

static void hash_hex(const void *data, size_t bytes, char hex[33]) {
    static const char digits[] = "0123456789abcdef";
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, bytes));
    for (int i = 0; i < 16; i++) {
        hex[2 * i] = digits[canonical.digest[i] >> 4];
        hex[2 * i + 1] = digits[canonical.digest[i] & 15];
    }
    hex[32] = 0;
}

static il_status open_library(il_tokenizer *t, const char *path, il_error *error) {
    /* A later normalizer_spec {add_dummy_prefix: false} overrides the file's: the prefix is ours to add, once
     * a text. */
    static const unsigned char no_prefix[] = {0x1A, 0x02, 0x18, 0x00};
    char message[300] = "";
    unsigned char *bytes = il_alloc_raw(&t->memory, t->file_bytes + sizeof no_prefix, 1);
    if (!bytes) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for the tokenizer", path);
    memcpy(bytes, t->file, t->file_bytes);
    memcpy(bytes + t->file_bytes, no_prefix, sizeof no_prefix);
    il_sp_result result =
        il_sp_open(bytes, t->file_bytes + (t->plain ? sizeof no_prefix : 0), &t->sp, message, sizeof message);
    il_free(&t->memory, bytes);
    if (result == IL_SP_NOMEM) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for the tokenizer", path);
    if (result != IL_SP_OK) return il_fail(error, IL_ERR_FORMAT, "%s: %s", path, message);
    return IL_OK;
}

static il_status load_sentencepiece(il_tokenizer *t, const char *path, il_error *error) {
    il_sp_model *m = &t->model;
    IL_TRY(il_sp_model_parse(&t->memory, path, t->file, t->file_bytes, m, error));
    t->plain =
        !m->normalizes && !m->remove_extra_whitespaces && m->escape_whitespaces && !m->treat_whitespace_as_suffix;
    IL_TRY(open_library(t, path, error));
    t->info = (il_tokenizer_info){.kind = "sentencepiece", .vocab_size = m->n};
    il_sp_special(t->sp, &t->info.unk, &t->info.bos, &t->info.eos);
    size_t longest = m->unk_surface_bytes;
    for (int i = 0; i < m->n; i++)
        if (m->pieces[i].bytes > longest) longest = m->pieces[i].bytes;
    t->piece_bytes_max = longest + PIECE_BYTES_MIN;
    return IL_OK;
}

static il_status load_json(il_tokenizer *t, const char *path, il_error *error) {
    if (!(t->pipeline = il_alloc(&t->memory, 1, sizeof *t->pipeline)))
        return il_fail(error, IL_ERR_NOMEM, "%s: no memory for the tokenizer", path);
    IL_TRY(il_tokenizer_json_read(&t->memory, path, (const char *)t->file, t->file_bytes, t->pipeline, error));
    const il_pipeline *p = t->pipeline;
    size_t longest = 0;
    for (size_t i = 0; i < p->bpe.n; i++)
        if (p->bpe.tokens[i].bytes > longest) longest = p->bpe.tokens[i].bytes;
    t->info = (il_tokenizer_info){"bpe", (int)p->bpe.n, p->bos, p->eos, p->bpe.unk};
    t->piece_bytes_max = 3 * longest + PIECE_BYTES_MIN; /* each byte of it may be a broken one */
    return IL_OK;
}

/* What a layout, which is finished, makes of a tokenizer. */
static il_status take_layout(il_tokenizer *t, const il_picture_layout *layout, il_error *error) {
    if (!(t->pictures = il_alloc_raw(&t->memory, 1, sizeof *t->pictures)))
        return il_fail(error, IL_ERR_NOMEM, "no memory for a tokenizer");
    *t->pictures = *layout;
    t->info = (il_tokenizer_info){"pictures", il_picture_layout_vocab(layout), layout->levels + IL_PICTURE_BOS,
                                  layout->levels + IL_PICTURE_EOS, -1};
    t->piece_bytes_max = PIECE_BYTES_MIN;
    return IL_OK;
}

static il_status load_pictures(il_tokenizer *t, const char *path, il_error *error) {
    il_picture_layout layout;
    IL_TRY(il_picture_layout_parse(path, (const char *)t->file, t->file_bytes, &layout, error));
    return take_layout(t, &layout, error);
}

/* The same of a GGUF file: what a model directory would have in its place. */
static il_status read_gguf(il_tokenizer *t, const char *path, const il_map *map, int *json, il_error *error) {
    il_gguf gguf;
    il_text_buffer file;
    IL_TRY(il_gguf_parse(&t->memory, path, map->data, map->bytes, &gguf, error));
    il_status status = il_gguf_tokenizer(&gguf, &file, json, error);
    t->file = (unsigned char *)file.text;
    t->file_bytes = file.bytes;
    il_gguf_close(&gguf);
    return status;
}

/* The file of a tokenizer into memory, *json: whether it is a tokenizer.json. */
static il_status read_file(il_tokenizer *t, const char *path, int *json, il_error *error) {
    il_map map;
    IL_TRY(il_map_open(path, &map, error));
    const char *ending = strrchr(path, '.');
    *json = (ending && strcmp(ending, ".json") == 0) || (map.bytes && map.data[0] == '{');
    il_status status = IL_OK;
    if (il_gguf_begins(map.data, map.bytes)) {
        status = read_gguf(t, path, &map, json, error);
    } else if (map.bytes > (*json ? IL_TOKENIZER_JSON_MAX : MODEL_BYTES_MAX)) {
        status = il_fail(error, IL_ERR_FORMAT, "%s: %zu bytes, more than the %s may have", path, map.bytes,
                         *json ? "256 MiB that a " JSON_NAME : "1 GiB that a SentencePiece model");
    } else if (!(t->file = il_alloc_raw(&t->memory, map.bytes, 1))) {
        status = il_fail(error, IL_ERR_NOMEM, "%s: no memory for %zu bytes", path, map.bytes);
    } else {
        memcpy(t->file, map.data, map.bytes);
        t->file_bytes = map.bytes;
    }
    if (status == IL_OK) hash_hex(t->file, t->file_bytes, t->fingerprint);
    il_map_close(&map);
    return status;
}

static il_status load_file(il_tokenizer *t, const char *path, il_error *error) {
    int json;
    IL_TRY(read_file(t, path, &json, error));
    if (json && il_picture_layout_is((const char *)t->file, t->file_bytes)) return load_pictures(t, path, error);
    return json ? load_json(t, path, error) : load_sentencepiece(t, path, error);
}

il_status il_tokenizer_load(il_engine *engine, const char *path, il_tokenizer **tokenizer, il_error *error) {
    *tokenizer = NULL;
    il_tokenizer *t = il_alloc(&engine->memory, 1, sizeof *t);
    if (!t) return il_fail(error, IL_ERR_NOMEM, "no memory for a tokenizer");
    t->memory = engine->memory;
    if (strcmp(path, "bytes") == 0) {
        t->info = (il_tokenizer_info){"bytes", IL_BYTES_VOCAB, IL_BYTES_BOS, IL_BYTES_EOS, -1};
        t->piece_bytes_max = PIECE_BYTES_MIN;
        hash_hex("bytes", 5, t->fingerprint);
    } else {
        il_status status = load_file(t, path, error);
        if (status != IL_OK) {
            il_tokenizer_close(t);
            return status;
        }
    }
    *tokenizer = t;
    return IL_OK;
}

static il_status make_pictures(il_tokenizer *t, const il_picture_layout *layout, il_error *error) {
    il_picture_layout finished = *layout;
    char *text;
    IL_TRY(il_picture_layout_finish("a layout of pictures", &finished, error));
    IL_TRY(il_picture_layout_text(&t->memory, &finished, &text, &t->file_bytes, error));
    t->file = (unsigned char *)text;
    hash_hex(t->file, t->file_bytes, t->fingerprint);
    return take_layout(t, &finished, error);
}

il_status il_tokenizer_open_pictures(il_engine *engine, const il_picture_layout *layout, il_tokenizer **tokenizer,
                                     il_error *error) {
    *tokenizer = NULL;
    il_tokenizer *t = il_alloc(&engine->memory, 1, sizeof *t);
    if (!t) return il_fail(error, IL_ERR_NOMEM, "no memory for a tokenizer");
    t->memory = engine->memory;
    il_status status = make_pictures(t, layout, error);
    if (status == IL_OK)
        *tokenizer = t;
    else
        il_tokenizer_close(t);
    return status;
}

const il_picture_layout *il_tokenizer_pictures(const il_tokenizer *t) { return t->pictures; }

static il_status is_there(il_engine *engine, const char *dir, const char *name, int *there, il_error *error) {
    *there = 0;
    char *path = il_path_join(&engine->memory, dir, name);
    if (!path) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for a path", dir);
    *there = il_path_exists(path);
    il_free(&engine->memory, path);
    return IL_OK;
}

/* Files that tell of a tokenizer which this library does not have. */
static il_status foreign_tokenizer(il_engine *engine, const char *dir, const char **found, il_error *error) {
    static const char *const names[] = {
        "vocab.json",         "merges.txt",           "vocab.txt", "spiece.model", "sentencepiece.bpe.model",
        "tokenizer.tiktoken", "tokenizer_config.json"};
    *found = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !*found; i++) {
        int there;
        IL_TRY(is_there(engine, dir, names[i], &there, error));
        if (there) *found = names[i];
    }
    return IL_OK;
}

/* The file of a model directory's tokenizer, or "bytes"; an error when it does not say what its texts are. */
static il_status choose(il_engine *engine, const char *dir, const il_config *config, const char **name,
                        il_error *error) {
    static const char *const names[] = {FILE_NAME, JSON_NAME, IL_PICTURE_LAYOUT_FILE};
    const char *foreign;
    int file = 0;
    for (int i = 0; i < 3 && !file; i++) {
        *name = names[i];
        IL_TRY(is_there(engine, dir, *name, &file, error));
    }
    if (file && config->bytes_tokenizer)
        return il_fail(error, IL_ERR_MISMATCH, "%s: %s is there, but config.json says tokenizer: bytes", dir, *name);
    if (file) return IL_OK;
    *name = "bytes";
    if (config->bytes_tokenizer) return IL_OK;
    IL_TRY(foreign_tokenizer(engine, dir, &foreign, error));
    if (!foreign && config->vocab_size == IL_BYTES_VOCAB) return IL_OK;
    return il_fail(error, IL_ERR_UNSUPPORTED,
                   "%s: %s%s; supported are " JSON_NAME ", SentencePiece, as " FILE_NAME
                   ", and bytes, where config.json says \"tokenizer\": \"bytes\"",
                   dir, foreign ? foreign : "no tokenizer",
                   foreign ? " is not a tokenizer that can be read"
                           : " is there, and its vocabulary is not that of bytes");
}

static il_status load_from(il_engine *engine, const char *dir, const il_config *config, il_tokenizer **t,
                           il_error *error) {
    const char *name;
    IL_TRY(choose(engine, dir, config, &name, error));
    char *path = il_path_join(&engine->memory, dir, name);
    if (!path) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for a path", dir);
    il_status status = il_tokenizer_load(engine, strcmp(name, "bytes") == 0 ? name : path, t, error);
    il_free(&engine->memory, path);
    return status;
}

/* A checkpoint that is a file has its tokenizer beside it. */
il_status il_tokenizer_load_for_model(il_engine *engine, const char *dir, const il_config *config,
                                      il_tokenizer **tokenizer, il_error *error) {
    il_tokenizer *t;
    il_status status;
    *tokenizer = NULL;
    if (il_gguf_is(dir)) {
        status = il_tokenizer_load(engine, dir, &t, error);
    } else {
        char *beside = il_path_is_file(dir) ? il_path_parent(&engine->memory, dir) : il_strdup(&engine->memory, dir);
        if (!beside) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for a path", dir);
        status = load_from(engine, beside, config, &t, error);
        il_free(&engine->memory, beside);
    }
    IL_TRY(status);
    if (t->info.vocab_size > config->vocab_size) {
        status = il_fail(error, IL_ERR_MISMATCH, "%s: the %s tokenizer has %d tokens, the model's vocabulary %d", dir,
                         t->info.kind, t->info.vocab_size, config->vocab_size);
        il_tokenizer_close(t);
        return status;
    }
    *tokenizer = t;
    return IL_OK;
}

void il_tokenizer_close(il_tokenizer *t) {
    if (!t) return;
    il_allocator memory = t->memory;
    il_sp_close(t->sp);
    il_sp_model_free(&memory, &t->model);
    if (t->pipeline) il_pipeline_free(t->pipeline);
    il_free(&memory, t->pipeline);
    il_free(&memory, t->pictures);
    il_free(&memory, t->file);
    il_free(&memory, t);
}

il_status il_tokenizer_save(const il_tokenizer *t, const char *dir, il_error *error) {
    if (!t->file) return IL_OK;
    char *path = il_path_join(&t->memory, dir,
                              t->pictures   ? IL_PICTURE_LAYOUT_FILE
                              : t->pipeline ? JSON_NAME
                                            : FILE_NAME);
    if (!path) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for a path", dir);
    il_status status = il_file_replace(&t->memory, path, t->file, t->file_bytes, error);
    il_free(&t->memory, path);
    return status;
}

void il_tokenizer_get_info(const il_tokenizer *t, il_tokenizer_info *info) { *info = t->info; }
void il_tokenizer_fingerprint(const il_tokenizer *t, char hex[33]) { memcpy(hex, t->fingerprint, 33); }
size_t il_tokenizer_piece_bytes_max(const il_tokenizer *t) { return t->piece_bytes_max; }

int il_tokenizer_bos(const il_tokenizer *t, const il_config *config) {
    int bos = t->info.bos < 0 && !t->pipeline ? config->bos_token : t->info.bos;
    return bos < config->vocab_size ? bos : -1;
}

const il_allocator *il_tokenizer_memory(const il_tokenizer *t) { return &t->memory; }

/* ---- what a token is ---- */

/* Where its content stands among the added tokens; NULL: it is none. */
static const char *added_name(const il_added *added, int32_t token, size_t *bytes) {
    for (size_t i = 0; i < added->n; i++) {
        if (added->tokens[i].id != token) continue;
        *bytes = added->tokens[i].bytes;
        return added->contents.text + added->tokens[i].at;
    }
    return NULL;
}

static il_token_kind kind_of_bpe(const il_pipeline *p, int32_t token, const char **name, size_t *bytes) {
    if (p->bpe.tokens[token].type == IL_BPE_NONE) return IL_TOKEN_NONE;
    if (p->bpe.tokens[token].type != IL_BPE_CONTROL) return IL_TOKEN_TEXT;
    *name = added_name(&p->raw, token, bytes);
    if (!*name) *name = added_name(&p->normalized, token, bytes);
    return IL_TOKEN_CONTROL;
}

/* NULL: a byte of a caption. */
static const char *picture_name(const il_picture_layout *l, int32_t token) {
    static const char *const names[] = {"<bos>", "<eos>", "<eoc>", "<frame>"};
    if (token >= il_picture_layout_bytes(l)) return NULL;
    if (token < l->levels) return "<pixel>";
    return token < l->levels + IL_PICTURE_ACTIONS ? names[token - l->levels] : "<action>";
}

il_token_kind il_tokenizer_token(const il_tokenizer *t, int32_t token, const char **name, size_t *bytes) {
    const char *named = NULL;
    size_t length = 0;
    il_token_kind kind = token < 0 || token >= t->info.vocab_size ? IL_TOKEN_NONE : IL_TOKEN_TEXT;
    if (kind == IL_TOKEN_TEXT && t->pictures) {
        named = picture_name(t->pictures, token);
        if (named) kind = IL_TOKEN_CONTROL;
        length = named ? strlen(named) : 0;
    } else if (kind == IL_TOKEN_TEXT && t->pipeline) {
        kind = kind_of_bpe(t->pipeline, token, &named, &length);
    } else if (kind == IL_TOKEN_TEXT && t->sp && t->model.pieces[token].type == IL_SP_CONTROL) {
        kind = IL_TOKEN_CONTROL;
        named = t->model.pieces[token].text;
        length = t->model.pieces[token].bytes;
    } else if (kind == IL_TOKEN_TEXT && !t->sp && token >= IL_BYTES_BOS) {
        kind = IL_TOKEN_CONTROL;
        named = token == IL_BYTES_BOS ? "<s>" : "</s>";
        length = strlen(named);
    }
    if (name) *name = named;
    if (bytes) *bytes = length;
    return kind;
}

/* ---- encode ---- */

int il_tokens_reserve(const il_allocator *allocator, il_tokens *tokens, size_t more) {
    if (!tokens->allocator.allocate) tokens->allocator = *allocator;
    if (more > SIZE_MAX - tokens->n) return 0;
    void *ids = tokens->ids;
    int grown = il_grow(&tokens->allocator, &ids, &tokens->capacity, tokens->n, tokens->n + more, sizeof *tokens->ids);
    tokens->ids = ids;
    return grown;
}

void il_tokens_free(il_tokens *tokens) {
    if (tokens->ids) il_free(&tokens->allocator, tokens->ids);
    *tokens = (il_tokens){0};
}

typedef struct sink {
    const il_allocator *memory;
    il_tokens *tokens;
} sink;

static int sink_put(void *context, const int *ids, size_t n) {
    sink *s = context;
    if (!il_tokens_reserve(s->memory, s->tokens, n)) return 0;
    for (size_t i = 0; i < n; i++) s->tokens->ids[s->tokens->n++] = ids[i];
    return 1;
}

static il_sp_result put_byte(const il_tokenizer *t, sink *s, char byte) {
    int id = t->model.byte_ids[(unsigned char)byte];
    return sink_put(s, id >= 0 ? &id : &t->info.unk, 1) ? IL_SP_OK : IL_SP_STOPPED;
}

/* Bytes at text that must not pass through the library: a broken byte, a U+2581, a space without a piece. 0:
 * none. */
static size_t detour(const il_tokenizer *t, const char *text, size_t bytes, size_t *length) {
    *length = (size_t)il_utf8_length(text, bytes);
    if (*length == 0) return 1;
    if (!t->model.byte_fallback) return 0;
    if (*length == 3 && memcmp(text, SPACE, 3) == 0) return 3;
    return *text == ' ' && t->model.space_id < 0;
}

/* The stretch of text from `at` on that the library gets in one call. */
static size_t stretch_end(const il_tokenizer *t, const char *text, size_t bytes, size_t at) {
    size_t end = at, length;
    while (end < bytes) {
        size_t done = end - at;
        int good_place = done && text[end] == ' ' && text[end - 1] != ' ';
        if ((done >= SPAN_SOFT && good_place) || done >= SPAN_HARD) break;
        if (detour(t, text + end, bytes - end, &length)) break;
        end += length;
    }
    return end;
}

static il_sp_result encode_stretch(const il_tokenizer *t, const char *text, size_t bytes, int prefix, sink *s) {
    if (t->model.by_words) return il_sp_encode_words(t->sp, text, bytes, prefix, t->model.apart, sink_put, s);
    return il_sp_encode(t->sp, text, bytes, prefix, sink_put, s);
}

/* Encodes from the beginning of text what does not depend on what follows it; all of it when it is whole. *taken: how
 * many bytes that was. */
static il_sp_result encode_plain(const il_tokenizer *t, const char *text, size_t bytes, int prefix, int whole,
                                 size_t *taken, sink *s) {
    const size_t least = whole ? 1 : SPAN_HARD + LOOK_AHEAD, least_detour = whole ? 1 : LOOK_AHEAD;
    il_sp_result result = IL_SP_OK;
    size_t at = 0;
    while (bytes - at >= least && result == IL_SP_OK) {
        size_t end = stretch_end(t, text, bytes, at), length;
        if (end > at || prefix) result = encode_stretch(t, text + at, end - at, prefix, s);
        prefix = 0;
        at = end;
        while (bytes - at >= least_detour && result == IL_SP_OK) {
            size_t around = detour(t, text + at, bytes - at, &length);
            if (around == 0) break;
            for (size_t i = 0; i < around && result == IL_SP_OK; i++) result = put_byte(t, s, text[at + i]);
            at += around;
        }
    }
    *taken = at;
    return result;
}

/* Whether a space stands before a text that begins here. */
static int has_prefix(const il_tokenizer *t) {
    if (t->model.space_id < 0 && t->model.byte_fallback) return 0;
    return t->model.add_dummy_prefix;
}

static il_sp_result encode_bpe(const il_tokenizer *t, const char *text, size_t bytes, int special, int begins,
                               int whole, size_t *taken, sink *s) {
    if (!whole) bytes = bytes < SPAN_HARD ? 0 : il_pipeline_cut(t->pipeline, text, bytes);
    *taken = bytes;
    return il_pipeline_encode(t->pipeline, text, bytes, special, begins, s->tokens) ? IL_SP_OK : IL_SP_NOMEM;
}

static il_status check_text(const il_tokenizer *t, il_error *error) {
    if (!t->pictures) return IL_OK;
    return il_fail(error, IL_ERR_UNSUPPORTED, "a tokenizer of pictures has no tokens for text");
}

/* *taken: how many bytes at the beginning were encoded, all of them when text is whole. */
static il_sp_result encode_some(const il_tokenizer *t, const char *text, size_t bytes, int begins, int whole,
                                size_t *taken, sink *s) {
    *taken = bytes;
    if (t->pipeline) return encode_bpe(t, text, bytes, 0, begins, whole, taken, s);
    if (!t->sp) {
        if (!il_tokens_reserve(&t->memory, s->tokens, bytes)) return IL_SP_NOMEM;
        for (size_t i = 0; i < bytes; i++) s->tokens->ids[s->tokens->n++] = (unsigned char)text[i];
        return IL_SP_OK;
    }
    if (t->plain) return encode_plain(t, text, bytes, begins && has_prefix(t), whole, taken, s);
    if (!whole) *taken = 0; /* it may rewrite anything */
    return whole && bytes ? il_sp_encode(t->sp, text, bytes, 0, sink_put, s) : IL_SP_OK;
}

static il_status encoded(il_sp_result result, size_t bytes, il_error *error) {
    if (result == IL_SP_OK) return IL_OK;
    if (result == IL_SP_FAILED) return il_fail(error, IL_ERR_FORMAT, "the tokenizer's model cannot encode this text");
    return il_fail(error, IL_ERR_NOMEM, "no memory for the tokens of %zu bytes of text", bytes);
}

il_status il_tokenizer_encode_as(const il_tokenizer *t, unsigned how, const char *text, size_t bytes, il_tokens *tokens,
                                 il_error *error) {
    size_t before = tokens->n, taken;
    sink s = {&t->memory, tokens};
    int bos = t->info.bos, eos = t->pipeline ? t->info.eos : -1, special = (how & IL_ENCODE_SPECIAL) != 0;
    il_sp_result result = IL_SP_OK;
    if (how & ~(unsigned)(IL_ENCODE_SPECIAL | IL_ENCODE_TEMPLATE))
        return il_fail(error, IL_ERR_ARG, "%u is no way to encode a text", how);
    IL_TRY(check_text(t, error));
    if (how & IL_ENCODE_TEMPLATE && bos >= 0 && !sink_put(&s, &bos, 1)) result = IL_SP_NOMEM;
    if (result == IL_SP_OK)
        result = t->pipeline ? encode_bpe(t, text, bytes, special, 1, 1, &taken, &s)
                             : encode_some(t, text, bytes, 1, 1, &taken, &s);
    if (result == IL_SP_OK && how & IL_ENCODE_TEMPLATE && eos >= 0 && !sink_put(&s, &eos, 1)) result = IL_SP_NOMEM;
    if (result != IL_SP_OK) tokens->n = before;
    return encoded(result, bytes, error);
}

il_status il_tokenizer_encode(const il_tokenizer *t, const char *text, size_t bytes, il_tokens *tokens,
                              il_error *error) {
    return il_tokenizer_encode_as(t, 0, text, bytes, tokens, error);
}

il_status il_tokenizer_special(const il_tokenizer *t, const char *content, size_t bytes, int *id, il_error *error) {
    il_tokens tokens = {0};
    *id = -1;
    if (!t->pipeline) return IL_OK;
    il_status status = il_tokenizer_encode_as(t, IL_ENCODE_SPECIAL, content, bytes, &tokens, error);
    if (status == IL_OK && tokens.n == 1) *id = tokens.ids[0];
    il_tokens_free(&tokens);
    return status;
}

/* ---- a text in parts ---- */

static il_status take_held(il_encoding *e, int whole, il_tokens *tokens, il_error *error) {
    sink s = {&e->tokenizer->memory, tokens};
    size_t taken;
    il_sp_result result = encode_some(e->tokenizer, e->held, e->n, !e->begun, whole, &taken, &s);
    if (result != IL_SP_OK) return encoded(result, e->n, error);
    /* A text that cannot be cut is not searched through again for every part of it. */
    e->least = e->tokenizer->pipeline && !taken && e->n >= SPAN_HARD ? 2 * e->n : 0;
    e->begun |= taken > 0;
    memmove(e->held, e->held + taken, e->n - taken);
    e->n -= taken;
    return IL_OK;
}

il_status il_encoding_add(il_encoding *e, const char *text, size_t bytes, il_tokens *tokens, il_error *error) {
    void *held = e->held;
    IL_TRY(check_text(e->tokenizer, error));
    int grown = il_grow(&e->tokenizer->memory, &held, &e->capacity, e->n, e->n + bytes, 1);
    e->held = held;
    if (!grown) return il_fail(error, IL_ERR_NOMEM, "no memory for %zu bytes of text", e->n + bytes);
    if (bytes) memcpy(e->held + e->n, text, bytes);
    e->n += bytes;
    return e->n > e->least ? take_held(e, 0, tokens, error) : IL_OK;
}

il_status il_encoding_end(il_encoding *e, il_tokens *tokens, il_error *error) {
    il_status status = e->n ? take_held(e, 1, tokens, error) : IL_OK;
    e->n = e->least = 0;
    e->begun = 0;
    return status;
}

void il_encoding_free(il_encoding *e) {
    il_free(&e->tokenizer->memory, e->held);
    *e = (il_encoding){.tokenizer = e->tokenizer};
}

/* ---- a text in spans ---- */

/* The stretches that encode_plain would make at the beginning of a longer text, some of them. */
static size_t cut_plain(const il_tokenizer *t, const char *text, size_t bytes) {
    size_t at = 0, length;
    while (at < SPAN_SOFT && bytes - at >= SPAN_HARD + LOOK_AHEAD) {
        at = stretch_end(t, text, bytes, at);
        while (bytes - at >= LOOK_AHEAD) {
            size_t around = detour(t, text + at, bytes - at, &length);
            if (around == 0) break;
            at += around;
        }
    }
    return at;
}

size_t il_tokenizer_cut(const il_tokenizer *t, const char *text, size_t bytes) {
    size_t cut = 0;
    if (!t->pipeline && !t->sp) return bytes < SPAN_SOFT ? 0 : SPAN_SOFT;
    if (!t->pipeline) return t->plain ? cut_plain(t, text, bytes) : 0; /* it may rewrite anything */
    for (size_t n = SPAN_SOFT; n <= bytes && cut == 0; n *= 2) cut = il_pipeline_cut(t->pipeline, text, n);
    return cut;
}

il_status il_tokenizer_encode_span(const il_tokenizer *t, const char *text, size_t bytes, int begins, il_tokens *tokens,
                                   il_error *error) {
    sink s = {&t->memory, tokens};
    size_t taken;
    IL_TRY(check_text(t, error));
    return bytes ? encoded(encode_some(t, text, bytes, begins, 1, &taken, &s), bytes, error) : IL_OK;
}

/* ---- decode ---- */

typedef struct out {
    char *text;
    size_t bytes;
} out;

static void put(out *o, const char *text, size_t bytes) {
    memcpy(o->text + o->bytes, text, bytes);
    o->bytes += bytes;
}

/* Writes the characters that pending holds complete, and U+FFFD for each byte that cannot begin one; with
 * `all` also for an unfinished one. together: U+FFFD stands for all bytes that could have become one character. */
static void settle(il_decoder *d, out *o, int all, int together) {
    size_t at = 0, n = (size_t)d->n_pending;
    const char *pending = (const char *)d->pending;
    while (at < n) {
        size_t length = (size_t)il_utf8_length(pending + at, n - at);
        if (length) {
            put(o, pending + at, length);
        } else if (!all && il_utf8_unfinished(pending + at, n - at)) {
            break;
        } else {
            put(o, IL_UTF8_REPLACEMENT, 3);
            length = 1;
            while (together && at + length < n && il_utf8_unfinished(pending + at, length + 1)) length++;
        }
        at += length;
    }
    memmove(d->pending, d->pending + at, n - at);
    d->n_pending = (int)(n - at);
}

static void decode_byte(il_decoder *d, out *o, unsigned char byte, int exact, int together) {
    if (exact) {
        put(o, (const char *)&byte, 1);
        return;
    }
    d->pending[d->n_pending++] = byte; /* 3 at most are ever left unfinished */
    settle(d, o, 0, together);
}

/* Text in which U+2581 is a space. */
static void put_marked(out *o, const char *text, size_t bytes) {
    while (bytes) {
        int space = bytes >= 3 && memcmp(text, SPACE, 3) == 0;
        size_t step = space ? 3 : 1;
        if (space)
            put(o, " ", 1);
        else
            put(o, text, 1);
        text += step, bytes -= step;
    }
}

/* A piece's text; the space that add_dummy_prefix put before the whole text is taken away. */
static void decode_piece(const il_tokenizer *t, il_decoder *d, out *o, const il_sp_piece *piece) {
    const char *text = piece->text;
    size_t bytes = piece->bytes;
    if (!d->started && (t->model.add_dummy_prefix || t->model.remove_extra_whitespaces) && bytes >= 3 &&
        memcmp(text, SPACE, 3) == 0) {
        text += 3, bytes -= 3;
        if (!t->model.remove_extra_whitespaces) d->started = 1;
    }
    put_marked(o, text, bytes);
}

static void decode_sentencepiece(const il_tokenizer *t, il_decoder *d, out *o, int32_t token, int exact) {
    const il_sp_piece *piece = &t->model.pieces[token];
    if (piece->type == IL_SP_BYTE) {
        decode_byte(d, o, piece->value, exact, 0);
        return;
    }
    settle(d, o, 1, 0);
    if (o->bytes) d->started = 1;
    if (piece->type == IL_SP_UNKNOWN)
        put(o, t->model.unk_surface, t->model.unk_surface_bytes);
    else if (piece->type != IL_SP_CONTROL)
        decode_piece(t, d, o, piece);
}

static void decode_bpe(const il_pipeline *p, il_decoder *d, out *o, int32_t token, int exact) {
    const il_bpe_token *t = &p->bpe.tokens[token];
    const char *text = il_bpe_text(&p->bpe, token);
    if (t->type == IL_BPE_BYTE) {
        decode_byte(d, o, t->value, exact, 0);
    } else if (t->type == IL_BPE_CONTROL || t->type == IL_BPE_NONE) {
        settle(d, o, 1, !p->bpe.by_characters);
    } else if (p->bpe.by_characters) {
        settle(d, o, 1, 0);
        put_marked(o, text, t->bytes);
    } else {
        for (size_t i = 0; i < t->bytes; i++) decode_byte(d, o, (unsigned char)text[i], exact, 1);
    }
    if (p->strips_space && !d->started && o->bytes && o->text[0] == ' ') {
        memmove(o->text, o->text + 1, --o->bytes);
        d->started = 1;
    }
}

/* The text of a picture is its caption. */
static void decode_caption(const il_picture_layout *l, il_decoder *d, out *o, int32_t token, int exact) {
    if (token >= il_picture_layout_bytes(l))
        decode_byte(d, o, (unsigned char)(token - il_picture_layout_bytes(l)), exact, 0);
    else
        settle(d, o, 1, 0);
}

il_status il_tokenizer_decode(const il_tokenizer *t, il_decoder *d, int32_t token, char *text, size_t capacity,
                              size_t *bytes, il_error *error) {
    out o = {text, 0};
    *bytes = 0;
    if (capacity < t->piece_bytes_max)
        return il_fail(error, IL_ERR_ARG, "room for %zu bytes of text, a piece may need %zu", capacity,
                       t->piece_bytes_max);
    if (token < -1 || token >= t->info.vocab_size)
        return il_fail(error, IL_ERR_ARG, "token %d is outside the tokenizer's vocabulary of %d", token,
                       t->info.vocab_size);
    if (d->n_pending < 0 || d->n_pending > 3) return il_fail(error, IL_ERR_ARG, "the decoder was not initialised");

    int exact = d->form == IL_DECODE_EXACT || (d->form == IL_DECODE_USUAL && !t->file);
    if (token < 0)
        settle(d, &o, 1, t->pipeline && !t->pipeline->bpe.by_characters);
    else if (t->pictures)
        decode_caption(t->pictures, d, &o, token, exact);
    else if (t->pipeline)
        decode_bpe(t->pipeline, d, &o, token, exact);
    else if (t->sp)
        decode_sentencepiece(t, d, &o, token, exact);
    else if (token < 256)
        decode_byte(d, &o, (unsigned char)token, exact, 0);
    else
        settle(d, &o, 1, 0);
    if (o.bytes) d->started = 1;
    *bytes = o.bytes;
    return IL_OK;
}
