/* test_server_store.c: the store of sessions by itself: records are replaced only where they are what the caller
 * thought, and a file stays as long as a session needs it. */
#include "support_test.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sessions/store.h"
#include "support_cli.h"
#include "support_files.h"

static il_engine *engine;
static il_model *models[2];
static il_session *session;

static int begin(void **state) {
    il_config config;
    il_engine_options options;
    if (support_cli_begin(state)) return -1;
    il_engine_options_default(&options);
    options.threads = 1;
    if (il_engine_open(&options, &engine, NULL) || il_config_preset("tiny", "ttt_linear", NULL, &config, NULL))
        return -1;
    config.vocab_size = 258;
    for (uint64_t i = 0; i < 2; i++)
        if (il_model_init(engine, &config, i, &models[i], NULL)) return -1;
    return il_session_open(models[0], NULL, &session, NULL) != IL_OK;
}

static int end(void **state) {
    il_session_close(session);
    for (int i = 0; i < 2; i++) il_model_unref(models[i]);
    il_engine_close(engine);
    return support_cli_end(state);
}

static store *open_store(const char *where, int model) {
    il_error error;
    store *s;
    assert_ok(store_open(where, models[model], &s, &error), error);
    return s;
}

/* The next state of the session, and a record that says so. */
static store_record next_state(const char *id, uint64_t generation) {
    store_record r = {.generation = generation, .created = 5};
    int32_t token = 1 + (int32_t)(il_session_position(session) % 200);
    snprintf(r.id, sizeof r.id, "%s", id);
    snprintf(r.name, sizeof r.name, "it's \"%s\"", id);
    assert_int_equal(il_session_feed(session, &token, 1, NULL, NULL, NULL), IL_OK);
    r.position = il_session_position(session);
    assert_int_equal(il_session_fingerprint(session, r.fingerprint, NULL), IL_OK);
    return r;
}

