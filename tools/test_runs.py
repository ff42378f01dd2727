# SPDX-License-Identifier: Apache-2.0
"""Runs the checks and every test configuration, and adds up what GoogleTest counted.

  (default)  checks; all tests optimised; all under asan; those tagged "tsan" under tsan
  --quick    checks; all tests optimised
  --full     all tests optimised, with clang, under asan, ubsan and tsan

What ran is read from Bazel's event stream, never by searching bazel-testlogs: that folder
also holds results of earlier runs. A target that did not build, or that died before it
wrote its test.xml, counts as one failure. The last line printed is the result.
"""

import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

BAZEL = os.environ.get("BAZEL", "bazel").split()
NO_TESTS_FOUND = 4  # Bazel's exit status when the tag filter leaves nothing

Run = collections.namedtuple("Run", "name options")
OPT = Run("opt", [])
CLANG = Run("clang", ["--config=clang"])
ASAN = Run("asan", ["--config=asan", "--build_tests_only", "--test_tag_filters=-noasan"])
UBSAN = Run("ubsan", ["--config=ubsan", "--build_tests_only", "--test_tag_filters=-noasan"])
TSAN = Run("tsan", ["--config=tsan", "--build_tests_only", "--test_tag_filters=tsan,-notsan"])
TSAN_ALL = Run("tsan", ["--config=tsan", "--build_tests_only", "--test_tag_filters=-notsan"])

QUICK = [OPT]
DEFAULT = [OPT, ASAN, TSAN]
FULL = [OPT, CLANG, ASAN, UBSAN, TSAN_ALL]


class Tally:
    """Counts, and one line for everything that did not pass."""

    def __init__(self):
        self.passed = 0
        self.targets = 0  # test targets with a result, in all runs
        self.failed = []
        self.skipped = []

    def report(self):
        if not self.targets:
            self.failed.append("no test ran")
        for kind, lines in (("skipped", self.skipped), ("failed", self.failed)):
            for line in lines:
                print("%s: %s" % (kind, line))
        result = "%d passed, %d failed" % (self.passed, len(self.failed))
        if self.skipped:
            result += ", %d skipped" % len(self.skipped)
        print(result, flush=True)
        return 1 if self.failed else 0


def say(text):
    print("==== " + text, flush=True)


def check(tally, command):
    """Runs a checking script; it counts as one test."""
    say(" ".join(command))
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
        tally.failed.append(" ".join(command))
    else:
        tally.passed += 1


def reason(element):
    """GoogleTest puts file:line first; the reason is what follows, on one line."""
    text = element.get("message") or (element.text or "")
    head, _, rest = text.strip().partition("\n")
    return " ".join((rest or head).split()) or "no reason given"


def count_cases(tally, where, path):
    """Adds the cases of one test.xml; returns how many failed, or None if unreadable."""
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return None
    failed = 0
    for case in cases:
        if case.get("status") == "notrun":
            continue  # DISABLED_ or filtered out
        suite, name = case.get("classname"), case.get("name", "")
        # Bazel's own file for a test that wrote none names the target: do not repeat that.
        label = "%s %s.%s" % (where, suite, name) if suite else where
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            tally.failed.append(label)
            failed += 1
        elif skip is not None:
            tally.skipped.append("%s: %s" % (label, reason(skip)))
        else:
            tally.passed += 1
    return failed


def count_target(tally, where, result):
    """Adds one finished test target (or one shard of it)."""
    tally.targets += 1
    status = result.get("status", "NO_STATUS")
    path = None
    for output in result.get("testActionOutput", []):
        if output["name"] == "test.xml":
            path = urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
    failed = count_cases(tally, where, path) if path else None
    if status == "PASSED":
        if failed is None:
            tally.passed += 1  # no list of cases, but a verdict
    elif not failed:
        # Every case passed, or none was written: died, timed out, or leaked at exit.
        tally.failed.append("%s (%s)" % (where, status.lower()))


def broken_label(event):
    """The target that this event says did not build, or None."""
    key = event["id"]
    if "targetCompleted" in key:
        if not event.get("completed", {}).get("success", False):
            return key["targetCompleted"]["label"]
    elif "aborted" in event:
        for kind in ("targetConfigured", "configuredLabel", "unconfiguredLabel"):
            if kind in key:
                return key[kind]["label"]
    return None


