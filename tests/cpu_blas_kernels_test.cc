// cpu_blas_kernels_test.cc - reductions of cpu_blas, called directly, against plain loops in double.
// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu_blas_call.h"

namespace {

EVERY_SET(CpuBlas);

// ---- Reductions
// -----------------------------------------------------------------------------------------

template <class T>
void check_reduce(tn_status (*run)(const void *, tn_call *), int kind, int64_t outer, int64_t n,
                  int64_t inner) {
    auto x = random_values<T>(outer * n * inner, 3);
    std::vector<T> y(static_cast<size_t>(outer * inner)), first;
    for (int32_t threads : {1, 2, 7}) {
        Tensor vx(x.data(), {outer, n, inner}), vy(y.data(), {outer, inner});
        Call c;
        c.args = {vx.value()}, c.outs = {vy.value()}, c.threads = threads;
        ASSERT_EQ(c.run(run), TN_OK);
        if (threads == 1) first = y;
        EXPECT_TRUE(same_bits(first, y)) << threads << " threads";
    }
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            long double want = kind == TNI_SUM ? 0 : kind == TNI_MAX ? -INFINITY : INFINITY;
            for (int64_t k = 0; k < n; k++) {
                const long double v = x[static_cast<size_t>((o * n + k) * inner + i)];
                want = kind == TNI_SUM   ? want + v
                       : kind == TNI_MAX ? std::max(want, v)
                                         : std::min(want, v);
            }
            const double eps = sizeof(T) == 4 ? 6e-8 : 1e-12, w = static_cast<double>(want);
            EXPECT_NEAR(static_cast<double>(y[static_cast<size_t>(o * inner + i)]), w,
                        kind == TNI_SUM ? eps * std::fabs(w) + 1e-13 * static_cast<double>(n) : 0)
                << outer << "," << n << "," << inner;
        }
}

TEST_P(CpuBlas, ReductionsEqualPlainLoopsWithTheSameBitsForEveryNumberOfThreads) {
    const int64_t shapes[][3] = {{1, 1, 1},     {3, 5, 1},     {1, 67, 1},  {2, 0, 3},
                                 {2, 70001, 1}, {1, 9, 5},     {4, 33, 67}, {2, 100, 300},
                                 {1, 5000, 3},  {2, 9000, 40}, {0, 4, 4}};
    for (auto &s : shapes) {
        check_reduce<float>(tni_sum_run, TNI_SUM, s[0], s[1], s[2]);
        check_reduce<double>(tni_sum_run, TNI_SUM, s[0], s[1], s[2]);
        if (s[1] == 0) continue;
        check_reduce<float>(tni_amax_run, TNI_MAX, s[0], s[1], s[2]);
        check_reduce<double>(tni_amin_run, TNI_MIN, s[0], s[1], s[2]);
    }
}

TEST_P(CpuBlas, AmaxOfNothingFailsAndNaNWins) {
    float x[40], y[1];
    for (int i = 0; i < 40; i++) x[i] = static_cast<float>(i);
    x[37] = NAN;
    Tensor empty(x, {1, 0, 1}), vx(x, {1, 40, 1}), vy(y, {1, 1});
    Call c;
    c.args = {empty.value()}, c.outs = {vy.value()};
    EXPECT_EQ(c.run(tni_amax_run), TN_ERR_SHAPE);
    EXPECT_NE(call_failure.find("amax"), std::string::npos);
    c.args = {vx.value()};
    ASSERT_EQ(c.run(tni_amax_run), TN_OK);
    EXPECT_TRUE(std::isnan(y[0]));
}

} // namespace
