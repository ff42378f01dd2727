#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command `tenon` on terminals: nothing is cut, and lines end between words.

  command_window_test.py TENON
"""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios

WIDTHS = (40, 80, 100, 120)
COMMANDS = [
    line.split()
    for line in """
help
help plugins
demo --help
version
plugins
plugins --probe
plugins --paths
plugins info math
plugins why math
plugins why cpu_blas
devices
ops
ops --matrix
ops info std
ops info sgd_
ops info einsum
ops info max.dim
ops info stdd
plugins info nobody
plugins info ./nowhere.so
plugins why ./nowhere.so
bindgen cpu_ref
demo --seeds no
xyzzy
""".strip().split("\n")
]
# A word that is longer than this less than the window may stick out: a path stays in one piece.
INDENT = 24


def on_terminal(command, width):
    """What stdout and stderr get together in a window of `width` columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            more = b""
        if not more:
            break
        text += more
    os.close(ours)
    child.wait()
    return text.decode().replace("\r\n", "\n")


def in_pipe(command):
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.stdout.decode()


def complaints(arguments, width, plain, shown):
    where = "tenon %s, %d columns: " % (" ".join(arguments), width)
    if shown.split() != plain.split():
        yield where + "words are missing or broken:\n" + shown
    for line in shown.split("\n"):
        if len(line) > width and len(line.split()[-1]) + INDENT <= width:
            yield where + "the terminal would break: " + line
        if line != line.rstrip():
            yield where + "blanks at the end of: " + line


def main():
    tenon = os.path.realpath(sys.argv[1])
    failed = 0
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HOME=home, XDG_CACHE_HOME=home, NO_COLOR="1")
        in_pipe([tenon, "plugins", "--probe"])  # from here on, all answers are the same
        for arguments in COMMANDS:
            plain = in_pipe([tenon] + arguments)
            for width in WIDTHS:
                shown = on_terminal([tenon] + arguments, width)
                for complaint in complaints(arguments, width, plain, shown):
                    print("FAILED: " + complaint)
                    failed += 1
    print("%d failed" % failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
