// math_many_test.cc - sums of very many terms, and masks of numbers that are none.
// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/math_extremes.h"

namespace {

// ---- Sums of very many ------------------------------------------------------------------------

constexpr int64_t kMany = 20000000;

// `list` as many times as there are numbers, without memory.
tn_tensor *repeated(tn_tensor *x, int64_t n) { return tn_expand(x, ints({n})); }

TEST_F(Extremes, VeryManyAddedAtOnePlaceAreAllCounted) {
    const int64_t zero = 0;
    on_each_provider([&] {
        for (const Type &t : {kTypes[1], kTypes[2]}) {
            SCOPED_TRACE(t.name);
            const double want = rounded(t, kMany);
            tn_tensor *ones = repeated(of(t, {1}), kMany);
            tn_tensor *at = repeated(tn_from(&zero, ints({1}), TN_I64), kMany);
            EXPECT_EQ(read(tn_index_add(of(t, {0, 7}), 0, at, ones, nullptr)), (Numbers{want, 7}));
            EXPECT_EQ(read(tn_sum(ones)), Numbers{want});
            EXPECT_EQ(read(tn_mean(ones)), Numbers{1});
        }
    });
}

TEST_F(Extremes, ScatteredSumsAreRoundedOnceWhateverTheShape) {
    on_each_provider([] {
        for (const Type &t : {kTypes[0], kTypes[1], kTypes[2]})
            for (const int64_t places : {2, 5000}) { // fewer, and more, than there are to add
                const double one = 1 / t.eps;
                const int64_t where[] = {1, 1, 1, 1};
                tn_tensor *at = tn_from(where, ints({4}), TN_I64);
                tn_tensor *x = tn_zeros(ints({places, 3}), t.dtype);
                tn_tensor *rows = of(t, {one, 1, 0, 1, 1, 0, 1, 1, 0, 1 - one / 2, 1, 0}, {4, 3});
                tn_tensor *each = tn_expand(tn_unsqueeze(at, 1), ints({4, 3}));
                for (tn_tensor *y :
                     {tn_index_add(x, 0, at, rows, nullptr), tn_scatter_add(x, 0, each, rows),
                      tn_scatter_add(x, 0, tn_clone(each), rows)}) {
                    const Numbers have = read(tn_narrow(y, 0, 0, 2));
                    expect_close(have, {0, 0, 0, rounded(t, one / 2 + 3), 4, 0}, 0);
                }
                tn_tensor *in_place = tn_clone(tn_transpose(x, 0, 1));
                tn_tensor *turned = tn_transpose(in_place, 0, 1);
                ASSERT_NE(tn_scatter_add_(turned, 0, each, rows), nullptr) << tn_error_message();
                expect_close(read(tn_narrow(turned, 0, 0, 2)),
                             {0, 0, 0, rounded(t, one / 2 + 3), 4, 0}, 0);
            }
    });
}

// ---- Masks ------------------------------------------------------------------------------------

TEST_F(Extremes, DropoutOfAnythingIsItsMultipleOrZero) {
    for_every_type([](const Type &t) {
        for (const double p : {0.0, 0.1, 0.25, 0.3, 0.5, 0.9, 1.0})
            for (const double x : {kInf, -kInf, double(NAN), t.max, 0.0, 1.0}) {
                SCOPED_TRACE(testing::Message() << "p " << p << " of " << x);
                tn_tensor *y =
                    tn_dropout(tn_clone(tn_expand(of(t, {x}), ints({1000}))), p, nullptr);
                const double want = rounded(t, rounded(t, x) / (1 - p));
                for (const double v : read(y))
                    ASSERT_TRUE(v == 0 || (std::isnan(x) ? std::isnan(v) : v == want)) << v;
            }
    });
}

TEST_F(Extremes, WhatWasNotChosenHasGradientZeroWhateverComesBack) {
    for_every_type([](const Type &t) {
        for (const double up : {kInf, double(NAN)}) {
            tn_tensor *a = param(of(t, {1, 3, 2})), *b = param(of(t, {1, 3, 2})),
                      *c = param(of(t, {1, -3, 2}));
            ASSERT_EQ(tn_backward(tn_mul(tn_max(a), of(t, {up}, {1}))), TN_OK);
            ASSERT_EQ(tn_backward(tn_mul(tn_amax(b, nullptr), of(t, {up}, {1}))), TN_OK);
            ASSERT_EQ(tn_backward(tn_mul(norm(c, kInf), of(t, {up}, {1}))), TN_OK);
            for (tn_tensor *x : {a, b, c}) {
                const Numbers g = read(tn_grad_of(x));
                EXPECT_EQ(g[0], 0);
                EXPECT_FALSE(std::isfinite(g[1]));
                EXPECT_EQ(g[2], 0);
            }
        }
    });
}

} // namespace
