#!/usr/bin/env bash
# Every fuzz target, for FUZZTIME each (60s), two at a time. What is found is
# written to the package's testdata/fuzz, to be kept with the mending.
set -uo pipefail
cd "$(dirname "$0")/.."
targets=$(grep -rho --include='*_test.go' -H '^func Fuzz[A-Za-z0-9]*' . | sed 's|^\./||; s|/[^/]*_test.go:func | |')
[ -n "$targets" ] || { echo "no fuzz targets"; exit 1; }
fuzz() { go test "./$1" -run '^$' -fuzz "^$2\$" -fuzztime "${FUZZTIME:-60s}" -parallel 1 2>&1; }
# Go's fuzzer may take the end of its own time for a failure, now and then: it says so, and
# writes no input. Only then it is run once more.
late() { grep -q '^ *context deadline exceeded$' <<<"$1" && ! grep -q 'Failing input written' <<<"$1"; }
one() {
	if out=$(fuzz "$@") || { late "$out" && out=$(fuzz "$@"); }; then
		echo "pass  $1 $2: $(grep -o 'execs: [0-9]*' <<<"$out" | tail -1)"
	else
		echo "$out"
		echo "fail  $1 $2"
		return 1
	fi
}
export -f one fuzz late
xargs -n 2 -P 2 bash -c 'one "$@"' one <<<"$targets"
