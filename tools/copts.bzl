# SPDX-License-Identifier: Apache-2.0
"""Compiler flags of our own code, the same for gcc and clang."""

# Instrumented code provokes false warnings in gcc; there they stay warnings.
_WERROR = select({
    "//tools:sanitized": [],
    "//conditions:default": ["-Werror"],
})

# C only. Use as `copts = TENON_COPTS + [...]`; it holds a select, so it cannot be iterated.
TENON_COPTS = [
    "-std=c11",
    "-D_GNU_SOURCE",
    "-fvisibility=hidden",
    # clang contracts a*b+c by default, gcc -std=c11 does not; results must not differ.
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wshadow",
    "-Wconversion",
    "-Wmissing-prototypes",
] + _WERROR

# Tests. They include the public C headers, so this is also the proof that those are C++.
TENON_CXXOPTS = [
    "-std=c++17",
    "-D_GNU_SOURCE",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    # Partly filled option structs are the idiom of our API.
    "-Wno-missing-field-initializers",
] + _WERROR
