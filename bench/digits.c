/* digits.c - the digits example on both providers: how good, how fast, how alike.
 *
 * Five seeds each; the same seed twice must give the same bits; and from equal weights, both
 * providers' loss and gradients are compared on every tenth step of a training run.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/tenon.h>

#include <math_ops.h>

#include "bench/harness.h"
#include "examples/digits/data.h"
#include "examples/digits/digits.h"

enum { SEEDS = 5, STEPS = 300, EVERY = 10, BATCH = 64, HIDDEN = 128, PARAMS = 4 };

static const char *const providers[] = {"cpu_blas", "cpu_ref"};

/* ---- Whole runs ------------------------------------------------------------------------------ */

static bool train(const char *data, const char *provider, uint64_t seed, const char *file,
                  digits_result *out) {
    const digits_opts opts = {.data = data, .checkpoint = file, .provider = provider, .seed = seed};
    return digits_run(&opts, out) == TN_OK;
}

static bool add_runs(bench_report *r, const char *data, const char *file, int k) {
    static const char *const names[2][3] = {
        {"digits, cpu_blas: test accuracy", "digits, cpu_blas: accuracy after reloading",
         "digits, cpu_blas: training of 30 epochs"},
        {"digits, cpu_ref: test accuracy", "digits, cpu_ref: accuracy after reloading",
         "digits, cpu_ref: training of 30 epochs"}};
    bench_row rows[3];
    for (int i = 0; i < 3; i++)
        rows[i] = (bench_row){.name = names[k][i],
                              .unit = i < 2 ? "%" : "s",
                              .error = NAN,
                              .goal = NAN,
                              .more_is_better = i < 2,
                              .note = "five seeds"};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        digits_result d;
        if (!train(data, providers[k], seed, file, &d)) return false;
        const double values[3] = {100 * d.accuracy, 100 * d.reloaded_accuracy, d.seconds};
        for (int i = 0; i < 3; i++) rows[i].stat.samples[rows[i].stat.n++] = values[i];
    }
    for (int i = 0; i < 3; i++) bench_summarise(&rows[i].stat), bench_report_add(r, &rows[i]);
    return true;
}

/* ---- The same bits again --------------------------------------------------------------------- */

static char *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    char *bytes = f ? malloc(1 << 20) : NULL;
    *n = bytes ? fread(bytes, 1, 1 << 20, f) : 0;
    if (f) fclose(f);
    return bytes;
}

static bool add_repeat(bench_report *r, const char *data, const char *file, int k) {
    static const char *const names[] = {"digits, cpu_blas: same seed, differing bytes",
                                        "digits, cpu_ref: same seed, differing bytes"};
    size_t n[2];
    char *bytes[2] = {NULL, NULL};
    digits_result d[2];
    bool ok = true;
    for (int i = 0; i < 2 && ok; i++) {
        ok = train(data, providers[k], 7, file, &d[i]);
        bytes[i] = ok ? read_file(file, &n[i]) : NULL;
    }
    if (ok && bytes[0] && bytes[1]) {
        double differing = n[0] == n[1] ? 0 : 1;
        for (size_t i = 0; i < n[0] && i < n[1]; i++) differing += bytes[0][i] != bytes[1][i];
        if (memcmp(&d[0].loss, &d[1].loss, sizeof(double)) != 0) differing += sizeof(double);
        bench_row row = {.name = names[k], .unit = "B", .goal = NAN, .error = differing};
        row.note = "of the checkpoints and the loss; must be 0";
        row.stat.samples[row.stat.n++] = differing;
        bench_summarise(&row.stat), bench_report_add(r, &row);
        ok = differing == 0;
    }
    free(bytes[0]), free(bytes[1]);
    return ok;
}

/* ---- Step by step ---------------------------------------------------------------------------- */

static tn_tensor *loss_of(tn_tensor *const *w, const digits_set *batch) {
    tn_tensor *h = tn_relu(tn_linear(batch->pixels, w[0], &(tn_linear_opts){.b = w[1]}));
    tn_tensor *y = tn_linear(h, w[2], &(tn_linear_opts){.b = w[3]});
    return tn_cross_entropy(y, batch->labels, NULL);
}

static double step_with(const char *provider, tn_tensor *const *w, const digits_set *batch,
                        tn_tensor **grads) {
    tn_use_provider(provider);
    tn_tensor *loss = loss_of(w, batch);
    tn_backward_wrt((tn_tensors){&loss, 1}, (tn_tensors){w, PARAMS}, (tn_tensors){NULL, 0}, NULL,
                    grads);
    tn_use_provider(NULL);
    return tn_item(loss);
}

