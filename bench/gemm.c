/* gemm.c - tn_matmul against OpenBLAS called directly: same machine, same run, same threads, blocks
 * in turn. The result is compared with a double-precision reference before any time is taken.
 * OPENBLAS_CORETYPE chooses the peer's code, TENON_CPU_BLAS_GEMM=own keeps ours.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/tenon.h>

#include <math_ops.h>

#include "bench/harness.h"

enum { ROW_MAJOR = 101, PLAIN = 111 };

typedef void (*sgemm_fn)(int, int, int, int, int, int, float, const float *, int, const float *,
                         int, float, float *, int);

typedef struct product {
    tn_tensor *a, *b;
    float *c;
    int n;
    sgemm_fn sgemm;
} product;

static void ours(void *arg, int64_t times) {
    const product *p = arg;
    for (int64_t i = 0; i < times; i++) {
        const tn_scope scope = tn_scope_push();
        tn_matmul(p->a, p->b);
        tn_scope_pop(scope);
    }
}

static void theirs(void *arg, int64_t times) {
    const product *p = arg;
    const float *a = tn_data(p->a), *b = tn_data(p->b);
    for (int64_t i = 0; i < times; i++)
        p->sgemm(ROW_MAJOR, PLAIN, PLAIN, p->n, p->n, p->n, 1, a, p->n, b, p->n, 0, p->c, p->n);
}

/* Largest difference from the reference, relative to its largest element. */
static double error_of(const product *p, const float *have) {
    const tn_scope scope = tn_scope_push();
    tn_use_provider("cpu_ref");
    tn_tensor *y =
        tn_gemm(tn_unsqueeze(tn_to(p->a, TN_F64), 0), tn_unsqueeze(tn_to(p->b, TN_F64), 0));
    tn_use_provider(NULL);
    const double *want = y ? tn_data(y) : NULL;
    double worst = 0, largest = 0;
    for (int64_t i = 0; want && i < (int64_t)p->n * p->n; i++) {
        worst = fmax(worst, fabs(want[i] - (double)have[i]));
        largest = fmax(largest, fabs(want[i]));
    }
    tn_scope_pop(scope);
    return want ? worst / largest : NAN;
}

typedef struct library {
    char name[96];
    sgemm_fn sgemm;
    void (*set_threads)(int);
} library;

/* The library the provider opens first, so both sides run the same code where it is used. */
static bool open_library(library *out) {
    static const char *const files[] = {
        "/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0",
        "/usr/lib/x86_64-linux-gnu/openblas-serial/libopenblas.so.0", "libopenblas.so.0"};
    static const char *const names[] = {"OpenMP", "serial", "any"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        void *file = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
        void *symbol = file ? dlsym(file, "cblas_sgemm") : NULL;
        void *threads = file ? dlsym(file, "openblas_set_num_threads") : NULL;
        if (!symbol || !threads) continue;
        void *core = dlsym(file, "openblas_get_corename");
        char *(*core_name)(void) = NULL;
        memcpy(&out->sgemm, &symbol, sizeof symbol); /* ISO C has no cast to function pointers */
        memcpy(&out->set_threads, &threads, sizeof threads);
        memcpy(&core_name, &core, sizeof core);
        snprintf(out->name, sizeof out->name, "OpenBLAS, %s, %s", names[i],
                 core_name ? core_name() : "unknown core");
        return true;
    }
    return false;
}

/* What a call of ours takes longer than a direct one; negative where it is faster. */
static void add_overhead(bench_report *r, const bench_row *ratio, const bench_stat *ours_ns) {
    static char names[32][96];
    static int used;
    bench_row row = {.unit = "ns", .goal = 150, .error = ratio->error, .note = ratio->note};
    snprintf(names[used], sizeof *names, "%.*s: over a direct call", (int)strcspn(ratio->name, ":"),
             ratio->name);
    row.name = names[used++];
    row.stat = ratio->stat;
    row.stat.median = ours_ns->median * (1 - ratio->stat.median);
    row.stat.low = ours_ns->median * (1 - ratio->stat.high);
    row.stat.high = ours_ns->median * (1 - ratio->stat.low);
    bench_report_add(r, &row);
}

static bool measure(bench_report *r, const library *lib, int n, int threads) {
    static char names[32][96];
    static int used;
    const tn_scope scope = tn_scope_push();
    product p = {.n = n, .sgemm = lib->sgemm};
    tn_set_threads(threads);
    lib->set_threads(threads);
    p.a = tn_uniform(TN_INTS(n, n), &(tn_uniform_opts){.low = -1});
    p.b = tn_uniform(TN_INTS(n, n), &(tn_uniform_opts){.low = -1});
    tn_tensor *c = tn_empty(TN_INTS(n, n), TN_F32), *y = tn_matmul(p.a, p.b);
    if (tn_error()) return false;
    p.c = tn_data(c);
    const bench_side mine = {ours, &p, NULL}, other = {theirs, &p, NULL};
    const double flops = 2.0 * n * n * n;
    bench_row row = {.unit = "x", .goal = 0.98, .more_is_better = true, .note = lib->name};
    row.error = error_of(&p, tn_data(y));
    row.stat = bench_pair(&mine, &other);
    row.name = names[used];
    const bench_stat speed = bench_time(&mine, 1e9);
    snprintf(names[used++], sizeof *names, "f32 %d^3, %d thread%s: %.0f GFLOP/s, %s", n, threads,
             threads > 1 ? "s" : "", flops / speed.median, bench_verdict(&row.stat));
    if (n < 256) row.goal = NAN; /* there the time of a call counts, not the ratio */
    bench_report_add(r, &row);
    if (n < 256) add_overhead(r, &row, &speed);
    tn_scope_pop(scope);
    return !(row.error > 1e-5);
}

int main(int argc, char **argv) {
    static const int edges[] = {16, 32, 48, 64, 128, 192, 256, 512, 768, 1024};
    static library lib;
    /* A chosen core type is another peer, so another file. */
    bench_report *r = bench_report_new(getenv("OPENBLAS_CORETYPE") ? "gemm_chosen_core" : "gemm");
    if (!r || tn_init(NULL)) return bench_fail("start");
    if (!open_library(&lib)) return bench_fail("no OpenBLAS to compare with");
    const int all = tn_threads();
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        if (!measure(r, &lib, edges[i], 1)) return bench_fail("wrong result");
        if (all > 1 && !measure(r, &lib, edges[i], all)) return bench_fail("wrong result");
    }
    tn_set_threads(0);
    return bench_report_end(r, argc, argv);
}
