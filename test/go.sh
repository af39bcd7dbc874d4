#!/usr/bin/env bash
# The Go tests, and at the end what was skipped. Arguments go to go test.
#
# One package after the other: the command's tests list all segments of the machine, and the package's have some that are
# cut short while somebody looks.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
$go test -p 1 -timeout 20m -json "$@" ./... | $go run ./test/summary
