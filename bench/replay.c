/* replay.c - training steps as a program takes them, beside replays of one that was captured: the
 * same inputs, the same bits afterwards, and how many times as fast.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/layers.h>
#include <tenon/tenon.h>

#include <math_ops.h>

#include "bench/harness.h"

enum { MOST_LAYERS = 3, STEPS = 50 };

typedef struct net {
    int n_layers;
    bool momentum;
    tn_tensor *w[2 * MOST_LAYERS], *m[2 * MOST_LAYERS];
    tn_tensor *x, *target;
    tn_capture *capture;
} net;

static void step(const net *n) {
    tn_tensor *y = n->x, *grads[2 * MOST_LAYERS];
    const int params = 2 * n->n_layers;
    for (int k = 0; k < n->n_layers; k++)
        y = tn_linear(k ? tn_relu(y) : y, n->w[2 * k], &(tn_linear_opts){.b = n->w[2 * k + 1]});
    tn_backward(tn_cross_entropy(y, n->target, NULL));
    for (int k = 0; k < params; k++) grads[k] = tn_grad_of(n->w[k]);
    const bool recorded = tn_set_grad_enabled(false);
    tn_sgd_((tn_tensors){n->w, params}, (tn_tensors){grads, params},
            (tn_tensors){n->m, n->momentum ? params : 0}, 1e-3,
            &(tn_sgd_opts){.momentum = n->momentum ? 0.9 : 0});
    tn_set_grad_enabled(recorded);
    for (int k = 0; k < params; k++) tn_zero_grad(n->w[k]);
}

static void eager(void *arg, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const tn_scope scope = tn_scope_push();
        step(arg);
        tn_scope_pop(scope);
    }
}

static void replay(void *arg, int64_t n) {
    const net *of = arg;
    for (int64_t i = 0; i < n; i++) tn_replay(of->capture);
}

static tn_tensor *noise(tn_ints sizes, tn_generator *g) {
    return tn_uniform(sizes, &(tn_uniform_opts){.low = -0.3, .high = TN_SET(0.3), .rng = g});
}

/* widths: as many as layers, and one. */
static void make(net *n, const int64_t *widths, int n_layers, int64_t batch, bool momentum) {
    int64_t labels[64];
    tn_generator *g = tn_generator_new(1);
    n->n_layers = n_layers, n->momentum = momentum;
    for (int k = 0; k < n_layers; k++) {
        n->w[2 * k] = noise(TN_INTS(widths[k + 1], widths[k]), g);
        n->w[2 * k + 1] = noise(TN_INTS(widths[k + 1]), g);
    }
    for (int k = 0; k < 2 * n_layers; k++) {
        n->m[k] = tn_zeros_like(n->w[k]);
        tn_set_requires_grad(n->w[k], true);
    }
    for (int64_t i = 0; i < batch; i++) labels[i] = i % widths[n_layers];
    n->x = noise(TN_INTS(batch, widths[0]), g);
    n->target = tn_from(labels, TN_INTS(batch), TN_I64);
    tn_generator_free(g);
}

/* Parameters whose bits are not the same. */
static int differing(const net *a, const net *b) {
    int n = 0;
    for (int k = 0; k < 2 * a->n_layers; k++) {
        const size_t bytes = (size_t)tn_numel(a->w[k]) * sizeof(float);
        const void *x = tn_data(a->w[k]), *y = tn_data(b->w[k]);
        n += !x || !y || memcmp(x, y, bytes) != 0;
    }
    return n;
}

static void measure(bench_report *r, const char *name, double goal, const int64_t *widths,
                    int n_layers, int64_t batch, bool momentum) {
    net a = {0}, b = {0};
    make(&a, widths, n_layers, batch, momentum);
    make(&b, widths, n_layers, batch, momentum);
    b.capture = tn_capture_begin();
    step(&b);
    tn_capture_end(b.capture);
    eager(&a, 1 + STEPS);
    replay(&b, STEPS);
    const bench_side sides[2] = {{replay, &b, NULL}, {eager, &a, NULL}};
    bench_row row = {.name = name,
                     .unit = "x",
                     .goal = goal,
                     .more_is_better = true,
                     .error = differing(&a, &b),
                     .note = "eager over replay, same bits"};
    row.stat = bench_pair(&sides[0], &sides[1]);
    bench_report_add(r, &row);
    tn_capture_free(b.capture);
}

int main(int argc, char **argv) {
    bench_report *r = bench_report_new("replay");
    if (!r || tn_init(NULL)) return bench_fail("start");
    const tn_scope scope = tn_scope_push();
    measure(r, "MLP 16-32-32-4, batch 1, sgd", 1.5, (const int64_t[]){16, 32, 32, 4}, 3, 1, false);
    measure(r, "digits 64-128-10, batch 64, sgd with momentum", 1, (const int64_t[]){64, 128, 10},
            2, 64, true);
    tn_scope_pop(scope);
    if (tn_error()) return bench_fail("replay");
    return bench_report_end(r, argc, argv);
}
