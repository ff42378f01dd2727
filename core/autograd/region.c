/* region.c - taking a part out of a tensor and putting it back, as two ops of the core's own.
 *
 * Views of any kind are parts: a geometry over the base's elements. `part` reads one, `with_part`
 * replaces one; each is the other's derivative, so that in-place writes on views differentiate any
 * number of times. They are not in the registry: nobody calls them by name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/region.h"

#include <string.h>

#include "core/autograd/ctx.h"
#include "core/base/geometry.h"
#include "core/dispatch/core_ops.h"
#include "core/tensor/quiet.h"
#include "core/tensor/scope.h"

enum { REGION_WORDS = sizeof(tni_region) / 8 };
_Static_assert(sizeof(tni_region) % 8 == 0, "a region travels as a list of integers");

static void part_derivative(tn_grad_ctx *);
static void with_part_derivative(tn_grad_ctx *);

static const tni_op part_op = {.row = {.size = sizeof(tn_op),
                                       .traits = TN_OP_VIEW,
                                       .schema = "part(Tensor whole, int[] region) -> Tensor y",
                                       .derivative = part_derivative},
                               .schema = {.name = "part",
                                          .n_params = 2,
                                          .n_results = 1,
                                          .n_visible = 1,
                                          .params = {{.name = "whole", .type = TNI_TENSOR},
                                                     {.name = "region", .type = TNI_INTS}},
                                          .results = {{.name = "y"}}}};

static const tni_op with_part_op = {
    .row = {.size = sizeof(tn_op),
            .schema = "with_part(Tensor? whole, Tensor? part, int[] region) -> Tensor y",
            .derivative = with_part_derivative},
    .schema = {.name = "with_part",
               .n_params = 3,
               .n_results = 1,
               .n_visible = 1,
               .params = {{.name = "whole", .type = TNI_TENSOR, .optional = true},
                          {.name = "part", .type = TNI_TENSOR, .optional = true},
                          {.name = "region", .type = TNI_INTS}},
               .results = {{.name = "y"}}}};

static tn_value region_value(const tni_region *r, int64_t *words) {
    memcpy(words, r, sizeof *r);
    return tn_value_ints((tn_ints){words, REGION_WORDS});
}

static void part_derivative(tn_grad_ctx *ctx) {
    tni_region r;
    tn_tensor *g = tni_ctx_grad_out(ctx, 0);
    const tn_value v = tni_ctx_grad_arg(ctx, "region");
    if (!g || v.tag != TN_TAG_INTS) return;
    memcpy(&r, v.ints, sizeof r);
    tni_ctx_grad_set(ctx, "whole", tni_region_put(NULL, g, &r, g->storage->place));
}

static void with_part_derivative(tn_grad_ctx *ctx) {
    tni_region r;
    tn_tensor *g = tni_ctx_grad_out(ctx, 0);
    const tn_value v = tni_ctx_grad_arg(ctx, "region");
    if (!g || v.tag != TN_TAG_INTS) return;
    memcpy(&r, v.ints, sizeof r);
    if (tni_ctx_grad_needs(ctx, "whole"))
        tni_ctx_grad_set(ctx, "whole", tni_region_put(g, NULL, &r, g->storage->place));
    if (tni_ctx_grad_needs(ctx, "part")) tni_ctx_grad_set(ctx, "part", tni_region_get(g, &r));
}

tni_node *tni_region_node(tn_tensor *whole, const tni_region *r) {
    int64_t words[REGION_WORDS];
    const tn_value args[] = {tn_value_tensor(whole), region_value(r, words)};
    return tni_node_new(&part_op, args, 2, NULL);
}

void tni_region_of(const tn_tensor *whole, const tn_tensor *part, tni_region *out) {
    memset(out, 0, sizeof *out);
    tni_tensor_meta(whole, &out->whole);
    tni_tensor_meta(part, &out->part);
    out->whole.offset = 0;
    out->part.offset = part->offset - whole->offset;
}

static bool is_empty(const tn_meta *m) {
    for (int32_t i = 0; i < m->rank; i++)
        if (m->sizes[i] == 0) return true;
    return false;
}

static bool is_plain(const tn_meta *m) { return tni_contiguous(m->sizes, m->strides, m->rank); }

/* ---- A buffer laid out like the base -------------------------------------------------------- */

typedef struct canvas {
    tn_tensor *whole; /* has the base's geometry; owned */
    tn_meta part;     /* of the part, offset counted from whole's first element */
} canvas;

/* A base without holes becomes a plain tensor; else one row long enough, and a view of it. */
static bool canvas_new(canvas *c, const tni_region *r, tn_dtype dtype, tni_place *place,
                       bool zeros) {
    const bool plain = is_plain(&r->whole);
    tn_meta m = r->whole;
    m.dtype = dtype;
    c->part = r->part;
    c->part.dtype = dtype;
    int64_t low = 0, high = 0;
    if (!plain) {
        tni_reach(m.sizes, m.strides, m.rank, &low, &high);
        m.rank = 1;
        m.sizes[0] = high - low + 1;
    }
    tn_tensor *buffer = zeros || !plain
                            ? tni_core_filled(&m, place, 0)
                            : tni_tensor_new(dtype, m.rank, m.sizes, tni_place_current(place));
    if (plain || !buffer) return (c->whole = buffer) != NULL;
    m = r->whole;
    m.dtype = dtype;
    m.offset = -low;
    c->whole = tni_tensor_view(buffer, &m);
    tni_tensor_release(buffer);
    return c->whole != NULL;
}

