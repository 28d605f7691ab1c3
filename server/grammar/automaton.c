/* automaton.c: see automaton.h. States, and where bytes lead from them, as far as that was asked for. */
#include "grammar/automaton.h"

#include "grammar/steps.h"

#include <stdlib.h>
#include <string.h>

enum { STATES_MAX = 2048, FRAMES_MAX = 32768, UNKNOWN = -3 };

/* ---- tables ---- */

static uint64_t mix(uint64_t hash, uint64_t x) {
    hash = (hash ^ x) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

static uint64_t hash_frame(const frame *f) {
    uint64_t hash = mix((uint64_t)f->at, (uint64_t)(uint32_t)f->node << 32 | (uint32_t)f->parent);
    return mix(hash,
               (uint64_t)(uint32_t)f->step << 32 | (uint64_t)f->depth << 16 | (uint64_t)f->phase << 8 | f->detail);
}

static int same_frame(const frame *a, const frame *b) {
    return a->at == b->at && a->node == b->node && a->parent == b->parent && a->step == b->step &&
           a->depth == b->depth && a->phase == b->phase && a->detail == b->detail;
}

static uint64_t hash_state(const int32_t *members, size_t n) {
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++) hash = mix(hash, (uint32_t)members[i]);
    return hash;
}

/* A new table for twice as many. */
static int32_t *new_table(size_t capacity) {
    int32_t *table = malloc(2 * capacity * sizeof *table);
    for (size_t i = 0; table && i < 2 * capacity; i++) table[i] = -1;
    return table;
}

static void put(int32_t *table, size_t capacity, uint64_t hash, int32_t id) {
    size_t at = hash & (2 * capacity - 1);
    while (table[at] >= 0) at = (at + 1) & (2 * capacity - 1);
    table[at] = id;
}

static int grow_frames(automaton *a) {
    size_t capacity = a->frames_capacity ? 2 * a->frames_capacity : 128;
    if (capacity > FRAMES_MAX) return 0;
    frame *frames = realloc(a->frames, capacity * sizeof *frames);
    if (frames) a->frames = frames;
    uint32_t *stamps = realloc(a->stamps, capacity * sizeof *stamps);
    if (stamps) a->stamps = stamps;
    int32_t *table = new_table(capacity);
    if (!frames || !stamps || !table) {
        free(table);
        return 0;
    }
    for (size_t i = 0; i < a->n_frames; i++) put(table, capacity, hash_frame(&frames[i]), (int32_t)i);
    free(a->frame_table);
    a->frame_table = table;
    a->frames_capacity = capacity;
    return 1;
}

int32_t step_frame(automaton *a, const frame *f) {
    a->work++;
    uint64_t hash = hash_frame(f);
    size_t mask = 2 * a->frames_capacity - 1;
    for (size_t at = hash & mask; a->frames_capacity && a->frame_table[at] >= 0; at = (at + 1) & mask)
        if (same_frame(&a->frames[a->frame_table[at]], f)) return a->frame_table[at];
    if (a->n_frames == a->frames_capacity && !grow_frames(a)) {
        a->full = 1;
        return -1;
    }
    a->frames[a->n_frames] = *f;
    a->stamps[a->n_frames] = 0;
    put(a->frame_table, a->frames_capacity, hash, (int32_t)a->n_frames);
    return (int32_t)a->n_frames++;
}

static int grow_states(automaton *a) {
    size_t capacity = a->states_capacity ? 2 * a->states_capacity : 16;
    if (capacity > STATES_MAX) return 0;
    state *states = realloc(a->states, capacity * sizeof *states);
    if (states) a->states = states;
    int32_t *table = new_table(capacity);
    if (!states || !table) {
        free(table);
        return 0;
    }
    for (size_t i = 0; i < a->n_states; i++)
        put(table, capacity, hash_state(a->members + states[i].first, (size_t)states[i].n), (int32_t)i);
    free(a->state_table);
    a->state_table = table;
    a->states_capacity = capacity;
    return 1;
}

static int grow_members(automaton *a, size_t more) {
    size_t capacity = a->members_capacity ? a->members_capacity : 256;
    while (capacity < a->n_members + more) capacity *= 2;
    if (capacity == a->members_capacity) return 1;
    int32_t *members = realloc(a->members, capacity * sizeof *members);
    if (!members) return 0;
    a->members = members;
    a->members_capacity = capacity;
    return 1;
}

/* The state of the frames that were found. */
static int found_state(automaton *a) {
    if (a->full) return AUTOMATON_FULL;
    if (!a->n_found) return AUTOMATON_DEAD;
    for (size_t i = 1; i < a->n_found; i++) { /* nearly in order already */
        int32_t x = a->found[i];
        size_t k = i;
        for (; k > 0 && a->found[k - 1] > x; k--) a->found[k] = a->found[k - 1];
        a->found[k] = x;
    }
    uint64_t hash = hash_state(a->found, a->n_found);
    size_t mask = 2 * a->states_capacity - 1, bytes = a->n_found * sizeof *a->found;
    for (size_t at = hash & mask; a->states_capacity && a->state_table[at] >= 0; at = (at + 1) & mask) {
        const state *s = &a->states[a->state_table[at]];
        if ((size_t)s->n == a->n_found && !memcmp(a->members + s->first, a->found, bytes)) return a->state_table[at];
    }
    if ((a->n_states == a->states_capacity && !grow_states(a)) || !grow_members(a, a->n_found)) return AUTOMATON_FULL;
    state *s = &a->states[a->n_states];
    s->first = (int32_t)a->n_members;
    s->n = (int32_t)a->n_found;
    for (int i = 0; i < 256; i++) s->next[i] = UNKNOWN;
    memcpy(a->members + a->n_members, a->found, bytes);
    a->n_members += a->n_found;
    put(a->state_table, a->states_capacity, hash, (int32_t)a->n_states);
    return (int)a->n_states++;
}

