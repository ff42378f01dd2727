// wide_test.cc - a row of nineteen arguments, from the program through the core into C and back.
// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <sstream>

#include <tenon/check.h>

#include "tests/support/support.h"

#include "tests/opgen/wide_ops.h"

namespace {

class Wide : public Tenon {
  protected:
    static void SetUpTestSuite() {
        Tenon::SetUpTestSuite();
        ASSERT_EQ(tn_plugin_load(getenv("WIDE_PLUGIN")), TN_OK) << tn_error_message();
    }
    tn_tensor *q() { return from({1, 2, 3, 4}, {2, 2}); }
    tn_tensor *k() { return from({1, 0, 0, 1, 1, 1}, {3, 2}); }
    tn_tensor *v() { return from({1, 2, 3}, {3, 1}); }
};

TEST_F(Wide, ItsDefaultsReachTheBody) {
    tn_attention_opts opts = {};
    opts.layout = "tell";
    EXPECT_EQ(tn_attention(q(), k(), v(), &opts).y, nullptr);
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED,
                         {"bias 0, mask 0, blocks 0, scale 0:0, heads 1, kv_heads 0:0, dropout 0, "
                          "causal 0, packed 0:0, window -1 -1, slopes 0:0, softcap 0, layout tell, "
                          "accumulate 0, place 0, rng 0"}));
}

TEST_F(Wide, EveryArgumentReachesTheBody) {
    const int64_t window[] = {3, 4};
    const double slopes[] = {0.25, 1};
    tn_tensor *const blocks[] = {full({2}, 0, TN_I64), full({1}, 0, TN_I64)};
    tn_attention_opts opts = {};
    opts.bias = full({2, 3}, 0), opts.mask = full({2, 3}, 1, TN_BOOL), opts.blocks = {blocks, 2};
    opts.scale = TN_SET(0), opts.heads = TN_SET(8), opts.kv_heads = TN_SET(2);
    opts.dropout = 0.5, opts.causal = true, opts.packed = TN_SET(true);
    opts.window = {window, 2}, opts.slopes = {slopes, 2}, opts.softcap = tn_float(1.5);
    opts.layout = "tell", opts.accumulate = TN_F32, opts.place = {TN_CPU, 0};
    EXPECT_EQ(tn_attention(q(), k(), v(), &opts).y, nullptr);
    EXPECT_TRUE(
        error_is(TN_ERR_UNSUPPORTED,
                 {"bias 1, mask 1, blocks 2, scale 1:0, heads 8, kv_heads 1:2, dropout 0.5, "
                  "causal 1, packed 1:1, window 3 4, slopes 2:0.25, softcap 1.5, layout "
                  "tell, accumulate 32, place 1, rng 0"}));
}

TEST_F(Wide, AllResultsComeBack) {
    tn_attention_opts opts = {};
    opts.scale = TN_SET(0);
    const tn_attention_result r = tn_attention(q(), k(), v(), &opts);
    EXPECT_EQ(shape(r.weights), (Shape{2, 3}));
    for (double w : numbers(r.weights)) EXPECT_NEAR(w, 1. / 3, 1e-12);
    for (double y : numbers(r.y)) EXPECT_NEAR(y, 2, 1e-12);
}

TEST_F(Wide, ACallInFullFromWithinTheLibraryIsTheSame) {
    tn_attention_opts options = {};
    options.scale = TN_SET(0.5);
    tn_self_attention_opts opts = {};
    opts.scale = TN_SET(0.5);
    tn_tensor *x = q();
    EXPECT_EQ(numbers(tn_self_attention(x, &opts)), numbers(tn_attention(x, x, x, &options).y));
}

TEST_F(Wide, ItsDerivativeIsRight) {
    for (int64_t sample = 0; sample < 2; sample++)
        for (int32_t order = 1; order <= 2; order++)
            EXPECT_EQ(tn_op_gradcheck("attention", sample, order, nullptr), TN_OK)
                << tn_error_message();
    EXPECT_EQ(tn_op_gradcheck("self_attention", 0, 1, nullptr), TN_OK) << tn_error_message();
}

std::string slurp(const char *path) {
    std::stringstream s;
    s << std::ifstream(path).rdbuf();
    return s.str();
}

TEST(WideRows, AreWhatTheGoldenFileSays) {
    const std::string now = slurp(getenv("ROWS_NOW")), golden = slurp(getenv("ROWS"));
    ASSERT_FALSE(now.empty());
    EXPECT_EQ(now, golden) << "if the change is meant, copy " << getenv("ROWS_NOW") << " over it";
}

} // namespace
