// cpu_blas_moves_test.cc - copies, fills, gather, scatter, random numbers of cpu_blas, called
// directly, against those of cpu_ref: every dtype, every instruction set, many layouts.
// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/cpu_blas_cells.h"

extern "C" {
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/uniform.h"
}

namespace {

EVERY_SET(CpuBlas);

struct Layout {
    Sizes sizes, to, from;
};

const Layout layouts[] = {
    {{1000}, {1}, {1}},
    {{1000}, {1}, {0}},
    {{1001}, {2}, {1}},
    {{77}, {1}, {-3}},
    {{40, 77}, {77, 1}, {1, 40}},
    {{40, 77}, {1, 40}, {77, 1}},
    {{30, 20}, {20, 1}, {0, 1}},
    {{3, 35, 66}, {35 * 66, 66, 1}, {35 * 66, 1, 35}},
    {{50, 40}, {40, 1}, {-40, -1}},
    {{0, 3}, {3, 1}, {3, 1}},
};

// Numbers that conversions find hard, at the borders of every dtype.
void fill_hard(Cells *x) {
    static const double hard[] = {0.0,     -0.0,       INFINITY,     -INFINITY,       NAN,
                                  0.5,     -0.5,       1.5,          255.5,           256,
                                  -1,      127.9,      128,          -128.9,          -129,
                                  32767.5, 32768,      65504,        65519.99,        65520,
                                  2049,    4097.5,     257,          256.9999,        1e-8,
                                  6e-8,    2.9e-8,     1e-40,        3.4e38,          3.5e38,
                                  -1e300,  2147483647, 2147483648.0, -2147483648.0,   9.3e18,
                                  -9.3e18, 16777217,   33554435,     1.00390625000001};
    for (int64_t i = 0; i < x->items; i++) {
        const uint64_t k = static_cast<uint64_t>(i) * 2654435761u;
        const double f = k % 3 ? hard[k / 3 % (sizeof hard / 8)] : noise(k) * 300;
        const int64_t whole = static_cast<int64_t>(k * UINT64_C(0x9E3779B97F4A7C15)) >> k % 60;
        if (ref_is_float(x->ix))
            ref_store_f64(x->ix, x->place(i), 1, 1, &f);
        else
            ref_store_i64(x->ix, x->place(i), 1, 1, &whole);
    }
}

TEST_P(CpuBlas, CopiesBetweenAllDtypesAndLayoutsAreThoseOfTheReference) {
    for (int to = 0; to < TN_DTYPE_COUNT; to++)
        for (int from = 0; from < TN_DTYPE_COUNT; from++)
            for (const Layout &l : layouts) {
                Cells x(from, l.sizes, l.from), ours(to, l.sizes, l.to), theirs(to, l.sizes, l.to);
                fill_hard(&x);
                Call c;
                c.threads = 2, c.args = {ours.tensor->value(), x.tensor->value()};
                c.outs = {ours.tensor->value()};
                ASSERT_EQ(c.run(Row("copy_").run), TN_OK);
                c.outs = {theirs.tensor->value()};
                ASSERT_EQ(c.run(ref_copy_), TN_OK);
                for (int64_t i = -1; i <= ours.items; i++) {
                    const bool both_nan = std::isnan(ours.at(i)) && std::isnan(theirs.at(i));
                    ASSERT_TRUE(both_nan ||
                                memcmp(ours.place(i), theirs.place(i), dtype_at(to).bits / 8) == 0)
                        << from << " to " << to << " at " << i << ": " << ours.at(i) << ", not "
                        << theirs.at(i);
                }
            }
}

TEST_P(CpuBlas, FillsOfAllDtypesAreThoseOfTheReference) {
    for (int ix = 0; ix < TN_DTYPE_COUNT; ix++)
        for (tn_value v : {tn_float(1.1), tn_float(-300.7), tn_int(-1), tn_bool(true)})
            for (Sizes strides : {Sizes{1}, Sizes{3}})
                for (int64_t n : {0, 1, 2, 3, 64, 67}) {
                    Cells ours(ix, {n}, strides), theirs(ix, {n}, strides);
                    Call c;
                    c.args = {ours.tensor->value(), v}, c.outs = {ours.tensor->value()};
                    ASSERT_EQ(c.run(Row("fill_").run), TN_OK);
                    c.outs = {theirs.tensor->value()};
                    ASSERT_EQ(c.run(ref_fill_), TN_OK);
                    ASSERT_TRUE(same_bits(ours.bytes, theirs.bytes)) << ix << " " << n;
                }
}

// ---- Indices ----

struct Spread {
    Sizes x, x_strides, index, index_strides;
    int64_t dim;
};

const Spread spreads[] = {
    {{50, 40}, {40, 1}, {50, 90}, {90, 1}, 1},
    {{50, 40}, {40, 1}, {700, 40}, {1, 0}, 0}, // whole rows
    {{50, 40}, {1, 50}, {70, 30}, {30, 1}, 0},
    {{9, 5, 7}, {35, 7, 1}, {8, 5, 20}, {100, 20, 1}, 2},
    {{9, 5, 7}, {35, 7, 1}, {8, 60, 7}, {1, 8, 0}, 1},
    {{600}, {1}, {50000}, {1}, 0},
    {{600}, {-2}, {100}, {3}, 0},
    {{}, {}, {}, {}, 0},
    {{4, 3}, {3, 1}, {0, 3}, {3, 1}, 0},
};

Cells make_index(const Spread &s) {
    Cells index(TN_IX_I64, s.index, s.index_strides);
    const int64_t limit = s.x.empty() ? 1 : s.x[static_cast<size_t>(s.dim)];
    for (int64_t i = 0; i < index.items; i++) {
        const int64_t at = i * i * 31 % 1009 % limit;
        memcpy(index.place(i), &at, sizeof at);
    }
    return index;
}

struct Op {
    const char *name;
    Kernel ours, reference;
    Plan plan, reference_plan;
    bool gathers;
    uint64_t dtypes;
};

const Op gather = {"gather", Row("gather").run, ref_gather, nullptr, nullptr, true, TN_MASK_ALL};
const Op scatter = {"scatter", Row("scatter").run, ref_scatter, nullptr, nullptr,
                    false,     TN_MASK_ALL};
const Op scatter_add = {"scatter_add",
                        Row("scatter_add").run,
                        ref_scatter_add,
                        Row("scatter_add").plan,
                        ref_scatter_plan,
                        false,
                        TN_MASK_FLOAT | TN_MASK(I32) | TN_MASK(I64)};

void check(const Op &op, int ix, const Spread &s) {
    Cells x(ix, s.x, s.x_strides), index = make_index(s), src(ix, s.index);
    x.fill(1, false), src.fill(2, false);
    const Sizes &result = op.gathers ? s.index : s.x;
    Cells ours(ix, result), again(ix, result), theirs(ix, result);
    Call c;
    c.args = {x.tensor->value(), tn_int(s.dim), index.tensor->value(), src.tensor->value()};
    c.outs = {ours.tensor->value()};
    ASSERT_EQ(run(c, op.ours, op.plan), TN_OK);
    c.outs = {again.tensor->value()}, c.threads = 7;
    ASSERT_EQ(run(c, op.ours, op.plan), TN_OK);
    c.outs = {theirs.tensor->value()};
    ASSERT_EQ(run(c, op.reference, op.reference_plan), TN_OK);
    EXPECT_TRUE(same_bits(ours.bytes, again.bytes)) << op.name << ": threads change bits";
    const double eps = ix == TN_IX_F64   ? 1e-13
                       : ix == TN_IX_F32 ? 2e-5
                       : ix == TN_IX_F16 ? 1e-3
                                         : 8e-3;
    for (int64_t i = 0; i < ours.items && tn_view_numel(&ours.tensor->view) > 0; i++) {
        const double a = ours.at(i), b = theirs.at(i);
        const bool exact = &op != &scatter_add || !ref_is_float(ix);
        ASSERT_TRUE(a == b || (!exact && std::fabs(a - b) <= eps * (3 + std::fabs(b))))
            << op.name << " dtype " << ix << " at " << i << ": " << a << ", not " << b;
    }
}

TEST_P(CpuBlas, GatherAndScatterAreThoseOfTheReferenceForAnyNumberOfThreads) {
    for (const Op *op : {&gather, &scatter, &scatter_add})
        for (int ix = 0; ix < TN_DTYPE_COUNT && !HasFatalFailure(); ix++)
            for (const Spread &s : spreads)
                if (op->dtypes >> ix & 1) check(*op, ix, s);
}

TEST_P(CpuBlas, IndicesOutOfRangeGetTheWordsOfTheReferenceAndNothingIsWritten) {
    for (const Op *op : {&gather, &scatter, &scatter_add})
        for (const Spread &s : spreads)
            for (int64_t bad : {-1, 1000000}) {
                Cells x(TN_IX_F32, s.x, s.x_strides), index = make_index(s),
                                                      src(TN_IX_F32, s.index);
                if (tn_view_numel(&index.tensor->view) == 0) continue;
                Cells y(TN_IX_F32, op->gathers ? s.index : s.x);
                const std::vector<char> before = y.bytes;
                memcpy(index.place(index.items / 2), &bad, sizeof bad);
                memcpy(index.place(index.items - 1), &bad, sizeof bad);
                Call c;
                c.threads = 3;
                c.args = {x.tensor->value(), tn_int(s.dim), index.tensor->value(),
                          src.tensor->value()};
                c.outs = {y.tensor->value()};
                EXPECT_EQ(run(c, op->reference, op->reference_plan), TN_ERR_INDEX);
                const std::string words = call_failure;
                EXPECT_EQ(run(c, op->ours, op->plan), TN_ERR_INDEX);
                EXPECT_EQ(call_failure, words);
                EXPECT_TRUE(same_bits(y.bytes, before));
            }
}

// ---- Random numbers ----

TEST_P(CpuBlas, RandomNumbersAreThoseOfTheReferenceBitForBit) {
    const struct {
        Kernel ours, reference;
        uint64_t dtypes;
    } kinds[] = {{Row("uniform").run, ref_uniform, TN_MASK_FLOAT},
                 {Row("normal").run, ref_normal, TN_MASK_FLOAT},
                 {Row("random_bits").run, ref_random_bits, TN_MASK(I32) | TN_MASK(I64)}};
    const std::pair<double, double> ranges[] = {{-1, 2}, {0, 1}, {0.1, 0.3}, {0.7, 0.70001}};
    for (const auto &kind : kinds)
        for (int ix = 0; ix < TN_DTYPE_COUNT; ix++)
            for (int64_t n : {1, 63, 1000, 70001, 70002, 70003, 70004}) {
                if (!(kind.dtypes >> ix & 1)) continue;
                const auto &[a, b] = ranges[n % 4];
                Cells ours(ix, {n}), theirs(ix, {n});
                Call c;
                c.threads = 3, c.seed = UINT64_C(0x123456789abcdef0), c.offset = 0xfffffff0;
                c.args = {tn_value_none(), tn_float(a), tn_float(b), tn_value_none()};
                c.outs = {ours.tensor->value()};
                ASSERT_EQ(c.run(kind.ours), TN_OK);
                c.outs = {theirs.tensor->value()};
                ASSERT_EQ(c.run(kind.reference), TN_OK);
                EXPECT_TRUE(same_bits(ours.bytes, theirs.bytes)) << ix << " " << n;
            }
}

// The last step of uniform, over all that it may get: f16 and bf16 are rounded f32 numbers.
TEST_P(CpuBlas, MapsEveryUniformWhereTheReferenceDoes) {
    const std::pair<double, double> ranges[] = {{-1, 1}, {0.1, 0.3}, {-1e-6, 0}};
    for (int ix : {TN_IX_F16, TN_IX_BF16, TN_IX_F32})
        for (const auto &[low, high] : ranges) {
            const ref_range range = ref_range_of(ix, low, high);
            const blas_spread spread = {low, high, range.least, range.most, 0};
            std::vector<float> u(size_t{1} << ref_digits(ix)), y(u.size());
            for (size_t k = 0; k < u.size(); k++)
                u[k] = std::ldexp(static_cast<float>(k), -ref_digits(ix));
            blas_code(random)->stretch[0](static_cast<int64_t>(u.size()), y.data(), u.data(),
                                          &spread);
            size_t wrong = 0;
            for (size_t k = 0; k < u.size(); k++)
                wrong += y[k] != static_cast<float>(ref_stretch(&range, static_cast<double>(u[k])));
            EXPECT_EQ(wrong, 0u) << ix << " " << low;
        }
}

TEST_P(CpuBlas, DropoutOfEveryDtypeKeepsWhatTheReferenceKeeps) {
    for (int ix : {TN_IX_F16, TN_IX_BF16, TN_IX_F32, TN_IX_F64})
        for (double p : {0.0, 0.3, 0.99999999, 1.0}) {
            const int64_t n = 40001;
            Cells x(ix, {n}), ours(ix, {n}), theirs(ix, {n});
            x.fill(3, false);
            Call c;
            c.threads = 2, c.seed = 5, c.args = {x.tensor->value(), tn_float(p)};
            c.outs = {ours.tensor->value()};
            ASSERT_EQ(c.run(Row("dropout").run), TN_OK);
            c.outs = {theirs.tensor->value()};
            ASSERT_EQ(c.run(ref_dropout), TN_OK);
            const double eps = ix == TN_IX_F64 ? 1e-15 : ix == TN_IX_F32 ? 2e-7 : 8e-3;
            for (int64_t i = 0; i < n; i++) {
                const double a = ours.at(i), b = theirs.at(i);
                ASSERT_TRUE((a == 0) == (b == 0) && std::fabs(a - b) <= eps * std::fabs(b))
                    << a << b;
            }
        }
}

} // namespace
