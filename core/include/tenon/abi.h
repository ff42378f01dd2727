/* tenon/abi.h - everything that crosses the border between Tenon's core and a plugin. Draft v0.
 *
 * A plugin is a shared object that exports exactly one function, tn_plugin_query_v0, and imports no
 * symbol from the host. The host hands it one table of functions (tn_host); the plugin hands back
 * rows: ops (what is computed), kernels (how, on which device) and drivers (devices). docs/abi.md
 * has the rules, numbered, with who enforces each.
 *
 * This header compiles alone, as C11 and as C++17, and includes three standard headers.
 * Thread tags: [any-thread], [init] only while start/stop run, [no-alloc], [may-sync].
 * Strings are UTF-8, NUL-terminated unless a length travels beside them, and borrowed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_ABI_H
#define TENON_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version --------------------------------------------------------------------------------- */

#define TN_ABI_MAJOR    0 /* is in the entry symbol's name */
#define TN_ABI_MINOR    0 /* newest minor this header describes */
#define TN_PLUGIN_ENTRY "tn_plugin_query_v0"
#define TN_MAX_RANK     16 /* tensors of a higher rank are refused */

/* Is table p large enough to have this field? Read a slot only if TN_HAS && slot != NULL. */
#define TN_HAS(p, field)                                                                           \
    ((p)->size >= (char *)(&(p)->field + 1) - (char *)(uintptr_t)(const void *)(p))

/* The upper half of every `flags` and `traits` a plugin fills must be understood: a bit there that
 * the host does not know refuses the row or the plan, by name. Unknown lower bits are ignored. */
#define TN_MUST_UNDERSTAND 0xffff0000u

/* ---- Status codes: one table gives number, name and text ------------------------------------- */

#define TN_STATUS_LIST(X)                                                                          \
    X(0, OK, "ok")                                                                                 \
    X(1, INVALID, "invalid argument")                                                              \
    X(2, SHAPE, "shapes do not fit")                                                               \
    X(3, DTYPE, "dtype does not fit")                                                              \
    X(4, DEVICE, "device does not fit or is not available")                                        \
    X(5, INDEX, "index out of range")                                                              \
    X(6, OVERFLOW, "size overflows")                                                               \
    X(7, NOMEM, "out of memory")                                                                   \
    X(8, STALE, "tensor was dropped, or its scope was popped")                                     \
    X(9, MODIFIED, "a value saved for backward was modified in place")                             \
    X(10, GRAD, "autograd cannot do this")                                                         \
    X(11, SCOPE, "scope is foreign or stale")                                                      \
    X(12, NOTFOUND, "not found")                                                                   \
    X(13, UNSUPPORTED, "no provider supports this call")                                           \
    X(14, PLUGIN, "plugin refused")                                                                \
    X(15, CONFLICT, "already registered")                                                          \
    X(16, IO, "input or output failed")                                                            \
    X(17, FORMAT, "malformed data")                                                                \
    X(18, FORKED, "not usable in a forked child")                                                  \
    X(19, INTERNAL, "internal error")

typedef int32_t tn_status; /* TN_OK, or a TN_ERR_*; unknown positive values are errors */
enum { TN_OK = 0 };
#define TN_STATUS_ENUM(number, NAME, text) TN_ERR_##NAME = number,
enum { TN_STATUS_LIST(TN_STATUS_ENUM) TN_STATUS_COUNT };
#undef TN_STATUS_ENUM

/* ---- Frozen PODs: their layout never changes ------------------------------------------------- */

typedef struct tn_dtype { /* = DLDataType */
    uint8_t code;         /* 0 int, 1 unsigned, 2 float, 4 bfloat, 6 bool */
    uint8_t bits;
    uint16_t lanes; /* 1 */
} tn_dtype;

typedef struct tn_device { /* = DLDevice */
    int32_t kind; /* TN_CPU, or what the kind's driver was given; private kinds >= 0x10000 */
    int32_t index;
} tn_device;

enum { TN_CPU = 1 };

typedef struct tn_str {
    const char *ptr; /* not NUL-terminated */
    uint64_t len;
} tn_str;

typedef struct tn_rng { /* in a Philox4x32-10 stream: element i is lane i % 4 of offset + i / 4 */
    uint64_t seed;
    uint64_t offset;
} tn_rng;

typedef struct tn_view { /* = DLTensor; strides count elements and are always there */
    void *data;          /* NULL in supports and plan */
    tn_device device;
    int32_t rank; /* 0..TN_MAX_RANK */
    tn_dtype dtype;
    const int64_t *sizes;
    const int64_t *strides;
    uint64_t byte_offset; /* 0 on devices whose memory has addresses */
} tn_view;

