// cpu_ref_kernels_test.cc - conversions, elementwise ops and random numbers of the reference
// provider. SPDX-License-Identifier: Apache-2.0
#include "backends/cpu_ref/normal.h"
#include "backends/cpu_ref/philox.h"
#include "backends/cpu_ref/uniform.h"
#include "tests/backends/cpu_ref_call.h"

#include <set>

namespace {

// ---- Conversions --------------------------------------------------------------------------------

using ToSmall = uint16_t (*)(double);
using OfSmall = double (*)(uint16_t);

// Every value survives; between two neighbours the middle goes to the even one, the rest to the
// nearer.
void CheckSmallFloat(ToSmall to, OfSmall of, uint16_t infinity) {
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        const uint16_t h = static_cast<uint16_t>(bits);
        if ((h & 0x7fff) > infinity) {
            ASSERT_TRUE(std::isnan(of(h)));
            ASSERT_TRUE(std::isnan(of(to(of(h)))));
            ASSERT_EQ(to(of(h)) >> 15, h >> 15);
        } else {
            ASSERT_EQ(to(of(h)), h);
        }
    }
    for (uint16_t h = 0; h + 1 < infinity; h++) {
        const double low = of(h), high = of(static_cast<uint16_t>(h + 1)),
                     middle = (low + high) / 2;
        ASSERT_EQ(to(middle), h + (h & 1)) << h;
        ASSERT_EQ(to(std::nextafter(middle, -kInf)), h) << h;
        ASSERT_EQ(to(std::nextafter(middle, kInf)), h + 1) << h;
        ASSERT_EQ(to(-std::nextafter(middle, kInf)), (h + 1) | 0x8000) << h;
    }
    const uint16_t last = static_cast<uint16_t>(infinity - 1);
    const double edge = of(last) + (of(last) - of(static_cast<uint16_t>(last - 1))) / 2;
    EXPECT_EQ(to(edge), infinity);
    EXPECT_EQ(to(std::nextafter(edge, 0)), last);
    EXPECT_EQ(to(1e300), infinity);
}

TEST(RefLoad, RoundsEveryF16ToNearestEven) {
    CheckSmallFloat(tnk_f64_to_f16, tnk_f16_to_f64, 0x7c00);
}
TEST(RefLoad, RoundsEveryBf16ToNearestEven) {
    CheckSmallFloat(tnk_f64_to_bf16, tnk_bf16_to_f64, 0x7f80);
}

TEST(RefLoad, AgreesWithKnownBits) {
    EXPECT_EQ(tnk_f64_to_f16(1), 0x3c00);
    EXPECT_EQ(tnk_f64_to_f16(-0.0), 0x8000);
    EXPECT_EQ(tnk_f64_to_f16(65504), 0x7bff);
    EXPECT_EQ(tnk_f64_to_f16(0x1p-24), 1);
    EXPECT_EQ(tnk_f64_to_bf16(1), 0x3f80);
    EXPECT_EQ(tnk_f64_to_bf16(3.140625), 0x4049);
}

TEST(RefLoad, RoundsIntegersToFloatsOnce) {
    const int64_t above = (INT64_C(1) << 60) + (INT64_C(1) << 52) + 1; // just above a bf16 midpoint
    uint16_t b;
    float f;
    ref_store_i64(TN_IX_BF16, &b, 1, 1, &above);
    EXPECT_EQ(tnk_bf16_to_f64(b), 0x1p60 + 0x1p53);
    const int64_t over = (INT64_C(1) << 60) + (INT64_C(1) << 36) + 1; // just above an f32 midpoint
    ref_store_i64(TN_IX_F32, &f, 1, 1, &over);
    EXPECT_EQ(f, 0x1p60f + 0x1p37f);
    ref_store_i64(TN_IX_BF16, &b, 1, 1, &(const int64_t &)INT64_MIN);
    EXPECT_EQ(tnk_bf16_to_f64(b), -0x1p63);
}

