/* scopes.c - the code of docs/errors-and-memory.md: who frees what, and how errors travel.
 * SPDX-License-Identifier: Apache-2.0 */
#include <tenon/inspect.h>
#include <tenon/tenon.h>

#include <math_ops.h>
#include <stdio.h>
#include <string.h>

/* [return.begin] */
static tn_tensor *distance(tn_tensor *a, tn_tensor *b) {
    tn_scope scope = tn_scope_push();
    tn_tensor *d = tn_sub(a, b);
    tn_tensor *result = tn_sqrt(tn_sum(tn_mul(d, d)));
    tn_scope_pop_with(scope, &result,
                      1); /* result moves to the caller's scope, the rest is freed */
    return result;
}
/* [return.end] */

/* [error.begin] */
static tn_status mistakes(void) {
    tn_tensor *a = tn_zeros(TN_INTS(2, 3), TN_F32), *b = tn_zeros(TN_INTS(4, 5), TN_F32);
    tn_tensor *c = tn_matmul(a, b);   /* NULL: the shapes do not fit */
    tn_tensor *d = tn_exp(tn_neg(c)); /* does nothing, NULL too */
    if (tn_error()) printf("%s: %s\n", tn_status_name(tn_error()), tn_error_message());
    tn_clear_error(); /* from here on ops work again */
    return d ? TN_ERR_INTERNAL : tn_error();
}
/* [error.end] */

int main(void) {
    tn_tensor *zero = tn_zeros(TN_INTS(2), TN_F32);
    tn_tensor *point = tn_from((const float[]){3, 4}, TN_INTS(2), TN_F32);
    printf("distance %g\n", tn_item(distance(point, zero)));
    if (mistakes() != TN_OK) return 1;

    tn_memory_info before = {.size = sizeof before}, after = before;
    tn_memory_stats(&before);
    /* [keep.begin] */
    tn_scope scope = tn_scope_push();
    tn_tensor *weights = tn_keep(tn_ones(TN_INTS(100), TN_F32)); /* outlives its scope */
    tn_scope_pop(scope);
    printf("sum %g\n", tn_item(tn_sum(weights)));
    tn_drop(weights); /* one tn_drop for each tn_keep */
    tn_sum(weights);  /* an error with a name, not a crash */
    printf("%s\n", tn_status_name(tn_error()));
    tn_clear_error();
    /* [keep.end] */
    tn_memory_stats(&after);
    return after.allocated_bytes > before.allocated_bytes + 64; /* the sum lives on in our scope */
}
