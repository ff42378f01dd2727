// math_index_test.cc - indexing, views and padding beyond what PyTorch's numbers show: errors that
// name the cause, targets that overlap themselves, twins that write through views.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/op_walk.h"

#include "modules/math/math_ops.h"

namespace {

class MathIndex : public Tenon {};

tn_tensor *whole(const std::vector<int64_t> &numbers) {
    return tn_from(numbers.data(), ints({static_cast<int64_t>(numbers.size())}), TN_I64);
}

tn_tensor *counted(const Shape &sizes) {
    int64_t n = 1;
    for (int64_t s : sizes) n *= s;
    Numbers v;
    for (int64_t i = 0; i < n; i++) v.push_back(static_cast<double>(i));
    return from(v, sizes);
}

tn_tensor *at(tn_tensor *x, const std::vector<tn_tensor *> &indices) {
    return tn_index(x, tensors(indices));
}

// ---- Errors ----

TEST_F(MathIndex, OutOfRangeNamesOpPlaceAndLimit) {
    tn_tensor *x = counted({3, 4});
    tn_gather(x, 1, tn_reshape(whole({0, 4}), ints({2, 1})));
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"gather", "index[1, 0]", "4"}));
    tn_scatter(x, 0, tn_reshape(whole({-1}), ints({1, 1})), full({1, 1}, 0));
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"scatter", "-1", "below 3"}));
    tn_index_select(x, 0, whole({INT64_MAX}));
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"index_select", "9223372036854775807", "below 3"}));
    tn_embedding(x, whole({3}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"embedding", "3"}));
    at(x, {whole({3})});
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"index", "3", "at least -3 and below 3"}));
    at(x, {nullptr, whole({-5})});
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"index", "-5", "at least -4"}));
}

TEST_F(MathIndex, GatherFindsAWrongIndexWhereverItStands) {
    constexpr int64_t n = 700; // more than a kernel may check at a time
    tn_tensor *x = counted({2, 5});
    for (int64_t k = 0; k < n; k += k % 13 ? 1 : 7)
        for (const int64_t wrong : {int64_t{-1}, int64_t{5}, INT64_MIN, INT64_MAX}) {
            const tn_scope scope = tn_scope_push();
            std::vector<int64_t> index(n, 4);
            index[static_cast<size_t>(k)] = wrong;
            tn_gather(x, 1, tn_reshape(whole(index), ints({1, n})));
            const std::string place = "index[0, " + std::to_string(k) + "]";
            EXPECT_TRUE(error_is(TN_ERR_INDEX, {"gather", place.c_str(), "below 5"}));
            tn_scope_pop(scope);
        }
    std::vector<int64_t> index(n);
    Numbers expected(n);
    for (size_t k = 0; k < n; k++)
        index[k] = k * 7 % 5, expected[k] = static_cast<double>(5 + k * 7 % 5);
    tn_tensor *second = tn_narrow(x, 0, 1, 1);
    EXPECT_EQ(numbers(tn_gather(second, 1, tn_reshape(whole(index), ints({1, n})))), expected);
}

TEST_F(MathIndex, AdvancedIndicesThatDoNotFitAreNamed) {
    tn_tensor *x = counted({3, 4});
    at(x, {whole({0}), whole({0}), whole({0})});
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"index", "indices[2]", "rank 2"}));
    at(x, {nullptr, nullptr, nullptr});
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"index", "indices[2]"}));
    at(x, {whole({0, 1}), whole({0, 1, 2})});
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"index", "[2]", "[3]", "broadcast"}));
    at(x, {tn_full(ints({2}), tn_bool(true), TN_BOOL)});
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"index", "mask", "[2]", "[3]"}));
    at(x, {full({2}, 1)});
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"index", "indices[0]", "integers"}));
    at(x, {});
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"index", "no tensor"}));
    tn_index_put(x, tensors({whole({0})}), full({5}, 1), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"index_put"}));
}

