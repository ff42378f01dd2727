// math_ewise_test.cc - elementwise ops and activations beyond PyTorch's numbers: refusals that name
// their cause, integers at their edges, twins without a kernel, forms that stay stable.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <cmath>

namespace {

class Elementwise : public Tenon {};

const tn_dtype integer_dtypes[] = {TN_U8, TN_I8, TN_I16, TN_I32, TN_I64};

tn_tensor *whole(const std::vector<int64_t> &numbers, tn_dtype dtype) {
    return tn_to(tn_from(numbers.data(), ints({static_cast<int64_t>(numbers.size())}), TN_I64),
                 dtype);
}

std::vector<int64_t> whole_numbers(tn_tensor *t) {
    std::vector<int64_t> out(t ? static_cast<size_t>(tn_numel(t)) : 0);
    if (t && tn_read(tn_to(t, TN_I64), out.data(), out.size() * sizeof out[0])) out.clear();
    return out;
}

int64_t lowest(tn_dtype d) { return d.code == 1 ? 0 : -(INT64_C(1) << (d.bits - 2)) * 2; }

// ---- Integers ---------------------------------------------------------------------------------

TEST_F(Elementwise, DividingIntegersByZeroIsAnErrorThatNamesTheElement) {
    on_each_provider([] {
        for (const auto op : {tn_floor_divide, tn_fmod, tn_remainder})
            for (const tn_dtype dtype : integer_dtypes) {
                EXPECT_EQ(op(whole({4, 5, 6}, dtype), whole({2, 0, 0}, dtype)), nullptr);
                EXPECT_TRUE(
                    error_is(TN_ERR_INVALID, {"element 1", "division by zero", "floating"}));
            }
        tn_tensor *x = whole({7, 8}, TN_I32);
        EXPECT_EQ(tn_remainder_(x, whole({2, 0}, TN_I32)), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"remainder_", "division by zero"}));
        EXPECT_EQ(whole_numbers(x), (std::vector<int64_t>{7, 8}))
            << "written before it was checked";
    });
}

TEST_F(Elementwise, TheLeastIntegerDividedByMinusOneWraps) {
    on_each_provider([] {
        for (const tn_dtype dtype : {TN_I8, TN_I16, TN_I32, TN_I64}) {
            tn_tensor *least = whole({lowest(dtype)}, dtype), *minus = whole({-1}, dtype);
            EXPECT_EQ(whole_numbers(tn_floor_divide(least, minus))[0], lowest(dtype));
            EXPECT_EQ(whole_numbers(tn_remainder(least, minus))[0], 0);
            EXPECT_EQ(whole_numbers(tn_fmod(least, minus))[0], 0);
            EXPECT_EQ(whole_numbers(tn_neg(least))[0], lowest(dtype));
            EXPECT_EQ(whole_numbers(tn_abs(least))[0], lowest(dtype));
        }
    });
}

TEST_F(Elementwise, ShiftsByAnyCountAreDefined) {
    on_each_provider([] {
        for (const tn_dtype dtype : {TN_I8, TN_I16, TN_I32, TN_I64}) {
            const int64_t width = dtype.bits;
            tn_tensor *count = whole({0, 1, width - 1, width, 100, -1}, dtype);
            EXPECT_EQ(whole_numbers(tn_bitwise_left_shift(whole({3}, dtype), count)),
                      (std::vector<int64_t>{3, 6, lowest(dtype), 0, 0, 0}));
            EXPECT_EQ(whole_numbers(tn_bitwise_right_shift(whole({-3}, dtype), count)),
                      (std::vector<int64_t>{-3, -2, -1, -1, -1, -1}));
            EXPECT_EQ(whole_numbers(tn_bitwise_right_shift(whole({3}, dtype), count)),
                      (std::vector<int64_t>{3, 1, 0, 0, 0, 0}));
        }
        EXPECT_EQ(whole_numbers(tn_bitwise_right_shift(whole({200}, TN_U8), whole({1, 8}, TN_U8))),
                  (std::vector<int64_t>{100, 0}));
    });
}

TEST_F(Elementwise, BitsOfFloatsAreRefusedWithWhatIsTaken) {
    tn_tensor *x = full({2}, 1, TN_F32), *b = tn_to(x, TN_BOOL);
    EXPECT_EQ(tn_bitwise_and(x, x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"bitwise_and", "booleans and integers", "f32"}));
    EXPECT_EQ(tn_bitwise_left_shift(b, b), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"bitwise_left_shift", "integers", "bool"}));
    on_each_provider([b] {
        EXPECT_EQ(whole_numbers(tn_bitwise_not(b)), (std::vector<int64_t>{0, 0}));
        EXPECT_EQ(whole_numbers(tn_bitwise_xor(b, b)), (std::vector<int64_t>{0, 0}));
    });
}

