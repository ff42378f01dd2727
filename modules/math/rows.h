/* rows.h - the C functions that rows of math.ops name, and what they share.
 *
 * The prefix is math_, not tni_: a plugin may be linked statically into a program next to the core
 * and other plugins. Shape rules see metadata only; derivatives and decompositions are written in
 * ops, run in a scope of their own, and may leave an error pending at any point: ops called after
 * it do nothing and give NULL.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MATH_ROWS_H
#define TENON_MATH_ROWS_H

#include <tenon/kit_ops.h>

typedef tn_status math_shape_rule(tn_infer *);
typedef void math_derivative(tn_grad_ctx *);
typedef tn_status math_decomposition(const tn_value *args, uint32_t n_args, tn_value *outs,
                                     uint32_t n_outs);

math_shape_rule math_shape_copy, math_shape_arange, math_shape_to, math_shape_random,
    math_shape_uniform, math_shape_random_bits, math_shape_randint, math_shape_randperm,
    math_shape_multinomial, math_shape_scalar, math_shape_sizes, math_shape_one_hot,
    math_shape_nonzero_fill;
math_shape_rule math_shape_gemm, math_shape_matmul, math_shape_linear, math_shape_layer_norm,
    math_shape_layer_norm_bwd, math_shape_cat, math_shape_stack, math_shape_sgd, math_shape_adam,
    math_shape_addmm, math_shape_linear_bwd, math_shape_bilinear;
math_shape_rule math_shape_gather, math_shape_scatter, math_shape_scatter_reduce,
    math_shape_scatter_value, math_shape_index_select, math_shape_index_add, math_shape_index_copy,
    math_shape_index_fill, math_shape_embedding, math_shape_embedding_bwd, math_shape_fold;
math_derivative math_grad_gather, math_grad_scatter, math_grad_scatter_add,
    math_grad_scatter_reduce, math_grad_index_add, math_grad_embedding, math_grad_unfold;
math_decomposition math_compose_scatter_value, math_compose_index_select, math_compose_index_add,
    math_compose_index_copy, math_compose_index_fill, math_compose_embedding,
    math_compose_embedding_bwd;
math_shape_rule math_shape_loss, math_shape_bce, math_shape_nll, math_shape_multi_margin,
    math_shape_cross_entropy_bwd, math_shape_probs, math_shape_multilabel;
math_shape_rule math_shape_addcmul, math_shape_gelu, math_shape_celu, math_shape_prelu,
    math_shape_glu, math_shape_glu_bwd, math_shape_clamp, math_shape_hardtanh, math_shape_square;
math_decomposition math_compose_round, math_compose_addcmul, math_compose_gelu,
    math_compose_gelu_bwd, math_compose_hardtanh, math_compose_square, math_compose_leaky_relu,
    math_compose_silu_bwd, math_compose_softsign, math_compose_softplus, math_compose_mish_bwd,
    math_compose_prelu, math_compose_glu, math_compose_glu_bwd;
math_shape_rule math_shape_transpose, math_shape_permute, math_shape_slice, math_shape_select,
    math_shape_expand, math_shape_view, math_shape_reshape, math_shape_unsqueeze,
    math_shape_squeeze, math_shape_split, math_shape_unfold, math_shape_split_sizes,
    math_shape_unbind, math_shape_diagonal, math_shape_as_strided;

math_shape_rule math_shape_sum, math_shape_cumsum, math_shape_moments, math_shape_any,
    math_shape_amax, math_shape_norm, math_shape_topk, math_shape_kthvalue, math_shape_searchsorted,
    math_shape_sum_to;
math_derivative math_grad_sum, math_grad_mean, math_grad_prod, math_grad_moments, math_grad_std,
    math_grad_norm, math_grad_logsumexp, math_grad_nanmean, math_grad_amax, math_grad_max,
    math_grad_pick, math_grad_cumsum, math_grad_cumprod, math_grad_logcumsumexp,
    math_grad_linear_scan;
math_decomposition math_compose_mean, math_compose_nanmean, math_compose_var, math_compose_std,
    math_compose_var_mean, math_compose_std_mean, math_compose_norm, math_compose_renorm,
    math_compose_clip_grad_norm, math_compose_logsumexp, math_compose_sum_to, math_compose_diff,
    math_compose_cumsum_, math_compose_cumprod_, math_compose_renorm_;
math_decomposition math_compose_argsort, math_compose_topk, math_compose_kthvalue,
    math_compose_median, math_compose_median_dim, math_compose_nanmedian,
    math_compose_nanmedian_dim, math_compose_max_dim, math_compose_min_dim, math_compose_unique,
    math_compose_unique_dim, math_compose_unique_consecutive, math_compose_bincount,
    math_compose_histc;

math_derivative math_grad_atan, math_grad_asinh, math_grad_atan2;
math_derivative math_grad_clamp, math_grad_to, math_grad_layer_norm, math_grad_permute,
    math_grad_slice, math_grad_select, math_grad_reshaped, math_grad_split, math_grad_split_sizes,
    math_grad_unbind, math_grad_diagonal, math_grad_as_strided, math_grad_cat;
math_derivative math_grad_mse_loss, math_grad_bce, math_grad_cross_entropy;
math_derivative math_grad_matmul, math_grad_addmm, math_grad_linear;

math_decomposition math_compose_clone, math_compose_contiguous, math_compose_to,
    math_compose_full_like, math_compose_softmax, math_compose_softmax_bwd,
    math_compose_log_softmax, math_compose_log_softmax_bwd, math_compose_layer_norm,
    math_compose_layer_norm_bwd, math_compose_one_hot, math_compose_slice_bwd,
    math_compose_select_bwd, math_compose_diagonal_bwd, math_compose_reshape, math_compose_cat,
    math_compose_stack, math_compose_nonzero;
math_decomposition math_compose_narrow, math_compose_flatten, math_compose_unflatten,
    math_compose_movedim, math_compose_expand_as, math_compose_view_as, math_compose_chunk,
    math_compose_tensor_split;
math_decomposition math_compose_index, math_compose_index_put, math_compose_take, math_compose_put,
    math_compose_take_along_dim;
math_shape_rule math_shape_pad, math_shape_put, math_shape_masked;
math_derivative math_grad_constant_pad;
math_decomposition math_compose_flip, math_compose_rot90, math_compose_roll, math_compose_tril,
    math_compose_triu, math_compose_diag_embed, math_compose_diag, math_compose_repeat,
    math_compose_tile, math_compose_repeat_interleave, math_compose_constant_pad, math_compose_pad,
    math_compose_masked_fill, math_compose_masked_fill_tensor, math_compose_masked_select,
    math_compose_masked_scatter, math_compose_hstack, math_compose_vstack;
math_decomposition math_compose_linspace, math_compose_logspace, math_compose_eye;
math_decomposition math_compose_im2col, math_compose_col2im;
math_decomposition math_compose_randint, math_compose_randperm, math_compose_bernoulli,
    math_compose_bernoulli_p, math_compose_exponential, math_compose_multinomial;
math_decomposition math_compose_mse_loss, math_compose_l1_loss, math_compose_huber_loss,
    math_compose_smooth_l1_loss, math_compose_bce, math_compose_bce_with_logits,
    math_compose_kl_div, math_compose_poisson_nll_loss, math_compose_gaussian_nll_loss,
    math_compose_hinge_embedding_loss, math_compose_margin_ranking_loss,
    math_compose_soft_margin_loss, math_compose_multilabel_soft_margin_loss,
    math_compose_pairwise_distance, math_compose_cosine_similarity,
    math_compose_cosine_embedding_loss, math_compose_triplet_margin_loss;
math_decomposition math_compose_nll_loss, math_compose_cross_entropy,
    math_compose_cross_entropy_bwd, math_compose_cross_entropy_probs,
    math_compose_multi_margin_loss, math_compose_multilabel_margin_loss;
math_decomposition math_compose_matmul, math_compose_addmm, math_compose_linear,
    math_compose_linear_bwd, math_compose_bilinear, math_compose_cross, math_compose_trace,
    math_compose_kron;
math_decomposition math_compose_einsum, math_compose_tensordot, math_compose_tensordot_dims;

#endif
