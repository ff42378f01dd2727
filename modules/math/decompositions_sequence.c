/* decompositions_sequence.c - numbers that follow from two ends and a count; the identity matrix.
 *
 * Invariant: the first and the last number are the ends as given, whatever the dtype holds; no way
 * from one to the other overflows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/calls.h"

#include <math.h>

typedef struct ends {
    bool whole;   /* both as integers: of an integer dtype, beyond what f64 counts */
    int64_t i[2]; /* from, to */
    double f[2];
    int64_t steps;
} ends;

/* Of integer dtypes ends are truncated first, as in PyTorch. */
static bool find_ends(const tn_value *args, tn_dtype dtype, ends *e) {
    static const char *const names[] = {"start", "end"};
    const int index = tn_dtype_index(dtype);
    const bool is_int = index >= 0 && (TN_MASK_INT >> index & 1);

    *e = (ends){.steps = args[2].i};
    for (int k = 0; k < 2; k++) {
        const bool is_float = args[k].tag == TN_TAG_FLOAT;
        const double x = is_float ? args[k].f : (double)args[k].i;
        if (!math_holds(dtype, args[k])) {
            tnk_raise(TN_ERR_INVALID, "%s is %g, which is no number of the dtype", names[k], x);
            return false;
        }
        e->f[k] = is_int ? trunc(x) : x;
        e->i[k] = !is_int ? 0 : is_float ? (int64_t)x : args[k].i;
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

static tn_tensor *steps_of(int64_t steps, tn_value device) {
    static tn_op_ref arange = {"arange", 0, 0};
    return MATH_CALL(&arange, tn_int(0), tn_int(steps), tn_int(1), tn_value_dtype(TN_I64), device);
}

/* (start, end, steps, dtype, device) */
tn_status math_compose_linspace(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    ends e;

    (void)n_args, (void)n_outs;
    if (!find_ends(args, args[3].dtype, &e)) return tnk_pending();
    tn_tensor *at = steps_of(e.steps, args[4]);
    return give(outs, tn_to(e.whole ? spaced_whole(&e, at) : spaced(&e, at), args[3].dtype));
}

/* (start, end, steps, base, dtype, device) */
tn_status math_compose_logspace(const tn_value *args, uint32_t n_args, tn_value *outs,
                                uint32_t n_outs) {
    ends e;

    (void)n_args, (void)n_outs;
    if (!find_ends(args, args[4].dtype, &e)) return tnk_pending();
    tn_tensor *y = spaced(&e, steps_of(e.steps, args[5]));
    return give(outs, tn_to(tn_pow(tnk_scalar(args[3].f), y), args[4].dtype));
}

/* (n, m, dtype, device) */
tn_status math_compose_eye(const tn_value *args, uint32_t n_args, tn_value *outs, uint32_t n_outs) {
    const int64_t rows = args[0].i, columns = args[1].tag == TN_TAG_INT ? args[1].i : rows;

    (void)n_args, (void)n_outs;
    tn_tensor *y = tn_eq(tn_unsqueeze(steps_of(rows, args[3]), 1), steps_of(columns, args[3]));
    return give(outs, tn_to(y, args[2].dtype));
}
