#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds toy.so and toy here, against an installed Tenon that pkg-config finds.
set -eu
cd "$(dirname "$0")"

cc -shared -fPIC -O2 -fvisibility=hidden $(pkg-config --cflags tenon-plugin) toy.c -o toy.so
cc -O2 main.c $(pkg-config --cflags --libs tenon) -o toy
