// autograd_hooks_test.cc - what backward calls on its way: hooks of tensors, nodes and leaves, saved
// tensors in the program's hands, anomaly mode.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <atomic>
#include <cmath>
#include <string>
#include <thread>

#include <tenon/hooks.h>

namespace {

class Hooks : public Tenon {};

// ---- Gradients ----

struct Log {
    std::vector<Numbers> seen;
    double factor = 1;
    tn_tensor *other = nullptr; // returned instead
};

tn_tensor *watch(void *user, tn_tensor *grad) {
    auto *log = static_cast<Log *>(user);
    log->seen.push_back(numbers(grad));
    if (log->other) return log->other;
    return log->factor == 1 ? nullptr : tn_mul(grad, number(log->factor));
}

void count(void *user, tn_tensor *) { ++*static_cast<int *>(user); }

TEST_F(Hooks, OfALeafSeeTheSumOfAllItsUsesOnce) {
    tn_tensor *x = param(from({1, 2}));
    Log log;
    ASSERT_NE(tn_grad_hook(x, watch, &log), 0u);
    ASSERT_EQ(tn_backward(tn_sum(tn_add(tn_mul(x, x), x))), TN_OK) << tn_error_message();
    EXPECT_EQ(log.seen, (std::vector<Numbers>{{3, 5}}));
    EXPECT_EQ(grad(x), (Numbers{3, 5}));
    tn_zero_grad(x);
}

TEST_F(Hooks, ExchangeTheGradientOfALeafBeforeItIsAdded) {
    tn_tensor *x = param(from({1, 2}));
    Log log;
    log.factor = 10;
    tn_grad_hook(x, watch, &log);
    for (int i = 0; i < 2; i++) ASSERT_EQ(tn_backward(tn_sum(x)), TN_OK) << tn_error_message();
    EXPECT_EQ(log.seen, (std::vector<Numbers>{{1, 1}, {1, 1}}));
    EXPECT_EQ(grad(x), (Numbers{20, 20}));
    tn_zero_grad(x);
}

TEST_F(Hooks, OfAResultSeeAllOfItsGradientAndChangeWhatGoesOn) {
    tn_tensor *x = param(from({1, 2})), *y = tn_mul(x, number(3));
    Log log;
    log.factor = -1;
    ASSERT_NE(tn_grad_hook(y, watch, &log), 0u);
    ASSERT_EQ(tn_backward(tn_sum(tn_add(y, tn_mul(y, y)))), TN_OK) << tn_error_message();
    EXPECT_EQ(log.seen, (std::vector<Numbers>{{7, 13}})); // 1 + 2 y
    EXPECT_EQ(grad(x), (Numbers{-21, -39}));
    tn_zero_grad(x);
}

TEST_F(Hooks, OutliveTheTensorTheyWereGivenTo) {
    tn_tensor *x = param(from({1, 2})), *z = nullptr;
    Log log;
    {
        const tn_scope scope = tn_scope_push();
        tn_tensor *y = tn_mul(x, number(3));
        tn_grad_hook(y, watch, &log);
        z = tn_sum(y);
        tn_scope_pop_with(scope, &z, 1);
    }
    ASSERT_EQ(tn_backward(z), TN_OK) << tn_error_message();
    EXPECT_EQ(log.seen.size(), 1u);
    tn_zero_grad(x);
}

TEST_F(Hooks, RunInTheOrderOfRegistrationEachOnWhatTheLastOneGave) {
    tn_tensor *x = param(from({1}));
    Log first, second;
    first.factor = 2, second.factor = 5;
    tn_grad_hook(x, watch, &first), tn_grad_hook(x, watch, &second);
    ASSERT_EQ(tn_backward(tn_sum(x)), TN_OK);
    EXPECT_EQ(second.seen, (std::vector<Numbers>{{2}}));
    EXPECT_EQ(grad(x), (Numbers{10}));
    tn_zero_grad(x);
}

TEST_F(Hooks, ApplyToTheGradientsThatAreAskedForByName) {
    tn_tensor *x = param(from({1, 2})), *y = tn_mul(x, number(3)), *grads[3];
    Log leaf, result;
    leaf.factor = 10, result.factor = 100;
    tn_grad_hook(x, watch, &leaf), tn_grad_hook(y, watch, &result);
    tn_tensor *out = tn_sum(y), *in[] = {x, y, x};
    ASSERT_EQ(tn_backward_wrt({&out, 1}, {in, 3}, {nullptr, 0}, nullptr, grads), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(grads[0]), (Numbers{3000, 3000}));
    EXPECT_EQ(numbers(grads[1]), (Numbers{100, 100}));
    EXPECT_EQ(numbers(grads[2]), (Numbers{3000, 3000}));
    EXPECT_EQ(leaf.seen.size(), 1u);
    EXPECT_EQ(tn_grad_of(x), nullptr);
}

TEST_F(Hooks, AreGoneWhenRemoved) {
    tn_tensor *x = param(from({1})), *y = tn_neg(x);
    Log log;
    const uint64_t on_x = tn_grad_hook(x, watch, &log), on_y = tn_grad_hook(y, watch, &log);
    EXPECT_EQ(tn_hook_remove(x, on_y), TN_ERR_NOTFOUND);
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"tn_hook_remove"}));
    EXPECT_EQ(tn_hook_remove(x, on_x), TN_OK);
    EXPECT_EQ(tn_hook_remove(y, on_y), TN_OK);
    ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK);
    EXPECT_TRUE(log.seen.empty());
    tn_zero_grad(x);
}

