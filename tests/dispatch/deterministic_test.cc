// deterministic_test.cc - in deterministic mode results have the same bits for every number of
// threads, also when several of them really ran.
// SPDX-License-Identifier: Apache-2.0
#include <chrono>

#include "tests/support/op_walk.h"

#include "modules/math/math_ops.h"

extern "C" {
#include "core/base/threads.h"
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { EDGE = 512, ELEMENTS = 4 << 20 };
#else
enum { EDGE = 1024, ELEMENTS = 16 << 20 };
#endif

namespace {

// TENON_THREADS=7 in this test's environment: there are workers even where there are fewer cores.
class Deterministic : public Tenon {
  protected:
    void SetUp() override {
        Tenon::SetUp();
        before_ = tn_set_deterministic(true);
    }
    void TearDown() override {
        tn_set_deterministic(before_);
        tn_set_threads(0);
        tn_use_provider(nullptr);
        Tenon::TearDown();
    }

    bool before_ = false;
};

// Of a contiguous tensor's bytes.
uint64_t hash(tn_tensor *t) {
    EXPECT_TRUE(tn_is_contiguous(t));
    const char *bytes = static_cast<const char *>(tn_data(t));
    const size_t n = static_cast<size_t>(tn_numel(t) * tn_dtype_bytes(tn_dtype_of(t)));
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i += sizeof h) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, std::min(sizeof word, n - i));
        h = (h ^ word) * 1099511628211u;
        h ^= h >> 29;
    }
    return h;
}

// The reference is slow: it gets a fraction of the work.
const struct {
    const char *name;
    int64_t part;
} providers[] = {{"cpu_blas", 1}, {"cpu_ref", ELEMENTS >> 20}};

// f with 1, 2, 3, 4 and 7 threads. A worker that comes late finds nothing to do, and on a busy
// machine it does; so f runs again, for up to 8 seconds, until one is seen to have worked.
template <typename F> void expect_same_bits(F f) {
    uint64_t want = 0;
    for (const int32_t threads : {1, 2, 3, 4, 7}) {
        ASSERT_EQ(tn_set_threads(threads), TN_OK);
        uint32_t most = 0;
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(8);
        do {
            const tn_scope scope = tn_scope_push();
            tn_tensor *y = f();
            most = std::max(most, tni_threads_used_last());
            const uint64_t have = y ? hash(y) : 0;
            EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
            if (threads == 1) want = have;
            EXPECT_EQ(have, want) << threads << " threads";
            tn_scope_pop(scope);
        } while (threads > 1 && most < 2 && std::chrono::steady_clock::now() < end);
        EXPECT_EQ(most >= 2, threads > 1) << most << " of " << threads << " threads worked";
    }
}

tn_tensor *noise(const Shape &sizes, uint64_t seed, tn_dtype dtype = TN_F32) {
    const tn_rng rng = {seed, 0};
    static tn_op_ref uniform = {"uniform", 0, 0};
    const tn_value args[] = {tn_value_ints(ints(sizes)), tn_float(-1), tn_float(1),
                             tn_value_dtype(dtype), tn_value_rng(&rng)};
    tn_value out;
    return tn_op_call(&uniform, args, 5, &out, 1) ? nullptr : out.tensor;
}

TEST_F(Deterministic, GemmOfEveryProvider) {
    for (const auto &[provider, part] : providers) {
        SCOPED_TRACE(provider);
        ASSERT_EQ(tn_use_provider(provider), TN_OK);
        const int64_t n = EDGE / (part > 1 ? 4 : 1);
        tn_tensor *a = noise({1, n, n}, 1), *b = noise({1, n, n}, 2);
        expect_same_bits([&] { return tn_gemm(a, b); });
    }
}

TEST_F(Deterministic, MatmulOfRectanglesAndVectors) {
    tn_tensor *a = noise({EDGE, EDGE / 2 + 3}, 1, TN_F64),
              *b = noise({EDGE / 2 + 3, EDGE + 5}, 2, TN_F64);
    expect_same_bits([&] { return tn_matmul(a, b); });
    tn_tensor *wide = noise({4 * EDGE, EDGE + 1}, 3, TN_F64), *x = noise({EDGE + 1}, 4, TN_F64);
    expect_same_bits([&] { return tn_matmul(wide, x); });
}

TEST_F(Deterministic, SumsOfAllAndOfEachDim) {
    for (const auto &[provider, part] : providers) {
        SCOPED_TRACE(provider);
        ASSERT_EQ(tn_use_provider(provider), TN_OK);
        tn_tensor *x = noise({64, ELEMENTS / part / 64}, 4);
        expect_same_bits([&] { return tn_sum(x); });
        expect_same_bits([&] { return tn_sum_dim(x, ints({0}), nullptr); });
        expect_same_bits([&] { return tn_sum_dim(x, ints({1}), nullptr); });
    }
}

TEST_F(Deterministic, SoftmaxAlongEitherDim) {
    for (const auto &[provider, part] : providers) {
        SCOPED_TRACE(provider);
        ASSERT_EQ(tn_use_provider(provider), TN_OK);
        tn_tensor *x = noise({1024, ELEMENTS / part / 1024}, 5);
        expect_same_bits([&] { return tn_softmax(x, 1); });
        tn_tensor *narrow = noise({1024, ELEMENTS / part / 16384}, 6);
        expect_same_bits([&] { return tn_softmax(narrow, 0); });
    }
}

TEST_F(Deterministic, CatAndStridedCopies) {
    for (const auto &[provider, part] : providers) {
        SCOPED_TRACE(provider);
        ASSERT_EQ(tn_use_provider(provider), TN_OK);
        tn_tensor *x = noise({1024, ELEMENTS / part / 4096}, 6), *y = tn_transpose(x, 0, 1);
        tn_tensor *list[] = {x, x};
        tn_cat_opts last = {};
        last.dim = 1;
        expect_same_bits([&] { return tn_cat({list, 2}, nullptr); });
        expect_same_bits([&] { return tn_cat({list, 2}, &last); });
        expect_same_bits([&] { return tn_contiguous(y); });
        expect_same_bits([&] { return tn_to(y, TN_F64); });
    }
}

TEST_F(Deterministic, RandomNumbersElementwiseAndNorms) {
    expect_same_bits([&] { return noise({ELEMENTS / 4}, 7); });
    tn_tensor *x = noise({1024, ELEMENTS / 4096}, 8), *w = noise({ELEMENTS / 4096}, 9);
    expect_same_bits([&] { return tn_tanh(x); });
    expect_same_bits([&] { return tn_mul(x, w); });
    expect_same_bits([&] { return tn_layer_norm(x, ints({ELEMENTS / 4096}), nullptr); });
}

} // namespace
