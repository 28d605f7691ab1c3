/* pretokenize.c: see pretokenize.h. Above each matcher stand the alternatives of its expression that it tries, in their
 * order. A broken byte is no letter, number or space, so it goes with punctuation. */
#include "text/pretokenize.h"

#include "text/unicode.h"

#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define SPACES "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LETTERS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define OTHERS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char llama3[] = CONTRACTIONS LETTERS "\\p{N}{1,3}" OTHERS SPACES;
static const char qwen2[] = CONTRACTIONS LETTERS "\\p{N}" OTHERS SPACES;
static const char qwen35[] =
    CONTRACTIONS "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" SPACES;

static const char *const known[] = {gpt2, llama3, qwen2, qwen35}; /* in the order of il_pattern */

const char *il_pattern_text(il_pattern pattern) { return pattern <= IL_PATTERN_QWEN35 ? known[pattern] : NULL; }

int il_pattern_find(const char *regex, size_t bytes, il_pattern *pattern) {
    for (int i = 0; i < 4; i++) {
        if (strlen(known[i]) != bytes || memcmp(known[i], regex, bytes) != 0) continue;
        *pattern = (il_pattern)i;
        return 1;
    }
    return 0;
}

/* The end of the run of characters from `at` on whose class has one of the bits in `in`; most of them at most. */
static size_t run(const char *text, size_t bytes, size_t at, unsigned in, size_t most) {
    for (size_t length; at < bytes && most; at += length, most--)
        if (!(il_unicode_next(text + at, bytes - at, &length) & in)) break;
    return at;
}

/* Of characters that have none of them. */
static size_t run_without(const char *text, size_t bytes, size_t at, unsigned out) {
    for (size_t length; at < bytes; at += length)
        if (il_unicode_next(text + at, bytes - at, &length) & out) break;
    return at;
}

/* 's|'t|'re|'ve|'m|'ll|'d at an apostrophe, in any case or in small letters only; 0: none. U+017F is an s in any
 * case. */
static size_t contraction(const char *text, size_t bytes, size_t at, int any_case) {
    unsigned char a = at + 1 < bytes ? (unsigned char)text[at + 1] : 0;
    unsigned char b = at + 2 < bytes ? (unsigned char)text[at + 2] : 0;
    if (any_case && a == 0xC5 && b == 0xBF) return at + 3;
    if (any_case && a >= 'A' && a <= 'Z') a |= 32;
    if (any_case && b >= 'A' && b <= 'Z') b |= 32;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return at + 3;
    return 0;
}

/* \s+(?!\S)|\s+ at a space. */
static size_t spaces(const char *text, size_t bytes, size_t at) {
    size_t end = run(text, bytes, at, IL_SPACE, SIZE_MAX), length;
    if (end == bytes) return end;
    il_unicode_last(text + at, end - at, &length);
    return end - length > at ? end - length : end; /* the last goes with what follows, unless it is the only one */
}

/* \s*[\r\n]+ and then as above. */
static size_t lines_or_spaces(const char *text, size_t bytes, size_t at) {
    size_t end = run(text, bytes, at, IL_SPACE, SIZE_MAX);
    for (size_t to = end; to > at; to--)
        if (text[to - 1] == '\n' || text[to - 1] == '\r') return to;
    return spaces(text, bytes, at);
}

/* ' ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+ */
static size_t gpt2_end(const char *text, size_t bytes, size_t at) {
    static const unsigned kinds = IL_LETTER | IL_NUMBER | IL_SPACE;
    size_t length, end = text[at] == '\'' ? contraction(text, bytes, at, 0) : 0;
    size_t begins = at + (text[at] == ' ' && at + 1 < bytes);
    if (end) return end;
    unsigned class = il_unicode_next(text + begins, bytes - begins, &length) & kinds;
    if (class & IL_SPACE) return spaces(text, bytes, at);
    if (class) return run(text, bytes, begins, class, SIZE_MAX);
    return run_without(text, bytes, begins, kinds);
}

