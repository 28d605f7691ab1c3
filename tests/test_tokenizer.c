/* test_tokenizer.c: the byte tokenizer, UTF-8, decoding by forms, and SentencePiece models written by hand,
 * whose encodings are known. Trained models are test_sentencepiece.c's. */
#include "support_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_text.h"
#include "text/tokenizer.h"

static il_engine *engine;
static il_error error;

static il_tokenizer *bytes_tokenizer(void) {
    il_tokenizer *t;
    assert_ok(il_tokenizer_load(engine, "bytes", &t, &error), error);
    return t;
}

/* ---- UTF-8 ---- */

static void utf8_lengths(void **state) {
    (void)state;
    /* the smallest and largest of each length */
    assert_int_equal(il_utf8_length("\0", 1), 1);
    assert_int_equal(il_utf8_length("\x7F", 1), 1);
    assert_int_equal(il_utf8_length("\xC2\x80", 2), 2);
    assert_int_equal(il_utf8_length("\xDF\xBF", 2), 2);
    assert_int_equal(il_utf8_length("\xE0\xA0\x80", 3), 3);
    assert_int_equal(il_utf8_length("\xEF\xBF\xBF", 3), 3);
    assert_int_equal(il_utf8_length("\xF0\x90\x80\x80", 4), 4);
    assert_int_equal(il_utf8_length("\xF4\x8F\xBF\xBF", 4), 4);
    /* overlong, surrogate, beyond U+10FFFF, lone continuation, bytes that never occur */
    assert_int_equal(il_utf8_length("\xC0\x80", 2), 0);
    assert_int_equal(il_utf8_length("\xC1\xBF", 2), 0);
    assert_int_equal(il_utf8_length("\xE0\x9F\xBF", 3), 0);
    assert_int_equal(il_utf8_length("\xED\xA0\x80", 3), 0);
    assert_int_equal(il_utf8_length("\xF0\x8F\xBF\xBF", 4), 0);
    assert_int_equal(il_utf8_length("\xF4\x90\x80\x80", 4), 0);
    assert_int_equal(il_utf8_length("\x80", 1), 0);
    assert_int_equal(il_utf8_length("\xF5\x80\x80\x80", 4), 0);
    assert_int_equal(il_utf8_length("\xFF", 1), 0);
    assert_int_equal(il_utf8_length("", 0), 0);
    /* cut short */
    assert_int_equal(il_utf8_length("\xE2\x82", 2), 0);
    assert_true(il_utf8_unfinished("\xE2\x82", 2));
    assert_true(il_utf8_unfinished("\xF0\x9F\x98", 3));
    assert_true(il_utf8_unfinished("\xC3", 1));
    assert_false(il_utf8_unfinished("\xED\xA0", 2)); /* can only become a surrogate */
    assert_false(il_utf8_unfinished("\xE2\x41", 2));
    assert_false(il_utf8_unfinished("\xE2\x82\xAC", 3));
    assert_false(il_utf8_unfinished("\x80", 1));
    assert_false(il_utf8_unfinished("", 0));
}

/* ---- bytes ---- */

static void is_control(const il_tokenizer *t, int32_t token, const char *expected) {
    const char *name;
    size_t bytes;
    assert_int_equal(il_tokenizer_token(t, token, &name, &bytes), IL_TOKEN_CONTROL);
    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(name, expected, bytes);
}

static void is_no_control(const il_tokenizer *t, int32_t token, il_token_kind kind) {
    const char *name = "";
    size_t bytes = 1;
    assert_int_equal(il_tokenizer_token(t, token, &name, &bytes), kind);
    assert_true(!name && !bytes);
    assert_int_equal(il_tokenizer_token(t, token, NULL, NULL), kind);
}

