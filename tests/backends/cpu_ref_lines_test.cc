// cpu_ref_lines_test.cc - reference kernels that look along dims: reduce, gemm, norms, sort, index,
// sgd_. SPDX-License-Identifier: Apache-2.0
#include "tests/backends/cpu_ref_call.h"

#include <functional>

namespace {

// ---- Reduce -------------------------------------------------------------------------------------

TEST(RefReduce, SumsFloatsInDoubleAndIntegersAsI64) {
    ExpectNear(Make(ref_sum_dim, TN_F32, {1, 1}, {F32({1, 3, 1}, {0x1p25, 1, -0x1p25})}), {1});
    ExpectNear(Make(ref_sum_dim, TN_I64, {1, 1}, {I8({1, 300, 1}, {100})}), {30000});
    ExpectNear(Make(ref_sum_dim, TN_I64, {1, 2}, {Bool({1, 3, 2}, {1, 0, 1, 1, 1, 1})}), {3, 2});
    ExpectNear(Make(ref_sum_dim, TN_F64, {2, 2}, {F64({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8})}),
               {4, 6, 12, 14});
    ExpectNear(Make(ref_sum_dim, TN_F32, {2, 1}, {F32({2, 0, 1})}), {0, 0});
    ExpectNear(Make(ref_sum_dim, TN_F32, {0, 1}, {F32({0, 3, 1})}), {});
}

TEST(RefReduce, FindsExtremesAndTheFirstOfEquals) {
    const Tensor x = F32({2, 4, 1}, {1, 7, 7, -2, 3, kNan, 9, kNan});
    ExpectNear(Make(ref_amax, TN_F32, {2, 1}, {x}), {7, kNan});
    ExpectNear(Make(ref_amin, TN_F32, {2, 1}, {x}), {-2, kNan});
    ExpectNear(Make(ref_argmax, TN_I64, {2, 1}, {x}), {1, 1});
    ExpectNear(Make(ref_argmax, TN_I64, {1, 2}, {I8({1, 3, 2}, {-9, 5, -3, 5, -3, 4})}), {1, 0});
    ExpectNear(Make(ref_amax, TN_I64, {1, 1}, {I64({1, 1, 1}, {-0x1p63})}), {-0x1p63});
    Call c;
    const Tensor y = F32({1, 1});
    EXPECT_EQ(c.In(F32({1, 0, 1})).Out(y)(ref_amax), TN_ERR_SHAPE);
    EXPECT_EQ(c.text, "amax: the reduced dims of x hold no elements");
}

TEST(RefReduce, AgreesWithASimpleLoopForLongAndWideInput) {
    for (Dims sizes : {Dims{1, 100000, 1}, Dims{2, 40000, 19}, Dims{3, 50, 33}, Dims{700, 3, 1}}) {
        const Tensor x = F64(sizes, Wave(Count(sizes), 0.37));
        const Numbers v = x.Read();
        Numbers sum, at, max;
        for (int64_t o = 0; o < sizes[0]; o++)
            for (int64_t i = 0; i < sizes[2]; i++) {
                double s = 0, m = -kInf, where = 0;
                for (int64_t k = 0; k < sizes[1]; k++) {
                    const double e = v[static_cast<size_t>((o * sizes[1] + k) * sizes[2] + i)];
                    s += e;
                    if (e > m) m = e, where = static_cast<double>(k);
                }
                sum.push_back(s), max.push_back(m), at.push_back(where);
            }
        const Dims out = {sizes[0], sizes[2]};
        ExpectNear(Make(ref_sum_dim, TN_F64, out, {x}), sum, 1e-8);
        ExpectNear(Make(ref_amax, TN_F64, out, {x}), max);
        ExpectNear(Make(ref_argmax, TN_I64, out, {x}), at);
        const Numbers forwards = Make(ref_sum_dim, TN_F64, out, {x});
        order = kBackwards;
        EXPECT_EQ(Make(ref_sum_dim, TN_F64, out, {x}), forwards);
        order = kForwards;
    }
}

// ---- Matrix products, lines ---------------------------------------------------------------------

Numbers NaiveGemm(const Tensor &a, const Tensor &b) {
    const int64_t B = a.sizes[0], m = a.sizes[1], k = a.sizes[2], n = b.sizes[2];
    const Numbers x = a.Read(), y = b.Read();
    Numbers out;
    for (int64_t i = 0; i < B * m; i++)
        for (int64_t q = 0; q < n; q++) {
            double s = 0;
            for (int64_t p = 0; p < k; p++)
                s += x[static_cast<size_t>(i * k + p)] *
                     y[static_cast<size_t>((i / m * k + p) * n + q)];
            out.push_back(s);
        }
    return out;
}

TEST(RefGemm, AgreesWithASimpleLoopForAnyStrides) {
    const Tensor a = F64({2, 19, 130}, Wave(2 * 19 * 130)),
                 b = F64({2, 130, 300}, Wave(2 * 130 * 300, 0.9));
    ExpectNear(Make(ref_gemm, TN_F64, {2, 19, 300}, {a, b}), NaiveGemm(a, b));
    const Tensor at = a.View({2, 19, 19}, {19 * 130, 1, 130}); // transposed
    const Tensor shared = b.View({2, 19, 300}, {0, -300, 1}, 20 * 300);
    ExpectNear(Make(ref_gemm, TN_F64, {2, 19, 300}, {at, shared}), NaiveGemm(at, shared));
    const Tensor bt = b.View({2, 130, 19}, {130 * 300, 1, 130});
    ExpectNear(Make(ref_gemm, TN_F64, {2, 19, 19}, {a, bt}), NaiveGemm(a, bt));
    ExpectNear(Make(ref_gemm, TN_F32, {1, 1, 1},
                    {F32({1, 1, 3}, {0x1p25, 1, -0x1p25}), F32({1, 3, 1}, {1})}),
               {1});
    ExpectNear(Make(ref_gemm, TN_F32, {1, 2, 2}, {F32({1, 2, 0}), F32({1, 0, 2})}), {0, 0, 0, 0});
    ExpectNear(Make(ref_gemm, TN_F32, {0, 2, 2}, {F32({0, 2, 3}), F32({0, 3, 2})}), {});
}

TEST(RefSoftmax, IsStableAndRunsAlongTheMiddle) {
    const Tensor x = F64({1, 2, 2}, {1000, -kInf, 1001, 3});
    const double e = std::exp(1);
    ExpectNear(Make(ref_softmax, TN_F64, x.sizes, {x}), {1 / (1 + e), 0, e / (1 + e), 1}, 1e-15);
    ExpectNear(Make(ref_log_softmax, TN_F64, x.sizes, {x}),
               {-std::log(1 + e), -kInf, 1 - std::log(1 + e), 0}, 1e-15);
    ExpectNear(Make(ref_softmax, TN_F64, {1, 2, 1}, {F64({1, 2, 1}, {kNan, 1})}), {kNan, kNan});
}

// The gradient of sum(weights * f(x)) by central differences.
Numbers Slope(Tensor x, const Numbers &weights, const std::function<Numbers(const Tensor &)> &f) {
    Numbers out;
    auto total = [&] {
        const Numbers y = f(x);
        double sum = 0;
        for (size_t i = 0; i < y.size(); i++) sum += weights[i] * y[i];
        return sum;
    };
    for (int64_t i = 0; i < Count(x.sizes); i++) {
        const double at = x.Item<double>(i), eps = 1e-6;
        x.Item<double>(i) = at + eps;
        const double above = total();
        x.Item<double>(i) = at - eps;
        out.push_back((above - total()) / (2 * eps));
        x.Item<double>(i) = at;
    }
    return out;
}

TEST(RefSoftmax, HasTheRightGradient) {
    const Dims sizes = {2, 300, 2};
    const Tensor x = F64(sizes, Wave(1200)), g = F64(sizes, Wave(1200, 1.3));
    for (bool log : {false, true}) {
        const KernelFn forward = log ? ref_log_softmax : ref_softmax;
        const Tensor y = F64(sizes, Make(forward, TN_F64, sizes, {x}));
        const Numbers want =
            Slope(x, g.Read(), [&](const Tensor &t) { return Make(forward, TN_F64, sizes, {t}); });
        ExpectNear(Make(log ? ref_log_softmax_bwd : ref_softmax_bwd, TN_F64, sizes, {g, y}), want,
                   1e-6);
    }
}

struct Norm {
    Tensor y, mean, rstd;
};

tn_value Ints(const Dims &list) {
    return tn_value_ints({list.data(), static_cast<int64_t>(list.size())});
}

Norm LayerNorm(const Tensor &x, const Dims &shape, const Tensor *w, const Tensor *b) {
    const int64_t rows = Count(x.sizes) / Count(shape);
    Norm n = {F64(x.sizes), F64({rows, 1}), F64({rows, 1})};
    Call c;
    c.In(x).In(Ints(shape));
    w ? c.In(*w) : c.In(tn_value_none());
    b ? c.In(*b) : c.In(tn_value_none());
    EXPECT_EQ(c.In(tn_float(1e-5)).Out(n.y).Out(n.mean).Out(n.rstd)(ref_layer_norm), TN_OK);
    return n;
}

TEST(RefLayerNorm, NormalisesRowsOfAnyStrides) {
    const Tensor x = F64({2, 2}, {1, 10, 3, 30}).View({2, 2}, {1, 2}), w = F64({2}, {1, 2}),
                 b = F64({2}, {0, 5});
    const Norm n = LayerNorm(x, {2}, &w, &b);
    ExpectNear(n.mean.Read(), {2, 20});
    ExpectNear(n.rstd.Read(), {1 / std::sqrt(1 + 1e-5), 1 / std::sqrt(100 + 1e-5)}, 1e-15);
    const double r = 1 / std::sqrt(1 + 1e-5), s = 10 / std::sqrt(100 + 1e-5);
    ExpectNear(n.y.Read(), {-r, 2 * r + 5, -s, 2 * s + 5}, 1e-14);
}

TEST(RefLayerNorm, HasTheRightGradients) {
    const Dims sizes = {3, 2, 150}, shape = {2, 150};
    const Tensor x = F64(sizes, Wave(900)), w = F64(shape, Wave(300, 0.4)),
                 b = F64(shape, Wave(300, 0.2));
    const Tensor g = F64(sizes, Wave(900, 1.9)), dx = F64(sizes), dw = F64(shape), db = F64(shape);
    const Norm n = LayerNorm(x, shape, &w, &b);
    Call c;
    c.In(g)
        .In(x)
        .In(w)
        .In(n.mean)
        .In(n.rstd)
        .In(Ints(shape))
        .In(tn_float(1e-5))
        .Out(dx)
        .Out(dw)
        .Out(db);
    ASSERT_EQ(c(ref_layer_norm_bwd), TN_OK);
    const Numbers weights = g.Read();
    ExpectNear(
        dx.Read(),
        Slope(x, weights, [&](const Tensor &t) { return LayerNorm(t, shape, &w, &b).y.Read(); }),
        1e-6);
    ExpectNear(
        dw.Read(),
        Slope(w, weights, [&](const Tensor &t) { return LayerNorm(x, shape, &t, &b).y.Read(); }),
        1e-6);
    ExpectNear(
        db.Read(),
        Slope(b, weights, [&](const Tensor &t) { return LayerNorm(x, shape, &w, &t).y.Read(); }),
        1e-6);
}

// ---- Sort, index, optimizer ---------------------------------------------------------------------

struct Sorted {
    Numbers values, indices;
};

Sorted Sort(const Tensor &x, bool descending) {
    const Tensor values(x.dtype, x.sizes), indices = I64(x.sizes);
    Call c;
    c.In(x).In(tn_int(1)).In(tn_bool(descending)).Out(values).Out(indices);
    EXPECT_EQ(c(ref_sort, ref_sort_plan), TN_OK) << c.text;
    return {values.Read(), indices.Read()};
}

TEST(RefSort, IsStableBothWaysWithNanLargest) {
    const Tensor x = F32({1, 7, 1}, {2, kNan, -1, 2, 0, -0.0, -kInf});
    Sorted s = Sort(x, false);
    ExpectNear(s.values, {-kInf, -1, 0, 0, 2, 2, kNan});
    ExpectNear(s.indices, {6, 2, 4, 5, 0, 3, 1});
    s = Sort(x, true);
    ExpectNear(s.values, {kNan, 2, 2, 0, 0, -1, -kInf});
    ExpectNear(s.indices, {1, 0, 3, 4, 5, 2, 6});
    ExpectNear(Sort(I64({1, 3, 1}, {0, -0x1p63, 0x1p62}), true).indices, {2, 0, 1});
    ExpectNear(Sort(F32({0, 3, 1}), false).values, {});
    ExpectNear(Sort(F32({2, 0, 1}), false).values, {});
}

TEST(RefSort, SortsEveryLineOfManyWhateverTheOrderOfChunks) {
    Numbers numbers;
    for (int i = 0; i < 37 * 2000 * 3; i++) numbers.push_back(i * 7919 % 23);
    const Tensor x(TN_I16, {37, 2000, 3}, numbers);
    for (Order each : {kForwards, kBackwards, kThreads}) {
        order = each;
        const Sorted s = Sort(x, false);
        for (size_t o = 0; o < 37; o++)
            for (size_t i = 0; i < 3; i++)
                for (size_t k = 0; k < 2000; k++) {
                    const size_t at = (o * 2000 + k) * 3 + i;
                    ASSERT_EQ(s.values[at],
                              numbers[(o * 2000 + static_cast<size_t>(s.indices[at])) * 3 + i]);
                    if (k == 0) continue;
                    ASSERT_LE(s.values[at - 3], s.values[at]);
                    if (s.values[at - 3] == s.values[at]) {
                        ASSERT_LT(s.indices[at - 3], s.indices[at]);
                    }
                }
    }
    order = kForwards;
}

TEST(RefGather, TakesElementsOfAnyStrides) {
    const Tensor x = F32({2, 3}, {0, 1, 2, 3, 4, 5}), index = I64({2, 2}, {2, 0, 1, 1}),
                 y = F32({2, 2});
    Call along_1, along_0, scalar;
    along_1.In(x).In(tn_int(1)).In(index).Out(y);
    ASSERT_EQ(along_1(ref_gather), TN_OK);
    ExpectNear(y.Read(), {2, 0, 4, 4});
    along_0.In(x.View({3, 2}, {-1, -3}, 5)).In(tn_int(0)).In(index).Out(y);
    ASSERT_EQ(along_0(ref_gather), TN_OK);
    ExpectNear(y.Read(), {3, 2, 4, 1});
    const Tensor one = F32({});
    scalar.In(F32({}, {9})).In(tn_int(0)).In(I64({}, {0})).Out(one);
    ASSERT_EQ(scalar(ref_gather), TN_OK);
    ExpectNear(one.Read(), {9});
}

TEST(RefGather, NamesTheFirstIndexOutOfRange) {
    const Tensor x = F32({2, 3}), y = F32({2, 2});
    for (double wrong : {3.0, -1.0}) {
        Call c;
        c.In(x).In(tn_int(1)).In(I64({2, 2}, {2, 0, wrong, 7})).Out(y);
        EXPECT_EQ(c(ref_gather), TN_ERR_INDEX);
        EXPECT_EQ(c.text, "gather: index[1, 0] is " + std::to_string(static_cast<int>(wrong)) +
                              ", must be at least 0 and below 3");
    }
}

TEST(RefScatterAdd, AddsInDoubleAndRoundsOnce) {
    const Tensor x = F32({1, 2}, {0x1p25, 5}), src = F32({1, 4}, {1, 1, -0x1p25, 9}),
                 y = F32({1, 2});
    Call c, ints, in_place;
    c.In(x).In(tn_int(1)).In(I64({1, 3}, {0, 0, 0})).In(src).Out(y);
    ASSERT_EQ(c(ref_scatter_add, ref_scatter_plan), TN_OK);
    ExpectNear(y.Read(), {2, 5});
    const Tensor z = I8({2, 2}), store = I8({2, 2}, {1, 2, 3, 4}),
                 turned = store.View({2, 2}, {1, 2});
    ints.In(I8({2, 2}, {100, 0, 0, 0}))
        .In(tn_int(0))
        .In(I64({2, 1}, {0, 0}))
        .In(I8({2, 1}, {100, 1}))
        .Out(z);
    ASSERT_EQ(ints(ref_scatter_add, ref_scatter_plan), TN_OK);
    ExpectNear(z.Read(), {-55, 0, 0, 0});
    in_place.In(turned).In(tn_int(0)).In(I64({1, 2}, {1, 0})).In(I8({1, 2}, {10, 20})).Out(turned);
    ASSERT_EQ(in_place(ref_scatter_add, ref_scatter_plan), TN_OK);
    ExpectNear(store.Read(), {1, 12, 23, 4});
}

TEST(RefScatterAdd, ChecksEveryIndexBeforeWriting) {
    const Tensor x = F32({3}, {1, 2, 3});
    Call c;
    c.In(x).In(tn_int(0)).In(I64({2}, {0, 3})).In(F32({2}, {1, 1})).Out(x);
    EXPECT_EQ(c(ref_scatter_add, ref_scatter_plan), TN_ERR_INDEX);
    EXPECT_EQ(c.text, "scatter_add: index[1] is 3, must be at least 0 and below 3");
    ExpectNear(x.Read(), {1, 2, 3});
}

TEST(RefNonzero, CountsAndLists) {
    const Tensor x = F32({2, 3}, {0, 1, kNan, 0, -2, 0});
    ExpectNear(Make(ref_nonzero_count, TN_I64, {}, {x}), {3});
    ExpectNear(Make(ref_nonzero_count, TN_I64, {}, {F32({0, 3})}), {0});
    ExpectNear(Make(ref_nonzero_count, TN_I64, {}, {Bool({}, {1})}), {1});
    ExpectNear(Make(ref_nonzero_count, TN_I64, {}, {I8({100000}, {1, 0})}), {50000});
    const Tensor y = I64({3, 2}), none = I64({1, 0});
    Call c, scalar;
    ASSERT_EQ(c.In(x).In(tn_int(3)).Out(y)(ref_nonzero_fill), TN_OK);
    ExpectNear(y.Read(), {0, 1, 0, 2, 1, 1});
    EXPECT_EQ(scalar.In(F32({}, {4})).In(tn_int(1)).Out(none)(ref_nonzero_fill), TN_OK);
    for (int64_t wrong : {2, 4}) {
        Call w;
        EXPECT_EQ(w.In(x).In(tn_int(wrong)).Out(I64({wrong, 2}))(ref_nonzero_fill), TN_ERR_INVALID);
        EXPECT_NE(w.text.find("3 elements are not 0"), std::string::npos) << w.text;
    }
}

TEST(RefSgd, StepsEveryParameter) {
    const Tensor p = F64({2}, {1, 2}), q = F64({1}, {3}), gp = F64({2}, {0.5, 1}),
                 gq = F64({1}, {-1});
    const Tensor mp = F64({2}, {0.1, 0}), mq = F64({1}, {2});
    Call c;
    c.In({&p, &q})
        .In({&gp, &gq})
        .In({&mp, &mq})
        .In(tn_float(0.1))
        .In(tn_float(0.9))
        .In(tn_float(0.01))
        .In(tn_float(0))
        .In(tn_bool(false))
        .In(tn_bool(false));
    ASSERT_EQ(c(ref_sgd_), TN_OK) << c.text;
    ExpectNear(mp.Read(), {0.9 * 0.1 + (0.5 + 0.01), 1 + 0.01 * 2}, 1e-15);
    ExpectNear(p.Read(), {1 - 0.1 * (0.09 + 0.51), 2 - 0.1 * 1.02}, 1e-15);
    ExpectNear(mq.Read(), {1.8 + (-1 + 0.03)}, 1e-15);
    Call plain;
    const std::vector<const Tensor *> nothing;
    plain.In({&q}).In({&gq}).In(nothing).In(tn_float(1)).In(tn_float(0)).In(tn_float(0));
    plain.In(tn_float(0)).In(tn_bool(false)).In(tn_bool(false));
    const double before = q.Read()[0];
    ASSERT_EQ(plain(ref_sgd_), TN_OK) << plain.text;
    ExpectNear(q.Read(), {before + 1});
}

TEST(RefSgd, RefusesListsThatDoNotMatch) {
    const Tensor p = F32({2}, {1}), g = F32({3}, {1});
    const std::vector<const Tensor *> none, one = {&p}, other = {&g};
    const tn_value number = tn_float(0.5);
    const auto step = [&](const std::vector<const Tensor *> &grads, double momentum) {
        Call c;
        c.In(one).In(grads).In(none).In(number).In(tn_float(momentum)).In(number);
        return c.In(number).In(tn_bool(false)).In(tn_bool(false))(ref_sgd_);
    };
    EXPECT_EQ(step(none, 0), TN_ERR_INVALID);
    EXPECT_EQ(step(other, 0), TN_ERR_SHAPE);
    EXPECT_EQ(step(one, 0.5), TN_ERR_INVALID);
    ExpectNear(p.Read(), {1, 1});
}

} // namespace
