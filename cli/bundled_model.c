/* bundled_model.c: see bundled_model.h. */
#include "bundled_model.h"
#include "files.h"
#include "output.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first CLI_BUNDLED_MODELS read texts and are chosen from; the others, of pictures and films, must be named. */
static const char *const names[] = {"reader", "any", "clothes", "digits", "maze"};

/* The folder above the binary's: the source tree of PREFIX/build/innerloop, PREFIX of PREFIX/bin/innerloop. */
static char *prefix(void) {
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) return NULL;
    path[n] = 0;
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(path, '/');
        if (!slash) return NULL;
        *slash = 0;
    }
    return cli_format("%s", path);
}

/* The directory of a bundled model; NULL when it is nowhere. */
static char *bundled(const char *above, const char *name) {
    static const char *const places[] = {"models", "share/innerloop/models"};
    for (size_t i = 0; above && i < COUNT_OF(places); i++) {
        char *dir = cli_format("%s/%s/%s", above, places[i], name);
        if (cli_path_exists(dir, "config.json")) return dir;
        free(dir);
    }
    return NULL;
}

static void add(cli_bundled_models *models, const char *name, char *dir) {
    models->names[models->n] = name;
    models->dirs[models->n++] = dir;
}

il_status cli_bundled_models_find(const char *word, cli_bundled_models *models, il_error *error) {
    const char *environment = getenv("INNERLOOP_MODEL");
    int from_environment = !word && environment && environment[0];
    if (from_environment) word = environment;
    *models = (cli_bundled_models){0};
    char *above = prefix();
    for (size_t i = 0; i < (word ? COUNT_OF(names) : CLI_BUNDLED_MODELS); i++) {
        if (word && (strcmp(word, names[i]) || cli_path_exists(word, "config.json"))) continue;
        char *dir = bundled(above, names[i]);
        if (dir) add(models, names[i], dir);
    }
    if (word && !models->n) add(models, word, cli_format("%s", word));
    il_status status = IL_OK;
    const char *first = models->n ? models->dirs[0] : NULL;
    if (from_environment && !cli_path_exists(first, "config.json") && !cli_path_is_gguf(first) &&
        !cli_path_is_jax(first))
        status = cli_fail(error, IL_ERR_IO, "INNERLOOP_MODEL: no model (config.json) in %s", word);
    else if (!models->n)
        status = cli_fail(error, IL_ERR_IO,
                          "--model is not given, INNERLOOP_MODEL is not set, and there is no bundled model: neither "
                          "models/%s nor share/innerloop/models/%s in %s",
                          names[0], names[0], above ? above : "the folder above the binary's");
    free(above);
    if (status) cli_bundled_models_free(models);
    return status;
}

void cli_bundled_models_free(cli_bundled_models *models) {
    for (size_t i = 0; i < models->n; i++) free(models->dirs[i]);
    *models = (cli_bundled_models){0};
}
