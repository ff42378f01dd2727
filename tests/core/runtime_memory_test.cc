// runtime_memory_test.cc - running out of memory at every place, caches, statistics.
// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include <tenon/inspect.h>

#include "tests/core/runtime_test.h"

namespace {

using Memory = Runtime;

// Runs call on a new thread, where nothing is warm, with the n-th allocation failing. Returns how
// many there were. The call must work, or leave NOMEM pending.
uint64_t RunFailing(const char *what, const std::function<bool()> &call, uint64_t n, bool forever,
                    bool *worked) {
    uint64_t made = 0;
    std::thread([&] {
        tn_scope s = tn_scope_push();
        tni_heap_fail_after(n, forever);
        *worked = call();
        made = tni_heap_fail_after(0, false);
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

// ---- Pools -------------------------------------------------------------------------------------

constexpr uint64_t kMiB = 1 << 20;

// Caches are on, and empty at the beginning of each test.
class Pools : public Runtime {
  protected:
    void SetUp() override {
        if (getenv("TENON_ALLOC")) GTEST_SKIP() << "caches are off";
        tn_memory_trim();
        limit_ = Stats().cache_limit_bytes;
        Runtime::SetUp();
    }
    void TearDown() override {
        if (IsSkipped()) return;
        Runtime::TearDown();
        tn_memory_set_cache_limit(limit_);
        tn_memory_trim();
    }
    uint64_t limit_ = 0;
};

// Makes tensors of so many bytes and frees them together; where the first one was.
const void *MakeAndFree(std::initializer_list<uint64_t> sizes) {
    const tn_scope s = tn_scope_push();
    const void *first = nullptr;
    for (uint64_t bytes : sizes) {
        const void *data = tn_data(tn_empty(Ints({static_cast<int64_t>(bytes)}), TN_U8));
        if (!first) first = data;
    }
    tn_scope_pop(s);
    return first;
}

TEST_F(Pools, LargeBuffersAreCountedOnTheirWay) {
    const tn_memory_info at_first = Stats();
    const tn_scope s = tn_scope_push();
    tn_empty(Ints({4900000}), TN_U8); // of the class of 5 MiB
    const tn_memory_info used = Stats();
    EXPECT_EQ(used.large.misses, at_first.large.misses + 1);
    EXPECT_EQ(used.large.hits, at_first.large.hits);
    EXPECT_EQ(used.large_in_use, at_first.large_in_use + 1);
    EXPECT_EQ(used.system_allocs, at_first.system_allocs + 1);
    EXPECT_EQ(used.allocated_bytes, at_first.allocated_bytes + 4900000);
    EXPECT_EQ(used.reserved_bytes, at_first.reserved_bytes + 5 * kMiB);
    tn_scope_pop(s);
    const tn_memory_info cached = Stats();
    EXPECT_EQ(cached.large.cached_blocks, 1u);
    EXPECT_EQ(cached.large.cached_bytes, 5 * kMiB);
    EXPECT_EQ(cached.large.largest_bytes, 5 * kMiB);
    EXPECT_EQ(cached.largest_cached_bytes, 5 * kMiB);
    EXPECT_EQ(cached.cached_bytes, cached.large.cached_bytes + cached.small.cached_bytes);
    EXPECT_EQ(cached.large_in_use, at_first.large_in_use);
    EXPECT_EQ(cached.reserved_bytes, used.reserved_bytes);
    EXPECT_EQ(cached.system_frees, at_first.system_frees);
    MakeAndFree({5 * kMiB});
    EXPECT_EQ(Stats().large.hits, at_first.large.hits + 1);
    EXPECT_EQ(Stats().system_allocs, used.system_allocs);
    EXPECT_GE(Stats().peak_reserved_bytes, used.reserved_bytes);
    EXPECT_GE(Stats().limit_bytes, Stats().cache_limit_bytes);
}

TEST_F(Pools, SmallBuffersAreCountedOnTheirWay) {
    std::thread([] { // with lists of its own
        const tn_memory_info at_first = Stats();
        const tn_scope s = tn_scope_push();
        for (int i = 0; i < 10; i++) tn_empty(Ints({60000}), TN_U8);
        const tn_memory_info used = Stats();
        EXPECT_EQ(used.small.hits + used.small.misses,
                  at_first.small.hits + at_first.small.misses + 10);
        EXPECT_EQ(used.small.misses - at_first.small.misses,
                  used.system_allocs - at_first.system_allocs);
        tn_scope_pop(s);
        const tn_memory_info cached = Stats();
        EXPECT_GT(cached.small.cached_blocks, used.small.cached_blocks);
        EXPECT_EQ(cached.small.largest_bytes, 65536u);
        MakeAndFree({60000});
        EXPECT_EQ(Stats().small.hits, cached.small.hits + 1);
        EXPECT_EQ(Stats().small.misses, cached.small.misses);
    })
        .join();
}

TEST_F(Pools, FragmentationIsWhatTheLargestFreeBufferIsNot) {
    MakeAndFree({8 * kMiB, 4 * kMiB, 4 * kMiB});
    const tn_memory_info m = Stats();
    EXPECT_EQ(m.largest_cached_bytes, 8 * kMiB);
    EXPECT_DOUBLE_EQ(m.fragmentation, 1 - 8. * kMiB / static_cast<double>(m.cached_bytes));
    EXPECT_GE(m.fragmentation, 0.5);
}

TEST_F(Pools, ALargeBufferIsUsedAgainForALittleLess) {
    const void *data = MakeAndFree({4 * kMiB});
    EXPECT_EQ(MakeAndFree({4 * kMiB}), data);
    EXPECT_EQ(MakeAndFree({3 * kMiB}), data) << "two classes below";
    const uint64_t misses = Stats().large.misses;
    MakeAndFree({2 * kMiB});
    EXPECT_EQ(Stats().large.misses, misses + 1) << "half is too little";
    EXPECT_EQ(Stats().large.cached_bytes, 6 * kMiB) << "whole, as before";
}

TEST_F(Pools, TheOldestGoBackBeyondTheLimit) {
    const uint64_t evictions = Stats().evictions;
    tn_memory_set_cache_limit(8 * kMiB);
    EXPECT_EQ(Stats().cache_limit_bytes, 8 * kMiB);
    MakeAndFree({4 * kMiB, 3 * kMiB, 2 * kMiB}); // freed from the last to the first
    EXPECT_EQ(Stats().large.cached_bytes, 7 * kMiB);
    EXPECT_EQ(Stats().evictions, evictions + 1);
    MakeAndFree({10 * kMiB});
    EXPECT_EQ(Stats().large.cached_bytes, 7 * kMiB) << "more than the limit is never cached";
    EXPECT_EQ(Stats().evictions, evictions + 2);
    tn_memory_set_cache_limit(5 * kMiB);
    EXPECT_EQ(Stats().large.cached_bytes, 4 * kMiB);
    tn_memory_set_cache_limit(0);
    EXPECT_EQ(Stats().large.cached_bytes, 0u);
    MakeAndFree({kMiB});
    EXPECT_EQ(Stats().large.cached_bytes, 0u);
}

TEST_F(Pools, TrimGivesEverythingBack) {
    MakeAndFree({4 * kMiB, 3 * kMiB, 1000});
    const tn_memory_info cached = Stats();
    tn_memory_trim();
    const tn_memory_info trimmed = Stats();
    EXPECT_EQ(trimmed.large.cached_blocks, 0u);
    EXPECT_EQ(trimmed.large.cached_bytes, 0u);
    EXPECT_GE(trimmed.system_frees, cached.system_frees + 3);
    EXPECT_LE(trimmed.reserved_bytes, cached.reserved_bytes - 7 * kMiB);
}

TEST_F(Pools, TheEnvironmentMaySayTheLimit) {
    const uint64_t quarter = Stats().limit_bytes / 4;
    EXPECT_EQ(tni_cache_limit_of("0"), 0u);
    EXPECT_EQ(tni_cache_limit_of("12345"), 12345u);
    EXPECT_EQ(tni_cache_limit_of("3k"), 3u << 10);
    EXPECT_EQ(tni_cache_limit_of("512m"), 512 * kMiB);
    EXPECT_EQ(tni_cache_limit_of("2g"), 2048 * kMiB);
    for (const char *nonsense : {"", "all", "-1", " 5", "5 ", "5mb", "77777777777777g"})
        EXPECT_EQ(tni_cache_limit_of(nonsense), quarter) << nonsense;
    EXPECT_EQ(tni_cache_limit_of(nullptr), quarter);
    EXPECT_EQ(tni_cache_limit_of("99999999999999999999"), UINT64_MAX) << "no limit";
}

// ---- Nothing left ------------------------------------------------------------------------------

uint64_t g_given; // by the small device, which has 16 MiB

tn_device SmallDevice() {
    static tn_driver d = *tni_host.driver;
    d.kind = "runtime_small";
    d.kind_code = 0;
    d.props = [](void *, int32_t, tn_device_props *out) {
        snprintf(out->name, sizeof out->name, "small");
        out->memory_bytes = 16 * kMiB;
        return static_cast<tn_status>(TN_OK);
    };
    d.alloc = [](void *user, int32_t index, int32_t kind, uint64_t bytes, void *stream) {
        if (g_given + bytes > 16 * kMiB) return static_cast<void *>(nullptr);
        g_given += bytes;
        return tni_host.driver->alloc(user, index, kind, bytes, stream);
    };
    d.free = [](void *user, int32_t index, int32_t kind, void *data, uint64_t bytes, void *stream) {
        g_given -= bytes;
        tni_host.driver->free(user, index, kind, data, bytes, stream);
    };
    if (!tni_device_kind_find(d.kind)) {
        EXPECT_EQ(tni_device_kind_add(&d, "runtime_small_plugin"), TN_OK);
    }
    return {tni_device_kind_find(d.kind), 0};
}

tn_tensor *On(tn_device device, uint64_t bytes) {
    const int64_t sizes[] = {static_cast<int64_t>(bytes)};
    tn_tensor *t = tni_tensor_new(TN_U8, 1, sizes, tni_device_place(device));
    return t ? tni_scope_own_slowly(t) : nullptr;
}

TEST_F(Pools, AFullDeviceGetsBackWhatTheCacheHolds) {
    const tn_device device = SmallDevice();
    const uint64_t rescues = Stats().rescues;
    tn_scope s = tn_scope_push();
    ASSERT_NE(On(device, 10 * kMiB), nullptr) << tn_error_message();
    tn_scope_pop(s);
    EXPECT_EQ(g_given, 10 * kMiB) << "cached";
    s = tn_scope_push();
    EXPECT_NE(On(device, 14 * kMiB), nullptr) << tn_error_message();
    EXPECT_EQ(g_given, 14 * kMiB) << "the cached one went back first";
    EXPECT_EQ(Stats().rescues, rescues + 1);
    tn_scope_pop(s);
    tn_memory_trim();
    EXPECT_EQ(g_given, 0u);
}

void ExpectInMessage(std::initializer_list<const char *> words) {
    const std::string text = tn_error_message();
    for (const char *word : words)
        EXPECT_NE(text.find(word), std::string::npos) << word << " is not in: " << text;
}

TEST_F(Pools, RunningOutSaysWhatIsThereAndWhatToDo) {
    const tn_device device = SmallDevice();
    const tn_scope s = tn_scope_push();
    On(device, 8 * kMiB), On(device, 3 * kMiB), On(device, 2 * kMiB);
    MakeAndFree({7 * kMiB}); // of the cpu: goes back too
    EXPECT_EQ(On(device, 6 * kMiB), nullptr);
    ExpectInMessage({"6291456 bytes (6.0 MiB) on runtime_small:0", "tensors have 13 MiB", "at most",
                     "cached, after giving back: 0 bytes", "limit: 16 MiB",
                     "largest in use: 8.0 MiB, 3.0 MiB, 2.0 MiB", "drop tensors",
                     "pop scopes earlier", "smaller sizes"});
    EXPECT_EQ(TakeError(), "NOMEM");
    EXPECT_EQ(On(device, 17 * kMiB), nullptr);
    ExpectInMessage({"can never fit"});
    EXPECT_EQ(TakeError(), "NOMEM");
    EXPECT_NE(On(device, 3 * kMiB), nullptr) << "what fits still works";
    tn_scope_pop(s);
}

TEST_F(Memory, MoreThanTheMachineHasIsRefusedWithTheLimit) {
    EXPECT_EQ(tn_empty(Ints({INT64_C(1) << 45}), TN_U8), nullptr);
    ExpectInMessage({"35184372088832 bytes (32 TiB) on cpu", "limit", "can never fit"});
    EXPECT_EQ(TakeError(), "NOMEM");
}

TEST_F(Memory, ThePeakMayStartAgain) {
    MakeAndFree({3 * kMiB});
    const uint64_t live = Stats().allocated_bytes;
    EXPECT_GE(Stats().peak_bytes, live + 3 * kMiB);
    tn_memory_reset_peak();
    EXPECT_EQ(Stats().peak_bytes, live);
    EXPECT_EQ(Stats().peak_reserved_bytes, Stats().reserved_bytes);
    MakeAndFree({2 * kMiB});
    EXPECT_EQ(Stats().peak_bytes, live + 2 * kMiB);
}

TEST_F(Memory, AnOlderProgramGetsTheFieldsItKnows) {
    tn_memory_info m;
    memset(&m, 0x5a, sizeof m);
    m.size = offsetof(tn_memory_info, reserved_bytes);
    ASSERT_EQ(tn_memory_stats(&m), TN_OK);
    EXPECT_EQ(m.tensors, Stats().tensors);
    EXPECT_EQ(m.reserved_bytes, UINT64_C(0x5a5a5a5a5a5a5a5a)) << "beyond its size";
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
