// formula_test.cc - formulas of rows, as opgen writes them, expanded into functions and called.
//
// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu_ref/formula.h"

#include <cmath>
#include <cstdint>
#include <map>
#include <string>

#include "gtest/gtest.h"

namespace {

using f = double;
using i = int64_t;
using b = bool;
template <typename T> struct Same { using type = T; };
template <> struct Same<bool> { using type = int64_t; };

// op_f(const double *in), op_i(const int64_t *in), op_b(const bool *in)
#define FORMULA_ARG(of, name, at)                                                                  \
    const auto name = in[at];                                                                      \
    (void)name;
#define FORMULA(op, of, result, args, value)                                                       \
    inline Same<of>::type op##_##of(const of *in) { args return value; }
#define FORMULA_REFUSE(op, args, where, why)                                                       \
    inline const char *op##_refuse(const int64_t *in) { args return (where) ? why : nullptr; }
#include "tests/opgen/scalar_formulas.inc"

const int64_t least = INT64_MIN, most = INT64_MAX;

TEST(Formula, BindsSignsAsCDoes) {
    for (const double a : {-2.0, 0.5, 3.0})
        for (const double b : {-1.0, 0.0, 3.0, 4.0}) {
            const double in[] = {a, b};
            EXPECT_EQ(precedence_f(in), a + b * -2 - (a - b) - 1);
            EXPECT_EQ(tests_f(in) != 0, ((a < b) == (b <= 3)) || ((!(a != b)) && (a > 0)));
        }
}

TEST(Formula, GroupsChoicesToTheRight) {
    const double in[][3] = {{1, 1, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, 0}};
    for (int k = 0; k < 4; k++) EXPECT_EQ(nested_f(in[k]), k + 1);
}

TEST(Formula, ReadsFractions) {
    const double in[] = {-3};
    EXPECT_EQ(fraction_f(in), -3.0 / 4 - 0.25);
}

TEST(Formula, BindsBitsAsCDoes) {
    const int64_t in[] = {0b1100, 0b1010};
    EXPECT_EQ(bits_i(in), (in[0] & in[1]) | (~in[0] ^ (in[1] * 2)));
}

TEST(Formula, IsPickedByTheKindOfDtype) {
    const double x = 1;
    const int64_t n = 1;
    const bool yes = true;
    EXPECT_EQ(apart_f(&x), 1.5);
    EXPECT_EQ(apart_i(&n), 6);
    EXPECT_EQ(apart_b(&yes), 0);
}

TEST(Formula, WrapsIntegersAround) {
    const int64_t in[] = {most, least};
    EXPECT_EQ(precedence_i(in), most) << "most + 0 - -1 - 1: around and back";
    EXPECT_EQ(int_neg(least), least);
    EXPECT_EQ(int_abs(least), least);
    EXPECT_EQ(int_mul(most, 2), -2);
    EXPECT_EQ(int_pow(3, 41), -420491770248316829) << "modulo 2^64";
}

TEST(Formula, SaysWhichIntegersHaveNoResult) {
    const int64_t good[] = {7, -2}, bad[] = {7, 0};
    EXPECT_EQ(quotient_refuse(good), nullptr);
    EXPECT_STREQ(quotient_refuse(bad), "nothing divides");
    EXPECT_EQ(quotient_i(good), -4);
}

TEST(Formula, CallsFunctionsThatAreDefinedForEveryInteger) {
    EXPECT_EQ(int_shl(1, 63), least);
    EXPECT_EQ(int_shl(1, 64), 0);
    EXPECT_EQ(int_shl(1, -1), 0);
    EXPECT_EQ(int_shr(-8, 1), -4);
    EXPECT_EQ(int_shr(-8, 64), -1);
    EXPECT_EQ(int_shr(8, -1), 0);
    EXPECT_EQ(int_pow(2, -1), 1);
    EXPECT_EQ(int_fmod(least, -1), 0);
    EXPECT_EQ(int_fmod(7, 0), 0);
    EXPECT_EQ(int_floor_div(least, -1), least);
    EXPECT_EQ(int_floor_div(7, 0), 0);
    EXPECT_EQ(int_floor_mod(-7, 2), 1);
    EXPECT_EQ(int_floor_mod(7, 0), 0);
}

// ---- Which rows are listed, and for what ----

std::map<std::string, std::string> listed() {
    std::map<std::string, std::string> ops;
#define FORMULA_OP(op, name, n_args, dtypes, f, i, b, refuse)                                      \
    ops[name] = #n_args " " #dtypes " " #f " " #i " " #b " " #refuse;
#include "tests/opgen/scalar_formulas.inc"
    return ops;
}

TEST(Formula, ComesWithWhatABackendRegisters) {
    std::map<std::string, std::string> ops = listed();
    EXPECT_EQ(ops.size(), 7u);
    EXPECT_EQ(ops["fraction"], "1 TN_MASK_FLOAT f none none none");
    EXPECT_EQ(ops["bits"], "2 TN_MASK_INT | TN_MASK(BOOL) none i i none");
    EXPECT_EQ(ops["apart"], "1 TN_MASK_ALL f i b none");
    EXPECT_EQ(ops["quotient"], "2 TN_MASK_ALL f i i refuse");
    EXPECT_EQ(ops["nested"], "3 TN_MASK_ALL f i i none");
}

} // namespace
