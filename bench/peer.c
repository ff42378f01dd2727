/* peer.c - starting a peer, and talking with it over two pipes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/peer.h"

#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct bench_peer {
    pid_t pid;
    FILE *to, *from;
    char version[64];
};

static bool spawn(bench_peer *p, const char *program, const char *script) {
    int down[2], up[2];
    posix_spawn_file_actions_t actions;
    char *const argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)script, NULL};
    if (pipe(down)) return false;
    if (pipe(up)) return close(down[0]), close(down[1]), false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, down[0], 0);
    posix_spawn_file_actions_adddup2(&actions, up[1], 1);
    posix_spawn_file_actions_addclose(&actions, down[1]);
    posix_spawn_file_actions_addclose(&actions, up[0]);
    const bool ok = posix_spawnp(&p->pid, program, &actions, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(down[0]), close(up[1]);
    p->to = fdopen(down[1], "w"), p->from = fdopen(up[0], "r");
    return ok && p->to && p->from;
}

bench_peer *bench_peer_start(const char *program, const char *script) {
    bench_peer *p = calloc(1, sizeof *p);
    signal(SIGPIPE, SIG_IGN); /* a peer that died is an answer that does not come */
    if (p && spawn(p, program, script)) return p;
    bench_peer_stop(p);
    return NULL;
}

void bench_peer_stop(bench_peer *p) {
    if (!p) return;
    if (p->to) fclose(p->to);
    if (p->from) fclose(p->from);
    if (p->pid > 0) waitpid(p->pid, NULL, 0);
    free(p);
}

const char *bench_peer_version(const bench_peer *p) { return p->version; }

/* Takes over the question. NULL if there is no answer. */
static json_t *ask(bench_peer *p, json_t *question) {
    char *line = NULL;
    size_t capacity = 0;
    json_t *answer = NULL;
    if (question && json_dumpf(question, p->to, JSON_COMPACT) == 0 && fputc('\n', p->to) != EOF &&
        fflush(p->to) == 0 && getline(&line, &capacity, p->from) > 0)
        answer = json_loads(line, 0, NULL);
    json_decref(question);
    free(line);
    return answer;
}

int bench_peer_pose(bench_peer *p, const char *problem, int threads, double checks[BENCH_CHECKS]) {
    json_t *answer = ask(p, json_pack("{s:s, s:i}", "problem", problem, "threads", threads));
    const char *version = json_string_value(json_object_get(answer, "version"));
    const char *absent = json_string_value(json_object_get(answer, "absent"));
    if (version) snprintf(p->version, sizeof p->version, "%s", version);
    if (absent) fprintf(stderr, "%s: %s: %s\n", p->version, problem, absent);
    const json_t *list = json_object_get(answer, "check");
    int n = list ? 0 : -1;
    for (size_t i = 0; i < json_array_size(list) && n < BENCH_CHECKS; i++)
        checks[n++] = json_number_value(json_array_get(list, i));
    json_decref(answer);
    return n;
}

double bench_peer_seconds(void *peer, int64_t n) {
    json_t *answer = ask(peer, json_pack("{s:I}", "run", (json_int_t)n));
    const json_t *seconds = json_object_get(answer, "seconds");
    const double s = json_is_number(seconds) ? json_number_value(seconds) : NAN;
    json_decref(answer);
    return s;
}
