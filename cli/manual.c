/* manual.c: see manual.h. Only the macros that groff and mandoc both know; no line is over 80 columns but in examples.
 */
#include "manual.h"
#include "output.h"
#include "verbs.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { LINE = 78 };

/* ---- roff ---- */

/* The n bytes at text, none of which roff takes for a command: dashes stay dashes, what is not ASCII goes by number. */
static void put(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned c = (unsigned char)text[i];
        if (c == '-') {
            fputs("\\-", stdout);
        } else if (c == '\\') {
            fputs("\\e", stdout);
        } else if (c == '\'') {
            fputs("\\(aq", stdout);
        } else if (c < 0x80) {
            putchar((int)c);
        } else { /* the tables are well-formed UTF-8 */
            int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
            for (c &= 0x3Fu >> more; more--;) c = c << 6 | ((unsigned char)text[++i] & 0x3Fu);
            if (c == 0x2026) /* an ellipsis, which not every terminal has */
                fputs("...", stdout);
            else
                printf("\\[u%04X]", c);
        }
    }
}

static void put_word(const char *word) { put(word, strlen(word)); }

/* A text in lines, with a capital first and a full stop last. */
static void put_text(const char *text) {
    size_t column = 0, n = strlen(text);
    for (const char *at = text; *at;) {
        size_t bytes = strcspn(at, " ");
        if (column && column + 1 + bytes > LINE) {
            putchar('\n');
            column = 0;
        }
        if (column) putchar(' ');
        if (!column && *at == '.') fputs("\\&", stdout);
        if (at == text && islower((unsigned char)*at)) {
            putchar(toupper((unsigned char)*at));
            put(at + 1, bytes - 1);
        } else {
            put(at, bytes);
        }
        column += bytes + 1;
        at += bytes;
        at += strspn(at, " ");
    }
    puts(n && text[n - 1] == '.' ? "" : ".");
}

static void put_example(const char *lines) {
    puts(".PP\n.nf");
    for (const char *line = lines; *line;) {
        size_t n = strcspn(line, "\n");
        fputs("    ", stdout);
        put(line, n);
        putchar('\n');
        line += n + (line[n] == '\n');
    }
    puts(".fi");
}

/* ---- a verb ---- */

static const char *many(const arg_option *option) { return option->kind == ARG_LIST ? "…" : ""; }

static void put_option_name(const arg_option *option) {
    fputs("\\fB", stdout);
    put_word(option->name);
    fputs("\\fR", stdout);
    if (!option->metavar) return;
    fputs(" \\fI", stdout);
    put_word(option->metavar);
    fputs("\\fR", stdout);
    put_word(many(option));
}

static void put_option(const arg_option *option) {
    puts(".TP");
    put_option_name(option);
    putchar('\n');
    put_text(option->help);
    if (option->kind == ARG_COUNT || option->kind == ARG_COUNTS || option->kind == ARG_REAL) {
        char range[80] = "";
        if (option->high >= ARG_UNBOUNDED && option->low > 0)
            snprintf(range, sizeof range, "At least %.15g.", option->low);
        else if (option->high > option->low && option->high < ARG_UNBOUNDED)
            snprintf(range, sizeof range, "From %.15g to %.15g.", option->low, option->high);
        if (range[0]) put_text(range);
    }
    if (option->required) puts("Required.");
    if (!option->alias) return;
    fputs("Alias: \\fB", stdout);
    put_word(option->alias);
    puts("\\fR.");
}

static void put_verb(void *user, const arg_spec *spec) {
    (void)user;
    printf(".SS ");
    put_word(spec->verb);
    putchar('\n');
    put_text(spec->summary);
    printf(".PP\n\\fBinnerloop ");
    put_word(spec->verb);
    puts("\\fR");
    for (size_t i = 0; i < spec->n_options; i++) {
        if (!spec->options[i].required) continue;
        put_option_name(&spec->options[i]);
        putchar('\n');
    }
    puts("[\\fIoptions\\fR]");
    if (spec->operand) {
        printf("\\fI");
        put_word(spec->operand);
        printf("\\fR");
        if (spec->operands_max > 1 && spec->operands_max > spec->operands_min) put_word("…");
        printf("\n.TP\n\\fI");
        put_word(spec->operand);
        puts("\\fR");
        put_text(spec->operand_help);
    }
    for (size_t i = 0; i < spec->n_options; i++) put_option(&spec->options[i]);
    arg_option json = arg_json(spec);
    if (spec->json_help) put_option(&json);
    put_example(spec->example);
}

/* ---- the page ---- */

/* A section of terms and what they mean. */
static void put_terms(const char *title, const char *const (*terms)[2], size_t n) {
    printf(".SH %s\n", title);
    for (size_t i = 0; i < n; i++) {
        puts(".TP");
        fputs("\\fB", stdout);
        put_word(terms[i][0]);
        puts("\\fR");
        put_text(terms[i][1]);
    }
}

void manual_print(void) {
    static const char *const statuses[][2] = {
        {"0", "done"},
        {"1", "failed; standard error says why, in one line"},
        {"2", "wrong usage, of which nothing was done"},
        {"130, 143", "interrupted by Ctrl-C or by SIGTERM; the first signal stops the work in good order, a second one "
                     "ends it at once"},
    };
    static const char *const variables[][2] = {
        {"INNERLOOP_MODEL", "the model directory where --model is not given; without it, the bundled model"},
        {"IL_CPU",
         "the kernels to compute with, portable, avx2, avx512, avx512_vnni or neon, in place of the best that "
         "this CPU has. The results are the same bits"},
        {"NO_COLOR", "if it is not empty, score writes no colours on a terminal"},
        {"TMPDIR", "where temporary files go (default: /tmp)"},
    };
    printf(".\\\" Made by innerloop --man from the tables of options.\n"
           ".TH INNERLOOP 1 \"\" \"innerloop %s\" \"User Commands\"\n.SH NAME\ninnerloop \\- " MANUAL_SUMMARY "\n",
           il_version());
    puts(".SH SYNOPSIS\n\\fBinnerloop\\fR \\fIVERB\\fR [\\fIoptions\\fR] [\\fIoperands\\fR]\n"
         ".br\n\\fBinnerloop\\fR \\fIVERB\\fR \\fB\\-\\-help\\fR\n"
         ".br\n\\fBinnerloop \\-\\-help\\fR | \\fB\\-\\-version\\fR | \\fB\\-\\-man\\fR | \\fB\\-\\-completion "
         "bash\\fR\n"
         ".SH DESCRIPTION");
    put_text("innerloop trains and runs language models some of whose weights go on learning while they read a text "
             "(test-time training), and measures what that is worth. It computes on CPUs, and gives the same bits on "
             "every machine, with any number of threads.");
    puts(".PP");
    put_text("Options are written --name VALUE or --name=VALUE, in any order, before or after operands; -- ends them. "
             "The file name - is standard input. Progress, the log and complaints go to standard error. An output file "
             "appears under its name only when it is complete.");
    puts(".SH VERBS");
    verbs_list(put_verb, NULL);
    puts(".SH OPTIONS OF EVERY VERB");
    for (size_t i = 0; i < ARG_COMMON; i++) put_option(&arg_common[i]);
    put_terms("EXIT STATUS", statuses, COUNT_OF(statuses));
    put_terms("ENVIRONMENT", variables, COUNT_OF(variables));
}