Numbers Copied(tn_dtype to, tn_dtype from, const Numbers &numbers) {
    const Tensor src(from, {static_cast<int64_t>(numbers.size())}, numbers), dst(to, src.sizes);
    Call c;
    EXPECT_EQ(c.In(dst).In(src).Out(dst)(ref_copy_), TN_OK);
    return dst.Read();
}

TEST(RefCopy, TruncatesAndSaturatesFloatsToIntegers) {
    ExpectNear(Copied(TN_I8, TN_F32, {1.9, -1.9, 300, -300, kNan, kInf, -kInf}),
               {1, -1, 127, -128, 0, 127, -128});
    ExpectNear(Copied(TN_U8, TN_F64, {255.5, -3, 254.9}), {255, 0, 254});
    ExpectNear(Copied(TN_I64, TN_F64, {1e30, -1e30, kNan}), {0x1p63, -0x1p63, 0});
    ExpectNear(Copied(TN_I32, TN_F16, {kInf, -2.5}), {2147483647, -2});
}

TEST(RefCopy, WrapsIntegersAndTestsForNonzero) {
    ExpectNear(Copied(TN_I8, TN_I32, {200, -200, 256}), {-56, 56, 0});
    ExpectNear(Copied(TN_U8, TN_I8, {-1}), {255});
    ExpectNear(Copied(TN_BOOL, TN_F32, {0, -0.0, 0.25, kNan, -3}), {0, 0, 1, 1, 1});
    ExpectNear(Copied(TN_BOOL, TN_I32, {0, 256}), {0, 1});
    ExpectNear(Copied(TN_F16, TN_BOOL, {0, 1}), {0, 1});
}

TEST(RefCopy, ConvertsBetweenAllDtypes) {
    for (tn_dtype from :
         {TN_BOOL, TN_U8, TN_I8, TN_I16, TN_I32, TN_I64, TN_F16, TN_BF16, TN_F32, TN_F64})
        for (tn_dtype to :
             {TN_BOOL, TN_U8, TN_I8, TN_I16, TN_I32, TN_I64, TN_F16, TN_BF16, TN_F32, TN_F64})
            ExpectNear(Copied(to, from, {0, 1, 1, 0}), {0, 1, 1, 0});
}

TEST(RefCopy, FollowsAnyStrides) {
    const Tensor src = I64({2, 3}, {0, 1, 2, 3, 4, 5}), dst = F32({3, 2});
    Call transposed, reversed, spread;
    transposed.In(dst).In(src.View({3, 2}, {1, 3})).Out(dst)(ref_copy_);
    ExpectNear(dst.Read(), {0, 3, 1, 4, 2, 5});
    reversed.In(dst).In(src.View({3, 2}, {-2, -1}, 5)).Out(dst)(ref_copy_);
    ExpectNear(dst.Read(), {5, 4, 3, 2, 1, 0});
    spread.In(dst).In(src.View({3, 2}, {0, 1}, 3)).Out(dst)(ref_copy_);
    ExpectNear(dst.Read(), {3, 4, 3, 4, 3, 4});
    const Tensor big = F64({300, 700}, Wave(1009)), turned = F64({700, 300});
    Call large;
    large.In(turned).In(big.View({700, 300}, {1, 700})).Out(turned)(ref_copy_);
    EXPECT_EQ(turned.View({300, 700}, {1, 300}).Read(), big.Read());
}

TEST(RefCopy, HandlesScalarsAndEmptyTensors) {
    const Tensor one = F32({}, {7}), to = I64({}), none = F32({0, 3});
    Call scalar, empty;
    scalar.In(to).In(one).Out(to)(ref_copy_);
    ExpectNear(to.Read(), {7});
    EXPECT_EQ(empty.In(none).In(none).Out(none)(ref_copy_), TN_OK);
}

