// autograd_visits_test.cc - functions of the program that the library runs: whatever they leave
// behind, pop or fail with, the thread goes on as it was.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include <tenon/check.h>
#include <tenon/hooks.h>
#include <tenon/inspect.h>

#include "modules/math/math_ops.h"

namespace {

struct Values { // what saved-tensor hooks have taken over
    int packed = 0, dropped = 0;
    bool fails = false;
};

void *keep_value(void *user, tn_tensor *t) {
    auto *v = static_cast<Values *>(user);
    v->packed++;
    if (v->fails) tn_raise(TN_ERR_IO, "the disk is full");
    return tn_keep(t);
}
tn_tensor *same_value(void *, void *value) { return static_cast<tn_tensor *>(value); }
void drop_value(void *user, void *value) {
    static_cast<Values *>(user)->dropped++;
    tn_drop(static_cast<tn_tensor *>(value));
}

// What each function below does besides its work.
struct Mischief {
    tn_scope outer;
    tn_generator *generator = nullptr;
    int times = 0;
    enum { LEAVES, POPS_SCOPE, POPS_HOOKS } kind = LEAVES;
} mischief;

void *no_pack(void *, tn_tensor *) {
    ADD_FAILURE() << "hooks that a function left behind were called";
    return nullptr;
}

void misbehave() {
    mischief.times++;
    if (mischief.kind == Mischief::POPS_SCOPE) {
        tn_scope_pop(mischief.outer);
        return;
    }
    if (mischief.kind == Mischief::POPS_HOOKS) {
        tn_saved_hooks_pop();
        return;
    }
    static const tn_saved_hooks left = {no_pack, same_value, nullptr, nullptr};
    tn_scope_push();
    tn_saved_hooks_push(&left);
    tn_set_grad_enabled(!tn_grad_enabled());
    tn_use_generator(mischief.generator);
    tn_use_provider("cpu_ref");
    tn_set_deterministic(true);
    tn_set_threads(1);
    tn_set_anomaly_mode(true);
}

tn_tensor *gradient_hook(void *, tn_tensor *g) {
    tn_tensor *twice = tn_add(g, g);
    misbehave();
    return twice;
}
void node_hook(void *, const char *, tn_tensor **grads, int64_t) {
    grads[0] = tn_add(grads[0], grads[0]);
    misbehave();
}
void leaf_hook(void *, tn_tensor *) { misbehave(); }
void *pack(void *user, tn_tensor *t) { return misbehave(), keep_value(user, t); }
tn_tensor *unpack(void *, void *value) {
    misbehave();
    return tn_mul(static_cast<tn_tensor *>(value), number(1));
}
void drop(void *user, void *value) {
    misbehave();
    drop_value(user, value);
}
tn_tensor *square(void *, tn_tensor *const *in, int64_t) {
    tn_tensor *y = tn_sum(tn_mul(in[0], in[0]));
    misbehave();
    return y;
}

tn_status triple(const tn_value *args, uint32_t, tn_value *outs, uint32_t) {
    outs[0] = tn_value_tensor(tn_mul(args[0].tensor, number(3)));
    misbehave();
    return tn_error();
}
void triple_derivative(tn_grad_ctx *c) {
    const tn_ops *ops = tn_ops_table();
    ops->grad_set(c, "x", tn_mul(ops->grad_out(c, 0), number(3)));
    misbehave();
}

tn_tensor *call_triple(tn_tensor *x) {
    static tn_op_ref ref = {"t_triple", 0, 0};
    tn_op row = {};
    row.size = sizeof row;
    row.schema = "t_triple(Tensor<F> x) -> Tensor y";
    row.contract = row.keep = "";
    row.shape_rule = "same";
    row.samples = "x[2]";
    row.doc = "of a test";
    row.derivative = triple_derivative;
    row.decompose = triple;
    if (tn_op_add(&row)) tn_clear_error(); // it is there already
    const tn_value arg = tn_value_tensor(x);
    tn_value out = tn_value_none();
    tn_op_call(&ref, &arg, 1, &out, 1);
    return out.tensor;
}

// Unless the function failed.
void expect(tn_tensor *t, const Numbers &want) {
    if (!tn_error()) {
        EXPECT_EQ(numbers(t), want);
    }
}

void backward_gives(tn_tensor *y, tn_tensor *x, const Numbers &want) {
    if (y) tn_backward(tn_sum(y));
    if (!tn_error()) expect(tn_grad_of(x), want);
}

// Everything the library runs for a program; each entry runs its function at least once.
const struct {
    const char *name;
    void (*run)(Values *);
} visits[] = {
    {"gradient hook of a leaf",
     [](Values *) {
         tn_tensor *x = param(from({1, 2}));
         tn_grad_hook(x, gradient_hook, nullptr);
         backward_gives(x, x, {2, 2});
     }},
    {"gradient hook of a result",
     [](Values *) {
         tn_tensor *x = param(from({1, 2})), *y = tn_neg(x);
         tn_grad_hook(y, gradient_hook, nullptr);
         backward_gives(y, x, {-2, -2});
     }},
    {"gradient hook of an input",
     [](Values *) {
         tn_tensor *x = param(from({1, 2})), *y = tn_sum(x), *g = nullptr;
         tn_grad_hook(x, gradient_hook, nullptr);
         tn_backward_wrt({&y, 1}, {&x, 1}, {nullptr, 0}, nullptr, &g);
         expect(g, {2, 2});
     }},
    {"node hooks",
     [](Values *) {
         tn_tensor *x = param(from({1, 2})), *y = tn_neg(x);
         tn_node_hook(y, false, node_hook, nullptr);
         tn_node_hook(y, true, node_hook, nullptr);
         backward_gives(y, x, {-4, -4});
     }},
    {"leaf hook",
     [](Values *) {
         tn_tensor *x = param(from({1, 2}));
         tn_accumulated_hook(x, leaf_hook, nullptr);
         tn_backward(tn_sum(x));
     }},
    {"saved-tensor hooks",
     [](Values *v) {
         const tn_saved_hooks hooks = {pack, unpack, drop, v};
         tn_tensor *x = param(from({1, 2}));
         tn_saved_hooks_push(&hooks);
         tn_tensor *y = tn_sum(tn_mul(x, x));
         tn_saved_hooks_pop();
         backward_gives(y, x, {2, 4});
     }},
    {"derivative and decomposition",
     [](Values *) {
         tn_tensor *x = param(from({1, 2}));
         tn_tensor *y = call_triple(x);
         backward_gives(y, x, {3, 3});
     }},
    {"function to check",
     [](Values *) {
         tn_tensor *x = param(from({1, 2}));
         tn_gradcheck(square, nullptr, {&x, 1}, nullptr);
         if (!tn_error()) tn_gradgradcheck(square, nullptr, {&x, 1}, nullptr);
     }},
    {"guarded call",
     [](Values *) {
         tn_tensor *x = param(from({1, 2}));
         tn_tensor *y = tn_call_guarded(square, nullptr, {&x, 1});
         expect(y, {5});
     }},
};

class Visits : public Tenon {
  protected:
    void SetUp() override {
        Tenon::SetUp();
        mischief = Mischief{};
        mischief.outer = tn_scope_push();
        mischief.generator = tn_generator_new(1);
    }
    void TearDown() override {
        EXPECT_EQ(tn_scope_pop(mischief.outer), TN_OK) << tn_error_message();
        EXPECT_EQ(values.packed, values.dropped);
        tn_generator_free(mischief.generator);
        Tenon::TearDown();
    }
    void expect_undisturbed(const char *name) {
        EXPECT_GT(mischief.times, 0) << name;
        mischief.times = 0;
        EXPECT_TRUE(tn_grad_enabled()) << name;
        EXPECT_EQ(tn_use_generator(nullptr), nullptr) << name;
        EXPECT_FALSE(tn_set_deterministic(false)) << name;
        EXPECT_FALSE(tn_set_anomaly_mode(false)) << name;
        EXPECT_EQ(tn_threads(), threads) << name;
        EXPECT_EQ(tn_saved_hooks_pop(), TN_ERR_INVALID) << name;
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"none were pushed"})) << name;
        tn_neg(full({300, 300}, 1, TN_F32));
        EXPECT_STREQ(tn_last_provider(), provider.c_str()) << name;
    }
    std::string provider = (tn_neg(full({300, 300}, 1, TN_F32)), tn_last_provider());
    int32_t threads = tn_threads();
    Values values;
};

