#!/usr/bin/env bash
# The tests that need no control plane, as `go test -json` prints them. The arguments go
# to `go test`; with -short, what needs Debian's packages is left out, and the decision's
# situations and fleets are a sample.
set -uo pipefail
cd "$(dirname "$0")/.."
# What goes through every situation has no concurrency (a pure package starts no
# goroutine: cmd/rebootd/rooms_test.go) and would take minutes with the race detector.
models='^Test(Model|Fleet)'
CGO_ENABLED=1 go test -json -race -shuffle=on -timeout 20m -skip "$models" "$@" $(go list ./... | grep -Ev '/daemon/(decide|windows?)$')
go test -json -timeout 20m -run "$models" "$@" ./lock/... ./daemon
go test -json -timeout 20m "$@" ./daemon/decide ./daemon/window ./daemon/windows
cd test && CGO_ENABLED=1 go test -json -race "$@" ./audit ./cmd/count