TEST_F(Elementwise, IntegersAreScaledByTheIntegerPartOfAFactor) {
    tn_addcmul_opts opts = {};
    tn_tensor *x = whole({1, 2}, TN_I32), *small = whole({1, 2}, TN_U8);
    on_each_provider([&] {
        for (const tn_dtype dtype : integer_dtypes) {
            tn_tensor *t = whole({1, 2, 3}, dtype);
            opts.value = tn_float(1.5);
            EXPECT_TRUE(tn_dtype_is(tn_dtype_of(tn_addcmul(t, t, t, &opts)), dtype));
            EXPECT_EQ(whole_numbers(tn_addcmul(t, t, t, &opts)), (std::vector<int64_t>{2, 6, 12}));
            opts.value = tn_float(0.5);
            EXPECT_EQ(whole_numbers(tn_addcmul(t, t, t, &opts)), (std::vector<int64_t>{1, 2, 3}));
        }
        opts.value = tn_int(-1);
        EXPECT_EQ(whole_numbers(tn_addcmul(small, small, small, &opts)),
                  (std::vector<int64_t>{0, 254}));
        const int64_t big = (INT64_C(1) << 60) + 1;
        opts.value = tn_int(big);
        EXPECT_EQ(whole_numbers(tn_addcmul(whole({1}, TN_I64), whole({3}, TN_I64),
                                           whole({1}, TN_I64), &opts)),
                  (std::vector<int64_t>{3 * big + 1}));
        opts.value = tn_float(NAN);
        EXPECT_EQ(tn_addcmul(x, x, x, &opts), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"addcmul", "value", "nan"}));
        opts.value = tn_int(300);
        EXPECT_EQ(whole_numbers(tn_addcmul(x, x, x, &opts)), (std::vector<int64_t>{301, 1202}));
        EXPECT_EQ(tn_addcmul(small, small, small, &opts), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"addcmul", "300"}));
    });
}

// ---- Refusals ---------------------------------------------------------------------------------

TEST_F(Elementwise, GeluRefusesAnApproximationItDoesNotKnow) {
    tn_tensor *x = full({2}, 1);
    for (const char *word : {"fast", "", "tanhh", "Tanh"}) {
        static tn_op_ref gelu = {"gelu", 0, 0}, bwd = {"gelu_bwd", 0, 0};
        const tn_value text = tn_value_str(word, static_cast<uint32_t>(strlen(word)));
        const tn_value args[] = {tn_value_tensor(x), tn_value_tensor(x), text};
        const tn_value just_x[] = {args[0], text};
        tn_value out;
        on_each_provider([&] {
            EXPECT_NE(tn_op_call(&gelu, just_x, 2, &out, 1), TN_OK);
            EXPECT_TRUE(error_is(TN_ERR_INVALID, {"gelu", word, "\"none\"", "\"tanh\""}));
            EXPECT_NE(tn_op_call(&bwd, args, 3, &out, 1), TN_OK);
            EXPECT_TRUE(error_is(TN_ERR_INVALID, {"gelu_bwd", word, "\"none\"", "\"tanh\""}));
        });
    }
}

TEST_F(Elementwise, ActivationsNameTheArgumentThatDoesNotFit) {
    tn_tensor *x = full({2, 3}, 1);
    EXPECT_EQ(tn_prelu(x, full({2}, 1)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"prelu", "weight has 2", "3"}));
    EXPECT_EQ(tn_prelu(x, full({3, 1}, 1)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"prelu", "weight"}));
    EXPECT_EQ(tn_glu(x, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"glu", "dim 1", "size 3"}));
    tn_softshrink_opts shrink = {};
    shrink.lambd = {-0.5, true};
    EXPECT_EQ(tn_softshrink(x, &shrink), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"softshrink", "lambd"}));
    tn_celu_opts celu = {};
    celu.alpha = TN_SET(0);
    on_each_provider([&] {
        EXPECT_EQ(tn_celu(x, &celu), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"celu", "alpha must not be 0"}));
    });
}

// ---- In place ---------------------------------------------------------------------------------

TEST_F(Elementwise, ATwinWithoutAKernelWritesItsTargetAndItsViews) {
    on_each_provider([] {
        tn_tensor *x = from({-1, 0, 1, 2}, {4});
        tn_slice_opts odd = {};
        odd.start = {1, true}, odd.step = {2, true};
        tn_tensor *part = tn_slice(x, &odd);
        EXPECT_EQ(tn_silu_(part), part);
        const double silu_of_2 = 2 / (1 + std::exp(-2.0));
        EXPECT_NEAR(numbers(x)[3], silu_of_2, 1e-12);
        EXPECT_EQ(numbers(x)[0], -1);
        EXPECT_EQ(numbers(x)[2], 1);
    });
}

TEST_F(Elementwise, ATwinWithoutAKernelIsRecorded) {
    on_each_provider([] {
        tn_tensor *leaf = param(from({-1, 2}, {2}));
        tn_tensor *x = tn_mul(leaf, full({}, 3));
        ASSERT_NE(tn_lerp_(x, full({2}, 1), full({}, 0.25)), nullptr) << tn_error_message();
        EXPECT_EQ(numbers(x), (Numbers{-2, 4.75}));
        ASSERT_EQ(tn_backward(tn_sum(x)), TN_OK) << tn_error_message();
        EXPECT_EQ(grad(leaf), (Numbers{2.25, 2.25}));
    });
}

