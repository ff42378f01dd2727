/* demo.c - `tenon demo`: the digits classifier on every provider, side by side.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tenon/device.h>
#include <tenon/inspect.h>

#include "examples/digits/digits.h"
#include "tools/command/command.h"
#include "tools/command/json.h"
#include "tools/command/locate.h"
#include "tools/command/screen.h"

enum {
    MOST_PROVIDERS = 8,
    DEVICE_BYTES = 48,
    MOST_SEEDS = 100,
    DEFAULT_SEEDS = 5,
    NAME_BYTES = 96
};

typedef struct run {
    const char *provider;
    int seed;
    double share; /* of the kernels that ran: the provider's own, 0..1 */
    digits_result result;
} run;

typedef struct demo {
    char providers[MOST_PROVIDERS][NAME_BYTES]; /* slowest, the reference, first */
    int n_providers, n_seeds, n_runs;
    char data[PATH_MAX], checkpoint[PATH_MAX];
    const char *kind;          /* of device */
    char device[DEVICE_BYTES]; /* "cpu:0" */
    char folder[64];           /* ours, to be removed; "" if the checkpoint is the user's */
    run *runs;
} demo;

/* ---- Before ---------------------------------------------------------------------------------- */

/* Beside the program: share/tenon in the build tree, ../share/tenon once installed. */
static int find_data(const char *given, char out[PATH_MAX]) {
    static const char *const places[] = {"share/tenon", "../share/tenon"};
    char program[PATH_MAX];
    if (given)
        return snprintf(out, PATH_MAX, "%s", given) < PATH_MAX
                   ? EXIT_OK
                   : fail(EXIT_USAGE, "--data is too long");
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = 0;
    char *slash = strrchr(program, '/');
    if (slash) *slash = 0;
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        const int length = snprintf(out, PATH_MAX, "%s/%s/digits.csv", program, places[i]);
        if (length < PATH_MAX && access(out, R_OK) == 0) return EXIT_OK;
    }
    return fail(EXIT_BAD_FILE,
                "digits.csv is not under %s/share/tenon or %s/../share/tenon\n"
                "  fix: tenon demo --data examples/data/digits.csv",
                program, program);
}

/* By name, or by file, which is loaded. */
static int find_provider(demo *d, const char *only) {
    char room[PATH_MAX];
    const char *path = plugin_file(only, room);
    tn_plugin_info p = {.size = sizeof p};
    if (path && (tn_plugin_load(path) || tn_plugin_find(path, &p))) return fail_pending();
    snprintf(d->providers[d->n_providers++], NAME_BYTES, "%s", path ? p.id : only);
    if (tn_use_provider(d->providers[0])) return fail_pending();
    return tn_use_provider(NULL) ? fail_pending() : EXIT_OK;
}

/* Where to train; its driver is loaded. */
static int find_device(demo *d, const char *name) {
    tn_device_info info = {.size = sizeof info};
    const tn_device device = tn_device_find(name ? name : "cpu");
    tn_use_device(device);
    for (int64_t i = 0; !tn_error() && i < tn_device_count(); i++) {
        if (tn_device_at(i, &info) || info.index != (uint32_t)device.index) continue;
        if (tn_device_find(info.kind).kind == device.kind) d->kind = info.kind;
    }
    if (tn_error()) return fail_pending();
    snprintf(d->device, sizeof d->device, "%s:%d", d->kind, device.index);
    return EXIT_OK;
}

/* On another device than the cpu, those who can add there. */
static int find_providers_there(demo *d) {
    const char *list = tn_op_providers("add", d->kind);
    for (const char *at = list; at && *at && d->n_providers < MOST_PROVIDERS;) {
        const size_t n = strcspn(at, ",");
        snprintf(d->providers[d->n_providers++], NAME_BYTES, "%.*s", (int)n, at);
        at += n + (at[n] == ',');
    }
    if (d->n_providers) return EXIT_OK;
    return fail(EXIT_UNAVAILABLE, "nobody has kernels on %s", d->device);
}

/* Everybody ready who has kernels; cpu_ref, with which others are compared, first. */
static int find_providers(demo *d, const char *only) {
    int64_t n = 0;
    if (tn_init(NULL) || tn_plugin_scan(&n)) return fail_pending();
    if (only) return find_provider(d, only);
    if (strcmp(d->kind, "cpu") != 0) return find_providers_there(d);
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < n && d->n_providers < MOST_PROVIDERS; i++) {
            tn_plugin_info p = {.size = sizeof p};
            if (tn_plugin_at(i, &p)) return fail_pending();
            const bool reference = strcmp(p.id, "cpu_ref") == 0;
            if (p.state != TN_PLUGIN_READY || p.n_kernels == 0 || reference != (pass == 0))
                continue;
            snprintf(d->providers[d->n_providers++], NAME_BYTES, "%s", p.id);
        }
    }
    if (d->n_providers) return EXIT_OK;
    return fail(EXIT_UNAVAILABLE, "no plugin with kernels is ready\n  see: tenon plugins --probe");
}

