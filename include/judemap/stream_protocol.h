// The protocol of a stream, and nothing else: a row of slots, each a segment to the byte, into which one writer commits
// frames, and from which readers take them. A frame stays whole for as long as a reader holds it. Nothing here takes a
// lock between threads, waits in a loop, or makes a system call that blocks, but for park_writer(). stream.h is made of
// this.
//
// Pins. Each slot has a word with a bit for every reader. A reader sets its bit, and then looks whether the slot has
// the frame that it wants; a writer makes the slot's sequence odd, and then looks at the bits. All of that is
// sequentially consistent, so one of the two sees the other: a reader that finds an odd slot does not have it, and a
// writer that finds a bit takes another slot. (The two flags of Dekker's algorithm: E. W. Dijkstra, "Cooperating
// sequential processes", 1965.) What is held is therefore never written to, and nobody has to look again.
//
// Which slot is written to. The newest frame always stays. In a stream where the newest wins, the writer takes the free
// slot whose frame is the oldest, so that who copies without a pin has the most time. Where every frame counts, a frame
// is free once every reader has gone past it, and the writer takes the one that was given back last, which is still in
// the caches.
//
// Deaths. A reader's number is the byte of the file that it has locked. When it dies the kernel drops the lock, and the
// writer that finds no slot takes the lock, and with it the reader's pins and place, away. A writer that takes over
// first ends what the one before had begun. model/stream.pml has all of it.
//
// What a caller must see to, beside what mapping.h says:
//
//   at any time, from any thread    try_read, try_read_into, park_writer, wake_writer, places
//   one at a time                   begin, write, fill, commit, abort, announce_writer: the caller's lock between
//   writers one at a time for each reader   take, release: the reader's lock one at a time                   join,
//   leave, close, open_again: the caller's lock for the handle's end; leave with the
//                                   reader's lock as well, close with the writers'
#ifndef JUDEMAP_STREAM_PROTOCOL_H
#define JUDEMAP_STREAM_PROTOCOL_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "judemap/judemap.h"
#include "judemap/mapping.h"
#include "judemap/seqlock.h"

namespace judemap {

class StreamProtocol : public Mapping {
 public:
  StreamProtocol() noexcept;
  ~StreamProtocol();

  // A reader's place in a stream, and what it holds. It must have left, or the stream be closed, before it goes.
  class Reader {
   public:
    Reader() = default;
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    // Frames that were committed since it joined and that it never got. Any thread may ask.
    std::uint64_t missed() const noexcept { return missed_.load(std::memory_order_relaxed); }
    // For each slot the version that is held there, or 0. Any thread may look.
    const std::atomic<std::uint64_t>* held() const noexcept { return held_; }

   private:
    friend class StreamProtocol;
    bool joined_ = false;
    unsigned number_ = 0;
    std::uint64_t seen_ = 0;  // the frame last taken, or skipped
    std::atomic<std::uint64_t> missed_{0};
    std::atomic<std::uint64_t> held_[JM_STREAM_SLOTS] = {};
    Reader* next_ = nullptr;  // all of one handle
  };

  // Each makes or opens a stream, as the functions of judemap.h do. Once per object: JM_ERR_ARGUMENT after that.
  jm_status create(std::uint32_t slots, std::uint64_t capacity, std::uint32_t flags) noexcept;
  jm_status create(const char* name, std::uint32_t slots, std::uint64_t capacity, std::uint32_t mode,
                   std::uint32_t flags) noexcept;
  jm_status create_sealed(std::uint32_t slots, std::uint64_t capacity, std::uint32_t flags) noexcept;
  jm_status open(const char* name, std::uint32_t flags, const char** why) noexcept;
  jm_status open(int descriptor, std::uint32_t flags, const char** why) noexcept;
  // A Judge of files.
  static const char* judge(const jm_header& first, std::uint64_t bytes, Found* found) noexcept;

  // ---- Writing: those of Protocol, for the next frame; and JM_ERR_NO_SLOT where readers hold all that could be
  // written to

