// dispatch_test.cc - the life of a call: signatures, plans, the provider chain, copies, promotion,
// errors. SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>

#include <tenon/hooks.h>
#include <tenon/inspect.h>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

namespace {

// ---- A provider that counts what is asked of it ----

struct Counts {
    std::atomic<int> supports, plan, run, drop;
    std::atomic<uint32_t> math;
};
Counts fast, slow;
std::atomic<int> fast_answer{TN_YES}, fast_reason{TN_REASON_NONE};
std::atomic<uint32_t> fast_contiguous{0};
std::atomic<int> run_fails{0};

Counts *counts_of(const tn_call *c) { return c->user ? &fast : &slow; }

void twice_supports(const tn_call *c, tn_verdict *v) {
    counts_of(c)->supports++;
    v->answer = c->user ? fast_answer.load() : TN_YES;
    v->contiguous = fast_contiguous;
    v->reason = fast_reason;
}

tn_status twice_plan(tn_call *c, tn_plan *out) {
    counts_of(c)->plan++;
    EXPECT_EQ(c->args[0].view->data, nullptr) << "planning sees no data";
    EXPECT_EQ(c->args[1].tag, TN_TAG_NONE) << "planning sees no run-time argument";
    out->data = counts_of(c);
    out->workspace_bytes = 64;
    return TN_OK;
}

tn_status twice_run(const void *plan, tn_call *c) {
    counts_of(c)->run++;
    counts_of(c)->math = c->math;
    EXPECT_EQ(plan, counts_of(c));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(c->workspace) % 64, 0u);
    if (run_fails) return tn_fail(c, TN_ERR_INDEX, "the third element is out of range");
    const tn_view *x = c->args[0].view, *y = c->outs[0].view;
    const int64_t columns = x->rank > 1 ? x->sizes[1] : 1, rows = x->rank > 0 ? x->sizes[0] : 1;
    const int64_t sx0 = x->rank > 0 ? x->strides[0] : 0, sx1 = x->rank > 1 ? x->strides[1] : 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            static_cast<float *>(y->data)[i * columns + j] =
                static_cast<float>(c->args[1].f) *
                static_cast<const float *>(x->data)[i * sx0 + j * sx1];
    return TN_OK;
}

void twice_drop(void *plan) { static_cast<Counts *>(plan)->drop++; }

void times_derivative(tn_grad_ctx *c) {
    const tn_ops *ops = tn_ops_table();
    ops->grad_set(c, "x", tn_mul(ops->grad_out(c, 0), tn_scalar(ops->grad_arg(c, "by").f)));
}

tn_status start_ops(const tn_host *host, tn_plugin *self) {
    static tn_op rows[2];
    rows[0].size = rows[1].size = sizeof(tn_op);
    rows[0].schema = "test_times(Tensor<F> x, float~ by) -> Tensor y";
    rows[0].shape_rule = "same";
    rows[0].derivative = times_derivative;
    rows[1].schema = "test_orphan(Tensor<T> x) -> Tensor y";
    rows[1].shape_rule = "same";
    rows[1].no_grad = "only a test";
    return host->add_ops(self, rows, 2, sizeof(tn_op));
}

tn_status start_kernels(const tn_host *host, tn_plugin *self, const void *user, int priority) {
    static tn_kernel rows[2];
    tn_kernel *row = &rows[user != nullptr];
    row->size = sizeof(tn_kernel);
    row->schema = "test_times(Tensor<F> x, float~ by) -> Tensor y";
    row->n_args = 2;
    row->device = "cpu";
    row->dtypes = TN_MASK(F32);
    row->priority = priority;
    row->user = user;
    row->supports = twice_supports;
    row->plan = twice_plan;
    row->run = twice_run;
    row->drop = twice_drop;
    return host->add_kernels(self, row, 1, sizeof(tn_kernel));
}

tn_status start_fast(const tn_host *host, tn_plugin *self) {
    return start_kernels(host, self, &fast, 10);
}
tn_status start_slow(const tn_host *host, tn_plugin *self) {
    return start_kernels(host, self, nullptr, 0);
}

#define STATIC_PLUGIN(name, id, start)                                                             \
    const tn_plugin_desc *name(const tn_hello *, const char **) {                                  \
        static const tn_plugin_desc desc = {                                                       \
            sizeof(tn_plugin_desc), 0, id, "0", start, nullptr, nullptr};                          \
        return &desc;                                                                              \
    }
