//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "judemap/stream.h"

#include <cerrno>

#include "clock.h"
#include "wait.h"

namespace judemap {

Stream::~Stream() {
  close();
  // As in Segment: a forked child does not have the threads that wait in its copy of the lock.
  if (!protocol_.inherited()) writer_.~TicketLock();
}

// Ends the handle, with the writers' lock held if there may be other threads.
void Stream::close() noexcept {
  if (protocol_.header() == nullptr) return;
  const bool alone = protocol_.inherited();  // a forked child takes no locks; it has only one thread
  for (Reader* reader = readers_; reader != nullptr; reader = reader->next_) {
    if (!alone) reader->mutex_.lock();
    protocol_.leave(&reader->place_);
    reader->listed_ = false;
    if (!alone) reader->mutex_.unlock();
  }
  readers_ = nullptr;
  protocol_.close();
}

jm_status Stream::retire() noexcept {
  const bool alone = protocol_.inherited();
  if (!alone) {
    writer_.lock();
    state_.lock();
  }
  int error = 0;
  if (!retired_) {
    close();
    error = give_back(protocol_);
    retired_ = true;
  }
  if (!alone) {
    state_.unlock();
    writer_.unlock();
  }
  errno = error;
  return error == 0 ? JM_OK : JM_ERR_SYSTEM;
}

// Makes attempts with the writers' lock held, until one of them finds a slot. The lock is free while it waits. With
// `keep_lock` the caller has the lock after an attempt that succeeded.
template <class Attempt>
jm_status Stream::until_slot(std::int64_t timeout, bool keep_lock, Attempt&& attempt) noexcept {
  if (protocol_.inherited()) return JM_ERR_FORKED;
  std::int64_t begun = -1;
  for (;;) {
    std::uint32_t seen = 0;
    writer_.lock();
    jm_status status = attempt();
    if (status == JM_ERR_NO_SLOT && begun < 0) {
      begun = now();
      wait::spin(timeout < 0 ? protocol_.spin() : std::min(timeout, protocol_.spin()),
                 [&] { return (status = attempt()) != JM_ERR_NO_SLOT; });
    }
    const bool none = status == JM_ERR_NO_SLOT;
    if (none) status = protocol_.announce_writer(&seen);
    if (!keep_lock || none || status != JM_OK) writer_.unlock();
    if (!none) return status;
    if (status == JM_OK) continue;  // a slot has become free
    if (status != JM_ERR_NO_SLOT) return status;
    const std::int64_t left = timeout < 0 ? -1 : timeout - (now() - begun);
    if (timeout >= 0 && left <= 0) return JM_ERR_NO_SLOT;
    if (const jm_status parked = protocol_.park_writer(seen, left)) return parked;
  }
}

jm_status Stream::write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* data,
                        std::uint64_t length, std::int64_t timeout) noexcept {
  return until_slot(timeout, false, [&] { return protocol_.write(shape, ndim, dtype, data, length); });
}

jm_status Stream::fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value,
                       std::int64_t timeout) noexcept {
  return until_slot(timeout, false, [&] { return protocol_.fill(shape, ndim, dtype, value); });
}

jm_status Stream::begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data,
                        std::uint64_t* length, std::int64_t timeout) noexcept {
  if (data == nullptr || length == nullptr) return JM_ERR_ARGUMENT;
  const jm_status status = until_slot(timeout, true, [&] { return protocol_.begin(shape, ndim, dtype, data, length); });
  if (status == JM_OK) begun_.store(true, std::memory_order_relaxed);
  return status;
}

// Ends what begin() began, and not a commit that another thread's write() has begun.
template <class End>
jm_status Stream::end(End&& end) noexcept {
  if (protocol_.inherited()) return JM_ERR_FORKED;
  if (!begun_.exchange(false, std::memory_order_relaxed)) return JM_ERR_ARGUMENT;
  const jm_status status = end();
  writer_.unlock();
  return status;
}

jm_status Stream::commit() noexcept {
  return end([&] { return protocol_.commit(); });
}

jm_status Stream::abort() noexcept {
  return end([&] { return protocol_.abort(); });
}

