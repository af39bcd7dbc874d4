#!/usr/bin/env bash
# Builds build/bench-cuda and runs it: copies from segments to a CUDA device, measured and checked. The program needs nothing
# beside the C library (no C++ library, nothing of CUDA but the driver), so that it can be built here and carried to a machine
# with a GPU; the C library there must be as new as the one here. For an older one, CC and CXX may be a compiler that has its
# headers, as in CC="build/tools/bin/python -m ziglang cc -target x86_64-linux-gnu.2.28", CXX with c++ (make
# build/tools/ready; with absolute paths). Arguments are the program's: -device N, -max MIB, -rounds N.
set -euo pipefail
cd "$(dirname "$0")/../.."
go=${GO:-go} program=${BUILD:-build}/bench-cuda
if [ "$($go env GOOS)" != linux ] || [ "$($go env CGO_ENABLED)" != 1 ]; then
  echo "SKIP: the program is for Linux, and takes a C++ compiler"
  exit 0
fi
mkdir -p "$(dirname "$program")"
$go build -ldflags '-extldflags "-static-libstdc++ -static-libgcc"' -o "$program" ./bench/cuda
"$program" "$@"
