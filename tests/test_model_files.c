/* test_model_files.c: model directories: what is saved loads as the same model; what is damaged, does not fit
 * or cannot be written is refused by name, and leaves what was there. */
#include "support_test.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_engine.h"
#include "support_fault.h"
#include "support_files.h"
#include "support_model.h"

static const char WEIGHTS[] = "model.safetensors", INDEX[] = "model.safetensors.index.json";
#define BLOCK "model.layers.1.seq_modeling_block."

static support_alloc counter; /* under the engine: sees what loading asks for */
static il_engine *engine;

static int setup(void **state) {
    (void)state;
    engine = support_engine(2, &counter);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    support_engine_close(engine, &counter);
    return 0;
}

/* A model and a folder to put it in. */
typedef struct place {
    char *dir;
    il_config config;
    il_model *model;
    il_st_item *items; /* of the model */
    size_t n;
} place;

static place make_place(const char *mixer) {
    place p = {.dir = support_folder_make(), .config = support_config(mixer, NULL)};
    p.model = support_model(engine, &p.config, 11);
    p.items = support_items(p.model);
    p.n = p.model->table.n;
    support_write_config(p.dir, &p.config);
    return p;
}

static void leave_place(place *p) {
    free(p->items);
    il_model_unref(p->model);
    support_folder_remove(p->dir);
}

static il_st_item *item(place *p, const char *name) {
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->items[i].name, name) == 0) return &p->items[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void expect_same(const il_model *a, const il_model *b) {
    char hex[33], other[33];
    assert_int_equal(a->table.n, b->table.n);
    assert_memory_equal(a->weights, b->weights, a->table.floats * sizeof *a->weights); /* padding too: zeros */
    il_model_fingerprint(a, hex);
    il_model_fingerprint(b, other);
    assert_string_equal(hex, other);
}

static void expect_loads(const place *p) {
    il_model *model;
    il_error error;
    assert_ok(il_model_load(engine, p->dir, &model, &error), error);
    expect_same(model, p->model);
    il_model_unref(model);
}

/* Loading fails so, and names both file and tensor (or whatever else). */
static void expect_refused(const place *p, il_status status, const char *file, const char *what) {
    il_model *model = p->model;
    il_error error;
    assert_fails(il_model_load(engine, p->dir, &model, &error), status, error, file);
    if (!strstr(error.message, what)) fail_msg("\"%s\" lacks \"%s\"", error.message, what);
    assert_null(model);
}

/* ---- there and back ---- */

static void all_variants_there_and_back(void **state) {
    static const struct {
        const char *mixer, *backbone;
    } variants[] = {{"ttt_linear", "mamba"},
                    {"ttt_linear", "transformer"},
                    {"ttt_mlp", "mamba"},
                    {"ttt_mlp", "transformer"},
                    {"self_attention", "transformer"}};
    il_model *again;
    il_error error;
    (void)state;
    for (size_t i = 0; i < 5; i++)
        for (int tied = 0; tied < 2; tied++)
            for (int flags = 0; flags < (i == 4 ? 1 : 8); flags++) {
                char *dir = support_folder_make();
                char inner[4096];
                snprintf(inner, sizeof inner, "%s/a/b", dir); /* made with its parents */
                il_config config = support_config(variants[i].mixer, variants[i].backbone);
                config.tie_word_embeddings = tied;
                if (i != 4) {
                    config.share_qk = flags & 1;
                    config.use_gate = flags >> 1 & 1;
                    config.pre_conv = flags >> 2 & 1;
                }
                il_model *model = support_model(engine, &config, i + 1);
                assert_ok(il_model_save(model, inner, &error), error);
                assert_int_equal(support_folder_count(inner), 3);
                assert_ok(il_model_load(engine, inner, &again, &error), error);
                assert_int_equal(again->config.mixer, config.mixer);
                assert_int_equal(again->config.tie_word_embeddings, tied);
                expect_same(model, again);
                il_model_unref(again);
                il_model_unref(model);
                support_folder_remove(dir);
            }
}

static void what_a_saved_folder_holds(void **state) {
    il_allocator memory = il_allocator_default();
    il_st st;
    il_error error;
    char hex[33];
    size_t bytes;
    (void)state;
    place p = make_place("ttt_mlp");
    p.model->config.eos_token = -1;
    assert_ok(il_model_save(p.model, p.dir, &error), error);
    assert_ok(il_st_open(&memory, support_path(p.dir, WEIGHTS), &st, &error), error);
    il_model_fingerprint(p.model, hex);
    assert_string_equal(il_st_meta(&st, "format"), "pt"); /* transformers refuses a file without it */
    assert_string_equal(il_st_meta(&st, "fingerprint"), hex);
    assert_int_equal(st.n, p.n);
    il_st_close(&st);
    char *text = support_read(support_path(p.dir, "generation_config.json"), &bytes);
    assert_non_null(strstr(text, "\"bos_token_id\": 1"));
    assert_null(strstr(text, "eos_token_id"));
    free(text);
    leave_place(&p);
}

/* Weights that BF16 and F16 hold exactly come back as they were; the fingerprint is of the numbers, not of
 * the file. */
static void half_precision_files(void **state) {
    static const il_dtype dtypes[] = {IL_BF16, IL_F16};
    (void)state;
    place p = make_place("ttt_linear");
    for (size_t i = 0; i < p.model->table.floats; i++)
        p.model->weights[i] = rintf(p.model->weights[i] * 128.0f) / 128.0f; /* 8 bits suffice */
    p.model->version++;
    for (int k = 0; k < 2; k++) {
        uint16_t **data = calloc(p.n, sizeof *data);
        assert_non_null(data);
        il_st_item *items = support_items(p.model);
        for (size_t i = 0; i < p.n; i++) {
            if (k == 0 && i % 3 == 0) continue; /* dtypes may be mixed */
            data[i] = support_half(dtypes[k], items[i].data, p.model->table.entries[i].count);
            items[i].dtype = dtypes[k];
            items[i].data = data[i];
        }
        support_write_items(p.dir, WEIGHTS, items, p.n);
        expect_loads(&p);
        for (size_t i = 0; i < p.n; i++) free(data[i]);
        free(data);
        free(items);
    }
    leave_place(&p);
}

static void official_files_load(void **state) {
    static const char *const names[] = {"linear_mamba_d16", "linear_transformer_d16", "mlp_mamba_d16", "llama_d16"};
    char dir[4096];
    il_model *model;
    il_error error;
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        snprintf(dir, sizeof dir, "%s/%s", FIXTURES, names[i]);
        assert_ok(il_model_load(engine, dir, &model, &error), error);
        assert_int_equal(il_model_config(model)->layers, 2);
        il_model_unref(model);
    }
}

