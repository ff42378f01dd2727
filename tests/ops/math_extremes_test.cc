// math_extremes_test.cc - norms, sums, means and spreads at the ends of what a dtype holds.
// SPDX-License-Identifier: Apache-2.0
#include "tests/ops/math_extremes.h"

namespace {

// ---- Squares and powers beyond the range ------------------------------------------------------

std::vector<double> scales_of(const Type &t) {
    switch (t.dtype.bits) {
    case 64:
        return {1e200, 1e-200, 1e300, 1e-300};
    case 32:
        return {1e30, 1e-30, 1e37, 1e-36, 1e20, 1e-20};
    default:
        return t.max < 1e5 ? Numbers{5e3, 1e-3, 6e-5} : Numbers{1e30, 1e-30, 1e20};
    }
}

void check_norm(const Type &t, const Numbers &list, double p) {
    tn_tensor *x = param(of(t, list));
    const Numbers have = read(x);
    long double sum = 0;
    for (double v : have) sum += std::pow(std::fabs(static_cast<long double>(v)), p);
    const double want = static_cast<double>(std::pow(sum, 1 / static_cast<long double>(p)));
    if (want > t.max) return;
    SCOPED_TRACE(testing::Message() << "p " << p << " of " << have[0]);
    tn_tensor *y = norm(x, p);
    expect_close(read(y), {want}, 6 * t.eps);
    ASSERT_EQ(tn_backward(y), TN_OK) << tn_error_message();
    Numbers slope;
    for (double v : have) slope.push_back(std::copysign(std::pow(std::fabs(v) / want, p - 1), v));
    expect_close(read(tn_grad_of(x)), slope, (8 + std::fabs(p)) * t.eps);
}

TEST_F(Extremes, NormsOfLargeAndTinyNumbersAreRightWithTheirGradients) {
    for_every_type([](const Type &t) {
        for (const double scale : scales_of(t))
            for (const double p : {2.0, 3.0, 1.0, 0.5, -1.5, 2.5, 10.0})
                check_norm(t, scaled({1, -3, 4}, scale), p);
    });
}

TEST_F(Extremes, NormsOfZerosAndInfinitiesStayWhatTheyAre) {
    for_every_type([](const Type &t) {
        EXPECT_EQ(read(tn_norm(of(t, {0, 0}), nullptr)), Numbers{0});
        EXPECT_EQ(read(tn_norm(of(t, {1, -kInf}), nullptr)), Numbers{kInf});
        EXPECT_TRUE(std::isnan(read(tn_norm(of(t, {1, NAN}), nullptr))[0]));
        EXPECT_EQ(read(tn_norm(of(t, {3, 4}), nullptr)), Numbers{5});
    });
}

TEST_F(Extremes, NormsAlongEachDimOfManyRowsAreRight) {
    for_every_type([](const Type &t) {
        const double scale = scales_of(t)[0];
        tn_tensor *x = tn_mul(of(t, {1, 2, 2, 4}, {2, 2}), of(t, {scale}));
        tn_norm_opts opts = {};
        const int64_t first = 0, last = 1;
        opts.dim = {&first, 1};
        expect_close(read(tn_norm(x, &opts)), scaled({std::sqrt(5.), std::sqrt(20.)}, scale),
                     6 * t.eps);
        opts.dim = {&last, 1};
        expect_close(read(tn_norm(x, &opts)), scaled({std::sqrt(5.), std::sqrt(20.)}, scale),
                     6 * t.eps);
    });
}

TEST_F(Extremes, SlicesAndGradientsWithANormBeyondTheirDtypeAreScaledDown) {
    for_every_type([](const Type &t) {
        const double big = t.max * 0.9;
        tn_tensor *x = of(t, {big, big, big, big}, {1, 4});
        if (t.dtype.bits < 64)
            expect_close(read(tn_renorm(x, 2, 0, 1)), {0.5, 0.5, 0.5, 0.5}, 4 * t.eps);
        if (t.dtype.bits > 16 && t.dtype.bits < 64) return;
        tn_tensor *g = of(t, scaled({1, 3, 4}, scales_of(t)[0]));
        tn_tensor *const list[] = {g};
        ASSERT_NE(tn_clip_grad_norm_({list, 1}, 1, nullptr), nullptr) << tn_error_message();
        const double norm = std::sqrt(26.);
        expect_close(read(g), {1 / norm, 3 / norm, 4 / norm}, 8 * t.eps);
    });
}

TEST_F(Extremes, NormsOfOneLargestNumberAreThatNumber) {
    for_every_type([](const Type &t) {
        for (const double p : {2.0, 3.0}) {
            tn_tensor *x = param(of(t, {0, -t.max, 0})), *y = norm(x, p);
            expect_close(read(y), {t.max}, 4 * t.eps);
            ASSERT_EQ(tn_backward(y), TN_OK) << tn_error_message();
            expect_close(read(tn_grad_of(x)), {0, -1, 0}, 8 * t.eps);
        }
    });
}

TEST_F(Extremes, NormsOfNumbersFarApartHaveTheirGradients) {
    static const Type &t = kTypes[2];
    on_each_provider([] {
        for (const double p : {0.75, 1.25, 3.0}) {
            tn_tensor *x = param(of(t, {1e30, -1e-36}));
            ASSERT_EQ(tn_backward(norm(x, p)), TN_OK) << tn_error_message();
            expect_close(read(tn_grad_of(x)), {1, -rounded(t, std::pow(1e-66, p - 1))}, 1e-5);
        }
    });
}

TEST_F(Extremes, VectorsWithANormBeyondTheirDtypeHaveAnAngle) {
    for_every_type([](const Type &t) {
        tn_tensor *x = of(t, {t.max, t.max, t.max, -t.max}, {2, 2});
        tn_tensor *one = tn_cosine_similarity(x, x, nullptr);
        expect_close(read(one), {1, 1}, 4 * t.eps);
        EXPECT_EQ(read(tn_cosine_similarity(x, tn_flip(x, ints({0})), nullptr)), (Numbers{0, 0}));
    });
}

TEST_F(Extremes, GradientsWithATotalNormBeyondTheirDtypeAreScaledDown) {
    on_each_provider([] {
        const Type &t = kTypes[2];
        tn_tensor *a = of(t, {t.max}), *b = of(t, {-t.max});
        tn_tensor *total = tn_clip_grad_norm_(tensors({a, b}), t.max / 2, nullptr);
        EXPECT_EQ(read(total), Numbers{kInf}); /* in their dtype */
        expect_close(read(a), {t.max / std::sqrt(8.)}, 4 * t.eps);
        expect_close(read(b), {-t.max / std::sqrt(8.)}, 4 * t.eps);
    });
}

// ---- Sums beyond the range --------------------------------------------------------------------

TEST_F(Extremes, MeansOfTheLargestNumbersAreThoseNumbers) {
    for_every_type([](const Type &t) {
        const double x = rounded(t, t.max * 0.9);
        EXPECT_EQ(read(tn_mean(of(t, {x, x, x}))), Numbers{x});
        EXPECT_EQ(read(tn_mean_dim(of(t, {x, x, x, x}, {2, 2}), ints({0}), nullptr)),
                  (Numbers{x, x}));
        EXPECT_EQ(read(tn_mean(of(t, {x, -x, x, -x}))), Numbers{0});
        expect_close(read(tn_nanmean(of(t, {x, NAN, x, x}), nullptr)), {x}, 2 * t.eps);
        EXPECT_EQ(read(tn_sum(of(t, {x, x, -x}))), Numbers{x});
        EXPECT_EQ(read(tn_mean(of(t, {x, kInf}))), Numbers{kInf});
        EXPECT_TRUE(std::isnan(read(tn_mean(of(t, {kInf, -kInf})))[0]));
    });
}

TEST_F(Extremes, MeansOfManyRowsOfTheLargestNumbersAreThoseNumbers) {
    on_each_provider([] {
        for (const Shape &sizes : {Shape{3, 70000}, Shape{70000, 3}, Shape{40, 300}})
            for (const int64_t dim : {0, 1}) {
                tn_tensor *y = tn_mean_dim(full(sizes, 1e308), ints({dim}), nullptr);
                for (double v : numbers(y)) ASSERT_NEAR(v, 1e308, 1e294);
            }
    });
}

TEST_F(Extremes, MeansOfTheLargestLossesAreThoseLosses) {
    for_every_type([](const Type &t) {
        const double x = rounded(t, t.max * 0.9);
        tn_tensor *target = tn_zeros(ints({3}), TN_I64), *zeros = of(t, {0, 0, 0}, {3, 1});
        tn_tensor *rows = of(t, {-x, 0, -x, 0, -x, 0}, {3, 2});
        EXPECT_EQ(read(tn_nll_loss(rows, target, nullptr)), Numbers{x});
        EXPECT_EQ(read(tn_cross_entropy(rows, target, nullptr)), Numbers{x});
        tn_nll_loss_opts two = {};
        two.weight = of(t, {0.5, 0.25});
        EXPECT_EQ(read(tn_nll_loss(rows, target, &two)), Numbers{x});
        tn_kl_div_opts batch = {};
        batch.reduction = "batchmean";
        tn_tensor *loss = tn_kl_div(of(t, {-x, -x, -x}, {3, 1}), tn_exp(zeros), &batch);
        expect_close(read(loss), {x}, 2 * t.eps);
    });
}

TEST_F(Extremes, MeansHaveTheGradientOfTheirShare) {
    for_every_type([](const Type &t) {
        tn_tensor *x = param(of(t, {1, 2, 3, 4}, {2, 2}));
        ASSERT_EQ(tn_backward(tn_sum(tn_mean_dim(x, ints({1}), nullptr))), TN_OK);
        EXPECT_EQ(read(tn_grad_of(x)), (Numbers{0.5, 0.5, 0.5, 0.5}));
        tn_tensor *y = param(of(t, {1, NAN, 2, NAN}));
        ASSERT_EQ(tn_backward(tn_mul(tn_nanmean(y, nullptr), of(t, {t.max}, {1}))), TN_OK);
        EXPECT_EQ(read(tn_grad_of(y)), (Numbers{t.max / 2, 0, t.max / 2, 0}));
    });
}

TEST_F(Extremes, ProductsThatLeaveTheRangeOnTheirWayAreRight) {
    for_every_type([](const Type &t) {
        const double m = std::ldexp(1, std::ilogb(t.max));
        const auto check = [&](const Numbers &list, double want) {
            const int64_t n = static_cast<int64_t>(list.size());
            EXPECT_EQ(read(tn_prod(of(t, list))), Numbers{want});
            tn_tensor *columns = tn_expand(of(t, list, {n, 1}), ints({n, 3}));
            EXPECT_EQ(read(tn_prod_dim(columns, ints({0}), nullptr)), (Numbers{want, want, want}));
        };
        check({m, 0, m}, 0);
        check({m, m, 0, m, m, m}, 0);
        check({m, m, 4 / m, 4 / m, 3}, 48);
        check({4 / m, 4 / m, 4 / m, m, m, m}, 64);
        Numbers many(15, m);
        many[9] = 0;
        check(many, 0);
        many[8] = kInf;
        EXPECT_TRUE(std::isnan(read(tn_prod(of(t, many)))[0]));
    });
}

// ---- Spread -----------------------------------------------------------------------------------

TEST_F(Extremes, DeviationsOfLargeAndTinyNumbersAreRightWithTheirGradients) {
    for_every_type([](const Type &t) {
        for (const double scale : scales_of(t)) {
            tn_tensor *x = param(of(t, scaled({1, 2, 3}, scale)));
            const Numbers v = read(x);
            SCOPED_TRACE(scale);
            tn_tensor *y = tn_std(x, nullptr);
            expect_close(read(y), {(v[2] - v[0]) / 2}, 64 * t.eps);
            ASSERT_EQ(tn_backward(y), TN_OK);
            const Numbers g = read(tn_grad_of(x));
            EXPECT_NEAR(g[0], -0.5, 64 * t.eps);
            EXPECT_NEAR(g[1], 0, 64 * t.eps);
            EXPECT_NEAR(g[2], 0.5, 64 * t.eps);
        }
    });
}

TEST_F(Extremes, DeviationsWiderThanTheRangeHaveTheirGradients) {
    for_every_type([](const Type &t) {
        const double m = t.max;
        tn_tensor *x = param(of(t, {m, m, -m, m, m, m})), *z = param(of(t, {m, m, -m, m, m, m}));
        tn_tensor *y = tn_std(x, nullptr);
        expect_close(read(y), {m * std::sqrt(2. / 3)}, 4 * t.eps);
        ASSERT_EQ(tn_backward(y), TN_OK) << tn_error_message();
        const double d = 1 / (15 * std::sqrt(2. / 3));
        expect_close(read(tn_grad_of(x)), {d, d, -5 * d, d, d, d}, 16 * t.eps);
        if (t.dtype.bits == 64) return;
        ASSERT_EQ(tn_backward(tn_mul(tn_var(z, nullptr), of(t, {0.5}, {1}))), TN_OK);
        expect_close(read(tn_grad_of(z)), scaled({1, 1, -5, 1, 1, 1}, m / 15), 4 * t.eps);
    });
}

// Numbers m, m + step ... whose mean the dtype cannot hold.
struct Far {
    const Type &t;
    double m, step;
};

const Far kFar[] = {{kTypes[0], 2048, 2},
                    {kTypes[1], 256, 2},
                    {kTypes[2], 1e7, 1},
                    {kTypes[2], 1e6, 1},
                    {kTypes[3], 1e15, 1}};

void for_every_far(const std::function<void(const Far &)> &body) {
    for (const Far &f : kFar) {
        SCOPED_TRACE(testing::Message() << f.t.name << " at " << f.m);
        body(f);
    }
}

tn_tensor *far_row(const Far &f, int64_t rows = 1) {
    Numbers list;
    for (int64_t i = 0; i < 4 * rows; i++)
        list.push_back(f.m + static_cast<double>(i % 4) * f.step);
    return of(f.t, list, {rows, 4});
}

TEST_F(Extremes, VariancesFarFromZeroAreRightWithTheirGradients) {
    on_each_provider([] {
        for_every_far([](const Far &f) {
            tn_tensor *x = param(far_row(f));
            tn_tensor *y = tn_var(x, nullptr);
            const double want = 5.0 / 3 * f.step * f.step;
            expect_close(read(y), {want}, 2 * f.t.eps);
            ASSERT_EQ(tn_backward(y), TN_OK);
            expect_close(read(tn_grad_of(x)), scaled({-1, -1. / 3, 1. / 3, 1}, f.step),
                         8 * f.t.eps);
            tn_tensor *z = param(far_row(f));
            ASSERT_EQ(tn_backward(tn_std(z, nullptr)), TN_OK);
            const double slope = 1 / (3 * std::sqrt(5. / 3));
            expect_close(read(tn_grad_of(z)), scaled({-1.5, -0.5, 0.5, 1.5}, slope), 8 * f.t.eps);
        });
    });
}

const double kStep = std::sqrt(1 / 1.25);
const Numbers kNormal = {-1.5 * kStep, -0.5 * kStep, 0.5 * kStep, 1.5 * kStep};

tn_tensor *normalise(tn_tensor *x, tn_tensor *w = nullptr, double eps = 1e-5) {
    tn_layer_norm_opts opts = {};
    opts.w = w, opts.eps = {eps, true};
    return tn_layer_norm(x, ints({4}), &opts);
}

TEST_F(Extremes, LayerNormFarFromZeroKeepsItsMean) {
    on_each_provider([] {
        for_every_far([](const Far &f) {
            for (const int64_t rows : {1, 5}) {
                Numbers want;
                for (int64_t r = 0; r < rows; r++)
                    want.insert(want.end(), kNormal.begin(), kNormal.end());
                expect_close(read(normalise(far_row(f, rows))), want, 1e-5 + 4 * f.t.eps);
            }
        });
    });
}

// What layer_norm's backward gives for numbers close to 0, it gives for the same ones far away.
TEST_F(Extremes, LayerNormsGradientsFarFromZeroAreThoseNearIt) {
    on_each_provider([] {
        for_every_far([](const Far &f) {
            Numbers grads[2][2];
            for (int far = 0; far < 2; far++) {
                const Far here = {far ? f.t : kTypes[3], far ? f.m : 0, f.step};
                tn_tensor *x = param(far_row(here, 3));
                tn_tensor *w = param(of(here.t, {1, 2, -1, 0.5}));
                tn_tensor *up = of(here.t, {1, 2, 4, 8, 0, 1, 0, 0, -1, 1, 2, 1}, {3, 4});
                ASSERT_EQ(tn_backward(tn_sum(tn_mul(normalise(x, w), up))), TN_OK);
                grads[far][0] = read(tn_grad_of(x)), grads[far][1] = read(tn_grad_of(w));
            }
            // A mean of f64 is kept as f64: at 1e15 to 1/16.
            const double tolerance = f.t.dtype.bits == 64 ? 1e-6 : 8 * f.t.eps;
            for (int k = 0; k < 2; k++)
                for (size_t i = 0; i < grads[0][k].size(); i++)
                    EXPECT_NEAR(grads[1][k][i], grads[0][k][i],
                                tolerance * (4 + std::fabs(grads[0][k][i])))
                        << k << " at " << i;
        });
    });
}

// x and what comes back scaled alike leave x's gradient as it is, and scale w's.
TEST_F(Extremes, LayerNormsGradientsOfTheLargestNumbersAreThoseOfSmallOnes) {
    for_every_type([](const Type &t) {
        Numbers grads[2][2];
        for (const bool large : {false, true}) {
            const Type &here = large ? t : kTypes[3];
            const double scale = large ? std::ldexp(1, std::ilogb(t.max)) : 1;
            tn_tensor *x = param(of(here, scaled({1, -1, 0.5, 1.5}, scale), {1, 4}));
            tn_tensor *w = param(of(here, {1, 2, -1, 0.5}));
            tn_tensor *up = of(here, scaled({1, -1, 0.25, 0.5}, scale));
            ASSERT_EQ(tn_backward(tn_sum(tn_mul(normalise(x, w, 0), up))), TN_OK);
            grads[large][0] = read(tn_grad_of(x));
            grads[large][1] = scaled(read(tn_grad_of(w)), 1 / scale);
        }
        for (const int k : {0, 1}) expect_close(grads[1][k], grads[0][k], 16 * t.eps);
    });
}

TEST_F(Extremes, LayerNormOfLargeAndTinyNumbersIsRight) {
    for_every_type([](const Type &t) {
        for (double scale : scales_of(t)) {
            if (scale > t.max / 4) continue;
            SCOPED_TRACE(scale);
            tn_tensor *x = of(t, scaled({0, 1, 2, 3}, scale), {1, 4});
            const Numbers v = read(x);
            long double mean = 0, squares = 0;
            for (double a : v) mean += a / 4.0L;
            for (double a : v) squares += (a - mean) * (a - mean);
            for (const double eps : {1e-5, 0.0}) {
                Numbers want;
                for (double a : v)
                    want.push_back(static_cast<double>((a - mean) / std::sqrt(squares / 4 + eps)));
                expect_close(read(normalise(x, nullptr, eps)), want, 6 * t.eps);
            }
        }
    });
}

} // namespace
