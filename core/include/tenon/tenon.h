/* tenon/tenon.h - what a program includes: errors, scopes, tensors, autograd, settings.
 *
 * Ops come from op libraries through generated headers (<math_ops.h>). More for programs is in
 * <tenon/hooks.h> (own functions inside the library), <tenon/device.h>, <tenon/inspect.h>.
 *
 * What a function returns belongs to the current scope unless its comment says otherwise. Errors
 * stick: the first one per thread stays until cleared, and while one is pending every op does
 * nothing and returns NULL, so one check at the end of a step is enough. A status that a function
 * returns is the pending error's. All functions are [any-thread]; a tensor may be read by several
 * threads, and written by one at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_H
#define TENON_H

#include <tenon/abi.h>

#if defined(TN_CALL)
#error "include <tenon/tenon.h> before generated op headers: alone, they are for plugins"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define TN_API __attribute__((visibility("default")))

#define TN_VERSION "0.1.0"
TN_API const char *tn_version(void); /* of the library that runs */

/* ---- Errors ---------------------------------------------------------------------------------- */

/* The pending error's code, or TN_OK; and its text, or "", valid until the next error or clear. */
TN_API tn_status tn_error(void);
TN_API const char *tn_error_message(void);
TN_API void tn_clear_error(void);

/* "SHAPE", or "UNKNOWN" for codes of a newer version; "shapes do not fit". */
TN_API const char *tn_status_name(tn_status);
TN_API const char *tn_status_text(tn_status);

/* Sets the error if none is pending; returns the pending code. For code written over Tenon. */
TN_API tn_status tn_raise(tn_status code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- Start and plugins: optional, the first op call loads the standard set ------------------- */

typedef struct tn_init_opts {
    bool safe_mode;          /* only math, cpu_ref and what is linked in; environment ignored */
    bool strict;             /* a doubtful plugin is refused also when given by path */
    const char *plugin_path; /* searched first; absolute folders joined by ':'; NULL = none */
} tn_init_opts;

/* Once, before the first op; NULL = defaults. Loads the standard set. */
TN_API tn_status tn_init(const tn_init_opts *);

/* Loads a plugin by path: any failure is an error. */
TN_API tn_status tn_plugin_load(const char *path);
/* The same for one that is linked in (TN_PLUGIN_QUERY); repeats are fine. */
TN_API tn_status tn_plugin_add(tn_plugin_query_fn);

/* ---- Scopes ---------------------------------------------------------------------------------- */

typedef struct tn_scope {
    uint64_t mark;
    uint64_t thread;
} tn_scope;

TN_API tn_scope tn_scope_push(void);
/* Frees what the scope owns, and scopes left open above it. SCOPE if it is foreign or stale. Works
 * while an error is pending. */
TN_API tn_status tn_scope_pop(tn_scope);
/* The same, but kept[0..n) move to the scope outside; NULLs are skipped. */
TN_API tn_status tn_scope_pop_with(tn_scope, tn_tensor *const *kept, int64_t n);
TN_API tn_status tn_scope_adopt(tn_tensor *); /* shares a tensor that another thread made */
/* Zeroed memory that ends with the current scope; NULL with an error pending. */
TN_API void *tn_scope_alloc(uint64_t bytes);

/* The tensor outlives its scope, until tn_drop; returns its argument. One drop for each keep; NULL
 * is fine. */
TN_API tn_tensor *tn_keep(tn_tensor *);
TN_API tn_status tn_drop(tn_tensor *);

/* ---- Making tensors: on the current device --------------------------------------------------- */

#ifndef __cplusplus
#define TN_INTS(...)                                                                               \
    ((tn_ints){(const int64_t[]){__VA_ARGS__}, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)})
#define TN_BOOLS(...)                                                                              \
    ((tn_bools){(const bool[]){__VA_ARGS__}, sizeof((bool[]){__VA_ARGS__}) / sizeof(bool)})
#define TN_TENSORS(...)                                                                            \
    ((tn_tensors){(tn_tensor *const[]){__VA_ARGS__},                                               \
                  sizeof((tn_tensor *[]){__VA_ARGS__}) / sizeof(tn_tensor *)})
#define TN_SCALAR_SHAPE ((tn_ints){NULL, 0})
#endif

TN_API tn_tensor *tn_empty(tn_ints sizes, tn_dtype); /* bytes undefined */
TN_API tn_tensor *tn_zeros(tn_ints sizes, tn_dtype);
TN_API tn_tensor *tn_ones(tn_ints sizes, tn_dtype);
TN_API tn_tensor *tn_full(tn_ints sizes, tn_value number, tn_dtype);
/* A copy of row-major data. */
TN_API tn_tensor *tn_from(const void *data, tn_ints sizes, tn_dtype);

/* 0-dim, and gives way to other dtypes in promotion, as a Python number does; an integer leaves
 * integers what they are. Of a bool, an int or a float. */
TN_API tn_tensor *tn_scalar(double);
TN_API tn_tensor *tn_scalar_int(int64_t);
TN_API tn_tensor *tn_scalar_of(tn_value number);

/* ---- Asking tensors -------------------------------------------------------------------------- */

