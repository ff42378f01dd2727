/* kit.h - what plugins otherwise write again and again, over abi.h: arguments of a call, views,
 * failing with a format, loops on several threads, 16-bit floats.
 *
 * Header-only and optional: a plugin that includes it still imports nothing and exports one symbol.
 * All functions are [any-thread]; those that take a call borrow it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_KIT_H
#define TENON_KIT_H

#include <tenon/abi.h>
#include <tenon/abi_text.h>

#include <stdarg.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline int64_t tnk_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t tnk_max(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- Arguments and results of a call --------------------------------------------------------- */

/* The view of tensor argument i, or of result i. Argument i must be a tensor that is there. */
static inline const tn_view *tnk_arg(const tn_call *c, uint32_t i) { return c->args[i].view; }
static inline const tn_view *tnk_out(const tn_call *c, uint32_t i) { return c->outs[i].view; }

/* A number, whatever the tag it came with; `absent` if it did not come. */
static inline double tnk_number(const tn_value *v, double absent) {
    return v->tag == TN_TAG_FLOAT ? v->f : v->tag == TN_TAG_NONE ? absent : (double)v->i;
}

/* A bool; false if it did not come. */
static inline bool tnk_flag(const tn_value *v) { return v->tag != TN_TAG_NONE && v->i != 0; }

/* ---- Views ----------------------------------------------------------------------------------- */

/* The index of its dtype in TN_DTYPE_LIST, for a switch; -1 if unknown, which no kernel is
 * given. */
static inline int tnk_dtype_index(const tn_view *v) { return tn_dtype_index(v->dtype); }

static inline int64_t tnk_item_bytes(const tn_view *v) { return v->dtype.bits / 8; }

/* Address of the element that lies `offset` elements after the first. */
static inline void *tnk_at(const tn_view *v, int64_t offset) {
    return (char *)v->data + v->byte_offset + offset * tnk_item_bytes(v);
}

/* Row-major without holes? Strides of dims of size 1 do not matter; none do where a size is 0. */
static inline bool tnk_contiguous(const int64_t *sizes, const int64_t *strides, int32_t rank) {
    int64_t expected = 1;
    for (int32_t d = rank; d-- > 0;) {
        if (sizes[d] == 0) return true;
        if (sizes[d] != 1 && strides[d] != expected) return false;
        expected *= sizes[d];
    }
    return true;
}
static inline bool tnk_is_contiguous(const tn_view *v) {
    return tnk_contiguous(v->sizes, v->strides, v->rank);
}

enum { TNK_LIST_BYTES = 320 }; /* longer texts are cut */

static inline const char *tnk_list_text(const int64_t *x, int32_t n, const char *between,
                                        char out[TNK_LIST_BYTES]) {
    int used = tn_text(out, TNK_LIST_BYTES, "[");
    for (int32_t i = 0; i < n && used + 24 < TNK_LIST_BYTES; i++)
        used += tn_text(out + used, (size_t)(TNK_LIST_BYTES - used), "%s%lld", i ? between : "",
                        (long long)x[i]);
    tn_text(out + used, (size_t)(TNK_LIST_BYTES - used), "]");
    return out;
}

/* "[2,3]": sizes, for messages. Returns out. */
static inline const char *tnk_sizes_text(const int64_t *sizes, int32_t rank,
                                         char out[TNK_LIST_BYTES]) {
    return tnk_list_text(sizes, rank, ",", out);
}

/* "[1, 2]": the indices of element number `position` in row-major order. Returns out. */
static inline const char *tnk_position_text(const int64_t *sizes, int32_t rank, int64_t position,
                                            char out[TNK_LIST_BYTES]) {
    int64_t at[TN_MAX_RANK];
    for (int32_t d = rank; d-- > 0; position /= sizes[d]) at[d] = position % sizes[d];
    return tnk_list_text(at, rank, ", ", out);
}

/* ---- Answers and failures -------------------------------------------------------------------- */

/* What `supports` says: TN_YES, TN_YES_IF (all tensors contiguous) or TN_NO with a TN_REASON_*. */
static inline void tnk_answer(tn_verdict *v, int32_t answer, int32_t reason) {
    v->answer = answer;
    v->reason = reason;
    v->contiguous = answer == TN_YES_IF ? UINT32_MAX : 0;
}

enum { TNK_TEXT_BYTES = 960 }; /* longer texts are cut */

/* As vsnprintf, with a point in numbers whatever the locale; returns what is in `out`, in bytes. */
static inline uint64_t tnk_vformat(char out[TNK_TEXT_BYTES], const char *format, va_list list) {
    const int n = tn_vtext(out, TNK_TEXT_BYTES, format, list);
    return n < 0 ? 0 : (uint64_t)tnk_min(n, TNK_TEXT_BYTES - 1);
}

/* A kernel, its plan, a shape rule or start fails with a text: return tnk_fail(c, TN_ERR_INDEX,
 * "..."). All return code. */
__attribute__((format(printf, 3, 4))) static inline tn_status tnk_fail(tn_call *c, tn_status code,
                                                                       const char *format, ...) {
    char text[TNK_TEXT_BYTES];
    va_list list;
    va_start(list, format);
    const uint64_t n = tnk_vformat(text, format, list);
    va_end(list);
    c->fail(c, code, text, n);
    return code;
}

/* The same for a kernel that runs on the host after the call has ended, on a thread of its device:
 * value was found where `limit` are allowed. On a device's own processors the same exchange is
 * theirs to make. Nothing if another call was first. */
