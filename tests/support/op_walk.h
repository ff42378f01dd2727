// op_walk.h - for tests that go through every registered op: rows, samples, one call and what it
// left behind, and the comparison of two such outcomes.
//
// Results are read as raw bytes and decoded here, so that no op is needed to judge another.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_OP_WALK_H
#define TENON_TESTS_OP_WALK_H

#include <cmath>
#include <cstring>

#include <tenon/check.h>
#include <tenon/inspect.h>

#include "tests/support/support.h"

extern "C" {
#include "core/schema/schema.h"
}

struct Op {
    tn_op_info info;
    tni_schema schema;
    std::string name;
    bool twin; // the in-place form of a row: schema speaks of its base, but for argument 0

    bool mutates(uint32_t param) const { return schema.params[param].mutated; }
};

inline std::vector<Op> all_ops() {
    std::vector<Op> ops;
    const int64_t n = tn_op_count();
    for (int64_t i = 0; i < n; i++) {
        Op op = {};
        op.info.size = sizeof op.info;
        char why[256] = "";
        EXPECT_EQ(tn_op_at(i, &op.info), TN_OK) << tn_error_message();
        EXPECT_EQ(tni_schema_parse(op.info.schema, &op.schema, why, sizeof why), TN_OK) << why;
        op.name = op.info.name;
        op.twin = op.name != op.schema.name;
        if (op.twin) op.schema.params[0].mutated = true;
        if (strcmp(op.info.plugin, "math") == 0) ops.push_back(op);
    }
    return ops;
}

inline bool is_tensor(const tn_value &v) { return v.tag == TN_TAG_TENSOR && v.tensor; }

struct Args {
    std::vector<tn_value> values;
    tn_status status; // NOTFOUND past the last sample
};

// Sample i; what cannot be had in this dtype has another status than OK, and no error is pending.
inline Args sample(const Op &op, int64_t i, tn_dtype dtype, uint64_t seed = 7) {
    Args args = {std::vector<tn_value>(16), TN_OK};
    uint32_t n = 0;
    args.status = tn_op_sample(op.name.c_str(), i, dtype, seed, args.values.data(), &n);
    if (args.status) tn_clear_error();
    args.values.resize(args.status ? 0 : n);
    return args;
}

// ---- Contents ----

inline double half_number(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * std::ldexp(fraction, -24);
    return sign * std::ldexp(fraction + 1024, exponent - 25);
}

inline double element_number(const void *at, int index) {
    double number = 0;
    auto as = [at](auto x) {
        memcpy(&x, at, sizeof x);
        return x;
    };
    switch (index) {
    case TN_IX_BOOL:
    case TN_IX_U8:
        return as(uint8_t());
    case TN_IX_I8:
        return as(int8_t());
    case TN_IX_I16:
        return as(int16_t());
    case TN_IX_I32:
        return as(int32_t());
    case TN_IX_I64:
        return static_cast<double>(as(int64_t()));
    case TN_IX_F16:
        return half_number(as(uint16_t()));
    case TN_IX_F32:
        return as(float());
    case TN_IX_F64:
        return as(number);
    default:
        break;
    }
    const uint32_t wide = static_cast<uint32_t>(as(uint16_t())) << 16; // bf16
    float f;
    memcpy(&f, &wide, sizeof f);
    return f;
}

struct Contents {
    tn_dtype dtype;
    Shape sizes;
    std::vector<unsigned char> bytes;

    double operator[](size_t i) const {
        const size_t width = dtype.bits / 8u;
        return element_number(bytes.data() + i * width, tn_dtype_index(dtype));
    }
    size_t count() const { return bytes.size() / (dtype.bits / 8u); }
};

inline Contents contents(tn_tensor *t) {
    Contents c = {tn_dtype_of(t), shape(t), {}};
    c.bytes.resize(static_cast<size_t>(tn_numel(t) * tn_dtype_bytes(c.dtype)));
    EXPECT_EQ(tn_read(t, c.bytes.data(), c.bytes.size()), TN_OK) << tn_error_message();
    return c;
}

inline void collect(const tn_value &v, std::vector<Contents> *out) {
    if (is_tensor(v)) out->push_back(contents(v.tensor));
    for (uint32_t k = 0; v.tag == TN_TAG_TENSORS && k < v.aux; k++)
        if (v.tensors[k]) out->push_back(contents(v.tensors[k]));
}

// ---- One call ----

struct Outcome {
    tn_status status;
    std::string text;              // of the error
    std::vector<Contents> results; // and after them the written arguments
};

inline tn_status call(const Op &op, const std::vector<tn_value> &values, tn_value *outs) {
    tn_op_ref ref = {op.name.c_str(), 0, 0};
    return tn_op_call(&ref, values.data(), static_cast<uint32_t>(values.size()), outs,
                      op.schema.n_visible);
}

