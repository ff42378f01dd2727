// cpu_blas_cells.h - tensors of any dtype and layout, with memory of their own, to compare kernels of
// cpu_blas with those of cpu_ref.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_CPU_BLAS_CELLS_H
#define TENON_TESTS_CPU_BLAS_CELLS_H

#include "tests/backends/cpu_blas_call.h"

extern "C" {
#include "backends/cpu_ref/load.h"
}

#include <memory>

using Kernel = tn_status (*)(const void *, tn_call *);
using Plan = tn_status (*)(tn_call *, tn_plan *);

inline tn_dtype dtype_at(int ix) {
#define DTYPE(index, NAME, name, ctype, class_) TN_##NAME,
    static const tn_dtype all[] = {TN_DTYPE_LIST(DTYPE)};
    return all[ix];
}

// ---- Tensors of any dtype ----

struct Cells {
    int ix;
    std::vector<char> bytes;
    std::unique_ptr<Tensor> tensor;
    // Strides may be 0 or negative. One item before and one behind are nobody's.
    Cells(int dtype, const Sizes &sizes, const Sizes &strides) : ix(dtype) {
        int64_t low = 0, high = 0;
        for (size_t d = 0; d < sizes.size(); d++)
            (strides[d] < 0 ? low : high) += strides[d] * std::max<int64_t>(0, sizes[d] - 1);
        const size_t width = dtype_at(ix).bits / 8;
        items = high - low + 1;
        bytes.assign(static_cast<size_t>(items + 2) * width, 0x5a);
        tensor = std::make_unique<Tensor>(reinterpret_cast<uint8_t *>(bytes.data()) +
                                              static_cast<size_t>(1 - low) * width,
                                          sizes, strides);
        tensor->view.dtype = dtype_at(ix);
    }
    Cells(int dtype, const Sizes &sizes) : Cells(dtype, sizes, row_major(sizes)) {}
    int64_t items; // in memory
    int64_t count() const { return items; }
    char *place(int64_t i) { return bytes.data() + (i + 1) * dtype_at(ix).bits / 8; }
    double at(int64_t i) const {
        double x;
        const char *from = bytes.data() + (i + 1) * dtype_at(ix).bits / 8;
        if (ref_is_float(ix)) {
            ref_load_f64(ix, from, 1, 1, &x);
            return x;
        }
        int64_t whole;
        ref_load_i64(ix, from, 1, 1, &whole);
        return static_cast<double>(whole);
    }
    // special: infinities, NaN, zeros of both signs, equal elements among them.
    void fill(uint64_t seed, bool special) {
        static const double odd[] = {0.0, -0.0, INFINITY, -INFINITY, NAN, 1, -1, 127, -1e-3, 3e4};
        for (int64_t i = 0; i < count(); i++) {
            const uint64_t k = static_cast<uint64_t>(i) * 2654435761u + seed;
            double x = noise(k);
            if (!ref_is_float(ix)) x = std::floor(x * 4);
            if (special && k % 5 == 0) x = odd[k / 5 % 10];
            if (special && k % 1000 > 4 && std::isnan(x)) x = 1; // rarely: it ends every contest
            ref_store_f64(ix, place(i), 1, 1, &x);
        }
    }
};

inline tn_status run(Call &c, Kernel kernel, Plan plan) {
    tn_call call = c.make();
    tn_plan p{};
    p.size = sizeof p;
    if (tn_status s = plan ? plan(&call, &p) : TN_OK) return s;
    std::vector<double> room(p.workspace_bytes / 8 + 16);
    call.workspace =
        reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(room.data()) + 63) / 64 * 64);
    return kernel(p.data, &call);
}

#endif
