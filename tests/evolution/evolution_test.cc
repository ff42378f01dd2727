// evolution_test.cc - plugins compiled against an older and a newer abi.h: each works, or says by name why not.
// SPDX-License-Identifier: Apache-2.0
#include <tenon/hooks.h>

#include "tests/support/support.h"

namespace {

class Evolution : public Tenon {
  protected:
    static tn_status load(const std::string &name) {
        const std::string one = getenv("EVOLUTION_PLUGIN");
        return tn_plugin_load((one.substr(0, one.rfind('/') + 1) + name + ".so").c_str());
    }
    static tn_tensor *call(const std::string &op, std::vector<tn_value> more = {}) {
        tn_op_ref ref = {op.c_str(), 0, 0};
        std::vector<tn_value> args = {tn_value_tensor(from({1, 2}))};
        args.insert(args.end(), more.begin(), more.end());
        tn_value out;
        return tn_op_call(&ref, args.data(), static_cast<uint32_t>(args.size()), &out, 1)
                   ? nullptr
                   : out.tensor;
    }
    static void add_evolving() {
        static tn_op row = {};
        if (row.size) return;
        row.size = sizeof row;
        row.schema = "evolving(Tensor<T> x, int k=1) -> Tensor y";
        row.shape_rule = "same", row.no_grad = "a test";
        ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    }
};

TEST_F(Evolution, RunsAPluginOfEachAge) {
    for (const char *name : {"present", "older_works", "newer_works"}) {
        ASSERT_EQ(load(name), TN_OK) << tn_error_message();
        EXPECT_EQ(numbers(call(std::string(name) + "_op")), (Numbers{2, 4})) << name;
        EXPECT_STREQ(tn_last_provider(), name);
    }
}

TEST_F(Evolution, RefusesARowWithABitThatMustBeUnderstood) {
    EXPECT_NE(load("newer_trait"), TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {"newer_trait_op, traits: bit 30 must be understood"}));
    EXPECT_NE(load("newer_flag"), TN_OK);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN,
                         {"newer_flag_op, flags: bit 30 must be understood", "use a newer tenon"}));
}

TEST_F(Evolution, DeclinesAnswersOfTomorrowByName) {
    const struct {
        const char *name, *why;
    } cases[] = {
        {"newer_plan", "newer_plan: planning set flag bit 30"},
        {"newer_need", "newer_need: needs what bit 9 says, which this version does not know"},
        {"newer_reason", "newer_reason: said no for reason 90, which this version does not know"},
    };
    for (const auto &c : cases) {
        ASSERT_EQ(load(c.name), TN_OK) << tn_error_message();
        EXPECT_EQ(call(std::string(c.name) + "_op"), nullptr) << c.name;
        EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {c.why}));
    }
}

TEST_F(Evolution, RunsAKernelOfAnOlderSchemaWhereTheNewArgumentIsLeftOut) {
    add_evolving();
    ASSERT_EQ(load("older_schema"), TN_OK) << tn_error_message();
    EXPECT_EQ(numbers(call("evolving")), (Numbers{2, 4}));
    EXPECT_EQ(numbers(call("evolving", {tn_int(1)})), (Numbers{2, 4})) << "said, but as it was";
    EXPECT_EQ(call("evolving", {tn_int(2)}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {"older_schema: a newer argument is not known"}));
}

TEST_F(Evolution, DeclinesAKernelOfASchemaThatIsNotThereYetAndSaysWhatIsMissing) {
    add_evolving();
    testing::internal::CaptureStderr();
    ASSERT_EQ(load("newer_schema"), TN_OK) << tn_error_message();
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_NE(log.find("argument 3, 'tomorrow', is not there"), std::string::npos) << log;
    EXPECT_EQ(call("evolving", {tn_int(3)}), nullptr);
    EXPECT_TRUE(
        error_is(TN_ERR_UNSUPPORTED, {"newer_schema: written for another schema of the op"}));
}

} // namespace
