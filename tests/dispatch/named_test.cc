// named_test.cc - ops as data: what they take and give, and calls by names, as bindings to other
// languages make them. SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <string>
#include <vector>

#include <tenon/inspect.h>

#include "tests/support/rows.h"

namespace {

using std::string;

tn_value tensor(tn_tensor *t) {
    tn_value v = {};
    v.tag = TN_TAG_TENSOR;
    v.tensor = t;
    return v;
}

tn_value whole(int64_t i) {
    tn_value v = {};
    v.tag = TN_TAG_INT;
    v.i = i;
    return v;
}

tn_tensor *numbers() {
    const float data[] = {3, 1, 2, 6, 5, 4};
    const int64_t sizes[] = {2, 3};
    return tn_from(data, {sizes, 2}, TN_F32);
}

string error() {
    const string text = tn_error_message();
    tn_clear_error();
    return text;
}

tn_arg_info argument(const char *op, uint32_t i) {
    tn_arg_info info = {};
    info.size = sizeof info;
    EXPECT_EQ(tn_op_arg(op, i, &info), TN_OK) << tn_error_message();
    return info;
}

class Named : public Tenon {
  protected:
    string refusal(const char *op, const std::vector<const char *> &names,
                   const std::vector<tn_value> &values, uint32_t n_outs = 1) {
        tn_value outs[4] = {};
        EXPECT_NE(tn_op_call_named(op, names.data(), values.data(),
                                   static_cast<uint32_t>(values.size()), outs, n_outs),
                  TN_OK);
        return error();
    }
};

TEST_F(Named, TellsWhatEachArgumentIs) {
    EXPECT_STREQ(argument("softmax", 0).name, "x");
    EXPECT_STREQ(argument("softmax", 0).type, "Tensor");
    EXPECT_EQ(argument("softmax", 0).flags, 0u);
    const tn_arg_info dim = argument("sort", 1);
    EXPECT_STREQ(dim.name, "dim");
    EXPECT_STREQ(dim.type, "int");
    EXPECT_EQ(dim.flags, TN_ARG_DEFAULT);
    EXPECT_EQ(dim.def.i, -1);
    EXPECT_STREQ(argument("cat", 0).type, "Tensor[]");
    EXPECT_STREQ(argument("reshape", 1).type, "int[]");
    EXPECT_EQ(argument("layer_norm", 2).flags, TN_ARG_OPTIONAL | TN_ARG_DEFAULT);
    EXPECT_EQ(argument("copy_", 0).flags, TN_ARG_WRITTEN);
}

TEST_F(Named, TellsHowManyArgumentsAndResultsThereAre) {
    for (int64_t k = 0; k < tn_op_count(); k++) {
        tn_op_info op = {};
        op.size = sizeof op;
        ASSERT_EQ(tn_op_at(k, &op), TN_OK);
        tn_arg_info info = {};
        info.size = sizeof info;
        for (uint32_t i = 0; i < op.n_args; i++) {
            ASSERT_EQ(tn_op_arg(op.name, i, &info), TN_OK) << op.name;
            EXPECT_NE(string(op.schema).find(string(info.type).substr(0, 3)), string::npos);
            EXPECT_NE(string(op.schema).find(info.name), string::npos) << op.name;
        }
        EXPECT_EQ(tn_op_arg(op.name, op.n_args, &info), TN_ERR_INDEX) << op.name;
        EXPECT_NE(error().find("has " + std::to_string(op.n_args) + " arguments"), string::npos);
        for (uint32_t i = 0; i < op.n_results; i++)
            ASSERT_EQ(tn_op_result(op.name, i, &info), TN_OK) << op.name;
        EXPECT_EQ(tn_op_result(op.name, op.n_results, &info), TN_ERR_INDEX) << op.name;
        tn_clear_error();
    }
}

TEST_F(Named, SkipsResultsThatCallersDoNotGet) {
    tn_arg_info info = {};
    info.size = sizeof info;
    ASSERT_EQ(tn_op_result("sort", 1, &info), TN_OK);
    EXPECT_STREQ(info.name, "indices");
    EXPECT_STREQ(info.type, "Tensor");
    EXPECT_EQ(tn_op_result("layer_norm", 1, &info), TN_ERR_INDEX);
    EXPECT_EQ(error(), "layer_norm: has 1 results, and no number 1");
}

TEST_F(Named, FillsNoMoreThanTheCallerHasRoomFor) {
    struct {
        tn_arg_info info;
        char guard[8];
    } small = {};
    small.info.size = offsetof(tn_arg_info, def);
    ASSERT_EQ(tn_op_arg("sort", 1, &small.info), TN_OK);
    EXPECT_STREQ(small.info.name, "dim");
    EXPECT_EQ(small.info.def.i, 0);
    EXPECT_EQ(small.info.size, offsetof(tn_arg_info, def));
    tn_arg_info none = {};
    EXPECT_EQ(tn_op_arg("sort", 1, &none), TN_ERR_INVALID);
    EXPECT_EQ(error(), "tn_op_arg: set out->size first");
    EXPECT_EQ(tn_op_result("sort", 1, nullptr), TN_ERR_INVALID);
    EXPECT_EQ(error(), "tn_op_result: set out->size first");
}

TEST_F(Named, CallsByNameInAnyOrder) {
    const char *const names[] = {"descending", "x"};
    tn_value yes = {}, outs[2] = {};
    yes.tag = TN_TAG_BOOL;
    yes.i = 1;
    const tn_value values[] = {yes, tensor(numbers())};
    ASSERT_EQ(tn_op_call_named("sort", names, values, 2, outs, 2), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_to_string(outs[0].tensor), "f32[2,3] [[3, 2, 1], [6, 5, 4]]");
    EXPECT_STREQ(tn_to_string(outs[1].tensor), "i64[2,3] [[0, 2, 1], [0, 1, 2]]");
}

TEST_F(Named, TakesArgumentsByPlaceWhereTheyHaveNoName) {
    const char *const names[] = {nullptr, "dim"};
    const tn_value values[] = {tensor(numbers()), whole(0)};
    tn_value outs[2] = {};
    ASSERT_EQ(tn_op_call_named("sort", names, values, 2, outs, 2), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_to_string(outs[0].tensor), "f32[2,3] [[3, 1, 2], [6, 5, 4]]");
    ASSERT_EQ(tn_op_call_named("sort", nullptr, values, 1, outs, 2), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_to_string(outs[0].tensor), "f32[2,3] [[1, 2, 3], [4, 5, 6]]");
}

TEST_F(Named, TakesNumbersForTensors) {
    tn_value half = {}, y = {};
    half.tag = TN_TAG_FLOAT;
    half.f = 0.5;
    const tn_value values[] = {tensor(numbers()), half}, sum[] = {whole(2), tensor(numbers())};
    ASSERT_EQ(tn_op_call_named("mul", nullptr, values, 2, &y, 1), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_to_string(y.tensor), "f32[2,3] [[1.5, 0.5, 1], [3, 2.5, 2]]");
    ASSERT_EQ(tn_op_call_named("add", nullptr, sum, 2, &y, 1), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_to_string(y.tensor), "f32[2,3] [[5, 3, 4], [8, 7, 6]]");
}

TEST_F(Named, RecordsLikeAnyOtherCall) {
    tn_tensor *x = numbers();
    tn_set_requires_grad(x, true);
    const tn_value values[] = {tensor(x), tensor(x)};
    tn_value y = {};
    ASSERT_EQ(tn_op_call_named("mul", nullptr, values, 2, &y, 1), TN_OK);
    ASSERT_EQ(tn_op_call_named("sum", nullptr, &y, 1, &y, 1), TN_OK) << tn_error_message();
    ASSERT_EQ(tn_backward(y.tensor), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_to_string(tn_grad_of(x)), "f32[2,3] [[6, 2, 4], [12, 10, 8]]");
}

TEST_F(Named, NamesWhatIsWrongWithACall) {
    const tn_value x = tensor(numbers()), one = whole(1);
    EXPECT_EQ(refusal("sort", {"x", "dmi"}, {x, one}, 2),
              "sort: has no argument 'dmi'; did you mean 'dim'?");
    EXPECT_EQ(refusal("sort", {"x", "temperature"}, {x, one}, 2),
              "sort: has no argument 'temperature'");
    EXPECT_EQ(refusal("sort", {"dim"}, {one}, 2), "sort: argument 'x' is missing");
    EXPECT_EQ(refusal("sort", {nullptr, "x"}, {x, x}, 2), "sort: argument 'x' is given twice");
    EXPECT_EQ(refusal("neg", {nullptr, nullptr}, {x, x}), "neg: takes 1 arguments, not 2");
    EXPECT_NE(refusal("sotr", {"x"}, {x}, 2).find("did you mean 'sort'"), string::npos);
    EXPECT_EQ(tn_op_call_named(nullptr, nullptr, &x, 1, nullptr, 0), TN_ERR_INVALID);
    EXPECT_EQ(error(), "tn_op_call_named: the op's name is NULL");
    tn_value out = {};
    EXPECT_EQ(tn_op_call_named("neg", nullptr, nullptr, 1, &out, 1), TN_ERR_INVALID);
    EXPECT_EQ(error(), "neg: its 1 arguments are at NULL");
}

TEST_F(Named, DoesNothingWhileAnErrorIsPending) {
    tn_raise(TN_ERR_SHAPE, "first");
    const tn_value x = tensor(nullptr);
    tn_value out = {};
    EXPECT_EQ(tn_op_call_named("neg", nullptr, &x, 1, &out, 1), TN_ERR_SHAPE);
    EXPECT_EQ(error(), "first");
}

} // namespace
