#!/usr/bin/env bash
# What must hold of the C++ core beside its tests in test/cpp.sh: the same tests under sanitizers, headers that each
# stand alone, and programs that use an installed core.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}
mkdir -p "$build"
work=$(mktemp -d)
trap 'test/sweep.sh; rm -rf "$work"' EXIT
passed=0 failed=0

if ! command -v cmake >/dev/null || ! command -v g++ >/dev/null; then
  echo "SKIP C++ checks: cmake or g++ is not installed (Debian: apt-get install g++ cmake libgtest-dev)"
  exit 0
fi
if ! echo '#include <gtest/gtest.h>' | g++ -std=c++17 -fsyntax-only -x c++ - 2>/dev/null; then
  echo "SKIP C++ checks: GoogleTest is not installed (Debian: apt-get install libgtest-dev)"
  exit 0
fi

check() { # check NAME COMMAND...: runs it, and shows what it printed if it fails
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$work/log" 2>&1; then
    passed=$((passed + 1))
    echo "$name: ok, $((SECONDS - start)) s"
  else
    failed=$((failed + 1))
    cat "$work/log"
    echo "$name: FAILED, $((SECONDS - start)) s"
  fi
}

sanitized() { # sanitized FOLDER SANITIZERS
  local folder="$build/$1"
  cmake -S . -B "$folder" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DJUDEMAP_SANITIZE="$2" &&
    cmake --build "$folder" --parallel 2 &&
    JUDEMAP_STRESS="${JUDEMAP_STRESS:-1s}" TSAN_OPTIONS=halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
      ASAN_OPTIONS=detect_stack_use_after_return=1 \
      ctest --test-dir "$folder" --output-on-failure --no-tests=error --parallel 2
}

runs() { # runs PROGRAM...: each must say that it is ok
  local program
  for program; do
    "$program" | tee /dev/stderr | grep -q ': ok$' || return 1
  done
}

headers() { # each public header is enough for itself, in C++17 and C++20, and what is for C in C11
  local header standard
  for header in $(find include -name '*.h' | sed 's|^include/||' | LC_ALL=C sort); do
    for standard in c++17 c++20; do
      echo "#include \"$header\"" | g++ -std="$standard" -Iinclude -Wall -Wextra -Wpedantic -Werror -fsyntax-only \
        -x c++ - || return 1
    done
  done
  for header in judemap/judemap.h judemap/layout.h; do
    echo "#include \"$header\"" | gcc -std=c11 -Iinclude -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c - || return 1
  done
  # What is public includes nothing of what is not.
  ! grep -rnE '#include "' include | grep -v '#include "judemap/'
}

consumers() { # consumers SHARED: programs that use a core that was installed as a static or as a shared library
  local shared=$1 prefix="$work/prefix-$1" made="$work/consumer-$1" listed static version
  version=$(sed -n 's/#define JUDEMAP_VERSION "\(.*\)"/\1/p' include/judemap/version.h)
  cmake -S . -B "$work/install-$shared" -DCMAKE_BUILD_TYPE=Release -DJUDEMAP_TESTS=OFF -DBUILD_SHARED_LIBS="$shared" &&
    cmake --build "$work/install-$shared" --parallel 2 &&
    cmake --install "$work/install-$shared" --prefix "$prefix" || return 1

  # Headers are what is installed under include, and all of them.
  listed=$(cd "$prefix/include" && find . -type f | LC_ALL=C sort)
  [ "$listed" = "$(cd include && find . -name '*.h' | LC_ALL=C sort)" ] || { echo "headers: $listed"; return 1; }

  cmake -S test/consumer -B "$made" -DCMAKE_PREFIX_PATH="$prefix" &&
    cmake --build "$made" --parallel 2 && runs "$made/consumer_cc" "$made/consumer_c" || return 1
  # Another minor version is another interface.
  mkdir -p "$made/other"
  sed 's/judemap 0.1 /judemap 0.2 /' test/consumer/CMakeLists.txt >"$made/other/CMakeLists.txt"
  if cmake -S "$made/other" -B "$made/other" -DCMAKE_PREFIX_PATH="$prefix" >"$made/other/log" 2>&1; then
    echo "find_package(judemap 0.2) takes $version"
    return 1
  fi
  grep -q 'compatible with requested version' "$made/other/log" || { cat "$made/other/log"; return 1; }

  if ! command -v pkg-config >/dev/null; then
    echo "SKIP pkg-config: it is not installed"
    return 0
  fi
  export PKG_CONFIG_PATH
  PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name judemap.pc)")
  [ "$(pkg-config --modversion judemap)" = "$version" ] || { echo "judemap.pc has another version"; return 1; }
  for static in "" --static; do
    # shellcheck disable=SC2046 # words, each an argument
    g++ -std=c++17 -Wall -Wextra -Werror test/consumer/main.cc -o "$made/pc_cc" \
      -Wl,-rpath,"$(pkg-config --variable=libdir judemap)" $(pkg-config --cflags --libs $static judemap) &&
      gcc -std=c11 -Wall -Wextra -Wpedantic -Werror test/consumer/main.c -o "$made/pc_c" \
        -Wl,-rpath,"$(pkg-config --variable=libdir judemap)" $(pkg-config --cflags --libs $static judemap) &&
      runs "$made/pc_cc" "$made/pc_c" || return 1
  done
}

check "headers that stand alone" headers
check "ThreadSanitizer" sanitized san-thread thread
check "AddressSanitizer, UndefinedBehaviorSanitizer" sanitized san-address address,undefined
check "programs that use the static library" consumers OFF
check "programs that use the shared library" consumers ON

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
