/* ready.c - which node runs next: a pairing heap threaded through the nodes, greatest sequence
 * number on top. Push is O(1), pop O(log n) amortised, and neither allocates.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/ready.h"

static tni_node *meld(tni_node *a, tni_node *b) {
    if (!a) return b;
    if (!b) return a;
    tni_node *top = a->seq > b->seq ? a : b, *below = top == a ? b : a;
    below->heap_next = top->heap_child;
    top->heap_child = below;
    return top;
}

void tni_ready_push(tni_node **heap, tni_node *n) {
    n->heap_child = n->heap_next = NULL;
    *heap = meld(*heap, n);
}

/* Melds a list of siblings two by two from the left, then all from the right. */
static tni_node *meld_all(tni_node *list) {
    tni_node *pairs = NULL, *heap = NULL;
    while (list) {
        tni_node *a = list, *b = a->heap_next;
        list = b ? b->heap_next : NULL;
        a->heap_next = NULL;
        if (b) b->heap_next = NULL;
        tni_node *pair = meld(a, b);
        pair->heap_next = pairs;
        pairs = pair;
    }
    while (pairs) {
        tni_node *next = pairs->heap_next;
        pairs->heap_next = NULL;
        heap = meld(heap, pairs);
        pairs = next;
    }
    return heap;
}

tni_node *tni_ready_pop(tni_node **heap) {
    tni_node *top = *heap;
    if (!top) return NULL;
    *heap = meld_all(top->heap_child);
    top->heap_child = NULL;
    return top;
}
