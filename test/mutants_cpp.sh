#!/usr/bin/env bash
# Mutants of the C++ core; test/mutants.sh says what those are, and which are run. The unbroken objects are those of
# test/cpp.sh, so that only what a mutant changes is compiled.
#
# Not here, because x86 does not show it: the store fence before a large copy (csrc/payload.cc). test/weak_memory_test.cc
# has the fences of seqlock.h on a simulated memory; streaming stores are no part of that. Nor does x86 show every time the
# fence between a slot's odd sequence and the look at its pins: model/stream.pml has that one.
set -uo pipefail
cd "$(dirname "$0")/.."
source test/mutants.sh

if ! command -v cmake >/dev/null || ! command -v g++ >/dev/null; then
  echo "SKIP C++ mutants: cmake or g++ is not installed (Debian: apt-get install g++ cmake libgtest-dev)"
  exit 0
fi
if ! echo '#include <gtest/gtest.h>' | g++ -std=c++17 -fsyntax-only -x c++ - 2>/dev/null; then
  echo "SKIP C++ mutants: GoogleTest is not installed (Debian: apt-get install libgtest-dev)"
  exit 0
fi
if ! { cmake -S . -B "$build/plain" -DCMAKE_BUILD_TYPE=Release && cmake --build "$build/plain" --parallel 2; } \
  >"$work/build.log" 2>&1; then
  cat "$work/build.log"
  exit 1
fi
objects="$build/plain/CMakeFiles"
export LD_LIBRARY_PATH="$build/plain/cuda_driver${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" # the stand-in for CUDA's driver

copy_sources() { cp -r include csrc test "$1"; }

# run_test PROGRAM FILTER: up to the first failure, after which a broken core may well hang.
run_test() {
  if [[ $1 == *abi_test ]]; then
    (ulimit -c 0 && timeout -k 1 60 "$1" 2>&1)
  else
    (ulimit -c 0 && JUDEMAP_STRESS=1s timeout -k 1 60 "$1" --gtest_break_on_failure --gtest_filter="$2" 2>&1)
  fi
}

