// math_reduce_test.cc - reductions, scans and order statistics: what they refuse, and what neither
// samples nor numbers from PyTorch can show.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <cmath>
#include <cstring>

namespace {

class Reduce : public Tenon {};

tn_tensor *i64s(const std::vector<int64_t> &list) {
    return tn_from(list.data(), ints({static_cast<int64_t>(list.size())}), TN_I64);
}

std::vector<int64_t> read_i64s(tn_tensor *t) {
    std::vector<int64_t> out(t ? static_cast<size_t>(tn_numel(t)) : 0);
    if (t) tn_read(t, out.data(), out.size() * sizeof(int64_t));
    return out;
}

// ---- Refusals ---------------------------------------------------------------------------------

TEST_F(Reduce, RefusesDimsThatAreWrongOrRepeated) {
    tn_tensor *x = full({3, 4}, 1);
    EXPECT_EQ(tn_prod_dim(x, ints({1, -1}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"prod.dim", "dim"}));
    EXPECT_EQ(tn_logsumexp(x, ints({2}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"logsumexp", "dim", "2"}));
    EXPECT_EQ(tn_cumsum(x, -3), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"cumsum", "dim", "-3"}));
    EXPECT_EQ(tn_max_dim(x, 5, nullptr).values, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"max.dim", "dim", "5"}));
}

TEST_F(Reduce, NamesTheDimWhereThereIsNothingToPickFrom) {
    tn_tensor *x = full({3, 0}, 1);
    EXPECT_EQ(tn_max_dim(x, 1, nullptr).values, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"max.dim", "x[3,0]", "dim 1"}));
    EXPECT_EQ(tn_median_dim(x, 1, nullptr).values, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"median.dim", "dim 1"}));
    for (auto op : {tn_max, tn_min, tn_median, tn_nanmedian}) {
        EXPECT_EQ(op(x), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"dim 1"}));
    }
    for (const double p : {double(INFINITY), -double(INFINITY), -1.0}) {
        tn_norm_opts opts = {};
        opts.p = {p, true};
        EXPECT_EQ(tn_norm(x, &opts), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"norm", "dim 1"}));
    }
    EXPECT_EQ(numbers(tn_norm(x, nullptr)), Numbers{0});
}

TEST_F(Reduce, SaysWhichKAreAllowed) {
    tn_tensor *x = full({3, 4}, 1);
    for (const int64_t k : {INT64_C(-1), INT64_C(5), INT64_MAX, INT64_MIN}) {
        EXPECT_EQ(tn_topk(x, k, nullptr).values, nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INDEX, {"topk", "k is", "x[3,4]", "0 to 4"}));
    }
    for (const int64_t k : {INT64_C(0), INT64_C(5)}) {
        EXPECT_EQ(tn_kthvalue(x, k, nullptr).values, nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INDEX, {"kthvalue", "k is", "x[3,4]", "1 to 4"}));
    }
    EXPECT_EQ(tn_topk(full({}, 1), 0, nullptr).values, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"topk", "1 to 1"}));
    EXPECT_EQ(tn_kthvalue(full({0}, 1), 1, nullptr).values, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"kthvalue", "0 elements"}));
}

TEST_F(Reduce, RefusesNegativeLimitsAndOrders) {
    tn_tensor *x = full({3, 4}, 1);
    EXPECT_EQ(tn_renorm(x, 2, 0, -1), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"renorm", "maxnorm"}));
    EXPECT_EQ(tn_renorm(x, -1, 0, 1), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"renorm", "p is -1", "above 0"}));
    tn_diff_opts less = {};
    less.n = TN_SET(-1);
    EXPECT_EQ(tn_diff(x, &less), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"diff", "n"}));
}

TEST_F(Reduce, BincountRefusesNegativeNumbersAndOtherLengthsOfWeights) {
    EXPECT_EQ(tn_bincount(i64s({1, -2, 3}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"bincount", "-2", "from 0 on"}));
    EXPECT_EQ(tn_bincount(i64s({INT64_MAX}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"bincount"}));
    tn_bincount_opts opts = {};
    opts.weights = full({2}, 1);
    EXPECT_EQ(tn_bincount(i64s({1, 2, 3}), &opts), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"bincount", "weights"}));
}

