/* test_cli_manual.c: the manual page and bash completion hold every verb and every option that --help names, the page
 * is roff that no formatter complains of, and bash offers what the script says. */
#include "support_test.h"

#include "support_cli.h"
#include "support_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { VERBS_MAX = 32, WORD = 64 };

static char verbs[VERBS_MAX][WORD];
static int n_verbs; /* without the server there is one less */

static int begin(void **state) {
    support_command = INNERLOOP;
    if (support_cli_begin(state)) return 1;
    char *help = support_done("--help"), *at = strstr(help, "\n\n  ");
    while (strncmp(at + 1, "\n  innerloop VERB --help", 15)) {
        assert_true(n_verbs < VERBS_MAX);
        assert_int_equal(sscanf(at, " %63s", verbs[n_verbs++]), 1);
        at = strchr(at + 3, '\n');
    }
    assert_true(n_verbs >= 14);
    free(help);
    return 0;
}

/* The next option in the --help of a verb, and its value's name or "". NULL: there is no more. */
static const char *next_option(const char *help, char *name, char *metavar) {
    const char *at = strstr(help, "\n  --");
    if (!at) return NULL;
    metavar[0] = 0;
    assert_true(sscanf(at, " %63s", name) == 1);
    const char *after = at + 3 + strlen(name);
    if (after[0] == ' ' && after[1] != ' ') sscanf(after, " %63[^ \n]", metavar);
    return at + 1;
}

static void escape(const char *text, char *roff, size_t room) {
    size_t n = 0;
    for (; *text; text++) {
        assert_true(n + 3 < room);
        if (*text == '-') roff[n++] = '\\';
        roff[n++] = *text;
    }
    roff[n] = 0;
}

/* ---- the manual page ---- */

static void test_manual_has_every_verb_and_option(void **state) {
    (void)state;
    char *page = support_done("--man");
    for (int i = 0; i < n_verbs; i++) {
        char title[2 * WORD], escaped[2 * WORD], name[WORD], metavar[WORD];
        escape(verbs[i], escaped, sizeof escaped);
        snprintf(title, sizeof title, ".SS %.100s\n", escaped);
        char *section = strstr(page, title);
        if (!section) fail_msg("the manual page lacks %s", verbs[i]);
        char *end = strstr(section + 1, "\n.S");
        assert_non_null(end);
        char *help = support_done("%s --help", verbs[i]);
        for (const char *at = help; (at = next_option(at, name, metavar));) {
            int common = !strcmp(name, "--json") || !strcmp(name, "--threads") || !strcmp(name, "--help");
            char wanted[4 * WORD];
            escape(name, escaped, sizeof escaped);
            snprintf(wanted, sizeof wanted, ".TP\n\\fB%s\\fR%s", escaped, metavar[0] ? " \\fI" : "\n");
            char *found = strstr(common ? strstr(page, ".SH OPTIONS OF EVERY VERB\n") : section, wanted);
            if (!found || (!common && found > end)) fail_msg("the manual page lacks %s of %s", name, verbs[i]);
        }
        char *example = strstr(help, "\nexample:\n  innerloop ");
        assert_non_null(example);
        assert_true(strstr(section, "\n.nf\n    innerloop ") < end);
        free(help);
    }
    static const char *const held[] = {"\n.SH NAME\ninnerloop \\- ",
                                       "\n.SH SYNOPSIS\n",
                                       "\n.SH EXIT STATUS\n",
                                       "\n\\fBINNERLOOP_MODEL\\fR\n",
                                       "\n\\fBIL_CPU\\fR\n",
                                       "Alias: \\fB\\-\\-carry\\fR.",
                                       "(default 40)",
                                       "From 1 to 256.\n"};
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        if (!strstr(page, held[i])) fail_msg("the manual page lacks \"%s\"", held[i]);
    free(page);
}

/* Of lines that begin as a request of roff there are only the macros of man, and every escape is one that is known. */
static void test_manual_is_sound_roff(void **state) {
    (void)state;
    static const char *const macros[] = {".\\\" ", ".TH ", ".SH ", ".SS ", ".TP\n", ".PP\n", ".br\n", ".nf\n", ".fi\n"};
    static const char *const escapes[] = {"\\-", "\\e", "\\(aq", "\\fB", "\\fI", "\\fR", "\\[u", "\\&", "\\\" "};
    char *page = support_done("--man");
    for (char *line = page; *line; line = strchr(line, '\n') + 1) {
        int known = line[0] != '.' && line[0] != '\'' && line[0] != '\n';
        for (size_t i = 0; i < sizeof macros / sizeof *macros && !known; i++)
            known = !strncmp(line, macros[i], strlen(macros[i]));
        if (!known) fail_msg("not a line of a manual page: %.*s", (int)strcspn(line, "\n"), line);
    }
    for (char *at = page; (at = strchr(at, '\\')); at += 2) {
        int known = 0;
        for (size_t i = 0; i < sizeof escapes / sizeof *escapes && !known; i++)
            known = !strncmp(at, escapes[i], strlen(escapes[i]));
        if (!known) fail_msg("not an escape: %.10s", at);
    }
    for (char *at = page; *at; at++) assert_true((unsigned char)*at < 0x80);
    support_write("innerloop.1", page, strlen(page));
    free(page);
    /* where there are formatters, they have nothing to complain of but that the page has no date */
    assert_int_equal(system("if command -v groff; then groff -ww -man -Tascii innerloop.1; fi >page 2>said"), 0);
    assert_int_equal(system("if command -v mandoc; then mandoc -Tlint -Wwarning innerloop.1; fi >>said; "
                            "grep -v -e /mandoc -e 'missing date' said >left"),
                     256);
}

