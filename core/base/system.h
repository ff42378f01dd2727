/* system.h - what this computer grants the process: processors and memory, with affinity masks and
 * cgroup limits honoured. Read once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BASE_SYSTEM_H
#define TENON_BASE_SYSTEM_H

#include <stdint.h>

int32_t tni_system_cpus(void);         /* >= 1 */
uint64_t tni_system_memory(void);      /* bytes */
const char *tni_system_cpu_name(void); /* "AMD EPYC 9554"; "cpu" if the system does not say */

#endif
