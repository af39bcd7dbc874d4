// What a segment and a stream have in common: a mapping that begins with a jm_header, the file behind it, the right to
// write among processes, and the parking of readers on the header's sequence. Nothing here takes a lock between
// threads, waits in a loop, or makes a system call that blocks, except park().
//
// The caller has to see to this:
//
//   - version, writer, died, announce, conceal, park, wake, nap and device_address may be called at any time, from any
//     thread.
//   - open_again, pin, unpin, register_cuda, unregister_cuda and close must not run at the same time. The caller has a
//     lock for them. For close it also holds its lock between writers.
//   - retire is called after close.
//
// After close every call returns JM_ERR_CLOSED, except those that read words of the header.
#ifndef JUDEMAP_MAPPING_H
#define JUDEMAP_MAPPING_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "judemap/judemap.h"

namespace judemap {

namespace share {
class Locks;
}
namespace cuda {
class Registration;
}

class Mapping {
 public:
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  static jm_status remove(const char* name) noexcept;
  // Whether it can be one; see jm_create.
  static bool good_name(const char* name) noexcept;

  // What was found in a file.
  struct Found {
    std::uint64_t capacity = 0;
    bool block = false;        // it has a block, with flags and waiters
    bool every_frame = false;  // streams only, as the next
    jm_stream_block stream = {};
  };
  // Says what is wrong with a file of `bytes` bytes that begins like this, a phrase; nullptr if nothing is, and then
  // what was found.
  using Judge = const char* (*)(const jm_header& first, std::uint64_t bytes, Found* found) noexcept;

  // Makes a new descriptor of the file, which is the caller's. It is open for writing too if `writable`.
  jm_status open_again(bool writable, int* out) noexcept;

  std::uint64_t version() const noexcept { return header_->sequence.load(std::memory_order_acquire); }

  // Sets how many threads a large copy or fill may use, the caller's included; 0 means the core's default. Call it
  // before the first use.
  void set_threads(unsigned threads) noexcept { threads_ = threads; }

  jm_stats stats() const noexcept {
    return {commits_.load(std::memory_order_relaxed), wakes_.load(std::memory_order_relaxed)};
  }

  // ---- Waiting

  // A thread that is about to park on the sequence calls announce(), so that every writer that can wake it does. It
  // looks at the sequence after that, and calls conceal() when it no longer waits.
  void announce() noexcept;
  void conceal() noexcept;
  // For how many nanoseconds a waiting thread may sleep before it has to look at the sequence and at died() again.
  std::int64_t nap() const noexcept;
  // Whether waiting threads find commits only by looking every nap(), because no writer can be asked to wake them.
  bool polls() const noexcept { return !counts_waiters_ || !writers_wake_; }
  // Blocks the calling thread until the sequence is no longer `seen`, another thread wakes it, nap() has passed, or
  // `timeout` nanoseconds have passed (negative: without limit). JM_ERR_WRITER_DIED if the writer died and the sequence
  // is still `seen`. JM_ERR_CLOSED, JM_ERR_FORKED.
  jm_status park(std::uint64_t seen, std::int64_t timeout) noexcept;
  // Wakes all threads, of this process and others, that are parked on the sequence.
  void wake() noexcept;
  // For how many nanoseconds waiting threads spin before they park.
  void set_spin(std::int64_t nanoseconds) noexcept { spin_.store(nanoseconds, std::memory_order_relaxed); }
  std::int64_t spin() const noexcept { return spin_.load(std::memory_order_relaxed); }

  // Who the writer is. Makes two system calls at most.
  jm_writer writer() const noexcept;
  // Whether writer() returned JM_WRITER_DIED when it was last called, which is 40 ms ago at most. It is cheap while the
  // writer is alive.
  bool died() const noexcept;
  void set_poll(std::int64_t nanoseconds) noexcept;

  // ---- The end

  // Gives back what other processes see of this handle: the right to write, its parked readers in the header's count,
  // and its descriptors. It wakes the threads that are parked through this handle. Calling it again does nothing.
  void close() noexcept;
  // Unregisters the memory from CUDA, then gives it back, but keeps the addresses, which read as zeros from then on.
  // Returns 0 or an errno value: EAGAIN while a thread is in announce() or conceal(); EBUSY if the CUDA driver did not
  // release the addresses, which then stay reserved, while all else was given back.
  int retire() noexcept;

  bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }
  bool shared() const noexcept { return shared_; }
  // Whether this handle has the right to write. No other process and no other handle can then be in a commit.
  bool attached() const noexcept { return attached_.load(std::memory_order_acquire) && !inherited(); }
  // Whether this is a forked child's copy of its parent's handle, which may only be read.
  bool inherited() const noexcept;
  std::uint64_t capacity() const noexcept { return capacity_; }
  jm_header* header() const noexcept { return header_; }

  // Locks the pages in physical memory. Returns 0 or an errno value.
  int pin() noexcept;
  void unpin() noexcept;

  // Registers all of the mapping, header and data, with the CUDA driver; see jm_register_cuda. If that fails, `why`, of
  // `size` bytes, gets a text that says why; it may be nullptr.
  jm_status register_cuda(int device, char* why, std::size_t size) noexcept;
  jm_status unregister_cuda(char* why, std::size_t size) noexcept;
  // The device's address for an address in the mapping; 0 if it is not registered, and in a forked child.
  std::uint64_t device_address(const void* at) const noexcept;

