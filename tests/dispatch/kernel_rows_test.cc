// kernel_rows_test.cc - which kernels are refused, declined, or wait, and who says so.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/rows.h"

namespace {

class KernelRows : public Tenon {};

// ---- Kernels that cannot run -------------------------------------------------------------------

struct Refused {
    const char *name;
    tn_kernel kernel;
    const char *op, *field, *cause;
};

template <class Change> tn_kernel with(tn_kernel row, Change change) { return change(row), row; }

TEST_F(KernelRows, RefusesKernelsThatCouldNeverRun) {
    const char *x = "Tensor<F> x", *ab = "Tensor<T> a, Tensor<T> b";
    const auto set = [](uint64_t tn_kernel::*field, uint64_t to) {
        return [=](tn_kernel &k) { k.*field = to; };
    };
    const auto n_args = [](uint32_t n) { return [=](tn_kernel &k) { k.n_args = n; }; };
    const Refused cases[] = {
        {"no_dtypes", with(kernel_row("exp", x), set(&tn_kernel::dtypes, 0)), "exp", "dtypes",
         "missing"},
        {"alien_dtypes", with(kernel_row("exp", x), set(&tn_kernel::dtypes, TN_MASK_INT)), "exp",
         "dtypes", "none of them is taken"},
        {"few_args", with(kernel_row("add", ab), n_args(1)), "add", "n_args",
         "is 1, but its schema has 2 arguments, 2 of them required"},
        {"no_args", with(kernel_row("exp", x), n_args(0)), "exp", "n_args", "is 0"},
        {"many_args", with(kernel_row("exp", x), n_args(2)), "exp", "n_args", "has 1 argument"},
        {"twin", kernel_row("add_", ab), "add_", "kernel", "in-place form"},
        {"view", kernel_row("transpose"), "transpose", "kernel", "is a view"},
        {"no_rule", kernel_row("test_ruleless"), "test_ruleless", "kernel", "has no shape rule"},
        {"no_schema", with(kernel_row("exp"), [](tn_kernel &k) { k.schema = nullptr; }), "a row",
         "schema", "missing"},
        {"bad_schema", with(kernel_row("exp"), [](tn_kernel &k) { k.schema = "exp"; }), "exp",
         "schema", "expected"},
        {"no_device", with(kernel_row("exp", x), [](tn_kernel &k) { k.device = "CPU"; }), "exp",
         "device", "a-z"},
        {"bad_name", with(kernel_row("exp", x), [](tn_kernel &k) { k.name = "A/b"; }), "exp",
         "name", "a-z"},
        {"strange_bit", with(kernel_row("exp", x), [](tn_kernel &k) { k.flags = 1u << 30; }), "exp",
         "flags", "bit 30 must be understood"},
    };
    tn_op ruleless = op_row("test_ruleless(Tensor<T> x) -> Tensor y");
    ruleless.shape_rule = nullptr;
    ruleless.decompose = [](const tn_value *, uint32_t, tn_value *, uint32_t) {
        return tn_error();
    };
    ASSERT_EQ(tn_op_add(&ruleless), TN_OK) << tn_error_message();
    const int64_t before = tn_op_count();
    for (const Refused &c : cases) {
        Rows rows;
        rows.id = std::string("test_refused_") + c.name;
        rows.kernels.push_back(c.kernel);
        EXPECT_NE(add_plugin(std::move(rows)), TN_OK) << c.name;
        EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {c.op, c.field, c.cause})) << c.name;
    }
    EXPECT_EQ(tn_op_count(), before);
}

TEST_F(KernelRows, RefusesAnOpWithABitThatMustBeUnderstoodAndTakesOtherUnknownOnes) {
    tn_op row = op_row("test_strange(Tensor<T> x) -> Tensor y", 1u << 30);
    EXPECT_EQ(tn_op_add(&row), TN_ERR_PLUGIN);
    EXPECT_TRUE(error_is(TN_ERR_PLUGIN, {"test_strange", "traits", "bit 30 must be understood",
                                         "use a newer tenon"}));
    row = op_row("test_strange(Tensor<T> x) -> Tensor y", 1u << 15);
    EXPECT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    Rows rows;
    rows.id = "test_low_bit";
    rows.kernels = {kernel_row("test_strange")};
    rows.kernels[0].flags = 1u << 15;
    ASSERT_EQ(add_plugin(std::move(rows)), TN_OK) << tn_error_message();
    EXPECT_EQ(call("test_strange"), TN_OK) << tn_error_message();
}

