/* vector_math.c - functions of doubles, from three libraries: libm lane by lane, as cpu_blas has
 * them; libmvec, glibc's vectors; SLEEF. How fast, how far from the truth, and whether the bits
 * depend on the width of the vector.
 *
 * The libraries are looked for when it runs: what is absent has no numbers.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHUNK = 1024, RUNS = 400, CHUNKS = 300 };

typedef double v4 __attribute__((vector_size(32)));
typedef double v8 __attribute__((vector_size(64)));
typedef void (*any)(void);

/* ---- Functions ------------------------------------------------------------------------------- */

typedef struct function {
    const char *name;
    int n_args;
    any scalar;                    /* double */
    any exact;                     /* long double */
    double low, high, low2, high2; /* arguments of the timed calls */
} function;

#define F1(name, low, high)                                                                        \
    { #name, 1, (any)name, (any)name##l, low, high, 0, 0 }
#define F2(name, low, high, low2, high2)                                                           \
    { #name, 2, (any)name, (any)name##l, low, high, low2, high2 }

static const function functions[] = {
    F1(exp, -4, 4),     F1(exp2, -4, 4),        F1(expm1, -4, 4),        F1(log, 0.01, 10),
    F1(log2, 0.01, 10), F1(log10, 0.01, 10),    F1(log1p, -0.9, 10),     F1(sin, -4, 4),
    F1(cos, -4, 4),     F1(tan, -1.5, 1.5),     F1(asin, -1, 1),         F1(acos, -1, 1),
    F1(atan, -4, 4),    F1(sinh, -4, 4),        F1(cosh, -4, 4),         F1(tanh, -4, 4),
    F1(asinh, -4, 4),   F1(acosh, 1, 10),       F1(atanh, -0.99, 0.99),  F1(erf, -3, 3),
    F1(erfc, -3, 3),    F2(pow, 0.1, 4, -4, 4), F2(atan2, -4, 4, -4, 4), F2(fmod, -100, 100, 1, 4)};
enum { N_FUNCTIONS = sizeof functions / sizeof *functions };

/* ---- Ways to compute them -------------------------------------------------------------------- */

/* n is a multiple of 8. */
typedef void (*loop)(any f, int n_args, const double *a, const double *b, double *y, int64_t n);

static void loop_1(any f, int n_args, const double *a, const double *b, double *y, int64_t n) {
    double (*const one)(double) = (double (*)(double))f;
    double (*const two)(double, double) = (double (*)(double, double))f;
    for (int64_t i = 0; i < n; i++) y[i] = n_args == 1 ? one(a[i]) : two(a[i], b[i]);
}

#define LOOP(lanes, isa)                                                                           \
    __attribute__((target(isa))) static void loop_##lanes(any f, int n_args, const double *a,      \
                                                          const double *b, double *y, int64_t n) { \
        v##lanes (*const one)(v##lanes) = (v##lanes(*)(v##lanes))f;                                \
        v##lanes (*const two)(v##lanes, v##lanes) = (v##lanes(*)(v##lanes, v##lanes))f;            \
        for (int64_t i = 0; i < n; i += lanes) {                                                   \
            v##lanes x, z, r;                                                                      \
            memcpy(&x, a + i, sizeof x);                                                           \
            memcpy(&z, b + i, sizeof z);                                                           \
            r = n_args == 1 ? one(x) : two(x, z);                                                  \
            memcpy(y + i, &r, sizeof r);                                                           \
        }                                                                                          \
    }
LOOP(4, "avx2")
LOOP(8, "avx512f")

typedef struct way {
    const char *name, *library;
    const char *symbols[3]; /* with %s for the function: the first that exists */
    const char *symbol2;    /* of two arguments, where it differs */
    loop loop;
    int lanes;
} way;

static const way ways[] = {
    {"libm", NULL, {NULL}, NULL, loop_1, 1},
    {"libmvec avx2", "libmvec.so.1", {"_ZGVdN4v_%s"}, "_ZGVdN4vv_%s", loop_4, 4},
    {"libmvec avx512", "libmvec.so.1", {"_ZGVeN8v_%s"}, "_ZGVeN8vv_%s", loop_8, 8},
    {"sleef avx2",
     "libsleef.so.3",
     {"Sleef_finz_%sd4_u10avx2", "Sleef_finz_%sd4_u15avx2", "Sleef_finz_%sd4_avx2"},
     NULL,
     loop_4,
     4},
    {"sleef avx512",
     "libsleef.so.3",
     {"Sleef_finz_%sd8_u10avx512f", "Sleef_finz_%sd8_u15avx512f", "Sleef_finz_%sd8_avx512f"},
     NULL,
     loop_8,
     8},
    {"sleef 3.5 ulp avx512", "libsleef.so.3", {"Sleef_finz_%sd8_u35avx512f"}, NULL, loop_8, 8}};
enum { N_WAYS = sizeof ways / sizeof *ways };

static any find(const way *w, const function *f) {
    if (!w->library) return f->scalar;
    void *const library = dlopen(w->library, RTLD_NOW);
    any out = NULL;
    const bool runs = w->lanes == 8
                          ? __builtin_cpu_supports("avx512f")
                          : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    for (int i = 0; i < 3 && library && runs && !out; i++) {
        const char *const symbol = f->n_args == 2 && w->symbol2 ? w->symbol2 : w->symbols[i];
        char name[64];
        if (!symbol) break;
        const char *const gap = strstr(symbol, "%s");
        snprintf(name, sizeof name, "%.*s%s%s", (int)(gap - symbol), symbol, f->name, gap + 2);
        void *const found = dlsym(library, name);
        memcpy(&out, &found, sizeof out);
    }
    return out;
}

/* ---- Accuracy -------------------------------------------------------------------------------- */

static double from_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint64_t hashed(uint64_t i) {
    i = (i ^ i >> 33) * UINT64_C(0xff51afd7ed558ccd);
    i = (i ^ i >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return i ^ i >> 33;
}

/* Arguments: ends and edges, each with each; then by turns any bits at all, bits of numbers that f32
 * has too, with more digits behind, and numbers of the range in which is timed. */
static double argument(uint64_t i, bool second, double low, double high) {
    static const double edges[] = {0,   1, DBL_MAX, INFINITY, DBL_TRUE_MIN, NAN,    DBL_MIN, 2,
                                   0.5, 3, 710,     20,       0x1p-1022,    1e-300, 1e300,   0.1};
    enum { EDGES = 2 * sizeof edges / sizeof *edges };
    const uint64_t h = hashed(2 * i + second);
    if (i < EDGES * EDGES) {
        const uint64_t k = second ? i / EDGES : i % EDGES;
        return k % 2 ? -edges[k / 2] : edges[k / 2];
    }
    if (h % 3 == 0) return from_bits(hashed(h));
    if (h % 3 == 1) {
        const float narrow = (float)ldexp((double)(h >> 40), (int)(h >> 8 & 255) - 150);
        return (h & 16 ? -1 : 1) * (double)narrow * (1 + (double)(hashed(h) >> 35) * 0x1p-53);
    }
    return low + (high - low) * (double)(hashed(h) >> 11) * 0x1p-53;
}

static double error_of(long double r, long double y) {
    const long double infinity = ldexpl(1, 1024);
    if (isnan(r) != isnan(y)) return (double)NAN;
    if (isnan(r)) return 0;
    if (y == 0 && r == 0) return !signbit(r) == !signbit(y) ? 0 : (double)NAN;
    r = fmaxl(-infinity, fminl(infinity, r)), y = fmaxl(-infinity, fminl(infinity, y));
    int exponent = y == 0 ? -1022 : ilogbl(y);
    exponent = exponent < -1022 ? -1022 : exponent > 1023 ? 1023 : exponent;
    return (double)(fabsl(r - y) * ldexpl(1, 52 - exponent));
}

static long double truth(const function *f, double a, double b) {
    if (f->n_args == 1) return ((long double (*)(long double))f->exact)(a);
    return ((long double (*)(long double, long double))f->exact)(a, b);
}

typedef struct result {
    double ns, worst, worst_at, special_at;
    int64_t special; /* NaN for a number, or the other way; a zero of the wrong sign */
    int64_t moved;   /* numbers whose bits depend on the lane they are in */
    uint64_t hash;   /* of all results */
} result;

static uint64_t mix(uint64_t hash, double y) {
    uint64_t bits;
    if (isnan(y)) y = (double)NAN;
    memcpy(&bits, &y, sizeof bits);
    return (hash ^ bits) * UINT64_C(0x100000001b3);
}

static void measure_accuracy(const function *f, const way *w, any code, result *out) {
    static double a[CHUNK], b[CHUNK], y[CHUNK], turned[CHUNK];
    for (uint64_t chunk = 0; chunk < CHUNKS; chunk++) {
        for (uint64_t i = 0; i < CHUNK; i++) {
            a[i] = argument(chunk * CHUNK + i, false, f->low, f->high);
            b[i] = argument(chunk * CHUNK + i, true, f->low2, f->high2);
        }
        w->loop(code, f->n_args, a, b, y, CHUNK);
        for (int i = 0; i < CHUNK; i++) {
            const double error = error_of(y[i], truth(f, a[i], b[i]));
            out->hash = mix(out->hash, y[i]);
            if (isnan(error)) out->special++, out->special_at = a[i];
            if (error > out->worst) out->worst = error, out->worst_at = a[i];
        }
        memmove(a + 1, a, (CHUNK - 1) * sizeof *a); /* every number in the next lane */
        memmove(b + 1, b, (CHUNK - 1) * sizeof *b);
        w->loop(code, f->n_args, a, b, turned, CHUNK);
        for (int i = 1; i < CHUNK; i++) out->moved += mix(0, turned[i]) != mix(0, y[i - 1]);
    }
}

/* ---- Speed ----------------------------------------------------------------------------------- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The least of many short runs: what nobody disturbed. */
static double measure_time(const function *f, const way *w, any code) {
    static double a[CHUNK], b[CHUNK], y[CHUNK];
    double best = INFINITY;
    for (uint32_t i = 0; i < CHUNK; i++) {
        a[i] = f->low + (f->high - f->low) * (double)(i * 2654435761u) * 0x1p-32;
        b[i] = f->low2 + (f->high2 - f->low2) * (double)(i * 2246822519u) * 0x1p-32;
    }
    for (int i = 0; i < RUNS; i++) {
        const double begin = now();
        w->loop(code, f->n_args, a, b, y, CHUNK);
        const double ns = now() - begin;
        if (ns < best) best = ns;
    }
    return best / CHUNK;
}

/* ---- The table ------------------------------------------------------------------------------- */

static void print_row(const function *f) {
    result r[N_WAYS] = {{0}};
    printf("| %s |", f->name);
    for (int i = 0; i < N_WAYS; i++) {
        const any code = find(&ways[i], f);
        if (!code) {
            printf(" - |");
            continue;
        }
        r[i].ns = measure_time(f, &ways[i], code);
        measure_accuracy(f, &ways[i], code, &r[i]);
        printf(" %.3g ns, %.3g ulp", r[i].ns, r[i].worst);
        if (r[i].worst > 5) printf(" at %.3g", r[i].worst_at);
        if (r[i].special)
            printf(", %lld special at %.3g", (long long)r[i].special, r[i].special_at);
        if (r[i].moved) printf(", %lld by lane", (long long)r[i].moved);
        printf(" |");
    }
    printf(" %s | %s |\n", r[1].hash == r[2].hash ? "same" : "differ",
           r[3].hash == r[4].hash ? "same" : "differ");
    fflush(stdout);
}

int main(void) {
    printf("| f64 |");
    for (int i = 0; i < N_WAYS; i++) printf(" %s |", ways[i].name);
    printf(" libmvec 4 and 8 | sleef 4 and 8 |\n|---|");
    for (int i = 0; i < N_WAYS + 2; i++) printf("---|");
    printf("\n");
    for (int i = 0; i < N_FUNCTIONS; i++) print_row(&functions[i]);
    return 0;
}
