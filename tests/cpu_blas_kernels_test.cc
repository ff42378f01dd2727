// cpu_blas_kernels_test.cc - elementwise kernels and reductions of cpu_blas, called directly,
// against plain loops in double.
// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu_blas_call.h"

namespace {

EVERY_SET(CpuBlas);

// ---- Elementwise
// ----------------------------------------------------------------------------------------

double reference(int op, double a, double b) {
    switch (op) {
    case TNI_EW_neg:
        return -a;
    case TNI_EW_abs:
        return std::fabs(a);
    case TNI_EW_sign:
        return (a > 0) - (a < 0);
    case TNI_EW_relu:
        return a <= 0 ? 0 : a;
    case TNI_EW_exp:
        return std::exp(a);
    case TNI_EW_log:
        return std::log(a);
    case TNI_EW_sqrt:
        return std::sqrt(a);
    case TNI_EW_rsqrt:
        return 1 / std::sqrt(a);
    case TNI_EW_reciprocal:
        return 1 / a;
    case TNI_EW_tanh:
        return std::tanh(a);
    case TNI_EW_sigmoid:
        return a < 0 ? std::exp(a) / (1 + std::exp(a)) : 1 / (1 + std::exp(-a));
    case TNI_EW_sin:
        return std::sin(a);
    case TNI_EW_cos:
        return std::cos(a);
    case TNI_EW_floor:
        return std::floor(a);
    case TNI_EW_isnan:
        return std::isnan(a);
    case TNI_EW_logical_not:
        return a == 0;
    case TNI_EW_add:
        return a + b;
    case TNI_EW_sub:
        return a - b;
    case TNI_EW_mul:
        return a * b;
    case TNI_EW_div:
        return a / b;
    case TNI_EW_pow:
        return std::pow(a, b);
    case TNI_EW_maximum:
        return std::isnan(a) || a > b ? a : b;
    case TNI_EW_minimum:
        return std::isnan(a) || a < b ? a : b;
    case TNI_EW_eq:
        return a == b;
    case TNI_EW_ne:
        return a != b;
    case TNI_EW_lt:
        return a < b;
    case TNI_EW_le:
        return a <= b;
    case TNI_EW_gt:
        return a > b;
    default:
        return a >= b;
    }
}

template <class T> void expect_near(int op, int64_t i, T got, double a, double b) {
    const double want = reference(op, a, b);
    if (std::is_same<T, float>::value)
        EXPECT_LE(ulps(static_cast<float>(got), want), 2)
            << "op " << op << " at " << i << ": " << a << ", " << b;
    else if (std::isnan(want))
        EXPECT_TRUE(std::isnan(static_cast<double>(got)));
    else
        EXPECT_NEAR(static_cast<double>(got), want, std::fabs(want) * 1e-15)
            << "op " << op << " at " << i;
}

// y[i] = op(a[i], b[i]) for n elements at any steps; outside y nothing changes.
template <class T>
void check_op(int op, int64_t n, int64_t sy, int64_t sa, int64_t sb, uint32_t flags) {
    if (!tni_vec->ewise[op][tni_lane_type(dtype_of<T>())]) return;
    const bool integer = std::is_integral<T>::value, byte = tni_ewise_ops[op].out_byte;
    auto a = random_values<T>(1 + n * 3, 1, integer ? 3 : 1),
         b = random_values<T>(1 + n * 3, 2, integer ? 3 : 1);
    const size_t room = static_cast<size_t>(n * sy + 2);
    std::vector<T> y(room, T(77));
    std::vector<uint8_t> bytes(room, 77);
    // One element in: unaligned on purpose.
    Tensor va(a.data() + 1, {n}, {sa}), vb(b.data() + 1, {n}, {sb});
    Tensor vy(y.data() + 1, {n}, {sy}), vbytes(bytes.data() + 1, {n}, {sy});
    Call c;
    c.args = {va.value(), vb.value()}, c.outs = {byte ? vbytes.value() : vy.value()};
    c.flags = flags, c.user = &tni_ewise_ops[op];
    ASSERT_EQ(c.run(tni_ewise_run), TN_OK);
    for (int64_t i = 0; i < n; i++) {
        const size_t at = static_cast<size_t>(1 + i * sy);
        const double x = static_cast<double>(a[static_cast<size_t>(1 + i * sa)]);
        const double z = static_cast<double>(b[static_cast<size_t>(1 + i * sb)]);
        if (byte)
            EXPECT_EQ(bytes[at], reference(op, x, z)) << op << " at " << i;
        else
            expect_near(op, i, y[at], x, z);
    }
    EXPECT_EQ(y[0], T(77));
    EXPECT_EQ(bytes[0], 77);
    EXPECT_EQ(y[room - 1], T(77));
    EXPECT_EQ(bytes[room - 1], 77);
}

template <class T> void check_sizes(int op) {
    for (int64_t n = 0; n <= 67; n++) check_op<T>(op, n, 1, 1, 1, TN_CALL_FLAT);
    for (int64_t n : {1, 5, 16, 67}) {
        check_op<T>(op, n, 1, 0, 1, TN_CALL_FLAT), check_op<T>(op, n, 1, 1, 0, TN_CALL_FLAT);
        check_op<T>(op, n, 1, 0, 0, TN_CALL_FLAT);
        check_op<T>(op, n, 1, 2, 3, 0), check_op<T>(op, n, 2, 0, 3, 0),
            check_op<T>(op, n, 3, 1, 2, 0);
    }
    check_op<T>(op, 1100, 2, 3, 1, 0); // several gathered blocks
}

TEST_P(CpuBlas, ElementwiseOpsEqualPlainLoopsForOddSizesAndAnyStride) {
    for (int op = 0; op < TNI_EWISE_COUNT; op++) {
        if (op == TNI_EW_where || op == TNI_EW_clamp) continue;
        check_sizes<float>(op), check_sizes<double>(op);
        check_sizes<int32_t>(op), check_sizes<int64_t>(op);
    }
}

TEST_P(CpuBlas, IntegerSumsAndProductsWrap) {
    const int32_t a[3] = {INT32_MAX, INT32_MIN, INT32_MIN}, one[3] = {1, -1, -1};
    int32_t y[3];
    Tensor va(a, {3}), vb(one, {3}), vy(y, {3});
    Call c;
    c.args = {va.value(), vb.value()}, c.outs = {vy.value()}, c.flags = TN_CALL_FLAT;
    c.user = &tni_ewise_ops[TNI_EW_add], c.run(tni_ewise_run);
    EXPECT_EQ(y[0], INT32_MIN);
    EXPECT_EQ(y[1], INT32_MAX);
    c.user = &tni_ewise_ops[TNI_EW_mul], c.run(tni_ewise_run);
    EXPECT_EQ(y[2], INT32_MIN);
    c.user = &tni_ewise_ops[TNI_EW_neg], c.run(tni_ewise_run);
    EXPECT_EQ(y[1], INT32_MIN);
}

TEST_P(CpuBlas, NaNGoesThroughMaximumMinimumReluAndClamp) {
    const float nan = NAN, a[4] = {nan, 1, nan, -5}, b[4] = {1, nan, nan, 2};
    float y[4];
    Tensor va(a, {4}), vb(b, {4}), vy(y, {4});
    Call c;
    c.args = {va.value(), vb.value()}, c.outs = {vy.value()}, c.flags = TN_CALL_FLAT;
    for (int op : {TNI_EW_maximum, TNI_EW_minimum}) {
        c.user = &tni_ewise_ops[op], c.run(tni_ewise_run);
        EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[1]) && std::isnan(y[2]) && !std::isnan(y[3]));
    }
    c.user = &tni_ewise_ops[TNI_EW_relu], c.run(tni_ewise_run);
    EXPECT_TRUE(std::isnan(y[0]));
    EXPECT_EQ(y[1], 1);
    EXPECT_EQ(y[3], 0);
    c.args = {va.value(), tn_float(-2), tn_value_none()};
    c.user = &tni_ewise_ops[TNI_EW_clamp], c.run(tni_clamp_run);
    EXPECT_TRUE(std::isnan(y[0]));
    EXPECT_EQ(y[1], 1);
    EXPECT_EQ(y[3], -2);
    c.args[1] = tn_float(NAN);
    EXPECT_EQ(c.answer(tni_clamp_supports), TN_NO);
}

