/* train.c: trains a small model on a text file, evaluates it on another and saves it.
 *
 *     cc train.c -o train $(pkg-config --cflags --libs innerloop)
 *     ./train book.txt other.txt run
 *
 * The model is then in run/latest: `innerloop generate --model run/latest --prompt "And then"`.
 */
#include <innerloop.h>

#include <stdio.h>
#include <stdlib.h>

/* Every call of the library returns 0 on success; otherwise error.message says what went wrong. */
static il_error error;

static int train(il_trainer *trainer, uint64_t steps) {
    for (uint64_t i = 0; i < steps; i++) {
        il_step step;
        if (il_trainer_step(trainer, &step, &error)) return 1;
        if (step.step % 50 == 0) printf("step %llu: loss %.4f\n", (unsigned long long)step.step, step.loss);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s TEXT.txt HELD_OUT.txt FOLDER\n", argv[0]);
        return 2;
    }
    const char *text = argv[1], *held_out = argv[2], *dir = argv[3];
    il_engine *engine = NULL;
    il_model *model = NULL;
    il_tokenizer *tokenizer = NULL;
    il_data *data = NULL, *other = NULL;
    il_trainer *trainer = NULL;
    il_config config;
    il_trainer_options training;
    il_data_options reading;
    double before, after;

    il_data_options_default(&reading);
    reading.length = 128;
    reading.sequences = 4;
    il_data_options looping = reading;
    looping.loop = looping.shuffle = 1;

    /* A model of the preset "tiny", but narrower; its tokens are bytes. */
    int failed =
        il_engine_open(NULL, &engine, &error) || il_tokenizer_load(engine, "bytes", &tokenizer, &error) ||
        il_config_preset("tiny", "ttt_linear", NULL, &config, &error) ||
        il_config_set(&config, "vocab_size", "258", &error) || il_config_set(&config, "hidden_size", "64", &error) ||
        il_config_set(&config, "intermediate_size", "172", &error) ||
        il_config_set(&config, "num_hidden_layers", "2", &error) || il_model_init(engine, &config, 1, &model, &error) ||
        il_data_open(engine, &text, 1, tokenizer, 258, &looping, &data, &error) ||
        il_data_open(engine, &held_out, 1, tokenizer, 258, &reading, &other, &error);
    if (!failed) {
        il_trainer_options_default(&config, &training);
        training.steps = 200;
        failed = il_trainer_open(model, data, &training, &trainer, &error) ||
                 il_trainer_eval(trainer, other, 8, &before, &error) || train(trainer, training.steps) ||
                 il_trainer_eval(trainer, other, 8, &after, &error) || il_trainer_save(trainer, tokenizer, dir, &error);
    }
    if (failed)
        fprintf(stderr, "%s\n", error.message);
    else
        printf("loss of %s: %.4f before, %.4f after; saved in %s/latest\n", held_out, before, after, dir);
    il_trainer_close(trainer);
    il_data_close(other);
    il_data_close(data);
    il_tokenizer_close(tokenizer);
    il_model_unref(model);
    il_engine_close(engine);
    return failed;
}
