/* statistics.h - what the pools hold and have held.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MEMORY_STATISTICS_H
#define TENON_MEMORY_STATISTICS_H

#include <tenon/inspect.h>
#include <tenon/tenon.h>

/* Fills in all that concerns bytes; counts of objects are left as they are. */
void tni_memory_statistics(tn_memory_info *);
/* How many signatures there are now, and their bytes; told by core/dispatch. */
void tni_statistics_signatures(uint64_t count, uint64_t bytes);

#endif
