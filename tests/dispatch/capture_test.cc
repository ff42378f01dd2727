// capture_test.cc - captures: replays give the bits that the program would have given again.
// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <tenon/hooks.h>
#include <tenon/layers.h>

#include "tests/support/support.h"

extern "C" {
#include "core/base/heap.h"
}
#include "modules/math/math_ops.h"

namespace {

using Bytes = std::vector<unsigned char>;

Bytes bytes_of(tn_tensor *t) {
    Bytes out(static_cast<size_t>(tn_numel(t) * tn_dtype_bytes(tn_dtype_of(t))));
    EXPECT_EQ(tn_read(t, out.data(), out.size()), TN_OK) << tn_error_message();
    return out;
}

tn_tensor *noise(const Shape &sizes, uint64_t seed, double low = -0.5, double high = 0.5) {
    tn_generator *g = tn_generator_new(seed);
    tn_uniform_opts opts = {};
    opts.low = low, opts.high.value = high, opts.high.set = true, opts.rng = g;
    tn_tensor *t = tn_uniform(ints(sizes), &opts);
    tn_generator_free(g);
    return t;
}

// Two layers with dropout between them, trained with momentum: as large as asked for.
struct Net {
    static constexpr int params = 4;
    tn_tensor *w[params], *m[params], *x, *target, *loss = nullptr;
    tn_generator *rng;
    double drop;
    int64_t batch, inputs, classes;

    Net(int64_t batch, int64_t inputs, int64_t hidden, int64_t classes, double drop)
        : rng(tn_generator_new(5)), drop(drop), batch(batch), inputs(inputs), classes(classes) {
        const Shape shapes[params] = {{hidden, inputs}, {hidden}, {classes, hidden}, {classes}};
        for (int i = 0; i < params; i++) {
            w[i] = param(noise(shapes[i], static_cast<uint64_t>(i)));
            m[i] = tn_zeros(ints(shapes[i]), TN_F32);
        }
        x = tn_empty(ints({batch, inputs}), TN_F32);
        target = tn_empty(ints({batch}), TN_I64);
    }
    ~Net() { tn_generator_free(rng); }

