/* registry.c - commits rows in one step, answers look-ups without locks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/registry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/heap.h"
#include "core/base/state.h"
#include "core/base/text.h"
#include "core/dispatch/directory.h"
#include "core/dispatch/pin.h"
#include "core/dispatch/rows.h"
#include "core/memory/device.h"

static _Atomic uint64_t epoch;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* writers */

/* ---- Looking up ------------------------------------------------------------------------------ */

static int32_t published(const tni_directory *d) {
    return atomic_load_explicit(&d->n, memory_order_acquire);
}

static const tni_chain *chain_of(const tni_entry *e) {
    return atomic_load_explicit(&e->chain, memory_order_acquire);
}

uint64_t tni_registry_epoch(void) { return atomic_load_explicit(&epoch, memory_order_acquire); }

int32_t tni_registry_last_id(void) { return published(tni_directory_current()); }

const tni_op *tni_registry_op(int32_t id) {
    const tni_directory *d = tni_directory_current();
    return id >= 1 && id <= published(d) ? d->entries[id - 1].op : NULL;
}

const tni_op *tni_registry_find(const char *name) {
    const tni_directory *d = tni_directory_current();
    const int32_t id = tni_directory_find(d, published(d), name);
    return id ? d->entries[id - 1].op : NULL;
}

uint64_t tni_registry_providers(const tni_op *op, int32_t device_kind, const tni_provider **out,
                                uint64_t capacity) {
    const tni_chain *c = chain_of(&tni_directory_current()->entries[op->base->id - 1]);
    const int32_t pin = tni_state_get()->pin;
    uint64_t n = 0;
    for (int pass = 0; pass < 2 && c; pass++) {
        for (uint64_t i = 0; i < c->n && n < capacity; i++) {
            const tni_provider *p = c->items[i];
            int32_t kind = p->device_kind ? p->device_kind : tni_device_kind_find(p->row.device);
            if (kind == device_kind && tni_pinned(p, pin) == (pass == 0)) out[n++] = p;
        }
    }
    return n;
}

/* ---- A transaction: everything new, made aside ----------------------------------------------- */

typedef struct batch { /* the kernels of a transaction for one op */
    const char *op;
    const tni_chain *chain; /* with them; owned until published */
} batch;

typedef struct transaction {
    const tni_rows *rows;
    tni_op **ops; /* twins included, in order of name; owned until published */
    uint32_t n_ops;
    tni_provider *providers; /* one per kernel row; owned until published */
    tni_provider **kernels;  /* the same in order of op, device and name */
    batch *batches;
    uint32_t n_batches;
} transaction;

static void transaction_free(transaction *t) {
    for (uint32_t i = 0; i < t->n_ops; i++) tni_op_free(t->ops[i]);
    for (uint32_t i = 0; i < t->n_batches; i++) tni_free((void *)(uintptr_t)t->batches[i].chain);
    tni_free(t->ops);
    tni_free(t->providers);
    tni_free(t->kernels);
    tni_free(t->batches);
}

static tn_status out_of_memory(const transaction *t, const tni_problem *p) {
    return tni_row_refuse(p, TN_ERR_NOMEM, t->rows->plugin, "", "out of memory");
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const tni_op *const *)a)->schema.name,
                  (*(const tni_op *const *)b)->schema.name);
}

static int name_against(const void *name, const void *op) {
    return strcmp(name, (*(const tni_op *const *)op)->schema.name);
}

/* The op of this name, of the transaction or registered before; NULL: none yet. */
static const tni_op *op_named(const transaction *t, const char *name) {
    tni_op *const *found =
        t->n_ops ? bsearch(name, t->ops, t->n_ops, sizeof *t->ops, name_against) : NULL;
    return found ? *found : tni_registry_find(name);
}

