/* tenon/abi_text.h - printf for texts that others read: a number has a point in it, whatever the
 * locale of the program says. For plugins, and what the core itself uses. No part of the border:
 * everything here is the includer's own.
 *
 * Needs what POSIX adds to C: without it (-std=c11 alone) numbers follow the locale.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_ABI_TEXT_H
#define TENON_ABI_TEXT_H

#include <locale.h>
#include <stdarg.h>
#include <stdio.h>

#if defined(__GNUC__)
#define TN_PRINTF(format_, args_) __attribute__((format(printf, format_, args_)))
#else
#define TN_PRINTF(format_, args_)
#endif

/* As vsnprintf. The thread's locale is another one only while it runs. */
TN_PRINTF(3, 0)
static inline int tn_vtext(char *out, size_t capacity, const char *format, va_list args) {
#if defined(LC_ALL_MASK)
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* always there, nothing is made */
    locale_t before = plain ? uselocale(plain) : (locale_t)0;
    int n = vsnprintf(out, capacity, format, args);
    if (plain) {
        uselocale(before);
        freelocale(plain);
    }
    return n;
#else
    return vsnprintf(out, capacity, format, args);
#endif
}

/* As snprintf. */
TN_PRINTF(3, 4)
static inline int tn_text(char *out, size_t capacity, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = tn_vtext(out, capacity, format, args);
    va_end(args);
    return n;
}

#endif
