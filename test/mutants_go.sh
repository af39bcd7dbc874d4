#!/usr/bin/env bash
# Mutants of the Go package, and of the core as the package's tests see it; test/mutants.sh says what those are, and which
# are run.
set -uo pipefail
cd "$(dirname "$0")/.."
source test/mutants.sh
go=${GO:-go}

copy_sources() { # what the package and its tests are made of
  git ls-files -z --cached --others --exclude-standard -- '*.go' '*.cc' '*.c' '*.h' go.mod go.sum testdata \
    internal/demo/photo cmd/judemap/page | # what is embedded
    xargs -0 cp --parents -t "$1"
}

try() { # try TESTS PACKAGE FOLDER
  local out
  # A test that hangs is caught too: the go command ends it.
  if out=$(cd "$3" && JUDEMAP_STRESS=1s $go test -vet=off -count=1 -timeout 40s -run "$1" "$2" 2>&1); then
    echo "SURVIVED $1"
    return 1
  fi
  if grep -q -E 'build failed|setup failed' <<<"$out"; then
    echo "$out"
    echo "does not build"
    return 1
  fi
  echo "caught: $(grep -m1 -E '_test.go:[0-9]+:|^panic|^fatal|timed out' <<<"$out" | sed 's/^ *//' | cut -c1-140)"
}

mutant() { # mutant NAME FILE OLD NEW TESTS [PACKAGE]: OLD is text of FILE from the beginning of a line on
  in_background "$1" "$2" "$3" "$4" try "$5" "${6:-.}"
}

# What a reader sees is whole.
mutant "a view without the second look at sequence" read.go \
  'if load64(&h.sequence) != version {' 'if false {' TestStress
mutant "Valid always true" tensor.go \
  'valid := load64(&t.mapping.header.sequence) == t.version' 'valid := true' TestStress
mutant "a copy without the second look at sequence" include/judemap/seqlock.h \
  'if (header.sequence.load(std::memory_order_relaxed) != before) return Attempt::kTorn;' '' TestStress
mutant "View takes what it saw for whole" read.go 'if t.Valid() {' 'if true {' 'TestView|TestStress'
mutant "a header is trusted" csrc/tensor.cc \
  'if (metadata.none()) return nullptr;' 'return nullptr;' 'TestHeaders|FuzzHeader'
mutant "Go takes a dimension of 2^63" read.go \
  'bytes, overflow = lo, overflow|hi|n>>(bits.UintSize-1)' 'bytes, overflow = lo, overflow|hi' TestHeaders
mutant "a copy may take any memory" read.go 'if t.length > s.maxBytes {' 'if false {' TestMaxBytes

# Writing, and its end.
mutant "an update that fails is committed" judemap.go 'filled := false' 'filled := true' 'TestUpdateGivesUp|TestNoLock'
mutant "a panic leaves the lock held" judemap.go \
  $'defer s.unlockWriting()\n\tdata, err := s.mapping.core.begin(shape, dtype)' \
  $'data, err := s.mapping.core.begin(shape, dtype)' 'TestNoLockStaysHeld|TestUpdateGivesUp'
mutant "Close gives nothing back before it returns" handle.go \
  $'s.ended.Store(true)\n\t\ts.finish()' $'s.ended.Store(true)\n\t\tgo s.finish()' 'TestEndOfMain|TestHandOver'
mutant "a write that outlives Close gives nothing back" handle.go \
  $'if s.ended.Load() {\n\t\ts.finish()' $'if false {\n\t\ts.finish()' 'TestCloseDuringUpdate|TestCloseBesideWriters'
mutant "the lock is given back by closing" csrc/share_posix.cc \
  'if (file_.get() >= 0) posix::lock(file_.get(), F_UNLCK, byte);' 'static_cast<void>(byte);' TestHandOverBesideChildren
mutant "closed memory is not kept" csrc/mapping.cc \
  'const int error = memory::retire(header_, mapped_, all_stays_writable_ ? mapped_ : memory::page_size());' 'memory::unmap(header_, mapped_); const int error = 0;' 'TestCloseUnderLoad|TestAfterClose'
