/* capture.c - kernels recorded while a region runs, and run again without the rest of a call. A
 * layer that looks on, and nothing more: no other file knows of it.
 *
 * Invariant: a capture holds every storage its steps read or write, once, so no other tensor is in
 * that memory while it lives.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/abi_text.h>
#include <tenon/layers.h>

#include "core/base/error.h"
#include "core/base/heap.h"
#include "core/dispatch/layers.h"
#include "core/dispatch/step.h"
#include "core/memory/buffer.h"
#include "core/memory/device.h"
#include "core/memory/slab.h"
#include "core/tensor/generator.h"
#include "core/tensor/watch.h"

typedef struct draw { /* random numbers a call of the region reserved */
    tn_generator *generator;
    tn_rng at, now; /* in the region; in the replay under way */
    uint64_t counters;
} draw;

typedef struct made { /* a tensor that no op made: what was in it */
    tni_storage *storage;
    void *bytes;
} made;

typedef struct step { /* one run of a kernel */
    tni_step *run;
    int64_t draw;  /* which one it draws from, or -1: from a position that stays */
    uint64_t into; /* that one, so far */
} step;

typedef struct vector { /* of `bytes` each */
    void *items;
    uint64_t n, capacity;
} vector;

enum { RECORDING = 0x63617074, READY, BROKEN };

struct tn_capture {
    uint32_t state;
    uint64_t thread; /* that records */
    tn_layer layer;
    vector steps;         /* step */
    vector draws;         /* draw */
    vector makes;         /* made */
    vector held, written; /* tni_storage *, with a reference; without */
    void *workspace;
    uint64_t workspace_bytes;
    tni_outcome outcome;
    tn_status refused; /* why there is nothing to replay; TN_OK: nothing is wrong */
    char text[480];
};

static tni_slab slab = {(uint32_t)sizeof(tn_capture) | TNI_SLAB_PERMANENT, "capture", NULL};

static bool is_capture(const tn_capture *c, const char *where) {
    if (c && c->state >= RECORDING && c->state <= BROKEN) return true;
    tn_raise(c ? TN_ERR_STALE : TN_ERR_INVALID, "%s: the capture %s", where,
             c ? "was freed" : "is NULL");
    return false;
}

/* ---- Recording ------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static tn_status refuse(tn_capture *c, tn_status code,
                                                              const char *format, ...) {
    va_list list;
    va_start(list, format);
    if (c->refused == TN_OK) {
        c->refused = code;
        tn_vtext(c->text, sizeof c->text, format, list);
    }
    va_end(list);
    return tn_raise(c->refused, "%s", c->text);
}

static void no_memory(tn_capture *c) { refuse(c, TN_ERR_NOMEM, "no memory for the capture"); }

/* Room for one more; NULL + NOMEM. */
static void *vector_add(tn_capture *c, vector *v, uint64_t bytes) {
    if (v->n == v->capacity) {
        const uint64_t more = v->capacity ? 2 * v->capacity : 64;
        void *items = tni_realloc(v->items, v->capacity * bytes, more * bytes);
        if (!items) return no_memory(c), NULL;
        v->items = items;
        v->capacity = more;
    }
    return (char *)v->items + v->n++ * bytes;
}

static void hold(tn_capture *c, tni_storage *s, bool writes) {
    tni_storage **held = vector_add(c, &c->held, sizeof s);
    if (!held) return;
    *held = s;
    tni_storage_retain(s);
    tni_storage **written = writes ? vector_add(c, &c->written, sizeof s) : NULL;
    if (written) *written = s;
}

static void hold_all(tn_capture *c, const tni_frame *f) {
    for (uint32_t k = 0; k < f->v.n_operands; k++) {
        if (f->v.operands[k]) hold(c, f->v.operands[k]->storage, false);
        if (f->s->prepares && f->temporaries[k]) hold(c, f->temporaries[k]->storage, false);
    }
    for (uint32_t i = 0; i < f->n_results; i++) /* absent ones are NULL */
        if (f->results[i]) hold(c, f->results[i]->storage, true);
}

/* The latest draw that holds the position: a derivative draws again where its call did. */
static int64_t draw_of(const tn_capture *c, tn_rng at) {
    const draw *d = c->draws.items;
    for (int64_t i = (int64_t)c->draws.n; i-- > 0;)
        if (d[i].at.seed == at.seed && at.offset >= d[i].at.offset &&
            at.offset - d[i].at.offset < d[i].counters)
            return i;
    return -1;
}

static void record(tn_capture *c, const tni_frame *f) {
    tni_step *run = tni_step_new(f, &c->outcome);
    step *s = run ? vector_add(c, &c->steps, sizeof *s) : NULL;
    if (!s) {
        if (run) tni_step_free(run);
        no_memory(c);
        return;
    }
    *s = (step){run, f->has_rng ? draw_of(c, f->rng) : -1, 0};
    if (s->draw >= 0) s->into = f->rng.offset - ((draw *)c->draws.items)[s->draw].at.offset;
    const uint64_t workspace = tni_step_workspace(run);
    if (c->workspace_bytes < workspace) c->workspace_bytes = workspace;
    hold_all(c, f);
}

