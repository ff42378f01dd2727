/* create.c - tensors from numbers, and copies of tensors.
 *
 * Invariant: the first and the last number of linspace are the ends as given, whatever the dtype
 * holds; no way from one to the other overflows.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "modules/math/calls.h"
#include "modules/math/shapes.h"

static tn_status like(tn_infer *in, uint32_t argument, const char *name) {
    const tn_view *v = view_of(in, argument);
    return v ? math_set_sizes(in, &in->outs[0], v->sizes, v->rank, name)
             : tnk_fail_shape(in, TN_ERR_INVALID, "%s is missing", name);
}

/* The result is dst; src must broadcast to it. */
tn_status math_shape_copy(tn_infer *in) {
    const tn_view *dst = view_of(in, 0), *src = view_of(in, 1);
    char to[TNK_LIST_BYTES], from[TNK_LIST_BYTES];
    tn_meta both;

    if (!dst || !src)
        return tnk_fail_shape(in, TN_ERR_INVALID, "%s is missing", dst ? "src" : "dst");
    math_view_meta(dst, &both);
    if (src->rank > dst->rank || !math_broadcast(&both, src->sizes, src->rank) ||
        memcmp(both.sizes, dst->sizes, (size_t)dst->rank * sizeof *dst->sizes) != 0)
        return tnk_fail_shape(in, TN_ERR_SHAPE, "src%s cannot be broadcast to dst%s",
                              tnk_sizes_text(src->sizes, src->rank, from),
                              tnk_sizes_text(dst->sizes, dst->rank, to));
    return like(in, 0, "dst");
}

/* ceil((end - start) / step) of three integers: the span may need 65 bits, so it is taken apart in
 * unsigned numbers. */
static bool whole_count(int64_t start, int64_t end, int64_t step, double *count) {
    if (step == 0 || (step > 0 ? end < start : end > start)) return false;
    const uint64_t a = (uint64_t)start, b = (uint64_t)end, s = (uint64_t)step;
    const uint64_t span = step > 0 ? b - a : a - b, stride = step > 0 ? s : 0 - s;
    *count = (double)(span / stride + (span % stride != 0));
    return true;
}

/* How many elements there are. False: step is 0 or points away. */
static bool arange_count(const tn_infer *in, double *count) {
    double start, end, step;

    if (!math_number_of(in, 0, &start) || !math_number_of(in, 1, &end) ||
        !math_number_of(in, 2, &step))
        return false;
    if (is_whole(&in->args[0]) && is_whole(&in->args[1]) && is_whole(&in->args[2]))
        return whole_count(in->args[0].i, in->args[1].i, in->args[2].i, count);
    if (step == 0 || !isfinite(start) || !isfinite(end) || !isfinite(step)) return false;
    *count = ceil((end - start) / step);
    return *count >= 0;
}

tn_status math_shape_arange(tn_infer *in) {
    double count;

    if (!arange_count(in, &count))
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "start, end and step must be finite numbers, and step must lead from "
                              "start towards end");
    if (count > 1e15)
        return tnk_fail_shape(in, TN_ERR_OVERFLOW, "%g elements are more than memory can hold",
                              count);
    math_set_dtype(in, 3); /* a shape rule may overrule the dtype that the schema presets */
    if (in->outs[0].dtype.bits == 64 && !math_holds(in->outs[0].dtype, in->args[0]))
        return tnk_fail_shape(in, TN_ERR_INVALID, "start is no number of the dtype");
    const int64_t n = (int64_t)count;
    return math_set_sizes(in, &in->outs[0], &n, 1, "result");
}

typedef struct ends {
    bool whole;   /* both as integers: of an integer dtype, beyond what f64 counts */
    int64_t i[2]; /* from, to */
    double f[2];
    int64_t steps;
} ends;

/* Of integer dtypes ends are truncated first, as in PyTorch. */
static bool find_ends(tn_value start, tn_value end, int64_t steps, tn_dtype dtype, ends *e) {
    static const char *const names[] = {"start", "end"};
    const bool is_int = tn_dtype_in(dtype, TN_MASK_INT);

    *e = (ends){.steps = steps};
    for (int k = 0; k < 2; k++) {
        const tn_value v = k == 0 ? start : end;
        const double x = as_float(&v);
        if (!math_holds(dtype, v)) {
            tnk_raise(TN_ERR_INVALID, "%s is %g, which is no number of the dtype", names[k], x);
            return false;
        }
        e->f[k] = is_int ? trunc(x) : x;
        e->i[k] = !is_int ? 0 : v.tag == TN_TAG_FLOAT ? (int64_t)x : v.i;
        e->whole = e->whole || (is_int && fabs(x) >= 0x1p53);
    }
    return true;
}

/* The ends, and steps - 2 numbers between them, counted from the nearer end: f64. Where the way is
 * longer than a number can be, all is done with halves, which changes no other bit. */
static tn_tensor *spaced(const ends *e, tn_tensor *at) {
    const bool whole = isfinite(e->f[1] - e->f[0]) || !isfinite(e->f[0]) || !isfinite(e->f[1]);
    const double scale = whole ? 1 : 0.5, a = e->f[0] * scale, b = e->f[1] * scale;
    const double last = (double)e->steps - 1;
    tn_tensor *step = tnk_scalar(last > 0 ? (b - a) / last : 0), *i = tn_to(at, TN_F64);
    tn_tensor *up = tn_add(tnk_scalar(a), tn_mul(step, i));
    tn_tensor *down = tn_sub(tnk_scalar(b), tn_mul(step, tn_sub(tnk_scalar(last), i)));
    tn_tensor *y = last > 0 ? tn_where(tn_lt(at, tnk_scalar_int(e->steps / 2)), up, down) : up;
    return whole ? y : tn_div(y, tnk_scalar(scale));
}

