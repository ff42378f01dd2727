// rows.h - ops, kernels and plugins made on the spot, for tests of what may be registered.
// SPDX-License-Identifier: Apache-2.0
#ifndef TENON_TESTS_ROWS_H
#define TENON_TESTS_ROWS_H

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <tenon/hooks.h>
#include <tenon/inspect.h>

#include "tests/support/support.h"

namespace {

struct Rows {
    std::string id;
    std::vector<tn_op> ops;
    std::vector<tn_kernel> kernels;
    bool one_by_one = false;
};
constexpr size_t most_plugins = 64;
Rows rows_of[most_plugins];
tn_plugin_desc descriptions[most_plugins];

template <size_t N> tn_status start(const tn_host *host, tn_plugin *self) {
    const Rows &r = rows_of[N];
    const auto count = [&](size_t n) { return static_cast<uint32_t>(r.one_by_one ? 1 : n); };
    for (size_t i = 0; i < r.ops.size(); i += count(r.ops.size()))
        host->add_ops(self, &r.ops[i], count(r.ops.size()), sizeof(tn_op));
    for (size_t i = 0; i < r.kernels.size(); i += count(r.kernels.size()))
        host->add_kernels(self, &r.kernels[i], count(r.kernels.size()), sizeof(tn_kernel));
    return TN_OK;
}

template <size_t N> const tn_plugin_desc *query(const tn_hello *, const char **) {
    descriptions[N] = {
        sizeof(tn_plugin_desc), 0, rows_of[N].id.c_str(), "1.0", start<N>, nullptr, nullptr};
    return &descriptions[N];
}

template <size_t... N> tn_plugin_query_fn query_at(size_t i, std::index_sequence<N...>) {
    static const tn_plugin_query_fn all[] = {query<N>...};
    return all[i];
}

// Rows live for ever, as those of a plugin do.
inline tn_status add_plugin(Rows rows) {
    static size_t next;
    rows_of[next] = std::move(rows);
    return tn_plugin_add(query_at(next++, std::make_index_sequence<most_plugins>()));
}

inline const char *text(const std::string &s) {
    static std::vector<std::unique_ptr<std::string>> all;
    all.push_back(std::make_unique<std::string>(s));
    return all.back()->c_str();
}

inline tn_op op_row(const std::string &schema, uint32_t traits = 0) {
    tn_op row = {};
    row.size = sizeof row;
    row.schema = text(schema);
    row.shape_rule = "same";
    row.no_grad = "only a test";
    row.traits = traits;
    return row;
}

// For an op of one tensor, unless told otherwise.
inline tn_kernel kernel_row(const std::string &op, const char *args = "Tensor<T> x") {
    tn_kernel row = {};
    row.size = sizeof row;
    row.schema = text(op + "(" + args + ") -> Tensor y");
    row.n_args = static_cast<uint32_t>(1 + std::count(args, args + std::strlen(args), ','));
    row.device = "cpu";
    row.dtypes = TN_MASK_ALL;
    row.run = [](const void *, tn_call *) -> tn_status { return TN_OK; };
    return row;
}

inline tn_status call(const char *name) {
    tn_op_ref op = {name, 0, 0};
    const tn_value arg = tn_value_tensor(full({2}, 1));
    tn_value out;
    return tn_op_call(&op, &arg, 1, &out, 1);
}

inline tn_plugin_info info_of(const char *id) {
    int64_t n = 0;
    EXPECT_EQ(tn_plugin_scan(&n), TN_OK);
    for (int64_t i = 0; i < n; i++) {
        tn_plugin_info info = {};
        info.size = sizeof info;
        EXPECT_EQ(tn_plugin_at(i, &info), TN_OK);
        if (std::string(info.id) == id) return info;
    }
    ADD_FAILURE() << "no plugin " << id;
    return {};
}

} // namespace

#endif
