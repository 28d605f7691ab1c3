/* chat_template.c: see chat_template.h. */
#include "text/chat_template.h"

#include <string.h>

#define SYSTEM "<|im_start|>system"
#define END "<|im_end|>"

/* The place of a word at or behind `at`; NULL: nowhere. */
static const char *find(const char *at, const char *end, const char *word) {
    return at < end ? memmem(at, (size_t)(end - at), word, strlen(word)) : NULL;
}

static int has(const char *text, size_t bytes, const char *word) { return find(text, text + bytes, word) != NULL; }

/* The character that text at *at stands for in a quoted string of the template, which moves on behind it; -1 where the
 * string ends, -2 for an escape that is not known. */
static int next_character(const char **at, const char *end, char quote) {
    static const char from[] = "ntr\\'\"", to[] = "\n\t\r\\'\"";
    if (*at == end || (quote && **at == quote)) return -1;
    char c = *(*at)++;
    if (c != '\\' || !quote) return (unsigned char)c;
    if (*at == end) return -2;
    const char *known = **at ? memchr(from, **at, sizeof from - 1) : NULL;
    if (!known) return -2;
    ++*at;
    return (unsigned char)to[known - from];
}

/* The quote of the string that holds the place `at`: that which opens before it in the same line; 0: none. Enough for
 * '…<|im_start|>system\n…', where the word stands at the beginning of its string or behind text without quotes. */
static char quote_before(const char *text, const char *at) {
    while (at > text && at[-1] != '\n') {
        at--;
        if (*at == '\'' || *at == '"') return *at;
        if (*at == '}' || *at == '%') return 0; /* an expression ends there: this is text outside of any */
    }
    return 0;
}

/* The message at `at`, behind SYSTEM, if all of it up to END stands in one string: its bytes, 0: no. */
static size_t literal_system(const char *at, const char *end, char quote, char out[IL_CHAT_SYSTEM_MAX + 1]) {
    static const char last[] = END;
    const size_t n_last = sizeof last - 1;
    size_t n = 0;
    if (next_character(&at, end, quote) != '\n') return 0;
    for (;;) {
        int c = next_character(&at, end, quote);
        /* text outside of expressions must not be one that an expression completes */
        if (c <= 0 || n == IL_CHAT_SYSTEM_MAX || (!quote && (c == '{' || c == '}'))) return 0;
        out[n++] = (char)c;
        if (n > n_last && memcmp(out + n - n_last, last, n_last) == 0) {
            n -= n_last;
            break;
        }
    }
    out[n] = 0;
    return n;
}

/* The system message that stands whole in the template, if it is one and the same wherever one does. */
static void read_system(const char *text, size_t bytes, il_chat_template *found) {
    const char *end = text + bytes;
    char other[IL_CHAT_SYSTEM_MAX + 1];
    for (const char *at = find(text, end, SYSTEM); at; at = find(at + 1, end, SYSTEM)) {
        char *to = found->has_system ? other : found->system;
        if (!literal_system(at + strlen(SYSTEM), end, quote_before(text, at), to)) continue;
        if (found->has_system && strcmp(other, found->system) != 0) {
            found->has_system = 0;
            return;
        }
        found->has_system = 1;
    }
}

/* Whether a string of the template is `content`, which has no quotes, and nothing else. */
static int has_string(const char *text, size_t bytes, const char *content) {
    const char *end = text + bytes;
    size_t n = strlen(content);
    for (const char *at = find(text, end, content); at; at = find(at + 1, end, content))
        if (at > text && (at[-1] == '\'' || at[-1] == '"') && (size_t)(end - at) > n && at[n] == at[-1]) return 1;
    return 0;
}

/* Qwen's thoughts: enable_thinking says whether there are any, and which way it goes when nobody says. */
static void read_thinking(const char *text, size_t bytes, il_chat_template *found) {
    int asked = has(text, bytes, "enable_thinking");
    int opens_whole = has(text, bytes, "assistant\\n<think>\\n'") || has(text, bytes, "assistant\\n<think>\\n\"");
    found->thinks = opens_whole && !asked ? 2 : -1;
    found->opens = opens_whole || has_string(text, bytes, "<think>\\n");
    if (!asked || !has_string(text, bytes, "<think>\\n\\n</think>\\n\\n")) return;
    found->thinks = has(text, bytes, "enable_thinking is false") || has(text, bytes, "enable_thinking == false") ||
                    has(text, bytes, "set enable_thinking = true");
}

void il_chat_template_read(const char *text, size_t bytes, il_chat_template *found) {
    int chatml = has(text, bytes, "<|im_start|>") && has(text, bytes, END);
    int llama3 = has(text, bytes, "<|start_header_id|>") && has(text, bytes, "<|eot_id|>");
    int llama2 = has(text, bytes, "[INST]") && has(text, bytes, "<<SYS>>");
    *found = (il_chat_template){.form = IL_CHAT_NONE, .thinks = -1};
    if (bytes > IL_CHAT_TEMPLATE_MAX || chatml + llama3 + llama2 != 1) return;
    found->form = chatml ? IL_CHAT_CHATML : llama3 ? IL_CHAT_LLAMA3 : IL_CHAT_LLAMA2;
    found->bos = has(text, bytes, "bos_token");
    found->trims = has(text, bytes, "|trim") || has(text, bytes, "| trim") || has(text, bytes, ".strip()");
    if (!chatml) return;
    read_system(text, bytes, found);
    read_thinking(text, bytes, found);
}
