/* chat_files.c: see chat_files.h. Keys that are not known are ignored: these files hold what many programs want to
 * know. What is known must make sense, and is refused by file and key where it does not. */
#include "text/chat_files.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "tensor/gguf.h"
#include "text/tokenizer.h"

static const char GENERATION[] = "generation_config.json", TOKENIZER[] = "tokenizer_config.json",
                  TEMPLATE[] = "chat_template.jinja", CONFIG[] = "config.json", EOS[] = "eos_token_id";

/* ---- stops ---- */

static il_status add_stop(const char *path, int token, il_generation *g, il_error *error) {
    int at = 0;
    while (at < g->n_stops && g->stop[at] < token) at++;
    if (token < 0 || (at < g->n_stops && g->stop[at] == token)) return IL_OK;
    if (g->n_stops == IL_STOPS_MAX)
        return il_fail(error, IL_ERR_FORMAT, "%s: more than %d tokens that end a text", path, IL_STOPS_MAX);
    memmove(g->stop + at + 1, g->stop + at, (size_t)(g->n_stops - at) * sizeof *g->stop);
    g->stop[at] = token;
    g->n_stops++;
    return IL_OK;
}

int il_generation_stops(const il_generation *g, int32_t token) {
    for (int i = 0; i < g->n_stops; i++)
        if (g->stop[i] == token) return 1;
    return 0;
}

static il_status read_stop(const char *path, const json_t *value, int vocab_size, il_generation *g, il_error *error) {
    json_int_t id = json_integer_value(value);
    if (!json_is_integer(value) || id < -1 || id >= vocab_size)
        return il_fail(error, IL_ERR_FORMAT, "%s: %s: not a token of the model, which has 0 to %d", path, EOS,
                       vocab_size - 1);
    return add_stop(path, (int)id, g, error);
}

/* eos_token_id: a number, a list of them, or null. */
static il_status read_stops(const char *path, const json_t *root, int vocab_size, il_generation *g, il_error *error) {
    const json_t *value = json_object_get(root, EOS);
    if (!value || json_is_null(value)) return IL_OK;
    if (!json_is_array(value)) return read_stop(path, value, vocab_size, g, error);
    for (size_t i = 0; i < json_array_size(value); i++)
        IL_TRY(read_stop(path, json_array_get(value, i), vocab_size, g, error));
    return IL_OK;
}

/* ---- sampling ---- */

/* A number in low .. high; *given stays where the key is not there or null. */
static il_status read_real(const char *path, const json_t *root, const char *key, double low, double high, float *value,
                           int *given, il_error *error) {
    const json_t *number = json_object_get(root, key);
    double x = json_number_value(number);
    if (!number || json_is_null(number)) return IL_OK;
    if (!json_is_number(number) || !(x >= low && x <= high))
        return il_fail(error, IL_ERR_FORMAT, "%s: %s must be a number from %g to %g", path, key, low, high);
    *value = (float)x;
    *given = 1;
    return IL_OK;
}

/* A file that says anything of how to draw says all of it: what it leaves out is off, as those who chose the values had
 * it. */
static il_status read_sampling(const char *path, const json_t *root, il_sample_options *sampling, il_error *error) {
    const json_t *draws = json_object_get(root, "do_sample"), *top_k = json_object_get(root, "top_k");
    il_sample_options o = *sampling, drawn = {.temperature = 1, .top_p = 1};
    int given = json_is_true(draws), penalty = 0;
    if (draws && !json_is_boolean(draws) && !json_is_null(draws))
        return il_fail(error, IL_ERR_FORMAT, "%s: do_sample must be true or false", path);
    IL_TRY(read_real(path, root, "temperature", 0, 100, &drawn.temperature, &given, error));
    IL_TRY(read_real(path, root, "top_p", 1e-6, 1, &drawn.top_p, &given, error));
    IL_TRY(read_real(path, root, "min_p", 0, 1, &drawn.min_p, &given, error));
    IL_TRY(read_real(path, root, "repetition_penalty", 1e-3, 1e3, &o.repeat_penalty, &penalty, error));
    if (top_k && !json_is_null(top_k)) {
        json_int_t k = json_integer_value(top_k);
        if (!json_is_integer(top_k) || k < -1 || k > 1 << 24)
            return il_fail(error, IL_ERR_FORMAT, "%s: top_k must be an integer from 0 to %d", path, 1 << 24);
        drawn.top_k = k < 0 ? 0 : (int)k; /* -1, too, is written for "off" */
        given = 1;
    }
    drawn.repeat_penalty = o.repeat_penalty;
    drawn.seed = o.seed;
    if (given) o = drawn;
    if (json_is_false(draws)) o.temperature = 0;
    *sampling = o;
    return IL_OK;
}

