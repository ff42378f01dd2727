// registry_test.cc - what looking up and registering cost, and what a row promises.
// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include <tenon/check.h>

#include "tests/support/rows.h"

#include "modules/math/math_ops.h"

namespace {

// 0 under sanitizers, whose allocators do not count here.
size_t heap_bytes() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

class Registry : public Tenon {};

// ---- Looking up --------------------------------------------------------------------------------

TEST_F(Registry, KeepsNothingOfNamesThatWereLookedUpInVain) {
    const auto ask = [](int i) {
        const std::string name = "test_no_such_" + std::to_string(i), file = "/no/" + name + ".so";
        tn_op_info info = {};
        info.size = sizeof info;
        tn_value values[16];
        uint32_t n;
        tn_op_ref op = {name.c_str(), 0, 0};
        EXPECT_EQ(tn_op_call(&op, nullptr, 0, values, 1), TN_ERR_NOTFOUND);
        tn_clear_error();
        EXPECT_EQ(tn_op_find(name.c_str(), &info), TN_ERR_NOTFOUND);
        tn_clear_error();
        EXPECT_EQ(tn_op_sample(name.c_str(), 0, TN_F32, 1, values, &n), TN_ERR_NOTFOUND);
        tn_clear_error();
        EXPECT_EQ(tn_op_gradcheck(name.c_str(), 0, 1, nullptr), TN_ERR_NOTFOUND);
        tn_clear_error();
        EXPECT_EQ(tn_op_providers(name.c_str(), "cpu"), nullptr);
        tn_clear_error();
        EXPECT_EQ(tn_use_provider(name.c_str()), TN_ERR_NOTFOUND);
        tn_clear_error();
        EXPECT_EQ(tn_plugin_load(file.c_str()), TN_ERR_NOTFOUND);
        tn_clear_error();
    };
    for (int i = 0; i < 100; i++) ask(i); // in one scope, as a program without any does
    const size_t before = heap_bytes();
    for (int i = 100; i < 2000; i++) ask(i);
    EXPECT_LT(heap_bytes(), before + (64 << 10));
}

TEST_F(Registry, FindsAnOpThatWasLookedUpBeforeItCame) {
    tn_op_ref op = {"test_late_op", 0, 0};
    const tn_value arg = tn_value_tensor(full({2}, 1));
    tn_value out;
    EXPECT_EQ(tn_op_call(&op, &arg, 1, &out, 1), TN_ERR_NOTFOUND);
    tn_clear_error();
    tn_op row = op_row("test_late_op(Tensor<T> x) -> Tensor y");
    ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_op_call(&op, &arg, 1, &out, 1), TN_ERR_UNSUPPORTED) << "it has no kernel";
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {"test_late_op", "nobody registered one"}));
}

TEST_F(Registry, NamesTheOpWhoseNameIsTaken) {
    tn_op row = op_row("add(Tensor x) -> Tensor y");
    EXPECT_EQ(tn_op_add(&row), TN_ERR_CONFLICT);
    EXPECT_TRUE(error_is(TN_ERR_CONFLICT, {"tn_op_add: add: already registered by 'math'"}));
}

TEST_F(Registry, NamesAnOpThatIsLikeTheOneAskedForButNoOther) {
    const auto told = [](const char *name) {
        EXPECT_EQ(call(name), TN_ERR_NOTFOUND);
        const std::string text = tn_error_message();
        tn_clear_error();
        return text;
    };
    EXPECT_NE(told("reluu").find("did you mean 'relu'"), std::string::npos);
    EXPECT_NE(told("sofmtax").find("did you mean 'softmax'"), std::string::npos);
    EXPECT_EQ(told("nope_3").find("did you mean"), std::string::npos);
    EXPECT_EQ(told("xyz").find("did you mean"), std::string::npos);
}

// ---- What registering costs --------------------------------------------------------------------

