/* optim.c - sgd_: m = momentum m + (grad + weight_decay param); param -= lr m, over lists.
 *
 * Invariant: all lists are checked before any parameter changes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

typedef struct job {
    const tn_view *views[3]; /* param, grad, momentum */
    int32_t n_views;
    double lr, momentum, weight_decay;
} job;

static void sgd_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    double p[TNI_BLOCK], g[TNI_BLOCK], m[TNI_BLOCK] = {0};
    tni_walk w;
    tni_walk_start(&w, j->n_views, j->views, begin);
    for (int64_t n; begin < end; begin += n, tni_walk_next(&w, n)) {
        n = tni_walk_run(&w, tni_min(TNI_BLOCK, end - begin));
        tni_walk_load_f64(&w, 0, n, p);
        tni_walk_load_f64(&w, 1, n, g);
        if (j->n_views == 3) tni_walk_load_f64(&w, 2, n, m);
        for (int64_t k = 0; k < n; k++) {
            m[k] = j->momentum * m[k] + (g[k] + j->weight_decay * p[k]);
            p[k] -= j->lr * m[k];
        }
        if (j->n_views == 3) tni_walk_store_f64(&w, 2, n, m);
        tni_walk_store_f64(&w, 0, n, p);
    }
}

static bool alike(const tn_view *a, const tn_view *b) {
    if (a->rank != b->rank) return false;
    for (int32_t d = 0; d < a->rank; d++)
        if (a->sizes[d] != b->sizes[d]) return false;
    return true;
}

/* Is `list` as long as params, each entry of its parameter's sizes? */
static tn_status check_list(tn_call *c, uint32_t list, const char *name) {
    const tn_value *params = &c->args[0], *others = &c->args[list];
    if (others->aux != params->aux)
        return tni_fail(c, TN_ERR_INVALID, "sgd_: %u params but %u %s; pass one for each",
                        params->aux, others->aux, name);
    for (uint32_t i = 0; i < params->aux; i++)
        if (!alike(params->views[i], others->views[i]))
            return tni_fail(c, TN_ERR_SHAPE, "sgd_: %s[%u] does not have the sizes of params[%u]",
                            name, i, i);
    return TN_OK;
}

static tn_status check_lists(tn_call *c, double momentum) {
    const bool with_momenta = c->args[2].aux > 0;
    if (!with_momenta && momentum != 0 && c->args[0].aux > 0)
        return tni_fail(c, TN_ERR_INVALID,
                        "sgd_: momentum is %g but momenta is empty; pass one tensor per parameter",
                        momentum);
    const tn_status status = check_list(c, 1, "grads");
    return status != TN_OK || !with_momenta ? status : check_list(c, 2, "momenta");
}

tn_status tni_ref_sgd_(const void *plan, tn_call *c) {
    (void)plan;
    job j = {.n_views = c->args[2].aux > 0 ? 3 : 2,
             .lr = tni_number(&c->args[3], 0),
             .momentum = tni_number(&c->args[4], 0),
             .weight_decay = tni_number(&c->args[5], 0)};
    const tn_status status = check_lists(c, j.momentum);
    if (status != TN_OK) return status;
    for (uint32_t i = 0; i < c->args[0].aux; i++) {
        for (int32_t k = 0; k < j.n_views; k++) j.views[k] = c->args[k].views[i];
        tni_parallel(c, tn_view_numel(j.views[0]), 1, sgd_range, &j);
    }
    return TN_OK;
}