struct Changes { // what a hook does to the list it is in
    tn_tensor *on = nullptr;
    std::vector<uint64_t> gone;
    int calls = 0, added = 0;
};

tn_tensor *change(void *user, tn_tensor *) {
    auto *c = static_cast<Changes *>(user);
    c->calls++;
    for (const uint64_t id : c->gone) EXPECT_EQ(tn_hook_remove(c->on, id), TN_OK);
    c->gone.clear();
    if (c->added++ < 9) tn_grad_hook(c->on, change, c);
    return nullptr;
}

TEST_F(Hooks, MayRemoveEachOtherAndAddMoreWhileTheyRun) {
    const tn_backward_opts retain = {nullptr, true, false};
    for (const bool leaf : {true, false}) {
        tn_tensor *x = param(from({1, 2})), *t = leaf ? x : tn_mul(x, number(3));
        Changes c;
        Log never;
        c.on = t;
        const uint64_t self = tn_grad_hook(t, change, &c);
        c.gone = {self, tn_grad_hook(t, watch, &never)};
        tn_tensor *y = tn_sum(t);
        ASSERT_EQ(tn_backward_with(y, &retain), TN_OK) << tn_error_message();
        EXPECT_TRUE(never.seen.empty());
        EXPECT_EQ(c.calls, 1) << "what a hook adds begins with the next pass";
        c.added = 9;
        ASSERT_EQ(tn_backward(y), TN_OK) << tn_error_message();
        EXPECT_EQ(c.calls, 2);
        tn_zero_grad(x);
    }
}

TEST_F(Hooks, OfANodeGiveOnlyGradientsThatFit) {
    tn_tensor *x = param(from({2, 1})), *y = tn_max_dim(x, 0, nullptr).values;
    const auto misfit = [](void *, const char *, tn_tensor **grads, int64_t n) {
        for (int64_t i = 0; i < n; i++)
            if (!grads[i]) grads[i] = full({7}, 1);
    };
    tn_node_hook(y, false, misfit, nullptr);
    EXPECT_EQ(tn_backward(y), TN_ERR_SHAPE);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"a hook returned", "[7]"}));
}

TEST_F(Hooks, MayBeRemovedFromALeafThatAsksForNoGradientAnyMore) {
    tn_tensor *x = param(from({1, 2}));
    Log log;
    const uint64_t id = tn_grad_hook(x, watch, &log);
    tn_set_requires_grad(x, false);
    EXPECT_EQ(tn_grad_hook(x, watch, &log), 0u);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"tn_grad_hook"}));
    EXPECT_EQ(tn_hook_remove(x, id), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_hook_remove(x, id), TN_ERR_NOTFOUND);
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"tn_hook_remove"}));
}

TEST_F(Hooks, ThatReturnAnotherShapeOrFailEndThePassAndLeaveTheLeafAlone) {
    tn_tensor *x = param(from({1, 2}));
    Log log;
    log.other = full({3}, 1);
    tn_grad_hook(x, watch, &log);
    EXPECT_EQ(tn_backward(tn_sum(x)), TN_ERR_SHAPE);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"hook", "f64[3]", "f64[2]"}));
    EXPECT_EQ(tn_grad_of(x), nullptr);
    tn_tensor *y = tn_neg(x);
    tn_grad_hook(
        y,
        [](void *, tn_tensor *) -> tn_tensor * {
            tn_raise(TN_ERR_INVALID, "no more");
            return nullptr;
        },
        nullptr);
    EXPECT_EQ(tn_backward(tn_sum(y)), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"in the backward of 'neg'", "no more"}));
    EXPECT_EQ(tn_grad_of(x), nullptr);
}

