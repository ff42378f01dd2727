/* check.h - what the files of this module share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MODULES_CHECK_H
#define TENON_MODULES_CHECK_H

#include <tenon/check.h>
#include <tenon/hooks.h>
#include <tenon/inspect.h>
#include <tenon/tenon.h>

#include "core/schema/schema.h"

typedef struct check_job {
    tn_tensors_fn fn;
    void *user;
    tn_tensors inputs;        /* those that require grad are checked; f64 */
    const char *what;         /* "gradcheck of 'mul'" */
    const char *const *names; /* of inputs, or NULL: "input 0" */
    tn_gradcheck_opts opts;
} check_job;

bool check_is_floating(tn_tensor *);

/* The schema of an op, and what there is to know of it. The scope's; NULL + error. */
tni_schema *check_schema(const char *op, tn_op_info *info);

/* Elements of inputs that are checked: if there are none, a check that passes has shown nothing. */
int64_t check_elements(const check_job *);
tn_status check_run(const check_job *);       /* first derivative */
tn_status check_run_twice(const check_job *); /* second */

/* Fixed weights, between 0.25 and 1.25 in size, of either sign; f64 and of t's shape. Scope's; NULL
 * + error. */
tn_tensor *check_weights(tn_tensor *like, uint64_t seed);
/* acc + sum(t * weights); acc NULL = 0. Scope's; NULL + error. */
tn_tensor *check_weighted(tn_tensor *acc, tn_tensor *t, uint64_t seed);

#endif
