//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "judemap/stream_protocol.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "clock.h"
#include "dtype.h"
#include "fork.h"
#include "memory.h"
#include "payload.h"
#include "share.h"
#include "tensor.h"
#include "wait.h"

namespace judemap {
namespace {

// How often a writer without a slot looks for dead readers, which give nothing back.
constexpr std::int64_t kLookForReaders = 40'000'000;  // ns

constexpr std::uint64_t bit_of(unsigned number) noexcept { return std::uint64_t{1} << number; }

// Calls `use` with the number of each bit that is set in a word.
template <class Use>
void each_bit(std::uint64_t word, Use&& use) {
  for (unsigned number = 0; word != 0; ++number, word >>= 1) {
    if (word & 1) use(number);
  }
}

// The bytes from the start of the stream to slot 0, and from one slot to the next.
std::size_t first_for() noexcept { return memory::whole_pages(JM_STREAM_HEADER); }
std::size_t stride_for(std::uint64_t capacity) noexcept {
  return capacity == 0 || capacity > PTRDIFF_MAX - JM_DATA_OFFSET ? 0 : memory::whole_pages(JM_DATA_OFFSET + capacity);
}

// The size of a stream in bytes; 0 if that is more than can be addressed.
std::size_t size_for(std::uint32_t slots, std::size_t stride) noexcept {
  if (stride == 0 || stride > (PTRDIFF_MAX - first_for()) / slots) return 0;
  return memory::whole_pages(first_for() + std::uint64_t{slots} * stride);
}

}  // namespace

// ---- Making and opening ---------------------------------------------------------------------------------------------

StreamProtocol::StreamProtocol() noexcept {
  all_stays_writable_ = true;  // a reader may give back a slot after the end
}

StreamProtocol::~StreamProtocol() {
  if (header_ != nullptr) close();
}

void StreamProtocol::adopt_layout(const jm_stream_block& block, bool every_frame) noexcept {
  slots_ = block.slots;
  first_ = static_cast<std::size_t>(block.first);
  stride_ = static_cast<std::size_t>(block.stride);
  every_frame_ = every_frame;
  for (std::uint32_t i = 0; i < slots_; ++i) order_[i] = static_cast<std::uint8_t>(i);
}

namespace {

// Fills in the block of a new stream's header. JM_ERR_ARGUMENT for a number of slots that is not possible,
// JM_ERR_CAPACITY.
jm_status new_block(std::uint32_t slots, std::uint64_t capacity, std::uint32_t flags, jm_stream_block* block,
                    std::size_t* size) noexcept {
  if (slots < 2 || slots > JM_STREAM_SLOTS || (flags & JM_FOREIGN_WRITERS) != 0) return JM_ERR_ARGUMENT;
  *block = {};
  block->slots = slots;
  block->readers = JM_STREAM_READERS;
  block->first = first_for();
  block->stride = stride_for(capacity);
  *size = size_for(slots, stride_for(capacity));
  return *size == 0 ? JM_ERR_CAPACITY : JM_OK;
}

}  // namespace

jm_status StreamProtocol::create(std::uint32_t slots, std::uint64_t capacity, std::uint32_t flags) noexcept {
  jm_stream_block block;
  std::size_t size;
  if (const jm_status status = new_block(slots, capacity, flags, &block, &size)) return status;
  if (const jm_status status = make(size, capacity, flags)) return status;
  adopt_layout(block, (flags & JM_EVERY_FRAME) != 0);
  return JM_OK;
}

jm_status StreamProtocol::create(const char* name, std::uint32_t slots, std::uint64_t capacity, std::uint32_t mode,
                                 std::uint32_t flags) noexcept {
  jm_stream_block block;
  std::size_t size;
  if (const jm_status status = new_block(slots, capacity, flags, &block, &size)) return status;
  const std::uint32_t policy = (flags & JM_EVERY_FRAME) != 0 ? JM_FLAG_EVERY_FRAME : 0;
  if (const jm_status status = make_named(name, size, mode, flags, {JM_STREAM_MAGIC, policy, capacity, &block})) {
    return status;
  }
  adopt_layout(block, policy != 0);
  return JM_OK;
}

jm_status StreamProtocol::create_sealed(std::uint32_t slots, std::uint64_t capacity, std::uint32_t flags) noexcept {
  jm_stream_block block;
  std::size_t size;
  if (const jm_status status = new_block(slots, capacity, flags, &block, &size)) return status;
  const std::uint32_t policy = (flags & JM_EVERY_FRAME) != 0 ? JM_FLAG_EVERY_FRAME : 0;
  if (const jm_status status = make_nameless(size, flags, {JM_STREAM_MAGIC, policy, capacity, &block})) return status;
  adopt_layout(block, policy != 0);
  return JM_OK;
}

jm_status StreamProtocol::open(const char* name, std::uint32_t flags, const char** why) noexcept {
  Found found;
  if (const jm_status status = open_named(name, flags, judge, &found, why)) return status;
  adopt_layout(found.stream, found.every_frame);
  return JM_OK;
}

jm_status StreamProtocol::open(int descriptor, std::uint32_t flags, const char** why) noexcept {
  Found found;
  if (const jm_status status = open_descriptor(descriptor, flags, judge, &found, why)) return status;
  adopt_layout(found.stream, found.every_frame);
  return JM_OK;
}

const char* StreamProtocol::judge(const jm_header& first, std::uint64_t bytes, Found* found) noexcept {
  const std::uint32_t magic = first.magic.load(std::memory_order_relaxed);
  if (magic == JM_MAGIC || magic == 0) return "it is a segment, and opens as one";
  if (magic != JM_STREAM_MAGIC) return "its magic number is another one";
  jm_stream_block& block = found->stream;
  std::memcpy(&block, first.later, sizeof block);
  found->block = true;
  found->every_frame = (first.flags.load(std::memory_order_relaxed) & JM_FLAG_EVERY_FRAME) != 0;
  found->capacity = first.capacity.load(std::memory_order_relaxed);
  if (block.slots < 2 || block.slots > JM_STREAM_SLOTS) return "it has fewer than 2 slots, or more than 256";
  if (block.readers != JM_STREAM_READERS) return "it has places for another number of readers";
  // Slots begin on 256-byte boundaries at least, and on page boundaries of the creator.
  if (block.first < JM_STREAM_HEADER || block.first > bytes || block.first % 4096 != 0 || block.stride % 4096 != 0) {
    return "its slots lie where they can't";
  }
  if (found->capacity == 0 || found->capacity > PTRDIFF_MAX - JM_DATA_OFFSET ||
      block.stride < JM_DATA_OFFSET + found->capacity || block.stride > (bytes - block.first) / block.slots) {
    return "its slots are larger than its file, or empty";
  }
  return nullptr;
}

// ---- The writer -----------------------------------------------------------------------------------------------------

jm_status StreamProtocol::attach() noexcept {
  if (const jm_status status = become_writer()) return status;
  recover();
  return JM_OK;
}

// Repairs what the previous writer has left. If it died after it had ended a commit in the slot and before it did in
// the header, the frame counts, because a reader may already have it. If it died in the middle of a commit, the slot is
// made empty.
void StreamProtocol::recover() noexcept {
  frame_ = head().sequence.load(std::memory_order_seq_cst) / 2;
  std::uint64_t last = frame_;
  for (std::uint32_t i = 0; i < slots_; ++i) {
    jm_header& slot = *this->slot(i);
    const std::uint64_t sequence = slot.sequence.load(std::memory_order_acquire);
    frames_[i] = sequence / 2;
    if ((sequence & 1) != 0 || frames_[i] > frame_ + 1) {
      // A reader that has pinned the slot may have had it before the writer made the sequence odd, if the writer died
      // before it looked at the pins. The metadata is then that of a frame that is held.
      if (pins(i).load(std::memory_order_seq_cst) == 0) {
        slot.sequence.store(1, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_release);
        store_metadata(slot, Metadata{});
      }
      slot.sequence.store(0, std::memory_order_release);
      frames_[i] = 0;
    } else if (frames_[i] == frame_ + 1) {
      last = frames_[i];
      head().table[last % slots_].store(i, std::memory_order_relaxed);
    }
    order_[i] = static_cast<std::uint8_t>(i);
  }
  // If two slots say that they have the same frame, a program that does not follow the protocol wrote to the stream.
  // The slot of the newest frame is never written to, so otherwise there might be no slot that can be written to.
  for (std::uint32_t i = 0; i < slots_; ++i) {
    const std::uint64_t frame = frames_[i];
    if (frame == 0 || frame + slots_ <= last) continue;  // older frames have no entry any more
    if (head().table[frame % slots_].load(std::memory_order_relaxed) == i) continue;
    slot(i)->sequence.store(0, std::memory_order_release);
    frames_[i] = 0;
  }
  std::sort(order_, order_ + slots_, [this](std::uint8_t a, std::uint8_t b) { return frames_[a] < frames_[b]; });
  frame_ = last;
  wanted_ = 0;
  head().sequence.store(2 * frame_, std::memory_order_seq_cst);
  wake_waiters();  // the previous writer may have died between its commit and the wake
}

// The oldest of the frames that readers want next; if there are no readers, the frame after the newest one.
std::uint64_t StreamProtocol::oldest_wanted() const noexcept {
  std::uint64_t oldest = frame_ + 1;
  // Sequentially consistent, and after the commit's store to sequence: see join().
  each_bit(head().readers.load(std::memory_order_seq_cst), [&](unsigned number) {
    // Acquire: pairs with hold(), where the pin comes before the cursor. Sequentially consistent, and after
    // announce_writer()'s store to writer_waits.
    const std::uint64_t cursor = head().places[number].cursor.load(std::memory_order_seq_cst);
    // 0 means that the reader joins. Otherwise a living reader is at most `slots` behind. A cursor that is further
    // behind was not stored by a reader, and must not make the writer wait.
    if (cursor < oldest && (cursor == 0 || cursor + slots_ > frame_)) oldest = cursor;
  });
  return oldest;
}

// Whether a slot's frame may be overwritten. This does not look at the pins.
bool StreamProtocol::may_write(std::uint32_t index) const noexcept {
  const std::uint64_t frame = frames_[index];
  return frame == 0 || (frame != frame_ && (!every_frame_ || frame < wanted_));
}

// Makes the slot's sequence odd. Returns false if a reader holds the slot.
bool StreamProtocol::mark(std::uint32_t index) noexcept {
  if (pins(index).load(std::memory_order_acquire) != 0) return false;
  std::atomic<std::uint64_t>& sequence = slot(index)->sequence;
  const std::uint64_t before = 2 * frames_[index];
  sequence.store(before | 1, std::memory_order_relaxed);
  // The store of the odd sequence comes before the look at the pins. This is also the release fence before the stores
  // to the slot (W1 of seqlock.h).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (pins(index).load(std::memory_order_seq_cst) == 0) return true;
  sequence.store(before, std::memory_order_release);  // nothing was written
  return false;
}

int StreamProtocol::choose() noexcept {
  for (std::uint32_t i = 0; i < slots_; ++i) {
    const std::uint32_t index = order_[every_frame_ ? slots_ - 1 - i : i];
    if (may_write(index) && mark(index)) return static_cast<int>(index);
  }
  return -1;
}

// Takes back what dead readers held. Returns whether there was one.
bool StreamProtocol::reclaim() noexcept {
  if (!shared_) return false;
  const std::int64_t time = now();
  if (time - looked_for_dead_ < kLookForReaders) return false;
  looked_for_dead_ = time;
  std::uint64_t present = head().readers.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < slots_; ++i) present |= pins(i).load(std::memory_order_relaxed);
  bool found = false;
  each_bit(present, [&](unsigned number) {
    // Take the lock instead of only asking for it: a new reader with this number could come in between, and would lose
    // its pin.
    const int descriptor = descriptor_.load(std::memory_order_relaxed);
    if (lock_->take(descriptor, 1 + number) != 0) return;
    forget(number);
    lock_->give(1 + number);
    found = true;
  });
  return found;
}