double seconds_of(const std::function<void()> &work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST_F(Registry, GrowsInProportionWhenOpsAreAddedOneByOne) {
    const auto add = [](int from, int to) {
        for (int i = from; i < to; i++) {
            tn_op row = op_row("test_many_" + std::to_string(i) + "(Tensor<T> x) -> Tensor y");
            ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
        }
    };
    add(0, 500);
    const size_t start = heap_bytes();
    const double first = seconds_of([&] { add(500, 2500); });
    const size_t middle = heap_bytes();
    seconds_of([&] { add(2500, 6500); });
    const size_t later = heap_bytes();
    const double last = seconds_of([&] { add(6500, 8500); });
    const size_t end = heap_bytes();
    EXPECT_LT(end - later, (middle - start) * 3 / 2 + (1 << 20));
    EXPECT_LT(last, first * 8 + 1) << "2000 ops after 6500 others, beside 2000 after 500";
    EXPECT_EQ(call("test_many_8499"), TN_ERR_UNSUPPORTED);
    tn_clear_error();
    const double listed = seconds_of([] {
        tn_op_info info = {};
        info.size = sizeof info;
        const int64_t n = tn_op_count();
        for (int64_t i = 0; i < n; i++) ASSERT_EQ(tn_op_at(i, &info), TN_OK);
    });
    EXPECT_LT(listed, 5) << "sorted once for each op";
}

TEST_F(Registry, TakesManyRowsOfOnePluginInShortTime) {
    Rows rows;
    rows.id = "test_bulk";
    rows.one_by_one = true;
    for (int i = 0; i < 20000; i++) {
        const std::string name = "test_bulk_" + std::to_string(i);
        rows.ops.push_back(op_row(name + "(Tensor<T> x) -> Tensor y"));
        rows.kernels.push_back(kernel_row(name));
    }
    EXPECT_LT(seconds_of([&] { ASSERT_EQ(add_plugin(std::move(rows)), TN_OK); }), 20);
    EXPECT_EQ(call("test_bulk_19999"), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_last_provider(), "test_bulk");
}

TEST_F(Registry, IsReadWhileItGrows) {
    constexpr int n = 400;
    std::atomic<int> added{0};
    std::atomic<bool> wrong{false};
    const auto read = [&] {
        while (added < n) {
            const int known = added;
            tn_op_info info = {};
            info.size = sizeof info;
            const std::string last = "test_grown_" + std::to_string(known - 1);
            if (known > 0 && tn_op_find(last.c_str(), &info) != TN_OK) wrong = true;
            tn_clear_error();
            const tn_scope scope = tn_scope_push();
            if (tn_add(full({2}, 1), full({2}, 1)) == nullptr) wrong = true;
            if (tn_op_count() < known) wrong = true;
            tn_scope_pop(scope);
        }
    };
    std::vector<std::thread> readers;
    for (int i = 0; i < 3; i++) readers.emplace_back(read);
    for (int i = 0; i < n; i++) {
        tn_op row = op_row("test_grown_" + std::to_string(i) + "(Tensor<T> x) -> Tensor y");
        EXPECT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
        added = i + 1;
    }
    for (std::thread &t : readers) t.join();
    EXPECT_FALSE(wrong);
}

// ---- Providers ---------------------------------------------------------------------------------

TEST_F(Registry, PinsOnlyPluginsThatHaveKernels) {
    EXPECT_EQ(tn_use_provider("math"), TN_ERR_UNSUPPORTED);
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {"'math' has no kernels"}));
    EXPECT_EQ(tn_use_provider("cpu_ref"), TN_OK);
    EXPECT_EQ(tn_use_provider(nullptr), TN_OK);
}