/* ---- files ---- */

static il_status parse(const char *path, const char *text, size_t bytes, json_t **root, il_error *error) {
    *root = NULL;
    if (bytes > IL_CHAT_FILE_MAX)
        return il_fail(error, IL_ERR_FORMAT, "%s: %zu bytes: more than 1 MiB are not read", path, bytes);
    IL_TRY(il_json_load(path, text, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, root, error));
    if (json_is_object(*root)) return IL_OK;
    json_decref(*root);
    *root = NULL;
    return il_fail(error, IL_ERR_FORMAT, "%s: not an object", path);
}

il_status il_generation_parse(const char *path, const char *text, size_t bytes, int vocab_size, il_chat_files *files,
                              il_error *error) {
    json_t *root;
    IL_TRY(parse(path, text, bytes, &root, error));
    il_status status = read_stops(path, root, vocab_size, &files->generation, error);
    if (status == IL_OK) status = read_sampling(path, root, &files->generation.sampling, error);
    json_decref(root);
    return status;
}

il_status il_config_stops_parse(const char *path, const char *text, size_t bytes, int vocab_size, il_chat_files *files,
                                il_error *error) {
    json_t *root;
    IL_TRY(parse(path, text, bytes, &root, error));
    il_status status = read_stops(path, root, vocab_size, &files->generation, error);
    if (status == IL_OK)
        status = read_stops(path, json_object_get(root, "text_config"), vocab_size, &files->generation, error);
    json_decref(root);
    return status;
}

/* A token that is named by its text, as a string or as {"content": …}; -1 where the tokenizer does not have it. */
static il_status read_named(const json_t *value, const il_tokenizer *tokenizer, int *id, il_error *error) {
    const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
    *id = -1;
    if (!json_is_string(content)) return IL_OK;
    return il_tokenizer_special(tokenizer, json_string_value(content), json_string_length(content), id, error);
}

/* chat_template: a string, or a list of templates with names, of which "default" is the one. */
static const json_t *template_of(const json_t *root) {
    const json_t *value = json_object_get(root, "chat_template");
    if (!json_is_array(value)) return value;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strcmp(name, "default") == 0) return json_object_get(item, "template");
    }
    return NULL;
}

il_status il_tokenizer_config_parse(const char *path, const char *text, size_t bytes, const il_tokenizer *tokenizer,
                                    il_chat_files *files, il_error *error) {
    json_t *root;
    IL_TRY(parse(path, text, bytes, &root, error));
    const json_t *template = template_of(root);
    il_status status = read_named(json_object_get(root, "bos_token"), tokenizer, &files->bos, error);
    if (status == IL_OK) status = read_named(json_object_get(root, "eos_token"), tokenizer, &files->eos, error);
    if (status == IL_OK) status = add_stop(path, files->eos, &files->generation, error);
    if (json_is_string(template)) {
        files->has_template = 1;
        il_chat_template_read(json_string_value(template), json_string_length(template), &files->template);
    }
    json_decref(root);
    return status;
}

void il_chat_files_begin(il_chat_files *files) {
    *files = (il_chat_files){.template = {.thinks = -1}, .bos = -1, .eos = -1};
    il_sample_options_default(&files->generation.sampling);
}

/* ---- directories ---- */

/* A file of a directory in memory, its path too, as long as it is open; text NULL: it is not there. */
typedef struct side_file {
    const il_allocator *memory;
    char *path;
    const char *text;
    il_map map;
} side_file;

static void side_close(side_file *f) {
    if (f->text) il_map_close(&f->map);
    il_free(f->memory, f->path);
}