typedef struct tn_meta { /* what a tensor is, without its bytes */
    tn_dtype dtype;
    int32_t rank;
    int64_t sizes[TN_MAX_RANK];
    int64_t strides[TN_MAX_RANK]; /* elements */
    int64_t offset;               /* elements from the start of the tensor it is a view of */
} tn_meta;

typedef struct tn_tensor tn_tensor;       /* the core's; opaque */
typedef struct tn_generator tn_generator; /* the core's; opaque */

/* ---- Values: 16 bytes, tagged, borrowed; unused bits are zero -------------------------------- */

enum {
    TN_TAG_NONE = 0,
    TN_TAG_BOOL,      /* i: 0 or 1 */
    TN_TAG_INT,       /* i */
    TN_TAG_FLOAT,     /* f */
    TN_TAG_DTYPE,     /* dtype */
    TN_TAG_DEVICE,    /* device */
    TN_TAG_STR,       /* str, aux = length */
    TN_TAG_INTS,      /* ints, aux = count */
    TN_TAG_FLOATS,    /* floats, aux = count */
    TN_TAG_TENSOR,    /* tensor: programs and op libraries */
    TN_TAG_TENSORS,   /* tensors, aux = count; an entry may be NULL where the schema allows */
    TN_TAG_VIEW,      /* view: kernels and shape rules */
    TN_TAG_VIEWS,     /* views, aux = count */
    TN_TAG_GENERATOR, /* generator: the core reserves a range of it for this call */
    TN_TAG_RNG,       /* rng: a fixed position; nothing is reserved */
    TN_TAG_BOOLS      /* bools, aux = count */
};

typedef struct tn_value {
    int32_t tag;
    uint32_t aux;
    union {
        int64_t i;
        double f;
        tn_dtype dtype;
        tn_device device;
        const char *str;
        const int64_t *ints;
        const double *floats;
        const bool *bools;
        tn_tensor *tensor;
        tn_tensor *const *tensors;
        const tn_view *view;
        const tn_view *const *views;
        tn_generator *generator;
        const tn_rng *rng;
    };
} tn_value;

typedef struct tn_ints { /* {pointer, count}; count 0 means "all" where the schema says int[] */
    const int64_t *ptr;
    int64_t n;
} tn_ints;

typedef struct tn_floats {
    const double *ptr;
    int64_t n;
} tn_floats;

typedef struct tn_bools {
    const bool *ptr;
    int64_t n;
} tn_bools;

typedef struct tn_tensors {
    tn_tensor *const *ptr;
    int64_t n;
} tn_tensors;

/* ---- Dtypes ---------------------------------------------------------------------------------- */

static const tn_dtype TN_BOOL = {6, 8, 1}, TN_U8 = {1, 8, 1}, TN_I8 = {0, 8, 1},
                      TN_I16 = {0, 16, 1}, TN_I32 = {0, 32, 1}, TN_I64 = {0, 64, 1},
                      TN_F16 = {2, 16, 1}, TN_BF16 = {4, 16, 1}, TN_F32 = {2, 32, 1},
                      TN_F64 = {2, 64, 1};

/* X(index, NAME, name, C type, class): index is the bit in a kernel's dtype mask. f16 and bf16
 * travel as their 16 bits. Class: B bool, I integer, F floating. */
#define TN_DTYPE_LIST(X)                                                                           \
    X(0, BOOL, "bool", uint8_t, B)                                                                 \
    X(1, U8, "u8", uint8_t, I)                                                                     \
    X(2, I8, "i8", int8_t, I)                                                                      \
    X(3, I16, "i16", int16_t, I)                                                                   \
    X(4, I32, "i32", int32_t, I)                                                                   \
    X(5, I64, "i64", int64_t, I)                                                                   \
    X(6, F16, "f16", uint16_t, F)                                                                  \
    X(7, BF16, "bf16", uint16_t, F)                                                                \
    X(8, F32, "f32", float, F)                                                                     \
    X(9, F64, "f64", double, F)

#define TN_DTYPE_ENUM(index, NAME, name, ctype, class_) TN_IX_##NAME = index,
enum { TN_DTYPE_LIST(TN_DTYPE_ENUM) TN_DTYPE_COUNT };
#undef TN_DTYPE_ENUM

#define TN_MASK(NAME) (UINT64_C(1) << TN_IX_##NAME)
#define TN_MASK_FLOAT (TN_MASK(F16) | TN_MASK(BF16) | TN_MASK(F32) | TN_MASK(F64))
#define TN_MASK_INT   (TN_MASK(U8) | TN_MASK(I8) | TN_MASK(I16) | TN_MASK(I32) | TN_MASK(I64))
#define TN_MASK_ALL   (TN_MASK_FLOAT | TN_MASK_INT | TN_MASK(BOOL))

