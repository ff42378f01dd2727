/* kernels.h - what the files of this provider share: the table of vector code, one per instruction
 * set, and the functions named by the kernel rows in plugin.c.
 *
 * Invariant: blas_vec is set once, by blas_vec_select, before any kernel runs. How work is cut
 * depends on shapes only, so results have the same bits for every number of threads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_KERNELS_H
#define TENON_CPU_BLAS_KERNELS_H

#include "backends/cpu_blas/kernels/ewise.h"

#include <tenon/kit.h>

typedef struct blas_gemm_block { /* C[m,n] = A[m,k] B[k,n]; all strides in elements */
    int64_t m, n, k;
    const void *a;
    int64_t a_row, a_col;
    const void *b;
    int64_t b_row, b_col;
    const void *bias; /* not NULL: C starts from it. The caller puts it there, the kernel adds */
    int64_t bias_row;
    void *c;
    int64_t ldc; /* C's rows; its columns are adjacent */
    void *pack;  /* gemm_block only: 64-byte aligned, see BLAS_PACK_ROWS */
} blas_gemm_block;

enum {
    BLAS_BLOCK_M = 192, /* what one gemm_block may be; k is cut inside */
    BLAS_BLOCK_N = 512,
    BLAS_BLOCK_K = 256
};

/* Rows of packed A and columns of packed B, filled up to whole tiles of any instruction set; the
 * buffer of gemm_block is their sum times min(k, BLAS_BLOCK_K) elements. */
#define BLAS_PACK_ROWS(m) (((m) + 15) / 16 * 16 + 16)
#define BLAS_PACK_COLS(n) (((n) + 31) / 32 * 32 + 32)

typedef struct blas_optim { /* of one step; sign: -1 to maximise */
    double sign, decay;
    double lr, momentum, dampening; /* sgd */
    double beta1, beta2, eps;       /* adam */
    double rate, scale, shrink; /* lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t), of the parameter */
    bool nesterov;
} blas_optim;
typedef void (*blas_optim_fn)(int64_t n, void *const *x, const blas_optim *); /* x: optim.inc */

enum { BLAS_SUM, BLAS_PROD, BLAS_MAX, BLAS_MIN, BLAS_ANY, BLAS_ALL, BLAS_REDUCE_COUNT };

typedef union blas_acc { /* what a reduction keeps: of floating elements a double, of others i */
    double f;
    int64_t i;
} blas_acc;

/* ROW(name, NAME, results, operands, FOUR or FLOATS): what is done to one line of an `along` form.
 * Lines are of lanes (blas_lane_type), results first; n >= 1. */
/* clang-format off */
#define BLAS_LINE_LIST(ROW, FOUR, FLOATS)                                                           \
    ROW(softmax, SOFTMAX, 1, 1, FLOATS) ROW(log_softmax, LOG_SOFTMAX, 1, 1, FLOATS)                \
    ROW(softmax_bwd, SOFTMAX_BWD, 1, 2, FLOATS)                                                    \
    ROW(log_softmax_bwd, LOG_SOFTMAX_BWD, 1, 2, FLOATS)                                            \
    ROW(cumsum, CUMSUM, 1, 1, FOUR) ROW(cumprod, CUMPROD, 1, 1, FOUR)                              \
    ROW(cummax, CUMMAX, 2, 1, FOUR) ROW(cummin, CUMMIN, 2, 1, FOUR)                                \
    ROW(linear_scan, LINEAR_SCAN, 1, 2, FLOATS)
/* clang-format on */

#define BLAS_LINE_ENUM(name, NAME, outs, ins, types) BLAS_LINE_##NAME,
enum { BLAS_LINE_LIST(BLAS_LINE_ENUM, , ) BLAS_LINE_SORT, BLAS_LINE_COUNT };
#undef BLAS_LINE_ENUM

typedef struct blas_norm_row { /* one row of layer_norm and of its backward */
    int64_t n;
    const void *x, *w, *b, *grad; /* w, b: NULL if absent */
    void *y;
    double eps, mean, rest, rstd; /* rest: what rounding the mean has lost, if that is known */
} blas_norm_row;

typedef struct blas_spread { /* where random numbers lie: low, high of uniform; mean, deviation */
    double a, b;
    double least, most; /* uniform: of the dtype's numbers in [low, high) */
    uint32_t bits;      /* uniform: of a word, those that count; f64: unused */
} blas_spread;

