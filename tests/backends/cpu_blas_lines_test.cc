// cpu_blas_lines_test.cc - losses, norms and optimizers of cpu_blas,
// called directly, against plain loops in double.
// SPDX-License-Identifier: Apache-2.0
#include "tests/backends/cpu_blas_call.h"

#include <deque>

namespace {

EVERY_SET(CpuBlas);

// ---- cross_entropy, layer_norm ----

TEST_P(CpuBlas, CrossEntropyAndItsBackwardEqualPlainLoops) {
    for (int64_t C : {1, 3, 17, 200}) {
        const int64_t N = 401;
        const size_t classes = static_cast<size_t>(C);
        auto x = random_values<float>(N * C, 7, 3);
        std::vector<int64_t> t(static_cast<size_t>(N));
        for (size_t i = 0; i < t.size(); i++) t[i] = static_cast<int64_t>(i * 7919 % classes);
        float loss = 0, first = 0, g = 0.5f;
        std::vector<float> dx(x.size());
        Tensor vx(x.data(), {N, C}), vt(t.data(), {N}), vl(&loss, {}), vg(&g, {}),
            vdx(dx.data(), {N, C});
        for (int32_t threads : {1, 2, 7}) {
            Call c;
            c.threads = threads, c.args = {vx.value(), vt.value()}, c.outs = {vl.value()};
            ASSERT_EQ(c.run(Row("cross_entropy").run), TN_OK);
            if (threads == 1) first = loss;
            EXPECT_EQ(first, loss);
            c.args = {vg.value(), vx.value(), vt.value()}, c.outs = {vdx.value()};
            ASSERT_EQ(c.run(Row("cross_entropy_bwd").run), TN_OK);
        }
        double want = 0;
        for (size_t r = 0; r < t.size(); r++) {
            double sum = 0;
            for (size_t i = 0; i < classes; i++)
                sum += std::exp(static_cast<double>(x[r * classes + i]));
            want += std::log(sum) - static_cast<double>(x[r * classes + static_cast<size_t>(t[r])]);
            for (size_t i = 0; i < classes; i++) {
                const double p = std::exp(static_cast<double>(x[r * classes + i])) / sum;
                EXPECT_NEAR(static_cast<double>(dx[r * classes + i]),
                            0.5 / static_cast<double>(N) * (p - (static_cast<int64_t>(i) == t[r])),
                            2e-9);
            }
        }
        EXPECT_NEAR(static_cast<double>(loss), want / static_cast<double>(N), 1e-6);
    }
}

TEST_P(CpuBlas, CrossEntropyNamesTheFirstTargetOutOfRange) {
    const float x[6] = {1, 2, 3, 4, 5, 6};
    const int64_t t[3] = {1, 2, -1};
    float loss;
    Tensor vx(x, {3, 2}), vt(t, {3}), vl(&loss, {});
    Call c;
    c.args = {vx.value(), vt.value()}, c.outs = {vl.value()};
    EXPECT_EQ(c.run(Row("cross_entropy").run), TN_ERR_INDEX);
    EXPECT_NE(call_failure.find("target[1] is 2"), std::string::npos) << call_failure;
}

TEST_P(CpuBlas, LayerNormAndItsBackwardEqualPlainLoops) {
    for (int64_t n : {1, 5, 16, 33, 300}) {
        const int64_t R = 9;
        const size_t N = static_cast<size_t>(n);
        auto x = random_values<float>(R * n, 8, 3), w = random_values<float>(n, 9),
             b = random_values<float>(n, 10);
        auto g = random_values<float>(R * n, 11);
        std::vector<float> y(x.size()), dx(x.size()), mean(9), rstd(9), dw(N), db(N);
        Tensor vx(x.data(), {R, n}), vw(w.data(), {n}), vb(b.data(), {n}), vg(g.data(), {R, n});
        Tensor vy(y.data(), {R, n}), vdx(dx.data(), {R, n}), vm(mean.data(), {R, 1}),
            vr(rstd.data(), {R, 1});
        Tensor vdw(dw.data(), {n}), vdb(db.data(), {n});
        const int64_t shape[1] = {n};
        Call c;
        c.args = {vx.value(), tn_value_ints({shape, 1}), vw.value(), vb.value(), tn_float(1e-5)};
        c.outs = {vy.value(), vm.value(), vr.value()}, c.threads = 3;
        ASSERT_EQ(c.answer(Row("layer_norm").supports), TN_YES);
        ASSERT_EQ(c.run(Row("layer_norm").run), TN_OK);
        c.args = {vg.value(),    vx.value(), vw.value(),
                  vm.value(),    vr.value(), tn_value_ints({shape, 1}),
                  tn_float(1e-5)};
        c.outs = {vdx.value(), vdw.value(), vdb.value()};
        ASSERT_EQ(c.run(Row("layer_norm_bwd").run), TN_OK);
        std::vector<double> want_w(N), want_b(N);
        for (size_t r = 0; r < 9; r++) {
            double m = 0, v = 0, q1 = 0, q2 = 0;
            const float *row = &x[r * N], *grad = &g[r * N];
            for (size_t i = 0; i < N; i++)
                m += static_cast<double>(row[i]) / static_cast<double>(n);
            for (size_t i = 0; i < N; i++)
                v += std::pow(static_cast<double>(row[i]) - m, 2) / static_cast<double>(n);
            const double s = 1 / std::sqrt(v + 1e-5);
            for (size_t i = 0; i < N; i++) {
                const double h = (static_cast<double>(row[i]) - m) * s,
                             q = static_cast<double>(grad[i]) * static_cast<double>(w[i]);
                EXPECT_NEAR(static_cast<double>(y[r * N + i]),
                            h * static_cast<double>(w[i]) + static_cast<double>(b[i]), 1e-4);
                q1 += q / static_cast<double>(n), q2 += q * h / static_cast<double>(n);
                want_w[i] += static_cast<double>(grad[i]) * h,
                    want_b[i] += static_cast<double>(grad[i]);
            }
            for (size_t i = 0; i < N; i++) {
                const double h = (static_cast<double>(row[i]) - m) * s,
                             q = static_cast<double>(grad[i]) * static_cast<double>(w[i]);
                EXPECT_NEAR(static_cast<double>(dx[r * N + i]), s * (q - q1 - h * q2),
                            1e-3 * (1 + s));
            }
        }
        for (size_t i = 0; i < N; i++) {
            EXPECT_NEAR(static_cast<double>(dw[i]), want_w[i], 1e-4);
            EXPECT_NEAR(static_cast<double>(db[i]), want_b[i], 1e-5);
        }
    }
}

// ---- Optimizers ----

// Three parameters, one of them empty, and lists of tensors alike.
struct Lists {
    const Sizes counts = {17, 0, 70001};
    std::vector<std::vector<float>> data;
    std::deque<Tensor> tensors;
    std::deque<std::vector<const tn_view *>> views;

