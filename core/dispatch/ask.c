/* ask.c - what is registered, and how this thread's calls choose among it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/ask.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/hooks.h>
#include <tenon/inspect.h>

#include "core/base/heap.h"
#include "core/base/nearest.h"
#include "core/base/state.h"
#include "core/dispatch/pin.h"
#include "core/dispatch/plugins.h"
#include "core/dispatch/registry.h"
#include "core/memory/device.h"

/* ---- Ops ------------------------------------------------------------------------------------- */

static void info_fill(tn_op_info *out, const tni_op *op) {
    const tn_op_info info = {.size = out->size,
                             .traits = op->row.traits,
                             .name = op->schema.name,
                             .schema = op->row.schema,
                             .doc = op->row.doc ? op->row.doc : "",
                             .no_grad = op->row.no_grad,
                             .samples = op->inplace || !op->row.samples ? "" : op->row.samples,
                             .plugin = op->plugin,
                             .has_derivative = op->row.derivative != NULL,
                             .has_decomposition = op->row.decompose != NULL,
                             .form = op->row.form,
                             .base = op->inplace ? op->base->schema.name : NULL,
                             .n_args = op->schema.n_params,
                             .n_results = op->schema.n_visible};
    memcpy(out, &info, out->size < sizeof info ? out->size : sizeof info);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const tni_op *const *)a)->schema.name,
                  (*(const tni_op *const *)b)->schema.name);
}

/* All ops in order of name. Made again when something was registered, not for every question: a
 * listing asks for one after the other. */
static struct {
    pthread_mutex_t lock;
    bool made;
    uint64_t epoch; /* it was made in */
    int64_t n;
    const tni_op **ops;
} sorted = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool sort_ops(void) {
    const uint64_t epoch = tni_registry_epoch();
    if (sorted.made && sorted.epoch == epoch) return true;
    const int32_t last = tni_registry_last_id();
    const tni_op **ops = tni_alloc(((uint64_t)last + 1) * sizeof *ops);
    if (!ops) return false;
    int64_t n = 0;
    for (int32_t id = 1; id <= last; id++)
        if (tni_registry_op(id)) ops[n++] = tni_registry_op(id);
    qsort(ops, (size_t)n, sizeof *ops, by_name);
    tni_free(sorted.ops);
    sorted.ops = ops, sorted.n = n;
    sorted.epoch = epoch, sorted.made = true;
    return true;
}

/* How many ops there are, -1 on error; number i of them, or NULL if there is none. */
static int64_t op_at(int64_t i, const tni_op **out) {
    if (tni_forked() || !tni_plugins_ready()) return -1;
    pthread_mutex_lock(&sorted.lock);
    const int64_t n = sort_ops() ? sorted.n : -1;
    *out = i >= 0 && i < n ? sorted.ops[i] : NULL;
    pthread_mutex_unlock(&sorted.lock);
    if (n < 0) tn_raise(TN_ERR_NOMEM, "out of memory while the ops are listed");
    return n;
}

int64_t tn_op_count(void) {
    const tni_op *none;
    return op_at(-1, &none);
}

tn_status tn_op_at(int64_t i, tn_op_info *out) {
    const tni_op *op;
    if (!out || out->size < offsetof(tn_op_info, schema))
        return tn_raise(TN_ERR_INVALID, "tn_op_at: set out->size first");
    const int64_t n = op_at(i, &op);
    if (n < 0) return tn_error();
    if (!op)
        return tn_raise(TN_ERR_INDEX, "tn_op_at: %lld is not one of the %lld ops", (long long)i,
                        (long long)n);
    info_fill(out, op);
    return TN_OK;
}

void tni_ask_not_found(const char *name) {
    tni_nearest op_meant = tni_nearest_to(name);
    for (int32_t id = 1; id <= tni_registry_last_id(); id++) {
        const tni_op *op = tni_registry_op(id);
        if (op) tni_nearest_offer(&op_meant, op->schema.name);
    }
    const char *best = op_meant.best;
    const tn_scope scope =
        tn_scope_push(); /* the list's: a name asked for in vain leaves nothing */
    tn_raise(TN_ERR_NOTFOUND, "there is no op '%s'%s%s%s; loaded plugins: %s", name,
             best ? "; did you mean '" : "", best ? best : "", best ? "'" : "", tni_plugin_list());
    tn_scope_pop(scope);
}

