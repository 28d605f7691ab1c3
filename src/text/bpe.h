/* bpe.h: a vocabulary and its merges, and what they make of one word. Knows nothing of files, of words in a text or of
 * special tokens. Bounded: tokens and merges have a most, ids are below IL_BPE_VOCAB_MAX, and a word of n bytes costs
 * O(n log n), whatever the merges are: each makes one symbol of two. */
#ifndef IL_TEXT_BPE_H
#define IL_TEXT_BPE_H

#include "innerloop.h"

enum { IL_BPE_VOCAB_MAX = 1 << 22, IL_BPE_MERGES_MAX = 1 << 23 };

typedef enum il_bpe_type {
    IL_BPE_NONE, /* an id that no token has */
    IL_BPE_TEXT,
    IL_BPE_BYTE,    /* <0xXX>, which stands for characters that the vocabulary lacks */
    IL_BPE_CONTROL, /* has no text of its own */
    IL_BPE_LITERAL  /* text that no word is made of */
} il_bpe_type;

typedef struct il_bpe_token {
    uint32_t at, bytes;  /* its text in il_bpe.text */
    unsigned char type;  /* il_bpe_type */
    unsigned char value; /* of a byte */
} il_bpe_token;

typedef struct il_bpe_merge { /* rank UINT32_MAX: none */
    uint32_t left, right, rank, id;
} il_bpe_merge;

typedef struct il_bpe {
    const il_allocator *memory;
    char *text; /* [text_bytes] of all tokens */
    size_t text_bytes, text_capacity;
    il_bpe_token *tokens; /* [n] by id */
    size_t n, capacity;
    uint32_t *slots;       /* [slots_n], a power of two, at most half of them taken: id + 1 by text; 0: none */
    size_t slots_n, named; /* named: tokens that are in there */
    il_bpe_merge *merges;  /* [merges_n], the same by pair */
    size_t merges_n, pairs;
    /* What a word begins as: bytes, or characters with <0xXX> for those that are no token. */
    int by_characters;
    int byte_ids[256]; /* -1: none */
    int unk, fuse_unk; /* what a byte without a token becomes, -1: nothing; a run of them one */
    int ignore_merges; /* a word that is a token is that token */
} il_bpe;

void il_bpe_begin(const il_allocator *memory, il_bpe *bpe);
void il_bpe_free(il_bpe *bpe);
/* The id of a token, by what words are made of; -1: none. */
int il_bpe_find(const il_bpe *bpe, const char *text, size_t bytes);
/* Adds a token. Id must be < IL_BPE_VOCAB_MAX and free, and with IL_BPE_TEXT and IL_BPE_BYTE the text a new one. 0 when
 * memory is short. */
int il_bpe_add(il_bpe *bpe, uint32_t id, il_bpe_type type, const char *text, size_t bytes);
/* Adds a merge; that of the same pair before gives way. 0 when memory is short. */
int il_bpe_merge_add(il_bpe *bpe, uint32_t left, uint32_t right, uint32_t rank, uint32_t id);
const il_bpe_merge *il_bpe_merge_find(const il_bpe *bpe, uint32_t left, uint32_t right);
static inline const char *il_bpe_text(const il_bpe *bpe, int id) { return bpe->text + bpe->tokens[id].at; }

/* Memory for words, kept from one to the next; zeroed at first. */
typedef struct il_bpe_scratch {
    uint32_t *ids; /* [n] the last word's tokens */
    size_t n, ids_capacity;
    void *links, *heap; /* of a long word */
    size_t links_capacity, heap_capacity;
} il_bpe_scratch;
/* A word's tokens, in scratch->ids. 0 when memory is short. */
int il_bpe_word(const il_bpe *bpe, il_bpe_scratch *scratch, const char *word, size_t bytes);
void il_bpe_scratch_free(const il_allocator *memory, il_bpe_scratch *scratch);

#endif
