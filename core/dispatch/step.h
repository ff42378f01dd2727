/* step.h - one run of a kernel, kept so that it can be run again.
 *
 *     step  [ the call | arguments, results | views | what views and arguments lead to ]
 *
 * One block that leads into itself, into its signature, which it holds, and into memory of tensors,
 * which others hold for it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_STEP_H
#define TENON_DISPATCH_STEP_H

#include "core/dispatch/call.h"

typedef struct tni_outcome { /* what a kernel said when it failed; shared by many steps */
    _Atomic int32_t failed;
    char text[480];
} tni_outcome;

typedef struct tni_step tni_step;

/* Of a frame whose kernel has just run. NULL without an error raised if there is no memory. */
tni_step *tni_step_new(const tni_frame *, tni_outcome *);
void tni_step_free(tni_step *);
const char *tni_step_op(const tni_step *);

/* Bytes of workspace it needs, and where they are. */
uint64_t tni_step_workspace(const tni_step *);
void tni_step_set_workspace(tni_step *, void *);
/* From where it draws next. */
void tni_step_draw(tni_step *, tn_rng at);
/* The status of the kernel, or the pending error's. */
tn_status tni_step_run(tni_step *, tni_state *);

#endif
