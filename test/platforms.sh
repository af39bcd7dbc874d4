#!/usr/bin/env bash
# The tests on other platforms than this machine's: `make platforms`, or test/platforms.sh PLATFORM... for some. Prints
# a table of what passed, failed and was skipped, and the skipped tests with their reasons. Where nothing can run here,
# programs are linked, or at least compiled, and the table says so.
#
# It installs Debian's packages where it may. Processors other than this one are qemu's: that shows that the code runs
# there, and says nothing of the order in which such a processor makes its stores seen; test/weak_memory_test.cc is
# about that.
set -uo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
build=${BUILD:-build}/platforms
mkdir -p "$build"
build=$(cd "$build" && pwd)
zig="$PWD/build/tools/bin/python -m ziglang"

all=(linux/arm64 linux/riscv64 linux/arm linux/386 linux/musl linux/clang linux/buildmodes linux/files windows/amd64
  darwin/arm64 darwin/amd64 freebsd)

# ---- What the platforms have in common ---------------------------------------------------------------------------

packages() { # packages NAME...: Debian's, installed if they are missing; or says why not
  local missing=() package
  command -v dpkg-query >/dev/null || { echo "this is not Debian, whose packages it takes: $*"; return 1; }
  for package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" -eq 0 ] || { echo "it needs root to install: ${missing[*]}"; return 1; }
  { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends \
      "${missing[@]}"; } >"$build/apt.log" 2>&1 || { echo "apt-get could not install: ${missing[*]}"; return 1; }
}

# Programs of another processor start as this one's do, also when a test starts itself again.
emulated() { # emulated QEMU_ARCHITECTURE: or says why not
  local formats=/proc/sys/fs/binfmt_misc
  [ -e $formats/register ] || mount -t binfmt_misc none $formats 2>/dev/null ||
    { echo "binfmt_misc can't be mounted, by which the kernel starts programs of another processor"; return 1; }
  [ -e "$formats/qemu-$1" ] || grep -v '^#' "/usr/lib/binfmt.d/qemu-$1.conf" >$formats/register ||
    { echo "binfmt_misc takes no $1"; return 1; }
}

tools() { # the compiler with the headers of other platforms; or says why not
  python3 -c 'import venv, ensurepip' || { echo "python3 has no venv (Debian: python3-venv)" >"$build/why"; return 77; }
  make --no-print-directory build/tools/ready
}

# zig_compilers TARGET: CC and CXX are programs of one word each, as tests want that compile something with them
zig_compilers() {
  local kind
  mkdir -p "$build/bin"
  for kind in cc c++; do
    printf '#!/bin/sh\nexec %s %s -target %s "$@"\n' "$zig" "$kind" "$1" >"$build/bin/$1-$kind"
    chmod +x "$build/bin/$1-$kind"
  done
  export CC=$build/bin/$1-cc CXX=$build/bin/$1-c++
}

go_tests() { # go_tests [FLAG...]: of all packages, in the environment of the platform; or of those that packages= names
  # shellcheck disable=SC2086 # words, each a package
  $go test -short -count=1 -timeout 600s -v "$@" ${go_packages:-./...}
}

# In an emulator: it keeps threads waiting for longer than any machine does, and qemu 7.2 now and then never starts or
# ends a child (golang.org/issue/69259). So what failed or hung is tried once more, if it is no more than three tests,
# and the report names it.
emulated_go_tests() {
  local failed hung out=$build/go_tests.out
  set -- -timeout 360s "$@"
  go_tests "$@" | tee "$out"
  [ "${PIPESTATUS[0]}" -ne 0 ] || return 0
  failed=$(sed -n 's/^--- FAIL: \([A-Za-z0-9_]*\) .*/\1/p' "$out" | sort -u)
  hung=$(grep -c '^panic: test timed out' "$out")
  case $(($(wc -w <<<"$failed") + hung)) in [123]) ;; *) return 1 ;; esac
  # A panic of the code and a build that failed are no such thing.
  if grep '^panic: ' "$out" | grep -qv 'test timed out' || grep -q 'build failed\]' "$out"; then return 1; fi
  echo "== again"
  if [ "$hung" -ne 0 ]; then # all of the package, since those after it did not run
    local go_packages
    go_packages=$(sed -n 's/^FAIL[[:space:]]\{1,\}\([^[:space:]]*\/[^[:space:]]*\).*/\1/p' "$out" | sort -u | paste -sd' ')
    go_tests "$@"
  else
    go_tests -run "^($(paste -sd'|' <<<"$failed"))\$" "$@"
  fi
}

