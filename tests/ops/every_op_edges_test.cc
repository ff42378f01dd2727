// every_op_edges_test.cc - every op at the edges of every float dtype: its results and gradients are
// the true values, rounded once.
//
// Both providers are held to the same call in f64; in f64 they are held to each other. Calls come
// from the rows' samples: plain arguments, integers and booleans stay, floats are replaced by edges,
// and sizes are tried as they are and larger.
// SPDX-License-Identifier: Apache-2.0
#include <iterator>
#include <set>
#include <sstream>
#include <tuple>

#include "tests/ops/edge_exceptions.h"
#include "tests/ops/edge_trials.h"

extern "C" {
#include "core/dispatch/registry.h"
}

namespace {

// ---- Findings ----

class Findings {
  public:
    explicit Findings(tn_dtype dtype) : dtype_(dtype) {}

    void add(const Trial &t, Part part, Fault fault, const std::string &text) {
        if (excused(t.op->name, part, fault)) return;
        if (!seen_.insert({t.op->name, part, fault}).second) return; // one of a kind is enough
        std::ostringstream numbers;
        numbers.precision(9);
        for (const Filled &f : t.tensors)
            for (size_t i = 0; f.floating && i < f.numbers.size() && i < 16; i++)
                numbers << (i ? " " : "\n  floats: ") << f.numbers[i];
        ADD_FAILURE() << t.op->name << " sample " << t.sample << " " << t.sizing << ", "
                      << filling_names[t.filling] << ", " << tn_dtype_name(dtype_) << ", "
                      << fault_names[fault] << ", " << text << numbers.str();
    }

    void expect_all_exceptions_needed() const {
        for (const Exception &e : exceptions)
            for (const std::string &op : words(e.ops))
                EXPECT_TRUE(!(e.dtypes & bit()) || used_.count({&e, op}))
                    << op << " needs no exception in " << tn_dtype_name(dtype_) << ": " << e.why;
    }

  private:
    int bit() const {
        return tn_dtype_is(dtype_, TN_F16)    ? F16
               : tn_dtype_is(dtype_, TN_BF16) ? BF16
               : tn_dtype_is(dtype_, TN_F32)  ? F32
                                              : F64;
    }

    static std::set<std::string> words(const char *text) {
        std::istringstream in(text);
        return {std::istream_iterator<std::string>(in), {}};
    }

    bool excused(const std::string &op, Part part, Fault fault) {
        for (const Exception &e : exceptions)
            if (e.part == part && e.dtypes & bit() && e.faults & fault && words(e.ops).count(op))
                return used_.insert({&e, op}), true;
        return false;
    }

    const tn_dtype dtype_;
    std::set<std::tuple<std::string, Part, Fault>> seen_;
    std::set<std::pair<const Exception *, std::string>> used_;
};

// ---- One trial ----

class EveryOpEdges : public Tenon, public ::testing::WithParamInterface<tn_dtype> {
  protected:
    void try_out(const Trial &t) {
        const Answer ref = answer("cpu_ref", t, dtype_, dtype_);
        const Answer blas = answer("cpu_blas", t, dtype_, dtype_);
        // What draws random numbers takes other ones in f64.
        if (tn_dtype_is(dtype_, TN_F64) || draws(*t.op)) return compare(t, "cpu_blas", ref, blas);
        const Answer wide = answer("cpu_ref", t, TN_F64, dtype_);
        compare(t, "cpu_ref", wide, ref);
        compare(t, "cpu_blas", wide, blas);
    }

    const tn_dtype dtype_ = GetParam();
    Findings findings_{dtype_};

  private:
    static bool draws(const Op &op) {
        for (uint32_t i = 0; i < op.schema.n_params; i++)
            if (op.schema.params[i].type == TNI_GENERATOR) return true;
        return false;
    }

    void compare(const Trial &t, const char *provider, const Answer &want, const Answer &have) {
        const std::string who = std::string(provider) + ": ";
        if (want.status != have.status || want.names != have.names)
            return findings_.add(t, RESULT, STATUS, who + want.text + " but " + have.text);
        Judge judge(t, dtype_, want);
        for (size_t p = 0; !want.status && p < want.parts.size(); p++)
            compare_part(t, who, &judge, want, have, p);
    }

    void compare_part(const Trial &t, const std::string &who, Judge *judge, const Answer &want,
                      const Answer &have, size_t p) {
        const Part part = want.is_gradient(p) ? GRADIENT : RESULT;
        if (want.parts[p].sizes != have.parts[p].sizes)
            return findings_.add(t, part, STATUS, who + want.names[p] + " has other sizes");
        for (size_t i = 0; i < want.parts[p].count(); i++) {
            const Fault fault = judge->verdict(p, i, have.parts[p]);
            if (!fault) continue;
            char text[200];
            snprintf(text, sizeof text, "element %zu: got %.9g, wanted %.9g (largest term %.3g)", i,
                     have.parts[p][i], want.parts[p][i], judge->largest(p, i));
            findings_.add(t, part, fault, who + want.names[p] + " " + text);
        }
    }
};

// ---- Sizes ----

tni_form form_of(const Op &op) { return tni_registry_find(op.name.c_str())->form; }

// One dim of every tensor that has it in the size `from`.
struct Growth {
    const char *name;
    int64_t from;
    bool first; // the first dim, else the last