/* The index of a dtype (TN_IX_*), or -1 for one this header does not know. */
static inline int tn_dtype_index(tn_dtype d) {
    switch (d.lanes == 1 ? d.code << 8 | d.bits : -1) {
    case 6 << 8 | 8:
        return TN_IX_BOOL;
    case 1 << 8 | 8:
        return TN_IX_U8;
    case 0 << 8 | 8:
        return TN_IX_I8;
    case 0 << 8 | 16:
        return TN_IX_I16;
    case 0 << 8 | 32:
        return TN_IX_I32;
    case 0 << 8 | 64:
        return TN_IX_I64;
    case 2 << 8 | 16:
        return TN_IX_F16;
    case 4 << 8 | 16:
        return TN_IX_BF16;
    case 2 << 8 | 32:
        return TN_IX_F32;
    case 2 << 8 | 64:
        return TN_IX_F64;
    default:
        return -1;
    }
}

static inline bool tn_dtype_is(tn_dtype a, tn_dtype b) {
    return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

/* Is d one of a set (TN_MASK_*)? An unknown dtype is in none. */
static inline bool tn_dtype_in(tn_dtype d, uint64_t mask) {
    const int index = tn_dtype_index(d);
    return index >= 0 && (mask >> index & 1) != 0;
}

/* ---- Making values (what generated wrappers do) ---------------------------------------------- */

static inline tn_value tn_value_none(void) {
    tn_value v;
    v.tag = TN_TAG_NONE, v.aux = 0, v.i = 0;
    return v;
}
static inline tn_value tn_int(int64_t i) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_INT, v.i = i;
    return v;
}
static inline tn_value tn_float(double f) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_FLOAT, v.f = f;
    return v;
}
static inline tn_value tn_bool(bool b) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_BOOL, v.i = b;
    return v;
}
static inline tn_value tn_value_dtype(tn_dtype d) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_DTYPE, v.dtype = d;
    return v;
}
static inline tn_value tn_value_device(tn_device d) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_DEVICE, v.device = d;
    return v;
}
static inline tn_value tn_value_str(const char *s, uint32_t len) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_STR, v.aux = len, v.str = s;
    return v;
}
/* Of lists with more than 2^32-1 entries aux saturates, and the call refuses. */
static inline tn_value tn_value_ints(tn_ints l) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_INTS, v.aux = l.n < 0 || l.n > UINT32_MAX ? UINT32_MAX : (uint32_t)l.n,
    v.ints = l.ptr;
    return v;
}
static inline tn_value tn_value_floats(tn_floats l) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_FLOATS, v.aux = l.n < 0 || l.n > UINT32_MAX ? UINT32_MAX : (uint32_t)l.n,
    v.floats = l.ptr;
    return v;
}
static inline tn_value tn_value_bools(tn_bools l) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_BOOLS, v.aux = l.n < 0 || l.n > UINT32_MAX ? UINT32_MAX : (uint32_t)l.n,
    v.bools = l.ptr;
    return v;
}
/* NULL stays a TENSOR: only the schema knows if it may be absent. */
static inline tn_value tn_value_tensor(tn_tensor *t) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_TENSOR, v.tensor = t;
    return v;
}
static inline tn_value tn_value_tensors(tn_tensors l) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_TENSORS, v.aux = l.n < 0 || l.n > UINT32_MAX ? UINT32_MAX : (uint32_t)l.n,
    v.tensors = l.ptr;
    return v;
}
/* NULL: the thread's current generator. */
static inline tn_value tn_value_generator(tn_generator *g) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_GENERATOR, v.generator = g;
    return v;
}
static inline tn_value tn_value_rng(const tn_rng *r) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_RNG, v.rng = r;
    return v;
}

/* ---- Shape rules: metadata in, metadata out -------------------------------------------------- */

typedef struct tn_infer tn_infer;
struct tn_infer {
    uint32_t size;
    uint32_t n_args;
    /* Checked against schema and contract; tensors are views without data; what the contract calls
     * dim(x) is already 0 <= dim < rank. */
    const tn_value *args;
    /* The results in the schema, saved ones included. dtype is preset; the rule fills rank and
     * sizes, and of results that are views also strides and offset. Rank TN_ABSENT: this call does
     * not have this optional result. */
    tn_meta *outs;
    uint32_t n_outs;
    uint32_t flags;
    /* For the result that is Tensor[]: makes room for its entries and returns them, to be filled
     * instead of its place in outs. NULL: fail with NOMEM. */
    tn_meta *(*resize)(tn_infer *, uint32_t n_outs);
    void (*fail)(tn_infer *, tn_status code, const char *text, uint64_t len);
};

