// autograd_leaf_test.cc - how long a leaf's gradient lives: as long as somebody can ask for it, also
// if it was recorded and its history leads back to the leaf.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <atomic>
#include <thread>

#include <tenon/hooks.h>
#include <tenon/inspect.h>

namespace {

class Leaf : public Tenon {
  protected:
    void expect_only(const tn_memory_info &before) {
        const tn_memory_info after = memory_now();
        EXPECT_EQ(after.tensors, before.tensors);
        EXPECT_EQ(after.storages, before.storages);
        EXPECT_EQ(after.nodes, before.nodes);
    }
    static constexpr tn_backward_opts create = {nullptr, false, true};
};

tn_tensor *cube(tn_tensor *x) { return tn_sum(tn_mul(tn_mul(x, x), x)); }

TEST_F(Leaf, TakesARecordedGradientWithItWhenItsScopeEnds) {
    const tn_memory_info before = memory_now();
    const tn_scope scope = tn_scope_push();
    tn_tensor *x = param(from({1, 2}));
    ASSERT_EQ(tn_backward_with(cube(x), &create), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{3, 12}));
    tn_scope_pop(scope);
    expect_only(before);
}

TEST_F(Leaf, DoesSoWhenItsLastKeepEnds) {
    const tn_memory_info before = memory_now();
    tn_tensor *x = nullptr;
    {
        const tn_scope scope = tn_scope_push();
        x = tn_keep(tn_keep(param(from({1, 2}))));
        ASSERT_EQ(tn_backward_with(cube(x), &create), TN_OK) << tn_error_message();
        tn_scope_pop(scope);
    }
    tn_drop(x);
    {
        const tn_scope scope = tn_scope_push();
        EXPECT_EQ(grad(x), (Numbers{3, 12})) << "one keep is left";
        tn_scope_pop(scope);
    }
    tn_drop(x);
    expect_only(before);
}

TEST_F(Leaf, DoesSoWithOthersThatTheirGradientsHoldInTurn) {
    const tn_memory_info before = memory_now();
    const tn_scope scope = tn_scope_push();
    tn_tensor *x = param(from({1, 2})), *w = param(from({3, 4})), *v = param(from({5, 6}));
    for (int i = 0; i < 2; i++)
        ASSERT_EQ(tn_backward_with(cube(tn_mul(tn_mul(x, w), v)), &create), TN_OK);
    tn_backward_with(tn_sum(tn_mul(tn_grad_of(w), tn_grad_of(v))), &create);
    ASSERT_EQ(tn_error(), TN_OK) << tn_error_message();
    tn_scope_pop(scope);
    expect_only(before);
}

TEST_F(Leaf, LeavesAGradientThatSomebodyElseHolds) {
    const tn_memory_info before = memory_now();
    const tn_scope outer = tn_scope_push();
    tn_tensor *w = param(from({2, 3})), *g = nullptr, *second = nullptr;
    {
        const tn_scope scope = tn_scope_push();
        tn_tensor *x = param(from({1, 2}));
        ASSERT_EQ(tn_backward_with(cube(tn_mul(x, w)), &create), TN_OK) << tn_error_message();
        g = tn_sum(tn_grad_of(x)); // 3 w^3 x^2
        tn_scope_pop_with(scope, &g, 1);
    }
    ASSERT_EQ(tn_backward_wrt({&g, 1}, {&w, 1}, {nullptr, 0}, nullptr, &second), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(second), (Numbers{36, 324}));
    tn_scope_pop(outer);
    expect_only(before);
}

TEST_F(Leaf, KeepsNoGradientThatComesWhenNobodyCanAskForIt) {
    const tn_memory_info before = memory_now();
    const tn_scope outer = tn_scope_push();
    tn_tensor *y = nullptr;
    {
        const tn_scope scope = tn_scope_push();
        tn_tensor *x = param(from({1, 2}));
        y = cube(x);
        tn_scope_pop_with(scope, &y, 1);
    }
    ASSERT_EQ(tn_backward_with(y, &create), TN_OK) << tn_error_message();
    tn_scope_pop(outer);
    expect_only(before);
}

TEST_F(Leaf, ShowsItsGradientToAHookAllTheSame) {
    const tn_memory_info before = memory_now();
    const tn_scope outer = tn_scope_push();
    tn_tensor *y = nullptr;
    Numbers seen;
    {
        const tn_scope scope = tn_scope_push();
        tn_tensor *x = param(from({1, 2}));
        tn_accumulated_hook(
            x, [](void *user, tn_tensor *leaf) { *static_cast<Numbers *>(user) = grad(leaf); },
            &seen);
        y = cube(x);
        tn_scope_pop_with(scope, &y, 1);
    }
    ASSERT_EQ(tn_backward_with(y, &create), TN_OK) << tn_error_message();
    EXPECT_EQ(seen, (Numbers{3, 12}));
    tn_scope_pop(outer);
    expect_only(before);
}

