// A segment for C++ callers: the protocol with locks between threads, and with calls that wait. judemap.h has the same
// for C; what its comments say of arguments and errors holds here too.
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
#include "judemap/protocol.h"

namespace judemap {

// The lock between the writers of one handle. Threads get it in the order in which they asked for it. Another thread
// than the one that locked it may unlock it, because an update that one thread began may be ended by another.
class TicketLock {
 public:
  void lock() noexcept;
  void unlock() noexcept;

 private:
  std::mutex mutex_;
  std::condition_variable turn_;
  std::uint64_t next_ = 0;     // the ticket for the next thread that asks
  std::uint64_t serving_ = 0;  // the ticket that holds the lock, or may take it
};

// Gives the memory of a closed handle back. Returns 0 or an errno value.
int give_back(Mapping& mapping) noexcept;

class Segment {
 public:
  Segment() noexcept : writer_() {}
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // Each makes or opens the segment, once per object: after that it returns JM_ERR_ARGUMENT.
  jm_status create(std::uint64_t capacity, std::uint32_t flags = 0) noexcept {
    return protocol_.create(capacity, flags);
  }
  jm_status create(const char* name, std::uint64_t capacity, std::uint32_t mode = 0600,
                   std::uint32_t flags = 0) noexcept {
    return protocol_.create(name, capacity, mode, flags);
  }
  jm_status create_sealed(std::uint64_t capacity, std::uint32_t flags = 0) noexcept {
    return protocol_.create_sealed(capacity, flags);
  }
  jm_status open(const char* name, std::uint32_t flags = 0, const char** why = nullptr) noexcept {
    return protocol_.open(name, flags, why);
  }
  jm_status open(int descriptor, std::uint32_t flags = 0, const char** why = nullptr) noexcept {
    return protocol_.open(descriptor, flags, why);
  }
  static jm_status remove(const char* name) noexcept { return Protocol::remove(name); }

  // Makes a new descriptor of the segment's file, which is the caller's.
  jm_status descriptor(bool writable, int* out) noexcept;

  jm_status retire() noexcept;

  jm_status write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* data,
                  std::uint64_t length) noexcept;
  jm_status fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value) noexcept;
  jm_status begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data,
                  std::uint64_t* length) noexcept;
  jm_status commit() noexcept;
  jm_status abort() noexcept;

  jm_status read(jm_tensor* out) noexcept;
  jm_status next(std::uint64_t after, std::int64_t timeout, jm_tensor* out) noexcept;
  jm_status try_read(jm_tensor* out) const noexcept {
    out->data = protocol_.data();
    return protocol_.try_read(out);
  }
  bool valid(const jm_tensor& tensor) const noexcept { return protocol_.valid(tensor); }
  jm_status read_into(void* buffer, std::uint64_t size, jm_tensor* out) noexcept;
  jm_status try_read_into(void* buffer, std::uint64_t size, jm_tensor* out) const noexcept {
    out->data = buffer;
    return protocol_.try_read_into(buffer, size, out);
  }

  jm_writer writer() const noexcept { return protocol_.writer(); }
  void set_poll(std::int64_t nanoseconds) noexcept { protocol_.set_poll(nanoseconds); }

  std::uint64_t version() const noexcept { return protocol_.version(); }
  std::uint64_t capacity() const noexcept { return protocol_.capacity(); }
  jm_header* header() const noexcept { return protocol_.header(); }

  jm_status pin() noexcept;
  void unpin() noexcept;
  bool is_pinned() const noexcept { return pinned_.load(std::memory_order_relaxed); }

  // `why`, of `size` bytes, gets a text that says what went wrong; see jm_register_cuda.
  jm_status register_cuda(int device, char* why = nullptr, std::size_t size = 0) noexcept;
  jm_status unregister_cuda(char* why = nullptr, std::size_t size = 0) noexcept;
  std::uint64_t device_address(const void* at) const noexcept { return protocol_.device_address(at); }

  // The protocol that this class is built on, for callers with locks and waiting of their own. They then call nothing
  // else of this class.
  Protocol& protocol() noexcept { return protocol_; }
  const Protocol& protocol() const noexcept { return protocol_; }

 private:
  template <class Commit>
  jm_status locked(Commit&& commit) noexcept;
  template <class End>
  jm_status end(End&& end) noexcept;
  template <class Try>
  jm_status until_stable(jm_tensor* out, Try&& attempt) noexcept;
  jm_status stuck(jm_tensor* out) const noexcept;

  Protocol protocol_;
  union {                // ~Segment destroys it, except in a forked child
    TicketLock writer_;  // held from begin to commit
  };
  std::mutex state_;  // held while the handle ends, and in calls that need an open one
  std::atomic<bool> pinned_{false};
  std::atomic<bool> begun_{false};  // begin was called, and commit or abort not yet
  bool retired_ = false;            // guarded by both locks
};

}  // namespace judemap

#endif  // JUDEMAP_SEGMENT_H
