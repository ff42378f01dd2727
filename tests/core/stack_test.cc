// stack_test.cc - how much stack the library takes of a thread that calls it, measured on stacks that
// are painted first. docs/threads.md states the least.
// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <sys/mman.h>

#include <functional>

#include <tenon/check.h>
#include <tenon/hooks.h>
#include <tenon/inspect.h>

#include "tests/support/op_walk.h"

#include "modules/math/math_ops.h"

namespace {

constexpr size_t least = 64 << 10; // what docs/threads.md promises, the thread's own data included

class Stack : public ::testing::Test {
  protected:
    void SetUp() override { // in a thread of its own, Tenon starts there
        const std::string folders = plugin_folders();
        setenv("TENON_PLUGIN_PATH", folders.c_str(), 1);
        setenv("XDG_CACHE_HOME", getenv("TEST_TMPDIR") ? getenv("TEST_TMPDIR") : "/tmp", 1);
    }
};

void *run(void *work) {
    (*static_cast<const std::function<void()> *>(work))();
    tn_clear_error();
    return nullptr;
}

// Bytes of stack that a thread needs to do this.
size_t stack_of(const std::function<void()> &work) {
    constexpr size_t size = 1 << 20;
    constexpr unsigned char paint = 0xa5;
    void *stack = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED) return SIZE_MAX;
    memset(stack, paint, size);
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, stack, size);
    std::function<void()> copy = work;
    const int bad = pthread_create(&thread, &attr, run, &copy);
    pthread_attr_destroy(&attr);
    if (bad || pthread_join(thread, nullptr)) return SIZE_MAX;
    const auto *at = static_cast<const unsigned char *>(stack);
    size_t clean = 0;
    while (clean < size && at[clean] == paint) clean++;
    munmap(stack, size);
    return size - clean;
}

void expect_little(const char *what, const std::function<void()> &work) {
    const size_t bytes = stack_of(work);
    printf("%-24s %6.1f KiB\n", what, static_cast<double>(bytes) / 1024);
    EXPECT_LE(bytes, least) << what;
}

// First, so that this thread loads the plugins and asks the probe.
TEST_F(Stack, HasRoomForTheLoader) {
    expect_little("first op", [] { EXPECT_EQ(tn_op_count() > 0, true) << tn_error_message(); });
    expect_little("scan", [] {
        int64_t n = 0;
        EXPECT_EQ(tn_plugin_scan(&n), TN_OK) << tn_error_message();
    });
    expect_little("why", [] {
        tn_plugin_why(
            "cpu_blas", [](void *, const char *, bool, const char *) {}, nullptr);
    });
    expect_little("paths", [] { tn_plugin_paths(); });
    expect_little("absent plugin", [] { tn_plugin_load("/nowhere/at/all.so"); });
    expect_little("unknown op", [] {
        tn_op_info info = {};
        info.size = sizeof info;
        tn_op_find("sotfmax", &info);
    });
    expect_little("unknown plugin", [] { tn_use_provider("nobody"); });
}

TEST_F(Stack, HasRoomForEveryOpAndItsDerivatives) {
    size_t most = 0;
    std::string which;
    for (const Op &op : all_ops()) {
        const bool checked = !op.info.no_grad;
        const size_t bytes = stack_of([&] {
            const tn_scope scope = tn_scope_push();
            for (const tn_dtype dtype : {TN_F32, TN_F64, TN_F16, TN_I64}) {
                for (int64_t i = 0;; i++) {
                    const Args args = sample(op, i, dtype);
                    if (args.status == TN_ERR_NOTFOUND) break;
                    if (args.status) continue;
                    std::vector<tn_value> outs(TNI_MAX_RESULTS);
                    tn_op_ref ref = {op.name.c_str(), 0, 0};
                    tn_op_call(&ref, args.values.data(), static_cast<uint32_t>(args.values.size()),
                               outs.data(), op.schema.n_visible);
                    tn_clear_error();
                }
            }
            if (checked) {
                EXPECT_EQ(tn_op_gradcheck(op.name.c_str(), -1, 2, nullptr), TN_OK);
            }
            tn_scope_pop(scope);
        });
        EXPECT_LE(bytes, least) << op.name;
        if (bytes > most) most = bytes, which = op.name;
    }
    printf("%-24s %6.1f KiB\n", which.c_str(), static_cast<double>(most) / 1024);
}

TEST_F(Stack, HasRoomForLargeCallsAndLongGraphs) {
    expect_little("large matmul", [] {
        const tn_scope scope = tn_scope_push();
        for (const tn_dtype dtype : {TN_F32, TN_F64, TN_BF16}) {
            tn_tensor *x = tn_ones(ints({700, 600}), dtype), *w = tn_ones(ints({600, 500}), dtype);
            tn_matmul(x, w);
            tn_sum(x), tn_softmax(x, 1), tn_sort(x, nullptr);
        }
        EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
        tn_scope_pop(scope);
    });
    expect_little("long graph", [] {
        const tn_scope scope = tn_scope_push();
        tn_tensor *x = param(full({4}, 1)), *y = x;
        for (int i = 0; i < 20000; i++) y = tn_add(y, x);
        EXPECT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
        tn_scope_pop(scope);
    });
    expect_little("errors", [] {
        const tn_scope scope = tn_scope_push();
        const int64_t far[] = {7};
        tn_embedding(full({3, 4}, 1), tn_from(far, ints({1}), TN_I64), nullptr), tn_clear_error();
        tn_add(full({2, 3}, 1), full({4}, 1)), tn_clear_error();
        tn_neg(tn_expand(tn_ones(ints({1}), TN_F32), ints({INT64_C(3) << 39}))), tn_clear_error();
        tn_to_string(full({20, 20, 20}, 1.5));
        tn_set_anomaly_mode(true);
        tn_tensor *x = param(full({2}, -1));
        tn_backward(tn_sum(tn_sqrt(x))), tn_clear_error();
        tn_set_anomaly_mode(false);
        tn_scope_pop(scope);
    });
}

} // namespace