TEST_F(MathIndex, ViewsRefuseWhatDoesNotExist) {
    tn_tensor *x = counted({3, 4});
    tn_as_strided_opts behind = {}, huge = {};
    behind.offset = 12, huge.offset = INT64_MAX;
    tn_as_strided(x, ints({1}), ints({1}), &behind);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"as_strided", "offset 12", "[3,4]"}));
    tn_as_strided(x, ints({1}), ints({1}), &huge);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"as_strided"}));
    tn_as_strided(x, ints({2, 2}), ints({INT64_MAX, INT64_MAX}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"as_strided"}));
    tn_as_strided(x, ints({2}), ints({-1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"as_strided"}));
    tn_as_strided(x, ints({2}), ints({1, 1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"as_strided", "1 entries, stride 2"}));
    tn_unfold(x, 0, 2, 0);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"unfold", "step"}));
    tn_unfold(x, 0, 4, 1);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"unfold", "size is 4", "3"}));
    tn_chunk(x, 0, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"chunk", "chunks", "0"}));
    tn_split_sizes(x, ints({1, 1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"split.sizes", "2", "3"}));
    tn_narrow(x, 1, 3, 2);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"narrow", "start 3", "length 2", "4"}));
    tn_narrow(x, 1, -5, 1);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"narrow", "-5"}));
    tn_narrow(x, 1, 1, INT64_MAX);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"narrow"}));
    tn_unflatten(x, 1, ints({3, -1}));
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"unflatten"}));
}

TEST_F(MathIndex, PaddingRefusesWhatItsModeCannotCopy) {
    tn_tensor *x = counted({3, 4});
    tn_pad_opts opts = {};
    auto pad = [&](const char *mode, std::initializer_list<int64_t> list) {
        opts.mode = mode;
        return tn_pad(x, ints(list), &opts);
    };
    EXPECT_NE(pad("reflect", {3, 3}), nullptr);
    pad("reflect", {4, 0});
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"pad", "4", "reflect", "dim 1"}));
    EXPECT_NE(pad("circular", {4, 4}), nullptr);
    pad("circular", {0, 5});
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"pad", "5", "circular"}));
    pad("constant", {-5, 2});
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"pad", "-5", "4"}));
    pad("constant", {-2, -3});
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"pad", "-2", "-3"}));
    pad("constant", {INT64_MAX, INT64_MAX});
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"pad"}));
    pad("constant", {1, 1, 1});
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"pad", "3 entries"}));
    pad("mirror", {1, 1});
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"pad", "mirror", "reflect"}));
}

TEST_F(MathIndex, ScatterReduceKnowsItsWords) {
    tn_scatter_reduce(full({3}, 1), 0, whole({0}), full({1}, 1), "median", nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"scatter_reduce", "median", "amax"}));
}

TEST_F(MathIndex, WhatOverlapsItselfIsNoTarget) {
    tn_fill_(tn_unfold(counted({5}), 0, 3, 1), tn_int(1));
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"fill_", "share memory"}));
    tn_fill_(tn_as_strided(counted({4}), ints({3, 2}), ints({1, 1}), nullptr), tn_int(1));
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"fill_", "share memory"}));
    tn_scatter_(tn_expand(counted({1}), ints({3})), 0, whole({0}), full({1}, 1));
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"scatter_", "share memory"}));
}

// ---- In place ----

TEST_F(MathIndex, TwinsWriteThroughViewsOfAnyStrides) {
    tn_tensor *x = counted({2, 3}), *turned = tn_transpose(x, 0, 1);
    tn_scatter_add_(turned, 0, tn_reshape(whole({2, 2}), ints({1, 2})), full({1, 2}, 10));
    EXPECT_EQ(numbers(x), (Numbers{0, 1, 12, 3, 4, 15}));
    tn_slice_opts back = {};
    back.step = {-1, true};
    tn_index_copy_(tn_slice(tn_select(x, 0, 0), &back), 0, whole({0}), full({1}, 7));
    EXPECT_EQ(numbers(x), (Numbers{0, 1, 7, 3, 4, 15}));
    tn_index_put_opts add = {};
    add.accumulate = true;
    tn_index_put_(x, tensors({whole({0, 0}), whole({-1, -1})}), full({}, 1), &add);
    EXPECT_EQ(numbers(x), (Numbers{0, 1, 9, 3, 4, 15}));
}

