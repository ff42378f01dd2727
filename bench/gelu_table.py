#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the tables of backends/cpu_blas/vector/gelu_table.inc. Needs mpmath.

Both forms of gelu are x P(x), where P(-a) = 1 - P(a) falls from 1/2. For a = |x|, piece k of 32 is
about k/6; there P(-a) = c0 + c1 t + ... + c7 t^7, t = a - centre. Centres are chosen such that c0
is very nearly a float (S. Gal, Computing Elementary Functions, 1986: accurate tables).
"""
from mpmath import chebyfit, erfc, exp, frexp, mp, mpf, nint, pi, polyval, sqrt

mp.dps = 40
PIECES, PER_ONE, TERMS = 32, 6, 8


def by_tanh(a):
    return 1 / (1 + exp(2 * sqrt(2 / pi) * (a + mpf("0.044715") * a**3)))


def by_erf(a):
    return erfc(a / sqrt(2)) / 2


def single(x):
    unit = mpf(2) ** (frexp(x)[1] - 24)
    return nint(x / unit) * unit


def centre(f, k):
    if k == 0:
        return mpf(0)
    unit = mpf(2) ** (frexp(mpf(k) / PER_ONE)[1] - 24)
    near = single(mpf(k) / PER_ONE)
    return min((near + i * unit for i in range(-200, 200)), key=lambda m: abs(single(f(m)) / f(m) - 1))


def piece(f, k):
    m = centre(f, k)
    c0 = single(f(m))
    low, high = max(mpf(k) - mpf(1) / 2, 0) / PER_ONE - m, (k + mpf(1) / 2) / PER_ONE - m
    slope = lambda t: (f(m + t) - f(m)) / t
    c = [single(x) for x in reversed(chebyfit(slope, [low, high], TERMS - 1))]
    points = [low + (high - low) * i / 200 for i in range(201)]
    worst = max(abs(polyval([*reversed(c), c0], t) / f(m + t) - 1) for t in points)
    return [m, c0, *c], worst


def table(name, f):
    pieces = [piece(f, k) for k in range(PIECES)]
    print(f"/* relative error 2^{float(mp.log(max(e for _, e in pieces), 2)):.1f} */")
    print(f"static const float {name}[9][32] __attribute__((aligned(64))) = {{")
    for row in zip(*(p for p, _ in pieces)):
        items = [float(x).hex().replace("0000000p", "p") + "f" for x in row]
        lines = [", ".join(items[i : i + 5]) for i in range(0, PIECES, 5)]
        print("    {" + ",\n     ".join(lines) + "},")
    print("};")


table("gelu_tanh_table", by_tanh)
table("gelu_erf_table", by_erf)
