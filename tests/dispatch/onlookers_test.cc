// onlookers_test.cc - layers that look on: at kernels, derivatives, tensors that no op made, and the
// host; and kernels that do what they must not do.
// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <tenon/hooks.h>
#include <tenon/layers.h>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

namespace {

using Words = std::vector<std::string>;

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
    static tn_op ops[2];
    static tn_kernel kernels[2];
    for (int i = 0; i < 2; i++) {
        ops[i].size = sizeof ops[i];
        ops[i].schema = kernels[i].schema =
            i ? "test_once(Tensor<F> x) -> Tensor y" : "test_nosy(Tensor<F> x) -> Tensor y";
        ops[i].shape_rule = "same";
        ops[i].no_grad = "only a test";
        kernels[i].size = sizeof kernels[i];
        kernels[i].n_args = 1;
        kernels[i].device = "cpu";
        kernels[i].dtypes = TN_MASK(F32);
        kernels[i].flags = i ? TN_KERNEL_NO_CAPTURE : 0;
        kernels[i].run = nosy_run;
    }
    const tn_status status = host->add_ops(self, ops, 2, sizeof ops[0]);
    return status ? status : host->add_kernels(self, kernels, 2, sizeof kernels[0]);
}

const tn_plugin_desc *query_nosy(const tn_hello *, const char **) {
    static const tn_plugin_desc desc = {
        sizeof(tn_plugin_desc), 0, "test_plugin", "0", start_nosy, nullptr, nullptr};
    return &desc;
}

tn_tensor *nosy(tn_tensor *x, const char *name = "test_nosy") {
    tn_op_ref op = {name, 0, 0};
    const tn_value arg = tn_value_tensor(x);
    tn_value out;
    return tn_op_call(&op, &arg, 1, &out, 1) ? nullptr : out.tensor;
}

class Onlookers : public Tenon {
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

TEST_F(Onlookers, LookOnAtKernels) {
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

TEST_F(Onlookers, LookOnAtTensorsNoOpMade) {
    Watch w;
    tn_layer_push(&w.layer);
    const float one = 1;
    tn_zeros(ints({1}), TN_F32), tn_ones(ints({1}), TN_F32), tn_empty(ints({1}), TN_F32);
    tn_from(&one, ints({1}), TN_F32), tn_scalar(2), tn_detach(x);
    EXPECT_EQ(w.seen,
              (Words{"tn_zeros", "tn_ones", "tn_empty", "tn_from", "tn_scalar_of", "tn_detach"}));
    tn_layer_pop(&w.layer);
}

TEST_F(Onlookers, LookOnAtTheHost) {
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

TEST_F(Onlookers, LookOnAtDerivatives) {
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

TEST_F(Onlookers, CallNoOpsWhileTheyLookOn) {
    Watch w;
    w.calls = true;
    tn_layer_push(&w.layer);
    EXPECT_EQ(tn_mul(x, x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"add", "'watch'", "looks on"}));
    w.calls = false;
    EXPECT_NE(tn_mul(x, x), nullptr);
    tn_layer_pop(&w.layer);
}

TEST_F(Onlookers, KernelsThatCallOpsAreRefusedByName) {
    kernel_calls = true;
    EXPECT_EQ(nosy(x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"add", "kernel of 'test_nosy'", "'test_plugin'"}));
    kernel_calls = false;
    EXPECT_NE(nosy(x), nullptr);
    EXPECT_NE(tn_add(x, x), nullptr);
}

TEST_F(Onlookers, TellKernelsThatTheyAreCaptured) {
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

TEST_F(Onlookers, LetKernelsRefuseToBeCaptured) {
    tn_capture *c = tn_capture_begin();
    EXPECT_EQ(nosy(x, "test_once"), nullptr);
    EXPECT_EQ(tn_capture_end(c), TN_ERR_UNSUPPORTED);
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {"test_plugin", "'test_once'", "repeated"}));
    EXPECT_EQ(tn_capture_free(c), TN_OK);
}

} // namespace
