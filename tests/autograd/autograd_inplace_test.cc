// autograd_inplace_test.cc - in-place writes while recording: histories, views, what is refused.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include <tenon/check.h>

#include "modules/math/math_ops.h"

namespace {

class InPlace : public Tenon {
  protected:
    // A tensor with history whose gradient is that of x.
    static tn_tensor *recorded(tn_tensor *x) { return tn_mul(x, number(1)); }
    static Numbers backward(tn_tensor *y, const Numbers &weights, tn_tensor *x) {
        tn_zero_grad(x);
        tn_tensor *w = from(weights, shape(y));
        EXPECT_EQ(tn_backward(tn_sum(tn_mul(y, w))), TN_OK) << tn_error_message();
        return grad(x);
    }
};

TEST_F(InPlace, ReplacesTheHistoryOfItsTarget) {
    tn_tensor *x = param(from({1, 2, 3})), *y = recorded(x);
    EXPECT_EQ(tn_mul_(y, from({3, 4, 5})), y);
    EXPECT_EQ(numbers(y), (Numbers{3, 8, 15}));
    EXPECT_EQ(backward(y, {1, 1, 2}, x), (Numbers{3, 4, 10}));
}

TEST_F(InPlace, KeepsACopyOfWhatItOverwrites) {
    tn_tensor *x = param(from({1, 2, 3})), *y = recorded(x);
    tn_mul_(y, y);
    EXPECT_EQ(numbers(y), (Numbers{1, 4, 9}));
    EXPECT_EQ(backward(y, {1, 1, 1}, x), (Numbers{2, 4, 6}));
    tn_tensor *w = param(from({5}));
    tn_tensor *z = recorded(x);
    tn_mul_(z, w);
    EXPECT_EQ(backward(z, {1, 1, 1}, w), (Numbers{6}));
}

TEST_F(InPlace, KeepsResultsAtTheirNewVersion) {
    tn_tensor *x = param(from({1, 2, 3})), *y = recorded(x);
    tn_reciprocal_(y);
    EXPECT_EQ(backward(y, {1, 4, 9}, x), (Numbers{-1, -1, -1}));
}

TEST_F(InPlace, GivesHistoryToATensorThatHadNone) {
    tn_tensor *x = param(from({1, 2})), *b = full({2}, 0);
    tn_copy_(b, x);
    EXPECT_TRUE(tn_requires_grad(b));
    EXPECT_FALSE(tn_is_leaf(b));
    EXPECT_EQ(backward(b, {3, 4}, x), (Numbers{3, 4}));
    tn_fill_(b, tn_float(7));
    EXPECT_EQ(backward(b, {3, 4}, x), (Numbers{0, 0}));
}

TEST_F(InPlace, LeavesNoCycleBehind) {
    tn_tensor *x = param(from({1, 2})), *y = recorded(x);
    tn_tensor *z = tn_mul(y, y); // keeps y, and z goes into y
    tn_add_(y, z);
    tn_tensor *v = tn_select(y, 0, 0);
    tn_mul_(y, v); // keeps a view of what it writes
    tn_mul_(v, v); // the fixture counts nodes and tensors
}

// ---- Views -------------------------------------------------------------------------------------

TEST_F(InPlace, OnAViewChangesTheHistoryOfTheBase) {
    tn_tensor *x = param(from({1, 2, 3, 4}, {2, 2})), *y = recorded(x);
    tn_mul_(tn_select(y, 0, 0), number(10));
    EXPECT_EQ(numbers(y), (Numbers{10, 20, 3, 4}));
    EXPECT_EQ(backward(y, {1, 2, 3, 4}, x), (Numbers{10, 20, 3, 4}));
}

TEST_F(InPlace, OnABaseChangesWhatItsViewsAre) {
    tn_tensor *x = param(from({1, 2, 3, 4}, {2, 2})), *y = recorded(x);
    tn_tensor *v = tn_select(y, 0, 1);
    tn_mul_(y, number(3));
    EXPECT_EQ(numbers(v), (Numbers{9, 12}));
    EXPECT_EQ(backward(v, {1, 2}, x), (Numbers{0, 0, 3, 6}));
}

TEST_F(InPlace, OnOneViewChangesTheOthers) {
    tn_tensor *x = param(from({1, 2, 3, 4}, {2, 2})), *y = recorded(x);
    tn_tensor *row = tn_select(y, 0, 0), *column = tn_select(y, 1, 0),
              *flipped = tn_transpose(y, 0, 1);
    tn_mul_(row, row);
    EXPECT_EQ(backward(column, {1, 1}, x), (Numbers{2, 0, 1, 0}));
    tn_mul_(tn_select(flipped, 0, 1), number(5)); // column 1 of y
    tn_tensor *z = recorded(x);
    tn_mul_(tn_select(tn_transpose(z, 0, 1), 0, 1), number(5));
    tn_add_(tn_select(z, 0, 0), number(1));
    EXPECT_EQ(numbers(z), (Numbers{2, 11, 3, 20}));
    EXPECT_EQ(backward(z, {1, 2, 3, 4}, x), (Numbers{1, 10, 3, 20}));
}

TEST_F(InPlace, GivesViewsOfAPlainBaseAHistory) {
    tn_tensor *x = param(from({1, 2})), *b = full({2, 2}, 0);
    tn_tensor *first = tn_select(b, 0, 0), *second = tn_select(b, 0, 1);
    tn_copy_(first, x);
    EXPECT_TRUE(tn_requires_grad(b) && tn_requires_grad(first) && tn_requires_grad(second));
    EXPECT_EQ(backward(b, {1, 2, 3, 4}, x), (Numbers{1, 2}));
    tn_copy_(second, tn_mul(x, x));
    EXPECT_EQ(backward(b, {1, 2, 3, 4}, x), (Numbers{1 + 3 * 2, 2 + 4 * 4}));
}

TEST_F(InPlace, WorksOnStridedSlices) {
    tn_tensor *x = param(from({1, 2, 3, 4, 5, 6})), *y = recorded(x);
    tn_slice_opts every_other = {};
    every_other.step.set = true;
    every_other.step.value = 2;
    tn_exp_(tn_slice(y, &every_other));
    const Numbers e = numbers(y);
    EXPECT_EQ(backward(y, {1, 1, 1, 1, 1, 1}, x), (Numbers{e[0], 1, e[2], 1, e[4], 1}));
}

TEST_F(InPlace, SumsOverRepeatedElementsOfAnOldView) {
    tn_tensor *x = param(from({1, 2, 3}, {3, 1})), *y = recorded(x);
    tn_tensor *wide = tn_expand(y, ints({3, 2}));
    tn_mul_(y, number(2));
    EXPECT_EQ(backward(wide, {1, 2, 3, 4, 5, 6}, x), (Numbers{6, 14, 22}));
}

TEST_F(InPlace, GoesThroughABaseWithHoles) {
    tn_tensor *x = param(from({1, 2, 3})), *storage = from({0, 0, 0, 0, 0, 0}, {3, 2});
    tn_tensor *column = tn_detach(tn_select(storage, 1, 0)); // its own base, with stride 2
    tn_copy_(column, x);
    tn_tensor *tail = tn_select(column, 0, 2);
    tn_mul_(tail, number(7));
    EXPECT_EQ(numbers(storage), (Numbers{1, 0, 2, 0, 21, 0}));
    EXPECT_EQ(backward(column, {1, 2, 3}, x), (Numbers{1, 2, 21}));
    EXPECT_FALSE(tn_requires_grad(storage));
}

TEST_F(InPlace, OnAReshapedCopyStaysInItsHistory) {
    tn_tensor *x = param(from({1, 2, 3, 4}, {2, 2}));
    tn_tensor *y = tn_reshape(tn_transpose(x, 0, 1), ints({4}));
    tn_mul_(y, from({1, 2, 3, 4}));
    EXPECT_EQ(backward(y, {1, 1, 1, 1}, x), (Numbers{1, 3, 2, 4}));
}

TEST_F(InPlace, DifferentiatesTwiceThroughAViewWrite) {
    auto fn = [](void *, tn_tensor *const *in, int64_t) {
        tn_tensor *y = recorded(in[0]);
        tn_tensor *row = tn_select(y, 0, 0);
        tn_mul_(row, in[1]);
        tn_tanh_(tn_select(y, 1, 1));
        return tn_mul(y, y);
    };
    tn_tensor *x = param(from({1, -2, 3, 0.5}, {2, 2})), *w = param(from({0.5, 2}));
    EXPECT_EQ(tn_gradcheck(fn, nullptr, tensors({x, w}), nullptr), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_gradgradcheck(fn, nullptr, tensors({x, w}), nullptr), TN_OK) << tn_error_message();
}

// ---- Refusals ----------------------------------------------------------------------------------

TEST_F(InPlace, RefusesALeafThatRequiresGrad) {
    tn_tensor *x = param(from({1, 2}));
    EXPECT_EQ(tn_mul_(x, number(2)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"mul_", "'a'", "leaf", "tn_set_grad_enabled"}));
    EXPECT_EQ(tn_mul_(tn_select(x, 0, 0), number(2)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"view of a leaf"}));
    EXPECT_EQ(numbers(x), (Numbers{1, 2}));
}

