/* gradients.c - the code of docs/autograd.md: hooks, a bucket of gradients, an activation checkpoint,
 * a Hessian, anomaly mode.
 * SPDX-License-Identifier: Apache-2.0 */
#include <tenon/hooks.h>
#include <tenon/tenon.h>

#include <math_ops.h>
#include <stdio.h>

#include <tenon/activation_checkpoint.h>
#include <tenon/functional.h>

/* [hook.begin] */
static tn_tensor *clip(void *limit, tn_tensor *grad) {
    const double most = *(const double *)limit;
    return tn_clamp(grad, &(tn_clamp_opts){.min = tn_float(-most), .max = tn_float(most)});
}

static void clipped_backward(tn_tensor *w) {
    double limit = 0.5;
    uint64_t hook = tn_grad_hook(w, clip, &limit);
    tn_backward(tn_sum(tn_mul(w, w)));
    tn_hook_remove(w, hook);
    printf("clipped %s\n", tn_to_string(tn_grad_of(w)));
}
/* [hook.end] */

/* [bucket.begin] */
typedef struct bucket {
    tn_tensor *flat; /* the gradients of many leaves, one behind the other */
    int64_t left;    /* still to come in this pass */
} bucket;

static void arrived(void *user, tn_tensor *leaf) {
    bucket *b = user;
    (void)leaf;
    if (--b->left == 0) /* the pass goes on while processes sum it */
        printf("bucket %s\n", tn_to_string(b->flat));
}

static void put_into(bucket *b, tn_tensors leaves) {
    int64_t at = 0;
    for (int64_t i = 0; i < leaves.n; i++) {
        tn_tensor *w = leaves.ptr[i];
        tn_grad_set(w, tn_view_as(tn_narrow(b->flat, 0, at, tn_numel(w)), w));
        tn_accumulated_hook(w, arrived, b);
        at += tn_numel(w);
    }
    b->left = leaves.n;
}
/* [bucket.end] */

/* [checkpoint.begin] */
static tn_tensor *block(void *weights, tn_tensor *const *in, int64_t n) {
    (void)n;
    return tn_tanh(tn_matmul(in[0], weights));
}

static tn_tensor *deep(tn_tensor *x, tn_tensor *weights, int depth) {
    for (int i = 0; i < depth; i++)
        x = tn_activation_checkpoint(block, weights, (tn_tensors){&x, 1});
    return x; /* depth inputs are held, not what tanh and matmul would keep */
}
/* [checkpoint.end] */

/* [hessian.begin] */
static tn_tensor *energy(void *user, tn_tensor *const *in, int64_t n) {
    (void)user, (void)n;
    return tn_sum(tn_mul(in[0], tn_mul(in[0], in[0])));
}

static void print_hessian(tn_tensor *x) {
    tn_tensor *h;
    if (tn_hessian(energy, NULL, (tn_tensors){&x, 1}, NULL, &h) == TN_OK)
        printf("hessian %s\n", tn_to_string(h));
}
/* [hessian.end] */

/* [anomaly.begin] */
static void find_the_nan(tn_tensor *x) { /* x has a 0: the root's slope is infinite there */
    tn_set_anomaly_mode(true);
    tn_backward(tn_sum(tn_mul(tn_sqrt(x), x)));
    printf("%s\n", tn_error_message());
    tn_clear_error();
    tn_set_anomaly_mode(false);
}
/* [anomaly.end] */

int main(void) {
    tn_tensor *w = tn_from((const float[]){0.1F, 2}, TN_INTS(2), TN_F32);
    tn_set_requires_grad(w, true);
    clipped_backward(w);

    tn_tensor *weights = tn_full(TN_INTS(4, 4), tn_float(0.1), TN_F32);
    tn_set_requires_grad(weights, true);
    tn_backward(tn_sum(deep(tn_ones(TN_INTS(2, 4), TN_F32), weights, 8)));
    printf("through 8 blocks %s\n", tn_to_string(tn_sum(tn_grad_of(weights))));

    tn_tensor *both[] = {tn_ones(TN_INTS(2, 2), TN_F32), tn_ones(TN_INTS(2), TN_F32)};
    for (int i = 0; i < 2; i++) tn_set_requires_grad(both[i], true);
    bucket b = {.flat = tn_zeros(TN_INTS(6), TN_F32)};
    put_into(&b, (tn_tensors){both, 2});
    tn_backward(tn_sum(tn_matmul(both[0], both[1])));

    print_hessian(tn_from((const float[]){1, 2}, TN_INTS(2), TN_F32));

    tn_tensor *x = tn_zeros(TN_INTS(3), TN_F32);
    tn_set_requires_grad(x, true);
    find_the_nan(x);
    if (tn_error()) fprintf(stderr, "%s\n", tn_error_message());
    return tn_error() ? 1 : 0;
}
