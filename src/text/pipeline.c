/* pipeline.c: see pipeline.h. The order and the corner cases are those of Hugging Face's tokenizers. */
#include "text/pipeline.h"

#include "base/memory.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <string.h>

#define MARK "\xE2\x96\x81"

typedef struct encoder {
    const il_pipeline *p;
    il_tokens *tokens;
    il_bpe_scratch words;
    il_text_buffer normal, marked;
    int special, begins;
} encoder;

void il_pipeline_begin(const il_allocator *memory, il_pipeline *p) {
    *p = (il_pipeline){.memory = memory, .cuttable = 1, .bos = -1, .eos = -1};
    il_bpe_begin(memory, &p->bpe);
}

void il_pipeline_free(il_pipeline *p) {
    if (!p->memory) return;
    il_added_free(p->memory, &p->raw);
    il_added_free(p->memory, &p->normalized);
    il_bpe_free(&p->bpe);
    *p = (il_pipeline){0};
}

/* ---- words ---- */

static int put(encoder *e, const uint32_t *ids, size_t n) {
    if (!il_tokens_reserve(e->p->memory, e->tokens, n)) return 0;
    for (size_t i = 0; i < n; i++) e->tokens->ids[e->tokens->n++] = (int32_t)ids[i];
    return 1;
}

static int words(encoder *e, const char *text, size_t bytes, int level) {
    if (level == e->p->n_patterns) {
        if (bytes == 0) return 1;
        return il_bpe_word(&e->p->bpe, &e->words, text, bytes) && put(e, e->words.ids, e->words.n);
    }
    for (size_t at = 0, end; at < bytes; at = end) {
        end = il_pattern_end(e->p->patterns[level], text, bytes, at);
        if (!words(e, text + at, end - at, level + 1)) return 0;
    }
    return 1;
}

/* Appends text, its spaces as U+2581. */
static int append_marked(const il_allocator *memory, il_text_buffer *to, const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        const char *space = memchr(text + at, ' ', bytes - at);
        size_t end = space ? (size_t)(space - text) : bytes;
        if (!il_text_append(memory, to, text + at, end - at)) return 0;
        if (space && !il_text_append(memory, to, MARK, 3)) return 0;
        at = end + (space != NULL);
    }
    return 1;
}

static int starts_with(const char *text, size_t bytes, const char *what) {
    size_t n = strlen(what);
    return bytes >= n && memcmp(text, what, n) == 0;
}

/* Normalized text between added tokens; first: it begins the whole text. */
static int pre_tokenize(encoder *e, const char *text, size_t bytes, int first) {
    const il_pipeline *p = e->p;
    int prefix = (p->prefix == IL_PREFIX_ALWAYS && (!first || e->begins)) ||
                 (p->prefix == IL_PREFIX_FIRST && first && e->begins);
    int spaced = starts_with(text, bytes, " ") || (p->mark_later && starts_with(text, bytes, MARK));
    if (spaced || bytes == 0) prefix = 0;
    if (!prefix && !p->mark_later) return words(e, text, bytes, 0);
    e->marked.bytes = 0;
    if (prefix && !il_text_append(p->memory, &e->marked, p->mark_later ? MARK : " ", p->mark_later ? 3 : 1)) return 0;
    int done = p->mark_later ? append_marked(p->memory, &e->marked, text, bytes)
                             : il_text_append(p->memory, &e->marked, text, bytes);
    return done && words(e, e->marked.text, e->marked.bytes, 0);
}

/* ---- added tokens ---- */

typedef int take_text(encoder *e, const char *text, size_t bytes, int first);

static int stands_alone(const char *text, size_t bytes, size_t begins, size_t ends) {
    size_t length;
    return !(begins > 0 && il_unicode_last(text, begins, &length) & IL_WORD) &&
           !(ends < bytes && il_unicode_next(text + ends, bytes - ends, &length) & IL_WORD);
}

/* The next added token from *at on, behind which *at is then. NULL: none. */
static const il_added_token *find(const il_added *added, const char *text, size_t bytes, size_t *at) {
    for (; *at < bytes; ++*at) {
        if (!added->first[(unsigned char)text[*at]]) continue;
        const il_added_token *token = il_added_match(added, text + *at, bytes - *at);
        if (!token) continue;
        *at += token->bytes;
        return token;
    }
    return NULL;
}

