/* probe_message.c - reads what tenon-probe says.
 *
 * The message, on descriptor 3, one line each:
 *   probe NONCE             the helper is up
 *   step WHAT               what it does next: dlopen, query, start, rows
 *   option KEY              the plugin asked for this option
 *   file PATH               this file is mapped
 *   answer NONCE CODE STAGE TEXT
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/probe_message.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/text.h"

int64_t tni_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static void answer_parse(const char *line, const tni_message *m) {
    char nonce[TNI_PROBE_NONCE + 1], stage[16];
    int32_t code;
    int at = 0;
    if (sscanf(line, "answer %16s %d %15s %n", nonce, &code, stage, &at) != 3 || at == 0 ||
        strcmp(nonce, m->nonce) != 0 || code < 0)
        return;
    tni_text_format(m->out->text, sizeof m->out->text, "%s", line + at);
    m->out->code = code;
    for (int i = 0; i < TNI_STAGES; i++) {
        if (strcmp(stage, tni_stage_name((tni_stage)i)) != 0) continue;
        m->out->stage = (tni_stage)i;
        m->out->answered = true;
    }
}

static void line_parse(const char *line, tni_message *m) {
    tni_probe_answer *out = m->out;
    if (strncmp(line, "probe ", 6) == 0 && strcmp(line + 6, m->nonce) == 0)
        out->ran = true;
    else if (strncmp(line, "step ", 5) == 0)
        snprintf(m->step, sizeof m->step, "%.15s", line + 5);
    else if (strncmp(line, "option ", 7) == 0)
        out->told &= tni_causes_add_option(out->causes, line + 7);
    else if (strncmp(line, "file ", 5) == 0)
        out->told &= tni_causes_add_file(out->causes, line + 5);
    else
        answer_parse(line, m);
}

static void lines_parse(tni_message *m) {
    char *line = m->line;
    for (char *end; (end = memchr(line, '\n', m->n_line - (uint64_t)(line - m->line))) != NULL;
         line = end + 1) {
        *end = 0;
        line_parse(line, m);
    }
    m->n_line -= (uint64_t)(line - m->line);
    memmove(m->line, line, m->n_line);
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* False at the end of the message, also of one whose line never ends. */
static bool read_message(tni_message *m) {
    const ssize_t got = read(m->message, m->line + m->n_line, sizeof m->line - 1 - m->n_line);
    if (got < 0 && errno == EINTR) return true;
    if (got <= 0) return false;
    m->n_line += (uint64_t)got;
    lines_parse(m);
    return m->n_line < sizeof m->line - 1;
}

/* Keeps the beginning, and reads all, so that nobody waits to write it. False at its end. */
static bool read_text(tni_message *m) {
    char more[512];
    const ssize_t got = read(m->text, more, sizeof more);
    if (got < 0 && errno == EINTR) return true;
    if (got <= 0) return false;
    const uint64_t room = sizeof m->wrote - 1 - m->n_wrote;
    const uint64_t n = (uint64_t)got < room ? (uint64_t)got : room;
    memcpy(m->wrote + m->n_wrote, more, n);
    m->n_wrote += n;
    return true;
}

bool tni_message_receive(tni_message *m, int64_t deadline) {
    bool text = true;
    while (!m->out->answered) {
        struct pollfd p[2] = {{.fd = m->message, .events = POLLIN},
                              {.fd = text ? m->text : -1, .events = POLLIN}};
        const int64_t left = deadline - tni_now_ms();
        if (left <= 0) return false;
        if (poll(p, 2, (int)left) <= 0) continue; /* a signal, or the deadline */
        if (p[1].revents) text = read_text(m);
        if (p[0].revents && !read_message(m)) return true;
    }
    return true;
}

/* ---- What was written in its name ------------------------------------------------------------ */

/* Lines joined by blanks; rulers and empty lines say nothing. */
static void join_lines(char *text) {
    char *to = text;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        const size_t n = strlen(line);
        if (strspn(line, "=-* \t\r") == n) continue;
        if (to > text) *to++ = ' ';
        memmove(to, line, n);
        to += n;
    }
    *to = 0;
}

void tni_message_quote(tni_message *m) {
    enum { MOST_QUOTED = 280 };
    char *text = m->out->text;
    fcntl(m->text, F_SETFL, O_NONBLOCK); /* who else holds its other end is not waited for */
    while (read_text(m)) {
    }
    m->wrote[m->n_wrote] = 0;
    for (uint64_t i = 0; i < m->n_wrote; i++)
        if (m->wrote[i] == 0) m->wrote[i] = ' ';
    join_lines(m->wrote);
    const uint64_t n = strlen(text), room = sizeof m->out->text - n;
    if (m->wrote[0] && room > 32)
        tni_text_format(text + n, room, "; it wrote: %.*s", MOST_QUOTED, m->wrote);
}
