//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "judemap/segment.h"

#include <cerrno>
#include <chrono>
#include <thread>

#include "clock.h"
#include "wait.h"

namespace judemap {
void TicketLock::lock() noexcept {
  std::unique_lock<std::mutex> hold(mutex_);
  const std::uint64_t ticket = next_++;
  turn_.wait(hold, [&] { return serving_ == ticket; });
}

void TicketLock::unlock() noexcept {
  bool awaited;
  {
    std::lock_guard<std::mutex> hold(mutex_);
    awaited = ++serving_ != next_;
  }
  if (awaited) turn_.notify_all();
}

Segment::~Segment() {
  // A forked child does not have the threads that wait in its copy of the lock, and the destructor of a condition
  // variable waits for such threads.
  if (!protocol_.inherited()) writer_.~TicketLock();
}

jm_status Segment::descriptor(bool writable, int* out) noexcept {
  if (out == nullptr) return JM_ERR_ARGUMENT;
  if (protocol_.inherited()) return JM_ERR_FORKED;
  std::lock_guard<std::mutex> hold(state_);
  return protocol_.open_again(writable, out);
}

jm_status Segment::retire() noexcept {
  // A forked child has copies of locks that may be held by threads that it does not have. It takes none of them. It has
  // only one thread.
  const bool alone = protocol_.inherited();
  if (!alone) {
    writer_.lock();
    state_.lock();
  }
  int error = 0;
  if (!retired_) {
    protocol_.close();
    error = give_back(protocol_);
    retired_ = true;
    pinned_.store(false, std::memory_order_relaxed);
  }
  if (!alone) {
    state_.unlock();
    writer_.unlock();
  }
  errno = error;
  return error == 0 ? JM_OK : JM_ERR_SYSTEM;
}

int give_back(Mapping& mapping) noexcept {
  for (;;) {
    const int error = mapping.retire();
    if (error != EAGAIN) return error;
    std::this_thread::yield();  // a thread is in announce() or conceal(), which takes a few stores
  }
}

// Makes a commit with the lock held.
template <class Commit>
jm_status Segment::locked(Commit&& commit) noexcept {
  if (protocol_.inherited()) return JM_ERR_FORKED;
  writer_.lock();
  const jm_status status = commit();
  writer_.unlock();
  return status;
}

jm_status Segment::write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* data,
                         std::uint64_t length) noexcept {
  return locked([&] { return protocol_.write(shape, ndim, dtype, data, length); });
}

jm_status Segment::fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value) noexcept {
  return locked([&] { return protocol_.fill(shape, ndim, dtype, value); });
}

jm_status Segment::begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data,
                         std::uint64_t* length) noexcept {
  if (data == nullptr || length == nullptr) return JM_ERR_ARGUMENT;
  if (protocol_.inherited()) return JM_ERR_FORKED;
  writer_.lock();
  const jm_status status = protocol_.begin(shape, ndim, dtype, data, length);
  if (status == JM_OK) {
    begun_.store(true, std::memory_order_relaxed);
  } else {
    writer_.unlock();
  }
  return status;
}

// Ends what begin() began, and not a commit that another thread's write() has begun.
template <class End>
jm_status Segment::end(End&& end) noexcept {
  if (protocol_.inherited()) return JM_ERR_FORKED;
  if (!begun_.exchange(false, std::memory_order_relaxed)) return JM_ERR_ARGUMENT;
  const jm_status status = end();
  writer_.unlock();
  return status;
}

jm_status Segment::commit() noexcept {
  return end([&] { return protocol_.commit(); });
}

jm_status Segment::abort() noexcept {
  return end([&] { return protocol_.abort(); });
}

