// op_fuzz.h - random calls of an op, made from its schema and samples: valid ones, and ones bent out
// of shape in one to three places.
//
// A case follows from (op, number) alone, so that it can be made again for each provider and after a
// failure. Sizes are either small or so large that no machine has the memory: what can be allocated
// is also quick to compute.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_OP_FUZZ_H
#define TENON_TESTS_OP_FUZZ_H

#include <algorithm>
#include <deque>
#include <random>

#include "tests/support/op_walk.h"

#include "modules/math/math_ops.h"

class Dice {
  public:
    explicit Dice(uint64_t seed) : engine_(seed) {}

    int64_t below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }
    bool one_in(int64_t n) { return below(n) == 0; }
    template <typename T, size_t n> const T &pick(const T (&list)[n]) { return list[below(n)]; }
    template <typename T> const T &pick(const std::vector<T> &list) {
        return list[static_cast<size_t>(below(static_cast<int64_t>(list.size())))];
    }

  private:
    std::mt19937_64 engine_;
};

// ---- Odd numbers ----

// For attributes, which may be sizes: nothing that a machine could just about allocate.
inline int64_t odd_int(Dice &dice) {
    static const int64_t odd[] = {0,
                                  -1,
                                  2,
                                  -2,
                                  3,
                                  16,
                                  17,
                                  -17,
                                  INT64_C(1) << 45,
                                  -(INT64_C(1) << 45),
                                  INT64_C(1) << 62,
                                  INT64_MAX,
                                  INT64_MIN,
                                  INT64_MIN + 1};
    return dice.one_in(2) ? dice.below(5) : dice.pick(odd);
}

inline double odd_float(Dice &dice) {
    static const double odd[] = {0.0,  -0.0,  1.0,    -1.0,     0.5,       -0.5, 2.0,   1e-320,
                                 3e38, 1e308, -1e308, INFINITY, -INFINITY, NAN,  9.3e18};
    return dice.pick(odd);
}

// For elements: the edges of the dtypes too.
inline tn_value odd_element(Dice &dice, bool floating) {
    static const int64_t whole[] = {127, 128, -129, 255, 256, 32768, INT32_MAX, INT32_MIN, 64, 31};
    static const double fractions[] = {65504, 65536, 1e-8, 3.5e38, -2147483649.0, 1e10, 88.8, -104};
    if (floating) return tn_float(dice.one_in(2) ? odd_float(dice) : dice.pick(fractions));
    return tn_int(dice.one_in(2) ? odd_int(dice) : dice.pick(whole));
}

// Mostly small, at most one absurd entry; 17 entries are one more than a tensor can have dims.
inline Shape odd_ints(Dice &dice) {
    static const int64_t counts[] = {0, 1, 1, 2, 2, 2, 3, 3, 4, 5, 8, 16, 17};
    Shape list(static_cast<size_t>(dice.pick(counts)));
    for (int64_t &n : list) n = list.size() > 5 ? dice.below(2) : dice.below(4);
    if (!list.empty() && dice.one_in(2))
        list[static_cast<size_t>(dice.below(static_cast<int64_t>(list.size())))] = odd_int(dice);
    return list;
}

// ---- Odd tensors ----

// numel <= 4096, or 0 beside a size whose product with others overflows.
inline Shape odd_shape(Dice &dice) {
    Shape sizes(static_cast<size_t>(dice.one_in(6) ? dice.below(17) : dice.below(5)));
    int64_t room = 4096;
    for (int64_t &n : sizes) {
        n = sizes.size() > 6 ? 1 + dice.below(2) : dice.below(6);
        if (n > room) n = 1;
        room /= std::max<int64_t>(n, 1);
    }
    if (!sizes.empty() && std::count(sizes.begin(), sizes.end(), 0) && dice.one_in(4))
        for (int64_t &n : sizes)
            if (n != 0) {
                n = INT64_C(1) << (40 + dice.below(20));
                break;
            }
    return sizes;
}

inline tn_tensor *cast(tn_tensor *t, tn_dtype dtype) {
    return t && !tn_dtype_is(tn_dtype_of(t), dtype) ? tn_to(t, dtype) : t;
}

// Small whole numbers and fractions; what it is filled with fits every dtype.
inline tn_tensor *filled(Dice &dice, const Shape &sizes, tn_dtype dtype) {
    Numbers numbers;
    int64_t n = 1;
    if (std::count(sizes.begin(), sizes.end(), 0)) n = 0;
    for (const int64_t s : sizes) n = n == 0 ? 0 : n * s;
    for (int64_t i = 0; i < n; i++) numbers.push_back(static_cast<double>(dice.below(9)) / 2);
    const double none = 0;
    return cast(tn_from(n ? numbers.data() : &none, ints(sizes), TN_F64), dtype);
}

