// autograd_bucket_test.cc - gradients in memory of the program's: tn_grad_set, and training whose
// gradients lie in one flat tensor.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <thread>

#include <tenon/hooks.h>

namespace {

class Bucket : public Tenon {
  protected:
    // n numbers of flat from `first`, in these sizes.
    static tn_tensor *slice(tn_tensor *flat, int64_t first, const Shape &sizes) {
        int64_t n = 1;
        for (const int64_t size : sizes) n *= size;
        return tn_view_sizes(tn_narrow(flat, 0, first, n), ints(sizes));
    }
};

TEST_F(Bucket, BackwardAddsToTheMemoryThatWasSetAndZeroGradMakesItZeroInPlace) {
    tn_tensor *flat = full({5}, 0), *w = param(from({1, 2})), *view = slice(flat, 2, {2});
    const void *data = tn_data(view);
    ASSERT_EQ(tn_grad_set(w, view), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_grad_of(w), view);
    for (int i = 0; i < 2; i++) ASSERT_EQ(tn_backward(tn_sum(tn_mul(w, w))), TN_OK);
    EXPECT_EQ(numbers(flat), (Numbers{0, 0, 4, 8, 0}));
    EXPECT_EQ(tn_grad_of(w), view);
    EXPECT_EQ(tn_data(tn_grad_of(w)), data);
    ASSERT_EQ(tn_zero_grad(w), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_grad_of(w), view);
    EXPECT_EQ(numbers(flat), (Numbers{0, 0, 0, 0, 0}));
}

TEST_F(Bucket, WhatTheMemoryHoldsIsTheGradient) {
    tn_tensor *w = param(from({1, 2}));
    ASSERT_EQ(tn_backward(tn_sum(w)), TN_OK);
    ASSERT_EQ(tn_grad_set(w, from({10, 20})), TN_OK) << "what was there is forgotten";
    ASSERT_EQ(tn_backward(tn_sum(w)), TN_OK);
    EXPECT_EQ(grad(w), (Numbers{11, 21}));
}

TEST_F(Bucket, StridesMayBeAnyThatDoNotOverlap) {
    tn_tensor *block = full({2, 3}, 0), *w = param(from({1, 2, 3, 4, 5, 6}, {3, 2}));
    ASSERT_EQ(tn_grad_set(w, tn_transpose(block, 0, 1)), TN_OK) << tn_error_message();
    ASSERT_EQ(tn_backward(tn_sum(tn_mul(w, w))), TN_OK) << tn_error_message();
    EXPECT_EQ(numbers(block), (Numbers{2, 6, 10, 4, 8, 12}));
    tn_tensor *line = full({6}, 0), *v = param(from({1, 2}));
    ASSERT_EQ(tn_grad_set(v, tn_select(tn_view_sizes(line, ints({2, 3})), 1, 1)), TN_OK);
    ASSERT_EQ(tn_backward(tn_sum(tn_mul(v, v))), TN_OK) << tn_error_message();
    EXPECT_EQ(numbers(line), (Numbers{0, 2, 0, 0, 4, 0}));
}

TEST_F(Bucket, AGradientThatPassesThroughIsCopiedAndNotTakenOver) {
    tn_tensor *w = param(from({1, 2})), *start = from({3, 4}), *view = from({0, 0});
    ASSERT_EQ(tn_grad_set(w, view), TN_OK);
    tn_backward_opts opts = {};
    opts.grad = start;
    ASSERT_EQ(tn_backward_with(w, &opts), TN_OK) << tn_error_message();
    tn_fill_(start, tn_float(0));
    EXPECT_EQ(numbers(view), (Numbers{3, 4}));
}

TEST_F(Bucket, TheLeafHoldsTheMemoryUntilItIsGivenUp) {
    tn_tensor *w = param(from({1, 2}));
    {
        const tn_scope scope = tn_scope_push();
        ASSERT_EQ(tn_grad_set(w, slice(full({4}, 0), 1, {2})), TN_OK);
        tn_scope_pop(scope);
    }
    ASSERT_EQ(tn_backward(tn_sum(w)), TN_OK);
    EXPECT_EQ(grad(w), (Numbers{1, 1}));
    ASSERT_EQ(tn_grad_set(w, nullptr), TN_OK);
    EXPECT_EQ(tn_grad_of(w), nullptr);
    ASSERT_EQ(tn_zero_grad(w), TN_OK);
    EXPECT_EQ(tn_grad_of(w), nullptr);
}

TEST_F(Bucket, MemoryThatWasGivenUpIsWrittenNoMore) {
    tn_tensor *flat = full({2}, 0), *w = param(from({1, 2}));
    ASSERT_EQ(tn_grad_set(w, flat), TN_OK);
    ASSERT_EQ(tn_grad_set(w, nullptr), TN_OK);
    ASSERT_EQ(tn_backward(tn_sum(w)), TN_OK);
    EXPECT_EQ(numbers(flat), (Numbers{0, 0}));
    EXPECT_NE(tn_grad_of(w), flat);
}

TEST_F(Bucket, WritesThroughTheFlatTensorAreSeenAndWritesOfBackwardCountAsVersions) {
    tn_tensor *flat = full({4}, 0), *w = param(from({1, 2})), *x = param(from({1, 1, 1, 1}));
    ASSERT_EQ(tn_grad_set(w, slice(flat, 0, {2})), TN_OK);
    tn_fill_(flat, tn_float(7));
    EXPECT_EQ(grad(w), (Numbers{7, 7}));
    tn_tensor *keeps = tn_sum(tn_mul(x, flat)); // its derivative reads flat
    ASSERT_EQ(tn_backward(tn_sum(w)), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_backward(keeps), TN_ERR_MODIFIED);
    EXPECT_TRUE(error_is(TN_ERR_MODIFIED, {"'mul'"}));
}

TEST_F(Bucket, MemoryThatDoesNotFitIsRefusedByName) {
    tn_tensor *w = param(from({1, 2})), *gone = nullptr;
    {
        const tn_scope scope = tn_scope_push();
        gone = from({0, 0});
        tn_scope_pop(scope);
    }
    const struct {
        tn_tensor *leaf, *view;
        tn_status code;
        const char *says;
    } cases[] = {
        {w, full({3}, 0), TN_ERR_SHAPE, "the view is f64[3], but the leaf is f64[2]"},
        {w, full({2, 1}, 0), TN_ERR_SHAPE, "f64[2,1]"},
        {w, full({2}, 0, TN_F32), TN_ERR_DTYPE, "f32[2]"},
        {w, param(full({2}, 0)), TN_ERR_GRAD, "the view requires grad"},
        {w, tn_mul(w, w), TN_ERR_GRAD, "the view requires grad"},
        {w, tn_expand(full({1}, 0), ints({2})), TN_ERR_GRAD, "share memory"},
        {w, tn_detach(w), TN_ERR_GRAD, "in the leaf's own memory"},
        {w, w, TN_ERR_GRAD, "requires grad"},
        {w, gone, TN_ERR_STALE, "view was dropped"},
        {gone, full({2}, 0), TN_ERR_STALE, "leaf was dropped"},
        {nullptr, full({2}, 0), TN_ERR_INVALID, "leaf is NULL"},
        {full({2}, 0), full({2}, 0), TN_ERR_GRAD, "does not require grad"},
        {tn_neg(w), full({2}, 0), TN_ERR_GRAD, "no leaf"},
    };
    for (const auto &c : cases) {
        EXPECT_EQ(tn_grad_set(c.leaf, c.view), c.code) << c.says;
        EXPECT_TRUE(error_is(c.code, {"tn_grad_set", c.says}));
    }
    EXPECT_EQ(tn_grad_of(w), nullptr);
}

TEST_F(Bucket, ARecordedPassIsRefusedAndOneThatAsksByNameIsNot) {
    tn_tensor *w = param(from({3})), *view = from({0});
    ASSERT_EQ(tn_grad_set(w, view), TN_OK);
    const tn_backward_opts create = {nullptr, false, true};
    EXPECT_EQ(tn_backward_with(tn_sum(tn_mul(w, w)), &create), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"leaf f64[1]", "tn_grad_set", "create_graph"}));
    EXPECT_EQ(numbers(view), (Numbers{0}));
    tn_tensor *y = tn_sum(tn_mul(w, w)), *first, *second;
    ASSERT_EQ(tn_backward_wrt({&y, 1}, {&w, 1}, {nullptr, 0}, &create, &first), TN_OK);
    ASSERT_EQ(tn_backward_wrt({&first, 1}, {&w, 1}, {nullptr, 0}, nullptr, &second), TN_OK);
    EXPECT_EQ(numbers(second), (Numbers{2}));
    EXPECT_EQ(numbers(view), (Numbers{0}));
}

