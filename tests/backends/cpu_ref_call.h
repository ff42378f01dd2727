// cpu_ref_call.h - calls the reference kernels directly: tensors, hand-made calls, a small host.
//
// The host can run chunks last to first, or each on its own thread: results must not notice.
// Include it in one file per test: it defines what TN_PLUGIN defines in a plugin.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_CPU_REF_CALL_H
#define TENON_TESTS_CPU_REF_CALL_H

#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/load.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using Numbers = std::vector<double>;
using Dims = std::vector<int64_t>;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// ---- A host -------------------------------------------------------------------------------------

enum Order { kForwards, kBackwards, kThreads }; // of the chunks
Order order = kForwards;

int64_t Chunk(int64_t k, int64_t chunks) { return order == kBackwards ? chunks - 1 - k : k; }

void ParallelFor(tn_plugin *, int64_t n, int64_t grain, int32_t, tn_range_fn body, void *arg) {
    const int64_t chunks = (n + grain - 1) / grain;
    std::vector<std::thread> threads;
    for (int64_t k = 0; k < chunks; k++) {
        const int64_t begin = Chunk(k, chunks) * grain, end = std::min(n, begin + grain);
        if (order == kThreads)
            threads.emplace_back(body, arg, begin, end);
        else
            body(arg, begin, end);
    }
    for (std::thread &thread : threads) thread.join();
}

tn_status ParallelReduce(tn_plugin *, int64_t n, int64_t grain, int32_t, tn_reduce_fn body,
                         tn_combine_fn combine, void *arg, void *out, uint32_t bytes) {
    struct Partial {
        alignas(64) char bytes[256] = {0};
    };
    const int64_t chunks = (n + grain - 1) / grain;
    std::vector<Partial> partials(static_cast<size_t>(chunks) + 1);
    for (int64_t k = 0; k < chunks; k++) {
        const int64_t at = Chunk(k, chunks);
        body(arg, at * grain, std::min(n, (at + 1) * grain), &partials[static_cast<size_t>(at)]);
    }
    for (size_t step = 1; step < partials.size(); step *= 2)
        for (size_t k = 0; k + step < partials.size(); k += 2 * step)
            combine(arg, &partials[k], &partials[k + step]);
    memcpy(out, &partials[0], bytes);
    return TN_OK;
}

tn_host MakeHost() {
    tn_host host = {};
    host.size = sizeof host;
    host.parallel_for = ParallelFor;
    host.parallel_reduce = ParallelReduce;
    return host;
}
const tn_host host = MakeHost();

// ---- Tensors ------------------------------------------------------------------------------------

int64_t Count(const Dims &sizes) {
    int64_t n = 1;
    for (int64_t size : sizes) n *= size;
    return n;
}

Dims Dense(const Dims &sizes) {
    Dims strides(sizes.size());
    int64_t step = 1;
    for (size_t d = sizes.size(); d-- > 0; step *= sizes[d]) strides[d] = step;
    return strides;
}

struct Tensor {
    tn_dtype dtype;
    Dims sizes, strides;
    std::shared_ptr<std::vector<uint64_t>> room;
    int64_t offset = 0;

    // Contiguous; the numbers are repeated as needed.
    Tensor(tn_dtype type, Dims shape, const Numbers &numbers = {0})
        : dtype(type), sizes(shape), strides(Dense(shape)),
          room(std::make_shared<std::vector<uint64_t>>(static_cast<size_t>(Count(shape)) + 1)) {
        for (int64_t i = 0; i < Count(sizes); i++)
            ref_store_f64(tn_dtype_index(dtype), At(i), 1, 1,
                          &numbers[static_cast<size_t>(i) % numbers.size()]);
    }
    Tensor View(Dims new_sizes, Dims new_strides, int64_t new_offset = 0) const {
        Tensor t = *this;
        t.sizes = new_sizes, t.strides = new_strides, t.offset = new_offset;
        return t;
    }
    void *At(int64_t i) const {
        return reinterpret_cast<char *>(room->data()) + (offset + i) * (dtype.bits / 8);
    }
    template <typename T> T &Item(int64_t i) { return static_cast<T *>(At(0))[i]; }
    tn_view Raw() const {
        return {At(0), {TN_CPU, 0},  static_cast<int32_t>(sizes.size()),
                dtype, sizes.data(), strides.data(),
                0};
    }
    Numbers Read() const {
        Numbers out;
        for (int64_t i = 0; i < Count(sizes); i++) {
            int64_t at = 0, rest = i;
            for (size_t d = sizes.size(); d-- > 0; rest /= sizes[d])
                at += rest % sizes[d] * strides[d];
            double x;
            ref_load_f64(tn_dtype_index(dtype), At(at), 1, 1, &x);
            out.push_back(x);
        }
        return out;
    }
};

