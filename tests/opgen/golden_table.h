/* golden_table.h - lets the C++ test reach what the table holds.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_TESTS_GOLDEN_TABLE_H
#define TENON_TESTS_GOLDEN_TABLE_H

#include <tenon/abi.h>

#ifdef __cplusplus
extern "C" {
#endif
const tn_op *golden_rows(uint32_t *count);
const char *golden_note(uint64_t *bytes);
void golden_host(const tn_ops *); /* what the generated code calls */
tn_tensor *golden_add_in_c(tn_tensor *a, tn_tensor *b);
enum { GOLDEN_NUMBERS = 16 };
void golden_numbers_in_c(tn_tensor *a, tn_tensor *out[GOLDEN_NUMBERS]);
tn_status golden_shape(tn_infer *);
#ifdef __cplusplus
}
#endif
#endif
