// runtime_scope_test.cc - who frees what, and the pending error of each thread.
// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <thread>

#include "tests/core/runtime_test.h"

namespace {

using Scope = Runtime;
using Error = Runtime;

TEST_F(Scope, FreesWhatItOwnsWhenPopped) {
    tn_scope s = tn_scope_push();
    for (int i = 0; i < 1000; i++) ASSERT_NE(tn_empty(Ints({8}), TN_F32), nullptr);
    EXPECT_EQ(Stats().tensors, before_.tensors + 1000);
    EXPECT_EQ(Stats().allocated_bytes, before_.allocated_bytes + 1000 * 32);
    EXPECT_EQ(tn_scope_pop(s), TN_OK);
    ExpectNothingLeaked();
}

TEST_F(Scope, PoppingAnOuterOneReleasesTheInnerOnes) {
    tn_scope outer = tn_scope_push(), middle = tn_scope_push();
    tn_tensor *a = tn_zeros(Ints({2}), TN_F32);
    tn_scope inner = tn_scope_push();
    tn_tensor *b = tn_zeros(Ints({2}), TN_F32);
    EXPECT_EQ(tn_scope_pop(outer), TN_OK);
    EXPECT_EQ(tn_rank(a), -1);
    EXPECT_EQ(TakeError(), "STALE");
    EXPECT_EQ(tn_rank(b), -1);
    EXPECT_EQ(TakeError(), "STALE");
    EXPECT_EQ(tn_scope_pop(inner), TN_ERR_SCOPE);
    EXPECT_EQ(TakeError(), "SCOPE");
    EXPECT_EQ(tn_scope_pop(middle), TN_ERR_SCOPE);
    EXPECT_EQ(TakeError(), "SCOPE");
}

TEST_F(Scope, RefusesAStaleMarkAlsoWhenANewScopeIsAtItsDepth) {
    tn_scope old = tn_scope_push();
    ASSERT_EQ(tn_scope_pop(old), TN_OK);
    tn_scope now = tn_scope_push();
    tn_tensor *t = tn_zeros(Ints({}), TN_F32);
    EXPECT_EQ(tn_scope_pop(old), TN_ERR_SCOPE);
    EXPECT_EQ(TakeError(), "SCOPE");
    EXPECT_EQ(tn_rank(t), 0);
    EXPECT_EQ(tn_scope_pop(now), TN_OK);
}

TEST_F(Scope, RefusesAScopeOfAnotherThread) {
    tn_scope mine = tn_scope_push();
    std::string name, text;
    std::thread([&] {
        EXPECT_EQ(tn_scope_pop(mine), TN_ERR_SCOPE);
        text = tn_error_message();
        name = TakeError();
    }).join();
    EXPECT_EQ(name, "SCOPE");
    EXPECT_NE(text.find("thread"), std::string::npos) << text;
    EXPECT_EQ(tn_scope_pop(mine), TN_OK);
}

TEST_F(Scope, PopWithMovesKeptTensorsToTheParent) {
    tn_scope outer = tn_scope_push(), inner = tn_scope_push();
    tn_tensor *gone = tn_zeros(Ints({3}), TN_F32), *kept = Range({3});
    tn_tensor *list[] = {kept, nullptr, kept};
    EXPECT_EQ(tn_scope_pop_with(inner, list, 3), TN_OK);
    EXPECT_EQ(Read(kept), (std::vector<float>{0, 1, 2}));
    EXPECT_EQ(tn_numel(gone), -1);
    EXPECT_EQ(TakeError(), "STALE");
    EXPECT_EQ(tn_scope_pop(outer), TN_OK);
    EXPECT_EQ(tn_numel(kept), -1);
    EXPECT_EQ(TakeError(), "STALE");
}

TEST_F(Scope, PopWithLeavesAllAsItWasWhenAKeptTensorIsStale) {
    tn_scope s = tn_scope_push();
    tn_tensor *gone = tn_zeros(Ints({3}), TN_F32);
    tn_scope_pop(s);
    s = tn_scope_push();
    tn_tensor *live = tn_zeros(Ints({3}), TN_F32);
    EXPECT_EQ(tn_scope_pop_with(s, &gone, 1), TN_ERR_STALE);
    EXPECT_EQ(TakeError(), "STALE");
    EXPECT_EQ(tn_scope_pop_with(s, nullptr, 1), TN_ERR_INVALID);
    EXPECT_EQ(TakeError(), "INVALID");
    EXPECT_EQ(tn_numel(live), 3);
    EXPECT_EQ(tn_scope_pop(s), TN_OK);
}

TEST_F(Scope, KeepOutlivesTheScopeUntilTheLastDrop) {
    tn_scope s = tn_scope_push();
    tn_tensor *t = tn_keep(tn_keep(Range({4})));
    tn_scope_pop(s);
    EXPECT_EQ(tn_drop(t), TN_OK);
    EXPECT_EQ(tn_numel(t), 4);
    EXPECT_EQ(tn_drop(t), TN_OK);
    EXPECT_EQ(tn_drop(t), TN_ERR_STALE);
    EXPECT_EQ(TakeError(), "STALE");
    EXPECT_EQ(tn_drop(nullptr), TN_OK);
}

TEST_F(Scope, DropWithoutKeepIsRefused) {
    tn_tensor *t = Range({4});
    EXPECT_EQ(tn_drop(t), TN_ERR_INVALID);
    EXPECT_EQ(TakeError(), "INVALID");
    EXPECT_EQ(tn_numel(t), 4);
}

TEST_F(Scope, AdoptSharesATensorOfAnotherThread) {
    tn_tensor *t = nullptr;
    std::atomic<int> step{0};
    std::thread maker([&] {
        tn_scope s = tn_scope_push();
        t = Range({5});
        step = 1;
        while (step != 2) std::this_thread::yield();
        tn_scope_pop(s);
    });
    while (step != 1) std::this_thread::yield();
    EXPECT_EQ(tn_scope_adopt(t), TN_OK);
    step = 2;
    maker.join();
    EXPECT_EQ(Read(t), (std::vector<float>{0, 1, 2, 3, 4}));
}

TEST_F(Scope, WhatAThreadLeavesBehindIsFreedWhenItEnds) {
    std::thread([] {
        tn_scope_push();
        for (int i = 0; i < 100; i++) tn_zeros(Ints({100}), TN_F64);
        tn_raise(TN_ERR_SHAPE, "left behind");
    }).join();
    ExpectNothingLeaked();
}

TEST_F(Scope, PopsAndDropsWorkWhileAnErrorIsPending) {
    tn_tensor *kept = tn_keep(Range({2}));
    tn_scope s = tn_scope_push();
    Range({2});
    tn_raise(TN_ERR_SHAPE, "first");
    EXPECT_EQ(tn_scope_pop(s), TN_OK);
    EXPECT_EQ(tn_drop(kept), TN_OK);
    s = tn_scope_push();
    EXPECT_EQ(tn_scope_pop_with(s, nullptr, 0), TN_OK);
    EXPECT_EQ(TakeError(), "SHAPE");
}

TEST_F(Scope, WarmOnesCallNoAllocator) {
    if (getenv("TENON_ALLOC")) GTEST_SKIP() << "caches are off";
    auto work = [] {
        tn_scope s = tn_scope_push();
        for (int i = 0; i < 300; i++) tn_empty(Ints({8}), TN_F32);
        tn_empty(Ints({1000, 1000}), TN_F32);
        tn_scope_pop(s);
    };
    for (int i = 0; i < 10; i++) work();
    const uint64_t calls = tni_heap_calls();
    for (int i = 0; i < 100; i++) work();
    EXPECT_EQ(tni_heap_calls(), calls);
}

// ---- Errors ------------------------------------------------------------------------------------

TEST_F(Error, TheFirstOneStaysAndNothingIsMade) {
    EXPECT_EQ(tn_raise(TN_ERR_SHAPE, "number %d", 1), TN_ERR_SHAPE);
    EXPECT_EQ(tn_raise(TN_ERR_DTYPE, "number %d", 2), TN_ERR_SHAPE);
    EXPECT_STREQ(tn_error_message(), "number 1");
    EXPECT_EQ(tni_raise_text(TN_ERR_IO, "three", 5), TN_ERR_SHAPE);
    EXPECT_STREQ(tn_error_message(), "number 1");
    EXPECT_EQ(tn_zeros(Ints({1}), TN_F32), nullptr);
    EXPECT_EQ(tn_generator_new(1), nullptr);
    EXPECT_STREQ(tn_error_message(), "number 1");
    tn_clear_error();
    EXPECT_STREQ(tn_error_message(), "");
}

TEST_F(Error, LongTextsAreWhole) {
    const std::string text(5000, 'x');
    tn_raise(TN_ERR_IO, "<%s>", text.c_str());
    EXPECT_EQ(tn_error_message(), "<" + text + ">");
    tn_clear_error();
}

TEST_F(Error, CodesHaveNamesAndTexts) {
    EXPECT_STREQ(tn_status_name(TN_ERR_SHAPE), "SHAPE");
    EXPECT_STREQ(tn_status_text(TN_ERR_NOMEM), "out of memory");
    EXPECT_STREQ(tn_status_name(-1), "UNKNOWN");
    EXPECT_STREQ(tn_status_name(TN_STATUS_COUNT), "UNKNOWN");
    EXPECT_STREQ(tn_status_text(1 << 30), "unknown error");
}

TEST_F(Error, ThreadsHaveTheirOwn) {
    tn_raise(TN_ERR_SHAPE, "mine");
    std::thread([] { EXPECT_EQ(tn_error(), TN_OK); }).join();
    EXPECT_EQ(TakeError(), "SHAPE");
}

} // namespace
