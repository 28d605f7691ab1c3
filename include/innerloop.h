/* innerloop.h: the public interface of libinnerloop, the engine for models that learn while they read.
 *
 * What everyone wants; must() is yours, and ends the program with error.message unless the status is 0:
 *
 *     il_error error;
 *     il_engine *engine;
 *     il_model *model;
 *     il_tokenizer *tokenizer;
 *     il_session *session;
 *     il_tokens prompt = {0};
 *     il_decoder decoder = {.started = 1};
 *     must(il_engine_open(NULL, &engine, &error));
 *     must(il_model_load(engine, "models/reader", &model, &error));
 *     must(il_tokenizer_load_for_model(engine, "models/reader", il_model_config(model), &tokenizer, &error));
 *     must(il_tokenizer_encode(tokenizer, text, strlen(text), &prompt, &error));
 *     must(il_session_open(model, NULL, &session, &error));
 *     must(il_session_feed(session, prompt.ids, prompt.n, NULL, NULL, &error));
 *     int vocab_size = il_model_config(model)->vocab_size;
 *     float *logits = malloc((size_t)vocab_size * sizeof *logits);
 *     char piece[256];
 *     for (size_t i = 0, bytes; logits && i < 100; i++) {
 *         int32_t token;
 *         must(il_session_logits(session, logits, &error));
 *         must(il_sample(NULL, logits, vocab_size, il_session_position(session), NULL, 0, &token, &error));
 *         must(il_tokenizer_decode(tokenizer, &decoder, token, piece, sizeof piece, &bytes, &error));
 *         fwrite(piece, 1, bytes, stdout);
 *         must(il_session_feed(session, &token, 1, NULL, NULL, &error));
 *     }
 *
 * and at the end il_tokens_free, il_session_close, il_tokenizer_close, il_model_unref and il_engine_close.
 * examples/generate.c is this as a whole program, with the token that begins a text and options of sampling.
 *
 * Contents, in the order of use
 *     status and errors      il_status, il_error, version
 *     engine                 threads, kernels, allocator, log
 *     model                  load, save, convert, what it holds
 *     tokenizer              encode, decode
 *     session                open, feed, logits, fork, rewind, what it has learned
 *     sampling               from logits to a token
 *     chat                   turns of a conversation as tokens, what ends an answer, a model's own way of sampling
 *     state files            save a session, load it again
 *     batch                  feed many sessions at once
 *     documents              texts out of files of any kind
 *     data                   token sequences from files, for training; train a tokenizer
 *     pictures               pictures and films, read, written, and as tokens
 *     ranks                  one training run by several processes
 *     trainer                steps, evaluation, checkpoints
 *     compression            any bytes, by a model that learns them
 *     config                 a model's shape; new models
 *     outputs                files that appear whole or not at all
 *     limits of the machine  what this machine could do at best, to compare speeds with
 *
 * Conventions
 *  - Every call that can fail returns il_status, 0 on success, and takes an il_error * last (NULL allowed), which it
 *    fills on failure.
 *  - Objects are opaque. What a call gives out through a pointer argument is the caller's, to be released with the
 *    function named there; on failure that pointer is set to NULL and nothing is owed.
 *  - The options of a call are a plain struct: let the ..._options_default function fill it, then change fields.
 *  - Numbers are fp32 unless said otherwise; tokens are int32_t in 0 .. vocab_size-1. Shapes stand in brackets,
 *    row-major: logits [n, vocab_size] has vocab_size numbers next to each other for each of n tokens.
 *  - An engine serves any number of threads. A model and a tokenizer do not change (but by a trainer) and may
 *    be shared by threads. A session, a data source and a trainer belong to one thread at a time
 *    (il_session_cancel excepted).
 *  - The library never exits, aborts or prints; it logs through the callback in il_engine_options.
 *  - One answer: logits, losses and states are the same bits for any chunking, batch, thread count and CPU. */
#ifndef INNERLOOP_H
#define INNERLOOP_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define IL_API
#else
#define IL_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define IL_VERSION_MAJOR 0
#define IL_VERSION_MINOR 1
#define IL_VERSION_PATCH 0

/* ---- status and errors ---- */

typedef enum il_status {
    IL_OK = 0,
    IL_ERR_ARG,         /* an argument is outside its documented range */
    IL_ERR_NOMEM,       /* an allocation failed */
    IL_ERR_IO,          /* the operating system refused to open, read, write or rename */
    IL_ERR_FORMAT,      /* a file is damaged, contradicts itself or holds what its format forbids */
    IL_ERR_UNSUPPORTED, /* well-formed, but outside what this build does */
    IL_ERR_MISMATCH,    /* two inputs do not belong together (tokenizer and model, state and model, …) */
    IL_ERR_NONFINITE,   /* a NaN or infinity where a number must be */
    IL_ERR_CANCELLED,   /* il_session_cancel, or a callback that asked to stop */
    IL_ERR_END          /* nothing left to read */
} il_status;

typedef struct il_error {
    il_status status;
    char message[500]; /* one line, UTF-8, says what and where: file, field, value */
} il_error;

/* A constant English name of a status ("bad format"). Never NULL. */
IL_API const char *il_status_name(il_status status);
/* "0.1.0" */
IL_API const char *il_version(void);

/* ---- engine: threads, kernels, allocator, log ---- */

typedef struct il_engine il_engine;

typedef enum il_log_level { IL_LOG_DEBUG, IL_LOG_INFO, IL_LOG_WARN } il_log_level;

typedef struct il_allocator {
    /* bytes > 0, alignment a power of two ≥ 16; returns NULL when it cannot. Must be thread-safe. */
    void *(*allocate)(void *user, size_t bytes, size_t alignment);
    void (*release)(void *user, void *block);
    void *user;
} il_allocator;

typedef struct il_engine_options {
    int threads; /* 1 .. 256; 0: one per CPU this process may use */
    /* "portable", "avx2", "avx512", "avx512_vnni", "neon"; NULL: $IL_CPU if set, else the best this CPU has */
    const char *kernels;
    il_allocator allocator;                                        /* all zero: the C library's */
    void (*log)(void *user, il_log_level level, const char *line); /* NULL: silent */
    void *log_user;
} il_engine_options;

IL_API void il_engine_options_default(il_engine_options *options);
/* options may be NULL. Release with il_engine_close, after everything that was opened on the engine. */
IL_API il_status il_engine_open(const il_engine_options *options, il_engine **engine, il_error *error);
IL_API void il_engine_close(il_engine *engine); /* NULL allowed */
IL_API int il_engine_threads(const il_engine *engine);
IL_API const char *il_engine_kernels(const il_engine *engine); /* the one in use */
/* Calls run(user, item, thread) once for each item 0 .. items-1, on the engine's threads and in no order, and returns
 * when all calls have: for what a program does with many predictions at once, such as drawing from each. thread is 0 ..
 * il_engine_threads-1, and no two calls under way share one. */
IL_API void il_engine_run(il_engine *engine, int items, void (*run)(void *user, int item, int thread), void *user);

/* ---- model ---- */

typedef struct il_model il_model;
typedef struct il_config il_config; /* shape and arithmetic of a model; its fields are below, under config */

/* Reads a model directory: config.json and model.safetensors, or model.safetensors.index.json with its shards, or
 * pytorch_model.bin, or pytorch_model.bin.index.json with its own (docs/checkpoints.md), or the only .safetensors file;
 * fp32, bf16 and fp16 tensors. Missing, unknown, misshapen and non-finite tensors are errors
 * that name the tensor. Where config.json says bfloat16 and all linear layers are, they are held as bf16, in half the
 * memory; otherwise all is widened to fp32. What a model that sees has beside its text is not read, and the log says
 * so. Or dir is a GGUF file (docs/models.md), whose quantized numbers are widened to the fp32 that they stand for; or
 * a checkpoint of the official JAX code, streaming_params or streaming_train_state (docs/checkpoints.md), of which the
 * log says what was taken for granted.
 * Release with il_model_unref. A new model is made by il_model_init. */
IL_API il_status il_model_load(il_engine *engine, const char *dir, il_model **model, il_error *error);
/* One more reference to the same model, to be released too; returns model. Any thread. */
IL_API il_model *il_model_ref(il_model *model);
IL_API void il_model_unref(il_model *model); /* NULL allowed */
/* Lives as long as the model. */
IL_API const il_config *il_model_config(const il_model *model);
IL_API uint64_t il_model_parameters(const il_model *model); /* entries of all tensors */
/* xxh3-128 of config and tensors, 32 hex digits and a NUL. */
IL_API void il_model_fingerprint(const il_model *model, char hex[33]);
/* Checks a file of tensors (.safetensors, .ilstate) as loading does, but for which tensors they are: its header, and
 * that they cover the file without gap or overlap. */
IL_API il_status il_tensors_check(il_engine *engine, const char *path, il_error *error);
/* What a GGUF file says of itself, as the text of a JSON object, released by free: version; metadata by their keys,
 * long arrays as {"type", "count"}; tensors, each with name, dtype and shape. */
IL_API il_status il_gguf_describe(il_engine *engine, const char *path, char **json, il_error *error);
/* Writes config.json, generation_config.json and model.safetensors into dir, which is made if absent. They appear
 * together or not at all: made beside dir, they take the place of an older model at once. Where that cannot be (dir is
 * a mount, holds other files, or its file system cannot exchange folders) they are moved into it while it has no
 * config.json. Weights of an older model in other files (shards of an index, pytorch_model.bin) are removed; other
 * files stay. IL_ERR_NONFINITE, naming the tensor, when an entry is NaN or infinite: such a model could not be loaded
 * again. IL_ERR_IO, naming the process, while another one writes there. */
IL_API il_status il_model_save(const il_model *model, const char *dir, il_error *error);