enum { TN_ABSENT = -1 }; /* tn_meta.rank */

/* Pure; must bound every size it computes. [any-thread] */
typedef tn_status (*tn_shape_fn)(tn_infer *);

/* ---- Kernels --------------------------------------------------------------------------------- */

/* tn_call.flags */
enum {
    TN_CALL_DETERMINISTIC = 1u << 0,
    TN_CALL_CAPTURING = 1u << 1, /* this run will be repeated, with what run sees now */
    TN_CALL_ALIGNED = 1u << 2,   /* every tensor starts on a 64-byte boundary */
    TN_CALL_FLAT = 1u << 3,   /* pointwise: every tensor dense and alike, or stride 0 throughout */
    TN_CALL_INPLACE = 1u << 4 /* outs[0] is the memory of args[0] */
};

/* From exact on each allows more: tf32 rounds factors to 10 bits, bf16x3 takes three products of
 * bf16 for one, bf16 a single one. A kernel may always be more exact. */
enum { TN_MATH_EXACT = 0, TN_MATH_TF32 = 1, TN_MATH_BF16X3 = 2, TN_MATH_BF16 = 3 };

/* Where kernels that run later leave what went wrong: the first to exchange claim 0 for its own
 * call's wins. The core reads it whenever it waits for the stream, and raises it there. */
typedef struct tn_error_word {
    uint64_t claim; /* tn_call.error_claim | status */
    int64_t value;  /* what was found, and how many are allowed where it stands; 0: not told */
    int64_t limit;
    uint64_t reserved;
} tn_error_word;

typedef struct tn_call tn_call;
struct tn_call { /* one call of a kernel. What args and outs lead to is gone when run returns */
    uint32_t size;
    uint32_t flags;
    /* Tensors are views; run-time (~) arguments are NONE in supports and plan. */
    const tn_value *args;
    /* Views, or lists of views; saved results included, in schema order; NONE if absent. */
    const tn_value *outs;
    uint32_t n_args;
    uint32_t n_outs;
    const void *user; /* the kernel row's user pointer */
    void *workspace;  /* 64-byte aligned, as many bytes as plan asked for */
    uint64_t workspace_bytes;
    void *reserve; /* kept until backward; belongs to this provider */
    uint64_t reserve_bytes;
    void *stream; /* NULL on the cpu */
    uint64_t rng_seed;
    uint64_t rng_offset;
    const uint64_t *rng_device_offset; /* added to rng_offset when not NULL */
    tn_error_word *device_error;       /* of the stream; NULL on the cpu, where fail is enough */
    int32_t max_threads;               /* >= 1 */
    uint32_t math;                     /* TN_MATH_*: what may stand for a product of f32 */
    /* The first one wins. [any-thread] */
    void (*fail)(tn_call *, tn_status code, const char *text, uint64_t len);
    void *host_data; /* the host's */
    tn_device
        device; /* where it runs. A view that is on the cpu meanwhile is a number: one element */
    uint64_t error_claim; /* says which call; its lowest byte is 0 */
};

enum { TN_NO = 0, TN_YES = 1, TN_YES_IF = 2 }; /* tn_verdict.answer */

/* What a TN_YES_IF may ask of arguments, each with a mask in tn_verdict. */
enum {
    TN_NEEDS_CONTIGUOUS = 1u << 0,    /* row-major, without holes */
    TN_NEEDS_CHANNELS_LAST = 1u << 1, /* as that, but dim 1 innermost; below rank 3 contiguous */
    TN_NEEDS_ALIGNED = 1u << 2        /* starts on a 64-byte boundary */
};

#define TN_REASON_LIST(X)                                                                          \
    X(0, NONE, "no reason given")                                                                  \
    X(1, DTYPE, "dtype")                                                                           \
    X(2, LAYOUT, "layout")                                                                         \
    X(3, SIZE, "too small or too large to pay")                                                    \
    X(4, RANK, "rank")                                                                             \
    X(5, ATTRIBUTE, "attribute value")                                                             \
    X(6, NONDETERMINISTIC, "not deterministic")                                                    \
    X(7, HARDWARE, "this computer lacks the instructions")                                         \
    X(8, VENDOR, "vendor library")                                                                 \
    X(9, ARGUMENTS, "a newer argument is not known")                                               \
    X(10, PLAN, "planning failed")                                                                 \
    X(11, SCHEMA, "written for another schema of the op")
