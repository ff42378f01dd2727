// math_sequence_test.cc - numbers between two ends, numbers rounded to decimals, elements round a
// tensor: all at the edges of their dtypes and sizes.
// SPDX-License-Identifier: Apache-2.0
#include <cfloat>
#include <cmath>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

namespace {

using Whole = std::vector<int64_t>;

class Sequence : public Tenon {};

Numbers wide(tn_tensor *t) { return numbers(tn_to(t, TN_F64)); }

Whole whole(tn_tensor *t) {
    Whole out(t ? static_cast<size_t>(tn_numel(t)) : 0);
    if (!t || tn_read(tn_to(t, TN_I64), out.data(), out.size() * sizeof out[0])) return {-1};
    return out;
}

tn_tensor *linspace(tn_value a, tn_value b, int64_t steps, tn_dtype dtype) {
    tn_linspace_opts opts = {};
    opts.dtype = dtype;
    return tn_linspace(a, b, steps, &opts);
}

tn_tensor *logspace(tn_value a, tn_value b, int64_t steps, double base, tn_dtype dtype) {
    tn_logspace_opts opts = {};
    opts.dtype = dtype, opts.base = {base, true};
    return tn_logspace(a, b, steps, &opts);
}

tn_tensor *arange(tn_value a, tn_value b, tn_value step, tn_dtype dtype) {
    tn_arange_opts opts = {};
    opts.dtype = dtype, opts.step = step;
    return tn_arange(a, b, &opts);
}

constexpr int64_t k2To53 = INT64_C(1) << 53;

// ---- Sequences --------------------------------------------------------------------------------

TEST_F(Sequence, LinspaceReachesBothEndsOfEveryFloatDtype) {
    const std::pair<tn_dtype, double> dtypes[] = {
        {TN_F16, 65504}, {TN_BF16, std::ldexp(255, 120)}, {TN_F32, FLT_MAX}, {TN_F64, DBL_MAX}};
    on_each_provider([&] {
        for (const auto &[dtype, max] : dtypes)
            for (const double end : {max, -max}) {
                SCOPED_TRACE(tn_dtype_name(dtype));
                auto line = [&, d = dtype](int64_t n) {
                    return wide(linspace(tn_float(-end), tn_float(end), n, d));
                };
                EXPECT_EQ(line(1), (Numbers{-end}));
                EXPECT_EQ(line(2), (Numbers{-end, end}));
                EXPECT_EQ(line(3), (Numbers{-end, 0, end}));
                EXPECT_EQ(line(5), (Numbers{-end, -end / 2, 0, end / 2, end}));
                for (double x : line(1000)) ASSERT_LE(std::fabs(x), max);
            }
    });
    linspace(tn_int(0), tn_float(1e6), 3, TN_F16);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"linspace", "end", "1e+06"}));
}

TEST_F(Sequence, LinspaceOfIntegersIsExactBeyondWhatFloatsCount) {
    const struct {
        int64_t start, end;
        Whole want;
    } lines[] = {
        {k2To53 + 1, k2To53 + 3, {k2To53 + 1, k2To53 + 2, k2To53 + 3}},
        {-k2To53 - 1, k2To53 + 1, {-k2To53 - 1, 0, k2To53 + 1}},
        {0, INT64_MAX, {0, INT64_MAX}},
        {INT64_MIN, INT64_MAX, {INT64_MIN, INT64_MAX}},
        {INT64_MIN, INT64_MAX, {INT64_MIN, 0, INT64_MAX}}, // -1/2, truncated
        {INT64_MAX, INT64_MIN, {INT64_MAX, 0, INT64_MIN}},
        {INT64_MAX, INT64_MAX - 4, {INT64_MAX, INT64_MAX - 2, INT64_MAX - 4}},
        {INT64_MAX, INT64_MAX - 4, {INT64_MAX, INT64_MAX - 2, INT64_MAX - 3, INT64_MAX - 4}},
        {INT64_MIN, INT64_MIN + 4, {INT64_MIN, INT64_MIN + 2, INT64_MIN + 3, INT64_MIN + 4}},
        {INT64_MAX, 0, {INT64_MAX}},
    };
    on_each_provider([&] {
        for (const auto &l : lines)
            EXPECT_EQ(whole(linspace(tn_int(l.start), tn_int(l.end),
                                     static_cast<int64_t>(l.want.size()), TN_I64)),
                      l.want);
    });
}