static void fingerprint_follows_what_is_computed(void **state) {
    char first[33], other[33];
    (void)state;
    place p = make_place("ttt_linear");
    il_model_fingerprint(p.model, first);
    assert_int_equal(strlen(first), 32);
    assert_int_equal(strspn(first, "0123456789abcdef"), 32);
    p.model->weights[p.model->norm.w] += 1;
    il_model_fingerprint(p.model, other);
    assert_string_equal(first, other); /* once a version */
    p.model->version++;
    il_model_fingerprint(p.model, other);
    assert_string_not_equal(first, other);
    p.model->weights[p.model->norm.w] -= 1;
    p.model->config.ttt_base_lr = 0.5;
    p.model->version++;
    il_model_fingerprint(p.model, other);
    assert_string_not_equal(first, other);
    p.model->config.ttt_base_lr = 1;
    p.model->config.eos_token = 5; /* steers generation, not the arithmetic */
    p.model->version++;
    il_model_fingerprint(p.model, other);
    assert_string_equal(first, other);
    leave_place(&p);
}

/* ---- tensors that do not fit ---- */

static void missing_and_unknown_tensors(void **state) {
    static const float zeros[16];
    (void)state;
    place p = make_place("ttt_mlp");
    for (size_t i = 0; i < p.n; i++) { /* each one in turn */
        il_st_item kept = p.items[i];
        p.items[i] = p.items[p.n - 1];
        support_write_items(p.dir, WEIGHTS, p.items, p.n - 1);
        p.items[i] = kept;
        expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, kept.name);
    }
    item(&p, BLOCK "W2")->name = BLOCK "W3";
    support_write_items(p.dir, WEIGHTS, p.items, p.n);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, BLOCK "W3");
    item(&p, BLOCK "W3")->name = BLOCK "W2";

    il_st_item *more = calloc(p.n + 1, sizeof *more);
    assert_non_null(more);
    memcpy(more, p.items, p.n * sizeof *more);
    more[p.n] = (il_st_item){.name = "model.layers.2.seq_norm.weight", .rank = 1, .shape = {16}, .data = zeros};
    support_write_items(p.dir, WEIGHTS, more, p.n + 1);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, "model.layers.2.seq_norm.weight");
    more[p.n].name = "inv_freq";
    support_write_items(p.dir, WEIGHTS, more, p.n + 1);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, "inv_freq");
    more[p.n].name = BLOCK "rotary_emb.inv_freq"; /* older transformers wrote it */
    support_write_items(p.dir, WEIGHTS, more, p.n + 1);
    expect_loads(&p);
    support_write_items(p.dir, WEIGHTS, more, 0);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, "model.embed_tokens.weight: is missing");
    free(more);
    leave_place(&p);
}

