// math_edges_test.cc - activations and derivatives at the edges of every float dtype: at infinity the
// limit, at NaN what PyTorch has, and slopes whose formulas would overflow, underflow or cancel.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/op_walk.h"

#include "modules/math/math_ops.h"

namespace {

class MathEdges : public Tenon {};

constexpr double inf = INFINITY;

struct Format {
    tn_dtype dtype;
    double max, tiny; // largest; smallest normal
    double precision; // a few roundings, relative
};
const Format formats[] = {{TN_F64, 0x1.fffffffffffffp1023, 0x1p-1022, 1e-13},
                          {TN_F32, 0x1.fffffep127, 0x1p-126, 2e-6},
                          {TN_BF16, 0x1.fep127, 0x1p-126, 4e-2},
                          {TN_F16, 65504, 0x1p-14, 5e-3}};

tn_tensor *in(tn_dtype dtype, const Numbers &numbers) { return tn_to(from(numbers), dtype); }
Numbers read(tn_tensor *t) { return numbers(t ? tn_to(t, TN_F64) : nullptr); }

using Function = tn_tensor *(*)(tn_tensor *);

Numbers slope_of(Function f, tn_dtype dtype, const Numbers &at) {
    tn_tensor *x = param(in(dtype, at));
    EXPECT_EQ(tn_backward(tn_sum(f(x))), TN_OK) << tn_error_message();
    return read(tn_grad_of(x));
}

// The second derivative, by recording the first.
Numbers bend_of(Function f, tn_dtype dtype, const Numbers &at) {
    tn_tensor *x = param(in(dtype, at)), *first = nullptr, *second = nullptr;
    const tn_backward_opts again = {nullptr, true, true};
    EXPECT_EQ(tn_backward_wrt(tensors({tn_sum(f(x))}), tensors({x}), {nullptr, 0}, &again, &first),
              TN_OK)
        << tn_error_message();
    if (!tn_requires_grad(first)) return Numbers(at.size(), 0);
    EXPECT_EQ(
        tn_backward_wrt(tensors({tn_sum(first)}), tensors({x}), {nullptr, 0}, nullptr, &second),
        TN_OK)
        << tn_error_message();
    return second ? read(second) : Numbers(at.size(), 0);
}

tn_tensor *gelu(tn_tensor *x) { return tn_gelu(x, nullptr); }
tn_tensor *gelu_tanh(tn_tensor *x) {
    tn_gelu_opts opts = {};
    opts.approximate = "tanh";
    return tn_gelu(x, &opts);
}
tn_tensor *softplus(tn_tensor *x) { return tn_softplus(x, nullptr); }
tn_tensor *elu(tn_tensor *x) { return tn_elu(x, nullptr); }
tn_tensor *celu(tn_tensor *x) { return tn_celu(x, nullptr); }
tn_tensor *hardtanh(tn_tensor *x) { return tn_hardtanh(x, nullptr); }
tn_tensor *hardshrink(tn_tensor *x) { return tn_hardshrink(x, nullptr); }
tn_tensor *softshrink(tn_tensor *x) { return tn_softshrink(x, nullptr); }
tn_tensor *leaky(tn_tensor *x, double slope) {
    tn_leaky_relu_opts opts = {};
    opts.negative_slope = {slope, true};
    return tn_leaky_relu(x, &opts);
}
tn_tensor *leaky_flat(tn_tensor *x) { return leaky(x, 0); }
tn_tensor *leaky_down(tn_tensor *x) { return leaky(x, -1); }

const struct Activation {
    const char *name;
    Function f;
    double low, high;             // at -inf and inf; "x" is infinite itself
    double slope_low, slope_high; // there
} activations[] = {
    {"relu", tn_relu, 0, inf, 0, 1},
    {"relu6", tn_relu6, 0, 6, 0, 0},
    {"hardtanh", hardtanh, -1, 1, 0, 0},
    {"leaky_relu of slope 0", leaky_flat, 0, inf, 0, 1},
    {"leaky_relu of slope -1", leaky_down, inf, inf, -1, 1},
    {"sigmoid", tn_sigmoid, 0, 1, 0, 0},
    {"tanh", tn_tanh, -1, 1, 0, 0},
    {"logsigmoid", tn_logsigmoid, -inf, 0, 1, 0},
    {"softplus", softplus, 0, inf, 0, 1},
    {"gelu", gelu, 0, inf, 0, 1},
    {"gelu by tanh", gelu_tanh, 0, inf, 0, 1},
    {"silu", tn_silu, 0, inf, 0, 1},
    {"mish", tn_mish, 0, inf, 0, 1},
    {"elu", elu, -1, inf, 0, 1},
    {"celu", celu, -1, inf, 0, 1},
    {"selu", tn_selu, -1.7580993408473766, inf, 0, 1.0507009873554805},
    {"hardsigmoid", tn_hardsigmoid, 0, 1, 0, 0},
    {"hardswish", tn_hardswish, 0, inf, 0, 1},
    {"softsign", tn_softsign, -1, 1, 0, 0},
    {"tanhshrink", tn_tanhshrink, -inf, inf, 1, 1},
    {"hardshrink", hardshrink, -inf, inf, 1, 1},
    {"softshrink", softshrink, -inf, inf, 1, 1},
};

void expect_near(const Numbers &have, const Numbers &want, double precision, const char *what) {
    ASSERT_EQ(have.size(), want.size()) << what;
    for (size_t i = 0; i < have.size(); i++) {
        if (have[i] == want[i]) continue;
        EXPECT_LE(std::fabs(have[i] - want[i]), precision * std::max(std::fabs(want[i]), 1e-300))
            << what << ", element " << i << ": " << have[i] << " for " << want[i];
    }
}

// ---- Activations ------------------------------------------------------------------------------

TEST_F(MathEdges, ActivationsHaveTheirLimitsAtInfinity) {
    on_each_provider([] {
        for (const Format &f : formats)
            for (const Activation &a : activations) {
                SCOPED_TRACE(std::string(a.name) + " " + tn_dtype_name(f.dtype));
                expect_near(read(a.f(in(f.dtype, {-inf, inf}))), {a.low, a.high}, f.precision, "y");
                expect_near(slope_of(a.f, f.dtype, {-inf, inf}), {a.slope_low, a.slope_high},
                            f.precision, "slope");
                expect_near(bend_of(a.f, f.dtype, {-inf, inf}), {0, 0}, 0, "second");
            }
    });
}

// What is largest is as good as infinite, whole vectors of it and what is left over.
TEST_F(MathEdges, SlopesReachTheirLimitsBeforeTheLargestNumber) {
    on_each_provider([] {
        for (const Format &f : formats)
            for (const Activation &a : activations)
                for (const double share : {1.0, 0.5, 1e-3}) {
                    SCOPED_TRACE(std::string(a.name) + " " + tn_dtype_name(f.dtype));
                    const Numbers low(19, -f.max * share), high(19, f.max * share);
                    const double least = 1e-3; // softsign's slope in 16 bits
                    for (const double s : slope_of(a.f, f.dtype, low))
                        EXPECT_NEAR(s, a.slope_low, least);
                    for (const double s : slope_of(a.f, f.dtype, high))
                        EXPECT_NEAR(s, a.slope_high, least + f.precision);
                    for (const double s : bend_of(a.f, f.dtype, {-f.max * share, f.max * share}))
                        EXPECT_NEAR(s, 0, least);
                }
    });
}

TEST_F(MathEdges, ActivationsAreSmoothAtTinyNumbers) {
    on_each_provider([] {
        for (const Format &f : formats)
            for (const Activation &a : activations)
                for (const double at : {f.tiny, -f.tiny, f.tiny / 4, -f.tiny / 4}) {
                    SCOPED_TRACE(std::string(a.name) + " " + tn_dtype_name(f.dtype));
                    EXPECT_TRUE(std::isfinite(read(a.f(in(f.dtype, {at})))[0]));
                    EXPECT_TRUE(std::isfinite(slope_of(a.f, f.dtype, {at})[0]));
                }
    });
}

TEST_F(MathEdges, ACeluOfTinyAlphaHasItsSlopes) {
    on_each_provider([] {
        tn_celu_opts opts = {};
        for (const Format &f : formats)
            for (const double alpha : {1e-30, 1e-60}) {
                opts.alpha = {alpha, true};
                tn_tensor *x = param(in(f.dtype, {-1, 0, 2}));
                ASSERT_EQ(tn_backward(tn_sum(tn_celu(x, &opts))), TN_OK) << tn_error_message();
                EXPECT_EQ(read(tn_grad_of(x)), (Numbers{0, 1, 1})) << tn_dtype_name(f.dtype);
            }
    });
}

// PyTorch's own kernels differ between a run of many and a single number: this is the latter.
TEST_F(MathEdges, GradientsAtNanArePyTorchs) {
    const struct {
        Function f;
        double slope;
    } cases[] = {{hardtanh, 1},   {tn_relu6, 1},   {tn_hardsigmoid, 0},
                 {hardshrink, 1}, {softshrink, 1}, {tn_relu, 1}};
    on_each_provider([&] {
        for (const Format &f : formats)
            for (const auto &c : cases)
                for (const double s : slope_of(c.f, f.dtype, Numbers(37, NAN)))
                    EXPECT_EQ(s, c.slope) << tn_dtype_name(f.dtype) << " case " << &c - cases;
    });
}

// Over all rows, those of gradients among them: where one provider has a NaN, so has the other.
TEST_F(MathEdges, ProvidersAgreeAtTheEdges) {
    const std::vector<std::string> exempt = {
        "cross_entropy_bwd",            // an infinite gradient: infinite, or infinite less itself
        "dropout",                      // infinities of 16-bit and f32 elements
        "layer_norm", "layer_norm_bwd", // squares of the largest numbers
    };
    for (const Op &op : all_ops())
        for (const Format &f : formats) {
            if (op.schema.variable != 'F' || op.schema.mutates || op.twin || op.info.no_grad)
                continue;
            if (std::find(exempt.begin(), exempt.end(), op.name) != exempt.end()) continue;
            const double most = f.max / 256; // sums of a sample do not overflow on their way
            std::vector<Outcome> seen[2];
            for (int p = 0; p < 2; p++) {
                ASSERT_EQ(tn_use_provider(p ? "cpu_blas" : "cpu_ref"), TN_OK);
                for (const double edge : {inf, -inf, double(NAN), most, -most, f.tiny, 0.0}) {
                    const tn_scope scope = tn_scope_push();
                    Args args = sample(op, 0, f.dtype);
                    std::vector<std::vector<tn_tensor *>> lists;
                    if (!args.status && op.schema.params[0].type == TNI_TENSOR &&
                        op.schema.params[0].variable == 'F') {
                        tn_tensor *x = args.values[0].tensor;
                        args.values[0].tensor = tn_full_like(x, tn_float(edge));
                        seen[p].push_back(outcome(op, args.values));
                    }
                    tn_clear_error();
                    tn_scope_pop(scope);
                }
            }
            ASSERT_EQ(seen[0].size(), seen[1].size());
            for (size_t i = 0; i < seen[0].size(); i++) {
                ASSERT_EQ(seen[0][i].status, seen[1][i].status) << op.name << seen[0][i].text;
                for (size_t r = 0; r < seen[0][i].results.size(); r++) {
                    const Contents &a = seen[0][i].results[r], &b = seen[1][i].results[r];
                    for (size_t k = 0; k < a.count(); k++)
                        EXPECT_EQ(std::isnan(a[k]), std::isnan(b[k]))
                            << op.name << " " << tn_dtype_name(f.dtype) << " edge " << i
                            << " result " << r << " element " << k << ": " << a[k] << " and "
                            << b[k];
                }
            }
        }
    tn_use_provider(nullptr);
}

// ---- Derivatives ------------------------------------------------------------------------------

TEST_F(MathEdges, TheAngleHasItsSlopeNearAndFarFromTheOrigin) {
    on_each_provider([] {
        for (const Format &f : formats) {
            const bool narrow = f.max < 1e6;
            const double near = narrow ? 1e-4 : 1e-30, far = narrow ? 1e4 : 1e30;
            tn_tensor *a = param(in(f.dtype, {0, 0, near, far, inf, 1, inf}));
            tn_tensor *b = param(in(f.dtype, {0, -0.0, near, far, 1, -inf, inf}));
            ASSERT_EQ(tn_backward(tn_sum(tn_atan2(a, b))), TN_OK) << tn_error_message();
            const Numbers want = {0, 0, 0.5 / near, 0.5 / far, 0, 0, 0};
            expect_near(read(tn_grad_of(a)), want, f.precision, "a");
            Numbers minus;
            for (const double w : want) minus.push_back(-w);
            expect_near(read(tn_grad_of(b)), minus, f.precision, "b");
        }
    });
}

TEST_F(MathEdges, TheLogarithmOfNothingHasNoGradient) {
    on_each_provider([] {
        for (const Format &f : formats) {
            const int64_t last = 1;
            tn_tensor *x = param(tn_to(from({-inf, -inf, -inf, 0, -inf, 0}, {2, 3}), f.dtype));
            ASSERT_EQ(tn_backward(tn_sum(tn_logsumexp(x, {&last, 1}, nullptr))), TN_OK);
            expect_near(read(tn_grad_of(x)), {0, 0, 0, 0.5, 0, 0.5}, f.precision, "x");
        }
    });
}

TEST_F(MathEdges, InverseFunctionsHaveTheirSlopesAtLargeNumbers) {
    on_each_provider([] {
        for (const Format &f : formats) {
            const double far = f.max / 8;
            expect_near(slope_of(tn_asinh, f.dtype, {far, -far, inf}), {1 / far, 1 / far, 0},
                        f.precision, "asinh");
            expect_near(slope_of(tn_acosh, f.dtype, {far, inf}), {1 / far, 0}, f.precision,
                        "acosh");
            expect_near(slope_of(tn_atan, f.dtype, {300, -300, inf}), {1 / 90001.0, 1 / 90001.0, 0},
                        3 * f.precision, "atan");
        }
    });
}

TEST_F(MathEdges, InverseFunctionsHaveTheirSlopesNearTheEndsOfTheirDomains) {
    on_each_provider([] {
        for (const Format &f : {formats[0], formats[1]}) {
            for (const double near : {0.9999, 0.99999}) {
                const double at = read(in(f.dtype, {near}))[0];
                const double above = read(in(f.dtype, {2 - near}))[0];
                const double root = 1 / std::sqrt((1 - at) * (1 + at));
                expect_near(slope_of(tn_asin, f.dtype, {at, -at}), {root, root}, f.precision,
                            "asin");
                expect_near(slope_of(tn_acos, f.dtype, {at, -at}), {-root, -root}, f.precision,
                            "acos");
                expect_near(slope_of(tn_atanh, f.dtype, {at, -at}), {root * root, root * root},
                            f.precision, "atanh");
                expect_near(slope_of(tn_acosh, f.dtype, {above}),
                            {1 / std::sqrt((above - 1) * (above + 1))}, f.precision, "acosh");
            }
        }
    });
}

TEST_F(MathEdges, TheDeviationOfTinyNumbersHasAUnitSlope) {
    on_each_provider([] {
        tn_tensor *x = param(from({1e-150, 2e-150, 4e-150}));
        ASSERT_EQ(tn_backward(tn_mul(tn_std(x, nullptr), full({}, 1e-200))), TN_OK);
        const Numbers d = grad(x);
        EXPECT_NEAR(d[0] / 1e-200, -0.4364357804719848, 1e-12);
        EXPECT_NEAR(d[2] / 1e-200, 0.5455447255899809, 1e-12);
        x = param(in(TN_F16, {1e-6, 2e-6, 4e-6}));
        ASSERT_EQ(tn_backward(tn_std(x, nullptr)), TN_OK) << tn_error_message();
        EXPECT_NEAR(read(tn_grad_of(x))[2], 0.55, 0.05);
    });
}

} // namespace