cross_linux() { # cross_linux GOARCH TRIPLE QEMU_ARCHITECTURE
  packages "g++-$2" qemu-user-static >"$build/why" && emulated "$3" >"$build/why" || return 77
  export GOOS=linux GOARCH=$1 CGO_ENABLED=1 CC=$2-gcc CXX=$2-g++ QEMU_LD_PREFIX=/usr/$2 JUDEMAP_EMULATED=$3
}

cxx_tests() { # cxx_tests FOLDER CMAKE_ARGUMENT...: the core's, with GoogleTest from its sources
  local folder=$build/$1
  shift
  packages googletest cmake >"$build/why" || return 77
  cmake -S /usr/src/googletest -B "$folder/googletest" -DCMAKE_INSTALL_PREFIX="$folder/prefix" \
    -DCMAKE_BUILD_TYPE=Release -DBUILD_GMOCK=OFF "$@" &&
    cmake --build "$folder/googletest" --parallel 2 && cmake --install "$folder/googletest" &&
    cmake -S . -B "$folder/core" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$folder/prefix" \
      -DCMAKE_FIND_ROOT_PATH="$folder/prefix" "$@" &&
    cmake --build "$folder/core" --parallel 2 || return
  ctest --test-dir "$folder/core" --output-on-failure --no-tests=error ${CTEST_NOT:+--exclude-regex "$CTEST_NOT"}
  local status=$? failed="$folder/core/Testing/Temporary/LastTestsFailed.log"
  cp "$folder/core/Testing/Temporary/LastTest.log" "$folder/first.log"
  # As emulated_go_tests: if it is no more than three, and none of them crashed.
  if [ $status -ne 0 ] && [[ $* == *_EMULATOR=* ]] && [ "$(wc -l <"$failed")" -le 3 ] &&
    [ "$(grep -c '^ 1 FAILED TEST' "$folder/first.log")" -eq "$(wc -l <"$failed")" ]; then
    echo "== again"
    ctest --test-dir "$folder/core" --output-on-failure --rerun-failed
    status=$?
  fi
  sed -n '/: Skipped$/,/SKIPPED/p' "$folder/first.log" # with the reasons
  return $status
}

# ---- The platforms: each function prints what its tests print, fails if they do, and is 77 where it can't run -------

linux_arm64() {
  cross_linux arm64 aarch64-linux-gnu aarch64 || return
  emulated_go_tests && cxx_tests linux-arm64 -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" -DCMAKE_CROSSCOMPILING_EMULATOR=/usr/bin/qemu-aarch64-static
}

linux_riscv64() {
  cross_linux riscv64 riscv64-linux-gnu riscv64 || return
  emulated_go_tests
}

linux_arm() {
  cross_linux arm arm-linux-gnueabihf arm || return
  emulated_go_tests
}

linux_386() { # run by the processor itself
  [ "$(uname -m)" = x86_64 ] || { echo "this is no x86-64 machine" >"$build/why"; return 77; }
  packages g++-i686-linux-gnu libc6-i386 lib32stdc++6 >"$build/why" || return 77
  export GOARCH=386 CGO_ENABLED=1 CC=i686-linux-gnu-gcc CXX=i686-linux-gnu-g++
  go_tests
}

