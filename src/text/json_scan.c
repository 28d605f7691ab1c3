/* json_scan.c: see json_scan.h. One state machine, a byte at a time but for the insides of strings. */
#include "text/json_scan.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <string.h>

enum {
    START,     /* before the object */
    KEY_FIRST, /* after { */
    KEY,       /* after , in an object */
    COLON,
    VALUE_FIRST, /* after [ */
    VALUE,
    AFTER, /* after a value: , or the end of what holds it */
    WORD,  /* inside a number, true, false, null */
    STRING,
    ESCAPE,
    UNICODE
};
enum { A_KEY = -1, SKIPPED = -2 };

void il_json_begin(il_json_scan *s, int bare) {
    for (int i = 0; i < IL_JSON_FIELDS_MAX; i++) {
        s->strings[i].bytes = 0;
        s->strings[i].found = 0;
    }
    s->seen[0] = 0;
    s->state = START;
    s->depth = 0;
    s->bare = bare;
    s->bytes = 0;
    s->high = 0;
    s->why = NULL;
}

void il_json_free(il_json_scan *s) {
    for (int i = 0; i < IL_JSON_FIELDS_MAX; i++) {
        il_free(s->allocator, s->strings[i].text);
        s->strings[i] = (il_json_string){0};
    }
}

static il_json_result bad(il_json_scan *s, const char *why) {
    s->why = why;
    return IL_JSON_BAD;
}

static int in_array(const il_json_scan *s) { return s->is_array[(s->depth - 1) / 32] >> ((s->depth - 1) % 32) & 1; }

static int is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* ---- strings ---- */

static const char too_long[] = "its text is too long";

/* Appends to the key or the field that is being read. */
static il_json_result put(il_json_scan *s, const char *text, size_t n) {
    if (s->target == SKIPPED || n == 0) return IL_JSON_MORE;
    if (s->target == A_KEY) {
        if (n > IL_JSON_KEY_MAX - s->key_bytes || s->key_bytes > IL_JSON_KEY_MAX) {
            s->key_bytes = IL_JSON_KEY_MAX + 1;
            return IL_JSON_MORE;
        }
        memcpy(s->key + s->key_bytes, text, n);
        s->key_bytes += n;
        return IL_JSON_MORE;
    }
    il_json_string *string = &s->strings[s->target];
    if (n > s->bytes_max - s->bytes) return bad(s, too_long);
    void *block = string->text;
    int grown = il_grow(s->allocator, &block, &string->capacity, string->bytes, string->bytes + n + 1, 1);
    string->text = block;
    if (!grown) return IL_JSON_NOMEM;
    memcpy(string->text + string->bytes, text, n);
    string->bytes += n;
    s->bytes += n;
    return IL_JSON_MORE;
}

static il_json_result put_code(il_json_scan *s, unsigned code) {
    char text[4];
    return put(s, text, il_utf8_encode(code, text));
}

/* The first of a pair stands alone. */
static il_json_result settle(il_json_scan *s) {
    int alone = s->high != 0;
    s->high = 0;
    return alone ? put(s, IL_UTF8_REPLACEMENT, 3) : IL_JSON_MORE;
}

static il_json_result take_code(il_json_scan *s) {
    unsigned code = s->code, high = s->high;
    if (high && code >= 0xDC00 && code < 0xE000) {
        s->high = 0;
        return put_code(s, 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00));
    }
    il_json_result result = settle(s);
    if (result != IL_JSON_MORE) return result;
    if (code >= 0xD800 && code < 0xDC00) {
        s->high = code;
        return IL_JSON_MORE;
    }
    if (code >= 0xDC00 && code < 0xE000) return put(s, IL_UTF8_REPLACEMENT, 3);
    return put_code(s, code);
}

static il_json_result take_escape(il_json_scan *s, char c) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = c ? strchr(from, c) : NULL;
    if (c == 'u') {
        s->state = UNICODE;
        s->code = 0;
        s->digits = 0;
        return IL_JSON_MORE;
    }
    s->state = STRING;
    if (s->target == SKIPPED) return IL_JSON_MORE;
    il_json_result result = settle(s);
    if (result != IL_JSON_MORE) return result;
    return at ? put(s, &to[at - from], 1) : bad(s, "a broken escape in its text");
}

static il_json_result take_digit(il_json_scan *s, char c) {
    unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') : ((unsigned)c | 32) - 'a' + 10;
    if (digit > 15) return bad(s, "a broken escape in its text");
    s->code = s->code << 4 | digit;
    if (++s->digits < 4) return IL_JSON_MORE;
    s->state = STRING;
    return take_code(s);
}

/* For messages: "a", "b". */
static void remember(il_json_scan *s) {
    size_t n = strlen(s->seen);
    if (s->key_bytes > 40 || n + s->key_bytes + 5 > sizeof s->seen) return;
    if (n) s->seen[n++] = ',', s->seen[n++] = ' ';
    s->seen[n++] = '"';
    for (size_t i = 0; i < s->key_bytes; i++) s->seen[n++] = (unsigned char)s->key[i] < 32 ? '?' : s->key[i];
    s->seen[n++] = '"';
    s->seen[n] = 0;
}

