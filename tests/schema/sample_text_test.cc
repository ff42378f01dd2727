// sample_text_test.cc - the grammar of sample calls.
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "gtest/gtest.h"

extern "C" {
#include "core/schema/sample.h"
}

namespace {

class SampleText : public testing::Test {
  protected:
    tni_schema schema;
    tni_sample sample;
    char why[256] = "";

    void load(const char *text) {
        ASSERT_EQ(tni_schema_parse(text, &schema, why, sizeof why), TN_OK) << why;
    }
    tn_status parse(const char *text, int64_t i = 0) {
        return tni_sample_parse(text, i, &schema, &sample, why, sizeof why);
    }
};

TEST_F(SampleText, CountsSamplesAndEndsWithNotFound) {
    load("add(Tensor<T> a, Tensor<T> b) -> Tensor y");
    const char *text = "a[3,4] b[4] | a[0] b[0] | a[] b[2]";
    ASSERT_EQ(parse(text, 0), TN_OK) << why;
    EXPECT_EQ(sample.n_tensors, 2u);
    EXPECT_EQ(sample.tensors[0].rank, 2u);
    EXPECT_EQ(sample.tensors[0].sizes[1], 4);
    ASSERT_EQ(parse(text, 2), TN_OK) << why;
    EXPECT_EQ(sample.tensors[sample.first[0]].rank, 0u);
    EXPECT_EQ(parse(text, 3), TN_ERR_NOTFOUND);
    EXPECT_EQ(parse("", 0), TN_ERR_NOTFOUND);
    EXPECT_EQ(parse(nullptr, 0), TN_ERR_NOTFOUND);
    EXPECT_EQ(parse(text, -1), TN_ERR_NOTFOUND);
}

TEST_F(SampleText, ReadsHowTensorsAreFilled) {
    load("f(Tensor a, Tensor<i64> b, Tensor<bool> c, Tensor<T>[] d) -> Tensor y");
    ASSERT_EQ(parse("a[2]>0 b[3]<5 c[1]? d[[2,3],[],[4]]:-0.5..2"), TN_OK) << why;
    EXPECT_EQ(sample.tensors[0].fill, TNI_FILL_POSITIVE);
    EXPECT_EQ(sample.tensors[1].fill, TNI_FILL_BELOW);
    EXPECT_EQ(sample.tensors[1].below, 5);
    EXPECT_EQ(sample.tensors[2].fill, TNI_FILL_BOOL);
    EXPECT_EQ(sample.count[3], 3u);
    EXPECT_EQ(sample.tensors[4].rank, 0u);
    EXPECT_EQ(sample.tensors[5].fill, TNI_FILL_RANGE);
    EXPECT_EQ(sample.tensors[5].low, -0.5);
    EXPECT_EQ(sample.tensors[5].high, 2.0);
}

TEST_F(SampleText, ReadsAbsentEntriesAndWholeNumbers) {
    load("f(Tensor?[] a, Tensor[] b) -> Tensor<f32>");
    ASSERT_EQ(parse("a[[2],None,[]]<3:i64 b[[1]]<4"), TN_OK) << why;
    EXPECT_EQ(sample.count[0], 3u);
    EXPECT_TRUE(sample.tensors[1].absent && !sample.tensors[2].absent);
    EXPECT_TRUE(sample.tensors[0].whole && !sample.tensors[3].whole);
    EXPECT_EQ(parse("a[] b[None]"), TN_ERR_FORMAT);
    EXPECT_EQ(parse("a[[2]]<3:f32 b[]"), TN_ERR_FORMAT);
}

TEST_F(SampleText, ReadsPlainValuesAndDefaults) {
    load("f(int a, int[] b, float c, bool d, str e, dtype f, Scalar g, float? h=None, int i=7, "
         "generator~ j=None) "
         "-> Tensor<f32>");
    ASSERT_EQ(parse("a=-2 b=[1,2] c=3 d=true e=\"x|y\" f=i64 g=0.5 j=9 | a=1"), TN_OK) << why;
    EXPECT_EQ(sample.values[0].i, -2);
    EXPECT_EQ(sample.values[1].ints[1], 2);
    EXPECT_EQ(sample.values[2].f, 3.0);
    EXPECT_EQ(sample.values[3].i, 1);
    EXPECT_EQ(std::string(sample.values[4].str, sample.values[4].aux), "x|y");
    EXPECT_TRUE(tn_dtype_is(sample.values[5].dtype, TN_I64));
    EXPECT_EQ(sample.values[6].f, 0.5);
    EXPECT_EQ(sample.values[7].tag, TN_TAG_NONE);
    EXPECT_EQ(sample.values[8].i, 7);
    EXPECT_EQ(sample.seeds[9], 9u);
    EXPECT_EQ(parse("a=-2 b=[1,2] c=3 d=true e=\"x|y\" f=i64 g=0.5 j=9 | a=1", 1), TN_ERR_FORMAT);
    EXPECT_NE(std::string(why).find("expected a value for b, which has no default"),
              std::string::npos)
        << why;
}

TEST_F(SampleText, NamesWhatDoesNotFit) {
    load("f(Tensor x, int n, Tensor<f32> w) -> Tensor y");
    const struct {
        const char *text, *why;
    } cases[] = {
        {"z=1", "column 1: expected an argument of f, found 'z'"},
        {"n=1 n=2", "column 5: expected another argument, found 'n' again"},
        {"n=1.5", "column 3: expected a whole number, found '1'"},
        {"n[2]", "column 2: expected '=', because n is no tensor, found '['"},
        {"x=2", "column 3: expected sizes of tensor x, found '='"},
        {"x[-1]", "column 2: expected sizes of at least 0, found -1"},
        {"w[1]?", "column 5: expected numbers, because w is not Tensor<bool>, found '?'"},
        {"x[1]<0", "column 6: expected a limit of at least 1, found '0'"},
        {"x[1]>1", "column 6: expected 0, found '1'"},
        {"x[1]:1", "column 7: expected '..', found the end"},
        {"x[1]:2..1", "column 6: expected a range low..high within -1e6..1e6, found '2'"},
        {"x[1]:0..1e9", "column 6: expected a range low..high within -1e6..1e6, found '0'"},
    };
    for (const auto &c : cases) {
        EXPECT_EQ(parse(c.text), TN_ERR_FORMAT) << c.text;
        EXPECT_STREQ(why, c.why) << c.text;
    }
}

} // namespace
