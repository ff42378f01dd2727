/* vmath.h - vector mathematics for one floating type and one instruction set (see isa.inc).
 *
 * f32: exp, log, tanh and sigmoid by our own polynomials, at most 2 ulp from the true value over
 * all floats (the coefficients are Cephes'); infinities, NaN, -0 and subnormals as in libm.
 * f64: libm, lane by lane. Included once per type: no include guard on purpose.
 * SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */

AI FN(V) FN(absolute)(FN(V) x) { return (FN(V))((FN(U))x << 1 >> 1); }

/* fma: fused where the set has it. root and the roundings: exact, -0 and NaN stay. */
#if BLAS_VECTOR_BYTES == 64 && WIDE
AI FN(V) FN(fma)(FN(V) a, FN(V) b, FN(V) c) { return _mm512_fmadd_pd(a, b, c); }
AI FN(V) FN(root)(FN(V) x) { return _mm512_sqrt_pd(x); }
#define ROUND(mode) _mm512_roundscale_pd(x, (mode) | _MM_FROUND_NO_EXC)
#elif BLAS_VECTOR_BYTES == 64
AI FN(V) FN(fma)(FN(V) a, FN(V) b, FN(V) c) { return _mm512_fmadd_ps(a, b, c); }
AI FN(V) FN(root)(FN(V) x) { return _mm512_sqrt_ps(x); }
#define ROUND(mode) _mm512_roundscale_ps(x, (mode) | _MM_FROUND_NO_EXC)
#elif BLAS_VECTOR_BYTES == 32 && WIDE
AI FN(V) FN(fma)(FN(V) a, FN(V) b, FN(V) c) { return _mm256_fmadd_pd(a, b, c); }
AI FN(V) FN(root)(FN(V) x) { return _mm256_sqrt_pd(x); }
#define ROUND(mode) _mm256_round_pd(x, (mode) | _MM_FROUND_NO_EXC)
#elif BLAS_VECTOR_BYTES == 32
AI FN(V) FN(fma)(FN(V) a, FN(V) b, FN(V) c) { return _mm256_fmadd_ps(a, b, c); }
AI FN(V) FN(root)(FN(V) x) { return _mm256_sqrt_ps(x); }
#define ROUND(mode) _mm256_round_ps(x, (mode) | _MM_FROUND_NO_EXC)
#else
AI FN(V) FN(fma)(FN(V) a, FN(V) b, FN(V) c) { return a * b + c; }
#if WIDE
AI FN(V) FN(root)(FN(V) x) { return _mm_sqrt_pd(x); }
#else
AI FN(V) FN(root)(FN(V) x) { return _mm_sqrt_ps(x); }
#endif
#endif

/* NaN stays: what the instructions return of a NaN is their second operand. */
#if BLAS_VECTOR_BYTES == 64 && WIDE
AI FN(V) FN(at_least)(FN(V) x, T low) { return _mm512_max_pd(FN(splat)(low), x); }
AI FN(V) FN(at_most)(FN(V) x, T high) { return _mm512_min_pd(FN(splat)(high), x); }
#elif BLAS_VECTOR_BYTES == 64
AI FN(V) FN(at_least)(FN(V) x, T low) { return _mm512_max_ps(FN(splat)(low), x); }
AI FN(V) FN(at_most)(FN(V) x, T high) { return _mm512_min_ps(FN(splat)(high), x); }
#elif BLAS_VECTOR_BYTES == 32 && WIDE
AI FN(V) FN(at_least)(FN(V) x, T low) { return _mm256_max_pd(FN(splat)(low), x); }
AI FN(V) FN(at_most)(FN(V) x, T high) { return _mm256_min_pd(FN(splat)(high), x); }
#elif BLAS_VECTOR_BYTES == 32
AI FN(V) FN(at_least)(FN(V) x, T low) { return _mm256_max_ps(FN(splat)(low), x); }
AI FN(V) FN(at_most)(FN(V) x, T high) { return _mm256_min_ps(FN(splat)(high), x); }
#elif WIDE
AI FN(V) FN(at_least)(FN(V) x, T low) { return _mm_max_pd(FN(splat)(low), x); }
AI FN(V) FN(at_most)(FN(V) x, T high) { return _mm_min_pd(FN(splat)(high), x); }
#else
AI FN(V) FN(at_least)(FN(V) x, T low) { return _mm_max_ps(FN(splat)(low), x); }
AI FN(V) FN(at_most)(FN(V) x, T high) { return _mm_min_ps(FN(splat)(high), x); }
#endif
AI FN(V) FN(clip)(FN(V) x, T low, T high) { return FN(at_most)(FN(at_least)(x, low), high); }