TEST_F(Leaf, TakesAGradientWithItThatWasMadeToDependOnIt) {
    const tn_memory_info before = memory_now();
    const tn_scope scope = tn_scope_push();
    tn_tensor *x = param(from({1, 2}));
    ASSERT_EQ(tn_backward(cube(x)), TN_OK) << tn_error_message();
    tn_mul_(tn_grad_of(x), x);
    EXPECT_EQ(grad(x), (Numbers{3, 24}));
    tn_scope_pop(scope);
    expect_only(before);
}

TEST_F(Leaf, MayBeDroppedByAHookOfItsOwn) {
    const tn_memory_info before = memory_now();
    const tn_scope outer = tn_scope_push();
    tn_tensor *x = nullptr, *y = nullptr;
    {
        const tn_scope scope = tn_scope_push();
        x = tn_keep(param(from({1, 2})));
        y = cube(x);
        tn_scope_pop_with(scope, &y, 1);
    }
    tn_accumulated_hook(
        x, [](void *, tn_tensor *leaf) { EXPECT_EQ(tn_drop(leaf), TN_OK); }, nullptr);
    ASSERT_EQ(tn_backward_with(y, &create), TN_OK) << tn_error_message();
    tn_scope_pop(outer);
    expect_only(before);
}

TEST_F(Leaf, KeepsItsGradientWhileAViewOfItLives) {
    const tn_memory_info before = memory_now();
    const tn_scope outer = tn_scope_push();
    tn_tensor *v = nullptr;
    {
        const tn_scope scope = tn_scope_push();
        tn_tensor *x = param(from({1, 2}));
        v = tn_select(x, 0, 1);
        ASSERT_EQ(tn_backward_with(tn_mul(v, v), &create), TN_OK) << tn_error_message();
        tn_scope_pop_with(scope, &v, 1);
    }
    EXPECT_EQ(tn_item(v), 2);
    tn_scope_pop(outer);
    expect_only(before);
}

TEST_F(Leaf, IsLetGoByAThreadThatDidNothingElseBefore) {
    const tn_memory_info before = memory_now();
    const tn_scope scope = tn_scope_push();
    tn_tensor *y = tn_keep(tn_exp(cube(param(from({1, 2})))));
    tn_scope_pop(scope);
    std::thread([y] { EXPECT_EQ(tn_drop(y), TN_OK); }).join();
    expect_only(before);
}

// The leaf is held by whichever thread lets go of it last.
TEST_F(Leaf, MayBeLetGoByManyThreadsAtOnce) {
    const tn_memory_info before = memory_now();
    for (int round = 0; round < 100; round++) {
        tn_tensor *x = nullptr;
        const tn_scope scope = tn_scope_push();
        x = param(from({1, 2}));
        for (int i = 0; i < 3; i++) tn_keep(x);
        ASSERT_EQ(tn_backward_with(cube(x), &create), TN_OK) << tn_error_message();
        tn_scope_pop(scope);
        std::atomic<int> ready{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; i++)
            threads.emplace_back([&] {
                for (ready++; ready < 3;) {
                }
                EXPECT_EQ(tn_drop(x), TN_OK) << tn_error_message();
            });
        for (std::thread &t : threads) t.join();
    }
    expect_only(before);
}

TEST_F(Leaf, LosesNothingWhenThreadsAddToItsGradientAtOnce) {
    tn_tensor *x = param(from({1, 2}));
    const int rounds = 10000, n_threads = 4;
    std::vector<std::thread> threads;
    for (int t = 0; t < n_threads; t++)
        threads.emplace_back([x] {
            for (int i = 0; i < rounds; i++) {
                const tn_scope scope = tn_scope_push();
                EXPECT_EQ(tn_backward(tn_sum(x)), TN_OK) << tn_error_message();
                tn_scope_pop(scope);
            }
        });
    for (std::thread &t : threads) t.join();
    EXPECT_EQ(grad(x), (Numbers{rounds * n_threads, rounds * n_threads}));
}

// ---- Hooks and threads ----

tn_tensor *look(void *user, tn_tensor *) {
    ++*static_cast<std::atomic<int> *>(user);
    return nullptr;
}

TEST_F(Leaf, MayHaveHooksAddedAndRemovedWhileOtherThreadsRunThroughIt) {
    tn_tensor *x = param(from({1, 2})), *y = tn_mul(x, number(2)); // y's hooks are its node's
    std::atomic<int> calls{0};
    std::atomic<bool> stop{false};
    std::thread changes([&] {
        while (!stop)
            for (tn_tensor *t : {x, y}) {
                const uint64_t id = tn_grad_hook(t, look, &calls);
                EXPECT_NE(id, 0u) << tn_error_message();
                EXPECT_EQ(tn_hook_remove(t, id), TN_OK) << tn_error_message();
            }
    });
    const tn_backward_opts retain = {nullptr, true, false};
    for (int i = 0; i < 3000 || (calls == 0 && i < 300000); i++) {
        const tn_scope scope = tn_scope_push();
        EXPECT_EQ(tn_backward_with(tn_sum(y), &retain), TN_OK) << tn_error_message();
        tn_scope_pop(scope);
    }
    stop = true;
    changes.join();
    EXPECT_GT(calls, 0);
    tn_zero_grad(x);
}

} // namespace
