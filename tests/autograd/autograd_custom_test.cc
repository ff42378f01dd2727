// autograd_custom_test.cc - functions added by a program, and the checks that catch wrong
// derivatives. SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include <tenon/check.h>
#include <tenon/hooks.h>

#include "modules/math/math_ops.h"

namespace {

class Custom : public Tenon {};

const tn_ops *ops() { return tn_ops_table(); }

using Derivative = void (*)(tn_grad_ctx *);

// y = x * x, with whatever derivative a test wants.
tn_status square(const tn_value *args, uint32_t, tn_value *outs, uint32_t) {
    outs[0] = tn_value_tensor(tn_mul(args[0].tensor, args[0].tensor));
    return tn_error();
}

tn_status weigh(const tn_value *args, uint32_t, tn_value *outs, uint32_t) {
    outs[0] = tn_value_tensor(tn_mul(args[0].tensor, args[1].tensor));
    return tn_error();
}

void add_op(const char *schema, const char *keep, Derivative derivative,
            tn_status (*decompose)(const tn_value *, uint32_t, tn_value *, uint32_t),
            const char *samples, const char *rule) {
    tn_op row = {};
    row.size = sizeof row;
    row.schema = schema;
    row.contract = "";
    row.shape_rule = rule;
    row.keep = keep;
    row.samples = samples;
    row.doc = "of a test";
    row.derivative = derivative;
    row.decompose = decompose;
    const tn_status status = tn_op_add(&row);
    EXPECT_TRUE(status == TN_OK || status == TN_ERR_CONFLICT) << tn_error_message();
    tn_clear_error();
}

tn_tensor *call(const char *name, std::initializer_list<tn_tensor *> args) {
    tn_op_ref ref = {name, 0, 0};
    std::vector<tn_value> values;
    for (tn_tensor *t : args) values.push_back(tn_value_tensor(t));
    tn_value out = tn_value_none();
    tn_op_call(&ref, values.data(), static_cast<uint32_t>(values.size()), &out, 1);
    return out.tensor;
}

void square_right(tn_grad_ctx *c) {
    ops()->grad_set(c, "x",
                    tn_mul(tn_mul(ops()->grad_out(c, 0), ops()->grad_saved(c, "x")), number(2)));
}

void add_square() {
    add_op("t_square(Tensor<F> x) -> Tensor y", "x", square_right, square, "x[3,2]", "same");
}

// y = the sum of all in xs; the derivative knows their number and sizes, and keeps none.
tn_status total(const tn_value *args, uint32_t, tn_value *outs, uint32_t) {
    tn_tensor *y = args[0].tensors[0];
    for (uint32_t i = 1; i < args[0].aux; i++) y = tn_add(y, args[0].tensors[i]);
    outs[0] = tn_value_tensor(y);
    return tn_error();
}

uint32_t asked_for; // number of a tensor whose metadata the derivative asks for

void total_derivative(tn_grad_ctx *c) {
    tn_meta m;
    std::vector<tn_tensor *> grads(ops()->grad_count(c, "xs"), ops()->grad_out(c, 0));
    EXPECT_EQ(ops()->grad_count(c, "y"), 1u);
    EXPECT_EQ(ops()->grad_count(c, "bias"), 0u) << "absent";
    if (ops()->grad_meta_at(c, "xs", asked_for, &m)) return;
    EXPECT_EQ(m.sizes[0], asked_for == 0 ? 2 : 1);
    ops()->grad_set_list(c, "xs", tensors(grads));
}

// ---- Functions of a program --------------------------------------------------------------------

TEST_F(Custom, ADerivativeMayAskForSizesOfEveryTensorOfAList) {
    add_op("t_total(Tensor<F>[] xs, Tensor<F>? bias=None) -> Tensor y", "", total_derivative, total,
           "xs[[2],[1]]", "broadcast");
    tn_tensor *x = param(from({3, 4})), *y = param(from({5})), *list[] = {x, y};
    tn_op_ref ref = {"t_total", 0, 0};
    const tn_value arg = tn_value_tensors({list, 2});
    for (asked_for = 0; asked_for < 3; asked_for++) {
        tn_value out = tn_value_none();
        ASSERT_EQ(tn_op_call(&ref, &arg, 1, &out, 1), TN_OK) << tn_error_message();
        const tn_status status = tn_backward(tn_sum(out.tensor));
        if (asked_for == 2)
            EXPECT_TRUE(error_is(TN_ERR_INVALID, {"t_total", "xs", "2 tensors", "not 3"}));
        else
            EXPECT_EQ(status, TN_OK) << tn_error_message();
    }
    EXPECT_EQ(grad(x), (Numbers{2, 2}));
    EXPECT_EQ(grad(y), (Numbers{4}));
}

TEST_F(Custom, FunctionsOfAProgramHaveTheirOwnDerivative) {
    add_square();
    tn_tensor *x = param(from({3, 4}));
    const uint64_t before = memory_now().nodes;
    tn_tensor *y = call("t_square", {x});
    EXPECT_EQ(memory_now().nodes, before + 1) << "what is below it was recorded too";
    EXPECT_EQ(numbers(y), (Numbers{9, 16}));
    ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{6, 8}));
    EXPECT_EQ(tn_op_gradcheck("t_square", 0, 1, nullptr), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_op_gradcheck("t_square", 0, 2, nullptr), TN_OK) << tn_error_message();
}