// Clears the pins and the place of a reader's number. Called by its owner, or with its lock held.
void StreamProtocol::forget(unsigned number) noexcept {
  const std::uint64_t bit = bit_of(number);
  for (std::uint32_t i = 0; i < slots_; ++i) {
    if ((pins(i).load(std::memory_order_relaxed) & bit) != 0) pins(i).fetch_and(~bit, std::memory_order_seq_cst);
  }
  head().readers.fetch_and(~bit, std::memory_order_seq_cst);
}

jm_status StreamProtocol::open_commit(const Metadata& metadata) noexcept {
  if (closed()) return JM_ERR_CLOSED;
  if (inherited()) return JM_ERR_FORKED;
  if (committing_) return JM_ERR_ARGUMENT;
  if (!attached_.load(std::memory_order_relaxed)) {
    if (const jm_status status = attach()) return status;
  }
  int index = choose();
  if (index < 0) {
    // Without JM_EVERY_FRAME, a reader may have moved from one slot to another while the writer looked at one after the
    // other.
    wanted_ = oldest_wanted();
    index = choose();
  }
  if (index < 0 && reclaim()) {
    wanted_ = oldest_wanted();
    index = choose();
  }
  if (index < 0) return JM_ERR_NO_SLOT;
  index_ = static_cast<std::uint32_t>(index);
  committing_ = true;
  store_metadata(*slot(index_), metadata);
  return JM_OK;
}