static int cut_out(encoder *e, const il_added *added, const char *text, size_t bytes, int first, take_text *rest) {
    const il_added_token *token;
    size_t done = 0, at = 0;
    while (added->n && (token = find(added, text, bytes, &at))) {
        size_t begins = at - token->bytes, ends = at;
        if (token->special && !e->special) continue;
        if (token->single_word && !stands_alone(text, bytes, begins, ends)) continue;
        if (token->lstrip) {
            begins -= il_added_spaces_before(text, begins);
            if (begins < done) begins = done;
        }
        if (token->rstrip) ends += il_added_spaces_behind(text + ends, bytes - ends);
        if (done < begins && !rest(e, text + done, begins - done, first && done == 0)) return 0;
        uint32_t id = (uint32_t)token->id;
        if (!put(e, &id, 1)) return 0;
        done = ends;
    }
    return done == bytes || rest(e, text + done, bytes - done, first && done == 0);
}

/* ---- the whole ---- */

/* Text as the normalizer makes it, in `to`. */
static int normalized(const il_pipeline *p, const char *text, size_t bytes, int prepend, il_text_buffer *to) {
    to->bytes = 0;
    if (prepend && !il_text_append(p->memory, to, MARK, 3)) return 0;
    if (p->nfc) return il_nfc(p->memory, text, bytes, to);
    if (p->marks_spaces) return append_marked(p->memory, to, text, bytes);
    return il_text_append(p->memory, to, text, bytes);
}

static int take_raw(encoder *e, const char *text, size_t bytes, int first) {
    const il_pipeline *p = e->p;
    if (p->prepend || p->marks_spaces || (p->nfc && !il_nfc_is(text, bytes))) {
        if (!normalized(p, text, bytes, p->prepend && (!first || e->begins), &e->normal)) return 0;
        text = e->normal.text;
        bytes = e->normal.bytes;
    }
    return cut_out(e, &p->normalized, text, bytes, first, pre_tokenize);
}

int il_pipeline_add_normalized(il_pipeline *p, const char *content, size_t bytes, il_added_token token) {
    il_text_buffer buffer = {0};
    if (token.lstrip || token.rstrip || token.single_word) p->cuttable = 0;
    for (size_t at = 0, length; at < bytes; at += length) {
        if (il_unicode_next(content + at, bytes - at, &length) & IL_SPACE) p->cuttable = 0;
        if (starts_with(content + at, bytes - at, MARK)) p->cuttable = 0;
    }
    int done = normalized(p, content, bytes, p->prepend, &buffer) &&
               il_added_add(p->memory, &p->normalized, buffer.text, buffer.bytes, token);
    il_free(p->memory, buffer.text);
    return done;
}

/* Whether no merge joins U+2581 to what stands before it, but for more of the same. */
static int words_apart(const il_bpe *bpe) {
    for (size_t i = 0; i < bpe->merges_n; i++) {
        if (bpe->merges[i].rank == UINT32_MAX) continue;
        const il_bpe_token *token = &bpe->tokens[bpe->merges[i].id];
        const char *text = bpe->text + token->at;
        if (il_pattern_end(IL_PATTERN_MARKS, text, token->bytes, 0) < token->bytes) return 0;
    }
    return 1;
}

void il_pipeline_finish(il_pipeline *p) {
    if (p->bpe.by_characters && !p->n_patterns && words_apart(&p->bpe)) p->patterns[p->n_patterns++] = IL_PATTERN_MARKS;
    il_pattern last = p->n_patterns ? p->patterns[p->n_patterns - 1] : IL_PATTERN_DIGIT;
    if (last == IL_PATTERN_DIGIT || last == IL_PATTERN_DIGITS) p->cuttable = 0; /* they say nothing of letters */
}

int il_pipeline_encode(const il_pipeline *p, const char *text, size_t bytes, int special, int begins,
                       il_tokens *tokens) {
    encoder e = {.p = p, .tokens = tokens, .special = special, .begins = begins};
    int done = cut_out(&e, &p->raw, text, bytes, 1, take_raw);
    il_bpe_scratch_free(p->memory, &e.words);
    il_free(p->memory, e.normal.text);
    il_free(p->memory, e.marked.text);
    return done;
}

size_t il_pipeline_cut(const il_pipeline *p, const char *text, size_t bytes) {
    size_t best = 0, end = bytes > p->raw.longest + 4 ? bytes - p->raw.longest - 4 : 0;
    size_t blocked = 0; /* the place behind the last added token */
    if (!p->cuttable) return 0;
    for (size_t at = 1; at < end; at++) {
        const il_added_token *token =
            p->raw.first[(unsigned char)text[at]] ? il_added_match(&p->raw, text + at, bytes - at) : NULL;
        if (token) {
            blocked = at + token->bytes;
            at = blocked - 1;
        } else if (at > blocked && il_pattern_may_cut(p->patterns[p->n_patterns - 1], text, bytes, at)) {
            best = at;
        }
    }
    return best;
}
