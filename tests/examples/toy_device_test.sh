#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds examples/plugins/toy_device outside of Bazel, as its README says, and runs it.
#
#   toy_device_test.sh BUILD.sh
set -euo pipefail
source_folder=$(realpath "$(dirname "$1")")
unset TENON_PLUGIN_PATH

work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/toy.XXXXXX")
trap 'rm -rf "$work"' EXIT
tools/install --from "$PWD" "$work/tenon" >/dev/null
export PKG_CONFIG_PATH=$work/tenon/lib/pkgconfig
cp -L "$source_folder"/{build.sh,main.c,toy.c} "$work"
"$work/build.sh"

out=$("$work/toy" "$work/toy.so" 2>"$work/error")
echo "$out"
cat "$work/error"
grep -q 'w = f32\[2,1\] \[\[2\.0000.*\], \[2\.9999.*\]\]' <<<"$out"
grep -q '^[1-9][0-9]* kernels ran on toy' <<<"$out"
test "$(grep -c warn "$work/error")" = 0
grep -q "exp: no kernel on toy" "$work/error"
