// layers_test.cc - who stands in a call: order, re-entrance, parts, backward, errors.
// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <thread>
#include <vector>

#include <tenon/hooks.h>
#include <tenon/layers.h>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

namespace {

using Words = std::vector<std::string>;

// A layer that writes down what it sees, and then does what `answer` says.
struct Spy {
    Words seen;
    tn_layer layer = {};
    enum Answer { Pass, Fail, Raise, Nothing, Recurse, Twice, Pop, Push } answer = Pass;

    explicit Spy(const char *name, uint32_t flags = 0) {
        layer.size = sizeof layer;
        layer.flags = flags;
        layer.name = name;
        layer.user = this;
        layer.call = call;
    }
    tn_status act(tn_op_ref *op, const tn_value *args, uint32_t n, tn_value *outs,
                  uint32_t n_outs) {
        switch (answer) {
        case Fail:
            return TN_ERR_SHAPE;
        case Raise:
            return tn_raise(TN_ERR_INDEX, "it is Monday");
        case Nothing:
            return TN_OK;
        case Recurse:
            tn_mul(args[0].tensor, args[0].tensor);
            break;
        case Twice:
            tn_layer_pass(op, args, n, outs, n_outs);
            break;
        case Pop:
            return tn_layer_pop(&layer);
        case Push:
            return tn_layer_push(&layer);
        case Pass:
            break;
        }
        return tn_layer_pass(op, args, n, outs, n_outs);
    }
    static tn_status call(void *user, tn_op_ref *op, const tn_value *args, uint32_t n,
                          tn_value *outs, uint32_t n_outs) {
        Spy *spy = static_cast<Spy *>(user);
        spy->seen.push_back(op->name);
        return spy->act(op, args, n, outs, n_outs);
    }
    Words take() {
        Words all;
        all.swap(seen);
        return all;
    }
};

class Layers : public Tenon {
  protected:
    void SetUp() override {
        Tenon::SetUp();
        x = tn_ones(ints({3}), TN_F32);
    }
    tn_tensor *x;
};

// ---- The head of a call ----

TEST_F(Layers, SeeCallsFromTheInnermostOut) {
    Words order;
    struct Named {
        Words *order;
        std::string name;
    } in = {&order, "in"}, out = {&order, "out"};
    tn_layer layers[2] = {};
    for (int i = 0; i < 2; i++) {
        layers[i].size = sizeof(tn_layer);
        layers[i].name = i ? "in" : "out";
        layers[i].user = i ? &in : &out;
        layers[i].call = [](void *user, tn_op_ref *op, const tn_value *args, uint32_t n,
                            tn_value *outs, uint32_t n_outs) {
            Named *me = static_cast<Named *>(user);
            me->order->push_back(me->name);
            return tn_layer_pass(op, args, n, outs, n_outs);
        };
        ASSERT_EQ(tn_layer_push(&layers[i]), TN_OK);
    }
    EXPECT_EQ(numbers(tn_add(x, x)), (Numbers{2, 2, 2}));
    EXPECT_EQ(order, (Words{"in", "out"}));
    EXPECT_EQ(tn_layer_pop(&layers[1]), TN_OK);
    EXPECT_EQ(tn_layer_pop(&layers[0]), TN_OK);
    tn_add(x, x);
    EXPECT_EQ(order.size(), 2u);
}

TEST_F(Layers, MayAnswerInPlaceOfTheCall) {
    tn_tensor *seven = full({3}, 7);
    tn_layer layer = {};
    layer.size = sizeof layer;
    layer.name = "seven";
    layer.user = seven;
    layer.call = [](void *user, tn_op_ref *, const tn_value *, uint32_t, tn_value *outs, uint32_t) {
        outs[0] = tn_value_tensor(static_cast<tn_tensor *>(user));
        return tn_status{TN_OK};
    };
    ASSERT_EQ(tn_layer_push(&layer), TN_OK);
    EXPECT_EQ(tn_add(x, x), seven);
    EXPECT_EQ(tn_layer_pop(&layer), TN_OK);
}

TEST_F(Layers, MayChangeTheCall) {
    tn_layer layer = {};
    layer.size = sizeof layer;
    layer.name = "mul for add";
    layer.call = [](void *, tn_op_ref *, const tn_value *args, uint32_t n, tn_value *outs,
                    uint32_t n_outs) {
        static tn_op_ref mul = {"mul", 0, 0};
        return tn_layer_pass(&mul, args, n, outs, n_outs);
    };
    ASSERT_EQ(tn_layer_push(&layer), TN_OK);
    EXPECT_EQ(numbers(tn_add(x, x)), (Numbers{1, 1, 1}));
    EXPECT_EQ(tn_layer_pop(&layer), TN_OK);
}

TEST_F(Layers, DoNotSeeWhatTheyCallThemselves) {
    Spy out("out"), in("in");
    in.answer = Spy::Recurse;
    ASSERT_EQ(tn_layer_push(&out.layer), TN_OK);
    ASSERT_EQ(tn_layer_push(&in.layer), TN_OK);
    tn_add(x, x);
    EXPECT_EQ(in.seen, Words{"add"});
    EXPECT_EQ(out.seen, (Words{"mul", "add"}));
    tn_layer_pop(&in.layer), tn_layer_pop(&out.layer);
}

TEST_F(Layers, MayPassACallOnTwice) {
    Spy out("out"), in("in");
    in.answer = Spy::Twice;
    tn_layer_push(&out.layer), tn_layer_push(&in.layer);
    tn_add(x, x);
    EXPECT_EQ(out.seen, (Words{"add", "add"}));
    tn_layer_pop(&in.layer), tn_layer_pop(&out.layer);
}

TEST_F(Layers, SeePartsOfACallOnlyIfTheyAskForThem) {
    Spy all("all", TN_LAYER_PARTS), whole("whole");
    tn_layer_push(&all.layer), tn_layer_push(&whole.layer);
    EXPECT_EQ(numbers(tn_pairwise_distance(x, x, nullptr)).size(), 1u);
    EXPECT_EQ(whole.take(), (Words{"pairwise_distance"}));
    const Words seen = all.take();
    EXPECT_GT(seen.size(), 2u);
    EXPECT_EQ(seen[0], "pairwise_distance");
    tn_layer_pop(&whole.layer), tn_layer_pop(&all.layer);
}

TEST_F(Layers, SeeBackwardOnlyIfTheyAskForIt) {
    Spy all("all", TN_LAYER_PARTS | TN_LAYER_BACKWARD), forward("forward", TN_LAYER_PARTS);
    param(x);
    tn_layer_push(&all.layer), tn_layer_push(&forward.layer);
    tn_tensor *loss = tn_sum(tn_mul(x, x));
    EXPECT_EQ(forward.take(), (Words{"mul", "sum", "sum.dim"}));
    EXPECT_EQ(all.take(), (Words{"mul", "sum", "sum.dim"}));
    tn_backward(loss);
    EXPECT_EQ(forward.take(), Words{});
    EXPECT_GT(all.take().size(), 1u);
    tn_add(x, x);
    EXPECT_EQ(forward.take(), Words{"add"});
    tn_layer_pop(&forward.layer), tn_layer_pop(&all.layer);
}

TEST_F(Layers, AreOfOneThread) {
    Spy spy("spy");
    tn_layer_push(&spy.layer);
    std::thread other([] {
        const tn_scope scope = tn_scope_push();
        tn_zeros(ints({3}), TN_F32);
        tn_tensor *y = tn_ones(ints({3}), TN_F32);
        tn_add(y, y);
        tn_scope_pop(scope);
    });
    other.join();
    EXPECT_EQ(spy.seen, Words{});
    tn_layer_pop(&spy.layer);
}

TEST_F(Layers, LeftByAThreadEndWithIt) {
    static Spy spy("left behind");
    std::thread other([] { EXPECT_EQ(tn_layer_push(&spy.layer), TN_OK); });
    other.join();
    tn_add(x, x);
    EXPECT_EQ(spy.seen, Words{});
}

TEST_F(Layers, PushedByAHookEndWithIt) {
    static Spy spy("hook");
    param(x);
    tn_grad_hook(
        x,
        [](void *, tn_tensor *) -> tn_tensor * {
            EXPECT_EQ(tn_layer_push(&spy.layer), TN_OK);
            return nullptr;
        },
        nullptr);
    tn_backward(tn_sum(x));
    tn_add(x, x);
    EXPECT_EQ(spy.seen, Words{});
    EXPECT_EQ(tn_layer_pop(&spy.layer), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_layer_pop", "no such layer"}));
}

// ---- What goes wrong ----

TEST_F(Layers, PoppedOutOfOrderAreAnErrorThatNamesBoth) {
    Spy out("out"), in("in");
    tn_layer_push(&out.layer), tn_layer_push(&in.layer);
    EXPECT_EQ(tn_layer_pop(&out.layer), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_layer_pop", "'out'", "'in'"}));
    EXPECT_EQ(tn_layer_push(&out.layer), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_layer_push", "'out'", "already"}));
    tn_layer_pop(&in.layer), tn_layer_pop(&out.layer);
    EXPECT_EQ(tn_layer_pop(&out.layer), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"no such layer"}));
}

TEST_F(Layers, ThatAreNoneAreRefused) {
    EXPECT_EQ(tn_layer_push(nullptr), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"NULL"}));
    tn_layer layer = {};
    layer.name = "small";
    EXPECT_EQ(tn_layer_push(&layer), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"size"}));
    layer.size = sizeof layer, layer.name = nullptr;
    EXPECT_EQ(tn_layer_push(&layer), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"no name"}));
    EXPECT_EQ(tn_layer_pass(nullptr, nullptr, 0, nullptr, 0), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_layer_pass", "no layer"}));
}

