#!/usr/bin/env bash
# All tests: those that need no control plane, with the race detector, then what runs on
# a real one. Ends with why tests failed and with the counts.
set -uo pipefail
cd "$(dirname "$0")"
go build -o ../bin/count ./cmd/count && go build -o ../bin/cluster ./cmd/cluster || exit 1
{
	./fast.sh
	# Packages one after another, on one control plane but for those that want their
	# own. Tests wait more than they compute: more at once than there are cores.
	../bin/cluster -nodes 0 go test -json -count=1 -p 1 -parallel 8 -timeout 40m $(go list ./... | grep -vE '/(audit|cmd/count)$')
} 2>&1 | ../bin/count
