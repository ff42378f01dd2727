// mock_test.cc - a device that is no cpu: memory of its own, streams, events, moves between devices.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <random>

#include <tenon/hooks.h>

#include "modules/math/math_ops.h"

namespace {

class Mock : public Tenon {
  protected:
    const tn_device cpu = {TN_CPU, 0}, here = tn_current_device(), other = {here.kind, 1};

    void TearDown() override {
        tn_use_stream(tn_default_stream(here));
        tn_device_sync(here);
        Tenon::TearDown();
    }
};

tn_tensor *vector(std::initializer_list<float> list) {
    const int64_t n = static_cast<int64_t>(list.size());
    return tn_from(list.begin(), {&n, 1}, TN_F32);
}

tn_tensor *filled(int64_t n, double value) { return tn_full({&n, 1}, tn_float(value), TN_F32); }

bool same_device(tn_device a, tn_device b) { return a.kind == b.kind && a.index == b.index; }

// ---- Places ----

TEST_F(Mock, TensorsAreMadeThereAndComputedThere) {
    tn_tensor *x = vector({1, 2, 3});
    EXPECT_TRUE(same_device(tn_device_of(x), here));
    EXPECT_EQ(numbers(tn_mul(x, x)), (Numbers{1, 4, 9}));
    EXPECT_STREQ(tn_last_provider(), "mock");
    EXPECT_EQ(tn_data(x), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_DEVICE, {"mock:0", "tn_read"}));
}

TEST_F(Mock, NumbersGoAlong) {
    tn_tensor *x = vector({1, 2, 3});
    EXPECT_EQ(numbers(tn_add(tn_mul(x, tn_scalar(2)), tn_scalar(1))), (Numbers{3, 5, 7}));
    EXPECT_EQ(tn_item(tn_mean(x)), 2);
    tn_use_device(cpu);
    tn_tensor *one = vector({10});
    tn_use_device(here);
    EXPECT_EQ(numbers(tn_mul(x, one)), (Numbers{10, 20, 30}));
}

TEST_F(Mock, TwoDevicesInOneCallAreNamed) {
    tn_tensor *x = vector({1, 2, 3});
    tn_use_device(other);
    tn_tensor *y = vector({1, 2, 3});
    tn_use_device(here);
    EXPECT_EQ(tn_add(x, y), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_DEVICE, {"add", "different devices"}));
}

TEST_F(Mock, GradientsComeBackToTheDevice) {
    tn_tensor *x = vector({1, 2, 3});
    tn_set_requires_grad(x, true);
    ASSERT_EQ(tn_backward(tn_sum(tn_mul(x, x))), TN_OK) << tn_error_message();
    EXPECT_TRUE(same_device(tn_device_of(tn_grad_of(x)), here));
    EXPECT_EQ(grad(x), (Numbers{2, 4, 6}));
}

TEST_F(Mock, DevicesAreFoundByName) {
    EXPECT_TRUE(same_device(tn_device_find("mock:1"), other));
    EXPECT_TRUE(same_device(tn_device_find("mock"), here));
    EXPECT_TRUE(same_device(tn_device_find("cpu"), cpu));
    EXPECT_EQ(tn_device_find("mock:2").kind, 0);
    EXPECT_TRUE(error_is(TN_ERR_DEVICE, {"mock:2", "mock:0", "mock:1"}));
    EXPECT_EQ(tn_device_find("gpu:0").kind, 0);
    EXPECT_TRUE(error_is(TN_ERR_DEVICE, {"gpu:0", "cpu:0"}));
    for (const char *text : {"", "mock:", "mock:x", "mock:-1", "mock:1x", ":1", "Mock:0"}) {
        EXPECT_EQ(tn_device_find(text).kind, 0);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"is no device"})) << text;
    }
    EXPECT_EQ(tn_device_find(nullptr).kind, 0);
    EXPECT_TRUE(error_is(TN_ERR_INVALID));
}

