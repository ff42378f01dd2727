/* amx.c - bf16 products on AMX: permission, packing, and tiles of 32 x 32 of C.
 *
 * Invariant: outside blas_amx_run no thread has tile state, so switching threads costs nothing.
 * Layout of tiles: Intel 64 Architectures Software Developer's Manual, vol. 1, ch. 18, and
 * TDPBF16PS in vol. 2.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/amx.h"

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backends/cpu_blas/kernels/copy.h"
#include "backends/cpu_blas/kernels/kernels.h"

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define TILES  __attribute__((target("amx-tile,amx-bf16")))

enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_TILE_DATA = 18 }; /* asm/prctl.h of newer kernels */
enum { TILE_BYTES = 1024, ROW_BYTES = 64 };

/* ---- Permission ------------------------------------------------------------------------------ */

static bool processor_has_it(void) {
    uint32_t a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const uint32_t bf16 = 1u << 22, tile = 1u << 24;
    if ((d & (bf16 | tile)) != (bf16 | tile)) return false;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 5 & 1; /* AVX512_BF16, to round */
}

static bool system_saves_it(void) {
    uint32_t a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return false;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    const uint32_t tiles = 3u << 17, vectors = 0xe6;
    return (low & (tiles | vectors)) == (tiles | vectors);
}

bool blas_amx_ask(void) {
    return processor_has_it() && system_saves_it() &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILE_DATA) == 0;
}

/* ---- Packing --------------------------------------------------------------------------------- */

/* One tile of 16 lanes by 32 steps. As it is read it has a lane in each row, or with lanes side by
 * side a pair of steps; A wants the one, B the other, and turning 32-bit pairs leads from one to
 * the other. */
AVX512 static void pack_tile(char *to, const blas_lanes *l, int64_t lane, int64_t step) {
    const int64_t lanes = tnk_max(0, tnk_min(16, l->n - lane)), k = tnk_min(BLAS_STEP, l->k - step);
    const __mmask32 steps_mask = (__mmask32)((UINT64_C(1) << k) - 1);
    const __mmask16 lanes_mask = (__mmask16)((1u << lanes) - 1);
    const uint16_t *x = l->x + lane * l->lane + step * l->step;
    const bool turned = (l->step == 1) == l->pairs;
    char rows[TILE_BYTES] __attribute__((aligned(64)));
    char *out = turned ? rows : to;
    for (int64_t r = 0; r < 16; r++) {
        __m512i v = _mm512_setzero_si512();
        if (l->step == 1) {
            if (r < lanes) v = _mm512_maskz_loadu_epi16(steps_mask, x + r * l->lane);
        } else {
            const uint16_t *pair = x + 2 * r * l->step;
            if (2 * r < k) v = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes_mask, pair));
            if (2 * r + 1 < k)
                v = _mm512_or_si512(
                    v, _mm512_slli_epi32(_mm512_cvtepu16_epi32(
                                             _mm256_maskz_loadu_epi16(lanes_mask, pair + l->step)),
                                         16));
        }
        _mm512_storeu_si512(out + r * ROW_BYTES, v);
    }
    if (turned) blas_code(copy)->turn[2](16, 16, to, 16, rows, 16);
}

void blas_amx_pack(void *panels, const blas_lanes *l) {
    const int64_t panel = blas_pieces(l->k, BLAS_STEP) * BLAS_STEP_BYTES;
    char *to = panels;
    for (int64_t step = 0; step < l->k; step += BLAS_STEP, to += BLAS_STEP_BYTES)
        for (int64_t lane = 0; lane < l->n; lane += BLAS_PANEL) {
            char *at = to + lane / BLAS_PANEL * panel;
            pack_tile(at, l, lane, step);
            pack_tile(at + TILE_BYTES, l, lane + 16, step);
        }
}

/* ---- Tiles ----------------------------------------------------------------------------------- */

typedef struct tile_config {
    uint8_t palette, start, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

static void tiles_open(void) {
    tile_config t = {.palette = 1};
    for (int i = 0; i < 8; i++) t.row_bytes[i] = ROW_BYTES, t.rows[i] = 16;
    __asm__ volatile("ldtilecfg %0" : : "m"(t)); /* gcc 12's intrinsic says it reads 8 bytes */
}

/* c[32][32] = (add: c +) a b; tiles 0..3 are c, 4 and 5 a, 6 and 7 b. */
TILES static void multiply(float *c, int64_t steps, const char *a, const char *b, bool add) {
    enum { LD = BLAS_PANEL * sizeof(float) };
    float *const parts[4] = {c, c + 16, c + 16 * BLAS_PANEL, c + 16 * BLAS_PANEL + 16};
    if (add) {
        _tile_loadd(0, parts[0], LD);
        _tile_loadd(1, parts[1], LD);
        _tile_loadd(2, parts[2], LD);
        _tile_loadd(3, parts[3], LD);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t s = 0; s < steps; s++, a += BLAS_STEP_BYTES, b += BLAS_STEP_BYTES) {
        _tile_loadd(6, b, ROW_BYTES);
        _tile_loadd(4, a, ROW_BYTES);
        _tile_loadd(7, b + TILE_BYTES, ROW_BYTES);
        _tile_loadd(5, a + TILE_BYTES, ROW_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, parts[0], LD);
    _tile_stored(1, parts[1], LD);
    _tile_stored(2, parts[2], LD);
    _tile_stored(3, parts[3], LD);
}

AVX512 static __m512 wide_half(__m512i items, int half) {
    const __m256i h = half ? _mm512_extracti64x4_epi64(items, 1) : _mm512_castsi512_si256(items);
    return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
}

/* The tile of C at row i, column j, whose sums are in `from`. */
AVX512 static void round_tile(const blas_amx_block *g, int64_t i, int64_t j, const float *from) {
    const int64_t m = tnk_min(BLAS_PANEL, g->m - i), n = tnk_min(BLAS_PANEL, g->n - j);
    const __mmask32 mask = (__mmask32)((UINT64_C(1) << n) - 1);
    for (int64_t r = i; r < i + m; r++, from += BLAS_PANEL) {
        __m512 low = _mm512_loadu_ps(from), high = _mm512_loadu_ps(from + 16);
        if (g->bias) {
            const __m512i b = _mm512_maskz_loadu_epi16(mask, g->bias + r * g->bias_row + j);
            low += wide_half(b, 0), high += wide_half(b, 1);
        }
        _mm512_mask_storeu_epi16(g->c + r * g->ldc + j, mask,
                                 (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

/* All of C once per BLAS_DEPTH steps of k, so that what it reads of A and B stays in cache. */
TILES void blas_amx_run(const blas_amx_block *g) {
    enum { TILE = BLAS_PANEL * BLAS_PANEL };
    float one[TILE] __attribute__((aligned(64)));
    const int64_t panel = g->steps * BLAS_STEP_BYTES;
    tiles_open();
    for (int64_t s = 0; s < g->steps; s += BLAS_DEPTH) {
        const int64_t depth = tnk_min(BLAS_DEPTH, g->steps - s), at = s * BLAS_STEP_BYTES;
        float *c = g->sums ? g->sums : one;
        for (int64_t j = 0; j < g->n; j += BLAS_PANEL)
            for (int64_t i = 0; i < g->m; i += BLAS_PANEL) {
                multiply(c, depth, g->a + i / BLAS_PANEL * panel + at,
                         g->b + j / BLAS_PANEL * panel + at, s > 0);
                if (s + depth == g->steps) round_tile(g, i, j, c);
                if (g->sums) c += TILE;
            }
    }
    _tile_release();
}
