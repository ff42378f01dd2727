#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Counts the instructions of small fixed programs with callgrind, and compares them with
# instructions.txt: more than 5 % off, either way, fails. Seconds are never compared: they depend on
# who else is there.
#
#   instructions.sh PROGRAM COUNTS [--update]
#
# Valgrind knows no AVX-512, so these are the counts without it. They hold for the compiler named in
# COUNTS only; with another one nothing is compared.
set -euo pipefail
program=$1 counts=$2 update=${3:-}
few=20 many=120

die() {
    echo "instructions: $*" >&2
    exit 1
}

compiler=$("$program" compiler)
known=$(sed -n 's/^# compiler //p' "$counts")
if [[ -z $update && $compiler != "$known" ]]; then
    echo "skipped: the counts are for $known, this is $compiler"
    exit 0
fi
command -v valgrind >/dev/null || die "no valgrind; run tools/deps test"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# The same code on every processor.
export TENON_THREADS=1 OMP_NUM_THREADS=1 TENON_CPU_BLAS_VECTORS=sse2 TENON_CPU_BLAS_GEMM=own
# What others had probed makes looking up a verdict longer.
export XDG_CACHE_HOME=$out

# Instructions of `program NAME N`.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$out/callgrind" "$program" "$1" "$2" \
        >"$out/text" 2>&1 || { cat "$out/text" >&2; die "$1 failed"; }
    sed -n 's/.*Collected : *\([0-9]*\).*/\1/p' "$out/text"
}

# The first process has plugins probed, the others remember the verdicts.
count add 1 >"$out/first" || die "the program does not run"

per_call() {
    local a b
    a=$(count "$1" $few) && b=$(count "$1" $many)
    echo $(((b - a) / (many - few)))
}

failed=0 new="# compiler $compiler"$'\n'
while read -r name want; do
    [[ $name == \#* || -z $name ]] && continue
    have=$(per_call "$name")
    new+="$name $have"$'\n'
    off=$(((have - want) * 1000 / (want > 0 ? want : 1)))
    sign=+ && ((off < 0)) && sign=-
    printf '%-24s %8d instructions, was %8d: %s%d.%d %%\n' "$name" "$have" "$want" \
        "$sign" $((${off#-} / 10)) $((${off#-} % 10))
    if ((${off#-} > 50)); then failed=1; fi
done <"$counts"

if [[ $update == --update ]]; then
    printf '%s' "$new" >"$counts"
    exit 0
fi
((failed == 0)) || die "more than 5 % off; if that is meant, run with --update and say why in the commit"
