/* cache.c: see cache.h. */
#include "run/cache.h"

#include <stdlib.h>
#include <string.h>

enum {
    BYTES_A_TOKEN = 8192, /* of a session, that each token which it saves in the middle of a prompt may cost */
    SEEN_PART = 32,       /* tokens that were seen take at most one part in so many of the bytes */
    SEEN_MAX = 4096       /* nodes where no session stands, which are looked through one by one */
};

/* Tokens that follow the parent's. A root has none, and the name of its space. */
typedef struct node {
    struct node *parent, *children, *next;
    int32_t *tokens; /* [n] */
    size_t n, depth; /* depth: all tokens up to its end */
    il_session *session;
    size_t bytes;  /* of the session */
    uint64_t used; /* the turn when it was last */
    char *space;   /* [n_space] */
    size_t n_space;
} node;

struct cache {
    size_t bytes_max, seen_bytes, bytes, nodes; /* seen_bytes: of nodes; bytes: of sessions */
    uint64_t turn;
    node *roots;
    cache_stats stats;
};

cache *cache_open(size_t bytes_max) {
    cache *c = calloc(1, sizeof *c);
    if (c) c->bytes_max = bytes_max;
    return c;
}

/* ---- nodes ---- */

static size_t node_bytes(const node *k) { return sizeof *k + k->n * sizeof *k->tokens + k->n_space; }

static node **list_of(cache *c, const node *k) { return k->parent ? &k->parent->children : &c->roots; }

static void drop_session(cache *c, node *k) {
    if (!k->session) return;
    il_session_close(k->session);
    k->session = NULL;
    c->bytes -= k->bytes;
    c->stats.sessions--;
}

/* It has no children. */
static void node_free(cache *c, node *k) {
    node **link = list_of(c, k);
    while (*link != k) link = &(*link)->next;
    *link = k->next;
    drop_session(c, k);
    c->seen_bytes -= node_bytes(k);
    c->nodes--;
    free(k->tokens);
    free(k->space);
    free(k);
}

/* A node behind parent (NULL: a root) of copies of tokens [n]; NULL without memory. */
static node *node_new(cache *c, node *parent, const int32_t *tokens, size_t n, const text *space) {
    node *k = calloc(1, sizeof *k);
    size_t name = space ? space->bytes : 0;
    if (!k) return NULL;
    k->parent = parent;
    k->n = n;
    k->depth = n + (parent ? parent->depth : 0);
    k->used = c->turn;
    k->n_space = name;
    k->tokens = malloc((n + 1) * sizeof *k->tokens);
    k->space = malloc(name + 1);
    if (!k->tokens || !k->space) {
        free(k->tokens);
        free(k->space);
        free(k);
        return NULL;
    }
    if (n) memcpy(k->tokens, tokens, n * sizeof *tokens);
    if (name) memcpy(k->space, space->data, name);
    node **list = list_of(c, k);
    k->next = *list;
    *list = k;
    c->seen_bytes += node_bytes(k);
    c->nodes++;
    return k;
}

static node *root_of(const cache *c, const text *space) {
    for (node *k = c->roots; k; k = k->next)
        if (k->n_space == space->bytes && (!space->bytes || !memcmp(k->space, space->data, space->bytes))) return k;
    return NULL;
}

static node *child_of(const node *k, int32_t token) {
    for (node *child = k->children; child; child = child->next)
        if (child->tokens[0] == token) return child;
    return NULL;
}

/* How far tokens [n] were seen. */
typedef struct walk {
    node *at;      /* the last node that they go through whole */
    node *into;    /* one of its children, of which they share the first `shared` tokens, not all; NULL */
    node *session; /* the last node on the way where a session stands; NULL */
    size_t seen, shared;
} walk;

static walk walk_to(node *root, const int32_t *tokens, size_t n) {
    walk w = {.at = root};
    while (w.seen < n) {
        node *child = child_of(w.at, tokens[w.seen]);
        size_t shared = 0, most = n - w.seen;
        if (!child) break;
        while (shared < child->n && shared < most && child->tokens[shared] == tokens[w.seen + shared]) shared++;
        w.seen += shared;
        if (shared < child->n) {
            w.into = child;
            w.shared = shared;
            break;
        }
        w.at = child;
        if (child->session) w.session = child;
    }
    return w;
}

/* Cuts a node in two; returns the first of them, NULL without memory. */
static node *split(cache *c, node *k, size_t n) {
    int32_t *rest = malloc((k->n - n) * sizeof *rest);
    node *first = rest ? node_new(c, k->parent, k->tokens, n, NULL) : NULL;
    if (!first) {
        free(rest);
        return NULL;
    }
    memcpy(rest, k->tokens + n, (k->n - n) * sizeof *rest);
    node **link = list_of(c, k);
    while (*link != k) link = &(*link)->next;
    *link = k->next;
    k->next = NULL;
    k->parent = first;
    first->children = k;
    first->used = k->used;
    free(k->tokens);
    c->seen_bytes -= n * sizeof *rest;
    k->tokens = rest;
    k->n -= n;
    return first;
}