/* n lanes; floats that become integers are limited to low .. high. */
typedef void (*blas_lanes_fn)(int64_t n, void *to, const void *from, double low, double high);
typedef void (*blas_turn_fn)(int64_t rows, int64_t cols, void *y, int64_t y_ld, const void *x,
                             int64_t x_ld);

/* Index [2]: f32, f64. Kernels of different sets agree to rounding only. */
typedef struct blas_vec_table {
    const char *name;
    int32_t vector_bytes;
    const blas_ewise_table *ewise;
    blas_acc (*reduce_row[BLAS_REDUCE_COUNT][BLAS_LANE_TYPES])(const void *x, int64_t n);
    /* acc[j] = acc[j] op x[i * ld + j] for i in [0, rows), j in [0, cols) */
    void (*reduce_cols[BLAS_REDUCE_COUNT][BLAS_LANE_TYPES])(const void *x, int64_t rows, int64_t ld,
                                                            int64_t cols, blas_acc *acc);
    int64_t (*find[BLAS_LANE_TYPES])(const void *x, int64_t n, blas_acc best); /* the first such */
    /* largest, smallest of each column so far, and its row; x's first row is row `first` */
    void (*arg_cols[2][BLAS_LANE_TYPES])(const void *x, int64_t rows, int64_t ld, int64_t cols,
                                         int64_t first, blas_acc *best, int64_t *where);
    double (*squares_row[2])(const void *x, int64_t n, double centre); /* sum((x - centre)^2) */
    void (*squares_cols[2])(const void *x, int64_t rows, int64_t ld, int64_t cols,
                            const double *centre, double *acc);
    void (*lines[BLAS_LINE_SORT][BLAS_LANE_TYPES])(int64_t n, void *const *rows);
    double (*logsumexp[2])(const void *x, int64_t n, double *max); /* log(sum(exp(x - max))) */
    void (*cross_entropy_bwd[2])(void *dx, const void *x, int64_t n, double max, double logsum,
                                 double scale); /* dx = scale * exp(x - max - logsum) */
    void (*layer_norm[2])(blas_norm_row *);     /* fills mean, rest, rstd, y */
    void (*layer_norm_bwd[2])(const blas_norm_row *);
    /* dw[j] += grad[j] * (x[j] - mean) * rstd, db[j] += grad[j] for j in [0, n) */
    void (*layer_norm_wb[2])(const blas_norm_row *, double *dw, double *db);
    blas_optim_fn sgd[2], adam[2];
    /* Elements first .. first+n-1 of the stream; first is a multiple of 64. */
    void (*uniform[2])(uint64_t seed, uint64_t offset, int64_t first, int64_t n, void *y,
                       const blas_spread *);
    void (*stretch[2])(int64_t n, void *y, const void *u, const blas_spread *); /* its last step */
    void (*normal[2])(uint64_t seed, uint64_t offset, int64_t first, int64_t n, void *y,
                      const blas_spread *);
    void (*dropout[2])(uint64_t seed, uint64_t offset, int64_t first, int64_t n, void *y,
                       const void *x, double p);
    void (*random_words)(uint64_t seed, uint64_t offset, int64_t first, int64_t n, void *y);
    void (*fill[2])(int64_t n, void *y, const void *item); /* items of 4 and 8 bytes */
    blas_lanes_fn lanes[BLAS_LANE_TYPES][BLAS_LANE_TYPES]; /* from, to; NULL: the same */
    blas_lanes_fn odd[BLAS_LANE_TYPES];                    /* to f32 that rounds to 16 bits once */
    blas_lanes_fn nonzero[BLAS_LANE_TYPES];                /* to i32 */
    blas_turn_fn turn[4]; /* y[j * y_ld + i] = x[i * x_ld + j], items of 1, 2, 4, 8 bytes */
    void (*gemm_small[2])(const blas_gemm_block *); /* b_col or b_row is 1 */
    void (*gemm_block[2])(
        const blas_gemm_block *); /* m <= BLAS_BLOCK_M, n <= BLAS_BLOCK_N, any k */
} blas_vec_table;

extern const blas_vec_table blas_vec_sse2, blas_vec_avx2, blas_vec_avx512;
extern const blas_vec_table *blas_vec;

