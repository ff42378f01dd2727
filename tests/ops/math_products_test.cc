// math_products_test.cc - what matrix products and einsum promise beyond PyTorch's numbers: refusals
// that name their cause, integers in their own width.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

#include <cmath>
#include <cstring>

#include <tenon/inspect.h>

namespace {

class Products : public Tenon {};

struct Refused {
    const char *equation;
    std::vector<Shape> sizes;
    tn_status code;
    std::vector<std::string> texts;
};

TEST_F(Products, EinsumSaysWhatIsWrongWithAnEquation) {
    const Refused all[] = {
        {"ij,jk", {{2, 3}}, TN_ERR_INVALID, {"more operands than the 1"}},
        {"ij->ij", {{2, 3}, {3}}, TN_ERR_INVALID, {"1 operands", "there are 2"}},
        {"i1", {{2, 3}}, TN_ERR_INVALID, {"'1'", "operand 0"}},
        {"i->j", {{2}}, TN_ERR_INVALID, {"'j'", "no operand"}},
        {"ij->ii", {{2, 3}}, TN_ERR_INVALID, {"'i'", "twice in the output"}},
        {"ijk", {{2, 3}}, TN_ERR_SHAPE, {"operand 0", "2 dims", "3 subscripts"}},
        {"i", {{2, 3}}, TN_ERR_SHAPE, {"2 dims", "1 subscripts"}},
        {"ijk...", {{2, 3}}, TN_ERR_SHAPE, {"3 subscripts and an ellipsis"}},
        {"ij,jk", {{2, 3}, {4, 5}}, TN_ERR_SHAPE, {"'j'", "size 4", "operand 1", "3 before"}},
        {"ii", {{2, 3}}, TN_ERR_SHAPE, {"'i'", "twice in operand 0", "2 and 3"}},
        {"..ij", {{2, 3}}, TN_ERR_INVALID, {"'.'", "ellipsis"}},
        {"...i...", {{2, 3}}, TN_ERR_INVALID, {"'.'", "one ellipsis"}},
        {"ij-ji", {{2, 3}}, TN_ERR_INVALID, {"'-'", "out of place"}},
        {"ij->ji->", {{2, 3}}, TN_ERR_INVALID, {"'-'", "out of place"}},
        {"ij->i,j", {{2, 3}}, TN_ERR_INVALID, {"','", "out of place"}},
        {"", {{2}}, TN_ERR_SHAPE, {"1 dims", "0 subscripts"}},
    };
    for (const Refused &r : all) {
        SCOPED_TRACE(r.equation);
        std::vector<tn_tensor *> operands;
        for (const Shape &sizes : r.sizes) operands.push_back(full(sizes, 1));
        EXPECT_EQ(tn_einsum(r.equation, tensors(operands)), nullptr);
        EXPECT_EQ(tn_error(), r.code);
        EXPECT_EQ(std::string(tn_error_message()).rfind("einsum: ", 0), 0u) << tn_error_message();
        for (const std::string &text : r.texts)
            EXPECT_NE(std::string(tn_error_message()).find(text), std::string::npos)
                << tn_error_message();
        tn_clear_error();
    }
    EXPECT_EQ(tn_einsum("i", {nullptr, 0}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"operands is empty"}));
}

TEST_F(Products, EinsumRefusesMoreDimsThanATensorCanHave) {
    tn_tensor *wide = full(Shape(9, 1), 1);
    EXPECT_EQ(tn_einsum("abcdefghi,jklmnopqr->abcdefghijklmnopqr", tensors({wide, wide})), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"'q'"}));
    EXPECT_EQ(tn_einsum("abcdefghi,jklmnopqr", tensors({wide, wide})), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"18 dims", "16"}));
}

TEST_F(Products, TensordotNamesDimsThatDoNotFit) {
    tn_tensor *a = full({2, 3}, 1), *b = full({4, 5}, 1);
    EXPECT_EQ(tn_tensordot(a, b, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"tensordot", "dim 0 of a has size 2"}));
    tn_tensordot_opts three = {};
    three.dims = TN_SET(3);
    EXPECT_EQ(tn_tensordot(a, b, &three), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"dims is 3"}));
    EXPECT_EQ(tn_tensordot_dims(a, b, ints({0}), ints({0, 1})), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"come in pairs"}));
}

