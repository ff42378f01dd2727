/* lines.h - ops of the form `along`: what is done to one line is done to all, with any inner
 * dims and any dtype.
 *
 * A line is handed over as lanes (blas_lane_type) side by side. Lines that are not so in memory
 * go through room of the workspace: neighbouring ones are turned together, narrow items are
 * widened, and results go the same way back. Lines are independent, and each is one thread's.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_CPU_BLAS_LINES_H
#define TENON_CPU_BLAS_LINES_H

#include "backends/cpu_blas/kernels/kernels.h"

/* ROW(op, results, operands, ANY or FLOATS): what is done to one line, and of which types. Lines
 * are of lanes (blas_lane_type), results first; n >= 1. */
#define BLAS_LINE_LIST(ROW, ANY, FLOATS)                                                           \
    ROW(softmax, 1, 1, FLOATS)                                                                     \
    ROW(log_softmax, 1, 1, FLOATS)                                                                 \
    ROW(softmax_bwd, 1, 2, FLOATS)                                                                 \
    ROW(log_softmax_bwd, 1, 2, FLOATS)                                                             \
    ROW(cumsum, 1, 1, ANY)                                                                         \
    ROW(cumprod, 1, 1, ANY)                                                                        \
    ROW(cummax, 2, 1, ANY)                                                                         \
    ROW(cummin, 2, 1, ANY)                                                                         \
    ROW(linear_scan, 1, 2, FLOATS)

#define BLAS_LINE_ENUM(op, outs, ins, types) BLAS_LINE_##op,
enum { BLAS_LINE_LIST(BLAS_LINE_ENUM, , ) BLAS_LINE_sort, BLAS_LINE_COUNT };
#undef BLAS_LINE_ENUM

typedef struct blas_lines_code {
    void (*line[BLAS_LINE_sort][BLAS_LANE_TYPES])(int64_t n, void *const *rows);
} blas_lines_code;
BLAS_CODE(lines)

enum { BLAS_LINE_VIEWS = 3 };

typedef struct blas_line_op { /* tn_kernel.user of the rows */
    uint8_t index;            /* BLAS_LINE_* */
    uint8_t n_outs, n_ins;    /* tensors; in a line, results come first */
    uint8_t extra;            /* bytes of room per element, for the op itself */
} blas_line_op;

typedef struct blas_lines {
    const blas_line_op *op;
    const tn_view *views[BLAS_LINE_VIEWS];
    int64_t lines, n, inner;
    int64_t tile, tiles; /* lines turned together; tiles in all */
    int64_t grain;       /* tiles a thread takes at a time; each grain has its room */
    int64_t lanes[BLAS_LINE_VIEWS], bytes[BLAS_LINE_VIEWS]; /* bytes of one lane, of one item */
    int64_t part[BLAS_LINE_VIEWS]; /* bytes of one line of lanes in the room; 0: not needed */
    int64_t extra, room;           /* bytes the op itself wants, all of one grain */
    bool descending;
    char *workspace;
} blas_lines;

/* rows: lanes of the line, results first. room: extra * n bytes. */
typedef void (*blas_line_fn)(int64_t n, void *const *rows);
void blas_sort_line(const blas_lines *, void *const *rows, void *room);

#endif
