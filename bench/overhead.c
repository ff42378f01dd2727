/* overhead.c - what a call costs beside its arithmetic: eight floats, so there is next to none.
 *
 * Results are freed with a scope around each 64 calls, whose cost is part of the figure.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>

#include <tenon/layers.h>

#include <math_ops.h>

#include "bench/harness.h"

enum { BATCH = 64, CHAIN = 50, SHAPES = 10000, LAYERS = 3, PARAMS = 2 * LAYERS };

typedef struct work {
    tn_tensor *x, *y, *w[PARAMS], *target;
    tn_tensor *shapes[SHAPES]; /* each with strides no other has */
    int64_t next;
} work;

static void add(void *arg, int64_t n) {
    const work *w = arg;
    while (n > 0) {
        const tn_scope scope = tn_scope_push();
        for (int i = 0; i < BATCH && n > 0; i++, n--) tn_add(w->x, w->y);
        tn_scope_pop(scope);
    }
}

static tn_status pass_on(void *user, tn_op_ref *op, const tn_value *args, uint32_t n_args,
                         tn_value *outs, uint32_t n_outs) {
    (void)user;
    return tn_layer_pass(op, args, n_args, outs, n_outs);
}

static void add_layered(void *arg, int64_t n) {
    const tn_layer layer = {.size = sizeof layer, .name = "passes on", .call = pass_on};
    tn_layer_push(&layer);
    add(arg, n);
    tn_layer_pop(&layer);
}

static void chain(void *arg, int64_t n) {
    const work *w = arg;
    while (n > 0) {
        const tn_scope scope = tn_scope_push();
        tn_tensor *z = w->x;
        for (int i = 0; i < CHAIN && n > 0; i++, n--) z = tn_mul(z, w->y);
        tn_scope_pop(scope);
    }
}

/* One call is a mul and its share of the backward pass. */
static void chain_and_backward(void *arg, int64_t n) {
    const work *w = arg;
    while (n > 0) {
        const tn_scope scope = tn_scope_push();
        tn_tensor *z = w->x;
        for (int i = 0; i < CHAIN && n > 0; i++, n--) z = tn_mul(z, w->y);
        tn_backward(tn_sum(z));
        tn_zero_grad(w->x);
        tn_scope_pop(scope);
    }
}

static void scopes(void *arg, int64_t n) {
    (void)arg;
    for (int64_t i = 0; i < n; i++) tn_scope_pop(tn_scope_push());
}

static tn_tensor *layer(const work *w, int i, tn_tensor *x) {
    return tn_linear(x, w->w[2 * i], &(tn_linear_opts){.b = w->w[2 * i + 1]});
}

static void mlp_step(void *arg, int64_t n) {
    const work *w = arg;
    for (int64_t i = 0; i < n; i++) {
        const tn_scope scope = tn_scope_push();
        tn_tensor *y = w->x, *grads[PARAMS];
        for (int k = 0; k < LAYERS; k++) y = layer(w, k, k ? tn_relu(y) : y);
        tn_backward(tn_cross_entropy(y, w->target, NULL));
        for (int k = 0; k < PARAMS; k++) grads[k] = tn_grad_of(w->w[k]);
        const bool recorded = tn_set_grad_enabled(false);
        tn_sgd_((tn_tensors){w->w, PARAMS}, (tn_tensors){grads, PARAMS}, (tn_tensors){NULL, 0},
                1e-4, NULL);
        tn_set_grad_enabled(recorded);
        for (int k = 0; k < PARAMS; k++) tn_zero_grad(w->w[k]);
        tn_scope_pop(scope);
    }
}

/* ---- Signatures never seen before ------------------------------------------------------------ */

/* Eight floats, k apart: as many elements for every k, and a new signature each. */
static int64_t make_shapes(work *w) {
    tn_tensor *x = tn_ones(TN_INTS(8 * SHAPES), TN_F32);
    for (int64_t k = 1; k < SHAPES && !tn_error(); k++)
        w->shapes[k - 1] = tn_slice(x, &(tn_slice_opts){.end = {8 * k, true}, .step = {k, true}});
    return SHAPES - 1;
}

