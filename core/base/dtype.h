/* dtype.h - single elements: reading one as a number, and making one from a number.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BASE_DTYPE_H
#define TENON_BASE_DTYPE_H

#include <tenon/abi.h>

/* Bytes of one element; 0 for an unknown dtype. */
static inline int64_t tni_dtype_bytes(tn_dtype d) { return tn_dtype_index(d) < 0 ? 0 : d.bits / 8; }

static inline bool tni_dtype_is_half(tn_dtype d) { /* f16 or bf16 */
    return tn_dtype_is(d, TN_F16) || tn_dtype_is(d, TN_BF16);
}

/* The element at p; bool as 0 or 1. Integers beyond 2^53 lose digits as a double. */
double tni_element_float(const void *p, tn_dtype);
int64_t tni_element_int(const void *p, tn_dtype); /* of bool and integer dtypes; 0 for others */

/* May number (bool, int or float) stand in this dtype? Not if a finite one would become
 * infinite, or an integer dtype has no such number; fractions may be cut off, and any number is
 * true or false. */
bool tni_dtype_holds(tn_dtype, tn_value number);

/* number (bool, int or float) as one element at out, rounded to nearest even; fractions are cut for
 * integer dtypes. OVERFLOW if an integer dtype cannot hold it, DTYPE for other tags. Raises
 * nothing. */
tn_status tni_element_from(tn_value number, tn_dtype, void *out);

#endif
