/* report.h - what happened to one plugin, stage by stage.
 *
 * Invariants: a report is fixed memory, so writing one cannot fail; every text in it is clean UTF-8
 * without control characters. The first failure is kept.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_REPORT_H
#define TENON_LOADER_REPORT_H

#include <tenon/abi.h>

typedef enum tni_stage {
    TNI_STAGE_FOUND,
    TNI_STAGE_OWNER,
    TNI_STAGE_NOTE,
    TNI_STAGE_ABI,
    TNI_STAGE_PROBE,
    TNI_STAGE_DLOPEN,
    TNI_STAGE_VENDOR,
    TNI_STAGE_REGISTERED,
    TNI_STAGES
} tni_stage;

enum { TNI_DETAIL_BYTES = 512 };

typedef struct tni_report {
    tn_status code;                            /* TN_OK until a stage failed */
    tni_stage failed;                          /* which, if code != TN_OK */
    uint32_t passed;                           /* bit i: stage i passed */
    char detail[TNI_STAGES][TNI_DETAIL_BYTES]; /* of the failed stage: the cause */
    char fix[TNI_DETAIL_BYTES];                /* what to do about the failure, or "" */
} tni_report;

const char *tni_stage_name(tni_stage); /* "found" */

void tni_report_pass(tni_report *, tni_stage, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Keeps the first failure; returns its code. fix is copied. */
tn_status tni_report_fail(tni_report *, tni_stage, tn_status, const char *fix, const char *format,
                          ...) __attribute__((format(printf, 5, 6)));
/* Raises the failure as four lines: file, stage, cause, fix. Returns the pending code. */
tn_status tni_report_raise(const tni_report *, const char *path);

#endif
