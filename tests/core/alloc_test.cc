// alloc_test.cc - a warm training step asks the system for no memory: every call of the heap's
// functions is counted, whoever makes it, the vendor's library included.
// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <atomic>

#include "tests/support/mlp.h"

extern "C" {
#include "core/base/heap.h"
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TENON_COUNTS_HEAP 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TENON_COUNTS_HEAP 0
#endif
#endif
#ifndef TENON_COUNTS_HEAP
#define TENON_COUNTS_HEAP 1
#endif

namespace {

std::atomic<bool> counting{false};
std::atomic<uint64_t> calls{0};

#if TENON_COUNTS_HEAP
void count() {
    if (counting.load(std::memory_order_relaxed)) calls++;
}
#endif

} // namespace

#if TENON_COUNTS_HEAP
// Take the place of the C library's for the whole process; its own stay reachable under these
// names.
extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

void *malloc(size_t bytes) { return count(), __libc_malloc(bytes); }
void *calloc(size_t n, size_t bytes) { return count(), __libc_calloc(n, bytes); }
void *realloc(void *old, size_t bytes) { return count(), __libc_realloc(old, bytes); }
void *memalign(size_t alignment, size_t bytes) {
    return count(), __libc_memalign(alignment, bytes);
}
void *aligned_alloc(size_t alignment, size_t bytes) {
    return count(), __libc_memalign(alignment, bytes);
}
int posix_memalign(void **out, size_t alignment, size_t bytes) {
    count();
    *out = __libc_memalign(alignment, bytes);
    return *out ? 0 : ENOMEM;
}
}
#endif

namespace {

class Alloc : public Tenon {
  protected:
    void SetUp() override {
        if (!TENON_COUNTS_HEAP) GTEST_SKIP() << "the sanitizer has its own heap functions";
        const char *mode = getenv("TENON_ALLOC");
        if (mode && strcmp(mode, "system") == 0)
            GTEST_SKIP() << "TENON_ALLOC=system turns the pools off";
        Tenon::SetUp();
    }
    void TearDown() override {
        if (!IsSkipped()) Tenon::TearDown();
    }
};

TEST_F(Alloc, TheCounterSeesEveryWayToAllocate) {
    calls = 0, counting = true;
    void *volatile a = malloc(10), *volatile b = calloc(2, 5), *volatile c = aligned_alloc(64, 64);
    a = realloc(a, 1000);
    void *d = nullptr;
    const int failed = posix_memalign(&d, 64, 64);
    counting = false;
    EXPECT_EQ(failed, 0);
    EXPECT_EQ(calls, 5u);
    free(a), free(b), free(c), free(d);
}

uint64_t heap_calls_of_steps(const char *provider, int64_t batch) {
    EXPECT_EQ(tn_use_provider(provider), TN_OK) << tn_error_message();
    Mlp net;
    tn_tensor *x = Mlp::noise({batch, Mlp::inputs}, 9), *target = Mlp::labels(batch);
    double loss = 0;
    for (int i = 0; i < 5; i++) loss = net.step(x, target);
    calls = 0, counting = true;
    for (int i = 0; i < 20; i++) loss = net.step(x, target);
    counting = false;
    EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
    EXPECT_LT(loss, 1.4) << "it learns";
    tn_use_provider(nullptr);
    return calls;
}

TEST_F(Alloc, AWarmTrainingStepMakesNoHeapCalls) {
    EXPECT_EQ(heap_calls_of_steps("cpu_ref", 6), 0u);
    EXPECT_EQ(heap_calls_of_steps("cpu_blas", 6), 0u);
    EXPECT_EQ(heap_calls_of_steps("cpu_blas", 64), 0u);
}

TEST_F(Alloc, AFirstStepMakesSome) {
    Mlp net;
    tn_tensor *x = Mlp::noise({11, Mlp::inputs}, 9), *target = Mlp::labels(11);
    calls = 0, counting = true;
    net.step(x, target);
    counting = false;
    EXPECT_GT(calls, 0u);
}

} // namespace
