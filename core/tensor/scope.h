/* scope.h - who frees what a function returned.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_TENSOR_SCOPE_H
#define TENON_TENSOR_SCOPE_H

#include "core/base/state.h"

tn_tensor *tni_scope_own_slowly(tn_tensor *);
/* Puts a tensor with refs >= 1 into the current scope, which takes over one reference. On NOMEM the
 * reference is dropped, the error raised and NULL returned. */
static inline tn_tensor *tni_scope_own(tn_tensor *t) {
    tni_state *st = tni_state_get();
    if (__builtin_expect(st->scope_n == st->scope_capacity, 0)) return tni_scope_own_slowly(t);
    st->scope_items[st->scope_n++] = t;
    return t;
}

/* Closes scopes until `depth` are open; t moves out of them. NULL + error if t is stale. */
tn_tensor *tni_scope_return(uint64_t depth, tn_tensor *t);

#endif