linux_musl() { # statically linked, as a program for Alpine may be
  [ "$(uname -m)" = x86_64 ] || { echo "this is no x86-64 machine" >"$build/why"; return 77; }
  tools || return
  zig_compilers x86_64-linux-musl
  export CGO_ENABLED=1
  export GOFLAGS='"-ldflags=-linkmode=external -extldflags=-static" -tags=netgo,osusergo'
  go_tests
}

linux_clang() { # clang as cgo's compiler
  packages clang >"$build/why" || return 77
  export CGO_ENABLED=1 CC=clang CXX=clang++
  $go test -short -count=1 -timeout 600s -v .
}

linux_buildmodes() { # a Go program that C and C++ link, as an archive and as a shared library
  local folder=$build/buildmodes use=testdata/cexport/use/main.c
  mkdir -p "$folder"
  $go build -buildmode=c-archive -o "$folder/cexport.a" ./testdata/cexport &&
    $go build -buildmode=c-shared -o "$folder/cexport.so" ./testdata/cexport || return
  local strict="-Wall -Wextra -Werror -I$folder" name
  # shellcheck disable=SC2086 # words, each an argument
  gcc -std=c11 $strict $use "$folder/cexport.a" -lstdc++ -ldl -pthread -o "$folder/c-archive" &&
    g++ -std=c++17 $strict -x c++ $use -x none "$folder/cexport.a" -ldl -pthread -o "$folder/c++-archive" &&
    gcc -std=c11 $strict $use "$folder/cexport.so" -Wl,-rpath,"$folder" -o "$folder/c-shared" &&
    g++ -std=c++17 $strict -x c++ $use -x none "$folder/cexport.so" -Wl,-rpath,"$folder" -o "$folder/c++-shared" || return
  for name in c-archive c++-archive c-shared c++-shared; do
    if "$folder/$name"; then echo "--- PASS: $name"; else echo "--- FAIL: $name"; return 1; fi
  done
}

# Wine 10 or later: older ones lack what a segment's mapping takes (VirtualAlloc2). It is Debian trixie's, in a root of
# its own, from the mirror that this machine's packages are from.
wine_root() { # or says why not
  export WINE_ROOT=${WINE_ROOT:-$build/trixie} WINEPREFIX=$build/wine
  [ "$(uname -m)" = x86_64 ] || { echo "this is no x86-64 machine"; return 1; }
  unshare -m true 2>/dev/null || { echo "it needs the right to mount, for the root that Wine runs in"; return 1; }
  [ -e "$WINE_ROOT/usr/lib/wine/wine64" ] && return
  packages debootstrap debian-archive-keyring || return
  local mirror
  mirror=$(apt-get indextargets --format '$(SITE)' 'Identifier: Packages' 'Origin: Debian' 'Component: main' | head -1)
  [ -n "$mirror" ] || { echo "apt names no mirror of Debian, where Wine is"; return 1; }
  rm -rf "$WINE_ROOT.new"
  debootstrap --force-check-gpg --variant=minbase --include=wine64 trixie "$WINE_ROOT.new" "$mirror" >"$build/debootstrap.log" 2>&1 ||
    { echo "debootstrap could not make a Debian trixie with Wine"; return 1; }
  mv "$WINE_ROOT.new" "$WINE_ROOT"
}

