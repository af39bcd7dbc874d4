// The protocol of a stream. A stream has several slots, each with the layout of a segment. One writer commits frames to
// slots, and readers take them from there. A frame stays whole for as long as a reader holds it. Nothing here takes a
// lock between threads, waits in a loop, or makes a system call that blocks, except park_writer(). stream.h is built on
// this.
//
// Pins. Each slot has a word with one bit for each reader. A reader sets its bit and then checks that the slot has the
// frame that it wants. A writer makes the slot's sequence odd and then checks the bits. All of that is sequentially
// consistent, so at least one of the two sees the other. A reader that finds an odd sequence does not have the slot; a
// writer that finds a bit set takes another slot. (This is the pair of flags in Dekker's algorithm: E. W. Dijkstra,
// "Cooperating sequential processes", 1965.) So nobody writes to a slot that is held, and its reader need not check
// again.
//
// Which slot the writer takes. It never takes the slot of the newest frame. Without JM_FLAG_EVERY_FRAME it takes the
// free slot with the oldest frame, so that a reader that copies without a pin has as much time as possible. With that
// flag a frame's slot becomes free once every reader has gone past the frame, and the writer takes the slot that was
// given back last, which is still in the caches.
//
// Deaths. Reader r has a lock on byte 1 + r of the file. When its process dies the kernel drops the lock. A writer that
// finds no slot tries to take the locks of all readers; where it succeeds the reader is dead, and the writer clears its
// pins and its place. A writer that takes over from a dead one first finishes what that one had begun. model/stream.pml
// has a model of all this.
//
// The caller has to see to this, in addition to what mapping.h says:
//
//   - try_read, try_read_into, park_writer, wake_writer and places may be called at any time, from any thread.
//   - begin, write, fill, commit, abort and announce_writer must not run at the same time. The caller has a lock
//     between its writers.
//   - take and release for one reader must not run at the same time. The caller has a lock for each reader.
//   - join, leave, close and open_again must not run at the same time. The caller has a lock for the handle's end. For
//     leave it also holds the reader's lock, and for close the lock between its writers.
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

  // A reader's place in a stream, and the slots that it holds. Before it is destroyed it must have left, or the stream
  // must be closed.
  class Reader {
   public:
    Reader() = default;
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    // How many of the frames committed since it joined it has skipped. Any thread may call this.
    std::uint64_t missed() const noexcept { return missed_.load(std::memory_order_relaxed); }
    // For each slot the version that is held there, or 0. Any thread may load them.
    const std::atomic<std::uint64_t>* held() const noexcept { return held_; }

   private:
    friend class StreamProtocol;
    bool joined_ = false;
    unsigned number_ = 0;
    std::uint64_t seen_ = 0;  // the number of the frame that was taken or skipped last
    std::atomic<std::uint64_t> missed_{0};
    std::atomic<std::uint64_t> held_[JM_STREAM_SLOTS] = {};
    Reader* next_ = nullptr;  // in the list of this handle's readers
  };

  // Each makes or opens a stream, like the functions of judemap.h, once per object: after that it returns
  // JM_ERR_ARGUMENT.
  jm_status create(std::uint32_t slots, std::uint64_t capacity, std::uint32_t flags) noexcept;
  jm_status create(const char* name, std::uint32_t slots, std::uint64_t capacity, std::uint32_t mode,
                   std::uint32_t flags) noexcept;
  jm_status create_sealed(std::uint32_t slots, std::uint64_t capacity, std::uint32_t flags) noexcept;
  jm_status open(const char* name, std::uint32_t flags, const char** why) noexcept;
  jm_status open(int descriptor, std::uint32_t flags, const char** why) noexcept;
  // A Judge of files.
  static const char* judge(const jm_header& first, std::uint64_t bytes, Found* found) noexcept;

  // ---- Writing. These are like those of Protocol, for the next frame. They return JM_ERR_NO_SLOT if readers hold all
  // slots that could be written to.

  jm_status begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data,
                  std::uint64_t* length) noexcept;
  jm_status commit() noexcept;
  // Gives the frame up. No reader sees that it was begun.
  jm_status abort() noexcept;
  jm_status write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* data,
                  std::uint64_t length) noexcept;
  jm_status fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value) noexcept;

  // For a writer that got JM_ERR_NO_SLOT. Makes readers wake it, and sets *seen, with which it parks. Returns
  // JM_ERR_NO_SLOT if the writer has to park, and JM_OK if a slot has become free.
  jm_status announce_writer(std::uint32_t* seen) noexcept;
  // Blocks the thread until a slot is given back, wake_writer() is called, 40 ms have passed, or `timeout` nanoseconds
  // have passed (negative: without limit). After 40 ms the writer has to look for dead readers.
  jm_status park_writer(std::uint32_t seen, std::int64_t timeout) noexcept;
  void wake_writer() noexcept;

  // ---- Reading

  // Gives the reader a place in the stream. It gets the frames that are committed from now on. JM_ERR_NO_PLACE if the
  // stream has as many readers as it can have. JM_ERR_READ_ONLY, JM_ERR_CLOSED, JM_ERR_FORKED, JM_ERR_SYSTEM.
  jm_status join(Reader* reader) noexcept;
  // Gives back the place and all frames that the reader holds. It does nothing if the reader has no place.
  void leave(Reader* reader) noexcept;
  // Makes one attempt to take the newest frame that the reader has not seen, or with JM_EVERY_FRAME the frame after the
  // last one. The slot is then held until release(). JM_ERR_EMPTY if there is no such frame; out->version is then the
  // sequence to park on. JM_ERR_BUSY if a commit came in between: try again. JM_ERR_CORRUPT.
  jm_status take(Reader* reader, jm_tensor* out) noexcept;
  // Gives back a frame of take(). It does nothing if the frame was given back already.
  void release(Reader* reader, const jm_tensor& frame) noexcept;

  // Each makes one attempt to read the newest frame with a version above `after` without a pin: as a copy, or as a view
  // that the writer may overwrite. The errors are those of take(), and JM_ERR_BUFFER.
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
  // The index of the slot that this address of data is in.
  std::uint32_t slot_of(const void* data) const noexcept;
  // Describes the readers in `out`, which has room for JM_STREAM_READERS entries, and returns how many there are. With
  // `look` it asks the kernel whether each of them is alive.
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

  // The layout as this handle recorded it. It does not change, and other processes can't change it.
  std::uint32_t slots_ = 0;
  bool every_frame_ = false;
  std::size_t first_ = 0;
  std::size_t stride_ = 0;

  // For the writer; guarded by the caller's lock between writers.
  std::uint64_t frame_ = 0;                       // the number of the frame committed last
  std::uint64_t frames_[JM_STREAM_SLOTS] = {};    // the number of each slot's frame; 0: none
  std::uint8_t order_[JM_STREAM_SLOTS] = {};      // the slots in the order of their frames, the oldest first
  std::uint64_t wanted_ = 0;                      // no reader wants a frame before this one, by the last look
  bool committing_ = false;                       // a commit is in progress
  std::uint32_t index_ = 0;                       // the slot that it goes to
  std::int64_t looked_for_dead_ = INT64_MIN / 2;  // when the writer last looked, in nanoseconds

  // For the readers; guarded by the caller's lock for the handle's end.
  std::unique_ptr<share::Locks> reader_locks_;
  std::uint64_t own_ = 0;  // a bit for each reader of this handle
  Reader* readers_ = nullptr;
};

}  // namespace judemap

#endif  // JUDEMAP_STREAM_PROTOCOL_H
