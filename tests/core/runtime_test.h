// runtime_test.h - what the tests of core/ without any op share: a fixture that counts leaks, and
// short ways to make and read tensors.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_RUNTIME_TEST_H
#define TENON_TESTS_RUNTIME_TEST_H

#include <gtest/gtest.h>
#include <tenon/inspect.h>
#include <tenon/tenon.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

extern "C" {
#include "core/base/heap.h"
#include "core/base/threads.h"
#include "core/memory/block.h"
#include "core/memory/buffer.h"
#include "core/memory/device.h"
#include "core/memory/slab.h"
#include "core/tensor/generator.h"
// Of core/base/state.h and core/tensor/tensor.h, which are C only.
tn_status tni_raise_text(tn_status code, const char *text, uint64_t len);
tn_tensor *tni_tensor_new(tn_dtype, int32_t rank, const int64_t *sizes, tni_place *);
tn_tensor *tni_tensor_view(tn_tensor *base, const tn_meta *meta);
tn_tensor *tni_scope_own_slowly(tn_tensor *);
uint64_t tni_shape_text(const tn_meta *, char *out, uint64_t capacity);
}

using Shape = std::vector<int64_t>;

inline tn_ints Ints(const Shape &s) { return {s.data(), static_cast<int64_t>(s.size())}; }

inline tn_memory_info Stats() {
    tn_memory_info info = {};
    info.size = sizeof info;
    EXPECT_EQ(tn_memory_stats(&info), TN_OK);
    return info;
}

// The pending error's name; clears it.
inline std::string TakeError() {
    std::string name = tn_error() ? tn_status_name(tn_error()) : "";
    tn_clear_error();
    return name;
}

inline tn_tensor *View(tn_tensor *base, const Shape &sizes, const Shape &strides, int64_t offset) {
    tn_meta m = {};
    m.dtype = tn_dtype_of(base);
    m.rank = static_cast<int32_t>(sizes.size());
    std::copy(sizes.begin(), sizes.end(), m.sizes);
    std::copy(strides.begin(), strides.end(), m.strides);
    m.offset = offset;
    tn_tensor *t = tni_tensor_view(base, &m);
    return t ? tni_scope_own_slowly(t) : nullptr;
}

// 0, 1, 2, ... in f32.
inline tn_tensor *Range(const Shape &sizes) {
    int64_t n = 1;
    for (int64_t s : sizes) n *= s;
    std::vector<float> data(static_cast<size_t>(n));
    for (size_t i = 0; i < data.size(); i++) data[i] = static_cast<float>(i);
    return tn_from(data.data(), Ints(sizes), TN_F32);
}

inline std::vector<float> Read(tn_tensor *t) {
    std::vector<float> out(static_cast<size_t>(tn_numel(t)), -1.f);
    EXPECT_EQ(tn_read(t, out.data(), out.size() * sizeof(float)), TN_OK) << tn_error_message();
    return out;
}

// Each test runs in a scope of its own; what is live before and after it is compared.
class Runtime : public testing::Test {
  protected:
    void SetUp() override {
        before_ = Stats();
        scope_ = tn_scope_push();
    }
    void TearDown() override {
        EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
        tn_clear_error();
        EXPECT_EQ(tn_scope_pop(scope_), TN_OK);
        ExpectNothingLeaked();
        tn_set_threads(0);
    }
    void ExpectNothingLeaked() {
        EXPECT_EQ(Stats().tensors, before_.tensors);
        EXPECT_EQ(Stats().storages, before_.storages);
        EXPECT_EQ(Stats().allocated_bytes, before_.allocated_bytes);
    }
    tn_scope scope_;
    tn_memory_info before_;
};

#endif
