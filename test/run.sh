#!/usr/bin/env bash
# All tests: the daemon's own packages with the race detector, then what runs on
# a real control plane. Ends with the counts.
set -uo pipefail
cd "$(dirname "$0")"
go build -o ../bin/count ./cmd/count || exit 1
{
	# The decision has no concurrency: its many situations and fleets are gone through without the race detector.
	(cd .. && FLEETS=50 CGO_ENABLED=1 go test -json -race -short -shuffle=on -timeout 20m ./...) 2>&1
	(cd .. && go test -json ./daemon/decide) 2>&1
	go test -json -count=1 -p 1 -parallel 6 -timeout 40m ./... 2>&1
} | ../bin/count
