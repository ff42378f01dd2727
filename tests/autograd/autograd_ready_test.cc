// autograd_ready_test.cc - gradients in order of readiness: hooks of leaves run as soon as the last
// edge that a pass takes to the leaf has delivered.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include <tenon/hooks.h>

namespace {

using Words = std::vector<std::string>;

struct Event { // what a hook writes down
    Words *log;
    std::string word;
};

void note(void *user, tn_tensor *) {
    const auto *e = static_cast<Event *>(user);
    e->log->push_back(e->word);
}

void note_node(void *user, const char *, tn_tensor **, int64_t) { note(user, nullptr); }

tn_tensor *note_gradient(void *user, tn_tensor *) {
    note(user, nullptr);
    return nullptr;
}

class Ready : public Tenon {
  protected:
    Words log;
    std::vector<std::unique_ptr<Event>> events;

    Event *event(const std::string &word) {
        events.push_back(std::make_unique<Event>(Event{&log, word}));
        return events.back().get();
    }
    // "w" when the gradient of w has been added.
    uint64_t watch(tn_tensor *leaf, const std::string &word) {
        return tn_accumulated_hook(leaf, note, event(word));
    }
    // Before the derivative of the op that made t runs.
    tn_tensor *run(tn_tensor *t, const std::string &word) {
        EXPECT_NE(tn_node_hook(t, false, note_node, event(word)), 0u) << tn_error_message();
        return t;
    }
    // tanh(x w) layer by layer; "1", "2", ... when the matrix product of a layer is derived.
    tn_tensor *layers(tn_tensor *x, const std::vector<tn_tensor *> &weights) {
        for (size_t i = 0; i < weights.size(); i++)
            x = tn_tanh(run(tn_matmul(x, weights[i]), std::to_string(i + 1)));
        return tn_sum(x);
    }
    std::vector<tn_tensor *> four_weights() {
        std::vector<tn_tensor *> w;
        for (int i = 1; i <= 4; i++) {
            w.push_back(param(full({3, 3}, 0.1 * i)));
            watch(w.back(), "w" + std::to_string(i));
        }
        return w;
    }
};

TEST_F(Ready, WeightsOfTheLastLayersComeFirstEachBeforeAnEarlierLayerIsDerived) {
    const std::vector<tn_tensor *> w = four_weights();
    ASSERT_EQ(tn_backward(layers(full({2, 3}, 1), w)), TN_OK) << tn_error_message();
    EXPECT_EQ(log, (Words{"4", "w4", "3", "w3", "2", "w2", "1", "w1"}));
}

TEST_F(Ready, AHookSeesTheWholeGradientThatThePassGives) {
    tn_tensor *w = param(from({1, 2}));
    struct Seen {
        std::vector<Numbers> at;
    } seen;
    tn_accumulated_hook(
        w, [](void *user, tn_tensor *leaf) { static_cast<Seen *>(user)->at.push_back(grad(leaf)); },
        &seen);
    for (int i = 0; i < 2; i++)
        ASSERT_EQ(tn_backward(tn_sum(tn_mul(tn_mul(w, w), w))), TN_OK) << tn_error_message();
    EXPECT_EQ(seen.at, (std::vector<Numbers>{{3, 12}, {6, 24}}));
}

TEST_F(Ready, AWeightOfSeveralLayersComesOnceAfterItsLastEdge) {
    const std::vector<tn_tensor *> w = four_weights();
    tn_tensor *loss = layers(full({2, 3}, 1), {w[0], w[1], w[0], w[3]});
    ASSERT_EQ(tn_backward(loss), TN_OK) << tn_error_message();
    EXPECT_EQ(log, (Words{"4", "w4", "3", "2", "w2", "1", "w1"}));
    EXPECT_EQ(tn_grad_of(w[2]), nullptr) << "not used: no gradient, no hook";
}

// y = x; the derivative has nothing for `unused`.
tn_tensor *first_of(tn_tensor *x, tn_tensor *unused) {
    static const tn_op row = [] {
        tn_op r = {};
        r.size = sizeof r;
        r.schema = "t_first(Tensor<F> x, Tensor<F> unused) -> Tensor y";
        r.contract = "", r.shape_rule = "broadcast", r.keep = "", r.samples = "x[2], unused[2]";
        r.doc = "of a test";
        r.derivative = [](tn_grad_ctx *c) {
            tn_ops_table()->grad_set(c, "x", tn_ops_table()->grad_out(c, 0));
        };
        r.decompose = [](const tn_value *args, uint32_t, tn_value *outs, uint32_t) {
            outs[0] = tn_value_tensor(tn_neg(tn_neg(args[0].tensor)));
            return tn_error();
        };
        EXPECT_EQ(tn_op_add(&r), TN_OK) << tn_error_message();
        return r;
    }();
    static tn_op_ref ref = {"t_first", 0, 0};
    const tn_value args[] = {tn_value_tensor(x), tn_value_tensor(unused)};
    tn_value out = tn_value_none();
    EXPECT_EQ(row.size, sizeof row);
    tn_op_call(&ref, args, 2, &out, 1);
    return out.tensor;
}

TEST_F(Ready, AnEdgeThatDeliversNothingHoldsALeafBackNoLongerThanUntilItsTurn) {
    tn_tensor *w = param(from({2})), *v = param(from({3}));
    watch(w, "w"), watch(v, "v");
    tn_tensor *old = run(tn_neg(v), "old"), *lost = run(tn_neg(w), "lost");
    tn_tensor *square = run(tn_mul(old, old), "square");
    tn_tensor *y = first_of(tn_mul(w, w), lost);
    ASSERT_EQ(tn_backward(tn_sum(tn_add(y, square))), TN_OK) << tn_error_message();
    EXPECT_EQ(log, (Words{"square", "w", "old", "v"}));
    EXPECT_EQ(grad(w), (Numbers{4}));
}

TEST_F(Ready, ALeafMayBeTheOutputItself) {
    tn_tensor *w = param(from({2}));
    watch(w, "w");
    ASSERT_EQ(tn_backward(w), TN_OK) << tn_error_message();
    EXPECT_EQ(log, (Words{"w"}));
    EXPECT_EQ(grad(w), (Numbers{1}));
}

TEST_F(Ready, GradientsAskedForByNameComeInThatOrderToo) {
    std::vector<tn_tensor *> w;
    for (int i = 1; i <= 3; i++) {
        w.push_back(param(full({3, 3}, 0.1 * i)));
        tn_grad_hook(w.back(), note_gradient, event("g" + std::to_string(i)));
        watch(w.back(), "never");
    }
    tn_tensor *loss = layers(full({2, 3}, 1), w), *grads[2];
    tn_tensor *asked[] = {w[0], w[2]};
    ASSERT_EQ(tn_backward_wrt({&loss, 1}, {asked, 2}, {nullptr, 0}, nullptr, grads), TN_OK)
        << tn_error_message();
    EXPECT_EQ(log, (Words{"3", "g3", "2", "1", "g1"}));
    EXPECT_EQ(tn_grad_of(w[0]), nullptr);
}

TEST_F(Ready, ARecordedPassGivesGradientsWithAHistoryToItsHooks) {
    tn_tensor *w = param(from({3}));
    struct State {
        bool recorded = false;
    } state;
    tn_accumulated_hook(
        w,
        [](void *user, tn_tensor *leaf) {
            static_cast<State *>(user)->recorded = tn_requires_grad(tn_grad_of(leaf));
        },
        &state);
    const tn_backward_opts create = {nullptr, false, true};
    ASSERT_EQ(tn_backward_with(tn_sum(tn_mul(w, tn_mul(w, w))), &create), TN_OK)
        << tn_error_message();
    EXPECT_TRUE(state.recorded);
    tn_tensor *first = tn_grad_of(w), *second = nullptr;
    ASSERT_EQ(tn_backward_wrt({&first, 1}, {&w, 1}, {nullptr, 0}, nullptr, &second), TN_OK);
    EXPECT_EQ(numbers(second), (Numbers{18}));
    tn_zero_grad(w);
}

// ---- Hooks that fail, or change hooks ----

TEST_F(Ready, AHookThatFailsEndsThePassAndWhatWasCompleteStays) {
    const std::vector<tn_tensor *> w = four_weights();
    tn_accumulated_hook(
        w[2], [](void *, tn_tensor *) { tn_raise(TN_ERR_IO, "the network is down"); }, nullptr);
    EXPECT_EQ(tn_backward(layers(full({2, 3}, 1), w)), TN_ERR_IO);
    EXPECT_TRUE(error_is(TN_ERR_IO, {"the network is down"}));
    EXPECT_EQ(log, (Words{"4", "w4", "3", "w3"}));
    for (size_t i = 0; i < 4; i++) EXPECT_EQ(tn_grad_of(w[i]) != nullptr, i >= 2) << i;
}

struct Other {
    tn_tensor *leaf;
    uint64_t hook;
    Event *added;
};

TEST_F(Ready, AHookRemovedByAnotherHasNoTurnAndOneThatIsAddedBeginsWithTheNextPass) {
    tn_tensor *early = param(full({3, 3}, 1)), *late = param(full({3, 3}, 1));
    Other other = {early, watch(early, "removed"), event("added")};
    watch(early, "early");
    const uint64_t self = tn_accumulated_hook(
        late,
        [](void *user, tn_tensor *) {
            auto *o = static_cast<Other *>(user);
            tn_hook_remove(o->leaf, o->hook);
            tn_accumulated_hook(o->leaf, note, o->added);
        },
        &other);
    ASSERT_EQ(tn_backward(layers(full({2, 3}, 1), {early, late})), TN_OK) << tn_error_message();
    EXPECT_EQ(log, (Words{"2", "1", "early"}));
    EXPECT_EQ(tn_hook_remove(late, self), TN_OK);
    log.clear();
    ASSERT_EQ(tn_backward(layers(full({2, 3}, 1), {early, late})), TN_OK) << tn_error_message();
    EXPECT_EQ(log, (Words{"2", "1", "early", "added"}));
}

void remove_all(void *user, tn_tensor *) {
    auto *list = static_cast<std::vector<Other> *>(user);
    for (const Other &o : *list) EXPECT_EQ(tn_hook_remove(o.leaf, o.hook), TN_OK);
    list->clear();
}

TEST_F(Ready, ALeafThatLosesAllItsHooksInThePassGetsItsGradient) {
    tn_tensor *early = param(full({2, 2}, 1)), *late = param(full({2, 2}, 1));
    std::vector<Other> list;
    list.push_back({early, watch(early, "never"), nullptr});
    list.push_back({late, tn_accumulated_hook(late, remove_all, &list), nullptr});
    ASSERT_EQ(tn_backward(tn_sum(tn_matmul(tn_matmul(full({1, 2}, 1), early), late))), TN_OK)
        << tn_error_message();
    EXPECT_TRUE(log.empty());
    EXPECT_EQ(grad(early), (Numbers{2, 2, 2, 2}));
    EXPECT_EQ(grad(late), (Numbers{2, 2, 2, 2}));
}

// ---- Passes inside hooks ----

void backward_of_square(void *user, tn_tensor *) {
    auto *x = static_cast<tn_tensor *>(user);
    const bool was = tn_set_grad_enabled(true);
    tn_tensor *y = tn_sum(tn_mul(x, x));
    tn_set_grad_enabled(was);
    tn_backward(y);
}

TEST_F(Ready, AHookMayBeginAPassOverOtherLeaves) {
    tn_tensor *w = param(from({2})), *v = param(from({5}));
    watch(v, "v");
    tn_accumulated_hook(w, backward_of_square, v);
    ASSERT_EQ(tn_backward(tn_sum(w)), TN_OK) << tn_error_message();
    EXPECT_EQ(log, (Words{"v"}));
    EXPECT_EQ(grad(v), (Numbers{10}));
}

TEST_F(Ready, AHookMayNotBeginAPassThatLeadsToItsLeafNorByWayOfAnother) {
    tn_tensor *w = param(from({2})), *v = param(from({5, 5}));
    const uint64_t direct = tn_accumulated_hook(w, backward_of_square, w);
    EXPECT_EQ(tn_backward(tn_sum(w)), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"a hook of the leaf f64[1]", "that leads to that leaf"}));
    tn_hook_remove(w, direct);
    tn_accumulated_hook(w, backward_of_square, v);
    tn_accumulated_hook(v, backward_of_square, w);
    EXPECT_EQ(tn_backward(tn_sum(v)), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"a hook of the leaf f64[2]"}));
}