TN_API int64_t tn_rank(tn_tensor *);              /* -1 on error */
TN_API int64_t tn_size(tn_tensor *, int64_t dim); /* dim from the end if negative; -1 on error */
TN_API const int64_t *tn_sizes(tn_tensor *);      /* rank numbers; live as long as the tensor */
TN_API const int64_t *tn_strides(tn_tensor *);    /* likewise; in elements */
TN_API int64_t tn_numel(tn_tensor *);             /* -1 on error */
TN_API tn_dtype tn_dtype_of(tn_tensor *);         /* lanes 0 on error */
TN_API tn_device tn_device_of(tn_tensor *);       /* kind 0 on error */
TN_API bool tn_is_contiguous(tn_tensor *);
TN_API const char *tn_dtype_name(tn_dtype); /* "f32"; "?" if unknown */
TN_API int64_t tn_dtype_bytes(tn_dtype);    /* 0 if unknown */

/* The one element; NaN on error. */
TN_API double tn_item(tn_tensor *);
/* A row-major copy to host memory, or from it; bytes must match. Writing is in place and counts as
 * a mutation. */
TN_API tn_status tn_read(tn_tensor *, void *out, uint64_t bytes);
TN_API tn_status tn_write(tn_tensor *, const void *in, uint64_t bytes);
/* The first element, of host memory only. Writing through it is the caller's affair: autograd does
 * not see it. */
TN_API void *tn_data(tn_tensor *);
/* "f32[2,3] [[1, 2, 3], ...]". The scope's. */
TN_API const char *tn_to_string(tn_tensor *);

/* ---- Autograd -------------------------------------------------------------------------------- */

/* Leaves of floating dtype only. */
TN_API tn_status tn_set_requires_grad(tn_tensor *, bool);
/* A leaf that does, or a result that depends on one. */
TN_API bool tn_requires_grad(tn_tensor *);
TN_API bool tn_is_leaf(tn_tensor *);
TN_API tn_tensor *tn_detach(tn_tensor *); /* the same memory, without history */
/* Grad mode of this thread: while it is off nothing is recorded. Returns what it was. */
TN_API bool tn_set_grad_enabled(bool on);
TN_API bool tn_grad_enabled(void);

typedef struct tn_backward_opts {
    tn_tensor *grad;   /* start value; NULL = ones, for a scalar */
    bool retain_graph; /* keep saved values, for another backward */
    bool create_graph; /* record the backward too (double backward); implies retain_graph */
} tn_backward_opts;

/* Adds to the gradient of every leaf that the tensor depends on. */
TN_API tn_status tn_backward(tn_tensor *loss);
TN_API tn_status tn_backward_with(tn_tensor *output, const tn_backward_opts *);
/* d outputs / d inputs, without touching leaves' gradients. grads: as many as inputs, in the
 * current scope; NULL where an input was not reached. opts->grad must be NULL; start: one per
 * output, or n 0 = ones. */
TN_API tn_status tn_backward_wrt(tn_tensors outputs, tn_tensors inputs, tn_tensors start,
                                 const tn_backward_opts *, tn_tensor **grads);

TN_API tn_tensor *tn_grad_of(tn_tensor *leaf); /* NULL, and no error, if there is none yet */
/* The leaf's gradient is what view holds from now on: backward adds to that memory in place, and no
 * other tensor takes its place. view: of the leaf's shape, dtype and device, with strides that do
 * not overlap, often a slice of one flat tensor; it must not require grad. The leaf holds it until
 * tn_grad_set(leaf, NULL), after which there is no gradient. A pass with create_graph is refused
 * (GRAD). */
TN_API tn_status tn_grad_set(tn_tensor *leaf, tn_tensor *view);
/* Forgets the gradient; makes it 0 in place, if tn_grad_set said where it is. */
TN_API tn_status tn_zero_grad(tn_tensor *leaf);

/* ---- How ops run: settings of this thread ---------------------------------------------------- */

TN_API bool tn_set_deterministic(bool on); /* the same bits every time; returns what it was */
/* TN_MATH_*: what may stand for a product of f32; returns what it was. INVALID for what is none. */
TN_API int32_t tn_set_math_mode(int32_t mode);
/* Asks this provider first, "cpu_ref", or only its kernels of one name, "acme/own"; NULL = no pin.
 * NOTFOUND lists those there are, and UNSUPPORTED is said of a plugin without kernels. */
TN_API tn_status tn_use_provider(const char *provider);
/* Most threads for kernels called from here; 0 = all. And how many there may be. */
TN_API tn_status tn_set_threads(int32_t n);
TN_API int32_t tn_threads(void);

/* Random numbers: a seed, and how far its stream has been used. Freed with tn_generator_free, which
 * does nothing but raise STALE if it is none. */
TN_API tn_generator *tn_generator_new(uint64_t seed);
TN_API void tn_generator_free(tn_generator *);
/* What random ops of this thread draw from when they are given none; NULL = the process's default.
 * Returns what it was. Not to be freed while in use. */
TN_API tn_generator *tn_use_generator(tn_generator *);
/* NULL in these means that one. Starts again at offset 0; the position of the next draw (zeros on
 * error); with a position set, the same numbers come again. */
TN_API tn_status tn_generator_seed(tn_generator *, uint64_t seed);
TN_API tn_rng tn_generator_position(tn_generator *);
TN_API tn_status tn_generator_set_position(tn_generator *, tn_rng);

/* ---- Calling ops: what generated wrappers do ------------------------------------------------- */

/* n_args values; missing trailing ones take their defaults. n_outs: the number of visible results.
 * Mutated arguments are returned as results only where the schema says so. */
TN_API tn_status tn_op_call(tn_op_ref *op, const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs);

#define TN_CALL(op, args, n_args, outs, n_outs) tn_op_call(op, args, n_args, outs, n_outs)
#define TN_NUMBER(value)                        tn_scalar_of(value)

#ifdef __cplusplus
}
#endif
#endif
