// cpu_blas_gemm_test.cc - matrix products of cpu_blas, by own code and by OpenBLAS, against plain
// loops in double. SPDX-License-Identifier: Apache-2.0
#include "tests/backends/cpu_blas_call.h"

#include <filesystem>

namespace {

// ---- Matrix products ----

class CpuBlasGemm : public CpuBlas {
  protected:
    void SetUp() override {
        CpuBlas::SetUp();
        if (IsSkipped()) return;
        if (!blas_lib.sgemm && blas_library_open(tn_plugin_host, nullptr) != TN_OK)
            GTEST_SKIP() << host_failure;
    }
};

EVERY_SET(CpuBlasGemm);

struct Shape {
    int64_t batch, m, n, k;
};

// a_turned, b_turned: memory holds the transposed matrix.
template <class T>
std::vector<T> product(Shape s, bool a_turned, bool b_turned, int32_t threads, uint32_t flags) {
    auto a = random_values<T>(s.batch * s.m * s.k + 1, 17),
         b = random_values<T>(s.batch * s.k * s.n + 1, 18);
    std::vector<T> y(static_cast<size_t>(s.batch * s.m * s.n) + 2, T(NAN));
    Tensor va(a.data(), {s.batch, s.m, s.k},
              a_turned ? Sizes{s.m * s.k, 1, s.m} : Sizes{s.m * s.k, s.k, 1});
    Tensor vb(b.data(), {s.batch, s.k, s.n}, b_turned ? Sizes{0, 1, s.k} : Sizes{0, s.n, 1});
    Tensor vy(y.data() + 1, {s.batch, s.m, s.n});
    Call c;
    c.args = {va.value(), vb.value()}, c.outs = {vy.value()}, c.threads = threads, c.flags = flags;
    EXPECT_EQ(c.answer(Row("gemm").supports), TN_YES);
    EXPECT_EQ(c.plan_and_run(), TN_OK) << call_failure;
    EXPECT_TRUE(std::isnan(y.front()) && std::isnan(y.back()));
    return y;
}

template <class T> void check_product(Shape s, bool a_turned, bool b_turned) {
    auto a = random_values<T>(s.batch * s.m * s.k + 1, 17),
         b = random_values<T>(s.batch * s.k * s.n + 1, 18);
    const auto y = product<T>(s, a_turned, b_turned, 2, 0);
    const double bound = (sizeof(T) == 4 ? 1e-6 : 1e-14) * std::sqrt(static_cast<double>(s.k)) * 8;
    for (int64_t h = 0; h < s.batch; h++)
        for (int64_t i = 0; i < s.m; i++)
            for (int64_t j = 0; j < s.n; j++) {
                double want = 0;
                for (int64_t p = 0; p < s.k; p++)
                    want += static_cast<double>(a[static_cast<size_t>(
                                h * s.m * s.k + (a_turned ? p * s.m + i : i * s.k + p))]) *
                            static_cast<double>(
                                b[static_cast<size_t>(b_turned ? j * s.k + p : p * s.n + j)]);
                ASSERT_NEAR(
                    static_cast<double>(y[static_cast<size_t>(1 + (h * s.m + i) * s.n + j)]), want,
                    bound)
                    << s.m << "x" << s.n << "x" << s.k << " at " << h << "," << i << "," << j;
            }
}

const Shape shapes[] = {{1, 1, 1, 1},       {1, 2, 3, 4},    {1, 16, 16, 16}, {3, 13, 33, 17},
                        {1, 7, 64, 5},      {1, 8, 1, 9},    {1, 1, 40, 30},  {2, 500, 1, 300},
                        {2, 1, 300, 200},   {1, 50, 70, 90}, {2, 3, 4, 0},    {1, 200, 130, 300},
                        {2, 193, 1030, 40}, {1, 65, 33, 520}};

TEST_P(CpuBlasGemm, ProductsEqualPlainLoopsInAnyLayoutByOwnCodeAndByOpenBLAS) {
    for (bool own : {true, false}) {
        blas_gemm_own = own;
        for (const Shape &s : shapes)
            for (int layout = 0; layout < 4; layout++) {
                check_product<float>(s, layout & 1, layout & 2);
                check_product<double>(s, layout & 1, layout & 2);
            }
    }
}

TEST_P(CpuBlasGemm, DeterministicProductsHaveTheSameBitsForEveryNumberOfThreads) {
    for (bool own : {true, false}) {
        blas_gemm_own = own;
        for (const Shape &s :
             {Shape{1, 300, 301, 302}, Shape{1, 1, 3000, 700}, Shape{5, 40, 40, 40}}) {
            const auto one = product<float>(s, false, true, 1, TN_CALL_DETERMINISTIC);
            for (int32_t threads : {2, 3, 4, 7}) {
                const auto many = product<float>(s, false, true, threads, TN_CALL_DETERMINISTIC);
                EXPECT_EQ(memcmp(&one[1], &many[1], (one.size() - 2) * 4), 0)
                    << threads << " threads, own " << own;
            }
        }
    }
}

// ---- f16 and bf16 ----

struct Half { // a dtype of 16 bits, and its unit of rounding
    tn_dtype dtype;
    double unit;
    std::vector<uint16_t> narrow(const std::vector<float> &x) const {
        std::vector<uint16_t> y(x.size());
        blas_code(ewise)->narrow[tn_dtype_index(dtype)](static_cast<int64_t>(x.size()), y.data(),
                                                        x.data());
        return y;
    }
    std::vector<float> widen(const std::vector<uint16_t> &x) const {
        std::vector<float> y(x.size());
        blas_code(ewise)->widen[tn_dtype_index(dtype)](static_cast<int64_t>(x.size()), y.data(),
                                                       x.data());
        return y;
    }
};

// batch of b shares one matrix; a_turned, b_turned as above
std::vector<uint16_t> half_product(const Half &h, Shape s, bool a_turned, bool b_turned,
                                   int32_t threads) {
    auto a = h.narrow(random_values<float>(s.batch * s.m * s.k + 1, 17)),
         b = h.narrow(random_values<float>(s.k * s.n + 1, 18));
    std::vector<uint16_t> y(static_cast<size_t>(s.batch * s.m * s.n) + 2, 0x7fff);
    Tensor va(a.data(), {s.batch, s.m, s.k},
              a_turned ? Sizes{s.m * s.k, 1, s.m} : Sizes{s.m * s.k, s.k, 1});
    Tensor vb(b.data(), {s.batch, s.k, s.n}, b_turned ? Sizes{0, 1, s.k} : Sizes{0, s.n, 1});
    Tensor vy(y.data() + 1, {s.batch, s.m, s.n});
    va.view.dtype = vb.view.dtype = vy.view.dtype = h.dtype;
    Call c;
    c.args = {va.value(), vb.value()}, c.outs = {vy.value()}, c.threads = threads;
    EXPECT_EQ(c.plan_and_run(), TN_OK) << call_failure;
    EXPECT_TRUE(y.front() == 0x7fff && y.back() == 0x7fff);
    return y;
}

void check_half_product(const Half &h, Shape s, bool a_turned, bool b_turned) {
    const auto a = h.widen(h.narrow(random_values<float>(s.batch * s.m * s.k + 1, 17))),
               b = h.widen(h.narrow(random_values<float>(s.k * s.n + 1, 18)));
    const auto y = h.widen(half_product(h, s, a_turned, b_turned, 2));
    for (int64_t g = 0; g < s.batch; g++)
        for (int64_t i = 0; i < s.m; i++)
            for (int64_t j = 0; j < s.n; j++) {
                double want = 0, size = 0;
                for (int64_t p = 0; p < s.k; p++) {
                    const double one =
                        static_cast<double>(a[static_cast<size_t>(
                            g * s.m * s.k + (a_turned ? p * s.m + i : i * s.k + p))]) *
                        static_cast<double>(
                            b[static_cast<size_t>(b_turned ? j * s.k + p : p * s.n + j)]);
                    want += one, size += std::fabs(one);
                }
                const double bound =
                    std::fabs(want) * h.unit + size * 0x1p-23 * static_cast<double>(s.k);
                ASSERT_NEAR(
                    static_cast<double>(y[static_cast<size_t>(1 + (g * s.m + i) * s.n + j)]), want,
                    bound)
                    << s.m << "x" << s.n << "x" << s.k << " at " << g << "," << i << "," << j;
            }
}

const Half halves[] = {{TN_F16, 0x1p-11}, {TN_BF16, 0x1p-8}};
const Shape half_shapes[] = {{1, 33, 65, 31},   {2, 16, 16, 32},  {1, 31, 300, 65},
                             {1, 70, 40, 2100}, {3, 300, 33, 96}, {1, 1, 64, 257}};

TEST_P(CpuBlasGemm, ProductsOfHalvesEqualPlainLoopsRoundedOnceWithAndWithoutAMX) {
    const bool has_amx = blas_amx_ask() && std::string(GetParam()) == "avx512";
    for (bool amx : {false, has_amx}) {
        blas_gemm_amx = amx;
        for (const Half &h : halves)
            for (int layout = 0; layout < 4; layout++) {
                for (const Shape &s : shapes) {
                    if (s.m * s.n * s.k * s.batch > 2000000) continue;
                    check_half_product(h, s, layout & 1, layout & 2);
                }
                for (const Shape &s : half_shapes) check_half_product(h, s, layout & 1, layout & 2);
            }
    }
}

TEST_P(CpuBlasGemm, ProductsOfHalvesHaveTheSameBitsForEveryNumberOfThreads) {
    blas_gemm_amx = blas_amx_ask() && std::string(GetParam()) == "avx512";
    for (bool own : {true, false}) {
        blas_gemm_own = own;
        for (const Half &h : halves)
            for (const Shape &s : {Shape{1, 300, 301, 302}, Shape{5, 40, 40, 40}}) {
                const auto one = half_product(h, s, false, true, 1);
                for (int32_t threads : {2, 3, 7})
                    EXPECT_TRUE(same_bits(one, half_product(h, s, false, true, threads)));
            }
    }
}

// Infinities and NaNs of a row stay in that row, and the padding of tiles makes none.
TEST_P(CpuBlasGemm, InfinitiesAndNaNsOfHalvesSpreadAlongTheirRowOnly) {
    blas_gemm_amx = blas_amx_ask() && std::string(GetParam()) == "avx512";
    for (const Half &h : halves) {
        std::vector<float> a(40 * 33, 1), b(33 * 35, 1);
        a[5 * 33 + 32] = INFINITY, a[7 * 33] = NAN;
        auto na = h.narrow(a), nb = h.narrow(b);
        std::vector<uint16_t> y(40 * 35);
        Tensor va(na.data(), {40, 33}), vb(nb.data(), {33, 35}), vy(y.data(), {40, 35});
        va.view.dtype = vb.view.dtype = vy.view.dtype = h.dtype;
        Call c;
        c.args = {va.value(), vb.value()}, c.outs = {vy.value()};
        ASSERT_EQ(c.plan_and_run(), TN_OK);
        const auto wide = h.widen(y);
        for (size_t i = 0; i < 40; i++)
            for (size_t j = 0; j < 35; j++) {
                const float v = wide[i * 35 + j];
                EXPECT_TRUE(i == 5 ? v == INFINITY : i == 7 ? std::isnan(v) : v == 33.0f) << v;
            }
    }
}

TEST_P(CpuBlasGemm, OddStridesAskForACopyAndForeignShapesAreDeclined) {
    float x[64] = {0};
    Tensor good(x, {4, 4}), gaps(x, {4, 4}, {8, 2}), negative(x + 15, {4, 4}, {-4, -1}),
        flat(x, {4});
    Tensor spread(x, {4, 4}, {0, 1}), deep(x, {2, 2, 4, 4}, {1, 1, 4, 1});
    Call c;
    auto answer = [&](const Tensor &a, const Tensor &b) {
        c.args = {a.value(), b.value()}, c.outs = {good.value()};
        return c.answer(Row("gemm").supports);
    };
    EXPECT_EQ(answer(good, good), TN_YES);
    EXPECT_EQ(answer(gaps, good), TN_YES_IF);
    EXPECT_EQ(answer(good, negative), TN_YES_IF);
    EXPECT_EQ(answer(spread, good), TN_YES_IF);
    Tensor overlapping(x, {4, 4}, {1, 2});
    EXPECT_EQ(answer(good, overlapping), TN_YES_IF);
    EXPECT_EQ(answer(good, flat), TN_NO);
    EXPECT_EQ(answer(deep, deep), TN_NO);
    Tensor huge(x, {1, INT64_C(1) << 31}), tall(x, {INT64_C(1) << 31, 1});
    EXPECT_EQ(answer(huge, tall), TN_NO);
}

size_t threads_now() {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

// OpenMP counts threads per calling thread: a limit set on one thread says nothing to another.
TEST_P(CpuBlasGemm, ALimitOfOneHoldsOnThreadsOpenBLASHasNotSeenYet) {
    blas_gemm_own = false;
    std::thread([] {
        const int before = blas_lib.omp_threads ? blas_lib.omp_threads() : 1;
        const size_t threads = threads_now();
        for (int i = 0; i < 3; i++) product<float>({1, 600, 600, 600}, false, false, 1, 0);
        EXPECT_EQ(threads_now(), threads) << "OpenBLAS started a team";
        EXPECT_EQ(blas_lib.omp_threads ? blas_lib.omp_threads() : 1, before);
    }).join();
}

TEST_P(CpuBlasGemm, AMissingLibraryIsExplainedWithWhatWasTried) {
    static tn_host host = *tn_plugin_host;
    host.option = [](tn_plugin *, const char *) -> const char * {
        return "/nowhere/libopenblas.so.0";
    };
    const blas_library before = blas_lib;
    EXPECT_EQ(blas_library_open(&host, nullptr), TN_ERR_UNSUPPORTED);
    blas_lib = before;
    EXPECT_NE(host_failure.find("/nowhere/libopenblas.so.0"), std::string::npos) << host_failure;
    EXPECT_NE(host_failure.find("install libopenblas0"), std::string::npos) << host_failure;
}

} // namespace