windows_amd64() { # by Wine
  packages g++-mingw-w64-x86-64-posix >"$build/why" && wine_root >"$build/why" || return 77
  export GOOS=windows GOARCH=amd64 CGO_ENABLED=1 CC=x86_64-w64-mingw32-gcc-posix CXX=x86_64-w64-mingw32-g++-posix
  local folder=$build/windows-amd64
  mkdir -p "$folder"
  # What the tests build themselves where there is a compiler.
  $CXX -std=c++17 -O2 -Wall -Wextra -Werror -Iinclude testdata/peer/peer.cc judemap_core.cc -static \
    -o "$folder/peer.exe" && $go build -o "$folder/judemap.exe" ./cmd/judemap || return
  mkdir -p "$WINEPREFIX"
  WINE=wineserver64 test/wine.sh -p </dev/null >/dev/null 2>&1
  trap 'WINE=wineserver64 test/wine.sh -k' EXIT
  # Wine fills the folder of its files at the first program, by programs that run on after that one and would keep its
  # output open. So the first program is this one.
  test/wine.sh wineboot --init </dev/null >/dev/null 2>&1
  local drive=Z:${folder//\//\\}
  JUDEMAP_PEER="$drive\\peer.exe" JUDEMAP_COMMAND="$drive\\judemap.exe" emulated_go_tests -exec "$PWD/test/wine.sh"
  local status=$?
  JUDEMAP_STRESS=300ms cxx_tests windows-amd64 -DCMAKE_SYSTEM_NAME=Windows -DCMAKE_C_COMPILER="$CC" \
    -DCMAKE_CXX_COMPILER="$CXX" -DCMAKE_EXE_LINKER_FLAGS=-static -DCMAKE_CROSSCOMPILING_EMULATOR="$PWD/test/wine.sh" &&
    return $status
}

linux_files() { # segments are shared as on macOS, by its source; but for tests of seals, holes and /proc, which are Linux's
  export CGO_ENABLED=1 CGO_CPPFLAGS=-DJUDEMAP_SHARE_FILES
  go_tests -skip '^(TestRegisterCUDA|TestFullSharedMemory|TestHugeSparse|TestForgotten|TestHandedOver|TestStreamOptionsAndCalls|ExampleOpenFile|ExampleWriterState)$' &&
    CTEST_NOT='Sealed|FilesWithHoles|Interrupted|WithoutProc|WhatAChildMayDoWithAStream|HandlesOfTheirOwn|StreamProtocol.Scripts' \
      cxx_tests files -DCMAKE_CXX_FLAGS=-DJUDEMAP_SHARE_FILES
}

darwin() { # darwin GOARCH ZIG_ARCHITECTURE: all programs and tests link; test/darwin has what the compiler's own files lack
  tools || return
  zig_compilers "$2-macos"
  export GOOS=darwin GOARCH=$1 CGO_ENABLED=1
  export CGO_LDFLAGS="-L$PWD/test/darwin -F$PWD/test/darwin"
  local folder=$build/darwin-$1
  mkdir -p "$folder"
  # Without debug information, whose tools are Apple's.
  $CC -std=c11 -Wall -Wextra -Werror test/darwin/probe.c -o "$folder/probe" && echo "--- LINKED: test/darwin/probe.c" || return
  $go build -ldflags='-s -w' -o "$folder/" ./cmd/judemap && echo "--- LINKED: cmd/judemap" || return
  for package in . ./cmd/judemap ./internal/demo ./internal/npy; do
    $go test -c -ldflags='-s -w' -o "$folder/test" "$package" && echo "--- LINKED: tests of $package" || return
  done
}

darwin_arm64() { darwin arm64 aarch64; }
darwin_amd64() { darwin amd64 x86_64; }

freebsd() { # the core compiles, without a warning
  tools || return
  local target source
  for target in x86_64-freebsd aarch64-freebsd; do
    for source in csrc/*.cc; do
      $zig c++ -target $target -std=c++17 -O2 -Wall -Wextra -Werror -Iinclude -c "$source" -o "$build/freebsd.o" || return
      echo "--- COMPILED: $source for $target"
    done
  done
}

# ---- Running them ----------------------------------------------------------------------------------------------------

[ $# -gt 0 ] || set -- "${all[@]}"
rows=() failed=0
for platform; do
  log=$build/${platform/\//-}.log
  start=$SECONDS
  echo "== $platform"
  rm -f "$build/why"
  ("${platform/\//_}") >"$log" 2>&1
  status=$?
  python3 test/tally.py "$platform" "$status" $((SECONDS - start)) "$log" "$build/why" || failed=1
done | tee "$build/report"
echo
grep '^|' "$build/report"
! grep -q '^FAILED' "$build/report"
