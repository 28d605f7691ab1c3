/* train_plan.c: see train_plan.h. */
#include "verbs/train_plan.h"
#include "files.h"
#include "mixers.h"
#include "output.h"
#include "shell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, BYTES_MAX = 1 << 20 };

/* ---- recipe.json ---- */

char *train_plan_text(const train_plan *p) {
    json_t *root =
        json_pack("{s:i, s:I, s:I, s:s, s:f, s:s, s:I}", "format", FORMAT, "documents", (json_int_t)p->texts.documents,
                  "bytes", (json_int_t)p->texts.bytes, "fingerprint", p->texts.fingerprint, "minutes", p->minutes,
                  "mixer", p->mixer, "seed", (json_int_t)p->seed);
    if (p->decided)
        json_object_set_new(root, "recipe",
                            json_pack("{s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:b, s:f, s:f}", "vocabulary",
                                      p->vocabulary, "layers", p->shape.layers, "width", p->shape.width, "heads",
                                      p->shape.heads, "ffn_width", p->shape.ffn_width, "length",
                                      (json_int_t)p->schedule.length, "batch_tokens",
                                      (json_int_t)p->schedule.batch_tokens, "steps", (json_int_t)p->schedule.steps,
                                      "val_every", (json_int_t)p->schedule.val_every, "fresh", p->schedule.fresh, "lr",
                                      p->schedule.lr, "tokens_per_s", p->tokens_per_s));
    char *json = json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    char *text = json ? cli_format("%s\n", json) : NULL;
    free(json);
    return text;
}

il_status train_plan_write(const train_plan *p, const char *path, il_error *error) {
    char *text = train_plan_text(p);
    if (!text) return cli_fail(error, IL_ERR_NOMEM, "no memory for %s", path);
    il_status status = cli_path_write(path, text, strlen(text), error);
    free(text);
    return status;
}

/* Whether all numbers can be what this program once decided. The rest is checked where it is used. */
static int sane(const train_plan *p) {
    const recipe_schedule *s = &p->schedule;
    return p->vocabulary >= 0 && s->length >= 1 && s->length <= 1 << 20 && s->batch_tokens >= s->length &&
           s->batch_tokens <= 1 << 30 && s->batch_tokens % s->length == 0 && s->steps >= 1 && s->steps <= 1000000000 &&
           s->val_every >= 1 && s->val_every <= s->steps && s->lr >= 0 && s->lr <= 1e3 && p->tokens_per_s > 0;
}

static int unpack(json_t *root, train_plan *p) {
    int format;
    json_int_t documents, bytes, seed, length, batch_tokens, steps, val_every;
    const char *fingerprint, *mixer;
    json_t *recipe = NULL;
    if (json_unpack(root, "{s:i, s:I, s:I, s:s, s:F, s:s, s:I, s?:o}", "format", &format, "documents", &documents,
                    "bytes", &bytes, "fingerprint", &fingerprint, "minutes", &p->minutes, "mixer", &mixer, "seed",
                    &seed, "recipe", &recipe) ||
        format != FORMAT || documents < 0 || bytes < 0 || strlen(fingerprint) >= sizeof p->texts.fingerprint ||
        strlen(mixer) >= sizeof p->mixer)
        return 0;
    p->texts = (cli_texts){.documents = (uint64_t)documents, .bytes = (uint64_t)bytes};
    snprintf(p->texts.fingerprint, sizeof p->texts.fingerprint, "%s", fingerprint);
    snprintf(p->mixer, sizeof p->mixer, "%s", mixer);
    p->seed = (uint64_t)seed;
    p->decided = recipe != NULL;
    if (!recipe) return 1;
    if (json_unpack(recipe, "{s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:b, s:F, s:F}", "vocabulary",
                    &p->vocabulary, "layers", &p->shape.layers, "width", &p->shape.width, "heads", &p->shape.heads,
                    "ffn_width", &p->shape.ffn_width, "length", &length, "batch_tokens", &batch_tokens, "steps", &steps,
                    "val_every", &val_every, "fresh", &p->schedule.fresh, "lr", &p->schedule.lr, "tokens_per_s",
                    &p->tokens_per_s) ||
        length < 0 || batch_tokens < 0 || steps < 0 || val_every < 0)
        return 0;
    p->schedule.length = (uint64_t)length;
    p->schedule.batch_tokens = (uint64_t)batch_tokens;
    p->schedule.steps = (uint64_t)steps;
    p->schedule.val_every = (uint64_t)val_every;
    return sane(p);
}