    void feed(uint64_t seed) {
        const Bytes data = bytes_of(noise({batch, inputs}, 100 + seed));
        EXPECT_EQ(tn_write(x, data.data(), data.size()), TN_OK);
        std::vector<int64_t> labels;
        for (int64_t i = 0; i < batch; i++)
            labels.push_back((i + static_cast<int64_t>(seed)) % classes);
        EXPECT_EQ(tn_write(target, labels.data(), labels.size() * sizeof labels[0]), TN_OK);
    }
    void step() {
        tn_linear_opts b1 = {}, b2 = {};
        b1.b = w[1], b2.b = w[3];
        tn_tensor *h = tn_relu(tn_linear(x, w[0], &b1));
        tn_dropout_opts from = {rng};
        if (drop > 0) h = tn_dropout(h, drop, &from);
        loss = tn_cross_entropy(tn_linear(h, w[2], &b2), target, nullptr);
        tn_backward(loss);
        tn_tensor *grads[params];
        for (int i = 0; i < params; i++) grads[i] = tn_grad_of(w[i]);
        const bool recorded = tn_set_grad_enabled(false);
        tn_sgd_opts opts = {};
        opts.momentum = 0.9;
        tn_sgd_({w, params}, {grads, params}, {m, params}, 0.1, &opts);
        tn_set_grad_enabled(recorded);
        for (tn_tensor *p : w) tn_zero_grad(p);
    }
    std::vector<Bytes> state() const {
        std::vector<Bytes> all = {bytes_of(loss)};
        for (int i = 0; i < params; i++)
            all.push_back(bytes_of(w[i])), all.push_back(bytes_of(m[i]));
        const tn_rng at = tn_generator_position(rng);
        Bytes position(sizeof at);
        memcpy(position.data(), &at, sizeof at);
        all.push_back(position);
        return all;
    }
};

// The same seven steps as a program takes them, and as one step that is replayed six times.
void compare(int64_t batch, int64_t inputs, int64_t hidden, int64_t classes, double drop) {
    Net eager(batch, inputs, hidden, classes, drop), replayed(batch, inputs, hidden, classes, drop);
    replayed.feed(0);
    tn_capture *c = tn_capture_begin();
    ASSERT_NE(c, nullptr) << tn_error_message();
    replayed.step();
    ASSERT_EQ(tn_capture_end(c), TN_OK) << tn_error_message();
    EXPECT_GT(tn_capture_runs(c), 5);
    for (uint64_t k = 0; k < 7; k++) {
        const tn_scope scope = tn_scope_push();
        eager.feed(k);
        eager.step();
        if (k > 0) {
            replayed.feed(k);
            ASSERT_EQ(tn_replay(c), TN_OK) << tn_error_message();
        }
        ASSERT_EQ(eager.state(), replayed.state()) << "step " << k;
        tn_scope_pop(scope);
    }
    EXPECT_EQ(tn_capture_free(c), TN_OK);
}

class Capture : public Tenon {
  protected:
    tn_capture *capture(const std::function<void()> &region) {
        tn_capture *c = tn_capture_begin();
        region();
        if (tn_capture_end(c) == TN_OK) return c;
        EXPECT_TRUE(false) << tn_error_message();
        return c;
    }
};

TEST_F(Capture, ReplaysATrainingStepToTheBit) {
    on_each_provider([] { compare(1, 16, 32, 4, 0); });
}

TEST_F(Capture, ReplaysTheDigitsStepToTheBit) {
    on_each_provider([] { compare(64, 64, 128, 10, 0); });
}

TEST_F(Capture, DrawsNewRandomNumbersAndTheSameOnesInBackward) {
    on_each_provider([] { compare(8, 16, 32, 4, 0.5); });
}

TEST_F(Capture, DrawsFromWhereTheDefaultGeneratorStands) {
    tn_generator_seed(nullptr, 3);
    tn_tensor *y = nullptr;
    tn_capture *c = capture([&] { y = tn_uniform(ints({5}), nullptr); });
    tn_uniform(ints({100}), nullptr);
    const tn_rng at = tn_generator_position(nullptr);
    ASSERT_EQ(tn_replay(c), TN_OK) << tn_error_message();
    tn_generator_set_position(nullptr, at);
    EXPECT_EQ(numbers(y), numbers(tn_uniform(ints({5}), nullptr)));
    tn_capture_free(c);
}

TEST_F(Capture, HoldsWhatItReadsAndWrites) {
    tn_tensor *y = nullptr;
    const tn_scope scope = tn_scope_push();
    tn_tensor *x = from({1, 2, 3}), *kept = tn_keep(x);
    tn_capture *c = capture([&] { y = tn_keep(tn_mul(tn_add(x, x), x)); });
    tn_scope_pop(scope);
    tn_ones(ints({3}), TN_F64), tn_ones(ints({3}), TN_F64);
    const double other[] = {4, 5, 6};
    tn_write(kept, other, sizeof other);
    tn_drop(kept);
    ASSERT_EQ(tn_replay(c), TN_OK) << tn_error_message();
    EXPECT_EQ(numbers(y), (Numbers{32, 50, 72}));
    tn_drop(y);
    EXPECT_EQ(tn_replay(c), TN_OK);
    tn_capture_free(c);
}

TEST_F(Capture, MakesTensorsThatNoOpMadeAgain) {
    tn_tensor *x = from({1, 2}), *sum = nullptr, *one = nullptr;
    tn_capture *c = capture([&] {
        sum = tn_zeros(ints({2}), TN_F64);
        one = tn_ones(ints({2}), TN_F64);
        tn_add_(sum, x), tn_add_(sum, one);
    });
    for (int i = 0; i < 3; i++) EXPECT_EQ(tn_replay(c), TN_OK);
    EXPECT_EQ(numbers(sum), (Numbers{2, 3}));
    EXPECT_EQ(numbers(one), (Numbers{1, 1}));
    tn_capture_free(c);
}

TEST_F(Capture, GoesOnFromWhatItWrites) {
    tn_tensor *x = from({1, 2}), *sum = from({0, 0});
    tn_capture *c = capture([&] { tn_add_(sum, x); });
    for (int i = 0; i < 3; i++) EXPECT_EQ(tn_replay(c), TN_OK);
    EXPECT_EQ(numbers(sum), (Numbers{4, 8}));
    tn_capture_free(c);
}

TEST_F(Capture, ReadsNumbersAgain) {
    tn_tensor *x = tn_ones(ints({2}), TN_F32), *by = tn_scalar(3), *y = nullptr;
    tn_capture *c = capture([&] { y = tn_mul(x, by); });
    EXPECT_EQ(numbers(y), (Numbers{3, 3}));
    const double five = 5;
    tn_write(by, &five, sizeof five);
    ASSERT_EQ(tn_replay(c), TN_OK);
    EXPECT_EQ(numbers(y), (Numbers{5, 5}));
    tn_capture_free(c);
}

TEST_F(Capture, IsSeenByABackwardPassThatKeptOldValues) {
    tn_tensor *x = param(from({1, 2})), *scale = from({3, 4});
    tn_tensor *y = tn_sum(tn_mul(x, scale));
    tn_capture *c = capture([&] { tn_mul_(scale, tn_scalar(2)); });
    tn_backward(y);
    EXPECT_TRUE(error_is(TN_ERR_MODIFIED));
    tn_capture_free(c);
    tn_tensor *z = tn_sum(tn_mul(x, scale));
    c = capture([&] { tn_exp(scale); });
    ASSERT_EQ(tn_replay(c), TN_OK);
    tn_backward(z);
    EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
    tn_tensor *late = nullptr;
    tn_capture *d = capture([&] { late = tn_exp(scale); });
    tn_tensor *v = tn_sum(tn_mul(x, late));
    ASSERT_EQ(tn_replay(d), TN_OK);
    tn_backward(v);
    EXPECT_TRUE(error_is(TN_ERR_MODIFIED));
    tn_capture_free(c), tn_capture_free(d);
}

TEST_F(Capture, RunsOnAnotherThread) {
    tn_tensor *x = from({1, 2}), *y = nullptr;
    tn_capture *c = capture([&] { y = tn_add(x, x); });
    const double other[] = {5, 6};
    tn_write(x, other, sizeof other);
    std::thread([&] { EXPECT_EQ(tn_replay(c), TN_OK) << tn_error_message(); }).join();
    EXPECT_EQ(numbers(y), (Numbers{10, 12}));
    tn_capture_free(c);
}

// ---- What is refused ----

TEST_F(Capture, RefusesWhatReadsOrWritesOnTheHost) {
    tn_tensor *x = from({1});
    double value = 0;
    const struct {
        const char *name;
        std::function<void()> region;
    } cases[] = {{"tn_item", [&] { tn_item(x); }},
                 {"tn_read", [&] { tn_read(x, &value, sizeof value); }},
                 {"tn_write", [&] { tn_write(x, &value, sizeof value); }},
                 {"tn_data", [&] { tn_data(x); }},
                 {"tn_to_string", [&] { tn_to_string(x); }},
                 {"nonzero", [&] { tn_nonzero(x); }}};
    for (const auto &one : cases) {
        SCOPED_TRACE(one.name);
        tn_capture *c = tn_capture_begin();
        one.region();
        EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {one.name})); // cleared, but not forgotten
        EXPECT_EQ(tn_capture_end(c), TN_ERR_UNSUPPORTED);
        EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {"outside of the captured region"}));
        EXPECT_EQ(tn_replay(c), TN_ERR_INVALID);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_replay", "refused"}));
        EXPECT_EQ(tn_capture_free(c), TN_OK);
        EXPECT_EQ(numbers(tn_add(x, x)), Numbers{2});
    }
}

