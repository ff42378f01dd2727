// math_test.cc - what the standard ops promise beyond PyTorch's numbers: refusals that name their
// cause, views that move no bytes, edge cases of dtype and size.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <cmath>

namespace {

class Math : public Tenon {};

tn_tensor *counted(const Shape &sizes) { // 0, 1, 2, ...
    Numbers n;
    int64_t count = 1;
    for (int64_t s : sizes) count *= s;
    for (int64_t i = 0; i < count; i++) n.push_back(static_cast<double>(i));
    return from(n, sizes);
}

// ---- Refusals ---------------------------------------------------------------------------------

TEST_F(Math, MatmulNamesBothShapesWhenInnerSizesDiffer) {
    EXPECT_EQ(tn_matmul(full({3, 4}, 1), full({5, 2}, 1)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"matmul", "a[3,4]", "b[5,2]"}));
    EXPECT_EQ(tn_matmul(full({}, 1), full({2}, 1)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"mul"}));
}

TEST_F(Math, ViewRefusesStridesItCannotFollowAndPointsToReshape) {
    tn_tensor *x = tn_transpose(counted({2, 3}), 0, 1);
    EXPECT_EQ(tn_view_sizes(x, ints({6})), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"x[3,2]", "[1,3]", "reshape"}));
    EXPECT_EQ(numbers(tn_reshape(x, ints({6}))), (Numbers{0, 3, 1, 4, 2, 5}));
}

TEST_F(Math, ReshapeRefusesSizesThatDoNotHoldTheElements) {
    for (const Shape &sizes : {Shape{7}, Shape{-1, 4}, Shape{-1, -1}, Shape{-2, 3}}) {
        EXPECT_EQ(tn_reshape(counted({2, 3}), ints(sizes)), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"6 elements"}));
    }
}

TEST_F(Math, LargestOfNothingIsRefused) {
    tn_argmax_opts along = {};
    along.dim = TN_SET(0);
    EXPECT_EQ(tn_argmax(full({0, 3}, 0), &along), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"dim 0"}));
    along.dim = TN_SET(1);
    EXPECT_EQ(shape(tn_argmax(full({0, 3}, 0), &along)), (Shape{0}));
}

TEST_F(Math, SizesThatOverflowAreRefusedNotComputed) {
    const int64_t huge = INT64_C(1) << 40;
    EXPECT_EQ(tn_expand(full({1, 1}, 0), ints({huge, huge})), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"sizes"}));
    EXPECT_EQ(tn_arange(tn_int(INT64_MIN), tn_int(INT64_MAX), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW));
    EXPECT_EQ(tn_arange(tn_int(0), tn_int(-1), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"step"}));
    EXPECT_EQ(tn_uniform(ints({huge, huge}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW));
}

TEST_F(Math, IndexOpsRefuseAnIndexOutOfRange) {
    const int64_t four = 4;
    tn_tensor *index = tn_from(&four, ints({1}), TN_I64);
    EXPECT_EQ(tn_gather(counted({4}), 0, index), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"gather", "4"}));
    EXPECT_EQ(tn_select(counted({4}), 0, 4), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"size 4"}));
    EXPECT_EQ(tn_one_hot(index, 4), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX));
}

TEST_F(Math, CatAndStackNameTheTensorThatDoesNotFit) {
    EXPECT_EQ(tn_cat(tensors({full({2, 3}, 0), full({2, 4}, 0)}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"of xs[2,3]", "[2,4]"}));
    EXPECT_EQ(tn_stack(tensors({full({2}, 0), full({3}, 0)}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"[2]", "[3]"}));
    EXPECT_EQ(tn_cat({nullptr, 0}, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"xs"}));
}

// ---- Views ------------------------------------------------------------------------------------

TEST_F(Math, ViewsShowTheSameMemory) {
    tn_tensor *x = counted({2, 3});
    tn_fill_(tn_select(x, 0, 1), tn_float(9));
    tn_fill_(tn_reshape(tn_unsqueeze(x, 0), ints({6})), tn_float(7));
    EXPECT_EQ(numbers(x), Numbers(6, 7.0));
}