TEST_F(Sequence, IntegerDtypesTruncateTheEndsFirst) {
    on_each_provider([] {
        auto line = [](double a, double b, int64_t n) {
            return whole(linspace(tn_float(a), tn_float(b), n, TN_I64));
        };
        EXPECT_EQ(line(0.7, 5.9, 4), (Whole{0, 1, 3, 5}));
        EXPECT_EQ(line(-0.7, -5.9, 4), (Whole{0, -1, -3, -5}));
        EXPECT_EQ(line(0, 10, 4), (Whole{0, 3, 6, 10}));
        EXPECT_EQ(line(10, 0, 4), (Whole{10, 6, 3, 0}));
        EXPECT_EQ(line(2.7, 5, 1), (Whole{2}));
        auto range = [](double a, double b, double step) {
            return whole(arange(tn_float(a), tn_float(b), tn_float(step), TN_I64));
        };
        EXPECT_EQ(range(0.5, 5.9, 1.5), (Whole{0, 1, 2, 3}));
        EXPECT_EQ(range(1.7, 5.2, 1), (Whole{1, 2, 3, 4}));
        EXPECT_EQ(range(-1.7, 2.2, 1), (Whole{-1, 0, 1, 2}));
        EXPECT_EQ(range(5.9, 0.5, -1), (Whole{5, 4, 3, 2, 1, 0}));
        EXPECT_EQ(range(0, 3, 0.5), (Whole{0, 0, 0, 0, 0, 0}));
        EXPECT_EQ(whole(logspace(tn_float(0.5), tn_float(4.5), 5, 10, TN_I64)),
                  (Whole{1, 10, 100, 1000, 10000}));
        EXPECT_EQ(whole(logspace(tn_float(0.5), tn_float(4.5), 8, 10, TN_I64)),
                  (Whole{1, 3, 13, 51, 193, 719, 2682, 10000}));
    });
}

TEST_F(Sequence, LinspaceFillsTheRangeOfEveryIntegerDtype) {
    on_each_provider([] {
        EXPECT_EQ(whole(linspace(tn_int(255), tn_int(0), 4, TN_U8)), (Whole{255, 170, 85, 0}));
        EXPECT_EQ(whole(linspace(tn_int(-128), tn_int(127), 4, TN_I8)),
                  (Whole{-128, -43, 42, 127}));
        EXPECT_EQ(whole(linspace(tn_int(INT32_MIN), tn_int(INT32_MAX), 3, TN_I32)),
                  (Whole{INT32_MIN, 0, INT32_MAX}));
    });
    const struct {
        tn_dtype dtype;
        tn_value end;
    } beyond[] = {{TN_U8, tn_int(256)},     {TN_U8, tn_int(-1)},      {TN_I8, tn_float(128)},
                  {TN_I16, tn_int(-32769)}, {TN_I32, tn_float(1e10)}, {TN_I64, tn_float(0x1p63)},
                  {TN_I64, tn_float(NAN)},  {TN_F32, tn_float(1e39)}};
    for (const auto &b : beyond) {
        linspace(tn_int(0), b.end, 3, b.dtype);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"linspace", "end"})) << tn_dtype_name(b.dtype);
    }
}

TEST_F(Sequence, LogspaceKeepsItsEnds) {
    on_each_provider([] {
        EXPECT_EQ(wide(logspace(tn_float(-DBL_MAX), tn_float(DBL_MAX), 3, 1, TN_F64)),
                  (Numbers{1, 1, 1}));
        EXPECT_EQ(wide(logspace(tn_int(-1074), tn_int(1023), 2, 2, TN_F64)),
                  (Numbers{0x1p-1074, 0x1p1023}));
        EXPECT_EQ(whole(logspace(tn_int(0), tn_int(62), 3, 2, TN_I64)),
                  (Whole{1, INT64_C(1) << 31, INT64_C(1) << 62}));
    });
}

TEST_F(Sequence, ArangeCountsExactlyWhereFloatsCannot) {
    on_each_provider([] {
        auto range = [](int64_t a, int64_t b, int64_t step, tn_dtype dtype) {
            return whole(arange(tn_int(a), tn_int(b), tn_int(step), dtype));
        };
        EXPECT_EQ(range(k2To53 + 1, k2To53 + 4, 1, TN_I64),
                  (Whole{k2To53 + 1, k2To53 + 2, k2To53 + 3}));
        EXPECT_EQ(range(INT64_MIN, INT64_MAX, INT64_C(1) << 62, TN_I64),
                  (Whole{INT64_MIN, -(INT64_C(1) << 62), 0, INT64_C(1) << 62}));
        EXPECT_EQ(range(INT64_MAX, INT64_MAX - 2, -1, TN_I64), (Whole{INT64_MAX, INT64_MAX - 1}));
        EXPECT_EQ(range(k2To53 + 1, k2To53 + 4, 1, TN_F64), // each rounded on its own
                  (Whole{k2To53, k2To53 + 2, k2To53 + 4}));
    });
    arange(tn_int(k2To53 + 1), tn_int(k2To53), tn_int(1), TN_I64);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"arange", "step"}));
    arange(tn_float(1e19), tn_float(1e19 + 1e4), tn_float(4096), TN_I64);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"arange", "start"}));
}

