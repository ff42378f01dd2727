// runtime_threads_test.cc - the pool, reductions with the same bits, generators, fork.
// SPDX-License-Identifier: Apache-2.0
#include <fenv.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <ctime>
#include <mutex>
#include <thread>

#include "tests/core/runtime_test.h"

namespace {

using Threads = Runtime;
using Generator = Runtime;
using Fork = Runtime;

struct Cover { // counts how often each index was visited, and checks the borders
    std::vector<std::atomic<int>> hits;
    std::atomic<bool> bad{false};
    int64_t n, grain;
    Cover(int64_t n_, int64_t grain_) : hits(static_cast<size_t>(n_)), n(n_), grain(grain_) {}
    bool Once() const {
        return !bad && std::all_of(hits.begin(), hits.end(), [](const auto &h) { return h == 1; });
    }
    static void Body(void *arg, int64_t begin, int64_t end) {
        Cover *c = static_cast<Cover *>(arg);
        if (begin % c->grain || (end != c->n && end - begin != c->grain)) c->bad = true;
        for (int64_t i = begin; i < end; i++) c->hits[static_cast<size_t>(i)]++;
    }
};

TEST_F(Threads, ParallelForCoversEveryIndexOnce) {
    for (int32_t threads : {1, 2, 3, 7, 64}) {
        ASSERT_EQ(tn_set_threads(threads), TN_OK);
        EXPECT_EQ(tn_threads(), threads);
        for (int64_t n : {0, 1, 2, 7, 64, 1000, 4097}) {
            for (int64_t grain : {1, 2, 3, 64, 1000, 100000}) {
                Cover c(n, grain);
                tni_parallel_for(n, grain, threads, Cover::Body, &c);
                ASSERT_TRUE(c.Once()) << n << " " << grain << " " << threads;
            }
        }
    }
}

TEST_F(Threads, LimitsOutsideTheRangeAreRefused) {
    ASSERT_EQ(tn_set_threads(3), TN_OK);
    for (int32_t n : {-1, INT32_MAX}) {
        EXPECT_EQ(tn_set_threads(n), TN_ERR_INVALID);
        EXPECT_EQ(TakeError(), "INVALID");
    }
    EXPECT_EQ(tn_threads(), 3);
    ASSERT_EQ(tn_set_threads(0), TN_OK);
    EXPECT_GE(tn_threads(), 1);
}

struct Sum {
    const float *data;
    int64_t spin;
    static void Body(void *arg, int64_t begin, int64_t end, void *partial) {
        const Sum *s = static_cast<const Sum *>(arg);
        float sum = *static_cast<float *>(partial); // zeroed
        for (int64_t i = begin; i < end; i++) sum += s->data[i];
        for (volatile int64_t i = 0; i < s->spin; i = i + 1) {
        }
        *static_cast<float *>(partial) = sum;
    }
    static void Combine(void *, void *left, const void *right) {
        *static_cast<float *>(left) += *static_cast<const float *>(right);
    }
};

// The promised tree, as a recursion: the left part is the largest power of two below n.
float Tree(const std::vector<float> &leaves, size_t first, size_t n) {
    if (n == 1) return leaves[first];
    size_t left = 1;
    while (left * 2 < n) left *= 2;
    return Tree(leaves, first, left) + Tree(leaves, first + left, n - left);
}

float TreeSum(const std::vector<float> &data, int64_t n, int64_t grain) {
    std::vector<float> leaves;
    for (int64_t b = 0; b < n; b += grain) {
        float sum = 0;
        for (int64_t i = b; i < std::min(n, b + grain); i++) sum += data[static_cast<size_t>(i)];
        leaves.push_back(sum);
    }
    return Tree(leaves, 0, leaves.size());
}

std::vector<float> Unequal(size_t n) { // of magnitudes so different that the order shows
    std::vector<float> data(n);
    uint32_t x = 1;
    for (float &f : data) {
        x = x * 1664525 + 1013904223;
        f = std::ldexp(static_cast<float>(x >> 8), static_cast<int>(x % 40) - 44);
    }
    return data;
}

TEST_F(Threads, ParallelReduceGivesTheSameBitsForAnyNumberOfThreads) {
    const std::vector<float> data = Unequal(300000);
    for (int64_t n : {1, 2, 3, 5, 1000, 99999, 300000}) {
        for (int64_t grain : {1, 7, 64, 4096, 1000000}) {
            const float want = TreeSum(data, n, grain);
            for (int32_t threads : {1, 2, 3, 4, 7}) {
                tn_set_threads(threads);
                Sum s = {data.data(), 0};
                float got = -1;
                ASSERT_EQ(tni_parallel_reduce(n, grain, threads, Sum::Body, Sum::Combine, &s, &got,
                                              sizeof got),
                          TN_OK);
                ASSERT_EQ(memcmp(&got, &want, 4), 0) << n << " " << grain << " " << threads;
            }
        }
    }
}

TEST_F(Threads, ParallelReduceOfNothingIsZeroAndWrongCallsAreRefused) {
    float out = 5;
    Sum s = {nullptr, 0};
    EXPECT_EQ(tni_parallel_reduce(0, 1, 4, Sum::Body, Sum::Combine, &s, &out, 4), TN_OK);
    EXPECT_EQ(out, 0);
    EXPECT_EQ(tni_parallel_reduce(1, 1, 4, Sum::Body, Sum::Combine, &s, &out, 257), TN_ERR_INVALID);
    EXPECT_EQ(tni_parallel_reduce(1, 1, 4, nullptr, Sum::Combine, &s, &out, 4), TN_ERR_INVALID);
}

TEST_F(Threads, MoreThanOneWorks) {
    const std::vector<float> data(1000, 1.f);
    for (int32_t threads : {2, 3, 4, 7}) {
        tn_set_threads(threads);
        uint32_t used = 0;
        for (int attempt = 0; attempt < 50 && used < 2; attempt++) {
            Sum s = {data.data(), 200000};
            float out;
            tni_parallel_reduce(1000, 10, threads, Sum::Body, Sum::Combine, &s, &out, 4);
            EXPECT_EQ(out, 1000);
            used = tni_threads_used_last();
            EXPECT_LE(used, static_cast<uint32_t>(threads));
        }
        EXPECT_GT(used, 1u) << threads;
    }
}

struct Nest {
    std::atomic<int> *inner, *foreign;
    std::thread::id self;
    static void Inner(void *arg, int64_t, int64_t) {
        Nest *n = static_cast<Nest *>(arg);
        ++*n->inner;
        if (std::this_thread::get_id() != n->self) ++*n->foreign;
    }
    static void Outer(void *arg, int64_t, int64_t) {
        Nest n = *static_cast<Nest *>(arg);
        n.self = std::this_thread::get_id();
        tni_parallel_for(100, 1, 4, Inner, &n);
        EXPECT_EQ(tni_threads_used_last(), 1u);
    }
};

TEST_F(Threads, WhileThePoolIsBusyOtherCallersRunInline) {
    struct Busy {
        std::atomic<bool> inside{false}, leave{false};
    } busy;
    std::thread owner([&busy] {
        tn_set_threads(2);
        tni_parallel_for(
            2, 1, 2,
            [](void *arg, int64_t, int64_t) {
                Busy *b = static_cast<Busy *>(arg);
                b->inside = true;
                while (!b->leave) std::this_thread::yield();
            },
            &busy);
    });
    while (!busy.inside) std::this_thread::yield();
    tn_set_threads(2);
    Cover c(1000, 10);
    tni_parallel_for(1000, 10, 2, Cover::Body, &c); // would wait for ever if it waited
    EXPECT_TRUE(c.Once());
    EXPECT_EQ(tni_threads_used_last(), 1u);
    busy.leave = true;
    owner.join();
}

double ProcessorSeconds() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

TEST_F(Threads, AnIdlePoolUsesNoProcessorTime) {
    tn_set_threads(4);
    Cover c(1000, 10);
    tni_parallel_for(1000, 10, 4, Cover::Body, &c);
    std::this_thread::sleep_for(std::chrono::milliseconds(20)); // longer than any worker spins
    const double before = ProcessorSeconds();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_LT(ProcessorSeconds() - before, 0.02);
}

TEST_F(Threads, NestedCallsRunInline) {
    tn_set_threads(4);
    std::atomic<int> inner{0}, foreign{0};
    Nest n = {&inner, &foreign, {}};
    tni_parallel_for(20, 1, 4, Nest::Outer, &n);
    EXPECT_EQ(inner, 2000);
    EXPECT_EQ(foreign, 0);
}

TEST_F(Threads, CallsFromManyAtOnceAllFinish) {
    std::vector<std::thread> callers;
    for (int k = 0; k < 4; k++) {
        callers.emplace_back([] {
            tn_set_threads(3);
            for (int i = 0; i < 500; i++) {
                Cover c(500, 7);
                tni_parallel_for(500, 7, 3, Cover::Body, &c);
                ASSERT_TRUE(c.Once());
            }
        });
    }
    for (std::thread &t : callers) t.join();
}

TEST_F(Threads, BodiesMayNotMakeTensors) {
    tni_parallel_for(
        1, 1, 1, [](void *, int64_t, int64_t) { EXPECT_EQ(tn_zeros(Ints({1}), TN_F32), nullptr); },
        nullptr);
    EXPECT_EQ(TakeError(), "INVALID");
    EXPECT_NE(tn_zeros(Ints({1}), TN_F32), nullptr);
}

TEST_F(Threads, WorkersRoundAsTheCallerDoes) {
    tn_set_threads(4);
    std::vector<double> got(200);
    auto body = [](void *arg, int64_t begin, int64_t) {
        volatile double one = 1, three = 3;
        for (volatile int i = 0; i < 20000; i = i + 1) {
        }
        static_cast<double *>(arg)[begin] = one / three;
    };
    for (int mode : {FE_UPWARD, FE_DOWNWARD, FE_TONEAREST}) {
        fesetround(mode);
        volatile double one = 1, three = 3;
        const double want = one / three;
        tni_parallel_for(200, 1, 4, body, got.data());
        for (double g : got) EXPECT_EQ(g, want);
    }
}

// ---- Generators --------------------------------------------------------------------------------

TEST_F(Generator, RangesOfManyThreadsAreDisjoint) {
    tn_generator *g = tn_generator_new(42);
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (uint64_t k = 0; k < 4; k++) {
        threads.emplace_back([&, k] {
            for (uint64_t i = 0; i < 1000; i++) {
                const uint64_t n = i % 7 + k + 1;
                const tn_rng r = tni_generator_reserve(g, n);
                EXPECT_EQ(r.seed, 42u);
                std::lock_guard<std::mutex> lock(mutex);
                ranges.emplace_back(r.offset, n);
            }
        });
    }
    for (std::thread &t : threads) t.join();
    std::sort(ranges.begin(), ranges.end());
    uint64_t next = 0;
    for (const auto &r : ranges) {
        ASSERT_EQ(r.first, next);
        next += r.second;
    }
    tn_generator_free(g);
}

TEST_F(Generator, SeedingStartsTheStreamAnew) {
    ASSERT_EQ(tn_generator_seed(nullptr, 7), TN_OK);
    tni_generator_reserve(nullptr, 100);
    EXPECT_EQ(tni_generator_reserve(nullptr, 1).offset, 100u);
    ASSERT_EQ(tn_generator_seed(nullptr, 7), TN_OK);
    const tn_rng r = tni_generator_reserve(nullptr, 1);
    EXPECT_EQ(r.seed, 7u);
    EXPECT_EQ(r.offset, 0u);
    ASSERT_EQ(tn_generator_seed(nullptr, 0), TN_OK);
}

TEST_F(Generator, GoesBackToAPositionAndDrawsTheSameAgain) {
    tn_generator *g = tn_generator_new(3);
    tni_generator_reserve(g, 5);
    const tn_rng at = tn_generator_position(g);
    EXPECT_EQ(at.seed, 3u);
    EXPECT_EQ(at.offset, 5u);
    tni_generator_reserve(g, 7);
    ASSERT_EQ(tn_generator_set_position(g, at), TN_OK);
    EXPECT_EQ(tni_generator_reserve(g, 1).offset, 5u);
    tn_generator_free(g);
}

TEST_F(Generator, OfAThreadIsWhatItDrawsFromByDefault) {
    tn_generator *g = tn_generator_new(11);
    EXPECT_EQ(tn_use_generator(g), nullptr);
    EXPECT_EQ(tni_generator_reserve(nullptr, 2).seed, 11u);
    EXPECT_EQ(tn_generator_position(nullptr).offset, 2u);
    std::thread([] { EXPECT_NE(tn_generator_position(nullptr).seed, 11u); }).join();
    EXPECT_EQ(tn_use_generator(nullptr), g);
    EXPECT_NE(tn_generator_position(nullptr).seed, 11u);
    tn_generator_free(g);
    EXPECT_EQ(tn_use_generator(g), nullptr);
    EXPECT_EQ(tn_error(), TN_ERR_STALE);
    tn_clear_error();
    EXPECT_EQ(tn_use_generator(nullptr), nullptr);
}

TEST_F(Generator, WhatIsNoneIsRefusedAndLeftAlone) {
    tn_tensor *t = tn_keep(Range({3}));
    tn_generator_free(reinterpret_cast<tn_generator *>(t));
    EXPECT_EQ(TakeError(), "STALE");
    EXPECT_EQ(Read(t), (std::vector<float>{0, 1, 2}));
    EXPECT_EQ(tn_drop(t), TN_OK) << tn_error_message();
    tn_generator *g = tn_generator_new(7);
    EXPECT_EQ(tn_drop(reinterpret_cast<tn_tensor *>(g)), TN_ERR_STALE);
    EXPECT_EQ(TakeError(), "STALE");
    EXPECT_EQ(tn_keep(reinterpret_cast<tn_tensor *>(g)), nullptr);
    EXPECT_EQ(TakeError(), "STALE");
    EXPECT_EQ(tn_generator_position(g).seed, 7u);
    tn_generator_free(g);
}

TEST_F(Generator, AFreedOneIsStale) {
    tn_generator *g = tn_generator_new(1);
    tn_generator_free(g);
    tni_generator_reserve(g, 1);
    EXPECT_EQ(TakeError(), "STALE");
    EXPECT_EQ(tn_generator_seed(g, 1), TN_ERR_STALE);
    EXPECT_EQ(TakeError(), "STALE");
    tn_generator_free(g);
    EXPECT_EQ(TakeError(), "STALE");
    tn_generator_free(nullptr);
}

// ---- Fork --------------------------------------------------------------------------------------

TEST_F(Fork, AChildGetsAnErrorAndNoDeadlock) {
    tn_set_threads(4);
    Cover warm(100, 1);
    tni_parallel_for(100, 1, 4, Cover::Body, &warm); // the pool has threads now
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        int failed = 0;
        if (tn_zeros(Ints({4}), TN_F32)) failed |= 1;
        if (tn_error() != TN_ERR_FORKED || !strstr(tn_error_message(), "exec")) failed |= 2;
        Cover c(100, 1);
        tni_parallel_for(100, 1, 4, Cover::Body, &c);
        if (!c.Once()) failed |= 4;
        if (tn_scope_pop(scope_) != TN_OK) failed |= 8;
        _exit(failed);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    EXPECT_NE(tn_zeros(Ints({4}), TN_F32), nullptr);
}

} // namespace
