# What bench/run.sh, bench/plots.sh and bench/compare.sh begin with: `source "$(dirname "$0")/setup.sh"`. It goes to the
# repository, and sets
#
#   go     the Go command
#   out    build/bench: all that is made and measured
#   python where python_ready installs the Python that has NumPy and Matplotlib
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
go=${GO:-go} out=${BUILD:-build}/bench
python=$out/python/bin/python
mkdir -p "$out"

# made_on FILE: begins a file of benchmark lines, with what the tables and plots say about their making.
made_on() {
  local cpu=processor commit
  cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | head -1)
  commit=$(git rev-parse --short=10 HEAD)
  # What is measured goes into docs/, and is no part of what is measured.
  git diff --quiet HEAD -- . ':!docs' || commit+=" with changes"
  {
    echo "machine: $(getconf _NPROCESSORS_ONLN) cores of ${cpu:-$(uname -m)}, $(uname -s) $(uname -r | sed 's/-.*//'), $($go env GOVERSION | sed 's/go/Go /')"
    echo "date: $(date -u +%F)"
    echo "commit: $commit"
  } >"$1"
}

# python_ready WHAT: installs the packages of bench/requirements.txt, once, for $python. Returns 1 where it can't, and
# prints why WHAT is left out.
python_ready() {
  cmp -s bench/requirements.txt "$out/python/ready" && return 0
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    echo "SKIP: $1: python3 with venv is not installed (Debian: apt-get install python3-venv)"
    return 1
  fi
  rm -rf "$out/python"
  if ! { python3 -m venv "$out/python" && "$python" -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt; } \
    >"$out/pip.log" 2>&1; then
    echo "SKIP: $1: pip could not install bench/requirements.txt, see $out/pip.log"
    return 1
  fi
  cp bench/requirements.txt "$out/python/ready"
}
