/* harness.c - the clock, blocks, pairs and the bootstrap.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tenon/tenon.h>

enum { BLOCKS = 48, QUADRUPLES = 24, ENOUGH = 12, RESAMPLES = 2000 };
static const double block_seconds = 3e-3, disturbed_above = 1.25;

double bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- The canary: fixed work whose time says how undisturbed we are --------------------------- */

static double canary_best = INFINITY;

static double canary(void) {
    volatile uint64_t sink = 1;
    const double start = bench_now();
    for (int i = 0; i < 20000; i++) sink = sink * UINT64_C(6364136223846793005) + 1;
    const double seconds = bench_now() - start;
    if (seconds < canary_best) canary_best = seconds;
    return seconds;
}

/* ---- Medians and their intervals ------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

void bench_summarise(bench_stat *s) {
    static double medians[RESAMPLES];
    double pick[BENCH_SAMPLES];
    uint64_t state = UINT64_C(88172645463325252);
    if (s->n < 1) {
        s->median = s->low = s->high = NAN;
        return;
    }
    for (int r = 0; r < RESAMPLES; r++) {
        for (int i = 0; i < s->n; i++) pick[i] = s->samples[next_random(&state) % (uint64_t)s->n];
        medians[r] = median_of(pick, s->n);
    }
    qsort(medians, RESAMPLES, sizeof *medians, by_value);
    s->low = medians[RESAMPLES * 25 / 1000], s->high = medians[RESAMPLES * 975 / 1000];
    memcpy(pick, s->samples, (size_t)s->n * sizeof *pick);
    s->median = median_of(pick, s->n);
}

/* Leaves out samples taken while the canary was slow, if enough others remain. */
static void keep_quiet_ones(bench_stat *s, const double *canaries) {
    int quiet = 0;
    for (int i = 0; i < s->n; i++) quiet += canaries[i] <= disturbed_above * canary_best;
    if (quiet >= ENOUGH) {
        int kept = 0;
        for (int i = 0; i < s->n; i++)
            if (canaries[i] <= disturbed_above * canary_best) s->samples[kept++] = s->samples[i];
        s->disturbed = s->n - kept, s->n = kept;
    }
    bench_summarise(s);
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

static double seconds_of(const bench_side *s, int64_t n) {
    if (s->timed) return s->timed(s->arg, n);
    const double start = bench_now();
    s->run(s->arg, n);
    return bench_now() - start;
}

/* Calls a block needs; warms up on the way. */
static int64_t calls_of_block(const bench_side *s) {
    int64_t n = 1;
    seconds_of(s, 1);
    for (;;) {
        const double seconds = seconds_of(s, n);
        if (!(seconds < block_seconds) || n > INT64_C(1) << 32) return n;
        n = seconds < block_seconds / 16 ? n * 8
                                         : (int64_t)((double)n * 1.2 * block_seconds / seconds) + 1;
    }
}

bench_stat bench_time(const bench_side *s, double unit) {
    bench_stat stat = {.n = BLOCKS};
    double canaries[BENCH_SAMPLES];
    const int64_t n = calls_of_block(s);
    for (int i = 0; i < BLOCKS; i++) {
        canaries[i] = canary();
        stat.samples[i] = seconds_of(s, n) / (double)n * unit;
        canaries[i] = fmax(canaries[i], canary());
    }
    keep_quiet_ones(&stat, canaries);
    return stat;
}

/* OpenMP's threads spin for a while after their work, at the cost of whoever comes next. */
static double rested(const bench_side *s, int64_t n) {
    nanosleep(&(struct timespec){.tv_nsec = 8000000}, NULL);
    seconds_of(s, 1);
    return seconds_of(s, n);
}

bench_stat bench_pair(const bench_side *a, const bench_side *b) {
    bench_stat stat = {.n = QUADRUPLES};
    double canaries[BENCH_SAMPLES];
    const int64_t na = calls_of_block(a), nb = calls_of_block(b);
    for (int i = 0; i < QUADRUPLES; i++) {
        canaries[i] = canary();
        double ta = rested(a, na), tb = rested(b, nb);
        tb += rested(b, nb);
        ta += rested(a, na);
        canaries[i] = fmax(canaries[i], canary());
        stat.samples[i] = (tb / (double)nb) / (ta / (double)na);
    }
    keep_quiet_ones(&stat, canaries);
    return stat;
}

const char *bench_verdict(const bench_stat *r) {
    if (r->low > 1.02) return "faster";
    if (r->high < 0.98) return "slower";
    if (r->low >= 0.95 && r->high <= 1.05) return "same";
    return "too noisy";
}

int bench_fail(const char *what) {
    fprintf(stderr, "bench: %s: %s\n", what, tn_error() ? tn_error_message() : "failed");
    return 1;
}
