/* pickle.c: see pickle.h. Values are nodes in one block, and refer to others by their numbers; every opcode makes a
 * bounded number of them. Nothing is walked but the dictionary at the end, so that no nesting costs more than its
 * bytes. Refused are names that do not fit a dictionary of tensors where they stand, and numbers that no tensor has. */
#include "tensor/pickle.h"

#include <string.h>

#include "base/error.h"
#include "base/utf8.h"

enum { BYTES_MAX = 1 << 24, NODES_MAX = 1 << 20 };

typedef enum kind {
    NOTHING, /* None */
    NUMBER,  /* truth values too */
    REAL,
    TEXT,
    MARK,
    TUPLE,
    LIST, /* and sets, of which nothing is read */
    DICT,
    GLOBAL,
    STORAGE,
    TENSOR
} kind;

typedef enum global { ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, STORAGES } global;
static const struct {
    const char *module, *name;
    global is;
    il_dtype dtype; /* of a storage */
} globals[] = {{"collections", "OrderedDict", ORDERED_DICT, IL_F32},
               {"torch._utils", "_rebuild_tensor_v2", REBUILD_TENSOR, IL_F32},
               {"torch._utils", "_rebuild_parameter", REBUILD_PARAMETER, IL_F32},
               {"torch", "FloatStorage", STORAGES, IL_F32},
               {"torch", "BFloat16Storage", STORAGES, IL_BF16},
               {"torch", "HalfStorage", STORAGES, IL_F16},
               {"torch", "DoubleStorage", STORAGES, IL_F64},
               {"torch", "LongStorage", STORAGES, IL_I64},
               {"torch", "IntStorage", STORAGES, IL_I32},
               {"torch", "CharStorage", STORAGES, IL_I8},
               {"torch", "ByteStorage", STORAGES, IL_U8},
               {"torch", "BoolStorage", STORAGES, IL_U8}};
enum { GLOBALS = sizeof globals / sizeof globals[0] };

/* What a number refers to depends on the kind. */
typedef struct node {
    kind is;
    uint32_t first, n; /* of a tuple: its members; first: of a dictionary, its newest entries */
    int64_t number;    /* of a global, its index */
    const char *text;  /* [bytes] */
    size_t bytes;
    uint32_t storage;            /* of a tensor */
    uint32_t offset, size, turn; /* the same: its numbers, its shape and strides (tuples) */
} node;

/* Members of tuples, and spans of entries of dictionaries: those that one opcode put there. */
typedef struct machine {
    const il_allocator *memory;
    const char *path;
    const unsigned char *begin, *at, *end;
    node *nodes;
    size_t n_nodes, nodes_capacity;
    uint32_t *members; /* of tuples; of dictionaries: key, value, number of the entry before */
    size_t n_members, members_capacity;
    uint32_t *stack;
    size_t n_stack, stack_capacity;
    uint32_t *memo;
    size_t n_memo, memo_capacity;
    il_error *error;
} machine;

/* ---- what is said ---- */

static il_status damaged(const machine *m, const char *what) {
    return il_fail(m->error, IL_ERR_FORMAT, "%s: damaged: byte %zu of its pickle: %s", m->path,
                   (size_t)(m->at - m->begin), what);
}

static il_status no_memory(const machine *m) { return il_fail(m->error, IL_ERR_NOMEM, "%s: out of memory", m->path); }