TEST_F(Products, AddmmInPlaceAddsToWhatItWrites) {
    on_each_provider([&] {
        tn_tensor *c = full({2, 2}, 1, TN_F32), *a = full({2, 3}, 2, TN_F32);
        ASSERT_NE(tn_addmm_(c, a, full({3, 2}, 1, TN_F32), nullptr), nullptr) << tn_error_message();
        EXPECT_EQ(numbers(tn_to(c, TN_F64)), Numbers(4, 7.0));
        EXPECT_EQ(tn_addmm_(full({2}, 1, TN_F32), a, full({3, 2}, 1, TN_F32), nullptr), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"addmm_"}));
    });
}

TEST_F(Products, AddmmPassesOverWhatStandsBesideAFactorOfZero) {
    const Numbers odd = {INFINITY, NAN, 1, 2};
    on_each_provider([&] {
        for (const tn_dtype dtype : {TN_F16, TN_BF16, TN_F32, TN_F64}) {
            tn_tensor *c = tn_to(from({1, 2, 3, 4}, {2, 2}), dtype);
            tn_tensor *a = tn_to(from(odd, {2, 2}), dtype);
            tn_addmm_opts opts = {};
            opts.alpha = tn_int(0), opts.beta = tn_float(2);
            EXPECT_EQ(numbers(tn_to(tn_addmm(c, a, c, &opts), TN_F64)), (Numbers{2, 4, 6, 8}));
            tn_tensor *row = tn_select(c, 0, 0);
            tn_addmv_opts of_vectors = {};
            of_vectors.alpha = tn_float(0);
            EXPECT_EQ(numbers(tn_to(tn_addmv(row, a, row, &of_vectors), TN_F64)), (Numbers{1, 2}));
            opts.alpha = tn_int(1), opts.beta = tn_int(0);
            EXPECT_EQ(numbers(tn_to(tn_addmm(a, c, c, &opts), TN_F64)), (Numbers{7, 10, 15, 22}));
        }
    });
}

TEST_F(Products, CrossNeedsADimOfSizeThree) {
    EXPECT_EQ(tn_cross(full({2, 4}, 1), full({2, 4}, 1), nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"cross", "[2,4]", "size 3"}));
    tn_cross_opts opts = {};
    opts.dim = TN_SET(2);
    EXPECT_EQ(tn_cross(full({2, 3}, 1), full({2, 3}, 1), &opts), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INDEX, {"dim is 2"}));
}

TEST_F(Products, AddmmNamesWhatDoesNotFit) {
    tn_tensor *a = full({3, 4}, 1), *b = full({4, 5}, 1);
    EXPECT_EQ(tn_addmm(full({2, 5}, 1), a, b, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"addmm", "c[2,5]", "[3,5]"}));
    EXPECT_EQ(tn_addmm(full({1, 3, 5}, 1), a, b, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"c[1,3,5]"}));
    tn_addmm_opts much = {};
    much.alpha = tn_float(1e10);
    tn_tensor *i = full({4, 4}, 1, TN_I32);
    EXPECT_EQ(tn_addmm(i, i, i, &much), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"addmm", "alpha", "10000000000"}));
}

// As in PyTorch: [[1, 2], [3, 4]] is added to its square.
TEST_F(Products, IntegersAreScaledByTheIntegerPartOfAFactor) {
    tn_tensor *m = tn_to(from({1, 2, 3, 4}, {2, 2}), TN_I64), *v = tn_to(from({1, 2}), TN_I64);
    auto wide = [](tn_tensor *t) {
        EXPECT_TRUE(tn_dtype_is(tn_dtype_of(t), TN_I64));
        return numbers(tn_to(t, TN_F64));
    };
    on_each_provider([&] {
        tn_addmm_opts mm = {};
        tn_addmv_opts mv = {};
        tn_baddbmm_opts b = {};
        mm.alpha = mv.alpha = b.alpha = tn_float(1.5);
        mm.beta = mv.beta = b.beta = tn_float(2.9);
        EXPECT_EQ(wide(tn_addmm(m, m, m, &mm)), (Numbers{9, 14, 21, 30}));
        EXPECT_EQ(wide(tn_addmv(v, m, v, &mv)), (Numbers{7, 15}));
        tn_tensor *ms = tn_unsqueeze(m, 0);
        EXPECT_EQ(wide(tn_baddbmm(ms, ms, ms, &b)), (Numbers{9, 14, 21, 30}));
        mm.alpha = mm.beta = tn_float(0.5);
        EXPECT_EQ(wide(tn_addmm(m, m, m, &mm)), (Numbers{0, 0, 0, 0}));
        EXPECT_EQ(wide(tn_addmm_(tn_clone(m), m, m, &mm)), (Numbers{0, 0, 0, 0}));
    });
}

