#!/usr/bin/env bash
# All tests, C++ and Go, and at the end what was skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}
mkdir -p "$build"
test/needs.sh
test/cpp.sh "$build/plain" | tee "$build/cpp.out"
test/go.sh
grep -E '^SKIP|\((Skipped|Disabled)\)' "$build/cpp.out" || true
