/* test_server_tls.c: `innerloop serve --tls-cert --tls-key`, by a client that checks the certificate. */
#include "support_test.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "support_cli.h"
#include "support_files.h"
#include "support_server.h"

#define MODEL "--model " FIXTURES "/../../models/any "
#define TLS "--tls-cert cert.pem --tls-key key.pem "

/* A key of its own and a certificate of localhost that it has signed itself. */
static void make_pair(const char *certificate_path, const char *key_path) {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t certificate;
    gnutls_datum_t text;
    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_crt_init(&certificate), 0);
    assert_int_equal(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                                  (unsigned)GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    gnutls_x509_crt_set_version(certificate, 3);
    gnutls_x509_crt_set_serial(certificate, "\1", 1);
    gnutls_x509_crt_set_activation_time(certificate, time(NULL) - 3600);
    gnutls_x509_crt_set_expiration_time(certificate, time(NULL) + 3600);
    gnutls_x509_crt_set_key(certificate, key);
    gnutls_x509_crt_set_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, "localhost", 9);
    gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_SET);
    gnutls_x509_crt_set_basic_constraints(certificate, 1, -1);
    assert_int_equal(gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &text), 0);
    support_write(certificate_path, (char *)text.data, text.size);
    gnutls_free(text.data);
    assert_int_equal(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &text), 0);
    support_write(key_path, (char *)text.data, text.size);
    gnutls_free(text.data);
    gnutls_x509_crt_deinit(certificate);
    gnutls_x509_privkey_deinit(key);
}

static int begin(void **state) {
    if (support_cli_begin(state)) return -1;
    make_pair("cert.pem", "key.pem");
    make_pair("other.pem", "other-key.pem");
    return 0;
}

typedef struct client {
    gnutls_certificate_credentials_t trusted;
    gnutls_session_t session;
    int fd, status; /* of the handshake */
} client;

static client meet(int port, const char *versions) {
    client c = {.fd = support_connect(port)};
    assert_int_equal(gnutls_certificate_allocate_credentials(&c.trusted), 0);
    assert_int_equal(gnutls_certificate_set_x509_trust_file(c.trusted, "cert.pem", GNUTLS_X509_FMT_PEM), 1);
    assert_int_equal(gnutls_init(&c.session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL), 0);
    assert_int_equal(gnutls_priority_set_direct(c.session, versions, NULL), 0);
    gnutls_credentials_set(c.session, GNUTLS_CRD_CERTIFICATE, c.trusted);
    gnutls_session_set_verify_cert(c.session, "localhost", 0);
    gnutls_transport_set_int(c.session, c.fd);
    do c.status = gnutls_handshake(c.session);
    while (c.status < 0 && !gnutls_error_is_fatal(c.status));
    return c;
}

static void leave(client *c) {
    gnutls_deinit(c->session);
    gnutls_certificate_free_credentials(c->trusted);
    close(c->fd);
}

static void say(client *c, const char *path, const char *body) {
    char request[512];
    int n = snprintf(request, sizeof request,
                     "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     body[0] ? "POST" : "GET", path, strlen(body), body);
    assert_int_equal(gnutls_record_send(c->session, request, (size_t)n), n);
}

/* Everything until the end, released by free. */
static char *hear(client *c) {
    size_t bytes = 0, capacity = 1 << 20;
    char *all = malloc(capacity);
    assert_non_null(all);
    for (;;) {
        ssize_t n = gnutls_record_recv(c->session, all + bytes, capacity - bytes - 1);
        if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) continue;
        if (n <= 0) break;
        bytes += (size_t)n;
    }
    all[bytes] = 0;
    return all;
}

static char *ask(int port, const char *versions, const char *path, const char *body) {
    client c = meet(port, versions);
    if (c.status) fail_msg("%s: %s", versions, gnutls_strerror(c.status));
    say(&c, path, body);
    char *answer = hear(&c);
    leave(&c);
    return answer;
}

static void answers_over_tls(void **state) {
    (void)state;
    support_server server = support_server_start(MODEL TLS "--max-tokens 100000");
    char *said = support_text_of("out");
    assert_non_null(strstr(said, "\"https://127.0.0.1:"));
    free(said);
    static const char *const versions[] = {"NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.2"};
    for (int i = 0; i < 2; i++) {
        char *answer = ask(server.port, versions[i], "/health", "");
        assert_non_null(strstr(answer, "{\"status\":\"ok\"}"));
        free(answer);
        answer = ask(server.port, versions[i], "/v1/completions",
                     "{\"prompt\":\"It was\",\"max_tokens\":300,\"ignore_eos\":true,\"stream\":true}");
        assert_non_null(strstr(answer, "\"finish_reason\":\"length\""));
        assert_non_null(strstr(answer, "data: [DONE]"));
        free(answer);
    }
    client old = meet(server.port, "NORMAL:-VERS-ALL:+VERS-TLS1.1");
    assert_true(old.status < 0);
    leave(&old);

    support_answer plain = support_ask(server.port, "/health", NULL);
    assert_int_equal(plain.status, 0);
    support_answer_free(&plain);

    /* Who leaves is noticed. */
    client c = meet(server.port, "NORMAL");
    assert_int_equal(c.status, 0);
    say(&c, "/v1/completions", "{\"prompt\":\"It was\",\"max_tokens\":100000,\"ignore_eos\":true,\"stream\":true}");
    char some[100];
    assert_true(gnutls_record_recv(c.session, some, sizeof some) > 0);
    leave(&c);
    int gone = 0;
    for (int i = 0; i < 1000 && !gone; i++) {
        char *answer = ask(server.port, "NORMAL", "/metrics", "");
        gone =
            strstr(answer, "\ninnerloop_answers_running 0\n") && strstr(answer, "\ninnerloop_requests_failed_total 1");
        free(answer);
        if (!gone) usleep(10000);
    }
    assert_true(gone);

    /* One that never says who it is keeps nobody waiting. */
    int silent = support_connect(server.port);
    support_send(silent, "\x16\x03\x01", 3);
    char *answer = ask(server.port, "NORMAL", "/health", "");
    assert_non_null(strstr(answer, "200 OK"));
    free(answer);
    close(silent);
    assert_int_equal(support_server_end(&server, SIGTERM), 128 + SIGTERM);
}

static void files_that_are_no_pair(void **state) {
    (void)state;
    support_refused(2, "--tls-cert and --tls-key go together", "serve " MODEL "--port 0 --tls-cert cert.pem");
    support_refused(2, "--tls-cert and --tls-key go together", "serve " MODEL "--port 0 --tls-key key.pem");
    support_refused(1, "not of one pair", "serve " MODEL "--port 0 --tls-cert cert.pem --tls-key other-key.pem");
    support_refused(1, "not PEM", "serve " MODEL "--port 0 --tls-cert key.pem --tls-key key.pem");
    support_refused(1, "nowhere.pem", "serve " MODEL "--port 0 --tls-cert nowhere.pem --tls-key key.pem");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_over_tls),
        cmocka_unit_test(files_that_are_no_pair),
    };
    return cmocka_run_group_tests(tests, begin, support_server_teardown);
}
