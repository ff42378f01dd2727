/* lines.c - the driver of lines.h.
 *
 * Invariant: tiles and grains follow from shape and dtypes alone; plan and run compute them alike.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/kernels/lines.h"

#include "backends/cpu_blas/kernels/copy.h"
#include "backends/cpu_blas/kernels/ewise.h"
#include "backends/cpu_blas/kernels/kernels.h"

enum { TILE = 16, BLOCK = 256, MOST_GRAINS = 64, MOST_ROOM = 1 << 26 };

#define LINE_OP(op, outs, ins, types) [BLAS_LINE_##op] = {BLAS_LINE_##op, outs, ins, 0},
static const blas_line_op line_ops[BLAS_LINE_COUNT] = {
    BLAS_LINE_LIST(LINE_OP, , )[BLAS_LINE_sort] = {BLAS_LINE_sort, 2, 1, 32}};
#undef LINE_OP

/* False if the room for one tile overflows. */
static bool lay_out(const tn_call *c, blas_lines *l) {
    const blas_line_op *op = c->user;
    const tn_view *x = tnk_arg(c, 0);
    int64_t per_line = 0, cells = 0;
    *l = (blas_lines){.op = op, .n = x->sizes[1], .inner = x->sizes[2], .workspace = c->workspace};
    l->lines = l->n == 0 ? 0 : x->sizes[0] * l->inner;
    for (int k = 0; k < op->n_outs + op->n_ins; k++) {
        const tn_view *v =
            k < op->n_outs ? tnk_out(c, (uint32_t)k) : tnk_arg(c, (uint32_t)(k - op->n_outs));
        l->views[k] = v, l->bytes[k] = v->dtype.bits / 8, l->lanes[k] = tnk_max(4, l->bytes[k]);
        if (l->inner > 1 || l->bytes[k] < 4) l->part[k] = 1, cells += l->lanes[k];
    }
    cells += op->extra;
    if (__builtin_mul_overflow(cells, l->n, &per_line) || per_line > INT64_MAX / 64) return false;
    l->tile = l->inner > 1 ? tnk_min(TILE, l->inner) : 1;
    const int64_t groups = l->inner ? blas_pieces(l->inner, l->tile) : 0;
    l->tiles = l->n == 0 ? 0 : x->sizes[0] * groups;
    l->grain = tnk_max(1, TNK_GRAIN / tnk_max(1, l->n * l->tile));
    if (cells == 0 || l->tiles == 0) return true;
    for (int k = 0; k < BLAS_LINE_VIEWS; k++) /* a column of lines must not share cache sets */
        if (l->part[k]) l->part[k] = blas_round_up(l->n * l->lanes[k], 64) + 64;
    l->extra = blas_round_up(op->extra * l->n, 64);
    for (int k = 0; k < BLAS_LINE_VIEWS; k++) l->room += l->part[k] * l->tile;
    l->room += l->extra;
    const int64_t most = tnk_max(1, tnk_min(MOST_GRAINS, MOST_ROOM / l->room));
    l->grain = tnk_max(l->grain, blas_pieces(l->tiles, most));
    return true;
}

static tn_status lines_plan(tn_call *c, tn_plan *plan) {
    blas_lines l;
    if (!lay_out(c, &l))
        return tn_fail(c, TN_ERR_OVERFLOW, "the room for one line of the tensor overflows");
    plan->workspace_bytes =
        l.tiles ? (uint64_t)l.room * (uint64_t)blas_pieces(l.tiles, l.grain) : 0;
    return TN_OK;
}

/* ---- Lines to lanes, and back ---------------------------------------------------------------- */

static void *line_of(const blas_lines *l, int k, char *room, int64_t i) {
    return room + l->part[k] * i;
}

/* `count` neighbouring lines, the first item of the first one at `at`; store: from room to
 * items. */
static void turn(const blas_lines *l, int k, char *at, char *room, int64_t count, bool store) {
    const int64_t bytes = l->bytes[k], ld = l->part[k] / bytes;
    const blas_turn_fn turn_items = blas_code(copy)->turn[bytes == 8 ? 3 : 2];
    if (store)
        turn_items(count, l->n, at, l->inner, room, ld);
    else
        turn_items(l->n, count, room, ld, at, l->inner);
}