def count_events(tally, name, path):
    """Adds everything one Bazel run reported."""
    results, broken = {}, set()
    with open(path) as lines:
        for line in lines:
            event = json.loads(line)
            key = event["id"].get("testResult")
            if key and "testResult" in event:
                # A later attempt replaces an earlier one.
                shard = (key["label"], key.get("run", 1), key.get("shard", 1))
                results[shard] = event["testResult"]
            else:
                broken.add(broken_label(event))
    for (label, _, _), result in sorted(results.items(), key=lambda item: item[0]):
        count_target(tally, "[%s] %s" % (name, label), result)
    for label in sorted(broken - {None}):
        tally.failed.append("[%s] %s does not build" % (name, label))


def tsan_options():
    """gcc 12's tsan cannot start where the kernel randomises more than 28 address bits."""
    try:
        with open("/proc/sys/vm/mmap_rnd_bits") as f:
            if int(f.read()) <= 28:
                return []
    except (OSError, ValueError):
        return []
    if subprocess.run(["setarch", "-R", "true"], stderr=subprocess.DEVNULL).returncode:
        print("note: setarch -R is refused; tsan may not start on this kernel", flush=True)
        return []
    return ["--run_under=setarch -R"]


PROGRESS = re.compile(r"\[([\d,]+) / ([\d,]+)\](?: (\d+) / (\d+) tests(, \d+ failed)?)?")
PREPARING = re.compile(r"(Loading|Analyzing): ")


def pass_on(lines, name, every=30):
    """Prints what Bazel says, but of its progress a short line now and then."""
    begin = last = time.monotonic()
    for line in lines:
        progress = PROGRESS.match(line)
        if not progress and not PREPARING.match(line):
            print(line, end="", flush=True)
        if not progress or time.monotonic() - last < every:
            continue
        last = time.monotonic()
        text = "%s: %s of %s steps" % (name, progress.group(1), progress.group(2))
        if progress.group(3):
            text += ", %s of %s tests" % progress.group(3, 4) + (progress.group(5) or "")
        print("    %s, %d:%02d" % ((text,) + divmod(int(last - begin), 60)), flush=True)


def run_bazel(name, command):
    """Returns Bazel's exit status."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        errors="replace",
    ) as bazel:
        pass_on(bazel.stdout, name)
    return bazel.returncode


def bazel_test(tally, run, targets):
    """Runs one configuration and adds its results."""
    say("%s: %s" % (run.name, " ".join(run.options + targets)))
    options = run.options + (tsan_options() if run.name == "tsan" else [])
    with tempfile.TemporaryDirectory() as folder:
        events = os.path.join(folder, "events.json")
        open(events, "w").close()  # Bazel may die before it writes one
        command = BAZEL + ["test", "--keep_going", "--color=no", "--curses=no"]
        command += ["--show_progress_rate_limit=5"]
        command += ["--build_event_json_file=" + events] + options + ["--"] + targets
        before = len(tally.failed)
        status = run_bazel(run.name, command)
        count_events(tally, run.name, events)
    if status not in (0, NO_TESTS_FOUND) and len(tally.failed) == before:
        tally.failed.append("[%s] bazel: exit status %d" % (run.name, status))


def main():
    parser = argparse.ArgumentParser(prog="tools/test")
    plan = parser.add_mutually_exclusive_group()
    plan.add_argument("--quick", dest="plan", action="store_const", const=QUICK)
    plan.add_argument("--full", dest="plan", action="store_const", const=FULL)
    parser.add_argument("targets", nargs="*", metavar="TARGET", default=["//..."])
    parser.set_defaults(plan=DEFAULT)
    args = parser.parse_args()

    tally = Tally()
    check(tally, ["tools/format", "--check"])
    check(tally, ["tools/house_check"])
    check(tally, ["tools/size_check"])
    check(tally, ["tools/docs_check"])
    for run in args.plan:
        bazel_test(tally, run, args.targets or ["//..."])
    return tally.report()


if __name__ == "__main__":
    sys.exit(main())
