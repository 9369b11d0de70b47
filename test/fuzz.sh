#!/usr/bin/env bash
# Every fuzz target, for FUZZTIME each (60s), two at a time. What is found is
# written to the package's testdata/fuzz, to be kept with the mending.
set -uo pipefail
cd "$(dirname "$0")/.."
targets=$(grep -rho --include='*_test.go' -H '^func Fuzz[A-Za-z0-9]*' . | sed 's|^\./||; s|/[^/]*_test.go:func | |')
[ -n "$targets" ] || { echo "no fuzz targets"; exit 1; }
one() {
	if out=$(go test "./$1" -run '^$' -fuzz "^$2\$" -fuzztime "${FUZZTIME:-60s}" -parallel 1 2>&1); then
		echo "pass  $1 $2: $(grep -o 'execs: [0-9]*' <<<"$out" | tail -1)"
	else
		echo "$out"
		echo "fail  $1 $2"
		return 1
	fi
}
export -f one
xargs -n 2 -P 2 bash -c 'one "$@"' one <<<"$targets"
