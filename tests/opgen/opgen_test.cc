// opgen_test.cc - generated wrappers and tables, run against a host that writes down what it is
// asked. SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "tests/opgen/golden_table.h"

static tn_status record(tn_op_ref *, const tn_value *, uint32_t, tn_value *, uint32_t);
static tn_tensor *wrapped(tn_value);
#define TN_CALL(op, args, n_args, outs, n_outs) record(op, args, n_args, outs, n_outs)
#define TN_NUMBER(value)                        wrapped(value)
#include "tests/opgen/golden_ops.h"

extern "C" {
#include "tools/opgen/header.h"
}

// Tensors of this test are text: "mul(g0,b)".
static std::vector<std::string *> made;

static tn_tensor *tensor(const std::string &text) {
    made.push_back(new std::string(text));
    return reinterpret_cast<tn_tensor *>(made.back());
}

static std::string text(const tn_value &v) {
    std::ostringstream s;
    switch (v.tag) {
    case TN_TAG_NONE:
        return "None";
    case TN_TAG_BOOL:
        return v.i ? "true" : "false";
    case TN_TAG_INT:
        s << v.i;
        break;
    case TN_TAG_FLOAT:
        s << v.f << "f";
        break;
    case TN_TAG_DTYPE:
        s << "dtype" << tn_dtype_index(v.dtype);
        break;
    case TN_TAG_STR:
        s << '"' << std::string(v.str, v.aux) << '"';
        break;
    case TN_TAG_GENERATOR:
        return v.generator ? "generator" : "default generator";
    case TN_TAG_TENSOR:
        return v.tensor ? *reinterpret_cast<std::string *>(v.tensor) : "NULL";
    case TN_TAG_INTS:
        for (uint32_t i = 0; i < v.aux; i++) s << (i ? "," : "[") << v.ints[i];
        return s.str() + (v.aux ? "]" : "[]");
    case TN_TAG_TENSORS:
        for (uint32_t i = 0; i < v.aux; i++)
            s << (i ? "," : "[") << text(tn_value_tensor(v.tensors[i]));
        return s.str() + (v.aux ? "]" : "[]");
    default:
        s << "tag " << v.tag;
    }
    return s.str();
}

static tn_tensor *wrapped(tn_value v) { return tensor("<" + text(v) + ">"); }

static std::string last_call;
static tn_status next_status = TN_OK;

static tn_status record(tn_op_ref *op, const tn_value *args, uint32_t n_args, tn_value *outs,
                        uint32_t n_outs) {
    last_call = op->name;
    for (uint32_t i = 0; i < n_args; i++) last_call += (i ? "," : "(") + text(args[i]);
    last_call += n_args ? ")" : "()";
    for (uint32_t i = 0; i < n_outs; i++)
        outs[i] = tn_value_tensor(tensor(last_call + (n_outs > 1 ? "#" + std::to_string(i) : "")));
    return next_status;
}

