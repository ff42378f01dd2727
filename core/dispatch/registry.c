/* registry.c - commits rows in one step, answers look-ups without locks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/registry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/device.h"
#include "core/dispatch/rows.h"
#include "core/memory.h"
#include "core/state.h"

/* ---- The snapshot ---------------------------------------------------------------------------- */

typedef struct chain { /* providers of one op on every device kind, best first */
    uint64_t n;
    const tni_provider **items;
} chain;

typedef struct snapshot {
    uint64_t epoch;
    int32_t n_names; /* ids 1..n_names */
    const char **names;
    const tni_op **ops; /* NULL where only the name is interned */
    chain *chains;
    const struct snapshot *older; /* kept: readers take no reference, and commits are rare */
} snapshot;

static snapshot g_empty;
static _Atomic(const snapshot *) g_snapshot = &g_empty;
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;

static const snapshot *current(void) {
    return atomic_load_explicit(&g_snapshot, memory_order_acquire);
}

uint64_t tni_registry_epoch(void) { return current()->epoch; }

const tni_op *tni_registry_op(int32_t id) {
    const snapshot *s = current();
    return id >= 1 && id <= s->n_names ? s->ops[id - 1] : NULL;
}

int32_t tni_registry_last_id(void) { return current()->n_names; }

static int32_t find_name(const snapshot *s, const char *name) {
    for (int32_t i = 0; i < s->n_names; i++)
        if (strcmp(s->names[i], name) == 0) return i + 1;
    return 0;
}

/* Frees a snapshot that was never published: what it does not share with the older one. */
static void snapshot_free(snapshot *s) {
    if (s == NULL) return;
    for (int32_t i = 0; s->names && s->chains && i < s->n_names; i++) {
        bool old = i < s->older->n_names;
        if (!old) tni_free((void *)(uintptr_t)s->names[i]);
        if (!old || s->chains[i].items != s->older->chains[i].items) tni_free(s->chains[i].items);
    }
    tni_free(s->names), tni_free(s->ops), tni_free(s->chains), tni_free(s);
}

static snapshot *snapshot_grow(const snapshot *old, uint32_t more) {
    uint64_t n = (uint64_t)old->n_names + more;
    snapshot *s = tni_alloc(sizeof(*s));
    if (s == NULL) return NULL;
    s->names = tni_alloc(n * sizeof(*s->names));
    s->ops = tni_alloc(n * sizeof(*s->ops));
    s->chains = tni_alloc(n * sizeof(*s->chains));
    s->older = old;
    if (s->names == NULL || s->ops == NULL || s->chains == NULL) {
        snapshot_free(s);
        return NULL;
    }
    s->epoch = old->epoch;
    s->n_names = old->n_names;
    if (old->n_names > 0) {
        memcpy(s->names, old->names, (uint64_t)old->n_names * sizeof(*s->names));
        memcpy(s->ops, old->ops, (uint64_t)old->n_names * sizeof(*s->ops));
        memcpy(s->chains, old->chains, (uint64_t)old->n_names * sizeof(*s->chains));
    }
    return s;
}

/* Puts name into s, which has room. 0 if its copy cannot be made. */
static int32_t snapshot_intern(snapshot *s, const char *name) {
    int32_t id = find_name(s, name);
    if (id != 0) return id;
    char *copy = tni_strdup(name);
    if (copy == NULL) return 0;
    s->names[s->n_names] = copy;
    return ++s->n_names;
}

int32_t tni_registry_intern(const char *name) {
    int32_t id = find_name(current(), name);
    if (id != 0) return id;
    pthread_mutex_lock(&g_lock);
    snapshot *s = snapshot_grow(current(), 1);
    id = s ? snapshot_intern(s, name) : 0;
    if (id != 0)
        atomic_store_explicit(&g_snapshot, s, memory_order_release);
    else
        snapshot_free(s);
    pthread_mutex_unlock(&g_lock);
    if (id == 0) tn_raise(TN_ERR_NOMEM, "%s: out of memory while its name is registered", name);
    return id;
}

/* ---- A transaction: everything new, made aside ----------------------------------------------- */

typedef struct transaction {
    const tni_rows *rows;
    tni_op **ops; /* twins included; owned until published */
    uint32_t n_ops;
    tni_provider *providers;
} transaction;

static void transaction_free(transaction *t) {
    for (uint32_t i = 0; i < t->n_ops; i++) tni_op_free(t->ops[i]);
    tni_free(t->ops);
    tni_free(t->providers);
}