void StreamProtocol::move_in_order(std::uint32_t index, bool newest) noexcept {
  std::uint8_t* const at = std::find(order_, order_ + slots_, static_cast<std::uint8_t>(index));
  if (newest) {
    std::move(at + 1, order_ + slots_, at);
    order_[slots_ - 1] = static_cast<std::uint8_t>(index);
  } else {
    std::move_backward(order_, at, at + 1);
    order_[0] = static_cast<std::uint8_t>(index);
  }
}

jm_status StreamProtocol::commit() noexcept {
  // A forked child has in its copy of the handle the commit that its parent began, and shares the memory itself.
  if (inherited()) return JM_ERR_FORKED;
  if (!committing_) return JM_ERR_ARGUMENT;
  committing_ = false;
  ++frame_;
  frames_[index_] = frame_;
  move_in_order(index_, true);
  // W2 of seqlock.h; release: pairs with the load in hold().
  slot(index_)->sequence.store(2 * frame_, std::memory_order_release);
  head().table[frame_ % slots_].store(index_, std::memory_order_relaxed);
  // Sequentially consistent, and before the look for parked readers and for places.
  head().sequence.store(2 * frame_, std::memory_order_seq_cst);
  committed();
  return JM_OK;
}

jm_status StreamProtocol::abort() noexcept {
  if (inherited()) return JM_ERR_FORKED;
  if (!committing_) return JM_ERR_ARGUMENT;
  committing_ = false;
  store_metadata(*slot(index_), Metadata{});
  slot(index_)->sequence.store(0, std::memory_order_release);
  frames_[index_] = 0;
  move_in_order(index_, false);
  return JM_OK;
}

