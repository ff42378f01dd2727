/* check.h - what gradcheck.c and op_gradcheck.c share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_CHECK_H
#define TENON_AUTOGRAD_CHECK_H

#include <tenon/check.h>
#include <tenon/hooks.h>
#include <tenon/tenon.h>

typedef struct tni_check {
    tn_tensors_fn fn;
    void *user;
    tn_tensors inputs;        /* those that require grad are checked; f64 */
    const char *what;         /* "gradcheck of 'mul'" */
    const char *const *names; /* of inputs, or NULL: "input 0" */
    tn_gradcheck_opts opts;
} tni_check;

/* Elements of inputs that are checked: if there are none, a check that passes has shown nothing. */
int64_t tni_check_elements(const tni_check *);
tn_status tni_check_run(const tni_check *);       /* first derivative */
tn_status tni_check_run_twice(const tni_check *); /* second */

/* Fixed weights, between 0.25 and 1.25 in size, of either sign; f64 and of t's shape. Scope's; NULL
 * + error. */
tn_tensor *tni_check_weights(tn_tensor *like, uint64_t seed);
/* acc + sum(t * weights); acc NULL = 0. Scope's; NULL + error. */
tn_tensor *tni_check_weighted(tn_tensor *acc, tn_tensor *t, uint64_t seed);

#endif