/* How the weights of linear layers (projections, feed-forward network, embedding, output head) are held. All other
 * tensors are fp32. Only fp32 can be trained. */
typedef enum il_weight_type {
    IL_WEIGHTS_F32,
    IL_WEIGHTS_BF16, /* the bits of a computation are those of the same numbers held as fp32 */
    IL_WEIGHTS_INT8, /* a byte a weight and a scale for every 64 inputs; rows are quantized alike and multiplied as
                      * integers (docs/arithmetic.md) */
    IL_WEIGHTS_INT4  /* the same with half a byte a weight; embedding and output head stay int8 */
} il_weight_type;
IL_API const char *il_weight_type_name(il_weight_type type); /* "f32", "bf16", "int8", "int4" */
/* A new model of the same tensors, on the same memory where they stay as they are and are not fp32. config is the
 * model's own but for what may change: `weights` (linear layers are held as that type, rounded where it has fewer bits)
 * and the fast head's two; IL_ERR_ARG when anything else differs. IL_ERR_NONFINITE, naming the tensor, when a number is
 * too large for the type. */
IL_API il_status il_model_convert(const il_model *model, const il_config *config, il_model **converted,
                                  il_error *error);

/* Gives a model the weights of another one, of another context length, depth or mixer, wherever that has a tensor of
 * the same name and shape. Where layers of attention and of TTT call the same thing differently (projections and norms)
 * the names count as the same; rows of queries and keys move so that RoPE turns what it turned. taken (NULL allowed) is
 * called for every tensor of the model, taken or left as it is (fresh), and then for every one of `other` that has no
 * place in it (left). IL_ERR_MISMATCH when nothing fits. Both fp32; as for il_trainer_open, a session opened before
 * must not be used after it. */
typedef enum il_tensor_fate { IL_TENSOR_TAKEN, IL_TENSOR_FRESH, IL_TENSOR_LEFT } il_tensor_fate;
typedef void (*il_model_taken)(void *user, const char *name, il_tensor_fate fate);
IL_API il_status il_model_take(il_model *model, const il_model *other, il_model_taken taken, void *user,
                               il_error *error);

enum { IL_WEIGHTS_AS_STORED = -1 };
typedef struct il_load_options {
    int weights; /* how linear layers are held, an il_weight_type, whatever the files have; default
                  * IL_WEIGHTS_AS_STORED: as il_model_load holds them */
    /* "key=value" [n_set], as il_config_set takes them: what the files leave unsaid or say wrongly of the model. Their
     * tensors must fit the outcome. */
    const char *const *set;
    size_t n_set;
    /* 1: the square matrices of linear layers lie in a directory's files as [in, out], where a conversion has forgotten
     * to transpose them; no shape tells. Default 0. */
    int transposed;
} il_load_options;
IL_API void il_load_options_default(il_load_options *options);
/* il_model_load with options, NULL for the default. Numbers go from the files into that type at once, so that no more
 * memory is needed than the model's own; the same bits come out as of il_model_convert. IL_ERR_NONFINITE, naming the
 * tensor, when a number is too large for the type. */
IL_API il_status il_model_load_as(il_engine *engine, const char *dir, const il_load_options *options, il_model **model,
                                  il_error *error);

typedef struct il_tensor {
    const char *name; /* the on-disk name; lives as long as the model */
    int rank;         /* 1 .. 4 */
    size_t shape[4];
    size_t count;        /* product of shape */
    il_weight_type type; /* how it is held */
    const float *data;   /* [count]; lives as long as the model; NULL unless held as fp32 */
} il_tensor;
IL_API size_t il_model_tensor_count(const il_model *model);
/* index 0 .. il_model_tensor_count-1. */
IL_API il_status il_model_tensor_at(const il_model *model, size_t index, il_tensor *tensor, il_error *error);
IL_API il_status il_model_tensor(const il_model *model, const char *name, il_tensor *tensor, il_error *error);
/* Rows from .. from+n-1 of the tensor of that index as fp32, whatever it is held as: [n, count / shape[0]]. */
IL_API il_status il_model_tensor_rows(const il_model *model, size_t index, size_t from, size_t n, float *rows,
                                      il_error *error);

/* ---- tokenizer ---- */

typedef struct il_tokenizer il_tokenizer;

typedef struct il_tokenizer_info {
    const char *kind;  /* "bytes", "sentencepiece", "bpe", a tokenizer.json, or "pictures" (il_tokenizer_pictures) */
    int vocab_size;    /* its largest token and 1; a model's may be larger, by tokens that have no text */
    int bos, eos, unk; /* -1: none; of a tokenizer.json what its template puts before and behind a text */
} il_tokenizer_info;

/* path: a SentencePiece .model file, a tokenizer.json of one of the kinds in docs/tokenizers.md (IL_ERR_UNSUPPORTED
 * names what it has of another), a GGUF file that holds either, a pictures.json (docs/pictures.md), or "bytes": token =
 * byte value, 256 is BOS and 257 is EOS, vocabulary 258. */
IL_API il_status il_tokenizer_load(il_engine *engine, const char *path, il_tokenizer **tokenizer, il_error *error);
/* The tokenizer of a GGUF file, or of a model directory: tokenizer.model, tokenizer.json or pictures.json if present;
 * bytes where config.json says "tokenizer": "bytes", or the vocabulary is that of bytes, 258, and no tokenizer of
 * another kind lies there. IL_ERR_UNSUPPORTED, naming what does lie there, otherwise: text that is cut by another
 * tokenizer than the model's would be read wrongly without a word. IL_ERR_MISMATCH when the directory says both, or the
 * tokenizer's vocabulary is larger than the model's. */
IL_API il_status il_tokenizer_load_for_model(il_engine *engine, const char *dir, const il_config *config,
                                             il_tokenizer **tokenizer, il_error *error);
IL_API void il_tokenizer_close(il_tokenizer *tokenizer); /* NULL allowed */
IL_API void il_tokenizer_get_info(const il_tokenizer *tokenizer, il_tokenizer_info *info);
/* The token that begins a text of this model, -1: none. It is the tokenizer's, else what the configuration says; but a
 * tokenizer.json that puts none before a text means it. */
IL_API int il_tokenizer_bos(const il_tokenizer *tokenizer, const il_config *config);

typedef struct il_tokens {
    int32_t *ids; /* [n], released by il_tokens_free */
    size_t n, capacity;
    il_allocator allocator; /* filled by the first call that appends: the tokenizer's */
} il_tokens;
/* Appends the tokens of text [bytes] (any bytes, NUL included; no BOS or EOS is added) to tokens, zero-initialised
 * before the first call; on failure they are as they were. Bytes that are not UTF-8 become byte pieces, or the unknown
 * piece where a SentencePiece model has none. */
IL_API il_status il_tokenizer_encode(const il_tokenizer *tokenizer, const char *text, size_t bytes, il_tokens *tokens,
                                     il_error *error);
/* The same of a text that may be trusted. how: any of these together, where 0 is il_tokenizer_encode. */
enum {
    IL_ENCODE_SPECIAL = 1, /* special tokens that are written out in text ("<|im_start|>") are those tokens; bpe only */
    IL_ENCODE_TEMPLATE = 2 /* with what the tokenizer puts before and behind a text (BOS) */
};
IL_API il_status il_tokenizer_encode_as(const il_tokenizer *tokenizer, unsigned how, const char *text, size_t bytes,
                                        il_tokens *tokens, il_error *error);
IL_API void il_tokens_free(il_tokens *tokens);

/* Streaming decode: turns tokens into text piece by piece. Zero-initialise; then set form, and started = 1 where the
 * tokens go on from earlier text (else the space that Llama's tokenizer puts before a text is taken away). */
typedef enum il_decode_form {
    IL_DECODE_USUAL, /* the kind's own: exact for bytes, UTF-8 for the others */
    IL_DECODE_EXACT, /* the very bytes that were encoded, nothing held back */
    IL_DECODE_UTF8   /* always valid UTF-8: an unfinished character is held back, each broken byte comes out as U+FFFD;
                      * with bpe of bytes, all those together that could have begun one character */
} il_decode_form;
typedef struct il_decoder {
    int started;
    int n_pending;
    unsigned char pending[4];
    il_decode_form form;
} il_decoder;
/* Writes the text that token completes into text (capacity ≥ il_tokenizer_piece_bytes_max) and its size into bytes; may
 * be 0, and no NUL is added. BOS, EOS and other control tokens give no text of their own but flush what is pending, as
 * token = -1 does. */
IL_API il_status il_tokenizer_decode(const il_tokenizer *tokenizer, il_decoder *decoder, int32_t token, char *text,
                                     size_t capacity, size_t *bytes, il_error *error);
IL_API size_t il_tokenizer_piece_bytes_max(const il_tokenizer *tokenizer);

typedef enum il_token_kind {
    IL_TOKEN_NONE,   /* an id that the tokenizer has no token for */
    IL_TOKEN_TEXT,   /* is text, or bytes of it */
    IL_TOKEN_CONTROL /* has no text of its own, but a name: "<|im_end|>" */
} il_token_kind;
/* What a token is, for any number. *name [*bytes], no NUL behind it: what the tokenizer's file calls a control token
 * ("<s>" and "</s>" with bytes), NULL and 0 otherwise; it lives as long as the tokenizer. Both may be NULL. */
IL_API il_token_kind il_tokenizer_token(const il_tokenizer *tokenizer, int32_t token, const char **name, size_t *bytes);

/* il_model_save of a model and its tokenizer at once: no directory holds the one without the other. A file of another
 * tokenizer is removed. tokenizer may be NULL: il_model_save. */
IL_API il_status il_model_save_with(const il_model *model, const il_tokenizer *tokenizer, const char *dir,
                                    il_error *error);
/* Copies the tokenizer's file into a model directory; does nothing for bytes. */
IL_API il_status il_tokenizer_save(const il_tokenizer *tokenizer, const char *dir, il_error *error);

