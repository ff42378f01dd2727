/* optim.c - steps of optimizers over lists of tensors, all tensors in one pass: sgd_, adam_,
 * adamw_.
 *
 * The lists are cut into pieces of one tensor each, of at most TNK_GRAIN elements, so that many
 * small parameters are shared out like one large one. Pieces are independent: any number of
 * threads gives the same bits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/optim.h"

#include <math.h>

#include "backends/cpu_blas/kernels/kernels.h"

enum { MOST_LISTS = 5 }; /* parameters, gradients, up to three states */

typedef struct job {
    const tn_value *lists;
    uint32_t n_lists;           /* absent states left out */
    const int64_t *first_piece; /* of each parameter, and their total: in the workspace */
    uint32_t n_params;
    int f64;
    blas_optim_fn step;
    blas_optim options;
} job;

static bool alike(const tn_view *a, const tn_view *b) {
    if (a->rank != b->rank) return false;
    for (int32_t d = 0; d < a->rank; d++)
        if (a->sizes[d] != b->sizes[d]) return false;
    return true;
}

/* One contiguous tensor for each parameter, of its sizes. */
static bool is_plain(const tn_value *params, const tn_value *list) {
    if (list->aux != params->aux) return false;
    for (uint32_t i = 0; i < list->aux; i++)
        if (!alike(params->views[i], list->views[i]) || !tnk_is_contiguous(list->views[i]))
            return false;
    return true;
}

/* Parameters are written: a copy of them would not do. Other layouts, and the texts for lists that
 * do not fit, are the reference's. The last list may be empty. */
static void answer(const tn_call *c, tn_verdict *v, uint32_t n_lists) {
    const tn_value *params = &c->args[0];
    bool plain = true;
    for (uint32_t k = 0; plain && k < n_lists; k++)
        plain = (k == n_lists - 1 && c->args[k].aux == 0) || is_plain(params, &c->args[k]);
    tnk_answer(v, plain ? TN_YES : TN_NO, plain ? TN_REASON_NONE : TN_REASON_LAYOUT);
}

static void sgd_supports(const tn_call *c, tn_verdict *v) { answer(c, v, 3); }
static void adam_supports(const tn_call *c, tn_verdict *v) { answer(c, v, 5); }

static tn_status optim_plan(tn_call *c, tn_plan *out) {
    out->workspace_bytes = ((uint64_t)c->args[0].aux + 1) * sizeof(int64_t);
    return TN_OK;
}

/* ---- Pieces ---------------------------------------------------------------------------------- */

static int64_t pieces_of(const tn_view *v) { return blas_pieces(tn_view_numel(v), TNK_GRAIN); }

/* The parameter that piece belongs to: the last one that begins at or before it. */
static uint32_t param_of(const job *j, int64_t piece) {
    uint32_t low = 0, high = j->n_params;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        *(j->first_piece[middle] <= piece ? &low : &high) = middle;
    }
    return low;
}

static void step_piece(const job *j, uint32_t param, int64_t begin, int64_t n) {
    void *x[MOST_LISTS] = {NULL};
    for (uint32_t k = 0; k < j->n_lists; k++) x[k] = tnk_at(j->lists[k].views[param], begin);
    j->step(n, x, &j->options);
}

static void pieces_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    for (int64_t piece = begin; piece < end; piece++) {
        const uint32_t i = param_of(j, piece);
        const int64_t first = (piece - j->first_piece[i]) * TNK_GRAIN;
        step_piece(j, i, first, tnk_min(TNK_GRAIN, tn_view_numel(j->lists[0].views[i]) - first));
    }
}

/* Small models stay on this thread, one call for each parameter. */
static void step_all(const tn_call *c, job *j, uint32_t n_lists) {
    int64_t *first = c->workspace, pieces = 0, elements = 0;
    j->lists = c->args, j->n_params = c->args[0].aux;
    j->n_lists = c->args[n_lists - 1].aux > 0 ? n_lists : n_lists - 1;
    for (uint32_t i = 0; i < j->n_params; i++) {
        const tn_view *p = c->args[0].views[i];
        first[i] = pieces, pieces += pieces_of(p), elements += tn_view_numel(p);
    }
    first[j->n_params] = pieces, j->first_piece = first;
    if (elements > TNK_GRAIN) {
        tnk_parallel(c, pieces, TNK_GRAIN, pieces_range, j);
        return;
    }
    for (uint32_t i = 0; i < j->n_params; i++)
        if (first[i + 1] > first[i]) step_piece(j, i, 0, tn_view_numel(c->args[0].views[i]));
}

static int is_f64_list(const tn_value *list) {
    return list->aux > 0 && blas_is_f64(list->views[0]);
}

/* ---- The rows -------------------------------------------------------------------------------- */

static tn_status sgd_run(const void *plan, tn_call *c) {
    (void)plan;
    job j = {.f64 = is_f64_list(&c->args[0]),
             .options = {.lr = tnk_number(&c->args[3], 0),
                         .momentum = tnk_number(&c->args[4], 0),
                         .decay = tnk_number(&c->args[5], 0),
                         .dampening = tnk_number(&c->args[6], 0),
                         .nesterov = tnk_flag(&c->args[7]),
                         .sign = tnk_flag(&c->args[8]) ? -1 : 1}};
    if (c->args[2].aux == 0 && j.options.momentum != 0 && c->args[0].aux > 0)
        return tn_fail(c, TN_ERR_INVALID,
                       "sgd_: momentum is not 0 but momenta is empty; "
                       "pass one tensor per parameter");
    j.step = blas_code(optim)->sgd[j.f64];
    step_all(c, &j, 3);
    return TN_OK;
}

/* decoupled: AdamW. */
static tn_status adam(tn_call *c, bool decoupled) {
    const double lr = tnk_number(&c->args[5], 0), step = tnk_number(&c->args[6], 0);
    const double decay = tnk_number(&c->args[10], 0);
    job j = {.f64 = is_f64_list(&c->args[0]),
             .options = {.beta1 = tnk_number(&c->args[7], 0),
                         .beta2 = tnk_number(&c->args[8], 0),
                         .eps = tnk_number(&c->args[9], 0),
                         .decay = decoupled ? 0 : decay,
                         .shrink = decoupled ? 1 - lr * decay : 1,
                         .sign = tnk_flag(&c->args[11]) ? -1 : 1}};
    if (!(step >= 1))
        return tnk_fail(c, TN_ERR_INVALID, "%s: step is %g, but steps are counted from 1",
                        decoupled ? "adamw_" : "adam_", step);
    j.options.rate = lr / (1 - pow(j.options.beta1, step));
    j.options.scale = 1 / sqrt(1 - pow(j.options.beta2, step));
    j.step = blas_code(optim)->adam[j.f64];
    step_all(c, &j, 5);
    return TN_OK;
}

static tn_status adam_run(const void *plan, tn_call *c) { return (void)plan, adam(c, false); }
static tn_status adamw_run(const void *plan, tn_call *c) { return (void)plan, adam(c, true); }

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
static const tn_kernel rows[] = {
    {BLAS_ROW(sgd_, 9), .dtypes = BLAS_F32_F64,
     .supports = sgd_supports, .plan = optim_plan, .run = sgd_run},
    {BLAS_ROW(adam_, 12), .dtypes = BLAS_F32_F64,
     .supports = adam_supports, .plan = optim_plan, .run = adam_run},
    {BLAS_ROW(adamw_, 12), .dtypes = BLAS_F32_F64,
     .supports = adam_supports, .plan = optim_plan, .run = adamw_run},
};
/* clang-format on */
const tnk_family blas_optim_rows = TNK_FAMILY(rows);
