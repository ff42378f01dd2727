// layout_test.cc - what kernels need of arguments, how they lay out results, and which copies that costs.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/rows.h"

#include "modules/math/math_ops.h"

namespace {

using Strides = std::vector<int64_t>;

// A provider whose answers the tests choose. It notes how its arguments lie, and adds 1 to x.
struct Asked {
    int32_t answer = TN_YES;
    uint32_t contiguous = 0, channels_last = 0, aligned = 0, needs = 0;
    uint32_t bits_known = 0; // what the host said
    bool plan_fails = false;
    const int8_t *order = nullptr;
    std::vector<Strides> seen; // in supports
    std::vector<Strides> ran;
    bool x_aligned = false;
};
Asked first, second;

Strides strides_of(const tn_view *v) { return Strides(v->strides, v->strides + v->rank); }

void supports(const tn_call *c, tn_verdict *v) {
    Asked *a = static_cast<Asked *>(const_cast<void *>(c->user));
    a->bits_known = v->bits_known;
    a->seen = {strides_of(c->args[0].view), strides_of(c->args[1].view)};
    v->answer = a->answer, v->needs = a->needs;
    v->contiguous = a->contiguous, v->channels_last = a->channels_last, v->aligned = a->aligned;
}

tn_status plan(tn_call *c, tn_plan *p) {
    const Asked *a = static_cast<const Asked *>(c->user);
    p->order[0] = a->order;
    return a->plan_fails ? tn_fail(c, TN_ERR_UNSUPPORTED, "not today")
                         : static_cast<tn_status>(TN_OK);
}

void add_one(const tn_view *x, const tn_view *y, int32_t d, int64_t from, int64_t to) {
    if (d == x->rank) {
        static_cast<float *>(y->data)[to] = static_cast<const float *>(x->data)[from] + 1;
        return;
    }
    for (int64_t i = 0; i < x->sizes[d]; i++)
        add_one(x, y, d + 1, from + i * x->strides[d], to + i * y->strides[d]);
}

tn_status run(const void *, tn_call *c) {
    Asked *a = static_cast<Asked *>(const_cast<void *>(c->user));
    const tn_view *x = c->args[0].view;
    a->ran = {strides_of(x), strides_of(c->args[1].view), strides_of(c->outs[0].view)};
    a->x_aligned = reinterpret_cast<uintptr_t>(x->data) % 64 == 0;
    add_one(x, c->outs[0].view, 0, 0, 0);
    return TN_OK;
}

tn_kernel layout_kernel(Asked *a, const char *name, int32_t priority) {
    tn_kernel row = kernel_row("test_layout", "Tensor<F> x, Tensor<F> w");
    row.dtypes = TN_MASK(F32);
    row.name = name, row.priority = priority, row.user = a;
    row.supports = supports, row.plan = plan, row.run = run;
    return row;
}

void layout_derivative(tn_grad_ctx *c) {
    const tn_ops *ops = tn_ops_table();
    ops->grad_set(c, "x", ops->grad_out(c, 0));
}

class Layout : public Tenon {
  protected:
    static void SetUpTestSuite() {
        Tenon::SetUpTestSuite();
        tn_op row = op_row("test_layout(Tensor<F> x, Tensor<F> w) -> Tensor y");
        row.no_grad = nullptr, row.derivative = layout_derivative;
        ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
        Rows rows;
        rows.id = "test_layouts";
        rows.kernels = {layout_kernel(&first, "first", 2), layout_kernel(&second, "second", 1)};
        ASSERT_EQ(add_plugin(std::move(rows)), TN_OK) << tn_error_message();
    }
    void SetUp() override {
        Tenon::SetUp();
        first = second = Asked{};
    }
    static tn_tensor *call(tn_tensor *x, tn_tensor *w) {
        static tn_op_ref op = {"test_layout", 0, 0};
        const tn_value args[] = {tn_value_tensor(x), tn_value_tensor(w)};
        tn_value out;
        return tn_op_call(&op, args, 2, &out, 1) ? nullptr : out.tensor;
    }
    // Another size for each test: a signature is asked for once.
    static tn_tensor *image(int64_t n) {
        tn_tensor *x = tn_empty(ints({1, 2, 3, n}), TN_F32);
        for (int64_t i = 0; i < tn_numel(x); i++)
            static_cast<float *>(tn_data(x))[i] = static_cast<float>(i);
        return x;
    }
    static tn_tensor *channels_last(int64_t n) { // the same sizes and numbers, laid out so
        return tn_permute(tn_contiguous(tn_permute(image(n), ints({0, 2, 3, 1}))),
                          ints({0, 3, 1, 2}));
    }
    static Strides row_major(int64_t n) { return {6 * n, 3 * n, n, 1}; }
    static Strides last(int64_t n) { return {6 * n, 1, 2 * n, 2}; }
    static Numbers plus_one(int64_t n) {
        Numbers out;
        for (int64_t i = 0; i < 6 * n; i++) out.push_back(static_cast<double>(i + 1));
        return out;
    }
};

TEST_F(Layout, CopiesJustTheArgumentsThatAVerdictNames) {
    first.answer = TN_YES_IF, first.contiguous = 1u << 1;
    const uint64_t before = tn_argument_copies();
    EXPECT_EQ(numbers(call(channels_last(4), channels_last(4))), plus_one(4));
    EXPECT_EQ(first.ran[0], last(4)) << "nobody asked for x";
    EXPECT_EQ(first.ran[1], row_major(4));
    EXPECT_EQ(tn_argument_copies() - before, 1u);
}

TEST_F(Layout, IsToldWhatTheHostCanMeet) {
    call(image(5), image(5));
    EXPECT_EQ(first.bits_known, TN_NEEDS_CONTIGUOUS | TN_NEEDS_CHANNELS_LAST | TN_NEEDS_ALIGNED);
}

TEST_F(Layout, LaysArgumentsOutWithChannelsLastAndLeavesThoseThatAre) {
    first.answer = TN_YES_IF, first.channels_last = 3;
    const uint64_t before = tn_argument_copies();
    EXPECT_EQ(numbers(call(image(6), channels_last(6))), plus_one(6));
    EXPECT_EQ(first.ran[0], last(6));
    EXPECT_EQ(first.ran[1], last(6));
    EXPECT_EQ(tn_argument_copies() - before, 1u);
}

TEST_F(Layout, CopiesWhatDoesNotStartWhereAKernelNeedsIt) {
    tn_slice_opts from_one = {};
    from_one.start = {1, true};
    tn_tensor *x = tn_slice(tn_to(from({7, 1, 2, 3}), TN_F32), &from_one);
    call(x, x);
    EXPECT_FALSE(first.x_aligned);
    first.answer = TN_YES_IF, first.aligned = 1;
    tn_tensor *longer = tn_slice(tn_to(from({7, 1, 2, 3, 4}), TN_F32), &from_one);
    EXPECT_EQ(numbers(call(longer, longer)), (Numbers{2, 3, 4, 5}));
    EXPECT_TRUE(first.x_aligned);
}

TEST_F(Layout, MakesANeedNobodyKnowsANoAndSaysSo) {
    first.answer = second.answer = TN_YES_IF;
    first.needs = 1u << 9, second.contiguous = second.channels_last = 1;
    EXPECT_EQ(call(image(7), image(7)), nullptr);
    EXPECT_TRUE(
        error_is(TN_ERR_UNSUPPORTED,
                 {"test_layouts/first: needs what bit 9 says, which this version does not know",
                  "test_layouts/second: layout"}));
}

TEST_F(Layout, LeavesNoTraceOfAProviderWhosePlanFails) {
    first.answer = TN_YES_IF, first.contiguous = 3, first.plan_fails = true;
    static const int8_t order[] = {0, 2, 3, 1};
    first.order = order;
    const uint64_t before = tn_argument_copies();
    EXPECT_EQ(numbers(call(channels_last(8), image(8))), plus_one(8));
    EXPECT_EQ(second.seen[0], last(8));
    EXPECT_EQ(second.ran[0], last(8));
    EXPECT_EQ(second.ran[2], row_major(8));
    EXPECT_EQ(tn_argument_copies() - before, 0u);
}

TEST_F(Layout, TellsOnceWhatIsCopiedForWhom) {
    first.answer = TN_YES_IF, first.channels_last = 3;
    testing::internal::CaptureStderr();
    call(image(9), channels_last(9));
    call(image(9), channels_last(9));
    const std::string log = testing::internal::GetCapturedStderr();
    const std::string line = "x copied for test_layouts/first, which needs another layout";
    EXPECT_NE(log.find(line), std::string::npos) << log;
    EXPECT_EQ(log.find(line), log.rfind(line)) << log;
}

// ---- Results ------------------------------------------------------------------------------------

TEST_F(Layout, LaysAResultOutAsItsPlanSays) {
    static const int8_t order[] = {0, 2, 3, 1};
    first.order = order;
    tn_tensor *y = call(image(10), image(10));
    EXPECT_EQ(first.ran[2], last(10));
    EXPECT_EQ(Strides(tn_strides(y), tn_strides(y) + 4), last(10));
    EXPECT_FALSE(tn_is_contiguous(y));
    EXPECT_EQ(numbers(y), plus_one(10));
}

TEST_F(Layout, FlowsThroughAChainWithoutACopy) {
    static const int8_t order[] = {0, 2, 3, 1};
    first.order = order, first.answer = TN_YES_IF, first.channels_last = 1;
    tn_tensor *x = channels_last(11);
    const uint64_t before = tn_argument_copies();
    tn_tensor *y = call(call(call(x, x), x), x);
    EXPECT_EQ(tn_argument_copies() - before, 0u);
    EXPECT_EQ(numbers(tn_sub(y, x)), Numbers(66, 3));
}

TEST_F(Layout, StaysChannelsLastThroughElementwiseOps) {
    static const int8_t order[] = {0, 2, 3, 1};
    first.order = order, first.answer = TN_YES_IF, first.channels_last = 1;
    tn_tensor *x = channels_last(14), *bias = from({1, 2}, {2, 1, 1});
    const uint64_t before = tn_argument_copies();
    tn_tensor *y = call(tn_relu(tn_mul(tn_add(x, tn_to(bias, TN_F32)), x)), x);
    EXPECT_EQ(tn_argument_copies() - before, 0u);
    EXPECT_EQ(Strides(tn_strides(y), tn_strides(y) + 4), last(14));
    tn_tensor *z = tn_relu(tn_mul(tn_add(image(14), tn_to(bias, TN_F32)), image(14)));
    EXPECT_TRUE(tn_is_contiguous(z));
    EXPECT_TRUE(tn_is_contiguous(tn_mul(x, image(14)))) << "not all are";
    EXPECT_EQ(numbers(tn_sub(y, tn_scalar(1))), numbers(z));
}

TEST_F(Layout, OfAnArgumentDoesNotChangeWhichNumbersAreDrawn) {
    Numbers drawn[2];
    for (const bool laid : {false, true}) {
        tn_generator *rng = tn_generator_new(3);
        tn_dropout_opts opts = {};
        opts.rng = rng;
        drawn[laid] = numbers(tn_dropout(laid ? channels_last(15) : image(15), 0.5, &opts));
        tn_generator_free(rng);
    }
    EXPECT_EQ(drawn[0], drawn[1]);
}

TEST_F(Layout, OfAResultIsNoMatterToGradients) {
    static const int8_t order[] = {0, 2, 3, 1};
    first.order = order;
    tn_tensor *x = param(image(12)), *y = call(x, image(12));
    ASSERT_EQ(tn_backward(tn_sum(tn_mul(y, y))), TN_OK) << tn_error_message();
    Numbers want = plus_one(12);
    for (double &g : want) g *= 2;
    EXPECT_EQ(grad(x), want);
}

TEST_F(Layout, IsRefusedByNameWhereAnOrderIsNoneOfTheResultsDims) {
    static const int8_t twice[] = {0, 1, 1, 3}, far[] = {0, 1, 2, 9};
    first.order = twice, second.order = far;
    EXPECT_EQ(call(image(13), image(13)), nullptr);
    EXPECT_TRUE(
        error_is(TN_ERR_UNSUPPORTED, {"test_layouts/first: planning gave result 0 an order",
                                      "test_layouts/second: planning gave result 0 an order"}));
}

} // namespace
