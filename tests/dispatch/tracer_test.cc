// tracer_test.cc - the call tree that a tracer writes.
// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <thread>
#include <vector>

#include <tenon/layers.h>

#include "tests/support/support.h"

#include "modules/math/math_ops.h"

namespace {

class Tracer : public Tenon {
  protected:
    std::vector<std::string> lines;
    tn_tracer *begin() {
        return tn_tracer_begin(
            [](void *user, const char *line) {
                static_cast<Tracer *>(user)->lines.push_back(line);
            },
            this);
    }
    // The first line that begins with `call`, without its time; "" if there is none.
    std::string find(const std::string &call) const {
        for (const std::string &line : lines)
            if (line.compare(0, call.size() + 1, call + " ") == 0)
                return line.substr(0, line.size() - 10);
        return "";
    }
};

TEST_F(Tracer, SaysWhoComputesWhatFromWhat) {
    tn_tensor *x = tn_ones(ints({2, 3}), TN_F32);
    ASSERT_EQ(tn_use_provider("cpu_ref"), TN_OK);
    tn_tracer *t = begin();
    tn_add(x, tn_ones(ints({3}), TN_F32));
    EXPECT_EQ(tn_tracer_end(t), TN_OK);
    tn_use_provider(nullptr);
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(find("CALL").substr(0, 90), "CALL                             TENSORS                "
                                          "                      BY         ");
    EXPECT_EQ(find("add"), "add                              f32[2,3] f32[3] -> f32[2,3]           "
                           "       cpu_ref    ");
    EXPECT_EQ(lines[1].substr(lines[1].size() - 3), " us");
}

TEST_F(Tracer, PutsPartsBelowTheirCall) {
    tn_tensor *x = tn_ones(ints({2, 3}), TN_F32);
    tn_tracer *t = begin();
    tn_pairwise_distance(x, x, nullptr);
    tn_transpose(x, 0, 1);
    EXPECT_EQ(tn_tracer_end(t), TN_OK);
    ASSERT_GT(lines.size(), 4u);
    EXPECT_EQ(lines[1].compare(0, 18, "pairwise_distance "), 0) << lines[1];
    for (size_t i = 2; i + 1 < lines.size(); i++)
        EXPECT_EQ(lines[i].substr(0, 2), "  ") << lines[i];
    EXPECT_NE(find("transpose").find("no kernel"), std::string::npos) << lines.back();
}

TEST_F(Tracer, PutsWhatDerivativesCallBelowThem) {
    tn_tensor *x = param(tn_ones(ints({2, 3}), TN_F32));
    tn_tracer *t = begin();
    tn_backward(tn_sum(tn_exp(x)));
    EXPECT_EQ(tn_tracer_end(t), TN_OK);
    EXPECT_NE(find("backward of exp"), "");
    EXPECT_NE(find("  mul"), "");
}

TEST_F(Tracer, FitsIntoAHundredColumns) {
    tn_tensor *x = tn_ones(ints({2, 3, 4, 5, 6, 7, 1, 1, 1, 1}), TN_F32);
    tn_tracer *t = begin();
    tn_where(tn_gt(x, x), x, x);
    tn_cat({&x, 1}, nullptr);
    EXPECT_EQ(tn_tracer_end(t), TN_OK);
    for (const std::string &line : lines) EXPECT_LE(line.size(), 100u) << line;
    EXPECT_NE(find("where").find("..."), std::string::npos);
}

TEST_F(Tracer, MarksCallsThatFail) {
    tn_tensor *x = tn_ones(ints({2}), TN_F32);
    tn_tracer *t = begin();
    tn_add(x, tn_ones(ints({3}), TN_F32));
    EXPECT_EQ(tn_tracer_end(t), TN_ERR_SHAPE); // the pending one
    EXPECT_TRUE(error_is(TN_ERR_SHAPE));
    EXPECT_NE(find("add").find("failed: SHAPE"), std::string::npos);
}

TEST_F(Tracer, IsMisusedWithNamedErrors) {
    tn_tracer *t = begin();
    std::thread([&] {
        EXPECT_EQ(tn_tracer_end(t), TN_ERR_INVALID);
        EXPECT_TRUE(error_is(TN_ERR_INVALID, {"another thread"}));
    }).join();
    EXPECT_EQ(tn_tracer_end(t), TN_OK);
    EXPECT_EQ(tn_tracer_end(t), TN_ERR_STALE);
    EXPECT_TRUE(error_is(TN_ERR_STALE, {"tn_tracer_end"}));
    EXPECT_EQ(tn_tracer_end(nullptr), TN_OK);
}

} // namespace
