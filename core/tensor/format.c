/* format.c - tensors as text: "f32[2,3] [[1, 2, 3], [4, 5, 6]]".
 *
 * Beyond 1000 elements only the first and last three of each dim are shown. Invariant: the text is
 * bounded whatever the shape (an expanded tensor can have 2^62 elements), and does not depend on
 * the locale.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/tensor/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <tenon/abi_text.h>

#include "core/base/dtype.h"
#include "core/base/geometry.h"
#include "core/base/heap.h"
#include "core/memory/buffer.h"
#include "core/memory/device.h"
#include "core/tensor/tensor.h"
#include "core/tensor/transfer.h"
#include "core/tensor/watch.h"

enum { WHOLE_ELEMENTS = 1000, EDGE = 3, SHOWN_ELEMENTS = 10000, START_BYTES = 256 };

uint64_t tni_shape_text(const tn_meta *m, char *out, uint64_t capacity) {
    if (capacity == 0) return 0;
    uint64_t n = 0;
    for (int32_t i = -1; i <= m->rank; i++) {
        char part[48];
        if (i < 0) {
            snprintf(part, sizeof part, "%s[", tn_dtype_name(m->dtype));
        } else if (i < m->rank) {
            snprintf(part, sizeof part, "%s%" PRId64, i ? "," : "", m->sizes[i]);
        } else {
            snprintf(part, sizeof part, "]");
        }
        const uint64_t length = strlen(part), room = capacity - 1 - n;
        memcpy(out + n, part, length < room ? length : room);
        n += length < room ? length : room;
    }
    out[n] = '\0';
    return n;
}

uint64_t tni_tensor_text(const tn_tensor *t, char *out, uint64_t capacity) {
    tn_meta m;
    tni_tensor_meta(t, &m);
    return tni_shape_text(&m, out, capacity);
}

typedef struct writer {
    char *text; /* heap; always ends with NUL once it is there */
    uint64_t length, capacity;
    const tn_tensor *tensor;
    const char *data; /* element 0, in memory the cpu can reach */
    const int64_t *strides;
    int64_t shown;
    bool cut; /* long dims show their edges only */
    bool failed;
} writer;

static void put(writer *w, const char *part) {
    const uint64_t n = strlen(part);
    if (w->failed) return;
    if (w->length + n + 1 > w->capacity) {
        const uint64_t wanted = (w->capacity ? w->capacity * 2 : START_BYTES) + n;
        char *larger = tni_realloc(w->text, w->capacity, wanted);
        if (!larger) {
            w->failed = true;
            return;
        }
        w->text = larger;
        w->capacity = wanted;
    }
    memcpy(w->text + w->length, part, n + 1);
    w->length += n;
}

static void put_element(writer *w, const char *p) {
    const tn_dtype d = w->tensor->dtype;
    char text[64];
    if (d.code == 6) {
        snprintf(text, sizeof text, "%s", tni_element_int(p, d) ? "true" : "false");
    } else if (d.code == 0 || d.code == 1) {
        snprintf(text, sizeof text, "%" PRId64, tni_element_int(p, d));
    } else {
        const double f = tni_element_float(p, d);
        tn_text(text, sizeof text, "%.6g", f);
        if (f != f) snprintf(text, sizeof text, "nan"); /* glibc shows its sign */
    }
    put(w, text);
}

/* Recursion goes as deep as the rank, at most TN_MAX_RANK. */
static void put_dim(writer *w, int32_t dim, const char *p) {
    const tn_tensor *t = w->tensor;
    if (dim == t->rank) {
        w->shown++;
        put_element(w, p);
        return;
    }
    const int64_t n = t->sizes[dim], step = w->strides[dim] * tni_dtype_bytes(t->dtype);
    const bool edges = w->cut && n > 2 * EDGE;
    put(w, "[");
    for (int64_t i = 0; i < n && !w->failed; i++) {
        if (i) put(w, ", ");
        if (w->shown >= SHOWN_ELEMENTS || (edges && i == EDGE)) {
            put(w, "...");
            if (w->shown >= SHOWN_ELEMENTS) break;
            i = n - EDGE - 1;
            continue;
        }
        put_dim(w, dim + 1, p + i * step);
    }
    put(w, "]");
}

static void put_all(writer *w) {
    char shape[512];
    tni_tensor_text(w->tensor, shape, sizeof shape);
    put(w, shape);
    put(w, " ");
    if (w->tensor->numel == 0) {
        put(w, "[]"); /* however many empty rows there are */
    } else {
        put_dim(w, 0, w->data);
    }
}

static const char *give_to_scope(writer *w) {
    char *text = NULL;
    if (w->failed) {
        tn_raise(TN_ERR_NOMEM, "tn_to_string: no memory for the text; free memory");
    } else {
        text = tn_scope_alloc(w->length + 1);
        if (text) memcpy(text, w->text, w->length + 1);
    }
    tni_free(w->text);
    return text ? text : "";
}

/* Memory the cpu cannot reach is copied whole, dense, first. */
static const char *format_copy(const tn_tensor *t) {
    const uint64_t bytes = (uint64_t)(t->numel * tni_dtype_bytes(t->dtype));
    char *copy = tni_buffer_alloc(&tni_host, bytes);
    if (!copy) {
        tn_raise(TN_ERR_NOMEM, "tn_to_string: no memory for a copy of %llu bytes; free memory",
                 (unsigned long long)bytes);
        return "";
    }
    int64_t dense[TN_MAX_RANK];
    tni_row_major(t->sizes, t->rank, dense);
    writer w = {.tensor = t, .data = copy, .strides = dense, .cut = t->numel > WHOLE_ELEMENTS};
    const char *text = "";
    if (tni_tensor_download(t, copy, "tn_to_string") == TN_OK) {
        put_all(&w);
        text = give_to_scope(&w);
    }
    tni_buffer_free(&tni_host, copy, bytes);
    return text;
}

const char *tn_to_string(tn_tensor *t) {
    if (!tni_tensor_check(t, "tn_to_string", "tensor") || !tni_may_touch(t, "tn_to_string"))
        return "";
    if (!t->storage->place->host_memory) return format_copy(t);
    writer w = {.tensor = t,
                .data = tni_tensor_data(t),
                .strides = t->strides,
                .cut = t->numel > WHOLE_ELEMENTS};
    put_all(&w);
    return give_to_scope(&w);
}
