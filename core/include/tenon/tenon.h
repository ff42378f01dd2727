/* tenon/tenon.h - what a program includes: tensors, scopes, errors, autograd, plugins.
 *
 * Ops are not here: they come from op libraries through generated headers (<math_ops.h>), which
 * call tn_op_call. What a function returns belongs to the current scope unless its comment says
 * otherwise. Errors stick: the first one per thread stays until cleared, and while one is pending
 * every op does nothing and returns NULL, so one check at the end of a step is enough. All
 * functions are [any-thread]; a tensor may be read by several threads, written by one at a time.
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

TN_API tn_status tn_error(void); /* the pending error's code, or TN_OK */
TN_API const char *
tn_error_message(void); /* its text, or ""; valid until the next error or clear */
TN_API void tn_clear_error(void);
TN_API const char *tn_status_name(tn_status); /* "SHAPE"; "UNKNOWN" for codes of a newer version */
TN_API const char *tn_status_text(tn_status); /* "shapes do not fit" */
/* Sets the error if none is pending; returns the pending code. For code written over Tenon. */
TN_API tn_status tn_raise(tn_status code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- Start (optional: the first op call does it) --------------------------------------------- */

typedef struct tn_init_opts {
    bool safe_mode; /* only math and cpu_ref, from the compiled-in folder; environment ignored */
    bool strict;    /* a doubtful plugin is refused also when given by path */
    const char *plugin_path; /* searched first; absolute folders joined by ':'; NULL = none */
} tn_init_opts;
TN_API tn_status
tn_init(const tn_init_opts *opts); /* NULL = defaults; once; loads the standard set */

/* ---- Scopes ---------------------------------------------------------------------------------- */

typedef struct tn_scope {
    uint64_t mark;
    uint64_t thread;
} tn_scope;

TN_API tn_scope tn_scope_push(void);
TN_API
tn_status tn_scope_pop(tn_scope); /* frees what the scope owns, and scopes left open above it;
                               SCOPE if foreign or stale. Works while an error is pending. */
TN_API tn_status tn_scope_pop_with(tn_scope, tn_tensor *const *kept,
                                   int64_t n); /* kept move to the parent; NULLs skipped */
TN_API tn_status
tn_scope_adopt(tn_tensor *); /* the current scope shares a tensor made by another thread */
TN_API tn_tensor *
tn_keep(tn_tensor *);                  /* outlives its scope, until tn_drop; returns its argument */
TN_API tn_status tn_drop(tn_tensor *); /* ends one tn_keep; NULL is fine */

/* ---- Making tensors: on the current device, in the current scope ----------------------------- */

#ifndef __cplusplus
#define TN_INTS(...)                                                                               \
    ((tn_ints){(const int64_t[]){__VA_ARGS__}, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)})
#define TN_TENSORS(...)                                                                            \
    ((tn_tensors){(tn_tensor *const[]){__VA_ARGS__},                                               \
                  sizeof((tn_tensor *[]){__VA_ARGS__}) / sizeof(tn_tensor *)})
#define TN_SCALAR_SHAPE ((tn_ints){NULL, 0})
#endif

TN_API tn_tensor *tn_empty(tn_ints sizes, tn_dtype); /* bytes undefined */
TN_API tn_tensor *tn_zeros(tn_ints sizes, tn_dtype);
TN_API tn_tensor *tn_ones(tn_ints sizes, tn_dtype);
TN_API tn_tensor *tn_full(tn_ints sizes, tn_value number, tn_dtype);
TN_API tn_tensor *tn_from(const void *data, tn_ints sizes, tn_dtype); /* copies row-major data */
TN_API tn_tensor *
tn_scalar(double); /* 0-dim; gives way to other dtypes in promotion, as a Python number */
TN_API tn_tensor *tn_scalar_int(int64_t);        /* the same; leaves integers what they are */
TN_API tn_tensor *tn_scalar_of(tn_value number); /* the same for bool, int or float */

/* ---- Asking tensors -------------------------------------------------------------------------- */

TN_API int64_t tn_rank(tn_tensor *); /* -1 on error */
TN_API int64_t tn_size(tn_tensor *,
                       int64_t dim);           /* negative dims count from the end; -1 on error */