// ---- What a kernel was written for --------------------------------------------------------------

TEST_F(KernelRows, DeclinesAKernelWrittenForAnotherSchemaOfTheOpAndSaysHowTheyDiffer) {
    struct Case {
        const char *name, *args, *difference;
    };
    const Case cases[] = {
        {"longer", "Tensor<T> x, int n", "argument 2, 'n', is not there"},
        {"typed", "Tensor<F> x", "argument 1, 'x', is another"},
        {"renamed", "Tensor<T> input", "argument 1, 'input', is another"},
        {"optional", "Tensor<T>? x", "argument 1, 'x', is another"},
    };
    for (const Case &c : cases) {
        const std::string op = std::string("test_schema_") + c.name, id = op + "_kernels";
        tn_op row = op_row(op + "(Tensor<T> x) -> Tensor y");
        ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
        Rows rows;
        rows.id = id;
        rows.kernels = {kernel_row(op, c.args)};
        testing::internal::CaptureStderr();
        ASSERT_EQ(add_plugin(std::move(rows)), TN_OK) << tn_error_message();
        const std::string log = testing::internal::GetCapturedStderr();
        EXPECT_NE(log.find(c.difference), std::string::npos) << log;
        EXPECT_NE(std::string(info_of(id.c_str()).why).find(c.difference), std::string::npos);
        EXPECT_EQ(call(op.c_str()), TN_ERR_UNSUPPORTED);
        EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED,
                             {(id + ": written for another schema of the op").c_str()}));
    }
}

TEST_F(KernelRows, RunsAKernelOfAnOlderSchemaWhereWhatWasAddedIsDefault) {
    tn_op row = op_row("test_grew(Tensor<T> x, int k=1, int n=2) -> Tensor out");
    ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    Rows rows;
    rows.id = "test_grew_kernels";
    rows.kernels = {kernel_row("test_grew", "Tensor<T> x, int k=7")};
    ASSERT_EQ(add_plugin(std::move(rows)), TN_OK) << tn_error_message();
    tn_op_ref op = {"test_grew", 0, 0};
    tn_value args[] = {tn_value_tensor(full({2}, 1)), tn_int(5), tn_int(2)}, out;
    EXPECT_EQ(tn_op_call(&op, args, 3, &out, 1), TN_OK) << tn_error_message();
    args[2] = tn_int(3);
    EXPECT_EQ(tn_op_call(&op, args, 3, &out, 1), TN_ERR_UNSUPPORTED);
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED, {"test_grew_kernels: a newer argument is not known"}));
}

// ---- Several kernels of one plugin ---------------------------------------------------------------

TEST_F(KernelRows, TellsKernelsOfOnePluginForTheSameCallsApartByName) {
    tn_op row = op_row("test_named(Tensor<T> x) -> Tensor y");
    ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    Rows rows;
    rows.id = "test_nameless";
    rows.kernels = {kernel_row("test_named"), kernel_row("test_named")};
    EXPECT_EQ(add_plugin(rows), TN_ERR_CONFLICT);
    EXPECT_TRUE(error_is(TN_ERR_CONFLICT, {"test_named", "give them names"}));
    rows.id = "test_two";
    rows.kernels[0].name = "slow", rows.kernels[1].name = "quick";
    rows.kernels[1].priority = 1;
    ASSERT_EQ(add_plugin(rows), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_op_providers("test_named", "cpu"), "test_two/quick,test_two/slow");
    EXPECT_EQ(call("test_named"), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_last_provider(), "test_two/quick");
    ASSERT_EQ(tn_use_provider("test_two/slow"), TN_OK) << tn_error_message();
    EXPECT_EQ(call("test_named"), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_last_provider(), "test_two/slow");
    ASSERT_EQ(tn_use_provider("test_two"), TN_OK) << tn_error_message();
    EXPECT_EQ(call("test_named"), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_last_provider(), "test_two/quick");
    EXPECT_EQ(tn_use_provider("test_two/fast"), TN_ERR_NOTFOUND);
    EXPECT_TRUE(error_is(TN_ERR_NOTFOUND, {"'test_two' has no kernel named 'fast'"}));
    ASSERT_EQ(tn_use_provider(nullptr), TN_OK);
}

// ---- Verdicts that are none ----------------------------------------------------------------------

