// results_test.cc - results that may be absent, lists beside others, state that is written and not
// returned: by kernels and by decompositions, recorded and not. SPDX-License-Identifier: Apache-2.0
#include <tenon/layers.h>

#include "tests/support/rows.h"

#include "modules/math/math_ops.h"

namespace {

// ---- test_masked(a, b, want_a, want_b) -> (Tensor? da, Tensor? db): 2 a and 3 b, as far as wanted

tn_status masked_shape(tn_infer *in) {
    for (uint32_t i = 0; i < 2; i++) {
        const tn_view *x = in->args[i].view;
        in->outs[i].rank = in->args[2 + i].i ? x->rank : static_cast<int32_t>(TN_ABSENT);
        for (int32_t d = 0; d < x->rank; d++) in->outs[i].sizes[d] = x->sizes[d];
    }
    return TN_OK;
}

std::vector<int32_t> tags; // of the results that a kernel saw

tn_status masked_run(const void *, tn_call *c) {
    tags.clear();
    for (uint32_t i = 0; i < c->n_outs; i++) {
        tags.push_back(c->outs[i].tag);
        if (c->outs[i].tag == TN_TAG_NONE) continue;
        const tn_view *x = c->args[i].view, *y = c->outs[i].view;
        for (int64_t k = 0; k < tn_view_numel(y); k++)
            static_cast<double *>(y->data)[k] = (2 + i) * static_cast<const double *>(x->data)[k];
    }
    return TN_OK;
}

void masked_derivative(tn_grad_ctx *c) {
    const tn_ops *ops = tn_ops_table();
    const char *const names[] = {"a", "b"};
    for (uint32_t i = 0; i < 2; i++)
        if (ops->grad_out_defined(c, i))
            ops->grad_set(c, names[i], tn_mul(ops->grad_out(c, i), tn_scalar(2 + i)));
}

tn_status masked_decompose(const tn_value *args, uint32_t, tn_value *outs, uint32_t) {
    for (uint32_t i = 0; i < 2; i++)
        outs[i] =
            tn_value_tensor(args[2 + i].i ? tn_mul(args[i].tensor, tn_scalar(2 + i)) : nullptr);
    return tn_error();
}

// ---- test_parts(x, n) -> (Tensor sum, Tensor[] parts, saved Tensor last): x once for each part -----

tn_status parts_shape(tn_infer *in) {
    const uint32_t n = static_cast<uint32_t>(in->args[1].i);
    tn_meta *parts = in->resize(in, n);
    if (!parts) return tn_fail(in, TN_ERR_NOMEM, "no memory");
    for (uint32_t i = 0; i < n; i++)
        parts[i].rank = 1, parts[i].sizes[0] = in->args[0].view->sizes[0];
    in->outs[0].rank = 0;
    in->outs[2].rank = 1, in->outs[2].sizes[0] = 1;
    return TN_OK;
}

tn_status parts_run(const void *, tn_call *c) {
    EXPECT_EQ(c->n_outs, 3u);
    EXPECT_EQ(c->outs[1].tag, TN_TAG_VIEWS);
    const tn_view *x = c->args[0].view;
    double sum = 0;
    for (uint32_t i = 0; i < c->outs[1].aux; i++)
        for (int64_t k = 0; k < x->sizes[0]; k++)
            sum += static_cast<double *>(c->outs[1].views[i]->data)[k] =
                (i + 1) * static_cast<const double *>(x->data)[k];
    *static_cast<double *>(c->outs[0].view->data) = sum;
    *static_cast<double *>(c->outs[2].view->data) = 7;
    return TN_OK;
}

void parts_derivative(tn_grad_ctx *c) {
    const tn_ops *ops = tn_ops_table();
    EXPECT_EQ(numbers(ops->grad_saved(c, "last")), (Numbers{7}));
    EXPECT_EQ(ops->grad_count(c, "parts"), 2u);
    tn_tensor *g = tn_mul(ops->grad_out(c, 0), tn_scalar(3)); // 1 + 2
    for (uint32_t i = 0; i < 2; i++) // results as they are: sum, parts[0], parts[1], last
        if (ops->grad_out_defined(c, 1 + i))
            g = tn_add(g, tn_mul(ops->grad_out(c, 1 + i), tn_scalar(i + 1)));
    ops->grad_set(c, "x", g);
}

// ---- test_norm(x, mean!?, step) -> Tensor y: counts in mean, which is not returned ----------------

tn_status norm_run(const void *, tn_call *c) {
    const tn_view *x = c->args[0].view, *y = c->outs[0].view;
    for (int64_t k = 0; k < tn_view_numel(x); k++)
        static_cast<double *>(y->data)[k] = 2 * static_cast<const double *>(x->data)[k];
    if (c->args[1].tag != TN_TAG_NONE) *static_cast<double *>(c->args[1].view->data) += 1;
    return TN_OK;
}

void norm_derivative(tn_grad_ctx *c) {
    const tn_ops *ops = tn_ops_table();
    ops->grad_set(c, "x", tn_mul(ops->grad_out(c, 0), tn_scalar(2)));
}

// ---- test_maybe_(x!?) -> Tensor(x)? y --------------------------------------------------------------

tn_status maybe_run(const void *, tn_call *c) {
    tags = {c->outs[0].tag};
    if (c->outs[0].tag != TN_TAG_NONE) *static_cast<double *>(c->outs[0].view->data) += 1;
    return TN_OK;
}

tn_status maybe_shape(tn_infer *in) {
    if (in->args[0].tag == TN_TAG_NONE) return TN_OK;
    in->outs[0].rank = in->args[0].view->rank;
    for (int32_t d = 0; d < in->outs[0].rank; d++)
        in->outs[0].sizes[d] = in->args[0].view->sizes[d];
    return TN_OK;
}

tn_op made(const char *schema, tn_shape_fn shape, decltype(tn_op::derivative) derivative) {
    tn_op row = op_row(schema);
    row.shape_rule = nullptr, row.shape = shape;
    if (derivative) row.no_grad = nullptr, row.derivative = derivative;
    return row;
}

tn_kernel kernel_of(const char *schema, uint32_t n_args, decltype(tn_kernel::run) run) {
    tn_kernel k = kernel_row("x");
    k.schema = schema, k.n_args = n_args, k.run = run;
    return k;
}

class Results : public Tenon {
  protected:
    static void SetUpTestSuite() {
        Tenon::SetUpTestSuite();
        const char *masked = "test_masked(Tensor<F> a, Tensor<F> b, bool want_a, bool want_b) -> "
                             "(Tensor? da, Tensor? db)";
        const char *composed =
            "test_composed(Tensor<F> a, Tensor<F> b, bool want_a, bool want_b) -> "
            "(Tensor? da, Tensor? db)";
        const char *parts = "test_parts(Tensor<F> x, int n) -> (Tensor sum, Tensor[] parts, saved "
                            "Tensor last)";
        const char *norm = "test_norm(Tensor<F> x, Tensor(m!)? mean=None) -> Tensor y";
        const char *maybe = "test_maybe_(Tensor(x!)? x) -> Tensor(x)? y";
        Rows rows;
        rows.id = "test_results";
        rows.ops = {made(masked, masked_shape, masked_derivative),
                    made(composed, masked_shape, nullptr),
                    made(parts, parts_shape, parts_derivative),
                    made(norm, nullptr, norm_derivative), made(maybe, maybe_shape, nullptr)};
        rows.ops[1].no_grad = nullptr, rows.ops[1].decompose = masked_decompose;
        rows.ops[2].keep = "last";
        rows.ops[3].shape_rule = "same";
        rows.kernels = {kernel_of(masked, 4, masked_run), kernel_of(parts, 2, parts_run),
                        kernel_of(norm, 2, norm_run), kernel_of(maybe, 1, maybe_run)};
        ASSERT_EQ(add_plugin(std::move(rows)), TN_OK) << tn_error_message();
    }
    static std::vector<tn_value> call(const char *name, std::vector<tn_value> args,
                                      uint32_t n_outs) {
        tn_op_ref op = {name, 0, 0};
        std::vector<tn_value> outs(n_outs);
        EXPECT_EQ(
            tn_op_call(&op, args.data(), static_cast<uint32_t>(args.size()), outs.data(), n_outs),
            TN_OK)
            << tn_error_message();
        return outs;
    }
    static tn_value value(tn_tensor *t) { return tn_value_tensor(t); }
};

TEST_F(Results, AreNullToTheCallerAndNoneToAKernelWhereTheyAreAbsent) {
    for (const char *op : {"test_masked", "test_composed"}) {
        tags.clear();
        auto outs =
            call(op, {value(from({1, 2})), value(from({5})), tn_bool(false), tn_bool(true)}, 2);
        EXPECT_EQ(outs[0].tensor, nullptr) << op;
        EXPECT_EQ(outs[0].tag, TN_TAG_TENSOR) << op;
        EXPECT_EQ(numbers(outs[1].tensor), (Numbers{15})) << op;
        if (op[5] == 'm') {
            EXPECT_EQ(tags, (std::vector<int32_t>{TN_TAG_NONE, TN_TAG_VIEW}));
        }
        outs = call(op, {value(from({1, 2})), value(from({5})), tn_bool(false), tn_bool(false)}, 2);
        EXPECT_EQ(outs[0].tensor, nullptr) << op;
        EXPECT_EQ(outs[1].tensor, nullptr) << op;
    }
}

TEST_F(Results, ComeThroughALayerThatPassesTheCallOn) {
    tn_layer layer = {};
    layer.size = sizeof layer;
    layer.name = "passes on";
    layer.call = [](void *, tn_op_ref *op, const tn_value *args, uint32_t n, tn_value *outs,
                    uint32_t n_outs) { return tn_layer_pass(op, args, n, outs, n_outs); };
    tn_layer_push(&layer);
    auto outs = call("test_masked",
                     {value(from({1, 2})), value(from({5})), tn_bool(false), tn_bool(true)}, 2);
    EXPECT_EQ(outs[0].tensor, nullptr);
    EXPECT_EQ(numbers(outs[1].tensor), (Numbers{15}));
    outs = call("test_parts", {value(from({1, 2})), tn_int(0)}, 2);
    EXPECT_EQ(outs[1].aux, 0u);
    outs = call("test_parts", {value(from({1, 2})), tn_int(3)}, 2);
    EXPECT_EQ(outs[1].aux, 3u);
    EXPECT_EQ(tn_layer_pop(&layer), TN_OK);
}

TEST_F(Results, AreCapturedAndReplayedAbsentOnesToo) {
    tn_tensor *x = from({1, 2}), *b = from({5});
    tn_capture *c = tn_capture_begin();
    auto masked = call("test_masked", {value(x), value(b), tn_bool(false), tn_bool(true)}, 2);
    auto parts = call("test_parts", {value(x), tn_int(2)}, 2);
    ASSERT_EQ(tn_capture_end(c), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_capture_runs(c), 2);
    const double other[] = {3, 4};
    tn_write(x, other, sizeof other), tn_write(b, other, sizeof other[0]);
    tags.clear();
    ASSERT_EQ(tn_replay(c), TN_OK) << tn_error_message();
    EXPECT_EQ(tags, (std::vector<int32_t>{TN_TAG_NONE, TN_TAG_VIEW}));
    EXPECT_EQ(numbers(masked[1].tensor), (Numbers{9}));
    EXPECT_EQ(numbers(parts[0].tensor), (Numbers{21}));
    ASSERT_EQ(parts[1].aux, 2u);
    EXPECT_EQ(numbers(parts[1].tensors[1]), (Numbers{6, 8}));
    EXPECT_EQ(tn_capture_free(c), TN_OK);
}

TEST_F(Results, GiveGradientsOfThoseThatAreThere) {
    for (const char *op : {"test_masked", "test_composed"}) {
        tn_tensor *a = param(from({1, 2})), *b = param(from({5}));
        auto outs = call(op, {value(a), value(b), tn_bool(true), tn_bool(false)}, 2);
        ASSERT_EQ(tn_backward(tn_sum(outs[0].tensor)), TN_OK) << tn_error_message();
        EXPECT_EQ(grad(a), (Numbers{2, 2})) << op;
        EXPECT_TRUE(tn_grad_of(b) == nullptr || grad(b) == Numbers{0}) << op;
    }
}

TEST_F(Results, MayBeAListBesideOthersMadeByAKernel) {
    auto outs = call("test_parts", {value(from({1, 2})), tn_int(3)}, 2);
    EXPECT_EQ(numbers(outs[0].tensor), (Numbers{18}));
    ASSERT_EQ(outs[1].aux, 3u);
    EXPECT_EQ(numbers(outs[1].tensors[2]), (Numbers{3, 6}));
    outs = call("test_parts", {value(from({1, 2})), tn_int(0)}, 2);
    EXPECT_EQ(numbers(outs[0].tensor), (Numbers{0}));
    EXPECT_EQ(outs[1].aux, 0u);
    outs = call("test_parts", {value(from({1})), tn_int(40)}, 2);
    ASSERT_EQ(outs[1].aux, 40u);
    EXPECT_EQ(numbers(outs[1].tensors[39]), (Numbers{40}));
}

TEST_F(Results, OfAListHaveGradientsOfTheirOwn) {
    tn_tensor *x = param(from({1, 2}));
    auto outs = call("test_parts", {value(x), tn_int(2)}, 2);
    ASSERT_EQ(tn_backward(tn_add(tn_sum(outs[1].tensors[1]), outs[0].tensor)), TN_OK)
        << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{5, 5}));
}

