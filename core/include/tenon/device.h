/* tenon/device.h - the devices there are, and where a thread's work goes.
 *
 * `cpu` is the library's own; others come with plugins that drive them. A tensor lives on one device;
 * ops run where their tensors are, and numbers (tn_scalar) go along with any.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DEVICE_H
#define TENON_DEVICE_H

#include <tenon/tenon.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_device_info {
    uint32_t size;      /* set by the caller: sizeof(tn_device_info) */
    uint32_t index;     /* of its kind */
    const char *kind;   /* "cpu" */
    const char *name;   /* "AMD EPYC" */
    const char *plugin; /* who drives it */
    uint64_t memory_bytes;
} tn_device_info;

/* -1 on error; INDEX past the last. */
TN_API int64_t tn_device_count(void);
TN_API tn_status tn_device_at(int64_t i, tn_device_info *out);

/* Where this thread makes tensors from now on; starts as the cpu. Returns what it was; an unknown
 * device is an error (DEVICE) and changes nothing. */
TN_API tn_device tn_use_device(tn_device);
TN_API tn_device tn_current_device(void);

#ifdef __cplusplus
}
#endif
#endif
