// cache_test.cc - what is remembered of calls, and what is forgotten.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include <algorithm>

#include "modules/math/math_ops.h"

namespace {

class Cache : public Tenon {};

TEST_F(Cache, ForgetsTheCallsNotMadeLongestWhenThereAreTooManyBytes) {
    enum { CALLS = 80000 };
    const uint64_t most = UINT64_C(64) << 20;
    const int64_t all = 8 * CALLS;
    tn_tensor *x = tn_ones({&all, 1}, TN_F32);
    uint64_t before = 0, largest = 0;
    for (int64_t k = 1; k < CALLS; k++) { // a signature each: no other has these strides
        const tn_scope scope = tn_scope_push();
        tn_slice_opts every = {};
        every.end = {8 * k, true}, every.step = {k, true};
        tn_neg(tn_slice(x, &every));
        tn_scope_pop(scope);
        if (k % 1000) continue;
        const tn_memory_info now = memory_now();
        EXPECT_TRUE(now.signatures > before || now.signature_bytes > most - (1 << 20))
            << "many went at once: " << before << " became " << now.signatures;
        before = now.signatures;
        largest = std::max(largest, now.signature_bytes);
    }
    EXPECT_GT(largest, most - (1 << 20)) << "the test made too few";
    EXPECT_LT(largest, most + (1 << 20));
    EXPECT_GT(before, 10000u);
}

} // namespace
