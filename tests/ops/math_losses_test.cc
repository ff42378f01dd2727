// math_losses_test.cc - what losses promise beyond PyTorch's numbers: refusals that name their
// cause, numbers that stay finite, nothing that is empty or ignored in the mean.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/op_walk.h"

#include "modules/math/math_ops.h"

#include <cmath>

#include <tenon/inspect.h>

namespace {

class Losses : public Tenon {};

tn_tensor *targets(const std::vector<int64_t> &numbers, const Shape &sizes) {
    return tn_from(numbers.data(), ints(sizes), TN_I64);
}

TEST_F(Losses, EveryReductionThatNobodyKnowsIsRefusedByName) {
    int64_t refused = 0;
    for (const Op &op : all_ops())
        for (uint32_t i = 0; i < op.schema.n_params; i++) {
            if (strcmp(op.schema.params[i].name, "reduction")) continue;
            SCOPED_TRACE(op.name);
            for (const std::string word : {"average", "", "Mean", "meanx"}) {
                std::vector<tn_value> values = sample(op, 0, TN_F32).values;
                values.resize(std::max(values.size(), size_t(i) + 1));
                for (uint32_t k = 0; k < i; k++)
                    if (!values[k].tag) values[k] = op.schema.params[k].def;
                values[i] = tn_value_str(word.data(), static_cast<uint32_t>(word.size()));
                const Outcome o = outcome(op, values);
                EXPECT_EQ(o.status, TN_ERR_INVALID) << o.text;
                EXPECT_NE(o.text.find("reduction is \"" + word + "\""), std::string::npos)
                    << o.text;
                refused++;
            }
        }
    EXPECT_GE(refused, 19 * 4);
}

TEST_F(Losses, TargetsOutOfRangeAreNamedWithTheirLimit) {
    tn_tensor *x = full({2, 3}, 1, TN_F32);
    for (const int64_t bad : {INT64_C(3), INT64_C(-1), INT64_C(-101), INT64_MIN}) {
        SCOPED_TRACE(bad);
        const std::string text = std::to_string(bad);
        tn_tensor *target = targets({0, bad}, {2});
        EXPECT_EQ(tn_nll_loss(x, target, nullptr), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INDEX, {"nll_loss", text.c_str(), "3"}));
        EXPECT_EQ(tn_multi_margin_loss(x, target, nullptr), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INDEX, {"multi_margin_loss", text.c_str(), "3"}));
        tn_cross_entropy_opts smooth = {};
        smooth.label_smoothing = 0.5;
        for (const tn_cross_entropy_opts *opts : {(tn_cross_entropy_opts *)nullptr, &smooth}) {
            EXPECT_EQ(tn_cross_entropy(x, target, opts), nullptr);
            EXPECT_TRUE(error_is(TN_ERR_INDEX, {"cross_entropy", text.c_str(), "3"}));
        }
    }
    EXPECT_EQ(tn_multilabel_margin_loss(x, targets({0, 3, -1, 1, -1, 0}, {2, 3}), nullptr),
              nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"multilabel_margin_loss", "3"}));
}

TEST_F(Losses, SizesThatDisagreeAreNamed) {
    tn_tensor *x = full({2, 3}, 0.5), *y = full({2, 4}, 0.5);
    EXPECT_EQ(tn_cross_entropy(x, targets({0, 1, 2}, {3}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"x[2,3]", "target[3]"}));
    tn_nll_loss_opts weighted = {};
    weighted.weight = full({2}, 1);
    EXPECT_EQ(tn_nll_loss(x, targets({0, 1}, {2}), &weighted), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"x[2,3]", "weight[2]", "each class"}));
    EXPECT_EQ(tn_binary_cross_entropy(x, y, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"x[2,3]", "target[2,4]", "equal"}));
    EXPECT_EQ(tn_binary_cross_entropy_with_logits(x, full({3}, 1), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"target[3]", "equal"}));
    EXPECT_EQ(tn_mse_loss(x, y, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"mse_loss", "x[2,3]"}));
    EXPECT_EQ(tn_gaussian_nll_loss(x, x, full({3}, 1), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"gaussian_nll_loss", "var[3]", "x[2,3]"}));
    EXPECT_EQ(tn_multilabel_margin_loss(x, targets({0, 1}, {2}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"target[2]"}));
    EXPECT_EQ(tn_cross_entropy_probs(x, y, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"target[2,4]"}));
}

