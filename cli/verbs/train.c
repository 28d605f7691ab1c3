/* train.c: `innerloop train`: a model of one's own from files alone (train_new.h), or a run as its options say
 * (train_run.h). */
#include "documents.h"
#include "interrupt.h"
#include "mixers.h"
#include "mixture.h"
#include "output.h"
#include "ranks.h"
#include "shell.h"
#include "verbs.h"
#include "verbs/train_new.h"
#include "verbs/train_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static void report(const train_options *options, const train_result *r) {
    double rate = r->seconds > 0 ? (double)r->tokens / r->seconds : 0;
    printf("%s/latest: step %llu, ", cli_shown(options->out), (unsigned long long)r->made);
    if (r->tokens)
        printf("loss %.4f, %.0f tokens/s\n", r->step.loss, rate);
    else
        printf("nothing left to do\n");
    if (isnan(r->validation.best_loss)) return;
    if (options->patience)
        printf("%s/best: step %llu, ", cli_shown(options->out), (unsigned long long)r->validation.best_step);
    else
        printf("best validation: step %llu, ", (unsigned long long)r->validation.best_step);
    if (isfinite(r->val_bits))
        printf("%.4f bits per byte of %s, read whole\n", r->validation.best_loss * r->val_bits,
               cli_shown(options->val));
    else
        printf("loss %.4f on %s, %s\n", r->validation.best_loss, cli_shown(options->val),
               r->is_whole ? "read whole" : "in windows");
}

static void report_json(const train_options *options, const train_result *r) {
    double rate = r->seconds > 0 ? (double)r->tokens / r->seconds : 0;
    int validated = !isnan(r->validation.best_loss);
    json_t *object = json_pack(
        "{s:o, s:s, s:I, s:o, s:o, s:I, s:o, s:o, s:b, s:b}", "out", cli_json_string(options->out), "dtype",
        options->dtype, "steps", (json_int_t)r->made, "loss", r->tokens ? cli_json_real(r->step.loss) : json_null(),
        "val_loss", cli_json_real(r->val_loss), "tokens", (json_int_t)r->tokens, "seconds", cli_json_real(r->seconds),
        "tokens_per_s", cli_json_real(rate), "interrupted", cli_interrupted() != 0, "stopped", r->stopped);
    json_object_set_new(object, "memory_bytes", json_integer((json_int_t)(r->memory.weights + r->memory.pass)));
    json_object_set_new(object, "bytes_per_token", json_integer((json_int_t)(r->memory.pass / r->memory.tokens)));
    json_object_set_new(object, "recomputes", json_boolean(r->memory.recomputes));
    json_object_set_new(object, "best_step",
                        validated ? json_integer((json_int_t)r->validation.best_step) : json_null());
    json_object_set_new(object, "best_loss", cli_json_real(r->validation.best_loss));
    json_object_set_new(object, "best_bits_per_byte", cli_json_real(r->validation.best_loss * r->val_bits));
    cli_json_print(object);
}

/* ---- which of the two ----  */

/* Only with --model or --resume; without them these are chosen. */
static const char *const of_a_run[] = {
    "--steps",     "--batch-tokens", "--seq-len",    "--stateful",    "--fresh",          "--shuffle",
    "--dtype",     "--lr",           "--end-lr",     "--warmup",      "--beta1",          "--beta2",
    "--eps",       "--weight-decay", "--clip",       "--val",         "--inner-lr-start", "--inner-lr-warmup",
    "--val-every", "--patience",     "--save-every", "--log",         "--data-memory",    "--lanes",
    "--mpi",       "--watchdog",     "--keep",       "--skip-spikes", "--init-from",      "--freeze",
    "--memory"};
static const char *const of_a_new_model[] = {"--minutes", "--mixer"};
static const char *const needed[] = {"--out", "--steps", "--batch-tokens", "--seq-len"};

/* A complaint, released by free; NULL: none. */
static char *misuse(const arg_spec *spec, const train_options *options, const arg_list *data, int is_new, int stateful,
                    int fresh, int size) {
    if (data->n && spec->operands.n) return cli_format("FILE and --data FILE say the same: one of them is enough");
    if (!data->n && !spec->operands.n) return cli_format("FILE is missing");
    if (is_new && size > 1) return cli_format("a new model is made by one process; several train one that there is");
    for (size_t i = 0; is_new && i < COUNT_OF(of_a_run); i++)
        if (arg_given(spec, of_a_run[i]))
            return cli_format("%s needs --model DIR or --resume: without them it is chosen", of_a_run[i]);
    for (size_t i = 0; !is_new && i < COUNT_OF(of_a_new_model); i++)
        if (arg_given(spec, of_a_new_model[i]))
            return cli_format("%s is of a new model: not with --model or --resume", of_a_new_model[i]);
    for (size_t i = 0; !is_new && i < COUNT_OF(needed); i++)
        if (!arg_given(spec, needed[i])) return cli_format("%s is missing", needed[i]);
    if (stateful && fresh) return cli_format("--stateful and --fresh exclude each other");
    const char *complaint = is_new ? NULL : train_options_misuse(options);
    return complaint ? cli_format("%s", complaint) : NULL;
}