static const char *opcode_name(unsigned char code) {
    static const struct {
        char code;
        const char *name;
    } names[] = {{'0', "POP"},
                 {'1', "POP_MARK"},
                 {'2', "DUP"},
                 {'F', "FLOAT"},
                 {'I', "INT"},
                 {'L', "LONG"},
                 {'M', "BININT2"},
                 {'P', "PERSID"},
                 {'S', "STRING"},
                 {'T', "BINSTRING"},
                 {'V', "UNICODE"},
                 {'d', "DICT"},
                 {'i', "INST"},
                 {'o', "OBJ"},
                 {'g', "GET"},
                 {'p', "PUT"},
                 {'l', "LIST"},
                 {'\x82', "EXT1"},
                 {'\x83', "EXT2"},
                 {'\x84', "EXT4"},
                 {'\x8b', "LONG4"},
                 {'B', "BINBYTES"},
                 {'C', "SHORT_BINBYTES"},
                 {'\x8c', "SHORT_BINUNICODE"},
                 {'\x8d', "BINUNICODE8"},
                 {'\x8e', "BINBYTES8"},
                 {'\x90', "ADDITEMS"},
                 {'\x91', "FROZENSET"},
                 {'\x92', "NEWOBJ_EX"},
                 {'\x93', "STACK_GLOBAL"},
                 {'\x94', "MEMOIZE"},
                 {'\x95', "FRAME"},
                 {'\x96', "BYTEARRAY8"},
                 {'\x97', "NEXT_BUFFER"},
                 {'\x98', "READONLY_BUFFER"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if ((unsigned char)names[i].code == code) return names[i].name;
    return NULL;
}

static il_status refuse_opcode(const machine *m, unsigned char code) {
    const char *name = opcode_name(code);
    if (name)
        return il_fail(m->error, IL_ERR_UNSUPPORTED,
                       "%s: its pickle has the opcode %s, which no file of tensors needs; nothing was executed",
                       m->path, name);
    return il_fail(m->error, IL_ERR_FORMAT, "%s: damaged: byte %zu of its pickle: %u is no opcode", m->path,
                   (size_t)(m->at - m->begin) - 1, code);
}

/* ---- the machine ---- */

static int add(const machine *m, uint32_t **block, size_t *capacity, size_t *n, uint32_t x) {
    void *grown = *block;
    if (!il_grow(m->memory, &grown, capacity, *n, *n + 1, sizeof x)) return 0;
    *block = grown;
    (*block)[(*n)++] = x;
    return 1;
}

static il_status push(machine *m, uint32_t number) {
    return add(m, &m->stack, &m->stack_capacity, &m->n_stack, number) ? IL_OK : no_memory(m);
}

static il_status push_new(machine *m, node x) {
    void *grown = m->nodes;
    if (m->n_nodes >= NODES_MAX)
        return il_fail(m->error, IL_ERR_UNSUPPORTED, "%s: its pickle has more than %d values", m->path, NODES_MAX);
    if (!il_grow(m->memory, &grown, &m->nodes_capacity, m->n_nodes, m->n_nodes + 1, sizeof x)) return no_memory(m);
    m->nodes = grown;
    m->nodes[m->n_nodes] = x;
    return push(m, (uint32_t)m->n_nodes++);
}

static il_status push_kind(machine *m, kind is) { return push_new(m, (node){.is = is}); }
static il_status push_number(machine *m, int64_t x) { return push_new(m, (node){.is = NUMBER, .number = x}); }

static node *at_number(const machine *m, uint32_t number) { return &m->nodes[number]; }

/* The value that is so far below the top; NULL: there is none, or a mark is in its place. */
static node *below(const machine *m, size_t depth) {
    if (depth >= m->n_stack) return NULL;
    node *x = at_number(m, m->stack[m->n_stack - 1 - depth]);
    return x->is == MARK ? NULL : x;
}

/* How many values are above the last mark; SIZE_MAX: there is no mark. */
static size_t above_mark(const machine *m) {
    for (size_t n = 0; n < m->n_stack; n++)
        if (at_number(m, m->stack[m->n_stack - 1 - n])->is == MARK) return n;
    return SIZE_MAX;
}

static int take(machine *m, size_t n, const unsigned char **bytes) {
    if ((size_t)(m->end - m->at) < n) return 0;
    *bytes = m->at;
    m->at += n;
    return 1;
}

/* n bytes as an unsigned number, the least significant first. */
static int take_number(machine *m, size_t n, uint64_t *x) {
    const unsigned char *bytes;
    if (!take(m, n, &bytes)) return 0;
    *x = 0;
    memcpy(x, bytes, n);
    return 1;
}

static int is_text(const node *x, const char *text) {
    return x && x->is == TEXT && x->bytes == strlen(text) && memcmp(x->text, text, x->bytes) == 0;
}

static const node *member(const machine *m, const node *tuple, uint32_t i) {
    return at_number(m, m->members[tuple->first + i]);
}

/* ---- opcodes ---- */

static il_status push_text(machine *m, size_t length_bytes) {
    uint64_t bytes;
    const unsigned char *text;
    if (!take_number(m, length_bytes, &bytes) || bytes > SIZE_MAX || !take(m, (size_t)bytes, &text))
        return damaged(m, "a text reaches past its end");
    return push_new(m, (node){.is = TEXT, .text = (const char *)text, .bytes = (size_t)bytes});
}

/* An integer of any length, of which those of up to 8 bytes are kept. */
static il_status push_long(machine *m) {
    uint64_t n, x = 0;
    if (!take_number(m, 1, &n) || n > 8 || !take_number(m, (size_t)n, &x))
        return damaged(m, "a number that is too long");
    if (n && n < 8 && x >> (8 * n - 1)) x |= UINT64_MAX << 8 * n;
    return push_number(m, (int64_t)x);
}

/* A line of the pickle. */
static il_status take_line(machine *m, const char **text, size_t *bytes) {
    const unsigned char *end = memchr(m->at, '\n', (size_t)(m->end - m->at));
    if (!end) return damaged(m, "a name reaches past its end");
    *text = (const char *)m->at;
    *bytes = (size_t)(end - m->at);
    m->at = end + 1;
    return IL_OK;
}

static int is_plain(const char *text, size_t bytes) {
    size_t length;
    for (size_t at = 0; at < bytes; at += length) {
        length = (size_t)il_utf8_length(text + at, bytes - at);
        if (!length || (unsigned char)text[at] < 0x20) return 0;
    }
    return bytes > 0;
}

static il_status push_global(machine *m) {
    const char *module = NULL, *name = NULL;
    size_t module_bytes = 0, name_bytes = 0;
    IL_TRY(take_line(m, &module, &module_bytes));
    IL_TRY(take_line(m, &name, &name_bytes));
    for (int i = 0; i < GLOBALS; i++)
        if (strlen(globals[i].module) == module_bytes && memcmp(globals[i].module, module, module_bytes) == 0 &&
            strlen(globals[i].name) == name_bytes && memcmp(globals[i].name, name, name_bytes) == 0)
            return push_new(m, (node){.is = GLOBAL, .number = i});
    if (!is_plain(module, module_bytes) || !is_plain(name, name_bytes)) return damaged(m, "a name that is none");
    return il_fail(m->error, IL_ERR_UNSUPPORTED,
                   "%s: its pickle asks for %.*s.%.*s, which no file of tensors needs; nothing was executed", m->path,
                   module_bytes < 80 ? (int)module_bytes : 80, module, name_bytes < 80 ? (int)name_bytes : 80, name);
}

/* The n values on top as a tuple in their place. */
static il_status push_tuple(machine *m, size_t n) {
    node tuple = {.is = TUPLE, .first = (uint32_t)m->n_members, .n = (uint32_t)n};
    for (size_t i = 0; i < n; i++) {
        if (!below(m, n - 1 - i)) return damaged(m, "a tuple of more values than there are");
        if (!add(m, &m->members, &m->members_capacity, &m->n_members, m->stack[m->n_stack - n + i]))
            return no_memory(m);
    }
    m->n_stack -= n;
    return push_new(m, tuple);
}

static il_status push_marked_tuple(machine *m) {
    size_t n = above_mark(m);
    if (n == SIZE_MAX) return damaged(m, "a tuple without a beginning");
    IL_TRY(push_tuple(m, n));
    m->stack[m->n_stack - 2] = m->stack[m->n_stack - 1]; /* in the place of the mark */
    m->n_stack--;
    return IL_OK;
}

/* Puts n/2 pairs on top into the dictionary below them; of a list, drops n values. */
static il_status put_into(machine *m, kind container, size_t n, size_t marks) {
    if (n == SIZE_MAX || m->n_stack < n + marks + 1) return damaged(m, "values that go nowhere");
    uint32_t number = m->stack[m->n_stack - n - marks - 1];
    if (at_number(m, number)->is != container) return damaged(m, "values that go nowhere");
    if (container == DICT && n % 2) return damaged(m, "a key without a value");
    for (size_t i = 0; container == DICT && i < n; i += 2) {
        uint32_t *pair = &m->stack[m->n_stack - n + i];
        if (at_number(m, pair[0])->is == MARK || at_number(m, pair[1])->is == MARK)
            return damaged(m, "a key without a value");
        if (!add(m, &m->members, &m->members_capacity, &m->n_members, m->stack[m->n_stack - n + i]) ||
            !add(m, &m->members, &m->members_capacity, &m->n_members, m->stack[m->n_stack - n + i + 1]) ||
            !add(m, &m->members, &m->members_capacity, &m->n_members, at_number(m, number)->first))
            return no_memory(m);
        at_number(m, number)->first = (uint32_t)m->n_members; /* just behind it; 0: none */
    }
    m->n_stack -= n + marks;
    return IL_OK;
}

/* ('storage', type, key, location, number of entries) */
static il_status push_storage(machine *m) {
    const node *id = below(m, 0);
    if (!id || id->is != TUPLE || id->n != 5 || !is_text(member(m, id, 0), "storage"))
        return damaged(m, "a reference that is not to a storage");
    const node *type = member(m, id, 1), *key = member(m, id, 2), *count = member(m, id, 4);
    if (type->is != GLOBAL || globals[type->number].is != STORAGES || key->is != TEXT || count->is != NUMBER ||
        count->number < 0 || !is_plain(key->text, key->bytes))
        return damaged(m, "a storage that says nothing of its kind, place and size");
    node storage = {.is = STORAGE,
                    .first = (uint32_t)type->number,
                    .number = count->number,
                    .text = key->text,
                    .bytes = key->bytes};
    m->n_stack--;
    return push_new(m, storage);
}

/* (storage, offset, shape, strides, requires_grad, hooks): a tensor. */
static il_status push_tensor(machine *m, const node *arguments) {
    if (arguments->n < 6 || arguments->n > 7) return damaged(m, "a tensor of another number of parts");
    const node *storage = member(m, arguments, 0), *offset = member(m, arguments, 1), *size = member(m, arguments, 2),
               *stride = member(m, arguments, 3);
    if (storage->is != STORAGE || offset->is != NUMBER || offset->number < 0 || size->is != TUPLE ||
        stride->is != TUPLE || size->n != stride->n)
        return damaged(m, "a tensor without a storage, a place or a shape");
    for (uint32_t i = 0; i < size->n; i++)
        if (member(m, size, i)->is != NUMBER || member(m, stride, i)->is != NUMBER || member(m, size, i)->number < 0 ||
            member(m, stride, i)->number < 0)
            return damaged(m, "a tensor whose shape cannot be");
    node tensor = {.is = TENSOR,
                   .storage = m->members[arguments->first],
                   .offset = m->members[arguments->first + 1],
                   .size = m->members[arguments->first + 2],
                   .turn = m->members[arguments->first + 3]};
    return push_new(m, tensor);
}

/* A name applied to a tuple: what is known of it is what comes out, and nothing is called. */
static il_status apply(machine *m) {
    const node *arguments = below(m, 0), *name = below(m, 1);
    if (!arguments || !name || name->is != GLOBAL || arguments->is != TUPLE)
        return damaged(m, "what is called is no name, or has no arguments");
    m->n_stack -= 2;
    switch (globals[name->number].is) {
    case ORDERED_DICT:
        if (arguments->n) return damaged(m, "a dictionary that begins with entries");
        return push_kind(m, DICT);
    case REBUILD_TENSOR: return push_tensor(m, arguments);
    case REBUILD_PARAMETER:
        if (arguments->n != 3 || member(m, arguments, 0)->is != TENSOR)
            return damaged(m, "a parameter without a tensor");
        return push(m, m->members[arguments->first]);
    case STORAGES: break;
    }
    return damaged(m, "a storage that is made, not referred to");
}

/* Attributes of an object: of a dictionary (_metadata of torch's) they say nothing of its entries. */
static il_status build(machine *m) {
    if (!below(m, 0) || !below(m, 1) || below(m, 1)->is != DICT)
        return damaged(m, "attributes of what is no dictionary");
    m->n_stack--;
    return IL_OK;
}

static il_status put_memo(machine *m, size_t length_bytes) {
    uint64_t number;
    if (!take_number(m, length_bytes, &number) || !below(m, 0)) return damaged(m, "nothing to be kept");
    /* numbers are given one after the other */
    if (number > m->n_memo) return damaged(m, "the number of what is kept is not the next one");
    if (number < m->n_memo) {
        m->memo[number] = m->stack[m->n_stack - 1];
        return IL_OK;
    }
    return add(m, &m->memo, &m->memo_capacity, &m->n_memo, m->stack[m->n_stack - 1]) ? IL_OK : no_memory(m);
}

static il_status get_memo(machine *m, size_t length_bytes) {
    uint64_t number;
    if (!take_number(m, length_bytes, &number) || number >= m->n_memo) return damaged(m, "what was never kept");
    return push(m, m->memo[number]);
}

static il_status push_bytes_number(machine *m, size_t n, int is_signed) {
    uint64_t x;
    if (!take_number(m, n, &x)) return damaged(m, "a number reaches past its end");
    return push_number(m, is_signed ? (int32_t)(uint32_t)x : (int64_t)x);
}

static il_status step(machine *m, unsigned char code) {
    uint64_t number;
    switch (code) {
    case '(': return push_kind(m, MARK);
    case ')': return push_new(m, (node){.is = TUPLE});
    case ']':                             /* EMPTY_LIST */
    case 0x8f: return push_kind(m, LIST); /* EMPTY_SET */
    case '}': return push_kind(m, DICT);
    case 'N': return push_kind(m, NOTHING);
    case 0x88: return push_number(m, 1);
    case 0x89: return push_number(m, 0);
    case 'K': return push_bytes_number(m, 1, 0);
    case 'M': return push_bytes_number(m, 2, 0);
    case 'J': return push_bytes_number(m, 4, 1);
    case 'G': return take_number(m, 8, &number) ? push_kind(m, REAL) : damaged(m, "a number reaches past its end");
    case 0x8a: return push_long(m);
    case 'X': return push_text(m, 4);
    case 'U': return push_text(m, 1);
    case 'c': return push_global(m);
    case 't': return push_marked_tuple(m);
    case 0x85:
    case 0x86:
    case 0x87: return push_tuple(m, code - 0x84u);
    case 'a': return put_into(m, LIST, 1, 0);
    case 'e': return put_into(m, LIST, above_mark(m), 1);
    case 's': return put_into(m, DICT, 2, 0);
    case 'u': return put_into(m, DICT, above_mark(m), 1);
    case 'Q': return push_storage(m);
    case 'R':
    case 0x81: return apply(m); /* REDUCE, NEWOBJ */
    case 'b': return build(m);
    case 'q': return put_memo(m, 1);
    case 'r': return put_memo(m, 4);
    case 'h': return get_memo(m, 1);
    case 'j': return get_memo(m, 4);
    default: return refuse_opcode(m, code);
    }
}

static il_status execute(machine *m) {
    const unsigned char *byte;
    if ((size_t)(m->end - m->at) < 2 || m->at[0] != 0x80) return damaged(m, "it does not begin with a protocol");
    if (m->at[1] != 2)
        return il_fail(m->error, IL_ERR_UNSUPPORTED, "%s: its pickle is of protocol %d; torch writes 2", m->path,
                       m->at[1]);
    m->at += 2;
    while (take(m, 1, &byte)) {
        if (*byte == '.') return IL_OK;
        IL_TRY(step(m, *byte));
    }
    return damaged(m, "it ends without STOP");
}

/* ---- what it left ---- */

static void read_tensor(const machine *m, const node *key, const node *x, il_pickle_tensor *t) {
    const node *storage = at_number(m, x->storage), *size = at_number(m, x->size), *stride = at_number(m, x->turn);
    *t = (il_pickle_tensor){.name = key->text,
                            .name_bytes = key->bytes,
                            .storage = storage->text,
                            .storage_bytes = storage->bytes,
                            .storage_count = (size_t)storage->number,
                            .dtype = globals[storage->first].dtype,
                            .offset = (size_t)at_number(m, x->offset)->number,
                            .rank = (int)size->n};
    for (uint32_t i = 0; i < size->n; i++) {
        t->shape[i] = (size_t)member(m, size, i)->number;
        t->stride[i] = (size_t)member(m, stride, i)->number;
    }
}

static il_status collect(const machine *m, il_pickle *pickle) {
    const node *root = below(m, 0);
    if (!root || m->n_stack != 1) return damaged(m, "it leaves more or less than one value");
    if (root->is != DICT)
        return il_fail(m->error, IL_ERR_UNSUPPORTED, "%s: what it holds is no dictionary of tensors", m->path);
    size_t n = 0;
    for (uint32_t at = root->first; at; at = m->members[at - 1]) n++;
    pickle->tensors = il_alloc(m->memory, n, sizeof *pickle->tensors);
    if (!pickle->tensors) return no_memory(m);
    for (uint32_t at = root->first; at; at = m->members[at - 1]) {
        const node *key = at_number(m, m->members[at - 3]), *x = at_number(m, m->members[at - 2]);
        if (key->is != TEXT || !is_plain(key->text, key->bytes)) return damaged(m, "a key that is no name");
        if (x->is == DICT)
            return il_fail(m->error, IL_ERR_UNSUPPORTED,
                           "%s: its entry %.*s is a dictionary: a training checkpoint, of which only the model's own "
                           "dictionary can be read",
                           m->path, key->bytes < 80 ? (int)key->bytes : 80, key->text);
        if (x->is != TENSOR) {
            pickle->skipped++;
            continue;
        }
        if (at_number(m, x->size)->n > IL_PICKLE_RANK_MAX)
            return il_fail(m->error, IL_ERR_UNSUPPORTED, "%s: tensor %.*s: more than %d dimensions", m->path,
                           key->bytes < 80 ? (int)key->bytes : 80, key->text, IL_PICKLE_RANK_MAX);
        read_tensor(m, key, x, &pickle->tensors[n - 1 - pickle->n]);
        pickle->n++;
    }
    /* the newest entry came first, so that they stand at the end */
    memmove(pickle->tensors, pickle->tensors + pickle->skipped, pickle->n * sizeof *pickle->tensors);
    return IL_OK;
}

il_status il_pickle_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes,
                          il_pickle *pickle, il_error *error) {
    machine m = {.memory = allocator, .path = path, .begin = data, .at = data, .error = error};
    *pickle = (il_pickle){.allocator = allocator};
    if (bytes > BYTES_MAX)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: a pickle of %zu bytes: more than 16 MiB are not read", path,
                       bytes);
    m.end = m.begin + bytes;
    il_status status = execute(&m);
    if (status == IL_OK) status = collect(&m, pickle);
    il_free(allocator, m.nodes);
    il_free(allocator, m.members);
    il_free(allocator, m.stack);
    il_free(allocator, m.memo);
    if (status != IL_OK) il_pickle_close(pickle);
    return status;
}

void il_pickle_close(il_pickle *pickle) {
    if (pickle->allocator) il_free(pickle->allocator, pickle->tensors);
    *pickle = (il_pickle){0};
}