TEST_F(Reduce, SearchesAndHistogramsRefuseWhatHasNoOrder) {
    EXPECT_EQ(tn_searchsorted(full({2, 5}, 1), full({3, 4}, 1), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"searchsorted", "sorted[2,5]", "values[3,4]"}));
    EXPECT_EQ(tn_searchsorted(full({}, 1), full({3}, 1), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"searchsorted", "sorted"}));
    EXPECT_EQ(tn_bucketize(full({3}, 1), full({2, 5}, 1), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"bucketize", "boundaries"}));
    EXPECT_EQ(tn_histc(from({1, INFINITY}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"histc", "1 to inf"}));
    tn_histc_opts turned = {};
    turned.min = 2, turned.max = 1;
    EXPECT_EQ(tn_histc(full({3}, 1), &turned), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"histc", "2 to 1"}));
}

TEST_F(Reduce, ClippingSaysWhenTheNormIsNotFiniteIfAsked) {
    tn_tensor *g = from({1, INFINITY});
    tn_clip_grad_norm_opts strict = {};
    strict.error_if_nonfinite = true;
    EXPECT_EQ(tn_clip_grad_norm_(tensors({g}), 1, &strict), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"clip_grad_norm_", "inf"}));
    EXPECT_EQ(numbers(g), (Numbers{1, INFINITY})); /* and has changed nothing */
}

TEST_F(Reduce, WhatHasNoDerivativeRecordsNothingBelowIt) {
    tn_tensor *x = param(from({3, 4}));
    EXPECT_FALSE(tn_requires_grad(tn_unique(x, nullptr).values));
    tn_tensor *norm = tn_clip_grad_norm_(tensors({x}), 1, nullptr);
    EXPECT_EQ(numbers(norm), Numbers{5});
    EXPECT_FALSE(tn_requires_grad(norm));
    EXPECT_NEAR(numbers(x)[1], 0.8, 1e-6);
}

TEST_F(Reduce, SixteenBitFloatsLeaveTheirRangeOnTheWayOnly) {
    tn_tensor *x = full({100000}, 1000, TN_F16);
    tn_copy_(tn_select(x, 0, 0), number(NAN));
    const auto first = [](tn_tensor *t) { return numbers(tn_to(t, TN_F64)).at(0); };
    EXPECT_EQ(first(tn_nanmean(x, nullptr)), 1000);
    tn_tensor *y = tn_cat(tensors({full({4}, 2000, TN_F16), full({4}, -2000, TN_F16)}), nullptr);
    tn_std_opts all = {};
    all.correction = {0, true};
    EXPECT_EQ(first(tn_std(y, &all)), 2000);
    EXPECT_EQ(first(tn_norm(full({4}, 1000, TN_F16), nullptr)), 2000);
    EXPECT_EQ(first(tn_logsumexp(full({70000}, 0, TN_F16), ints({0}), nullptr)), 11.15625);
    tn_tensor *ties = param(full({70000}, 0, TN_F16));
    ASSERT_EQ(tn_backward(tn_amax(ties, nullptr)), TN_OK) << tn_error_message();
    EXPECT_GT(first(tn_grad_of(ties)), 0);
}

// ---- Derivatives at zeros ---------------------------------------------------------------------

// d2 y / dx[0] dx of a scalar y, and dy / dx in first.
Numbers second(tn_tensor *y, tn_tensor *x, Numbers *first) {
    tn_tensor *g[1] = {}, *gg[1] = {};
    tn_backward_opts record = {};
    record.create_graph = true;
    EXPECT_EQ(tn_backward_wrt(tensors({y}), tensors({x}), {}, &record, g), TN_OK)
        << tn_error_message();
    *first = numbers(g[0]);
    EXPECT_EQ(tn_backward_wrt(tensors({tn_select(g[0], 0, 0)}), tensors({x}), {}, nullptr, gg),
              TN_OK)
        << tn_error_message();
    return numbers(gg[0]);
}

TEST_F(Reduce, ProductsDifferentiateTwiceThroughZeros) {
    Numbers first;
    tn_tensor *none = param(from({2, 3, 5})), *one = param(from({0, 3, 5}));
    tn_tensor *two = param(from({0, 0, 5})), *three = param(from({0, 0, 0}));
    EXPECT_EQ(second(tn_prod(none), none, &first), (Numbers{0, 5, 3}));
    EXPECT_EQ(first, (Numbers{15, 10, 6}));
    EXPECT_EQ(second(tn_prod(one), one, &first), (Numbers{0, 5, 3}));
    EXPECT_EQ(first, (Numbers{15, 0, 0}));
    EXPECT_EQ(second(tn_prod(two), two, &first), (Numbers{0, 5, 0}));
    EXPECT_EQ(first, (Numbers{0, 0, 0}));
    EXPECT_EQ(second(tn_prod(three), three, &first), (Numbers{0, 0, 0}));
}

