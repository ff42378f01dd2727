/* accuracy.c - measures the accuracy of unary ops and writes docs/accuracy.md.
 *
 *   accuracy                  all of it; each set of vector code in a process of its own
 *   accuracy --rows ID [OP]   the rows of provider ID, or of one op, with the options in the
 *                             environment
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tenon/inspect.h>

#include "bench/accuracy.h"

enum { DTYPES = 4, SIDES = 4, OPS = 64 };

static const char *const dtype_names[DTYPES] = {"f16", "bf16", "f32", "f64"};

typedef struct side {
    const char *name, *command; /* of a shell, %s is this program */
    bool there;
    accuracy rows[OPS][DTYPES];
} side;

static side sides[SIDES] = {
    {.name = "cpu_ref", .command = "'%s' --rows cpu_ref"},
    {.name = "sse2", .command = "TENON_CPU_BLAS_VECTORS=sse2 '%s' --rows cpu_blas"},
    {.name = "avx2", .command = "TENON_CPU_BLAS_VECTORS=avx2 '%s' --rows cpu_blas"},
    {.name = "avx512", .command = "TENON_CPU_BLAS_VECTORS=avx512 '%s' --rows cpu_blas"},
};

/* ---- The child ------------------------------------------------------------------------------- */

static int print_rows(const char *provider, const char *only) {
    const tn_dtype dtypes[DTYPES] = {TN_F16, TN_BF16, TN_F32, TN_F64};
    const bool plain = strcmp(provider, "cpu_ref") == 0; /* takes its time */
    const uint64_t steps[DTYPES] = {1, 1, plain ? 4093 : 251, plain ? 65521 : 16381};
    if (tn_use_provider(provider) != TN_OK) return fprintf(stderr, "%s\n", tn_error_message()), 1;
    for (int i = 0; i < accuracy_op_count; i++) {
        tn_op_info info = {.size = sizeof info};
        if (only && strcmp(only, accuracy_ops[i].name) != 0) continue;
        if (tn_op_find(accuracy_ops[i].op, &info) != TN_OK) {
            tn_clear_error();
            continue;
        }
        for (int d = 0; d < DTYPES; d++) {
            accuracy a;
            if (!accuracy_measure(&accuracy_ops[i], dtypes[d], steps[d], &a))
                return fprintf(stderr, "%s\n", tn_error_message()), 1;
            printf("%d %d %.17g %.17g %lld %.17g %lld", i, d, a.worst, a.worst_at,
                   (long long)a.special, a.special_at, (long long)a.n);
            for (int k = 0; k < ACCURACY_BUCKETS; k++) printf(" %lld", (long long)a.buckets[k]);
            printf("\n");
        }
    }
    return 0;
}

/* ---- The parent ------------------------------------------------------------------------------ */

static bool read_row(FILE *f, side *s) {
    int op, d;
    accuracy a;
    long long special, n, b[ACCURACY_BUCKETS];
    if (fscanf(f, "%d %d %lf %lf %lld %lf %lld %lld %lld %lld %lld %lld", &op, &d, &a.worst,
               &a.worst_at, &special, &a.special_at, &n, &b[0], &b[1], &b[2], &b[3], &b[4]) != 12)
        return false;
    if (op < 0 || op >= OPS || d < 0 || d >= DTYPES) return false;
    a.special = special, a.n = n;
    for (int k = 0; k < ACCURACY_BUCKETS; k++) a.buckets[k] = b[k];
    s->rows[op][d] = a;
    return true;
}

static void run_side(side *s, const char *self) {
    char command[4200];
    snprintf(command, sizeof command, s->command, self);
    FILE *f = popen(command, "r");
    while (f && read_row(f, s)) s->there = true;
    if (f && pclose(f) != 0) s->there = false;
    fprintf(stderr, "%s: %s\n", s->name, s->there ? "measured" : "not on this machine");
}

static void print_number(FILE *f, double x) {
    if (x >= 1000)
        fprintf(f, "%.1e", x);
    else
        fprintf(f, "%.3g", x);
}

static void write_row(FILE *f, int op, int d) {
    const tn_dtype dtypes[DTYPES] = {TN_F16, TN_BF16, TN_F32, TN_F64};
    const accuracy *widest = NULL;
    fprintf(f, "| %s | %s | %.3g |", accuracy_ops[op].name, dtype_names[d],
            accuracy_bound(&accuracy_ops[op], dtypes[d]));
    for (int k = 0; k < SIDES; k++) {
        fprintf(f, " ");
        if (sides[k].there) print_number(f, sides[k].rows[op][d].worst);
        if (sides[k].there && k) widest = &sides[k].rows[op][d];
        fprintf(f, " |");
    }
    if (!widest) widest = &sides[0].rows[op][d];
    fprintf(f, " %.6g |", widest->worst_at);
    for (int k = 0; k < ACCURACY_BUCKETS; k++) {
        const double part = 100.0 * (double)widest->buckets[k] / (double)widest->n;
        fprintf(f, widest->buckets[k] && part < 0.01 ? " <0.01 |" : " %.3g |", part);
    }
    if (widest->special)
        fprintf(f, " %lld, at %g |", (long long)widest->special, widest->special_at);
    else
        fprintf(f, " |");
    fprintf(f, "\n");
}

static const char head[] =
    "# Accuracy of unary ops\n\n"
    "<!-- written by bazel run //bench:accuracy; do not edit -->\n\n"
    "Largest error in ulp, units of the last place: the distance of neighbouring numbers of the\n"
    "dtype where the true value lies. f16 and bf16: all 65,536 inputs. f32: every 251st bit\n"
    "pattern, 1.7e7 inputs, NaN, infinities and subnormals among them; for cpu_ref every 4093rd.\n"
    "f64: every 16,381st number of f32 with more digits behind, 2.6e5 inputs; for cpu_ref every\n"
    "65,521st. The truth is libm's, in double, for f64 in long double.\n\n"
    "Columns of cpu_blas are its sets of vector code (option `vectors`, "
    "`TENON_CPU_BLAS_VECTORS`).\n"
    "With SLEEF installed; without it, functions of f64 are those of sse2 in all.\n"
    "*bound* is what its results are tested to keep (`tests/backends/accuracy_test.cc`). cpu_ref "
    "computes "
    "ops\n"
    "that have a decomposition step by step. Behind the sets, for the widest: where its largest "
    "error\n"
    "is, per cent of the inputs by error, and how many results are NaN for a number, a number for\n"
    "NaN, or a zero of the wrong sign.\n\n"
    "| op | dtype | bound | cpu_ref | sse2 | avx2 | avx512 | at | 0 | <= 0.5 | <= 1 | <= 2 | more "
    "| "
    "special |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";

static int write_page(const char *path) {
    FILE *f = fopen(path, "w");
    if (!f) return perror(path), 1;
    fputs(head, f);
    for (int op = 0; op < accuracy_op_count; op++)
        for (int d = 0; d < DTYPES; d++)
            if (sides[0].rows[op][d].n) write_row(f, op, d);
    return fclose(f) != 0;
}

int main(int argc, char **argv) {
    char self[4096] = "", page[4096];
    if (argc >= 3 && strcmp(argv[1], "--rows") == 0)
        return print_rows(argv[2], argc > 3 ? argv[3] : NULL);
    const char *root = getenv("BUILD_WORKSPACE_DIRECTORY");
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return perror("/proc/self/exe"), 1;
    for (int k = 0; k < SIDES; k++) run_side(&sides[k], self);
    snprintf(page, sizeof page, "%s/docs/accuracy.md", root ? root : ".");
    return write_page(page);
}