tn_tensor *running; // whose pass is under way

TEST_F(Ready, AHookMayNotBeginAPassOverNodesOfItsOwn) {
    tn_tensor *w = param(from({2})), *y = tn_sum(tn_mul(w, w));
    running = y;
    tn_accumulated_hook(
        w, [](void *, tn_tensor *) { tn_backward(running); }, nullptr);
    EXPECT_EQ(tn_backward(y), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"is being run by another backward pass"}));
}

// ---- Threads ----

TEST_F(Ready, PassesOfTwoThreadsCountTheirOwnEdgesToAWeightTheyShare) {
    tn_tensor *w = tn_keep(param(from({1})));
    struct State {
        std::atomic<int> gradients{0}, accumulated{0};
    } state;
    tn_grad_hook(
        w,
        [](void *user, tn_tensor *g) -> tn_tensor * {
            if (numbers(g) == Numbers{2}) static_cast<State *>(user)->gradients++;
            return nullptr;
        },
        &state);
    tn_accumulated_hook(
        w, [](void *user, tn_tensor *) { static_cast<State *>(user)->accumulated++; }, &state);
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; i++)
        threads.emplace_back([w] {
            for (int k = 0; k < 100; k++) {
                const tn_scope scope = tn_scope_push();
                EXPECT_EQ(tn_backward(tn_sum(tn_add(tn_neg(w), tn_mul(w, number(3))))), TN_OK)
                    << tn_error_message();
                tn_scope_pop(scope);
            }
        });
    for (std::thread &t : threads) t.join();
    EXPECT_EQ(state.gradients, 200);
    EXPECT_EQ(state.accumulated, 200);
    EXPECT_EQ(grad(w), (Numbers{400}));
    tn_zero_grad(w);
    tn_drop(w);
}

} // namespace
