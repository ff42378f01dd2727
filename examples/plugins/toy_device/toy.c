/* toy.c - a device of its own in one file: memory, copies, six kernels of f32.
 *
 * Its memory is the host's, but tensors hold addresses that nobody may use: the highest bit but one is
 * set. So the core and programs come to it by copies alone, as with any device of its own. It has no
 * streams: work is done when a call returns.
 * SPDX-License-Identifier: Apache-2.0 */
#include <tenon/abi_driver.h>
#include <tenon/kit.h>

#include <stdlib.h>

#define FAR (UINT64_C(1) << 62)

static void *to_far(void *p) { return p ? (void *)((uintptr_t)p | FAR) : NULL; }
static void *to_near(const void *p) { return (void *)((uintptr_t)p & ~FAR); }

/* ---- The driver ------------------------------------------------------------------------------ */

static int32_t count(void *user) {
    (void)user;
    return 1;
}

static tn_status props(void *user, int32_t index, tn_device_props *out) {
    (void)user;
    if (index != 0) return TN_ERR_DEVICE;
    tn_text(out->name, sizeof out->name, "toy");
    out->memory_bytes = UINT64_C(1) << 30;
    return TN_OK;
}

/* [driver.begin] */
static void *alloc(void *user, int32_t index, int32_t kind, uint64_t bytes, void *stream) {
    void *p = NULL;
    (void)user, (void)index, (void)stream;
    if (posix_memalign(&p, 64, bytes)) return NULL;
    return kind == TN_MEMORY_PINNED ? p : to_far(p);
}

static void release(void *user, int32_t index, int32_t kind, void *p, uint64_t bytes,
                    void *stream) {
    (void)user, (void)index, (void)kind, (void)bytes, (void)stream;
    free(to_near(p));
}

static bool can_copy(void *user, tn_device src, tn_device dst) {
    (void)user, (void)src, (void)dst;
    return true;
}

static tn_status copy(void *user, tn_device dst_device, void *dst, tn_device src_device,
                      const void *src, uint64_t bytes, void *stream) {
    (void)user, (void)dst_device, (void)src_device, (void)stream;
    memmove(to_near(dst), to_near(src), bytes);
    return TN_OK;
}

static tn_status stream_sync(void *user, int32_t index, void *stream) {
    (void)user, (void)index, (void)stream;
    return TN_OK;
}

static const tn_driver driver = {.size = sizeof(tn_driver),
                                 .kind = "toy",
                                 .count = count,
                                 .props = props,
                                 .alloc = alloc,
                                 .free = release,
                                 .can_copy = can_copy,
                                 .copy = copy,
                                 .stream_sync = stream_sync};
/* [driver.end] */

/* ---- Walking --------------------------------------------------------------------------------- */

/* Element `position`, in row-major order of the sizes of `shape`, of a view of those sizes. */
static int64_t offset_of(const tn_view *v, const tn_view *shape, int64_t position) {
    int64_t at = 0;
    for (int32_t d = shape->rank; d-- > 0; position /= shape->sizes[d])
        at += position % shape->sizes[d] * v->strides[d];
    return at;
}

static float *far_at(const tn_view *v, const tn_view *shape, int64_t position) {
    return (float *)to_near(v->data) + offset_of(v, shape, position);
}

/* [operand.begin] */
/* An operand, which may be a number: one element on the cpu, of any dtype. */
static float operand(const tn_view *v, const tn_view *shape, int64_t position) {
    if (v->device.kind != TN_CPU) return *far_at(v, shape, position);
    switch (tnk_dtype_index(v)) {
    case TN_IX_F64:
        return (float)*(const double *)v->data;
    case TN_IX_I64:
        return (float)*(const int64_t *)v->data;
    default:
        return *(const float *)v->data;
    }
}
/* [operand.end] */

/* ---- Kernels --------------------------------------------------------------------------------- */

static tn_status run_fill(const void *plan, tn_call *c) {
    const tn_view *y = tnk_out(c, 0);
    (void)plan;
    for (int64_t i = 0; i < tn_view_numel(y); i++)
        *far_at(y, y, i) = (float)tnk_number(&c->args[1], 0);
    return TN_OK;
}

static tn_status run_copy(const void *plan, tn_call *c) {
    const tn_view *y = tnk_out(c, 0);
    (void)plan;
    for (int64_t i = 0; i < tn_view_numel(y); i++) *far_at(y, y, i) = operand(tnk_arg(c, 1), y, i);
    return TN_OK;
}

