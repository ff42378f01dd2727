/* probe.c - starts tenon-probe, and ends it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/loader/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/heap.h"
#include "core/base/text.h"
#include "core/loader/advice.h"
#include "core/loader/probe_message.h"

enum { LIMIT_MS = 10000, REAP_MS = 500, LAST_WORDS_MS = 300 };

/* ---- Settings -------------------------------------------------------------------------------- */

static _Atomic int policy = TNI_PROBE_TRY;
static _Atomic uint32_t limit_ms = LIMIT_MS;

void tni_probe_policy_set(tni_probe_policy p) { atomic_store(&policy, (int)p); }

void tni_probe_limit_set(uint32_t ms) { atomic_store(&limit_ms, ms ? ms : LIMIT_MS); }

tni_probe_policy tni_probe_policy_of(const tni_search *s) {
    const char *env = s->safe_mode ? NULL : secure_getenv("TENON_PROBE_POLICY");
    if (env && strcmp(env, "require") == 0) return TNI_PROBE_REQUIRE;
    if (env && strcmp(env, "try") == 0) return TNI_PROBE_TRY;
    if (env && strcmp(env, "off") == 0) return TNI_PROBE_OFF;
    return (tni_probe_policy)atomic_load(&policy);
}

/* ---- Starting it ----------------------------------------------------------------------------- */

static char **clean_environment(const char *prefixes) {
    uint64_t n = 0, kept = 0;
    while (environ && environ[n]) n++;
    char **out = tni_alloc((n + 1) * sizeof *out);
    for (uint64_t i = 0; i < n && out; i++)
        if (tni_causes_passed_on(environ[i], prefixes)) out[kept++] = environ[i];
    return out;
}

/* Its descriptors: the message at TNI_PROBE_FD, all that is written in its name at 1 and 2. */
static int spawn_with(const char *program, char *const *argv, char **env, const int to[2],
                      pid_t *pid) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int bad = posix_spawn_file_actions_init(&files);
    if (bad) return bad;
    bad = posix_spawnattr_init(&attr);
    if (bad) goto drop_files;
    bad |= posix_spawn_file_actions_adddup2(&files, to[0], TNI_PROBE_FD);
    bad |= posix_spawn_file_actions_adddup2(&files, to[1], 1);
    bad |= posix_spawn_file_actions_adddup2(&files, to[1], 2);
    bad |= posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    bad |= posix_spawn_file_actions_addclosefrom_np(&files, TNI_PROBE_FD + 1);
    bad |= posix_spawnattr_setsigmask(&attr, &none);
    bad |= posix_spawnattr_setsigdefault(&attr, &all);
    bad |= posix_spawnattr_setpgroup(&attr, 0); /* what the plugin starts ends with it */
    bad |= posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                               POSIX_SPAWN_SETPGROUP);
    if (!bad) bad = posix_spawn(pid, program, &files, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
drop_files:
    posix_spawn_file_actions_destroy(&files);
    return bad;
}

/* A pipe whose ends are none of the descriptors the child puts them at. */
static int pipe_above(int ends[2]) {
    if (pipe2(ends, O_CLOEXEC) != 0) return errno;
    for (int i = 0; i < 2; i++) {
        if (ends[i] > TNI_PROBE_FD) continue;
        const int higher = fcntl(ends[i], F_DUPFD_CLOEXEC, TNI_PROBE_FD + 1), bad = errno;
        close(ends[i]);
        ends[i] = higher;
        if (higher >= 0) continue;
        close(ends[1 - i]);
        return bad;
    }
    return 0;
}

static void close_both(const int ends[2]) {
    close(ends[0]);
    close(ends[1]);
}

/* Starts it with two pipes; m reads from them. */
static int start_piped(const char *program, char *const *argv, char **env, pid_t *pid,
                       tni_message *m) {
    int message[2], text[2];
    int bad = pipe_above(message);
    if (bad) return bad;
    bad = pipe_above(text);
    if (bad) {
        close_both(message);
        return bad;
    }
    bad = spawn_with(program, argv, env, (const int[]){message[1], text[1]}, pid);
    if (bad) {
        close_both(message);
        close_both(text);
        return bad;
    }
    close(message[1]);
    close(text[1]);
    m->message = message[0];
    m->text = text[0];
    return 0;
}

