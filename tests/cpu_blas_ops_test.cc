// cpu_blas_ops_test.cc - cpu_blas through the public API: on every op's samples it agrees with the
// reference, and deterministic products do not depend on the number of threads.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support.h"

#include "modules/math/math_ops.h"

#include <cmath>
#include <cstring>
#include <set>

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

} // namespace
