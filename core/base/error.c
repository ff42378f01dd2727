/* error.c - the pending error of each thread.
 *
 * Invariant: the first error stays until it is cleared; success never writes the slot. A message is
 * heap memory owned by the slot, or, when there was none to be had, the code's static text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tenon/abi_text.h>

#include "core/base/heap.h"

enum { MESSAGE_BYTES = 512, MESSAGE_LIMIT = 1 << 16 };

static const struct {
    const char *name, *text;
} statuses[] = {
#define STATUS_ROW(number, NAME, text) [number] = {#NAME, text},
    TN_STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};

static bool known(tn_status code) { return code >= 0 && code < (tn_status)TN_STATUS_COUNT; }

const char *tn_status_name(tn_status code) { return known(code) ? statuses[code].name : "UNKNOWN"; }

const char *tn_status_text(tn_status code) {
    return known(code) ? statuses[code].text : "unknown error";
}

static void drop_message(tn_status code, char *message) {
    if (message != tn_status_text(code)) tni_free(message);
}

tn_status tni_raise_text(tn_status code, const char *text, uint64_t len) {
    tni_state *st = tni_state_get();
    if (st->error) return st->error;
    st->error = code > 0 ? code : TN_ERR_INVALID;
    if (len > MESSAGE_LIMIT) len = MESSAGE_LIMIT;
    char *copy = text ? tni_alloc(len + 1) : NULL;
    if (copy) memcpy(copy, text, len);
    st->message = copy ? copy : (char *)(uintptr_t)tn_status_text(st->error);
    return st->error;
}

/* For the rare text that does not fit the caller's buffer. */
static tn_status raise_long(tn_status code, const char *format, va_list args, uint64_t len,
                            const char *cut) {
    if (len > MESSAGE_LIMIT) len = MESSAGE_LIMIT;
    char *text = tni_alloc(len + 1);
    if (!text) return tni_raise_text(code, cut, MESSAGE_BYTES - 1);
    tn_vtext(text, (size_t)len + 1, format, args);
    tn_status pending = tni_raise_text(code, text, len);
    tni_free(text);
    return pending;
}

void tni_error_wrap(const char *before, const char *after) {
    tni_state *st = tni_state_get();
    const char *text = tn_error_message();
    if (!st->error) return;
    const size_t bytes = strlen(before) + strlen(text) + strlen(after) + 1;
    char *whole = tni_alloc(bytes);
    if (!whole) return;
    snprintf(whole, bytes, "%s%s%s", before, text, after);
    drop_message(st->error, st->message);
    st->message = whole;
}

void tni_error_within(const char *what) {
    char before[MESSAGE_BYTES];
    const char *text = tn_error_message();
    const size_t n = strlen(what);
    if (strncmp(text, what, n) == 0 && text[n] == ':') return;
    snprintf(before, sizeof before, "%s: ", what);
    tni_error_wrap(before, "");
}

tn_status tn_raise(tn_status code, const char *format, ...) {
    if (tni_state_get()->error) return tni_state_get()->error;
    if (!format) return tni_raise_text(code, NULL, 0);
    char text[MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    int n = tn_vtext(text, sizeof text, format, args);
    va_end(args);
    if (n < 0) return tni_raise_text(code, NULL, 0);
    if (n < MESSAGE_BYTES) return tni_raise_text(code, text, (uint64_t)n);
    va_start(args, format);
    tn_status pending = raise_long(code, format, args, (uint64_t)n, text);
    va_end(args);
    return pending;
}

tn_status tn_error(void) { return tni_state_get()->error; }

const char *tn_error_message(void) {
    const tni_state *st = tni_state_get();
    return st->error && st->message ? st->message : "";
}

void tn_clear_error(void) {
    tni_state *st = tni_state_get();
    if (st->message) drop_message(st->error, st->message);
    st->error = TN_OK;
    st->message = NULL;
}

tni_error_frame tni_error_frame_enter(void) {
    tni_state *st = tni_state_get();
    tni_error_frame outer = {st->error, st->message};
    st->error = TN_OK;
    st->message = NULL;
    return outer;
}

void tni_error_frame_leave(tni_error_frame outer) {
    if (!outer.error) return;
    tn_clear_error();
    tni_state *st = tni_state_get();
    st->error = outer.error;
    st->message = outer.message;
}