Tensor F32(Dims sizes, Numbers numbers = {0}) { return Tensor(TN_F32, sizes, numbers); }
Tensor F64(Dims sizes, Numbers numbers = {0}) { return Tensor(TN_F64, sizes, numbers); }
Tensor I64(Dims sizes, Numbers numbers = {0}) { return Tensor(TN_I64, sizes, numbers); }
Tensor I8(Dims sizes, Numbers numbers = {0}) { return Tensor(TN_I8, sizes, numbers); }
Tensor Bool(Dims sizes, Numbers numbers = {0}) { return Tensor(TN_BOOL, sizes, numbers); }

// ---- Calls --------------------------------------------------------------------------------------

using KernelFn = tn_status (*)(const void *, tn_call *);
using PlanFn = tn_status (*)(tn_call *, tn_plan *);

struct Call {
    std::deque<Tensor> kept; // own the sizes and strides the views point to
    std::deque<tn_view> views;
    std::deque<std::vector<const tn_view *>> lists;
    std::vector<tn_value> args, outs;
    std::string text;
    tn_status code = TN_OK;
    uint64_t seed = 0, offset = 0;

    tn_value Of(const Tensor &t) {
        kept.push_back(t);
        views.push_back(kept.back().Raw());
        tn_value v = tn_value_none();
        v.tag = TN_TAG_VIEW, v.view = &views.back();
        return v;
    }
    Call &In(const Tensor &t) { return args.push_back(Of(t)), *this; }
    Call &In(tn_value v) { return args.push_back(v), *this; }
    Call &In(const std::vector<const Tensor *> &list) {
        lists.emplace_back();
        for (const Tensor *t : list) lists.back().push_back(Of(*t).view);
        tn_value v = tn_value_none();
        v.tag = TN_TAG_VIEWS, v.aux = static_cast<uint32_t>(list.size()),
        v.views = lists.back().data();
        return In(v);
    }
    Call &Out(const Tensor &t) { return outs.push_back(Of(t)), *this; }
    Call &Rng(uint64_t s, uint64_t o) { return seed = s, offset = o, *this; }

    tn_status operator()(KernelFn run, PlanFn plan = nullptr) {
        tn_call c = {};
        c.size = sizeof c, c.max_threads = 1, c.host_data = this;
        c.args = args.data(), c.n_args = static_cast<uint32_t>(args.size());
        c.outs = outs.data(), c.n_outs = static_cast<uint32_t>(outs.size());
        c.rng_seed = seed, c.rng_offset = offset;
        c.fail = [](tn_call *call, tn_status why, const char *what, uint64_t length) {
            Call *self = static_cast<Call *>(call->host_data);
            self->code = why, self->text.assign(what, length);
        };
        tn_plan p = {};
        p.size = sizeof p;
        if (plan && plan(&c, &p) != TN_OK) return code;
        std::vector<uint64_t> workspace(p.workspace_bytes / 8 + 1, ~UINT64_C(0));
        c.workspace = workspace.data(), c.workspace_bytes = p.workspace_bytes;
        const tn_status status = run(nullptr, &c);
        EXPECT_EQ(status, code);
        return status;
    }
};

// Runs op(x...) into a new tensor of the given dtype and sizes.
Numbers Make(KernelFn run, tn_dtype dtype, Dims sizes, const std::vector<Tensor> &xs) {
    Tensor out(dtype, sizes);
    Call c;
    for (const Tensor &x : xs) c.In(x);
    EXPECT_EQ(c.Out(out)(run), TN_OK) << c.text;
    return out.Read();
}

void ExpectNear(const Numbers &got, const Numbers &want, double tolerance = 0) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); i++) {
        if (std::isnan(want[i]))
            EXPECT_TRUE(std::isnan(got[i])) << "element " << i << " is " << got[i];
        else if (std::isinf(want[i]) || tolerance == 0)
            EXPECT_EQ(got[i], want[i]) << "element " << i;
        else
            EXPECT_NEAR(got[i], want[i], tolerance) << "element " << i;
    }
}

Numbers Wave(int64_t n, double step = 0.7) { // distinct numbers in [-2, 2]
    Numbers out;
    for (int64_t i = 0; i < n; i++)
        out.push_back(2 * std::sin(step * static_cast<double>(i) + 0.3));
    return out;
}

} // namespace

const tn_host *tn_plugin_host = &host;
tn_plugin *tn_plugin_self = nullptr;

#endif
