#!/usr/bin/env bash
# What must hold of the C++ core beside its tests in test/cpp.sh: the same tests under sanitizers, programs that use
# an installed core, and mutants: the core, broken in one way at a time, which a test must notice, for a test that can't
# fail proves nothing. An argument picks the mutants with that word in their names, and leaves out the rest.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}
mkdir -p "$build"
work=$(mktemp -d)
trap 'test/sweep.sh; rm -rf "$work"' EXIT
only=${1:-}
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
      ctest --test-dir "$folder" --output-on-failure --no-tests=error
}

runs() { # runs PROGRAM...: each must say that it is ok
  local program
  for program; do
    "$program" | tee /dev/stderr | grep -q ': ok$' || return 1
  done
}

consumers() { # consumers SHARED: programs that use a core that was installed as a static or as a shared library
  local shared=$1 prefix="$work/prefix-$1" made="$work/consumer-$1" listed static
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
    echo "find_package(judemap 0.2) takes 0.1.0"
    return 1
  fi
  grep -q 'compatible with requested version' "$made/other/log" || { cat "$made/other/log"; return 1; }

  if ! command -v pkg-config >/dev/null; then
    echo "SKIP pkg-config: it is not installed"
    return 0
  fi
  export PKG_CONFIG_PATH
  PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name judemap.pc)")
  [ "$(pkg-config --modversion judemap)" = 0.1.0 ] || { echo "judemap.pc has another version"; return 1; }
  for static in "" --static; do
    # shellcheck disable=SC2046 # words, each an argument
    g++ -std=c++17 -Wall -Wextra -Werror test/consumer/main.cc -o "$made/pc_cc" \
      -Wl,-rpath,"$(pkg-config --variable=libdir judemap)" $(pkg-config --cflags --libs $static judemap) &&
      gcc -std=c11 -Wall -Wextra -Wpedantic -Werror test/consumer/main.c -o "$made/pc_c" \
        -Wl,-rpath,"$(pkg-config --variable=libdir judemap)" $(pkg-config --cflags --libs $static judemap) &&
      runs "$made/pc_cc" "$made/pc_c" || return 1
  done
}

fresh_copy() { # what a test binary is made of, to be broken
  rm -rf "$work/copy"
  mkdir "$work/copy"
  cp -r include csrc test testdata "$work/copy"
}