mutant "readers get no turn" read.go 'if wait = time.Until(turn); wait <= 0 {' 'if wait = time.Until(turn); false {' \
  'TestReadersFinish$'
mutant "forgotten segments bring about no collection" mapping.go \
  'func (l *mappingLedger) full() bool {' 'func (l *mappingLedger) full() bool { return false; }; func (l *mappingLedger) never() bool {' \
  TestForgotten

# Streams.
mutant "the next Next gives nothing back" stream.go \
  'err := p.core.take(before.version, before.data, t)' 'err := p.core.take(0, before.data, t)' 'TestStreamKeep'
mutant "a reader that is joining has joined" stream.go \
  'func (r ReaderInfo) joins() bool { return r.Next == 0 && !r.Dead }' \
  'func (r ReaderInfo) joins() bool { return false }' TestStreamJoiningReader
mutant "Keep keeps nothing" stream.go \
  $'defer r.place.mu.Unlock()\n\tif r.current.version == t.version {\n\t\tr.current.version = 0\n\t}\n}' \
  $'defer r.place.mu.Unlock()\n}' 'TestStreamKeep|TestStreamFrames'
mutant "Release gives nothing back" stream.go 'r.place.core.release(t.version, t.data)' '' 'TestStreamKeep|TestStreamWriterWaits'
mutant "Close of a Reader gives nothing back" stream.go \
  $'if r.place != nil {\n\t\tr.stream.leave(r.place)' $'if false {\n\t\tr.stream.leave(r.place)' \
  'TestStreamMostReaders|TestStreamWriterWaits'
mutant "Close of a Reader wakes nobody that is about to park" stream.go \
  'for r.stream.waiters.wake(); r.parks.Load(); {' 'for r.stream.waiters.wake(); false; {' TestStreamReaderCloseAcrossProcesses
mutant "a forgotten Reader keeps its place" stream.go $'s.leave(p)\n\t\tp.core.free()' '_ = p' TestStreamForgottenReaders
mutant "forgotten Streams count with one slot" mapping.go \
  'm := &mapping{core: c, header: c.base(), owned: &owned{core: c, open: true, bytes: uint64(c.bytes())}}' \
  'm := &mapping{core: c, header: c.base(), owned: &owned{core: c, open: true, bytes: uint64(c.capacity())}}' TestStreamForgotten$
mutant "one cycle of the collector is enough" mapping.go \
  'for cycle := 0; cycle < 2 && full; cycle++ {' 'for cycle := 0; cycle < 1 && full; cycle++ {' TestStreamForgotten$
mutant "a closed Reader stays with its contexts" wait.go \
  $'if a := k.kept.Swap(nil); a != nil {\n\t\ta.cancel()' $'if a := k.kept.Swap(nil); false {\n\t\ta.cancel()' TestStreamContexts
mutant "Valid ignores what is held" tensor.go \
  'if t.mapping.slot != nil && t.mapping.slot.holds(t.version) {' 'if false {' TestStreamKeep
mutant "what was given back is valid" stream.go \
  'held := load64(&l.reader.place.held[l.index]) == version' 'held := true' TestStreamKeep
mutant "a reader that nobody waits for where every frame counts" stream.go \
  $'if s.every {\n\t\t\treturn nil' $'if false {\n\t\t\treturn nil' TestStreamCopies
mutant "a copy of a frame may take any memory" stream.go \
  'if err == nil && t.length > s.maxBytes {' 'if false {' 'TestStreamCopies|TestStreamReadCopy'
mutant "a stream's update that fails is committed" stream.go 'filled := false' 'filled := true' TestStreamUpdateGivesUp
mutant "a stream's panic leaves the lock held" stream.go \
  $'defer s.unlockWriting()\n\tdata, err := s.mapping.core.streamBegin(shape, dtype)' \
  $'data, err := s.mapping.core.streamBegin(shape, dtype)' TestStreamUpdateGivesUp
mutant "a stream of the other policy is as good" stream.go 'case s.every != o.everyFrame:' 'case false:' TestOpenOrCreateStream
mutant "Next goes on past its context" stream.go 'if s.sequence()&1 != 0 {' 'if false {' TestStreamVectors
mutant "slots of one frame are believed" csrc/stream_protocol.cc \
  'if (frame == 0 || frame + slots_ <= last) continue;' 'continue;' TestStreamVectors
