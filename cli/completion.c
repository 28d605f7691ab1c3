/* completion.c: see completion.h. The script is the same few lines for every verb, after two tables: the options of
 * each verb, and what the value of each option is. */
#include "completion.h"
#include "args.h"
#include "verbs.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static void print_name(void *user, const arg_spec *spec) {
    (void)user;
    printf(" %s", spec->verb);
}

static void print_options(const arg_option *options, size_t n) {
    for (size_t i = 0; i < n; i++) printf(" %s", options[i].name);
}

/* What can stand for metavar: "{FILE,bytes}" is files='-f' words=' bytes'. A word of capitals tells the kind, one of a
 * choice may be anything. Names are offered where the table says what becomes of them. */
static void print_values(const char *metavar, int is_choice, arg_place place) {
    char kind = 0;
    int braces = metavar[0] == '{';
    printf("words='");
    for (const char *at = metavar + braces; *at; at += strcspn(at, " ,}"), at += strspn(at, " ,}")) {
        int n = (int)strcspn(at, " ,}");
        if (is_choice || (braces && islower((unsigned char)*at)))
            printf(" %.*s", n, at);
        else if (!strncmp(at, "DIR", 3))
            kind = 'd';
        else if (!strncmp(at, "FILE", 4) || !strncmp(at, "PATH", 4) || !strcmp(metavar, "IN OUT"))
            kind = 'f';
    }
    printf("'");
    if (kind && place != ARG_ANY) printf(" names=-%c", kind);
    printf(" ;;\n");
}

static void print_verb_options(void *user, const arg_spec *spec) {
    (void)user;
    printf("    %s) options='", spec->verb);
    print_options(spec->options, spec->n_options);
    print_options(arg_common, ARG_COMMON);
    printf("' ;;\n");
}

static void print_lists(void *user, const arg_spec *spec) {
    (void)user;
    for (size_t i = 0; i < spec->n_options; i++)
        if (spec->options[i].kind == ARG_LIST) printf("        '%s %s') ;;\n", spec->verb, spec->options[i].name);
}

static void print_option_values(const char *verb, const arg_option *options, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const arg_option *option = &options[i];
        if (!option->metavar) continue;
        printf("    '%s %s'", verb, option->name);
        if (option->alias) printf(" | '%s %s'", verb, option->alias);
        printf(") ");
        print_values(option->metavar, option->kind == ARG_CHOICE, option->place);
    }
}

static void print_verb_values(void *user, const arg_spec *spec) {
    (void)user;
    print_option_values(spec->verb, spec->options, spec->n_options);
    print_option_values(spec->verb, arg_common, ARG_COMMON);
    printf("    '%s '*) ", spec->verb);
    print_values(spec->operand ? spec->operand : "", 0, ARG_READS);
}

void completion_print_bash(void) {
    printf("# Completion of innerloop for bash, made by innerloop --completion bash from the tables of options.\n"
           "_innerloop() {\n"
           "    local verb=${COMP_WORDS[1]} word=${COMP_WORDS[COMP_CWORD]} last=$((COMP_CWORD - 1))\n"
           "    local option options= words= names=\n"
           "    COMPREPLY=()\n"
           "    if ((COMP_CWORD == 1)); then\n"
           "        mapfile -t COMPREPLY < <(compgen -W '");
    verbs_list(print_name, NULL);
    printf(" --help --version --man --completion' -- \"$word\")\n"
           "        return\n"
           "    fi\n"
           "    case $verb in\n");
    verbs_list(print_verb_options, NULL);
    printf("    esac\n"
           "    # The option whose value this is: the word before, or further back one that takes many. Bash makes\n"
           "    # three words of --name=value.\n"
           "    [[ $word == '=' ]] && word=\n"
           "    [[ ${COMP_WORDS[last]} == '=' ]] && ((last--))\n"
           "    option=${COMP_WORDS[last]}\n"
           "    if [[ $option != --* ]]; then\n"
           "        while ((last > 1)) && [[ ${COMP_WORDS[last]} != --* ]]; do ((last--)); done\n"
           "        option=${COMP_WORDS[last]}\n"
           "        case \"$verb $option\" in\n");
    verbs_list(print_lists, NULL);
    printf("        *) option= ;;\n"
           "        esac\n"
           "    fi\n"
           "    case \"$verb $option\" in\n"
           "    '--completion '*) words=bash ;;\n");
    verbs_list(print_verb_values, NULL);
    printf("    esac\n"
           "    [[ $word == -* ]] && words=$options names=\n"
           "    mapfile -t COMPREPLY < <(\n"
           "        compgen -W \"$words\" -- \"$word\"\n"
           "        [[ -n $names ]] && compgen \"$names\" -- \"$word\"\n"
           "    )\n"
           "    [[ -n $names ]] && compopt -o filenames 2>/dev/null\n"
           "    return 0\n"
           "}\n"
           "complete -F _innerloop innerloop\n");
}
