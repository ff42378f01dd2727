#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the coefficients of backends/cpu_blas/vector/math_f32.inc. Needs mpmath.

Each is the polynomial through f at the Chebyshev points of an interval, whose error is within a
small factor of the smallest possible; beside it stands the largest relative error found.
"""
from mpmath import mp, mpf, atan, atanh, chebyfit, cos, erf, erfc, exp, log, pi, polyval, sin, sqrt

mp.dps = 40


def fit(name, f, low, high, terms, whole=None, exact=None):
    """f(u) = sum c_i u^i; whole(u, p) is what the code makes of p, exact(u) what it should be."""
    coefficients = chebyfit(f, [low, high], terms)
    worst = 0
    for i in range(2001):
        u = low + (high - low) * (mpf(i) + mpf("0.37")) / 2002
        p = polyval(coefficients, u)
        got, want = (whole(u, p), exact(u)) if whole else (p, f(u))
        worst = max(worst, abs(got / want - 1))
    print(f"{name}: {terms} terms, error 2^{float(log(worst, 2)):.1f}")
    for c in coefficients:
        print(f"    {float(c).hex()}, /* {float(c):.17g} */")


half = log(2) / 2
fit("exp", lambda r: (exp(r) - 1 - r) / r**2 if r else mpf(1) / 2, -half, half, 6,
    lambda r, p: 1 + r + r * r * p, exp)
z = ((sqrt(2) - 1) / (sqrt(2) + 1)) ** 2
fit("log", lambda z: (2 * atanh(sqrt(z)) / sqrt(z) - 2) / z if z else mpf(2) / 3, mpf(0), z, 4,
    lambda z, p: 2 * sqrt(z) + sqrt(z) * z * p, lambda z: 2 * atanh(sqrt(z)))
z = (pi / 4 + mpf("0.001")) ** 2
fit("sin", lambda z: (sin(sqrt(z)) / sqrt(z) - 1) / z if z else -mpf(1) / 6, mpf(0), z, 4,
    lambda z, p: sqrt(z) * (1 + z * p), lambda z: sin(sqrt(z)))
fit("cos", lambda z: (cos(sqrt(z)) - 1) / z if z else -mpf(1) / 2, mpf(0), z, 4,
    lambda z, p: 1 + z * p, lambda z: cos(sqrt(z)))
z = (sqrt(2) - 1) ** 2
fit("atan", lambda z: (atan(sqrt(z)) / sqrt(z) - 1) / z if z else -mpf(1) / 3, mpf(0), z, 6,
    lambda z, p: sqrt(z) * (1 + z * p), lambda z: atan(sqrt(z)))
fit("erf", lambda z: erf(sqrt(z)) / sqrt(z) if z else 2 / sqrt(pi), mpf(0), mpf("0.25"), 6)
a = lambda t: 3 * (1 + t) / (1 - t)
fit("erfcx", lambda t: (a(t) + 3) * exp(a(t) ** 2) * erfc(a(t)), mpf(-1), mpf("7.2") / mpf("13.2"), 12)