// ---- Moves ----

TEST_F(Mock, TensorsMoveBetweenDevicesAndTheirGradientsBack) {
    tn_tensor *x = vector({1, 2, 3});
    tn_set_requires_grad(x, true);
    tn_tensor *far = tn_to_device(x, other);
    EXPECT_TRUE(same_device(tn_device_of(far), other));
    tn_tensor *home = tn_to_device(tn_mul(far, far), cpu);
    EXPECT_TRUE(same_device(tn_device_of(home), cpu));
    ASSERT_EQ(tn_backward(tn_sum(home)), TN_OK) << tn_error_message();
    EXPECT_TRUE(same_device(tn_device_of(tn_grad_of(x)), here));
    EXPECT_EQ(grad(x), (Numbers{2, 4, 6}));
    EXPECT_EQ(tn_to_device(x, here), x);
}

TEST_F(Mock, ViewsMoveAsWhatTheyShow) {
    const int64_t sizes[] = {2, 3};
    tn_tensor *x = tn_reshape(vector({1, 2, 3, 4, 5, 6}), {sizes, 2});
    EXPECT_EQ(numbers(tn_to_device(tn_transpose(x, 0, 1), other)), (Numbers{1, 4, 2, 5, 3, 6}));
}

TEST_F(Mock, AnUnknownDeviceToMoveToIsNamed) {
    EXPECT_EQ(tn_to_device(vector({1}), {here.kind, 7}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_DEVICE, {"mock:7"}));
}

TEST_F(Mock, PinnedMemoryIsCopiedWithoutWaiting) {
    const int64_t n = 1 << 18;
    tn_tensor *x = tn_empty_pinned({&n, 1}, TN_F32, here);
    ASSERT_NE(x, nullptr) << tn_error_message();
    EXPECT_TRUE(same_device(tn_device_of(x), cpu));
    std::fill_n(static_cast<float *>(tn_data(x)), n, 3.0f);
    const uint64_t before = memory_now().host_waits;
    const tn_scope scope = tn_scope_push();
    tn_tensor *there = tn_keep(tn_to_device(x, here));
    tn_scope_pop(scope);
    EXPECT_EQ(memory_now().host_waits, before);
    EXPECT_EQ(tn_item(tn_sum(there)), 3.0 * static_cast<double>(n));
    tn_drop(there);
}

// ---- Streams and events ----

TEST_F(Mock, AStreamWaitsForAnEventOfAnother) {
    tn_stream *a = tn_stream_new(here), *b = tn_stream_new(here);
    tn_event *made = tn_event_new(here);
    tn_use_stream(a);
    tn_tensor *x = filled(1 << 16, 1);
    for (int i = 0; i < 20; i++) x = tn_add(x, 1);
    EXPECT_EQ(tn_event_record(made, a), TN_OK);
    EXPECT_EQ(tn_stream_wait(b, made), TN_OK);
    tn_use_stream(b);
    tn_tensor *y = tn_mul(x, 2);
    EXPECT_EQ(tn_stream_sync(b), TN_OK);
    EXPECT_TRUE(tn_event_done(made));
    EXPECT_EQ(tn_item(tn_amax(y, nullptr)), 42);
    tn_use_stream(tn_default_stream(here));
    EXPECT_EQ(tn_event_free(made), TN_OK);
    EXPECT_EQ(tn_stream_free(a), TN_OK);
    EXPECT_EQ(tn_stream_free(b), TN_OK);
}