/* ---- What the layer is told ------------------------------------------------------------------ */

static tn_status on_run(void *user, const tn_run *run) {
    tni_frame *f = run->host_data;
    if (f->v.place != &tni_host) {
        char device[64];
        tni_device_text(f->v.place->device, device, sizeof device);
        return refuse(user, TN_ERR_UNSUPPORTED,
                      "capture: '%s' runs on %s; only the cpu is captured", run->op, device);
    }
    if (f->s->provider->row.flags & TN_KERNEL_NO_CAPTURE)
        return refuse(user, TN_ERR_UNSUPPORTED,
                      "capture: %s says that its kernel of '%s' cannot be repeated; use another "
                      "provider, or call it outside of the captured region",
                      run->provider, run->op);
    if (f->v.op->row.traits & TN_OP_DYNAMIC)
        return refuse(
            user, TN_ERR_UNSUPPORTED,
            "capture: the sizes of what '%s' gives depend on data; call it outside of the "
            "captured region",
            run->op);
    f->image->call.flags |= TN_CALL_CAPTURING;
    return TN_OK;
}

/* What is recorded is a call that nobody captures. */
static void on_ran(void *user, const tn_run *run) {
    tni_frame *f = run->host_data;
    tn_capture *c = user;
    f->image->call.flags &= ~(uint32_t)TN_CALL_CAPTURING;
    if (run->status == TN_OK && c->refused == TN_OK) record(c, f);
}

static void on_drew(void *user, tn_generator *g, tn_rng at, uint64_t counters) {
    tn_capture *c = user;
    draw *d = vector_add(c, &c->draws, sizeof *d);
    if (d) *d = (draw){g, at, at, counters};
}

/* A view shares its bytes with what it was made of. */
static void on_made(void *user, tn_tensor *t, const char *how) {
    tn_capture *c = user;
    (void)how;
    if (t->storage->bytes == 0 || t->storage != &t->own || t->storage->place != &tni_host) return;
    made *m = vector_add(c, &c->makes, sizeof *m);
    if (!m) return;
    *m = (made){t->storage, tni_alloc(t->storage->bytes)};
    if (m->bytes)
        memcpy(m->bytes, t->storage->data, t->storage->bytes);
    else
        no_memory(c);
    hold(c, t->storage, false);
}

static void on_touched(void *user, tn_tensor *t, const char *how) {
    (void)t;
    refuse(user, TN_ERR_UNSUPPORTED,
           "%s: a replay would not do this again; call it outside of the captured region", how);
}

/* ---- Begin and end --------------------------------------------------------------------------- */

tn_capture *tn_capture_begin(void) {
    if (tn_error() || tni_forked()) return NULL;
    tn_capture *c = tni_slab_get(&slab);
    if (!c) return tn_raise(TN_ERR_NOMEM, "tn_capture_begin: no memory"), NULL;
    memset(c, 0, sizeof *c);
    c->state = RECORDING;
    c->thread = tni_state_get()->thread;
    c->layer = (tn_layer){.size = sizeof c->layer,
                          .name = "capture",
                          .user = c,
                          .run = on_run,
                          .ran = on_ran,
                          .made = on_made,
                          .touched = on_touched,
                          .drew = on_drew};
    if (tn_layer_push(&c->layer) == TN_OK) return c;
    c->state = 0;
    tni_slab_put(&slab, c);
    return NULL;
}

static int by_address(const void *a, const void *b) {
    const tni_storage *x = *(tni_storage *const *)a, *y = *(tni_storage *const *)b;
    return (x > y) - (x < y);
}

/* Each storage once; what is dropped of `held` gives its reference back. */
static void keep_one_each(vector *v, bool referenced) {
    tni_storage **s = v->items;
    uint64_t kept = 0;
    if (v->n > 0) qsort(s, v->n, sizeof *s, by_address);
    for (uint64_t i = 0; i < v->n; i++) {
        if (kept == 0 || s[kept - 1] != s[i])
            s[kept++] = s[i];
        else if (referenced)
            tni_storage_release(s[i]);
    }
    v->n = kept;
}

/* Only what a kernel writes has to become again what it was. */
static void keep_written(tn_capture *c) {
    made *m = c->makes.items;
    uint64_t kept = 0;
    for (uint64_t i = 0; i < c->makes.n; i++) {
        const bool written = c->written.n && bsearch(&m[i].storage, c->written.items, c->written.n,
                                                     sizeof m->storage, by_address);
        if (written)
            m[kept++] = m[i];
        else
            tni_free(m[i].bytes);
    }
    c->makes.n = kept;
}

static bool workspace_get(tn_capture *c) {
    const step *s = c->steps.items;
    if (c->workspace_bytes > 0) {
        c->workspace = tni_buffer_alloc(&tni_host, c->workspace_bytes);
        if (!c->workspace) return false;
    }
    for (uint64_t i = 0; i < c->steps.n; i++) tni_step_set_workspace(s[i].run, c->workspace);
    return true;
}

