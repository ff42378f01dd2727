/* probe_message.h - reading what tenon-probe says.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_LOADER_PROBE_MESSAGE_H
#define TENON_LOADER_PROBE_MESSAGE_H

#include "core/loader/probe.h"

typedef struct tni_message {
    const char *nonce;
    int message, text; /* where it comes from; -1: ended */
    char step[16];     /* the last one it announced */
    char wrote[1024];  /* what the plugin, or who speaks for it, wrote to stdout and stderr */
    char line[4096];   /* what is read, and no whole line yet */
    uint64_t n_line, n_wrote;
    tni_probe_answer *out;
} tni_message;

/* Reads until the answer, the end, or the deadline. True unless the deadline came first. */
bool tni_message_receive(tni_message *, int64_t deadline_ms);
/* What is left of the text; then puts it behind out->text. */
void tni_message_quote(tni_message *);
int64_t tni_now_ms(void);

#endif
