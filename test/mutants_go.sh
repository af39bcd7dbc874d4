#!/usr/bin/env bash
# Breaks the Go package in one way at a time, in a copy, and requires that the tests notice: a test that can't fail
# proves nothing. An argument picks the mutants with that word in their names.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
work=$(mktemp -d)
trap 'test/sweep.sh; rm -rf "$work"' EXIT
only=${1:-}
passed=0 failed=0

mutant() { # mutant NAME FILE OLD NEW TESTS: OLD is whole lines of FILE, without the first one's indentation
  local name=$1 file=$2 old=$3 new=$4 tests=$5 copy="$work/copy" out
  [[ $name == *"$only"* ]] || return 0
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
  'if loadSequence(h) == seen && !s.closed.Load() {' '{' TestNoLostWake
mutant "the drainer wakes nobody" wait.go \
  'w.wake()' '_ = w' TestWaitAcrossProcesses
mutant "a group that ends stays watched" wait.go \
  'unwatch(token)' '_ = token' TestParkerStops
mutant "a dead writer goes unnoticed" csrc/parker.cc \
  'if (segment.version() != watch.seen || segment.writer_died()) {' 'if (segment.version() != watch.seen) {' TestWriterDies
mutant "a live writer counts as dead" csrc/segment.cc \
  'if (share::writer_locked(descriptor_, &locked) != 0 || locked) return JM_WRITER_OTHER;' '' TestProcesses
mutant "no lock between writers" csrc/segment.cc \
  'if (error == EAGAIN) return JM_ERR_WRITER_ACTIVE;' '' TestWriterDies
mutant "the next writer repairs nothing" csrc/segment.cc \
  'if (version() & 1) {' 'if (false) {' TestKill
mutant "a commit wakes no other process" csrc/segment.cc \
  'if (wait::wake_all(&header_->sequence, shared_) || waiters != absent_) {' 'if (waiters != absent_) {' TestWakesAtOnce
mutant "checked and used are loaded apart" judemap.go \
  $'t.set(&m)\n\ts.view(t, m.byteLength)' $'t.set(&m)\n\ts.view(t, load64(&h.byte_length))' TestHostilePeer
mutant "dead readers stay counted" csrc/segment.cc \
  'if (absent_commits_ >= kAbsentCommits && now() - absent_since_ >= kAbsent) {' 'if (false) {' TestDeadReadersAreForgotten
mutant "a block is taken on trust" csrc/segment.cc \
  'if (asked == 0 || asked > capacity) reason = "its capacity is larger than its file, or 0";' '' TestOpenChecks
mutant "sealed against nothing" csrc/share_linux.cc \
  'fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {' 'false) {' TestSealed
mutant "a segment's descriptor survives exec" csrc/share_linux.cc \
  'int access_mode(bool writable) noexcept { return (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC; }' \
  'int access_mode(bool writable) noexcept { return writable ? O_RDWR : O_RDONLY; }' TestCloseOnExec
mutant "every commit makes a system call" csrc/segment.cc \
  'if (waiters == 0) return;' '' TestCommitsWithoutSystemCalls
mutant "closed memory is not kept" csrc/segment.cc \
  'error = memory::retire(header_, mapped_);' 'memory::unmap(header_, mapped_);' 'TestCloseUnderLoad|TestAfterClose'
mutant "closed memory is written to" csrc/segment.cc \
  'if (retired_.load(std::memory_order_relaxed)) {' 'if (false) {' 'TestCloseUnderLoad'
mutant "an update that fails is committed" judemap.go \
  'filled := false' 'filled := true' TestUpdateGivesUp
mutant "a header is trusted" judemap.go \
  'if err := m.check(s.capacity); err != nil {' 'if err := error(nil); err != nil {' FuzzHeader
mutant "readers do not wait for their turn" judemap.go \
  $'s.writing.Lock()\n\terr := attempt()\n\ts.writing.Unlock()' 'err := attempt()' TestReadersFinish

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
