/* log.h - one line on standard error, if the level asks for it (TENON_LOG=error|warn|info|debug;
 * default warn).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BASE_LOG_H
#define TENON_BASE_LOG_H

#include <tenon/abi.h>

bool tni_log_wanted(int32_t level); /* would a line of this level be written? */
/* who: a plugin's id, or "" for the core. Control characters are made harmless. */
void tni_log(int32_t level, const char *who, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
