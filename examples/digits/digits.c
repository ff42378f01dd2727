/* digits.c - reads handwritten digits: a network of two layers, trained in about a second.
 *
 * This is the first program to read. Two things to know: every tensor belongs to the scope that was
 * open when it was made, and is freed with it; and the first error stays until somebody looks, with
 * everything after it doing nothing, so a step needs only one check, at its end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "examples/digits/digits.h"

#include <math.h>
#include <time.h>

#include <math_ops.h>

#include "examples/digits/data.h"
#include <tenon/checkpoint.h>

enum { HIDDEN = 128, BATCH = 64, EPOCHS = 30, SPLIT_SEED = 0 };
static const double learning_rate = 0.1, momentum = 0.9;

/* ---- The model: 64 pixels, 128 hidden units, 10 classes -------------------------------------- */

enum { W1, B1, W2, B2, PARAMS };
static const char *const names[PARAMS] = {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"};

typedef struct model {
    tn_tensor *params[PARAMS];
    tn_tensor *momenta[PARAMS];
} model;

static tn_tensor *forward(const model *m, tn_tensor *x) {
    tn_tensor *const *p = m->params;
    tn_tensor *hidden = tn_relu(tn_linear(x, p[W1], &(tn_linear_opts){.b = p[B1]}));
    return tn_linear(hidden, p[W2], &(tn_linear_opts){.b = p[B2]});
}

/* Uniform in +-1/sqrt(inputs). The bits depend on the generator only, not on who computes them. */
static tn_tensor *random_weights(tn_ints sizes, int inputs, tn_generator *rng) {
    const double bound = 1 / sqrt(inputs);
    return tn_uniform(sizes, &(tn_uniform_opts){.low = -bound, .high = TN_SET(bound), .rng = rng});
}

static model model_new(tn_generator *rng) {
    model m;
    m.params[W1] = random_weights(TN_INTS(HIDDEN, DIGITS_PIXELS), DIGITS_PIXELS, rng);
    m.params[B1] = random_weights(TN_INTS(HIDDEN), DIGITS_PIXELS, rng);
    m.params[W2] = random_weights(TN_INTS(DIGITS_CLASSES, HIDDEN), HIDDEN, rng);
    m.params[B2] = random_weights(TN_INTS(DIGITS_CLASSES), HIDDEN, rng);
    for (int i = 0; i < PARAMS; i++) {
        m.momenta[i] = tn_zeros_like(m.params[i]);
        tn_set_requires_grad(m.params[i], true);
    }
    return m;
}

/* ---- Batches --------------------------------------------------------------------------------- */

/* 0..n-1 in random order: where random numbers go when they are sorted. */
static tn_tensor *shuffled(int64_t n, tn_generator *rng) {
    return tn_sort(tn_uniform(TN_INTS(n), &(tn_uniform_opts){.rng = rng}), NULL).indices;
}

static tn_tensor *range(tn_tensor *x, int64_t start, int64_t end) {
    return tn_slice(x, &(tn_slice_opts){.start = TN_SET(start), .end = TN_SET(end)});
}

/* The digits at the given places. */
static digits_set pick(const digits_set *from, tn_tensor *index) {
    tn_tensor *rows = tn_expand(tn_unsqueeze(index, 1), TN_INTS(-1, DIGITS_PIXELS));
    return (digits_set){tn_gather(from->pixels, 0, rows), tn_gather(from->labels, 0, index),
                        tn_size(index, 0)};
}

/* Four fifths to train, the rest to test. */
static void split(const digits_set *all, digits_set *train, digits_set *test) {
    tn_generator *rng = tn_generator_new(SPLIT_SEED);
    tn_tensor *order = shuffled(all->n, rng);
    const int64_t n_train = all->n * 4 / 5;
    *train = pick(all, range(order, 0, n_train));
    *test = pick(all, range(order, n_train, all->n));
    tn_generator_free(rng);
}

/* ---- Training -------------------------------------------------------------------------------- */

/* One step down the gradient of the loss on a batch; returns the loss. */
static double step(model *m, const digits_set *batch) {
    tn_tensor *loss = tn_cross_entropy(forward(m, batch->pixels), batch->labels, NULL);
    tn_backward(loss);

    tn_tensor *grads[PARAMS];
    for (int i = 0; i < PARAMS; i++) grads[i] = tn_grad_of(m->params[i]);
    const bool recorded = tn_set_grad_enabled(false); /* the update is no part of the function */
    tn_sgd_((tn_tensors){m->params, PARAMS}, (tn_tensors){grads, PARAMS},
            (tn_tensors){m->momenta, PARAMS}, learning_rate, &(tn_sgd_opts){.momentum = momentum});
    tn_set_grad_enabled(recorded);

    for (int i = 0; i < PARAMS; i++) tn_zero_grad(m->params[i]);
    return tn_item(loss);
}

static double train_epoch(model *m, const digits_set *train, tn_generator *rng,
                          const digits_opts *opts, digits_progress *p) {
    tn_scope epoch = tn_scope_push();
    tn_tensor *order = shuffled(train->n, rng);
    double sum = 0;
    for (int64_t at = 0; at < train->n && !tn_error(); at += BATCH) {
        const int64_t end = at + BATCH < train->n ? at + BATCH : train->n;
        tn_scope scope = tn_scope_push();
        const digits_set batch = pick(train, range(order, at, end));
        sum += step(m, &batch) * (double)batch.n;
        tn_scope_pop(scope);
        p->step++, p->loss = sum / (double)end;
        if (opts->progress && !tn_error()) opts->progress(opts->user, p);
    }
    tn_scope_pop(epoch);
    return sum / (double)train->n;
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void train_all(model *m, const digits_set *train, tn_generator *rng, const digits_opts *opts,
                      digits_result *out) {
    digits_progress p = {.epochs = opts->epochs > 0 ? opts->epochs : EPOCHS};
    p.steps = p.epochs * ((train->n + BATCH - 1) / BATCH);
    const double start = seconds_now();
    for (p.epoch = 1; p.epoch <= p.epochs && !tn_error(); p.epoch++)
        out->loss = train_epoch(m, train, rng, opts, &p);
    out->seconds = seconds_now() - start;
}

/* ---- Checking -------------------------------------------------------------------------------- */

/* Share of digits recognised. */
static double accuracy(const model *m, const digits_set *set) {
    const bool recorded = tn_set_grad_enabled(false);
    tn_tensor *guess = tn_argmax(forward(m, set->pixels), &(tn_argmax_opts){.dim = {1, true}});
    const double share = tn_item(tn_sum(tn_eq(guess, set->labels))) / (double)set->n;
    tn_set_grad_enabled(recorded);
    return share;
}

static tn_status save_or_load(const model *m, const char *path, bool save) {
    tn_named_tensor items[PARAMS];
    for (int i = 0; i < PARAMS; i++) items[i] = (tn_named_tensor){names[i], m->params[i]};
    return save ? tn_checkpoint_save(path, items, PARAMS) : tn_checkpoint_load(path, items, PARAMS);
}

static void run(const digits_opts *opts, tn_generator *rng, digits_result *out) {
    digits_set all, train, test;
    if (tn_use_provider(opts->provider) || digits_read(opts->data, &all)) return;
    split(&all, &train, &test);
    out->n_train = train.n, out->n_test = test.n;

    model m = model_new(rng);
    train_all(&m, &train, rng, opts, out);
    out->accuracy = accuracy(&m, &test);

    const model again = model_new(rng); /* other weights, until they are loaded */
    if (save_or_load(&m, opts->checkpoint, true) || save_or_load(&again, opts->checkpoint, false))
        return;
    out->reloaded_accuracy = accuracy(&again, &test);
}

tn_status digits_run(const digits_opts *opts, digits_result *out) {
    *out = (digits_result){0};
    tn_scope scope = tn_scope_push();
    tn_generator *rng = tn_generator_new(opts->seed);
    run(opts, rng, out);
    tn_generator_free(rng);
    if (opts->provider && !tn_error()) tn_use_provider(NULL);
    tn_scope_pop(scope);
    return tn_error();
}
