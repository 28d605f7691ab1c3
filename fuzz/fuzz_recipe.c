/* fuzz_recipe.c: any bytes as the recipe.json of `innerloop train FILE`. What is accepted is written as a text that is
 * read as the same, and has command lines. */
#include <stdlib.h>
#include <string.h>

#include "verbs/train_plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    train_plan plan, again;
    char *lines[TRAIN_PLAN_COMMANDS];
    cli_split split = {.train = (char *)"train.txt", .held_out = (char *)"held-out.txt"};
    if (!train_plan_parse((const char *)data, bytes, &plan)) return 0;
    char *text = train_plan_text(&plan);
    must(text != NULL && train_plan_parse(text, strlen(text), &again));
    char *text_again = train_plan_text(&again);
    must(text_again != NULL && strcmp(text, text_again) == 0);
    must(plan.decided == again.decided && plan.seed == again.seed && strcmp(plan.mixer, again.mixer) == 0);
    if (plan.decided) {
        const recipe_schedule *s = &plan.schedule;
        must(s->length >= 1 && s->batch_tokens % s->length == 0 && s->steps >= 1 && s->val_every >= 1);
        train_plan_paths paths = train_plan_paths_in("out");
        train_plan_commands(&plan, &paths, &split, "out", lines);
        for (int i = 0; i < TRAIN_PLAN_COMMANDS; i++) free(lines[i]);
        train_plan_paths_free(&paths);
    }
    free(text_again);
    free(text);
    return 0;
}
