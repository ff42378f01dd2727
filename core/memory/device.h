/* device.h - device kinds and their drivers; `cpu` is the core's own and goes through the same
 * table.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MEMORY_DEVICE_H
#define TENON_MEMORY_DEVICE_H

#include "core/memory/place.h"

/* Checks only; CONFLICT if the kind has an owner, INVALID if a slot that must be there is missing.
 * `why` gets the text. */
tn_status tni_device_kind_check(const tn_driver *, char *why, uint64_t capacity);
tn_status tni_device_kind_add(const tn_driver *,
                              const char *plugin_id); /* after a check that passed */
/* Its default stream's; NULL if there is no such device. */
tni_place *tni_device_place(tn_device);
const char *tni_device_kind_name(int32_t kind);                    /* "cpu"; "?" */
int32_t tni_device_kind_find(const char *name);                    /* 0 if unknown */
bool tni_device_name_valid(const char *);                          /* could a kind be called so? */
uint64_t tni_device_text(tn_device, char *out, uint64_t capacity); /* "cpu:0" */

#endif
