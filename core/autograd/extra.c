/* extra.c - see extra.h. Whoever adds one more extra adds it here.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/extra.h"

#include <string.h>

#include "core/autograd/anomaly.h"
#include "core/autograd/hooks.h"
#include "core/autograd/saved.h"

/* Two threads may want it at once, for hooks. */
tni_extra *tni_extra_of(tni_node *n) {
    tni_extra *have = __atomic_load_n(&n->extra, __ATOMIC_ACQUIRE);
    if (have) return have;
    tni_extra *made = tni_block_get(sizeof *made);
    if (!made) {
        tn_raise(TN_ERR_NOMEM, "no memory to record '%s' for backward", n->op->schema.name);
        return NULL;
    }
    memset(made, 0, sizeof *made);
    if (__atomic_compare_exchange_n(&n->extra, &have, made, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return made;
    tni_block_put(made, sizeof *made);
    return have;
}

void tni_extra_free(tni_extra *e) {
    if (!e) return;
    tni_hooks_free(e->hooks);
    tni_saved_release(e->saved);
    tni_trace_free(e->trace);
    tni_block_put(e, sizeof *e);
}
