/* lanes.c: see lanes.h. */
#include "train/lanes.h"

#include <stddef.h>

int il_lanes_begin(int lanes, int ranks, int rank) { return (int)((long)lanes * rank / ranks); }

int il_nodes_add(il_nodes *nodes, il_node node) {
    int additions = 0;
    nodes->node[nodes->n++] = node;
    for (; nodes->n > 1; additions++) {
        il_node *left = &nodes->node[nodes->n - 2], *right = left + 1;
        if (left->size != right->size || left->first % (2 * left->size)) break;
        left->size *= 2;
        nodes->n--;
    }
    return additions;
}

il_nodes il_nodes_of(int from, int to, int *most) {
    il_nodes nodes = {.n = 0};
    int largest = 0;
    for (int lane = from; lane < to; lane++) {
        int additions = il_nodes_add(&nodes, (il_node){lane, 1});
        if (nodes.n + additions > largest) largest = nodes.n + additions;
    }
    if (most) *most = largest;
    return nodes;
}
