/* text.h - texts that are safe to print, and where a check says what is wrong.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BASE_TEXT_H
#define TENON_BASE_TEXT_H

#include <stdbool.h>
#include <stdint.h>

/* Where a check says what is wrong. */
typedef struct tni_problem {
    char *why;
    uint64_t capacity;
} tni_problem;
/* Says it; false, so that a check can end in it. */
bool tni_no(const tni_problem *, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool tni_text_valid(const char *text, uint64_t len); /* UTF-8 without control characters */
void tni_text_clean(char *text);                     /* makes it so, with '?' for what is not */
/* snprintf, then clean. */
void tni_text_format(char *out, uint64_t capacity, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