/* ---- session: one sequence ---- */

typedef struct il_session il_session;

typedef struct il_session_options {
    int frozen; /* outputs are computed but no inner update is ever committed: the control for learning while reading */
    /* Losses and logits (which are then ln p) are the model's mixed with what followed the same tokens before in this
     * session, by weights that it learns: what repeats itself surprises less. Takes 10 MB; a state file is 5 MB larger.
     * A feed cannot ask for logits then, and slow_nll is the model's alone. Default 0 */
    int mix;
} il_session_options;

IL_API void il_session_options_default(il_session_options *options);
/* options may be NULL. The session holds a reference to the model. */
IL_API il_status il_session_open(il_model *model, const il_session_options *options, il_session **session,
                                 il_error *error);
IL_API void il_session_close(il_session *session); /* NULL allowed */
/* Reads tokens [n]. nll (NULL allowed) [n]: nll[i] = -ln p(tokens[i] | all tokens before it), NaN for the first token
 * of a sequence, which nothing predicts. consumed (NULL allowed): how many tokens were read; n on success. On any error
 * the session is valid where il_session_position says. IL_ERR_NONFINITE of a number in the layers leaves it at the
 * start of the mini-batch that produced it, which may lie before this call's first token (*consumed is then 0). Where
 * only losses or logits that were asked for are not finite, because the output head's product is too large, all tokens
 * are read, and IL_ERR_NONFINITE names the first. */
IL_API il_status il_session_feed(il_session *session, const int32_t *tokens, size_t n, float *nll, size_t *consumed,
                                 il_error *error);
/* The prediction after the last token fed, [vocab_size]. IL_ERR_ARG at position 0; IL_ERR_NONFINITE when one of them is
 * not finite. */
IL_API il_status il_session_logits(il_session *session, float *logits, il_error *error);
/* How many tokens it has read. */
IL_API uint64_t il_session_position(const il_session *session);
/* A second session at the same position that shares nothing that either can change. Closed like any session. */
IL_API il_status il_session_fork(const il_session *session, il_session **copy, il_error *error);
/* Goes back to an earlier position: down to il_session_rewind_limit, which after a feed is at most
 * position - mini_batch (0 if that is negative). Rewinding into an earlier mini-batch gives up what came before that
 * one. */
IL_API il_status il_session_rewind(il_session *session, uint64_t position, il_error *error);
IL_API uint64_t il_session_rewind_limit(const il_session *session);
/* Asks the feed of this session that is under way (il_session_feed, il_feed_many: between call and return) to stop
 * before its next chunk, of at most 512 tokens, with IL_ERR_CANCELLED; a batch stops as a whole. Does nothing where
 * none is under way, and nothing to a later feed; a feed that has nothing left to read succeeds. A program that must
 * not miss a wish to stop that comes between two feeds keeps a flag of its own and looks at it before each. Any thread,
 * also a signal handler. */
IL_API void il_session_cancel(il_session *session);

typedef struct il_session_stats {
    uint64_t position;   /* tokens read */
    uint64_t tokens_fed; /* tokens this session evaluated since it was opened, forked or loaded */
    size_t state_bytes;  /* memory of the state */
    int frozen, mixed;   /* as it was opened, or as the session it comes from was */
} il_session_stats;
IL_API void il_session_get_stats(const il_session *session, il_session_stats *stats);

/* What learning has done to one layer that learns. */
typedef struct il_layer_stats {
    double weight_norm; /* L2 norm of the layer's fast weights, all heads together */
    double change_norm; /* of how far they are from the learned initial ones; 0 when frozen */
    /* The self-supervised loss 1/2 |f(K) - (V - K)|², of the gated delta rule 1/2 |K S - V|², over the last complete
     * mini-batch, mean per token and head, with the fast weights before and after its update. The drop is what that
     * update learned of it. NaN when no complete mini-batch is kept: before the first, and after a rewind that gave it
     * up. */
    double loss_before, loss_after;
} il_layer_stats;
/* layer 0 .. layers-1. IL_ERR_UNSUPPORTED for a layer of self-attention, which does not learn. The session stays
 * as it is. */
IL_API il_status il_session_layer_stats(const il_session *session, int layer, il_layer_stats *stats, il_error *error);

/* ---- sampling ---- */

typedef struct il_sample_options {
    float temperature; /* 0: greedy; default 0.8 */
    int top_k;         /* 0: off; default 40 */
    float top_p;       /* 1: off; default 0.95 */
    float min_p;       /* 0: off; default 0.05 */
    /* 1: off; default 1. Positive logits of recent tokens are divided by it, negative ones multiplied. */
    float repeat_penalty;
    uint64_t seed; /* default 0 */
} il_sample_options;

IL_API void il_sample_options_default(il_sample_options *options);
/* Draws the token that follows position (il_session_position) from logits [vocab_size], which it may overwrite.
 * options may be NULL; they apply in the order repeat_penalty, temperature, min_p, top_k, top_p. recent [n_recent]: the
 * tokens that repeat_penalty looks at. Same seed, position and logits: same token, always. */
IL_API il_status il_sample(const il_sample_options *options, float *logits, int vocab_size, uint64_t position,
                           const int32_t *recent, size_t n_recent, int32_t *token, il_error *error);
/* ln of the sum of exp(logits [vocab_size]): logits[t] less this is ln p(t), and its negative, bit for bit, the nll
 * that feeding token t would give (in a session without il_session_options.mix). */
IL_API float il_log_sum_exp(const il_engine *engine, const float *logits, int vocab_size);

/* ---- chat: turns of a conversation as tokens ---- */

/* What the files beside a model say of writing with it. */
enum { IL_STOPS_MAX = 64 };
typedef struct il_generation {
    il_sample_options sampling; /* of generation_config.json; what no file says is as il_sample_options_default has it,
                                   for pictures temperature 1 and nothing else */
    int32_t stop[IL_STOPS_MAX]; /* [n_stops] each of these tokens ends a text, ascending */
    int n_stops;
} il_generation;
/* Reads generation_config.json, config.json, tokenizer_config.json and the chat template of a model directory, as far
 * as they are there; docs/models.md says which keys. Stops are the union of what they say, the tokenizer's EOS and the
 * end of a turn. IL_ERR_FORMAT, naming file and field, where one of them cannot be. */
IL_API il_status il_generation_load(const il_tokenizer *tokenizer, const il_config *config, const char *dir,
                                    il_generation *generation, il_error *error);
/* Whether token is one of the stops. */
IL_API int il_generation_stops(const il_generation *generation, int32_t token);

/* How turns are written. A directory's chat template, chat_template.jinja or else chat_template in
 * tokenizer_config.json, is recognised by what it contains, and never executed. */
typedef enum il_chat_form {
    IL_CHAT_NONE,   /* there is no template, or one of no form that is known */
    IL_CHAT_PLAIN,  /* "User: …" and "Assistant: …", for models that have none */
    IL_CHAT_CHATML, /* <|im_start|>user … <|im_end|>, also with Qwen's <think> */
    IL_CHAT_LLAMA2, /* [INST] … [/INST] */
    IL_CHAT_LLAMA3  /* <|start_header_id|>user<|end_header_id|> … <|eot_id|> */
} il_chat_form;
IL_API const char *il_chat_form_name(il_chat_form form); /* "none", "plain", "chatml", …; "?" for any other number */

typedef enum il_chat_role { IL_CHAT_SYSTEM, IL_CHAT_USER, IL_CHAT_ASSISTANT } il_chat_role;

typedef struct il_chat_message {
    il_chat_role role;
    const char *text; /* [bytes]; any bytes: a special token that is written out in it is text */
    size_t bytes;
} il_chat_message;

typedef struct il_chat_info {
    il_chat_form form;
    const char *system; /* the system message of a conversation that begins without one; NULL: none */
    int thinks; /* -1: no thoughts are known of; 0: only when it is asked to; 1: unless it is asked not to; 2: always */
    int32_t think_begin, think_end; /* <think> and </think>, or -1 */
    const char *stop; /* text that ends an answer, which is not part of it; NULL: only tokens do (il_generation) */
} il_chat_info;

/* Does not change, and may be shared by threads. */
typedef struct il_chat il_chat;
/* form: a name of il_chat_form_name's; NULL: what the directory's template is, and IL_ERR_UNSUPPORTED where it has none
 * or one that is not known. IL_ERR_MISMATCH where the tokenizer lacks a special token of the form, which it names.
 * tokenizer must outlive the chat. Release with il_chat_close. */
IL_API il_status il_chat_open(const il_tokenizer *tokenizer, const il_config *config, const char *dir, const char *form,
                              il_chat **chat, il_error *error);
IL_API void il_chat_close(il_chat *chat); /* NULL allowed */
/* What it points to lives as long as the chat. */
IL_API void il_chat_get_info(const il_chat *chat, il_chat_info *info);

/* The three calls append to tokens, as il_tokenizer_encode does. What one conversation's calls append, one after the
 * other, is what it is as a whole, so that a session reads each turn once.
 *
 * The messages [from, n), which follow those before them. from 0: the first begin a conversation (BOS, a system message
 * of the template's own). An assistant's message is an answer from il_chat_begin_answer to il_chat_end_answer, its
 * thoughts, if it has any, in its text. */
IL_API il_status il_chat_render(const il_chat *chat, const il_chat_message *messages, size_t n, size_t from,
                                il_tokens *tokens, il_error *error);
/* What stands before an answer that the model is to write. thinking: 1 or 0, or -1, as it does by itself; ignored where
 * the form has no thoughts. *in_thought (NULL allowed): 1 where the answer begins inside a thought. */
IL_API il_status il_chat_begin_answer(const il_chat *chat, int thinking, int *in_thought, il_tokens *tokens,
                                      il_error *error);
