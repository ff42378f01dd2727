// cpu_blas_ewise_test.cc - elementwise kernels of cpu_blas, called directly, against those of
// cpu_ref: every op of the list, every dtype, every instruction set, any layout.
// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/cpu_blas_call.h"

extern "C" {
#include "backends/cpu_ref/kernels.h"
#include "backends/cpu_ref/load.h"
#include "bench/accuracy.h"
}

#include <map>
#include <set>

namespace {

EVERY_SET(CpuBlas);

using Kernel = tn_status (*)(const void *, tn_call *);

Kernel reference_of(const std::string &op) {
    static const std::map<std::string, Kernel> all = {
#define KERNEL(op, dtypes, n_args, plan) {#op, ref_##op},
#include "backends/cpu_ref/kernels.def"
    };
    const auto at = all.find(op);
    return at == all.end() ? nullptr : at->second;
}

struct Op {
    const char *name;
    uint64_t dtypes;
};

#define ALL(op, kind, attributes)    {#op, TN_MASK_ALL},
#define NUMBER(op, kind, attributes) {#op, TN_MASK_ALL & ~TN_MASK(BOOL)},
#define FLOAT(op, kind, attributes)  {#op, TN_MASK_FLOAT},
#define INT(op, kind, attributes)    {#op, TN_MASK_INT | TN_MASK(BOOL)},
const Op ops[] = {BLAS_EWISE_LIST(ALL, NUMBER, FLOAT, INT)};

tn_dtype dtype_at(int ix) {
#define DTYPE(index, NAME, name, ctype, class_) TN_##NAME,
    static const tn_dtype all[] = {TN_DTYPE_LIST(DTYPE)};
    return all[ix];
}

// ---- Values ----

// Numbers in (-2, 2) or small integers, one in eight a special value.
std::vector<double> numbers_for(int ix, int64_t n, uint64_t seed) {
    static const double specials[] = {0.0,  -0.0, INFINITY, -INFINITY, NAN,   1,
                                      -1,   2,    3e38,     -1e-40,    1e-40, 0.5,
                                      -100, 127,  300,      65504,     1e5,   -7.5};
    constexpr uint64_t count = sizeof specials / sizeof *specials;
    std::vector<double> v(static_cast<size_t>(n));
    for (size_t i = 0; i < v.size(); i++) {
        const double x = noise(i + 1000003 * seed);
        v[i] = ref_is_float(ix) ? x * 2 : std::floor(x * 4);
        if (i * 2654435761 % 8 == seed % 8) v[i] = specials[(i / 3 + seed) % count];
    }
    return v;
}

// A view over memory of its own, with one element before and one behind that nobody may touch.
struct Operand {
    std::vector<double> values;
    std::vector<char> bytes;
    std::unique_ptr<Tensor> tensor;
    int ix;