TEST_F(Bucket, LeavesOfOneFlatTensorMayGetTheirGradientsFromTwoThreads) {
    tn_tensor *flat = full({2}, 0);
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; i++)
        threads.emplace_back([flat, i] {
            const tn_scope scope = tn_scope_push();
            tn_tensor *w = param(from({1}));
            EXPECT_EQ(tn_grad_set(w, slice(flat, i, {1})), TN_OK) << tn_error_message();
            for (int k = 0; k < 100; k++) {
                EXPECT_EQ(tn_backward(tn_sum(w)), TN_OK) << tn_error_message();
            }
            tn_scope_pop(scope);
        });
    for (std::thread &t : threads) t.join();
    EXPECT_EQ(numbers(flat), (Numbers{100, 100}));
}

// ---- Training ----

// Four layers, f32. Weights are kept until the end of its life.
class Net {
  public:
    static constexpr size_t layers = 4;
    static constexpr int64_t width = 8;

    Net() {
        const tn_scope scope = tn_scope_push();
        for (size_t i = 0; i < layers; i++)
            for (const Shape &sizes : {Shape{width, width}, Shape{width}}) {
                params.push_back(tn_keep(param(waves(sizes, static_cast<double>(i)))));
                for (auto *state : {&averages, &squares})
                    state->push_back(tn_keep(full(sizes, 0, TN_F32)));
            }
        tn_scope_pop(scope);
    }
    ~Net() {
        for (auto *list : {&params, &averages, &squares})
            for (tn_tensor *t : *list) tn_drop(t);
    }
    Net(const Net &) = delete;

