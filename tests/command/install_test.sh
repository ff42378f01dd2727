#!/usr/bin/env bash
# install_test.sh - tools/install puts up a tree that works, also when it is moved: programs, plugins
# and op libraries are built with cc and pkg-config alone.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
root=$PWD
cd "$TEST_TMPDIR"
export HOME=$PWD XDG_CACHE_HOME=$PWD/cache
unset TENON_PLUGIN_PATH LD_LIBRARY_PATH

fail() { echo "FAIL: $*" >&2; exit 1; }

"$root"/tools/install --from "$root" "$PWD/first" >/dev/null
mv first moved
prefix=$PWD/moved
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig

# A program and a plugin, as the README shows. (Flags are words.)
cp "$root"/examples/readme/{readme,acme}.c .
# [readme.begin]
cc readme.c $(pkg-config --cflags --libs tenon) -o readme
cc -shared -fPIC $(pkg-config --cflags tenon-plugin) acme.c -o acme.so
# [readme.end]
./readme | grep -q '^w = f32\[1,3\]' || fail "the program of the README"
readelf -d readme | grep -q 'NEEDED.*libtenon.so.0' || fail "it does not name the library's version"

# Module libraries export their functions.
# shellcheck disable=SC2046
cc "$root"/examples/readme/gradients.c $(pkg-config --cflags --libs tenon-functional) -o gradients
./gradients | grep -q '^hessian' || fail "a program over modules/functional"
cat >save.c <<'END'
#include <tenon/checkpoint.h>
int main(void) {
    const tn_named_tensor x = {"x", tn_ones(TN_INTS(2), TN_F32)};
    return tn_checkpoint_save("x.safetensors", &x, 1);
}
END
# shellcheck disable=SC2046
cc save.c $(pkg-config --cflags --libs tenon-io) -o save
./save || fail "a program over modules/io"

# A plugin links nothing.
"$prefix"/bin/tenon plugins why ./acme.so | grep -q '^8  registered  ok' || fail "the plugin"

# An op library, with the installed generator.
cp "$root"/examples/plugins/hello_op/*.{c,ops} .
"$(pkg-config --variable=opgen tenon-plugin)" --header hello_ops.h --table hello_table.inc hello.ops
# shellcheck disable=SC2046
cc -shared -fPIC -fvisibility=hidden $(pkg-config --cflags tenon-plugin) hello.c -o hello_op.so -lm
"$prefix"/bin/tenon plugins why ./hello_op.so | grep -q '^8  registered  ok' || fail "the op library"

# The command, and that a plugin put into the folder is found.
install -m 755 acme.so "$(pkg-config --variable=pluginsdir tenon)"
"$prefix"/bin/tenon plugins | grep -q '^kernels *acme ' || fail "a plugin in the folder is not found"
"$prefix"/bin/tenon demo --seeds 1 >demo.txt 2>&1 || fail "the demo: $(cat demo.txt)"

# What is wrong is said, and nothing is made.
"$root"/tools/install relative 2>usage.txt && fail "a relative prefix was taken"
grep -q '^usage:' usage.txt || fail "no usage"
