/* header.h - writes NAME_ops.h, the typed C wrappers of an op library.
 *
 * One writer for opgen (from NAME.ops, at build time) and `tenon bindgen LIB.so` (from the
 * library's note, which nobody need trust: schemas are parsed again and all text is escaped).
 * Invariant: what is written compiles as C11 and C++17 without warnings.
 *
 * TN_NOTE_SCHEMAS is a text of lines "schema\tdoc\tflags\n". flags: words joined by commas,
 * possibly none; `inplace` = the op has a twin NAME_; unknown words are ignored. Fields after flags
 * are ignored too.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_OPGEN_HEADER_H
#define TENON_OPGEN_HEADER_H

#include <stdio.h>

#include <tenon/abi.h>

typedef struct opgen_header_op {
    const char *schema;
    const char *doc;
    bool inplace; /* TN_OP_INPLACE */
} opgen_header_op;

/* stem: "math" for math_ops.h. INVALID or FORMAT + why (which op, what); IO if out failed. */
tn_status opgen_write_header(FILE *out, const char *stem, const opgen_header_op *ops,
                             uint32_t n_ops, char *why, uint64_t capacity);
/* note: the text, up to its first NUL or `bytes`. */
tn_status opgen_write_header_from_note(FILE *out, const char *stem, const char *note,
                                       uint64_t bytes, char *why, uint64_t capacity);

#endif