TEST_P(CpuBlas, WhereChoosesByBytesForAnySize) {
    for (int64_t n = 0; n <= 67; n++) {
        std::vector<uint8_t> cond(static_cast<size_t>(n) + 1);
        for (size_t i = 0; i < cond.size(); i++) cond[i] = noise(i) > 0 ? (i % 2 ? 255 : 1) : 0;
        auto a = random_values<float>(n + 1, 1), b = random_values<float>(1, 2), y = a;
        Tensor vc(cond.data(), {n}), va(a.data(), {n}), vb(b.data(), {n}, {0}), vy(y.data(), {n});
        Call c;
        c.args = {vc.value(), va.value(), vb.value()}, c.outs = {vy.value()};
        c.flags = TN_CALL_FLAT, c.user = &tni_ewise_ops[TNI_EW_where];
        ASSERT_EQ(c.run(tni_ewise_run), TN_OK);
        for (size_t i = 0; i < static_cast<size_t>(n); i++) EXPECT_EQ(y[i], cond[i] ? a[i] : b[0]);
    }
}

TEST_P(CpuBlas, BroadcastAndTransposedOperandsAreWalkedByTheirStrides) {
    auto a = random_values<float>(5 * 7 * 9, 1), b = random_values<float>(9, 2);
    std::vector<float> y(5 * 7 * 9);
    Tensor va(a.data() + 8, {5, 7, 9},
              {1, 45, -1}); // negative, as slices with a negative step have
    Tensor vb(b.data(), {5, 7, 9}, {0, 0, 1}), vy(y.data(), {5, 7, 9});
    Call c;
    c.args = {va.value(), vb.value()}, c.outs = {vy.value()}, c.user = &tni_ewise_ops[TNI_EW_mul];
    ASSERT_EQ(c.run(tni_ewise_run), TN_OK);
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < 7; j++)
            for (size_t k = 0; k < 9; k++)
                EXPECT_EQ(y[(i * 7 + j) * 9 + k], a[8 + i + 45 * j - k] * b[k]);
}

