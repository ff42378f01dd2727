/* optim.c - steps of optimizers: many tensors in one call.
 *
 * Invariant: all lists are of equal length, and tensors of one place of equal sizes and dtypes, or
 * the list is empty where its row allows it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/math/shapes.h"

static tn_status check_list(tn_infer *in, const tn_value *params, const tn_value *list,
                            const char *name) {
    if (list->tag != TN_TAG_VIEWS || list->aux != params->aux)
        return tnk_fail_shape(in, TN_ERR_INVALID,
                              "%s has %u tensors, params has %u: there must be one for each", name,
                              (unsigned)list->aux, (unsigned)params->aux);
    for (uint32_t i = 0; i < params->aux; i++)
        if (!same_sizes(params->views[i], list->views[i]))
            return mismatch(in, "a tensor of params", params->views[i], name, list->views[i],
                            "sizes must be equal");
    return TN_OK;
}

/* Each of the n lists after params has one tensor for each of those; the last may be empty. Nothing
 * is returned. */
static tn_status check_lists(tn_infer *in, const char *const *names, uint32_t n) {
    if (in->n_args <= n || in->args[0].tag != TN_TAG_VIEWS) return missing(in);
    for (uint32_t i = 1; i <= n; i++) {
        if (i == n && in->args[i].tag == TN_TAG_VIEWS && in->args[i].aux == 0) break;
        const tn_status status = check_list(in, &in->args[0], &in->args[i], names[i - 1]);
        if (status) return status;
    }
    return TN_OK;
}

tn_status math_shape_sgd(tn_infer *in) {
    return check_lists(in, (const char *const[]){"grads", "momenta"}, 2);
}

tn_status math_shape_adam(tn_infer *in) {
    return check_lists(
        in, (const char *const[]){"grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs"}, 4);
}
