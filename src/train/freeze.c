/* freeze.c: see freeze.h. */
#include "train/freeze.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"

static int matches(const char *pattern, const char *name) { return fnmatch(pattern, name, 0) == 0; }

static il_status matches_none(const il_model *model, const char *pattern, il_error *error) {
    static const char head[] = "lm_head.weight";
    if (matches(pattern, head) && !il_table_find(&model->table, head))
        return il_fail(error, IL_ERR_ARG,
                       "freeze %s: the output head of this model is its embedding, model.embed_tokens.weight", pattern);
    return il_fail(error, IL_ERR_ARG, "freeze %s: no tensor of the model has such a name", pattern);
}

static int any_matches(const char *const *patterns, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (matches(patterns[i], name)) return 1;
    return 0;
}

il_status il_freeze_open(const il_model *model, const char *const *patterns, size_t n, il_freeze *freeze,
                         il_error *error) {
    const il_table *table = &model->table;
    *freeze = (il_freeze){.allocator = &model->engine->memory};
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < table->n && !matches(patterns[i], table->entries[k].name)) k++;
        if (k == table->n) return matches_none(model, patterns[i], error);
    }
    if (!n) return IL_OK;
    freeze->frozen = il_alloc(freeze->allocator, table->n, sizeof *freeze->frozen);
    if (!freeze->frozen) return il_fail(error, IL_ERR_NOMEM, "no memory for the list of frozen tensors");
    XXH64_hash_t hash = 0;
    for (size_t k = 0; k < table->n; k++) {
        const il_table_entry *e = &table->entries[k];
        if (!any_matches(patterns, n, e->name)) continue;
        freeze->frozen[freeze->n++] = (il_float_range){e->offset, e->offset + e->count};
        hash = XXH3_64bits_withSeed(e->name, strlen(e->name), hash);
    }
    if (freeze->n == table->n) {
        il_freeze_close(freeze);
        return il_fail(error, IL_ERR_ARG, "every tensor is frozen: nothing would be trained");
    }
    snprintf(freeze->name, sizeof freeze->name, "%zu tensors, %016llx", freeze->n, (unsigned long long)hash);
    return IL_OK;
}

void il_freeze_close(il_freeze *freeze) {
    if (freeze->allocator) il_free(freeze->allocator, freeze->frozen);
    *freeze = (il_freeze){0};
}

void il_freeze_zero(const il_freeze *freeze, float *gradient) {
    for (size_t i = 0; i < freeze->n; i++)
        memset(gradient + freeze->frozen[i].from, 0,
               (freeze->frozen[i].to - freeze->frozen[i].from) * sizeof *gradient);
}

int il_freeze_next(const il_freeze *freeze, size_t from, size_t end, il_float_range *trained) {
    *trained = (il_float_range){from, end};
    for (size_t i = 0; freeze && i < freeze->n; i++) {
        const il_float_range *f = &freeze->frozen[i];
        if (f->to <= trained->from) continue;
        if (f->from > trained->from) {
            if (f->from < end) trained->to = f->from;
            break;
        }
        trained->from = f->to;
    }
    return trained->from < trained->to;
}
