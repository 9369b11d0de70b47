#!/usr/bin/env bash
# What a change must pass before it is proposed, in four minutes on two cores: the tests that
# need no control plane, no root and no Debian package.
set -uo pipefail
cd "$(dirname "$0")"
go build -o ../bin/count ./cmd/count || exit 1
./fast.sh -short 2>&1 | ../bin/count
