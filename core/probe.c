/* probe.c - starts tenon-probe, reads its message, ends it.
 *
 * The message, on descriptor 3, one line each:
 *   probe NONCE             the helper is up
 *   step WHAT               what it does next: dlopen, query, start, rows
 *   answer NONCE CODE STAGE TEXT
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

#include "core/memory.h"

enum { LIMIT_MS = 10000, REAP_MS = 500, MOST_MESSAGE = 4096 };

/* ---- Settings -------------------------------------------------------------------------------- */

static _Atomic int g_policy = TNI_PROBE_TRY;
static _Atomic uint32_t g_limit_ms = LIMIT_MS;

void tni_probe_policy_set(tni_probe_policy p) { atomic_store(&g_policy, (int)p); }

void tni_probe_limit_set(uint32_t ms) { atomic_store(&g_limit_ms, ms ? ms : LIMIT_MS); }

tni_probe_policy tni_probe_policy_of(const tni_search *s) {
    const char *env = s->safe_mode ? NULL : secure_getenv("TENON_PROBE_POLICY");
    if (env && strcmp(env, "require") == 0) return TNI_PROBE_REQUIRE;
    if (env && strcmp(env, "try") == 0) return TNI_PROBE_TRY;
    if (env && strcmp(env, "off") == 0) return TNI_PROBE_OFF;
    return (tni_probe_policy)atomic_load(&g_policy);
}

/* ---- Starting it ----------------------------------------------------------------------------- */

extern char **environ;

/* What may decide whether a plugin and its libraries are found; not what would inject code. */
static bool passed_on(const char *entry) {
    static const char *const names[] = {
        "TENON_", "LD_LIBRARY_PATH=", "HOME=", "PATH=", "OMP_", "OPENBLAS_"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strncmp(entry, names[i], strlen(names[i])) == 0) return true;
    return false;
}

static char **clean_environment(void) {
    uint64_t n = 0, kept = 0;
    while (environ && environ[n]) n++;
    char **out = tni_alloc((n + 1) * sizeof(*out));
    for (uint64_t i = 0; i < n && out; i++)
        if (passed_on(environ[i])) out[kept++] = environ[i];
    return out;
}

static int spawn_with(const char *program, char *const *argv, char **env, int to, pid_t *pid) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int bad = posix_spawn_file_actions_init(&files);
    if (bad) return bad;
    bad = posix_spawnattr_init(&attr);
    if (bad) goto drop_files;
    bad |= posix_spawn_file_actions_adddup2(&files, to, TNI_PROBE_FD);
    bad |= posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    bad |= posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    bad |= posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    bad |= posix_spawn_file_actions_addclosefrom_np(&files, TNI_PROBE_FD + 1);
    bad |= posix_spawn_file_actions_addchdir_np(&files, "/");
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

static int start(const char *program, const char *plugin, const char *nonce, pid_t *pid,
                 int *from) {
    char name[] = "tenon-probe", token[TNI_PROBE_NONCE + 1], *path = tni_strdup(plugin);
    char **env = clean_environment();
    int ends[2], bad = path && env ? 0 : ENOMEM;
    snprintf(token, sizeof(token), "%s", nonce);
    if (!bad && pipe2(ends, O_CLOEXEC) != 0) bad = errno;
    if (!bad) {
        char *const argv[] = {name, token, path, NULL};
        bad = spawn_with(program, argv, env, ends[1], pid);
        close(ends[1]);
        if (bad)
            close(ends[0]);
        else
            *from = ends[0];
    }
    tni_free(path);
    tni_free(env);
    return bad;
}

/* ---- Reading the message --------------------------------------------------------------------- */

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

typedef struct message {
    const char *nonce;
    char step[16]; /* the last one it announced */
    tni_probe_answer *out;
} message;

static bool answer_parse(const char *line, message *m) {
    char nonce[TNI_PROBE_NONCE + 1], stage[16];
    int32_t code;
    int at = 0;
    if (sscanf(line, "answer %16s %d %15s %n", nonce, &code, stage, &at) != 3 || at == 0 ||
        strcmp(nonce, m->nonce) != 0 || code < 0)
        return false;
    tni_text_format(m->out->text, sizeof(m->out->text), "%s", line + at);
    m->out->code = code;
    for (int i = 0; i < TNI_STAGES; i++) {
        if (strcmp(stage, tni_stage_name((tni_stage)i)) != 0) continue;
        m->out->stage = (tni_stage)i;
        m->out->answered = true;
    }
    return m->out->answered;
}

static void line_parse(const char *line, message *m) {
    if (strncmp(line, "probe ", 6) == 0 && strcmp(line + 6, m->nonce) == 0)
        m->out->ran = true;
    else if (strncmp(line, "step ", 5) == 0)
        snprintf(m->step, sizeof(m->step), "%.15s", line + 5);
    else
        answer_parse(line, m);
}

/* Reads until the answer, the end, or the deadline. True unless the deadline came first. */
static bool receive(int fd, int64_t deadline, message *m) {
    char text[MOST_MESSAGE];
    uint64_t n = 0;
    while (!m->out->answered && n < sizeof(text) - 1) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = deadline - now_ms();
        if (left <= 0) return false;
        int ready = poll(&p, 1, (int)left);
        if (ready <= 0) continue; /* a signal, or the deadline */
        ssize_t got = read(fd, text + n, sizeof(text) - 1 - n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return true;
        n += (uint64_t)got;
        char *line = text;
        for (char *end; (end = memchr(line, '\n', n - (uint64_t)(line - text))) != NULL;
             line = end + 1) {
            *end = 0;
            line_parse(line, m);
        }
        n -= (uint64_t)(line - text);
        memmove(text, line, n);
    }
    return true;
}

/* ---- Ending it ------------------------------------------------------------------------------- */

/* Gives it a moment to end by itself if `gently`, then ends it. -1: somebody else took the status.
 */
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

static void explain(const message *m, bool in_time, int status) {
    const char *where = m->step[0] ? m->step : "the start of the probe";
    char *text = m->out->text;
    uint64_t n = sizeof(m->out->text);
    m->out->late = !in_time;
    if (!in_time)
        tni_text_format(text, n, "did not come back within %u ms, in %s",
                        (unsigned)atomic_load(&g_limit_ms), where);
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

bool tni_probe_ask(const char *program, const char *plugin, tni_probe_answer *out) {
    char nonce[TNI_PROBE_NONCE + 1];
    uint64_t random = (uint64_t)now_ms();
    message m = {.nonce = nonce, .out = out};
    pid_t pid = 0;
    int from = -1;
    *out = (tni_probe_answer){0};
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0) random ^= (uint64_t)getpid() << 32;
    snprintf(nonce, sizeof(nonce), "%016llx", (unsigned long long)random);
    int bad = start(program, plugin, nonce, &pid, &from);
    if (bad) {
        tni_text_format(out->text, sizeof(out->text), "%s: %s", program, strerror(bad));
        return false;
    }
    bool in_time = receive(from, now_ms() + atomic_load(&g_limit_ms), &m);
    close(from);
    int status = reap(pid, in_time && !out->answered);
    if (!out->answered) explain(&m, in_time, status);
    return true;
}