TEST_F(Mock, WhatWasFreedAnswersStale) {
    tn_stream *s = tn_stream_new(here);
    tn_event *e = tn_event_new(here);
    EXPECT_EQ(tn_stream_free(s), TN_OK);
    EXPECT_EQ(tn_stream_free(s), TN_ERR_STALE);
    tn_clear_error();
    tn_use_stream(s);
    EXPECT_TRUE(error_is(TN_ERR_STALE, {"tn_use_stream"}));
    EXPECT_EQ(tn_event_free(e), TN_OK);
    EXPECT_EQ(tn_event_sync(e), TN_ERR_STALE);
    tn_clear_error();
    EXPECT_EQ(tn_stream_sync(nullptr), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_default_stream"}));
    EXPECT_EQ(tn_stream_free(tn_default_stream(here)), TN_ERR_INVALID);
    tn_clear_error();
}

TEST_F(Mock, StreamsAndEventsOfTwoDevicesAreNamed) {
    tn_event *e = tn_event_new(other);
    EXPECT_EQ(tn_event_record(e, tn_default_stream(here)), TN_ERR_DEVICE);
    EXPECT_TRUE(error_is(TN_ERR_DEVICE, {"mock:0", "mock:1"}));
    EXPECT_EQ(tn_event_free(e), TN_OK);
    EXPECT_EQ(tn_stream_new({here.kind, 9}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_DEVICE, {"mock:9"}));
}

TEST_F(Mock, BackwardWorksOnTheStreamsOfItsCallsAndIsDoneForTheCaller) {
    tn_stream *a = tn_stream_new(here), *b = tn_stream_new(here);
    tn_event *e = tn_event_new(here);
    tn_tensor *x = filled(1 << 14, 2);
    tn_set_requires_grad(x, true);
    tn_device_sync(here);
    tn_use_stream(a);
    tn_tensor *y = tn_mul(x, x);
    tn_event_record(e, a);
    tn_use_stream(b);
    tn_stream_wait(b, e);
    tn_tensor *z = tn_sum(tn_mul(y, y));
    tn_event_record(e, b);
    tn_use_stream(tn_default_stream(here));
    tn_stream_wait(tn_default_stream(here), e);
    ASSERT_EQ(tn_backward(z), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_item(tn_mean(tn_grad_of(x))), 32); // 4 x^3
    tn_event_free(e), tn_stream_free(a), tn_stream_free(b);
}

TEST_F(Mock, WhatTwoStreamsAddToOneGradientIsAllThere) {
    tn_stream *a = tn_stream_new(here), *b = tn_stream_new(here);
    tn_tensor *x = filled(1 << 16, 1);
    tn_set_requires_grad(x, true);
    tn_device_sync(here);
    tn_use_stream(a);
    tn_tensor *h = tn_mul(x, tn_scalar(1));
    tn_stream_sync(a);
    tn_use_stream(b);
    tn_tensor *slow = h;
    for (int i = 0; i < 50; i++) slow = tn_mul(slow, tn_scalar(1));
    tn_stream_sync(b);
    tn_use_stream(a);
    tn_tensor *fast = tn_mul(h, tn_scalar(2)); // newer: its gradient is there first, on stream a
    tn_device_sync(here);
    tn_use_stream(tn_default_stream(here));
    ASSERT_EQ(tn_backward(tn_sum(tn_add(slow, fast))), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_item(tn_amin(tn_grad_of(x), nullptr)), 3);
    EXPECT_EQ(tn_item(tn_amax(tn_grad_of(x), nullptr)), 3);
    tn_stream_free(a), tn_stream_free(b);
}

struct Sent { // a gradient on its way, on a stream of its own
    tn_stream *stream, *came_from;
    tn_event *ready;
    tn_tensor *copy;
};

void send(void *user, tn_tensor *leaf) {
    auto *s = static_cast<Sent *>(user);
    s->came_from = tn_current_stream();
    tn_event_record(s->ready, s->came_from);
    tn_stream_wait(s->stream, s->ready);
    tn_tensor *grad = tn_grad_of(leaf);
    tn_use_stream(s->stream);
    tn_copy_(s->copy, grad);
}

TEST_F(Mock, AHookOfALeafIsOnTheStreamWhereItsGradientComesAbout) {
    Sent s = {tn_stream_new(here), nullptr, tn_event_new(here), nullptr};
    tn_stream *a = tn_stream_new(here);
    tn_tensor *flat = filled(1 << 15, 0), *x = filled(1 << 14, 2), *w = filled(1 << 14, 2);
    for (tn_tensor *leaf : {x, w}) {
        tn_set_requires_grad(leaf, true);
        tn_accumulated_hook(leaf, send, &s);
    }
    ASSERT_EQ(tn_grad_set(w, tn_narrow(flat, 0, 1 << 14, 1 << 14)), TN_OK) << tn_error_message();
    for (tn_tensor *leaf : {x, w}) {
        s.copy = filled(1 << 14, 0);
        tn_device_sync(here);
        tn_use_stream(a);
        tn_tensor *loss = tn_sum(tn_mul(tn_mul(leaf, leaf), leaf));
        tn_stream_sync(a);
        tn_use_stream(tn_default_stream(here));
        ASSERT_EQ(tn_backward(loss), TN_OK) << tn_error_message();
        EXPECT_EQ(tn_current_stream(), tn_default_stream(here));
        EXPECT_EQ(s.came_from, leaf == x ? a : tn_default_stream(here)) << "where the memory lies";
        tn_stream_sync(s.stream);
        EXPECT_EQ(tn_item(tn_amin(s.copy, nullptr)), 12);
        EXPECT_EQ(tn_item(tn_mean(tn_grad_of(leaf))), 12);
    }
    EXPECT_EQ(tn_item(tn_sum(flat)), 12.0 * (1 << 14));
    tn_event_free(s.ready), tn_stream_free(s.stream), tn_stream_free(a);
}

// ---- The pool ----

TEST_F(Mock, MemoryComesBackToItsStreamAtOnceAndToOthersWhenTheyAreDone) {
    if (getenv("TENON_ALLOC")) GTEST_SKIP() << "caches are off";
    const int64_t n = 1 << 20;
    tn_device_sync(here);
    const tn_scope warm = tn_scope_push();
    filled(n, 0);
    tn_scope_pop(warm);
    const tn_memory_info before = memory_now();
    for (int i = 0; i < 50; i++) {
        const tn_scope scope = tn_scope_push();
        filled(n, i);
        tn_scope_pop(scope);
    }
    const tn_memory_info after = memory_now();
    EXPECT_EQ(after.system_allocs, before.system_allocs);
    EXPECT_EQ(after.host_waits, before.host_waits);

    tn_stream *s = tn_stream_new(here);
    const tn_scope scope = tn_scope_push();
    tn_tensor *x = filled(n, 7);
    tn_event *made = tn_event_new(here);
    tn_event_record(made, tn_default_stream(here));
    tn_stream_wait(s, made);
    tn_use_stream(s);
    tn_tensor *y = tn_keep(tn_add(x, 1)); // reads x on another stream
    tn_scope_pop(scope);                  // x is free, but its memory is not yet
    EXPECT_EQ(memory_now().host_waits, before.host_waits);
    tn_use_stream(tn_default_stream(here));
    filled(n, 100); // must not take x's memory while s reads it
    tn_stream_sync(s);
    EXPECT_EQ(tn_item(tn_mean(y)), 8);
    tn_drop(y);
    tn_stream_free(s), tn_event_free(made);
}

TEST_F(Mock, TrimWaitsForWorkInFlight) {
    tn_tensor *x = filled(1 << 20, 1);
    tn_tensor *y = tn_add(x, 1);
    for (int i = 0; i < 10; i++) y = tn_add(y, 1);
    const tn_scope scope = tn_scope_push();
    tn_tensor *z = tn_mul(tn_mul(y, 2), 1);
    EXPECT_NE(z, nullptr);
    tn_scope_pop(scope);
    tn_memory_trim();
    EXPECT_EQ(tn_item(tn_mean(y)), 12);
}

TEST_F(Mock, WhatTheDeviceCannotHoldSaysSo) {
    const int64_t n = INT64_C(1) << 33;
    EXPECT_EQ(tn_empty({&n, 1}, TN_F32), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_NOMEM, {"mock:0", "32 GiB", "never fit"}));
}

