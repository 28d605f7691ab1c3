/* lanes.h: the fixed binary tree in which the gradients of a batch's lanes are added, and which part of it is whose.
 * Knows nothing of gradients. */
#ifndef IL_TRAIN_LANES_H
#define IL_TRAIN_LANES_H

enum {
    IL_LANES_MAX = 1024, /* a power of two */
    IL_NODES_MAX =
        2 * 10 + 1 /* whole subtrees of which any run of lanes consists, at most, and one that is being made */
};

/* The sum of lanes first .. first+size-1: a whole subtree, size a power of two that divides first. */
typedef struct il_node {
    int first, size;
} il_node;

/* Subtrees beside each other, lanes ascending, of which no two are the two halves of a larger one. */
typedef struct il_nodes {
    int n;
    il_node node[IL_NODES_MAX];
} il_nodes;

/* Rank r has lanes il_lanes_begin(…, r) .. il_lanes_begin(…, r+1)-1: at least one, as long as ranks ≤ lanes. */
int il_lanes_begin(int lanes, int ranks, int rank);
/* Puts a node behind the others. Returns how many additions follow: each adds the last node to the one before it, and
 * takes its place. */
int il_nodes_add(il_nodes *nodes, il_node node);
/* Of the lanes from .. to-1, one after the other; *most (NULL allowed): how many there are at once, at most. */
il_nodes il_nodes_of(int from, int to, int *most);

#endif