// What is summed without a product comes as from sum, what is multiplied as from matmul.
TEST_F(Products, EinsumSumsIntegersInI64AndMultipliesThemInTheirDtype) {
    const char *const sums[] = {"i->", "ij->i", "ij->", "ii->", "...i->..."};
    const char *const pairs[] = {"i,j->", "ij,jk->", "ij,k->k", "i,j->i"};
    const char *const kept[] = {"i->i", "ii->i", "ij->ji", "i,i->i", "i,j->ij"};
    const char *const products[] = {"i,i->",        "ij,jk->ik",   "ij,j->i",
                                    "bij,bjk->bik", "bij,bjk->ik", "ij,ij,ij->"};
    auto rank = [](const char *at) {
        Shape sizes;
        for (; *at && *at != '-' && *at != ','; at++)
            if (*at != '.') sizes.push_back(3);
        return sizes;
    };
    auto dtype_of = [&](const char *equation, tn_dtype dtype) {
        std::vector<tn_tensor *> operands;
        for (const char *at = equation; at && *at != '-';) {
            operands.push_back(full(rank(at), 1, dtype));
            const size_t n = strcspn(at, ",-");
            at += n + (at[n] == ',');
        }
        tn_tensor *y = tn_einsum(equation, tensors(operands));
        EXPECT_NE(y, nullptr) << equation << tn_error_message();
        return std::string(y ? tn_dtype_name(tn_dtype_of(y)) : "");
    };
    for (const tn_dtype dtype : {TN_BOOL, TN_U8, TN_I8, TN_I16, TN_I32, TN_I64}) {
        const std::string own = tn_dtype_name(dtype);
        for (const char *e : sums) EXPECT_EQ(dtype_of(e, dtype), "i64") << e << own;
        for (const char *e : pairs) EXPECT_EQ(dtype_of(e, dtype), "i64") << e << own;
        for (const char *e : kept) EXPECT_EQ(dtype_of(e, dtype), own) << e;
        if (tn_dtype_is(dtype, TN_BOOL)) continue;
        for (const char *e : products) EXPECT_EQ(dtype_of(e, dtype), own) << e;
    }
    tn_tensor *x = full({200}, 1, TN_I8), *y = full({1}, 1, TN_I8);
    EXPECT_EQ(numbers(tn_to(tn_einsum("i->", tensors({x})), TN_F64)), (Numbers{200}));
    EXPECT_EQ(numbers(tn_to(tn_einsum("i,i->", tensors({x, y})), TN_F64)), (Numbers{200}));
    EXPECT_EQ(numbers(tn_to(tn_einsum("i,i->", tensors({x, x})), TN_F64)), (Numbers{-56}));
    tn_tensordot_opts one = {};
    one.dims = {1, true};
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(tn_tensordot(x, y, &one)), TN_I8)); // PyTorch's does so
    tn_tensor *yes = full({2}, 1, TN_BOOL);
    EXPECT_EQ(tn_einsum("i,i->", tensors({yes, yes})), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"einsum", "bool"}));
}

TEST_F(Products, BooleansAreRefusedAsFactors) {
    tn_tensor *yes = full({2, 2}, 1, TN_BOOL);
    EXPECT_EQ(tn_matmul(yes, yes), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_DTYPE, {"matmul", "bool"}));
}

TEST_F(Products, IntegersMultiplyExactlyInTheirOwnWidth) {
    const int64_t big = (INT64_C(1) << 53) + 1;
    tn_tensor *a = tn_full(ints({1, 1}), tn_int(big), TN_I64);
    int64_t exact = 0;
    tn_read(tn_matmul(a, tn_full(ints({1, 1}), tn_int(3), TN_I64)), &exact, sizeof exact);
    EXPECT_EQ(exact, 3 * big);
    tn_tensor *bytes = tn_matmul(full({1, 2}, 100, TN_U8), full({2, 1}, 2, TN_U8));
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(bytes), TN_U8));
    EXPECT_EQ(tn_item(bytes), 400 - 256);
}