/* Mamba-backbone weights under a config that does not say so: the classic mistake. */
static void backbone_of_config_and_weights_differ(void **state) {
    (void)state;
    place p = make_place("ttt_linear");
    support_write_items(p.dir, WEIGHTS, p.items, p.n);
    p.config.share_qk = p.config.use_gate = p.config.pre_conv = 0;
    support_write_config(p.dir, &p.config);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, "share_qk is false, or left out of config.json, but");
    p.config.share_qk = p.config.use_gate = 1;
    support_write_config(p.dir, &p.config);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, "pre_conv is false");
    p.config = p.model->config;
    p.config.mixer = IL_MIXER_TTT_MLP;
    support_write_config(p.dir, &p.config);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, "shape");
    p.config = p.model->config;
    p.config.width = 32;
    support_write_config(p.dir, &p.config);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, "shape");
    p.config = p.model->config;
    p.config.layers = 3;
    support_write_config(p.dir, &p.config);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, "model.layers.2.");
    leave_place(&p);
}

static void wrong_shapes_and_dtypes(void **state) {
    (void)state;
    place p = make_place("ttt_mlp");
    il_st_item *w1 = item(&p, BLOCK "W1"), kept = *w1;
    w1->shape[1] = 32;
    w1->shape[2] = 8; /* transposed: as many entries */
    support_write_items(p.dir, WEIGHTS, p.items, p.n);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, BLOCK "W1: shape [2, 32, 8], but config.json makes it [2, 8, 32]");
    *w1 = kept;
    w1->rank = 2;
    w1->shape[1] = 256;
    support_write_items(p.dir, WEIGHTS, p.items, p.n);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, BLOCK "W1: shape [2, 256]");
    *w1 = kept;
    w1->dtype = IL_I32;
    support_write_items(p.dir, WEIGHTS, p.items, p.n);
    expect_refused(&p, IL_ERR_UNSUPPORTED, WEIGHTS, BLOCK "W1: dtype I32");
    *w1 = kept;
    il_st_item *idx = item(&p, BLOCK "learnable_token_idx");
    idx->shape[0] = 2;
    support_write_items(p.dir, WEIGHTS, p.items, p.n);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, "learnable_token_idx: shape [2]");
    leave_place(&p);
}

static void numbers_that_are_none(void **state) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    place p = make_place("ttt_linear");
    for (size_t i = 0; i < p.n; i++) {
        const il_table_entry *e = &p.model->table.entries[i];
        float *at = &p.model->weights[e->offset + e->count - 1], kept = *at;
        char says[200];
        *at = bad[i % 3];
        support_write_items(p.dir, WEIGHTS, p.items, p.n);
        *at = kept;
        snprintf(says, sizeof says, "%s: element %zu is ", e->name, e->count - 1);
        expect_refused(&p, IL_ERR_NONFINITE, WEIGHTS, says);
    }
    p.model->weights[p.model->norm.w] = NAN; /* of two, the first in order is named, whatever the threads do */
    p.model->weights[p.model->layers[0].seq_norm.w + 3] = NAN;
    support_write_items(p.dir, WEIGHTS, p.items, p.n);
    for (int i = 0; i < 20; i++)
        expect_refused(&p, IL_ERR_NONFINITE, WEIGHTS, "model.layers.0.seq_norm.weight: element 3 is nan");
    leave_place(&p);
}

