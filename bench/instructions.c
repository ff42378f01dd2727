/* instructions.c - small fixed programs for counting instructions: `instructions NAME N` does NAME
 * N times. Counted with two values of N, so that starting up cancels out (instructions.sh).
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/tenon.h>

#include <math_ops.h>

enum { CHAIN = 20, BATCH = 16, INPUTS = 8, HIDDEN = 16, CLASSES = 4 };

static tn_tensor *x, *y, *w[4], *momenta[4], *target;

static void add(void) { tn_add(x, y); }

static void chain(void) {
    tn_tensor *z = x;
    for (int i = 0; i < CHAIN; i++) z = tn_mul(z, y);
    tn_backward(tn_sum(z));
    tn_zero_grad(x);
}

static void mlp_step(void) {
    tn_tensor *h = tn_relu(tn_linear(x, w[0], &(tn_linear_opts){.b = w[1]}));
    tn_tensor *z = tn_linear(h, w[2], &(tn_linear_opts){.b = w[3]});
    tn_backward(tn_cross_entropy(z, target, NULL));
    tn_tensor *grads[4];
    for (int i = 0; i < 4; i++) grads[i] = tn_grad_of(w[i]);
    const bool recorded = tn_set_grad_enabled(false);
    tn_sgd_((tn_tensors){w, 4}, (tn_tensors){grads, 4}, (tn_tensors){momenta, 4}, 0.01,
            &(tn_sgd_opts){.momentum = 0.9});
    tn_set_grad_enabled(recorded);
    for (int i = 0; i < 4; i++) tn_zero_grad(w[i]);
}

static void eight_floats(void) { x = tn_ones(TN_INTS(8), TN_F32), y = tn_ones(TN_INTS(8), TN_F32); }

static void eight_recorded(void) {
    eight_floats();
    tn_set_requires_grad(x, true);
}

static void network(void) {
    int64_t labels[BATCH];
    for (int i = 0; i < BATCH; i++) labels[i] = i % CLASSES;
    x = tn_uniform(TN_INTS(BATCH, INPUTS), NULL), target = tn_from(labels, TN_INTS(BATCH), TN_I64);
    w[0] = tn_uniform(TN_INTS(HIDDEN, INPUTS), NULL), w[1] = tn_uniform(TN_INTS(HIDDEN), NULL);
    w[2] = tn_uniform(TN_INTS(CLASSES, HIDDEN), NULL), w[3] = tn_uniform(TN_INTS(CLASSES), NULL);
    for (int i = 0; i < 4; i++) {
        momenta[i] = tn_zeros_like(w[i]);
        tn_set_requires_grad(w[i], true);
    }
}

static const struct {
    const char *name;
    void (*make)(void), (*run)(void);
} programs[] = {{"add", eight_floats, add},
                {"add_recorded", eight_recorded, add},
                {"mul_chain_and_backward", eight_recorded, chain},
                {"mlp_step", network, mlp_step}};

/* "gcc-12": counts hold for one compiler, optimising. */
static int print_compiler(void) {
#if !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    puts("not-optimised");
#elif defined(__clang__)
    printf("clang-%d\n", __clang_major__);
#else
    printf("gcc-%d\n", __GNUC__);
#endif
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "compiler") == 0) return print_compiler();
    const int64_t n = argc == 3 ? strtoll(argv[2], NULL, 10) : -1;
    for (size_t i = 0; n >= 0 && i < sizeof programs / sizeof *programs; i++) {
        if (strcmp(argv[1], programs[i].name) != 0) continue;
        if (tn_init(NULL)) break;
        programs[i].make();
        for (int64_t k = 0; k < n; k++) {
            const tn_scope scope = tn_scope_push();
            programs[i].run();
            tn_scope_pop(scope);
        }
        if (tn_error()) break;
        return 0;
    }
    fprintf(stderr, "instructions: %s\n", tn_error() ? tn_error_message() : "usage: NAME N");
    return 1;
}
