// activation_checkpoint_test.cc - a function run twice gives the gradients of one run once, and
// keeps less in between.
// SPDX-License-Identifier: Apache-2.0
#include <tenon/activation_checkpoint.h>

#include <tenon/hooks.h>
#include <tenon/inspect.h>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

namespace {

struct Layers { // what the functions below reach through `user`
    tn_tensor *w = nullptr;
    int calls = 0;
    int64_t depth = 3;
    bool other_when_run_again = false;
};

// Nonlinear layers with dropout: everything is kept by somebody.
tn_tensor *layers(void *user, tn_tensor *const *in, int64_t) {
    auto *l = static_cast<Layers *>(user);
    l->calls++;
    tn_tensor *x = in[0];
    const int64_t depth = l->depth + (l->other_when_run_again && l->calls > 1);
    for (int64_t i = 0; i < depth; i++) x = tn_dropout(tn_tanh(tn_mul(x, l->w)), 0.25, nullptr);
    return x;
}

class ActivationCheckpoint : public Tenon {
  protected:
    void SetUp() override {
        Tenon::SetUp();
        x = tn_keep(param(from({0.5, -1, 2, 0.25})));
        user.w = tn_keep(param(from({1, 2, 3, 4})));
        tn_generator_seed(nullptr, 5);
    }
    void TearDown() override {
        for (tn_tensor *t : {x, user.w}) tn_zero_grad(t), tn_drop(t);
        Tenon::TearDown();
    }

    Numbers plain_gradients() { // of x, then w
        tn_generator_seed(nullptr, 5);
        EXPECT_EQ(tn_backward(tn_sum(layers(&user, &x, 1))), TN_OK) << tn_error_message();
        return take();
    }
    Numbers take() {
        Numbers all = grad(x);
        for (const double g : grad(user.w)) all.push_back(g);
        tn_zero_grad(x), tn_zero_grad(user.w);
        user.calls = 0;
        return all;
    }

    tn_tensor *x = nullptr;
    Layers user;
};

TEST_F(ActivationCheckpoint, GivesTheGradientsOfAPlainCallWithDropoutToo) {
    const Numbers expected = plain_gradients();
    tn_generator_seed(nullptr, 5);
    tn_tensor *y = tn_sum(tn_activation_checkpoint(layers, &user, {&x, 1}));
    tn_dropout(x, 0.5, nullptr); // numbers drawn in between do not matter
    const tn_rng at = tn_generator_position(nullptr);
    ASSERT_EQ(tn_backward(y), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_generator_position(nullptr).offset, at.offset);
    EXPECT_EQ(user.calls, 2);
    EXPECT_EQ(take(), expected);
}

TEST_F(ActivationCheckpoint, RunsOnceAgainHoweverOftenTheGraphIsUsed) {
    const Numbers expected = plain_gradients();
    tn_generator_seed(nullptr, 5);
    tn_tensor *y = tn_sum(tn_activation_checkpoint(layers, &user, {&x, 1}));
    tn_backward_opts retain = {};
    retain.retain_graph = true;
    for (int i = 0; i < 2; i++) ASSERT_EQ(tn_backward_with(y, &retain), TN_OK);
    EXPECT_EQ(user.calls, 2);
    const Numbers twice = take();
    for (size_t i = 0; i < twice.size(); i++) EXPECT_EQ(twice[i], 2 * expected[i]);
}

TEST_F(ActivationCheckpoint, GivesSecondDerivativesToo) {
    const tn_backward_opts create = {nullptr, false, true};
    Numbers second[2];
    for (const bool checkpointed : {false, true}) {
        tn_generator_seed(nullptr, 5);
        tn_tensor *y =
            checkpointed ? tn_activation_checkpoint(layers, &user, {&x, 1}) : layers(&user, &x, 1);
        tn_tensor *sum = tn_sum(y), *first = nullptr, *again = nullptr;
        ASSERT_EQ(tn_backward_wrt({&sum, 1}, {&x, 1}, {nullptr, 0}, &create, &first), TN_OK)
            << tn_error_message();
        first = tn_sum(tn_mul(first, first));
        ASSERT_EQ(tn_backward_wrt({&first, 1}, {&x, 1}, {nullptr, 0}, nullptr, &again), TN_OK)
            << tn_error_message();
        second[checkpointed] = numbers(again);
    }
    EXPECT_EQ(second[0], second[1]);
}

TEST_F(ActivationCheckpoint, KeepsTheInputsOnlyUntilBackward) {
    const int64_t n = 1 << 16;
    tn_tensor *in = param(full({n}, 0.5, TN_F32));
    Layers deep;
    deep.w = param(full({n}, 1, TN_F32)), deep.depth = 20;
    auto held = [&](bool checkpointed) {
        const uint64_t before = memory_now().allocated_bytes;
        tn_tensor *y = nullptr;
        const tn_scope scope = tn_scope_push();
        y = tn_sum(checkpointed ? tn_activation_checkpoint(layers, &deep, {&in, 1})
                                : layers(&deep, &in, 1));
        tn_scope_pop_with(scope, &y, 1);
        return memory_now().allocated_bytes - before;
    };
    EXPECT_GT(held(false), 20u * 4 * static_cast<uint64_t>(n));
    EXPECT_LT(held(true), 4096u);
}

TEST_F(ActivationCheckpoint, NestsInItself) {
    const Numbers expected = plain_gradients();
    struct Outer {
        Layers *inner;
        static tn_tensor *run(void *user, tn_tensor *const *in, int64_t n) {
            return tn_activation_checkpoint(layers, static_cast<Outer *>(user)->inner, {in, n});
        }
    } outer = {&user};
    tn_generator_seed(nullptr, 5);
    tn_tensor *y = tn_sum(tn_activation_checkpoint(Outer::run, &outer, {&x, 1}));
    ASSERT_EQ(tn_backward(y), TN_OK) << tn_error_message();
    EXPECT_EQ(take(), expected);
}

TEST_F(ActivationCheckpoint, IsAPlainCallWhileGradModeIsOff) {
    tn_set_grad_enabled(false);
    tn_tensor *y = tn_activation_checkpoint(layers, &user, {&x, 1});
    tn_set_grad_enabled(true);
    EXPECT_FALSE(tn_requires_grad(y));
    EXPECT_EQ(user.calls, 1);
}

TEST_F(ActivationCheckpoint, RefusesAFunctionThatDoesSomethingElseTheSecondTime) {
    user.other_when_run_again = true;
    tn_tensor *y = tn_sum(tn_activation_checkpoint(layers, &user, {&x, 1}));
    EXPECT_EQ(tn_backward(y), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"tn_activation_checkpoint", "must do the same"}));
    EXPECT_EQ(tn_grad_of(x), nullptr);
}

