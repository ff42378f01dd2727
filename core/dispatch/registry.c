/* registry.c - checks rows, commits them in one step, answers look-ups without locks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/registry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/device.h"
#include "core/dispatch/signature.h"
#include "core/memory.h"

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

/* ---- Checking op rows ------------------------------------------------------------------------ */

typedef struct problem {
    char *why;
    uint64_t capacity;
} problem;

static tn_status refuse(const problem *p, tn_status code, const char *row, const char *field,
                        const char *cause) {
    if (p->capacity > 0)
        snprintf(p->why, p->capacity, "%s%s%s: %s", row ? row : "a row", field[0] ? ", " : "",
                 field, cause);
    return code;
}

static const char *const form_names[] = {"strided", "pointwise", "reduce", "along"};

static bool form_parse(const char *text, tni_form *out) {
    for (int i = 0; i < 4; i++) {
        if (text == NULL || text[0] == 0 || strcmp(text, form_names[i]) == 0) {
            *out = text == NULL || text[0] == 0 ? TNI_STRIDED : (tni_form)i;
            return true;
        }
    }
    return false;
}

static bool param_is_tensor(const tni_param *p) {
    return p->type == TNI_TENSOR || p->type == TNI_TENSORS;
}

/* Marks one name of a keep column in op. */
static bool keep_name(tni_op *op, const char *name) {
    int a = tni_schema_param(&op->schema, name), r = tni_schema_result(&op->schema, name);
    if (a >= 0 && param_is_tensor(&op->schema.params[a]))
        op->keep_args |= 1u << a;
    else if (r >= 0)
        op->keep_results |= 1u << r;
    else
        return false;
    return true;
}

static tn_status keep_parse(tni_op *op, const problem *p) {
    const char *at = op->row.keep ? op->row.keep : "";
    while (*at) {
        char name[TNI_NAME_BYTES];
        size_t n = strcspn(at, ",");
        if (n == 0 || n >= sizeof(name))
            return refuse(p, TN_ERR_PLUGIN, op->schema.name, "keep", "a name is empty or too long");
        memcpy(name, at, n);
        name[n] = 0;
        if (!keep_name(op, name)) {
            char cause[128];
            snprintf(cause, sizeof(cause), "'%s' is no tensor argument or result of the schema",
                     name);
            return refuse(p, TN_ERR_PLUGIN, op->schema.name, "keep", cause);
        }
        at += n + (at[n] == ',');
    }
    return TN_OK;
}

/* A form needs what it speaks of. */
static tn_status form_check(const tni_op *op, const problem *p) {
    const tni_schema *s = &op->schema;
    if ((op->form == TNI_REDUCE || op->form == TNI_ALONG) && s->mutates)
        return refuse(p, TN_ERR_PLUGIN, s->name, "form", "cannot write its arguments; use strided");
    if ((op->form == TNI_REDUCE || op->form == TNI_ALONG) &&
        (s->n_params == 0 || s->params[0].type != TNI_TENSOR || tni_schema_param(s, "dim") < 0))
        return refuse(p, TN_ERR_PLUGIN, s->name, "form",
                      "needs a tensor as first argument and an argument named dim");
    if (op->form == TNI_POINTWISE && s->n_results != 1)
        return refuse(p, TN_ERR_PLUGIN, s->name, "form", "pointwise ops have one result");
    if ((op->row.traits & TN_OP_INPLACE) &&
        (op->form != TNI_POINTWISE || s->mutates || s->n_params == 0 ||
         s->params[0].type != TNI_TENSOR || s->params[0].optional || s->results[0].list))
        return refuse(p, TN_ERR_PLUGIN, s->name, "traits",
                      "in-place twins exist for pointwise ops of a tensor only");
    return TN_OK;
}