TEST_F(MathIndex, TwinsPassGradientsOn) {
    tn_tensor *x = param(counted({4})), *v = param(full({2}, 5));
    tn_tensor *y = tn_mul(x, number(1)); // no leaf: may be written
    tn_index_put_(y, tensors({whole({1, 3})}), v, nullptr);
    tn_scatter_(y, 0, whole({0}), full({1}, 2));
    ASSERT_EQ(tn_backward(tn_sum(tn_mul(y, from({1, 2, 3, 4})))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{0, 0, 3, 0}));
    EXPECT_EQ(grad(v), (Numbers{2, 4}));
}

TEST_F(MathIndex, AFailedTwinWritesNothing) {
    tn_tensor *x = counted({4});
    tn_index_copy_(x, 0, whole({0, 4}), full({2}, 9));
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"index_copy_", "4"}));
    EXPECT_EQ(numbers(x), (Numbers{0, 1, 2, 3}));
}

TEST_F(MathIndex, OfSeveralTheLastStaysAndGetsTheGradient) {
    tn_tensor *src = param(from({5, 6, 7}));
    tn_tensor *y = tn_scatter(counted({3}), 0, whole({1, 1, 0}), src);
    EXPECT_EQ(numbers(y), (Numbers{7, 6, 2}));
    ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(src), (Numbers{0, 1, 1}));
}

TEST_F(MathIndex, OverlappingViewsAddTheirGradients) {
    tn_tensor *x = param(counted({4}));
    ASSERT_EQ(tn_backward(tn_sum(tn_unfold(x, 0, 3, 1))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{1, 2, 2, 1}));
    tn_zero_grad(x);
    ASSERT_EQ(tn_backward(tn_sum(tn_as_strided(x, ints({3, 2}), ints({1, 1}), nullptr))), TN_OK);
    EXPECT_EQ(grad(x), (Numbers{1, 2, 2, 1}));
}

TEST_F(MathIndex, PaddingRowsOfAnEmbeddingGetNoGradient) {
    tn_tensor *w = param(counted({3, 2}));
    tn_embedding_opts opts = {};
    opts.padding_idx = {1, true};
    ASSERT_EQ(tn_backward(tn_sum(tn_embedding(w, whole({1, 0, 1, 0}), &opts))), TN_OK);
    EXPECT_EQ(grad(w), (Numbers{2, 2, 0, 0, 0, 0}));
}

TEST_F(MathIndex, AListOfManyPiecesIsWholeAfterItsDecomposition) {
    const tn_tensors pieces = tn_tensor_split(counted({40}), 20, nullptr);
    ASSERT_EQ(pieces.n, 20);
    for (int64_t i = 0; i < 20; i++)
        EXPECT_EQ(numbers(pieces.ptr[i]), (Numbers{2.0 * i, 2.0 * i + 1}));
}

// As in PyTorch: alpha is made a number of the tensors' dtype first.
TEST_F(MathIndex, IndexAddOfIntegersKeepsTheirDtype) {
    const int64_t rows[] = {0, 1};
    tn_tensor *index = tn_from(rows, ints({2}), TN_I64);
    auto added = [&](tn_dtype dtype, tn_value alpha) {
        tn_index_add_opts opts = {};
        opts.alpha = alpha;
        tn_tensor *y = tn_index_add(tn_to(from({1, 2, 3}), dtype), 0, index,
                                    tn_to(from({10, 20}), dtype), &opts);
        EXPECT_TRUE(tn_dtype_is(tn_dtype_of(y), dtype));
        return numbers(tn_to(y, TN_F64));
    };
    on_each_provider([&] {
        EXPECT_EQ(added(TN_I64, tn_float(1.5)), (Numbers{11, 22, 3}));
        EXPECT_EQ(added(TN_I64, tn_float(2)), (Numbers{21, 42, 3}));
        EXPECT_EQ(added(TN_I8, tn_float(-1.9)), (Numbers{-9, -18, 3}));
        EXPECT_EQ(added(TN_U8, tn_int(-1)), (Numbers{247, 238, 3}));
        EXPECT_EQ(added(TN_BOOL, tn_float(0.5)), (Numbers{1, 1, 1}));
        EXPECT_EQ(added(TN_F32, tn_float(1.5)), (Numbers{16, 32, 3}));
    });
    tn_index_add_opts opts = {};
    opts.alpha = tn_int(300);
    tn_tensor *x = full({2}, 1, TN_I8);
    EXPECT_EQ(tn_index_add(x, 0, index, x, &opts), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"index_add", "alpha", "300"}));
}

