#!/usr/bin/env bash
# All tests: the daemon's own packages with the race detector, then what runs on
# a real control plane. Ends with the counts.
set -uo pipefail
cd "$(dirname "$0")"
go build -o ../bin/count ./cmd/count || exit 1
{
	(cd .. && CGO_ENABLED=1 go test -json -race -shuffle=on -timeout 20m ./...) 2>&1
	go test -json -p 1 -parallel 6 -timeout 40m ./... 2>&1
} | ../bin/count
