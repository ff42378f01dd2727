#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What tools/quickstart and tools/test show while packages are installed and Bazel builds: a line per
# step, the rest in a log. apt, dpkg and Bazel are stand-ins that talk as much as the real ones.
#
#   first_minutes_test.sh tools/quickstart .bazelrc
set -uo pipefail
tools=$(realpath "$(dirname "$1")")
bazelrc=$(realpath "$2")
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/minutes.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{bin,logs,repo/tools,out/tools}
cp -L "$tools"/{quickstart,deps,step,test_runs.py} "$work/repo/tools"
cd "$work/repo" || exit 1
export PATH="$work/bin:$PATH" TMPDIR="$work/logs" HOME="$work" BAZEL=bazel
failures=0

complain() {
    echo "FAILED: $*"
    sed 's/^/    out: /' "$work/out.txt"
    failures=$((failures + 1))
}
# program FILE: its text is on stdin.
program() {
    { echo '#!/bin/bash' && cat; } >"$1"
    chmod +x "$1"
}
lines() { wc -l <"$work/out.txt"; }
has() { grep -qE -- "$1" "$work/out.txt" || complain "$shown: no line with '$1'"; }
has_not() { ! grep -qE -- "$1" "$work/out.txt" || complain "$shown: a line with '$1'"; }
in_log() { grep -qF -- "$1" "$work"/logs/*.log || complain "$shown: the log has no '$1'"; }

program "$work/bin/dpkg-query" </dev/null # nothing is installed
program "$work/bin/sudo" <<<'exec "$@"'
program "$work/bin/apt-get" <<'END'
for ((i = 1; i <= 550; i++)); do echo "Get:$i a package"; done
echo 'dlstatus:1:100:Retrieving'
for ((i = 1; i <= 550; i++)); do echo "Unpacking $i"; done
[[ ! -e $HOME/apt-fails ]] || { echo 'E: Unable to locate package gcc' && exit 100; }
END
program "$work/bin/bazel" <<'END'
if [[ $1 == info ]]; then echo "$HOME/out" && exit; fi
for ((i = 1; i <= 200; i++)); do echo "[$i / 200] Compiling $i.c; 1s local" >&2; done
[[ ! -e $HOME/bazel-fails ]] || { echo 'ERROR: one.c: it does not compile' >&2 && exit 1; }
END
program "$work/out/tools/tenon" <<<'echo "the demo, with $*"'

# quickstart CODE WHEN: runs it, expects the exit code; its words are in out.txt.
quickstart() {
    local want=$1 have=0
    shown="quickstart, when $2"
    rm -f "$work"/logs/*
    tools/quickstart --seeds 1 >"$work/out.txt" 2>&1 </dev/null || have=$?
    ((have == want)) || complain "$shown: exit $have, not $want"
    has '^log: .*\.log$'
    has_not $'\r'
    has_not 'Unpacking [0-9]{1,2}$'
}

quickstart 0 'all goes well'
(($(lines) <= 10)) || complain "$shown: $(lines) lines"
has '^package index +done, [0-9]+:[0-9]{2}$'
has '^packages +done, '
has '^build +done, '
has '^the demo, with demo --seeds 1$'
in_log 'Unpacking 550'
in_log '[200 / 200] Compiling'

touch "$work/apt-fails"
quickstart 1 'apt fails'
has 'E: Unable to locate package gcc'
has '^packages +failed after .*the end of .*\.log'
has_not 'the demo'
rm "$work/apt-fails"

touch "$work/bazel-fails"
quickstart 1 'the build fails'
has 'ERROR: one.c: it does not compile'
has_not 'the demo'

# ---- A step that takes long ----
shown='tools/step'
slow='echo "[1,500 / 2,000] Compiling"; read -rt 1.2 <> <(:); exit 7'
STEP_SECONDS=0.3 tools/step build "$work/logs/slow.log" bash -c "$slow" >"$work/out.txt" 2>&1
(($? == 7)) || complain "$shown: the exit status is lost"
has '^build +[0-9]+:[0-9]{2}, 75 %, about [0-9]+:[0-9]{2} left$'
has_not $'\r'
for case in 'install dlstatus 15' 'update dlstatus 50' 'install pmstatus 65'; do
    read -r what status share <<<"$case"
    STEP_SECONDS=0.3 tools/step apt "$work/logs/$what$status.log" \
        bash -c "echo '$status:1:50.1234:a package'; read -rt 1.2 <> <(:); true" apt-get "$what" now \
        >"$work/out.txt" 2>&1 || complain "$shown: $case"
    has "^apt +[0-9:]+, $share %"
done

# ---- tools/test ----
shown='tools/test'
python3 - >"$work/out.txt" <<'END' || complain "$shown: exit $?"
import sys

sys.path.insert(0, "tools")
import test_runs

running = "[1,0%02d / 2,000] %d / 60 tests, 1 failed; Testing //x:y; 9s local\n"
lines = ["Loading: \n", "Analyzing: 9 targets (1 packages loaded)\n"]
lines += [running % (i, i) for i in range(60)]
lines += ["FAIL: //x:y (see test.log)\n"]
test_runs.pass_on(lines, "opt", every=0)
test_runs.pass_on(lines, "rare", every=1000)
END
has '^    opt: 1,007 of 2,000 steps, 7 of 60 tests, 1 failed, 0:0[0-9]$'
has '^FAIL: //x:y'
has_not '^    rare'
has_not 'Analyzing|Loading'

# ---- Links of other configurations ----
shown='.bazelrc'
grep -oE -- '--platform_suffix=-[a-z-]+' "$bazelrc" | sed 's/.*=-//' | sort -u >"$work/out.txt"
while read -r name; do
    grep -qE -- "^build:$name .*--symlink_prefix=bazel-$name-( |\$)" "$bazelrc" ||
        complain "--config=$name repoints bazel-bin"
done <"$work/out.txt"
(($(lines) >= 7)) || complain "$shown: only $(lines) configurations"

echo "$failures failed"
((failures == 0))
