/* chat.c: conversations as tokens. Each form writes a turn as special tokens and texts between them, and every text is
 * encoded for itself, just as a tokenizer that finds special tokens first would cut the whole; so a conversation can be
 * put together turn by turn. What users write is never looked through for special tokens. */
#include "base/error.h"
#include "base/memory.h"
#include "text/chat_files.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <string.h>

enum { SPECIALS_MAX = 4 };

/* What a form needs of the tokenizer; NULL: nothing more. */
static const struct form {
    const char *name, *specials[SPECIALS_MAX];
} forms[] = {
    [IL_CHAT_NONE] = {"none", {NULL}},
    [IL_CHAT_PLAIN] = {"plain", {NULL}},
    [IL_CHAT_CHATML] = {"chatml", {"<|im_start|>", "<|im_end|>"}},
    [IL_CHAT_LLAMA2] = {"llama2", {NULL}},
    [IL_CHAT_LLAMA3] = {"llama3", {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|begin_of_text|>"}},
};
enum { FORMS = sizeof forms / sizeof *forms };
enum { IM_START, IM_END };               /* in .special, of chatml */
enum { HEADER, HEADER_END, EOT, BEGIN }; /* of llama3 */

static const char *const role_names[] = {"system", "user", "assistant"};

struct il_chat {
    const il_tokenizer *tokenizer;
    il_chat_info info;
    int opens, trims;
    int32_t special[SPECIALS_MAX];
    int32_t bos, eos; /* bos: what begins a conversation, -1: nothing */
    char system[IL_CHAT_SYSTEM_MAX + 1];
};

const char *il_chat_form_name(il_chat_form form) {
    return form >= IL_CHAT_NONE && (size_t)form < FORMS ? forms[form].name : "?";
}

/* ---- opening ---- */

static il_status choose_form(const char *dir, const char *name, const il_chat_files *files, il_chat_form *form,
                             il_error *error) {
    *form = files->template.form;
    if (!name && *form != IL_CHAT_NONE) return IL_OK;
    if (!name)
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       "%s: %s; one that is known has to be named: plain, chatml, llama2, llama3", dir,
                       files->has_template ? "its chat template is none of those known" : "it has no chat template");
    for (size_t i = IL_CHAT_PLAIN; i < FORMS; i++) {
        if (strcmp(forms[i].name, name) != 0) continue;
        *form = (il_chat_form)i;
        return IL_OK;
    }
    return il_fail(error, IL_ERR_ARG, "%.40s is no form of a chat: plain, chatml, llama2 or llama3 is", name);
}

static il_status find_specials(il_chat *c, const char *dir, il_error *error) {
    const struct form *form = &forms[c->info.form];
    for (size_t i = 0; i < SPECIALS_MAX && form->specials[i]; i++) {
        int id;
        IL_TRY(il_tokenizer_special(c->tokenizer, form->specials[i], strlen(form->specials[i]), &id, error));
        if (id < 0)
            return il_fail(error, IL_ERR_MISMATCH, "%s: the tokenizer has no token %s, without which there is no %s",
                           dir, form->specials[i], form->name);
        c->special[i] = id;
    }
    return IL_OK;
}

static il_status find_thoughts(il_chat *c, const il_chat_template *t, il_error *error) {
    int begin, end;
    IL_TRY(il_tokenizer_special(c->tokenizer, "<think>", 7, &begin, error));
    IL_TRY(il_tokenizer_special(c->tokenizer, "</think>", 8, &end, error));
    if (begin < 0 || end < 0 || t->thinks < 0) return IL_OK;
    c->info.thinks = t->thinks;
    c->info.think_begin = begin;
    c->info.think_end = end;
    c->opens = t->opens;
    return IL_OK;
}

/* BOS and EOS of the form, and what the directory's template says, if it is of this form. */
static il_status fill(il_chat *c, const il_config *config, const char *dir, const il_chat_files *files,
                      il_error *error) {
    const il_chat_template *t = files->template.form == c->info.form ? &files->template : NULL;
    il_tokenizer_info info;
    il_tokenizer_get_info(c->tokenizer, &info);
    int bos = files->bos >= 0 ? files->bos : il_tokenizer_bos(c->tokenizer, config);
    int eos = files->eos >= 0 ? files->eos : info.eos >= 0 ? info.eos : config->eos_token;
    IL_TRY(find_specials(c, dir, error));
    switch (c->info.form) {
    case IL_CHAT_NONE: break;
    case IL_CHAT_PLAIN:
        c->bos = il_tokenizer_bos(c->tokenizer, config);
        c->trims = 1;
        c->info.stop = "\nUser:";
        break;
    case IL_CHAT_CHATML:
        c->bos = t && t->bos ? bos : -1;
        c->trims = t && t->trims;
        if (t) IL_TRY(find_thoughts(c, t, error));
        break;
    case IL_CHAT_LLAMA2:
        if (bos < 0 || eos < 0)
            return il_fail(error, IL_ERR_MISMATCH,
                           "%s: the tokenizer has no BOS and EOS, without which there is no llama2", dir);
        c->bos = bos;
        c->eos = eos;
        c->trims = 1;
        break;
    case IL_CHAT_LLAMA3:
        c->bos = c->special[BEGIN];
        c->trims = !t || t->trims;
        break;
    }
    if (t && t->has_system) {
        memcpy(c->system, t->system, sizeof c->system);
        c->info.system = c->system;
    }
    return IL_OK;
}

il_status il_chat_open(const il_tokenizer *tokenizer, const il_config *config, const char *dir, const char *form,
                       il_chat **chat, il_error *error) {
    const il_allocator *memory = il_tokenizer_memory(tokenizer);
    il_chat_files files;
    *chat = NULL;
    IL_TRY(il_chat_files_read(tokenizer, config, dir, &files, error));
    il_chat *c = il_alloc(memory, 1, sizeof *c);
    if (!c) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for a chat template", dir);
    *c = (il_chat){.tokenizer = tokenizer, .bos = -1, .eos = -1};
    c->info = (il_chat_info){.thinks = -1, .think_begin = -1, .think_end = -1};
    il_status status = choose_form(dir, form, &files, &c->info.form, error);
    if (status == IL_OK) status = fill(c, config, dir, &files, error);
    if (status != IL_OK) {
        il_chat_close(c);
        return status;
    }
    *chat = c;
    return IL_OK;
}

void il_chat_close(il_chat *chat) {
    if (chat) il_free(il_tokenizer_memory(chat->tokenizer), chat);
}

void il_chat_get_info(const il_chat *chat, il_chat_info *info) { *info = chat->info; }

/* ---- pieces ---- */

/* Tokens on their way out. What was appended is taken back unless all of it could be. */
typedef struct rendering {
    const il_chat *chat;
    il_tokens *tokens;
    il_text_buffer text; /* a piece that is put together */
    il_status status;
    il_error *error;
} rendering;

static void put_token(rendering *r, int32_t token) {
    if (r->status != IL_OK || token < 0) return;
    if (il_tokens_reserve(il_tokenizer_memory(r->chat->tokenizer), r->tokens, 1))
        r->tokens->ids[r->tokens->n++] = token;
    else
        r->status = il_fail(r->error, IL_ERR_NOMEM, "no memory for the tokens of a chat");
}

static void add(rendering *r, const char *text, size_t bytes) {
    if (r->status == IL_OK && !il_text_append(il_tokenizer_memory(r->chat->tokenizer), &r->text, text, bytes))
        r->status = il_fail(r->error, IL_ERR_NOMEM, "no memory for a message of %zu bytes", bytes);
}

static void add_word(rendering *r, const char *word) { add(r, word, strlen(word)); }

/* Python's idea of white space, by which templates trim: Unicode's and four separators. */
static int is_space(unsigned class, unsigned char first) {
    return (class & IL_SPACE) != 0 || (first >= 0x1C && first <= 0x1F);
}

static void add_message(rendering *r, const il_chat_message *m) {
    const char *text = m->text;
    size_t bytes = m->bytes, length;
    while (r->chat->trims && bytes && is_space(il_unicode_next(text, bytes, &length), (unsigned char)text[0]))
        text += length, bytes -= length;
    while (r->chat->trims && bytes && is_space(il_unicode_last(text, bytes, &length), (unsigned char)text[bytes - 1]))
        bytes -= length;
    add(r, text, bytes);
}

/* The piece that was added together; follows: it goes on from earlier text, else special tokens or nothing are before
 * it. */
static void put_text(rendering *r, int follows) {
    il_encoding e = {.tokenizer = r->chat->tokenizer, .begun = follows};
    if (r->status == IL_OK && r->text.bytes && !follows)
        r->status = il_tokenizer_encode(r->chat->tokenizer, r->text.text, r->text.bytes, r->tokens, r->error);
    if (r->status == IL_OK && r->text.bytes && follows) {
        r->status = il_encoding_add(&e, r->text.text, r->text.bytes, r->tokens, r->error);
        if (r->status == IL_OK) r->status = il_encoding_end(&e, r->tokens, r->error);
        il_encoding_free(&e);
    }
    r->text.bytes = 0;
}

static il_status finish(rendering *r, size_t before) {
    il_free(il_tokenizer_memory(r->chat->tokenizer), r->text.text);
    if (r->status != IL_OK) r->tokens->n = before;
    return r->status;
}

/* ---- forms ---- */

static void open_header(rendering *r, il_chat_role role) {
    const il_chat *c = r->chat;
    if (c->info.form == IL_CHAT_CHATML) {
        put_token(r, c->special[IM_START]);
        add_word(r, role_names[role]);
        add_word(r, "\n");
    } else {
        put_token(r, c->special[HEADER]);
        add_word(r, role_names[role]);
        put_text(r, 0);
        put_token(r, c->special[HEADER_END]);
        add_word(r, "\n\n");
    }
}

static void close_message(rendering *r) {
    put_text(r, 0);
    put_token(r, r->chat->special[r->chat->info.form == IL_CHAT_CHATML ? IM_END : EOT]);
    if (r->chat->info.form == IL_CHAT_CHATML) add_word(r, "\n");
    put_text(r, 0);
}

/* chatml and llama3: message after message, whoever says it. */
static void put_with_header(rendering *r, const il_chat_message *m) {
    open_header(r, m->role);
    add_message(r, m);
    close_message(r);
}

/* System messages stand in the user's message behind them. */
static void put_llama2(rendering *r, const il_chat_message *messages, size_t i) {
    const il_chat_message *m = &messages[i];
    size_t systems = 0;
    if (m->role == IL_CHAT_SYSTEM) return;
    if (m->role == IL_CHAT_ASSISTANT) {
        add_word(r, " ");
        add_message(r, m);
        add_word(r, " ");
        put_text(r, 1);
        put_token(r, r->chat->eos);
        return;
    }
    while (systems < i && messages[i - systems - 1].role == IL_CHAT_SYSTEM) systems++;
    put_token(r, r->chat->bos);
    add_word(r, systems ? "[INST] <<SYS>>\n" : "[INST] ");
    for (size_t k = i - systems; k < i; k++) {
        add_message(r, &messages[k]);
        add_word(r, k + 1 < i ? "\n\n" : "\n<</SYS>>\n\n");
    }
    add_message(r, m);
    add_word(r, " [/INST]");
    put_text(r, 0);
}

static void put_plain(rendering *r, const il_chat_message *m, int first) {
    static const char *const before[] = {"", "User: ", "Assistant:"};
    if (!first) add_word(r, "\n");
    add_word(r, before[m->role]);
    if (m->role == IL_CHAT_ASSISTANT) { /* as the model writes it, behind il_chat_begin_answer */
        put_text(r, !first);
        first = 0;
        add_word(r, " ");
    }
    add_message(r, m);
    if (m->role == IL_CHAT_SYSTEM) add_word(r, "\n");
    put_text(r, !first);
}

static void put_message(rendering *r, const il_chat_message *messages, size_t i, int first) {
    switch (r->chat->info.form) {
    case IL_CHAT_NONE: break;
    case IL_CHAT_PLAIN: put_plain(r, &messages[i], first); break;
    case IL_CHAT_LLAMA2: put_llama2(r, messages, i); break;
    case IL_CHAT_CHATML:
    case IL_CHAT_LLAMA3: put_with_header(r, &messages[i]); break;
    }
}

/* ---- the calls ---- */

il_status il_chat_render(const il_chat *chat, const il_chat_message *messages, size_t n, size_t from, il_tokens *tokens,
                         il_error *error) {
    rendering r = {.chat = chat, .tokens = tokens, .error = error};
    size_t before = tokens->n;
    for (size_t i = from; i < n; i++)
        if (messages[i].role < IL_CHAT_SYSTEM || messages[i].role > IL_CHAT_ASSISTANT)
            return il_fail(error, IL_ERR_ARG, "message %zu has no role", i);
    if (from == 0 && n && chat->info.form != IL_CHAT_LLAMA2) put_token(&r, chat->bos);
    if (from == 0 && n && chat->info.system && messages[0].role != IL_CHAT_SYSTEM) {
        il_chat_message system = {IL_CHAT_SYSTEM, chat->info.system, strlen(chat->info.system)};
        put_message(&r, &system, 0, 1);
    }
    for (size_t i = from; i < n; i++) put_message(&r, messages, i, i == 0);
    return finish(&r, before);
}

il_status il_chat_begin_answer(const il_chat *chat, int thinking, int *in_thought, il_tokens *tokens, il_error *error) {
    rendering r = {.chat = chat, .tokens = tokens, .error = error};
    size_t before = tokens->n;
    int knows = chat->info.thinks >= 0;
    int thinks = knows && (chat->info.thinks == 2 || thinking > 0 || (thinking < 0 && chat->info.thinks > 0));
    if (in_thought) *in_thought = thinks && chat->opens;
    switch (chat->info.form) {
    case IL_CHAT_NONE:
    case IL_CHAT_LLAMA2: break;
    case IL_CHAT_PLAIN:
        add_word(&r, "\nAssistant:");
        put_text(&r, 1);
        break;
    case IL_CHAT_CHATML:
    case IL_CHAT_LLAMA3:
        open_header(&r, IL_CHAT_ASSISTANT);
        if (thinks && chat->opens) add_word(&r, "<think>\n");
        if (knows && !thinks) add_word(&r, "<think>\n\n</think>\n\n");
        put_text(&r, 0);
        break;
    }
    return finish(&r, before);
}

il_status il_chat_end_answer(const il_chat *chat, int in_thought, il_tokens *tokens, il_error *error) {
    rendering r = {.chat = chat, .tokens = tokens, .error = error};
    size_t before = tokens->n;
    switch (chat->info.form) {
    case IL_CHAT_NONE:
    case IL_CHAT_PLAIN: break;
    case IL_CHAT_LLAMA2: put_token(&r, chat->eos); break;
    case IL_CHAT_CHATML:
    case IL_CHAT_LLAMA3:
        if (in_thought) add_word(&r, "\n</think>\n\n");
        close_message(&r);
        break;
    }
    return finish(&r, before);
}
