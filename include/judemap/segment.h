// A segment as a C++ class: the core itself. judemap.h wraps it for C; its comments on errors hold here too.
//
//   judemap::Segment segment;
//   if (segment.create(1 << 20) != JM_OK) ...
//   const std::uint64_t shape[] = {2, 3};
//   segment.write(shape, 2, JM_FLOAT32, values, sizeof values);
//   jm_tensor tensor;
//   if (segment.read(&tensor) == JM_OK) { use(tensor.data); if (!segment.valid(tensor)) retry(); }
#ifndef JUDEMAP_SEGMENT_H
#define JUDEMAP_SEGMENT_H

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "judemap/judemap.h"
#include "judemap/seqlock.h"

namespace judemap {

// The product of the dimensions times the item size, in bytes. False if it overflows 64 bits. A dimension of 0 makes
// it 0, whatever the others are.
bool tensor_bytes(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, std::uint64_t* bytes) noexcept;

// The field of `metadata` that can't be true in a segment of this capacity, or nullptr. Another process may have
// written the header: nothing is derived from metadata before this has passed it.
const char* corrupt_field(const Metadata& metadata, std::uint64_t capacity) noexcept;

// A lock that is handed over in the order of asking, and may be released by another thread than took it (an update
// begun on one thread can be ended on another). Fair, because it is where readers go when a writer never pauses.
class TicketLock {
 public:
  void lock() noexcept;
  void unlock() noexcept;

 private:
  std::mutex mutex_;
  std::condition_variable turn_;
  std::uint64_t next_ = 0;     // the ticket of the next to ask
  std::uint64_t serving_ = 0;  // the ticket that holds the lock, or may take it
};

class Segment {
 public:
  Segment() = default;
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // Each makes or opens the segment. Once per object: JM_ERR_ARGUMENT after that.
  jm_status create(std::uint64_t capacity, std::uint32_t flags = 0) noexcept;
  jm_status create(const char* name, std::uint64_t capacity, std::uint32_t mode = 0600,
                   std::uint32_t flags = 0) noexcept;
  jm_status create_sealed(std::uint64_t capacity, std::uint32_t flags = 0) noexcept;
  jm_status open(const char* name, std::uint32_t flags = 0, const char** why = nullptr) noexcept;
  jm_status open(int descriptor, std::uint32_t flags = 0, const char** why = nullptr) noexcept;
  static jm_status remove(const char* name) noexcept;

  // A new descriptor of the segment's file, the caller's.
  jm_status descriptor(int* out) noexcept;

  jm_status retire() noexcept;

  jm_status write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* data,
                  std::uint64_t length) noexcept;
  jm_status fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value) noexcept;
  jm_status begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data,
                  std::uint64_t* length) noexcept;
  void commit() noexcept;
  void abort() noexcept;

  jm_status read(jm_tensor* out) noexcept;
  jm_status next(std::uint64_t after, std::int64_t timeout, jm_tensor* out) noexcept;
  jm_status try_read(jm_tensor* out) const noexcept;
  bool valid(const jm_tensor& tensor) const noexcept { return unchanged(*header_, tensor.version); }
  jm_status read_into(void* buffer, std::uint64_t size, jm_tensor* out) noexcept;
  jm_status try_read_into(void* buffer, std::uint64_t size, jm_tensor* out) const noexcept;

  jm_writer writer() const noexcept;
  // Whether writer() is JM_WRITER_DIED, and cheap where it is not.
  bool writer_died() const noexcept;

  // For a thread that is about to park on the sequence. announce() makes every writer that can wake it; the thread must
  // look at the sequence after it, and call conceal() when it is done. nap() is how long it may sleep, in nanoseconds,
  // until it must look again at sequence and writer_died().
  void announce() noexcept;
  void conceal() noexcept;
  std::int64_t nap() const noexcept;
  void set_poll(std::int64_t nanoseconds) noexcept { poll_.store(nanoseconds, std::memory_order_relaxed); }

  std::uint64_t version() const noexcept { return header_->sequence.load(std::memory_order_acquire); }
  std::uint64_t capacity() const noexcept { return capacity_; }
  jm_header* header() const noexcept { return header_; }

  jm_status pin() noexcept;
  void unpin() noexcept;
  bool is_pinned() const noexcept { return pinned_.load(std::memory_order_relaxed); }

 private:
  // Checks a tensor to be written against the type table and the capacity.
  jm_status describe(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype,
                     Metadata* metadata) const noexcept;
  // Takes the writer's locks and opens a commit; commit() ends it.
  jm_status open_commit(const Metadata& metadata) noexcept;
  // Becomes the writer of a shared segment, and puts right what one that died left behind.
  jm_status attach_writer() noexcept;
  // Whether this sequence, or the block, is as only a writer that holds the lock, or one that died, leaves it.
  bool left_behind(std::uint64_t sequence) const noexcept;
  // Wakes the parked readers of all processes. Called with the writer's lock.
  void wake_waiters() noexcept;
  // Takes readers of this handle out of the header's count of waiters.
  void uncount(std::uint32_t readers) noexcept;

  // Maps a new file, writes its block and gives it its name (nullptr: none), or maps an existing one and checks it.
  // Closes the descriptor if it fails.
  jm_status adopt_new(int descriptor, const char* name, std::size_t size, std::uint64_t capacity,
                      std::uint32_t flags) noexcept;
  jm_status adopt(int descriptor, bool writable, const char** why) noexcept;

  template <class Copy>
  jm_status snapshot(jm_tensor* out, Copy&& copy) const noexcept;
  template <class Try>
  jm_status until_stable(jm_tensor* out, Try&& attempt) noexcept;
  // Parks once, until the sequence is no longer `seen` or some time has passed.
  jm_status park(std::uint64_t seen, std::int64_t timeout) noexcept;

  std::byte* data() const noexcept { return reinterpret_cast<std::byte*>(header_) + JM_DATA_OFFSET; }

  jm_header* header_ = nullptr;
  std::uint64_t capacity_ = 0;  // bytes of tensor; this mapping's own bound
  std::size_t mapped_ = 0;      // bytes of the mapping, whole pages

  // What the segment is; fixed once it is made.
  bool shared_ = false;         // a mapping of a file; else private memory
  bool writable_ = true;        // mapped with the right to write
  bool counts_waiters_ = true;  // the header's word for parked readers is ours to use: not in the Node addon's segments
  bool writers_wake_ = true;    // all writers are this code, which wakes readers and takes the lock
  std::atomic<std::int64_t> poll_{1'000'000};

  std::atomic<bool> retired_{false};
  std::atomic<bool> pinned_{false};
  std::atomic<bool> attached_{false};  // this handle has the lock that makes it the one writer among processes

  mutable std::mutex state_;            // orders retire with what a retired segment can't do; guards these:
  int descriptor_ = -1;                 // of a shared segment; carries the writer's lock
  std::uint32_t announced_ = 0;         // what this handle has added to the header's waiters
  mutable std::uint64_t odd_ = 0;       // an odd sequence that was seen with no writer at hand, and
  mutable std::int64_t odd_since_ = 0;  // when first, in nanoseconds

  TicketLock writer_;             // held from begin to commit; guards the rest
  std::uint64_t committing_ = 0;  // the version of the commit in progress
  // Since when, and in how many commits, the header counted this many waiters and none was there.
  std::uint32_t absent_ = 0;
  std::uint32_t absent_commits_ = 0;
  std::int64_t absent_since_ = 0;
};

}  // namespace judemap

#endif  // JUDEMAP_SEGMENT_H