static tn_status row_complete(const tni_op *op, const problem *p) {
    const tn_op *row = &op->row;
    const char *name = op->schema.name;
    bool has_rule = row->shape != NULL || (row->shape_rule && row->shape_rule[0]);
    if (row->shape_rule && row->shape_rule[0] && tni_shape_rule(row->shape_rule) == NULL)
        return refuse(p, TN_ERR_PLUGIN, name, "shape_rule",
                      "unknown; known are same, broadcast, reduce");
    if (!has_rule && row->decompose == NULL && op->schema.n_results > 0)
        return refuse(p, TN_ERR_PLUGIN, name, "shape",
                      "a row needs a shape rule or a decomposition");
    if ((row->traits & TN_OP_VIEW) &&
        (!has_rule || op->schema.n_results != 1 || op->schema.results[0].alias == 0))
        return refuse(p, TN_ERR_PLUGIN, name, "traits",
                      "a view has a shape rule and one result that names its alias");
    if (row->derivative && row->no_grad)
        return refuse(p, TN_ERR_PLUGIN, name, "no_grad",
                      "says there is no derivative, but there is one");
    if (!row->derivative && !row->decompose && !row->no_grad)
        return refuse(p, TN_ERR_PLUGIN, name, "derivative",
                      "missing: give one, a decomposition, or the reason why there is none");
    if (!row->derivative && (op->keep_args || op->keep_results))
        return refuse(p, TN_ERR_PLUGIN, name, "keep", "keeps values, but no derivative reads them");
    return TN_OK;
}

static void args_summarise(tni_op *op) {
    op->n_args = op->schema.n_params;
    for (uint32_t i = 0; i < op->n_args; i++) {
        const tni_param *p = &op->schema.params[i];
        op->types[i] = (uint8_t)p->type;
        if (p->runtime) op->runtime_args |= 1u << i;
        op->lists = op->lists || p->type == TNI_TENSORS || p->type == TNI_INTS ||
                    p->type == TNI_FLOATS || p->type == TNI_STR;
    }
}

/* Fills op from its row. On failure what was made is freed. */
static tn_status op_parse(tni_op *op, const tn_op *row, const problem *p) {
    char detail[256] = "";
    op->row = *row;
    if (row->schema == NULL) return refuse(p, TN_ERR_PLUGIN, NULL, "schema", "missing");
    if (tni_schema_parse(row->schema, &op->schema, detail, sizeof(detail)) != TN_OK)
        return refuse(p, TN_ERR_PLUGIN, row->schema, "schema", detail);
    if (!form_parse(row->form, &op->form))
        return refuse(p, TN_ERR_PLUGIN, op->schema.name, "form",
                      "unknown; known are strided, pointwise, reduce, along");
    if (row->contract && row->contract[0]) {
        op->contract = tni_contract_parse(row->contract, &op->schema, detail, sizeof(detail));
        if (op->contract == NULL)
            return refuse(p, TN_ERR_PLUGIN, op->schema.name, "contract", detail);
    }
    args_summarise(op);
    op->base = op;
    tn_status s = keep_parse(op, p);
    if (s == TN_OK) s = form_check(op, p);
    if (s == TN_OK) s = row_complete(op, p);
    if (s != TN_OK) tni_contract_free(op->contract);
    return s;
}

static void op_free(tni_op *op) {
    if (op == NULL) return;
    if (!op->inplace) tni_contract_free(op->contract);
    tni_free(op);
}

/* add -> add_: the first argument becomes mutated, the result aliases it. */
static tni_op *op_twin(const tni_op *base) {
    tni_op *op = tni_alloc(sizeof(*op));
    if (op == NULL) return NULL;
    *op = *base;
    op->inplace = true;
    op->base = base;
    size_t n = strlen(op->schema.name);
    if (n + 2 > sizeof(op->schema.name)) {
        tni_free(op);
        return NULL;
    }
    memcpy(op->schema.name + n, "_", 2);
    op->row.traits &= ~(uint32_t)TN_OP_INPLACE;
    op->schema.mutates = true;
    op->schema.params[0].mutated = true;
    op->schema.params[0].alias = 'a';
    op->schema.results[0].alias = 'a';
    return op;
}

/* ---- A transaction: everything new, made aside ----------------------------------------------- */

typedef struct transaction {
    const tni_rows *rows;
    tni_op **ops; /* twins included; owned until published */
    uint32_t n_ops;
    tni_provider *providers;
} transaction;

static void transaction_free(transaction *t) {
    for (uint32_t i = 0; i < t->n_ops; i++) op_free(t->ops[i]);
    tni_free(t->ops);
    tni_free(t->providers);
}

static tn_status transaction_add(transaction *t, tni_op *op, const problem *p) {
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
        op_free(op);
        return refuse(p, TN_ERR_CONFLICT, t->rows->plugin, p->capacity ? "op" : "", cause);
    }
    op->plugin = t->rows->plugin;
    t->ops[t->n_ops++] = op;
    return TN_OK;
}