int train_plan_parse(const char *text, size_t bytes, train_plan *plan) {
    *plan = (train_plan){0};
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
    int is_plan = root && unpack(root, plan);
    json_decref(root);
    return is_plan;
}

il_status train_plan_read(const char *path, train_plan *plan, il_error *error) {
    char *text;
    size_t bytes;
    *plan = (train_plan){0};
    if (cli_path_bytes(path) > BYTES_MAX) return cli_fail(error, IL_ERR_FORMAT, "%s: is too large", path);
    il_status status = cli_file_read(path, BYTES_MAX, &text, &bytes, error);
    if (status) return status;
    if (!train_plan_parse(text, bytes, plan))
        status = cli_fail(error, IL_ERR_FORMAT, "%s: is not the recipe of a run", path);
    free(text);
    return status;
}

/* ---- what follows from it ---- */

il_status train_plan_config(const train_plan *plan, const il_tokenizer *tokenizer, il_config *config, il_error *error) {
    il_tokenizer_info info;
    il_status status = il_config_preset("tiny", plan->mixer, NULL, config, error);
    if (status) return status;
    il_tokenizer_get_info(tokenizer, &info);
    cli_mixer_furnish(config);
    config->vocab_size = info.vocab_size;
    config->bos_token = info.bos;
    config->eos_token = info.eos;
    config->bytes_tokenizer = !plan->vocabulary;
    config->width = plan->shape.width;
    config->layers = plan->shape.layers;
    config->heads = plan->shape.heads;
    config->ffn_width = plan->shape.ffn_width;
    return il_config_check(config, error);
}

train_plan_paths train_plan_paths_in(const char *out) {
    return (train_plan_paths){.recipe = cli_format("%s/recipe.json", out),
                              .tokenizer = cli_format("%s/tokenizer.model", out),
                              .start = cli_format("%s/start", out),
                              .run = cli_format("%s/run", out),
                              .latest = cli_format("%s/run/latest", out),
                              .best = cli_format("%s/run/best", out),
                              .log = cli_format("%s/log.jsonl", out),
                              .cache = cli_format("%s/run.cache", out)};
}

void train_plan_paths_free(train_plan_paths *p) {
    char *const all[] = {p->recipe, p->tokenizer, p->start, p->run, p->latest, p->best, p->log, p->cache};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    *p = (train_plan_paths){0};
}

void train_plan_commands(const train_plan *plan, const train_plan_paths *paths, const cli_split *split, const char *out,
                         char **lines) {
    const recipe_shape *shape = &plan->shape;
    const recipe_schedule *s = &plan->schedule;
    const char *format = split->is_jsonl ? "jsonl" : "text";
    char *tokenizer = plan->vocabulary ? cli_shell_word(paths->tokenizer) : cli_format("bytes");
    char *train = cli_shell_word(split->train), *held_out = cli_shell_word(split->held_out);
    char *start = cli_shell_word(paths->start), *run = cli_shell_word(paths->run), *log = cli_shell_word(paths->log);
    char *best = cli_shell_word(paths->best), *to = cli_shell_word(out);
    lines[0] = plan->vocabulary ? cli_format("innerloop train-tokenizer --vocab %d --out %s --format %s %s",
                                             plan->vocabulary, tokenizer, format, train)
                                : NULL;
    lines[1] = cli_format("innerloop init --preset tiny --mixer %s --tokenizer %s --set num_hidden_layers=%d "
                          "--set hidden_size=%d --set num_attention_heads=%d --set intermediate_size=%d --seed %llu "
                          "--out %s",
                          plan->mixer, tokenizer, shape->layers, shape->width, shape->heads, shape->ffn_width,
                          (unsigned long long)plan->seed, start);
    lines[2] = cli_format(
        "innerloop train --model %s --out %s --steps %llu --batch-tokens %llu --seq-len %llu%s --lr %g "
        "--seed %llu --val %s --val-every %llu --patience %d --save-every %llu --log %s "
        "--format %s %s",
        start, run, (unsigned long long)s->steps, (unsigned long long)s->batch_tokens, (unsigned long long)s->length,
        s->fresh ? " --fresh" : "", s->lr, (unsigned long long)plan->seed, held_out, (unsigned long long)s->val_every,
        RECIPE_PATIENCE, (unsigned long long)s->steps, log, format, train);
    lines[3] = cli_format("innerloop convert --model %s --out %s", best, to);
    char *const words[] = {tokenizer, train, held_out, start, run, log, best, to};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) free(words[i]);
}
