// mock_test.cc - a device that is no cpu: memory of its own, streams, events.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

namespace {

class Mock : public Tenon {};

tn_tensor *vector(std::initializer_list<float> list) {
    return tn_from(list.begin(), {std::initializer_list<int64_t>{(int64_t)list.size()}.begin(), 1},
                   TN_F32);
}

TEST_F(Mock, TensorsAreMadeThereAndComputedThere) {
    tn_tensor *x = vector({1, 2, 3});
    EXPECT_EQ(tn_device_of(x).kind, tn_current_device().kind);
    EXPECT_EQ(numbers(tn_mul(x, x)), (Numbers{1, 4, 9}));
    EXPECT_STREQ(tn_last_provider(), "mock");
}

TEST_F(Mock, NumbersGoAlong) {
    tn_tensor *x = vector({1, 2, 3});
    EXPECT_EQ(numbers(tn_add(tn_mul(x, 2), 1)), (Numbers{3, 5, 7}));
    EXPECT_EQ(tn_item(tn_mean(x)), 2);
}

TEST_F(Mock, GradientsComeBackToTheDevice) {
    tn_tensor *x = vector({1, 2, 3});
    tn_set_requires_grad(x, true);
    ASSERT_EQ(tn_backward(tn_sum(tn_mul(x, x))), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_device_of(tn_grad_of(x)).kind, tn_device_of(x).kind);
    EXPECT_EQ(grad(x), (Numbers{2, 4, 6}));
}

} // namespace