static void bytes_info(void **state) {
    (void)state;
    il_tokenizer *t = bytes_tokenizer();
    il_tokenizer_info info;
    il_tokenizer_get_info(t, &info);
    assert_string_equal(info.kind, "bytes");
    assert_int_equal(info.vocab_size, 258);
    assert_int_equal(info.bos, 256);
    assert_int_equal(info.eos, 257);
    assert_int_equal(info.unk, -1);
    is_control(t, 256, "<s>");
    is_control(t, 257, "</s>");
    is_no_control(t, 255, IL_TOKEN_TEXT);
    is_no_control(t, 258, IL_TOKEN_NONE);
    is_no_control(t, -1, IL_TOKEN_NONE);
    il_tokenizer_close(t);
    il_tokenizer_close(NULL);
}

static void bytes_give_back_any_bytes(void **state) {
    (void)state;
    il_tokenizer *t = bytes_tokenizer();
    char text[300], *back;
    support_seed(1);
    for (int round = 0; round < 3000; round++) {
        size_t n = support_random_bytes(text, support_random(300));
        il_tokens tokens = {0};
        assert_ok(il_tokenizer_encode(t, text, n, &tokens, &error), error);
        assert_int_equal(tokens.n, n);
        for (size_t i = 0; i < n; i++) assert_int_equal(tokens.ids[i], (unsigned char)text[i]);
        assert_int_equal(support_decode(t, tokens.ids, tokens.n, IL_DECODE_USUAL, &back), n);
        assert_memory_equal(back, text, n);
        free(back);
        il_tokens_free(&tokens);
    }
    il_tokenizer_close(t);
}

static void encode_appends(void **state) {
    (void)state;
    il_tokenizer *t = bytes_tokenizer();
    il_tokens tokens = {0};
    assert_ok(il_tokenizer_encode(t, "ab", 2, &tokens, &error), error);
    assert_ok(il_tokenizer_encode(t, "", 0, &tokens, &error), error);
    assert_ok(il_tokenizer_encode(t, "c", 1, &tokens, &error), error);
    assert_int_equal(tokens.n, 3);
    assert_memory_equal(tokens.ids, ((int32_t[]){'a', 'b', 'c'}), 12);
    il_tokens_free(&tokens);
    assert_null(tokens.ids);
    il_tokens_free(&tokens);
    il_tokenizer_close(t);
}

/* What IL_DECODE_UTF8 must give, written from the definition. */
static size_t replaced(const char *text, size_t n, char *out) {
    size_t used = 0;
    for (size_t at = 0; at < n;) {
        int length = il_utf8_length(text + at, n - at);
        if (length)
            memcpy(out + used, text + at, (size_t)length);
        else
            memcpy(out + used, "\xEF\xBF\xBD", 3);
        used += length ? (size_t)length : 3;
        at += length ? (size_t)length : 1;
    }
    return used;
}

static void broken_utf8_is_replaced(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"caf\xC3\xA9", "café"},
        {"\xE2\x82", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xE2\x82x", "\xEF\xBF\xBD\xEF\xBF\xBDx"},
        {"\xE2\xE2\x82\xAC", "\xEF\xBF\xBD€"},
        {"\xF0\x9F\x98\x80", "😀"},
        {"\xF0\x9F\x98\xF0\x9F\x98\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD😀"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xFF\xFE", "\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    il_tokenizer *t = bytes_tokenizer();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        il_tokens tokens = {0};
        char *back;
        assert_ok(il_tokenizer_encode(t, cases[i].in, strlen(cases[i].in), &tokens, &error), error);
        size_t n = support_decode(t, tokens.ids, tokens.n, IL_DECODE_UTF8, &back);
        assert_int_equal(n, strlen(cases[i].out));
        assert_memory_equal(back, cases[i].out, n);
        free(back);
        il_tokens_free(&tokens);
    }
    char text[200], expected[600], *back;
    support_seed(2);
    for (int round = 0; round < 3000; round++) {
        size_t n = support_random_bytes(text, sizeof text), m = replaced(text, n, expected);
        il_tokens tokens = {0};
        assert_ok(il_tokenizer_encode(t, text, n, &tokens, &error), error);
        assert_int_equal(support_decode(t, tokens.ids, tokens.n, IL_DECODE_UTF8, &back), m);
        assert_memory_equal(back, expected, m);
        free(back);
        il_tokens_free(&tokens);
    }
    il_tokenizer_close(t);
}