TEST_F(Results, NeedNotHoldStateThatIsWrittenWhileRecording) {
    tn_tensor *x = param(from({1, 2})), *mean = full({1}, 0);
    for (int i = 0; i < 3; i++) {
        auto outs = call("test_norm", {value(x), value(mean)}, 1);
        EXPECT_TRUE(tn_requires_grad(outs[0].tensor));
    }
    EXPECT_EQ(numbers(mean), (Numbers{3}));
    EXPECT_FALSE(tn_requires_grad(mean));
    auto outs = call("test_norm", {value(x), tn_value_tensor(nullptr)}, 1);
    ASSERT_EQ(tn_backward(tn_sum(outs[0].tensor)), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{2, 2}));
}

TEST_F(Results, RefuseStateThatHasAHistory) {
    tn_op_ref op = {"test_norm", 0, 0};
    tn_tensor *x = param(from({1, 2})), *mean = tn_mul(param(full({1}, 1)), tn_scalar(2));
    const tn_value args[] = {value(x), value(mean)};
    tn_value out;
    EXPECT_EQ(tn_op_call(&op, args, 2, &out, 1), TN_ERR_GRAD);
    EXPECT_TRUE(
        error_is(TN_ERR_GRAD, {"test_norm", "'mean' is not a result of the op", "history"}));
}

TEST_F(Results, AreAbsentWithTheArgumentTheyAre) {
    tn_tensor *x = full({1}, 1);
    EXPECT_EQ(call("test_maybe_", {value(x)}, 1)[0].tensor, x);
    EXPECT_EQ(numbers(x), (Numbers{2}));
    EXPECT_EQ(call("test_maybe_", {tn_value_tensor(nullptr)}, 1)[0].tensor, nullptr);
    EXPECT_EQ(tags, (std::vector<int32_t>{TN_TAG_NONE}));
}

TEST_F(Results, ThatAreNotOptionalMayNotBeLeftOut) {
    tn_op row = made(
        "test_left_out(Tensor<F> x) -> Tensor y",
        [](tn_infer *in) -> tn_status {
            in->outs[0].rank = TN_ABSENT;
            return TN_OK;
        },
        nullptr);
    ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    EXPECT_EQ(::call("test_left_out"), TN_ERR_INTERNAL);
    EXPECT_TRUE(
        error_is(TN_ERR_INTERNAL, {"test_left_out", "leaves a result out that is not optional"}));
}

} // namespace
