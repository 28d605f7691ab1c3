/* places.c: see places.h. Files are the same when their device and inode are; what does not exist yet, when its folder
 * is the same and its name. Only regular files count: nothing is lost where a pipe is read and written. */
#include "places.h"
#include "bundled_model.h"
#include "files.h"
#include "output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct place {
    char *what;               /* for messages: "--log", "config.json of --model" */
    const arg_option *option; /* NULL: an operand or a standard stream */
    const char **path;        /* where the command line holds it; NULL: a file of a folder, or what is printed */
    int is_stdout;            /* an output that is to take standard output */
    int exists;               /* a regular file, which the next two identify */
    dev_t device;
    ino_t inode;
    char *real; /* of an output that does not exist: its folder's real path and its name */
} place;

typedef struct places {
    place *items; /* [n] */
    size_t n, capacity;
} places;

static place *add(places *list, const arg_option *option, const char **path, char *what) {
    list->items = cli_grown(list->items, &list->capacity, list->n + 1, sizeof *list->items);
    place *p = &list->items[list->n++];
    *p = (place){.option = option, .path = path, .what = what};
    return p;
}

static void release(places *list) {
    for (size_t i = 0; i < list->n; i++) {
        free(list->items[i].what);
        free(list->items[i].real);
    }
    free(list->items);
}

static void identify(place *p, const struct stat *info) {
    p->exists = S_ISREG(info->st_mode);
    p->device = info->st_dev;
    p->inode = info->st_ino;
}

/* ---- what is read ---- */

/* Whether a folder's file is one that a model or a checkpoint is read from; others in it are nobody's business. */
static int is_of_model(const char *name) {
    static const char *const names[] = {
        "config.json",           "generation_config.json", "tokenizer.model",     "tokenizer.json",
        "pictures.json",         "trainer.json",           "trainer.safetensors", "model.safetensors.index.json",
        "tokenizer_config.json", "chat_template.jinja"};
    static const char weights[] = ".safetensors";
    size_t n = strlen(name), tail = sizeof weights - 1;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (!strcmp(name, names[i])) return 1;
    return !strncmp(name, "model", 5) && n > tail && !strcmp(name + n - tail, weights);
}

static void add_folder(places *list, const arg_option *option, const char *path, const char *name) {
    DIR *dir = opendir(path);
    if (!dir) return;
    struct stat info;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (is_of_model(entry->d_name) && !fstatat(dirfd(dir), entry->d_name, &info, 0))
            identify(add(list, option, NULL, cli_format("%s of %s", entry->d_name, name)), &info);
    closedir(dir);
}

/* The models that are read where --model names none or a bundled one. */
static void add_bundled(places *list, const arg_option *option, const char *word) {
    cli_bundled_models models;
    il_error unused; /* who loads it says that there is none */
    if (cli_bundled_models_find(word, &models, &unused)) return;
    for (size_t i = 0; i < models.n; i++) {
        char *name = cli_format("the model %s", models.names[i]);
        add_folder(list, option, models.dirs[i], name);
        free(name);
    }
    cli_bundled_models_free(&models);
}

static void add_input(places *list, const arg_option *option, const char **path, const char *name) {
    struct stat info;
    int stream = !strcmp(*path, "-");
    if (stream ? fstat(STDIN_FILENO, &info) : stat(*path, &info)) return;
    if (S_ISDIR(info.st_mode))
        add_folder(list, option, *path, name);
    else
        identify(add(list, option, path, stream ? cli_format("standard input") : cli_format("%s", name)), &info);
}

/* ---- what is written ---- */

/* Of what does not exist the real path of the folder that it is in, and its name there; NULL when there is no such
 * folder. Links to nothing are followed. */
