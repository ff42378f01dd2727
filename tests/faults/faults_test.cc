// faults_test.cc - a training step whose n-th allocation fails, for every n, once and for ever; and
// what a forked child may do. Runs with TENON_ALLOC=system, so that no pool hides an allocation.
// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

#include <tenon/check.h>
#include <tenon/device.h>
#include <tenon/hooks.h>
#include <tenon/inspect.h>

#include "tests/support/mlp.h"

extern "C" {
#include "core/base/heap.h"
}

namespace {

class Faults : public Tenon {};

struct Wanted {
    double loss;
    std::vector<unsigned char> bits;
};

void expect_live(const tn_memory_info &before) {
    const tn_memory_info after = memory_now();
    EXPECT_EQ(after.tensors, before.tensors) << "tensors leaked";
    EXPECT_EQ(after.storages, before.storages) << "storages leaked";
    EXPECT_EQ(after.nodes, before.nodes) << "tape nodes leaked";
}

// True if the fault was reached: past the last allocation the step simply works.
bool step_fails_well(Mlp *net, tn_tensor *x, tn_tensor *target, uint64_t n, bool forever,
                     const Wanted &want) {
    net->reset();
    const std::vector<unsigned char> start = net->bits();
    const tn_memory_info before = memory_now();
    tni_heap_fail_after(n, forever);
    const double loss = net->step(x, target);
    const bool reached = tni_heap_fail_after(0, false) >= n;
    const tn_status status = tn_error();
    const std::string text = tn_error_message();
    tn_clear_error();
    if (status) {
        EXPECT_EQ(status, TN_ERR_NOMEM) << text;
        EXPECT_NE(text, "");
        EXPECT_EQ(net->bits(), start) << "a failed step changed the weights: " << text;
    } else {
        EXPECT_EQ(loss, want.loss);
        EXPECT_EQ(net->bits(), want.bits);
    }
    EXPECT_TRUE(tn_grad_enabled());
    net->forget_gradients();
    expect_live(before);
    net->reset();
    EXPECT_EQ(net->step(x, target), want.loss) << "the next step: " << tn_error_message();
    EXPECT_EQ(net->bits(), want.bits);
    return reached;
}

Wanted wanted(Mlp *net, tn_tensor *x, tn_tensor *target) {
    net->reset();
    const double loss = net->step(x, target);
    EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
    return {loss, net->bits()};
}

class FaultsOf : public Faults, public ::testing::WithParamInterface<const char *> {
  protected:
    void SetUp() override {
        Faults::SetUp();
        ASSERT_EQ(tn_use_provider(GetParam()), TN_OK) << tn_error_message();
    }
    void TearDown() override {
        tni_heap_fail_after(0, false);
        tn_use_provider(nullptr);
        Faults::TearDown();
    }
};

// A step like many before it: plans exist, tensors and tape do not.
TEST_P(FaultsOf, AWarmStepSurvivesEveryFailedAllocation) {
    Mlp net;
    tn_tensor *x = Mlp::noise({6, Mlp::inputs}, 9), *target = Mlp::labels(6);
    const Wanted want = wanted(&net, x, target);
    for (const bool forever : {false, true}) {
        uint64_t n = 1;
        while (step_fails_well(&net, x, target, n, forever, want) && !HasFailure()) n++;
        SCOPED_TRACE("allocation " + std::to_string(n) + (forever ? " and all later" : " alone"));
        EXPECT_GT(n, 20u) << "with TENON_ALLOC=system a step makes many allocations";
    }
}

// Every n gets a batch size never seen before: nothing is planned yet.
TEST_P(FaultsOf, AFirstStepSurvivesEveryFailedAllocation) {
    static int64_t batch = 7;
    Mlp net;
    for (const bool forever : {false, true})
        for (uint64_t n = 1, more = true; more && !HasFailure(); n++, batch++) {
            SCOPED_TRACE("allocation " + std::to_string(n) +
                         (forever ? " and all later" : " alone"));
            const tn_scope scope = tn_scope_push();
            tn_tensor *x = Mlp::noise({batch, Mlp::inputs}, 9), *target = Mlp::labels(batch);
            net.reset();
            tni_heap_fail_after(n, forever);
            net.step(x, target);
            more = tni_heap_fail_after(0, false) >= n;
            EXPECT_TRUE(tn_error() == TN_OK || tn_error() == TN_ERR_NOMEM) << tn_error_message();
            EXPECT_TRUE(tn_error() == TN_ERR_NOMEM || !more || !forever);
            tn_clear_error();
            const Wanted want = wanted(&net, x, target); // the same call works afterwards
            EXPECT_FALSE(std::isnan(want.loss));
            const Wanted again = wanted(&net, x, target);
            EXPECT_EQ(want.bits, again.bits);
            tn_scope_pop(scope);
        }
}

INSTANTIATE_TEST_SUITE_P(Providers, FaultsOf, ::testing::Values("cpu_ref", "cpu_blas"));

// Every op on its own, on first sight and again.
TEST_F(Faults, EveryOpSurvivesEveryFailedAllocation) {
    for (const Op &op : all_ops()) {
        SCOPED_TRACE(op.name);
        for (uint64_t n = 1, more = true; more && !HasFailure(); n++) {
            const tn_scope scope = tn_scope_push();
            Args args = sample(op, 0, TN_F64, n);
            if (args.status) args = sample(op, 0, TN_I64, n);
            ASSERT_EQ(args.status, TN_OK);
            const tn_memory_info before = memory_now();
            const tn_scope inner = tn_scope_push();
            tn_value outs[TNI_MAX_RESULTS] = {};
            tni_heap_fail_after(n, true);
            const tn_status status = call(op, args.values, outs);
            more = tni_heap_fail_after(0, false) >= n;
            EXPECT_EQ(status, tn_status(more ? TN_ERR_NOMEM : 0))
                << n << ": " << tn_error_message();
            tn_clear_error();
            tn_scope_pop(inner);
            expect_live(before);
            tn_scope_pop(scope);
        }
    }
}

void count(void *user, tn_tensor *) { ++*static_cast<int *>(user); }

TEST_F(Faults, APassWithHooksIntoMemoryThatWasSetSurvivesEveryFailedAllocation) {
    for (uint64_t n = 1, more = true; more && !HasFailure(); n++) {
        const tn_scope scope = tn_scope_push();
        tn_tensor *w = param(full({3}, 2)), *view = full({3}, 0);
        const tn_memory_info before = memory_now();
        const tn_scope inner = tn_scope_push();
        int runs = 0;
        tni_heap_fail_after(n, true);
        tn_grad_set(w, view);
        tn_accumulated_hook(w, count, &runs);
        if (!tn_error()) tn_backward(tn_sum(tn_mul(w, w)));
        more = tni_heap_fail_after(0, false) >= n;
        EXPECT_EQ(tn_error(), tn_status(more ? TN_ERR_NOMEM : 0))
            << n << ": " << tn_error_message();
        tn_clear_error();
        EXPECT_EQ(runs, more ? 0 : 1);
        EXPECT_EQ(numbers(view), more ? (Numbers{0, 0, 0}) : (Numbers{4, 4, 4}));
        tn_scope_pop(inner);
        expect_live(before);
        tn_scope_pop(scope);
    }
}

// ---- A forked child ----

struct Entry {
    const char *name;
    void (*call)();
};

tn_tensor *theirs, *leaf; // made before the fork

tn_tensor *square(void *, tn_tensor *const *in, int64_t) { return tn_mul(in[0], in[0]); }

const Entry entries[] = {
    {"tn_version", [] { tn_version(); }},
    {"tn_raise", [] { tn_raise(TN_ERR_FORKED, "a test"); }},
    {"tn_scope_push", [] { tn_scope_pop(tn_scope_push()); }},
    {"tn_scope_pop_with", [] { tn_scope_pop_with(tn_scope_push(), nullptr, 0); }},
    {"tn_keep", [] { tn_drop(tn_keep(theirs)); }},
    {"tn_empty",
     [] {
         tn_empty(ints({2, 2}), TN_F32);
     }},
    {"tn_zeros",
     [] {
         tn_zeros(ints({2, 2}), TN_F32);
     }},
    {"tn_full",
     [] {
         tn_full(ints({300, 300}), tn_float(1), TN_F32);
     }},
    {"tn_scalar", [] { tn_scalar(1); }},
    {"tn_from", [] { tn_from("abcd", ints({4}), TN_U8); }},
    {"tn_rank", [] { tn_rank(theirs), tn_size(theirs, 0), tn_numel(theirs); }},
    {"tn_data", [] { tn_data(theirs); }},
    {"tn_item", [] { tn_item(theirs); }},
    {"tn_read",
     [] {
         double x[1];
         tn_read(theirs, x, sizeof x);
     }},
    {"tn_write",
     [] {
         double x[1] = {1};
         tn_write(theirs, x, sizeof x);
     }},
    {"tn_to_string", [] { tn_to_string(theirs); }},
    {"tn_matmul", [] { tn_matmul(theirs, theirs); }},
    {"tn_add", [] { tn_add(theirs, theirs); }},
    {"tn_op_count", [] { tn_op_count(); }},
    {"tn_op_find",
     [] {
         tn_op_info info = {};
         info.size = sizeof info;
         tn_op_find("add", &info);
     }},
    {"tn_op_at",
     [] {
         tn_op_info info = {};
         info.size = sizeof info;
         tn_op_at(0, &info);
     }},
    {"tn_op_providers", [] { tn_op_providers("add", "cpu"); }},
    {"tn_op_sample",
     [] {
         tn_value v[16];
         uint32_t n;
         tn_op_sample("add", 0, TN_F32, 1, v, &n);
     }},
    {"tn_op_gradcheck", [] { tn_op_gradcheck("mul", 0, 1, nullptr); }},
    {"tn_gradcheck",
     [] {
         tn_gradcheck(square, nullptr, {&leaf, 1}, nullptr);
     }},
    {"tn_use_provider", [] { tn_use_provider("cpu_ref"); }},
    {"tn_last_provider", [] { tn_last_provider(); }},
    {"tn_set_deterministic", [] { tn_set_deterministic(true); }},
    {"tn_set_threads", [] { tn_set_threads(2), tn_threads(); }},
    {"tn_generator_new", [] { tn_generator_free(tn_generator_new(1)); }},
    {"tn_generator_seed", [] { tn_generator_seed(nullptr, 1); }},
    {"tn_generator_position",
     [] { tn_generator_set_position(nullptr, tn_generator_position(nullptr)); }},
    {"tn_use_generator", [] { tn_use_generator(nullptr); }},
    {"tn_requires_grad", [] { tn_requires_grad(theirs), tn_is_leaf(theirs); }},
    {"tn_set_requires_grad", [] { tn_set_requires_grad(theirs, true); }},
    {"tn_detach", [] { tn_detach(theirs); }},
    {"tn_backward", [] { tn_backward(leaf); }},
    {"tn_zero_grad", [] { tn_grad_of(leaf), tn_zero_grad(leaf); }},
    {"tn_grad_set", [] { tn_grad_set(leaf, nullptr); }},
    {"tn_grad_hook",
     [] {
         const auto hook = [](void *, tn_tensor *) -> tn_tensor * { return nullptr; };
         tn_hook_remove(leaf, tn_grad_hook(leaf, hook, nullptr));
     }},
    {"tn_saved_hooks_push",
     [] {
         const tn_saved_hooks hooks = {[](void *, tn_tensor *t) -> void * { return t; },
                                       [](void *, void *t) { return static_cast<tn_tensor *>(t); },
                                       nullptr, nullptr};
         tn_saved_hooks_push(&hooks), tn_saved_hooks_pop();
     }},
    {"tn_set_anomaly_mode", [] { tn_set_anomaly_mode(tn_anomaly_mode()); }},
    {"tn_plugin_load", [] { tn_plugin_load("/nowhere/at/all.so"); }},
    {"tn_plugin_scan",
     [] {
         int64_t n;
         tn_plugin_scan(&n);
     }},
    {"tn_plugin_find",
     [] {
         tn_plugin_info info = {};
         info.size = sizeof info;
         tn_plugin_find("cpu_ref", &info), tn_plugin_find("/dev/null", &info);
     }},
    {"tn_plugin_why",
     [] {
         tn_plugin_why(
             "cpu_ref", [](void *, const char *, bool, const char *) {}, nullptr);
     }},
    {"tn_plugin_paths", [] { tn_plugin_paths(); }},
    {"tn_device_count", [] { tn_device_count(); }},
    {"tn_device_at",
     [] {
         tn_device_info info = {};
         info.size = sizeof info;
         tn_device_at(0, &info);
     }},
    {"tn_memory_stats",
     [] {
         tn_memory_info info = {};
         info.size = sizeof info;
         tn_memory_stats(&info);
     }},
    {"tn_memory_trim", [] { tn_memory_trim(); }},
    {"tn_memory_reset_peak", [] { tn_memory_reset_peak(); }},
    {"tn_memory_set_cache_limit", [] { tn_memory_set_cache_limit(1 << 20); }},
};

// What the child is at, for the parent to read; shared memory.
struct Progress {
    char entry[64], wrong[256];
};

[[noreturn]] void child(Progress *p) {
    alarm(20); // a deadlock ends here, by signal
    for (const Entry &e : entries) {
        snprintf(p->entry, sizeof p->entry, "%s", e.name);
        e.call();
        const tn_status status = tn_error();
        if (status != TN_OK && status != TN_ERR_FORKED && !p->wrong[0])
            snprintf(p->wrong, sizeof p->wrong, "%s: %s", e.name, tn_error_message());
        tn_clear_error();
    }
    _exit(p->wrong[0] ? 1 : 0);
}

TEST_F(Faults, AnOpThatFindsNoMemoryIsNamed) {
    tn_tensor *x = tn_expand(tn_ones(ints({1}), TN_F32), ints({INT64_C(1) << 45}));
    EXPECT_EQ(tn_neg(x), nullptr);
    EXPECT_TRUE(
        error_is(TN_ERR_NOMEM, {"neg: no memory", "140737488355328 bytes (128 TiB)", "limit"}));
    EXPECT_EQ(tn_softmax(x, 0), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_NOMEM, {"softmax: ", "no memory for a tensor"}));
}

