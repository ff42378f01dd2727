// math_extremes.h - for tests at the ends of what a dtype holds: the dtypes, tensors of them, and all
// that on every provider, with the vector code that TENON_CPU_BLAS_VECTORS names.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_MATH_EXTREMES_H
#define TENON_TESTS_MATH_EXTREMES_H

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <cmath>
#include <functional>
#include <limits>

constexpr double kInf = std::numeric_limits<double>::infinity();

struct Type {
    const char *name;
    tn_dtype dtype;
    double eps, max;
};

const Type kTypes[] = {{"f16", TN_F16, 0x1p-11, 65504},
                       {"bf16", TN_BF16, 0x1p-8, 0x1.fep127},
                       {"f32", TN_F32, 0x1p-24, 0x1.fffffep127},
                       {"f64", TN_F64, 0x1p-53, std::numeric_limits<double>::max()}};

class Extremes : public Tenon {
  protected:
    static void for_every_type(const std::function<void(const Type &)> &body) {
        on_each_provider([&] {
            for (const Type &t : kTypes) {
                SCOPED_TRACE(t.name);
                body(t);
            }
        });
    }
};

inline tn_tensor *of(const Type &t, const Numbers &list, const Shape &sizes = {}) {
    tn_tensor *wide = sizes.empty() ? from(list) : from(list, sizes);
    return tn_to(wide, t.dtype);
}

inline Numbers read(tn_tensor *t) { return numbers(tn_to(t, TN_F64)); }

inline Numbers scaled(Numbers list, double scale) {
    for (double &x : list) x *= scale;
    return list;
}

inline void expect_close(const Numbers &have, const Numbers &want, double tolerance) {
    ASSERT_EQ(have.size(), want.size());
    for (size_t i = 0; i < want.size(); i++) {
        if (have[i] == want[i] || (std::isnan(have[i]) && std::isnan(want[i]))) continue;
        EXPECT_LE(std::fabs(have[i] - want[i]), tolerance * std::fabs(want[i]))
            << "at " << i << ": " << have[i] << ", not " << want[i];
    }
}

// What the dtype makes of x.
inline double rounded(const Type &t, double x) { return read(of(t, {x}))[0]; }

inline tn_tensor *norm(tn_tensor *x, double p) {
    tn_norm_opts opts = {};
    opts.p = {p, true};
    return tn_norm(x, &opts);
}

#endif