TEST_F(Products, SixteenBitFloatsAddUpWide) {
    tn_tensor *ones = full({1, 4096}, 1, TN_F16), *small = full({4096, 1}, 0.125, TN_F16);
    EXPECT_EQ(tn_item(tn_matmul(ones, small)), 512);
    EXPECT_EQ(tn_item(tn_matmul(full({1, 4096}, 1, TN_BF16), full({4096, 1}, 1, TN_BF16))), 4096);
}

TEST_F(Products, ContractionsKeepTheDtypeWhateverTheyContract) {
    for (const tn_dtype dtype : {TN_F16, TN_BF16, TN_F32, TN_F64, TN_I8, TN_I64}) {
        SCOPED_TRACE(tn_dtype_name(dtype));
        tn_tensor *a = full({2, 3}, 2, dtype), *b = full({4}, 3, dtype), *one = full({1}, 3, dtype);
        tn_tensor *row = full({1, 2}, 3, dtype);
        tn_tensordot_opts none = {}, last = {};
        none.dims = TN_SET(0), last.dims = TN_SET(1);
        for (tn_tensor *y :
             {tn_tensordot(a, b, &none), tn_tensordot(a, tn_scalar_int(3), &none),
              tn_tensordot(a, row, &last), tn_tensordot_dims(a, one, ints({0}), ints({0}))})
            EXPECT_TRUE(tn_dtype_is(tn_dtype_of(y), dtype)) << tn_to_string(y);
    }
}

// ---- linear and its backward as kernels of their own -------------------------------------------

Numbers noise(size_t n, int seed) {
    Numbers out;
    for (size_t i = 0; i < n; i++)
        out.push_back(std::sin(static_cast<double>(i * 7919 % 10007) + seed));
    return out;
}

tn_tensor *noisy(const Shape &sizes, int seed, tn_dtype dtype) {
    size_t n = 1;
    for (int64_t s : sizes) n *= static_cast<size_t>(s);
    return tn_to(tn_from(noise(n, seed).data(), ints(sizes), TN_F64), dtype);
}

struct Layer { // what a layer gives: y, dw, db; y by addmm and baddbmm; the product added to that
    std::vector<Numbers> results;
};

Layer layer(tn_tensor *x, tn_tensor *w, tn_tensor *b, tn_tensor *grad) {
    const tn_linear_opts opts = {b};
    tn_tensor *y = tn_linear(x, w, &opts);
    const tn_linear_bwd_result d = tn_linear_bwd(grad, x);
    Layer out;
    tn_tensor *rows = tn_reshape(x, ints({-1, shape(x).back()}));
    tn_tensor *sum = tn_addmm(b, rows, tn_transpose(w, 0, 1), nullptr);
    tn_tensor *twice = tn_addmm(sum, rows, tn_transpose(w, 0, 1), nullptr);
    tn_tensor *both = tn_expand(tn_unsqueeze(tn_transpose(w, 0, 1), 0),
                                ints({2, shape(w)[1], shape(w)[0]})); // one matrix, stride 0
    tn_tensor *apart = tn_baddbmm(b, x, both, nullptr), *more = tn_baddbmm(y, x, both, nullptr);
    for (tn_tensor *t : {y, d.dw, d.db, sum, twice, apart, more})
        out.results.push_back(numbers(tn_to(t, TN_F64)));
    return out;
}

