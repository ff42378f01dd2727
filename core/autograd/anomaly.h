/* anomaly.h - anomaly mode: which call a NaN comes from.
 *
 * While it is on, a node remembers the number of its call, who called, and whether its arguments
 * and results held a NaN; a backward pass looks at every gradient that a derivative gives, and
 * fails at the first NaN. Slow on purpose: every value is read.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_AUTOGRAD_ANOMALY_H
#define TENON_AUTOGRAD_ANOMALY_H

#include "core/autograd/node.h"

struct tni_trace;

/* Before the kernel: begins n's trace. After it: completes it. False + NOMEM. */
bool tni_trace_begin(tni_node *n, const tn_value *args, uint32_t n_args);
void tni_trace_results(tni_node *n, tn_tensor *const *results, uint32_t n_results);
void tni_trace_free(struct tni_trace *); /* NULL is fine */

/* After n's derivative ran: false + GRAD if a gradient it gave has a NaN. had_nan: one that came in
 * had. */
bool tni_anomaly_check(const tni_node *n, bool had_nan);
bool tni_anomaly_came_in(const tni_node *n); /* does a gradient of a result hold a NaN? */

#endif