/* What stands behind one, without the token that stopped it. in_thought 1: it ends inside a thought. */
IL_API il_status il_chat_end_answer(const il_chat *chat, int in_thought, il_tokens *tokens, il_error *error);

/* Copies what a model directory says of chatting and sampling into another one, after a model was saved there:
 * tokenizer_config.json and chat_template.jinja as they are, generation_config.json with the stops of all files in
 * eos_token_id. What `from` does not have is removed; from NULL: all of it, since the model that was saved is no copy
 * of another. */
IL_API il_status il_chat_copy(const il_tokenizer *tokenizer, const il_config *config, const char *from, const char *to,
                              il_error *error);

/* ---- state files: read once, continue as often as you like ---- */

/* Writes the session as a state file (.ilstate, docs/reading.md), replacing path atomically: a crash leaves the old
 * file or the new one. The session may be at any position, frozen or not; its size does not grow with the position,
 * except with self-attention. The same history (and note) gives the same bytes, however it was fed. */
IL_API il_status il_session_save(const il_session *session, const char *path, il_error *error);
/* The session of a state file, as if it had never stopped: position, predictions, what sampling draws next and how far
 * it can be rewound are the saved session's; no token is read again (tokens_fed is 0). The file is checked whole before
 * use: IL_ERR_FORMAT when it is not a state file, is damaged (its checksum) or contradicts itself, IL_ERR_MISMATCH,
 * naming both fingerprints, when it belongs to a different model, IL_ERR_NONFINITE, naming the tensor. Closed like any
 * session. */
IL_API il_status il_session_load(il_model *model, const char *path, il_session **session, il_error *error);

/* A text of the program's own that is saved with the session, in its metadata, and covered by its checksum: UTF-8 of at
 * most IL_NOTE_BYTES_MAX, NULL for none. Forks take it along. */
enum { IL_NOTE_BYTES_MAX = 4 << 20 };
IL_API il_status il_session_set_note(il_session *session, const char *note, il_error *error);
/* NULL: there is none. Good until the next il_session_set_note. */
IL_API const char *il_session_note(const il_session *session);

/* Takes the next bytes; returns 0 to go on, anything else to stop. */
typedef int (*il_write)(void *user, const void *data, size_t bytes);
/* The same file through a callback, in pieces, from its first byte to its last; IL_ERR_IO when write stopped it. */
IL_API il_status il_session_write_to(const il_session *session, il_write write, void *user, il_error *error);
/* The same from memory: data [bytes], not needed after the call. */
IL_API il_status il_session_load_from(il_model *model, const void *data, size_t bytes, il_session **session,
                                      il_error *error);
/* The checksum that its state file holds, 32 hex digits and a NUL: the same for the same history, whatever the machine.
 */
IL_API il_status il_session_fingerprint(const il_session *session, char hex[33], il_error *error);

/* ---- batch: many sessions at once ---- */

typedef struct il_feed {
    il_session *session;   /* all of one model; no session twice in one call */
    const int32_t *tokens; /* [n] */
    size_t n;              /* 0 allowed */
    float *nll;            /* [n] or NULL, as il_session_feed */
    float *logits;         /* [n, vocab_size] or NULL: row i predicts what follows tokens[i] */
    float *slow_nll;       /* [n] or NULL: nll without what the fast head has learned in this session; slow_nll less
                              nll is what its learning has saved. The same as nll where there is no fast head */
    float *hidden;   /* [n, width] or NULL: row i is what the layers make of tokens[i] and all before it, after the
                        final norm and before the output head: a vector that stands for the text so far */
    size_t consumed; /* out */
} il_feed;
/* Feeds a ragged batch, feeds [n], with one pass over the weights for all; the bits of each sequence do not depend on
 * its neighbours. il_session_feed is this with n = 1. */
IL_API il_status il_feed_many(il_feed *feeds, size_t n, il_error *error);

/* ---- documents: texts out of files of any kind ---- */

/* What a file holds. Whether it is compressed, by gzip or zstd, is always found out. */
typedef enum il_format {
    IL_FORMAT_AUTO,  /* found out by looking into the file; its name decides only where that does not, and what looks
                      * like neither text nor tokens is IL_ERR_UNSUPPORTED */
    IL_FORMAT_TEXT,  /* the whole is one document */
    IL_FORMAT_JSONL, /* a document a line: objects, of which one string is the text */
    IL_FORMAT_JSON,  /* an array of such objects or of strings; or objects one after the other */
    IL_FORMAT_U16,   /* tokens and nothing else, little-endian */
    IL_FORMAT_U32,
    IL_FORMAT_NPY, /* tokens: a NumPy array of integers with one dimension */
    IL_FORMAT_BIN  /* tokens: llm.c's shards and ours (docs/data.md) */
} il_format;
IL_API const char *il_format_name(il_format format); /* "auto", "text", …; "?" for any other number */

/* Gives the next bytes, as many as come at once; 0 at the end, < 0 (and errno) on failure. */
typedef int64_t (*il_read)(void *user, void *data, size_t bytes);

typedef struct il_documents_options { /* all zero is the default */
    il_format format;
    const char *field;     /* of JSON objects: the string that is the text; NULL: "text" */
    const char *also[2];   /* two more that are given out where they are there; NULL: none */
    int skip_bad_lines;    /* 1: a line of JSON that is broken or has no text is skipped, and logged; 0: an error */
    int window_log_max;    /* the longest window of zstd, 2^n bytes; default 27, at most 31. Takes as much memory */
    size_t text_bytes_max; /* of JSON: longer texts are bad lines; default 256 MiB */
    il_read read;          /* where the file's bytes come from; NULL: from path */
    void *user;
    uint64_t bad_lines_max; /* with skip_bad_lines: more of them in a file are an error after all; 0: any number */
    /* il_data_open and il_data_tokenize, while they tokenize: bytes of the file that were read, of how many; 0: not
     * known. NULL: nobody wants to know */
    void (*progress)(void *progress_user, const char *path, uint64_t done, uint64_t total);
    void *progress_user;
} il_documents_options;

typedef struct il_document {
    const char *text; /* [bytes]; valid until the next call, as everything here. Byte order marks where a line begins
                       * are not part of it */
    size_t bytes;
    int begins;          /* il_documents_part: 1 in the first part of a document */
    const char *also[2]; /* NULL: not there, or no strings */
} il_document;

typedef struct il_documents il_documents;
IL_API void il_documents_options_default(il_documents_options *options);
/* path "-" is standard input, and with options->read it only stands in messages. options may be NULL; what it points to
 * must outlive documents. Files and pipes are read from the beginning to the end, and once. */
IL_API il_status il_documents_open(il_engine *engine, const char *path, const il_documents_options *options,
                                   il_documents **documents, il_error *error);
IL_API void il_documents_close(il_documents *documents);             /* NULL allowed */
IL_API il_format il_documents_format(const il_documents *documents); /* what was found */
/* The next document, whole in memory. IL_ERR_END after the last; a file without any is IL_ERR_FORMAT. */
IL_API il_status il_documents_next(il_documents *documents, il_document *document, il_error *error);
/* The next part of one, which for text is what has come so far: memory is constant. A text may be empty. */
IL_API il_status il_documents_part(il_documents *documents, il_document *part, il_error *error);

/* ---- data: token sequences from files ---- */

typedef struct il_data il_data;

typedef struct il_data_options {
    size_t length;    /* L: inputs (and targets) per sequence; default 2048 */
    size_t sequences; /* per batch; default 1 */
    int shuffle;      /* 0: file order; 1: sequences (if stateful: documents) in an order drawn anew each epoch, which
                       * takes 8 bytes of memory for each; 2: sequences in such an order by arithmetic, in none */
    int stateful;     /* windows never cross documents; `sequences` lanes each read on through theirs */
    uint64_t seed;    /* of the shuffle */
    int loop;         /* 1: begin again at the end (training); 0: IL_ERR_END */
    const char *cache_dir;          /* where tokenized text is kept; NULL: in memory only */
    int bos_token;                  /* begins a document in token shards; default -1: the tokenizer's, if it has one */
    il_documents_options documents; /* how files are read; `read` must be NULL */
    /* [files]: several sources, each from its own order and epochs: file i begins one, of which so many sequences come
     * for a total of all weights, or with 0 goes on with the source before it. Shares are rounded to 1/10,000; shuffle
     * 1 is 2, and stateful IL_ERR_UNSUPPORTED. NULL: all files are one stream */
    const double *weights;
    /* Files of more bytes in all stay on disk as far as they can: tokens that are not compressed, and the cache of
     * texts. They are checked as they are read. No batch depends on it. 0: all are loaded */
    uint64_t memory_max;
} il_data_options;

typedef struct il_batch {
    const int32_t *tokens;      /* [sequences, length+1]; valid until the next call */
    const unsigned char *fresh; /* [sequences]: 1 where it starts from a fresh state (always, unless stateful) */
    size_t sequences, length;
} il_batch;

typedef struct il_cursor {
    uint64_t epoch, batch;
} il_cursor;

IL_API void il_data_options_default(il_data_options *options);
/* files: tokens, or documents, which need a tokenizer (else NULL is fine) and are preceded by its BOS if it has one.
 * Token ids must be < vocab_size. */
IL_API il_status il_data_open(il_engine *engine, const char *const *files, size_t n_files,
                              const il_tokenizer *tokenizer, int vocab_size, const il_data_options *options,
                              il_data **data, il_error *error);
/* Data of the program's own: each il_data_next gives out the batch that il_data_give was given before it, and is
 * IL_ERR_END without one. Of options length, sequences and stateful count. The cursor counts batches; seeking only sets
 * it, so that a resumed trainer says by it which batch the program gives next. il_trainer_eval finds no batches here.
 */
IL_API il_status il_data_open_given(il_engine *engine, int vocab_size, const il_data_options *options, il_data **data,
                                    il_error *error);
