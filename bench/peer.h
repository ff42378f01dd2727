/* peer.h - another program that does the same work: one JSON problem per line in, one answer per
 * line out.
 *
 *   {"problem": "exp", "threads": 1}   ->  {"check": [c, ...], "version": "torch 2.1.0"}
 *                                          {"absent": "why it cannot"}
 *   {"run": n}                         ->  {"seconds": s}      n times the last problem
 *
 * Inputs follow from formulas that both sides know (bench_input). Checks are a few numbers of the
 * result, so that nothing is timed that computes something else.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TENON_BENCH_PEER_H
#define TENON_BENCH_PEER_H

#include "bench/harness.h"

enum { BENCH_CHECKS = 8 };

typedef struct bench_peer bench_peer;

/* Starts `program script`. NULL if it does not start. */
bench_peer *bench_peer_start(const char *program, const char *script);
/* Poses a problem; the number of checks, or -1 if the peer is absent or fails. */
int bench_peer_pose(bench_peer *, const char *problem, int threads, double checks[BENCH_CHECKS]);
const char *bench_peer_version(const bench_peer *); /* "" before the first answer */
/* As bench_side.timed; the arg is the peer. NaN if it failed. */
double bench_peer_seconds(void *peer, int64_t n);
void bench_peer_stop(bench_peer *); /* NULL is fine */

/* Element i of every input: uniform-looking, in [-2, 2), the same in every program. */
static inline float bench_input(uint64_t i, uint64_t seed) {
    const uint32_t bits = (uint32_t)((i + seed * 7919 + 1) * UINT64_C(2654435761));
    return (float)(bits >> 8) * 0x1p-22F - 2;
}

#endif