TEST_F(Losses, AttributesOutsideTheirRangeAreNamed) {
    tn_tensor *x = full({3}, 0.5);
    tn_huber_loss_opts huber = {};
    huber.delta = TN_SET(0);
    EXPECT_EQ(tn_huber_loss(x, x, &huber), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"delta"}));
    tn_smooth_l1_loss_opts smooth = {};
    smooth.beta = TN_SET(-1);
    EXPECT_EQ(tn_smooth_l1_loss(x, x, &smooth), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"beta"}));
    EXPECT_EQ(tn_gaussian_nll_loss(x, x, full({3}, -0.5), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"var", "negative"}));
    tn_cross_entropy_opts label = {};
    label.label_smoothing = 1.5;
    EXPECT_EQ(tn_cross_entropy(full({2, 3}, 1), targets({0, 1}, {2}), &label), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"label_smoothing"}));
    tn_multi_margin_loss_opts power = {};
    power.p = TN_SET(3);
    EXPECT_EQ(tn_multi_margin_loss(full({2, 3}, 1), targets({0, 1}, {2}), &power), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"p"}));
}

TEST_F(Losses, MeanOfNothingIsNotANumberAndItsSumIsZero) {
    tn_tensor *nothing = full({0, 3}, 0), *none = targets({}, {0});
    tn_cross_entropy_opts sum = {};
    sum.reduction = "sum";
    on_each_provider([&] {
        EXPECT_TRUE(std::isnan(tn_item(tn_mse_loss(nothing, nothing, nullptr))));
        EXPECT_TRUE(std::isnan(tn_item(tn_cross_entropy(nothing, none, nullptr))));
        EXPECT_EQ(tn_item(tn_cross_entropy(nothing, none, &sum)), 0);
    });
}

TEST_F(Losses, WhatIsIgnoredHasNoGradientEvenIfItIsInfinite) {
    on_each_provider([&] {
        for (const int64_t second : {INT64_C(-100), INT64_C(1)}) {
            tn_tensor *x = param(from({1, 2, INFINITY, 4}, {2, 2}));
            tn_cross_entropy_opts opts = {};
            opts.ignore_index = TN_SET(second);
            tn_tensor *loss = tn_cross_entropy(x, targets({0, second}, {2}), &opts);
            ASSERT_EQ(tn_backward(loss), TN_OK) << tn_error_message();
            EXPECT_NEAR(tn_item(loss), std::log(1 + std::exp(1.0)), 1e-15);
            EXPECT_EQ((Numbers{grad(x)[2], grad(x)[3]}), Numbers(2, 0.0));
        }
    });
}

TEST_F(Losses, ThePlainCrossEntropyIsOneKernel) {
    tn_tensor *x = full({4, 3}, 1, TN_F32);
    ASSERT_NE(tn_cross_entropy(x, targets({0, 1, 2, -100}, {4}), nullptr), nullptr);
    EXPECT_STREQ(tn_last_provider(), "cpu_blas");
    EXPECT_EQ(std::string(tn_op_providers("cross_entropy", "cpu")), "cpu_blas");
}

// As PyTorch 2.15 has it.
TEST_F(Losses, AHingeCountsATargetThatIsNeitherOneNorMinusOneAsBoth) {
    tn_hinge_embedding_loss_opts opts = {};
    opts.reduction = "none";
    tn_tensor *x = from({0.5, 2, -1, 0.25});
    EXPECT_EQ(numbers(tn_hinge_embedding_loss(x, from({1, -1, 0, 0.5}), &opts)),
              (Numbers{0.5, 0, 1, 1}));
    EXPECT_EQ(numbers(tn_hinge_embedding_loss(x, from({2, -2, 3, -1}), &opts)),
              (Numbers{1, 2, 1, 0.75}));
}

TEST_F(Losses, ATripletNeedsAMargin) {
    tn_tensor *x = full({2, 3}, 1);
    tn_triplet_margin_loss_opts opts = {};
    for (const double margin : {-1.0, 0.0}) {
        opts.margin = {margin, true};
        EXPECT_EQ(tn_triplet_margin_loss(x, x, x, &opts), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"triplet_margin_loss", "margin", "above 0"}));
    }
}

