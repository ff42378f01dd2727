#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds hello_op.so and hello here. INCLUDE: Tenon's headers; LIB: libtenon.so; OPGEN: the generator.
set -eu
cd "$(dirname "$0")"
: "${INCLUDE:=../../../core/include}" "${LIB:=../../../bazel-bin/core}" "${OPGEN:=../../../bazel-bin/tools/opgen/opgen}"

"$OPGEN" --header hello_ops.h --table hello_table.inc hello.ops
cc -shared -fPIC -O2 -fvisibility=hidden -I "$INCLUDE" hello.c -o hello_op.so -lm
cc -O2 -I "$INCLUDE" main.c -o hello -L "$LIB" -ltenon -Wl,-rpath,"$(realpath "$LIB")"
