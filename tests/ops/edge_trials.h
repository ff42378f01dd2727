// edge_trials.h - calls of an op with numbers of our choice, what comes of them, forward and back,
// and the judgement: is it the true value, rounded?
//
// The truth is the same call on the same numbers in f64.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_EDGE_TRIALS_H
#define TENON_TESTS_EDGE_TRIALS_H

#include <functional>

#include "tests/ops/edge_values.h"

#include "modules/math/math_ops.h"

// ---- Trials: a sample in other sizes, with other numbers ----

struct Filled {
    Shape sizes;
    bool floating;
    Numbers numbers; // of floats
    Contents plain;  // what is no float: as in the sample
};

struct Trial {
    const Op *op;
    int64_t sample;
    Filling filling;
    std::string sizing;
    bool gradients;
    std::vector<tn_value> values;
    std::vector<Filled> tensors; // of all arguments, in order
};

using Sizer = std::function<Shape(const Shape &)>;

inline Shape as_it_is(const Shape &sizes) { return sizes; }

inline size_t count_of(const Shape &sizes) {
    size_t n = 1;
    for (const int64_t s : sizes) n *= static_cast<size_t>(s);
    return n;
}

inline Filled filled(const Contents &c, const Shape &sizes, tn_dtype dtype, Filling filling,
                     size_t tensor, size_t turn) {
    Filled f = {sizes, tn_dtype_is(c.dtype, dtype), {}, {c.dtype, sizes, {}}};
    const size_t n = c.count() ? count_of(sizes) : 0, width = c.dtype.bits / 8u;
    if (f.floating && filling != SAMPLED)
        f.numbers = edge_numbers(format_of(dtype), filling, n, tensor, turn);
    for (size_t i = 0; f.floating && filling == SAMPLED && i < n; i++) // over and over
        f.numbers.push_back(c[i % c.count()]);
    for (size_t i = 0; !f.floating && i < n * width; i++)
        f.plain.bytes.push_back(c.bytes[i % c.bytes.size()]);
    return f;
}

// The arguments' floats of this dtype are replaced; SAMPLED keeps them.
inline void fill(Trial *t, const std::vector<tn_value> &values, tn_dtype dtype, const Sizer &sizer,
                 size_t turn = 0) {
    std::vector<std::vector<tn_tensor *>> lists;
    t->values = values;
    t->tensors.clear();
    with_tensors(values, &lists, [&](tn_tensor *x, uint32_t) {
        const Contents c = contents(x);
        const Shape sizes = c.count() ? sizer(c.sizes) : c.sizes;
        t->tensors.push_back(filled(c, sizes, dtype, t->filling, t->tensors.size(), turn));
        return x;
    });
}

// The same call with terms of other signs shows how large the terms of a sum are.
enum Signs {
    AS_THEY_ARE,
    UPSTREAM, // only of the gradient that comes in
    POSITIVE,
    MIXED,
    MIXED_OTHERWISE,
    MIXED_WITHOUT_ZEROS,
    N_SIGNS
};

inline double signed_as(double x, Signs signs, size_t i) {
    if (signs == AS_THEY_ARE) return x;
    const bool one = !std::isfinite(x) || (x == 0 && signs == MIXED_WITHOUT_ZEROS);
    const double size = one ? 1 : std::fabs(x);
    const size_t bits = (i * 0x9e3779b97f4a7c15u + signs * 0xbf58476d1ce4e5b9u) >> 40;
    return signs != POSITIVE && bits & 1 ? -size : size;
}

inline tn_tensor *made(Numbers numbers, const Shape &sizes, tn_dtype dtype, Signs signs,
                       size_t salt) {
    for (size_t i = 0; i < numbers.size(); i++) numbers[i] = signed_as(numbers[i], signs, i + salt);
    numbers.push_back(0); // of none, a pointer all the same
    tn_tensor *t = tn_from(numbers.data(), ints(sizes), TN_F64);
    return tn_dtype_is(dtype, TN_F64) ? t : tn_to(t, dtype);
}

// ---- Answers ----

struct Answer {
    tn_status status;
    std::string text;
    std::vector<Contents> parts; // results, then gradients
    std::vector<std::string> names;

    bool is_gradient(size_t part) const { return names[part][0] == 'g'; }
};

inline std::vector<tn_tensor *> tensors_of(const tn_value *outs, uint32_t n) {
    std::vector<tn_tensor *> list;
    for (uint32_t i = 0; i < n; i++) {
        if (is_tensor(outs[i])) list.push_back(outs[i].tensor);
        for (uint32_t k = 0; outs[i].tag == TN_TAG_TENSORS && k < outs[i].aux; k++)
            list.push_back(outs[i].tensors[k]);
    }
    return list;
}

// Of one backward pass that starts with the numbers of list, over and over.
inline void add_gradients(Answer *a, const std::vector<tn_tensor *> &ys,
                          const std::vector<tn_tensor *> &leaves, const Numbers &list,
                          Signs signs) {
    std::vector<tn_tensor *> starts, grads(leaves.size());
    for (tn_tensor *y : ys) {
        Numbers numbers;
        for (int64_t i = 0; i < tn_numel(y); i++)
            numbers.push_back(list[static_cast<size_t>(i) % list.size()]);
        starts.push_back(made(numbers, shape(y), tn_dtype_of(y), signs, 7));
    }
    tn_backward_opts opts = {};
    opts.retain_graph = true;
    a->status = tn_backward_wrt(tensors(ys), tensors(leaves), tensors(starts), &opts, grads.data());
    for (size_t i = 0; !a->status && i < grads.size(); i++) {
        if (!grads[i]) continue;
        a->parts.push_back(contents(grads[i]));
        a->names.push_back("gradient " + std::to_string(i) + (list.size() > 1 ? " of edges" : ""));
    }
}