// ---- What goes wrong in queued work ----

TEST_F(Mock, AWrongIndexIsNamedAtTheNextWaitAndWorkGoesOn) {
    const int64_t bad[] = {0, 9}, two = 2;
    tn_tensor *x = vector({1, 2, 3}), *index = tn_from(bad, {&two, 1}, TN_I64);
    EXPECT_NE(tn_gather(x, 0, index), nullptr) << tn_error_message();
    EXPECT_EQ(tn_device_sync(here), TN_ERR_INDEX);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"gather", "mock:0", "9, where 3 are allowed"}));
    EXPECT_EQ(tn_device_sync(here), TN_OK);
    EXPECT_EQ(numbers(tn_add(x, x)), (Numbers{2, 4, 6}));
}

TEST_F(Mock, AForkedChildIsToldAndDoesNotWait) {
    tn_tensor *x = filled(1000, 1);
    tn_device_sync(here);
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        const bool told = tn_add(x, 1) == nullptr && tn_error() == TN_ERR_FORKED;
        tn_clear_error();
        tn_memory_trim();
        _exit(told ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(tn_item(tn_mean(x)), 1);
}

// ---- Schedules ----

// Chains of ops dealt out to streams at random, joined by events: what comes out is what the cpu's
// order gives.
TEST_F(Mock, RandomSchedulesOfStreamsGiveTheBitsOfTheCpu) {
    enum { STREAMS = 3, VALUES = 6, STEPS = 12 };
    const char *more = getenv("TENON_MOCK_SCHEDULES");
    const int schedules = more ? atoi(more) : 300;
    tn_stream *streams[STREAMS];
    tn_event *events[VALUES];
    for (tn_stream *&s : streams) s = tn_stream_new(here);
    for (tn_event *&e : events) e = tn_event_new(here);
    for (int seed = 0; seed < schedules; seed++) {
        std::mt19937 random(static_cast<unsigned>(seed));
        const auto pick = [&](int n) {
            return static_cast<int>(random() % static_cast<unsigned>(n));
        };
        const tn_scope scope = tn_scope_push();
        tn_tensor *value[VALUES];
        double want[VALUES];
        for (int i = 0; i < VALUES; i++) {
            tn_use_stream(streams[i % STREAMS]);
            value[i] = filled(64 + 64 * i % 256, want[i] = i + 1);
            tn_event_record(events[i], streams[i % STREAMS]);
        }
        for (int step = 0; step < STEPS; step++) {
            const int to = pick(VALUES), from = pick(VALUES), s = pick(STREAMS);
            tn_use_stream(streams[s]);
            tn_stream_wait(streams[s], events[to]);
            tn_stream_wait(streams[s], events[from]);
            tn_tensor *sum = tn_amax(value[from], nullptr);
            value[to] = tn_add(tn_mul(value[to], 0.5), sum);
            want[to] = static_cast<double>(static_cast<float>(want[to] * 0.5) +
                                           static_cast<float>(want[from]));
            tn_event_record(events[to], streams[s]);
        }
        for (int i = 0; i < VALUES; i++) {
            tn_event_sync(events[i]);
            EXPECT_EQ(tn_item(tn_amin(value[i], nullptr)), want[i]) << "seed " << seed;
            EXPECT_EQ(tn_item(tn_amax(value[i], nullptr)), want[i]) << "seed " << seed;
        }
        tn_scope_pop(scope);
        ASSERT_EQ(tn_error(), TN_OK) << tn_error_message();
    }
    tn_use_stream(tn_default_stream(here));
    for (tn_stream *s : streams) tn_stream_free(s);
    for (tn_event *e : events) tn_event_free(e);
}

} // namespace
