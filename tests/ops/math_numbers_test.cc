// math_numbers_test.cc - plain numbers beside tensors: bounds that keep every digit, numbers a dtype
// cannot hold, and arguments that PyTorch refuses or takes.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/op_walk.h"

#include "modules/math/math_ops.h"

namespace {

class MathNumbers : public Tenon {};

using Wholes = std::vector<int64_t>;

tn_tensor *whole(const Wholes &numbers, tn_dtype dtype = TN_I64) {
    return tn_to(tn_from(numbers.data(), ints({static_cast<int64_t>(numbers.size())}), TN_I64),
                 dtype);
}

Wholes wholes(tn_tensor *t) {
    Wholes out(t ? static_cast<size_t>(tn_numel(t)) : 0);
    if (t && tn_read(tn_to(t, TN_I64), out.data(), out.size() * sizeof out[0])) out.clear();
    return out;
}

tn_tensor *clamp(tn_tensor *x, tn_value min, tn_value max) {
    tn_clamp_opts opts = {};
    opts.min = min, opts.max = max;
    return tn_clamp(x, &opts);
}

tn_tensor *hardtanh(tn_tensor *x, tn_value min, tn_value max) {
    tn_hardtanh_opts opts = {};
    opts.min_val = min, opts.max_val = max;
    return tn_hardtanh(x, &opts);
}

const tn_value none = {};
constexpr int64_t big = (INT64_C(1) << 62) + 1; // no double is that

// ---- Bounds -----------------------------------------------------------------------------------

TEST_F(MathNumbers, AFractionalBoundMakesFloatsOfClampedIntegers) {
    on_each_provider([] {
        for (const tn_dtype dtype : {TN_U8, TN_I8, TN_I32, TN_I64}) {
            tn_tensor *y = clamp(whole({1, 2, 5}, dtype), tn_float(2.5), none);
            EXPECT_TRUE(tn_dtype_is(tn_dtype_of(y), TN_F32));
            EXPECT_EQ(numbers(y), (Numbers{2.5, 2.5, 5}));
            y = clamp(whole({1, 2, 5}, dtype), tn_int(2), tn_int(4));
            EXPECT_TRUE(tn_dtype_is(tn_dtype_of(y), dtype));
            EXPECT_EQ(wholes(y), (Wholes{2, 2, 4}));
        }
        tn_tensor *flags = clamp(tn_to(whole({0, 1}), TN_BOOL), tn_int(1), none);
        EXPECT_TRUE(tn_dtype_is(tn_dtype_of(flags), TN_I64));
        EXPECT_EQ(wholes(flags), (Wholes{1, 1}));
        EXPECT_TRUE(std::isnan(numbers(clamp(whole({1}), tn_float(NAN), none))[0]));
        tn_clamp_opts opts = {};
        opts.min = tn_float(2.5);
        EXPECT_EQ(tn_clamp_(whole({1, 2}), &opts), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"clamp_", "f32", "i64", "without '_'"}));
        tn_tensor *half = clamp(full({1}, 1, TN_F16), tn_float(2.5), none);
        EXPECT_TRUE(tn_dtype_is(tn_dtype_of(half), TN_F16));
    });
}

TEST_F(MathNumbers, BoundsOfIntegersKeepEveryDigit) {
    on_each_provider([] {
        tn_tensor *x = whole({big + 5, -big - 5, 7});
        const Wholes limited = {big, -big, 7};
        EXPECT_EQ(wholes(clamp(x, tn_int(-big), tn_int(big))), limited);
        EXPECT_EQ(wholes(hardtanh(x, tn_int(-big), tn_int(big))), limited);
        EXPECT_EQ(wholes(tn_threshold(whole({big, big + 1}), tn_int(big), tn_int(-big))),
                  (Wholes{-big, big + 1}));
        EXPECT_EQ(wholes(clamp(x, tn_int(INT64_MAX), none)), (Wholes(3, INT64_MAX)));
    });
}

TEST_F(MathNumbers, HardtanhAndThresholdKeepIntegersAndCutTheirNumbers) {
    on_each_provider([] {
        for (const tn_dtype dtype : {TN_I8, TN_I16, TN_I32, TN_I64}) {
            tn_tensor *y = hardtanh(whole({1, 2, -3}, dtype), tn_float(-1.5), tn_float(1.5));
            EXPECT_TRUE(tn_dtype_is(tn_dtype_of(y), dtype));
            EXPECT_EQ(wholes(y), (Wholes{1, 1, -1}));
            y = tn_threshold(whole({1, 2, -3}, dtype), tn_float(1.5), tn_float(2.7));
            EXPECT_TRUE(tn_dtype_is(tn_dtype_of(y), dtype));
            EXPECT_EQ(wholes(y), (Wholes{2, 2, 2}));
        }
        EXPECT_EQ(wholes(tn_threshold(whole({1, 2}, TN_U8), tn_int(1), tn_int(-1))),
                  (Wholes{255, 2}));
        EXPECT_EQ(wholes(hardtanh(whole({1, 200}, TN_U8), tn_int(-1), tn_int(300))),
                  (Wholes{1, 200}));
    });
}