/* A value begins: what is its string for? */
static il_json_result begin_string(il_json_scan *s) {
    s->state = STRING;
    s->is_key = 0;
    s->high = 0;
    s->target = SKIPPED;
    if (s->depth == 0) s->target = 0;
    if (s->depth != 1 || in_array(s)) return IL_JSON_MORE;
    remember(s);
    for (int i = 0; i < IL_JSON_FIELDS_MAX && s->key_bytes <= IL_JSON_KEY_MAX; i++) {
        if (!s->fields[i] || strlen(s->fields[i]) != s->key_bytes || memcmp(s->fields[i], s->key, s->key_bytes) != 0)
            continue;
        if (s->strings[i].found) return bad(s, "a duplicate field");
        s->target = i;
        return IL_JSON_MORE;
    }
    return IL_JSON_MORE;
}

static il_json_result end_string(il_json_scan *s) {
    il_json_result result = s->target == SKIPPED ? IL_JSON_MORE : settle(s);
    if (result != IL_JSON_MORE) return result;
    s->state = s->is_key ? COLON : AFTER;
    if (s->target < 0) return IL_JSON_MORE;
    il_json_string *string = &s->strings[s->target];
    string->found = 1;
    for (size_t at = 0; at < string->bytes;) {
        int length = il_utf8_length(string->text + at, string->bytes - at);
        if (!length) return bad(s, "its text is not UTF-8");
        at += (size_t)length;
    }
    return s->depth ? IL_JSON_MORE : IL_JSON_DONE;
}

/* The inside of a string up to something that is not plain. */
static il_json_result take_string(il_json_scan *s, const char *data, size_t bytes, size_t *taken) {
    size_t n = 0;
    if (s->target == SKIPPED)
        while (n < bytes && data[n] != '"' && data[n] != '\\') n++;
    else
        while (n < bytes && data[n] != '"' && data[n] != '\\' && (unsigned char)data[n] >= 32) n++;
    if (s->target >= 0 && n > s->bytes_max - s->bytes) {
        *taken = s->bytes_max - s->bytes;
        return bad(s, too_long);
    }
    *taken = n;
    il_json_result result = n && s->target != SKIPPED ? settle(s) : IL_JSON_MORE;
    if (result == IL_JSON_MORE) result = put(s, data, n);
    if (result != IL_JSON_MORE || n == bytes) return result;
    ++*taken;
    if (data[n] == '"') return end_string(s);
    if (data[n] != '\\') return bad(s, "a control character in its text");
    s->state = ESCAPE;
    return IL_JSON_MORE;
}

/* ---- structure ---- */

static il_json_result open_bracket(il_json_scan *s, int array) {
    if (s->depth == IL_JSON_DEPTH_MAX) return bad(s, "nested too deeply");
    unsigned bit = 1u << (s->depth % 32), *word = &s->is_array[s->depth / 32];
    *word = array ? *word | bit : *word & ~bit;
    s->depth++;
    s->state = array ? VALUE_FIRST : KEY_FIRST;
    return IL_JSON_MORE;
}

static il_json_result close_bracket(il_json_scan *s) {
    s->depth--;
    s->state = AFTER;
    return s->depth ? IL_JSON_MORE : IL_JSON_DONE;
}

static il_json_result begin_key(il_json_scan *s) {
    s->state = STRING;
    s->is_key = 1;
    s->high = 0;
    s->key_bytes = 0;
    s->target = s->depth > 1 ? SKIPPED : A_KEY;
    return IL_JSON_MORE;
}

static int is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' ||
           c == '.';
}

/* One byte outside strings and words. */
static il_json_result take_byte(il_json_scan *s, char c) {
    if (is_space(c)) return IL_JSON_MORE;
    switch (s->state) {
    case START:
        if (c == '{') return open_bracket(s, 0);
        if (c == '"' && s->bare) return begin_string(s);
        return bad(s, "not an object");
    case KEY_FIRST:
        if (c == '}') return close_bracket(s);
        return c == '"' ? begin_key(s) : bad(s, "a field's name is missing");
    case KEY: return c == '"' ? begin_key(s) : bad(s, "a field's name is missing");
    case COLON:
        if (c != ':') return bad(s, "':' is missing after a field's name");
        s->state = VALUE;
        return IL_JSON_MORE;
    case VALUE_FIRST:
        if (c == ']') return close_bracket(s);
        break;
    case AFTER:
        if (c == (in_array(s) ? ']' : '}')) return close_bracket(s);
        if (c != ',') return bad(s, in_array(s) ? "',' or ']' is missing" : "',' or '}' is missing");
        s->state = in_array(s) ? VALUE : KEY;
        return IL_JSON_MORE;
    default: break;
    }
    if (c == '{' || c == '[') return open_bracket(s, c == '[');
    if (c == '"') return begin_string(s);
    if (!is_word(c)) return bad(s, "a value is missing");
    s->state = WORD;
    return IL_JSON_MORE;
}

il_json_result il_json_feed(il_json_scan *s, const char *data, size_t bytes, size_t *taken) {
    il_json_result result = IL_JSON_MORE;
    size_t at = 0, n;
    while (at < bytes && result == IL_JSON_MORE) {
        switch (s->state) {
        case STRING:
            result = take_string(s, data + at, bytes - at, &n);
            at += n;
            break;
        case ESCAPE: result = take_escape(s, data[at++]); break;
        case UNICODE:
            if (s->target == SKIPPED)
                s->state = STRING; /* whatever follows is part of the string */
            else
                result = take_digit(s, data[at++]);
            break;
        case WORD:
            if (is_word(data[at]))
                at++;
            else
                s->state = AFTER;
            break;
        default: result = take_byte(s, data[at++]);
        }
    }
    *taken = at;
    return result;
}
