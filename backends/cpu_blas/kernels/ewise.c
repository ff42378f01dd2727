/* ewise.c - elementwise rows: finds the vector function, reads the plain arguments, walks.
 *
 * Flat operands of a lane's own width go straight to the function. All others go through blocks of
 * a run along the last dim: what is strided is gathered, what is narrow is widened, and the result
 * is narrowed and scattered.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/ewise.h"

#include <emmintrin.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "backends/cpu_blas/kernels/copy.h"
#include "backends/cpu_blas/kernels/kernels.h"

enum { BLOCK = 512 };

/* operands, first, result is bool, check */
#define KIND_V1                      1, 0, 0, BLAS_FINE
#define KIND_V2                      2, 0, 0, BLAS_FINE
#define KIND_V3                      3, 0, 0, BLAS_FINE
#define KIND_Z2                      2, 0, 0, BLAS_NO_ZERO
#define KIND_N2                      2, 0, 0, BLAS_NO_NEGATIVE
#define KIND_B1                      1, 0, 1, BLAS_FINE
#define KIND_B2                      2, 0, 1, BLAS_FINE
#define KIND_WHERE                   3, 1, 0, BLAS_FINE
#define OP_ROW(op, kind, attributes) [BLAS_EW_##op] = {BLAS_EW_##op, KIND_##kind, attributes, #op},
const blas_ewise_op blas_ewise_ops[BLAS_EWISE_COUNT] = {
    BLAS_EWISE_LIST(OP_ROW, OP_ROW, OP_ROW, OP_ROW)};
#undef OP_ROW

const blas_attrs blas_no_attrs;

/* ---- Plain arguments ------------------------------------------------------------------------- */

/* A plain argument for integers of dtype d, with no detour through a double: cut to a whole
 * number, and a bound limited to d. Of what is no bound the contract has seen to it that it
 * fits, or wraps. */
static int64_t like_integer(tn_dtype d, const tn_value *v, double absent, bool bound) {
    const bool is_signed = d.code == 0, whole = v->tag == TN_TAG_INT || v->tag == TN_TAG_BOOL;
    const int64_t high = is_signed ? INT64_MAX >> (64 - d.bits) : UINT8_MAX;
    const int64_t low = is_signed ? -high - 1 : 0;
    if (d.code == 6) return tnk_number(v, absent) != 0;
    if (whole && !bound) return is_signed ? v->i : (uint8_t)v->i;
    if (whole) return tnk_min(tnk_max(v->i, low), high);
    const double x = tnk_number(v, absent);
    if (isnan(x)) return 0;
    return x >= (double)high ? high : x <= (double)low ? low : (int64_t)x;
}

