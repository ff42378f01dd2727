/* problems.c - see problems.h; bench/peer_torch.py has the same problems in Python.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/problems.h"

#include <math.h>
#include <stdlib.h>

#include <math_ops.h>

#include "bench/peer.h"

enum { EDGE = 1024, LARGE = 1 << 25, ADAM = 1 << 23, CHAIN = 50 };

/* ---- Inputs ---------------------------------------------------------------------------------- */

static tn_tensor *given(tn_ints sizes, uint64_t seed) {
    tn_tensor *t = tn_empty(sizes, TN_F32);
    float *at = t ? tn_data(t) : NULL;
    for (int64_t i = 0; at && i < tn_numel(t); i++) at[i] = bench_input((uint64_t)i, seed);
    return t;
}

static void make_million(bench_work *w) { w->x = given(TN_INTS(EDGE, EDGE), 0); }

static void make_two_millions(bench_work *w) {
    make_million(w);
    w->y = given(TN_INTS(EDGE, EDGE), 1);
}

static void make_large(bench_work *w) {
    w->x = given(TN_INTS(LARGE), 0), w->y = given(TN_INTS(LARGE), 1);
}

static void make_eight(bench_work *w) { w->x = given(TN_INTS(8), 0), w->y = given(TN_INTS(8), 1); }

static void make_recorded_eight(bench_work *w) {
    make_eight(w);
    tn_set_requires_grad(w->x, true);
}

static void make_chain(bench_work *w) {
    make_recorded_eight(w);
    w->y = tn_ones(TN_INTS(8), TN_F32);
}

static void make_bf16(bench_work *w) {
    make_million(w);
    w->x = tn_to(w->x, TN_BF16);
}

static void make_gather(bench_work *w) {
    make_million(w);
    w->index = tn_empty(TN_INTS(EDGE, EDGE), TN_I64);
    int64_t *at = w->index ? tn_data(w->index) : NULL;
    for (int64_t i = 0; at && i < EDGE * EDGE; i++) at[i] = i * 7919 % EDGE;
}

static void make_square(bench_work *w, int64_t n, tn_dtype dtype) {
    w->x = tn_to(given(TN_INTS(n, n), 0), dtype), w->y = tn_to(given(TN_INTS(n, n), 1), dtype);
}
static void make_16(bench_work *w) { make_square(w, 16, TN_F32); }
static void make_64(bench_work *w) { make_square(w, 64, TN_F32); }
static void make_256(bench_work *w) { make_square(w, 256, TN_F32); }
static void make_1024(bench_work *w) { make_square(w, EDGE, TN_F32); }
static void make_bf16_1024(bench_work *w) { make_square(w, EDGE, TN_BF16); }

static void make_mlp(bench_work *w, const int64_t *widths, int layers, int64_t batch) {
    w->x = given(TN_INTS(batch, widths[0]), 0);
    w->index = tn_empty(TN_INTS(batch), TN_I64);
    int64_t *target = w->index ? tn_data(w->index) : NULL;
    for (int64_t i = 0; target && i < batch; i++) target[i] = i % widths[layers];
    for (int k = 0; k < layers; k++) {
        tn_tensor *weight = given(TN_INTS(widths[k + 1], widths[k]), (uint64_t)(2 + k));
        w->params[2 * k] = tn_mul(weight, 1 / sqrt((double)widths[k]));
        w->params[2 * k + 1] = tn_zeros(TN_INTS(widths[k + 1]), TN_F32);
    }
    w->n_params = 2 * layers;
    for (int k = 0; k < w->n_params; k++) tn_set_requires_grad(w->params[k], true);
}

static void make_mlp_tiny(bench_work *w) { make_mlp(w, (const int64_t[]){16, 32, 32, 4}, 3, 1); }
static void make_mlp_mnist(bench_work *w) {
    make_mlp(w, (const int64_t[]){784, 128, 128, 10}, 3, 32);
}

