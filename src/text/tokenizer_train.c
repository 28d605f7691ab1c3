/* tokenizer_train.c: il_tokenizer_train: documents to the library's trainer, its model to a file. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "text/sentencepiece_shim.h"

#include <string.h>

enum {
    META_PIECES = 3 + 256 + 1, /* unknown, BOS, EOS, the bytes and the space */
    VOCAB_MAX = 1 << 20,
    TRAINER_THREADS_MAX = 16
};

static il_status add_file(il_engine *engine, const char *path, const il_documents_options *options,
                          il_sp_trainer *trainer, il_error *error) {
    il_documents *documents;
    il_document document;
    IL_TRY(il_documents_open(engine, path, options, &documents, error));
    il_status status;
    while ((status = il_documents_next(documents, &document, error)) == IL_OK)
        if (il_sp_trainer_add(trainer, document.text, document.bytes) != IL_SP_OK) {
            status = il_fail(error, IL_ERR_NOMEM, "no memory for the words of the text");
            break;
        }
    il_documents_close(documents);
    return status == IL_ERR_END ? IL_OK : status;
}

typedef struct model_file {
    const il_allocator *allocator;
    const char *path;
    il_status status;
    il_error *error;
} model_file;

static int write_model(void *context, const void *data, size_t bytes) {
    model_file *f = context;
    f->status = il_file_replace(f->allocator, f->path, data, bytes, f->error);
    return f->status == IL_OK;
}

/* Trains, and where the text gives fewer pieces than asked for, once more for as many as it gives: the same file as if
 * that had been asked for. */
static il_status run(il_engine *engine, il_sp_trainer *trainer, int vocab_size, model_file *model) {
    char message[300] = "";
    int most, threads = il_engine_threads(engine);
    if (threads > TRAINER_THREADS_MAX) threads = TRAINER_THREADS_MAX;
    il_sp_result result =
        il_sp_trainer_run(trainer, vocab_size, threads, write_model, model, &most, message, sizeof message);
    if (result == IL_SP_FAILED && most > META_PIECES && most < vocab_size) {
        il_log(engine, IL_LOG_INFO, "the text gives no more than %d pieces: that is the vocabulary, not %d", most,
               vocab_size);
        result = il_sp_trainer_run(trainer, most, threads, write_model, model, &most, message, sizeof message);
    }
    switch (result) {
    case IL_SP_OK: return IL_OK;
    case IL_SP_STOPPED: return model->status;
    case IL_SP_NOMEM: return il_fail(model->error, IL_ERR_NOMEM, "no memory to train a tokenizer");
    case IL_SP_FAILED: break;
    }
    return il_fail(model->error, IL_ERR_ARG, "a vocabulary of %d cannot be trained: %s", vocab_size, message);
}

il_status il_tokenizer_train(il_engine *engine, const char *const *files, size_t n_files,
                             const il_documents_options *options, int vocab_size, const char *path, il_error *error) {
    model_file model = {&engine->memory, path, IL_OK, error};
    il_sp_trainer *trainer;
    il_status status = IL_OK;
    if (n_files == 0) return il_fail(error, IL_ERR_ARG, "no text files");
    if (vocab_size <= META_PIECES || vocab_size > VOCAB_MAX)
        return il_fail(error, IL_ERR_ARG, "a vocabulary of %d; %d to %d are possible", vocab_size, META_PIECES + 1,
                       VOCAB_MAX);
    if (il_sp_trainer_open(&trainer) != IL_SP_OK) return il_fail(error, IL_ERR_NOMEM, "no memory for a trainer");
    for (size_t i = 0; i < n_files && status == IL_OK; i++) {
        status = add_file(engine, files[i], options, trainer, error);
        if (status == IL_OK)
            il_log(engine, IL_LOG_INFO, "%s: %zu distinct words so far", files[i], il_sp_trainer_words(trainer));
    }
    if (status == IL_OK && il_sp_trainer_words(trainer) == 0)
        status = il_fail(error, IL_ERR_FORMAT, "%s: no words in the text", files[0]);
    if (status == IL_OK) status = run(engine, trainer, vocab_size, &model);
    il_sp_trainer_close(trainer);
    return status;
}
