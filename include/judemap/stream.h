// A stream for C++ callers: the protocol with locks between threads, and calls that wait. judemap.h is the same for C;
// its comments on arguments and errors hold here too.
//
//   judemap::Stream stream;
//   if (stream.open("camera") != JM_OK) ...
//   judemap::Reader reader;
//   if (reader.open(&stream) != JM_OK) ...
//   judemap::Frame frame;
//   while (reader.next(-1, &frame) == JM_OK) use(frame->data);  // whole as long as `frame` has it
#ifndef JUDEMAP_STREAM_H
#define JUDEMAP_STREAM_H

#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>

#include "judemap/judemap.h"
#include "judemap/segment.h"
#include "judemap/stream_protocol.h"

namespace judemap {

class Frame;
class Reader;

class Stream {
 public:
  Stream() noexcept : writer_() {}
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Each makes or opens the stream. Once per object: JM_ERR_ARGUMENT after that.
  jm_status create(std::uint32_t slots, std::uint64_t capacity, std::uint32_t flags = 0) noexcept {
    return protocol_.create(slots, capacity, flags);
  }
  jm_status create(const char* name, std::uint32_t slots, std::uint64_t capacity, std::uint32_t mode = 0600,
                   std::uint32_t flags = 0) noexcept {
    return protocol_.create(name, slots, capacity, mode, flags);
  }
  jm_status create_sealed(std::uint32_t slots, std::uint64_t capacity, std::uint32_t flags = 0) noexcept {
    return protocol_.create_sealed(slots, capacity, flags);
  }
  jm_status open(const char* name, std::uint32_t flags = 0, const char** why = nullptr) noexcept {
    return protocol_.open(name, flags, why);
  }
  jm_status open(int descriptor, std::uint32_t flags = 0, const char** why = nullptr) noexcept {
    return protocol_.open(descriptor, flags, why);
  }
  static jm_status remove(const char* name) noexcept { return Mapping::remove(name); }

  jm_status retire() noexcept;

  jm_status write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* data,
                  std::uint64_t length, std::int64_t timeout = -1) noexcept;
  jm_status fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value,
                 std::int64_t timeout = -1) noexcept;
  jm_status begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data,
                  std::uint64_t* length, std::int64_t timeout = -1) noexcept;
  jm_status commit() noexcept;
  jm_status abort() noexcept;

  std::uint32_t slots() const noexcept { return protocol_.slots(); }
  bool every_frame() const noexcept { return protocol_.every_frame(); }
  std::uint64_t capacity() const noexcept { return protocol_.capacity(); }  // bytes of each slot
  std::uint64_t version() const noexcept { return protocol_.version(); }    // that of the newest frame
  jm_writer writer() const noexcept { return protocol_.writer(); }
  // For how long, in nanoseconds, those that wait spin before they park; 0 at first.
  void set_spin(std::int64_t nanoseconds) noexcept { protocol_.set_spin(nanoseconds); }

  // All slots at once. `why`, of `size` bytes, says what the CUDA driver refused.
  jm_status register_cuda(int device, char* why = nullptr, std::size_t size = 0) noexcept;
  jm_status unregister_cuda(char* why = nullptr, std::size_t size = 0) noexcept;
  std::uint64_t device_address(const void* at) const noexcept { return protocol_.device_address(at); }

  // What this is made of, for callers with locks and waiting of their own, who then use nothing else of it.
  StreamProtocol& protocol() noexcept { return protocol_; }
  const StreamProtocol& protocol() const noexcept { return protocol_; }

 private:
  friend class Reader;
  template <class Attempt>
  jm_status until_slot(std::int64_t timeout, bool keep_lock, Attempt&& attempt) noexcept;
  template <class End>
  jm_status end(End&& end) noexcept;
  void close() noexcept;

  StreamProtocol protocol_;
  union {                // destroyed by ~Stream, or not: see Segment
    TicketLock writer_;  // held from begin to commit
  };
  std::mutex state_;                // guards what follows, and orders readers' coming and going with the end
  Reader* readers_ = nullptr;       // all that are open
  bool retired_ = false;            // guarded by both locks
  std::atomic<bool> begun_{false};  // between begin, and commit or abort
};

// A reader of a stream. One thread at a time may use it, but any may call missed(), and release(), also beside the
// others; none may be in a call when close() begins. The stream must outlive it.
class Reader {
 public:
  Reader() = default;
  ~Reader() { close(); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  jm_status open(Stream* stream) noexcept;
  void close() noexcept;

  jm_status next(std::int64_t timeout, jm_tensor* out) noexcept;
  // The same for a frame that is kept: *out has it until it gives it back, and gives back what it had first.
  jm_status next(std::int64_t timeout, Frame* out) noexcept;
  void keep(const jm_tensor& frame) noexcept;
  void release(const jm_tensor& frame) noexcept;
  std::uint64_t missed() const noexcept { return place_.missed(); }

  // For callers with locks and waiting of their own, who then use nothing else of it.
  StreamProtocol::Reader& place() noexcept { return place_; }
  const StreamProtocol::Reader& place() const noexcept { return place_; }
  Stream* stream() noexcept { return stream_; }
  // Says which stream it is without giving it a place there.
  void belong_to(Stream* stream) noexcept { stream_ = stream; }

 private:
  friend class Stream;
  jm_status take(jm_tensor* out) noexcept;

  Stream* stream_ = nullptr;
  std::mutex mutex_;  // between take and release, and the stream's end; taken after the stream's
  StreamProtocol::Reader place_;
  jm_tensor current_ = {};  // what the next call gives back; version 0: nothing. Guarded by mutex_
  Reader* next_ = nullptr;  // guarded by the stream's lock, as is
  bool listed_ = false;
};

// A frame of Reader::next that is given back when this ends. It may be moved, also to another thread, and be given back
// by any. The reader must outlive it; once that is closed, or its stream is retired, it is no longer whole.
class Frame {
 public:
  Frame() = default;
  ~Frame() { release(); }
  Frame(Frame&& other) noexcept
      : reader_(std::exchange(other.reader_, nullptr)), tensor_(std::exchange(other.tensor_, {})) {}
  Frame& operator=(Frame&& other) noexcept {
    if (this != &other) {
      release();
      reader_ = std::exchange(other.reader_, nullptr);
      tensor_ = std::exchange(other.tensor_, {});
    }
    return *this;
  }

  // Gives the frame back now. Nothing happens if there is none.
  void release() noexcept;

  explicit operator bool() const noexcept { return reader_ != nullptr; }
  // All zero, with data null, if there is none.
  const jm_tensor& operator*() const noexcept { return tensor_; }
  const jm_tensor* operator->() const noexcept { return &tensor_; }

 private:
  friend class Reader;
  Reader* reader_ = nullptr;
  jm_tensor tensor_ = {};
};

}  // namespace judemap

#endif  // JUDEMAP_STREAM_H
