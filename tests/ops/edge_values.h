// edge_values.h - the numbers at the edges of a float dtype, and rounding to it.
//
// All in double, so that no op is needed to judge another.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_EDGE_VALUES_H
#define TENON_TESTS_EDGE_VALUES_H

#include <algorithm>

#include "tests/support/op_walk.h"

// ---- Formats ----

struct Format {
    int digits, least; // binary digits with the hidden one; exponent of the smallest normal number
    double max;

    double ulp(double x) const { // the distance of neighbours where x lies
        const int e = x == 0 || !std::isfinite(x) ? least : std::max(std::ilogb(x), least);
        return std::ldexp(1, e - digits + 1);
    }
    double normal() const { return std::ldexp(1, least); }
    double tiny() const { return ulp(0); }
    double overflow() const { return max + ulp(max) / 2; } // the first that does not round to max
    double rounded(double x) const {
        if (x == 0 || !std::isfinite(x)) return x;
        if (std::fabs(x) >= overflow()) return std::copysign(INFINITY, x);
        return std::nearbyint(x / ulp(x)) * ulp(x);
    }
};

inline Format format_of(tn_dtype dtype) {
    switch (tn_dtype_index(dtype)) {
    case TN_IX_F16:
        return {11, -14, 65504};
    case TN_IX_BF16:
        return {8, -126, std::ldexp(255, 120)};
    case TN_IX_F32:
        return {24, -126, std::ldexp(16777215, 104)};
    default:
        return {53, -1022, 1.7976931348623157e308};
    }
}

inline bool is_float(tn_dtype d) { return d.code == 2 || d.code == 4; }

// ---- Fillings ----

enum Filling {
    SAMPLED, // as the row's samples have them
    EDGES,   // all that is odd about a dtype
    FINITE,  // the same without infinities and NaN
    LARGE,
    SMALL,
    FAR,   // a mean far above the spread
    HEAVY, // a number that swallows ones, then ones
    EQUAL
};
inline const char *const filling_names[] = {"sampled", "edges", "finite", "large",
                                            "small",   "far",   "heavy",  "equal"};

inline Numbers edges(const Format &f, Filling filling) {
    const double t = f.tiny(), s = f.normal(), m = f.max, far = std::ldexp(1, f.digits - 1);
    switch (filling) {
    case EDGES:
        return {0, -0.0, 1, m, INFINITY, -1, t, NAN, s, -m, 2, -INFINITY, -t, 0.5, -s, -3};
    case FINITE:
        return {0, -0.0, 1, m, -1, t, s, 0.5, -m, 2, -t, -s, -3};
    case LARGE:
        return {m, m, -m / 2, m / 4, m, -m, m / 2};
    case SMALL:
        return {t, s, -t, 2 * s, -s, 4 * t, 0};
    case FAR:
        return {far, far + 1, far + 2, far + 3};
    default:
        return {1};
    }
}

// Of two tensors every number of one meets every number of the other, if there are elements enough.
inline Numbers edge_numbers(const Format &f, Filling filling, size_t n, size_t tensor,
                            size_t turn) {
    const Numbers list = edges(f, filling);
    const size_t length = list.size();
    Numbers out(n);
    for (size_t i = 0; i < n; i++) out[i] = list[(i + tensor * (i / length + 5) + turn) % length];
    if (filling == HEAVY && n > 0) out[0] = std::ldexp(1, f.digits);
    return out;
}

#endif