jm_status StreamProtocol::begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data_out,
                                std::uint64_t* length) noexcept {
  Metadata metadata;
  if (const jm_status status = describe(shape, ndim, dtype, capacity_, &metadata)) return status;
  if (const jm_status status = open_commit(metadata)) return status;
  *data_out = data(index_);
  *length = metadata.byte_length;
  return JM_OK;
}

jm_status StreamProtocol::write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* source,
                                std::uint64_t length) noexcept {
  Metadata metadata;
  if (const jm_status status = describe(shape, ndim, dtype, capacity_, &metadata)) return status;
  if (length != metadata.byte_length) return JM_ERR_SHAPE;
  if (source == nullptr && length != 0) return JM_ERR_ARGUMENT;
  if (const jm_status status = open_commit(metadata)) return status;
  payload::copy(data(index_), source, static_cast<std::size_t>(length), threads_);
  return commit();
}

jm_status StreamProtocol::fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype,
                               double value) noexcept {
  Metadata metadata;
  std::uint64_t pattern;
  if (const jm_status status = describe(shape, ndim, dtype, capacity_, &metadata)) return status;
  if (const jm_status status = fill_pattern(dtype, value, &pattern)) return status;
  if (const jm_status status = open_commit(metadata)) return status;
  payload::fill(data(index_), static_cast<std::size_t>(metadata.byte_length), pattern, threads_);
  return commit();
}