static inline tn_status tnk_fail_later(tn_call *c, tn_status code, int64_t value, int64_t limit) {
    uint64_t none = 0;
    if (__atomic_compare_exchange_n(&c->device_error->claim, &none, c->error_claim | (uint8_t)code,
                                    false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        c->device_error->value = value;
        c->device_error->limit = limit;
    }
    return code;
}

__attribute__((format(printf, 3, 4))) static inline tn_status
tnk_fail_shape(tn_infer *in, tn_status code, const char *format, ...) {
    char text[TNK_TEXT_BYTES];
    va_list list;
    va_start(list, format);
    const uint64_t n = tnk_vformat(text, format, list);
    va_end(list);
    in->fail(in, code, text, n);
    return code;
}

__attribute__((format(printf, 2, 3))) static inline tn_status
tnk_fail_start(tn_status code, const char *format, ...) {
    char text[TNK_TEXT_BYTES];
    va_list list;
    va_start(list, format);
    const uint64_t n = tnk_vformat(text, format, list);
    va_end(list);
    tn_plugin_host->fail(tn_plugin_self, code, text, n);
    return code;
}

/* ---- Kernel rows by family ------------------------------------------------------------------- */

/* A file of kernels ends in its own rows, and the file with TN_PLUGIN lists the families. */
typedef struct tnk_family {
    const tn_kernel *rows; /* live for ever */
    uint32_t n;
} tnk_family;
#define TNK_FAMILY(rows)                                                                           \
    { rows, (uint32_t)(sizeof(rows) / sizeof *(rows)) }

/* For start: registers n families; the first failure. */
static inline tn_status tnk_add_families(const tnk_family *const *families, uint32_t n) {
    tn_status s = TN_OK;
    for (uint32_t i = 0; i < n && s == TN_OK; i++)
        s = tn_plugin_host->add_kernels(tn_plugin_self, families[i]->rows, families[i]->n,
                                        sizeof(tn_kernel));
    return s;
}

/* ---- Loops on several threads ---------------------------------------------------------------- */

enum { TNK_GRAIN = 32768 }; /* elements one thread takes at a time */

/* Runs body over [0, n) items of about `cost` elements each. How the work is cut depends on n and
 * cost alone, so results need not depend on the number of threads. Small work stays on this one. */
static inline void tnk_parallel(const tn_call *c, int64_t n, int64_t cost, tn_range_fn body,
                                void *arg) {
    const int64_t grain = tnk_max(1, TNK_GRAIN / tnk_max(1, cost));
    if (n <= 0) return;
    if (n <= grain)
        body(arg, 0, n);
    else
        tn_plugin_host->parallel_for(tn_plugin_self, n, grain, c->max_threads, body, arg);
}

/* *lowest = the lower of it and position, whichever thread comes first: where something is
 * wrong. Starts as INT64_MAX. */
static inline void tnk_note_lowest(int64_t *lowest, int64_t position) {
    int64_t seen = __atomic_load_n(lowest, __ATOMIC_RELAXED);
    while (position < seen && !__atomic_compare_exchange_n(lowest, &seen, position, 1,
                                                           __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

/* ---- 16-bit floats --------------------------------------------------------------------------- */

/* A 16-bit float with `mantissa` stored bits and exponent bias `bias` from a double, rounded
 * once, to nearest even. `unit` is 1 / (its smallest subnormal): below the smallest normal
 * number values are multiples of that, above they are the double's own bits with a rebased
 * exponent. A carry out of the mantissa lands in the exponent. NaN keeps the bits that fit, and
 * stays NaN. */
static inline uint16_t tnk_f64_to_small(double x, int mantissa, uint64_t bias, double unit) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint64_t magnitude = bits & ~(UINT64_C(1) << 63);
    const uint64_t sign = bits >> 63 << 15, infinity = (2 * bias + 1) << mantissa;
    const int drop = 52 - mantissa;

    if (x != x) {
        const uint64_t payload = magnitude >> drop & ((UINT64_C(1) << mantissa) - 1);
        return (uint16_t)(sign | infinity | UINT64_C(1) << (mantissa - 1) | payload);
    }
    if (magnitude >> 52 <= 1023 - bias)
        return (uint16_t)(sign | (uint64_t)__builtin_rint(__builtin_fabs(x) * unit));
    const uint64_t rebased = magnitude - ((1023 - bias) << 52);
    const uint64_t half = (UINT64_C(1) << (drop - 1)) - 1 + (rebased >> drop & 1);
    const uint64_t rounded = (rebased + half) >> drop;
    return (uint16_t)(sign | (rounded < infinity ? rounded : infinity));
}

static inline uint16_t tnk_f64_to_f16(double x) { return tnk_f64_to_small(x, 10, 15, 0x1p24); }
static inline uint16_t tnk_f64_to_bf16(double x) { return tnk_f64_to_small(x, 7, 127, 0x1p133); }

static inline double tnk_f16_to_f64(uint16_t h) {
    const uint64_t sign = (uint64_t)(h >> 15) << 63, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 0) return h >> 15 ? -(double)mantissa * 0x1p-24 : (double)mantissa * 0x1p-24;
    const uint64_t wide = exponent == 31 ? 2047 : exponent + (1023 - 15);
    const uint64_t bits = sign | wide << 52 | mantissa << 42;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline double tnk_bf16_to_f64(uint16_t h) {
    const uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#ifdef __cplusplus
}
#endif
#endif
