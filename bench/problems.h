/* problems.h - the pieces of work that //bench:ops times, by the names their peers know.
 *
 * Inputs are those of bench_input; results and what belongs to a problem live in the scope that is
 * current when it is made.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BENCH_PROBLEMS_H
#define TENON_BENCH_PROBLEMS_H

#include <tenon/tenon.h>

enum { BENCH_MOST_LAYERS = 3 };

typedef struct bench_work {
    tn_tensor *x, *y, *index;
    tn_tensor *params[2 * BENCH_MOST_LAYERS];
    int n_params;
    int64_t step;
} bench_work;

typedef struct bench_problem {
    const char *name, *text;
    void (*make)(bench_work *);
    tn_tensor *(*call)(bench_work *); /* in a scope of its own, unless calls is given */
    int calls;                        /* that one call counts as; 0 = 1 */
    bool recorded;
    double goal;          /* of one call in `unit`; NaN: none */
    const char *unit;     /* "ns" "us" "ms" "TFLOP/s" */
    double flops;         /* of one call, for "TFLOP/s" */
    double largest_error; /* of the check, relative; NaN: not the same numbers (random) */
} bench_problem;

extern const bench_problem bench_problems[];
extern const int bench_n_problems;

#endif