/* Nor are they written: the model that was there stays. */
static void numbers_that_are_none_are_not_saved(void **state) {
    (void)state;
    place p = make_place("ttt_linear");
    il_error error;
    assert_ok(il_model_save(p.model, p.dir, &error), error);
    int files = support_folder_count(p.dir);
    for (size_t i = 0; i < p.model->table.n; i++) {
        const il_table_entry *e = &p.model->table.entries[i];
        float *at = &p.model->weights[e->offset + e->count - 1], kept = *at;
        *at = i % 2 ? NAN : INFINITY;
        assert_fails(il_model_save(p.model, p.dir, &error), IL_ERR_NONFINITE, error, e->name);
        *at = kept;
    }
    assert_int_equal(support_folder_count(p.dir), files);
    il_model *model;
    assert_ok(il_model_load(engine, p.dir, &model, &error), error);
    il_model_unref(model);
    leave_place(&p);
}

static void heads_of_tied_files(void **state) {
    (void)state;
    place p = make_place("self_attention");
    il_st_item *more = calloc(p.n + 1, sizeof *more);
    float *head = calloc(20 * 16, sizeof *head);
    assert_true(more && head);
    memcpy(head, il_weight(p.model, p.model->embedding.at), 20 * 16 * sizeof *head);
    memcpy(more, p.items, p.n * sizeof *more);
    more[p.n] = (il_st_item){.name = "lm_head.weight", .rank = 2, .shape = {20, 16}, .data = head};
    support_write_items(p.dir, WEIGHTS, more, p.n + 1);
    expect_loads(&p);
    head[319] += 1; /* the embedding wins, whatever is there */
    support_write_items(p.dir, WEIGHTS, more, p.n + 1);
    expect_loads(&p);
    p.config.tie_word_embeddings = 0; /* and the same file is right for an untied model */
    support_write_config(p.dir, &p.config);
    support_write_items(p.dir, WEIGHTS, more, p.n + 1);
    il_model *model;
    il_error error;
    assert_ok(il_model_load(engine, p.dir, &model, &error), error);
    assert_memory_equal(il_weight(model, model->head.at), head, 20 * 16 * sizeof *head);
    il_model_unref(model);
    support_write_items(p.dir, WEIGHTS, p.items, p.n);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, "lm_head.weight: is missing");
    free(head);
    free(more);
    leave_place(&p);
}

/* ---- damaged files ---- */

static void truncated_and_lying_files(void **state) {
    size_t bytes;
    (void)state;
    place p = make_place("ttt_linear");
    support_write_items(p.dir, WEIGHTS, p.items, p.n);
    char *file = support_read(support_path(p.dir, WEIGHTS), &bytes);
    const size_t cuts[] = {0, 1, 7, 8, 9, 100, 2000, bytes / 2, bytes - 64, bytes - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        support_write(support_path(p.dir, WEIGHTS), file, cuts[i]);
        expect_refused(&p, IL_ERR_FORMAT, WEIGHTS, "");
    }
    const uint64_t lies[] = {0, 2, 99999999, 100000001, UINT64_MAX};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        char *copy = malloc(bytes);
        assert_non_null(copy);
        memcpy(copy, file, bytes);
        memcpy(copy, &lies[i], 8);
        support_write(support_path(p.dir, WEIGHTS), copy, bytes);
        expect_refused(&p, IL_ERR_FORMAT, WEIGHTS, "");
        free(copy);
    }
    char *longer = calloc(bytes + 4, 1);
    assert_non_null(longer);
    memcpy(longer, file, bytes);
    support_write(support_path(p.dir, WEIGHTS), longer, bytes + 4);
    expect_refused(&p, IL_ERR_FORMAT, WEIGHTS, "after the last tensor");
    free(longer);
    free(file);
    leave_place(&p);
}

/* A small folder that claims a giant model costs no memory. */
static void giant_claims_are_cheap(void **state) {
    (void)state;
    place p = make_place("ttt_mlp");
    support_write_items(p.dir, WEIGHTS, p.items, p.n);
    p.config.width = p.config.ffn_width = 16384;
    p.config.heads = 16;
    p.config.layers = 20;
    support_write_config(p.dir, &p.config);
    size_t now = atomic_load(&counter.live_bytes);
    atomic_store(&counter.peak_bytes, now);
    expect_refused(&p, IL_ERR_MISMATCH, WEIGHTS, "shape");
    assert_true(atomic_load(&counter.peak_bytes) - now < (size_t)8 << 20);
    leave_place(&p);
}

