/* test_cancel.c: il_session_cancel stops the feed that is under way and no other, whichever thread asks and whenever.
 */
#include "support_test.h"

#include "session/feed.h"
#include "session/session.h"
#include "support_lively.h"
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

enum { CHUNKS = 4, LONG = CHUNKS * IL_FEED_CHUNK, VOCAB = 61, SHORT = 3 };

static il_engine *engine;
static il_model *model;
static int32_t tokens[LONG];
static float want[VOCAB]; /* the prediction after all tokens */

static int begin(void **state) {
    (void)state;
    il_error error;
    il_config config = lively_config(IL_MIXER_TTT_LINEAR, 16);
    config.layers = 1;
    engine = lively_engine(1, NULL);
    model = lively_model(engine, &config, 11);
    lively_tokens(tokens, LONG, VOCAB, 5);
    il_session *s = lively_session(model, 0);
    int failed = il_session_feed(s, tokens, LONG, NULL, NULL, &error) || il_session_logits(s, want, &error);
    il_session_close(s);
    return failed;
}

static int end(void **state) {
    (void)state;
    il_model_unref(model);
    il_engine_close(engine);
    return 0;
}

/* Reads what is left and compares: a session that was stopped goes on as if it had not been. */
static void assert_goes_on(il_session *s) {
    il_error error;
    float logits[VOCAB];
    size_t at = (size_t)il_session_position(s);
    assert_ok(il_session_feed(s, tokens + at, LONG - at, NULL, NULL, &error), error);
    assert_ok(il_session_logits(s, logits, &error), error);
    assert_memory_equal(logits, want, sizeof want);
}

static void nothing_to_cancel(void **unused) {
    (void)unused;
    il_error error;
    il_session *s = lively_session(model, 0);
    il_session_cancel(s); /* before the first feed */
    assert_ok(il_session_feed(s, tokens, 20, NULL, NULL, &error), error);
    il_session_cancel(s); /* between two */
    assert_ok(il_session_feed(s, tokens, 0, NULL, NULL, &error), error);
    assert_int_equal(il_session_position(s), 20);
    assert_goes_on(s);
    il_session_close(s);
}

/* Cancels `session` when the row of this number of feed 0 has been read. */
typedef struct when {
    il_session *session;
    size_t row;
} when;

static void cancel_then(void *context, size_t feed, size_t token, const float *p, float lse) {
    const when *w = context;
    (void)p, (void)lse;
    if (feed == 0 && token == w->row) il_session_cancel(w->session);
}

static void in_the_middle(void **unused) {
    (void)unused;
    il_error error;
    for (size_t row = 0; row < LONG; row += IL_FEED_CHUNK / 2 - 1) {
        il_session *s = lively_session(model, 0);
        il_feed feed = {.session = s, .tokens = tokens, .n = LONG};
        when w = {s, row};
        il_status status = il_feed_read(&feed, 1, &(il_row_sink){cancel_then, &w}, &error);
        size_t chunk = row / IL_FEED_CHUNK;
        if (chunk + 1 < CHUNKS) {
            assert_int_equal(status, IL_ERR_CANCELLED);
            assert_non_null(strstr(error.message, "feed 0 was cancelled"));
            assert_int_equal(feed.consumed, (chunk + 1) * IL_FEED_CHUNK);
        } else { /* nothing was left to read, and the next feed must not pay for it */
            assert_int_equal(status, IL_OK);
            assert_int_equal(feed.consumed, LONG);
        }
        assert_int_equal(il_session_position(s), feed.consumed);
        assert_goes_on(s);
        il_session_close(s);
    }
}

/* Any of its sessions stops a batch, also one that has been read already; they all go on. */
static void a_batch_stops_as_a_whole(void **unused) {
    (void)unused;
    il_error error;
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        il_session *s[2] = {lively_session(model, 0), lively_session(model, 0)};
        il_feed feeds[2] = {{.session = s[0], .tokens = tokens, .n = 100},
                            {.session = s[1], .tokens = tokens, .n = LONG}};
        when w = {s[cancelled], 50};
        il_row_sink sink = {cancel_then, &w};
        assert_fails(il_feed_read(feeds, 2, &sink, &error), IL_ERR_CANCELLED, error,
                     cancelled ? "feed 1 was cancelled" : "feed 0 was cancelled");
        assert_int_equal(feeds[0].consumed, 100);
        assert_int_equal(feeds[1].consumed, IL_FEED_CHUNK - 100);
        for (int i = 0; i < 2; i++) {
            assert_goes_on(s[i]);
            il_session_close(s[i]);
        }
    }
}

