// acme_test.cc - a library with a namespace, results that may be absent, lists beside others and lists of
// bools, by the wrappers that opgen makes. SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <sstream>

#include <tenon/check.h>
#include <tenon/hooks.h>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"
#include "tests/opgen/acme_ops.h"

namespace {

class Acme : public Tenon {
  protected:
    static void SetUpTestSuite() {
        Tenon::SetUpTestSuite();
        ASSERT_EQ(tn_plugin_load(getenv("ACME_PLUGIN")), TN_OK) << tn_error_message();
    }
};

TEST_F(Acme, HasNamesBesideThoseOfTheStandardOps) {
    EXPECT_EQ(numbers(acme_mul(from({1, 2}), from({3, 4}))), (Numbers{30, 80}));
    EXPECT_EQ(numbers(tn_mul(from({1, 2}), from({3, 4}))), (Numbers{3, 8}));
    EXPECT_EQ(numbers(acme_mul(from({1, 2}), 3)), (Numbers{30, 60})) << "a number for a tensor";
    tn_tensor *x = from({1, 2});
    EXPECT_EQ(acme_mul_(x, from({3, 4})), x);
    EXPECT_EQ(numbers(x), (Numbers{30, 80}));
    EXPECT_EQ(numbers(acme_both(from({1}), from({2}))), (Numbers{40}));
    EXPECT_EQ(numbers(acme_mul_scaled(from({1}), from({2}), nullptr)), (Numbers{20}));
}

TEST_F(Acme, RunsItsKernelWhereThatFits) {
    EXPECT_EQ(numbers(acme_mul(full({2}, 2, TN_F32), full({2}, 3, TN_F32))), (Numbers{60, 60}));
    EXPECT_STREQ(tn_last_provider(), "acme");
    EXPECT_STREQ(tn_op_providers("acme::mul", "cpu"), "acme");
}

TEST_F(Acme, ClashesOnlyWithTheSameFullName) {
    tn_op row = {};
    row.size = sizeof row;
    row.schema = "other::mul(Tensor<T> a, Tensor<T> b) -> Tensor y";
    row.shape_rule = "broadcast", row.no_grad = "only a test";
    EXPECT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    row.schema = "acme::mul(Tensor<T> a, Tensor<T> b) -> Tensor y";
    EXPECT_EQ(tn_op_add(&row), TN_ERR_CONFLICT);
    EXPECT_TRUE(error_is(TN_ERR_CONFLICT, {"acme::mul: already registered by 'acme'"}));
    tn_op_ref ref = {"acme::mull", 0, 0};
    tn_value out;
    EXPECT_EQ(tn_op_call(&ref, nullptr, 0, &out, 1), TN_ERR_NOTFOUND);
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"did you mean 'acme::mul'"}));
}

TEST_F(Acme, IsNamedAsAPartOfAnotherOp) {
    tn_op row = {};
    row.size = sizeof row;
    row.schema = "other::whole(Tensor<F> x) -> Tensor y";
    row.shape_rule = "same";
    row.decompose = [](const tn_value *args, uint32_t, tn_value *outs, uint32_t) {
        outs[0] = tn_value_tensor(acme_mul(args[0].tensor, full({7}, 1)));
        return tn_error();
    };
    ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    tn_op_ref ref = {"other::whole", 0, 0};
    const tn_value x = tn_value_tensor(full({2}, 1));
    tn_value out;
    EXPECT_EQ(tn_op_call(&ref, &x, 1, &out, 1), TN_ERR_SHAPE);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE, {"other::whole: its part acme::mul: "}));
}

TEST_F(Acme, GivesOnlyTheGradientsThatAreWanted) {
    const bool first[] = {true, false}, none[] = {false, false};
    acme_mul_bwd_opts opts = {};
    acme_mul_bwd_result r = acme_mul_bwd(from({1}), from({2}), from({3}), nullptr);
    EXPECT_EQ(numbers(r.da), (Numbers{3}));
    EXPECT_EQ(numbers(r.db), (Numbers{2}));
    opts.wanted = {first, 2};
    r = acme_mul_bwd(from({1}), from({2}), from({3}), &opts);
    EXPECT_EQ(numbers(r.da), (Numbers{3}));
    EXPECT_EQ(r.db, nullptr);
    opts.wanted = {none, 2};
    r = acme_mul_bwd(from({1}), from({2}), from({3}), &opts);
    EXPECT_EQ(r.da, nullptr);
    EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
    opts.wanted = {none, 1};
    acme_mul_bwd(from({1}), from({2}), from({3}), &opts);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"acme::mul_bwd", "'wanted' must have 2 entries, not 1"}));
}

TEST_F(Acme, GivesAListBesideATensor) {
    tn_tensor *x = param(from({1, 2}));
    acme_split_sum_opts opts = {};
    opts.n = {3, true};
    const acme_split_sum_result r = acme_split_sum(x, &opts);
    EXPECT_EQ(numbers(r.sum), (Numbers{3, 6}));
    ASSERT_EQ(r.parts.n, 3);
    EXPECT_EQ(numbers(r.parts.ptr[2]), (Numbers{1, 2}));
    ASSERT_EQ(tn_backward(tn_add(tn_sum(r.sum), tn_sum(r.parts.ptr[1]))), TN_OK)
        << tn_error_message();
    EXPECT_EQ(grad(x), (Numbers{4, 4}));
}

TEST_F(Acme, HasDerivativesThatAgreeWithDifferences) {
    for (const char *op : {"acme::mul", "acme::mul_bwd", "acme::split_sum", "acme::both"})
        for (const int order : {1, 2})
            EXPECT_EQ(tn_op_gradcheck(op, -1, order, nullptr), TN_OK) << op << tn_error_message();
}

} // namespace