/* tokens [sequences, length+1], copied; fresh [sequences], as in il_batch, NULL: all, and so unless stateful. */
IL_API il_status il_data_give(il_data *data, const int32_t *tokens, const unsigned char *fresh, il_error *error);
IL_API void il_data_close(il_data *data); /* NULL allowed */
IL_API il_status il_data_next(il_data *data, il_batch *batch, il_error *error);
/* Of the next batch only sequences first .. first+n-1, n of which may be 0, and goes on behind it: for one of several
 * processes that share a batch. What a sequence is does not depend on which are asked for. On failure data stay where
 * they were. */
IL_API il_status il_data_next_part(il_data *data, size_t first, size_t n, il_batch *batch, il_error *error);
/* Where the next batch lies, and going there. */
IL_API void il_data_tell(const il_data *data, il_cursor *cursor);
IL_API il_status il_data_seek(il_data *data, const il_cursor *cursor, il_error *error);
/* As it was opened, but for pointers, which are NULL. */
IL_API const il_data_options *il_data_get_options(const il_data *data);
IL_API uint64_t il_data_tokens(const il_data *data); /* tokens in the files */
IL_API uint64_t il_data_batches_per_epoch(const il_data *data);
/* UTF-8 bytes of the text behind the tokens; 0 when not known (shards made elsewhere). */
IL_API uint64_t il_data_text_bytes(const il_data *data);
/* The whole token stream, [il_data_tokens]; lives as long as data. NULL when some of it is on disk (memory_max). */
IL_API const int32_t *il_data_stream(const il_data *data);
/* Tokenizes text files into token shards NAME.bin under dir. *tokens: how many they hold. options may be NULL. */
IL_API il_status il_data_tokenize(il_engine *engine, const char *const *files, size_t n_files,
                                  const il_documents_options *options, const il_tokenizer *tokenizer, const char *dir,
                                  uint64_t *tokens, il_error *error);

/* Trains a SentencePiece BPE model on the documents of files: identity normalisation, byte fallback, no added space, so
 * that decode(encode(x)) = x for every UTF-8 x; written to path atomically. options may be NULL. vocab_size is a limit:
 * a text that gives fewer pieces gets a vocabulary of all it gives, and the log says so. */
IL_API il_status il_tokenizer_train(il_engine *engine, const char *const *files, size_t n_files,
                                    const il_documents_options *options, int vocab_size, const char *path,
                                    il_error *error);

/* ---- pictures: pictures and films, read, written, and as tokens (docs/pictures.md) ---- */

enum { IL_PICTURE_SIDE_MAX = 16384, IL_PICTURE_PIXELS_MAX = 1 << 26 };

typedef struct il_picture {
    int width, height;           /* 1 .. IL_PICTURE_SIDE_MAX, together at most IL_PICTURE_PIXELS_MAX pixels */
    int channels;                /* 1: grey; 3: red, green and blue */
    const unsigned char *pixels; /* [height, width, channels] */
    /* Of what il_pictures_next gives. */
    int begins;  /* 1: a picture, or a film's first frame; 0: a later frame of the same film */
    int ms;      /* how long a frame is shown, 0: the file does not say */
    int changed; /* 1: the file holds more than these pixels say: transparency, which is laid on white, more than 8 bits
                    a sample, colours of a film that are not red, green and blue */
} il_picture;

/* The pictures that a file holds, one after the other: PNG; PGM and PPM, of which several may follow each other; IDX of
 * bytes: [n, height, width] are greys, [n, height, width, 3] colours, [n, frames, height, width] films,
 * [n, frames, height, width, 3] films in colours, and [n] are n pictures of one pixel; GIF and y4m, which are films.
 * Any of them may be compressed by gzip or zstd. IL_ERR_UNSUPPORTED where libpng or giflib was missing when the library
 * was built, and for anything else. */
typedef struct il_pictures il_pictures;
/* path "-" is standard input. read: where the bytes come from, and path only stands in messages; NULL: from path. */
IL_API il_status il_pictures_open(il_engine *engine, const char *path, il_read read, void *user, il_pictures **pictures,
                                  il_error *error);
IL_API void il_pictures_close(il_pictures *pictures);               /* NULL allowed */
IL_API const char *il_pictures_format(const il_pictures *pictures); /* "PNG", "PNM", "IDX", "GIF" or "y4m" */
/* The next picture or frame; pixels are valid until the next call. IL_ERR_END after the last; a file without any is
 * IL_ERR_FORMAT. */
IL_API il_status il_pictures_next(il_pictures *pictures, il_picture *picture, il_error *error);

/* Another size in integers, the same everywhere: along a side that becomes shorter a pixel is the mean of what it
 * covers, along one that becomes longer it is the nearest. to [height, width, picture->channels]. */
IL_API il_status il_picture_resize(const il_picture *picture, int width, int height, unsigned char *to,
                                   il_error *error);

typedef enum il_picture_format {
    IL_PICTURE_PNG, /* one picture */
    IL_PICTURE_PNM, /* PGM or PPM, one behind the other */
    IL_PICTURE_GIF, /* a film, or a picture, of at most 256 colours in each frame */
    IL_PICTURE_Y4M  /* a film: greys as they are, colours as 4:4:4, which rounds them */
} il_picture_format;
/* What the ending of a file's name says; IL_ERR_ARG for an ending that is none of them, or none at all. */
IL_API il_status il_picture_format_of(const char *path, il_picture_format *format, il_error *error);
typedef struct il_picture_output il_picture_output;
/* As il_output, appears whole or not at all. ms: how long each frame is shown, 1 .. 65535. */
IL_API il_status il_picture_output_open(il_engine *engine, const char *path, il_picture_format format, int ms,
                                        il_picture_output **output, il_error *error);
/* All of one size and as many channels as the first. */
IL_API il_status il_picture_output_put(il_picture_output *output, const il_picture *picture, il_error *error);
/* Both release the output, finish also when it fails. */
IL_API il_status il_picture_output_finish(il_picture_output *output, il_error *error);
IL_API void il_picture_output_abandon(il_picture_output *output); /* NULL allowed */

/* What a tokenizer of kind "pictures" makes tokens of, and how. With L levels the tokens are
 *     0 .. L-1         pixels: greys, or colours of the palette
 *     L                BOS, begins a picture or film
 *     L+1              EOS, ends a film
 *     L+2              EOC, ends a caption
 *     L+3              FRAME, begins a frame of a film
 *     L+4 ..           actions, one of which stands in the place of FRAME where the film has them
 *     L+4+actions ..   the 256 bytes of captions, if it has captions
 * A picture is header_rows rows of `width` tokens, BOS, caption and EOC up to their end, and its pixels row by row. A
 * film is such a header, and then for each frame a row of `width` times FRAME or its action, and the frame's pixels;
 * then EOS. So every row of pixels is a mini-batch of `width` tokens. With by_columns all these rows are columns, of
 * `height` tokens from above, and come from left to right. */
enum { IL_LAYOUT_SIDE_MAX = 1024, IL_LEVELS_MAX = 256, IL_HEADER_ROWS_MAX = 1024, IL_ACTIONS_MAX = 4096 };
enum { IL_ACTION_NAMES_MAX = 64, IL_ACTION_NAME_MAX = 23 };
typedef struct il_picture_layout {
    int width, height; /* 1 .. IL_LAYOUT_SIDE_MAX */
    int levels;        /* 2 .. IL_LEVELS_MAX */
    int header_rows;   /* 1 .. IL_HEADER_ROWS_MAX */
    int captions;      /* 1: it has captions */
    int films;         /* 1: films; 0: pictures */
    int by_columns;    /* 1: of films, the order of pixels; 0: they go by rows */
    int actions;       /* 0 .. IL_ACTIONS_MAX */
    /* What they are called: the first `actions` of them, at most IL_ACTION_NAMES_MAX, each once, of a-z, 0-9, - and _,
     * a letter first; or all are "". */
    char action_names[IL_ACTION_NAMES_MAX][IL_ACTION_NAME_MAX + 1];
    int palette; /* 1: levels are colours; 0: greys, of which v is level (v (L - 1) + 127) / 255 */
    unsigned char colours[IL_LEVELS_MAX]
                         [3]; /* [levels] of the palette; greys' are filled in: (255 k + (L-1)/2)/(L-1) */
} il_picture_layout;
/* A tokenizer of that layout, which is checked. Released by il_tokenizer_close. It has no tokens for text: encoding is
 * IL_ERR_UNSUPPORTED. */
IL_API il_status il_tokenizer_open_pictures(il_engine *engine, const il_picture_layout *layout,
                                            il_tokenizer **tokenizer, il_error *error);
/* The layout of a tokenizer of kind "pictures", as long as it lives; NULL: it is of another kind. */
IL_API const il_picture_layout *il_tokenizer_pictures(const il_tokenizer *tokenizer);

/* Tokens of a row, or by_columns of a column: what a mini-batch is to be. */
IL_API int il_picture_line(const il_picture_layout *layout);
/* What stands before the pixels: tokens [header_rows * line]. caption [bytes] may be empty. IL_ERR_ARG where the
 * layout has no captions, or the caption and an EOC do not fit. */
IL_API il_status il_picture_header(const il_picture_layout *layout, const char *caption, size_t bytes, int32_t *tokens,
                                   il_error *error);
/* What stands before a frame of a film: tokens [line], FRAME or the action in each. action -1: none. */
IL_API il_status il_picture_frame(const il_picture_layout *layout, int action, int32_t *tokens, il_error *error);
/* The pixels of a picture as tokens [height * width]: colours become greys (77 red + 150 green + 29 blue + 128) / 256
 * where the layout has those, or the nearest of the palette. *exact (NULL allowed): il_picture_of_tokens gives the same
 * picture. IL_ERR_MISMATCH where its size is another. */