static tn_status transaction_ops(transaction *t, const problem *p) {
    t->ops = tni_alloc(2 * (uint64_t)t->rows->n_ops * sizeof(*t->ops) + 8);
    if (t->ops == NULL) return refuse(p, TN_ERR_NOMEM, t->rows->plugin, "", "out of memory");
    for (uint32_t i = 0; i < t->rows->n_ops; i++) {
        tni_op *op = tni_alloc(sizeof(*op));
        if (op == NULL) return refuse(p, TN_ERR_NOMEM, t->rows->plugin, "", "out of memory");
        tn_status s = op_parse(op, &t->rows->ops[i], p);
        if (s != TN_OK) {
            tni_free(op);
            return s;
        }
        s = transaction_add(t, op, p);
        if (s != TN_OK) return s;
        if (!(op->row.traits & TN_OP_INPLACE)) continue;
        tni_op *twin = op_twin(op);
        if (twin == NULL)
            return refuse(p, TN_ERR_NOMEM, op->schema.name, "",
                          "out of memory, or the name is too long for a twin");
        s = transaction_add(t, twin, p);
        if (s != TN_OK) return s;
    }
    return TN_OK;
}

static tn_status kernel_check(const tn_kernel *k, const problem *p) {
    if (k->op == NULL || k->op[0] == 0 || strlen(k->op) >= TNI_NAME_BYTES)
        return refuse(p, TN_ERR_PLUGIN, NULL, "kernel", "names no op");
    if (k->device == NULL || k->device[0] == 0)
        return refuse(p, TN_ERR_PLUGIN, k->op, "device", "missing: name a device kind");
    if (k->run == NULL) return refuse(p, TN_ERR_PLUGIN, k->op, "run", "missing");
    if (k->drop && !k->plan)
        return refuse(p, TN_ERR_PLUGIN, k->op, "drop", "there is no plan to drop");
    if (k->n_args > TNI_MAX_ARGS)
        return refuse(p, TN_ERR_PLUGIN, k->op, "n_args", "more than an op can have");
    return TN_OK;
}

static tn_status transaction_kernels(transaction *t, const problem *p) {
    if (t->rows->n_kernels == 0) return TN_OK;
    t->providers = tni_alloc((uint64_t)t->rows->n_kernels * sizeof(*t->providers));
    if (t->providers == NULL) return refuse(p, TN_ERR_NOMEM, t->rows->plugin, "", "out of memory");
    for (uint32_t i = 0; i < t->rows->n_kernels; i++) {
        const tn_kernel *k = &t->rows->kernels[i];
        tn_status s = kernel_check(k, p);
        if (s != TN_OK) return s;
        for (uint32_t j = 0; j < i; j++) {
            const tn_kernel *other = &t->rows->kernels[j];
            if (strcmp(k->op, other->op) == 0 && strcmp(k->device, other->device) == 0 &&
                (k->dtypes & other->dtypes))
                return refuse(p, TN_ERR_CONFLICT, k->op, "kernel",
                              "two rows of one plugin cover the same dtypes on the same device");
        }
        t->providers[i] = (tni_provider){*k, t->rows->plugin, t->rows->plugin_index, 0};
    }
    return TN_OK;
}

static tn_status transaction_make(transaction *t, const tni_rows *rows, const problem *p) {
    *t = (transaction){.rows = rows};
    tn_status s = transaction_ops(t, p);
    if (s == TN_OK) s = transaction_kernels(t, p);
    for (uint32_t i = 0; i < rows->n_drivers && s == TN_OK; i++)
        s = tni_device_kind_check(rows->drivers[i], p->why, p->capacity);
    return s;
}

tn_status tni_registry_check(const tni_rows *rows, char *why, uint64_t capacity) {
    const problem p = {why, capacity};
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
    const problem p = {why, capacity};
    transaction t;
    pthread_mutex_lock(&g_lock);
    tn_status status = transaction_make(&t, rows, &p);
    snapshot *next = status == TN_OK ? snapshot_with(current(), &t) : NULL;
    if (status == TN_OK && next == NULL)
        status = refuse(&p, TN_ERR_NOMEM, rows->plugin, "", "out of memory");
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