TEST_F(KernelRows, NamesWhoAnsweredWhatIsNoVerdict) {
    tn_op row = op_row("test_verdict(Tensor<T> x) -> Tensor y");
    ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    Rows rows;
    rows.id = "test_odd";
    rows.kernels.assign(3, kernel_row("test_verdict"));
    rows.kernels[0].name = "seven", rows.kernels[1].name = "why", rows.kernels[2].name = "bit";
    rows.kernels[0].supports = [](const tn_call *, tn_verdict *v) { v->answer = 7; };
    rows.kernels[1].supports = [](const tn_call *, tn_verdict *v) { v->reason = 99; };
    rows.kernels[2].plan = [](tn_call *, tn_plan *p) -> tn_status {
        p->flags = 1u << 31;
        return TN_OK;
    };
    ASSERT_EQ(add_plugin(std::move(rows)), TN_OK) << tn_error_message();
    EXPECT_EQ(call("test_verdict"), TN_ERR_UNSUPPORTED);
    EXPECT_TRUE(error_is(TN_ERR_UNSUPPORTED,
                         {"test_odd/seven: answered 7, which is neither no nor yes",
                          "test_odd/why: said no for reason 99, which this version does not know",
                          "test_odd/bit: planning set flag bit 31"}));
}

// ---- Kernels that wait ---------------------------------------------------------------------------

TEST_F(KernelRows, KeepsKernelsForAnOpThatComesLaterAndSaysThatTheyWait) {
    Rows rows;
    rows.id = "test_early";
    rows.kernels = {kernel_row("test_early_op"), kernel_row("exp", "Tensor<F> x")};
    rows.kernels[1].device = "elsewhere";
    testing::internal::CaptureStderr();
    ASSERT_EQ(add_plugin(std::move(rows)), TN_OK) << tn_error_message();
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_NE(log.find("'test_early': 2 of its kernels wait"), std::string::npos) << log;
    EXPECT_NE(std::string(info_of("test_early").why).find("2 of its kernels wait"),
              std::string::npos);
    EXPECT_EQ(info_of("test_early").state, TN_PLUGIN_READY);
    EXPECT_EQ(call("test_early_op"), TN_ERR_NOTFOUND) << "a waiting kernel makes no op";
    tn_clear_error();

    tn_op row = op_row("test_early_op(Tensor<T> x) -> Tensor y");
    ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    EXPECT_EQ(call("test_early_op"), TN_OK) << tn_error_message();
    EXPECT_STREQ(tn_last_provider(), "test_early");
    EXPECT_NE(std::string(info_of("test_early").why).find("1 of its kernels wait: exp, elsewhere"),
              std::string::npos)
        << info_of("test_early").why;
}

TEST_F(KernelRows, SaysThatAKernelOfDtypesItDoesNotKnowWaits) {
    Rows rows;
    rows.id = "test_newer";
    rows.kernels = {kernel_row("exp", "Tensor<F> x")};
    rows.kernels[0].dtypes = UINT64_C(1) << 60;
    testing::internal::CaptureStderr();
    ASSERT_EQ(add_plugin(std::move(rows)), TN_OK) << tn_error_message();
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_NE(log.find("exp, dtypes: this tenon knows none of them"), std::string::npos) << log;
}

TEST_F(KernelRows, NeverRunsAKernelThatWaitedAndDoesNotFit) {
    Rows rows;
    rows.id = "test_misfit";
    rows.kernels = {kernel_row("test_misfit_op", "Tensor<T> x, Tensor<T> z, int n")};
    testing::internal::CaptureStderr();
    ASSERT_EQ(add_plugin(std::move(rows)), TN_OK) << tn_error_message();
    testing::internal::GetCapturedStderr();
    tn_op row = op_row("test_misfit_op(Tensor<T> x, Tensor<T> z) -> Tensor y");
    ASSERT_EQ(tn_op_add(&row), TN_OK) << tn_error_message();
    tn_op_ref op = {"test_misfit_op", 0, 0};
    const tn_value args[] = {tn_value_tensor(full({2}, 1)), tn_value_tensor(full({2}, 1))};
    tn_value out;
    EXPECT_EQ(tn_op_call(&op, args, 2, &out, 1), TN_ERR_UNSUPPORTED);
    tn_clear_error();
    EXPECT_NE(std::string(info_of("test_misfit").why).find("schema: argument 3, 'n', is not there"),
              std::string::npos)
        << info_of("test_misfit").why;
}

} // namespace