static int start(const char *program, const char *plugin, const char *prefixes,
                 const tni_room *room, pid_t *pid, tni_message *m) {
    char name[] = "tenon-probe", token[TNI_PROBE_NONCE + 1], address[24], data[24];
    char *path = tni_strdup(plugin);
    char **env = clean_environment(prefixes);
    snprintf(token, sizeof token, "%s", m->nonce);
    snprintf(address, sizeof address, "%llu", (unsigned long long)room->address);
    snprintf(data, sizeof data, "%llu", (unsigned long long)room->data);
    char *const argv[] = {name, token, path, address, data, NULL};
    const int bad = path && env ? start_piped(program, argv, env, pid, m) : ENOMEM;
    tni_free(path);
    tni_free(env);
    return bad;
}

/* ---- Ending it ------------------------------------------------------------------------------- */

/* Gives it a moment to end by itself if `gently`, then ends it. -1: somebody else took the
 * status. */
static int reap(pid_t pid, bool gently) {
    int status = -1;
    const struct timespec nap = {0, 1000000};
    for (int i = 0; gently && i < REAP_MS; i++) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid) {
            kill(-pid, SIGKILL); /* what it may have left behind */
            return status;
        }
        if (got < 0 && errno != EINTR) return -1;
        nanosleep(&nap, NULL);
    }
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
    pid_t got;
    while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {
    }
    return got == pid ? status : -1;
}

static void explain(const tni_message *m, bool in_time, int status) {
    const char *where = m->step[0] ? m->step : "the start of the probe";
    char *text = m->out->text;
    uint64_t n = sizeof m->out->text;
    m->out->late = !in_time;
    if (!in_time)
        tni_text_format(text, n, "did not come back within %u ms, in %s",
                        (unsigned)atomic_load(&limit_ms), where);
    else if (status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        tni_text_format(text, n, "used up the %d s of processor time it had, in %s",
                        TNI_PROBE_CPU_SECONDS, where);
    else if (status != -1 && WIFSIGNALED(status))
        tni_text_format(text, n, "crashed the probe with SIG%s, in %s",
                        sigabbrev_np(WTERMSIG(status)) ? sigabbrev_np(WTERMSIG(status)) : "?",
                        where);
    else if (status != -1 && WIFEXITED(status))
        tni_text_format(text, n, "ended the probe with exit status %d, in %s", WEXITSTATUS(status),
                        where);
    else
        tni_text_format(text, n, "the probe ended without an answer, in %s", where);
}

/* A plugin may die of what it is not given. */
static void explain_room(const tni_room *room, tni_probe_answer *out) {
    const uint64_t n = strlen(out->text),
                   least = room->data < room->address ? room->data : room->address;
    if (least != UINT64_MAX)
        tni_text_format(out->text + n, sizeof out->text - n, ", with %llu MiB of memory to map",
                        (unsigned long long)(least >> 20));
}

static void make_nonce(char out[TNI_PROBE_NONCE + 1]) {
    uint64_t random = (uint64_t)tni_now_ms();
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0) random ^= (uint64_t)getpid() << 32;
    snprintf(out, TNI_PROBE_NONCE + 1, "%016llx", (unsigned long long)random);
}

/* Hears it out, and ends it. */
static void converse(tni_message *m, pid_t pid, const tni_room *room) {
    bool in_time = tni_message_receive(m, tni_now_ms() + atomic_load(&limit_ms));
    if (!in_time) { /* asks for its last words: which files it uses */
        kill(pid, SIGTERM);
        tni_message_receive(m, tni_now_ms() + LAST_WORDS_MS);
    }
    const int status = reap(pid, in_time && !m->out->answered);
    if (!m->out->answered) {
        explain(m, in_time, status);
        explain_room(room, m->out);
    }
    if (!m->out->answered || m->out->code != TN_OK) tni_message_quote(m);
    close(m->message);
    close(m->text);
}

bool tni_probe_ask(const char *program, const char *plugin, const char *prefixes,
                   const tni_room *room, tni_probe_answer *out) {
    char nonce[TNI_PROBE_NONCE + 1];
    pid_t pid = 0;
    *out = (tni_probe_answer){.told = true};
    tni_message *m = tni_alloc(sizeof *m);
    make_nonce(nonce);
    if (m) *m = (tni_message){.nonce = nonce, .out = out};
    const int bad = m ? start(program, plugin, prefixes, room, &pid, m) : ENOMEM;
    if (bad) {
        tni_text_format(out->text, sizeof out->text, "%s: %s", program, strerror(bad));
        out->lacking = tni_is_shortage(bad);
    } else {
        converse(m, pid, room);
    }
    tni_free(m);
    return bad == 0;
}
