/* tracer.c - what a thread calls, as a tree of text. A layer like any other: no other file knows of
 * it.
 *
 * A line is known when its call has returned, but stands above the lines of its parts: lines are
 * kept until the outermost call or derivative has ended, and then told in order.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <tenon/layers.h>

#include "core/base/heap.h"
#include "core/dispatch/layers.h"
#include "core/memory/slab.h"

enum { NAME_WIDTH = 32, SHAPES_WIDTH = 44, BY_WIDTH = 11, MOST_PER_LINE = 100, DEEPEST = 8 };
enum { LIVE = 0x74726163 };

typedef struct line {
    uint32_t depth;
    uint64_t outer; /* the line it is a part of, from 1; 0: none */
    const char *by; /* who ran it; NULL: it has parts, or is a view */
    uint64_t ns;    /* of its parts, too; while it is open: when it began */
    char name[NAME_WIDTH + 1];
    char shapes[SHAPES_WIDTH + 1];
} line;

struct tn_tracer {
    uint32_t state;  /* LIVE, or it has ended */
    uint64_t thread; /* whose calls it tells */
    tn_layer layer;
    tn_tracer_fn tell;
    void *user;
    line *lines;
    uint64_t n, capacity;
    uint64_t open; /* the innermost line that is open, from 1; 0: none */
    uint64_t lost; /* open, but left out: there was no memory for them */
};

static tni_slab slab = {(uint32_t)sizeof(tn_tracer) | TNI_SLAB_PERMANENT, "trace", NULL};

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- Texts ----------------------------------------------------------------------------------- */

typedef struct text {
    char *at;
    size_t n, room; /* with the NUL */
} text;

/* What does not fit is cut off, which "..." shows. */
static void put(text *t, const char *s) {
    const size_t n = strlen(s), left = t->room - 1 - t->n;
    memcpy(t->at + t->n, s, n < left ? n : left);
    t->n += n < left ? n : left;
    t->at[t->n] = 0;
    if (n > left && t->room > 3) memcpy(t->at + t->room - 4, "...", 3);
}

static void put_tensor(text *t, tn_tensor *x) {
    char dim[32];
    const int64_t rank = tn_rank(x), *sizes = tn_sizes(x);
    put(t, tn_dtype_name(tn_dtype_of(x)));
    for (int64_t d = 0; d < rank; d++) {
        snprintf(dim, sizeof dim, "%c%lld", d ? ',' : '[', (long long)sizes[d]);
        put(t, dim);
    }
    if (rank > 0) put(t, "]");
}

/* Of the values, the tensors; of lists, how many: "(2)". */
static void put_tensors(text *t, const tn_value *v, uint32_t n) {
    const char *between = "";
    for (uint32_t i = 0; i < n; i++) {
        char count[32];
        const bool list = v[i].tag == TN_TAG_TENSORS;
        if (!list && (v[i].tag != TN_TAG_TENSOR || !v[i].tensor)) continue;
        put(t, between);
        if (list) {
            snprintf(count, sizeof count, "(%u)", v[i].aux);
            put(t, count);
        } else {
            put_tensor(t, v[i].tensor);
        }
        between = " ";
    }
}

static void tell_line(const tn_tracer *t, const char *name, const char *shapes, const char *by,
                      const char *time) {
    char all[MOST_PER_LINE + 1];
    snprintf(all, sizeof all, "%-*s %-*s %-*.*s %9s", NAME_WIDTH, name, SHAPES_WIDTH, shapes,
             BY_WIDTH, BY_WIDTH, by, time);
    if (t->tell)
        t->tell(t->user, all);
    else
        fprintf(stderr, "%s\n", all);
}

