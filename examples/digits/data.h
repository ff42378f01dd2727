/* data.h - the handwritten digits, read strictly from a CSV file.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DIGITS_DATA_H
#define DIGITS_DATA_H

#include <tenon/tenon.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { DIGITS_PIXELS = 64, DIGITS_CLASSES = 10 };

typedef struct digits_set {
    tn_tensor *pixels; /* f32[n, 64], 0 to 1 */
    tn_tensor *labels; /* i64[n] */
    int64_t n;
} digits_set;

/* Each line is 64 pixels from 0 to 16, then the label. FORMAT names line and column of the first
 * byte that is wrong, and *out stays as it was. */
tn_status digits_read(const char *path, digits_set *out);

#ifdef __cplusplus
}
#endif
#endif
