// math_random_test.cc - distributions: their support, their moments, and that numbers depend on seed
// and position alone.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "tests/support.h"

#include "modules/math/math_ops.h"

namespace {

class MathRandom : public Tenon {
  protected:
    void SetUp() override {
        Tenon::SetUp();
        tn_generator_seed(nullptr, 7);
    }
};

Numbers wide(tn_tensor *t) { return numbers(tn_to(t, TN_F64)); }

double mean(const Numbers &v) {
    double sum = 0;
    for (double x : v) sum += x;
    return sum / static_cast<double>(v.size());
}

TEST_F(MathRandom, RandintCoversItsRangeEvenly) {
    tn_randint_opts opts = {};
    const Numbers v = wide(tn_randint(-3, 5, ints({8000}), &opts));
    for (int64_t k = -3; k < 5; k++) {
        const auto n = std::count(v.begin(), v.end(), static_cast<double>(k));
        EXPECT_NEAR(static_cast<double>(n), 1000, 150) << k;
    }
    EXPECT_EQ(*std::min_element(v.begin(), v.end()), -3);
    EXPECT_EQ(*std::max_element(v.begin(), v.end()), 4);
}

TEST_F(MathRandom, RandintRefusesWhatItCannotDo) {
    tn_randint_opts opts = {};
    tn_randint(3, 3, ints({2}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"randint", "3"}));
    tn_randint(INT64_MIN, INT64_MAX, ints({2}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"randint"}));
    opts.dtype = TN_I8;
    tn_randint(0, 129, ints({2}), &opts);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"randint", "128"}));
    EXPECT_NE(tn_randint(0, 128, ints({2}), &opts), nullptr);
    tn_randint(0, 2, ints({-1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"randint", "-1"}));
}

TEST_F(MathRandom, RandpermIsAPermutation) {
    for (const int64_t n : {0, 1, 1000}) {
        Numbers v = wide(tn_randperm(n, nullptr));
        const bool moved = !std::is_sorted(v.begin(), v.end());
        std::sort(v.begin(), v.end());
        ASSERT_EQ(v.size(), static_cast<size_t>(n));
        for (size_t i = 0; i < v.size(); i++) ASSERT_EQ(v[i], static_cast<double>(i));
        EXPECT_EQ(moved, n > 1);
    }
    tn_generator_seed(nullptr, 5);
    const Numbers first = wide(tn_randperm(50, nullptr));
    EXPECT_NE(wide(tn_randperm(50, nullptr)), first);
    tn_generator_seed(nullptr, 5);
    EXPECT_EQ(wide(tn_randperm(50, nullptr)), first);
}

TEST_F(MathRandom, BernoulliDrawsWithTheGivenProbability) {
    for (const double p : {0.0, 0.25, 1.0}) {
        EXPECT_NEAR(mean(wide(tn_bernoulli(full({20000}, p, TN_F16), nullptr))), p, 0.02);
        EXPECT_NEAR(mean(wide(tn_bernoulli_p(full({20000}, 0, TN_I32), p, nullptr))), p, 0.02);
    }
    tn_bernoulli_p(full({2}, 0), 1.5, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"bernoulli", "p", "1.5"}));
}

TEST_F(MathRandom, ExponentialHasItsRate) {
    tn_exponential_opts opts = {};
    opts.lambd = {4, true};
    const Numbers v = wide(tn_exponential(ints({20000}), &opts));
    EXPECT_NEAR(mean(v), 0.25, 0.01);
    EXPECT_GE(*std::min_element(v.begin(), v.end()), 0);
}

TEST_F(MathRandom, MultinomialDrawsInProportion) {
    tn_multinomial_opts opts = {};
    opts.replacement = true;
    const Numbers v = wide(tn_multinomial(from({0, 1, 0, 3, 0}), 20000, &opts));
    EXPECT_NEAR(static_cast<double>(std::count(v.begin(), v.end(), 1.0)), 5000, 300);
    EXPECT_NEAR(static_cast<double>(std::count(v.begin(), v.end(), 3.0)), 15000, 300);
}

TEST_F(MathRandom, MultinomialWithoutReplacementNeverRepeats) {
    for (int round = 0; round < 50; round++) {
        Numbers v = wide(tn_multinomial(from({1, 2, 0, 3}), 3, nullptr));
        std::sort(v.begin(), v.end());
        EXPECT_EQ(v, (Numbers{0, 1, 3}));
    }
    EXPECT_EQ(shape(tn_multinomial(full({4, 6}, 1), 2, nullptr)), (Shape{4, 2}));
}

TEST_F(MathRandom, DrawingFromAFreedGeneratorIsRefusedAndWritesNothing) {
    tn_generator *g = tn_generator_new(1);
    tn_use_generator(g);
    tn_generator_free(g);
    tn_tensor *x = full({3}, 7);
    EXPECT_EQ(tn_uniform(ints({3}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_STALE, {"uniform", "tn_generator_new"}));
    EXPECT_EQ(tn_dropout(x, 0.5, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_STALE, {"dropout"}));
    tn_use_generator(nullptr);
}

TEST_F(MathRandom, MultinomialRefusesWhatAreNoWeights) {
    tn_multinomial(from({1, 2}), 3, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"multinomial", "3", "2"}));
    tn_multinomial(from({1, -2}), 1, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"multinomial", "negative"}));
    tn_multinomial(from({1, NAN}), 1, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"multinomial", "NaN"}));
    tn_multinomial(full({2, 2}, 0), 1, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"multinomial", "0"}));
    tn_multinomial(full({}, 1), 1, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"multinomial", "rank"}));
}

} // namespace