#define TN_REASON_ENUM(number, NAME, text) TN_REASON_##NAME = number,
enum { TN_REASON_LIST(TN_REASON_ENUM) TN_REASON_COUNT };
#undef TN_REASON_ENUM

typedef struct tn_verdict {
    uint32_t size;
    int32_t answer; /* TN_NO on entry */
    int32_t reason; /* for TN_NO: TN_REASON_* */
    /* The TN_NEEDS_* this host can meet. */
    uint32_t bits_known;
    /* Needs of a later version than these masks; one that is not in bits_known makes it a no. */
    uint32_t needs;
    /* For TN_YES_IF, bit i: argument i of the schema, all tensors of a list. The core copies just
     * those that are not so, and counts the copies; what is written is never copied. */
    uint32_t contiguous;
    uint32_t channels_last;
    uint32_t aligned;
} tn_verdict;

enum { TN_PLAN_RESULTS = 8 };

typedef struct tn_plan {
    uint32_t size;
    uint32_t flags;
    void *data; /* the plugin's; immutable once plan has returned; given to run and drop */
    uint64_t workspace_bytes;
    uint64_t reserve_bytes;
    uint64_t
        plan_bytes; /* (optional: not told) memory behind data, which a cache of plans counts */
    /* (optional: row-major) In form "strided": the dims of new result i from outermost to
     * innermost, as it is laid out. Read when plan has returned. */
    const int8_t *order[TN_PLAN_RESULTS];
} tn_plan;

typedef struct tn_kernel { /* one row of a provider's table */
    uint32_t size;
    uint32_t flags; /* TN_KERNEL_* */
    /* The op's schema as it was when the kernel was written, of which opgen makes a header
     * (MATH_SCHEMA_gather). Where the op's own does not begin with the same arguments, or has other
     * results, the kernel is never asked. Defaults and names of results do not matter. */
    const char *schema;
    const char *device; /* device kind: "cpu" */
    uint64_t dtypes;    /* TN_MASK_* of the op's type variable; ignored for ops without one */
    uint32_t n_args;    /* leading arguments it reads; all others are at their defaults */
    int32_t priority;   /* higher is asked first; the reference has -100 */
    /* (optional: none) Tells rows of one plugin for the same calls apart: a-z, 0-9 and _. The row
     * is shown as "plugin/name", and pinned as that. */
    const char *name;
    uint32_t variants; /* how many plans it can make of one call; 0 and 1 are one */
    uint32_t reserved;
    const void *user; /* arrives as tn_call.user */
    /* (optional: yes) Will it run such calls? [any-thread] */
    void (*supports)(const tn_call *, tn_verdict *);
    /* (optional: no plan) Once per signature; may allocate. [any-thread] */
    tn_status (*plan)(tn_call *, tn_plan *);
    /* Runs, on several threads at once. [any-thread] [no-alloc] */
    tn_status (*run)(const void *plan, tn_call *);
    /* (optional: nothing to free) [any-thread] */
    void (*drop)(void *plan);
} tn_kernel;

enum {
    TN_KERNEL_NONDETERMINISTIC = 1u << 0, /* not chosen in deterministic mode */
    TN_KERNEL_NO_CAPTURE = 1u << 1        /* a run cannot be repeated with the same tn_call */
};

/* ---- Ops ------------------------------------------------------------------------------------- */

/* tn_op.traits */
enum {
    TN_OP_RANDOM = 1u << 0,  /* one 32-bit word (of 64 bits: two) per element of result 0 */
    TN_OP_VIEW = 1u << 1,    /* results alias an argument; no kernel, the shape rule says it all */
    TN_OP_DYNAMIC = 1u << 2, /* sizes depend on data: a count op, then a fill op of a given size */
    TN_OP_INPLACE = 1u << 3, /* also exists as NAME_(args): writes its first argument */
    TN_OP_CAPTURE_SAFE = 1u << 4,
    TN_OP_WIDE = 1u << 5 /* its decomposition gets 16-bit floats as f32; results are rounded */
};

typedef struct tn_grad_ctx tn_grad_ctx; /* what a derivative asks; the core's; opaque */

