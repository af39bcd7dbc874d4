#!/usr/bin/env bash
# Builds the core and its C++ tests with the machine's compiler, and runs them. The argument is the folder to build in.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/plain}
mkdir -p "$(dirname "$build")"

if ! command -v cmake >/dev/null; then
  echo "SKIP C++ tests: cmake is not installed (Debian: apt-get install cmake libgtest-dev)"
  exit 0
fi
cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
if grep 'SKIP' "$build.log"; then exit 0; fi # CMake says why
cmake --build "$build" --parallel 2 >"$build.log" 2>&1 || { cat "$build.log"; exit 1; }
ctest --test-dir "$build" --output-on-failure