TEST_F(Custom, FunctionsWithoutDerivativeRecordWhatIsInside) {
    add_op("t_inside(Tensor<F> x) -> Tensor y", "", nullptr, square, "x[3]", "same");
    tn_tensor *x = param(from({3}));
    ASSERT_EQ(tn_backward(call("t_inside", {x})), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{6}));
}

TEST_F(Custom, DerivativesMayGiveNumbersAndBroadcastShapes) {
    add_op(
        "t_five(Tensor<F> x, Tensor<F> w) -> Tensor y", "",
        [](tn_grad_ctx *c) {
            ops()->grad_set(c, "x", number(5));
            ops()->grad_set(c, "w", ops()->grad_out(c, 0));
        },
        weigh, "x[3] w[3]", "broadcast");
    tn_tensor *x = param(full({2, 3}, 1)), *w = param(full({3}, 1));
    ASSERT_EQ(tn_backward(tn_sum(call("t_five", {x, w}))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), Numbers(6, 5));
    EXPECT_EQ(grad(w), Numbers(3, 2));
}

TEST_F(Custom, ValuesMayBeKeptForSomeGradientsOnly) {
    add_op(
        "t_weigh(Tensor<F> x, Tensor<F> w) -> Tensor y", "x:w,w:x",
        [](tn_grad_ctx *c) {
            tn_tensor *g = ops()->grad_out(c, 0);
            if (ops()->grad_needs(c, "x"))
                ops()->grad_set(c, "x", tn_mul(g, ops()->grad_saved(c, "w")));
            if (ops()->grad_needs(c, "w"))
                ops()->grad_set(c, "w", tn_mul(g, ops()->grad_saved(c, "x")));
        },
        weigh, "x[3] w[3]", "broadcast");
    const Numbers x_is = {1, 2, 3}, w_is = {4, 5, 6};
    tn_tensor *x = param(from({1, 2, 3})), *w = param(from({4, 5, 6}));
    ASSERT_EQ(tn_backward(tn_sum(call("t_weigh", {x, w}))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), w_is);
    EXPECT_EQ(grad(w), x_is);
    tn_zero_grad(x), tn_zero_grad(w);
    ASSERT_EQ(tn_backward(tn_sum(call("t_weigh", {x, tn_detach(w)}))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), w_is);
    ASSERT_EQ(tn_backward(tn_sum(call("t_weigh", {tn_detach(x), w}))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(w), x_is);
}

TEST_F(Custom, NamesAValueThatIsReadForAnotherGradientThanKeepSays) {
    add_op(
        "t_hasty(Tensor<F> x, Tensor<F> w) -> Tensor y", "x:w,w:x",
        [](tn_grad_ctx *c) { ops()->grad_saved(c, "x"); }, weigh, "x[3] w[3]", "broadcast");
    EXPECT_EQ(tn_backward(tn_sum(call("t_hasty", {param(full({3}, 1)), full({3}, 1)}))),
              TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"t_hasty", "'x'", "keep"}));
}

// ---- What a derivative can do wrong ------------------------------------------------------------

