# SPDX-License-Identifier: Apache-2.0
"""Tests that call ops: they open the plugins of the build tree."""

load("//tools:plugin.bzl", "tn_test")

_PLUGINS = [
    "//backends/cpu_blas",
    "//backends/cpu_ref",
    "//modules/math",
]

# What each instruction set's vector code is called: math_many_avx2_test.
VECTORS = [
    "avx2",
    "avx512",
    "sse2",
]

def tn_ops_test(name, srcs = None, vectors = None, device = None, data = [], env = {}, deps = [], **kwargs):
    """A GoogleTest that calls ops, and may look inside the core.

    Args:
      name: of the test.
      srcs: default NAME.cc.
      vectors: hold cpu_blas down to this instruction set.
      device: make tensors on this one, "mock:0".
      data: files it opens, beside the plugins.
      env: beside what support.h reads.
      deps: beside tests/support.
      **kwargs: of tn_test.
    """
    files = _PLUGINS + (["//backends/mock"] if device else [])
    plugins = {"TENON_TEST_PLUGINS": ":".join(["$(rootpath %s)" % p for p in files])}
    if device:
        env = dict(env, TENON_TEST_DEVICE = device)
    tn_test(
        name = name,
        srcs = srcs or [name + ".cc"],
        # A probe of an older build would refuse them.
        data = files + ["//tools/probe:tenon-probe"] + data,
        env = dict(
            dict(plugins, TENON_CPU_BLAS_VECTORS = vectors) if vectors else plugins,
            **env
        ),
        deps = ["//core:tenon_static", "//modules/check", "//tests/support"] + deps,
        **kwargs
    )
