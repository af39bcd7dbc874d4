#!/usr/bin/env bash
# All benchmarks of the Go package, each followed by its peers, round after round, so that whatever else the machine does
# meets all alike; then tables of medians, spreads and ratios, as Markdown. What the machine lacks is left out, and said.
#
#   ROUNDS  how often; 5, or fewer if that would take more than SECONDS_AT_MOST
#   SECONDS_AT_MOST  570, so that the whole takes ten minutes at most
#   BENCH   which benchmarks, a regular expression as for go test -bench; all but those of `make plots`. Peers are part of
#           BenchmarkRoundTrip and BenchmarkFrames
#   PAGE    a page to put the tables into, docs/measurements.md; else they are printed only
#
# build/bench/bench.txt has the lines, for benchstat, and benchstat.txt what that makes of them.
source "$(dirname "$0")/setup.sh"
rounds=${ROUNDS:-5} at_most=${SECONDS_AT_MOST:-570} bench=${BENCH:-.}
lines=$out/bench.txt
started=$SECONDS
made_on "$lines"
say() { echo "$*" | tee -a "$lines"; }

$go test -c -o "$out/judemap.test" .
names=$("$out/judemap.test" -test.list "Benchmark.*" | grep -v 'Grow\|ReadParallel' | grep -E "${bench%%/*}") ||
  { echo "no benchmark is one of $bench" >&2; exit 1; }
below="" # which of their parts
[[ $bench != */* ]] || below=/${bench#*/}
among() { grep -q "^Benchmark\($1\)$" <<<"$names"; }

floor="" iceoryx2=""
if ! among 'Frames\|RoundTrip'; then
  python="" # no peers are asked for
elif [ "$(uname -s)" != Linux ]; then
  say "SKIP: what is between two processes is measured on Linux"
  python=""
else
  floor=$out/floor_frames
  ${CXX:-c++} -std=c++17 -O3 -o "$floor" bench/floor_frames.cc
  if ! command -v cargo >/dev/null; then
    say "SKIP: iceoryx2: cargo, which builds it, is not installed (https://rustup.rs)"
  elif ! CARGO_TARGET_DIR=${BUILD:-build}/iceoryx2 cargo build --quiet --release --locked \
    --manifest-path bench/iceoryx2/Cargo.toml >"$out/cargo.log" 2>&1; then
    say "SKIP: iceoryx2: cargo could not build it, see $out/cargo.log"
  else
    iceoryx2=${BUILD:-build}/iceoryx2/release/iceoryx2_bench
  fi
  if ! why=$(python_ready "Python"); then
    say "$why"
    python=""
  elif ! "$python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall ./python >"$out/pip.log" 2>&1; then
    say "SKIP: Python: its package could not be built, see $out/pip.log"
    python=""
  fi
fi

# peer COMMAND...: a peer that does not end, as one that misses a wake, is left out, and the rest goes on.
peer() {
  timeout --kill-after=5 60 "$@" || echo "SKIP: ${1##*/} ${*:2}: it failed, or did not end in 60 s (status $?)"
}

# As many as frameCount and trips of the Go benchmarks.
frames="64:300000 602112:7000 1048576:4000 8388608:500"
trips="64:20000 602112:1800 8388608:130"

frames_of_peers() {
  local wait size
  for size in $frames; do
    for wait in blocking spinning polling; do
      peer "$floor" "${size%:*}" "$wait" "${size#*:}"
    done
    [ -z "$iceoryx2" ] || for wait in blocking polling; do
      peer "$iceoryx2" frames "${size%:*}" "$wait" "${size#*:}"
    done
  done
  [ -z "$python" ] || peer "$python" bench/peers.py Frames
}

trips_of_peers() {
  local size
  [ -z "$iceoryx2" ] || {
    for size in $trips; do
      peer "$iceoryx2" ping "${size%:*}" blocking "${size#*:}"
    done
    peer "$iceoryx2" ping 64 polling 20000
  }
  [ -z "$python" ] || peer "$python" bench/peers.py RoundTrip
}

for ((round = 1; round <= rounds; round++)); do
  # The one before says how long it will take.
  begun=$SECONDS
  if ((round > 1 && SECONDS - started + took > at_most)); then
    say "SKIP: round $round and those after it: they would have taken more than $at_most seconds in all"
    break
  fi
  echo "-- round $round of $rounds"
  for name in $names; do
    "$out/judemap.test" -test.run '^$' -test.bench "^$name\$$below" -test.benchtime 100ms |
      { grep -v '^PASS\|^goos\|^goarch\|^pkg\|^cpu' || true; } | tee -a "$lines"
    if [ -n "$floor" ]; then
      case $name in
      BenchmarkFrames) frames_of_peers ;;
      BenchmarkRoundTrip) trips_of_peers ;;
      esac | tee -a "$lines"
    fi
  done
  took=$((SECONDS - begun))
done

$go run "${BENCHSTAT:?the version that the Makefile names}" -ignore /gomaxprocs -col \
  '/by@(floor C++ iceoryx2 socket pipe shared_memory RWMutex atomic.Pointer channel recycled Python segment stream judemap)' \
  "$lines" >"$out/benchstat.txt" || echo "SKIP: benchstat could not be run"
$go build -o "$out/tables" ./bench/tables
"$out/tables" "$lines" | tee "$out/tables.md"
if [ -n "${PAGE:-}" ]; then
  "$out/tables" -page "$PAGE" "$lines"
  echo "the tables are in $PAGE"
fi
echo "measured for $((SECONDS - started)) s; the lines are in $lines"