IL_API il_status il_picture_tokens(const il_picture_layout *layout, const il_picture *picture, int32_t *tokens,
                                   int *exact, il_error *error);
/* And back: pixels [height, width, palette ? 3 : 1]. IL_ERR_ARG for a token that is no pixel. */
IL_API il_status il_picture_of_tokens(const il_picture_layout *layout, const int32_t *tokens, unsigned char *pixels,
                                      il_error *error);

/* A palette from pictures: all colours if they are few enough, else by median cut. The order of pictures does not
 * matter. Takes 64 MiB. */
typedef struct il_palette il_palette;
IL_API il_status il_palette_open(il_engine *engine, il_palette **palette, il_error *error);
IL_API void il_palette_close(il_palette *palette); /* NULL allowed */
IL_API void il_palette_add(il_palette *palette, const il_picture *picture);
/* At most n colours, 2 .. IL_LEVELS_MAX, from dark to bright. *found: how many. IL_ERR_ARG where pictures have fewer
 * than 2. */
IL_API il_status il_palette_cut(const il_palette *palette, int n, unsigned char (*colours)[3], int *found,
                                il_error *error);

/* Writes tokens [n] of the tokenizer as a token shard, dir/NAME.bin, which il_data_open reads, and the tokenizer's own
 * file beside it. dir is made if absent. */
IL_API il_status il_data_write(il_engine *engine, const il_tokenizer *tokenizer, const char *dir, const char *name,
                               const int32_t *tokens, size_t n, il_error *error);

/* ---- ranks: one training run by several processes, on one machine or many ---- */

/* One message between two processes. */
typedef struct il_transfer {
    int peer, sends; /* the other rank; 1: data go there, 0: they come from there */
    void *data;      /* [bytes] */
    size_t bytes;    /* 1 .. 2^31-1 */
    int done;        /* set by progress: 1, or -1: the peer is gone */
} il_transfer;

/* How the processes of a run exchange messages; the library itself knows no network. Both functions are called by one
 * thread. */
typedef struct il_transport {
    void *user;
    int rank, size; /* this process is number rank, 0 .. size-1 */
    /* Begins a transfer. It and its data stay where they are until it is done. What one rank sends to another matches
     * what that one receives from it in the order in which either were begun. */
    il_status (*begin)(void *user, il_transfer *transfer, il_error *error);
    /* Gets on with what was begun and marks what is done. Where nothing can be got on with it may wait for it, at most
     * so many milliseconds; it returns all the same. */
    il_status (*progress)(void *user, int wait_ms, il_error *error);
} il_transport;

typedef struct il_ranks il_ranks;

/* All calls of this section are made by all ranks, in the same order. transport must outlive ranks. */
IL_API il_status il_ranks_open(il_engine *engine, const il_transport *transport, il_ranks **ranks, il_error *error);
IL_API void il_ranks_close(il_ranks *ranks); /* NULL allowed */
/* Whether all ranks fare well: status and error say how this one does. Returns the status of the lowest rank that does
 * not, with its name and its message in everybody's error. *wants (NULL allowed) becomes the largest of all. With ranks
 * NULL there is this process alone. */
IL_API il_status il_ranks_agree(il_ranks *ranks, il_status status, int *wants, il_error *error);
/* Whether text, an object of JSON, has the same fields on all ranks: else IL_ERR_MISMATCH, everybody's, names the
 * lowest rank that differs from rank 0, a field and both values. il_trainer_open so compares all that decides on
 * weights; what else ranks do together, such as when they validate and save, is the program's to compare. */
IL_API il_status il_ranks_compare(il_ranks *ranks, const char *text, il_error *error);
/* Steps of training, and il_ranks_agree, fail with IL_ERR_IO, naming who was not heard of, when nothing has come for so
 * many seconds. 0, the default: they wait. Of this rank alone. */
IL_API void il_ranks_watch(il_ranks *ranks, double seconds);
IL_API uint64_t il_ranks_bytes_sent(const il_ranks *ranks); /* by this rank, so far */
/* 1: another rank does not answer any more, which the call that found it out has told. Every later one fails. */
IL_API int il_ranks_lost(const il_ranks *ranks);

/* ---- trainer ---- */

typedef struct il_trainer il_trainer;

typedef struct il_trainer_options {
    uint64_t steps;    /* N, the schedule's length */
    double lr, end_lr; /* peak and final learning rate; default 3e-3, 1e-5 */
    double warmup;     /* w in steps; < 0: N / 10 */
    /* 0.9, 0.95, 1e-8, 0.1, 1.0. What fp32 would turn into something else is IL_ERR_ARG: betas are at most 0.999999,
     * eps 1e-20 .. 1, clip 1e-12 .. 1e15, and weight_decay times the rate at most 1 */
    double beta1, beta2, eps, weight_decay, clip;
    double inner_lr_start;  /* factor on eta at the first update; default 1 (Linear), 0.1 (MLP); rises to 1 */
    double inner_lr_warmup; /* over this many updates; < 0: the same as warmup */
    il_weight_type dtype; /* of the operands of products: IL_WEIGHTS_F32, exact, the default; or IL_WEIGHTS_BF16: those
                           * of linear layers and the output head are rounded to bfloat16 and multiplied by oneDNN, sums
                           * in fp32. Weights, optimizer, gradients, inner loop, norms and attention stay fp32. Fast,
                           * but no longer one answer: same bits only on the same CPU, oneDNN and number of threads */
    /* The most bytes that training may take, the weights included; default 0: no bound. Where activations would go
     * beyond it, backward computes them again layer by layer, which takes a sixth longer and changes no bit in fp32;
     * where even that is too much, il_trainer_open is IL_ERR_NOMEM and says how long sequences may be. */
    uint64_t memory;
    /* Patterns [n_freeze], with * ? and [] as in a shell: tensors whose name matches one stay as they are, to the last
     * bit, and their moments too; grad_norm is that of the others. A tied output head is the embedding,
     * model.embed_tokens.weight. IL_ERR_ARG when a pattern matches no tensor. Part of what a resumed run must have. */
    const char *const *freeze;
    size_t n_freeze;
    int resume_with_changes; /* il_trainer_resume goes on although data or options are not those of the run */
    /* A batch's sequences are cut into so many equal lanes, a power of two; the gradients of the lanes are added in a
     * fixed tree. Part of the order of sums: the bits depend on it, and not on the number of ranks. Default 1 */
    int lanes;
    /* The processes that share the work, at most as many as lanes: all open a trainer of the same model, data and
     * options, and make every call below alike. It must outlive the trainer. NULL, the default: this one alone */
    il_ranks *ranks;
    /* 1: a step whose loss or gradient is far above those of the 64 steps before, as spikes.h says, changes no weights;
     * it counts as a step all the same. Default 0 */
    int skip_spikes;
    uint64_t keep;          /* il_trainer_save keeps so many checkpoints, and the best; default 0: all */
    const char *chat_files; /* a model directory: checkpoints with a tokenizer get what it says of chatting and sampling
                             * (il_chat_copy); must outlive the trainer. NULL, the default: nothing */
} il_trainer_options;

typedef struct il_step {
    uint64_t step; /* 1, 2, … */
    double loss;   /* mean over the batch before the update, natural log */
    double lr, grad_norm;
    uint64_t tokens; /* read in this step */
    double seconds;
    int skipped; /* 1: a spike (skip_spikes): the weights are as before */
} il_step;

IL_API void il_trainer_options_default(const il_config *config, il_trainer_options *options);
/* Whether this build and this CPU train so: f32 always; bf16 only with oneDNN and AMX, where it is faster; else
 * IL_ERR_UNSUPPORTED, which says what is missing. Other types are IL_ERR_ARG. */
IL_API il_status il_trainer_dtype_check(il_weight_type dtype, il_error *error);
/* Trains model's weights: takes a reference; the model's tensors change with every step, and a session opened before
 * one must not be used after it. data must outlive the trainer. IL_ERR_UNSUPPORTED unless the weights are fp32:
 * il_model_convert makes them so. */
IL_API il_status il_trainer_open(il_model *model, il_data *data, const il_trainer_options *options,
                                 il_trainer **trainer, il_error *error);
IL_API void il_trainer_close(il_trainer *trainer); /* NULL allowed */
/* One batch, one update. IL_ERR_NONFINITE names step and layer and leaves the weights as before the step. */
IL_API il_status il_trainer_step(il_trainer *trainer, il_step *step, il_error *error);
/* Mean loss over at most max_batches batches of data (0: all) from its beginning, each sequence from a fresh state
 * unless data is stateful. IL_ERR_NONFINITE names the step. Ranks share the batches, unless data is stateful, and all
 * get the number that one process gets. */
IL_API il_status il_trainer_eval(il_trainer *trainer, il_data *data, uint64_t max_batches, double *loss,
                                 il_error *error);
IL_API uint64_t il_trainer_steps_done(const il_trainer *trainer);
IL_API uint64_t il_trainer_steps_skipped(const il_trainer *trainer); /* of these, for being spikes */

/* Bytes that training takes. */
typedef struct il_trainer_memory {
    uint64_t weights; /* weights, their gradient and moments, and packed copies: whatever the data */
    uint64_t pass;    /* activations, their gradients and states: in proportion to the tokens of a pass, nearly */
    uint64_t tokens;  /* of a pass: one sequence, or several short ones */
    int recomputes;   /* activations are computed again to stay within il_trainer_options.memory */
} il_trainer_memory;
IL_API void il_trainer_get_memory(const il_trainer *trainer, il_trainer_memory *memory);

