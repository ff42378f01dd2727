/* visit.c - see visit.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/visit.h"

#include <tenon/hooks.h>

#include "core/autograd/saved.h"
#include "core/dispatch/layers.h"
#include "core/tensor/scope.h"

void tni_visit_unwind(tni_state *st) {
    tni_saved_unwind(st->saved, st->saved_floor);
    tni_layers_unwind(st);
}

tn_tensor *tn_call_guarded(tn_tensors_fn fn, void *user, tn_tensors inputs) {
    if (tn_error()) return NULL;
    if (!fn) {
        tn_raise(TN_ERR_INVALID, "tn_call_guarded: the function is NULL");
        return NULL;
    }
    const tni_visit v = tni_visit_begin();
    tn_tensor *y = fn(user, inputs.ptr, inputs.n);
    tni_visit_end(&v);
    return tni_scope_return(v.scope_depth, y);
}
