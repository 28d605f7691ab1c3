/* train.c: trains a small model on a text file, evaluates it on another one and saves it.
 *
 *     cc train.c -o train $(pkg-config --cflags --libs innerloop)
 *     ./train book.txt other.txt run
 *
 * The model is then in run/latest: `innerloop generate --model run/latest --prompt "And then"`.
 */
#include <innerloop.h>
#include <stdio.h>
#include <stdlib.h>

static il_error error;

static void must(il_status status) {
    if (status) fprintf(stderr, "%s\n", error.message), exit(1);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s TEXT.txt HELD_OUT.txt FOLDER\n", argv[0]);
        return 2;
    }
    const char *text = argv[1], *held_out = argv[2], *dir = argv[3];
    il_engine *engine;
    il_tokenizer *tokenizer;
    il_config config;
    il_model *model;
    must(il_engine_open(NULL, &engine, &error));
    must(il_tokenizer_load(engine, "bytes", &tokenizer, &error));
    must(il_config_preset("tiny", "ttt_linear", NULL, &config, &error));
    config.vocab_size = 258; /* of bytes */
    config.layers = 2;
    must(il_model_init(engine, &config, 1, &model, &error));

    /* Sequences of 128 tokens, four a batch; drawn anew for every pass over the text, in order for evaluation. */
    il_data *data, *other;
    il_data_options reading;
    il_data_options_default(&reading);
    reading.length = 128;
    reading.sequences = 4;
    must(il_data_open(engine, &held_out, 1, tokenizer, config.vocab_size, &reading, &other, &error));
    reading.loop = reading.shuffle = 1;
    must(il_data_open(engine, &text, 1, tokenizer, config.vocab_size, &reading, &data, &error));

    il_trainer *trainer;
    il_trainer_options training;
    il_trainer_options_default(&config, &training);
    training.steps = 100;
    must(il_trainer_open(model, data, &training, &trainer, &error));
    double before, after; /* mean loss of a token, natural log */
    must(il_trainer_eval(trainer, other, 0, &before, &error));
    for (uint64_t i = 0; i < training.steps; i++) {
        il_step step;
        must(il_trainer_step(trainer, &step, &error));
        if (step.step % 10 == 0) printf("step %llu: loss %.4f\n", (unsigned long long)step.step, step.loss);
    }
    must(il_trainer_eval(trainer, other, 0, &after, &error));
    must(il_trainer_save(trainer, tokenizer, dir, &error));
    printf("%s: loss %.4f before, %.4f after; saved in %s/latest\n", held_out, before, after, dir);

    il_trainer_close(trainer);
    il_data_close(data);
    il_data_close(other);
    il_model_unref(model);
    il_tokenizer_close(tokenizer);
    il_engine_close(engine);
}
