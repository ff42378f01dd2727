/* geometry.c - see geometry.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/base/geometry.h"

#include <tenon/abi.h>

int64_t tni_numel(const int64_t *sizes, int32_t rank, int64_t element_bytes) {
    /* Sizes of 0 count as 1 on the way, so that strides cannot overflow either. */
    int64_t bound = element_bytes, numel = 1;
    for (int32_t i = 0; i < rank; i++) {
        if (sizes[i] < 0 || __builtin_mul_overflow(bound, sizes[i] > 0 ? sizes[i] : 1, &bound))
            return -1;
        numel *= sizes[i];
    }
    return numel;
}

void tni_row_major(const int64_t *sizes, int32_t rank, int64_t *strides) {
    tni_strides_in(NULL, sizes, rank, strides);
}

void tni_strides_in(const int8_t *order, const int64_t *sizes, int32_t rank, int64_t *strides) {
    int64_t stride = 1;
    for (int32_t i = rank; i-- > 0;) {
        const int32_t d = order ? order[i] : i;
        strides[d] = stride;
        stride *= sizes[d] > 0 ? sizes[d] : 1;
    }
}

const int8_t *tni_channels_last(int32_t rank, int8_t *order) {
    if (rank < 3) return NULL;
    order[0] = 0;
    for (int32_t d = 2; d < rank; d++) order[d - 1] = (int8_t)d;
    order[rank - 1] = 1;
    return order;
}

bool tni_lies_in(const int8_t *order, const int64_t *sizes, const int64_t *strides, int32_t rank) {
    int64_t expected = 1;
    for (int32_t i = rank; i-- > 0;) {
        const int32_t d = order ? order[i] : i;
        if (sizes[d] == 0) return true;
        if (sizes[d] != 1 && strides[d] != expected) return false;
        expected *= sizes[d];
    }
    return true;
}

bool tni_contiguous(const int64_t *sizes, const int64_t *strides, int32_t rank) {
    return tni_lies_in(NULL, sizes, strides, rank);
}

bool tni_reach(const int64_t *sizes, const int64_t *strides, int32_t rank, int64_t *low,
               int64_t *high) {
    *low = *high = 0;
    for (int32_t i = 0; i < rank; i++) {
        int64_t far;
        if (sizes[i] == 0) return *low = *high = 0, true;
        if (__builtin_mul_overflow(sizes[i] - 1, strides[i], &far)) return false;
        int64_t *end = far < 0 ? low : high;
        if (__builtin_add_overflow(*end, far, end)) return false;
    }
    return true;
}

static int64_t magnitude(int64_t x) { return x < 0 ? -x : x; }

/* With strides in ascending order, each must step over all that the smaller ones reach. */
bool tni_overlaps(const int64_t *sizes, const int64_t *strides, int32_t rank) {
    bool used[TN_MAX_RANK] = {false};
    int64_t reach = 0;
    for (int32_t i = 0; i < rank; i++)
        if (sizes[i] == 0) return false;
    for (int32_t round = 0; round < rank; round++) {
        int32_t least = -1;
        for (int32_t i = 0; i < rank; i++)
            if (!used[i] && (least < 0 || magnitude(strides[i]) < magnitude(strides[least])))
                least = i;
        used[least] = true;
        if (sizes[least] < 2) continue;
        if (magnitude(strides[least]) <= reach) return true;
        reach += (sizes[least] - 1) * magnitude(strides[least]);
    }
    return false;
}
