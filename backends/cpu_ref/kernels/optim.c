/* optim.c - steps of optimizers over lists: sgd_, adam_, adamw_ (formulas: their rows in optim.ops).
 *
 * Invariant: all lists are checked before any parameter changes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/walk.h"

enum { LISTS = REF_WALK_VIEWS };

/* n elements of each list's tensor: x[0] of the parameter, x[1] of the gradient, then the state. */
typedef void step_fn(const void *options, double (*x)[REF_BLOCK], int64_t n);

typedef struct job {
    const tn_view *views[LISTS];
    int32_t n_views;
    step_fn *step;
    const void *options;
} job;

static void step_range(void *arg, int64_t begin, int64_t end) {
    const job *j = arg;
    double x[LISTS][REF_BLOCK] = {0};
    ref_walk w;
    ref_walk_start(&w, j->n_views, j->views, begin);
    for (int64_t n; begin < end; begin += n, ref_walk_next(&w, n)) {
        n = ref_walk_run(&w, tnk_min(REF_BLOCK, end - begin));
        for (int32_t k = 0; k < j->n_views; k++) ref_walk_load_f64(&w, k, n, x[k]);
        j->step(j->options, x, n);
        for (int32_t k = 0; k < j->n_views; k++)
            if (k != 1) ref_walk_store_f64(&w, k, n, x[k]);
    }
}

static bool alike(const tn_view *a, const tn_view *b) {
    if (a->rank != b->rank) return false;
    for (int32_t d = 0; d < a->rank; d++)
        if (a->sizes[d] != b->sizes[d]) return false;
    return true;
}

/* Is `list` as long as params, each entry of its parameter's sizes? */
static tn_status check_list(tn_call *c, const char *op, uint32_t list, const char *name) {
    const tn_value *params = &c->args[0], *others = &c->args[list];
    if (others->aux != params->aux)
        return tnk_fail(c, TN_ERR_INVALID, "%s: %u params but %u %s; pass one for each", op,
                        params->aux, others->aux, name);
    for (uint32_t i = 0; i < params->aux; i++)
        if (!alike(params->views[i], others->views[i]))
            return tnk_fail(c, TN_ERR_SHAPE, "%s: %s[%u] does not have the sizes of params[%u]", op,
                            name, i, i);
    return TN_OK;
}

/* Steps every parameter. names: of the lists after params; the last of them may be empty. */
static tn_status step_all(tn_call *c, const char *op, const char *const *names, int32_t n_names,
                          step_fn *step, const void *options) {
    job j = {.n_views = 1 + n_names, .step = step, .options = options};
    if (c->args[n_names].aux == 0 && c->args[0].aux > 0) j.n_views--;
    for (int32_t k = 1; k < j.n_views; k++) {
        const tn_status status = check_list(c, op, (uint32_t)k, names[k - 1]);
        if (status != TN_OK) return status;
    }
    for (uint32_t i = 0; i < c->args[0].aux; i++) {
        for (int32_t k = 0; k < j.n_views; k++) j.views[k] = c->args[k].views[i];
        tnk_parallel(c, tn_view_numel(j.views[0]), 1, step_range, &j);
    }
    return TN_OK;
}

/* decay * p; a parameter that is infinite stays so without decay */
static double decayed(double decay, double p) { return decay == 0 ? 0 : decay * p; }

/* ---- sgd_ ------------------------------------------------------------------------------------ */

typedef struct sgd {
    double lr, momentum, weight_decay, dampening, sign;
    bool nesterov;
} sgd;

/* x: param, grad, momentum (zeros, thrown away, if there is none) */
static void sgd_step(const void *options, double (*x)[REF_BLOCK], int64_t n) {
    const sgd *o = options;
    double *p = x[0], *g = x[1], *m = x[2];
    for (int64_t k = 0; k < n; k++) {
        const double d = o->sign * g[k] + decayed(o->weight_decay, p[k]);
        m[k] = o->momentum == 0 ? d : o->momentum * m[k] + (1 - o->dampening) * d;
        p[k] -= o->lr * (o->nesterov ? d + o->momentum * m[k] : m[k]);
    }
}

tn_status ref_sgd_(const void *plan, tn_call *c) {
    static const char *const names[] = {"grads", "momenta"};
    (void)plan;
    const sgd o = {.lr = tnk_number(&c->args[3], 0),
                   .momentum = tnk_number(&c->args[4], 0),
                   .weight_decay = tnk_number(&c->args[5], 0),
                   .dampening = tnk_number(&c->args[6], 0),
                   .nesterov = tnk_flag(&c->args[7]),
                   .sign = tnk_flag(&c->args[8]) ? -1 : 1};
    if (o.momentum != 0 && c->args[0].aux > 0 && c->args[2].aux == 0)
        return tnk_fail(c, TN_ERR_INVALID,
                        "sgd_: momentum is %g but momenta is empty; pass one tensor per parameter",
                        o.momentum);
    return step_all(c, "sgd_", names, 2, sgd_step, &o);
}

/* ---- adam_, adamw_ --------------------------------------------------------------------------- */

typedef struct adam {
    double beta1, beta2, eps;
    double rate, root;    /* lr / (1 - beta1^step), sqrt(1 - beta2^step) */
    double decay, shrink; /* what is added to the gradient; what the parameter is multiplied by */
    double sign;
    bool amsgrad;
} adam;

/* x: param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq */
static void adam_step(const void *options, double (*x)[REF_BLOCK], int64_t n) {
    const adam *o = options;
    double *p = x[0], *g = x[1], *m = x[2], *v = x[3], *max = x[4];
    for (int64_t k = 0; k < n; k++) {
        const double d = o->sign * g[k] + decayed(o->decay, p[k]);
        m[k] = o->beta1 * m[k] + (1 - o->beta1) * d;
        v[k] = o->beta2 * v[k] + (1 - o->beta2) * d * d;
        if (v[k] > max[k] || v[k] != v[k]) max[k] = v[k];
        const double root = sqrt(o->amsgrad ? max[k] : v[k]) / o->root;
        p[k] = p[k] * o->shrink - m[k] / (root + o->eps) * o->rate;
    }
}

static tn_status adam_all(tn_call *c, const char *op, bool decoupled) {
    static const char *const names[] = {"grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs"};
    const double lr = tnk_number(&c->args[5], 0), step = tnk_number(&c->args[6], 0);
    const double decay = tnk_number(&c->args[10], 0);
    adam o = {.beta1 = tnk_number(&c->args[7], 0),
              .beta2 = tnk_number(&c->args[8], 0),
              .eps = tnk_number(&c->args[9], 0),
              .decay = decoupled ? 0 : decay,
              .shrink = decoupled ? 1 - lr * decay : 1,
              .sign = tnk_flag(&c->args[11]) ? -1 : 1,
              .amsgrad = c->args[4].aux > 0};
    if (!(step >= 1))
        return tnk_fail(c, TN_ERR_INVALID, "%s: step is %g, but steps are counted from 1", op,
                        step);
    o.rate = lr / (1 - pow(o.beta1, step)), o.root = sqrt(1 - pow(o.beta2, step));
    return step_all(c, op, names, 4, adam_step, &o);
}

tn_status ref_adam_(const void *plan, tn_call *c) {
    return (void)plan, adam_all(c, "adam_", false);
}

tn_status ref_adamw_(const void *plan, tn_call *c) {
    return (void)plan, adam_all(c, "adamw_", true);
}