TEST(RefFill, ConvertsItsNumber) {
    Tensor x = I8({2, 2}), big = I64({1}), t = F32({3, 2}), column = t.View({3}, {-2}, 4);
    Call a, b, c;
    a.In(x).In(tn_float(-2.7)).Out(x)(ref_fill_);
    ExpectNear(x.Read(), {-2, -2, -2, -2});
    b.In(big).In(tn_int(INT64_MAX)).Out(big)(ref_fill_);
    EXPECT_EQ(big.Item<int64_t>(0), INT64_MAX);
    c.In(column).In(tn_bool(true)).Out(column)(ref_fill_);
    ExpectNear(t.Read(), {1, 0, 1, 0, 1, 0});
}

TEST(RefArange, CountsInItsDtype) {
    Tensor f = F32({3}), i = I64({2});
    Call a, b;
    a.In(tn_float(0.1))
        .In(tn_int(1))
        .In(tn_float(0.1))
        .In(tn_value_dtype(TN_F32))
        .In(tn_value_none());
    a.Out(f)(ref_arange);
    EXPECT_EQ(f.Item<float>(2), static_cast<float>(0.1 + 2 * 0.1));
    b.In(tn_int(INT64_C(1) << 60))
        .In(tn_int((INT64_C(1) << 60) + 2))
        .In(tn_int(1))
        .In(tn_value_dtype(TN_I64))
        .In(tn_value_none());
    b.Out(i)(ref_arange);
    EXPECT_EQ(i.Item<int64_t>(1), (INT64_C(1) << 60) + 1);
}

// ---- Elementwise --------------------------------------------------------------------------------

TEST(RefTable, NamesEveryOpOnce) {
    std::vector<std::string> ops;
#define KERNEL(op, dtypes, n_args, plan) ops.push_back(#op);
#include "backends/cpu_ref/kernels.def"
    EXPECT_EQ(std::set<std::string>(ops.begin(), ops.end()).size(), ops.size());
}

TEST(RefEwise, WrapsIntegersInTheirOwnWidth) {
    ExpectNear(Make(ref_add, TN_I8, {2}, {I8({2}, {127, -128}), I8({2}, {1, -1})}), {-128, 127});
    ExpectNear(Make(ref_neg, TN_I8, {2}, {I8({2}, {-128, 5})}), {-128, -5});
    ExpectNear(Make(ref_abs, TN_I64, {1}, {I64({1}, {-0x1p63})}), {-0x1p63});
    ExpectNear(Make(ref_mul, TN_I64, {1}, {I64({1}, {0x1p62}), I64({1}, {4})}), {0});
    ExpectNear(Make(ref_sub, TN_U8, {1}, {Tensor(TN_U8, {1}, {3}), Tensor(TN_U8, {1}, {5})}),
               {254});
    ExpectNear(Make(ref_pow, TN_I8, {3}, {I8({3}, {3, 2, -1}), I8({3}, {5, 8, 0})}), {-13, 0, 1});
    ExpectNear(Make(ref_add, TN_BOOL, {3}, {Bool({3}, {0, 0, 1}), Bool({3}, {0, 1, 1})}),
               {0, 1, 1});
}

TEST(RefEwise, RoundsOnceFromDouble) {
    const Tensor x = F32({2}, {0.1, 3});
    const float tenth = 0.1f;
    ExpectNear(Make(ref_exp, TN_F32, {2}, {x}),
               {static_cast<float>(std::exp(static_cast<double>(tenth))),
                static_cast<float>(std::exp(3.0))});
    ExpectNear(Make(ref_div, TN_F16, {1}, {Tensor(TN_F16, {1}, {1}), Tensor(TN_F16, {1}, {3})}),
               {tnk_f16_to_f64(0x3555)});
    ExpectNear(Make(ref_reciprocal, TN_BF16, {1}, {Tensor(TN_BF16, {1}, {3})}),
               {tnk_bf16_to_f64(0x3eab)});
}