typedef struct tn_op { /* one row of an op library */
    uint32_t size;
    uint32_t traits;
    const char *schema;     /* "add(Tensor<T> a, Tensor<T> b) -> Tensor y" */
    const char *contract;   /* "x:[N,C] w:[O,C] dim:dim(x)"; "" = none */
    const char *form;       /* what kernels see: "strided", "pointwise", "reduce", "along" */
    const char *shape_rule; /* "same", "broadcast", "reduce", or NULL: shape is called */
    /* What the derivative reads: "a,b"; "a:b+c" is a, for the gradients of b and c only. */
    const char *keep;
    const char *no_grad; /* why there is no derivative, or NULL */
    const char *samples; /* sample calls for tests and benchmarks */
    const char *doc;     /* one line */
    tn_shape_fn shape;
    /* (optional: see no_grad) Written in ops. */
    void (*derivative)(tn_grad_ctx *);
    /* (optional: a kernel must be there) Written in ops; tensors are handles. */
    tn_status (*decompose)(const tn_value *args, uint32_t n_args, tn_value *outs, uint32_t n_outs);
} tn_op;

/* ---- What the host offers -------------------------------------------------------------------- */

typedef struct tn_plugin tn_plugin; /* the core's; first argument of every service */
typedef struct tn_driver tn_driver; /* tenon/abi_driver.h */

typedef void (*tn_range_fn)(void *arg, int64_t begin, int64_t end);
typedef void (*tn_reduce_fn)(void *arg, int64_t begin, int64_t end, void *partial);
/* left = left (+) right */
typedef void (*tn_combine_fn)(void *arg, void *left, const void *right);

enum { TN_LOG_ERROR = 0, TN_LOG_WARN, TN_LOG_INFO, TN_LOG_DEBUG };

typedef struct tn_host {
    uint32_t size;
    uint32_t minor; /* the ABI minor this host speaks */
    /* [any-thread] */
    void (*log)(tn_plugin *, int32_t level, const char *text, uint64_t len);
    /* Host memory, 64-byte aligned, or NULL; free takes what alloc gave, or NULL. [any-thread] */
    void *(*alloc)(tn_plugin *, uint64_t bytes);
    void (*free)(tn_plugin *, void *);
    /* Runs body over [0, n) in chunks of exactly `grain` (the last may be shorter) on at most
     * max_threads threads; small or nested work runs inline. The borders depend on (n, grain) only.
     * Bodies may not call ops. [any-thread] [no-alloc] */
    void (*parallel_for)(tn_plugin *, int64_t n, int64_t grain, int32_t max_threads,
                         tn_range_fn body, void *arg);
    /* As parallel_for, each chunk filling a zeroed partial of partial_bytes (<= 256); partials are
     * combined in a fixed binary tree, so the bits do not depend on the number of threads.
     * n == 0 leaves out zeroed. [any-thread] */
    tn_status (*parallel_reduce)(tn_plugin *, int64_t n, int64_t grain, int32_t max_threads,
                                 tn_reduce_fn body, tn_combine_fn combine, void *arg, void *out,
                                 uint32_t partial_bytes);
    /* Monotonic. [any-thread] */
    uint64_t (*clock_ns)(tn_plugin *);
    /* The user's setting `key` for this plugin, or NULL. Borrowed until stop. [any-thread] */
    const char *(*option)(tn_plugin *, const char *key);
    /* "tn.ops/0"; NULL if it is unknown. [any-thread] */
    const void *(*interface)(tn_plugin *, const char *id);
    /* Why start fails. [init] */
    void (*fail)(tn_plugin *, tn_status code, const char *text, uint64_t len);
    /* Registration: collected while start runs, checked and committed as one transaction when it
     * returns TN_OK. Rows must outlive the plugin. `stride` is the caller's sizeof(row). [init] */
    tn_status (*add_ops)(tn_plugin *, const tn_op *rows, uint32_t count, uint32_t stride);
    tn_status (*add_kernels)(tn_plugin *, const tn_kernel *rows, uint32_t count, uint32_t stride);
    tn_status (*add_driver)(tn_plugin *, const tn_driver *);
    /* A fact for `tenon plugins`: "OpenBLAS 0.3.21 (openmp, SkylakeX)". Copied. [init] */
    void (*describe)(tn_plugin *, const char *text);
} tn_host;

/* ---- tn.ops/0: calling ops from op libraries (draft) ----------------------------------------- */

typedef struct tn_op_ref { /* frozen; id is filled at the first call */
    const char *name;
    int32_t id;
    uint32_t flags;
} tn_op_ref;