mutant "a writer that waits is not woken" csrc/stream_protocol.cc \
  'wait::wake_all(&head().released, shared_);' '' TestStreamWriterWaits
mutant "dead readers hold a writer up for ever" csrc/stream_protocol.cc \
  'if (index < 0 && reclaim()) {' 'if (false) {' TestStreamReaderDies
mutant "Next has frames after a call has seen the end" stream.go \
  'if p.left || !r.stream.open.Load() {' 'if p.left {' TestStreamCloseUnderLoad
mutant "a writer ends a stream before its readers have left" handle.go \
  $'if s.ended.Load() {\n\t\ts.finish()' $'if !s.open.Load() {\n\t\ts.finish()' TestStreamCloseDuringUpdate
mutant "a living reader loses its pins" csrc/stream_protocol.cc \
  'if (lock_->take(descriptor, 1 + number) != 0) return;' 'lock_->take(descriptor, 1 + number);' 'TestStreamReaderDies|TestStreamNoSlot|TestStreamWriterContext'
mutant "the next writer of a stream puts nothing right" csrc/stream_protocol.cc \
  $'if (const jm_status status = become_writer()) return status;\n  recover();' \
  $'if (const jm_status status = become_writer()) return status;' 'TestStreamWriterDies|TestStreamKill'
mutant "List leaves streams out" csrc/capi.cc \
  'if (magic == JM_MAGIC || magic == JM_STREAM_MAGIC) return name;' 'if (magic == JM_MAGIC) return name;' TestStreamNames

# Waiting.
mutant "a commit that wakes nobody" handle.go $'s.letGo()\n\ts.waiters.wake()' 's.letGo()' TestNoLostWake
mutant "no second look before parking" wait.go \
  'case s.sequence() != seen || !s.open.Load() || over.Load():' 'case false:' TestNoLostWake
mutant "the drainer wakes nobody" wait.go 'waiters.wake()' '_ = waiters' TestWaitAcrossProcesses
mutant "a leader wakes nobody" wait.go 'close(w.end())' 'w.end()' 'TestWait|TestManyParked'
mutant "a leader that leaves leaves nobody in its place" wait.go \
  'if token, err := s.watch(seen); err == nil {' 'if token, err := uint64(0), error(nil); err == nil {' 'TestLeaderLeaves'
mutant "a commit wakes no other process" csrc/mapping.cc \
  'const bool woken = wait::wake_all(&header_->sequence, shared_);' 'const bool woken = true;' TestWakesAtOnce
mutant "every commit makes a system call" csrc/mapping.cc \
  'if (waiters == 0) return false;' '' TestCommitsWithoutSystemCalls
mutant "one processor is given to a thread that blocks" wait.go \
  'if threadsParked.Add(1) <= mostThreadsParked && runtime.GOMAXPROCS(0) > 1 {' \
  'if threadsParked.Add(1) <= mostThreadsParked {' TestOneProcessor
mutant "dead readers stay counted" csrc/mapping.cc \
  'if (absent_commits_ >= kAbsentCommits && now() - absent_since_ >= kAbsent) {' 'if (false) {' TestDeadReadersAreForgotten

# Other processes.
mutant "a dead writer goes unnoticed" csrc/mapping.cc \
  'const bool dead = writer() == JM_WRITER_DIED;' 'const bool dead = false;' TestWriterDies
mutant "a live writer counts as dead" csrc/mapping.cc \
  'if (share::locked(descriptor_.load(std::memory_order_relaxed), 0, &locked) != 0 || locked) {' 'if (false) {' TestProcesses
mutant "no lock between writers" csrc/mapping.cc \
  'if (error == EAGAIN) return JM_ERR_WRITER_ACTIVE;' '' TestWriterDies
mutant "the next writer repairs nothing" csrc/protocol.cc 'if (version() & 1) {' 'if (false) {' TestKill
mutant "a writer beside foreign ones dies unnoticed" csrc/mapping.cc 'if (!flagged()) return false;' 'return false;' \
  TestForeignWriterDies
