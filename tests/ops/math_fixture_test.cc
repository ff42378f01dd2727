// math_fixture_test.cc - replays what PyTorch computed (fixtures/math/*.txt) through every
// loaded kernel provider: values, gradients, in-place twins, in every floating dtype.
//
// Inputs are exact in every dtype, so a difference is the op's. Tolerances are stated below.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

extern "C" {
#include "core/schema/schema.h"
}

#include <cmath>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <tenon/inspect.h>

namespace {

// ---- Fixtures ----

struct Array {
    std::string kind; // "f": the dtype under test; else the name of one
    Shape sizes;
    Numbers numbers;
    bool grad = false;
};

struct Arg {
    char tag = 'n'; // as in the file
    std::vector<Array> arrays;
    double number = 0;
    Shape ints;
    Numbers floats;
    std::string word;
};

struct Case {
    std::string op, file;
    int line = 0;
    std::vector<Arg> args;
    std::vector<Array> outs;
    std::vector<bool> has_cot;
    std::vector<Numbers> cots; // one per result, empty where has_cot is false
    std::vector<Numbers> grads;
    std::vector<Array> after; // of the tensors that the op writes
};

double to_number(const std::string &word) { return std::strtod(word.c_str(), nullptr); }

Shape to_shape(const std::string &word) {
    Shape out;
    if (word == "-") return out;
    std::stringstream in(word);
    for (std::string item; std::getline(in, item, ',');) out.push_back(std::stoll(item));
    return out;
}

Numbers to_numbers(const std::string &word) {
    Numbers out;
    std::stringstream in(word);
    for (std::string item; std::getline(in, item, ',');) out.push_back(to_number(item));
    return out;
}

Numbers rest(std::istream &in) {
    Numbers out;
    for (std::string word; in >> word;) out.push_back(to_number(word));
    return out;
}

Array to_array(std::istream &in, bool marked) {
    Array a;
    std::string sizes, mark;
    in >> a.kind >> sizes;
    if (marked) in >> mark;
    a.sizes = to_shape(sizes), a.grad = mark == "g", a.numbers = rest(in);
    return a;
}

void read_arg(Case &c, const std::string &tag, std::istream &in, int &list_left) {
    Arg a;
    a.tag = tag[0];
    if (tag == "t") {
        a.arrays.push_back(to_array(in, true));
        if (list_left > 0) {
            list_left--;
            c.args.back().arrays.push_back(a.arrays[0]);
            return;
        }
    } else if (tag == "T") {
        in >> list_left;
    } else {
        if (tag == "s")
            in.get(), std::getline(in, a.word); // spaces are part of it, and it may be empty
        else
            in >> a.word;
        a.number = to_number(a.word);
        if (tag == "I") a.ints = to_shape(a.word);
        if (tag == "F") a.floats = to_numbers(a.word);
    }
    c.args.push_back(a);
}

void read_result(Case &c, const std::string &tag, std::istream &in) {
    std::string sizes;
    if (tag == "now") {
        c.after.push_back(to_array(in, false));
        return;
    }
    if (tag == "out") {
        c.outs.push_back(to_array(in, false));
        c.has_cot.push_back(false), c.cots.emplace_back();
        return;
    }
    in >> sizes;
    if (tag == "cot")
        c.has_cot.back() = true, c.cots.back() = rest(in);
    else
        c.grads.push_back(rest(in));
}

void read_file(const std::string &path, std::vector<Case> *cases) {
    std::ifstream file(path);
    ASSERT_TRUE(file) << path;
    std::string text;
    int list_left = 0;
    for (int number = 1; std::getline(file, text); number++) {
        std::stringstream in(text);
        std::string tag;
        if (!(in >> tag) || tag[0] == '#' || tag == "end") continue;
        if (tag == "case") {
            cases->emplace_back();
            cases->back().file = path.substr(path.rfind('/') + 1);
            cases->back().line = number;
            in >> cases->back().op;
        } else if (tag == "out" || tag == "cot" || tag == "grad" || tag == "now") {
            read_result(cases->back(), tag, in);
        } else {
            read_arg(cases->back(), tag, in, list_left);
        }
    }
}

// MATH_FIXTURES: the files, separated by spaces.
std::vector<Case> read_cases() {
    const char *paths = std::getenv("MATH_FIXTURES");
    std::stringstream in(paths ? paths : "");
    std::vector<Case> cases;
    for (std::string path; in >> path;) read_file(path, &cases);
    return cases;
}

// ---- Calls ----

struct Precision { // |got - expected| <= tolerance (1 + |expected|)
    tn_dtype dtype;
    double tolerance;
};
const Precision precisions[] = {{TN_F64, 1e-12}, {TN_F32, 1e-5}, {TN_F16, 1e-2}, {TN_BF16, 8e-2}};

tn_tensor *convert(tn_tensor *t, tn_dtype dtype) {
    static tn_op_ref op = {"to", 0, 0};
    const tn_value args[] = {tn_value_tensor(t), tn_value_dtype(dtype)};
    tn_value out = tn_value_none();
    return tn_op_call(&op, args, 2, &out, 1) == TN_OK ? out.tensor : nullptr;
}

tn_dtype dtype_named(const std::string &name) {
    for (const tn_dtype d :
         {TN_BOOL, TN_U8, TN_I8, TN_I16, TN_I32, TN_I64, TN_F16, TN_BF16, TN_F32, TN_F64})
        if (name == tn_dtype_name(d)) return d;
    ADD_FAILURE() << "no dtype is called " << name;
    return TN_F64;
}

// Integers must agree exactly.
double tolerance_of(tn_dtype dtype) {
    for (const Precision &p : precisions)
        if (tn_dtype_is(p.dtype, dtype)) return p.tolerance;
    return 0;
}

tn_tensor *make(const Array &a, tn_dtype floating) {
    tn_tensor *t = tn_from(a.numbers.data(), ints(a.sizes), TN_F64);
    if (a.kind == "f") return tn_dtype_is(floating, TN_F64) ? t : convert(t, floating);
    return convert(t, dtype_named(a.kind));
}

Numbers read(tn_tensor *t) {
    const int64_t n = tn_numel(t);
    Numbers out(n > 0 ? static_cast<size_t>(n) : 0);
    if (n >= 0) tn_read(convert(t, TN_F64), out.data(), out.size() * sizeof(double));
    return out;
}

bool same(const Numbers &a, const Numbers &b) {
    for (size_t i = 0; i < a.size(); i++)
        if (a[i] != b[i] && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
    return a.size() == b.size();
}

class Replay {
  public:
    Replay(const Case &c, const Precision &p) : case_(c), precision_(p), scope_(tn_scope_push()) {}
    ~Replay() {
        tn_clear_error();
        tn_scope_pop(scope_);
    }
    Replay(const Replay &) = delete;
    Replay &operator=(const Replay &) = delete;

    // False: nothing to see. This dtype does not hold the inputs exactly, or none has it.
    bool prepare() {
        if (!tn_dtype_is(precision_.dtype, TN_F64) && !speaks_of_floats()) return false;
        for (const Arg &a : case_.args) values_.push_back(value(a));
        return exact_;
    }

    bool call(const std::string &op) {
        const bool list = list_result(op);
        std::vector<tn_value> outs(list ? 1 : case_.outs.size(), tn_value_none());
        tn_op_ref ref = {op.c_str(), 0, 0};
        if (tn_op_call(&ref, values_.data(), static_cast<uint32_t>(values_.size()), outs.data(),
                       static_cast<uint32_t>(outs.size())) != TN_OK)
            return false;
        for (const tn_value &v : outs) {
            for (uint32_t i = 0; list && i < v.aux; i++) results_.push_back(v.tensors[i]);
            if (!list) results_.push_back(v.tensor);
        }
        return true;
    }

    void expect_values() {
        ASSERT_EQ(results_.size(), case_.outs.size()) << where();
        for (size_t i = 0; i < results_.size(); i++) expect_result(results_[i], case_.outs[i], i);
    }

    void expect_gradients() {
        std::vector<tn_tensor *> outs, starts, grads(leaves_.size(), nullptr);
        for (size_t i = 0; i < results_.size(); i++) {
            if (!case_.has_cot[i]) continue;
            const Array cot = {"f", case_.outs[i].sizes, case_.cots[i], false};
            outs.push_back(results_[i]), starts.push_back(make(cot, tn_dtype_of(results_[i])));
        }
        if (outs.empty() || leaves_.empty()) return;
        tn_backward_wrt(tensors(outs), tensors(leaves_), tensors(starts), nullptr, grads.data());
        ASSERT_EQ(tn_error(), TN_OK) << where() << tn_error_message();
        ASSERT_EQ(grads.size(), case_.grads.size()) << where();
        for (size_t i = 0; i < grads.size(); i++) {
            const Numbers got = grads[i] ? read(grads[i]) : Numbers(case_.grads[i].size(), 0.0);
            expect_close(got, case_.grads[i], "gradient " + std::to_string(i),
                         precision_.tolerance);
        }
    }

    // What the op has written, in the order of its arguments; beyond `after` nobody asks.
    void expect_written() {
        if (case_.after.empty()) return;
        std::vector<tn_tensor *> written;
        tn_op_info info = {};
        info.size = sizeof info;
        tni_schema schema;
        char why[256];
        ASSERT_EQ(tn_op_find(case_.op.c_str(), &info), TN_OK);
        ASSERT_EQ(tni_schema_parse(info.schema, &schema, why, sizeof why), TN_OK) << why;
        for (size_t i = 0; i < values_.size(); i++)
            for (uint32_t k = 0; schema.params[i].mutated && k < values_[i].aux; k++)
                written.push_back(values_[i].tensors[k]);
        ASSERT_EQ(written.size(), case_.after.size()) << where();
        for (size_t i = 0; i < written.size(); i++) expect_result(written[i], case_.after[i], i);
    }

    bool twin_fits() const { // the first argument can hold the result
        const Arg &a = case_.args[0];
        return a.tag == 't' && case_.outs.size() == 1 && a.arrays[0].kind == case_.outs[0].kind &&
               a.arrays[0].sizes == case_.outs[0].sizes;
    }

    void expect_target() { // the twin returns its target
        EXPECT_TRUE(same(read(results_[0]), read(values_[0].tensor))) << where();
    }

    std::string where() const {
        return case_.op + " (" + case_.file + ":" + std::to_string(case_.line) + ", " +
               tn_dtype_name(precision_.dtype) + "): ";
    }

  private:
    bool speaks_of_floats() const {
        for (const Array &out : case_.outs)
            if (out.kind == "f") return true;
        for (const Arg &a : case_.args)
            for (const Array &in : a.arrays)
                if (in.kind == "f") return true;
        return false;
    }

    static bool list_result(const std::string &op) {
        tn_op_info info = {};
        info.size = sizeof info;
        if (tn_op_find(op.c_str(), &info) != TN_OK) return false;
        const std::string schema = info.schema;
        return schema.find("[]", schema.find("->")) != std::string::npos;
    }

    tn_tensor *tensor(const Array &a) {
        if (a.kind == "none") return nullptr; // an absent entry of a list
        tn_tensor *t = make(a, precision_.dtype);
        if (!t) return nullptr;
        exact_ = exact_ && same(read(t), a.numbers);
        if (!a.grad) return t;
        tn_set_requires_grad(t, true);
        leaves_.push_back(t);
        return t;
    }

    tn_value value(const Arg &a) {
        switch (a.tag) {
        case 't':
            return tn_value_tensor(tensor(a.arrays[0]));
        case 'T': {
            lists_.emplace_back();
            for (const Array &item : a.arrays) lists_.back().push_back(tensor(item));
            return tn_value_tensors(tensors(lists_.back()));
        }
        case 'w':
            return tn_value_tensor(tn_scalar_of(a.word.find_first_of(".en") == std::string::npos
                                                    ? tn_int(static_cast<int64_t>(a.number))
                                                    : tn_float(a.number)));
        case 'i':
            return tn_int(static_cast<int64_t>(a.number));
        case 'f':
            return tn_float(a.number);
        case 'b':
            return tn_bool(a.number != 0);
        case 'I':
            return tn_value_ints(ints(a.ints));
        case 'F':
            return tn_value_floats({a.floats.data(), static_cast<int64_t>(a.floats.size())});
        case 's':
            return tn_value_str(a.word.data(), static_cast<uint32_t>(a.word.size()));
        case 'd':
            return tn_value_dtype(dtype_named(a.word));
        default:
            return tn_value_none();
        }
    }

    void expect_result(tn_tensor *t, const Array &expected, size_t i) {
        ASSERT_NE(t, nullptr) << where() << tn_error_message();
        const tn_dtype dtype = tn_dtype_of(t);
        const bool any_float = (TN_MASK_FLOAT >> tn_dtype_index(dtype) & 1) != 0;
        if (expected.kind != "f" || !any_float) {
            EXPECT_EQ(expected.kind, tn_dtype_name(dtype)) << where();
        }
        EXPECT_EQ(shape(t), expected.sizes) << where();
        const bool under_test = expected.kind == "f";
        expect_close(read(t), expected.numbers, "result " + std::to_string(i),
                     under_test ? precision_.tolerance : tolerance_of(dtype));
    }

    void expect_close(const Numbers &got, const Numbers &expected, const std::string &what,
                      double tolerance) {
        ASSERT_EQ(tn_error(), TN_OK) << where() << tn_error_message();
        ASSERT_EQ(got.size(), expected.size()) << where() << what;
        for (size_t i = 0; i < got.size(); i++) {
            const double e = expected[i], limit = tolerance * (1 + std::fabs(e));
            const bool fine = got[i] == e || (std::isnan(e) && std::isnan(got[i])) ||
                              std::fabs(got[i] - e) <= limit;
            EXPECT_TRUE(fine) << where() << what << ", element " << i << " is " << got[i]
                              << ", PyTorch has " << e;
            if (!fine) return;
        }
    }

    const Case &case_;
    const Precision &precision_;
    tn_scope scope_;
    bool exact_ = true;
    std::vector<tn_value> values_;
    std::deque<std::vector<tn_tensor *>> lists_;
    std::vector<tn_tensor *> leaves_, results_;
};

// ---- All cases, on all providers ----

class MathFixtures : public Tenon {
  protected:
    static const std::vector<Case> &cases() {
        static const std::vector<Case> all = read_cases();
        return all;
    }

    static std::set<std::string> providers() {
        std::set<std::string> out;
        tn_op_info info = {};
        info.size = sizeof info;
        for (int64_t i = 0; tn_op_at(i, &info) == TN_OK && i < tn_op_count(); i++) {
            const char *list = tn_op_providers(info.name, "cpu");
            std::stringstream in(list ? list : "");
            for (std::string id; std::getline(in, id, ',');) out.insert(id);
        }
        tn_clear_error();
        return out;
    }

    template <class Check> static void on_every_provider(Check check) {
        const auto ids = providers();
        ASSERT_FALSE(ids.empty());
        for (const std::string &id : ids) {
            SCOPED_TRACE(id);
            ASSERT_EQ(tn_use_provider(id.c_str()), TN_OK) << tn_error_message();
            for (const Case &c : cases())
                for (const Precision &p : precisions) check(c, p);
        }
        tn_use_provider(nullptr);
    }
};

TEST_F(MathFixtures, FileHoldsACaseForEveryFamilyOfOps) {
    std::set<std::string> ops;
    for (const Case &c : cases()) ops.insert(c.op);
    EXPECT_GE(cases().size(), 150u);
    EXPECT_GE(ops.size(), 70u);
}

TEST_F(MathFixtures, ValuesAndGradientsAgreeWithPyTorchOnEveryProvider) {
    on_every_provider([](const Case &c, const Precision &p) {
        Replay replay(c, p);
        if (!replay.prepare()) return;
        ASSERT_TRUE(replay.call(c.op)) << replay.where() << tn_error_message();
        replay.expect_values();
        replay.expect_gradients();
        replay.expect_written();
    });
}

TEST_F(MathFixtures, InPlaceTwinsAgreeWithPyTorchOnEveryProvider) {
    on_every_provider([](const Case &c, const Precision &p) {
        tn_op_info info = {};
        info.size = sizeof info;
        if (tn_op_find((c.op + "_").c_str(), &info) != TN_OK) {
            tn_clear_error();
            return;
        }
        const bool grad = tn_set_grad_enabled(false);
        Replay replay(c, p);
        if (replay.prepare() && replay.twin_fits()) {
            EXPECT_TRUE(replay.call(c.op + "_")) << replay.where() << tn_error_message();
            if (tn_error() == TN_OK) replay.expect_values(), replay.expect_target();
        }
        tn_set_grad_enabled(grad);
    });
}

} // namespace