static char *real_name(const char *path) {
    enum { LINKS_MAX = 40 };
    char link[PATH_MAX], *at = cli_format("%s", path);
    ssize_t n;
    for (int links = 0; links < LINKS_MAX && (n = readlink(at, link, sizeof link - 1)) > 0; links++) {
        link[n] = 0;
        const char *slash = strrchr(at, '/');
        char *next = cli_format("%.*s%s", *link == '/' || !slash ? 0 : (int)(slash - at) + 1, at, link);
        free(at);
        at = next;
    }
    const char *slash = strrchr(at, '/');
    char *folder = slash ? cli_format("%.*s/", (int)(slash - at), at) : cli_format(".");
    char *real = realpath(folder, NULL), *name = real ? cli_format("%s/%s", real, slash ? slash + 1 : at) : NULL;
    free(folder);
    free(real);
    free(at);
    return name;
}

static int is_folder(const place *p) { return p->option && p->option->place == ARG_MAKES; }

static void add_output(places *list, const arg_option *option, const char **path, const char *name) {
    static const char *const standard[] = {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"};
    struct stat info;
    place *p = add(list, option, path, cli_format("%s", name));
    for (size_t i = 0; i < COUNT_OF(standard) && !is_folder(p); i++)
        if (!strcmp(*path, standard[i])) p->is_stdout = 1;
    char *plain = cli_format("%s", *path);
    for (size_t n = strlen(plain); n > 1 && plain[n - 1] == '/';) plain[--n] = 0;
    if (p->is_stdout ? !fstat(STDOUT_FILENO, &info) : !stat(*path, &info))
        identify(p, &info);
    else if (!p->is_stdout)
        p->real = real_name(plain);
    free(plain);
}

/* From here on the output is another descriptor of standard output, and what is printed goes to standard error. */
static il_status take_stdout(place *p, il_error *error) {
    static char name[32];
    int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return cli_fail(error, IL_ERR_IO, "standard output: %s", strerror(errno));
    snprintf(name, sizeof name, "/dev/fd/%d", fd);
    cli_rename(name, "standard output");
    *p->path = name;
    return IL_OK;
}

/* Whether path is in a folder that the verb makes before it writes there. */
static int is_made(const places *outputs, const char *path) {
    for (size_t i = 0; i < outputs->n; i++) {
        const place *p = &outputs->items[i];
        if (!p->path || !is_folder(p)) continue;
        size_t n = strlen(*p->path);
        while (n > 1 && (*p->path)[n - 1] == '/') n--;
        const char *rest = path + n;
        if (strncmp(path, *p->path, n) || *rest != '/') continue;
        while (*rest == '/') rest++;
        if (*rest && !strchr(rest, '/')) return 1;
    }
    return 0;
}

/* The folder that is there, the path itself or one above it, must be one that may be written. */
static il_status check_folder(const char *path, il_error *error) {
    struct stat info;
    char *at = cli_format("%s", path);
    int missing;
    il_status status = *path ? IL_OK : cli_fail(error, IL_ERR_ARG, "a folder needs a name");
    if (!status && stat(path, &info) && !lstat(path, &info) && S_ISLNK(info.st_mode))
        status = cli_fail(error, IL_ERR_IO, "%s: a link to nothing", path);
    while ((missing = stat(at, &info) != 0) && errno == ENOENT && !status && strcmp(at, ".")) {
        size_t n = strlen(at);
        while (n && at[n - 1] == '/') n--;
        while (n && at[n - 1] != '/') n--;
        while (n > 1 && at[n - 1] == '/') n--;
        if (n)
            at[n] = 0;
        else
            memcpy(at, ".", 2);
    }
    if (!status && !missing && !S_ISDIR(info.st_mode))
        status = cli_fail(error, IL_ERR_IO, "%s: exists and is not a folder", at);
    else if (!status && (missing || access(at, W_OK | X_OK)))
        status = cli_fail(error, IL_ERR_IO, "%s: %s", path, strerror(errno));
    char *file = cli_format("%s/.innerloop-check", at); /* what may be made in it is known when it is */
    if (!status) status = il_output_check(file, error);
    free(file);
    free(at);
    return status;
}

static il_status check_output(const places *outputs, const place *p, il_error *error) {
    if (is_folder(p)) return check_folder(*p->path, error);
    if (!p->exists && !p->real && is_made(outputs, *p->path)) return IL_OK;
    static const char standard[] = "/dev/stdout";
    if (p->is_stdout) cli_rename(standard, "standard output");
    return il_output_check(p->is_stdout ? standard : *p->path, error);
}

/* ---- both ---- */

static void gather(arg_spec *spec, places *inputs, places *outputs) {
    for (size_t i = 0; i < spec->n_options; i++) {
        arg_option *option = &spec->options[i];
        const char **paths = option->value;
        if (option->place == ARG_READS && !strcmp(option->name, "--model") &&
            (!option->given || !cli_path_exists(*paths, "config.json")))
            add_bundled(inputs, option, *paths);
        if (!option->given || option->place == ARG_ANY) continue;
        size_t n = 1;
        if (option->kind == ARG_LIST || option->kind == ARG_REPEAT) {
            arg_list *list = option->value;
            paths = list->items;
            n = list->n;
        }
        for (size_t k = 0; k < n; k++)
            (option->place == ARG_READS ? add_input : add_output)(option->place == ARG_READS ? inputs : outputs, option,
                                                                  &paths[k], option->name);
    }
    for (size_t i = 0; i < spec->operands.n; i++) {
        int writes = spec->writes_last && i + 1 == spec->operands.n;
        (writes ? add_output : add_input)(writes ? outputs : inputs, NULL, &spec->operands.items[i],
                                          spec->operands.items[i]);
    }
}

static int are_same(const place *a, const place *b) {
    if (a->exists && b->exists) return a->device == b->device && a->inode == b->inode;
    return a->real && b->real && !strcmp(a->real, b->real);
}

static int may_replace(const place *output, const place *input) {
    return output->option && output->option->replaces && input->option &&
           !strcmp(output->option->replaces, input->option->name);
}

static il_status compare(const arg_spec *spec, const places *inputs, const places *outputs, il_error *error) {
    for (size_t i = 0; i < outputs->n; i++) {
        const place *output = &outputs->items[i];
        if (output->is_stdout && spec->json)
            return cli_fail(error, IL_ERR_ARG, "--json and %s would both write to standard output", output->what);
        for (size_t k = 0; k < inputs->n; k++)
            if (are_same(output, &inputs->items[k]) && !may_replace(output, &inputs->items[k]))
                return cli_fail(error, IL_ERR_ARG, "%s and %s are the same file: writing it would destroy what is read",
                                output->what, inputs->items[k].what);
        for (size_t k = 0; k < i; k++)
            if (are_same(output, &outputs->items[k]) || (output->is_stdout && outputs->items[k].is_stdout))
                return cli_fail(error, IL_ERR_ARG, "%s and %s are the same file", outputs->items[k].what, output->what);
    }
    return IL_OK;
}

/* What is given twice in one list is read twice, which nobody may have meant. */
static void note_repeated(const arg_spec *spec, const places *inputs) {
    for (size_t i = 0; i < inputs->n; i++)
        for (size_t k = 0; k < i; k++) {
            const place *now = &inputs->items[i], *before = &inputs->items[k];
            if (!now->path || !before->path || now->option != before->option || !are_same(now, before)) continue;
            char *other = cli_format(strcmp(*now->path, *before->path) ? " (as %s)" : "", *before->path);
            cli_note(spec->verb, "%s is given twice%s and read twice", cli_shown(*now->path), other);
            free(other);
            break;
        }
}

il_status cli_places_check(arg_spec *spec, int *usage, il_error *error) {
    struct stat info;
    places inputs = {0}, outputs = {0};
    place *standard = NULL;
    gather(spec, &inputs, &outputs);
    size_t n = outputs.n;
    for (size_t i = 0; i < n; i++)
        if (outputs.items[i].is_stdout) standard = &outputs.items[i];
    if (!standard && !fstat(STDOUT_FILENO, &info))
        identify(add(&outputs, NULL, NULL, cli_format("standard output")), &info);
    il_status status = compare(spec, &inputs, &outputs, error);
    if (!status) note_repeated(spec, &inputs);
    *usage = status != IL_OK;
    for (size_t i = 0; i < n && !status; i++) status = check_output(&outputs, &outputs.items[i], error);
    if (!status && standard) status = take_stdout(standard, error);
    release(&inputs);
    release(&outputs);
    return status;
}
