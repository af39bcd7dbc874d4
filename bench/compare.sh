#!/usr/bin/env bash
# This checkout's benchmarks beside those of another commit, in turn on this machine: benchstat's table, as text.
#
#   bench/compare.sh BASE
#
#   ROUNDS  how often; 6, the least that benchstat gives a confidence interval for
#   BENCH   which benchmarks, as for go test -bench; several patterns are separated by spaces. Unless it is set: those that
#           are quick, of judemap itself
source "$(dirname "$0")/setup.sh"
base=${1:?the commit to compare with, as in: make bench-compare BASE=main}
ours=by=judemap
patterns=(
  "^BenchmarkRead$/$ours"
  "^Benchmark(Write|ReadInto|Fill|Wake|CommitBesideReaders)$/^(size=(24|602112)|waiters=(1|16)|readers=(0|16))$/$ours"
  "^Benchmark(RoundTrip|Frames)$/^size=(64|602112)$/blocking/$ours"
)
[ -z "${BENCH:-}" ] || read -r -a patterns <<<"$BENCH"
commit=$(git rev-parse --verify "$base^{commit}")
there=$out/base
mkdir -p "$out"
git worktree remove --force "$there" 2>/dev/null || true
git worktree add --quiet --detach "$there" "$commit"
trap 'git worktree remove --force "$there"' EXIT
$go -C "$there" test -c -o "$PWD/$out/base.test" .
$go test -c -o "$out/head.test" .
rm -f "$out/base.txt" "$out/head.txt"
for ((round = 1; round <= ${ROUNDS:-6}; round++)); do
  for which in base head; do
    for pattern in "${patterns[@]}"; do
      "$out/$which.test" -test.run '^$' -test.bench "$pattern" -test.benchtime 100ms >>"$out/$which.txt"
    done
  done
done
$go run "${BENCHSTAT:?the version that the Makefile names}" -ignore /gomaxprocs \
  "base=$out/base.txt" "head=$out/head.txt" | tee "$out/compare.txt"
