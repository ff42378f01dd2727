/* sample.h - sample calls of an op, as text and as a plan of what to make.
 *
 *   a[3,4] b[4] | a[0] b[0] | xs[[2,3],[4,3]] dim=-1 | x[3]>0 index[5]<3 mask[3]? keepdim=true
 * mode="sum"
 *
 * Samples are separated by '|'; each lists arguments: NAME=VALUE for plain ones (None for an
 * optional one, a seed for a generator) and NAME[sizes] for tensors, with >0 (in [0.5,2]), <n
 * (whole numbers 0..n-1; <n:i64 also in i64), :low..high or ? (bool) behind; None is an absent
 * entry of a list. What is left out takes its default. Depends on libc only; sample.c makes the
 * tensors.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_SCHEMA_SAMPLE_H
#define TENON_SCHEMA_SAMPLE_H

#include "core/schema/schema.h"

enum { TNI_SAMPLE_TENSORS = 32, TNI_SAMPLE_INTS = 128 };

typedef enum tni_fill {
    TNI_FILL_ANY,
    TNI_FILL_POSITIVE,
    TNI_FILL_BELOW,
    TNI_FILL_RANGE,
    TNI_FILL_BOOL
} tni_fill;

typedef struct tni_sample_tensor {
    tni_fill fill;
    int64_t below;    /* TNI_FILL_BELOW */
    bool whole;       /* of i64, whatever dtype is asked for */
    bool absent;      /* an entry of a list that is None */
    double low, high; /* TNI_FILL_RANGE */
    uint32_t rank;
    int64_t sizes[TN_MAX_RANK];
} tni_sample_tensor;

typedef struct tni_sample { /* one call; values point into the sample, the schema and the text */
    tn_value values[TNI_MAX_ARGS]; /* plain arguments; NONE for absent tensors and generators */
    bool is_tensor[TNI_MAX_ARGS];  /* argument i is tensors[first[i] .. first[i] + count[i]) */
    uint32_t first[TNI_MAX_ARGS], count[TNI_MAX_ARGS];
    uint64_t seeds[TNI_MAX_ARGS]; /* of generators: 0 if left out */
    uint32_t n_tensors, n_ints;
    tni_sample_tensor tensors[TNI_SAMPLE_TENSORS];
    int64_t ints[TNI_SAMPLE_INTS];
    double floats[TNI_SAMPLE_INTS];
    uint32_t n_floats, n_bools;
    bool bools[TNI_SAMPLE_INTS];
} tni_sample;

/* Sample number i of text. NOTFOUND (why empty) past the last; FORMAT and why if it does not fit
 * the schema. */
tn_status tni_sample_parse(const char *text, int64_t i, const tni_schema *, tni_sample *out,
                           char *why, uint64_t capacity);

#endif