static tn_status ops_parse(transaction *t, const tni_problem *p) {
    t->ops = tni_alloc(2 * (uint64_t)t->rows->n_ops * sizeof *t->ops + 8);
    if (!t->ops) return out_of_memory(t, p);
    for (uint32_t i = 0; i < t->rows->n_ops; i++) {
        tni_op *op = tni_alloc(sizeof *op);
        if (!op) return out_of_memory(t, p);
        tn_status s = tni_op_parse(op, &t->rows->ops[i], p);
        if (s != TN_OK) {
            tni_free(op);
            return s;
        }
        op->plugin = t->rows->plugin;
        t->ops[t->n_ops++] = op;
        if (!(op->row.traits & TN_OP_INPLACE)) continue;
        tni_op *twin = tni_op_twin(op);
        if (!twin)
            return tni_row_refuse(p, TN_ERR_NOMEM, op->schema.name, "",
                                  "out of memory, or the name is too long for a twin");
        t->ops[t->n_ops++] = twin;
    }
    return TN_OK;
}

/* No name may have an owner, or appear twice. */
static tn_status ops_check(transaction *t, const tni_problem *p) {
    if (t->n_ops) qsort(t->ops, t->n_ops, sizeof *t->ops, by_name);
    for (uint32_t i = 0; i < t->n_ops; i++) {
        const char *name = t->ops[i]->schema.name;
        const bool twice = i > 0 && strcmp(t->ops[i - 1]->schema.name, name) == 0;
        const tni_op *owner = twice ? t->ops[i - 1] : tni_registry_find(name);
        char cause[160];
        if (!owner) continue;
        snprintf(cause, sizeof cause, "already registered by '%s'; choose another name or overload",
                 owner->plugin);
        return tni_row_refuse(p, TN_ERR_CONFLICT, name, "", cause);
    }
    return TN_OK;
}

static int by_calls(const void *a, const void *b) {
    const tni_provider *x = *(tni_provider *const *)a, *y = *(tni_provider *const *)b;
    int order = strcmp(x->op, y->op);
    if (order == 0) order = strcmp(x->row.device, y->row.device);
    if (order == 0) order = strcmp(x->label, y->label);
    return order ? order : x < y ? -1 : 1;
}

/* Would both be asked about the same calls, and could nobody tell which of them is meant? */
static bool same_calls(const tni_provider *x, const tni_provider *y) {
    return strcmp(x->op, y->op) == 0 && strcmp(x->row.device, y->row.device) == 0 &&
           strcmp(x->label, y->label) == 0;
}

/* One plugin's rows of one name for one op and device have no dtype in common. */
static tn_status kernels_check(const transaction *t, const tni_problem *p) {
    const tni_problem unsaid = {NULL, 0};
    uint64_t covered = 0;
    for (uint32_t i = 0; i < t->rows->n_kernels; i++) {
        tni_provider *k = t->kernels[i];
        if (i == 0 || !same_calls(k, t->kernels[i - 1])) covered = 0;
        if (covered & k->row.dtypes)
            return tni_row_refuse(
                p, TN_ERR_CONFLICT, k->op, "kernel",
                "two rows of one plugin cover the same dtypes on the same device; "
                "give them names (tn_kernel.name)");
        covered |= k->row.dtypes;
        const tni_op *op = op_named(t, k->op);
        const tn_status s = op ? tni_kernel_fits(k, op, p) : TN_OK;
        if (s != TN_OK) return s;
        k->misfit = op && !tni_kernel_knows(k, op, &unsaid);
    }
    return TN_OK;
}

static tn_status transaction_kernels(transaction *t, const tni_problem *p) {
    const uint64_t n = t->rows->n_kernels;
    if (n == 0) return TN_OK;
    t->kernels = tni_alloc(n * sizeof *t->kernels);
    t->providers = tni_alloc(n * sizeof *t->providers);
    if (!t->kernels || !t->providers) return out_of_memory(t, p);
    for (uint64_t i = 0; i < n; i++) {
        tni_provider *k = t->kernels[i] = &t->providers[i];
        k->plugin = t->rows->plugin;
        k->plugin_index = t->rows->plugin_index;
        const tn_status s = tni_kernel_parse(k, &t->rows->kernels[i], p);
        if (s != TN_OK) return s;
    }
    qsort(t->kernels, n, sizeof *t->kernels, by_calls);
    return kernels_check(t, p);
}

static tn_status transaction_make(transaction *t, const tni_rows *rows, const tni_problem *p) {
    *t = (transaction){.rows = rows};
    tn_status s = ops_parse(t, p);
    if (s == TN_OK) s = ops_check(t, p);
    if (s == TN_OK) s = transaction_kernels(t, p);
    for (uint32_t i = 0; i < rows->n_drivers && s == TN_OK; i++)
        s = tni_device_kind_check(rows->drivers[i], p->why, p->capacity);
    return s;
}