/* Every sample is of first calls, so it cannot be repeated: the harness's blocks do not fit. */
static bench_stat misses(work *w) {
    bench_stat s = {0};
    const int64_t made = make_shapes(w);
    enum { EACH = 10 };
    for (int64_t at = 0; at + EACH <= made && s.n < BENCH_SAMPLES; at += EACH) {
        const tn_scope scope = tn_scope_push();
        const double start = bench_now();
        for (int i = 0; i < EACH; i++) tn_add(w->shapes[at + i], w->shapes[at + i]);
        s.samples[s.n++] = (bench_now() - start) / EACH * 1e9;
        tn_scope_pop(scope);
    }
    bench_summarise(&s);
    return s;
}

/* All of them over and over: more than a thread remembers by itself. */
static void in_turn(void *arg, int64_t n) {
    const work *w = arg;
    while (n > 0) {
        const tn_scope scope = tn_scope_push();
        for (int64_t i = 0; i < SHAPES - 1 && n > 0; i++, n--) tn_add(w->shapes[i], w->shapes[i]);
        tn_scope_pop(scope);
    }
}

/* ---- All ------------------------------------------------------------------------------------- */

static tn_tensor *noise(tn_ints sizes) { return tn_uniform(sizes, &(tn_uniform_opts){.low = -1}); }

static void measure(bench_report *r, const char *name, double goal, void (*run)(void *, int64_t),
                    work *w, const char *note) {
    const bench_side side = {run, w, NULL};
    bench_row row = {.name = name, .unit = "ns", .goal = goal, .error = NAN, .note = note};
    row.stat = bench_time(&side, 1e9);
    bench_report_add(r, &row);
}

static void make_mlp(work *w) {
    static const int64_t widths[LAYERS + 1] = {16, 32, 32, 4}, target[1] = {2};
    w->x = noise(TN_INTS(1, widths[0]));
    w->target = tn_from(target, TN_INTS(1), TN_I64);
    for (int k = 0; k < LAYERS; k++) {
        w->w[2 * k] = noise(TN_INTS(widths[k + 1], widths[k]));
        w->w[2 * k + 1] = noise(TN_INTS(widths[k + 1]));
    }
    for (int k = 0; k < PARAMS; k++) tn_set_requires_grad(w->w[k], true);
}

int main(int argc, char **argv) {
    static work w;
    bench_report *r = bench_report_new("overhead");
    if (!r || tn_init(NULL)) return bench_fail("start");
    tn_scope scope = tn_scope_push();
    w.x = noise(TN_INTS(8)), w.y = tn_ones(TN_INTS(8), TN_F32);
    measure(r, "add of 8 floats, no gradient", 80, add, &w, "");
    measure(r, "add of 8 floats, a layer passes it on", NAN, add_layered, &w, "");
    measure(r, "chain of mul of 8 floats, no gradient", 80, chain, &w, "per mul");
    measure(r, "scope push and pop", NAN, scopes, &w, "");
    tn_set_requires_grad(w.x, true);
    measure(r, "add of 8 floats, recorded", 130, add, &w, "");
    measure(r, "chain of mul, recorded, with backward", 300, chain_and_backward, &w,
            "per mul, forward and backward");
    bench_row miss = {.name = "add of 8 floats whose strides were never seen",
                      .unit = "ns",
                      .goal = 1500,
                      .error = NAN};
    miss.stat = misses(&w), miss.note = "resolves a signature; no plan";
    bench_report_add(r, &miss);
    measure(r, "add of 8 floats, 10,000 shapes in turn", 300, in_turn, &w,
            "found among what all threads share");
    make_mlp(&w);
    measure(r, "MLP 16-32-32-4 training step, batch 1", 10000, mlp_step, &w,
            "forward, cross entropy, backward, sgd");
    if (tn_error()) return bench_fail("overhead");
    const int status = bench_report_end(r, argc, argv);
    tn_scope_pop(scope);
    return status;
}
