/* generator.h - positions in a Philox4x32-10 stream, handed out atomically.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_TENSOR_GENERATOR_H
#define TENON_TENSOR_GENERATOR_H

#include <tenon/abi.h>

/* Reserves `counters` (of four words each) of g, or of the default generator if NULL. */
tn_rng tni_generator_reserve(tn_generator *g, uint64_t counters);

#endif