TEST(RefEwise, PassesNanAndStaysInRange) {
    const Tensor x = F64({4}, {kNan, -1, 2, -kInf}), y = F64({4}, {1, kNan, 1, 0});
    ExpectNear(Make(ref_maximum, TN_F64, {4}, {x, y}), {kNan, kNan, 2, 0});
    ExpectNear(Make(ref_minimum, TN_F64, {4}, {x, y}), {kNan, kNan, 1, -kInf});
    ExpectNear(Make(ref_relu, TN_F64, {4}, {x}), {kNan, 0, 2, 0});
    ExpectNear(Make(ref_isnan, TN_BOOL, {4}, {x}), {1, 0, 0, 0});
    ExpectNear(Make(ref_isnan, TN_BOOL, {2}, {I8({2}, {1, 0})}), {0, 0});
    ExpectNear(Make(ref_sigmoid, TN_F64, {3}, {F64({3}, {-1000, 0, 1000})}), {0, 0.5, 1});
    ExpectNear(Make(ref_sign, TN_F64, {3}, {F64({3}, {-3, 0, 0.5})}), {-1, 0, 1});
    ExpectNear(Make(ref_logical_not, TN_BOOL, {3}, {F64({3}, {0, kNan, 2})}), {1, 0, 0});
}

TEST(RefEwise, ComparesLargeIntegersExactly) {
    Tensor a = I64({2}), b = I64({2});
    a.Item<int64_t>(0) = (INT64_C(1) << 53) + 1, b.Item<int64_t>(0) = INT64_C(1) << 53;
    ExpectNear(Make(ref_eq, TN_BOOL, {2}, {a, b}), {0, 1});
    ExpectNear(Make(ref_gt, TN_BOOL, {2}, {a, b}), {1, 0});
    ExpectNear(Make(ref_le, TN_BOOL, {2}, {F64({2}, {1, kNan}), F64({2}, {1, 1})}), {1, 0});
    Tensor out = I64({2});
    Call c;
    c.In(Bool({2}, {1, 0})).In(a).In(b).Out(out)(ref_where);
    EXPECT_EQ(out.Item<int64_t>(0), (INT64_C(1) << 53) + 1);
}

TEST(RefEwise, BroadcastsThroughStrideZeroAndReads) {
    const Tensor row = F32({3}, {1, 2, 3}), column = F32({2}, {10, 20});
    ExpectNear(
        Make(ref_add, TN_F32, {2, 3}, {row.View({2, 3}, {0, -1}, 2), column.View({2, 3}, {1, 0})}),
        {13, 12, 11, 23, 22, 21});
    ExpectNear(Make(ref_neg, TN_F32, {0}, {F32({0})}), {});
    const Tensor x = F32({7, 9001}, Wave(7 * 9001));
    Numbers want = x.Read();
    for (double &v : want) v = -v;
    for (Order each : {kForwards, kBackwards, kThreads}) {
        order = each;
        ExpectNear(Make(ref_neg, TN_F32, x.sizes, {x}), want);
    }
    order = kForwards;
}

TEST(RefEwise, WritesInPlace) {
    const Tensor x = F32({600}, Wave(600));
    Numbers want = x.Read();
    for (double &v : want) v = static_cast<float>(v * v);
    Call c;
    c.In(x).In(x).Out(x)(ref_mul);
    ExpectNear(x.Read(), want);
}

TEST(RefEwise, RefusesNegativeIntegerExponentsBeforeWriting) {
    Numbers exponents(40000, 2);
    exponents[33001] = exponents[39000] = -1;
    const Tensor x = I64({40000}, {3}), e = I64({40000}, exponents);
    for (Order each : {kForwards, kBackwards, kThreads}) {
        order = each;
        Call c;
        EXPECT_EQ(c.In(x).In(e).Out(x)(ref_pow), TN_ERR_INVALID);
        EXPECT_NE(c.text.find("pow: element 33001: the exponent is negative"), std::string::npos)
            << c.text;
        EXPECT_EQ(x.Read(), Numbers(40000, 3));
    }
    order = kForwards;
    ExpectNear(Make(ref_pow, TN_F64, {1}, {F64({1}, {2}), F64({1}, {-1})}), {0.5});
}

