/* anomaly.c - see anomaly.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/autograd/anomaly.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tenon/abi_text.h>
#include <tenon/hooks.h>

#include "core/autograd/extra.h"
#include "core/base/dtype.h"
#include "core/base/error.h"
#include "core/base/heap.h"
#include "core/tensor/format.h"

enum { FRAMES = 24, SHOWN = 4, RECORDING = 4 /* frames of the recording itself */ };

typedef struct tni_trace {
    uint64_t call;   /* number of the recorded call on its thread, in anomaly mode */
    bool from, made; /* an argument, a result holds a NaN */
    int32_t n_frames;
    void *frames[FRAMES]; /* return addresses, innermost first */
} tni_trace;

bool tn_set_anomaly_mode(bool on) {
    tni_state *state = tni_state_get();
    const bool was = state->anomaly;
    state->anomaly = on;
    return was;
}

bool tn_anomaly_mode(void) { return tni_state_get()->anomaly; }

/* ---- Looking for NaN ------------------------------------------------------------------------- */

/* The row-major position of the first NaN, or -1. A tensor that cannot be read has none. */
static int64_t find_nan(tn_tensor *t) {
    if (!tn_dtype_in(t->dtype, TN_MASK_FLOAT) || t->numel == 0) return -1;
    const int64_t bytes = tni_dtype_bytes(t->dtype);
    int64_t found = -1;
    char *host = tni_alloc((uint64_t)(t->numel * bytes));
    const tni_error_frame outer = tni_error_frame_enter();
    if (host && tn_read(t, host, (uint64_t)(t->numel * bytes)) == TN_OK)
        for (int64_t i = 0; found < 0 && i < t->numel; i++)
            if (isnan(tni_element_float(host + i * bytes, t->dtype))) found = i;
    tn_clear_error();
    tni_error_frame_leave(outer);
    tni_free(host);
    return found;
}

static bool has_nan(tn_tensor *t) { return t && find_nan(t) >= 0; }

/* ---- While recording ------------------------------------------------------------------------- */

bool tni_trace_begin(tni_node *n, const tn_value *args, uint32_t n_args) {
    tni_extra *extra = tni_extra_of(n);
    tni_trace *trace = extra ? tni_alloc(sizeof *trace) : NULL;
    if (!trace) {
        if (extra)
            tn_raise(TN_ERR_NOMEM, "anomaly mode: no memory for the call of '%s'",
                     n->op->schema.name);
        return false;
    }
    memset(trace, 0, sizeof *trace);
    trace->call = ++tni_tls.anomaly_calls;
    trace->n_frames = backtrace(trace->frames, FRAMES);
    for (uint32_t i = 0; i < n_args && !trace->from; i++) {
        if (args[i].tag == TN_TAG_TENSOR) trace->from = has_nan(args[i].tensor);
        for (uint32_t k = 0; args[i].tag == TN_TAG_TENSORS && k < args[i].aux && !trace->from; k++)
            trace->from = has_nan(args[i].tensors[k]);
    }
    extra->trace = trace;
    return true;
}

void tni_trace_results(tni_node *n, tn_tensor *const *results, uint32_t n_results) {
    tni_trace *trace = n->extra ? n->extra->trace : NULL;
    for (uint32_t i = 0; trace && i < n_results && !trace->made; i++)
        trace->made = has_nan(results[i]);
}

void tni_trace_free(tni_trace *trace) { tni_free(trace); }

/* ---- In a backward pass ---------------------------------------------------------------------- */

bool tni_anomaly_came_in(const tni_node *n) {
    for (uint32_t i = 0; i < n->n_results; i++)
        if (has_nan(n->results[i].grad)) return true;
    return false;
}

static const char *argument_of(const tni_node *n, uint32_t slot) {
    for (uint32_t i = 0; i < n->n_values; i++) {
        const tn_value *v = &n->values[i];
        const bool tensors = v->tag == TN_TAG_TENSOR || v->tag == TN_TAG_TENSORS;
        if (tensors && slot >= (uint64_t)v->i && slot < (uint64_t)v->i + v->aux)
            return n->op->schema.params[i].name;
    }
    return "?";
}

typedef struct text {
    char *at;
    size_t left;
} text;

__attribute__((format(printf, 2, 3))) static void put(text *t, const char *format, ...) {
    va_list list;
    va_start(list, format);
    const int n = tn_vtext(t->at, t->left, format, list);
    va_end(list);
    const size_t used = n < 0 ? 0 : (size_t)n < t->left ? (size_t)n : t->left - 1;
    t->at += used, t->left -= used;
}

/* "train_step (digits+0x1a2b)": addr2line -e digits 0x1a2b gives the line. */
static void put_frame(text *t, const void *frame, const Dl_info *info) {
    const char *file = strrchr(info->dli_fname, '/');
    put(t, "\n  called from %s (%s+0x%llx)", info->dli_sname ? info->dli_sname : "?",
        file ? file + 1 : info->dli_fname,
        (unsigned long long)((uintptr_t)frame - (uintptr_t)info->dli_fbase));
}

/* The innermost frames outside this library: who made the call. A program that is linked with it
 * statically has none such; there, those above the recording itself. */
static void put_callers(text *t, const tni_trace *trace) {
    Dl_info self, info;
    const char *own = dladdr(trace->frames[0], &self) ? self.dli_fname : "";
    int32_t shown = 0;
    for (int32_t i = 0; i < trace->n_frames && shown < SHOWN; i++) {
        if (!dladdr(trace->frames[i], &info) || !info.dli_fname) continue;
        const bool inside = strcmp(info.dli_fname, own) == 0;
        if (inside && (i < RECORDING || strstr(own, "libtenon"))) continue;
        put_frame(t, trace->frames[i], &info);
        shown++;
    }
}

static void put_call(text *t, const tni_node *n) {
    const tni_trace *trace = n->extra ? n->extra->trace : NULL;
    char shape[256];
    tn_meta m;
    put(t, "\n  the call: %s(", n->op->schema.name);
    for (uint32_t i = 0; i < n->n_slots; i++) {
        if (n->slots[i].flags & TNI_SLOT_ABSENT) continue;
        tni_slot_meta(&n->slots[i], &m);
        tni_shape_text(&m, shape, sizeof shape);
        put(t, "%s%s %s", i ? ", " : "", argument_of(n, i), shape);
    }
    put(t, ")");
    if (!trace) {
        put(t, "; turn anomaly mode on before the forward pass to see who called");
        return;
    }
    put(t, ", recorded call %llu of its thread", (unsigned long long)trace->call);
    if (trace->from || trace->made)
        put(t, "; in the forward pass %s",
            trace->from ? "an argument already held a NaN" : "its result already held a NaN");
    put_callers(t, trace);
}

bool tni_anomaly_check(const tni_node *n, bool had_nan) {
    for (uint32_t k = 0; k < n->n_slots; k++) {
        tn_tensor *grad = n->slots[k].grad;
        const int64_t at = grad ? find_nan(grad) : -1;
        if (at < 0) continue;
        char message[1600];
        text t = {message, sizeof message};
        put(&t, "the gradient of '%s' has a NaN at element %lld of %lld; %s", argument_of(n, k),
            (long long)at, (long long)grad->numel,
            had_nan ? "the gradient that came in already had one"
                    : "the gradient that came in had none: it begins here");
        put_call(&t, n);
        tn_raise(TN_ERR_GRAD, "%s", message);
        return false;
    }
    return true;
}
