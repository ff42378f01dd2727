// layers_test.cc - who stands in a call: order, re-entrance, parts, backward, errors; and what
// looks on at kernels, derivatives and tensors that no op made.
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

// ---- An op whose kernel does what kernels must not do ----

bool kernel_calls = false;
uint32_t kernel_flags = 0;

tn_status nosy_run(const void *, tn_call *c) {
    kernel_flags = c->flags;
    if (kernel_calls) {
        static tn_op_ref add = {"add", 0, 0};
        tn_value out, args[2] = {tn_value_none(), tn_value_none()};
        tn_ops_table()->call(&add, args, 2, &out, 1);
    }
    *static_cast<float *>(c->outs[0].view->data) = 1;
    return TN_OK;
}

tn_status start_nosy(const tn_host *host, tn_plugin *self) {
    static tn_op op;
    static tn_kernel kernel;
    op.size = sizeof op;
    op.schema = kernel.schema = "test_nosy(Tensor<F> x) -> Tensor y";
    op.shape_rule = "same";
    op.no_grad = "only a test";
    kernel.size = sizeof kernel;
    kernel.n_args = 1;
    kernel.device = "cpu";
    kernel.dtypes = TN_MASK(F32);
    kernel.run = nosy_run;
    const tn_status status = host->add_ops(self, &op, 1, sizeof op);
    return status ? status : host->add_kernels(self, &kernel, 1, sizeof kernel);
}

const tn_plugin_desc *query_nosy(const tn_hello *, const char **) {
    static const tn_plugin_desc desc = {
        sizeof(tn_plugin_desc), 0, "test_plugin", "0", start_nosy, nullptr, nullptr};
    return &desc;
}

tn_tensor *nosy(tn_tensor *x) {
    static tn_op_ref op = {"test_nosy", 0, 0};
    const tn_value arg = tn_value_tensor(x);
    tn_value out;
    return tn_op_call(&op, &arg, 1, &out, 1) ? nullptr : out.tensor;
}

class Layers : public Tenon {
  protected:
    static void SetUpTestSuite() {
        Tenon::SetUpTestSuite();
        ASSERT_EQ(tn_plugin_add(query_nosy), TN_OK) << tn_error_message();
    }
    void SetUp() override {
        Tenon::SetUp();
        kernel_calls = false;
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

// ---- Looking on ----

struct Watch {
    Words seen;
    bool refuses = false, calls = false;
    tn_layer layer = {};
    Watch() {
        layer.size = sizeof layer;
        layer.name = "watch";
        layer.user = this;
        layer.run = [](void *user, const tn_run *run) -> tn_status {
            Watch *w = static_cast<Watch *>(user);
            w->seen.push_back(std::string("run ") + run->op);
            if (w->calls) {
                tn_tensor *y = tn_ones(ints({1}), TN_F32);
                tn_add(y, y);
            }
            return w->refuses ? tn_status{TN_ERR_UNSUPPORTED} : tn_status{TN_OK};
        };
        layer.ran = [](void *user, const tn_run *run) {
            static_cast<Watch *>(user)->seen.push_back(
                std::string("ran ") + run->op + (run->status ? " badly" : "") + " " +
                std::to_string(run->call->args[0].view->sizes[0]));
        };
        layer.made = [](void *user, tn_tensor *t, const char *how) {
            EXPECT_NE(t, nullptr);
            static_cast<Watch *>(user)->seen.push_back(how);
        };
        layer.touched = [](void *user, tn_tensor *, const char *how) {
            static_cast<Watch *>(user)->seen.push_back(how);
            if (static_cast<Watch *>(user)->refuses) tn_raise(TN_ERR_UNSUPPORTED, "not now");
        };
        layer.derivative = [](void *user, const char *op, bool begins) {
            static_cast<Watch *>(user)->seen.push_back((begins ? "d " : "end d ") +
                                                       std::string(op));
        };
    }
};

TEST_F(Layers, LookOnAtKernels) {
    Watch w;
    tn_layer_push(&w.layer);
    tn_add(x, x);
    EXPECT_EQ(w.seen, (Words{"run add", "ran add 3"}));
    w.refuses = true;
    EXPECT_EQ(tn_add(x, x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {"add", "'watch'", "refused"}));
    w.refuses = false;
    EXPECT_EQ(numbers(tn_add(x, x)), (Numbers{2, 2, 2}));
    tn_layer_pop(&w.layer);
}

TEST_F(Layers, LookOnAtTensorsNoOpMade) {
    Watch w;
    tn_layer_push(&w.layer);
    const float one = 1;
    tn_zeros(ints({1}), TN_F32), tn_ones(ints({1}), TN_F32), tn_empty(ints({1}), TN_F32);
    tn_from(&one, ints({1}), TN_F32), tn_scalar(2), tn_detach(x);
    EXPECT_EQ(w.seen,
              (Words{"tn_zeros", "tn_ones", "tn_empty", "tn_from", "tn_scalar_of", "tn_detach"}));
    tn_layer_pop(&w.layer);
}

TEST_F(Layers, LookOnAtTheHost) {
    Watch w;
    tn_layer_push(&w.layer);
    float data[3] = {4, 5, 6};
    tn_read(x, data, sizeof data), tn_write(x, data, sizeof data), tn_data(x), tn_to_string(x);
    EXPECT_EQ(w.seen, (Words{"tn_read", "tn_write", "tn_data", "tn_to_string"}));
    w.refuses = true;
    data[0] = 9;
    EXPECT_EQ(tn_write(x, data, sizeof data), TN_ERR_UNSUPPORTED);
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {"not now"}));
    tn_layer_pop(&w.layer);
    EXPECT_EQ(numbers(x)[0], 1);
}

TEST_F(Layers, LookOnAtDerivatives) {
    Watch w;
    param(x);
    tn_tensor *y = tn_sum(tn_exp(x));
    tn_layer_push(&w.layer);
    tn_backward(y);
    tn_layer_pop(&w.layer);
    Words derivatives;
    for (const std::string &word : w.seen)
        if (word.find("d ") != std::string::npos) derivatives.push_back(word);
    EXPECT_EQ(derivatives, (Words{"d sum.dim", "end d sum.dim", "d exp", "end d exp"}));
}

TEST_F(Layers, CallNoOpsWhileTheyLookOn) {
    Watch w;
    w.calls = true;
    tn_layer_push(&w.layer);
    EXPECT_EQ(tn_mul(x, x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"add", "'watch'", "looks on"}));
    w.calls = false;
    EXPECT_NE(tn_mul(x, x), nullptr);
    tn_layer_pop(&w.layer);
}

TEST_F(Layers, KernelsThatCallOpsAreRefusedByName) {
    kernel_calls = true;
    EXPECT_EQ(nosy(x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"add", "kernel of 'test_nosy'", "'test_plugin'"}));
    kernel_calls = false;
    EXPECT_NE(nosy(x), nullptr);
    EXPECT_NE(tn_add(x, x), nullptr);
}

TEST_F(Layers, TellKernelsThatTheyAreCaptured) {
    tn_capture *c = tn_capture_begin();
    nosy(x);
    EXPECT_TRUE(kernel_flags & TN_CALL_CAPTURING);
    ASSERT_EQ(tn_capture_end(c), TN_OK) << tn_error_message();
    nosy(x);
    EXPECT_FALSE(kernel_flags & TN_CALL_CAPTURING);
    kernel_calls = true;
    EXPECT_EQ(tn_replay(c), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"add", "kernel of 'test_nosy'"}));
    EXPECT_EQ(tn_capture_free(c), TN_OK);
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