static void read_attrs(const tn_call *c, const blas_ewise_op *op, blas_attrs *k) {
    const tn_dtype d = tnk_arg(c, op->first)->dtype;
    for (uint32_t i = 0; op->attrs[i]; i++) {
        const char letter = op->attrs[i];
        const tn_value *v = &c->args[op->n_in + i];
        const bool bound = letter == '<' || letter == '>';
        const double absent = letter == '<' ? -INFINITY : letter == '>' ? INFINITY : 0;
        if (letter == 't')
            k->f[i] = v->aux == 4 && memcmp(v->str, "tanh", 4) == 0;
        else
            k->f[i] = tnk_number(v, absent);
        if (blas_lane_type(d) < BLAS_F32) k->i[i] = like_integer(d, v, absent, bound);
    }
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

typedef struct job { /* operand 0 is the result */
    blas_ewise_fn fn;
    const blas_attrs *attrs;
    blas_convert_fn convert[BLAS_MOST_IN + 1]; /* of operands to lanes, of lanes to the result */
    uint32_t n_views, splat;
    const tn_view *views[BLAS_MOST_IN + 1];
    int64_t bytes[BLAS_MOST_IN + 1]; /* per element */
    int64_t step[BLAS_MOST_IN + 1];  /* along the last dim, in bytes */
    bool stream;                     /* the result goes past the caches */
} job;

typedef char block[BLOCK * 8] __attribute__((aligned(64)));

/* m elements of operand k, from `at`, adjacent and as wide as a lane. */
static const void *load_block(const job *j, uint32_t k, int64_t m, const char *at, block items,
                              block lanes) {
    if (j->step[k] == 0) m = 1;
    if (j->step[k] != 0 && j->step[k] != j->bytes[k]) {
        blas_copy_items(items, j->bytes[k], at, j->step[k], m, j->bytes[k]);
        at = items;
    }
    if (!j->convert[k]) return at;
    j->convert[k](m, lanes, at);
    return lanes;
}

/* n elements along the last dim. */
static void run_blocks(void *arg, int64_t n, char *const *first) {
    const job *j = arg;
    block items[BLAS_MOST_IN + 1], lanes[BLAS_MOST_IN + 1];
    const bool adjacent = j->step[0] == j->bytes[0];
    for (int64_t i = 0, m; i < n; i += m) {
        m = tnk_min(BLOCK, n - i);
        const void *in[BLAS_MOST_IN];
        for (uint32_t k = 1; k < j->n_views; k++)
            in[k - 1] = load_block(j, k, m, first[k] + i * j->step[k], items[k], lanes[k]);
        char *y = first[0] + i * j->step[0];
        char *whole = adjacent ? y : items[0];
        j->fn(m, j->convert[0] ? lanes[0] : whole, in, j->splat, j->attrs);
        if (j->convert[0]) j->convert[0](m, whole, lanes[0]);
        if (!adjacent) blas_copy_items(y, j->step[0], whole, j->bytes[0], m, j->bytes[0]);
    }
}

/* ---- Results larger than the caches ---------------------------------------------------------- */

enum { STREAM_BYTES = 32 << 20 };

/* Storing whole lines without reading them first spares a quarter of what add moves. In place they
 * have been read. */
static bool must_stream(const job *j) {
    const tn_view *o = j->views[0];
    if (o->sizes[0] * j->bytes[0] < STREAM_BYTES || (uintptr_t)o->data % 64 != 0) return false;
    for (uint32_t k = 1; k < j->n_views; k++)
        if (j->views[k]->data == o->data) return false;
    return true;
}

static void stream_out(char *to, const char *from, int64_t n) { /* both aligned */
    const __m128i *x = (const __m128i *)(const void *)from;
    __m128i *y = (__m128i *)(void *)to;
    const int64_t whole = n / 64 * 64;
    for (int64_t i = 0; i < whole / 16; i++) _mm_stream_si128(y + i, _mm_load_si128(x + i));
    memcpy(to + whole, from + whole, (size_t)(n - whole));
}

/* The next block is on its way while this one is stored. */
static void run_stream(job *j, int64_t n, char *const *first) {
    block buffer;
    for (int64_t i = 0, m; i < n; i += m) {
        m = tnk_min(BLOCK, n - i);
        char *at[BLAS_MOST_IN + 1] = {buffer};
        for (uint32_t k = 1; k < j->n_views; k++) at[k] = first[k] + i * j->step[k];
        run_blocks(j, m, at);
        const int64_t next = tnk_min(BLOCK, n - i - m);
        for (uint32_t k = 1; k < j->n_views; k++)
            for (int64_t line = 0; line < next * j->step[k]; line += 64)
                _mm_prefetch(at[k] + m * j->step[k] + line, _MM_HINT_T0);
        stream_out(first[0] + i * j->bytes[0], buffer, m * j->bytes[0]);
    }
    _mm_sfence(); /* before another thread is told that they are there */
}

static void flat_range(void *arg, int64_t begin, int64_t end) {
    job *j = arg;
    char *at[BLAS_MOST_IN + 1];
    bool wide = true;
    for (uint32_t k = 0; k < j->n_views; k++) {
        at[k] = (char *)j->views[k]->data + begin * j->step[k];
        wide &= j->convert[k] == NULL;
    }
    if (j->stream)
        run_stream(j, end - begin, at);
    else if (!wide)
        run_blocks(arg, end - begin, at);
    else
        j->fn(end - begin, at[0], (const void *const *)&at[1], j->splat, j->attrs);
}

/* ---- Operands some integers of which are refused --------------------------------------------- */

static const char *const refusals[] = {
    [BLAS_NO_ZERO] = "division by zero, which has no integer result; "
                     "convert to a floating dtype first",
    [BLAS_NO_NEGATIVE] = "the exponent is negative, which has no integer result; "
                         "convert to a floating dtype first",
};

typedef struct check {
    const job *j;
    blas_ewise_fn fn; /* compares with zero */
    atomic_bool bad;
} check;

static void check_run(void *arg, int64_t n, char *const *first) {
    check *k = arg;
    block items, lanes;
    uint8_t bad[BLOCK];
    static const int64_t zero = 0;
    for (int64_t i = 0, m; i < n && !k->bad; i += m) {
        m = tnk_min(BLOCK, n - i);
        const void *b = load_block(k->j, 2, m, first[0] + i * k->j->step[2], items, lanes);
        k->fn(m, bad, (const void *const[]){b, &zero}, 2 | k->j->splat >> 1, &blas_no_attrs);
        if (memchr(bad, 1, (size_t)m)) k->bad = true;
    }
}

static int64_t integer_at(const tn_view *v, int64_t i) {
    int64_t offset = 0, x = 0;
    for (int32_t d = v->rank - 1; d >= 0; i /= v->sizes[d--])
        offset += i % v->sizes[d] * v->strides[d];
    memcpy(&x, tnk_at(v, offset), v->dtype.bits / 8u);
    const int unused = v->dtype.code == 0 ? 64 - v->dtype.bits : 0; /* signed: extend the sign */
    return (int64_t)((uint64_t)x << unused) >> unused;
}

/* Before anything is written; the message names the first such element in row-major order. */
static tn_status refuse(tn_call *c, const blas_ewise_op *op, const job *j) {
    const tn_view *b = j->views[2];
    const int index = op->check == BLAS_NO_ZERO ? BLAS_EW_eq : BLAS_EW_lt;
    check k = {j, blas_code(ewise)->fn[index][blas_lane_type(b->dtype)], false};
    blas_runs r = {{b}, 1, check_run, &k, 0};
    blas_runs_walk(c, &r);
    if (!k.bad) return TN_OK;
    int64_t i = 0;
    while (op->check == BLAS_NO_ZERO ? integer_at(b, i) != 0 : integer_at(b, i) >= 0) i++;
    return tnk_fail(c, TN_ERR_INVALID, "%s: element %lld: %s", op->name, (long long)i,
                    refusals[op->check]);
}

/* ---- The call -------------------------------------------------------------------------------- */

/* Bytes that are a condition or a result of a comparison stay bytes. */
static void make_job(const tn_call *c, const blas_ewise_op *op, job *j) {
    const blas_ewise_code *table = blas_code(ewise);
    j->n_views = op->n_in + 1u;
    for (uint32_t k = 0; k < j->n_views; k++) {
        const tn_view *v = j->views[k] = k ? tnk_arg(c, k - 1) : tnk_out(c, 0);
        const int ix = tn_dtype_index(v->dtype);
        const bool raw = k ? k - 1 < op->first : op->out_byte;
        j->bytes[k] = v->dtype.bits / 8;
        j->step[k] = v->strides[v->rank - 1] * j->bytes[k];
        j->convert[k] = raw ? NULL : k ? table->widen[ix] : table->narrow[ix];
        if (k && j->step[k] == 0) j->splat |= 1u << (k - 1);
    }
}

/* The small call everything else is built to keep cheap. */
static void run_small(const tn_call *c, const blas_ewise_op *op, blas_ewise_fn fn, int64_t n,
                      const blas_attrs *attrs) {
    const void *data[BLAS_MOST_IN];
    uint32_t splat = 0;
    for (uint32_t k = 0; k < op->n_in; k++) {
        const tn_view *v = tnk_arg(c, k);
        data[k] = v->data, splat |= (uint32_t)(v->strides[0] == 0) << k;
    }
    if (n > 0) fn(n, tnk_out(c, 0)->data, data, splat, attrs);
}

/* Another op where that is what this one does; a slope of 0 makes 0 of -inf too. */
static const blas_ewise_op *plainer(const blas_ewise_op *op, tn_dtype dtype, const blas_attrs *k) {
    if (op->index == BLAS_EW_bitwise_not && dtype.code == 6)
        return &blas_ewise_ops[BLAS_EW_logical_not];
    if (op->index == BLAS_EW_leaky_relu && k->f[0] == 0) return &blas_ewise_ops[BLAS_EW_relu];
    return op;
}

static tn_status ewise_run(const void *plan, tn_call *c) {
    (void)plan;
    const blas_ewise_op *op = c->user;
    const tn_view *out = tnk_out(c, 0);
    /* A number beside 16-bit floats is f32: the result says what is computed, if it is no bool. */
    const tn_dtype dtype = op->out_byte ? tnk_arg(c, op->first)->dtype : out->dtype;
    const int lanes = blas_lane_type(dtype);
    blas_attrs attrs = blas_no_attrs;
    if (*op->attrs) read_attrs(c, op, &attrs);
    op = plainer(op, dtype, &attrs);
    const blas_ewise_fn fn = blas_code(ewise)->fn[op->index][lanes];
    const bool checked = op->check && lanes < BLAS_F32;
    if (c->flags & TN_CALL_FLAT && out->sizes[0] <= TNK_GRAIN && dtype.bits >= 32 && !checked) {
        run_small(c, op, fn, out->sizes[0], &attrs);
        return TN_OK;
    }
    job j = {.fn = fn, .attrs = &attrs};
    make_job(c, op, &j);
    if (checked) {
        const tn_status s = refuse(c, op, &j);
        if (s != TN_OK) return s;
    }
    if (c->flags & TN_CALL_FLAT) {
        j.stream = must_stream(&j);
        tnk_parallel(c, out->sizes[0], 1, flat_range, &j);
    } else {
        blas_runs r = {{0}, j.n_views, run_blocks, &j, 0};
        memcpy(r.views, j.views, sizeof r.views);
        blas_runs_walk(c, &r);
    }
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
#define FIRST(first, ...)             first
#define OPERANDS(...)                 FIRST(__VA_ARGS__)
#define ROW(op_, kind, attrs_, mask)                                                               \
    {BLAS_ROW(op_, OPERANDS(KIND_##kind) + sizeof attrs_ - 1), .dtypes = mask,                     \
     .user = &blas_ewise_ops[BLAS_EW_##op_], .run = ewise_run},
#define ROW_ALL(op_, kind, attrs_)    ROW(op_, kind, attrs_, TN_MASK_ALL)
#define ROW_NUMBER(op_, kind, attrs_) ROW(op_, kind, attrs_, TN_MASK_ALL & ~TN_MASK(BOOL))
#define ROW_FLOAT(op_, kind, attrs_)  ROW(op_, kind, attrs_, TN_MASK_FLOAT)
#define ROW_INT(op_, kind, attrs_)    ROW(op_, kind, attrs_, TN_MASK_INT | TN_MASK(BOOL))
static const tn_kernel rows[] = {
    BLAS_EWISE_LIST(ROW_ALL, ROW_NUMBER, ROW_FLOAT, ROW_INT)
};
/* clang-format on */
const tnk_family blas_ewise_rows = TNK_FAMILY(rows);