/* What validations have found. Checkpoints keep it. */
typedef struct il_validation {
    double best_loss;   /* the least; NaN: none yet */
    uint64_t best_step; /* the step after which it was that */
    uint64_t worse;     /* validations since then: none was below it */
} il_validation;
/* Notes the loss of a validation, by il_trainer_eval or the program's own, after the steps done. */
IL_API void il_trainer_validated(il_trainer *trainer, double loss);
IL_API void il_trainer_get_validation(const il_trainer *trainer, il_validation *validation);
/* Takes dir, made if absent, for this trainer until it is closed or takes another: IL_ERR_IO, naming the process and
 * its host, while another one has it. Saving does so by itself; a program asks before its first step. Where the file
 * system has no locks the log says so, once. Removes what killed runs left half-written. */
IL_API il_status il_trainer_lock(il_trainer *trainer, const char *dir, il_error *error);
/* Writes dir/step-N (model, optimizer, cursor) and then moves the link dir/latest. tokenizer may be NULL. On failure,
 * IL_ERR_NONFINITE of a weight among them, the last checkpoint stays. (Where a file system cannot exchange folders a
 * step that is saved again is called step-N.1.) */
IL_API il_status il_trainer_save(il_trainer *trainer, const il_tokenizer *tokenizer, const char *dir, il_error *error);
/* The same, and moves the link dir/best too. drop 1: the checkpoint that dir/best led to before is removed, if nothing
 * but a checkpoint is there. */
IL_API il_status il_trainer_save_best(il_trainer *trainer, const il_tokenizer *tokenizer, const char *dir, int drop,
                                      il_error *error);
/* The checkpoints of a run's folder, from the newest to the oldest, which = 0, 1, …: where dir/latest leads, and then
 * those of fewer steps, whole or damaged. IL_ERR_END when there are no more. path [bytes] receives its folder. */
IL_API il_status il_checkpoint_find(const char *dir, size_t which, char *path, size_t bytes, il_error *error);
/* Goes on from dir/latest: the steps that follow are the ones an uninterrupted run would have made, bit for bit. Where
 * that checkpoint is damaged it is the one before it, and the log says so.
 * IL_ERR_MISMATCH, naming what was and what is, when the data (their tokens, lengths, order) or the options are others;
 * with resume_with_changes the log says so, and other data are read from their beginning. On failure the trainer is as
 * it was. */
IL_API il_status il_trainer_resume(il_trainer *trainer, const char *dir, il_error *error);

/* For a trainer of your own: the recipe's loss (mean over each sequence's valid targets, then over sequences) and its
 * gradient. tokens [sequences, length+1]: length inputs and length targets each, every sequence from a fresh state.
 * gradient [il_model_parameters], laid out as the tensors in order of index. IL_ERR_UNSUPPORTED unless the weights are
 * fp32. */
IL_API il_status il_model_gradient(il_model *model, const int32_t *tokens, size_t sequences, size_t length,
                                   double *loss, float *gradient, il_error *error);

/* ---- compression: any bytes, by a model that learns them while it codes them ---- */

typedef struct il_buffer {
    unsigned char *data; /* [bytes], released by il_buffer_free */
    size_t bytes, capacity;
    il_allocator allocator; /* the model's engine's */
} il_buffer;
IL_API void il_buffer_free(il_buffer *buffer); /* a zeroed one too */

typedef struct il_codec_options {
    int streams; /* il_compress: into how many the input is cut, 1 .. IL_STREAMS_MAX; default 0: one for every 96 KiB,
                  * which costs less than 1 % of the size. Each is read from the same state; both ways all are fed side
                  * by side, with one pass over the weights for all */
    int mix;     /* il_compress: beside the model, predict by what followed the same tokens before, in all streams, and
                  * learn how far to trust either; repetition becomes cheap. Takes 2 MiB and 60 to 120 bytes a byte, at
                  * most 106 MiB, both ways. Default 1 */
    const il_session *start; /* of the model: every stream goes on from a fork of it, its text as if it followed what
                              * was read. The same is needed to decompress. Default NULL: a fresh state */
    uint64_t bytes_max; /* il_decompress: refuse what says it is longer; default 0: no limit. Memory grows with what has
                         * been decoded, never with what the file's header claims */
    /* Called with bytes of the original; returns 0 to go on, anything else to stop with IL_ERR_CANCELLED. May be NULL.
     */
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
} il_codec_options;

IL_API void il_codec_options_default(il_codec_options *options);
/* Codes input [bytes] with the model's predictions by a range coder (without the mix 1e-4 bits a token above the
 * model's own loss); output is zeroed on failure. options may be NULL. Every byte comes back: what the tokenizer would
 * lose is coded as plain bytes, and so is a whole text (without the mix: a stream) that is not made smaller: no input
 * grows by more than 64 bytes (80 with a state) and 0.1 %. A stream from a fresh state begins with the tokenizer's BOS
 * (or the config's) where there is one. */
IL_API il_status il_compress(il_model *model, const il_tokenizer *tokenizer, const void *input, size_t bytes,
                             const il_codec_options *options, il_buffer *output, il_error *error);
/* Gives back what il_compress was given, on any machine, with any threads and kernels; output is zeroed on failure.
 * Another model, tokenizer or state is IL_ERR_MISMATCH, naming both fingerprints; whatever is damaged or cut short is
 * IL_ERR_FORMAT: a checksum of the original is compared before anything is given out. */
IL_API il_status il_decompress(il_model *model, const il_tokenizer *tokenizer, const void *input, size_t bytes,
                               const il_codec_options *options, il_buffer *output, il_error *error);

/* The same of a picture by its pixels, with a model of pictures of its size, or of tiles that it is a sheet of: each of
 * them is predicted from a fresh state and without a caption. IL_ERR_MISMATCH for another size, IL_ERR_UNSUPPORTED
 * where a pixel is none of the levels, as they are shown, and for models of films. Of the options progress (of bytes of
 * pixels) and bytes_max count. */
IL_API il_status il_picture_compress(il_model *model, const il_tokenizer *tokenizer, const il_picture *picture,
                                     const il_codec_options *options, il_buffer *output, il_error *error);
/* *picture has the pixels in *pixels; both are zeroed on failure. Greys come back as one channel, also where those that
 * were given were three alike. */
IL_API il_status il_picture_decompress(il_model *model, const il_tokenizer *tokenizer, const void *input, size_t bytes,
                                       const il_codec_options *options, il_picture *picture, il_buffer *pixels,
                                       il_error *error);

enum { IL_STREAMS_MAX = 64 };
/* What compressed data says of itself; fingerprints are hex digits and a NUL. */
typedef struct il_compressed_info {
    int version;
    int mixed;   /* as il_codec_options.mix */
    int picture; /* by il_picture_compress */
    char model[33], tokenizer[17];
    char state[33]; /* il_session_fingerprint of il_codec_options.start; "": a fresh state */
    uint64_t bytes; /* of the original */
    int streams;
    struct {
        uint64_t bytes, coded;
    } stream[IL_STREAMS_MAX]; /* of each, the bytes in the original and here */
} il_compressed_info;
/* Reads and checks what lies around the coded streams, which needs no model; fails as il_decompress does. */
IL_API il_status il_compressed_get_info(const void *input, size_t bytes, il_compressed_info *info, il_error *error);

/* ---- config: a model's shape, and new models ---- */

/* What mixes the tokens of a layer. Every mixer of a build has a number below il_mixer_count, also one that has no name
 * here. */
typedef enum il_mixer_kind {
    IL_MIXER_SELF_ATTENTION,
    IL_MIXER_GATED_DELTA, /* Gated DeltaNet: a linear memory that fades and learns from every token (docs/ttt.md) */
    IL_MIXER_SLIDING_ATTENTION, /* self-attention that sees the last sliding_window tokens, in constant memory */
    IL_MIXER_TTT_LINEAR,
    IL_MIXER_TTT_LINEAR_DECAY, /* ours: TTT-Linear whose memory fades (docs/ttt.md) */
    IL_MIXER_TTT_MLP
} il_mixer_kind;
IL_API const char *il_mixer_name(il_mixer_kind mixer); /* "ttt_linear", …; "?" for any other number */
IL_API int il_mixer_count(void);

enum { IL_LAYERS_MAX = 256, IL_TAPS_MAX = 16 };

/* How RoPE's frequencies f are changed for longer texts [rope_type]: not; all divided by rope_factor; the low ones are,
 * as Llama 3 does it. */
typedef enum il_rope_scaling { IL_ROPE_PLAIN, IL_ROPE_LINEAR, IL_ROPE_LLAMA3 } il_rope_scaling;

