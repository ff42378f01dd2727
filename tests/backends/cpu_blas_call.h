// cpu_blas_call.h - calls of cpu_blas kernels made by hand: a host with what kernels use, tensors,
// numbers; and the fixture that runs a test for every instruction set this computer has.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_CPU_BLAS_CALL_H
#define TENON_TESTS_CPU_BLAS_CALL_H

extern "C" {
#include "backends/cpu_blas/blas.h"
#include "backends/cpu_blas/families.h"
#include "backends/cpu_blas/kernels/amx.h"
#include "backends/cpu_blas/kernels/ewise.h"
#include "backends/cpu_blas/kernels/gemm.h"
#include "backends/cpu_blas/kernels/random.h"
TN_HIDDEN const tn_host *tn_plugin_host;
TN_HIDDEN tn_plugin *tn_plugin_self;
}

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

// ---- Kernels, by the rows the plugin registers -------------------------------------------------

#define FAMILY(name) &blas_##name##_rows,
inline const tn_kernel &Row(const std::string &op, tn_dtype dtype = TN_F32) {
    static const tn_kernel none = {};
    for (const tnk_family *family : {BLAS_FAMILIES(FAMILY)})
        for (const tn_kernel *row = family->rows; row < family->rows + family->n; row++)
            if (std::string(row->schema).rfind(op + "(", 0) == 0 &&
                (row->dtypes >> tn_dtype_index(dtype) & 1))
                return *row;
    ADD_FAILURE() << "no row for " << op;
    return none;
}
#undef FAMILY

// ---- A host with nothing but what kernels use; chunks are shared out over real threads ----

inline void run_chunks(int64_t n, int64_t grain, int32_t threads,
                       const std::function<void(int64_t)> &chunk) {
    const int64_t chunks = (n + grain - 1) / grain;
    std::vector<std::thread> pool;
    for (int32_t t = 1; t < threads; t++)
        pool.emplace_back([=] {
            for (int64_t i = t; i < chunks; i += threads) chunk(i);
        });
    for (int64_t i = 0; i < chunks; i += threads) chunk(i);
    for (auto &t : pool) t.join();
}

inline void host_for(tn_plugin *, int64_t n, int64_t grain, int32_t threads, tn_range_fn body,
                     void *arg) {
    run_chunks(n, grain, threads,
               [=](int64_t i) { body(arg, i * grain, std::min(n, (i + 1) * grain)); });
}

inline tn_status host_reduce(tn_plugin *, int64_t n, int64_t grain, int32_t threads,
                             tn_reduce_fn body, tn_combine_fn combine, void *arg, void *out,
                             uint32_t bytes) {
    const size_t chunks = static_cast<size_t>((n + grain - 1) / grain);
    std::vector<std::vector<double>> partials(chunks, std::vector<double>(32));
    memset(out, 0, bytes);
    run_chunks(n, grain, threads, [&](int64_t i) {
        body(arg, i * grain, std::min(n, (i + 1) * grain), partials[static_cast<size_t>(i)].data());
    });
    for (size_t width = 1; width < chunks; width *= 2)
        for (size_t i = 0; i + width < chunks; i += 2 * width)
            combine(arg, partials[i].data(), partials[i + width].data());
    if (chunks) memcpy(out, partials[0].data(), bytes);
    return TN_OK;
}

inline void *host_alloc(tn_plugin *, uint64_t bytes) {
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}
inline void host_free(tn_plugin *, void *p) { free(p); }
inline const char *host_option(tn_plugin *, const char *) { return nullptr; }
inline void host_describe(tn_plugin *, const char *) {}
inline std::string host_failure;
inline void host_fail(tn_plugin *, tn_status, const char *text, uint64_t n) {
    host_failure.assign(text, n);
}

// ---- Tensors and calls ----

template <class T> tn_dtype dtype_of();
template <> tn_dtype dtype_of<float>() { return TN_F32; }
template <> tn_dtype dtype_of<double>() { return TN_F64; }
template <> tn_dtype dtype_of<int32_t>() { return TN_I32; }
template <> tn_dtype dtype_of<int64_t>() { return TN_I64; }
template <> tn_dtype dtype_of<uint8_t>() { return TN_BOOL; }
template <> tn_dtype dtype_of<uint16_t>() { return TN_BF16; }

using Sizes = std::vector<int64_t>;

inline Sizes row_major(const Sizes &sizes) {
    Sizes strides(sizes.size());
    int64_t step = 1;
    for (size_t d = sizes.size(); d-- > 0; step *= sizes[d]) strides[d] = step;
    return strides;
}