    Operand(int dtype, int64_t n, int64_t step, uint64_t seed, bool positive = false) : ix(dtype) {
        const int64_t items = n * std::max<int64_t>(step, 1) + 2;
        bytes.resize(static_cast<size_t>(items * 8) + 64);
        values = numbers_for(ix, items, seed);
        for (double &x : values) // integers no op refuses
            if (positive) x = std::isfinite(x) ? 1 + std::fmod(std::fabs(x), 5) : 1;
        ref_store_f64(ix, bytes.data(), 1, items, values.data());
        const int64_t width = dtype_at(ix).bits / 8;
        tensor = std::make_unique<Tensor>(reinterpret_cast<uint8_t *>(bytes.data()) + width,
                                          Sizes{n}, Sizes{step});
        tensor->view.dtype = dtype_at(ix);
    }
    tn_value value() const { return tensor->value(); }
};

// Steps of one representable number between two results of the same dtype.
uint64_t steps(int ix, const void *a, const void *b) {
    const uint32_t bits = dtype_at(ix).bits;
    uint64_t x = 0, y = 0;
    memcpy(&x, a, bits / 8), memcpy(&y, b, bits / 8);
    if (!ref_is_float(ix)) return x == y ? 0 : UINT64_MAX;
    double fx, fy;
    ref_load_f64(ix, a, 1, 1, &fx), ref_load_f64(ix, b, 1, 1, &fy);
    if (std::isnan(fx) || std::isnan(fy)) return std::isnan(fx) == std::isnan(fy) ? 0 : UINT64_MAX;
    const uint64_t sign = UINT64_C(1) << (bits - 1);
    if ((x ^ y) & sign) return x == y ? 0 : (x & ~sign) + (y & ~sign) + (fx == 0 && fy == 0);
    return x > y ? x - y : y - x;
}

// ---- One call of both providers ----

struct Layout {
    int64_t n, y, in[BLAS_MOST_IN];
    bool flat;
};

tn_value attribute(char letter, uint32_t k, bool there) {
    if (letter == 't') return there ? tn_value_str("tanh", 4) : tn_value_str("none", 4);
    if (letter == '#') return tn_float(k ? 1.5 : 0.3);
    return there ? tn_float(k ? 1.5 : -0.3) : tn_value_none();
}

uint64_t limit_of(int ix) { return ix == TN_IX_F16 || ix == TN_IX_BF16 ? 1 : 2; }

void check(const Op &op, const blas_ewise_op &row, int ix, const Layout &l, bool bounded) {
    const Kernel reference = reference_of(op.name);
    if (!reference) return;
    std::vector<Operand> in;
    for (uint32_t k = 0; k < row.n_in; k++)
        in.emplace_back(k < row.first ? TN_IX_BOOL : ix, l.n, l.in[k], k + 1,
                        k && row.check && !ref_is_float(ix));
    const int out_ix = row.out_byte ? TN_IX_BOOL : ix;
    Operand ours(out_ix, l.n, l.y, 9), theirs(out_ix, l.n, l.y, 9);
    Call c;
    c.flags = l.flat ? TN_CALL_FLAT : 0, c.user = &row, c.threads = 2;
    for (const Operand &o : in) c.args.push_back(o.value());
    for (uint32_t k = 0; row.attrs[k]; k++) c.args.push_back(attribute(row.attrs[k], k, bounded));
    c.outs = {ours.value()};
    ASSERT_EQ(c.run(Row("add").run), TN_OK) << op.name;
    c.outs = {theirs.value()};
    ASSERT_EQ(c.run(reference), TN_OK) << op.name << ": " << call_failure;

    const int64_t width = dtype_at(out_ix).bits / 8;
    for (int64_t i = -1; i <= l.n * std::max<int64_t>(l.y, 1); i++) {
        const size_t at = static_cast<size_t>((i + 1) * width);
        const uint64_t apart = steps(out_ix, &ours.bytes[at], &theirs.bytes[at]);
        if (apart <= limit_of(ix)) continue;
        std::string text;
        for (uint32_t k = 0; k < row.n_in; k++)
            text += " " + std::to_string(in[k].values[static_cast<size_t>(1 + i * l.in[k])]);
        double a, b;
        ref_load_f64(out_ix, &ours.bytes[at], 1, 1, &a);
        ref_load_f64(out_ix, &theirs.bytes[at], 1, 1, &b);
        FAIL() << op.name << " dtype " << ix << " n " << l.n << " at " << i << ":" << text
               << " gives " << a << ", not " << b;
    }
}

template <class F> void for_all(F f) {
    for (int op = 0; op < BLAS_EWISE_COUNT; op++)
        for (int ix = 0; ix < TN_DTYPE_COUNT; ix++)
            if (ops[op].dtypes >> ix & 1) f(ops[op], blas_ewise_ops[op], ix);
}

TEST_P(CpuBlas, ElementwiseOpsEqualTheReferenceForEveryDtypeAndSize) {
    for_all([](const Op &op, const blas_ewise_op &row, int ix) {
        for (int64_t n = 0; n <= 67; n++) check(op, row, ix, {n, 1, {1, 1, 1}, true}, true);
        check(op, row, ix, {1500, 1, {1, 1, 1}, true}, true);
        check(op, row, ix, {1500, 1, {1, 1, 1}, true}, false);
    });
}

TEST_P(CpuBlas, ElementwiseOpsEqualTheReferenceWhereOperandsAreOneElement) {
    for_all([](const Op &op, const blas_ewise_op &row, int ix) {
        for (int64_t n : {1, 5, 64, 67, 1100})
            for (uint32_t ones = 1; ones < 1u << row.n_in; ones++)
                check(op, row, ix, {n, 1, {!(ones & 1), !(ones & 2), !(ones & 4)}, true}, true);
    });
}

TEST_P(CpuBlas, ElementwiseOpsEqualTheReferenceForAnyStride) {
    for_all([](const Op &op, const blas_ewise_op &row, int ix) {
        for (int64_t n : {1, 5, 67, 1100}) {
            check(op, row, ix, {n, 1, {2, 3, 1}, false}, true);
            check(op, row, ix, {n, 2, {0, 3, 0}, false}, true);
            check(op, row, ix, {n, 3, {1, 2, 0}, false}, true);
            check(op, row, ix, {n, 1, {1, 0, 1}, false}, true);
        }
    });
}

TEST_P(CpuBlas, ElementwiseOpsMayWriteOverTheirFirstOperand) {
    for_all([](const Op &op, const blas_ewise_op &row, int ix) {
        if (row.out_byte || row.first) return;
        std::vector<Operand> in;
        for (uint32_t k = 0; k < row.n_in; k++)
            in.emplace_back(ix, 1237, 1, k + 1, k && row.check && !ref_is_float(ix));
        Operand y(ix, 1237, 1, 9);
        Call c;
        c.flags = TN_CALL_FLAT, c.user = &row;
        for (const Operand &o : in) c.args.push_back(o.value());
        for (uint32_t k = 0; row.attrs[k]; k++) c.args.push_back(attribute(row.attrs[k], k, true));
        c.outs = {y.value()};
        ASSERT_EQ(c.run(Row("add").run), TN_OK);
        c.outs = {in[0].value()};
        ASSERT_EQ(c.run(Row("add").run), TN_OK);
        EXPECT_EQ(
            memcmp(y.tensor->view.data, in[0].tensor->view.data, 1237 * dtype_at(ix).bits / 8), 0)
            << op.name << " dtype " << ix;
    });
}

// Every value of f16 and bf16 survives the way to f32 lanes and back; every f32 pattern on a sieve
// is rounded as the reference rounds.
TEST_P(CpuBlas, NarrowFloatsAreWidenedExactlyAndRoundedToNearestEven) {
    for (int ix : {TN_IX_F16, TN_IX_BF16}) {
        std::vector<uint16_t> items(65536), back(65536), want(65536);
        std::vector<float> lanes(65536);
        std::vector<double> wide(65536);
        for (uint32_t i = 0; i < 65536; i++) items[i] = static_cast<uint16_t>(i);
        blas_code(ewise)->widen[ix](65536, lanes.data(), items.data());
        ref_load_f64(ix, items.data(), 1, 65536, wide.data());
        for (size_t i = 0; i < 65536; i++)
            ASSERT_TRUE(std::isnan(wide[i]) || static_cast<double>(lanes[i]) == wide[i]) << i;
        blas_code(ewise)->narrow[ix](65536, back.data(), lanes.data());
        ref_store_f64(ix, want.data(), 1, 65536, wide.data());
        EXPECT_TRUE(back == want) << ix;
        for (uint64_t bits = 0; bits < UINT64_C(1) << 32;) {
            for (size_t i = 0; i < 65536; i++, bits += 251) {
                const uint32_t low = static_cast<uint32_t>(bits);
                memcpy(&lanes[i], &low, 4), wide[i] = static_cast<double>(lanes[i]);
            }
            blas_code(ewise)->narrow[ix](65536, back.data(), lanes.data());
            ref_store_f64(ix, want.data(), 1, 65536, wide.data());
            ASSERT_TRUE(back == want) << ix << " below " << bits;
        }
    }
}

// The same error as the reference, before anything is written.
TEST_P(CpuBlas, IntegersAnOpRefusesAreNamedByTheFirstPosition) {
    for_all([](const Op &op, const blas_ewise_op &row, int ix) {
        const Kernel reference = reference_of(op.name);
        if (!row.check || ref_is_float(ix) || !reference) return;
        if (row.check == BLAS_NO_NEGATIVE && (TN_MASK(BOOL) | TN_MASK(U8)) >> ix & 1) return;
        for (int64_t step : {1, 0, 3})
            for (int64_t at : {0, 5, 1499}) {
                if (step == 0 && at) continue;
                Operand a(ix, 1500, 1, 1, true), b(ix, 1500, step, 2, true), y(ix, 1500, 1, 3);
                const Operand before = Operand(ix, 1500, 1, 3);
                const double bad = row.check == BLAS_NO_ZERO ? 0 : -3;
                ref_store_f64(ix, tnk_at(&b.tensor->view, at * step), 1, 1, &bad);
                Call c;
                c.flags = step == 3 ? 0 : TN_CALL_FLAT, c.user = &row, c.threads = 2;
                c.args = {a.value(), b.value()}, c.outs = {y.value()};
                ASSERT_EQ(c.run(reference), TN_ERR_INVALID);
                const std::string text = call_failure;
                EXPECT_EQ(c.run(Row("add").run), TN_ERR_INVALID) << op.name << ix;
                EXPECT_EQ(call_failure, text);
                EXPECT_TRUE(y.bytes == before.bytes);
            }
    });
}

TEST_P(CpuBlas, WhereTakesAnyByteButZeroForTrue) {
    for (int64_t n = 1; n <= 67; n++) {
        std::vector<uint8_t> cond(static_cast<size_t>(n) + 1);
        for (size_t i = 0; i < cond.size(); i++) cond[i] = noise(i) > 0 ? (i % 2 ? 255 : 1) : 0;
        auto a = random_values<float>(n + 1, 1), b = random_values<float>(1, 2), y = a;
        Tensor vc(cond.data(), {n}), va(a.data(), {n}), vb(b.data(), {n}, {0}), vy(y.data(), {n});
        Call c;
        c.args = {vc.value(), va.value(), vb.value()}, c.outs = {vy.value()};
        c.flags = TN_CALL_FLAT, c.user = &blas_ewise_ops[BLAS_EW_where];
        ASSERT_EQ(c.run(Row("add").run), TN_OK);
        for (size_t i = 0; i < static_cast<size_t>(n); i++) EXPECT_EQ(y[i], cond[i] ? a[i] : b[0]);
    }
}

TEST_P(CpuBlas, BroadcastAndTransposedOperandsAreWalkedByTheirStrides) {
    auto a = random_values<float>(5 * 7 * 9, 1), b = random_values<float>(9, 2);
    std::vector<float> y(5 * 7 * 9);
    Tensor va(a.data() + 8, {5, 7, 9},
              {1, 45, -1}); // negative, as slices with a negative step have
    Tensor vb(b.data(), {5, 7, 9}, {0, 0, 1}), vy(y.data(), {5, 7, 9});
    Call c;
    c.args = {va.value(), vb.value()}, c.outs = {vy.value()}, c.user = &blas_ewise_ops[BLAS_EW_mul];
    ASSERT_EQ(c.run(Row("add").run), TN_OK);
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < 7; j++)
            for (size_t k = 0; k < 9; k++)
                EXPECT_EQ(y[(i * 7 + j) * 9 + k], a[8 + i + 45 * j - k] * b[k]);
}