// writer_waits is sequentially consistent with the pins and cursors. Either this look sees what was given back, or the
// reader that gives back sees that a writer waits, and changes `released` after it was loaded here.
jm_status StreamProtocol::announce_writer(std::uint32_t* seen) noexcept {
  if (closed()) return JM_ERR_CLOSED;
  if (inherited()) return JM_ERR_FORKED;
  if (!writable_) return JM_ERR_READ_ONLY;
  *seen = head().released.load(std::memory_order_seq_cst);
  head().writer_waits.store(1, std::memory_order_seq_cst);
  wanted_ = oldest_wanted();
  for (std::uint32_t i = 0; i < slots_; ++i) {
    if (may_write(i) && pins(i).load(std::memory_order_seq_cst) == 0) return JM_OK;
  }
  return JM_ERR_NO_SLOT;
}

jm_status StreamProtocol::park_writer(std::uint32_t seen, std::int64_t timeout) noexcept {
  if (inherited()) return JM_ERR_FORKED;
  const wait::Word word = {&head().released, seen, shared_};
  if (!closed()) wait::park_any(&word, 1, timeout < 0 ? kLookForReaders : std::min(timeout, kLookForReaders));
  return closed() ? JM_ERR_CLOSED : JM_OK;
}

void StreamProtocol::wake_writer() noexcept {
  if (!writable_) return;  // no writer of this handle waits
  head().released.fetch_add(1, std::memory_order_seq_cst);
  wait::wake_all(&head().released, shared_);
}

// Wakes a writer that waits for a slot. Called after a change that may have made one free.
void StreamProtocol::given_back() noexcept {
  if (head().writer_waits.load(std::memory_order_seq_cst) == 0) return;
  if (head().writer_waits.exchange(0, std::memory_order_seq_cst) != 0) wake_writer();
}

// ---- Readers --------------------------------------------------------------------------------------------------------

jm_status StreamProtocol::join(Reader* reader) noexcept {
  if (closed()) return JM_ERR_CLOSED;
  if (inherited()) return JM_ERR_FORKED;
  if (reader->joined_) return JM_ERR_ARGUMENT;
  if (!writable_) return JM_ERR_READ_ONLY;
  if (shared_ && reader_locks_ == nullptr) {
    reader_locks_.reset(new (std::nothrow) share::Locks);
    if (reader_locks_ == nullptr) {
      errno = ENOMEM;
      return JM_ERR_SYSTEM;
    }
  }
  unsigned number = 0;
  for (; number < JM_STREAM_READERS; ++number) {
    if ((own_ & bit_of(number)) != 0) continue;
    if (!shared_) break;
    const int error = reader_locks_->take(descriptor_.load(std::memory_order_relaxed), 1 + number);
    if (error == 0) break;
    if (error == share::kNoProc) return JM_ERR_NO_PROC;
    if (error != EAGAIN) {
      errno = error;
      return JM_ERR_SYSTEM;
    }
  }
  if (number == JM_STREAM_READERS) return JM_ERR_NO_PLACE;
  forget(number);  // what a dead reader left
  own_ |= bit_of(number);
  jm_place& place = head().places[number];
  place.process.store(fork::process(), std::memory_order_relaxed);
  // The cursor is 0, which keeps all frames, until the reader knows where it begins. A number would be out of date if
  // commits came in between.
  place.cursor.store(0, std::memory_order_seq_cst);
  head().readers.fetch_or(bit_of(number), std::memory_order_seq_cst);
  // A writer that had not seen this place yet may have overwritten the frames before this load. Every commit after this
  // load looks at the places and sees this one before it takes a slot.
  reader->seen_ = head().sequence.load(std::memory_order_seq_cst) / 2;
  place.cursor.store(reader->seen_ + 1, std::memory_order_seq_cst);
  reader->number_ = number;
  reader->joined_ = true;
  reader->next_ = readers_;
  readers_ = reader;
  given_back();  // what a dead reader held, and what a writer kept while this one joined
  return JM_OK;
}

void StreamProtocol::leave(Reader* reader) noexcept {
  if (!reader->joined_) return;
  reader->joined_ = false;
  Reader** at = &readers_;
  while (*at != reader) at = &(*at)->next_;
  *at = reader->next_;
  for (auto& held : reader->held_) held.store(0, std::memory_order_relaxed);
  own_ &= ~bit_of(reader->number_);
  if (inherited()) return;  // the number is the parent's
  forget(reader->number_);
  if (reader_locks_ != nullptr) {
    reader_locks_->give(1 + reader->number_);
    if (own_ == 0) reader_locks_->close();
  }
  given_back();
}