STATIC_PLUGIN(query_ops, "test_ops", start_ops)
STATIC_PLUGIN(query_fast, "test_fast", start_fast)
STATIC_PLUGIN(query_slow, "test_slow", start_slow)

class Dispatch : public Tenon {
  protected:
    static void SetUpTestSuite() {
        Tenon::SetUpTestSuite();
        for (auto query : {query_ops, query_slow, query_fast})
            ASSERT_EQ(tn_plugin_add(query), TN_OK) << tn_error_message();
    }
    void SetUp() override {
        Tenon::SetUp();
        fast_answer = TN_YES, fast_contiguous = 0, run_fails = 0;
        for (Counts *c : {&fast, &slow}) c->supports = c->plan = c->run = c->drop = 0;
    }
};

tn_tensor *times(tn_tensor *x, double by) {
    static tn_op_ref op = {"test_times", 0, 0};
    const tn_value args[] = {tn_value_tensor(x), tn_float(by)};
    tn_value out;
    return tn_op_call(&op, args, 2, &out, 1) ? nullptr : out.tensor;
}

tn_tensor *f32(const Numbers &numbers, const Shape &sizes) {
    std::vector<float> data(numbers.begin(), numbers.end());
    return tn_from(data.data(), ints(sizes), TN_F32);
}

// ---- Plans and signatures ----

TEST_F(Dispatch, KernelsAreToldWhatMayStandForAProduct) {
    tn_tensor *x = f32({1, 2}, {2});
    times(x, 2);
    EXPECT_EQ(fast.math, TN_MATH_EXACT);
    EXPECT_EQ(tn_set_math_mode(TN_MATH_BF16X3), TN_MATH_EXACT);
    times(x, 2);
    EXPECT_EQ(fast.math, TN_MATH_BF16X3);
    EXPECT_EQ(fast.plan, 2) << "one signature for two modes";
    EXPECT_EQ(tn_set_math_mode(4), TN_MATH_BF16X3);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"4 is no TN_MATH_"}));
    EXPECT_EQ(tn_set_math_mode(TN_MATH_EXACT), TN_MATH_BF16X3);
}

TEST_F(Dispatch, PlansOncePerSignatureAndRunsEveryTime) {
    tn_tensor *x = f32({1, 2, 3}, {3});
    for (int i = 0; i < 5; i++) EXPECT_EQ(numbers(times(x, 2)), (Numbers{2, 4, 6}));
    EXPECT_EQ(fast.plan, 1);
    EXPECT_EQ(fast.run, 5);
    times(f32({1, 2, 3, 4}, {4}), 2);
    EXPECT_EQ(fast.plan, 2) << "another size is another signature";
}

TEST_F(Dispatch, RunTimeArgumentsDoNotMakeANewSignature) {
    tn_tensor *x = f32({1, 2}, {1, 2});
    EXPECT_EQ(numbers(times(x, 3)), (Numbers{3, 6}));
    EXPECT_EQ(numbers(times(x, 5)), (Numbers{5, 10}));
    EXPECT_EQ(fast.plan, 1);
}

TEST_F(Dispatch, ThreadsShareAPlan) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++)
        threads.emplace_back([] {
            tn_scope s = tn_scope_push();
            for (int i = 0; i < 100; i++)
                EXPECT_EQ(numbers(times(f32({1, 2, 3, 4, 5}, {5}), 2)).size(), 5u);
            tn_scope_pop(s);
        });
    for (auto &t : threads) t.join();
    EXPECT_EQ(fast.run, 400);
    EXPECT_LE(fast.plan, 4) << "threads that miss at the same time may each plan";
}

TEST_F(Dispatch, DropsPlansWhenTheRegistryChanges) {
    times(f32({1, 2, 3, 4, 5, 6}, {6}), 2);
    tn_op row = {};
    row.size = sizeof row;
    row.schema = "test_later(Tensor x) -> Tensor y";
    row.shape_rule = "same";
    row.no_grad = "only a test";
    ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    times(f32({1, 2, 3, 4, 5, 6}, {6}), 2);
    EXPECT_EQ(fast.plan, 2);
    EXPECT_GE(fast.drop, 1) << "a plan is freed once nobody can find it";
}