TEST_P(CpuBlas, LargeElementwiseWorkIsTheSameForEveryNumberOfThreads) {
    const int64_t n = 200003;
    for (int ix : {TN_IX_F32, TN_IX_BF16})
        for (int64_t stride : {1, 2}) {
            Operand x(ix, n, stride, 1), one(ix, n, 1, 2), many(ix, n, 1, 2);
            for (int32_t threads : {1, 2, 3, 7}) {
                Call c;
                c.args = {x.value()}, c.outs = {(threads == 1 ? one : many).value()};
                c.threads = threads, c.user = &blas_ewise_ops[BLAS_EW_exp];
                c.flags = stride == 1 ? TN_CALL_FLAT : 0;
                ASSERT_EQ(c.run(Row("add").run), TN_OK);
                EXPECT_TRUE(threads == 1 || one.bytes == many.bytes);
            }
        }
}

// Nothing is written beyond the end, which is no whole line.
template <class T> void check_large(int64_t n, int32_t threads) {
    const size_t size = static_cast<size_t>(n), grain = 4096;
    std::vector<T> x(size), room(size + 128), want(size);
    for (size_t i = 0; i < size; i++) x[i] = static_cast<T>(i % 16001);
    T *y = room.data();
    while (reinterpret_cast<uintptr_t>(y) % 64) y++;
    for (size_t i = 0; i < size; i += grain) { // by small calls
        const int64_t m = std::min(n - static_cast<int64_t>(i), static_cast<int64_t>(grain));
        Tensor xt(x.data() + i, {m}), wt(want.data() + i, {m});
        Call c;
        c.args = {xt.value(), xt.value()}, c.outs = {wt.value()};
        c.flags = TN_CALL_FLAT, c.user = &blas_ewise_ops[BLAS_EW_add];
        ASSERT_EQ(c.run(Row("add").run), TN_OK);
    }
    Tensor xt(x.data(), {n}), yt(y, {n});
    Call c;
    c.args = {xt.value(), xt.value()}, c.outs = {yt.value()};
    c.flags = TN_CALL_FLAT, c.user = &blas_ewise_ops[BLAS_EW_add], c.threads = threads;
    ASSERT_EQ(c.run(Row("add").run), TN_OK);
    EXPECT_EQ(memcmp(y, want.data(), size * sizeof(T)), 0);
    EXPECT_EQ(y[n], T{0});
    c.outs = {xt.value()}; // in place
    ASSERT_EQ(c.run(Row("add").run), TN_OK);
    EXPECT_EQ(memcmp(x.data(), want.data(), size * sizeof(T)), 0);
}