TEST_F(Math, SliceTakesNegativeStepsAsPythonDoes) {
    tn_slice_opts back = {};
    back.step = TN_SET(-2);
    EXPECT_EQ(numbers(tn_slice(counted({5}), &back)), (Numbers{4, 2, 0}));
    back.start = TN_SET(3), back.end = TN_SET(-100), back.step = TN_SET(INT64_MIN + 1);
    EXPECT_EQ(numbers(tn_slice(counted({5}), &back)), (Numbers{3}));
    back.step = TN_SET(0);
    EXPECT_EQ(tn_slice(counted({5}), &back), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"step"}));
}

TEST_F(Math, ContiguousReturnsContiguousTensorsThemselves) {
    tn_tensor *x = counted({2, 3});
    EXPECT_EQ(tn_contiguous(x), x);
    tn_tensor *turned = tn_contiguous(tn_transpose(x, 0, 1));
    EXPECT_TRUE(tn_is_contiguous(turned));
    EXPECT_EQ(numbers(turned), (Numbers{0, 3, 1, 4, 2, 5}));
}

TEST_F(Math, SplitGivesAViewPerPieceAndTheLastMayBeSmaller) {
    const tn_tensors parts = tn_split(counted({5}), 2, nullptr);
    ASSERT_EQ(parts.n, 3);
    EXPECT_EQ(numbers(parts.ptr[1]), (Numbers{2, 3}));
    EXPECT_EQ(numbers(parts.ptr[2]), (Numbers{4}));
}

// ---- Dtypes -----------------------------------------------------------------------------------

TEST_F(Math, SumsOfBooleansAndIntegersCountInI64) {
    tn_tensor *small = tn_full(ints({200}), tn_int(100), TN_I8);
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(tn_sum(small)), TN_I64));
    EXPECT_EQ(tn_item(tn_sum(small)), 20000);
    EXPECT_EQ(tn_item(tn_sum(tn_gt(counted({4}), number(1)))), 2);
}

TEST_F(Math, CatPromotesAsAdditionDoes) {
    tn_tensor *whole = tn_full(ints({1}), tn_int(3), TN_I32);
    tn_tensor *y = tn_cat(tensors({whole, full({1}, 0.5, TN_F32), full({1}, 2)}), nullptr);
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(y), TN_F64));
    EXPECT_EQ(numbers(y), (Numbers{3, 0.5, 2}));
}

TEST_F(Math, MeanOfHalvesDoesNotOverflow) {
    tn_tensor *mean = tn_mean(full({100}, 60000, TN_F16));
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(mean), TN_F16));
    EXPECT_NEAR(tn_item(mean), 60000, 32);
}

// ---- Numbers ----------------------------------------------------------------------------------

TEST_F(Math, NumbersStandForTensorsAndGiveWay) {
    auto is = [](tn_tensor *t, tn_dtype dtype, const Numbers &want) {
        EXPECT_TRUE(tn_dtype_is(tn_dtype_of(t), dtype)) << tn_dtype_name(tn_dtype_of(t));
        EXPECT_EQ(numbers(tn_to(t, TN_F64)), want);
    };
    tn_tensor *i = tn_to(from({1, 2}), TN_I64), *u = tn_to(from({1, 2}), TN_U8),
              *h = tn_to(from({1, 2}), TN_F16);
    is(tn_mul(i, 3), TN_I64, {3, 6});
    is(tn_mul(i, tn_scalar_int(3)), TN_I64, {3, 6});
    is(tn_mul(i, 1.5), TN_F32, {1.5, 3});
    is(tn_sub(10, u), TN_U8, {9, 8});
    is(tn_add(h, 0.5), TN_F16, {1.5, 2.5});
    is(tn_where(tn_gt(h, 1), h, 0), TN_F16, {0, 2});
    is(tn_pow(2, h), TN_F16, {2, 4});
    is(tn_lerp(h, 0, 0.5), TN_F16, {0.5, 1});
    is(tn_mul_(h, 2), TN_F16, {2, 4});
    is(tn_mse_loss(h, 2, nullptr), TN_F16, {2});
    is(tn_eq_(from({0.1, 2}), 0.1), TN_F64, {1, 0});
    is(tn_ge_(tn_to(from({1, 2}), TN_I64), 2), TN_I64, {0, 1});
    tn_add(u, 300);
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"add", "300", "u8"}));
    tn_tensor *x = param(from({1, 2}));
    ASSERT_EQ(tn_backward(tn_sum(tn_mul(3, tn_sub(1, x)))), TN_OK);
    EXPECT_EQ(grad(x), (Numbers{-3, -3}));
}