// ---- The provider chain ----

TEST_F(Dispatch, AsksTheHighestPriorityFirstAndThePinnedBeforeAll) {
    tn_tensor *x = f32({1, 2, 3, 4, 5, 6, 7}, {7});
    EXPECT_STREQ(tn_op_providers("test_times", "cpu"), "test_fast,test_slow");
    times(x, 2);
    EXPECT_STREQ(tn_last_provider(), "test_fast");
    ASSERT_EQ(tn_use_provider("test_slow"), TN_OK);
    times(x, 2);
    EXPECT_STREQ(tn_last_provider(), "test_slow");
    EXPECT_STREQ(tn_op_providers("test_times", "cpu"), "test_slow,test_fast");
    ASSERT_EQ(tn_use_provider(nullptr), TN_OK);
    times(x, 2);
    EXPECT_STREQ(tn_last_provider(), "test_fast");
}

TEST_F(Dispatch, UnknownProvidersAreRefusedWithTheKnownOnes) {
    EXPECT_EQ(tn_use_provider("test_fsat"), TN_ERR_NOTFOUND);
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"test_fsat", "cpu_ref", "test_fast"}));
}

TEST_F(Dispatch, GoesToTheNextProviderWhenOneDeclines) {
    fast_answer = TN_NO, fast_reason = TN_REASON_SIZE;
    times(f32({1, 2}, {2}), 2);
    EXPECT_STREQ(tn_last_provider(), "test_slow");
    EXPECT_EQ(fast.supports, 1);
    EXPECT_EQ(fast.plan, 0);
}

TEST_F(Dispatch, NamesWhoDeclinedAndWhyWhenNobodyIsLeft) {
    EXPECT_EQ(times(full({3}, 1), 2), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {"test_times", "f64", "test_fast: dtype",
                                              "test_slow: dtype", "x f64[3]"}));
    static tn_op_ref orphan = {"test_orphan", 0, 0};
    const tn_value arg = tn_value_tensor(full({3}, 1));
    tn_value out;
    EXPECT_EQ(tn_op_call(&orphan, &arg, 1, &out, 1), TN_ERR_UNSUPPORTED);
    EXPECT_EQ(out.tensor, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {"test_orphan", "nobody registered one"}));
}

TEST_F(Dispatch, CopiesInputsForAKernelThatNeedsThemContiguous) {
    fast_answer = TN_YES_IF, fast_contiguous = 1;
    tn_tensor *x = tn_transpose(f32({1, 2, 3, 4, 5, 6}, {2, 3}), 0, 1);
    EXPECT_FALSE(tn_is_contiguous(x));
    EXPECT_EQ(numbers(times(x, 1)), (Numbers{1, 4, 2, 5, 3, 6}));
    EXPECT_STREQ(tn_last_provider(), "test_fast");
}

TEST_F(Dispatch, AKernelsFailureIsTheCallsErrorAndLeavesNoResult) {
    run_fails = 1;
    EXPECT_EQ(times(f32({1, 2}, {1, 2, 1}), 2), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"test_times", "the third element is out of range",
                                        "f32[1,2,1]", "test_fast"}));
    run_fails = 0;
    EXPECT_EQ(numbers(times(f32({1, 2}, {1, 2, 1}), 2)), (Numbers{2, 4})) << "the next call works";
}

TEST_F(Dispatch, RunTimeArgumentsReachTheDerivative) {
    tn_tensor *x = param(f32({1, 2}, {2}));
    ASSERT_EQ(tn_backward(tn_sum(times(x, 7))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{7, 7}));
}

// ---- Promotion ----

TEST_F(Dispatch, PromotesAsPyTorchDoes) {
    struct Case {
        tn_dtype a, b, out;
    };
    const Case cases[] = {{TN_F32, TN_F64, TN_F64},    {TN_I32, TN_F16, TN_F16},
                          {TN_U8, TN_I8, TN_I16},      {TN_U8, TN_I64, TN_I64},
                          {TN_F16, TN_BF16, TN_F32},   {TN_BOOL, TN_U8, TN_U8},
                          {TN_BOOL, TN_BOOL, TN_BOOL}, {TN_I16, TN_I32, TN_I32}};
    for (const Case &c : cases) {
        const tn_dtype out = tn_dtype_of(tn_add(full({2}, 1, c.a), full({2}, 1, c.b)));
        EXPECT_TRUE(tn_dtype_is(out, c.out))
            << tn_dtype_name(c.a) << " + " << tn_dtype_name(c.b) << " = " << tn_dtype_name(out);
    }
}

