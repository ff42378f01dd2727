/* threads.h - the one pool of threads, and how work is cut.
 *
 * Invariant: chunk borders and the combination tree depend on (n, grain) only, never on how many
 * threads there are (I7). Nested or busy calls run inline.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BASE_THREADS_H
#define TENON_BASE_THREADS_H

#include <tenon/abi.h>

void tni_parallel_for(int64_t n, int64_t grain, int32_t max_threads, tn_range_fn body, void *arg);
tn_status tni_parallel_reduce(int64_t n, int64_t grain, int32_t max_threads, tn_reduce_fn body,
                              tn_combine_fn combine, void *arg, void *out, uint32_t partial_bytes);
int32_t
tni_thread_count(void); /* threads there can be: affinity mask and cgroup quota honoured; >= 1 */
int32_t tni_thread_limit(void); /* of the calling thread: tn_set_threads, else tni_thread_count */
uint32_t tni_threads_used_last(
    void); /* distinct threads that ran chunks of the last parallel call from this thread */

#endif
