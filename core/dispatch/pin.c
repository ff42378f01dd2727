/* pin.c - whom a thread wants to be asked first: a plugin, or its kernels of one name.
 *
 * A pin is the plugin's index; one with a name has a number behind those, which it keeps for ever,
 * so that keys may hold it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/dispatch/pin.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "core/base/error.h"
#include "core/dispatch/plugins.h"

enum { MOST_NAMED = 256 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* who adds one */
static const tni_provider *named[MOST_NAMED];            /* some row of that name each */
static _Atomic int32_t n_named;

static bool same_name(const tni_provider *a, const tni_provider *b) {
    return a->plugin_index == b->plugin_index && strcmp(a->row.name, b->row.name) == 0;
}

bool tni_pinned(const tni_provider *p, int32_t pin) {
    return pin < TNI_MOST_PLUGINS ? p->plugin_index == pin
                                  : same_name(p, named[pin - TNI_MOST_PLUGINS]);
}

static int32_t number_of(const tni_provider *row) {
    pthread_mutex_lock(&lock);
    int32_t i = 0, n = atomic_load(&n_named);
    while (i < n && !same_name(named[i], row)) i++;
    if (i == n && n < MOST_NAMED) {
        named[n] = row;
        atomic_store(&n_named, n + 1);
    }
    pthread_mutex_unlock(&lock);
    if (i < MOST_NAMED) return TNI_MOST_PLUGINS + i;
    tn_raise(TN_ERR_NOMEM, "tn_use_provider: '%s' would be one of too many names", row->label);
    return -1;
}

static int32_t no_plugin(const char *id) {
    const tn_scope scope = tn_scope_push(); /* the list's */
    tn_raise(TN_ERR_NOTFOUND, "no plugin '%s' is loaded; loaded: %s", id, tni_plugin_list());
    tn_scope_pop(scope);
    return -1;
}

int32_t tni_pin_find(const char *label) {
    char id[TNI_LABEL_BYTES];
    const size_t n = strcspn(label, "/");
    const char *name = label[n] ? label + n + 1 : NULL;
    if (n >= sizeof id) return no_plugin(label);
    memcpy(id, label, n);
    id[n] = 0;
    const int32_t index = tni_plugin_find(id);
    if (index < 0) return no_plugin(id);
    if (tni_plugin_kernels(index) == 0)
        return tn_raise(TN_ERR_UNSUPPORTED,
                        "tn_use_provider: plugin '%s' has no kernels, so no call can run on it; "
                        "`tenon plugins` shows who has",
                        id),
               -1;
    const tni_provider *row = name ? tni_registry_named(index, name) : NULL;
    if (row) return number_of(row);
    if (!name) return index;
    tn_raise(TN_ERR_NOTFOUND, "tn_use_provider: plugin '%s' has no kernel named '%s'", id, name);
    return -1;
}