TEST(RefClamp, LimitsWithAbsentBoundsAndNan) {
    const tn_value none = tn_value_none();
    auto clamp = [](const Tensor &x, tn_value low, tn_value high) {
        const Tensor y(x.dtype, x.sizes);
        Call c;
        EXPECT_EQ(c.In(x).In(low).In(high).Out(y)(ref_clamp), TN_OK);
        return y.Read();
    };
    const Tensor x = F64({4}, {-2, 0.5, 3, kNan});
    ExpectNear(clamp(x, tn_float(-1), tn_float(1)), {-1, 0.5, 1, kNan});
    ExpectNear(clamp(x, none, tn_float(1)), {-2, 0.5, 1, kNan});
    ExpectNear(clamp(x, tn_float(0), none), {0, 0.5, 3, kNan});
    ExpectNear(clamp(x, tn_float(2), tn_float(1)), {1, 1, 1, kNan});
    ExpectNear(clamp(x, tn_float(kNan), none), {kNan, kNan, kNan, kNan});
    ExpectNear(clamp(x, none, tn_float(kNan)), {kNan, kNan, kNan, kNan});
    ExpectNear(clamp(I8({3}, {-100, 0, 100}), tn_float(-5.5), none), {-5, 0, 100});
    ExpectNear(clamp(I8({3}, {-100, 0, 100}), none, tn_float(1e9)), {-100, 0, 100});
}

// ---- Random -------------------------------------------------------------------------------------

