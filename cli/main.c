/* main.c: the table of verbs, --help and --version. A verb is listed here when it is finished. */
#include "command.h"
#include "output.h"

#include <stdio.h>
#include <string.h>

typedef struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} verb;

static const verb verbs[] = {
    {"init", verb_init, "make a model with fresh weights"},
    {"train-tokenizer", verb_train_tokenizer, "train a SentencePiece tokenizer on text"},
    {"tokenize", verb_tokenize, "turn text into token shards"},
    {"train", verb_train, "train a model on text or token shards"},
    {"eval", verb_eval, "measure loss and perplexity, also by position"},
    {"generate", verb_generate, "continue a prompt"},
    {"read", verb_read, "read a text once into a state file"},
    {"score", verb_score, "say how surprising a text is, as it comes"},
    {"compress", verb_compress, "make a file small by what a model predicts of it"},
    {"decompress", verb_decompress, "give back what compress was given, byte for byte"},
    {"convert", verb_convert, "hold a model's weights in another type"},
    {"inspect", verb_inspect, "say what a file or directory holds"},
    {"bench", verb_bench, "measure speed beside this machine's limits"},
    {"doctor", verb_doctor, "say what this machine is, and prove that it computes right"},
};

static void print_help(FILE *stream) {
    fprintf(stream,
            "innerloop %s: train, run and measure language models that learn while they read\n\n"
            "usage: innerloop VERB [options]\n\n",
            il_version());
    for (size_t i = 0; i < COUNT_OF(verbs); i++) fprintf(stream, "  %-18s %s\n", verbs[i].name, verbs[i].summary);
    fprintf(stream, "\n"
                    "  innerloop VERB --help    options of a verb, with an example\n"
                    "  innerloop --version      print the version\n");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        print_help(stdout);
        return cli_finish_output("", 0);
    }
    if (!strcmp(name, "--version")) {
        printf("innerloop %s\n", il_version());
        return cli_finish_output("", 0);
    }
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (!strcmp(name, verbs[i].name)) return verbs[i].run(argc - 1, argv + 1);
    const char *near = arg_nearest(name, verbs, COUNT_OF(verbs), sizeof verbs[0]);
    cli_error("", "unknown %s '%s'%s%s (see innerloop --help)", name[0] == '-' ? "option" : "verb", name,
              near ? ", did you mean " : "", near ? near : "");
    return 2;
}
