/* geometry.h - what follows from sizes and strides, counted in elements.
 *
 * Invariant: a geometry that a tensor or a view has was checked when it was made; asking again
 * about one cannot overflow.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BASE_GEOMETRY_H
#define TENON_BASE_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

/* Number of elements of sizes[0..rank), or -1 if a size is negative or the elements, of
 * element_bytes each, have more bytes than fit in 63 bits. */
int64_t tni_numel(const int64_t *sizes, int32_t rank, int64_t element_bytes);

/* Strides of a row-major tensor without holes. A size of 0 counts as 1. */
void tni_row_major(const int64_t *sizes, int32_t rank, int64_t *strides);
/* The same for dims that lie in this order, outermost first; NULL: row-major. */
void tni_strides_in(const int8_t *order, const int64_t *sizes, int32_t rank, int64_t *strides);
/* N, spatial dims, C; NULL below rank 3, where that is row-major. */
const int8_t *tni_channels_last(int32_t rank, int8_t *order);
/* Do they lie in that order, without holes? What dims of size 1 say does not matter. */
bool tni_lies_in(const int8_t *order, const int64_t *sizes, const int64_t *strides, int32_t rank);
/* Are these the strides? Those of a dim of size 1 do not matter; none do where a size is 0. */
bool tni_contiguous(const int64_t *sizes, const int64_t *strides, int32_t rank);

/* The lowest and the highest element reached, counted from the first: both 0 where a size is 0.
 * False on overflow. */
bool tni_reach(const int64_t *sizes, const int64_t *strides, int32_t rank, int64_t *low,
               int64_t *high);
/* Might two indices lead to the same element? */
bool tni_overlaps(const int64_t *sizes, const int64_t *strides, int32_t rank);

#endif
