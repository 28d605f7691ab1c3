/* bundled_model.c: see bundled_model.h. */
#include "bundled_model.h"
#include "files.h"
#include "output.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

il_status cli_bundled_model_find(char **dir, il_error *error) {
    static const char *const places[] = {"models/" CLI_BUNDLED_MODEL_NAME,
                                         "share/innerloop/models/" CLI_BUNDLED_MODEL_NAME};
    const char *named = getenv("INNERLOOP_MODEL");
    *dir = NULL;
    if (named && named[0]) {
        if (!cli_path_exists(named, "config.json"))
            return cli_fail(error, IL_ERR_IO, "INNERLOOP_MODEL: no model (config.json) in %s", named);
        *dir = cli_format("%s", named);
        return IL_OK;
    }
    char *above = prefix();
    for (size_t i = 0; above && !*dir && i < COUNT_OF(places); i++) {
        *dir = cli_format("%s/%s", above, places[i]);
        if (cli_path_exists(*dir, "config.json")) continue;
        free(*dir);
        *dir = NULL;
    }
    il_status status = IL_OK;
    if (!*dir)
        status = cli_fail(error, IL_ERR_IO,
                          "--model is not given, INNERLOOP_MODEL is not set, and there is no bundled model: neither "
                          "%s nor %s in %s",
                          places[0], places[1], above ? above : "the folder above the binary's");
    free(above);
    return status;
}