    Sizer to(int64_t n) const {
        const Growth g = *this;
        return [g, n](const Shape &sizes) {
            Shape out = sizes;
            if (out.empty()) return out;
            int64_t &size = g.first ? out.front() : out.back();
            if (size == g.from) size = n;
            return out;
        };
    }
};

enum Grown { REFUSED, GROWS, REDUCES };

// Does the op take larger tensors, with results that grow in proportion at most, or not at all?
Grown grown(const Op &op, const Args &args, tn_dtype dtype, const Growth &g) {
    Trial t = {&op, 0, SAMPLED, "", false, {}, {}};
    size_t elements[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
        fill(&t, args.values, dtype, k ? g.to(4 * g.from) : as_it_is);
        const Answer a = answer("cpu_ref", t, dtype, dtype);
        if (a.status) return REFUSED;
        for (const Contents &c : a.parts) elements[k] += c.count();
    }
    return elements[1] == elements[0] ? REDUCES : elements[1] <= 4 * elements[0] ? GROWS : REFUSED;
}

// Many elements only where a line of them is one result: else all may meet all. Whether ones are
// swallowed is asked in f32, where f64 is the truth; counts leave the range of f16.
bool has_many(const Op &op, tn_dtype dtype, const Growth &g, Grown how, Filling filling) {
    if (filling == EQUAL)
        return how == REDUCES && tn_dtype_is(dtype, TN_F16) &&
               (g.first || form_of(op) == TNI_REDUCE);
    return !tn_dtype_is(dtype, TN_F64) &&
           (form_of(op) == TNI_ALONG || (how == REDUCES && (g.first || form_of(op) == TNI_REDUCE)));
}

bool all_alike(const std::vector<tn_value> &values) {
    std::set<Shape> shapes;
    std::vector<std::vector<tn_tensor *>> lists;
    with_tensors(values, &lists, [&](tn_tensor *x, uint32_t) {
        shapes.insert(shape(x));
        return x;
    });
    return shapes.size() == 1 && count_of(*shapes.begin()) > 1;
}

Shape first_shape(const std::vector<tn_value> &values) {
    Shape first;
    std::vector<std::vector<tn_tensor *>> lists;
    with_tensors(values, &lists, [&](tn_tensor *x, uint32_t) {
        if (first.empty()) first = shape(x);
        return x;
    });
    return first;
}

struct Row {
    const Op &op;
    int64_t sample;
    const Args &args;
    tn_dtype dtype;

    Trial trial(Filling filling, const char *sizing, const Sizer &sizer, size_t turn = 0) const {
        const bool gradients = !op.info.no_grad && filling != EQUAL;
        Trial t = {&op, sample, filling, sizing, gradients, {}, {}};
        fill(&t, args.values, dtype, sizer, turn);
        return t;
    }
};

using Try = std::function<void(const Trial &)>;

// A line in which all numbers meet, where that is possible; else the sample's sizes.
void try_sizes_of_sample(const Row &r, const Try &try_out) {
    const bool line = form_of(r.op) == TNI_POINTWISE && all_alike(r.args.values);
    const auto in_line = [](const Shape &) { return Shape{16 * 16 + 3}; };
    for (const Filling filling : {SAMPLED, EDGES, FINITE, LARGE, SMALL, FAR}) {
        const bool turns = !line && (filling == EDGES || filling == FINITE);
        for (size_t turn = 0; turn < (turns ? 2 : 1); turn++) {
            const Inner inner;
            if (line)
                try_out(r.trial(filling, "in line", in_line));
            else
                try_out(r.trial(filling, "", as_it_is, 5 * turn));
        }
    }
}

void try_larger_sizes(const Row &r, const Growth &g, const Try &try_out) {
    const Grown how = g.from < 1 ? REFUSED : grown(r.op, r.args, r.dtype, g);
    if (how == REFUSED) return;
    for (const Filling filling : {SAMPLED, EDGES, FINITE, LARGE, SMALL, FAR, HEAVY, EQUAL}) {
        const Inner inner;
        if (filling >= HEAVY && !has_many(r.op, r.dtype, g, how, filling)) continue;
        const int64_t n = filling == HEAVY ? 4001 : filling == EQUAL ? 70001 : 35;
        try_out(r.trial(filling, g.name, g.to(n)));
    }
}

TEST_P(EveryOpEdges, AreTheTrueValuesRoundedOnce) {
    const Try try_out = [this](const Trial &t) { this->try_out(t); };
    for (const Op &op : all_ops())
        for (int64_t i = 0; !op.twin; i++) {
            const Inner inner;
            const Args args = sample(op, i, dtype_);
            if (args.status == TN_ERR_NOTFOUND) break;
            if (args.status) continue;
            const Row row = {op, i, args, dtype_};
            try_sizes_of_sample(row, try_out);
            const Shape first = first_shape(args.values);
            if (form_of(op) == TNI_POINTWISE || first.empty()) continue;
            try_larger_sizes(row, {"wide", first.back(), false}, try_out);
            if (first.size() > 1) try_larger_sizes(row, {"tall", first.front(), true}, try_out);
        }
    findings_.expect_all_exceptions_needed();
}

INSTANTIATE_TEST_SUITE_P(Dtypes, EveryOpEdges, ::testing::Values(TN_F16, TN_BF16, TN_F32, TN_F64),
                         [](const ::testing::TestParamInfo<tn_dtype> &info) {
                             return std::string(tn_dtype_name(info.param));
                         });

} // namespace