TEST_F(Reduce, CumulativeProductsDifferentiateTwiceThroughZeros) {
    Numbers first;
    tn_tensor *x = param(from({0, 0, 5})); /* sum of x0, x0 x1, x0 x1 x2 */
    EXPECT_EQ(second(tn_sum(tn_cumprod(x, 0)), x, &first), (Numbers{0, 6, 0}));
    EXPECT_EQ(first, (Numbers{1, 0, 0}));
    tn_tensor *y = param(from({2, 0, 5}));
    EXPECT_EQ(second(tn_sum(tn_cumprod(y, 0)), y, &first), (Numbers{0, 6, 0}));
    EXPECT_EQ(first, (Numbers{1, 12, 0}));
}

TEST_F(Reduce, NormsAndDeviationsHaveGradientZeroWhereTheyAreZero) {
    Numbers first;
    tn_tensor *x = param(full({3}, 0));
    EXPECT_EQ(second(tn_norm(x, nullptr), x, &first), (Numbers{0, 0, 0}));
    EXPECT_EQ(first, (Numbers{0, 0, 0}));
    tn_tensor *same = param(full({3}, 2));
    EXPECT_EQ(second(tn_std(same, nullptr), same, &first), (Numbers{0, 0, 0}));
    EXPECT_EQ(first, (Numbers{0, 0, 0}));
}

TEST_F(Reduce, ScansInPlaceAreRecordedOverWhatTheyOverwrite) {
    tn_tensor *x = param(from({2, 3})), *y = tn_mul(x, number(2)), *g[1] = {};
    EXPECT_EQ(tn_cumprod_(y, 0), y) << tn_error_message();
    EXPECT_EQ(numbers(y), (Numbers{4, 24}));
    ASSERT_EQ(tn_backward_wrt(tensors({tn_sum(y)}), tensors({x}), {}, nullptr, g), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(g[0]), (Numbers{14, 8}));
    EXPECT_EQ(tn_cumsum_(x, 0), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"cumsum_", "leaf"}));
    const int8_t small[] = {100, 100};
    tn_tensor *wraps = tn_cumsum_(tn_from(small, ints({2}), TN_I8), 0);
    EXPECT_EQ(numbers(tn_to(wraps, TN_F64)), (Numbers{100, -56}));
}

// ---- Accuracy and order -----------------------------------------------------------------------

TEST_F(Reduce, VarianceKeepsItsDigitsFarFromZero) {
    Numbers list;
    for (int i = 0; i < 100000; i++) list.push_back(1e9 + i % 2);
    tn_var_opts opts = {};
    opts.correction = {0, true};
    EXPECT_DOUBLE_EQ(numbers(tn_var(from(list), &opts))[0], 0.25);
}

TEST_F(Reduce, GivesTheSameBitsForAnyNumberOfThreads) {
    tn_uniform_opts opts = {};
    opts.low = -1;
    tn_tensor *x = tn_uniform(ints({100001}), &opts);
    const auto results = [&] {
        Numbers out;
        const tn_moments_result m = tn_moments(x, nullptr);
        for (tn_tensor *t :
             {tn_sum(x), tn_prod(x), m.mean, m.m2, tn_norm(x, nullptr), tn_cumsum(x, 0)}) {
            const Numbers part = numbers(t);
            out.insert(out.end(), part.begin(), part.end());
        }
        return out;
    };
    on_each_provider([&] {
        ASSERT_EQ(tn_set_threads(1), TN_OK);
        const Numbers one = results();
        for (const int threads : {2, 3}) {
            ASSERT_EQ(tn_set_threads(threads), TN_OK);
            const Numbers some = results();
            EXPECT_EQ(memcmp(one.data(), some.data(), one.size() * sizeof(double)), 0);
        }
    });
    tn_set_threads(0);
}

TEST_F(Reduce, LongScansAndReductionsCrossTheirChunks) {
    const std::vector<int64_t> ones(70001, 1);
    tn_tensor *x = i64s(ones);
    EXPECT_EQ(read_i64s(tn_cumsum(x, 0)).back(), 70001);
    EXPECT_EQ(read_i64s(tn_prod(x)), std::vector<int64_t>{1});
    std::vector<int64_t> steps(70001, 0);
    steps[40000] = steps[60000] = 7, steps[50000] = steps[65000] = -7;
    EXPECT_EQ(read_i64s(tn_argmax(i64s(steps), nullptr)), std::vector<int64_t>{40000});
    EXPECT_EQ(read_i64s(tn_argmin(i64s(steps), nullptr)), std::vector<int64_t>{50000});
    EXPECT_EQ(read_i64s(tn_cummax(i64s(steps), 0).indices).back(), 60000);
}