namespace {

class Generated : public testing::Test {
  protected:
    tn_tensor *a = tensor("a"), *b = tensor("b"), *x = tensor("x");
    void SetUp() override { next_status = TN_OK; }
    void TearDown() override {
        for (std::string *s : made) delete s;
        made.clear();
    }
};

TEST_F(Generated, WrappersPassEveryArgumentInOrder) {
    EXPECT_EQ(text(tn_value_tensor(tn_add(a, b))), "add(a,b)");
    EXPECT_EQ(text(tn_value_tensor(tn_add_(a, b))), "add_(a,b)");
    const int64_t dims[] = {1, 2};
    tn_sum_dim(x, tn_ints{dims, 2}, nullptr);
    EXPECT_EQ(last_call, "sum.dim(x,[1,2],false)");
}

TEST_F(Generated, ANullOptsAndAZeroedOneAreTheDefaults) {
    const char *defaults = "norm(x,None,[1,2],\"mean\",dtype8,None,default generator,[],true)";
    tn_norm(x, nullptr);
    EXPECT_EQ(last_call, defaults);
    tn_norm_opts opts = {};
    tn_norm(x, &opts);
    EXPECT_EQ(last_call, "norm(x,NULL,[1,2],\"mean\",dtype8,None,default generator,[],true)");
}

TEST_F(Generated, OptsAreTaken) {
    const int64_t k[] = {7, 8}, dims[] = {3};
    tn_norm_opts opts = {};
    opts.w = a, opts.k = {k, 2}, opts.mode = "max", opts.dtype = TN_BF16;
    opts.n = TN_SET(0), opts.dims = {dims, 1}, opts.flag = TN_SET(false);
    tn_norm(x, &opts);
    EXPECT_EQ(last_call, "norm(x,a,[7,8],\"max\",dtype7,0,default generator,[3],false)");
    tn_step_opts step = {};
    step.momentum = TN_SET(0);
    tn_tensor *const list[] = {a, b};
    EXPECT_EQ(tn_step_({list, 2}, 0.5, &step), TN_OK);
    EXPECT_EQ(last_call, "step_([a,b],0.5f,0f)");
    tn_step_({list, 2}, 0.5, nullptr);
    EXPECT_EQ(last_call, "step_([a,b],0.5f,0.9f)");
}

TEST_F(Generated, SeveralResultsComeAsAStruct) {
    const tn_sort_result r = tn_sort(x, nullptr);
    EXPECT_EQ(text(tn_value_tensor(r.values)), "sort(x,-1,false)#0");
    EXPECT_EQ(text(tn_value_tensor(r.indices)), "sort(x,-1,false)#1");
}

TEST_F(Generated, NumbersOfAnyTypeStandForTensors) {
    const auto is = [](tn_tensor *t) { return text(tn_value_tensor(t)); };
    tn_tensor *(*const function)(tn_tensor *, tn_tensor *) = tn_add;
    const enum { SEVEN = 7 } seven = SEVEN;
    EXPECT_EQ(is(tn_add(a, 3)), "add(a,<3>)");
    EXPECT_EQ(is(tn_add(int8_t{1}, a)), "add(<1>,a)");
    EXPECT_EQ(is(tn_add(a, 1.5)), "add(a,<1.5f>)");
    EXPECT_EQ(is(tn_add(a, true)), "add(a,<true>)");
    EXPECT_EQ(is(tn_add(a, seven)), "add(a,<7>)");
    EXPECT_EQ(is(tn_add(a, UINT64_MAX)), "add(a,<1.84467e+19f>)");
    EXPECT_EQ(is(tn_add_(a, 3u)), "add_(a,<3>)");
    EXPECT_EQ(is(tn_add(a, nullptr)), "add(a,NULL)");
    EXPECT_EQ(is(tn_add(tn_mul(2, tn_sub(a, 1)), -4)), "add(mul(<2>,sub(a,<1>)),<-4>)");
    EXPECT_EQ(is(tn_pick(a, 0, b, 5, nullptr)), "pick(a,<0>,b,5,1f)");
    EXPECT_EQ(is(function(a, b)), "add(a,b)");
}

TEST_F(Generated, ErrorsGiveNull) {
    next_status = TN_ERR_SHAPE;
    EXPECT_EQ(tn_add(a, b), nullptr);
    EXPECT_EQ(tn_sort(x, nullptr).indices, nullptr);
    EXPECT_EQ(tn_split(x, 1).n, 0);
    EXPECT_EQ(tn_step_({nullptr, 0}, 1, nullptr), TN_ERR_SHAPE);
}

// ---- The table: derivatives and decompositions ----

std::map<std::string, std::string> gradients;
bool nobody_needs_a = false;

tn_status pending_error() { return next_status; }
tn_tensor *grad_out(tn_grad_ctx *, uint32_t i) { return tensor("g" + std::to_string(i)); }
tn_tensor *saved(tn_grad_ctx *, const char *name) { return tensor(std::string("saved ") + name); }
std::map<std::string, tn_value> answers;
tn_value arg(tn_grad_ctx *, const char *name) {
    return answers.count(name) ? answers[name] : tn_value_str(name, (uint32_t)strlen(name));
}
bool needs(tn_grad_ctx *, const char *name) { return !(nobody_needs_a && name[0] == 'a'); }
void set(tn_grad_ctx *, const char *name, tn_tensor *t) {
    gradients[name] = text(tn_value_tensor(t));
}

class Table : public Generated {
  protected:
    tn_ops host = {};
    void SetUp() override {
        Generated::SetUp();
        host.size = sizeof host;
        host.call = record, host.error = pending_error, host.scalar = wrapped,
        host.grad_out = grad_out;
        host.grad_saved = saved, host.grad_arg = arg, host.grad_needs = needs, host.grad_set = set;
        golden_host(&host);
        gradients.clear(), answers.clear();
        nobody_needs_a = false;
    }
    const tn_op &row(const std::string &schema_start) {
        uint32_t n;
        const tn_op *rows = golden_rows(&n);
        for (uint32_t i = 0; i < n; i++)
            if (std::string(rows[i].schema).compare(0, schema_start.size(), schema_start) == 0)
                return rows[i];
        ADD_FAILURE() << "no row " << schema_start;
        return rows[0];
    }
};

TEST_F(Table, RowsCarryTheirColumns) {
    const tn_op &add = row("add(");
    EXPECT_EQ(add.size, sizeof(tn_op));
    EXPECT_EQ(add.traits, (uint32_t)(TN_OP_INPLACE | TN_OP_CAPTURE_SAFE));
    EXPECT_STREQ(add.schema, "add(Tensor<T> a, Tensor<T> b) -> Tensor y");
    EXPECT_STREQ(add.form, "pointwise");
    EXPECT_STREQ(add.shape_rule, "broadcast");
    EXPECT_STREQ(add.samples, "a[3,4] b[4] | a[] b[0]");
    EXPECT_STREQ(row("mul(").keep, "a:b,b:a");
    EXPECT_STREQ(row("affine(").keep, "x,y") << "for whom is read off the d_ expressions";
    EXPECT_STREQ(row("sub(").doc, "a - b # not a comment");
    EXPECT_STREQ(row("sum.dim(").form, "reduce");
    EXPECT_STREQ(row("sum.dim(").shape_rule, "reduce");
    EXPECT_STREQ(row("sum.dim(").contract, "dim:dim(x)");
    EXPECT_STREQ(row("split(").no_grad, "not in this test");
    EXPECT_EQ(row("split(").shape, golden_shape);
    EXPECT_STREQ(row("affine(").form, "strided");
    EXPECT_EQ(row("affine(").decompose, nullptr);
    EXPECT_NE(std::string(row("norm(").schema).find("int? n=None, generator~ rng"),
              std::string::npos);
}

TEST_F(Table, ExpressionsBecomeDerivatives) {
    row("mul(").derivative(nullptr);
    EXPECT_EQ(gradients["a"], "mul(g0,saved b)");
    EXPECT_EQ(gradients["b"], "mul(g0,saved a)");
    row("affine(").derivative(nullptr);
    EXPECT_EQ(gradients["x"], "mul(mul(g0,<\"factor\">),add(saved x,saved y))");
}

TEST_F(Table, DerivativesInCAskByTheNamesOfTheirRow) {
    row("sort(").derivative(nullptr);
    EXPECT_EQ(gradients["x"], "g1");
    answers["descending"] = tn_bool(true), answers["dim"] = tn_int(0);
    row("sort(").derivative(nullptr);
    EXPECT_EQ(gradients["x"], "saved indices");
}

TEST_F(Table, DecompositionsInCGetTheirArgumentsAsCHasThem) {
    const tn_value none[] = {tn_value_tensor(a), tn_int(5), tn_value_none()};
    const tn_value some[] = {tn_value_tensor(a), tn_int(5), tn_int(0)};
    tn_value out = tn_value_none();
    EXPECT_EQ(row("twice(").decompose(none, 3, &out, 1), TN_OK);
    EXPECT_EQ(text(out), "add(a,a)");
    EXPECT_EQ(row("twice(").decompose(some, 3, &out, 1), TN_OK);
    EXPECT_EQ(text(out), "sum.dim(a,[5],true)");
    next_status = TN_ERR_NOMEM;
    EXPECT_EQ(row("twice(").decompose(none, 3, &out, 1), TN_ERR_NOMEM);
    EXPECT_EQ(text(out), "NULL");
}

TEST_F(Table, SeveralResultsOfAnotherLibrarysOpHaveTheirNames) {
    const tn_value args[] = {tn_value_tensor(a), tn_int(5)};
    tn_value out = tn_value_none();
    EXPECT_EQ(row("span(").decompose(args, 2, &out, 1), TN_OK);
    EXPECT_EQ(text(out), "add(topk(a,5,0)#0,topk(a,5,0)#1)");
}

TEST_F(Table, DerivativesComputeOnlyWhatIsNeeded) {
    nobody_needs_a = true;
    row("mul(").derivative(nullptr);
    EXPECT_EQ(gradients.count("a"), 0u);
    EXPECT_EQ(gradients["b"], "mul(g0,saved a)");
}

TEST_F(Table, ExpressionsBecomeDecompositions) {
    const tn_value args[] = {tn_value_tensor(a), tn_value_tensor(b)};
    tn_value out = tn_value_none();
    EXPECT_EQ(row("sub(").decompose(args, 2, &out, 1), TN_OK);
    EXPECT_EQ(text(out), "add(a,neg(b))");
    const tn_value total[] = {tn_value_tensor(a), tn_int(5)};
    EXPECT_EQ(row("total(").decompose(total, 2, &out, 1), TN_OK);
    EXPECT_EQ(text(out), "sum.dim(a,[5,1],true)");
}

TEST_F(Table, ErrorsFlowThrough) {
    next_status = TN_ERR_NOMEM;
    const tn_value args[] = {tn_value_tensor(a), tn_value_tensor(b)};
    tn_value out = tn_value_none();
    EXPECT_EQ(row("sub(").decompose(args, 2, &out, 1), TN_ERR_NOMEM);
    EXPECT_EQ(text(out), "NULL");
    row("mul(").derivative(nullptr);
    EXPECT_TRUE(gradients.empty());
}

TEST_F(Table, TheHeaderCompilesInC) {
    EXPECT_EQ(text(tn_value_tensor(golden_add_in_c(a, b))), "add(a,b)");
}

TEST_F(Table, NumbersOfAnyTypeStandForTensorsInC) {
    const char *const want[GOLDEN_NUMBERS] = {"add(a,<3>)",
                                              "add(<1>,a)",
                                              "add(a,<1.5f>)",
                                              "add(a,<0.5f>)",
                                              "add(a,<true>)",
                                              "add(a,<-3>)",
                                              "add(a,<1>)",
                                              "add(a,<1.84467e+19f>)",
                                              "add(a,<65>)",
                                              "add(a,<-9223372036854775808>)",
                                              "add_(a,<3>)",
                                              "add(a,a)",
                                              "add(mul(<2>,sub(a,<1>)),<-4>)",
                                              "pick(a,<0>,add(a,<1>),5,2f)",
                                              "pick(a,a,<7>,5,3f)",
                                              "add(a,a)"};
    tn_tensor *got[GOLDEN_NUMBERS];
    golden_numbers_in_c(a, got);
    for (int i = 0; i < GOLDEN_NUMBERS; i++) EXPECT_EQ(text(tn_value_tensor(got[i])), want[i]) << i;
}

// ---- Files ----

std::string slurp(const std::string &path) {
    std::ifstream in(path);
    std::stringstream s;
    s << in.rdbuf();
    return s.str();
}

std::string env(const char *name) { return getenv(name) ? getenv(name) : ""; }

TEST(Header, IsWhatTheGoldenFileSays) {
    const std::string made_now = slurp(env("GOLDEN_HEADER")), golden = slurp(env("GOLDEN"));
    ASSERT_FALSE(made_now.empty());
    EXPECT_EQ(made_now, golden) << "if the change is meant, copy " << env("GOLDEN_HEADER")
                                << " over it";
}

TEST(Rows, AreWhatTheGoldenFileSays) {
    const std::string made_now = slurp(env("GOLDEN_ROWS_NOW")), golden = slurp(env("GOLDEN_ROWS"));
    ASSERT_FALSE(made_now.empty());
    EXPECT_EQ(made_now, golden) << "if the change is meant, copy " << env("GOLDEN_ROWS_NOW")
                                << " over it";
}

TEST(Header, FromTheNoteIsTheHeaderFromTheRows) {
    uint64_t bytes;
    const char *note = golden_note(&bytes);
    char *written = nullptr, why[256] = "";
    size_t size = 0;
    FILE *out = open_memstream(&written, &size);
    EXPECT_EQ(opgen_write_header_from_note(out, "golden", note, bytes, why, sizeof why), TN_OK)
        << why;
    fclose(out);
    EXPECT_EQ(std::string(written, size), slurp(env("GOLDEN_HEADER")));
    free(written);
}

TEST(Header, RowsThatDifferByAnUnderscoreShareTheirOptions) {
    const std::string base = "a(Tensor x, int n=1, float f=0) -> Tensor\n";
    const std::string twin = "a_(Tensor(a!) x, int n=1, float f=0) -> Tensor(a)\n";
    const std::string other = "a_(Tensor(a!) x, int m=1) -> Tensor(a)\n";
    char *written = nullptr, why[256] = "";
    size_t size = 0;
    FILE *out = open_memstream(&written, &size);
    const std::string note = base + twin;
    EXPECT_EQ(opgen_write_header_from_note(out, "x", note.c_str(), note.size(), why, sizeof why),
              TN_OK)
        << why;
    fclose(out);
    const std::string text(written, size), type = "} tn_a_opts;";
    free(written);
    ASSERT_NE(text.find(type), std::string::npos);
    EXPECT_EQ(text.find(type), text.rfind(type));
    EXPECT_NE(text.find("tn_a_(tn_tensor *x, const tn_a_opts *opts)"), std::string::npos);
    const std::string clash = base + other;
    out = open_memstream(&written, &size);
    EXPECT_EQ(opgen_write_header_from_note(out, "x", clash.c_str(), clash.size(), why, sizeof why),
              TN_ERR_INVALID);
    EXPECT_NE(std::string(why).find("the C name tn_a_opts is taken"), std::string::npos) << why;
    fclose(out);
    free(written);
}

TEST(Header, RefusesNotesThatMakeNoHeader) {
    const struct {
        const char *note, *why;
    } cases[] = {
        {"add(Tensor a -> Tensor", "expected ',' or ')'"},
        {"a(int x) -> ()\tdoc\t\na(int y) -> ()\tdoc\t\n", "the C name tn_a is taken"},
        {"a.b() -> ()\na_b() -> ()\n", "the C name tn_a_b is taken"},
        {"a(int op, int op_) -> ()\n", "op and op_ have the same C name"},
        {"a(int x) -> Tensor\tdoc\tinplace\n",
         "cannot be inplace: its first argument is not a Tensor"},
        {"a.b(Tensor x) -> Tensor\tdoc\tfuture,inplace\n", "an overload has no in-place twin"},
        {"a(Tensor(a!) x) -> Tensor(a)\tdoc\tinplace\n", "it changes an argument already"},
    };
    for (const auto &c : cases) {
        char *written = nullptr, why[256] = "";
        size_t size = 0;
        FILE *out = open_memstream(&written, &size);
        EXPECT_NE(opgen_write_header_from_note(out, "x", c.note, strlen(c.note), why, sizeof why),
                  TN_OK);
        EXPECT_NE(std::string(why).find(c.why), std::string::npos) << why;
        fclose(out);
        EXPECT_EQ(size, 0u);
        free(written);
    }
    char why[256];
    EXPECT_EQ(opgen_write_header(stderr, "no-name", nullptr, 0, why, sizeof why), TN_ERR_INVALID);
}

} // namespace