TN_API const int64_t *tn_sizes(tn_tensor *);   /* rank numbers; lives as long as the tensor */
TN_API const int64_t *tn_strides(tn_tensor *); /* elements */
TN_API int64_t tn_numel(tn_tensor *);          /* -1 on error */
TN_API tn_dtype tn_dtype_of(tn_tensor *);      /* lanes 0 on error */
TN_API tn_device tn_device_of(tn_tensor *);    /* kind 0 on error */
TN_API bool tn_is_contiguous(tn_tensor *);
TN_API const char *tn_dtype_name(tn_dtype); /* "f32"; "?" if unknown */
TN_API int64_t tn_dtype_bytes(tn_dtype);    /* 0 if unknown */
TN_API void *tn_data(tn_tensor *);  /* first element, host memory only; writing through it is
                                       the caller's affair: no version is counted */
TN_API double tn_item(tn_tensor *); /* the one element; NaN on error */
TN_API tn_status tn_read(tn_tensor *, void *out,
                         uint64_t bytes); /* row-major copy; bytes must match */
TN_API tn_status tn_write(tn_tensor *, const void *in,
                          uint64_t bytes); /* in place: counts as a mutation */
TN_API const char *
tn_to_string(tn_tensor *); /* "f32[2,3] [[1, 2, 3], ...]"; belongs to the scope */

/* ---- Calling ops (what generated wrappers do) ------------------------------------------------ */

/* Calls op with n_args values (missing trailing ones take their defaults). n_outs must be the
 * number of visible results. Results belong to the current scope. Mutated arguments are returned as
 * results only where the schema says so. */
TN_API tn_status tn_op_call(tn_op_ref *op, const tn_value *args, uint32_t n_args, tn_value *outs,
                            uint32_t n_outs);
TN_API const tn_ops *
tn_ops_table(void); /* the tn.ops/0 interface, for derivatives written in programs */

#define TN_CALL(op, args, n_args, outs, n_outs) tn_op_call(op, args, n_args, outs, n_outs)
#define TN_NUMBER(value)                        tn_scalar_of(value)

typedef struct tn_op_info { /* one registered op; strings live for ever */
    uint32_t size;
    uint32_t traits;
    const char *name;
    const char *schema;
    const char *doc;
    const char *no_grad; /* why there is no derivative, or NULL */
    const char *samples;
    const char *plugin; /* who registered it */
    bool has_derivative;
    bool has_decomposition;
} tn_op_info;
TN_API int64_t tn_op_count(void);
TN_API tn_status tn_op_at(int64_t i,
                          tn_op_info *out); /* in order of name; out->size set by the caller */
TN_API tn_status tn_op_find(const char *name, tn_op_info *out); /* NOTFOUND names the nearest */
TN_API tn_status
tn_op_add(const tn_op *row); /* registers one op from a program: custom functions */
/* "cpu_blas,cpu_ref": the kernels registered for op on device kind, in the order they are asked.
 * Scope's. */
TN_API const char *tn_op_providers(const char *op, const char *device_kind);
/* Args for sample number i of an op ("samples" column), seeded; tensors of dtype class `dtype`
 * where the schema has a type variable. Returns NOTFOUND past the last. values: room for 16; the
 * scope owns all. */
TN_API tn_status tn_op_sample(const char *op, int64_t i, tn_dtype, uint64_t seed, tn_value *values,
                              uint32_t *n_values);

/* ---- How ops run: per-thread settings -------------------------------------------------------- */

TN_API bool tn_set_deterministic(bool on); /* returns what it was */
TN_API tn_status tn_use_provider(
    const char *plugin_id); /* ask this provider first; NULL = no pin; NOTFOUND lists them, and
                               UNSUPPORTED is said of a plugin without kernels */
