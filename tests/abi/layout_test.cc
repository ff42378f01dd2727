// layout_test.cc - abi.h alone, as C++17; its layout is what it was.
// SPDX-License-Identifier: Apache-2.0
#include <tenon/abi.h>
// after it, so that abi.h is seen to need nothing else
#include <gtest/gtest.h>
#include <tenon/abi_driver.h>
#include <tenon/abi_layers.h>

#include <cstring>

extern "C" const char *tni_abi_c11_entry(void);

namespace {

TEST(AbiLayout, IsWhatItWas) {
#define LAYOUT_SIZE(type, bytes) EXPECT_EQ(sizeof(type), bytes##u) << #type;
#define LAYOUT_FIELD(type, field, offset)                                                          \
    EXPECT_EQ(offsetof(type, field), offset##u) << #type "." #field;
#include "tests/abi/layout.inc"
}

TEST(AbiLayout, IsTheSameForCAndCpp) {
    // layout_c11.c asserts the same table at compile time.
    EXPECT_STREQ(tni_abi_c11_entry(), TN_PLUGIN_ENTRY);
}

TEST(AbiValues, AreSixteenBytesWhoseUnusedBitsAreZero) {
    static_assert(sizeof(tn_value) == 16, "one value");
    const tn_value values[] = {tn_bool(true), tn_value_dtype(TN_F32), tn_value_none(),
                               tn_value_device({TN_CPU, 0})};
    for (const tn_value &v : values) EXPECT_EQ(v.aux, 0u);
    unsigned char bytes[16];
    const tn_value truth = tn_bool(true), dtype = tn_value_dtype(TN_F32);
    std::memcpy(bytes, &truth, sizeof bytes);
    for (int i = 9; i < 16; i++) EXPECT_EQ(bytes[i], 0) << i;
    std::memcpy(bytes, &dtype, sizeof bytes);
    for (int i = 12; i < 16; i++) EXPECT_EQ(bytes[i], 0) << i;
}

TEST(AbiValues, KeepAListTooLongVisibleInsteadOfCuttingIt) {
    EXPECT_EQ(tn_value_ints({nullptr, INT64_C(1) << 40}).aux, UINT32_MAX);
    EXPECT_EQ(tn_value_ints({nullptr, -1}).aux, UINT32_MAX);
}

TEST(AbiDtypes, HaveOneIndexEachAndUnknownOnesNone) {
#define SEEN(index, NAME, name, ctype, class_) EXPECT_EQ(tn_dtype_index(TN_##NAME), index) << name;
    TN_DTYPE_LIST(SEEN)
#undef SEEN
    EXPECT_EQ(tn_dtype_index({2, 8, 1}), -1);
    EXPECT_EQ(tn_dtype_index({2, 32, 4}), -1);
}

TEST(AbiTables, AreReadOnlyAsFarAsTheyReach) {
    tn_verdict v = {};
    v.size = 8;
    EXPECT_TRUE(TN_HAS(&v, answer));
    EXPECT_FALSE(TN_HAS(&v, reason));
}

} // namespace
