/* results.h - what a call returns, before it runs: sizes by the shape rule, absent ones, aliases.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_DISPATCH_RESULTS_H
#define TENON_DISPATCH_RESULTS_H

#include "core/dispatch/resolve.h"

bool tni_results_infer(tni_resolution *); /* by the shape rule, if there is one. Raises */
/* Checked, into the signature's outputs: lists entry by entry. Raises. */
bool tni_results_fill(tni_resolution *);

#endif