TN_API const char *tn_last_provider(void); /* who ran the last kernel on this thread; "" if none */
/* How many kernels of this provider (NULL: of all) this thread has run since it first asked. */
TN_API uint64_t tn_provider_runs(const char *plugin_id);
TN_API tn_status tn_set_threads(int32_t n); /* limit for kernels called from this thread; 0 = all */
TN_API int32_t tn_threads(void);
TN_API tn_generator *tn_generator_new(uint64_t seed); /* free with tn_generator_free */
TN_API void tn_generator_free(tn_generator *);        /* STALE, and nothing else, if it is none */
/* In these NULL means the thread's current generator, which is the process's default one unless
 * tn_use_generator said otherwise. */
TN_API tn_status tn_generator_seed(tn_generator *, uint64_t seed); /* starts again at offset 0 */
TN_API tn_rng tn_generator_position(tn_generator *); /* of the next draw; zeros on error (STALE) */
TN_API tn_status tn_generator_set_position(tn_generator *,
                                           tn_rng); /* the same numbers come again */
/* What random ops of this thread draw from when they are given none; NULL = the process's default.
 * Returns what it was. Not freed while it is in use. */
TN_API tn_generator *tn_use_generator(tn_generator *);

/* ---- Autograd -------------------------------------------------------------------------------- */

TN_API tn_status tn_set_requires_grad(tn_tensor *, bool); /* leaves of floating dtype only */
TN_API bool tn_requires_grad(tn_tensor *); /* a leaf that does, or a result that depends on one */
TN_API bool tn_is_leaf(tn_tensor *);
TN_API tn_tensor *tn_detach(tn_tensor *); /* same memory, no history */
TN_API bool tn_set_grad_enabled(bool on); /* returns what it was: no_grad = false */
TN_API bool tn_grad_enabled(void);

typedef struct tn_backward_opts {
    tn_tensor *grad;   /* start value; NULL = ones, for a scalar */
    bool retain_graph; /* keep saved values, for another backward */
    bool create_graph; /* record the backward too (double backward); implies retain_graph */
} tn_backward_opts;

TN_API tn_status tn_backward(tn_tensor *loss); /* adds to the gradient of every leaf */
TN_API tn_status tn_backward_with(tn_tensor *output, const tn_backward_opts *);
/* d outputs / d inputs, without touching leaves' gradients. grads: as many as inputs, in the
 * current scope; NULL where an input was not reached. opts->grad must be NULL; start: one per
 * output, or n 0 = ones. */
TN_API tn_status tn_backward_wrt(tn_tensors outputs, tn_tensors inputs, tn_tensors start,
                                 const tn_backward_opts *, tn_tensor **grads);
TN_API tn_tensor *tn_grad_of(tn_tensor *leaf);  /* NULL (no error) if there is none yet */
TN_API tn_status tn_zero_grad(tn_tensor *leaf); /* forgets it */

/* ---- Hooks: what backward calls -------------------------------------------------------------- */

/* Hooks run on the thread of the backward pass, each in a scope of its own, in order of
 * registration; an error they leave pending ends the pass. They return a number for tn_hook_remove,
 * or 0 with the error pending: GRAD for a tensor that does not require grad. They may be added and
 * removed at any time, by hooks and by other threads too. What is added begins with the next pass; a
 * removed one that another thread is running runs to its end, so its user must outlive that pass. */

/* fn sees the gradient of t when all of it has arrived, before it goes on (a leaf's: at the end of
 * the pass, before it is added to what is there). What fn returns, of the same shape and dtype,
 * takes its place; NULL leaves it. Hooks of a result of an op outlive t. */
typedef tn_tensor *(*tn_grad_hook_fn)(void *user, tn_tensor *grad);
TN_API uint64_t tn_grad_hook(tn_tensor *t, tn_grad_hook_fn fn, void *user);
/* fn runs at the end of a pass that added to the gradient of leaf. */
typedef void (*tn_leaf_hook_fn)(void *user, tn_tensor *leaf);
TN_API uint64_t tn_accumulated_hook(tn_tensor *leaf, tn_leaf_hook_fn fn, void *user);
/* fn runs before (after) the derivative of the op that made `made`, and may exchange the gradients
 * of its results (of its tensor arguments), in schema order; NULL where there is none. */
