// functional_faults_test.cc - what watches a backward pass, and what runs one for the program, while
// the n-th allocation fails, for every n, once and for ever.
// SPDX-License-Identifier: Apache-2.0
#include <tenon/activation_checkpoint.h>

#include <tenon/functional.h>
#include <tenon/hooks.h>
#include <tenon/inspect.h>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

extern "C" {
#include "core/base/heap.h"
}

namespace {

tn_tensor *wave(void *, tn_tensor *const *in, int64_t) {
    return tn_sum(tn_mul(in[0], tn_tanh(tn_mul(in[0], in[0]))));
}

tn_tensor *twice(void *, tn_tensor *grad) { return tn_add(grad, grad); }
void count_leaf(void *, tn_tensor *) {}
void look(void *, const char *, tn_tensor **, int64_t) {}

int packed; // and not yet dropped

void *pack(void *, tn_tensor *t) {
    packed++;
    return tn_keep(t);
}
tn_tensor *unpack(void *, void *value) { return static_cast<tn_tensor *>(value); }
void drop(void *, void *value) {
    packed--;
    tn_drop(static_cast<tn_tensor *>(value));
}

tn_tensor *input() {
    tn_tensor *x = from({0.5, -1});
    if (x) tn_set_requires_grad(x, true);
    return x;
}

void hooks() {
    const tn_saved_hooks saved = {pack, unpack, drop, nullptr};
    tn_tensor *x = input();
    tn_grad_hook(x, twice, nullptr);
    tn_accumulated_hook(x, count_leaf, nullptr);
    const bool pushed = tn_saved_hooks_push(&saved) == TN_OK;
    tn_tensor *y = tn_exp(tn_mul(x, x)), *z = tn_sum(y);
    if (pushed) tn_saved_hooks_pop();
    tn_grad_hook(y, twice, nullptr);
    tn_node_hook(y, false, look, nullptr);
    tn_node_hook(y, true, look, nullptr);
    if (!tn_error()) tn_backward(z);
}

void anomaly() {
    tn_tensor *x = input();
    const bool was = tn_set_anomaly_mode(true);
    tn_tensor *y = tn_sum(tn_exp(tn_mul(x, x)));
    if (!tn_error()) tn_backward(y);
    tn_set_anomaly_mode(was);
}

void checkpoint() {
    tn_tensor *x = input();
    if (!x) return;
    tn_tensor *y = tn_activation_checkpoint(wave, nullptr, {&x, 1});
    if (y) tn_backward(y);
}

void functions() {
    tn_tensor *x = input(), *v = from({1, 2}), *out[2] = {};
    if (tn_error()) return;
    tn_vjp(wave, nullptr, {&x, 1}, nullptr, nullptr, out);
    tn_jvp(wave, nullptr, {&x, 1}, {&v, 1}, nullptr, out);
    tn_hvp(wave, nullptr, {&x, 1}, {&v, 1}, nullptr, out);
    tn_hessian(wave, nullptr, {&x, 1}, nullptr, out);
}

class FunctionalFaults : public Tenon, public ::testing::WithParamInterface<void (*)()> {
  protected:
    void TearDown() override {
        tni_heap_fail_after(0, false);
        Tenon::TearDown();
    }
};

TEST_P(FunctionalFaults, LeaveNothingBehind) {
    for (const bool forever : {false, true}) {
        uint64_t n = 1;
        for (bool more = true; more && !HasFailure(); n++) {
            SCOPED_TRACE("allocation " + std::to_string(n) + (forever ? " and later" : " alone"));
            const tn_memory_info before = memory_now();
            const tn_scope scope = tn_scope_push();
            tni_heap_fail_after(n, forever);
            GetParam()();
            more = tni_heap_fail_after(0, false) >= n;
            EXPECT_TRUE(tn_error() == TN_OK || tn_error() == TN_ERR_NOMEM) << tn_error_message();
            if (GetParam() != anomaly) { // what cannot be read has no NaN
                EXPECT_TRUE(tn_error() != TN_OK || !more || !forever);
            }
            tn_clear_error();
            EXPECT_TRUE(tn_grad_enabled());
            EXPECT_EQ(tn_saved_hooks_pop(), TN_ERR_INVALID) << "saved-tensor hooks stayed";
            tn_clear_error();
            tn_scope_pop(scope);
            const tn_memory_info after = memory_now();
            EXPECT_EQ(packed, 0) << "of what was packed, not all was dropped";
            EXPECT_EQ(after.tensors, before.tensors) << "tensors leaked";
            EXPECT_EQ(after.storages, before.storages) << "storages leaked";
            EXPECT_EQ(after.nodes, before.nodes) << "tape nodes leaked";
        }
        EXPECT_GT(n, 10u);
    }
}

INSTANTIATE_TEST_SUITE_P(Of, FunctionalFaults,
                         ::testing::Values(hooks, anomaly, checkpoint, functions));

} // namespace
