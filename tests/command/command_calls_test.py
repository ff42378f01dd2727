#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `tenon ops info` says of C is true: for every op, prototype, structs and calls are compiled
with the header that `tenon bindgen` writes.

  command_calls_test.py TENON include/tenon/tenon.h
"""

import json
import os
import re
import subprocess
import sys
import tempfile

NAME = re.compile(r"(tn_\w+)\(")
FIELD = re.compile(r"^    (\w+ \*?)(\w+);$", re.M)


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()


def function(number, call):
    """A function whose parameters are all that the sample calls of one op name."""
    inside = call["prototype"].split("(", 1)[1].rsplit(")", 1)[0]
    variables = [p for p in inside.split(", ") if p != "void" and not p.endswith("*opts")]
    fields = {name: kind for kind, name in FIELD.findall(call["types"])}
    for name in re.findall(r"\.(\w+) = (?:TN_TENSORS\()?\1\b", call["samples"]):
        kind = "tn_tensor *" if fields[name].startswith("tn_tensors") else fields[name]
        variables.append(kind + name)
    body = "".join("    (void)%s;\n" % line for line in call["samples"].split("\n") if line)
    return "void call_%d(%s);\nvoid call_%d(%s) {\n%s}\n" % (
        (number, ", ".join(variables) or "void") * 2 + (body,)
    )


def main():
    tenon, include = os.path.realpath(sys.argv[1]), os.path.dirname(os.path.dirname(sys.argv[2]))
    ops = [op for op in json.loads(output(tenon, "ops", "--json"))["ops"] if op["c"]]
    assert len(ops) > 300
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        os.environ.update(HOME=work, XDG_CACHE_HOME=work)
        header = output(tenon, "bindgen", "math")
        with open(os.path.join(work, "math_ops.h"), "w") as f:
            f.write(header)
        lines = ["#include <tenon/tenon.h>", "#include <%s>" % ops[0]["c"]["header"]]
        for number, op in enumerate(ops):
            call = op["c"]
            prototype = NAME.sub(r"(\1)(", call["prototype"], 1)  # the function, not its macro
            lines += [prototype, function(number, call)]
            for struct in filter(None, call["types"].split("\n\n")):
                if struct not in header:
                    print("FAILED: %s: the header has no\n%s" % (op["name"], struct))
                    failed += 1
        source = os.path.join(work, "calls.c")
        with open(source, "w") as f:
            f.write("\n".join(lines))
        compiled = subprocess.run(
            ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-parameter"]
            + ["-fsyntax-only", "-I", include, "-I", work, source]
        )
    return 1 if failed or compiled.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
