/* text.c - see text.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/base/text.h"

#include <stdarg.h>
#include <string.h>

#include <tenon/abi_text.h>

/* Length of the valid, printable UTF-8 character at s (1..4), or 0. */
static uint32_t character(const unsigned char *s, uint64_t len) {
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f;
    uint32_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > len) return 0;
    uint32_t code = s[0] & (0x7fu >> n);
    for (uint32_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    static const uint32_t least[5] = {0, 0, 0xa0, 0x800, 0x10000}; /* 0x80..0x9f are controls */
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code >= least[n] && code <= 0x10ffff && !surrogate ? n : 0;
}

bool tni_text_valid(const char *text, uint64_t len) {
    for (uint64_t i = 0; i < len;) {
        uint32_t n = character((const unsigned char *)text + i, len - i);
        if (n == 0) return false;
        i += n;
    }
    return true;
}

void tni_text_clean(char *text) {
    uint64_t len = strlen(text);
    for (uint64_t i = 0; i < len;) {
        uint32_t n = character((const unsigned char *)text + i, len - i);
        if (n == 0) text[i] = text[i] == '\n' || text[i] == '\t' ? ' ' : '?';
        i += n ? n : 1;
    }
}

void tni_text_format(char *out, uint64_t capacity, const char *format, ...) {
    va_list list;
    va_start(list, format);
    tn_vtext(out, capacity, format, list);
    va_end(list);
    tni_text_clean(out);
}

bool tni_no(const tni_problem *p, const char *format, ...) {
    va_list list;
    va_start(list, format);
    if (p->capacity > 0) tn_vtext(p->why, p->capacity, format, list);
    va_end(list);
    return false;
}
