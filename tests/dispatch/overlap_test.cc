// overlap_test.cc - arguments that share memory with one that is written, wherever it stands.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/rows.h"

#include "modules/math/math_ops.h"

namespace {

bool apart(const tn_view *a, const tn_view *b) {
    const char *x = static_cast<const char *>(a->data), *y = static_cast<const char *>(b->data);
    const auto bytes = [](const tn_view *v) { return 8 * v->sizes[0]; };
    return x + bytes(a) <= y || y + bytes(b) <= x;
}

// Writes into y what x holds, element by element, in the order that shows an overlap.
tn_status shift(const tn_view *x, const tn_view *y) {
    for (int64_t i = 0; i < y->sizes[0]; i++)
        static_cast<double *>(y->data)[i] = static_cast<const double *>(x->data)[i];
    return TN_OK;
}

bool were_apart;

template <int X, int Y> tn_status run(const void *, tn_call *c) {
    were_apart = apart(c->args[X].view, c->args[Y].view);
    return shift(c->args[X].view, c->args[Y].view);
}

tn_status run_lists(const void *, tn_call *c) {
    were_apart = true;
    for (uint32_t i = 0; i < c->args[0].aux; i++)
        for (uint32_t j = 0; j < c->args[1].aux; j++)
            were_apart = were_apart && apart(c->args[0].views[i], c->args[1].views[j]);
    for (uint32_t i = 0; i < c->args[0].aux; i++) shift(c->args[1].views[i], c->args[0].views[i]);
    return TN_OK;
}

void add(Rows *rows, const char *schema, uint32_t n_args, decltype(tn_kernel::run) run) {
    tn_op op = op_row(schema);
    op.shape_rule = nullptr;
    op.shape = [](tn_infer *) -> tn_status { return TN_OK; };
    rows->ops.push_back(op);
    tn_kernel k = kernel_row("x");
    k.schema = schema, k.n_args = n_args, k.run = run;
    rows->kernels.push_back(k);
}

class Overlap : public Tenon {
  protected:
    static void SetUpTestSuite() {
        Tenon::SetUpTestSuite();
        Rows rows;
        rows.id = "test_overlap";
        add(&rows, "ov_mid(Tensor a, Tensor(y!) y, Tensor x) -> ()", 3, run<2, 1>);
        add(&rows, "ov_last(Tensor x, Tensor(y!) y) -> ()", 2, run<0, 1>);
        add(&rows, "ov_two(Tensor x, Tensor(y!) y, Tensor(z!) z) -> ()", 3, run<0, 1>);
        add(&rows, "ov_lists(Tensor(y!)[] ys, Tensor[] xs) -> ()", 2, run_lists);
        ASSERT_EQ(add_plugin(std::move(rows)), TN_OK) << tn_error_message();
    }
    static tn_status call(const char *name, const std::vector<tn_value> &args) {
        tn_op_ref op = {name, 0, 0};
        return tn_op_call(&op, args.data(), static_cast<uint32_t>(args.size()), nullptr, 0);
    }
    static tn_value value(tn_tensor *t) { return tn_value_tensor(t); }
    static tn_tensor *part(tn_tensor *t, int64_t from, int64_t to) {
        tn_slice_opts opts = {};
        opts.start = {from, true}, opts.end = {to, true};
        return tn_slice(t, &opts);
    }
};

TEST_F(Overlap, IsSeenWhereverTheWrittenArgumentStands) {
    tn_tensor *base = from({1, 2, 3, 4, 5}), *x = part(base, 0, 4), *y = part(base, 1, 5);
    EXPECT_EQ(call("ov_mid", {value(full({1}, 0)), value(y), value(x)}), TN_OK)
        << tn_error_message();
    EXPECT_TRUE(were_apart);
    EXPECT_EQ(numbers(base), (Numbers{1, 1, 2, 3, 4}));
    base = from({1, 2, 3, 4, 5}), x = part(base, 0, 4), y = part(base, 1, 5);
    EXPECT_EQ(call("ov_last", {value(x), value(y)}), TN_OK) << tn_error_message();
    EXPECT_TRUE(were_apart);
    EXPECT_EQ(numbers(base), (Numbers{1, 1, 2, 3, 4}));
}

TEST_F(Overlap, IsPartOfTheSignature) {
    tn_tensor *base = from({1, 2, 3, 4, 5, 6, 7, 8}), *far = from({9, 9, 9, 9, 9, 9, 9, 9});
    EXPECT_EQ(call("ov_last", {value(part(far, 1, 5)), value(part(base, 2, 6))}), TN_OK);
    EXPECT_EQ(call("ov_last", {value(part(base, 1, 5)), value(part(base, 2, 6))}), TN_OK);
    EXPECT_TRUE(were_apart) << "the call before looked the same but for this";
}

TEST_F(Overlap, OfTwoThatAreWrittenIsRefusedWithBothNames) {
    tn_tensor *base = from({1, 2, 3, 4, 5});
    EXPECT_EQ(
        call("ov_two", {value(full({4}, 0)), value(part(base, 0, 4)), value(part(base, 1, 5))}),
        TN_ERR_INVALID);
    EXPECT_TRUE(
        error_is(TN_ERR_INVALID, {"'y' and 'z' are both written and share memory", "clone"}));
    EXPECT_EQ(
        call("ov_two", {value(part(base, 1, 3)), value(part(base, 0, 2)), value(part(base, 3, 5))}),
        TN_OK)
        << tn_error_message();
    EXPECT_TRUE(were_apart);
}

TEST_F(Overlap, IsSeenInListsOfAnyLength) {
    for (const int64_t n : {2, 40, 300}) {
        std::vector<tn_tensor *> ys, xs;
        tn_tensor *base = full({n * 4 + 2}, 1);
        for (int64_t i = 0; i < n; i++) {
            ys.push_back(part(base, 4 * i, 4 * i + 3));
            xs.push_back(full({3}, static_cast<double>(i)));
        }
        xs[1] = part(base, 1, 4);
        EXPECT_EQ(call("ov_lists", {tn_value_tensors(tensors(ys)), tn_value_tensors(tensors(xs))}),
                  TN_OK)
            << tn_error_message();
        EXPECT_TRUE(were_apart) << n;
        xs[1] = full({3}, 0);
        ys[1] = part(base, 1, 4);
        EXPECT_EQ(call("ov_lists", {tn_value_tensors(tensors(ys)), tn_value_tensors(tensors(xs))}),
                  TN_ERR_INVALID);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"several tensors of 'ys' are written"})) << n;
    }
}

} // namespace