static tn_status transaction_add(transaction *t, tni_op *op, const tni_problem *p) {
    const snapshot *s = current();
    const char *name = op->schema.name;
    int32_t id = find_name(s, name);
    const char *owner = id != 0 && s->ops[id - 1] ? s->ops[id - 1]->plugin : NULL;
    for (uint32_t i = 0; i < t->n_ops && !owner; i++)
        if (strcmp(t->ops[i]->schema.name, name) == 0) owner = t->rows->plugin;
    if (owner) {
        char cause[160];
        snprintf(cause, sizeof(cause),
                 "already registered by '%s'; choose another name or overload", owner);
        tni_op_free(op);
        return tni_row_refuse(p, TN_ERR_CONFLICT, t->rows->plugin, p->capacity ? "op" : "", cause);
    }
    op->plugin = t->rows->plugin;
    t->ops[t->n_ops++] = op;
    return TN_OK;
}

static tn_status transaction_ops(transaction *t, const tni_problem *p) {
    t->ops = tni_alloc(2 * (uint64_t)t->rows->n_ops * sizeof(*t->ops) + 8);
    if (t->ops == NULL)
        return tni_row_refuse(p, TN_ERR_NOMEM, t->rows->plugin, "", "out of memory");
    for (uint32_t i = 0; i < t->rows->n_ops; i++) {
        tni_op *op = tni_alloc(sizeof(*op));
        if (op == NULL)
            return tni_row_refuse(p, TN_ERR_NOMEM, t->rows->plugin, "", "out of memory");
        tn_status s = tni_op_parse(op, &t->rows->ops[i], p);
        if (s != TN_OK) {
            tni_free(op);
            return s;
        }
        s = transaction_add(t, op, p);
        if (s != TN_OK) return s;
        if (!(op->row.traits & TN_OP_INPLACE)) continue;
        tni_op *twin = tni_op_twin(op);
        if (twin == NULL)
            return tni_row_refuse(p, TN_ERR_NOMEM, op->schema.name, "",
                                  "out of memory, or the name is too long for a twin");
        s = transaction_add(t, twin, p);
        if (s != TN_OK) return s;
    }
    return TN_OK;
}

static tn_status transaction_kernels(transaction *t, const tni_problem *p) {
    if (t->rows->n_kernels == 0) return TN_OK;
    t->providers = tni_alloc((uint64_t)t->rows->n_kernels * sizeof(*t->providers));
    if (t->providers == NULL)
        return tni_row_refuse(p, TN_ERR_NOMEM, t->rows->plugin, "", "out of memory");
    for (uint32_t i = 0; i < t->rows->n_kernels; i++) {
        const tn_kernel *k = &t->rows->kernels[i];
        tn_status s = tni_kernel_check(k, p);
        if (s != TN_OK) return s;
        for (uint32_t j = 0; j < i; j++) {
            const tn_kernel *other = &t->rows->kernels[j];
            if (strcmp(k->op, other->op) == 0 && strcmp(k->device, other->device) == 0 &&
                (k->dtypes & other->dtypes))
                return tni_row_refuse(
                    p, TN_ERR_CONFLICT, k->op, "kernel",
                    "two rows of one plugin cover the same dtypes on the same device");
        }
        t->providers[i] = (tni_provider){*k, t->rows->plugin, t->rows->plugin_index, 0};
    }
    return TN_OK;
}

static tn_status transaction_make(transaction *t, const tni_rows *rows, const tni_problem *p) {
    *t = (transaction){.rows = rows};
    tn_status s = transaction_ops(t, p);
    if (s == TN_OK) s = transaction_kernels(t, p);
    for (uint32_t i = 0; i < rows->n_drivers && s == TN_OK; i++)
        s = tni_device_kind_check(rows->drivers[i], p->why, p->capacity);
    return s;
}

tn_status tni_registry_check(const tni_rows *rows, char *why, uint64_t capacity) {
    const tni_problem p = {why, capacity};
    transaction t;
    pthread_mutex_lock(&g_lock);
    tn_status s = transaction_make(&t, rows, &p);
    transaction_free(&t);
    pthread_mutex_unlock(&g_lock);
    return s;
}

/* ---- Committing ------------------------------------------------------------------------------ */

/* Best first: priority, then plugin id, then row. Never load order. */
static bool before(const tni_provider *a, const tni_provider *b) {
    if (a->row.priority != b->row.priority) return a->row.priority > b->row.priority;
    int names = strcmp(a->plugin, b->plugin);
    return names != 0 ? names < 0 : a < b;
}