inline void add_backward(Answer *a, const Trial &t, const tn_value *outs,
                         const std::vector<tn_tensor *> &leaves, tn_dtype judged, Signs signs) {
    std::vector<tn_tensor *> ys;
    for (tn_tensor *y : tensors_of(outs, t.op->schema.n_visible))
        if (is_float(tn_dtype_of(y)) && tn_requires_grad(y)) ys.push_back(y);
    if (leaves.empty() || ys.empty()) return;
    add_gradients(a, ys, leaves, {1}, signs);
    if (!a->status && t.filling < HEAVY)
        add_gradients(a, ys, leaves, edges(format_of(judged), t.filling), signs);
}

// dtype is what the call computes in, judged whose edges its gradients start with.
inline Answer answer(const char *provider, const Trial &t, tn_dtype dtype, tn_dtype judged,
                     Signs signs = AS_THEY_ARE) {
    const Inner inner;
    std::vector<std::vector<tn_tensor *>> lists;
    std::vector<tn_tensor *> leaves;
    size_t index = 0;
    EXPECT_EQ(tn_use_provider(provider), TN_OK);
    const auto values = with_tensors(t.values, &lists, [&](tn_tensor *, uint32_t k) {
        const Filled &f = t.tensors[index];
        const size_t salt = 31 * index++;
        if (!f.floating) return tn_from(f.plain.bytes.data(), ints(f.sizes), f.plain.dtype);
        tn_tensor *x =
            made(f.numbers, f.sizes, dtype, signs == UPSTREAM ? AS_THEY_ARE : signs, salt);
        if (x && t.gradients && !t.op->mutates(k)) leaves.push_back(param(x));
        return x;
    });
    tn_value outs[TNI_MAX_RESULTS] = {};
    Answer a = {call(*t.op, values, outs), "", {}, {}};
    for (uint32_t i = 0; !a.status && i < t.op->schema.n_visible; i++) collect(outs[i], &a.parts);
    for (uint32_t i = 0; !a.status && i < values.size(); i++)
        if (t.op->mutates(i)) collect(values[i], &a.parts);
    for (size_t i = 0; i < a.parts.size(); i++) a.names.push_back("result " + std::to_string(i));
    if (!a.status) add_backward(&a, t, outs, leaves, judged, signs);
    a.text = tn_error_message();
    tn_clear_error();
    tn_use_provider(nullptr);
    return a;
}

// ---- The judgement ----

enum Fault { NONE = 0, DIGITS = 1, RANGE = 2, NANS = 4, STATUS = 8 };
inline const char *const fault_names[] = {"", "digits", "range", "", "nan", "", "", "", "status"};

class Judge {
  public:
    Judge(const Trial &t, tn_dtype dtype, const Answer &want)
        : trial_(t), dtype_(dtype), want_(want) {}

    // An element is right if it is the true value rounded, or as near to that as a sum of terms that
    // large can be. A sum that leaves the range on its way may be infinite or NaN.
    Fault verdict(size_t part, size_t i, const Contents &have) {
        const double h = have[i], w = want_.parts[part][i];
        if (!is_float(have.dtype)) return h == w ? NONE : DIGITS;
        const Format f = format_of(have.dtype);
        const double r = f.rounded(w);
        if (h == r || (std::isnan(h) && std::isnan(r))) return NONE;
        const double most = largest(part, i), off = allowed(part, w, most, f);
        const bool over = most >= (want_.is_gradient(part) ? f : wide(f)).overflow();
        if (over && (!std::isfinite(h) || f.digits > 24)) return NONE;
        if (std::isnan(h) || std::isnan(r)) return NANS;
        if (std::isfinite(h) && std::isfinite(r)) return std::fabs(h - w) <= off ? NONE : DIGITS;
        const double finite = std::isinf(h) ? w : h; // the other has been rounded to infinity
        return h * r > 0 && std::fabs(finite) + off >= f.max ? NONE : RANGE;
    }

    // No smaller than the largest term of the sum that the element is, if it is one.
    double largest(size_t part, size_t i) {
        for (int k = UPSTREAM; gauges_.size() < N_SIGNS - UPSTREAM; k++)
            gauges_.push_back(answer("cpu_ref", trial_, TN_F64, dtype_, static_cast<Signs>(k)));
        const double w = want_.parts[part][i];
        double most = std::isfinite(w) ? std::fabs(w) : 0;
        for (const Answer &g : gauges_)
            if (part < g.parts.size() && i < g.parts[part].count() && !std::isnan(g.parts[part][i]))
                most = std::max(most, std::fabs(g.parts[part][i]));
        return most;
    }

  private:
    // What 16-bit floats are computed in.
    static Format wide(const Format &f) { return f.digits > 24 ? f : format_of(TN_F32); }

    // f64 is compared with f64: sums may run in another order. A gradient of 16 bits may be made of
    // steps that are rounded.
    double allowed(size_t part, double w, double most, const Format &f) const {
        const double sums = (f.digits > 24 ? 256 : 16) * wide(f).ulp(std::min(most, wide(f).max));
        if (f.digits >= 24) return sums;
        const double steps = want_.is_gradient(part) ? 4 * f.ulp(std::min(most, f.max)) : 0;
        return 0.75 * f.ulp(w) + std::max(sums, steps);
    }

    const Trial &trial_;
    const tn_dtype dtype_;
    const Answer &want_;
    std::vector<Answer> gauges_;
};

#endif