TEST_F(MathNumbers, BoundsThatLeaveNothingAreRefused) {
    on_each_provider([] {
        EXPECT_EQ(clamp(full({2}, 1), none, none), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"clamp", "min", "max"}));
        EXPECT_EQ(clamp(whole({1}, TN_I8), tn_int(200), none), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"clamp", "200"}));
        EXPECT_EQ(clamp(whole({1}, TN_U8), none, tn_int(-1)), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"clamp", "-1"}));
        EXPECT_EQ(wholes(clamp(whole({1}, TN_U8), tn_int(-1), tn_int(1000))), (Wholes{1}));
        EXPECT_EQ(wholes(clamp(whole({1}), tn_int(5), tn_int(2))), (Wholes{2}));
        for (tn_tensor *x : {full({2}, 1), whole({1, 2}, TN_I8)}) {
            EXPECT_EQ(hardtanh(x, tn_float(2), tn_float(1)), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_INVALID, {"hardtanh", "min_val is 2", "max_val"}));
        }
        EXPECT_EQ(hardtanh(whole({1}), tn_float(0.5), tn_float(INFINITY)), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"hardtanh", "inf"}));
    });
}

TEST_F(MathNumbers, BoundsOfFloatsAreOfTheirDtypeOrInfinite) {
    on_each_provider([] {
        const struct {
            tn_dtype dtype;
            double most, beyond;
        } all[] = {{TN_F16, 65504, 65536}, {TN_BF16, 3e38, 1e39}, {TN_F32, 3e38, 1e39}};
        for (const auto &t : all) {
            SCOPED_TRACE(tn_dtype_name(t.dtype));
            tn_tensor *x = full({2}, 1, t.dtype);
            const tn_value far = tn_float(t.beyond), low = tn_float(-t.most);
            for (tn_tensor *y : {clamp(x, low, tn_float(t.most)), clamp(x, low, tn_float(INFINITY)),
                                 hardtanh(x, tn_float(-INFINITY), tn_float(t.most))})
                EXPECT_EQ(wholes(y), (Wholes{1, 1}));
            EXPECT_EQ(clamp(x, none, far), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"clamp", "upper bound", "cannot hold"}));
            EXPECT_EQ(clamp(x, far, none), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"clamp", "lower bound", "cannot hold"}));
            EXPECT_EQ(hardtanh(x, low, far), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"hardtanh", "upper bound", "cannot hold"}));
        }
        EXPECT_EQ(wholes(clamp(full({1}, 1), tn_float(-1e300), none)), (Wholes{1}));
    });
}

TEST_F(MathNumbers, AnOptionThatIsNoNumberIsNotTakenForOne) {
    tn_clamp_opts opts = {};
    opts.min = TN_SET(2); // what fits other options: a tag of 2 here
    EXPECT_EQ(tn_clamp(full({1}, 1), &opts), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"clamp", "min", "tn_float"}));
}

// ---- Numbers that a dtype cannot hold -----------------------------------------------------------

TEST_F(MathNumbers, FillingRefusesWhatTheDtypeCannotHold) {
    const struct {
        tn_dtype dtype;
        tn_value number;
    } cases[] = {{TN_U8, tn_int(300)},      {TN_U8, tn_int(-256)},    {TN_U8, tn_float(-1)},
                 {TN_I8, tn_int(128)},      {TN_I8, tn_float(NAN)},   {TN_I64, tn_float(0x1p63)},
                 {TN_I32, tn_float(1e10)},  {TN_F16, tn_float(1e9)},  {TN_F16, tn_int(65520)},
                 {TN_BF16, tn_float(1e39)}, {TN_F32, tn_float(-1e39)}};
    tn_tensor *mask = tn_full(ints({2}), tn_bool(true), TN_BOOL), *at = whole({0});
    on_each_provider([&] {
        for (const auto &c : cases) {
            tn_tensor *x = tn_full(ints({2}), tn_int(1), c.dtype);
            const Shape around = {0, 1};
            EXPECT_EQ(tn_fill_(x, c.number), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"fill_", "value", tn_dtype_name(c.dtype)}));
            EXPECT_EQ(tn_full_like(x, c.number), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"full_like", "value"}));
            EXPECT_EQ(tn_masked_fill(x, mask, c.number), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"masked_fill", "value"}));
            EXPECT_EQ(tn_masked_fill_(x, mask, c.number), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"masked_fill_", "value"}));
            EXPECT_EQ(tn_masked_fill_tensor(x, mask, tn_scalar_of(c.number)), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"masked_fill.tensor", "value"}));
            EXPECT_EQ(tn_index_fill(x, 0, at, c.number), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"index_fill", "value"}));
            EXPECT_EQ(tn_scatter_value(x, 0, at, c.number), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"scatter.value", "value"}));
            EXPECT_EQ(tn_constant_pad(x, ints(around), c.number), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"constant_pad", "value"}));
            EXPECT_EQ(tn_threshold(x, tn_int(0), c.number), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"threshold", "value"}));
            EXPECT_EQ(contents(x)[0], 1) << "written before it was checked";
        }
    });
}

