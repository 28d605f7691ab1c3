/* picture_layout.c: see picture_layout.h. A key that is not known, twice there or out of its range is refused by name:
 * a layout that is read wrongly would show every picture wrongly. */
#include "text/picture_layout.h"

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static const char MARK[] = "tokenizer", KIND[] = "pictures";

/* ---- what is allowed ---- */

int il_picture_layout_bytes(const il_picture_layout *l) { return l->levels + IL_PICTURE_ACTIONS + l->actions; }
int il_picture_layout_vocab(const il_picture_layout *l) { return il_picture_layout_bytes(l) + (l->captions ? 256 : 0); }

typedef struct field {
    const char *key;
    size_t at; /* in the struct, an int */
    int low, high, is_flag, names,
        may_lack; /* names: or a list of them; may_lack: not there is 0, which is not written */
} field;
#define AT(name) offsetof(il_picture_layout, name)
static const field fields[] = {
    {"width", AT(width), 1, IL_LAYOUT_SIDE_MAX, 0, 0, 0},
    {"height", AT(height), 1, IL_LAYOUT_SIDE_MAX, 0, 0, 0},
    {"levels", AT(levels), 2, IL_LEVELS_MAX, 0, 0, 0},
    {"header_rows", AT(header_rows), 1, IL_HEADER_ROWS_MAX, 0, 0, 0},
    {"captions", AT(captions), 0, 1, 1, 0, 0},
    {"films", AT(films), 0, 1, 1, 0, 0},
    {"by_columns", AT(by_columns), 0, 1, 1, 0, 1},
    {"actions", AT(actions), 0, IL_ACTIONS_MAX, 0, 1, 0},
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static const char no_names[IL_ACTION_NAMES_MAX][IL_ACTION_NAME_MAX + 1]; /* all "" */

#define WRONG_NAME "%s: the name of action %d is not of 1 to %d of a-z, 0-9, - and _, a letter first"

static int is_name(const char *name) {
    size_t n = strnlen(name, IL_ACTION_NAME_MAX + 1);
    if (!n || n > IL_ACTION_NAME_MAX || name[0] < 'a') return 0;
    for (size_t i = 0; i < n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-_", name[i])) return 0;
    return 1;
}

/* Of all actions or of none; what stands behind their ends becomes 0, so that equal layouts are equal bytes. */
static il_status check_names(const char *where, il_picture_layout *l, il_error *error) {
    if (l->actions > IL_ACTION_NAMES_MAX)
        return il_fail(error, IL_ERR_ARG, "%s: %d actions with names: %d are possible", where, l->actions,
                       IL_ACTION_NAMES_MAX);
    for (int i = 0; i < IL_ACTION_NAMES_MAX; i++) {
        char *name = l->action_names[i], clean[IL_ACTION_NAME_MAX + 1] = {0};
        if (i < l->actions && !is_name(name))
            return il_fail(error, IL_ERR_ARG, WRONG_NAME, where, i, IL_ACTION_NAME_MAX);
        if (i < l->actions) memcpy(clean, name, strlen(name));
        memcpy(name, clean, sizeof clean);
        for (int k = 0; k < i && i < l->actions; k++)
            if (strcmp(l->action_names[k], name) == 0)
                return il_fail(error, IL_ERR_ARG, "%s: actions %d and %d are both called %s", where, k, i, name);
    }
    return IL_OK;
}

static int *field_of(il_picture_layout *layout, const field *f) { return (int *)(void *)((char *)layout + f->at); }

il_status il_picture_layout_finish(const char *where, il_picture_layout *l, il_error *error) {
    for (int i = 0; i < FIELDS; i++) {
        int value = *field_of(l, &fields[i]);
        if (value < fields[i].low || value > fields[i].high)
            return il_fail(error, IL_ERR_ARG, "%s: %s is %d: %d to %d are possible", where, fields[i].key, value,
                           fields[i].low, fields[i].high);
    }
    if (l->actions && !l->films) return il_fail(error, IL_ERR_ARG, "%s: actions are of films", where);
    if (l->by_columns && !l->films) return il_fail(error, IL_ERR_ARG, "%s: by_columns is of films", where);
    if (memcmp(l->action_names, no_names, sizeof no_names) != 0) IL_TRY(check_names(where, l, error));
    for (int k = 0; !l->palette && k < l->levels; k++)
        memset(l->colours[k], (k * 255 + (l->levels - 1) / 2) / (l->levels - 1), 3);
    memset(l->colours[l->levels], 0, sizeof l->colours - (size_t)l->levels * sizeof l->colours[0]);
    return IL_OK;
}

/* ---- reading ---- */

static json_t *parse(const char *text, size_t bytes) {
    json_t *root = bytes <= IL_PICTURE_LAYOUT_FILE_MAX ? json_loadb(bytes ? text : "", bytes, 0, NULL) : NULL;
    const char *kind = json_string_value(json_object_get(root, MARK));
    if (kind && strcmp(kind, KIND) == 0) return root;
    json_decref(root);
    return NULL;
}

int il_picture_layout_is(const char *text, size_t bytes) {
    json_t *root = parse(text, bytes);
    json_decref(root);
    return root != NULL;
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

/* "rrggbb" */
static int read_colour(const json_t *value, unsigned char colour[3]) {
    const char *text = json_string_value(value);
    if (!text || strlen(text) != 6) return 0;
    for (int i = 0; i < 3; i++) {
        int high = hex(text[2 * i]), low = hex(text[2 * i + 1]);
        if (high < 0 || low < 0) return 0;
        colour[i] = (unsigned char)(high << 4 | low);
    }
    return 1;
}

static il_status read_palette(const char *path, const json_t *value, il_picture_layout *l, il_error *error) {
    size_t n = json_array_size(value);
    if (!json_is_array(value) || n > IL_LEVELS_MAX)
        return il_fail(error, IL_ERR_FORMAT, "%s: palette must be a list of at most %d colours", path, IL_LEVELS_MAX);
    for (size_t i = 0; i < n; i++)
        if (!read_colour(json_array_get(value, i), l->colours[i]))
            return il_fail(error, IL_ERR_FORMAT, "%s: palette: colour %zu is not of the form \"rrggbb\"", path, i);
    if ((int)n != l->levels)
        return il_fail(error, IL_ERR_FORMAT, "%s: palette has %zu colours, and levels is %d", path, n, l->levels);
    l->palette = 1;
    return IL_OK;
}

/* ["left", "right"] instead of a number. */
static il_status read_names(const char *path, const json_t *value, il_picture_layout *l, il_error *error) {
    size_t n = json_array_size(value);
    if (!n || n > IL_ACTION_NAMES_MAX)
        return il_fail(error, IL_ERR_FORMAT, "%s: actions must be a number, or a list of 1 to %d names", path,
                       IL_ACTION_NAMES_MAX);
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(value, i));
        if (!name || !is_name(name)) return il_fail(error, IL_ERR_FORMAT, WRONG_NAME, path, (int)i, IL_ACTION_NAME_MAX);
        memcpy(l->action_names[i], name, strlen(name));
    }
    l->actions = (int)n;
    return IL_OK;
}

static il_status read_field(const char *path, const json_t *root, const field *f, il_picture_layout *l,
                            il_error *error) {
    const json_t *value = json_object_get(root, f->key);
    json_int_t number = f->is_flag ? json_is_true(value) : json_integer_value(value);
    if (!value || !(f->is_flag ? json_is_boolean(value) : json_is_integer(value)))
        return il_fail(error, IL_ERR_FORMAT, "%s: %s must be %s", path, f->key,
                       f->is_flag ? "true or false" : "an integer");
    if (number < f->low || number > f->high)
        return il_fail(error, IL_ERR_FORMAT, "%s: %s is %lld: %d to %d are possible", path, f->key, (long long)number,
                       f->low, f->high);
    *field_of(l, f) = (int)number;
    return IL_OK;
}

static il_status read_layout(const char *path, json_t *root, il_picture_layout *l, il_error *error) {
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        int known = strcmp(key, MARK) == 0 || strcmp(key, "palette") == 0;
        for (int i = 0; i < FIELDS; i++) known |= strcmp(key, fields[i].key) == 0;
        if (!known) return il_fail(error, IL_ERR_UNSUPPORTED, "%s: %.100s is not known", path, key);
    }
    for (int i = 0; i < FIELDS; i++) {
        value = json_object_get(root, fields[i].key);
        if (!value && fields[i].may_lack) continue;
        IL_TRY(fields[i].names && json_is_array(value) ? read_names(path, value, l, error)
                                                       : read_field(path, root, &fields[i], l, error));
    }
    value = json_object_get(root, "palette");
    if (value) IL_TRY(read_palette(path, value, l, error));
    il_status status = il_picture_layout_finish(path, l, error);
    if (status == IL_ERR_ARG && error) error->status = IL_ERR_FORMAT; /* it is the file that is wrong */
    return status == IL_ERR_ARG ? IL_ERR_FORMAT : status;
}