typedef void (*tn_node_hook_fn)(void *user, const char *op, tn_tensor **grads, int64_t n);
TN_API uint64_t tn_node_hook(tn_tensor *made, bool after, tn_node_hook_fn fn, void *user);
TN_API tn_status tn_hook_remove(tn_tensor *, uint64_t hook); /* NOTFOUND if it has no such hook */

/* What the tape keeps for backward, kept by the program instead: on disk, in fewer bits, or not at
 * all. They run with grad mode off, in a scope of their own; drop also while an error is pending,
 * which it does not see. */
typedef struct tn_saved_hooks {
    /* Takes over a value; what it returns comes back to unpack and drop. t has no history and
     * shares the memory of what is kept (tn_keep makes it last). An error it leaves pending fails
     * the call; what it returned with one, if not NULL, comes back to drop at once. */
    void *(*pack)(void *user, tn_tensor *t);
    tn_tensor *(*unpack)(void *user, void *packed); /* of t's dtype, shape and device */
    void (*drop)(void *user, void *packed);         /* (optional) it is not needed any more */
    void *user;                                     /* must live until the last drop */
} tn_saved_hooks;
TN_API tn_status tn_saved_hooks_push(const tn_saved_hooks *); /* for calls of this thread, until: */
TN_API tn_status tn_saved_hooks_pop(void);

/* Anomaly mode of this thread: every recorded call is remembered with who made it, and a backward
 * pass fails (GRAD) at the first derivative that gives a NaN, with the forward call, its shapes, its
 * callers, and whether the forward value or the gradient that came in had one already. Reads every
 * value, so it is slow. Returns what it was. */
TN_API bool tn_set_anomaly_mode(bool on);
TN_API bool tn_anomaly_mode(void);

/* A function of tensors. Returns its result, or NULL with an error pending. */
typedef tn_tensor *(*tn_check_fn)(void *user, tn_tensor *const *inputs, int64_t n);
/* Calls fn the way the library calls every function of the program: what it changes of this thread's
 * settings (grad mode, saved-tensor hooks, generator, provider and others) ends with it, scopes it
 * leaves open are closed, and those from outside are out of its reach (SCOPE; INVALID for
 * saved-tensor hooks). The result belongs to the current scope; NULL if an error is pending. */
TN_API tn_tensor *tn_call_guarded(tn_check_fn fn, void *user, tn_tensors inputs);
typedef struct tn_gradcheck_opts { /* 0 = default */
    double eps;                    /* 1e-6 */
    double atol;                   /* 1e-5 */
    double rtol;                   /* 1e-3 */
} tn_gradcheck_opts;
/* Compares derivatives with central differences in f64 (inputs that require grad). GRAD if they
 * differ: the text names op, input, element, both numbers. */
TN_API tn_status tn_gradcheck(tn_check_fn, void *user, tn_tensors inputs,
                              const tn_gradcheck_opts *);
TN_API tn_status tn_gradgradcheck(tn_check_fn, void *user, tn_tensors inputs,
                                  const tn_gradcheck_opts *);
/* The first or second check (order) for one op on sample i of its row, or on all if i < 0; every
 * visible floating result. NOTFOUND if there is no such sample, GRAD if none of the row has an
 * element to compare. */
TN_API tn_status tn_op_gradcheck(const char *op, int64_t i, int32_t order,
                                 const tn_gradcheck_opts *);

/* ---- Plugins --------------------------------------------------------------------------------- */

TN_API tn_status tn_plugin_load(const char *path); /* explicit: any failure is an error */
TN_API tn_status
    tn_plugin_add(tn_plugin_query_fn); /* statically linked, same path; repeats are fine */