TEST_F(Products, LinearAndItsBackwardAreTheSameWithEveryProviderAndThreadCount) {
    tn_set_deterministic(true); // else OpenBLAS may cut a product by threads
    const Shape all[] = {{1, 5, 3},     {33, 1, 17}, {3, 300, 260},
                         {70, 33, 500}, {0, 4, 3},   {4, 2, 0}};
    for (const Shape &s : all)
        for (const tn_dtype dtype : {TN_F32, TN_F64}) {
            SCOPED_TRACE(::testing::PrintToString(s));
            const int64_t n = s[0], in = s[1], out = s[2];
            tn_tensor *x = noisy({2, n, in}, 1, dtype), *w = noisy({out, in}, 2, dtype);
            tn_tensor *b = noisy({out}, 3, dtype), *grad = noisy({2, n, out}, 4, dtype);
            tn_tensor *turned = tn_transpose(noisy({in, out}, 2, dtype), 0, 1);
            for (tn_tensor *weight : {w, turned}) {
                ASSERT_EQ(tn_use_provider("cpu_ref"), TN_OK);
                const Layer want = layer(x, weight, b, grad);
                ASSERT_EQ(tn_use_provider("cpu_blas"), TN_OK);
                ASSERT_EQ(tn_set_threads(1), TN_OK);
                const Layer have = layer(x, weight, b, grad);
                ASSERT_EQ(tn_set_threads(7), TN_OK);
                EXPECT_EQ(layer(x, weight, b, grad).results, have.results);
                const double tolerance =
                    (tn_dtype_is(dtype, TN_F64) ? 2e-15 : 1e-6) * static_cast<double>(n + in + 4);
                for (size_t k = 0; k < want.results.size(); k++) {
                    ASSERT_EQ(have.results[k].size(), want.results[k].size());
                    for (size_t i = 0; i < want.results[k].size(); i++)
                        ASSERT_NEAR(have.results[k][i], want.results[k][i], tolerance) << k;
                }
            }
        }
    tn_set_deterministic(false);
    tn_use_provider(nullptr);
}

TEST_F(Products, ALayerIsOneKernelForwardAndOneForItsParameters) {
    tn_tensor *x = full({4, 3}, 1, TN_F32);
    EXPECT_EQ(std::string(tn_op_providers("linear", "cpu")), "cpu_blas");
    EXPECT_EQ(std::string(tn_op_providers("linear_bwd", "cpu")), "cpu_blas");
    ASSERT_NE(tn_linear(x, full({5, 3}, 1, TN_F32), nullptr), nullptr);
    EXPECT_STREQ(tn_last_provider(), "cpu_blas");
    EXPECT_EQ(std::string(tn_op_providers("baddbmm", "cpu")), "cpu_blas");
}

TEST_F(Products, CrossIsOfTwoVectorsOfThree) {
    tn_cross_opts opts = {};
    opts.dim = {1, true};
    tn_tensor *three = from({1, 2, 3}, {1, 3});
    for (tn_tensor *other : {full({1, 1}, 1), full({3}, 1)}) {
        EXPECT_EQ(tn_cross(three, other, &opts), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"cross", "a[1,3]", "one rank", "size 3"}));
        EXPECT_EQ(tn_cross(other, three, nullptr), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"cross", "b[1,3]"}));
    }
    EXPECT_EQ(numbers(tn_cross(three, from({1, 2, 3, 2, 3, 1}, {2, 3}), &opts)),
              (Numbers{0, 0, 0, -7, 5, -1}));
}

TEST_F(Products, LinearTakesAWeightOfOneRow) {
    on_each_provider([&] {
        tn_tensor *x = param(from({0, 1, 2, 3, 4, 5}, {2, 3})), *w = param(from({1, 2, 3}));
        tn_tensor *b = param(full({}, 1));
        tn_linear_opts opts = {};
        opts.b = b;
        tn_tensor *y = tn_linear(x, w, &opts);
        EXPECT_EQ(shape(y), (Shape{2}));
        EXPECT_EQ(numbers(y), (Numbers{9, 27}));
        ASSERT_EQ(tn_backward(tn_sum(y)), TN_OK) << tn_error_message();
        EXPECT_EQ(grad(x), (Numbers{1, 2, 3, 1, 2, 3}));
        EXPECT_EQ(grad(w), (Numbers{3, 5, 7}));
        EXPECT_EQ(grad(b), (Numbers{2}));
        EXPECT_EQ(shape(tn_linear(from({1, 2, 3}), w, &opts)), (Shape{}));
        EXPECT_EQ(shape(tn_linear(full({2, 2, 3}, 1), w, nullptr)), (Shape{2, 2}));
        opts.b = full({1}, 1);
        EXPECT_EQ(tn_linear(x, w, &opts), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"linear", "b[1]", "w[3]"}));
    });
}

} // namespace