static void things_that_are_no_files(void **state) {
    (void)state;
    place p = make_place("ttt_linear");
    expect_refused(&p, IL_ERR_IO, p.dir, "neither model.safetensors nor");
    assert_int_equal(mkdir(support_path(p.dir, WEIGHTS), 0777), 0);
    expect_refused(&p, IL_ERR_IO, WEIGHTS, "folder");
    assert_int_equal(rmdir(support_path(p.dir, WEIGHTS)), 0);
    assert_int_equal(mkfifo(support_path(p.dir, WEIGHTS), 0666), 0); /* must not wait for a writer */
    expect_refused(&p, IL_ERR_IO, WEIGHTS, "pipe");
    assert_int_equal(unlink(support_path(p.dir, WEIGHTS)), 0);
    support_write_items(p.dir, WEIGHTS, p.items, p.n);
    if (geteuid() != 0) { /* root reads everything */
        assert_int_equal(chmod(support_path(p.dir, WEIGHTS), 0), 0);
        expect_refused(&p, IL_ERR_IO, WEIGHTS, "cannot open");
    }
    assert_int_equal(unlink(support_path(p.dir, "config.json")), 0);
    expect_refused(&p, IL_ERR_IO, "config.json", "No such file");
    assert_int_equal(symlink("config.json", support_path(p.dir, "config.json")), 0); /* onto itself */
    expect_refused(&p, IL_ERR_IO, "config.json", "cannot open");
    assert_int_equal(unlink(support_path(p.dir, "config.json")), 0);
    assert_int_equal(mkfifo(support_path(p.dir, "config.json"), 0666), 0);
    expect_refused(&p, IL_ERR_IO, "config.json", "pipe");
    assert_int_equal(unlink(support_path(p.dir, "config.json")), 0);
    assert_int_equal(mkdir(support_path(p.dir, "config.json"), 0777), 0);
    expect_refused(&p, IL_ERR_IO, "config.json", "a folder");
    assert_int_equal(rmdir(support_path(p.dir, "config.json")), 0);
    support_write(support_path(p.dir, "config.json"), "{}", 2);
    expect_refused(&p, IL_ERR_FORMAT, "config.json", "model_type is missing");

    il_model *model;
    il_error error;
    assert_fails(il_model_load(engine, support_path(p.dir, "config.json"), &model, &error), IL_ERR_FORMAT, error,
                 "config.json: neither a model's directory nor a GGUF file nor a JAX checkpoint");
    assert_fails(il_model_load(engine, "", &model, &error), IL_ERR_IO, error, "config.json");
    leave_place(&p);
}

/* ---- shards ---- */

/* Writes tensors to two files, those before `first` to the first, and an index. */
static void write_shards(place *p, size_t first) {
    size_t room = 100 + p->n * 200, n = 0;
    char *index = malloc(room);
    assert_non_null(index);
    n += (size_t)snprintf(index, room, "{\"metadata\":{\"total_size\":1},\"weight_map\":{");
    for (size_t i = 0; i < p->n; i++)
        n += (size_t)snprintf(index + n, room - n, "%s\"%s\":\"part-%d.safetensors\"", i ? "," : "", p->items[i].name,
                              i < first ? 1 : 2);
    n += (size_t)snprintf(index + n, room - n, "}}");
    support_write(support_path(p->dir, INDEX), index, n);
    support_write_items(p->dir, "part-1.safetensors", p->items, first);
    support_write_items(p->dir, "part-2.safetensors", p->items + first, p->n - first);
    free(index);
}

static void write_index(const place *p, const char *text) {
    support_write(support_path(p->dir, INDEX), text, strlen(text));
}

static void shards_load_as_one(void **state) {
    (void)state;
    place p = make_place("ttt_mlp");
    for (size_t first = 1; first < p.n; first += 7) {
        write_shards(&p, first);
        expect_loads(&p);
    }
    leave_place(&p);
}

