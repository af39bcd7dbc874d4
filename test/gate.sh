#!/usr/bin/env bash
# Everything that must hold beside `make test`. Runs all steps, says which failed and how, and fails if one did. A step
# that can't run on this machine says SKIP and why. What a step prints is also in build/gate/NAME.log.
set -uo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
build=${BUILD:-build}
logs=$build/gate
mkdir -p "$logs"
passed=0 failed=0 failures=()

# Slow and seldom broken: make check-all, which has all mutants, takes its time for these too.
if [ "${MUTANTS:-}" = all ]; then
  hostile=60s killed=120s inputs=200000x
else
  hostile=20s killed=60s inputs=80000x
fi

step() { # step NAME COMMAND...
  local name=$1 start=$SECONDS
  local log="$logs/$name.log"
  shift
  echo "== $name"
  if "$@" 2>&1 | tee "$log"; then
    passed=$((passed + 1))
    echo "-- $name: ok, $((SECONDS - start)) s"
  else
    failed=$((failed + 1))
    failures+=("$name")
    echo "-- $name: FAILED, $((SECONDS - start)) s"
  fi
}

nothing_from() { # the command must print nothing
  local out
  out=$("$@" 2>&1) || { echo "$out"; return 1; }
  [ -z "$out" ] || { echo "$out"; return 1; }
}

with_tools() { # with_tools COMMAND...: with the formatter, the other compiler and NumPy, which python3 installs
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    echo "SKIP: python3 with venv is not installed (Debian: apt-get install python3-venv)"
    return 0
  fi
  make --no-print-directory "$build/tools/ready" >/dev/null && "$@"
}

clang_format() {
  git ls-files '*.cc' '*.c' '*.h' | xargs "$build/tools/bin/clang-format" --dry-run --Werror
}

# Every fuzz target for a little while: so many inputs, not so many seconds. At the end of a time the coordinator of
# Go up to 1.26 can take its own deadline for a failure of the target (https://go.dev/issue/75804).
fuzz() {
  local file target
  for file in $(git ls-files '*_test.go'); do
    for target in $(grep -o '^func Fuzz[A-Za-z]*' "$file" | sed 's/func //'); do
      # In the folder, which may be of a module of its own.
      $go -C "$(dirname "$file")" test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-$inputs}" -fuzzminimizetime 100x . || return 1
    done
  done
}

numpy() { # NumPy loads what the command exports, and the command takes what NumPy saves
  PYTHON="$PWD/$build/tools/bin/python" $go test -count=1 -v -run '^TestNumPy$' ./cmd/judemap | tee "$build/numpy.log"
  ! grep -q SKIP "$build/numpy.log" && grep -q '^ok' "$build/numpy.log"
}

float_vectors() { # the tests' float conversions are those of NumPy and ml_dtypes
  "$build/tools/bin/python" test/float_vectors.py --check testdata/floats.txt
}

cross() { # the core compiles for a system that test/platforms.sh has no tests for; a big-endian machine is told
  local zig="$build/tools/bin/python -m ziglang" source
  for source in csrc/*.cc; do
    $zig c++ -target aarch64-windows-gnu -std=c++17 -O2 -Wall -Wextra -Werror -Iinclude -c "$source" -o "$build/cross.o" || return 1
  done
  if $zig c++ -target s390x-linux-gnu -std=c++17 -Iinclude -c csrc/segment.cc -o "$build/cross.o" 2>"$build/cross.log"; then
    echo "a big-endian build compiles"
    return 1
  fi
  grep -q 'this machine is big-endian' "$build/cross.log"
}

cross_go() { # the Go package and everything in it builds for the other platforms, without cgo, and is vetted for them
  local platform
  for platform in windows/amd64 darwin/arm64 linux/arm64 linux/386 freebsd/amd64; do
    GOOS=${platform%/*} GOARCH=${platform#*/} CGO_ENABLED=0 $go vet ./... || return 1
    echo "builds for $platform"
  done
}

step gofmt nothing_from gofmt -l .
step clang-format with_tools clang_format
step vet $go vet ./...
step "vet without cgo" env CGO_ENABLED=0 $go vet ./...
step staticcheck $go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
step actionlint $go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
step "go mod tidy" $go mod tidy -diff
step "race detector" $go test -p 1 -race ./... # as make test does
step "longer stress" env JUDEMAP_STRESS=4s $go test -count=1 -run 'Stress|Close|Finish|Wake|Processes|ViewUnderLoad' .
step "hostile peers, $hostile each" env JUDEMAP_HOSTILE=$hostile $go test -count=1 -v -run 'Hostile' .
step "200,000 forgotten segments" env JUDEMAP_FORGOTTEN=200000 $go test -count=1 -v -run '^TestForgotten$' .
step NumPy with_tools numpy
step "float vectors" with_tools float_vectors
step demo make --no-print-directory run
step "a minute of SIGKILL" env JUDEMAP_KILL=60s $go test -count=1 -v -run '^TestKill$' .
step "SIGKILL for streams of each kind, $killed in all" env JUDEMAP_KILL=$killed $go test -count=1 -v -run '^TestStreamKill$' .
step "idle for ten seconds" env JUDEMAP_IDLE=10s $go test -count=1 -v -run '^TestManyParked$' .
step "model" model/check_model.sh
step fuzz fuzz
step "Go mutants" test/mutants_go.sh
step "C++ mutants" test/mutants_cpp.sh
step "C++ core" test/core.sh
step "page of judemap serve" test/browser/test
step examples make --no-print-directory examples
step "other platforms, core" with_tools cross
step "other platforms, Go" cross_go
step platforms make --no-print-directory platforms

echo
for name in "${failures[@]}"; do
  echo "== $name FAILED; its log ends in:"
  grep -E 'FAIL|SURVIVED|^panic' "$logs/$name.log" | head -20
  echo "..."
  tail -20 "$logs/$name.log"
done
[ $failed -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