/* Must be closed even after a failure. dir NULL: nothing is there. */
static il_status side_open(const il_allocator *memory, const char *dir, const char *name, side_file *f,
                           il_error *error) {
    *f = (side_file){.memory = memory};
    if (!dir) return IL_OK;
    f->path = il_path_join(memory, dir, name);
    if (!f->path) return il_fail(error, IL_ERR_NOMEM, "%s: no memory for a path", dir);
    if (!il_path_exists(f->path)) return IL_OK;
    IL_TRY(il_map_open(f->path, &f->map, error));
    f->text = (const char *)f->map.data;
    if (f->map.bytes <= IL_CHAT_FILE_MAX) return IL_OK;
    return il_fail(error, IL_ERR_FORMAT, "%s: %zu bytes: more than 1 MiB are not read", f->path, f->map.bytes);
}

static il_status read_one(const il_tokenizer *tokenizer, const il_config *config, const char *dir, const char *name,
                          il_chat_files *files, il_error *error) {
    side_file f;
    il_status status = side_open(il_tokenizer_memory(tokenizer), dir, name, &f, error);
    size_t bytes = f.map.bytes;
    if (status == IL_OK && f.text) {
        if (name == GENERATION)
            status = il_generation_parse(f.path, f.text, bytes, config->vocab_size, files, error);
        else if (name == CONFIG)
            status = il_config_stops_parse(f.path, f.text, bytes, config->vocab_size, files, error);
        else if (name == TOKENIZER)
            status = il_tokenizer_config_parse(f.path, f.text, bytes, tokenizer, files, error);
        else
            il_chat_template_read(f.text, bytes, &files->template);
        if (name == TEMPLATE) files->has_template = 1;
    }
    side_close(&f);
    return status;
}

/* A GGUF file has the template in itself, and nothing beside it; *template is in the
 * map, and gguf must be closed where this did not fail. */
static il_status read_gguf(const il_allocator *memory, const char *path, il_gguf *gguf, il_gguf_text *template,
                           il_error *error) {
    *template = (il_gguf_text){NULL, 0};
    IL_TRY(il_gguf_open(memory, path, gguf, error));
    il_status status = il_gguf_get_text(gguf, "tokenizer.chat_template", template, error);
    if (status == IL_OK && template->bytes > IL_CHAT_FILE_MAX)
        status = il_fail(error, IL_ERR_FORMAT, "%s: tokenizer.chat_template: more than 1 MiB are not read", path);
    if (status != IL_OK) il_gguf_close(gguf);
    return status;
}

static il_status read_gguf_template(const il_allocator *memory, const char *path, il_chat_files *files,
                                    il_error *error) {
    il_gguf gguf;
    il_gguf_text template;
    IL_TRY(read_gguf(memory, path, &gguf, &template, error));
    if (template.text) {
        files->has_template = 1;
        il_chat_template_read(template.text, template.bytes, &files->template);
    }
    il_gguf_close(&gguf);
    return IL_OK;
}

il_status il_chat_files_read(const il_tokenizer *tokenizer, const il_config *config, const char *dir,
                             il_chat_files *files, il_error *error) {
    static const char *const order[] = {CONFIG, GENERATION, TOKENIZER, TEMPLATE}; /* the last template counts */
    static const char *const ends[] = {"<|im_end|>", "<|eot_id|>"};
    il_tokenizer_info info;
    il_tokenizer_get_info(tokenizer, &info);
    il_chat_files_begin(files);
    if (il_tokenizer_pictures(tokenizer)) /* drawn as they were learned, unless a file says otherwise */
        files->generation.sampling = (il_sample_options){.temperature = 1, .top_p = 1, .repeat_penalty = 1};
    IL_TRY(add_stop(dir, info.eos, &files->generation, error));
    IL_TRY(add_stop(dir, config->eos_token, &files->generation, error));
    for (int i = 0; i < 2; i++) {
        int id;
        IL_TRY(il_tokenizer_special(tokenizer, ends[i], strlen(ends[i]), &id, error));
        IL_TRY(add_stop(dir, id, &files->generation, error));
    }
    if (il_gguf_is(dir)) return read_gguf_template(il_tokenizer_memory(tokenizer), dir, files, error);
    for (int i = 0; i < 4; i++) IL_TRY(read_one(tokenizer, config, dir, order[i], files, error));
    return IL_OK;
}