/* |y| with the sign of x */
AI FN(V) FN(signed_like)(FN(V) y, FN(V) x) {
    const FN(U) sign = (FN(U))FN(splat)((T)-0.0);
    return (FN(V))(((FN(U))y & ~sign) | ((FN(U))x & sign));
}

#ifdef ROUND
AI FN(V) FN(round_even)(FN(V) x) { return ROUND(_MM_FROUND_TO_NEAREST_INT); }
AI FN(V) FN(round_down)(FN(V) x) { return ROUND(_MM_FROUND_TO_NEG_INF); }
AI FN(V) FN(round_up)(FN(V) x) { return ROUND(_MM_FROUND_TO_POS_INF); }
AI FN(V) FN(cut)(FN(V) x) { return ROUND(_MM_FROUND_TO_ZERO); }
#undef ROUND
#else
/* Adding the first number whose neighbours are 1 apart rounds; numbers beyond are whole. */
AI FN(V) FN(round_even)(FN(V) x) {
    const T whole = WIDE ? (T)0x1p52 : (T)0x1p23f;
    const FN(V) a = FN(absolute)(x);
    return FN(pick)(a < whole, FN(signed_like)((a + whole) - whole, x), x);
}
AI FN(V) FN(round_down)(FN(V) x) {
    const FN(V) r = FN(round_even)(x);
    return FN(pick)(r > x, r - (T)1, r);
}
AI FN(V) FN(round_up)(FN(V) x) { return -FN(round_down)(-x); }
AI FN(V) FN(cut)(FN(V) x) { return FN(signed_like)(FN(round_down)(FN(absolute)(x)), x); }
#endif

/* ---- Sums are kept in double: an f32 vector is two parts, an f64 vector is one -------------- */

#if WIDE
enum { FN(parts) = 1 };
AI V_f64 FN(part)(FN(V) v, int p) { return (void)p, v; }
#else
enum { FN(parts) = 2 };
#if BLAS_VECTOR_BYTES == 64
AI V_f64 FN(part)(FN(V) v, int p) {
    return _mm512_cvtps_pd(p ? _mm512_extractf32x8_ps(v, 1) : _mm512_castps512_ps256(v));
}
#elif BLAS_VECTOR_BYTES == 32
AI V_f64 FN(part)(FN(V) v, int p) {
    return _mm256_cvtps_pd(p ? _mm256_extractf128_ps(v, 1) : _mm256_castps256_ps128(v));
}
#else
AI V_f64 FN(part)(FN(V) v, int p) { return _mm_cvtps_pd(p ? _mm_movehl_ps(v, v) : (__m128)v); }
#endif
#endif

#if !WIDE /* two parts, each rounded to f32 */
AI V_f32 join_f32(V_f64 a, V_f64 b) {
#if BLAS_VECTOR_BYTES == 64
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a)), _mm512_cvtpd_ps(b), 1);
#elif BLAS_VECTOR_BYTES == 32
    return _mm256_set_m128(_mm256_cvtpd_ps(b), _mm256_cvtpd_ps(a));
#else
    return _mm_movelh_ps(_mm_cvtpd_ps(a), _mm_cvtpd_ps(b));
#endif
}
#endif

typedef struct FN(sums) {
    V_f64 part[FN(parts)];
} FN(sums);

AI void FN(gather)(FN(sums) *s, FN(V) v) {
    s->part[0] += FN(part)(v, 0);
    if (FN(parts) == 2) s->part[FN(parts) - 1] += FN(part)(v, 1);
}

