/* accuracy.h - how far results of unary ops are from the truth, in units of the last place.
 *
 * An ulp is the distance of neighbouring numbers of the dtype where the true value lies; below the
 * smallest normal number it stays the same. The truth is libm's at higher precision: double for
 * dtypes up to f32, long double for f64. The ops and their bounds: accuracy_ops.inc.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BENCH_ACCURACY_H
#define TENON_BENCH_ACCURACY_H

#include <stdbool.h>
#include <stdint.h>
#include <tenon/tenon.h>

typedef struct accuracy_op {
    const char *name, *op; /* "gelu tanh", "gelu" */
    const char *text;      /* a second argument, or NULL */
    double (*near)(double);
    long double (*exact)(long double);
    double bound_f32, bound_f64; /* ulp; of 16-bit dtypes: ACCURACY_BOUND_16 */
} accuracy_op;

extern const accuracy_op accuracy_ops[];
extern const int accuracy_op_count;

#define ACCURACY_BOUND_16 0.51

enum { ACCURACY_BUCKETS = 5 }; /* error 0, up to 0.5, 1, 2, more */

typedef struct accuracy {
    int64_t n, buckets[ACCURACY_BUCKETS];
    double worst, worst_at;
    int64_t special; /* NaN for a number or a number for NaN, -0 for 0 or 0 for -0 */
    double special_at;
} accuracy;

/* Every `step`-th bit pattern of dtype through `op` by the provider in use; of f64, that of f32
 * with more digits behind. False with the pending error if a call failed. */
bool accuracy_measure(const accuracy_op *, tn_dtype, uint64_t step, accuracy *out);
double accuracy_bound(const accuracy_op *, tn_dtype);

#endif
