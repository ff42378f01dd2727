#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/house_check finds in a small house what is wrong there, and says where and what to do.

house_check_test.py tools/house_check
"""

import os
import subprocess
import sys
import tempfile
import unittest

HOUSE = {
    "core/base/BUILD": """
load("//core:room.bzl", "tn_room", "tn_room_part")
tn_room_part(name = "plain", srcs = ["text.c"], hdrs = ["text.h"])
tn_room(name = "base", apart = ["text.[ch]"], below = [":plain"])
""",
    "core/base/text.c": '#include "core/base/text.h"\n',
    "core/base/text.h": "/* base stands on text. */\nint tni_text(int x); /* cuda is only a word here */\n",
    "core/base/error.c": '#include "core/base/error.h"\n\n#include "core/base/text.h"\n',
    "core/base/error.h": "int tni_error(void);\n",
    "core/tape/BUILD": """
tn_room_part(name = "seen", srcs = [], hdrs = ["seen.h"], below = ["//core/base"])
tn_room(name = "tape", apart = ["seen.h"], below = [":seen", "//core/call"])
""",
    "core/tape/seen.h": "int tni_seen(void);\n",
    "core/tape/node.h": '#include "core/call/call.h"\n',
    "core/call/BUILD": """
NAMES = ["call"]
tn_room(name = "call", below = ["//core/tape:seen", "//core/base:base"])
cc_library(name = "other", srcs = [name + ".c" for name in NAMES])
""",
    "core/call/call.c": '#include "core/call/call.h"\n#include <math.h>\n#include "core/tape/seen.h"\n',
    "core/call/call.h": "int tni_call(void);\nstatic inline int once(void) { return 1; }\n",
    "backends/acme/plugin.c": '#include <cuda.h>\n#include "backends/acme/acme.h"\nint acme_gemm(void) { return 0; }\n',
}


class HouseCheck(unittest.TestCase):
    def complaints(self, **changes):
        """Of a house in which a line is added to each of the files."""
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**HOUSE, **dict.fromkeys(set(changes) - set(HOUSE), "")}.items():
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), "w") as f:
                    f.write(text + changes.get(path, ""))
            done = subprocess.run([CHECK, root], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        lines = done.stderr.splitlines()
        self.assertEqual(done.returncode, 1 if lines else 0, done.stderr)
        return lines

    def finds(self, path, line, *parts):
        lines = self.complaints(**{path: line + "\n"})
        self.assertEqual(len(lines), 1, lines)
        for part in (path, *parts):
            self.assertIn(part, lines[0])

    def test_a_house_in_order_has_nothing_said_of_it(self):
        self.assertEqual(self.complaints(), [])

    def test_no_room_includes_one_above_it(self):
        self.finds("core/base/error.c", '#include "core/call/call.h"', ":4: ", "is in call", "base stands on")
        self.finds("core/call/call.h", '#include "core/tape/node.h"', ":3: ", "is in tape", "call stands on")
        self.finds("core/base/text.h", '#include "core/base/error.h"', "base:plain stands on nothing")

    def test_nothing_outside_of_the_rooms_is_included(self):
        self.finds("core/call/call.c", '#include "backends/acme/acme.h"', ":4: ", "in no room of the core")

    def test_a_comment_includes_nothing(self):
        self.assertEqual(self.complaints(**{"core/base/text.c": '/*\n#include "core/call/call.h"\n*/'}), [])

    def test_each_file_belongs_to_a_room(self):
        self.finds("core/lost/lost.c", "int x;", "is in no room")

    def test_a_header_declares_what_its_own_file_has(self):
        more = {
            "core/base/text.c": "int tni_text(int x) { return x; }\n",
            "core/base/error.h": "int tni_text(int);\n",
        }
        self.assertEqual(
            self.complaints(**more),
            ["core/base/error.h:2: tni_text is in core/base/text.c: declare it in core/base/text.h"],
        )

    def test_a_file_includes_its_own_header_first(self):
        self.finds("core/tape/node.c", '#include "core/base/error.h"', "core/tape/node.h is not its first")

    def test_names_say_whose_a_function_is(self):
        self.finds("core/base/error.c", "int raise(void) { return 0; }", "call it tni_raise")
        self.finds("backends/acme/plugin.c", "int tni_plan(void) { return 0; }", "tni_ is the core's")

    def test_the_core_names_no_vendor(self):
        self.finds("core/call/call.c", "static int cuda_open(void) { return 0; }", ":4: names cuda")
        self.finds("core/call/call.c", 'static const char *const x = "libOpenBLAS.so";', "names libopenblas")


if __name__ == "__main__":
    CHECK = os.path.realpath(sys.argv.pop(1))
    unittest.main()