static bool chain_insert(chain *c, const tni_provider *p) {
    const tni_provider **items = tni_alloc((c->n + 1) * sizeof(*items));
    if (items == NULL) return false;
    uint64_t at = 0;
    while (at < c->n && before(c->items[at], p)) at++;
    for (uint64_t i = 0; i < at; i++) items[i] = c->items[i];
    items[at] = p;
    for (uint64_t i = at; i < c->n; i++) items[i + 1] = c->items[i];
    *c = (chain){c->n + 1,
                 items}; /* the old array belongs to the old snapshot, which readers may hold */
    return true;
}

/* Replaces a chain by one that holds p too. */
static bool chain_add(snapshot *s, int32_t id, const tni_provider *p) {
    chain *c = &s->chains[id - 1];
    const tni_provider **before_it = c->items;
    bool shared = id <= s->older->n_names && before_it == s->older->chains[id - 1].items;
    if (!chain_insert(c, p)) return false;
    if (!shared) tni_free(before_it); /* made by this transaction */
    return true;
}

/* The next snapshot, or NULL if memory runs out. */
static snapshot *snapshot_with(const snapshot *old, transaction *t) {
    snapshot *s = snapshot_grow(old, t->n_ops + t->rows->n_kernels);
    if (s == NULL) return NULL;
    s->epoch++;
    bool ok = true;
    for (uint32_t i = 0; ok && i < t->n_ops; i++) {
        t->ops[i]->id = snapshot_intern(s, t->ops[i]->schema.name);
        ok = t->ops[i]->id != 0;
        if (ok) s->ops[t->ops[i]->id - 1] = t->ops[i];
    }
    for (uint32_t i = 0; ok && i < t->rows->n_kernels; i++) {
        int32_t id = snapshot_intern(s, t->providers[i].row.op);
        ok = id != 0 && chain_add(s, id, &t->providers[i]);
    }
    if (!ok) snapshot_free(s);
    return ok ? s : NULL;
}

tn_status tni_registry_commit(const tni_rows *rows, char *why, uint64_t capacity) {
    const tni_problem p = {why, capacity};
    transaction t;
    pthread_mutex_lock(&g_lock);
    tn_status status = transaction_make(&t, rows, &p);
    snapshot *next = status == TN_OK ? snapshot_with(current(), &t) : NULL;
    if (status == TN_OK && next == NULL)
        status = tni_row_refuse(&p, TN_ERR_NOMEM, rows->plugin, "", "out of memory");
    for (uint32_t i = 0; i < rows->n_drivers && status == TN_OK; i++)
        status = tni_device_kind_add(rows->drivers[i], rows->plugin);
    if (status == TN_OK) {
        for (uint32_t i = 0; i < rows->n_kernels; i++)
            t.providers[i].device_kind = tni_device_kind_find(t.providers[i].row.device);
        atomic_store_explicit(&g_snapshot, next, memory_order_release);
        tni_free(t.ops); /* the ops themselves are published */
    } else {
        snapshot_free(next);
        transaction_free(&t);
    }
    pthread_mutex_unlock(&g_lock);
    return status;
}

uint64_t tni_registry_providers(const tni_op *op, int32_t device_kind, const tni_provider **out,
                                uint64_t capacity) {
    const snapshot *s = current();
    const chain *c = &s->chains[op->base->id - 1];
    int32_t pin = tni_state_get()->pin;
    uint64_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t i = 0; i < c->n && n < capacity; i++) {
            const tni_provider *p = c->items[i];
            int32_t kind = p->device_kind ? p->device_kind : tni_device_kind_find(p->row.device);
            if (kind == device_kind && (p->plugin_index == pin) == (pass == 0)) out[n++] = p;
        }
    }
    return n;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

uint64_t tni_registry_hash(void) {
    const snapshot *s = current();
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (int32_t i = 0; i < s->n_names; i++) {
        if (s->ops[i] == NULL && s->chains[i].n == 0)
            continue; /* only a name: nothing is registered */
        for (const char *c = s->names[i]; *c; c++) h = (h ^ (unsigned char)*c) * 1099511628211u;
        h = (h ^ (uint64_t)(uintptr_t)s->ops[i]) * 1099511628211u;
        h = (h ^ s->chains[i].n) * 1099511628211u;
    }
    return h;
}
