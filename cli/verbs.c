/* verbs.c: see verbs.h. A verb is listed here when it is finished. */
#include "verbs.h"
#include "output.h"

#include <string.h>

static const struct verb {
    const char *name; /* first: arg_nearest looks there */
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"init", verb_init},
    {"train-tokenizer", verb_train_tokenizer},
    {"tokenize", verb_tokenize},
    {"pictures", verb_pictures},
    {"train", verb_train},
    {"eval", verb_eval},
    {"chat", verb_chat},
    {"generate", verb_generate},
    {"play", verb_play},
    {"read", verb_read},
    {"score", verb_score},
    {"compress", verb_compress},
    {"decompress", verb_decompress},
    {"convert", verb_convert},
    {"inspect", verb_inspect},
    {"bench", verb_bench},
    {"doctor", verb_doctor},
#ifdef IL_WITH_SERVER
    {"serve", verb_serve},
#endif
};

int verbs_run(int argc, char **argv) {
    const char *name = argv[0];
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (!strcmp(name, verbs[i].name)) return verbs[i].run(argc, argv);
    const char *near = arg_nearest(name, verbs, COUNT_OF(verbs), sizeof verbs[0]);
    cli_error("", "unknown %s '%s'%s%s (see innerloop --help)", name[0] == '-' ? "option" : "verb", name,
              near ? ", did you mean " : "", near ? near : "");
    return 2;
}

void verbs_list(void (*take)(void *user, const arg_spec *spec), void *user) {
    arg_divert(take, user);
    for (size_t i = 0; i < COUNT_OF(verbs); i++) verbs[i].run(0, NULL);
    arg_divert(NULL, NULL);
}