mutant "a reader's lock passes for a writer's" csrc/share_posix.cc \
  'struct flock lock = lock_of(F_RDLCK, byte);' 'struct flock lock = lock_of(F_WRLCK, byte);' 'TestLockedByReader|TestHostileLocks'
mutant "List opens what this process has open" csrc/share_posix.cc 'is_own = true;' 'continue;' TestListKeepsLocks
mutant "stat: a copy without the second look at sequence" csrc/stat.cc \
  'return after == look.version ? JM_OK : JM_ERR_BUSY;' 'return JM_OK;' TestStatCopyStress
mutant "stat: two files of one name are the same" judemap_cgo.go \
  'i.File = FileID{Device: uint64(info.file.device), Index: uint64(info.file.index)}' 'i.File = FileID{Device: 1}' \
  TestStatTellsFilesApart
mutant "stat: a look copies what was made anew" internal/live/source.go \
  'case info.File != s.id:' 'case false:' TestCopyRemade ./internal/live
mutant "a file with holes is mapped" csrc/mapping.cc \
  'if (error == 0 && reason == nullptr && !file.reserved) {' 'if (false) {' 'TestFullSharedMemory|TestHugeSparse'
mutant "a memfd that anybody may open" csrc/share_linux.cc \
  'if (fchmod(file, 0600) != 0 || ftruncate' 'if (ftruncate' TestHandedOver
mutant "not sealed against writing" csrc/share_linux.cc \
  'const int seals = F_SEAL_SHRINK | F_SEAL_GROW | (writes ? F_SEAL_FUTURE_WRITE : 0) | F_SEAL_SEAL;' \
  'const int seals = F_SEAL_SHRINK | F_SEAL_GROW | (writes ? 0 : 0) | F_SEAL_SEAL;' TestHandedOver
mutant "a segment's descriptor survives exec" csrc/share_posix.h \
  'inline int access_mode(bool writable) noexcept { return (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC; }' \
  'inline int access_mode(bool writable) noexcept { return writable ? O_RDWR : O_RDONLY; }' TestCloseOnExec
mutant "a poll may take any time" csrc/mapping.cc \
  'poll_.store(std::clamp(nanoseconds, kShortestPoll, kLongestPoll), std::memory_order_relaxed);' \
  'poll_.store(nanoseconds, std::memory_order_relaxed);' TestPollIntervals
mutant "an option without effect is no error" option.go \
  'if opt.apply != nil && opt.calls&call == 0 {' 'if false {' TestOptionsAndCalls
mutant "OpenOrCreate takes what is too small" share.go \
  'if s.capacity < capacity || capacity <= 0 {' 'if false {' TestOpenOrCreate

# The command's pipes.
mutant "put takes a part of a frame for the end" cmd/judemap/put_raw.go \
  $'case err == io.EOF:\n\t\treturn err' $'case err == io.EOF, err == io.ErrUnexpectedEOF:\n\t\treturn io.EOF' 'TestPutRaw$' ./cmd/judemap
mutant "put takes no name over that has fewer slots" cmd/judemap/put_raw.go \
  'room.slots = min(there.Slots(), defaultSlots)' '' TestPutRawToWhatIsThere ./cmd/judemap
mutant "a slow reader slows the pipe" cmd/judemap/put_raw.go \
  'if err := p.commit(p.ended); err == nil' 'if err := p.commit(ctx); err == nil' TestPutRawSlowReader ./cmd/judemap
mutant "put leaves the last frame out" cmd/judemap/put_raw.go \
  'if !p.pending {' 'if true {' TestPutRawSlowReader ./cmd/judemap
mutant "get ends when a writer dies" cmd/judemap/get.go \
  'if errors.Is(err, judemap.ErrWriterDied) && !untilEnd {' 'if false {' TestGetWriterDies ./cmd/judemap
mutant "get takes frames of any shape" cmd/judemap/get.go \
  '} else if t.DType() != g.format.dtype || !slices.Equal(t.Shape(), g.format.shape) {' \
  '} else if t.DType() != g.format.dtype {' TestGetOtherFrames ./cmd/judemap

