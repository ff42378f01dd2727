#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints abi.h as an older or a newer Tenon would have it.

  vary_abi.py older|newer ABI.H

older: the last slot of each row that plugins fill, and of the plan, is not there yet.
newer: a slot is appended to each, and to the verdict; there are an unknown need, reason and flags.
"""

import re
import sys

ROWS = ("tn_op", "tn_kernel", "tn_plan")

NEWER = """
#define TN_TOMORROW_LOW  (1u << 15) /* of traits and flags: may be ignored */
#define TN_TOMORROW_MUST (1u << 30) /* of traits and flags: must be understood */
enum { TN_NEEDS_TOMORROW = 1u << 9, TN_REASON_TOMORROW = 90, TN_TAG_TOMORROW = 60 };
"""


def body(text, name):
    """Where the members of struct `name` stand."""
    begin = text.index("typedef struct %s {" % name)
    end = text.index("\n} %s;" % name, begin)
    return begin, end


def without_last(text, name):
    begin, end = body(text, name)
    last = re.compile(r"(\n    /\*(?:[^*]|\*(?!/))*\*/)?\n    [^/\n][^\n;]*;[^\n]*\Z")
    return text[:begin] + last.sub("", text[begin:end], count=1) + text[end:]


def with_more(text, name):
    _, end = body(text, name)
    return text[:end] + "\n    uint64_t tomorrow;" + text[end:]


def main():
    age, path = sys.argv[1:]
    with open(path) as file:
        text = file.read()
    for name in ROWS:
        text = without_last(text, name) if age == "older" else with_more(text, name)
    if age == "newer":
        text = with_more(text, "tn_verdict")
        end = text.rindex("#ifdef __cplusplus\n}")
        text = text[:end] + NEWER + "\n" + text[end:]
    sys.stdout.write(text)


main()
