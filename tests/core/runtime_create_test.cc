// runtime_create_test.cc - shapes that are refused, filling, rounding; devices that serve memory.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdio>

#include <tenon/device.h>
#include <tenon/inspect.h>

#include "tests/core/runtime_test.h"

namespace {

using Create = Runtime;
using Device = Runtime;

TEST_F(Create, RefusesWhatIsNoShape) {
    const int64_t big = INT64_C(1) << 32;
    const struct {
        Shape sizes;
        tn_dtype dtype;
        const char *error;
    } wrong[] = {
        {Shape(17, 1), TN_F32, "SHAPE"},          {{2, -1}, TN_F32, "SHAPE"},
        {{big, big}, TN_U8, "OVERFLOW"},          {{INT64_MAX}, TN_F64, "OVERFLOW"},
        {{0, big, big, big}, TN_F32, "OVERFLOW"}, {{1}, tn_dtype{9, 7, 3}, "DTYPE"},
    };
    for (const auto &w : wrong) {
        EXPECT_EQ(tn_empty(Ints(w.sizes), w.dtype), nullptr);
        EXPECT_EQ(TakeError(), w.error);
        EXPECT_EQ(tn_full(Ints(w.sizes), tn_int(1), w.dtype), nullptr);
        EXPECT_EQ(TakeError(), w.error);
    }
    EXPECT_NE(tn_empty(Ints(Shape(16, 1)), TN_F32), nullptr);
    EXPECT_EQ(tn_empty({nullptr, 2}, TN_F32), nullptr);
    EXPECT_EQ(TakeError(), "INVALID");
    for (int64_t n : {INT64_C(-1), INT64_MAX}) {
        EXPECT_EQ(tn_empty({nullptr, n}, TN_F32), nullptr);
        EXPECT_EQ(TakeError(), "SHAPE");
    }
    EXPECT_EQ(tn_from(nullptr, Ints({1}), TN_F32), nullptr);
    EXPECT_EQ(TakeError(), "INVALID");
}

TEST_F(Create, NamesTheSizeThatNoMemoryHolds) {
    for (int64_t n = INT64_C(1) << 44; n > 0 && n <= INT64_C(1) << 61; n *= 2) {
        EXPECT_EQ(tn_empty(Ints({n}), TN_U8), nullptr);
        EXPECT_NE(std::string(tn_error_message()).find(std::to_string(n)), std::string::npos);
        EXPECT_EQ(TakeError(), "NOMEM");
    }
}

TEST_F(Create, FillsEveryDtype) {
#define CHECK_FILL(index, NAME, name, ctype, class_)                                               \
    EXPECT_EQ(tn_item(tn_ones(Ints({1}), TN_##NAME)), 1) << name;                                  \
    EXPECT_EQ(tn_item(tn_zeros(Ints({1}), TN_##NAME)), 0) << name;                                 \
    EXPECT_EQ(tn_dtype_bytes(TN_##NAME), static_cast<int64_t>(sizeof(ctype)));                     \
    EXPECT_STREQ(tn_dtype_name(TN_##NAME), name);
    TN_DTYPE_LIST(CHECK_FILL)
#undef CHECK_FILL
    EXPECT_STREQ(tn_dtype_name(tn_dtype{9, 9, 9}), "?");
    for (int64_t n : {1, 1000, 3000000}) { // the last is filled in parallel
        const std::vector<float> got = Read(tn_full(Ints({n}), tn_float(1.25), TN_F32));
        EXPECT_EQ(std::count(got.begin(), got.end(), 1.25f), n);
    }
}

TEST_F(Create, IntegersMustHoldTheNumber) {
    EXPECT_EQ(tn_item(tn_full(Ints({1}), tn_float(2.75), TN_I32)), 2);
    EXPECT_EQ(tn_item(tn_full(Ints({1}), tn_int(255), TN_U8)), 255);
    EXPECT_EQ(tn_item(tn_full(Ints({1}), tn_int(-128), TN_I8)), -128);
    const struct {
        tn_value number;
        tn_dtype dtype;
        const char *error;
    } wrong[] = {{tn_int(-1), TN_U8, "OVERFLOW"},      {tn_int(128), TN_I8, "OVERFLOW"},
                 {tn_float(NAN), TN_I64, "OVERFLOW"},  {tn_float(0x1p63), TN_I64, "OVERFLOW"},
                 {tn_float(-1e9), TN_I16, "OVERFLOW"}, {tn_value_dtype(TN_F32), TN_I64, "DTYPE"}};
    for (const auto &w : wrong) {
        EXPECT_EQ(tn_full(Ints({1}), w.number, w.dtype), nullptr);
        EXPECT_EQ(TakeError(), w.error);
    }
}

uint16_t Bits(double value, tn_dtype dtype) {
    uint16_t bits = 0;
    tn_scope s = tn_scope_push();
    EXPECT_EQ(tn_read(tn_full(Ints({}), tn_float(value), dtype), &bits, 2), TN_OK);
    tn_scope_pop(s);
    return bits;
}

TEST_F(Create, HalfPrecisionRoundsOnceToNearestEven) {
    EXPECT_EQ(Bits(65504, TN_F16), 0x7bff);
    EXPECT_EQ(Bits(65519.99, TN_F16), 0x7bff);
    EXPECT_EQ(Bits(65520, TN_F16), 0x7c00);
    EXPECT_EQ(Bits(-1e300, TN_F16), 0xfc00);
    EXPECT_EQ(Bits(0x1p-24, TN_F16), 1);
    EXPECT_EQ(Bits(0x1p-25, TN_F16), 0);
    EXPECT_EQ(Bits(0x1.8p-24, TN_F16), 2);
    EXPECT_EQ(Bits(0x1.ffep-15, TN_F16), 0x0400); // rounds up out of the subnormals
    EXPECT_EQ(Bits(-0.0, TN_F16), 0x8000);
    EXPECT_EQ(Bits(1 + 0x1p-11, TN_F16), 0x3c00);
    EXPECT_EQ(Bits(1 + 3 * 0x1p-11, TN_F16), 0x3c02);
    EXPECT_EQ(Bits(1 + 0x1p-11 + 0x1p-40, TN_F16), 0x3c01); // by way of a float: 0x3c00
    EXPECT_EQ(Bits(1 + 0x1p-8, TN_BF16), 0x3f80);
    EXPECT_EQ(Bits(1 + 0x1p-8 + 0x1p-40, TN_BF16), 0x3f81);
    EXPECT_EQ(Bits(0x1.ffp127, TN_BF16), 0x7f80);
    EXPECT_EQ(Bits(0x1p-133, TN_BF16), 1);
}

TEST_F(Create, HalfPrecisionNumbersSurviveTheRoundTrip) {
    for (tn_dtype dtype : {TN_F16, TN_BF16}) {
        for (uint32_t bits = 0; bits < 0x10000; bits++) {
            tn_scope s = tn_scope_push();
            const uint16_t in = static_cast<uint16_t>(bits);
            const double value = tn_item(tn_from(&in, Ints({}), dtype));
            if (!std::isnan(value)) {
                ASSERT_EQ(Bits(value, dtype), in);
            }
            tn_scope_pop(s);
        }
    }
}

TEST_F(Create, ScalarsCarryTheirClass) {
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(tn_scalar_of(tn_bool(true))), TN_BOOL));
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(tn_scalar_of(tn_int(1))), TN_I64));
    EXPECT_TRUE(tn_dtype_is(tn_dtype_of(tn_scalar(1)), TN_F64));
    EXPECT_EQ(tn_scalar_of(tn_value_none()), nullptr);
    EXPECT_EQ(TakeError(), "DTYPE");
}

// ---- Devices -----------------------------------------------------------------------------------

TEST_F(Device, TheCpuIsTheFirst) {
    ASSERT_GE(tn_device_count(), 1);
    tn_device_info info = {};
    info.size = sizeof info;
    ASSERT_EQ(tn_device_at(0, &info), TN_OK);
    EXPECT_STREQ(info.kind, "cpu");
    EXPECT_STREQ(info.plugin, "tenon");
    EXPECT_GT(strlen(info.name), 0u);
    EXPECT_GT(info.memory_bytes, 0u);
    for (int64_t i : {tn_device_count(), INT64_C(-1), INT64_MAX}) {
        EXPECT_EQ(tn_device_at(i, &info), TN_ERR_INDEX);
        EXPECT_EQ(TakeError(), "INDEX");
    }
    EXPECT_EQ(tn_device_at(0, nullptr), TN_ERR_INVALID);
    EXPECT_EQ(TakeError(), "INVALID");
}

tn_driver CpuAs(const char *kind) {
    tn_driver d = *tni_host.driver;
    d.kind = kind;
    d.kind_code = 0;
    return d;
}

TEST_F(Device, ADriverMustBeWholeAndTheOnlyOneOfItsKind) {
    const tn_driver *cpu = tni_host.driver;
    char why[200];
    EXPECT_EQ(tni_device_kind_check(cpu, why, sizeof why), TN_ERR_CONFLICT);
    EXPECT_NE(std::string(why).find("tenon"), std::string::npos) << why;
    tn_driver d = CpuAs("runtime_whole");
    EXPECT_EQ(tni_device_kind_check(&d, why, sizeof why), TN_OK) << why;
    d.kind_code = TN_CPU;
    EXPECT_EQ(tni_device_kind_check(&d, why, sizeof why), TN_ERR_CONFLICT);
    d = CpuAs("runtime_whole");
    d.copy = nullptr;
    EXPECT_EQ(tni_device_kind_check(&d, why, sizeof why), TN_ERR_INVALID);
    EXPECT_NE(std::string(why).find("copy"), std::string::npos) << why;
    d = CpuAs("runtime_whole");
    d.size = offsetof(tn_driver, copy);
    EXPECT_EQ(tni_device_kind_check(&d, why, sizeof why), TN_ERR_INVALID);
    d = CpuAs("No Name");
    EXPECT_EQ(tni_device_kind_check(&d, why, sizeof why), TN_ERR_INVALID);
}

TEST_F(Device, UnknownOnesHaveNoDriver) {
    EXPECT_EQ(tni_device_place({TN_CPU, 1}), nullptr);
    EXPECT_EQ(tni_device_place({77, 0}), nullptr);
    EXPECT_STREQ(tni_device_kind_name(77), "?");
    EXPECT_EQ(tni_device_kind_find("no_such_kind"), 0);
    EXPECT_EQ(tn_use_device({TN_CPU, 1}).kind, TN_CPU);
    EXPECT_EQ(TakeError(), "DEVICE");
    EXPECT_EQ(tn_current_device().index, 0);
}

TEST_F(Device, ANewKindGetsAPrivateCodeAndPooledMemory) {
    tn_driver d = CpuAs("runtime_near");
    char text[64];
    if (!tni_device_kind_find(d.kind)) { // with --gtest_repeat it is there already
        ASSERT_EQ(tni_device_kind_add(&d, "runtime_near_plugin"), TN_OK);
    }
    const tn_device device = {tni_device_kind_find("runtime_near"), 0};
    EXPECT_GE(device.kind, 0x10000);
    EXPECT_STREQ(tni_device_kind_name(device.kind), "runtime_near");
    EXPECT_EQ(tni_device_text(device, text, sizeof text), strlen("runtime_near:0"));
    EXPECT_STREQ(text, "runtime_near:0");
    void *data = tni_buffer_alloc(tni_device_place(device), 100);
    ASSERT_NE(data, nullptr);
    tni_buffer_free(tni_device_place(device), data, 100);
    if (!getenv("TENON_ALLOC")) {
        EXPECT_EQ(tni_buffer_alloc(tni_device_place(device), 101), data);
        tni_buffer_free(tni_device_place(device), data, 101);
    }
    tn_memory_trim();
}

TEST_F(Device, TensorsTheCpuCannotReachAreReadAndWrittenThroughTheDriver) {
    static int copies;
    tn_driver d = CpuAs("runtime_far");
    d.props = [](void *, int32_t, tn_device_props *out) {
        snprintf(out->name, sizeof out->name, "far away");
        return static_cast<tn_status>(TN_OK);
    };
    d.copy = [](void *, tn_device, void *dst, tn_device, const void *src, uint64_t bytes, void *) {
        copies++;
        memcpy(dst, src, bytes);
        return static_cast<tn_status>(TN_OK);
    };
    if (!tni_device_kind_find(d.kind)) {
        ASSERT_EQ(tni_device_kind_add(&d, "runtime_far_plugin"), TN_OK);
    }
    copies = 0;
    const int64_t sizes[] = {2, 3};
    tn_tensor *base = tni_scope_own_slowly(
        tni_tensor_new(TN_F32, 2, sizes, tni_device_place({tni_device_kind_find(d.kind), 0})));
    const float data[] = {0, 1, 2, 3, 4, 5}, row[] = {-3, -4, -5};
    ASSERT_EQ(tn_write(base, data, sizeof data), TN_OK);
    EXPECT_EQ(Read(View(base, {3, 2}, {1, 3}, 0)), (std::vector<float>{0, 3, 1, 4, 2, 5}));
    ASSERT_EQ(tn_write(View(base, {3}, {-1}, 5), row, sizeof row), TN_OK);
    EXPECT_STREQ(tn_to_string(base), "f32[2,3] [[0, 1, 2], [-5, -4, -3]]");
    EXPECT_EQ(copies, 5);
    EXPECT_EQ(tn_data(base), nullptr);
    EXPECT_EQ(TakeError(), "DEVICE");
}

} // namespace