compile() { # compile TEST: the copy's core and this one test
  (cd "$work/copy" && g++ -std=c++17 -O1 -Iinclude "-DJUDEMAP_TESTDATA=\"$PWD/testdata\"" csrc/*.cc \
    "test/$1.cc" -o run -lgtest -lgtest_main -pthread)
}

run() { # run FILTER: up to the first failure, after which a broken core may well hang
  (ulimit -c 0 && cd "$work/copy" &&
    JUDEMAP_STRESS=1s timeout -k 1 60 ./run --gtest_break_on_failure --gtest_filter="$1")
}

unbroken() { # unbroken TEST FILTER: else what the mutants fail of need not be what was broken in them
  fresh_copy
  compile "$1" && run "$2"
}

mutant() { # mutant NAME FILE OLD NEW TEST [FILTER]: OLD is whole lines of FILE, without the first one's indentation
  local name=$1 file=$2 old=$3 new=$4 test=$5 filter=${6:-*} out status line
  [[ $name == *"$only"* ]] || return 0
  if [ ! -f "test/$test.cc" ]; then
    echo "mutant $name: SKIP: there is no test/$test.cc"
    return 0
  fi
  fresh_copy
  if ! OLD=$old NEW=$new perl -0pi -e 's/^(\s*)\Q$ENV{OLD}\E$/$1$ENV{NEW}/m or die "no such line\n"' \
    "$work/copy/$file"; then
    failed=$((failed + 1))
    echo "mutant $name: the line to break is not in $file"
    return 0
  fi
  if ! out=$(compile "$test" 2>&1); then
    failed=$((failed + 1))
    echo "mutant $name: does not build"
    echo "$out"
    return 0
  fi
  out=$(run "$filter" 2>&1)
  status=$?
  if [ $status -eq 0 ]; then
    failed=$((failed + 1))
    echo "mutant $name: SURVIVED $test"
    return 0
  fi
  passed=$((passed + 1))
  # GoogleTest says what failed in the lines after the place; of a crash it leaves the name of the test.
  line=$(grep -m1 -A3 -E '_test\.cc:[0-9]+: Failure' <<<"$out" | sed -e 's|.*test/||' -e '2,$ {/_test\.cc:[0-9]/,$ d}' \
    -e '/^\[/ d' | paste -sd' ' | tr -s ' ')
  if [ -z "$line" ]; then
    line=$(grep -E '^\[ RUN ' <<<"$out" | tail -1 | sed 's/.*\] //')
    case $status in
      124 | 137) line="$line does not end" ;;
      *) line="$line ends with status $status" ;;
    esac
  fi
  echo "mutant $name: caught: ${line:0:160}"
}

ping_pong=Wait.PingPong one_writer=Share.OneWriterAtATime processes='Processes.*' sealed=Share.SealedDescriptors
noticed=Processes.ADeathIsNoticedSoon
if [ -z "$only" ]; then
  check "ThreadSanitizer" sanitized san-thread thread
  check "AddressSanitizer, UndefinedBehaviorSanitizer" sanitized san-address address,undefined
  check "programs that use the static library" consumers OFF
  check "programs that use the shared library" consumers ON
  check "unbroken: dtype_test" unbroken dtype_test '*'
  check "unbroken: stress_test" unbroken stress_test '*'
  check "unbroken: weak_memory_test" unbroken weak_memory_test '*'
  check "unbroken: segment_test" unbroken segment_test '*'
  check "unbroken: share_test" unbroken share_test "$ping_pong:$one_writer:$processes:$sealed"
fi

mutant "no second look at sequence" include/judemap/seqlock.h \
  'if (header.sequence.load(std::memory_order_relaxed) != before) return Attempt::kTorn;' '' stress_test
use='const bool used = use(static_cast<const Metadata&>(*metadata));'
fence='fence(header, std::memory_order_acquire);  // R2, pairs with W1'
look='if (header.sequence.load(std::memory_order_relaxed) != before) return Attempt::kTorn;'
mutant "the copy comes after the second look" include/judemap/seqlock.h \
  "$use"$'\n  '"$fence"$'\n  '"$look" "$fence"$'\n  '"$look"$'\n  '"$use" stress_test
mutant "a commit does not make sequence odd" include/judemap/seqlock.h \
  'header.sequence.store(odd, std::memory_order_relaxed);' '' stress_test
mutant "without the fence W1" include/judemap/seqlock.h \
  'fence(header, std::memory_order_release);  // W1, pairs with R2' '' weak_memory_test
mutant "without the fence R2 of a copy" include/judemap/seqlock.h \
  'fence(header, std::memory_order_acquire);  // R2, pairs with W1' '' weak_memory_test
mutant "without the fence R2 of a view" include/judemap/seqlock.h \
  "fence(header, std::memory_order_acquire);  // R2: the caller's loads of the payload come before the load below" '' \
  weak_memory_test
mutant "R1 relaxed" include/judemap/seqlock.h \
  'const std::uint64_t before = header.sequence.load(std::memory_order_acquire);  // R1, pairs with W2' \
  'const std::uint64_t before = header.sequence.load(std::memory_order_relaxed);' weak_memory_test
mutant "W2 relaxed" include/judemap/seqlock.h \
  'header.sequence.store(version, std::memory_order_seq_cst);' \
  'header.sequence.store(version, std::memory_order_relaxed);' weak_memory_test
mutant "nobody is woken" csrc/wait_linux.cc \
  'return futex(address, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, INT_MAX, nullptr) > 0;' 'return true;' \
  share_test "$ping_pong"
mutant "the writer's lock is not taken" csrc/segment.cc \
  'const int error = share::lock_writer(descriptor_);' 'const int error = 0;' share_test "$one_writer"
mutant "who takes over repairs nothing" csrc/segment.cc \
  'if (version() & 1) {' 'if (false) {' share_test "$processes"
mutant "retire unmaps" csrc/segment.cc \
  'error = memory::retire(header_, mapped_);' 'memory::unmap(header_, mapped_);' segment_test
mutant "no header is corrupt" csrc/segment.cc \
  'if (metadata.none()) return nullptr;' 'return nullptr;' segment_test
mutant "a death is noticed late" csrc/segment.cc \
  "constexpr std::int64_t kLookForDeath = 40'000'000;  // ns" "constexpr std::int64_t kLookForDeath = 400'000'000;" \
  share_test "$noticed"
mutant "a tie is rounded up" include/judemap/float.h \
  'const std::uint64_t odd = mantissa >> dropped & 1;' 'const std::uint64_t odd = 1;' dtype_test
mutant "a small float is rounded to a float first" include/judemap/float.h \
  'std::memcpy(&word, &value, sizeof word);' \
  'value = static_cast<float>(value); std::memcpy(&word, &value, sizeof word);' dtype_test
mutant "an integer wraps" csrc/dtype.cc \
  'if (!(whole < above && whole >= (std::numeric_limits<T>::is_signed ? -above : 0.0))) return false;' '' dtype_test
mutant "NaN is false" csrc/dtype.cc \
  '*element = value != 0;  // NaN is not 0' '*element = value > 0 || value < 0;' dtype_test
mutant "sealed against nothing" csrc/share_linux.cc \
  'fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {' 'false) {' \
  share_test "$sealed"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