enum { TN_PLUGIN_NOT_TRIED = 0, TN_PLUGIN_READY, TN_PLUGIN_REFUSED, TN_PLUGIN_UNUSABLE };
typedef struct tn_plugin_info {
    uint32_t size;
    int32_t state;  /* TN_PLUGIN_* */
    const char *id; /* from the note; the file's stem if it has none */
    const char *version;
    const char *abi;   /* "0.0" */
    const char *kinds; /* "kernels" */
    const char *licence;
    const char *path;   /* canonical; "" if statically linked */
    const char *origin; /* which folder rule found it: "given", "TENON_PLUGIN_PATH", "user", "beside
                           libtenon", "built in" */
    const char *facts;  /* what it said of itself when it started: vendor library and version */
    const char *why;    /* for REFUSED and UNUSABLE: stage, cause and fix; for READY: which of its
                           kernels wait, if any */
    uint32_t n_ops;
    uint32_t n_kernels; /* distinct ops it has kernels for */
} tn_plugin_info;
/* Looks through the folders and reads notes; maps and runs nothing. Sorted by kind, then id. */
TN_API tn_status tn_plugin_scan(int64_t *count);
TN_API tn_status
tn_plugin_at(int64_t i, tn_plugin_info *out); /* of the last scan; strings live until the next */
/* One, by name or (with a '/') by file: a scan, and also a file outside the folders. NOTFOUND if there
 * is none; a file that is no plugin is REFUSED, and why says what it is instead. */
TN_API tn_status tn_plugin_find(const char *name_or_path, tn_plugin_info *out);
/* The stages a plugin goes through, one call of `line` per stage, in order: "found", "owner",
 * "note", "abi", "probe", "dlopen", "vendor", "registered". name_or_path; loads it if it is not. */
typedef void (*tn_stage_fn)(void *user, const char *stage, bool ok, const char *detail);
TN_API tn_status tn_plugin_why(const char *name_or_path, tn_stage_fn line, void *user);
TN_API const char *tn_plugin_paths(void); /* "origin\tfolder\n" lines, in order. Scope's. */

typedef struct tn_device_info {
    uint32_t size;
    uint32_t index;
    const char *kind;   /* "cpu" */
    const char *name;   /* "AMD EPYC" */
    const char *plugin; /* who drives it */
    uint64_t memory_bytes;
} tn_device_info;
TN_API int64_t tn_device_count(void);
TN_API tn_status tn_device_at(int64_t i, tn_device_info *out);

/* ---- Memory ---------------------------------------------------------------------------------- */

typedef struct tn_pool_info { /* one of the two pools */
    uint64_t hits, misses;    /* requests answered from it, and by the system */
    uint64_t cached_blocks;   /* ready for reuse */
    uint64_t cached_bytes;    /* in them */
    uint64_t largest_bytes;   /* the largest of them */
} tn_pool_info;

typedef struct tn_memory_info {
    uint32_t size;
    uint32_t reserved;
    uint64_t tensors;         /* live headers */
    uint64_t storages;        /* live buffers */
    uint64_t nodes;           /* live tape nodes */
    uint64_t allocated_bytes; /* in live buffers */
    uint64_t cached_bytes;    /* in the pools, ready for reuse */
    uint64_t peak_bytes;      /* most ever allocated, or since tn_memory_reset_peak */
    uint64_t reserved_bytes;  /* got from the system for buffers: in use, rounded up, and cached */
    uint64_t peak_reserved_bytes; /* likewise */
    uint64_t limit_bytes;         /* what this process may use: of the machine, or its cgroup */
    uint64_t cache_limit_bytes;   /* most of the cpu's large buffers that stay cached */
    tn_pool_info small;           /* buffers of the cpu up to 64 KiB */
    tn_pool_info large;           /* the others, of all devices */
    uint64_t large_in_use;        /* large buffers that are live */
    uint64_t evictions;           /* large buffers given back because of the limit */
    uint64_t system_allocs, system_frees; /* calls of drivers */
    uint64_t rescues; /* requests that worked only after the pools had been emptied */
    uint64_t largest_cached_bytes;
    double fragmentation; /* part of the cached bytes that is not in the largest; 0 if none are */
} tn_memory_info;
TN_API tn_status
tn_memory_stats(tn_memory_info *out);   /* out->size set by the caller; whole process */
TN_API void tn_memory_reset_peak(void); /* both peaks start again from what is there now */
/* For large buffers of the cpu that are free; what is more goes back at once. Default:
 * TENON_CACHE_LIMIT, else a quarter of limit_bytes. */
TN_API void tn_memory_set_cache_limit(uint64_t bytes);
TN_API void tn_memory_trim(void); /* gives cached buffers back to the system */

#ifdef __cplusplus
}
#endif
#endif