tn_status tni_registry_check(const tni_rows *rows, char *why, uint64_t capacity) {
    const tni_problem p = {why, capacity};
    transaction t;
    pthread_mutex_lock(&lock);
    tn_status s = transaction_make(&t, rows, &p);
    transaction_free(&t);
    pthread_mutex_unlock(&lock);
    return s;
}

/* ---- Chains ---------------------------------------------------------------------------------- */

/* Best first: priority, then plugin id, then row. Never load order. */
static int best_first(const void *a, const void *b) {
    const tni_provider *x = *(tni_provider *const *)a, *y = *(tni_provider *const *)b;
    if (x->row.priority != y->row.priority) return x->row.priority > y->row.priority ? -1 : 1;
    const int names = strcmp(x->plugin, y->plugin);
    return names ? names : x < y ? -1 : x > y;
}

static const tni_chain *chain_of_name(const char *name) {
    const tni_directory *d = tni_directory_current();
    const int32_t id = tni_directory_find(d, published(d), name);
    return id ? chain_of(&d->entries[id - 1]) : NULL;
}

/* The chain of this name as it is, with n more providers. NULL: no memory. */
static const tni_chain *chain_with(const char *name, tni_provider *const *more, uint64_t n) {
    const tni_chain *old = chain_of_name(name);
    const uint64_t n_old = old ? old->n : 0;
    tni_chain *c = tni_alloc(sizeof *c + (n_old + n) * sizeof *c->items);
    if (!c) return NULL;
    c->older = old;
    c->n = n_old + n;
    for (uint64_t i = 0; i < n_old; i++) c->items[i] = old->items[i];
    for (uint64_t i = 0; i < n; i++) c->items[n_old + i] = more[i];
    qsort(c->items, c->n, sizeof *c->items, best_first);
    return c;
}

/* The chains that will hold the kernels. False: no memory. */
static bool transaction_chains(transaction *t) {
    const uint32_t n = t->rows->n_kernels;
    if (n == 0) return true;
    t->batches = tni_alloc(n * sizeof *t->batches);
    if (!t->batches) return false;
    for (uint32_t i = 0, end; i < n; i = end) {
        const char *op = t->kernels[i]->op;
        for (end = i + 1; end < n && strcmp(t->kernels[end]->op, op) == 0;) end++;
        const tni_chain *c = chain_with(op, &t->kernels[i], end - i);
        if (!c) return false;
        t->batches[t->n_batches++] = (batch){op, c};
    }
    return true;
}

/* ---- Committing ------------------------------------------------------------------------------ */

static bool misfits(const tni_provider *k, const tni_op *op, const tni_problem *p) {
    return tni_kernel_fits(k, op, p) != TN_OK || !tni_kernel_knows(k, op, p);
}

/* Of kernels that waited for this op: those that do not fit it never run. */
static void settle_waiting(const tni_op *op) {
    const tni_problem unsaid = {NULL, 0};
    const tni_chain *c = chain_of_name(op->schema.name);
    for (uint64_t i = 0; c && i < c->n; i++)
        c->items[i]->misfit = misfits(c->items[i], op, &unsaid);
}

static void publish_chain(const batch *b, tni_directory *d, int32_t *n) {
    const int32_t id = tni_directory_find(d, *n, b->op);
    if (id)
        atomic_store_explicit(&d->entries[id - 1].chain, b->chain, memory_order_release);
    else
        *n = tni_directory_put(d, *n, b->op, NULL, b->chain);
}

/* Nothing here can fail. Whoever looks meanwhile sees none of the new ops, then all. */
static void publish(const transaction *t, tni_directory *d) {
    int32_t n = published(d);
    for (uint32_t i = 0; i < t->rows->n_kernels; i++)
        t->providers[i].device_kind = tni_device_kind_find(t->providers[i].row.device);
    for (uint32_t i = 0; i < t->n_ops; i++) {
        settle_waiting(t->ops[i]);
        const char *name = t->ops[i]->schema.name;
        t->ops[i]->id = n + 1;
        n = tni_directory_put(d, n, name, t->ops[i], chain_of_name(name));
    }
    for (uint32_t i = 0; i < t->n_batches; i++) publish_chain(&t->batches[i], d, &n);
    tni_directory_publish(d, n);
    atomic_fetch_add(&epoch, 1);
}

