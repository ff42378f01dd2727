// every_op_test.cc - what holds for every op of the standard library: derivatives, providers that
// agree, and layouts that do not matter.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <tenon/check.h>
#include <tenon/inspect.h>

#include "tests/support/op_walk.h"

#include "modules/math/math_ops.h"

namespace {

class EveryOp : public Tenon {};

// A copy in an inner scope: what a test makes for one case is gone after it.
// ---- Derivatives ----

bool reason_is_allowed(const std::string &reason) {
    for (const char *kind : {"integer", "boolean", "indices", "random bits", "fill", "in place"})
        if (reason.find(kind) != std::string::npos) return true;
    return false;
}

TEST_F(EveryOp, HasADerivativeThatPassesBothChecksOrSaysWhyNot) {
    int64_t checked = 0;
    for (const Op &op : all_ops()) {
        SCOPED_TRACE(op.name);
        if (op.info.no_grad) {
            EXPECT_TRUE(reason_is_allowed(op.info.no_grad)) << op.info.no_grad;
            continue;
        }
        ASSERT_TRUE(op.info.has_derivative || op.info.has_decomposition);
        for (int64_t i = 0;; i++) {
            const Inner inner;
            if (sample(op, i, TN_F64).status == TN_ERR_NOTFOUND) {
                EXPECT_GT(i, 0) << "no samples: nothing is checked";
                break;
            }
            for (const int32_t order : {1, 2}) {
                EXPECT_EQ(tn_op_gradcheck(op.name.c_str(), i, order, nullptr), TN_OK)
                    << "order " << order << ": " << tn_error_message();
                tn_clear_error();
                checked++;
            }
        }
    }
    EXPECT_GT(checked, 200);
}

TEST_F(EveryOp, HasAnExampleADocAndAKernelOrADecomposition) {
    for (const Op &op : all_ops()) {
        SCOPED_TRACE(op.name);
        EXPECT_TRUE(!sample(op, 0, TN_F64).status || !sample(op, 0, TN_I64).status);
        EXPECT_NE(std::string(op.info.doc), "");
        const bool is_view = (op.info.traits & TN_OP_VIEW) != 0;
        const std::string providers =
            tn_op_providers(op.twin ? op.schema.name : op.name.c_str(), "cpu");
        EXPECT_TRUE(op.info.has_decomposition || is_view ||
                    providers.find("cpu_ref") != std::string::npos)
            << "neither a decomposition nor a reference kernel: " << providers;
    }
}

// ---- Providers ----

Outcome outcome_of(const char *provider, const Op &op, const std::vector<tn_value> &values) {
    std::vector<std::vector<tn_tensor *>> lists;
    EXPECT_EQ(tn_use_provider(provider), TN_OK) << tn_error_message();
    const auto copies =
        with_tensors(values, &lists, [](tn_tensor *t, uint32_t) { return fresh(t); });
    tn_neg(full({}, 1)); // somebody of this name ran last, if the op runs no kernel at all
    const Outcome o = outcome(op, copies);
    // The reference has every primitive: what is compared with it must not be the other's.
    EXPECT_TRUE(strcmp(provider, "cpu_ref") || !strcmp(tn_last_provider(), provider))
        << tn_last_provider();
    tn_use_provider(nullptr);
    return o;
}

TEST_F(EveryOp, GivesTheSameWithEveryProviderAndDtype) {
    int64_t compared = 0;
    for (const Op &op : all_ops())
        for (const tn_dtype dtype : every_dtype)
            for (int64_t i = 0;; i++) {
                const Inner inner;
                const Args args = sample(op, i, dtype);
                if (args.status == TN_ERR_NOTFOUND) break;
                if (args.status) continue;
                SCOPED_TRACE(op.name + " sample " + std::to_string(i) + " in " +
                             tn_dtype_name(dtype));
                const Outcome ref = outcome_of("cpu_ref", op, args.values);
                EXPECT_TRUE(same(ref, outcome_of("cpu_blas", op, args.values)));
                const bool must_work = tn_dtype_is(dtype, TN_F32) || tn_dtype_is(dtype, TN_F64);
                EXPECT_TRUE(!must_work || !ref.status) << ref.text;
                EXPECT_TRUE(!ref.status || ref.text.find(op.name) != std::string::npos) << ref.text;
                compared++;
            }
    EXPECT_GT(compared, 1000);
}

std::vector<std::string> dtypes_of(const Outcome &o) {
    std::vector<std::string> names;
    for (const Contents &c : o.results) names.push_back(tn_dtype_name(c.dtype));
    return names;
}

// The type variables of an op's f16 tensors, one by one; 0: none, or it is written.
std::string variables_of(const Op &op, const std::vector<tn_value> &values) {
    std::string letters;
    std::vector<std::vector<tn_tensor *>> lists;
    with_tensors(values, &lists, [&](tn_tensor *t, uint32_t k) {
        const bool counts = tn_dtype_is(tn_dtype_of(t), TN_F16) && !op.schema.params[k].mutated;
        letters += counts ? op.schema.params[k].variable : '\0';
        return t;
    });
    return letters;
}

// Whoever makes more of it on the way: expands it, stacks it, reshapes it.
TEST_F(EveryOp, ANumberBesideTensorsDecidesNoDtype) {
    int64_t compared = 0;
    for (const Op &op : all_ops())
        for (int64_t i = 0; !op.twin && !op.schema.mutates; i++) {
            const Inner inner;
            const Args args = sample(op, i, TN_F16);
            if (args.status == TN_ERR_NOTFOUND) break;
            if (args.status) continue;
            const std::string letters = variables_of(op, args.values);
            const Outcome want = outcome(op, args.values);
            for (size_t k = 0; k < letters.size(); k++) {
                if (!letters[k] || std::count(letters.begin(), letters.end(), letters[k]) < 2)
                    continue; // nobody else decides
                SCOPED_TRACE(op.name + " sample " + std::to_string(i) + " tensor " +
                             std::to_string(k));
                std::vector<std::vector<tn_tensor *>> lists;
                size_t at = 0;
                const Outcome got =
                    outcome(op, with_tensors(args.values, &lists, [&](tn_tensor *t, uint32_t) {
                                return at++ == k ? number(0.5) : t;
                            }));
                if (got.status || want.status) continue; // it takes no 0-dim tensor there
                EXPECT_EQ(dtypes_of(got), dtypes_of(want));
                compared++;
            }
        }
    EXPECT_GT(compared, 300);
}

// Integers and booleans compute as f32 where the schema says F, whoever computes: a kernel, or
// inner ops that would take integers as they are.
TEST_F(EveryOp, OfFloatsTakesOtherDtypesAsF32) {
    for (const Op &op : all_ops()) {
        if (op.schema.variable != 'F' || op.schema.mutates || op.twin) continue;
        for (const tn_dtype dtype : {TN_BOOL, TN_I8, TN_I64})
            for (int64_t i = 0;; i++) {
                const Inner inner;
                const Args args = sample(op, i, dtype);
                if (args.status == TN_ERR_NOTFOUND) break;
                if (args.status) continue;
                SCOPED_TRACE(op.name + " sample " + std::to_string(i) + " in " +
                             tn_dtype_name(dtype));
                std::vector<std::vector<tn_tensor *>> lists;
                const auto floats =
                    with_tensors(args.values, &lists, [&](tn_tensor *t, uint32_t k) {
                        return op.schema.params[k].variable == 'F' ? tn_to(t, TN_F32) : t;
                    });
                EXPECT_TRUE(same(outcome(op, floats), outcome(op, args.values)));
            }
    }
}

// ---- Layouts ----

// Tensors of the same sizes and contents, each laid out another way.
tn_tensor *filled(tn_tensor *target, tn_tensor *t) {
    return tn_copy_(target, t) ? target : nullptr;
}

tn_tensor *transposed(tn_tensor *t) {
    Shape sizes = shape(t), order;
    for (int64_t d = tn_rank(t) - 1; d >= 0; d--) order.push_back(d);
    return filled(tn_permute(tn_empty(ints(Shape(sizes.rbegin(), sizes.rend())), tn_dtype_of(t)),
                             ints(order)),
                  t);
}

tn_tensor *stepped(tn_tensor *t, int64_t step, int64_t start) {
    if (tn_rank(t) == 0) return fresh(t);
    Shape sizes = shape(t);
    sizes.back() = sizes.back() * std::abs(step) + std::abs(start);
    tn_slice_opts opts = {};
    opts.dim = tn_rank(t) - 1;
    opts.step = {step, true};
    if (step > 0) opts.start = {start, true};
    return filled(tn_slice(tn_zeros(ints(sizes), tn_dtype_of(t)), &opts), t);
}

tn_tensor *every_second(tn_tensor *t) { return stepped(t, 2, 1); }
tn_tensor *backwards(tn_tensor *t) { return stepped(t, -1, 0); }
tn_tensor *unaligned(tn_tensor *t) { return stepped(t, 1, 1); }

// All rows are the first one, at stride 0. Another tensor than t: compared with its own copy.
tn_tensor *expanded(tn_tensor *t) {
    Shape sizes = shape(t);
    if (sizes.empty() || sizes[0] == 0) return fresh(t);
    tn_slice_opts first = {};
    first.end = {1, true};
    return tn_expand(tn_slice(t, &first), ints(sizes));
}

struct Layout {
    const char *name;
    tn_tensor *(*make)(tn_tensor *);
    bool writable;
};
const Layout layouts[] = {{"transposed", transposed, true},
                          {"every second", every_second, true},
                          {"backwards", backwards, true},
                          {"unaligned", unaligned, true},
                          {"expanded", expanded, false}};

bool shows_memory(const Op &op) { return op.name == "as_strided"; }

// Whether a view exists depends on strides for these ops alone; as_strided shows the memory itself.
bool layout_matters(const Op &op) {
    return op.name == "view.sizes" || op.name == "view_as" || op.name == "unflatten" ||
           shows_memory(op);
}

void compare_layout(const Op &op, const std::vector<tn_value> &values, const Layout &layout) {
    const Inner inner;
    std::vector<std::vector<tn_tensor *>> lists;
    const auto changed = with_tensors(values, &lists, [&](tn_tensor *t, uint32_t i) {
        return op.mutates(i) && !layout.writable ? fresh(t) : layout.make(t);
    });
    EXPECT_EQ(tn_error(), TN_OK) << tn_error_message();
    tn_clear_error();
    const auto plain =
        with_tensors(changed, &lists, [](tn_tensor *t, uint32_t) { return fresh(t); });
    const Outcome want = outcome(op, plain);
    const Outcome have = outcome(op, changed);
    if (layout_matters(op) && have.status) {
        EXPECT_NE(have.text.find(op.name), std::string::npos) << have.text;
    } else if (!shows_memory(op)) {
        EXPECT_TRUE(same(want, have));
    }
}

void compare_layouts(const Op &op, tn_dtype dtype) {
    for (int64_t i = 0;; i++) {
        const Inner inner;
        const Args args = sample(op, i, dtype);
        if (args.status == TN_ERR_NOTFOUND) return;
        if (args.status) continue;
        for (const Layout &layout : layouts) {
            SCOPED_TRACE(op.name + " sample " + std::to_string(i) + " in " + tn_dtype_name(dtype) +
                         ", " + layout.name);
            compare_layout(op, args.values, layout);
        }
    }
}

TEST_F(EveryOp, GivesTheSameForEveryLayout) {
    on_each_provider([&] {
        for (const Op &op : all_ops())
            for (const tn_dtype dtype : {TN_F32, TN_F64, TN_I32, TN_BF16})
                compare_layouts(op, dtype);
    });
}

// ---- Arguments ----

TEST_F(EveryOp, LeavesTheArgumentsItDoesNotWrite) {
    for (const Op &op : all_ops())
        for (int64_t i = 0;; i++) {
            const Inner inner;
            const Args args = sample(op, i, TN_F64);
            if (args.status == TN_ERR_NOTFOUND) break;
            SCOPED_TRACE(op.name + " sample " + std::to_string(i));
            std::vector<std::vector<Contents>> before(args.values.size()),
                after(args.values.size());
            for (size_t k = 0; k < args.values.size(); k++) collect(args.values[k], &before[k]);
            outcome(op, args.values);
            for (size_t k = 0; k < args.values.size(); k++) {
                collect(args.values[k], &after[k]);
                for (size_t e = 0; e < before[k].size() && !op.mutates(static_cast<uint32_t>(k));
                     e++)
                    EXPECT_EQ(before[k][e].bytes, after[k][e].bytes) << op.schema.params[k].name;
            }
        }
}

} // namespace