try() { # try FILE TEST FILTER FOLDER
  local file=$1 test=$2 filter=$3 folder=$4 object source out status line libraries="-lgtest"
  [ "$test" = abi_test ] && libraries=
  local linked=()
  for object in "$objects"/judemap.dir/csrc/*.o "$objects/$test.dir"/test/*.o; do
    source=${object##*.dir/}
    source=${source%.o}
    if grep -q "/$file\( \|\$\)" "$object.d"; then # it is compiled from FILE, or includes it
      mkdir -p "$folder/made/$(dirname "$source")"
      g++ -std=c++17 -O2 "-I$folder/include" "-DJUDEMAP_TESTDATA=\"$PWD/testdata\"" -c "$folder/$source" \
        -o "$folder/made/$source.o" || { echo "it does not build"; return 1; }
      object="$folder/made/$source.o"
    fi
    linked+=("$object")
  done
  g++ "${linked[@]}" -o "$folder/$test" $libraries -pthread -ldl || { echo "it does not link"; return 1; }
  out=$(run_test "$folder/$test" "$filter")
  status=$?
  rm -f "$folder/$test"
  if [ $status -eq 0 ]; then
    echo "SURVIVED $test $filter"
    return 1
  fi
  # GoogleTest says what failed in the lines after the place; of a crash it leaves the name of the test.
  line=$(grep -m1 -A3 -E '_test\.cc?:[0-9]+: ' <<<"$out" | sed -e 's|.*test/||' -e '2,$ {/_test\.cc:[0-9]/,$ d}' \
    -e '/^\[/ d' | paste -sd' ' | tr -s ' ')
  if [ -z "$line" ]; then
    line=$(grep -E '^\[ RUN ' <<<"$out" | tail -1 | sed 's/.*\] //')
    case $status in
      124 | 137) line="$line does not end" ;;
      *) line="$line ends with status $status" ;;
    esac
  fi
  echo "caught: ${line:0:140}"
}

tests=()
mutant() { # mutant NAME FILE OLD NEW TEST [FILTER]: OLD is text of FILE from the beginning of a line on
  in_background "$1" "$2" "$3" "$4" try "$2" "$5" "${6:-*}"
  tests+=("$5 ${6:-*}")
}

# What a reader sees is whole.
look='if (header.sequence.load(std::memory_order_relaxed) != before) return Attempt::kTorn;'
use='const bool used = use(static_cast<const Metadata&>(*metadata));'
fence='fence(header, std::memory_order_acquire);  // R2, pairs with W1'
mutant "no second look at sequence" include/judemap/seqlock.h "$look" '' stress_test
mutant "the copy comes after the second look" include/judemap/seqlock.h \
  "$use"$'\n  '"$fence"$'\n  '"$look" "$fence"$'\n  '"$look"$'\n  '"$use" stress_test
mutant "a commit does not make sequence odd" include/judemap/seqlock.h \
  'header.sequence.store(odd, std::memory_order_relaxed);' '' stress_test
mutant "without the fence W1" include/judemap/seqlock.h \
  'fence(header, std::memory_order_release);  // W1, pairs with R2' '' weak_memory_test
mutant "without the fence R2 of a copy" include/judemap/seqlock.h "$fence" '' weak_memory_test
mutant "without the fence R2 of a view" include/judemap/seqlock.h \
  "fence(header, std::memory_order_acquire);  // R2: the caller's loads of the payload come before the load below" '' \
  weak_memory_test
mutant "R1 relaxed" include/judemap/seqlock.h \
  'const std::uint64_t before = header.sequence.load(std::memory_order_acquire);' \
  'const std::uint64_t before = header.sequence.load(std::memory_order_relaxed);' weak_memory_test
mutant "W2 relaxed" include/judemap/seqlock.h \
  'header.sequence.store(version, std::memory_order_seq_cst);' \
  'header.sequence.store(version, std::memory_order_relaxed);' weak_memory_test
mutant "no header is corrupt" csrc/tensor.cc \
  'if (metadata.none()) return nullptr;' 'return nullptr;' protocol_test '*Rows*'
mutant "a dimension may be past 2^63" csrc/tensor.cc \
  'if (shape[i] > INT64_MAX) return false;' '' protocol_test 'Protocol.T*'

# Commits, one after another.
mutant "a commit within a commit" csrc/protocol.cc \
  'if (committing_) return JM_ERR_ARGUMENT;' '' protocol_test '*StepsOutOfOrder'
mutant "the end of a commit that was not begun" csrc/protocol.cc \
  'if (!committing_) return JM_ERR_ARGUMENT;' '' protocol_test '*StepsOutOfOrder'
mutant "the end of an update that was not begun" csrc/segment.cc \
  'if (!begun_.exchange(false, std::memory_order_relaxed)) return JM_ERR_ARGUMENT;' '' abi_test
mutant "a null handle is used" csrc/capi.cc \
  'jm_status jm_commit(jm_segment* segment) { return segment == nullptr ? JM_ERR_ARGUMENT : segment->commit(); }' \
  'jm_status jm_commit(jm_segment* segment) { return segment->commit(); }' abi_test
mutant "readers get their turn at once" include/judemap/judemap.h \
  '#define JM_TURN_NANOSECONDS 10000000' '#define JM_TURN_NANOSECONDS 0' segment_test 'ReadInto.Readers*'
mutant "readers get no turn" csrc/segment.cc \
  'if (ours && left <= 0) break;' '' segment_test 'ReadInto.GetsItsTurn'
mutant "retire unmaps" csrc/mapping.cc \
  'const int error = memory::retire(header_, mapped_, all_stays_writable_ ? mapped_ : memory::page_size());' 'memory::unmap(header_, mapped_); const int error = 0;' segment_test 'Retire.*'

# One writer among processes, and its death.
mutant "the writer's lock is not taken" csrc/mapping.cc \
  'const int error = lock_->take(descriptor_.load(std::memory_order_relaxed), 0);' 'const int error = 0;' \
  share_test '*OneWriterAtATime'
mutant "the lock is given back by closing" csrc/share_posix.cc \
  'if (file_.get() >= 0) posix::lock(file_.get(), F_UNLCK, byte);' 'static_cast<void>(byte);' fork_test '*HandOver*'
mutant "a handle that ends stays attached" csrc/mapping.cc \
  'if (shared_ && attached_.exchange(false) && counts_waiters_)' 'if (attached_ = false)' protocol_test '*Attaches*'
mutant "a reader's lock passes for a writer's" csrc/share_posix.cc \
  'struct flock lock = lock_of(F_RDLCK, byte);' 'struct flock lock = lock_of(F_WRLCK, byte);' protocol_test '*AReadersLock*'
mutant "who takes over repairs nothing" csrc/protocol.cc 'if (version() & 1) {' 'if (false) {' protocol_test 'Processes.*'
mutant "a death is noticed late" csrc/mapping.cc \
  "constexpr std::int64_t kLookForDeath = 40'000'000;" "constexpr std::int64_t kLookForDeath = 400'000'000;" \
  protocol_test '*ADeathIsNoticedSoon'
mutant "a death beside foreign writers is not noticed" csrc/mapping.cc \
  'if (!flagged()) return false;' 'return false;' protocol_test '*ADeathBesideForeignWriters'

# Forks.
mutant "a child keeps its parent's lock" csrc/fork_posix.cc 'registry.close_all();' '' fork_test '*ADeadWritersLock'
mutant "a child speaks for its parent" csrc/fork_posix.cc \
  'generation.fetch_add(1, std::memory_order_relaxed);' '' fork_test '*TheEndOfAChild*'
mutant "a child ends its parent's commit" csrc/protocol.cc \
  'return inherited() ? JM_ERR_FORKED : finish();' 'return finish();' fork_test '*WhatAChildMayDo'
mutant "a child waits for its parent's threads" csrc/segment.cc \
  'if (!protocol_.inherited()) writer_.~TicketLock();' 'writer_.~TicketLock();' fork_test '*WhatAChildMayDo'
mutant "a child takes a lock of its parent's threads" csrc/segment.cc \
  'if (!alone) {'$'\n''    writer_.lock();' 'if (true) {'$'\n''    writer_.lock();' fork_test '*WhatAChildMayDo'
mutant "a child arms its parent's watch" csrc/parker.cc \
  'if (watch->parker->inherited()) return JM_ERR_FORKED;' '' fork_test '*WhatAChildMayDo'

# Waiting.
mutant "nobody is woken" csrc/wait_linux.cc \
  'return futex(address, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, INT_MAX, nullptr) > 0;' 'return true;' \
  wait_test '*PingPong'
mutant "private memory is watched as shared" csrc/parker.cc \
  '{&watch->mapping->header()->sequence, static_cast<std::uint32_t>(watch->seen), watch->mapping->shared()});' \
  '{&watch->mapping->header()->sequence, static_cast<std::uint32_t>(watch->seen), true});' \
  parker_test '*IsWokenAtOnce'
mutant "a watch does not see that its segment is closed" csrc/parker.cc \
  'const bool closed = mapping.closed();' 'const bool closed = false;' parker_test '*RetiringASegment*'
mutant "a call that is refused is a call that is there" csrc/wait_linux.cc \
  'return result < 0 && errno == EINVAL ? kMostWords' 'return result < 0 && errno != ENOSYS ? kMostWords' \
  parker_test '*OneWord*'
mutant "a poll may take any time" csrc/mapping.cc \
  'poll_.store(std::clamp(nanoseconds, kShortestPoll, kLongestPoll), std::memory_order_relaxed);' \
  'poll_.store(nanoseconds, std::memory_order_relaxed);' protocol_test '*PollIntervals'
mutant "who comes after close stays counted" csrc/mapping.cc \
  'if (closed_.load(std::memory_order_seq_cst)) uncount_one();' '' protocol_test '*Counts*'
mutant "who leaves after close is taken out twice" csrc/mapping.cc \
  'if (announced == 0) return;' 'if (announced == 0) { uncount(1); return; }' protocol_test '*Counts*'
mutant "the count of readers goes below 0" csrc/mapping.cc \
  'while (!header_->waiters.compare_exchange_weak(waiters, waiters - std::min(waiters, readers),' \
  'while (!header_->waiters.compare_exchange_weak(waiters, waiters - readers,' protocol_test '*Counts*'
mutant "dead readers stay counted" csrc/mapping.cc \
  'if (absent_commits_ >= kAbsentCommits && now() - absent_since_ >= kAbsent) {' 'if (false) {' \
  protocol_test '*KilledReaders*'

# Streams: pins and slots.
pin='pins(index).fetch_or(bit_of(reader->number_), std::memory_order_seq_cst);'
mutant "stream: the writer does not look at the pins once the slot is odd" csrc/stream_protocol.cc \
  'if (pins(index).load(std::memory_order_seq_cst) == 0) return true;' 'return true;' stream_test '*StreamRace*'
mutant "stream: a frame is taken without a pin" csrc/stream_protocol.cc "$pin" '' stream_protocol_test '*Scripts'
mutant "stream: a reader takes what it finds in the slot" csrc/stream_protocol.cc \
  'if ((sequence & 1) == 0 && sequence >= 2 * newest) {' 'if (true) {' stream_protocol_test '*ComesLate'
mutant "stream: an older frame passes for the newest" csrc/stream_protocol.cc \
  'if ((sequence & 1) == 0 && sequence >= 2 * newest) {' 'if ((sequence & 1) == 0) {' stream_protocol_test '*ComesLate'
mutant "stream: any number passes for a frame's" csrc/stream_protocol.cc \
  'status = sequence / 2 > version() / 2 + 1 ? JM_ERR_CORRUPT :' 'status =' stream_protocol_test '*ComesLate'
mutant "stream: the newest may be overwritten" csrc/stream_protocol.cc \
  'return frame == 0 || (frame != frame_ && (!every_frame_ || frame < wanted_));' \
  'return frame == 0 || !every_frame_ || frame < wanted_;' stream_protocol_test '*Scripts'
mutant "stream: the writer waits for nobody" csrc/stream_protocol.cc \
  'return frame == 0 || (frame != frame_ && (!every_frame_ || frame < wanted_));' \
  'return frame == 0 || frame != frame_;' stream_protocol_test '*Scripts'
mutant "stream: slots in another order" csrc/stream_protocol.cc \
  'const std::uint32_t index = order_[every_frame_ ? slots_ - 1 - i : i];' 'const std::uint32_t index = order_[i];' \
  stream_protocol_test '*Scripts'
mutant "stream: the cursor is stored before the pin" csrc/stream_protocol.cc \
  "$pin"$'\n    const bool there' \
  $'head().places[reader->number_].cursor.store(frame + 1);\nconst std::uint32_t word = 0;\nconst wait::Word never = {&word, 0, false};\nwait::park_any(&never, 1, 100000);\n'"$pin"$'\n    const bool there' stream_test '*StreamRace*'
mutant "stream: what another holds is given back" csrc/stream_protocol.cc \
  'if (reader->held_[index].load(std::memory_order_relaxed) != frame.version) return;' '' stream_protocol_test '*Errors'
mutant "stream: an abort publishes" csrc/stream_protocol.cc \
  $'slot(index_)->sequence.store(0, std::memory_order_release);\n  frames_[index_] = 0;' \
  $'slot(index_)->sequence.store(2 * frame_ + 2);\n  head().sequence.store(2 * ++frame_);\n  frames_[index_] = 0;' \
  stream_protocol_test '*Scripts'
mutant "stream: an abort uses a number up" csrc/stream_protocol.cc \
  $'frames_[index_] = 0;\n  move_in_order(index_, false);' $'frames_[index_] = 0;\n  ++frame_;' \
  stream_protocol_test '*Scripts'
mutant "stream: an entry of the table is taken on trust" csrc/stream_protocol.cc \
  'if (index >= slots_) return JM_ERR_CORRUPT;' '' stream_protocol_test 'Hostile*'
mutant "stream: the layout is taken on trust" csrc/stream_protocol.cc \
  'block.stride < JM_DATA_OFFSET + found->capacity || block.stride > (bytes - block.first) / block.slots) {' \
  'block.stride < JM_DATA_OFFSET + found->capacity) {' stream_protocol_test '*NoStreams'
mutant "stream: the end stores to what is read only" csrc/stream_protocol.cc \
  'if (!writable_) return;  // no writer of this handle waits' '' stream_protocol_test '*ReadOnly'

# Streams: who comes, goes, waits and dies.
mutant "stream: a dead reader's pins are its heir's" csrc/stream_protocol.cc \
  'forget(number);  // what a dead reader left' '' stream_protocol_test 'Reclaim*'
mutant "stream: no second look at the sequence at the join" csrc/stream_protocol.cc \
  'reader->seen_ = head().sequence.load(std::memory_order_seq_cst) / 2;' \
  'reader->seen_ = frame_ - frame_;' stream_protocol_test '*Scripts'
mutant "stream: a reader that joins is not waited for" csrc/stream_protocol.cc \
  'if (cursor < oldest && (cursor == 0 || cursor + slots_ > frame_)) oldest = cursor;' \
  'if (cursor < oldest && cursor + slots_ > frame_) oldest = cursor;' stream_protocol_test '*JoinsIsWaitedFor'
mutant "stream: a cursor is left as others changed it" csrc/stream_protocol.cc \
  'if (cursor.load(std::memory_order_relaxed) != frame) {' 'if (false) {' stream_protocol_test '*PutsItsCursorRight'
mutant "stream: a release wakes no writer" csrc/stream_protocol.cc \
  $'pins(index).fetch_and(~bit_of(reader->number_), std::memory_order_seq_cst);\n  given_back();' \
  'pins(index).fetch_and(~bit_of(reader->number_), std::memory_order_seq_cst);' stream_protocol_test '*IsWoken'
mutant "stream: who leaves wakes no writer" csrc/stream_protocol.cc \
  $'if (own_ == 0) reader_locks_->close();\n  }\n  given_back();' $'if (own_ == 0) reader_locks_->close();\n  }' \
  stream_protocol_test '*IsWoken'
mutant "stream: a writer does not say that it waits" csrc/stream_protocol.cc \
  'head().writer_waits.store(1, std::memory_order_seq_cst);' '' stream_test 'Stream.PingPong'
mutant "stream: a commit wakes no reader" csrc/stream_protocol.cc \
  $'head().sequence.store(2 * frame_, std::memory_order_seq_cst);\n  committed();' \
  'head().sequence.store(2 * frame_, std::memory_order_seq_cst);' stream_test 'Stream.PingPong'
mutant "stream: the dead are not looked for" csrc/stream_protocol.cc \
  'if (index < 0 && reclaim()) {' 'if (false) {' stream_protocol_test 'Reclaim*'
mutant "stream: the dead are looked for late" csrc/stream_protocol.cc \
  "constexpr std::int64_t kLookForReaders = 40'000'000;" "constexpr std::int64_t kLookForReaders = 400'000'000;" \
  stream_test '*AReadersIsNoticedSoon'
mutant "stream: the living are taken for dead" csrc/stream_protocol.cc \
  'if (lock_->take(descriptor, 1 + number) != 0) return;' 'lock_->take(descriptor, 1 + number);' \
  stream_protocol_test 'Reclaim*'
mutant "stream: a dead one's lock is kept" csrc/stream_protocol.cc \
  'lock_->give(1 + number);' '' stream_protocol_test 'Reclaim*'
mutant "stream: a takeover forgets what was committed in a slot" csrc/stream_protocol.cc \
  '} else if (frames_[i] == frame_ + 1) {' '} else if (false) {' stream_protocol_test '*TakeOver*'
mutant "stream: a takeover keeps an odd slot" csrc/stream_protocol.cc \
  'if ((sequence & 1) != 0 || frames_[i] > frame_ + 1) {' 'if (frames_[i] > frame_ + 1) {' \
  stream_protocol_test '*TakeOver*'
mutant "stream: a takeover clears the metadata of what is held" csrc/stream_protocol.cc \
  'if (pins(i).load(std::memory_order_seq_cst) == 0) {' 'if (true) {' stream_protocol_test '*TakeOver*'
mutant "stream: what is kept is given back" csrc/stream.cc \
  'if (current_.version == frame.version) current_ = {};' '' stream_test '*WhatIsKept*'
mutant "stream: a Frame does not keep its frame" csrc/stream.cc 'keep(tensor);' '' stream_test '*AFrameIsGivenBack*'
mutant "stream: a Frame gives nothing back" csrc/stream.cc \
  'if (reader_ != nullptr) reader_->release(tensor_);' '' stream_test '*AFrameIsGivenBack*'
mutant "stream: a begin that fails keeps the lock" csrc/stream.cc \
  'if (!keep_lock || none || status != JM_OK) writer_.unlock();' 'if (!keep_lock || none) writer_.unlock();' \
  stream_test '*TimeoutsOfBothSides'

# Files.
mutant "a memfd that anybody may open" csrc/share_linux.cc \
  'if (fchmod(file, 0600) != 0 || ftruncate' 'if (ftruncate' share_test '*SealedDescriptors'
mutant "sealed against nothing" csrc/share_linux.cc \
  'return fcntl(descriptor, F_ADD_SEALS, seals) == 0 ? 0 : errno;' 'return seals * 0;' share_test '*SealedDescriptors'
mutant "not sealed against writing" csrc/share_linux.cc \
  'const int seals = F_SEAL_SHRINK | F_SEAL_GROW | (writes ? F_SEAL_FUTURE_WRITE : 0) | F_SEAL_SEAL;' \
  'const int seals = F_SEAL_SHRINK | F_SEAL_GROW | (writes ? 0 : 0) | F_SEAL_SEAL;' share_test '*SealedAgainstWriting'
mutant "a file with holes is mapped" csrc/mapping.cc \
  'if (error == 0 && reason == nullptr && !file.reserved) {' 'if (false) {' share_test '*FilesWithHoles'
mutant "a block is taken on trust" csrc/protocol.cc \
  'if (found->capacity == 0 || found->capacity > room) return "its capacity is larger than its file, or 0";' '' \
  share_test '*FilesThatAreNoSegments'
mutant "a signal ends a reservation" csrc/share_linux.cc '} while (error == EINTR);' '} while (false);' \
  share_test '*Interrupted'
mutant "signals interrupt a reservation" csrc/share_linux.cc 'const wait::WithoutSignals blocked;' '' \
  share_test '*Interrupted'
mutant "stat: a copy without the second look at sequence" csrc/stat.cc \
  'return after == look.version ? JM_OK : JM_ERR_BUSY;' 'return JM_OK;' stat_test 'StatCopy.*NeverTorn'
mutant "stat: what two looks agree on" csrc/stat.cc \
  'constexpr int kAgree = 8;' 'constexpr int kAgree = 2;' stat_test 'Stat.HalfOf*'
mutant "stat: looks at a writer that is stopped count" csrc/stat.cc \
  'if (after == before || metadata.none()) {' 'if (metadata.none()) {' stat_test 'Stat.HalfOf*'
mutant "stat: a frame that is not yet the newest" csrc/stat.cc \
  'if (look.version > sequence) continue;' '' stat_test 'StatCopy.AFrame*'
mutant "a copy of a frame that is not yet the newest" csrc/stream_protocol.cc \
  'return out->version >= 2 * newest && out->version <= version() ? copy(index, seen) : JM_ERR_BUSY;' \
  'return out->version >= 2 * newest ? copy(index, seen) : JM_ERR_BUSY;' stream_protocol_test '*CopiesOfTheNewest'
mutant "stat: a copy past the room for it" csrc/stat.cc \
  'if (length > to_->size) return JM_ERR_BUFFER;' '' stat_test 'StatCopy.Segment'
mutant "stat: a copy of what can't be true" csrc/stat.cc \
  'if (out->corrupt != nullptr) return JM_ERR_CORRUPT;' '' stat_test 'StatCopy.Corrupt'
mutant "without /proc nothing says so" csrc/share_linux.cc \
  'int link_error() noexcept { return errno == ENOENT || errno == ENOTDIR ? kNoProc : errno; }' \
  'int link_error() noexcept { return errno; }' share_test '*WithoutProc'

# Registration with CUDA.
mutant "CUDA: the memory goes first" csrc/mapping.cc \
  'const bool let_go = unregister_cuda(nullptr, 0) != JM_ERR_CUDA || cuda_ == nullptr;' 'const bool let_go = true;' \
  cuda_test 'Cuda.Segment'
mutant "CUDA: freed memory stays registered" csrc/mapping.cc \
  'if (unregister_cuda(nullptr, 0) == JM_ERR_CUDA && cuda_ != nullptr) {' 'if (false) {' cuda_test '*TheEndUnregisters'
mutant "CUDA: addresses that the driver keeps are unmapped" csrc/mapping.cc \
  'memory::retire(header_, mapped_, memory::page_size());' 'memory::unmap(header_, mapped_);' cuda_test '*StayTaken'
mutant "CUDA: what the driver has no more is kept for it" csrc/cuda.cc \
  'if (error == 0 || gone(error)) {' 'if (error == 0) {' cuda_test '*StayTaken'
mutant "CUDA: a context is not released" csrc/cuda.cc \
  $'driver->release(handle);\n    return failed(call, error);' 'return failed(call, error);' cuda_test '*WhatFailsIsUndone'
mutant "CUDA: a range stays registered" csrc/cuda.cc \
  'if (error != 0 && registered) driver->unregister_memory(base);' '' cuda_test '*WhatFailsIsUndone'
mutant "CUDA: a context stays current" csrc/cuda.cc \
  'const int pop_error = driver->pop(&popped);' 'const int pop_error = 0;' cuda_test '*ContextStays'
mutant "CUDA: the memory is the device's only" csrc/cuda.cc \
  'unsigned flags = kPortable | kDeviceMap;' 'unsigned flags = kDeviceMap;' cuda_test 'Cuda.Segment'
mutant "CUDA: read-only memory is registered for writing" csrc/cuda.cc 'flags |= kReadOnly;' '' \
  cuda_test '*WhatFailsIsUndone'
mutant "CUDA: a child unregisters its parent's memory" csrc/mapping.cc \
  "if (inherited()) return JM_ERR_FORKED;  // it is the parent's registration" '' cuda_test '*AForkedChild*'
mutant "CUDA: a closed handle is registered" csrc/mapping.cc \
  $'if (closed()) return JM_ERR_CLOSED;\n  if (inherited()) return JM_ERR_FORKED;\n  if (cuda_ != nullptr) {' \
  'if (cuda_ != nullptr) {' cuda_test '*TheEndUnregisters'
mutant "CUDA: any address is the device's" csrc/mapping.cc \
  'return base == 0 || offset >= mapped_ || closed()' 'return base == 0 || closed()' cuda_test 'Cuda.Segment'

# Element types.
mutant "a tie is rounded up" include/judemap/float.h \
  'const std::uint64_t odd = mantissa >> dropped & 1;' 'const std::uint64_t odd = 1;' dtype_test
mutant "a small float is rounded to a float first" include/judemap/float.h \
  'std::memcpy(&word, &value, sizeof word);' \
  'value = static_cast<float>(value); std::memcpy(&word, &value, sizeof word);' dtype_test
mutant "an integer wraps" csrc/dtype.cc \
  'if (!(whole < above && whole >= (std::numeric_limits<T>::is_signed ? -above : 0.0))) return false;' '' dtype_test
mutant "NaN is false" csrc/dtype.cc '*element = value != 0;' '*element = value > 0 || value < 0;' dtype_test
mutant "0.2 is false" csrc/dtype.cc '*element = value != 0;' '*element = static_cast<std::int64_t>(value) != 0;' dtype_test

# The tests pass with nothing broken: else what a mutant fails of need not be what was broken in it.
wait
while read -r test filter; do
  if ! out=$(run_test "$build/plain/$test" "$filter"); then
    echo "$out"
    echo "unbroken, $test $filter FAILS"
    exit 1
  fi
done < <(printf '%s\n' "${tests[@]}" | sort -u)
finish
