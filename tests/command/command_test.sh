#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The command `tenon`: every subcommand, its exit codes, its JSON, its suggestions.
#
#   command_test.sh TENON MATH.so CPU_REF.so DIGITS.csv GRUMBLES.so MOCK.so
set -uo pipefail
tenon=$(realpath "$1")
math=$(realpath "$2")
cpu_ref=$(realpath "$3")
digits=$(realpath "$4")
grumbles=$(realpath "$5") # a plugin that prints when it starts
mock=$(realpath "$6")     # a device that no folder of plugins has
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/command.XXXXXX")
trap 'rm -rf "$work"' EXIT
export HOME="$work" XDG_CACHE_HOME="$work/cache"
cd "$work" || exit 1
failures=0

complain() {
    echo "FAILED: $*"
    sed 's/^/    out: /' out
    sed 's/^/    err: /' err
    failures=$((failures + 1))
}

# run CODE ARGUMENT...: runs tenon, expects the exit code; leaves the files out and err. What fails
# must also fail in JSON.
run() {
    local want=$1 have=0
    shift
    "$tenon" "$@" >out 2>err </dev/null || have=$?
    shown="tenon $*"
    ((have == want)) || complain "$shown: exit $have, not $want"
    ((want == 0)) || fails_in_json "$want" "$@"
}
# The same once more with --json: one document, which says why.
fails_in_json() {
    local want=$1 have=0
    shift
    "$tenon" --json "$@" >json 2>json.err </dev/null || have=$?
    python3 -c '
import json, sys
d = json.load(open("json"))
error = d["error"]
kinds = {1: "checks", 2: "usage", 3: "unavailable", 4: "bad_file"}
sys.exit(not (error["exit"] == int(sys.argv[1]) == int(sys.argv[2]) and error["message"] and
              error["kind"] == kinds[error["exit"]] and d["schema"].startswith("tenon.")))
' "$want" "$have" || complain "tenon --json $*: exit $have, and stdout is: $(cat json)"
}
out_has() { grep -qF -- "$1" out || complain "$shown: '$1' is not on stdout"; }
err_has() { grep -qF -- "$1" err || complain "$shown: '$1' is not on stderr"; }
quiet() { [[ ! -s $1 ]] || complain "$shown: something is on std$1"; }
# json CONDITION: stdout is one JSON document d for which the Python expression holds.
json() {
    python3 -c "import json, sys; d = json.load(open('out')); sys.exit(not ($1))" ||
        complain "$shown: not true: $1"
    quiet err
}

# ---- Help and usage ----
run 0
out_has 'usage: tenon COMMAND'
run 0 help plugins
out_has '--probe'
run 0 demo --help
out_has '--seeds N'
run 0 version
out_has 'tenon 0.1.0'
run 0 --version
out_has 'tenon 0.1.0'
run 0 version --json
json 'd["schema"] == "tenon.version/1" and d["abi"] == "0.0"'
run 0 help --json
json 'd["schema"] == "tenon.help/1" and [c["name"] for c in d["commands"]] == "demo plugins devices ops bindgen help version".split()'

run 2 plugin
err_has "did you mean 'plugins'?"
quiet out
run 2 xyzzy
err_has "no command 'xyzzy'"
run 2 demo --seed 3
err_has "did you mean '--seeds'?"
run 2 --jsn
err_has "did you mean '--json'?"
run 2 ops ifno
err_has "did you mean 'info'?"
run 2 ops info
err_has 'needs NAME'
run 2 ops info add mul
run 2 bindgen
run 2 version --json=yes
err_has 'takes no value'
run 2 demo --seeds
err_has 'needs a value'
run 2 help opss
err_has "did you mean 'ops'?"
run 2 plugins --plugin-path /nonexistent
err_has '/nonexistent'
run 2 ops info --bogus
run 2 ops info x y z --bogus
run 2 demo --data "$digits" --seeds 0
run 2 xyzzy $'\xff "\\\t\x01 ä'

