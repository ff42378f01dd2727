/* probe.c - tenon-probe: loads one plugin in a process that may die of it, and says what happened.
 *
 *   tenon-probe NONCE PLUGIN.so       writes its message to descriptor 3 (core/probe.c has the
 * format)
 *
 * The message is the verdict; the exit status means nothing. Started by hand it prints to stdout.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/loader.h"
#include "core/probe.h"

static int g_out = TNI_PROBE_FD;

static void say(const char *text) {
    for (size_t n = strlen(text); n > 0;) {
        ssize_t done = write(g_out, text, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return;
        text += done, n -= (size_t)done;
    }
}

static void step(const char *what) {
    char line[64];
    snprintf(line, sizeof(line), "step %s\n", what);
    say(line);
}

/* A status without its report: the plugin wrote over what is not its own. */
static const char not_its_own[] = "changed memory or registers of the program that called it";

static void answer(const char *nonce, const tn_plugin *p, tn_status s) {
    char line[TNI_DETAIL_BYTES + 64];
    const tni_report *r = &p->report;
    const char *text = s == TN_OK ? p->facts : r->detail[r->failed];
    if (r->code != s) s = TN_ERR_PLUGIN, text = not_its_own;
    snprintf(line, sizeof(line), "answer %s %d %s %.390s\n", nonce, s,
             tni_stage_name(s == TN_OK ? TNI_STAGE_REGISTERED : r->failed), text);
    say(line);
}

int main(int argc, char **argv) {
    char hello[64];
    const struct rlimit none = {0, 0};
    if (argc != 3 || strlen(argv[1]) > TNI_PROBE_NONCE) {
        fprintf(stderr, "usage: tenon-probe NONCE PLUGIN.so\n");
        return 2;
    }
    if (fcntl(TNI_PROBE_FD, F_GETFD) < 0) g_out = STDOUT_FILENO;
    setrlimit(RLIMIT_CORE, &none); /* dying is this program's trade */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(hello, sizeof(hello), "probe %s\n", argv[1]);
    say(hello);
    tn_plugin *p = tni_plugin_new("given", argv[2]);
    if (p == NULL) return 1;
    answer(argv[1], p, tni_load_dry(p, step));
    _exit(0); /* destructors of the plugin are not asked */
}