/* A feed refused for its tokens, and one that was cancelled, leave no trace either. */
static void after_a_failure(void **unused) {
    (void)unused;
    il_error error;
    int32_t bad[] = {1, VOCAB};
    il_session *s = lively_session(model, 0);
    assert_int_equal(il_session_feed(s, bad, 2, NULL, NULL, &error), IL_ERR_ARG);
    il_session_cancel(s);
    assert_goes_on(s);
    il_session_close(s);
}

/* ---- threads ---- */

typedef struct canceller {
    il_session *session;
    sem_t reached, done; /* the feed is in its first chunk; the other thread has cancelled */
    atomic_int stop;
    atomic_long cancels;
} canceller;

static void wait_in_the_feed(void *context, size_t feed, size_t token, const float *p, float lse) {
    canceller *c = context;
    (void)feed, (void)p, (void)lse;
    if (token != 0) return;
    sem_post(&c->reached);
    while (sem_wait(&c->done)) {}
}

static void *cancel_once(void *context) {
    canceller *c = context;
    while (sem_wait(&c->reached)) {}
    il_session_cancel(c->session);
    sem_post(&c->done);
    return NULL;
}

static void another_thread(void **unused) {
    (void)unused;
    il_error error;
    pthread_t thread;
    canceller c = {.session = lively_session(model, 0)};
    sem_init(&c.reached, 0, 0);
    sem_init(&c.done, 0, 0);
    assert_int_equal(pthread_create(&thread, NULL, cancel_once, &c), 0);
    il_feed feed = {.session = c.session, .tokens = tokens, .n = LONG};
    assert_fails(il_feed_read(&feed, 1, &(il_row_sink){wait_in_the_feed, &c}, &error), IL_ERR_CANCELLED, error,
                 "cancelled");
    assert_int_equal(feed.consumed, IL_FEED_CHUNK);
    pthread_join(thread, NULL);
    assert_goes_on(c.session);
    il_session_close(c.session);
    sem_destroy(&c.reached);
    sem_destroy(&c.done);
}

static void *cancel_always(void *context) {
    canceller *c = context;
    while (!atomic_load(&c->stop)) {
        atomic_fetch_add(&c->cancels, 1);
        il_session_cancel(c->session);
    }
    return NULL;
}

/* Feeds of a few tokens against a thread that does nothing but cancel: each is read whole or not at all, none is
 * stopped by a cancel that came before it began, and so none without a cancel of its own. */
static void storm(void **unused) {
    (void)unused;
    il_error error;
    pthread_t thread;
    canceller c = {.session = lively_session(model, 0)};
    long cancelled = 0;
    assert_int_equal(pthread_create(&thread, NULL, cancel_always, &c), 0);
    for (size_t at = 0; at + SHORT <= IL_FEED_CHUNK;) {
        size_t consumed;
        il_status status = il_session_feed(c.session, tokens + at, SHORT, NULL, &consumed, &error);
        assert_true(status == IL_OK || status == IL_ERR_CANCELLED);
        assert_int_equal(consumed, status ? 0 : SHORT);
        cancelled += status != IL_OK;
        at += consumed;
        assert_int_equal(il_session_position(c.session), at);
    }
    atomic_store(&c.stop, 1);
    pthread_join(thread, NULL);
    assert_true(cancelled <= atomic_load(&c.cancels));
    assert_goes_on(c.session);
    il_session_close(c.session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_to_cancel),        cmocka_unit_test(in_the_middle),
        cmocka_unit_test(a_batch_stops_as_a_whole), cmocka_unit_test(after_a_failure),
        cmocka_unit_test(another_thread),           cmocka_unit_test(storm),
    };
    return cmocka_run_group_tests_name("cancel", tests, begin, end);
}