TEST(RefPhilox, MatchesThePublishedVectors) {
    const struct {
        uint32_t counter[4], key[2], want[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
    for (const auto &v : vectors) {
        uint32_t out[4];
        ref_philox(v.counter, v.key[0], v.key[1], out);
        for (int k = 0; k < 4; k++) EXPECT_EQ(out[k], v.want[k]);
    }
}

uint32_t Word(uint64_t seed, uint64_t offset, uint64_t w) { // straight from the definition
    const uint64_t at = offset + w / 4;
    const uint32_t counter[4] = {static_cast<uint32_t>(at), static_cast<uint32_t>(at >> 32), 0, 0};
    uint32_t out[4];
    ref_philox(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), out);
    return out[w % 4];
}

const uint64_t kSeed = UINT64_C(0x0123456789abcdef),
               kOffset = UINT64_C(0xffffffff); // carries into the high word

Numbers Random(KernelFn run, tn_dtype dtype, int64_t n, double a, double b) {
    const Tensor y(dtype, {n});
    Call c;
    c.In(tn_value_none()).In(tn_float(a)).In(tn_float(b)).Out(y).Rng(kSeed, kOffset);
    EXPECT_EQ(c(run), TN_OK);
    return y.Read();
}

TEST(RefRandom, MapsWordsToUniforms) {
    const int64_t n = 40001;
    const Numbers f32 = Random(ref_uniform, TN_F32, n, 0, 1),
                  f64 = Random(ref_uniform, TN_F64, n, -1, 3);
    for (int64_t i = 0; i < n; i++) {
        const uint64_t w = static_cast<uint64_t>(i);
        ASSERT_EQ(f32[w], (Word(kSeed, kOffset, w) >> 8) * 0x1p-24);
        const uint64_t low = Word(kSeed, kOffset, 2 * w), high = Word(kSeed, kOffset, 2 * w + 1);
        ASSERT_EQ(f64[w], -1 + 4 * (static_cast<double>((high << 32 | low) >> 11) * 0x1p-53));
    }
    const Numbers f16 = Random(ref_uniform, TN_F16, n, 0, 1),
                  bf16 = Random(ref_uniform, TN_BF16, n, 0, 1);
    for (size_t i = 0; i < f16.size(); i++) {
        ASSERT_EQ(f16[i], (Word(kSeed, kOffset, i) >> 21) * 0x1p-11);
        ASSERT_EQ(bf16[i], (Word(kSeed, kOffset, i) >> 24) * 0x1p-8);
    }
}

double Rounded(int ix, double x) { // to the dtype, as it is stored
    return ix == TN_IX_F16 ? tnk_f16_to_f64(tnk_f64_to_f16(x))
           : ix == TN_IX_BF16
               ? tnk_bf16_to_f64(tnk_f64_to_bf16(static_cast<double>(static_cast<float>(x))))
           : ix == TN_IX_F32 ? static_cast<double>(static_cast<float>(x))
                             : x;
}

const std::pair<double, double> kRanges[] = {
    {0, 1},         {-1, 1},         {0.1, 0.3},     {-0.3, -0.1},     {0.7, 0.8},
    {1000, 1010.1}, {-1, 0},         {-3, -1e-3},    {0, 1e-6},        {-1e-6, 0},
    {0, 65504},     {-65504, 65504}, {1, 1.0078125}, {-1.0078125, -1}, {0.99, 1.01}};

// Every input of the last step; where rounding is monotonic, as it is, the ends would be enough.
TEST(RefRandom, MapsEveryUniformIntoItsRange) {
    for (const int ix : {TN_IX_F16, TN_IX_BF16, TN_IX_F32})
        for (const auto &[low, high] : kRanges) {
            const ref_range range = ref_range_of(ix, low, high);
            const int64_t inputs = INT64_C(1) << ref_digits(ix);
            const double step = ldexp(1, -ref_digits(ix)), end = Rounded(ix, high);
            int64_t outside = 0;
            for (int64_t k = 0; k < inputs; k++) {
                const double y = Rounded(ix, ref_stretch(&range, static_cast<double>(k) * step));
                outside += !(y >= low && y < high && y < end);
            }
            EXPECT_EQ(outside, 0) << ix << " " << low << " " << high;
        }
    for (const auto &[low, high] : kRanges)
        for (const double u : {0.0, 0x1p-53, 0.5, 1 - 0x1p-52, 1 - 0x1p-53}) {
            const ref_range range = ref_range_of(TN_IX_F64, low, high);
            EXPECT_TRUE(ref_stretch(&range, u) >= low && ref_stretch(&range, u) < high) << low << u;
        }
}

TEST(RefRandom, KnowsTheNumbersNextToTheEndsOfARange) {
    const ref_range unit = ref_range_of(TN_IX_F16, 0, 1), tiny = ref_range_of(TN_IX_BF16, -1, 0),
                    none = ref_range_of(TN_IX_F16, 0.7, 0.70001),
                    point = ref_range_of(TN_IX_F32, 0.1, 0.1);
    EXPECT_EQ(unit.least, 0);
    EXPECT_EQ(unit.most, 1 - 0x1p-11);
    EXPECT_EQ(tiny.most, -0x1p-133);
    EXPECT_EQ(none.least, Rounded(TN_IX_F16, 0.7)); // nothing in between: low, rounded
    EXPECT_EQ(none.most, none.least);
    EXPECT_EQ(point.most, static_cast<double>(0.1f));
    EXPECT_EQ(ref_range_of(TN_IX_F64, 0, 1e-320).most, std::nextafter(1e-320, 0));
    EXPECT_EQ(ref_range_of(TN_IX_F32, 0, 3).most, static_cast<double>(std::nextafterf(3, 0)));
}

TEST(RefRandom, MakesNormalsOfPairsOfWords) {
    const int64_t n = 40001; // odd, and blocks of a view's rows start at odd elements
    const Numbers z = Random(ref_normal, TN_F64, n, 0, 1);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint64_t pair = static_cast<uint64_t>(i) / 2 * 2;
        const double u1 = (Word(kSeed, kOffset, pair) + 1.0) * 0x1p-32,
                     u2 = Word(kSeed, kOffset, pair + 1) * 0x1p-32;
        const double r = std::sqrt(-2 * std::log(u1)), angle = 2 * M_PI * u2;
        ASSERT_NEAR(z[static_cast<size_t>(i)], i % 2 ? r * std::sin(angle) : r * std::cos(angle),
                    1e-14);
        sum += z[static_cast<size_t>(i)],
            squares += z[static_cast<size_t>(i)] * z[static_cast<size_t>(i)];
    }
    EXPECT_NEAR(sum / n, 0, 0.02);
    EXPECT_NEAR(squares / n, 1, 0.02);
    const Tensor rows = F32({5, 7});
    Call c;
    c.In(tn_value_none()).In(tn_float(1)).In(tn_float(2)).Out(rows).Rng(kSeed, kOffset)(ref_normal);
    for (size_t i = 0; i < 35; i++) EXPECT_EQ(rows.Read()[i], static_cast<float>(1 + 2 * z[i]));
}