/* The node where tokens [n] end, made if there is none; NULL without memory. */
static node *reach(cache *c, node *root, const int32_t *tokens, size_t n) {
    walk w = walk_to(root, tokens, n);
    node *k = w.into ? split(c, w.into, w.shared) : w.at;
    if (k && w.seen < n) k = node_new(c, k, tokens + w.seen, n - w.seen, NULL);
    return k;
}

/* ---- what has to go ---- */

static node *next_of(const node *k) {
    if (k->children) return k->children;
    while (k && !k->next) k = k->parent;
    return k ? k->next : NULL;
}

static size_t saved_by(const node *k) {
    const node *before = k->parent;
    while (before && !before->session) before = before->parent;
    return k->depth - (before ? before->depth : 0);
}

/* Makes room for so many bytes of sessions. */
static void make_room(cache *c, size_t bytes) {
    while (c->bytes && c->bytes + bytes > c->bytes_max) {
        node *least = NULL;
        double least_worth = 0;
        for (node *k = c->roots; k; k = next_of(k)) {
            if (!k->session) continue;
            double worth = (double)saved_by(k) / (double)k->bytes / (double)(c->turn - k->used + 1);
            if (least && worth >= least_worth) continue;
            least = k;
            least_worth = worth;
        }
        drop_session(c, least);
    }
}

/* Forgets what was seen longest ago and leads to no session, all but `spare`. */
static void forget(cache *c, const node *spare) {
    while (c->seen_bytes > c->bytes_max / SEEN_PART || c->nodes > c->stats.sessions + SEEN_MAX) {
        node *oldest = NULL;
        for (node *k = c->roots; k; k = next_of(k))
            if (!k->children && !k->session && k != spare && (!oldest || k->used < oldest->used)) oldest = k;
        if (!oldest) return;
        node_free(c, oldest);
    }
}

void cache_close(cache *c) {
    if (!c) return;
    while (c->roots) {
        node *k = c->roots;
        while (k->children) k = k->children;
        node_free(c, k);
    }
    free(c);
}

/* ---- what is asked ---- */

size_t cache_find(cache *c, const text *space, const int32_t *tokens, size_t n, il_session **session, size_t *branch) {
    *session = NULL;
    *branch = 0;
    if (!c->bytes_max) return 0;
    c->turn++;
    c->stats.queries += n;
    node *root = root_of(c, space);
    if (!root) root = node_new(c, NULL, NULL, 0, space);
    if (!root) return 0;
    walk w = walk_to(root, tokens, n);
    size_t found = w.session ? w.session->depth : 0, apart = w.seen == n ? n - 1 : w.seen;
    if (found && il_session_fork(w.session->session, session, NULL)) found = 0;
    if (found) w.session->used = c->turn;
    if (apart >= found + CACHE_SAVED_MIN) *branch = apart;
    node *end = w.seen < n ? reach(c, root, tokens, n) : w.into ? w.into : w.at;
    if (end && !end->session) end->used = c->turn;
    forget(c, end);
    c->stats.hits += found;
    return found;
}

int cache_wants(const cache *c, const text *space, const int32_t *tokens, size_t n, size_t bytes, int always) {
    node *root = root_of(c, space);
    if (!root || bytes > c->bytes_max) return 0;
    walk w = walk_to(root, tokens, n);
    size_t before = w.session ? w.session->depth : 0;
    return n >= before + CACHE_SAVED_MIN && (always || bytes / BYTES_A_TOKEN <= n - before);
}

void cache_keep(cache *c, const text *space, const int32_t *tokens, size_t n, il_session *session) {
    il_session_stats stats;
    il_session_get_stats(session, &stats);
    node *root = root_of(c, space);
    if (!root && c->bytes_max) root = node_new(c, NULL, NULL, 0, space);
    node *k = root && stats.state_bytes <= c->bytes_max ? reach(c, root, tokens, n) : NULL;
    if (!k || k->session || saved_by(k) < CACHE_SAVED_MIN) {
        il_session_close(session);
        return;
    }
    make_room(c, stats.state_bytes);
    k->session = session;
    k->bytes = stats.state_bytes;
    k->used = c->turn;
    c->bytes += k->bytes;
    c->stats.sessions++;
    forget(c, k);
}

void cache_get_stats(const cache *c, cache_stats *stats) {
    *stats = c->stats;
    stats->bytes = c->bytes + c->seen_bytes;
}
