// cpu_blas_ops_test.cc - cpu_blas through the public API: on every op's samples it agrees with the
// reference, and deterministic products do not depend on the number of threads.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <cmath>
#include <cstring>
#include <set>

#include <tenon/check.h>
#include <tenon/inspect.h>

namespace {

class CpuBlasOps : public Tenon {};

struct Answer {
    std::string provider;
    std::vector<Numbers> floats;
    std::vector<std::string> bytes; // of results that are not floating
};

// Calls op on sample i with `provider` first; false past the last sample.
bool answer(const char *op, int64_t i, tn_dtype dtype, const char *provider, uint32_t n_outs,
            Answer *out) {
    tn_value args[16], outs[4];
    uint32_t n_args = 0;
    if (tn_op_sample(op, i, dtype, 7, args, &n_args)) {
        tn_clear_error();
        return false;
    }
    tn_op_ref ref = {op, 0, 0};
    EXPECT_EQ(tn_use_provider(provider), TN_OK) << tn_error_message();
    tn_generator_seed(NULL, 11);
    EXPECT_EQ(tn_op_call(&ref, args, n_args, outs, n_outs), TN_OK)
        << op << ": " << tn_error_message();
    out->provider = tn_last_provider();
    tn_use_provider(NULL);
    for (uint32_t k = 0; k < n_outs && !tn_error(); k++) {
        tn_tensor *t = outs[k].tensor;
        const tn_dtype have = tn_dtype_of(t);
        const bool floating = tn_dtype_is(have, dtype) || tn_dtype_is(have, TN_F64);
        out->floats.push_back(floating ? numbers(t) : Numbers());
        const int64_t bytes = tn_numel(t) * tn_dtype_bytes(tn_dtype_of(t));
        std::string raw(static_cast<size_t>(bytes), 0);
        EXPECT_EQ(tn_read(t, raw.data(), raw.size()), TN_OK);
        out->bytes.push_back(floating ? "" : raw);
    }
    return true;
}

void expect_same(const Answer &ours, const Answer &reference, const std::string &what, double eps) {
    ASSERT_EQ(ours.floats.size(), reference.floats.size());
    for (size_t k = 0; k < ours.floats.size(); k++) {
        EXPECT_EQ(ours.bytes[k], reference.bytes[k]) << what;
        if (!ours.bytes[k].empty()) continue;
        const Numbers &a = ours.floats[k], &b = reference.floats[k];
        ASSERT_EQ(a.size(), b.size()) << what;
        for (size_t i = 0; i < a.size(); i++) {
            if (std::isnan(a[i]) && std::isnan(b[i])) continue;
            EXPECT_NEAR(a[i], b[i], eps * (1 + std::fabs(b[i]))) << what << " at " << i;
        }
    }
}

// Results that callers see.
uint32_t results_of(const std::string &schema) {
    const std::string results = schema.substr(schema.rfind("->") + 2);
    if (results.find("()") != std::string::npos) return 0;
    uint32_t n = 1;
    for (size_t at = 0; (at = results.find(',', at)) != std::string::npos; at++)
        n += results.compare(at, 8, ", saved ") != 0 && results.compare(at, 6, ",saved") != 0;
    return n;
}

TEST_F(CpuBlasOps, AgreesWithTheReferenceOnEverySampleOfEveryOpItHas) {
    std::set<std::string> ran;
    for (int64_t i = 0; i < tn_op_count(); i++) {
        tn_op_info info = {};
        info.size = sizeof info;
        ASSERT_EQ(tn_op_at(i, &info), TN_OK);
        const std::string op = info.name;
        if (!strstr(tn_op_providers(info.name, "cpu"), "cpu_blas") || op == "sgd_") continue;
        const uint32_t n_outs = results_of(info.schema);
        for (tn_dtype dtype : {TN_F32, TN_F64})
            for (int64_t sample = 0;; sample++) {
                Answer ours, reference;
                if (!answer(info.name, sample, dtype, "cpu_blas", n_outs, &ours)) break;
                answer(info.name, sample, dtype, "cpu_ref", n_outs, &reference);
                const bool narrow = tn_dtype_is(dtype, TN_F32);
                expect_same(ours, reference, op + " sample " + std::to_string(sample),
                            narrow ? 2e-6 : 1e-13);
                if (ours.provider == "cpu_blas") ran.insert(op);
            }
    }
    EXPECT_GE(ran.size(), 40u) << "cpu_blas hardly ran";
}

TEST_F(CpuBlasOps, DeterministicMatmulHasTheSameBitsForOneToSevenThreads) {
    const bool before = tn_set_deterministic(true);
    tn_generator_seed(NULL, 3);
    tn_tensor *a = tn_uniform(ints({301, 402}), NULL), *b = tn_uniform(ints({402, 303}), NULL);
    std::vector<float> first(301 * 303), next(first);
    for (int32_t threads : {1, 2, 3, 4, 7}) {
        ASSERT_EQ(tn_set_threads(threads), TN_OK);
        tn_tensor *y = tn_matmul(a, b);
        ASSERT_EQ(tn_read(y, next.data(), next.size() * sizeof(float)), TN_OK)
            << tn_error_message();
        EXPECT_STREQ(tn_last_provider(), "cpu_blas");
        if (threads == 1) first = next;
        EXPECT_EQ(memcmp(first.data(), next.data(), next.size() * sizeof(float)), 0) << threads;
    }
    tn_set_threads(0);
    tn_set_deterministic(before);
}

// ---- Products of 16-bit floats, and what is added to them ---------------------------------------

// Whole numbers from -8 to 8: f32 holds every sum of their products, so that one rounding is left.
tn_tensor *whole(const Shape &sizes, tn_dtype dtype) {
    tn_tensor *x = tn_randint(-8, 9, ints(sizes), nullptr);
    return tn_to(x, dtype);
}

// y, made by cpu_blas, is what the same call with f32 gives, rounded.
void expect_rounded(tn_tensor *y, tn_tensor *wide) {
    EXPECT_EQ(numbers(tn_to(y, TN_F32)), numbers(tn_to(tn_to(wide, tn_dtype_of(y)), TN_F32)));
}

tn_tensor *f32(tn_tensor *t) { return t ? tn_to(t, TN_F32) : nullptr; }

void check_linear(tn_dtype dtype, int64_t m, int64_t n, int64_t k) {
    tn_tensor *x = whole({2, m, k}, dtype), *w = whole({n, k}, dtype), *b = whole({n}, dtype);
    for (tn_tensor *bias : {b, static_cast<tn_tensor *>(nullptr)}) {
        tn_linear_opts opts = {}, wide = {};
        opts.b = bias, wide.b = f32(bias);
        tn_tensor *y = tn_linear(x, w, &opts);
        EXPECT_STREQ(tn_last_provider(), "cpu_blas");
        expect_rounded(y, tn_linear(f32(x), f32(w), &wide));
    }
    tn_tensor *g = whole({2, m, n}, dtype);
    const tn_linear_bwd_result d = tn_linear_bwd(g, x);
    EXPECT_STREQ(tn_last_provider(), "cpu_blas");
    const tn_linear_bwd_result wide = tn_linear_bwd(f32(g), f32(x));
    expect_rounded(d.dw, wide.dw), expect_rounded(d.db, wide.db);
}

void check_added(tn_dtype dtype, int64_t m, int64_t n, int64_t k) {
    tn_tensor *a = whole({m, k}, dtype), *b = tn_transpose(whole({n, k}, dtype), 0, 1);
    for (tn_tensor *c : {whole({m, n}, dtype), whole({n}, dtype), whole({1, n}, dtype)}) {
        tn_tensor *y = tn_addmm(c, a, b, nullptr);
        EXPECT_STREQ(tn_last_provider(), "cpu_blas");
        expect_rounded(y, tn_addmm(f32(c), f32(a), f32(b), nullptr));
    }
    tn_tensor *as = whole({3, m, k}, dtype), *bs = whole({3, k, n}, dtype);
    for (tn_tensor *c : {whole({3, m, n}, dtype), whole({m, n}, dtype), whole({3, 1, n}, dtype)}) {
        tn_tensor *y = tn_baddbmm(c, as, bs, nullptr);
        EXPECT_STREQ(tn_last_provider(), "cpu_blas");
        expect_rounded(y, tn_baddbmm(f32(c), f32(as), f32(bs), nullptr));
    }
}

TEST_F(CpuBlasOps, ProductsOf16BitFloatsAreRoundedOnceWithWhatIsAdded) {
    for (tn_dtype dtype : {TN_F16, TN_BF16})
        for (const int64_t k : {0, 1, 50, 1000})
            for (const int64_t n : {1, 7, 300}) {
                check_linear(dtype, 5, n, k), check_linear(dtype, 150, n, k);
                check_added(dtype, 3, n, k), check_added(dtype, 130, n, k);
            }
}

TEST_F(CpuBlasOps, What16BitFloatsDoNotHoldCancelsInWhatIsAdded) {
    for (tn_dtype dtype : {TN_F16, TN_BF16}) {
        tn_linear_opts opts = {};
        opts.b = tn_to(from({-4096}), dtype);
        tn_tensor *x = tn_to(from({64, 1}, {1, 2}), dtype);
        EXPECT_EQ(numbers(tn_to(tn_linear(x, x, &opts), TN_F64)), Numbers{1});
    }
}

} // namespace