// ---- Rounding to decimals ---------------------------------------------------------------------

Numbers rounded(const Numbers &x, int64_t decimals, tn_dtype dtype) {
    return wide(tn_round_decimals(tn_to(from(x), dtype), decimals));
}

Numbers as(const Numbers &x, tn_dtype dtype) { return wide(tn_to(from(x), dtype)); }

TEST_F(Sequence, RoundingKeepsNumbersThatHaveNoSuchDecimals) {
    on_each_provider([] {
        EXPECT_EQ(rounded({3e38, -3e38, FLT_MAX}, 5, TN_F32), as({3e38, -3e38, FLT_MAX}, TN_F32));
        EXPECT_EQ(rounded({1e300, -DBL_MAX}, 10, TN_F64), (Numbers{1e300, -DBL_MAX}));
        EXPECT_EQ(rounded({65504, 12344}, 38, TN_F16), (Numbers{65504, 12344}));
        EXPECT_EQ(rounded({3e38, 1.234}, 3, TN_BF16), as({3e38, 1.234}, TN_BF16));
        for (const int64_t decimals : {39, 46, 76, 77, 300, 309, 400, INT_MAX})
            for (const tn_dtype dtype : {TN_F16, TN_BF16, TN_F32, TN_F64}) {
                const Numbers x = as({0, 1.2345, 60000, -1e-3}, dtype);
                EXPECT_EQ(rounded(x, decimals, dtype), x) << decimals << tn_dtype_name(dtype);
            }
        EXPECT_EQ(rounded({INFINITY, -INFINITY}, 3, TN_F32), (Numbers{INFINITY, -INFINITY}));
        EXPECT_TRUE(std::isnan(rounded({NAN}, 3, TN_F32)[0]));
        EXPECT_TRUE(std::signbit(rounded({-0.04}, 1, TN_F32)[0]));
    });
}

TEST_F(Sequence, RoundingReachesTheSmallestAndTheLargestUnit) {
    on_each_provider([] {
        EXPECT_EQ(rounded({1.26e-40, 4e-41}, 40, TN_F32), as({1e-40, 0}, TN_F32));
        EXPECT_EQ(rounded({1.26e-310, 4e-311}, 310, TN_F64), as({1e-310, 0}, TN_F64));
        EXPECT_EQ(rounded({FLT_MAX, 4e37, INFINITY}, -38, TN_F32), as({3e38, 0, INFINITY}, TN_F32));
        EXPECT_EQ(rounded({12344, 65504}, -3, TN_F16), (Numbers{12000, INFINITY})); // 66000
        for (const int64_t decimals : {0, -1, -2, -5, -10}) { // a multiple, as near as can be told
            EXPECT_EQ(rounded({FLT_MAX, -FLT_MAX}, decimals, TN_F32), (Numbers{FLT_MAX, -FLT_MAX}));
            EXPECT_EQ(rounded({DBL_MAX, -DBL_MAX}, decimals, TN_F64), (Numbers{DBL_MAX, -DBL_MAX}));
        }
        for (const int64_t decimals : {-39, -300, -309, -400, INT_MIN})
            EXPECT_EQ(rounded({FLT_MAX, -1, INFINITY}, decimals, TN_F32),
                      (Numbers{0, 0, INFINITY}));
        EXPECT_EQ(rounded({DBL_MAX}, -309, TN_F64), (Numbers{0}));
        EXPECT_TRUE(std::isnan(rounded({NAN}, -400, TN_F64)[0]));
    });
}

// ---- Pads -------------------------------------------------------------------------------------

struct Padded {
    const char *mode;
    std::vector<int64_t> pad;
    Shape sizes;
    Numbers want, grad;
};

