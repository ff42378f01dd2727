/* layout.h - what the writer and the reader of checkpoints must agree on.
 *
 *   8 bytes   length of the header, little-endian
 *   header    {"__metadata__":{"tenon.crc32c":"0123abcd","tenon.crc32c:NAME":"...",...},
 *              "NAME":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},...}   and spaces
 *   data      all tensors, row-major, without gaps
 *
 * "tenon.crc32c" covers the length and the header, its own eight digits read as zeros; the header
 * holds the checksum of each tensor, so together they cover every byte.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_IO_LAYOUT_H
#define TENON_IO_LAYOUT_H

#include <tenon/tenon.h>

#define IO_WHOLE  "tenon.crc32c"
#define IO_EACH   "tenon.crc32c:" /* followed by the tensor's name */
#define IO_FORMAT "tenon.format"  /* "1" */
#define IO_START  "{\"__metadata__\":{\"" IO_WHOLE "\":\""

enum {
    IO_LENGTH_BYTES = 8,
    IO_CRC_DIGITS = 8,
    IO_NAME_BYTES = 1024,
    IO_HEADER_BYTES = 100000000 /* at most; the format's own limit */
};

const char *io_dtype_name(tn_dtype); /* "F32", or NULL */
bool io_dtype_by_name(const char *name, tn_dtype *out);
/* Bytes of a tensor; false if they overflow. */
bool io_bytes(const int64_t *sizes, int64_t rank, tn_dtype, uint64_t *out);

typedef struct io_crc { /* CRC-32C, eight bytes at a time */
    uint32_t table[8][256];
} io_crc;
void io_crc_make(io_crc *);
/* Goes on from `crc`; 0 starts. */
uint32_t io_crc_add(const io_crc *, uint32_t crc, const void *data, uint64_t bytes);
/* Of length bytes and header, the digits at IO_START read as zeros. */
uint32_t io_header_crc(const io_crc *, const char *header, uint64_t bytes);

void io_put_length(unsigned char out[IO_LENGTH_BYTES], uint64_t);
uint64_t io_get_length(const unsigned char in[IO_LENGTH_BYTES]);

#endif