static void make_adamw(bench_work *w) {
    w->params[0] = given(TN_INTS(ADAM), 0), w->params[1] = given(TN_INTS(ADAM), 1);
    w->params[2] = tn_zeros(TN_INTS(ADAM), TN_F32), w->params[3] = tn_zeros(TN_INTS(ADAM), TN_F32);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

#define UNARY(name)                                                                                \
    static tn_tensor *op_##name(bench_work *w) { return tn_##name(w->x); }
UNARY(exp)
UNARY(tanh)
UNARY(sigmoid)
UNARY(sum)

static tn_tensor *op_gelu(bench_work *w) { return tn_gelu(w->x, NULL); }
static tn_tensor *op_gelu_tanh(bench_work *w) {
    return tn_gelu(w->x, &(tn_gelu_opts){.approximate = "tanh"});
}
static tn_tensor *op_add(bench_work *w) { return tn_add(w->x, w->y); }
static tn_tensor *op_softmax(bench_work *w) { return tn_softmax(w->x, 1); }
static tn_tensor *op_layer_norm(bench_work *w) { return tn_layer_norm(w->x, TN_INTS(EDGE), NULL); }
static tn_tensor *op_dropout(bench_work *w) { return tn_dropout(w->x, 0.1, NULL); }
static tn_tensor *op_transpose_copy(bench_work *w) { return tn_clone(tn_transpose(w->x, 0, 1)); }
static tn_tensor *op_cat(bench_work *w) { return tn_cat(TN_TENSORS(w->x, w->y), NULL); }
static tn_tensor *op_gather(bench_work *w) { return tn_gather(w->x, 1, w->index); }
static tn_tensor *op_cumsum(bench_work *w) { return tn_cumsum(w->x, 1); }
static tn_tensor *op_sort(bench_work *w) { return tn_sort(w->x, NULL).values; }
static tn_tensor *op_argmax(bench_work *w) {
    return tn_argmax(w->x, &(tn_argmax_opts){.dim = {1, true}});
}
static tn_tensor *op_to_bf16(bench_work *w) { return tn_to(w->x, TN_BF16); }
static tn_tensor *op_matmul(bench_work *w) { return tn_matmul(w->x, w->y); }

static tn_tensor *op_chain(bench_work *w) {
    tn_tensor *z = w->x;
    for (int i = 0; i < CHAIN; i++) z = tn_mul(z, w->y);
    tn_backward(tn_sum(z));
    tn_zero_grad(w->x);
    return z;
}

static tn_tensor *op_mlp(bench_work *w) {
    tn_tensor *y = w->x, *grads[2 * BENCH_MOST_LAYERS];
    for (int k = 0; k < w->n_params; k += 2)
        y = tn_linear(k ? tn_relu(y) : y, w->params[k], &(tn_linear_opts){.b = w->params[k + 1]});
    tn_tensor *loss = tn_cross_entropy(y, w->index, NULL);
    tn_backward(loss);
    for (int k = 0; k < w->n_params; k++) grads[k] = tn_grad_of(w->params[k]);
    const bool recorded = tn_set_grad_enabled(false);
    tn_sgd_((tn_tensors){w->params, w->n_params}, (tn_tensors){grads, w->n_params},
            (tn_tensors){NULL, 0}, 0.01, NULL);
    tn_set_grad_enabled(recorded);
    for (int k = 0; k < w->n_params; k++) tn_zero_grad(w->params[k]);
    return loss;
}

static tn_tensor *op_adamw(bench_work *w) {
    tn_tensor *const *p = w->params;
    tn_adamw_(TN_TENSORS(p[0]), TN_TENSORS(p[1]), TN_TENSORS(p[2]), TN_TENSORS(p[3]),
              (tn_tensors){NULL, 0}, 1e-3, ++w->step, NULL);
    return p[0];
}

/* ---- The list -------------------------------------------------------------------------------- */

#define MS(name_, text_, make_, call_, goal_, error_)                                              \
    {                                                                                              \
        .name = name_, .text = text_, .make = make_, .call = call_, .goal = goal_, .unit = "ms",   \
        .largest_error = error_                                                                    \
    }
#define PRODUCT(name_, text_, make_, n, goal_, error_)                                             \
    {                                                                                              \
        .name = name_, .text = text_, .make = make_, .call = op_matmul, .goal = goal_,             \
        .unit = "TFLOP/s", .flops = 2.0 * (n) * (n) * (n), .largest_error = error_                 \
    }

/* clang-format off */
const bench_problem bench_problems[] = {
    {.name = "add_8", .text = "add of 8 floats", .make = make_eight, .call = op_add, .goal = 80, .unit = "ns", .largest_error = 1e-6},
    {.name = "add_8_recorded", .text = "add of 8 floats, recorded", .make = make_recorded_eight, .call = op_add, .recorded = true,
     .goal = 130, .unit = "ns", .largest_error = 1e-6},
    {.name = "chain_of_50", .text = "mul in a chain of 50, with backward", .make = make_chain, .call = op_chain, .calls = CHAIN, .recorded = true,
     .goal = 300, .unit = "ns", .largest_error = 1e-6},
    {.name = "mlp_tiny", .text = "MLP 16-32-32-4, batch 1, SGD step", .make = make_mlp_tiny, .call = op_mlp, .recorded = true,
     .goal = 10, .unit = "us", .largest_error = 1e-4},
    {.name = "mlp_mnist", .text = "MLP 784-128-128-10, batch 32, SGD step", .make = make_mlp_mnist, .call = op_mlp, .recorded = true,
     .goal = 175, .unit = "us", .largest_error = 1e-4},
    MS("exp", "exp of 1 M f32", make_million, op_exp, 0.35, 1e-6),
    MS("tanh", "tanh of 1 M f32", make_million, op_tanh, 0.4, 1e-6),
    MS("gelu", "gelu of 1 M f32", make_million, op_gelu, 0.5, 1e-6),
    MS("gelu_tanh", "gelu (tanh form) of 1 M f32", make_million, op_gelu_tanh, 0.5, 1e-6),
    MS("sigmoid", "sigmoid of 1 M f32", make_million, op_sigmoid, NAN, 1e-6),
    MS("softmax", "softmax of 1024 x 1024", make_million, op_softmax, 0.45, 1e-6),
    MS("layer_norm", "layer norm of 1024 x 1024", make_million, op_layer_norm, 0.32, 1e-5),
    MS("dropout", "dropout of 1 M f32", make_million, op_dropout, 0.3, NAN),
    MS("add", "add of 1 M f32", make_two_millions, op_add, NAN, 1e-6),
    MS("sum", "sum of 1 M f32", make_million, op_sum, NAN, 1e-4),
    MS("transpose_copy", "transposed copy of 1024 x 1024", make_million, op_transpose_copy, NAN, 0),
    MS("cat", "cat of two times 1 M f32", make_two_millions, op_cat, NAN, 0),
    MS("gather", "gather of 1 M f32", make_gather, op_gather, NAN, 0),
    MS("cumsum", "cumsum along rows of 1024 x 1024", make_million, op_cumsum, NAN, 1e-4),
    MS("sort", "sort along rows of 1024 x 1024", make_million, op_sort, NAN, 0),
    MS("argmax", "argmax along rows of 1024 x 1024", make_million, op_argmax, NAN, 0),
    MS("to_bf16", "1 M f32 to bf16", make_million, op_to_bf16, NAN, 0),
    MS("bf16_softmax", "softmax of 1024 x 1024 bf16", make_bf16, op_softmax, NAN, 1e-2),
    MS("add_large", "add of 32 M f32", make_large, op_add, NAN, 1e-6),
    MS("sum_large", "sum of 32 M f32", make_large, op_sum, NAN, 2e-2),
    MS("adamw", "AdamW of 8 M f32", make_adamw, op_adamw, 10, 1e-5),
    PRODUCT("matmul_16", "product of 16 x 16", make_16, 16, NAN, 1e-5),
    PRODUCT("matmul_64", "product of 64 x 64", make_64, 64, NAN, 1e-5),
    PRODUCT("matmul_256", "product of 256 x 256", make_256, 256, NAN, 1e-5),
    PRODUCT("matmul_1024", "product of 1024 x 1024", make_1024, EDGE, NAN, 1e-5),
    PRODUCT("matmul_bf16_1024", "product of 1024 x 1024 bf16", make_bf16_1024, EDGE, 1.0, 1e-2),
};
/* clang-format on */
const int bench_n_problems = (int)(sizeof bench_problems / sizeof *bench_problems);