/* What each of several processes would have to read, and only one can: a complaint, released by free, or NULL. */
static char *unshared(const arg_list *files, const char *val) {
    struct stat info;
    for (size_t i = 0; i <= files->n; i++) {
        const char *path = i < files->n ? files->items[i] : val;
        if (path &&
            (!strcmp(path, "-") || (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))))
            return cli_format("several processes cannot read the same pipe (%s): put it into a file", path);
    }
    return NULL;
}

/* How several processes come to train on texts: command lines. */
static void show_for_several(const arg_list *files, int size) {
    char *texts = cli_format("%s", "");
    unsigned long long lanes = 1;
    while (lanes < (unsigned long long)size) lanes *= 2;
    for (size_t i = 0; i < files->n; i++) {
        char *word = cli_shell_word(files->items[i]), *more = cli_format("%s %s", texts, word);
        free(word);
        free(texts);
        texts = more;
    }
    char *const lines[] = {
        cli_format("innerloop train-tokenizer --vocab 1000 --out tokenizer.model%s", texts),
        cli_format("innerloop tokenize --tokenizer tokenizer.model --out shards%s", texts),
        cli_format("innerloop init --preset tiny --mixer %s --tokenizer tokenizer.model --out start",
                   CLI_MIXER_DEFAULT),
        cli_format("mpirun -np %d innerloop train --lanes %llu --model start --out run --steps 1000 --batch-tokens "
                   "%llu --seq-len 512 shards",
                   size, lanes, lanes * 2048)};
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        cli_shell_show(lines[i]);
        free(lines[i]);
    }
    free(texts);
}

static char *line_to_go_on(int argc, char **argv, const train_options *options) {
    return cli_shell_line(argc, argv, options->resume ? NULL : "--resume");
}

/* mpirun ends all processes when one has failed: those that say nothing leave the first one time to say why. */
static int leave(int is_first, int code) {
    static const struct timespec pause = {.tv_nsec = 500000000};
    if (code && !is_first) nanosleep(&pause, NULL);
    return code;
}

