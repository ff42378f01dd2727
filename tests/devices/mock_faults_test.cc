// mock_faults_test.cc - devices that fail, each by a switch of the mock: errors are named, nothing else is
// lost.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

namespace {

class MockFaults : public Tenon {
  protected:
    const tn_device here = tn_current_device(), other = {here.kind, 1}, cpu = {TN_CPU, 0};
    void TearDown() override {
        tn_use_device(here);
        tn_clear_error();
        Tenon::TearDown();
    }
};

tn_tensor *filled(int64_t n, double value) { return tn_full({&n, 1}, tn_float(value), TN_F32); }

TEST_F(MockFaults, ALostDeviceSaysItsFirstCauseAndOthersGoOn) {
    tn_tensor *x = filled(100, 1);
    for (int i = 0; i < 20 && !tn_error(); i++) {
        x = tn_add(x, 1);
        tn_device_sync(here);
    }
    EXPECT_TRUE(error_is(TN_ERR_DEVICE, {"mock:0", "lost", "lose_at"}));
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(tn_add(filled(3, 1), 1), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_DEVICE, {"lost", "lose_at"}));
    }
    for (const tn_device there : {other, cpu}) {
        tn_use_device(there);
        EXPECT_EQ(tn_item(tn_sum(tn_add(filled(3, 1), 1))), 6) << tn_error_message();
    }
}

TEST_F(MockFaults, WhatTheDeviceLacksForAMomentIsAskedForAgain) {
    const uint64_t before = memory_now().rescues;
    tn_tensor *kept[4];
    for (tn_tensor *&t : kept) t = filled(1 << 18, 2);
    EXPECT_EQ(memory_now().rescues, before + 1);
    for (tn_tensor *t : kept) EXPECT_EQ(tn_item(tn_mean(t)), 2) << tn_error_message();
}

TEST_F(MockFaults, AFullDeviceNamesWhatItHolds) {
    tn_tensor *x = filled(1 << 18, 1);
    EXPECT_EQ(filled(1 << 20, 1), nullptr);
    EXPECT_TRUE(
        error_is(TN_ERR_NOMEM, {"mock:0", "4.0 MiB", "limit: 3.0 MiB", "largest in use: 1.0 MiB"}));
    EXPECT_EQ(tn_item(tn_mean(x)), 1) << tn_error_message();
}

TEST_F(MockFaults, MemoryThatIsNotAlignedIsRefused) {
    EXPECT_EQ(filled(100, 1), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_DEVICE, {"mock:0", "multiple of 64"}));
}

TEST_F(MockFaults, WithoutDirectCopiesTensorsMoveOverTheHost) {
    tn_tensor *y = tn_to_device(filled(1000, 3), other);
    EXPECT_EQ(tn_device_of(y).index, 1);
    EXPECT_EQ(tn_item(tn_sum(y)), 3000) << tn_error_message();
}

TEST_F(MockFaults, SlowWorkIsWaitedForWhereItMatters) {
    tn_tensor *x = filled(100, 1);
    for (int i = 0; i < 20; i++) x = tn_add(x, 1);
    EXPECT_EQ(tn_item(tn_mean(x)), 21) << tn_error_message();
}

} // namespace
