/* pin.h - whom a thread wants to be asked first: a plugin, or its kernels of one name.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_PIN_H
#define TENON_DISPATCH_PIN_H

#include "core/dispatch/registry.h"

/* "acme", "acme/own": the number that stands for it in a thread's state and in keys. -1 + error if
 * there are no such kernels. */
int32_t tni_pin_find(const char *label);
bool tni_pinned(const tni_provider *, int32_t pin);

#endif