TEST_P(CpuBlas, ResultsLargerThanTheCachesHaveTheSameBits) {
    check_large<float>((8 << 20) + 37, 1);
    check_large<float>((8 << 20) + 37, 3);
    check_large<uint16_t>((16 << 20) + 37, 2);
}

// ---- Vector mathematics: every 251st float of all 2^32 ----

void check_ulps(const char *op, int index, double (*exact)(double), double limit) {
    constexpr size_t N = 4096;
    std::vector<float> x(N), y(N);
    double worst = 0, at = 0;
    uint64_t bits = 0;
    while (bits < UINT64_C(1) << 32) {
        for (size_t i = 0; i < N; i++, bits += 251) {
            const uint32_t b = static_cast<uint32_t>(bits);
            memcpy(&x[i], &b, 4);
        }
        const void *in[1] = {x.data()};
        blas_code(ewise)->fn[index][BLAS_F32](N, y.data(), in, 0, &blas_no_attrs);
        for (size_t i = 0; i < N; i++) {
            const double u = ulps(y[i], exact(static_cast<double>(x[i])));
            if (u > worst) worst = u, at = static_cast<double>(x[i]);
        }
    }
    EXPECT_LE(worst, limit) << op << ": worst at " << at;
    printf("%s: worst %.3f ulp at %g\n", op, worst, at);
}