/* ---- searches ---- */

void step_add(automaton *a, frame f) {
    for (;;) {
        int32_t id = step_frame(a, &f);
        const grammar_node *n = step_node(a, &f);
        if (id < 0 || a->stamps[id] == a->stamp) return;
        a->stamps[id] = a->stamp;
        if (f.phase == VALUE && n->kind == GRAMMAR_UNION) {
            for (size_t i = 0; i < n->n_members; i++) {
                frame member = f;
                member.node = n->members[i];
                if (step_fits(a, member.node, f.depth)) step_add(a, member);
            }
            return;
        }
        if (a->n_found == THREADS_MAX) return;
        a->found[a->n_found++] = id;
        int complete = 0;
        if (f.phase == WORD)
            complete = n->words[f.at >> 32].n == (size_t)f.step;
        else if (f.phase >= WHOLE && f.phase < WORD)
            complete = step_number_complete(n, &f);
        if (!complete) return;
        f = a->frames[f.parent];
    }
}

static void begin_search(automaton *a) {
    a->n_found = 0;
    a->full = 0;
    a->stamp++;
}

int automaton_next(automaton *a, int from, unsigned char byte) {
    int next = a->states[from].next[byte];
    if (next != UNKNOWN) return next;
    begin_search(a);
    for (int32_t i = 0; i < a->states[from].n; i++)
        step_advance(a, a->frames[a->members[a->states[from].first + i]], byte);
    next = found_state(a);
    if (next != AUTOMATON_FULL) a->states[from].next[byte] = next;
    return next;
}

automaton *automaton_open(const grammar *g) {
    automaton *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->grammar = g;
    begin_search(a);
    int32_t end = step_frame(a, &(frame){.parent = -1, .phase = END});
    if (end >= 0) step_add(a, (frame){.node = g->root, .parent = end, .phase = VALUE});
    a->current = found_state(a);
    if (a->current >= 0) return a;
    automaton_close(a);
    return NULL;
}

void automaton_close(automaton *a) {
    if (!a) return;
    free(a->frames);
    free(a->stamps);
    free(a->frame_table);
    free(a->states);
    free(a->state_table);
    free(a->members);
    free(a);
}

int automaton_current(const automaton *a) { return a->current; }

static int32_t carry(const automaton *from, automaton *to, int32_t id) {
    if (id < 0) return id;
    frame f = from->frames[id];
    f.parent = carry(from, to, f.parent);
    return step_frame(to, &f);
}

int automaton_clear(automaton *a) {
    automaton *old = malloc(sizeof *old);
    if (!old) return 0;
    *old = *a;
    *a = (automaton){.grammar = old->grammar, .cleared = old->cleared + 1, .work = old->work};
    begin_search(a);
    const state *s = &old->states[old->current];
    for (int32_t i = 0; i < s->n; i++) a->found[a->n_found++] = carry(old, a, old->members[s->first + i]);
    a->current = found_state(a);
    automaton_close(old);
    return a->current >= 0;
}

unsigned automaton_cleared(const automaton *a) { return a->cleared; }

uint64_t automaton_work(const automaton *a) { return a->work; }

int automaton_read(automaton *a, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int next = automaton_next(a, a->current, (unsigned char)bytes[i]);
        if (next == AUTOMATON_FULL) {
            if (!automaton_clear(a)) return -1;
            next = automaton_next(a, a->current, (unsigned char)bytes[i]);
        }
        if (next < 0) return next == AUTOMATON_DEAD ? 0 : -1;
        a->current = next;
    }
    return 1;
}

int automaton_complete(const automaton *a, int at) {
    const state *s = &a->states[at];
    for (int32_t i = 0; i < s->n; i++)
        if (a->frames[a->members[s->first + i]].phase == END) return 1;
    return 0;
}

int automaton_ended(automaton *a) {
    if (!automaton_complete(a, a->current)) return 0;
    for (int c = 0; c < 256 && a->states[a->current].n > 1; c++) {
        int next = automaton_next(a, a->current, (unsigned char)c);
        if (next == AUTOMATON_FULL && automaton_clear(a)) next = automaton_next(a, a->current, (unsigned char)c);
        if (next != AUTOMATON_DEAD) return 0;
    }
    return 1;
}

size_t automaton_room(const automaton *a, int at, int *only) {
    const state *s = &a->states[at];
    size_t room = 0;
    *only = 1;
    for (int32_t i = 0; i < s->n; i++) {
        const frame *f = &a->frames[a->members[s->first + i]];
        const grammar_node *n = step_node(a, f);
        if (f->phase != TEXT || (n->kind == GRAMMAR_OBJECT && f->at >= 0)) {
            *only = 0;
            continue;
        }
        size_t here = n->kind == GRAMMAR_STRING && n->most >= 0 ? (size_t)(n->most - f->at) : SIZE_MAX;
        if (here > room) room = here;
    }
    return room;
}