# The demo.
mutant "demo: a frame may be of another version" internal/demo/worker.go \
  'right = right && code.number == layout.Commits(frame.Version())' '' TestConsumerChecks ./internal/demo
mutant "demo: a frame is looked at once" internal/demo/worker.go \
  'for n.Passes++; right && now()-at < c.work && ctx.Err() == nil; n.Passes++ {' 'for n.Passes++; false; n.Passes++ {' \
  TestConsumerChecks ./internal/demo
mutant "demo: slots that were taken away are held" internal/demo/worker.go \
  'case !valid || !right:' 'case !right:' TestConsumerChecks ./internal/demo
mutant "demo: frames may be neither delivered nor missed" internal/demo/report.go \
  'if d.carrier.holds() && !d.options.Chaos {' 'if false {' TestDemoReport ./internal/demo
mutant "demo: its keeper does nothing" internal/demo/keeper.go \
  '_ = judemap.Remove(name)             //' '//' TestDemoInterrupted ./cmd/judemap
mutant "demo: what others left stays" internal/demo/keeper.go \
  '_ = judemap.Remove(name) // not permitted' '// not permitted' TestDemoSweeps ./cmd/judemap

# NumPy's files.
mutant "npy: a header of any length" internal/npy/header.go 'if length > maxText {' 'if false {' TestReadClaims ./internal/npy
mutant "npy: elements that the file has not" internal/npy/npy.go \
  'if left := length - start; h.lengthKnown && left != int64(h.Bytes) {' 'if left := length - start; false {' \
  TestReadRefuses ./internal/npy
mutant "npy: memory for what is only claimed" internal/npy/npy.go \
  'if !h.lengthKnown {' 'if false {' TestReadClaims ./internal/npy
mutant "npy: a stream that goes on" internal/npy/npy.go \
  'switch _, err := io.ReadFull(r, make([]byte, 1)); err {' 'switch err := error(io.EOF); err {' TestReadStreamRefuses ./internal/npy
mutant "npy: a size that overflows" internal/npy/element.go \
  'if overflow != 0 || size > math.MaxInt {' 'if size > math.MaxInt {' TestReadRefuses ./internal/npy
mutant "npy: a complex number as one word" internal/npy/npy.go 'word /= 2' '' TestRead ./internal/npy
mutant "npy: columns taken for rows" internal/npy/npy.go 'if h.columnMajor {' 'if false {' TestRead ./internal/npy
mutant "npy: a key twice" internal/npy/header.go 'if seen[key] {' 'if false {' TestReadRefuses ./internal/npy
mutant "npy: a number for a tuple" internal/npy/header.go \
  "if p.expect(\")\"); len(shape) == 1 {" "if p.expect(\")\"); false {" TestReadRefuses ./internal/npy
mutant "serve: each client gets a copy of an event" cmd/judemap/serve_http.go \
  'if _, err = w.Write(e.text); err == nil {' 'if _, err = w.Write(append([]byte(nil), e.text...)); err == nil {' \
  TestServeSlowClients ./cmd/judemap
mutant "npy: more than --max-bytes" cmd/judemap/npy.go \
  'if int64(h.Bytes) > maxBytes-h.Start {' 'if false {' TestPutLimits ./cmd/judemap

# Registration with CUDA.
mutant "CUDA: an error of the end is lost" handle.go 'if cudaErr != nil {' 'if false {' TestUnregisterCUDAFails
mutant "CUDA: registered beside the end" cuda.go \
  $'return ErrClosed\n\t}\n\terr := s.mapping.core.registerCUDA(device)' \
  $'s.mapping.core.registerCUDA(device)\n\t}\n\terr := s.mapping.core.registerCUDA(device)' 'TestCUDAZero|TestRegisterCUDA'
mutant "CUDA: a large number is another device's" cuda.go \
  'if device < 0 || device > math.MaxInt32 {' 'if device < 0 || device > math.MaxInt {' TestRegisterCUDAFails
mutant "CUDA: a forgotten segment stays registered" csrc/mapping.cc \
  'if (unregister_cuda(nullptr, 0) == JM_ERR_CUDA && cuda_ != nullptr) {' 'if (false) {' TestForgottenCUDA

finish
