/* witness.c - see witness.h. The files are read off /proc/self/maps with nothing but system
 * calls, so a signal handler may do it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/probe/witness.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/loader/host.h"

static int channel = -1;
static char program[PATH_MAX]; /* which is no cause: the host knows what it is built of */

void witness_say(const char *text) {
    for (size_t n = strlen(text); n > 0;) {
        ssize_t done = write(channel, text, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return;
        text += done, n -= (size_t)done;
    }
}

/* ---- Files ----------------------------------------------------------------------------------- */

static void say_file(const char *path) {
    witness_say("file ");
    witness_say(path);
    witness_say("\n");
}

/* What was mapped and is gone is a cause if another file has its name now; memory without a name,
 * whose text changes each time, is none. */
static bool is_named(char *path) {
    static const char gone[] = " (deleted)";
    const size_t n = strlen(path), m = sizeof gone - 1;
    if (n <= m || strcmp(path + n - m, gone) != 0) return true;
    path[n - m] = 0;
    return access(path, F_OK) == 0;
}

/* One line of the maps; neighbours mostly belong to one file. */
static void file_of(char *line, char last[PATH_MAX]) {
    char *path = strchr(line, '/');
    if (!path || strlen(path) >= PATH_MAX || strcmp(path, last) == 0 || strcmp(path, program) == 0)
        return;
    memcpy(last, path, strlen(path) + 1);
    if (is_named(path)) say_file(path);
}

void witness_files(void) {
    static char text[2 * PATH_MAX], last[PATH_MAX];
    size_t n = 0;
    const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    last[0] = 0;
    for (ssize_t got; fd >= 0 && (got = read(fd, text + n, sizeof text - 1 - n)) > 0;) {
        n += (size_t)got;
        char *line = text;
        for (char *end; (end = memchr(line, '\n', n - (size_t)(line - text))); line = end + 1) {
            *end = 0;
            file_of(line, last);
        }
        n -= (size_t)(line - text);
        memmove(text, line, n);
    }
    if (fd >= 0) close(fd);
}

/* Takes the place of the C library's in this process, also for the plugin: a library may end all in
 * its constructor, and one that is not there is a cause too. Jumps on, so that the caller stays the
 * caller, whose own search path counts. */
__attribute__((visibility("default"))) void *dlopen(const char *name, int flags) {
    static void *(*next)(const char *, int);
    void *found = next ? NULL : dlsym(RTLD_NEXT, "dlopen");
    if (!next) memcpy(&next, &found, sizeof next);
    if (name && strchr(name, '/') && channel >= 0 && !strchr(name, '\n')) say_file(name);
    return next(name, flags);
}

/* ---- Options --------------------------------------------------------------------------------- */

/* Keys that could be set; others would break the message's lines. */
static void option_asked(const char *key) {
    char line[96];
    const size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    if (n == 0 || key[n] || n >= sizeof line - 16) return;
    snprintf(line, sizeof line, "option %s\n", key);
    witness_say(line);
}

/* ---- Deaths ---------------------------------------------------------------------------------- */

static const int deaths[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS, SIGXCPU};
enum { DEATHS = sizeof deaths / sizeof deaths[0] };
static struct sigaction before[DEATHS]; /* a sanitizer has handlers of its own */
static volatile sig_atomic_t dying;

static void last_words(void) {
    if (!dying) {
        dying = 1;
        witness_files();
    }
}

/* A fault happens again when its instruction does, and then dies as it would have. */
static void dies(int number, siginfo_t *info, void *context) {
    (void)context;
    const int error = errno;
    for (int i = 0; i < DEATHS; i++)
        if (deaths[i] == number) sigaction(number, &before[i], NULL);
    last_words();
    if (info->si_code <= 0 || number == SIGXCPU) raise(number);
    errno = error;
}

static void is_late(int number) {
    (void)number;
    last_words();
    _exit(1);
}

/* An exhausted stack leaves no room to tell of it. */
static void stack_for_signals(void) {
    static char room[1 << 16];
    const stack_t stack = {.ss_sp = room, .ss_size = sizeof room};
    sigaltstack(&stack, NULL);
}

void witness_begin(int to) {
    channel = to;
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = 0;
    tni_host_watch_options(option_asked);
    stack_for_signals();
    struct sigaction action = {.sa_sigaction = dies, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    for (int i = 0; i < DEATHS; i++) sigaction(deaths[i], &action, &before[i]);
    const struct sigaction late = {.sa_handler = is_late, .sa_flags = SA_ONSTACK};
    sigaction(SIGTERM, &late, NULL);
    atexit(last_words);
}
