#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Time and memory of `tenon plugins`: the whole program, 20 times, median. The first run, which probes
# the plugins, is not among them.
#
#   bazel run //bench:plugins
set -euo pipefail
program=$1
folder=${2:-${BUILD_WORKSPACE_DIRECTORY:+$BUILD_WORKSPACE_DIRECTORY/bench/results}}

exec python3 - "$program" "$folder" <<'PYTHON'
import json, os, statistics, subprocess, sys, time

program, folder = sys.argv[1:]
RUNS = 20

# Between fork and exec a child has its parent's pages, and they count: so a shell, which is small,
# starts the program, and what the shell becomes asks for the peak of its children.
PEAK = """"$0" plugins >/dev/null || exit 1
exec python3 -c 'import resource; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)'"""

def run():
    start = time.perf_counter()
    status = subprocess.call([program, "plugins"], stdout=subprocess.DEVNULL)
    spent = (time.perf_counter() - start) * 1e3
    if status:
        sys.exit("plugins: `tenon plugins` failed with status %d" % status)
    return spent, int(subprocess.check_output(["sh", "-c", PEAK, program])) / 1024

run()
load = os.getloadavg()[0]
samples = [run() for _ in range(RUNS)]
rows = []
for name, unit, goal, column in (("tenon plugins: time", "ms", 20, 0), ("tenon plugins: memory", "MB", 10, 1)):
    values = sorted(s[column] for s in samples)
    median = statistics.median(values)
    rows.append({"name": name, "unit": unit, "median": round(median, 3), "low": round(values[1], 3),
                 "high": round(values[-2], 3), "goal": goal, "more_is_better": False, "error": None,
                 "note": "whole program; low and high: second least and second most of %d" % RUNS,
                 "disturbed": 0, "samples": [round(v, 3) for v in values]})
    print("%-24s %7.2f %s  %.2f..%.2f  goal %g  %s" %
          (name, median, unit, values[1], values[-2], goal, "met" if median <= goal else "MISSED"))
cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
row_file = {"schema": 1, "suite": "plugins",
            "environment": {"cpu": cpu, "cpus": len(os.sched_getaffinity(0)), "kernel": os.uname().release,
                            "load_before": load, "load_after": os.getloadavg()[0],
                            "when": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime())},
            "rows": rows}
if folder:
    with open(os.path.join(folder, "plugins.json"), "w") as f:
        json.dump(row_file, f, indent=1)
        f.write("\n")
PYTHON
