#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the programs of the docs, and builds its plugin with the command that stands there.
set -euo pipefail

readonly root=$PWD
export XDG_CACHE_HOME=$TEST_TMPDIR

fail() {
    echo "failed: $1" >&2
    exit 1
}

out=$(examples/readme/readme)
echo "$out"
[[ $out == *"w = f32[1,3] [[1, -2, 3]]"* ]] || fail "the training loop did not find 1, -2, 3"

out=$(examples/readme/scopes)
echo "$out"
[[ $out == "distance 5"$'\n'"SHAPE: matmul"*$'\n'"sum 100"$'\n'STALE ]] || fail "scopes or errors"

out=$(examples/readme/gradients)
echo "$out"
[[ $out == *"clipped f32[2] [0.2, 0.5]"* ]] || fail "the hook did not clip"
[[ $out == *"bucket f32[6] [1, 1, 1, 1, 2, 2]"* ]] || fail "the bucket"
[[ $out == *"hessian f32[2,2] [[6, 0], [0, 12]]"* ]] || fail "the Hessian"
[[ $out == *"in the backward of 'sqrt'"*"begins here"* ]] || fail "anomaly mode"

out=$(examples/readme/layers)
echo "$out"
[[ $out == "y is bf16, the gradient of w f32"* ]] || fail "the layer did not cast"
[[ $out == *"w f32[2,1] [[2], [3]], loss 0.000" ]] || fail "the replays did not find 2, 3"

mkdir -p "$TEST_TMPDIR/clone"
cd "$TEST_TMPDIR/clone"
ln -sfn "$root/core" core
ln -sfn "$root/examples" examples
# [build.begin]
cc -shared -fPIC -I core/include examples/readme/acme.c -o acme.so
# [build.end]
out=$("$root/examples/readme/backend" ./acme.so)
echo "$out"
[[ $out == "f32[3] [0, 2, 0] by acme" ]] || fail "relu did not run on acme"
