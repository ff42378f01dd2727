/* layout_c11.c - abi.h alone, as C11, without a byte of padding.
 * SPDX-License-Identifier: Apache-2.0 */
#pragma GCC diagnostic error "-Wpadded"
#include <tenon/abi.h>
/* after it, so that abi.h is seen to need nothing else */
#include <tenon/abi_driver.h>
#include <tenon/abi_layers.h>

#define LAYOUT_SIZE(type, bytes) _Static_assert(sizeof(type) == bytes, #type);
#define LAYOUT_FIELD(type, field, offset)                                                          \
    _Static_assert(offsetof(type, field) == offset, #type "." #field);
#include "tests/abi/layout.inc"

const char *tni_abi_c11_entry(void);
const char *tni_abi_c11_entry(void) { return TN_PLUGIN_ENTRY; }