static tn_status commit(transaction *t, const tni_problem *p) {
    tni_directory *d = NULL;
    if (transaction_chains(t)) d = tni_directory_reserve((uint64_t)t->n_ops + t->rows->n_kernels);
    if (!d) return out_of_memory(t, p);
    for (uint32_t i = 0; i < t->rows->n_drivers; i++) {
        const tn_status s = tni_device_kind_add(t->rows->drivers[i], t->rows->plugin);
        if (s == TN_OK) continue;
        tni_directory_drop(d);
        return out_of_memory(t, p);
    }
    publish(t, d);
    tni_free(t->ops); /* the ops, chains and providers themselves are published */
    tni_free(t->batches);
    tni_free(t->kernels);
    return TN_OK;
}

tn_status tni_registry_commit(tni_rows *rows, char *why, uint64_t capacity) {
    const tni_problem p = {why, capacity};
    transaction t;
    pthread_mutex_lock(&lock);
    tn_status status = transaction_make(&t, rows, &p);
    if (status == TN_OK) status = commit(&t, &p);
    if (status == TN_OK) rows->n_kernel_ops = t.n_batches;
    if (status != TN_OK) transaction_free(&t);
    pthread_mutex_unlock(&lock);
    return status;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

/* Why a kernel cannot run as things are; false if it can. */
static bool waits(const tni_entry *e, const tni_provider *k, const tni_problem *p) {
    if (!e->op)
        tni_row_refuse(p, TN_ERR_NOTFOUND, k->op, "kernel", "no op of this name is registered");
    else if (k->misfit)
        misfits(k, e->op, p);
    else if (k->device_kind == 0 && tni_device_kind_find(k->row.device) == 0)
        tni_row_refuse(p, TN_ERR_NOTFOUND, k->op, k->row.device,
                       "no driver of this device is loaded");
    else if (e->op->schema.variable && !(k->row.dtypes & TN_MASK_ALL))
        tni_row_refuse(p, TN_ERR_NOTFOUND, k->op, "dtypes", "this tenon knows none of them");
    else
        return false;
    return true;
}

const tni_provider *tni_registry_named(int32_t plugin_index, const char *name) {
    const tni_directory *d = tni_directory_current();
    const int32_t last = published(d);
    for (int32_t id = 1; id <= last; id++) {
        const tni_chain *c = chain_of(&d->entries[id - 1]);
        for (uint64_t i = 0; c && i < c->n; i++) {
            const tni_provider *k = c->items[i];
            if (k->plugin_index == plugin_index && strcmp(k->row.name, name) == 0) return k;
        }
    }
    return NULL;
}

uint64_t tni_registry_waiting(int32_t plugin_index, char *why, uint64_t capacity) {
    const tni_directory *d = tni_directory_current();
    const int32_t last = published(d);
    uint64_t n = 0;
    for (int32_t id = 1; id <= last; id++) {
        const tni_entry *e = &d->entries[id - 1];
        const tni_chain *c = chain_of(e);
        if (tni_directory_find(d, last, e->name) != id) continue; /* what it waited for came */
        for (uint64_t i = 0; c && i < c->n; i++) {
            const tni_problem first = {why, n ? 0 : capacity};
            n += c->items[i]->plugin_index == plugin_index && waits(e, c->items[i], &first);
        }
    }
    return n;
}

uint64_t tni_registry_hash(void) {
    const tni_directory *d = tni_directory_current();
    const int32_t last = published(d);
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (int32_t i = 0; i < last; i++) {
        const tni_entry *e = &d->entries[i];
        const tni_chain *c = chain_of(e);
        for (const char *at = e->name; *at; at++) h = (h ^ (unsigned char)*at) * 1099511628211u;
        h = (h ^ (uint64_t)(uintptr_t)e->op) * 1099511628211u;
        h = (h ^ (c ? c->n : 0)) * 1099511628211u;
    }
    return h;
}