# --json counts wherever it stands, unless it is the value of an option.
for line in 'xyzzy --json' 'ops --bogus --json' 'plugins why --json nobody' '--json ops info'; do
    # shellcheck disable=SC2086
    "$tenon" $line >out 2>err && complain "tenon $line: exit 0"
    shown="tenon $line"
    out_has '"schema": "tenon.error/1"'
    err_has 'error: ' # for people
done
"$tenon" bindgen "$math" -o --json >out 2>err
shown='tenon bindgen -o --json'
quiet out
"$tenon" plugins -- --json >out 2>err && complain 'tenon plugins -- --json: exit 0'
quiet out

# ---- Plugins ----
run 0 plugins
out_has cpu_ref
out_has cpu_blas
quiet err
run 0 plugins --json
json 'd["schema"] == "tenon.plugins/1" and {"math", "cpu_ref", "cpu_blas"} <= {p["id"] for p in d["plugins"]}'
json 'all(p["status"] in ("not tried", "usable") for p in d["plugins"])' # a listing loads nothing
run 0 plugins --probe --json
json 'all(p["status"] == "ready" for p in d["plugins"]) and d["problems"] == 0'
run 0 plugins --paths
out_has 'beside libtenon'
run 0 plugins --paths --json
json 'd["schema"] == "tenon.plugin_paths/1" and any(f["exists"] for f in d["folders"])'
run 0 plugins info math
out_has Apache-2.0
run 0 plugins info math --json
json 'd["plugin"]["kinds"] == "ops" and d["plugin"]["ops"] > 50'
run 3 plugins info maths
err_has "did you mean 'math'?"
cp -L "$cpu_ref" mine.so
cp -L "$cpu_ref" mine.plugin
mkdir elsewhere
cp -L "$cpu_ref" elsewhere/mine.so
for file in mine.so ./mine.so "$work/mine.so" mine.plugin elsewhere/mine.so; do
    run 0 plugins info "$file"
    out_has "${file##*/}"
    out_has 'cpu_ref'
    quiet err
done
run 0 plugins info elsewhere/mine.so --json
json 'd["plugin"]["id"] == "cpu_ref" and d["plugin"]["path"].endswith("/elsewhere/mine.so")'
json 'd["plugin"]["status"] == "not tried" and d["plugin"]["origin"] == "given"'
run 0 plugins info "$cpu_ref"
out_has 'beside libtenon' # one of the folders has it
run 3 plugins info nowhere.so
err_has 'nowhere.so'
run 3 plugins info ./math
run 4 plugins info .
run 4 plugins info /dev/null
run 0 plugins why cpu_ref
out_has registered
run 0 plugins why cpu_ref --json
json 'd["usable"] and [s["stage"] for s in d["stages"]][0] == "found" and all(s["ok"] for s in d["stages"])'
run 0 plugins why "$cpu_ref"

# One number of kernels, whoever is asked.
for name in cpu_ref cpu_blas math; do
    run 0 plugins why "$name" --json
    said=$(grep -oE '[0-9]+ kernels' out)
    run 0 plugins --probe --json
    json "[p['kernels'] for p in d['plugins'] if p['id'] == '$name'] == [${said% *}]"
done
run 3 plugins why cpu_reff
err_has "did you mean 'cpu_ref'?"

mkdir -p bad
head -c 4000 "$cpu_ref" >bad/broken.so
run 3 plugins why bad/broken.so
out_has FAILED
run 0 plugins info bad/broken.so
out_has refused
TENON_PROBE_POLICY=off run 3 plugins why "$grumbles"
grep -q 'the licence server does not answer' json.err || complain "$shown --json: lost what it wrote"
run 3 plugins why ./nowhere.so --json
json 'not d["usable"] and not d["stages"][-1]["ok"]'
run 0 plugins --plugin-path bad
out_has refused
err_has '1 problem'
run 0 plugins --plugin-path=bad --json
json 'd["problems"] == 1 and any(p["status"] == "refused" and p["why"] for p in d["plugins"])'