// ---- Random -----------------------------------------------------------------------------------

TEST_F(Math, DropoutKeepsAllAtZeroAndNothingAtOne) {
    tn_tensor *x = param(full({8}, 3));
    EXPECT_EQ(numbers(tn_dropout(x, 0, nullptr)), Numbers(8, 3.0));
    tn_tensor *gone = tn_dropout(x, 1, nullptr);
    EXPECT_EQ(numbers(gone), Numbers(8, 0.0));
    ASSERT_EQ(tn_backward(tn_sum(gone)), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), Numbers(8, 0.0));
}

TEST_F(Math, DropoutDropsTheSameElementsInBackward) {
    tn_tensor *x = param(full({64}, 1)), *y = tn_dropout(x, 0.5, nullptr);
    ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), numbers(y));
}

// ---- Derivatives ------------------------------------------------------------------------------

TEST_F(Math, SecondDerivativeOfPowIsExactWhereTheBaseIsZero) {
    tn_tensor *x = param(full({}, 0)), *first = nullptr, *second = nullptr;
    tn_tensor *y = tn_pow(x, number(2));
    tn_backward_opts create = {};
    create.create_graph = true;
    ASSERT_EQ(tn_backward_wrt(tensors({y}), tensors({x}), {nullptr, 0}, &create, &first), TN_OK);
    ASSERT_EQ(tn_backward_wrt(tensors({first}), tensors({x}), {nullptr, 0}, nullptr, &second),
              TN_OK);
    EXPECT_EQ(tn_item(first), 0);
    EXPECT_EQ(tn_item(second), 2);
}

TEST_F(Math, PowKeepsThePrecisionOfAnExponentThatIsANumber) {
    tn_tensor *x = param(full({1}, 2));
    ASSERT_EQ(tn_backward(tn_sum(tn_pow(x, number(1.0 / 3)))), TN_OK) << tn_error_message();
    EXPECT_NEAR(grad(x)[0], std::pow(2, -2.0 / 3) / 3, 1e-16);
}

TEST_F(Math, FillInPlaceCutsTheGradientOfWhatItOverwrites) {
    tn_tensor *x = param(full({2, 2}, 1)), *y = tn_mul(x, number(3));
    tn_fill_(tn_select(y, 0, 0), tn_float(5));
    ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{0, 0, 3, 3}));
}

// ---- Optimizer --------------------------------------------------------------------------------

TEST_F(Math, SgdUpdatesParametersAndMomenta) {
    tn_tensor *p = full({2}, 1), *g = full({2}, 0.5), *m = full({2}, 2);
    tn_sgd_opts opts = {};
    opts.momentum = 0.5;
    opts.weight_decay = 0.5;
    ASSERT_EQ(tn_sgd_(tensors({p}), tensors({g}), tensors({m}), 0.1, &opts), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(m), Numbers(2, 2.0));
    EXPECT_NEAR(numbers(p)[0], 0.8, 1e-15);
    EXPECT_NE(tn_sgd_(tensors({p}), {nullptr, 0}, {nullptr, 0}, 0.1, nullptr), TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"grads", "0 tensors"}));
}

TEST_F(Math, AdamCountsStepsFromOneAndTakesOneTensorOfStatePerParameter) {
    tn_tensor *p = full({2}, 1), *g = full({2}, 0.5), *m = full({2}, 0), *v = full({2}, 0);
    EXPECT_NE(tn_adam_(tensors({p}), tensors({g}), tensors({m}), tensors({v}), {nullptr, 0}, 0.1, 0,
                       nullptr),
              TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"adam_", "counted from 1"}));
    EXPECT_NE(tn_adamw_(tensors({p}), tensors({g}), tensors({m}), {nullptr, 0}, {nullptr, 0}, 0.1,
                        1, nullptr),
              TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"adamw_", "exp_avg_sqs", "0 tensors"}));
    EXPECT_EQ(numbers(p), Numbers(2, 1.0));
}

TEST_F(Math, NonzeroGivesOneRowPerElement) {
    tn_tensor *at = tn_nonzero(from({0, 2, 0, 3}, {2, 2}));
    EXPECT_EQ(shape(at), (Shape{2, 2}));
    EXPECT_EQ(numbers(tn_to(at, TN_F64)), (Numbers{0, 1, 1, 1}));
}

} // namespace
