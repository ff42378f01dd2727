#!/usr/bin/env bash
# names_test.sh - a derivative in C that asks for what its row does not have, or does not keep, does not
# compile; nor does one that answers for what is no tensor. Prototypes and calls compile in C++ as well.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
include=$PWD/$(dirname "$1")/.. rows=$PWD/$2
options=(-Wall -Wextra -Wpedantic -Werror -fsyntax-only -I "$include")

# Does a derivative of `sort(Tensor<T> x, int dim, bool descending) keep(indices)` compile with this?
compiles() {
    printf '#include "%s"\nvoid f(golden_derivative_ctx *c);\nvoid f(golden_derivative_ctx *c) { %s; }\n' \
        "$rows" "$1" >"$TEST_TMPDIR/f.c"
    cc -std=c11 "${options[@]}" "$TEST_TMPDIR/f.c" 2>"$TEST_TMPDIR/why.txt"
}
may() { compiles "$1" || { echo "FAIL: '$1' does not compile:" >&2; cat "$TEST_TMPDIR/why.txt" >&2; exit 1; }; }
may_not() {
    if compiles "$1"; then echo "FAIL: '$1' compiles" >&2; exit 1; fi
    grep -q "$2" "$TEST_TMPDIR/why.txt" || { cat "$TEST_TMPDIR/why.txt" >&2; exit 1; }
}

may 'TNK_SET_GRAD(c, x, TNK_SAVED(c, indices))'
may 'if (TNK_NEEDS(c, x) && TNK_ARG(c, descending)) TNK_SET_GRAD(c, x, TNK_GRAD(c, TNK_ARG(c, dim) == 0))'
may_not 'TNK_SAVED(c, values)' "no member named 'values'" # a result, but not kept
may_not 'TNK_SAVED(c, x)' "no member named 'x'"
may_not 'TNK_ARG(c, dims)' "no member named 'dims'"
may_not 'TNK_ARG(c, x)' "no member named 'x'"
may_not 'TNK_NEEDS(c, dim)' "no member named 'dim'"
may_not 'TNK_SET_GRAD(c, indices, NULL)' "no member named 'indices'"

c++ -x c++ -std=c++17 "${options[@]}" -include "$rows" /dev/null
