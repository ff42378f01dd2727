/* tenon/abi_layers.h - layers: others who stand in a call. Draft: it may still change.
 *
 * Each thread has a stack of layers. A call of an op goes to the innermost one, which may look at
 * it, change it, answer it, or pass it on to the layer below, and in the end to the library. Other
 * slots only look on: at kernels while they run, at derivatives, at tensors that no op made.
 * Programs include <tenon/layers.h>, plugins ask their host for "tn.layers/0".
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_ABI_LAYERS_H
#define TENON_ABI_LAYERS_H

#include <tenon/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* tn_layer.flags: which calls `call` sees beside those of the program. */
enum {
    TN_LAYER_PARTS = 1u << 0,   /* those an op is made of: by its decomposition, or to copy its
                                   arguments */
    TN_LAYER_BACKWARD = 1u << 1 /* those of a backward pass */
};

typedef struct tn_run { /* one run of a kernel */
    uint32_t size;
    tn_status status;     /* in `ran`: how it ended */
    const char *op;       /* "matmul" */
    const char *provider; /* "cpu_blas" */
    const tn_call *call;  /* what the kernel sees; gone afterwards */
    void *host_data;      /* the host's */
} tn_run;

typedef struct tn_layer {
    uint32_t size;
    uint32_t flags;   /* TN_LAYER_* */
    const char *name; /* for errors */
    void *user;       /* comes back first in every slot */

    /* (optional: sees no calls) Stands for the call: arguments as the caller gave them, not yet
     * checked; room for all results. Fills outs with tensors, or passes the call on and may
     * exchange what comes back. What it calls itself goes to the layers below it. What it changes
     * of the thread's settings ends with it. */
    tn_status (*call)(void *user, tn_op_ref *op, const tn_value *args, uint32_t n_args,
                      tn_value *outs, uint32_t n_outs);

    /* The rest only looks on, whoever is innermost, and may call no op. What refuses says why
     * (tn_ops.fail, or tn_raise). */

    /* (optional) A kernel is about to run; any other status than TN_OK keeps it from running. */
    tn_status (*run)(void *user, const tn_run *);
    /* (optional) It has run, or failed, or was kept from it by a layer further out. */
    void (*ran)(void *user, const tn_run *);
    /* (optional) The derivative of an op begins, or has ended. */
    void (*derivative)(void *user, const char *op, bool begins);
    /* (optional) A tensor that no op made: "tn_zeros", "tn_from", "tn_scalar_of", "tn_detach". */
    void (*made)(void *user, tn_tensor *, const char *how);
    /* (optional) The host is about to read or write elements, "tn_item", or those of many tensors
     * ("tn_replay": NULL). An error keeps it from that. */
    void (*touched)(void *user, tn_tensor *, const char *how);
    /* (optional) A call has reserved `counters` of g (NULL: the default) from `at` on. */
    void (*drew)(void *user, tn_generator *g, tn_rng at, uint64_t counters);
} tn_layer;

typedef struct tn_layers { /* "tn.layers/0" */
    uint32_t size;
    uint32_t flags;
    tn_status (*push)(const tn_layer *);
    tn_status (*pop)(const tn_layer *);
    tn_status (*pass)(tn_op_ref *, const tn_value *args, uint32_t n_args, tn_value *outs,
                      uint32_t n_outs);
} tn_layers;

#ifdef __cplusplus
}
#endif
#endif