TEST_F(Dispatch, NumbersAndZeroDimTensorsOnlyRaiseTheCategory) {
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(tn_add(full({2}, 1, TN_F16), tn_scalar(1.5))), TN_F16));
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(tn_add(full({2}, 1, TN_I32), tn_scalar(1.5))), TN_F32));
    EXPECT_TRUE(
        tn_dtype_is(tn_dtype_of(tn_add(full({2}, 1, TN_U8), tn_scalar_of(tn_int(3)))), TN_U8));
    EXPECT_TRUE(
        tn_dtype_is(tn_dtype_of(tn_add(full({2}, 1, TN_F32), full({}, 1, TN_F64))), TN_F32));
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(tn_add(full({2}, 1, TN_I8), full({}, 1, TN_F64))), TN_F64));
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(tn_exp(full({2}, 1, TN_I64))), TN_F32));
    EXPECT_EQ(numbers(tn_add(f32({1, 2}, {2}), tn_scalar(0.5))), (Numbers{1.5, 2.5}));
    EXPECT_EQ(tn_add(full({2}, 1, TN_U8), tn_scalar_of(tn_int(300))), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"add", "300", "u8"}));
}

TEST_F(Dispatch, InPlaceKeepsTheTargetsDtypeOrRefuses) {
    tn_tensor *x = f32({1, 2}, {2});
    EXPECT_EQ(tn_add_(x, full({2}, 0.5)), x);
    EXPECT_EQ(numbers(x), (Numbers{1.5, 2.5}));
    EXPECT_EQ(tn_add_(full({2}, 1, TN_I64), full({2}, 0.5)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"add_", "i64"}));
}

// ---- Layouts ----

TEST_F(Dispatch, OverlappingInPlaceInputsAreReadBeforeTheyAreWritten) {
    tn_tensor *x = from({1, 2, 3, 4, 5});
    tn_slice_opts to_end = {}, to_start = {};
    to_end.start = {1, true};
    to_start.end = {4, true};
    tn_tensor *tail = tn_slice(x, &to_end), *head = tn_slice(x, &to_start);
    ASSERT_NE(tn_add_(tail, head), nullptr) << tn_error_message();
    EXPECT_EQ(numbers(x), (Numbers{1, 3, 5, 7, 9}));
}

TEST_F(Dispatch, WritingAnExpandedTensorIsRefused) {
    EXPECT_EQ(tn_add_(tn_expand(full({1}, 1), ints({3})), full({3}, 1)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"add_", "expanded", "clone"}));
}

TEST_F(Dispatch, ReducesAnySetOfDimsOfAnyLayout) {
    Numbers data(24);
    for (size_t i = 0; i < data.size(); i++) data[i] = static_cast<double>(i);
    tn_tensor *x = from(data, {2, 3, 4});
    EXPECT_EQ(numbers(tn_sum_dim(x, ints({0, 2}), nullptr)), (Numbers{60, 92, 124}));
    EXPECT_EQ(numbers(tn_sum_dim(x, ints({1}), nullptr)),
              (Numbers{12, 15, 18, 21, 48, 51, 54, 57}));
    tn_tensor *t = tn_permute(x, ints({2, 0, 1}));
    EXPECT_EQ(numbers(tn_sum_dim(t, ints({1, 2}), nullptr)), (Numbers{60, 66, 72, 78}));
    EXPECT_EQ(numbers(tn_sum_dim(t, ints({0, 2}), nullptr)), (Numbers{66, 210}));
    EXPECT_EQ(numbers(tn_sum_dim(full({0, 3}, 1), ints({0}), nullptr)), (Numbers{0, 0, 0}));
}

TEST_F(Dispatch, BroadcastsViewsWithNegativeAndZeroStrides) {
    tn_slice_opts back = {};
    back.step = {-1, true};
    tn_tensor *x = tn_slice(from({1, 2, 3}), &back);
    ASSERT_NE(x, nullptr) << tn_error_message();
    EXPECT_EQ(numbers(x), (Numbers{3, 2, 1}));
    EXPECT_EQ(numbers(tn_mul(x, tn_expand(full({1}, 10), ints({3})))), (Numbers{30, 20, 10}));
}

