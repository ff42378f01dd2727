/* accuracy_measure.c - calls an op on many bit patterns and looks at the errors.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/tenon.h>

#include <math_ops.h>

#include "bench/accuracy.h"

enum { CHUNK = 1 << 16 };

typedef struct format {             /* a floating dtype */
    int precision, lowest, highest; /* bits of the significand; exponents of normal numbers */
} format;

static format format_of(tn_dtype d) {
    if (d.bits == 64) return (format){53, -1022, 1023};
    if (d.bits == 32) return (format){24, -126, 127};
    return d.code == 4 ? (format){8, -126, 127} : (format){11, -14, 15};
}

/* The error of r in ulp of y; NaN if it is of another kind. inf counts as the number that would
 * come after the largest. */
static double error_of(long double r, long double y, const format *f) {
    const long double infinity = ldexpl(1, f->highest + 1);
    if (isnan(r) != isnan(y)) return (double)NAN;
    if (isnan(r)) return 0;
    if (y == 0 && r == 0) return signbit(r) == signbit(y) ? 0 : (double)NAN;
    r = fmaxl(-infinity, fminl(infinity, r)), y = fmaxl(-infinity, fminl(infinity, y));
    int exponent = y == 0 ? f->lowest : ilogbl(y);
    if (exponent < f->lowest) exponent = f->lowest;
    if (exponent > f->highest) exponent = f->highest;
    return (double)(fabsl(r - y) * ldexpl(1, f->precision - 1 - exponent));
}

static void count(accuracy *a, double error, double x) {
    static const double limits[ACCURACY_BUCKETS - 1] = {0, 0.5, 1, 2};
    int bucket = 0;
    a->n++;
    if (isnan(error)) {
        a->special++, a->special_at = x;
        return;
    }
    while (bucket < ACCURACY_BUCKETS - 1 && error > limits[bucket]) bucket++;
    a->buckets[bucket]++;
    if (error > a->worst) a->worst = error, a->worst_at = x;
}

/* The f32 number of these bits, and for f64 some digits behind those of f32. */
static double wide_pattern(uint32_t bits) {
    const uint64_t behind = (uint64_t)bits * UINT64_C(0x9E3779B97F4A7C15) >> 35;
    float narrow;
    double x;
    uint64_t wide;
    memcpy(&narrow, &bits, sizeof narrow);
    x = (double)narrow;
    memcpy(&wide, &x, sizeof wide);
    if (isfinite(narrow) && narrow != 0) wide |= behind;
    memcpy(&x, &wide, sizeof x);
    return x;
}

/* n patterns from `bits` on, `step` apart, as a tensor. */
static tn_tensor *patterns(tn_dtype d, uint64_t bits, uint64_t step, int64_t n, char *room) {
    const size_t bytes = d.bits / 8;
    for (int64_t i = 0; i < n; i++, bits += step) {
        const double wide = wide_pattern((uint32_t)bits);
        memcpy(room + (size_t)i * bytes, d.bits == 64 ? (const void *)&wide : &bits, bytes);
    }
    return tn_from(room, (tn_ints){&n, 1}, d);
}

static bool one_chunk(const accuracy_op *op, tn_dtype d, tn_tensor *x, int64_t n, accuracy *out) {
    const format f = format_of(d);
    tn_op_ref ref = {op->op, 0, 0};
    tn_value args[2] = {tn_value_tensor(x), tn_value_none()}, y;
    if (op->text) args[1] = tn_value_str(op->text, (uint32_t)strlen(op->text));
    if (tn_op_call(&ref, args, op->text ? 2 : 1, &y, 1) != TN_OK) return false;
    const double *from = tn_data(tn_to(x, TN_F64)), *to = tn_data(tn_to(y.tensor, TN_F64));
    if (!from || !to) return false;
    for (int64_t i = 0; i < n; i++) {
        const long double truth = d.bits == 64 ? op->exact(from[i]) : op->near(from[i]);
        count(out, error_of(to[i], truth, &f), from[i]);
    }
    return true;
}

bool accuracy_measure(const accuracy_op *op, tn_dtype d, uint64_t step, accuracy *out) {
    const uint64_t last = d.bits == 16 ? UINT16_MAX : UINT32_MAX;
    char *room = malloc(CHUNK * sizeof(double));
    bool ok = room != NULL;
    memset(out, 0, sizeof *out);
    for (uint64_t bits = 0; ok && bits <= last;) {
        const uint64_t left = (last - bits) / step + 1, n = left < CHUNK ? left : CHUNK;
        const tn_scope scope = tn_scope_push();
        ok = one_chunk(op, d, patterns(d, bits, step, (int64_t)n, room), (int64_t)n, out);
        tn_scope_pop(scope);
        bits += n * step;
    }
    free(room);
    return ok;
}
