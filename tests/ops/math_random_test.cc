// math_random_test.cc - distributions: their support, their moments, and that numbers depend on seed
// and position alone.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "tests/support/support.h"

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
    opts.dtype = TN_BOOL;
    tn_randint(0, 3, ints({2}), &opts);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"randint", "2"}));
    opts.dtype = TN_I8;
    tn_randint(0, 129, ints({2}), &opts);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"randint", "128"}));
    EXPECT_NE(tn_randint(0, 128, ints({2}), &opts), nullptr);
    tn_randint(0, 2, ints({-1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"randint", "-1"}));
}

// Draws n numbers of every dtype's own full range; each quarter of it gets a quarter of them.
TEST_F(MathRandom, RandintFillsTheFullRangeOfEveryIntegerDtype) {
    const struct {
        tn_dtype dtype;
        int64_t low, high;
    } full[] = {{TN_BOOL, 0, 2},
                {TN_U8, 0, 256},
                {TN_I8, INT8_MIN, INT8_MAX + 1},
                {TN_I16, INT16_MIN, INT16_MAX + 1},
                {TN_I32, INT32_MIN, INT64_C(1) << 31},
                {TN_I64, INT64_MIN, INT64_MAX},
                {TN_I64, INT64_MIN, 0}};
    for (const auto &f : full) {
        tn_randint_opts opts = {};
        opts.dtype = f.dtype;
        const Numbers v = wide(tn_randint(f.low, f.high, ints({4000}), &opts));
        ASSERT_EQ(tn_error(), TN_OK) << tn_error_message();
        const double low = static_cast<double>(f.low), size = static_cast<double>(f.high) - low;
        std::vector<int> quarters(4);
        for (double x : v) {
            ASSERT_GE(x, low);
            ASSERT_LE(x, static_cast<double>(f.high));
            quarters[static_cast<size_t>(std::min(3.0, std::floor((x - low) / size * 4)))]++;
        }
        for (int n : quarters)
            EXPECT_NEAR(n, tn_dtype_is(f.dtype, TN_BOOL) ? n : 1000, 150) << tn_dtype_name(f.dtype);
        EXPECT_GT(std::count_if(v.begin(), v.end(), [&](double x) { return x > low; }), 1500);
    }
}

const tn_dtype kFloats[] = {TN_F16, TN_BF16, TN_F32, TN_F64};

tn_tensor *uniform(const Shape &sizes, double low, double high, tn_dtype dtype) {
    tn_uniform_opts opts = {};
    opts.low = low, opts.high = {high, true}, opts.dtype = dtype;
    return tn_uniform(ints(sizes), &opts);
}

tn_tensor *exponential(const Shape &sizes, double lambd, tn_dtype dtype) {
    tn_exponential_opts opts = {};
    opts.lambd = {lambd, true}, opts.dtype = dtype;
    return tn_exponential(ints(sizes), &opts);
}

TEST_F(MathRandom, UniformStaysBelowHighInEveryDtype) {
    for (tn_dtype dtype : kFloats)
        for (const auto &range : {std::pair<double, double>{0, 1}, {-1, 1}, {1000, 1001}}) {
            const Numbers v = wide(uniform({100000}, range.first, range.second, dtype));
            EXPECT_GE(*std::min_element(v.begin(), v.end()), range.first) << tn_dtype_name(dtype);
            EXPECT_LT(*std::max_element(v.begin(), v.end()), range.second) << tn_dtype_name(dtype);
        }
}

TEST_F(MathRandom, UniformRefusesWhatIsNoRange) {
    for (tn_dtype dtype : kFloats) {
        EXPECT_EQ(numbers(tn_to(uniform({2}, 1, 1, dtype), TN_F64)), (Numbers{1, 1}));
        for (const auto &range : {std::pair<double, double>{3, -1},
                                  {0, INFINITY},
                                  {-INFINITY, 0},
                                  {NAN, 1},
                                  {0, NAN},
                                  {-1.7e308, 1.7e308}}) {
            uniform({2}, range.first, range.second, dtype);
            EXPECT_TRUE(error_is(TN_ERR_INVALID, {"uniform", "low", "high"}));
        }
    }
    uniform({2}, 0, 1e6, TN_F16);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"uniform", "high", "1e+06"}));
}

// The first number of this seed's stream is a u of 0.
constexpr uint64_t kZeroSeed = 12121362;

TEST_F(MathRandom, ExponentialIsNeverZero) {
    for (tn_dtype dtype : {TN_F16, TN_BF16, TN_F32}) {
        tn_generator_seed(nullptr, kZeroSeed);
        EXPECT_EQ(numbers(uniform({}, 0, 1, TN_F32)), (Numbers{0}));
        tn_generator_seed(nullptr, kZeroSeed);
        EXPECT_GT(numbers(tn_to(exponential({}, 1, dtype), TN_F64))[0], 0) << tn_dtype_name(dtype);
    }
    for (tn_dtype dtype : kFloats)
        for (const double lambd : {1.0, 100.0, 1e30, 1e300, static_cast<double>(INFINITY)}) {
            const Numbers v = wide(exponential({10000}, lambd, dtype));
            EXPECT_GT(*std::min_element(v.begin(), v.end()), 0) << tn_dtype_name(dtype) << lambd;
        }
}