TEST_F(Elementwise, ComparisonsInPlaceAnswerInTheTargetsDtypeAndEndItsHistory) {
    on_each_provider([] {
        tn_tensor *leaf = param(from({1, 2}, {2})), *x = tn_mul(leaf, leaf);
        EXPECT_EQ(tn_gt_(x, whole({2, 2}, TN_I8)), x);
        EXPECT_EQ(numbers(x), (Numbers{0, 1}));
        ASSERT_EQ(tn_backward(tn_sum(tn_add(x, leaf))), TN_OK) << tn_error_message();
        EXPECT_EQ(grad(leaf), (Numbers{1, 1}));
        EXPECT_EQ(tn_eq_(whole({1, 2}, TN_I32), full({3, 2}, 1)), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"eq_", "[3,2]", "[2]"}));
    });
}

// ---- Stable forms -----------------------------------------------------------------------------

TEST_F(Elementwise, SoftFormsNeitherOverflowNorCancel) {
    on_each_provider([] {
        tn_tensor *x = from({-700, -40, 40, 700}, {4});
        tn_softplus_opts sharp = {};
        sharp.threshold = {1e9, true};
        const Numbers plus = numbers(tn_softplus(x, &sharp)), log = numbers(tn_logsigmoid(x));
        for (size_t i = 0; i < 4; i++) {
            const double at = numbers(x)[i], exact = at > 0 ? at + std::exp(-at) : std::exp(at);
            EXPECT_NEAR(plus[i] / exact, 1, 1e-14) << at;
            EXPECT_NEAR(log[3 - i] / -exact, 1, 1e-14) << at;
        }
        EXPECT_NEAR(numbers(tn_gelu(from({-10}, {1}), nullptr))[0] / (-10 * 7.619853024160527e-24),
                    1, 1e-12);
        EXPECT_NEAR(numbers(tn_mish(from({-40}, {1})))[0] / (-40 * std::exp(-40.0)), 1, 1e-12);
        EXPECT_NEAR(numbers(tn_silu(from({-700}, {1})))[0] / (-700 * std::exp(-700.0)), 1, 1e-11);
        EXPECT_EQ(numbers(tn_elu(from({1000}, {1}), nullptr)), (Numbers{1000}));
    });
}

TEST_F(Elementwise, GradientsFarFromZeroAreFinite) {
    on_each_provider([] {
        for (const auto op :
             {tn_silu, tn_mish, tn_hardswish, tn_selu, tn_logsigmoid, tn_tanhshrink})
            for (const double at : {-1e4, 1e4}) {
                tn_tensor *x = param(full({1}, at));
                ASSERT_EQ(tn_backward(tn_sum(op(x))), TN_OK) << tn_error_message();
                EXPECT_TRUE(std::isfinite(grad(x)[0])) << at;
            }
    });
}

// Each step of a formula in 16 bits would round; PyTorch and kernels round once.
TEST_F(Elementwise, SixteenBitFormulasRoundOnce) {
    const struct {
        tn_dtype dtype;
        double half_unit; // relative
    } formats[] = {{TN_F16, 0x1p-11}, {TN_BF16, 0x1p-8}};
    on_each_provider([&] {
        for (const auto &format : formats)
            for (const auto op : {tn_silu, tn_mish, tn_hardswish, tn_selu, tn_softsign})
                for (const double at : {-2.75, -1.25, -0.375, 0.625, 2.5}) {
                    const double exact = numbers(op(full({1}, at)))[0];
                    tn_tensor *y = op(full({1}, at, format.dtype));
                    ASSERT_TRUE(tn_dtype_is(tn_dtype_of(y), format.dtype));
                    EXPECT_LE(std::fabs(numbers(tn_to(y, TN_F64))[0] / exact - 1),
                              1.01 * format.half_unit)
                        << tn_dtype_name(format.dtype) << " at " << at;
                }
    });
}

// ---- NaN --------------------------------------------------------------------------------------

TEST_F(Elementwise, NanGoesThroughLimitsAndActivations) {
    on_each_provider([] {
        tn_tensor *x = full({1}, NAN);
        for (const auto op :
             {tn_relu, tn_relu6, tn_hardsigmoid, tn_hardswish, tn_silu, tn_mish, tn_selu,
              tn_softsign, tn_tanhshrink, tn_logsigmoid, tn_round, tn_trunc})
            EXPECT_TRUE(std::isnan(numbers(op(x))[0]));
        EXPECT_TRUE(std::isnan(numbers(tn_hardtanh(x, nullptr))[0]));
        EXPECT_TRUE(std::isnan(numbers(tn_softshrink(x, nullptr))[0]));
        EXPECT_TRUE(std::isnan(numbers(tn_hardshrink(x, nullptr))[0]));
        EXPECT_TRUE(std::isnan(numbers(tn_threshold(x, tn_int(0), tn_int(1)))[0]));
        EXPECT_TRUE(std::isnan(numbers(tn_maximum(x, full({1}, 1)))[0]));
        EXPECT_TRUE(std::isnan(numbers(tn_minimum(full({1}, 1), x))[0]));
    });
}

} // namespace
