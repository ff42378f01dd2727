// kit_test.cc - the header-only kit for plugins, by itself and as C++17; kit_c11.c is the same as C11.
// SPDX-License-Identifier: Apache-2.0
#include <tenon/kit_ops.h>

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <thread>
#include <vector>

extern "C" {
TN_HIDDEN const tn_host *tn_plugin_host;
TN_HIDDEN tn_plugin *tn_plugin_self;
TN_HIDDEN const tn_ops *tn_plugin_ops;
}

namespace {

struct View {
    View(std::vector<int64_t> sizes, std::vector<int64_t> strides)
        : sizes_(sizes), strides_(strides) {
        view.rank = static_cast<int32_t>(sizes_.size());
        view.sizes = sizes_.data(), view.strides = strides_.data();
        view.dtype = TN_F32;
    }
    tn_view view = {};
    std::vector<int64_t> sizes_, strides_;
};

bool IsContiguous(const View &v) { return tnk_is_contiguous(&v.view); }

TEST(Kit, KnowsWhatIsContiguous) {
    EXPECT_TRUE(IsContiguous(View({}, {})));
    EXPECT_TRUE(IsContiguous(View({2, 3}, {3, 1})));
    EXPECT_TRUE(IsContiguous(View({2, 1, 3}, {3, 99, 1}))) << "one element has no stride";
    EXPECT_TRUE(IsContiguous(View({2, 0}, {7, 7}))) << "nothing lies anywhere";
    EXPECT_FALSE(IsContiguous(View({2, 3}, {1, 2})));
    EXPECT_FALSE(IsContiguous(View({2, 3}, {4, 1})));
}

TEST(Kit, FindsAnElement) {
    float x[6] = {0, 1, 2, 3, 4, 5};
    View v({2, 3}, {3, 1});
    v.view.data = x;
    v.view.byte_offset = 4;
    EXPECT_EQ(*static_cast<float *>(tnk_at(&v.view, 3)), 4);
    EXPECT_EQ(tnk_item_bytes(&v.view), 4);
}

TEST(Kit, ReadsNumbersOfAnyTag) {
    const tn_value none = tn_value_none(), half = tn_float(0.5), three = tn_int(3),
                   yes = tn_bool(true);
    EXPECT_EQ(tnk_number(&none, 7), 7);
    EXPECT_EQ(tnk_number(&half, 7), 0.5);
    EXPECT_EQ(tnk_number(&three, 7), 3);
    EXPECT_TRUE(tnk_flag(&yes));
    EXPECT_FALSE(tnk_flag(&none));
}

TEST(Kit, ConvertsSmallFloatsBackAndForth) {
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const uint16_t h = static_cast<uint16_t>(bits);
        const double f16 = tnk_f16_to_f64(h), bf16 = tnk_bf16_to_f64(h);
        if (f16 == f16) {
            EXPECT_EQ(tnk_f64_to_f16(f16), h);
        }
        if (bf16 == bf16) {
            EXPECT_EQ(tnk_f64_to_bf16(bf16), h);
        }
    }
    EXPECT_EQ(tnk_f16_to_f64(0x3c00), 1);
    EXPECT_EQ(tnk_f64_to_f16(65519), 0x7bff) << "below half way to what does not exist";
    EXPECT_EQ(tnk_f64_to_f16(65520), 0x7c00) << "infinity";
    EXPECT_EQ(tnk_f64_to_f16(1 + 0x1p-11), 0x3c00) << "a tie goes to even";
    EXPECT_EQ(tnk_f64_to_f16(-0x1p-25), 0x8000) << "a tie with zero, too";
    EXPECT_NE(tnk_f16_to_f64(tnk_f64_to_f16(NAN)), tnk_f16_to_f64(tnk_f64_to_f16(NAN)));
}

TEST(Kit, PrintsSizesAndPositions) {
    char text[TNK_LIST_BYTES];
    const int64_t sizes[] = {2, 3, 4};
    EXPECT_STREQ(tnk_sizes_text(sizes, 3, text), "[2,3,4]");
    EXPECT_STREQ(tnk_sizes_text(sizes, 0, text), "[]");
    EXPECT_STREQ(tnk_position_text(sizes, 3, 23, text), "[1, 2, 3]");
    const std::vector<int64_t> long_ones(TN_MAX_RANK, INT64_MIN);
    EXPECT_LT(strlen(tnk_sizes_text(long_ones.data(), TN_MAX_RANK, text)), sizeof text);
}

std::string said;
void Fail(tn_call *, tn_status, const char *text, uint64_t len) { said.assign(text, len); }

TEST(Kit, FailsWithAFormattedTextAndCutsLongOnes) {
    tn_call c = {};
    c.fail = Fail;
    EXPECT_EQ(tnk_fail(&c, TN_ERR_INDEX, "row %d of %s", 3, "x"), TN_ERR_INDEX);
    EXPECT_EQ(said, "row 3 of x");
    const std::string endless(2 * TNK_TEXT_BYTES, 'e');
    tnk_fail(&c, TN_ERR_INDEX, "%s", endless.c_str());
    EXPECT_EQ(said.size(), TNK_TEXT_BYTES - 1);
}

TEST(Kit, KeepsTheLowestPositionOfAllThreads) {
    int64_t lowest = INT64_MAX;
    std::vector<std::thread> threads;
    for (int64_t t = 0; t < 4; t++)
        threads.emplace_back([&, t] {
            for (int64_t i = 1000; i > 0; i--) tnk_note_lowest(&lowest, 4 * i + t);
        });
    for (std::thread &t : threads) t.join();
    EXPECT_EQ(lowest, 4);
}

TEST(Kit, RunsSmallWorkOnTheCallingThread) {
    tn_call c = {};
    int64_t sum = 0;
    const auto body = [](void *arg, int64_t begin, int64_t end) {
        *static_cast<int64_t *>(arg) += end - begin;
    };
    tnk_parallel(&c, TNK_GRAIN, 1, body, &sum); // there is no host
    EXPECT_EQ(sum, TNK_GRAIN);
    tnk_parallel(&c, 0, 1, body, nullptr);
}

} // namespace
