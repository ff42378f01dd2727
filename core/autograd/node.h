/* node.h - the inside of a tape node; for core/autograd only.
 *
 * A node is one block: the head, one slot per tensor argument (lists flattened), what is kept of
 * them, one value per parameter, then the numbers they point to. Results are learned after the
 * kernel ran: theirs are in the same block when the guess made for them was right, else in a second
 * one.
 *
 *   [ head | argument slots | result slots | kept | values | copied lists, sizes and strides ]
 *
 * Invariants: an edge leads to a node with a smaller sequence number, or to a leaf; a kept value
 * holds storage and geometry, never a tensor, so that no node can own what it made. Numbers are
 * taken without locks: one more than the largest of the thread's last and all the edges lead to.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_NODE_H
#define TENON_AUTOGRAD_NODE_H

#include "core/autograd/tape.h"
#include "core/dispatch/registry.h"

enum { TNI_EDGE_NONE = 0, TNI_EDGE_NODE, TNI_EDGE_LEAF };

typedef struct tni_edge { /* who gets a gradient; owns what it points to */
    union {
        tni_node *node;
        tn_tensor *leaf;
    };
    uint32_t out; /* result of node */
    uint32_t kind;
} tni_edge;

typedef struct tni_kept { /* a value the derivative reads */
    union {
        tni_storage *storage; /* owned; NULL = given back */
        void *packed;         /* of a PACKED slot: what the hooks gave for it, likewise */
    };
    int64_t offset;
    uint32_t version; /* of storage when it was kept */
} tni_kept;

enum { /* tni_slot.flags */
       TNI_SLOT_ABSENT = 1u << 0,
       TNI_SLOT_CONTIGUOUS = 1u << 1, /* if kept */
       TNI_SLOT_WRAPPED = 1u << 2,
       TNI_SLOT_PACKED = 1u << 3 /* kept by the node's saved-tensor hooks */
};

typedef struct tni_slot { /* one tensor argument or result */
    tni_edge edge;        /* of an argument */
    union {
        tn_tensor *grad; /* while backward runs: of a result, what has come in; of an argument, what
                            goes out */
        tn_tensor *target; /* of a mutated argument, until tni_tape_finish; not owned */
    };
    tni_kept *kept;      /* NULL = not kept */
    const int64_t *dims; /* sizes; if kept, strides behind them */
    tni_place *place;
    tn_dtype dtype;
    int16_t rank;
    uint16_t flags;
} tni_slot;

typedef struct tni_region { /* a part of a tensor; part.offset counts from whole's first element */
    tn_meta whole;
    tn_meta part;
} tni_region;

typedef struct tni_slices { /* in place on a view: the node makes the whole tensor, its op only a
                               part */
    tni_region region;
    uint32_t target; /* argument slot that was written */
    uint32_t result; /* result slot that is it */
} tni_slices;

enum {                              /* tni_node.flags */
       TNI_NODE_KEEPS = 1u << 0,    /* keeps something */
       TNI_NODE_CONSUMED = 1u << 1, /* and has given it back */
       TNI_NODE_RNG = 1u << 2       /* rng is the position that was used */
};

enum { /* tni_node.mark, of the backward pass that claimed it */
       TNI_MARK_QUEUED = 1u << 0,
       TNI_MARK_VISITED = 1u << 1,
       TNI_MARK_NEEDED = 1u << 2, /* leads to an input of tn_backward_wrt */
       TNI_MARK_INPUT = 1u << 3   /* makes one */
};

struct tni_node {
    /* The slab zeroes these 64 bytes; the rest is written before it is read. */
    _Atomic int32_t refs;
    uint32_t bytes; /* of its block */
    uint64_t seq;
    uint32_t n_slots, n_results, n_values;
    uint32_t flags;
    _Atomic(struct tni_task *) task; /* the backward pass that has claimed it */
    tni_slices *slices;              /* NULL = none; owned */
    void *more;                      /* second block, or NULL */
    uint64_t more_bytes;

    const tni_op *op;
    struct tni_extra *extra; /* NULL = none; owned */
    tni_slot *slots;
    tni_slot *results;
    tn_value *values;              /* one per parameter. Tensors: i = first slot, aux = how many */
    tni_kept *kept;                /* free ones of the block, */
    int64_t *dims;                 /* numbers, */
    uint32_t room_kept, room_dims; /* and how many of each */
    uint32_t room_results;         /* result slots in the block */
    tn_rng rng;                    /* if TNI_NODE_RNG */
    tni_node *next_dying;
    /* Of the backward pass that has claimed it: */
    tni_node *next_claimed;
    tni_node *heap_child, *heap_next;
    uint32_t walk; /* next edge to look at */
    uint32_t mark;
};
_Static_assert(offsetof(struct tni_node, op) == 64, "what the slab zeroes");

/* Small blocks from slabs by size class; large ones from the heap. NULL without an error raised. */
void *tni_block_get(uint64_t bytes);
void tni_block_put(void *, uint64_t bytes); /* the same bytes; NULL is fine */

/* op's row whose derivative and names count: its own, or the base's of an in-place twin. */
static inline const tni_op *tni_node_base(const tni_node *n) {
    return n->op->base ? n->op->base : n->op;
}

/* n depends on what e leads to: its number must be greater. */
static inline void tni_node_follow(tni_node *n, const tni_edge *e) {
    if (e->kind == TNI_EDGE_NODE && e->node->seq >= n->seq)
        n->seq = tni_tls.node_seq = e->node->seq + 1;
}

/* A node with edges and kept arguments; refs 1. NULL + error. */
tni_node *tni_node_new(const tni_op *, const tn_value *args, uint32_t n_args, const tn_rng *);
/* Learns the results, keeps those the row keeps. False + error. */
bool tni_node_results(tni_node *, tn_tensor *const *results, uint32_t n_results);
void tni_node_retain(tni_node *);
void tni_node_forget(tni_node *); /* gives kept values back */
/* Schema result of result slot i. */
uint32_t tni_node_result_index(const tni_node *, uint32_t slot);
void tni_slot_meta(const tni_slot *, tn_meta *out); /* contiguous strides if not kept */

#endif
