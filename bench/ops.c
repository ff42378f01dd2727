/* ops.c - ops and training steps: against their goals, against what memory gives, and against
 * PyTorch, all in one run and on one thread.
 *
 *   bazel run //bench:ops -- [FOLDER] [NAME...]     NAME: only problems that begin so
 *
 * TENON_PEERS: Pythons with torch, joined by ':'; default python3. A peer without torch is left
 * out. Results are checked against the peer's before anything is timed.
 * SPDX-License-Identifier: Apache-2.0 */
#include <emmintrin.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/inspect.h>
#include <tenon/tenon.h>

#include <math_ops.h>

#include "bench/peer.h"
#include "bench/problems.h"

enum { MOST_PEERS = 4, BATCH = 64, TEXT = 128, ROWS = 64 };

/* ---- Ours ------------------------------------------------------------------------------------ */

typedef struct timed {
    const bench_problem *p;
    bench_work work;
} timed;

/* Tiny calls share a scope, as they would in a program. */
static void run(void *arg, int64_t n) {
    timed *t = arg;
    const int batch = t->p->unit[0] == 'n' && !t->p->calls ? BATCH : 1;
    while (n > 0) {
        const tn_scope scope = tn_scope_push();
        for (int i = 0; i < batch && n > 0; i++, n--) t->p->call(&t->work);
        tn_scope_pop(scope);
    }
}

/* As numbers() of the peers: a mean and some elements; the losses of a training step. */
static int checks_of(timed *t, double out[BENCH_CHECKS]) {
    const tn_scope scope = tn_scope_push();
    int n = 0;
    if (strncmp(t->p->name, "mlp", 3) == 0) {
        while (n < 3) out[n++] = tn_item(t->p->call(&t->work));
    } else {
        tn_tensor *y = t->p->call(&t->work);
        const bool grad = tn_set_grad_enabled(false);
        tn_tensor *flat = tn_reshape(tn_to(y, TN_F64), TN_INTS(-1));
        const int64_t last = tn_numel(flat) - 1, at[3] = {0, (last + 1) / 3, last};
        out[n++] = tn_item(tn_mean(tn_abs(flat)));
        for (int i = 0; i < 3; i++) out[n++] = tn_item(tn_select(flat, 0, at[i]));
        tn_set_grad_enabled(grad);
    }
    tn_scope_pop(scope);
    return n;
}

/* ---- The memory's own speed ------------------------------------------------------------------ */

typedef struct stream {
    const float *a, *b;
    float *c;
    int64_t n;
    float sum;
} stream;

static void stream_add(void *arg, int64_t n) {
    const stream *s = arg;
    for (; n > 0; n--)
        for (int64_t i = 0; i < s->n; i += 4)
            _mm_stream_ps(s->c + i, _mm_add_ps(_mm_load_ps(s->a + i), _mm_load_ps(s->b + i)));
    _mm_sfence();
}