TEST_F(Layers, ThatFailAreNamed) {
    Spy spy("gloomy");
    tn_layer_push(&spy.layer);
    spy.answer = Spy::Fail;
    EXPECT_EQ(tn_add(x, x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"add", "'gloomy'", "gave no reason"}));
    spy.answer = Spy::Raise;
    EXPECT_EQ(tn_add(x, x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"Monday"}));
    spy.answer = Spy::Nothing;
    EXPECT_EQ(tn_add(x, x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"add", "'gloomy'", "without an answer"}));
    spy.answer = Spy::Pass;
    EXPECT_EQ(numbers(tn_add(x, x)), (Numbers{2, 2, 2}));
    tn_layer_pop(&spy.layer);
}

TEST_F(Layers, DoNotChangeTheStackDuringACall) {
    Spy spy("busy");
    tn_layer_push(&spy.layer);
    for (Spy::Answer answer : {Spy::Pop, Spy::Push}) {
        spy.answer = answer;
        EXPECT_EQ(tn_add(x, x), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"'busy'", "stands in a call"}));
    }
    tn_layer_pop(&spy.layer);
}

TEST_F(Layers, LeaveErrorsOfCallsAsTheyAre) {
    Spy spy("spy");
    tn_layer_push(&spy.layer);
    EXPECT_EQ(tn_add(x, tn_ones(ints({4}), TN_F32)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"add"}));
    tn_op_ref none = {"no_such_op", 0, 0};
    tn_value out;
    EXPECT_EQ(tn_op_call(&none, nullptr, 0, &out, 1), TN_ERR_NOTFOUND);
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"no_such_op"}));
    EXPECT_EQ(spy.seen, Words{"add"});
    tn_layer_pop(&spy.layer);
}

