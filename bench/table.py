#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rewrites the table in bench/results/README.md from the row files beside it, losers first.

A goal is met or missed when the whole interval is on one side of it, and open otherwise.
"""

import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent / "results"
MARK = "| suite | what | goal | measured | 95 % interval | error | |\n"


def number(x):
    return "" if x is None else "%.4g" % x


def score(row):
    """Below 1: the goal is missed by this much."""
    if row["goal"] is None:
        return float("inf")
    median = max(row["median"], 1e-30)
    return median / row["goal"] if row["more_is_better"] else row["goal"] / median


def verdict(row):
    if row["goal"] is None:
        return ""
    sign = 1 if row["more_is_better"] else -1
    sides = [sign * row[bound] >= sign * row["goal"] for bound in ("low", "high")]
    return "met" if all(sides) else "open" if any(sides) else "missed"


def line(suite, row):
    unit = " " + row["unit"] if row["unit"] else ""
    goal = number(row["goal"]) + (unit if row["goal"] is not None else "")
    error = "" if row["error"] is None else "%.0e" % row["error"]
    interval = "%s..%s" % (number(row["low"]), number(row["high"]))
    cells = [suite, row["name"], goal, number(row["median"]) + unit, interval, error, verdict(row)]
    return "| " + " | ".join(cells) + " |\n"


def main():
    rows = []
    for path in sorted(FOLDER.glob("*.json")):
        suite = json.loads(path.read_text())
        rows += [(score(row), suite["suite"], row) for row in suite["rows"]]
    rows.sort(key=lambda item: item[0])
    page = FOLDER / "README.md"
    table = MARK + "|---|---|---|---|---|---|---|\n" + "".join(line(s, r) for _, s, r in rows)
    page.write_text(page.read_text().partition(MARK)[0] + table)


if __name__ == "__main__":
    main()