typedef struct tn_ops {
    uint32_t size;
    uint32_t flags;
    /* Calls an op. Results are tensors of the current scope. Does nothing and returns the pending
     * error while one is pending. [any-thread] */
    tn_status (*call)(tn_op_ref *, const tn_value *args, uint32_t n_args, tn_value *outs,
                      uint32_t n_outs);
    tn_status (*meta)(tn_tensor *, tn_meta *out);
    /* 0-dim; gives way to other dtypes in promotion. */
    tn_tensor *(*scalar)(tn_value number);
    tn_tensor *(*empty)(tn_ints sizes, tn_dtype, tn_device);
    tn_status (*device)(tn_tensor *, tn_device *out);
    /* A row-major copy to the host; bytes must match. [may-sync] */
    tn_status (*read)(tn_tensor *, void *out, uint64_t bytes);
    /* The pending error's code, or TN_OK; sets it, and returns the pending code. */
    tn_status (*error)(void);
    tn_status (*fail)(tn_status code, const char *text, uint64_t len);
    /* kept[0..n) move to the scope outside. */
    uint64_t (*scope_push)(void);
    tn_status (*scope_pop_with)(uint64_t scope, tn_tensor *const *kept, int64_t n);

    /* In a derivative (docs/op-guide.md); names are those of the row's schema. */

    /* The gradient of result i; zeros if there is none. */
    tn_tensor *(*grad_out)(tn_grad_ctx *, uint32_t i);
    bool (*grad_out_defined)(tn_grad_ctx *, uint32_t i);
    /* An argument or result that the row keeps; NULL if absent. */
    tn_tensor *(*grad_saved)(tn_grad_ctx *, const char *name);
    tn_tensors (*grad_saved_list)(tn_grad_ctx *, const char *name);
    /* Of any tensor argument or result. */
    tn_status (*grad_meta)(tn_grad_ctx *, const char *name, tn_meta *out);
    /* Any other argument; a generator comes as the position that was used. */
    tn_value (*grad_arg)(tn_grad_ctx *, const char *name);
    /* Will anybody read this argument's gradient? */
    bool (*grad_needs)(tn_grad_ctx *, const char *name);
    /* The engine sums over broadcast dims. */
    void (*grad_set)(tn_grad_ctx *, const char *name, tn_tensor *grad);
    void (*grad_set_list)(tn_grad_ctx *, const char *name, tn_tensors grads);
    /* Tensors of an argument or result, of a list all, absent ones 0; and the metadata of number i
     * of them, kept or not. */
    uint32_t (*grad_count)(tn_grad_ctx *, const char *name);
    tn_status (*grad_meta_at)(tn_grad_ctx *, const char *name, uint32_t i, tn_meta *out);
    /* Where it was. */
    tn_status (*grad_device)(tn_grad_ctx *, const char *name, tn_device *out);

    /* x's elements on another device, contiguous; not recorded. x itself if it is there. */
    tn_tensor *(*transfer)(tn_tensor *x, tn_device to);
} tn_ops;

/* ---- Entry ----------------------------------------------------------------------------------- */

typedef struct tn_hello { /* who asks */
    uint32_t size;
    uint32_t sanitizers; /* bit 0 address, 1 undefined, 2 thread */
    uint32_t minor_min;
    uint32_t minor_max;
    const char *build_id;
} tn_hello;

typedef struct tn_plugin_desc {
    uint32_t size;
    uint32_t minor; /* the minor the plugin was built for */
    const char *id;
    const char *version;
    /* Registers; TN_OK, or the code given to fail. [init] */
    tn_status (*start)(const tn_host *, tn_plugin *);
    /* (optional: nothing to undo) [init] */
    void (*stop)(const tn_host *, tn_plugin *);
    /* (optional: none) What the host may ask of the plugin. */
    const void *(*interface)(const char *id);
} tn_plugin_desc;

/* Describes the plugin, or returns NULL and says why not in *why (a static string). */
typedef const tn_plugin_desc *(*tn_plugin_query_fn)(const tn_hello *, const char **why);

/* ---- The note: identity that can be read without running the plugin -------------------------- */

#define TN_NOTE_OWNER    "Tenon"
#define TN_NOTE_IDENTITY 1 /* "key=value\n" lines */
#define TN_NOTE_SCHEMAS  2 /* one op per line: "schema\tdoc\tflags\n"; flags: "inplace" or none */
#define TN_NOTE_MAX      (1 << 20)

#define TN_STRING_(x) #x
#define TN_STRING(x)  TN_STRING_(x)
#define TN_NOTE(symbol, type_, text)                                                               \
    __attribute__((section(".note.tenon"), aligned(4), used)) static const struct {                \
        uint32_t name_bytes, desc_bytes, type;                                                     \
        char name[8];                                                                              \
        char desc[(sizeof(text) + 3) / 4 * 4];                                                     \
    } symbol = {6, sizeof(text), type_, TN_NOTE_OWNER, text}

/* Several plugins can be linked into one program: each one's files are compiled with
 * -DTN_PLUGIN_STATIC=ID, which gives all that TN_PLUGIN defines names of its own. The program says
 *
 *     TN_PLUGIN_DECLARE(acme);
 *     tn_plugin_add(TN_PLUGIN_QUERY(acme)); */
