// The parker: waits for many segments at once, with threads of its own or the caller's. judemap.h (jm_parker) describes
// it; this is the class behind that.
#ifndef JUDEMAP_PARKER_H
#define JUDEMAP_PARKER_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "judemap/segment.h"
#include "judemap/wait.h"

namespace judemap {

class Parker {
 public:
  Parker() = default;
  ~Parker();
  Parker(const Parker&) = delete;
  Parker& operator=(const Parker&) = delete;

  jm_status create(int* descriptor) noexcept;
  jm_status watch(Segment* segment, std::uint64_t seen, std::uint64_t token, std::size_t* lane) noexcept;
  void unwatch(std::uint64_t token) noexcept;
  std::uint64_t next() noexcept;
  std::size_t wait(std::size_t lane, std::uint64_t* tokens, std::size_t capacity) noexcept;
  void stop() noexcept;
  std::size_t threads() noexcept;

 private:
  struct Watch {
    Segment* segment;
    std::uint64_t seen;
    std::uint64_t token;
  };

  // What one thread watches: as many words as the system lets a thread park on, one of them the lane's own.
  struct Lane {
    std::vector<Watch> watches;
    std::atomic<std::uint32_t> changed{0};  // the word by which the thread hears of changes in `watches`
    std::vector<wait::Word> words;          // what the thread is parked on; the thread's
    std::thread thread;                     // the parker's own, if it has threads of its own
  };

  void run(Lane& lane) noexcept;
  // Makes the lane's thread look at its watches anew.
  static void kick(Lane& lane) noexcept;
  // Takes out the watches that are over, and returns how long the others may sleep.
  std::int64_t look(Lane& lane) noexcept;
  // Parks on what is left. Lets the mutex go meanwhile.
  static void park(Lane& lane, std::int64_t nap, std::unique_lock<std::mutex>& hold) noexcept;
  std::size_t take(std::uint64_t* tokens, std::size_t capacity) noexcept;

  std::mutex mutex_;  // guards everything below
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<std::uint64_t> over_;  // tokens of watches that are over, and that nobody has asked for
  bool stopping_ = false;
  int event_ = -1;  // the caller's, who closes it
};

}  // namespace judemap

#endif  // JUDEMAP_PARKER_H
