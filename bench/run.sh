#!/usr/bin/env bash
# All benchmarks of the Go package, round trips and frames of iceoryx2, and the frames of floor_frames.cc, in turn, so
# that whatever else the machine does meets all alike; then benchstat's table of medians, spreads and ratios. The lines are
# left in build/bench.txt.
#
#   ROUNDS  how often; 6
#   BENCH   which benchmarks, a regular expression as for go test -bench; all. iceoryx2's are BenchmarkRoundTrip and
#           BenchmarkFrames
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go} build=${BUILD:-build} rounds=${ROUNDS:-6} bench=${BENCH:-.}
lines=$build/bench.txt
mkdir -p "$build"
$go test -c -o "$build/judemap.test" .

asked() { [[ $1 =~ ${bench%%/*} || Benchmark$1 =~ ${bench%%/*} ]]; }

frames="64:300000 602112:7000 1048576:4000 8388608:500" # sizes, and how many
floor=""
if asked Frames; then
  floor=$build/floor_frames
  ${CXX:-c++} -std=c++17 -O3 -o "$floor" bench/floor_frames.cc
fi

iceoryx2=""
if ! asked RoundTrip && ! asked Frames; then
  : # not asked for
elif command -v cargo >/dev/null; then
  CARGO_TARGET_DIR=$build/iceoryx2 cargo build --quiet --release --locked --manifest-path bench/iceoryx2/Cargo.toml
  iceoryx2=$build/iceoryx2/release/iceoryx2_bench
else
  echo "SKIP: iceoryx2 is not measured: cargo, which builds it, is not installed (https://rustup.rs)"
fi

: >"$lines"
for ((round = 1; round <= rounds; round++)); do
  "$build/judemap.test" -test.run '^$' -test.bench "$bench" -test.benchtime 200ms | tee -a "$lines"
  if [ -n "$floor" ]; then
    for wait in blocking spinning polling; do
      for size in $frames; do
        "$floor" "${size%:*}" "$wait" "${size#*:}" | tee -a "$lines"
      done
    done
  fi
  [ -n "$iceoryx2" ] || continue
  for wait in blocking polling; do
    if asked RoundTrip; then
      "$iceoryx2" ping "$wait" 20000 | tee -a "$lines"
    fi
    if asked Frames; then
      for size in $frames; do
        "$iceoryx2" frames "${size%:*}" "$wait" "${size#*:}" | tee -a "$lines"
      done
    fi
  done
done
$go run "$BENCHSTAT" -ignore /gomaxprocs -col '/by@(floor C++ iceoryx2 judemap)' "$lines"