# ---- Devices and ops ----
run 0 devices
out_has cpu:0
run 0 devices --json
json 'd["devices"][0]["kind"] == "cpu" and d["devices"][0]["memory_bytes"] > 0'
run 0 ops
out_has 'cpu_blas,cpu_ref'
run 0 ops --json
json 'd["schema"] == "tenon.ops/1" and len(d["ops"]) > 50 and all(o["plugin"] == "math" for o in d["ops"])'
run 0 ops --matrix
out_has COMPOSED
read -r n_ops _ _ _ _ in_blas in_ref <<<"$(tail -n 1 out)"
run 0 plugins --probe --json
json "{p['id']: p['ops'] + p['kernels'] for p in d['plugins']} == dict(math=$n_ops, cpu_blas=$in_blas, cpu_ref=$in_ref)"
run 0 ops info sort
out_has 'sort(Tensor<T> x'
run 0 ops info std
out_has 'tn_tensor *tn_std(tn_tensor *x, const tn_std_opts *opts);'
out_has 'tn_maybe_float correction;'
out_has '&(tn_std_opts){.dim = TN_INTS(0), .correction = TN_SET(1.0), .keepdim = true}'
run 0 ops info add --json
json 'd["op"]["gradient"] == "yes" and d["op"]["providers"]["cpu"] == ["cpu_blas", "cpu_ref"]'
run 2 ops info sotr
err_has "did you mean 'sort'?"

# ---- Bindgen ----
run 0 bindgen "$math" -o math.h
quiet out
grep -q 'static inline tn_tensor \*tn_add(' math.h || complain 'bindgen: no tn_add'
run 0 bindgen "$math"
cmp -s out math.h || complain 'bindgen: stdout and -o differ'
run 0 bindgen "$math" --json
json 'd["plugin"] == "math" and "tn_add(" in d["header"]'
run 0 bindgen math
cmp -s out math.h || complain 'bindgen: by name and by file differ'
run 3 bindgen maths
err_has "did you mean 'math'?"
run 4 bindgen "$cpu_ref"
err_has 'no ops'
run 4 bindgen /dev/null
run 4 bindgen /nonexistent
run 4 bindgen "$digits"
err_has 'not an ELF file'
run 4 bindgen "$math" -o /nonexistent/x

# ---- Demo ----
run 0 demo --seeds 1 --checkpoint kept.safetensors
out_has cpu_blas
out_has 'saved kept.safetensors'
quiet err
[[ -s kept.safetensors ]] || complain 'demo: no checkpoint'
run 0 demo --seeds 2 --provider cpu_blas --data "$digits" --json
json 'd["schema"] == "tenon.demo/1" and [r["seed"] for r in d["runs"]] == [0, 1]'
json 'all(set(r) >= {"provider", "seed", "loss", "test_accuracy", "seconds"} for r in d["runs"])'
json 'all(r["test_accuracy"] > 0.95 and r["test_accuracy"] == r["reloaded_test_accuracy"] for r in d["runs"])'
json 'all(0.5 < m["own_kernels"] <= 1 for m in d["means"])'
json 'all(r["device"] == "cpu:0" for r in d["runs"])'
run 0 demo --device mock:1 --plugin-path "$(dirname "$mock")" --seeds 1 --json
json 'all(r["device"] == "mock:1" and r["provider"] == "mock" and r["test_accuracy"] > 0.95 for r in d["runs"])'
run 3 demo --device gpu:0
err_has 'there are cpu:0'
run 2 demo --seeds 0
run 2 demo --seeds 1x
run 0 demo --seeds 1 --provider "$cpu_ref"
out_has cpu_ref
run 3 demo --provider bad/broken.so
run 3 demo --provider math
err_has "plugin 'math' has no kernels"
run 3 demo --provider cpu_bals
err_has cpu_blas
run 4 demo --data /nonexistent
printf '1,2,x\n' >bad.csv
run 4 demo --data bad.csv
err_has 'bad.csv:1:5: expected'
quiet out
run 4 demo --seeds 1 --provider cpu_blas --checkpoint /nonexistent/x
err_has /nonexistent/x
ls "${TMPDIR:-/tmp}"/tenon-demo-* >/dev/null 2>&1 && complain 'demo: left its folder behind'

# ---- Where results cannot go ----
shown='tenon version >/dev/full'
"$tenon" version >/dev/full 2>err && complain "$shown: exit 0"
err_has 'could not be written'

echo "$failures failed"
((failures == 0))
