// cpu_blas_rows_test.cc - kernels of cpu_blas over [outer, n, inner], called directly, against those
// of cpu_ref: reductions, scans, softmax, sort; every dtype, every instruction set, many shapes.
// SPDX-License-Identifier: Apache-2.0
#include "tests/cpu_blas_cells.h"

extern "C" {
#include "backends/cpu_blas/kernels/lines.h"
#include "backends/cpu_blas/kernels/reduce.h"
#include "backends/cpu_ref/kernels.h"
}

namespace {

EVERY_SET(CpuBlas);

// ---- Ops
// -----------------------------------------------------------------------------------------------

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
        return tni_is_float(ix) ? ix : TN_IX_I64;
    case BOOLEAN:
        return ix == TN_IX_U8 ? TN_IX_U8 : TN_IX_BOOL;
    case INDEX:
        return TN_IX_I64;
    case WIDE:
        return ix == TN_IX_F64 ? TN_IX_F64 : TN_IX_F32;
    default:
        return ix;
    }
}

#define REDUCE(name, ref, outs, exact)                                                             \
    {                                                                                              \
#name, tni_reduce_run, tni_ref_##ref, nullptr, nullptr, &tni_reduce_##name, 1, outs,       \
            TN_MASK_ALL, exact, true                                                               \
    }
#define LINE(name, NAME, n_in, outs, mask, exact)                                                  \
    {                                                                                              \
#name, tni_lines_run, tni_ref_##name, tni_lines_plan, nullptr,                             \
            &tni_line_ops[TNI_LINE_##NAME], n_in, outs, mask, exact, false                         \
    }
#define BOTH(a, b) std::vector<Result>({a, b})

const std::vector<Op> &ops() {
    using R = std::vector<Result>;
    static const std::vector<Op> all = {
        REDUCE(sum, sum_dim, R{LONG}, false),
        REDUCE(prod, prod_dim, R{LONG}, false),
        REDUCE(amax, amax, R{SAME}, true),
        REDUCE(amin, amin, R{SAME}, true),
        REDUCE(argmax, argmax, R{INDEX}, true),
        REDUCE(argmin, argmin, R{INDEX}, true),
        REDUCE(any, any, R{BOOLEAN}, true),
        REDUCE(all, all, R{BOOLEAN}, true),
        LINE(softmax, SOFTMAX, 1, R{SAME}, TN_MASK_FLOAT, false),
        LINE(log_softmax, LOG_SOFTMAX, 1, R{SAME}, TN_MASK_FLOAT, false),
        LINE(softmax_bwd, SOFTMAX_BWD, 2, R{SAME}, TN_MASK_FLOAT, false),
        LINE(log_softmax_bwd, LOG_SOFTMAX_BWD, 2, R{SAME}, TN_MASK_FLOAT, false),
        LINE(cumsum, CUMSUM, 1, R{LONG}, TN_MASK_ALL, false),
        LINE(cumprod, CUMPROD, 1, R{LONG}, TN_MASK_ALL, false),
        LINE(linear_scan, LINEAR_SCAN, 2, R{SAME}, TN_MASK_FLOAT, false),
        LINE(cummax, CUMMAX, 1, BOTH(SAME, INDEX), TN_MASK_ALL, true),
        LINE(cummin, CUMMIN, 1, BOTH(SAME, INDEX), TN_MASK_ALL, true),
    };
    return all;
}

Op sort_op() {
    Op op = LINE(sort, SORT, 1, BOTH(SAME, INDEX), TN_MASK_ALL, true);
    op.reference_plan = tni_ref_sort_plan;
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
        ASSERT_TRUE(close && !op.exact && tni_is_float(ours.ix))
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

} // namespace
