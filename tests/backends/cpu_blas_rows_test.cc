// cpu_blas_rows_test.cc - kernels of cpu_blas over [outer, n, inner], called directly, against those
// of cpu_ref: reductions, scans, softmax, sort; every dtype, every instruction set, many shapes.
// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/cpu_blas_cells.h"

extern "C" {
#include "backends/cpu_blas/kernels/lines.h"
#include "backends/cpu_blas/kernels/reduce.h"
#include "backends/cpu_ref/kernels.h"
}

namespace {

EVERY_SET(CpuBlas);

// ---- Ops ----

enum Result { SAME, LONG, BOOLEAN, INDEX, WIDE };

struct Op {
    const char *name;
    Kernel ours, reference;
    Plan plan, reference_plan;
    const void *user;
    int n_in;
    std::vector<Result> outs;
    uint64_t dtypes;
    bool exact, reduces;
};

int result_dtype(Result r, int ix) {
    switch (r) {
    case LONG:
        return ref_is_float(ix) ? ix : TN_IX_I64;
    case BOOLEAN:
        return ix == TN_IX_U8 ? TN_IX_U8 : TN_IX_BOOL;
    case INDEX:
        return TN_IX_I64;
    case WIDE:
        return TN_IX_F64;
    default:
        return ix;
    }
}

#define REDUCE(name, op, ref, outs, mask, exact)                                                   \
    { name, Row(op).run, ref, nullptr, nullptr, Row(op).user, 1, outs, mask, exact, true }
#define LINE(name, n_in, outs, mask, exact)                                                        \
    {                                                                                              \
#name, Row(#name).run, ref_##name, Row(#name).plan, nullptr, Row(#name).user, n_in, outs,  \
            mask, exact, false                                                                     \
    }
#define BOTH(a, b) std::vector<Result>({a, b})

const std::vector<Op> &ops() {
    using R = std::vector<Result>;
    static const std::vector<Op> all = {
        REDUCE("sum", "sum.dim", ref_sum_dim, R{LONG}, TN_MASK_ALL, false),
        REDUCE("mean", "mean.dim", ref_mean_dim, R{SAME}, TN_MASK_FLOAT, false),
        REDUCE("prod", "prod.dim", ref_prod_dim, R{LONG}, TN_MASK_ALL, false),
        REDUCE("amax", "amax", ref_amax, R{SAME}, TN_MASK_ALL, true),
        REDUCE("amin", "amin", ref_amin, R{SAME}, TN_MASK_ALL, true),
        REDUCE("argmax", "argmax", ref_argmax, R{INDEX}, TN_MASK_ALL, true),
        REDUCE("argmin", "argmin", ref_argmin, R{INDEX}, TN_MASK_ALL, true),
        REDUCE("any", "any", ref_any, R{BOOLEAN}, TN_MASK_ALL, true),
        REDUCE("all", "all", ref_all, R{BOOLEAN}, TN_MASK_ALL, true),
        REDUCE("moments", "moments", ref_moments, BOTH(WIDE, WIDE), TN_MASK_FLOAT, false),
        LINE(softmax, 1, R{SAME}, TN_MASK_FLOAT, false),
        LINE(log_softmax, 1, R{SAME}, TN_MASK_FLOAT, false),
        LINE(softmax_bwd, 2, R{SAME}, TN_MASK_FLOAT, false),
        LINE(log_softmax_bwd, 2, R{SAME}, TN_MASK_FLOAT, false),
        LINE(cumsum, 1, R{LONG}, TN_MASK_ALL, false),
        LINE(cumprod, 1, R{LONG}, TN_MASK_ALL, false),
        LINE(linear_scan, 2, R{SAME}, TN_MASK_FLOAT, false),
        LINE(cummax, 1, BOTH(SAME, INDEX), TN_MASK_ALL, true),
        LINE(cummin, 1, BOTH(SAME, INDEX), TN_MASK_ALL, true),
    };
    return all;
}

Op sort_op() {
    Op op = LINE(sort, 1, BOTH(SAME, INDEX), TN_MASK_ALL, true);
    op.reference_plan = ref_sort_plan;
    return op;
}

double tolerance(int ix) {
    return ix == TN_IX_F64 ? 1e-12 : ix == TN_IX_F32 ? 3e-6 : ix == TN_IX_F16 ? 2e-3 : 1.6e-2;
}

// Relative to the larger of 1 and the terms a sum is made of.
void expect_equal(const Op &op, const Cells &ours, const Cells &theirs, int64_t n) {
    for (int64_t i = 0; i < ours.count(); i++) {
        const double a = ours.at(i), b = theirs.at(i);
        if (a == b || (std::isnan(a) && std::isnan(b))) continue;
        const double scale = std::fabs(b) + std::sqrt(static_cast<double>(n));
        const bool close = std::fabs(a - b) <= tolerance(ours.ix) * scale;
        ASSERT_TRUE(close && !op.exact && ref_is_float(ours.ix))
            << op.name << " dtype " << ours.ix << " at " << i << ": " << a << ", not " << b;
    }
}

void check(const Op &op, int ix, const Sizes &shape, bool special, bool descending = false) {
    if (!(op.dtypes >> ix & 1)) return;
    const Sizes result = op.reduces ? Sizes{shape[0], shape[2]} : shape;
    std::vector<Cells> in, ours, theirs, again;
    for (int k = 0; k < op.n_in; k++) {
        in.emplace_back(ix, shape);
        in.back().fill(static_cast<uint64_t>(k + 1), special);
    }
    for (Result r : op.outs)
        for (auto *set : {&ours, &theirs, &again}) set->emplace_back(result_dtype(r, ix), result);
    Call c;
    c.user = op.user;
    for (const Cells &x : in) c.args.push_back(x.tensor->value());
    c.args.push_back(tn_int(1)), c.args.push_back(tn_bool(descending));
    const auto call = [&](std::vector<Cells> &outs, int32_t threads, Kernel kernel, Plan plan) {
        c.outs.clear(), c.threads = threads;
        for (const Cells &y : outs) c.outs.push_back(y.tensor->value());
        if (op.n_in == 1 && !op.reduces && descending) c.args[1] = tn_int(1);
        return run(c, kernel, plan);
    };
    const tn_status status = call(ours, 1, op.ours, op.plan);
    ASSERT_EQ(status, call(theirs, 1, op.reference, op.reference_plan)) << op.name;
    if (status != TN_OK) return;
    ASSERT_EQ(call(again, 7, op.ours, op.plan), TN_OK);
    for (size_t k = 0; k < ours.size(); k++) {
        EXPECT_TRUE(same_bits(ours[k].bytes, again[k].bytes)) << op.name << ": threads change bits";
        expect_equal(op, ours[k], theirs[k], shape[1]);
    }
}

const Sizes shapes[] = {{1, 1, 1},     {3, 5, 1}, {1, 67, 1},  {2, 0, 3},     {2, 0, 1},
                        {2, 40001, 1}, {1, 9, 5}, {4, 33, 67}, {2, 100, 300}, {1, 5000, 3},
                        {1, 4500, 40}, {0, 4, 4}, {2, 3, 0},   {130, 300, 1}, {3, 7, 16}};

TEST_P(CpuBlas, RowsOfEveryDtypeEqualTheReferenceForAnyNumberOfThreads) {
    for (const Op &op : ops())
        for (int ix = 0; ix < TN_DTYPE_COUNT && !HasFatalFailure(); ix++)
            for (const Sizes &shape : shapes) check(op, ix, shape, op.exact);
}

TEST_P(CpuBlas, SoftmaxOfInfinitiesAndNaNIsThatOfTheReference) {
    for (const Op &op : ops())
        if (op.n_in == 1 && !op.reduces)
            for (int ix : {TN_IX_F16, TN_IX_BF16, TN_IX_F32, TN_IX_F64})
                check(op, ix, {50, 6, 3}, true), check(op, ix, {50, 37, 1}, true);
}

TEST_P(CpuBlas, SortsStablyBothWaysAsTheReferenceDoes) {
    for (int ix = 0; ix < TN_DTYPE_COUNT && !HasFatalFailure(); ix++)
        for (const Sizes &shape : shapes)
            for (bool descending : {false, true}) check(sort_op(), ix, shape, true, descending);
}

// ---- layer_norm ----

void expect_close(const Cells &ours, const Cells &theirs, double scale, const char *what) {
    for (int64_t i = 0; i < ours.items; i++)
        ASSERT_NEAR(ours.at(i), theirs.at(i), tolerance(ours.ix) * scale)
            << what << " dtype " << ours.ix << " at " << i;
}

void check_layer_norm(int ix, int64_t rows, int64_t n, bool weighted, int32_t threads) {
    Cells x(ix, {rows, n}), w(ix, {n}), b(ix, {n}), g(ix, {rows, n});
    std::vector<Cells> y[2];
    x.fill(1, false), w.fill(2, false), b.fill(3, false), g.fill(4, false);
    const tn_value none = tn_value_none(), shape = tn_value_ints({&n, 1});
    for (int k = 0; k < 2; k++) {
        for (const Sizes &s :
             {Sizes{rows, n}, Sizes{rows, 1}, Sizes{rows, 1}, Sizes{rows, n}, Sizes{n}, Sizes{n}})
            y[k].emplace_back(ix, s);
        const auto value = [&](size_t i) { return y[k][i].tensor->value(); };
        Call c;
        c.threads = threads;
        c.args = {x.tensor->value(), shape, weighted ? w.tensor->value() : none,
                  weighted ? b.tensor->value() : none, tn_float(1e-5)};
        c.outs = {value(0), value(1), value(2)};
        ASSERT_EQ(k ? run(c, ref_layer_norm, nullptr)
                    : run(c, Row("layer_norm").run, Row("layer_norm").plan),
                  TN_OK);
        c.args = {
            g.tensor->value(),       x.tensor->value(),       weighted ? w.tensor->value() : none,
            y[0][1].tensor->value(), y[0][2].tensor->value(), shape};
        c.outs = {value(3), value(4), value(5)};
        ASSERT_EQ(k ? run(c, ref_layer_norm_bwd, nullptr)
                    : run(c, Row("layer_norm_bwd").run, Row("layer_norm_bwd").plan),
                  TN_OK);
    }
    for (size_t i = 0; i < 6; i++)
        expect_close(y[0][i], y[1][i], i < 4 ? 10 : 10 + static_cast<double>(rows), "layer_norm");
}

TEST_P(CpuBlas, LayerNormOfEveryDtypeIsThatOfTheReference) {
    for (int ix : {TN_IX_F16, TN_IX_BF16, TN_IX_F32, TN_IX_F64})
        for (bool weighted : {false, true})
            for (int64_t n : {2, 5, 16, 33, 1000})
                for (int64_t rows : {1, 7, 300})
                    check_layer_norm(ix, rows, n, weighted, rows == 300 ? 3 : 1);
}

TEST_P(CpuBlas, MomentsFarFromZeroLoseNothing) {
    const int64_t n = 4096;
    Cells x(TN_IX_F32, {2, n, 1}), mean(TN_IX_F64, {2, 1}), m2(TN_IX_F64, {2, 1});
    for (int64_t i = 0; i < x.items; i++) {
        const double v = 1e6 + static_cast<double>(i % 2) - (i == n ? 1e6 : 0);
        ref_store_f64(TN_IX_F32, x.place(i), 1, 1, &v);
    }
    Call c;
    c.user = Row("moments").user;
    c.args = {x.tensor->value()}, c.outs = {mean.tensor->value(), m2.tensor->value()};
    ASSERT_EQ(c.run(Row("moments").run), TN_OK);
    EXPECT_EQ(mean.at(0), 1e6 + 0.5);
    EXPECT_EQ(m2.at(0), static_cast<double>(n) / 4);
    Cells flat(TN_IX_F32, {2, n}), y(TN_IX_F32, {2, n}), m(TN_IX_F32, {2, 1}), r(TN_IX_F32, {2, 1});
    memcpy(flat.place(0), x.place(0), static_cast<size_t>(x.items) * 4);
    c.args = {flat.tensor->value(), tn_value_ints({&n, 1}), tn_value_none(), tn_value_none(),
              tn_float(0)};
    c.outs = {y.tensor->value(), m.tensor->value(), r.tensor->value()};
    ASSERT_EQ(run(c, Row("layer_norm").run, Row("layer_norm").plan), TN_OK);
    EXPECT_NEAR(r.at(0), 2, 1e-6);
}

// ---- cross_entropy ----

TEST_P(CpuBlas, CrossEntropyOf16BitFloatsIsThatOfTheSameNumbersInF32) {
    const int64_t rows = 9, n = 5000;
    for (int ix : {TN_IX_F16, TN_IX_BF16}) {
        Cells x(ix, {rows, n}), dx(ix, {rows, n}), loss(ix, {}), grad(ix, {});
        Cells wide(TN_IX_F32, {rows, n}), wide_dx(TN_IX_F32, {rows, n}), wide_loss(TN_IX_F32, {}),
            wide_grad(TN_IX_F32, {}), target(TN_IX_I64, {rows});
        x.fill(1, false);
        for (int64_t i = 0; i < x.items; i++) {
            double v = i >= n && i < n + 3000 ? -INFINITY : x.at(i); // a block of them
            ref_store_f64(ix, x.place(i), 1, 1, &v);
            ref_store_f64(TN_IX_F32, wide.place(i), 1, 1, &v);
        }
        for (int64_t r = 0; r < rows; r++) {
            const int64_t t = r == 4 ? -100 : 3100 + r;
            memcpy(target.place(r), &t, sizeof t);
        }
        const double one = 1;
        ref_store_f64(ix, grad.place(0), 1, 1, &one);
        ref_store_f64(TN_IX_F32, wide_grad.place(0), 1, 1, &one);
        Call c;
        c.threads = 2;
        for (const bool narrow : {true, false}) {
            const tn_value in = (narrow ? x : wide).tensor->value();
            c.args = {in, target.tensor->value()};
            c.outs = {(narrow ? loss : wide_loss).tensor->value()};
            ASSERT_EQ(c.run(Row("cross_entropy").run), TN_OK);
            c.args = {(narrow ? grad : wide_grad).tensor->value(), in, target.tensor->value()};
            c.outs = {(narrow ? dx : wide_dx).tensor->value()};
            ASSERT_EQ(c.run(Row("cross_entropy_bwd").run), TN_OK);
        }
        EXPECT_TRUE(std::isfinite(loss.at(0)));
        EXPECT_NEAR(loss.at(0), wide_loss.at(0), 5e-3 * wide_loss.at(0));
        for (int64_t i = 0; i < dx.items; i++)
            ASSERT_NEAR(dx.at(i), wide_dx.at(i), 4e-3 * std::fabs(wide_dx.at(i)) + 1e-7) << i;
    }
}

} // namespace
