// accuracy_test.cc - results of unary ops keep the bounds of bench/accuracy_ops.inc: for all numbers
// of f16 and bf16, and for f32 and f64 on a sieve. Built once per set of vector code.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

extern "C" {
#include "bench/accuracy.h"
}

#include <cstring>

#include <tenon/inspect.h>

namespace {

class Accuracy : public Tenon {
  protected:
    void SetUp() override {
        Tenon::SetUp();
        if (!strstr(tn_op_providers("exp", "cpu"), "cpu_blas"))
            GTEST_SKIP() << "this processor lacks the set of TENON_CPU_BLAS_VECTORS";
        ASSERT_EQ(tn_use_provider("cpu_blas"), TN_OK);
    }
    void TearDown() override {
        tn_use_provider(NULL);
        Tenon::TearDown();
    }
};

void check(tn_dtype dtype, uint64_t step) {
    for (int i = 0; i < accuracy_op_count; i++) {
        const accuracy_op &op = accuracy_ops[i];
        accuracy a;
        ASSERT_TRUE(accuracy_measure(&op, dtype, step, &a))
            << op.name << ": " << tn_error_message();
        EXPECT_LE(a.worst, accuracy_bound(&op, dtype))
            << op.name << ' ' << tn_dtype_name(dtype) << " at " << a.worst_at;
        EXPECT_EQ(a.special, 0) << op.name << ' ' << tn_dtype_name(dtype)
                                << ": NaN or zero's sign at " << a.special_at;
    }
}

TEST_F(Accuracy, AllNumbersOf16BitsKeepTheirBounds) {
    check(TN_F16, 1);
    check(TN_BF16, 1);
}

TEST_F(Accuracy, NumbersOf32BitsOnASieveKeepTheirBounds) { check(TN_F32, 32749); }

TEST_F(Accuracy, NumbersOf64BitsOnASieveKeepTheirBounds) { check(TN_F64, 262139); }

} // namespace