// From PyTorch, of 0, 1, 2 ... with the gradient 1, 2, 3 ... .
TEST_F(Sequence, PadsWithNegativeEntriesAreThoseOfPyTorch) {
    const Padded all[] = {
        {"circular", {-1, 1}, {1, 4}, {1, 2, 3, 1}, {0, 5, 2, 3}},
        {"circular", {1, -1}, {1, 4}, {2, 0, 1, 2}, {2, 3, 5, 0}},
        {"circular", {-1, -1}, {1, 4}, {1, 2}, {0, 1, 2, 0}},
        {"circular", {-2, 2}, {1, 4}, {2, 3, 2, 3}, {0, 0, 4, 6}},
        {"circular", {-3, 1}, {1, 4}, {3, 3}, {0, 0, 0, 3}},
        {"circular", {1, -3}, {1, 4}, {0, 0}, {3, 0, 0, 0}},
        {"circular", {4, 4}, {1, 4}, {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}, {15, 18, 21, 24}},
        {"circular", {-1, 1, 1, -1}, {1, 2, 3}, {1, 2, 1, 1, 2, 1}, {0, 14, 7, 0, 0, 0}},
        {"circular",
         {1, -1, -1, 1},
         {1, 3, 3},
         {4, 3, 4, 7, 6, 7, 4, 3, 4},
         {0, 0, 0, 10, 20, 0, 5, 10, 0}},
        {"circular",
         {1, -1, -1, 1, 1, -1},
         {1, 2, 2, 3},
         {4, 3, 4, 4, 3, 4, 4, 3, 4, 4, 3, 4},
         {0, 0, 0, 26, 52, 0, 0, 0, 0, 0, 0, 0}},
        {"reflect", {-1, 1}, {1, 4}, {1, 2, 3, 2}, {0, 1, 6, 3}},
        {"reflect", {-2, 3}, {1, 4}, {2, 3, 2, 1, 0}, {5, 4, 4, 2}},
        {"reflect", {-4, 1}, {1, 4}, {2}, {0, 0, 1, 0}},
        {"reflect", {1, -4}, {1, 4}, {1}, {0, 1, 0, 0}},
        {"reflect", {3, -3}, {1, 4}, {3, 2, 1, 0}, {4, 3, 2, 1}},
        {"reflect", {-1, 1, 1, -1}, {1, 2, 3}, {4, 5, 4, 1, 2, 1}, {0, 10, 5, 0, 4, 2}},
        {"replicate", {-1, 1}, {1, 4}, {1, 2, 3, 3}, {0, 1, 2, 7}},
        {"replicate", {-4, 4}, {1, 4}, {3, 3, 3, 3}, {0, 0, 0, 10}},
        {"replicate", {5, 0}, {1, 4}, {0, 0, 0, 0, 0, 0, 1, 2, 3}, {21, 7, 8, 9}},
        {"replicate", {3, -3}, {1, 4}, {0, 0, 0, 0}, {10, 0, 0, 0}},
        {"replicate",
         {1, -1, -1, 1},
         {1, 3, 3},
         {3, 3, 4, 6, 6, 7, 6, 6, 7},
         {0, 0, 0, 3, 3, 0, 24, 15, 0}},
    };
    auto counted = [](int64_t first, const Shape &sizes) {
        int64_t n = 1;
        for (int64_t s : sizes) n *= s;
        return tn_reshape(arange(tn_int(first), tn_int(first + n), tn_int(1), TN_F64), ints(sizes));
    };
    on_each_provider([&] {
        for (const Padded &p : all) {
            SCOPED_TRACE(std::string(p.mode) + " " + ::testing::PrintToString(p.pad));
            tn_pad_opts opts = {};
            opts.mode = p.mode;
            tn_tensor *x = param(counted(0, p.sizes)), *y = tn_pad(x, ints(p.pad), &opts);
            EXPECT_EQ(numbers(y), p.want);
            ASSERT_EQ(tn_backward(tn_sum(tn_mul(y, counted(1, shape(y))))), TN_OK)
                << tn_error_message();
            EXPECT_EQ(grad(x), p.grad);
        }
    });
}

TEST_F(Sequence, CircularPadGoesRoundWhatIsLeftOnce) {
    tn_pad_opts opts = {};
    opts.mode = "circular";
    for (const std::vector<int64_t> &pad :
         {Shape{-2, 3}, Shape{-3, 3}, Shape{-4, 4}, Shape{-4, 1}, Shape{3, -2}, Shape{5, 0}}) {
        EXPECT_EQ(tn_pad(full({1, 4}, 0), ints(pad), &opts), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"pad", "circular"})) << ::testing::PrintToString(pad);
    }
    EXPECT_EQ(shape(tn_pad(full({1, 4}, 0), ints({-2, -2}), &opts)), (Shape{1, 0}));
    EXPECT_EQ(shape(tn_pad(full({1, 4}, 0), ints({-4, 0}), &opts)), (Shape{1, 0}));
}

} // namespace