tn_status tn_op_find(const char *name, tn_op_info *out) {
    if (!name || !out || out->size < offsetof(tn_op_info, schema))
        return tn_raise(TN_ERR_INVALID, "tn_op_find: needs a name, and out->size set");
    if (!tni_plugins_ready()) return tn_error();
    const tni_op *op = tni_registry_find(name);
    if (!op) {
        tni_ask_not_found(name);
        return tn_error();
    }
    info_fill(out, op);
    return TN_OK;
}

tn_status tn_op_add(const tn_op *row) {
    if (!row || row->size < offsetof(tn_op, contract))
        return tn_raise(TN_ERR_INVALID, "tn_op_add: needs a row whose size is set");
    if (!tni_plugins_ready()) return tn_error();
    tn_op copy = {0};
    memcpy(&copy, row, row->size < sizeof copy ? row->size : sizeof copy);
    tni_rows rows = {.plugin = "program", .plugin_index = -2, .ops = &copy, .n_ops = 1};
    char why[400] = "";
    tn_status status = tni_registry_commit(&rows, why, sizeof why);
    return status == TN_OK ? TN_OK : tn_raise(status, "tn_op_add: %s", why);
}

const char *tn_op_providers(const char *name, const char *device_kind) {
    enum { CHAIN = 64 };
    const tni_provider *chain[CHAIN];
    if (!name || !device_kind)
        return tn_raise(TN_ERR_INVALID, "tn_op_providers: needs an op and a device kind"), NULL;
    if (!tni_plugins_ready()) return NULL;
    const tni_op *op = tni_registry_find(name);
    if (!op) return tni_ask_not_found(name), NULL;
    uint64_t n = tni_registry_providers(op, tni_device_kind_find(device_kind), chain, CHAIN),
             bytes = 1;
    for (uint64_t i = 0; i < n; i++) bytes += strlen(chain[i]->label) + 1;
    char *text = tn_scope_alloc(bytes);
    if (!text) return NULL;
    text[0] = 0;
    for (uint64_t i = 0; i < n; i++) { /* a plugin may have several rows: one per dtype class */
        bool again = false;
        for (uint64_t j = 0; j < i; j++)
            again = again || strcmp(chain[i]->label, chain[j]->label) == 0;
        if (again) continue;
        if (text[0]) strcat(text, ",");
        strcat(text, chain[i]->label);
    }
    return text;
}

/* ---- Settings of this thread ----------------------------------------------------------------- */

int32_t tn_set_math_mode(int32_t mode) {
    tni_state *st = tni_state_get();
    const int32_t was = st->math;
    if (mode < TN_MATH_EXACT || mode > TN_MATH_BF16)
        tn_raise(TN_ERR_INVALID, "tn_set_math_mode: %d is no TN_MATH_*", mode);
    else
        st->math = (uint8_t)mode;
    return was;
}

bool tn_set_deterministic(bool on) {
    tni_state *st = tni_state_get();
    bool was = st->deterministic;
    st->deterministic = on;
    return was;
}

tn_status tn_use_provider(const char *label) {
    int32_t pin = -1;
    if (label && !tni_plugins_ready()) return tn_error();
    if (label && (pin = tni_pin_find(label)) < 0) return tn_error();
    tni_state_get()->pin = pin;
    return TN_OK;
}

const char *tn_last_provider(void) {
    const tni_provider *p = tni_state_get()->last_kernel;
    return p ? p->label : "";
}

uint64_t tn_argument_copies(void) { return tni_state_get()->argument_copies; }

/* Counting begins with the first question: most programs never ask. */
uint64_t tn_provider_runs(const char *plugin_id) {
    tni_state *st = tni_state_get();
    uint64_t n = 0;
    if (!st->kernel_runs) st->kernel_runs = tni_alloc(TNI_MOST_PLUGINS * sizeof n);
    for (uint32_t i = 0; st->kernel_runs && i < TNI_MOST_PLUGINS; i++)
        if (!plugin_id || strcmp(tni_plugin_id((int32_t)i), plugin_id) == 0)
            n += st->kernel_runs[i];
    return n;
}
