# What examples/NAME/test begins with, and other scripts there: `source "$(dirname "$0")/../setup.sh"`. It sets
#
#   root     the repository
#   here     the example's folder, where the script then is
#   out      build/examples/NAME: all that the script installs and makes goes there
#   go       the Go command
#   figures  $out/figures, which `figure` adds a line to, and which is printed at the end
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=${BUILD:-$root/build}/examples/${here##*/}
go=${GO:-go}
figures=$out/figures
mkdir -p "$out"
[ -e "${out%/*}/go.mod" ] || echo "module examples" >"${out%/*}/go.mod" # so that ./... is nothing of what is made there
[ "${BASH_SOURCE[1]##*/}" != test ] || : >"$figures" # another script may run beside the test
cd "$here"

skip() { # skip WHY...: this machine can't run the example
  echo "SKIP: $*"
  exit 0
}

fail() { # fail WHY...
  echo "FAILED: $*" >&2
  exit 1
}

figure() { # figure WORDS...: a line of what was measured, for the end of the output
  echo "$*" >>"$figures"
}

finished() { # finished WHAT: the last line of a test that passed
  [ ! -s "$figures" ] || { echo "-- figures"; cat "$figures"; }
  echo "ok: $*"
}

debian() { # debian PACKAGE...: installs those that are missing, where there is apt-get and the right to use it
  local missing=() package sudo=()
  command -v dpkg-query >/dev/null || skip "this is not Debian; what is needed is what its packages $* have"
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || skip "apt-get install ${missing[*]} needs root"
    sudo=(sudo)
  fi
  # Two examples may be at it at once.
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq \
    --no-install-recommends "${missing[@]}" >/dev/null
}

python_packages() { # python_packages REQUIREMENTS.txt [OPTION OF PIP...]: makes $out/python with them, once, and sets python
  local requirements=$1 ready=$out/python/ready
  python=$out/python/bin/python
  cmp -s "$requirements" "$ready" && return 0
  python3 -c 'import venv, ensurepip' 2>/dev/null || skip "python3 with venv is not installed (Debian: apt-get install python3-venv)"
  rm -rf "$out/python"
  python3 -m venv "$out/python"
  "$out/python/bin/pip" install --quiet --disable-pip-version-check "${@:2}" -r "$requirements"
  cp "$requirements" "$ready"
}

go_checks() { # go_checks: the linters that the project's own Go code passes, for the module in this folder
  local unformatted
  unformatted=$(gofmt -l .)
  [ -z "$unformatted" ] || fail "gofmt -l: $unformatted"
  $go vet ./...
  $go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
  $go mod tidy -diff
}

page_program() { # page_program: prints the first C++ program of docs/NAME.md, for the test to compile
  awk '/^```cpp$/ && !found { found = inside = 1; next } /^```$/ { inside = 0 } inside' "$root/docs/${here##*/}.md"
}