void StreamProtocol::unpin(Reader* reader, std::uint32_t index) noexcept {
  // Release: the reader's loads of the frame come before this, and the writer's stores to the slot come after it has
  // seen this.
  pins(index).fetch_and(~bit_of(reader->number_), std::memory_order_seq_cst);
  given_back();
}

// Takes the frame in a slot on which this reader has a pin, and whose sequence was that of the frame after the pin was
// set.
jm_status StreamProtocol::hold(Reader* reader, std::uint32_t index, std::uint64_t frame, jm_tensor* out) noexcept {
  const jm_status status = snapshot_of(*slot(index), capacity_, out, [](const Metadata&) { return JM_OK; });
  if (status != JM_OK) return status == JM_ERR_CORRUPT ? JM_ERR_CORRUPT : JM_ERR_BUSY;
  out->data = data(index);
  out->version = 2 * frame;
  reader->held_[index].store(2 * frame, std::memory_order_relaxed);
  const std::uint64_t skipped = frame - reader->seen_ - 1;
  if (skipped != 0) reader->missed_.store(reader->missed() + skipped, std::memory_order_relaxed);
  reader->seen_ = frame;
  // Release, and after the pin: a writer that sees that the reader has gone past the frame also sees that it holds the
  // frame.
  head().places[reader->number_].cursor.store(frame + 1, std::memory_order_release);
  return JM_OK;
}

jm_status StreamProtocol::take(Reader* reader, jm_tensor* out) noexcept {
  if (closed()) return JM_ERR_CLOSED;
  if (inherited()) return JM_ERR_FORKED;
  if (!reader->joined_) return JM_ERR_CLOSED;
  return every_frame_ ? take_next(reader, out) : take_newest(reader, out);
}

// Takes the frame of the newest frame's slot, or what is there when the slot is pinned. The frames of a slot only get
// newer, so a frame that is not older than the newest one was itself the newest at some time during this call. If the
// writer is in the slot, the newest frame is now in another slot.
jm_status StreamProtocol::take_newest(Reader* reader, jm_tensor* out) noexcept {
  const std::uint64_t newest = version() / 2;
  out->version = 2 * newest;
  if (newest <= reader->seen_) return JM_ERR_EMPTY;
  const std::uint32_t index = head().table[newest % slots_].load(std::memory_order_relaxed);
  if (index >= slots_) return JM_ERR_CORRUPT;
  if (reader->held_[index].load(std::memory_order_relaxed) != 0)
    return JM_ERR_BUSY;  // the reader holds another frame there
  pins(index).fetch_or(bit_of(reader->number_), std::memory_order_seq_cst);
  // Sequentially consistent, and after the pin: see mark(). Acquire: pairs with commit().
  const std::uint64_t sequence = slot(index)->sequence.load(std::memory_order_seq_cst);
  jm_status status = JM_ERR_BUSY;
  if ((sequence & 1) == 0 && sequence >= 2 * newest) {
    // A writer is at most one frame ahead of the header.
    status = sequence / 2 > version() / 2 + 1 ? JM_ERR_CORRUPT : hold(reader, index, sequence / 2, out);
  }
  if (status != JM_OK) unpin(reader, index);
  return status;
}

// Takes the frame at the cursor. The cursor keeps writers away from that frame.
jm_status StreamProtocol::take_next(Reader* reader, jm_tensor* out) noexcept {
  const std::uint64_t newest = version() / 2;
  const std::uint64_t frame = reader->seen_ + 1;
  out->version = 2 * newest;
  if (newest < frame) {
    // If another program has changed the cursor, store it again: the writer would wait for this reader, and this reader
    // for the writer.
    std::atomic<std::uint64_t>& cursor = head().places[reader->number_].cursor;
    if (cursor.load(std::memory_order_relaxed) != frame) {
      cursor.store(frame, std::memory_order_seq_cst);
      given_back();
    }
    return JM_ERR_EMPTY;
  }
  const std::uint32_t index = head().table[frame % slots_].load(std::memory_order_relaxed);
  if (newest - frame < slots_ && index < slots_ && reader->held_[index].load(std::memory_order_relaxed) == 0) {
    pins(index).fetch_or(bit_of(reader->number_), std::memory_order_seq_cst);
    const bool there = slot(index)->sequence.load(std::memory_order_seq_cst) == 2 * frame;
    if (there && hold(reader, index, frame, out) == JM_OK) return JM_OK;
    unpin(reader, index);
  }
  // A program that does not follow the protocol wrote to the stream. From the next call on, the reader goes on with the
  // frames that come then.
  reader->missed_.store(reader->missed() + newest - reader->seen_, std::memory_order_relaxed);
  reader->seen_ = newest;
  head().places[reader->number_].cursor.store(newest + 1, std::memory_order_seq_cst);
  given_back();
  return JM_ERR_CORRUPT;
}

