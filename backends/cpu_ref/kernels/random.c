/* random.c - random_bits, uniform, normal, dropout: what philox.h says, element by element.
 *
 * Invariant: an element depends on (seed, offset, its logical index) only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/normal.h"
#include "backends/cpu_ref/philox.h"
#include "backends/cpu_ref/uniform.h"
#include "backends/cpu_ref/walk.h"

typedef struct job job;
typedef void (*make_fn)(const job *, int64_t first, int64_t n, double *out);
struct job {
    make_fn make;
    const tn_view *views[2]; /* the result; dropout: x */
    uint64_t seed, offset;
    double a, b; /* low, high; mean, std; p */
    ref_range range;
    int digits; /* of the unit numbers: bits that count */
};

static bool is_f64(const job *j) { return tn_dtype_is(j->views[0]->dtype, TN_F64); }

/* Elements first .. first+n-1 of the stream of numbers in [0, 1) with `digits` bits. */
static void make_unit(const job *j, int64_t first, int64_t n, double *out) {
    uint32_t words[2 * REF_BLOCK];
    if (is_f64(j)) {
        ref_philox_words(j->seed, j->offset, 2 * (uint64_t)first, 2 * n, words);
        for (int64_t k = 0; k < n; k++) {
            const uint64_t bits = (uint64_t)words[2 * k + 1] << 32 | words[2 * k];
            out[k] = (double)(bits >> 11) * 0x1p-53;
        }
    } else {
        ref_philox_words(j->seed, j->offset, (uint64_t)first, n, words);
        const double unit = ldexp(1, -j->digits);
        for (int64_t k = 0; k < n; k++) out[k] = (double)(words[k] >> (32 - j->digits)) * unit;
    }
}

/* What is not f64 is first rounded to f32, so that f16 and bf16 are rounded f32 numbers. */
static double as_made(const job *j, double x) { return is_f64(j) ? x : (double)(float)x; }

static void make_uniform(const job *j, int64_t first, int64_t n, double *out) {
    make_unit(j, first, n, out);
    for (int64_t k = 0; k < n; k++) out[k] = as_made(j, ref_stretch(&j->range, out[k]));
}

static void make_normal(const job *j, int64_t first, int64_t n, double *out) {
    uint32_t words[REF_BLOCK + 2]; /* whole pairs around the block */
    const int64_t pair = first & ~INT64_C(1);
    ref_philox_words(j->seed, j->offset, (uint64_t)pair, n + 2, words);
    for (int64_t k = 0; k < n; k++) {
        const int64_t even = ((first + k) & ~INT64_C(1)) - pair;
        double z[2];
        ref_normal_pair(words[even], words[even + 1], z);
        out[k] = as_made(j, j->a + j->b * z[(first + k) % 2]);
    }
}

static void random_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    double numbers[REF_BLOCK];
    ref_walk w;
    ref_walk_start(&w, 1, j->views, begin);
    for (int64_t n; begin < end; begin += n, ref_walk_next(&w, n)) {
        n = ref_walk_run(&w, tnk_min(REF_BLOCK, end - begin));
        j->make(j, begin, n, numbers);
        ref_walk_store_f64(&w, 0, n, numbers);
    }
}

static job make_job(const tn_call *c) {
    const uint64_t device_offset = c->rng_device_offset ? *c->rng_device_offset : 0;
    return (job){.views = {tnk_out(c, 0)},
                 .seed = c->rng_seed,
                 .offset = c->rng_offset + device_offset,
                 .digits = 24};
}

static tn_status run_random(tn_call *c, const char *op, make_fn make) {
    job j = make_job(c);
    const int ix = tnk_dtype_index(j.views[0]);
    j.make = make, j.a = tnk_number(&c->args[1], 0), j.b = tnk_number(&c->args[2], 1);
    if (!ref_is_float(ix))
        return tnk_fail(c, TN_ERR_DTYPE, "%s: dtype must be floating; convert the result instead",
                        op);
    if (make == make_uniform) j.range = ref_range_of(ix, j.a, j.b), j.digits = ref_digits(ix);
    tnk_parallel(c, tn_view_numel(j.views[0]), 1, random_range, &j);
    return TN_OK;
}

tn_status ref_uniform(const void *plan, tn_call *c) {
    (void)plan;
    return run_random(c, "uniform", make_uniform);
}

tn_status ref_normal(const void *plan, tn_call *c) {
    (void)plan;
    return run_random(c, "normal", make_normal);
}

static void bits_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const int64_t each = tnk_item_bytes(j->views[0]) / 4;
    uint32_t words[2 * REF_BLOCK];
    int64_t bits[REF_BLOCK];
    ref_walk w;
    ref_walk_start(&w, 1, j->views, begin);
    for (int64_t n; begin < end; begin += n, ref_walk_next(&w, n)) {
        n = ref_walk_run(&w, tnk_min(REF_BLOCK, end - begin));
        ref_philox_words(j->seed, j->offset, (uint64_t)(each * begin), each * n, words);
        for (int64_t k = 0; k < n; k++)
            bits[k] = each == 1 ? (int64_t)words[k]
                                : (int64_t)((uint64_t)words[2 * k + 1] << 32 | words[2 * k]);
        ref_walk_store_i64(&w, 0, n, bits);
    }
}

tn_status ref_random_bits(const void *plan, tn_call *c) {
    (void)plan;
    job j = make_job(c);
    const int ix = tnk_dtype_index(j.views[0]);
    if (ix != TN_IX_I32 && ix != TN_IX_I64)
        return tnk_fail(c, TN_ERR_DTYPE, "random_bits: dtype must be i32 or i64");
    tnk_parallel(c, tn_view_numel(j.views[0]), 1, bits_range, &j);
    return TN_OK;
}

static void dropout_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    double unit[REF_BLOCK], x[REF_BLOCK];
    ref_walk w;
    ref_walk_start(&w, 2, j->views, begin);
    for (int64_t n; begin < end; begin += n, ref_walk_next(&w, n)) {
        n = ref_walk_run(&w, tnk_min(REF_BLOCK, end - begin));
        make_unit(j, begin, n, unit);
        ref_walk_load_f64(&w, 1, n, x);
        for (int64_t k = 0; k < n; k++) x[k] = unit[k] >= j->a ? x[k] * (1 / (1 - j->a)) : 0;
        ref_walk_store_f64(&w, 0, n, x);
    }
}

tn_status ref_dropout(const void *plan, tn_call *c) {
    (void)plan;
    job j = make_job(c);
    j.views[1] = tnk_arg(c, 0), j.a = tnk_number(&c->args[1], 0);
    tnk_parallel(c, tn_view_numel(j.views[0]), 1, dropout_range, &j);
    return TN_OK;
}
