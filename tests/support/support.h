// support.h - short words for tests: tensors from numbers, numbers from tensors, and a fixture that
// starts Tenon with the plugins of the build tree and finds leaks.
//
// TENON_TEST_PLUGINS in the environment lists plugin files, joined by ':', relative to the working
// folder; their folders become the plugin path. SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_SUPPORT_H
#define TENON_TESTS_SUPPORT_H

#include <gtest/gtest.h>
#include <limits.h>
#include <stdlib.h>
#include <tenon/device.h>
#include <tenon/inspect.h>
#include <tenon/tenon.h>

#include <initializer_list>
#include <string>
#include <vector>

using Shape = std::vector<int64_t>;
using Numbers = std::vector<double>;

// Lives as long as the full expression it is written in.
inline tn_ints ints(std::initializer_list<int64_t> list) {
    return {list.begin(), static_cast<int64_t>(list.size())};
}

inline tn_ints ints(const Shape &list) { return {list.data(), static_cast<int64_t>(list.size())}; }

inline tn_tensors tensors(const std::vector<tn_tensor *> &list) {
    return {list.data(), static_cast<int64_t>(list.size())};
}

inline tn_tensor *full(const Shape &sizes, double number, tn_dtype dtype = TN_F64) {
    return tn_full(ints(sizes), tn_float(number), dtype);
}

inline tn_tensor *from(const Numbers &numbers, const Shape &sizes) {
    return tn_from(numbers.data(), ints(sizes), TN_F64);
}

inline tn_tensor *from(const Numbers &numbers) {
    return from(numbers, {static_cast<int64_t>(numbers.size())});
}

// The tensor itself, as a leaf that requires grad.
inline tn_tensor *param(tn_tensor *t) {
    EXPECT_EQ(tn_set_requires_grad(t, true), TN_OK) << tn_error_message();
    return t;
}

inline tn_tensor *number(double x) { return tn_scalar(x); }

inline Shape shape(tn_tensor *t) {
    const int64_t *sizes = t ? tn_sizes(t) : nullptr;
    return sizes ? Shape(sizes, sizes + tn_rank(t)) : Shape{-1};
}

// Elements in row-major order; empty for NULL or what is not f64 or f32.
inline Numbers numbers(tn_tensor *t) {
    if (!t) return {};
    Numbers out(static_cast<size_t>(tn_numel(t)));
    if (tn_dtype_is(tn_dtype_of(t), TN_F64)) {
        if (tn_read(t, out.data(), out.size() * sizeof(double))) return {};
        return out;
    }
    std::vector<float> narrow(out.size());
    if (tn_read(t, narrow.data(), narrow.size() * sizeof(float))) return {};
    return Numbers(narrow.begin(), narrow.end());
}

inline Numbers grad(tn_tensor *leaf) { return numbers(tn_grad_of(leaf)); }

inline tn_memory_info memory_now() {
    tn_memory_info info = {};
    info.size = sizeof info;
    EXPECT_EQ(tn_memory_stats(&info), TN_OK);
    return info;
}

// An error with this code is pending and its text has all these parts; clears it.
inline ::testing::AssertionResult error_is(tn_status code,
                                           std::initializer_list<const char *> parts = {}) {
    const tn_status have = tn_error();
    const std::string text = tn_error_message();
    tn_clear_error();
    if (have != code)
        return ::testing::AssertionFailure() << "error is " << tn_status_name(have) << ": " << text;
    for (const char *part : parts)
        if (text.find(part) == std::string::npos)
            return ::testing::AssertionFailure() << "'" << part << "' is not in: " << text;
    return ::testing::AssertionSuccess();
}

// "modules/math/math.so:backends/cpu_ref/cpu_ref.so" -> "/tree/modules/math:/tree/backends/cpu_ref"
inline std::string plugin_folders() {
    const char *list = getenv("TENON_TEST_PLUGINS");
    std::string rest = list ? list : "", folders;
    while (!rest.empty()) {
        const size_t end = rest.find(':');
        const std::string file = rest.substr(0, end);
        rest = end == std::string::npos ? "" : rest.substr(end + 1);
        char path[PATH_MAX];
        if (!realpath(file.c_str(), path)) continue;
        const std::string whole = path;
        folders += (folders.empty() ? "" : ":") + whole.substr(0, whole.rfind('/'));
    }
    return folders;
}

// Starts Tenon once; each test runs in a scope, ends without a pending error, and leaves no tensor,
// storage or tape node behind.
class Tenon : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        static const tn_status started = [] {
            static const std::string folders = plugin_folders();
            tn_init_opts opts = {};
            if (!folders.empty()) opts.plugin_path = folders.c_str();
            return tn_init(&opts);
        }();
        ASSERT_EQ(started, TN_OK) << tn_error_message();
        if (const char *device = getenv("TENON_TEST_DEVICE")) tn_use_device(tn_device_find(device));
        ASSERT_EQ(tn_error(), TN_OK) << tn_error_message();
    }

    // What is promised holds whoever computes.
    template <class Check> static void on_each_provider(Check check) {
        const bool here = tn_current_device().kind == TN_CPU;
        for (const char *provider : here ? std::vector<const char *>{"cpu_ref", "cpu_blas"}
                                         : std::vector<const char *>{"mock"}) {
            SCOPED_TRACE(provider);
            ASSERT_EQ(tn_use_provider(provider), TN_OK) << tn_error_message();
            check();
        }
        tn_use_provider(nullptr);
    }

    void SetUp() override {
        tn_clear_error();
        before_ = memory_now();
        scope_ = tn_scope_push();
    }

    void TearDown() override {
        EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
        tn_clear_error();
        EXPECT_TRUE(tn_grad_enabled());
        EXPECT_EQ(tn_scope_pop(scope_), TN_OK) << tn_error_message();
        const tn_memory_info after = memory_now();
        EXPECT_EQ(after.tensors, before_.tensors) << "tensors leaked";
        EXPECT_EQ(after.storages, before_.storages) << "storages leaked";
        EXPECT_EQ(after.nodes, before_.nodes) << "tape nodes leaked";
    }

  private:
    tn_memory_info before_;
    tn_scope scope_;
};

#endif