static double norm(tn_tensor *x) { return sqrt(tn_item(tn_sum(tn_mul(x, x)))); }

typedef struct worst {
    double loss, gradient;
} worst;

static void compare(tn_tensor *const *w, const digits_set *batch, worst *out) {
    tn_tensor *a[PARAMS] = {NULL}, *b[PARAMS] = {NULL};
    const double la = step_with("cpu_blas", w, batch, a), lb = step_with("cpu_ref", w, batch, b);
    out->loss = fmax(out->loss, fabs(la - lb) / fmax(1, lb));
    for (int i = 0; i < PARAMS && !tn_error(); i++)
        out->gradient = fmax(out->gradient, norm(tn_sub(a[i], b[i])) / norm(b[i]));
}

static digits_set batch_at(const digits_set *all, int step) {
    const int64_t at = (int64_t)step * BATCH % (all->n - BATCH);
    const tn_slice_opts opts = {.start = TN_SET(at), .end = TN_SET(at + BATCH)};
    return (digits_set){tn_slice(all->pixels, &opts), tn_slice(all->labels, &opts), BATCH};
}

static void make_network(tn_generator *rng, tn_tensor **w, tn_tensor **momenta) {
    const int64_t sizes[PARAMS][2] = {
        {HIDDEN, DIGITS_PIXELS}, {HIDDEN}, {DIGITS_CLASSES, HIDDEN}, {DIGITS_CLASSES}};
    for (int i = 0; i < PARAMS; i++) {
        const double bound = 1 / sqrt(i < 2 ? DIGITS_PIXELS : HIDDEN);
        w[i] = tn_uniform((tn_ints){sizes[i], i % 2 ? 1 : 2},
                          &(tn_uniform_opts){.low = -bound, .high = TN_SET(bound), .rng = rng});
        momenta[i] = tn_zeros_like(w[i]);
        tn_set_requires_grad(w[i], true);
    }
}

static void descend(tn_tensor *const *w, tn_tensor *const *momenta, const digits_set *batch) {
    tn_tensor *grads[PARAMS] = {NULL};
    step_with(NULL, w, batch, grads);
    const bool recorded = tn_set_grad_enabled(false);
    tn_sgd_((tn_tensors){w, PARAMS}, (tn_tensors){grads, PARAMS}, (tn_tensors){momenta, PARAMS},
            0.1, &(tn_sgd_opts){.momentum = 0.9});
    tn_set_grad_enabled(recorded);
}

static bool add_steps(bench_report *r, const char *data) {
    tn_tensor *w[PARAMS], *momenta[PARAMS];
    worst far = {0, 0};
    digits_set all;
    tn_generator *rng = tn_generator_new(1);
    if (digits_read(data, &all)) return false;
    make_network(rng, w, momenta);
    for (int step = 0; step < STEPS && !tn_error(); step++) {
        const tn_scope scope = tn_scope_push();
        const digits_set batch = batch_at(&all, step);
        if (step % EVERY == 0) compare(w, &batch, &far);
        descend(w, momenta, &batch);
        tn_scope_pop(scope);
    }
    tn_generator_free(rng);
    bench_row loss = {.name = "step: difference of loss / max(1, loss)",
                      .unit = "",
                      .goal = 1e-6,
                      .error = far.loss,
                      .note = "worst of every 10th of 300 steps"};
    bench_row grad = {.name = "step: difference of gradient / its norm",
                      .unit = "",
                      .goal = 1e-4,
                      .error = far.gradient,
                      .note = "worst of every 10th of 300 steps"};
    loss.stat.samples[loss.stat.n++] = far.loss, grad.stat.samples[grad.stat.n++] = far.gradient;
    bench_summarise(&loss.stat), bench_report_add(r, &loss);
    bench_summarise(&grad.stat), bench_report_add(r, &grad);
    return !tn_error() && far.loss <= 1e-6 && far.gradient <= 1e-4;
}

int main(int argc, char **argv) {
    const char *data = "examples/data/digits.csv";
    char file[] = P_tmpdir "/tenon-bench-XXXXXX";
    bench_report *r = bench_report_new("digits");
    const int handle = mkstemp(file);
    if (!r || handle < 0 || tn_init(NULL)) return bench_fail("start");
    const tn_scope scope = tn_scope_push();
    bool ok = true;
    for (int k = 0; k < 2 && ok; k++)
        ok = add_runs(r, data, file, k) && add_repeat(r, data, file, k);
    ok = ok && add_steps(r, data);
    remove(file);
    if (!ok) bench_fail("digits");
    tn_scope_pop(scope);
    return bench_report_end(r, argc, argv) || !ok;
}