// ---- What else is an index ----

class EveryIndex : public Tenon {};

// Over all rows: an index of i32 is one, with the same results and gradients; no other dtype is.
TEST_F(EveryIndex, MayBeI32EverywhereAndNothingElse) {
    int64_t seen = 0;
    on_each_provider([&] {
        for (const Op &op : all_ops())
            for (uint32_t i = 0; i < op.schema.n_params; i++) {
                if (!op.schema.params[i].index) continue;
                SCOPED_TRACE(op.name);
                const tn_scope scope = tn_scope_push();
                Args args = sample(op, 0, TN_F64);
                ASSERT_EQ(args.status, TN_OK);
                tn_tensor *index = args.values[i].tensor;
                std::vector<std::vector<tn_tensor *>> lists;
                const auto again = with_tensors(args.values, &lists,
                                                [](tn_tensor *t, uint32_t) { return fresh(t); });
                const Outcome wide = outcome(op, again);
                args.values[i].tensor = tn_to(index, TN_I32);
                EXPECT_TRUE(same(wide, outcome(op, args.values)));
                for (const tn_dtype dtype : {TN_U8, TN_I8, TN_I16, TN_BOOL, TN_F32}) {
                    args.values[i].tensor = tn_to(index, dtype);
                    const Outcome o = outcome(op, args.values);
                    EXPECT_EQ(o.status, TN_ERR_DTYPE);
                    EXPECT_NE(o.text.find("i64 or i32"), std::string::npos) << o.text;
                }
                seen++;
                tn_scope_pop(scope);
            }
    });
    EXPECT_GE(seen, 20); // with each provider
}

TEST_F(EveryIndex, OfI32LeadsGradientsBack) {
    tn_tensor *x = param(counted({2, 3})),
              *index = tn_to(tn_reshape(whole({2, 0}), ints({2, 1})), TN_I32);
    ASSERT_EQ(tn_backward(tn_sum(tn_gather(x, 1, index))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{0, 0, 1, 1, 0, 0}));
    tn_tensor *src = param(counted({2, 1}));
    ASSERT_EQ(tn_backward(tn_sum(tn_scatter(counted({2, 3}), 1, index, src))), TN_OK);
    EXPECT_EQ(grad(src), (Numbers{1, 1}));
    tn_tensor *w = param(counted({3, 2}));
    ASSERT_EQ(tn_backward(tn_sum(tn_embedding(w, tn_to(whole({1, 1}), TN_I32), nullptr))), TN_OK);
    EXPECT_EQ(grad(w), (Numbers{0, 0, 2, 2, 0, 0}));
}

TEST_F(EveryIndex, OfATensorListIsI64OrI32OrAMask) {
    tn_tensor *x = counted({3});
    EXPECT_EQ(numbers(at(x, {tn_to(whole({2, -1}), TN_I32)})), (Numbers{2, 2}));
    for (const tn_dtype dtype : {TN_U8, TN_I8, TN_I16}) {
        EXPECT_EQ(at(x, {tn_to(whole({1, 0, 1}), dtype)}), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"index", "i64 or i32", "mask"}));
    }
}

