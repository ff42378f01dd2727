/* report.c - the table on the terminal, and the row file with the machine it was measured on.
 * SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include <tenon/inspect.h>
#include <tenon/tenon.h>

#include "bench/harness.h"

enum { ROWS = 64 };

struct bench_report {
    const char *suite;
    double load_before;
    int n;
    bench_row rows[ROWS];
};

static double load_now(void) {
    double load[1] = {NAN};
    return getloadavg(load, 1) == 1 ? load[0] : NAN;
}

bench_report *bench_report_new(const char *suite) {
    bench_report *r = calloc(1, sizeof *r);
    if (r) r->suite = suite, r->load_before = load_now();
    return r;
}

void bench_report_add(bench_report *r, const bench_row *row) {
    if (r->n < ROWS) r->rows[r->n++] = *row;
    fprintf(stderr, "%s: %s: %.4g %s\n", r->suite, row->name, row->stat.median, row->unit);
}

/* ---- The machine ----------------------------------------------------------------------------- */

/* The value of the first line of /proc/cpuinfo that begins with key. */
static bool cpu_line(const char *key, char *out, size_t capacity) {
    char line[8192];
    bool found = false;
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon) continue;
        snprintf(out, capacity, "%s", colon + 1 + strspn(colon + 1, " "));
        out[strcspn(out, "\n")] = 0;
        found = true;
    }
    if (f) fclose(f);
    return found;
}

static json_t *cpu_flags(void) {
    static const char *const wanted[] = {"sse4_2",  "avx",      "avx2",        "fma",
                                         "avx512f", "avx512bw", "avx512_bf16", "amx_tile"};
    char flags[8192] = "";
    json_t *list = json_array();
    if (!cpu_line("flags", flags, sizeof flags)) return list;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const size_t n = strlen(wanted[i]);
        for (const char *at = flags; (at = strstr(at, wanted[i])) != NULL; at += n) {
            if (at[n] != ' ' && at[n] != 0) continue;
            json_array_append_new(list, json_string(wanted[i]));
            break;
        }
    }
    return list;
}

static json_t *plugins(void) {
    json_t *list = json_array();
    int64_t n = 0;
    if (tn_plugin_scan(&n)) tn_clear_error(), n = 0;
    for (int64_t i = 0; i < n; i++) {
        tn_plugin_info p = {.size = sizeof p};
        if (tn_plugin_at(i, &p) || p.state != TN_PLUGIN_READY) continue;
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "id", p.id, "version", p.version,
                                              "facts", p.facts ? p.facts : ""));
    }
    tn_clear_error();
    return list;
}

static json_t *settings(void) {
    static const char *const names[] = {"OMP_NUM_THREADS",      "OMP_WAIT_POLICY",
                                        "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE",
                                        "TENON_THREADS",        "TENON_ALLOC"};
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i])) json_object_set_new(object, names[i], json_string(getenv(names[i])));
    return object;
}

static json_t *environment(const bench_report *r) {
    char model[256] = "unknown", when[32] = "";
    struct utsname kernel;
    cpu_set_t cpus;
    const time_t now = time(NULL);
    const int allowed = sched_getaffinity(0, sizeof cpus, &cpus) ? 0 : CPU_COUNT(&cpus);
    cpu_line("model name", model, sizeof model);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%MZ", gmtime(&now));
    if (uname(&kernel)) snprintf(kernel.release, sizeof kernel.release, "unknown");
    return json_pack("{s:s, s:o, s:i, s:i, s:s, s:s, s:s, s:f, s:f, s:o, s:o, s:s}", "cpu", model,
                     "flags", cpu_flags(), "cpus", allowed, "threads", (int)tn_threads(), "tenon",
                     tn_version(), "compiler", __VERSION__, "kernel", kernel.release, "load_before",
                     r->load_before, "load_after", load_now(), "settings", settings(), "plugins",
                     plugins(), "when", when);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *row_json(const bench_row *r) {
    json_t *samples = json_array();
    for (int i = 0; i < r->stat.n; i++) json_array_append_new(samples, number(r->stat.samples[i]));
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:o, s:s, s:i, s:o}", "name", r->name,
                     "unit", r->unit, "median", number(r->stat.median), "low", number(r->stat.low),
                     "high", number(r->stat.high), "goal", number(r->goal), "more_is_better",
                     (int)r->more_is_better, "error", number(r->error), "note",
                     r->note ? r->note : "", "disturbed", r->stat.disturbed, "samples", samples);
}

/* Below 1: the goal is missed, by this much. */
static double reached(const bench_row *r) {
    if (isnan(r->goal)) return INFINITY;
    return r->more_is_better ? r->stat.median / r->goal : r->goal / r->stat.median;
}

static int losers_first(const void *a, const void *b) {
    const double x = reached(a), y = reached(b);
    return (x > y) - (x < y);
}

/* Met or missed when the whole interval is on one side of the goal. */
static const char *goal_verdict(const bench_row *r) {
    if (isnan(r->goal)) return "";
    const double sign = r->more_is_better ? 1 : -1;
    const bool low = sign * r->stat.low >= sign * r->goal;
    const bool high = sign * r->stat.high >= sign * r->goal;
    return low && high ? "met" : low || high ? "open" : "MISSED";
}

static void print_table(bench_report *r) {
    qsort(r->rows, (size_t)r->n, sizeof *r->rows, losers_first);
    printf("%-44s %10s %19s %10s %8s %9s\n", r->suite, "median", "95 % interval", "goal", "",
           "error");
    for (int i = 0; i < r->n; i++) {
        const bench_row *w = &r->rows[i];
        char goal[32] = "-", error[32] = "-";
        if (!isnan(w->goal)) snprintf(goal, sizeof goal, "%.4g", w->goal);
        if (!isnan(w->error)) snprintf(error, sizeof error, "%.1e", w->error);
        printf("%-44s %7.4g %-2s %9.4g..%-8.4g %10s %8s %9s  %s\n", w->name, w->stat.median,
               w->unit, w->stat.low, w->stat.high, goal, goal_verdict(w), error,
               w->note ? w->note : "");
    }
    printf("load %.1f before, %.1f after\n", r->load_before, load_now());
}

static bool write_json(const bench_report *r, const char *folder) {
    char path[4096];
    json_t *rows = json_array();
    for (int i = 0; i < r->n; i++) json_array_append_new(rows, row_json(&r->rows[i]));
    json_t *all = json_pack("{s:i, s:s, s:o, s:o}", "schema", 1, "suite", r->suite, "environment",
                            environment(r), "rows", rows);
    snprintf(path, sizeof path, "%s/%s.json", folder, r->suite);
    const bool ok = all && json_dump_file(all, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) == 0;
    json_decref(all);
    if (ok)
        printf("wrote %s.json\n", r->suite);
    else
        fprintf(stderr, "bench: cannot write %s\n", path);
    return ok;
}

int bench_report_end(bench_report *r, int argc, char **argv) {
    char folder[4000] = "";
    const char *root = getenv("BUILD_WORKSPACE_DIRECTORY");
    if (argc > 1)
        snprintf(folder, sizeof folder, "%s", argv[1]);
    else if (root)
        snprintf(folder, sizeof folder, "%s/bench/results", root);
    print_table(r);
    const bool ok = !folder[0] || write_json(r, folder);
    free(r);
    return ok ? 0 : 1;
}