TEST_F(Reduce, IntegersWrapAroundInSumsProductsAndScans) {
    tn_tensor *x = i64s({INT64_MAX, 2, 3});
    const int64_t sum = INT64_MIN + 4, product = static_cast<int64_t>(UINT64_C(0) - 6);
    EXPECT_EQ(read_i64s(tn_sum(x)), std::vector<int64_t>{sum});
    EXPECT_EQ(read_i64s(tn_prod(x)), std::vector<int64_t>{product});
    EXPECT_EQ(read_i64s(tn_cumsum(x, 0)), (std::vector<int64_t>{INT64_MAX, INT64_MIN + 1, sum}));
    EXPECT_EQ(read_i64s(tn_cumprod(x, 0)), (std::vector<int64_t>{INT64_MAX, -2, product}));
}

TEST_F(Reduce, LogsumexpOfNothingButMinusInfinityIsMinusInfinity) {
    tn_tensor *x = from({-INFINITY, -INFINITY});
    EXPECT_EQ(numbers(tn_logsumexp(x, ints({0}), nullptr)), Numbers{-INFINITY});
    EXPECT_EQ(numbers(tn_logcumsumexp(x, 0)), (Numbers{-INFINITY, -INFINITY}));
    EXPECT_EQ(numbers(tn_logsumexp(full({2}, 1000), ints({0}), nullptr)),
              Numbers{1000 + std::log(2)});
}

TEST_F(Reduce, UniqueTellsEachNanApart) {
    tn_unique_opts opts = {};
    opts.return_inverse = opts.return_counts = true;
    const tn_unique_result u = tn_unique(from({NAN, 1, NAN, 1}), &opts);
    EXPECT_EQ(shape(u.values), Shape{3});
    EXPECT_EQ(read_i64s(u.inverse), (std::vector<int64_t>{1, 0, 2, 0}));
    EXPECT_EQ(read_i64s(u.counts), (std::vector<int64_t>{2, 1, 1}));
}

TEST_F(Reduce, UniqueOfSlicesRefusesThoseOfSizeZero) {
    tn_unique_dim_opts opts = {};
    opts.return_counts = true;
    EXPECT_EQ(tn_unique_dim(full({3, 0}, 1), 0, &opts).values, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"unique.dim", "size 0"}));
    EXPECT_EQ(shape(tn_unique_dim(full({3, 0}, 1), 1, &opts).values), (Shape{3, 0}));
    EXPECT_EQ(tn_unique_dim(full({}, 1), 0, &opts).values, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"unique.dim", "x"}));
}

TEST_F(Reduce, UniqueOrdersSlicesByTheirElementsInRowMajorOrder) {
    tn_tensor *x = from({0, 0, 1, 0, 0, 1, 0, 0}, {2, 2, 2}); /* [[0,1],[0,0]] and [[0,0],[1,0]] */
    tn_unique_dim_opts opts = {};
    opts.return_inverse = true;
    EXPECT_EQ(read_i64s(tn_unique_dim(x, 2, &opts).inverse), (std::vector<int64_t>{1, 0}));
}

TEST_F(Reduce, TopkTakesTheFirstOfEqualsAndSortsNanAsLargest) {
    const tn_topk_result top = tn_topk(from({1, 3, NAN, 3, 2}), 3, nullptr);
    EXPECT_EQ(read_i64s(top.indices), (std::vector<int64_t>{2, 1, 3}));
}

TEST_F(Reduce, VariancesTakeAnyCorrection) {
    tn_tensor *x = param(from({0, 1, 2}));
    tn_var_opts opts = {};
    tn_std_opts root = {};
    const struct {
        double correction, variance;
    } cases[] = {{-1, 0.5}, {-2.5, 2 / 5.5}, {3, INFINITY}, {5, INFINITY}, {NAN, INFINITY}};
    for (const auto &c : cases) {
        opts.correction = root.correction = {c.correction, true};
        EXPECT_DOUBLE_EQ(tn_item(tn_var(x, &opts)), c.variance);
        EXPECT_DOUBLE_EQ(tn_item(tn_std(x, &root)), std::sqrt(c.variance));
    }
    opts.correction = {-1, true};
    ASSERT_EQ(tn_backward(tn_var(x, &opts)), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{-0.5, 0, 0.5}));
}

} // namespace
