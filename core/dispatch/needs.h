/* needs.h - what a provider needs of arguments to say yes, met by copies that can be taken back.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_NEEDS_H
#define TENON_DISPATCH_NEEDS_H

#include "core/dispatch/resolve.h"

typedef struct tni_operand_was {
    tni_operand operand;
    tni_geometry geometry;
} tni_operand_was;

typedef struct tni_needs {
    tni_operand_was *before; /* all operands; NULL: none has changed */
} tni_needs;

/* Copies what is not as the verdict asks. False: that is not to be had, and nothing has changed; or
 * NOMEM is raised. */
bool tni_needs_meet(tni_resolution *, const tn_verdict *, tni_needs *);
/* For a provider that does not run the call after all. False + NOMEM. */
bool tni_needs_undo(tni_resolution *, tni_needs *);
/* For the one that does: tells of the copies. */
void tni_needs_keep(const tni_resolution *, const tni_provider *, tni_needs *);

#endif