TEST_F(MathNumbers, FillingTakesFractionsInfinitiesAndNegativeBytes) {
    on_each_provider([] {
        EXPECT_EQ(wholes(tn_fill_(whole({0}, TN_I8), tn_float(127.5))), (Wholes{127}));
        EXPECT_EQ(wholes(tn_fill_(whole({0}, TN_U8), tn_int(-1))), (Wholes{255}));
        EXPECT_EQ(wholes(tn_fill_(tn_to(whole({0}), TN_BOOL), tn_float(NAN))), (Wholes{1}));
        EXPECT_EQ(numbers(tn_fill_(full({1}, 0, TN_F32), tn_float(INFINITY))), (Numbers{INFINITY}));
        EXPECT_EQ(contents(tn_fill_(full({1}, 0, TN_F16), tn_float(65519)))[0], 65504);
        EXPECT_EQ(wholes(tn_fill_(whole({0}), tn_int(big))), (Wholes{big}));
    });
}

// Which number it is must not be in the signature alone: a later call with another is looked at too.
TEST_F(MathNumbers, EveryCallLooksAtItsNumber) {
    on_each_provider([] {
        tn_tensor *x = whole({1, 2}, TN_I8);
        for (int i = 0; i < 3; i++) {
            EXPECT_EQ(wholes(tn_fill_(x, tn_int(i))), (Wholes{i, i}));
            EXPECT_EQ(tn_fill_(x, tn_int(200 + i)), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"fill_", "value: is 20", "i8", "x i8[2]"}));
        }
    });
}

// Over all rows: no plain number of a tensor's dtype is silently another one.
TEST_F(MathNumbers, NoOpBendsANumberIntoAByte) {
    // Bounds beyond a dtype do not limit; ranges are given a dtype of their own.
    const std::vector<std::string> exempt = {"hardtanh", "hardtanh_", "arange"};
    on_each_provider([&] {
        for (const Op &op : all_ops()) {
            if (std::find(exempt.begin(), exempt.end(), op.name) != exempt.end()) continue;
            for (uint32_t k = 0; k < op.schema.n_params; k++) {
                if (op.schema.params[k].type != TNI_SCALAR) continue;
                Args args = sample(op, 0, TN_I8);
                if (args.status || k >= args.values.size()) continue;
                args.values[k] = tn_int(100000);
                const Outcome o = outcome(op, args.values);
                bool narrow = false; // a result that cannot have taken the number in
                for (const Contents &c : o.results) narrow |= c.dtype.bits == 8 && c.count() > 0;
                EXPECT_FALSE(narrow) << op.name << ": " << op.schema.params[k].name;
            }
        }
    });
}

// ---- Booleans -----------------------------------------------------------------------------------

TEST_F(MathNumbers, NothingIsSubtractedFromABooleanOrByOne) {
    tn_tensor *flag = tn_to(whole({1, 0}), TN_BOOL);
    on_each_provider([&] {
        for (tn_tensor *other : {whole({3, 2}, TN_U8), whole({3, 2}), full({2}, 1, TN_F32), flag,
                                 tn_scalar_of(tn_int(2)), tn_scalar(0.5)}) {
            EXPECT_EQ(tn_sub(flag, other), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"sub", "'a'", "bool"}));
            EXPECT_EQ(tn_sub(other, flag), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"sub", "bool"}));
        }
        EXPECT_EQ(tn_sub(whole({1}), tn_scalar_of(tn_bool(true))), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"sub", "'b'", "bool"}));
        EXPECT_EQ(tn_neg(flag), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"neg", "bool"}));
    });
}

TEST_F(MathNumbers, SquaresOfBooleansCount) {
    on_each_provider([] {
        tn_tensor *flags = tn_to(whole({1, 0, 1}), TN_BOOL), *y = tn_square(flags);
        EXPECT_TRUE(tn_dtype_is(tn_dtype_of(y), TN_I64));
        EXPECT_EQ(wholes(y), (Wholes{1, 0, 1}));
        EXPECT_EQ(tn_square_(flags), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"square_", "without '_'"}));
        EXPECT_EQ(wholes(tn_square(whole({-3, 16}, TN_I8))), (Wholes{9, 0}));
    });
}

} // namespace
