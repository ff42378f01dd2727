// opgen_command_test.cc - what the opgen command writes, and what it says of rows that are wrong.
//
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include <sys/stat.h>
#include <sys/wait.h>

#include "gtest/gtest.h"

namespace {

std::string env(const char *name) { return getenv(name) ? getenv(name) : ""; }

class Command : public testing::Test {
  protected:
    std::string folder = env("TEST_TMPDIR").empty() ? testing::TempDir() : env("TEST_TMPDIR") + "/";
    std::string ops = folder + "rows.ops", header = folder + "rows_ops.h",
                table = folder + "rows_table.inc";

    void SetUp() override { remove(header.c_str()), remove(table.c_str()); }
    // What opgen prints about a file with these rows; exit status in `rc`.
    std::string run(const std::string &rows, int *rc) {
        std::ofstream(ops) << rows;
        return run_files(ops, rc);
    }
    std::string run_files(const std::string &arguments, int *rc) {
        const std::string command =
            env("OPGEN") + " --header " + header + " --table " + table + " " + arguments + " 2>&1";
        FILE *pipe = popen(command.c_str(), "r");
        std::string said;
        for (int c; (c = fgetc(pipe)) != EOF;) said += (char)c;
        *rc = WEXITSTATUS(pclose(pipe));
        const size_t at = said.find(folder);
        return at == std::string::npos ? said : said.substr(at + folder.size());
    }
    static std::string text_of(const std::string &path) {
        std::stringstream text;
        text << std::ifstream(path).rdbuf();
        return text.str();
    }
    static bool exists(const std::string &path) {
        struct stat st;
        return stat(path.c_str(), &st) == 0;
    }
};

TEST_F(Command, WritesBothFiles) {
    int rc;
    EXPECT_EQ(run("f(Tensor x) -> Tensor same none(\"no\") \"doc\"\n", &rc), "");
    EXPECT_EQ(rc, 0);
    EXPECT_TRUE(exists(header) && exists(table));
    EXPECT_FALSE(exists(header + ".part") || exists(table + ".part"));
}

TEST_F(Command, NamesFileLineAndCause) {
    const std::string f = "f(Tensor<T> x, int n=1) -> Tensor y same ";
    const struct {
        std::string rows, said;
    } cases[] = {
        {"", "rows.ops: has no rows"},
        {"# only this\n", "rows.ops: has no rows"},
        {"\n f() -> ()\n", "rows.ops:2: the first row must start in column 1"},
        {"f(Tensr x) -> Tensor\n",
         "rows.ops:1: in schema 'f(Tensr x) -> Tensor': column 3: expected a type"},
        {"# c\n\n" + f + "\n  # c\n  keep(z)\n",
         "rows.ops:5: op f: keep names 'z', which is no argument or result"},
        {f + "keep(n)", "rows.ops:1: op f: keep names n, which is no tensor"},
        {f + "keep(x,x)", "op f: keep names x twice"},
        {f + "keep(x:n)", "op f: keep: 'n' is no tensor argument"},
        {f + "keep(x:x+z)", "op f: keep: 'z' is no tensor argument"},
        {f + "keep(y:x)", "op f: keep: result y is kept for all gradients"},
        {f + "sane", "op f: 'sane' is no form, shape rule, trait or column"},
        {f + "\"a\" \"b\"", "op f: the doc string is given twice"},
        {f + "broadcast", "op f has two shape rules, same and broadcast"},
        {f + "pointwise along", "op f has two forms, pointwise and along"},
        {f + "contract(n:0..)  contract(n:0..)", "op f: contract is given twice"},
        {f + "contract(q:[N])",
         "in contract 'q:[N]': column 1: expected an argument of f, found 'q'"},
        {f + "contract(x:[N]", "op f: '(' is never closed"},
        {f + "samples(x=1)", "in samples 'x=1': column 3: expected sizes of tensor x"},
        {f + "none(\"a\")", "op f has no doc string"},
        {f + "\"d\"", "op f has no derivative and no decomposition; write none"},
        {f + "\"d\" none(\"a\") d_x: g", "op f has a derivative and also none"},
        {f + "\"d\" derivative(q) d_x: g", "op f has both d_ expressions and derivative"},
        {f + "\"d\" is: x decompose(q)", "op f has both is: and decompose"},
        {f + "\"d\" d_z: g", "op f has no argument 'z' for d_z"},
        {f + "\"d\" d_n: g", "op f: d_n, but n is no tensor"},
        {f + "\"d\" d_x: g d_x: g", "op f: d_x is given twice"},
        {f + "\"d\" d_x: h", "op f: 'h' is no argument, result, gradient, number or dtype"},
        {f + "\"d\" d_x: g1",
         "op f: g1 is the gradient of Tensor result 1, which it does not have"},
        {f + "\"d\" d_x: 1", "op f: d_x is a number"},
        {f + "\"d\" d_x: n", "op f: d_x must be a tensor"},
        {f + "\"d\" d_x: x", "op f: a derivative reads x, which is not kept; add keep(x)"},
        {f + "\"d\" keep(x) d_x: g", "op f keeps x, but no d_ expression reads it"},
        {f + "\"d\" keep(x) none(\"a\")", "op f keeps x, but has no derivative to read it"},
        {f + "\"d\" d_x: h(g)",
         "op f calls 'h', which is neither a row of this file nor on a use line"},
        {f + "\"d\" d_x: f(g, 2, 3)", "op f calls f with 3 arguments, but it has 2"},
        {f + "\"d\" d_x: f()", "op f calls f without x"},
        {f + "\"d\" d_x: f(g, 1.5)", "op f: n is int, but a number stands here"},
        {f + "\"d\" d_x: f(g, g)", "op f: n is int, but Tensor stands here"},
        {f + "\"d\" d_x: f([1])", "op f: x is Tensor, but a list stands here"},
        {f + "\"d\" d_x: f(g, 1", "op f: expected ')', found the end"},
        {f + "\"d\" is: y", "op f: 'y' is no argument, number or dtype"},
        {f + "\"d\" view none(\"a\")", "op f is a view, so its result needs an alias"},
        {f + "\"d\" random none(\"a\")", "op f is random, but has no generator"},
        {f + "\"d\" wide none(\"a\")", "op f is wide, but has no decomposition"},
        {"f(Tensor x) -> Tensor[] wide decompose(c) \"d\"",
         "op f is wide, but its result is a list"},
        {f + "\"d\" none(\"a\")\nf() -> ()",
         "rows.ops:2: op f is already defined, as f(Tensor<T> x, int n=1)"},
        {"f(Tensor x) -> Tensor none(\"a\") \"d\"", "op f has no shape rule"},
        {"f(int n) -> Tensor same inplace none(\"a\") \"d\"",
         "op f cannot be inplace: its first argument"},
        {"f(Tensor a, Tensor b) -> Tensor same d_a: g \"d\"",
         "op f has no d_b; write d_b: none if no gradient"},
        {"f(Tensor x, Tensor? w) -> Tensor y same keep(w) d_x: f(w) d_w: none \"d\"",
         "op f calls f without w"},
        {"f(Tensor x, Tensor? w=None) -> Tensor y same keep(w) d_x: f(w) d_w: none \"d\"",
         "op f: w may be None, but x needs a value"},
        {"f(Tensor x, int default) -> Tensor y same derivative(q) \"d\"",
         "op f: 'default' is a word of C, so derivative(q) cannot ask for it"},
        {"f(Tensor x) -> Tensor decompose(q) \"d\"\nh(Tensor x, int n) -> Tensor decompose(q) "
         "\"d\"",
         "rows.ops:2: op h: decompose(q) is also that of f, whose arguments or results"},
        {"use h(int n) -> Tensor y extra\n",
         "rows.ops:1: a use line is a schema and nothing else, found 'extra'"},
        {"f(Tensor g) -> Tensor y same d_g: g \"d\"",
         "op f: g is an argument or result and also the name"},
    };
    for (const auto &c : cases) {
        int rc;
        const std::string said = run(c.rows, &rc);
        EXPECT_EQ(rc, 1) << c.rows;
        EXPECT_NE(said.find(c.said), std::string::npos) << c.rows << "\n" << said;
        EXPECT_FALSE(exists(header) || exists(table)) << c.rows;
    }
}

// ---- Formulas ----

TEST_F(Command, SaysWhatIsWrongWithAFormula) {
    const std::string start =
        "f(Tensor<T> x, Tensor<T> b) -> Tensor y pointwise same none(\"a\") \"d\" ";
    const std::string floats = "f(Tensor<F> x) -> Tensor y pointwise same none(\"a\") \"d\" ";
    const std::string integers = "f(Tensor<I> x) -> Tensor y pointwise same none(\"a\") \"d\" ";
    const struct {
        std::string rows, said;
    } cases[] = {
        {start + "f: x + z", "rows.ops:1: op f: 'z' in a formula is no argument of the row"},
        {start + "\n\n    f: y", "rows.ops:3: op f: 'y' in a formula is no argument"},
        {start + "f: system(x)", "op f: 'system' is no function that a formula may call"},
        {start + "f: x +", "op f: expected a number, argument or function, found the end"},
        {start + "f: (x + b", "op f: expected ')', found the end"},
        {start + "f: x > 0 ? x", "op f: expected ':', found the end"},
        {start + "f: pow(x)", "op f: expected ',', found ')'"},
        {start + "f: abs(x, b)", "op f: expected ')', found ','"},
        {start + "f: x % b", "rows.ops:1: expected a column, found '%'"},
        {start + "f: x = b", "rows.ops:1: expected a column, found '='"},
        {start + "f x", "rows.ops:1: expected ':', found 'x'"},
        {start + "f: " + std::string(40, '(') + "x", "op f: a formula is nested deeper than 32"},
        {start + "f: " + std::string(40, '-') + "x", "op f: a formula is nested deeper than 32"},
        {start + "f: x  f: b", "op f: f: is given twice"},
        {start + "f: exp(x)",
         "op f: exp is not for integers, but this formula is; give integers one of their own with "
         "f_int:"},
        {start + "f: x / b", "op f: / is not for integers"},
        {start + "f: x * 0.5", "op f: a fraction is not for integers"},
        {start + "f: x & b", "op f: & is not for floating dtypes, but this formula is; f_int: is "
                             "for integers alone"},
        {floats + "f: ~x", "op f: ~ is not for floating dtypes"},
        {floats + "f: x * (1 / 2)", "op f: C divides these as integers; write one with a point"},
        {floats + "f: (x > 0) / 2", "op f: C divides these as integers"},
        {floats + "f: isnan(x) / (x > 0 ? 1 : 2)", "op f: C divides these as integers"},
        {floats + "f: x  f_int: x", "op f: f_int: is for no dtype that it takes"},
        {floats + "f: x  refuse(x == 0, \"zero\")",
         "op f: refuse(...) is for integers, which it does not take"},
        {integers + "f: x  f_int: ~x", "op f: f: is for no dtype that it takes"},
        {integers + "f: x  f_bool: x", "op f: f_bool: is for no dtype that it takes"},
        {start + "f_int: x", "op f has no formula for floating dtypes"},
        {start + "refuse(b == 0, \"zero\")", "op f has no formula for floating dtypes"},
        {start + "f: x  refuse(b == 0)", "rows.ops:1: expected ',', found ')'"},
        {start + "f: x  refuse(b == 0, zero)", "rows.ops:1: expected '\"', found 'zero'"},
        {start + "f: x  refuse(b == 0, \"\")", "op f: refuse is empty"},
        {start + "f: x  refuse(b, \"a\")  refuse(b, \"a\")", "op f: refuse is given twice"},
        {"f(Tensor<T> x) -> Tensor same none(\"a\") \"d\" f: x",
         "op f has a formula, but is not pointwise"},
        {"f(Tensor<T> x, float p) -> Tensor pointwise same none(\"a\") \"d\" f: x",
         "op f has a formula, so its arguments must be tensors of one type variable"},
        {"f(Tensor x) -> Tensor pointwise same none(\"a\") \"d\" f: x",
         "op f has a formula, so its arguments must be tensors of one type variable"},
        {"f(Tensor<bool> c, Tensor<T> x) -> Tensor pointwise same none(\"a\") \"d\" f: x",
         "op f has a formula, so its arguments must be tensors of one type variable"},
        {"f(Tensor<T> x) -> Tensor<i64> pointwise same none(\"a\") \"d\" f: x",
         "op f has a formula, so its result must be one tensor, of the dtype of the arguments or"},
        {"f(Tensor<T> x) -> (Tensor y, Tensor z) pointwise same none(\"a\") \"d\" f: x",
         "op f has a formula, so its result must be one tensor"},
    };
    for (const auto &c : cases) {
        int rc;
        const std::string said = run(c.rows, &rc);
        EXPECT_EQ(rc, 1) << c.rows;
        EXPECT_NE(said.find(c.said), std::string::npos) << c.rows << "\n" << said;
        EXPECT_FALSE(exists(header) || exists(table)) << c.rows;
    }
}

TEST_F(Command, WritesFormulasForEachKindOfDtype) {
    const std::string formulas = folder + "rows_formulas.inc";
    int rc;
    std::ofstream(ops)
        << "f.one(Tensor<T> x) -> Tensor<bool> f pointwise same none(\"a\") \"d\"\n"
           "    f: -x * 2 > 0.5  f_int: x + 1 << 2  f_bool: x  refuse(x < 0, \"w\")\n"
           "h(Tensor<T> x) -> Tensor same none(\"a\") \"no formula\"\n";
    EXPECT_EQ(run_files("--formulas " + formulas + " " + ops, &rc), "");
    EXPECT_EQ(rc, 0);
    const std::string text = text_of(formulas);
    for (const char *line :
         {"FORMULA(f_one, f, bool, FORMULA_ARG(f, x, 0), ((-x) * 2) > 0.5)\n",
          "FORMULA(f_one, i, bool, FORMULA_ARG(i, x, 0), int_shl(int_add(x, 1), 2))\n",
          "FORMULA(f_one, b, bool, FORMULA_ARG(b, x, 0), x)\n",
          "FORMULA_REFUSE(f_one, FORMULA_ARG(i, x, 0), x < 0, \"w\")\n",
          "FORMULA_OP(f_one, \"f.one\", 1, TN_MASK_ALL, f, i, b, refuse)\n"})
        EXPECT_NE(text.find(line), std::string::npos) << line << text;
    EXPECT_EQ(text.find("FORMULA_OP(h"), std::string::npos);
}

TEST_F(Command, WritesSchemasUnderTheCNamesOfTheirOps) {
    const std::string schemas = folder + "rows_schemas.h";
    const std::string rows = "use g(Tensor x) -> Tensor y\n"
                             "f.one(Tensor x,   str s=\"a\") -> Tensor same none(\"a\") \"d\"\n"
                             "mine::f_(Tensor(a!) x) -> Tensor(a) y none(\"a\") same \"d\"\n";
    int rc;
    std::ofstream(ops) << rows;
    EXPECT_EQ(run_files("--schemas " + schemas + " " + ops, &rc), "");
    EXPECT_EQ(rc, 0);
    const char *const lines[] = {
        "#define ROWS_SCHEMA_f_one \"f.one(Tensor x, str s=\\\"a\\\") -> Tensor\"\n",
        "#define ROWS_SCHEMA_mine_f_ \"mine::f_(Tensor(a!) x) -> Tensor(a) y\"\n"};
    for (const char *line : lines) {
        EXPECT_NE(text_of(schemas).find(line), std::string::npos) << line << text_of(schemas);
        EXPECT_EQ(text_of(table).find(line), std::string::npos) << "they have a file of their own";
    }
    EXPECT_EQ(text_of(schemas).find("SCHEMA_g"), std::string::npos) << "of another library";
    EXPECT_EQ(run(rows, &rc), "");
    for (const char *line : lines) EXPECT_NE(text_of(table).find(line), std::string::npos) << line;
}

// ---- Several files ----

TEST_F(Command, MakesOneLibraryOfSeveralFiles) {
    const std::string more = folder + "more.ops";
    int rc;
    std::ofstream(ops) << "f(Tensor x) -> Tensor is: h(x) \"doc\"\n";
    std::ofstream(more) << "h(Tensor x) -> Tensor y same inplace d_x: f(g) \"doc\"\n";
    EXPECT_EQ(run_files("--name both " + ops + " " + more, &rc), "");
    EXPECT_EQ(rc, 0);
    const std::string rows = text_of(table), wrappers = text_of(header);
    EXPECT_NE(rows.find("static const tn_op both_ops[]"), std::string::npos);
    EXPECT_LT(rows.find(".schema = \"f("), rows.find(".schema = \"h("));
    EXPECT_NE(rows.find("tnk_call(&both_ref_h,"), std::string::npos);
    EXPECT_LT(wrappers.find(" *tn_f("), wrappers.find(" *tn_h("));
    EXPECT_NE(wrappers.find("TENON_OPS_BOTH_H"), std::string::npos);
}

TEST_F(Command, PutsWhatTheCFilesShareIntoAHeaderOfItsOwnOrIntoTheTable) {
    const std::string rows = folder + "both_rows.h", include = "#include \"both_rows.h\"";
    const std::string prototype = "tn_tensor *q(tn_tensor *x, tn_maybe_int n);";
    int rc;
    std::ofstream(ops) << "f(Tensor x, int? n) -> Tensor decompose(q) \"doc\"\n";
    EXPECT_EQ(run_files("--name both " + ops, &rc), "");
    EXPECT_NE(text_of(table).find(prototype), std::string::npos);
    EXPECT_EQ(run_files("--name both --rows " + rows + " " + ops, &rc), "");
    EXPECT_NE(text_of(rows).find(prototype), std::string::npos);
    EXPECT_EQ(text_of(table).find(prototype), std::string::npos);
    EXPECT_NE(text_of(table).find(include), std::string::npos);
}

TEST_F(Command, NamesTheFileThatIsWrong) {
    const std::string more = folder + "more.ops";
    const std::string good = "f(Tensor x) -> Tensor same none(\"a\") \"doc\"\n";
    const struct {
        std::string first, second, said;
    } cases[] = {
        {good, "\nf() -> ()", "more.ops:2: op f is already defined, as f(Tensor x) -> Tensor"},
        {good, "# nothing\n", "more.ops: has no rows"},
        {good, "h(Tensor x) -> Tensor is: q(x) \"doc\"",
         "more.ops:1: op h calls 'q', which is neither a row of these files nor on a use line"},
        {good + "\nq(Tensor x) -> Tensor same \"doc\"\n", "h(Tensor x) -> Tensor is: f(x) \"doc\"",
         "rows.ops:3: op q has no derivative"},
    };
    for (const auto &c : cases) {
        int rc;
        std::ofstream(ops) << c.first;
        std::ofstream(more) << c.second;
        const std::string said = run_files("--name both " + ops + " " + more, &rc);
        EXPECT_EQ(rc, 1) << c.second;
        EXPECT_EQ(said.find(c.said), 0u) << c.second << "\n" << said;
        EXPECT_FALSE(exists(header) || exists(table)) << c.second;
    }
}

TEST_F(Command, AsksForTheNameOfSeveralFiles) {
    int rc;
    std::ofstream(ops) << "f(Tensor x) -> Tensor same none(\"no\") \"doc\"\n";
    EXPECT_EQ(run_files(ops + " " + ops, &rc).find("usage: "), 0u);
    EXPECT_EQ(rc, 1);
    EXPECT_NE(run_files("--name 2x " + ops, &rc).find("a name becomes a C name"),
              std::string::npos);
    EXPECT_EQ(rc, 1);
}

TEST_F(Command, ReplacesRegularFilesOnly) {
    int rc;
    struct stat st = {};
    ASSERT_EQ(mkfifo(table.c_str(), 0600), 0);
    const std::string said = run("f(Tensor x) -> Tensor same none(\"no\") \"doc\"\n", &rc);
    EXPECT_EQ(said, "rows_table.inc: cannot write: it is not a regular file\n");
    EXPECT_EQ(rc, 1);
    ASSERT_EQ(lstat(table.c_str(), &st), 0);
    EXPECT_TRUE(S_ISFIFO(st.st_mode));
    EXPECT_FALSE(exists(header) || exists(header + ".part"));
}

TEST_F(Command, SaysHowItIsUsed) {
    EXPECT_EQ(WEXITSTATUS(system((env("OPGEN") + " --header 2>/dev/null").c_str())), 1);
    EXPECT_EQ(WEXITSTATUS(system((env("OPGEN") + " /does/not/exist.ops 2>/dev/null").c_str())), 1);
}

TEST_F(Command, LeavesNothingHalfWritten) {
    std::ofstream(ops) << "f(Tensor x) -> Tensor same none(\"no\") \"doc\"\n";
    const std::string command = env("OPGEN") + " --header " + header + " --table " + folder +
                                "missing/t.inc " + ops + " 2>/dev/null";
    EXPECT_EQ(WEXITSTATUS(system(command.c_str())), 1);
    EXPECT_FALSE(exists(header) || exists(header + ".part"));
}

} // namespace