TEST_F(Hooks, RefuseTensorsWithoutGradientsAndFunctionsThatAreNull) {
    EXPECT_EQ(tn_grad_hook(from({1}), watch, nullptr), 0u);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"tn_grad_hook", "does not require grad"}));
    EXPECT_EQ(tn_grad_hook(param(from({1})), nullptr, nullptr), 0u);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_grad_hook"}));
    EXPECT_EQ(tn_grad_hook(nullptr, watch, nullptr), 0u);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_grad_hook"}));
    tn_tensor *x = param(from({1}));
    int n = 0;
    EXPECT_EQ(tn_accumulated_hook(tn_neg(x), count, &n), 0u);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"no leaf"}));
    EXPECT_EQ(tn_node_hook(
                  x, true, [](void *, const char *, tn_tensor **, int64_t) {}, nullptr),
              0u);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"no op made it"}));
}

TEST_F(Hooks, OfALeafRunAfterItsGradientWasAdded) {
    tn_tensor *x = param(from({1, 2}));
    struct State {
        Numbers at;
    } state;
    ASSERT_NE(tn_accumulated_hook(
                  x,
                  [](void *user, tn_tensor *leaf) {
                      static_cast<State *>(user)->at = grad(leaf);
                      tn_zero_grad(leaf); // as an optimizer step that needs no gradient afterwards
                  },
                  &state),
              0u);
    ASSERT_EQ(tn_backward(tn_sum(tn_mul(x, x))), TN_OK) << tn_error_message();
    EXPECT_EQ(state.at, (Numbers{2, 4}));
    EXPECT_EQ(tn_grad_of(x), nullptr);
}

TEST_F(Hooks, OfANodeSeeItsNameAndMayExchangeGradientsOnBothSides) {
    tn_tensor *x = param(from({1, 2})), *w = param(from({3, 4})), *y = tn_mul(x, w);
    std::string names;
    auto before = [](void *user, const char *op, tn_tensor **grads, int64_t n) {
        *static_cast<std::string *>(user) += std::string(op) + std::to_string(n) + " ";
        grads[0] = tn_mul(grads[0], number(2));
    };
    auto after = [](void *user, const char *op, tn_tensor **grads, int64_t n) {
        *static_cast<std::string *>(user) += std::string(op) + std::to_string(n);
        grads[1] = tn_mul(grads[1], number(10));
    };
    ASSERT_NE(tn_node_hook(y, false, before, &names), 0u);
    ASSERT_NE(tn_node_hook(y, true, after, &names), 0u);
    ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
    EXPECT_EQ(names, "mul1 mul2");
    EXPECT_EQ(grad(x), (Numbers{6, 8}));
    EXPECT_EQ(grad(w), (Numbers{20, 40}));
    tn_zero_grad(x), tn_zero_grad(w);
}

TEST_F(Hooks, OnALeafOfSeveralThreadsSeeEachPassApart) {
    tn_tensor *x = tn_keep(param(from({1})));
    struct State {
        std::atomic<int> calls{0};
    } state;
    tn_grad_hook(
        x,
        [](void *user, tn_tensor *g) -> tn_tensor * {
            if (numbers(g) == Numbers{2}) static_cast<State *>(user)->calls++;
            return nullptr;
        },
        &state);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([x] {
            for (int k = 0; k < 50; k++) {
                const tn_scope scope = tn_scope_push();
                EXPECT_EQ(tn_backward(tn_sum(tn_add(x, x))), TN_OK) << tn_error_message();
                tn_scope_pop(scope);
            }
        });
    for (std::thread &t : threads) t.join();
    EXPECT_EQ(state.calls, 200);
    EXPECT_EQ(grad(x), (Numbers{400}));
    tn_zero_grad(x);
    tn_drop(x);
}

// ---- Saved tensors ----

struct Store {
    int packed = 0, unpacked = 0, dropped = 0;
    bool fail_pack = false, wrong_shape = false;
};

void *store_pack(void *user, tn_tensor *t) { // in half the bits
    auto *s = static_cast<Store *>(user);
    s->packed++;
    if (s->fail_pack) tn_raise(TN_ERR_IO, "the disk is full");
    return tn_keep(tn_to(t, TN_F32));
}

tn_tensor *store_unpack(void *user, void *packed) {
    auto *s = static_cast<Store *>(user);
    s->unpacked++;
    return s->wrong_shape ? full({7}, 1) : tn_to(static_cast<tn_tensor *>(packed), TN_F64);
}

void store_drop(void *user, void *packed) {
    static_cast<Store *>(user)->dropped++;
    tn_drop(static_cast<tn_tensor *>(packed));
}

