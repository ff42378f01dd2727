/* error.h - the pending error of this thread, as the library writes it.
 *
 * Invariant: the first error stays until it is cleared; success never writes the slot.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BASE_ERROR_H
#define TENON_BASE_ERROR_H

#include "core/base/state.h"

/* The pending error, or TN_OK; what tn_error answers, without a call. */
static inline tn_status tni_pending(void) { return tni_state_get()->error; }

/* As tn_raise, with a text that is there, of len bytes; returns the pending code. */
tn_status tni_raise_text(tn_status code, const char *text, uint64_t len);

/* Puts "what: " before the pending error's text, unless it begins with what. */
void tni_error_within(const char *what);
/* Puts texts before and after the pending error's. */
void tni_error_wrap(const char *before, const char *after);

/* The engine, hooks and callbacks run in a frame, which begins with no error pending. Leaving it
 * puts the outer error back if there was one, else keeps the inner one. */
typedef struct tni_error_frame {
    tn_status error;
    char *message;
} tni_error_frame;
tni_error_frame tni_error_frame_enter(void);
void tni_error_frame_leave(tni_error_frame);

#endif