il_status il_picture_layout_parse(const char *path, const char *text, size_t bytes, il_picture_layout *layout,
                                  il_error *error) {
    json_t *root;
    *layout = (il_picture_layout){0};
    if (bytes > IL_PICTURE_LAYOUT_FILE_MAX)
        return il_fail(error, IL_ERR_FORMAT, "%s: %zu bytes: more than 64 KiB are not read", path, bytes);
    IL_TRY(il_json_load(path, text, bytes, JSON_REJECT_DUPLICATES, &root, error));
    const char *kind = json_string_value(json_object_get(root, MARK));
    il_status status = kind && strcmp(kind, KIND) == 0
                           ? read_layout(path, root, layout, error)
                           : il_fail(error, IL_ERR_FORMAT, "%s: %s is not \"%s\"", path, MARK, KIND);
    json_decref(root);
    return status;
}

/* ---- writing ---- */

il_status il_picture_layout_text(const il_allocator *memory, const il_picture_layout *l, char **text, size_t *bytes,
                                 il_error *error) {
    size_t room = 512 + 10 * (size_t)IL_LEVELS_MAX + IL_ACTION_NAMES_MAX * (IL_ACTION_NAME_MAX + 4), n;
    char *out = *text = il_alloc(memory, room, 1);
    *bytes = 0;
    if (!out) return il_fail(error, IL_ERR_NOMEM, "no memory for a layout of pictures");
    il_picture_layout copy = *l;
    n = (size_t)snprintf(out, room, "{\n  \"%s\": \"%s\"", MARK, KIND);
    for (int i = 0; i < FIELDS; i++) {
        int value = *field_of(&copy, &fields[i]);
        if (!value && fields[i].may_lack) continue;
        if (fields[i].names && l->action_names[0][0]) {
            n += (size_t)snprintf(out + n, room - n, ",\n  \"%s\": [", fields[i].key);
            for (int k = 0; k < l->actions; k++)
                n += (size_t)snprintf(out + n, room - n, "%s\"%s\"", k ? "," : "", l->action_names[k]);
            n += (size_t)snprintf(out + n, room - n, "]");
            continue;
        }
        n += fields[i].is_flag
                 ? (size_t)snprintf(out + n, room - n, ",\n  \"%s\": %s", fields[i].key, value ? "true" : "false")
                 : (size_t)snprintf(out + n, room - n, ",\n  \"%s\": %d", fields[i].key, value);
    }
    if (l->palette) n += (size_t)snprintf(out + n, room - n, ",\n  \"palette\": [");
    for (int k = 0; l->palette && k < l->levels; k++)
        n += (size_t)snprintf(out + n, room - n, "%s\"%02x%02x%02x\"", k ? "," : "", l->colours[k][0], l->colours[k][1],
                              l->colours[k][2]);
    n += (size_t)snprintf(out + n, room - n, "%s\n}\n", l->palette ? "]" : "");
    *bytes = n;
    return IL_OK;
}