TEST_F(Custom, NamesRowAndArgumentOfAMistake) {
    static bool asked_needs;
    struct Mistake {
        const char *name;
        Derivative derivative;
        tn_status code;
        std::initializer_list<const char *> parts;
    };
    const Mistake mistakes[] = {
        {"t_not_kept",
         [](tn_grad_ctx *c) { ops()->grad_saved(c, "w"); },
         TN_ERR_INVALID,
         {"t_not_kept", "does not keep 'w'", "add it to keep(...)"}},
        {"t_no_name",
         [](tn_grad_ctx *c) { ops()->grad_saved(c, "z"); },
         TN_ERR_INVALID,
         {"t_no_name", "'z'", "Tensor<F> x"}},
        {"t_no_arg",
         [](tn_grad_ctx *c) { ops()->grad_arg(c, "x"); },
         TN_ERR_INVALID,
         {"t_no_arg", "'x'"}},
        {"t_no_out",
         [](tn_grad_ctx *c) { ops()->grad_out(c, 3); },
         TN_ERR_INVALID,
         {"t_no_out", "result 3"}},
        {"t_shape",
         [](tn_grad_ctx *c) {
             ops()->grad_set(c, "w", full({2, 5}, 1));
         },
         TN_ERR_SHAPE,
         {"t_shape", "'w'", "f64[2,5]", "f64[3]"}},
        {"t_dtype",
         [](tn_grad_ctx *c) { ops()->grad_set(c, "w", tn_ones(ints({3}), TN_I64)); },
         TN_ERR_DTYPE,
         {"t_dtype", "'w'", "i64"}},
        {"t_twice",
         [](tn_grad_ctx *c) {
             ops()->grad_set(c, "w", full({3}, 1));
             ops()->grad_set(c, "w", full({3}, 1));
         },
         TN_ERR_INVALID,
         {"t_twice", "'w'", "twice"}},
        {"t_list",
         [](tn_grad_ctx *c) {
             ops()->grad_set_list(c, "w", {nullptr, 0});
         },
         TN_ERR_INVALID,
         {"t_list", "'w'"}},
        {"t_fails",
         [](tn_grad_ctx *) { ops()->fail(TN_ERR_IO, "no luck", 7); },
         TN_ERR_IO,
         {"t_fails", "no luck"}},
        {"t_result",
         [](tn_grad_ctx *c) {
             asked_needs = ops()->grad_needs(c, "y");
             ops()->grad_set(c, "y", nullptr);
         },
         TN_ERR_INVALID,
         {"t_result", "'y'"}},
    };
    for (const Mistake &m : mistakes) {
        static std::vector<std::string> schemas(0);
        schemas.reserve(64); // rows borrow the text
        schemas.push_back(std::string(m.name) + "(Tensor<F> x, Tensor<F> w) -> Tensor y");
        add_op(schemas.back().c_str(), "x", m.derivative, weigh, "x[3] w[3]", "broadcast");
        tn_tensor *x = param(full({2, 3}, 1)), *w = param(full({3}, 1));
        EXPECT_EQ(tn_backward(tn_sum(call(m.name, {x, w}))), m.code) << m.name;
        EXPECT_TRUE(error_is(m.code, m.parts));
        EXPECT_EQ(tn_grad_of(w), nullptr);
    }
    EXPECT_FALSE(asked_needs);
}

TEST_F(Custom, DerivativesAreAskedOnlyForWhatIsNeeded) {
    static bool needs_x, needs_w;
    add_op(
        "t_needs(Tensor<F> x, Tensor<F> w) -> Tensor y", "w",
        [](tn_grad_ctx *c) {
            needs_x = ops()->grad_needs(c, "x");
            needs_w = ops()->grad_needs(c, "w");
            ops()->grad_set(c, "x", tn_mul(ops()->grad_out(c, 0), ops()->grad_saved(c, "w")));
        },
        weigh, "x[3] w[3]", "broadcast");
    tn_tensor *x = param(full({3}, 1)), *w = full({3}, 2), *v = param(full({3}, 2)), *grads[1];
    ASSERT_EQ(tn_backward(tn_sum(call("t_needs", {x, w}))), TN_OK) << tn_error_message();
    EXPECT_TRUE(needs_x && !needs_w);
    EXPECT_EQ(grad(x), Numbers(3, 2));
    tn_tensor *y = tn_sum(call("t_needs", {x, v}));
    ASSERT_EQ(tn_backward_wrt(tensors({y}), tensors({v}), {}, nullptr, grads), TN_OK)
        << tn_error_message();
    EXPECT_TRUE(!needs_x && needs_w);
}

// ---- Checks ------------------------------------------------------------------------------------

