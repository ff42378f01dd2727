/* probe.c - tenon-probe: loads one plugin in a process that may die of it, and says what
 * happened.
 *
 *   tenon-probe NONCE PLUGIN.so [ADDRESS DATA]
 *
 * ADDRESS and DATA: how many more bytes of address space and of private memory it may use. It
 * writes its message to descriptor 3; core/loader/probe_message.c has the format. The message is
 * the verdict; the exit status means nothing. Started by hand it prints to stdout.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/loader/causes.h"
#include "core/loader/plugin.h"
#include "core/loader/probe.h"
#include "core/loader/start.h"
#include "tools/probe/witness.h"

static void step(const char *what) {
    char line[64];
    witness_files(); /* what the last step brought in: the next may not come back */
    snprintf(line, sizeof line, "step %s\n", what);
    witness_say(line);
}

/* A status without its report: the plugin wrote over what is not its own. */
static const char not_its_own[] = "changed memory or registers of the program that called it";

static void answer(const char *nonce, const tn_plugin *p, tn_status s) {
    char line[TNI_DETAIL_BYTES + 64];
    const tni_report *r = &p->report;
    const char *text = s == TN_OK ? p->facts : r->detail[r->failed];
    if (r->code != s) s = TN_ERR_PLUGIN, text = not_its_own;
    snprintf(line, sizeof line, "answer %s %d %s %.390s\n", nonce, s,
             tni_stage_name(s == TN_OK ? TNI_STAGE_REGISTERED : r->failed), text);
    witness_files();
    witness_say(line);
}

/* ---- Limits ---------------------------------------------------------------------------------- */

static void lower(int limit, uint64_t most) {
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)limit, &r) != 0 || most >= r.rlim_cur) return;
    r.rlim_cur = most;
    setrlimit((__rlimit_resource_t)limit, &r);
}

/* Leaves this process as much room as the host has, whatever either of them uses already. */
static void leave_room(uint64_t address, uint64_t data) {
    tni_room used = tni_causes_in_use();
    if (address < UINT64_MAX / 2) lower(RLIMIT_AS, address + used.address);
    if (data < UINT64_MAX / 2) lower(RLIMIT_DATA, data + used.data);
}

static void set_limits(int argc, char **argv) {
    lower(RLIMIT_CORE, 0); /* dying is this program's trade */
    lower(RLIMIT_CPU, TNI_PROBE_CPU_SECONDS);
    if (argc == 5) leave_room(strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

int main(int argc, char **argv) {
    char hello[64];
    if ((argc != 3 && argc != 5) || strlen(argv[1]) > TNI_PROBE_NONCE) {
        fprintf(stderr, "usage: tenon-probe NONCE PLUGIN.so [ADDRESS DATA]\n");
        return 2;
    }
    witness_begin(fcntl(TNI_PROBE_FD, F_GETFD) < 0 ? STDOUT_FILENO : TNI_PROBE_FD);
    set_limits(argc, argv);
    snprintf(hello, sizeof hello, "probe %s\n", argv[1]);
    witness_say(hello);
    tn_plugin *p = tni_plugin_new("given", argv[2]);
    if (!p) return 1;
    answer(argv[1], p, tni_start_dry(p, step));
    _exit(0); /* destructors of the plugin are not asked */
}