TEST_F(Visits, LeaveTheThreadAsTheyFoundIt) {
    for (const auto &visit : visits) {
        const tn_scope scope = tn_scope_push();
        visit.run(&values);
        EXPECT_EQ(tn_error(), TN_OK) << visit.name << ": " << tn_error_message();
        expect_undisturbed(visit.name);
        EXPECT_EQ(tn_scope_pop(scope), TN_OK) << visit.name << ": " << tn_error_message();
        tn_clear_error();
    }
}

TEST_F(Visits, CannotPopWhatWasThereBefore) {
    static const tn_saved_hooks outside = {keep_value, same_value, drop_value, &values};
    for (const auto kind : {Mischief::POPS_SCOPE, Mischief::POPS_HOOKS}) {
        for (const auto &visit : visits) {
            mischief.kind = kind;
            const tn_scope scope = tn_scope_push();
            tn_saved_hooks_push(&outside);
            visit.run(&values);
            if (kind == Mischief::POPS_SCOPE)
                EXPECT_TRUE(error_is(TN_ERR_SCOPE, {"outside of the function"})) << visit.name;
            else
                EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_saved_hooks_pop"})) << visit.name;
            EXPECT_EQ(tn_saved_hooks_pop(), TN_OK) << visit.name << ": " << tn_error_message();
            tn_scope_pop(scope);
            tn_clear_error(); // a drop of what lived until now
            expect_undisturbed(visit.name);
        }
    }
}

