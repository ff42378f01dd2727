/* blas.c - opens OpenBLAS by path, so that a missing or unfit one is an explained absence.
 *
 * Order: the user's option "library", then the OpenMP, serial and pthread builds where Debian keeps
 * them, then the name alone. The OpenMP build may use its own threads; the pthread build is pinned
 * to one (its spinning pool beside ours costs more than it gives), ours share the work out instead.
 * The library stays open for good: OpenMP's threads live in it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu_blas/blas.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define DEBIAN "/usr/lib/x86_64-linux-gnu/openblas-"

blas_library blas_lib;

typedef struct library {
    void *handle;
    char *(*config)(void);
    char *(*core)(void); /* may be NULL */
    void (*set_threads)(int);
    char reason[256]; /* why it is unfit */
} library;

static bool find(library *l, const char *name, void *slot) {
    void *symbol = dlsym(l->handle, name);
    if (!symbol) snprintf(l->reason, sizeof l->reason, "it lacks the symbol %s", name);
    memcpy(slot, &symbol, sizeof symbol); /* ISO C has no cast from object to function pointers */
    return symbol != NULL;
}

static void find_optional(library *l, const char *name, void *slot) {
    void *symbol = dlsym(l->handle, name);
    memcpy(slot, &symbol, sizeof symbol);
}

static bool find_all(library *l) {
    find_optional(l, "openblas_get_corename", &l->core);
    return find(l, "cblas_sgemm", &blas_lib.sgemm) && find(l, "cblas_dgemm", &blas_lib.dgemm) &&
           find(l, "cblas_sgemv", &blas_lib.sgemv) && find(l, "cblas_dgemv", &blas_lib.dgemv) &&
           find(l, "openblas_get_config", &l->config) &&
           find(l, "openblas_set_num_threads", &l->set_threads);
}

/* OpenMP keeps the number of threads per calling thread: it is set through the library's own
 * OpenMP, which its handle finds. */
static bool find_openmp(library *l) {
    blas_lib.omp_threads = NULL, blas_lib.omp_set_threads = NULL;
    if (!strstr(l->config(), "USE_OPENMP")) {
        l->set_threads(1);
        return true;
    }
    return find(l, "omp_get_max_threads", &blas_lib.omp_threads) &&
           find(l, "omp_set_num_threads", &blas_lib.omp_set_threads);
}

/* [1 2; 3 4] [5 6; 7 8] = [19 22; 43 50] */
static bool multiplies(library *l) {
    const float a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8}, right[4] = {19, 22, 43, 50};
    float c[4] = {0};
    const int before = blas_library_threads(1);
    blas_lib.sgemm(BLAS_ROW_MAJOR, BLAS_PLAIN, BLAS_PLAIN, 2, 2, 2, 1, a, 2, b, 2, 0, c, 2);
    blas_library_threads(before);
    if (memcmp(c, right, sizeof c) == 0) return true;
    snprintf(l->reason, sizeof l->reason, "a 2x2 product came out wrong");
    return false;
}

static bool is_fit(library *l) {
    if (!find_all(l)) return false;
    if (strstr(l->config(), "USE64BITINT")) {
        snprintf(l->reason, sizeof l->reason,
                 "its integers are 64 bits wide (ILP64); 32 are needed");
        return false;
    }
    return find_openmp(l) && multiplies(l);
}

/* What the dynamic linker says, less what stands before it in the list. */
static void explain(library *l, const char *path) {
    const char *text = dlerror(), *const known[] = {path, ": ", "cannot open shared object file: "};
    for (size_t i = 0; text && i < sizeof known / sizeof *known; i++) {
        const size_t n = strlen(known[i]);
        if (strncmp(text, known[i], n) == 0) text += n;
    }
    snprintf(l->reason, sizeof l->reason, "%s", text ? text : "not loadable");
}

static bool try_path(library *l, const char *path) {
    l->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!l->handle) {
        explain(l, path);
        return false;
    }
    if (is_fit(l)) return true;
    dlclose(l->handle);
    blas_lib = (blas_library){0};
    return false;
}

/* "OpenBLAS 0.3.21 (openmp, Haswell)" */
static void describe(const library *l, const tn_host *host, tn_plugin *self) {
    char version[32] = "of unknown version", text[128];
    sscanf(l->config(), "OpenBLAS %31s", version);
    const char *flavour = strstr(l->config(), "USE_OPENMP")        ? "openmp"
                          : strstr(l->config(), "SINGLE_THREADED") ? "serial"
                                                                   : "pthread, pinned to 1 thread";
    const char *core = l->core ? l->core() : "unknown core";
    blas_lib.has_avx512_code = strcmp(core, "SkylakeX") == 0 || strcmp(core, "Cooperlake") == 0 ||
                               strcmp(core, "SapphireRapids") == 0;
    snprintf(text, sizeof text, "OpenBLAS %s (%s, %s)", version, flavour, core);
    host->describe(self, text);
}

static tn_status fail(const tn_host *host, tn_plugin *self, const char *tried) {
    char text[1400];
    const int n = snprintf(text, sizeof text,
                           "no OpenBLAS can be used (install libopenblas0, or name one by this "
                           "plugin's option \"library\"): tried %s",
                           tried);
    const uint64_t length = n < 0 ? 0 : (uint64_t)n < sizeof text ? (uint64_t)n : sizeof text - 1;
    host->fail(self, TN_ERR_UNSUPPORTED, text, length);
    return TN_ERR_UNSUPPORTED;
}

tn_status blas_library_open(const tn_host *host, tn_plugin *self) {
    const char *standard[] = {DEBIAN "openmp/libopenblas.so.0", DEBIAN "serial/libopenblas.so.0",
                              DEBIAN "pthread/libopenblas.so.0", "libopenblas.so.0", NULL};
    const char *chosen[] = {host->option(self, "library"), NULL};
    char tried[1024] = "";
    size_t used = 0;
    for (const char **path = chosen[0] ? chosen : standard; *path; path++) {
        library l = {0};
        if (try_path(&l, *path)) {
            describe(&l, host, self);
            return TN_OK;
        }
        const int n = snprintf(tried + used, sizeof tried - used, "%s%s (%s)", used ? ", " : "",
                               *path, l.reason);
        if (n > 0 && (size_t)n < sizeof tried - used) used += (size_t)n;
    }
    return fail(host, self, tried);
}