// ---- Bad input ----

TEST_F(Dispatch, NamesOpAndShapesOfArgumentsThatDoNotFit) {
    EXPECT_EQ(tn_add(full({2, 3}, 1), full({4}, 1)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"add", "a f64[2,3]", "b f64[4]"}));
    EXPECT_EQ(tn_matmul(full({2, 3}, 1), full({4, 5}, 1)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"matmul", "[2,3]", "[4,5]"}));
    EXPECT_EQ(tn_softmax(full({2, 3}, 1), 2), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"softmax", "dim", "2"}));
    EXPECT_EQ(tn_neg(full({2}, 1, TN_BOOL)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"neg", "bool"}));
    EXPECT_EQ(tn_add(full({2}, 1), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"add", "b"}));
}

TEST_F(Dispatch, RefusesSizesThatOverflowAndRankSeventeen) {
    tn_tensor *x = full({1}, 1);
    const int64_t huge = INT64_C(1) << 40;
    EXPECT_EQ(tn_add(tn_expand(x, ints({huge, 1})), tn_expand(x, ints({1, huge}))), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"add"}));
    const Shape seventeen(17, 1);
    EXPECT_EQ(tn_expand(x, ints(seventeen)), nullptr);
    EXPECT_NE(tn_error(), TN_OK);
    tn_clear_error();
}

TEST_F(Dispatch, AnErrorSticksAndLaterOpsDoNothing) {
    EXPECT_EQ(tn_add(full({2}, 1), full({3}, 1)), nullptr);
    const std::string first = tn_error_message();
    EXPECT_EQ(tn_exp(nullptr), nullptr);
    EXPECT_EQ(first, tn_error_message()) << "the first error stays";
    tn_clear_error();
}

TEST_F(Dispatch, NamesTheNearestOpWhenThereIsNone) {
    static tn_op_ref op = {"sotfmax", 0, 0};
    const tn_value arg = tn_value_tensor(full({2}, 1));
    tn_value out;
    EXPECT_EQ(tn_op_call(&op, &arg, 1, &out, 1), TN_ERR_NOTFOUND);
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"sotfmax", "did you mean 'softmax'"}));
}

TEST_F(Dispatch, ChecksNumberAndTypesOfArguments) {
    static tn_op_ref op = {"softmax", 0, 0};
    tn_value args[3] = {tn_value_tensor(full({2}, 1)), tn_float(0), tn_int(0)}, out[3];
    EXPECT_EQ(tn_op_call(&op, args, 2, out, 1), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"softmax", "dim", "int"}));
    EXPECT_EQ(tn_op_call(&op, args, 3, out, 1), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"softmax", "arguments"}));
    args[0].tag = 77;
    EXPECT_EQ(tn_op_call(&op, args, 2, out, 1), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"softmax", "x"}));
    EXPECT_EQ(tn_op_call(nullptr, args, 2, out, 1), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID));
    EXPECT_EQ(tn_op_call(&op, args, 2, out, 3), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"results"}));
}

TEST_F(Dispatch, SaysHowManyArgumentsAnOpTakes) {
    static tn_op_ref two = {"add", 0, 0}, some = {"softmax", 0, 0}, many = {"sum.dim", 0, 0};
    const tn_value t = tn_value_tensor(full({2}, 1)), args[5] = {t, t, t, t, t};
    tn_value out;
    EXPECT_EQ(tn_op_call(&two, args, 3, &out, 1), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"add: takes 2 arguments, not 3"}));
    EXPECT_EQ(tn_op_call(&some, args, 1, &out, 1), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"softmax: takes 2 arguments, not 1"}));
    EXPECT_EQ(tn_op_call(&many, args, 4, &out, 1), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"sum.dim: takes 2 to 3 arguments, not 4"}));
    EXPECT_EQ(tn_op_call(&two, nullptr, 2, &out, 1), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"add: its 2 arguments are at NULL"}));
}