  jm_status begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data,
                  std::uint64_t* length) noexcept;
  jm_status commit() noexcept;
  // Gives the frame up: nobody sees that it was begun.
  jm_status abort() noexcept;
  jm_status write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* data,
                  std::uint64_t length) noexcept;
  jm_status fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value) noexcept;

  // For a writer that got JM_ERR_NO_SLOT: makes readers wake it, and says with what to park. JM_OK: there is a slot by
  // now; JM_ERR_NO_SLOT: park.
  jm_status announce_writer(std::uint32_t* seen) noexcept;
  // Blocks the thread until a slot is given back, wake_writer() is called, or some time has passed: 40 ms, after which
  // one looks for dead readers, or `timeout` nanoseconds if that is less and not negative.
  jm_status park_writer(std::uint32_t seen, std::int64_t timeout) noexcept;
  void wake_writer() noexcept;

  // ---- Reading

  // Gives the reader a place: it sees what is committed from now on. JM_ERR_NO_PLACE: there are as many as can be.
  // JM_ERR_READ_ONLY, JM_ERR_CLOSED, JM_ERR_FORKED, JM_ERR_SYSTEM.
  jm_status join(Reader* reader) noexcept;
  // Gives back the place, and all that the reader holds. Nothing happens if it has none.
  void leave(Reader* reader) noexcept;
  // One attempt to take the newest frame that the reader has not seen; in a stream where every frame counts, the next.
  // The slot is then held until release(). JM_ERR_EMPTY: there is none, and out->version is the sequence to park on.
  // JM_ERR_BUSY: a commit came in between; try again. JM_ERR_CORRUPT.
  jm_status take(Reader* reader, jm_tensor* out) noexcept;
  // Gives back what take() gave. Nothing happens if it was given back already.
  void release(Reader* reader, const jm_tensor& frame) noexcept;

  // The newest frame, of a version above `after`, by who can't pin: as a copy, or as a view that may be overwritten.
  // One attempt; errors as of take(), and JM_ERR_BUFFER.
  jm_status try_read_into(std::uint64_t after, void* buffer, std::uint64_t size, jm_tensor* out) const noexcept;
  jm_status try_read(std::uint64_t after, jm_tensor* out) const noexcept;

  // ---- What the stream is

  std::uint32_t slots() const noexcept { return slots_; }
  bool every_frame() const noexcept { return every_frame_; }
  jm_header* slot(std::uint32_t index) const noexcept {
    return reinterpret_cast<jm_header*>(reinterpret_cast<std::byte*>(header_) + first_ + index * stride_);
  }
  std::byte* data(std::uint32_t index) const noexcept {
    return reinterpret_cast<std::byte*>(slot(index)) + JM_DATA_OFFSET;
  }
  // The slot that has this address of data.
  std::uint32_t slot_of(const void* data) const noexcept;
  // Who has a place: fills `out`, of JM_STREAM_READERS entries, and returns how many. With `look`, asks the kernel for
  // each whether it lives.
  std::size_t places(jm_reader_info* out, bool look) const noexcept;

  void close() noexcept;

 private:
  jm_status lay_out(std::uint32_t slots, std::uint64_t capacity) noexcept;
  void adopt_layout(const jm_stream_block& block, bool every_frame) noexcept;
  jm_stream_header& head() const noexcept { return *reinterpret_cast<jm_stream_header*>(header_); }
  std::atomic<std::uint64_t>& pins(std::uint32_t index) const noexcept {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(reinterpret_cast<std::byte*>(slot(index)) + JM_PINS_OFFSET);
  }

  jm_status attach() noexcept;
  void recover() noexcept;
  jm_status open_commit(const Metadata& metadata) noexcept;
  void move_in_order(std::uint32_t index, bool newest) noexcept;
  std::uint64_t oldest_wanted() const noexcept;
  bool may_write(std::uint32_t index) const noexcept;
  bool mark(std::uint32_t index) noexcept;
  int choose() noexcept;
  bool reclaim() noexcept;
  void forget(unsigned number) noexcept;
  void given_back() noexcept;
  jm_status take_newest(Reader* reader, jm_tensor* out) noexcept;
  jm_status take_next(Reader* reader, jm_tensor* out) noexcept;
  jm_status hold(Reader* reader, std::uint32_t index, std::uint64_t frame, jm_tensor* out) noexcept;
  void unpin(Reader* reader, std::uint32_t index) noexcept;
  template <class Copy>
  jm_status snapshot_newest(std::uint64_t after, jm_tensor* out, Copy&& copy) const noexcept;

  // Fixed once it is made: this handle's own record of the layout, which nobody else can change.
  std::uint32_t slots_ = 0;
  bool every_frame_ = false;
  std::size_t first_ = 0;
  std::size_t stride_ = 0;

  // The writer's, guarded by the caller's lock.
  std::uint64_t frame_ = 0;                       // last committed
  std::uint64_t frames_[JM_STREAM_SLOTS] = {};    // which each slot has; 0: none
  std::uint8_t order_[JM_STREAM_SLOTS] = {};      // the slots, the one with the oldest frame first
  std::uint64_t wanted_ = 0;                      // no reader wants a frame before this one, as far as was looked
  bool committing_ = false;                       // a commit is in progress, and
  std::uint32_t index_ = 0;                       // goes to this slot
  std::int64_t looked_for_dead_ = INT64_MIN / 2;  // when, in nanoseconds

  // The readers', guarded by the caller's lock for the handle's end.
  std::unique_ptr<share::Locks> reader_locks_;
  std::uint64_t own_ = 0;  // numbers of this handle's readers
  Reader* readers_ = nullptr;
};

}  // namespace judemap

#endif  // JUDEMAP_STREAM_PROTOCOL_H