TEST_F(MathRandom, RefusesRatesAndDeviationsThatAreNone) {
    for (const double lambd : {0.0, -0.0, -1.0, static_cast<double>(NAN)}) {
        exponential({2}, lambd, TN_F32);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"exponential", "lambd"})) << lambd;
    }
    for (const double std : {-1.0, static_cast<double>(NAN)}) {
        tn_normal_opts opts = {};
        opts.std = {std, true};
        tn_normal(ints({2}), &opts);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"normal", "std"})) << std;
    }
}

TEST_F(MathRandom, BernoulliRefusesWhatIsNoProbability) {
    for (const double p : {-0.1, 1.5, static_cast<double>(NAN)}) {
        tn_bernoulli(from({0.5, p}), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"bernoulli", "p", "0..1"})) << p;
        tn_bernoulli_p(full({2}, 0), p, nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"bernoulli", "p"})) << p;
        tn_dropout(full({2}, 0), p, nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"dropout", "p"})) << p;
    }
}

// At a u of 0, which is below every probability but 0.
TEST_F(MathRandom, ProbabilitiesZeroAndOneAreCertain) {
    for (tn_dtype dtype : kFloats)
        for (const double p : {0.0, 1.0}) {
            tn_generator_seed(nullptr, kZeroSeed);
            EXPECT_EQ(wide(tn_bernoulli(full({2000}, p, dtype), nullptr)), Numbers(2000, p));
            tn_generator_seed(nullptr, kZeroSeed);
            EXPECT_EQ(wide(tn_bernoulli_p(full({2000}, 0, dtype), p, nullptr)), Numbers(2000, p));
            tn_generator_seed(nullptr, kZeroSeed);
            EXPECT_EQ(wide(tn_dropout(full({2000}, 1, dtype), p, nullptr)), Numbers(2000, 1 - p));
        }
}

TEST_F(MathRandom, RandpermRefusesWhatItsDtypeCannotHold) {
    const struct {
        tn_dtype dtype;
        int64_t most;
    } limits[] = {{TN_U8, 256}, {TN_I8, 128}, {TN_I16, 32768}, {TN_F16, 2049}, {TN_BF16, 257}};
    for (const auto &l : limits) {
        tn_randperm_opts opts = {};
        opts.dtype = l.dtype;
        Numbers v = wide(tn_randperm(l.most, &opts));
        std::sort(v.begin(), v.end());
        for (size_t i = 0; i < v.size(); i++) ASSERT_EQ(v[i], static_cast<double>(i));
        tn_randperm(l.most + 1, &opts);
        EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"randperm", "dtype"})) << tn_dtype_name(l.dtype);
    }
    tn_randperm_opts opts = {};
    opts.dtype = TN_BOOL;
    tn_randperm(2, &opts);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"randperm", "bool"}));
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
    EXPECT_GT(*std::min_element(v.begin(), v.end()), 0);
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

// Weights at the ends of f32: none is lost, and none of weight 0 is drawn in their place.
TEST_F(MathRandom, MultinomialDrawsEveryWeightAboveZero) {
    for (int round = 0; round < 50; round++) {
        Numbers v = wide(tn_multinomial(from({0, 1e-45, 3e38, 0, 1e-30}), 3, nullptr));
        std::sort(v.begin(), v.end());
        ASSERT_EQ(v, (Numbers{1, 2, 4}));
    }
    tn_tensor *large = tn_to(full({3}, 3e38), TN_F32);
    std::vector<int> first(3), again(3);
    tn_multinomial_opts opts = {};
    opts.replacement = true;
    for (double i : wide(tn_multinomial(large, 3000, &opts))) again[static_cast<size_t>(i)]++;
    for (double i : wide(tn_multinomial(tn_expand(large, ints({3000, 3})), 1, nullptr)))
        first[static_cast<size_t>(i)]++;
    for (int n : first) EXPECT_NEAR(n, 1000, 150);
    for (int n : again) EXPECT_NEAR(n, 1000, 150);
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
    tn_multinomial(from({1, INFINITY}), 1, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"multinomial", "inf"}));
    tn_multinomial(from({1, 0, 2}), 3, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"multinomial", "3", "fewer"}));
    tn_multinomial(from({1, 1, 1, 0, 1, 0}, {2, 3}), 2, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"multinomial", "2", "fewer"}));
    tn_multinomial(full({}, 1), 1, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"multinomial", "rank"}));
}

} // namespace