TEST_F(Custom, GradcheckNamesOpArgumentAndBothNumbers) {
    add_op(
        "t_wrong(Tensor<F> x, Tensor<F> w) -> Tensor y", "x,w",
        [](tn_grad_ctx *c) {
            tn_tensor *g = ops()->grad_out(c, 0);
            ops()->grad_set(c, "x", tn_mul(g, ops()->grad_saved(c, "w")));
            ops()->grad_set(c, "w", tn_mul(tn_mul(g, ops()->grad_saved(c, "x")), number(1.01)));
        },
        weigh, "x[3] w[3]", "broadcast");
    EXPECT_EQ(tn_op_gradcheck("t_wrong", 0, 1, nullptr), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"'t_wrong'", "'w'", "element 0", "numeric", "analytic"}));
}

TEST_F(Custom, GradgradcheckFindsADerivativeThatWasNotRecorded) {
    add_op(
        "t_unrecorded(Tensor<F> x) -> Tensor y", "x",
        [](tn_grad_ctx *c) {
            const bool was = tn_set_grad_enabled(false);
            square_right(c);
            tn_set_grad_enabled(was);
        },
        square, "x[3]", "same");
    EXPECT_EQ(tn_op_gradcheck("t_unrecorded", 0, 1, nullptr), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_op_gradcheck("t_unrecorded", 0, 2, nullptr), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"t_unrecorded", "history"}));
}

TEST_F(Custom, ChecksFunctionsOfThePrograms) {
    auto fn = [](void *, tn_tensor *const *in, int64_t) {
        return tn_mul(tn_exp(tn_matmul(in[0], in[1])), in[2]);
    };
    tn_tensor *a = param(from({0.1, 0.2, 0.3, 0.4}, {2, 2})), *b = param(from({0.5, -0.6}, {2, 1}));
    tn_tensor *constant = full({2, 1}, 3);
    EXPECT_EQ(tn_gradcheck(fn, nullptr, tensors({a, b, constant}), nullptr), TN_OK)
        << tn_error_message();
    EXPECT_EQ(tn_gradgradcheck(fn, nullptr, tensors({a, b, constant}), nullptr), TN_OK)
        << tn_error_message();
    EXPECT_EQ(tn_grad_of(a), nullptr) << "the caller's tensors were touched";
    auto detached = [](void *, tn_tensor *const *in, int64_t) {
        return tn_mul(tn_detach(in[0]), in[0]);
    };
    EXPECT_EQ(tn_gradcheck(detached, nullptr, tensors({a}), nullptr), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"input 0, element 0"}));
}

TEST_F(Custom, ChecksNeedF64AndSomethingToCheck) {
    auto fn = [](void *, tn_tensor *const *in, int64_t) { return tn_mul(in[0], in[0]); };
    EXPECT_EQ(tn_gradcheck(fn, nullptr, tensors({param(full({2}, 1, TN_F32))}), nullptr),
              TN_ERR_DTYPE);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"input 0", "f32", "f64"}));
    EXPECT_EQ(tn_gradcheck(fn, nullptr, tensors({full({2}, 1)}), nullptr), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"no input requires grad"}));
    auto broken = [](void *, tn_tensor *const *, int64_t) -> tn_tensor * { return nullptr; };
    for (auto check : {tn_gradcheck, tn_gradgradcheck}) {
        EXPECT_EQ(check(broken, nullptr, tensors({param(full({2}, 1))}), nullptr), TN_ERR_INVALID);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"NULL"}));
    }
    EXPECT_EQ(tn_op_gradcheck("argmax", 0, 1, nullptr), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"argmax", "no derivative"}));
    EXPECT_EQ(tn_op_gradcheck("nothing_like_it", 0, 1, nullptr), TN_ERR_NOTFOUND);
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND));
}

TEST_F(Custom, ChecksOpsOnTheirSamples) {
    for (const char *op : {"mul", "copy_", "fill_", "dropout", "cat", "sort", "split", "select",
                           "where", "tanh", "tanh_"})
        for (int32_t order : {1, 2})
            for (int64_t i = 0;; i++) {
                const tn_status status = tn_op_gradcheck(op, i, order, nullptr);
                const std::string why = tn_error_message();
                tn_clear_error();
                if (status == TN_ERR_NOTFOUND) break;
                ASSERT_EQ(status, TN_OK) << why;
            }
}

} // namespace