#define TN_JOIN_(a, b)      a##_##b
#define TN_JOIN(a, b)       TN_JOIN_(a, b)
#define TN_PLUGIN_QUERY(id) TN_JOIN(tn_plugin_query_v0, id)
#ifdef TN_PLUGIN_STATIC
#define tn_plugin_host     TN_JOIN(tn_plugin_host, TN_PLUGIN_STATIC)
#define tn_plugin_self     TN_JOIN(tn_plugin_self, TN_PLUGIN_STATIC)
#define tn_plugin_ops      TN_JOIN(tn_plugin_ops, TN_PLUGIN_STATIC)
#define tn_plugin_query_v0 TN_PLUGIN_QUERY(TN_PLUGIN_STATIC)
#endif

#ifdef __cplusplus
#define TN_PLUGIN_DECLARE(id)                                                                      \
    extern "C" const tn_plugin_desc *TN_PLUGIN_QUERY(id)(const tn_hello *, const char **)
#else
#define TN_PLUGIN_DECLARE(id)                                                                      \
    const tn_plugin_desc *TN_PLUGIN_QUERY(id)(const tn_hello *, const char **)
#endif

/* What TN_PLUGIN leaves for the plugin's own files; hidden, so that nothing else is exported. */
#define TN_HIDDEN __attribute__((visibility("hidden")))
extern TN_HIDDEN const tn_host *tn_plugin_host;
extern TN_HIDDEN tn_plugin *tn_plugin_self;
extern TN_HIDDEN const tn_ops *tn_plugin_ops; /* NULL in a host without tn.ops/0 */

/* Once per plugin: note, description and entry. kinds: "ops", "kernels", "driver" joined by
 * commas. extra: more "key=value\n" lines (requires=, runtime.<name>=, environment=) or "".
 * start(host, self) registers. */
#define TN_PLUGIN(id_, version_, kinds_, licence_, extra_, start_, stop_)                          \
    TN_NOTE(tn_plugin_note, TN_NOTE_IDENTITY,                                                      \
            "id=" id_ "\nversion=" version_ "\nabi=" TN_STRING(TN_ABI_MAJOR) "." TN_STRING(        \
                TN_ABI_MINOR) "\nkinds=" kinds_ "\nlicence=" licence_ "\n" extra_);                \
    TN_HIDDEN const tn_host *tn_plugin_host;                                                       \
    TN_HIDDEN tn_plugin *tn_plugin_self;                                                           \
    TN_HIDDEN const tn_ops *tn_plugin_ops;                                                         \
    static tn_status tn_plugin_start(const tn_host *host, tn_plugin *self) {                       \
        tn_plugin_host = host;                                                                     \
        tn_plugin_self = self;                                                                     \
        tn_plugin_ops = (const tn_ops *)host->interface(self, "tn.ops/0");                         \
        return (start_)(host, self);                                                               \
    }                                                                                              \
    TN_ENTRY const tn_plugin_desc *tn_plugin_query_v0(const tn_hello *hello, const char **why);    \
    TN_ENTRY const tn_plugin_desc *tn_plugin_query_v0(const tn_hello *hello, const char **why) {   \
        static const tn_plugin_desc desc = {sizeof(tn_plugin_desc), TN_ABI_MINOR, id_, version_,   \
                                            tn_plugin_start,        stop_,        NULL};           \
        if (hello->minor_min > TN_ABI_MINOR) {                                                     \
            *why = "built for an older minor of the ABI than this host accepts";                   \
            return NULL;                                                                           \
        }                                                                                          \
        return &desc;                                                                              \
    }                                                                                              \
    typedef int tn_plugin_needs_semicolon

#ifdef __cplusplus
#define TN_ENTRY extern "C" __attribute__((visibility("default")))
#else
#define TN_ENTRY __attribute__((visibility("default")))
#endif

/* ---- Small conveniences ---------------------------------------------------------------------- */

static inline uint64_t tn_strlen(const char *s) {
    uint64_t n = 0;
    while (s[n]) n++;
    return n;
}

/* Fails a call or a shape rule: return tn_fail(c, TN_ERR_SHAPE, "..."). Both structs offer
 * `fail`. */
#define tn_fail(c, code, text) ((c)->fail((c), (code), (text), tn_strlen(text)), (tn_status)(code))

static inline int64_t tn_view_numel(const tn_view *v) { /* cannot overflow: the core checked */
    int64_t n = 1;
    for (int32_t i = 0; i < v->rank; i++) n *= v->sizes[i];
    return n;
}

#ifdef __cplusplus
}
#endif
#endif
