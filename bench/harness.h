/* harness.h - how everything here is measured: blocks of calls, paired where two things are
 * compared, medians with bootstrap intervals, and a report that says on what machine.
 *
 * Invariants: no block is shorter than what the clock resolves a thousand times over; comparisons
 * are of blocks in the order A B B A from one run; blocks during which a fixed piece of work took
 * longer than usual are left out while enough remain.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BENCH_HARNESS_H
#define TENON_BENCH_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

enum { BENCH_SAMPLES = 64 };

double bench_now(void); /* seconds */

typedef struct bench_side { /* something that can be done n times */
    void (*run)(void *arg, int64_t n);
    void *arg;
    double (*timed)(void *arg,
                    int64_t n); /* (instead of run) seconds n calls took, by its own clock */
} bench_side;

typedef struct bench_stat {
    double median, low, high; /* 95 % interval of the median */
    int n, disturbed;         /* samples, and how many were left out */
    double samples[BENCH_SAMPLES];
} bench_stat;

/* Median and interval of stat->samples[0..n). */
void bench_summarise(bench_stat *);
/* Seconds of one call, times `unit` (1e9: nanoseconds). */
bench_stat bench_time(const bench_side *, double unit);
/* How many times as fast a is as b: b's time over a's. */
bench_stat bench_pair(const bench_side *a, const bench_side *b);
const char *bench_verdict(const bench_stat *ratio); /* "faster" "slower" "same" "too noisy" */

typedef struct bench_row {
    const char *name;
    const char *unit; /* "ns", "x", "%" */
    double goal;      /* NaN: none */
    bool more_is_better;
    double error; /* of the result that was timed, relative; NaN: nothing to compare */
    const char *note;
    bench_stat stat;
} bench_row;

typedef struct bench_report bench_report;
/* NULL without memory. Copies of rows are kept, their texts must outlive it. */
bench_report *bench_report_new(const char *suite);
void bench_report_add(bench_report *, const bench_row *);
/* Prints the table, what missed its goal first, and writes SUITE.json into the folder: argv[1], or
 * bench/results under `bazel run`. Frees the report; the program's exit status. */
int bench_report_end(bench_report *, int argc, char **argv);
/* For main: prints the pending error; the exit status. */
int bench_fail(const char *what);

#endif