    static tn_tensor *waves(const Shape &sizes, double phase) {
        const int64_t n = sizes[0] * (sizes.size() > 1 ? sizes[1] : 1);
        tn_tensor *line = tn_to(tn_arange(tn_int(0), tn_int(n), nullptr), TN_F32);
        return tn_mul(tn_cos(tn_add(tn_view_sizes(line, ints(sizes)), number(phase))), number(0.5));
    }

    void backward(int step) const {
        tn_tensor *x = waves({4, width}, step), *y = x;
        for (size_t i = 0; i < layers; i++) {
            tn_linear_opts opts = {};
            opts.b = params[2 * i + 1];
            y = tn_tanh(tn_linear(y, params[2 * i], &opts));
        }
        EXPECT_EQ(tn_backward(tn_mean(tn_mul(tn_sub(y, x), tn_sub(y, x)))), TN_OK)
            << tn_error_message();
    }

    void update(int step) const {
        std::vector<tn_tensor *> grads;
        for (tn_tensor *p : params) grads.push_back(tn_grad_of(p));
        const bool was = tn_set_grad_enabled(false);
        tn_adamw_(tensors(params), tensors(grads), tensors(averages), tensors(squares),
                  {nullptr, 0}, 0.01, step, nullptr);
        tn_set_grad_enabled(was);
        EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
    }

    std::vector<tn_tensor *> params, averages, squares;
};

// Gradients of all parameters in one flat tensor; the first half of it is summed over processes when
// its last gradient has come, then the second half. Here "summed" is copied there and back.
struct Reduced {
    tn_tensor *flat, *half[2], *away[2];
    int left[2];
    std::vector<int> order;
};

struct Share {
    Reduced *all;
    int half;
};

void reduce(void *user, tn_tensor *) {
    const auto *s = static_cast<Share *>(user);
    if (--s->all->left[s->half]) return;
    s->all->order.push_back(s->half);
    tn_copy_(s->all->away[s->half], s->all->half[s->half]);
    tn_fill_(s->all->half[s->half], tn_float(0));
    tn_copy_(s->all->half[s->half], s->all->away[s->half]);
}

TEST_F(Bucket, TrainingWithGradientsInBucketsGivesTheWeightsOfPlainTrainingBitByBit) {
    const Net plain, bucketed;
    const size_t n = bucketed.params.size();
    Reduced all = {};
    const int64_t numel = Net::layers * Net::width * (Net::width + 1);
    all.flat = full({numel}, 0, TN_F32);
    for (int h = 0; h < 2; h++) {
        all.half[h] = tn_narrow(all.flat, 0, h * numel / 2, numel / 2);
        all.away[h] = full({numel / 2}, 0, TN_F32);
    }
    Share shares[2] = {{&all, 0}, {&all, 1}};
    int64_t first = 0;
    for (size_t i = 0; i < n; i++) {
        tn_tensor *p = bucketed.params[i];
        const Shape sizes = shape(p);
        ASSERT_EQ(tn_grad_set(p, slice(all.flat, first, sizes)), TN_OK) << tn_error_message();
        ASSERT_NE(tn_accumulated_hook(p, reduce, &shares[i >= n / 2]), 0u);
        first += tn_numel(p);
    }
    for (int step = 1; step <= 5; step++) {
        const tn_scope scope = tn_scope_push();
        for (tn_tensor *p : plain.params) tn_zero_grad(p);
        tn_fill_(all.flat, tn_float(0)); // all gradients at once
        all.left[0] = all.left[1] = static_cast<int>(n / 2);
        for (const Net *net : {&plain, &bucketed}) net->backward(step), net->update(step);
        tn_scope_pop(scope);
    }
    EXPECT_EQ(all.order, (std::vector<int>{1, 0, 1, 0, 1, 0, 1, 0, 1, 0}));
    Numbers gradients;
    for (size_t i = 0; i < n; i++) {
        EXPECT_EQ(numbers(plain.params[i]), numbers(bucketed.params[i]));
        for (const double g : grad(plain.params[i])) gradients.push_back(g);
    }
    EXPECT_EQ(numbers(all.flat), gradients);
    EXPECT_NE(numbers(plain.params[0]), numbers(Net().params[0])) << "training changes weights";
}

} // namespace
