// schema_test.cc - the parser of op schemas: what it reads, what it refuses and how it says so.
// SPDX-License-Identifier: Apache-2.0
#include <clocale>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "gtest/gtest.h"

extern "C" {
#include "core/schema/schema.h"
}

namespace {

tni_schema parsed; // defaults point into it, so it stays where it is

const tni_schema &parse(const char *text) {
    char why[256] = "";
    EXPECT_EQ(tni_schema_parse(text, &parsed, why, sizeof why), TN_OK) << text << ": " << why;
    return parsed;
}

std::string refusal(const std::string &text) {
    char why[256] = "";
    EXPECT_EQ(tni_schema_parse(text.c_str(), &parsed, why, sizeof why), TN_ERR_FORMAT) << text;
    return why;
}

TEST(Schema, ReadsNamesTypesAndResults) {
    const tni_schema &s = parse("add(Tensor<T> a, Tensor<T> b) -> Tensor y");
    EXPECT_STREQ(s.name, "add");
    ASSERT_EQ(s.n_params, 2u);
    EXPECT_EQ(s.n_required, 2u);
    EXPECT_EQ(s.params[1].type, TNI_TENSOR);
    EXPECT_EQ(s.params[1].variable, 'T');
    EXPECT_EQ(s.variable, 'T');
    EXPECT_FALSE(s.mutates);
    ASSERT_EQ(s.n_results, 1u);
    EXPECT_STREQ(s.results[0].name, "y");
    EXPECT_EQ(tni_schema_param(&s, "b"), 1);
    EXPECT_EQ(tni_schema_param(&s, "y"), -1);
    EXPECT_EQ(tni_schema_result(&s, "y"), 0);
}

TEST(Schema, ReadsEveryFormOfType) {
    const tni_schema &s =
        parse("all(Tensor a, Tensor<i64>? b, Tensor<T>[] c, Tensor<F>(a!)[] d, int e, int[] f, "
              "int[2] g, float? h, "
              "float[] i, bool j, str k, dtype l, device? m, Scalar~ n, generator~ o) -> ()");
    const tni_type types[] = {TNI_TENSOR, TNI_TENSOR, TNI_TENSORS, TNI_TENSORS, TNI_INT,
                              TNI_INTS,   TNI_INTS,   TNI_FLOAT,   TNI_FLOATS,  TNI_BOOL,
                              TNI_STR,    TNI_DTYPE,  TNI_DEVICE,  TNI_SCALAR,  TNI_GENERATOR};
    ASSERT_EQ(s.n_params, 15u);
    for (int i = 0; i < 15; i++) EXPECT_EQ(s.params[i].type, types[i]) << s.params[i].name;
    EXPECT_TRUE(s.params[1].optional && s.params[1].fixed &&
                tn_dtype_is(s.params[1].dtype, TN_I64));
    EXPECT_TRUE(s.params[3].mutated && s.params[3].alias == 'a' && s.mutates);
    EXPECT_EQ(s.params[5].count, -1);
    EXPECT_EQ(s.params[6].count, 2);
    EXPECT_TRUE(s.params[7].optional && s.params[12].optional);
    EXPECT_TRUE(s.params[13].runtime && s.params[14].runtime && !s.params[11].runtime);
    EXPECT_EQ(s.n_results, 0u);
    EXPECT_EQ(s.variable, 'T');
}

TEST(Schema, ReadsNamespacesAndOverloads) {
    EXPECT_STREQ(parse("acme::norm(Tensor x) -> ()").name, "acme::norm");
    EXPECT_STREQ(parse("acme::norm.dim(Tensor x) -> ()").name, "acme::norm.dim");
}

TEST(Schema, ReadsListsOfBoolsWithTheirDefaults) {
    const tni_schema &s =
        parse("f(bool[3] a, bool[] b=[], bool[2]? c=None, bool[2] d=[true,false]) -> ()");
    for (int i = 0; i < 4; i++) EXPECT_EQ(s.params[i].type, TNI_BOOLS) << i;
    EXPECT_EQ(s.params[0].count, 3);
    EXPECT_EQ(s.params[1].def.tag, TN_TAG_BOOLS);
    EXPECT_EQ(s.params[1].def.aux, 0u);
    EXPECT_EQ(s.params[2].def.tag, TN_TAG_NONE);
    ASSERT_EQ(s.params[3].def.aux, 2u);
    EXPECT_TRUE(s.params[3].def.bools[0]);
    EXPECT_FALSE(s.params[3].def.bools[1]);
}

TEST(Schema, ReadsResultsThatMayBeAbsentAndAListAmongThem) {
    const tni_schema &s = parse("f(Tensor(a!)? x, Tensor<F> w) -> (Tensor(a)? y, Tensor<i64>? z, "
                                "Tensor[] parts, saved Tensor m)");
    EXPECT_TRUE(s.results[0].optional);
    EXPECT_EQ(s.results[0].alias, 'a');
    EXPECT_TRUE(s.results[1].optional && s.results[1].fixed);
    EXPECT_TRUE(s.results[2].list && !s.results[2].optional);
    EXPECT_FALSE(s.results[3].optional);
    EXPECT_EQ(s.n_visible, 3u);
}

TEST(Schema, ReadsListsWhoseEntriesMayBeAbsent) {
    tni_schema s;
    char why[256] = "";
    ASSERT_EQ(tni_schema_parse("f(Tensor?[] a, Tensor[] b, Tensor? c) -> ()", &s, why, sizeof why),
              TN_OK)
        << why;
    EXPECT_EQ(s.params[0].type, TNI_TENSORS);
    EXPECT_TRUE(s.params[0].optional);
    EXPECT_FALSE(s.params[1].optional);
    EXPECT_EQ(s.params[2].type, TNI_TENSOR);
    EXPECT_EQ(tni_schema_parse("f(int?[] a) -> ()", &s, why, sizeof why), TN_ERR_FORMAT);
}

TEST(Schema, ReadsDefaults) {
    const tni_schema &s = parse("f(Tensor? a=None, int b=-9223372036854775808, int[] c=[1, -2], "
                                "float d=1e-5, float e=2, bool f=true, "
                                "str g=\"mean\", dtype h=bf16, device i=cpu, Scalar j=0.5, Scalar "
                                "k=true, generator~ l=None, "
                                "Tensor[] m=[], float n=-inf, int[] o=[]) -> Tensor<f32>");
    EXPECT_EQ(s.n_required, 0u);
    EXPECT_EQ(s.params[0].def.tag, TN_TAG_NONE);
    EXPECT_EQ(s.params[1].def.i, INT64_MIN);
    ASSERT_EQ(s.params[2].def.aux, 2u);
    EXPECT_EQ(s.params[2].def.ints[1], -2);
    EXPECT_EQ(s.params[3].def.f, 1e-5);
    EXPECT_TRUE(s.params[4].def.tag == TN_TAG_FLOAT && s.params[4].def.f == 2.0);
    EXPECT_TRUE(s.params[5].def.tag == TN_TAG_BOOL && s.params[5].def.i == 1);
    EXPECT_EQ(std::string(s.params[6].def.str, s.params[6].def.aux), "mean");
    EXPECT_TRUE(tn_dtype_is(s.params[7].def.dtype, TN_BF16));
    EXPECT_EQ(s.params[8].def.device.kind, TN_CPU);
    EXPECT_EQ(s.params[9].def.f, 0.5);
    EXPECT_EQ(s.params[10].def.tag, TN_TAG_BOOL);
    EXPECT_EQ(s.params[11].def.tag, TN_TAG_NONE);
    EXPECT_EQ(s.params[12].def.tag, TN_TAG_TENSORS);
    EXPECT_EQ(s.params[13].def.f, -HUGE_VAL);
    EXPECT_TRUE(s.params[14].def.tag == TN_TAG_INTS && s.params[14].def.aux == 0);
}

TEST(Schema, ReadsSavedReserveAndUnnamedResults) {
    const tni_schema &s =
        parse("n(Tensor<F> x) -> (Tensor, Tensor<i64>, saved Tensor mean, reserve r)");
    ASSERT_EQ(s.n_results, 4u);
    EXPECT_EQ(s.n_visible, 2u);
    EXPECT_STREQ(s.results[0].name, "out0");
    EXPECT_STREQ(s.results[1].name, "out1");
    EXPECT_EQ(s.results[2].kind, TNI_SAVED);
    EXPECT_EQ(s.results[3].kind, TNI_RESERVE);
    EXPECT_STREQ(parse("n(Tensor x) -> Tensor").results[0].name, "out");
    EXPECT_TRUE(parse("split(Tensor(a) x, int size) -> Tensor(a)[]").results[0].list);
    EXPECT_EQ(parse("t(Tensor(a) x) -> Tensor(a) y").results[0].alias, 'a');
    EXPECT_STREQ(parse("sum.dim(Tensor x) -> Tensor").name, "sum.dim");
}

TEST(Schema, NamesColumnExpectationAndFinding) {
    EXPECT_EQ(refusal("f(Tensr x) -> Tensor"),
              "column 3: expected a type (Tensor, int, float, bool, str, dtype, device, Scalar, "
              "generator), found "
              "'Tensr'");
    EXPECT_EQ(refusal("f(int x"), "column 8: expected ',' or ')', found the end");
    EXPECT_EQ(refusal("f(int x) -> Tensor y +"), "column 22: expected the end, found '+'");
    EXPECT_EQ(refusal("f(int x, int x) -> ()"), "column 14: expected a new name, found 'x' again");
    EXPECT_EQ(refusal("f(int \x01) -> ()"),
              "column 7: expected an argument name (a-z, 0-9, _), found byte 0x01");
}

struct Case {
    const char *text, *part;
};

TEST(Schema, RefusesWhatIsInconsistent) {
    const Case cases[] = {
        {"", "expected an op name"},
        {"F() -> ()", "expected an op name"},
        {"1f() -> ()", "expected an op name"},
        {"f.() -> ()", "overload name"},
        {"f()", "expected '->'"},
        {"f() -> () x", "expected the end"},
        {"f(int X) -> ()", "expected an argument name"},
        {"f(int a=1, int b) -> ()", "expected a default for b, because a before it has one"},
        {"f(int a=1.5) -> ()", "whole number"},
        {"f(int a=9223372036854775808) -> ()", "a number that fits"},
        {"f(float a=1e300) -> ()", "a number that fits"},
        {"f(int a=None) -> ()", "a number"},
        {"f(Tensor a=None) -> ()", "no default without '?'"},
        {"f(bool a=1) -> ()", "true or false"},
        {"f(dtype a=f31) -> ()", "a dtype"},
        {"f(str a=\"x) -> ()", "'\"'"},
        {"f(int[2] a=[1]) -> ()", "expected 2 numbers, found 1"},
        {"f(int[0] a) -> ()", "count in 1..16"},
        {"f(int[] a=[1,2,3,4,5,6,7,8,9]) -> ()", "at most 8 numbers"},
        {"f(str[] a) -> ()", "no '[' after str"},
        {"f(float[2] a) -> ()", "only int[] and bool[]"},
        {"f(Tensor<X> a) -> ()", "T, N, F, I, B or a dtype"},
        {"f(Tensor<T a) -> ()", "expected '>'"},
        {"f(Tensor(A) a) -> ()", "alias letter"},
        {"f(Tensor(a!) x, Tensor(a) y) -> ()", "expected a new alias letter, found 'a' of x again"},
        {"f(Tensor~ x) -> ()", "found '~'"},
        {"f(Tensor x) -> Tensor(a)", "one tensor that is always there, found (a)"},
        {"f(Tensor(a)? x) -> Tensor(a)", "one tensor that is always there, found (a)"},
        {"f(Tensor(a!)[] x) -> Tensor(a)", "one tensor that is always there, found (a)"},
        {"f(Tensor(a!) x) -> Tensor(a!)", "expected (a) on a result"},
        {"f(Tensor<T> x) -> Tensor<F>", "found <F>, which none has"},
        {"f(Tensor x) -> Tensor x", "found 'x' again"},
        {"f(Tensor out) -> Tensor", "'out' is taken"},
        {"f(Tensor x) -> (Tensor y, Tensor y)", "found 'y' again"},
        {"f(Tensor x) -> (Tensor[] y, Tensor[] z)", "one Tensor[] among the results"},
        {"f(Tensor x) -> Tensor?[] y", "expected a result name"},
        {"a::() -> ()", "an op name after '::'"},
        {"a::b::c() -> ()", "expected '('"},
        {"f(bool[2] a=[true]) -> ()", "expected 2 bools, found 1"},
        {"f(bool[] a=[1]) -> ()", "true or false"},
        {"f(Tensor x) -> (saved Tensor m, Tensor y)", "visible results before saved"},
        {"f(Tensor x) -> (Tensor y, reserve r, reserve q)", "after the reserve"},
        {"f(Tensor x) -> (Tensor y, saved Tensor)", "needs one"},
        {"f(Tensor x) -> int", "expected Tensor"},
        {"a_name_that_is_much_longer_than_the_forty_seven_characters_allowed() -> ()",
         "at most 47"},
    };
    for (const Case &c : cases)
        EXPECT_NE(refusal(c.text).find(c.part), std::string::npos) << c.text << "\n"
                                                                   << refusal(c.text);
}

TEST(Schema, RefusesMoreArgumentsAndResultsThanFit) {
    std::string args, results;
    for (int i = 0; i < TNI_MAX_ARGS; i++) args += (i ? ", int a" : "int a") + std::to_string(i);
    for (int i = 0; i < TNI_MAX_RESULTS; i++) results += i ? ", Tensor" : "Tensor";
    parse(("f(" + args + ") -> (" + results + ")").c_str());
    EXPECT_NE(refusal("f(" + args + ", int z) -> ()").find("at most 24 arguments"),
              std::string::npos);
    EXPECT_NE(refusal("f() -> (" + results + ", Tensor)").find("at most 8 results"),
              std::string::npos);
}

TEST(Schema, CutsItsMessageToTheRoomThereIs) {
    char why[12];
    memset(why, 'x', sizeof why);
    EXPECT_EQ(tni_schema_parse("f(", &parsed, why, 8), TN_ERR_FORMAT);
    EXPECT_LT(strlen(why), 8u);
    EXPECT_EQ(why[8], 'x');
    EXPECT_EQ(tni_schema_parse("f(", &parsed, nullptr, 0), TN_ERR_FORMAT);
    EXPECT_EQ(tni_schema_parse(nullptr, &parsed, why, sizeof why), TN_ERR_FORMAT);
}

TEST(Schema, SurvivesAnyBytes) {
    const std::string seeds[] = {"sort(Tensor<T> x, int dim=-1, bool descending=false) -> (Tensor "
                                 "values, Tensor<i64> indices)",
                                 "f(Tensor<F>(a!)[] p, float? min=1.5e-3, str s=\"a\", int[2] "
                                 "k=[1,2]) -> (Tensor y, saved Tensor m, reserve r)"};
    const char alphabet[] = "()<>[]?~!=,.-\"ab1e TNFIB\x80\n";
    std::mt19937 random(1);
    int accepted = 0;
    for (int round = 0; round < 200000; round++) {
        std::string text = seeds[round & 1];
        for (unsigned n = random() % 4 + 1; n > 0 && !text.empty(); n--) {
            const size_t at = random() % text.size();
            const char c = alphabet[random() % (sizeof alphabet - 1)];
            switch (random() % 4) {
            case 0:
                text[at] = c;
                break;
            case 1:
                text.insert(at, 1, c);
                break;
            case 2:
                text.erase(at, random() % 3);
                break;
            default:
                text[at] = (char)(random() % 255 + 1);
                break;
            }
        }
        char why[64] = "";
        const tn_status status = tni_schema_parse(text.c_str(), &parsed, why, sizeof why);
        accepted += status == TN_OK;
        ASSERT_EQ(status != TN_OK, why[0] != 0) << text;
        ASSERT_LE(parsed.n_params, (uint32_t)TNI_MAX_ARGS);
    }
    EXPECT_GT(accepted, 100); // the mutations are not all nonsense
}

TEST(Schema, ReadsNumbersAlikeInEveryLocale) {
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8")) setlocale(LC_NUMERIC, "C");
    EXPECT_EQ(parse("f(float a=0.1) -> ()").params[0].def.f, 0.1);
    EXPECT_EQ(parse("f(float a=0.3) -> ()").params[0].def.f, 0.3);
    EXPECT_EQ(parse("f(float a=123456.789) -> ()").params[0].def.f, 123456.789);
    setlocale(LC_NUMERIC, "C");
}

TEST(Schema, ReadsNumbersThatArePromotedAndIndicesThatAreWidened) {
    const tni_schema &s =
        parse("f(Tensor<A> x, Tensor<index> at, Scalar<A>? a=None, Scalar~ b=1) -> Tensor");
    EXPECT_EQ(s.params[0].variable, 'A');
    EXPECT_TRUE(s.params[1].index && s.params[1].fixed && tn_dtype_is(s.params[1].dtype, TN_I64));
    EXPECT_TRUE(s.params[2].variable == 'A' && s.params[2].optional && !s.params[0].index);
    EXPECT_TRUE(s.params[3].variable == 0 && s.params[3].runtime);
    EXPECT_NE(refusal("f(Tensor<N> x, Scalar<i64> a) -> ()").find("no dtype of its own"),
              std::string::npos);
    EXPECT_NE(refusal("f(Tensor<N> x, Scalar<N>~ a) -> ()").find("found '~'"), std::string::npos);
    EXPECT_NE(refusal("f(Tensor<N> x) -> Tensor<index>").find("<i64>"), std::string::npos);
    EXPECT_NE(refusal("f(Tensor<N> x, int<N> a) -> ()").find("found '<'"), std::string::npos);
}

} // namespace