TEST_F(Dispatch, SaysOfAPartThatItIsOneAndWhatTheCallerGave) {
    const int64_t far[] = {0, 7};
    tn_tensor *index = tn_from(far, ints({2}), TN_I64);
    EXPECT_EQ(tn_index_select(full({3, 4}, 1), 0, index), nullptr);
    EXPECT_TRUE(
        error_is(TN_ERR_INDEX, {"index_select: its part gather: ",
                                "index_select was called with (x f64[3,4], index i64[2])"}));
}

TEST_F(Dispatch, NamesTheFunctionThatMadeNoTensorAndTheBytesThatDoNotMatch) {
    const tn_dtype alien = {9, 9, 1};
    struct {
        const char *name;
        tn_tensor *(*make)(tn_ints, tn_dtype);
    } makers[] = {{"tn_empty: ", tn_empty},
                  {"tn_zeros: ", tn_zeros},
                  {"tn_ones: ", tn_ones},
                  {"tn_full: ", [](tn_ints s, tn_dtype d) { return tn_full(s, tn_int(1), d); }},
                  {"tn_from: ", [](tn_ints s, tn_dtype d) { return tn_from("abcd", s, d); }}};
    for (const auto &m : makers) {
        EXPECT_EQ(m.make(ints({2, -1}), TN_F32), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_SHAPE, {m.name, "-1"}));
        EXPECT_EQ(m.make(ints({2}), alien), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_DTYPE, {m.name}));
        EXPECT_EQ(m.make(ints({INT64_MAX, 4}), TN_F32), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {m.name}));
    }
    const double numbers[2] = {};
    EXPECT_EQ(tn_write(full({3}, 1), numbers, sizeof numbers), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_write: f64[3] has 24 bytes, but 16 were given"}));
    EXPECT_EQ(tn_write(full({3}, 1), nullptr, 24), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_write: f64[3] has 24 bytes", "is NULL"}));
}

// ---- Registration: all or nothing ----

tn_status add_row(const char *schema, void (*change)(tn_op *) = nullptr) {
    tn_op row = {};
    row.size = sizeof row;
    row.schema = schema;
    row.shape_rule = "same";
    row.no_grad = "only a test";
    if (change) change(&row);
    return tn_op_add(&row);
}

TEST_F(Dispatch, RefusesHalfFilledAndWrongRowsByNameFieldAndCause) {
    const int64_t before = tn_op_count();
    EXPECT_NE(add_row("test_bad(Tensor<Q> x) -> Tensor y"), TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {"test_bad", "schema"}));
    EXPECT_NE(add_row("add(Tensor x) -> Tensor y"), TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_CONFLICT, {"add", "math"}));
    EXPECT_NE(
        add_row("test_bad(Tensor x) -> Tensor y", [](tn_op *r) { r->shape_rule = "sideways"; }),
        TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {"test_bad", "shape_rule", "broadcast"}));
    EXPECT_NE(add_row("test_bad(Tensor x) -> Tensor y", [](tn_op *r) { r->keep = "z"; }), TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {"test_bad", "keep", "'z'"}));
    EXPECT_NE(add_row("test_bad(Tensor x) -> Tensor y", [](tn_op *r) { r->keep = "x:x+z,y"; }),
              TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {"test_bad", "keep", "'z'"}));
    EXPECT_NE(add_row("test_bad(Tensor x) -> Tensor y", [](tn_op *r) { r->keep = "y:x"; }), TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {"test_bad", "keep", "'y:x'"}));
    EXPECT_NE(add_row("test_bad(Tensor x) -> Tensor y", [](tn_op *r) { r->no_grad = nullptr; }),
              TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {"test_bad", "derivative"}));
    EXPECT_NE(add_row("test_bad(Tensor x) -> Tensor y", [](tn_op *r) { r->form = "round"; }),
              TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {"test_bad", "form"}));
    EXPECT_NE(add_row("test_bad(Tensor x) -> Tensor y", [](tn_op *r) { r->contract = "z:[N]"; }),
              TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {"test_bad", "contract"}));
    EXPECT_NE(add_row("test_bad(Tensor x) -> Tensor y", [](tn_op *r) { r->traits = TN_OP_WIDE; }),
              TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {"test_bad", "traits", "wide"}));
    EXPECT_EQ(tn_op_add(nullptr), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID));
    EXPECT_EQ(tn_op_count(), before);
}

} // namespace
