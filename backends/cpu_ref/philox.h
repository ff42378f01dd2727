/* philox.h - Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011) and what random ops make of it.
 *
 * A call owns the words 0, 1, 2, ... after a position (seed, offset): word w is lane w % 4 of
 * the block with key (seed low, seed high) and counter (low, high of offset + w / 4, 0, 0).
 * Element i, counted in logical row-major order, is
 *   uniform, f32                u = (word[i] >> 8) * 2^-24, as uniform.h says for all dtypes
 *   uniform, f16, bf16          u = (word[i] >> 21) * 2^-11, (word[i] >> 24) * 2^-8
 *   uniform, f64                u = ((word[2i+1] << 32 | word[2i]) >> 11) * 2^-53
 *   normal, any dtype           z[2j], z[2j+1] of the pair word[2j], word[2j+1], as normal.h says,
 *                               made as mean + std z in f64
 *   random_bits, i32            word[i]
 *   random_bits, i64            word[2i+1] << 32 | word[2i]
 *   dropout                     keeps x[i] where u >= p; u as for f64 where x is f64, else as for f32
 * f16 and bf16 uniforms and normals are made as f32, then rounded.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_REF_PHILOX_H
#define TENON_CPU_REF_PHILOX_H

#include <stdint.h>

static inline void ref_philox(const uint32_t counter[4], uint32_t key0, uint32_t key1,
                              uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = UINT64_C(0xD2511F53) * c0, p1 = UINT64_C(0xCD9E8D57) * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ key0, c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ key1, c3 = (uint32_t)p0;
        key0 += 0x9E3779B9, key1 += 0xBB67AE85;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* Words first .. first+n-1 after the position (seed, offset). */
static inline void ref_philox_words(uint64_t seed, uint64_t offset, uint64_t first, int64_t n,
                                    uint32_t *out) {
    uint32_t block[4];
    for (int64_t i = 0; i < n; i++) {
        const uint64_t word = first + (uint64_t)i;
        if (i == 0 || word % 4 == 0) {
            const uint64_t at = offset + word / 4;
            const uint32_t counter[4] = {(uint32_t)at, (uint32_t)(at >> 32), 0, 0};
            ref_philox(counter, (uint32_t)seed, (uint32_t)(seed >> 32), block);
        }
        out[i] = block[word % 4];
    }
}

#endif
