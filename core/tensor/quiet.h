/* quiet.h - work of the library's own: it is not recorded, and its temporaries end with it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_TENSOR_QUIET_H
#define TENON_TENSOR_QUIET_H

#include "core/base/state.h"

typedef struct tni_quiet {
    tn_scope scope;
    bool recording; /* was grad mode on? */
} tni_quiet;

static inline tni_quiet tni_quiet_begin(void) {
    const tni_quiet q = {tn_scope_push(), tni_state_get()->grad_enabled};
    tni_tls.grad_enabled = false;
    return q;
}

static inline void tni_quiet_end(tni_quiet q) {
    tni_tls.grad_enabled = q.recording;
    tn_scope_pop(q.scope);
}

#endif