AI double FN(total)(const FN(sums) *s) {
    V_f64 v = s->part[0];
    if (FN(parts) == 2) v += s->part[FN(parts) - 1];
    double lane[sizeof v / sizeof(double)];
    memcpy(lane, &v, sizeof v);
    for (int width = (int)(sizeof v / sizeof(double)) / 2; width; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    return lane[0];
}

/* ---- Functions ------------------------------------------------------------------------------ */

AI FN(V) FN(each)(FN(V) x, T (*f)(T)) {
    for (int i = 0; i < LANES; i++) x[i] = f(x[i]);
    return x;
}

#if WIDE
static inline double libm_exp_f64(double x) { return exp(x); }
static inline double libm_log_f64(double x) { return log(x); }
static inline double libm_tanh_f64(double x) { return tanh(x); }

AI V_f64 vexp_f64(V_f64 x) { return each_f64(x, libm_exp_f64); }
AI V_f64 vlog_f64(V_f64 x) { return each_f64(x, libm_log_f64); }
AI V_f64 vtanh_f64(V_f64 x) { return each_f64(x, libm_tanh_f64); }
#else
/* n / (d + lost), lost being less than d's last bit, 1 <= d < 2^60: to little more than the last
 * rounding. */
AI V_f32 ratio_f32(V_f32 n, V_f32 d, V_f32 lost) {
#if BLAS_VECTOR_BYTES == 16
    const V_f32 q = n / d;
    return q - q * lost / d;
#else
#if BLAS_VECTOR_BYTES == 64
    const V_f32 r = _mm512_rcp14_ps(d); /* the step below squares its error */
#else
    const V_f32 r = 1.0f / d;
#endif
    const V_f32 q = n * r;
    return fma_f32(fma_f32(-q, lost, fma_f32(-d, q, n)), r, q);
#endif
}

/* x * 2^k for k in [-151, 129], rounded once */
AI V_f32 scale_f32(V_f32 x, V_f32 k_float, M_f32 k) {
#if BLAS_VECTOR_BYTES == 64
    (void)k;
    return _mm512_scalef_ps(x, k_float);
#else
    (void)k_float;
    const M_f32 half = k >> 1, rest = k - half;
    return x * (V_f32)((half + 127) << 23) * (V_f32)((rest + 127) << 23);
#endif
}

/* (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2, in Estrin's order: what bounds these functions is the
 * length of the chain. */
AI V_f32 expm1_rest_f32(V_f32 r) {
    const V_f32 z = r * r;
    const V_f32 high = fma_f32(splat_f32(1.9875691500e-4f), r, splat_f32(1.3981999507e-3f));
    const V_f32 mid = fma_f32(splat_f32(8.3334519073e-3f), r, splat_f32(4.1665795894e-2f));
    const V_f32 low = fma_f32(splat_f32(1.6666665459e-1f), r, splat_f32(5.0000001201e-1f));
    return fma_f32(fma_f32(high, z, mid), z, low);
}

typedef struct power { /* p 2^k */
    V_f32 p, k_float;
    M_f32 k;
} power;

/* e^r 2^k, |r| <= ln 2 / 2. sharp: r + lost is meant, and what rounding 1 + r loses is added again,
 * which leaves little more than the last rounding (0.6 instead of 1 ulp). */
AI power power_f32(V_f32 shifted, V_f32 r, V_f32 lost, bool sharp) {
    const V_f32 magic = splat_f32(0x1.8p23f);
    V_f32 p = expm1_rest_f32(r);
    const V_f32 one_r = r + 1.0f;
    if (sharp) p = fma_f32(p, r * r, (r - (one_r - 1.0f)) + lost) + one_r;
    else p = fma_f32(p, r * r, r) + 1.0f;
    return (power){p, shifted - magic, (M_f32)((U_f32)shifted - (U_f32)magic)};
}

/* x = k ln 2 + r */
AI power exponential_f32(V_f32 x) {
    const V_f32 magic = splat_f32(0x1.8p23f); /* adding it rounds to an integer in the low bits */
    const V_f32 shifted = fma_f32(x, splat_f32(1.44269504088896341f), magic), k = shifted - magic;
    const V_f32 near = fma_f32(k, splat_f32(-0.693359375f), x); /* exact */
    const V_f32 r = fma_f32(k, splat_f32(2.12194440e-4f), near);
    return power_f32(shifted, r, r, false);
}

AI V_f32 vexp_f32(V_f32 x) {
    const power e = exponential_f32(clip_f32(x, -104.0f, 89.0f));
    return scale_f32(e.p, e.k_float, e.k);
}

/* x = 2^k m, m in [sqrt(1/2), sqrt(2)); log x = k ln 2 + log(1 + f), f = m - 1 */
AI V_f32 vlog_f32(V_f32 x) {
    const M_f32 tiny = x < 0x1p-126f;
    const V_f32 y = pick_f32(tiny, x * 0x1p23f, x);
    const U_f32 above = (U_f32)y - 0x3f3504f3u; /* the bits of sqrt(1/2) */
    const M_f32 k = ((M_f32)above >> 23) - (tiny & 23);
    const V_f32 f = (V_f32)((U_f32)y - (above & 0xff800000u)) - 1.0f, z = f * f;
    const V_f32 e = __builtin_convertvector(k, V_f32);
    V_f32 p = splat_f32(7.0376836292e-2f);
    p = fma_f32(p, f, splat_f32(-1.1514610310e-1f));
    p = fma_f32(p, f, splat_f32(1.1676998740e-1f));
    p = fma_f32(p, f, splat_f32(-1.2420140846e-1f));
    p = fma_f32(p, f, splat_f32(1.4249322787e-1f));
    p = fma_f32(p, f, splat_f32(-1.6668057665e-1f));
    p = fma_f32(p, f, splat_f32(2.0000714765e-1f));
    p = fma_f32(p, f, splat_f32(-2.4999993993e-1f));
    p = fma_f32(p, f, splat_f32(3.3333331174e-1f));
    p = p * f * z;
    p = fma_f32(e, splat_f32(-2.12194440e-4f), p);
    p = fma_f32(z, splat_f32(-0.5f), p);
    p = fma_f32(e, splat_f32(0.693359375f), f + p);
    p = pick_f32(x == (float)INFINITY, x, p);
    p = pick_f32(x == 0.0f, splat_f32(-(float)INFINITY), p);
    return pick_f32((x < 0.0f) | (x != x), splat_f32((float)NAN), p);
}

/* With E = e^2|x| - 1, which does not cancel: E / (E + 2). 2^k (1 + p) = e^2|x|. */
AI V_f32 vtanh_f32(V_f32 x) {
    const V_f32 a = at_most_f32(absolute_f32(x), 9.02f), magic = splat_f32(0x1.8p23f);
    const V_f32 shifted = fma_f32(a, splat_f32(2 * 1.44269504088896341f), magic);
    const V_f32 k = shifted - magic;
    const V_f32 near = fma_f32(k, splat_f32(-0.693359375f / 2), a); /* exact */
    const V_f32 half = fma_f32(k, splat_f32(2.12194440e-4f / 2), near), r = half + half;
    V_f32 p = expm1_rest_f32(r);
    p = fma_f32(p, r * r, r);
    const V_f32 scale = (V_f32)(((U_f32)shifted + 127) << 23);
    const V_f32 e = fma_f32(scale, p, scale - 1.0f);
    const V_f32 d = e + 2.0f;
    return signed_like_f32(ratio_f32(e, d, e - (d - 2.0f)), x);
}
#endif

#if WIDE
AI V_f64 vsigmoid_f64(V_f64 x) {
    const V_f64 e = vexp_f64(-absolute_f64(x));
    return pick_f64(x < 0, e, splat_f64(1)) / (e + 1.0);
}
#else
AI V_f32 vsigmoid_f32(V_f32 x) { /* with e = exp(-|x|), which cannot overflow */
    const V_f32 e = vexp_f32(-absolute_f32(x)), d = e + 1.0f;
    return ratio_f32(pick_f32(x < 0, e, splat_f32(1)), d, e - (d - 1.0f));
}
#endif
