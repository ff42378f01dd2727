// contract_test.cc - contracts: named dims, ranges, ranks and dims that are made non-negative.
// SPDX-License-Identifier: Apache-2.0
#include <initializer_list>
#include <string>
#include <vector>

#include "gtest/gtest.h"

extern "C" {
#include "core/schema/contract.h"
#include "core/schema/schema.h"
}

namespace {

struct View {
    std::vector<int64_t> sizes;
    tn_view view{};
    View(std::initializer_list<int64_t> s) : sizes(s) {
        view.rank = (int32_t)sizes.size();
        view.dtype = TN_F32;
        view.sizes = sizes.data();
    }
    View(const View &) = delete;
    tn_value value() const {
        tn_value v = tn_value_none();
        v.tag = TN_TAG_VIEW, v.view = &view;
        return v;
    }
};

tn_value list(const std::vector<const tn_view *> &views) {
    tn_value v = tn_value_none();
    v.tag = TN_TAG_VIEWS, v.aux = (uint32_t)views.size(), v.views = views.data();
    return v;
}

class Contract : public testing::Test {
  protected:
    tni_schema schema;
    tni_contract *contract = nullptr;
    int64_t ints[TNI_MAX_ARGS * TN_MAX_RANK];
    char why[256] = "";

    void load(const char *schema_text, const char *text) {
        tni_contract_free(contract);
        ASSERT_EQ(tni_schema_parse(schema_text, &schema, why, sizeof why), TN_OK) << why;
        contract = tni_contract_parse(text, &schema, why, sizeof why);
        ASSERT_NE(contract, nullptr) << why;
    }
    tn_status check(std::vector<tn_value> &args) {
        why[0] = 0;
        return tni_contract_check(contract, &schema, args.data(), (uint32_t)args.size(), ints, why,
                                  sizeof why);
    }
    tn_status check(std::vector<tn_value> &&args) { return check(args); }
    std::string refusal(const char *schema_text, const char *text) {
        EXPECT_EQ(tni_schema_parse(schema_text, &schema, why, sizeof why), TN_OK) << why;
        tni_contract *c = tni_contract_parse(text, &schema, why, sizeof why);
        EXPECT_EQ(c, nullptr) << text;
        tni_contract_free(c);
        return why;
    }
    ~Contract() override { tni_contract_free(contract); }
};

TEST_F(Contract, EqualNamesMeanEqualSizes) {
    load("f(Tensor x, Tensor w) -> Tensor", "x:[N,C] w:[O,C]");
    const View x{2, 3}, good{7, 3}, bad{7, 5}, flat{3};
    EXPECT_EQ(check({x.value(), good.value()}), TN_OK);
    EXPECT_EQ(check({x.value(), bad.value()}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "w: dim 1 is 5, but C is 3 (from x dim 1)");
    EXPECT_EQ(check({x.value(), flat.value()}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "w: rank is 1 (shape [3]), but must be 2");
}

TEST_F(Contract, StarTakesAnyNumberOfDims) {
    load("f(Tensor x) -> Tensor", "x:[N,*,3]");
    const View two{5, 3}, five{5, 1, 1, 1, 3}, bad{5, 1, 4}, one{3};
    EXPECT_EQ(check({two.value()}), TN_OK);
    EXPECT_EQ(check({five.value()}), TN_OK);
    EXPECT_EQ(check({bad.value()}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "x: dim 2 is 4, but must be 3");
    EXPECT_EQ(check({one.value()}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "x: rank is 1 (shape [3]), but must be at least 2");
}

TEST_F(Contract, FactorsComeFromIntArguments) {
    load("conv(Tensor x, Tensor w, int groups) -> Tensor", "x:[N,C,*] w:[O,C/groups,*]");
    const View x{1, 6, 9}, w2{4, 3, 5}, w1{4, 6, 5};
    EXPECT_EQ(check({x.value(), w2.value(), tn_int(2)}), TN_OK);
    EXPECT_EQ(check({x.value(), w1.value(), tn_int(2)}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "w: dim 1 is 6, but C/groups is 3 (C is 6 from x dim 1)");
    EXPECT_EQ(check({x.value(), w1.value(), tn_int(4)}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "w: dim 1 must be C/groups, but C is 6, which groups = 4 does not divide");
    EXPECT_EQ(check({x.value(), w1.value(), tn_int(0)}), TN_ERR_INVALID);
    EXPECT_STREQ(why, "w: dim 1 must be C/groups, but groups is 0; it must be at least 1");
    load("f(Tensor x, Tensor y, int n) -> Tensor", "x:[C] y:[C*n]");
    const View huge{INT64_MAX / 2}, three{3}, six{6};
    EXPECT_EQ(check({three.value(), six.value(), tn_int(2)}), TN_OK);
    EXPECT_EQ(check({huge.value(), six.value(), tn_int(3)}), TN_ERR_OVERFLOW);
}

TEST_F(Contract, ADimNamedLikeAnIntArgumentMustEqualIt) {
    load("f(Tensor x, int n) -> Tensor", "x:[n,_]");
    const View x{4, 9};
    EXPECT_EQ(check({x.value(), tn_int(4)}), TN_OK);
    EXPECT_EQ(check({x.value(), tn_int(5)}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "x: dim 0 is 4, but argument n is 5");
}

TEST_F(Contract, SkipsAbsentOptionalTensors) {
    load("f(Tensor x, Tensor? w=None, Tensor? b=None) -> Tensor", "w:[N] b:[N] x:[*,N]");
    const View x{2, 3}, b{4};
    EXPECT_EQ(check({x.value(), tn_value_none(), tn_value_none()}), TN_OK);
    EXPECT_EQ(check({x.value()}), TN_OK);
    EXPECT_EQ(check({x.value(), tn_value_none(), b.value()}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "x: dim 1 is 3, but N is 4 (from b dim 0)");
}

TEST_F(Contract, HoldsForEveryTensorOfAList) {
    load("cat(Tensor<T>[] xs, int dim) -> Tensor", "xs:[N,*] xs:rank>=1 dim:dim(xs)");
    const View a{2, 3}, b{2, 9}, c{3, 3}, scalar{};
    EXPECT_EQ(check({list({&a.view, &b.view}), tn_int(1)}), TN_OK);
    EXPECT_EQ(check({list({&a.view, &c.view}), tn_int(1)}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "xs[1]: dim 0 is 3, but N is 2 (from xs[0] dim 0)");
    EXPECT_EQ(check({list({&a.view, &scalar.view}), tn_int(1)}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "xs[1]: rank is 0 (shape []), but must be at least 1");
    EXPECT_EQ(check({list({nullptr, &a.view}), tn_int(1)}), TN_OK);
    EXPECT_EQ(check({list({}), tn_int(1)}), TN_OK);
}

TEST_F(Contract, MakesDimsNonNegative) {
    load("f(Tensor x, int dim, int[] dims) -> Tensor", "dim:dim(x) dims:dim(x)");
    const View x{2, 3, 4};
    const int64_t dims[] = {-1, 0};
    std::vector<tn_value> args = {x.value(), tn_int(-2), tn_value_ints({dims, 2})};
    ASSERT_EQ(check(args), TN_OK);
    EXPECT_EQ(args[1].i, 1);
    EXPECT_EQ(args[2].ints[0], 2);
    EXPECT_EQ(args[2].ints[1], 0);
    EXPECT_EQ(args[2].ints, ints);
    EXPECT_EQ(dims[0], -1) << "the caller's list is left alone";
    EXPECT_EQ(check({x.value(), tn_int(3)}), TN_ERR_INDEX);
    EXPECT_STREQ(why, "dim: is 3, but must be in -3..2, because x has rank 3");
    EXPECT_EQ(check({x.value(), tn_int(INT64_MIN)}), TN_ERR_INDEX);
    const int64_t twice[] = {0, 1, -3};
    EXPECT_EQ(check({x.value(), tn_int(0), tn_value_ints({twice, 3})}), TN_ERR_INVALID);
    EXPECT_STREQ(why, "dims: names dim 0 twice (entry 2 is -3)");
    const std::vector<int64_t> many(17, 0);
    EXPECT_EQ(check({x.value(), tn_int(0), tn_value_ints({many.data(), 17})}), TN_ERR_INVALID);
}

TEST_F(Contract, CountsRankZeroAsOne) {
    load("f(Tensor x, int dim) -> Tensor", "dim:dim(x)");
    const View scalar{};
    std::vector<tn_value> args = {scalar.value(), tn_int(-1)};
    ASSERT_EQ(check(args), TN_OK) << why;
    EXPECT_EQ(args[1].i, 0);
    EXPECT_EQ(check({scalar.value(), tn_int(1)}), TN_ERR_INDEX);
}

TEST_F(Contract, AdmitsOnePastTheEndWhereAsked) {
    load("unsqueeze(Tensor(a) x, int dim) -> Tensor(a)", "dim:dim(x+1)");
    const View x{2, 3};
    std::vector<tn_value> args = {x.value(), tn_int(-1)};
    ASSERT_EQ(check(args), TN_OK);
    EXPECT_EQ(args[1].i, 2);
    EXPECT_EQ(check({x.value(), tn_int(3)}), TN_ERR_INDEX);
}

TEST_F(Contract, ChecksRangesOfNumbersAndLists) {
    load("f(float p, int n, int[] k, Scalar s) -> Tensor", "p:0..1 n:1.. k:..5 s:-1..");
    const int64_t k[] = {5, 6};
    EXPECT_EQ(check({tn_float(0), tn_int(1), tn_value_ints({k, 1}), tn_float(-1)}), TN_OK) << why;
    EXPECT_EQ(check({tn_float(1.5)}), TN_ERR_INVALID);
    EXPECT_STREQ(why, "p: is 1.5, but must be in 0..1");
    EXPECT_EQ(check({tn_float(__builtin_nan(""))}), TN_ERR_INVALID);
    EXPECT_EQ(check({tn_float(0), tn_int(1), tn_value_none(), tn_float(__builtin_nan(""))}),
              TN_ERR_INVALID);
    EXPECT_EQ(check({tn_float(0), tn_int(0)}), TN_ERR_INVALID);
    EXPECT_STREQ(why, "n: is 0, but must be at least 1");
    EXPECT_EQ(check({tn_float(0), tn_int(1), tn_value_ints({k, 2})}), TN_ERR_INVALID);
    EXPECT_STREQ(why, "k[1]: is 6, but must be at most 5");
    EXPECT_EQ(check({tn_float(0), tn_int(1), tn_value_ints({k, 1}), tn_int(-2)}), TN_ERR_INVALID);
}

TEST_F(Contract, ChecksRanks) {
    load("f(Tensor x) -> Tensor", "x:rank==2");
    const View good{1, 1}, bad{1};
    EXPECT_EQ(check({good.value()}), TN_OK);
    EXPECT_EQ(check({bad.value()}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "x: rank is 1 (shape [1]), but must be 2");
    load("f(Tensor x) -> Tensor", "x:rank<=1");
    EXPECT_EQ(check({good.value()}), TN_ERR_SHAPE);
    EXPECT_STREQ(why, "x: rank is 2 (shape [1,1]), but must be at most 1");
}

TEST_F(Contract, RefusesTextThatDoesNotFitTheSchema) {
    const char *schema_text = "f(Tensor x, Tensor y, int n, float p, str s, Scalar v) -> Tensor";
    const struct {
        const char *text, *why;
    } cases[] = {
        {"n:in(x)", "column 5: expected a Scalar before in(...), found n"},
        {"v:in(p)", "column 6: expected a tensor argument, found 'p'"},
        {"v:in x", "column 6: expected '(', found 'x'"},
        {"z:[N]", "column 1: expected an argument of f, found 'z'"},
        {"x[N]", "column 2: expected ':', found '['"},
        {"x:[N", "column 5: expected ',' or ']', found the end"},
        {"x:[*,*]", "column 6: expected at most one *, found another"},
        {"x:[N/n]", "column 4: expected a dim name used before, found 'N' for the first time"},
        {"x:[N] y:[N/p]", "column 12: expected an int argument, found 'p'"},
        {"x:[N] y:[N/0]", "column 12: expected a factor of at least 1, found '0'"},
        {"x:[-1]", "column 4: expected a size of at least 0, found '-'"},
        {"n:[N]", "column 3: expected dim(...) or a range, because n is no tensor, found '['"},
        {"p:dim(x)", "column 6: expected an int or int[] before dim(...), found p"},
        {"n:dim(p)", "column 7: expected a tensor argument, found 'p'"},
        {"n:dim(x+2)", "column 9: expected 1, found '2'"},
        {"x:0..1", "column 3: expected a number argument before a range, found x"},
        {"p:0", "column 4: expected '..', found the end"},
        {"p:", "column 3: expected [dims], dim(...), rank or a range such as 0..1, found the end"},
        {"p:..", "column 5: expected a number, found the end"},
        {"n:rank==1", "column 7: expected a tensor argument before rank, found '='"},
        {"x:rank=1", "column 7: expected ==, >= or <=, found '='"},
        {"x:rank==17", "column 9: expected a rank in 0..16, found 17"},
    };
    for (const auto &c : cases) EXPECT_EQ(refusal(schema_text, c.text), c.why) << c.text;
}

} // namespace