jm_status Stream::register_cuda(int device, char* why, std::size_t size) noexcept {
  if (protocol_.inherited()) return JM_ERR_FORKED;
  std::lock_guard<std::mutex> hold(state_);
  return protocol_.register_cuda(device, why, size);
}

jm_status Stream::unregister_cuda(char* why, std::size_t size) noexcept {
  if (protocol_.inherited()) return JM_ERR_FORKED;
  std::lock_guard<std::mutex> hold(state_);
  return protocol_.unregister_cuda(why, size);
}

jm_status Reader::open(Stream* stream) noexcept {
  if (stream_ != nullptr) return JM_ERR_ARGUMENT;
  if (stream->protocol_.inherited()) return JM_ERR_FORKED;
  std::lock_guard<std::mutex> hold(stream->state_);
  if (const jm_status status = stream->protocol_.join(&place_)) return status;
  stream_ = stream;
  next_ = stream->readers_;
  stream->readers_ = this;
  listed_ = true;
  return JM_OK;
}

void Reader::close() noexcept {
  if (stream_ == nullptr) return;
  const bool alone = stream_->protocol_.inherited();
  if (!alone) stream_->state_.lock();
  if (listed_) {
    Reader** at = &stream_->readers_;
    while (*at != this) at = &(*at)->next_;
    *at = next_;
    listed_ = false;
    if (!alone) mutex_.lock();
    stream_->protocol_.leave(&place_);
    if (!alone) mutex_.unlock();
  }
  if (!alone) stream_->state_.unlock();
  stream_ = nullptr;
}

// Gives back the frame that is held and was not kept, and makes one attempt to take another.
jm_status Reader::take(jm_tensor* out) noexcept {
  std::lock_guard<std::mutex> hold(mutex_);
  if (current_.version != 0) stream_->protocol_.release(&place_, current_);
  current_ = {};
  const jm_status status = stream_->protocol_.take(&place_, out);
  if (status == JM_OK) current_ = *out;
  return status;
}

jm_status Reader::next(std::int64_t timeout, jm_tensor* out) noexcept {
  if (stream_ == nullptr) return JM_ERR_CLOSED;
  StreamProtocol& protocol = stream_->protocol_;
  if (protocol.inherited()) return JM_ERR_FORKED;
  const std::int64_t begun = timeout < 0 ? 0 : now();
  for (int attempts = 0;;) {
    jm_status status = take(out);
    if (status == JM_ERR_BUSY && ++attempts < JM_BUSY_ATTEMPTS) {
      wait::pause();
      continue;
    }
    if (status != JM_ERR_EMPTY && status != JM_ERR_BUSY) return status;
    attempts = 0;
    std::int64_t left = -1;
    if (timeout >= 0 && (left = timeout - (now() - begun)) <= 0) return JM_ERR_TIMEOUT;
    // How long to sleep when a reader finds the stream busy for long: its writer does not follow the protocol.
    constexpr std::int64_t kWhileBusy = 50'000;  // ns
    if (status == JM_ERR_BUSY) left = left < 0 ? kWhileBusy : std::min(left, kWhileBusy);
    if (const jm_status parked = protocol.park(out->version, left)) return parked;
  }
}

jm_status Reader::next(std::int64_t timeout, Frame* out) noexcept {
  out->release();
  jm_tensor tensor;
  const jm_status status = next(timeout, &tensor);
  if (status != JM_OK) return status;
  keep(tensor);
  out->reader_ = this;
  out->tensor_ = tensor;
  return JM_OK;
}

void Reader::keep(const jm_tensor& frame) noexcept {
  if (stream_ == nullptr || stream_->protocol_.inherited()) return;
  std::lock_guard<std::mutex> hold(mutex_);
  if (current_.version == frame.version) current_ = {};
}

void Reader::release(const jm_tensor& frame) noexcept {
  if (stream_ == nullptr || frame.version == 0 || stream_->protocol_.inherited()) return;
  std::lock_guard<std::mutex> hold(mutex_);
  stream_->protocol_.release(&place_, frame);
  if (current_.version == frame.version) current_ = {};
}

void Frame::release() noexcept {
  if (reader_ != nullptr) reader_->release(tensor_);
  reader_ = nullptr;
  tensor_ = {};
}

}  // namespace judemap