/* Its layer is gone afterwards; false + error if it cannot be. */
static bool leave(tn_capture *c, const char *where) {
    if (c->thread == tni_state_get()->thread) return tni_layers_drop(&c->layer, where);
    tn_raise(TN_ERR_INVALID, "%s: another thread is recording", where);
    return false;
}

tn_status tn_capture_end(tn_capture *c) {
    if (!is_capture(c, "tn_capture_end")) return tn_error();
    if (c->state != RECORDING)
        return tn_raise(TN_ERR_INVALID, "tn_capture_end: the capture has ended already");
    if (!leave(c, "tn_capture_end")) return tn_error();
    c->state = BROKEN;
    if (c->refused != TN_OK) return tn_raise(c->refused, "%s", c->text);
    if (tn_error()) return tn_error();
    keep_one_each(&c->held, true);
    keep_one_each(&c->written, false);
    keep_written(c);
    if (!workspace_get(c))
        return tn_raise(TN_ERR_NOMEM, "tn_capture_end: no memory for %llu bytes of workspace",
                        (unsigned long long)c->workspace_bytes);
    c->state = READY;
    return TN_OK;
}

tn_status tn_capture_free(tn_capture *c) {
    if (!c) return tn_error();
    if (!is_capture(c, "tn_capture_free")) return tn_error();
    if (c->state == RECORDING && !leave(c, "tn_capture_free")) return tn_error();
    c->state = 0;
    const step *s = c->steps.items;
    for (uint64_t i = 0; i < c->steps.n; i++) tni_step_free(s[i].run);
    tni_storage **held = c->held.items;
    for (uint64_t i = 0; i < c->held.n; i++) tni_storage_release(held[i]);
    made *m = c->makes.items;
    for (uint64_t i = 0; i < c->makes.n; i++) tni_free(m[i].bytes);
    if (c->workspace) tni_buffer_free(&tni_host, c->workspace, c->workspace_bytes);
    vector *const all[] = {&c->steps, &c->draws, &c->makes, &c->held, &c->written};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) tni_free(all[i]->items);
    tni_slab_put(&slab, c);
    return tn_error();
}

int64_t tn_capture_runs(tn_capture *c) {
    return is_capture(c, "tn_capture_runs") ? (int64_t)c->steps.n : -1;
}

/* ---- Replay ---------------------------------------------------------------------------------- */

/* Random numbers go on; false + error if a generator was freed. */
static bool draw_again(const tn_capture *c) {
    draw *d = c->draws.items;
    for (uint64_t i = 0; i < c->draws.n; i++)
        d[i].now = tni_generator_reserve(d[i].generator, d[i].counters);
    return !tni_pending();
}

static void make_again(const tn_capture *c) {
    const made *m = c->makes.items;
    for (uint64_t i = 0; i < c->makes.n; i++)
        memcpy(m[i].storage->data, m[i].bytes, m[i].storage->bytes);
}

static void move_draw(const tn_capture *c, const step *s) {
    const tn_rng now = ((const draw *)c->draws.items)[s->draw].now;
    tni_step_draw(s->run, (tn_rng){now.seed, now.offset + s->into});
}

static tn_status run_all(tn_capture *c, tni_state *st) {
    const step *s = c->steps.items;
    const uint8_t head = st->head;
    tn_status status = TN_OK;
    uint64_t i = 0;
    c->outcome.text[0] = 0;
    atomic_store_explicit(&c->outcome.failed, TN_OK, memory_order_relaxed);
    st->head |= TNI_HEAD_KERNEL;
    for (; i < c->steps.n && status == TN_OK; i++) {
        if (s[i].draw >= 0) move_draw(c, &s[i]);
        status = tni_step_run(s[i].run, st);
    }
    st->head = head;
    if (status == TN_OK) return TN_OK;
    return tn_raise(status, "tn_replay: %s: %s", tni_step_op(s[i - 1].run),
                    c->outcome.text[0] ? c->outcome.text : "the kernel failed and gave no reason");
}

/* As after calls that write: who kept the old values for a backward pass finds that out. */
static void count_versions(const tn_capture *c) {
    tni_storage **s = c->written.items;
    for (uint64_t i = 0; i < c->written.n; i++)
        if (atomic_load_explicit(&s[i]->refs, memory_order_relaxed) > 1)
            atomic_fetch_add_explicit(&s[i]->version, 1, memory_order_acq_rel);
}

tn_status tn_replay(tn_capture *c) {
    tni_state *st = tni_state_get();
    if (st->error || !is_capture(c, "tn_replay") || tni_forked()) return tn_error();
    if (c->state != READY)
        return tn_raise(TN_ERR_INVALID, "tn_replay: the capture %s",
                        c->state == RECORDING ? "has not ended; call tn_capture_end"
                                              : "was refused, so there is nothing to replay");
    if (st->head & (TNI_HEAD_WORKER | TNI_HEAD_KERNEL))
        return tn_raise(TN_ERR_INVALID, "tn_replay: called inside of a kernel or a parallel loop");
    if (!tni_may_touch(NULL, "tn_replay") || !draw_again(c)) return tn_error();
    make_again(c);
    const tn_status status = run_all(c, st);
    count_versions(c);
    return status;
}
