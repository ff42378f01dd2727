// mlp.h - one training step of a small network, for tests of what a whole step does: memory,
// allocations, faults.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_MLP_H
#define TENON_TESTS_MLP_H

#include "tests/support/op_walk.h"

#include "modules/math/math_ops.h"

// 8 inputs, 16 hidden, 4 classes. Tensors are kept until the end of the object's life.
class Mlp {
  public:
    static constexpr int params = 4;
    static constexpr int64_t inputs = 8, hidden = 16, classes = 4;

    Mlp() {
        const Shape shapes[params] = {{hidden, inputs}, {hidden}, {classes, hidden}, {classes}};
        const tn_scope scope = tn_scope_push();
        for (int i = 0; i < params; i++) {
            weights_[i] = tn_keep(noise(shapes[i], i));
            momenta_[i] = tn_keep(tn_zeros(ints(shapes[i]), TN_F32));
            start_.push_back(contents(weights_[i]));
            EXPECT_EQ(tn_set_requires_grad(weights_[i], true), TN_OK) << tn_error_message();
        }
        EXPECT_EQ(tn_scope_pop(scope), TN_OK);
    }
    ~Mlp() {
        forget_gradients();
        for (int i = 0; i < params; i++) tn_drop(weights_[i]), tn_drop(momenta_[i]);
    }
    Mlp(const Mlp &) = delete;

    // Numbers in [-0.5, 0.5] that depend on nothing but seed and place.
    static tn_tensor *noise(const Shape &sizes, int seed) {
        int64_t n = 1;
        for (const int64_t size : sizes) n *= size;
        std::vector<float> data(static_cast<size_t>(n));
        uint32_t state = 12345u + 1000u * static_cast<uint32_t>(seed);
        for (float &x : data) {
            state = state * 1664525u + 1013904223u;
            x = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
        }
        return tn_from(data.data(), ints(sizes), TN_F32);
    }

    static tn_tensor *labels(int64_t n) {
        std::vector<int64_t> data(static_cast<size_t>(n));
        for (size_t i = 0; i < data.size(); i++) data[i] = static_cast<int64_t>(i) % classes;
        return tn_from(data.data(), ints({n}), TN_I64);
    }

    // Weights as at the start, momenta 0, no gradients.
    void reset() {
        for (size_t i = 0; i < params; i++) {
            const std::vector<unsigned char> zeros(start_[i].bytes.size(), 0);
            EXPECT_EQ(tn_write(weights_[i], start_[i].bytes.data(), start_[i].bytes.size()), TN_OK)
                << tn_error_message();
            EXPECT_EQ(tn_write(momenta_[i], zeros.data(), zeros.size()), TN_OK)
                << tn_error_message();
        }
        forget_gradients();
    }

    void forget_gradients() {
        for (tn_tensor *w : weights_) tn_zero_grad(w);
    }

    // Forward, cross entropy, backward and sgd_, in a scope of its own. The loss; NaN on error.
    double step(tn_tensor *x, tn_tensor *target) {
        const tn_scope scope = tn_scope_push();
        tn_linear_opts bias1 = {}, bias2 = {};
        bias1.b = weights_[1], bias2.b = weights_[3];
        tn_tensor *h = tn_relu(tn_linear(x, weights_[0], &bias1));
        tn_tensor *loss = tn_cross_entropy(tn_linear(h, weights_[2], &bias2), target, nullptr);
        tn_backward(loss);
        tn_tensor *grads[params];
        for (int i = 0; i < params; i++) grads[i] = tn_grad_of(weights_[i]);
        const bool recorded = tn_set_grad_enabled(false);
        tn_sgd_opts opts = {};
        opts.momentum = 0.9;
        tn_sgd_({weights_, params}, {grads, params}, {momenta_, params}, 0.1, &opts);
        tn_set_grad_enabled(recorded);
        for (tn_tensor *w : weights_) tn_zero_grad(w);
        const double value = tn_item(loss);
        tn_scope_pop(scope);
        return value;
    }

    // The bits of weights and momenta.
    std::vector<unsigned char> bits() const {
        std::vector<unsigned char> all;
        for (int i = 0; i < params; i++)
            for (tn_tensor *t : {weights_[i], momenta_[i]}) {
                const Contents c = contents(t);
                all.insert(all.end(), c.bytes.begin(), c.bytes.end());
            }
        return all;
    }

  private:
    tn_tensor *weights_[params], *momenta_[params];
    std::vector<Contents> start_;
};

#endif
