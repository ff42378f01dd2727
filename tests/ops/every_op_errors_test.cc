// every_op_errors_test.cc - bad arguments, generated from the schemas: every op names its error or
// works, whoever computes it, and a call that fails leaves what it would have written.
// SPDX-License-Identifier: Apache-2.0
#include <climits>

#include "tests/support/op_walk.h"

#include "modules/math/math_ops.h"

// Absurd sizes are asked for on purpose; the environment's options come on top of these.
extern "C" const char *__asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char *__tsan_default_options() { return "allocator_may_return_null=1"; }

namespace {

class EveryOpErrors : public Tenon {};

bool has(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

using Values = std::vector<tn_value>;

// The first sample that an op offers in one of these dtypes.
Args any_sample(const Op &op) {
    for (const tn_dtype dtype : {TN_F32, TN_I64}) {
        Args args = sample(op, 0, dtype);
        if (!args.status) return args;
    }
    ADD_FAILURE() << op.name << ": no sample";
    return {Values(), TN_ERR_NOTFOUND};
}

// Runs with both providers: no crash, the same verdict, a text that names the op, and written
// arguments as they were if it failed.
Outcome try_call(const Op &op, const Values &values) {
    Outcome first = {};
    for (const char *provider : {"cpu_ref", "cpu_blas"}) {
        EXPECT_EQ(tn_use_provider(provider), TN_OK);
        const Inner inner;
        std::vector<std::vector<Contents>> before(values.size()), after(values.size());
        std::vector<std::vector<tn_tensor *>> lists;
        const Values copies = with_tensors(values, &lists, [](tn_tensor *t, uint32_t) {
            return tn_is_contiguous(t) && tn_numel(t) < 100000 ? fresh(t) : t;
        });
        EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
        tn_clear_error();
        for (uint32_t i = 0; i < copies.size(); i++)
            if (op.mutates(i)) collect(copies[i], &before[i]);
        const Outcome o = outcome(op, copies);
        EXPECT_TRUE(!o.status || has(o.text, op.name))
            << tn_status_name(o.status) << ": " << o.text;
        EXPECT_NE(o.status, TN_ERR_INTERNAL) << o.text;
        for (uint32_t i = 0; o.status && i < copies.size(); i++) {
            if (op.mutates(i)) collect(copies[i], &after[i]);
            for (size_t k = 0; k < after[i].size(); k++)
                EXPECT_EQ(before[i][k].bytes, after[i][k].bytes);
        }
        if (strcmp(provider, "cpu_ref") == 0)
            first = o;
        else
            EXPECT_EQ(first.status, o.status) << first.text << " but " << o.text;
    }
    tn_use_provider(nullptr);
    return first;
}

// ---- Tensors that are not there ----

void expect_refusal(const Op &op, const Values &values, const tni_param &p, tn_status code) {
    const Inner inner;
    const Outcome o = outcome(op, values);
    EXPECT_EQ(o.status, code) << p.name << ": " << o.text;
    EXPECT_TRUE(has(o.text, op.name) && has(o.text, p.name)) << o.text;
}

TEST_F(EveryOpErrors, NamesAnArgumentThatIsNull) {
    for (const Op &op : all_ops()) {
        const Inner inner;
        const Args args = any_sample(op);
        for (uint32_t i = 0; i < args.values.size(); i++) {
            const tni_param &p = op.schema.params[i];
            SCOPED_TRACE(op.name + " " + p.name);
            Values values = args.values;
            if (p.type == TNI_TENSOR) {
                values[i] = tn_value_tensor(nullptr);
                if (!p.optional) expect_refusal(op, values, p, TN_ERR_INVALID);
                values[i] = tn_value_none();
                if (!p.optional) expect_refusal(op, values, p, TN_ERR_INVALID);
            } else if (p.type == TNI_TENSORS) {
                tn_tensor *list[] = {full({2, 3}, 1, TN_F32), nullptr};
                values[i] = tn_value_tensors({list, 2});
                if (!p.optional) expect_refusal(op, values, p, TN_ERR_INVALID);
                values[i] = tn_value_tensors({nullptr, 3});
                expect_refusal(op, values, p, TN_ERR_INVALID);
            }
        }
    }
}

tn_tensor *popped_tensor() {
    const tn_scope scope = tn_scope_push();
    tn_tensor *t = full({3, 4}, 1, TN_F32);
    tn_scope_pop(scope);
    return t;
}

tn_tensor *dropped_tensor() {
    const tn_scope scope = tn_scope_push();
    tn_tensor *t = tn_keep(full({3, 4}, 1, TN_F32));
    tn_scope_pop(scope);
    EXPECT_EQ(tn_drop(t), TN_OK);
    return t;
}

TEST_F(EveryOpErrors, NamesAnArgumentThatWasPoppedOrDropped) {
    for (const Op &op : all_ops()) {
        const Inner inner;
        const Args args = any_sample(op);
        for (uint32_t i = 0; i < args.values.size(); i++) {
            const tni_param &p = op.schema.params[i];
            SCOPED_TRACE(op.name + " " + p.name);
            for (tn_tensor *gone : {popped_tensor(), dropped_tensor()}) {
                Values values = args.values;
                if (p.type == TNI_TENSOR)
                    values[i] = tn_value_tensor(gone);
                else if (p.type == TNI_TENSORS)
                    values[i] = tn_value_tensors({&gone, 1});
                else
                    continue;
                expect_refusal(op, values, p, TN_ERR_STALE);
            }
        }
    }
}

// ---- Values of a wrong kind ----

bool takes(const tni_param &p, int32_t tag) {
    if (tag == TN_TAG_NONE) return p.optional || p.type == TNI_GENERATOR;
    switch (p.type) {
    case TNI_TENSOR:
        return tag == TN_TAG_TENSOR;
    case TNI_TENSORS:
        return tag == TN_TAG_TENSORS;
    case TNI_INT:
        return tag == TN_TAG_INT;
    case TNI_INTS:
        return tag == TN_TAG_INTS;
    case TNI_FLOATS:
        return tag == TN_TAG_FLOATS;
    case TNI_BOOL:
        return tag == TN_TAG_BOOL;
    case TNI_STR:
        return tag == TN_TAG_STR;
    case TNI_DTYPE:
        return tag == TN_TAG_DTYPE;
    case TNI_DEVICE:
        return tag == TN_TAG_DEVICE;
    case TNI_GENERATOR:
        return tag == TN_TAG_GENERATOR || tag == TN_TAG_RNG;
    case TNI_FLOAT:
        return tag == TN_TAG_INT || tag == TN_TAG_FLOAT;
    default:
        return tag == TN_TAG_INT || tag == TN_TAG_FLOAT || tag == TN_TAG_BOOL;
    }
}

TEST_F(EveryOpErrors, NamesAnArgumentOfAWrongKind) {
    const int64_t sizes[] = {2, 3}, strides[] = {3, 1};
    const double numbers[] = {1, 2};
    const tn_rng rng = {1, 0};
    float data[6] = {};
    const tn_view view = {data, {TN_CPU, 0}, 2, TN_F32, sizes, strides, 0};
    const tn_view *views[] = {&view};
    tn_value wild = tn_int(1), forms[16];
    for (const Op &op : all_ops()) {
        const Inner inner;
        tn_tensor *tensor = full({2, 3}, 1, TN_F32);
        int n = 0;
        for (const tn_value &v :
             {tn_value_none(), tn_bool(true), tn_int(1), tn_float(0.5), tn_value_dtype(TN_F32),
              tn_value_device({TN_CPU, 0}), tn_value_str("mean", 4), tn_value_ints({sizes, 2}),
              tn_value_floats({numbers, 2}), tn_value_tensor(tensor),
              tn_value_tensors({&tensor, 1}), tn_value_rng(&rng)})
            forms[n++] = v;
        wild.tag = TN_TAG_VIEW, wild.view = &view;
        forms[n++] = wild;
        wild.tag = TN_TAG_VIEWS, wild.aux = 1, wild.views = views;
        forms[n++] = wild;
        wild = tn_int(1);
        for (const int32_t tag : {77, -1}) wild.tag = tag, forms[n++] = wild;
        const Args args = any_sample(op);
        for (uint32_t i = 0; i < args.values.size(); i++)
            for (const tn_value &form : forms) {
                const tni_param &p = op.schema.params[i];
                if (takes(p, form.tag)) continue;
                SCOPED_TRACE(op.name + " " + p.name + " with tag " + std::to_string(form.tag));
                Values values = args.values;
                values[i] = form;
                expect_refusal(op, values, p, TN_ERR_INVALID);
            }
    }
}

TEST_F(EveryOpErrors, RefusesTooManyAndTooFewArguments) {
    for (const Op &op : all_ops()) {
        const Inner inner;
        SCOPED_TRACE(op.name);
        Values values = any_sample(op).values;
        values.push_back(tn_int(0));
        const Outcome many = outcome(op, values);
        EXPECT_EQ(many.status, TN_ERR_INVALID);
        EXPECT_TRUE(has(many.text, op.name) && has(many.text, "arguments")) << many.text;
        if (op.schema.n_required == 0) continue;
        values.resize(op.schema.n_required - 1);
        const Outcome few = outcome(op, values);
        EXPECT_EQ(few.status, TN_ERR_INVALID) << few.text;
        EXPECT_TRUE(has(few.text, op.name)) << few.text;
    }
}

// ---- Numbers that are out of place ----

const int64_t odd_ints[] = {
    0, -1, 1, 5, -5, 16, 17, INT64_C(1) << 60, -(INT64_C(1) << 60), INT64_MAX, INT64_MIN};

TEST_F(EveryOpErrors, NamesTheErrorOrWorksForEveryInteger) {
    for (const Op &op : all_ops()) {
        const Inner inner;
        const Args args = any_sample(op);
        for (uint32_t i = 0; i < args.values.size(); i++)
            for (const int64_t number : odd_ints) {
                const tni_param &p = op.schema.params[i];
                if (p.type != TNI_INT && p.type != TNI_SCALAR) continue;
                SCOPED_TRACE(op.name + " " + p.name + " " + std::to_string(number));
                Values values = args.values;
                values[i] = tn_int(number);
                try_call(op, values);
            }
    }
}

TEST_F(EveryOpErrors, NamesTheErrorOrWorksForEveryListOfIntegers) {
    for (const Op &op : all_ops()) {
        const Inner inner;
        const Args args = any_sample(op);
        for (uint32_t i = 0; i < args.values.size(); i++) {
            const tni_param &p = op.schema.params[i];
            if (p.type != TNI_INTS) continue;
            SCOPED_TRACE(op.name + " " + p.name);
            std::vector<Shape> lists = {
                {}, Shape(16, 1), Shape(17, 1), Shape(17, 0), Shape(1000, 1), {0, 0}, {3, 3}};
            for (const int64_t number : odd_ints) {
                lists.push_back({number});
                lists.push_back({number, number});
                lists.push_back({3, number});
            }
            for (const Shape &list : lists) {
                SCOPED_TRACE(::testing::PrintToString(list));
                Values values = args.values;
                values[i] = tn_value_ints(ints(list));
                const Outcome o = try_call(op, values);
                EXPECT_TRUE(list.size() <= 16 || o.status) << "more than 16 dims were taken";
            }
            Values values = args.values;
            const int64_t one = 1;
            values[i] = tn_value_ints({&one, 1});
            values[i].aux = UINT32_MAX; // what a too long list becomes; refused before it is read
            EXPECT_EQ(outcome(op, values).status, TN_ERR_INVALID);
            values[i] = tn_value_ints({nullptr, 2});
            EXPECT_EQ(outcome(op, values).status, TN_ERR_INVALID);
        }
    }
}

TEST_F(EveryOpErrors, NamesTheErrorOrWorksForEveryFloat) {
    for (const Op &op : all_ops()) {
        const Inner inner;
        const Args args = any_sample(op);
        for (uint32_t i = 0; i < args.values.size(); i++)
            for (const double number : {0.0, -1.0, 2.0, 1e308, -1e308, 1e-320, double(NAN),
                                        double(INFINITY), -double(INFINITY)}) {
                const tni_param &p = op.schema.params[i];
                if (p.type != TNI_FLOAT && p.type != TNI_SCALAR) continue;
                SCOPED_TRACE(op.name + " " + p.name + " " + std::to_string(number));
                Values values = args.values;
                values[i] = tn_float(number);
                try_call(op, values);
            }
    }
}

// ---- Tensors that do not fit ----

TEST_F(EveryOpErrors, NamesTheErrorOrWorksForEveryShape) {
    const std::vector<Shape> shapes = {{},        {0},       {1},          {7},          {5, 0, 2},
                                       {11, 13},  {1, 1, 1}, {2, 3, 4, 5}, Shape(16, 1), {3, 4, 1},
                                       {1, 3, 4}, {4, 3},    {3, 5},       {2, 0}};
    for (const Op &op : all_ops()) {
        const Inner inner;
        const Args args = any_sample(op);
        for (uint32_t i = 0; i < args.values.size(); i++)
            for (const Shape &sizes : shapes) {
                const tni_param &p = op.schema.params[i];
                if (p.type != TNI_TENSOR && p.type != TNI_TENSORS) continue;
                SCOPED_TRACE(op.name + " " + p.name + " " + ::testing::PrintToString(sizes));
                Values values = args.values;
                tn_tensor *t = full(sizes, 1, p.fixed ? p.dtype : TN_F32),
                          *list[] = {t, full({3, 4}, 1, TN_F32)};
                values[i] = tn_value_tensor(t);
                if (p.type == TNI_TENSORS) values[i] = tn_value_tensors({list, 2});
                try_call(op, values);
                if (p.type == TNI_TENSORS) values[i].aux = 0, try_call(op, values);
            }
    }
}

TEST_F(EveryOpErrors, NamesTheErrorOrWorksForEveryMixOfDtypes) {
    for (const Op &op : all_ops()) {
        const Inner inner;
        const Args args = any_sample(op);
        for (uint32_t i = 0; i < args.values.size(); i++)
            for (const tn_dtype dtype : every_dtype) {
                if (!is_tensor(args.values[i])) continue;
                const tni_param &p = op.schema.params[i];
                SCOPED_TRACE(op.name + " " + p.name + " " + tn_dtype_name(dtype));
                Values values = args.values;
                values[i] = tn_value_tensor(full(shape(values[i].tensor), 1, dtype));
                const Outcome o = try_call(op, values);
                const bool widens = p.index && tn_dtype_is(dtype, TN_I32);
                if (p.fixed && !widens && !tn_dtype_is(p.dtype, dtype)) {
                    EXPECT_EQ(o.status, TN_ERR_DTYPE) << o.text;
                    EXPECT_TRUE(has(o.text, p.name)) << o.text;
                }
            }
    }
}

TEST_F(EveryOpErrors, NamesTheErrorForAnUnknownDtype) {
    for (const Op &op : all_ops()) {
        const Inner inner;
        const Args args = any_sample(op);
        for (uint32_t i = 0; i < args.values.size(); i++)
            for (const tn_dtype dtype :
                 {tn_dtype{9, 8, 1}, tn_dtype{2, 32, 2}, tn_dtype{0, 0, 0}}) {
                if (op.schema.params[i].type != TNI_DTYPE) continue;
                SCOPED_TRACE(op.name);
                Values values = args.values;
                values[i] = tn_value_dtype(dtype);
                EXPECT_NE(try_call(op, values).status, TN_OK);
            }
    }
}

// ---- Indices ----

TEST_F(EveryOpErrors, NamesAnIndexOutOfRange) {
    int64_t refused = 0;
    for (const Op &op : all_ops())
        for (int64_t k = 0;; k++) {
            const Inner inner;
            const Args args = sample(op, k, TN_F32);
            if (args.status) break;
            for (uint32_t i = 0; i < args.values.size(); i++)
                for (const int64_t index : {INT64_C(-1), INT64_C(6), INT64_MAX, INT64_MIN}) {
                    const tni_param &p = op.schema.params[i];
                    if (!is_tensor(args.values[i]) || !p.fixed || !tn_dtype_is(p.dtype, TN_I64))
                        continue;
                    SCOPED_TRACE(op.name + " " + p.name + " " + std::to_string(index));
                    const Shape sizes = shape(args.values[i].tensor);
                    Values values = args.values;
                    values[i] = tn_value_tensor(tn_full(ints(sizes), tn_int(index), TN_I64));
                    const bool wraps = has(op.info.doc, "negative indices count from the end");
                    const bool fine = tn_numel(values[i].tensor) == 0 || (wraps && index == -1);
                    const Outcome o = try_call(op, values);
                    EXPECT_EQ(o.status, fine ? tn_status(TN_OK) : tn_status(TN_ERR_INDEX))
                        << o.text;
                    EXPECT_TRUE(fine || has(o.text, std::to_string(index))) << o.text;
                    refused += o.status == TN_ERR_INDEX;
                }
        }
    EXPECT_GE(refused, 30);
}

} // namespace