template <class Try>
jm_status Segment::until_stable(jm_tensor* out, Try&& attempt) noexcept {
  // First wait for short commits by looking repeatedly. A look takes nanoseconds, but a torn attempt at a copy takes as
  // long as a copy.
  int torn = 0;
  for (int i = 0; i < JM_BUSY_ATTEMPTS && torn < JM_TORN_ATTEMPTS; ++i) {
    const bool busy = version() & 1;
    const jm_status status = busy ? JM_ERR_BUSY : attempt();
    if (status != JM_ERR_BUSY) return status;
    if (!busy) ++torn;
    wait::pause();
  }
  // Then park until the commit is over. The writer has precedence over readers. If a writer of this handle leaves no
  // time for an attempt, it has to let one in after a while; other writers can't be asked to.
  const std::int64_t turn = now() + JM_TURN_NANOSECONDS;
  for (;;) {
    const jm_status status = attempt();
    if (status != JM_ERR_BUSY) return status;
    const std::uint64_t seen = version();
    const bool ours = protocol_.attached();
    const std::int64_t left = turn - now();
    if (ours && left <= 0) break;
    if ((seen & 1) == 0) continue;
    if (protocol_.inherited()) {
      // Nobody wakes a forked child. Private memory is copied at the fork, so a commit in it that was in progress never
      // ends.
      if (!protocol_.shared()) return stuck(out);
      if (protocol_.died()) return JM_ERR_WRITER_DIED;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    } else if (const jm_status parked = protocol_.park(seen, ours ? left : -1); parked != JM_OK) {
      return parked;
    }
  }
  writer_.lock();
  const jm_status status = attempt();
  writer_.unlock();
  return status == JM_ERR_BUSY ? stuck(out) : status;
}

// The result when the sequence is odd although no commit is in progress.
jm_status Segment::stuck(jm_tensor* out) const noexcept {
  *out = jm_tensor{};
  out->version = version();
  return JM_ERR_CORRUPT;
}

jm_status Segment::next(std::uint64_t after, std::int64_t timeout, jm_tensor* out) noexcept {
  if (protocol_.inherited()) return JM_ERR_FORKED;
  const std::int64_t begun = timeout < 0 ? 0 : now();
  for (;;) {
    const std::uint64_t seen = version();
    const jm_status status = (seen & 1) != 0 ? JM_ERR_BUSY : try_read(out);
    if (status == JM_OK && out->version > after) return JM_OK;
    if (status != JM_OK && status != JM_ERR_EMPTY && status != JM_ERR_BUSY) return status;
    std::int64_t left = -1;
    if (timeout >= 0 && (left = timeout - (now() - begun)) <= 0) return JM_ERR_TIMEOUT;
    if (const jm_status parked = protocol_.park(seen, left); parked != JM_OK) return parked;
  }
}

jm_status Segment::read(jm_tensor* out) noexcept {
  return until_stable(out, [&] { return try_read(out); });
}

jm_status Segment::read_into(void* buffer, std::uint64_t size, jm_tensor* out) noexcept {
  return until_stable(out, [&] { return try_read_into(buffer, size, out); });
}

jm_status Segment::pin() noexcept {
  if (protocol_.inherited()) return JM_ERR_FORKED;
  std::lock_guard<std::mutex> hold(state_);
  if (protocol_.closed()) return JM_ERR_CLOSED;
  if (is_pinned()) return JM_OK;
  if (const int error = protocol_.pin()) {
    errno = error;
    return JM_ERR_PIN_DENIED;
  }
  pinned_.store(true, std::memory_order_relaxed);
  return JM_OK;
}

void Segment::unpin() noexcept {
  if (protocol_.inherited()) return;
  std::lock_guard<std::mutex> hold(state_);
  if (!is_pinned()) return;
  protocol_.unpin();
  pinned_.store(false, std::memory_order_relaxed);
}

jm_status Segment::register_cuda(int device, char* why, std::size_t size) noexcept {
  if (protocol_.inherited()) return JM_ERR_FORKED;
  std::lock_guard<std::mutex> hold(state_);
  return protocol_.register_cuda(device, why, size);
}

jm_status Segment::unregister_cuda(char* why, std::size_t size) noexcept {
  if (protocol_.inherited()) return JM_ERR_FORKED;
  std::lock_guard<std::mutex> hold(state_);
  return protocol_.unregister_cuda(why, size);
}

}  // namespace judemap