TEST(Accuracy, IsMeasuredOfEveryUnaryFloatOp) {
    std::set<std::string> measured = {"clamp", "threshold"}; // bounds: these compute nothing
    for (int i = 0; i < accuracy_op_count; i++) measured.insert(accuracy_ops[i].op);
    for (const blas_ewise_op &op : blas_ewise_ops) {
        const bool floats = blas_code(ewise)->fn[op.index][BLAS_F32] != nullptr;
        if (op.n_in != 1 || !floats || op.out_byte) continue;
        EXPECT_TRUE(measured.count(op.name)) << op.name << " is missing in accuracy_ops.inc";
    }
}

double sigmoid(double a) {
    return a < 0 ? std::exp(a) / (1 + std::exp(a)) : 1 / (1 + std::exp(-a));
}

TEST_P(CpuBlas, ExpIsWithinTwoUlp) { check_ulps("exp", BLAS_EW_exp, std::exp, 2); }
TEST_P(CpuBlas, LogIsWithinTwoUlp) { check_ulps("log", BLAS_EW_log, std::log, 2); }
TEST_P(CpuBlas, TanhIsWithinTwoUlp) { check_ulps("tanh", BLAS_EW_tanh, std::tanh, 2); }
TEST_P(CpuBlas, SigmoidIsWithinTwoUlp) { check_ulps("sigmoid", BLAS_EW_sigmoid, sigmoid, 2); }

} // namespace