 protected:
  Mapping() noexcept;
  ~Mapping();  // closes and unmaps

  // What is written to the header of a new file.
  struct Block {
    std::uint32_t magic;
    std::uint32_t flags;  // in addition to JM_FLAG_WRITERS_WAKE
    std::uint64_t capacity;
    const jm_stream_block* stream;  // nullptr: those bytes stay 0
  };
  // Each makes or opens the mapping, once per object: after that it returns JM_ERR_ARGUMENT. Sizes are whole pages.
  jm_status make(std::size_t size, std::uint64_t capacity, std::uint32_t flags) noexcept;
  jm_status make_named(const char* name, std::size_t size, std::uint32_t mode, std::uint32_t flags,
                       const Block& block) noexcept;
  jm_status make_nameless(std::size_t size, std::uint32_t flags, const Block& block) noexcept;
  jm_status open_named(const char* name, std::uint32_t flags, Judge judge, Found* found, const char** why) noexcept;
  jm_status open_descriptor(int descriptor, std::uint32_t flags, Judge judge, Found* found, const char** why) noexcept;

  // Takes the writer's lock, which is between processes. The caller holds its lock between writers. JM_ERR_READ_ONLY,
  // JM_ERR_WRITER_ACTIVE, JM_ERR_SYSTEM.
  jm_status become_writer() noexcept;
  // Counts a commit that has ended, and wakes the threads that wait for it.
  void committed() noexcept;
  // Wakes the parked readers of all processes, if the header counts any. Returns whether one was parked.
  bool wake_waiters() noexcept;

  jm_header* header_ = nullptr;
  std::uint64_t capacity_ = 0;       // bytes of tensor; not read from the header again
  std::size_t mapped_ = 0;           // bytes of the mapping, whole pages
  bool all_stays_writable_ = false;  // after retire() all of the range can be written to, not only its first page

  // Properties of the segment, which do not change once it is made.
  bool shared_ = false;           // it maps a file; otherwise private memory
  bool writable_ = true;          // mapped with the right to write
  bool block_ = false;            // the header has the coordination block
  bool counts_waiters_ = true;    // the header counts parked readers; it does not in the Node addon's segments
  bool writers_wake_ = true;      // all writers are of this library, which wakes readers and takes the lock
  unsigned threads_ = 0;          // how many a large copy may use; 0: the core's default
  std::uint32_t generation_ = 0;  // of the process that made the handle; see inherited()

  std::atomic<bool> closed_{false};
  std::atomic<bool> attached_{false};   // this handle has the right to write
  std::atomic<int> descriptor_{-1};     // of the mapped file
  std::unique_ptr<share::Locks> lock_;  // the writer's
  std::atomic<std::int64_t> poll_{1'000'000};
  std::atomic<std::int64_t> spin_{0};
  std::atomic<std::uint32_t> announced_{0};  // what this handle has added to the header's waiters
  std::atomic<std::uint32_t> counting_{0};   // threads that are about to change that

  // An odd sequence that was seen while no writer held the lock, and when it was first seen, in nanoseconds. Any thread
  // may look. The time is stored before the sequence that it belongs to.
  mutable std::atomic<std::uint64_t> odd_{0};
  mutable std::atomic<std::int64_t> odd_since_{0};
  mutable std::atomic<std::int64_t> looked_{INT64_MIN / 2};  // when died() found nobody dead, in nanoseconds
  // The sequence at which a writer died between two commits, in a segment to which others may write without a lock.
  mutable std::atomic<std::uint64_t> died_at_{kNever};
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

 private:
  // Whether this sequence, or the block, is in a state in which only a writer that holds the lock, or that died, leaves
  // it.
  bool left_behind(std::uint64_t sequence) const noexcept;
  // Whether the flag JM_FLAG_WRITER_ATTACHED is set: a writer of this library has set it and has not cleared it.
  bool flagged() const noexcept;
  // Subtracts one reader of this handle from all counts, unless close() has done it.
  void uncount_one() noexcept;
  // Subtracts readers of this handle from the header's count of waiters.
  void uncount(std::uint32_t readers) noexcept;
  // Makes this object the owner of a mapping of `size` bytes.
  void take(void* base, std::size_t size, std::uint64_t capacity) noexcept;
  jm_status adopt_new(int descriptor, const char* name, std::size_t size, std::uint32_t flags,
                      const Block& block) noexcept;
  jm_status adopt(int descriptor, bool writable, Judge judge, Found* found, const char** why) noexcept;

  // Atomic for the threads that ask for them. Only the writer stores them.
  std::atomic<std::uint64_t> commits_{0};
  std::atomic<std::uint64_t> wakes_{0};
  // Since when, and in how many commits, the header counted this many waiters while no thread was parked.
  std::uint32_t absent_ = 0;
  std::uint32_t absent_commits_ = 0;
  std::int64_t absent_since_ = 0;

  std::unique_ptr<cuda::Registration> cuda_;   // the registration, if there is one
  std::atomic<std::uint64_t> device_base_{0};  // the device's address of the header, or 0
};

}  // namespace judemap

#endif  // JUDEMAP_MAPPING_H
