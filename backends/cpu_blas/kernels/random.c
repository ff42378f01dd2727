/* random.c - uniform, normal, random_bits and dropout from counter-based random numbers.
 *
 * Invariant: an element depends on (seed, offset, its logical index) only; chunks are multiples of
 * 64 elements, so every thread starts on a block of the generator. 16-bit floats are made as f32,
 * then rounded.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/random.h"

#include <math.h>

#include "backends/cpu_blas/kernels/ewise.h"
#include "backends/cpu_blas/kernels/kernels.h"

enum { BLOCK = 512 }; /* 16-bit elements made at a time: a multiple of 64 */

typedef struct job {
    const tn_view *y, *x;
    uint64_t seed, offset;
    blas_spread spread; /* dropout: a is p */
    int f64;
    blas_convert_fn widen, narrow; /* NULL: elements are lanes */
    void (*make)(uint64_t seed, uint64_t offset, int64_t first, int64_t n, void *y,
                 const blas_spread *);
} job;

static job make_job(const tn_call *c) {
    const tn_view *y = tnk_out(c, 0);
    const uint64_t moved = c->rng_device_offset ? *c->rng_device_offset : 0;
    const int ix = tn_dtype_index(y->dtype);
    return (job){.y = y,
                 .seed = c->rng_seed,
                 .offset = c->rng_offset + moved,
                 .f64 = blas_is_f64(y),
                 .widen = blas_code(ewise)->widen[ix],
                 .narrow = blas_code(ewise)->narrow[ix]};
}

/* ---- uniform, normal ------------------------------------------------------------------------- */

static void random_supports(const tn_call *c, tn_verdict *v) {
    const bool ok = tn_dtype_in(tnk_out(c, 0)->dtype, TN_MASK_FLOAT);
    tnk_answer(v, ok ? TN_YES : TN_NO, ok ? TN_REASON_NONE : TN_REASON_DTYPE);
}

static void make_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    float lanes[BLOCK];
    for (int64_t i = begin, n; i < end; i += n) {
        n = j->narrow ? tnk_min(BLOCK, end - i) : end - i;
        j->make(j->seed, j->offset, i, n, j->narrow ? lanes : tnk_at(j->y, i), &j->spread);
        if (j->narrow) j->narrow(n, tnk_at(j->y, i), lanes);
    }
}

/* How far apart a dtype's numbers are around x: a power of 2. */
static double spacing(int ix, double x) {
    static const int digits[] = {
        [TN_IX_F16] = 11, [TN_IX_BF16] = 8, [TN_IX_F32] = 24, [TN_IX_F64] = 53};
    static const int smallest[] = {
        [TN_IX_F16] = -24, [TN_IX_BF16] = -133, [TN_IX_F32] = -149, [TN_IX_F64] = -1074};
    int exponent;
    frexp(x, &exponent);
    const int step = exponent - digits[ix];
    return ldexp(1, x == 0 || step < smallest[ix] ? smallest[ix] : step);
}

static double nearest(int ix, double x) {
    const double step = spacing(ix, x);
    return rint(x / step) * step;
}

/* Which of the dtype's numbers are in [low, high): as backends/cpu_ref/uniform.h says. */
static blas_spread range_of(int ix, double low, double high) {
    const uint32_t bits = ix == TN_IX_F16 ? 0xffe00000 : ix == TN_IX_BF16 ? 0xff000000 : 0xffffff00;
    const double below = nextafter(fmin(high, nearest(ix, high)), -INFINITY);
    const double step = spacing(ix, low), last = spacing(ix, below);
    blas_spread s = {low, high, ceil(low / step) * step, floor(below / last) * last, bits};
    if (s.least > s.most) s.least = s.most = nearest(ix, low);
    return s;
}

static tn_status uniform_run(const void *plan, tn_call *c) {
    (void)plan;
    job j = make_job(c);
    j.make = blas_code(random)->uniform[j.f64];
    j.spread = range_of(tn_dtype_index(j.y->dtype), tnk_number(&c->args[1], 0),
                        tnk_number(&c->args[2], 1));
    tnk_parallel(c, tn_view_numel(j.y), 1, make_range, &j);
    return TN_OK;
}

static tn_status normal_run(const void *plan, tn_call *c) {
    (void)plan;
    job j = make_job(c);
    j.make = blas_code(random)->normal[j.f64];
    j.spread.a = tnk_number(&c->args[1], 0), j.spread.b = tnk_number(&c->args[2], 1);
    tnk_parallel(c, tn_view_numel(j.y), 1, make_range, &j);
    return TN_OK;
}

/* ---- random_bits: the words themselves, two to an i64, the lower one first ------------------- */

static void random_bits_supports(const tn_call *c, tn_verdict *v) {
    const tn_dtype d = tnk_out(c, 0)->dtype;
    const bool ok = tn_dtype_is(d, TN_I32) || tn_dtype_is(d, TN_I64);
    tnk_answer(v, ok ? TN_YES : TN_NO, ok ? TN_REASON_NONE : TN_REASON_DTYPE);
}

static void bits_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    const int64_t words = j->y->dtype.bits / 32;
    blas_code(random)->words(j->seed, j->offset, begin * words, (end - begin) * words,
                             tnk_at(j->y, begin));
}

static tn_status random_bits_run(const void *plan, tn_call *c) {
    (void)plan;
    job j = make_job(c);
    tnk_parallel(c, tn_view_numel(j.y), 1, bits_range, &j);
    return TN_OK;
}

/* ---- dropout --------------------------------------------------------------------------------- */

static void dropout_supports(const tn_call *c, tn_verdict *v) {
    const bool flat = tnk_is_contiguous(tnk_arg(c, 0)) && tnk_is_contiguous(tnk_out(c, 0));
    tnk_answer(v, flat ? TN_YES : TN_NO, flat ? TN_REASON_NONE : TN_REASON_LAYOUT);
}

static void dropout_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    float lanes[BLOCK];
    for (int64_t i = begin, n; i < end; i += n) {
        n = j->narrow ? tnk_min(BLOCK, end - i) : end - i;
        if (j->widen) j->widen(n, lanes, tnk_at(j->x, i));
        blas_code(random)->dropout[j->f64](j->seed, j->offset, i, n,
                                           j->narrow ? lanes : tnk_at(j->y, i),
                                           j->widen ? lanes : tnk_at(j->x, i), j->spread.a);
        if (j->narrow) j->narrow(n, tnk_at(j->y, i), lanes);
    }
}

static tn_status dropout_run(const void *plan, tn_call *c) {
    (void)plan;
    job j = make_job(c);
    j.x = tnk_arg(c, 0), j.spread.a = tnk_number(&c->args[1], 0);
    tnk_parallel(c, tn_view_numel(j.y), 1, dropout_range, &j);
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
static const tn_kernel rows[] = {
    {BLAS_ROW(uniform, 6), .dtypes = BLAS_F32_F64, .supports = random_supports,
     .run = uniform_run},
    {BLAS_ROW(normal, 6), .dtypes = BLAS_F32_F64, .supports = random_supports,
     .run = normal_run},
    {BLAS_ROW(random_bits, 4), .dtypes = BLAS_F32_F64, .supports = random_bits_supports,
     .run = random_bits_run},
    {BLAS_ROW(dropout, 3), .dtypes = TN_MASK_FLOAT, .supports = dropout_supports,
     .run = dropout_run},
};
/* clang-format on */
const tnk_family blas_random_rows = TNK_FAMILY(rows);
