/* train_from.c: see train_from.h. */
#include "verbs/train_from.h"
#include "output.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct kind {
    char *name; /* with * for the number of the layer */
    il_tensor_fate fate;
    size_t n;
} kind;

typedef struct fates {
    kind *kinds; /* [n] */
    size_t n, capacity;
    size_t counts[3]; /* by fate */
} fates;

/* "model.layers.*.mlp.up_proj.weight" */
static char *without_layer(const char *name) {
    static const char layers[] = "layers.";
    const char *at = strstr(name, layers), *end = at ? at + strlen(layers) : NULL;
    if (!at || !isdigit((unsigned char)*end)) return cli_format("%s", name);
    while (isdigit((unsigned char)*end)) end++;
    return cli_format("%.*s*%s", (int)(at - name) + (int)strlen(layers), name, end);
}

static void note_fate(void *user, const char *name, il_tensor_fate fate) {
    fates *f = user;
    char *kept = without_layer(name);
    size_t i = 0;
    f->counts[fate]++;
    while (i < f->n && (f->kinds[i].fate != fate || strcmp(f->kinds[i].name, kept) != 0)) i++;
    if (i < f->n) {
        f->kinds[i].n++;
        free(kept);
        return;
    }
    f->kinds = cli_grown(f->kinds, &f->capacity, f->n + 1, sizeof *f->kinds);
    f->kinds[f->n++] = (kind){kept, fate, 1};
}

static void show(const cli_command *command, const fates *f, const char *dir) {
    static const char *const words[] = {
        [IL_TENSOR_TAKEN] = "taken", [IL_TENSOR_FRESH] = "fresh", [IL_TENSOR_LEFT] = "left"};
    for (size_t fate = 0; fate < COUNT_OF(words); fate++)
        for (size_t i = 0; i < f->n; i++) {
            if ((size_t)f->kinds[i].fate != fate) continue;
            if (f->kinds[i].n > 1)
                cli_note(command->verb, "%s: %s (%zu layers)", words[fate], f->kinds[i].name, f->kinds[i].n);
            else
                cli_note(command->verb, "%s: %s", words[fate], f->kinds[i].name);
        }
    cli_note(command->verb, "%zu tensors taken from %s, %zu fresh, %zu of its own left", f->counts[IL_TENSOR_TAKEN],
             cli_shown(dir), f->counts[IL_TENSOR_FRESH], f->counts[IL_TENSOR_LEFT]);
}

/* Whether two tokenizers cut a text alike: a sign, not a proof, that tokens mean the same. */
static int cut_alike(const il_tokenizer *a, const il_tokenizer *b) {
    static const char text[] =
        "The weather, in 1984 & after: \"it's 21\xC2\xB0\" said nobody's d\xC3\xA9j\xC3\xA0-vu.\n";
    il_tokens x = {0}, y = {0};
    int alike = !il_tokenizer_encode(a, text, sizeof text - 1, &x, NULL) &&
                !il_tokenizer_encode(b, text, sizeof text - 1, &y, NULL) && x.n == y.n &&
                !memcmp(x.ids, y.ids, x.n * sizeof *x.ids);
    il_tokens_free(&x);
    il_tokens_free(&y);
    return alike;
}

il_status train_from(cli_command *command, const char *dir, il_model *model, const il_tokenizer *tokenizer) {
    il_model *other = NULL;
    il_tokenizer *theirs = NULL;
    fates f = {0};
    il_status status = cli_command_load_model(command, dir, &other);
    if (!status) il_tokenizer_load_for_model(command->engine, dir, il_model_config(other), &theirs, NULL); /* or none */
    if (!status) status = cli_command_widen(command, &other);
    if (!status) status = il_model_take(model, other, note_fate, &f, &command->error);
    if (status == IL_ERR_MISMATCH)
        status = cli_fail(&command->error, status,
                          "--init-from %s: nothing of it fits: no tensor has the name and shape "
                          "of one of the model's",
                          cli_shown(dir));
    if (!status) {
        show(command, &f, dir);
        if (tokenizer && theirs && !cut_alike(tokenizer, theirs))
            cli_note(command->verb,
                     "warning: the tokenizer of %s is another one: its embeddings belong to other tokens",
                     cli_shown(dir));
    }
    for (size_t i = 0; i < f.n; i++) free(f.kinds[i].name);
    free(f.kinds);
    il_tokenizer_close(theirs);
    il_model_unref(other);
    return status;
}