TEST_F(Registry, CountsWhoseKernelsRan) {
    const auto runs = [] {
        return std::vector<uint64_t>{tn_provider_runs(nullptr), tn_provider_runs("cpu_ref"),
                                     tn_provider_runs("math")};
    };
    const auto before = runs();
    ASSERT_EQ(tn_use_provider("cpu_ref"), TN_OK);
    tn_tensor *x = full({2}, 1);
    tn_exp(tn_exp(x));
    ASSERT_EQ(tn_use_provider("cpu_blas"), TN_OK);
    tn_exp(x);
    ASSERT_EQ(tn_use_provider(nullptr), TN_OK);
    const auto after = runs();
    EXPECT_EQ(after[1] - before[1], 2u);
    EXPECT_GE(after[0] - before[0], 3u);
    EXPECT_EQ(after[2], 0u);
}

// ---- What a row promises -----------------------------------------------------------------------

TEST_F(Registry, NoticesADecompositionThatGivesWhatTheShapeRuleDoesNotSay) {
    const auto add = [](const char *schema, decltype(tn_op::decompose) decompose) {
        tn_op row = op_row(schema);
        row.decompose = decompose;
        ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    };
    add("test_longer(Tensor<T> x) -> Tensor y",
        [](const tn_value *, uint32_t, tn_value *outs, uint32_t) {
            outs[0] = tn_value_tensor(tn_ones(ints({3}), TN_F64));
            return tn_error();
        });
    add("test_narrower(Tensor<T> x) -> Tensor y",
        [](const tn_value *, uint32_t, tn_value *outs, uint32_t) {
            outs[0] = tn_value_tensor(tn_ones(ints({2}), TN_F32));
            return tn_error();
        });
    EXPECT_EQ(call("test_longer"), TN_ERR_INTERNAL);
    EXPECT_TRUE(
        error_is(TN_ERR_INTERNAL, {"test_longer", "gave f64[3]", "its shape rule says f64[2]"}));
    EXPECT_EQ(call("test_narrower"), TN_ERR_INTERNAL);
    EXPECT_TRUE(error_is(TN_ERR_INTERNAL, {"test_narrower", "gave f32[2]", "says f64[2]"}));
}

TEST_F(Registry, DoesNotTakeARowThatComparesNothingForCorrect) {
    const auto add = [](const char *schema, const char *samples) {
        tn_op row = op_row(schema);
        row.samples = samples;
        row.no_grad = nullptr;
        row.decompose = [](const tn_value *args, uint32_t, tn_value *outs, uint32_t) {
            outs[0] = tn_value_tensor(tn_mul(args[0].tensor, args[0].tensor));
            return tn_error();
        };
        ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    };
    add("test_unsampled(Tensor<F> x) -> Tensor y", "");
    add("test_empty(Tensor<F> x) -> Tensor y", "x[0] | x[2,0]");
    add("test_sampled(Tensor<F> x) -> Tensor y", "x[0] | x[2]");
    for (const int order : {1, 2}) {
        for (const int64_t i : {-1, 0}) {
            EXPECT_EQ(tn_op_gradcheck("test_unsampled", i, order, nullptr), TN_ERR_NOTFOUND);
            EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"test_unsampled", "no sample"}));
            EXPECT_EQ(tn_op_gradcheck("test_empty", i, order, nullptr), TN_ERR_GRAD);
            EXPECT_TRUE(error_is(TN_ERR_GRAD, {"test_empty", "nothing was compared"}));
            EXPECT_EQ(tn_op_gradcheck("test_sampled", i, order, nullptr), TN_OK)
                << tn_error_message();
        }
        EXPECT_EQ(tn_op_gradcheck("test_sampled", 2, order, nullptr), TN_ERR_NOTFOUND);
        EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"test_sampled", "no sample 2"}));
    }
    tn_tensor *none = param(full({0}, 1));
    const auto square = [](void *, tn_tensor *const *in, int64_t) { return tn_mul(in[0], in[0]); };
    EXPECT_EQ(tn_gradcheck(square, nullptr, {&none, 1}, nullptr), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"nothing was compared"}));
}

} // namespace
