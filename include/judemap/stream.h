// A stream for C++ callers: the protocol with locks between threads, and with calls that wait. judemap.h has the same
// for C; what its comments say of arguments and errors holds here too.
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

  // Each makes or opens the stream, once per object: after that it returns JM_ERR_ARGUMENT.
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
  // Sets for how many nanoseconds a waiting call spins before it parks; 0 at first.
  void set_spin(std::int64_t nanoseconds) noexcept { protocol_.set_spin(nanoseconds); }

  // These are for all slots at once. `why`, of `size` bytes, gets a text that says what went wrong; see
  // jm_register_cuda.
  jm_status register_cuda(int device, char* why = nullptr, std::size_t size = 0) noexcept;
  jm_status unregister_cuda(char* why = nullptr, std::size_t size = 0) noexcept;
  std::uint64_t device_address(const void* at) const noexcept { return protocol_.device_address(at); }

  // The protocol that this class is built on, for callers with locks and waiting of their own. They then call nothing
  // else of this class.
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
  union {                // ~Stream destroys it, except in a forked child
    TicketLock writer_;  // held from begin to commit
  };
  std::mutex state_;                // guards what follows; held while a reader opens or closes, and at the handle's end
  Reader* readers_ = nullptr;       // the list of the open ones
  bool retired_ = false;            // guarded by both locks
  std::atomic<bool> begun_{false};  // begin was called, and commit or abort not yet
};

// A reader of a stream. Only one thread at a time may use it, but any thread may call missed() and release() while
// another uses it. When close() is called no other call may be running. The stream must outlive the reader.
class Reader {
 public:
  Reader() = default;
  ~Reader() { close(); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  jm_status open(Stream* stream) noexcept;
  void close() noexcept;

  jm_status next(std::int64_t timeout, jm_tensor* out) noexcept;
  // The same, for a frame that is kept: *out first gives back the frame that it had, and then holds the new one until
  // it gives that back.
  jm_status next(std::int64_t timeout, Frame* out) noexcept;
  void keep(const jm_tensor& frame) noexcept;
  void release(const jm_tensor& frame) noexcept;
  std::uint64_t missed() const noexcept { return place_.missed(); }

  // For callers with locks and waiting of their own. They call nothing else of this class.
  StreamProtocol::Reader& place() noexcept { return place_; }
  const StreamProtocol::Reader& place() const noexcept { return place_; }
  Stream* stream() noexcept { return stream_; }
  // Sets the stream without joining it.
  void belong_to(Stream* stream) noexcept { stream_ = stream; }

 private:
  friend class Stream;
  jm_status take(jm_tensor* out) noexcept;

  Stream* stream_ = nullptr;
  std::mutex mutex_;  // held in take and release, and while the stream ends; locked after the stream's state_
  StreamProtocol::Reader place_;
  jm_tensor current_ = {};  // the frame that the next call gives back, none if its version is 0; guarded by mutex_
  Reader* next_ = nullptr;  // guarded by the stream's lock, as is
  bool listed_ = false;
};

// A frame of Reader::next, which the destructor gives back. It may be moved, also to another thread, and any thread may
// give it back. The reader must outlive it. When the reader is closed, or its stream is retired, the frame is no longer
// whole.
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

  // Gives the frame back now. It does nothing if there is none.
  void release() noexcept;

  explicit operator bool() const noexcept { return reader_ != nullptr; }
  // The frame; if there is none, all fields are zero and data is nullptr.
  const jm_tensor& operator*() const noexcept { return tensor_; }
  const jm_tensor* operator->() const noexcept { return &tensor_; }

 private:
  friend class Reader;
  Reader* reader_ = nullptr;
  jm_tensor tensor_ = {};
};

}  // namespace judemap

#endif  // JUDEMAP_STREAM_H
