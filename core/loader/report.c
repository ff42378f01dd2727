/* report.c - stage reports, and cleaning of texts that come from files and plugins.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tenon/abi_text.h>

#include "core/base/state.h"

static const char *const stage_names[TNI_STAGES] = {"found", "owner",  "note",   "abi",
                                                    "probe", "dlopen", "vendor", "registered"};

const char *tni_stage_name(tni_stage s) { return (unsigned)s < TNI_STAGES ? stage_names[s] : "?"; }

void tni_report_pass(tni_report *r, tni_stage stage, const char *format, ...) {
    va_list list;
    va_start(list, format);
    tn_vtext(r->detail[stage], TNI_DETAIL_BYTES, format, list);
    va_end(list);
    tni_text_clean(r->detail[stage]);
    r->passed |= 1u << stage;
}

tn_status tni_report_fail(tni_report *r, tni_stage stage, tn_status code, const char *fix,
                          const char *format, ...) {
    if (r->code != TN_OK) return r->code;
    va_list list;
    va_start(list, format);
    tn_vtext(r->detail[stage], TNI_DETAIL_BYTES, format, list);
    va_end(list);
    tni_text_clean(r->detail[stage]);
    tni_text_format(r->fix, sizeof(r->fix), "%s", fix ? fix : "");
    r->passed &= ~(1u << stage);
    r->failed = stage;
    r->code = code == TN_OK ? TN_ERR_INTERNAL : code;
    return r->code;
}

tn_status tni_report_raise(const tni_report *r, const char *path) {
    char file[TNI_DETAIL_BYTES];
    tni_text_format(file, sizeof(file), "%s", path);
    return tn_raise(r->code, "cannot load plugin '%s'\n  stage: %s\n  cause: %s%s%s", file,
                    tni_stage_name(r->failed), r->detail[r->failed], r->fix[0] ? "\n  fix:   " : "",
                    r->fix);
}

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