/* ---- completion ---- */

static char *completed(const char *words) {
    char script[1024];
    snprintf(script, sizeof script,
             "bash -c '. ./completion; COMP_WORDS=(innerloop %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _innerloop; "
             "printf \"%%s\\n\" \"${COMPREPLY[@]}\"' >offered 2>said",
             words);
    if (system(script)) fail_msg("%s: bash failed", words);
    char *said = support_text_of("said");
    assert_string_equal(said, "");
    free(said);
    return support_text_of("offered");
}

static void offers(const char *words, const char *expected) {
    char *text = completed(words);
    if (strcmp(text, expected)) fail_msg("innerloop %s: \"%s\", not \"%s\"", words, text, expected);
    free(text);
}

static int completion(void **state) {
    (void)state;
    char *script = support_done("--completion bash");
    support_write("completion", script, strlen(script));
    free(script);
    mkdir("folder", 0777);
    support_write("text file.txt", "x", 1);
    return 0;
}

static void test_completion_offers_every_verb_and_option(void **state) {
    (void)state;
    char *script = support_text_of("completion"), *names = completed("\"\""), line[2 * WORD], word[2 * WORD],
         name[WORD], metavar[WORD];
    for (int i = 0; i < n_verbs; i++) {
        snprintf(line, sizeof line, "%.63s\n", verbs[i]);
        if (!strstr(names, line)) fail_msg("completion lacks %s", verbs[i]);
        snprintf(word, sizeof word, "%.63s --", verbs[i]);
        char *options = completed(word), *help = support_done("%s --help", verbs[i]);
        size_t n = 0, offered = 0;
        for (const char *at = help; (at = next_option(at, name, metavar)); n++) {
            snprintf(line, sizeof line, "%s\n", name);
            if (!strstr(options, line)) fail_msg("completion lacks %s of %s", name, verbs[i]);
            /* offered only where the table says whether it is read or written: what is not cannot be protected */
            snprintf(line, sizeof line, "'%.40s %.40s'", verbs[i], name);
            const char *values = strstr(script, line);
            while (values && !strncmp(values + strlen(line), ") ;;", 4)) values = strstr(values + 1, line); /* lists */
            const char *names_of = values ? strstr(values, "names=-") : NULL;
            if ((strstr(metavar, "FILE") || strstr(metavar, "DIR")) && (!names_of || names_of > strchr(values, ';')))
                fail_msg("%s of %s: neither READS, WRITES nor MAKES", name, verbs[i]);
        }
        for (char *at = options; *at; at++) offered += *at == '\n';
        assert_int_equal(offered, n);
        free(help);
        free(options);
    }
    free(script);
    free(names);
    assert_int_equal(system("bash -c '. ./completion; complete -p innerloop' >offered"), 0);
    names = support_text_of("offered");
    assert_string_equal(names, "complete -F _innerloop innerloop\n");
    free(names);
}

static void test_completion_offers_values(void **state) {
    (void)state;
    offers("tok", "tokenize\n");
    offers("--v", "--version\n");
    offers("--completion \"\"", "bash\n");
    offers("init --preset \"\"", "tiny\nsmall\n125m\n350m\n760m\n1b\n");
    offers("init --preset = s", "small\n"); /* bash's three words of --preset=s */
    offers("init --preset =", "tiny\nsmall\n125m\n350m\n760m\n1b\n");
    offers("init --out fol", "folder\n");
    offers("init --out text", "\n");                  /* not a folder */
    offers("init --tokenizer b", "bytes\n");          /* a word, */
    offers("init --tokenizer te", "text file.txt\n"); /* or a file */
    offers("init --seed \"\"", "\n");
    offers("init \"\"", "\n"); /* takes no operand */
    offers("train --data te", "text file.txt\n");
    offers("train --data a.txt te", "text file.txt\n"); /* takes many */
    offers("train --data a.txt --shu", "--shuffle\n");
    offers("train te", "text file.txt\n");
    offers("train --stateful te", "text file.txt\n");
    offers("score te", "text file.txt\n");
    offers("score --frozen te", "text file.txt\n");
    offers("score --threshold 3 te", "text file.txt\n");
    offers("score --load-state te", "text file.txt\n");
    offers("score --html te", "text file.txt\n");
    offers("eval --logits te", "text file.txt\n");
    offers("inspect fol", "folder\n");
    offers("compress text fol", "folder\n");
    offers("nonsense \"\"", "\n");
}

static void test_refusals(void **state) {
    (void)state;
    support_refused(2, "--completion needs a value, which can only be bash", "--completion");
    support_refused(2, "--completion needs a value, which can only be bash", "--completion fish");
    support_refused(2, "unknown option '--manual'", "--manual");
    char *help = support_done("--help");
    assert_non_null(strstr(help, "\n  innerloop --man "));
    assert_non_null(strstr(help, "\n  innerloop --completion bash "));
    free(help);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manual_has_every_verb_and_option),
        cmocka_unit_test(test_manual_is_sound_roff),
        cmocka_unit_test_setup(test_completion_offers_every_verb_and_option, completion),
        cmocka_unit_test(test_completion_offers_values),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
