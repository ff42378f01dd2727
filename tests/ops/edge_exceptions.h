// edge_exceptions.h - where results and gradients are not the true values, and why.
//
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_EDGE_EXCEPTIONS_H
#define TENON_TESTS_EDGE_EXCEPTIONS_H

#include "tests/ops/edge_trials.h"

enum Part { RESULT = 1, GRADIENT = 2 };
enum Dtype { F16 = 1, BF16 = 2, F32 = 4, F64 = 8 };

// Of these ops, in these dtypes, these faults are let pass. Every op must need it in every one of
// the dtypes: what is right does not stand here.
struct Exception {
    const char *why;
    Part part;
    int dtypes, faults;
    const char *ops; // names, with blanks between
};

inline const char steps[] =
    "a step of the formula leaves the dtype's range, where the next would bring it back";
inline const char kept[] = "the derivative reads the result, which was rounded; so in PyTorch";
inline const char domain[] =
    "reads what another op gave, and finds numbers here that it never gives";
inline const char cancel[] = "large terms cancel whatever their signs are";
inline const char clipped[] =
    "the norm of a tensor beyond its dtype is inf, and the scale then 0; so in PyTorch";
inline const char products[] =
    "matrix products add up in f32, by the reference in double; so in PyTorch";
inline const char reference[] = "the reference computes x - tanh(x) in f32; so does PyTorch";

// clang-format off
inline const Exception exceptions[] = {
    {steps, RESULT, BF16 | F32, DIGITS | RANGE | NANS,
     "bilinear cosine_embedding_loss cosine_similarity cross_entropy gaussian_nll_loss glu_bwd "
     "huber_loss l1_loss layer_norm_bwd multi_margin_loss multilabel_margin_loss "
     "multilabel_soft_margin_loss nll_loss smooth_l1_loss triplet_margin_loss"},
    {steps, RESULT, F16 | BF16 | F32, DIGITS | RANGE | NANS,
     "binary_cross_entropy binary_cross_entropy_with_logits"},
    {steps, RESULT, F32, DIGITS | RANGE | NANS,
     "adam_ adamw_ sgd_"},
    {steps, GRADIENT, BF16 | F32, DIGITS | RANGE | NANS,
     "addcdiv addmm addmm_ addmv baddbmm binary_cross_entropy cross_entropy.probs cumprod "
     "einsum elu_bwd gaussian_nll_loss gelu_bwd glu kl_div margin_ranking_loss mish_bwd "
     "mse_loss multi_margin_loss multilabel_soft_margin_loss poisson_nll_loss prod "
     "prod.dim scatter_reduce silu_bwd softplus_bwd"},
    {steps, GRADIENT, BF16 | F32, RANGE | NANS,
     "cosine_embedding_loss cosine_similarity pairwise_distance"},
    {steps, GRADIENT, BF16, NANS,
     "atan2"},
    {steps, GRADIENT, F16 | BF16 | F32, RANGE | NANS,
     "triplet_margin_loss"},
    {steps, GRADIENT, F16 | BF16 | F32, NANS,
     "logcumsumexp"},
    {steps, GRADIENT, BF16 | F32 | F64, DIGITS | RANGE | NANS,
     "layer_norm_bwd"},
    {steps, GRADIENT, F16 | BF16 | F32, DIGITS | RANGE | NANS,
     "bilinear binary_cross_entropy_with_logits glu_bwd linear_scan nll_loss pow"},
    {steps, GRADIENT, F16 | BF16 | F32 | F64, DIGITS | RANGE | NANS,
     "cross_entropy cross_entropy_bwd"},
    {steps, GRADIENT, F32, DIGITS,
     "multilabel_margin_loss soft_margin_loss"},
    {kept, GRADIENT, BF16, RANGE,
     "exp2"},
    {kept, GRADIENT, BF16 | F32, DIGITS,
     "pairwise_distance"},
    {kept, GRADIENT, F16 | BF16 | F32, DIGITS | RANGE,
     "logcumsumexp logsumexp"},
    {kept, GRADIENT, F16 | BF16 | F32, DIGITS | RANGE | NANS,
     "log_softmax norm tanh"},
    {kept, GRADIENT, F16 | BF16 | F32 | F64, DIGITS | NANS,
     "softmax"},
    {domain, RESULT, BF16 | F32, RANGE | NANS,
     "sigmoid_bwd softmax_bwd tanh_bwd"},
    {domain, RESULT, F16 | BF16 | F32, DIGITS | RANGE,
     "log_softmax_bwd"},
    {domain, GRADIENT, BF16 | F32, DIGITS | RANGE | NANS,
     "log_softmax_bwd sigmoid_bwd softmax_bwd tanh_bwd"},
    {cancel, RESULT, F16, DIGITS,
     "triplet_margin_loss"},
    {cancel, RESULT, BF16 | F32, DIGITS | NANS,
     "cross"},
    {cancel, RESULT, F32, DIGITS,
     "poisson_nll_loss"},
    {cancel, GRADIENT, BF16 | F32, DIGITS | NANS,
     "cross"},
    {cancel, GRADIENT, F16 | BF16 | F32, DIGITS,
     "cosine_embedding_loss triplet_margin_loss"},
    {cancel, GRADIENT, F16 | BF16 | F32 | F64, DIGITS,
     "cosine_similarity"},
    {cancel, GRADIENT, F16 | F32 | F64, DIGITS,
     "layer_norm"},
    {cancel, GRADIENT, F64, DIGITS,
     "renorm"},
    {clipped, RESULT, BF16 | F32, DIGITS,
     "clip_grad_norm_"},
    {products, RESULT, F32, DIGITS,
     "linear_bwd"},
    {reference, RESULT, F32, DIGITS,
     "tanhshrink"},
};
// clang-format on

#endif