static int read_seeds(const char *text, int *out) {
    char *end = NULL;
    const long n = text ? strtol(text, &end, 10) : DEFAULT_SEEDS;
    if (text && (*end || end == text || n < 1 || n > MOST_SEEDS))
        return fail(EXIT_USAGE, "--seeds %s: give a number from 1 to %d", text, MOST_SEEDS);
    *out = (int)n;
    return EXIT_OK;
}

static int choose_checkpoint(demo *d, const char *given) {
    const char *base = getenv("TMPDIR");
    if (given && snprintf(d->checkpoint, PATH_MAX, "%s", given) < PATH_MAX) return EXIT_OK;
    if (given) return fail(EXIT_USAGE, "--checkpoint is too long");
    const int n = snprintf(d->folder, sizeof d->folder, "%s/tenon-demo-XXXXXX",
                           base && *base ? base : "/tmp");
    if (n >= (int)sizeof d->folder) snprintf(d->folder, sizeof d->folder, "/tmp/tenon-demo-XXXXXX");
    if (!mkdtemp(d->folder)) {
        fail(EXIT_BAD_FILE, "cannot make %s: %s\n  fix: tenon demo --checkpoint FILE", d->folder,
             strerror(errno));
        d->folder[0] = 0;
        return EXIT_BAD_FILE;
    }
    snprintf(d->checkpoint, PATH_MAX, "%s/digits.safetensors", d->folder);
    return EXIT_OK;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static void show(void *user, const digits_progress *p) {
    const run *r = user;
    char label[64], text[64];
    if (p->step % 8 && p->step != p->steps) return; /* a terminal is slower than a step */
    snprintf(label, sizeof label, "%-10s seed %d", r->provider, r->seed);
    snprintf(text, sizeof text, "epoch %2d/%d  loss %.4f", p->epoch, p->epochs, p->loss);
    progress_bar(label, (double)p->step / (double)p->steps, text);
}

static int run_one(demo *d, const char *provider, int seed) {
    run *r = &d->runs[d->n_runs++];
    *r = (run){.provider = provider, .seed = seed};
    const digits_opts opts = {.data = d->data,
                              .checkpoint = d->checkpoint,
                              .provider = provider,
                              .seed = (uint64_t)seed,
                              .progress = progress_wanted() ? show : NULL,
                              .user = r};
    const uint64_t own = tn_provider_runs(provider), all = tn_provider_runs(NULL);
    const tn_status status = digits_run(&opts, &r->result);
    progress_clear();
    if (status) return fail_pending();
    const double ran = (double)(tn_provider_runs(NULL) - all);
    r->share = ran > 0 ? (double)(tn_provider_runs(provider) - own) / ran : 0;
    if (r->result.accuracy == r->result.reloaded_accuracy) return EXIT_OK;
    return fail(
        EXIT_CHECKS,
        "%s, seed %d: %.4f of the test digits recognised, but %.4f with the weights as read back "
        "from %s",
        provider, seed, r->result.accuracy, r->result.reloaded_accuracy, d->checkpoint);
}

static int run_all(demo *d) {
    d->runs = calloc((size_t)(d->n_providers * d->n_seeds), sizeof *d->runs);
    if (!d->runs) return fail_memory();
    for (int p = 0; p < d->n_providers; p++)
        for (int seed = 0; seed < d->n_seeds; seed++) {
            const int code = run_one(d, d->providers[p], seed);
            if (code) return code;
        }
    return EXIT_OK;
}

/* ---- Results --------------------------------------------------------------------------------- */

/* Means over the seeds of provider i. */
static digits_result mean(const demo *d, int i) {
    digits_result m = {0};
    for (int k = 0; k < d->n_seeds; k++) {
        const digits_result *r = &d->runs[i * d->n_seeds + k].result;
        m.loss += r->loss / d->n_seeds;
        m.accuracy += r->accuracy / d->n_seeds;
        m.seconds += r->seconds / d->n_seeds;
    }
    return m;
}

/* Of the kernels that ran, those of provider i itself: what it declines goes to the next. */
static double mean_share(const demo *d, int i) {
    double share = 0;
    for (int k = 0; k < d->n_seeds; k++) share += d->runs[i * d->n_seeds + k].share / d->n_seeds;
    return share;
}

static int print_runs(const demo *d) {
    const char *const titles[] = {"PROVIDER", "DEVICE", "SEED", "LOSS", "TEST", "SECONDS", NULL};
    table t = table_new(titles);
    t.right = 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5;
    for (int i = 0; i < d->n_runs; i++) {
        const run *r = &d->runs[i];
        table_cell(&t, PLAIN, "%s", r->provider);
        table_cell(&t, PLAIN, "%s", d->device);
        table_cell(&t, PLAIN, "%d", r->seed);
        table_cell(&t, PLAIN, "%.4f", r->result.loss);
        table_cell(&t, PLAIN, "%.2f %%", 100 * r->result.accuracy);
        table_cell(&t, PLAIN, "%.2f", r->result.seconds);
    }
    return table_print(&t);
}

static int print_means(const demo *d) {
    const char *const titles[] = {"PROVIDER", "MEAN TEST",   "MEAN SECONDS",
                                  "SPEED",    "OWN KERNELS", NULL};
    table t = table_new(titles);
    t.right = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4;
    for (int i = 0; i < d->n_providers; i++) {
        const digits_result m = mean(d, i);
        table_cell(&t, PLAIN, "%s", d->providers[i]);
        table_cell(&t, GOOD, "%.2f %%", 100 * m.accuracy);
        table_cell(&t, PLAIN, "%.2f", m.seconds);
        table_cell(&t, PLAIN, "%.1fx", mean(d, 0).seconds / m.seconds);
        table_cell(&t, PLAIN, "%.1f %%", 100 * mean_share(d, i));
    }
    return table_print(&t);
}

static int print_text(const demo *d) {
    const digits_result *first = &d->runs[0].result;
    print_wrapped(stdout,
                  "data    handwritten digits, 8x8 pixels: %lld to train on, %lld to test\n"
                  "model   64-128-10, relu, cross-entropy; SGD with momentum\n",
                  (long long)first->n_train, (long long)first->n_test);
    int code = print_runs(d);
    putchar('\n');
    if (print_means(d)) code = EXIT_NO_MEMORY;
    print_wrapped(stdout, "\nEach run saved its weights, read them back, and recognised the same "
                          "digits with them.");
    if (!d->folder[0]) print_wrapped(stdout, "saved %s", d->checkpoint);
    return code;
}

static int print_json(const demo *d) {
    json_t *runs = json_array(), *means = json_array();
    for (int i = 0; i < d->n_runs; i++) {
        const run *r = &d->runs[i];
        json_array_append_new(runs,
                              json_pack("{s:s, s:s, s:i, s:o, s:o, s:o, s:o}", "provider",
                                        r->provider, "device", d->device, "seed", r->seed, "loss",
                                        json_number(r->result.loss), "test_accuracy",
                                        json_number(r->result.accuracy), "reloaded_test_accuracy",
                                        json_number(r->result.reloaded_accuracy), "seconds",
                                        json_number(r->result.seconds)));
    }
    for (int i = 0; i < d->n_providers; i++) {
        const digits_result m = mean(d, i);
        json_array_append_new(means,
                              json_pack("{s:s, s:o, s:o, s:o, s:o}", "provider", d->providers[i],
                                        "loss", json_number(m.loss), "test_accuracy",
                                        json_number(m.accuracy), "seconds", json_number(m.seconds),
                                        "own_kernels", json_number(mean_share(d, i))));
    }
    return json_print(json_pack("{s:s, s:o, s:o, s:{s:o, s:I, s:I}, s:o}", "schema", "tenon.demo/1",
                                "runs", runs, "means", means, "data", "file", json_text(d->data),
                                "train", (long long)d->runs[0].result.n_train, "test",
                                (long long)d->runs[0].result.n_test, "checkpoint",
                                json_text(d->folder[0] ? NULL : d->checkpoint)));
}

static void clean_up(demo *d) {
    char previous[PATH_MAX + 8];
    free(d->runs);
    if (!d->folder[0]) return;
    snprintf(previous, sizeof previous, "%s.prev", d->checkpoint);
    unlink(previous);
    unlink(d->checkpoint);
    rmdir(d->folder);
}

int run_demo(const request *r) {
    demo d = {0};
    int code = read_seeds(request_value(r, "seeds"), &d.n_seeds);
    if (!code) code = find_data(request_value(r, "data"), d.data);
    if (!code) code = find_device(&d, request_value(r, "device"));
    if (!code) code = find_providers(&d, request_value(r, "provider"));
    if (!code) code = choose_checkpoint(&d, request_value(r, "checkpoint"));
    if (!code) code = run_all(&d);
    if (!code) code = r->json ? print_json(&d) : print_text(&d);
    clean_up(&d);
    return code;
}