TEST_F(ActivationCheckpoint, RunsAgainAfterARunThatFailed) {
    const Numbers expected = plain_gradients();
    tn_generator_seed(nullptr, 5);
    user.other_when_run_again = true;
    tn_tensor *y = tn_sum(tn_activation_checkpoint(layers, &user, {&x, 1}));
    tn_backward_opts retain = {};
    retain.retain_graph = true;
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(tn_backward_with(y, &retain), TN_ERR_GRAD);
        EXPECT_TRUE(error_is(TN_ERR_GRAD, {"the same each time"}));
    }
    user.other_when_run_again = false;
    ASSERT_EQ(tn_backward(y), TN_OK) << tn_error_message();
    EXPECT_EQ(take(), expected);
}

TEST_F(ActivationCheckpoint, IsNotHeldByARecordedGradientOfItsInput) {
    const tn_backward_opts create = {nullptr, false, true};
    const tn_memory_info before = memory_now();
    const tn_scope scope = tn_scope_push();
    tn_tensor *leaf = param(from({0.5, -1, 2, 0.25}));
    tn_tensor *y = tn_sum(tn_activation_checkpoint(layers, &user, {&leaf, 1}));
    ASSERT_EQ(tn_backward_with(y, &create), TN_OK) << tn_error_message();
    tn_zero_grad(user.w);
    tn_scope_pop(scope);
    const tn_memory_info after = memory_now();
    EXPECT_EQ(after.tensors, before.tensors);
    EXPECT_EQ(after.nodes, before.nodes);
}

// ---- Functions that leave something behind ----

void *never(void *, tn_tensor *) {
    ADD_FAILURE() << "hooks that the function left behind were called";
    return nullptr;
}
tn_tensor *as_is(void *, void *packed) { return static_cast<tn_tensor *>(packed); }
const tn_saved_hooks left = {never, as_is, nullptr, nullptr};

TEST_F(ActivationCheckpoint, EndsWhatItsFunctionBegan) {
    const Numbers expected = plain_gradients();
    const auto untidy = [](void *user, tn_tensor *const *in, int64_t n) {
        tn_tensor *y = layers(user, in, n);
        tn_scope_push();
        tn_saved_hooks_push(&left), tn_saved_hooks_push(&left);
        tn_set_grad_enabled(false);
        return y;
    };
    tn_generator_seed(nullptr, 5);
    tn_tensor *y = tn_activation_checkpoint(untidy, &user, {&x, 1});
    EXPECT_TRUE(tn_grad_enabled());
    EXPECT_EQ(tn_saved_hooks_pop(), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"none were pushed"}));
    tn_mul(x, x); // would be packed by hooks whose frame is gone
    ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
    EXPECT_EQ(take(), expected);
}

TEST_F(ActivationCheckpoint, DoesNotLetItsFunctionPopWhatItDidNotPush) {
    const auto pops = [](void *user, tn_tensor *const *in, int64_t n) {
        tn_saved_hooks_pop();
        return layers(user, in, n);
    };
    EXPECT_EQ(tn_activation_checkpoint(pops, &user, {&x, 1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_saved_hooks_pop", "leave the others"}));
    EXPECT_EQ(tn_saved_hooks_pop(), TN_ERR_INVALID);
    tn_clear_error();
}

TEST_F(ActivationCheckpoint, PassesOnWhatTheFunctionFailsWith) {
    auto fails = [](void *, tn_tensor *const *in, int64_t) { return tn_reshape(in[0], ints({7})); };
    EXPECT_EQ(tn_activation_checkpoint(fails, nullptr, {&x, 1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"reshape"}));
    auto nothing = [](void *, tn_tensor *const *, int64_t) -> tn_tensor * { return nullptr; };
    EXPECT_EQ(tn_activation_checkpoint(nothing, nullptr, {&x, 1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_activation_checkpoint", "gave no tensor"}));
    EXPECT_EQ(tn_activation_checkpoint(nullptr, nullptr, {&x, 1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"the function is NULL"}));
    EXPECT_EQ(tn_activation_checkpoint(fails, nullptr, {nullptr, 1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"list of tensors"}));
}

} // namespace