il_status il_generation_load(const il_tokenizer *tokenizer, const il_config *config, const char *dir,
                             il_generation *generation, il_error *error) {
    il_chat_files files;
    IL_TRY(il_chat_files_read(tokenizer, config, dir, &files, error));
    *generation = files.generation;
    return IL_OK;
}

/* ---- copying ---- */

/* remove: what `from` does not have is taken away from `to`. */
static il_status copy_one(const il_allocator *memory, const char *from, const char *to, const char *name, int remove,
                          il_error *error) {
    side_file f;
    il_status status = side_open(memory, from, name, &f, error);
    char *path = il_path_join(memory, to, name);
    if (status == IL_OK && !path) status = il_fail(error, IL_ERR_NOMEM, "%s: no memory for a path", to);
    if (status == IL_OK && f.text)
        status = il_file_replace(memory, path, f.text, f.map.bytes, error);
    else if (status == IL_OK && remove && il_path_exists(path) && (il_file_allowed("unlink", path) || unlink(path)))
        status = il_fail_errno(error, IL_ERR_IO, "%s: cannot be removed", path);
    il_free(memory, path);
    side_close(&f);
    return status;
}

/* Sets *text to the file's object with all stops in it, released by free; NULL: it has just these already. */
static il_status with_stops(const side_file *f, int vocab_size, const il_generation *g, char **text, il_error *error) {
    il_generation own = {.n_stops = 0};
    json_t *root, *stops;
    *text = NULL;
    IL_TRY(parse(f->path, f->text, f->map.bytes, &root, error));
    il_status status = read_stops(f->path, root, vocab_size, &own, error);
    int same = own.n_stops == g->n_stops && !memcmp(own.stop, g->stop, (size_t)own.n_stops * sizeof *own.stop);
    if (status == IL_OK && !same) {
        stops = json_array();
        for (int i = 0; i < g->n_stops; i++) json_array_append_new(stops, json_integer(g->stop[i]));
        if (json_array_size(stops) == (size_t)g->n_stops && json_object_set(root, EOS, stops) == 0)
            *text = json_dumps(root, JSON_INDENT(2));
        if (!*text) status = il_fail(error, IL_ERR_NOMEM, "%s: out of memory", f->path);
        json_decref(stops);
    }
    json_decref(root);
    return status;
}

/* The file of `from`, or what saving the model wrote into `to`, with all stops. */
static il_status copy_generation(const il_allocator *memory, const il_chat_files *files, int vocab_size,
                                 const char *from, const char *to, il_error *error) {
    const il_generation *g = &files->generation;
    side_file f;
    char *text = NULL;
    IL_TRY(copy_one(memory, from, to, GENERATION, 0, error));
    il_status status = side_open(memory, to, GENERATION, &f, error);
    if (status == IL_OK && f.text) status = with_stops(&f, vocab_size, g, &text, error);
    if (status == IL_OK && text) status = il_file_replace(memory, f.path, text, strlen(text), error);
    free(text);
    side_close(&f);
    return status;
}

/* The template as a file. */
static il_status copy_gguf_template(const il_allocator *memory, const char *from, const char *to, il_error *error) {
    il_gguf gguf;
    il_gguf_text template;
    IL_TRY(read_gguf(memory, from, &gguf, &template, error));
    char *path = template.text ? il_path_join(memory, to, TEMPLATE) : NULL;
    il_status status = IL_OK;
    if (template.text && !path) status = il_fail(error, IL_ERR_NOMEM, "%s: no memory for a path", to);
    if (path) status = il_file_replace(memory, path, template.text, template.bytes, error);
    il_free(memory, path);
    il_gguf_close(&gguf);
    return status;
}

il_status il_chat_copy(const il_tokenizer *tokenizer, const il_config *config, const char *from, const char *to,
                       il_error *error) {
    const il_allocator *memory = il_tokenizer_memory(tokenizer);
    il_chat_files files;
    if (from) IL_TRY(il_chat_files_read(tokenizer, config, from, &files, error));
    IL_TRY(copy_one(memory, from, to, TOKENIZER, 1, error));
    IL_TRY(copy_one(memory, from, to, TEMPLATE, 1, error));
    if (!from) return IL_OK;
    if (il_gguf_is(from)) IL_TRY(copy_gguf_template(memory, from, to, error));
    return copy_generation(memory, &files, config->vocab_size, from, to, error);
}