static void tell_all(tn_tracer *t) {
    for (uint64_t i = 0; i < t->n; i++) {
        const line *l = &t->lines[i];
        const bool parts = i + 1 < t->n && l[1].depth > l->depth;
        char time[32];
        if (l->ns < 1000000)
            snprintf(time, sizeof time, "%.1f us", (double)l->ns * 1e-3);
        else
            snprintf(time, sizeof time, "%.1f ms", (double)l->ns * 1e-6);
        tell_line(t, l->name, l->shapes, l->by ? l->by : parts ? "" : "no kernel", time);
    }
    t->n = 0;
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static bool room_for_one(tn_tracer *t) {
    if (t->n < t->capacity) return true;
    const uint64_t more = t->capacity ? 2 * t->capacity : 64;
    line *lines = tni_realloc(t->lines, t->capacity * sizeof *lines, more * sizeof *lines);
    if (!lines) return false;
    t->lines = lines;
    t->capacity = more;
    return true;
}

/* Opens a line. One that there is no memory for is left out, with all that is inside of it. */
static void begin(tn_tracer *t, const char *before, const char *op) {
    if (t->lost > 0 || !room_for_one(t)) {
        t->lost++;
        return;
    }
    line *l = &t->lines[t->n++];
    *l = (line){.depth = t->open ? t->lines[t->open - 1].depth + 1 : 0, .outer = t->open};
    text name = {l->name, 0, sizeof l->name};
    for (uint32_t d = 0; d < l->depth && d < DEEPEST; d++) put(&name, "  ");
    put(&name, before);
    put(&name, op);
    t->open = t->n;
    l->ns = now_ns();
}

/* The line that is open; NULL if it was left out. */
static line *innermost(const tn_tracer *t) {
    return t->open && !t->lost ? &t->lines[t->open - 1] : NULL;
}

static void end(tn_tracer *t) {
    line *l = innermost(t);
    if (t->lost > 0) t->lost--;
    if (!l) return;
    l->ns = now_ns() - l->ns;
    t->open = l->outer;
    if (!t->open) tell_all(t);
}

/* ---- What the layer does --------------------------------------------------------------------- */

static void put_call(line *l, const tn_value *args, uint32_t n_args, const tn_value *outs,
                     uint32_t n_outs) {
    text shapes = {l->shapes, 0, sizeof l->shapes};
    put_tensors(&shapes, args, n_args);
    if (n_outs > 0) put(&shapes, " -> ");
    put_tensors(&shapes, outs, n_outs);
}

static void put_failure(line *l, tn_status status) {
    text shapes = {l->shapes, 0, sizeof l->shapes};
    put(&shapes, "failed: ");
    put(&shapes, tn_status_name(status));
    if (!l->by) l->by = "";
}

/* Arguments are checked by the call: what passed is alive. */
static tn_status on_call(void *user, tn_op_ref *op, const tn_value *args, uint32_t n_args,
                         tn_value *outs, uint32_t n_outs) {
    tn_tracer *t = user;
    begin(t, "", op->name);
    const tn_status status = tn_layer_pass(op, args, n_args, outs, n_outs);
    line *l = innermost(t);
    if (l && status == TN_OK) put_call(l, args, n_args, outs, n_outs);
    if (l && status != TN_OK) put_failure(l, status);
    end(t);
    return status;
}

static tn_status on_run(void *user, const tn_run *run) {
    line *l = innermost(user);
    if (l) l->by = run->provider;
    return TN_OK;
}

static void on_derivative(void *user, const char *op, bool begins) {
    if (begins)
        begin(user, "backward of ", op);
    else
        end(user);
}

/* ---- Begin and end --------------------------------------------------------------------------- */

tn_tracer *tn_tracer_begin(tn_tracer_fn tell, void *user) {
    if (tn_error() || tni_forked()) return NULL;
    tn_tracer *t = tni_slab_get(&slab);
    if (!t) return tn_raise(TN_ERR_NOMEM, "tn_tracer_begin: no memory"), NULL;
    *t = (tn_tracer){.state = LIVE,
                     .thread = tni_state_get()->thread,
                     .layer = {.size = sizeof t->layer,
                               .flags = TN_LAYER_PARTS | TN_LAYER_BACKWARD,
                               .name = "trace",
                               .user = t,
                               .call = on_call,
                               .run = on_run,
                               .derivative = on_derivative},
                     .tell = tell,
                     .user = user};
    if (tn_layer_push(&t->layer) == TN_OK) {
        tell_line(t, "CALL", "TENSORS", "BY", "TIME");
        return t;
    }
    t->state = 0;
    tni_slab_put(&slab, t);
    return NULL;
}

tn_status tn_tracer_end(tn_tracer *t) {
    if (!t) return tn_error();
    if (t->state != LIVE)
        return tn_raise(TN_ERR_STALE, "tn_tracer_end: the tracer has ended already");
    if (t->thread != tni_state_get()->thread)
        return tn_raise(TN_ERR_INVALID, "tn_tracer_end: the tracer is of another thread");
    if (!tni_layers_drop(&t->layer, "tn_tracer_end")) return tn_error();
    t->state = 0;
    tni_free(t->lines);
    tni_slab_put(&slab, t);
    return tn_error();
}