/* [^\r\n\p{L}\p{N}]?LETTERS+|\p{N}{1,most}| ?[^\s\p{N}LETTERS]+[\r\n]* */
static size_t llama_end(const char *text, size_t bytes, size_t at, unsigned letters, size_t most) {
    char c = text[at];
    size_t length, end = c == '\'' ? contraction(text, bytes, at, 1) : 0;
    if (end) return end;
    unsigned class = il_unicode_next(text + at, bytes - at, &length);
    if (class & letters) return run(text, bytes, at, letters, SIZE_MAX);
    if (class & IL_NUMBER) return run(text, bytes, at, IL_NUMBER, most);
    size_t behind = at + length;
    unsigned follows = behind < bytes ? il_unicode_next(text + behind, bytes - behind, &length) : IL_SPACE;
    if (c != '\r' && c != '\n' && follows & letters) return run(text, bytes, behind, letters, SIZE_MAX);
    if (class & IL_SPACE) {
        if (c != ' ' || follows & (IL_SPACE | IL_NUMBER)) return lines_or_spaces(text, bytes, at);
        at = behind;
    }
    end = run_without(text, bytes, at, IL_SPACE | IL_NUMBER | letters);
    while (end < bytes && (text[end] == '\r' || text[end] == '\n')) end++;
    return end;
}

static int is_mark(const char *text, size_t bytes) { return bytes >= 3 && memcmp(text, "\xE2\x96\x81", 3) == 0; }

static size_t marked_end(const char *text, size_t bytes, size_t at, int runs) {
    while (runs && is_mark(text + at, bytes - at)) at += 3;
    for (at += at < bytes; at < bytes && !is_mark(text + at, bytes - at); at++) continue;
    return at;
}

size_t il_pattern_end(il_pattern pattern, const char *text, size_t bytes, size_t at) {
    size_t length;
    switch (pattern) {
    case IL_PATTERN_GPT2: return gpt2_end(text, bytes, at);
    case IL_PATTERN_LLAMA3: return llama_end(text, bytes, at, IL_LETTER, 3);
    case IL_PATTERN_QWEN2: return llama_end(text, bytes, at, IL_LETTER, 1);
    case IL_PATTERN_QWEN35: return llama_end(text, bytes, at, IL_LETTER | IL_MARK, 1);
    case IL_PATTERN_MARK: return marked_end(text, bytes, at, 0);
    case IL_PATTERN_MARKS: return marked_end(text, bytes, at, 1);
    default: break;
    }
    if (il_unicode_next(text + at, bytes - at, &length) & IL_NUMERIC)
        return run(text, bytes, at, IL_NUMERIC, pattern == IL_PATTERN_DIGIT ? 1 : SIZE_MAX);
    return run_without(text, bytes, at, IL_NUMERIC);
}

/* No word goes on from a letter to a space, and none looks back. Behind the last line end of a run one ends too, where
 * the pattern has [\r\n]+. */
int il_pattern_may_cut(il_pattern pattern, const char *text, size_t bytes, size_t at) {
    int marks = pattern == IL_PATTERN_MARK || pattern == IL_PATTERN_MARKS, c = text[at];
    int lines = pattern == IL_PATTERN_LLAMA3 || pattern == IL_PATTERN_QWEN2 || pattern == IL_PATTERN_QWEN35;
    int space = c == ' ' || (marks ? is_mark(text + at, bytes - at) : c == '\n');
    int line = lines && text[at - 1] == '\n';
    if (!space && !line) return 0;
    size_t length;
    unsigned before = il_unicode_last(text, at, &length), here = il_unicode_next(text + at, bytes - at, &length);
    if ((before | here) & IL_UNSTABLE) return 0;
    return (space && before & IL_LETTER) || (line && here && !(here & IL_SPACE));
}