// Fixed for ever: computed from the formula in normal.h, and within 1e-15 of the exact values.
TEST(RefRandom, MakesTheSameNormalsEverywhere) {
    const struct {
        uint32_t w0, w1;
        double z0, z1;
    } vectors[] = {
        {0x00000000, 0x00000000, 0x1.aa4499161cd47p+2, 0x0p+0},
        {0xffffffff, 0x12345678, -0x0p+0, -0x0p+0},
        {0xfffffffe, 0xffffffff, 0x1.6a09e6684e3f4p-16, -0x1.1c5831ae1d445p-45},
        {0x80000000, 0x20000000, 0x1.aa449913b5daep-1, 0x1.aa449913b5dbp-1},
        {0x7fffffff, 0x1fffffff, 0x1.aa44992093269p-1, 0x1.aa44990ba6825p-1},
        {0x6627e8d5, 0xe169c58d, 0x1.fb7665db1b649p-1, -0x1.d96d5ff0aec98p-1},
        {0xbc57ac4c, 0x9b00dbd8, -0x1.3c373dd6d9558p-1, -0x1.eda3633cd9712p-2},
        {0xb504f333, 0x60000000, -0x1.2d6abe44a109ap-1, 0x1.2d6abe44a1099p-1},
        {0xb504f332, 0xa0000000, -0x1.2d6abe4708032p-1, -0x1.2d6abe4708033p-1},
        {0x00000001, 0xdfffffff, 0x1.28ab81807009p+2, -0x1.28ab818f00199p+2},
    };
    for (const auto &v : vectors) {
        double z[2];
        ref_normal_pair(v.w0, v.w1, z);
        EXPECT_EQ(z[0], v.z0) << v.w0;
        EXPECT_EQ(z[1], v.z1) << v.w0;
    }
}

TEST(RefRandom, GivesRawBits) {
    for (const tn_dtype dtype : {TN_I32, TN_I64}) {
        const Tensor y(dtype, {1001});
        Call c;
        c.In(tn_value_none()).Out(y).Rng(kSeed, kOffset);
        ASSERT_EQ(c(ref_random_bits), TN_OK);
        const bool wide = tn_dtype_is(dtype, TN_I64);
        for (uint64_t i = 0; i < 1001; i++) {
            const uint32_t low = Word(kSeed, kOffset, wide ? 2 * i : i);
            const uint64_t high = Word(kSeed, kOffset, 2 * i + 1);
            const auto want = wide ? static_cast<int64_t>(high << 32 | low)
                                   : static_cast<int64_t>(static_cast<int32_t>(low));
            ASSERT_EQ(y.Read()[i], static_cast<double>(want));
        }
    }
}

TEST(RefRandom, RefusesIntegerResults) {
    const Tensor y = I64({2});
    Call c;
    EXPECT_EQ(c.In(tn_value_none()).In(tn_float(0)).In(tn_float(1)).Out(y)(ref_uniform),
              TN_ERR_DTYPE);
}

TEST(RefRandom, DropsWhereTheUniformIsBelowP) {
    const int64_t n = 40000;
    const Numbers u = Random(ref_uniform, TN_F32, n, 0, 1);
    const Tensor x = F32({n}, {3}), y = F32({n});
    for (double p : {0.0, 0.25, u[17], 1.0}) {
        Call c;
        c.In(x).In(tn_float(p)).In(tn_value_none()).Out(y).Rng(kSeed, kOffset);
        ASSERT_EQ(c(ref_dropout), TN_OK);
        const Numbers got = y.Read();
        for (size_t i = 0; i < got.size(); i++)
            ASSERT_EQ(got[i], u[i] >= p ? static_cast<float>(3 * (1 / (1 - p))) : 0);
    }
}

} // namespace
