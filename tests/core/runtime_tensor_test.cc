// runtime_tensor_test.cc - questions to tensors, views, reading and writing, text.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <functional>

#include "tests/core/runtime_test.h"

namespace {

using Tensor = Runtime;

TEST_F(Tensor, EveryQuestionToAStaleOneNamesTheError) {
    tn_scope s = tn_scope_push();
    tn_tensor *t = Range({2, 2});
    tn_scope_pop(s);
    float out[4] = {};
    const std::vector<std::function<bool()>> asks = {
        [&] { return tn_rank(t) == -1; },
        [&] { return tn_size(t, 0) == -1; },
        [&] { return tn_sizes(t) == nullptr; },
        [&] { return tn_strides(t) == nullptr; },
        [&] { return tn_numel(t) == -1; },
        [&] { return tn_dtype_of(t).lanes == 0; },
        [&] { return tn_device_of(t).kind == 0; },
        [&] { return !tn_is_contiguous(t); },
        [&] { return tn_data(t) == nullptr; },
        [&] { return std::isnan(tn_item(t)); },
        [&] { return std::string(tn_to_string(t)).empty(); },
        [&] { return tn_keep(t) == nullptr; },
        [&] { return tn_read(t, out, sizeof out) == tn_error(); },
        [&] { return tn_write(t, out, sizeof out) == tn_error(); },
        [&] { return tn_scope_adopt(t) == tn_error(); },
    };
    for (size_t i = 0; i < asks.size(); i++) {
        EXPECT_TRUE(asks[i]()) << i;
        EXPECT_EQ(TakeError(), "STALE") << i;
    }
    t = nullptr;
    for (size_t i = 0; i < asks.size(); i++) {
        EXPECT_TRUE(asks[i]()) << i;
        EXPECT_EQ(TakeError(), "INVALID") << i;
    }
}

TEST_F(Tensor, AStaleOneStaysRecognisableForManyOthers) {
    for (int round = 0; round < 100; round++) { // however many free headers there are
        tn_scope s = tn_scope_push();
        tn_tensor *gone = tn_empty(Ints({1}), TN_F32);
        tn_scope_pop(s);
        for (int i = 0; i < 60; i++) tn_empty(Ints({1}), TN_F32);
        ASSERT_EQ(tn_rank(gone), -1) << round;
        ASSERT_EQ(TakeError(), "STALE");
    }
}

TEST_F(Tensor, AViewOfAViewCountsFromTheView) {
    tn_tensor *base = Range({3, 4});
    tn_tensor *row = View(base, {4}, {1}, 8);
    tn_tensor *again = View(row, {2}, {-1}, 3);
    EXPECT_EQ(Read(row), (std::vector<float>{8, 9, 10, 11}));
    EXPECT_EQ(Read(again), (std::vector<float>{11, 10}));
}

TEST_F(Tensor, AMovedViewKeepsItsBaseAlive) {
    tn_scope s = tn_scope_push();
    tn_tensor *view = View(Range({3, 4}), {2}, {-1}, 11);
    EXPECT_EQ(tn_scope_pop_with(s, &view, 1), TN_OK);
    EXPECT_EQ(Read(view), (std::vector<float>{11, 10}));
    EXPECT_FALSE(tn_is_contiguous(view));
}

TEST_F(Tensor, AViewBeyondItsStorageIsRefused) {
    tn_tensor *base = Range({12});
    const int64_t huge = INT64_C(1) << 62;
    const struct {
        Shape sizes, strides;
        int64_t offset;
    } wrong[] = {{{13}, {1}, 0},        {{12}, {1}, 1}, {{2}, {-1}, 0}, {{3, 2}, {huge, huge}, 0},
                 {{1}, {1}, INT64_MAX}, {{1}, {1}, -1}};
    for (const auto &w : wrong) {
        EXPECT_EQ(View(base, w.sizes, w.strides, w.offset), nullptr);
        EXPECT_EQ(TakeError(), "INDEX");
    }
    EXPECT_NE(View(base, {0}, {1}, 12), nullptr);
    EXPECT_NE(View(base, {huge / 8}, {0}, 11), nullptr);
}

TEST_F(Tensor, ReadsAndWritesStridedViews) {
    tn_tensor *base = Range({2, 3, 4});
    const struct {
        Shape sizes, strides;
    } permuted[] = {{{4, 2, 3}, {1, 12, 4}}, {{2, 4, 3}, {12, 1, 4}}, {{3, 4, 2}, {4, 1, 12}}};
    for (const auto &p : permuted) {
        tn_tensor *t = View(base, p.sizes, p.strides, 0);
        const std::vector<float> all = Read(base);
        std::vector<float> want;
        for (int64_t i = 0; i < p.sizes[0]; i++)
            for (int64_t j = 0; j < p.sizes[1]; j++)
                for (int64_t k = 0; k < p.sizes[2]; k++)
                    want.push_back(all[static_cast<size_t>(i * p.strides[0] + j * p.strides[1] +
                                                           k * p.strides[2])]);
        EXPECT_EQ(Read(t), want);
        for (float &w : want) w = -w;
        EXPECT_EQ(tn_write(t, want.data(), want.size() * sizeof(float)), TN_OK);
        EXPECT_EQ(Read(t), want);
    }
    EXPECT_EQ(Read(base)[5], -5.f);
}

TEST_F(Tensor, AnExpandedViewIsReadButNotWritten) {
    const float data[5] = {};
    tn_tensor *wide = View(Range({4}), {5}, {0}, 3);
    EXPECT_EQ(Read(wide), std::vector<float>(5, 3.f));
    EXPECT_EQ(tn_write(wide, data, sizeof data), TN_ERR_INVALID);
    EXPECT_EQ(TakeError(), "INVALID");
    EXPECT_EQ(Read(wide), std::vector<float>(5, 3.f));
}

TEST_F(Tensor, ReadAndWriteRefuseOtherSizes) {
    tn_tensor *t = Range({3});
    float data[4] = {};
    EXPECT_EQ(tn_read(t, data, 16), TN_ERR_INVALID);
    EXPECT_EQ(TakeError(), "INVALID");
    EXPECT_EQ(tn_write(t, data, 8), TN_ERR_INVALID);
    EXPECT_EQ(TakeError(), "INVALID");
    EXPECT_EQ(tn_read(t, nullptr, 12), TN_ERR_INVALID);
    EXPECT_EQ(TakeError(), "INVALID");
    EXPECT_EQ(tn_read(tn_empty(Ints({0, 5}), TN_F32), nullptr, 0), TN_OK);
}

TEST_F(Tensor, ElementsAreNotTouchedWhileAnErrorIsPending) {
    tn_tensor *t = Range({1});
    float data = 7;
    tn_raise(TN_ERR_IO, "first");
    EXPECT_EQ(tn_write(t, &data, 4), TN_ERR_IO);
    EXPECT_EQ(tn_read(t, &data, 4), TN_ERR_IO);
    EXPECT_EQ(data, 7);
    EXPECT_TRUE(std::isnan(tn_item(t)));
    EXPECT_EQ(tn_numel(t), 1);
    EXPECT_EQ(TakeError(), "IO");
    EXPECT_EQ(tn_item(t), 0);
}

TEST_F(Tensor, ItemNeedsExactlyOneElement) {
    EXPECT_EQ(tn_item(tn_full(Ints({1, 1}), tn_int(-7), TN_I16)), -7);
    EXPECT_TRUE(std::isnan(tn_item(Range({2}))));
    EXPECT_EQ(TakeError(), "SHAPE");
}

TEST_F(Tensor, SizeTakesNegativeDimsAndRefusesOthers) {
    tn_tensor *t = Range({2, 3});
    EXPECT_EQ(tn_size(t, -1), 3);
    EXPECT_EQ(tn_size(t, 0), 2);
    for (int64_t dim : {INT64_C(2), INT64_C(-3), INT64_MIN, INT64_MAX}) {
        EXPECT_EQ(tn_size(t, dim), -1);
        EXPECT_EQ(TakeError(), "INDEX");
    }
}

TEST_F(Tensor, TextShowsShapeAndNestedRows) {
    EXPECT_STREQ(tn_to_string(Range({2, 3})), "f32[2,3] [[0, 1, 2], [3, 4, 5]]");
    EXPECT_STREQ(tn_to_string(tn_scalar(0.5)), "f64[] 0.5");
    EXPECT_STREQ(tn_to_string(tn_full(Ints({2}), tn_bool(true), TN_BOOL)), "bool[2] [true, true]");
    EXPECT_STREQ(tn_to_string(tn_full(Ints({1}), tn_float(-NAN), TN_F16)), "f16[1] [nan]");
    EXPECT_STREQ(tn_to_string(tn_full(Ints({1}), tn_float(-INFINITY), TN_BF16)), "bf16[1] [-inf]");
    EXPECT_STREQ(tn_to_string(tn_full(Ints({1}), tn_int(INT64_MIN), TN_I64)),
                 "i64[1] [-9223372036854775808]");
    EXPECT_STREQ(tn_to_string(tn_empty(Ints({INT64_C(1) << 40, 0}), TN_F32)),
                 "f32[1099511627776,0] []");
}

TEST_F(Tensor, TextOfLongOnesShowsTheEdges) {
    EXPECT_STREQ(tn_to_string(Range({2, 1000})), "f32[2,1000] [[0, 1, 2, ..., 997, 998, 999], "
                                                 "[1000, 1001, 1002, ..., 1997, 1998, 1999]]");
    tn_tensor *vast = View(Range({1}), Shape(16, 6), Shape(16, 0), 0); // 6^16 elements
    EXPECT_LT(strlen(tn_to_string(vast)), 100000u);
}

TEST_F(Tensor, ShapeTextIsCutAndNeverOverflows) {
    tn_meta m = {};
    m.dtype = TN_F32, m.rank = 2, m.sizes[0] = 12, m.sizes[1] = 345;
    const std::string whole = "f32[12,345]";
    for (uint64_t capacity = 1; capacity < 14; capacity++) {
        std::vector<char> out(capacity + 1, '#');
        const uint64_t n = tni_shape_text(&m, out.data(), capacity);
        EXPECT_EQ(out.data(), whole.substr(0, capacity - 1));
        EXPECT_EQ(n, strlen(out.data()));
        EXPECT_EQ(out[capacity], '#');
    }
}

} // namespace