static void stream_sum(void *arg, int64_t n) {
    stream *s = arg;
    for (; n > 0; n--) {
        __m128 acc[8] = {{0}};
        for (int64_t i = 0; i < s->n; i += 32)
            for (int k = 0; k < 8; k++) acc[k] = _mm_add_ps(acc[k], _mm_load_ps(s->a + i + 4 * k));
        for (int k = 1; k < 8; k++) acc[0] = _mm_add_ps(acc[0], acc[k]);
        s->sum += _mm_cvtss_f32(acc[0]);
    }
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static char texts[4 * ROWS][TEXT];
static int n_texts;

static const char *text(const char *format, const char *a, const char *b) {
    if (n_texts == 4 * ROWS) return "?";
    snprintf(texts[n_texts], TEXT, format, a, b);
    return texts[n_texts++];
}

static double unit_of(const bench_problem *p) {
    return p->unit[0] == 'n' ? 1e9 : p->unit[0] == 'u' ? 1e6 : p->unit[0] == 'm' ? 1e3 : 1;
}

static void add_time(bench_report *r, timed *t, double error) {
    const bench_side side = {run, t, NULL};
    bench_row row = {.name = t->p->text, .unit = t->p->unit, .goal = t->p->goal, .error = error};
    const int calls = t->p->calls ? t->p->calls : 1;
    row.stat = bench_time(&side, unit_of(t->p) / calls);
    row.note = text("%s%s", tn_last_provider(), "");
    row.more_is_better = t->p->flops > 0;
    for (int i = 0; row.more_is_better && i < row.stat.n; i++)
        row.stat.samples[i] = t->p->flops / row.stat.samples[i] * 1e-12;
    if (row.more_is_better) bench_summarise(&row.stat);
    bench_report_add(r, &row);
}

static void add_roof(bench_report *r, timed *t, void (*roof)(void *, int64_t)) {
    const tn_scope scope = tn_scope_push();
    tn_tensor *c = tn_zeros((tn_ints){tn_sizes(t->work.x), 1}, TN_F32);
    stream s = {tn_data(t->work.x), tn_data(t->work.y), c ? tn_data(c) : NULL, tn_numel(c), 0};
    const bench_side ours = {run, t, NULL}, other = {roof, &s, NULL};
    bench_row row = {.unit = "x", .goal = 0.85, .more_is_better = true, .error = NAN};
    row.name = text("%s: of the stream roof", t->p->text, "");
    row.note = "plain SSE loop on the same memory";
    if (s.c) row.stat = bench_pair(&ours, &other);
    if (s.c) bench_report_add(r, &row);
    tn_scope_pop(scope);
}

/* How far apart the checks are, relative to the largest; NaN where they need not agree. */
static double error_of(const bench_problem *p, const double *ours, const double *theirs, int n) {
    double worst = 0, largest = 1e-30;
    for (int i = 0; i < n; i++) {
        worst = fmax(worst, fabs(ours[i] - theirs[i]));
        largest = fmax(largest, fabs(theirs[i]));
    }
    return isnan(p->largest_error) ? NAN : worst / largest;
}

/* NaN if the peer does not have the problem. */
static double add_ratio(bench_report *r, bench_peer *peer, timed *t, const double *ours, int n) {
    double theirs[BENCH_CHECKS];
    if (bench_peer_pose(peer, t->p->name, 1, theirs) != n) return NAN;
    bench_row row = {.unit = "x", .goal = 1, .more_is_better = true};
    row.error = error_of(t->p, ours, theirs, n);
    if (row.error > t->p->largest_error) {
        fprintf(stderr, "%s: %s: results differ by %g\n", bench_peer_version(peer), t->p->text,
                row.error);
        return row.error;
    }
    const bench_side mine = {run, t, NULL}, other = {NULL, peer, bench_peer_seconds};
    row.stat = bench_pair(&mine, &other);
    row.name = text("%s, against %s", t->p->text, bench_peer_version(peer));
    row.note = bench_verdict(&row.stat);
    bench_report_add(r, &row);
    return row.error;
}

static bool wanted(const bench_problem *p, int argc, char **argv) {
    bool found = argc <= 2;
    for (int i = 2; i < argc; i++) found = found || strncmp(p->name, argv[i], strlen(argv[i])) == 0;
    return found;
}

static void measure(bench_report *own, bench_report *ratios, const bench_problem *p,
                    bench_peer *const *peers, int n_peers) {
    const tn_scope scope = tn_scope_push();
    static timed t;
    double checks[BENCH_CHECKS], error = NAN;
    t = (timed){.p = p};
    tn_set_grad_enabled(true);
    p->make(&t.work);
    tn_set_grad_enabled(p->recorded);
    const int n = checks_of(&t, checks);
    for (int i = 0; i < n_peers; i++)
        error = fmax(error, add_ratio(ratios, peers[i], &t, checks, n));
    add_time(own, &t, error);
    if (p->call == bench_problems[0].call && tn_numel(t.work.x) > 1 << 24)
        add_roof(own, &t, stream_add);
    if (strcmp(p->name, "sum_large") == 0) add_roof(own, &t, stream_sum);
    tn_set_grad_enabled(true);
    tn_scope_pop(scope);
}

static int start_peers(bench_peer **out) {
    const char *list = getenv("TENON_PEERS");
    char names[1024];
    int n = 0;
    snprintf(names, sizeof names, "%s", list ? list : "python3");
    for (char *rest = names, *one; n < MOST_PEERS && (one = strsep(&rest, ":")) != NULL;) {
        double ignored[BENCH_CHECKS];
        out[n] = *one ? bench_peer_start(one, "bench/peer_torch.py") : NULL;
        if (out[n] && bench_peer_pose(out[n], "add_8", 1, ignored) > 0)
            n++;
        else
            fprintf(stderr, "ops: %s has no torch: not compared with it\n", one);
    }
    return n;
}

int main(int argc, char **argv) {
    bench_peer *peers[MOST_PEERS];
    bench_report *own = bench_report_new("ops"), *ratios = bench_report_new("torch");
    if (!own || !ratios || tn_init(NULL)) return bench_fail("start");
    const int n_peers = start_peers(peers);
    tn_set_threads(1);
    for (int i = 0; i < bench_n_problems && !tn_error(); i++)
        if (wanted(&bench_problems[i], argc, argv))
            measure(own, ratios, &bench_problems[i], peers, n_peers);
    for (int i = 0; i < n_peers; i++) bench_peer_stop(peers[i]);
    if (tn_error()) return bench_fail("ops");
    const int status = bench_report_end(own, argc, argv);
    return bench_report_end(ratios, argc, argv) || status;
}
