#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds examples/plugins/hello_op outside of Bazel, as its README says, and runs it.
#
#   hello_op_test.sh BUILD.sh
set -euo pipefail
source_folder=$(realpath "$(dirname "$1")")
unset TENON_PLUGIN_PATH

work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/hello.XXXXXX")
trap 'rm -rf "$work"' EXIT
tools/install --from "$PWD" "$work/tenon" >/dev/null
export PKG_CONFIG_PATH=$work/tenon/lib/pkgconfig
tenon=$work/tenon/bin/tenon
cp -L "$source_folder"/{build.sh,hello.c,hello.ops,main.c} "$work"
"$work/build.sh"

out=$("$work/hello" "$work/hello_op.so")
echo "$out"
grep -q 'ran on hello_op' <<<"$out"
grep -q '0.880797, 1.96403' <<<"$out"
grep -q 'first and second derivatives agree' <<<"$out"

"$tenon" plugins why "$work/hello_op.so" | grep -q 'registered *ok *1 ops, 1 kernels'
"$tenon" bindgen "$work/hello_op.so" -o "$work/swish.h"
cc -fsyntax-only -Wall -Wextra -Werror -I "$work/tenon/include" -include tenon/tenon.h -x c "$work/swish.h"

# A gradient that is wrong is found.
sed -i 's/d_x: mul(g, add(/d_x: mul(g, sub(/' "$work/hello.ops"
"$work/build.sh"
if "$work/hello" "$work/hello_op.so" 2>"$work/error"; then
    echo "a wrong gradient was not noticed" >&2
    exit 1
fi
grep -q swish "$work/error"

# So is a row whose samples show nothing.
cp -L "$source_folder/hello.ops" "$work"
sed -i 's/samples(.*)  /samples(x[0,3])  /' "$work/hello.ops"
"$work/build.sh"
if "$work/hello" "$work/hello_op.so" 2>"$work/error"; then
    echo "a row with an empty sample alone was taken for correct" >&2
    exit 1
fi
grep -q 'nothing was compared' "$work/error"