std::uint32_t StreamProtocol::slot_of(const void* data) const noexcept {
  const auto offset =
      static_cast<std::size_t>(static_cast<const std::byte*>(data) - reinterpret_cast<std::byte*>(header_));
  return offset < first_ ? slots_
                         : static_cast<std::uint32_t>(std::min<std::size_t>((offset - first_) / stride_, slots_));
}

void StreamProtocol::release(Reader* reader, const jm_tensor& frame) noexcept {
  const std::uint32_t index = slot_of(frame.data);
  if (!reader->joined_ || index >= slots_ || frame.version == 0) return;
  if (reader->held_[index].load(std::memory_order_relaxed) != frame.version) return;
  reader->held_[index].store(0, std::memory_order_relaxed);
  if (!inherited() && !closed()) unpin(reader, index);
}

// A writer that has committed to the slot and not yet to the header is one frame ahead. Who took that frame here could
// find the one before it at the next call, which knows nothing of this one.
template <class Copy>
jm_status StreamProtocol::snapshot_newest(std::uint64_t after, jm_tensor* out, Copy&& copy) const noexcept {
  if (closed()) return JM_ERR_CLOSED;
  const std::uint64_t sequence = version();
  const std::uint64_t newest = sequence / 2;
  out->version = sequence;
  if (sequence <= after || newest == 0) return JM_ERR_EMPTY;
  const std::uint32_t index = head().table[newest % slots_].load(std::memory_order_relaxed);
  if (index >= slots_) return JM_ERR_CORRUPT;
  jm_status status = snapshot_of(*slot(index), capacity_, out, [&](const Metadata& seen) {
    return out->version >= 2 * newest && out->version <= version() ? copy(index, seen) : JM_ERR_BUSY;
  });
  if (status == JM_ERR_EMPTY) status = JM_ERR_BUSY;
  if (status == JM_ERR_BUSY && closed()) return JM_ERR_CLOSED;
  return status;
}

jm_status StreamProtocol::try_read_into(std::uint64_t after, void* buffer, std::uint64_t size,
                                        jm_tensor* out) const noexcept {
  return snapshot_newest(after, out, [&](std::uint32_t index, const Metadata& seen) {
    if (seen.byte_length > size) return JM_ERR_BUFFER;
    payload::copy(buffer, data(index), static_cast<std::size_t>(seen.byte_length), threads_);
    out->data = buffer;
    return JM_OK;
  });
}

jm_status StreamProtocol::try_read(std::uint64_t after, jm_tensor* out) const noexcept {
  return snapshot_newest(after, out, [&](std::uint32_t index, const Metadata&) {
    out->data = data(index);
    return JM_OK;
  });
}

std::size_t StreamProtocol::places(jm_reader_info* out, bool look) const noexcept {
  std::size_t count = 0;
  if (closed()) return 0;
  std::uint64_t present = head().readers.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < slots_; ++i) present |= pins(i).load(std::memory_order_relaxed);
  each_bit(present, [&](unsigned number) {
    jm_reader_info& info = out[count++];
    info = {};
    info.number = number;
    info.process = head().places[number].process.load(std::memory_order_relaxed);
    info.cursor = head().places[number].cursor.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < slots_; ++i) info.held += (pins(i).load(std::memory_order_relaxed) >> number) & 1;
    bool locked = true;
    if (look && shared_) {
      if (share::locked(descriptor_.load(std::memory_order_relaxed), 1 + number, &locked) != 0) locked = true;
    }
    info.dead = !locked;
  });
  return count;
}

void StreamProtocol::close() noexcept {
  if (closed()) return;
  while (readers_ != nullptr) leave(readers_);
  Mapping::close();
  if (!inherited()) wake_writer();  // so that a writer of this handle sees that it is closed
}

}  // namespace judemap
