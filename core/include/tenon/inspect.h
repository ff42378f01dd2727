/* tenon/inspect.h - what is registered, loaded and allocated: ops, providers, plugins, memory.
 *
 * Every struct begins with its size, set by the caller, so that programs built for an older version
 * keep working. Strings live for ever unless a comment says otherwise.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_INSPECT_H
#define TENON_INSPECT_H

#include <tenon/tenon.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Ops ------------------------------------------------------------------------------------- */

typedef struct tn_op_info {
    uint32_t size;
    uint32_t traits; /* TN_OP_* */
    const char *name;
    const char *schema;
    const char *doc;
    const char *no_grad; /* why there is no derivative, or NULL */
    const char *samples; /* sample calls, for tests and benchmarks */
    const char *plugin;  /* who registered it */
    bool has_derivative;
    bool has_decomposition;
    const char *form; /* what kernels see: "pointwise" */
    const char *base; /* of an in-place twin the op it is of, whose samples are meant; else NULL */
    uint32_t n_args;
    uint32_t n_results; /* that callers get */
} tn_op_info;

/* In order of name; -1 on error, INDEX past the last, NOTFOUND names the nearest. */
TN_API int64_t tn_op_count(void);
TN_API tn_status tn_op_at(int64_t i, tn_op_info *out);
TN_API tn_status tn_op_find(const char *name, tn_op_info *out);

/* The schema as data, and calls by name: what a binding to another language needs. */

enum {
    TN_ARG_DEFAULT = 1u << 0,  /* may be left out */
    TN_ARG_OPTIONAL = 1u << 1, /* may be none, a tensor NULL; of a result: absent */
    TN_ARG_RUNTIME = 1u << 2,  /* another value is no other signature */
    TN_ARG_WRITTEN = 1u << 3   /* changed in place */
};

typedef struct tn_arg_info {
    uint32_t size;
    uint32_t flags;   /* TN_ARG_* */
    const char *name; /* "" for a result without one */
    const char *type; /* as schemas spell it: "Tensor", "int[]", "Scalar" */
    tn_value def;     /* with TN_ARG_DEFAULT */
    int32_t count;    /* of a list that has a fixed one; else -1 */
    int32_t reserved;
} tn_arg_info;

/* INDEX past the last. */
TN_API tn_status tn_op_arg(const char *op, uint32_t i, tn_arg_info *out);
TN_API tn_status tn_op_result(const char *op, uint32_t i, tn_arg_info *out);
/* As tn_op_call. values[i] goes to the argument names[i]; where that is NULL, or names is, to
 * argument i. A number may stand for a tensor: tn_scalar_of is called. INVALID names an argument
 * that is unknown, missing or given twice. */
TN_API tn_status tn_op_call_named(const char *op, const char *const *names, const tn_value *values,
                                  uint32_t n, tn_value *outs, uint32_t n_outs);

/* ---- Providers ------------------------------------------------------------------------------- */

/* "cpu_blas,cpu_ref": who has kernels for op on a device kind, in the order they are asked; kernels
 * with a name as "acme/own". The scope's. */
TN_API const char *tn_op_providers(const char *op, const char *device_kind);
/* Who ran the last kernel on this thread; "" if none. */
TN_API const char *tn_last_provider(void);
/* How many kernels of this provider (NULL: of all) this thread has run since it first asked. */
TN_API uint64_t tn_provider_runs(const char *plugin_id);
/* How many arguments this thread has copied before a kernel ran: because of their dtype, the op's
 * form, memory shared with what is written, or what the kernel needs. At log level info, what
 * kernels need is told once per signature. */
TN_API uint64_t tn_argument_copies(void);

/* ---- Plugins --------------------------------------------------------------------------------- */

enum { TN_PLUGIN_NOT_TRIED = 0, TN_PLUGIN_READY, TN_PLUGIN_REFUSED, TN_PLUGIN_UNUSABLE };

typedef struct tn_plugin_info { /* strings live until the next scan */
    uint32_t size;
    int32_t state;       /* TN_PLUGIN_* */
    const char *id;      /* from the note; the file's stem if it has none */
    const char *version; /* likewise; "" if there is no note, as the next three */
    const char *abi;     /* "0.0" */
    const char *kinds;   /* "kernels" */
    const char *licence;
    const char *path;   /* canonical; "" if it is linked in */
    const char *origin; /* which rule found its folder: "given", "TENON_PLUGIN_PATH", "user",
                         * "beside libtenon", "built in" */
    const char *facts;  /* what it said of itself when it started: vendor library and version */
    const char *why;    /* REFUSED and UNUSABLE: stage, cause and fix; READY: which of its kernels
                         * wait, if any */
    uint32_t n_ops;
    uint32_t n_kernels; /* distinct ops it has kernels for */
} tn_plugin_info;

/* Looks through the folders and reads notes; maps and runs nothing. Sorted by kind, then id. */
TN_API tn_status tn_plugin_scan(int64_t *count);
/* Number i of the last scan. */
TN_API tn_status tn_plugin_at(int64_t i, tn_plugin_info *out);
/* One, by name or (with a '/') by file: a scan, and also a file outside the folders. NOTFOUND if
 * there is none; a file that is no plugin is REFUSED, and why says what it is instead. */
TN_API tn_status tn_plugin_find(const char *name_or_path, tn_plugin_info *out);

/* The stages a plugin goes through, one call of `line` per stage, in order: "found", "owner",
 * "note", "abi", "probe", "dlopen", "vendor", "registered". Loads it if it is not. */
typedef void (*tn_stage_fn)(void *user, const char *stage, bool ok, const char *detail);
TN_API tn_status tn_plugin_why(const char *name_or_path, tn_stage_fn line, void *user);
/* "origin\tfolder\n" lines, in the order in which they are searched. The scope's. */
TN_API const char *tn_plugin_paths(void);

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
    uint64_t peak_reserved_bytes;         /* likewise */
    uint64_t limit_bytes;                 /* what this process may use: machine's or cgroup's */
    uint64_t cache_limit_bytes;           /* most of the cpu's large buffers that stay cached */
    tn_pool_info small;                   /* buffers of the cpu up to 64 KiB */
    tn_pool_info large;                   /* the others, of all devices */
    uint64_t large_in_use;                /* large buffers that are live */
    uint64_t evictions;                   /* large buffers given back because of the limit */
    uint64_t system_allocs, system_frees; /* calls of drivers */
    uint64_t rescues;                     /* requests that worked once the pools were emptied */
    uint64_t largest_cached_bytes;
    double fragmentation; /* part of the cached bytes that is not in the largest; 0 if none are */
    uint64_t waiting_blocks;  /* large buffers freed while another stream may still use them */
    uint64_t host_waits;      /* how often the host has waited for a device */
    uint64_t signatures;      /* distinct calls that are remembered, for all threads */
    uint64_t signature_bytes; /* of these, with the plans of kernels */
} tn_memory_info;

/* Of the whole process. */
TN_API tn_status tn_memory_stats(tn_memory_info *out);
/* Both peaks start again from what is there now. */
TN_API void tn_memory_reset_peak(void);
/* The most of the cpu's large buffers that are kept when they are free; what is beyond it goes back
 * to the system at once. Default: TENON_CACHE_LIMIT, else a quarter of limit_bytes. */
TN_API void tn_memory_set_cache_limit(uint64_t bytes);
/* Gives all cached buffers back to the system. */
TN_API void tn_memory_trim(void);

#ifdef __cplusplus
}
#endif
#endif
