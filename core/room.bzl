# SPDX-License-Identifier: Apache-2.0
"""A room of the core: its files see themselves and the rooms below, nothing else."""

load("@rules_cc//cc:defs.bzl", "cc_library")
load("//tools:copts.bzl", "TENON_COPTS")

def tn_room(name, below = [], apart = []):
    """Builds every .c of the folder. Bazel refuses an #include of what is not in `below`.

    Args:
      name: of the folder.
      below: the rooms it stands on, and header-only targets that a higher room offers.
      apart: files of the folder that are a target of their own, which is in `below`.
    """
    cc_library(
        name = name,
        srcs = native.glob(["*.c"], exclude = apart),
        hdrs = native.glob(["*.h"], exclude = apart),
        copts = TENON_COPTS,
        visibility = [
            "//bench:__subpackages__",
            "//core:__subpackages__",
            "//modules/check:__pkg__",
            "//tests:__subpackages__",
            "//tools:__subpackages__",
        ],
        # Nothing inside refers to the public functions: the linker would leave their objects out.
        alwayslink = 1,
        deps = ["//core:headers"] + below,
    )

def tn_room_part(name, srcs, hdrs, below = []):
    """Files that programs beside libtenon may hold as well: no public function is in them.

    Args:
      name: of the target.
      srcs: its .c files.
      hdrs: its .h files.
      below: what it stands on.
    """
    cc_library(
        name = name,
        srcs = srcs,
        hdrs = hdrs,
        copts = TENON_COPTS,
        visibility = [
            "//core:__subpackages__",
            "//modules/check:__pkg__",
            "//tests:__subpackages__",
            "//tools:__subpackages__",
        ],
        deps = ["//core:headers"] + below,
    )