static void shards_that_do_not_fit(void **state) {
    (void)state;
    place p = make_place("ttt_linear");
    write_shards(&p, 5);
    support_write_items(p.dir, "part-2.safetensors", p.items + 5, p.n - 6); /* the last is gone */
    expect_refused(&p, IL_ERR_MISMATCH, INDEX, "model.norm.weight: is missing");
    support_write_items(p.dir, "part-2.safetensors", p.items + 4, p.n - 4); /* the fifth is there twice */
    expect_refused(&p, IL_ERR_FORMAT, "part-2.safetensors", p.items[4].name);
    support_write_items(p.dir, "part-2.safetensors", p.items + 5, p.n - 5);
    p.model->weights[p.model->norm.w] = NAN;
    support_write_items(p.dir, "part-2.safetensors", p.items + 5, p.n - 5);
    expect_refused(&p, IL_ERR_NONFINITE, "part-2.safetensors", "model.norm.weight");
    assert_int_equal(unlink(support_path(p.dir, "part-1.safetensors")), 0);
    expect_refused(&p, IL_ERR_IO, "part-1.safetensors", "No such file");
    leave_place(&p);
}

static void damaged_indexes(void **state) {
    static const char *const names[] = {
        "",     ".",       "..",      "../model.safetensors", "/etc/passwd", "a/b.safetensors", ".hidden",
        "a..b", "a\\b.st", "sub/../x"};
    char text[400];
    (void)state;
    place p = make_place("ttt_linear");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[60] = "";
        for (size_t k = 0, n = 0; names[i][k]; k++) {
            if (names[i][k] == '\\') name[n++] = '\\';
            name[n++] = names[i][k];
        }
        snprintf(text, sizeof text, "{\"weight_map\":{\"model.norm.weight\":\"%s\"}}", name);
        write_index(&p, text);
        expect_refused(&p, IL_ERR_FORMAT, INDEX, "model.norm.weight: its place is not a plain file name");
    }
    write_index(&p, "{\"weight_map\":{\"model.norm.weight\":7}}");
    expect_refused(&p, IL_ERR_FORMAT, INDEX, "model.norm.weight");
    write_index(&p, "{\"weight_map\":{\"model.norm.scale\":\"a.safetensors\"}}");
    expect_refused(&p, IL_ERR_MISMATCH, INDEX, "model.norm.scale");
    write_index(&p,
                "{\"weight_map\":{\"model.norm.weight\":\"a.safetensors\",\"model.norm.weight\":\"b.safetensors\"}}");
    expect_refused(&p, IL_ERR_FORMAT, INDEX, "uplicate");
    write_index(&p, "{\"weight_map\":{}}");
    expect_refused(&p, IL_ERR_MISMATCH, INDEX, "model.embed_tokens.weight");
    write_index(&p, "{\"weight_map\":[]}");
    expect_refused(&p, IL_ERR_FORMAT, INDEX, "weight_map");
    write_index(&p, "{}");
    expect_refused(&p, IL_ERR_FORMAT, INDEX, "weight_map is missing");
    write_index(&p, "[\"weight_map\"]");
    expect_refused(&p, IL_ERR_FORMAT, INDEX, "weight_map");
    write_index(&p, "{\"weight_map\":{");
    expect_refused(&p, IL_ERR_FORMAT, INDEX, "line 1");
    write_index(&p, "");
    expect_refused(&p, IL_ERR_FORMAT, INDEX, "line");
    char *large = malloc((1 << 24) + 1);
    assert_non_null(large);
    memset(large, ' ', (1 << 24) + 1);
    support_write(support_path(p.dir, INDEX), large, (1 << 24) + 1);
    free(large);
    expect_refused(&p, IL_ERR_UNSUPPORTED, INDEX, "more than 16 MiB are not read");
    leave_place(&p);
}

/* ---- saving that fails ---- */

/* Saves under a limit on file sizes, which fails as a full disk does: in the middle of writing. */
static il_status save_limited(const place *p, const il_model *model, rlim_t bytes, il_error *error) {
    struct rlimit before, limited;
    void (*kept)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limited = (struct rlimit){bytes, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
    il_status status = il_model_save(model, p->dir, error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, kept);
    return status;
}

static void a_full_disk_leaves_the_old_model(void **state) {
    il_error error;
    (void)state;
    place p = make_place("ttt_linear");
    assert_ok(il_model_save(p.model, p.dir, &error), error);
    il_config larger = p.config;
    larger.vocab_size = 20000; /* past the writer's buffer */
    il_model *other = support_model(engine, &larger, 12);
    const rlim_t limits[] = {0, 10, 4000, 300000, 1000000};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        assert_fails(save_limited(&p, other, limits[i], &error), IL_ERR_IO, error, WEIGHTS);
        assert_int_equal(support_folder_count(p.dir), 3); /* nothing half-written stays */
        expect_loads(&p);
    }
    il_model_unref(other);
    leave_place(&p);
}

