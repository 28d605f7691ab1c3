/* test_text_memory.c: src/text with every allocation failing in turn: IL_ERR_NOMEM, nothing leaked, nothing
 * half done. What libsentencepiece, jansson and zstd allocate does not pass through an il_allocator and is
 * not failed here. */
#include "support_test.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "engine/engine.h"
#include "support_engine.h"
#include "support_files.h"
#include "support_text.h"

#include <zstd.h>

static support_alloc alloc;
static il_engine *engine;
static il_error setup_error;
static char *folder;
static const char *model_path;

static il_status load_and_use(const il_allocator *allocator, void *context, il_error *error) {
    il_tokenizer *t;
    il_tokens tokens = {0};
    (void)allocator;
    il_status status = il_tokenizer_load(engine, context, &t, error);
    if (status != IL_OK) {
        assert_null(t);
        return status;
    }
    status = il_tokenizer_encode(t, "reads a \xFF book", 14, &tokens, error);
    assert_int_equal(tokens.n > 0, status == IL_OK);
    if (status == IL_OK) status = il_tokenizer_save(t, folder, error);
    il_tokens_free(&tokens);
    il_tokenizer_close(t);
    return status;
}

static void tokenizers(void **state) {
    (void)state;
    assert_true(support_alloc_fail_each(&alloc, load_and_use, (void *)(uintptr_t) "bytes") >= 2);
    assert_true(support_alloc_fail_each(&alloc, load_and_use, (void *)(uintptr_t)model_path) >= 6);
}

static il_status load_for_model(const il_allocator *allocator, void *context, il_error *error) {
    il_config config = {.vocab_size = 400};
    il_tokenizer *t;
    (void)allocator;
    (void)context;
    il_status status = il_tokenizer_load_for_model(engine, folder, &config, &t, error);
    il_tokenizer_close(t);
    return status;
}

static il_status train(const il_allocator *allocator, void *context, il_error *error) {
    const char *files[] = {support_path(folder, "a.jsonl.zst")};
    (void)allocator;
    (void)context;
    return il_tokenizer_train(engine, files, 1, NULL, 300, support_path(folder, "new.model"), error);
}

static void folders_and_training(void **state) {
    (void)state;
    assert_true(support_alloc_fail_each(&alloc, load_for_model, NULL) >= 3);
    assert_true(support_alloc_fail_each(&alloc, train, NULL) >= 2);
}

typedef struct opening {
    il_tokenizer *tokenizer;
    const char *const *files;
    size_t n;
    il_data_options options;
    int fresh_cache;
} opening;

static il_status open_data(const il_allocator *allocator, void *context, il_error *error) {
    const opening *o = context;
    il_data *d;
    il_batch batch;
    (void)allocator;
    if (o->fresh_cache) {
        char *dir = strdup(support_path(folder, "cache"));
        mkdir(dir, 0777);
        support_folder_remove(dir);
    }
    il_status status = il_data_open(engine, o->files, o->n, o->tokenizer, 258, &o->options, &d, error);
    if (status != IL_OK) {
        assert_null(d);
        return status;
    }
    long before = atomic_load(&alloc.calls);
    for (int i = 0; i < 20; i++) assert_int_equal(il_data_next(d, &batch, error), IL_OK);
    il_cursor cursor = {3, 0};
    assert_int_equal(il_data_seek(d, &cursor, error), IL_OK);
    assert_int_equal(atomic_load(&alloc.calls), before); /* batches cost no allocation */
    il_data_close(d);
    return IL_OK;
}

static il_status tokenize(const il_allocator *allocator, void *context, il_error *error) {
    const opening *o = context;
    uint64_t tokens;
    (void)allocator;
    return il_data_tokenize(engine, o->files, o->n, NULL, o->tokenizer, support_path(folder, "shards"), &tokens, error);
}

static void data(void **state) {
    (void)state;
    char *files[] = {strdup(support_path(folder, "a.jsonl.zst")), strdup(support_path(folder, "b.txt"))};
    char *shard = strdup(support_path(folder, "shards/b.bin")), *cache = strdup(support_path(folder, "cache"));
    opening o = {.files = (const char *const *)files, .n = 2};
    assert_int_equal(il_tokenizer_load(engine, "bytes", &o.tokenizer, NULL), IL_OK);
    il_data_options_default(&o.options);
    o.options.length = 10, o.options.sequences = 3, o.options.shuffle = 1, o.options.loop = 1;
    assert_true(support_alloc_fail_each(&alloc, open_data, &o) >= 8);
    o.options.stateful = 1;
    assert_true(support_alloc_fail_each(&alloc, open_data, &o) >= 10);
    assert_true(support_alloc_fail_each(&alloc, tokenize, &o) >= 8);
    /* a cache that cannot be written for want of memory is no failure of the opening */
    o.options.cache_dir = cache;
    o.fresh_cache = 1;
    support_alloc_fail_each(&alloc, open_data, &o);
    o.fresh_cache = 0;
    support_alloc_fail_each(&alloc, open_data, &o);
    o.files = (const char *const *)&shard, o.n = 1, o.options.cache_dir = NULL;
    assert_true(support_alloc_fail_each(&alloc, open_data, &o) >= 6);
    il_tokenizer_close(o.tokenizer);
    free(cache);
    free(shard);
    free(files[0]);
    free(files[1]);
}

static int setup(void **state) {
    (void)state;
    engine = support_engine(1, &alloc);
    folder = support_folder_make();
    support_seed(11);
    char *text = support_prose(3000), *lines = malloc(20000), *packed = malloc(20000);
    size_t n = 0;
    for (int i = 0; i < 10; i++) {
        memcpy(lines + n, "{\"text\": \"", 10), n += 10;
        for (int k = 0; k < 100; k++)
            lines[n++] = text[100 * i + k] == '\n' || text[100 * i + k] < 0 ? ' ' : text[100 * i + k];
        memcpy(lines + n, "\"}\n", 3), n += 3;
    }
    size_t m = ZSTD_compress(packed, 20000, lines, n, 3);
    support_write(support_path(folder, "a.jsonl.zst"), packed, m);
    support_write(support_path(folder, "b.txt"), text, 3000);
    free(packed);
    free(lines);
    free(text);
    const char *files[] = {support_path(folder, "b.txt")};
    model_path = strdup(support_path(folder, "t.model"));
    assert_ok(il_tokenizer_train(engine, files, 1, NULL, 300, model_path, &setup_error), setup_error);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    support_folder_remove(folder);
    free((void *)(uintptr_t)model_path);
    support_engine_close(engine, &alloc);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizers),
        cmocka_unit_test(folders_and_training),
        cmocka_unit_test(data),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