// Every element, or one of them, is odd.
inline tn_tensor *with_odd_values(Dice &dice, tn_tensor *t) {
    const bool whole = dice.one_in(2),
               floating = tn_dtype_of(t).code == 2 || tn_dtype_of(t).code == 4;
    const tn_value number = odd_element(dice, floating);
    tn_tensor *wide = cast(tn_clone(t), floating ? TN_F64 : TN_I64), *part = wide;
    for (int64_t d = 0; !whole && part && tn_rank(part) > 0 && tn_numel(part) > 0; d++)
        part = tn_select(part, 0, dice.below(tn_size(part, 0)));
    if (part) tn_fill_(part, number);
    return cast(wide, tn_dtype_of(t));
}

inline tn_tensor *stepped(tn_tensor *t, int64_t dim, int64_t step) {
    tn_slice_opts opts = {};
    opts.dim = dim, opts.step = {step, true};
    return tn_slice(t, &opts);
}

inline tn_tensor *doubled(tn_tensor *t, int64_t dim) { // every element twice along dim
    tn_tensor *const two[] = {t, t};
    tn_stack_opts opts = {};
    opts.dim = dim + 1;
    Shape sizes = shape(t);
    sizes[static_cast<size_t>(dim)] *= 2;
    return tn_reshape(tn_stack({two, 2}, &opts), ints(sizes));
}

// The same elements (stride 0: others) in another layout.
inline tn_tensor *relaid(Dice &dice, tn_tensor *t) {
    const int64_t rank = tn_rank(t);
    if (rank < 1 || tn_numel(t) == 0 || tn_numel(t) > 100000) return t;
    const int64_t dim = dice.below(rank);
    switch (dice.below(4)) {
    case 0: { // columns first
        const int64_t other = dice.below(rank);
        return tn_transpose(tn_contiguous(tn_transpose(t, dim, other)), dim, other);
    }
    case 1: // backwards
        return stepped(tn_clone(stepped(t, dim, -1)), dim, -1);
    case 2: // with gaps
        return stepped(doubled(t, dim), dim, 2);
    default: // one element for a whole dim
        return tn_expand(tn_unsqueeze(tn_select(t, dim, 0), dim), ints(shape(t)));
    }
}

// More elements than there is memory, in one.
inline tn_tensor *huge(Dice &dice, tn_dtype dtype) {
    const Shape sizes[] = {
        {INT64_C(1) << 46}, {3, INT64_C(1) << 44}, {INT64_C(1) << 31, INT64_C(1) << 24}};
    return tn_expand(filled(dice, {}, dtype), ints(dice.pick(sizes)));
}

// ---- Cases ----

struct Call {
    std::vector<tn_value> values;
    std::deque<std::vector<tn_tensor *>> tensor_lists;
    std::deque<Shape> int_lists;
    std::deque<Numbers> float_lists;
    std::vector<tn_tensor *> leaves; // that require grad
    bool comparable = true;          // results of two providers can be compared in value
    bool backward = false;
};

class Fuzzer {
  public:
    // huge: also with views of more elements than there is memory.
    Fuzzer(const Op &op, bool huge) : op_(op), huge_(huge) {
        for (const tn_dtype dtype : every_dtype)
            for (int64_t i = 0;; i++) {
                const Args args = sample(op, i, dtype);
                if (args.status == TN_ERR_NOTFOUND) break;
                if (!args.status) samples_.push_back(args.values);
            }
    }

    bool can() const { return !samples_.empty(); }

    // In the current scope. What could not be made is NULL, and no error is pending.
    Call make(uint64_t number) const {
        Dice dice(number * 0x9e3779b97f4a7c15u ^ std::hash<std::string>()(op_.name));
        Call c;
        c.values = dice.pick(samples_);
        for (uint32_t i = 0; i < c.values.size(); i++) own(c, i);
        const int64_t bends = dice.one_in(8) ? 0 : 1 + dice.below(3);
        for (int64_t k = 0; k < bends && !c.values.empty(); k++)
            bend(dice, c, static_cast<uint32_t>(dice.below(static_cast<int64_t>(c.values.size()))));
        if (dice.one_in(16)) share(dice, c);
        if (dice.one_in(4)) want_gradients(dice, c);
        tn_clear_error();
        return c;
    }

  private:
    // Copies what the op may write.
    void own(Call &c, uint32_t i) const {
        tn_value &v = c.values[i];
        if (is_tensor(v)) v.tensor = fresh(v.tensor);
        if (v.tag != TN_TAG_TENSORS) return;
        c.tensor_lists.emplace_back();
        for (uint32_t k = 0; k < v.aux; k++)
            c.tensor_lists.back().push_back(v.tensors[k] ? fresh(v.tensors[k]) : nullptr);
        v.tensors = c.tensor_lists.back().data();
    }

    void bend(Dice &dice, Call &c, uint32_t i) const {
        tn_value &v = c.values[i];
        const tni_param &p = op_.schema.params[i];
        if (p.optional && dice.one_in(4)) {
            v = p.type == TNI_TENSOR ? tn_value_tensor(nullptr) : tn_value_none();
            return;
        }
        switch (p.type) {
        case TNI_TENSOR:
            v = tn_value_tensor(bent(dice, c, is_tensor(v) ? v.tensor : nullptr, p));
            return;
        case TNI_TENSORS:
            return bend_list(dice, c, v, p);
        case TNI_INTS:
            c.int_lists.push_back(odd_ints(dice));
            v = tn_value_ints(ints(c.int_lists.back()));
            return;
        default:
            bend_plain(dice, c, v, p);
        }
    }