TEST_F(Faults, AForkedChildIsToldSoAndNeverHangs) {
    void *shared =
        mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(shared, MAP_FAILED);
    auto *progress = static_cast<Progress *>(shared);
    std::atomic<bool> stop{false};
    theirs = full({1, 1}, 3), leaf = param(full({300, 300}, 3));
    std::thread busy([&] { // takes and leaves every lock all the time
        for (int64_t i = 1; !stop; i++) {
            const tn_scope scope = tn_scope_push();
            tn_tensor *x = full({200, 1 + i % 500}, 1, TN_F32);
            tn_sum(tn_matmul(tn_transpose(x, 0, 1), x));
            for (int k = 0; k < 20; k++) tn_backward(tn_sum(leaf));
            tn_generator_seed(nullptr, 1);
            memory_now();
            tn_scope_pop(scope);
        }
    });
    for (int round = 0; round < 20 && !HasFailure(); round++) {
        *progress = {};
        const pid_t pid = fork();
        if (pid == 0) child(progress);
        int status = 0;
        EXPECT_EQ(waitpid(pid, &status, 0), pid);
        EXPECT_TRUE(WIFEXITED(status))
            << "signal " << WTERMSIG(status) << " in " << progress->entry;
        EXPECT_STREQ(progress->wrong, "");
    }
    stop = true;
    busy.join();
    munmap(shared, sizeof(Progress));
    EXPECT_EQ(numbers(tn_add(theirs, theirs)), (Numbers{6})) << "the parent goes on";
}

} // namespace
