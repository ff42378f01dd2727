// every_op_on_device_test.cc - every sample of every op on the device of the test and on the cpu, with
// the same kernels: the same bits.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/op_walk.h"

namespace {

class EveryOpOnDevice : public Tenon {
  protected:
    const tn_device device_ = tn_current_device(), cpu_ = {TN_CPU, 0};

    Outcome on(tn_device where, const Op &op, const std::vector<tn_value> &values) {
        std::vector<std::vector<tn_tensor *>> lists;
        tn_use_device(where);
        tn_use_provider(where.kind == TN_CPU ? "cpu_ref" : nullptr);
        auto copies = with_tensors(values, &lists, [](tn_tensor *t, uint32_t) { return fresh(t); });
        for (tn_value &v : copies)
            if (v.tag == TN_TAG_DEVICE) v.device = where;
        const Outcome o = outcome(op, copies);
        tn_use_provider(nullptr);
        tn_use_device(device_);
        return o;
    }
};

bool same_bits(const Outcome &a, const Outcome &b) {
    if (a.results.size() != b.results.size()) return false;
    for (size_t i = 0; i < a.results.size(); i++)
        if (a.results[i].sizes != b.results[i].sizes || a.results[i].bytes != b.results[i].bytes)
            return false;
    return true;
}

TEST_F(EveryOpOnDevice, GivesTheBitsOfTheCpu) {
    int64_t compared = 0;
    for (const Op &op : all_ops())
        for (const tn_dtype dtype : every_dtype)
            for (int64_t i = 0;; i++) {
                const Inner inner;
                tn_use_device(cpu_);
                const Args args = sample(op, i, dtype);
                if (args.status == TN_ERR_NOTFOUND) break;
                if (args.status) continue;
                SCOPED_TRACE(op.name + " sample " + std::to_string(i) + " in " +
                             tn_dtype_name(dtype));
                const Outcome cpu = on(cpu_, op, args.values);
                if (cpu.status) continue; // what a kernel finds wrong comes later there
                const Outcome there = on(device_, op, args.values);
                EXPECT_EQ(there.status, TN_OK) << there.text;
                EXPECT_TRUE(same_bits(cpu, there)) << same(cpu, there).message();
                compared++;
            }
    tn_use_device(device_);
    EXPECT_GT(compared, 1000);
}

} // namespace
