// math_half_test.cc - what 16-bit floats promise: a result is rounded once, from f32 or wider. Numbers
// beside them keep their precision, sums and products on the way do not leave their range.
// Runs on every provider. SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <cmath>

namespace {

class Half : public Tenon {
  protected:
    // f(dtype) for both 16-bit dtypes, on each provider.
    template <typename F> void everywhere(F f) {
        on_each_provider([&] {
            for (const tn_dtype dtype : {TN_F16, TN_BF16}) {
                SCOPED_TRACE(tn_dtype_name(dtype));
                f(dtype);
            }
        });
    }
};

tn_tensor *in(tn_dtype dtype, const Numbers &list, const Shape &sizes) {
    return tn_to(from(list, sizes), dtype);
}
tn_tensor *in(tn_dtype dtype, const Numbers &list) {
    return in(dtype, list, {static_cast<int64_t>(list.size())});
}

// The elements of a 16-bit tensor, and of numbers rounded once to its dtype.
Numbers values(tn_tensor *t) { return numbers(tn_to(t, TN_F64)); }
Numbers rounded(tn_dtype dtype, const Numbers &list) { return values(in(dtype, list)); }

::testing::AssertionResult gives(tn_tensor *t, tn_dtype dtype, const Numbers &wanted) {
    if (!t) return ::testing::AssertionFailure() << tn_error_message();
    if (!tn_dtype_is(tn_dtype_of(t), dtype))
        return ::testing::AssertionFailure() << "is " << tn_dtype_name(tn_dtype_of(t));
    if (values(t) == rounded(dtype, wanted)) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << ::testing::PrintToString(values(t)) << ", wanted "
                                         << ::testing::PrintToString(rounded(dtype, wanted));
}

// ---- Numbers --------------------------------------------------------------------------------

TEST_F(Half, NumbersBesideItKeepTheirPrecision) {
    everywhere([](tn_dtype d) {
        EXPECT_TRUE(gives(tn_mul(in(d, {0.5}), number(65536)), d, {32768}));
        EXPECT_TRUE(gives(tn_mul(number(65536), in(d, {0.5})), d, {32768}));
        EXPECT_TRUE(gives(tn_div(in(d, {1000}), number(65536)), d, {1000 / 65536.}));
        EXPECT_TRUE(gives(tn_mul(in(d, {9, 7, 3}), number(0.1)), d, {0.9, 0.7, 0.3}));
        EXPECT_TRUE(gives(tn_sub(number(0.1), in(d, {9})), d, {-8.9}));
        EXPECT_TRUE(gives(tn_lerp(in(d, {1}), in(d, {-1.5}), number(0.4)), d, {1 - 0.4f * 2.5}));
        EXPECT_TRUE(gives(tn_atan2(in(d, {9}), number(0.1)), d, {std::atan2(9, 0.1f)}));
        EXPECT_TRUE(gives(tn_pow(in(d, {3}), number(0.1)), d, {std::pow(3, 0.1f)}));
    });
}

TEST_F(Half, TensorsWithoutDimsThatGiveWayKeepTheirPrecision) {
    everywhere([](tn_dtype d) {
        for (const tn_dtype scale : {TN_F32, TN_F64}) {
            tn_tensor *x = in(d, {0.5, 0.25, 4});
            EXPECT_TRUE(gives(tn_mul(x, full({}, 65536, scale)), d, {32768, 16384, 262144}));
            EXPECT_TRUE(gives(tn_mul_(x, full({}, 0.1, scale)), d, {0.05, 0.025, 0.4}));
        }
        EXPECT_TRUE(gives(tn_div(in(d, {1000}), full({}, 100003, TN_I64)), d, {1000 / 100003.}));
    });
}

TEST_F(Half, NumbersInPlaceKeepTheirPrecision) {
    everywhere([](tn_dtype d) {
        tn_tensor *x = in(d, {0.5, 0.25, 9}, {1, 3});
        EXPECT_TRUE(
            gives(tn_mul_(tn_transpose(x, 0, 1), number(65536)), d, {32768, 16384, 589824}));
        EXPECT_TRUE(gives(tn_mul_(in(d, {9}), number(0.1)), d, {0.9}));
    });
}

TEST_F(Half, NumbersArePickedAndComparedAsElements) {
    everywhere([](tn_dtype d) {
        tn_tensor *x = in(d, {0.1});
        tn_tensor *yes = tn_eq(x, number(0.1));
        ASSERT_NE(yes, nullptr) << tn_error_message();
        EXPECT_EQ(values(yes), Numbers{1}) << "a number is compared in x's dtype, as in PyTorch";
        EXPECT_TRUE(gives(tn_where(yes, number(0.7), x), d, {0.7}));
        EXPECT_TRUE(gives(tn_maximum(x, number(0.7)), d, {0.7}));
    });
}

TEST_F(Half, ALossScaleReachesTheGradient) {
    everywhere([](tn_dtype d) {
        tn_tensor *x = param(in(d, {1e-4, 2e-4}));
        ASSERT_EQ(tn_backward(tn_sum(tn_mul(tn_mul(x, number(65536)), number(0x1p-18)))), TN_OK)
            << tn_error_message();
        EXPECT_TRUE(gives(tn_grad_of(x), d, {0.25, 0.25}));
    });
}

// ---- Gradients ------------------------------------------------------------------------------

// d/dx of f at x, times g.
template <typename F> tn_tensor *gradient(tn_dtype d, const Numbers &x, const Numbers &g, F f) {
    tn_tensor *leaf = param(in(d, x));
    tn_backward_opts opts = {};
    opts.grad = in(d, g);
    EXPECT_EQ(tn_backward_with(f(leaf), &opts), TN_OK) << tn_error_message();
    return tn_grad_of(leaf);
}

TEST_F(Half, GradientsOfSeveralStepsAreRoundedOnce) {
    everywhere([](tn_dtype d) {
        const Numbers x = rounded(d, {0.999, -0.7, 0.3}), g = rounded(d, {3, 0.7, 1.1});
        Numbers asin_slope, log_slope, square_slope;
        for (size_t i = 0; i < x.size(); i++) {
            asin_slope.push_back(g[i] / std::sqrt(1 - x[i] * x[i]));
            square_slope.push_back(g[i] * 2 * x[i]);
            log_slope.push_back(g[i] / (2.302585092994046 * std::fabs(x[i])));
        }
        EXPECT_TRUE(gives(gradient(d, x, g, tn_asin), d, asin_slope));
        EXPECT_TRUE(gives(gradient(d, x, g, tn_square), d, square_slope));
        const Numbers positive = {std::fabs(x[0]), std::fabs(x[1]), std::fabs(x[2])};
        EXPECT_TRUE(gives(gradient(d, positive, g, tn_log10), d, log_slope));
    });
}

// ---- Sums and means -------------------------------------------------------------------------

TEST_F(Half, MeansOfManyRowsAreFinite) {
    everywhere([](tn_dtype d) {
        for (const int64_t n : {INT64_C(70000), INT64_C(16384)}) {
            tn_tensor *x = full({n, 2}, -8, d), *target = tn_zeros(ints({n}), TN_I64);
            tn_tensor *weight = full({2}, 0.5, d);
            tn_nll_loss_opts weighted = {};
            weighted.weight = weight;
            EXPECT_TRUE(gives(tn_nll_loss(x, target, nullptr), d, {8}));
            EXPECT_TRUE(gives(tn_nll_loss(x, target, &weighted), d, {8}));
            tn_cross_entropy_opts opts = {};
            opts.weight = weight;
            for (const double smoothing : {0.0, 0.25}) {
                opts.label_smoothing = smoothing;
                EXPECT_TRUE(gives(tn_cross_entropy(x, target, &opts), d, {std::log(2)}));
            }
            EXPECT_TRUE(gives(tn_mse_loss(x, full({n, 2}, -6, d), nullptr), d, {4}));
            EXPECT_TRUE(gives(tn_l1_loss(x, full({n, 2}, -6, d), nullptr), d, {2}));
        }
    });
}

TEST_F(Half, GradientsOfMeansOfManyRowsAreRoundedOnce) {
    const int64_t n = 70000;
    everywhere([](tn_dtype d) {
        tn_tensor *x = param(full({n}, 3, d)), *target = full({n}, 1, d);
        ASSERT_EQ(tn_backward(tn_mul(tn_mse_loss(x, target, nullptr), number(1000))), TN_OK)
            << tn_error_message();
        EXPECT_TRUE(gives(tn_slice(tn_grad_of(x), nullptr), d, Numbers(n, 4000. / n)));
        tn_tensor *p = param(full({n}, 0.5, d));
        ASSERT_EQ(tn_backward(tn_mul(tn_binary_cross_entropy(p, target, nullptr), number(1000))),
                  TN_OK)
            << tn_error_message();
        EXPECT_TRUE(gives(tn_grad_of(p), d, Numbers(n, -2000. / n)));
    });
}

TEST_F(Half, LossesRoundOnce) {
    everywhere([](tn_dtype d) {
        const double x = values(in(d, {-7.949}))[0], t = values(in(d, {-3.033}))[0];
        tn_huber_loss_opts opts = {};
        opts.delta = {8.698, true};
        EXPECT_TRUE(
            gives(tn_huber_loss(in(d, {x}), in(d, {t}), &opts), d, {(x - t) * (x - t) / 2}));
        const double a = values(in(d, {1.7}))[0], b = values(in(d, {-0.3}))[0];
        const double loss = (std::log1p(std::exp(-a)) + std::log1p(std::exp(b))) / 2;
        EXPECT_TRUE(gives(
            tn_multilabel_soft_margin_loss(in(d, {a, b}, {1, 2}), in(d, {1, 0}, {1, 2}), nullptr),
            d, {loss}));
    });
}

TEST_F(Half, CosinesOfLongAndOfZeroVectorsAreRight) {
    everywhere([](tn_dtype d) {
        tn_cosine_similarity_opts opts = {};
        opts.dim = {0, true};
        tn_tensor *x = full({500}, 500, d), *zero = full({3}, 0, d);
        EXPECT_TRUE(gives(tn_cosine_similarity(x, x, &opts), d, {1}));
        EXPECT_TRUE(gives(tn_cosine_similarity(zero, zero, &opts), d, {0}));
    });
}

// ---- Products -------------------------------------------------------------------------------

TEST_F(Half, ProductsAreRoundedAfterWhatIsAddedToThem) {
    everywhere([](tn_dtype d) {
        tn_linear_opts bias = {};
        bias.b = in(d, {-2048});
        EXPECT_TRUE(
            gives(tn_linear(in(d, {1, 1}, {1, 2}), in(d, {2048, 1}, {1, 2}), &bias), d, {1}));
        bias.b = in(d, {-60000});
        const double c = values(bias.b)[0], f = values(in(d, {300}))[0];
        EXPECT_TRUE(
            gives(tn_linear(in(d, {f}, {1, 1}), in(d, {f}, {1, 1}), &bias), d, {f * f + c}));
        tn_addmm_opts opts = {};
        opts.alpha = tn_float(1e-3);
        tn_tensor *thousand = in(d, {1000}, {1, 1}), *zero = in(d, {0}, {1, 1});
        EXPECT_TRUE(gives(tn_addmm(zero, thousand, thousand, &opts), d, {1000}));
        tn_addmv_opts mv = {};
        mv.alpha = tn_float(1e-3);
        EXPECT_TRUE(gives(tn_addmv(in(d, {0}), thousand, in(d, {1000}), &mv), d, {1000}));
        tn_baddbmm_opts bmm = {};
        bmm.alpha = tn_float(1e-3);
        tn_tensor *cube = in(d, {1000}, {1, 1, 1});
        EXPECT_TRUE(gives(tn_baddbmm(in(d, {0}, {1, 1, 1}), cube, cube, &bmm), d, {1000}));
    });
}

} // namespace