static int is_there(store *s, const store_record *r) {
    char path[PATH_MAX];
    int fd = store_file(s, NULL, r->fingerprint, path);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

static void records(void **state) {
    store_why why = {""};
    store_record found[8], r;
    size_t n;
    uint64_t count;
    (void)state;
    store *s = open_store("records", 0);
    const store_index *index = store_index_of(s);
    store_record one = next_state("ses_1", 1);
    assert_int_equal(store_put(s, session, &one, 0, "", &why), STORE_DONE);
    assert_int_equal(store_put(s, session, &one, 0, "", &why), STORE_CONFLICT); /* there is one */
    assert_int_equal(index->get(index->self, "ses_1", &r, &why), STORE_DONE);
    assert_string_equal(r.name, one.name);
    assert_string_equal(r.fingerprint, one.fingerprint);
    assert_true(r.position == one.position && r.generation == 1 && r.created == 5 && !r.owner[0] && !r.expires);
    assert_int_equal(index->get(index->self, "ses_2", &r, &why), STORE_ABSENT);
    store_record more = next_state("ses_1", 2);
    assert_int_equal(store_put(s, session, &more, 2, "", &why), STORE_CONFLICT); /* it is not at 2 yet */
    assert_int_equal(store_put(s, session, &more, 1, one.fingerprint, &why), STORE_DONE);
    assert_false(is_there(s, &one));
    assert_true(is_there(s, &more));
    for (int i = 2; i < 7; i++) {
        store_record other = more;
        snprintf(other.id, sizeof other.id, "ses_%d", i);
        if (i == 4) snprintf(other.owner, sizeof other.owner, "somebody");
        other.expires = i == 6 ? 100 : 0;
        assert_int_equal(store_put(s, session, &other, 0, "", &why), STORE_DONE);
    }
    assert_int_equal(index->list(index->self, "", "ses_1", found, 3, &n, &why), STORE_DONE);
    assert_int_equal(n, 3);
    assert_string_equal(found[2].id, "ses_5");
    store_close(s);

    s = open_store("records", 1); /* another model's */
    index = store_index_of(s);
    assert_int_equal(index->count(index->self, &count, &why), STORE_DONE);
    assert_int_equal(count, 0);
    assert_int_equal(index->get(index->self, "ses_1", &r, &why), STORE_ABSENT);
    assert_int_equal(store_remove(s, &more, &why), STORE_ABSENT);
    index->expire(index->self, 101); /* time is the same for all */
    store_close(s);

    s = open_store("records", 0);
    index = store_index_of(s);
    assert_int_equal(index->count(index->self, &count, &why), STORE_DONE);
    assert_int_equal(count, 5);
    for (int i = 1; i < 6; i++) {
        snprintf(r.id, sizeof r.id, "ses_%d", i);
        memcpy(r.fingerprint, more.fingerprint, sizeof r.fingerprint);
        assert_true(is_there(s, &more)); /* as long as one needs it */
        assert_int_equal(store_remove(s, &r, &why), STORE_DONE);
    }
    assert_false(is_there(s, &more));
    store_close(s);
}

/* What a crash left is removed when it is so old that nobody is about to name it. */
static void orphans(void **state) {
    store_why why = {""};
    char path[PATH_MAX], torn[2][PATH_MAX + 16];
    (void)state;
    store *s = open_store("orphans", 0);
    store_record young = next_state("ses_1", 1);
    close(store_file(s, session, young.fingerprint, path));
    store_record old = next_state("ses_2", 1);
    close(store_file(s, session, old.fingerprint, path));
    struct timespec then[2] = {{.tv_sec = time(NULL) - 4000}, {.tv_sec = time(NULL) - 4000}};
    assert_int_equal(utimensat(AT_FDCWD, path, then, 0), 0);
    store_record needed = next_state("ses_3", 1);
    assert_int_equal(store_put(s, session, &needed, 0, "", &why), STORE_DONE);
    close(store_file(s, NULL, needed.fingerprint, path));
    assert_int_equal(utimensat(AT_FDCWD, path, then, 0), 0);
    for (int i = 0; i < 2; i++) { /* a file that was being written, and one that is */
        close(store_file(s, NULL, needed.fingerprint, path));
        snprintf(torn[i], sizeof torn[i], "%s.tmp-1-%d", path, i);
        support_write(torn[i], "x", 1);
    }
    assert_int_equal(utimensat(AT_FDCWD, torn[0], then, 0), 0);
    store_sweep(s, time(NULL));
    assert_false(support_exists(torn[0]));
    assert_true(support_exists(torn[1]));
    assert_true(is_there(s, &young) && is_there(s, &needed));
    assert_false(is_there(s, &old));
    il_error error;
    store *second;
    assert_int_equal(store_open("orphans", models[0], &second, &error), IL_ERR_IO);
    assert_non_null(strstr(error.message, "another server"));
    store_close(s);
}

static void damage(void **state) {
    il_error error;
    store_why why = {""};
    char path[PATH_MAX];
    (void)state;
    store_close(open_store("damaged", 0));
    support_write("damaged/sessions.db", "this is not what it was, by far", 31);
    unlink("damaged/sessions.db-wal");
    store *s;
    assert_int_equal(store_open("damaged", models[0], &s, &error), IL_ERR_IO);
    assert_non_null(strstr(error.message, "damaged/sessions.db"));
    assert_null(s);
    s = open_store("full", 0); /* a file where a folder must be */
    store_record r = next_state("ses_1", 1);
    snprintf(path, sizeof path, "full/%.2s", r.fingerprint);
    support_write(path, "x", 1);
    assert_int_equal(store_put(s, session, &r, 0, "", &why), STORE_FAILED);
    assert_true(why.text[0] != 0);
    assert_int_equal(store_index_of(s)->get(store_index_of(s)->self, "ses_1", &r, &why), STORE_ABSENT);
    store_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(records), cmocka_unit_test(orphans), cmocka_unit_test(damage)};
    return cmocka_run_group_tests(tests, begin, end);
}
