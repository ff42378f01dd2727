/* ctype.h - how an argument of an op is spelled in C.
 *
 * In two ways: as an option, where a zeroed field means the default; and in full, where every
 * argument is given, and what may be absent says itself whether it is there.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPGEN_CTYPE_H
#define TENON_OPGEN_CTYPE_H

#include <stdio.h>

#include "core/schema/schema.h"

/* ---- Options, and arguments without default -------------------------------------------------- */

const char *opgen_option_type(const tni_param *); /* "tn_maybe_int ": what stands before the name */
bool opgen_option_is_maybe(const tni_param *);    /* a tn_maybe_*: 0 is a value of its own */
/* What must be true of the field for it to be there, as a suffix; NULL: nothing. */
const char *opgen_option_set(const tni_param *);
const char *opgen_value_maker(const tni_param *); /* "tn_int": from the C value to a tn_value */

/* ---- In full --------------------------------------------------------------------------------- */

/* More arguments than a reader can count off: they come as a struct, STEM_NAME_args. */
enum { TNI_MAX_POSITIONAL = 8 };
bool opgen_is_wide(const tni_schema *);

const char *opgen_full_type(const tni_param *);
const char *opgen_full_taker(const tni_param *); /* "tnk_as_int": from a tn_value to the C value */
const char *
opgen_full_maker(const tni_param *); /* "tn_int", "tnk_of_maybe_int": back; "": as it is */
/* Would both be called in the same way from C? Names do not matter. */
bool opgen_same_full(const tni_schema *, const tni_schema *);

#endif
