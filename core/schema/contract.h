/* contract.h - the parsed form of a contract, between its parser and its check.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_SCHEMA_CONTRACT_H
#define TENON_SCHEMA_CONTRACT_H

#include "core/schema/schema.h"

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