/* The same of integers: the way is q steps - 1 times, and r. Additions wrap on the way and come out
 * right; what is not whole is truncated. */
static tn_tensor *spaced_whole(const ends *e, tn_tensor *at) {
    const bool up = e->i[0] <= e->i[1];
    const uint64_t a = (uint64_t)e->i[0], b = (uint64_t)e->i[1], way = up ? b - a : a - b;
    const int64_t last = e->steps > 1 ? e->steps - 1 : 1;
    const uint64_t q = way / (uint64_t)last, r = way % (uint64_t)last;

    if (last > INT32_MAX) { /* the products below would overflow */
        tnk_raise(TN_ERR_INVALID, "steps is %lld: between integers this large, at most 2^31",
                  (long long)e->steps);
        return NULL;
    }
    tn_tensor *more = tn_mul(at, tnk_scalar_int((int64_t)r));
    tn_tensor *far =
        tn_add(tn_mul(at, tnk_scalar_int((int64_t)q)), tn_floor_divide(more, tnk_scalar_int(last)));
    tn_tensor *from = tnk_scalar_int(e->i[0]), *zero = tnk_scalar_int(0);
    tn_tensor *y = up ? tn_add(far, from) : tn_sub(from, far);
    tn_tensor *beyond = tn_logical_and(tn_ne(tn_remainder(more, tnk_scalar_int(last)), zero),
                                       up ? tn_lt(y, zero) : tn_gt(y, zero));
    return tn_add(y, tn_mul(tn_to(beyond, TN_I64), tnk_scalar_int(up ? 1 : -1)));
}

static tn_tensor *steps_of(int64_t steps, tn_device device) {
    return op_arange(tn_int(0), tn_int(steps), tn_int(1), TN_I64, device);
}

tn_tensor *math_compose_linspace(tn_value start, tn_value end, int64_t steps, tn_dtype dtype,
                                 tn_device device) {
    ends e;

    if (!find_ends(start, end, steps, dtype, &e)) return NULL;
    tn_tensor *at = steps_of(e.steps, device);
    return tn_to(e.whole ? spaced_whole(&e, at) : spaced(&e, at), dtype);
}

tn_tensor *math_compose_logspace(tn_value start, tn_value end, int64_t steps, double base,
                                 tn_dtype dtype, tn_device device) {
    ends e;

    if (!find_ends(start, end, steps, dtype, &e)) return NULL;
    tn_tensor *y = spaced(&e, steps_of(e.steps, device));
    return tn_to(tn_pow(tnk_scalar(base), y), dtype);
}

tn_tensor *math_compose_eye(int64_t n, tn_maybe_int m, tn_dtype dtype, tn_device device) {
    tn_tensor *rows = tn_unsqueeze(steps_of(n, device), 1);
    return tn_to(tn_eq(rows, steps_of(m.set ? m.value : n, device)), dtype);
}

/* x's elements, contiguous, as dtype. */
static tn_tensor *copy_as(tn_tensor *x, const tn_meta *m, tn_dtype dtype) {
    tn_device device;

    if (tn_plugin_ops->device(x, &device) != TN_OK) return NULL;
    return tn_copy_(tn_plugin_ops->empty((tn_ints){m->sizes, m->rank}, dtype, device), x);
}

tn_tensor *math_compose_clone(tn_tensor *x) {
    tn_meta m;

    return tnk_meta(x, &m) ? copy_as(x, &m, m.dtype) : NULL;
}

tn_tensor *math_compose_contiguous(tn_tensor *x) {
    tn_meta m;

    if (!tnk_meta(x, &m)) return NULL;
    return tnk_contiguous(m.sizes, m.strides, m.rank) ? x : tn_clone(x);
}

tn_status math_shape_to(tn_infer *in) {
    math_set_dtype(in, 1);
    return like(in, 0, "x");
}

void math_grad_to(math_grad_to_ctx *c) {
    tn_meta x;
    if (TNK_META_OF(c, x, &x)) TNK_SET_GRAD(c, x, tn_to(TNK_GRAD(c, 0), x.dtype));
}

tn_tensor *math_compose_to(tn_tensor *x, tn_dtype dtype) {
    tn_meta m;

    return tnk_meta(x, &m) ? copy_as(x, &m, dtype) : NULL;
}

void math_grad_to_device(math_grad_to_device_ctx *c) {
    tn_device from;

    if (tn_plugin_ops->grad_device(TNK_CTX(c), "x", &from) == TN_OK)
        TNK_SET_GRAD(c, x, tn_to_device(TNK_GRAD(c, 0), from));
}

tn_tensor *math_compose_to_device(tn_tensor *x, tn_device device) {
    return tn_plugin_ops->transfer(x, device);
}

tn_tensor *math_compose_full_like(tn_tensor *x, tn_value value) {
    tn_device device;
    tn_meta m;

    if (!tnk_meta(x, &m) || tn_plugin_ops->device(x, &device) != TN_OK) return NULL;
    return tn_fill_(tn_plugin_ops->empty((tn_ints){m.sizes, m.rank}, m.dtype, device), value);
}