TEST_F(InPlace, AllowsALeafWhileGradModeIsOff) {
    tn_tensor *x = param(from({1, 2}));
    tn_set_grad_enabled(false);
    tn_mul_(x, number(2));
    tn_set_grad_enabled(true);
    EXPECT_EQ(numbers(x), (Numbers{2, 4}));
    EXPECT_TRUE(tn_is_leaf(x) && tn_requires_grad(x));
    EXPECT_EQ(backward(recorded(x), {3, 4}, x), (Numbers{3, 4}));
}

TEST_F(InPlace, RefusesAnExpandedTarget) {
    tn_tensor *x = param(from({1})), *y = recorded(x);
    EXPECT_EQ(tn_mul_(tn_expand(y, ints({3})), number(2)), nullptr);
    EXPECT_TRUE(error_is(tn_error(), {"mul_"}));
}

TEST_F(InPlace, RefusesOneOfSeveralViews) {
    tn_tensor *x = param(from({1, 2, 3, 4})), *y = recorded(x);
    EXPECT_EQ(tn_mul_(tn_split(y, 2, nullptr).ptr[0], number(2)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"several views", "clone"}));
}

TEST_F(InPlace, RefusesAViewMadeWithGradModeOff) {
    tn_tensor *x = param(from({1, 2})), *y = tn_mul_(recorded(x), number(2));
    tn_set_grad_enabled(false);
    tn_tensor *v = tn_select(y, 0, 0);
    tn_tensor *w = tn_unsqueeze(v, 0);
    tn_set_grad_enabled(true);
    EXPECT_FALSE(tn_requires_grad(v));
    EXPECT_FALSE(tn_requires_grad(w));
    EXPECT_EQ(tn_mul_(v, tn_select(x, 0, 0)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"grad mode off"}));
}