// One row may be written with or without its dim; what PyTorch gives is numbers of its own.
TEST_F(Losses, OneRowOfClassesMayLackItsDims) {
    tn_tensor *x = param(from({0, 1, 2}, {3})), *one = targets({1}, {1}), *none = targets({1}, {});
    tn_multi_margin_loss_opts each = {};
    each.reduction = "none";
    EXPECT_NEAR(tn_item(tn_multi_margin_loss(x, one, nullptr)), 2 / 3.0, 1e-15);
    EXPECT_EQ(shape(tn_multi_margin_loss(x, one, &each)), (Shape{1}));
    EXPECT_EQ(shape(tn_multi_margin_loss(x, none, &each)), (Shape{}));
    EXPECT_EQ(shape(tn_multi_margin_loss(full({1, 3}, 1), none, &each)), (Shape{}));
    for (tn_tensor *target : {targets({0}, {1}), targets({0}, {})})
        EXPECT_EQ(tn_item(tn_multi_margin_loss(full({}, 5), target, nullptr)), 0);
    ASSERT_EQ(tn_backward(tn_multi_margin_loss(x, one, nullptr)), TN_OK) << tn_error_message();
    EXPECT_EQ(shape(tn_grad_of(x)), (Shape{3}));

    EXPECT_EQ(tn_item(tn_nll_loss(x, one, nullptr)), -1);
    EXPECT_NEAR(tn_item(tn_cross_entropy(x, one, nullptr)), 1.4076059644443804, 1e-15);
    tn_zero_grad(x);
    ASSERT_EQ(tn_backward(tn_cross_entropy(x, one, nullptr)), TN_OK) << tn_error_message();
    EXPECT_NEAR(grad(x)[1], 0.24472847105479764 - 1, 1e-15);
    tn_nll_loss_opts bare = {};
    bare.reduction = "none";
    EXPECT_EQ(shape(tn_nll_loss(x, one, &bare)), (Shape{}));
    EXPECT_EQ(tn_nll_loss(x, targets({1, 1}, {2}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"nll_loss", "x[3]", "target[2]"}));
}

TEST_F(Losses, ListsOfLabelsMayBeOneNumber) {
    for (tn_tensor *target : {targets({0}, {}), targets({-1}, {}), targets({0}, {1})})
        EXPECT_EQ(tn_item(tn_multilabel_margin_loss(full({}, 5), target, nullptr)), 0);
    EXPECT_EQ(tn_item(tn_multilabel_margin_loss(full({1}, 5), targets({0}, {}), nullptr)), 0);
    tn_multilabel_margin_loss_opts each = {};
    each.reduction = "none";
    EXPECT_EQ(shape(tn_multilabel_margin_loss(full({}, 5), targets({0}, {}), &each)), (Shape{}));
    EXPECT_EQ(shape(tn_multilabel_margin_loss(full({2, 1}, 5), targets({0, 0}, {2, 1}), &each)),
              (Shape{2}));
}

TEST_F(Losses, ADeltaBeyondTheDtypeLeavesAParabola) {
    for (const tn_dtype dtype : {TN_F16, TN_BF16, TN_F32, TN_F64}) {
        tn_huber_loss_opts opts = {};
        opts.delta = TN_SET(1e300);
        tn_tensor *loss = tn_huber_loss(full({2}, -2, dtype), full({2}, 0, dtype), &opts);
        EXPECT_EQ(tn_item(loss), 2) << tn_dtype_name(dtype) << tn_error_message();
    }
}

TEST_F(Losses, DistancesHaveNegativeOrdersToo) {
    tn_tensor *x = from({0, 1, 2}, {1, 3}), *y = from({1, 3, 5}, {1, 3});
    tn_pairwise_distance_opts opts = {};
    opts.p = {-1, true};
    EXPECT_NEAR(numbers(tn_pairwise_distance(x, y, &opts))[0], 1 / (1 + 1 / 2.0 + 1 / 3.0), 1e-5);
    opts.p = {-INFINITY, true};
    EXPECT_NEAR(numbers(tn_pairwise_distance(x, y, &opts))[0], 1, 1e-5);
}

} // namespace
