// runtime_memory_test.cc - running out of memory at every place, caches, statistics.
// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include "tests/runtime_test.h"

namespace {

using Memory = Runtime;

// Runs call on a new thread, where nothing is warm, with the n-th allocation failing. Returns how
// many there were. The call must work, or leave NOMEM pending.
uint64_t RunFailing(const char *what, const std::function<bool()> &call, uint64_t n, bool forever,
                    bool *worked) {
    uint64_t made = 0;
    std::thread([&] {
        tn_scope s = tn_scope_push();
        tni_memory_fail_after(n, forever);
        *worked = call();
        made = tni_memory_fail_after(0, false);
        EXPECT_STREQ(tn_status_name(tn_error()), *worked ? "OK" : "NOMEM")
            << what << " " << n << ": " << tn_error_message();
        EXPECT_NE(*worked, *tn_error_message() != '\0') << what;
        tn_clear_error();
        tn_scope_pop(s);
    }).join();
    return made;
}

// Every allocation of call fails, alone and with all after it: nothing leaks, and it works
// afterwards.
void FailEach(const char *what, const std::function<bool()> &call) {
    const tn_memory_info before = Stats();
    bool worked = false;
    const uint64_t made = RunFailing(what, call, 0, false, &worked);
    EXPECT_TRUE(worked) << what;
    EXPECT_GT(made, 0u) << what;
    int failures = 0;
    for (uint64_t n = 1; n <= made; n++) {
        for (bool forever : {false, true}) {
            RunFailing(what, call, n, forever, &worked);
            failures += !worked;
            EXPECT_EQ(Stats().tensors, before.tensors) << what << " " << n;
            EXPECT_EQ(Stats().storages, before.storages) << what << " " << n;
            EXPECT_EQ(Stats().allocated_bytes, before.allocated_bytes) << what << " " << n;
        }
    }
    EXPECT_GT(failures, 0) << what;
    RunFailing(what, call, 0, false, &worked);
    EXPECT_TRUE(worked) << what << " afterwards";
}

TEST_F(Memory, EveryWayToMakeATensorSurvivesRunningOut) {
    static const float data[6] = {};
    FailEach("tn_empty", [] { return tn_empty(Ints({8}), TN_F32) != nullptr; });
    FailEach("tn_empty, large", [] { return tn_empty(Ints({100000}), TN_F32) != nullptr; });
    FailEach("tn_zeros", [] { return tn_zeros(Ints({8}), TN_F32) != nullptr; });
    FailEach("tn_ones", [] { return tn_ones(Ints({8}), TN_F32) != nullptr; });
    FailEach("tn_full", [] { return tn_full(Ints({8}), tn_int(3), TN_F32) != nullptr; });
    FailEach("tn_from", [] { return tn_from(data, Ints({2, 3}), TN_F32) != nullptr; });
    FailEach("tn_scalar", [] { return tn_scalar(3) != nullptr; });
    FailEach("view", [] {
        tn_tensor *base = tn_empty(Ints({8}), TN_F32);
        return base && View(base, {4}, {2}, 0);
    });
    FailEach("many tensors", [] {
        for (int i = 0; i < 300; i++) tn_empty(Ints({2}), TN_F32);
        return tn_error() == TN_OK;
    });
}

TEST_F(Memory, EveryOtherCallSurvivesRunningOut) {
    FailEach("tn_to_string", [] {
        tn_tensor *t = tn_zeros(Ints({300}), TN_F32);
        return t && *tn_to_string(t);
    });
    FailEach("deep scopes", [] {
        tn_scope first = tn_scope_push();
        for (int i = 0; i < 40; i++) tn_scope_push();
        const bool fine = tn_error() == TN_OK;
        if (first.mark) tn_scope_pop(first);
        return fine;
    });
    FailEach("tn_scope_pop_with", [] {
        tn_tensor *t = tn_empty(Ints({1}), TN_F32);
        const std::vector<tn_tensor *> many(1000, t);
        tn_scope s = tn_scope_push();
        return t && tn_scope_pop_with(s, many.data(), 1000) == TN_OK;
    });
    tn_tensor *shared = Range({2});
    FailEach("tn_scope_adopt", [&] { return tn_scope_adopt(shared) == TN_OK; });
    FailEach("tn_generator_new", [] {
        tn_generator *g = tn_generator_new(1);
        tn_generator_free(g);
        return g != nullptr;
    });
}

TEST_F(Memory, CachedBlocksAreReusedAndTrimmed) {
    if (getenv("TENON_ALLOC")) GTEST_SKIP() << "caches are off";
    tn_memory_trim();
    tn_scope s = tn_scope_push();
    const void *data = tn_data(tn_empty(Ints({1 << 20}), TN_F32));
    tn_scope_pop(s);
    EXPECT_GE(Stats().cached_bytes, 4u << 20);
    s = tn_scope_push();
    EXPECT_EQ(tn_data(tn_empty(Ints({1 << 20}), TN_F32)), data);
    tn_scope_pop(s);
    tn_memory_trim();
    EXPECT_LT(Stats().cached_bytes, 4u << 20);
}

TEST_F(Memory, EverySizeIsAlignedAndWhole) {
    for (int64_t n = 1; n < (INT64_C(1) << 24); n = n * 9 / 8 + 1) {
        tn_scope s = tn_scope_push();
        tn_tensor *t = tn_full(Ints({n}), tn_int(7), TN_U8);
        ASSERT_NE(t, nullptr) << tn_error_message();
        EXPECT_EQ(reinterpret_cast<uintptr_t>(tn_data(t)) % 64, 0u);
        EXPECT_EQ(static_cast<uint8_t *>(tn_data(t))[n - 1], 7);
        tn_scope_pop(s);
    }
}

TEST_F(Memory, PeakCountsWhatWasLiveAtOnce) {
    const int64_t step = INT64_C(1) << 20;
    const uint64_t live = Stats().allocated_bytes;
    // Beyond whatever was live before; never touched, so it costs nothing.
    const int64_t base = static_cast<int64_t>(Stats().peak_bytes) + step;
    tn_scope s = tn_scope_push();
    tn_empty(Ints({base}), TN_U8);
    for (int i = 0; i < 8; i++) {
        tn_scope one_by_one = tn_scope_push();
        tn_empty(Ints({step}), TN_U8);
        tn_scope_pop(one_by_one);
    }
    EXPECT_EQ(Stats().peak_bytes, live + static_cast<uint64_t>(base + step));
    tn_empty(Ints({step}), TN_U8);
    tn_scope small = tn_scope_push(); // on top, counted by the thread alone
    for (int i = 0; i < 5; i++) tn_empty(Ints({1000}), TN_U8);
    tn_scope_pop(small);
    tn_scope_pop(s);
    EXPECT_EQ(Stats().peak_bytes, live + static_cast<uint64_t>(base + step) + 5000);
}

TEST_F(Memory, TensorsMayBeFreedByAnotherThread) {
    std::vector<tn_tensor *> tensors;
    std::mutex mutex;
    std::atomic<bool> done{false};
    std::thread freer([&] {
        for (bool last = false; !last;) {
            last = done;
            std::vector<tn_tensor *> mine;
            {
                std::lock_guard<std::mutex> lock(mutex);
                mine.swap(tensors);
            }
            for (tn_tensor *t : mine) tn_drop(t);
        }
    });
    for (int i = 0; i < 20000; i++) {
        tn_scope s = tn_scope_push();
        tn_tensor *t = tn_keep(tn_full(Ints({i % 50 + 1}), tn_int(i), TN_I32));
        EXPECT_NE(t, nullptr) << tn_error_message();
        tn_scope_pop(s);
        std::lock_guard<std::mutex> lock(mutex);
        tensors.push_back(t);
    }
    done = true;
    freer.join();
}

} // namespace