TEST_P(CpuBlas, LargeElementwiseWorkIsTheSameForEveryNumberOfThreads) {
    const int64_t n = 200003;
    auto a = random_values<float>(2 * n, 1);
    std::vector<float> one(static_cast<size_t>(n)), many(one);
    for (int64_t stride : {1, 2})
        for (int32_t threads : {1, 2, 3, 7}) {
            Tensor va(a.data(), {n}, {stride}), vy(threads == 1 ? one.data() : many.data(), {n});
            Call c;
            c.args = {va.value()}, c.outs = {vy.value()}, c.threads = threads;
            c.flags = stride == 1 ? TN_CALL_FLAT : 0, c.user = &tni_ewise_ops[TNI_EW_exp];
            ASSERT_EQ(c.run(tni_ewise_run), TN_OK);
            if (threads == 1) continue;
            EXPECT_TRUE(same_bits(one, many));
        }
}

// ---- Vector mathematics: every 251st float of all 2^32, and the special ones
// --------------------------

void check_ulps(int op, double limit) {
    constexpr size_t N = 4096;
    std::vector<float> x(N), y(N);
    double worst = 0, at = 0;
    uint64_t bits = 0;
    while (bits < UINT64_C(1) << 32) {
        for (size_t i = 0; i < N; i++, bits += 251) {
            const uint32_t b = static_cast<uint32_t>(bits);
            memcpy(&x[i], &b, 4);
        }
        const void *in[1] = {x.data()};
        tni_vec->ewise[op][TNI_F32](N, y.data(), in, 0, nullptr);
        for (size_t i = 0; i < N; i++) {
            const double u = ulps(y[i], reference(op, static_cast<double>(x[i]), 0));
            if (u > worst) worst = u, at = static_cast<double>(x[i]);
        }
    }
    EXPECT_LE(worst, limit) << "worst at " << at;
    printf("worst: %.3f ulp at %g\n", worst, at);
}

TEST_P(CpuBlas, ExpIsWithinTwoUlp) { check_ulps(TNI_EW_exp, 2); }
TEST_P(CpuBlas, LogIsWithinTwoUlp) { check_ulps(TNI_EW_log, 2); }
TEST_P(CpuBlas, TanhIsWithinTwoUlp) { check_ulps(TNI_EW_tanh, 2); }
TEST_P(CpuBlas, SigmoidIsWithinTwoUlp) { check_ulps(TNI_EW_sigmoid, 2); }

TEST_P(CpuBlas, SpecialValuesAreThoseOfLibm) {
    const float inf = INFINITY;
    const float x[8] = {0.0f, -0.0f, inf, -inf, 1e-45f, -1e-45f, 3e38f, -3e38f};
    for (int op :
         {TNI_EW_exp, TNI_EW_log, TNI_EW_tanh, TNI_EW_sigmoid, TNI_EW_sqrt, TNI_EW_rsqrt}) {
        float y[8];
        const void *in[1] = {x};
        tni_vec->ewise[op][TNI_F32](8, y, in, 0, nullptr);
        for (int i = 0; i < 8; i++) {
            EXPECT_LE(ulps(y[i], reference(op, static_cast<double>(x[i]), 0)), 2)
                << op << " of " << x[i];
            if (op != TNI_EW_tanh) continue;
            EXPECT_EQ(std::signbit(y[i]), std::signbit(x[i])) << x[i];
        }
    }
}

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
