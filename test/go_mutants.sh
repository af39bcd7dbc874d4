#!/usr/bin/env bash
# Breaks the Go package in one way at a time, in a copy, and requires that the tests notice: a test that can't fail
# proves nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

mutant() { # mutant NAME FILE OLD NEW TESTS: OLD is whole lines of FILE, without the first one's indentation
  local name=$1 file=$2 old=$3 new=$4 tests=$5 copy="$work/copy" out
  rm -rf "$copy"
  mkdir "$copy"
  git ls-files -z --cached --others --exclude-standard -- '*.go' '*.cc' '*.h' go.mod go.sum testdata |
    xargs -0 cp --parents -t "$copy"
  OLD=$old NEW=$new perl -0pi -e 's/^(\s*)\Q$ENV{OLD}\E$/$1$ENV{NEW}/m or die "no such line\n"' "$copy/$file"
  if out=$(cd "$copy" && JUDEMAP_STRESS=1s $go test -vet=off -count=1 -timeout 20s -run "$tests" . 2>&1); then
    failed=$((failed + 1))
    echo "mutant $name: SURVIVED $tests"
  elif grep -q -E 'build failed|setup failed' <<<"$out"; then
    failed=$((failed + 1))
    echo "mutant $name: does not build"
    echo "$out"
  else
    passed=$((passed + 1))
    echo "mutant $name: caught: $(grep -m1 -E '_test.go:[0-9]+:|^panic|^fatal|timed out' <<<"$out" | sed 's/^ *//')"
  fi
}

mutant "a view without the second look at sequence" judemap.go \
  'if loadSequence(h) != version {' 'if false {' TestStress
mutant "Valid always true" judemap.go \
  'valid := loadSequence(t.mapping.header) == t.version' 'valid := true' TestStress
mutant "a copy without the second look at sequence" include/judemap/seqlock.h \
  'if (header.sequence.load(std::memory_order_relaxed) != before) return Attempt::kTorn;' '' TestStress
mutant "a commit that wakes nobody" judemap.go \
  's.waiters.wake()' '' TestNoLostWake
mutant "no second look before parking" wait.go \
  'continue // look again, now that a commit sees us' '' TestNoLostWake
mutant "closed memory is not kept" csrc/segment.cc \
  'if (!retired_.exchange(true)) error = memory::retire(header_, mapped_);' \
  'if (!retired_.exchange(true)) memory::unmap(header_, mapped_);' 'TestCloseUnderLoad|TestAfterClose'
mutant "closed memory is written to" csrc/segment.cc \
  'if (retired_.load(std::memory_order_relaxed)) {' 'if (false) {' 'TestCloseUnderLoad'
mutant "an update that fails is committed" judemap.go \
  'filled := false' 'filled := true' TestUpdateGivesUp
mutant "a header is trusted" judemap.go \
  'return m.check(s.capacity)' 'return nil' FuzzHeader
mutant "readers do not wait for their turn" judemap.go \
  $'s.writing.Lock()\n\tdefer s.writing.Unlock()' '' TestReadersFinish

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