/* The widest set this processor has, or the one of that name; NULL if it has no such set. */
const blas_vec_table *blas_vec_find(const char *name);
void blas_vec_select(const blas_vec_table *);

/* ---- Helpers --------------------------------------------------------------------------------- */

static inline int blas_is_f64(const tn_view *v) { return v->dtype.bits == 64; }

static inline bool blas_is_f32_or_f64(const tn_view *v) {
    return tn_dtype_is(v->dtype, TN_F32) || tn_dtype_is(v->dtype, TN_F64);
}

/* Views of the same sizes, walked a run along the last dim at a time. views[0] is the result. */
typedef struct blas_runs {
    const tn_view *views[4];
    uint32_t n_views;
    void (*body)(void *arg, int64_t n,
                 char *const *at); /* at[k]: first of n elements of views[k] */
    void *arg;
    int64_t pieces; /* the walk's: pieces a run is cut into, each at most TNK_GRAIN */
} blas_runs;

void blas_runs_walk(const tn_call *c, blas_runs *r); /* rank >= 1; in parallel */

/* ---- Rows ------------------------------------------------------------------------------------ */

tn_status blas_lines_plan(tn_call *, tn_plan *); /* lines.h has the rows' user */
tn_status blas_lines_run(const void *, tn_call *);
void blas_cross_entropy_supports(const tn_call *, tn_verdict *);
void blas_cross_entropy_bwd_supports(const tn_call *, tn_verdict *);
tn_status blas_cross_entropy_run(const void *, tn_call *);
tn_status blas_cross_entropy_bwd_run(const void *, tn_call *);

void blas_layer_norm_supports(const tn_call *, tn_verdict *);
void blas_layer_norm_bwd_supports(const tn_call *, tn_verdict *);
tn_status blas_layer_norm_plan(tn_call *, tn_plan *);
tn_status blas_layer_norm_run(const void *, tn_call *);
tn_status blas_layer_norm_bwd_plan(tn_call *, tn_plan *);
tn_status blas_layer_norm_bwd_run(const void *, tn_call *);

tn_status blas_copy_run(const void *, tn_call *);
tn_status blas_fill_run(const void *, tn_call *);

tn_status blas_gather_run(const void *, tn_call *);
tn_status blas_scatter_run(const void *, tn_call *);
tn_status blas_scatter_add_plan(tn_call *, tn_plan *);
tn_status blas_scatter_add_run(const void *, tn_call *);

void blas_random_supports(const tn_call *, tn_verdict *); /* uniform, normal: floating results */
tn_status blas_uniform_run(const void *, tn_call *);
tn_status blas_normal_run(const void *, tn_call *);
void blas_random_bits_supports(const tn_call *, tn_verdict *);
tn_status blas_random_bits_run(const void *, tn_call *);
void blas_dropout_supports(const tn_call *, tn_verdict *);
tn_status blas_dropout_run(const void *, tn_call *);

tn_status blas_optim_plan(tn_call *, tn_plan *);
void blas_sgd_supports(const tn_call *, tn_verdict *);
void blas_adam_supports(const tn_call *, tn_verdict *);
tn_status blas_adam_run(const void *, tn_call *);
tn_status blas_adamw_run(const void *, tn_call *);
tn_status blas_sgd_run(const void *, tn_call *);

void blas_gemm_supports(const tn_call *, tn_verdict *);
tn_status blas_gemm_plan(tn_call *, tn_plan *);
tn_status blas_gemm_run(const void *, tn_call *);
tn_status blas_gemm_half_plan(tn_call *, tn_plan *); /* f16 and bf16 */
tn_status blas_gemm_half_run(const void *, tn_call *);
void blas_gemm_drop(void *); /* of all products */

void blas_linear_supports(const tn_call *, tn_verdict *);
tn_status blas_linear_plan(tn_call *, tn_plan *);
tn_status blas_linear_run(const void *, tn_call *);
void blas_addmm_supports(const tn_call *, tn_verdict *);
tn_status blas_addmm_plan(tn_call *, tn_plan *);
tn_status blas_addmm_run(const void *, tn_call *);
void blas_linear_bwd_supports(const tn_call *, tn_verdict *);
tn_status blas_linear_bwd_plan(tn_call *, tn_plan *);
tn_status blas_linear_bwd_run(const void *, tn_call *);

#endif
