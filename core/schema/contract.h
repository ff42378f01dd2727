/* contract.h - contracts: what must hold before a shape rule runs.
 *
 * Space-separated `name:spec`:
 *   x:[N,C,*]      names dims: equal names, equal sizes; a number is required exactly; _ any; one *
 *                  any number of dims; C/groups and C*groups with an int argument or a number; the
 *                  name of an int argument must equal it
 *   x:rank>=2      or rank==1, rank<=3
 *   dim:dim(x)     an int, or int[] without repeats, in -rank..rank-1 of x (rank 0 counts as 1),
 *                  made non-negative in place; dim(x+1): one position more (unsqueeze)
 *   p:0..1  n:1..  an inclusive range of a number or of each number of a list
 *   value:in(x)    a Scalar that the dtype in which x is computed can hold; a run-time one is looked
 *                  at in every call
 * Absent optional arguments are skipped. For a list of tensors, shapes and ranks hold for each;
 * dim(list) speaks of the first.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_SCHEMA_CONTRACT_H
#define TENON_SCHEMA_CONTRACT_H

#include "core/schema/schema.h"

typedef struct tni_contract tni_contract;
tni_contract *tni_contract_parse(const char *text, const tni_schema *, char *why,
                                 uint64_t capacity); /* NULL + why */
void tni_contract_free(tni_contract *);
/* args: tensors as VIEW/VIEWS/NONE; ints that are normalised are written to ints_out (room for
 * TNI_MAX_ARGS * TN_MAX_RANK) and args[i] repointed or changed. On failure `why` has the text:
 * argument, dim, both sizes. */
tn_status tni_contract_check(const tni_contract *, const tni_schema *, tn_value *args,
                             uint32_t n_args, int64_t *ints_out, char *why, uint64_t capacity);

/* ---- The parsed form, between parser and check ------------------------------------------------ */

enum { TNI_CONTRACT_NAMES = 32, TNI_CONTRACT_ITEMS = 64 };

typedef struct tni_dim_spec { /* one entry between [ and ] */
    enum { TNI_DIM_ANY, TNI_DIM_REST, TNI_DIM_NUMBER, TNI_DIM_NAME, TNI_DIM_ARGUMENT } kind;
    uint32_t name;  /* TNI_DIM_NAME: index of the name */
    int64_t number; /* TNI_DIM_NUMBER: required; with op: a literal factor */
    int32_t param;  /* TNI_DIM_ARGUMENT: whose value; with op: the factor's, or -1 for number */
    char op;        /* TNI_DIM_NAME: 0, '/' or '*' */
} tni_dim_spec;

typedef struct tni_contract_item {
    enum { TNI_ITEM_SHAPE, TNI_ITEM_DIM, TNI_ITEM_RANGE, TNI_ITEM_RANK, TNI_ITEM_HELD } kind;
    uint32_t param;
    tni_dim_spec dims[TN_MAX_RANK]; /* shape */
    uint32_t n_dims;
    int32_t rest;       /* shape: position of '*', or -1 */
    uint32_t of, extra; /* dim: dim(of+extra); held: in(of) */
    tn_value lo, hi;    /* range: NONE = open; rank: INT or NONE */
} tni_contract_item;

struct tni_contract {
    uint32_t n_names, n_items;
    char names[TNI_CONTRACT_NAMES][TNI_NAME_BYTES];
    tni_contract_item items[];
};

#endif