TEST_F(Capture, OfARegionThatFailsIsNone) {
    tn_tensor *x = from({1, 2}), *y = from({1, 2, 3});
    tn_capture *c = tn_capture_begin();
    tn_add(x, x), tn_add(x, y);
    EXPECT_EQ(tn_capture_end(c), TN_ERR_SHAPE);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"add"}));
    EXPECT_EQ(tn_replay(c), TN_ERR_INVALID);
    tn_clear_error();
    EXPECT_EQ(tn_capture_free(c), TN_OK);
}

TEST_F(Capture, NamesTheOpThatFailsInAReplay) {
    const int64_t good = 1, bad = 7;
    tn_tensor *x = from({1, 2, 3}), *index = tn_from(&good, ints({1}), TN_I64), *y = nullptr;
    tn_capture *c = capture([&] { y = tn_gather(x, 0, index); });
    tn_write(index, &bad, sizeof bad);
    EXPECT_NE(tn_replay(c), TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"tn_replay", "gather", "7"}));
    tn_write(index, &good, sizeof good);
    EXPECT_EQ(tn_replay(c), TN_OK);
    EXPECT_EQ(numbers(y), Numbers{2});
    tn_capture_free(c);
}

TEST_F(Capture, IsMisusedWithNamedErrors) {
    tn_tensor *x = from({1});
    EXPECT_EQ(tn_replay(nullptr), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_replay", "NULL"}));
    tn_capture *c = tn_capture_begin();
    tn_add(x, x);
    EXPECT_EQ(tn_replay(c), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"has not ended"}));
    std::thread([&] {
        EXPECT_EQ(tn_capture_end(c), TN_ERR_INVALID);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"another thread"}));
    }).join();
    tn_layer above = {};
    above.size = sizeof above, above.name = "above";
    tn_layer_push(&above);
    EXPECT_EQ(tn_capture_end(c), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_capture_end", "'above'"}));
    EXPECT_EQ(tn_capture_free(c), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_capture_free", "'above'"}));
    tn_layer_pop(&above);
    ASSERT_EQ(tn_capture_end(c), TN_OK) << tn_error_message();
    EXPECT_EQ(tn_capture_end(c), TN_ERR_INVALID);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"already"}));
    tn_capture *outer = tn_capture_begin();
    EXPECT_EQ(tn_replay(c), TN_ERR_UNSUPPORTED);
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {"tn_replay"}));
    EXPECT_EQ(tn_capture_free(outer), TN_OK); // while it records
    EXPECT_EQ(tn_capture_free(c), TN_OK);
    EXPECT_EQ(tn_capture_free(c), TN_ERR_STALE);
    EXPECT_TRUE(error_is(TN_ERR_STALE, {"tn_capture_free"}));
    EXPECT_EQ(tn_replay(c), TN_ERR_STALE);
    tn_clear_error();
    EXPECT_EQ(tn_capture_free(nullptr), TN_OK);
}

