/* advice.h - what to do about a plugin that cannot be loaded: one table for all stages.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_ADVICE_H
#define TENON_LOADER_ADVICE_H

#include "core/loader/report.h"

/* "" if there is nothing to say that the cause does not. Written into out, which it returns. */
const char *tni_advice(tni_stage, tn_status, const char *cause, char *out, uint64_t capacity);
/* Did the dynamic linker not find a library that a file needs? */
bool tni_library_missing(const char *cause);
/* Is errno one of those that say this process has too little of something, not that something is
 * wrong with the file? */
bool tni_is_shortage(int error);

#endif