static void saving_where_it_cannot(void **state) {
    il_error error;
    (void)state;
    place p = make_place("ttt_linear");
    assert_fails(il_model_save(p.model, support_path(p.dir, "config.json"), &error), IL_ERR_IO, error, "config.json");
    assert_fails(il_model_save(p.model, "", &error), IL_ERR_ARG, error, "folder");
    assert_fails(il_model_save(p.model, "/proc/self/nothing", &error), IL_ERR_IO, error, "/proc/self/nothing");
    assert_int_equal(mkdir(support_path(p.dir, WEIGHTS), 0777), 0);
    assert_fails(il_model_save(p.model, p.dir, &error), IL_ERR_IO, error, WEIGHTS);
    assert_int_equal(support_folder_count(p.dir), 2);
    assert_int_equal(rmdir(support_path(p.dir, WEIGHTS)), 0);
    assert_int_equal(mkdir(support_path(p.dir, "generation_config.json"), 0777), 0);
    assert_fails(il_model_save(p.model, p.dir, &error), IL_ERR_IO, error, "generation_config.json");
    assert_int_equal(support_folder_count(p.dir), 2); /* nothing was written before */
    leave_place(&p);
}

/* ---- a model and its tokenizer ---- */

static const char TOKENIZER[] = "tokenizer.model";

static void a_model_and_its_tokenizer(void **state) {
    il_error error;
    il_tokenizer *bytes, *pieces, *json;
    (void)state;
    place p = make_place("ttt_linear");
    assert_ok(il_tokenizer_load(engine, "bytes", &bytes, &error), error);
    assert_ok(il_tokenizer_load(engine, CORPUS "/sentencepiece/bpe.model", &pieces, &error), error);
    assert_ok(il_tokenizer_load(engine, FIXTURES "/tokenizers/qwen2.json", &json, &error), error);
    assert_ok(il_model_save_with(p.model, pieces, p.dir, &error), error);
    support_same_files(support_path(p.dir, TOKENIZER), CORPUS "/sentencepiece/bpe.model");
    assert_int_equal(support_folder_count(p.dir), 4);
    assert_ok(il_model_save(p.model, p.dir, &error), error); /* knows of none: it stays */
    assert_true(support_exists(support_path(p.dir, TOKENIZER)));
    assert_int_equal(support_folder_count(p.dir), 4);
    support_write(support_path(p.dir, "README.md"), "mine", 4);
    assert_ok(il_model_save_with(p.model, bytes, p.dir, &error), error); /* whose it would not be any more */
    assert_false(support_exists(support_path(p.dir, TOKENIZER)));
    assert_ok(il_model_save_with(p.model, pieces, p.dir, &error), error);
    assert_ok(il_model_save_with(p.model, json, p.dir, &error), error);
    assert_false(support_exists(support_path(p.dir, TOKENIZER)));
    support_same_files(support_path(p.dir, "tokenizer.json"), FIXTURES "/tokenizers/qwen2.json");
    assert_ok(il_model_save_with(p.model, bytes, p.dir, &error), error);
    assert_false(support_exists(support_path(p.dir, "tokenizer.json")));
    assert_true(support_exists(support_path(p.dir, "README.md")));
    assert_int_equal(support_folder_count(p.dir), 4);
    expect_loads(&p);
    il_tokenizer_close(bytes);
    il_tokenizer_close(pieces);
    il_tokenizer_close(json);
    leave_place(&p);
}

/* Killed at any call, or with the disk full at any, a directory holds the old model with the old tokenizer, the new one
 * with the new, or none that can be read. */
