// locale_test.cc - numbers have a point in them, in every text, also where the program's locale writes
// a comma. SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <clocale>
#include <fstream>
#include <sstream>

#include <tenon/check.h>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

namespace {

// There may be no such locale on this machine, so one is made: the C library's own, with a comma.
bool use_comma() {
    const char *base = getenv("TEST_TMPDIR");
    const std::string folder = std::string(base ? base : "/tmp") + "/locale",
                      mine = folder + "/comma";
    std::ifstream in("/usr/lib/locale/C.utf8/LC_NUMERIC", std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    std::string bytes = text.str();
    const size_t point = bytes.find('.');
    if (point == std::string::npos) return false;
    bytes[point] = ',';
    mkdir(folder.c_str(), 0755), mkdir(mine.c_str(), 0755);
    std::ofstream(mine + "/LC_NUMERIC", std::ios::binary) << bytes;
    setenv("LOCPATH", folder.c_str(), 1);
    if (!setlocale(LC_NUMERIC, "comma")) return false;
    char number[16];
    snprintf(number, sizeof number, "%g", 1.5);
    return std::string(number) == "1,5";
}

class Locale : public Tenon {
  protected:
    void SetUp() override {
        Tenon::SetUp();
        if (!use_comma()) GTEST_SKIP() << "the C library has no locale to copy";
    }
    void TearDown() override {
        setlocale(LC_NUMERIC, "C");
        Tenon::TearDown();
    }
};

TEST_F(Locale, ErrorsOfTheCoreHaveAPoint) {
    tn_raise(TN_ERR_INVALID, "a long text %s%g", std::string(600, '.').c_str(), 1.5);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {".1.5"}));
    EXPECT_EQ(tn_dropout(full({2}, 1), 1.5, nullptr), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"p: is 1.5"}));
    EXPECT_EQ(tn_fill_(full({2}, 1, TN_I8), tn_float(300.5)), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"value: is 300.5"}));
    EXPECT_EQ(tn_full(ints({1}), tn_float(300.5), TN_U8), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_OVERFLOW, {"300.5"}));
    tn_tensor *wide = tn_expand(tn_ones(ints({1}), TN_F32), ints({INT64_C(3) << 39}));
    EXPECT_EQ(tn_neg(wide), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_NOMEM, {"6.0 TiB"}));
    EXPECT_STREQ(localeconv()->decimal_point, ",") << "the program's locale is as it was";
}

TEST_F(Locale, ErrorsOfPluginsHaveAPoint) {
    tn_huber_loss_opts huber = {};
    huber.delta = {-0.5, true};
    EXPECT_EQ(tn_huber_loss(full({2}, 1), full({2}, 1), &huber), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"delta is -0.5"}));
    ASSERT_EQ(tn_use_provider("cpu_ref"), TN_OK);
    tn_sgd_opts sgd = {};
    sgd.momentum = 0.25;
    tn_sgd_(tensors({full({2}, 1)}), tensors({full({2}, 1)}), {nullptr, 0}, 0.1, &sgd);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"momentum is 0.25"}));
    ASSERT_EQ(tn_use_provider(nullptr), TN_OK);
}

TEST_F(Locale, TensorsAndChecksHaveAPoint) {
    EXPECT_STREQ(tn_to_string(from({1.5, -0.25, 1e300})), "f64[3] [1.5, -0.25, 1e+300]");
    tn_tensor *x = param(from({1.5}));
    const auto wrong = [](void *, tn_tensor *const *in, int64_t) {
        return tn_mul(tn_detach(in[0]), in[0]);
    };
    EXPECT_EQ(tn_gradcheck(+wrong, nullptr, {&x, 1}, nullptr), TN_ERR_GRAD);
    EXPECT_TRUE(error_is(TN_ERR_GRAD, {"numeric 2.9", "analytic 1.4"}));
}

} // namespace