    static void bend_plain(Dice &dice, Call &c, tn_value &v, const tni_param &p) {
        static const char *const words[] = {"",        "mean",      "none",   "sum",
                                            "MEAN",    "ij,jk->ik", "a,,b->", "tanh",
                                            "...i->i", "reflect",   "a\n",    "%s%n"};
        switch (p.type) {
        case TNI_INT:
            v = tn_int(odd_int(dice));
            return;
        case TNI_BOOL:
            v = tn_bool(dice.one_in(2));
            return;
        case TNI_FLOAT:
            v = tn_float(odd_float(dice)), c.comparable = false;
            return;
        case TNI_SCALAR:
            v = dice.one_in(2) ? tn_float(odd_float(dice)) : tn_int(odd_int(dice));
            c.comparable = false;
            return;
        case TNI_DTYPE:
            v = tn_value_dtype(dice.pick(every_dtype));
            return;
        case TNI_STR: {
            const char *word = dice.pick(words);
            v = tn_value_str(word, static_cast<uint32_t>(strlen(word)));
            return;
        }
        case TNI_FLOATS:
            c.float_lists.emplace_back();
            for (int64_t n = dice.below(5); n > 0; n--)
                c.float_lists.back().push_back(odd_float(dice));
            v = tn_value_floats(
                {c.float_lists.back().data(), static_cast<int64_t>(c.float_lists.back().size())});
            return;
        default:
            return; // devices and generators have one value here
        }
    }

    tn_tensor *bent(Dice &dice, Call &c, tn_tensor *t, const tni_param &p) const {
        const tn_dtype dtype = p.fixed ? p.dtype : t ? tn_dtype_of(t) : dice.pick(every_dtype);
        const int64_t way = dice.below(huge_ ? 9 : 8);
        if (!t || way < 2) return filled(dice, odd_shape(dice), dtype);
        if (way < 4) return relaid(dice, t);
        if (way < 6) return c.comparable = false, with_odd_values(dice, t);
        if (way < 7) return c.comparable = false, cast(t, dice.pick(every_dtype));
        if (way < 8) return dice.one_in(4) ? nullptr : relaid(dice, relaid(dice, t));
        return huge(dice, dtype);
    }

    void bend_list(Dice &dice, Call &c, tn_value &v, const tni_param &p) const {
        std::vector<tn_tensor *> list(v.tensors, v.tensors + v.aux);
        if (list.empty() || dice.one_in(6))
            list.push_back(filled(dice, odd_shape(dice), p.fixed ? p.dtype : TN_F32));
        else if (dice.one_in(6))
            list.pop_back();
        else {
            tn_tensor *&t =
                list[static_cast<size_t>(dice.below(static_cast<int64_t>(list.size())))];
            t = bent(dice, c, t, p);
        }
        c.tensor_lists.push_back(list);
        v = tn_value_tensors(tensors(c.tensor_lists.back()));
    }

    // Two arguments become views of one storage, overlapping by all but one row.
    static void share(Dice &dice, Call &c) {
        std::vector<uint32_t> at;
        for (uint32_t i = 0; i < c.values.size(); i++)
            if (is_tensor(c.values[i]) && tn_rank(c.values[i].tensor) > 0 &&
                tn_numel(c.values[i].tensor) < 100000 && tn_size(c.values[i].tensor, 0) > 0)
                at.push_back(i);
        if (at.size() < 2) return;
        tn_value &a = c.values[dice.pick(at)], &b = c.values[dice.pick(at)];
        if (&a == &b || !tn_dtype_is(tn_dtype_of(a.tensor), tn_dtype_of(b.tensor))) return;
        tn_tensor *first = stepped(a.tensor, 0, 1), *const two[] = {first, first};
        tn_tensor *both = tn_cat({two, 2}, nullptr);
        const int64_t n = tn_size(first, 0);
        auto part = [both, n](int64_t start) {
            tn_slice_opts opts = {};
            opts.start = {start, true}, opts.end = {start + n, true};
            return tn_slice(both, &opts);
        };
        a.tensor = part(0), b.tensor = part(1);
    }

    static void want_gradients(Dice &dice, Call &c) {
        c.backward = true;
        for (tn_value &v : c.values) {
            if (!is_tensor(v) || dice.one_in(3)) continue;
            const int code = tn_dtype_of(v.tensor).code;
            if (code != 2 && code != 4) continue;
            v.tensor = tn_detach(v.tensor);
            if (!v.tensor) continue;
            tn_set_requires_grad(v.tensor, true);
            c.leaves.push_back(v.tensor);
        }
    }

    const Op &op_;
    const bool huge_;
    std::vector<std::vector<tn_value>> samples_;
};

#endif
