#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds hello_op.so and hello here, against an installed Tenon that pkg-config finds.
set -eu
cd "$(dirname "$0")"

"$(pkg-config --variable=opgen tenon-plugin)" --header hello_ops.h --table hello_table.inc hello.ops
cc -shared -fPIC -O2 -fvisibility=hidden $(pkg-config --cflags tenon-plugin) hello.c -o hello_op.so -lm
cc -O2 main.c $(pkg-config --cflags --libs tenon-check) -o hello
