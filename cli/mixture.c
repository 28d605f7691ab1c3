/* mixture.c: see mixture.h. */
#include "mixture.h"
#include "files.h"
#include "output.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Where "=W" begins; NULL: the word is a name as it stands. */
static const char *weight_in(const char *word, double *weight) {
    const char *equals = strrchr(word, '=');
    char *end;
    if (!equals || equals == word || !equals[1] || strspn(equals + 1, "0123456789.eE+-") != strlen(equals + 1))
        return NULL;
    if (cli_path_exists(word, NULL)) return NULL;
    *weight = strtod(equals + 1, &end);
    return *end ? NULL : equals;
}

static void add(cli_mixture *m, size_t *capacity, char *name, double weight) {
    size_t weights = *capacity, need = m->n + 1;
    m->names = cli_grown(m->names, capacity, need, sizeof *m->names);
    m->weights = cli_grown(m->weights, &weights, need, sizeof *m->weights);
    m->names[m->n] = name;
    m->weights[m->n++] = weight;
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }
static int by_bytes(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/* The files of a folder; the first begins the source, the others go on with it. */
static char *add_folder(cli_mixture *m, size_t *capacity, const char *folder, double weight) {
    struct dirent **entries;
    size_t before = m->n;
    int n = scandir(folder, &entries, is_visible, by_bytes);
    for (int i = 0; i < n; i++) {
        struct stat info;
        char *path = cli_format("%s/%s", folder, entries[i]->d_name);
        if (!stat(path, &info) && S_ISREG(info.st_mode))
            add(m, capacity, path, m->n == before ? weight : 0);
        else
            free(path);
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    return m->n == before ? cli_format("%s: no files in this folder", folder) : NULL;
}

char *cli_mixture_take(arg_list *words, cli_mixture *m) {
    size_t capacity = 0, weighted = 0;
    char *complaint = NULL;
    const char *bare = NULL;
    *m = (cli_mixture){0};
    for (size_t i = 0; i < words->n && !complaint; i++) {
        struct stat info;
        double weight = 0;
        const char *word = words->items[i], *equals = weight_in(word, &weight);
        char *name = equals ? cli_format("%.*s", (int)(equals - word), word) : cli_format("%s", word);
        weighted += equals != NULL;
        if (!equals) bare = word;
        if (equals && !(weight > 0 && isfinite(weight)))
            complaint = cli_format("%s: a weight must be above 0", word);
        else if (stat(name, &info) || !S_ISDIR(info.st_mode))
            add(m, &capacity, cli_format("%s", name), weight);
        else
            complaint = add_folder(m, &capacity, name, weight);
        free(name);
    }
    if (!complaint && weighted && bare)
        complaint = cli_format("%s has no weight, but others have one: FILE=WEIGHT", bare);
    if (!weighted) {
        free(m->weights);
        m->weights = NULL;
    }
    free(words->items);
    words->items = cli_alloc(m->n, sizeof *words->items);
    words->n = m->n;
    for (size_t i = 0; i < m->n; i++) words->items[i] = m->names[i];
    return complaint;
}

void cli_mixture_free(cli_mixture *m) {
    for (size_t i = 0; i < m->n; i++) free(m->names[i]);
    free(m->names);
    free(m->weights);
    *m = (cli_mixture){0};
}