TEST_F(EveryIndex, TakesANumberForATensorOfOne) {
    on_each_provider([&] {
        tn_tensor *x = param(full({}, 5));
        EXPECT_EQ(numbers(tn_gather(x, 0, whole({0, 0}))), (Numbers{5, 5}));
        EXPECT_EQ(shape(tn_gather(x, 0, whole({0}))), (Shape{1}));
        EXPECT_EQ(shape(tn_gather(counted({2}), 0, tn_squeeze(whole({1}), nullptr))), (Shape{}));
        ASSERT_EQ(tn_backward(tn_sum(tn_gather(x, 0, whole({0, 0})))), TN_OK);
        EXPECT_EQ(grad(x), (Numbers{2}));
        for (const Shape &sizes : {Shape{1}, Shape{}}) {
            tn_tensor *src = param(full(sizes, 2)), *y = tn_scatter(x, 0, whole({0}), src);
            EXPECT_EQ(shape(y), (Shape{}));
            EXPECT_EQ(numbers(y), (Numbers{2}));
            ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
            EXPECT_EQ(grad(src), (Numbers{1}));
            EXPECT_EQ(shape(tn_grad_of(src)), sizes);
            EXPECT_EQ(numbers(tn_scatter_add(x, 0, whole({0}), full(sizes, 2))), (Numbers{7}));
            tn_zero_grad(src);
            y = tn_scatter_reduce(x, 0, whole({0}), src, "prod", nullptr);
            EXPECT_EQ(numbers(y), (Numbers{10}));
            ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
            EXPECT_EQ(grad(src), (Numbers{5}));
        }
        EXPECT_EQ(numbers(tn_index_copy(full({}, 5), 0, whole({0}), full({1}, 2))), (Numbers{2}));
        EXPECT_EQ(tn_gather(counted({2, 2}), 0, whole({0})), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"gather", "index[1]", "x[2,2]"}));
    });
}

TEST_F(EveryIndex, AlongADimCountsFromTheEndToo) {
    tn_take_along_dim_opts opts = {};
    opts.dim = {1, true};
    tn_tensor *index = tn_reshape(whole({-1}), ints({1, 1}));
    EXPECT_EQ(numbers(tn_take_along_dim(counted({2, 3}), index, &opts)), (Numbers{2, 5}));
}

// ---- What PyTorch takes, or refuses ----

TEST_F(MathIndex, JoiningPassesOverWhatHasNothing) {
    tn_tensor *x = param(counted({2, 3})), *nothing = param(full({0}, 1));
    tn_cat_opts last = {};
    last.dim = -1;
    for (tn_tensor *y : {tn_cat(tensors({nothing, x}), nullptr),
                         tn_cat(tensors({x, nothing}), &last), tn_hstack(tensors({nothing, x}))}) {
        EXPECT_EQ(shape(y), (Shape{2, 3}));
        EXPECT_EQ(numbers(y), numbers(x));
    }
    EXPECT_EQ(shape(tn_cat(tensors({nothing, nothing}), nullptr)), (Shape{0}));
    EXPECT_TRUE(
        tn_dtype_is(tn_dtype_of(tn_cat(tensors({full({0}, 1), whole({1})}), nullptr)), TN_F64));
    ASSERT_EQ(tn_backward(tn_sum(tn_cat(tensors({x, nothing, x}), nullptr))), TN_OK);
    EXPECT_EQ(grad(x), Numbers(6, 2));
    EXPECT_EQ(tn_cat(tensors({full({0, 3}, 1), full({3}, 1)}), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"cat", "[0,3]", "[3]"}));
}

TEST_F(MathIndex, ANumberHasOneWindow) {
    tn_tensor *x = param(full({}, 5));
    EXPECT_EQ(shape(tn_unfold(x, 0, 1, 3)), (Shape{1}));
    EXPECT_EQ(shape(tn_unfold(x, -1, 0, 1)), (Shape{0}));
    ASSERT_EQ(tn_backward(tn_sum(tn_unfold(x, 0, 1, 1))), TN_OK) << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{1}));
    EXPECT_EQ(tn_unfold(x, 0, 2, 1), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"unfold", "size is 2", "only 1"}));
}

TEST_F(MathIndex, RollingNeedsADimThatIsThere) {
    const int64_t shift = 1, dim = 0;
    tn_roll_opts opts = {};
    opts.dims = {&dim, 1};
    EXPECT_EQ(tn_roll(full({}, 1), {&shift, 1}, &opts), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"roll", "dims[0] is 0", "0 dims"}));
    EXPECT_EQ(numbers(tn_roll(full({}, 1), {&shift, 1}, nullptr)), (Numbers{1}));
    const int64_t twice[] = {0, 0}, shifts[] = {1, 1};
    opts.dims = {twice, 2};
    EXPECT_EQ(numbers(tn_roll(counted({4}), {shifts, 2}, &opts)), (Numbers{2, 3, 0, 1}));
}

} // namespace
