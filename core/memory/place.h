/* place.h - where bytes lie and where work runs: one stream of one device.
 *
 * A device has one place from the start, that of its default stream, and one more for each stream a
 * program makes; the cpu has one. Invariant: places are never freed (a stream that was is kept for
 * the next that is made), so a storage may always name its own.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_MEMORY_PLACE_H
#define TENON_MEMORY_PLACE_H

#include <tenon/abi_driver.h>
#include <tenon/device.h>

enum { TNI_CALLED = 64 };

typedef struct tn_stream tni_place;
struct tn_stream {
    uint32_t state;   /* may a program use it? (stream.c) */
    bool host_memory; /* the cpu can read and write it */
    tn_device device;
    const tn_driver *driver;
    int32_t index;       /* of the device among the driver's */
    int32_t memory_kind; /* TN_MEMORY_* */
    void *stream;        /* the driver's; NULL: the one it has without asking */
    tni_place *first;    /* of the device: its default stream's */
    tni_place *next;     /* more streams of the device; under the lock of stream.c */
    tni_place *pinned;   /* of `first`: host memory that its copies reach by themselves */
    void *idle[8]; /* of `first`: events of the driver, for reuse; under the lock of event.c */
    uint32_t n_idle;
    uint64_t calls; /* queued here so far, and the ops of the latest (fault.c) */
    const char *called[TNI_CALLED];
    tn_error_word word;
};

extern tni_place tni_host; /* the cpu's */

/* Where this thread makes tensors. */
tni_place *tni_place_here(void);
/* The default stream's of a device; NULL + DEVICE if there is none. */
tni_place *tni_place_known(tn_device, const char *where);
/* Where this thread's calls on tensors at `p` run: its current stream, if that is of p's device,
 * else the device's default one. */
tni_place *tni_place_current_slowly(tni_place *p);
static inline tni_place *tni_place_current(tni_place *p) {
    return __builtin_expect(p == &tni_host, 1) ? p : tni_place_current_slowly(p);
}

/* Host memory of the device's driver, to which and from which copies need no waiting; on the cpu.
 * NULL without memory. */
tni_place *tni_place_pinned(tni_place *);

static inline bool tni_same_device(const tni_place *a, const tni_place *b) {
    return a->first == b->first;
}

#endif