static bool add_into(tn_tensor *whole, const tn_meta *part, tn_tensor *from);

/* The part minus its first dim, once per index: ends when nothing overlaps. */
static bool add_by_rows(tn_tensor *whole, const tn_meta *part, tn_tensor *from) {
    tn_meta row = *part, from_row;
    tni_tensor_meta(from, &from_row);
    const int64_t n = part->sizes[0], step = part->strides[0], from_step = from_row.strides[0];
    row.rank--, from_row.rank--;
    memmove(row.sizes, row.sizes + 1, sizeof row.sizes - sizeof *row.sizes);
    memmove(row.strides, row.strides + 1, sizeof row.strides - sizeof *row.strides);
    memmove(from_row.sizes, from_row.sizes + 1, sizeof row.sizes - sizeof *row.sizes);
    memmove(from_row.strides, from_row.strides + 1, sizeof row.strides - sizeof *row.strides);
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++, row.offset += step, from_row.offset += from_step) {
        tn_tensor *slice = tni_tensor_view(from, &from_row);
        ok = slice && add_into(whole, &row, slice);
        tni_tensor_release(slice);
    }
    return ok;
}

static bool add_into(tn_tensor *whole, const tn_meta *part, tn_tensor *from) {
    if (tni_overlaps(part->sizes, part->strides, part->rank)) return add_by_rows(whole, part, from);
    tn_tensor *view = tni_tensor_view(whole, part);
    if (!view) return false;
    const tn_status status = tni_core_add_into(view, from);
    tni_tensor_release(view);
    return status == TN_OK;
}

static bool copy_part(tn_tensor *whole, const tn_meta *part, tn_tensor *from) {
    tn_tensor *view = tni_tensor_view(whole, part);
    if (!view) return false;
    const tn_status status = from ? tni_core_copy_into(view, from) : tni_core_fill(view, 0);
    tni_tensor_release(view);
    return status == TN_OK;
}

/* ---- The two ops; unrecorded, refs 1 -------------------------------------------------------- */

static tn_tensor *get(tn_tensor *whole, const tni_region *r) {
    tn_meta m = r->part;
    m.dtype = whole->dtype;
    if (whole->flags & TNI_CONTIGUOUS && is_plain(&r->whole)) return tni_tensor_view(whole, &m);
    canvas c;
    if (!canvas_new(&c, r, whole->dtype, whole->storage->place, false)) return NULL;
    tn_tensor *part = NULL;
    if (tni_core_copy_into(c.whole, whole) == TN_OK) part = tni_tensor_view(c.whole, &c.part);
    tni_tensor_release(c.whole);
    return part;
}

static tn_tensor *put(tn_tensor *whole, tn_tensor *part, const tni_region *r, tni_place *place) {
    canvas c;
    const tn_dtype dtype = whole ? whole->dtype : part ? part->dtype : r->whole.dtype;
    if (!canvas_new(&c, r, dtype, place, !whole)) return NULL;
    bool ok = !whole || tni_core_copy_into(c.whole, whole) == TN_OK;
    if (ok && !is_empty(&r->part)) {
        if (part && tni_overlaps(c.part.sizes, c.part.strides, c.part.rank))
            ok = add_into(c.whole, &c.part, part);
        else
            ok = copy_part(c.whole, &c.part, part);
    }
    if (ok) return c.whole;
    tni_tensor_release(c.whole);
    return NULL;
}

/* Takes over `made` and its node (NULL = not recorded). */
static tn_tensor *finish(tni_node *node, tn_tensor *made) {
    if (!made) {
        tni_tape_abandon(node);
        return NULL;
    }
    if (node && tni_tape_finish(node, &made, 1)) {
        tni_tensor_release(made);
        return NULL;
    }
    return tni_scope_own(made);
}

tn_tensor *tni_region_get(tn_tensor *whole, const tni_region *r) {
    const tn_value arg = tn_value_tensor(whole);
    tni_node *node = NULL;
    if (tni_tape_wanted(&arg, 1) && !(node = tni_region_node(whole, r))) return NULL;
    const tni_quiet quiet = tni_quiet_begin();
    tn_tensor *part = get(whole, r);
    tni_quiet_end(quiet);
    return finish(node, part);
}

tn_tensor *tni_region_put(tn_tensor *whole, tn_tensor *part, const tni_region *r,
                          tni_place *place) {
    int64_t words[REGION_WORDS];
    const tn_value args[] = {tn_value_tensor(whole), tn_value_tensor(part), region_value(r, words)};
    tni_node *node = NULL;
    if (tni_tape_wanted(args, 2) && !(node = tni_node_new(&with_part_op, args, 3, NULL)))
        return NULL;
    const tni_quiet quiet = tni_quiet_begin();
    tn_tensor *y = put(whole, part, r, place);
    tni_quiet_end(quiet);
    return finish(node, y);
}
