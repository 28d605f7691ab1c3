/* shell.c: see shell.h. */
#include "shell.h"
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *cli_shell_word(const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
    if (*word && !word[strspn(word, plain)]) return cli_format("%s", word);
    char *quoted = cli_alloc(4 * strlen(word) + 3, 1), *to = quoted;
    *to++ = '\'';
    for (; *word; word++) {
        if (*word != '\'') {
            *to++ = *word;
            continue;
        }
        memcpy(to, "'\\''", 4);
        to += 4;
    }
    *to = '\'';
    return quoted;
}

char *cli_shell_line(int argc, char **argv, const char *more) {
    char *line = cli_format("innerloop");
    for (int i = 0; i < argc; i++) {
        char *word = cli_shell_word(argv[i]), *longer = cli_format("%s %s", line, word);
        free(word);
        free(line);
        line = longer;
    }
    if (!more) return line;
    char *longer = cli_format("%s %s", line, more);
    free(line);
    return longer;
}

void cli_shell_show(const char *line) { fprintf(stderr, "    %s\n", line); }