TEST_F(Visits, OfAGuardedCallMoveTheirResultOutOfScopesLeftOpen) {
    const auto leaves_open = [](void *, tn_tensor *const *in, int64_t) {
        tn_scope_push();
        tn_tensor *y = tn_neg(in[0]);
        tn_scope_push();
        return y;
    };
    const auto fails = [](void *, tn_tensor *const *in, int64_t) {
        tn_scope_push();
        return tn_reshape(in[0], ints({7}));
    };
    tn_tensor *x = from({1, 2});
    const uint64_t before = memory_now().tensors;
    EXPECT_EQ(numbers(tn_call_guarded(leaves_open, nullptr, {&x, 1})), (Numbers{-1, -2}));
    EXPECT_EQ(memory_now().tensors, before + 1);
    EXPECT_EQ(tn_call_guarded(fails, nullptr, {&x, 1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_SHAPE));
    EXPECT_EQ(tn_call_guarded(nullptr, nullptr, {&x, 1}), nullptr);
    EXPECT_TRUE(error_is(TN_ERR_INVALID, {"tn_call_guarded"}));
}

// ---- Values in the program's hands ----

TEST_F(Visits, ThatPackAndFailGetTheirValueBack) {
    const tn_saved_hooks hooks = {keep_value, same_value, drop_value, &values};
    tn_tensor *x = param(from({1, 2}));
    values.fails = true;
    mischief.times = 1;
    for (const bool of_result : {false, true}) {
        tn_saved_hooks_push(&hooks);
        EXPECT_EQ(of_result ? tn_exp(x) : tn_mul(x, x), nullptr);
        EXPECT_TRUE(error_is(TN_ERR_IO, {"the disk is full"}));
        tn_saved_hooks_pop();
        EXPECT_GT(values.packed, 0);
        EXPECT_EQ(values.dropped, values.packed);
    }
}

TEST_F(Visits, ThatDropSeeNoErrorOfOthersAndKeepItPending) {
    struct Seen {
        tn_status status = TN_ERR_INTERNAL;
        double sum = 0;
    } seen;
    const auto look = [](void *user, void *) {
        auto *s = static_cast<Seen *>(user);
        s->status = tn_error();
        s->sum = tn_item(tn_sum(from({1, 2})));
        tn_clear_error();
    };
    const tn_saved_hooks hooks = {[](void *, tn_tensor *) -> void * { return nullptr; }, same_value,
                                  look, &seen};
    const tn_scope scope = tn_scope_push();
    tn_tensor *x = param(from({1, 2}));
    tn_saved_hooks_push(&hooks);
    tn_mul(x, x);
    tn_saved_hooks_pop();
    tn_raise(TN_ERR_IO, "earlier");
    tn_scope_pop(scope);
    EXPECT_TRUE(error_is(TN_ERR_IO, {"earlier"}));
    EXPECT_EQ(seen.status, TN_OK);
    EXPECT_EQ(seen.sum, 3);
}

class Scopes : public Tenon {};

TEST_F(Scopes, ThatArePoppedMayOwnTheListOfWhatIsKept) {
    tn_tensor *x = from({1, 2, 3, 4});
    const tn_scope scope = tn_scope_push();
    const tn_tensors parts = tn_split(x, 1, nullptr);
    tn_tensor *const second = parts.ptr[1];
    ASSERT_EQ(tn_scope_pop_with(scope, parts.ptr, parts.n), TN_OK) << tn_error_message();
    EXPECT_EQ(numbers(second), (Numbers{2}));
}

} // namespace