struct Tensor { // memory is elsewhere
    Sizes sizes, strides;
    tn_view view{};
    template <class T> Tensor(T *data, Sizes s, Sizes st) : sizes(s), strides(st) {
        view.data = const_cast<std::remove_const_t<T> *>(data);
        view.device = {TN_CPU, 0};
        view.rank = static_cast<int32_t>(sizes.size());
        view.dtype = dtype_of<std::remove_const_t<T>>();
        view.sizes = sizes.data(), view.strides = strides.data();
    }
    template <class T> Tensor(T *data, Sizes s) : Tensor(data, s, row_major(s)) {}
    Tensor(const Tensor &) = delete;
    tn_value value() const {
        tn_value v = tn_value_none();
        v.tag = TN_TAG_VIEW, v.view = &view;
        return v;
    }
};

inline std::string call_failure;

struct Call {
    std::vector<tn_value> args, outs;
    uint32_t flags = 0;
    int32_t threads = 1;
    const void *user = nullptr;
    uint64_t seed = 0, offset = 0;

    tn_call make(void *workspace = nullptr) {
        call_failure.clear();
        tn_call c{};
        c.size = sizeof c, c.flags = flags, c.user = user, c.max_threads = threads;
        c.args = args.data(), c.n_args = static_cast<uint32_t>(args.size());
        c.outs = outs.data(), c.n_outs = static_cast<uint32_t>(outs.size());
        c.rng_seed = seed, c.rng_offset = offset, c.workspace = workspace;
        c.fail = [](tn_call *, tn_status, const char *text, uint64_t n) {
            call_failure.assign(text, n);
        };
        return c;
    }
    tn_status run(tn_status (*fn)(const void *, tn_call *)) {
        tn_call c = make();
        return fn(nullptr, &c);
    }
    int32_t answer(void (*supports)(const tn_call *, tn_verdict *)) {
        tn_call c = make();
        tn_verdict v{sizeof v, TN_NO, 0, 0};
        supports(&c, &v);
        return v.answer;
    }
    // For plans without data.
    tn_status plan_and_run(tn_status (*plan)(tn_call *, tn_plan *),
                           tn_status (*fn)(const void *, tn_call *)) {
        tn_call c = make();
        tn_plan p{};
        p.size = sizeof p;
        if (tn_status s = plan(&c, &p)) return s;
        std::vector<int64_t> space(p.workspace_bytes / 8 + 1);
        c.workspace = space.data();
        return fn(nullptr, &c);
    }
    tn_status plan_and_run() { // a matrix product
        tn_call c = make();
        tn_plan p{};
        p.size = sizeof p;
        const tn_kernel &row = Row("gemm", args[0].view->dtype);
        if (tn_status s = row.plan(&c, &p)) return s;
        std::vector<double> space(p.workspace_bytes / 8 + 16);
        c.workspace =
            reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(space.data()) + 63) / 64 * 64);
        const tn_status s = row.run(p.data, &c);
        row.drop(p.data);
        return s;
    }
};

inline double noise(uint64_t i) { // in (-2, 2), never 0
    i = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
    i = (i ^ i >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
    return (static_cast<double>((i ^ i >> 32) >> 12) + 0.5) * 0x1p-50 - 2;
}

template <class T> std::vector<T> random_values(int64_t n, uint64_t seed, double scale = 1) {
    std::vector<T> v(static_cast<size_t>(n));
    for (size_t i = 0; i < v.size(); i++) v[i] = static_cast<T>(noise(i + 1000003 * seed) * scale);
    return v;
}

inline double ulps(float got, double want) {
    if (std::isnan(want)) return std::isnan(got) ? 0 : 1e9;
    if (static_cast<float>(want) == got) return 0;
    if (!std::isfinite(got) || std::fabs(want) > 3.5e38) return 1e9;
    const float near = static_cast<float>(std::fabs(want));
    const double unit =
        static_cast<double>(std::nextafterf(near, INFINITY)) - static_cast<double>(near);
    return std::fabs(static_cast<double>(got) - want) / unit;
}

template <class T> bool same_bits(const std::vector<T> &a, const std::vector<T> &b) {
    return a.size() == b.size() &&
           (a.empty() || memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// The parameter is the name of an instruction set.
class CpuBlas : public testing::TestWithParam<const char *> {
  protected:
    void SetUp() override {
        static tn_host host{};
        host.size = sizeof host, host.parallel_for = host_for, host.parallel_reduce = host_reduce;
        host.alloc = host_alloc, host.free = host_free, host.option = host_option;
        host.describe = host_describe, host.fail = host_fail;
        tn_plugin_host = &host;
        const int set = blas_set_find(GetParam());
        if (set < 0) GTEST_SKIP() << "this processor has no " << GetParam();
        blas_set = set;
    }
};

// Instantiates a fixture for every set.
#define EVERY_SET(Fixture)                                                                         \
    INSTANTIATE_TEST_SUITE_P(EverySet, Fixture, testing::Values("sse2", "avx2", "avx512"),         \
                             [](const auto &p) { return std::string(p.param); })

#endif
