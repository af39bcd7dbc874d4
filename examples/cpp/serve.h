// What a program that answers frames needs beside its model: it waits for streams, for frames and for writers that
// died, ends at Ctrl-C, and says what is wrong. The examples of LibTorch and OpenCV use it too.
#ifndef JUDEMAP_EXAMPLES_SERVE_H
#define JUDEMAP_EXAMPLES_SERVE_H

#include <judemap/judemap.h>
#include <judemap/stream.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

namespace serve {

constexpr std::int64_t kMillisecond = 1'000'000;  // in judemap's unit, nanoseconds

inline std::atomic<bool> stopped{false};

// Ctrl-C and SIGTERM set `stopped`; the second one ends the program at once.
inline void stop_on_signals() {
  const auto stop = [](int number) {
    stopped = true;
    std::signal(number, SIG_DFL);
  };
  std::signal(SIGINT, stop);
  std::signal(SIGTERM, stop);
}

// Says what failed. Returns the exit code of a program that failed.
inline int failed(const std::string& what, jm_status status) {
  const int error = errno;
  std::fprintf(stderr, "%s: %s%s%s\n", what.c_str(), jm_strerror(status), status == JM_ERR_SYSTEM ? ": " : "",
               status == JM_ERR_SYSTEM ? std::strerror(error) : "");
  return 1;
}

// Opens a stream, and waits until there is one of this name. JM_ERR_TIMEOUT: the program is to end.
inline jm_status wait_for(judemap::Stream* stream, const std::string& name) {
  for (bool told = false; !stopped; std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
    const jm_status status = stream->open(name.c_str());
    if (status != JM_ERR_SYSTEM || errno != ENOENT) return status;
    if (!told) std::fprintf(stderr, "waiting for stream \"%s\"\n", name.c_str());
    told = true;
  }
  return JM_ERR_TIMEOUT;
}

// Takes the next frame, within `timeout` nanoseconds (negative: for ever), and in any case until the program is to end.
// A writer that died is waited for: perhaps another one takes over. JM_ERR_TIMEOUT: there is none.
inline jm_status next(judemap::Reader* reader, std::int64_t timeout, judemap::Frame* frame) {
  constexpr std::int64_t kLook = 100 * kMillisecond;  // how often it looks whether the program is to end
  for (bool told = false; !stopped;) {
    const jm_status status = reader->next(timeout >= 0 && timeout < kLook ? timeout : kLook, frame);
    if (status == JM_ERR_WRITER_DIED) {
      if (timeout >= 0) return JM_ERR_TIMEOUT;
      if (!told) std::fprintf(stderr, "the writer of the frames died; waiting for another\n");
      told = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    } else if (status != JM_ERR_TIMEOUT) {
      return status;
    } else if (timeout >= 0 && (timeout -= kLook) <= 0) {
      return status;
    }
  }
  return JM_ERR_TIMEOUT;
}

// Words for a frame, as in "frame 7, float32 [3 224 224]".
inline std::string describe(const jm_tensor& frame) {
  const char* name = jm_dtype_name(frame.dtype);
  std::string text = "frame " + std::to_string(frame.version / 2) + ", " + (name != nullptr ? name : "unknown") + " [";
  for (std::uint32_t i = 0; i < frame.ndim; ++i) text += (i == 0 ? "" : " ") + std::to_string(frame.shape[i]);
  return text + "]";
}

}  // namespace serve

#endif  // JUDEMAP_EXAMPLES_SERVE_H
