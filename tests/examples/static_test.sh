#!/usr/bin/env bash
# static_test.sh - the program that holds its plugins trains as the one that loads them does, maps no
# plugin, and does without OpenBLAS.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
static=$PWD/$1 digits=$PWD/$2 csv=$PWD/$3
cd "$TEST_TMPDIR"

# Says what is opened; without OpenBLAS if asked.
cat >dlopen.c <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
void *dlopen(const char *path, int flags) {
    void *(*real)(const char *, int);
    *(void **)&real = dlsym(RTLD_NEXT, "dlopen");
    const int refused = getenv("NO_BLAS") && path && strstr(path, "openblas");
    void *handle = refused ? NULL : real(path, flags);
    if (handle) fprintf(stderr, "opened %s\n", path ? path : "the program");
    return handle;
}
END
cc -shared -fPIC dlopen.c -o dlopen.so -ldl

fail() { echo "FAIL: $*" >&2; exit 1; }

LD_PRELOAD=$PWD/dlopen.so "$static" "$csv" >with.txt 2>opened.txt
grep -E 'math|cpu_ref|cpu_blas' opened.txt && fail "a plugin was opened"
[ "$(grep -c openblas opened.txt)" = 1 ] || fail "OpenBLAS was not opened: $(cat opened.txt)"

NO_BLAS=1 LD_PRELOAD=$PWD/dlopen.so "$static" "$csv" >without.txt 2>opened.txt
grep -q "^without cpu_blas: cannot load plugin 'cpu_blas'" without.txt || fail "$(cat without.txt)"
grep -q 'no OpenBLAS can be used' without.txt || fail "$(cat without.txt)"
grep -q openblas opened.txt && fail "OpenBLAS was opened"

# One line each: "seed 0   loss 0.0116   test 97.50 % ..." and "loss 0.011591   test 97.50 %".
expected=$("$digits" "$csv" | sed -n 's/^seed 0   loss \([0-9.]*\) .*/\1/p')
for file in with.txt without.txt; do
    got=$(sed -n 's/^loss \([0-9.]*\) .*/\1/p' $file)
    [ "$(printf '%.4f' "$got")" = "$expected" ] || fail "$file: loss $got, not $expected"
done