// A call that is given nothing that wants a gradient is not recorded, and must not write such a view.
TEST_F(InPlace, RefusesAHiddenViewWhateverElseTheCallIsGiven) {
    using Write = void (*)(tn_tensor *);
    const Write writes[] = {
        [](tn_tensor *v) { tn_mul_(v, number(2)); },
        [](tn_tensor *v) {
            tn_mul_(v, from({2, 2}));
        },
        [](tn_tensor *v) { tn_fill_(v, tn_float(0)); },
        [](tn_tensor *v) {
            tn_copy_(v, from({5, 5}));
        },
        [](tn_tensor *v) { tn_relu_(v); },
        [](tn_tensor *v) {
            tn_clamp_opts opts = {};
            opts.min = tn_int(0);
            tn_clamp_(v, &opts);
        },
        [](tn_tensor *v) {
            tn_gt_(v, from({0, 0}));
        },
        [](tn_tensor *v) {
            tn_sgd_({&v, 1}, tensors({from({1, 1})}), {nullptr, 0}, 0.1, nullptr);
        },
        [](tn_tensor *v) {
            const double x[] = {5, 5};
            tn_write(v, x, sizeof x);
        }};
    const auto view = [](tn_tensor *t) { return tn_view_sizes(t, ints({2})); };
    tn_tensor *x = param(from({1, 2})), *late = from({1, 2}), *early = view(late);
    param(late); // the view was made before
    const bool was = tn_set_grad_enabled(false);
    tn_tensor *y = nullptr, *of_leaf = view(x);
    tn_set_grad_enabled(was);
    y = recorded(x);
    tn_set_grad_enabled(false);
    tn_tensor *of_result = view(y);
    tn_set_grad_enabled(was);
    for (const Write write : writes) {
        const bool last = write == writes[8]; // leaves may be written that way, and so their views
        for (tn_tensor *v : {of_result, of_leaf, early}) {
            if (last && v != of_result) continue;
            write(v);
            EXPECT_TRUE(error_is(TN_ERR_GRAD)) << (&write - writes);
        }
    }
    EXPECT_EQ(numbers(y), (Numbers{1, 2}));
    EXPECT_EQ(numbers(x), (Numbers{1, 2}));
    EXPECT_EQ(backward(y, {1, 1}, x), (Numbers{1, 1}));
    tn_set_grad_enabled(false);
    tn_mul_(of_leaf, number(3)); // as a step of an optimizer would
    tn_set_grad_enabled(was);
    EXPECT_EQ(numbers(x), (Numbers{3, 6}));
}

TEST_F(InPlace, OnADetachedTensorLeavesHistoriesAlone) {
    tn_tensor *x = param(from({1, 2})), *y = recorded(x);
    tn_tensor *v = tn_select(tn_detach(y), 0, 0);
    tn_mul_(v, number(10));
    EXPECT_FALSE(tn_requires_grad(v));
    EXPECT_EQ(numbers(y), (Numbers{10, 2}));
    EXPECT_EQ(backward(y, {1, 1}, x), (Numbers{1, 1}));
}

} // namespace
