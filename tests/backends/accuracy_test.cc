// accuracy_test.cc - results of unary ops keep the bounds of bench/accuracy_ops.inc: for all numbers
// of f16 and bf16, and for f32 and f64 on a sieve. Built once per set of vector code.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/support.h"

#include "modules/math/math_ops.h"

extern "C" {
#include "bench/accuracy.h"
}

#include <cmath>
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

// ---- Place ---------------------------------------------------------------------------------

Numbers through(const accuracy_op &op, tn_dtype dtype, const Numbers &list) {
    const tn_value args[] = {tn_value_tensor(tn_to(from(list), dtype)),
                             op.text ? tn_value_str(op.text, strlen(op.text)) : tn_value_none()};
    tn_op_ref ref = {op.op, 0, 0};
    tn_value y = tn_value_none();
    EXPECT_EQ(tn_op_call(&ref, args, op.text ? 2 : 1, &y, 1), TN_OK) << tn_error_message();
    return numbers(tn_to(y.tensor, TN_F64));
}

// Whole vectors, their ends and what is left over come from the same code.
TEST_F(Accuracy, ResultsDoNotDependOnWhereTheirNumberStands) {
    Numbers list;
    for (int i = 0; i < 67; i++)
        list.push_back(i % 8 == 7 ? std::ldexp(1.7, 5 * i - 160) : (i % 13 - 6) * 0.37 + i * 0.01);
    for (int i = 0; i < accuracy_op_count; i++)
        for (const tn_dtype dtype : {TN_F32, TN_F64}) {
            const Numbers whole = through(accuracy_ops[i], dtype, list);
            for (ptrdiff_t skip = 1; skip < 17; skip++) {
                const Numbers part =
                    through(accuracy_ops[i], dtype, Numbers(list.begin() + skip, list.end()));
                for (size_t k = 0; k < part.size(); k++)
                    EXPECT_TRUE(part[k] == whole[k + skip] ||
                                (std::isnan(part[k]) && std::isnan(whole[k + skip])))
                        << accuracy_ops[i].name << ' ' << tn_dtype_name(dtype) << " of "
                        << list[k + skip];
            }
        }
}

} // namespace