class SavedTensors : public Tenon {
  protected:
    Store store; // outlives the graphs of a test
    const tn_saved_hooks hooks = {store_pack, store_unpack, store_drop, &store};
};

TEST_F(SavedTensors, AreKeptByHooksInsteadOfTheTape) {
    tn_tensor *x = param(from({1, 2})), *w = param(from({3, 4}));
    ASSERT_EQ(tn_saved_hooks_push(&hooks), TN_OK);
    tn_tensor *y = tn_sum(tn_exp(tn_mul(x, w)));
    ASSERT_EQ(tn_saved_hooks_pop(), TN_OK);
    EXPECT_EQ(store.packed, 3); // x, w, and exp's result
    ASSERT_EQ(tn_backward(y), TN_OK) << tn_error_message();
    EXPECT_EQ(store.unpacked, 3);
    EXPECT_EQ(store.dropped, 3);
    EXPECT_NEAR(grad(x)[0], 3 * std::exp(3), 1e-4);
    EXPECT_NEAR(grad(w)[1], 2 * std::exp(8), 1e-2);
    tn_zero_grad(x), tn_zero_grad(w);
}

TEST_F(SavedTensors, AreDroppedWithAGraphThatNeverRuns) {
    tn_tensor *x = param(from({1, 2}));
    {
        const tn_scope scope = tn_scope_push();
        tn_saved_hooks_push(&hooks);
        tn_mul(x, x);
        tn_saved_hooks_pop();
        tn_scope_pop(scope);
    }
    EXPECT_EQ(store.packed, 2);
    EXPECT_EQ(store.dropped, 2);
    EXPECT_EQ(store.unpacked, 0);
}

TEST_F(SavedTensors, InHooksGoThroughDoubleBackward) {
    tn_tensor *x = param(from({2})), *y, *first, *second;
    tn_saved_hooks_push(&hooks);
    y = tn_mul(tn_mul(x, x), x);
    tn_saved_hooks_pop();
    const tn_backward_opts create = {nullptr, false, true};
    ASSERT_EQ(tn_backward_wrt({&y, 1}, {&x, 1}, {nullptr, 0}, &create, &first), TN_OK)
        << tn_error_message();
    ASSERT_EQ(tn_backward_wrt({&first, 1}, {&x, 1}, {nullptr, 0}, nullptr, &second), TN_OK)
        << tn_error_message();
    EXPECT_EQ(numbers(first), (Numbers{12}));
    EXPECT_EQ(numbers(second), (Numbers{12}));
}

TEST_F(SavedTensors, WhoseHooksFailFailTheCallOrThePass) {
    tn_tensor *x = param(from({1, 2}));
    tn_saved_hooks_push(&hooks);
    store.fail_pack = true;
    EXPECT_EQ(tn_mul(x, x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_IO, {"the disk is full"}));
    EXPECT_EQ(tn_exp(x), nullptr); // a result is kept: the kernel has run
    EXPECT_TRUE(error_is(TN_ERR_IO, {"the disk is full"}));
    store.fail_pack = false, store.wrong_shape = true;
    tn_tensor *y = tn_sum(tn_mul(x, x));
    tn_saved_hooks_pop();
    EXPECT_EQ(tn_backward(y), TN_ERR_SHAPE);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"'mul'", "packed as f64[2]", "unpacked as f64[7]"}));
    EXPECT_EQ(tn_saved_hooks_pop(), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_saved_hooks_pop"}));
    EXPECT_EQ(tn_saved_hooks_push(nullptr), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"pack and unpack"}));
}

void *busy_pack(void *, tn_tensor *t) { // so many ops that every cache of this thread is used up
    for (int64_t n = 1; n <= 2500; n++) {
        const tn_scope scope = tn_scope_push();
        tn_neg(full({n % 60 + 1, n / 60 + 1}, 1));
        tn_scope_pop(scope);
    }
    return tn_keep(t);
}

tn_tensor *plain_unpack(void *, void *packed) { return static_cast<tn_tensor *>(packed); }
void plain_drop(void *, void *packed) { tn_drop(static_cast<tn_tensor *>(packed)); }

TEST_F(SavedTensors, HaveHooksThatMayCallAsManyOpsAsTheyLike) {
    tn_tensor *x = param(from({1, 2}));
    for (int i = 0; i < 3; i++) tn_mul(x, x); // known to this thread
    const tn_saved_hooks busy = {busy_pack, plain_unpack, plain_drop, nullptr};
    ASSERT_EQ(tn_saved_hooks_push(&busy), TN_OK);
    tn_tensor *y = tn_sum(tn_mul(x, x));
    ASSERT_EQ(tn_saved_hooks_pop(), TN_OK);
    ASSERT_EQ(tn_backward(y), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{2, 4}));
    tn_zero_grad(x);
}