TEST_F(Capture, SurvivesEveryAllocationThatFails) {
    tn_tensor *x = from({1, 2}), *by = tn_scalar(3);
    uint64_t failures = 0;
    for (uint64_t n = 1; failures + 1 >= n; n++) {
        tni_heap_fail_after(n, false);
        tn_tensor *y = nullptr;
        tn_capture *c = tn_capture_begin();
        if (c) {
            tn_tensor *sum = tn_zeros(ints({2}), TN_F64);
            tn_add_(sum, x), y = tn_mul(sum, by);
            tn_capture_end(c);
            if (!tn_error()) tn_replay(c);
        }
        tni_heap_fail_after(0, false);
        const bool failed = tn_error() != TN_OK;
        if (failed) {
            EXPECT_TRUE(error_is(TN_ERR_NOMEM)) << n;
        } else {
            EXPECT_EQ(numbers(y), (Numbers{3, 6}));
        }
        failures += failed;
        EXPECT_EQ(tn_capture_free(c), TN_OK) << tn_error_message();
    }
    EXPECT_GT(failures, 2u);
}

TEST_F(Capture, NoticesAGeneratorThatIsGone) {
    tn_generator *g = tn_generator_new(1);
    tn_uniform_opts opts = {};
    opts.rng = g;
    tn_capture *c = capture([&] { tn_uniform(ints({2}), &opts); });
    tn_generator_free(g);
    EXPECT_EQ(tn_replay(c), TN_ERR_STALE);
    EXPECT_TRUE(error_is(TN_ERR_STALE, {"generator"}));
    tn_capture_free(c);
}

} // namespace