int verb_train(int argc, char **argv) {
    train_options options;
    train_new_options made = {.mixer = CLI_MIXER_DEFAULT, .minutes = 10};
    train_options_default(&options);
    cli_mixer_choice mixers = cli_mixer_choices(NULL);
    cli_documents documents = {.usual_max_bad = CLI_MAX_BAD};
    cli_reading reading = {.verb = "train"};
    arg_list data = {0}, freeze = {0};
    cli_mixture mixture = {0};
    uint64_t warmup = 0, inner_lr_warmup = 0;
    int stateful = 0, fresh = 0;
    arg_option table[] = {
        ARG("--minutes", ARG_REAL, &made.minutes, "M", "of a new model: for about so long (default 10)",
            RANGE(0.01, 1e5)),
        ARG("--mixer", ARG_CHOICE, &made.mixer, mixers.text,
            "of a new model: what mixes tokens in each layer (default " CLI_MIXER_DEFAULT ", with a fast head)"),
        ARG("--model", ARG_TEXT, &options.model, "DIR", "model directory to start from (not needed with --resume)",
            READS),
        ARG("--init-from", ARG_TEXT, &options.init_from, "DIR",
            "begin with the weights of this model wherever name and shape fit", READS),
        ARG("--freeze", ARG_REPEAT, &freeze, "PATTERN",
            "leave the tensors whose name matches as they are (* and ? as in a shell); can be repeated"),
        ARG("--data", ARG_LIST, &data, "FILE",
            "the same as FILE: tokens, or " CLI_FILE_HELP "; a folder of them; FILE=W: so much of this source", READS),
        ARG("--data-memory", ARG_COUNT, &options.data_memory, "MIB",
            "files of more than this in all stay on disk, as far as they are tokens or can be cached (default 1024)",
            RANGE(0, 1e9)),
        CLI_DOCUMENTS_OPTIONS(documents, CLI_FORMATS),
        ARG("--out", ARG_TEXT, &options.out, "DIR",
            "where checkpoints go: step-N, and latest; of a new model: its folder (default FILE-model)", MAKES),
        ARG("--steps", ARG_COUNT, &options.steps, "N", "number of updates, the length of the schedule", RANGE(1, 1e9)),
        ARG("--batch-tokens", ARG_COUNT, &options.batch_tokens, "N", "tokens in a step", RANGE(1, 1e12)),
        ARG("--seq-len", ARG_COUNT, &options.length, "L", "tokens in a sequence", RANGE(1, 1 << 20)),
        ARG("--stateful", ARG_FLAG, &stateful, NULL,
            "a document's next window goes on from the state of the last (default unless a layer is ttt_linear, "
            "ttt_mlp, gated_delta or self_attention)",
            .alias = "--carry"),
        ARG("--fresh", ARG_FLAG, &fresh, NULL, "every window begins from a fresh state (the default of those)"),
        ARG("--shuffle", ARG_CHOICE, &options.shuffle, "{blocks,computed,none}",
            "order of the sequences, with --stateful of the documents (default blocks); computed: without a table of "
            "them in memory, as FILE=W always has it"),
        ARG("--dtype", ARG_CHOICE, &options.dtype, "{f32,bf16}",
            "of products: f32, or bf16 by oneDNN where the CPU has AMX: faster, but with different bits (default f32)"),
        ARG("--memory", ARG_REAL, &options.memory, "GB",
            "take at most so much: activations are computed again where they would go beyond it (default: what is "
            "free)",
            RANGE(0.001, 1e6)),
        ARG("--lr", ARG_REAL, &options.lr, "F", "peak learning rate (default 3e-3)", RANGE(0, 1e3)),
        ARG("--end-lr", ARG_REAL, &options.end_lr, "F", "learning rate at the end (default 1e-5)", RANGE(0, 1e3)),
        ARG("--warmup", ARG_COUNT, &warmup, "N", "steps of warm-up (default: a tenth of --steps)", RANGE(0, 1e15)),
        ARG("--beta1", ARG_REAL, &options.beta1, "F", "beta1 of AdamW (default 0.9)", RANGE(0, 0.999999)),
        ARG("--beta2", ARG_REAL, &options.beta2, "F", "beta2 of AdamW (default 0.95)", RANGE(0, 0.999999)),
        ARG("--eps", ARG_REAL, &options.eps, "F", "epsilon of AdamW (default 1e-8)", RANGE(1e-20, 1)),
        ARG("--weight-decay", ARG_REAL, &options.weight_decay, "F",
            "weight decay of AdamW, on every tensor (default 0.1)", RANGE(0, 1e3)),
        ARG("--clip", ARG_REAL, &options.clip, "F",
            "largest norm of the gradient, which is scaled down to it (default 1)", RANGE(1e-12, 1e15)),
        ARG("--inner-lr-start", ARG_REAL, &options.inner_lr_start, "F",
            "factor on the inner learning rate at the first step (default 1; for TTT-MLP 0.1)", RANGE(0, 1e3)),
        ARG("--inner-lr-warmup", ARG_COUNT, &inner_lr_warmup, "N",
            "steps until that factor is 1 (default: as many as --warmup)", RANGE(0, 1e15)),
        ARG("--val", ARG_TEXT, &options.val, "FILE",
            "validate on this text or token shard: read whole as it will be in use, if training is stateful, else in "
            "windows",
            READS),
        ARG("--val-every", ARG_COUNT, &options.val_every, "N",
            "steps between validations (default: a tenth of --steps)", RANGE(1, 1e15)),
        ARG("--patience", ARG_COUNT, &options.patience, "N",
            "keep the best by --val as --out's best, and stop when N in a row are no better", RANGE(1, 1e9)),
        ARG("--save-every", ARG_COUNT, &options.save_every, "N",
            "steps between checkpoints (default: a tenth of --steps); the last is always saved", RANGE(1, 1e15)),
        ARG("--lanes", ARG_COUNT, &options.lanes, "T",
            "cut a step's sequences into T equal lanes, a power of two, whose gradients are added in a fixed tree: as "
            "many processes may share the work, with the same weights for any number of them (default 1)",
            RANGE(1, 1024)),
        ARG("--mpi", ARG_CHOICE, &options.mpi, "{auto,openmpi,mpich}",
            "which MPI joins the processes that mpirun has started (default: as its environment says)"),
        ARG("--watchdog", ARG_REAL, &options.watchdog, "S",
            "of several processes: end the run when nothing is heard of one for S seconds (default: wait)",
            RANGE(0.01, 1e6)),
        ARG("--keep", ARG_COUNT, &options.keep, "N", "keep the last N checkpoints, and the best (default: all)",
            RANGE(1, 1e9)),
        ARG("--skip-spikes", ARG_FLAG, &options.skip_spikes, NULL,
            "a step whose loss or gradient is far above those of the 64 before it changes no weights"),
        ARG("--log", ARG_TEXT, &options.log, "FILE.jsonl", "write a line of JSON for every step", WRITES),
        ARG("--html", ARG_TEXT, &options.html, "FILE.html",
            "write a page with the run's curves, and write it anew while training", WRITES),
        ARG("--tensorboard", ARG_TEXT, &options.tensorboard, "DIR", "write event files for TensorBoard", MAKES),
        ARG("--resume", ARG_FLAG, &options.resume, NULL,
            "go on from --out's latest, as if never stopped: with the same data and options"),
        ARG("--resume-with-changes", ARG_FLAG, &options.resume_with_changes, NULL,
            "the same, but data and options may differ; different data is read from its beginning"),
        ARG("--seed", ARG_COUNT, &options.seed, "N", "seed of the order of the data, and of a new model (default 0)",
            RANGE(0, ARG_SEED_MAX)),
    };
    arg_spec spec = {.verb = "train",
                     .summary = "train a model: of one's own from a text alone, or one that init made",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .operand = "FILE",
                     .operand_help = "tokens (with --model), or " CLI_FILE_HELP,
                     .operands_max = SIZE_MAX,
                     .example =
                         "innerloop train book.txt\n"
                         "innerloop train --minutes 60 --out mine *.txt\n"
                         "innerloop train --model model --out run --steps 1000 --batch-tokens 4096 --seq-len 512 \\\n"
                         "    --val val.txt --log run.jsonl books.jsonl.zst\n"
                         "innerloop train --resume --out run --steps 1000 --batch-tokens 4096 --seq-len 512 \\\n"
                         "    --val val.txt --log run.jsonl books.jsonl.zst"};
    cli_command command;
    train_result result;
    int code, size, is_first = !cli_ranks_given(&size);
    cli_output_mute(!is_first);
    if (!arg_parse(&spec, argc, argv, &code)) return leave(is_first, code);
    options.resume |= options.resume_with_changes;
    if (arg_given(&spec, "--warmup")) options.warmup = (double)warmup;
    if (arg_given(&spec, "--inner-lr-warmup")) options.inner_lr_warmup = (double)inner_lr_warmup;
    options.state = stateful ? TRAIN_STATEFUL : fresh ? TRAIN_FRESH : TRAIN_BY_MIXER;
    arg_list *files = data.n ? &data : &spec.operands;
    int is_new = !options.model && !options.resume;
    options.data = files->items;
    options.n_data = files->n;
    options.freeze = freeze.items;
    options.n_freeze = freeze.n;
    char *complaint = misuse(&spec, &options, &data, is_new, stateful, fresh, size);
    if (!complaint && !is_new) complaint = cli_mixture_take(files, &mixture);
    if (!complaint && size > 1) complaint = unshared(files, options.val);
    if (complaint) {
        cli_error(spec.verb, "%s (see innerloop train --help)", complaint);
        if (is_new && size > 1 && is_first && files->n) show_for_several(files, size);
        free(complaint);
        arg_release(&spec);
        cli_mixture_free(&mixture);
        return leave(is_first, 2);
    }
    options.data = files->items;
    options.n_data = files->n;
    options.weights = mixture.weights;
    options.documents = cli_documents_options(&documents);
    cli_documents_watch(&options.documents, &reading);
    char *again = is_new ? cli_shell_line(argc, argv, NULL) : line_to_go_on(argc, argv, &options);
    options.again = again;
    il_status status = cli_command_open(&command, &spec);
    if (!status && is_new) {
        made.minutes_given = arg_given(&spec, "--minutes");
        made.mixer_given = arg_given(&spec, "--mixer");
        made.seed_given = arg_given(&spec, "--seed");
        status = train_new(&command, &made, &options);
    } else if (!status) {
        status = train_run(&command, &options, &result);
        if (!status && is_first) (spec.json ? report_json : report)(&options, &result);
    }
    free(again);
    int ended = cli_command_close(&command, status);
    cli_mixture_free(&mixture);
    return leave(is_first, ended);
}
