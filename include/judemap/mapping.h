// What a segment and a stream have in common: one mapping that begins with a jm_header, the file behind it, the one
// writer among processes, and the parking of readers on the header's sequence. Nothing here takes a lock between
// threads, waits in a loop, or makes a system call that blocks, but for park(), which is there to block.
//
// What a caller must see to:
//
//   at any time, from any thread    version, writer, died, announce, conceal, park, wake, nap, device_address
//   one at a time, and not with     open_again, pin, register_cuda, close: the caller's lock for the handle's end;
//   close each other                      also with the writers' lock after close                     retire
//
// After close every call but those that read header words says JM_ERR_CLOSED.
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

  // A new descriptor of the file, the caller's; with the right to write if `writable`.
  jm_status open_again(bool writable, int* out) noexcept;

  std::uint64_t version() const noexcept { return header_->sequence.load(std::memory_order_acquire); }

  // Threads that a large copy or fill may use, the caller's included; 0: the core's default. Before the first use.
  void set_threads(unsigned threads) noexcept { threads_ = threads; }

  jm_stats stats() const noexcept {
    return {commits_.load(std::memory_order_relaxed), wakes_.load(std::memory_order_relaxed)};
  }

  // ---- Waiting

  // For who is about to park on the sequence. announce() makes every writer that can wake it; look at the sequence
  // after it, and call conceal() when done.
  void announce() noexcept;
  void conceal() noexcept;
  // How long one may sleep, in nanoseconds, until one must look again at sequence and died().
  std::int64_t nap() const noexcept;
  // Whether nap() is how often one looks for commits, since no writer can be asked to wake this handle's readers.
  bool polls() const noexcept { return !counts_waiters_ || !writers_wake_; }
  // Blocks the calling thread until the sequence is no longer `seen`, somebody wakes it, or some time has passed:
  // nap(), or `timeout` nanoseconds if that is less and not negative. JM_ERR_WRITER_DIED if the writer died and the
  // sequence is still `seen`. JM_ERR_CLOSED, JM_ERR_FORKED.
  jm_status park(std::uint64_t seen, std::int64_t timeout) noexcept;
  // Wakes all threads that are parked on the sequence, of this process and others.
  void wake() noexcept;
  // For how long those that wait spin before they park.
  void set_spin(std::int64_t nanoseconds) noexcept { spin_.store(nanoseconds, std::memory_order_relaxed); }
  std::int64_t spin() const noexcept { return spin_.load(std::memory_order_relaxed); }

  // Who writes. Two system calls at most.
  jm_writer writer() const noexcept;
  // Whether writer() was JM_WRITER_DIED when it was last asked, 40 ms ago at most. Cheap where it was not.
  bool died() const noexcept;
  void set_poll(std::int64_t nanoseconds) noexcept;

  // ---- The end

  // Gives back what other processes see of this handle: the right to write, its parked readers in the header's count,
  // its descriptors. What is parked on it wakes. Idempotent.
  void close() noexcept;
  // Gives the memory back and keeps the addresses, which read as zeros from here on. Before that it undoes
  // register_cuda. 0, or an errno value; EAGAIN while a thread is in the middle of announce() or conceal(); EBUSY where
  // all went but for the CUDA driver, which does not let go of the addresses: they then stay taken.
  int retire() noexcept;

  bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }
  bool shared() const noexcept { return shared_; }
  // Whether this handle is the one that may write: no other process, and no other handle, can be in a commit.
  bool attached() const noexcept { return attached_.load(std::memory_order_acquire) && !inherited(); }
  // Whether this is a forked child's copy of its parent's handle: good for reading, and nothing else.
  bool inherited() const noexcept;
  std::uint64_t capacity() const noexcept { return capacity_; }
  jm_header* header() const noexcept { return header_; }

  // Locks the pages in physical memory. 0, or an errno value.
  int pin() noexcept;
  void unpin() noexcept;

  // Registers all of the mapping, header and data, with the CUDA driver; see jm_register_cuda. Of what the driver
  // refuses `why`, of `size` bytes, says in words what that was; it may be nullptr.
  jm_status register_cuda(int device, char* why, std::size_t size) noexcept;
  jm_status unregister_cuda(char* why, std::size_t size) noexcept;
  // Where the device sees what is at an address in the mapping; 0 if it does not, and in a forked child.
  std::uint64_t device_address(const void* at) const noexcept;

 protected:
  Mapping() noexcept;
  ~Mapping();  // closes and unmaps

  // What a new file says of itself.
  struct Block {
    std::uint32_t magic;
    std::uint32_t flags;  // beside JM_FLAG_WRITERS_WAKE
    std::uint64_t capacity;
    const jm_stream_block* stream;  // nullptr: zeros
  };
  // Each makes or opens it. Once per object: JM_ERR_ARGUMENT after that. Sizes are whole pages.
  jm_status make(std::size_t size, std::uint64_t capacity, std::uint32_t flags) noexcept;
  jm_status make_named(const char* name, std::size_t size, std::uint32_t mode, std::uint32_t flags,
                       const Block& block) noexcept;
  jm_status make_nameless(std::size_t size, std::uint32_t flags, const Block& block) noexcept;
  jm_status open_named(const char* name, std::uint32_t flags, Judge judge, Found* found, const char** why) noexcept;
  jm_status open_descriptor(int descriptor, std::uint32_t flags, Judge judge, Found* found, const char** why) noexcept;

  // Takes the writer's lock, which the writers' lock of the caller guards. JM_ERR_READ_ONLY, JM_ERR_WRITER_ACTIVE,
  // JM_ERR_SYSTEM.
  jm_status become_writer() noexcept;
  // Counts a commit that has ended, and wakes who waits for it.
  void committed() noexcept;
  // Wakes the parked readers of all processes, if any are counted. Whether one was parked.
  bool wake_waiters() noexcept;

  jm_header* header_ = nullptr;
  std::uint64_t capacity_ = 0;       // bytes of tensor; this mapping's own bound
  std::size_t mapped_ = 0;           // bytes of the mapping, whole pages
  bool all_stays_writable_ = false;  // of the range that is retired; else only its first page

  // What the segment is; fixed once it is made.
  bool shared_ = false;         // a mapping of a file; else private memory
  bool writable_ = true;        // mapped with the right to write
  bool block_ = false;          // the header has the coordination block
  bool counts_waiters_ = true;  // the header's word for parked readers is ours to use: not in the Node addon's segments
  bool writers_wake_ = true;    // all writers are this code, which wakes readers and takes the lock
  unsigned threads_ = 0;        // that a large copy may use; 0: the core's default
  std::uint32_t generation_ = 0;  // of the process that made the handle; see inherited()

  std::atomic<bool> closed_{false};
  std::atomic<bool> attached_{false};   // this handle is the one writer among processes
  std::atomic<int> descriptor_{-1};     // of the mapping's file
  std::unique_ptr<share::Locks> lock_;  // the writer's
  std::atomic<std::int64_t> poll_{1'000'000};
  std::atomic<std::int64_t> spin_{0};
  std::atomic<std::uint32_t> announced_{0};  // what this handle has added to the header's waiters
  std::atomic<std::uint32_t> counting_{0};   // threads that are about to change that

  // A sequence that was seen odd, with no writer at hand, and when first, in nanoseconds. Any thread may look: the time
  // is stored before the sequence that it belongs to.
  mutable std::atomic<std::uint64_t> odd_{0};
  mutable std::atomic<std::int64_t> odd_since_{0};
  mutable std::atomic<std::int64_t> looked_{INT64_MIN / 2};  // when died() found nobody dead, in nanoseconds
  // The sequence at which a writer was found dead between two commits, where others may write without a lock.
  mutable std::atomic<std::uint64_t> died_at_{kNever};
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

 private:
  // Whether this sequence, or the block, is as only a writer that holds the lock, or one that died, leaves it.
  bool left_behind(std::uint64_t sequence) const noexcept;
  // Whether some writer of the code here has said that it is attached, and not that it is no more.
  bool flagged() const noexcept;
  // Takes one reader of this handle out of all counts, unless close() did.
  void uncount_one() noexcept;
  // Takes readers of this handle out of the header's count of waiters.
  void uncount(std::uint32_t readers) noexcept;
  // Takes over a mapping of `size` bytes.
  void take(void* base, std::size_t size, std::uint64_t capacity) noexcept;
  jm_status adopt_new(int descriptor, const char* name, std::size_t size, std::uint32_t flags,
                      const Block& block) noexcept;
  jm_status adopt(int descriptor, bool writable, Judge judge, Found* found, const char** why) noexcept;

  // Atomic for who asks for them; only the writer stores.
  std::atomic<std::uint64_t> commits_{0};
  std::atomic<std::uint64_t> wakes_{0};
  // Since when, and in how many commits, the header counted this many waiters and none was there.
  std::uint32_t absent_ = 0;
  std::uint32_t absent_commits_ = 0;
  std::int64_t absent_since_ = 0;

  std::unique_ptr<cuda::Registration> cuda_;   // while it is registered, and
  std::atomic<std::uint64_t> device_base_{0};  // where the device sees the header
};

}  // namespace judemap

#endif  // JUDEMAP_MAPPING_H
