// autograd_limits_test.cc - the backward engine under strain: depth, memory, threads, fork.
// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include <tenon/inspect.h>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

extern "C" {
#include "core/base/heap.h"
}

namespace {

class AutogradLimits : public Tenon {};

// ---- Size --------------------------------------------------------------------------------------

// On a stack that would not hold a thousandth of the graph if anything recursed.
void *deep_graphs(void *) {
    const tn_scope all = tn_scope_push();
    tn_tensor *x = param(full({}, 1));
    for (bool run : {true, false}) {
        tn_tensor *y = tn_keep(tn_neg(x));
        for (int i = 1; i < 300000; i++) { // only the last result lives
            const tn_scope scope = tn_scope_push();
            tn_tensor *next = tn_keep(tn_neg(y));
            tn_scope_pop(scope);
            tn_drop(y);
            y = next;
        }
        EXPECT_GE(memory_now().nodes, 300000u);
        EXPECT_EQ(run ? tn_backward(y) : TN_OK, TN_OK) << tn_error_message();
        tn_drop(y);
    }
    EXPECT_EQ(grad(x), (Numbers{1}));
    tn_scope_pop(all);
    return nullptr;
}

TEST_F(AutogradLimits, RunsAndFreesVeryDeepGraphs) {
    pthread_t thread;
    pthread_attr_t small;
    ASSERT_EQ(pthread_attr_init(&small), 0);
    ASSERT_EQ(pthread_attr_setstacksize(&small, 512 << 10), 0);
    ASSERT_EQ(pthread_create(&thread, &small, deep_graphs, nullptr), 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&small);
}

TEST_F(AutogradLimits, HandlesManyPathsWithoutVisitingEach) {
    tn_tensor *x = param(full({}, 1)), *y = x;
    for (int i = 0; i < 60; i++) y = tn_add(y, y);
    ASSERT_EQ(tn_backward(y), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{0x1p60}));
}

TEST_F(AutogradLimits, AsksNobodyForMemoryWhenWarm) {
    tn_tensor *x = param(full({2, 2}, 1)), *w = param(full({2}, 2));
    uint64_t before = 0;
    for (int i = 0; i < 400; i++) {
        if (i == 300) before = tni_heap_calls();
        const tn_scope scope = tn_scope_push();
        tn_tensor *y = tn_mul(tn_add(x, w), w);
        EXPECT_EQ(tn_backward(tn_sum_dim(y, ints({0, 1}), nullptr)), TN_OK) << tn_error_message();
        tn_scope_pop(scope);
    }
    EXPECT_EQ(getenv("TENON_ALLOC") ? before : tni_heap_calls(), before);
}

// ---- Running out of memory ---------------------------------------------------------------------

// Views, in-place writes, lists, both derivatives, leaf gradients.
tn_status a_bit_of_everything(tn_tensor *x, tn_tensor *w) {
    const tn_scope scope = tn_scope_push();
    tn_tensor *y = tn_mul(x, w), *g[2];
    tn_mul_(tn_select(y, 0, 0), tn_sum(w));
    tn_tensor *z = tn_sum(tn_exp(tn_cat(tensors({y, tn_transpose(y, 0, 1)}), nullptr)));
    tn_backward_opts record = {};
    record.create_graph = true;
    if (tn_backward_wrt(tensors({z}), tensors({x, w}), {}, &record, g) == TN_OK)
        tn_backward(tn_sum(tn_mul(g[0], g[1])));
    const tn_status status = tn_error();
    tn_scope_pop(scope);
    return status;
}

TEST_F(AutogradLimits, SurvivesEveryFailedAllocation) {
    tn_tensor *x = param(full({2, 2}, 0.5)), *w = param(full({2, 2}, 0.3));
    ASSERT_EQ(a_bit_of_everything(x, w), TN_OK) << tn_error_message();
    const Numbers expected = grad(x);
    for (bool forever : {false, true}) {
        tn_status status = TN_ERR_NOMEM;
        for (uint64_t n = 1; status != TN_OK; n++) {
            tn_zero_grad(x), tn_zero_grad(w);
            const tn_memory_info before = memory_now();
            tni_heap_fail_after(n, forever);
            status = a_bit_of_everything(x, w);
            tni_heap_fail_after(0, false);
            if (status == TN_OK) break;
            ASSERT_TRUE(error_is(TN_ERR_NOMEM)) << "allocation " << n;
            ASSERT_TRUE(tn_grad_enabled());
            tn_zero_grad(x), tn_zero_grad(w);
            const tn_memory_info after = memory_now();
            ASSERT_EQ(after.tensors, before.tensors) << "allocation " << n;
            ASSERT_EQ(after.storages, before.storages) << "allocation " << n;
            ASSERT_EQ(after.nodes, before.nodes) << "allocation " << n;
        }
        EXPECT_EQ(grad(x), expected);
    }
}

// ---- Threads -----------------------------------------------------------------------------------

TEST_F(AutogradLimits, LetsThreadsShareLeaves) {
    tn_tensor *w = param(full({64}, 1));
    const int rounds = 200, n_threads = 4;
    std::vector<std::thread> threads;
    for (int t = 0; t < n_threads; t++)
        threads.emplace_back([w] {
            for (int i = 0; i < rounds; i++) {
                const tn_scope scope = tn_scope_push();
                EXPECT_EQ(tn_backward(tn_sum(tn_mul(w, full({64}, 2)))), TN_OK)
                    << tn_error_message();
                tn_scope_pop(scope);
            }
        });
    for (std::thread &t : threads) t.join();
    EXPECT_EQ(grad(w), Numbers(64, 2.0 * rounds * n_threads));
}

TEST_F(AutogradLimits, NeverMixesPassesThatShareAGraph) {
    tn_tensor *w = param(full({}, 1)), *h = w;
    for (int i = 0; i < 100; i++) h = tn_mul(h, number(1));
    std::vector<int> passed(2, 0);
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; t++)
        threads.emplace_back([&passed, h, t] {
            tn_backward_opts keep = {};
            keep.retain_graph = true;
            for (int i = 0; i < 100; i++) {
                const tn_status status = tn_backward_with(h, &keep);
                EXPECT_TRUE(status == TN_OK || status == TN_ERR_GRAD) << tn_error_message();
                passed[static_cast<size_t>(t)] += status == TN_OK;
                tn_clear_error();
            }
        });
    for (std::thread &t : threads) t.join();
    EXPECT_EQ(grad(w), (Numbers{static_cast<double>(passed[0] + passed[1])}));
}

TEST_F(AutogradLimits, IsRefusedInAForkedChild) {
    tn_tensor *y = tn_neg(param(full({}, 1)));
    const pid_t child = fork();
    if (child == 0) _exit(tn_backward(y) == TN_ERR_FORKED ? 0 : 1);
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(tn_backward(y), TN_OK) << tn_error_message();
}

} // namespace