    tn_value add(uint64_t seed, bool positive = false) {
        views.emplace_back();
        for (const int64_t n : counts) {
            data.push_back(random_values<float>(n, seed++));
            for (float &x : data.back()) x = positive ? std::fabs(x) : x;
        }
        for (size_t i = data.size() - counts.size(); i < data.size(); i++) {
            tensors.emplace_back(data[i].data(), Sizes{counts[i % counts.size()]});
            views.back().push_back(&tensors.back().view);
        }
        return list(static_cast<uint32_t>(counts.size()));
    }
    tn_value list(uint32_t n) const {
        tn_value v = tn_value_none();
        v.tag = TN_TAG_VIEWS, v.aux = n, v.views = views.back().data();
        return v;
    }
};

// x[k][e]: element e of list k's tensors, joined.
std::vector<std::vector<double>> joined(const Lists &lists) {
    std::vector<std::vector<double>> out;
    for (size_t i = 0; i < lists.data.size(); i++) {
        if (i % lists.counts.size() == 0) out.emplace_back();
        out.back().insert(out.back().end(), lists.data[i].begin(), lists.data[i].end());
    }
    return out;
}

TEST_P(CpuBlas, SgdUpdatesParametersAndMomentaOfEveryTensor) {
    for (const bool nesterov : {false, true}) {
        Lists lists;
        Call c;
        c.threads = 2;
        const double damp = nesterov ? 0 : 0.5;
        c.args = {lists.add(14),  lists.add(15),     lists.add(16),
                  tn_float(0.1),  tn_float(0.9),     tn_float(0.01),
                  tn_float(damp), tn_bool(nesterov), tn_bool(nesterov)};
        const auto old = joined(lists);
        ASSERT_EQ(c.answer(Row("sgd_").supports), TN_YES);
        ASSERT_EQ(c.plan_and_run(Row("sgd_").plan, Row("sgd_").run), TN_OK);
        const auto now = joined(lists);
        for (size_t i = 0; i < old[0].size(); i++) {
            const double d = (nesterov ? -1 : 1) * old[1][i] + 0.01 * old[0][i];
            const double m = 0.9 * old[2][i] + (1 - damp) * d;
            ASSERT_NEAR(now[2][i], m, 1e-6) << i;
            ASSERT_NEAR(now[0][i], old[0][i] - 0.1 * (nesterov ? d + 0.9 * m : m), 1e-6) << i;
        }
        c.args[2] = lists.list(0);
        EXPECT_EQ(c.plan_and_run(Row("sgd_").plan, Row("sgd_").run), TN_ERR_INVALID);
        c.args[4] = tn_float(0), c.args[6] = tn_float(0), c.args[7] = tn_bool(false);
        ASSERT_EQ(c.plan_and_run(Row("sgd_").plan, Row("sgd_").run), TN_OK);
        const auto last = joined(lists);
        for (size_t i = 0; i < old[0].size(); i++) {
            const double d = (nesterov ? -1 : 1) * old[1][i] + 0.01 * now[0][i];
            ASSERT_NEAR(last[0][i], now[0][i] - 0.1 * d, 1e-6) << i;
        }
    }
}

TEST_P(CpuBlas, AdamAndAdamWUpdateParametersAndStatesOfEveryTensor) {
    for (const bool decoupled : {false, true})
        for (const bool amsgrad : {false, true}) {
            Lists lists;
            Call c;
            c.threads = 2;
            const double lr = 0.1, b1 = 0.9, b2 = 0.99, eps = 1e-8, decay = 0.05, t = 3;
            c.args = {lists.add(14), lists.add(17), lists.add(20), lists.add(23, true)};
            c.args.push_back(lists.add(26, true));
            if (!amsgrad) c.args.back().aux = 0;
            for (const double x : {lr, t, b1, b2, eps, decay}) c.args.push_back(tn_float(x));
            c.args.push_back(tn_bool(true));
            const auto old = joined(lists);
            ASSERT_EQ(c.answer(Row("adam_").supports), TN_YES);
            ASSERT_EQ(c.plan_and_run(Row("sgd_").plan, Row(decoupled ? "adamw_" : "adam_").run),
                      TN_OK);
            const auto now = joined(lists);
            for (size_t i = 0; i < old[0].size(); i++) {
                const double p = old[0][i], d = -old[1][i] + (decoupled ? 0 : decay * p);
                const double m = b1 * old[2][i] + (1 - b1) * d;
                const double v = b2 * old[3][i] + (1 - b2) * d * d;
                const double most = amsgrad ? std::max(v, old[4][i]) : v;
                const double root = std::sqrt(most / (1 - std::pow(b2, t)));
                const double step = lr / (1 - std::pow(b1, t)) * m / (root + eps);
                ASSERT_NEAR(now[2][i], m, 1e-6) << i;
                ASSERT_NEAR(now[3][i], v, 1e-6) << i;
                ASSERT_NEAR(now[4][i], amsgrad ? most : old[4][i], 1e-6) << i;
                ASSERT_NEAR(now[0][i], p * (decoupled ? 1 - lr * decay : 1) - step,
                            1e-6 * (1 + std::fabs(step)))
                    << i;
            }
            c.args[6] = tn_float(0);
            EXPECT_EQ(c.plan_and_run(Row("sgd_").plan, Row("adam_").run), TN_ERR_INVALID);
        }
}

} // namespace