static void nothing_is_given_out_unfinished(void **state) {
    (void)state;
    il_tokenizer *t = bytes_tokenizer();
    il_decoder d = {.form = IL_DECODE_UTF8};
    char text[64];
    size_t room = il_tokenizer_piece_bytes_max(t), n;
    assert_true(room <= sizeof text);
    const unsigned char euro[] = {0xE2, 0x82, 0xAC};
    for (int i = 0; i < 3; i++) {
        assert_ok(il_tokenizer_decode(t, &d, euro[i], text, room, &n, &error), error);
        assert_int_equal(n, i == 2 ? 3 : 0);
    }
    assert_memory_equal(text, euro, 3);
    /* a control token ends what is open */
    assert_ok(il_tokenizer_decode(t, &d, 0xE2, text, room, &n, &error), error);
    assert_int_equal(n, 0);
    assert_ok(il_tokenizer_decode(t, &d, 257, text, room, &n, &error), error);
    assert_int_equal(n, 3);
    assert_ok(il_tokenizer_decode(t, &d, 256, text, room, &n, &error), error);
    assert_int_equal(n, 0);
    assert_ok(il_tokenizer_decode(t, &d, -1, text, room, &n, &error), error);
    assert_int_equal(n, 0);
    il_tokenizer_close(t);
}

static void decode_refuses(void **state) {
    (void)state;
    il_tokenizer *t = bytes_tokenizer();
    il_decoder d = {0};
    char text[64];
    size_t n, room = il_tokenizer_piece_bytes_max(t);
    assert_fails(il_tokenizer_decode(t, &d, 258, text, room, &n, &error), IL_ERR_ARG, error, "258");
    assert_fails(il_tokenizer_decode(t, &d, -2, text, room, &n, &error), IL_ERR_ARG, error, "-2");
    assert_fails(il_tokenizer_decode(t, &d, 'a', text, room - 1, &n, &error), IL_ERR_ARG, error, "room");
    d.n_pending = 77;
    assert_fails(il_tokenizer_decode(t, &d, 'a', text, room, &n, &error), IL_ERR_ARG, error, "initialised");
    il_tokenizer_close(t);
}

/* ---- models written by hand ---- */

static void hello_pieces(support_spm *m) {
    static const char *const pieces[] = {"\xE2\x96\x81",
                                         "h",
                                         "e",
                                         "l",
                                         "o",
                                         "he",
                                         "ll",
                                         "hell",
                                         "hello",
                                         "\xE2\x96\x81hello",
                                         "\xE2\x96\x81\xE2\x96\x81",
                                         "w"};
    for (int i = 0; i < 12; i++) support_spm_piece(m, pieces[i], (float)-i, SUPPORT_NORMAL);
}
enum { SPACE = 259, H, E, L, O, HE, LL, HELL, HELLO, SPACE_HELLO, SPACES, W };

static il_tokenizer *load(const support_spm *m) {
    char *folder = support_folder_make();
    const char *path = support_path(folder, "t.model");
    il_tokenizer *t;
    support_write(path, m->data, m->bytes);
    assert_ok(il_tokenizer_load(engine, path, &t, &error), error);
    support_folder_remove(folder);
    return t;
}

static il_status try_load(const void *data, size_t bytes) {
    char *folder = support_folder_make();
    const char *path = support_path(folder, "t.model");
    il_tokenizer *t;
    memset(&error, 0, sizeof error);
    support_write(path, data, bytes);
    il_status status = il_tokenizer_load(engine, path, &t, &error);
    assert_int_equal(status == IL_OK, t != NULL);
    if (t) { /* what loads must be safe to use */
        static const char text[] = "hello xxx\xC3\xA9\xFF abcdefgh\0 \x7F~";
        il_tokens tokens = {0};
        char *back;
        if (il_tokenizer_encode(t, text, sizeof text, &tokens, NULL) == IL_OK) {
            support_decode(t, tokens.ids, tokens.n, IL_DECODE_UTF8, &back);
            free(back);
        }
        il_tokens_free(&tokens);
    }
    il_tokenizer_close(t);
    support_folder_remove(folder);
    return status;
}

