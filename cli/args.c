/* args.c: the option parser. */
#include "args.h"
#include "output.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMN = 30, WORD_MAX = 48 };

const arg_option arg_common[ARG_COMMON] = {
    ARG("--json", ARG_FLAG, NULL, NULL, "print one JSON object on standard output, and nothing else there"),
    ARG("--threads", ARG_COUNT, NULL, "N", "threads to compute with (default: one per CPU)", RANGE(1, 256)),
    ARG("--help", ARG_FLAG, NULL, NULL, "print this help"),
};

arg_option arg_json(const arg_spec *spec) {
    arg_option option = arg_common[0];
    if (spec->json_help) option.help = spec->json_help;
    return option;
}

static struct {
    void (*take)(void *user, const arg_spec *spec);
    void *user;
} diverted;

void arg_divert(void (*take)(void *user, const arg_spec *spec), void *user) {
    diverted.take = take;
    diverted.user = user;
}

/* Levenshtein distance of words shorter than WORD_MAX. */
static size_t distance(const char *a, const char *b) {
    size_t row[WORD_MAX + 1], n = strlen(b);
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

const char *arg_nearest(const char *word, const void *table, size_t n, size_t stride) {
    const char *best = NULL;
    size_t best_distance = 3;
    if (strlen(word) >= WORD_MAX) return NULL;
    for (size_t i = 0; i < n; i++) {
        const char *entry;
        memcpy(&entry, (const char *)table + i * stride, sizeof entry);
        if (strlen(entry) >= WORD_MAX) continue;
        size_t d = distance(word, entry);
        if (d < best_distance) {
            best = entry;
            best_distance = d;
        }
    }
    return best;
}

/* Two columns; the left one is padded by characters, not bytes. */
static void print_row(const char *left, const char *help) {
    int width = 0;
    for (const char *c = left; *c; c++) width += (*c & 0xC0) != 0x80;
    if (width >= COLUMN)
        printf("  %s\n  %*s %s", left, COLUMN, "", help);
    else
        printf("  %s%*s %s", left, COLUMN - width, "", help);
}

static const char *many(const arg_option *option) { return option->kind == ARG_LIST ? "…" : ""; }

static void print_option(const arg_option *option) {
    char left[96];
    snprintf(left, sizeof left, "%s%s%s%s", option->name, option->metavar ? " " : "",
             option->metavar ? option->metavar : "", many(option));
    print_row(left, option->help);
    if (option->alias) printf(" (alias %s)", option->alias);
    printf("%s\n", option->required ? " (required)" : "");
}

static void print_help(const arg_spec *spec) {
    printf("innerloop %s: %s\n\nusage: innerloop %s", spec->verb, spec->summary, spec->verb);
    for (size_t i = 0; i < spec->n_options; i++) {
        const arg_option *option = &spec->options[i];
        if (option->required) printf(" %s %s%s", option->name, option->metavar, many(option));
    }
    printf(" [options]");
    if (spec->operand)
        printf(" %s%s", spec->operand, spec->operands_max > 1 && spec->operands_max > spec->operands_min ? "…" : "");
    printf("\n\n");
    if (spec->operand) {
        print_row(spec->operand, spec->operand_help);
        printf("\n\n");
    }
    for (size_t i = 0; i < spec->n_options; i++) print_option(&spec->options[i]);
    arg_option json = arg_json(spec);
    print_option(&json);
    for (size_t i = 1; i < ARG_COMMON; i++) print_option(&arg_common[i]);
    printf("\nexample:\n");
    for (const char *line = spec->example; *line;) {
        size_t n = strcspn(line, "\n");
        printf("  %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
    printf("\nexit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted\n");
}

/* The option called by the first n characters of word. */
static arg_option *find(arg_option *options, size_t n_options, const char *word, size_t n) {
    for (size_t i = 0; i < n_options; i++) {
        const char *const names[] = {options[i].name, options[i].alias};
        for (size_t k = 0; k < COUNT_OF(names); k++)
            if (names[k] && !strncmp(names[k], word, n) && !names[k][n]) return &options[i];
    }
    return NULL;
}

static int is_choice(const char *choices, const char *word) {
    size_t n = strlen(word);
    for (const char *at = choices + 1; *at; at += strcspn(at, ",}") + 1)
        if (strcspn(at, ",}") == n && n && !strncmp(at, word, n)) return 1;
    return 0;
}

static void append(arg_list *list, const char *word, int argc) {
    if (!list->items) list->items = cli_alloc((size_t)argc, sizeof *list->items);
    list->items[list->n++] = word;
}

/* Checks that value lies in the option's range; complains and returns 0 otherwise. */
static int in_range(const char *verb, const arg_option *option, double value, const char *word) {
    char most[32];
    if ((option->low == 0 && option->high == 0 && isfinite(value)) || (value >= option->low && value <= option->high))
        return 1;
    snprintf(most, sizeof most, "%.15g", option->high);
    if (option->high == ARG_SEED_MAX) snprintf(most, sizeof most, "%llu", UINT64_MAX + 0ULL); /* no double is that */
    if (option->high < ARG_UNBOUNDED)
        cli_error(verb, "%s must be from %.15g to %s, not %s", option->name, option->low, most, word);
    else if (value < option->low)
        cli_error(verb, "%s: %s is too small, it must be at least %.15g", option->name, word, option->low);
    else
        cli_error(verb, "%s: %s is too large, it must be at most %s", option->name, word, most);
    return 0;
}

/* The integer at word, which another byte than `after` must not follow; complains and returns 0 when there is
 * none or it is out of range. */
static int count_at(const char *verb, const arg_option *option, const char *word, char after, uint64_t *value) {
    size_t minus = *word == '-', n = strspn(word + minus, "0123456789") + minus;
    char shown[WORD_MAX];
    errno = 0;
    *value = strtoull(word, NULL, 10);
    double about = minus ? -1 : errno == ERANGE ? (double)INFINITY : (double)*value; /* strtoull would take the sign */
    snprintf(shown, sizeof shown, "%.*s", (int)strcspn(word, after ? (char[]){after, 0} : ""), word);
    if (n > minus && (!word[n] || word[n] == after)) return in_range(verb, option, about, shown);
    cli_error(verb, "%s: '%s' is not an integer", option->name, shown);
    return 0;
}

static int store_counts(const char *verb, const arg_option *option, const char *word) {
    arg_counts *counts = option->value;
    counts->items = cli_alloc(strlen(word) + 1, sizeof *counts->items);
    for (const char *at = word; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!count_at(verb, option, at, ',', &counts->items[counts->n++])) return 0;
    return 1;
}

/* Stores one value; complains and returns 0 when the word is not such a value. */
static int store(const char *verb, arg_option *option, const char *word, int argc) {
    char *end;
    errno = 0;
    switch (option->kind) {
    case ARG_FLAG: *(int *)option->value = 1; return 1;
    case ARG_TEXT: *(const char **)option->value = word; return 1;
    case ARG_REPEAT:
    case ARG_LIST: append(option->value, word, argc); return 1;
    case ARG_CHOICE:
        if (!is_choice(option->metavar, word)) {
            cli_error(verb, "%s: '%s' is not one of %s", option->name, word, option->metavar);
            return 0;
        }
        *(const char **)option->value = word;
        return 1;
    case ARG_COUNT: return count_at(verb, option, word, 0, option->value);
    case ARG_COUNTS: return store_counts(verb, option, word);
    case ARG_REAL: {
        double value = strtod(word, &end);
        int is_number = isfinite(value) || (isinf(value) && errno == ERANGE); /* too large, but one */
        if (end == word || *end || !is_number || word[0] == ' ') {
            cli_error(verb, "%s: '%s' is not a number", option->name, word);
            return 0;
        }
        *(double *)option->value = value;
        return in_range(verb, option, value, word);
    }
    }
    return 0;
}

static int is_option(const char *word) { return word[0] == '-' && word[1]; }

/* Handles argv[*i], an option, and the values after it. */
static int take_option(const char *verb, arg_option *all, size_t n_all, int argc, char **argv, int *i) {
    const char *word = argv[*i];
    size_t n = strcspn(word, "=");
    arg_option *option = find(all, n_all, word, n);
    if (!option) {
        char name[WORD_MAX];
        snprintf(name, sizeof name, "%.*s", (int)(n < WORD_MAX ? n : WORD_MAX - 1), word);
        const char *near = arg_nearest(name, all, n_all, sizeof *all);
        cli_error(verb, "unknown option %.*s%s%s (see innerloop %s --help)", (int)n, word,
                  near ? ", did you mean " : "", near ? near : "", verb);
        return 0;
    }
    if (option->given && option->kind != ARG_REPEAT && option->kind != ARG_LIST) {
        cli_error(verb, "%s is given twice", option->name);
        return 0;
    }
    option->given = 1;
    if (option->kind == ARG_FLAG) {
        if (word[n]) {
            cli_error(verb, "%s takes no value", option->name);
            return 0;
        }
        return store(verb, option, NULL, argc);
    }
    if (word[n]) return store(verb, option, word + n + 1, argc);
    /* A word that is itself an option is a forgotten value; --name=--word passes one on purpose. */
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    if (!next || find(all, n_all, next, strcspn(next, "=")) || !strcmp(next, "--")) {
        cli_error(verb, "%s needs a value (%s)", option->name, option->metavar);
        return 0;
    }
    ++*i;
    if (!store(verb, option, next, argc)) return 0;
    while (option->kind == ARG_LIST && *i + 1 < argc && !is_option(argv[*i + 1]))
        if (!store(verb, option, argv[++*i], argc)) return 0;
    return 1;
}

static int parse(arg_spec *spec, arg_option *all, size_t n_all, int argc, char **argv) {
    int only_operands = 0;
    for (int i = 1; i < argc; i++) {
        if (!only_operands && !strcmp(argv[i], "--")) {
            only_operands = 1;
        } else if (!only_operands && is_option(argv[i])) {
            if (!take_option(spec->verb, all, n_all, argc, argv, &i)) return 0;
        } else if (spec->operands.n >= spec->operands_max) {
            cli_error(spec->verb, "unexpected operand '%s' (see innerloop %s --help)", argv[i], spec->verb);
            return 0;
        } else {
            append(&spec->operands, argv[i], argc);
        }
    }
    for (size_t i = 0; i < n_all; i++) {
        if (all[i].required && !all[i].given) {
            cli_error(spec->verb, "%s %s is missing (see innerloop %s --help)", all[i].name, all[i].metavar,
                      spec->verb);
            return 0;
        }
    }
    if (spec->operands.n < spec->operands_min) {
        cli_error(spec->verb, "%s is missing (see innerloop %s --help)", spec->operand, spec->verb);
        return 0;
    }
    return 1;
}

int arg_parse(arg_spec *spec, int argc, char **argv, int *code) {
    if (diverted.take) {
        diverted.take(diverted.user, spec);
        *code = 0;
        return 0;
    }
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help(spec);
            *code = cli_finish_output(spec->verb, 0);
            return 0;
        }
    }
    int help; /* is never set: what asks for help has been answered */
    void *const common_values[ARG_COMMON] = {&spec->json, &spec->threads, &help};
    size_t n_all = spec->n_options + ARG_COMMON;
    arg_option *all = cli_alloc(n_all, sizeof *all);
    memcpy(all, spec->options, spec->n_options * sizeof *all);
    for (size_t i = 0; i < ARG_COMMON; i++) {
        all[spec->n_options + i] = arg_common[i];
        all[spec->n_options + i].value = common_values[i];
    }
    int ok = parse(spec, all, n_all, argc, argv);
    memcpy(spec->options, all, spec->n_options * sizeof *all);
    free(all);
    *code = ok ? 0 : 2;
    if (!ok) arg_release(spec);
    return ok;
}

void arg_release(arg_spec *spec) {
    for (size_t i = 0; i < spec->n_options; i++) {
        if (spec->options[i].kind == ARG_COUNTS) {
            arg_counts *counts = spec->options[i].value;
            free(counts->items);
            *counts = (arg_counts){0};
        }
        if (spec->options[i].kind != ARG_REPEAT && spec->options[i].kind != ARG_LIST) continue;
        arg_list *list = spec->options[i].value;
        free(list->items);
        *list = (arg_list){0};
    }
    free(spec->operands.items);
    spec->operands = (arg_list){0};
}

int arg_given(const arg_spec *spec, const char *name) {
    arg_option *option = find(spec->options, spec->n_options, name, strlen(name));
    return option && option->given;
}

const char *arg_given_beside(const arg_spec *spec, const char *const *names, size_t n) {
    for (size_t i = 0; i < spec->n_options; i++) {
        size_t k = 0;
        while (k < n && strcmp(names[k], spec->options[i].name)) k++;
        if (spec->options[i].given && k == n) return spec->options[i].name;
    }
    return NULL;
}