// Clears the error; results belong to an inner scope that ends here.
inline Outcome outcome(const Op &op, const std::vector<tn_value> &values) {
    const tn_scope scope = tn_scope_push();
    tn_value outs[TNI_MAX_RESULTS] = {};
    Outcome o = {call(op, values, outs), tn_error_message(), {}};
    EXPECT_EQ(o.status, tn_error()) << op.name << ": the status and the pending error differ";
    tn_clear_error();
    for (uint32_t i = 0; !o.status && i < op.schema.n_visible; i++) collect(outs[i], &o.results);
    for (uint32_t i = 0; !o.status && i < values.size(); i++)
        if (op.mutates(i)) collect(values[i], &o.results);
    EXPECT_EQ(tn_scope_pop(scope), TN_OK) << tn_error_message();
    return o;
}

// ---- Equal enough ----

// Relative to the largest number of the tensor: rounding of sums grows with their terms.
inline double tolerance(tn_dtype dtype) {
    switch (tn_dtype_index(dtype)) {
    case TN_IX_F64:
        return 1e-12;
    case TN_IX_F32:
        return 1e-5;
    case TN_IX_F16:
        return 4e-3;
    case TN_IX_BF16:
        return 3e-2;
    default:
        return 0;
    }
}

inline ::testing::AssertionResult same(const Contents &a, const Contents &b) {
    if (!tn_dtype_is(a.dtype, b.dtype) || a.sizes != b.sizes)
        return ::testing::AssertionFailure()
               << "dtype or shape differs: " << tn_dtype_name(a.dtype)
               << ::testing::PrintToString(a.sizes) << " and " << tn_dtype_name(b.dtype)
               << ::testing::PrintToString(b.sizes);
    double scale = 1;
    for (size_t i = 0; i < a.count(); i++)
        if (std::isfinite(a[i])) scale = std::max(scale, std::fabs(a[i]));
    for (size_t i = 0; i < a.count(); i++) {
        const double x = a[i], y = b[i];
        const bool equal = x == y || (std::isnan(x) && std::isnan(y));
        if (!equal && !(std::fabs(x - y) <= tolerance(a.dtype) * scale))
            return ::testing::AssertionFailure()
                   << "element " << i << ": " << x << " and " << y << " differ by more than "
                   << tolerance(a.dtype) << " of " << scale;
    }
    return ::testing::AssertionSuccess();
}

inline ::testing::AssertionResult same(const Outcome &a, const Outcome &b) {
    if (a.status != b.status)
        return ::testing::AssertionFailure()
               << tn_status_name(a.status) << " (" << a.text << ") and " << tn_status_name(b.status)
               << " (" << b.text << ")";
    if (a.results.size() != b.results.size())
        return ::testing::AssertionFailure()
               << a.results.size() << " and " << b.results.size() << " results";
    for (size_t i = 0; i < a.results.size(); i++) {
        const auto verdict = same(a.results[i], b.results[i]);
        if (!verdict)
            return ::testing::AssertionFailure() << "result " << i << ": " << verdict.message();
    }
    return ::testing::AssertionSuccess();
}

// ---- Copies of arguments ----

// Values whose tensors were replaced by f(tensor, argument's index); lists are held by `lists`.
template <typename F>
std::vector<tn_value> with_tensors(std::vector<tn_value> values,
                                   std::vector<std::vector<tn_tensor *>> *lists, F f) {
    lists->reserve(lists->size() + values.size() + 16);
    for (uint32_t i = 0; i < values.size(); i++) {
        tn_value &v = values[i];
        if (is_tensor(v)) v.tensor = f(v.tensor, i);
        if (v.tag != TN_TAG_TENSORS) continue;
        std::vector<tn_tensor *> list;
        for (uint32_t k = 0; k < v.aux; k++)
            list.push_back(v.tensors[k] ? f(v.tensors[k], i) : nullptr);
        lists->push_back(list);
        v.tensors = lists->back().data();
    }
    return values;
}

// Fresh tensors with the same contents, so that an op that writes its arguments can be called
// again.
inline tn_tensor *fresh(tn_tensor *t) {
    const Contents c = contents(t);
    return tn_from(c.bytes.data(), ints(c.sizes), c.dtype);
}

class Inner { // what a test makes for one case is gone after it
  public:
    Inner() : scope_(tn_scope_push()) {}
    ~Inner() { EXPECT_EQ(tn_scope_pop(scope_), TN_OK) << tn_error_message(); }

  private:
    tn_scope scope_;
};

inline const tn_dtype every_dtype[] = {TN_BOOL, TN_U8,  TN_I8,   TN_I16, TN_I32,
                                       TN_I64,  TN_F16, TN_BF16, TN_F32, TN_F64};

#endif