static void encodes_to(const il_tokenizer *t, const char *text, size_t bytes, const int32_t *ids, size_t n) {
    il_tokens tokens = {0};
    assert_ok(il_tokenizer_encode(t, text, bytes, &tokens, &error), error);
    if (tokens.n != n || (n && memcmp(tokens.ids, ids, n * 4) != 0)) {
        char line[400] = "";
        for (size_t i = 0; i < tokens.n && i < 40; i++) sprintf(line + strlen(line), "%d ", tokens.ids[i]);
        fail_msg("\"%s\": %s", text, line);
    }
    il_encoding encoding = {.tokenizer = t}; /* byte by byte it is the same, also a second time */
    for (int round = 0; round < 2; round++) {
        tokens.n = 0;
        for (size_t i = 0; i < bytes; i++) assert_ok(il_encoding_add(&encoding, text + i, 1, &tokens, &error), error);
        assert_ok(il_encoding_end(&encoding, &tokens, &error), error);
        assert_int_equal(tokens.n, n);
        if (n) assert_memory_equal(tokens.ids, ids, n * 4);
    }
    il_encoding_free(&encoding);
    il_tokens_free(&tokens);
}
#define encodes(t, text, ...)                                                                                          \
    encodes_to(t, text, sizeof(text) - 1, (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / 4)

static int byte_id(int byte) { return 3 + byte; }

static void decodes_to(const il_tokenizer *t, const int32_t *ids, size_t n, const char *text) {
    char *back;
    size_t bytes = support_decode(t, ids, n, IL_DECODE_USUAL, &back);
    if (bytes != strlen(text) || memcmp(back, text, bytes) != 0)
        fail_msg("\"%.*s\", not \"%s\"", (int)bytes, back, text);
    free(back);
}
#define decodes(t, text, ...) decodes_to(t, (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / 4, text)

static void llama_like_model(void **state) {
    (void)state;
    static support_spm m;
    support_spm_begin(&m, 1);
    hello_pieces(&m);
    support_spm_end(&m, SUPPORT_BPE, 1, 1, 0);
    il_tokenizer *t = load(&m);
    il_tokenizer_info info;
    il_tokenizer_get_info(t, &info);
    assert_string_equal(info.kind, "sentencepiece");
    assert_int_equal(info.vocab_size, 271);
    assert_int_equal(info.unk, 0);
    assert_int_equal(info.bos, 1);
    assert_int_equal(info.eos, 2);
    is_no_control(t, 0, IL_TOKEN_TEXT); /* what stands for the unknown */
    is_control(t, 1, "<s>");
    is_control(t, 2, "</s>");
    is_no_control(t, byte_id('a'), IL_TOKEN_TEXT);
    is_no_control(t, SPACE_HELLO, IL_TOKEN_TEXT);
    is_no_control(t, 271, IL_TOKEN_NONE);
    /* as the library: one space before the text, unknown characters as bytes, merges by score */
    encodes(t, "hello", SPACE_HELLO);
    encodes(t, " hello", SPACE, SPACE_HELLO);
    encodes(t, "  h", SPACES, SPACE, H);
    encodes(t, "hello hello", SPACE_HELLO, SPACE_HELLO);
    encodes(t, "who", SPACE, W, H, O);
    encodes(t, "hello\n", SPACE_HELLO, byte_id('\n'));
    encodes(t, "h\xC3\xA9", SPACE, H, byte_id(0xC3), byte_id(0xA9));
    encodes(t, "<s>", SPACE, byte_id('<'), byte_id('s'), byte_id('>'));
    encodes_to(t, "", 0, NULL, 0);
    /* what the library would lose goes around it */
    encodes(t, "he\xFFllo", SPACE, HE, byte_id(0xFF), LL, O);
    encodes(t, "\xFFhe", SPACE, byte_id(0xFF), HE);
    encodes(t, "he\xE2\x96\x81llo", SPACE, HE, byte_id(0xE2), byte_id(0x96), byte_id(0x81), LL, O);
    encodes(t, "h\0h", SPACE, H, byte_id(0), H);
    /* decoding: the first space is not text; byte pieces join across tokens */
    decodes(t, "hello", SPACE_HELLO);
    decodes(t, " hello", SPACES, HELLO);
    decodes(t, "hello", 1, SPACE_HELLO, 2);
    decodes(t, "hello hello", SPACE_HELLO, SPACE_HELLO);
    decodes(t, "h\xC3\xA9", SPACE, H, byte_id(0xC3), byte_id(0xA9));
    decodes(t, "h\xEF\xBF\xBDh", H, byte_id(0xC3), H);
    decodes(t, "h\xEF\xBF\xBD\xEF\xBF\xBDh", H, byte_id(0xC3), 1, byte_id(0xA9), H);
    decodes(t, "h \xE2\x81\x87 ", H, 0);
    /* what goes on from earlier text keeps its space */
    il_decoder d = {.started = 1};
    char text[64];
    size_t n;
    assert_ok(il_tokenizer_decode(t, &d, SPACE_HELLO, text, sizeof text, &n, &error), error);
    assert_int_equal(n, 6);
    assert_memory_equal(text, " hello", 6);
    assert_fails(il_tokenizer_decode(t, &d, 271, text, sizeof text, &n, &error), IL_ERR_ARG, error, "271");
    il_tokenizer_close(t);
}

/* Pieces that go on after a space, or over a line's end, forbid encoding word by word there. */
static void pieces_across_words(void **state) {
    (void)state;
    static support_spm m;
    enum { ACROSS = 271, LINE = 272 };
    support_spm_begin(&m, 1);
    hello_pieces(&m);
    support_spm_piece(&m, "o\xE2\x96\x81w", 1, SUPPORT_NORMAL);
    support_spm_piece(&m, "o\xE2\x96\x81", 2, SUPPORT_NORMAL);
    support_spm_end(&m, SUPPORT_BPE, 1, 0, 0);
    il_tokenizer *t = load(&m);
    encodes(t, "ho who", H, ACROSS, H, O);
    il_tokenizer_close(t);
    support_spm_begin(&m, 1);
    hello_pieces(&m);
    support_spm_piece(&m, "\n", 1, SUPPORT_NORMAL);
    support_spm_piece(&m, "o\n", 2, SUPPORT_NORMAL);
    support_spm_end(&m, SUPPORT_BPE, 1, 0, 0);
    t = load(&m);
    encodes(t, "ho\nh\n", H, LINE, H, ACROSS);
    il_tokenizer_close(t);
}

static void model_without_byte_pieces(void **state) {
    (void)state;
    static support_spm m;
    support_spm_begin(&m, 0);
    hello_pieces(&m); /* from id 3 */
    support_spm_end(&m, SUPPORT_BPE, 0, 0, 0);
    il_tokenizer *t = load(&m);
    encodes(t, "hello", HELLO - 256);
    encodes(t, "h\xFFzh", H - 256, 0, 0, H - 256);
    decodes(t, " hello \xE2\x81\x87 ", SPACE_HELLO - 256, 0);
    il_tokenizer_close(t);
}

static void model_without_a_space(void **state) {
    (void)state;
    static support_spm m;
    support_spm_begin(&m, 1);
    support_spm_piece(&m, "a", -1, SUPPORT_NORMAL);
    support_spm_end(&m, SUPPORT_BPE, 1, 1, 0);
    il_tokenizer *t = load(&m);
    encodes(t, "a a", 259, byte_id(' '), 259);
    decodes(t, "a a", 259, byte_id(' '), 259);
    il_tokenizer_close(t);
}

static void unigram_model(void **state) {
    (void)state;
    static support_spm m;
    support_spm_begin(&m, 1);
    hello_pieces(&m);
    support_spm_end(&m, SUPPORT_UNIGRAM, 1, 1, 1); /* removes spaces: not plain, the library's own rules */
    il_tokenizer *t = load(&m);
    encodes(t, "  w  h ", SPACE, W, SPACE, H);
    decodes(t, "w h", SPACE, W, SPACE, H);
    il_tokenizer_close(t);
}

static void bad_models_are_errors(void **state) {
    (void)state;
    static support_spm m;
    assert_int_equal(try_load("", 0), IL_ERR_FORMAT);
    assert_int_equal(try_load("this is a text file and no model\n", 33), IL_ERR_FORMAT);

    support_spm_begin(&m, 1);
    hello_pieces(&m);
    support_spm_end(&m, SUPPORT_BPE, 1, 1, 0);
    assert_int_equal(try_load(m.data, m.bytes), IL_OK);
    /* cut short anywhere, or one byte changed: an error or a model, never worse */
    for (size_t n = 0; n < m.bytes; n += 1 + n / 40) try_load(m.data, n);
    support_seed(3);
    for (int round = 0; round < 300; round++) {
        static unsigned char copy[1 << 16];
        memcpy(copy, m.data, m.bytes);
        for (uint32_t i = 0; i < 1 + support_random(3); i++)
            copy[support_random((uint32_t)m.bytes)] = (unsigned char)support_random(256);
        try_load(copy, m.bytes);
    }

#define refused(text)                                                                                                  \
    do {                                                                                                               \
        assert_int_equal(try_load(m.data, m.bytes), IL_ERR_FORMAT);                                                    \
        if (!strstr(error.message, text)) fail_msg("\"%s\" lacks \"%s\"", error.message, text);                        \
    } while (0)
    support_spm_begin(&m, 0);
    support_spm_end(&m, SUPPORT_BPE, 1, 0, 0);
    refused("needs 256");
    support_spm_begin(&m, 1);
    support_spm_end(&m, SUPPORT_BPE, 0, 0, 0);
    refused("256 byte pieces");
    support_spm_begin(&m, 0);
    support_spm_piece(&m, "<unk2>", 0, SUPPORT_UNKNOWN);
    refused("pieces 0 and 3");
    support_spm_begin(&m, 0);
    support_spm_piece(&m, "", 0, SUPPORT_NORMAL);
    refused("piece 3: empty");
    support_spm_begin(&m, 0);
    support_spm_piece(&m, "\xFF", 0, SUPPORT_NORMAL);
    refused("not UTF-8");
    support_spm_begin(&m, 0);
    support_spm_piece(&m, "x", 0, 9);
    refused("unknown type");
    support_spm_begin(&m, 0);
    support_spm_piece(&m, "<0xGG>", 0, SUPPORT_BYTE);
    refused("<0xHH>");
    support_spm_begin(&m, 0);
    support_spm_piece(&m, "x", __builtin_nanf(""), SUPPORT_NORMAL);
    refused("finite");
    support_spm_begin(&m, 0);
    support_spm_piece(&m, "x", 0, SUPPORT_NORMAL);
    support_spm_piece(&m, "x", 0, SUPPORT_NORMAL);
    refused("already defined");
    m.bytes = 0;
    support_spm_piece(&m, "x", 0, SUPPORT_NORMAL);
    refused("no unknown piece");
}

/* A table of replacements with `units` units, all leaves (which no byte leads to) but those given. */
static size_t table(unsigned char *out, size_t units, const uint32_t (*set)[2], size_t n_set, const char *strings,
                    size_t string_bytes) {
    uint32_t bytes = (uint32_t)(units * 4);
    memcpy(out, &bytes, 4);
    for (size_t i = 0; i < units; i++) memcpy(out + 4 + 4 * i, &(uint32_t){1u << 31}, 4);
    for (size_t i = 0; i < n_set; i++) memcpy(out + 4 + set[i][0] * 4, &set[i][1], 4);
    memcpy(out + 4 + bytes, strings, string_bytes);
    return 4 + bytes + string_bytes;
}

static il_status load_with_table(const unsigned char *data, size_t bytes, int field) {
    static support_spm m;
    unsigned char spec[8192] = {2 << 3 | 2, (unsigned char)(0x80 | (bytes & 127)), (unsigned char)(bytes >> 7)};
    assert_true(bytes < 8000 && bytes >> 7 < 128 && bytes >= 128);
    memcpy(spec + 3, data, bytes);
    support_spm_begin(&m, 0);
    hello_pieces(&m);
    support_spm_end(&m, SUPPORT_BPE, 0, 0, 0);
    support_spm_field(&m, field, spec, bytes + 3);
    return try_load(m.data, m.bytes);
}

static void replacement_tables(void **state) {
    (void)state;
    unsigned char data[8192];
    /* the root's children stand at 256 XOR byte, those of 'x' at 512 XOR byte, and there, at 0, a leaf */
    enum { X = 256 ^ 'x', X_UNIT = 'x' | 1 << 8 | (X ^ 512) << 10 };
    const uint32_t good[][2] = {{0, 256u << 10}, {X, X_UNIT}, {512, 1u << 31 | 2}};
    size_t n = table(data, 768, good, 3, "a\0e", 4);
    assert_int_equal(load_with_table(data, n, 3), IL_OK);
    assert_int_equal(load_with_table(data, n, 5), IL_ERR_FORMAT); /* rewriting what is decoded */
    const uint32_t outside[][2] = {{0, 768u << 10}};
    n = table(data, 768, outside, 1, "a", 2);
    assert_int_equal(load_with_table(data, n, 3), IL_ERR_FORMAT);
    const uint32_t far_leaf[][2] = {{0, 256u << 10}, {X, X_UNIT}, {512, 1u << 31 | 4}};
    n = table(data, 768, far_leaf, 3, "a\0e", 4);
    assert_int_equal(load_with_table(data, n, 3), IL_ERR_FORMAT);
    const uint32_t cycle[][2] = {{0, 256u << 10}, {X, 'x' | 'x' << 10}};
    n = table(data, 512, cycle, 2, "a", 2); /* x leads to 256, where 'x' leads back */
    assert_int_equal(load_with_table(data, n, 3), IL_ERR_FORMAT);
    if (!strstr(error.message, "cycle")) fail_msg("%s", error.message);
    n = table(data, 768, good, 3, "a\0e", 3); /* the last string has no end */
    assert_int_equal(load_with_table(data, n, 3), IL_ERR_FORMAT);
    n = table(data, 768, good, 3, "a\0e", 4);
    data[0] = 0xFF, data[2] = 0xFF;
    assert_int_equal(load_with_table(data, n, 3), IL_ERR_FORMAT);
    support_seed(4);
    for (int round = 0; round < 300; round++) { /* random units: an error or a table that is safe to use */
        uint32_t set[40][2];
        for (int i = 0; i < 40; i++) {
            set[i][0] = i ? 256 + support_random(128) : 0;
            set[i][1] = support_random(2) ? set[i][0] & 127 : support_random(1u << 31);
            set[i][1] |= support_random(2) << 8 | (256 + support_random(128)) << 10 | support_random(5) / 4 << 31;
        }
        n = table(data, 512, (const uint32_t(*)[2])set, 40, "abc\0defg", 9);
        load_with_table(data, n, 3);
    }
}

/* ---- model folders ---- */

static void tokenizer_of_a_model(void **state) {
    (void)state;
    static support_spm m;
    char *folder = support_folder_make();
    il_config config = {.vocab_size = 258};
    il_tokenizer *t, *again;
    il_tokenizer_info info;
    assert_ok(il_tokenizer_load_for_model(engine, folder, &config, &t, &error), error);
    il_tokenizer_get_info(t, &info);
    assert_string_equal(info.kind, "bytes");
    assert_ok(il_tokenizer_save(t, folder, &error), error);
    assert_int_equal(support_folder_count(folder), 0);
    il_tokenizer_close(t);
    config.vocab_size = 300; /* another tokenizer's: bytes would be read wrongly without a word */
    assert_fails(il_tokenizer_load_for_model(engine, folder, &config, &t, &error), IL_ERR_UNSUPPORTED, error,
                 "no tokenizer is there");
    assert_null(t);
    config.bytes_tokenizer = 1;
    assert_ok(il_tokenizer_load_for_model(engine, folder, &config, &t, &error), error);
    il_tokenizer_close(t);
    config.vocab_size = 257;
    assert_fails(il_tokenizer_load_for_model(engine, folder, &config, &t, &error), IL_ERR_MISMATCH, error,
                 "258 tokens, the model's vocabulary 257");
    assert_null(t);
    config = (il_config){.vocab_size = 258};
    support_write(support_path(folder, "vocab.txt"), "a", 1);
    assert_fails(il_tokenizer_load_for_model(engine, folder, &config, &t, &error), IL_ERR_UNSUPPORTED, error,
                 "vocab.txt is not a tokenizer that can be read; supported are tokenizer.json, SentencePiece, as");

    support_spm_begin(&m, 1);
    hello_pieces(&m);
    support_spm_end(&m, SUPPORT_BPE, 1, 1, 0);
    t = load(&m);
    assert_ok(il_tokenizer_save(t, folder, &error), error);
    size_t bytes;
    char *saved = support_read(support_path(folder, "tokenizer.model"), &bytes);
    assert_int_equal(bytes, m.bytes);
    assert_memory_equal(saved, m.data, bytes);
    free(saved);
    config.vocab_size = 271;
    config.bytes_tokenizer = 1;
    assert_fails(il_tokenizer_load_for_model(engine, folder, &config, &again, &error), IL_ERR_MISMATCH, error,
                 "config.json says tokenizer: bytes");
    config.bytes_tokenizer = 0;
    assert_ok(il_tokenizer_load_for_model(engine, folder, &config, &again, &error), error);
    il_tokenizer_close(again);
    config.vocab_size = 270;
    assert_fails(il_tokenizer_load_for_model(engine, folder, &config, &again, &error), IL_ERR_MISMATCH, error, "271");
    assert_fails(il_tokenizer_save(t, support_path(folder, "none"), &error), IL_ERR_IO, error, "none");
    il_tokenizer_close(t);
    assert_fails(il_tokenizer_load(engine, folder, &t, &error), IL_ERR_IO, error, "folder");
    assert_fails(il_tokenizer_load(engine, support_path(folder, "none"), &t, &error), IL_ERR_IO, error, "none");
    support_folder_remove(folder);
}

static int setup(void **state) {
    (void)state;
    engine = lively_engine(1, NULL);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    il_engine_close(engine);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_lengths),
        cmocka_unit_test(bytes_info),
        cmocka_unit_test(bytes_give_back_any_bytes),
        cmocka_unit_test(encode_appends),
        cmocka_unit_test(broken_utf8_is_replaced),
        cmocka_unit_test(nothing_is_given_out_unfinished),
        cmocka_unit_test(decode_refuses),
        cmocka_unit_test(llama_like_model),
        cmocka_unit_test(pieces_across_words),
        cmocka_unit_test(model_without_byte_pieces),
        cmocka_unit_test(model_without_a_space),
        cmocka_unit_test(unigram_model),
        cmocka_unit_test(bad_models_are_errors),
        cmocka_unit_test(replacement_tables),
        cmocka_unit_test(tokenizer_of_a_model),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