static void a_model_is_never_with_another_tokenizer(void **state) {
    il_error error;
    il_tokenizer *bytes, *pieces;
    (void)state;
    place p = make_place("ttt_linear"), q = make_place("ttt_mlp");
    assert_ok(il_tokenizer_load(engine, "bytes", &bytes, &error), error);
    assert_ok(il_tokenizer_load(engine, CORPUS "/sentencepiece/bpe.model", &pieces, &error), error);
    for (int how = 0; how < 4; how++) {
        char dir[4096];
        snprintf(dir, sizeof dir, "%s/made", p.dir);
        int kills = how & 1, done = 0;
        for (long n = 1; !done; n++) {
            assert_ok(il_model_save_with(p.model, bytes, dir, &error), error);
            if (how & 2) support_fault_on("renameat2", EINVAL);
            if (kills) {
                pid_t child = fork();
                if (child == 0) {
                    support_fault_kill_at(n);
                    _exit(il_model_save_with(q.model, pieces, dir, NULL) != IL_OK);
                }
                done = !support_fault_killed(child);
            } else {
                support_fault_fail_at(n, ENOSPC);
                il_status status = il_model_save_with(q.model, pieces, dir, &error);
                done = support_fault_calls() < n;
                if (!done && status != IL_OK) assert_int_equal(status, IL_ERR_IO);
            }
            support_fault_end();
            il_model *model;
            if (il_model_load(engine, dir, &model, &error) != IL_OK) {
                assert_true(how & 2);
                assert_false(support_exists(support_path(dir, "config.json")));
                continue;
            }
            int is_new = model->config.mixer == q.config.mixer;
            expect_same(model, is_new ? q.model : p.model);
            assert_int_equal(support_exists(support_path(dir, TOKENIZER)), is_new);
            if (done) assert_true(is_new);
            il_model_unref(model);
        }
    }
    il_tokenizer_close(bytes);
    il_tokenizer_close(pieces);
    leave_place(&p);
    leave_place(&q);
}

/* ---- short memory ---- */

static il_status load_once(const il_allocator *allocator, void *context, il_error *error) {
    il_model *model;
    (void)allocator; /* the engine's own */
    il_status status = il_model_load(engine, context, &model, error);
    if (status != IL_OK) assert_null(model);
    il_model_unref(model);
    return status;
}

static il_status save_once(const il_allocator *allocator, void *context, il_error *error) {
    const place *p = context;
    (void)allocator;
    return il_model_save(p->model, p->dir, error);
}

static void every_allocation_failed_in_turn(void **state) {
    il_error error;
    (void)state;
    place p = make_place("ttt_mlp");
    write_shards(&p, 9);
    assert_true(support_alloc_fail_each(&counter, load_once, p.dir) >= 12);
    assert_ok(il_model_save(p.model, p.dir, &error), error);
    assert_true(support_alloc_fail_each(&counter, load_once, p.dir) >= 10);
    int files = support_folder_count(p.dir);
    assert_true(support_alloc_fail_each(&counter, save_once, &p) >= 12);
    assert_int_equal(support_folder_count(p.dir), files);
    expect_loads(&p);
    leave_place(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_variants_there_and_back),
        cmocka_unit_test(what_a_saved_folder_holds),
        cmocka_unit_test(half_precision_files),
        cmocka_unit_test(official_files_load),
        cmocka_unit_test(fingerprint_follows_what_is_computed),
        cmocka_unit_test(missing_and_unknown_tensors),
        cmocka_unit_test(backbone_of_config_and_weights_differ),
        cmocka_unit_test(wrong_shapes_and_dtypes),
        cmocka_unit_test(numbers_that_are_none),
        cmocka_unit_test(numbers_that_are_none_are_not_saved),
        cmocka_unit_test(heads_of_tied_files),
        cmocka_unit_test(truncated_and_lying_files),
        cmocka_unit_test(giant_claims_are_cheap),
        cmocka_unit_test(things_that_are_no_files),
        cmocka_unit_test(shards_load_as_one),
        cmocka_unit_test(shards_that_do_not_fit),
        cmocka_unit_test(damaged_indexes),
        cmocka_unit_test(a_full_disk_leaves_the_old_model),
        cmocka_unit_test(saving_where_it_cannot),
        cmocka_unit_test(a_model_and_its_tokenizer),
        cmocka_unit_test(a_model_is_never_with_another_tokenizer),
        cmocka_unit_test(every_allocation_failed_in_turn),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
