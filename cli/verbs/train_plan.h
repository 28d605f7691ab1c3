/* train_plan.h: what a new model's run is decided to be: recipe.json in its folder, and the command lines that would do
 * the same. */
#ifndef CLI_VERBS_TRAIN_PLAN_H
#define CLI_VERBS_TRAIN_PLAN_H

#include "recipe.h"
#include "split.h"

enum { TRAIN_PLAN_COMMANDS = 4 };

typedef struct train_plan {
    cli_texts texts;
    double minutes;
    char mixer[64];
    uint64_t seed;
    int decided;    /* 0: what follows is not known yet */
    int vocabulary; /* 0: bytes */
    recipe_shape shape;
    recipe_schedule schedule;
    double tokens_per_s; /* measured, once */
} train_plan;

il_status train_plan_write(const train_plan *plan, const char *path, il_error *error);
il_status train_plan_read(const char *path, train_plan *plan, il_error *error);
/* The text of recipe.json, released by free; NULL: no memory. And a plan from such a text; 0: it is none. */
char *train_plan_text(const train_plan *plan);
int train_plan_parse(const char *text, size_t bytes, train_plan *plan);

/* The config of the new model. */
il_status train_plan_config(const train_plan *plan, const il_tokenizer *tokenizer, il_config *config, il_error *error);

/* The paths of a run in the folder out, and its command lines; released by train_plan_paths_free. */
typedef struct train_plan_paths {
    char *recipe, *tokenizer, *start, *run, *latest, *best, *log, *cache;
} train_plan_paths;
train_plan_paths train_plan_paths_in(const char *out);
void train_plan_paths_free(train_plan_paths *paths);
/* lines [TRAIN_PLAN_COMMANDS], each released by free; NULL for one that is not needed. */
void train_plan_commands(const train_plan *plan, const train_plan_paths *paths, const cli_split *split, const char *out,
                         char **lines);

#endif
