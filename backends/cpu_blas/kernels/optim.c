/* optim.c - sgd_(params, grads, momenta, lr, momentum, weight_decay): each tensor in one pass.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/kernels.h"

typedef struct job {
    const tn_view *p, *g, *m; /* m: NULL without momentum */
    tni_sgd step;
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
        if (!alike(params->views[i], list->views[i]) || !tni_is_contiguous(list->views[i]))
            return false;
    return true;
}

/* Parameters are written: a copy of them would not do. Other layouts, and the texts for lists that
 * do not fit, are the reference's. */
void tni_sgd_supports(const tn_call *c, tn_verdict *v) {
    const tn_value *params = &c->args[0], *momenta = &c->args[2];
    const bool plain = is_plain(params, params) && is_plain(params, &c->args[1]) &&
                       (momenta->aux == 0 || is_plain(params, momenta));
    tni_answer(v, plain ? TN_YES : TN_NO, plain ? TN_REASON_NONE : TN_REASON_LAYOUT);
}

static void sgd_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    tni_vec->sgd[tni_is_f64(j->p)](end - begin, tni_at(j->p, begin), tni_at(j->g, begin),
                                   j->m ? tni_at(j->m, begin) : NULL, &j->step);
}

tn_status tni_sgd_run(const void *plan, tn_call *c) {
    (void)plan;
    const tn_value *params = &c->args[0], *grads = &c->args[1], *momenta = &c->args[2];
    job j = {.step = {.lr = tni_number(&c->args[3], 0),
                      .momentum = tni_number(&c->args[4], 0),
                      .decay = tni_number(&c->args[5], 0)}};
    if (momenta->aux == 0 && j.step.momentum != 0 && params->aux > 0)
        return tn_fail(c, TN_ERR_INVALID,
                       "sgd_: momentum is not 0 but momenta is empty; "
                       "pass one tensor per parameter");
    for (uint32_t i = 0; i < params->aux; i++) {
        j.p = params->views[i], j.g = grads->views[i];
        j.m = i < momenta->aux ? momenta->views[i] : NULL;
        tni_parallel(c, tn_view_numel(j.p), 1, sgd_range, &j);
    }
    return TN_OK;
}
