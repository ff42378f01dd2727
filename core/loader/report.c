/* report.c - see report.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tenon/abi_text.h>
#include <tenon/tenon.h>

#include "core/base/text.h"

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
    tni_text_format(r->fix, sizeof r->fix, "%s", fix ? fix : "");
    r->passed &= ~(1u << stage);
    r->failed = stage;
    r->code = code == TN_OK ? TN_ERR_INTERNAL : code;
    return r->code;
}

tn_status tni_report_raise(const tni_report *r, const char *path) {
    char file[TNI_DETAIL_BYTES];
    tni_text_format(file, sizeof file, "%s", path);
    return tn_raise(r->code, "cannot load plugin '%s'\n  stage: %s\n  cause: %s%s%s", file,
                    tni_stage_name(r->failed), r->detail[r->failed], r->fix[0] ? "\n  fix:   " : "",
                    r->fix);
}