TEST_F(Layers, MayBeManyAndSeeOnlyWhatTheyAskFor) {
    Spy spies[3] = {Spy("a"), Spy("b", TN_LAYER_PARTS), Spy("c")};
    for (Spy &spy : spies) {
        spy.layer.user = &spy;
        ASSERT_EQ(tn_layer_push(&spy.layer), TN_OK);
    }
    tn_pairwise_distance(x, x, nullptr);
    EXPECT_EQ(spies[0].seen, Words{"pairwise_distance"});
    EXPECT_GT(spies[1].seen.size(), 2u);
    EXPECT_EQ(spies[2].seen, Words{"pairwise_distance"});
    for (int i = 2; i >= 0; i--) EXPECT_EQ(tn_layer_pop(&spies[i].layer), TN_OK);
}

TEST_F(Layers, PassOnWithAnErrorPendingDoesNothing) {
    tn_layer layer = {};
    layer.size = sizeof layer;
    layer.name = "raises, then passes on";
    layer.call = [](void *, tn_op_ref *op, const tn_value *args, uint32_t n, tn_value *outs,
                    uint32_t n_outs) {
        tn_raise(TN_ERR_IO, "disk on fire");
        return tn_layer_pass(op, args, n, outs, n_outs);
    };
    Spy below("below");
    tn_layer_push(&below.layer), tn_layer_push(&layer);
    EXPECT_EQ(tn_add(x, x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_IO, {"disk"}));
    EXPECT_EQ(below.seen, Words{});
    EXPECT_EQ(tn_layer_pop(&layer), TN_OK);
    tn_add(x, x);
    EXPECT_EQ(below.seen, Words{"add"}); // and no later call is taken for one that was passed on
    tn_layer_pop(&below.layer);
}

TEST_F(Layers, AreForPluginsToo) {
    const tn_layers *table = nullptr;
    static const tn_layers *found;
    static auto start = [](const tn_host *host, tn_plugin *self) -> tn_status {
        found = static_cast<const tn_layers *>(host->interface(self, "tn.layers/0"));
        static tn_op op;
        op.size = sizeof op;
        op.schema = "test_layered(Tensor<T> x) -> Tensor y";
        op.shape_rule = "same";
        op.no_grad = "only a test";
        return host->add_ops(self, &op, 1, sizeof op);
    };
    ASSERT_EQ(tn_plugin_add([](const tn_hello *, const char **) -> const tn_plugin_desc * {
                  static const tn_plugin_desc desc = {
                      sizeof(tn_plugin_desc),
                      0,
                      "test_layers",
                      "0",
                      [](const tn_host *h, tn_plugin *p) { return start(h, p); },
                      nullptr,
                      nullptr};
                  return &desc;
              }),
              TN_OK)
        << tn_error_message();
    table = found;
    ASSERT_NE(table, nullptr);
    EXPECT_EQ(table->size, sizeof(tn_layers));
    Spy spy("plugin's");
    EXPECT_EQ(table->push(&spy.layer), TN_OK);
    tn_add(x, x);
    EXPECT_EQ(spy.seen, Words{"add"});
    EXPECT_EQ(table->pop(&spy.layer), TN_OK);
}

} // namespace
