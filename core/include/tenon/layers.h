/* tenon/layers.h - standing in calls: layers, and two that come with the library: a trace, and
 * capture with replay. Draft: it may still change. docs/layers.md shows how.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LAYERS_H
#define TENON_LAYERS_H

#include <tenon/abi_layers.h>
#include <tenon/tenon.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Layers ------------------------------------------------------------------------------------
 *
 * A layer is of the thread that pushed it. It is copied, so it need not last; its name and user
 * must. A function of the program that the library runs (a hook, a derivative) leaves the stack as
 * it found it: what it pushes ends with it. */

/* Makes it the innermost. INVALID while a layer stands in a call, or if it is there already. */
TN_API tn_status tn_layer_push(const tn_layer *);
/* The innermost one, and no other (INVALID); works while an error is pending. */
TN_API tn_status tn_layer_pop(const tn_layer *);
/* In tn_layer.call: gives this call, or another in its place, to the layer below, in the end to the
 * library. May be called several times, or not at all. */
TN_API tn_status tn_layer_pass(tn_op_ref *op, const tn_value *args, uint32_t n_args, tn_value *outs,
                               uint32_t n_outs);

/* ---- Trace -------------------------------------------------------------------------------------
 *
 * What this thread calls, as a tree: each op with its tensors, who ran it, and how long it took;
 * below it its parts; and derivatives with what they call. Lines of up to 100 characters. */

typedef struct tn_tracer tn_tracer;
typedef void (*tn_tracer_fn)(void *user, const char *line);

/* NULL: lines go to stderr. NULL on error. */
TN_API tn_tracer *tn_tracer_begin(tn_tracer_fn line, void *user);
/* NULL is fine; works while an error is pending. STALE if it has ended. */
TN_API tn_status tn_tracer_end(tn_tracer *);

/* ---- Capture and replay ------------------------------------------------------------------------
 *
 * A capture records the kernels that this thread runs, with the memory they work on, and replays
 * them without the rest of a call. What a replay reads and writes are the very tensors of the
 * captured region, so inputs are exchanged with tn_write, and results read from what the region
 * returned. All they lie in is held until tn_capture_free. Numbers given as arguments, and tensors
 * made in the region from numbers or from the host (tn_zeros, tn_from, tn_scalar), are again what
 * they were; random numbers go on where their generator stands.
 *
 * A region that reads or writes elements on the host (tn_item, tn_read, tn_write, tn_data), whose
 * sizes depend on data, or that runs on another device than the cpu, is refused: UNSUPPORTED. */

typedef struct tn_capture tn_capture;

/* From here on until tn_capture_end; what runs in between runs as ever. NULL on error. */
TN_API tn_capture *tn_capture_begin(void);
/* Layers pushed in between are popped by now. An error, of the region too, leaves nothing to
 * replay. */
TN_API tn_status tn_capture_end(tn_capture *);
/* On any thread, but on one at a time; its layers are not told. Ends at the first error. */
TN_API tn_status tn_replay(tn_capture *);
/* How many kernels it runs; -1 on error. */
TN_API int64_t tn_capture_runs(tn_capture *);
/* STALE for what was freed; NULL is fine. Works while an error is pending. */
TN_API tn_status tn_capture_free(tn_capture *);

#ifdef __cplusplus
}
#endif
#endif
