/* layout.c - dtype names, sizes and checksums of the checkpoint format.
 * SPDX-License-Identifier: Apache-2.0 */
#include "modules/io/layout.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checkpoints hold little-endian numbers, and nothing here swaps them"
#endif

static const struct {
    const char *name;
    tn_dtype dtype;
} dtypes[] = {{"BOOL", {6, 8, 1}}, {"U8", {1, 8, 1}},   {"I8", {0, 8, 1}},   {"I16", {0, 16, 1}},
              {"I32", {0, 32, 1}}, {"I64", {0, 64, 1}}, {"F16", {2, 16, 1}}, {"BF16", {4, 16, 1}},
              {"F32", {2, 32, 1}}, {"F64", {2, 64, 1}}};

const char *io_dtype_name(tn_dtype d) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (tn_dtype_is(dtypes[i].dtype, d)) return dtypes[i].name;
    return NULL;
}

bool io_dtype_by_name(const char *name, tn_dtype *out) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strcmp(dtypes[i].name, name) != 0) continue;
        *out = dtypes[i].dtype;
        return true;
    }
    return false;
}

bool io_bytes(const int64_t *sizes, int64_t rank, tn_dtype dtype, uint64_t *out) {
    uint64_t bytes = dtype.bits / 8;
    for (int64_t i = 0; i < rank; i++)
        if (sizes[i] < 0 || __builtin_mul_overflow(bytes, (uint64_t)sizes[i], &bytes)) return false;
    *out = bytes;
    return bytes <= INT64_MAX;
}

/* ---- Checksums ------------------------------------------------------------------------------- */

void io_crc_make(io_crc *c) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t r = i;
        for (int bit = 0; bit < 8; bit++) r = r >> 1 ^ (r & 1 ? UINT32_C(0x82f63b78) : 0);
        c->table[0][i] = r;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            c->table[k][i] = c->table[k - 1][i] >> 8 ^ c->table[0][c->table[k - 1][i] & 255];
}

uint32_t io_crc_add(const io_crc *c, uint32_t crc, const void *data, uint64_t bytes) {
    const unsigned char *p = data;
    uint32_t r = ~crc;
    for (; bytes >= 8; bytes -= 8, p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        w ^= r;
        r = 0;
        for (int k = 0; k < 8; k++) r ^= c->table[7 - k][w >> 8 * k & 255];
    }
    for (; bytes > 0; bytes--) r = r >> 8 ^ c->table[0][(r ^ *p++) & 255];
    return ~r;
}

uint32_t io_header_crc(const io_crc *c, const char *header, uint64_t bytes) {
    const uint64_t at = sizeof IO_START - 1, after = at + IO_CRC_DIGITS;
    unsigned char length[IO_LENGTH_BYTES];
    io_put_length(length, bytes);
    uint32_t crc = io_crc_add(c, 0, length, sizeof length);
    crc = io_crc_add(c, crc, header, at);
    crc = io_crc_add(c, crc, "00000000", IO_CRC_DIGITS);
    return io_crc_add(c, crc, header + after, bytes - after);
}

void io_put_length(unsigned char out[IO_LENGTH_BYTES], uint64_t n) {
    for (int i = 0; i < IO_LENGTH_BYTES; i++) out[i] = (unsigned char)(n >> 8 * i);
}

uint64_t io_get_length(const unsigned char in[IO_LENGTH_BYTES]) {
    uint64_t n = 0;
    for (int i = 0; i < IO_LENGTH_BYTES; i++) n |= (uint64_t)in[i] << 8 * i;
    return n;
}