#define BINARY(name, expression)                                                                   \
    static tn_status run_##name(const void *plan, tn_call *c) {                                    \
        const tn_view *y = tnk_out(c, 0);                                                          \
        (void)plan;                                                                                \
        for (int64_t i = 0; i < tn_view_numel(y); i++) {                                           \
            const float a = operand(tnk_arg(c, 0), y, i), b = operand(tnk_arg(c, 1), y, i);        \
            *far_at(y, y, i) = expression;                                                         \
        }                                                                                          \
        return TN_OK;                                                                              \
    }
BINARY(add, a + b)
BINARY(mul, a *b)

/* [kernel.begin] */
/* The core shows x as [outer, n, inner], contiguous, and y as [outer, inner]. */
static tn_status run_sum(const void *plan, tn_call *c) {
    const tn_view *x = tnk_arg(c, 0), *y = tnk_out(c, 0);
    const int64_t outer = x->sizes[0], n = x->sizes[1], inner = x->sizes[2];
    (void)plan;
    for (int64_t i = 0; i < outer * inner; i++) {
        const float *from = (const float *)to_near(x->data) + i / inner * n * inner + i % inner;
        double sum = 0;
        for (int64_t k = 0; k < n; k++) sum += from[k * inner];
        *far_at(y, y, i) = (float)sum;
    }
    return TN_OK;
}
/* [kernel.end] */

/* y (B, m, n) = a (B, m, k) b (B, k, n) */
static tn_status run_gemm(const void *plan, tn_call *c) {
    const tn_view *a = tnk_arg(c, 0), *b = tnk_arg(c, 1), *y = tnk_out(c, 0);
    const int64_t m = y->sizes[1], n = y->sizes[2], depth = a->sizes[2];
    (void)plan;
    for (int64_t i = 0; i < tn_view_numel(y); i++) {
        const int64_t batch = i / (m * n), row = i / n % m, column = i % n;
        const float *x =
            (const float *)to_near(a->data) + batch * a->strides[0] + row * a->strides[1];
        const float *w =
            (const float *)to_near(b->data) + batch * b->strides[0] + column * b->strides[2];
        double sum = 0;
        for (int64_t k = 0; k < depth; k++)
            sum += (double)x[k * a->strides[2]] * w[k * b->strides[1]];
        *far_at(y, y, i) = (float)sum;
    }
    return TN_OK;
}

/* [rows.begin] */
/* copy_ also casts: only what lies here as f32, and numbers. */
static void supports_copy(const tn_call *c, tn_verdict *v) {
    const tn_view *x = tnk_arg(c, 1);
    const bool known = tn_dtype_in(x->dtype, TN_MASK(F32) | TN_MASK(F64) | TN_MASK(I64));
    const bool fits = x->device.kind == TN_CPU ? known : tn_dtype_is(x->dtype, TN_F32);
    tnk_answer(v, fits ? TN_YES : TN_NO, TN_REASON_DTYPE);
}

/* A row says the op's schema as the kernel knows it: if that changes, it is not called wrongly. */
#define ROW(schema_, n, run_)                                                                      \
    .size = sizeof(tn_kernel), .schema = schema_, .n_args = n, .device = "toy",                    \
    .dtypes = TN_MASK(F32), .run = run_
static const tn_kernel kernels[] = {
    {ROW("fill_(Tensor(a!) x, Scalar~ value) -> Tensor(a) y", 2, run_fill)},
    {ROW("copy_(Tensor(a!) dst, Tensor src) -> Tensor(a) y", 2, run_copy),
     .supports = supports_copy},
    {ROW("add(Tensor<T> a, Tensor<T> b) -> Tensor y", 2, run_add)},
    {ROW("mul(Tensor<T> a, Tensor<T> b) -> Tensor y", 2, run_mul)},
    {ROW("sum.dim(Tensor<T> x, int[] dim, bool keepdim=false) -> Tensor y", 3, run_sum)},
    {ROW("gemm(Tensor<N> a, Tensor<N> b) -> Tensor y", 2, run_gemm)},
};
/* [rows.end] */

static tn_status start(const tn_host *host, tn_plugin *self) {
    const tn_status s = host->add_driver(self, &driver);
    if (s != TN_OK) return s;
    return host->add_kernels(self, kernels, sizeof kernels / sizeof *kernels, sizeof *kernels);
}

TN_PLUGIN("toy", "0.1.0", "driver,kernels", "Apache-2.0", "", start, NULL);