TEST_F(SavedTensors, OfALeafChangedSinceAreRefusedWhereTheLeafItselfIsNeeded) {
    tn_tensor *x = param(from({2})), *dx = nullptr;
    tn_saved_hooks_push(&hooks);
    tn_tensor *y = tn_mul(x, x);
    tn_saved_hooks_pop();
    const bool was = tn_set_grad_enabled(false);
    tn_fill_(x, tn_float(5));
    tn_set_grad_enabled(was);
    const tn_backward_opts create = {nullptr, false, true};
    EXPECT_EQ(tn_backward_wrt({&y, 1}, {&x, 1}, {nullptr, 0}, &create, &dx), TN_ERR_MODIFIED);
    EXPECT_TRUE(error_is(TN_ERR_MODIFIED, {"changed in place"}));
    ASSERT_EQ(tn_backward(y), TN_OK) << tn_error_message(); // what was packed is as it was
    EXPECT_EQ(grad(x), (Numbers{4}));
    tn_zero_grad(x);
}

TEST_F(SavedTensors, HaveHooksThatEndWithTheirThread) {
    std::thread([&] { EXPECT_EQ(tn_saved_hooks_push(&hooks), TN_OK); }).join();
    tn_tensor *x = param(from({1}));
    tn_mul(x, x);
    EXPECT_EQ(store.packed, 0);
}

// ---- Anomaly mode ----

class Anomaly : public Tenon {
  protected:
    void SetUp() override {
        Tenon::SetUp();
        EXPECT_FALSE(tn_set_anomaly_mode(true));
    }
    void TearDown() override {
        EXPECT_TRUE(tn_set_anomaly_mode(false));
        Tenon::TearDown();
    }
};

TEST_F(Anomaly, NamesTheCallWhereANaNBegins) {
    tn_tensor *x = param(from({1, 0, 4})), *y = tn_sqrt(x);
    tn_tensor *loss = tn_sum(tn_mul(y, from({1, 0, 1}))); // 0 * inf in the backward of sqrt
    EXPECT_EQ(tn_backward(loss), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"in the backward of 'sqrt'", "gradient of 'x' has a NaN",
                                       "element 1 of 3", "begins here", "sqrt(x f64[3])",
                                       "recorded call", "called from"}));
    EXPECT_EQ(tn_grad_of(x), nullptr);
}

TEST_F(Anomaly, SaysIfTheForwardValueWasANaNAlready) {
    tn_tensor *x = param(from({-1, 4}));
    EXPECT_EQ(tn_backward(tn_sum(tn_log(x))), TN_OK) << tn_error_message(); // 1 / -1 is a number
    tn_zero_grad(x);
    tn_tensor *y = tn_mul(tn_log(x), x);
    EXPECT_EQ(tn_backward(tn_sum(y)), TN_ERR_GRAD);
    EXPECT_TRUE(
        error_is(TN_ERR_GRAD, {"in the backward of 'mul'", "an argument already held a NaN"}));
    tn_tensor *z = tn_sqrt(x);
    EXPECT_EQ(tn_backward(tn_sum(z)), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"'sqrt'", "its result already held a NaN"}));
    tn_zero_grad(x);
}

TEST_F(Anomaly, SaysIfTheNaNCameInWithTheStartGradient) {
    tn_tensor *x = param(from({1, 2})), *y = tn_mul(x, number(2));
    tn_backward_opts opts = {};
    opts.grad = from({1, NAN});
    EXPECT_EQ(tn_backward_with(y, &opts), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"'mul'", "came in already had one"}));
}

TEST_F(Anomaly, WorksForCallsRecordedBeforeItWasOn) {
    tn_set_anomaly_mode(false);
    tn_tensor *x = param(from({0})), *loss = tn_sum(tn_mul(tn_sqrt(x), number(0)));
    tn_set_anomaly_mode(true);
    EXPECT_EQ(tn_backward(loss), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"'sqrt'", "before the forward pass"}));
}

TEST_F(Anomaly, LetsAPassWithoutNaNThrough) {
    tn_tensor *x = param(from({1, 2}));
    ASSERT_EQ(tn_backward(tn_sum(tn_exp(x))), TN_OK) << tn_error_message();
    EXPECT_NEAR(grad(x)[1], std::exp(2), 1e-12);
    tn_zero_grad(x);
}

} // namespace
