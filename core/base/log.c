/* log.c - where log lines go. Invariant: one write per line, so lines of several threads do not
 * mix.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tenon/abi_text.h>

static const char *const names[] = {"error", "warn", "info", "debug"};

static int32_t level_wanted(void) {
    static _Atomic int32_t level =
        -1; /* read once: the environment may not be read while others write it */
    int32_t known = atomic_load_explicit(&level, memory_order_relaxed);
    if (known >= 0) return known;
    const char *text = secure_getenv("TENON_LOG");
    known = TN_LOG_WARN;
    for (int32_t i = 0; text && i < 4; i++)
        if (strcmp(text, names[i]) == 0) known = i;
    atomic_store_explicit(&level, known, memory_order_relaxed);
    return known;
}

bool tni_log_wanted(int32_t level) {
    return level >= 0 && level <= TN_LOG_DEBUG && level <= level_wanted();
}

void tni_log(int32_t level, const char *who, const char *format, ...) {
    if (!tni_log_wanted(level)) return;
    char line[1200];
    int n =
        snprintf(line, sizeof line, "tenon: %s: %.64s%s", names[level], who, who[0] ? ": " : "");
    va_list args;
    va_start(args, format);
    int m = tn_vtext(line + n, sizeof line - (size_t)n - 1, format, args);
    va_end(args);
    if (m < 0) return;
    size_t end = (size_t)n + (size_t)m;
    if (end > sizeof line - 2) end = sizeof line - 2;
    for (size_t i = 0; i < end; i++)
        if ((unsigned char)line[i] < ' ' && line[i] != '\n') line[i] = '?';
    line[end++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, end);
    (void)written; /* nothing sensible is left to do when standard error is gone */
}