/* Everything that fixes a model's shape and arithmetic; keys of config.json in brackets where the name differs. */
struct il_config {
    /* [model_type, ttt_layer_type] Of every layer; where layers differ, of the first TTT layer, or else
     * IL_MIXER_GATED_DELTA. */
    il_mixer_kind mixer;
    /* 0: all layers are alike; else as many as layers, and the il_mixer_kind of each. */
    int n_layer_types;
    unsigned char layer_types[IL_LAYERS_MAX];
    int vocab_size;  /* V, 2 .. 2^24 */
    int width;       /* D [hidden_size] */
    int ffn_width;   /* [intermediate_size] */
    int layers;      /* [num_hidden_layers] */
    int heads;       /* H [num_attention_heads]; of TTT, and of attention unless head_width says so, d = D / H wide */
    int mini_batch;  /* b [mini_batch_size]: tokens per inner step */
    int conv_kernel; /* taps of the causal convolutions */
    int share_qk;    /* Q and K from one projection and two convolutions */
    int use_gate;    /* output gate */
    int pre_conv;    /* a convolution before the mixer */
    /* Of IL_MIXER_GATED_DELTA, read where a layer has it: heads of keys and queries, and of values, a multiple of those
     * [linear_num_key_heads, linear_num_value_heads]; their widths [linear_key_head_dim, linear_value_head_dim]; taps
     * of the convolution over queries, keys and values [linear_conv_kernel_dim]. */
    int delta_key_heads, delta_value_heads, delta_key_width, delta_value_width, delta_taps;
    int delta_learned_start; /* [linear_learned_start] ours: the memory starts as a tensor that is trained, not at 0 */
    /* Of attention, full and sliding, read where a layer has it; all 0: as Llama's first models. */
    int kv_heads;              /* heads of keys and values, a divisor of H [num_key_value_heads]; 0: H */
    int head_width;            /* d, even [head_dim]; 0: D / H */
    int rotary_width;          /* R: RoPE turns the first R of d, pairs (m, m + R/2) [partial_rotary_factor]; 0: d */
    int qk_norm;               /* RMS norms of every head of queries and keys before RoPE */
    int attention_bias;        /* of the projections of queries, keys and values */
    int attention_output_bias; /* of that of outputs */
    int attention_gate;        /* outputs times the sigmoid of a gate, which the projection of queries makes too */
    int sliding_window;        /* of sliding attention: a token sees so many, itself the last */
    il_rope_scaling rope_scaling;
    double rope_factor, rope_low_frequency, rope_high_frequency; /* of rope_scaling */
    int rope_positions;                                          /* [original_max_position_embeddings] */
    int norm_offset; /* RMS norms of layers, of queries and keys and of the output scale by 1 + weight, not weight */
    /* Ours (docs/taps.md): how far back the tokens stand that the input adds learned embeddings of, counted so that the
     * token just read is 1; 2 .. 65536, each once. Their sum has this order. */
    int n_taps, taps[IL_TAPS_MAX];
    int tie_word_embeddings;
    int bos_token, eos_token; /* -1: none. Targets equal to bos_token are left out of every loss */
    int max_positions;        /* [max_position_embeddings] told to other software: nothing here ends there; 0: 2048 */
    int bytes_tokenizer;      /* [tokenizer: "bytes"]: text is bytes; says nothing of the arithmetic */
    double rope_theta, rms_norm_eps, ttt_base_lr;
    /* The fast head (docs/ttt.md): features by which the output head goes on learning while it reads, 0: it does not;
     * and its learning rate. Losses and gradients in training are those of the head alone. */
    int fast_head_size;   /* 0 .. 1024 */
    int fast_head_tokens; /* it learns at most so many different tokens, those that come first; 0: all */
    double fast_head_lr;
    il_weight_type weights; /* [torch_dtype, quantization_config]. A model says how its weights are held; a config.json
                               only claims it */
};

/* preset: tiny small 125m 350m 760m 1b. mixer: by il_mixer_name. backbone: mamba transformer, or NULL for the mixer's
 * usual one. self_attention with the mamba backbone is IL_ERR_UNSUPPORTED. vocab_size is left at 32000. */
IL_API il_status il_config_preset(const char *preset, const char *mixer, const char *backbone, il_config *config,
                                  il_error *error);
/* Reads DIR/config.json, or what a GGUF file says in its place. */
IL_API il_status il_config_load(il_engine *engine, const char *dir, il_config *config, il_error *error);
/* The same with what options change: the config of the model that il_model_load_as would make, but for its weights. */
IL_API il_status il_config_load_as(il_engine *engine, const char *dir, const il_load_options *options,
                                   il_config *config, il_error *error);
/* IL_ERR_UNSUPPORTED, naming what, where a model has something that other software than this does not know: official
 * ttt.py, and transformers for Llama, Qwen2, Qwen3 and Qwen3.5. */
IL_API il_status il_config_check_portable(const il_config *config, il_error *error);
/* Sets one field by its config.json key ("num_hidden_layers", "4"). The whole is checked by il_config_check.
 * "layer_types" also takes names with commas, "3*" before one that is repeated ("3*ttt_linear,full_attention"), and
 * sliding_window behind a colon ("sliding_attention:512"); fewer layers than the model has are repeated if they divide
 * them. */
IL_API il_status il_config_set(il_config *config, const char *key, const char *value, il_error *error);
IL_API il_status il_config_check(const il_config *config, il_error *error);
/* IL_ERR_ARG where a key says nothing of a model of a checked config, because it has no layer of that kind, or no fast
 * head. */
IL_API il_status il_config_check_key(const il_config *config, const char *key, il_error *error);
/* The mixer of a layer of a checked config. */
IL_API il_mixer_kind il_config_mixer(const il_config *config, int layer);
/* Model floating-point operations per token of a forward pass with (or without) its row of logits, `position` tokens
 * in. */
IL_API double il_config_flops_per_token(const il_config *config, uint64_t position, int with_logits);
/* Bytes of a session's state that a token reads, `position` tokens in: fast weights, rows of the open mini-batch (the
 * mean over its tokens), keys and values. */
IL_API double il_config_state_bytes_per_token(const il_config *config, uint64_t position);
/* How many parameters are the learned start of fast weights, in whose place a pass reads the session's own. */
IL_API uint64_t il_config_fast_weights(const il_config *config);

/* New weights from the recipe's distributions, the same on every machine for the same seed; rounded where
 * config->weights is not fp32, which alone can be trained. Release with il_model_unref. */
IL_API il_status il_model_init(il_engine *engine, const il_config *config, uint64_t seed, il_model **model,
                               il_error *error);

/* The files that il_model_save_with would write, byte for byte, of the model that il_model_load_as would make, tensor
 * by tensor: memory for a few million numbers suffices, whatever the model's size. tokenizer NULL: none is written.
 * `to` may be `from`. */
typedef struct il_rewritten {
    il_config config;
    uint64_t parameters;
    char fingerprint[33];
} il_rewritten;
IL_API il_status il_model_rewrite(il_engine *engine, const char *from, const il_load_options *options,
                                  const il_tokenizer *tokenizer, const char *to, il_rewritten *rewritten,
                                  il_error *error);

/* Looks at the numbers of a model's files, as il_model_load_as would hold them, in as little memory. scan is called
 * with rows from .. from+n-1 of each tensor, as fp32 [n, count / shape[0]], in order of index and from its first row to
 * its last; tensor->data is NULL. It returns 0 to go on, anything else to stop with IL_ERR_CANCELLED. NULL: what is
 * found is all that is asked for. All numbers are checked as loading does. */
typedef int (*il_scan)(void *user, size_t index, const il_tensor *tensor, size_t from, size_t n, const float *rows);
IL_API il_status il_model_scan(il_engine *engine, const char *from, const il_load_options *options, il_scan scan,
                               void *user, il_rewritten *found, il_error *error);

/* ---- outputs: files that appear whole or not at all ---- */

/* What all files of the library are written by. At path there is the old file until the new one is complete; links are
 * followed, and its mode is kept. A pipe and a character device are written as bytes come, and so are /dev/stdout,
 * /dev/stderr and /dev/fd/N, which are files that are open already. */
typedef struct il_output il_output;
/* IL_ERR_IO for a folder, a name that is too long, what may not be written; found without a trace. */
IL_API il_status il_output_check(const char *path, il_error *error);
IL_API il_status il_output_open(const char *path, il_output **output, il_error *error);
IL_API il_status il_output_write(il_output *output, const void *data, size_t bytes, il_error *error);
/* Both release the output, finish also when it fails: then the old file is there. */
IL_API il_status il_output_finish(il_output *output, il_error *error);
IL_API void il_output_abandon(il_output *output); /* NULL allowed */
/* For a signal handler that ends the process (it may be called there): removes what this process has written of
 * outputs, models, checkpoints and shards that are not complete. Nothing else of the library may be called after it. */
IL_API void il_temporaries_remove(void);

/* ---- limits of the machine: what speeds are compared with ---- */

/* Limits of this machine as the engine sees it, measured when called (about three seconds), with the engine's
 * threads. */
typedef struct il_limits {
    double gflops_kernel; /* our exact fp32 product, 1e9 multiply and add per second, [1024,1024]x[1024,1024] */
    double gflops_onednn; /* the same by oneDNN with packed weights; 0 when built without it */
    double read_gb_s;  /* memory read, 1e9 bytes per second: the faster of a plain pass and our matrix-vector product */
    double read_bytes; /* the size of the buffer that was read for it */
    double l2_read_gb_s;     /* the same from second-level caches, by our matrix-vector product, all threads together */
    double gops_int8_onednn; /* as gflops_onednn, uint8 times int8; 0 when built without it or where it cannot */
    double gflops_bf16_onednn; /* the same, bfloat16 with fp32 sums */
} il_limits;
IL_API il_status il_engine_limits(il_engine *engine, il_limits *limits, il_error *error);

/* The same for some of them, often: for a machine whose speed changes, probed around everything that is timed. */
enum {
    IL_LIMIT_KERNEL = 1,
    IL_LIMIT_ONEDNN = 2,
    IL_LIMIT_READ = 4,
    IL_LIMIT_L2_READ = 8,
    IL_LIMIT_INT8_ONEDNN = 16,
    IL_LIMIT_BF16_ONEDNN = 32,
    IL_LIMIT_ALL = 63
};
typedef struct il_prober il_prober;
/* which: IL_LIMIT_* together. Takes 16 MiB, for IL_LIMIT_READ a buffer of read_bytes more, in whole MiB, 1 GiB at most:
 * as many bytes as a pass of what is timed reads, so that caches help both alike; 0: four last-level caches, 256 MiB to
 * 1 GiB, which il_engine_limits takes too. On failure *prober is NULL. Close it before its engine. */
IL_API il_status il_prober_open(il_engine *engine, unsigned which, size_t read_bytes, il_prober **prober,
                                il_error *error);
/* Each limit in about so many seconds, the fastest of the runs that fit, at least one. Limits that were not asked for
 * are 0. As all work on an engine, one call at a time. */
IL_API il_status il_prober_measure(il_prober *prober, double seconds_each, il_limits *limits, il_error *error);
IL_API void il_prober_close(il_prober *prober); /* NULL allowed */

#ifdef __cplusplus
}
#endif
#endif