static void convert_line(const blas_lines *l, int k, char *at, char *lanes, bool store) {
    const int ix = tn_dtype_index(l->views[k]->dtype);
    const blas_convert_fn convert =
        store ? blas_code(ewise)->narrow[ix] : blas_code(ewise)->widen[ix];
    const int64_t bytes = l->bytes[k], step = l->inner * bytes;
    char block[BLOCK * 2];
    for (int64_t i = 0, m; i < l->n; i += m, at += m * step, lanes += m * l->lanes[k]) {
        m = tnk_min(BLOCK, l->n - i);
        char *items = step == bytes ? at : block;
        if (!store && items == block) blas_copy_items(block, bytes, at, step, m, bytes);
        if (store)
            convert(m, items, lanes);
        else
            convert(m, lanes, items);
        if (store && items == block) blas_copy_items(at, step, block, bytes, m, bytes);
    }
}

static void move_lines(const blas_lines *l, int k, int64_t element, char *room, int64_t count,
                       bool store) {
    char *at = tnk_at(l->views[k], element);
    if (l->part[k] == 0) return;
    if (l->bytes[k] >= 4) {
        turn(l, k, at, room, count, store);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        convert_line(l, k, at + i * l->bytes[k], line_of(l, k, room, i), store);
}

static void run_tile(const blas_lines *l, int64_t tile, char *room) {
    const int64_t groups = blas_pieces(l->inner, l->tile), first = tile % groups * l->tile;
    const int64_t count = tnk_min(l->tile, l->inner - first);
    const int64_t element = tile / groups * l->n * l->inner + first;
    const int n_outs = l->op->n_outs, n_views = n_outs + l->op->n_ins;
    char *rooms[BLAS_LINE_VIEWS];
    for (int k = 0; k < n_views; room += l->part[k++] * l->tile) {
        rooms[k] = room;
        if (k >= n_outs) move_lines(l, k, element, room, count, false);
    }
    for (int64_t i = 0; i < count; i++) {
        void *rows[BLAS_LINE_VIEWS];
        for (int k = 0; k < n_views; k++)
            rows[k] = l->part[k] ? line_of(l, k, rooms[k], i) : tnk_at(l->views[k], element + i);
        if (l->op->index == BLAS_LINE_sort)
            blas_sort_line(l, rows, room);
        else
            blas_code(lines)->line[l->op->index][blas_lane_type(l->views[n_outs]->dtype)](l->n,
                                                                                          rows);
    }
    for (int k = 0; k < n_outs; k++) move_lines(l, k, element, rooms[k], count, true);
}

static void tiles_range(void *arg, int64_t begin, int64_t end) {
    const blas_lines *l = arg;
    char *room = l->room ? l->workspace + begin / l->grain * l->room : NULL;
    for (; begin < end; begin++) run_tile(l, begin, room);
}

static tn_status lines_run(const void *plan, tn_call *c) {
    (void)plan;
    blas_lines l;
    if (!lay_out(c, &l) || l.tiles == 0) return TN_OK; /* the plan has seen to the first */
    l.descending = l.op->index == BLAS_LINE_sort && c->args[2].i != 0;
    if (l.tiles <= l.grain)
        tiles_range(&l, 0, l.tiles);
    else
        tn_plugin_host->parallel_for(tn_plugin_self, l.tiles, l.grain, c->max_threads, tiles_range,
                                     &l);
    return TN_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* clang-format off */
#define LINE(op_, n_args, mask)                                                                    \
    {BLAS_ROW(op_, n_args), .dtypes = mask, .user = &line_ops[BLAS_LINE_##op_],                    \
     .plan = lines_plan, .run = lines_run},
#define LINES(op_, outs, ins, mask) LINE(op_, ins + 1, mask)
static const tn_kernel rows[] = {
    BLAS_LINE_LIST(LINES, TN_MASK_ALL, TN_MASK_FLOAT)
    LINE(sort, 3, TN_MASK_ALL)
};
/* clang-format on */
const tnk_family blas_lines_rows = TNK_FAMILY(rows);
